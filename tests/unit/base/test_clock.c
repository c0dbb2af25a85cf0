#include "base/clock.h"
#include "expect.h"
#include "groups.h"

static const struct {
	uint64_t ms;
	const char *text;
} known[] = {
	{0, "1970-01-01T00:00:00.000Z"},
	{951782400000, "2000-02-29T00:00:00.000Z"},
	{1795276051123, "2026-11-21T15:47:31.123Z"},
	{253402300799999, "9999-12-31T23:59:59.999Z"},
};

static void known_times_are_written_and_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(known); i++) {
		char text[CLOCK_TEXT_SIZE];
		uint64_t ms;
		clock_format(known[i].ms, text);
		assert_string_equal(text, known[i].text);
		expect_ok(clock_parse(known[i].text, &ms));
		assert_true(ms == known[i].ms);
	}
	uint64_t ms;
	expect_ok(clock_parse("2026-11-21T15:47:31Z", &ms));
	assert_true(ms == 1795276051000);
}

static void what_is_no_time_is_refused(void **state)
{
	static const char *const wrong[] = {"", "2026-11-21", "2026-11-21T15:47:31", "2026-11-21T15:47:31z", "2026-11-21 15:47:31Z",
		"2026-11-21T15:47:31.1Z", "2026-11-21T15:47:31.1234Z", "2026-11-21T15:47:31ZZ", "2026- 1-21T15:47:31Z",
		" 2026-11-21T15:47:31Z", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z",
		"2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "1969-12-31T23:59:59Z", "+026-01-01T00:00:00Z",
		"2026-11-21T15:47:31+00:00"};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		uint64_t ms = 42;
		expect(clock_parse(wrong[i], &ms), BAD_VALUE);
		assert_true(ms == 42);
	}
}

static void clocks_run(void **state)
{
	(void)state;
	uint64_t first = clock_monotonic_ns(), second = clock_monotonic_ns();
	assert_true(second >= first);
	assert_true(clock_wall_ms() > 1577836800000); /* 2020 */
}

static void the_far_future_still_fits(void **state)
{
	char text[CLOCK_TEXT_SIZE];
	(void)state;
	clock_format(UINT64_MAX, text);
	assert_memory_equal(text, "9999-12-31T23:59:59.", 20);
}

int group_clock(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_times_are_written_and_read),
		cmocka_unit_test(what_is_no_time_is_refused),
		cmocka_unit_test(clocks_run),
		cmocka_unit_test(the_far_future_still_fits),
	};
	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
