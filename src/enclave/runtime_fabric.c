/*
 * The program's side of calls: its requests on the descriptor that the manifest names (docs/PROTOCOL.fabric). Whatever it
 * sends is hostile: a request that makes no sense is refused, a message that cannot be read ends the conversation. It never
 * sees a key, a salt of others, or a descriptor beside this one.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/random.h"
#include "enclave/runtime_call.h"

enum { SIGN_BUDGET = 64, BUDGET_MS = 1000, WINDOW_OF_WRITES = FABRIC_DATA_MAX };

/* ---- Replies ---------------------------------------------------------------------------------------- */

static void replied(struct runtime *rt, result made)
{
	if (made == OK)
		return;
	log_failure(LOG_LEVEL_WARNING, "a program could not be told something", made);
	rt->calls->deaf = true;
}

void fabric_reply(struct runtime *rt, uint64_t tag, const struct schema *schema, const void *body)
{
	if (!rt->calls->deaf)
		replied(rt, fabric_put_reply(tag, schema, body, &rt->calls->replies.bytes));
}

void fabric_refuse(struct runtime *rt, uint64_t tag, enum reason reason, const char *text)
{
	if (!rt->calls->deaf)
		replied(rt, fabric_put_refusal(tag, reason, text, &rt->calls->replies.bytes));
}

void fabric_done(struct runtime *rt, uint64_t tag)
{
	static const struct fabric_empty nothing;
	fabric_reply(rt, tag, &fabric_empty_schema, &nothing);
}

/* ---- HELLO ------------------------------------------------------------------------------------------ */

static result on_hello(struct runtime *rt, const struct fabric_request *request)
{
	struct fabric_edge edges[2 * CONTROL_MAX_EDGES];
	struct fabric_welcome welcome = {.version = FABRIC_VERSION, .enclave = rt->manifest.name, .edges = edges};
	memcpy(welcome.run_id, rt->prepare.run_id, RUN_ID_SIZE);
	for (size_t i = 0; i < rt->channel_count; i++) {
		const struct control_channel *spec = &rt->channels[i]->spec;
		if (rt->channels[i]->link)
			edges[welcome.edge_count++] = (struct fabric_edge){spec->edge, spec->peer, spec->operation, spec->initiator};
	}
	fabric_reply(rt, request->tag, &fabric_welcome_schema, &welcome);
	return OK;
}

/* ---- CALL ------------------------------------------------------------------------------------------- */

static result find_edge(struct runtime *rt, const struct fabric_call *asked, struct channel **out)
{
	struct channel *found = NULL;
	bool several = false;
	for (size_t i = 0; i < rt->channel_count; i++) {
		struct channel *channel = rt->channels[i];
		if (!channel->link || !channel->spec.initiator || strcmp(channel->spec.peer, asked->to) != 0 ||
			(asked->operation[0] && strcmp(channel->spec.operation, asked->operation) != 0))
			continue;
		several |= found != NULL;
		found = channel;
	}
	if (!found)
		return fail(CALL_NOT_DECLARED, "'%s' for '%s'", asked->to, asked->operation);
	if (several)
		return fail(CALL_NOT_DECLARED, "there are several edges to '%s'; name the operation", asked->to);
	if (found->link->dead)
		return fail(PEER_CLOSED, "channel '%s' with '%s' has ended", found->spec.edge, found->spec.peer);
	*out = found;
	return OK;
}

static bool is_served(const struct call *call)
{
	return !call->we_ask && call->accepted && !call->closed && !call->out_over && call->reason == OK;
}

/* One that is being served counts from when it has arrived; an answer, when it was vouched for. */
static bool may_be_cause(const struct call *call)
{
	return call->in.ended && call->has_theirs && !call->closed && call->reason == OK;
}

static result add_cause(struct runtime *rt, uint64_t handle, uint64_t *handles, struct cause *causes, size_t *count)
{
	const struct call *call = call_find(rt, handle);
	if (!call || !call->accepted)
		return fail(CALL_UNKNOWN, "cause %llu", (unsigned long long)handle);
	if (!may_be_cause(call))
		return fail(FABRIC_MISUSE, "cause %llu has not arrived in full", (unsigned long long)handle);
	for (size_t i = 0; i < *count; i++)
		if (handles[i] == handle)
			return OK;
	handles[*count] = handle;
	causes[*count] = (struct cause){.parent = call->theirs, .has_data = call->channel != NULL};
	causes[*count].name = call->channel ? call->channel->spec.edge : "";
	memcpy(causes[(*count)++].commit, call->in.commit, SHA256_SIZE);
	return OK;
}

