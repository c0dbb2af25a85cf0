/* Evidence of a whole platform: chain, enrolment, binding to epoch and boot log, labels and caps (EV-44). */
#include "expect.h"

#include "groups.h"
#include "platform.h"

#include "crypto/random.h"
#include "wire/cbor.h"

enum { HOUR_MS = 3600 * 1000, EVENTS = 3 };
static const uint64_t now_ms = 1800000000000;

struct world {
	struct key ak, ek, ca;
	uint8_t ak_public[256], ek_public[256], attest[512], signature[128];
	uint8_t values[24][32], signer[TPM_NAME_MAX];
	size_t signer_len;
	struct bytes root, certificate, encoded;
	struct bytes_item chain[1], log[EVENTS];
	uint8_t records[EVENTS][128];
	struct tpm_pcr pcrs[24];
	struct evidence envelope;
	struct tpm_evidence body;
	struct tpm_enrolled enrolled;
	struct span roots[1];
	struct tpm_trust trust;
	struct tpm_expectation expected;
	uint32_t attributes;
	uint16_t bank;
	bool foreign_signer;
	struct arena arena;
};

static void put_record(struct world *w, size_t i, const char *content)
{
	uint8_t digest[SHA384_SIZE];
	struct writer out = writer_fixed(w->records[i], sizeof(w->records[i]));
	sha384(span_str(content), digest);
	cbor_put_map(&out, 4);
	cbor_put_uint(&out, 0);
	cbor_put_uint(&out, i);
	cbor_put_uint(&out, 1);
	cbor_put_uint(&out, i == 0 ? 0 : 1);
	cbor_put_uint(&out, 3);
	cbor_put_map(&out, 1);
	cbor_put_uint(&out, 12);
	cbor_put_bytes(&out, SPAN_ARRAY(digest));
	cbor_put_uint(&out, 16);
	cbor_put_bytes(&out, span_str(content));
	expect_ok(writer_finish(&out, &w->log[i].bytes));
	uint8_t mirror[64];
	memcpy(mirror, w->values[TPM_MIRROR_PCR], 32);
	sha256(span_str(content), mirror + 32);
	sha256(SPAN_ARRAY(mirror), w->values[TPM_MIRROR_PCR]);
}

/* Signs and encodes what the fields say. */
static void seal(struct world *w)
{
	uint8_t binding[SHA256_SIZE];
	struct fake_quote fake = {.magic = 0xff544347, .type = 0x8018, .signer = span_of(w->signer, w->signer_len), .nonce = SPAN_ARRAY(binding),
		.selection_count = 1, .bank = w->body.bank, .values = w->values[0]};
	for (size_t i = 0; i < w->body.pcr_count; i++)
		fake.pcrs |= 1u << w->body.pcrs[i].index;
	expect_ok(tpm_evidence_binding(&w->envelope, &w->body, binding));
	w->body.attest = span_of(w->attest, put_attest(&fake, w->attest));
	w->body.signature = span_of(w->signature, put_signature(w->foreign_signer ? &w->ek : &w->ak, w->body.attest, w->signature));
}

static result judge(struct world *w, struct tpm_verdict *out)
{
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY, whole = BYTES_EMPTY;
	expect_ok(schema_encode(&tpm_evidence_schema, &w->body, &body));
	w->envelope.body = bytes_span(&body);
	expect_ok(schema_encode(&evidence_schema, &w->envelope, &whole));
	arena_free(&w->arena);
	return tpm_evidence_verify(bytes_span(&whole), &w->trust, &w->expected, &w->arena, out);
}

static result sealed(struct world *w, struct tpm_verdict *out)
{
	seal(w);
	return judge(w, out);
}

static void set_ak(struct world *w, uint32_t attributes)
{
	struct tpm_public area;
	uint8_t name[TPM_NAME_MAX];
	size_t len;
	w->body.ak_public = span_of(w->ak_public, put_ecc_public(&w->ak, attributes, w->ak_public));
	expect_ok(tpm_public_parse(w->body.ak_public, &area));
	expect_ok(tpm_public_name(&area, name, &len));
	sha256(span_of(name, len), w->enrolled.ak_name);
	expect_ok(tpm_qualified_name(TPM_SHA256, TPM_ENDORSEMENT, span_of(name, len), w->signer, &w->signer_len));
}

