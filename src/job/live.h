/*
 * The IREs that live on this host, by name: stages of runs under way, and those that were launched to stay. Who launches one
 * lists it here once it is READY and takes it out before it frees it; any thread may look one up and ask its runtime
 * something (launch_post). Nothing here ends or drives a launch.
 */
#ifndef TROTH_JOB_LIVE_H
#define TROTH_JOB_LIVE_H

#include "enclave/launch.h"

struct live;
struct live_entry;

NODISCARD result live_new(struct live **out);
void live_free(struct live *live); /* accepts NULL; everything was taken out before */

/* What `troth ire list` shows of one. */
struct live_row {
	const char *name; /* of the enclave */
	const char *job;
	uint8_t run_id[RUN_ID_SIZE];
	bool stays; /* launched to serve until it is stopped */
	uint64_t since; /* ms */
};

/* `info` is copied; its name and run_id are those of the launch, whatever it says. */
NODISCARD result live_add(struct live *live, const struct live_row *info, struct ire *launch, struct live_entry **out);
/* In the launch's thread, before launch_free. Accepts NULL. */
void live_remove(struct live *live, struct live_entry *entry);

/* Sorted by name, then run. */
NODISCARD result live_list(struct live *live, struct arena *arena, struct live_row **out, size_t *out_count);

/*
 * Asks the runtime of "NAME" or "NAME@RUN", RUN a beginning of the run's id in hex, and waits. `body` is a structure of the
 * schema of `type`; *out the encoding of the reply's body. IRE_UNKNOWN, IRE_AMBIGUOUS, ENCLAVE_STOPPED, TIMED_OUT.
 */
NODISCARD result live_ask(struct live *live, const char *target, enum control_type type, const void *body, enum control_type reply,
	int timeout_ms, struct bytes *out);

#endif
