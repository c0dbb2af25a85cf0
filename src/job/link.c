#include "job/link.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/tcp.h"
#include "object/transport.h"
#include "root/ap_message.h"

enum { PREFIX_SIZE = 4, KEY_VALID_MS = 3600 * 1000, SKEW_MS = 60 * 1000, MEMORY = 400 << 20, FIRST_ROOM = 64 << 10, GOODBYE_MS = 1000, ALIVE_MOST = 4096 };

/* ---- Messages --------------------------------------------------------------------------------------- */

static const struct field hello_fields[] = {
	F_VERSION(struct link_hello, 1, v, 1),
	F_BYTES(struct link_hello, 2, key, 1, 4096),
	F_BYTES(struct link_hello, 3, history, 1, LINK_HELLO_MAX),
};
static const struct schema hello_schema = SCHEMA(struct link_hello, "hello", SHAPE_MAP, hello_fields);

static const struct field failed_fields[] = {
	F_UINT(struct link_failed, 1, reason, 0),
	F_TEXT(struct link_failed, 2, text, 0, LINK_TEXT_MAX),
	F_TEXT(struct link_failed, 3, stage, 0, NAME_MAX_LEN),
};
static const struct schema failed_schema = SCHEMA(struct link_failed, "failed", SHAPE_MAP, failed_fields);

static const struct field epochs_fields[] = {
	F_LIST(struct link_epochs, 1, histories, history_count, &bytes_item_schema, 0, 0, 64),
};
static const struct schema epochs_schema = SCHEMA(struct link_epochs, "epochs", SHAPE_MAP, epochs_fields);

static const struct field revocations_fields[] = {
	F_LIST(struct link_revocations, 1, lists, list_count, &bytes_item_schema, 0, 0, LINK_LISTS_MAX),
};
static const struct schema revocations_schema = SCHEMA(struct link_revocations, "revocations", SHAPE_MAP, revocations_fields);

static const struct field head_fields[] = {F_BYTES(struct link_head, 1, head, 1, REVOCATION_HEAD_MAX)};
static const struct schema head_schema = SCHEMA(struct link_head, "head", SHAPE_MAP, head_fields);

static const struct field want_fields[] = {F_FIXED(struct link_want, 1, operator_id)};
static const struct schema want_schema = SCHEMA(struct link_want, "want", SHAPE_MAP, want_fields);

static const struct field offer_fields[] = {
	F_VERSION(struct link_offer, 1, v, 1),
	F_FIXED(struct link_offer, 2, run_id),
	F_FIXED(struct link_offer, 3, job_digest),
	F_FIXED(struct link_offer, 4, rand),
	F_FIXED_OR_NULL(struct link_offer, 5, nonce, has_nonce),
	F_TEXT(struct link_offer, 6, job, 1, NAME_MAX_LEN),
	F_UINT(struct link_offer, 7, wait_ms, LINK_WAIT_MAX_MS),
};
static const struct schema offer_schema = SCHEMA(struct link_offer, "offer", SHAPE_MAP, offer_fields);

static const struct field edge_fields[] = {
	F_TEXT(struct link_edge, 1, edge, 1, 2 * NAME_MAX_LEN + 1),
	F_FIXED(struct link_edge, 2, token),
};
static const struct schema edge_schema = SCHEMA(struct link_edge, "edge", SHAPE_MAP, edge_fields);
static const struct field connect_fields[] = {
	F_LIST(struct link_connect, 1, edges, edge_count, &edge_schema, 0, 0, LINK_EDGES_MAX),
};
static const struct schema connect_schema = SCHEMA(struct link_connect, "connect", SHAPE_MAP, connect_fields);

static const struct field progress_fields[] = {
	F_TEXT(struct link_progress, 1, stage, 1, NAME_MAX_LEN),
	F_TEXT(struct link_progress, 2, state, 0, 32),
	F_UINT(struct link_progress, 3, bytes_in, 0),
	F_UINT(struct link_progress, 4, bytes_out, 0),
};
static const struct schema progress_schema = SCHEMA(struct link_progress, "progress", SHAPE_MAP, progress_fields);

