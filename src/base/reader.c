#include "base/reader.h"

result reader_take(struct reader *r, size_t len, struct span *out)
{
	if (reader_left(r) < len)
		return fail(TRUNCATED, "%zu bytes expected, %zu left", len, reader_left(r));
	*out = span_of(r->at, len);
	r->at += len;
	return OK;
}

result reader_copy(struct reader *r, void *out, size_t len)
{
	struct span bytes;
	TRY(reader_take(r, len, &bytes));
	if (len)
		memcpy(out, bytes.data, len);
	return OK;
}

static result read_big_endian(struct reader *r, size_t len, uint64_t *out)
{
	struct span bytes;
	TRY(reader_take(r, len, &bytes));
	uint64_t value = 0;
	for (size_t i = 0; i < len; i++)
		value = value << 8 | bytes.data[i];
	*out = value;
	return OK;
}

result reader_u8(struct reader *r, uint8_t *out)
{
	uint64_t value;
	TRY(read_big_endian(r, 1, &value));
	*out = (uint8_t)value;
	return OK;
}

result reader_u16(struct reader *r, uint16_t *out)
{
	uint64_t value;
	TRY(read_big_endian(r, 2, &value));
	*out = (uint16_t)value;
	return OK;
}

result reader_u32(struct reader *r, uint32_t *out)
{
	uint64_t value;
	TRY(read_big_endian(r, 4, &value));
	*out = (uint32_t)value;
	return OK;
}

result reader_u64(struct reader *r, uint64_t *out)
{
	return read_big_endian(r, 8, out);
}

result reader_lv(struct reader *r, size_t max, struct span *out)
{
	struct reader ahead = *r;
	uint32_t len;
	TRY(reader_u32(&ahead, &len));
	if (len > max)
		return fail(TOO_LARGE, "a field of %u bytes, at most %zu allowed", len, max);
	TRY(reader_take(&ahead, len, out));
	*r = ahead;
	return OK;
}

result reader_finish(const struct reader *r)
{
	if (reader_left(r) != 0)
		return fail(TRAILING_BYTES, "%zu bytes after the end", reader_left(r));
	return OK;
}
