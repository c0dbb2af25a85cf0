#include "allocations.h"
#include "base/fault.h"
#include "base/file.h"
#include "expect.h"
#include "groups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[PATH_SIZE];

static int start(void **state)
{
	(void)state;
	const char *base = getenv("TMPDIR");
	snprintf(folder, sizeof(folder), "%s/test-base-XXXXXX", base ? base : "/tmp");
	return mkdtemp(folder) == NULL;
}

static int stop(void **state)
{
	(void)state;
	return file_remove_tree(AT_FDCWD, folder) != OK || access(folder, F_OK) == 0;
}

/* A path in the folder of this group; valid until the third call after it. */
static const char *at(const char *name)
{
	static char paths[4][PATH_SIZE];
	static unsigned next;
	char *path = paths[next++ % 4];
	expect_ok(path_join(path, folder, name));
	return path;
}

static size_t count_entries(const char *path)
{
	size_t count = 0;
	DIR *listing = opendir(path);
	assert_non_null(listing);
	for (const struct dirent *entry; (entry = readdir(listing));)
		count += path_name_ok(entry->d_name);
	closedir(listing);
	return count;
}

static void descriptors_are_owned(void **state)
{
	(void)state;
	struct fd ends[2];
	expect_ok(fd_pipe(ends));
	assert_int_equal(fcntl(ends[0].n, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(ends[1].n, F_GETFD), FD_CLOEXEC);
	struct fd moved = fd_move(&ends[0]);
	assert_int_equal(ends[0].n, -1);
	struct fd copy = FD_NONE;
	expect_ok(fd_duplicate(moved.n, &copy));
	assert_int_equal(fcntl(copy.n, F_GETFD), FD_CLOEXEC);
	errno = 77;
	int number = moved.n;
	fd_close(&moved);
	assert_int_equal(errno, 77);
	assert_int_equal(moved.n, -1);
	assert_int_equal(fcntl(number, F_GETFD), -1);
	fd_close(&moved);
	fd_close(&copy);
	fd_close(&ends[1]);
	fd_close(NULL);
	expect(fd_duplicate(-1, &copy), IO_ERROR);
}

static void a_file_is_written_and_read_back(void **state)
{
	(void)state;
	struct stat info;
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	umask(077);
	expect_ok(file_write_atomic(at("one"), span_str("first"), 0644));
	umask(022);
	assert_int_equal(stat(at("one"), &info), 0);
	assert_int_equal(info.st_mode & 07777, 0644);
	expect_ok(file_write_atomic(at("one"), span_str("second"), 0600));
	assert_int_equal(stat(at("one"), &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	expect_ok(file_read(at("one"), 6, &content));
	expect_span(bytes_span(&content), span_str("second"));
	bytes_free(&content);
	expect(file_read(at("one"), 5, &content), TOO_LARGE);
	assert_null(content.data);
	expect_ok(file_write_atomic(at("empty"), SPAN_EMPTY, 0600));
	expect_ok(file_read(at("empty"), 0, &content));
	assert_int_equal(content.len, 0);
	assert_int_equal(count_entries(folder), 2);
}

static void large_files_are_read_whole(void **state)
{
	enum { SIZE = 300 * 1024 + 7 };
	uint8_t *data = malloc(SIZE);
	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(i * 31);
	expect_ok(file_write_atomic(at("large"), span_of(data, SIZE), 0600));
	static const size_t limits[] = {SIZE, SIZE + 1, SIZE * 4, SIZE_MAX};
	for (size_t i = 0; i < COUNT_OF(limits); i++) {
		CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
		expect_ok(file_read(at("large"), limits[i], &content));
		expect_span(bytes_span(&content), span_of(data, SIZE));
	}
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	expect(file_read(at("large"), SIZE - 1, &content), TOO_LARGE);
	free(data);
}

static void a_claimed_size_allocates_nothing(void **state)
{
	(void)state;
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	expect_ok(file_open(at("sparse"), O_RDWR | O_CREAT, 0600, &fd));
	assert_int_equal(ftruncate(fd.n, (off_t)1 << 40), 0); /* 1 TiB that is not there */
	expect(file_read(at("sparse"), 1 << 20, &content), TOO_LARGE);
	/* A file that says it is empty and is not. */
	expect_ok(file_read("/proc/self/status", 1 << 20, &content));
	assert_true(content.len > 100);
}

static void what_is_no_file_is_refused(void **state)
{
	(void)state;
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	assert_int_equal(mkfifo(at("fifo"), 0600), 0);
	expect(file_read(at("fifo"), 10, &content), BAD_TYPE); /* without waiting for a writer */
	expect(file_read("/dev/zero", 10, &content), BAD_TYPE);
	expect(file_read(folder, 10, &content), BAD_TYPE);
	expect(file_read(at("missing"), 10, &content), NOT_FOUND);
	expect(file_read(at("one/below"), 10, &content), NOT_FOUND);
	assert_null(content.data);
}

static void streams_are_read_to_their_end(void **state)
{
	(void)state;
	struct fd ends[2];
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	expect_ok(fd_pipe(ends));
	expect_ok(write_all(ends[1].n, span_str("piped")));
	fd_close(&ends[1]);
	expect_ok(file_read_stream(ends[0].n, 5, &content));
	expect_span(bytes_span(&content), span_str("piped"));
	fd_close(&ends[0]);
	CLEANUP(fd_close) struct fd zero = FD_NONE;
	CLEANUP(bytes_free) struct bytes none = BYTES_EMPTY;
	expect_ok(file_open("/dev/zero", O_RDONLY, 0, &zero));
	expect(file_read_stream(zero.n, 200000, &none), TOO_LARGE);
}

static void secrets_come_through_a_pipe(void **state)
{
	(void)state;
	struct fd ends[2];
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	expect_ok(fd_pipe(ends));
	expect_ok(write_all(ends[1].n, span_str("key")));
	fd_close(&ends[1]);
	expect_ok(file_read_secret(ends[0].n, 3, &secret));
	expect_span(secret_span(&secret), span_str("key"));
	secret_free(&secret);
	expect(file_read_secret(ends[0].n, 3, &secret), BAD_VALUE); /* nothing is left */
	fd_close(&ends[0]);
	expect_ok(fd_pipe(ends));
	expect_ok(write_all(ends[1].n, span_str("long")));
	fd_close(&ends[1]);
	expect(file_read_secret(ends[0].n, 3, &secret), TOO_LARGE);
	assert_null(secret.data);
	fd_close(&ends[0]);
}

static void transfers_are_whole(void **state)
{
	(void)state;
	uint8_t back[6] = {0};
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	expect_ok(file_open(at("transfer"), O_RDWR | O_CREAT, 0600, &fd));
	expect_ok(file_pwrite(fd.n, span_str("abcdef"), 10));
	expect_ok(file_pread(fd.n, back, 6, 10));
	assert_memory_equal(back, "abcdef", 6);
	expect(file_pread(fd.n, back, 6, 11), TRUNCATED);
	assert_int_equal(lseek(fd.n, 10, SEEK_SET), 10);
	expect_ok(read_full(fd.n, back, 6));
	expect(read_full(fd.n, back, 1), TRUNCATED);
	expect_ok(read_full(fd.n, back, 0));
	expect(write_all(-1, span_str("a")), IO_ERROR);
	expect_ok(write_all(-1, SPAN_EMPTY));
	struct fd full = FD_NONE;
	expect_ok(file_open("/dev/full", O_WRONLY, 0, &full));
	expect(write_all(full.n, span_str("a")), DISK_FULL);
	fd_close(&full);
}

/* Fails each step of an atomic write in turn: the old or the new content is there, and no temporary file. */
static void an_atomic_write_is_all_or_nothing(void **state)
{
	(void)state;
	static const int errors[] = {EIO, ENOSPC};
	for (size_t e = 0; e < COUNT_OF(errors); e++) {
		unsigned fired = 1;
		for (unsigned countdown = 1; fired; countdown++) {
			expect_ok(file_write_atomic(at("sub"), span_str("old"), 0600));
			size_t before = count_entries(folder);
			fault_arm(NULL, countdown, errors[e], false);
			result written = file_write_atomic(at("sub"), span_str("newer"), 0600);
			fired = fault_disarm();
			CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
			expect_ok(file_read(at("sub"), 100, &content));
			assert_int_equal(count_entries(folder), before);
			if (!fired) {
				expect_ok(written);
				assert_true(countdown > 5);
			} else {
				expect(written, errors[e] == EIO ? IO_ERROR : DISK_FULL);
			}
			if (written == OK)
				expect_span(bytes_span(&content), span_str("newer"));
			else
				assert_true(span_equal_str(bytes_span(&content), "old") || span_equal_str(bytes_span(&content), "newer"));
		}
	}
}

static void a_link_is_replaced_not_followed(void **state)
{
	(void)state;
	struct stat info;
	expect_ok(file_write_atomic(at("target"), span_str("safe"), 0600));
	assert_int_equal(symlink("target", at("link")), 0);
	expect_ok(file_write_atomic(at("link"), span_str("new"), 0600));
	assert_int_equal(lstat(at("link"), &info), 0);
	assert_true(S_ISREG(info.st_mode));
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	expect_ok(file_read(at("target"), 10, &content));
	expect_span(bytes_span(&content), span_str("safe"));
}

static void names_that_name_no_file_are_refused(void **state)
{
	(void)state;
	expect(file_write_atomic("", SPAN_EMPTY, 0600), BAD_VALUE);
	expect(file_write_atomic("/", SPAN_EMPTY, 0600), BAD_VALUE);
	expect(file_write_atomic(at(".."), SPAN_EMPTY, 0600), BAD_VALUE);
	expect(file_write_atomic(at("missing/x"), SPAN_EMPTY, 0600), NOT_FOUND);
	expect(file_write_atomic_at(AT_FDCWD, "a/b", SPAN_EMPTY, 0600), BAD_VALUE);
	expect(file_write_atomic_at(AT_FDCWD, ".", SPAN_EMPTY, 0600), BAD_VALUE);
}

static void renames_are_durable_and_exclusive(void **state)
{
	(void)state;
	expect_ok(file_write_atomic(at("from"), span_str("1"), 0600));
	expect_ok(file_write_atomic(at("to"), span_str("2"), 0600));
	expect(file_rename_durable(at("from"), at("to"), RENAME_NOREPLACE), ALREADY_EXISTS);
	expect_ok(file_rename_durable(at("from"), at("to"), 0));
	expect(file_rename_durable(at("from"), at("to"), 0), NOT_FOUND);
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	expect_ok(file_read(at("to"), 10, &content));
	expect_span(bytes_span(&content), span_str("1"));
}

static void folders_are_made_with_their_mode(void **state)
{
	(void)state;
	struct stat info;
	umask(077);
	expect_ok(file_make_dirs(at("a/b//c/"), 0755));
	umask(022);
	assert_int_equal(stat(at("a/b/c"), &info), 0);
	assert_int_equal(info.st_mode & 07777, 0755);
	assert_int_equal(chmod(at("a"), 0700), 0);
	expect_ok(file_make_dirs(at("a/b"), 0755));
	assert_int_equal(stat(at("a"), &info), 0);
	assert_int_equal(info.st_mode & 07777, 0700); /* what was there stays as it was */
	expect_ok(file_write_atomic(at("plain"), SPAN_EMPTY, 0600));
	expect(file_make_dirs(at("plain/x"), 0755), ALREADY_EXISTS);
	expect(file_make_dirs("", 0755), NOT_FOUND);
}

static void a_lock_is_exclusive(void **state)
{
	(void)state;
	struct fd first = FD_NONE, second = FD_NONE;
	expect_ok(file_lock(at("lock"), &first));
	expect(file_lock(at("lock"), &second), BUSY);
	assert_int_equal(second.n, -1);
	fd_close(&first);
	expect_ok(file_lock(at("lock"), &second));
	fd_close(&second);
	expect(file_lock(at("no/lock"), &second), NOT_FOUND);
}

static void a_tree_is_removed_and_nothing_else(void **state)
{
	(void)state;
	expect_ok(file_make_dirs(at("tree/x/y"), 0755));
	expect_ok(file_make_dirs(at("outside"), 0755));
	expect_ok(file_write_atomic(at("outside/kept"), span_str("1"), 0600));
	expect_ok(file_write_atomic(at("tree/x/file"), span_str("1"), 0400));
	assert_int_equal(symlink(at("outside"), at("tree/x/link")), 0);
	assert_int_equal(symlink("/nowhere", at("tree/dangling")), 0);
	assert_int_equal(mkfifo(at("tree/fifo"), 0600), 0);
	assert_int_equal(symlink(at("outside"), at("link2")), 0);
	expect_ok(file_remove_tree(AT_FDCWD, at("tree")));
	assert_int_equal(access(at("tree"), F_OK), -1);
	expect_ok(file_remove_tree(AT_FDCWD, at("link2"))); /* the link alone */
	assert_int_equal(access(at("outside/kept"), F_OK), 0);
	expect_ok(file_remove_tree(AT_FDCWD, at("tree")));
	expect_ok(file_remove_tree(AT_FDCWD, at("outside/kept")));
	assert_int_equal(access(at("outside"), F_OK), 0);
	/* Another file system: refused whole. */
	expect(file_remove_tree(AT_FDCWD, "/proc"), NOT_SUPPORTED);
}

static void copies_have_a_limit(void **state)
{
	(void)state;
	uint64_t copied = 0;
	static const char text[] = "0123456789";
	expect_ok(file_write_atomic(at("source"), span_str(text), 0600));
	for (int by_hand = 0; by_hand < 2; by_hand++) {
		CLEANUP(fd_close) struct fd from = FD_NONE;
		CLEANUP(fd_close) struct fd to = FD_NONE;
		CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
		expect_ok(file_open(at("source"), O_RDONLY, 0, &from));
		expect_ok(file_open(at("copy"), O_WRONLY | O_CREAT | O_TRUNC, 0600, &to));
		if (by_hand)
			fault_arm("file.copy", 1, EXDEV, true);
		expect_ok(file_copy(from.n, to.n, 10, &copied));
		assert_true(copied == 10);
		expect_ok(file_read(at("copy"), 100, &content));
		expect_span(bytes_span(&content), span_str(text));
		assert_int_equal(lseek(from.n, 0, SEEK_SET), 0);
		expect(file_copy(from.n, to.n, 9, NULL), TOO_LARGE);
		fault_disarm();
	}
	struct fd ends[2];
	expect_ok(fd_pipe(ends));
	CLEANUP(fd_close) struct fd from = FD_NONE;
	expect_ok(file_open(at("source"), O_RDONLY, 0, &from));
	expect_ok(file_copy(from.n, ends[1].n, 10, &copied));
	assert_true(copied == 10);
	fault_arm("file.copy", 1, ENOSPC, false);
	expect(file_copy(from.n, ends[1].n, 10, &copied), DISK_FULL);
	fault_disarm();
	fd_close(&ends[0]);
	fd_close(&ends[1]);
}

static void paths_are_joined_within_bounds(void **state)
{
	(void)state;
	char out[PATH_SIZE], name[PATH_SIZE + 10];
	expect_ok(path_join(out, "a", "b"));
	assert_string_equal(out, "a/b");
	expect_ok(path_join(out, out, "c"));
	assert_string_equal(out, "a/b/c");
	expect_ok(path_join(out, "a/", "b"));
	assert_string_equal(out, "a/b");
	expect_ok(path_join(out, "a", "/b"));
	assert_string_equal(out, "/b");
	expect_ok(path_join(out, "", "b"));
	assert_string_equal(out, "b");
	memset(name, 'x', sizeof(name));
	name[PATH_SIZE - 3] = '\0';
	expect_ok(path_join(out, "a", name));
	assert_int_equal(strlen(out), PATH_SIZE - 1);
	name[PATH_SIZE - 3] = 'x';
	name[PATH_SIZE - 2] = '\0';
	expect(path_join(out, "a", name), TOO_LARGE);
	assert_true(path_name_ok("a"));
	assert_true(path_name_ok("..."));
	static const char *const wrong[] = {"", ".", "..", "a/b", "/"};
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		assert_false(path_name_ok(wrong[i]));
	name[256] = '\0';
	assert_false(path_name_ok(name));
}

static void reading_survives_no_memory(void **state)
{
	(void)state;
	for (unsigned countdown = 1;; countdown++) {
		CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
		CLEANUP(fd_close) struct fd fd = FD_NONE;
		expect_ok(file_open(at("large"), O_RDONLY, 0, &fd));
		allocations_fail(countdown);
		result read = file_read_fd(fd.n, 1 << 20, &content);
		if (!allocations_restore()) {
			expect_ok(read);
			assert_true(countdown > 2);
			return;
		}
		expect(read, NO_MEMORY);
		assert_null(content.data);
	}
}

int group_file(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptors_are_owned),
		cmocka_unit_test(a_file_is_written_and_read_back),
		cmocka_unit_test(large_files_are_read_whole),
		cmocka_unit_test(a_claimed_size_allocates_nothing),
		cmocka_unit_test(what_is_no_file_is_refused),
		cmocka_unit_test(streams_are_read_to_their_end),
		cmocka_unit_test(secrets_come_through_a_pipe),
		cmocka_unit_test(transfers_are_whole),
		cmocka_unit_test(an_atomic_write_is_all_or_nothing),
		cmocka_unit_test(a_link_is_replaced_not_followed),
		cmocka_unit_test(names_that_name_no_file_are_refused),
		cmocka_unit_test(renames_are_durable_and_exclusive),
		cmocka_unit_test(folders_are_made_with_their_mode),
		cmocka_unit_test(a_lock_is_exclusive),
		cmocka_unit_test(a_tree_is_removed_and_nothing_else),
		cmocka_unit_test(copies_have_a_limit),
		cmocka_unit_test(paths_are_joined_within_bounds),
		cmocka_unit_test(reading_survives_no_memory),
	};
	return cmocka_run_group_tests_name("file", tests, start, stop);
}
