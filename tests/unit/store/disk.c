#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

enum { FOLDER = -1, FREE = -2 };

/* State */

static void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

static void file_resize(struct disk_file *file, size_t size)
{
	if (size > file->cap) {
		file->cap = size * 2;
		file->data = must(realloc(file->data, file->cap));
	}
	if (size > file->size)
		memset(file->data + file->size, 0, size - file->size);
	file->size = size;
}

static void file_write(struct disk_file *file, uint64_t offset, const uint8_t *data, size_t len)
{
	if (len == 0)
		return;
	if (offset + len > file->size)
		file_resize(file, (size_t)offset + len);
	memcpy(file->data + offset, data, len);
}

static void state_free(struct disk_state *state)
{
	for (size_t i = 0; i < state->file_count; i++)
		free(state->files[i].data);
	*state = (struct disk_state){0};
}

static void state_copy(const struct disk_state *from, struct disk_state *to)
{
	*to = *from;
	for (size_t i = 0; i < to->file_count; i++) {
		struct disk_file *file = &to->files[i];
		*file = (struct disk_file){0};
		file_write(file, 0, from->files[i].data, from->files[i].size);
	}
}

static struct disk_name *find_name(struct disk_state *state, const char *name)
{
	for (size_t i = 0; i < state->name_count; i++)
		if (strcmp(state->names[i].text, name) == 0)
			return &state->names[i];
	return NULL;
}

static void drop_name(struct disk_state *state, const char *name)
{
	struct disk_name *found = find_name(state, name);
	if (found)
		*found = state->names[--state->name_count];
}

static void set_name(struct disk_state *state, const char *name, size_t file)
{
	drop_name(state, name);
	if (state->name_count == DISK_FILES || strlen(name) >= DISK_NAME)
		abort();
	struct disk_name *entry = &state->names[state->name_count++];
	strcpy(entry->text, name);
	entry->file = file;
}

/* One operation, of which only `len` bytes if it is a write. */
static void apply(struct disk_state *state, const struct disk_op *op, size_t len)
{
	while (state->file_count <= op->file)
		state->files[state->file_count++] = (struct disk_file){0};
	struct disk_file *file = &state->files[op->file];
	switch (op->kind) {
	case DISK_WRITE:
		file_write(file, op->offset, op->data, len);
		break;
	case DISK_TRUNCATE:
		file_resize(file, (size_t)op->offset);
		break;
	case DISK_ALLOCATE:
		if (op->offset + op->len > file->size)
			file_resize(file, (size_t)(op->offset + op->len));
		break;
	case DISK_LINK:
		set_name(state, op->name, op->file);
		break;
	case DISK_RENAME:
		if (find_name(state, op->name)) {
			size_t moved = find_name(state, op->name)->file;
			drop_name(state, op->name);
			set_name(state, op->other, moved);
		}
		break;
	case DISK_UNLINK:
		drop_name(state, op->name);
		break;
	case DISK_SYNC:
	case DISK_SYNC_FOLDER:
		break;
	}
}

/* Recording */

static struct disk_op *record(struct disk *disk, enum disk_kind kind, size_t file)
{
	if (disk->op_count == disk->op_cap) {
		disk->op_cap = disk->op_cap ? disk->op_cap * 2 : 64;
		disk->ops = must(realloc(disk->ops, disk->op_cap * sizeof(*disk->ops)));
	}
	struct disk_op *op = &disk->ops[disk->op_count++];
	*op = (struct disk_op){.kind = kind, .file = file};
	return op;
}

static bool fails(struct disk *disk)
{
	if (!disk->error || (disk->countdown > 1 && disk->countdown--))
		return false;
	if (disk->countdown == 0 && !disk->persistent)
		return false;
	disk->countdown = 0;
	disk->failures++;
	errno = disk->error;
	return true;
}

static bool interrupted(struct disk *disk)
{
	if (disk->interrupts == 0)
		return false;
	disk->interrupts--;
	errno = EINTR;
	return true;
}

