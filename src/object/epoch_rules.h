/*
 * The rules for one epoch record behind another (docs/PROTOCOL.epochs, "Which record may follow which"). Here stands what
 * can be told from the two records alone; where on a chain the former stands is epoch_chain.h's business. Decides only:
 * no I/O, no clock.
 */
#ifndef TROTH_OBJECT_EPOCH_RULES_H
#define TROTH_OBJECT_EPOCH_RULES_H

#include "object/epoch.h"

/* Public recovery keys as far as they are known here. Owned: free with key_ring_free. Their order means nothing. */
struct key_ring {
	struct key *keys;
	size_t count, cap;
};
enum { KEY_RING_MAX = 1024 };

void key_ring_free(struct key_ring *ring);
/* DER SubjectPublicKeyInfo; one that is there already is fine. BAD_VALUE when it is not a P-256 key, TOO_LARGE beyond KEY_RING_MAX. */
NODISCARD result key_ring_add(struct key_ring *ring, struct span spki);
const struct key *key_ring_find(const struct key_ring *ring, const uint8_t id[static KEY_ID_SIZE]); /* or NULL */

/* A record as received, taken apart. Borrows from the bytes and from the arena. */
struct epoch_record {
	struct span bytes;
	struct cose_sign object;
	struct epoch epoch;
	uint8_t oid[OID_SIZE];
};

/* Strict form and what must hold of any record on its own (epoch_check). No signature is looked at. */
NODISCARD result epoch_record_parse(struct span bytes, struct arena *arena, struct epoch_record *out);

/*
 * Which root an epoch record or a HALT is about: what it says, or its oid when it is an inception record. Nothing is
 * verified.
 */
NODISCARD result epoch_object_root(struct span bytes, uint8_t out_rot_id[static OID_SIZE]);

/* What must hold of any record on its own: suite, validity, recovery set, state, kind none without a value. */
NODISCARD result epoch_check(const struct epoch *epoch);
/* kem_pk is a point; apart because it costs more than all the rest. sign_pk is checked when it verifies. BAD_POINT. */
NODISCARD result epoch_check_kem(const struct epoch *epoch);

/* A HALT has another number of fields than a record; its label, which is signed, is another too. */
NODISCARD result epoch_object_is_halt(const struct cose_sign *object, bool *out);

bool epoch_is_recovery(const struct epoch *epoch);
bool epoch_recovery_equal(const struct epoch *a, const struct epoch *b); /* both null, or k, n and keys alike */

/*
 * May `epoch` stand right behind `before`, whose oid is `before_oid`? Everything but signatures:
 *   EPOCH_FOREIGN rot_id or prev    EPOCH_SKIPPED number    BAD_VALUE number, era or reason that fit no kind
 *   EPOCH_UNCOMMITTED   EPOCH_CHANGED_RECOVERY   NO_RECOVERY_SET   EPOCH_COUNTER_WRONG
 * A recovery's era must be greater; by how much depends on the chain's head.
 */
NODISCARD result epoch_rules_link(const struct epoch *epoch, const struct epoch *before, const uint8_t before_oid[static OID_SIZE],
	const uint8_t rot_id[static OID_SIZE]);

/*
 * Its signatures: new and old key (scheduled), both and k of n (set-recovery), new key and k of n (recovery); n is that of
 * `before`. Each signature that is there must count and be good. BAD_SIGNATURE, RECOVERY_QUORUM, NO_RECOVERY_SET.
 */
NODISCARD result epoch_rules_signatures(
	const struct epoch_record *record, const struct epoch *before, const struct key_ring *recovery_keys);

/*
 * k of n of `before`'s recovery set have signed `object`, an object of `kind`, and nobody else has. RECOVERY_QUORUM,
 * NO_RECOVERY_SET, BAD_SIGNATURE.
 */
NODISCARD result epoch_rules_quorum(const struct cose_sign *object, enum object_kind kind, const struct epoch *before,
	const struct key_ring *recovery_keys);

#endif
