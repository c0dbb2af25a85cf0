/* Names, URIs, root labels and the hashes that bind a launch to its keys. */
#include "../expect.h"

#include "groups.h"
#include "samples.h"

static void names(void **unused)
{
	static const char *const good[] = {"a", "IRE-A", "x.y_z-1", "0",
		"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"};
	static const char *const bad[] = {"", ".a", "-a", "a b", "a/b", "a:b", "\xc3\xa4", "a\n",
		"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl"};
	for (size_t i = 0; i < COUNT_OF(good); i++)
		assert_true(name_is_valid(good[i]));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(name_is_valid(bad[i]));
}

static const char expected_uri[] =
	"spiffe://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa.troth.internal/ire/IRE-A";

static void uris_carry_the_root(void **unused)
{
	uint8_t rot_id[OID_SIZE];
	char uri[URI_MAX_LEN + 1];
	sample_fill(rot_id, sizeof(rot_id), 1);
	expect_ok(ire_uri(rot_id, "troth.internal", "IRE-A", uri));
	assert_string_equal(uri, expected_uri);
	expect(ire_uri(rot_id, "troth.internal", "IRE A", uri), BAD_VALUE);
	expect(ire_uri(rot_id, "troth.internal/x", "IRE-A", uri), BAD_VALUE);
	expect(ire_uri(rot_id, "Troth", "IRE-A", uri), BAD_VALUE);
	expect(ire_uri(rot_id, "", "IRE-A", uri), BAD_VALUE);
	char domain[122];
	memset(domain, 'a', sizeof(domain));
	domain[120] = '\0';
	expect_ok(ire_uri(rot_id, domain, "IRE-A", uri));
	domain[120] = 'a';
	domain[121] = '\0';
	expect(ire_uri(rot_id, domain, "IRE-A", uri), BAD_VALUE);
	expect(ire_uri(rot_id, ".x", "IRE-A", uri), BAD_VALUE);
}

static void uris_of_another_root_are_foreign(void **unused)
{
	static const struct {
		const char *uri;
		enum reason reason;
	} rows[] = {
		{"spiffe://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qb.troth.internal/ire/IRE-A", CERTIFICATE_FOREIGN},
		{"spiffe://AEBAGBAFAYDQQCIKBMGA2DQPCAIREEYUCULBOGAZDINRYHI6D4QA.troth.internal/ire/IRE-A", CERTIFICATE_FOREIGN},
		{"https://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa.troth.internal/ire/IRE-A", CERTIFICATE_FOREIGN},
		{"spiffe://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa/ire/IRE-A", CERTIFICATE_FOREIGN},
		{"spiffe://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa./ire/IRE-A", BAD_VALUE},
		{"spiffe://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa.troth.internal/IRE-A", BAD_VALUE},
		{"spiffe://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa.troth.internal/ire/", BAD_VALUE},
		{"spiffe://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa.troth.internal/ire/a/b", BAD_VALUE},
		{"spiffe://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa.troth@internal/ire/IRE-A", BAD_VALUE},
		{"spiffe://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa.troth.internal/ire/IRE-A?x=1", BAD_VALUE},
		{expected_uri, OK},
	};
	uint8_t rot_id[OID_SIZE];
	sample_fill(rot_id, sizeof(rot_id), 1);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *name = "untouched";
		result split = ire_uri_name(rows[i].uri, rot_id, &name);
		if (split != rows[i].reason)
			fail_msg("%s: %s, not %s", rows[i].uri, reason_name(split), reason_name(rows[i].reason));
		assert_string_equal(name, split == OK ? "IRE-A" : "untouched");
	}
}

static void fingerprints(void **unused)
{
	uint8_t rot_id[OID_SIZE];
	char text[EPOCH_FINGERPRINT_SIZE];
	sample_fill(rot_id, sizeof(rot_id), 1);
	rot_fingerprint(rot_id, text);
	assert_string_equal(text, "aeba-gbaf-aydq-qcik-bmga-2dqp-cair-eeyu-culb-ogaz-dinr-yhi6-d4qa");
}

static void keys_hash_is_length_prefixed(void **unused)
{
	uint8_t sign[POINT_SIZE], kem[POINT_SIZE], input[2 * (4 + POINT_SIZE)] = {0}, expected[SHA256_SIZE], got[SHA256_SIZE];
	sample_fill(sign, sizeof(sign), 1);
	sample_fill(kem, sizeof(kem), 2);
	input[3] = input[4 + POINT_SIZE + 3] = POINT_SIZE;
	memcpy(input + 4, sign, POINT_SIZE);
	memcpy(input + 8 + POINT_SIZE, kem, POINT_SIZE);
	sha256(SPAN_ARRAY(input), expected);
	launch_keys_hash(sign, kem, got);
	assert_memory_equal(got, expected, SHA256_SIZE);
	launch_keys_hash(kem, sign, got);
	assert_memory_not_equal(got, expected, SHA256_SIZE);
}

