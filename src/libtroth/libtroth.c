/* The workload half of Troth: docs/PROTOCOL.fabric on the inherited descriptor. libc alone; see include/troth/troth.h. */
#include "troth/troth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Theory of operation. One request at a time: its message is built in `out`, sent, and the reply with its tag is read into
 * `in`. Both buffers are of fixed size, since no message is larger. The reader of replies checks what it reads as if the
 * runtime could be wrong: a program should rather end than go on with nonsense.
 */

enum { MESSAGE_MAX = 64 * 1024, DATA_MAX = 60 * 1024, TEXT_MAX = 512, NAME_SIZE = 64, MOST_CAUSES = 56 };
enum { HELLO = 1, CALL, ACCEPT, READ, WRITE, CLOSE, RECORD, ATTEST, SIGN, SEAL, UNSEAL };

struct troth {
	int fd;
	uint64_t tag;
	uint32_t reason;
	char text[TEXT_MAX + 1];
	char name[NAME_SIZE];
	uint8_t run_id[32];
	char from[NAME_SIZE], edge[NAME_SIZE], operation[NAME_SIZE]; /* of the call that was accepted last */
	size_t out_len;
	uint8_t out[4 + MESSAGE_MAX];
	uint8_t in[MESSAGE_MAX];
};

const char *troth_status_name(enum troth_status status)
{
	static const char *const names[] = {"ok", "denied", "the other side failed", "timed out", "cancelled", "limit", "misused", "trouble",
		"end", "no fabric"};
	return (size_t)status < sizeof(names) / sizeof(names[0]) ? names[status] : "unknown";
}

const char *troth_name(const struct troth *t)
{
	return t->name;
}

const uint8_t *troth_run_id(const struct troth *t)
{
	return t->run_id;
}

const char *troth_error(const struct troth *t)
{
	return t->text;
}

uint32_t troth_reason(const struct troth *t)
{
	return t->reason;
}

static enum troth_status say(struct troth *t, enum troth_status status, const char *text)
{
	t->reason = 0;
	snprintf(t->text, sizeof(t->text), "%s", text);
	return status;
}

/* ---- Writing CBOR: what does not fit makes out_len too large, which send_request refuses ---------------------------- */

static void put_bytes(struct troth *t, const void *bytes, size_t len)
{
	if (len > sizeof(t->out) || t->out_len > sizeof(t->out) - len) {
		t->out_len = sizeof(t->out) + 1;
		return;
	}
	if (len)
		memcpy(t->out + t->out_len, bytes, len);
	t->out_len += len;
}

static void put_head(struct troth *t, unsigned major, uint64_t value)
{
	uint8_t head[9];
	unsigned size = value < 24 ? 0 : value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;
	unsigned code = size == 0 ? (unsigned)value : size == 1 ? 24 : size == 2 ? 25 : size == 4 ? 26 : 27;
	head[0] = (uint8_t)(major << 5 | code);
	for (unsigned i = 0; i < size; i++)
		head[1 + i] = (uint8_t)(value >> 8 * (size - 1 - i));
	put_bytes(t, head, 1 + size);
}

static void put_uint(struct troth *t, uint64_t value)
{
	put_head(t, 0, value);
}

static void put_bool(struct troth *t, bool value)
{
	put_head(t, 7, value ? 21 : 20);
}

static void put_data(struct troth *t, const void *data, size_t len)
{
	put_head(t, 2, len);
	put_bytes(t, data, len);
}

static void put_text(struct troth *t, const char *text)
{
	put_head(t, 3, strlen(text));
	put_bytes(t, text, strlen(text));
}

static void put_handles(struct troth *t, const uint64_t *handles, size_t count)
{
	put_head(t, 4, count);
	for (size_t i = 0; i < count; i++)
		put_uint(t, handles[i]);
}

/* ---- Reading CBOR ---------------------------------------------------------------------------------------------------- */

struct cursor {
	const uint8_t *at, *end;
	bool bad;
};

