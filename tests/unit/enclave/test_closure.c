#include "base/file.h"
#include "crypto/hash.h"
#include "enclave/closure.h"
#include "enclave/elf.h"
#include "expect.h"
#include "groups.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__aarch64__)
#define TRIPLET "aarch64-linux-gnu"
#else
#define TRIPLET "x86_64-linux-gnu"
#endif

/* A root of our own with programs that are put together here: nothing of this machine is read. */
static char root[PATH_SIZE];

static int start(void **state)
{
	(void)state;
	const char *base = getenv("TMPDIR");
	snprintf(root, sizeof(root), "%s/test-closure-XXXXXX", base ? base : "/tmp");
	return mkdtemp(root) == NULL;
}

static int stop(void **state)
{
	(void)state;
	return file_remove_tree(AT_FDCWD, root) != OK;
}

static void host(const char *path, char out[static PATH_SIZE])
{
	assert_true(snprintf(out, PATH_SIZE, "%s%s", root, path) < PATH_SIZE);
}

static void write_file(const char *path, const void *data, size_t len, mode_t mode)
{
	char full[PATH_SIZE], folder[PATH_SIZE];
	host(path, full);
	memcpy(folder, full, sizeof(folder));
	*strrchr(folder, '/') = '\0';
	expect_ok(file_make_dirs(folder, 0755));
	expect_ok(file_write_atomic(full, span_of(data, len), mode));
}

static void write_link(const char *path, const char *target)
{
	char full[PATH_SIZE], folder[PATH_SIZE];
	host(path, full);
	memcpy(folder, full, sizeof(folder));
	*strrchr(folder, '/') = '\0';
	expect_ok(file_make_dirs(folder, 0755));
	assert_int_equal(symlink(target, full), 0);
}

static void put(uint8_t *file, size_t at, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		file[at + i] = (uint8_t)(value >> 8 * i);
}

