/* The compiled form: digest, strictness of its reader, sets, views, and what happens when memory runs out. */
#include "policy_test.h"

#include "../base/allocations.h"
#include "wire/cbor.h"
/* A policy without communicators: keys 1 to 9. */
#define HEAD "010102010301"
#define TAIL "05010601070208f50900"
#define BARE_A "a9" HEAD "046141" TAIL
#define BARE_B "a9" HEAD "046142" TAIL

static result load_hex(const char *hex)
{
	CLEANUP(bytes_free) struct bytes set = unhex(hex);
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	result loaded = policy_table_load(bytes_span(&set), &table);
	assert_true((loaded == OK) == (table != NULL));
	assert_int_equal(policy_set_check(bytes_span(&set)), loaded);
	return loaded;
}

static void digest_has_known_answer(void **state)
{
	/* SHA-256("troth policy1" || 00 || compiled seed), by another implementation */
	CLEANUP(bytes_free) struct bytes expected = unhex("2a99a5993185efdf4c80909a648419bf75ba084cdc01f183a2ca684c8f6ce5ae");
	struct policy_table *table = load(SEED);
	struct policy_view view;
	uint8_t digest[POLICY_DIGEST_SIZE];
	expect_ok(policy_find(table, SUBJECT_ENCLAVE, span_str("IRE-A"), &view));
	assert_memory_equal(view.digest, expected.data, POLICY_DIGEST_SIZE);
	expect_ok(policy_digest(view.compiled, digest));
	assert_memory_equal(digest, expected.data, POLICY_DIGEST_SIZE);
	policy_table_free(table);
}

static void bare_policies_load(void **state)
{
	expect_ok(load_hex("81" BARE_A));
	expect_ok(load_hex("82" BARE_A BARE_B));
}

struct wrong {
	const char *hex;
	enum reason reason;
};

