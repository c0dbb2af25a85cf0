/*
 * A TPM's word for a history (constructions/dac.md "TPM option"): an index of kind TPM_NT_EXTEND was extended with each
 * digest of a log, and TPM2_NV_Certify says over a verifier's nonce what it holds now. Who leaves something of the log out,
 * alters it or adds to it does not come to the head.
 *
 * It does not say that the index is as old as the log: the owner of the TPM can take an index away and begin another with
 * another history. Whoever holds an earlier head sees that its log is no beginning of the new one.
 */
#ifndef TROTH_EVIDENCE_TPM_HEAD_H
#define TROTH_EVIDENCE_TPM_HEAD_H

#include "evidence/tpm_structure.h"
#include "object/schema.h"

struct tpm_head {
	struct span attest; /* TPMS_ATTEST */
	struct platform_signature signature;
	const struct platform_key *ak;
	struct span nonce; /* extraData must be this */
	uint32_t index;	   /* that was certified; its name says that it can only be extended */
	const struct digest32 *log; /* everything that was extended, in order */
	size_t log_count;
};

/* head_0 = SHA-256 of 64 zero bytes, head_n = SHA-256(head_(n-1) ‖ log_n). */
void tpm_head_fold(const struct digest32 *log, size_t count, uint8_t out[static SHA256_SIZE]);

/* TPM_NOT_A_QUOTE, BAD_SIGNATURE, TPM_NONCE_MISMATCH, HEAD_MISMATCH, parse reasons. */
NODISCARD result tpm_head_verify(const struct tpm_head *head);

#endif
