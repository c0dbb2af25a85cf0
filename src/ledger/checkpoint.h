/*
 * Checkpoints (c2sp.org/tlog-checkpoint) and proofs that one can keep (c2sp.org/tlog-proof). Both are text that other tools
 * read; both are read back strictly.
 *   checkpoint text: origin, size in decimal, base64 of the root, each on its own line. No extension lines: Troth puts what
 *   else it vouches for into the log itself (docs/PROTOCOL.ledger, TAIL).
 */
#ifndef TROTH_LEDGER_CHECKPOINT_H
#define TROTH_LEDGER_CHECKPOINT_H

#include "base/arena.h"
#include "ledger/note.h"
#include "store/merkle.h"

struct checkpoint {
	char origin[NOTE_NAME_MAX + 1];
	uint64_t size;
	struct merkle_hash root;
};

/* Appends the three lines. */
void checkpoint_put(const struct checkpoint *checkpoint, struct writer *w);
NODISCARD result checkpoint_parse(struct span text, struct checkpoint *out);

/*
 * Opens a signed checkpoint: a note with this log's origin, signed by its key. `out_note` (may be NULL) for the cosignatures.
 */
NODISCARD result checkpoint_open(struct span bytes, const struct note_key *log, struct checkpoint *out, struct note *out_note);

/* tlog-proof: an index, its path, and the signed checkpoint, in one file. */
struct tlog_proof {
	struct span extra; /* decoded; empty: none. Not authenticated */
	uint64_t index;
	struct merkle_proof path;
	struct span checkpoint; /* the signed note */
};
NODISCARD result tlog_proof_put(const struct tlog_proof *proof, struct writer *w);
/* `arena` holds `extra`; the rest borrows from the bytes. */
NODISCARD result tlog_proof_parse(struct span bytes, struct arena *arena, struct tlog_proof *out);
/* Opens the checkpoint and checks that `leaf` is in it. */
NODISCARD result tlog_proof_verify(const struct tlog_proof *proof, const struct merkle_hash *leaf, const struct note_key *log,
	struct checkpoint *out);

/*
 * That a checkpoint continues an older one, in the form in which witnesses are asked (c2sp.org/tlog-witness, add-checkpoint):
 * "old SIZE", the hashes of RFC 9162 2.1.4 in base64, each on its own line, an empty line, the newer signed checkpoint.
 */
struct consistency_proof {
	uint64_t old; /* size; 0: there is none, and no hashes */
	struct merkle_proof path;
	struct span checkpoint; /* the signed note */
};
NODISCARD result consistency_proof_put(const struct consistency_proof *proof, struct writer *w);
NODISCARD result consistency_proof_parse(struct span bytes, struct consistency_proof *out); /* the checkpoint's bytes are borrowed */
/* Opens the newer checkpoint and checks that it continues `old`. PROOF_INVALID also when the proof is from another size. */
NODISCARD result consistency_proof_verify(const struct consistency_proof *proof, const struct checkpoint *old, const struct note_key *log,
	struct checkpoint *out);

#endif
