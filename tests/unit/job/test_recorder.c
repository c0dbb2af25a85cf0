#include "job/recorder.h"

#include "expect.h"
#include "folder.h"
#include "groups.h"
#include "store/journal.h"

static result count_types(void *arg, const struct journal_entry *entry)
{
	unsigned *counts = arg;
	assert_true(entry->type < 4);
	counts[entry->type]++;
	return OK;
}

static void test_what_is_recorded_stays(void **state)
{
	unsigned counts[4] = {0};
	struct recorder *recorder, *second;
	struct recorder_operation operation = {.v = 1, .job = "payroll", .time = 1000};
	struct recorder_entry entry = {.v = 1, .head = span_str("head"), .time = 2000};
	struct recorder_refusal refusal = {.v = 1, .reason = STAGE_FAILED, .text = "stage IRE-A", .time = 3000};
	expect_ok(recorder_journal_open(*state, &recorder));
	assert_string_equal(recorder->backend->name, "journal");
	expect(recorder_journal_open(*state, &second), BUSY);
	expect_ok(recorder_authorise(recorder, &operation));
	expect_ok(recorder_record(recorder, &entry));
	expect_ok(recorder_refuse(recorder, &refusal));
	expect_ok(recorder_authorise(recorder, &operation));
	recorder_close(recorder);

	struct journal *journal;
	expect_ok(journal_open(*state, "runs", NULL, &journal, NULL));
	expect_ok(journal_read(journal, 1, count_types, counts));
	journal_close(journal);
	assert_int_equal(counts[RECORDED_OPERATION], 2);
	assert_int_equal(counts[RECORDED_ENTRY], 1);
	assert_int_equal(counts[RECORDED_REFUSAL], 1);
}

static void test_what_cannot_be_written(void **state)
{
	struct recorder *recorder;
	struct recorder_operation nameless = {.v = 1, .job = ""};
	struct recorder_entry headless = {.v = 1};
	expect_ok(recorder_journal_open(*state, &recorder));
	expect(recorder_authorise(recorder, &nameless), BAD_VALUE);
	expect(recorder_record(recorder, &headless), BAD_VALUE);
	recorder_close(recorder);
	expect(recorder_journal_open("/nonexistent/folder", &recorder), NOT_FOUND);
	recorder_close(NULL);
}

int group_recorder(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_recorded_stays, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_what_cannot_be_written, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests_name("recorder", tests, NULL, NULL);
}
