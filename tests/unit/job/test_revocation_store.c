/* The folder `revocations`: floors that hold, conflicts that are kept, and no step of a change that can fail halfway. */
#include "job/revocation_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "expect.h"
#include "folder.h"
#include "groups.h"
#include "root/pins.h"

struct operator {
	struct key key;
	uint8_t value[KEY_ID_SIZE];
};

static void begin(void *folder, struct operator *who)
{
	static const uint8_t head[] = {1};
	struct pins pins = {.head = SPAN_ARRAY(head), .trust_domain = "troth.internal"};
	expect_ok(pins_store(folder, &pins)); /* the key of the MAC */
	expect_ok(key_generate(&who->key));
}

static struct bytes list_of(struct operator *who, uint64_t version, uint8_t value)
{
	struct bytes object = BYTES_EMPTY;
	memset(who->value, value, sizeof(who->value));
	struct revocation_entry entry = {REVOKE_KEY, SPAN_ARRAY(who->value), 0, ""};
	struct revocation_list list = {.version = version, .time = 1, .not_after = 2, .entries = &entry, .entry_count = 1};
	expect_ok(revocation_list_sign(&list, &who->key, &object, NULL));
	return object;
}

static result take(struct revocation_store *store, struct operator *who, uint64_t version, uint8_t value, bool *out_changed)
{
	CLEANUP(bytes_free) struct bytes list = list_of(who, version, value);
	CLEANUP(revocation_view_free) struct revocation_view view = REVOCATION_VIEW_EMPTY;
	expect_ok(revocation_open(bytes_span(&list), &who->key, &view));
	return revocation_store_take(store, &view, bytes_span(&list), out_changed);
}

static void a_floor_holds_and_comes_back(void **state)
{
	static struct revocation_store store, back;
	struct operator who;
	bool changed;
	begin(*state, &who);
	expect_ok(revocation_store_load(*state, &store));
	assert_int_equal(revocation_store_pinned(&store), 0);
	expect(take(&store, &who, 1, 1, &changed), REVOCATION_KEY_UNKNOWN);
	expect_ok(revocation_store_pin(&store, who.key.point, "ops", 7));
	expect(revocation_store_pin(&store, who.key.point, "ops", 7), ALREADY_EXISTS);
	expect_ok(take(&store, &who, 5, 1, &changed));
	assert_true(changed);
	expect_ok(revocation_store_load(*state, &back));
	const struct revocation_operator *row = revocation_store_find(&back, who.key.id);
	assert_non_null(row);
	assert_int_equal(row->version, 5);
	assert_string_equal(row->label, "ops");
	expect(take(&back, &who, 4, 1, &changed), REVOCATION_OLD);
	expect_ok(revocation_store_unpin(&back, who.key.id));
	expect(revocation_store_unpin(&back, who.key.id), NOT_FOUND);
	expect(take(&back, &who, 6, 1, &changed), REVOCATION_KEY_UNKNOWN);
	expect_ok(revocation_store_load(*state, &store));
	assert_int_equal(revocation_store_pinned(&store), 0);
	expect_ok(revocation_store_pin(&store, who.key.point, "again", 8));
	expect(take(&store, &who, 4, 1, &changed), REVOCATION_OLD);
	expect_ok(take(&store, &who, 6, 1, &changed));
	key_free(&who.key);
}

static void two_lists_of_one_version_are_kept_as_proof(void **state)
{
	static struct revocation_store store;
	struct operator who;
	bool changed;
	begin(*state, &who);
	expect_ok(revocation_store_load(*state, &store));
	expect_ok(revocation_store_pin(&store, who.key.point, "", 7));
	expect_ok(take(&store, &who, 2, 1, &changed));
	expect_ok(take(&store, &who, 2, 1, &changed)); /* the same list with another signature */
	assert_false(changed);
	expect(take(&store, &who, 2, 9, &changed), REVOCATION_CONFLICT);
	assert_int_equal(revocation_store_conflicts(&store), 2);
	for (uint8_t value = 10; value < 60; value++)
		expect(take(&store, &who, 2, value, &changed), REVOCATION_CONFLICT);
	assert_true(revocation_store_conflicts(&store) <= REVOCATION_MAX_CONFLICTS + 1);
	expect_ok(take(&store, &who, 3, 1, &changed));
	expect_ok(revocation_store_load(*state, &store)); /* removes no proof */
	assert_true(revocation_store_conflicts(&store) >= 2);
	key_free(&who.key);
}