static const struct wrong wrongs[] = {
	{"", TRUNCATED},
	{"80", EMPTY_SET},
	{BARE_A, BAD_TYPE},
	{"81" BARE_A "00", TRAILING_BYTES},
	{"82" BARE_A, TRUNCATED},
	{"82" BARE_A BARE_A, POLICY_CONFLICT},
	{"82" BARE_B BARE_A, NOT_DETERMINISTIC},
	{"9a00100000" BARE_A, TRUNCATED}, /* a million policies declared */
	{"9affffffff", TRUNCATED},
	{"81a9"
	 "010202010301"
	 "046141" TAIL,
		UNKNOWN_VERSION}, /* format 2 */
	{"81a8" HEAD TAIL, MISSING_FIELD}, /* no id */
	{"81a8"
	 "02010301046141" TAIL,
		MISSING_FIELD}, /* no format */
	{"81aa" HEAD "046141" TAIL "1000", UNKNOWN_FIELD}, /* key 16 is reserved */
	{"81aa" HEAD "046141" TAIL "181f00", UNKNOWN_FIELD},
	{"81aa"
	 "2000" HEAD "046141" TAIL,
		UNKNOWN_FIELD}, /* key -1 */
	{"81a9" HEAD "0460" TAIL, BAD_NAME}, /* empty id */
	{"81a9" HEAD "046120" TAIL, BAD_NAME}, /* a space */
	{"81a9" HEAD "0462d090" TAIL, BAD_NAME}, /* a Cyrillic letter */
	{"81a9" HEAD "0461ff" TAIL, BAD_UTF8},
	{"81a9" HEAD "044141" TAIL, BAD_TYPE}, /* id as bytes */
	{"81a9"
	 "010102000301"
	 "046141" TAIL,
		BAD_VALUE}, /* version 0 */
	{"81a9"
	 "010102010300"
	 "046141" TAIL,
		BAD_VALUE}, /* kind 0 */
	{"81a9"
	 "010102010304"
	 "046141" TAIL,
		BAD_VALUE}, /* kind 4 */
	{"81a9" HEAD "046141"
	 "05000601070208f50900",
		BAD_VALUE}, /* depth 0 */
	{"81a9" HEAD "046141"
	 "051a000100000601070208f50900",
		BAD_VALUE},
	{"81a9" HEAD "046141"
	 "05010600070208f50900",
		BAD_VALUE}, /* Level-0 */
	{"81a9" HEAD "046141"
	 "05010604070208f50900",
		BAD_VALUE},
	{"81a9" HEAD "046141"
	 "05010601070008f50900",
		BAD_VALUE}, /* confinement none */
	{"81a9" HEAD "046141"
	 "05010601070308f50900",
		BAD_VALUE},
	{"81a9" HEAD "046141"
	 "05010601070208010900",
		BAD_TYPE}, /* 1 for true */
	{"81a9" HEAD "046141"
	 "05010601070208f50901",
		BAD_VALUE}, /* rot rule 1 */
	{"81a9" HEAD "046141"
	 "05010601070208f50980",
		EMPTY_SET},
	{"81a9" HEAD "046141"
	 "05010601070208f5098141aa",
		BAD_VALUE}, /* a short root id */
	{"81a9" HEAD "046141"
	 "0518010601070208f50900",
		NOT_DETERMINISTIC}, /* 1 in two bytes */
	{"81bf" HEAD "046141" TAIL "ff", NOT_DETERMINISTIC},
	/* communicators */
	{"81aa" HEAD "046141" TAIL "0a80", EMPTY_SET},
	{"81aa" HEAD "046141" TAIL "0a81a10161"
	 "42",
		MISSING_FIELD},
	{"81aa" HEAD "046141" TAIL "0a81a1020f", MISSING_FIELD},
	{"81aa" HEAD "046141" TAIL "0a81a20161420200", BAD_VALUE}, /* no direction */
	{"81aa" HEAD "046141" TAIL "0a81a20161420203", BAD_VALUE}, /* neither connects nor accepts */
	{"81aa" HEAD "046141" TAIL "0a81a2016142020c", BAD_VALUE}, /* neither sends nor receives */
	{"81aa" HEAD "046141" TAIL "0a81a20161420210", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f0900", UNKNOWN_FIELD}, /* keys 9 and 10 are reserved */
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f0a00", UNKNOWN_FIELD},
	/* rate */
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f0700", BAD_TYPE},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f07a201010201", MISSING_FIELD},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f07a3010002010301", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f07a3010102000301", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f07a3010102010300", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f07a3011a000f424102010301", BAD_VALUE}, /* a million and one */
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f07a30101021a0001518103"
	 "01", BAD_VALUE}, /* a day and a second */
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f07a40101020103010401", UNKNOWN_FIELD},
	/* factors */
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f0880", EMPTY_SET},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f088100", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f088103", BAD_VALUE}, /* a factor that nobody knows yet */
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f08820101", POLICY_CONFLICT},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f08820201", NOT_DETERMINISTIC},
	{"81aa" HEAD "046141" TAIL "1180", EMPTY_SET},
	{"81aa" HEAD "046141" TAIL "118103", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "181b41aa", BAD_VALUE}, /* a short author */
	{"81aa" HEAD "046141" TAIL "1200", UNKNOWN_FIELD}, /* 18 to 26 are reserved */
	{"81aa" HEAD "046141" TAIL "181a00", UNKNOWN_FIELD},
	{"81aa" HEAD "046141" TAIL "181c00", BAD_VALUE}, /* "prefer" is said by saying nothing */
	{"81aa" HEAD "046141" TAIL "181c03", BAD_VALUE},
	/* channels */
	{"81aa" HEAD "046141" TAIL "181d00", BAD_TYPE},
	{"81aa" HEAD "046141" TAIL "181da0", MISSING_FIELD},
	{"81aa" HEAD "046141" TAIL "181da10100", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "181da1011879", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "181da10219ffff", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "181da1021b0000001000000001", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "181da10300", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "181da103190e11", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "181da1041a00015181", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "181da10501", UNKNOWN_FIELD},
	{"81aa" HEAD "046141" TAIL "181da10001", UNKNOWN_FIELD},
	{"81aa" HEAD "046141" TAIL "181da203010101", NOT_DETERMINISTIC},
	{"81aa" HEAD "046141" TAIL "181e00", BAD_TYPE},
	{"81aa" HEAD "046141" TAIL "181ea0", EMPTY_SET},
	{"81aa" HEAD "046141" TAIL "181ea10701", UNKNOWN_FIELD},
	{"81aa" HEAD "046141" TAIL "181ea10100", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "181ea1041841", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "182000", UNKNOWN_FIELD}, /* more than an unsigned has bits */
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f0380", EMPTY_SET},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f0382616261"
	 "61",
		NOT_DETERMINISTIC},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f0382616161"
	 "61",
		POLICY_CONFLICT},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f03816120", BAD_NAME},
	{"81aa" HEAD "046141" TAIL "0a81a3016142020f058141aa", BAD_VALUE}, /* a short core */
	{"81aa" HEAD "046141" TAIL "0a82a2016142020fa2016142020f", POLICY_CONFLICT},
	{"81aa" HEAD "046141" TAIL "0a82a2016143020fa2016142020f", NOT_DETERMINISTIC},
	{"81aa" HEAD "046141" TAIL "0a9a7fffffffa2016142020f", TRUNCATED},
	/* deny, allow_level0 and the rest */
	{"81aa" HEAD "046141" TAIL "0b81a0", UNKNOWN_FIELD},
	{"81aa" HEAD "046141" TAIL "0b81a1026142", MISSING_FIELD},
	{"81aa" HEAD "046141" TAIL "0b81a20161420200", UNKNOWN_FIELD},
	{"81aa" HEAD "046141" TAIL "0b816142", BAD_TYPE},
	{"81aa" HEAD "046141" TAIL "0c80", EMPTY_SET},
	{"81aa" HEAD "046141" TAIL "0c8261426142", POLICY_CONFLICT},
	{"81aa" HEAD "046141" TAIL "0d00", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "0d1b0000000100000000", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "0e00", BAD_VALUE},
	{"81aa" HEAD "046141" TAIL "0f1b7fffffffffffffff", BAD_VALUE},
	{"81ab" HEAD "046141" TAIL "0e050f05", BAD_VALUE},
};

