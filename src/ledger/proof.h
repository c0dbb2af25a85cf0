/*
 * Proofs that one can keep and check with the log's public key alone: C2SP tlog-proof files whose `extra` carries what is
 * proved (docs/PROTOCOL.ledger, "Proof files").
 *   of a leaf   extra = 01 ‖ lv(leaf);                            index: the leaf's
 *   of a fact   extra = 02 ‖ lv(TAIL) ‖ key32 ‖ state map proof;  index: the TAIL's, the last leaf of the checkpoint
 * Pure: whoever has the bytes and the key can open one.
 */
#ifndef TROTH_LEDGER_PROOF_H
#define TROTH_LEDGER_PROOF_H

#include "ledger/checkpoint.h"
#include "ledger/leaf.h"
#include "store/sparse_map.h"

enum ledger_proof_kind { PROOF_LEAF = 1, PROOF_FACT = 2 };

struct ledger_proof {
	enum ledger_proof_kind kind;
	struct checkpoint checkpoint;
	struct span note; /* the signed checkpoint, with its cosignatures */
	uint64_t index;
	struct span leaf_bytes; /* of the TAIL in a proof of a fact */
	struct ledger_leaf leaf;
	uint8_t key[SPARSE_KEY_SIZE]; /* PROOF_FACT */
	struct span value;	      /* the fact; empty: the state has none of this key */
};

/*
 * Opens and checks everything: the log's signature, the path, the TAIL, the path in the state map. What it proves is what
 * `out` says: whoever wanted to know about a certain leaf or key compares it. PROOF_INVALID and the
 * reasons of the parsers. `arena` holds what is decoded; the rest borrows from `bytes`.
 */
NODISCARD result ledger_proof_open(struct span bytes, const struct note_key *log, struct arena *arena, struct ledger_proof *out);

/* Appends a proof file. */
NODISCARD result ledger_proof_put_leaf(uint64_t index, struct span leaf, const struct merkle_proof *path, struct span checkpoint, struct writer *w);
NODISCARD result ledger_proof_put_fact(uint64_t index, struct span tail, const struct merkle_proof *path, struct span checkpoint,
	const uint8_t key[static SPARSE_KEY_SIZE], const struct sparse_proof *proof, struct writer *w);

#endif
