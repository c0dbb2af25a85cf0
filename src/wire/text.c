#include "wire/text.h"

void hex_encode(struct span bytes, char *out)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < bytes.len; i++) {
		*out++ = digits[bytes.data[i] >> 4];
		*out++ = digits[bytes.data[i] & 15];
	}
	*out = '\0';
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

result hex_decode(struct span text, uint8_t *out, size_t len)
{
	if (text.len % 2 != 0 || text.len / 2 != len)
		return fail(BAD_VALUE, "%zu hex digits expected, %zu found", 2 * len, text.len);
	for (size_t i = 0; i < text.len; i++)
		if (hex_digit(text.data[i]) < 0)
			return fail(BAD_VALUE, "character %zu is not a hex digit", i + 1);
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(hex_digit(text.data[2 * i]) << 4 | hex_digit(text.data[2 * i + 1]));
	return OK;
}

void base32_encode(struct span bytes, char *out)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	uint32_t held = 0;
	unsigned bits = 0;
	for (size_t i = 0; i < bytes.len; i++) {
		held = held << 8 | bytes.data[i];
		for (bits += 8; bits >= 5; bits -= 5)
			*out++ = digits[held >> (bits - 5) & 31];
	}
	if (bits > 0)
		*out++ = digits[held << (5 - bits) & 31];
	*out = '\0';
}

static int base32_digit(uint8_t c)
{
	if (c >= 'a' && c <= 'z')
		return c - 'a';
	if (c >= '2' && c <= '7')
		return c - '2' + 26;
	return -1;
}

result base32_decode(struct span text, uint8_t *out, size_t len)
{
	if (text.len != BASE32_LENGTH(len))
		return fail(BAD_VALUE, "%zu base32 characters expected, %zu found", BASE32_LENGTH(len), text.len);
	for (size_t i = 0; i < text.len; i++)
		if (base32_digit(text.data[i]) < 0)
			return fail(BAD_VALUE, "character %zu is not lower-case base32", i + 1);
	unsigned spare = (unsigned)(text.len * 5 - len * 8);
	if (spare > 0 && (base32_digit(text.data[text.len - 1]) & ((1 << spare) - 1)) != 0)
		return fail(BAD_VALUE, "unused bits of the last base32 character are not zero");
	uint32_t held = 0;
	unsigned bits = 0;
	for (size_t i = 0, at = 0; i < text.len; i++) {
		held = held << 5 | (uint32_t)base32_digit(text.data[i]);
		bits += 5;
		if (bits >= 8) {
			bits -= 8;
			out[at++] = (uint8_t)(held >> bits);
		}
	}
	return OK;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct span bytes, char *out)
{
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t have = bytes.len - i < 3 ? bytes.len - i : 3;
		uint32_t group = (uint32_t)bytes.data[i] << 16;
		if (have > 1)
			group |= (uint32_t)bytes.data[i + 1] << 8;
		if (have > 2)
			group |= bytes.data[i + 2];
		for (size_t k = 0; k < 4; k++)
			*out++ = k <= have ? base64_digits[group >> (18 - 6 * k) & 63] : '=';
	}
	*out = '\0';
}

result base64_decode(struct span text, uint8_t *out, size_t *out_len)
{
	if (text.len % 4)
		return fail(BAD_VALUE, "base64 of %zu characters", text.len);
	size_t pad = 0, at = 0;
	while (pad < 2 && pad < text.len && text.data[text.len - 1 - pad] == '=')
		pad++;
	uint32_t group = 0;
	for (size_t i = 0; i < text.len; i++) {
		const char *digit = i + pad < text.len && text.data[i] ? strchr(base64_digits, text.data[i]) : NULL;
		if (!digit && i + pad < text.len)
			return fail(BAD_VALUE, "a character at %zu that is not base64", i);
		group = group << 6 | (digit ? (uint32_t)(digit - base64_digits) : 0);
		if (i % 4 < 3)
			continue;
		size_t have = i + 1 == text.len ? 3 - pad : 3;
		if (have < 3 && group << (8 + 8 * have))
			return fail(BAD_VALUE, "base64 with bits beyond its last byte");
		for (size_t k = 0; k < have; k++)
			out[at++] = (uint8_t)(group >> (16 - 8 * k));
		group = 0;
	}
	*out_len = at;
	return OK;
}

static bool continuation(const uint8_t *at, const uint8_t *end)
{
	return at < end && (*at & 0xc0) == 0x80;
}

/* Length of the valid sequence at `at`, 0 when there is none (RFC 3629 section 4). */
static size_t utf8_sequence(const uint8_t *at, const uint8_t *end)
{
	uint8_t first = *at;
	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4 || !continuation(at + 1, end))
		return 0;
	if (first < 0xe0)
		return 2;
	if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f) || !continuation(at + 2, end))
		return 0;
	if (first < 0xf0)
		return 3;
	if ((first == 0xf0 && at[1] < 0x90) || (first == 0xf4 && at[1] > 0x8f) || !continuation(at + 3, end))
		return 0;
	return 4;
}

size_t utf8_valid_prefix(struct span text)
{
	const uint8_t *at = text.data, *end = at + text.len;
	while (at < end) {
		uint64_t eight;
		if (end - at >= 8) {
			memcpy(&eight, at, 8);
			if ((eight & 0x8080808080808080u) == 0) {
				at += 8;
				continue;
			}
		}
		size_t len = utf8_sequence(at, end);
		if (len == 0)
			break;
		at += len;
	}
	return (size_t)(at - text.data);
}

bool utf8_valid(struct span text)
{
	return text.len == 0 || utf8_valid_prefix(text) == text.len;
}

uint32_t utf8_next(const uint8_t **at)
{
	const uint8_t *p = *at;
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	uint32_t code = len == 1 ? p[0] : p[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++)
		code = code << 6 | (p[i] & 0x3f);
	*at = p + len;
	return code;
}

bool code_point_is_plain(uint32_t code)
{
	if (code < 0x20 || (code >= 0x7f && code <= 0x9f))
		return false;
	if ((code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f))
		return false;
	return code != 0x61c && code != 0xfeff;
}

void text_make_plain(char *text)
{
	uint8_t *at = (uint8_t *)text, *end = at + strlen(text);
	while (at < end) {
		const uint8_t *next = at;
		size_t len = utf8_sequence(at, end);
		bool plain = len > 0 && code_point_is_plain(utf8_next(&next));
		len = len ? len : 1;
		if (!plain)
			memset(at, '?', len);
		at += len;
	}
}

void text_take_out(char *text, const char *part)
{
	size_t len = strlen(part);
	if (len == 0)
		return;
	for (char *at = strstr(text, part); at; at = strstr(at, part)) {
		const char *rest = at + len;
		if (at > text && at[-1] == ' ')
			at--;
		memmove(at, rest, strlen(rest) + 1);
	}
}
