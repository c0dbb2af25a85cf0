/*
 * Streams of calls on their channels (docs/PROTOCOL.dac "Calls").
 *
 * Theory of operation. A link is a channel that carries calls; its initiator asks, the other side answers. Each call is a
 * stream in both directions with a window, so that one that nobody reads holds up no other. A stream is over when this side
 * has sent END or ABORT and has received END or ABORT; until then its number is remembered, and what still arrives for one
 * that was given up is dropped. What a peer may not send at all breaks the link: all its calls fail, the enclave goes on.
 */
#include "enclave/runtime_call.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/random.h"
#include "object/job.h"
#include "object/manifest.h"

/* ---- Calls ---------------------------------------------------------------------------------------- */

struct call *call_find(const struct runtime *rt, uint64_t handle)
{
	for (size_t i = 0; i < rt->calls->count; i++)
		if (rt->calls->rows[i]->handle == handle)
			return rt->calls->rows[i];
	return NULL;
}

static struct call *find_stream(const struct runtime *rt, const struct channel *channel, uint64_t sid)
{
	for (size_t i = 0; i < rt->calls->count; i++)
		if (rt->calls->rows[i]->channel == channel && rt->calls->rows[i]->sid == sid)
			return rt->calls->rows[i];
	return NULL;
}

bool call_is_over(const struct call *call)
{
	return call->out_over && call->in_over;
}

static void call_free(struct call *call)
{
	hmac_free(&call->out.hmac);
	hmac_free(&call->in.hmac);
	backlog_free(&call->out.waiting);
	backlog_free(&call->in.queue);
	free(call);
}

result call_new(struct runtime *rt, struct channel *channel, struct call **out)
{
	struct calls *calls = rt->calls;
	if (calls->count == MAX_CALLS || channel->link->open == MAX_LINK_CALLS)
		return fail(CALL_LIMIT, "%zu calls are open, %zu of them with '%s'", calls->count, channel->link->open, channel->spec.peer);
	struct call *call = calloc(1, sizeof(*call));
	if (!call)
		return fail(NO_MEMORY, "a call");
	call->channel = channel;
	call->handle = ++calls->last_handle;
	call->out.credit = CALL_WINDOW;
	call->out.waiting.bytes = writer_growing(2 * FABRIC_MAX);
	call->in.queue.bytes = writer_growing(2 * CALL_WINDOW);
	random_bytes(call->out.salt, sizeof(call->out.salt));
	calls->rows[calls->count++] = call;
	channel->link->open++;
	*out = call;
	return OK;
}

/* Not in the middle of a walk over the rows. */
static void sweep(struct runtime *rt)
{
	struct calls *calls = rt->calls;
	size_t kept = 0;
	for (size_t i = 0; i < calls->count; i++) {
		struct call *call = calls->rows[i];
		if (call_is_over(call) && call->closed && (call->noted || !(call->has_ours || call->has_theirs))) {
			if (call->channel)
				call->channel->link->open--;
			call_free(call);
		} else {
			calls->rows[kept++] = call;
		}
	}
	calls->count = kept;
}

/* ---- Frames to the peer --------------------------------------------------------------------------- */

static void break_link(struct runtime *rt, struct channel *channel, enum reason reason);

/* A channel that cannot be written to is broken; that is noticed when it is served next. */
static void put(struct call *call, struct writer *frame, result made)
{
	struct span bytes;
	struct channel *channel = call->channel;
	if (!channel || channel->link->dead || channel->finished || made != OK || writer_finish(frame, &bytes) != OK)
		return;
	if (channel_send(channel, bytes) != OK)
		channel->ended = true;
}

static void put_abort(struct runtime *rt, struct call *call, enum reason reason)
{
	/* Not the text: it may quote what was not meant for this peer. */
	struct data_abort abort = {(uint32_t)reason, reason_name(reason), rt->manifest.name};
	CLEANUP(writer_free) struct writer frame = writer_growing(8192);
	put(call, &frame, call_put_abort(call->sid, &abort, &frame));
}

