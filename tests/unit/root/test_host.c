/*
 * How the host judges the confinement of a secure processor: from what it says of itself, and from outside. The functions
 * are the host's own, so its source is part of this file; what they look at is a child that left one protection out.
 */
#include "root/host.c"

#include "../expect.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "groups.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

/* ---- What it says of itself ------------------------------------------------------------------------ */

static void what_it_could_do_counts_against_it(void **unused)
{
	struct ap_denial denials[] = {{.name = "open a file", .refused = true}, {.name = "make a socket", .refused = true}};
	struct ap_health health = {.denials = denials, .denial_count = COUNT_OF(denials)};
	expect_ok(check_denials(&health));
	for (size_t i = 0; i < COUNT_OF(denials); i++) {
		denials[i].refused = false;
		expect(check_denials(&health), AP_NOT_CONFINED);
		assert_non_null(strstr(failure_text(), denials[i].name));
		denials[i].refused = true;
	}
	health.denial_count = 0;
	expect(check_denials(&health), AP_NOT_CONFINED);
}

static void an_instrumented_one_needs_an_instrumented_host(void **unused)
{
	struct ap_denial opened = {.name = "open a file"};
	struct ap_health health = {.denials = &opened, .denial_count = 1, .instrumented = true};
	expect(check_denials(&health), seccomp_instrumented() ? OK : AP_NOT_CONFINED);
}

static void a_line_of_the_status_is_its_whole_value(void **unused)
{
	static const char status[] = "Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1";
	assert_true(status_is(status, "\nNoNewPrivs", "1"));
	assert_true(status_is(status, "\nSeccomp", "2"));
	assert_true(status_is(status, "\nSeccomp_filters", "1"));
	assert_false(status_is(status, "\nSeccomp", "0"));
	assert_false(status_is(status, "\nCapEff", "0"));
	assert_false(status_is("\nCapEff:\t00ff\n", "\nCapEff", "00"));
}

/* ---- How it meets the host -------------------------------------------------------------------------- */

/* A secure processor that has lost its host keeps the lock of the state until it is gone; then the next one may start. */
static void two_never_share_one_state(void **unused)
{
	char path[] = "/tmp/troth-state-XXXXXX";
	CLEANUP(fd_close) struct fd first = fd_of(mkstemp(path));
	CLEANUP(fd_close) struct fd second = fd_of(open(path, O_RDWR | O_CLOEXEC));
	expect_ok(lock_state(first.n, 100));
	pid_t orphan = fork();
	if (orphan == 0) {
		pause();
		_exit(0);
	}
	fd_close(&first); /* the host is gone, what it started is not */
	expect(lock_state(second.n, 20), STATE_BUSY);
	kill(orphan, SIGKILL);
	expect_ok(lock_state(second.n, 10000));
	assert_int_equal(waitpid(orphan, NULL, 0), orphan);
	unlink(path);
}

/* The rings are exchanged over a socket of which the test holds the other end. */
static void one_that_ends_while_it_starts_is_told_so(void **unused)
{
	struct fd pair[2];
	struct root_host host = {0};
	expect_ok(sock_pair(pair));
	CLEANUP(fd_close) struct fd near_end = pair[0];
	/* It took the host's ring, and then it was gone. */
	assert_int_equal(shutdown(pair[1].n, SHUT_WR), 0);
	expect(exchange_rings(&host, SPAN_EMPTY, near_end.n), AP_STOPPED);
	fd_close(&pair[1]);
	ipq_free(&host.queue);
}

static void one_that_sends_no_ring_is_not_trusted(void **unused)
{
	struct fd pair[2];
	struct root_host host = {0};
	expect_ok(sock_pair(pair));
	CLEANUP(fd_close) struct fd near_end = pair[0];
	CLEANUP(fd_close) struct fd far_end = pair[1];
	expect_ok(sock_send(far_end.n, span_str("ring"), NULL, 0, 1000));
	expect(exchange_rings(&host, SPAN_EMPTY, near_end.n), AP_UNTRUSTED);
	ipq_free(&host.queue);
}

/* ---- What is seen from outside --------------------------------------------------------------------- */

enum left_out { NOTHING, FILTER, NO_NEW_PRIVILEGES, DROPPED, BOUNDED, HIDDEN };

