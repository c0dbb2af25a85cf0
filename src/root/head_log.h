/*
 * The history of a host's records, whose head its TPM holds (docs/PROTOCOL.dac "Head proof"): each entry is a list of record oids
 * that were not in it before, written durably to the journal `heads` of the host and then extended into an index of the TPM. Of
 * a crash in between the next use heals what is one entry behind; anything else is HEAD_MISMATCH.
 *
 * Owned by whoever serves; thread-safe.
 */
#ifndef TROTH_ROOT_HEAD_LOG_H
#define TROTH_ROOT_HEAD_LOG_H

#include "root/host.h"

struct head_log;

/* `root` outlives it and may have no root yet. Journal reasons; HEAD_MISMATCH for a journal that does not begin with a birth. */
NODISCARD result head_log_open(struct root_host *root, const char *dir, struct head_log **out);
void head_log_close(struct head_log *log); /* accepts NULL */

/* One entry of those that are not in it yet, in this order; none when all are. TPM_UNAVAILABLE, TAMPERED, HEAD_MISMATCH. */
NODISCARD result head_log_enter(struct head_log *log, const struct digest32 *oids, size_t count);

/* Enters them, then proves the whole over the nonce, with the entries opened that these are in: an encoded head_proof. */
NODISCARD result head_log_prove(struct head_log *log, const struct digest32 *oids, size_t count, struct span nonce, struct bytes *out);

#endif