/* An ELF file with these names; `run_tag` 15 is RPATH, 29 RUNPATH. */
static void write_elf(const char *path, const char *interpreter, const char *const *needed, unsigned run_tag, const char *run)
{
	enum { SEGMENTS = 64, INTERPRETER = 300, STRINGS = 400, STRINGS_SIZE = 600, DYNAMIC = 1000, SIZE = 1400 };
	uint8_t file[SIZE] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
	size_t text = 1, entry = DYNAMIC;
	put(file, 16, 3, 2);
	put(file, 18, (uint64_t)elf_native_machine(), 2);
	put(file, 32, SEGMENTS, 8);
	put(file, 54, 56, 2);
	put(file, 56, interpreter ? 3 : 2, 2);
	const uint64_t segments[3][3] = {{1, 0, SIZE}, {2, DYNAMIC, SIZE - DYNAMIC}, {3, INTERPRETER, 60}};
	for (size_t i = 0; i < 3; i++) {
		put(file, SEGMENTS + i * 56, segments[i][0], 4);
		put(file, SEGMENTS + i * 56 + 8, segments[i][1], 8);
		put(file, SEGMENTS + i * 56 + 16, segments[i][1], 8);
		put(file, SEGMENTS + i * 56 + 32, segments[i][2], 8);
	}
	if (interpreter)
		memcpy(file + INTERPRETER, interpreter, strlen(interpreter));
	for (size_t i = 0; needed && needed[i]; i++, entry += 16) {
		put(file, entry, 1, 8);
		put(file, entry + 8, text, 8);
		memcpy(file + STRINGS + text, needed[i], strlen(needed[i]));
		text += strlen(needed[i]) + 1;
	}
	if (run) {
		put(file, entry, run_tag, 8);
		put(file, entry + 8, text, 8);
		memcpy(file + STRINGS + text, run, strlen(run));
		entry += 16;
	}
	put(file, entry, 5, 8);
	put(file, entry + 8, STRINGS, 8);
	put(file, entry + 16, 10, 8);
	put(file, entry + 24, STRINGS_SIZE, 8);
	write_file(path, file, sizeof(file), interpreter ? 0755 : 0644);
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define LOADER "/lib64/ld.so.2"

static void make_root(void)
{
	static bool made;
	if (made)
		return;
	made = true;
	write_link("/lib", "usr/lib");
	write_link("/lib64", "usr/lib64");
	write_link("/bin", "usr/bin");
	write_elf("/usr/lib/" TRIPLET "/ld.so", NULL, NULL, 0, NULL);
	write_link("/usr/lib64/ld.so.2", "/lib/" TRIPLET "/ld.so");
	write_elf("/usr/lib/" TRIPLET "/libc.so.6", NULL, NAMES("ld.so.2"), 0, NULL);
	write_elf("/usr/lib/" TRIPLET "/libreal.so.1.2", NULL, NAMES("libc.so.6"), 0, NULL);
	write_link("/usr/lib/" TRIPLET "/libreal.so.1", "libreal.so.1.2");
	write_elf("/opt/extra/libextra.so", NULL, NAMES("libc.so.6"), 0, NULL);
	write_file("/etc/ld.so.conf", "# comment\ninclude /etc/ld.so.conf.d/*.conf\n", 42, 0644);
	write_file("/etc/ld.so.conf.d/extra.conf", "/opt/extra\n", 11, 0644);
	write_elf("/usr/bin/plain", LOADER, NAMES("libreal.so.1", "libc.so.6"), 0, NULL);
	write_elf("/usr/bin/sh", LOADER, NAMES("libc.so.6"), 0, NULL);
	write_elf("/usr/bin/tool3.1", LOADER, NAMES("libc.so.6"), 0, NULL);
	write_link("/usr/bin/tool", "/etc/alternatives/tool");
	write_link("/etc/alternatives/tool", "/usr/bin/tool3.1");
}

static const struct manifest_file *find(const struct closure *closure, const char *path)
{
	for (size_t i = 0; i < closure->file_count; i++)
		if (strcmp(closure->files[i].path, path) == 0)
			return &closure->files[i];
	return NULL;
}

static void expect_link(const struct closure *closure, const char *path, const char *target)
{
	const struct manifest_file *file = find(closure, path);
	if (!file)
		print_error("%s is missing\n", path);
	assert_non_null(file);
	assert_int_equal(file->type, FILE_SYMLINK);
	assert_string_equal(file->target, target);
	assert_int_equal(file->mode, 0777);
}

static void expect_file(const struct closure *closure, const char *path, uint16_t mode)
{
	const struct manifest_file *file = find(closure, path);
	if (!file)
		print_error("%s is missing\n", path);
	assert_non_null(file);
	assert_int_equal(file->type, FILE_REGULAR);
	assert_int_equal(file->mode, mode);
	char full[PATH_SIZE];
	host(path, full);
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	uint8_t digest[SHA384_SIZE];
	expect_ok(file_read(full, 1 << 20, &content));
	sha384(bytes_span(&content), digest);
	assert_int_equal(file->size, content.len);
	assert_memory_equal(file->digest, digest, sizeof(digest));
}

static void test_dynamic_program(void **state)
{
	(void)state;
	make_root();
	CLEANUP(closure_free) struct closure closure = {0};
	const char *path;
	expect_ok(closure_new(root, &closure));
	expect_ok(closure_add_program(&closure, "plain", &path));
	expect_ok(closure_finish(&closure));
	assert_string_equal(path, "/usr/bin/plain");
	expect_file(&closure, "/usr/bin/plain", 0555);
	expect_file(&closure, "/usr/lib/" TRIPLET "/ld.so", 0444);
	expect_file(&closure, "/usr/lib/" TRIPLET "/libc.so.6", 0444);
	expect_file(&closure, "/usr/lib/" TRIPLET "/libreal.so.1.2", 0444);
	expect_link(&closure, "/usr/lib/" TRIPLET "/libreal.so.1", "libreal.so.1.2");
	expect_link(&closure, "/usr/lib64/ld.so.2", "/lib/" TRIPLET "/ld.so");
	expect_link(&closure, "/lib", "usr/lib");
	expect_link(&closure, "/lib64", "usr/lib64");
	/* Nothing else: looking in folders leaves no trace. */
	assert_int_equal(closure.file_count, 8);
	for (size_t i = 1; i < closure.file_count; i++) {
		size_t before = strlen(closure.files[i - 1].path), now = strlen(closure.files[i].path);
		assert_true(before < now || (before == now && strcmp(closure.files[i - 1].path, closure.files[i].path) < 0));
	}
	assert_string_equal(closure_interpreter(&closure), "closed");
	expect(closure_add_file(&closure, "/usr/bin/plain"), ILLEGAL_STATE);
}

static void test_alternatives(void **state)
{
	(void)state;
	make_root();
	CLEANUP(closure_free) struct closure closure = {0};
	const char *path;
	expect_ok(closure_new(root, &closure));
	expect_ok(closure_add_program(&closure, "/bin/tool", &path));
	assert_string_equal(path, "/usr/bin/tool");
	expect_link(&closure, "/bin", "usr/bin");
	expect_link(&closure, "/usr/bin/tool", "/etc/alternatives/tool");
	expect_link(&closure, "/etc/alternatives/tool", "/usr/bin/tool3.1");
	expect_file(&closure, "/usr/bin/tool3.1", 0555);
}

/* A library that only ld.so.conf names is found inside through a link in the loader's own folder. */
static void test_ld_so_conf(void **state)
{
	(void)state;
	make_root();
	write_elf("/usr/bin/extra", LOADER, NAMES("libextra.so"), 0, NULL);
	CLEANUP(closure_free) struct closure closure = {0};
	const char *path;
	expect_ok(closure_new(root, &closure));
	expect_ok(closure_add_program(&closure, "extra", &path));
	expect_file(&closure, "/opt/extra/libextra.so", 0444);
	expect_link(&closure, "/usr/lib/" TRIPLET "/libextra.so", "/opt/extra/libextra.so");
}

static void test_run_paths(void **state)
{
	(void)state;
	make_root();
	write_elf("/srv/app/lib/libown.so", NULL, NAMES("libdeep.so"), 0, NULL);
	write_elf("/srv/app/lib/libdeep.so", NULL, NULL, 0, NULL);
	write_elf("/srv/app/bin/rpath", LOADER, NAMES("libown.so"), 15, "/nowhere:$ORIGIN/../lib");
	write_elf("/srv/app/bin/runpath", LOADER, NAMES("libown.so"), 29, "${ORIGIN}/../lib");
	CLEANUP(closure_free) struct closure closure = {0}, other = {0};
	const char *path;
	expect_ok(closure_new(root, &closure));
	/* RPATH of the program serves its libraries too; RUNPATH serves only the file that has it. */
	expect_ok(closure_add_program(&closure, "/srv/app/bin/rpath", &path));
	expect_file(&closure, "/srv/app/lib/libown.so", 0444);
	expect_file(&closure, "/srv/app/lib/libdeep.so", 0444);
	expect_ok(closure_new(root, &other));
	expect(closure_add_program(&other, "/srv/app/bin/runpath", &path), LIBRARY_NOT_FOUND);
	assert_non_null(strstr(failure_text(), "libdeep.so"));
}

static void test_scripts(void **state)
{
	(void)state;
	make_root();
	write_file("/srv/script", "#! /bin/sh -e\necho\n", 18, 0755);
	write_file("/srv/env", "#!/usr/bin/env -S plain -x\n", 27, 0755);
	write_elf("/usr/bin/env", LOADER, NAMES("libc.so.6"), 0, NULL);
	write_file("/srv/relative", "#!sh\n", 5, 0755);
	write_file("/srv/loop", "#!/srv/loop\n", 12, 0755);
	write_file("/srv/text", "echo hello\n", 11, 0755);
	write_file("/srv/locked", "#!/bin/sh\n", 10, 0644);
	CLEANUP(closure_free) struct closure closure = {0}, env = {0}, bad = {0};
	const char *path;
	expect_ok(closure_new(root, &closure));
	expect_ok(closure_add_program(&closure, "/srv/script", &path));
	expect_file(&closure, "/usr/bin/sh", 0555);
	expect_link(&closure, "/bin", "usr/bin");
	assert_string_equal(closure_interpreter(&closure), "open");
	expect_ok(closure_new(root, &env));
	expect_ok(closure_add_program(&env, "/srv/env", &path));
	expect_file(&env, "/usr/bin/env", 0555);
	expect_file(&env, "/usr/bin/plain", 0555);
	expect_ok(closure_new(root, &bad));
	expect(closure_add_program(&bad, "/srv/relative", &path), NOT_A_PROGRAM);
	expect(closure_add_program(&bad, "/srv/loop", &path), NOT_A_PROGRAM);
	expect(closure_add_program(&bad, "/srv/text", &path), NOT_A_PROGRAM);
	expect(closure_add_program(&bad, "/srv/locked", &path), NOT_A_PROGRAM);
	expect(closure_add_program(&bad, "/srv", &path), NOT_A_PROGRAM);
	expect(closure_add_program(&bad, "/usr/lib/" TRIPLET "/libreal.so.1", &path), NOT_A_PROGRAM);
	expect(closure_add_program(&bad, "missing", &path), PROGRAM_NOT_FOUND);
	expect(closure_add_program(&bad, "/srv/missing", &path), PROGRAM_NOT_FOUND);
	expect(closure_add_program(&bad, "../bin/plain", &path), PROGRAM_NOT_FOUND);
}

static void test_missing_library(void **state)
{
	(void)state;
	make_root();
	write_elf("/usr/bin/lacking", LOADER, NAMES("libnone.so"), 0, NULL);
	write_elf("/usr/bin/odd", "/lib64/none.so", NAMES("libc.so.6"), 0, NULL);
	CLEANUP(closure_free) struct closure closure = {0};
	const char *path = "untouched";
	expect_ok(closure_new(root, &closure));
	expect(closure_add_program(&closure, "lacking", &path), LIBRARY_NOT_FOUND);
	assert_non_null(strstr(failure_text(), "libnone.so"));
	expect(closure_add_program(&closure, "odd", &path), LIBRARY_NOT_FOUND);
	assert_string_equal(path, "untouched");
}

static void test_folders_and_plugins(void **state)
{
	(void)state;
	make_root();
	write_file("/srv/data/a.txt", "a", 1, 0600);
	write_file("/srv/data/sub/b.txt", "b", 1, 0644);
	write_elf("/srv/data/plugin.so", NULL, NAMES("libreal.so.1", "libnone.so"), 0, NULL);
	write_link("/srv/data/out", "/srv/elsewhere");
	write_link("/srv/data/dangling", "/srv/none");
	write_file("/srv/elsewhere", "e", 1, 0644);
	char full[PATH_SIZE];
	host("/srv/data/fifo", full);
	assert_int_equal(mkfifo(full, 0600), 0);
	host("/srv/data/empty", full);
	assert_int_equal(mkdir(full, 0700), 0);
	CLEANUP(closure_free) struct closure closure = {0};
	expect_ok(closure_new(root, &closure));
	expect_ok(closure_add_file(&closure, "/srv/data"));
	expect_file(&closure, "/srv/data/a.txt", 0444);
	expect_file(&closure, "/srv/data/sub/b.txt", 0444);
	expect_file(&closure, "/usr/lib/" TRIPLET "/libreal.so.1.2", 0444); /* a plug-in's library */
	expect_link(&closure, "/srv/data/out", "/srv/elsewhere");
	expect_file(&closure, "/srv/elsewhere", 0444);
	expect_link(&closure, "/srv/data/dangling", "/srv/none");
	assert_null(find(&closure, "/srv/data/fifo"));
	assert_int_equal(find(&closure, "/srv/data/empty")->type, FILE_DIRECTORY);
	expect(closure_add_file(&closure, "/srv/none"), NOT_FOUND);
	expect(closure_add_file(&closure, "/srv/data/fifo"), BAD_TYPE);
	expect(closure_add_file(&closure, "relative"), BAD_VALUE);
}

/* A job's folder lies elsewhere on each machine; inside it has one place. */
static void test_mapped_folder(void **state)
{
	(void)state;
	make_root();
	write_file("/home/one/job/run", "#!/bin/sh\n", 10, 0755);
	char full[PATH_SIZE];
	host("/home/one/job", full);
	CLEANUP(closure_free) struct closure closure = {0};
	const char *path;
	expect_ok(closure_new(root, &closure));
	expect(closure_map(&closure, "/tmp", full), BAD_VALUE);
	expect(closure_map(&closure, "job", full), BAD_VALUE);
	expect(closure_map(&closure, "/", full), BAD_VALUE);
	expect(closure_map(&closure, "/job/", full), BAD_VALUE);
	expect(closure_map(&closure, "/job", "home/one/job"), BAD_VALUE);
	expect_ok(closure_map(&closure, "/job", full));
	expect_ok(closure_add_program(&closure, "/job/run", &path));
	expect(closure_map(&closure, "/late", full), BAD_VALUE);
	expect_ok(closure_finish(&closure));
	expect(closure_add_program(&closure, "/job/run", &path), ILLEGAL_STATE);
	assert_string_equal(path, "/job/run");
	const struct manifest_file *file = find(&closure, "/job/run");
	assert_non_null(file);
	assert_true(strncmp(closure.sources[file - closure.files], full, strlen(full)) == 0);
}

static void test_reserved_and_loops(void **state)
{
	(void)state;
	make_root();
	write_file("/tmp/tool", "#!/bin/sh\n", 10, 0755);
	write_link("/srv/a", "b");
	write_link("/srv/b", "a");
	CLEANUP(closure_free) struct closure closure = {0};
	const char *path;
	expect_ok(closure_new(root, &closure));
	expect(closure_add_program(&closure, "/tmp/tool", &path), BAD_VALUE);
	expect(closure_add_file(&closure, "/tmp"), BAD_VALUE);
	expect(closure_add_file(&closure, "/"), BAD_VALUE);
	expect(closure_add_file(&closure, "/srv/a"), BAD_VALUE);
}

/* The closure of a real program of this machine is what the loader says it is (the test may execute it; we may not). */
static void test_against_this_machine(void **state)
{
	(void)state;
	CLEANUP(closure_free) struct closure closure = {0};
	const char *path;
	expect_ok(closure_new("", &closure));
	expect_ok(closure_add_program(&closure, "ls", &path));
	FILE *listed = popen("LC_ALL=C ldd /bin/ls", "re");
	assert_non_null(listed);
	char line[1024], library[512], canonical[PATH_SIZE];
	size_t compared = 0;
	while (fgets(line, sizeof(line), listed)) {
		if (sscanf(line, "%*s => %511s", library) != 1 && sscanf(line, " %511s", library) != 1)
			continue;
		if (library[0] != '/')
			continue;
		assert_non_null(realpath(library, canonical));
		assert_non_null(find(&closure, canonical));
		compared++;
	}
	assert_int_equal(pclose(listed), 0);
	assert_true(compared >= 2);
}

int group_closure(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_dynamic_program), cmocka_unit_test(test_alternatives),
		cmocka_unit_test(test_ld_so_conf), cmocka_unit_test(test_run_paths), cmocka_unit_test(test_scripts),
		cmocka_unit_test(test_missing_library), cmocka_unit_test(test_folders_and_plugins),
		cmocka_unit_test(test_mapped_folder), cmocka_unit_test(test_reserved_and_loops),
		cmocka_unit_test(test_against_this_machine)};
	return cmocka_run_group_tests_name("closure", tests, start, stop);
}
