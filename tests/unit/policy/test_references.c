/* Entries that leave it to an author's signed set which code counts. */
#include "policy_test.h"

#include "policy/references.h"
#include "wire/text.h"

/* An author, a stranger, and a set in which IRE-B has cores 01.. of SVN 1, 02.. of SVN 2, 03.. of SVN 3. */
struct world {
	struct key author, stranger;
	struct reference_row rows[4];
	struct reference_entry entry;
	struct reference_set set;
	char policy[512];
	struct policy_table *table;
	struct policy_request request;
	struct policy_decision decision;
	uint8_t core[POLICY_CORE_SIZE];
};

static void policy_of(struct world *w, const char *set, unsigned min_svn)
{
	char author[2 * KEY_ID_SIZE + 1];
	hex_encode(SPAN_ARRAY(w->author.id), author);
	snprintf(w->policy, sizeof(w->policy),
		POLICY_A("allowed_communicators:\n- {id: IRE-B, reference: {author: %s, set: %s, min_svn: %u}}\n- IRE-C\n"), author, set, min_svn);
	policy_table_free(w->table);
	w->table = load(w->policy);
}

static int make(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	assert_non_null(w);
	expect_ok(key_generate(&w->author));
	expect_ok(key_generate(&w->stranger));
	for (size_t i = 0; i < COUNT_OF(w->rows); i++) {
		w->rows[i] = (struct reference_row){.svn = (uint32_t)i + 1, .what = REFERENCE_CORE};
		memset(w->rows[i].digest, (int)i + 1, SHA384_SIZE);
	}
	w->rows[3].what = REFERENCE_MEASUREMENT; /* 04..: no core */
	w->entry = (struct reference_entry){"IRE-B", 1, w->rows, COUNT_OF(w->rows)};
	w->set = (struct reference_set){
		.name = "payroll", .version = 5, .not_before = NOW - 10, .not_after = NOW + 10, .entries = &w->entry, .entry_count = 1};
	policy_of(w, "payroll", 2);
	w->request = request_for("IRE-A", "IRE-B");
	memset(w->core, 2, sizeof(w->core));
	w->request.peer_core = SPAN_ARRAY(w->core);
	*state = w;
	return 0;
}

static int drop(void **state)
{
	struct world *w = *state;
	policy_references_free((struct policy_references *)w->request.references);
	policy_table_free(w->table);
	key_free(&w->author);
	key_free(&w->stranger);
	free(w);
	return 0;
}

static void give(struct world *w, const struct key *signer)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct policy_references *references;
	expect_ok(reference_set_sign(&w->set, signer, &object, NULL));
	struct span set = bytes_span(&object);
	policy_references_free((struct policy_references *)w->request.references);
	expect_ok(policy_references_load(&set, 1, &references));
	w->request.references = references;
}

static void asks(struct world *w, enum reason expected)
{
	memset(&w->decision, 0xa5, sizeof(w->decision));
	result decided = policy_decide(w->table, &w->request, &w->decision);
	if (decided != expected)
		fail_msg("%s, not %s", reason_name(decided), reason_name(expected));
	assert_true(w->decision.allow == (expected == OK));
	if (expected == OK)
		return;
	assert_string_equal(w->decision.rule.part, "reference");
	assert_int_equal(w->decision.rule.index, 0);
}

static void says(const struct world *w, const char *part)
{
	char text[768];
	policy_explain_text(&w->decision, text, sizeof(text));
	assert_contains(text, part);
}

static void a_listed_core_is_allowed(void **state)
{
	struct world *w = *state;
	give(w, &w->author);
	asks(w, OK);
	memset(w->core, 3, sizeof(w->core)); /* an upgrade; the policy stays as it is */
	asks(w, OK);
	w->request.resource = RESOURCE_CHANNEL;
	w->request.direction = DIRECTION_CONNECT;
	asks(w, OK);
}

static void without_a_set_nothing_is_allowed(void **state)
{
	struct world *w = *state;
	asks(w, REFERENCE_MISSING);
	says(w, "there is no reference set payroll of the author that the entry names");
	w->request.peer.name = span_str("IRE-C"); /* asks for none */
	asks(w, OK);
}

static void a_core_that_is_not_listed_is_refused(void **state)
{
	struct world *w = *state;
	give(w, &w->author);
	memset(w->core, 9, sizeof(w->core));
	asks(w, REFERENCE_MISSING);
	says(w, "its core digest is not in reference set payroll");
	memset(w->core, 4, sizeof(w->core)); /* listed, as a measurement */
	asks(w, REFERENCE_MISSING);
	w->request.peer_core = SPAN_EMPTY;
	asks(w, REFERENCE_MISSING);
}

static void the_core_of_another_enclave_does_not_count(void **state)
{
	struct world *w = *state;
	w->entry.name = "IRE-C";
	give(w, &w->author);
	asks(w, REFERENCE_MISSING);
	w->entry.name = "IRE-BB";
	give(w, &w->author);
	asks(w, REFERENCE_MISSING);
}

