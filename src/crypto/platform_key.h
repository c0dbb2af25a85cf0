/*
 * Public keys of other people's hardware: attestation keys of TPMs, their endorsement certificates. They are RSA or
 * P-256 / P-384 and come with chains of ordinary certificates, which src/crypto/key.h and x509.h (Troth's own
 * profile) deliberately know nothing of. Verification only; the bytes are judged by OpenSSL.
 *
 * SHA-1 is computed here because old PCR banks and event logs use it; a signature over SHA-1 is UNSUPPORTED_ALGORITHM.
 */
#ifndef TROTH_CRYPTO_PLATFORM_KEY_H
#define TROTH_CRYPTO_PLATFORM_KEY_H

#include "base/bytes.h"
#include "base/span.h"
#include "crypto/hash.h"

enum platform_digest { DIGEST_SHA1 = 1, DIGEST_SHA256, DIGEST_SHA384, DIGEST_SHA512 };
enum { DIGEST_MAX = SHA512_SIZE };

/* 0 for a number that is none. */
size_t platform_digest_size(enum platform_digest algorithm);
/* Writes platform_digest_size bytes. Cannot fail on any input; a broken OpenSSL aborts the process. */
void platform_digest(enum platform_digest algorithm, struct span data, uint8_t *out);

enum platform_key_type { PLATFORM_KEY_NONE = 0, PLATFORM_KEY_RSA, PLATFORM_KEY_P256, PLATFORM_KEY_P384 };
enum platform_scheme { SCHEME_RSASSA = 1, SCHEME_RSAPSS, SCHEME_ECDSA };

struct platform_key {
	void *pkey; /* EVP_PKEY; owned */
	enum platform_key_type type;
	uint8_t id[SHA256_SIZE]; /* SHA-256 of the DER SubjectPublicKeyInfo */
};
#define PLATFORM_KEY_EMPTY ((struct platform_key){0})

void platform_key_free(struct platform_key *key); /* accepts NULL and empty */

/* BAD_KEY: RSA below 2048 or above 4096 bits, an even or small exponent; another curve, a point that is not on it. */
NODISCARD result platform_key_from_rsa(struct span modulus, uint32_t exponent, struct platform_key *out);
NODISCARD result platform_key_from_point(enum platform_key_type curve, struct span x, struct span y, struct platform_key *out);
/* SubjectPublicKeyInfo in PEM ("BEGIN PUBLIC KEY"). */
NODISCARD result platform_key_from_pem(struct span pem, struct platform_key *out);

/* RSA: `rsa` holds the signature; ECDSA: r and s are big-endian numbers. */
struct platform_signature {
	enum platform_scheme scheme;
	enum platform_digest digest;
	struct span rsa, r, s;
};
/* BAD_SIGNATURE; BAD_KEY when key and scheme do not fit; UNSUPPORTED_ALGORITHM for SHA-1. */
NODISCARD result platform_key_verify(const struct platform_key *key, const struct platform_signature *signature, struct span message);

/* What makes a challenge for the holder of such a key (evidence/credential.h). */
void platform_hmac(enum platform_digest algorithm, struct span key, struct span data, uint8_t *out);
/* RSA-OAEP with this digest; `label` is taken with its NUL. BAD_KEY unless RSA. */
NODISCARD result platform_key_encrypt(const struct platform_key *key, enum platform_digest digest, const char *label, struct span plain,
	struct bytes *out);
enum { PLATFORM_COORDINATE_MAX = 48 };
struct platform_agreement {
	size_t width;	/* of a coordinate */
	uint8_t x[PLATFORM_COORDINATE_MAX], y[PLATFORM_COORDINATE_MAX]; /* of the fresh key */
	uint8_t z[PLATFORM_COORDINATE_MAX];	/* secret: x of the shared point */
	uint8_t peer_x[PLATFORM_COORDINATE_MAX];
};
/* A fresh key on the curve of `key` and what both have in common. BAD_KEY unless on a curve. Wipe it. */
NODISCARD result platform_key_agree(const struct platform_key *key, struct platform_agreement *out);
/* AES-CFB with a zero IV, 128 or 256 bits; out has data.len bytes. */
NODISCARD result platform_cfb(struct span key, struct span data, uint8_t *out);

/*
 * Judges `chain` (DER; leaf first, then any intermediates) against `roots` (DER) at a time of the caller's: EK_UNTRUSTED,
 * CERTIFICATE_EXPIRED, BAD_CERTIFICATE. Whatever a root says about itself, being named makes it one. Revocation lists are
 * not looked at. out_root (an index) and out_leaf may be NULL; out_leaf is the leaf's key, to be freed.
 */
NODISCARD result certificate_chain_verify(const struct span *chain, size_t chain_len, const struct span *roots, size_t root_count,
	uint64_t at_ms, size_t *out_root, struct platform_key *out_leaf);
/* The key of one certificate, whatever its profile. */
NODISCARD result certificate_public_key(struct span der, struct platform_key *out);
/* First certificate of a PEM text, as DER; `pem` is moved behind it. NOT_FOUND when there is none any more. */
NODISCARD result certificate_next_from_pem(struct span *pem, struct bytes *out_der);

#endif
