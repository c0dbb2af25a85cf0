#include "evidence/tpm.h"

#include "base/clock.h"

enum { SKEW_MS = 60 * 1000 };

/* ---- attestation key ---- */

static const struct {
	uint32_t attribute;
	bool wanted;
	const char *text;
} ak_rules[] = {
	{TPM_RESTRICTED, true, "is not restricted, so it also signs what no TPM made"},
	{TPM_SIGN, true, "does not sign"},
	{TPM_DECRYPT, false, "also decrypts"},
	{TPM_FIXED_TPM, true, "can be moved to another TPM"},
	{TPM_FIXED_PARENT, true, "can be moved to another parent"},
	{TPM_SENSITIVE_DATA_ORIGIN, true, "was not made in the TPM"},
};

result tpm_ak_check(const struct tpm_public *ak)
{
	for (size_t i = 0; i < COUNT_OF(ak_rules); i++)
		if (((ak->attributes & ak_rules[i].attribute) != 0) != ak_rules[i].wanted)
			return fail(TPM_AK_UNFIT, "the attestation key %s", ak_rules[i].text);
	if (ak->scheme != TPM_RSASSA && ak->scheme != TPM_RSAPSS && ak->scheme != TPM_ECDSA)
		return fail(TPM_AK_UNFIT, "the attestation key has no fixed signature scheme that Troth knows");
	if ((ak->scheme == TPM_ECDSA) != (ak->type == TPM_ECC))
		return fail(TPM_AK_UNFIT, "the attestation key's scheme does not fit its type");
	enum platform_digest digest = tpm_digest(ak->scheme_digest);
	if (digest == 0 || digest == DIGEST_SHA1)
		return fail(TPM_AK_UNFIT, "the attestation key signs over digest %04x", ak->scheme_digest);
	return OK;
}

result tpm_signer_check(const struct tpm_attest *attest, const struct tpm_public *ak)
{
	static const uint32_t hierarchies[] = {TPM_ENDORSEMENT, TPM_OWNER};
	uint8_t name[TPM_NAME_MAX], qualified[TPM_NAME_MAX];
	size_t name_len, qualified_len;

	TRY(tpm_public_name(ak, name, &name_len));
	for (size_t i = 0; i < COUNT_OF(hierarchies); i++) {
		TRY(tpm_qualified_name(ak->name_algorithm, hierarchies[i], span_of(name, name_len), qualified, &qualified_len));
		if (span_equal(attest->signer, span_of(qualified, qualified_len)))
			return OK;
	}
	return fail(TPM_SIGNER_MISMATCH, "the quote was signed by a key of another name than the one given");
}

/* ---- quote ---- */

static const struct pcr_value *find_pcr(const struct tpm_quote *quote, uint16_t bank, unsigned index)
{
	for (size_t i = 0; i < quote->pcr_count; i++)
		if (quote->pcrs[i].bank == bank && quote->pcrs[i].index == index)
			return &quote->pcrs[i];
	return NULL;
}

static result check_values(const struct tpm_quote *quote)
{
	for (size_t i = 0; i < quote->pcr_count; i++) {
		const struct pcr_value *pcr = &quote->pcrs[i];
		if (pcr->index >= TPM_PCR_COUNT || pcr->value.len == 0 || pcr->value.len != platform_digest_size(tpm_digest(pcr->bank)))
			return fail(TPM_SELECTION_MISMATCH, "PCR %u has a value of %zu bytes in bank %s", pcr->index, pcr->value.len,
				tpm_algorithm_name(pcr->bank));
		if (find_pcr(quote, pcr->bank, pcr->index) != pcr)
			return fail(TPM_SELECTION_MISMATCH, "PCR %u is given twice", pcr->index);
	}
	return OK;
}

static result check_bank(const struct tpm_quote *quote, const struct tpm_attest *attest)
{
	bool any = false;
	for (size_t i = 0; i < attest->selection_count; i++) {
		const struct tpm_selection *selection = &attest->selections[i];
		if (selection->pcrs == 0)
			continue;
		if (quote->bank != 0 && selection->bank != quote->bank)
			return fail(TPM_WRONG_BANK, "the quote is over bank %s, not %s", tpm_algorithm_name(selection->bank),
				tpm_algorithm_name(quote->bank));
		if (tpm_digest(selection->bank) == 0)
			return fail(TPM_WRONG_BANK, "the quote is over a bank of algorithm %04x", selection->bank);
		any = true;
	}
	if (!any)
		return fail(TPM_SELECTION_MISMATCH, "the quote selects no PCR");
	return OK;
}

