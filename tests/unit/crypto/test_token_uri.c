/* Keys in tokens as one word (RFC 7512). */
#include "tests.h"

#include "crypto/token_uri.h"

static void what_is_taken(void **state)
{
	struct arena arena = arena_of(64 * 1024);
	struct token_uri uri;
	assert_true(token_uri_is("pkcs11:token=a") && token_uri_is("PKCS11:"));
	assert_false(token_uri_is("key.pem") || token_uri_is("pkcs11"));
	/* names and escapes as in the examples of RFC 7512 section 3 */
	assert_ok(token_uri_parse("pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;serial=1;object=my-key;type=private;id=%69%95%3E%5C%F4%00"
				  "?module-path=/usr/lib/x.so&pin-source=file:///etc/token_pin", &arena, &uri));
	assert_string_equal(uri.token, "The Software PKCS#11 Softtoken");
	assert_string_equal(uri.serial, "1");
	assert_string_equal(uri.object, "my-key");
	assert_string_equal(uri.id_hex, "69953e5cf400");
	assert_string_equal(uri.module, "/usr/lib/x.so");
	assert_string_equal(uri.pin_file, "/etc/token_pin");
	assert_ok(token_uri_parse("pkcs11:object=k?pin-source=pin", &arena, &uri));
	assert_string_equal(uri.pin_file, "pin");
	assert_null(uri.token);
	assert_ok(token_uri_parse("pkcs11:", &arena, &uri));
	assert_null(uri.object);
	arena_free(&arena);
}

static void what_is_refused(void **state)
{
	static const struct {
		const char *word;
		result reason;
	} rows[] = {
		{"key.pem", BAD_SYNTAX},
		{"pkcs11:token", BAD_SYNTAX},
		{"pkcs11:token=a;;object=b", BAD_SYNTAX},
		{"pkcs11:object=%4", BAD_SYNTAX},
		{"pkcs11:object=%", BAD_SYNTAX},
		{"pkcs11:object=%zz", BAD_SYNTAX},
		{"pkcs11:object=a%00b", BAD_VALUE},
		{"pkcs11:object=a;object=b", DUPLICATE_KEY},
		{"pkcs11:object=a?pin-value=1234", BAD_VALUE},
		{"pkcs11:object=a;pin-value=1234", BAD_VALUE},
		{"pkcs11:manufacturer=x", UNKNOWN_FIELD},
		{"pkcs11:type=public", UNKNOWN_FIELD},
		{"pkcs11:module-path=/x", UNKNOWN_FIELD},
		{"pkcs11:object=a?token=b", UNKNOWN_FIELD},
	};
	struct arena arena = arena_of(64 * 1024);
	struct token_uri uri;
	char lengthy[2048] = "pkcs11:object=";
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		assert_result(token_uri_parse(rows[i].word, &arena, &uri), rows[i].reason);
	memset(lengthy + 14, 'a', 1500);
	assert_result(token_uri_parse(lengthy, &arena, &uri), BAD_VALUE);
	arena_free(&arena);
}

int test_token_uri(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_taken), cmocka_unit_test(what_is_refused)};
	return cmocka_run_group_tests_name("token uri", tests, NULL, NULL);
}
