#include "wire_test.h"

#include "wire/json.h"

static void hex_both_ways(void **state)
{
	uint8_t bytes[4] = {0x00, 0x7f, 0xa5, 0xff}, back[4];
	char text[9];
	hex_encode(SPAN_ARRAY(bytes), text);
	assert_string_equal(text, "007fa5ff");
	expect_ok(hex_decode(span_str("007FA5ff"), back, 4));
	assert_memory_equal(back, bytes, 4);
}

static void hex_refusals(void **state)
{
	uint8_t out[2] = {1, 2};
	const char *const wrong[] = {"", "00", "000", "00000", "000000", "00g0", "0x00", " 000", "00-1"};
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		expect(hex_decode(span_str(wrong[i]), out, 2), BAD_VALUE);
	assert_int_equal(out[0], 1);
	assert_int_equal(out[1], 2);
}

/* RFC 4648 section 10, lower case, without padding. */
static void base32_known_answers(void **state)
{
	const struct {
		const char *plain, *text;
	} rows[] = {{"", ""}, {"f", "my"}, {"fo", "mzxq"}, {"foo", "mzxw6"}, {"foob", "mzxw6yq"}, {"fooba", "mzxw6ytb"},
		{"foobar", "mzxw6ytboi"}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char text[32];
		uint8_t back[8];
		size_t len = strlen(rows[i].plain);
		base32_encode(span_str(rows[i].plain), text);
		assert_string_equal(text, rows[i].text);
		assert_int_equal(strlen(text), BASE32_LENGTH(len));
		expect_ok(base32_decode(span_str(text), back, len));
		assert_memory_equal(back, rows[i].plain, len);
	}
}

/* RFC 4648 section 10. */
static void base64_known_answers(void **state)
{
	(void)state;
	static const struct {
		const char *plain, *text;
	} rows[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char text[16];
		uint8_t back[16];
		size_t len;
		base64_encode(span_str(rows[i].plain), text);
		assert_string_equal(text, rows[i].text);
		assert_int_equal(strlen(text), BASE64_LENGTH(strlen(rows[i].plain)));
		expect_ok(base64_decode(span_str(text), back, &len));
		assert_int_equal(len, strlen(rows[i].plain));
		assert_memory_equal(back, rows[i].plain, len);
	}
	uint8_t all[256];
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i * 7 + 3);
	for (size_t len = 0; len <= sizeof(all); len++) {
		char text[BASE64_LENGTH(sizeof(all)) + 1];
		uint8_t back[BASE64_LENGTH(sizeof(all))];
		size_t got;
		base64_encode(span_of(all, len), text);
		expect_ok(base64_decode(span_str(text), back, &got));
		assert_int_equal(got, len);
		assert_memory_equal(back, all, len);
	}
}

static void base64_refusals(void **state)
{
	(void)state;
	/* length, padding, alphabet, bits beyond the last byte */
	static const char *const wrong[] = {"Z", "Zg", "Zg=", "=", "====", "Zg==Zg==", "Z===", "Zm9v====", "Zm 9", "Zm9_", "Zm9-", "Zh==", "Zm9=", "Zg=a"};
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		uint8_t out[16];
		size_t len;
		expect(base64_decode(span_str(wrong[i]), out, &len), BAD_VALUE);
	}
	uint8_t out[4];
	size_t len;
	expect(base64_decode(span_of("Zm9\0", 4), out, &len), BAD_VALUE);
}

static void base32_root_label(void **state)
{
	uint8_t id[32], back[32];
	char text[BASE32_LENGTH(32) + 1];
	for (size_t i = 0; i < 32; i++)
		id[i] = (uint8_t)(i * 37 + 11);
	base32_encode(SPAN_ARRAY(id), text);
	assert_int_equal(strlen(text), 52);
	expect_ok(base32_decode(span_str(text), back, 32));
	assert_memory_equal(back, id, 32);
}

/* One value, one text: otherwise two names would mean one root. */
static void base32_refusals(void **state)
{
	uint8_t out[1] = {9};
	const char *const wrong[] = {"", "m", "MY", "mz", "my======", "m1", "m ", "myy"};
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		expect(base32_decode(span_str(wrong[i]), out, 1), BAD_VALUE);
	assert_int_equal(out[0], 9);
}

