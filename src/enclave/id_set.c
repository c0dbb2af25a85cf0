#include "enclave/id_set.h"

#include <stdlib.h>
#include <string.h>

void id_set_free(struct id_set *set)
{
	free(set->slots);
	*set = (struct id_set){0};
}

static size_t slot_of(const struct id_set *set, const uint8_t id[static 32])
{
	static const uint8_t zero[32];
	size_t at;
	memcpy(&at, id, sizeof(at));
	for (at &= set->cap - 1; memcmp(set->slots[at], zero, 32) != 0 && memcmp(set->slots[at], id, 32) != 0;)
		at = (at + 1) & (set->cap - 1);
	return at;
}

bool id_set_has(const struct id_set *set, const uint8_t id[static 32])
{
	return set->cap && memcmp(set->slots[slot_of(set, id)], id, 32) == 0;
}

static result id_set_grow(struct id_set *set)
{
	static const uint8_t zero[32];
	struct id_set bigger = {.cap = set->cap ? 2 * set->cap : 64};
	bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
	if (!bigger.slots)
		return fail(NO_MEMORY, "a set of %zu ids", set->count);
	for (size_t i = 0; i < set->cap; i++)
		if (memcmp(set->slots[i], zero, 32) != 0)
			memcpy(bigger.slots[slot_of(&bigger, set->slots[i])], set->slots[i], 32);
	bigger.count = set->count;
	free(set->slots);
	*set = bigger;
	return OK;
}

result id_set_add(struct id_set *set, const uint8_t id[static 32])
{
	if (2 * (set->count + 1) > set->cap)
		TRY(id_set_grow(set));
	if (id_set_has(set, id))
		return OK;
	memcpy(set->slots[slot_of(set, id)], id, 32);
	set->count++;
	return OK;
}
