#include "wire_test.h"

#include "cbor_samples.h"
#include "wire/cbor.h"

static result validate_hex(const char *hex)
{
	CLEANUP(bytes_free) struct bytes bytes = unhex(hex);
	return cbor_validate(bytes_span(&bytes));
}

/* Reads one item with the public readers and writes it again with the public writers. */
static result copy_item(struct reader *r, struct writer *w)
{
	enum cbor_type type;
	uint64_t number;
	size_t count;
	struct span string;
	bool flag;
	TRY(cbor_peek(r, &type));
	switch (type) {
	case CBOR_UINT:
		TRY(cbor_read_uint(r, &number));
		cbor_put_uint(w, number);
		return OK;
	case CBOR_NINT: {
		int64_t value;
		struct reader before = *r;
		if (cbor_read_int(r, &value) == OK) {
			cbor_put_int(w, value);
			return OK;
		}
		*r = before; /* below int64: there is no reader for it, only the walk */
		TRY(cbor_read_any(r, &string));
		writer_span(w, string);
		return OK;
	}
	case CBOR_BYTES:
		TRY(cbor_read_bytes(r, &string));
		cbor_put_bytes(w, string);
		return OK;
	case CBOR_TEXT:
		TRY(cbor_read_text(r, &string));
		cbor_put_text(w, string);
		return OK;
	case CBOR_ARRAY:
	case CBOR_MAP:
		if (type == CBOR_ARRAY) {
			TRY(cbor_read_array(r, &count));
			cbor_put_array(w, count);
		} else {
			TRY(cbor_read_map(r, &count));
			cbor_put_map(w, count);
			count *= 2;
		}
		for (size_t i = 0; i < count; i++)
			TRY(copy_item(r, w));
		return OK;
	case CBOR_TAG:
		TRY(cbor_read_tag(r, &number));
		cbor_put_tag(w, number);
		return copy_item(r, w);
	case CBOR_BOOL:
		TRY(cbor_read_bool(r, &flag));
		cbor_put_bool(w, flag);
		return OK;
	default:
		TRY(cbor_read_null(r));
		cbor_put_null(w);
		return OK;
	}
}

/* There is one encoding of each value: what was read, written again, is the same bytes. */
static void assert_copies_itself(struct span bytes)
{
	CLEANUP(writer_free) struct writer w = writer_growing(bytes.len + 1);
	struct reader r = reader_of(bytes);
	struct span copy;
	expect_ok(copy_item(&r, &w));
	expect_ok(reader_finish(&r));
	expect_ok(writer_finish(&w, &copy));
	assert_true(span_equal(copy, bytes));
}

static void rfc8949_appendix_a(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cbor_samples); i++) {
		const struct cbor_sample *sample = &cbor_samples[i];
		CLEANUP(bytes_free) struct bytes bytes = unhex(sample->hex);
		expect(cbor_validate(bytes_span(&bytes)), sample->verdict);
		expect_ok(cbor_well_formed(bytes_span(&bytes)));
		if (sample->verdict != OK)
			continue;
		assert_copies_itself(bytes_span(&bytes));
		CLEANUP(writer_free) struct writer w = writer_growing(4096);
		cbor_diagnose(bytes_span(&bytes), &w);
		writer_u8(&w, 0);
		struct span text;
		expect_ok(writer_finish(&w, &text));
		assert_string_equal((const char *)text.data, sample->diagnostic);
	}
}

static void empty(void **state)
{
	expect(cbor_validate(SPAN_EMPTY), TRUNCATED);
	expect(cbor_well_formed(SPAN_EMPTY), TRUNCATED);
	expect(cbor_validate(span_str("")), TRUNCATED);
	struct reader r = reader_of(SPAN_EMPTY);
	enum cbor_type type;
	uint64_t number;
	expect(cbor_peek(&r, &type), TRUNCATED);
	expect(cbor_read_uint(&r, &number), TRUNCATED);
}