/* The digest is over the values in the order of the selection, with the digest of the signature scheme. */
static result check_pcrs(const struct tpm_quote *quote, const struct tpm_attest *attest)
{
	uint8_t input[TPM_BANKS_MAX * TPM_PCR_COUNT * DIGEST_MAX], digest[DIGEST_MAX];
	struct writer w = writer_fixed(input, sizeof(input));
	struct span all;
	size_t used = 0;

	for (size_t i = 0; i < attest->selection_count; i++)
		for (unsigned index = 0; index < TPM_PCR_COUNT; index++) {
			const struct tpm_selection *selection = &attest->selections[i];
			if (!(selection->pcrs & 1u << index))
				continue;
			const struct pcr_value *pcr = find_pcr(quote, selection->bank, index);
			if (!pcr)
				return fail(TPM_SELECTION_MISMATCH, "PCR %u of bank %s is quoted, but its value is not given", index,
					tpm_algorithm_name(selection->bank));
			writer_span(&w, pcr->value);
			used++;
		}
	if (used != quote->pcr_count)
		return fail(TPM_SELECTION_MISMATCH, "%zu PCR values are given, but %zu are quoted", quote->pcr_count, used);
	TRY(writer_finish(&w, &all));
	platform_digest(quote->signature.digest, all, digest);
	if (!span_equal(attest->pcr_digest, span_of(digest, platform_digest_size(quote->signature.digest))))
		return fail(TPM_PCR_MISMATCH, "the digest of the PCR values is not the one that was quoted");
	return OK;
}

result tpm_quote_verify(const struct tpm_quote *quote, struct tpm_attest *out)
{
	struct tpm_attest attest;
	TRY(tpm_attest_parse(quote->attest, &attest));
	TRY(platform_key_verify(quote->ak, &quote->signature, quote->attest));
	if (!quote->any_nonce && !span_equal(attest.extra_data, quote->nonce))
		return fail(TPM_NONCE_MISMATCH, "the quote's challenge is not the one expected");
	TRY(check_values(quote));
	TRY(check_bank(quote, &attest));
	TRY(check_pcrs(quote, &attest));
	*out = attest;
	return OK;
}

result tpm_log_check(struct span log, uint16_t bank, const struct pcr_value *pcrs, size_t pcr_count, uint32_t boot_pcrs, struct replay *out)
{
	struct replay replay;
	uint32_t given = 0;

	TRY(event_log_replay(log, bank, &replay));
	for (size_t i = 0; i < pcr_count; i++) {
		const struct pcr_value *pcr = &pcrs[i];
		if (pcr->bank != bank || pcr->index >= TPM_PCR_COUNT)
			continue;
		given |= 1u << pcr->index;
		if ((replay.touched & 1u << pcr->index) && !span_equal(pcr->value, span_of(replay.value[pcr->index], replay.size)))
			return fail(EVENT_LOG_MISMATCH, "the event log does not lead to the value of PCR %u", pcr->index);
	}
	uint32_t loose = replay.touched & boot_pcrs & ~given;
	if (loose != 0)
		return fail(EVENT_LOG_MISMATCH, "the event log measures PCR %d, which is not quoted", __builtin_ctz(loose));
	*out = replay;
	return OK;
}

/* ---- a whole piece of evidence ---- */

bool tpm_root_is_builtin(struct span der)
{
	/* None in this version: a maker's root is what the trust file names, and labelled so. */
	return der.len == 0;
}

struct judged {
	struct evidence envelope;
	struct tpm_evidence body;
	struct tpm_public ak, ek;
	struct tpm_attest attest;
	size_t root;
};

static result decode(struct span bytes, struct arena *arena, struct judged *j)
{
	if (bytes.len > EVIDENCE_MAX)
		return fail(TOO_LARGE, "evidence of %zu bytes", bytes.len);
	TRY(schema_decode(&evidence_schema, bytes, arena, &j->envelope));
	if (strcmp(j->envelope.media_type, EVIDENCE_TPM_TYPE) != 0)
		return fail(EVIDENCE_UNKNOWN, "evidence of type '%s'", j->envelope.media_type);
	TRY(schema_decode(&tpm_evidence_schema, j->envelope.body, arena, &j->body));
	if (j->envelope.submodule_count != 0)
		return fail(EVIDENCE_UNKNOWN, "evidence of a TPM with submodules");
	if (j->envelope.seq == 0 || j->envelope.has_prev != (j->envelope.seq > 1))
		return fail(BAD_VALUE, "evidence number %llu", (unsigned long long)j->envelope.seq);
	TRY(tpm_public_parse(j->body.ak_public, &j->ak));
	return tpm_public_parse(j->body.ek_public, &j->ek);
}