static void wrong_sets_are_refused(void **state)
{
	for (size_t i = 0; i < COUNT_OF(wrongs); i++) {
		result loaded = load_hex(wrongs[i].hex);
		if (loaded != wrongs[i].reason)
			fail_msg("wrong %zu: %s (%s), not %s, for %s", i, reason_name(loaded), failure_text(),
				reason_name(wrongs[i].reason), wrongs[i].hex);
	}
}

/* Their acceptable neighbours, so that the refusals above are about what they say. */
static void right_neighbours_load(void **state)
{
	static const char *const right[] = {
		"81aa" HEAD "046141" TAIL "0a81a2016142020f",
		"81aa" HEAD "046141" TAIL "0a81a20161420205",
		"81aa" HEAD "046141" TAIL "0a81a3016142020f0382616161"
		"62",
		"81aa" HEAD "046141" TAIL "0a82a2016142020fa2016143020f",
		"81aa" HEAD "046141" TAIL "0b81a1016142",
		"81aa" HEAD "046141" TAIL "0c8261426143",
		"81aa" HEAD "046141" TAIL "0d01",
		"81ab" HEAD "046141" TAIL "0e050f06",
	};
	for (size_t i = 0; i < COUNT_OF(right); i++)
		expect_ok(load_hex(right[i]));
}

/* ---- Whole sets ----------------------------------------------------------------------------------------- */

