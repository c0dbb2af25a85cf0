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

int group_names(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(uris_carry_the_root),
		cmocka_unit_test(uris_of_another_root_are_foreign),
		cmocka_unit_test(fingerprints),
		cmocka_unit_test(keys_hash_is_length_prefixed),
	};
	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
