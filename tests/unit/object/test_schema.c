/* The codec of all structures, on a structure that has a field of every type. */
#include "../expect.h"

#include <stdlib.h>

#include "groups.h"
#include "object/schema.h"

struct inner {
	uint8_t a;
	const char *b;
};

struct everything {
	uint8_t v;
	uint8_t small;
	uint16_t limited;
	uint64_t large;
	uint64_t time;
	bool flag;
	uint8_t fixed[4];
	uint8_t maybe_fixed[4];
	bool has_fixed;
	struct span bytes;
	const char *text;
	const char *maybe_text;
	bool has_text;
	struct inner inner;
	struct inner *inners;
	size_t inner_count;
	struct span any;
};

static const struct field inner_fields[] = {
	F_UINT(struct inner, 1, a, 0),
	F_TEXT(struct inner, 2, b, 0, 8),
};
static const struct schema inner_schema = SCHEMA(struct inner, "inner", SHAPE_ARRAY, inner_fields);

static const struct field fields[] = {
	F_VERSION(struct everything, 1, v, 1),
	F_UINT(struct everything, 2, small, 0),
	F_UINT(struct everything, 3, limited, 1000),
	F_UINT(struct everything, 4, large, 0),
	F_TIME(struct everything, 5, time),
	F_BOOL(struct everything, 6, flag),
	F_FIXED(struct everything, 7, fixed),
	F_FIXED_OR_NULL(struct everything, 8, maybe_fixed, has_fixed),
	F_BYTES(struct everything, 9, bytes, 1, 4),
	F_TEXT(struct everything, 10, text, 1, 4),
	F_TEXT_OR_NULL(struct everything, 11, maybe_text, has_text, 0, 4),
	F_STRUCT(struct everything, 12, inner, &inner_schema),
	F_LIST(struct everything, 13, inners, inner_count, &inner_schema, FIELD_SORTED, 1, 3),
	F_ANY(struct everything, 14, any, 8),
};
static const struct schema schema = SCHEMA(struct everything, "everything", SHAPE_MAP, fields);

/* The encodings of the values, key by key; a test exchanges one of them. */
static const char *const good[] = {
	"\x01",			     /* v */
	"\x18\xff",		     /* small */
	"\x19\x03\xe8",		     /* limited: 1000 */
	"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
	"\x1b\x00\x00\x01\xa3\x18\x5c\x50\x00",
	"\xf5",
	"\x44" "abcd",
	"\xf6",
	"\x41" "x",
	"\x64" "text",
	"\x60",
	"\x82\x05\x61" "b",
	"\x82\x82\x01\x61" "a\x82\x02\x60",
	"\x82\x01\x02",
};
/* Lengths, for the values that hold NUL bytes. */
static const size_t good_len[] = {1, 2, 3, 9, 9, 1, 5, 1, 2, 5, 1, 4, 8, 3};

struct swap {
	size_t index; /* into `good` */
	const char *value;
	size_t len;
	enum reason reason;
};
#define SWAP(key, value, reason) {(key) - 1, value, sizeof(value) - 1, reason}

static struct span build(const struct swap *swap, uint8_t buffer[static 256])
{
	struct writer w = writer_fixed(buffer, 256);
	cbor_put_map(&w, COUNT_OF(good));
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		cbor_put_uint(&w, i + 1);
		if (swap && swap->index == i)
			writer_put(&w, swap->value, swap->len);
		else
			writer_put(&w, good[i], good_len[i]);
	}
	return span_of(buffer, w.len);
}

static result decode(struct span bytes, struct everything *out)
{
	struct arena arena = arena_of(4096);
	struct everything untouched = {.small = 77}, object = untouched;
	result decoded = schema_decode(&schema, bytes, &arena, &object);
	if (decoded != OK)
		assert_memory_equal(&object, &untouched, sizeof(object));
	if (out)
		*out = object;
	arena_free(&arena);
	return decoded;
}