static void utf8_accepts(void **state)
{
	const char *const good[] = {"", "plain ascii text that is longer than eight", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
		"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "12345678\xc3\xbc-2345678"};
	for (size_t i = 0; i < COUNT_OF(good); i++)
		assert_true(utf8_valid(span_str(good[i])));
	assert_true(utf8_valid(SPAN_EMPTY));
	assert_true(utf8_valid(span_of("a\0b", 3)));
}

static void utf8_refuses(void **state)
{
	const char *const bad[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x20", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe1\x80",
		"\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf0\x90\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
		"\xf8\x88\x80\x80\x80", "\xfe", "\xff", "12345678\xff", "1234567\xc3"};
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(utf8_valid(span_str(bad[i])));
	assert_int_equal(utf8_valid_prefix(span_str("ab\xc3\xbc\xff")), 4);
}

static void utf8_code_points(void **state)
{
	const uint8_t text[] = "a\xc3\xbc\xe6\xb0\xb4\xf0\x90\x85\x91";
	const uint8_t *at = text;
	assert_int_equal(utf8_next(&at), 'a');
	assert_int_equal(utf8_next(&at), 0xfc);
	assert_int_equal(utf8_next(&at), 0x6c34);
	assert_int_equal(utf8_next(&at), 0x10151);
	assert_ptr_equal(at, text + sizeof(text) - 1);
}

static void plain_text(void **state)
{
	const char *const rows[][2] = {
		{"", ""},
		{"caf\xc3\xa9 \xf0\x9f\x98\x80", "caf\xc3\xa9 \xf0\x9f\x98\x80"},
		{"a\x1b[2J\n\x7f", "a?[2J??"},
		{"\xc2\x9b\xe2\x80\xaex", "?????x"},
		{"cut \xe2\x80", "cut ??"},
		{"\xff\xc3\xa9", "?\xc3\xa9"},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char text[64];
		snprintf(text, sizeof(text), "%s", rows[i][0]);
		text_make_plain(text);
		assert_string_equal(text, rows[i][1]);
	}
}

static void sentences_are_taken_out(void **state)
{
	static const char *const rows[][3] = {
		{"no. Do this.", "Do this.", "no."},
		{"Do this.", "Do this.", ""},
		{"A: no. Do this. B: no. Do this.", "Do this.", "A: no. B: no."},
		{"aaa", "a", ""},
		{"as it was", "Do this.", "as it was"},
		{"as it was", "", "as it was"},
		{"", "Do this.", ""},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char text[64];
		snprintf(text, sizeof(text), "%s", rows[i][0]);
		text_take_out(text, rows[i][1]);
		assert_string_equal(text, rows[i][2]);
	}
	(void)state;
}

static void json_values(void **state)
{
	const uint8_t bytes[] = {0x00, 0xff, 0x10};
	json_t *object = json_object();
	assert_int_equal(json_object_set_new(object, "z", json_hex(SPAN_ARRAY(bytes))), 0);
	assert_int_equal(json_object_set_new(object, "a", json_time(1000)), 0);
	assert_int_equal(json_object_set_new(object, "m", json_hex(SPAN_EMPTY)), 0);
	FILE *file = tmpfile();
	assert_non_null(file);
	expect_ok(json_print(file, object));
	rewind(file);
	char text[256] = "";
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	json_decref(object);
	assert_string_equal(text, "{\"z\":\"00ff10\",\"a\":\"1970-01-01T00:00:01.000Z\",\"m\":\"\"}\n");
	FILE *full = fopen("/dev/full", "w");
	assert_non_null(full);
	json_t *one = json_integer(1);
	expect(json_print(full, one), DISK_FULL);
	json_decref(one);
	fclose(full);
}

int run_text_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hex_both_ways),
		cmocka_unit_test(hex_refusals),
		cmocka_unit_test(base32_known_answers),
		cmocka_unit_test(base64_known_answers),
		cmocka_unit_test(base64_refusals),
		cmocka_unit_test(base32_root_label),
		cmocka_unit_test(base32_refusals),
		cmocka_unit_test(utf8_accepts),
		cmocka_unit_test(utf8_refuses),
		cmocka_unit_test(utf8_code_points),
		cmocka_unit_test(plain_text),
		cmocka_unit_test(sentences_are_taken_out),
		cmocka_unit_test(json_values),
	};
	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
