/*
 * The history of this host's records, when its TPM holds their head (root/head_log.h): what a run signed is entered before it
 * is published, what somebody asks the chain of is entered before it is proved.
 */
#ifndef TROTH_JOB_HISTORY_H
#define TROTH_JOB_HISTORY_H

#include "enclave/launch.h"
#include "root/head_log.h"

/* The records of one launch, in the order in which they were signed. */
NODISCARD result history_enter(struct head_log *heads, const struct launch_result *left);

/* The bundle with a proof over the nonce that its records under this root are in the history. HEAD_NOT_KEPT when `heads` is NULL. */
NODISCARD result history_prove(struct head_log *heads, const uint8_t rot_id[static OID_SIZE], struct span bundle, struct span nonce,
	struct bytes *out);

#endif
