/*
 * The host's pin store: the public record of the root it trusts, durable and MACed with a key of its own, so that a
 * secure processor whose state was put back or exchanged is noticed (root.md "Host side (RTP)").
 * File `pins`: {1: 2, 2: rot_id, 3: head record, 4: era, 5: epoch, 6: seq, 7: digest of troth-ap, 8: entries of the history,
 * 9: digest over them (root/history.h), 10: trust domain, 11: HMAC-SHA256(key, "troth pins2" ‖ encoding of 1..10)}; the key is
 * 32 random bytes in `pins.key`, mode 0600. Read too, but no more written: version 1, without 8..10, whose MAC is field 8 under
 * "troth pins1"; it was of roots that had only their first epoch.
 */
#ifndef TROTH_ROOT_PINS_H
#define TROTH_ROOT_PINS_H

#include "root/history.h"

struct pins {
	uint8_t v;
	uint8_t rot_id[OID_SIZE];
	struct span head;
	uint32_t era;
	uint64_t epoch;
	uint64_t seq; /* of writes of this file */
	uint8_t ap_digest[SHA384_SIZE];
	struct history_mark history; /* zero from version 1 */
	const char *trust_domain;    /* "" from version 1 */
	uint8_t mac[SHA256_SIZE];
	uint8_t digest[SHA256_SIZE]; /* not in the file: SHA-256 of it, for the TPM's mirror */
};

/* NOT_FOUND when nothing was pinned yet; PIN_DAMAGED. Borrows from `arena`. `v` is the version that was read. */
NODISCARD result pins_load(const char *state_dir, struct arena *arena, struct pins *out);
/* Fills v, seq, mac and digest; makes the key when there is none. Durable when it returns OK. */
NODISCARD result pins_store(const char *state_dir, struct pins *pins);

/* HMAC-SHA256(key of the pin store, label ‖ body), for what else the host keeps beside its pins. NOT_FOUND: nothing is pinned. */
NODISCARD result pins_mac(const char *state_dir, const char *label, struct span body, uint8_t out[static SHA256_SIZE]);

#endif
