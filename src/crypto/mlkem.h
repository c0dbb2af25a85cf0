/*
 * ML-KEM-768 (FIPS 203), the post-quantum half of IECP's suite 2. OpenSSL has it from 3.5 on: it is looked for by its
 * name when the process starts, so one binary runs with and without it.
 *
 * A `struct mlkem` owns a decapsulation key and lives for one handshake; free with mlkem_free. It lies in OpenSSL's
 * ordinary memory, which OpenSSL wipes when it is freed.
 */
#ifndef TROTH_CRYPTO_MLKEM_H
#define TROTH_CRYPTO_MLKEM_H

#include "base/result.h"
#include "base/span.h"

enum { MLKEM_KEY_SIZE = 1184, MLKEM_CT_SIZE = 1088, MLKEM_SECRET_SIZE = 32, MLKEM_SEED_SIZE = 64, MLKEM_MESSAGE_SIZE = 32 };

struct mlkem {
	void *pkey; /* EVP_PKEY */
};

#define MLKEM_EMPTY ((struct mlkem){0})

/* Does this machine's OpenSSL have it? Every function below gives NOT_SUPPORTED otherwise. */
bool mlkem_available(void);

/* `seed`: d ‖ z of FIPS 203 for known answers; empty: drawn by OpenSSL. */
NODISCARD result mlkem_generate(struct span seed, struct mlkem *out, uint8_t out_key[static MLKEM_KEY_SIZE]);
/* `message`: m of FIPS 203 for known answers, or empty. BAD_KEY for an encapsulation key that FIPS 203 refuses. */
NODISCARD result mlkem_encapsulate(struct span key, struct span message, uint8_t out_ct[static MLKEM_CT_SIZE],
	uint8_t out_secret[static MLKEM_SECRET_SIZE]);
/* A ciphertext that was not made for this key gives a secret of its own, not an error (implicit rejection). BAD_VALUE: its length. */
NODISCARD result mlkem_decapsulate(const struct mlkem *own, struct span ct, uint8_t out_secret[static MLKEM_SECRET_SIZE]);
void mlkem_free(struct mlkem *key); /* accepts NULL and empty */

#endif