/*
 * What the program says that this rests on. One that serves must name at least one that it is serving, so that a circle of
 * calls grows deeper with each round until a policy ends it; when there is only one it need not be said.
 */
static result take_causes(struct runtime *rt, const struct fabric_handle *named, size_t named_count, uint64_t *handles, struct cause *causes,
	size_t *out_count)
{
	const struct call *only = NULL;
	size_t served = 0;
	bool names_served = false;
	*out_count = 0;
	for (size_t i = 0; i < named_count; i++) {
		TRY(add_cause(rt, named[i].number, handles, causes, out_count));
		names_served |= is_served(call_find(rt, named[i].number));
	}
	for (size_t i = 0; i < rt->calls->count; i++)
		if (is_served(rt->calls->rows[i])) {
			only = rt->calls->rows[i];
			served++;
		}
	if (served == 0 || names_served)
		return OK;
	if (served > 1 || named_count == FABRIC_MAX_CAUSES)
		return fail(CALL_CAUSE_NEEDED, "%zu calls are being served", served);
	return add_cause(rt, only->handle, handles, causes, out_count);
}

static result begin_call(struct runtime *rt, const struct fabric_call *asked, struct channel *channel, struct call **out)
{
	struct call *call;
	uint64_t timeout = asked->timeout_ms ? asked->timeout_ms : CALL_DEFAULT_MS;
	uint64_t handles[FABRIC_MAX_CAUSES];
	struct cause causes[FABRIC_MAX_CAUSES];
	size_t count;
	if (timeout > CALL_LONGEST_MS)
		timeout = CALL_LONGEST_MS;
	TRY(take_causes(rt, asked->causes, asked->cause_count, handles, causes, &count));
	TRY(channel_decide(channel, RESOURCE_OPERATION, DIRECTION_SEND, channel->spec.operation, 0));
	TRY(call_new(rt, channel, &call));
	call->we_ask = call->accepted = true;
	call->push = asked->push;
	call->sid = ++channel->link->last_sid;
	call->deadline_ns = clock_monotonic_ns() + timeout * UINT64_C(1000000);
	call->cause_count = count;
	memcpy(call->causes_of, handles, count * sizeof(*handles));
	memcpy(call->causes, causes, count * sizeof(*causes));
	random_bytes(call->call_id, CALL_ID_SIZE);
	*out = call;
	return call_open_out(rt, call, timeout);
}

static result on_call(struct runtime *rt, const struct fabric_request *request)
{
	const struct fabric_call *asked = &request->body.call;
	struct channel *channel;
	struct call *call;
	TRY(find_edge(rt, asked, &channel));
	TRY(begin_call(rt, asked, channel, &call));
	writer_span(&call->out.waiting.bytes, asked->data);
	call->out.last = asked->last;
	struct fabric_called called = {call->handle};
	fabric_reply(rt, request->tag, &fabric_called_schema, &called);
	call_move(rt, call);
	return OK;
}

/* ---- ACCEPT ----------------------------------------------------------------------------------------- */

static struct call *next_offer(const struct runtime *rt)
{
	for (size_t i = 0; i < rt->calls->count; i++) {
		struct call *call = rt->calls->rows[i];
		if (!call->we_ask && !call->accepted && call->reason == OK)
			return call;
	}
	return NULL;
}

/* Is there nobody who could still ask? */
static bool nobody_left(const struct runtime *rt)
{
	if (rt->calls->stopping)
		return true;
	for (size_t i = 0; i < rt->channel_count; i++) {
		const struct channel *channel = rt->channels[i];
		if (channel->link && !channel->spec.initiator && !channel->link->dead && !channel->closed_by_peer)
			return false;
	}
	return true;
}

static void reply_accepted(struct runtime *rt, uint64_t tag, struct call *call)
{
	struct fabric_accepted accepted = {.from = "", .edge = "", .operation = "", .end = call == NULL && nobody_left(rt)};
	if (call) {
		uint64_t now = clock_monotonic_ns();
		call->accepted = true;
		accepted.handle = call->handle;
		accepted.from = call->channel->spec.peer;
		accepted.edge = call->channel->spec.edge;
		accepted.operation = call->channel->spec.operation;
		accepted.push = call->push;
		accepted.timeout_ms = call->deadline_ns > now ? (call->deadline_ns - now) / 1000000 : 0;
	}
	fabric_reply(rt, tag, &fabric_accepted_schema, &accepted);
}

