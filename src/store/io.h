/*
 * The system calls that durable state is made of, as a table, so that a test can record every one of them and
 * replay what a crash may leave. Each entry behaves as the call of its name: -1 and errno on failure.
 */
#ifndef TROTH_STORE_IO_H
#define TROTH_STORE_IO_H

#include "base/compat.h"

#include <sys/types.h>

struct store_io {
	void *ctx; /* handed to every call */
	int (*open_at)(void *ctx, int dir, const char *name, int flags, mode_t mode);
	int (*close)(void *ctx, int fd);
	int (*lock)(void *ctx, int fd); /* flock(LOCK_EX | LOCK_NB) */
	ssize_t (*pread)(void *ctx, int fd, void *out, size_t len, off_t offset);
	ssize_t (*pwrite)(void *ctx, int fd, const void *data, size_t len, off_t offset);
	int (*data_sync)(void *ctx, int fd); /* fdatasync */
	int (*sync)(void *ctx, int fd); /* fsync; also of a folder */
	int (*truncate)(void *ctx, int fd, off_t size);
	int (*allocate)(void *ctx, int fd, off_t offset, off_t len); /* fallocate: grows the file, reads as zeros */
	off_t (*size)(void *ctx, int fd);
	int (*rename_at)(void *ctx, int dir, const char *from, const char *to);
	int (*unlink_at)(void *ctx, int dir, const char *name);
};

extern const struct store_io store_io_system;

#endif