static int setup(void **state)
{
	static struct world world;
	static const uint8_t pcrs[] = {0, 4, 7, 23};
	struct world *w = &world;
	*w = (struct world){.arena = arena_of(1 << 20)};
	expect_ok(key_generate(&w->ak));
	expect_ok(key_generate(&w->ek));
	expect_ok(key_generate(&w->ca));
	random_bytes(w->values, sizeof(w->values));
	memset(w->values[TPM_MIRROR_PCR], 0, 32);
	w->root = make_root(&w->ca, "maker of TPMs");
	w->certificate = make_ek_certificate(&w->ek, &w->ca, bytes_span(&w->root), 3650, false);
	w->chain[0].bytes = bytes_span(&w->certificate);
	put_record(w, 0, "the secure processor");
	put_record(w, 1, "the host service");
	put_record(w, 2, "its settings");
	for (size_t i = 0; i < COUNT_OF(pcrs); i++)
		w->pcrs[i] = (struct tpm_pcr){pcrs[i], span_of(w->values[pcrs[i]], 32)};
	w->body = (struct tpm_evidence){.v = 1, .ek_chain = w->chain, .ek_chain_count = 1, .bank = TPM_SHA256, .pcrs = w->pcrs, .pcr_count = COUNT_OF(pcrs),
		.log = w->log, .log_count = EVENTS, .boot_gen = 4, .time = now_ms - HOUR_MS, .epoch_oid = {9}, .nonce = span_str("challenge")};
	w->body.ek_public = span_of(w->ek_public, put_ecc_public(&w->ek, EK_ATTRIBUTES, w->ek_public));
	set_ak(w, AK_ATTRIBUTES);
	memcpy(w->enrolled.ek_id, w->ek.id, KEY_ID_SIZE);
	w->envelope = (struct evidence){.media_type = EVIDENCE_TPM_TYPE, .seq = 1};
	w->roots[0] = bytes_span(&w->root);
	w->trust = (struct tpm_trust){.roots = w->roots, .root_count = 1, .enrolled = &w->enrolled, .enrolled_count = 1, .allow_synthetic = true};
	w->expected = (struct tpm_expectation){.at_ms = now_ms};
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	key_free(&w->ak);
	key_free(&w->ek);
	key_free(&w->ca);
	bytes_free(&w->root);
	bytes_free(&w->certificate);
	arena_free(&w->arena);
	return 0;
}

static void genuine(void **state)
{
	struct world *w = *state;
	struct tpm_verdict v;
	uint8_t registers[2 * SHA384_SIZE] = {0};
	expect_ok(sealed(w, &v));
	assert_int_equal(v.level, 2);
	assert_true(v.synthetic);
	assert_int_equal(v.capped_by, OK);
	assert_int_equal(v.boot_gen, 4);
	assert_int_equal(v.pcrs, 1u | 1u << 4 | 1u << 7 | 1u << 23);
	sha384(span_str("the secure processor"), registers + SHA384_SIZE);
	sha384(SPAN_ARRAY(registers), registers);
	assert_memory_equal(v.registers[0].value, registers, SHA384_SIZE);
	w->envelope.seq = 2;
	w->envelope.has_prev = true;
	expect_ok(sealed(w, &v));
}

static void ev44_simulator_is_level_1_unless_allowed(void **state)
{
	struct world *w = *state;
	struct tpm_verdict v;
	w->trust.allow_synthetic = false;
	expect_ok(sealed(w, &v));
	assert_int_equal(v.level, 1);
	assert_true(v.synthetic);
	assert_int_equal(v.capped_by, EVIDENCE_SYNTHETIC);
}

static void root_that_nobody_named(void **state)
{
	struct world *w = *state;
	struct tpm_verdict v;
	CLEANUP(key_free) struct key other = KEY_EMPTY;
	expect_ok(key_generate(&other));
	CLEANUP(bytes_free) struct bytes foreign = make_root(&other, "maker of TPMs"); /* of the same name */
	seal(w);
	w->roots[0] = bytes_span(&foreign);
	expect(judge(w, &v), EK_UNTRUSTED);
	w->trust.root_count = 0;
	expect(judge(w, &v), EK_UNTRUSTED);
	w->trust.root_count = 1;
	w->roots[0] = bytes_span(&w->root);
	expect_ok(judge(w, &v));
	w->body.ek_chain_count = 0;
	expect(judge(w, &v), EK_UNTRUSTED);
}

