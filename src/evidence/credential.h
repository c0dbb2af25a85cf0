/*
 * A challenge that only one TPM can open: it proves that an attestation key and an endorsement key lie in the same TPM
 * (TPM 2.0 Library, Part 1, section 24 "Credential Protection"). Made by whoever enrols the key, without a TPM of its own.
 */
#ifndef TROTH_EVIDENCE_CREDENTIAL_H
#define TROTH_EVIDENCE_CREDENTIAL_H

#include "evidence/tpm_structure.h"

enum { CREDENTIAL_SECRET_MAX = 32 };

struct credential {
	struct bytes object;	/* TPM2B_ID_OBJECT */
	struct bytes encrypted; /* TPM2B_ENCRYPTED_SECRET */
};
void credential_free(struct credential *credential);

/*
 * `ek`: the endorsement key, whose certificate the caller has checked; `ak`: the key that is to be shown beside it. TPM_AK_UNFIT
 * when `ak` could not attest anyway, BAD_KEY for an endorsement key that cannot be encrypted to.
 */
NODISCARD result credential_make(const struct tpm_public *ek, const struct tpm_public *ak, struct span secret, struct credential *out);

#endif
