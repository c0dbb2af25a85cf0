/* When a root rotates: by time, by events, on request; never faster than allowed, never before the drain, whatever the clock does. */
#include "../expect.h"

#include <string.h>

#include "groups.h"
#include "root/schedule.h"

enum { HOUR = 3600 * 1000, GRACE_S = 10 };
static const struct schedule_config config = {
	.period_ms = 24 * HOUR, .jitter_ms = HOUR, .burst = 2, .refill_ms = 60 * 1000, .coalesce_ms = 300};
static const uint64_t BIRTH = 1800000000000;

static struct schedule_time at(uint64_t ms)
{
	return (struct schedule_time){1000 + ms, BIRTH + ms};
}

static struct epoch some_head(void)
{
	return (struct epoch){.not_before = BIRTH, .not_after = BIRTH + 397ULL * 24 * HOUR, .grace_s = GRACE_S};
}

static struct schedule fresh(void)
{
	struct schedule schedule;
	struct epoch head = some_head();
	schedule_init(&schedule, &config, at(0));
	schedule_set_head(&schedule, &head, false, false, 0, at(0));
	return schedule;
}

static enum schedule_what next(struct schedule *schedule, uint64_t ms, struct schedule_action *out)
{
	schedule_next(schedule, false, at(ms), out);
	return out->what;
}

static void rotates_after_its_period(void **unused)
{
	struct schedule schedule = fresh();
	struct schedule_action action;
	assert_int_equal(next(&schedule, 24 * HOUR - 1, &action), SCHEDULE_NOTHING);
	assert_int_equal(schedule_wait(&schedule, at(24 * HOUR - 5)), 5);
	assert_int_equal(next(&schedule, 24 * HOUR, &action), SCHEDULE_ROTATE);
	assert_int_equal(action.reason, EPOCH_SCHEDULED);
	assert_string_equal(action.text, "period");
}

static void jitter_only_shortens(void **unused)
{
	for (uint64_t random = 0; random < 50; random++) {
		struct schedule schedule = fresh();
		struct epoch head = some_head();
		schedule_set_head(&schedule, &head, false, false, random * 977777, at(0));
		uint64_t due = schedule_next_rotation(&schedule, at(0)) - at(0).mono_ms;
		assert_in_range(due, 23 * HOUR, 24 * HOUR);
	}
}

static void no_period_is_no_rotation_but_before_the_end(void **unused)
{
	struct schedule schedule;
	struct schedule_config none = config;
	struct epoch head = some_head();
	struct schedule_action action;
	none.period_ms = 0;
	schedule_init(&schedule, &none, at(0));
	schedule_set_head(&schedule, &head, false, false, 0, at(0));
	uint64_t end = 397ULL * 24 * HOUR, week = 7ULL * 24 * HOUR;
	assert_int_equal(next(&schedule, end - week - 1, &action), SCHEDULE_NOTHING);
	assert_int_equal(next(&schedule, end - week, &action), SCHEDULE_ROTATE);
	assert_string_equal(action.text, "end of validity");
}

/* A clock that is off, either way, neither floods nor blocks; one past the end of the epoch rotates nothing by itself. */
static void a_clock_far_off_rotates_once_or_not_at_all(void **unused)
{
	const uint64_t year = 365ULL * 24 * HOUR;
	struct schedule schedule = fresh();
	struct schedule_action action;
	struct epoch head = some_head();
	struct schedule_time ahead = {at(HOUR).mono_ms, BIRTH + year}, over = {at(HOUR).mono_ms, BIRTH + 3 * year}, behind = {at(HOUR).mono_ms, BIRTH - 3 * year};
	schedule_next(&schedule, false, behind, &action);
	assert_int_equal(action.what, SCHEDULE_NOTHING);
	schedule_set_head(&schedule, &head, false, false, 0, behind);
	assert_true(schedule_next_rotation(&schedule, behind) <= behind.mono_ms + 24 * HOUR);
	schedule_set_head(&schedule, &head, false, false, 0, ahead);
	schedule_next(&schedule, false, ahead, &action);
	assert_int_equal(action.what, SCHEDULE_ROTATE);
	head.not_before = ahead.wall_ms;
	head.not_after = ahead.wall_ms + year;
	schedule_set_head(&schedule, &head, false, false, 0, ahead);
	schedule_next(&schedule, false, ahead, &action);
	assert_int_equal(action.what, SCHEDULE_NOTHING);
	/* Over: neither its period nor its end nor an event makes a record that the true time would lock out. */
	head = some_head();
	schedule_set_head(&schedule, &head, false, false, 0, over);
	schedule_event(&schedule, SCHEDULE_VIOLATION, "stage A", over);
	over.mono_ms += 48ULL * HOUR;
	schedule_next(&schedule, false, over, &action);
	assert_int_equal(action.what, SCHEDULE_NOTHING);
	assert_true(schedule_wait(&schedule, over) >= HOUR);
	/* The clock put right, all of it is due again. */
	over.wall_ms = ahead.wall_ms;
	schedule_next(&schedule, false, over, &action);
	assert_int_equal(action.what, SCHEDULE_ROTATE);
}