#define EVERYTHING                                                                                                                         \
	"- enclave_id: IRE-A\n  version: 7\n  max_dac_depth: 4\n  required_attestation_level: Level-1\n"                                   \
	"  rot_ids: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n"                                                  \
	"  allowed_communicators:\n"                                                                                                       \
	"  - {id: IRE-B, operations: [clean, aggregate], scopes: [rows], direction: send, rot_ids: same,\n"                                \
	"     cores: ['111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111',\n"               \
	"             '222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222']}\n"              \
	"  - IRE-C\n  - gate\n  deny: [IRE-C, IRE-X]\n  allow_level0: [gate, IRE-X, IRE-Y]\n"                                              \
	"  max_evidence_age_s: 60\n  not_before: 2026-01-01T00:00:00Z\n"                                                                   \
	"- {enclave_id: IRE-B, allowed_communicators: [IRE-A], max_dac_depth: 2, required_attestation_level: Level-1}\n"

static struct bytes compile_everything(void)
{
	return compile(EVERYTHING);
}

static void every_truncation_is_refused(void **state)
{
	CLEANUP(bytes_free) struct bytes set = compile_everything();
	for (size_t len = 0; len < set.len; len++) {
		uint8_t *exact = malloc(len ? len : 1);
		struct policy_table *table = NULL;
		assert_non_null(exact);
		memcpy(exact, set.data, len);
		assert_true(policy_table_load(span_of(exact, len), &table) != OK);
		assert_null(table);
		free(exact);
	}
}