static void a_low_svn_is_refused(void **state)
{
	struct world *w = *state;
	give(w, &w->author);
	memset(w->core, 1, sizeof(w->core));
	asks(w, SVN_TOO_LOW);
	says(w, "its code has SVN 1 in reference set payroll, 2 is the least allowed");
	memset(w->core, 2, sizeof(w->core));
	asks(w, OK);
	w->entry.min_svn = 3; /* the author's own word */
	give(w, &w->author);
	asks(w, SVN_TOO_LOW);
	says(w, "3 is the least allowed");
	memset(w->core, 3, sizeof(w->core));
	asks(w, OK);
}

static void another_author_is_not_asked(void **state)
{
	struct world *w = *state;
	give(w, &w->stranger);
	asks(w, REFERENCE_MISSING);
	w->set.name = "payrol";
	give(w, &w->author);
	asks(w, REFERENCE_MISSING);
}

static void the_set_must_be_valid_when_it_is_used(void **state)
{
	static const struct {
		uint64_t at;
		enum reason reason;
	} times[] = {{NOW - 11, REFERENCE_EXPIRED}, {NOW - 10, OK}, {NOW + 10, OK}, {NOW + 11, REFERENCE_EXPIRED}};
	struct world *w = *state;
	give(w, &w->author);
	for (size_t i = 0; i < COUNT_OF(times); i++) {
		w->request.now_ms = times[i].at;
		asks(w, times[i].reason);
	}
	says(w, "outside the validity of reference set payroll");
}

static void other_conditions_hold_as_well(void **state)
{
	struct world *w = *state;
	give(w, &w->author);
	w->request.peer.rot_id = SPAN_ARRAY(root_b);
	expect(policy_decide(w->table, &w->request, &w->decision), ROT_NOT_ALLOWED);
	w->request.peer.rot_id = SPAN_ARRAY(root_a);
	w->request.evidence_time_ms = 0;
	expect_ok(policy_decide(w->table, &w->request, &w->decision));
	w->request.peer_level = 0;
	expect(policy_decide(w->table, &w->request, &w->decision), LEVEL_TOO_LOW);
}

/* ---- Loading -------------------------------------------------------------------------------------------- */

static void a_changed_set_is_not_taken(void **state)
{
	struct world *w = *state;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct policy_references *references = NULL;
	expect_ok(reference_set_sign(&w->set, &w->author, &object, NULL));
	struct span set = bytes_span(&object);
	for (size_t at = 0; at < object.len; at += 5) {
		object.data[at] ^= 1;
		assert_int_not_equal(policy_references_load(&set, 1, &references), OK);
		assert_null(references);
		object.data[at] ^= 1;
	}
	object.data[object.len - 1] ^= 1; /* of the signature */
	expect(policy_references_load(&set, 1, &references), BAD_SIGNATURE);
	object.data[object.len - 1] ^= 1;
	expect_ok(policy_references_load(&set, 1, &references));
	policy_references_free(references);
}

static void sets_stand_beside_each_other_once(void **state)
{
	struct world *w = *state;
	CLEANUP(bytes_free) struct bytes mine = BYTES_EMPTY, newer = BYTES_EMPTY, theirs = BYTES_EMPTY;
	struct policy_references *references = NULL;
	struct policy_reference_view view;
	struct span many[POLICY_MAX_REFERENCES + 1];
	expect_ok(reference_set_sign(&w->set, &w->author, &mine, NULL));
	expect_ok(reference_set_sign(&w->set, &w->stranger, &theirs, NULL));
	w->set.version++;
	expect_ok(reference_set_sign(&w->set, &w->author, &newer, NULL));
	struct span sets[] = {bytes_span(&theirs), bytes_span(&mine), bytes_span(&newer)};
	expect(policy_references_load(sets, 3, &references), POLICY_CONFLICT);
	expect_ok(policy_references_load(sets, 2, &references));
	assert_int_equal(policy_references_count(references), 2);
	policy_references_at(references, 1, &view);
	assert_true(span_equal(view.author, SPAN_ARRAY(w->author.id)) && span_equal_str(view.set, "payroll") && view.version == 5);
	assert_true(span_equal(view.bytes, sets[1]));
	w->request.references = references;
	asks(w, OK); /* the stranger's stands before it and changes nothing */
	for (size_t i = 0; i < COUNT_OF(many); i++)
		many[i] = sets[0];
	expect(policy_references_load(many, COUNT_OF(many), &references), TOO_LARGE);
	assert_int_equal(policy_references_count(NULL), 0);
}

/* ---- Form ----------------------------------------------------------------------------------------------- */

#define AUTHOR "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PEER(rest) POLICY_A("allowed_communicators:\n- {id: IRE-B, " rest "}\n")
#define CORE "111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111"

