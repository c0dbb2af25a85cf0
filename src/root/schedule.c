#include "root/schedule.h"

#include <stdio.h>

enum { LONGEST_WAIT_MS = 3600 * 1000, RETRY_MS = 5000, MOST_DOUBLINGS = 7 };
static const uint64_t NEVER = UINT64_MAX;
static const uint64_t DAY_MS = 24ULL * 3600 * 1000;

const struct schedule_config schedule_defaults = {
	.period_ms = 24ULL * 3600 * 1000,
	.jitter_ms = 30ULL * 60 * 1000,
	.burst = 8,
	.refill_ms = 60 * 1000,
	.coalesce_ms = 300,
};

const char *schedule_event_name(enum schedule_event event)
{
	static const char *const names[SCHEDULE_EVENTS] = {
		[SCHEDULE_PERIOD] = "period",
		[SCHEDULE_EXPIRY] = "end of validity",
		[SCHEDULE_VIOLATION] = "policy violation",
		[SCHEDULE_MEASUREMENT] = "measurement change",
		[SCHEDULE_TRACER] = "debugger seen",
		[SCHEDULE_SELF_TEST] = "failed self-test",
	};
	return (size_t)event < SCHEDULE_EVENTS ? names[event] : "unknown";
}

void schedule_init(struct schedule *schedule, const struct schedule_config *config, struct schedule_time now)
{
	*schedule = (struct schedule){
		.config = *config,
		.due_ms = NEVER,
		.drain_ms = NEVER,
		.not_after = UINT64_MAX,
		.tokens = config->burst,
		.refilled_ms = now.mono_ms,
	};
}

/* How far the period has run by the wall clock, at most all of it: a clock that is years off rotates once. */
static uint64_t period_left(const struct schedule *schedule, struct schedule_time now)
{
	uint64_t period = schedule->config.period_ms;
	uint64_t ran = now.wall_ms > schedule->not_before ? now.wall_ms - schedule->not_before : 0;
	return ran < period ? period - ran : 0;
}

void schedule_set_head(struct schedule *schedule, const struct epoch *head, bool draining, bool drain_now, uint64_t random,
	struct schedule_time now)
{
	uint64_t jitter = schedule->config.jitter_ms < schedule->config.period_ms ? schedule->config.jitter_ms : schedule->config.period_ms / 2;
	schedule->not_before = head->not_before;
	schedule->not_after = head->not_after;
	schedule->grace_ms = head->grace_s * UINT64_C(1000);
	schedule->retry_ms = 0;
	schedule->failures = 0;
	schedule->drain_ms = draining ? now.mono_ms + (drain_now ? 0 : schedule->grace_ms) : NEVER;
	if (schedule->config.period_ms == 0) {
		schedule->due_ms = NEVER;
		return;
	}
	uint64_t left = period_left(schedule, now), sooner = jitter ? random % (jitter + 1) : 0;
	schedule->due_ms = now.mono_ms + (left > sooner ? left - sooner : 0);
}

static bool has_events(const struct schedule *schedule)
{
	for (size_t i = 0; i < SCHEDULE_EVENTS; i++)
		if (schedule->counts[i])
			return true;
	return false;
}

void schedule_event(struct schedule *schedule, enum schedule_event event, const char *text, struct schedule_time now)
{
	if (!has_events(schedule)) {
		schedule->first_ms = now.mono_ms;
		snprintf(schedule->text, sizeof(schedule->text), "%s", text);
	}
	if (schedule->counts[event] < UINT32_MAX)
		schedule->counts[event]++;
}

/* ---- How often ------------------------------------------------------------------------------------------- */

static void refill(struct schedule *schedule, uint64_t mono_ms)
{
	const struct schedule_config *config = &schedule->config;
	if (config->refill_ms == 0 || mono_ms < schedule->refilled_ms)
		return;
	uint64_t more = (mono_ms - schedule->refilled_ms) / config->refill_ms;
	schedule->refilled_ms += more * config->refill_ms;
	schedule->tokens = more >= config->burst - schedule->tokens ? config->burst : schedule->tokens + (uint32_t)more;
}

static bool take_token(struct schedule *schedule, uint64_t mono_ms)
{
	if (schedule->config.burst == 0)
		return true;
	refill(schedule, mono_ms);
	if (schedule->tokens == 0)
		return false;
	if (schedule->tokens == schedule->config.burst)
		schedule->refilled_ms = mono_ms; /* a full bucket does not save time up */
	schedule->tokens--;
	return true;
}

result schedule_admit(struct schedule *schedule, bool emergency, struct schedule_time now)
{
	if (schedule->drain_ms != NEVER && schedule->drain_ms > now.mono_ms && !emergency)
		return fail(DRAIN_PENDING, "%llu s of its grace are left", (unsigned long long)((schedule->drain_ms - now.mono_ms) / 1000 + 1));
	if (!take_token(schedule, now.mono_ms))
		return fail(ROTATION_LIMITED, "at most %u at once, and one every %llu s", schedule->config.burst,
			(unsigned long long)(schedule->config.refill_ms / 1000));
	return OK;
}