static void events_become_one_rotation(void **unused)
{
	struct schedule schedule = fresh();
	struct schedule_action action;
	schedule_event(&schedule, SCHEDULE_VIOLATION, "stage A", at(5));
	for (uint64_t i = 0; i < 99; i++)
		schedule_event(&schedule, SCHEDULE_VIOLATION, "stage B", at(6 + i));
	assert_int_equal(next(&schedule, 5 + 299, &action), SCHEDULE_NOTHING);
	assert_int_equal(schedule_wait(&schedule, at(100)), 205);
	assert_int_equal(next(&schedule, 5 + 300, &action), SCHEDULE_ROTATE);
	assert_int_equal(action.reason, EPOCH_EVENT);
	assert_string_equal(action.text, "policy violation (100 events): stage A");
	assert_int_equal(next(&schedule, HOUR, &action), SCHEDULE_NOTHING);
}

static void one_who_leaves_does_not_wait_for_more(void **unused)
{
	struct schedule schedule = fresh();
	struct schedule_action action;
	schedule_event(&schedule, SCHEDULE_TRACER, "gdb", at(5));
	schedule_next(&schedule, true, at(6), &action);
	assert_int_equal(action.what, SCHEDULE_ROTATE);
	assert_string_equal(action.text, "debugger seen: gdb");
	/* But a period alone is no reason to stay. */
	schedule_next(&schedule, true, at(25ULL * HOUR), &action);
	assert_int_equal(action.what, SCHEDULE_NOTHING);
}

static void the_drain_comes_first(void **unused)
{
	struct schedule schedule = fresh();
	struct schedule_action action;
	struct epoch head = some_head();
	schedule_set_head(&schedule, &head, true, false, 0, at(0));
	schedule_event(&schedule, SCHEDULE_SELF_TEST, "it failed", at(1));
	assert_int_equal(next(&schedule, GRACE_S * 1000 - 1, &action), SCHEDULE_NOTHING);
	expect(schedule_admit(&schedule, false, at(5)), DRAIN_PENDING);
	expect_ok(schedule_admit(&schedule, true, at(5)));
	assert_int_equal(next(&schedule, GRACE_S * 1000, &action), SCHEDULE_DRAIN);
	schedule_drained(&schedule);
	assert_int_equal(next(&schedule, GRACE_S * 1000, &action), SCHEDULE_ROTATE);
	assert_string_equal(action.text, "failed self-test: it failed");
	schedule_set_head(&schedule, &head, true, true, 0, at(GRACE_S * 1000));
	assert_int_equal(next(&schedule, GRACE_S * 1000, &action), SCHEDULE_DRAIN);
}

static void not_faster_than_allowed(void **unused)
{
	struct schedule schedule = fresh();
	struct schedule_action action;
	expect_ok(schedule_admit(&schedule, false, at(0)));
	expect_ok(schedule_admit(&schedule, true, at(0)));
	for (uint64_t ms = 0; ms < 1000; ms++)
		expect(schedule_admit(&schedule, ms % 2, at(ms)), ROTATION_LIMITED);
	schedule_event(&schedule, SCHEDULE_VIOLATION, "x", at(1000));
	assert_int_equal(next(&schedule, 5000, &action), SCHEDULE_NOTHING);
	assert_int_equal(schedule_wait(&schedule, at(5000)), 55 * 1000);
	assert_int_equal(next(&schedule, 60 * 1000, &action), SCHEDULE_ROTATE);
	expect(schedule_admit(&schedule, false, at(60 * 1000)), ROTATION_LIMITED);
	expect_ok(schedule_admit(&schedule, false, at(HOUR)));
	expect_ok(schedule_admit(&schedule, false, at(HOUR)));
	expect(schedule_admit(&schedule, false, at(HOUR)), ROTATION_LIMITED);
}

static void what_failed_is_tried_again_later_and_later(void **unused)
{
	struct schedule schedule = fresh();
	struct schedule_action action;
	uint64_t ms = 24 * HOUR, last = 0;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(next(&schedule, ms, &action), SCHEDULE_ROTATE);
		schedule_failed(&schedule, at(ms));
		uint64_t wait = schedule_wait(&schedule, at(ms));
		assert_true(wait > last);
		assert_int_equal(next(&schedule, ms + wait - 1, &action), SCHEDULE_NOTHING);
		last = wait;
		ms += 2ULL * HOUR;
	}
}

static void it_never_sleeps_for_ever(void **unused)
{
	struct schedule schedule = fresh();
	assert_int_equal(schedule_wait(&schedule, at(0)), HOUR);
	for (int i = 0; i < SCHEDULE_EVENTS; i++)
		assert_string_not_equal(schedule_event_name((enum schedule_event)i), "unknown");
	assert_string_equal(schedule_event_name(SCHEDULE_EVENTS), "unknown");
}

int test_schedule(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rotates_after_its_period),
		cmocka_unit_test(jitter_only_shortens),
		cmocka_unit_test(no_period_is_no_rotation_but_before_the_end),
		cmocka_unit_test(a_clock_far_off_rotates_once_or_not_at_all),
		cmocka_unit_test(events_become_one_rotation),
		cmocka_unit_test(one_who_leaves_does_not_wait_for_more),
		cmocka_unit_test(the_drain_comes_first),
		cmocka_unit_test(not_faster_than_allowed),
		cmocka_unit_test(what_failed_is_tried_again_later_and_later),
		cmocka_unit_test(it_never_sleeps_for_ever),
	};
	return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
