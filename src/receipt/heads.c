#include "receipt/heads.h"

#include <stdlib.h>

#include "evidence/tpm.h"
#include "evidence/tpm_head.h"
#include "receipt/epochs.h"

/* ---- Who says so ------------------------------------------------------------------------------------------ */

/* The secure processor, under an epoch of a trusted root that has not been stopped since. */
static result check_statement(const struct head_expectation *expected, const struct head_verdict *v)
{
	CLEANUP(receipt_epochs_free) struct receipt_epochs epochs = {0};
	static const struct epoch_history nothing;
	const struct epoch_history *known = expected->known ? expected->known : &nothing;
	const struct bytes_list chain = {v->proof.epochs, v->proof.epoch_count};
	const struct used_epoch *used;
	const struct trust_root *root = trust_root_find(expected->trust, v->statement.rot_id);
	if (!root)
		return fail(DAC_UNTRUSTED_ROOT, "the trust file does not name the root of this history");
	TRY(receipt_epochs_begin(root, &epochs));
	TRY(receipt_epochs_read(&epochs, root, &chain, expected->trust, known));
	TRY(receipt_epochs_use(&epochs, v->statement.epoch_oid, &used));
	TRY(object_verify(KIND_HEAD_PROOF, v->proof.statement, &used->key));
	if (v->statement.time < used->link->not_before || v->statement.time > used->link->not_after)
		return fail(EPOCH_EXPIRED, "the head was signed outside the validity of its epoch");
	if (v->statement.time > expected->latest_ms)
		return fail(DAC_TIME, "the head is of the future");
	return receipt_epochs_stand(&epochs, root, expected->trust, known);
}

static result check_enrolled(const struct platform_trust *trust, const struct tpm_public *ak, struct head_verdict *v)
{
	uint8_t name[TPM_NAME_MAX], id[SHA256_SIZE];
	size_t len;
	TRY(tpm_public_name(ak, name, &len));
	sha256(span_of(name, len), id);
	for (size_t i = 0; i < trust->enrolled_count; i++)
		v->enrolled |= memcmp(trust->enrolled[i].ak, id, SHA256_SIZE) == 0;
	if (trust->enrolled_count && !v->enrolled)
		return fail(AK_NOT_ENROLLED, "the head is certified by a TPM that the trust file does not name");
	return OK;
}

/* ---- What is said ------------------------------------------------------------------------------------------ */

static result check_head(const struct head_expectation *expected, struct head_verdict *v)
{
	CLEANUP(platform_key_free) struct platform_key key = PLATFORM_KEY_EMPTY;
	struct tpm_public ak;
	struct tpm_head head = {.attest = v->statement.attest, .ak = &key, .nonce = expected->nonce, .index = v->statement.index,
		.log = v->proof.log, .log_count = v->proof.log_count};
	TRY(tpm_public_parse(v->statement.ak_public, &ak));
	TRY(tpm_ak_check(&ak));
	TRY(check_enrolled(&expected->trust->platform, &ak, v));
	TRY(tpm_public_key(&ak, &key));
	TRY(tpm_signature_parse(v->statement.signature, &head.signature));
	if (!span_equal(v->statement.nonce, expected->nonce))
		return fail(TPM_NONCE_MISMATCH, "the secure processor was asked with another nonce");
	return tpm_head_verify(&head);
}

static result check_birth(const struct head_verdict *v)
{
	uint8_t digest[SHA256_SIZE];
	const struct head_birth *birth = &v->proof.birth;
	head_birth_digest(birth, digest);
	if (memcmp(v->proof.log[0].bytes, digest, SHA256_SIZE) != 0)
		return fail(HEAD_MISMATCH, "the history does not begin with its birth");
	if (memcmp(birth->rot_id, v->statement.rot_id, OID_SIZE) != 0)
		return fail(HEAD_MISMATCH, "the index was made by another root");
	if (birth->boot_gen > v->statement.boot_gen || birth->time > v->statement.time)
		return fail(HEAD_MISMATCH, "the index was made after it was certified");
	return OK;
}