/* Texts of another implementation of BIP-350. */
static void addresses(void **unused)
{
	uint8_t zero[ADDRESS_SIZE] = {0}, count[ADDRESS_SIZE], full[ADDRESS_SIZE], back[ADDRESS_SIZE];
	char text[ADDRESS_TEXT_SIZE];
	for (size_t i = 0; i < ADDRESS_SIZE; i++) {
		count[i] = (uint8_t)i;
		full[i] = 0xff;
	}
	const struct {
		const uint8_t *address;
		const char *text;
	} rows[] = {
		{zero, "troth1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq568qym"},
		{count, "troth1qqqsyqcyq5rqwzqfpg9scrgwpugpzysny0k9jl"},
		{full, "troth1llllllllllllllllllllllllllllllllctx0r3"},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		address_format(rows[i].address, text);
		assert_string_equal(text, rows[i].text);
		expect_ok(address_parse(span_str(text), back));
		assert_memory_equal(back, rows[i].address, ADDRESS_SIZE);
		/* Any one letter that is wrong is noticed. */
		for (size_t at = 0; at < strlen(text); at++)
			for (const char *other = "qpzry9x8gf2tvdw0s3jn54khce6mua7lbio1Q"; *other; other++) {
				char kept = text[at];
				if (*other == kept)
					continue;
				text[at] = *other;
				assert_int_not_equal(address_parse(span_str(text), back), OK);
				text[at] = kept;
			}
	}
	expect(address_parse(span_str("troth1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq568qyp"), back), DIGEST_MISMATCH);
	expect(address_parse(span_str("TROTH1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ568QYM"), back), BAD_VALUE);
	expect(address_parse(SPAN_EMPTY, back), BAD_VALUE);
	struct sample_keys keys;
	sample_keys_make(&keys);
	address_of(keys.root_sign.point, back);
	assert_memory_equal(back, keys.root_sign.id, ADDRESS_SIZE);
	sample_keys_free(&keys);
}

static void scopes(void **unused)
{
	static const char owner[] = "troth1qqqsyqcyq5rqwzqfpg9scrgwpugpzysny0k9jl";
	static const struct {
		const char *rest;
		bool good;
	} rows[] = {{"", true}, {"/a", true}, {"/a/b.c_d-e/9", true}, {"/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16", true},
		{"/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", false}, {"/", false}, {"//a", false}, {"/a/", false}, {"/.a", false}, {"/a b", false},
		{"/..", false}, {"x", false}, {"/abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl", false}};
	uint8_t address[ADDRESS_SIZE];
	char scope[512];
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		snprintf(scope, sizeof(scope), "%s%s", owner, rows[i].rest);
		expect(scope_parse(scope, address), rows[i].good ? OK : BAD_NAME);
	}
	for (uint8_t i = 0; i < ADDRESS_SIZE; i++)
		address[i] = i;
	assert_true(scope_covers("x/a", "x/a"));
	assert_true(scope_covers("x/a", "x/a/b"));
	assert_true(scope_covers("x", "x/a/b"));
	assert_false(scope_covers("x/a", "x/ab"));
	assert_false(scope_covers("x/a/b", "x/a"));
	assert_false(scope_covers("x/a", "y/a"));
	expect(scope_parse("nobody/a", address), BAD_NAME);
}

static void operations(void **unused)
{
	char name[OPERATION_NAME_SIZE];
	unsigned bit;
	for (unsigned i = 0; i < 64; i++) {
		operation_name(i, name);
		expect_ok(operation_parse(span_str(name), &bit));
		assert_int_equal(bit, i);
	}
	operation_name(2, name);
	assert_string_equal(name, "aggregate");
	expect(operation_parse(span_str("op64"), &bit), BAD_NAME);
	expect(operation_parse(span_str("op2"), &bit), BAD_NAME);
	expect(operation_parse(SPAN_EMPTY, &bit), BAD_NAME);
	for (unsigned type = 0; type < 20; type++)
		assert_int_equal(transaction_body_schema(type) != NULL, strcmp(transaction_type_name(type), "unknown") != 0);
}

int group_names(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(uris_carry_the_root),
		cmocka_unit_test(uris_of_another_root_are_foreign),
		cmocka_unit_test(fingerprints),
		cmocka_unit_test(keys_hash_is_length_prefixed),
		cmocka_unit_test(addresses),
		cmocka_unit_test(scopes),
		cmocka_unit_test(operations),
	};
	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
