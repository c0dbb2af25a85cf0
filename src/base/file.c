#include "base/file.h"

#include "base/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_STEP = 64 * 1024, COPY_STEP = 1 << 30 };

/* Descriptors */

void fd_close(struct fd *fd)
{
	if (!fd || fd->n < 0)
		return;
	int saved = errno;
	/* Linux closes the descriptor even when it reports EINTR. */
	(void)close(fd->n);
	errno = saved;
	fd->n = -1;
}

result fd_duplicate(int fd, struct fd *out)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return fail_errno("duplicating descriptor %d", fd);
	*out = fd_of(copy);
	return OK;
}

result fd_pipe(struct fd out[static 2])
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail_errno("making a pipe");
	out[0] = fd_of(ends[0]);
	out[1] = fd_of(ends[1]);
	return OK;
}

/* Transfers */

result write_all(int fd, struct span bytes)
{
	while (bytes.len) {
		ssize_t n = fault_hit("file.write") ? -1 : write(fd, bytes.data, bytes.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno("writing");
		bytes = span_of(bytes.data + n, bytes.len - (size_t)n);
	}
	return OK;
}

result read_full(int fd, void *out, size_t len)
{
	uint8_t *at = out;
	while (len) {
		ssize_t n = read(fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno("reading");
		if (n == 0)
			return fail(TRUNCATED, "the end came %zu bytes early", len);
		at += n;
		len -= (size_t)n;
	}
	return OK;
}

result file_pwrite(int fd, struct span bytes, uint64_t offset)
{
	while (bytes.len) {
		ssize_t n = fault_hit("file.pwrite") ? -1 : pwrite(fd, bytes.data, bytes.len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno("writing at offset %llu", (unsigned long long)offset);
		bytes = span_of(bytes.data + n, bytes.len - (size_t)n);
		offset += (uint64_t)n;
	}
	return OK;
}

result file_pread(int fd, void *out, size_t len, uint64_t offset)
{
	uint8_t *at = out;
	while (len) {
		ssize_t n = pread(fd, at, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno("reading at offset %llu", (unsigned long long)offset);
		if (n == 0)
			return fail(TRUNCATED, "the file ends %zu bytes early", len);
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return OK;
}

/* Opening */

result file_open_at(int dir, const char *name, int flags, mode_t mode, struct fd *out)
{
	int fd;
	do
		fd = fault_hit("file.open") ? -1 : openat(dir, name, flags | O_CLOEXEC | O_NOCTTY, mode);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return fail_errno("opening %s", name);
	*out = fd_of(fd);
	return OK;
}

result file_open(const char *path, int flags, mode_t mode, struct fd *out)
{
	return file_open_at(AT_FDCWD, path, flags, mode, out);
}

/* Reading */

static result require_regular(int fd)
{
	struct stat info;
	if (fstat(fd, &info) < 0)
		return fail_errno("looking at a file");
	if (!S_ISREG(info.st_mode))
		return fail(BAD_TYPE, "it is not a regular file");
	return OK;
}

/* read(2) until `len` bytes are there or the end comes. */
static result read_some(int fd, uint8_t *out, size_t len, size_t *out_len)
{
	size_t got = 0;
	while (got < len) {
		ssize_t n = fault_hit("file.read") ? -1 : read(fd, out + got, len - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno("reading");
		if (n == 0)
			break;
		got += (size_t)n;
	}
	*out_len = got;
	return OK;
}

result file_read_stream(int fd, size_t max, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	size_t cap = 0, got;
	do {
		/* Grows with what has really arrived, and by one byte past `max` to see whether there is more. */
		size_t limit = max < SIZE_MAX ? max + 1 : max;
		cap = cap == 0 ? READ_STEP : cap > limit / 2 ? limit : cap * 2;
		if (cap > limit)
			cap = limit;
		uint8_t *data = realloc(content.data, cap);
		if (!data)
			return fail(NO_MEMORY, "%zu bytes", cap);
		content.data = data;
		TRY(read_some(fd, content.data + content.len, cap - content.len, &got));
		content.len += got;
		if (content.len > max)
			return fail(TOO_LARGE, "more than %zu bytes", max);
	} while (content.len == cap);
	*out = bytes_move(&content);
	return OK;
}

result file_read_fd(int fd, size_t max, struct bytes *out)
{
	TRY(require_regular(fd));
	return file_read_stream(fd, max, out);
}

result file_read(const char *path, size_t max, struct bytes *out)
{
	/* O_NONBLOCK: opening a FIFO must not wait for a writer before it can be refused. */
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	TRY(file_open(path, O_RDONLY | O_NONBLOCK, 0, &fd));
	result read = file_read_fd(fd.n, max, out);
	return read == OK ? OK : fail_within(read, "%s", path);
}

result file_read_secret(int fd, size_t max, struct secret *out)
{
	CLEANUP(secret_free) struct secret all = SECRET_EMPTY;
	size_t got;
	TRY(secret_new(max + 1, &all));
	TRY(read_some(fd, all.data, all.len, &got));
	if (got > max)
		return fail(TOO_LARGE, "a secret of more than %zu bytes", max);
	if (got == 0)
		return fail(BAD_VALUE, "the secret is empty");
	return secret_copy(span_of(all.data, got), out);
}

/* Folders and paths */

result path_join(char out[static PATH_SIZE], const char *dir, const char *name)
{
	bool alone = name[0] == '/' || dir[0] == '\0';
	size_t dir_len = alone ? 0 : strlen(dir), name_len = strlen(name);
	size_t slash = dir_len && dir[dir_len - 1] != '/' ? 1 : 0;
	if (dir_len >= PATH_SIZE || name_len >= PATH_SIZE || dir_len + slash + name_len >= PATH_SIZE)
		return fail(TOO_LARGE, "a path of more than %d bytes", PATH_SIZE - 1);
	/* memmove: `dir` may be `out`, so that a path grows in place. */
	memmove(out, dir, dir_len);
	if (slash)
		out[dir_len] = '/';
	memcpy(out + dir_len + slash, name, name_len + 1);
	return OK;
}

bool path_name_ok(const char *name)
{
	size_t len = strlen(name);
	return len > 0 && len <= NAME_MAX && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Splits off the last component: "a/b" gives "a" and "b", "b" gives "." and "b". */
static result split_path(const char *path, char out_dir[static PATH_SIZE], const char **out_name)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t dir_len = slash ? (size_t)(slash - path) : 0;
	if (!path_name_ok(name))
		return fail(BAD_VALUE, "'%s' does not name a file", path);
	if (dir_len >= PATH_SIZE)
		return fail(TOO_LARGE, "a path of more than %d bytes", PATH_SIZE - 1);
	if (slash == path)
		memcpy(out_dir, "/", sizeof("/"));
	else if (!slash)
		memcpy(out_dir, ".", sizeof("."));
	else
		memcpy(out_dir, path, dir_len), out_dir[dir_len] = '\0';
	*out_name = name;
	return OK;
}

static result open_folder(const char *path, struct fd *out)
{
	return file_open(path, O_RDONLY | O_DIRECTORY, 0, out);
}

static result sync_fd(int fd, const char *what)
{
	int synced;
	do
		synced = fault_hit("file.fsync") ? -1 : fsync(fd);
	while (synced < 0 && errno == EINTR);
	return synced < 0 ? fail_errno("making %s durable", what) : OK;
}

result file_sync_folder(const char *path)
{
	CLEANUP(fd_close) struct fd dir = FD_NONE;
	TRY(open_folder(path, &dir));
	return sync_fd(dir.n, path);
}

/* One folder, and its mode made exact if it was made here. */
static result make_dir(const char *path, mode_t mode)
{
	if (mkdir(path, mode & 07777) < 0) {
		struct stat info;
		if (errno != EEXIST)
			return fail_errno("making the folder %s", path);
		if (stat(path, &info) < 0)
			return fail_errno("looking at %s", path);
		return S_ISDIR(info.st_mode) ? OK : fail(ALREADY_EXISTS, "%s is not a folder", path);
	}
	if (chmod(path, mode) < 0)
		return fail_errno("setting the mode of %s", path);
	return OK;
}

result file_make_dirs(const char *path, mode_t mode)
{
	char partial[PATH_SIZE];
	TRY(path_join(partial, "", path));
	for (char *at = partial + 1; *partial && *at; at++) {
		if (*at != '/' || at[-1] == '/')
			continue;
		*at = '\0';
		TRY(make_dir(partial, mode));
		*at = '/';
	}
	return make_dir(partial, mode);
}

/* Durable replacement */

enum { TEMP_NAME_SIZE = 40 };

static result temp_name(char out[static TEMP_NAME_SIZE])
{
	uint64_t random[2];
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return fail_errno("drawing a random name");
	snprintf(out, TEMP_NAME_SIZE, ".tmp-%016llx%016llx", (unsigned long long)random[0], (unsigned long long)random[1]);
	return OK;
}

static result fill_temp(int dir, const char *temp, struct span content, mode_t mode)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	TRY(file_open_at(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, &fd));
	TRY(write_all(fd.n, content));
	if (fault_hit("file.chmod") || fchmod(fd.n, mode) < 0)
		return fail_errno("setting the mode");
	return sync_fd(fd.n, "the file");
}

static result replace_with_temp(int dir, const char *temp, const char *name)
{
	if (fault_hit("file.rename") || renameat(dir, temp, dir, name) < 0)
		return fail_errno("renaming the new file");
	return OK;
}

result file_write_atomic_at(int dir, const char *name, struct span content, mode_t mode)
{
	char temp[TEMP_NAME_SIZE];
	if (!path_name_ok(name))
		return fail(BAD_VALUE, "'%s' does not name a file", name);
	TRY(temp_name(temp));
	result written = fill_temp(dir, temp, content, mode);
	if (written == OK)
		written = replace_with_temp(dir, temp, name);
	if (written != OK) {
		(void)unlinkat(dir, temp, 0);
		return fail_within(written, "writing %s", name);
	}
	return sync_fd(dir, "the folder");
}

result file_write_atomic(const char *path, struct span content, mode_t mode)
{
	char folder[PATH_SIZE];
	const char *name;
	CLEANUP(fd_close) struct fd dir = FD_NONE;
	TRY(split_path(path, folder, &name));
	TRY(open_folder(folder, &dir));
	return file_write_atomic_at(dir.n, name, content, mode);
}

result file_rename_durable(const char *from, const char *to, unsigned flags)
{
	char from_folder[PATH_SIZE], to_folder[PATH_SIZE];
	const char *from_name, *to_name;
	CLEANUP(fd_close) struct fd from_dir = FD_NONE;
	CLEANUP(fd_close) struct fd to_dir = FD_NONE;
	TRY(split_path(from, from_folder, &from_name));
	TRY(split_path(to, to_folder, &to_name));
	TRY(open_folder(from_folder, &from_dir));
	TRY(open_folder(to_folder, &to_dir));
	if (fault_hit("file.rename") || renameat2(from_dir.n, from_name, to_dir.n, to_name, flags) < 0)
		return fail_errno("renaming %s to %s", from, to);
	TRY(sync_fd(to_dir.n, to_folder));
	return sync_fd(from_dir.n, from_folder);
}

/* Locking */

result file_lock(const char *path, struct fd *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	TRY(file_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, &fd));
	int locked;
	do
		locked = flock(fd.n, LOCK_EX | LOCK_NB);
	while (locked < 0 && errno == EINTR);
	if (locked < 0 && errno == EWOULDBLOCK)
		return fail(BUSY, "%s is locked", path);
	if (locked < 0)
		return fail_errno("locking %s", path);
	*out = fd_move(&fd);
	return OK;
}

/* Removing */

enum { TREE_DEPTH_MAX = 256 };

static result remove_entries(int dir, dev_t device, unsigned depth);

static result remove_folder(int parent, const char *name, dev_t device, unsigned depth)
{
	struct stat info;
	CLEANUP(fd_close) struct fd dir = FD_NONE;
	if (depth == 0)
		return fail(TOO_DEEP, "folders are nested more than %d deep", TREE_DEPTH_MAX);
	TRY(file_open_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &dir));
	if (fstat(dir.n, &info) < 0)
		return fail_errno("looking at %s", name);
	if (info.st_dev != device)
		return fail(NOT_SUPPORTED, "%s is another file system; unmount it first", name);
	TRY(remove_entries(dir.n, device, depth - 1));
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return fail_errno("removing the folder %s", name);
	return OK;
}

static result remove_entry(int parent, const char *name, dev_t device, unsigned depth)
{
	struct stat info;
	if (fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? OK : fail_errno("looking at %s", name);
	if (S_ISDIR(info.st_mode))
		return remove_folder(parent, name, device, depth);
	if (unlinkat(parent, name, 0) < 0 && errno != ENOENT)
		return fail_errno("removing %s", name);
	return OK;
}

static void close_listing(DIR **listing)
{
	if (*listing)
		closedir(*listing);
}

static result remove_entries(int dir, dev_t device, unsigned depth)
{
	CLEANUP(fd_close) struct fd copy = FD_NONE;
	TRY(file_open_at(dir, ".", O_RDONLY | O_DIRECTORY, 0, &copy));
	CLEANUP(close_listing) DIR *listing = fdopendir(copy.n);
	if (!listing)
		return fail_errno("listing a folder");
	copy = FD_NONE; /* transferred */
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(listing);
		if (!entry && errno)
			return fail_errno("listing a folder");
		if (!entry)
			return OK;
		if (path_name_ok(entry->d_name))
			TRY(remove_entry(dir, entry->d_name, device, depth));
	}
}

result file_remove_tree(int dir, const char *name)
{
	struct stat info;
	if (fstatat(dir, name, &info, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? OK : fail_errno("looking at %s", name);
	struct stat parent = info;
	if (S_ISDIR(info.st_mode)) {
		/* A mount point itself has another device than the folder that it lies in. */
		char above[PATH_SIZE];
		TRY(path_join(above, name, ".."));
		if (fstatat(dir, above, &parent, 0) < 0)
			return fail_errno("looking at %s", above);
	}
	return remove_entry(dir, name, parent.st_dev, TREE_DEPTH_MAX);
}

/* Copying */

static result copy_by_hand(int from, int to, uint64_t max, uint64_t *copied)
{
	uint8_t block[16 * 1024];
	for (;;) {
		size_t got;
		TRY(read_some(from, block, sizeof(block), &got));
		if (got == 0)
			return OK;
		if (got > max - *copied)
			return fail(TOO_LARGE, "more than %llu bytes", (unsigned long long)max);
		TRY(write_all(to, span_of(block, got)));
		*copied += got;
	}
}

result file_copy(int from, int to, uint64_t max, uint64_t *out_copied)
{
	uint64_t copied = 0;
	/* The kernel's copy while it works; whatever it cannot do, and the end of the file, goes by hand. */
	while (copied < max) {
		size_t step = max - copied < COPY_STEP ? (size_t)(max - copied) : COPY_STEP;
		ssize_t n = fault_hit("file.copy") ? -1 : copy_file_range(from, NULL, to, NULL, step, 0);
		if (n < 0 && (errno == ENOSPC || errno == EIO || errno == EDQUOT))
			return fail_errno("copying");
		if (n <= 0)
			break;
		copied += (uint64_t)n;
	}
	TRY(copy_by_hand(from, to, max, &copied));
	if (out_copied)
		*out_copied = copied;
	return OK;
}
