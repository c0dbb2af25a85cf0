#include "enclave/data_frame.h"

#include "policy/versions.h"

enum { STREAM_ID = 1, CERTIFICATE_BYTES_MAX = 64 * 1024, SMALL_FRAME_MAX = 64 * 1024, PLATFORMS_MAX = 16 };

struct envelope {
	uint8_t type;
	uint64_t sid;
	struct span body; /* CHUNK: a byte string; else a map */
};
static const struct field envelope_fields[] = {
	F_UINT(struct envelope, 1, type, DATA_ABORT),
	F_UINT(struct envelope, 2, sid, STREAM_ID),
	F_ANY(struct envelope, 3, body, DATA_FRAME_MAX),
};
static const struct schema envelope_schema = SCHEMA(struct envelope, "data frame", SHAPE_MAP, envelope_fields);

static const struct field open_fields[] = {
	F_FIXED(struct data_open, 1, run_id),
	F_TEXT(struct data_open, 2, edge, 1, NAME_MAX_LEN),
	F_TEXT(struct data_open, 3, operation, 1, NAME_MAX_LEN),
	F_FIXED(struct data_open, 4, call_id),
	F_FIXED(struct data_open, 5, salt),
};
const struct schema data_open_schema = SCHEMA(struct data_open, "OPEN", SHAPE_MAP, open_fields);

enum { CLOSURE_MAX = 4096 };
static const struct field end_fields[] = {
	F_UINT(struct data_end, 1, length, 0),
	F_BYTES_OR_NULL(struct data_end, 2, record, has_record, 1, SMALL_FRAME_MAX),
	F_LIST(struct data_end, 3, certificates, certificate_count, &bytes_item_schema, 0, 0, CLOSURE_MAX),
	F_LIST(struct data_end, 4, reports, report_count, &bytes_item_schema, 0, 0, CLOSURE_MAX),
	F_LIST(struct data_end, 5, policies, policy_count, &bytes_item_schema, 0, 0, CLOSURE_MAX),
	F_LIST(struct data_end, 6, records, record_count, &bytes_item_schema, 0, 0, CLOSURE_MAX),
	F_LIST_OR_ABSENT(struct data_end, 7, versions, version_count, has_versions, &bytes_item_schema, 0, 1, POLICY_MAX_VERSIONS),
	F_LIST_ABSENT(struct data_end, 8, platforms, platform_count, &bytes_item_schema, 0, 1, PLATFORMS_MAX),
	F_FLAG_OR_ABSENT(struct data_end, 9, more),
};
const struct schema data_end_schema = SCHEMA(struct data_end, "END", SHAPE_MAP, end_fields);

static const struct field abort_fields[] = {
	F_UINT(struct data_abort, 1, reason, 0),
	F_TEXT(struct data_abort, 2, text, 0, 1024),
	F_TEXT(struct data_abort, 3, cause, 0, NAME_MAX_LEN),
};
const struct schema data_abort_schema = SCHEMA(struct data_abort, "ABORT", SHAPE_MAP, abort_fields);

/* ---- Writing ------------------------------------------------------------------------------------ */

static result put_frame(enum data_frame_type type, struct span body, struct writer *out)
{
	struct envelope envelope = {(uint8_t)type, STREAM_ID, body};
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct span unused;
	TRY(schema_encode(&envelope_schema, &envelope, &encoding));
	if (encoding.len > DATA_FRAME_MAX)
		return fail(TOO_LARGE, "a data frame of %zu bytes", encoding.len);
	writer_lv(out, bytes_span(&encoding));
	return writer_finish(out, &unused);
}

static result put_structure(enum data_frame_type type, const struct schema *schema, const void *body, struct writer *out)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	TRY(schema_encode(schema, body, &encoding));
	return put_frame(type, bytes_span(&encoding), out);
}

result data_put_open(const struct data_open *open, struct writer *out)
{
	return put_structure(DATA_OPEN, &data_open_schema, open, out);
}

result data_put_end(const struct data_end *end, struct writer *out)
{
	return put_structure(DATA_END, &data_end_schema, end, out);
}

result data_put_abort(const struct data_abort *abort, struct writer *out)
{
	return put_structure(DATA_ABORT, &data_abort_schema, abort, out);
}

/* Written by hand: the bytes are copied once, and the schema codec would check what was just made. */
result data_put_chunk(struct span bytes, struct writer *out)
{
	struct span unused;
	if (bytes.len == 0 || bytes.len > DATA_CHUNK_MAX)
		return fail(BAD_VALUE, "a chunk of %zu bytes", bytes.len);
	size_t body = cbor_head_size(bytes.len) + bytes.len;
	writer_u32(out, (uint32_t)(1 + 2 + 2 + 1 + body));
	cbor_put_map(out, 3);
	cbor_put_uint(out, 1);
	cbor_put_uint(out, DATA_CHUNK);
	cbor_put_uint(out, 2);
	cbor_put_uint(out, STREAM_ID);
	cbor_put_uint(out, 3);
	cbor_put_bytes(out, bytes);
	return writer_finish(out, &unused);
}

