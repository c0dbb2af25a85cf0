/*
 * Memory that is freed all at once: what a decoder builds from one input. An arena has a hard limit, so a
 * hostile input can cost at most that much. Memory is zeroed.
 */
#ifndef TROTH_BASE_ARENA_H
#define TROTH_BASE_ARENA_H

#include "base/result.h"
#include "base/span.h"

struct arena {
	struct arena_block *blocks;
	size_t used; /* bytes given out in total */
	size_t max;
};

static inline struct arena arena_of(size_t max)
{
	return (struct arena){.max = max};
}

void arena_free(struct arena *arena); /* accepts NULL; leaves it empty and usable */

/* The same, and wipes what was given out: for an arena that decoded secrets. */
void arena_wipe(struct arena *arena);

/* `count` zeroed elements of `size` bytes, aligned for any type. TOO_LARGE beyond the limit, NO_MEMORY. */
NODISCARD result arena_alloc(struct arena *arena, size_t count, size_t size, void **out);

/* A NUL-terminated copy of `text`. */
NODISCARD result arena_string(struct arena *arena, struct span text, const char **out);

/* A copy of `bytes`. */
NODISCARD result arena_copy(struct arena *arena, struct span bytes, struct span *out);

#endif
