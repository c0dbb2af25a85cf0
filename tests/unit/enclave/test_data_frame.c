/* Frames of data on a channel: what a stream may look like, and everything that ends one. */
#include "../expect.h"

#include <stdlib.h>

#include "enclave/data_frame.h"
#include "groups.h"

struct stream {
	struct writer bytes;
	struct data_receiver receiver;
	struct arena arena;
	size_t at;
};

static void stream_new(struct stream *s)
{
	*s = (struct stream){.bytes = writer_growing(64u << 20), .receiver = data_receiver_new(), .arena = arena_of(64u << 20)};
}

static void stream_free(struct stream *s)
{
	writer_free(&s->bytes);
	data_receiver_free(&s->receiver);
	arena_free(&s->arena);
}

static struct data_open an_open(void)
{
	struct data_open open = {.edge = "A-B", .operation = "rows"};
	memset(open.run_id, 1, sizeof(open.run_id));
	memset(open.call_id, 2, sizeof(open.call_id));
	memset(open.salt, 3, sizeof(open.salt));
	return open;
}

static void put_open(struct stream *s)
{
	struct data_open open = an_open();
	expect_ok(data_put_open(&open, &s->bytes));
}

static void put_end(struct stream *s, uint64_t length)
{
	struct data_end end = {.length = length};
	expect_ok(data_put_end(&end, &s->bytes));
}

/* The next event, fed in pieces of at most `piece` bytes; *out_have is false at the end of what was written. */
static result next(struct stream *s, size_t piece, bool *out_have, struct data_event *out)
{
	for (;;) {
		TRY(data_receiver_next(&s->receiver, &s->arena, out_have, out));
		if (*out_have || s->at == s->bytes.len)
			return OK;
		size_t left = s->bytes.len - s->at, taken;
		TRY(data_receiver_feed(&s->receiver, span_of(s->bytes.data + s->at, left < piece ? left : piece), &taken));
		s->at += taken;
	}
}

static result drain(struct stream *s)
{
	struct data_event event;
	bool have;
	do
		TRY(next(s, 4096, &have, &event));
	while (have);
	return data_receiver_finish(&s->receiver);
}

static void a_stream_comes_back_in_any_pieces(void **unused)
{
	static const size_t pieces[] = {1, 3, 7, 1000, 1 << 20};
	uint8_t chunk[DATA_CHUNK_MAX];
	for (size_t i = 0; i < sizeof(chunk); i++)
		chunk[i] = (uint8_t)(i * 7);
	for (size_t p = 0; p < COUNT_OF(pieces); p++) {
		struct stream s;
		struct data_event event;
		struct bytes_item items[2] = {{span_str("one")}, {span_str("two")}};
		struct data_end end = {.length = sizeof(chunk) + 1, .has_record = true, .record = span_str("record"),
			.certificates = items, .certificate_count = 2, .records = items, .record_count = 1};
		bool have;
		stream_new(&s);
		put_open(&s);
		expect_ok(data_put_chunk(SPAN_ARRAY(chunk), &s.bytes));
		expect_ok(data_put_chunk(span_of(chunk, 1), &s.bytes));
		expect_ok(data_put_end(&end, &s.bytes));
		expect_ok(next(&s, pieces[p], &have, &event));
		assert_true(have && event.type == DATA_OPEN);
		assert_string_equal(event.open.edge, "A-B");
		assert_string_equal(event.open.operation, "rows");
		struct data_open open = an_open();
		assert_memory_equal(event.open.salt, open.salt, sizeof(open.salt));
		expect_ok(next(&s, pieces[p], &have, &event));
		assert_true(have && event.type == DATA_CHUNK && span_equal(event.chunk, SPAN_ARRAY(chunk)));
		expect_ok(next(&s, pieces[p], &have, &event));
		assert_true(have && event.type == DATA_CHUNK && event.chunk.len == 1);
		assert_int_equal(data_receiver_finish(&s.receiver), INPUT_INCOMPLETE);
		expect_ok(next(&s, pieces[p], &have, &event));
		assert_true(have && event.type == DATA_END);
		assert_int_equal(event.end.length, sizeof(chunk) + 1);
		assert_true(span_equal_str(event.end.record, "record"));
		assert_int_equal(event.end.certificate_count, 2);
		assert_true(span_equal_str(event.end.certificates[1].bytes, "two"));
		assert_int_equal(event.end.report_count, 0);
		assert_int_equal(event.end.record_count, 1);
		expect_ok(next(&s, pieces[p], &have, &event));
		assert_false(have);
		expect_ok(data_receiver_finish(&s.receiver));
		stream_free(&s);
	}
}