/* Restricted decryption key of this TPM: only such a key opens a credential for a key beside it. */
static result check_ek(const struct tpm_public *ek)
{
	const uint32_t wanted = TPM_RESTRICTED | TPM_DECRYPT | TPM_FIXED_TPM | TPM_FIXED_PARENT | TPM_SENSITIVE_DATA_ORIGIN;
	if ((ek->attributes & wanted) != wanted || ek->attributes & TPM_SIGN)
		return fail(TPM_AK_UNFIT, "the endorsement key is no restricted decryption key of one TPM");
	return OK;
}

static result check_chain(struct judged *j, const struct tpm_trust *trust, uint64_t at_ms, struct tpm_verdict *v)
{
	CLEANUP(platform_key_free) struct platform_key ek = PLATFORM_KEY_EMPTY, leaf = PLATFORM_KEY_EMPTY;
	struct span chain[8];

	TRY(check_ek(&j->ek));
	TRY(tpm_public_key(&j->ek, &ek));
	memcpy(v->ek_id, ek.id, sizeof(v->ek_id));
	if (j->body.ek_chain_count == 0)
		return fail(EK_UNTRUSTED, "the TPM has no endorsement certificate");
	for (size_t i = 0; i < j->body.ek_chain_count && i < COUNT_OF(chain); i++)
		chain[i] = j->body.ek_chain[i].bytes;
	TRY(certificate_chain_verify(chain, j->body.ek_chain_count, trust->roots, trust->root_count, at_ms, &j->root, &leaf));
	if (memcmp(leaf.id, ek.id, sizeof(ek.id)) != 0)
		return fail(EK_UNTRUSTED, "the endorsement certificate is of another key");
	v->synthetic = !tpm_root_is_builtin(trust->roots[j->root]);
	return OK;
}

static result check_enrolled(struct judged *j, const struct tpm_trust *trust, struct tpm_verdict *v)
{
	uint8_t name[TPM_NAME_MAX];
	size_t len;
	TRY(tpm_public_name(&j->ak, name, &len));
	sha256(span_of(name, len), v->ak_name);
	for (size_t i = 0; i < trust->enrolled_count; i++)
		if (memcmp(trust->enrolled[i].ak_name, v->ak_name, SHA256_SIZE) == 0 &&
			memcmp(trust->enrolled[i].ek_id, v->ek_id, SHA256_SIZE) == 0)
			return OK;
	return fail(AK_NOT_ENROLLED, "nobody has enrolled the attestation key of this TPM");
}

static result check_quote(struct judged *j, struct tpm_verdict *v)
{
	CLEANUP(platform_key_free) struct platform_key ak = PLATFORM_KEY_EMPTY;
	struct pcr_value values[TPM_PCR_COUNT];
	uint8_t binding[SHA256_SIZE];
	struct tpm_quote quote = {.attest = j->body.attest, .ak = &ak, .pcrs = values, .bank = j->body.bank, .nonce = SPAN_ARRAY(binding)};

	if (j->body.bank != TPM_SHA256 && j->body.bank != TPM_SHA384)
		return fail(TPM_WRONG_BANK, "the evidence is over bank %s", tpm_algorithm_name(j->body.bank));
	TRY(tpm_ak_check(&j->ak));
	TRY(tpm_public_key(&j->ak, &ak));
	TRY(tpm_signature_parse(j->body.signature, &quote.signature));
	TRY(tpm_evidence_binding(&j->envelope, &j->body, binding));
	for (size_t i = 0; i < j->body.pcr_count && i < COUNT_OF(values); i++) {
		values[i] = (struct pcr_value){j->body.bank, j->body.pcrs[i].index, j->body.pcrs[i].value};
		v->pcrs |= 1u << j->body.pcrs[i].index;
	}
	quote.pcr_count = j->body.pcr_count;
	TRY(tpm_quote_verify(&quote, &j->attest));
	return tpm_signer_check(&j->attest, &j->ak);
}