static void every_type_goes_in_and_out(void **unused)
{
	uint8_t buffer[256];
	struct arena arena = arena_of(4096);
	struct everything object;
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	struct span bytes = build(NULL, buffer);
	expect_ok(schema_decode(&schema, bytes, &arena, &object));
	assert_int_equal(object.v, 1);
	assert_int_equal(object.small, 255);
	assert_int_equal(object.limited, 1000);
	assert_true(object.large == UINT64_MAX);
	assert_true(object.flag);
	assert_memory_equal(object.fixed, "abcd", 4);
	assert_false(object.has_fixed);
	assert_true(span_equal(object.bytes, span_str("x")));
	assert_string_equal(object.text, "text");
	assert_true(object.has_text);
	assert_string_equal(object.maybe_text, "");
	assert_int_equal(object.inner.a, 5);
	assert_int_equal(object.inner_count, 2);
	assert_string_equal(object.inners[0].b, "a");
	assert_int_equal(object.any.len, 3);
	expect_ok(schema_encode(&schema, &object, &again));
	expect_span(bytes_span(&again), bytes);
	arena_free(&arena);
}

static void refuses_by_field(void **unused)
{
	static const struct swap swaps[] = {
		SWAP(1, "\x02", UNKNOWN_VERSION), SWAP(1, "\x00", UNKNOWN_VERSION), SWAP(1, "\x61v", BAD_TYPE),
		SWAP(1, "\x18\x01", NOT_DETERMINISTIC), SWAP(1, "\xf6", BAD_TYPE),
		SWAP(2, "\x19\x01\x00", BAD_VALUE), SWAP(2, "\x20", BAD_TYPE), SWAP(2, "\xf6", BAD_TYPE),
		SWAP(3, "\x19\x03\xe9", BAD_VALUE), SWAP(4, "\x41x", BAD_TYPE), SWAP(5, "\xc1\x01", BAD_TYPE),
		SWAP(6, "\x01", BAD_TYPE), SWAP(6, "\xf6", BAD_TYPE), SWAP(6, "\xf7", BAD_TYPE),
		SWAP(7, "\x43" "abc", BAD_VALUE), SWAP(7, "\x45" "abcde", BAD_VALUE), SWAP(7, "\xf6", BAD_TYPE),
		SWAP(8, "\x43" "abc", BAD_VALUE), SWAP(8, "\xf4", BAD_TYPE),
		SWAP(9, "\x40", BAD_VALUE), SWAP(9, "\x45" "abcde", BAD_VALUE), SWAP(9, "\x61x", BAD_TYPE),
		SWAP(10, "\x60", BAD_VALUE), SWAP(10, "\x65" "texts", BAD_VALUE), SWAP(10, "\x62\xc3\x28", BAD_UTF8),
		SWAP(10, "\x62" "a\x00", BAD_VALUE), SWAP(10, "\x41x", BAD_TYPE), SWAP(11, "\x65" "texts", BAD_VALUE),
		SWAP(12, "\x81\x05", MISSING_FIELD), SWAP(12, "\x83\x05\x61" "b\x01", UNKNOWN_FIELD), SWAP(12, "\xf6", BAD_TYPE),
		SWAP(12, "\xa2\x01\x05\x02\x61" "b", BAD_TYPE),
		SWAP(13, "\x80", BAD_VALUE), SWAP(13, "\x82\x82\x02\x60\x82\x01\x60", NOT_DETERMINISTIC),
		SWAP(13, "\x82\x82\x01\x60\x82\x01\x60", NOT_DETERMINISTIC),
		SWAP(13, "\x84\x82\x01\x60\x82\x02\x60\x82\x03\x60\x82\x04\x60", BAD_VALUE),
		SWAP(13, "\x9f\x82\x01\x60\xff", NOT_DETERMINISTIC),
		SWAP(14, "\x48" "abcdefgh", TOO_LARGE), SWAP(14, "\x82\x01", TRUNCATED), SWAP(14, "\xa2\x01\x01\x01\x01", DUPLICATE_KEY),
	};
	for (size_t i = 0; i < COUNT_OF(swaps); i++) {
		uint8_t buffer[256];
		result decoded = decode(build(&swaps[i], buffer), NULL);
		if (decoded != swaps[i].reason)
			fail_msg("row %zu, key %zu: %s, not %s (%s)", i, swaps[i].index + 1, reason_name(decoded),
				reason_name(swaps[i].reason), failure_text());
		if (swaps[i].reason != TRUNCATED)
			assert_non_null(strstr(failure_text(), "everything."));
	}
}