/* A flipped bit is refused, or it is another policy: never the same bytes under the same digest. */
static void every_flipped_bit_matters(void **state)
{
	CLEANUP(bytes_free) struct bytes set = compile_everything();
	struct policy_table *table = NULL, *other = NULL;
	struct policy_view a, b, x, y;
	expect_ok(policy_table_load(bytes_span(&set), &table));
	policy_at(table, 0, &a);
	policy_at(table, 1, &b);
	for (size_t bit = 0; bit < 8 * set.len; bit++) {
		set.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (policy_table_load(bytes_span(&set), &other) == OK) {
			assert_int_equal(policy_count(other), 2);
			policy_at(other, 0, &x);
			policy_at(other, 1, &y);
			assert_true(memcmp(a.digest, x.digest, POLICY_DIGEST_SIZE) || memcmp(b.digest, y.digest, POLICY_DIGEST_SIZE));
			policy_table_free(other);
			other = NULL;
		}
		set.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	policy_table_free(table);
}

static void table_owns_its_bytes(void **state)
{
	struct bytes set = compile(SEED);
	struct policy_table *table = NULL;
	struct policy_decision decision;
	struct policy_request request = request_for("IRE-A", "IRE-B");
	request.peer_level = 2;
	expect_ok(policy_table_load(bytes_span(&set), &table));
	memset(set.data, 0xff, set.len);
	bytes_free(&set);
	expect_ok(policy_decide(table, &request, &decision));
	policy_table_free(table);
}

static void views_show_what_was_written(void **state)
{
	CLEANUP(bytes_free) struct bytes set = compile_everything();
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	struct policy_view view;
	struct policy_peer_view peer;
	uint8_t twos[POLICY_CORE_SIZE];
	memset(twos, 0x22, sizeof(twos));
	expect_ok(policy_table_load(bytes_span(&set), &table));
	expect_ok(policy_find(table, SUBJECT_ENCLAVE, span_str("IRE-A"), &view));
	assert_int_equal(view.version, 7);
	assert_int_equal(view.max_dac_depth, 4);
	assert_int_equal(view.required_level, 1);
	assert_int_equal(view.min_confinement, CONFINEMENT_N);
	assert_true(view.allow_interpreter);
	assert_int_equal(view.peer_count, 3);

	policy_peer(table, &view, 0, &peer);
	assert_true(span_equal_str(peer.id, "IRE-B"));
	assert_int_equal(peer.directions, DIRECTION_SEND | DIRECTION_CONNECT | DIRECTION_ACCEPT);
	assert_true(peer.rot_same && !peer.denied && !peer.level0);
	assert_int_equal(peer.core_count, 2);
	assert_true(span_equal(policy_peer_core(table, &peer, 1), SPAN_ARRAY(twos)));

	policy_peer(table, &view, 1, &peer);
	assert_true(span_equal_str(peer.id, "IRE-C"));
	assert_true(peer.denied && !peer.level0 && !peer.rot_same);
	assert_int_equal(peer.rot_count, 1);
	assert_int_equal(policy_peer_rot(table, &peer, 0).data[31], 0xaa);
	assert_int_equal(peer.core_count, 0);

	policy_peer(table, &view, 2, &peer);
	assert_true(span_equal_str(peer.id, "gate"));
	assert_true(peer.level0 && !peer.denied);
	assert_true(policy_table_memory(table) > set.len);
}

static void unknown_subjects_are_not_found(void **state)
{
	struct policy_table *table = load(SEED);
	struct policy_view view;
	expect(policy_find(table, SUBJECT_ENCLAVE, span_str("IRE-B"), &view), NO_POLICY);
	expect(policy_find(table, SUBJECT_GUEST, span_str("IRE-A"), &view), NO_POLICY);
	expect(policy_find(table, SUBJECT_ENCLAVE, span_str("IRE-a"), &view), NO_POLICY);
	expect(policy_find(table, SUBJECT_ENCLAVE, span_of("IRE-A\0", 6), &view), NO_POLICY);
	expect(policy_find(NULL, SUBJECT_ENCLAVE, span_str("IRE-A"), &view), NO_POLICY);
	policy_table_free(table);
}

static void policies_join_to_a_set(void **state)
{
	CLEANUP(bytes_free) struct bytes set = compile_everything(), joined = BYTES_EMPTY;
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	struct policy_view a, b;
	expect_ok(policy_table_load(bytes_span(&set), &table));
	policy_at(table, 0, &a);
	policy_at(table, 1, &b);
	expect_ok(policy_set_join((const struct span[]){b.compiled, a.compiled}, 2, &joined));
	assert_true(span_equal(bytes_span(&joined), bytes_span(&set)));
	bytes_free(&joined);
	expect(policy_set_join((const struct span[]){a.compiled, a.compiled}, 2, &joined), POLICY_CONFLICT);
	expect(policy_set_join(NULL, 0, &joined), EMPTY_SET);
	expect(policy_set_join((const struct span[]){bytes_span(&set)}, 1, &joined), BAD_TYPE);
	expect(policy_set_join((const struct span[]){span_of(a.compiled.data, a.compiled.len + 1)}, 1, &joined), TRAILING_BYTES);
	assert_null(joined.data);
}

static void oversized_sets_are_refused_unread(void **state)
{
	uint8_t *huge = calloc(1, POLICY_MAX_COMPILED + 1u);
	struct policy_table *table = NULL;
	assert_non_null(huge);
	expect(policy_table_load(span_of(huge, POLICY_MAX_COMPILED + 1u), &table), TOO_LARGE);
	assert_null(table);
	free(huge);
}

/* ---- Limits --------------------------------------------------------------------------------------------- */

/* Keys 1 to 9 of a policy, with `more` keys to follow. */
static void put_head(struct writer *w, size_t more, const char *id)
{
	static const uint64_t numbers[] = {1, 1, 2, 1, 3, 1}, rest[] = {5, 1, 6, 1, 7, 2};
	cbor_put_map(w, 9 + more);
	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		cbor_put_uint(w, numbers[i]);
	cbor_put_uint(w, 4);
	cbor_put_str(w, id);
	for (size_t i = 0; i < COUNT_OF(rest); i++)
		cbor_put_uint(w, rest[i]);
	cbor_put_uint(w, 8);
	cbor_put_bool(w, true);
	cbor_put_uint(w, 9);
	cbor_put_uint(w, 0);
}

static void assert_loads_as(struct writer *w, result expected)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	struct span set;
	expect_ok(writer_finish(w, &set));
	expect(policy_table_load(set, &table), expected);
	expect(policy_set_check(set), expected);
	assert_true((table != NULL) == (expected == OK));
	writer_free(w);
}

