#include "base/isolate.h"
#include "confined.h"
#include "crypto/hash.h"
#include "enclave/image.h"
#include "expect.h"
#include "groups.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[PATH_SIZE], source[PATH_SIZE + 8], fifo[PATH_SIZE + 8];

static int start(void **state)
{
	(void)state;
	const char *base = getenv("TMPDIR");
	snprintf(folder, sizeof(folder), "%s/test-image-XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(folder))
		return 1;
	snprintf(source, sizeof(source), "%s/data", folder);
	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	return mkfifo(fifo, 0600) != 0 || file_write_atomic(source, span_str("hello"), 0600) != OK;
}

static int stop(void **state)
{
	(void)state;
	return file_remove_tree(AT_FDCWD, folder) != OK;
}

static struct manifest_file regular(const char *path, const char *content)
{
	struct manifest_file file = {
		.path = path, .type = FILE_REGULAR, .mode = 0444, .size = strlen(content), .has_digest = true};
	sha384(span_str(content), file.digest);
	return file;
}

static struct manifest_file link_to(const char *path, const char *target)
{
	return (struct manifest_file){.path = path, .type = FILE_SYMLINK, .mode = 0777, .target = target, .has_target = true};
}

/* What holds inside a good image: 0, or the number of what does not. */
static int look_inside(const struct image *image)
{
	char content[8];
	struct stat status;
	int fd = openat(image->mount.n, "a/b/data", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, content, sizeof(content)) != 5 || memcmp(content, "hello", 5) != 0)
		return 101;
	if (fstat(fd, &status) != 0 || (status.st_mode & 07777) != 0444 || status.st_mtime != 0)
		return 102;
	if (openat(image->mount.n, "a/b/data", O_WRONLY | O_CLOEXEC) >= 0 || errno != EROFS)
		return 103;
	if (openat(image->mount.n, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0 || errno != EROFS)
		return 104;
	return mkdirat(image->mount.n, "new", 0700) == 0 || errno != EROFS ? 105 : 0;
}

/* Builds in a child, which has the rights that a caller of image_build must have. */
static void build(const struct manifest_file *files, const char *from, size_t count, result wanted)
{
	const char *sources[8] = {from, from, from, from, from, from, from, from};
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		alarm(20); /* a FIFO must not hang it */
		struct image image = IMAGE_NONE;
		result outcome = isolate_is_root() ? OK : isolate_enter_namespaces();
		if (outcome == OK)
			outcome = image_build(files, sources, count, &image);
		if (outcome != wanted)
			fprintf(stderr, "%s: %s\n", reason_name(outcome), failure_text());
		_exit(outcome != wanted ? 1 : outcome == OK ? look_inside(&image) : 0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_good(void **state)
{
	(void)state;
	const struct manifest_file files[] = {link_to("/l", "a/b"), regular("/a/b/data", "hello"),
		{.path = "/empty/folder", .type = FILE_DIRECTORY, .mode = 0555}};
	build(files, source, COUNT_OF(files), OK);
}

static void test_mismatches(void **state)
{
	(void)state;
	struct manifest_file other = regular("/data", "hellO"), longer = regular("/data", "hello "),
			     shorter = regular("/data", "hell"), empty = regular("/data", "");
	build(&other, source, 1, MEASUREMENT_MISMATCH);
	build(&longer, source, 1, MEASUREMENT_MISMATCH);
	build(&shorter, source, 1, MEASUREMENT_MISMATCH);
	build(&empty, source, 1, MEASUREMENT_MISMATCH);
	build(&other, fifo, 1, MEASUREMENT_MISMATCH);
	build(&other, folder, 1, MEASUREMENT_MISMATCH);
	build(&other, "/nowhere/at/all", 1, NOT_FOUND);
}

/* A hostile manifest cannot put a file elsewhere than where it says, nor over what process 1 mounts. */
static void test_hostile_manifests(void **state)
{
	(void)state;
	const struct manifest_file behind_link[] = {link_to("/d", "/etc"), regular("/d/passwd", "hello")};
	const struct manifest_file behind_file[] = {regular("/d", "hello"), regular("/d/x", "hello")};
	const struct manifest_file twice[] = {regular("/d", "hello"), regular("/d", "hello")};
	build(behind_link, source, 2, BAD_VALUE);
	build(behind_file, source, 2, BAD_VALUE);
	build(twice, source, 2, ALREADY_EXISTS);
	static const char *const paths[] = {"/proc/x", "/dev/null", "/tmp", "/tmp/x", "/a/../b", "/a//b", "/a/", "/", "a", "", "/./a"};
	for (size_t i = 0; i < COUNT_OF(paths); i++) {
		struct manifest_file file = regular(paths[i], "hello");
		build(&file, source, 1, BAD_VALUE);
	}
	struct manifest_file strange = regular("/a", "hello"), huge = regular("/a", "hello");
	strange.type = 9;
	build(&strange, source, 1, BAD_VALUE);
	huge.size = UINT64_MAX;
	build(&huge, source, 1, TOO_LARGE);
}

int group_image(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_mismatches),
		cmocka_unit_test(test_hostile_manifests)};
	return cmocka_run_group_tests_name("image", tests, start, stop);
}
