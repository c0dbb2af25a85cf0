#include "base/writer.h"

#include <stdlib.h>

void writer_free(struct writer *w)
{
	if (!w || w->max == 0)
		return;
	free(w->data);
	*w = (struct writer){.max = w->max};
}

void writer_fail(struct writer *w, enum reason reason)
{
	if (w->failed == OK)
		w->failed = reason;
}

static bool grow(struct writer *w, size_t need)
{
	size_t cap = w->cap ? w->cap : 256;
	while (cap < need)
		cap = cap > w->max / 2 ? w->max : cap * 2;
	uint8_t *data = realloc(w->data, cap);
	if (!data) {
		writer_fail(w, NO_MEMORY);
		return false;
	}
	w->data = data;
	w->cap = cap;
	return true;
}

uint8_t *writer_reserve(struct writer *w, size_t len)
{
	if (w->failed != OK)
		return NULL;
	size_t limit = w->max ? w->max : w->cap;
	if (len > limit || w->len > limit - len) {
		writer_fail(w, TOO_LARGE);
		return NULL;
	}
	if (w->len + len > w->cap && !grow(w, w->len + len))
		return NULL;
	uint8_t *at = w->data + w->len;
	w->len += len;
	return at;
}

void writer_put(struct writer *w, const void *data, size_t len)
{
	uint8_t *at = len ? writer_reserve(w, len) : NULL;
	if (at)
		memcpy(at, data, len);
}

void writer_span(struct writer *w, struct span bytes)
{
	writer_put(w, bytes.data, bytes.len);
}

void writer_str(struct writer *w, const char *text)
{
	writer_put(w, text, strlen(text));
}

static void put_big_endian(struct writer *w, uint64_t value, size_t len)
{
	uint8_t bytes[8];
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(value >> (8 * (len - 1 - i)));
	writer_put(w, bytes, len);
}

void writer_u8(struct writer *w, uint8_t value)
{
	put_big_endian(w, value, 1);
}

void writer_u16(struct writer *w, uint16_t value)
{
	put_big_endian(w, value, 2);
}

void writer_u32(struct writer *w, uint32_t value)
{
	put_big_endian(w, value, 4);
}

void writer_u64(struct writer *w, uint64_t value)
{
	put_big_endian(w, value, 8);
}

void writer_lv(struct writer *w, struct span bytes)
{
	if (bytes.len > UINT32_MAX) {
		writer_fail(w, TOO_LARGE);
		return;
	}
	writer_u32(w, (uint32_t)bytes.len);
	writer_span(w, bytes);
}

result writer_finish(const struct writer *w, struct span *out)
{
	if (w->failed != OK)
		return fail(w->failed, "while writing after %zu bytes", w->len);
	*out = span_of(w->data, w->len);
	return OK;
}

result writer_take(struct writer *w, struct bytes *out)
{
	if (w->failed != OK)
		return fail(w->failed, "while writing after %zu bytes", w->len);
	if (w->max == 0)
		return fail(INTERNAL, "writer_take on a fixed writer");
	*out = (struct bytes){w->data, w->len};
	*w = (struct writer){.max = w->max};
	return OK;
}
