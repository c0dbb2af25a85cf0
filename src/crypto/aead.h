/*
 * AES-256-GCM with a context that is kept between calls (a new context per record costs as much as the
 * record). The caller owns the nonce discipline; nothing here can stop a repeated nonce. A context is used by
 * one thread at a time; its key schedule is ordinary memory that is wiped by aead_free.
 *
 * ILLEGAL_STATE when a context is used for the other direction; TOO_LARGE beyond 2 GiB in one message.
 */
#ifndef TROTH_CRYPTO_AEAD_H
#define TROTH_CRYPTO_AEAD_H

#include "base/result.h"
#include "base/span.h"

enum { AEAD_KEY_SIZE = 32, AEAD_NONCE_SIZE = 12, AEAD_TAG_SIZE = 16 };

struct aead {
	void *ctx; /* EVP_CIPHER_CTX keyed for one direction */
	bool sealing;
};

NODISCARD result aead_init_seal(struct aead *aead, const uint8_t key[static AEAD_KEY_SIZE]);
NODISCARD result aead_init_open(struct aead *aead, const uint8_t key[static AEAD_KEY_SIZE]);
void aead_free(struct aead *aead); /* wipes; accepts a zeroed struct */

/* Writes plain.len + 16 bytes to out; out may equal plain.data. */
NODISCARD result aead_seal(
	struct aead *aead, const uint8_t nonce[static AEAD_NONCE_SIZE], struct span aad, struct span plain, uint8_t *out);
/* Writes cipher.len - 16 bytes to out; out may equal cipher.data. BAD_TAG leaves out zeroed. */
NODISCARD result aead_open(
	struct aead *aead, const uint8_t nonce[static AEAD_NONCE_SIZE], struct span aad, struct span cipher, uint8_t *out);

/* AE(k, aad, m) of the constructions: nonce 0^12, for keys that seal exactly once. */
NODISCARD result aead_seal_once(const uint8_t key[static AEAD_KEY_SIZE], struct span aad, struct span plain, uint8_t *out);
NODISCARD result aead_open_once(const uint8_t key[static AEAD_KEY_SIZE], struct span aad, struct span cipher, uint8_t *out);

#endif
