/*
 * The roots of the other hosts that one run rests on, as this host knows them: what its launches are told of them, by what
 * the chain of records is verified here, and what the receipt carries of them (docs/JOB.md "Several hosts").
 *
 * Made for one run from the enrolled peers; owns all it hands out. Belongs to one thread.
 */
#ifndef TROTH_JOB_FOREIGN_ROOTS_H
#define TROTH_JOB_FOREIGN_ROOTS_H

#include "enclave/dac.h"
#include "job/peers.h"
#include "object/job.h"
#include "receipt/build.h"

struct foreign_roots;

/*
 * Of every host that enclaves of the job run on, but for the own one. ROOT_UNKNOWN, naming the host, when it is not enrolled
 * here; OTHER_ROOT_STOPPED when it was halted or has forked. A job of one host has none, and needs no `peers`.
 */
NODISCARD result foreign_roots_new(struct peers *peers, const struct job *job, const uint8_t own[static OID_SIZE],
	struct foreign_roots **out);
void foreign_roots_free(struct foreign_roots *roots); /* accepts NULL */

/* For launch_spec.foreign and launch_tell_foreign: histories as they are known now. */
const struct span *foreign_roots_histories(const struct foreign_roots *roots, size_t *out_count);

/*
 * Takes in what the peers' file knows by now. *out_changed: tell the launches. OTHER_ROOT_STOPPED: a root was halted, has forked
 * or was recovered since; the launches are still to be told, and the run has no good end.
 */
NODISCARD result foreign_roots_refresh(struct foreign_roots *roots, bool *out_changed);

/* Trusts every epoch of these roots that is not void. */
NODISCARD result foreign_roots_add_dac(struct foreign_roots *roots, struct dac *dac);

/* parts->foreign, as they are known now. */
NODISCARD result foreign_roots_put(struct foreign_roots *roots, struct receipt_parts *parts);

#endif