static const struct field stage_fields[] = {
	F_TEXT(struct link_stage, 1, name, 1, NAME_MAX_LEN),
	F_BYTES(struct link_stage, 2, left.certificate, 1, 64 * 1024),
	F_BYTES(struct link_stage, 3, left.report, 1, 64 * 1024),
	F_LIST(struct link_stage, 4, left.records, left.record_count, &bytes_item_schema, 0, 0, 1 << 20),
	F_LIST(struct link_stage, 5, left.statements, left.statement_count, &bytes_item_schema, 0, 0, 4096),
	F_LIST(struct link_stage, 6, left.grants, left.grant_count, &bytes_item_schema, 0, 0, 4096),
	F_LIST(struct link_stage, 7, left.salts, left.salt_count, &salt_row_schema, FIELD_SORTED, 0, 1 << 16),
	F_FIXED(struct link_stage, 8, left.root),
	F_UINT(struct link_stage, 9, left.bytes_in, 0),
	F_UINT(struct link_stage, 10, left.bytes_out, 0),
	F_UINT(struct link_stage, 11, left.cpu_ms, 0),
	F_UINT(struct link_stage, 12, left.max_rss, 0),
	F_UINT(struct link_stage, 13, left.rekeys, 0),
	F_UINT(struct link_stage, 14, left.reissues, 0),
	F_LIST(struct link_stage, 15, left.versions, left.version_count, &bytes_item_schema, 0, 0, 4096),
	F_UINT(struct link_stage, 16, left.keyupdates, 0),
};
static const struct schema stage_schema = SCHEMA(struct link_stage, "stage", SHAPE_MAP, stage_fields);

static const struct field finished_fields[] = {
	F_LIST(struct link_finished, 1, stages, stage_count, &stage_schema, 0, 1, 256),
	F_LIST(struct link_finished, 2, platform, platform_count, &bytes_item_schema, 0, 0, 4),
	F_BYTES(struct link_finished, 3, history, 1, LINK_HELLO_MAX),
};
static const struct schema finished_schema = SCHEMA(struct link_finished, "finished", SHAPE_MAP, finished_fields);

static const struct field receipt_fields[] = {F_BYTES(struct link_receipt, 1, receipt, 1, 256 << 20)};
static const struct schema link_receipt_schema = SCHEMA(struct link_receipt, "receipt", SHAPE_MAP, receipt_fields);

static const struct field empty_fields[] = {F_BOOL(struct link_empty, 1, nothing)};
static const struct schema empty_schema = SCHEMA(struct link_empty, "empty", SHAPE_MAP, empty_fields);

static const struct {
	enum link_type type;
	const char *name;
	const struct schema *schema;
} types[] = {
	{LINK_HELLO, "HELLO", &hello_schema},
	{LINK_FAILED, "FAILED", &failed_schema},
	{LINK_ALIVE, "ALIVE", &empty_schema},
	{LINK_EPOCHS, "EPOCHS", &epochs_schema},
	{LINK_REVOCATIONS, "REVOCATIONS", &revocations_schema},
	{LINK_STAND, "STAND", &empty_schema},
	{LINK_HEAD, "HEAD", &head_schema},
	{LINK_WANT, "WANT", &want_schema},
	{LINK_OFFER, "OFFER", &offer_schema},
	{LINK_ACCEPT, "ACCEPT", &empty_schema},
	{LINK_LAUNCH, "LAUNCH", &epochs_schema},
	{LINK_READY, "READY", &empty_schema},
	{LINK_CONNECT, "CONNECT", &connect_schema},
	{LINK_CONNECTED, "CONNECTED", &empty_schema},
	{LINK_START, "START", &empty_schema},
	{LINK_PROGRESS, "PROGRESS", &progress_schema},
	{LINK_FINISHED, "FINISHED", &finished_schema},
	{LINK_RECEIPT, "RECEIPT", &link_receipt_schema},
	{LINK_VERIFIED, "VERIFIED", &empty_schema},
	{LINK_COMMIT, "COMMIT", &empty_schema},
	{LINK_PUBLISHED, "PUBLISHED", &empty_schema},
};