/* ---- Reading ------------------------------------------------------------------------------------ */

enum receiver_state { EXPECT_OPEN, EXPECT_DATA, ENDED };

/* Which frame is allowed when, and what follows. */
static const struct {
	enum receiver_state in;
	enum data_frame_type type;
	enum receiver_state next;
} moves[] = {
	{EXPECT_OPEN, DATA_OPEN, EXPECT_DATA},
	{EXPECT_DATA, DATA_CHUNK, EXPECT_DATA},
	{EXPECT_DATA, DATA_END, ENDED},
	{EXPECT_OPEN, DATA_ABORT, ENDED},
	{EXPECT_DATA, DATA_ABORT, ENDED},
};

struct data_receiver data_receiver_new(void)
{
	return (struct data_receiver){.deframer = deframer_of(DATA_FRAME_MAX), .state = EXPECT_OPEN};
}

void data_receiver_free(struct data_receiver *receiver)
{
	if (receiver)
		deframer_free(&receiver->deframer);
}

result data_receiver_feed(struct data_receiver *receiver, struct span bytes, size_t *out_taken)
{
	return deframer_feed(&receiver->deframer, bytes, out_taken);
}

static result move(struct data_receiver *receiver, enum data_frame_type type)
{
	for (size_t i = 0; i < COUNT_OF(moves); i++) {
		if (moves[i].in == (enum receiver_state)receiver->state && moves[i].type == type) {
			receiver->state = (uint8_t)moves[i].next;
			return OK;
		}
	}
	return fail(ILLEGAL_STATE, "data frame %d out of turn", (int)type);
}

static result read_chunk(struct data_receiver *receiver, struct span body, struct span *out)
{
	struct reader r = reader_of(body);
	struct span bytes;
	TRY(cbor_read_bytes(&r, &bytes));
	TRY(reader_finish(&r));
	if (bytes.len == 0 || bytes.len > DATA_CHUNK_MAX)
		return fail(BAD_VALUE, "a chunk of %zu bytes", bytes.len);
	receiver->length += bytes.len;
	*out = bytes;
	return OK;
}

/* The frame's memory is reused, so what outlives it is copied first. */
static result read_structure(const struct schema *schema, struct span body, struct arena *arena, void *out)
{
	struct span kept;
	TRY(arena_copy(arena, body, &kept));
	return schema_decode(schema, kept, arena, out);
}

static result read_end(struct data_receiver *receiver, struct span body, struct arena *arena, struct data_end *out)
{
	TRY(read_structure(&data_end_schema, body, arena, out));
	if (out->length != receiver->length)
		return fail(INPUT_INCOMPLETE, "%llu bytes arrived, the sender counted %llu", (unsigned long long)receiver->length,
			(unsigned long long)out->length);
	return OK;
}

static result read_body(struct data_receiver *receiver, const struct envelope *envelope, struct arena *arena,
	struct data_event *event)
{
	switch (event->type) {
	case DATA_OPEN: return read_structure(&data_open_schema, envelope->body, arena, &event->open);
	case DATA_CHUNK: return read_chunk(receiver, envelope->body, &event->chunk);
	case DATA_END: return read_end(receiver, envelope->body, arena, &event->end);
	case DATA_ABORT: return read_structure(&data_abort_schema, envelope->body, arena, &event->abort);
	}
	return fail(BAD_VALUE, "data frame %d", (int)event->type);
}

result data_receiver_next(struct data_receiver *receiver, struct arena *arena, bool *out_have, struct data_event *out)
{
	CLEANUP(arena_free) struct arena none = arena_of(64);
	struct data_event event = {0};
	struct envelope envelope;
	struct span frame;
	TRY(deframer_next(&receiver->deframer, out_have, &frame));
	if (!*out_have)
		return OK;
	TRY(schema_decode(&envelope_schema, frame, &none, &envelope));
	event.type = (enum data_frame_type)envelope.type;
	if (envelope.sid != STREAM_ID)
		return fail(BAD_VALUE, "data frame of stream %llu", (unsigned long long)envelope.sid);
	if (event.type != DATA_END && frame.len > SMALL_FRAME_MAX)
		return fail(TOO_LARGE, "data frame %d of %zu bytes", (int)event.type, frame.len);
	TRY(move(receiver, event.type));
	TRY(read_body(receiver, &envelope, arena, &event));
	*out = event;
	return OK;
}

result data_receiver_finish(const struct data_receiver *receiver)
{
	if (receiver->state == ENDED)
		return deframer_finish(&receiver->deframer);
	return fail(INPUT_INCOMPLETE, "the stream ended without END");
}
