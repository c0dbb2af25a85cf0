/* Compiled policies shown as JSON come back as the same bytes. */
#include "policy_test.h"

#define ROOT_AA "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define CORE_11 "'111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111'"

static const char *const samples[] = {
	SEED,
	POLICY_A(""),
	"caller_id: app\nmax_dac_depth: 65535\nrequired_attestation_level: Level-3\nversion: 9223372036854775807\n",
	"guest_id: vm.1\nmax_dac_depth: 1\nrequired_attestation_level: Level-1\nmax_evidence_age_s: 4294967295\n",
	POLICY_A("min_confinement: L\nallow_interpreter: false\nrot_ids: [" ROOT_AA "]\nmax_evidence_age_s: 60\nversion: 4\n"
		 "not_before: 2026-01-01T00:00:00.001Z\nnot_after: 9999-12-31T23:59:59.999Z\ndeny: [X, Y]\nallow_level0: [gate]\n"
		 "allowed_communicators:\n- gate\n- {id: a, direction: send}\n- {id: b, direction: [receive, connect]}\n"
		 "- {id: c, direction: accept, rot_ids: same}\n- {id: d, operations: [x/y, 'z:1'], scopes: [s]}\n"
		 "- {id: e, cores: [" CORE_11 "], rot_ids: [" ROOT_AA "]}\n"
		 "- {id: f, reference: {author: " ROOT_AA ", set: payroll}}\n"
		 "- {id: g, operations: [x], reference: {author: " ROOT_AA ", set: payroll, min_svn: 4294967295}, rot_ids: same}\n"
		 "- {id: h, rate: {operations: 3, per_s: 60}}\n- {id: i, rate: {operations: 1, per_s: 1, burst: 9}, required_factors: [tee, tpm]}\n"
		 "required_factors: [tpm]\nauthor: " ROOT_AA "\npq: require\n"
		 "channels: {sessions: 120, keyupdate_bytes: 68719476736, rekey_s: 3600, stall_s: 86400}\n"),
	POLICY_A("chain: {records: 1048576, bytes: 4294967295, path: 1048576, parents: 64, eager: 4096, wait_s: 3600}\n"),
	POLICY_A("chain: {eager: 1}\n"),
	POLICY_A("pq: 'off'\n"),
	POLICY_A("channels: {keyupdate_bytes: 65536}\n"),
	POLICY_A("channels: {sessions: 1, stall_s: 1}\n"),
};

static void rendering_compiles_to_the_same_bytes(void **state)
{
	for (size_t i = 0; i < COUNT_OF(samples); i++) {
		CLEANUP(policy_table_cleanup) struct policy_table *table = load(samples[i]);
		CLEANUP(bytes_free) struct bytes json = BYTES_EMPTY, again = BYTES_EMPTY;
		CLEANUP(document_free) struct document document = {0};
		struct policy_view view;
		policy_at(table, 0, &view);
		expect_ok(policy_render_json(view.compiled, &json));
		expect_ok(document_parse("rendered.json", bytes_span(&json), 1 << 20, &document));
		expect_ok(policy_compile_node(&document, document.root, &again));
		assert_true(span_equal(bytes_span(&again), view.compiled));
	}
}

static void the_seed_is_shown_in_its_own_words(void **state)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = load(SEED);
	CLEANUP(bytes_free) struct bytes json = BYTES_EMPTY;
	struct policy_view view;
	policy_at(table, 0, &view);
	expect_ok(policy_render_json(view.compiled, &json));
	assert_true(span_equal_str(bytes_span(&json),
		"{\n  \"enclave_id\": \"IRE-A\",\n  \"allowed_communicators\": [\n    \"IRE-B\",\n    \"IRE-C\"\n  ],\n"
		"  \"max_dac_depth\": 3,\n  \"required_attestation_level\": \"Level-2\"\n}\n"));
}

static void wrong_bytes_are_not_shown(void **state)
{
	CLEANUP(bytes_free) struct bytes set = compile(SEED), json = BYTES_EMPTY;
	expect(policy_render_json(bytes_span(&set), &json), BAD_TYPE); /* a set, not a policy */
	expect(policy_render_json(span_of(set.data + 1, set.len - 2), &json), TRUNCATED);
	assert_null(json.data);
}

int test_render(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rendering_compiles_to_the_same_bytes),
		cmocka_unit_test(the_seed_is_shown_in_its_own_words),
		cmocka_unit_test(wrong_bytes_are_not_shown),
	};
	return cmocka_run_group_tests_name("render", tests, NULL, NULL);
}