/* The bytes of docs/PROTOCOL.dac, written by hand. */
static void frames_have_their_bytes(void **unused)
{
	static const uint8_t expected[] = {0, 0, 0, 0x0a, 0xa3, 0x01, 0x02, 0x02, 0x01, 0x03, 0x43, 'a', 'b', 'c'};
	uint8_t buffer[32];
	struct writer w = writer_fixed(buffer, sizeof(buffer));
	expect_ok(data_put_chunk(span_str("abc"), &w));
	assert_int_equal(w.len, sizeof(expected));
	assert_memory_equal(buffer, expected, sizeof(expected));
}

static void a_chunks_overhead_is_bounded(void **unused)
{
	static uint8_t chunk[DATA_CHUNK_MAX], buffer[DATA_CHUNK_MAX + DATA_CHUNK_OVERHEAD];
	struct writer w = writer_fixed(buffer, sizeof(buffer));
	expect_ok(data_put_chunk(SPAN_ARRAY(chunk), &w));
	w = writer_fixed(buffer, sizeof(buffer));
	assert_int_equal(data_put_chunk(span_of(chunk, DATA_CHUNK_MAX + 1), &w), BAD_VALUE);
	assert_int_equal(data_put_chunk(SPAN_EMPTY, &w), BAD_VALUE);
}

enum step { S_OPEN, S_CHUNK, S_END, S_ABORT };

static result run_steps(const enum step *steps, size_t count)
{
	struct stream s;
	struct data_abort abort = {PROGRAM_FAILED, "text", "A"};
	stream_new(&s);
	uint64_t length = 0;
	for (size_t i = 0; i < count; i++) {
		switch (steps[i]) {
		case S_OPEN: put_open(&s); break;
		case S_CHUNK:
			expect_ok(data_put_chunk(span_str("data"), &s.bytes));
			length += 4;
			break;
		case S_END: put_end(&s, length); break;
		case S_ABORT: expect_ok(data_put_abort(&abort, &s.bytes)); break;
		}
	}
	result drained = drain(&s);
	stream_free(&s);
	return drained;
}

static void order_is_kept(void **unused)
{
	static const struct {
		enum step steps[4];
		size_t count;
		enum reason expected;
	} cases[] = {
		{{S_OPEN, S_END}, 2, OK},
		{{S_OPEN, S_CHUNK, S_CHUNK, S_END}, 4, OK},
		{{S_OPEN, S_CHUNK, S_ABORT}, 3, OK},
		{{S_ABORT}, 1, OK},
		{{S_OPEN}, 0, INPUT_INCOMPLETE},
		{{S_OPEN}, 1, INPUT_INCOMPLETE},
		{{S_OPEN, S_CHUNK}, 2, INPUT_INCOMPLETE},
		{{S_CHUNK}, 1, ILLEGAL_STATE},
		{{S_END}, 1, ILLEGAL_STATE},
		{{S_OPEN, S_OPEN}, 2, ILLEGAL_STATE},
		{{S_OPEN, S_END, S_CHUNK}, 3, ILLEGAL_STATE},
		{{S_OPEN, S_END, S_END}, 3, ILLEGAL_STATE},
		{{S_OPEN, S_ABORT, S_END}, 3, ILLEGAL_STATE},
		{{S_OPEN, S_END, S_OPEN}, 3, ILLEGAL_STATE},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(run_steps(cases[i].steps, cases[i].count), cases[i].expected);
}

static void end_counts_what_arrived(void **unused)
{
	static const uint64_t lengths[] = {0, 3, 5, UINT64_MAX};
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		struct stream s;
		stream_new(&s);
		put_open(&s);
		expect_ok(data_put_chunk(span_str("data"), &s.bytes));
		put_end(&s, lengths[i]);
		assert_int_equal(drain(&s), INPUT_INCOMPLETE);
		stream_free(&s);
	}
}

