/* From documents to the compiled form: known answers, and everything that must not load. */
#include "policy_test.h"

#include "base/file.h"

#include <inttypes.h>
#include <unistd.h>

/* Made by a script with another CBOR library from docs/PROTOCOL.policy. */
static const char seed_compiled[] = "81aa01010201030104654952452d4105030602070208f509000a82a201654952452d42020fa201654952452d43020f";
static const char full_compiled[] =
	"81af01010207030104654952452d4105040601070108f409825820aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"5820bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0a83a601654952452d42020d0382696167677265676174656563"
	"6c65616e04816c706179726f6c6c2f726f777305825830111111111111111111111111111111111111111111111111111111111111111111111111"
	"1111111111111111111111115830222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222"
	"2222220600a201654952452d43020fa201646761746502060b81a101654952452d580c8164676174650d1902580e1b0000019b76daa8000f1b0000"
	"01a2ce8bd400";

#define ROOT_AA "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ROOT_BB "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define CORE_11 "111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111"
#define CORE_22 "222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222"

static void assert_compiles_to(const char *text, const char *hex)
{
	CLEANUP(bytes_free) struct bytes set = compile(text), expected = unhex(hex);
	assert_int_equal(set.len, expected.len);
	assert_memory_equal(set.data, expected.data, set.len);
}

static void seed_verbatim(void **state)
{
	assert_compiles_to(SEED, seed_compiled);
}

static void seed_as_list_and_as_yaml(void **state)
{
	assert_compiles_to("[" SEED "]", seed_compiled);
	assert_compiles_to("enclave_id: IRE-A\nallowed_communicators:\n- IRE-B\n- IRE-C\nmax_dac_depth: 3\n"
			   "required_attestation_level: Level-2\n",
		seed_compiled);
}

static void order_and_defaults_do_not_matter(void **state)
{
	assert_compiles_to("required_attestation_level: Level-2\nallowed_communicators: [IRE-C, {id: IRE-B, direction: both}]\n"
			   "version: 1\nmin_confinement: N\nallow_interpreter: true\nrot_ids: same\nmax_dac_depth: 3\nenclave_id: IRE-A\n",
		seed_compiled);
}

static void every_field(void **state)
{
	assert_compiles_to("enclave_id: IRE-A\nversion: 7\nmax_dac_depth: 4\nrequired_attestation_level: Level-1\n"
			   "min_confinement: L\nallow_interpreter: false\nrot_ids: [" ROOT_BB ", " ROOT_AA "]\n"
			   "allowed_communicators:\n"
			   "- id: gate\n  direction: [receive, connect]\n"
			   "- IRE-C\n"
			   "- id: IRE-B\n  operations: [clean, aggregate]\n  scopes: [payroll/rows]\n  direction: send\n"
			   "  cores: ['" CORE_22 "', '" CORE_11 "']\n  rot_ids: same\n"
			   "deny: [IRE-X]\nallow_level0: [gate]\nmax_evidence_age_s: 600\n"
			   "not_before: 2026-01-01T00:00:00Z\nnot_after: '2027-01-01T00:00:00.000Z'\n",
		full_compiled);
}

static void set_is_sorted_by_kind_and_id(void **state)
{
	static const char body[] = "max_dac_depth: 3, required_attestation_level: Level-1";
	char text[512];
	snprintf(text, sizeof(text), "- {guest_id: a, %s}\n- {enclave_id: b, %s}\n- {caller_id: b, %s}\n- {enclave_id: a, %s}\n", body,
		body, body, body);
	struct policy_table *table = load(text);
	static const struct {
		enum policy_subject kind;
		const char *id;
	} order[] = {{SUBJECT_ENCLAVE, "a"}, {SUBJECT_ENCLAVE, "b"}, {SUBJECT_HSM_CALLER, "b"}, {SUBJECT_GUEST, "a"}};
	assert_int_equal(policy_count(table), COUNT_OF(order));
	for (size_t i = 0; i < COUNT_OF(order); i++) {
		struct policy_view view;
		policy_at(table, i, &view);
		assert_int_equal(view.kind, order[i].kind);
		assert_true(span_equal_str(view.id, order[i].id));
	}
	policy_table_free(table);
}