void fabric_offer(struct runtime *rt)
{
	struct calls *calls = rt->calls;
	while (calls->accept_count) {
		struct call *call = next_offer(rt);
		if (!call && !nobody_left(rt))
			return;
		uint64_t tag = calls->accepts[0];
		memmove(calls->accepts, calls->accepts + 1, --calls->accept_count * sizeof(*calls->accepts));
		reply_accepted(rt, tag, call);
	}
}

static result on_accept(struct runtime *rt, const struct fabric_request *request)
{
	struct calls *calls = rt->calls;
	if (!request->body.accept.wait) {
		reply_accepted(rt, request->tag, calls->accept_count ? NULL : next_offer(rt));
		return OK;
	}
	if (calls->accept_count == MAX_ACCEPTS)
		return fail(CALL_LIMIT, "%d ACCEPTs wait already", MAX_ACCEPTS);
	calls->accepts[calls->accept_count++] = request->tag;
	fabric_offer(rt);
	return OK;
}

void calls_stop(struct runtime *rt)
{
	if (!rt->calls)
		return;
	rt->calls->stopping = true;
	fabric_offer(rt);
}

/* ---- READ, WRITE, CLOSE ------------------------------------------------------------------------------- */

static result find_call(const struct runtime *rt, uint64_t handle, struct call **out)
{
	struct call *call = call_find(rt, handle);
	if (!call || !call->accepted || call->closed)
		return fail(CALL_UNKNOWN, "%llu", (unsigned long long)handle);
	*out = call;
	return OK;
}

static result on_read(struct runtime *rt, const struct fabric_request *request)
{
	const struct fabric_read *asked = &request->body.read;
	struct call *call;
	TRY(find_call(rt, asked->handle, &call));
	if (call->in.has_reader)
		return fail(FABRIC_MISUSE, "a READ of call %llu waits already", (unsigned long long)call->handle);
	call->in.has_reader = true;
	call->in.reader = request->tag;
	call->in.reader_most = asked->most && asked->most < FABRIC_DATA_MAX ? asked->most : FABRIC_DATA_MAX;
	call_move(rt, call);
	return OK;
}

static result on_write(struct runtime *rt, const struct fabric_request *request)
{
	const struct fabric_write *asked = &request->body.write;
	struct call *call;
	TRY(find_call(rt, asked->handle, &call));
	if (call->out.has_writer)
		return fail(FABRIC_MISUSE, "a WRITE of call %llu waits already", (unsigned long long)call->handle);
	if (call->out.last)
		return fail(FABRIC_MISUSE, "call %llu has had its last WRITE", (unsigned long long)call->handle);
	if (call->push && !call->we_ask)
		return fail(FABRIC_MISUSE, "call %llu is a push, which is not answered", (unsigned long long)call->handle);
	if (call->reason == OK)
		writer_span(&call->out.waiting.bytes, asked->data);
	if (call->out.waiting.bytes.failed != OK)
		return fail(call->out.waiting.bytes.failed, "call %llu", (unsigned long long)call->handle);
	call->out.last = asked->last;
	call->out.has_writer = true;
	call->out.writer = request->tag;
	call_move(rt, call);
	return OK;
}

static result on_close(struct runtime *rt, const struct fabric_request *request)
{
	struct call *call;
	TRY(find_call(rt, request->body.close.handle, &call));
	call_close(rt, call);
	fabric_done(rt, request->tag);
	return OK;
}

/* ---- RECORD, ATTEST, SIGN ------------------------------------------------------------------------------- */

/* What costs a signature, here or in the secure processor, has a budget. */
static result spend(struct runtime *rt)
{
	struct calls *calls = rt->calls;
	uint64_t now = clock_monotonic_ns();
	if (now - calls->asked_at_ns > BUDGET_MS * UINT64_C(1000000)) {
		calls->asked_at_ns = now;
		calls->asked = 0;
	}
	if (calls->asked == SIGN_BUDGET)
		return fail(LIMIT_EXCEEDED, "more than %d signatures within a second; ask again later", SIGN_BUDGET);
	calls->asked++;
	return OK;
}

static bool inputs_are_complete(const struct runtime *rt)
{
	for (size_t i = 0; i < rt->input_count; i++)
		if (!rt->inputs[i].complete)
			return false;
	return true;
}

