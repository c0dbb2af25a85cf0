#include "job/keeper.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/random.h"
#include "job/tracer.h"

enum { LOOK_MS = 1000, CHECK_MS = 10 * 60 * 1000 };

struct keeper {
	struct root_host *root;
	struct root_subscription subscription;
	pthread_t thread;

	pthread_mutex_t acting; /* one change at a time: taken before `lock` */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct schedule schedule;
	bool stopping;
	bool head_changed; /* by somebody else: read it again */
	bool drain_now;	   /* the last rotation was an emergency */
	unsigned running;  /* runs under way */
	uint64_t check_ms; /* of the last self-test */
	uint64_t rotations, failures;
	char last_failure[256];

	struct traced known[TRACED_MAX]; /* debuggers that were told already */
	size_t known_count;
};

static struct schedule_time now(void)
{
	return (struct schedule_time){clock_monotonic_ns() / 1000000, clock_wall_ms()};
}

static uint64_t random_number(void)
{
	uint64_t number;
	random_bytes(&number, sizeof(number));
	return number;
}

/* ---- What the root is now ------------------------------------------------------------------------------ */

static bool is_draining(struct keeper *keeper)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct ap_health health;
	return root_host_call(keeper->root, IPQ_HEALTH, NULL, NULL, &ap_health_schema, &arena, &health) == OK && health.draining;
}

static void read_head(struct keeper *keeper)
{
	ROOT_IDENTITY_HELD root = root_host_hold(keeper->root);
	if (!root)
		return;
	bool draining = is_draining(keeper);
	pthread_mutex_lock(&keeper->lock);
	schedule_set_head(&keeper->schedule, &root->epoch, draining, keeper->drain_now || root->epoch.grace_s == 0, random_number(), now());
	keeper->head_changed = false;
	pthread_mutex_unlock(&keeper->lock);
}

