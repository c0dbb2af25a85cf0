/*
 * From a seed to the keys of one epoch, and how seeds rest on disk (constructions/epochs.md "Keys", "State and keys").
 *   prk = HX("troth-rotseed1", seed); one HKDF expansion per label "sign", "kem" (48 bytes mod (n-1) + 1), "salt",
 *   "secret" (32 bytes); protocol word "rotseed1".
 */
#ifndef TROTH_ROOT_ROT_KEYS_H
#define TROTH_ROOT_ROT_KEYS_H

#include "base/secret.h"
#include "base/writer.h"
#include "crypto/hash.h"
#include "crypto/key.h"
#include "crypto/token.h"

enum { ROT_SEED_SIZE = 32, WRAP_KEY_SIZE = 32 };

struct rot_keys {
	struct key sign, kem;
	uint8_t salt[32]; /* public */
	struct secret epoch_secret; /* 32 bytes; for DERIVE local, never from the signing scalar */
	struct token_name sign_name; /* of `sign` where it lies in a token; else empty */
};

void rot_keys_free(struct rot_keys *keys);

/* A fresh seed: HX("troth-rotseed1 mix", random32 ‖ host seed), so that neither side alone chooses it. */
NODISCARD result rot_seed_new(struct span host_seed, struct secret *out);
NODISCARD result rot_keys_from_seed(const struct secret *seed, struct rot_keys *out);

/*
 * With the signing key in a token there is no scalar of it anywhere else: the seed gives the other keys and, by the label
 * "token id", the 16 bytes that name the signing key in the token. `make` generates it there (a fresh seed); otherwise it
 * must be there: NOT_FOUND. NOT_SUPPORTED when it could leave the token. Both do as rot_keys_from_seed when `token` is NULL.
 */
enum { ROT_TOKEN_ID_SIZE = 16 };
#define ROT_TOKEN_LABEL "troth epoch key"
NODISCARD result rot_keys_make(const struct secret *seed, struct token *token, struct rot_keys *out);
NODISCARD result rot_keys_open(const struct secret *seed, struct token *token, struct rot_keys *out);
/* What the record before commits to: epoch_next_commitment of the keys that rot_keys_make would give, and makes in a token. */
NODISCARD result rot_next_commitment(const struct secret *seed, struct token *token, uint8_t out[static SHA256_SIZE]);
/* Destroys a signing key that is out of use. OK when it is gone already. */
NODISCARD result rot_token_destroy(struct token *token, struct span id);

/*
 * Wraps `plain` under a wrap key (and, for the next seed, the host's share as well): salt[32] ‖ AE(k, label, plain), with
 * k = EX(HX(salt, wrap key ‖ share), label, "", 32), protocol word "apstate1". A fresh salt each time: no key seals twice.
 */
NODISCARD result state_wrap(const struct secret *wrap_key, struct span share, const char *label, struct span plain,
	struct writer *out);
NODISCARD result state_unwrap(const struct secret *wrap_key, struct span share, const char *label, struct span wrapped,
	struct secret *out);
enum { WRAP_OVERHEAD = 32 + 16 };

#endif
