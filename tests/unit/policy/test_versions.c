/* Signed versions: who may follow whom, and everything that must not. */
#include "policy_test.h"

#include <stdio.h>

#include "policy/versions.h"
#include "wire/text.h"

struct author {
	struct key key;
	char id[2 * KEY_ID_SIZE + 1];
};

static struct author author_new(void)
{
	struct author author = {.key = KEY_EMPTY};
	expect_ok(key_generate(&author.key));
	hex_encode(SPAN_ARRAY(author.key.id), author.id);
	return author;
}

static void author_free(struct author *author)
{
	key_free(&author->key);
}

/* A policy of `id` that names the author (NULL: nobody). */
static struct policy_table *policy_of(const char *id, unsigned version, const struct author *author, const char *rest)
{
	char text[512];
	snprintf(text, sizeof(text), "enclave_id: %s\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\nversion: %u\n%s%s\n%s", id, version,
		author ? "author: " : "", author ? author->id : "", rest);
	return load(text);
}

static struct bytes sign(const struct policy_table *table, const struct author *author)
{
	struct policy_view view;
	struct bytes object = BYTES_EMPTY;
	policy_at(table, 0, &view);
	expect_ok(policy_version_sign(view.compiled, &author->key, &object));
	return object;
}

struct world {
	struct author author, stranger;
	struct policy_versions *versions;
	struct policy_table *launched;
	struct policy_view view;
};

static struct world world_new(void)
{
	struct world w = {.author = author_new(), .stranger = author_new()};
	expect_ok(policy_versions_new(&w.versions));
	w.launched = policy_of("IRE-A", 5, &w.author, "");
	policy_at(w.launched, 0, &w.view);
	return w;
}

static void world_free(struct world *w)
{
	policy_versions_free(w->versions);
	policy_table_free(w->launched);
	author_free(&w->author);
	author_free(&w->stranger);
}

/* A version of `id` signed by `author`, in the collection. */
static const struct policy_version *added(struct world *w, const char *id, unsigned version, const struct author *author)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = policy_of(id, version, author, "deny: [IRE-Z]\n");
	CLEANUP(bytes_free) struct bytes object = sign(table, author);
	const struct policy_version *out;
	expect_ok(policy_versions_add(w->versions, bytes_span(&object), &out));
	return out;
}

static void a_newer_version_of_the_author_follows(void **state)
{
	CLEANUP(world_free) struct world w = world_new();
	const struct policy_version *six = added(&w, "IRE-A", 6, &w.author);
	expect_ok(policy_version_follows(&w.view, six, 0));
	expect_ok(policy_version_follows(&w.view, six, 5));
	assert_int_equal(six->policy.version, 6);
	assert_ptr_equal(policy_versions_find(w.versions, six->policy.digest), six);
	assert_ptr_equal(added(&w, "IRE-A", 6, &w.author), six); /* signed again: the same policy is kept once */
	assert_int_equal(policy_versions_count(w.versions), 1);
}

static void an_older_version_is_refused(void **state)
{
	CLEANUP(world_free) struct world w = world_new();
	expect(policy_version_follows(&w.view, added(&w, "IRE-A", 4, &w.author), 0), POLICY_OLD);
	expect(policy_version_follows(&w.view, added(&w, "IRE-A", 5, &w.author), 0), POLICY_OLD);
	expect(policy_version_follows(&w.view, added(&w, "IRE-A", 7, &w.author), 7), POLICY_OLD);
	expect(policy_version_follows(&w.view, added(&w, "IRE-A", 7, &w.author), 8), POLICY_OLD);
	expect_ok(policy_version_follows(&w.view, added(&w, "IRE-A", 7, &w.author), 6));
}

static void of_others_none_follows(void **state)
{
	CLEANUP(world_free) struct world w = world_new();
	expect(policy_version_follows(&w.view, added(&w, "IRE-B", 6, &w.author), 0), POLICY_FOREIGN);
	expect(policy_version_follows(&w.view, added(&w, "IRE-A", 6, &w.stranger), 0), POLICY_AUTHOR_WRONG);
	CLEANUP(policy_table_cleanup) struct policy_table *closed = policy_of("IRE-A", 1, NULL, "");
	struct policy_view view;
	policy_at(closed, 0, &view);
	expect(policy_version_follows(&view, added(&w, "IRE-A", 8, &w.author), 0), POLICY_AUTHOR_WRONG);
}

static void only_the_named_author_signs(void **state)
{
	CLEANUP(world_free) struct world w = world_new();
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	CLEANUP(policy_table_cleanup) struct policy_table *closed = policy_of("IRE-A", 6, NULL, "");
	struct policy_view view;
	expect(policy_version_sign(w.view.compiled, &w.stranger.key, &object), POLICY_AUTHOR_WRONG);
	policy_at(closed, 0, &view);
	expect(policy_version_sign(view.compiled, &w.author.key, &object), POLICY_AUTHOR_WRONG);
	assert_null(object.data);
}

static void no_bit_of_it_may_differ(void **state)
{
	CLEANUP(world_free) struct world w = world_new();
	CLEANUP(policy_table_cleanup) struct policy_table *table = policy_of("IRE-A", 6, &w.author, "");
	CLEANUP(bytes_free) struct bytes object = sign(table, &w.author);
	for (size_t i = 0; i < object.len; i++) {
		object.data[i] ^= 1;
		assert_int_not_equal(policy_versions_add(w.versions, bytes_span(&object), NULL), OK);
		object.data[i] ^= 1;
	}
	for (size_t len = 0; len < object.len; len += 7)
		assert_int_not_equal(policy_versions_add(w.versions, span_of(object.data, len), NULL), OK);
	assert_int_equal(policy_versions_count(w.versions), 0);
	expect_ok(policy_versions_add(w.versions, bytes_span(&object), NULL));
}

static void a_collection_has_an_end(void **state)
{
	CLEANUP(world_free) struct world w = world_new();
	for (unsigned i = 0; i < POLICY_MAX_VERSIONS; i++)
		added(&w, "IRE-A", 10 + i, &w.author);
	CLEANUP(policy_table_cleanup) struct policy_table *table = policy_of("IRE-A", 9999, &w.author, "");
	CLEANUP(bytes_free) struct bytes object = sign(table, &w.author);
	expect(policy_versions_add(w.versions, bytes_span(&object), NULL), TOO_LARGE);
}

static void nothing_is_found_in_nothing(void **state)
{
	static const uint8_t digest[POLICY_DIGEST_SIZE];
	assert_null(policy_versions_find(NULL, digest));
	assert_int_equal(policy_versions_count(NULL), 0);
	policy_versions_free(NULL);
}

int test_versions(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_newer_version_of_the_author_follows),
		cmocka_unit_test(an_older_version_is_refused),
		cmocka_unit_test(of_others_none_follows),
		cmocka_unit_test(only_the_named_author_signs),
		cmocka_unit_test(no_bit_of_it_may_differ),
		cmocka_unit_test(a_collection_has_an_end),
		cmocka_unit_test(nothing_is_found_in_nothing),
	};
	return cmocka_run_group_tests_name("versions", tests, NULL, NULL);
}
