/*
 * Ancestors on demand, on a channel of calls (fetch.h; docs/PROTOCOL.dac "Ancestors on demand").
 *
 * One END at a time is made whole: while its ancestors are on their way, further ENDs of the same channel wait in the order in
 * which they came, because they may rest on the very records that are still missing. Chunks and aborts go on meanwhile.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "enclave/runtime_call.h"

void fetch_free(struct call_link *link)
{
	fetch_giver_free(&link->giver);
	fetch_taker_free(&link->taker);
	free(link->parked);
	link->parked = NULL;
	link->parked_count = link->parked_cap = 0;
}

static void free_indices(size_t **indices)
{
	free(*indices);
}

static result put(struct channel *channel, struct writer *frame, result made)
{
	struct span bytes;
	TRY(made);
	TRY(writer_finish(frame, &bytes));
	if (channel->link->dead || channel->finished)
		return OK;
	return channel_send(channel, bytes);
}

/* ---- Giving ---------------------------------------------------------------------------------------- */

result fetch_answer(struct runtime *rt, struct channel *channel, uint64_t sid, const struct fetch_asked *asked)
{
	CLEANUP(writer_free) struct writer frame = writer_growing(DATA_FRAME_MAX + FRAME_HEADER_SIZE);
	CLEANUP(free_indices) size_t *indices = NULL;
	struct data_end nodes = {.length = 0};
	size_t count = 0;
	result given = fetch_give(&channel->link->giver, rt->dac, asked, &indices, &count);
	if (given != OK)
		return fail_within(given, "'%s'", channel->spec.peer);
	TRY(call_fill_nodes(rt, channel->link, indices, count, &nodes));
	return put(channel, &frame, call_put_nodes(sid, &nodes, &frame));
}

/* ---- Taking ---------------------------------------------------------------------------------------- */

static uint64_t wait_ns(const struct runtime *rt)
{
	uint64_t seconds = rt->chain_limits[CHAIN_WAIT_S] ? rt->chain_limits[CHAIN_WAIT_S] : FETCH_WAIT_S;
	return seconds * UINT64_C(1000000000);
}

static result ask(struct runtime *rt, struct channel *channel)
{
	CLEANUP(writer_free) struct writer frame = writer_growing(64 * 1024);
	struct call_link *link = channel->link;
	const struct fetch_asked asked = {link->taker.asked, link->taker.asked_count};
	if (!link->fetching)
		link->fetch_until_ns = clock_monotonic_ns() + wait_ns(rt);
	link->fetching = true;
	return put(channel, &frame, call_put_fetch(link->fetch_sid, &asked, &frame));
}

/* Asks for what is missing; *out_whole: nothing is. */
static result go_on(struct runtime *rt, struct channel *channel, bool *out_whole)
{
	struct call_link *link = channel->link;
	TRY(fetch_missing(&link->taker, rt->dac));
	*out_whole = link->taker.asked_count == 0;
	if (*out_whole)
		link->fetching = false;
	return *out_whole ? OK : ask(rt, channel);
}

static result park(struct call_link *link, uint64_t sid, const struct data_end *end)
{
	if (link->parked_count == link->parked_cap) {
		size_t cap = link->parked_cap ? 2 * link->parked_cap : 16;
		struct parked_end *grown = reallocarray(link->parked, cap, sizeof(*grown));
		if (!grown)
			return fail(NO_MEMORY, "calls whose records are not whole yet");
		link->parked = grown;
		link->parked_cap = cap;
	}
	link->parked[link->parked_count++] = (struct parked_end){sid, *end};
	return OK;
}

static result begin(struct runtime *rt, struct channel *channel, uint64_t sid, const struct data_end *end, bool *out_whole)
{
	struct call_link *link = channel->link;
	TRY(call_take_records(rt, link, end));
	link->fetch_sid = sid;
	return go_on(rt, channel, out_whole);
}

/* Whatever can be finished is, in order. */
static result finish(struct runtime *rt, struct channel *channel)
{
	struct call_link *link = channel->link;
	bool whole = true;
	TRY(call_end_is_whole(rt, channel, link->fetch_sid));
	while (whole && link->parked_count) {
		const struct parked_end next = link->parked[0];
		memmove(link->parked, link->parked + 1, --link->parked_count * sizeof(*link->parked));
		TRY(begin(rt, channel, next.sid, &next.end, &whole));
		if (whole)
			TRY(call_end_is_whole(rt, channel, next.sid));
	}
	return OK;
}

result fetch_take_end(struct runtime *rt, struct channel *channel, uint64_t sid, const struct data_end *end)
{
	bool whole;
	if (!end->has_record)
		return fail(INPUT_INCOMPLETE, "no record came with it");
	if (channel->link->fetching)
		return park(channel->link, sid, end);
	TRY(begin(rt, channel, sid, end, &whole));
	return whole ? call_end_is_whole(rt, channel, sid) : OK;
}

result fetch_take_nodes(struct runtime *rt, struct channel *channel, uint64_t sid, const struct data_end *nodes)
{
	struct call_link *link = channel->link;
	bool whole;
	if (!link->fetching || sid != link->fetch_sid)
		return fail(DAC_FETCH_UNASKED, "'%s' for call %llu", channel->spec.peer, (unsigned long long)sid);
	size_t from = link->taker.received.count;
	TRY(call_take_nodes(rt, link, nodes));
	TRY(fetch_check_nodes(&link->taker, rt->dac, from));
	TRY(go_on(rt, channel, &whole));
	return whole ? finish(rt, channel) : OK;
}

/* ---- Time ------------------------------------------------------------------------------------------- */

result fetch_check_time(const struct channel *channel, uint64_t now_ns)
{
	const struct call_link *link = channel->link;
	if (!link->fetching || now_ns <= link->fetch_until_ns)
		return OK;
	return fail(DAC_FETCH_TIMEOUT, "'%s' still owes %zu records of call %llu", channel->spec.peer, link->taker.asked_count,
		(unsigned long long)link->fetch_sid);
}
