/* The receipt's outer form and the id of a run. */
#include "../expect.h"

#include <stdlib.h>

#include "groups.h"
#include "object/receipt.h"

static const struct receipt_section sections[] = {{SECTION_RECORDS, {(const uint8_t *)"\x80", 1}},
	{SECTION_SALTS, {(const uint8_t *)"salts", 5}}};

static void make(struct bytes *out)
{
	expect_ok(receipt_encode(span_str("head"), sections, COUNT_OF(sections), out));
}

static result open(struct span bytes, struct receipt *out)
{
	static struct arena arena;
	arena_free(&arena);
	arena = arena_of(1 << 16);
	return receipt_decode(bytes, &arena, out);
}

static void goes_in_and_out(void **unused)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	struct receipt receipt;
	make(&bytes);
	expect_ok(open(bytes_span(&bytes), &receipt));
	expect_span(receipt.head, span_str("head"));
	assert_int_equal(receipt.section_count, 2);
	assert_int_equal(receipt.sections[1].id, SECTION_SALTS);
	expect_span(receipt.sections[1].bytes, span_str("salts"));
	assert_ptr_equal(receipt.head.data, bytes.data + 3);
}

/* RC-01: one wrong bit anywhere. */
static void every_flipped_bit_is_refused(void **unused)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	struct receipt receipt;
	make(&bytes);
	for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
		bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(open(bytes_span(&bytes), &receipt), OK);
		bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t len = 0; len < bytes.len; len++)
		assert_int_not_equal(open(span_of(bytes.data, len), &receipt), OK);
}

/* RC-06: bytes outside every digest, parts that are missing or too many; the checksum is right each time. */
static void refuses_other_forms(void **unused)
{
	static const struct {
		const char *before; /* everything in front of the checksum */
		size_t len;
		const char *after;
		enum reason reason;
	} rows[] = {
		{"\xa3\x01\x41h\x02\x80\x03", 7, "", OK},
		{"\xa3\x01\x41h\x02\x80\x03", 7, "x", TRAILING_BYTES},
		{"\xa4\x01\x41h\x02\x80\x03", 7, "\x04\x01", UNKNOWN_FIELD},
		{"\xa2\x01\x41h\x03", 5, "", UNKNOWN_FIELD},
		{"\xa3\x61x\x41h\x02\x80\x03", 8, "", BAD_TYPE}, /* a key that is text */
		{"\xa3\x02\x80\x01\x41h\x03", 7, "", UNKNOWN_FIELD},
		{"\xa3\x01\x41h\x01\x41h\x03", 8, "", UNKNOWN_FIELD},
		{"\xa3\x01\x61h\x02\x80\x03", 7, "", BAD_TYPE},
		{"\xa3\x01\x41h\x02\xa0\x03", 7, "", BAD_TYPE},
		{"\xa3\x01\x41h\x02\x81\x81\x01\x03", 9, "", BAD_TYPE},
		{"\xa3\x01\x41h\x02\x81\x83\x01\x40\x01\x03", 11, "", BAD_TYPE},
		{"\xa3\x01\x41h\x02\x81\x82\x1a\x00\x01\x00\x00\x40\x03", 14, "", BAD_VALUE},
		{"\xa3\x01\x58\x01h\x02\x80\x03", 8, "", NOT_DETERMINISTIC},
		{"\x83\x01\x41h\x02\x80\x03", 7, "", BAD_TYPE},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t buffer[128], digest[SHA256_SIZE];
		struct writer w = writer_fixed(buffer, sizeof(buffer));
		struct receipt receipt;
		writer_put(&w, rows[i].before, rows[i].len);
		sha256(span_of(buffer, w.len), digest);
		cbor_put_bytes(&w, SPAN_ARRAY(digest));
		writer_str(&w, rows[i].after);
		result opened = open(span_of(buffer, w.len), &receipt);
		if (opened != rows[i].reason)
			fail_msg("row %zu: %s, not %s (%s)", i, reason_name(opened), reason_name(rows[i].reason), failure_text());
	}
}

/* The reason is that of the first thing that is wrong, so that a short checksum is not taken for a wrong one. */
static void refuses_a_checksum_of_another_form(void **unused)
{
	static const char rest[] = "\xa3\x01\x41h\x02\x80\x03";
	uint8_t buffer[64];
	struct receipt receipt;
	for (int type = 0x40; type <= 0x60; type += 0x20) {
		struct writer w = writer_fixed(buffer, sizeof(buffer));
		writer_put(&w, rest, sizeof(rest) - 1);
		writer_u8(&w, (uint8_t)(type + 4));
		writer_put(&w, "abcd", 4);
		expect(open(span_of(buffer, w.len), &receipt), type == 0x40 ? BAD_VALUE : BAD_TYPE);
	}
}

static void bounds_the_number_of_sections(void **unused)
{
	struct receipt_section many[65];
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	struct receipt receipt;
	for (size_t i = 0; i < COUNT_OF(many); i++)
		many[i] = (struct receipt_section){(uint16_t)i, SPAN_EMPTY};
	expect_ok(receipt_encode(span_str("head"), many, 64, &bytes));
	expect_ok(open(bytes_span(&bytes), &receipt));
	bytes_free(&bytes);
	expect_ok(receipt_encode(span_str("head"), many, 65, &bytes));
	expect(open(bytes_span(&bytes), &receipt), TOO_LARGE);
}

static void run_ids(void **unused)
{
	uint8_t job[SHA256_SIZE] = {1}, rand[32] = {2}, nonce[32] = {3}, id[RUN_ID_SIZE], with[RUN_ID_SIZE], expected[SHA256_SIZE];
	uint8_t input[10 + 32 + 4 + 32] = "troth run1";
	memcpy(input + 10, job, 32);
	memcpy(input + 46, rand, 32);
	sha256(SPAN_ARRAY(input), expected);
	run_id_compute(job, SPAN_EMPTY, rand, id);
	assert_memory_equal(id, expected, RUN_ID_SIZE);
	run_id_compute(job, SPAN_ARRAY(nonce), rand, with);
	assert_memory_not_equal(id, with, RUN_ID_SIZE);
}

int group_receipt(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_in_and_out),
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(refuses_other_forms),
		cmocka_unit_test(refuses_a_checksum_of_another_form),
		cmocka_unit_test(bounds_the_number_of_sections),
		cmocka_unit_test(run_ids),
	};
	return cmocka_run_group_tests_name("receipt", tests, NULL, NULL);
}
