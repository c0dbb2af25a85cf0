#include "object/evidence.h"

enum { BODY_MAX = EVIDENCE_MAX, PUBLIC_MAX = 1024, LOG_MAX = 64, EVENT_MAX = 20 * 1024, CERTIFICATES_MAX = 8 };

static const struct field submodule_fields[] = {
	F_TEXT(struct evidence_submodule, 1, name, 1, NAME_MAX_LEN),
	F_BYTES(struct evidence_submodule, 2, evidence, 1, EVIDENCE_MAX),
};
static const struct schema submodule_schema = SCHEMA(struct evidence_submodule, "submodule", SHAPE_ARRAY, submodule_fields);

static const struct field evidence_fields[] = {
	F_TEXT(struct evidence, 1, media_type, 1, 127),
	F_BYTES(struct evidence, 2, body, 1, BODY_MAX),
	F_LIST(struct evidence, 3, submodules, submodule_count, &submodule_schema, FIELD_SORTED, 0, EVIDENCE_SUBMODULES_MAX),
	F_UINT(struct evidence, 4, seq, 0),
	F_FIXED_OR_NULL(struct evidence, 5, prev, has_prev),
};
const struct schema evidence_schema = SCHEMA(struct evidence, "evidence", SHAPE_MAP, evidence_fields);

static const struct field pcr_fields[] = {
	F_UINT(struct tpm_pcr, 1, index, 23),
	F_BYTES(struct tpm_pcr, 2, value, 20, SHA512_SIZE),
};
static const struct schema pcr_schema = SCHEMA(struct tpm_pcr, "pcr", SHAPE_ARRAY, pcr_fields);

static const struct field tpm_fields[] = {
	F_VERSION(struct tpm_evidence, 1, v, 1),
	F_LIST(struct tpm_evidence, 2, ek_chain, ek_chain_count, &bytes_item_schema, 0, 0, CERTIFICATES_MAX),
	F_BYTES(struct tpm_evidence, 3, ek_public, 1, PUBLIC_MAX),
	F_BYTES(struct tpm_evidence, 4, ak_public, 1, PUBLIC_MAX),
	F_BYTES(struct tpm_evidence, 5, attest, 1, PUBLIC_MAX),
	F_BYTES(struct tpm_evidence, 6, signature, 1, PUBLIC_MAX),
	F_UINT(struct tpm_evidence, 7, bank, 0),
	F_LIST(struct tpm_evidence, 8, pcrs, pcr_count, &pcr_schema, FIELD_SORTED, 1, 24),
	F_LIST(struct tpm_evidence, 9, log, log_count, &bytes_item_schema, 0, 0, LOG_MAX),
	F_FIXED(struct tpm_evidence, 10, epoch_oid),
	F_UINT(struct tpm_evidence, 11, boot_gen, 0),
	F_TIME(struct tpm_evidence, 12, time),
	F_BYTES(struct tpm_evidence, 13, nonce, 0, PLATFORM_NONCE_MAX),
};
const struct schema tpm_evidence_schema = SCHEMA(struct tpm_evidence, "tpm evidence", SHAPE_MAP, tpm_fields);

static const struct field enrolled_fields[] = {
	F_FIXED(struct platform_enrolled, 1, ak),
	F_FIXED(struct platform_enrolled, 2, ek),
};
static const struct schema enrolled_schema = SCHEMA(struct platform_enrolled, "enrolled key", SHAPE_ARRAY, enrolled_fields);

static const struct field expected_fields[] = {
	F_UINT(struct platform_pcr, 1, index, 23),
	F_FIXED(struct platform_pcr, 2, value),
};
static const struct schema expected_schema = SCHEMA(struct platform_pcr, "expected pcr", SHAPE_ARRAY, expected_fields);

static const struct field platform_trust_fields[] = {
	F_LIST(struct platform_trust, 1, roots, root_count, &bytes_item_schema, 0, 0, 64),
	F_LIST(struct platform_trust, 2, enrolled, enrolled_count, &enrolled_schema, 0, 0, 1024),
	F_LIST(struct platform_trust, 3, pcrs, pcr_count, &expected_schema, 0, 0, 1024),
	F_BOOL(struct platform_trust, 4, allow_synthetic),
};
const struct schema platform_trust_schema = SCHEMA(struct platform_trust, "platform trust", SHAPE_MAP, platform_trust_fields);

struct binding {
	uint8_t epoch_oid[OID_SIZE];
	uint64_t boot_gen, time;
	struct span nonce;
	uint64_t seq;
	uint8_t prev[SHA256_SIZE];
	bool has_prev;
	uint8_t log[SHA256_SIZE];
};
static const struct field binding_fields[] = {
	F_FIXED(struct binding, 1, epoch_oid),
	F_UINT(struct binding, 2, boot_gen, 0),
	F_TIME(struct binding, 3, time),
	F_BYTES(struct binding, 4, nonce, 0, PLATFORM_NONCE_MAX),
	F_UINT(struct binding, 5, seq, 0),
	F_FIXED_OR_NULL(struct binding, 6, prev, has_prev),
	F_FIXED(struct binding, 7, log),
};
static const struct schema binding_schema = SCHEMA(struct binding, "tpm binding", SHAPE_MAP, binding_fields);

static result log_digest(const struct tpm_evidence *body, uint8_t out[static SHA256_SIZE])
{
	struct hash hash = {0};
	TRY(hash_start(&hash, HASH_SHA256));
	for (size_t i = 0; i < body->log_count; i++)
		hash_add_lv(&hash, body->log[i].bytes);
	hash_finish(&hash, out);
	return OK;
}

result tpm_evidence_binding(const struct evidence *envelope, const struct tpm_evidence *body, uint8_t out[static SHA256_SIZE])
{
	struct binding binding = {
		.boot_gen = body->boot_gen,
		.time = body->time,
		.nonce = body->nonce,
		.seq = envelope->seq,
		.has_prev = envelope->has_prev,
	};
	memcpy(binding.epoch_oid, body->epoch_oid, OID_SIZE);
	memcpy(binding.prev, envelope->prev, sizeof(binding.prev));
	TRY(log_digest(body, binding.log));

	uint8_t input[512];
	struct writer w = writer_fixed(input, sizeof(input));
	struct span all;
	writer_str(&w, "troth tpm quote1");
	schema_put(&binding_schema, &binding, &w);
	TRY(writer_finish(&w, &all));
	sha256(all, out);
	return OK;
}
