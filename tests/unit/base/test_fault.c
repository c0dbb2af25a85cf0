#include "base/fault.h"
#include "expect.h"
#include "groups.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void nothing_fails_unarmed(void **state)
{
	(void)state;
	assert_false(fault_hit("a"));
	assert_int_equal(fault_disarm(), 0);
}

static void a_countdown_fails_once(void **state)
{
	(void)state;
	fault_arm("a", 2, ENOSPC, false);
	assert_false(fault_hit("b"));
	assert_false(fault_hit("a"));
	errno = 0;
	assert_true(fault_hit("a"));
	assert_int_equal(errno, ENOSPC);
	assert_false(fault_hit("a"));
	assert_int_equal(fault_disarm(), 1);
	assert_false(fault_hit("a"));
}

static void a_persistent_fault_stays(void **state)
{
	(void)state;
	fault_arm(NULL, 2, EIO, true);
	assert_false(fault_hit("a"));
	assert_true(fault_hit("b"));
	assert_true(fault_hit("c"));
	assert_int_equal(fault_disarm(), 2);
}

static void a_fault_can_kill(void **state)
{
	int status;
	(void)state;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		fault_arm("a", 1, FAULT_KILL, false);
		_exit(fault_hit("a") ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int group_fault(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_fails_unarmed),
		cmocka_unit_test(a_countdown_fails_once),
		cmocka_unit_test(a_persistent_fault_stays),
		cmocka_unit_test(a_fault_can_kill),
	};
	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
