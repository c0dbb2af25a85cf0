/*
 * P-256 keys: ES256 signatures as fixed 64-byte r‖s (RFC 9053 section 2.1) and ECDH as the 32-byte x.
 * Public keys travel as 65-byte uncompressed points (SEC 1) that are checked to lie on the curve.
 *
 * A `struct key` owns an OpenSSL object; free with key_free. Public-only keys cannot sign or agree: BAD_KEY.
 * One key may be used by several threads at once; each owner has its own struct (key_ref).
 *
 * Private scalars live in OpenSSL's secure heap (guarded, locked where RLIMIT_MEMLOCK allows, not in core dumps,
 * wiped on free), not in memfd_secret pages: that heap is OpenSSL's own. Intermediate values of one signature
 * or agreement are wiped by OpenSSL but pass through ordinary memory.
 */
#ifndef TROTH_CRYPTO_KEY_H
#define TROTH_CRYPTO_KEY_H

#include "base/bytes.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/span.h"
#include "crypto/hash.h"

#include <stdatomic.h>

enum { POINT_SIZE = 65, SIGNATURE_SIZE = 64, ECDH_SIZE = 32, SCALAR_SIZE = 32, KEY_ID_SIZE = 32, SPKI_SIZE = 91 };

/*
 * A private key that is used where it lies, such as in a token (crypto/token.h). It is shared by all keys that were made
 * from it and freed with the last of them; `sign` and `agree` may be called by several threads at once. Whoever makes one
 * starts with `references` 1, which key_from_backend takes over.
 */
struct key_backend {
	NODISCARD result (*sign)(struct key_backend *backend, const uint8_t digest[static 32], uint8_t out[static 64]);
	/* NULL: it only signs */
	NODISCARD result (*agree)(struct key_backend *backend, const uint8_t point[static 65], uint8_t out[static 32]);
	void (*free)(struct key_backend *backend);
	atomic_uint references;
};

struct key {
	void *pkey; /* EVP_PKEY; of a key with a backend the public half */
	struct key_backend *backend; /* NULL: the private half, if any, is in `pkey` */
	bool is_private;
	uint8_t point[POINT_SIZE];
	uint8_t id[KEY_ID_SIZE]; /* SHA-256 of the DER SubjectPublicKeyInfo: the "SPKI hash" everywhere */
};

#define KEY_EMPTY ((struct key){0})

NODISCARD result key_generate(struct key *out);
/* scalar in [1, n-1], 32 bytes big-endian; BAD_VALUE otherwise. */
NODISCARD result key_from_scalar(struct span scalar, struct key *out);
/* 48 uniform bytes -> scalar (bytes mod (n-1)) + 1 (constructions/epochs.md, "Seed -> keys"). */
NODISCARD result key_from_seed48(struct span seed48, struct key *out);
/* The public point alone of that key, in half the time. */
NODISCARD result point_from_seed48(struct span seed48, uint8_t out[static POINT_SIZE]);
/* 65-byte uncompressed point; BAD_POINT when malformed, off the curve or the identity. */
NODISCARD result key_from_point(struct span point, struct key *out);
/*
 * Public key from a PEM file's content: its first block, "BEGIN PUBLIC KEY" as `openssl ec -pubout` writes it, or a
 * certificate (of any profile: only its key is taken). BAD_KEY unless that is a P-256 key as an uncompressed point.
 */
NODISCARD result key_from_pem(struct span pem, struct key *out);
/* Private key from PEM (PKCS#8 or SEC 1), without a passphrase; BAD_KEY. The public half is computed anew. */
NODISCARD result key_from_private_pem(struct span pem, struct key *out);
/* The private key as PEM (PKCS#8, no passphrase), in secret memory. BAD_KEY where there is none to be had. */
NODISCARD result key_to_private_pem(const struct key *key, struct secret *out);
/* The public key as PEM ("BEGIN PUBLIC KEY"). */
NODISCARD result key_to_pem(const struct key *key, struct bytes *out);
/* DER SubjectPublicKeyInfo, exactly SPKI_SIZE bytes for P-256. BAD_KEY for another form, BAD_POINT. */
NODISCARD result key_from_spki(struct span der, struct key *out);
void key_spki(const struct key *key, uint8_t out[static SPKI_SIZE]);
/*
 * A private key with this public half that is used through `backend`, which it owns from here on also when this fails.
 * Each signature is checked against the public half before it is given out: a broken or lying backend never gets a wrong
 * one past us. BAD_POINT.
 */
NODISCARD result key_from_backend(struct span point, struct key_backend *backend, struct key *out);
/* Shares the OpenSSL object and the backend (reference counted). */
struct key key_ref(const struct key *key);
/* The private scalar, for wrapping under another key only. BAD_KEY where there is none to be had. */
NODISCARD result key_scalar(const struct key *key, struct secret *out);
/* Checks that `point` is a valid public key and gives its SPKI hash without keeping an object. */
NODISCARD result point_key_id(struct span point, uint8_t out[static KEY_ID_SIZE]);
void key_free(struct key *key);

/* ES256 over SHA-256(message). A key with a backend fails with the backend's reasons, or BAD_SIGNATURE when it signs wrongly. */
NODISCARD result key_sign(const struct key *key, struct span message, uint8_t out[static SIGNATURE_SIZE]);
/* BAD_SIGNATURE for anything that does not verify, including r or s outside [1, n-1] and len != 64. */
NODISCARD result key_verify(const struct key *key, struct span message, struct span signature);

/*
 * Somebody else who must also accept every signature that key_verify accepts from then on, in all threads and one at a time:
 * for a verifier that does not want to rest on this library alone. NULL: nobody. Set while no other thread verifies.
 */
struct key_second_opinion {
	NODISCARD result (*verify)(void *ctx, const uint8_t point[static POINT_SIZE], const uint8_t digest[static SHA256_SIZE],
		const uint8_t signature[static SIGNATURE_SIZE]);
	void *ctx;
};
void key_set_second_opinion(const struct key_second_opinion *opinion);

/* The x coordinate of private * peer_point; BAD_POINT. `out` has room for ECDH_SIZE bytes of secret memory. */
NODISCARD result key_agree(const struct key *own, struct span peer_point, uint8_t out[static ECDH_SIZE]);

#endif