const struct schema *link_schema(enum link_type type)
{
	for (size_t i = 0; i < COUNT_OF(types); i++)
		if (types[i].type == type)
			return types[i].schema;
	return NULL;
}

const char *link_type_name(enum link_type type)
{
	for (size_t i = 0; i < COUNT_OF(types); i++)
		if (types[i].type == type)
			return types[i].name;
	return "unknown";
}

struct envelope {
	uint8_t type;
	struct span body;
};
static const struct field envelope_fields[] = {
	F_UINT(struct envelope, 1, type, 255),
	F_BYTES(struct envelope, 2, body, 1, LINK_MESSAGE_MAX),
};
static const struct schema envelope_schema = SCHEMA(struct envelope, "message", SHAPE_MAP, envelope_fields);

result link_parse(struct span bytes, enum link_type *out_type, struct span *out_body)
{
	struct envelope envelope;
	CLEANUP(arena_free) struct arena none = arena_of(64);
	TRY(schema_decode(&envelope_schema, bytes, &none, &envelope));
	if (!link_schema((enum link_type)envelope.type))
		return fail(WRONG_KIND, "message %u", envelope.type);
	*out_type = (enum link_type)envelope.type;
	*out_body = envelope.body;
	return OK;
}

void link_message_free(struct link_message *message)
{
	if (message)
		bytes_free(&message->raw);
}

result link_decode(const struct link_message *message, struct arena *arena, void *out)
{
	result decoded = schema_decode(link_schema(message->type), message->body, arena, out);
	return decoded == OK ? OK : fail(LINK_BROKEN, "%s: %s: %s", link_type_name(message->type), reason_name(decoded), failure_text());
}

/* ---- Sending and taking ----------------------------------------------------------------------------- */

struct link {
	pthread_mutex_t lock; /* of everything below: a heart beats beside the owner */
	struct fd fd;
	struct tls *tls;
	char name[PEER_NAME_MAX + 1];
	uint8_t rot_id[OID_SIZE];
	bool known; /* the other side has proved who it is */
	uint8_t prefix[PREFIX_SIZE];
	size_t prefix_len;
	struct bytes in; /* of the message that is arriving: room */
	size_t wanted, got;
	uint64_t heard_ns, said_ns;
	uint32_t silence_ms;
};

const char *link_peer(const struct link *link)
{
	return link->name;
}

const uint8_t *link_peer_root(const struct link *link)
{
	return link->rot_id;
}

int link_fd(const struct link *link)
{
	return link->fd.n;
}

void link_free(struct link *link)
{
	if (!link)
		return;
	tls_free(link->tls);
	fd_close(&link->fd);
	pthread_mutex_destroy(&link->lock);
	bytes_free(&link->in);
	free(link);
}

static void link_cleanup(struct link **link)
{
	link_free(*link);
}

/* What went wrong on the way is the other host's failure as far as a run is concerned. */
static result broken(const struct link *link, result why)
{
	char text[LINK_TEXT_MAX];
	snprintf(text, sizeof(text), "%s", failure_text());
	if (!link->known)
		return why;
	return fail(HOST_FAILED, "host %s: the connection ended (%s: %s)", link->name, reason_name(why), text);
}

