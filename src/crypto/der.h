/*
 * The little of DER (X.690) that a fixed structure needs: one-byte tags, definite minimal lengths below
 * 64 KiB, and nothing else. Works on a reader, allocates nothing. OpenSSL's decoder takes 5 times as long
 * as a signature check for one certificate and accepts more than DER.
 */
#ifndef TROTH_CRYPTO_DER_H
#define TROTH_CRYPTO_DER_H

#include "base/reader.h"
#include "base/result.h"
#include "base/span.h"

enum der_tag {
	DER_BOOLEAN = 0x01,
	DER_INTEGER = 0x02,
	DER_BIT_STRING = 0x03,
	DER_OCTET_STRING = 0x04,
	DER_OID = 0x06,
	DER_UTC_TIME = 0x17,
	DER_GENERALIZED_TIME = 0x18,
	DER_SEQUENCE = 0x30,
	DER_SET = 0x31,
	DER_CONTEXT_0 = 0xa0, /* constructed [0], [1], ... */
	DER_CONTEXT_3 = 0xa3,
};

/* The content of the next element, which must have this tag. TRUNCATED, BAD_TYPE, NOT_DETERMINISTIC, TOO_LARGE. */
NODISCARD result der_take(struct reader *r, uint8_t tag, struct span *out_content);
/* The same, to read on inside. */
NODISCARD result der_enter(struct reader *r, uint8_t tag, struct reader *out_inside);
/* The next element with tag and length, whatever it is. */
NODISCARD result der_take_any(struct reader *r, struct span *out_element);
/* Whether the next element has this tag (false at the end). */
bool der_next_is(const struct reader *r, uint8_t tag);
/* A positive INTEGER in minimal form without its leading zero byte. BAD_VALUE when negative or zero. */
NODISCARD result der_take_positive(struct reader *r, struct span *out_magnitude);

/*
 * ECDSA-Sig-Value of P-256 to and from r‖s of 32 bytes each (RFC 3279 section 2.2.3). Values of more than
 * 256 bits are BAD_VALUE; the range of r and s is checked where a signature is verified.
 */
enum { DER_SIGNATURE_MAX = 72, RAW_SIGNATURE_SIZE = 64 };
NODISCARD result der_signature_to_raw(struct span der, uint8_t out_raw[static RAW_SIGNATURE_SIZE]);
/* Returns the length, at most DER_SIGNATURE_MAX. */
size_t der_signature_from_raw(const uint8_t raw[static RAW_SIGNATURE_SIZE], uint8_t out[static DER_SIGNATURE_MAX]);

#endif
