#include "wire/frame.h"

#include "base/secret.h"

#include <stdlib.h>

enum { SMALLEST_BUFFER = 512 };

void deframer_free(struct deframer *d)
{
	if (!d)
		return;
	if (d->data)
		wipe(d->data, d->cap);
	free(d->data);
	*d = (struct deframer){.max = d->max};
}

static size_t held(const struct deframer *d)
{
	return d->end - d->start;
}

/* The declared length of the first frame; false while its header is not complete. */
static bool declared(const struct deframer *d, size_t *out_len)
{
	if (held(d) < FRAME_HEADER_SIZE)
		return false;
	const uint8_t *at = d->data + d->start;
	*out_len = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
	return true;
}

static result check_declared(const struct deframer *d)
{
	size_t len;
	if (declared(d, &len) && len > d->max)
		return fail(TOO_LARGE, "a frame of %zu bytes, at most %zu allowed", len, d->max);
	return OK;
}

/* Moves what is held to the front. */
static void compact(struct deframer *d)
{
	if (d->start == 0)
		return;
	memmove(d->data, d->data + d->start, held(d));
	d->end -= d->start;
	d->start = 0;
}

/* Doubles, and wipes what it leaves behind (realloc would not). */
static result grow(struct deframer *d)
{
	size_t limit = d->max + FRAME_HEADER_SIZE;
	size_t cap = d->cap ? d->cap * 2 : SMALLEST_BUFFER;
	if (cap > limit || cap < d->cap)
		cap = limit;
	uint8_t *data = malloc(cap);
	if (!data)
		return fail(NO_MEMORY, "%zu bytes for a frame", cap);
	if (d->data) {
		memcpy(data, d->data, d->end);
		wipe(d->data, d->cap);
		free(d->data);
	}
	d->data = data;
	d->cap = cap;
	return OK;
}

result deframer_feed(struct deframer *d, struct span bytes, size_t *out_taken)
{
	size_t taken = 0;
	TRY(check_declared(d));
	compact(d);
	while (taken < bytes.len) {
		if (d->end == d->cap && d->cap < d->max + FRAME_HEADER_SIZE)
			TRY(grow(d));
		size_t room = d->cap - d->end, left = bytes.len - taken;
		size_t some = left < room ? left : room;
		if (some == 0)
			break;
		memcpy(d->data + d->end, bytes.data + taken, some);
		d->end += some;
		taken += some;
		TRY(check_declared(d));
	}
	*out_taken = taken;
	return OK;
}

result deframer_next(struct deframer *d, bool *out_have, struct span *out_frame)
{
	size_t len;
	TRY(check_declared(d));
	bool have = declared(d, &len) && held(d) - FRAME_HEADER_SIZE >= len;
	if (have) {
		*out_frame = span_of(d->data + d->start + FRAME_HEADER_SIZE, len);
		d->start += FRAME_HEADER_SIZE + len;
	}
	*out_have = have;
	return OK;
}

result deframer_finish(const struct deframer *d)
{
	TRY(check_declared(d));
	if (held(d) != 0)
		return fail(TRUNCATED, "the stream ends within a frame");
	return OK;
}