static result send_locked(struct link *link, enum link_type type, const void *body, int timeout_ms)
{
	static const struct link_empty nothing = {false};
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes message = BYTES_EMPTY;
	TRY(schema_encode(link_schema(type), body ? body : &nothing, &encoding));
	const struct envelope envelope = {(uint8_t)type, bytes_span(&encoding)};
	TRY(schema_encode(&envelope_schema, &envelope, &message));
	if (message.len > LINK_MESSAGE_MAX)
		return fail(TOO_LARGE, "%s of %zu bytes", link_type_name(type), message.len);
	uint32_t len = (uint32_t)message.len;
	const uint8_t prefix[PREFIX_SIZE] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};
	result sent = tls_write(link->tls, SPAN_ARRAY(prefix), timeout_ms);
	if (sent == OK)
		sent = tls_write(link->tls, bytes_span(&message), timeout_ms);
	link->said_ns = clock_monotonic_ns();
	return sent == OK ? OK : broken(link, sent);
}

static result send_within(struct link *link, enum link_type type, const void *body, int timeout_ms)
{
	pthread_mutex_lock(&link->lock);
	result sent = send_locked(link, type, body, timeout_ms);
	pthread_mutex_unlock(&link->lock);
	return sent;
}

result link_send(struct link *link, enum link_type type, const void *body)
{
	return send_within(link, type, body, LINK_SEND_MS);
}

result link_tick(struct link *link)
{
	pthread_mutex_lock(&link->lock);
	bool is_time = clock_monotonic_ns() - link->said_ns >= LINK_ALIVE_MS * UINT64_C(1000000);
	result sent = is_time ? send_locked(link, LINK_ALIVE, NULL, LINK_SEND_MS) : OK;
	pthread_mutex_unlock(&link->lock);
	return sent;
}

/* Room grows with what has arrived, not with what was announced. */
static result make_room(struct link *link)
{
	size_t room = link->in.len ? link->in.len * 2 : FIRST_ROOM;
	if (link->got < link->in.len)
		return OK;
	if (room > link->wanted)
		room = link->wanted;
	uint8_t *data = realloc(link->in.data, room);
	if (!data)
		return fail(NO_MEMORY, "%zu bytes", room);
	link->in = (struct bytes){data, room};
	return OK;
}

static result take_prefix(struct link *link, int timeout_ms)
{
	while (link->prefix_len < PREFIX_SIZE) {
		size_t n;
		TRY(tls_read_some(link->tls, link->prefix + link->prefix_len, PREFIX_SIZE - link->prefix_len, timeout_ms, &n));
		link->prefix_len += n;
	}
	const uint8_t *p = link->prefix;
	link->wanted = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
	size_t most = link->known ? LINK_MESSAGE_MAX : LINK_HELLO_MAX;
	if (link->wanted == 0 || link->wanted > most)
		return fail(LINK_BROKEN, "a message of %zu bytes", link->wanted);
	return OK;
}

static result take_body(struct link *link, int timeout_ms)
{
	while (link->got < link->wanted) {
		size_t n;
		TRY(make_room(link));
		TRY(tls_read_some(link->tls, link->in.data + link->got, link->in.len - link->got, timeout_ms, &n));
		link->got += n;
		link->heard_ns = clock_monotonic_ns();
	}
	return OK;
}

static result take_one(struct link *link, int timeout_ms, struct link_message *out)
{
	CLEANUP(link_message_free) struct link_message message = LINK_MESSAGE_EMPTY;
	TRY(take_prefix(link, timeout_ms));
	TRY(take_body(link, timeout_ms));
	message.raw = (struct bytes){link->in.data, link->wanted};
	link->in = BYTES_EMPTY;
	link->prefix_len = link->wanted = link->got = 0;
	link->heard_ns = clock_monotonic_ns();
	result parsed = link_parse(bytes_span(&message.raw), &message.type, &message.body);
	if (parsed != OK)
		return fail(LINK_BROKEN, "host %s: %s", link->known ? link->name : "unknown", failure_text());
	*out = message;
	message.raw = BYTES_EMPTY;
	return OK;
}

