/*
 * A cursor over bytes that came from outside. Every read checks before it moves, consumes first and
 * borrows: spans that it gives out live as long as the bytes it was opened over. All integers are
 * big-endian. A caller that has read its structure ends with reader_finish, which refuses leftovers.
 */
#ifndef TROTH_BASE_READER_H
#define TROTH_BASE_READER_H

#include "base/result.h"
#include "base/span.h"

struct reader {
	const uint8_t *at;
	const uint8_t *end;
};

static inline struct reader reader_of(struct span bytes)
{
	return (struct reader){bytes.data, bytes.data ? bytes.data + bytes.len : bytes.data};
}

static inline size_t reader_left(const struct reader *r)
{
	return (size_t)(r->end - r->at);
}

NODISCARD result reader_take(struct reader *r, size_t len, struct span *out); /* TRUNCATED */
NODISCARD result reader_copy(struct reader *r, void *out, size_t len);	       /* TRUNCATED */
NODISCARD result reader_u8(struct reader *r, uint8_t *out);
NODISCARD result reader_u16(struct reader *r, uint16_t *out);
NODISCARD result reader_u32(struct reader *r, uint32_t *out);
NODISCARD result reader_u64(struct reader *r, uint64_t *out);

/* lv(x): u32 length, then that many bytes. TRUNCATED, or TOO_LARGE beyond `max`. */
NODISCARD result reader_lv(struct reader *r, size_t max, struct span *out);

/* TRAILING_BYTES unless everything was read. */
NODISCARD result reader_finish(const struct reader *r);

#endif
