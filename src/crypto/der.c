#include "crypto/der.h"

#include <string.h>

static result take_length(struct reader *r, size_t *out)
{
	uint8_t first = 0;
	TRY(reader_u8(r, &first));
	if (first < 0x80) {
		*out = first;
		return OK;
	}
	if (first == 0x81) {
		uint8_t length = 0;
		TRY(reader_u8(r, &length));
		if (length < 0x80)
			return fail(NOT_DETERMINISTIC, "a DER length is longer than needed");
		*out = length;
		return OK;
	}
	if (first == 0x82) {
		uint16_t length = 0;
		TRY(reader_u16(r, &length));
		if (length < 0x100)
			return fail(NOT_DETERMINISTIC, "a DER length is longer than needed");
		*out = length;
		return OK;
	}
	if (first == 0x80)
		return fail(NOT_DETERMINISTIC, "a DER length is indefinite");
	return fail(TOO_LARGE, "a DER element is longer than 64 KiB");
}

bool der_next_is(const struct reader *r, uint8_t tag)
{
	return reader_left(r) > 0 && *r->at == tag;
}

result der_take(struct reader *r, uint8_t tag, struct span *out_content)
{
	struct reader at = *r;
	uint8_t found = 0;
	size_t length = 0;

	TRY(reader_u8(&at, &found));
	if (found != tag)
		return fail(BAD_TYPE, "DER tag 0x%02x stands where 0x%02x is expected", found, tag);
	TRY(take_length(&at, &length));
	TRY(reader_take(&at, length, out_content));
	*r = at;
	return OK;
}

result der_enter(struct reader *r, uint8_t tag, struct reader *out_inside)
{
	struct span content;
	TRY(der_take(r, tag, &content));
	*out_inside = reader_of(content);
	return OK;
}

result der_take_any(struct reader *r, struct span *out_element)
{
	struct reader at = *r;
	struct span content;

	if (reader_left(r) == 0)
		return fail(TRUNCATED, "a DER element is missing");
	if ((*r->at & 0x1f) == 0x1f)
		return fail(BAD_TYPE, "a DER tag is longer than one byte");
	TRY(der_take(&at, *r->at, &content));
	*out_element = span_of(r->at, (size_t)(at.at - r->at));
	*r = at;
	return OK;
}

result der_take_positive(struct reader *r, struct span *out_magnitude)
{
	struct span number;
	TRY(der_take(r, DER_INTEGER, &number));
	if (number.len == 0)
		return fail(BAD_VALUE, "a DER integer is empty");
	if (number.data[0] & 0x80)
		return fail(BAD_VALUE, "a DER integer is negative");
	if (number.data[0] != 0) {
		*out_magnitude = number;
		return OK;
	}
	if (number.len == 1)
		return fail(BAD_VALUE, "a DER integer is zero");
	if (!(number.data[1] & 0x80))
		return fail(NOT_DETERMINISTIC, "a DER integer is longer than needed");
	*out_magnitude = span_of(number.data + 1, number.len - 1);
	return OK;
}

enum { HALF = RAW_SIGNATURE_SIZE / 2 };

static result take_half(struct reader *r, uint8_t out[static HALF])
{
	struct span number;
	TRY(der_take_positive(r, &number));
	if (number.len > HALF)
		return fail(BAD_VALUE, "half of a signature has %zu bytes instead of %d", number.len, HALF);
	memset(out, 0, HALF - number.len);
	memcpy(out + HALF - number.len, number.data, number.len);
	return OK;
}

result der_signature_to_raw(struct span der, uint8_t out_raw[static RAW_SIGNATURE_SIZE])
{
	struct reader outer = reader_of(der), inside;
	uint8_t raw[RAW_SIGNATURE_SIZE];

	TRY(der_enter(&outer, DER_SEQUENCE, &inside));
	TRY(reader_finish(&outer));
	TRY(take_half(&inside, raw));
	TRY(take_half(&inside, raw + HALF));
	TRY(reader_finish(&inside));
	memcpy(out_raw, raw, sizeof raw);
	return OK;
}

/* INTEGER of 32 big-endian bytes, at most 35 bytes. */
static size_t put_half(const uint8_t *half, uint8_t *out)
{
	size_t zeros = 0;
	while (zeros < HALF - 1 && half[zeros] == 0)
		zeros++;
	size_t len = HALF - zeros, sign = half[zeros] >> 7;
	out[0] = DER_INTEGER;
	out[1] = (uint8_t)(len + sign);
	out[2] = 0;
	memcpy(out + 2 + sign, half + zeros, len);
	return 2 + sign + len;
}

size_t der_signature_from_raw(const uint8_t raw[static RAW_SIGNATURE_SIZE], uint8_t out[static DER_SIGNATURE_MAX])
{
	size_t len = put_half(raw, out + 2);
	len += put_half(raw + HALF, out + 2 + len);
	out[0] = DER_SEQUENCE;
	out[1] = (uint8_t)len;
	return 2 + len;
}