static void put_taken(struct call *call)
{
	CLEANUP(writer_free) struct writer frame = writer_growing(8192);
	put(call, &frame, call_put_taken(call->sid, call->in.untold, &frame));
	call->in.untold = 0;
}

result call_open_out(struct runtime *rt, struct call *call, uint64_t timeout_ms)
{
	CLEANUP(writer_free) struct writer frame = writer_growing(8192);
	struct call_open open = {
		.edge = call->channel->spec.edge,
		.operation = call->channel->spec.operation,
		.push = call->push,
		.timeout_ms = timeout_ms,
	};
	memcpy(open.run_id, rt->prepare.run_id, RUN_ID_SIZE);
	memcpy(open.call_id, call->call_id, CALL_ID_SIZE);
	memcpy(open.salt, call->out.salt, DATA_SALT_SIZE);
	TRY(hmac_start(&call->out.hmac, SPAN_ARRAY(call->out.salt)));
	call->out.opened = true;
	put(call, &frame, call_put_open(call->sid, &open, &frame));
	return OK;
}

/* ---- Failure and end ------------------------------------------------------------------------------ */

static void note(struct runtime *rt, struct call *call)
{
	result noted = call_note(rt, call);
	if (noted != OK)
		log_failure(LOG_LEVEL_WARNING, "a call could not be noted in the chain", noted);
}

static void refuse_waiting(struct runtime *rt, struct call *call)
{
	if (call->in.has_reader)
		fabric_refuse(rt, call->in.reader, call->reason, call->text);
	if (call->out.has_writer)
		fabric_refuse(rt, call->out.writer, call->reason, call->text);
	call->in.has_reader = call->out.has_writer = false;
}

void call_fail(struct runtime *rt, struct call *call, enum reason reason, const char *text)
{
	if (call->reason != OK)
		return;
	call->reason = reason;
	snprintf(call->text, sizeof(call->text), "%s", text);
	if (!call_is_over(call))
		put_abort(rt, call, reason);
	call->out_over = true;
	if (!call->channel)
		call->in_over = true;
	/* An answer that nobody has read yet is none. */
	writer_free(&call->in.queue.bytes);
	writer_free(&call->out.waiting.bytes);
	call->in.queue = call->out.waiting = (struct backlog){.bytes = writer_growing(2 * CALL_WINDOW)};
	refuse_waiting(rt, call);
	note(rt, call);
	if (!call->accepted)
		call->closed = true;
}

void call_fail_noted(struct runtime *rt, struct call *call, enum reason reason)
{
	char text[CALL_TEXT_MAX];
	snprintf(text, sizeof(text), "%s", failure_text());
	call_fail(rt, call, reason, text);
}

void call_close(struct runtime *rt, struct call *call)
{
	if (!call_is_over(call))
		call_fail(rt, call, CALL_CANCELLED, "the program closed it");
	note(rt, call);
	call->closed = true;
}

static void fail_all(struct runtime *rt, struct channel *channel, enum reason reason, const char *text)
{
	for (size_t i = 0; i < rt->calls->count; i++) {
		struct call *call = rt->calls->rows[i];
		if (call->channel != channel)
			continue;
		bool was_over = call_is_over(call);
		call->out_over = call->in_over = true;
		if (!was_over)
			call_fail(rt, call, reason, text);
		note(rt, call);
		call->channel = NULL;
	}
	channel->link->open = 0;
}

/* With what fail() noted. */
static void break_link(struct runtime *rt, struct channel *channel, enum reason reason)
{
	char text[CALL_TEXT_MAX];
	if (channel->link->dead)
		return;
	snprintf(text, sizeof(text), "%s", failure_text());
	log_warning("a channel of calls ended", LOG_TEXT("edge", channel->spec.edge), LOG_TEXT("peer", channel->spec.peer),
		LOG_TEXT("reason", reason_name(reason)), LOG_TEXT("text", text));
	if (!channel->ended && channel->open)
		channel_give_up(channel, reason, "");
	channel->link->dead = true;
	channel->ended = channel->finished = true;
	transport_free(channel);
	runtime_blame(rt, channel->spec.peer);
	fail_all(rt, channel, reason, text);
	fabric_offer(rt);
}

