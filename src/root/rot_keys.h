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

enum { ROT_SEED_SIZE = 32, WRAP_KEY_SIZE = 32 };

struct rot_keys {
	struct key sign, kem;
	uint8_t salt[32]; /* public */
	struct secret epoch_secret; /* 32 bytes; for DERIVE local, never from the signing scalar */
};

void rot_keys_free(struct rot_keys *keys);

/* A fresh seed: HX("troth-rotseed1 mix", random32 ‖ host seed), so that neither side alone chooses it. */
NODISCARD result rot_seed_new(struct span host_seed, struct secret *out);
NODISCARD result rot_keys_from_seed(const struct secret *seed, struct rot_keys *out);

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