/* Every step that can fail, with each error: afterwards one of the two lists is in force, and never an older one. */
static void survives_every_failing_step(void **state)
{
	static const int errors[] = {EIO, ENOSPC};
	static struct revocation_store store, back;
	struct operator who;
	bool changed;
	uint64_t version = 1;
	begin(*state, &who);
	expect_ok(revocation_store_load(*state, &store));
	expect_ok(revocation_store_pin(&store, who.key.point, "ops", 7));
	expect_ok(take(&store, &who, version, 1, &changed));
	for (size_t e = 0; e < COUNT_OF(errors); e++) {
		unsigned failed = 0, step = 1;
		for (bool hit = true; hit; step++) {
			fault_arm(NULL, step, errors[e], false);
			result taken = take(&store, &who, version + 1, 1, &changed);
			hit = fault_disarm() > 0;
			expect_ok(revocation_store_load(*state, &back));
			uint64_t now = revocation_store_find(&back, who.key.id)->version;
			assert_true(now == version || now == version + 1);
			assert_true(taken != OK || now == version + 1);
			/* What is in memory follows what is durable, or asks for it again. */
			failed += taken != OK;
			store = back;
			for (size_t i = 0; i < store.count; i++)
				store.rows[i].label = store.labels[i];
			version = now;
		}
		assert_true(failed >= 4);
		assert_true(step < 60);
	}
	key_free(&who.key);
}

/* The same with SIGKILL instead of an error, in a child. */
static void survives_a_kill_at_every_step(void **state)
{
	static struct revocation_store store, back;
	struct operator who;
	bool changed;
	uint64_t version = 1;
	unsigned killed = 0;
	begin(*state, &who);
	expect_ok(revocation_store_load(*state, &store));
	expect_ok(revocation_store_pin(&store, who.key.point, "ops", 7));
	expect_ok(take(&store, &who, version, 1, &changed));
	for (unsigned step = 1; step < 60; step++) {
		pid_t child = fork();
		if (child == 0) {
			fault_arm(NULL, step, FAULT_KILL, false);
			_exit(revocation_store_load(*state, &store) == OK && take(&store, &who, version + 1, 1, &changed) == OK ? 0 : 1);
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		expect_ok(revocation_store_load(*state, &back));
		uint64_t now = revocation_store_find(&back, who.key.id)->version;
		assert_true(now == version || now == version + 1);
		version = now;
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			break;
		}
		killed++;
	}
	assert_true(killed >= 4);
	key_free(&who.key);
}

static void what_was_altered_is_noticed(void **state)
{
	static struct revocation_store store;
	struct operator who;
	bool changed;
	char id[17], name[64];
	begin(*state, &who);
	expect_ok(revocation_store_load(*state, &store));
	expect_ok(revocation_store_pin(&store, who.key.point, "ops", 7));
	expect_ok(take(&store, &who, 1, 1, &changed));
	for (size_t i = 0; i < 8; i++)
		snprintf(id + 2 * i, 3, "%02x", who.key.id[i]);
	snprintf(name, sizeof(name), "revocations/%s-1.list", id);
	CLEANUP(bytes_free) struct bytes good = BYTES_EMPTY, other = list_of(&who, 1, 2), operators = BYTES_EMPTY;
	expect_ok(file_read(folder_path(*state, name), 1 << 20, &good));
	expect_ok(file_write_atomic(folder_path(*state, name), bytes_span(&other), 0600));
	expect(revocation_store_load(*state, &store), REVOCATIONS_DAMAGED);
	assert_int_equal(unlink(folder_path(*state, name)), 0);
	expect(revocation_store_load(*state, &store), REVOCATIONS_DAMAGED);
	expect_ok(file_write_atomic(folder_path(*state, name), bytes_span(&good), 0600));
	expect_ok(revocation_store_load(*state, &store));
	expect_ok(file_read(folder_path(*state, "revocations/operators"), 1 << 20, &operators));
	for (size_t at = 0; at < operators.len; at += 5) {
		operators.data[at] ^= 1;
		expect_ok(file_write_atomic(folder_path(*state, "revocations/operators"), bytes_span(&operators), 0600));
		expect(revocation_store_load(*state, &store), REVOCATIONS_DAMAGED);
		operators.data[at] ^= 1;
	}
	key_free(&who.key);
}

int group_revocation_store(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_floor_holds_and_comes_back, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(two_lists_of_one_version_are_kept_as_proof, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(survives_every_failing_step, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(survives_a_kill_at_every_step, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(what_was_altered_is_noticed, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests_name("revocation_store", tests, NULL, NULL);
}