/* ---- Sending -------------------------------------------------------------------------------------- */

static bool inputs_are_complete(const struct runtime *rt)
{
	for (size_t i = 0; i < rt->input_count; i++)
		if (!rt->inputs[i].complete)
			return false;
	return true;
}

/* An END is a word about everything that the program was given: it waits until all of that has been vouched for. */
static bool may_end(const struct runtime *rt, const struct call *call)
{
	return call->out.last && backlog_is_empty(&call->out.waiting) && !call->out.ended && inputs_are_complete(rt) &&
		(call->we_ask || call->in.ended);
}

static bool link_has_room(const struct channel *channel)
{
	return channel->sending.bytes.len - channel->sending.at < LINK_BACKLOG_ENOUGH;
}

static result send_waiting(struct runtime *rt, struct call *call)
{
	struct backlog *waiting = &call->out.waiting;
	/* An answer begins when the question is whole and was vouched for. */
	if (!call->we_ask && !call->in.ended)
		return OK;
	while (!backlog_is_empty(waiting) && call->out.credit && link_has_room(call->channel)) {
		CLEANUP(writer_free) struct writer frame = writer_growing(FABRIC_MAX + 64);
		struct span bytes = span_of(waiting->bytes.data + waiting->at, waiting->bytes.len - waiting->at);
		if (bytes.len > call->out.credit)
			bytes.len = (size_t)call->out.credit;
		if (bytes.len > DATA_CHUNK_MAX)
			bytes.len = DATA_CHUNK_MAX;
		if (!call->out.opened)
			TRY(call_open_out(rt, call, 0));
		hmac_add(&call->out.hmac, bytes);
		call->out.length += bytes.len;
		call->out.credit -= bytes.len;
		rt->output_bytes += bytes.len;
		result made = call_put_chunk(call->sid, bytes, &frame);
		put(call, &frame, made);
		TRY(made);
		waiting->at += bytes.len;
	}
	if (backlog_is_empty(waiting))
		waiting->at = waiting->bytes.len = 0;
	return OK;
}

static result send_end(struct runtime *rt, struct call *call)
{
	CLEANUP(writer_free) struct writer frame = writer_growing(DATA_FRAME_MAX + FRAME_HEADER_SIZE);
	struct data_end end = {.length = call->out.length};
	if (!call->out.opened)
		TRY(call_open_out(rt, call, 0));
	hmac_finish(&call->out.hmac, call->out.commit);
	TRY(call->we_ask ? call_sign_request(rt, call, &end) : call_sign_response(rt, call, &end));
	result made = call_put_end(call->sid, &end, &frame);
	put(call, &frame, made);
	TRY(made);
	call->out.ended = call->out_over = true;
	if (!call->we_ask)
		note(rt, call);
	return OK;
}

/* A push is acknowledged, not answered. */
static void acknowledge(struct runtime *rt, struct call *call)
{
	CLEANUP(writer_free) struct writer frame = writer_growing(8192);
	struct data_end end = {.length = 0};
	put(call, &frame, call_put_end(call->sid, &end, &frame));
	call->out.last = call->out.ended = call->out_over = true;
	note(rt, call);
}

static result move_out(struct runtime *rt, struct call *call)
{
	TRY(send_waiting(rt, call));
	if (may_end(rt, call))
		TRY(send_end(rt, call));
	return OK;
}

static void answer_writer(struct runtime *rt, struct call *call)
{
	if (!call->out.has_writer || !backlog_is_empty(&call->out.waiting) || (call->out.last && !call->out.ended))
		return;
	call->out.has_writer = false;
	fabric_done(rt, call->out.writer);
}

