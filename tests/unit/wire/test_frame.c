#include "wire_test.h"

#include "base/writer.h"
#include "wire/frame.h"

enum { MAX_FRAME = 3000 };

/* A stream of frames of 0, 1, 2, 4, ... and MAX_FRAME bytes. */
static struct bytes new_stream(size_t *out_frames)
{
	struct writer w = writer_growing(1 << 20);
	uint8_t content[MAX_FRAME];
	size_t frames = 0;
	for (size_t len = 0; len <= MAX_FRAME; len = len == 0 ? 1 : len * 2 > MAX_FRAME && len < MAX_FRAME ? MAX_FRAME : len * 2) {
		memset(content, (int)(frames + 1), len);
		writer_lv(&w, span_of(content, len));
		frames++;
	}
	struct bytes stream = BYTES_EMPTY;
	expect_ok(writer_take(&w, &stream));
	*out_frames = frames;
	return stream;
}

static size_t take_all(struct deframer *d, size_t seen)
{
	for (;;) {
		bool have;
		struct span frame;
		expect_ok(deframer_next(d, &have, &frame));
		if (!have)
			return seen;
		seen++;
		size_t expected = seen == 1 ? 0 : (size_t)1 << (seen - 2);
		assert_int_equal(frame.len, expected > MAX_FRAME ? MAX_FRAME : expected);
		for (size_t i = 0; i < frame.len; i++)
			assert_int_equal(frame.data[i], seen);
	}
}

static void pieces_of_every_size(void **state)
{
	size_t frames;
	CLEANUP(bytes_free) struct bytes stream = new_stream(&frames);
	const size_t pieces[] = {1, 2, 3, 4, 5, 7, 64, 1000, 4096, 1 << 20};
	for (size_t p = 0; p < COUNT_OF(pieces); p++) {
		CLEANUP(deframer_free) struct deframer d = deframer_of(MAX_FRAME);
		size_t seen = 0;
		for (size_t at = 0; at < stream.len;) {
			size_t piece = stream.len - at < pieces[p] ? stream.len - at : pieces[p], taken;
			expect_ok(deframer_feed(&d, span_of(stream.data + at, piece), &taken));
			size_t before = seen;
			seen = take_all(&d, seen);
			assert_true(taken > 0 || seen > before);
			assert_true(d.cap <= MAX_FRAME + FRAME_HEADER_SIZE);
			at += taken;
		}
		assert_int_equal(seen, frames);
		expect_ok(deframer_finish(&d));
	}
}

static void full_buffer_takes_nothing(void **state)
{
	CLEANUP(deframer_free) struct deframer d = deframer_of(4);
	const uint8_t two[] = {0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0};
	size_t taken;
	bool have;
	struct span frame;
	expect_ok(deframer_feed(&d, SPAN_ARRAY(two), &taken));
	assert_int_equal(taken, 8);
	expect_ok(deframer_feed(&d, span_of(two + 8, 4), &taken));
	assert_int_equal(taken, 0);
	expect_ok(deframer_next(&d, &have, &frame));
	assert_true(have);
	assert_memory_equal(frame.data, two + 4, 4);
	expect_ok(deframer_feed(&d, span_of(two + 8, 4), &taken));
	assert_int_equal(taken, 4);
	expect_ok(deframer_next(&d, &have, &frame));
	assert_true(have);
	assert_int_equal(frame.len, 0);
}

static void ends_within_a_frame(void **state)
{
	const uint8_t stream[] = {0, 0, 0, 2, 1, 2};
	for (size_t len = 0; len <= sizeof(stream); len++) {
		CLEANUP(deframer_free) struct deframer d = deframer_of(16);
		size_t taken;
		bool have;
		struct span frame;
		expect_ok(deframer_feed(&d, span_of(stream, len), &taken));
		expect_ok(deframer_next(&d, &have, &frame));
		assert_int_equal(have, len == sizeof(stream));
		expect(deframer_finish(&d), len == 0 || have ? OK : TRUNCATED);
	}
}

static void refuses_long_frames_for_ever(void **state)
{
	CLEANUP(deframer_free) struct deframer d = deframer_of(16);
	const uint8_t stream[] = {0, 0, 0, 1, 7, 0, 0, 0, 17}, huge[] = {0xff, 0xff, 0xff, 0xff};
	size_t taken;
	bool have;
	struct span frame;
	expect_ok(deframer_feed(&d, SPAN_ARRAY(stream), &taken));
	expect_ok(deframer_next(&d, &have, &frame));
	assert_true(have);
	expect(deframer_next(&d, &have, &frame), TOO_LARGE);
	expect(deframer_feed(&d, span_of(stream, 1), &taken), TOO_LARGE);
	expect(deframer_finish(&d), TOO_LARGE);

	CLEANUP(deframer_free) struct deframer large = deframer_of(1 << 30);
	const uint8_t promise[] = {0x3f, 0xff, 0xff, 0xff, 1};
	expect_ok(deframer_feed(&large, SPAN_ARRAY(promise), &taken));
	assert_true(large.cap < 4096); /* nothing is allocated for a promise */
	CLEANUP(deframer_free) struct deframer small = deframer_of(16);
	expect(deframer_feed(&small, SPAN_ARRAY(huge), &taken), TOO_LARGE);
}

int run_frame_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_of_every_size),
		cmocka_unit_test(full_buffer_takes_nothing),
		cmocka_unit_test(ends_within_a_frame),
		cmocka_unit_test(refuses_long_frames_for_ever),
	};
	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
