/*
 * Frames on a byte stream: lv(x), a 32-bit big-endian length and that many bytes. Bytes arrive in pieces of
 * any size; whole frames come out. Used inside a channel (constructions/dac.md) and on control sockets.
 *
 * Memory grows with the bytes that arrived, never with the length that was declared, and no further than one
 * frame of `max` bytes. Frames are borrowed: each is valid until the next call on its deframer.
 */
#ifndef TROTH_WIRE_FRAME_H
#define TROTH_WIRE_FRAME_H

#include "base/result.h"
#include "base/span.h"

enum { FRAME_HEADER_SIZE = 4 };

struct deframer {
	uint8_t *data;
	size_t cap;
	size_t start; /* of the first byte that was not given out */
	size_t end;
	size_t max; /* of one frame's content */
};

static inline struct deframer deframer_of(size_t max)
{
	return (struct deframer){.max = max};
}

void deframer_free(struct deframer *d); /* wipes; accepts NULL */

/*
 * Takes as much of `bytes` as there is room for and says how much (0 only when a whole frame waits to be
 * taken with deframer_next, or `bytes` is empty). NO_MEMORY; TOO_LARGE once a frame longer than `max` begins,
 * from then on for ever.
 */
NODISCARD result deframer_feed(struct deframer *d, struct span bytes, size_t *out_taken);

/* The next whole frame, if there is one. TOO_LARGE as above. */
NODISCARD result deframer_next(struct deframer *d, bool *out_have, struct span *out_frame);

/* At the end of the stream: TRUNCATED when it ended within a frame. */
NODISCARD result deframer_finish(const struct deframer *d);

#endif