/* ---- What must not load --------------------------------------------------------------------------------- */

struct refusal {
	const char *text;
	enum reason reason;
	const char *says; /* part of the message, with the position */
};

#define PEERS(list) POLICY_A("allowed_communicators: " list "\n")

/* misspelt, missing and unknown fields */
static const struct refusal misspelt[] = {
	{"{\"enclave_id\":\"IRE-A\",\n "
	 "\"alowed_communicators\":[\"IRE-B\"],\"max_dac_depth\":3,\"required_attestation_level\":\"Level-1\"}",
		UNKNOWN_FIELD, "p:2:2: unknown field \"alowed_communicators\"; did you mean \"allowed_communicators\"?"},
	{POLICY_A("denny: [IRE-B]\n"), UNKNOWN_FIELD, "p:4:1: unknown field \"denny\"; did you mean \"deny\"?"},
	{POLICY_A("rates: 5\n"), UNKNOWN_FIELD, "p:4:1: unknown field \"rates\""},
	{POLICY_A("Version: 5\n"), UNKNOWN_FIELD, "did you mean \"version\"?"},
	{PEERS("[{id: B, scope: [a]}]"), UNKNOWN_FIELD, "did you mean \"scopes\"?"},
	{PEERS("[{operations: [a]}]"), MISSING_FIELD, "p:4:25: the field \"id\" is missing"},
	{"max_dac_depth: 3\nrequired_attestation_level: Level-1\n", MISSING_FIELD, "\"enclave_id\" is missing"},
	{"enclave_id: A\nrequired_attestation_level: Level-1\n", MISSING_FIELD, "\"max_dac_depth\" is missing"},
	{"enclave_id: A\nmax_dac_depth: 3\n", MISSING_FIELD, "\"required_attestation_level\" is missing"},
	{POLICY_A("guest_id: G\n"), POLICY_CONFLICT, "p:4:11: guest_id beside enclave_id"},
};

/* duplicate keys, in JSON and YAML, at both depths */
static const struct refusal duplicates[] = {
	{"{\"enclave_id\":\"A\",\"enclave_id\":\"B\",\"max_dac_depth\":3,\"required_attestation_level\":\"Level-1\"}", DUPLICATE_KEY,
		"p:1:19: \"enclave_id\" stands twice"},
	{POLICY_A("max_dac_depth: 9\n"), DUPLICATE_KEY, "p:4:1: "},
	{PEERS("[{id: B, id: C}]"), DUPLICATE_KEY, "p:4:33: "},
};

/* empty sets */
static const struct refusal empty[] = {
	{PEERS("[]"), EMPTY_SET, "p:4:24: allowed_communicators is empty"},
	{"{\"enclave_id\":\"A\",\"allowed_communicators\":[],\"max_dac_depth\":3,\"required_attestation_level\":\"Level-1\"}", EMPTY_SET,
		"p:1:43: allowed_communicators is empty"},
	{POLICY_A("deny: []\n"), EMPTY_SET, "deny is empty"},
	{POLICY_A("allow_level0: []\n"), EMPTY_SET, "allow_level0 is empty"},
	{POLICY_A("rot_ids: []\n"), EMPTY_SET, "rot_ids is empty"},
	{PEERS("[{id: B, operations: []}]"), EMPTY_SET, "operations is empty"},
	{PEERS("[{id: B, scopes: []}]"), EMPTY_SET, "scopes is empty"},
	{PEERS("[{id: B, cores: []}]"), EMPTY_SET, "cores is empty"},
	{PEERS("[{id: B, direction: []}]"), EMPTY_SET, "direction is empty"},
	{"[]", EMPTY_SET, "p:1:1: the file holds no policy"},
};