static void accepts_by_field(void **unused)
{
	static const struct swap swaps[] = {
		SWAP(2, "\x00", OK), SWAP(3, "\x00", OK), SWAP(8, "\x44" "abcd", OK), SWAP(11, "\xf6", OK), SWAP(11, "\x64" "four", OK),
		SWAP(13, "\x81\x82\x01\x60", OK), SWAP(13, "\x83\x82\x01\x60\x82\x02\x60\x82\x03\x60", OK), SWAP(14, "\xf6", OK),
		SWAP(14, "\x47" "abcdefg", OK),
	};
	for (size_t i = 0; i < COUNT_OF(swaps); i++) {
		uint8_t buffer[256];
		expect_ok(decode(build(&swaps[i], buffer), NULL));
	}
}

/* Two keys and their values as bytes of a map of two. */
static const struct schema inner_map = {"pair", SHAPE_MAP, sizeof(struct inner), inner_fields, COUNT_OF(inner_fields)};

static result decode_pair(struct span bytes)
{
	struct arena arena = arena_of(1024);
	struct inner object;
	result decoded = schema_decode(&inner_map, bytes, &arena, &object);
	arena_free(&arena);
	return decoded;
}

static void keys_are_exactly_those_of_the_table(void **unused)
{
	static const struct {
		const char *bytes;
		size_t len;
		enum reason reason;
	} rows[] = {
		{"\xa2\x01\x05\x02\x60", 5, OK},
		{"\xa1\x01\x05", 3, MISSING_FIELD},
		{"\xa3\x01\x05\x02\x60\x03\x01", 7, UNKNOWN_FIELD},
		{"\xa2\x01\x05\x03\x60", 5, UNKNOWN_FIELD},
		{"\xa2\x02\x60\x01\x05", 5, MISSING_FIELD},	/* out of order */
		{"\xa2\x01\x05\x01\x05", 5, NOT_DETERMINISTIC}, /* twice */
		{"\xa2\x01\x05\x61" "2\x60", 6, BAD_TYPE},
		{"\xa2\x18\x01\x05\x02\x60", 6, NOT_DETERMINISTIC},
		{"\xbf\x01\x05\x02\x60\xff", 6, NOT_DETERMINISTIC},
		{"\x82\x05\x60", 3, BAD_TYPE},
		{"\xa2\x01\x05\x02\x60\x00", 6, TRAILING_BYTES},
		{"", 0, TRUNCATED},
		{"\xba\xff\xff\xff\xff", 5, TRUNCATED},
		{"\xbb\xff\xff\xff\xff\xff\xff\xff\xff", 9, TRUNCATED},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		result decoded = decode_pair(span_of(rows[i].bytes, rows[i].len));
		if (decoded != rows[i].reason)
			fail_msg("row %zu: %s, not %s (%s)", i, reason_name(decoded), reason_name(rows[i].reason), failure_text());
	}
}

static void truncated_at_every_byte_and_extended(void **unused)
{
	uint8_t buffer[256];
	struct span bytes = build(NULL, buffer);
	for (size_t len = 0; len < bytes.len; len++) {
		/* A copy of exactly that size, so that a sanitizer sees a read beyond it. */
		CLEANUP(bytes_free) struct bytes cut = BYTES_EMPTY;
		expect_ok(bytes_copy(span_of(bytes.data, len), &cut));
		assert_int_not_equal(decode(bytes_span(&cut), NULL), OK);
	}
	buffer[bytes.len] = 0;
	expect(decode(span_of(buffer, bytes.len + 1), NULL), TRAILING_BYTES);
}

/* Whatever a flipped bit leaves acceptable encodes to the same bytes again: no two encodings of one value. */
static void flipped_bits_never_make_a_second_encoding(void **unused)
{
	uint8_t buffer[256];
	struct span bytes = build(NULL, buffer);
	for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
		struct arena arena = arena_of(4096);
		struct everything object;
		CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
		buffer[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (schema_decode(&schema, bytes, &arena, &object) == OK) {
			expect_ok(schema_encode(&schema, &object, &again));
			expect_span(bytes_span(&again), bytes);
		}
		buffer[bit / 8] ^= (uint8_t)(1 << bit % 8);
		arena_free(&arena);
	}
}

struct many {
	struct inner *items;
	size_t count;
};
static const struct field many_fields[] = {F_LIST(struct many, 1, items, count, &inner_schema, 0, 0, 1 << 30)};
static const struct schema many_schema = SCHEMA(struct many, "many", SHAPE_BARE, many_fields);

