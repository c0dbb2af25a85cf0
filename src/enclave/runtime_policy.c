/*
 * The trust policy of an IRE while it lives: what its peers have left of their rates.
 */
#include <stdlib.h>

#include "enclave/runtime_internal.h"

/* ---- Rates -------------------------------------------------------------------------------------- */

static result grow_meters(struct runtime *rt)
{
	size_t cap = rt->meter_cap ? 2 * rt->meter_cap : 8;
	struct peer_meter *grown = realloc(rt->meters, cap * sizeof(*grown));
	if (!grown)
		return fail(NO_MEMORY, "meters of %zu peers", cap);
	rt->meters = grown;
	rt->meter_cap = cap;
	return OK;
}

/* Peers are those of the job: there are never more meters than the manifest and the job name. */
result policy_meter_of(struct runtime *rt, const char *peer, struct policy_request *request)
{
	size_t at = 0;
	while (at < rt->meter_count && strcmp(rt->meters[at].peer, peer) != 0)
		at++;
	if (at == rt->meter_count) {
		struct span name;
		TRY(arena_copy(&rt->arena, span_of(peer, strlen(peer) + 1), &name));
		if (rt->meter_count == rt->meter_cap)
			TRY(grow_meters(rt));
		rt->meters[rt->meter_count++] = (struct peer_meter){.peer = (const char *)name.data};
	}
	request->meter = &rt->meters[at].meter;
	request->steady_ms = runtime_time().steady_ms;
	return OK;
}
