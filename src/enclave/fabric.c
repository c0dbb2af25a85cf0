#include "enclave/fabric.h"

#include <stdio.h>

#include "wire/text.h"

static const struct field handle_fields[] = {F_UINT(struct fabric_handle, 1, number, 0)};
static const struct schema handle_schema = SCHEMA(struct fabric_handle, "handle", SHAPE_BARE, handle_fields);

static const struct field hello_fields[] = {F_UINT(struct fabric_hello, 1, version, 0)};
const struct schema fabric_hello_schema = SCHEMA(struct fabric_hello, "HELLO", SHAPE_MAP, hello_fields);

static const struct field edge_fields[] = {
	F_TEXT(struct fabric_edge, 1, name, 1, NAME_MAX_LEN),
	F_TEXT(struct fabric_edge, 2, peer, 1, NAME_MAX_LEN),
	F_TEXT(struct fabric_edge, 3, operation, 1, NAME_MAX_LEN),
	F_BOOL(struct fabric_edge, 4, outgoing),
};
static const struct schema edge_schema = SCHEMA(struct fabric_edge, "edge", SHAPE_ARRAY, edge_fields);
static const struct field welcome_fields[] = {
	F_UINT(struct fabric_welcome, 1, version, 0),
	F_TEXT(struct fabric_welcome, 2, enclave, 1, NAME_MAX_LEN),
	F_FIXED(struct fabric_welcome, 3, run_id),
	F_LIST(struct fabric_welcome, 4, edges, edge_count, &edge_schema, 0, 0, 256),
};
const struct schema fabric_welcome_schema = SCHEMA(struct fabric_welcome, "WELCOME", SHAPE_MAP, welcome_fields);

static const struct field call_fields[] = {
	F_TEXT(struct fabric_call, 1, to, 1, NAME_MAX_LEN),
	F_TEXT(struct fabric_call, 2, operation, 0, NAME_MAX_LEN),
	F_LIST(struct fabric_call, 3, causes, cause_count, &handle_schema, 0, 0, FABRIC_MAX_CAUSES),
	F_UINT(struct fabric_call, 4, timeout_ms, 0),
	F_BOOL(struct fabric_call, 5, push),
	F_BYTES(struct fabric_call, 6, data, 0, FABRIC_DATA_MAX),
	F_BOOL(struct fabric_call, 7, last),
};
const struct schema fabric_call_schema = SCHEMA(struct fabric_call, "CALL", SHAPE_MAP, call_fields);
static const struct field called_fields[] = {F_UINT(struct fabric_called, 1, handle, 0)};
const struct schema fabric_called_schema = SCHEMA(struct fabric_called, "CALLED", SHAPE_MAP, called_fields);

static const struct field accept_fields[] = {F_BOOL(struct fabric_accept, 1, wait)};
const struct schema fabric_accept_schema = SCHEMA(struct fabric_accept, "ACCEPT", SHAPE_MAP, accept_fields);
static const struct field accepted_fields[] = {
	F_UINT(struct fabric_accepted, 1, handle, 0),
	F_TEXT(struct fabric_accepted, 2, from, 0, NAME_MAX_LEN),
	F_TEXT(struct fabric_accepted, 3, edge, 0, NAME_MAX_LEN),
	F_TEXT(struct fabric_accepted, 4, operation, 0, NAME_MAX_LEN),
	F_BOOL(struct fabric_accepted, 5, push),
	F_UINT(struct fabric_accepted, 6, timeout_ms, 0),
	F_BOOL(struct fabric_accepted, 7, end),
};
const struct schema fabric_accepted_schema = SCHEMA(struct fabric_accepted, "ACCEPTED", SHAPE_MAP, accepted_fields);

static const struct field read_fields[] = {
	F_UINT(struct fabric_read, 1, handle, 0),
	F_UINT(struct fabric_read, 2, most, 0),
};
const struct schema fabric_read_schema = SCHEMA(struct fabric_read, "READ", SHAPE_MAP, read_fields);
static const struct field data_fields[] = {
	F_BYTES(struct fabric_data, 1, data, 0, FABRIC_DATA_MAX),
	F_BOOL(struct fabric_data, 2, last),
};
const struct schema fabric_data_schema = SCHEMA(struct fabric_data, "DATA", SHAPE_MAP, data_fields);

