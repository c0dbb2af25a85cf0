/*
 * Following one root of trust through its epochs (docs/PROTOCOL.epochs, constructions/epochs.md). A chain starts from an
 * inception record that its caller trusts (a pinned rot_id) and takes in later records one by one: scheduled,
 * set-recovery and recovery records, and HALTs. It decides, it does no I/O and knows no clock; whoever calls it passes
 * times. Used by the host, the secure processor's host side, every enclave's runtime and offline verification alike.
 *
 * Refused records change nothing. A second, different record for an epoch on the chain that is valid in every respect
 * freezes the chain (EPOCH_FORKED): both records are kept, and nothing but a recovery is accepted.
 */
#ifndef TROTH_OBJECT_EPOCH_CHAIN_H
#define TROTH_OBJECT_EPOCH_CHAIN_H

#include "object/epoch.h"

struct epoch_chain;

enum epoch_chain_state { CHAIN_LIVE = 1, CHAIN_HALTED, CHAIN_FROZEN };

/* One accepted record. Borrowed from the chain; valid until the chain is freed. */
struct epoch_link {
	uint32_t era;
	uint64_t epoch;
	uint8_t oid[OID_SIZE];
	uint8_t sign_pk[POINT_SIZE], kem_pk[POINT_SIZE];
	uint64_t not_before, not_after;
	uint32_t grace_s;
	bool is_void;	    /* a recovery has voided it */
	struct span record; /* as received */
};

/* `inception` is copied. Says nothing about trust. */
NODISCARD result epoch_chain_new(struct span inception, struct epoch_chain **out);
void epoch_chain_free(struct epoch_chain *chain); /* accepts NULL */

/*
 * Adds a public recovery key (DER SubjectPublicKeyInfo). Needs no trust: only keys whose digest is in a recovery set of
 * the chain count. BAD_VALUE when it is not a P-256 key.
 */
NODISCARD result epoch_chain_add_key(struct epoch_chain *chain, struct span spki);

/*
 * Takes one more object: an epoch record or a HALT, told apart by its label. OK also for one that is known already.
 *   EPOCH_SKIPPED EPOCH_UNCOMMITTED EPOCH_CHANGED_RECOVERY EPOCH_FOREIGN EPOCH_VOID EPOCH_COUNTER_WRONG RECOVERY_QUORUM
 *   NO_RECOVERY_SET BAD_SIGNATURE, parse reasons: refused, nothing changed
 *   EPOCH_FORKED: valid, but the chain is frozen now, or was
 *   EPOCH_HALTED: valid, but the chain is halted and this is no recovery
 * Valid records that came while the chain was stopped, or after their era had ended (EPOCH_VOID), are kept aside (a few
 * hundred), because a recovery may stand on one; of them epoch_chain_count and _at know nothing.
 */
NODISCARD result epoch_chain_follow(struct epoch_chain *chain, struct span object);

/*
 * As follow, for a record that was verified before and whose bytes were authenticated since (the host's pin store): the
 * links are checked, the signatures are not.
 */
NODISCARD result epoch_chain_follow_trusted(struct epoch_chain *chain, struct span object);

/*
 * As follow, for an object of somebody's history: OK for everything genuine that may stand in one, also what freezes or
 * halts the chain or is void. Ask epoch_chain_state when all of it was learned.
 */
NODISCARD result epoch_chain_learn(struct epoch_chain *chain, struct span object);

enum epoch_chain_state epoch_chain_state(const struct epoch_chain *chain);
const char *epoch_chain_state_name(const struct epoch_chain *chain); /* "live", "halted", "frozen" */
const uint8_t *epoch_chain_rot_id(const struct epoch_chain *chain);
size_t epoch_chain_count(const struct epoch_chain *chain);
const struct epoch_link *epoch_chain_at(const struct epoch_chain *chain, size_t index); /* 0 is the inception */
const struct epoch_link *epoch_chain_head(const struct epoch_chain *chain);
const struct epoch_link *epoch_chain_find(const struct epoch_chain *chain, const uint8_t oid[static OID_SIZE]); /* or NULL */
/* The record that `link` stands on; NULL for the inception. */
const struct epoch_link *epoch_chain_before(const struct epoch_chain *chain, const struct epoch_link *link);
/* The two records that froze the chain, or the HALT that halted it in `out[0]`; empty spans otherwise. */
void epoch_chain_proof(const struct epoch_chain *chain, struct span out[static 2]);
/* Decodes a link's record whole; texts and lists live in `arena`. */
NODISCARD result epoch_chain_decode(const struct epoch_link *link, struct arena *arena, struct epoch *out);

/*
 * Live evidence of epoch `oid`, asked for when the head was `floor` (era, epoch): accepted iff the chain is live, the
 * record is known and not void, floor <= it <= head, now_ms <= the head's not_after, and it is the head or the one before of
 * the same era; for the one before, now_ms <= learned_ms + min(the head's grace_s, 30 s), where learned_ms is when this
 * verifier learned of the head.
 * EPOCH_TOO_OLD, EPOCH_FOREIGN (unknown: fetch the chain, then ask again), EPOCH_VOID, EPOCH_HALTED, EPOCH_FORKED, EPOCH_EXPIRED.
 */
NODISCARD result epoch_chain_judge_live(const struct epoch_chain *chain, const uint8_t oid[static OID_SIZE], uint32_t floor_era,
	uint64_t floor_epoch, uint64_t learned_ms, uint64_t now_ms);

/* HALT {rot_id, era, epoch a}: COSE_Sign by k of n of E_a's recovery set; stops a root without its secure processor. */
struct halt {
	uint8_t v;
	uint8_t rot_id[OID_SIZE];
	uint32_t era;
	uint64_t epoch; /* a */
};
extern const struct schema halt_schema;

/*
 * A history as one file or section: what a host exports, an auditor keeps and `--epochs FILE` reads.
 *   {1: 1, 2: [bstr]: epoch records and HALTs in the order of acceptance, inception first, 3: [bstr]: recovery keys (SPKI)}
 */
struct epoch_history {
	uint8_t v;
	struct bytes_item *objects;
	size_t object_count;
	struct bytes_item *keys;
	size_t key_count;
};
extern const struct schema epoch_history_schema;
enum { EPOCH_HISTORY_MAX = 256 * 1024 * 1024 };

/*
 * A chain from a history, or from a single epoch record (then the inception). The first refusal is returned, `*out` stays
 * as it was. A history that ends frozen or halted is a good one: ask epoch_chain_state.
 */
NODISCARD result epoch_chain_of_history(struct span bytes, struct epoch_chain **out);

/* Everything that the chain took in, in that order, proofs of forks and HALTs included, and its keys. */
NODISCARD result epoch_chain_history(const struct epoch_chain *chain, struct bytes *out);

#endif
