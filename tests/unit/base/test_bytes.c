#include "allocations.h"
#include "base/bytes.h"
#include "base/reader.h"
#include "base/writer.h"
#include "expect.h"
#include "groups.h"

#include <stdlib.h>

static void spans_compare(void **state)
{
	(void)state;
	assert_true(span_equal(SPAN_EMPTY, span_str("")));
	assert_true(span_equal_str(span_of("abc", 2), "ab"));
	assert_false(span_equal(span_str("ab"), span_str("ac")));
	assert_false(span_equal(span_str("ab"), span_str("abc")));
	assert_true(span_compare(span_str("a"), span_str("b")) < 0);
	assert_true(span_compare(span_str("a"), span_str("ab")) < 0);
	assert_true(span_compare(span_str("b"), span_str("ab")) > 0);
	assert_true(span_compare(span_str("\xff"), span_str("a")) > 0);
	assert_int_equal(span_compare(SPAN_EMPTY, SPAN_EMPTY), 0);
	assert_true(span_compare(SPAN_EMPTY, span_str("a")) < 0);
}

static void bytes_are_owned(void **state)
{
	(void)state;
	CLEANUP(bytes_free) struct bytes copy = BYTES_EMPTY;
	expect_ok(bytes_copy(span_str("abc"), &copy));
	struct bytes moved = bytes_move(&copy);
	assert_null(copy.data);
	expect_span(bytes_span(&moved), span_str("abc"));
	bytes_free(&moved);
	bytes_free(&moved);
	bytes_free(NULL);
	expect_ok(bytes_copy(SPAN_EMPTY, &copy));
	assert_int_equal(copy.len, 0);
	bytes_free(&copy);
	allocations_fail(1);
	result copied = bytes_copy(span_str("abc"), &copy);
	allocations_restore();
	expect(copied, NO_MEMORY);
	assert_null(copy.data);
}

static void a_reader_reads_big_endian(void **state)
{
	static const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xff};
	struct reader r = reader_of(SPAN_ARRAY(data));
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	(void)state;
	expect_ok(reader_u8(&r, &u8));
	expect_ok(reader_u16(&r, &u16));
	expect_ok(reader_u32(&r, &u32));
	expect_ok(reader_u64(&r, &u64));
	assert_int_equal(u8, 1);
	assert_int_equal(u16, 0x0203);
	assert_int_equal(u32, 0x04050607);
	assert_true(u64 == 0x08090a0b0c0d0e0f);
	expect(reader_finish(&r), TRAILING_BYTES);
	expect_ok(reader_u8(&r, &u8));
	assert_int_equal(u8, 0xff);
	expect_ok(reader_finish(&r));
}

static void a_reader_never_runs_over(void **state)
{
	static const uint8_t data[8] = {0};
	(void)state;
	for (size_t len = 0; len < 8; len++) {
		struct reader r = reader_of(span_of(data, len));
		uint64_t u64 = 77;
		expect(reader_u64(&r, &u64), TRUNCATED);
		assert_true(u64 == 77);
		assert_int_equal(reader_left(&r), len);
		struct span out = SPAN_EMPTY;
		expect(reader_take(&r, len + 1, &out), TRUNCATED);
		expect(reader_take(&r, SIZE_MAX, &out), TRUNCATED);
		assert_null(out.data);
		expect_ok(reader_take(&r, len, &out));
		expect_ok(reader_finish(&r));
	}
	struct reader empty = reader_of(SPAN_EMPTY);
	uint8_t byte = 5;
	expect(reader_u8(&empty, &byte), TRUNCATED);
	expect_ok(reader_copy(&empty, &byte, 0));
	expect(reader_copy(&empty, &byte, 1), TRUNCATED);
	assert_int_equal(byte, 5);
	expect_ok(reader_finish(&empty));
}

static void length_value_is_bounded(void **state)
{
	static const uint8_t data[] = {0, 0, 0, 2, 'a', 'b', 0, 0, 0, 3, 'c', 'd'};
	static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff};
	struct reader r = reader_of(SPAN_ARRAY(data));
	struct span out;
	(void)state;
	expect(reader_lv(&r, 1, &out), TOO_LARGE);
	assert_int_equal(reader_left(&r), sizeof(data)); /* a refused field is not consumed */
	expect_ok(reader_lv(&r, 2, &out));
	expect_span(out, span_str("ab"));
	expect(reader_lv(&r, 9, &out), TRUNCATED);
	assert_int_equal(reader_left(&r), 6);
	expect_span(out, span_str("ab"));
	r = reader_of(SPAN_ARRAY(huge));
	expect(reader_lv(&r, SIZE_MAX, &out), TRUNCATED);
	expect(reader_lv(&r, 100, &out), TOO_LARGE);
}

