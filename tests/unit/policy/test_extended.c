/* Rates, required factors, authors and defaults: what they compile to, what they decide, what does not load. */
#include "policy_test.h"

#define ROOT_AA "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ROOT_BB "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ROOT_CC "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static void assert_same(const char *text, const char *other)
{
	CLEANUP(bytes_free) struct bytes left = compile(text), right = compile(other);
	assert_true(span_equal(bytes_span(&left), bytes_span(&right)));
}

static void assert_refused(const char *text, enum reason reason, const char *says)
{
	expect(try_compile(text), reason);
	assert_contains(failure_text(), says);
}

/* ---- Compiled form -------------------------------------------------------------------------------------- */

/* By hand, from docs/PROTOCOL.policy. */
static void new_fields_have_known_answers(void **state)
{
	CLEANUP(bytes_free) struct bytes set = compile(POLICY_A("allowed_communicators:\n"
								"- {id: B, required_factors: [tee, tpm], rate: {operations: 5, per_s: 60, burst: 2}}\n"
								"required_factors: [tpm]\nauthor: " ROOT_AA "\n"));
	CLEANUP(bytes_free) struct bytes expected =
		unhex("81ac01010201030104654952452d4105030601070208f509000a81a4016142020f07a301050218"
		      "3c030208820102118101181b5820" ROOT_AA);
	assert_int_equal(set.len, expected.len);
	assert_memory_equal(set.data, expected.data, set.len);
}

static void burst_defaults_to_the_operations(void **state)
{
	assert_same(POLICY_A("allowed_communicators: [{id: B, rate: {operations: 5, per_s: 60}}]\n"),
		POLICY_A("allowed_communicators: [{id: B, rate: {burst: 5, operations: 5, per_s: 60}}]\n"));
}

static void wrong_fields_are_refused(void **state)
{
#define RATE(rate) POLICY_A("allowed_communicators: [{id: B, rate: " rate "}]\n")
	assert_refused(RATE("5"), BAD_TYPE, "p:4:");
	assert_refused(RATE("{operations: 5}"), MISSING_FIELD, "per_s");
	assert_refused(RATE("{per_s: 5}"), MISSING_FIELD, "operations");
	assert_refused(RATE("{operations: 0, per_s: 5}"), BAD_VALUE, "operations must be at least 1");
	assert_refused(RATE("{operations: 1, per_s: 86401}"), BAD_VALUE, "too large");
	assert_refused(RATE("{operations: 1000001, per_s: 1}"), BAD_VALUE, "too large");
	assert_refused(RATE("{operations: 1, per_s: 1, busrt: 3}"), UNKNOWN_FIELD, "did you mean \"burst\"?");
	assert_refused(POLICY_A("required_factors: []\n"), EMPTY_SET, "required_factors is empty");
	assert_refused(POLICY_A("required_factors: [tpm, tpm]\n"), POLICY_CONFLICT, "said before");
	assert_refused(POLICY_A("required_factors: [tmp]\n"), BAD_VALUE, "tpm");
	assert_refused(POLICY_A("required_factors: tpm\n"), BAD_TYPE, "must be a list");
	assert_refused(POLICY_A("author: abcd\n"), BAD_VALUE, "p:4:");
	assert_refused(POLICY_A("channels: 5\n"), BAD_TYPE, "p:4:");
	assert_refused(POLICY_A("channels: {}\n"), MISSING_FIELD, "says nothing");
	assert_refused(POLICY_A("channels: {sesions: 5}\n"), UNKNOWN_FIELD, "did you mean \"sessions\"?");
	assert_refused(POLICY_A("channels: {sessions: 0}\n"), BAD_VALUE, "sessions must be at least 1");
	assert_refused(POLICY_A("channels: {sessions: 121}\n"), BAD_VALUE, "too large");
	assert_refused(POLICY_A("channels: {keyupdate_bytes: 65535}\n"), BAD_VALUE, "keyupdate_bytes must be at least 65536");
	assert_refused(POLICY_A("channels: {keyupdate_bytes: 68719476737}\n"), BAD_VALUE, "too large");
	assert_refused(POLICY_A("channels: {rekey_s: 3601}\n"), BAD_VALUE, "too large");
	assert_refused(POLICY_A("channels: {stall_s: 86401}\n"), BAD_VALUE, "too large");
}

