/*
 * One frame of a channel of calls, as a peer may send it: whatever the bytes, it is refused or what was read encodes to the very
 * same frame.
 */
#include <stdlib.h>

#include "enclave/call_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static result put(const struct call_event *event, struct writer *out)
{
	switch (event->type) {
	case CALL_OPEN: return call_put_open(event->sid, &event->open, out);
	case CALL_CHUNK: return call_put_chunk(event->sid, event->chunk, out);
	case CALL_END: return call_put_end(event->sid, &event->end, out);
	case CALL_ABORT: return call_put_abort(event->sid, &event->abort, out);
	case CALL_TAKEN: return call_put_taken(event->sid, event->taken.bytes, out);
	case CALL_FETCH: return call_put_fetch(event->sid, &event->asked, out);
	case CALL_NODES: return call_put_nodes(event->sid, &event->end, out);
	}
	return fail(INTERNAL, "a type that is none");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64u << 20);
	CLEANUP(writer_free) struct writer again = writer_growing(DATA_FRAME_MAX + FRAME_HEADER_SIZE);
	struct call_event event;
	if (call_frame_read(span_of(data, size), &arena, &event) != OK)
		return 0;
	check(event.type != CALL_NODES || (!event.end.has_record && !event.end.length && !event.end.more));
	check(event.type != CALL_FETCH || (event.asked.count >= 1 && event.asked.count <= FETCH_MAX_IDS));
	check(put(&event, &again) == OK);
	check(span_equal(span_of(again.data + FRAME_HEADER_SIZE, again.len - FRAME_HEADER_SIZE), span_of(data, size)));
	return 0;
}
