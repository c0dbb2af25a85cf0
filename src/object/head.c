#include "object/head.h"

#include "base/writer.h"

enum { ENTRY_HEADER = 32 };

static const struct field birth_fields[] = {
	F_FIXED(struct head_birth, 1, rot_id),
	F_FIXED(struct head_birth, 2, epoch_oid),
	F_UINT(struct head_birth, 3, boot_gen, 0),
	F_TIME(struct head_birth, 4, time),
};
const struct schema head_birth_schema = SCHEMA(struct head_birth, "head birth", SHAPE_MAP, birth_fields);

static const struct field statement_fields[] = {
	F_VERSION(struct head_statement, 1, v, 1),
	F_FIXED(struct head_statement, 2, rot_id),
	F_FIXED(struct head_statement, 3, epoch_oid),
	F_UINT(struct head_statement, 4, boot_gen, 0),
	F_UINT(struct head_statement, 5, seq, 0),
	F_TIME(struct head_statement, 6, time),
	F_UINT(struct head_statement, 7, index, 0),
	F_BYTES(struct head_statement, 8, nonce, 1, HEAD_NONCE_MAX),
	F_BYTES(struct head_statement, 9, ak_public, 1, 1024),
	F_BYTES(struct head_statement, 10, attest, 1, 1024),
	F_BYTES(struct head_statement, 11, signature, 1, 1024),
};
const struct schema head_statement_schema = SCHEMA(struct head_statement, "head proof", SHAPE_MAP, statement_fields);

static const struct field opened_fields[] = {
	F_UINT(struct head_opened, 1, at, HEAD_LOG_MAX),
	F_LIST(struct head_opened, 2, oids, oid_count, &digest32_schema, 0, 1, HEAD_ENTRY_MAX),
};
static const struct schema opened_schema = SCHEMA(struct head_opened, "opened entry", SHAPE_ARRAY, opened_fields);

static const struct field proof_fields[] = {
	F_VERSION(struct head_proof, 1, v, 1),
	F_BYTES(struct head_proof, 2, statement, 1, 8192),
	F_STRUCT(struct head_proof, 3, birth, &head_birth_schema),
	F_LIST(struct head_proof, 4, log, log_count, &digest32_schema, 0, 1, HEAD_LOG_MAX),
	F_LIST(struct head_proof, 5, opened, opened_count, &opened_schema, FIELD_SORTED, 0, HEAD_OPENED_MAX),
	F_LIST(struct head_proof, 6, epochs, epoch_count, &bytes_item_schema, 0, 1, HEAD_EPOCHS_MAX),
};
const struct schema head_proof_schema = SCHEMA(struct head_proof, "history of a host", SHAPE_MAP, proof_fields);

void head_birth_digest(const struct head_birth *birth, uint8_t out[static SHA256_SIZE])
{
	static const char label[] = "troth head birth1";
	uint8_t text[sizeof(label) - 1 + 2 * OID_SIZE + 16];
	struct writer w = writer_fixed(text, sizeof(text));
	writer_str(&w, label);
	writer_put(&w, birth->rot_id, OID_SIZE);
	writer_put(&w, birth->epoch_oid, OID_SIZE);
	writer_u64(&w, birth->boot_gen);
	writer_u64(&w, birth->time);
	sha256(SPAN_ARRAY(text), out);
}

result head_entry_digest(const struct digest32 *oids, size_t count, uint8_t out[static SHA256_SIZE])
{
	uint8_t header[ENTRY_HEADER];
	struct span begin;
	struct hash hash = {0};
	struct writer w = writer_fixed(header, sizeof(header));
	writer_str(&w, "troth head entry1");
	writer_u32(&w, (uint32_t)count);
	TRY(writer_finish(&w, &begin));
	TRY(hash_start(&hash, HASH_SHA256));
	hash_add(&hash, begin);
	for (size_t i = 0; i < count; i++)
		hash_add(&hash, SPAN_ARRAY(oids[i].bytes));
	hash_finish(&hash, out);
	return OK;
}

void head_begin(uint8_t head[static SHA256_SIZE])
{
	static const uint8_t zeros[2 * SHA256_SIZE];
	sha256(SPAN_ARRAY(zeros), head);
}

void head_step(uint8_t head[static SHA256_SIZE], const uint8_t digest[static SHA256_SIZE])
{
	uint8_t both[2 * SHA256_SIZE];
	memcpy(both, head, SHA256_SIZE);
	memcpy(both + SHA256_SIZE, digest, SHA256_SIZE);
	sha256(SPAN_ARRAY(both), head);
}