/* By hand, from docs/PROTOCOL.policy; what is not said of channels is not written, and 0 in the view. */
static void channels_have_known_answers(void **state)
{
	CLEANUP(bytes_free) struct bytes set = compile(POLICY_A("channels: {stall_s: 60, sessions: 16, keyupdate_bytes: 1048576, rekey_s: 600}\n"));
	CLEANUP(bytes_free) struct bytes expected =
		unhex("81aa01010201030104654952452d4105030601070208f50900181da40110021a001000000319025804183c");
	CLEANUP(policy_table_cleanup) struct policy_table *table = load(POLICY_A("channels: {rekey_s: 7}\n"));
	struct policy_view view;
	(void)state;
	assert_int_equal(set.len, expected.len);
	assert_memory_equal(set.data, expected.data, set.len);
	policy_at(table, 0, &view);
	assert_int_equal(view.channels.rekey_s, 7);
	assert_int_equal(view.channels.sessions + view.channels.keyupdate_bytes + view.channels.stall_s, 0);
}

static void a_view_names_the_author(void **state)
{
	struct policy_view view;
	CLEANUP(policy_table_cleanup) struct policy_table *table = load(POLICY_A("author: " ROOT_BB "\n")), *none = load(SEED);
	CLEANUP(bytes_free) struct bytes author = unhex(ROOT_BB);
	policy_at(table, 0, &view);
	assert_true(span_equal(view.author, bytes_span(&author)));
	policy_at(none, 0, &view);
	assert_int_equal(view.author.len, 0);
}

/* ---- Rate ----------------------------------------------------------------------------------------------- */

struct metered {
	struct policy_table *table;
	struct policy_meter meter;
	struct policy_decision decision;
};

static void metered_free(struct metered *metered)
{
	policy_table_free(metered->table);
}

static result ask_at(struct metered *metered, uint64_t steady_ms)
{
	struct policy_request request = request_for("IRE-A", "IRE-B");
	request.resource = RESOURCE_OPERATION;
	request.meter = &metered->meter;
	request.steady_ms = steady_ms;
	return policy_decide(metered->table, &request, &metered->decision);
}

#define METERED(name, rate)                                                                                                                \
	CLEANUP(metered_free) struct metered name = {.table = load(POLICY_A("allowed_communicators: [{id: IRE-B, rate: " rate "}]\n"))}

static void a_burst_passes_and_then_the_rate_holds(void **state)
{
	METERED(m, "{operations: 2, per_s: 10, burst: 3}"); /* one in five seconds */
	for (int i = 0; i < 3; i++)
		expect_ok(ask_at(&m, 1000));
	expect(ask_at(&m, 1000), RATE_EXCEEDED);
	assert_string_equal(m.decision.rule.part, "rate");
	assert_int_equal(m.decision.had, 5000);
	expect(ask_at(&m, 5999), RATE_EXCEEDED);
	assert_int_equal(m.decision.had, 1);
	expect_ok(ask_at(&m, 6000)); /* exactly when the explanation said */
	expect(ask_at(&m, 6000), RATE_EXCEEDED);
	for (int i = 0; i < 3; i++)
		expect_ok(ask_at(&m, 1000 * 1000)); /* no more than the burst gathers */
	expect(ask_at(&m, 1000 * 1000), RATE_EXCEEDED);
}

static void a_rate_that_does_not_divide_is_exact(void **state)
{
	METERED(m, "{operations: 7, per_s: 1, burst: 1}");
	unsigned passed = 0;
	for (uint64_t ms = 0; ms < 10 * 1000; ms++)
		passed += ask_at(&m, ms) == OK;
	/* The first at 0; with a burst of 1 what is left over stays below one operation. Each 1000/7 ms, rounded up to a whole ms now and then. */
	assert_in_range(passed, 69, 70);
}

