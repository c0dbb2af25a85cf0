/* Findings: what they say, where they stand, and that a clean policy has none. */
#include "policy_test.h"

#include "../base/allocations.h"
#include "policy/lint.h"

static struct lint_findings lint_at(const char *text, uint64_t now_ms)
{
	CLEANUP(document_free) struct document document = {0};
	struct lint_findings findings = {0};
	expect_ok(document_parse("p", span_str(text), 1 << 24, &document));
	expect_ok(policy_lint(&document, now_ms, &findings));
	return findings;
}

/* Exactly one finding, at this place, with this in its text. */
static void assert_finds(const char *text, enum lint_severity severity, unsigned line, unsigned column, const char *says)
{
	struct lint_findings findings = lint_at(text, 0);
	if (findings.count != 1)
		fail_msg("%zu findings in\n%s%s", findings.count, text, findings.count ? findings.items[0].text : "");
	assert_int_equal(findings.items[0].severity, severity);
	assert_int_equal(findings.items[0].line, line);
	assert_int_equal(findings.items[0].column, column);
	assert_contains(findings.items[0].text, says);
	lint_findings_free(&findings);
}

#define LINE(kind, id, rest) "- {" kind ": " id ", max_dac_depth: 3, required_attestation_level: Level-1" rest "}\n"

static void clean_policies_have_no_findings(void **state)
{
	struct lint_findings findings = lint_at(SEED, NOW);
	assert_int_equal(findings.count, 0);
	lint_findings_free(&findings);
	findings = lint_at(LINE("enclave_id", "A", ", allowed_communicators: [{id: B, direction: send}]")
				   LINE("enclave_id", "B", ", allowed_communicators: [{id: A, direction: receive}]"),
		NOW);
	assert_int_equal(findings.count, 0);
	assert_false(findings.cut);
	lint_findings_free(&findings);
}

static void allowed_and_denied(void **state)
{
	assert_finds(POLICY_A("allowed_communicators: [IRE-B, IRE-C]\ndeny: [IRE-C]\n"), LINT_WARNING, 4, 32, "deny wins");
}

static void denied_without_need(void **state)
{
	assert_finds(POLICY_A("allowed_communicators: [IRE-B]\ndeny: [IRE-C]\n"), LINT_NOTE, 5, 8, "would be denied without this");
}

static void itself_as_communicator(void **state)
{
	assert_finds(POLICY_A("allowed_communicators: [IRE-B, {id: IRE-A}]\n"), LINT_WARNING, 4, 37, "names itself");
}

static void nobody_allowed(void **state)
{
	assert_finds(POLICY_A(""), LINT_NOTE, 1, 13, "it may deal with nobody");
}

static void level0_of_a_stranger(void **state)
{
	assert_finds(POLICY_A("allowed_communicators: [IRE-B]\nallow_level0: [gate]\n"), LINT_WARNING, 5, 16, "never applies");
}

static void level0_with_cores(void **state)
{
	assert_finds(
		POLICY_A("allow_level0: [gate]\nallowed_communicators:\n- id: gate\n  cores: ['11111111111111111111111111111111111111111111"
			 "1111111111111111111111111111111111111111111111111111']\n"),
		LINT_WARNING, 7, 10, "without evidence");
}

static void depth_that_refuses_all(void **state)
{
	assert_finds("enclave_id: A\nmax_dac_depth: 1\nrequired_attestation_level: Level-1\nallowed_communicators: [B]\n", LINT_WARNING, 4,
		25, "max_dac_depth is 1");
	struct lint_findings findings = lint_at("enclave_id: A\nmax_dac_depth: 1\nrequired_attestation_level: Level-1\n"
						"allowed_communicators: [{id: B, direction: send}]\n",
		0);
	assert_int_equal(findings.count, 0);
	lint_findings_free(&findings);
}

static void other_side_refuses(void **state)
{
	assert_finds(LINE("enclave_id", "A", ", allowed_communicators: [B]") LINE("enclave_id", "B", ", allowed_communicators: [C]"),
		LINT_WARNING, 1, 98, "the policy of B does not allow A");
	struct lint_findings findings = lint_at(LINE("enclave_id", "A", ", allowed_communicators: [{id: B, direction: send}]")
							LINE("enclave_id", "B", ", allowed_communicators: [{id: A, direction: send}]"),
		0);
	assert_int_equal(findings.count, 2);
	assert_contains(findings.items[0].text, "exclude each other");
	lint_findings_free(&findings);
}

/* Every pair of directions: each must be met by its counterpart. */
static void directions_that_exclude_each_other(void **state)
{
	static const char *const directions[] = {"send", "receive", "connect", "accept", "both"};
	static const struct {
		const char *here, *there; /* of those that exclude each other */
	} excluded[] = {{"send", "send"}, {"receive", "receive"}, {"connect", "connect"}, {"accept", "accept"}};
	for (size_t here = 0; here < COUNT_OF(directions); here++)
		for (size_t there = 0; there < COUNT_OF(directions); there++) {
			char text[512];
			bool excludes = false;
			for (size_t i = 0; i < COUNT_OF(excluded); i++)
				excludes |= strcmp(excluded[i].here, directions[here]) == 0 &&
					strcmp(excluded[i].there, directions[there]) == 0;
			snprintf(text, sizeof(text),
				LINE("enclave_id", "A", ", allowed_communicators: [{id: B, direction: %s}]")
					LINE("enclave_id", "B", ", allowed_communicators: [{id: A, direction: %s}]"),
				directions[here], directions[there]);
			struct lint_findings findings = lint_at(text, 0);
			if (findings.count != (excludes ? 2 : 0))
				print_error("%s against %s: %zu findings\n", directions[here], directions[there], findings.count);
			assert_int_equal(findings.count, excludes ? 2 : 0);
			if (excludes)
				assert_contains(findings.items[0].text, "exclude each other");
			lint_findings_free(&findings);
		}
}

