/*
 * Shamir's secret sharing over GF(256), the field of AES (x^8 + x^4 + x^3 + x + 1), byte by byte: k of n shares give the
 * secret, k - 1 tell nothing about it. A share is its number x in 1..255 and as many bytes as the secret has; the
 * coefficients are fresh randomness for each byte. It authenticates nothing: whoever combines knows from elsewhere which
 * shares belong together, and checks what came out.
 *
 * Run time and memory accesses depend on lengths, counts and numbers of shares, never on shared bytes.
 *
 * SHARE_INVALID: a number 0, an empty secret or share. SHARE_DUPLICATE: a number twice. SHARES_TOO_FEW: fewer than k.
 * SHARES_MIXED: shares of different lengths. BAD_VALUE: a quorum outside 1..n.
 */
#ifndef TROTH_CRYPTO_SHAMIR_H
#define TROTH_CRYPTO_SHAMIR_H

#include "base/result.h"
#include "base/secret.h"

enum { SHAMIR_MAX_SHARES = 255, SHAMIR_SECRET_MAX = 4096 };

struct shamir_share {
	uint8_t x;
	struct secret y;
};
#define SHAMIR_SHARE_EMPTY ((struct shamir_share){0, {NULL, 0}})
void shamir_share_free(struct shamir_share *share); /* wipes; accepts an empty one */

/* Fills out_shares[0..n-1]: share i gets the number numbers[i]. On failure none is left. */
NODISCARD result shamir_split(struct span secret, size_t k, const uint8_t *numbers, size_t n, struct shamir_share *out_shares);

/* The secret from the first k of the shares; the others are only checked for form. */
NODISCARD result shamir_combine(const struct shamir_share *shares, size_t count, size_t k, struct secret *out);

/* In the field; constant time. Here for tests against the definition. */
uint8_t gf256_multiply(uint8_t a, uint8_t b);
uint8_t gf256_invert(uint8_t a); /* of 0: 0 */

#endif