static result check_heard(const struct link *link)
{
	if (clock_monotonic_ns() - link->heard_ns <= link->silence_ms * UINT64_C(1000000))
		return OK;
	if (link->silence_ms < LINK_SILENCE_MS)
		return fail(LEASE_ENDED, "host %s has been silent for %u ms: what was revoked there would not be heard of", link->name, link->silence_ms);
	return fail(HOST_FAILED, "host %s has been silent for %d s", link->name, LINK_SILENCE_MS / 1000);
}

void link_set_silence(struct link *link, uint32_t ms)
{
	pthread_mutex_lock(&link->lock);
	link->silence_ms = ms < LINK_SILENCE_MS ? ms : LINK_SILENCE_MS;
	pthread_mutex_unlock(&link->lock);
}

static result take_locked(struct link *link, int timeout_ms, struct link_message *out)
{
	uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
	for (size_t alive = 0; alive < ALIVE_MOST; alive++) {
		uint64_t now = clock_monotonic_ns();
		CLEANUP(link_message_free) struct link_message message = LINK_MESSAGE_EMPTY;
		result taken = take_one(link, now < deadline ? (int)((deadline - now) / 1000000) : 0, &message);
		if (taken == TIMED_OUT)
			TRY(check_heard(link));
		if (taken == TIMED_OUT || taken == LINK_BROKEN || taken == NO_MEMORY)
			return taken;
		if (taken != OK)
			return broken(link, taken);
		if (message.type == LINK_ALIVE)
			continue;
		*out = message;
		message.raw = BYTES_EMPTY;
		return OK;
	}
	return fail(LINK_BROKEN, "host %s says ALIVE without end", link->known ? link->name : "unknown");
}

result link_take(struct link *link, int timeout_ms, struct link_message *out)
{
	pthread_mutex_lock(&link->lock);
	result taken = take_locked(link, timeout_ms, out);
	pthread_mutex_unlock(&link->lock);
	return taken;
}

/* What the other side still sends is read: closing over it would reset the connection, and our last word with it. */
static void linger(struct link *link)
{
	uint64_t deadline = clock_monotonic_ns() + GOODBYE_MS * UINT64_C(1000000);
	uint8_t dropped[4096];
	(void)shutdown(link->fd.n, SHUT_WR);
	while (tcp_wait(link->fd.n, POLLIN, deadline) == OK && recv(link->fd.n, dropped, sizeof(dropped), MSG_DONTWAIT) > 0)
		;
}

void link_end(struct link *link, result why)
{
	if (!link)
		return;
	char text[LINK_TEXT_MAX];
	snprintf(text, sizeof(text), "%s", failure_text());
	const struct link_failed failed = {.reason = (uint32_t)why, .text = text, .stage = ""};
	if (why != OK && send_within(link, LINK_FAILED, &failed, GOODBYE_MS) != OK)
		log_debug("a host was not told why its link ended", LOG_TEXT("peer", link->name));
	tls_shutdown(link->tls, GOODBYE_MS);
	linger(link);
	link_free(link);
	if (why != OK) {
		result kept = failure_note(why, "%s", text); /* what is told is still why */
		(void)kept;
	}
}

/* ---- Who is there ----------------------------------------------------------------------------------- */

static result make_hello(const struct link_own *own, struct arena *arena, struct bytes *history, struct link_hello *out)
{
	struct transport_request request = {.purpose = TRANSPORT_LINK, .valid_ms = KEY_VALID_MS};
	memcpy(request.spki, tls_identity_key(own->identity), SHA256_SIZE);
	*out = (struct link_hello){.v = 1};
	TRY(root_host_sign(own->root, KIND_TRANSPORT_KEY, &transport_request_schema, &request, arena, &out->key));
	TRY(root_host_history(own->root, history));
	out->history = bytes_span(history);
	return OK;
}

