/* The history of a root: what was added comes back, in order; what was pinned must be there; a failing disk loses nothing (RO-16). */
#include "../expect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "groups.h"
#include "root/history.h"

static char folder[PATH_SIZE];

static int make_folder(void **unused)
{
	snprintf(folder, sizeof(folder), "/tmp/troth-history-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **unused)
{
	return file_remove_tree(AT_FDCWD, folder) == OK ? 0 : -1;
}

struct seen {
	size_t count, pinned;
	char text[64][16];
	enum history_type type[64];
};

static result keep(void *ctx, enum history_type type, struct span payload, bool is_pinned)
{
	struct seen *seen = ctx;
	assert_true(payload.len < sizeof(seen->text[0]));
	memcpy(seen->text[seen->count], payload.data, payload.len);
	seen->type[seen->count++] = type;
	seen->pinned += is_pinned;
	return OK;
}

static result open_and_read(const struct history_mark *pinned, struct seen *seen, struct history **out)
{
	struct history *history = NULL;
	*seen = (struct seen){0};
	TRY(history_open(folder, false, &history));
	result read = history_read(history, pinned, keep, seen);
	if (read != OK) {
		history_close(history);
		return read;
	}
	*out = history;
	return OK;
}

static struct history *begin(void)
{
	struct history *history;
	struct seen seen = {0};
	const struct history_mark nothing = {0};
	expect_ok(history_open(folder, true, &history));
	expect_ok(history_read(history, &nothing, keep, &seen));
	assert_int_equal(seen.count, 0);
	return history;
}

static void add(struct history *history, enum history_type type, const char *text)
{
	expect_ok(history_add(history, type, span_str(text)));
	expect_ok(history_commit(history));
}

static void comes_back_in_order(void **unused)
{
	struct history *history = begin();
	struct seen seen;
	add(history, HISTORY_OBJECT, "one");
	struct history_mark pinned = history_mark(history);
	expect_ok(history_add(history, HISTORY_NOTE, span_str("why")));
	expect_ok(history_add(history, HISTORY_OBJECT, span_str("two")));
	assert_int_equal(history_mark(history).count, 1); /* nothing counts before it is durable */
	expect_ok(history_commit(history));
	struct history_mark end = history_mark(history);
	assert_int_equal(end.count, 3);
	history_close(history);
	expect_ok(open_and_read(&pinned, &seen, &history));
	assert_int_equal(seen.count, 3);
	assert_int_equal(seen.pinned, 1);
	assert_string_equal(seen.text[0], "one");
	assert_string_equal(seen.text[1], "why");
	assert_int_equal(seen.type[1], HISTORY_NOTE);
	assert_string_equal(seen.text[2], "two");
	struct history_mark again = history_mark(history);
	assert_memory_equal(&again, &end, sizeof(end));
	history_close(history);
}

static void what_was_pinned_must_be_there(void **unused)
{
	struct history *history = begin();
	struct seen seen;
	add(history, HISTORY_OBJECT, "one");
	add(history, HISTORY_OBJECT, "two");
	struct history_mark pinned = history_mark(history), more = pinned, other = pinned;
	history_close(history);
	more.count++;
	other.digest[0] ^= 1;
	expect(open_and_read(&more, &seen, &history), HISTORY_DAMAGED);
	expect(open_and_read(&other, &seen, &history), HISTORY_DAMAGED);
	assert_int_equal(seen.count, 0); /* nothing of it was believed */
	other = pinned;
	other.count = 1;
	expect(open_and_read(&other, &seen, &history), HISTORY_DAMAGED);
	expect_ok(open_and_read(&pinned, &seen, &history));
	history_close(history);
}

static void type_and_length_count(void **unused)
{
	struct history_mark marks[3];
	static const struct {
		enum history_type type;
		const char *text[2];
	} rows[] = {{HISTORY_OBJECT, {"ab", "c"}}, {HISTORY_OBJECT, {"a", "bc"}}, {HISTORY_KEY, {"ab", "c"}}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct history *history = begin();
		add(history, rows[i].type, rows[i].text[0]);
		add(history, rows[i].type, rows[i].text[1]);
		marks[i] = history_mark(history);
		history_close(history);
		char path[PATH_SIZE];
		expect_ok(path_join(path, folder, "epochs"));
		expect_ok(file_remove_tree(AT_FDCWD, path));
	}
	assert_memory_not_equal(marks[0].digest, marks[1].digest, SHA256_SIZE);
	assert_memory_not_equal(marks[0].digest, marks[2].digest, SHA256_SIZE);
}

static void one_that_is_gone_is_damaged(void **unused)
{
	struct history *history;
	expect(history_open(folder, false, &history), HISTORY_DAMAGED);
}

/* Each step that can fail, with each error: the history is as it was, or has the new entries, all of them. */
static void failing_appends_lose_nothing(void **unused)
{
	static const int errors[] = {EIO, ENOSPC};
	for (size_t e = 0; e < COUNT_OF(errors); e++)
		for (unsigned step = 1; step < 12; step++) {
			struct history *history;
			struct seen seen;
			const struct history_mark nothing = {0};
			history = begin();
			add(history, HISTORY_OBJECT, "one");
			struct history_mark before = history_mark(history);
			fault_arm(NULL, step, errors[e], false);
			result added = history_add(history, HISTORY_NOTE, span_str("why"));
			if (added == OK)
				added = history_add(history, HISTORY_OBJECT, span_str("two"));
			if (added == OK)
				added = history_commit(history);
			(void)fault_disarm();
			struct history_mark after = history_mark(history);
			assert_int_equal(after.count, added == OK ? 3 : 1);
			if (added != OK)
				assert_memory_equal(&after, &before, sizeof(before));
			history_close(history);
			expect_ok(open_and_read(&nothing, &seen, &history));
			assert_true(seen.count == 1 || seen.count == 3);
			assert_true(added != OK || seen.count == 3);
			history_close(history);
			char path[PATH_SIZE];
			expect_ok(path_join(path, folder, "epochs"));
			expect_ok(file_remove_tree(AT_FDCWD, path));
		}
}

int test_history(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(comes_back_in_order, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(what_was_pinned_must_be_there, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(type_and_length_count, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(one_that_is_gone_is_damaged, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(failing_appends_lose_nothing, make_folder, drop_folder),
	};
	return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