static void memory_follows_the_bytes_not_the_declared_length(void **unused)
{
	struct arena arena = arena_of(64 * 1024);
	struct many object;
	/* 2^28 elements declared in five bytes. */
	expect(schema_decode(&many_schema, span_of("\x9a\x10\x00\x00\x00", 5), &arena, &object), TRUNCATED);
	assert_true(arena.used < 1024);
	/* As many elements as there are bytes, but more memory than the caller allows. */
	uint8_t *bytes = calloc(1, 64 * 1024);
	assert_non_null(bytes);
	memcpy(bytes, "\x99\xff\x00", 3);
	expect(schema_decode(&many_schema, span_of(bytes, 64 * 1024), &arena, &object), TOO_LARGE);
	assert_true(arena.used <= arena.max);
	free(bytes);
	arena_free(&arena);
}

static void encoding_refuses_what_decoding_would(void **unused)
{
	struct inner items[] = {{1, "a"}, {2, ""}};
	struct inner unsorted[] = {{2, ""}, {1, "a"}}, equal[] = {{1, "a"}, {1, "a"}};
	const struct everything base = {.v = 1, .bytes = span_str("x"), .text = "t", .inner = {1, "b"}, .inners = items,
		.inner_count = 2, .any = span_of("\x01", 1)};
	struct everything cases[10];
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		cases[i] = base;
	cases[1].v = 2;
	cases[2].limited = 1001;
	cases[3].bytes = SPAN_EMPTY;
	cases[4].text = "";
	cases[5].text = NULL;
	cases[6].inners = unsorted;
	cases[7].inners = equal;
	cases[8].inner_count = 0;
	cases[9].inner.b = "too long a text";
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		CLEANUP(bytes_free) struct bytes out = BYTES_EMPTY;
		expect(schema_encode(&schema, &cases[i], &out), i == 0 ? OK : BAD_VALUE);
		assert_int_equal(out.len > 0, i == 0);
	}
}

static void sorts_for_the_codec(void **unused)
{
	struct inner items[] = {{9, ""}, {1, "b"}, {1, "a"}, {200, ""}};
	expect_ok(schema_sort(&inner_schema, items, COUNT_OF(items)));
	assert_string_equal(items[0].b, "a");
	assert_string_equal(items[1].b, "b");
	assert_int_equal(items[2].a, 9);
	assert_int_equal(items[3].a, 200);
	struct inner equal[] = {{1, "a"}, {2, ""}, {1, "a"}};
	expect(schema_sort(&inner_schema, equal, COUNT_OF(equal)), BAD_VALUE);
}

static void shows_as_json(void **unused)
{
	uint8_t buffer[256];
	struct arena arena = arena_of(4096);
	struct everything object;
	expect_ok(schema_decode(&schema, build(NULL, buffer), &arena, &object));
	object.time = 1800000000000ULL;
	json_t *json = schema_json(&schema, &object);
	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, "fixed")), "61626364");
	assert_true(json_is_null(json_object_get(json, "maybe_fixed")));
	assert_true(json_is_true(json_object_get(json, "flag")));
	assert_non_null(strstr(json_string_value(json_object_get(json, "time")), "2027-01-15"));
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(json, "inners"), 0), "b")), "a");
	json_decref(json);
	arena_free(&arena);
}

/* One structure in two versions: {1: 1, 2: old} and {1: 2, 3: young}. */
struct aged {
	uint8_t v;
	uint8_t old, young;
};
static const struct field aged_first_fields[] = {F_VERSION(struct aged, 1, v, 1), F_UINT(struct aged, 2, old, 0)};
static const struct schema aged_first = SCHEMA(struct aged, "aged", SHAPE_MAP, aged_first_fields);
static const struct field aged_fields[] = {F_VERSION(struct aged, 1, v, 2), F_UINT(struct aged, 3, young, 0)};
static const struct schema aged_schema = {"aged", SHAPE_MAP, sizeof(struct aged), aged_fields, COUNT_OF(aged_fields), .older = &aged_first};

struct grown {
	uint8_t first;
	bool flag, has_text;
	const char *text;
};
static const struct field grown_fields[] = {
	F_UINT(struct grown, 1, first, 0),
	F_FLAG_OR_ABSENT(struct grown, 2, flag),
	F_TEXT_OR_ABSENT(struct grown, 5, text, has_text, 1, 8),
};
static const struct schema grown_schema = SCHEMA(struct grown, "grown", SHAPE_MAP, grown_fields);