/* A root that was halted or has forked signs nothing any more; its history says so by itself, and is all that is said. */
static void say_history(struct link *link, const struct bytes *history)
{
	struct bytes_item item = {bytes_span(history)};
	if (send_within(link, LINK_EPOCHS, &(struct link_epochs){&item, 1}, GOODBYE_MS) == OK)
		tls_shutdown(link->tls, GOODBYE_MS);
}

static result say_hello(const struct link_own *own, struct link *link)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	struct link_hello hello;
	result stopped = root_host_refusal(own->root);
	if (stopped != OK && root_host_history(own->root, &history) == OK) {
		say_history(link, &history);
		return root_host_refusal(own->root);
	}
	TRY(make_hello(own, &arena, &history, &hello));
	return link_send(link, LINK_HELLO, &hello);
}

static result judge_key(const struct link_own *own, const struct link *link, struct span object, const struct transport_key *key)
{
	CLEANUP(key_free) struct key sign = KEY_EMPTY;
	uint64_t now = clock_wall_ms();
	TRY(peers_judge(own->peers, key->rot_id, key->epoch_oid, now, &sign));
	if (object_verify(KIND_TRANSPORT_KEY, object, &sign) != OK)
		return fail(TRANSPORT_KEY_WRONG, "its transport key is not signed by the root that it names");
	if (strcmp(key->purpose, TRANSPORT_LINK) != 0)
		return fail(TRANSPORT_KEY_WRONG, "its key is for '%s'", key->purpose);
	if (memcmp(key->spki, tls_peer_key(link->tls), SHA256_SIZE) != 0)
		return fail(TRANSPORT_KEY_WRONG, "the transport key that it shows is another one's");
	if (now + SKEW_MS < key->not_before || now > key->not_after + SKEW_MS)
		return fail(TRANSPORT_KEY_WRONG, "its transport key is not valid now; check the clocks of both hosts");
	return OK;
}

/* Anybody can send a HELLO; what it says counts for enrolled roots alone, and proves nothing but what is signed in it. */
static result judge_hello(const struct link_own *own, const uint8_t *expected, struct link *link, const struct link_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(16 << 20);
	struct link_hello hello;
	struct transport_key key;
	struct peer peer;
	bool changed;
	TRY(link_decode(message, &arena, &hello));
	result peeked = object_peek(KIND_TRANSPORT_KEY, hello.key, &arena, &key, NULL);
	if (peeked != OK)
		return fail(LINK_BROKEN, "a transport key: %s", failure_text());
	if (expected && memcmp(key.rot_id, expected, OID_SIZE) != 0)
		return fail(TRANSPORT_KEY_WRONG, "another host than the one that was called answers");
	TRY(peers_find(own->peers, key.rot_id, &arena, &peer));
	result followed = peers_follow(own->peers, hello.history, clock_wall_ms(), &changed);
	if (followed != OK)
		return fail_within(followed, "host %s", peer.name);
	result judged = judge_key(own, link, hello.key, &key);
	if (judged != OK)
		return fail_within(judged, "host %s", peer.name);
	snprintf(link->name, sizeof(link->name), "%s", peer.name);
	memcpy(link->rot_id, key.rot_id, OID_SIZE);
	return OK;
}

/* In place of a HELLO. As in one, it counts for enrolled roots alone and proves nothing but what is signed in it. */
static result take_history(const struct link_own *own, const struct link_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(16 << 20);
	struct link_epochs body;
	bool changed;
	TRY(link_decode(message, &arena, &body));
	for (size_t i = 0; i < body.history_count; i++)
		TRY(peers_follow(own->peers, body.histories[i].bytes, clock_wall_ms(), &changed));
	return fail(HOST_FAILED, "its root endorses nothing any more");
}

result link_refusal(const struct link_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct link_failed failed;
	TRY(link_decode(message, &arena, &failed));
	const struct reason_row *row = reason_row((enum reason)failed.reason);
	return fail(row && failed.reason != OK ? (enum reason)failed.reason : HOST_FAILED, "the other host refuses: %s", failed.text);
}