static void on_change(void *ctx, enum root_change change, const struct root_identity *root)
{
	struct keeper *keeper = ctx;
	(void)change;
	(void)root;
	pthread_mutex_lock(&keeper->lock);
	keeper->head_changed = true;
	pthread_cond_signal(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
}

/* ---- Actions; `acting` is held ---------------------------------------------------------------------------- */

static void note_failure(struct keeper *keeper, const char *what, result failed)
{
	char text[256];
	snprintf(text, sizeof(text), "%s: %s: %s", what, reason_name(failed), failure_text());
	log_failure(LOG_LEVEL_WARNING, what, failed);
	pthread_mutex_lock(&keeper->lock);
	keeper->failures++;
	memcpy(keeper->last_failure, text, sizeof(text));
	schedule_failed(&keeper->schedule, now());
	pthread_mutex_unlock(&keeper->lock);
}

static void drain(struct keeper *keeper)
{
	result drained = root_host_drain(keeper->root);
	if (drained != OK) {
		note_failure(keeper, "the epoch before could not be drained", drained);
		return;
	}
	log_debug("the epoch before was drained");
	pthread_mutex_lock(&keeper->lock);
	keeper->drain_now = false;
	schedule_drained(&keeper->schedule);
	pthread_mutex_unlock(&keeper->lock);
}

static void drain_if_due(struct keeper *keeper)
{
	pthread_mutex_lock(&keeper->lock);
	bool due = keeper->schedule.drain_ms <= now().mono_ms;
	pthread_mutex_unlock(&keeper->lock);
	if (due)
		drain(keeper);
}

/* Programs that changed on disk are not those that run; the text says so, and the operator decides. */
static void look_at_programs(struct keeper *keeper, char *text, size_t cap)
{
	if (root_host_check_programs(keeper->root) == OK)
		return;
	log_warning("a program of Troth has changed on disk", LOG_TEXT("why", failure_text()));
	size_t len = strlen(text);
	snprintf(text + len, cap - len, "; %s", schedule_event_name(SCHEDULE_MEASUREMENT));
}

static result rotate(struct keeper *keeper, enum epoch_reason reason, bool emergency, const char *why)
{
	char text[SCHEDULE_TEXT_MAX + 160];
	snprintf(text, sizeof(text), "%s", why);
	look_at_programs(keeper, text, sizeof(text));
	const struct root_host_rotation rotation = {reason, text, emergency};
	pthread_mutex_lock(&keeper->lock);
	keeper->drain_now = emergency;
	pthread_mutex_unlock(&keeper->lock);
	TRY(root_host_rotate(keeper->root, &rotation));
	ROOT_IDENTITY_HELD root = root_host_hold(keeper->root);
	log_info("the root of trust was rotated", LOG_NUMBER("epoch", root->epoch.epoch), LOG_TEXT("why", text));
	pthread_mutex_lock(&keeper->lock);
	keeper->rotations++;
	pthread_mutex_unlock(&keeper->lock);
	read_head(keeper);
	drain_if_due(keeper);
	return OK;
}

static void act(struct keeper *keeper, const struct schedule_action *action)
{
	if (action->what == SCHEDULE_DRAIN)
		drain(keeper);
	if (action->what != SCHEDULE_ROTATE)
		return;
	result rotated = rotate(keeper, action->reason, false, action->text);
	if (rotated != OK)
		note_failure(keeper, "the root of trust could not be rotated", rotated);
}

static bool is_idle(struct keeper *keeper)
{
	ROOT_IDENTITY_HELD root = root_host_hold(keeper->root);
	return !root || root_host_refusal(keeper->root) != OK;
}

/* ---- Looking around ------------------------------------------------------------------------------------------ */

static bool is_known(const struct keeper *keeper, const struct traced *traced)
{
	for (size_t i = 0; i < keeper->known_count; i++)
		if (keeper->known[i].pid == traced->pid && keeper->known[i].tracer == traced->tracer)
			return true;
	return false;
}

static void look_for_tracers(struct keeper *keeper)
{
	struct traced found[TRACED_MAX];
	size_t count = tracer_look(found);
	for (size_t i = 0; i < count; i++) {
		char text[128];
		if (is_known(keeper, &found[i]))
			continue;
		snprintf(text, sizeof(text), "process %d is attached to %s (%d)", found[i].tracer, found[i].name, found[i].pid);
		keeper_event(keeper, SCHEDULE_TRACER, text);
	}
	memcpy(keeper->known, found, count * sizeof(found[0]));
	keeper->known_count = count;
}

static void self_test(struct keeper *keeper)
{
	if (is_idle(keeper))
		return;
	result checked = root_host_check(keeper->root);
	if (checked != OK && checked != AP_STOPPED)
		keeper_event(keeper, SCHEDULE_SELF_TEST, failure_text());
}

/* ---- The thread ------------------------------------------------------------------------------------------------ */

/* `lock` is held. */
static void await_something(struct keeper *keeper, bool idle)
{
	struct timespec until;
	struct schedule_time at = now();
	uint64_t ms = idle ? CHECK_MS : schedule_wait(&keeper->schedule, at), check = keeper->check_ms + CHECK_MS;
	if (keeper->running && ms > LOOK_MS)
		ms = LOOK_MS;
	if (check < at.mono_ms + ms)
		ms = check > at.mono_ms ? check - at.mono_ms : 0;
	if (ms == 0 || (keeper->head_changed && !idle) || keeper->stopping)
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	(void)pthread_cond_timedwait(&keeper->changed, &keeper->lock, &until);
}

static void one_round(struct keeper *keeper, bool leaving)
{
	struct schedule_action action;
	if (is_idle(keeper))
		return;
	pthread_mutex_lock(&keeper->acting);
	pthread_mutex_lock(&keeper->lock);
	bool head_changed = keeper->head_changed;
	pthread_mutex_unlock(&keeper->lock);
	if (head_changed)
		read_head(keeper);
	pthread_mutex_lock(&keeper->lock);
	schedule_next(&keeper->schedule, leaving, now(), &action);
	pthread_mutex_unlock(&keeper->lock);
	act(keeper, &action);
	pthread_mutex_unlock(&keeper->acting);
}

static void *keeper_main(void *arg)
{
	struct keeper *keeper = arg;
	for (bool stopping = false; !stopping;) {
		bool idle = is_idle(keeper);
		pthread_mutex_lock(&keeper->lock);
		await_something(keeper, idle);
		stopping = keeper->stopping;
		bool looking = keeper->running > 0, checking = keeper->check_ms + CHECK_MS <= now().mono_ms;
		if (checking)
			keeper->check_ms = now().mono_ms;
		pthread_mutex_unlock(&keeper->lock);
		if (looking)
			look_for_tracers(keeper);
		if (checking && !stopping)
			self_test(keeper);
		one_round(keeper, stopping);
	}
	return NULL;
}

/* ---- For others -------------------------------------------------------------------------------------------------- */

void keeper_event(struct keeper *keeper, enum schedule_event event, const char *text)
{
	if (event == SCHEDULE_VIOLATION) /* whoever ran the job is told in full */
		log_info("an event that rotates the root of trust", LOG_TEXT("event", schedule_event_name(event)), LOG_TEXT("what", text));
	else
		log_warning("an event that rotates the root of trust", LOG_TEXT("event", schedule_event_name(event)), LOG_TEXT("what", text));
	pthread_mutex_lock(&keeper->lock);
	schedule_event(&keeper->schedule, event, text, now());
	pthread_cond_signal(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
}

void keeper_begin(struct keeper *keeper)
{
	pthread_mutex_lock(&keeper->lock);
	keeper->running++;
	pthread_cond_signal(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
}

void keeper_end(struct keeper *keeper)
{
	pthread_mutex_lock(&keeper->lock);
	keeper->running--;
	pthread_mutex_unlock(&keeper->lock);
}

result keeper_rotate(struct keeper *keeper, bool emergency, const char *text)
{
	if (pthread_mutex_trylock(&keeper->acting) != 0)
		return fail(ROTATION_RUNNING, "another rotation or its drain");
	pthread_mutex_lock(&keeper->lock);
	bool head_changed = keeper->head_changed;
	pthread_mutex_unlock(&keeper->lock);
	if (head_changed)
		read_head(keeper);
	drain_if_due(keeper);
	pthread_mutex_lock(&keeper->lock);
	result admitted = schedule_admit(&keeper->schedule, emergency, now());
	pthread_mutex_unlock(&keeper->lock);
	if (admitted == OK)
		admitted = rotate(keeper, EPOCH_OPERATOR, emergency, text);
	pthread_mutex_unlock(&keeper->acting);
	return admitted;
}

void keeper_status(struct keeper *keeper, struct keeper_status *out)
{
	struct schedule_time at = now();
	pthread_mutex_lock(&keeper->lock);
	const struct schedule *schedule = &keeper->schedule;
	uint64_t next = schedule_next_rotation(schedule, at);
	*out = (struct keeper_status){
		.draining = schedule->drain_ms != UINT64_MAX,
		.has_next = next != UINT64_MAX,
		.period_ms = schedule->config.period_ms,
		.rotations = keeper->rotations,
		.failures = keeper->failures,
	};
	if (out->draining && schedule->drain_ms > at.mono_ms)
		out->drain_in_ms = schedule->drain_ms - at.mono_ms;
	if (out->has_next && next > at.mono_ms)
		out->next_in_ms = next - at.mono_ms;
	memcpy(out->last_failure, keeper->last_failure, sizeof(out->last_failure));
	pthread_mutex_unlock(&keeper->lock);
}

/* ---- Start and end ------------------------------------------------------------------------------------------------- */

static void keeper_free(struct keeper *keeper)
{
	pthread_cond_destroy(&keeper->changed);
	pthread_mutex_destroy(&keeper->lock);
	pthread_mutex_destroy(&keeper->acting);
	free(keeper);
}

result keeper_start(struct root_host *root, const struct schedule_config *config, struct keeper **out)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	pthread_condattr_t monotonic;
	if (!keeper)
		return fail(NO_MEMORY, "keeper of the root");
	keeper->root = root;
	keeper->check_ms = now().mono_ms; /* the start was a check */
	pthread_mutex_init(&keeper->lock, NULL);
	pthread_mutex_init(&keeper->acting, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&keeper->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	schedule_init(&keeper->schedule, config, now());
	keeper->subscription = (struct root_subscription){on_change, keeper, NULL};
	read_head(keeper);
	if (pthread_create(&keeper->thread, NULL, keeper_main, keeper) != 0) {
		keeper_free(keeper);
		return fail(NO_MEMORY, "a thread for the keeper of the root");
	}
	root_host_subscribe(root, &keeper->subscription);
	*out = keeper;
	return OK;
}

void keeper_stop(struct keeper *keeper)
{
	if (!keeper)
		return;
	root_host_unsubscribe(keeper->root, &keeper->subscription);
	pthread_mutex_lock(&keeper->lock);
	keeper->stopping = true;
	pthread_cond_signal(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
	pthread_join(keeper->thread, NULL);
	keeper_free(keeper);
}