static void answer_reader(struct runtime *rt, struct call *call)
{
	struct backlog *queue = &call->in.queue;
	size_t left = queue->bytes.len - queue->at;
	if (!call->in.has_reader || (left == 0 && !call->in.ended))
		return;
	if (left > call->in.reader_most)
		left = (size_t)call->in.reader_most;
	struct fabric_data data = {span_of(queue->bytes.data + queue->at, left), false};
	queue->at += left;
	data.last = call->in.ended && backlog_is_empty(queue);
	call->in.has_reader = false;
	call->in.untold += left;
	fabric_reply(rt, call->in.reader, &fabric_data_schema, &data);
	if (backlog_is_empty(queue))
		queue->at = queue->bytes.len = 0;
	if (!call->in.ended && call->in.untold >= CALL_WINDOW / 4)
		put_taken(call);
}

void call_move(struct runtime *rt, struct call *call)
{
	if (call->reason == OK && call->channel && !call->out_over) {
		result moved = move_out(rt, call);
		if (moved != OK)
			call_fail_noted(rt, call, moved);
	}
	if (call->reason != OK) {
		refuse_waiting(rt, call);
		return;
	}
	answer_writer(rt, call);
	answer_reader(rt, call);
}

/* ---- Frames of the peer ---------------------------------------------------------------------------- */

static result check_opened(struct runtime *rt, const struct channel *channel, const struct call_open *open)
{
	if (memcmp(open->run_id, rt->prepare.run_id, RUN_ID_SIZE) != 0)
		return fail(DAC_FOREIGN_RUN, "edge '%s'", channel->spec.edge);
	if (strcmp(open->edge, channel->spec.edge) != 0 || strcmp(open->operation, channel->spec.operation) != 0)
		return fail(OPERATION_NOT_ALLOWED, "'%s' opened edge '%s' for '%s'; the job declares '%s' for '%s'", channel->spec.peer,
			open->edge, open->operation, channel->spec.edge, channel->spec.operation);
	return OK;
}

static uint64_t deadline_of(uint64_t timeout_ms)
{
	return clock_monotonic_ns() + (timeout_ms < CALL_LONGEST_MS ? timeout_ms : CALL_LONGEST_MS) * UINT64_C(1000000);
}

static result start_receiving(struct call *call, const struct call_open *open)
{
	memcpy(call->in.salt, open->salt, DATA_SALT_SIZE);
	call->in.opened = true;
	return hmac_start(&call->in.hmac, SPAN_ARRAY(call->in.salt));
}

/* Somebody asks. A refusal is told to the caller; the program does not hear of it. */
static result take_question(struct runtime *rt, struct channel *channel, const struct call_event *event)
{
	struct call *call;
	struct calls *calls = rt->calls;
	if (event->sid <= channel->link->last_sid)
		return fail(ILLEGAL_STATE, "call %llu is opened twice or out of turn", (unsigned long long)event->sid);
	channel->link->last_sid = event->sid;
	TRY(check_opened(rt, channel, &event->open));
	result made = call_new(rt, channel, &call);
	if (made == CALL_LIMIT) {
		struct call refused = {.channel = channel, .sid = event->sid};
		put_abort(rt, &refused, CALL_LIMIT);
		channel->link->last_sid = event->sid;
		return OK;
	}
	TRY(made);
	call->sid = event->sid;
	call->push = event->open.push;
	/* It is the caller who says that its time is over; this is for one that does not. */
	call->deadline_ns = deadline_of(event->open.timeout_ms) + CALLEE_SLACK_MS * UINT64_C(1000000);
	memcpy(call->call_id, event->open.call_id, CALL_ID_SIZE);
	TRY(start_receiving(call, &event->open));
	result allowed = channel_decide(channel, RESOURCE_OPERATION, DIRECTION_RECEIVE, event->open.operation, 0);
	if (allowed != OK)
		call_fail_noted(rt, call, allowed);
	else if (calls->deaf || calls->stopping || rt->program_ended)
		call_fail(rt, call, CALL_NOT_SERVED, "its program takes no calls any more");
	fabric_offer(rt);
	return OK;
}