static void truncated_at_every_byte(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cbor_samples); i++) {
		CLEANUP(bytes_free) struct bytes bytes = unhex(cbor_samples[i].hex);
		for (size_t len = 0; len < bytes.len; len++) {
			/* In a block of its own, so that a sanitizer sees a read beyond the end. */
			CLEANUP(bytes_free) struct bytes cut = BYTES_EMPTY;
			expect_ok(bytes_copy(span_of(bytes.data, len), &cut));
			if (cbor_samples[i].verdict == OK)
				expect(cbor_validate(bytes_span(&cut)), TRUNCATED);
			expect(cbor_well_formed(bytes_span(&cut)), TRUNCATED);
		}
	}
}

static void extended(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cbor_samples); i++) {
		char hex[256];
		snprintf(hex, sizeof(hex), "%s00", cbor_samples[i].hex);
		CLEANUP(bytes_free) struct bytes bytes = unhex(hex);
		expect(cbor_validate(bytes_span(&bytes)), cbor_samples[i].verdict == OK ? TRAILING_BYTES : cbor_samples[i].verdict);
		expect(cbor_well_formed(bytes_span(&bytes)), TRAILING_BYTES);
	}
}

/* Whatever is accepted has one encoding, is well-formed, and no part of it is accepted. */
static void random_bytes_hold_no_surprise(void **state)
{
	uint64_t seed = 0x5eed0001;
	size_t accepted = 0;
	for (size_t round = 0; round < 200000; round++) {
		uint8_t bytes[24];
		size_t len = next_random(&seed) % sizeof(bytes) + 1;
		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)(next_random(&seed) >> 32);
		/* Most random first bytes promise more than follows: lean towards small items. */
		if (round % 2)
			for (size_t i = 0; i < len; i++)
				bytes[i] = (uint8_t)(bytes[i] & 0xe3);
		if (cbor_validate(span_of(bytes, len)) != OK)
			continue;
		accepted++;
		assert_copies_itself(span_of(bytes, len));
		expect_ok(cbor_well_formed(span_of(bytes, len)));
		expect(cbor_validate(span_of(bytes, len - 1)), TRUNCATED);
	}
	assert_true(accepted > 1000);
}

static void shortest_form_only(void **state)
{
	const char *const wrong[] = {"1800", "1817", "190018", "1900ff", "1a0000ffff", "1b00000000ffffffff", "3800", "3900ff", "5800",
		"581700", "7800", "59000100", "9800", "980100", "b800", "990000", "d800f6", "d817f6", "d90017f6", "db0000000000000018f6"};
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		expect(validate_hex(wrong[i]), NOT_DETERMINISTIC);
	expect(validate_hex("f814"), BAD_TYPE);
	expect(validate_hex("f818"), BAD_TYPE);
}

static void indefinite_lengths(void **state)
{
	const char *const wrong[] = {"5f", "7f", "9f", "bf", "ff", "5fff", "7fff", "bfff", "819fff", "a1019fff", "c09fff", "82ff00"};
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		expect(validate_hex(wrong[i]), NOT_DETERMINISTIC);
	const char *const reserved[] = {"1c", "1d", "1e", "1f", "3c", "3f", "5c", "7d", "9e", "bc", "dc", "df", "fc", "fd", "fe"};
	for (size_t i = 0; i < COUNT_OF(reserved); i++)
		expect(validate_hex(reserved[i]), BAD_TYPE);
}