static void the_largest_rate_does_not_overflow(void **state)
{
	METERED(m, "{operations: 1000000, per_s: 86400, burst: 1000000}");
	expect_ok(ask_at(&m, 1));
	expect_ok(ask_at(&m, UINT64_MAX));
	expect_ok(ask_at(&m, 0)); /* a clock that went back brings nothing and takes nothing */
	assert_true(m.meter.left < UINT64_C(1000000) * 86400 * 1000);
}

static void only_what_is_allowed_is_counted(void **state)
{
	METERED(m, "{operations: 1, per_s: 10}");
	struct policy_request request = request_for("IRE-A", "IRE-B");
	request.resource = RESOURCE_OPERATION;
	request.meter = &m.meter;
	request.dac_depth = 9; /* too deep */
	for (int i = 0; i < 5; i++)
		expect(policy_decide(m.table, &request, &m.decision), DEPTH_EXCEEDED);
	expect_ok(ask_at(&m, 0));
	expect(ask_at(&m, 0), RATE_EXCEEDED);
}

static void channels_and_records_are_not_counted(void **state)
{
	METERED(m, "{operations: 1, per_s: 10}");
	struct policy_request request = request_for("IRE-A", "IRE-B");
	for (int i = 0; i < 3; i++) {
		request.resource = RESOURCE_CHANNEL;
		request.direction = DIRECTION_ACCEPT;
		expect_ok(policy_decide(m.table, &request, &m.decision));
		request.resource = RESOURCE_RECORD;
		request.direction = DIRECTION_RECEIVE;
		request.dac_depth = 2;
		expect_ok(policy_decide(m.table, &request, &m.decision));
	}
}

static void a_rate_without_a_meter_denies(void **state)
{
	METERED(m, "{operations: 1, per_s: 10}");
	struct policy_request request = request_for("IRE-A", "IRE-B");
	request.resource = RESOURCE_OPERATION;
	expect(policy_decide(m.table, &request, &m.decision), REQUEST_INCOMPLETE);
	assert_string_equal(m.decision.rule.part, "rate");
}

static void a_new_rate_keeps_what_was_used(void **state)
{
	METERED(m, "{operations: 4, per_s: 4}");
	METERED(wide, "{operations: 600, per_s: 60}");
	METERED(narrow, "{operations: 1, per_s: 1}");
	for (int i = 0; i < 2; i++)
		expect_ok(ask_at(&m, 0));
	wide.meter = m.meter; /* two are left: a swap does not fill the bucket */
	expect_ok(ask_at(&wide, 0));
	expect_ok(ask_at(&wide, 0));
	expect(ask_at(&wide, 0), RATE_EXCEEDED);
	narrow.meter = m.meter; /* and a smaller one does not hold more than its burst */
	expect_ok(ask_at(&narrow, 0));
	expect(ask_at(&narrow, 0), RATE_EXCEEDED);
}

static void a_rate_is_explained(void **state)
{
	METERED(m, "{operations: 2, per_s: 10, burst: 1}");
	char text[600];
	expect_ok(ask_at(&m, 0));
	expect(ask_at(&m, 0), RATE_EXCEEDED);
	policy_explain_text(&m.decision, text, sizeof(text));
	assert_contains(text, "2 operations in 10 s");
	assert_contains(text, "5000 ms");
	assert_contains(text, "allowed_communicators[0].rate");
}

/* ---- Factors -------------------------------------------------------------------------------------------- */

static void factors_are_required(void **state)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table =
		load(POLICY_A("required_factors: [tpm]\nallowed_communicators: [IRE-B, {id: IRE-C, required_factors: [tee]}]\n"));
	struct policy_decision decision;
	struct policy_request b = request_for("IRE-A", "IRE-B"), c = request_for("IRE-A", "IRE-C");
	char text[600];
	expect(policy_decide(table, &b, &decision), FACTOR_MISSING);
	assert_string_equal(decision.rule.field, "required_factors");
	policy_explain_text(&decision, text, sizeof(text));
	assert_contains(text, "lacks tpm");
	b.peer_factors = c.peer_factors = FACTOR_TPM;
	expect_ok(policy_decide(table, &b, &decision));
	expect(policy_decide(table, &c, &decision), FACTOR_MISSING);
	assert_string_equal(decision.rule.part, "required_factors");
	c.peer_factors = FACTOR_TEE;
	expect(policy_decide(table, &c, &decision), FACTOR_MISSING);
	c.peer_factors = FACTOR_TPM | FACTOR_TEE;
	expect_ok(policy_decide(table, &c, &decision));
	c.peer_factors = 1u << POLICY_FACTORS;
	expect(policy_decide(table, &c, &decision), REQUEST_INCOMPLETE);
}