static bool confine(enum left_out left_out)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog filter = {1, &allow};
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {{0}};
	/* In a namespace of its own an ordinary user has capabilities that can be dropped, or kept. */
	if (unshare(CLONE_NEWUSER) != 0)
		return false;
	for (int cap = 0; left_out != BOUNDED && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
			return false;
	/* A filter without NO_NEW_PRIVS takes a capability, so it comes first. */
	if (left_out != NO_NEW_PRIVILEGES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return false;
	if (left_out != FILTER && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0)
		return false;
	if (left_out != DROPPED && syscall(SYS_capset, &header, none) != 0)
		return false;
	return prctl(PR_SET_DUMPABLE, left_out == HIDDEN, 0, 0, 0) == 0;
}

/* Where the kernel lets nobody look into anybody (Yama), an open memory cannot be made. */
static bool can_look_into(pid_t pid)
{
	char path[64], scope = '0';
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	CLEANUP(fd_close) struct fd memory = fd_of(open(path, O_RDONLY | O_CLOEXEC));
	CLEANUP(fd_close) struct fd yama = fd_of(open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC));
	if (yama.n >= 0)
		(void)!read(yama.n, &scope, 1);
	return memory.n >= 0 || scope < '2';
}

/* As an ordinary user, whose child is what the host looks at. The exit code says whether it saw what was left out. */
static int look(enum left_out left_out, const char *seen)
{
	enum { NOBODY = 65534 };
	int ready[2], ended;
	char byte;
	alarm(20);
	if (geteuid() == 0 && (setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0))
		return 2;
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 || pipe(ready) != 0)
		return 2;
	pid_t inner = fork();
	if (inner == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		if (!confine(left_out) || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (inner < 0 || read(ready[0], &byte, 1) != 1)
		return 3;
	if (left_out == HIDDEN && !can_look_into(inner))
		seen = NULL;
	result judged = check_from_outside(getpid(), false);
	bool right = seen ? judged == AP_NOT_CONFINED && strstr(failure_text(), seen) : judged == OK;
	if (!right)
		fprintf(stderr, "%s (%s)\n", reason_name(judged), judged == OK ? "" : failure_text());
	kill(inner, SIGKILL);
	waitpid(inner, &ended, 0);
	return right ? 0 : 1;
}

static void what_was_left_out_is_seen_from_outside(void **unused)
{
#ifdef __SANITIZE_THREAD__
	/* ThreadSanitizer gives every process a second thread, and the kernel gives a process of two threads no user namespace. */
	print_message("a process of one thread is needed for namespaces\n");
	skip();
#endif
	static const char *const seen[] = {
		[NOTHING] = NULL,
		[FILTER] = "system-call filter",
		[NO_NEW_PRIVILEGES] = "may gain privileges",
		[DROPPED] = "has capabilities",
		[BOUNDED] = "could regain capabilities",
		[HIDDEN] = "memory can be read",
	};
	for (size_t i = 0; i < COUNT_OF(seen); i++) {
		int ended;
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0)
			_exit(look((enum left_out)i, seen[i]));
		assert_int_equal(waitpid(child, &ended, 0), child);
		if (!WIFEXITED(ended) || WEXITSTATUS(ended) != 0)
			print_error("%s: %d\n", seen[i] ? seen[i] : "nothing left out", ended);
		assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
	}
}

static void one_without_a_namespace_of_its_own_is_refused(void **unused)
{
	/* No child: what was started does the work itself. */
	expect(check_from_outside(getpid(), false), AP_NOT_CONFINED);
	assert_non_null(strstr(failure_text(), "namespace"));
}

int test_host(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_could_do_counts_against_it),
		cmocka_unit_test(an_instrumented_one_needs_an_instrumented_host),
		cmocka_unit_test(a_line_of_the_status_is_its_whole_value),
		cmocka_unit_test(two_never_share_one_state), cmocka_unit_test(one_that_ends_while_it_starts_is_told_so),
		cmocka_unit_test(one_that_sends_no_ring_is_not_trusted),
		cmocka_unit_test(what_was_left_out_is_seen_from_outside),
		cmocka_unit_test(one_without_a_namespace_of_its_own_is_refused),
	};
	return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