static int new_fd(struct disk *disk, long file)
{
	for (int fd = 3; fd < DISK_FDS; fd++) {
		if (disk->fds[fd] == FREE) {
			disk->fds[fd] = file;
			return fd;
		}
	}
	errno = EMFILE;
	return -1;
}

static struct disk_file *file_of(struct disk *disk, int fd)
{
	if (fd < 0 || fd >= DISK_FDS || disk->fds[fd] < 0)
		abort(); /* a call on a descriptor that is not open */
	return &disk->now.files[disk->fds[fd]];
}

static int disk_open_at(void *ctx, int dir, const char *name, int flags, mode_t mode)
{
	struct disk *disk = ctx;
	(void)dir, (void)mode;
	if (flags & O_DIRECTORY)
		return new_fd(disk, FOLDER);
	struct disk_name *found = find_name(&disk->now, name);
	if (!found && !(flags & O_CREAT)) {
		errno = ENOENT;
		return -1;
	}
	if (!found) {
		if (fails(disk))
			return -1;
		size_t file = disk->now.file_count;
		if (file == DISK_FILES)
			abort();
		struct disk_op *op = record(disk, DISK_LINK, file);
		strcpy(op->name, name);
		apply(&disk->now, op, 0);
		return new_fd(disk, (long)file);
	}
	if (flags & O_TRUNC)
		apply(&disk->now, record(disk, DISK_TRUNCATE, found->file), 0);
	return new_fd(disk, (long)found->file);
}

static int disk_close(void *ctx, int fd)
{
	struct disk *disk = ctx;
	if (disk->fds[fd] == FREE)
		abort();
	/* Only the one descriptor that locks a file is ever open on it. */
	if (disk->fds[fd] >= 0)
		file_of(disk, fd)->locked = false;
	disk->fds[fd] = FREE;
	return 0;
}

static int disk_lock(void *ctx, int fd)
{
	struct disk_file *file = file_of(ctx, fd);
	if (file->locked) {
		errno = EWOULDBLOCK;
		return -1;
	}
	file->locked = true;
	return 0;
}

static ssize_t disk_pread(void *ctx, int fd, void *out, size_t len, off_t offset)
{
	struct disk *disk = ctx;
	const struct disk_file *file = file_of(disk, fd);
	if (interrupted(disk))
		return -1;
	if ((uint64_t)offset >= file->size)
		return 0;
	size_t left = file->size - (size_t)offset;
	size_t n = len < left ? len : left;
	if (disk->write_max && n > disk->write_max)
		n = disk->write_max;
	memcpy(out, file->data + offset, n);
	return (ssize_t)n;
}

static ssize_t disk_pwrite(void *ctx, int fd, const void *data, size_t len, off_t offset)
{
	struct disk *disk = ctx;
	(void)file_of(disk, fd);
	if (interrupted(disk) || fails(disk))
		return -1;
	size_t n = disk->write_max && len > disk->write_max ? disk->write_max : len;
	struct disk_op *op = record(disk, DISK_WRITE, (size_t)disk->fds[fd]);
	op->offset = (uint64_t)offset;
	op->len = n;
	op->data = must(malloc(n ? n : 1));
	memcpy(op->data, data, n);
	apply(&disk->now, op, n);
	return (ssize_t)n;
}

static int disk_sync(void *ctx, int fd)
{
	struct disk *disk = ctx;
	if (fails(disk))
		return -1;
	if (disk->fds[fd] == FOLDER)
		record(disk, DISK_SYNC_FOLDER, 0);
	else
		record(disk, DISK_SYNC, (size_t)disk->fds[fd]);
	return 0;
}

static int disk_truncate(void *ctx, int fd, off_t size)
{
	struct disk *disk = ctx;
	(void)file_of(disk, fd);
	if (fails(disk))
		return -1;
	struct disk_op *op = record(disk, DISK_TRUNCATE, (size_t)disk->fds[fd]);
	op->offset = (uint64_t)size;
	apply(&disk->now, op, 0);
	return 0;
}

static int disk_allocate(void *ctx, int fd, off_t offset, off_t len)
{
	struct disk *disk = ctx;
	(void)file_of(disk, fd);
	if (fails(disk))
		return -1;
	struct disk_op *op = record(disk, DISK_ALLOCATE, (size_t)disk->fds[fd]);
	op->offset = (uint64_t)offset;
	op->len = (uint64_t)len;
	apply(&disk->now, op, 0);
	return 0;
}