static uint64_t take_head(struct cursor *c, unsigned major)
{
	if (c->bad || c->at == c->end || *c->at >> 5 != major) {
		c->bad = true;
		return 0;
	}
	unsigned code = *c->at++ & 31;
	if (code < 24)
		return code;
	size_t size = code <= 27 ? (size_t)1 << (code - 24) : 0;
	uint64_t value = 0;
	if (!size || (size_t)(c->end - c->at) < size) {
		c->bad = true;
		return 0;
	}
	for (size_t i = 0; i < size; i++)
		value = value << 8 | *c->at++;
	return value;
}

static void take_map(struct cursor *c, uint64_t pairs)
{
	if (take_head(c, 5) != pairs)
		c->bad = true;
}

static void take_key(struct cursor *c, uint64_t key)
{
	if (take_head(c, 0) != key)
		c->bad = true;
}

static uint64_t take_uint(struct cursor *c, uint64_t key)
{
	take_key(c, key);
	return take_head(c, 0);
}

static bool take_bool(struct cursor *c, uint64_t key)
{
	take_key(c, key);
	uint64_t value = take_head(c, 7);
	if (value != 20 && value != 21)
		c->bad = true;
	return value == 21;
}

static const uint8_t *take_string(struct cursor *c, uint64_t key, unsigned major, size_t *out_len)
{
	take_key(c, key);
	uint64_t len = take_head(c, major);
	if (c->bad || len > (uint64_t)(c->end - c->at)) {
		c->bad = true;
		*out_len = 0;
		return c->at;
	}
	const uint8_t *bytes = c->at;
	c->at += len;
	*out_len = (size_t)len;
	return bytes;
}

static void take_text(struct cursor *c, uint64_t key, char *out, size_t size)
{
	size_t len;
	const uint8_t *text = take_string(c, key, 3, &len);
	if (len >= size)
		c->bad = true;
	snprintf(out, size, "%.*s", (int)(len < size ? len : size - 1), (const char *)text);
}

static void take_fixed(struct cursor *c, uint64_t key, void *out, size_t size)
{
	size_t len;
	const uint8_t *bytes = take_string(c, key, 2, &len);
	if (len == size)
		memcpy(out, bytes, size);
	else
		c->bad = true;
}

static enum troth_status checked(struct troth *t, const struct cursor *c)
{
	return !c->bad && c->at == c->end ? TROTH_OK : say(t, TROTH_TROUBLE, "the runtime's reply cannot be read");
}

/* ---- One request ------------------------------------------------------------------------------------------------------ */

/* Leaves room for length, envelope and the length of the body, which are known at the end. */
enum { ENVELOPE = 4 + 1 + 2 + 1 + 9 + 1 + 5 };

static void begin(struct troth *t)
{
	t->out_len = ENVELOPE;
}

static enum troth_status write_all(struct troth *t, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t sent = send(t->fd, data, len, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return say(t, TROTH_TROUBLE, "the runtime has ended the conversation");
		data += sent;
		len -= (size_t)sent;
	}
	return TROTH_OK;
}