static void put_everything(struct writer *w)
{
	writer_u8(w, 1);
	writer_u16(w, 0x0203);
	writer_u32(w, 0x04050607);
	writer_u64(w, 0x08090a0b0c0d0e0f);
	writer_lv(w, span_str("ab"));
	writer_lv(w, SPAN_EMPTY);
	writer_str(w, "z");
	writer_put(w, NULL, 0);
}

static const uint8_t everything[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 'z'};

static void a_fixed_writer_refuses_overflow(void **state)
{
	(void)state;
	for (size_t cap = 0; cap <= sizeof(everything); cap++) {
		uint8_t buffer[sizeof(everything) + 1];
		memset(buffer, 0xee, sizeof(buffer));
		struct writer w = writer_fixed(buffer, cap);
		struct span out = SPAN_EMPTY;
		put_everything(&w);
		expect(writer_finish(&w, &out), cap < sizeof(everything) ? TOO_LARGE : OK);
		assert_int_equal(buffer[cap], 0xee);
		if (cap == sizeof(everything))
			expect_span(out, SPAN_ARRAY(everything));
		else
			assert_null(out.data);
		struct bytes taken = BYTES_EMPTY;
		expect(writer_take(&w, &taken), cap < sizeof(everything) ? TOO_LARGE : INTERNAL);
		writer_free(&w); /* does not touch the caller's buffer */
	}
}

static void a_growing_writer_has_a_limit(void **state)
{
	(void)state;
	CLEANUP(writer_free) struct writer w = writer_growing(1000);
	for (int i = 0; i < 1000; i++)
		writer_u8(&w, (uint8_t)i);
	struct span out;
	expect_ok(writer_finish(&w, &out));
	assert_int_equal(out.len, 1000);
	for (size_t i = 0; i < out.len; i++)
		assert_int_equal(out.data[i], (uint8_t)i);
	writer_u8(&w, 1);
	expect(writer_finish(&w, &out), TOO_LARGE);
	writer_free(&w);
	put_everything(&w);
	CLEANUP(bytes_free) struct bytes taken = BYTES_EMPTY;
	expect_ok(writer_take(&w, &taken));
	expect_span(bytes_span(&taken), SPAN_ARRAY(everything));
	expect_ok(writer_finish(&w, &out));
	assert_int_equal(out.len, 0);
}

static void writer_failures_stick(void **state)
{
	uint8_t buffer[16];
	struct writer w = writer_fixed(buffer, sizeof(buffer));
	struct span out;
	(void)state;
	writer_fail(&w, BAD_VALUE);
	writer_fail(&w, TOO_DEEP);
	writer_u8(&w, 1);
	assert_null(writer_reserve(&w, 1));
	assert_int_equal(w.len, 0);
	expect(writer_finish(&w, &out), BAD_VALUE);
	w = writer_fixed(buffer, sizeof(buffer));
	writer_put(&w, buffer, SIZE_MAX);
	expect(writer_finish(&w, &out), TOO_LARGE);
}

static void a_writer_survives_no_memory(void **state)
{
	(void)state;
	for (unsigned countdown = 1;; countdown++) {
		CLEANUP(writer_free) struct writer w = writer_growing(100000);
		struct span out = SPAN_EMPTY;
		allocations_fail(countdown);
		for (int i = 0; i < 5000; i++)
			writer_u8(&w, 7);
		result finished = writer_finish(&w, &out);
		if (!allocations_restore()) {
			expect_ok(finished);
			assert_int_equal(out.len, 5000);
			assert_true(countdown > 2);
			return;
		}
		expect(finished, NO_MEMORY);
		assert_null(out.data);
	}
}

int group_bytes(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_compare),
		cmocka_unit_test(bytes_are_owned),
		cmocka_unit_test(a_reader_reads_big_endian),
		cmocka_unit_test(a_reader_never_runs_over),
		cmocka_unit_test(length_value_is_bounded),
		cmocka_unit_test(a_fixed_writer_refuses_overflow),
		cmocka_unit_test(a_growing_writer_has_a_limit),
		cmocka_unit_test(writer_failures_stick),
		cmocka_unit_test(a_writer_survives_no_memory),
	};
	return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