static void wrong_references_do_not_load(void **state)
{
	static const struct {
		const char *text;
		enum reason reason;
		const char *says;
	} cases[] = {
		{PEER("reference: {author: " AUTHOR ", set: payroll}"), OK, ""},
		{PEER("reference: {author: " AUTHOR ", set: payroll, min_svn: 0}"), BAD_VALUE, "min_svn must be at least 1"},
		{PEER("reference: {author: " AUTHOR ", set: payroll, min_svn: 4294967296}"), BAD_VALUE, "p:5:"},
		{PEER("reference: {author: " AUTHOR ", set: payroll, svn: 1}"), UNKNOWN_FIELD, "svn"},
		{PEER("reference: {author: " AUTHOR "}"), MISSING_FIELD, "set"},
		{PEER("reference: {set: payroll}"), MISSING_FIELD, "author"},
		{PEER("reference: {author: aa, set: payroll}"), BAD_VALUE, "64 hex digits"},
		{PEER("reference: {author: " AUTHOR ", set: 'pay roll'}"), BAD_NAME, "U+0020"},
		{PEER("reference: payroll"), BAD_TYPE, "p:5:"},
		{PEER("reference: {author: " AUTHOR ", set: payroll}, cores: ['" CORE "']"), POLICY_CONFLICT, "beside cores"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		result compiled = try_compile(cases[i].text);
		if (compiled != cases[i].reason)
			fail_msg("%s: %s (%s)", cases[i].text, reason_name(compiled), failure_text());
		if (compiled != OK)
			assert_contains(failure_text(), cases[i].says);
	}
}

/* The compiled form, to the byte; and each thing that could be wrong with it. */
#define HEAD "81aa01010201030104654952452d4105030601070208f509000a81a3016142020f"
#define AA "5820" AUTHOR

static void the_compiled_form_is_checked(void **state)
{
	static const struct {
		const char *hex;
		enum reason reason;
	} cases[] = {
		{HEAD "0ba301" AA "02617a0303", OK},
		{HEAD "0ba201" AA "02617a", MISSING_FIELD},
		{HEAD "0ba0", MISSING_FIELD},
		{HEAD "0ba401" AA "02617a03030400", UNKNOWN_FIELD},
		{HEAD "0ba301" AA "02617a0300", BAD_VALUE},
		{HEAD "0ba301" AA "02617a031b0000000100000000", BAD_VALUE},
		{HEAD "0ba30141aa02617a0303", BAD_VALUE},
		{HEAD "0ba301" AA "0261200303", BAD_NAME},
		{HEAD "0b83" AA "617a03", BAD_TYPE},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		CLEANUP(bytes_free) struct bytes set = unhex(cases[i].hex);
		result checked = policy_set_check(bytes_span(&set));
		if (checked != cases[i].reason)
			fail_msg("%s: %s (%s)", cases[i].hex, reason_name(checked), failure_text());
	}
	CLEANUP(bytes_free) struct bytes expected = unhex(cases[0].hex);
	CLEANUP(bytes_free) struct bytes written = compile(
		POLICY_A("allowed_communicators:\n- {id: B, reference: {author: " AUTHOR ", set: z, min_svn: 3}}\n"));
	assert_true(span_equal(bytes_span(&written), bytes_span(&expected)));
}

static void cores_and_a_reference_do_not_load_together(void **state)
{
	CLEANUP(bytes_free) struct bytes set = unhex("81aa01010201030104654952452d4105030601070208f509000a81a4016142020f05815830" CORE
						     "0ba301" AA "02617a0303");
	expect(policy_set_check(bytes_span(&set)), POLICY_CONFLICT);
}

static void the_table_says_what_is_named(void **state)
{
	struct world *w = *state;
	struct policy_view view;
	struct policy_peer_view peer;
	struct policy_peer_reference named;
	policy_at(w->table, 0, &view);
	policy_peer(w->table, &view, 0, &peer);
	assert_true(policy_peer_reference(w->table, &peer, &named));
	assert_true(span_equal(named.author, SPAN_ARRAY(w->author.id)) && span_equal_str(named.set, "payroll") && named.min_svn == 2);
	assert_int_equal(peer.core_count, 0);
	policy_peer(w->table, &view, 1, &peer);
	assert_false(policy_peer_reference(w->table, &peer, &named));
}

int test_references(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_listed_core_is_allowed, make, drop),
		cmocka_unit_test_setup_teardown(without_a_set_nothing_is_allowed, make, drop),
		cmocka_unit_test_setup_teardown(a_core_that_is_not_listed_is_refused, make, drop),
		cmocka_unit_test_setup_teardown(the_core_of_another_enclave_does_not_count, make, drop),
		cmocka_unit_test_setup_teardown(a_low_svn_is_refused, make, drop),
		cmocka_unit_test_setup_teardown(another_author_is_not_asked, make, drop),
		cmocka_unit_test_setup_teardown(the_set_must_be_valid_when_it_is_used, make, drop),
		cmocka_unit_test_setup_teardown(other_conditions_hold_as_well, make, drop),
		cmocka_unit_test_setup_teardown(a_changed_set_is_not_taken, make, drop),
		cmocka_unit_test_setup_teardown(sets_stand_beside_each_other_once, make, drop),
		cmocka_unit_test(wrong_references_do_not_load),
		cmocka_unit_test(the_compiled_form_is_checked),
		cmocka_unit_test(cores_and_a_reference_do_not_load_together),
		cmocka_unit_test_setup_teardown(the_table_says_what_is_named, make, drop),
	};
	return cmocka_run_group_tests_name("references", tests, NULL, NULL);
}