static void expect_grown(struct span wanted, const struct grown *object)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	CLEANUP(bytes_free) struct bytes made = BYTES_EMPTY;
	struct grown read;
	expect_ok(schema_encode(&grown_schema, object, &made));
	assert_int_equal(made.len, wanted.len);
	assert_memory_equal(made.data, wanted.data, wanted.len);
	expect_ok(schema_decode(&grown_schema, wanted, &arena, &read));
	assert_int_equal(read.first, object->first);
	assert_int_equal(read.flag, object->flag);
	assert_int_equal(read.has_text, object->has_text);
	if (read.has_text)
		assert_string_equal(read.text, object->text);
}

static void later_fields_are_left_out_when_unused(void **unused)
{
	static const uint8_t none[] = {0xa1, 1, 7}, flag[] = {0xa2, 1, 7, 2, 0xf5}, text[] = {0xa2, 1, 7, 5, 0x61, 'x'},
			     both[] = {0xa3, 1, 7, 2, 0xf5, 5, 0x61, 'x'};
	static const struct {
		uint8_t bytes[10];
		size_t len;
		enum reason reason;
	} wrong[] = {
		{{0xa2, 1, 7, 2, 0xf4}, 5, NOT_DETERMINISTIC}, /* a false flag */
		{{0xa2, 1, 7, 2, 0xf6}, 5, BAD_TYPE},
		{{0xa2, 1, 7, 5, 0xf6}, 5, BAD_TYPE},
		{{0xa3, 1, 7, 5, 0x61, 'x', 2, 0xf5}, 8, UNKNOWN_FIELD},
		{{0xa3, 1, 7, 2, 0xf5, 2, 0xf5}, 7, NOT_DETERMINISTIC},
		{{0xa2, 1, 7, 3, 0xf5}, 5, UNKNOWN_FIELD},
		{{0xa1, 2, 0xf5}, 3, MISSING_FIELD},
		{{0xa0}, 1, MISSING_FIELD},
		{{0xa2, 1, 7}, 3, TRUNCATED},
	};
	expect_grown(span_of(none, sizeof(none)), &(struct grown){.first = 7});
	expect_grown(span_of(flag, sizeof(flag)), &(struct grown){.first = 7, .flag = true});
	expect_grown(span_of(text, sizeof(text)), &(struct grown){.first = 7, .has_text = true, .text = "x"});
	expect_grown(span_of(both, sizeof(both)), &(struct grown){.first = 7, .flag = true, .has_text = true, .text = "x"});
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		CLEANUP(arena_free) struct arena arena = arena_of(4096);
		struct grown read;
		expect(schema_decode(&grown_schema, span_of(wrong[i].bytes, wrong[i].len), &arena, &read), wrong[i].reason);
	}
}

static void versions_have_tables_of_their_own(void **unused)
{
	static const struct {
		const char *bytes;
		size_t len;
		result wanted;
	} cases[] = {
		{"\xa2\x01\x01\x02\x07", 5, OK},
		{"\xa2\x01\x02\x03\x09", 5, OK},
		{"\xa2\x01\x01\x03\x09", 5, UNKNOWN_FIELD}, /* each only with its own fields */
		{"\xa2\x01\x02\x02\x07", 5, UNKNOWN_FIELD},
		{"\xa3\x01\x02\x02\x07\x03\x09", 7, UNKNOWN_FIELD},
		{"\xa2\x01\x03\x03\x09", 5, UNKNOWN_VERSION},
		{"\xa2\x01\x00\x02\x07", 5, UNKNOWN_VERSION},
		{"\xa2\x02\x07\x01\x01", 5, UNKNOWN_FIELD}, /* the version comes first */
		{"\xa1\x01\x01", 3, MISSING_FIELD},
		{"\xa2\x01", 2, TRUNCATED},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct arena arena = arena_of(1 << 16);
		CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
		struct aged object = {0};
		struct span bytes = span_of(cases[i].bytes, cases[i].len);
		expect(schema_decode(&aged_schema, bytes, &arena, &object), cases[i].wanted);
		if (cases[i].wanted == OK) {
			assert_int_equal(object.v == 1 ? object.old : object.young, object.v == 1 ? 7 : 9);
			assert_int_equal(object.v == 1 ? object.young : object.old, 0);
			expect_ok(schema_encode(&aged_schema, &object, &again));
			expect_span(bytes_span(&again), bytes);
			json_t *json = schema_json(&aged_schema, &object);
			assert_int_equal(json_object_get(json, "young") != NULL, object.v == 2);
			json_decref(json);
		}
		arena_free(&arena);
	}
	CLEANUP(bytes_free) struct bytes none = BYTES_EMPTY;
	expect(schema_encode(&aged_schema, &(struct aged){.v = 3}, &none), BAD_VALUE);
}