static result take_answer(struct runtime *rt, struct call *call, const struct call_event *event)
{
	if (!call->out.ended || call->in.opened || call->push || event->open.push)
		return fail(ILLEGAL_STATE, "an answer that was not asked for");
	TRY(check_opened(rt, call->channel, &event->open));
	if (memcmp(event->open.call_id, call->call_id, CALL_ID_SIZE) != 0)
		return fail(DAC_KIND_RULE, "an answer to another call than the one it came on");
	return start_receiving(call, &event->open);
}

static result take_chunk(struct runtime *rt, struct call *call, struct span bytes)
{
	struct backlog *queue = &call->in.queue;
	if (!call->in.opened)
		return fail(ILLEGAL_STATE, "data before OPEN");
	size_t held = queue->bytes.len - queue->at;
	if (held + call->in.untold + bytes.len > CALL_WINDOW)
		return fail(LIMIT_EXCEEDED, "'%s' sends more than it was given room for", call->channel->spec.peer);
	hmac_add(&call->in.hmac, bytes);
	call->in.length += bytes.len;
	rt->input_bytes += bytes.len;
	if (queue->at && queue->at == queue->bytes.len)
		queue->at = queue->bytes.len = 0;
	if (queue->at > CALL_WINDOW / 2) {
		memmove(queue->bytes.data, queue->bytes.data + queue->at, held);
		queue->bytes.len = held;
		queue->at = 0;
	}
	writer_span(&queue->bytes, bytes);
	return queue->bytes.failed == OK ? OK : fail(queue->bytes.failed, "data of a call");
}

/* What an answer was got for becomes part of what is answered with it. */
static result hand_to_causes(struct runtime *rt, const struct call *call)
{
	for (size_t i = 0; i < call->cause_count; i++) {
		struct call *served = call_find(rt, call->causes_of[i]);
		if (!served || served->we_ask || served->reason != OK)
			continue;
		if (served->cause_count == FABRIC_MAX_CAUSES)
			TRY(call_fold_causes(rt, served));
		served->causes[served->cause_count++] = (struct cause){.parent = call->theirs};
	}
	return OK;
}

static bool is_for_policy(enum reason reason)
{
	return (reason >= NO_POLICY && reason <= POLICY_CONFLICT) || reason == RATE_EXCEEDED || reason == FACTOR_MISSING;
}

static result take_end(struct runtime *rt, struct call *call, const struct data_end *end)
{
	if (call->we_ask && call->push) {
		if (!call->out.ended || end->has_record || end->length)
			return fail(ILLEGAL_STATE, "a push was answered");
		call->in.ended = call->in_over = true;
		note(rt, call);
		return OK;
	}
	if (!call->in.opened)
		return fail(ILLEGAL_STATE, "END before OPEN");
	if (end->length != call->in.length)
		return fail(INPUT_INCOMPLETE, "%llu bytes arrived, the sender counted %llu", (unsigned long long)call->in.length,
			(unsigned long long)end->length);
	hmac_finish(&call->in.hmac, call->in.commit);
	call->in_over = true;
	return fetch_take_end(rt, call->channel, call->sid, end);
}

/* The call may have been given up while its ancestors were on their way; what came is kept for others that rest on it. */
result call_end_is_whole(struct runtime *rt, struct channel *channel, uint64_t sid)
{
	struct call *call = find_stream(rt, channel, sid);
	if (!call || call->reason != OK)
		return OK;
	result accepted = call_judge(rt, call);
	if (is_for_policy(accepted)) {
		call_fail_noted(rt, call, accepted);
		return OK;
	}
	TRY(accepted);
	call->in.ended = true;
	if (call->we_ask) {
		note(rt, call);
		return hand_to_causes(rt, call);
	} else if (call->push) {
		acknowledge(rt, call);
	}
	return OK;
}

