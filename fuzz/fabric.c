/* Whatever a program says on its descriptor: a request is understood whole or not at all, and every refusal can be told. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "enclave/call_frame.h"
#include "enclave/fabric.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_request(struct span bytes)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	CLEANUP(writer_free) struct writer w = writer_growing(128 * 1024);
	struct fabric_request request;
	struct span reply;
	bool tagged;
	result parsed = fabric_parse(bytes, &arena, &request, &tagged);
	if (!tagged)
		return;
	if (fabric_put_refusal(request.tag, parsed == OK ? FABRIC_MISUSE : parsed, failure_text(), &w) != OK ||
		writer_finish(&w, &reply) != OK || reply.len > 4 + FABRIC_MAX)
		abort();
}

/* A frame that was understood is written again in the same bytes. */
static void try_frame(struct span bytes)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(writer_free) struct writer w = writer_growing(32 << 20);
	struct call_event event;
	struct span again;
	result put = OK;
	if (call_frame_read(bytes, &arena, &event) != OK)
		return;
	switch (event.type) {
	case CALL_OPEN: put = call_put_open(event.sid, &event.open, &w); break;
	case CALL_CHUNK: put = call_put_chunk(event.sid, event.chunk, &w); break;
	case CALL_END: put = call_put_end(event.sid, &event.end, &w); break;
	case CALL_ABORT: put = call_put_abort(event.sid, &event.abort, &w); break;
	case CALL_TAKEN: put = call_put_taken(event.sid, event.taken.bytes, &w); break;
	case CALL_FETCH: put = call_put_fetch(event.sid, &event.asked, &w); break;
	case CALL_NODES: put = call_put_nodes(event.sid, &event.end, &w); break;
	}
	if (put != OK || writer_finish(&w, &again) != OK ||
		!span_equal(span_of(again.data + FRAME_HEADER_SIZE, again.len - FRAME_HEADER_SIZE), bytes))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_request(span_of(data, size));
	try_frame(span_of(data, size));
	return 0;
}