/* conflicts and repeats */
static const struct refusal conflicts[] = {
	{PEERS("[B, C, B]"), POLICY_CONFLICT, "p:4:31: B stands twice in allowed_communicators, first at line 4"},
	{PEERS("[B, {id: B, direction: send}]"), POLICY_CONFLICT, "B stands twice"},
	{POLICY_A("deny: [B, B]\n"), POLICY_CONFLICT, "p:4:11: this stands twice in deny"},
	{PEERS("[{id: B, operations: [a, b, a]}]"), POLICY_CONFLICT, "stands twice in operations"},
	{PEERS("[{id: B, direction: [send, both]}]"), POLICY_CONFLICT, "said before"},
	{"- {enclave_id: A, max_dac_depth: 1, required_attestation_level: Level-1}\n"
	 "- {enclave_id: A, max_dac_depth: 2, required_attestation_level: Level-1}\n",
		POLICY_CONFLICT, "p:2:3: a second policy for A; the first begins at line 1"},
	{POLICY_A("not_before: 2026-01-02T00:00:00Z\nnot_after: 2026-01-01T00:00:00Z\n"), POLICY_CONFLICT, "p:5:12: "},
};

/* wrong types */
static const struct refusal types[] = {
	{PEERS("IRE-B"), BAD_TYPE, "p:4:24: allowed_communicators must be a list"},
	{PEERS("{id: B}"), BAD_TYPE, "must be a list"},
	{PEERS("[[B]]"), BAD_TYPE, "p:4:25: "},
	{"{\"enclave_id\":\"A\",\"max_dac_depth\":\"3\",\"required_attestation_level\":\"Level-1\"}", BAD_TYPE, "p:1:35: "},
	{"{\"enclave_id\":\"A\",\"max_dac_depth\":3.0,\"required_attestation_level\":\"Level-1\"}", BAD_TYPE, "max_dac_depth"},
	{"{\"enclave_id\":17,\"max_dac_depth\":3,\"required_attestation_level\":\"Level-1\"}", BAD_TYPE, "enclave_id"},
	{"{\"enclave_id\":null,\"max_dac_depth\":3,\"required_attestation_level\":\"Level-1\"}", BAD_TYPE, "enclave_id"},
	{"{\"enclave_id\":\"A\",\"max_dac_depth\":3,\"required_attestation_level\":2}", BAD_TYPE, "required_attestation_level"},
	{POLICY_A("allow_interpreter: no\n"), BAD_TYPE, "p:4:20: allow_interpreter is no"},
	{POLICY_A("allow_interpreter: \"false\"\n"), BAD_TYPE, "allow_interpreter"},
	{POLICY_A("deny: no\n"), BAD_TYPE, "deny must be a list"},
	{"IRE-A", BAD_TYPE, "p:1:1: a policy is a map"},
	{"- IRE-A\n", BAD_TYPE, "p:1:3: "},
};

