/*
 * OpenSSL as this process uses it. Everything in src/crypto reaches the library through here, so that
 *   - no configuration file is read and no exit handler is installed (OPENSSL_CONF in the environment of a
 *     program must not load code into it, and worker threads may outlive main);
 *   - every algorithm is fetched once per process (an implicit fetch costs +255 ns on each call);
 *   - contexts that hold no key are kept per thread and freed when the thread ends;
 *   - private scalars live in OpenSSL's secure heap (guard pages, locked where RLIMIT_MEMLOCK allows, left
 *     out of core dumps, wiped on free).
 *
 * Limit: the secure heap holds a few thousand scalars; beyond that making a private key fails. Intermediate
 * values of one computation, cipher contexts and HMAC pads are ordinary memory that is wiped after use.
 *
 * Internal to src/crypto; others include crypto/crypto.h.
 */
#ifndef TROTH_CRYPTO_LIBRARY_H
#define TROTH_CRYPTO_LIBRARY_H

#include "base/result.h"
#include "crypto/hash.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

enum { HASH_ALGORITHMS = 3, READY_CONTEXTS = 8 };

/* Made once, read by all threads, never freed. */
struct library {
	EVP_MD *digest[HASH_ALGORITHMS]; /* indexed by enum hash_algorithm */
	EVP_CIPHER *aes_256_gcm;
	EC_GROUP *p256;
	BIGNUM *p256_order_minus_1;
	bool has_mlkem_768; /* OpenSSL >= 3.5 */
	EVP_PKEY *p256_public; /* some public key: copying it is 4 times faster than building one from parameters */
};

/* Contexts of one thread. None holds a key or data between calls. */
struct library_thread {
	/* A stack per algorithm of contexts that are initialised and empty. */
	EVP_MD_CTX *ready[HASH_ALGORITHMS][READY_CONTEXTS];
	size_t ready_count[HASH_ALGORITHMS];
	EVP_PKEY_CTX *generate; /* P-256 key generation */
	EVP_PKEY *peer; /* a public key that is overwritten by each agreement */
	EC_POINT *point; /* scratch for point checks */
	BN_CTX *numbers;
};

/* Never NULL: a process without working cryptography aborts with a message. */
const struct library *library(void);
struct library_thread *library_thread(void);

/* Ends the process: for failures that no input can cause. */
NORETURN void library_broken(const char *call);

/* CRYPTO_FAILED with the library's own words; empties its error queue. */
#define library_fail(call) failure_is_not_ok_(library_failure_note(call))
NODISCARD result library_failure_note(const char *call);

#endif