static void names_that_look_the_same(void **state)
{
	assert_finds(POLICY_A("allowed_communicators: [IRE-1, IRE-l]\n"), LINT_WARNING, 4, 32, "IRE-l looks like IRE-1 at line 4");
	assert_finds(POLICY_A("allowed_communicators: [ire_a]\n"), LINT_WARNING, 4, 25, "ire_a looks like IRE-A at line 1");
	struct lint_findings findings = lint_at(POLICY_A("allowed_communicators: [IRE-1, IRE-2, IRE-B]\n"), 0);
	assert_int_equal(findings.count, 0);
	lint_findings_free(&findings);
}

static void validity(void **state)
{
	static const char text[] =
		POLICY_A("allowed_communicators: [IRE-B]\nnot_before: 2026-01-01T00:00:00Z\nnot_after: 2027-01-01T00:00:00Z\n");
	static const struct {
		uint64_t now;
		size_t count;
		unsigned line;
	} moments[] = {{0, 0, 0}, {1767225600000, 0, 0}, {1767225599999, 1, 5}, {1798761600001, 1, 6}};
	for (size_t i = 0; i < COUNT_OF(moments); i++) {
		struct lint_findings findings = lint_at(text, moments[i].now);
		assert_int_equal(findings.count, moments[i].count);
		if (findings.count)
			assert_int_equal(findings.items[0].line, moments[i].line);
		lint_findings_free(&findings);
	}
}

static void findings_come_in_order(void **state)
{
	struct lint_findings findings =
		lint_at(POLICY_A("allow_level0: [Z]\ndeny: [IRE-C, Y]\nallowed_communicators: [IRE-A, IRE-C]\n"), 0);
	assert_int_equal(findings.count, 4);
	for (size_t i = 1; i < findings.count; i++)
		assert_true(findings.items[i - 1].line <= findings.items[i].line);
	lint_findings_free(&findings);
}

static void too_many_findings_are_cut(void **state)
{
	char *text = malloc(100000), *at = text;
	assert_non_null(text);
	at += sprintf(at, "%s", POLICY_A("allowed_communicators: [IRE-B]\ndeny:\n"));
	for (int i = 0; i < LINT_MAX_FINDINGS + 5; i++)
		at += sprintf(at, "- peer%da\n", i);
	struct lint_findings findings = lint_at(text, 0);
	assert_int_equal(findings.count, LINT_MAX_FINDINGS);
	assert_true(findings.cut);
	lint_findings_free(&findings);
	free(text);
}

static void what_does_not_load_is_an_error(void **state)
{
	CLEANUP(document_free) struct document document = {0};
	struct lint_findings findings = {0};
	expect_ok(document_parse("p", span_str(POLICY_A("denny: [B]\n")), 1 << 20, &document));
	expect(policy_lint(&document, 0, &findings), UNKNOWN_FIELD);
	assert_contains(failure_text(), "p:4:1: ");
	assert_null(findings.items);
	lint_findings_free(NULL);
}

/* Whichever allocation fails, lint says so and keeps nothing. */
static void every_failed_allocation_is_reported(void **state)
{
	CLEANUP(document_free) struct document document = {0};
	unsigned failures = 0;
	expect_ok(document_parse("p", span_str(POLICY_A("deny: [X, Y]\nallowed_communicators: [IRE-B, IRE-b]\n")), 1 << 20, &document));
	for (unsigned countdown = 1;; countdown++) {
		struct lint_findings findings = {0};
		allocations_fail(countdown);
		result linted = policy_lint(&document, 0, &findings);
		if (!allocations_restore()) {
			expect_ok(linted);
			assert_int_equal(findings.count, 3);
			lint_findings_free(&findings);
			break;
		}
		if (linted != OK) {
			expect(linted, NO_MEMORY);
			assert_null(findings.items);
		}
		failures += linted != OK;
		lint_findings_free(&findings);
	}
	assert_true(failures >= 10);
}

int test_lint(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clean_policies_have_no_findings),
		cmocka_unit_test(allowed_and_denied),
		cmocka_unit_test(denied_without_need),
		cmocka_unit_test(itself_as_communicator),
		cmocka_unit_test(nobody_allowed),
		cmocka_unit_test(level0_of_a_stranger),
		cmocka_unit_test(level0_with_cores),
		cmocka_unit_test(depth_that_refuses_all),
		cmocka_unit_test(other_side_refuses),
		cmocka_unit_test(directions_that_exclude_each_other),
		cmocka_unit_test(names_that_look_the_same),
		cmocka_unit_test(validity),
		cmocka_unit_test(findings_come_in_order),
		cmocka_unit_test(too_many_findings_are_cut),
		cmocka_unit_test(what_does_not_load_is_an_error),
		cmocka_unit_test(every_failed_allocation_is_reported),
	};
	return cmocka_run_group_tests_name("lint", tests, NULL, NULL);
}