static result on_record(struct runtime *rt, const struct fabric_request *request)
{
	const struct fabric_record *asked = &request->body.record;
	struct fabric_recorded recorded;
	uint64_t handles[FABRIC_MAX_CAUSES];
	struct cause causes[FABRIC_MAX_CAUSES];
	size_t count = 0;
	if (!name_is_valid(asked->name))
		return fail(BAD_NAME, "a record's name");
	TRY(spend(rt));
	for (size_t i = 0; i < asked->cause_count; i++)
		TRY(add_cause(rt, asked->causes[i].number, handles, causes, &count));
	if (!inputs_are_complete(rt))
		return fail(FABRIC_MISUSE, "an input has not arrived in full; read it to its end first");
	random_bytes(recorded.salt, sizeof(recorded.salt));
	hmac_sha256(SPAN_ARRAY(recorded.salt), asked->data, recorded.commit);
	TRY(call_record(rt, causes, count, asked->name, recorded.commit, recorded.oid));
	TRY(records_note(rt, recorded.oid));
	fabric_reply(rt, request->tag, &fabric_recorded_schema, &recorded);
	return OK;
}

/* A program's nonce never becomes the binder of a channel: another hash of another text. */
static void bind_of(struct span nonce, uint8_t out[static 64])
{
	static const char label[] = "troth attest1";
	struct hash hash = {0};
	if (hash_start(&hash, HASH_SHA512) != OK)
		abort();
	hash_add_lv(&hash, span_of((const uint8_t *)label, sizeof(label) - 1));
	hash_add_lv(&hash, nonce);
	hash_finish(&hash, out);
}

static result on_attest(struct runtime *rt, const struct fabric_request *request)
{
	CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
	struct control_evidence ask;
	struct control_evidence_reply answer;
	TRY(spend(rt));
	bind_of(request->body.attest.nonce, ask.bind);
	TRY(runtime_send(rt, CONTROL_EVIDENCE, &ask));
	TRY(runtime_expect(rt, CONTROL_EVIDENCE_REPLY, RUNTIME_REPLY_MS, &message, &answer));
	struct fabric_attested attested = {rt->shown, answer.report};
	fabric_reply(rt, request->tag, &fabric_attested_schema, &attested);
	return OK;
}

/* The name says that the program, not the runtime, speaks: names of outputs have no slash. */
static result on_sign(struct runtime *rt, const struct fabric_request *request)
{
	const struct fabric_sign *asked = &request->body.sign;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	char name[NAME_MAX_LEN + 1];
	if (!name_is_valid(asked->name) || strlen(asked->name) > NAME_MAX_LEN - 8)
		return fail(BAD_NAME, "a statement's name has at most %d bytes", NAME_MAX_LEN - 8);
	TRY(spend(rt));
	snprintf(name, sizeof(name), "program/%.*s", NAME_MAX_LEN - 8, asked->name);
	struct statement statement = {.v = 1, .enclave = rt->uri, .time = runtime_now_ms(), .name = name, .media_type = asked->media_type,
		.length = asked->data.len};
	memcpy(statement.certificate, rt->certificate_digest, SHA256_SIZE);
	memcpy(statement.run_id, rt->prepare.run_id, RUN_ID_SIZE);
	sha256(asked->data, statement.digest);
	TRY(object_sign(KIND_STATEMENT, &statement, &rt->sign, &object, NULL));
	struct fabric_object signed_one = {bytes_span(&object)};
	fabric_reply(rt, request->tag, &fabric_object_schema, &signed_one);
	return OK;
}

static result on_seal(struct runtime *rt, const struct fabric_request *request)
{
	CLEANUP(bytes_free) struct bytes value = BYTES_EMPTY;
	TRY(spend(rt));
	TRY(seal_value(rt, request->body.plain.data, &value));
	struct fabric_object sealed = {bytes_span(&value)};
	fabric_reply(rt, request->tag, &fabric_object_schema, &sealed);
	return OK;
}

static result on_unseal(struct runtime *rt, const struct fabric_request *request)
{
	CLEANUP(bytes_free) struct bytes data = BYTES_EMPTY;
	TRY(spend(rt));
	TRY(unseal_value(rt, request->body.object.object, &data));
	struct fabric_plain plain = {bytes_span(&data)};
	fabric_reply(rt, request->tag, &fabric_plain_schema, &plain);
	if (data.len)
		explicit_bzero(data.data, data.len);
	return OK;
}

/* ---- The descriptor ----------------------------------------------------------------------------------------- */

static result (*const handlers[])(struct runtime *rt, const struct fabric_request *request) = {
	[FABRIC_HELLO] = on_hello,
	[FABRIC_CALL] = on_call,
	[FABRIC_ACCEPT] = on_accept,
	[FABRIC_READ] = on_read,
	[FABRIC_WRITE] = on_write,
	[FABRIC_CLOSE] = on_close,
	[FABRIC_RECORD] = on_record,
	[FABRIC_ATTEST] = on_attest,
	[FABRIC_SIGN] = on_sign,
	[FABRIC_SEAL] = on_seal,
	[FABRIC_UNSEAL] = on_unseal,
};