/* Also for the subjects to whom factors belong first of all. */
static void callers_need_their_factors(void **state)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = load("caller_id: app\nmax_dac_depth: 1\n"
									 "required_attestation_level: Level-1\n"
									 "allowed_communicators: [{id: hsm, required_factors: [tee]}]\n");
	struct policy_decision decision;
	struct policy_request request = request_for("app", "hsm");
	request.subject_kind = SUBJECT_HSM_CALLER;
	expect(policy_decide(table, &request, &decision), FACTOR_MISSING);
	request.peer_factors = FACTOR_TEE;
	expect_ok(policy_decide(table, &request, &decision));
}

static void a_pinned_key_has_no_factors(void **state)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table =
		load(POLICY_A("allowed_communicators: [{id: IRE-B, required_factors: [tpm]}]\nallow_level0: [IRE-B]\n"));
	struct policy_decision decision;
	struct policy_request request = request_for("IRE-A", "IRE-B");
	request.peer.proof = PROOF_PINNED;
	request.peer_factors = FACTOR_TPM;
	expect(policy_decide(table, &request, &decision), FACTOR_MISSING);
}

static void levels_stand_for_factors(void **state)
{
	static const unsigned factors[] = {0, 0, FACTOR_TPM, FACTOR_TEE, 0};
	for (unsigned level = 0; level < COUNT_OF(factors); level++)
		assert_int_equal(policy_factors_of_level(level), factors[level]);
}

/* ---- Defaults ------------------------------------------------------------------------------------------- */

#define BASE                                                                                                                               \
	"- default: site\n  max_dac_depth: 4\n  required_attestation_level: Level-1\n  deny: [IRE-X]\n  allowed_communicators: [IRE-D]\n" \
	"  max_evidence_age_s: 600\n  required_factors: [tpm]\n  allow_level0: [IRE-D]\n"
#define OWN(rest) BASE "- enclave_id: IRE-A\n  inherits: site\n" rest

static void a_default_is_inherited(void **state)
{
	assert_same(OWN(""),
		"enclave_id: IRE-A\nmax_dac_depth: 4\nrequired_attestation_level: Level-1\ndeny: [IRE-X]\nallowed_communicators: [IRE-D]\n"
		"max_evidence_age_s: 600\nrequired_factors: [tpm]\nallow_level0: [IRE-D]\n");
	assert_same(OWN("  deny: [IRE-Y, IRE-B]\n  allowed_communicators: [IRE-C, IRE-E]\n  required_factors: [tee]\n  max_dac_depth: 2\n"
			"  required_attestation_level: Level-2\n  max_evidence_age_s: 60\n  version: 3\n  allow_interpreter: false\n"),
		"enclave_id: IRE-A\nmax_dac_depth: 2\nrequired_attestation_level: Level-2\ndeny: [IRE-B, IRE-X, IRE-Y]\n"
		"allowed_communicators: [IRE-C, IRE-D, IRE-E]\nmax_evidence_age_s: 60\nrequired_factors: [tee, tpm]\nallow_level0: [IRE-D]\n"
		"version: 3\nallow_interpreter: false\n");
}

/* Where it stands does not matter, nor do defaults that nobody inherits. */
static void only_who_asks_inherits(void **state)
{
	assert_same("- {enclave_id: IRE-A, max_dac_depth: 3, required_attestation_level: Level-1}\n" BASE,
		"enclave_id: IRE-A\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n");
	assert_same("- {enclave_id: IRE-A, inherits: b}\n- {default: b, max_dac_depth: 3, required_attestation_level: Level-1}\n",
		"enclave_id: IRE-A\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n");
}