/* Each byte of a small stream changed: it is refused, or reads as another well-formed stream; it never ends early as good. */
static void damaged_streams_end(void **unused)
{
	struct stream whole;
	stream_new(&whole);
	put_open(&whole);
	expect_ok(data_put_chunk(span_str("data"), &whole.bytes));
	put_end(&whole, 4);
	for (size_t cut = 0; cut < whole.bytes.len; cut++) {
		struct stream s;
		stream_new(&s);
		writer_put(&s.bytes, whole.bytes.data, cut);
		assert_int_not_equal(drain(&s), OK);
		stream_free(&s);
	}
	stream_free(&whole);
}

static result receive_raw(const uint8_t *frame, size_t len)
{
	struct stream s;
	stream_new(&s);
	put_open(&s);
	writer_lv(&s.bytes, span_of(frame, len));
	result drained = drain(&s);
	stream_free(&s);
	return drained;
}

static void odd_frames_are_refused(void **unused)
{
	static const uint8_t other_stream[] = {0xa3, 1, 2, 2, 2, 3, 0x41, 'x'}, stream_zero[] = {0xa3, 1, 2, 2, 0, 3, 0x41, 'x'},
			     no_body[] = {0xa2, 1, 2, 2, 1}, empty_chunk[] = {0xa3, 1, 2, 2, 1, 3, 0x40},
			     text_chunk[] = {0xa3, 1, 2, 2, 1, 3, 0x61, 'x'}, trailing[] = {0xa3, 1, 2, 2, 1, 3, 0x41, 'x', 0},
			     unknown[] = {0xa3, 1, 5, 2, 1, 3, 0x41, 'x'}, longer[] = {0xa3, 1, 0x18, 2, 2, 1, 3, 0x41, 'x'};
	assert_int_equal(receive_raw(SPAN_ARRAY(other_stream).data, sizeof(other_stream)), BAD_VALUE);
	assert_int_equal(receive_raw(stream_zero, sizeof(stream_zero)), BAD_VALUE);
	assert_int_equal(receive_raw(no_body, sizeof(no_body)), MISSING_FIELD);
	assert_int_equal(receive_raw(empty_chunk, sizeof(empty_chunk)), BAD_VALUE);
	assert_int_equal(receive_raw(text_chunk, sizeof(text_chunk)), BAD_TYPE);
	assert_int_equal(receive_raw(trailing, sizeof(trailing)), TRAILING_BYTES);
	assert_int_equal(receive_raw(unknown, sizeof(unknown)), BAD_VALUE);
	assert_int_equal(receive_raw(longer, sizeof(longer)), NOT_DETERMINISTIC);
	assert_int_equal(receive_raw(NULL, 0), TRUNCATED);
}

static void oversized_frames_are_refused_before_they_are_held(void **unused)
{
	struct stream s;
	stream_new(&s);
	put_open(&s);
	writer_u32(&s.bytes, DATA_FRAME_MAX + 1);
	assert_int_equal(drain(&s), TOO_LARGE);
	stream_free(&s);
	/* A large frame is END and nothing else. */
	stream_new(&s);
	put_open(&s);
	size_t body = 70000;
	writer_u32(&s.bytes, (uint32_t)(6 + 5 + body));
	cbor_put_map(&s.bytes, 3);
	cbor_put_uint(&s.bytes, 1);
	cbor_put_uint(&s.bytes, DATA_CHUNK);
	cbor_put_uint(&s.bytes, 2);
	cbor_put_uint(&s.bytes, 1);
	cbor_put_uint(&s.bytes, 3);
	uint8_t *large = calloc(1, body);
	cbor_put_bytes(&s.bytes, span_of(large, body));
	free(large);
	assert_int_equal(drain(&s), TOO_LARGE);
	stream_free(&s);
}

int group_data_frame(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_comes_back_in_any_pieces),
		cmocka_unit_test(frames_have_their_bytes),
		cmocka_unit_test(a_chunks_overhead_is_bounded),
		cmocka_unit_test(order_is_kept),
		cmocka_unit_test(end_counts_what_arrived),
		cmocka_unit_test(damaged_streams_end),
		cmocka_unit_test(odd_frames_are_refused),
		cmocka_unit_test(oversized_frames_are_refused_before_they_are_held),
	};
	return cmocka_run_group_tests_name("data_frame", tests, NULL, NULL);
}
