/*
 * Signatures of a transaction and of the signed objects within it, verified before its turn comes, so that the serial part of
 * the engine only looks them up. What is not found there is verified on the spot: the answers are the same in any case.
 *
 * The cache knows public keys, and grants and endorsements that were good before, by the hash of all that was verified.
 * Thread-safe.
 */
#ifndef TROTH_LEDGER_SIGNATURES_H
#define TROTH_LEDGER_SIGNATURES_H

#include "object/ledger.h"

struct signature_cache;
NODISCARD result signature_cache_new(struct signature_cache **out);
void signature_cache_free(struct signature_cache *cache); /* accepts NULL */

/* Verifies one object, by memory where it was good before. BAD_SIGNATURE. */
NODISCARD result signature_check(struct signature_cache *cache, enum object_kind kind, struct span bytes,
	const uint8_t point[static POINT_SIZE]);

enum { SIGNATURES_MAX = 3 + GRANT_CHAIN_MAX };
struct signatures {
	struct signature_cache *cache;
	size_t count;
	struct signature_row {
		enum object_kind kind;
		struct span bytes; /* within the transaction */
		uint8_t point[POINT_SIZE];
		bool good;
	} rows[SIGNATURES_MAX];
};
/*
 * Finds and verifies the signatures of a transaction. What is not well-formed is left out. `tx` must outlive `out`.
 * *out_type: the transaction's, 0 when it is none.
 */
void signatures_prepare(struct signature_cache *cache, struct span tx, struct signatures *out, unsigned *out_type);
/* For contract_context.verify; `arg` is a struct signatures. */
result signatures_answer(void *arg, enum object_kind kind, struct span bytes, const uint8_t point[static POINT_SIZE]);

#endif