/* ---- What to do --------------------------------------------------------------------------------------------- */

/* A week before the end, or an eighth of the validity when that is less. */
static bool is_expiring(const struct schedule *schedule, uint64_t wall_ms)
{
	uint64_t margin = (schedule->not_after - schedule->not_before) / 8;
	if (margin > 7 * DAY_MS)
		margin = 7 * DAY_MS;
	return schedule->not_after != UINT64_MAX && wall_ms > schedule->not_before && wall_ms + margin >= schedule->not_after;
}

/*
 * An epoch that is over is not replaced without being asked: more likely than a host that slept through its whole validity
 * is a clock that is years off, and a record made under it would lock the root until that time.
 */
static bool is_over(const struct schedule *schedule, uint64_t wall_ms)
{
	return wall_ms > schedule->not_after;
}

static void describe_events(const struct schedule *schedule, struct schedule_action *out)
{
	uint32_t total = 0;
	enum schedule_event first = SCHEDULE_EVENTS;
	for (size_t i = 0; i < SCHEDULE_EVENTS; i++) {
		total += schedule->counts[i];
		if (first == SCHEDULE_EVENTS && schedule->counts[i])
			first = (enum schedule_event)i;
	}
	if (total > 1)
		snprintf(out->text, sizeof(out->text), "%s (%u events): %s", schedule_event_name(first), total, schedule->text);
	else
		snprintf(out->text, sizeof(out->text), "%s: %s", schedule_event_name(first), schedule->text);
}

static bool wants_rotation(const struct schedule *schedule, bool leaving, struct schedule_time now, struct schedule_action *out)
{
	if (is_over(schedule, now.wall_ms))
		return false;
	if (has_events(schedule) && (leaving || now.mono_ms - schedule->first_ms >= schedule->config.coalesce_ms)) {
		out->reason = EPOCH_EVENT;
		describe_events(schedule, out);
		return true;
	}
	out->reason = EPOCH_SCHEDULED;
	if (is_expiring(schedule, now.wall_ms) || now.mono_ms >= schedule->due_ms) {
		snprintf(out->text, sizeof(out->text), "%s",
			schedule_event_name(now.mono_ms >= schedule->due_ms ? SCHEDULE_PERIOD : SCHEDULE_EXPIRY));
		return !leaving;
	}
	return false;
}

void schedule_next(struct schedule *schedule, bool leaving, struct schedule_time now, struct schedule_action *out)
{
	*out = (struct schedule_action){.what = SCHEDULE_NOTHING};
	if (now.mono_ms < schedule->retry_ms)
		return;
	if (schedule->drain_ms != NEVER) {
		if (now.mono_ms >= schedule->drain_ms)
			out->what = SCHEDULE_DRAIN;
		return; /* a rotation waits for it */
	}
	if (!wants_rotation(schedule, leaving, now, out) || !take_token(schedule, now.mono_ms))
		return;
	out->what = SCHEDULE_ROTATE;
	if (out->reason == EPOCH_EVENT)
		memset(schedule->counts, 0, sizeof(schedule->counts));
}

void schedule_drained(struct schedule *schedule)
{
	schedule->drain_ms = NEVER;
	schedule->retry_ms = 0;
	schedule->failures = 0;
}

void schedule_failed(struct schedule *schedule, struct schedule_time now)
{
	uint32_t doublings = schedule->failures < MOST_DOUBLINGS ? schedule->failures : MOST_DOUBLINGS;
	schedule->failures++;
	schedule->retry_ms = now.mono_ms + ((uint64_t)RETRY_MS << doublings);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t schedule_wait(const struct schedule *schedule, struct schedule_time now)
{
	uint64_t at = now.mono_ms + LONGEST_WAIT_MS;
	if (schedule->drain_ms != NEVER)
		at = least(at, schedule->drain_ms);
	else if (is_over(schedule, now.wall_ms))
		return LONGEST_WAIT_MS;
	else if (has_events(schedule))
		at = least(at, schedule->first_ms + schedule->config.coalesce_ms);
	else if (is_expiring(schedule, now.wall_ms))
		at = now.mono_ms;
	else
		at = least(at, schedule->due_ms);
	if (schedule->config.burst && schedule->tokens == 0 && schedule->drain_ms == NEVER && at < schedule->refilled_ms + schedule->config.refill_ms)
		at = schedule->refilled_ms + schedule->config.refill_ms; /* there is no token before */
	if (at < schedule->retry_ms)
		at = schedule->retry_ms;
	return at > now.mono_ms ? at - now.mono_ms : 0;
}

uint64_t schedule_next_rotation(const struct schedule *schedule, struct schedule_time now)
{
	if (is_over(schedule, now.wall_ms))
		return NEVER;
	if (has_events(schedule) || is_expiring(schedule, now.wall_ms))
		return schedule->drain_ms == NEVER ? now.mono_ms : schedule->drain_ms;
	return schedule->due_ms;
}