static const struct field write_fields[] = {
	F_UINT(struct fabric_write, 1, handle, 0),
	F_BYTES(struct fabric_write, 2, data, 0, FABRIC_DATA_MAX),
	F_BOOL(struct fabric_write, 3, last),
};
const struct schema fabric_write_schema = SCHEMA(struct fabric_write, "WRITE", SHAPE_MAP, write_fields);

static const struct field close_fields[] = {F_UINT(struct fabric_close, 1, handle, 0)};
const struct schema fabric_close_schema = SCHEMA(struct fabric_close, "CLOSE", SHAPE_MAP, close_fields);

static const struct field record_fields[] = {
	F_TEXT(struct fabric_record, 1, name, 1, NAME_MAX_LEN),
	F_LIST(struct fabric_record, 2, causes, cause_count, &handle_schema, 0, 0, FABRIC_MAX_CAUSES),
	F_BYTES(struct fabric_record, 3, data, 0, FABRIC_DATA_MAX),
};
const struct schema fabric_record_schema = SCHEMA(struct fabric_record, "RECORD", SHAPE_MAP, record_fields);
static const struct field recorded_fields[] = {
	F_FIXED(struct fabric_recorded, 1, oid),
	F_FIXED(struct fabric_recorded, 2, salt),
	F_FIXED(struct fabric_recorded, 3, commit),
};
const struct schema fabric_recorded_schema = SCHEMA(struct fabric_recorded, "RECORDED", SHAPE_MAP, recorded_fields);

static const struct field attest_fields[] = {F_BYTES(struct fabric_attest, 1, nonce, 16, FABRIC_NONCE_MAX)};
const struct schema fabric_attest_schema = SCHEMA(struct fabric_attest, "ATTEST", SHAPE_MAP, attest_fields);
static const struct field attested_fields[] = {
	F_BYTES(struct fabric_attested, 1, certificate, 1, 16 * 1024),
	F_BYTES(struct fabric_attested, 2, report, 1, 32 * 1024),
};
const struct schema fabric_attested_schema = SCHEMA(struct fabric_attested, "ATTESTED", SHAPE_MAP, attested_fields);

static const struct field sign_fields[] = {
	F_TEXT(struct fabric_sign, 1, name, 1, NAME_MAX_LEN),
	F_TEXT(struct fabric_sign, 2, media_type, 1, 127),
	F_BYTES(struct fabric_sign, 3, data, 0, FABRIC_DATA_MAX),
};
const struct schema fabric_sign_schema = SCHEMA(struct fabric_sign, "SIGN", SHAPE_MAP, sign_fields);
static const struct field object_fields[] = {F_BYTES(struct fabric_object, 1, object, 1, FABRIC_DATA_MAX)};
const struct schema fabric_object_schema = SCHEMA(struct fabric_object, "OBJECT", SHAPE_MAP, object_fields);
static const struct field plain_fields[] = {F_BYTES(struct fabric_plain, 1, data, 0, FABRIC_SEAL_MAX)};
const struct schema fabric_plain_schema = SCHEMA(struct fabric_plain, "PLAIN", SHAPE_MAP, plain_fields);

static const struct field empty_fields[] = {F_BOOL(struct fabric_empty, 1, nothing)};
const struct schema fabric_empty_schema = SCHEMA(struct fabric_empty, "empty", SHAPE_MAP, empty_fields);

/* ---- Requests ----------------------------------------------------------------------------------- */

static const struct schema *const requests[] = {
	[FABRIC_HELLO] = &fabric_hello_schema,
	[FABRIC_CALL] = &fabric_call_schema,
	[FABRIC_ACCEPT] = &fabric_accept_schema,
	[FABRIC_READ] = &fabric_read_schema,
	[FABRIC_WRITE] = &fabric_write_schema,
	[FABRIC_CLOSE] = &fabric_close_schema,
	[FABRIC_RECORD] = &fabric_record_schema,
	[FABRIC_ATTEST] = &fabric_attest_schema,
	[FABRIC_SIGN] = &fabric_sign_schema,
	[FABRIC_SEAL] = &fabric_plain_schema,
	[FABRIC_UNSEAL] = &fabric_object_schema,
};

struct envelope {
	uint8_t type;
	uint64_t tag;
	struct span body;
};
static const struct field envelope_fields[] = {
	F_UINT(struct envelope, 1, type, 255),
	F_UINT(struct envelope, 2, tag, 0),
	F_BYTES(struct envelope, 3, body, 1, FABRIC_MAX),
};
static const struct schema envelope_schema = SCHEMA(struct envelope, "fabric request", SHAPE_MAP, envelope_fields);

