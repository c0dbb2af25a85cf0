/*
 * Frames of data on a channel: any bytes in pieces of any size. Two receivers, one fed byte by byte and one in pieces told
 * by the input, must say the same; what END accepts must encode to what was read.
 */
#include <stdlib.h>

#include "enclave/data_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

/* What one receiver made of the input. */
struct story {
	result end;
	size_t events;
	uint64_t chunk_bytes;
	uint8_t digest[SHA256_SIZE];
};

static void encodes_back(const struct data_event *event)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64u << 20);
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct data_end again;
	if (event->type != DATA_END)
		return;
	check(schema_encode(&data_end_schema, &event->end, &encoding) == OK);
	check(schema_decode(&data_end_schema, bytes_span(&encoding), &arena, &again) == OK);
	check(again.length == event->end.length && again.record_count == event->end.record_count);
}

static struct story read_all(struct span input, size_t piece)
{
	struct story story = {.end = OK};
	struct data_receiver receiver = data_receiver_new();
	struct arena arena = arena_of(64u << 20);
	struct hash hash;
	size_t at = 0;
	check(hash_start(&hash, HASH_SHA256) == OK);
	while (story.end == OK) {
		struct data_event event;
		bool have = false;
		story.end = data_receiver_next(&receiver, &arena, &have, &event);
		if (story.end != OK)
			break;
		if (have) {
			story.events++;
			hash_add(&hash, event.type == DATA_CHUNK ? event.chunk : SPAN_EMPTY);
			story.chunk_bytes += event.type == DATA_CHUNK ? event.chunk.len : 0;
			encodes_back(&event);
			continue;
		}
		if (at == input.len)
			break;
		size_t left = input.len - at, taken = 0;
		story.end = data_receiver_feed(&receiver, span_of(input.data + at, left < piece ? left : piece), &taken);
		at += taken;
	}
	if (story.end == OK)
		story.end = data_receiver_finish(&receiver);
	hash_finish(&hash, story.digest);
	check(receiver.length == story.chunk_bytes || story.end != OK);
	data_receiver_free(&receiver);
	arena_free(&arena);
	return story;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct span input = span_of(data + 2, size - 2);
	struct story bytewise = read_all(input, 1), pieces = read_all(input, 1 + ((size_t)data[0] << 8 | data[1]));
	check(bytewise.end == pieces.end && bytewise.events == pieces.events);
	check(memcmp(bytewise.digest, pieces.digest, sizeof(pieces.digest)) == 0);
	return 0;
}
