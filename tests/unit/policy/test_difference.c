/* Differences between policies: each field in both directions, and what is no difference. */
#include "policy_test.h"

#include "policy/difference.h"

#define ROOT_AA "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ROOT_BB "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define CORE_11 "'111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111'"
#define CORE_22 "'222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222'"
#define PEER(rest) POLICY_A("allowed_communicators: [{id: B" rest "}]\n")

static void assert_one(const char *before, const char *after, const char *field, enum difference_effect effect)
{
	CLEANUP(policy_table_cleanup) struct policy_table *left = load(before), *right = load(after);
	CLEANUP(differences_free) struct differences found = {0};
	expect_ok(policy_differences(left, right, &found));
	if (found.count != 1)
		fail_msg("%zu differences for %s", found.count, field);
	assert_string_equal(found.items[0].field, field);
	assert_string_equal(found.items[0].subject, "IRE-A");
	assert_string_equal(difference_effect_name(found.items[0].effect), difference_effect_name(effect));
}

/* One way allows, the other way denies. */
static const struct {
	const char *narrow, *wide, *field;
} ordered[] = {
	{POLICY_A(""), PEER(""), "allowed_communicators"},
	{POLICY_A("deny: [X]\n"), POLICY_A(""), "deny"},
	{PEER(""), POLICY_A("allowed_communicators: [B]\nallow_level0: [B]\n"), "allow_level0"},
	{POLICY_A(""), POLICY_A("min_confinement: L\n"), "min_confinement"},
	{POLICY_A("allow_interpreter: false\n"), POLICY_A(""), "allow_interpreter"},
	{POLICY_A("max_evidence_age_s: 5\n"), POLICY_A("max_evidence_age_s: 6\n"), "max_evidence_age_s"},
	{POLICY_A("max_evidence_age_s: 5\n"), POLICY_A(""), "max_evidence_age_s"},
	{POLICY_A("channels: {sessions: 5}\n"), POLICY_A("channels: {sessions: 6}\n"), "channels.sessions"},
	{POLICY_A("channels: {keyupdate_bytes: 65536}\n"), POLICY_A("channels: {keyupdate_bytes: 65537}\n"), "channels.keyupdate_bytes"},
	{POLICY_A("channels: {rekey_s: 5, stall_s: 5}\n"), POLICY_A("channels: {stall_s: 5}\n"), "channels.rekey_s"},
	{POLICY_A("channels: {stall_s: 5}\n"), POLICY_A(""), "channels.stall_s"},
	{POLICY_A("not_before: '2027-01-01T00:00:00Z'\n"), POLICY_A("not_before: '2026-01-01T00:00:00Z'\n"), "not_before"},
	{POLICY_A("not_after: '2027-01-01T00:00:00Z'\n"), POLICY_A(""), "not_after"},
	{POLICY_A("required_factors: [tpm]\n"), POLICY_A(""), "required_factors"},
	{PEER(", direction: send"), PEER(""), "direction"},
	{PEER(", operations: [a]"), PEER(", operations: [a, b]"), "operations"},
	{PEER(", operations: [a]"), PEER(""), "operations"},
	{PEER(", scopes: [b]"), PEER(", scopes: [a, b]"), "scopes"},
	{PEER(", cores: [" CORE_22 "]"), PEER(", cores: [" CORE_11 ", " CORE_22 "]"), "cores"},
	{PEER(", rot_ids: [" ROOT_AA "]"), PEER(", rot_ids: [" ROOT_AA ", " ROOT_BB "]"), "rot_ids"},
	{PEER(", rate: {operations: 1, per_s: 1}"), PEER(""), "rate"},
	{PEER(", rate: {operations: 1, per_s: 2, burst: 1}"), PEER(", rate: {operations: 1, per_s: 1, burst: 1}"), "rate"},
	{PEER(", required_factors: [tee]"), PEER(""), "required_factors"},
	{PEER(", reference: {author: " ROOT_AA ", set: s, min_svn: 2}"), PEER(", reference: {author: " ROOT_AA ", set: s}"), "reference"},
	{PEER(", reference: {author: " ROOT_AA ", set: s}"), PEER(""), "reference"},
};

static void what_widens_allows_and_what_narrows_denies(void **state)
{
	for (size_t i = 0; i < COUNT_OF(ordered); i++) {
		assert_one(ordered[i].narrow, ordered[i].wide, ordered[i].field, DIFFERENCE_ALLOWS);
		assert_one(ordered[i].wide, ordered[i].narrow, ordered[i].field, DIFFERENCE_DENIES);
	}
}

static void what_does_both_only_changes(void **state)
{
	assert_one(PEER(", operations: [a]"), PEER(", operations: [b]"), "operations", DIFFERENCE_OTHER);
	assert_one(PEER(", direction: send"), PEER(", direction: receive"), "direction", DIFFERENCE_OTHER);
	assert_one(PEER(", rate: {operations: 1, per_s: 1, burst: 9}"), PEER(", rate: {operations: 2, per_s: 1, burst: 1}"), "rate",
		DIFFERENCE_OTHER);
	assert_one(POLICY_A("required_factors: [tpm]\n"), POLICY_A("required_factors: [tee]\n"), "required_factors", DIFFERENCE_OTHER);
	assert_one(POLICY_A("rot_ids: [" ROOT_AA "]\n"), POLICY_A(""), "rot_ids", DIFFERENCE_OTHER);
	assert_one(POLICY_A("author: " ROOT_AA "\n"), POLICY_A(""), "author", DIFFERENCE_OTHER);
	assert_one(POLICY_A(""), POLICY_A("version: 2\n"), "version", DIFFERENCE_OTHER);
}

static void the_same_is_no_difference(void **state)
{
	for (size_t i = 0; i < COUNT_OF(ordered); i++) {
		CLEANUP(policy_table_cleanup) struct policy_table *left = load(ordered[i].narrow), *right = load(ordered[i].narrow);
		CLEANUP(differences_free) struct differences found = {0};
		expect_ok(policy_differences(left, right, &found));
		assert_int_equal(found.count, 0);
	}
}

int test_difference(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_widens_allows_and_what_narrows_denies),
		cmocka_unit_test(what_does_both_only_changes),
		cmocka_unit_test(the_same_is_no_difference),
	};
	return cmocka_run_group_tests_name("difference", tests, NULL, NULL);
}
