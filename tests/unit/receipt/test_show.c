/* The drawing of a receipt. */
#include "fixture.h"

#include <stdlib.h>

#include "groups.h"

static struct host host;
static struct job_fixture job;

static int set_up(void **unused)
{
	host_new(&host, 1);
	job_fixture_new(&job, SHAPE_EXTERNAL, 1);
	return 0;
}

static int tear_down(void **unused)
{
	job_fixture_free(&job);
	host_free(&host);
	return 0;
}

static char *draw(enum tweak tweak, bool unicode)
{
	struct run run;
	struct receipt_view view;
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	struct show_options options = {.unicode = unicode};
	run_make(&host, &job, tweak, NULL, &run);
	expect_ok(receipt_view_open(bytes_span(&run.receipt), &view));
	expect_ok(receipt_show(&view, &options, &text));
	receipt_view_free(&view);
	run_free(&run);
	char *copy = malloc(text.len + 1);
	assert_non_null(copy);
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	return copy;
}

static void test_shows_everything(void **unused)
{
	static const char *const wanted[] = {"job 'payroll'", "root      ", "IRE-A", "tier N", "isolation weak", "outside Troth",
		"IRE-C ran and put out", "IRE-B sent to IRE-C for 'sums'", "IRE-A secret enters key", "IRE-A input enters rows",
		"version 4", "grant ", "IRE-C signs summary: text/csv, 27 bytes", "summary.csv",
		"Level-1: ", "a later thief of this epoch key could make such a receipt", "isolation=weak", "(drawn above)", "`- "};
	char *text = draw(NO_TWEAK, false);
	for (size_t i = 0; i < COUNT_OF(wanted); i++)
		if (!strstr(text, wanted[i]))
			fail_msg("\"%s\" is not in\n%s", wanted[i], text);
	free(text);
}

static void test_says_whether_an_interpreter_ran_data(void **unused)
{
	char *closed = draw(NO_TWEAK, false), *open = draw(OPEN_INTERPRETER, false);
	assert_null(strstr(closed, open_interpreter_sentence));
	assert_non_null(strstr(open, open_interpreter_sentence));
	free(closed);
	free(open);
}

static void test_shows_what_is_missing(void **unused)
{
	char *text = draw(FAILED_STAGE, true);
	assert_non_null(strstr(text, "(never launched)"));
	assert_non_null(strstr(text, "└─ "));
	free(text);
}

static void test_refuses_what_is_no_receipt(void **unused)
{
	struct receipt_view view;
	assert_int_not_equal(receipt_view_open(span_str("no receipt"), &view), OK);
}

int show_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shows_everything),
		cmocka_unit_test(test_says_whether_an_interpreter_ran_data),
		cmocka_unit_test(test_shows_what_is_missing),
		cmocka_unit_test(test_refuses_what_is_no_receipt),
	};
	return cmocka_run_group_tests_name("receipt show", tests, set_up, tear_down);
}