static void nested_beyond_limit(void **state)
{
	const struct {
		uint8_t opening, closing;
	} kinds[] = {{0x81, 0x00}, {0xc1, 0x00}, {0x81, 0x80}};
	for (size_t k = 0; k < COUNT_OF(kinds); k++) {
		uint8_t bytes[CBOR_MAX_DEPTH + 2];
		memset(bytes, kinds[k].opening, sizeof(bytes));
		bytes[CBOR_MAX_DEPTH] = kinds[k].closing;
		expect_ok(cbor_validate(span_of(bytes, CBOR_MAX_DEPTH + 1)));
		bytes[CBOR_MAX_DEPTH] = kinds[k].opening;
		bytes[CBOR_MAX_DEPTH + 1] = kinds[k].closing;
		expect(cbor_validate(SPAN_ARRAY(bytes)), TOO_DEEP);
		expect(cbor_well_formed(SPAN_ARRAY(bytes)), TOO_DEEP);
	}
	/* A map within the key of a map, and so on. */
	uint8_t keys[64];
	memset(keys, 0xa1, sizeof(keys));
	expect(cbor_validate(SPAN_ARRAY(keys)), TOO_DEEP);

	CLEANUP(bytes_free) struct bytes deep = {malloc(1 << 20), 1 << 20};
	assert_non_null(deep.data);
	memset(deep.data, 0x81, deep.len);
	expect(cbor_validate(bytes_span(&deep)), TOO_DEEP);
	memset(deep.data, 0x9f, deep.len);
	expect(cbor_well_formed(bytes_span(&deep)), TOO_DEEP);
}

static void keys_of_maps(void **state)
{
	const struct {
		const char *hex;
		enum reason verdict;
	} rows[] = {
		{"a201000200", OK},
		{"a201000100", DUPLICATE_KEY},
		{"a202000100", NOT_DETERMINISTIC},
		{"a2616100616100", DUPLICATE_KEY},
		{"a2616200616100", NOT_DETERMINISTIC},
		{"a262616100617a00", NOT_DETERMINISTIC}, /* "aa" sorts after "z": the length comes first */
		{"a220001700", NOT_DETERMINISTIC}, /* -1 after 23 */
		{"a2200021a201000100", DUPLICATE_KEY}, /* in the inner map */
		{"a2810100810100", DUPLICATE_KEY}, /* keys may be arrays */
		{"a2a1010000a1010000", DUPLICATE_KEY},
		{"a2a1020000a1010000", NOT_DETERMINISTIC},
		/* RFC 8949 section 4.2.1: 10, 100, -1, "z", "aa", [100], [-1], false */
		{"a80a001864002000617a006261610081186400812000f400", OK},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		CLEANUP(bytes_free) struct bytes bytes = unhex(rows[i].hex);
		result verdict = cbor_validate(bytes_span(&bytes));
		if (verdict != rows[i].verdict)
			fail_msg("%s: %s", rows[i].hex, reason_name(verdict));
	}
}

static void huge_declared_lengths(void **state)
{
	const char *const wrong[] = {"5bffffffffffffffff", "7bffffffffffffffff", "9bffffffffffffffff", "bbffffffffffffffff",
		"bb800000000000000100", "5b7fffffffffffffff00", "9b000000010000000000", "9a3b9aca00", "5a3b9aca00",
		"bb7fffffffffffffff0000", "8201", "58ff00", "a100"};
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		expect(validate_hex(wrong[i]), TRUNCATED);
	/* The readers refuse the count itself, so that no caller loops over it. */
	CLEANUP(bytes_free) struct bytes many = unhex("9a3b9aca0000000000");
	struct reader r = reader_of(bytes_span(&many));
	size_t count = 7;
	expect(cbor_read_array(&r, &count), TRUNCATED);
	CLEANUP(bytes_free) struct bytes pairs = unhex("a3010203040506");
	r = reader_of(bytes_span(&pairs));
	expect(cbor_read_map(&r, &count), OK);
	pairs.len--;
	r = reader_of(bytes_span(&pairs));
	expect(cbor_read_map(&r, &count), TRUNCATED);
}

static void text_is_utf8(void **state)
{
	expect(validate_hex("61ff"), BAD_UTF8);
	expect(validate_hex("63eda080"), BAD_UTF8);
	expect(validate_hex("62c080"), BAD_UTF8);
	expect(validate_hex("a161ff00"), BAD_UTF8);
	CLEANUP(bytes_free) struct bytes bytes = unhex("61ff");
	struct reader r = reader_of(bytes_span(&bytes));
	struct span text;
	expect(cbor_read_text(&r, &text), BAD_UTF8);
	expect_ok(cbor_well_formed(bytes_span(&bytes)));
}

