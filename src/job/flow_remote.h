/*
 * The other hosts of a run (docs/HOSTS.md, docs/PROTOCOL.link): each step of flow.c that concerns them, once for the host that
 * coordinates and once for one that takes part. Where a job runs on one host alone there is no struct remote and all of this
 * does nothing.
 *
 * Everything happens in the thread of the run: while it waits, it serves its own enclaves, hears the other hosts, tells them
 * that it lives, and passes on what it learns of roots. A host that says FAILED, breaks off or is silent for LINK_SILENCE_MS ends
 * the run; remote_end tells the others why.
 */
#ifndef TROTH_JOB_FLOW_REMOTE_H
#define TROTH_JOB_FLOW_REMOTE_H

#include "job/flow_internal.h"
#include "job/foreign_roots.h"
#include "job/link.h"

/* Which stages are here. HOST_NOT_IN_JOB. */
NODISCARD result remote_place(struct run *run);

/* ---- whoever coordinates --------------------------------------------------------------------------------- */

/* Connects every host of the job and waits until somebody has joined there. */
NODISCARD result remote_invite(struct run *run);
/* Hands out the receipt; waits until it convinces every host. */
NODISCARD result remote_deliver(struct run *run);
/* The run has succeeded here: lets the others publish. A host that does not answer any more is warned of, no failure. */
NODISCARD result remote_commit(struct run *run);

/* ---- whoever takes part ------------------------------------------------------------------------------------ */

/* Waits for a run of this job; from here on the run has its id. */
NODISCARD result remote_join(struct run *run);
/* The receipt, as it came. */
NODISCARD result remote_receipt(struct run *run, struct bytes *out);
/* Says that it convinces, waits for the coordinator's last word. */
NODISCARD result remote_convinced(struct run *run);
void remote_published(struct run *run);

/* ---- both, in this order --------------------------------------------------------------------------------- */

NODISCARD result remote_launch(struct run *run);  /* LAUNCH: roots of all hosts */
NODISCARD result remote_ready(struct run *run);   /* READY */
NODISCARD result remote_connect(struct run *run); /* CONNECT: the channels between hosts */
NODISCARD result remote_start(struct run *run);   /* CONNECTED, START */
NODISCARD result remote_collect(struct run *run); /* FINISHED: what the stages left */

/* ---- in between ---------------------------------------------------------------------------------------- */

/* epoch_history of every other host's root. */
NODISCARD result remote_foreign(struct run *run, const struct span **out, size_t *out_count);
/* What is known of those roots; NULL where the run has one host. */
struct foreign_roots *remote_roots(const struct run *run);
void remote_tell_progress(struct run *run, const char *stage, const char *state, uint64_t bytes_in, uint64_t bytes_out);

/*
 * Waits until the launches here have reached `until` (0: does not matter) and every other host has sent `step` (0: does not
 * matter). TIMED_OUT, and whatever ends the run.
 */
NODISCARD result remote_wait(struct run *run, enum launch_state until, enum link_type step, int timeout_ms);

/* ---- the end ------------------------------------------------------------------------------------------- */

/* Whether another host is why the run failed; fills `out`, and the failure's text says it. */
bool remote_explains(struct run *run, result failed, struct flow_failure *out);
/* Tells the others. */
void remote_end(struct run *run, result ran, const char *text, const struct flow_failure *failure);
void remote_free(struct remote *remote); /* accepts NULL */

#endif
