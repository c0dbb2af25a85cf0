/*
 * A disk in memory behind struct store_io. It records every write, sync and change of a name, and can make the state
 * that a crash after any number of them may leave: what was synced is there; of the rest any part, in any order
 * between two syncs, and a write also in part. It can also make calls fail.
 */
#ifndef TROTH_TESTS_DISK_H
#define TROTH_TESTS_DISK_H

#include "base/span.h"
#include "store/io.h"

enum { DISK_FILES = 64, DISK_NAME = 96, DISK_FDS = 128 };

enum disk_kind { DISK_WRITE, DISK_TRUNCATE, DISK_ALLOCATE, DISK_LINK, DISK_RENAME, DISK_UNLINK, DISK_SYNC, DISK_SYNC_FOLDER };

struct disk_op {
	enum disk_kind kind;
	size_t file;
	uint64_t offset, len;
	uint8_t *data;
	char name[DISK_NAME], other[DISK_NAME];
};

struct disk_file {
	uint8_t *data;
	size_t size, cap;
	bool locked;
};

struct disk_name {
	char text[DISK_NAME];
	size_t file;
};

struct disk_state {
	struct disk_file files[DISK_FILES];
	size_t file_count;
	struct disk_name names[DISK_FILES];
	size_t name_count;
};

struct disk {
	struct store_io io;
	struct disk_state base; /* before the first recorded operation */
	struct disk_state now;
	struct disk_op *ops;
	size_t op_count, op_cap;
	long fds[DISK_FDS]; /* file index, -1 the folder, -2 free */
	/* The countdown-th changing call from now on fails with `error` (0: none), once or for ever. */
	unsigned countdown;
	int error;
	bool persistent;
	unsigned failures;
	size_t write_max; /* a write takes at most this many bytes; 0: all */
	unsigned interrupts; /* so many transfers give EINTR first */
};

void disk_init(struct disk *disk);
void disk_free(struct disk *disk);

/* What a crash after `op_count` operations may leave; `seed` 0: only what was synced, 1: everything, else at random. */
void disk_crash(const struct disk *from, size_t op_count, uint64_t seed, struct disk *out);

/* Direct access to a file's bytes, past the recorder: NULL when there is no such name. */
struct disk_file *disk_find(struct disk *disk, const char *name);
size_t disk_open_count(const struct disk *disk); /* descriptors that are open */
void disk_remove(struct disk *disk, const char *name);

#endif