static result check_opened(const struct head_verdict *v)
{
	for (size_t i = 0; i < v->proof.opened_count; i++) {
		const struct head_opened *opened = &v->proof.opened[i];
		uint8_t digest[SHA256_SIZE];
		TRY(head_entry_digest(opened->oids, opened->oid_count, digest));
		if (opened->at == 0 || opened->at >= v->proof.log_count || memcmp(v->proof.log[opened->at].bytes, digest, SHA256_SIZE) != 0)
			return fail(HEAD_MISMATCH, "entry %u is not what was entered", opened->at);
	}
	return OK;
}

static int compare_oids(const void *a, const void *b)
{
	return memcmp(a, b, OID_SIZE);
}

/* All that is opened, sorted. */
static result collect(const struct head_proof *proof, struct arena *arena, struct digest32 **out, size_t *out_count)
{
	size_t count = 0, at = 0;
	void *memory;
	for (size_t i = 0; i < proof->opened_count; i++)
		count += proof->opened[i].oid_count;
	TRY(arena_alloc(arena, count + 1, sizeof(**out), &memory));
	*out = memory;
	for (size_t i = 0; i < proof->opened_count; i++)
		for (size_t k = 0; k < proof->opened[i].oid_count; k++)
			(*out)[at++] = proof->opened[i].oids[k];
	qsort(*out, count, sizeof(**out), compare_oids);
	*out_count = count;
	return OK;
}

static result check_records(const struct dac *dac, struct arena *arena, const struct head_verdict *v)
{
	struct digest32 *oids;
	size_t count;
	TRY(collect(&v->proof, arena, &oids, &count));
	for (size_t i = 1; i < count; i++)
		if (memcmp(oids[i - 1].bytes, oids[i].bytes, OID_SIZE) == 0)
			return fail(HEAD_MISMATCH, "one record was entered twice");
	for (size_t i = 0; i < dac_count(dac); i++) {
		const struct record *record = dac_record(dac, i);
		if (memcmp(record->rot_id, v->rot_id, OID_SIZE) != 0)
			continue;
		if (!bsearch(dac_oid(dac, i), oids, count, sizeof(*oids), compare_oids))
			return fail(HEAD_RECORD_MISSING, "record %llu of %s", (unsigned long long)record->seq, record->enclave);
	}
	return OK;
}

/* ---- All of it ------------------------------------------------------------------------------------------------ */

result head_proof_judge(struct span bytes, const struct head_expectation *expected, struct arena *arena, struct head_verdict *out)
{
	*out = (struct head_verdict){.enrolled = false};
	TRY(schema_decode(&head_proof_schema, bytes, arena, &out->proof));
	TRY(object_peek(KIND_HEAD_PROOF, out->proof.statement, arena, &out->statement, NULL));
	memcpy(out->rot_id, out->statement.rot_id, OID_SIZE);
	if (expected->nonce.len == 0)
		return fail(HEAD_NONCE_NEEDED, "the chain brings a proof of its host's history");
	TRY(check_statement(expected, out));
	TRY(check_head(expected, out));
	TRY(check_birth(out));
	TRY(check_opened(out));
	return expected->dac ? check_records(expected->dac, arena, out) : OK;
}

result head_proof_follows(const struct head_proof *earlier, const struct head_proof *now)
{
	if (memcmp(earlier->log[0].bytes, now->log[0].bytes, SHA256_SIZE) != 0)
		return fail(HEAD_REMADE, "the history was begun anew in start %llu of the secure processor; the one shown earlier in start %llu",
			(unsigned long long)now->birth.boot_gen, (unsigned long long)earlier->birth.boot_gen);
	if (now->log_count < earlier->log_count)
		return fail(HEAD_REWRITTEN, "%zu entries; %zu were shown earlier", now->log_count, earlier->log_count);
	for (size_t i = 0; i < earlier->log_count; i++)
		if (memcmp(earlier->log[i].bytes, now->log[i].bytes, SHA256_SIZE) != 0)
			return fail(HEAD_REWRITTEN, "entry %zu is another one than was shown earlier", i);
	return OK;
}
