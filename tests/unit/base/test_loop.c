#include "allocations.h"
#include "base/file.h"
#include "base/loop.h"
#include "base/sock.h"
#include "expect.h"
#include "groups.h"

#include <signal.h>
#include <unistd.h>

struct seen {
	struct loop *loop;
	struct loop_watch *watch;
	int count;
	int stop_after;
	int number;
	unsigned events;
};

static void note(void *arg, int number, unsigned events)
{
	struct seen *seen = arg;
	seen->count++;
	seen->number = number;
	seen->events = events;
	if (seen->count == seen->stop_after)
		loop_stop(seen->loop);
}

static void a_descriptor_calls_back(void **state)
{
	(void)state;
	CLEANUP(loop_cleanup) struct loop *loop = NULL;
	struct fd ends[2];
	expect_ok(loop_new(&loop));
	expect_ok(sock_pair(ends));
	struct seen seen = {.loop = loop, .stop_after = 3};
	expect_ok(loop_watch_fd(loop, ends[0].n, LOOP_READ, note, &seen, &seen.watch));
	expect_ok(loop_turn(loop, 0));
	assert_int_equal(seen.count, 0);
	expect_ok(write_all(ends[1].n, span_str("x")));
	expect_ok(loop_run(loop)); /* level-triggered: three times, then stopped */
	assert_int_equal(seen.count, 3);
	assert_int_equal(seen.number, ends[0].n);
	assert_int_equal(seen.events, LOOP_READ);
	expect_ok(loop_watch_change(seen.watch, 0));
	expect_ok(loop_turn(loop, 0));
	assert_int_equal(seen.count, 3);
	expect_ok(loop_watch_change(seen.watch, LOOP_WRITE));
	expect_ok(loop_turn(loop, 1000));
	assert_int_equal(seen.count, 4);
	assert_int_equal(seen.events, LOOP_WRITE);
	loop_watch_free(seen.watch);
	expect_ok(loop_turn(loop, 0));
	assert_int_equal(seen.count, 4);
	fd_close(&ends[0]);
	fd_close(&ends[1]);
}

static void timers_fire(void **state)
{
	(void)state;
	CLEANUP(loop_cleanup) struct loop *loop = NULL;
	expect_ok(loop_new(&loop));
	struct seen once = {.loop = loop}, often = {.loop = loop, .stop_after = 4};
	expect_ok(loop_timer(loop, 1, false, note, &once, &once.watch));
	expect_ok(loop_timer(loop, 2, true, note, &often, &often.watch));
	expect_ok(loop_run(loop));
	assert_int_equal(once.count, 1);
	assert_int_equal(once.events, LOOP_TIMER);
	assert_int_equal(often.count, 4);
	loop_watch_free(often.watch);
	expect_ok(loop_timer_again(once.watch, 0));
	expect_ok(loop_run(loop)); /* ends by itself: nothing is left */
	assert_int_equal(once.count, 2);
}

static void signals_call_back(void **state)
{
	(void)state;
	CLEANUP(loop_cleanup) struct loop *loop = NULL;
	expect_ok(loop_new(&loop));
	struct seen seen = {.loop = loop, .stop_after = 1};
	expect_ok(loop_signal(loop, SIGUSR1, note, &seen, &seen.watch));
	assert_int_equal(raise(SIGUSR1), 0);
	expect_ok(loop_run(loop));
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.number, SIGUSR1);
	assert_int_equal(seen.events, LOOP_SIGNAL);
}

static void free_yourself(void *arg, int number, unsigned events)
{
	(void)number, (void)events;
	struct seen *seen = arg;
	seen->count++;
	loop_watch_free(seen->watch);
	seen->watch = NULL;
}

static void a_callback_may_free_its_watch(void **state)
{
	(void)state;
	CLEANUP(loop_cleanup) struct loop *loop = NULL;
	struct fd ends[2];
	expect_ok(loop_new(&loop));
	expect_ok(sock_pair(ends));
	struct seen timer = {.loop = loop}, repeated = {.loop = loop}, readable = {.loop = loop}, by_signal = {.loop = loop};
	expect_ok(loop_timer(loop, 0, false, free_yourself, &timer, &timer.watch));
	expect_ok(loop_timer(loop, 1, true, free_yourself, &repeated, &repeated.watch));
	expect_ok(loop_watch_fd(loop, ends[0].n, LOOP_READ, free_yourself, &readable, &readable.watch));
	expect_ok(loop_signal(loop, SIGUSR2, free_yourself, &by_signal, &by_signal.watch));
	expect_ok(write_all(ends[1].n, span_str("x")));
	assert_int_equal(raise(SIGUSR2), 0);
	expect_ok(loop_run(loop));
	assert_int_equal(timer.count + repeated.count + readable.count + by_signal.count, 4);
	fd_close(&ends[0]);
	fd_close(&ends[1]);
	loop_watch_free(NULL);
	loop_free(NULL);
}

static void a_turn_is_bounded(void **state)
{
	(void)state;
	CLEANUP(loop_cleanup) struct loop *loop = NULL;
	struct fd ends[2];
	expect_ok(loop_new(&loop));
	expect_ok(sock_pair(ends));
	struct seen seen = {.loop = loop};
	expect_ok(loop_watch_fd(loop, ends[0].n, LOOP_READ, note, &seen, &seen.watch));
	expect_ok(loop_turn(loop, 5)); /* returns although nothing happens */
	assert_int_equal(seen.count, 0);
	fd_close(&ends[1]);
	expect_ok(loop_turn(loop, 1000));
	assert_int_equal(seen.count, 1); /* the end of the stream is readable */
	loop_watch_free(seen.watch);
	fd_close(&ends[0]);
}

static void bad_descriptors_and_no_memory_fail(void **state)
{
	(void)state;
	CLEANUP(loop_cleanup) struct loop *loop = NULL;
	expect_ok(loop_new(&loop));
	struct seen seen = {.loop = loop};
	result watched = loop_watch_fd(loop, 1000000, LOOP_READ, note, &seen, &seen.watch);
	assert_int_not_equal(watched, OK);
	assert_null(seen.watch);
	allocations_fail(1);
	result timed = loop_timer(loop, 1, false, note, &seen, &seen.watch);
	allocations_restore();
	expect(timed, NO_MEMORY);
	struct loop *other = NULL;
	allocations_fail(1);
	result made = loop_new(&other);
	allocations_restore();
	expect(made, NO_MEMORY);
	assert_null(other);
}

int group_loop(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_descriptor_calls_back),
		cmocka_unit_test(timers_fire),
		cmocka_unit_test(signals_call_back),
		cmocka_unit_test(a_callback_may_free_its_watch),
		cmocka_unit_test(a_turn_is_bounded),
		cmocka_unit_test(bad_descriptors_and_no_memory_fail),
	};
	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
