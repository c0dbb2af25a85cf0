/*
 * Keeps the root of trust of a host fresh: does what root/schedule.h decides, in a thread of its own, and hears of what
 * happens (events, requests of the operator). Looks for debuggers once a second while something runs, and lets the secure
 * processor answer a challenge now and then. Everything it does is in the log and in the root's history.
 */
#ifndef TROTH_JOB_KEEPER_H
#define TROTH_JOB_KEEPER_H

#include "root/host.h"
#include "root/schedule.h"

struct keeper;

/* `root` is borrowed and must outlive it; it may have no root of trust yet. */
NODISCARD result keeper_start(struct root_host *root, const struct schedule_config *config, struct keeper **out);
/* Does what events still ask for, then ends. Accepts NULL. */
void keeper_stop(struct keeper *keeper);

void keeper_event(struct keeper *keeper, enum schedule_event event, const char *text);
/* One more run is under way, or one less. */
void keeper_begin(struct keeper *keeper);
void keeper_end(struct keeper *keeper);

/* Somebody asks for it now. ROTATION_LIMITED, ROTATION_RUNNING, DRAIN_PENDING, and what root_host_rotate says. */
NODISCARD result keeper_rotate(struct keeper *keeper, bool emergency, const char *text);

struct keeper_status {
	bool draining;
	uint64_t drain_in_ms; /* while draining */
	bool has_next;
	uint64_t next_in_ms;
	uint64_t period_ms;
	uint64_t rotations, failures; /* since the host started */
	char last_failure[256];
};
void keeper_status(struct keeper *keeper, struct keeper_status *out);

#endif