static void integers_at_their_limits(void **state)
{
	const struct {
		const char *hex;
		enum reason verdict;
		int64_t value;
	} rows[] = {
		{"1b7fffffffffffffff", OK, INT64_MAX},
		{"1b8000000000000000", BAD_VALUE, 0},
		{"3b7fffffffffffffff", OK, INT64_MIN},
		{"3b8000000000000000", BAD_VALUE, 0},
		{"3bffffffffffffffff", BAD_VALUE, 0},
		{"38ff", OK, -256},
		{"40", BAD_TYPE, 0},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		CLEANUP(bytes_free) struct bytes bytes = unhex(rows[i].hex);
		struct reader r = reader_of(bytes_span(&bytes));
		int64_t value = 4711;
		expect(cbor_read_int(&r, &value), rows[i].verdict);
		assert_true(value == (rows[i].verdict == OK ? rows[i].value : 4711));
		assert_int_equal(reader_left(&r), rows[i].verdict == OK ? 0 : bytes.len);
	}
}

/* Each reader meets each type: one is right, all others are refused and leave reader and output alone. */
static void wrong_types_leave_everything_alone(void **state)
{
	static const char *const items[] = {"05", "24", "4105", "6161", "8105", "a10505", "c105", "f5", "f6", "f7", "f90000"};
	for (size_t i = 0; i < COUNT_OF(items); i++) {
		CLEANUP(bytes_free) struct bytes bytes = unhex(items[i]);
		for (size_t reader = 0; reader < 9; reader++) {
			struct reader r = reader_of(bytes_span(&bytes));
			uint64_t number = 99;
			struct span string = {NULL, 99};
			size_t count = 99;
			bool flag = false;
			uint8_t fixed[1] = {99};
			result outcome = OK;
			switch (reader) {
			case 0:
				outcome = cbor_read_uint(&r, &number);
				break;
			case 1:
				outcome = cbor_read_bytes_fixed(&r, fixed, 1);
				break;
			case 2:
				outcome = cbor_read_bytes(&r, &string);
				break;
			case 3:
				outcome = cbor_read_text(&r, &string);
				break;
			case 4:
				outcome = cbor_read_array(&r, &count);
				break;
			case 5:
				outcome = cbor_read_map(&r, &count);
				break;
			case 6:
				outcome = cbor_read_tag(&r, &number);
				break;
			case 7:
				outcome = cbor_read_bool(&r, &flag);
				break;
			default:
				outcome = cbor_read_null(&r);
				break;
			}
			static const size_t right[] = {0, 2, 2, 3, 4, 5, 6, 7, 8};
			if (i == right[reader] || (reader == 0 && i == 0)) {
				expect_ok(outcome);
				continue;
			}
			expect(outcome, BAD_TYPE);
			assert_ptr_equal(r.at, bytes.data);
			assert_true(number == 99 && string.len == 99 && count == 99 && !flag && fixed[0] == 99);
		}
	}
}

static void fixed_byte_strings(void **state)
{
	CLEANUP(bytes_free) struct bytes bytes = unhex("4401020304");
	uint8_t out[4] = {0}, wide[5] = {0};
	struct reader r = reader_of(bytes_span(&bytes));
	expect(cbor_read_bytes_fixed(&r, wide, 5), BAD_VALUE);
	expect(cbor_read_bytes_fixed(&r, out, 3), BAD_VALUE);
	expect_ok(cbor_read_bytes_fixed(&r, out, 4));
	assert_memory_equal(out, bytes.data + 1, 4);
}

