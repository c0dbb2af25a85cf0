#include "enclave/call_frame.h"

#include "wire/cbor.h"

struct envelope {
	uint8_t type;
	uint64_t sid;
	struct span body; /* CHUNK: a byte string; else a map */
};
static const struct field envelope_fields[] = {
	F_UINT(struct envelope, 1, type, CALL_NODES),
	F_UINT(struct envelope, 2, sid, 0),
	F_ANY(struct envelope, 3, body, DATA_FRAME_MAX),
};
static const struct schema envelope_schema = SCHEMA(struct envelope, "call frame", SHAPE_MAP, envelope_fields);

static const struct field open_fields[] = {
	F_FIXED(struct call_open, 1, run_id),
	F_TEXT(struct call_open, 2, edge, 1, NAME_MAX_LEN),
	F_TEXT(struct call_open, 3, operation, 1, NAME_MAX_LEN),
	F_FIXED(struct call_open, 4, call_id),
	F_FIXED(struct call_open, 5, salt),
	F_BOOL(struct call_open, 6, push),
	F_UINT(struct call_open, 7, timeout_ms, 0),
};
const struct schema call_open_schema = SCHEMA(struct call_open, "OPEN", SHAPE_MAP, open_fields);

static const struct field taken_fields[] = {F_UINT(struct call_taken, 1, bytes, CALL_WINDOW)};
const struct schema call_taken_schema = SCHEMA(struct call_taken, "TAKEN", SHAPE_MAP, taken_fields);

/* ---- Writing ------------------------------------------------------------------------------------ */

static result put_structure(uint64_t sid, enum call_frame_type type, const struct schema *schema, const void *body, struct writer *out)
{
	CLEANUP(bytes_free) struct bytes inner = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct span unused;
	TRY(schema_encode(schema, body, &inner));
	struct envelope envelope = {(uint8_t)type, sid, bytes_span(&inner)};
	TRY(schema_encode(&envelope_schema, &envelope, &encoding));
	if (encoding.len > DATA_FRAME_MAX)
		return fail(TOO_LARGE, "a call frame of %zu bytes", encoding.len);
	writer_lv(out, bytes_span(&encoding));
	return writer_finish(out, &unused);
}

result call_put_open(uint64_t sid, const struct call_open *open, struct writer *out)
{
	return put_structure(sid, CALL_OPEN, &call_open_schema, open, out);
}

result call_put_end(uint64_t sid, const struct data_end *end, struct writer *out)
{
	return put_structure(sid, CALL_END, &data_end_schema, end, out);
}

result call_put_abort(uint64_t sid, const struct data_abort *abort, struct writer *out)
{
	return put_structure(sid, CALL_ABORT, &data_abort_schema, abort, out);
}

result call_put_fetch(uint64_t sid, const struct fetch_asked *asked, struct writer *out)
{
	return put_structure(sid, CALL_FETCH, &fetch_asked_schema, asked, out);
}

result call_put_nodes(uint64_t sid, const struct data_end *nodes, struct writer *out)
{
	return put_structure(sid, CALL_NODES, &data_end_schema, nodes, out);
}

result call_put_taken(uint64_t sid, uint64_t bytes, struct writer *out)
{
	const struct call_taken taken = {bytes};
	return put_structure(sid, CALL_TAKEN, &call_taken_schema, &taken, out);
}

/* Written by hand: the bytes are copied once. */
result call_put_chunk(uint64_t sid, struct span bytes, struct writer *out)
{
	struct span unused;
	if (bytes.len == 0 || bytes.len > DATA_CHUNK_MAX)
		return fail(BAD_VALUE, "a chunk of %zu bytes", bytes.len);
	size_t body = cbor_head_size(bytes.len) + bytes.len;
	writer_u32(out, (uint32_t)(1 + 2 + 1 + cbor_head_size(sid) + 1 + body));
	cbor_put_map(out, 3);
	cbor_put_uint(out, 1);
	cbor_put_uint(out, CALL_CHUNK);
	cbor_put_uint(out, 2);
	cbor_put_uint(out, sid);
	cbor_put_uint(out, 3);
	cbor_put_bytes(out, bytes);
	return writer_finish(out, &unused);
}

/* ---- Reading ------------------------------------------------------------------------------------ */

static result read_chunk(struct span body, struct span *out)
{
	struct reader r = reader_of(body);
	struct span bytes;
	TRY(cbor_read_bytes(&r, &bytes));
	TRY(reader_finish(&r));
	if (bytes.len == 0 || bytes.len > DATA_CHUNK_MAX)
		return fail(BAD_VALUE, "a chunk of %zu bytes", bytes.len);
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

static result read_taken(struct span body, struct call_taken *out)
{
	CLEANUP(arena_free) struct arena none = arena_of(64);
	TRY(schema_decode(&call_taken_schema, body, &none, out));
	return out->bytes ? OK : fail(BAD_VALUE, "TAKEN of nothing");
}

static result read_nodes(struct span body, struct arena *arena, struct data_end *out)
{
	TRY(read_structure(&data_end_schema, body, arena, out));
	return out->length || out->has_record || out->more ? fail(BAD_VALUE, "NODES with what belongs into an END") : OK;
}

static result read_body(struct span body, struct arena *arena, struct call_event *event)
{
	switch (event->type) {
	case CALL_OPEN: return read_structure(&call_open_schema, body, arena, &event->open);
	case CALL_CHUNK: return read_chunk(body, &event->chunk);
	case CALL_END: return read_structure(&data_end_schema, body, arena, &event->end);
	case CALL_ABORT: return read_structure(&data_abort_schema, body, arena, &event->abort);
	case CALL_TAKEN: return read_taken(body, &event->taken);
	case CALL_FETCH: return read_structure(&fetch_asked_schema, body, arena, &event->asked);
	case CALL_NODES: return read_nodes(body, arena, &event->end);
	}
	return fail(BAD_VALUE, "call frame %d", (int)event->type);
}

result call_frame_read(struct span frame, struct arena *arena, struct call_event *out)
{
	CLEANUP(arena_free) struct arena none = arena_of(64);
	struct call_event event = {0};
	struct envelope envelope;
	TRY(schema_decode(&envelope_schema, frame, &none, &envelope));
	event.type = (enum call_frame_type)envelope.type;
	event.sid = envelope.sid;
	if (event.sid == 0)
		return fail(BAD_VALUE, "a call frame of stream 0");
	if (event.type != CALL_END && event.type != CALL_NODES && frame.len > CALL_SMALL_MAX)
		return fail(TOO_LARGE, "call frame %d of %zu bytes", (int)event.type, frame.len);
	TRY(read_body(envelope.body, arena, &event));
	*out = event;
	return OK;
}
