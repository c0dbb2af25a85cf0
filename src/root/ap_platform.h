/*
 * The TPM as the engine of the secure processor sees it: something that counts, adds randomness, mirrors the phases and
 * vouches. The program fills it (root/ap_tpm.h); without one the pointer is NULL and everything works as before. Called by
 * the engine's thread or, while that waits for nothing of it, by the worker's: never by both at once.
 */
#ifndef TROTH_ROOT_AP_PLATFORM_H
#define TROTH_ROOT_AP_PLATFORM_H

#include "base/bytes.h"
#include "base/secret.h"
#include "object/epoch.h"

struct ap_platform_identity {
	struct bytes ek_public, ek_certificate, ak_public; /* the certificate may be empty */
};
struct ap_platform_quote {
	struct bytes attest, signature;
	uint32_t pcrs; /* bit n: PCR n */
	uint8_t values[24][SHA256_SIZE];
};

/* What the TPM holds of the host's pin store (docs/PROTOCOL.root "Pin store"): which writing of it is the latest. */
struct pin_mirror {
	uint64_t seq; /* 0: none yet */
	uint32_t era;
	uint64_t epoch;
	uint8_t digest[SHA256_SIZE];
};

/* Where the history of the host stands (docs/PROTOCOL.dac "Head proof"). */
struct ap_platform_head {
	uint32_t index; /* 0: makes one */
	const uint8_t *birth; /* SHA256_SIZE bytes: the first entry of one that is made */
	const uint8_t *digest; /* SHA256_SIZE bytes to extend it with; NULL: none */
	struct span nonce; /* to certify it over; empty: not */
};
struct ap_platform_headed {
	uint32_t index;
	uint8_t head[SHA256_SIZE];
	struct bytes attest, signature; /* empty without a nonce */
};

struct ap_platform {
	void *context;
	uint64_t counter; /* as it is now */
	result counter_state; /* OK, or TAMPERED: there is no counter any more */
	bool has_pins; /* it was made with a mirror of the pin store */
	result pins_state; /* OK, or TAMPERED: that mirror is gone */
	struct pin_mirror pins; /* as it is now */
	NODISCARD result (*count)(void *context, uint64_t *out_value); /* one up */
	NODISCARD result (*random)(void *context, uint8_t *out, size_t len);
	NODISCARD result (*extend)(void *context, const uint8_t digest[static SHA256_SIZE]);
	NODISCARD result (*identify)(void *context, struct ap_platform_identity *out);
	NODISCARD result (*quote)(void *context, const uint8_t binding[static SHA256_SIZE], struct ap_platform_quote *out);
	NODISCARD result (*activate)(void *context, struct span credential, struct span encrypted, struct secret *out);
	NODISCARD result (*keep_pins)(void *context, const struct pin_mirror *pins);
	/* TAMPERED: no such index, or not one that this processor made. */
	NODISCARD result (*head)(void *context, const struct ap_platform_head *request, struct ap_platform_headed *out);
};

void ap_platform_identity_free(struct ap_platform_identity *identity);
void ap_platform_quote_free(struct ap_platform_quote *quote);
void ap_platform_headed_free(struct ap_platform_headed *headed);

/* A new seed from the kernel's randomness, the host's and, when there is one, the TPM's. */
NODISCARD result ap_seed_new(struct ap_platform *platform, struct span host_seed, struct secret *out);

/* What the record after one with `before` says; with a TPM it is the next value, which the commit makes true. */
struct epoch_counter ap_counter_next(const struct ap_platform *platform, struct epoch_counter before);
/* The same for a recovery, which may stand on a record of another TPM. */
struct epoch_counter ap_counter_of_recovery(const struct ap_platform *platform, struct epoch_counter base);
/* Counts up to what a durable record says. TAMPERED when the counter is beyond it. */
NODISCARD result ap_counter_commit(struct ap_platform *platform, struct epoch_counter counter);
/* At the start: OK, ROLLBACK, TAMPERED, TPM_UNAVAILABLE. `out_commit`: the record was written but not yet counted. */
NODISCARD result ap_counter_judge(const struct ap_platform *platform, struct epoch_counter counter, bool *out_commit);

/* `pins` is the pin store of the host as it is on its disk. Writes what follows on the mirror. PIN_STALE, TAMPERED, TPM_UNAVAILABLE. */
NODISCARD result ap_pins_follow(struct ap_platform *platform, const struct pin_mirror *pins);

#endif