static void endorsement_certificates(void **state)
{
	struct world *w = *state;
	struct tpm_verdict v;
	CLEANUP(bytes_free) struct bytes expired = make_ek_certificate(&w->ek, &w->ca, bytes_span(&w->root), -10, false);
	CLEANUP(bytes_free) struct bytes of_other = make_ek_certificate(&w->ak, &w->ca, bytes_span(&w->root), 3650, false);
	CLEANUP(bytes_free) struct bytes authority = make_ek_certificate(&w->ek, &w->ca, bytes_span(&w->root), 3650, true);
	seal(w);
	w->chain[0].bytes = bytes_span(&expired);
	expect(judge(w, &v), CERTIFICATE_EXPIRED);
	w->chain[0].bytes = bytes_span(&of_other);
	expect(judge(w, &v), EK_UNTRUSTED);
	w->chain[0].bytes = bytes_span(&authority);
	expect(judge(w, &v), BAD_CERTIFICATE);
	w->chain[0].bytes = span_str("no certificate");
	expect(judge(w, &v), BAD_CERTIFICATE);
	w->chain[0].bytes = bytes_span(&w->certificate);
	w->expected.at_ms = now_ms + 20ull * 365 * 24 * HOUR_MS;
	expect(judge(w, &v), CERTIFICATE_EXPIRED);
}

static void keys_that_are_not_enrolled(void **state)
{
	struct world *w = *state;
	struct tpm_verdict v;
	seal(w);
	w->enrolled.ak_name[0] ^= 1;
	expect(judge(w, &v), AK_NOT_ENROLLED);
	w->enrolled.ak_name[0] ^= 1;
	w->enrolled.ek_id[31] ^= 1; /* the key is enrolled, but for another TPM */
	expect(judge(w, &v), AK_NOT_ENROLLED);
	w->trust.enrolled_count = 0;
	expect(judge(w, &v), AK_NOT_ENROLLED);
}

static void keys_that_do_not_attest(void **state)
{
	struct world *w = *state;
	struct tpm_verdict v;
	set_ak(w, AK_ATTRIBUTES & ~(uint32_t)TPM_RESTRICTED);
	expect(sealed(w, &v), TPM_AK_UNFIT);
	set_ak(w, AK_ATTRIBUTES);
	w->body.ek_public = span_of(w->ek_public, put_ecc_public(&w->ek, AK_ATTRIBUTES, w->ek_public));
	expect(sealed(w, &v), TPM_AK_UNFIT);
	w->body.ek_public = span_of(w->ek_public, put_ecc_public(&w->ek, EK_ATTRIBUTES, w->ek_public));
	w->foreign_signer = true;
	expect(sealed(w, &v), BAD_SIGNATURE);
	w->foreign_signer = false;
	w->signer[12] ^= 1;
	expect(sealed(w, &v), TPM_SIGNER_MISMATCH);
}

/* Whatever the quote binds cannot be exchanged below it. */
static void bound_fields(void **state)
{
	struct world *w = *state;
	struct tpm_verdict v;
	seal(w);
	w->body.epoch_oid[5] ^= 1;
	expect(judge(w, &v), TPM_NONCE_MISMATCH);
	w->body.epoch_oid[5] ^= 1;
	w->body.boot_gen++;
	expect(judge(w, &v), TPM_NONCE_MISMATCH);
	w->body.boot_gen--;
	w->body.time++;
	expect(judge(w, &v), TPM_NONCE_MISMATCH);
	w->body.time--;
	w->body.nonce = span_str("challengf");
	expect(judge(w, &v), TPM_NONCE_MISMATCH);
	w->body.nonce = span_str("challenge");
	w->envelope.seq = 2;
	w->envelope.has_prev = true;
	expect(judge(w, &v), TPM_NONCE_MISMATCH);
	w->envelope.has_prev = false;
	expect(judge(w, &v), BAD_VALUE);
	w->envelope.seq = 1;
	w->body.log_count = 2;
	expect(judge(w, &v), TPM_NONCE_MISMATCH);
	w->body.log_count = EVENTS;
	expect_ok(judge(w, &v));
}