static void refuse_noted(struct runtime *rt, uint64_t tag, enum reason reason)
{
	char text[FABRIC_TEXT_MAX];
	snprintf(text, sizeof(text), "%s", failure_text());
	fabric_refuse(rt, tag, reason, text);
}

/* Is the failure of a request one of the host, which ends the enclave as it would anywhere? */
static bool is_fatal(enum fabric_type type, result failed)
{
	return type == FABRIC_ATTEST && failed != LIMIT_EXCEEDED;
}

static result take_request(struct runtime *rt, struct span message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct fabric_request request;
	bool tagged;
	result parsed = fabric_parse(message, &arena, &request, &tagged);
	if (parsed != OK && !tagged)
		return parsed;
	if (parsed != OK) {
		refuse_noted(rt, request.tag, parsed);
		return OK;
	}
	result handled = handlers[request.type](rt, &request);
	if (handled != OK && (is_fatal(request.type, handled) || rt->calls->host_failed != OK))
		return rt->calls->host_failed = handled;
	if (handled != OK)
		refuse_noted(rt, request.tag, handled);
	return OK;
}

/* Nothing that it says can be understood any more. Its calls go on without it until it ends. */
static void hang_up(struct runtime *rt)
{
	rt->calls->deaf = true;
	rt->calls->accept_count = 0;
	fd_close(&rt->calls->program);
}

static result take_requests(struct runtime *rt)
{
	struct calls *calls = rt->calls;
	for (;;) {
		struct span message;
		bool have;
		TRY(deframer_next(&calls->deframer, &have, &message));
		if (!have)
			return OK;
		TRY(take_request(rt, message));
	}
}

static result receive(struct runtime *rt, bool *out_ended)
{
	static uint8_t piece[64 * 1024];
	struct calls *calls = rt->calls;
	size_t at = 0;
	ssize_t got = recv(calls->program.n, piece, sizeof(piece), MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return OK;
	*out_ended = got <= 0;
	while (got > 0 && at < (size_t)got) {
		size_t taken;
		TRY(deframer_feed(&calls->deframer, span_of(piece + at, (size_t)got - at), &taken));
		at += taken;
		TRY(take_requests(rt));
	}
	return OK;
}

/* A program that takes no replies any more may still have said something. */
static void flush(struct calls *calls)
{
	struct backlog *replies = &calls->replies;
	while (!backlog_is_empty(replies)) {
		ssize_t sent = send(calls->program.n, replies->bytes.data + replies->at, replies->bytes.len - replies->at,
			MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			break;
		if (sent < 0) {
			replies->at = replies->bytes.len;
			break;
		}
		replies->at += (size_t)sent;
	}
	if (replies->at == replies->bytes.len) {
		replies->at = replies->bytes.len = 0;
	} else if (replies->at > FABRIC_BACKLOG_MAX) {
		memmove(replies->bytes.data, replies->bytes.data + replies->at, replies->bytes.len - replies->at);
		replies->bytes.len -= replies->at;
		replies->at = 0;
	}
}

result fabric_prepare(struct runtime *rt)
{
	int ends[2];
	if (!rt->calls)
		return OK;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return fail_errno("a descriptor for calls");
	rt->calls->program.n = ends[0];
	rt->calls->far_end.n = ends[1];
	return OK;
}

void fabric_open(struct runtime *rt, struct fd *out_end, int *out_number)
{
	*out_end = fd_move(&rt->calls->far_end);
	*out_number = rt->calls->number;
}

int fabric_fd(const struct runtime *rt)
{
	return rt->calls ? rt->calls->program.n : -1;
}

short fabric_events(const struct runtime *rt)
{
	if (!rt->calls)
		return 0;
	const struct backlog *replies = &rt->calls->replies;
	short events = backlog_is_empty(replies) ? 0 : POLLOUT;
	return replies->bytes.len - replies->at < FABRIC_BACKLOG_MAX ? (short)(events | POLLIN) : events;
}

result fabric_serve(struct runtime *rt, void *what, short events)
{
	struct calls *calls = rt->calls;
	bool ended = false;
	(void)what;
	flush(calls);
	if (!(events & (POLLIN | POLLHUP | POLLERR)))
		return OK;
	result received = receive(rt, &ended);
	flush(calls);
	if (calls->host_failed != OK)
		return calls->host_failed;
	if (received != OK)
		log_failure(LOG_LEVEL_WARNING, "a program's message could not be understood", received);
	if (received != OK || ended)
		hang_up(rt);
	return OK;
}
