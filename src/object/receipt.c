#include "object/receipt.h"

static const struct field row_fields[] = {
	F_UINT(struct receipt_section_row, 1, id, 0),
	F_FIXED(struct receipt_section_row, 2, digest),
	F_BOOL(struct receipt_section_row, 3, critical),
};
const struct schema receipt_section_row_schema = SCHEMA(struct receipt_section_row, "section", SHAPE_MAP, row_fields);

static const struct field head_fields[] = {
	F_VERSION(struct receipt_head, 1, v, 1),
	F_FIXED(struct receipt_head, 2, run_id),
	F_FIXED(struct receipt_head, 3, rand),
	F_FIXED_OR_NULL(struct receipt_head, 4, nonce, has_nonce),
	F_FIXED(struct receipt_head, 5, job_digest),
	F_FIXED(struct receipt_head, 6, rot_id),
	F_FIXED(struct receipt_head, 7, epoch_oid),
	F_UINT(struct receipt_head, 8, boot_gen, 0),
	F_UINT(struct receipt_head, 9, seq, 0),
	F_FIXED_OR_NULL(struct receipt_head, 10, prev, has_prev),
	F_TIME(struct receipt_head, 11, time),
	F_TEXT(struct receipt_head, 12, recorder, 1, 16),
	F_LIST(struct receipt_head, 13, roots, root_count, &digest32_schema, FIELD_SORTED, 1, 4096),
	F_LIST(struct receipt_head, 14, sections, section_count, &receipt_section_row_schema, FIELD_SORTED, 1, 64),
};
const struct schema receipt_head_schema = SCHEMA(struct receipt_head, "receipt head", SHAPE_MAP, head_fields);

static const struct field list_fields[] = {
	F_LIST(struct bytes_list, 1, items, count, &bytes_item_schema, 0, 0, 16 << 20),
};
const struct schema bytes_list_schema = SCHEMA(struct bytes_list, "list", SHAPE_BARE, list_fields);

static const struct field salt_fields[] = {
	F_FIXED(struct salt_row, 1, commit),
	F_FIXED(struct salt_row, 2, salt),
};
const struct schema salt_row_schema = SCHEMA(struct salt_row, "salt", SHAPE_ARRAY, salt_fields);
static const struct field salt_list_fields[] = {
	F_LIST(struct salt_list, 1, rows, count, &salt_row_schema, FIELD_SORTED, 0, 65536),
};
const struct schema salt_list_schema = SCHEMA(struct salt_list, "salts", SHAPE_BARE, salt_list_fields);

enum { ROOT_EPOCHS_MAX = 64 << 20, RECEIPT_MAX_ROOTS = 64 };
static const struct field root_fields[] = {
	F_FIXED(struct receipt_root_row, 1, rot_id),
	F_BYTES(struct receipt_root_row, 2, epochs, 1, ROOT_EPOCHS_MAX),
};
const struct schema receipt_root_row_schema = SCHEMA(struct receipt_root_row, "root", SHAPE_ARRAY, root_fields);
static const struct field roots_fields[] = {
	F_LIST(struct receipt_roots, 1, rows, count, &receipt_root_row_schema, FIELD_SORTED, 1, RECEIPT_MAX_ROOTS),
};
const struct schema receipt_roots_schema = SCHEMA(struct receipt_roots, "roots", SHAPE_BARE, roots_fields);

void run_id_compute(const uint8_t job_digest[static SHA256_SIZE], struct span nonce, const uint8_t rand[static 32],
	uint8_t out[static RUN_ID_SIZE])
{
	uint8_t input[10 + SHA256_SIZE + 4 + 32 + 32];
	struct writer w = writer_fixed(input, sizeof(input));
	writer_str(&w, "troth run1");
	writer_put(&w, job_digest, SHA256_SIZE);
	writer_lv(&w, nonce);
	writer_put(&w, rand, 32);
	sha256(span_of(input, w.len), out);
}