static off_t disk_size(void *ctx, int fd)
{
	return (off_t)file_of(ctx, fd)->size;
}

static int disk_rename_at(void *ctx, int dir, const char *from, const char *to)
{
	struct disk *disk = ctx;
	(void)dir;
	if (fails(disk))
		return -1;
	struct disk_op *op = record(disk, DISK_RENAME, 0);
	strcpy(op->name, from);
	strcpy(op->other, to);
	apply(&disk->now, op, 0);
	return 0;
}

static int disk_unlink_at(void *ctx, int dir, const char *name)
{
	struct disk *disk = ctx;
	(void)dir;
	if (!find_name(&disk->now, name)) {
		errno = ENOENT;
		return -1;
	}
	if (fails(disk))
		return -1;
	struct disk_op *op = record(disk, DISK_UNLINK, 0);
	strcpy(op->name, name);
	apply(&disk->now, op, 0);
	return 0;
}

void disk_init(struct disk *disk)
{
	*disk = (struct disk){.io = {
				      .ctx = disk,
				      .open_at = disk_open_at,
				      .close = disk_close,
				      .lock = disk_lock,
				      .pread = disk_pread,
				      .pwrite = disk_pwrite,
				      .data_sync = disk_sync,
				      .sync = disk_sync,
				      .truncate = disk_truncate,
				      .allocate = disk_allocate,
				      .size = disk_size,
				      .rename_at = disk_rename_at,
				      .unlink_at = disk_unlink_at,
			      }};
	for (size_t i = 0; i < DISK_FDS; i++)
		disk->fds[i] = FREE;
}

void disk_free(struct disk *disk)
{
	for (size_t i = 0; i < disk->op_count; i++)
		free(disk->ops[i].data);
	free(disk->ops);
	state_free(&disk->base);
	state_free(&disk->now);
}

/* Crashes */

static bool is_data(const struct disk_op *op)
{
	return op->kind == DISK_WRITE || op->kind == DISK_TRUNCATE || op->kind == DISK_ALLOCATE;
}

/* Whether a sync before the crash covers operation `i`. */
static bool is_durable(const struct disk *disk, size_t i, size_t op_count)
{
	const struct disk_op *op = &disk->ops[i];
	for (size_t k = i + 1; k < op_count; k++) {
		const struct disk_op *sync = &disk->ops[k];
		if (is_data(op) ? sync->kind == DISK_SYNC && sync->file == op->file : sync->kind == DISK_SYNC_FOLDER)
			return true;
	}
	return false;
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed * 0x2545f4914f6cdd1d;
}

void disk_crash(const struct disk *from, size_t op_count, uint64_t seed, struct disk *out)
{
	disk_init(out);
	state_copy(&from->base, &out->base);
	uint64_t random = seed * 0x9e3779b97f4a7c15 + 1;
	for (size_t i = 0; i < op_count; i++) {
		const struct disk_op *op = &from->ops[i];
		bool durable = seed == 1 || is_durable(from, i, op_count);
		if (seed > 1)
			(void)next_random(&random);
		if (!durable && (seed == 0 || random % 3 == 0))
			continue;
		/* A write that no sync covers may have been torn anywhere. */
		bool torn = !durable && random % 3 == 1;
		apply(&out->base, op, torn ? (size_t)(random / 3 % (op->len + 1)) : (size_t)op->len);
	}
	state_copy(&out->base, &out->now);
}

struct disk_file *disk_find(struct disk *disk, const char *name)
{
	struct disk_name *found = find_name(&disk->now, name);
	return found ? &disk->now.files[found->file] : NULL;
}

size_t disk_open_count(const struct disk *disk)
{
	size_t count = 0;
	for (size_t i = 0; i < DISK_FDS; i++)
		count += disk->fds[i] != FREE;
	return count;
}

void disk_remove(struct disk *disk, const char *name)
{
	drop_name(&disk->now, name);
}
