/*
 * When a root of trust rotates and when the epoch before is drained: an engine without I/O; `trothd host` gives it the time
 * and what happened, and does what it says.
 *
 * It rotates after a period (with jitter, so that many hosts do not do it at once), well before the record's not_after, on
 * events, and on request. Events coalesce: what happens within a moment is one rotation, whose text tells how many there were.
 * A token bucket bounds how often; the epoch before is drained first (its grace is waited for), unless it is an
 * emergency, which also drains at once. Period, grace and bucket run on the monotonic clock, so that a wall clock that jumps neither
 * rotates nor keeps from rotating; only not_after is compared with the wall clock.
 */
#ifndef TROTH_ROOT_SCHEDULE_H
#define TROTH_ROOT_SCHEDULE_H

#include "object/epoch.h"

enum schedule_event {
	SCHEDULE_PERIOD,      /* the period is over */
	SCHEDULE_EXPIRY,      /* not_after is near */
	SCHEDULE_VIOLATION,   /* an enclave tried what its policy forbids */
	SCHEDULE_MEASUREMENT, /* a program of Troth on disk is not the measured one */
	SCHEDULE_TRACER,      /* a debugger is attached to a process of Troth */
	SCHEDULE_SELF_TEST,   /* the secure processor failed a check */
	SCHEDULE_EVENTS
};
const char *schedule_event_name(enum schedule_event event);

struct schedule_config {
	uint64_t period_ms;  /* 0: never because of time alone */
	uint64_t jitter_ms;  /* the period is shortened by 0 to this much */
	uint32_t burst;	     /* rotations at once at most; 0: not limited */
	uint64_t refill_ms;  /* one more each */
	uint64_t coalesce_ms; /* an event waits this long for others */
};
extern const struct schedule_config schedule_defaults;

struct schedule_time {
	uint64_t mono_ms, wall_ms;
};

enum { SCHEDULE_TEXT_MAX = 200 };

struct schedule {
	struct schedule_config config;
	uint64_t not_before, not_after, grace_ms; /* of the head */
	uint64_t due_ms;     /* monotonic; UINT64_MAX: no period */
	uint64_t drain_ms;   /* monotonic; UINT64_MAX: nothing to drain */
	uint64_t retry_ms;   /* not before: something failed */
	uint32_t failures;   /* in a row */
	uint32_t tokens;
	uint64_t refilled_ms;
	uint32_t counts[SCHEDULE_EVENTS]; /* events that wait */
	uint64_t first_ms;   /* when the first of them came */
	char text[SCHEDULE_TEXT_MAX + 1]; /* of the first */
};

void schedule_init(struct schedule *schedule, const struct schedule_config *config, struct schedule_time now);

/*
 * The head, at the start and after each change. `draining`: the keys of the epoch before are still held; `drain_now`: they
 * are to go at once. `random` is any number.
 */
void schedule_set_head(struct schedule *schedule, const struct epoch *head, bool draining, bool drain_now, uint64_t random,
	struct schedule_time now);

/* Something happened. `text` is for people. */
void schedule_event(struct schedule *schedule, enum schedule_event event, const char *text, struct schedule_time now);

/* Whether somebody may rotate now: takes a token. ROTATION_LIMITED, DRAIN_PENDING. */
NODISCARD result schedule_admit(struct schedule *schedule, bool emergency, struct schedule_time now);

enum schedule_what { SCHEDULE_NOTHING, SCHEDULE_DRAIN, SCHEDULE_ROTATE };
struct schedule_action {
	enum schedule_what what;
	enum epoch_reason reason;
	char text[SCHEDULE_TEXT_MAX + 100];
};
/* What is to be done now; a rotation has its token. `leaving`: events do not wait for others any more. */
void schedule_next(struct schedule *schedule, bool leaving, struct schedule_time now, struct schedule_action *out);

/* How it went. A success of a rotation is told by schedule_set_head. */
void schedule_drained(struct schedule *schedule);
void schedule_failed(struct schedule *schedule, struct schedule_time now);

/* Milliseconds until schedule_next may have something to do; at most an hour, because the wall clock may be set. */
uint64_t schedule_wait(const struct schedule *schedule, struct schedule_time now);

/* Of the next rotation that is known: monotonic, UINT64_MAX when none is. */
uint64_t schedule_next_rotation(const struct schedule *schedule, struct schedule_time now);

#endif