static void deny_of_a_default_wins(void **state)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = load(OWN("  allowed_communicators: [IRE-X]\n"));
	struct policy_decision decision;
	struct policy_request request = request_for("IRE-A", "IRE-X");
	request.peer_factors = FACTOR_TPM;
	expect(policy_decide(table, &request, &decision), DENIED_BY_RULE);
}

/* Each names its own place and the line of the default's. */
static void widening_is_a_conflict(void **state)
{
	assert_refused(OWN("  max_dac_depth: 5\n"), POLICY_CONFLICT, "p:11:18: max_dac_depth allows more than default site at line 2");
	assert_refused(OWN("  max_evidence_age_s: 601\n"), POLICY_CONFLICT, "default site at line 6");
	assert_refused(OWN("  allowed_communicators: [IRE-D]\n"), POLICY_CONFLICT,
		"p:11:27: IRE-D stands in allowed_communicators here and in default site at line 5");
#define WINDOW(base, own)                                                                                                                  \
	"- {default: b, max_dac_depth: 3, required_attestation_level: Level-2, " base "}\n- {enclave_id: IRE-A, inherits: b, " own "}\n"
	assert_refused(WINDOW("deny: [X]", "required_attestation_level: Level-1"), POLICY_CONFLICT, "p:2:");
	assert_refused(WINDOW("min_confinement: N", "min_confinement: L"), POLICY_CONFLICT, "min_confinement");
	assert_refused(WINDOW("allow_interpreter: false", "allow_interpreter: true"), POLICY_CONFLICT, "allow_interpreter");
	assert_refused(WINDOW("not_after: '2027-01-01T00:00:00Z'", "not_after: '2027-01-01T00:00:01Z'"), POLICY_CONFLICT, "not_after");
	assert_refused(WINDOW("not_before: '2027-01-01T00:00:01Z'", "not_before: '2027-01-01T00:00:00Z'"), POLICY_CONFLICT, "not_before");
	assert_refused(WINDOW("not_before: '2027-01-01T00:00:01Z'", "not_after: '2027-01-01T00:00:00Z'"), POLICY_CONFLICT, "at no time");
	assert_refused(WINDOW("rot_ids: same", "rot_ids: [" ROOT_AA "]"), POLICY_CONFLICT, "rot_ids");
	assert_refused(WINDOW("rot_ids: [" ROOT_AA "]", "rot_ids: same"), POLICY_CONFLICT, "rot_ids");
	assert_refused(WINDOW("rot_ids: [" ROOT_AA "]", "rot_ids: [" ROOT_AA ", " ROOT_BB "]"), POLICY_CONFLICT, "rot_ids");
	assert_refused(WINDOW("author: " ROOT_AA, "author: " ROOT_BB), POLICY_CONFLICT, "author is another one");
	assert_refused(WINDOW("pq: require", "pq: prefer"), POLICY_CONFLICT, "pq");
	assert_refused(WINDOW("pq: prefer", "pq: 'off'"), POLICY_CONFLICT, "pq");
	assert_refused(WINDOW("channels: {sessions: 3}", "channels: {sessions: 4}"), POLICY_CONFLICT, "channels allows more than default b");
	assert_refused(WINDOW("channels: {rekey_s: 3}", "channels: {rekey_s: 4, sessions: 1}"), POLICY_CONFLICT, "channels");
	assert_same(WINDOW("channels: {rekey_s: 30, stall_s: 9}", "channels: {rekey_s: 10, sessions: 2}"),
		"enclave_id: IRE-A\nmax_dac_depth: 3\nrequired_attestation_level: Level-2\nchannels: {sessions: 2, rekey_s: 10, stall_s: 9}\n");
	assert_same(WINDOW("channels: {rekey_s: 30}", "version: 1"),
		"enclave_id: IRE-A\nmax_dac_depth: 3\nrequired_attestation_level: Level-2\nchannels: {rekey_s: 30}\n");
	assert_same(WINDOW("pq: require", "version: 1"), "enclave_id: IRE-A\nmax_dac_depth: 3\nrequired_attestation_level: Level-2\npq: require\n");
	assert_refused(WINDOW("chain: {records: 5, path: 3}", "chain: {records: 6}"), POLICY_CONFLICT, "records");
	assert_same(WINDOW("chain: {records: 5, path: 3}", "chain: {records: 4, eager: 2}"),
		"enclave_id: IRE-A\nmax_dac_depth: 3\nrequired_attestation_level: Level-2\nchain: {records: 4, path: 3, eager: 2}\n");
	assert_same(WINDOW("chain: {parents: 5}", "version: 1"),
		"enclave_id: IRE-A\nmax_dac_depth: 3\nrequired_attestation_level: Level-2\nchain: {parents: 5}\n");
	assert_same(WINDOW("pq: 'off'", "pq: prefer"), "enclave_id: IRE-A\nmax_dac_depth: 3\nrequired_attestation_level: Level-2\n");
	assert_same(WINDOW("author: " ROOT_AA ", rot_ids: [" ROOT_AA ", " ROOT_BB "]", "author: " ROOT_AA ", rot_ids: [" ROOT_BB "]"),
		"enclave_id: IRE-A\nmax_dac_depth: 3\nrequired_attestation_level: Level-2\nauthor: " ROOT_AA "\nrot_ids: [" ROOT_BB "]\n");
}

