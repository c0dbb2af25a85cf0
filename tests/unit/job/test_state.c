#include "job/state.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "expect.h"
#include "folder.h"
#include "groups.h"

static void test_made_private_and_locked(void **state)
{
	struct state_folder folder, second;
	struct stat at;
	const char *path = folder_path(*state, "a/b");
	expect(state_folder_open(path, false, &folder), NO_ROOT);
	assert_int_equal(folder_count(*state), 0);
	expect_ok(state_folder_open(path, true, &folder));
	assert_int_equal(stat(path, &at), 0);
	assert_int_equal(at.st_mode & 0777, 0700);
	expect(state_folder_open(path, true, &second), STATE_BUSY);
	state_folder_close(&folder);
	expect_ok(state_folder_open(path, true, &folder));
	state_folder_close(&folder);
	assert_false(state_has_root(path));
}

static void test_scratch_is_emptied(void **state)
{
	struct state_folder folder;
	expect_ok(state_folder_open(*state, true, &folder));
	folder_write(*state, "tmp/left", "x");
	state_folder_close(&folder);
	expect_ok(state_folder_open(*state, true, &folder));
	assert_int_equal(folder_count(folder.scratch), 0);
	state_folder_close(&folder);
}

static void test_others_may_not_look(void **state)
{
	struct state_folder folder;
	folder_write(*state, "pins", "");
	assert_int_equal(chmod(*state, 0750), 0);
	expect(state_folder_open(*state, false, &folder), NO_PERMISSION);
	assert_int_equal(chmod(*state, 0700), 0);
	expect_ok(state_folder_open(*state, false, &folder));
	state_folder_close(&folder);
	const char *link = folder_path(*state, "link");
	assert_int_equal(symlink("/", link), 0);
	expect(state_folder_open(link, true, &folder), BAD_TYPE);
}

static void test_paths(void **state)
{
	char path[PATH_SIZE];
	expect_ok(state_path("/a/b", path));
	assert_string_equal(path, "/a/b");
	expect_ok(state_path("b", path));
	assert_int_equal(path[0], '/');
	expect(state_path("", path), USAGE);
	expect_ok(state_path(NULL, path));
	assert_non_null(strstr(path, "troth"));
}

int group_state(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_made_private_and_locked, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_scratch_is_emptied, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_others_may_not_look, folder_setup, folder_teardown),
		cmocka_unit_test(test_paths),
	};
	return cmocka_run_group_tests_name("state folder", tests, NULL, NULL);
}