static void expectations(void **state)
{
	struct world *w = *state;
	struct tpm_verdict v;
	const uint8_t epoch[OID_SIZE] = {9}, other[OID_SIZE] = {8};
	const uint64_t boot = 4, next = 5;
	seal(w);
	w->expected = (struct tpm_expectation){.at_ms = now_ms, .max_age_ms = HOUR_MS, .epoch_oid = epoch, .boot_gen = &boot, .nonce = span_str("challenge")};
	expect_ok(judge(w, &v));
	w->expected.epoch_oid = other;
	expect(judge(w, &v), TPM_NONCE_MISMATCH);
	w->expected.epoch_oid = epoch;
	w->expected.boot_gen = &next;
	expect(judge(w, &v), TPM_NONCE_MISMATCH);
	w->expected.boot_gen = &boot;
	w->expected.nonce = span_str("another");
	expect(judge(w, &v), TPM_NONCE_MISMATCH);
	w->expected.nonce = SPAN_EMPTY;
	w->expected.max_age_ms = HOUR_MS - 1;
	expect(judge(w, &v), EVIDENCE_TOO_STALE);
	w->expected.max_age_ms = 0;
	w->expected.at_ms = now_ms - 2 * HOUR_MS; /* made in the future */
	expect(judge(w, &v), EVIDENCE_TOO_STALE);
}

static void logs(void **state)
{
	struct world *w = *state;
	struct tpm_verdict v;
	w->values[TPM_MIRROR_PCR][0] ^= 1; /* the TPM saw other phases than the log tells */
	expect(sealed(w, &v), EVENT_LOG_MISMATCH);
	w->values[TPM_MIRROR_PCR][0] ^= 1;
	w->records[1][w->log[1].bytes.len - 1] ^= 1;
	expect(sealed(w, &v), EVENT_DIGEST_MISMATCH);
	w->records[1][w->log[1].bytes.len - 1] ^= 1;
	w->records[1][4] = 4; /* register 4: launches have no place here */
	expect(sealed(w, &v), EVENT_LOG_DAMAGED);
	w->records[1][4] = 1;
	w->records[2][2] = 7; /* number */
	expect(sealed(w, &v), EVENT_LOG_DAMAGED);
	w->records[2][2] = 2;
	expect_ok(sealed(w, &v));
	w->body.log_count = 0;
	expect(sealed(w, &v), EVENT_LOG_DAMAGED);
}

static void references(void **state)
{
	struct world *w = *state;
	struct tpm_verdict v;
	uint8_t wrong[32] = {0};
	struct tpm_reference rows[] = {{7, SPAN_ARRAY(wrong)}, {7, SPAN_ARRAY(w->values[7])}};
	w->trust.references = rows;
	w->trust.reference_count = 2;
	expect_ok(sealed(w, &v));
	w->trust.reference_count = 1;
	expect(sealed(w, &v), TPM_PCR_MISMATCH);
	rows[0].index = 9; /* not quoted */
	expect(sealed(w, &v), TPM_PCR_MISMATCH);
}

static void other_types_and_banks(void **state)
{
	struct world *w = *state;
	struct tpm_verdict v;
	seal(w);
	w->envelope.media_type = "application/vnd.troth.tpm-quote.v2+cbor";
	expect(judge(w, &v), EVIDENCE_UNKNOWN);
	w->envelope.media_type = EVIDENCE_TPM_TYPE;
	w->envelope.submodules = &(struct evidence_submodule){"x", span_str("y")};
	w->envelope.submodule_count = 1;
	expect(judge(w, &v), EVIDENCE_UNKNOWN);
	w->envelope.submodule_count = 0;
	w->body.bank = TPM_SHA1;
	expect(sealed(w, &v), TPM_WRONG_BANK);
	w->body.bank = TPM_SHA384; /* with values of another width */
	expect(sealed(w, &v), TPM_SELECTION_MISMATCH);
	expect(tpm_evidence_verify(SPAN_EMPTY, &w->trust, &w->expected, &w->arena, &v), TRUNCATED);
}

int envelope_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(genuine, setup, teardown),
		cmocka_unit_test_setup_teardown(ev44_simulator_is_level_1_unless_allowed, setup, teardown),
		cmocka_unit_test_setup_teardown(root_that_nobody_named, setup, teardown),
		cmocka_unit_test_setup_teardown(endorsement_certificates, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_that_are_not_enrolled, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_that_do_not_attest, setup, teardown),
		cmocka_unit_test_setup_teardown(bound_fields, setup, teardown),
		cmocka_unit_test_setup_teardown(expectations, setup, teardown),
		cmocka_unit_test_setup_teardown(logs, setup, teardown),
		cmocka_unit_test_setup_teardown(references, setup, teardown),
		cmocka_unit_test_setup_teardown(other_types_and_banks, setup, teardown),
	};
	return cmocka_run_group_tests_name("platform evidence", tests, NULL, NULL);
}