static void put_policies(struct writer *w, size_t count)
{
	cbor_put_array(w, count);
	for (size_t i = 0; i < count; i++) {
		char id[24];
		snprintf(id, sizeof(id), "e%06zu", i);
		put_head(w, 0, id);
	}
}

static void too_many_policies_are_refused(void **state)
{
	struct writer w = writer_growing(POLICY_MAX_COMPILED);
	put_policies(&w, POLICY_MAX_POLICIES);
	assert_loads_as(&w, OK);
	w = writer_growing(POLICY_MAX_COMPILED);
	put_policies(&w, POLICY_MAX_POLICIES + 1);
	assert_loads_as(&w, TOO_LARGE);
}

/* One policy with this many entries in its deny list and in allow_level0. */
static void put_lists(struct writer *w, size_t denied, size_t level0)
{
	char id[24];
	cbor_put_array(w, 1);
	put_head(w, (denied > 0) + (level0 > 0), "A");
	if (denied) {
		cbor_put_uint(w, 11);
		cbor_put_array(w, denied);
	}
	for (size_t i = 0; i < denied; i++) {
		snprintf(id, sizeof(id), "d%06zu", i);
		cbor_put_map(w, 1);
		cbor_put_uint(w, 1);
		cbor_put_str(w, id);
	}
	if (level0) {
		cbor_put_uint(w, 12);
		cbor_put_array(w, level0);
	}
	for (size_t i = 0; i < level0; i++) {
		snprintf(id, sizeof(id), "z%06zu", i);
		cbor_put_str(w, id);
	}
}

static void every_list_counts_towards_the_limit(void **state)
{
	static const struct {
		size_t denied, level0;
		result expected;
	} sizes[] = {{POLICY_MAX_RULES - 1, 1, OK}, {POLICY_MAX_RULES, 1, TOO_LARGE}, {1, POLICY_MAX_RULES, TOO_LARGE}};
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct writer w = writer_growing(POLICY_MAX_COMPILED);
		put_lists(&w, sizes[i].denied, sizes[i].level0);
		assert_loads_as(&w, sizes[i].expected);
	}
}

/* Whichever allocation fails, loading says so, keeps nothing and leaks nothing. */
static void every_failed_allocation_is_reported(void **state)
{
	CLEANUP(bytes_free) struct bytes set = compile_everything();
	struct policy_table *table = NULL;
	unsigned failures = 0;
	for (unsigned countdown = 1;; countdown++) {
		allocations_fail(countdown);
		result loaded = policy_table_load(bytes_span(&set), &table);
		if (!allocations_restore()) {
			expect_ok(loaded);
			break;
		}
		assert_int_not_equal(loaded == OK, table == NULL);
		if (loaded != OK)
			assert_int_equal(loaded, NO_MEMORY);
		failures += loaded != OK;
		policy_table_cleanup(&table);
	}
	policy_table_free(table);
	assert_true(failures >= 7);
}

static void freeing_nothing_is_allowed(void **state)
{
	struct policy_table *none = NULL;
	policy_table_free(NULL);
	policy_table_cleanup(&none);
	assert_null(none);
}

int test_table(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digest_has_known_answer),
		cmocka_unit_test(bare_policies_load),
		cmocka_unit_test(wrong_sets_are_refused),
		cmocka_unit_test(right_neighbours_load),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(every_flipped_bit_matters),
		cmocka_unit_test(table_owns_its_bytes),
		cmocka_unit_test(views_show_what_was_written),
		cmocka_unit_test(unknown_subjects_are_not_found),
		cmocka_unit_test(policies_join_to_a_set),
		cmocka_unit_test(oversized_sets_are_refused_unread),
		cmocka_unit_test(too_many_policies_are_refused),
		cmocka_unit_test(every_list_counts_towards_the_limit),
		cmocka_unit_test(every_failed_allocation_is_reported),
		cmocka_unit_test(freeing_nothing_is_allowed),
	};
	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