static result hear_hello(const struct link_own *own, const uint8_t *expected, struct link *link, uint64_t deadline)
{
	CLEANUP(link_message_free) struct link_message message = LINK_MESSAGE_EMPTY;
	uint64_t now = clock_monotonic_ns();
	result taken = link_take(link, now < deadline ? (int)((deadline - now) / 1000000) : 0, &message);
	if (taken == HOST_FAILED)
		return fail(TIMED_OUT, "no HELLO");
	TRY(taken);
	if (message.type == LINK_FAILED)
		return link_refusal(&message);
	if (message.type == LINK_EPOCHS)
		return take_history(own, &message);
	if (message.type != LINK_HELLO)
		return fail(LINK_BROKEN, "%s instead of HELLO", link_type_name(message.type));
	return judge_hello(own, expected, link, &message);
}

static result new_link(struct fd *fd, struct link **out)
{
	struct link *link = calloc(1, sizeof(*link));
	if (!link)
		return fail(NO_MEMORY, "a link");
	pthread_mutex_init(&link->lock, NULL);
	link->fd = fd_move(fd);
	link->heard_ns = link->said_ns = clock_monotonic_ns();
	link->silence_ms = LINK_SILENCE_MS;
	*out = link;
	return OK;
}

static result open_link(const struct link_own *own, const uint8_t *expected, struct fd *fd, struct link **out)
{
	CLEANUP(link_cleanup) struct link *link = NULL;
	uint64_t deadline = clock_monotonic_ns() + LINK_OPEN_MS * UINT64_C(1000000);
	bool calls = expected != NULL;
	const struct tls_config config = {.identity = own->identity, .server = !calls, .ask_peer = true, .protocol = "troth-link/1"};
	TRY(new_link(fd, &link));
	TRY(tls_open(&config, link->fd.n, LINK_OPEN_MS, &link->tls));
	if (calls)
		TRY(say_hello(own, link));
	result heard = hear_hello(own, expected, link, deadline);
	if (heard != OK && !calls) {
		/* A stranger learns the reason and nothing else. */
		const struct link_failed failed = {.reason = (uint32_t)heard, .text = "", .stage = ""};
		char text[LINK_TEXT_MAX];
		snprintf(text, sizeof(text), "%s", failure_text());
		if (send_within(link, LINK_FAILED, &failed, GOODBYE_MS) == OK)
			tls_shutdown(link->tls, GOODBYE_MS);
		return fail(heard, "%s", text);
	}
	TRY(heard);
	if (!calls)
		TRY(say_hello(own, link));
	link->known = true;
	*out = link;
	link = NULL;
	return OK;
}

result link_dial(const struct link_own *own, const uint8_t rot_id[static OID_SIZE], struct link **out)
{
	return link_dial_with(own, rot_id, &(struct link_call){.cancel = -1}, out);
}

result link_dial_with(const struct link_own *own, const uint8_t rot_id[static OID_SIZE], const struct link_call *call, struct link **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 << 20);
	struct peer peer;
	TRY(peers_find(own->peers, rot_id, &arena, &peer));
	result dialled = fail(PEER_UNREACHABLE, "no address of host %s is known", peer.name);
	for (size_t i = 0; i < peer.address_count && dialled != OK; i++) {
		CLEANUP(fd_close) struct fd fd = FD_NONE;
		dialled = tcp_connect_unless(peer.addresses[i].text, LINK_OPEN_MS / 2, call->cancel, &fd);
		if (dialled == TIMED_OUT)
			break;
		if (dialled == OK && call->connected)
			call->connected(call->ctx, fd.n);
		if (dialled == OK)
			dialled = open_link(own, rot_id, &fd, out);
	}
	return dialled == OK ? OK : fail_within(dialled, "host %s", peer.name);
}

result link_welcome(const struct link_own *own, struct fd *fd, struct link **out)
{
	return open_link(own, NULL, fd, out);
}
