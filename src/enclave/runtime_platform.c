#include "enclave/runtime_internal.h"

#include <stdlib.h>

#include "base/log.h"
#include "evidence/platform.h"

/* Evidence is made before the launch and kept for some minutes; what makes it old is another epoch or start. */
enum { PLATFORM_AGE_MS = 60 * 60 * 1000, TRUST_MEMORY = 1 << 20, SHOWN_MAX = 56 * 1024 };

static result judge(struct runtime *rt, struct span piece)
{
	CLEANUP(arena_free) struct arena arena = arena_of(TRUST_MEMORY);
	struct platform_trust trust;
	TRY(schema_decode(&platform_trust_schema, rt->prepare.platform_trust, &arena, &trust));
	const struct platform_expectation expected = {.trust = &trust, .at_ms = runtime_now_ms(), .max_age_ms = PLATFORM_AGE_MS};
	rt->platform->refused = OK;
	return platform_add(rt->platform, piece, &expected);
}

/*
 * A peer shows the same piece with every handshake. The last few are remembered, also where nobody here believes them: those
 * behind us may. Notes this one.
 */
static result note(struct runtime *rt, struct span piece, bool *out_known)
{
	struct span kept;
	*out_known = true;
	for (size_t i = 0; i < COUNT_OF(rt->pieces); i++)
		if (span_equal(rt->pieces[i].bytes, piece))
			return OK;
	TRY(arena_copy(&rt->arena, piece, &kept));
	rt->pieces[rt->piece_next++ % COUNT_OF(rt->pieces)].bytes = kept;
	*out_known = false;
	return OK;
}

/* What is said of many epochs in a long life: the oldest makes room. */
static void make_room(struct platform *platform)
{
	if (platform->count < COUNT_OF(platform->pieces))
		return;
	memmove(platform->pieces, platform->pieces + 1, (COUNT_OF(platform->pieces) - 1) * sizeof(platform->pieces[0]));
	platform->count--;
}

static result take(struct runtime *rt, struct span piece)
{
	bool known = false;
	if (piece.len)
		TRY(note(rt, piece, &known));
	if (rt->prepare.platform_trust.len == 0)
		return OK;
	if (!rt->platform)
		rt->platform = calloc(1, sizeof(*rt->platform));
	if (!rt->platform)
		return fail(NO_MEMORY, "platform evidence");
	if (piece.len == 0 || known)
		return OK;
	make_room(rt->platform);
	TRY(judge(rt, piece));
	if (rt->platform->refused != OK)
		log_warning("platform evidence adds nothing", LOG_TEXT("reason", reason_name(rt->platform->refused)),
			LOG_TEXT("text", rt->platform->text));
	return OK;
}

result platform_take(struct runtime *rt, struct span piece)
{
	TRY(take(rt, piece));
	return arena_copy(&rt->arena, piece, &rt->own_platform);
}

result platform_take_peer(struct runtime *rt, struct span piece)
{
	return piece.len ? take(rt, piece) : OK;
}

/* To whom all of it goes stands on another host, or somebody behind it may. */
void platform_put(struct channel *channel, struct data_end *end)
{
	struct runtime *rt = channel->runtime;
	bool is_wrapped = rt->piece_next > COUNT_OF(rt->pieces);
	size_t from = is_wrapped ? 0 : channel->pieces_sent, to = is_wrapped ? COUNT_OF(rt->pieces) : rt->piece_next;
	if (rt->foreign_count == 0 || channel->pieces_sent == rt->piece_next)
		return;
	end->platforms = rt->pieces + from;
	end->platform_count = to - from;
	channel->pieces_sent = rt->piece_next;
}

struct span platform_to_show(const struct runtime *rt)
{
	if (rt->own_platform.len <= SHOWN_MAX)
		return rt->own_platform;
	log_warning("platform evidence is too long for a channel; to other hosts this one is Level-1",
		LOG_NUMBER("bytes", rt->own_platform.len));
	return SPAN_EMPTY;
}

void platform_free(struct runtime *rt)
{
	free(rt->platform);
	rt->platform = NULL;
}

unsigned platform_level_for(const struct runtime *rt, const struct report *report)
{
	return platform_level(rt->platform, report);
}
