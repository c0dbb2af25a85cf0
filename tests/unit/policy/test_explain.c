/* What a person reads: who, what, why, by which rule of which policy, and what to do. */
#include "policy_test.h"

static void assert_explains(const char *policy, const struct policy_request *request, const char *expected)
{
	struct policy_table *table = load(policy);
	struct policy_decision decision;
	char text[768];
	result decided = policy_decide(table, request, &decision);
	policy_explain_text(&decision, text, sizeof(text));
	assert_contains(text, expected);
	if (decided != OK)
		assert_contains(text, reason_row(decided)->sentence);
	policy_table_free(table);
}

static void an_allowance_names_its_rule(void **state)
{
	struct policy_request request = request_for("IRE-A", "IRE-B");
	request.peer_level = 2;
	assert_explains(SEED, &request,
		"IRE-A may send to IRE-B: every condition is met (rule allowed_communicators[0], policy version 1, digest 2a99a5993185).");
}

static void a_denial_names_rule_version_and_digest(void **state)
{
	struct policy_request request = request_for("IRE-A", "IRE-B");
	assert_explains(SEED, &request,
		"IRE-A may not send to IRE-B: the evidence reaches Level-1, the policy requires Level-2 "
		"(rule required_attestation_level, policy version 1, digest 2a99a5993185). ");
	request.resource = RESOURCE_CHANNEL;
	request.direction = DIRECTION_ACCEPT;
	request.peer.name = span_str("IRE-D");
	assert_explains(SEED, &request, "IRE-A may not accept a channel from IRE-D: no entry names it (rule allowed_communicators, ");
	request.own.name = span_str("IRE-Z");
	assert_explains(SEED, &request, "IRE-Z may not accept a channel from IRE-D: no policy is loaded for it. ");
}

static void parts_and_figures_are_shown(void **state)
{
	struct policy_request request = request_for("IRE-A", "IRE-B");
	assert_explains(POLICY_A("version: 12\nallowed_communicators: [{id: IRE-B, operations: [clean]}]\n"), &request,
		"operation push is not on its list (rule allowed_communicators[0].operations, policy version 12, ");
	request.resource = RESOURCE_RECORD;
	request.direction = DIRECTION_RECEIVE;
	request.dac_depth = 7;
	assert_explains(POLICY_A("allowed_communicators: [IRE-B]\n"), &request,
		"IRE-A may not accept a record of IRE-B: the chain is 7 calls deep, the limit is 3 (rule max_dac_depth, ");
	request.evidence_time_ms = NOW - 61500;
	assert_explains(POLICY_A("allowed_communicators: [IRE-B]\nmax_evidence_age_s: 60\n"), &request,
		"its evidence is 61.500 s old, the limit is 60 s");
	request.own.confinement = CONFINEMENT_L;
	assert_explains(POLICY_A("allowed_communicators: [IRE-B]\n"), &request, "its own confinement is tier L, tier N is required");
}

/* Whatever stands in a request, a terminal sees plain text, and never more than the buffer. */
static void names_cannot_upset_a_terminal(void **state)
{
	struct policy_request request = request_for("IRE-A", "x\033[2J\xff\n");
	struct policy_decision decision;
	char text[40];
	expect(policy_decide(NULL, &request, &decision), NO_POLICY);
	assert_explains(SEED, &request, "IRE-A may not send to x?[2J??: ");
	policy_explain_text(&decision, text, sizeof(text));
	assert_int_equal(strlen(text), sizeof(text) - 1);
}

/* Every reason that a decision can give has a sentence of its own and does not fall through to its number. */
static void every_reason_has_a_fact(void **state)
{
	static const enum reason reasons[] = {NO_POLICY, PEER_NOT_ALLOWED, DENIED_BY_RULE, LEVEL_TOO_LOW, DEPTH_EXCEEDED,
		OPERATION_NOT_ALLOWED, SCOPE_NOT_ALLOWED, DIRECTION_NOT_ALLOWED, CONFINEMENT_TOO_LOW, EVIDENCE_TOO_OLD,
		POLICY_NOT_VALID_NOW, MEASUREMENT_NOT_ALLOWED, ROT_NOT_ALLOWED, INTERPRETER_OPEN, ID_NOT_ENDORSED, RESOURCE_NOT_COVERED,
		STATE_NOT_ALLOWED, REQUEST_INCOMPLETE, REFERENCE_MISSING, REFERENCE_EXPIRED, SVN_TOO_LOW};
	for (size_t i = 0; i < COUNT_OF(reasons); i++) {
		struct policy_decision decision = {.reason = reasons[i], .rule = {"", "", POLICY_NO_INDEX}};
		char text[768];
		policy_explain_text(&decision, text, sizeof(text));
		assert_null(strstr(text, reason_name(reasons[i])));
		assert_contains(text, reason_row(reasons[i])->sentence);
	}
}

static void require_records_the_explanation(void **state)
{
	struct policy_table *table = load(SEED);
	struct policy_request request = request_for("IRE-A", "IRE-B");
	struct policy_decision decision;
	expect(policy_require(table, &request, &decision), LEVEL_TOO_LOW);
	assert_contains(failure_text(), "the policy requires Level-2");
	assert_false(decision.allow);
	request.peer_level = 2;
	expect_ok(policy_require(table, &request, &decision));
	assert_true(decision.allow);
	policy_table_free(table);
}

static void numbers_have_words(void **state)
{
	assert_string_equal(policy_subject_name(SUBJECT_HSM_CALLER), "hsm-caller");
	assert_string_equal(policy_subject_name((enum policy_subject)9), "unknown");
	assert_string_equal(policy_resource_name(RESOURCE_SYSCALL), "syscall");
	assert_string_equal(policy_resource_name((enum policy_resource)0), "unknown");
	assert_string_equal(policy_direction_name(DIRECTION_ACCEPT), "accept");
	assert_string_equal(policy_direction_name((enum policy_direction)3), "unknown");
	assert_string_equal(policy_confinement_name(CONFINEMENT_N), "N");
	assert_string_equal(policy_confinement_name((enum policy_confinement)5), "unknown");
}

int test_explain(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_allowance_names_its_rule),
		cmocka_unit_test(a_denial_names_rule_version_and_digest),
		cmocka_unit_test(parts_and_figures_are_shown),
		cmocka_unit_test(names_cannot_upset_a_terminal),
		cmocka_unit_test(every_reason_has_a_fact),
		cmocka_unit_test(require_records_the_explanation),
		cmocka_unit_test(numbers_have_words),
	};
	return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
