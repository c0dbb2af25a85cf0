#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * Theory of operation: regions of REGION_SIZE bytes are mapped once and cut into 64-byte cells; an
 * allocation is a run of free cells, found first-fit in a bitmap. A secret larger than half a region gets a
 * mapping of its own. Wiping happens on free, so a free cell is always zero.
 */
enum { CELL = 64, REGION_SIZE = 64 * 1024, CELLS = REGION_SIZE / CELL, MAX_REGIONS = 64, MAX_SECRET = 1 << 20 };

struct region {
	uint8_t *base;
	uint8_t used[CELLS];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct region regions[MAX_REGIONS];
static size_t region_count;
static enum secret_memory weakest = SECRET_MEMORY_SECRETMEM;
static bool probed;

void wipe(void *data, size_t len)
{
	if (len)
		explicit_bzero(data, len);
}

bool secret_equal(struct span a, struct span b)
{
	if (a.len != b.len)
		return false;
	uint8_t difference = 0;
	for (size_t i = 0; i < a.len; i++)
		difference |= (uint8_t)(a.data[i] ^ b.data[i]);
	return difference == 0;
}

static uint8_t *map_secretmem(size_t len)
{
#ifdef SYS_memfd_secret
	int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	if (fd < 0)
		return NULL;
	uint8_t *base = NULL;
	if (ftruncate(fd, (off_t)len) == 0) {
		void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
		if (map != MAP_FAILED)
			base = map;
	}
	close(fd);
	return base;
#else
	(void)len;
	return NULL;
#endif
}

static uint8_t *map_secret_pages(size_t len, enum secret_memory *kind)
{
	uint8_t *base = map_secretmem(len);
	*kind = SECRET_MEMORY_SECRETMEM;
	if (!base) {
		void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (map == MAP_FAILED)
			return NULL;
		base = map;
		*kind = mlock(base, len) == 0 ? SECRET_MEMORY_LOCKED : SECRET_MEMORY_PLAIN;
	}
	/* Not inherited by a child: a fork must not copy keys (constructions: IECP, Fork). */
	(void)madvise(base, len, MADV_DONTDUMP);
	(void)madvise(base, len, MADV_DONTFORK);
	return base;
}

/*
 * Regions are not inherited by a child of fork(2): it starts with none. A secret that the parent held is not there in the
 * child, and touching it is a fault, as meant.
 */
static void forget_regions_in_child(void)
{
	memset(regions, 0, sizeof(regions));
	region_count = 0;
	pthread_mutex_init(&lock, NULL);
}

static void watch_for_forks(void)
{
	pthread_atfork(NULL, NULL, forget_regions_in_child);
}

static void note_kind(enum secret_memory kind)
{
	probed = true;
	if (kind > weakest)
		weakest = kind;
}

static uint8_t *take_cells(struct region *region, size_t cells)
{
	size_t run = 0;
	for (size_t i = 0; i < CELLS; i++) {
		run = region->used[i] ? 0 : run + 1;
		if (run == cells) {
			size_t first = i + 1 - cells;
			memset(region->used + first, 1, cells);
			return region->base + first * CELL;
		}
	}
	return NULL;
}

static uint8_t *alloc_small(size_t cells)
{
	for (size_t i = 0; i < region_count; i++) {
		uint8_t *at = take_cells(&regions[i], cells);
		if (at)
			return at;
	}
	if (region_count == MAX_REGIONS)
		return NULL;
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	enum secret_memory kind;
	uint8_t *base = map_secret_pages(REGION_SIZE, &kind);
	if (!base)
		return NULL;
	pthread_once(&once, watch_for_forks);
	note_kind(kind);
	regions[region_count].base = base;
	return take_cells(&regions[region_count++], cells);
}

static uint8_t *alloc_large(size_t len)
{
	enum secret_memory kind;
	uint8_t *base = map_secret_pages(len, &kind);
	if (base)
		note_kind(kind);
	return base;
}

result secret_new(size_t len, struct secret *out)
{
	if (len == 0 || len > MAX_SECRET)
		return fail(TOO_LARGE, "a secret of %zu bytes", len);
	pthread_mutex_lock(&lock);
	uint8_t *data = len > REGION_SIZE / 2 ? alloc_large(len) : alloc_small((len + CELL - 1) / CELL);
	pthread_mutex_unlock(&lock);
	if (!data)
		return fail(NO_MEMORY, "%zu bytes of secret memory", len);
	*out = (struct secret){data, len};
	return OK;
}

result secret_copy(struct span from, struct secret *out)
{
	struct secret copy;
	TRY(secret_new(from.len, &copy));
	memcpy(copy.data, from.data, from.len);
	*out = copy;
	return OK;
}

static void free_small(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < region_count; i++) {
		struct region *region = &regions[i];
		if (data >= region->base && data < region->base + REGION_SIZE) {
			size_t first = (size_t)(data - region->base) / CELL;
			memset(region->used + first, 0, (len + CELL - 1) / CELL);
			return;
		}
	}
}

void secret_free(struct secret *secret)
{
	if (!secret || !secret->data)
		return;
	wipe(secret->data, secret->len);
	pthread_mutex_lock(&lock);
	if (secret->len > REGION_SIZE / 2)
		munmap(secret->data, secret->len);
	else
		free_small(secret->data, secret->len);
	pthread_mutex_unlock(&lock);
	*secret = SECRET_EMPTY;
}

enum secret_memory secret_memory(void)
{
	pthread_mutex_lock(&lock);
	bool known = probed;
	pthread_mutex_unlock(&lock);
	struct secret probe;
	if (!known && secret_new(1, &probe) == OK)
		secret_free(&probe);
	pthread_mutex_lock(&lock);
	enum secret_memory kind = weakest;
	pthread_mutex_unlock(&lock);
	return kind;
}

const char *secret_memory_name(enum secret_memory memory)
{
	static const char *const names[] = {"memfd_secret", "locked", "plain"};
	return names[memory];
}
