#include "store/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int system_open_at(void *ctx, int dir, const char *name, int flags, mode_t mode)
{
	(void)ctx;
	return openat(dir, name, flags | O_CLOEXEC, mode);
}

static int system_close(void *ctx, int fd)
{
	(void)ctx;
	return close(fd);
}

static int system_lock(void *ctx, int fd)
{
	(void)ctx;
	return flock(fd, LOCK_EX | LOCK_NB);
}

static ssize_t system_pread(void *ctx, int fd, void *out, size_t len, off_t offset)
{
	(void)ctx;
	return pread(fd, out, len, offset);
}

static ssize_t system_pwrite(void *ctx, int fd, const void *data, size_t len, off_t offset)
{
	(void)ctx;
	return pwrite(fd, data, len, offset);
}

static int system_data_sync(void *ctx, int fd)
{
	(void)ctx;
	return fdatasync(fd);
}

static int system_sync(void *ctx, int fd)
{
	(void)ctx;
	return fsync(fd);
}

static int system_truncate(void *ctx, int fd, off_t size)
{
	(void)ctx;
	return ftruncate(fd, size);
}

static int system_allocate(void *ctx, int fd, off_t offset, off_t len)
{
	(void)ctx;
	return fallocate(fd, 0, offset, len);
}

static off_t system_size(void *ctx, int fd)
{
	struct stat info;
	(void)ctx;
	return fstat(fd, &info) < 0 ? -1 : info.st_size;
}

static int system_rename_at(void *ctx, int dir, const char *from, const char *to)
{
	(void)ctx;
	return renameat(dir, from, dir, to);
}

static int system_unlink_at(void *ctx, int dir, const char *name)
{
	(void)ctx;
	return unlinkat(dir, name, 0);
}

const struct store_io store_io_system = {
	.open_at = system_open_at,
	.close = system_close,
	.lock = system_lock,
	.pread = system_pread,
	.pwrite = system_pwrite,
	.data_sync = system_data_sync,
	.sync = system_sync,
	.truncate = system_truncate,
	.allocate = system_allocate,
	.size = system_size,
	.rename_at = system_rename_at,
	.unlink_at = system_unlink_at,
};