/* values */
static const struct refusal values[] = {
	{"enclave_id: A\nmax_dac_depth: 0\nrequired_attestation_level: Level-1\n", BAD_VALUE, "p:2:16: max_dac_depth must be at least 1"},
	{"enclave_id: A\nmax_dac_depth: 65536\nrequired_attestation_level: Level-1\n", BAD_VALUE, "too large"},
	{"enclave_id: A\nmax_dac_depth: -1\nrequired_attestation_level: Level-1\n", BAD_TYPE, "p:2:16: "},
	{"enclave_id: A\nmax_dac_depth: 3\nrequired_attestation_level: Level-0\n", BAD_VALUE, "p:3:29: Level-0 is accepted by name only"},
	{"enclave_id: A\nmax_dac_depth: 3\nrequired_attestation_level: level-1\n", BAD_VALUE, "did you mean \"Level-1\"?"},
	{"enclave_id: A\nmax_dac_depth: 3\nrequired_attestation_level: Level-4\n", BAD_VALUE, "one of Level-0 to Level-3"},
	{POLICY_A("min_confinement: M\n"), BAD_VALUE, "p:4:18: min_confinement is \"M\""},
	{POLICY_A("chain: {}\n"), EMPTY_SET, "chain is empty"},
	{POLICY_A("chain: 5\n"), BAD_TYPE, "chain"},
	{POLICY_A("chain: {record: 5}\n"), UNKNOWN_FIELD, "did you mean"},
	{POLICY_A("chain: {records: 0}\n"), BAD_VALUE, "records"},
	{POLICY_A("chain: {parents: 65}\n"), BAD_VALUE, "too large"},
	{POLICY_A("chain: {bytes: 4294967296}\n"), BAD_VALUE, "too large"},
	{POLICY_A("pq: yes\n"), BAD_VALUE, "one of require to off"},
	{POLICY_A("pq: required\n"), BAD_VALUE, "did you mean \"require\"?"},
	{POLICY_A("version: 0\n"), BAD_VALUE, "version must be at least 1"},
	{POLICY_A("max_evidence_age_s: 0\n"), BAD_VALUE, "max_evidence_age_s must be at least 1"},
	{POLICY_A("max_evidence_age_s: 4294967296\n"), BAD_VALUE, "too large"},
	{POLICY_A("not_after: 2026-02-30T00:00:00Z\n"), BAD_VALUE, "write a time like"},
	{POLICY_A("not_after: tomorrow\n"), BAD_VALUE, "p:4:12: not_after is \"tomorrow\""},
	{POLICY_A("rot_ids: any\n"), BAD_VALUE, "rot_ids is \"any\""},
	{POLICY_A("rot_ids: [abcd]\n"), BAD_VALUE, "64 hex digits"},
	{PEERS("[{id: B, cores: [abcd]}]"), BAD_VALUE, "96 hex digits"},
	{PEERS("[{id: B, direction: sent}]"), BAD_VALUE, "did you mean \"send\"?"},
};

/* names: other alphabets that look the same, and everything else outside the alphabet */
static const struct refusal names[] = {
	{"enclave_id: IRE-\xd0\x90\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n", BAD_NAME,
		"p:1:13: \"IRE-\xd0\x90\": character 5 is U+0410"},
	{PEERS("[\xce\x99RE-B]"), BAD_NAME, "p:4:25: \"\xce\x99RE-B\": character 1 is U+0399"},
	{POLICY_A("deny: ['IRE\xe2\x80\x90"
		  "A']\n"),
		BAD_NAME, "character 4 is U+2010"},
	{POLICY_A("allow_level0: [\xf0\x9d\x96\xa0]\n"), BAD_NAME, "U+1D5A0"},
	{PEERS("['IRE B']"), BAD_NAME, "character 4 is U+0020"},
	{PEERS("['*']"), BAD_NAME, "U+002A"},
	{PEERS("['']"), BAD_NAME, "an empty name"},
	{PEERS("[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]"), BAD_NAME, "a name of 64 characters; at most 63"},
	{PEERS("[{id: B, operations: ['a b']}]"), BAD_NAME, "character 2 is U+0020"},
};

/* what YAML would allow and policies do not */
static const struct refusal yaml[] = {
	{"{\"enclave_id\":\"A\",", BAD_SYNTAX, "p:1:"},
	{POLICY_A("allowed_communicators: &x [B]\ndeny: *x\n"), BAD_SYNTAX, "p:4:24: "},
	{POLICY_A("deny: *x\n"), BAD_SYNTAX, "p:4:7: "},
	{POLICY_A("deny: !!set [B]\n"), BAD_SYNTAX, "p:4:7: "},
	{POLICY_A("<<: {version: 3}\n"), BAD_SYNTAX, "p:4:1: "},
	{POLICY_A("---\nenclave_id: B\n"), BAD_SYNTAX, "second document"},
};

static const struct refusal encodings[] = {
	{"enclave_id: IRE-\xff\n", BAD_UTF8, "p:1:17: "},
	{"enclave_id: \"IRE-\xc0\x81\"\n", BAD_UTF8, "p:1:18: "},
};

