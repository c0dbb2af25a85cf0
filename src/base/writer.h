/*
 * The one way bytes are put together. Errors are sticky: after the first failure further puts do nothing
 * and writer_finish (or writer_take) reports it, so that an encoder reads as a list of fields.
 * All integers are big-endian.
 *
 * A writer is either fixed (over the caller's buffer) or growing (own memory, up to `max` bytes).
 */
#ifndef TROTH_BASE_WRITER_H
#define TROTH_BASE_WRITER_H

#include "base/bytes.h"
#include "base/result.h"
#include "base/span.h"

struct writer {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max; /* 0: fixed buffer */
	enum reason failed;
};

static inline struct writer writer_fixed(void *buffer, size_t cap)
{
	return (struct writer){.data = (uint8_t *)buffer, .cap = cap};
}

static inline struct writer writer_growing(size_t max)
{
	return (struct writer){.max = max};
}

void writer_free(struct writer *w); /* frees a growing writer's memory; accepts a fixed one */

void writer_put(struct writer *w, const void *data, size_t len);
void writer_span(struct writer *w, struct span bytes);
void writer_str(struct writer *w, const char *text); /* without NUL */
void writer_u8(struct writer *w, uint8_t value);
void writer_u16(struct writer *w, uint16_t value);
void writer_u32(struct writer *w, uint32_t value);
void writer_u64(struct writer *w, uint64_t value);
void writer_lv(struct writer *w, struct span bytes); /* u32 length, then the bytes */

/* Reserves `len` bytes and returns where to write them; NULL after a failure. */
uint8_t *writer_reserve(struct writer *w, size_t len);

/* Marks the writer as failed from outside, e.g. by an encoder that met a wrong value. */
void writer_fail(struct writer *w, enum reason reason);

/* The bytes written so far, borrowed; TOO_LARGE or NO_MEMORY if any put failed. */
NODISCARD result writer_finish(const struct writer *w, struct span *out);

/* Hands the memory of a growing writer to the caller and leaves the writer empty. */
NODISCARD result writer_take(struct writer *w, struct bytes *out);

#endif
