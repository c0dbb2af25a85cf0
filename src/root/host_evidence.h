/*
 * Platform evidence of this host (docs/PROTOCOL.evidence): what its TPM says of the epoch that is current. Asked for beside the
 * work, before a run and when its receipt is made, never inside a handshake.
 */
#ifndef TROTH_ROOT_HOST_EVIDENCE_H
#define TROTH_ROOT_HOST_EVIDENCE_H

#include "object/evidence.h"
#include "root/host.h"

bool root_host_has_tpm(const struct root_host *host);

/*
 * Evidence under the epoch of `identity`; the last piece again while it is younger than a few minutes. Empty without a TPM.
 * EPOCH_OLD, TPM_UNAVAILABLE. Copied into `arena`.
 */
NODISCARD result root_host_evidence(
	struct root_host *host, const struct root_identity *identity, struct arena *arena, struct span *out);
/* A fresh piece over the asker's nonce. */
NODISCARD result root_host_quote(
	struct root_host *host, const struct root_identity *identity, struct span nonce, struct arena *arena, struct span *out);

/* Who the TPM is, and its answer to a challenge. TPM_UNAVAILABLE, TPM_CHALLENGE_FAILED. */
NODISCARD result root_host_enrol(struct root_host *host, const struct ap_enrol *request, struct arena *arena, struct ap_enrolled *out);

/*
 * Which platforms the operator of this state folder believes (`tpm.trust`), for the live decisions of its enclaves; encoded,
 * empty when the operator has said nothing. BAD_VALUE and parse reasons for a damaged file.
 */
NODISCARD result root_host_platform_trust(const struct root_host *host, struct arena *arena, struct span *out);

/* Where the history of the host stands in its TPM (root/head_log.h). TAMPERED: somebody took it away. */
NODISCARD result root_host_tpm_head(struct root_host *host, const struct ap_head *request, struct arena *arena, struct ap_headed *out);

#endif