static void assert_refused(const struct refusal *refusals, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		result compiled = try_compile(refusals[i].text);
		if (compiled != refusals[i].reason)
			fail_msg("refusal %zu: %s (%s), not %s, for\n%s", i, reason_name(compiled), failure_text(),
				reason_name(refusals[i].reason), refusals[i].text);
		assert_contains(failure_text(), refusals[i].says);
	}
}

#define REFUSES(test, refusals)                                                                                                            \
	static void test(void **state)                                                                                                     \
	{                                                                                                                                  \
		assert_refused(refusals, COUNT_OF(refusals));                                                                              \
	}

REFUSES(misspelt_fields_are_refused, misspelt)
REFUSES(duplicate_keys_are_refused, duplicates)
REFUSES(empty_sets_are_refused, empty)
REFUSES(conflicting_rules_are_refused, conflicts)
REFUSES(wrong_types_are_refused, types)
REFUSES(wrong_values_are_refused, values)
REFUSES(names_of_other_alphabets_are_refused, names)
REFUSES(what_only_yaml_has_is_refused, yaml)
REFUSES(other_encodings_are_refused, encodings)

static void empty_document_holds_no_policy(void **state)
{
	assert_true(try_compile("") != OK);
	assert_true(try_compile("# nothing\n") != OK);
	assert_true(try_compile("null\n") != OK);
}

static void longest_name_loads(void **state)
{
	expect_ok(try_compile(PEERS("[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]")));
}

static void deep_nesting_is_refused(void **state)
{
	enum { DEEP = 100000 };
	char *text = malloc(2 * DEEP + 256);
	assert_non_null(text);
	char *at = text + sprintf(text, "%s", POLICY_A("deny: "));
	memset(at, '[', DEEP);
	memset(at + DEEP, ']', DEEP);
	strcpy(at + 2 * DEEP, "\n");
	expect(try_compile(text), TOO_DEEP);
	free(text);
}

/* `count` communicators, each of its own name. */
static char *many_peers(size_t count)
{
	char *text = malloc(256 + 10 * count);
	assert_non_null(text);
	char *at = text + sprintf(text, "%s", POLICY_A("allowed_communicators:\n"));
	for (size_t i = 0; i < count; i++)
		at += sprintf(at, "- p%zu\n", i);
	return text;
}

static void too_many_rules_are_refused(void **state)
{
	char *text = many_peers(POLICY_MAX_RULES + 1);
	expect(try_compile(text), TOO_LARGE);
	assert_contains(failure_text(), "p:5:1: allowed_communicators has 1000001 entries");
	free(text);
}

static void many_rules_load_and_decide(void **state)
{
	enum { MANY = 20000 };
	char *text = many_peers(MANY), name[16];
	struct policy_table *table = load(text);
	struct policy_decision decision;
	for (size_t i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "p%zu", i);
		struct policy_request request = request_for("IRE-A", name);
		expect_ok(policy_decide(table, &request, &decision));
	}
	struct policy_request request = request_for("IRE-A", "p20000");
	expect(policy_decide(table, &request, &decision), PEER_NOT_ALLOWED);
	policy_table_free(table);
	free(text);
}

/* ---- Files ---------------------------------------------------------------------------------------------- */

struct temporary {
	char path[64];
	int fd;
};

/* Gone after each test, also after one that failed. */
static struct temporary file;

static int file_setup(void **state)
{
	file = (struct temporary){"/tmp/troth-policy-XXXXXX", -1};
	file.fd = mkstemp(file.path);
	return file.fd < 0;
}

static int file_teardown(void **state)
{
	close(file.fd);
	return unlink(file.path);
}

static void a_file_loads(void **state)
{
	struct policy_table *table = NULL;
	assert_int_equal(write(file.fd, SEED, strlen(SEED)), strlen(SEED));
	expect_ok(policy_load_file(file.path, &table));
	assert_int_equal(policy_count(table), 1);
	policy_table_free(table);
}

