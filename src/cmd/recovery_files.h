/*
 * Files of a ceremony: what the holders of recovery keys are given to sign, and what they give back. A holder may sign with
 * `troth` or with `openssl` alone.
 *
 *   candidate  {1: 1, 2: label, 3: payload, 4: record whose recovery set must sign}
 *   to sign    CANDIDATE.<first 16 hex digits of the key's id>.tbs: the bytes that this holder signs (ECDSA with SHA-256)
 *   signature  {1: 1, 2: DER SubjectPublicKeyInfo, 3: signature}, or 64 bytes r ‖ s, or openssl's DER
 */
#ifndef TROTH_CMD_RECOVERY_FILES_H
#define TROTH_CMD_RECOVERY_FILES_H

#include "cmd/options.h"
#include "crypto/token_source.h"
#include "object/epoch_chain.h"
#include "root/ap_message.h"

struct candidate {
	uint8_t v;
	const char *label; /* of the object's kind: "troth epoch" or "troth halt" */
	struct span payload;
	struct span base; /* epoch record */

	struct epoch base_epoch; /* decoded; texts in the arena */
};

/* Reads and checks it. The file and its lists live in `arena`. */
NODISCARD result candidate_read(const char *path, struct arena *arena, struct candidate *out);
/* Writes the candidate and, beside it, what each holder of the base's recovery set signs. NO_RECOVERY_SET. */
NODISCARD result candidate_write(const char *path, enum object_kind kind, struct span payload, struct span base, struct arena *arena,
	struct candidate *out);
/* What it is about and how to sign it, for the person at the terminal. */
void candidate_print(const struct candidate *candidate, const char *path);

/* One holder signs, offline: a PEM file without a passphrase, or a key in a token. RECOVERY_QUORUM when it is not in the set. */
NODISCARD result candidate_sign(const struct candidate *candidate, const struct signer_source *signer, const char *output);

/*
 * The signatures of files, checked and matched with keys: those of troth bring theirs, for the others each of `keys` (PEM
 * files of public keys) is tried. RECOVERY_QUORUM when there are too few; DUPLICATE_KEY.
 */
NODISCARD result candidate_collect(const struct candidate *candidate, const struct words *signatures, const struct words *keys,
	struct arena *arena, struct recovery_signature **out, size_t *out_count);

/* --recovery K FILE...: public keys, any K of which together can start a root over. */
NODISCARD result recovery_read_set(const struct words *words, struct arena *arena, struct epoch_recovery *out);

#endif