static void wrong_defaults_are_refused(void **state)
{
	assert_refused("- {enclave_id: A, inherits: nobody, max_dac_depth: 3, required_attestation_level: Level-1}\n", BAD_VALUE,
		"no default named nobody");
	assert_refused(BASE, EMPTY_SET, "holds no policy");
	assert_refused("default: b\nmax_dac_depth: 3\n", EMPTY_SET, "holds no policy");
	assert_refused(BASE "- {default: site, max_dac_depth: 3}\n- {enclave_id: A, inherits: site}\n", POLICY_CONFLICT, "a second default");
	assert_refused("- {default: b, max_dac_depth: 3}\n- {enclave_id: A, inherits: b}\n", MISSING_FIELD, "required_attestation_level");
	assert_refused("- {default: b, enclave_id: A}\n- {enclave_id: A, inherits: b}\n", UNKNOWN_FIELD, "enclave_id");
	assert_refused("- {default: b, inherits: c}\n- {default: c}\n- {enclave_id: A, inherits: b}\n", UNKNOWN_FIELD, "inherits");
	assert_refused("- {default: b, version: 2}\n- {enclave_id: A, inherits: b}\n", UNKNOWN_FIELD, "version");
}

int test_extended(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_fields_have_known_answers),
		cmocka_unit_test(burst_defaults_to_the_operations),
		cmocka_unit_test(wrong_fields_are_refused),
		cmocka_unit_test(channels_have_known_answers),
		cmocka_unit_test(a_view_names_the_author),
		cmocka_unit_test(a_burst_passes_and_then_the_rate_holds),
		cmocka_unit_test(a_rate_that_does_not_divide_is_exact),
		cmocka_unit_test(the_largest_rate_does_not_overflow),
		cmocka_unit_test(only_what_is_allowed_is_counted),
		cmocka_unit_test(channels_and_records_are_not_counted),
		cmocka_unit_test(a_rate_without_a_meter_denies),
		cmocka_unit_test(a_new_rate_keeps_what_was_used),
		cmocka_unit_test(a_rate_is_explained),
		cmocka_unit_test(factors_are_required),
		cmocka_unit_test(callers_need_their_factors),
		cmocka_unit_test(a_pinned_key_has_no_factors),
		cmocka_unit_test(levels_stand_for_factors),
		cmocka_unit_test(a_default_is_inherited),
		cmocka_unit_test(only_who_asks_inherits),
		cmocka_unit_test(deny_of_a_default_wins),
		cmocka_unit_test(widening_is_a_conflict),
		cmocka_unit_test(wrong_defaults_are_refused),
	};
	return cmocka_run_group_tests_name("extended", tests, NULL, NULL);
}