static void take_abort(struct runtime *rt, struct call *call, const struct data_abort *abort)
{
	char text[CALL_TEXT_MAX];
	enum reason why = reason_row((enum reason)abort->reason)->reason;
	snprintf(text, sizeof(text), "'%s' gave up: %s", call->channel->spec.peer, reason_name(why));
	call->in_over = true;
	call_fail(rt, call, call->we_ask ? CALL_ABORTED : CALL_CANCELLED, text);
}

static result take_taken(struct call *call, uint64_t bytes)
{
	if (call->out.credit + bytes > CALL_WINDOW)
		return fail(ILLEGAL_STATE, "'%s' took more than it was sent", call->channel->spec.peer);
	call->out.credit += bytes;
	return OK;
}

/* Of a stream that was given up here, or is over: what may still be on its way. */
static result take_late(const struct channel *channel, struct call *call, const struct call_event *event)
{
	if (event->sid > channel->link->last_sid)
		return fail(ILLEGAL_STATE, "call %llu was never opened", (unsigned long long)event->sid);
	if (call && (event->type == CALL_END || event->type == CALL_ABORT))
		call->in_over = true;
	/* A caller may not have heard yet that its call was refused. */
	if (call || !channel->spec.initiator || event->type == CALL_ABORT || event->type == CALL_TAKEN)
		return OK;
	return fail(ILLEGAL_STATE, "call %llu is over, and more of it came", (unsigned long long)event->sid);
}

static result take_frame(struct runtime *rt, struct channel *channel, const struct call_event *event)
{
	if (event->type == CALL_FETCH)
		return fetch_answer(rt, channel, event->sid, &event->asked);
	if (event->type == CALL_NODES)
		return fetch_take_nodes(rt, channel, event->sid, &event->end);
	struct call *call = find_stream(rt, channel, event->sid);
	if (event->type == CALL_OPEN && !channel->spec.initiator)
		return take_question(rt, channel, event);
	if (!call || call->reason != OK)
		return take_late(channel, call, event);
	if (call->in_over && event->type != CALL_ABORT && event->type != CALL_TAKEN)
		return fail(ILLEGAL_STATE, "call %llu was answered twice", (unsigned long long)event->sid);
	switch (event->type) {
	case CALL_OPEN: return take_answer(rt, call, event);
	case CALL_CHUNK: return take_chunk(rt, call, event->chunk);
	case CALL_END: return take_end(rt, call, &event->end);
	case CALL_ABORT: take_abort(rt, call, &event->abort); return OK;
	case CALL_TAKEN: return take_taken(call, event->taken.bytes);
	case CALL_FETCH:
	case CALL_NODES: break;
	}
	return fail(INTERNAL, "call frame %d", (int)event->type);
}

static result take_whole_frames(struct runtime *rt, struct channel *channel)
{
	for (;;) {
		struct call_event event;
		struct span frame;
		bool have;
		TRY(deframer_next(&channel->link->deframer, &have, &frame));
		if (!have)
			return OK;
		TRY(call_frame_read(frame, &rt->arena, &event));
		TRY(take_frame(rt, channel, &event));
	}
}

static result take_plain(struct runtime *rt, struct channel *channel)
{
	while (channel->plain.len) {
		size_t taken;
		TRY(deframer_feed(&channel->link->deframer, channel->plain, &taken));
		channel->plain = span_of(channel->plain.data + taken, channel->plain.len - taken);
		TRY(take_whole_frames(rt, channel));
	}
	return OK;
}

static bool has_open_calls(const struct runtime *rt, const struct channel *channel)
{
	if (channel->link->fetching)
		return true;
	for (size_t i = 0; i < rt->calls->count; i++)
		if (rt->calls->rows[i]->channel == channel && !call_is_over(rt->calls->rows[i]))
			return true;
	return false;
}