static void walking_a_map(void **state)
{
	CLEANUP(bytes_free) struct bytes bytes = unhex("a30102181803200461");
	bytes.len--;
	struct reader r = reader_of(bytes_span(&bytes));
	struct cbor_map map;
	int64_t key, sum = 0;
	uint64_t value;
	bool more;
	expect_ok(cbor_map_open(&r, &map));
	for (;;) {
		expect_ok(cbor_map_next(&r, &map, &more, &key));
		if (!more)
			break;
		expect_ok(cbor_read_uint(&r, &value));
		sum = sum * 100 + key + (int64_t)value;
	}
	assert_int_equal(sum, (3 * 100 + 27) * 100 + 3);
	expect_ok(reader_finish(&r));
	expect_ok(cbor_map_next(&r, &map, &more, &key));
	assert_false(more);
}

static result walk_hex(const char *hex, bool text)
{
	CLEANUP(bytes_free) struct bytes bytes = unhex(hex);
	struct reader r = reader_of(bytes_span(&bytes));
	struct cbor_map map;
	TRY(cbor_map_open(&r, &map));
	for (bool more = true;;) {
		int64_t key;
		struct span name, value;
		TRY(text ? cbor_map_next_text(&r, &map, &more, &name) : cbor_map_next(&r, &map, &more, &key));
		if (!more)
			return reader_finish(&r);
		TRY(cbor_read_any(&r, &value));
	}
}

static void walking_a_map_refuses(void **state)
{
	expect_ok(walk_hex("a0", false));
	expect_ok(walk_hex("a201000200", false));
	expect(walk_hex("a201000100", false), DUPLICATE_KEY);
	expect(walk_hex("a202000100", false), NOT_DETERMINISTIC);
	expect(walk_hex("a20100616100", false), BAD_TYPE);
	expect(walk_hex("a1180100", false), NOT_DETERMINISTIC);
	expect(walk_hex("a20100", false), TRUNCATED);
	expect_ok(walk_hex("a2616100616200", true));
	expect(walk_hex("a2616100616100", true), DUPLICATE_KEY);
	expect(walk_hex("a2616200616100", true), NOT_DETERMINISTIC);
	expect(walk_hex("a10100", true), BAD_TYPE);
}

static void any_item_within_others(void **state)
{
	CLEANUP(bytes_free) struct bytes bytes = unhex("8301a1026161f6");
	struct reader r = reader_of(bytes_span(&bytes));
	size_t count;
	struct span item;
	expect_ok(cbor_read_array(&r, &count));
	expect_ok(cbor_read_any(&r, &item));
	assert_int_equal(item.len, 1);
	expect_ok(cbor_read_any(&r, &item));
	assert_int_equal(item.len, 4);
	assert_ptr_equal(item.data, bytes.data + 2);
	expect_ok(cbor_read_any(&r, &item));
	expect_ok(reader_finish(&r));
	expect(cbor_read_any(&r, &item), TRUNCATED);
}

/* What generic COSE may read and nobody else. */
static void well_formed_but_not_ours(void **state)
{
	const char *const fine[] = {
		"1800", "9f01ff", "bf0102ff", "5f41004101ff", "f7", "f90000", "a202000100", "a201000100", "bfff", "8281009fff"};
	for (size_t i = 0; i < COUNT_OF(fine); i++) {
		CLEANUP(bytes_free) struct bytes bytes = unhex(fine[i]);
		expect_ok(cbor_well_formed(bytes_span(&bytes)));
		assert_true(cbor_validate(bytes_span(&bytes)) != OK);
	}
	/* RFC 8949 appendix F.1, examples of not well-formed data. */
	const char *const broken[] = {"ff", "81ff", "8200ff", "a1ff", "a1ff00", "a100ff", "a20000ff", "9f81ff", "9f829f819f9fffffffff",
		"bf00ff", "bf000000ff", "1c", "1d", "1e", "1f", "3f", "df", "5f00ff", "5f21ff", "5f6100ff", "5f80ff", "5fa0ff", "5fc000ff",
		"5fe0ff", "7f4100ff", "5f5f4100ffff", "7f7f6100ffff", "f800", "f81f", "fc", "5f7f6100ffff", "5f9fffff"};
	for (size_t i = 0; i < COUNT_OF(broken); i++) {
		CLEANUP(bytes_free) struct bytes bytes = unhex(broken[i]);
		if (cbor_well_formed(bytes_span(&bytes)) == OK)
			fail_msg("%s was accepted", broken[i]);
	}
}