static enum troth_status read_all(struct troth *t, uint8_t *data, size_t len)
{
	while (len) {
		ssize_t got = recv(t->fd, data, len, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return say(t, TROTH_TROUBLE, "the runtime has ended the conversation");
		data += got;
		len -= (size_t)got;
	}
	return TROTH_OK;
}

/* The body stands at ENVELOPE; what comes before it is written to the front, then moved up to it. */
static enum troth_status send_request(struct troth *t, unsigned type)
{
	size_t body = t->out_len - ENVELOPE;
	if (t->out_len > sizeof(t->out))
		return say(t, TROTH_MISUSED, "the request is too large");
	t->out_len = 4;
	put_head(t, 5, 3);
	put_uint(t, 1);
	put_uint(t, type);
	put_uint(t, 2);
	put_uint(t, ++t->tag);
	put_uint(t, 3);
	put_head(t, 2, body);
	size_t front = t->out_len, size = front - 4 + body;
	for (int i = 0; i < 4; i++)
		t->out[i] = (uint8_t)(size >> (24 - 8 * i));
	memmove(t->out + ENVELOPE - front, t->out, front);
	return write_all(t, t->out + ENVELOPE - front, front + body);
}

static enum troth_status receive_reply(struct troth *t, struct cursor *out_body)
{
	uint8_t head[4];
	size_t len;
	enum troth_status status = read_all(t, head, sizeof(head));
	if (status != TROTH_OK)
		return status;
	size_t size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
	if (size > sizeof(t->in))
		return say(t, TROTH_TROUBLE, "the runtime's reply is too large");
	if ((status = read_all(t, t->in, size)) != TROTH_OK)
		return status;
	struct cursor c = {t->in, t->in + size, false};
	take_map(&c, 5);
	uint64_t tag = take_uint(&c, 1), code = take_uint(&c, 2), reason = take_uint(&c, 3);
	take_text(&c, 4, t->text, sizeof(t->text));
	const uint8_t *body = take_string(&c, 5, 2, &len);
	if (c.bad || tag != t->tag || code > TROTH_TROUBLE)
		return say(t, TROTH_TROUBLE, "the runtime's reply cannot be read");
	t->reason = (uint32_t)reason;
	*out_body = (struct cursor){body, body + len, false};
	return (enum troth_status)code;
}

static enum troth_status ask(struct troth *t, unsigned type, struct cursor *out_body)
{
	enum troth_status status = send_request(t, type);
	return status == TROTH_OK ? receive_reply(t, out_body) : status;
}

static enum troth_status copy_out(struct troth *t, const uint8_t *bytes, size_t len, void **out, size_t *out_len)
{
	uint8_t *copy = malloc(len + 1);
	if (!copy)
		return say(t, TROTH_TROUBLE, "memory ran out");
	memcpy(copy, bytes, len);
	copy[len] = 0;
	*out = copy;
	*out_len = len;
	return TROTH_OK;
}

/* ---- The conversation --------------------------------------------------------------------------------------------------- */

static void skip_edges(struct cursor *c)
{
	size_t len;
	char text[NAME_SIZE];
	take_key(c, 4);
	uint64_t count = take_head(c, 4);
	for (uint64_t i = 0; i < count && !c->bad; i++) {
		uint64_t parts = take_head(c, 4);
		for (int part = 0; part < 3 && !c->bad; part++) {
			uint64_t size = take_head(c, 3);
			len = size < sizeof(text) ? (size_t)size : sizeof(text);
			if (parts != 4 || len == sizeof(text) || (size_t)(c->end - c->at) < len)
				c->bad = true;
			else
				c->at += len;
		}
		(void)take_head(c, 7);
	}
}

static enum troth_status hello(struct troth *t)
{
	struct cursor c;
	begin(t);
	put_head(t, 5, 1);
	put_uint(t, 1);
	put_uint(t, 1);
	enum troth_status status = ask(t, HELLO, &c);
	if (status != TROTH_OK)
		return status;
	take_map(&c, 4);
	if (take_uint(&c, 1) != 1)
		return say(t, TROTH_TROUBLE, "the runtime speaks another version");
	take_text(&c, 2, t->name, sizeof(t->name));
	take_fixed(&c, 3, t->run_id, sizeof(t->run_id));
	skip_edges(&c);
	return checked(t, &c);
}

enum troth_status troth_open(struct troth **out)
{
	const char *number = getenv("TROTH_FABRIC");
	char *end;
	long fd = number ? strtol(number, &end, 10) : -1;
	if (!number || *end || fd < 3 || fd > 63)
		return TROTH_NO_FABRIC;
	struct troth *t = calloc(1, sizeof(*t));
	if (!t)
		return TROTH_TROUBLE;
	t->fd = (int)fd;
	enum troth_status status = hello(t);
	if (status != TROTH_OK) {
		free(t);
		return status;
	}
	*out = t;
	return TROTH_OK;
}

void troth_close(struct troth *t)
{
	if (!t)
		return;
	close(t->fd);
	free(t);
}

/* ---- Calls ----------------------------------------------------------------------------------------------------------------- */

static enum troth_status start_call(struct troth *t, const char *peer, const char *operation, const struct troth_options *options,
	const void *data, size_t len, bool last, uint64_t *out_handle)
{
	static const struct troth_options none;
	struct cursor c;
	if (!options)
		options = &none;
	if (options->cause_count > MOST_CAUSES)
		return say(t, TROTH_LIMIT, "more than 56 causes");
	begin(t);
	put_head(t, 5, 7);
	put_uint(t, 1);
	put_text(t, peer);
	put_uint(t, 2);
	put_text(t, operation ? operation : "");
	put_uint(t, 3);
	put_handles(t, options->causes, options->cause_count);
	put_uint(t, 4);
	put_uint(t, options->timeout_ms);
	put_uint(t, 5);
	put_bool(t, options->push);
	put_uint(t, 6);
	put_data(t, data, len);
	put_uint(t, 7);
	put_bool(t, last);
	enum troth_status status = ask(t, CALL, &c);
	if (status != TROTH_OK)
		return status;
	take_map(&c, 1);
	uint64_t handle = take_uint(&c, 1);
	if ((status = checked(t, &c)) == TROTH_OK)
		*out_handle = handle;
	return status;
}

enum troth_status troth_connect(struct troth *t, const char *peer, const char *operation, const struct troth_options *options,
	uint64_t *out_handle)
{
	return start_call(t, peer, operation, options, "", 0, false, out_handle);
}

static enum troth_status write_piece(struct troth *t, uint64_t handle, const uint8_t *data, size_t len, bool last)
{
	struct cursor c;
	begin(t);
	put_head(t, 5, 3);
	put_uint(t, 1);
	put_uint(t, handle);
	put_uint(t, 2);
	put_data(t, data, len);
	put_uint(t, 3);
	put_bool(t, last);
	return ask(t, WRITE, &c);
}

enum troth_status troth_send(struct troth *t, uint64_t handle, const void *data, size_t len, bool last)
{
	const uint8_t *at = data;
	for (;;) {
		size_t piece = len < DATA_MAX ? len : DATA_MAX;
		bool all = piece == len;
		enum troth_status status = all && !piece && !last ? TROTH_OK : write_piece(t, handle, at, piece, last && all);
		if (status != TROTH_OK || all)
			return status;
		at += piece;
		len -= piece;
	}
}

enum troth_status troth_receive(struct troth *t, uint64_t handle, void *buffer, size_t cap, size_t *out_len, bool *out_last)
{
	struct cursor c;
	size_t len;
	if (cap == 0)
		return say(t, TROTH_MISUSED, "a buffer of no bytes");
	begin(t);
	put_head(t, 5, 2);
	put_uint(t, 1);
	put_uint(t, handle);
	put_uint(t, 2);
	put_uint(t, cap < DATA_MAX ? cap : DATA_MAX);
	enum troth_status status = ask(t, READ, &c);
	if (status != TROTH_OK)
		return status;
	take_map(&c, 2);
	const uint8_t *data = take_string(&c, 1, 2, &len);
	bool last = take_bool(&c, 2);
	if (len > cap)
		c.bad = true;
	if ((status = checked(t, &c)) != TROTH_OK)
		return status;
	memcpy(buffer, data, len);
	*out_len = len;
	*out_last = last;
	return TROTH_OK;
}

struct gathered {
	uint8_t *bytes;
	size_t len, cap;
};

static enum troth_status make_room(struct troth *t, struct gathered *g, size_t max)
{
	if (g->len < g->cap)
		return TROTH_OK;
	size_t cap = g->cap ? 2 * g->cap : 4096;
	if (g->len >= max && g->cap > max)
		return say(t, TROTH_LIMIT, "it is larger than was asked for");
	if (cap > max)
		cap = max + 1;
	uint8_t *bytes = realloc(g->bytes, cap + 1);
	if (!bytes)
		return say(t, TROTH_TROUBLE, "memory ran out");
	g->bytes = bytes;
	g->cap = cap;
	return TROTH_OK;
}

enum troth_status troth_read_all(struct troth *t, uint64_t handle, size_t max, void **out, size_t *out_len)
{
	struct gathered g = {0};
	enum troth_status status = TROTH_OK;
	bool last = false;
	while (!last && status == TROTH_OK) {
		size_t got = 0;
		status = make_room(t, &g, max);
		if (status == TROTH_OK)
			status = troth_receive(t, handle, g.bytes + g.len, g.cap - g.len, &got, &last);
		g.len += got;
		if (status == TROTH_OK && g.len > max)
			status = say(t, TROTH_LIMIT, "it is larger than was asked for");
	}
	if (status != TROTH_OK) {
		free(g.bytes);
		return status;
	}
	g.bytes[g.len] = 0;
	*out = g.bytes;
	*out_len = g.len;
	return TROTH_OK;
}

enum troth_status troth_finish(struct troth *t, uint64_t handle)
{
	struct cursor c;
	begin(t);
	put_head(t, 5, 1);
	put_uint(t, 1);
	put_uint(t, handle);
	return ask(t, CLOSE, &c);
}

/* The call is over either way; what counts is why it failed first. */
static enum troth_status give_up(struct troth *t, uint64_t handle, enum troth_status why)
{
	char text[TEXT_MAX + 1];
	uint32_t reason = t->reason;
	memcpy(text, t->text, sizeof(text));
	(void)troth_finish(t, handle);
	memcpy(t->text, text, sizeof(text));
	t->reason = reason;
	return why;
}

static enum troth_status start_whole(struct troth *t, const char *peer, const char *operation, const struct troth_options *options,
	const void *data, size_t len, uint64_t *out_handle)
{
	uint64_t handle;
	bool small = len <= DATA_MAX / 2;
	enum troth_status status = start_call(t, peer, operation, options, data, small ? len : 0, small, &handle);
	if (status != TROTH_OK)
		return status;
	if (!small && (status = troth_send(t, handle, data, len, true)) != TROTH_OK)
		return give_up(t, handle, status);
	*out_handle = handle;
	return TROTH_OK;
}

enum troth_status troth_call(struct troth *t, const char *peer, const char *operation, const void *data, size_t len, void **out,
	size_t *out_len)
{
	uint64_t handle;
	enum troth_status status = start_whole(t, peer, operation, NULL, data, len, &handle);
	if (status != TROTH_OK)
		return status;
	void *answer;
	size_t answer_len;
	status = troth_read_all(t, handle, SIZE_MAX / 4, &answer, &answer_len);
	if (status != TROTH_OK)
		return give_up(t, handle, status);
	if ((status = troth_finish(t, handle)) != TROTH_OK) {
		free(answer);
		return status;
	}
	*out = answer;
	*out_len = answer_len;
	return TROTH_OK;
}

enum troth_status troth_push(struct troth *t, const char *peer, const char *operation, const void *data, size_t len)
{
	const struct troth_options options = {.push = true};
	uint64_t handle;
	uint8_t byte;
	size_t got;
	bool last;
	enum troth_status status = start_whole(t, peer, operation, &options, data, len, &handle);
	if (status != TROTH_OK)
		return status;
	if ((status = troth_receive(t, handle, &byte, 1, &got, &last)) != TROTH_OK)
		return give_up(t, handle, status);
	return troth_finish(t, handle);
}

/* ---- Serving ------------------------------------------------------------------------------------------------------------------ */

enum troth_status troth_accept(struct troth *t, struct troth_incoming *out)
{
	struct cursor c;
	begin(t);
	put_head(t, 5, 1);
	put_uint(t, 1);
	put_bool(t, true);
	enum troth_status status = ask(t, ACCEPT, &c);
	if (status != TROTH_OK)
		return status;
	take_map(&c, 7);
	struct troth_incoming incoming = {.handle = take_uint(&c, 1), .from = t->from, .edge = t->edge, .operation = t->operation};
	take_text(&c, 2, t->from, sizeof(t->from));
	take_text(&c, 3, t->edge, sizeof(t->edge));
	take_text(&c, 4, t->operation, sizeof(t->operation));
	incoming.push = take_bool(&c, 5);
	incoming.timeout_ms = take_uint(&c, 6);
	bool end = take_bool(&c, 7);
	if ((status = checked(t, &c)) != TROTH_OK)
		return status;
	if (end)
		return say(t, TROTH_END, "nobody is left who could call");
	*out = incoming;
	return TROTH_OK;
}

enum troth_status troth_respond(struct troth *t, uint64_t handle, const void *data, size_t len)
{
	enum troth_status status = troth_send(t, handle, data, len, true);
	return status == TROTH_OK ? troth_finish(t, handle) : give_up(t, handle, status);
}

/* ---- Records, evidence, statements ---------------------------------------------------------------------------------------------- */

enum troth_status troth_record(struct troth *t, const char *name, const void *data, size_t len, const uint64_t *causes, size_t cause_count,
	struct troth_record *out)
{
	struct cursor c;
	struct troth_record made;
	if (cause_count > MOST_CAUSES || len > DATA_MAX)
		return say(t, TROTH_LIMIT, "more than 56 causes or 60 KiB");
	begin(t);
	put_head(t, 5, 3);
	put_uint(t, 1);
	put_text(t, name);
	put_uint(t, 2);
	put_handles(t, causes, cause_count);
	put_uint(t, 3);
	put_data(t, data, len);
	enum troth_status status = ask(t, RECORD, &c);
	if (status != TROTH_OK)
		return status;
	take_map(&c, 3);
	take_fixed(&c, 1, made.oid, sizeof(made.oid));
	take_fixed(&c, 2, made.salt, sizeof(made.salt));
	take_fixed(&c, 3, made.commit, sizeof(made.commit));
	if ((status = checked(t, &c)) == TROTH_OK)
		*out = made;
	return status;
}

enum troth_status troth_attest(struct troth *t, const void *nonce, size_t len, void **out_certificate, size_t *out_certificate_len,
	void **out_report, size_t *out_report_len)
{
	struct cursor c;
	size_t certificate_len, report_len;
	void *certificate;
	begin(t);
	put_head(t, 5, 1);
	put_uint(t, 1);
	put_data(t, nonce, len);
	enum troth_status status = ask(t, ATTEST, &c);
	if (status != TROTH_OK)
		return status;
	take_map(&c, 2);
	const uint8_t *first = take_string(&c, 1, 2, &certificate_len), *second = take_string(&c, 2, 2, &report_len);
	if ((status = checked(t, &c)) != TROTH_OK || (status = copy_out(t, first, certificate_len, &certificate, &certificate_len)) != TROTH_OK)
		return status;
	if ((status = copy_out(t, second, report_len, out_report, out_report_len)) != TROTH_OK) {
		free(certificate);
		return status;
	}
	*out_certificate = certificate;
	*out_certificate_len = certificate_len;
	return TROTH_OK;
}

enum troth_status troth_sign(struct troth *t, const char *name, const char *media_type, const void *data, size_t len, void **out,
	size_t *out_len)
{
	struct cursor c;
	size_t object_len;
	begin(t);
	put_head(t, 5, 3);
	put_uint(t, 1);
	put_text(t, name);
	put_uint(t, 2);
	put_text(t, media_type);
	put_uint(t, 3);
	put_data(t, data, len);
	enum troth_status status = ask(t, SIGN, &c);
	if (status != TROTH_OK)
		return status;
	take_map(&c, 1);
	const uint8_t *object = take_string(&c, 1, 2, &object_len);
	if ((status = checked(t, &c)) != TROTH_OK)
		return status;
	return copy_out(t, object, object_len, out, out_len);
}

/* ---- Sealing ------------------------------------------------------------------------------------------ */

static enum troth_status ask_bytes(struct troth *t, unsigned type, const void *data, size_t len, void **out, size_t *out_len)
{
	struct cursor c;
	size_t got;
	begin(t);
	put_head(t, 5, 1);
	put_uint(t, 1);
	put_data(t, data, len);
	enum troth_status status = ask(t, type, &c);
	if (status != TROTH_OK)
		return status;
	take_map(&c, 1);
	const uint8_t *bytes = take_string(&c, 1, 2, &got);
	if ((status = checked(t, &c)) != TROTH_OK)
		return status;
	return copy_out(t, bytes, got, out, out_len);
}

enum troth_status troth_seal(struct troth *t, const void *data, size_t len, void **out, size_t *out_len)
{
	if (len > TROTH_SEAL_MAX)
		return say(t, TROTH_LIMIT, "more than 56 KiB");
	return ask_bytes(t, SEAL, data, len, out, out_len);
}

enum troth_status troth_unseal(struct troth *t, const void *sealed, size_t len, void **out, size_t *out_len)
{
	if (len > DATA_MAX)
		return say(t, TROTH_MISUSED, "larger than any sealed value");
	return ask_bytes(t, UNSEAL, sealed, len, out, out_len);
}
