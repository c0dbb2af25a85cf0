/*
 * What TPMs say of the histories of hosts (docs/PROTOCOL.dac "Head proof"): one proof is judged against a trusted root, the
 * verifier's nonce, the records of the chain that it came with, and what the same host has shown before.
 */
#ifndef TROTH_RECEIPT_HEADS_H
#define TROTH_RECEIPT_HEADS_H

#include "crypto/platform_key.h"
#include "enclave/dac.h"
#include "object/head.h"
#include "receipt/trust.h"

struct head_expectation {
	const struct trust *trust;
	const struct epoch_history *known; /* of roots, beside the trust file */
	struct span nonce; /* empty: HEAD_NONCE_NEEDED */
	const struct dac *dac; /* whose records under this root must all be in the history; NULL: not looked at */
	uint64_t latest_ms;
};

/* One that was judged; borrows from the arena. */
struct head_verdict {
	uint8_t rot_id[OID_SIZE];
	struct head_proof proof;
	struct head_statement statement;
	bool enrolled; /* the trust file names the TPM's attestation key; else the secure processor alone says whose it is */
};

/*
 * HEAD_NONCE_NEEDED, TPM_NONCE_MISMATCH, HEAD_MISMATCH, HEAD_RECORD_MISSING, DAC_UNTRUSTED_ROOT, AK_NOT_ENROLLED,
 * RECEIPT_UNJUDGED, signature and parse reasons. What was read is in *out also of a refused one, as far as it could be.
 */
NODISCARD result head_proof_judge(struct span bytes, const struct head_expectation *expected, struct arena *arena, struct head_verdict *out);

/* `earlier` was shown before and judged then, with its own nonce. HEAD_REMADE, HEAD_REWRITTEN. */
NODISCARD result head_proof_follows(const struct head_proof *earlier, const struct head_proof *now);

#endif