static void heads_are_as_short_as_they_say(void **state)
{
	const struct {
		uint64_t value;
		size_t size;
	} rows[] = {{0, 1}, {23, 1}, {24, 2}, {255, 2}, {256, 3}, {65535, 3}, {65536, 5}, {UINT32_MAX, 5}, {(uint64_t)UINT32_MAX + 1, 9},
		{UINT64_MAX, 9}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t buffer[9];
		struct writer w = writer_fixed(buffer, sizeof(buffer));
		cbor_put_uint(&w, rows[i].value);
		assert_int_equal(w.len, rows[i].size);
		assert_int_equal(cbor_head_size(rows[i].value), rows[i].size);
		expect_ok(cbor_validate(span_of(buffer, w.len)));
	}
}

static void writers_refuse(void **state)
{
	uint8_t buffer[4];
	struct span out;
	struct writer w = writer_fixed(buffer, sizeof(buffer));
	cbor_put_str(&w, "\xff");
	expect(writer_finish(&w, &out), BAD_UTF8);
	w = writer_fixed(buffer, sizeof(buffer));
	cbor_put_str(&w, "abcd");
	expect(writer_finish(&w, &out), TOO_LARGE);
}

/* What a terminal would obey is escaped. */
static void diagnosis_is_safe_to_print(void **state)
{
	CLEANUP(writer_free) struct writer item = writer_growing(256), w = writer_growing(1024);
	cbor_put_str(&item, "a\x1b[2J\n\xc2\x9b\xe2\x80\xae\xef\xbb\xbf\x7f\"\\");
	struct span bytes, text;
	expect_ok(writer_finish(&item, &bytes));
	cbor_diagnose(bytes, &w);
	writer_u8(&w, 0);
	expect_ok(writer_finish(&w, &text));
	assert_string_equal((const char *)text.data, "\"a\\u001b[2J\\u000a\\u009b\\u202e\\ufeff\\u007f\\\"\\\\\"");

	CLEANUP(writer_free) struct writer broken = writer_growing(1024);
	cbor_diagnose(span_of("\x9f\xff", 2), &broken);
	writer_u8(&broken, 0);
	expect_ok(writer_finish(&broken, &text));
	assert_string_equal((const char *)text.data, "/ not deterministic CBOR: NOT_DETERMINISTIC / h'9fff'");
}

int run_cbor_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc8949_appendix_a),
		cmocka_unit_test(empty),
		cmocka_unit_test(truncated_at_every_byte),
		cmocka_unit_test(extended),
		cmocka_unit_test(random_bytes_hold_no_surprise),
		cmocka_unit_test(shortest_form_only),
		cmocka_unit_test(indefinite_lengths),
		cmocka_unit_test(nested_beyond_limit),
		cmocka_unit_test(keys_of_maps),
		cmocka_unit_test(huge_declared_lengths),
		cmocka_unit_test(text_is_utf8),
		cmocka_unit_test(integers_at_their_limits),
		cmocka_unit_test(wrong_types_leave_everything_alone),
		cmocka_unit_test(fixed_byte_strings),
		cmocka_unit_test(walking_a_map),
		cmocka_unit_test(walking_a_map_refuses),
		cmocka_unit_test(any_item_within_others),
		cmocka_unit_test(well_formed_but_not_ours),
		cmocka_unit_test(heads_are_as_short_as_they_say),
		cmocka_unit_test(writers_refuse),
		cmocka_unit_test(diagnosis_is_safe_to_print),
	};
	return cmocka_run_group_tests_name("cbor", tests, NULL, NULL);
}
