/*
 * Text forms of bytes: hex, the base32 of root labels, and the check for UTF-8.
 */
#ifndef TROTH_WIRE_TEXT_H
#define TROTH_WIRE_TEXT_H

#include "base/result.h"
#include "base/span.h"

/* Lower-case hex with a NUL; `out` has room for 2 * bytes.len + 1 characters. */
void hex_encode(struct span bytes, char *out);

/* Exactly `len` bytes from 2 * len hex digits of either case. BAD_VALUE. */
NODISCARD result hex_decode(struct span text, uint8_t *out, size_t len);

/* Characters of base32 without padding for `len` bytes (52 for 32 bytes), without the NUL. */
#define BASE32_LENGTH(len) (((len)*8 + 4) / 5)

/* RFC 4648 section 6 in lower case, without padding, with a NUL: the label of a root's id. */
void base32_encode(struct span bytes, char *out);

/* The inverse: lower case only, exact length, unused bits zero, so that each value has one text. BAD_VALUE. */
NODISCARD result base32_decode(struct span text, uint8_t *out, size_t len);

/* Characters of base64 with padding for `len` bytes, without the NUL. */
#define BASE64_LENGTH(len) (((len) + 2) / 3 * 4)

/* RFC 4648 section 4, with padding and a NUL. */
void base64_encode(struct span bytes, char *out);

/*
 * The inverse: padded, no other characters, unused bits zero, so that each value has one text. `out` has room for
 * text.len / 4 * 3 bytes. BAD_VALUE.
 */
NODISCARD result base64_decode(struct span text, uint8_t *out, size_t *out_len);

/* RFC 3629: shortest forms, no surrogates, nothing above U+10FFFF. */
NODISCARD bool utf8_valid(struct span text);

/* Length of the valid beginning of `text`: text.len when all of it is valid. */
size_t utf8_valid_prefix(struct span text);

/* One code point of valid UTF-8; advances *at. */
uint32_t utf8_next(const uint8_t **at);

/* False for controls and for marks that are invisible or reorder text: they must not reach a terminal as they are. */
bool code_point_is_plain(uint32_t code);

/* Puts '?' for every byte of what is not plain or not UTF-8, in place: for messages that quote an input. */
void text_make_plain(char *text);

/* Takes every `part` out of the text, with the space before it: for a sentence that stands on a line of its own. */
void text_take_out(char *text, const char *part);

#endif
