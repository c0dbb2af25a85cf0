/* An owned run of bytes. Declare with CLEANUP(bytes_free); hand over with bytes_move. */
#ifndef TROTH_BASE_BYTES_H
#define TROTH_BASE_BYTES_H

#include "base/result.h"
#include "base/span.h"

struct bytes {
	uint8_t *data;
	size_t len;
};

#define BYTES_EMPTY ((struct bytes){NULL, 0})

void bytes_free(struct bytes *bytes); /* accepts NULL and empty; leaves it empty */

/* Takes the content out, leaving *from empty: return ownership to a caller at the end of a function. */
static inline struct bytes bytes_move(struct bytes *from)
{
	struct bytes taken = *from;
	*from = BYTES_EMPTY;
	return taken;
}

static inline struct span bytes_span(const struct bytes *bytes)
{
	return span_of(bytes->data, bytes->len);
}

NODISCARD result bytes_copy(struct span from, struct bytes *out);

#endif
