#include "base/arena.h"

#include <stdlib.h>

#include "base/secret.h"

struct arena_block {
	struct arena_block *next;
	size_t used;
	size_t cap;
	_Alignas(max_align_t) uint8_t data[];
};

enum { BLOCK_SIZE = 16 * 1024 };

void arena_free(struct arena *arena)
{
	if (!arena)
		return;
	struct arena_block *block = arena->blocks;
	while (block) {
		struct arena_block *next = block->next;
		free(block);
		block = next;
	}
	arena->blocks = NULL;
	arena->used = 0;
}

void arena_wipe(struct arena *arena)
{
	for (struct arena_block *block = arena ? arena->blocks : NULL; block; block = block->next)
		wipe(block->data, block->used);
	arena_free(arena);
}

static result add_block(struct arena *arena, size_t need)
{
	size_t cap = need > BLOCK_SIZE ? need : BLOCK_SIZE;
	struct arena_block *block = malloc(sizeof(*block) + cap);
	if (!block)
		return fail(NO_MEMORY, "%zu bytes", cap);
	*block = (struct arena_block){.next = arena->blocks, .cap = cap};
	arena->blocks = block;
	return OK;
}

result arena_alloc(struct arena *arena, size_t count, size_t size, void **out)
{
	const size_t align = _Alignof(max_align_t);
	size_t need;
	if (__builtin_mul_overflow(count, size, &need) || __builtin_add_overflow(need, align - 1, &need))
		return fail(TOO_LARGE, "%zu elements of %zu bytes", count, size);
	need -= need % align;
	if (need > arena->max - arena->used)
		return fail(TOO_LARGE, "more than %zu bytes of decoded data", arena->max);
	if (!arena->blocks || arena->blocks->cap - arena->blocks->used < need)
		TRY(add_block(arena, need));
	struct arena_block *block = arena->blocks;
	void *at = block->data + block->used;
	memset(at, 0, need);
	block->used += need;
	arena->used += need;
	*out = at;
	return OK;
}

result arena_string(struct arena *arena, struct span text, const char **out)
{
	void *copy;
	TRY(arena_alloc(arena, text.len + 1, 1, &copy));
	if (text.len)
		memcpy(copy, text.data, text.len);
	*out = copy;
	return OK;
}

result arena_copy(struct arena *arena, struct span bytes, struct span *out)
{
	void *copy;
	TRY(arena_alloc(arena, bytes.len, 1, &copy));
	if (bytes.len)
		memcpy(copy, bytes.data, bytes.len);
	*out = span_of(copy, bytes.len);
	return OK;
}