static result say_close(struct channel *channel)
{
	if (channel->finished)
		return OK;
	channel->finished = true;
	return channel_close(channel);
}

/* ---- A channel that carries calls ------------------------------------------------------------------- */

static result advance(struct runtime *rt, struct channel *channel)
{
	bool have = true;
	while (have) {
		TRY(channel_next(channel, &have, &channel->plain));
		if (have)
			TRY(take_plain(rt, channel));
	}
	if (!channel->closed_by_peer)
		return channel->ended ? fail(PEER_CLOSED, "'%s' ended channel '%s'", channel->spec.peer, channel->spec.edge) : OK;
	TRY(deframer_finish(&channel->link->deframer));
	if (has_open_calls(rt, channel))
		return fail(CHANNEL_TRUNCATED, "'%s' closed channel '%s' in the middle of calls", channel->spec.peer, channel->spec.edge);
	return say_close(channel);
}

bool call_wants_to_receive(const struct channel *channel)
{
	return !channel->link->dead && channel->sending.bytes.len - channel->sending.at < LINK_BACKLOG_MAX;
}

static result serve(struct runtime *rt, struct channel *channel, short events)
{
	if ((events & (POLLIN | POLLHUP | POLLERR) || channel->ring.memory) && call_wants_to_receive(channel)) {
		TRY(channel_receive(channel, &channel->ended));
		if (!channel->open)
			TRY(channel_handshake(channel));
		if (!channel->open && channel->ended)
			return fail(PEER_CLOSED, "'%s' ended channel '%s' during the handshake", channel->spec.peer, channel->spec.edge);
		if (channel->open)
			TRY(advance(rt, channel));
	}
	if (channel->ended && channel->closed_by_peer && channel->finished) {
		channel->sending.at = channel->sending.bytes.len; /* nobody is there to take it, nor needs to */
		return OK;
	}
	return channel_flush(channel);
}

result call_serve(struct runtime *rt, struct channel *channel, short events)
{
	if (channel->link->dead)
		return OK;
	bool was_open = channel->open != NULL;
	result served = serve(rt, channel, events);
	if (served == OK)
		return OK;
	/* Before there is a channel, its failure is that of the launch: a policy's or evidence's refusal. */
	if (!was_open && !channel->open) {
		runtime_blame(rt, channel->spec.peer);
		return fail_within(served, "channel '%s' with '%s'", channel->spec.edge, channel->spec.peer);
	}
	break_link(rt, channel, served);
	return OK;
}

void call_channel_failed(struct runtime *rt, struct channel *channel, enum reason reason)
{
	break_link(rt, channel, reason);
}

bool call_is_settled(const struct channel *channel)
{
	return channel->link->dead || (channel->finished && channel->closed_by_peer && backlog_is_empty(&channel->sending)) ||
		(channel->finished && channel->closed_by_peer && channel->ended);
}

result call_accept_channel(struct runtime *rt, struct channel *channel)
{
	if (!rt->calls)
		return fail(NOT_DECLARED, "edge '%s' is a call, but the manifest gives the program no descriptor for it", channel->spec.edge);
	if (channel->spec.external)
		return fail(NOT_SUPPORTED, "calls with an external peer");
	channel->link = calloc(1, sizeof(*channel->link));
	if (!channel->link)
		return fail(NO_MEMORY, "channel of calls");
	channel->link->deframer = deframer_of(DATA_FRAME_MAX);
	return OK;
}

void call_link_free(struct call_link *link)
{
	if (!link)
		return;
	deframer_free(&link->deframer);
	id_set_free(&link->known);
	fetch_free(link);
	free(link);
}

/* ---- Of the enclave ----------------------------------------------------------------------------------- */

