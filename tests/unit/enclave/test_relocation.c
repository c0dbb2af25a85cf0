#include "enclave/relocation.h"
#include "expect.h"
#include "groups.h"

#include "base/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A copy with a static program, scripts, a loader's name and a link, below a folder of its own. */
struct copy {
	char folder[256];
	struct manifest_file files[8];
	size_t count;
};

static void add(struct copy *copy, const char *path, const char *text)
{
	char place[PATH_SIZE], parent[PATH_SIZE];
	snprintf(place, sizeof(place), "%s%s", copy->folder, path);
	snprintf(parent, sizeof(parent), "%s", place);
	*strrchr(parent, '/') = '\0';
	expect_ok(file_make_dirs(parent, 0700));
	expect_ok(file_write_atomic(place, span_str(text), 0755));
	copy->files[copy->count++] = (struct manifest_file){.path = path, .type = FILE_REGULAR};
}

static void begin(struct copy *copy)
{
	*copy = (struct copy){.count = 0};
	const char *base = getenv("TMPDIR");
	snprintf(copy->folder, sizeof(copy->folder), "%s/test-relocation-XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(copy->folder));
}

static void end(struct copy *copy)
{
	expect_ok(file_remove_tree(AT_FDCWD, copy->folder));
}

static result plan(const struct copy *copy, const char *const *argv, const char *const *env, struct relocation *out)
{
	const struct relocation_spec spec = {copy->folder, copy->files, copy->count, argv[0], argv, env};
	return relocation_make(&spec, out);
}

static void expect_place(const struct copy *copy, const char *found, const char *path)
{
	char place[PATH_SIZE];
	snprintf(place, sizeof(place), "%s%s", copy->folder, path);
	assert_string_equal(found, place);
}

static void test_arguments_and_environment(void **state)
{
	(void)state;
	struct copy copy;
	CLEANUP(relocation_free) struct relocation made = RELOCATION_NONE;
	begin(&copy);
	/* The real shell: a dynamic program, so the copy needs what it names as its loader. */
	CLEANUP(bytes_free) struct bytes shell = BYTES_EMPTY;
	expect_ok(file_read("/bin/sh", 16 << 20, &shell));
	char place[PATH_SIZE];
	add(&copy, "/bin/sh", "x");
	snprintf(place, sizeof(place), "%s/bin/sh", copy.folder);
	expect_ok(file_write_atomic(place, bytes_span(&shell), 0755));
	add(&copy, "/job/run.sh", "#! /bin/sh -e\nexit 0\n");
	add(&copy, "/lib/libx.so.1", "x");
	add(&copy, "/lib64/ld-linux-x86-64.so.2", "x");
	add(&copy, "/lib/ld-linux-aarch64.so.1", "x");
	const char *const argv[] = {"/job/run.sh", "/job/run.sh", "/etc/passwd", "/tmp/in/rows", "-f/job/run.sh", "/tmp/../etc", NULL};
	const char *const env[] = {"PATH=/bin:/usr/bin", "HOME=/tmp", "FILE=/job/run.sh", "OTHER=/etc/passwd", "/bin/sh", NULL};
	expect_ok(plan(&copy, argv, env, &made));
	expect_place(&copy, made.env[1] + 5, "/tmp");
	expect_place(&copy, made.env[2] + 5, "/job/run.sh");
	assert_string_equal(made.env[3], "OTHER=/etc/passwd");
	assert_string_equal(made.env[4], "/bin/sh");
	assert_null(made.env[5]);
	assert_non_null(strstr(made.env[0], copy.folder));
	assert_null(strstr(made.env[0], "PATH=/bin"));
	size_t count = 0;
	while (made.argv[count])
		count++;
	assert_true(count > 5);
	expect_place(&copy, made.argv[count - 6], "/job/run.sh"); /* the script, where its interpreter finds it */
	assert_string_equal(made.argv[count - 7], "-e");
	expect_place(&copy, made.argv[count - 5], "/job/run.sh");
	assert_string_equal(made.argv[count - 4], "/etc/passwd");
	expect_place(&copy, made.argv[count - 3], "/tmp/in/rows");
	assert_string_equal(made.argv[count - 2], "-f/job/run.sh");
	assert_string_equal(made.argv[count - 1], "/tmp/../etc");
	assert_string_equal(made.path, made.argv[0]);
	assert_non_null(strstr(made.path, "ld-linux"));
	assert_string_equal(made.argv[1], "--inhibit-cache");
	assert_string_equal(made.argv[2], "--library-path");
	assert_non_null(strstr(made.argv[3], "/lib"));
	assert_string_equal(made.argv[4], "--argv0");
	assert_string_equal(made.argv[5], "/bin/sh");
	expect_place(&copy, made.argv[6], "/bin/sh");
	assert_int_equal(made.copy.top_count >= 3, true);
	expect_place(&copy, made.copy.scratch, "/tmp");
	end(&copy);
}

static void test_what_cannot_be_started(void **state)
{
	(void)state;
	struct copy copy;
	CLEANUP(relocation_free) struct relocation made = RELOCATION_NONE;
	static const char *const env[] = {NULL};
	begin(&copy);
	add(&copy, "/a", "#!/usr/bin/awk -f\n");
	add(&copy, "/b", "#!/usr/bin/env sh\n");
	add(&copy, "/usr/bin/env", "#!/loop\n");
	add(&copy, "/loop", "#!/loop\n");
	add(&copy, "/c", "#!\n");
	add(&copy, "/d", "\177ELF, but no such file");
	static const struct {
		const char *path;
		enum reason reason;
	} rows[] = {{"/a", PROGRAM_FAILED_TO_START}, {"/b", PROGRAM_FAILED_TO_START}, {"/loop", PROGRAM_FAILED_TO_START},
		{"/c", PROGRAM_FAILED_TO_START}, {"/d", BAD_ELF}, {"/nothing", NOT_FOUND}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *const argv[] = {rows[i].path, NULL};
		expect(plan(&copy, argv, env, &made), rows[i].reason);
	}
	end(&copy);
}

int group_relocation(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_arguments_and_environment), cmocka_unit_test(test_what_cannot_be_started)};
	return cmocka_run_group_tests_name("relocation", tests, NULL, NULL);
}
