/*
 * Files: bounded reads, durable atomic writes, locks, folders. Every descriptor is close-on-exec, EINTR is
 * handled here, and nothing allocates from a size that a file claims to have.
 *
 * `struct fd` owns a descriptor: declare it FD_NONE with CLEANUP(fd_close), hand it over with fd_move. A plain
 * `int fd` parameter is borrowed.
 *
 * Failures are those of errno (NOT_FOUND, NO_PERMISSION, DISK_FULL, ...) plus the ones named below.
 */
#ifndef TROTH_BASE_FILE_H
#define TROTH_BASE_FILE_H

#include "base/bytes.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/span.h"

#include <sys/types.h>

struct fd {
	int n; /* -1 when empty */
};

#define FD_NONE ((struct fd){-1})

static inline struct fd fd_of(int n)
{
	return (struct fd){n};
}

void fd_close(struct fd *fd); /* accepts NULL and empty; leaves it empty; keeps errno */

static inline struct fd fd_move(struct fd *from)
{
	struct fd taken = *from;
	*from = FD_NONE;
	return taken;
}

NODISCARD result fd_duplicate(int fd, struct fd *out); /* close-on-exec */
NODISCARD result fd_pipe(struct fd out[static 2]); /* close-on-exec; [0] reads, [1] writes */

/* Whole transfers. read_full and file_pread: TRUNCATED when the end comes first. */
NODISCARD result write_all(int fd, struct span bytes);
NODISCARD result read_full(int fd, void *out, size_t len);
NODISCARD result file_pwrite(int fd, struct span bytes, uint64_t offset);
NODISCARD result file_pread(int fd, void *out, size_t len, uint64_t offset);

/* open(2) / openat(2) with O_CLOEXEC and O_NOCTTY; `mode` counts only with O_CREAT. */
NODISCARD result file_open(const char *path, int flags, mode_t mode, struct fd *out);
NODISCARD result file_open_at(int dir, const char *name, int flags, mode_t mode, struct fd *out);

/*
 * The whole content, at most `max` bytes (TOO_LARGE beyond). file_read and file_read_fd refuse what is not a
 * regular file with BAD_TYPE, so that a FIFO or device in the path cannot hang or flood the reader;
 * file_read_stream reads anything to its end. They read from the descriptor's current position.
 */
NODISCARD result file_read(const char *path, size_t max, struct bytes *out);
NODISCARD result file_read_fd(int fd, size_t max, struct bytes *out);
NODISCARD result file_read_stream(int fd, size_t max, struct bytes *out);

/* The same into secret memory, from any kind of file; no copy stays outside. BAD_VALUE when it is empty. */
NODISCARD result file_read_secret(int fd, size_t max, struct secret *out);

/*
 * Replaces `path` durably: after OK the new content survives power loss, after a failure or crash the old or
 * the new content is there, whole. Temporary file beside it, fsync, rename, fsync of the folder. `mode` is exact
 * (the umask does not count). A symbolic link at `path` is replaced, not followed.
 */
NODISCARD result file_write_atomic(const char *path, struct span content, mode_t mode);
NODISCARD result file_write_atomic_at(int dir, const char *name, struct span content, mode_t mode);

/* renameat2 with `flags` (0, RENAME_NOREPLACE, RENAME_EXCHANGE), then fsync of both parent folders. */
NODISCARD result file_rename_durable(const char *from, const char *to, unsigned flags);
NODISCARD result file_sync_folder(const char *path);

/* Makes every missing folder of `path` with exactly `mode`; existing ones are left as they are. */
NODISCARD result file_make_dirs(const char *path, mode_t mode);

/* Opens (0600, created when missing) and locks with flock; held until the fd is closed. BUSY when held. */
NODISCARD result file_lock(const char *path, struct fd *out);

/*
 * Removes `name` in the folder `dir` (AT_FDCWD for a path) and everything below it. Never follows a symbolic
 * link and refuses to cross into another file system (NOT_SUPPORTED). OK when there is nothing.
 */
NODISCARD result file_remove_tree(int dir, const char *name);

/* Copies from one position to another until the end; more than `max` bytes: TOO_LARGE. out_copied may be NULL. */
NODISCARD result file_copy(int from, int to, uint64_t max, uint64_t *out_copied);

enum { PATH_SIZE = 4096 };

/* "dir/name"; `name` alone when it is absolute or `dir` is empty. TOO_LARGE. */
NODISCARD result path_join(char out[static PATH_SIZE], const char *dir, const char *name);

/* One component: not empty, not "." or "..", no '/', at most 255 bytes. */
bool path_name_ok(const char *name);

#endif