result fabric_parse(struct span message, struct arena *arena, struct fabric_request *out, bool *out_tagged)
{
	CLEANUP(arena_free) struct arena none = arena_of(64);
	struct fabric_request request = {0};
	struct envelope envelope;
	*out_tagged = false;
	if (message.len > FABRIC_MAX)
		return fail(TOO_LARGE, "a fabric request of %zu bytes", message.len);
	TRY(schema_decode(&envelope_schema, message, &none, &envelope));
	request.type = (enum fabric_type)envelope.type;
	request.tag = envelope.tag;
	*out = request;
	*out_tagged = true;
	if (envelope.type >= COUNT_OF(requests) || !requests[envelope.type])
		return fail(WRONG_KIND, "fabric request %u", envelope.type);
	TRY(schema_decode(requests[envelope.type], envelope.body, arena, &request.body));
	*out = request;
	return OK;
}

/* ---- Replies ------------------------------------------------------------------------------------ */

struct reply {
	uint64_t tag;
	uint8_t status;
	uint32_t reason;
	const char *text;
	struct span body;
};
static const struct field reply_fields[] = {
	F_UINT(struct reply, 1, tag, 0),
	F_UINT(struct reply, 2, status, FABRIC_TROUBLE),
	F_UINT(struct reply, 3, reason, 0),
	F_TEXT(struct reply, 4, text, 0, FABRIC_TEXT_MAX),
	F_BYTES(struct reply, 5, body, 0, FABRIC_MAX),
};
static const struct schema reply_schema = SCHEMA(struct reply, "fabric reply", SHAPE_MAP, reply_fields);

static result put(const struct reply *reply, struct writer *out)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct span unused;
	TRY(schema_encode(&reply_schema, reply, &encoding));
	writer_lv(out, bytes_span(&encoding));
	return writer_finish(out, &unused);
}

result fabric_put_reply(uint64_t tag, const struct schema *schema, const void *body, struct writer *out)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	TRY(schema_encode(schema, body, &encoding));
	const struct reply reply = {.tag = tag, .text = "", .body = bytes_span(&encoding)};
	return put(&reply, out);
}

static const struct {
	enum reason first, last;
	enum fabric_status status;
} statuses[] = {
	{NO_MEMORY, DISK_FULL, FABRIC_TROUBLE},
	{TIMED_OUT, TIMED_OUT, FABRIC_TIMED_OUT},
	{PEER_CLOSED, PEER_CLOSED, FABRIC_PEER_FAILED},
	{LIMIT_EXCEEDED, LIMIT_EXCEEDED, FABRIC_LIMIT},
	{CALL_NOT_DECLARED, CALL_NOT_DECLARED, FABRIC_DENIED},
	{CALL_ABORTED, CALL_ABORTED, FABRIC_PEER_FAILED},
	{CALL_TIMED_OUT, CALL_TIMED_OUT, FABRIC_TIMED_OUT},
	{CALL_CANCELLED, CALL_CANCELLED, FABRIC_CANCELLED},
	{CALL_LIMIT, CALL_LIMIT, FABRIC_LIMIT},
	{CALL_CAUSE_NEEDED, CALL_UNKNOWN, FABRIC_MISUSED},
	{CALL_NOT_SERVED, CALL_NOT_SERVED, FABRIC_PEER_FAILED},
	{FABRIC_MISUSE, FABRIC_MISUSE, FABRIC_MISUSED},
	{TRUNCATED, UNSUPPORTED_ALGORITHM, FABRIC_MISUSED},
	{SEAL_FOREIGN, SEAL_FOREIGN, FABRIC_DENIED},
	{NO_POLICY, STATE_NOT_ALLOWED, FABRIC_DENIED},
};

enum fabric_status fabric_status_of(enum reason reason)
{
	if (reason == OK)
		return FABRIC_OK;
	for (size_t i = 0; i < COUNT_OF(statuses); i++)
		if (reason >= statuses[i].first && reason <= statuses[i].last)
			return statuses[i].status;
	return FABRIC_PEER_FAILED;
}

result fabric_put_refusal(uint64_t tag, enum reason reason, const char *text, struct writer *out)
{
	char plain[FABRIC_TEXT_MAX + 1];
	snprintf(plain, sizeof(plain), "%s: %s", reason_name(reason), text);
	text_make_plain(plain);
	const struct reply reply = {.tag = tag, .status = (uint8_t)fabric_status_of(reason), .reason = (uint32_t)reason, .text = plain};
	return put(&reply, out);
}
