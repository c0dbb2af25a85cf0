/*
 * SHA-2, HMAC and HKDF over OpenSSL's EVP. Algorithms are fetched once per process; contexts are kept per thread and
 * given back empty, so that nothing of a keyed computation stays in them. All functions are safe in any thread.
 */
#ifndef TROTH_CRYPTO_HASH_H
#define TROTH_CRYPTO_HASH_H

#include "base/result.h"
#include "base/secret.h"
#include "base/span.h"

enum { SHA256_SIZE = 32, SHA384_SIZE = 48, SHA512_SIZE = 64 };

enum hash_algorithm { HASH_SHA256, HASH_SHA384, HASH_SHA512 };

/* One shot. These cannot fail on any input; a broken OpenSSL aborts the process. */
void sha256_parts(const struct span *parts, size_t count, uint8_t out[static SHA256_SIZE]); /* of all, one after the other */
void sha256(struct span data, uint8_t out[static SHA256_SIZE]);
void sha384(struct span data, uint8_t out[static SHA384_SIZE]);
void sha512(struct span data, uint8_t out[static SHA512_SIZE]);

/* Incremental; `hash_free` must be called whatever happened (accepts a zeroed struct). */
struct hash {
	void *ctx; /* EVP_MD_CTX */
};
NODISCARD result hash_start(struct hash *hash, enum hash_algorithm algorithm);
void hash_add(struct hash *hash, struct span data);
void hash_add_lv(struct hash *hash, struct span data); /* u32 length first; more than 4 GiB aborts */
void hash_finish(struct hash *hash, uint8_t *out); /* and frees */
void hash_free(struct hash *hash);

/* HMAC-SHA256; incremental form for data commitments over streams. */
void hmac_sha256(struct span key, struct span data, uint8_t out[static SHA256_SIZE]);
struct hmac {
	void *ctx; /* EVP_MAC_CTX */
};
NODISCARD result hmac_start(struct hmac *hmac, struct span key);
void hmac_add(struct hmac *hmac, struct span data);
void hmac_finish(struct hmac *hmac, uint8_t out[static SHA256_SIZE]);
void hmac_free(struct hmac *hmac);

/* RFC 5869 with SHA-256. HX(salt, ikm) of the constructions = hkdf_extract. */
void hkdf_extract(struct span salt, struct span ikm, uint8_t out_prk[static SHA256_SIZE]);
/* HKDF-Expand, out_len <= 255 * 32. */
void hkdf_expand(const uint8_t prk[static SHA256_SIZE], struct span info, uint8_t *out, size_t out_len);

/*
 * EX(k, label, ctx, n) of the constructions: HKDF-Expand(k, "troth-<protocol> " ‖ label ‖ 00 ‖ ctx, n).
 * `protocol` is the word after "troth-", e.g. "iecp1".
 */
void hkdf_expand_label(
	const uint8_t prk[static SHA256_SIZE], const char *protocol, const char *label, struct span ctx, uint8_t *out, size_t out_len);

#endif
