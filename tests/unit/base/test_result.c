#include "expect.h"
#include "groups.h"

#include <errno.h>
#include <string.h>

static void every_reason_has_a_row(void **state)
{
	(void)state;
	for (size_t i = 0; i < reason_table_len; i++) {
		const struct reason_row *row = &reason_table[i];
		assert_ptr_equal(reason_row(row->reason), row);
		assert_true(strlen(row->name) > 1);
		assert_true(strlen(row->sentence) > 10);
		assert_int_equal(row->sentence[strlen(row->sentence) - 1], '.');
		assert_in_range(row->exit, EXIT_OK, EXIT_INTERNAL);
		assert_true((row->reason == OK) == (row->exit == EXIT_OK));
	}
}

static void numbers_and_names_are_unique(void **state)
{
	(void)state;
	for (size_t i = 0; i < reason_table_len; i++) {
		for (size_t k = 0; k < i; k++) {
			assert_int_not_equal(reason_table[i].reason, reason_table[k].reason);
			assert_string_not_equal(reason_table[i].name, reason_table[k].name);
		}
	}
}

static void an_unknown_number_is_internal(void **state)
{
	(void)state;
	assert_string_equal(reason_name((enum reason)65000), "INTERNAL");
}

static void a_failure_keeps_its_context(void **state)
{
	(void)state;
	assert_int_equal(fail(BAD_VALUE, "field %d", 7), BAD_VALUE);
	assert_string_equal(failure_text(), "field 7");
	assert_int_equal(fail_within(BAD_VALUE, "file %s", "a"), BAD_VALUE);
	assert_string_equal(failure_text(), "file a: field 7");
	assert_int_equal(fail(BAD_VALUE, "again: %s", failure_text()), BAD_VALUE);
	assert_string_equal(failure_text(), "again: file a: field 7");
	failure_clear();
	assert_string_equal(failure_text(), "");
	assert_int_equal(fail_within(BUSY, "alone"), BUSY);
	assert_string_equal(failure_text(), "alone");
}

static void a_long_context_is_cut(void **state)
{
	char text[5000];
	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fail_within(BAD_VALUE, "%s", text), BAD_VALUE);
		assert_int_equal(strlen(failure_text()), 1023);
	}
	errno = ENOENT;
	assert_int_equal(fail_errno("%s", text), NOT_FOUND);
	assert_int_equal(strlen(failure_text()), 1023);
}

static void errno_becomes_a_reason(void **state)
{
	static const struct {
		int error;
		result reason;
	} cases[] = {{ENOENT, NOT_FOUND}, {EACCES, NO_PERMISSION}, {ENOSPC, DISK_FULL}, {EEXIST, ALREADY_EXISTS}, {ENOMEM, NO_MEMORY},
		{EPIPE, PEER_CLOSED}, {ENOSYS, NOT_SUPPORTED}, {EIO, IO_ERROR}, {0, IO_ERROR}};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		errno = cases[i].error;
		assert_int_equal(fail_errno("step"), cases[i].reason);
		assert_non_null(strstr(failure_text(), "step: "));
	}
}

static result try_it(result inner, int *steps)
{
	TRY(inner);
	(*steps)++;
	return OK;
}

static void try_passes_a_failure_on(void **state)
{
	int steps = 0;
	(void)state;
	expect_ok(try_it(OK, &steps));
	expect(try_it(BUSY, &steps), BUSY);
	assert_int_equal(steps, 1);
}

int group_result(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_reason_has_a_row),
		cmocka_unit_test(numbers_and_names_are_unique),
		cmocka_unit_test(an_unknown_number_is_internal),
		cmocka_unit_test(a_failure_keeps_its_context),
		cmocka_unit_test(a_long_context_is_cut),
		cmocka_unit_test(errno_becomes_a_reason),
		cmocka_unit_test(try_passes_a_failure_on),
	};
	return cmocka_run_group_tests_name("result", tests, NULL, NULL);
}