/* Fields that need no bool beside them: what says nothing is not there, and must not be. */
struct later {
	uint8_t v;
	const char *text;
	struct span bytes;
	struct digest32 *list;
	size_t count;
};
static const struct field later_fields[] = {
	F_VERSION(struct later, 1, v, 1),
	F_TEXT_ABSENT(struct later, 2, text, 1, 8),
	F_BYTES_ABSENT(struct later, 3, bytes, 0, 8),
	F_LIST_ABSENT(struct later, 4, list, count, &digest32_schema, FIELD_SORTED, 0, 2),
};
static const struct schema later_schema = SCHEMA(struct later, "later", SHAPE_MAP, later_fields);

static void what_says_nothing_is_left_out(void **unused)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 16);
	CLEANUP(bytes_free) struct bytes bare = BYTES_EMPTY, full = BYTES_EMPTY;
	struct digest32 one = {{1}};
	struct later later = {.v = 1}, read = {.text = "old", .count = 7};
	expect_ok(schema_encode(&later_schema, &later, &bare));
	assert_int_equal(bare.len, 3);
	expect_ok(schema_decode(&later_schema, bytes_span(&bare), &arena, &read));
	assert_null(read.text);
	assert_int_equal(read.count, 0);
	later = (struct later){1, "abc", span_str("x"), &one, 1};
	expect_ok(schema_encode(&later_schema, &later, &full));
	expect_ok(schema_decode(&later_schema, bytes_span(&full), &arena, &read));
	assert_string_equal(read.text, "abc");
	assert_int_equal(read.bytes.len, 1);
	assert_int_equal(read.count, 1);
	static const uint8_t no_bytes[] = {0xa2, 1, 1, 3, 0x40}, no_list[] = {0xa2, 1, 1, 4, 0x80}, null[] = {0xa2, 1, 1, 2, 0xf6},
		twice[] = {0xa3, 1, 1, 2, 0x61, 'a', 2, 0x61, 'a'}, order[] = {0xa3, 1, 1, 3, 0x41, 1, 2, 0x61, 'a'},
		unknown[] = {0xa2, 1, 1, 5, 1}, missing[] = {0xa1, 2, 0x61, 'a'};
	expect(schema_decode(&later_schema, SPAN_ARRAY(no_bytes), &arena, &read), NOT_DETERMINISTIC);
	expect(schema_decode(&later_schema, SPAN_ARRAY(no_list), &arena, &read), NOT_DETERMINISTIC);
	expect(schema_decode(&later_schema, SPAN_ARRAY(null), &arena, &read), BAD_TYPE);
	assert_int_not_equal(schema_decode(&later_schema, SPAN_ARRAY(twice), &arena, &read), OK);
	assert_int_not_equal(schema_decode(&later_schema, SPAN_ARRAY(order), &arena, &read), OK);
	expect(schema_decode(&later_schema, SPAN_ARRAY(unknown), &arena, &read), UNKNOWN_FIELD);
	expect(schema_decode(&later_schema, SPAN_ARRAY(missing), &arena, &read), MISSING_FIELD);
}

int group_schema(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_goes_in_and_out),
		cmocka_unit_test(refuses_by_field),
		cmocka_unit_test(accepts_by_field),
		cmocka_unit_test(keys_are_exactly_those_of_the_table),
		cmocka_unit_test(truncated_at_every_byte_and_extended),
		cmocka_unit_test(flipped_bits_never_make_a_second_encoding),
		cmocka_unit_test(memory_follows_the_bytes_not_the_declared_length),
		cmocka_unit_test(encoding_refuses_what_decoding_would),
		cmocka_unit_test(sorts_for_the_codec),
		cmocka_unit_test(shows_as_json),
		cmocka_unit_test(later_fields_are_left_out_when_unused),
		cmocka_unit_test(versions_have_tables_of_their_own),
		cmocka_unit_test(what_says_nothing_is_left_out),
	};
	return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