/* A sparse file: its size alone must be enough to refuse it. */
static void a_gigabyte_is_refused_unread(void **state)
{
	static const off_t sizes[] = {POLICY_MAX_FILE + 1, 100 * 1000 * 1000, 1 << 30};
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct policy_table *table = NULL;
		assert_int_equal(ftruncate(file.fd, sizes[i]), 0);
		expect(policy_load_file(file.path, &table), TOO_LARGE);
		assert_null(table);
	}
}

static void a_missing_file_is_named(void **state)
{
	struct policy_table *table = NULL;
	expect(policy_load_file("/nonexistent/policy.json", &table), NOT_FOUND);
	assert_contains(failure_text(), "/nonexistent/policy.json");
	assert_null(table);
}

static void one_node_compiles_alone(void **state)
{
	static const char job[] = "policies:\n- " SEED "\n- {enclave_id: X}\n";
	CLEANUP(document_free) struct document document = {0};
	CLEANUP(bytes_free) struct bytes policy = BYTES_EMPTY, expected = unhex(seed_compiled + 2);
	expect_ok(document_parse("job", span_str(job), 1 << 20, &document));
	const struct node *list = node_field(document.root, "policies");
	expect_ok(policy_compile_node(&document, &list->children[0], &policy));
	assert_true(span_equal(bytes_span(&policy), bytes_span(&expected)));
	bytes_free(&policy);
	expect(policy_compile_node(&document, &list->children[1], &policy), MISSING_FIELD);
	assert_contains(failure_text(), "job:3:3: ");
	assert_null(policy.data);
}

/* Every example of the manual is a policy. */
static void the_manual_is_right(void **state)
{
	static const char *const fences[] = {"```json\n", "```yaml\n"};
	CLEANUP(bytes_free) struct bytes manual = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	size_t examples = 0;
	expect_ok(file_read(POLICY_MANUAL, 1 << 20, &manual));
	writer_span(&w, bytes_span(&manual));
	writer_u8(&w, '\0');
	assert_int_equal(w.failed, OK);
	for (size_t i = 0; i < COUNT_OF(fences); i++) {
		for (char *at = (char *)w.data; (at = strstr(at, fences[i]));) {
			char *example = at + strlen(fences[i]), *end = strstr(example, "```");
			assert_non_null(end);
			char saved = *end;
			*end = '\0';
			expect_ok(try_compile(example));
			*end = saved;
			at = end;
			examples++;
		}
	}
	assert_true(examples >= 3);
}

int test_schema(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seed_verbatim),
		cmocka_unit_test(seed_as_list_and_as_yaml),
		cmocka_unit_test(order_and_defaults_do_not_matter),
		cmocka_unit_test(every_field),
		cmocka_unit_test(set_is_sorted_by_kind_and_id),
		cmocka_unit_test(misspelt_fields_are_refused),
		cmocka_unit_test(duplicate_keys_are_refused),
		cmocka_unit_test(empty_sets_are_refused),
		cmocka_unit_test(conflicting_rules_are_refused),
		cmocka_unit_test(wrong_types_are_refused),
		cmocka_unit_test(wrong_values_are_refused),
		cmocka_unit_test(names_of_other_alphabets_are_refused),
		cmocka_unit_test(what_only_yaml_has_is_refused),
		cmocka_unit_test(other_encodings_are_refused),
		cmocka_unit_test(empty_document_holds_no_policy),
		cmocka_unit_test(longest_name_loads),
		cmocka_unit_test(deep_nesting_is_refused),
		cmocka_unit_test(too_many_rules_are_refused),
		cmocka_unit_test(many_rules_load_and_decide),
		cmocka_unit_test_setup_teardown(a_file_loads, file_setup, file_teardown),
		cmocka_unit_test_setup_teardown(a_gigabyte_is_refused_unread, file_setup, file_teardown),
		cmocka_unit_test(a_missing_file_is_named),
		cmocka_unit_test(one_node_compiles_alone),
		cmocka_unit_test(the_manual_is_right),
	};
	return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
