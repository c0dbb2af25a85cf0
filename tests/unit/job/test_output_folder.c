#include "job/output_folder.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "expect.h"
#include "folder.h"
#include "groups.h"

static void put(const struct output_folder *folder, const char *name, const char *text)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	expect_ok(output_folder_file(folder, name, &fd));
	expect_ok(write_all(fd.n, span_str(text)));
}

static void expect_content(const char *path, const char *text)
{
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	expect_ok(file_read(path, 1000, &content));
	expect_span(bytes_span(&content), span_str(text));
}

static void test_appears_whole(void **state)
{
	struct output_folder folder;
	const char *out = folder_path(*state, "out");
	expect_ok(output_folder_begin(out, false, &folder));
	put(&folder, "a", "one");
	assert_int_equal(folder_count(out), -1);
	expect_ok(output_folder_publish(&folder));
	expect_content(folder_path(*state, "out/a"), "one");
	output_folder_discard(&folder);
	assert_int_equal(folder_count(*state), 1);
}

static void test_discarded_leaves_nothing(void **state)
{
	struct output_folder folder;
	expect_ok(output_folder_begin(folder_path(*state, "out/"), false, &folder));
	put(&folder, "a", "one");
	assert_int_equal(folder_count(*state), 1);
	output_folder_discard(&folder);
	assert_int_equal(folder_count(*state), 0);
	output_folder_discard(&folder);
}

static void test_takes_an_empty_folder(void **state)
{
	struct output_folder folder;
	const char *out = folder_path(*state, "out");
	assert_int_equal(mkdir(out, 0700), 0);
	expect_ok(output_folder_begin(out, false, &folder));
	put(&folder, "a", "one");
	expect_ok(output_folder_publish(&folder));
	expect_content(folder_path(*state, "out/a"), "one");
}

static void test_refuses_what_is_there(void **state)
{
	struct output_folder folder;
	const char *out = folder_path(*state, "out");
	assert_int_equal(mkdir(out, 0700), 0);
	folder_write(*state, "out/old", "old");
	expect(output_folder_begin(out, false, &folder), OUTPUT_EXISTS);
	expect(output_folder_begin(folder_path(*state, "out/old"), true, &folder), OUTPUT_EXISTS);
	expect(output_folder_begin("out", false, &folder), BAD_VALUE);
	expect(output_folder_begin("/", false, &folder), BAD_VALUE);
	expect(output_folder_begin(folder_path(*state, ".."), false, &folder), OUTPUT_EXISTS);
	expect(output_folder_begin(folder_path(*state, "none/out"), false, &folder), NOT_FOUND);
	assert_int_equal(mkdir(folder_path(*state, "out/sub"), 0700), 0);
	expect(output_folder_begin(out, true, &folder), OUTPUT_EXISTS);
	assert_int_equal(folder_count(*state), 1);
}

static void test_replaces_in_one_step(void **state)
{
	struct output_folder folder;
	const char *out = folder_path(*state, "out");
	assert_int_equal(mkdir(out, 0700), 0);
	folder_write(*state, "out/old", "old");
	expect_ok(output_folder_begin(out, true, &folder));
	put(&folder, "new", "new");
	expect_content(folder_path(*state, "out/old"), "old");
	expect_ok(output_folder_publish(&folder));
	assert_int_equal(folder_count(out), 1);
	expect_content(folder_path(*state, "out/new"), "new");
	assert_int_equal(folder_count(*state), 1);
}

static void test_behind_a_link(void **state)
{
	struct output_folder folder;
	const char *link = folder_path(*state, "link");
	struct stat at;
	assert_int_equal(mkdir(folder_path(*state, "real"), 0700), 0);
	folder_write(*state, "real/old", "old");
	assert_int_equal(symlink("real", link), 0);
	expect_ok(output_folder_begin(link, true, &folder));
	put(&folder, "new", "new");
	expect_ok(output_folder_publish(&folder));
	assert_int_equal(lstat(link, &at), 0);
	assert_true(S_ISLNK(at.st_mode));
	assert_int_equal(folder_count(folder_path(*state, "real")), 1);
	expect_content(folder_path(*state, "real/new"), "new");
}

static void test_filled_meanwhile(void **state)
{
	struct output_folder folder;
	const char *out = folder_path(*state, "out");
	expect_ok(output_folder_begin(out, false, &folder));
	assert_int_equal(mkdir(out, 0700), 0);
	folder_write(*state, "out/other", "other");
	expect(output_folder_publish(&folder), OUTPUT_EXISTS);
	output_folder_discard(&folder);
	expect_content(folder_path(*state, "out/other"), "other");
	assert_int_equal(folder_count(*state), 1);
}

static void test_only_dead_folders_are_swept(void **state)
{
	struct output_folder living, next;
	expect_ok(output_folder_begin(folder_path(*state, "out"), false, &living));
	/* As a killed run leaves one: nobody holds its lock. */
	assert_int_equal(mkdir(folder_path(*state, ".out.troth-dead"), 0700), 0);
	folder_write(*state, ".out.troth-dead/a", "a");
	assert_int_equal(mkdir(folder_path(*state, ".other.troth-dead"), 0700), 0);
	expect_ok(output_folder_begin(folder_path(*state, "out"), false, &next));
	assert_int_equal(folder_count(folder_path(*state, ".out.troth-dead")), -1);
	assert_int_equal(folder_count(*state), 3);
	put(&living, "a", "still here");
	output_folder_discard(&next);
	expect_ok(output_folder_publish(&living));
}

static void test_file_names(void **state)
{
	struct output_folder folder;
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	expect_ok(output_folder_begin(folder_path(*state, "out"), false, &folder));
	expect(output_folder_file(&folder, "../x", &fd), BAD_VALUE);
	expect(output_folder_file(&folder, "", &fd), BAD_VALUE);
	put(&folder, "x", "");
	expect(output_folder_file(&folder, "x", &fd), ALREADY_EXISTS);
	output_folder_discard(&folder);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int group_output_folder(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(test_appears_whole),
		WITH_FOLDER(test_discarded_leaves_nothing),
		WITH_FOLDER(test_takes_an_empty_folder),
		WITH_FOLDER(test_refuses_what_is_there),
		WITH_FOLDER(test_replaces_in_one_step),
		WITH_FOLDER(test_behind_a_link),
		WITH_FOLDER(test_filled_meanwhile),
		WITH_FOLDER(test_only_dead_folders_are_swept),
		WITH_FOLDER(test_file_names),
	};
	return cmocka_run_group_tests_name("output folder", tests, NULL, NULL);
}