static result check_log(struct judged *j, struct tpm_verdict *v)
{
	CLEANUP(writer_free) struct writer w = writer_growing(EVIDENCE_MAX);
	struct span all;
	struct event_log log;
	struct event event;
	bool more;
	uint8_t mirror[2 * SHA256_SIZE] = {0}, registers[2 * SHA384_SIZE];

	for (size_t i = 0; i < j->body.log_count; i++)
		writer_span(&w, j->body.log[i].bytes);
	TRY(writer_finish(&w, &all));
	if (all.len == 0)
		return fail(EVENT_LOG_DAMAGED, "the evidence has no boot log");
	TRY(event_log_open(all, &log));
	if (log.form != EVENT_LOG_CEL_CBOR)
		return fail(EVENT_LOG_DAMAGED, "the boot log is of another form");
	for (size_t i = 0;; i++) {
		TRY(event_log_next(&log, &more, &event));
		if (!more)
			break;
		if (event.pcr >= PLATFORM_REGISTERS || event.digest_count != 1 || event.digests[0].algorithm != TPM_SHA384 || !event.bound)
			return fail(EVENT_LOG_DAMAGED, "event %zu is no phase of a boot", i);
		sha384(event.data, registers + SHA384_SIZE);
		if (memcmp(registers + SHA384_SIZE, event.digests[0].bytes.data, SHA384_SIZE) != 0)
			return fail(EVENT_DIGEST_MISMATCH, "event %zu: the digest is not that of its content", i);
		memcpy(registers, v->registers[event.pcr].value, SHA384_SIZE);
		sha384(SPAN_ARRAY(registers), v->registers[event.pcr].value);
		sha256(event.data, mirror + SHA256_SIZE);
		sha256(SPAN_ARRAY(mirror), mirror);
	}
	for (size_t i = 0; i < j->body.pcr_count; i++)
		if (j->body.pcrs[i].index == TPM_MIRROR_PCR && j->body.bank == TPM_SHA256 &&
			!span_equal(j->body.pcrs[i].value, span_of(mirror, SHA256_SIZE)))
			return fail(EVENT_LOG_MISMATCH, "the boot log does not lead to the value of PCR %d", TPM_MIRROR_PCR);
	return OK;
}

static result check_references(const struct judged *j, const struct tpm_trust *trust)
{
	for (size_t i = 0; i < trust->reference_count; i++) {
		uint8_t index = trust->references[i].index;
		const struct tpm_pcr *pcr = NULL;
		bool matches = false;
		for (size_t p = 0; p < j->body.pcr_count; p++)
			if (j->body.pcrs[p].index == index)
				pcr = &j->body.pcrs[p];
		for (size_t r = 0; pcr && r < trust->reference_count; r++)
			matches |= trust->references[r].index == index && span_equal(trust->references[r].value, pcr->value);
		if (!matches)
			return fail(TPM_PCR_MISMATCH, "PCR %u has none of the expected values", index);
	}
	return OK;
}

static result check_expected(const struct judged *j, const struct tpm_expectation *expected)
{
	if (expected->epoch_oid && memcmp(expected->epoch_oid, j->body.epoch_oid, OID_SIZE) != 0)
		return fail(TPM_NONCE_MISMATCH, "the platform evidence is about another epoch");
	if (expected->boot_gen && *expected->boot_gen != j->body.boot_gen)
		return fail(TPM_NONCE_MISMATCH, "the platform evidence is about another start of the secure processor");
	if (expected->nonce.len > 0 && !span_equal(expected->nonce, j->body.nonce))
		return fail(TPM_NONCE_MISMATCH, "the platform evidence answers another challenge");
	if (j->body.time > expected->at_ms && j->body.time - expected->at_ms > SKEW_MS)
		return fail(EVIDENCE_TOO_STALE, "the platform evidence is dated in the future");
	if (expected->max_age_ms != 0 && j->body.time < expected->at_ms && expected->at_ms - j->body.time > expected->max_age_ms)
		return fail(EVIDENCE_TOO_STALE, "the platform evidence is %llu s old", (unsigned long long)((expected->at_ms - j->body.time) / 1000));
	return OK;
}

static result judge(struct judged *j, const struct tpm_trust *trust, const struct tpm_expectation *expected, struct tpm_verdict *v)
{
	TRY(check_quote(j, v));
	TRY(check_log(j, v));
	TRY(check_expected(j, expected));
	TRY(check_references(j, trust));
	TRY(check_chain(j, trust, expected->at_ms, v));
	return check_enrolled(j, trust, v);
}

result tpm_evidence_verify(struct span envelope, const struct tpm_trust *trust, const struct tpm_expectation *expected,
	struct arena *arena, struct tpm_verdict *out)
{
	struct judged j = {0};
	struct tpm_verdict v = {0};
	TRY(decode(envelope, arena, &j));
	TRY(judge(&j, trust, expected, &v));
	v.time = j.body.time;
	v.boot_gen = j.body.boot_gen;
	v.seq = j.envelope.seq;
	memcpy(v.epoch_oid, j.body.epoch_oid, OID_SIZE);
	v.reset_count = j.attest.reset_count;
	v.restart_count = j.attest.restart_count;
	bool counts = !v.synthetic || trust->allow_synthetic;
	v.level = counts ? 2 : 1;
	v.capped_by = counts ? OK : EVIDENCE_SYNTHETIC;
	*out = v;
	return OK;
}