enum { RECEIPT_MAX = 1 << 30, RECEIPT_MAX_SECTIONS = 64, HEAD_MAX = 1 << 20 };

result receipt_encode(struct span head, const struct receipt_section *sections, size_t count, struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(RECEIPT_MAX);
	cbor_put_map(&w, 3);
	cbor_put_uint(&w, 1);
	cbor_put_bytes(&w, head);
	cbor_put_uint(&w, 2);
	cbor_put_array(&w, count);
	for (size_t i = 0; i < count; i++) {
		cbor_put_array(&w, 2);
		cbor_put_uint(&w, sections[i].id);
		cbor_put_bytes(&w, sections[i].bytes);
	}
	cbor_put_uint(&w, 3);
	struct span before;
	TRY(writer_finish(&w, &before));
	uint8_t digest[SHA256_SIZE];
	sha256(before, digest);
	cbor_put_bytes(&w, SPAN_ARRAY(digest));
	return writer_take(&w, out);
}

static result expect_key(struct reader *r, uint64_t expected)
{
	uint64_t key;
	TRY(cbor_read_uint(r, &key));
	return key == expected ? OK : fail(UNKNOWN_FIELD, "receipt: key %llu, expected %llu", (unsigned long long)key,
						 (unsigned long long)expected);
}

static result read_sections(struct reader *r, struct arena *arena, struct receipt *out)
{
	size_t count;
	TRY(cbor_read_array(r, &count));
	if (count > RECEIPT_MAX_SECTIONS)
		return fail(TOO_LARGE, "receipt: %zu sections", count);
	void *sections;
	TRY(arena_alloc(arena, count ? count : 1, sizeof(struct receipt_section), &sections));
	out->sections = sections;
	out->section_count = count;
	for (size_t i = 0; i < count; i++) {
		size_t pair;
		uint64_t id;
		TRY(cbor_read_array(r, &pair));
		if (pair != 2)
			return fail(BAD_TYPE, "receipt: a section of %zu parts", pair);
		TRY(cbor_read_uint(r, &id));
		if (id > UINT16_MAX)
			return fail(BAD_VALUE, "receipt: section %llu", (unsigned long long)id);
		out->sections[i].id = (uint16_t)id;
		TRY(cbor_read_bytes(r, &out->sections[i].bytes));
	}
	return OK;
}

result receipt_decode(struct span bytes, struct arena *arena, struct receipt *out)
{
	if (bytes.len > RECEIPT_MAX)
		return fail(TOO_LARGE, "receipt: %zu bytes", bytes.len);
	struct reader r = reader_of(bytes);
	struct receipt receipt = {0};
	size_t pairs;
	TRY(cbor_read_map(&r, &pairs));
	if (pairs != 3)
		return fail(UNKNOWN_FIELD, "receipt: %zu parts, expected 3", pairs);
	TRY(expect_key(&r, 1));
	/* The head is embedded as one item, in a byte string so that its received bytes stay as they are. */
	TRY(cbor_read_bytes(&r, &receipt.head));
	if (receipt.head.len > HEAD_MAX)
		return fail(TOO_LARGE, "receipt: a head of %zu bytes", receipt.head.len);
	TRY(expect_key(&r, 2));
	TRY(read_sections(&r, arena, &receipt));
	TRY(expect_key(&r, 3));
	struct span before = span_of(bytes.data, (size_t)(r.at - bytes.data));
	uint8_t expected[SHA256_SIZE], computed[SHA256_SIZE];
	TRY(cbor_read_bytes_fixed(&r, expected, sizeof(expected)));
	TRY(reader_finish(&r));
	sha256(before, computed);
	if (memcmp(expected, computed, sizeof(computed)) != 0)
		return fail(DIGEST_MISMATCH, "receipt: its checksum is not that of its bytes");
	*out = receipt;
	return OK;
}
