#include "base/seccomp.h"
#include "base/writer.h"
#include "crypto/hash.h"
#include "expect.h"
#include "groups.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_permissions(void **state)
{
	(void)state;
	unsigned bit = 99;
	expect_ok(seccomp_permission_find("jit", &bit));
	assert_int_equal(bit, SECCOMP_JIT);
	expect_ok(seccomp_permission_find("sysvipc", &bit));
	assert_int_equal(bit, SECCOMP_SYSVIPC);
	expect(seccomp_permission_find("network", &bit), UNKNOWN_PERMISSION);
	expect(seccomp_permission_find("", &bit), UNKNOWN_PERMISSION);
}

static void list_of(enum seccomp_profile profile, struct bytes *out)
{
	struct writer w = writer_growing(1 << 20);
	seccomp_list_text(profile, &w);
	expect_ok(writer_take(&w, out));
	/* As text for the searches below. */
	out->data[out->len - 1] = '\0';
}

static void test_lists(void **state)
{
	(void)state;
	for (int profile = 0; profile < SECCOMP_PROFILES; profile++) {
		CLEANUP(bytes_free) struct bytes one = BYTES_EMPTY, two = BYTES_EMPTY;
		list_of((enum seccomp_profile)profile, &one);
		list_of((enum seccomp_profile)profile, &two);
		expect_span(bytes_span(&one), bytes_span(&two));
		const char *text = (const char *)one.data;
		assert_non_null(strstr(text, seccomp_profile_name((enum seccomp_profile)profile)));
		assert_int_equal(strstr(text, "instrumented") != NULL, seccomp_instrumented() && profile != SECCOMP_PROGRAM);
		assert_null(strstr(text, "allow socket\n"));
		assert_null(strstr(text, "allow mount\n"));
		assert_null(strstr(text, "allow memfd_create\n"));
		if (profile == SECCOMP_PROGRAM || seccomp_instrumented())
			continue;
		assert_null(strstr(text, "allow open\n"));
		assert_null(strstr(text, "allow openat\n"));
		assert_null(strstr(text, "allow execve\n"));
		assert_null(strstr(text, "allow clone"));
		assert_null(strstr(text, "allow ptrace"));
	}
	CLEANUP(bytes_free) struct bytes program = BYTES_EMPTY;
	list_of(SECCOMP_PROGRAM, &program);
	assert_non_null(strstr((const char *)program.data, "\njit allow mmap 2&4=4\n"));
	assert_non_null(strstr((const char *)program.data, "\nEAFNOSUPPORT socket\n"));
}

/* Installs a profile in a child and runs `body` there; gives what waitpid says. */
static int under(enum seccomp_profile profile, unsigned permissions, int (*body)(void))
{
	struct seccomp_filter filter = SECCOMP_FILTER_NONE;
	expect_ok(seccomp_filter_new(profile, permissions, &filter));
	pid_t child = fork();
	if (child == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || seccomp_install(&filter) != OK)
			_exit(100);
		syscall(SYS_exit_group, body());
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	seccomp_filter_free(&filter);
	return status;
}

static int ap_body(void)
{
	if (getpid() <= 0)
		return 1;
	/* The instrumentation list has openat; that is why such a build counts for nothing. */
	if (!seccomp_instrumented() && (syscall(SYS_openat, -100, "/dev/null", 0) >= 0 || errno != ENOSYS))
		return 2;
	if (socket(AF_UNIX, SOCK_STREAM, 0) >= 0)
		return 3;
	if (syscall(SYS_execve, "/bin/true", NULL, NULL) >= 0 || errno != ENOSYS)
		return 4;
	if (syscall(SYS_kill, getpid(), 0) >= 0)
		return 5;
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return at == MAP_FAILED || mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED ? 6 : 0;
}

static void test_secure_processor(void **state)
{
	(void)state;
	assert_int_equal(under(SECCOMP_AP, 0, ap_body), 0);
	assert_int_equal(under(SECCOMP_AP, SECCOMP_JIT, ap_body), 0); /* permissions are the program's alone */
}

static pid_t test_pid;
static int test_pidfd;

/* troth-ire lives in the pid namespace of the machine: it signals what it holds a descriptor of, and nobody else. */
static int ire_body(void)
{
	pid_t parent = test_pid;
	if (syscall(SYS_kill, parent, 0) >= 0 || errno != ENOSYS)
		return 1;
	if (syscall(SYS_tkill, parent, 0) >= 0 || errno != ENOSYS)
		return 2;
	if (!seccomp_instrumented() && (syscall(SYS_tgkill, parent, parent, 0) >= 0 || errno != ENOSYS))
		return 3;
	if (syscall(SYS_pidfd_open, parent, 0) >= 0 || errno != ENOSYS)
		return 4;
	/* Its one loop is poll's; no descriptor that it is handed can be turned into another way to wait. */
	if (syscall(SYS_epoll_ctl, -1, 0, 0, NULL) >= 0 || errno != ENOSYS || syscall(SYS_timerfd_settime, -1, 0, NULL, NULL) >= 0 ||
		errno != ENOSYS)
		return 5;
	return syscall(SYS_pidfd_send_signal, test_pidfd, 0, NULL, 0) != 0 ? 6 : 0;
}

static void test_runtime_signals_process_1_alone(void **state)
{
	(void)state;
	test_pid = getpid();
	test_pidfd = (int)syscall(SYS_pidfd_open, test_pid, 0);
	assert_true(test_pidfd >= 0);
	assert_int_equal(under(SECCOMP_IRE, 0, ire_body), 0);
	close(test_pidfd);
}

static int system_v(void)
{
	return syscall(SYS_semget, 0, 1, 0600) >= 0 ? 1 : errno == ENOSYS ? 0 : 2;
}

static void test_system_v_permission(void **state)
{
	(void)state;
	int made = under(SECCOMP_PROGRAM, SECCOMP_SYSVIPC, system_v);
	assert_true(WIFEXITED(made) && WEXITSTATUS(made) == 1);
	assert_int_equal(under(SECCOMP_PROGRAM, 0, system_v), 0);
}

#ifdef __x86_64__
static int i386_call(void)
{
	long call = 20;
	__asm__ volatile("int $0x80" : "+a"(call) : : "memory");
	return 0;
}

static int x32_call(void)
{
	syscall(0x40000000 + SYS_getpid);
	return 0;
}

static void test_other_abis(void **state)
{
	(void)state;
#ifdef UNDER_TSAN
	skip(); /* the child's second thread may fail under the filter before the call is made */
#endif
	for (int profile = 0; profile < SECCOMP_PROFILES; profile++) {
		int status = under((enum seccomp_profile)profile, 0, i386_call);
		assert_true(WIFSIGNALED(status) && (WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV));
		status = under((enum seccomp_profile)profile, 0, x32_call);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	}
}
#endif

int group_seccomp(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_permissions), cmocka_unit_test(test_lists),
		cmocka_unit_test(test_secure_processor), cmocka_unit_test(test_runtime_signals_process_1_alone),
		cmocka_unit_test(test_system_v_permission),
#ifdef __x86_64__
		cmocka_unit_test(test_other_abis),
#endif
	};
	return cmocka_run_group_tests_name("seccomp", tests, NULL, NULL);
}
