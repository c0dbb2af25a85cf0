/*
 * Ed25519 (RFC 8032) for signed notes only: log checkpoints and witness cosignatures (c2sp.org/signed-note). Everything
 * else of Troth signs with P-256 (key.h).
 */
#ifndef TROTH_CRYPTO_ED25519_H
#define TROTH_CRYPTO_ED25519_H

#include "base/result.h"
#include "base/secret.h"
#include "base/span.h"

enum { ED25519_PUBLIC_SIZE = 32, ED25519_SEED_SIZE = 32, ED25519_SIGNATURE_SIZE = 64 };

/* 32 random bytes of secret memory: the private key. */
NODISCARD result ed25519_generate(struct secret *out_seed);
NODISCARD result ed25519_public(const struct secret *seed, uint8_t out[static ED25519_PUBLIC_SIZE]); /* BAD_KEY */
NODISCARD result ed25519_sign(const struct secret *seed, struct span message, uint8_t out[static ED25519_SIGNATURE_SIZE]);
/* BAD_SIGNATURE. */
NODISCARD result ed25519_verify(const uint8_t public_key[static ED25519_PUBLIC_SIZE], struct span message,
	const uint8_t signature[static ED25519_SIGNATURE_SIZE]);

#endif