result calls_begin(struct runtime *rt)
{
	int number;
	TRY(manifest_fabric(&rt->manifest, &number));
	if (number < 0)
		return OK;
	rt->calls = calloc(1, sizeof(*rt->calls));
	if (!rt->calls)
		return fail(NO_MEMORY, "calls");
	rt->calls->number = number;
	rt->calls->program = rt->calls->far_end = FD_NONE;
	rt->calls->deframer = deframer_of(FABRIC_MAX);
	rt->calls->replies.bytes = writer_growing(64 << 20);
	return OK;
}

void calls_free(struct runtime *rt)
{
	struct calls *calls = rt->calls;
	if (!calls)
		return;
	for (size_t i = 0; i < calls->count; i++)
		call_free(calls->rows[i]);
	fd_close(&calls->program);
	fd_close(&calls->far_end);
	deframer_free(&calls->deframer);
	backlog_free(&calls->replies);
	released_free(calls);
	free(calls);
	rt->calls = NULL;
}

void calls_turn(struct runtime *rt)
{
	struct calls *calls = rt->calls;
	if (!calls)
		return;
	uint64_t now = clock_monotonic_ns();
	for (size_t i = 0; i < calls->count; i++) {
		struct call *call = calls->rows[i];
		if (!call_is_over(call) && call->reason == OK && now > call->deadline_ns)
			call_fail(rt, call, CALL_TIMED_OUT, "nobody finished it in time");
		call_move(rt, call);
	}
	sweep(rt);
	fabric_offer(rt);
	for (size_t i = 0; i < rt->channel_count; i++) {
		struct channel *channel = rt->channels[i];
		if (!channel->link || channel->link->dead || !channel->open)
			continue;
		result in_time = fetch_check_time(channel, now);
		if (in_time != OK) {
			break_link(rt, channel, in_time);
			continue;
		}
		result flushed = channel_flush(channel);
		if (flushed != OK && !(channel->finished && channel->closed_by_peer))
			break_link(rt, channel, flushed);
	}
}

uint64_t calls_due_ns(const struct runtime *rt)
{
	uint64_t due = UINT64_MAX;
	for (size_t i = 0; rt->calls && i < rt->calls->count; i++)
		if (!call_is_over(rt->calls->rows[i]) && rt->calls->rows[i]->reason == OK && rt->calls->rows[i]->deadline_ns < due)
			due = rt->calls->rows[i]->deadline_ns;
	for (size_t i = 0; rt->calls && i < rt->channel_count; i++) {
		const struct call_link *link = rt->channels[i]->link;
		if (link && !link->dead && link->fetching && link->fetch_until_ns < due)
			due = link->fetch_until_ns;
	}
	return due;
}

/* Whatever the program began and gave in full is still finished; the rest is given up. */
static bool finish_calls(struct runtime *rt)
{
	struct calls *calls = rt->calls;
	bool finished = true;
	for (size_t i = 0; i < calls->count; i++) {
		struct call *call = calls->rows[i];
		bool answering = !call->we_ask && call->out.last && call->reason == OK && !call->out_over;
		if (answering || (call->we_ask && call->push && call->out.last && call->reason == OK && !call_is_over(call))) {
			finished = false;
			continue;
		}
		if (!call_is_over(call) && call->reason == OK)
			call_fail(rt, call, call->we_ask ? CALL_CANCELLED : CALL_NOT_SERVED, "the program ended");
		note(rt, call);
		call->closed = true;
	}
	return finished;
}

result calls_conclude(struct runtime *rt, bool *out_ready)
{
	struct calls *calls = rt->calls;
	*out_ready = true;
	if (!calls || calls->quiet)
		return OK;
	*out_ready = calls->deaf && finish_calls(rt);
	if (!*out_ready)
		return OK;
	calls->quiet = true;
	for (size_t i = 0; i < rt->channel_count; i++) {
		struct channel *channel = rt->channels[i];
		if (channel->link && channel->spec.initiator && !channel->link->dead && say_close(channel) != OK)
			break_link(rt, channel, CHANNEL_CLOSED);
	}
	return OK;
}
