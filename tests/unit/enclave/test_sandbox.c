#include "base/isolate.h"
#include "base/seccomp.h"
#include "confined.h"
#include "expect.h"
#include "groups.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGV(...) ((const char *const[]){"/probe", __VA_ARGS__, NULL})

/* Each as whoever runs the tests, and as an ordinary user. */
static void refused_for_both(const char *const *argv)
{
	confined_expect_refused(AS_STARTED, argv);
	if (test_is_root())
		confined_expect_refused(AS_ORDINARY_USER, argv);
}

static void test_cf_01_read(void **state)
{
	(void)state;
	refused_for_both(ARGV("cf-01", confined_probe_path(), "/proc/self/exe/../../../etc/passwd"));
}

static void test_cf_02_write(void **state)
{
	(void)state;
	refused_for_both(ARGV("cf-02", confined_probe_path()));
}

static void test_cf_03_network(void **state)
{
	(void)state;
	refused_for_both(ARGV("cf-03"));
}

static void test_cf_05_environment(void **state)
{
	(void)state;
	setenv("LD_PRELOAD", "/nothing.so", 1);
	setenv("GLIBC_TUNABLES", "glibc.malloc.check=3", 1);
	setenv("SECRET", "of the caller", 1);
	refused_for_both(ARGV("cf-05", "PATH=/usr/bin:/bin", "MARK=1"));
	unsetenv("LD_PRELOAD");
	unsetenv("GLIBC_TUNABLES");
	unsetenv("SECRET");
}

static void test_cf_06_processes(void **state)
{
	(void)state;
	char own[16];
	snprintf(own, sizeof(own), "%d", (int)getpid());
	refused_for_both(ARGV("cf-06", own));
}

static void test_cf_07_namespaces(void **state)
{
	(void)state;
	refused_for_both(ARGV("cf-07"));
}

static void test_cf_08_execute(void **state)
{
	(void)state;
	refused_for_both(ARGV("cf-08"));
}

static void test_cf_09_calls(void **state)
{
	(void)state;
	refused_for_both(ARGV("cf-09"));
}

static void test_cf_13_dumps(void **state)
{
	(void)state;
	refused_for_both(ARGV("cf-13"));
}

static struct confined *new_run(const char *const *argv)
{
	struct confined *run = calloc(1, sizeof(*run));
	assert_non_null(run);
	run->argv = argv;
	return run;
}

static void expect_exit(const struct confined *run, int code)
{
	if (run->prepared != OK || run->started != OK || run->ended != OK)
		print_error("%s\n", run->text);
	assert_int_equal(run->prepared, OK);
	assert_int_equal(run->started, OK);
	assert_int_equal(run->ended, OK);
	assert_true(run->end.exited);
	if (run->end.code != code)
		print_error("%s\n", run->output);
	assert_int_equal(run->end.code, code);
}

/* The program gets the descriptors it is given and none of the many that the caller has open. */
static void test_cf_04_descriptors(void **state)
{
	(void)state;
	struct fd pipes[8][2];
	for (size_t i = 0; i < 8; i++) {
		expect_ok(fd_pipe(pipes[i]));
		fcntl(pipes[i][0].n, F_SETFD, 0); /* inheritable, as a careless caller leaves them */
	}
	/* Crossed numbers: the source of one is the target of the other. */
	struct sandbox_fd fds[] = {{pipes[0][0].n, pipes[1][0].n}, {pipes[1][0].n, pipes[0][0].n}, {pipes[2][0].n, 63}};
	char a[8], b[8];
	snprintf(a, sizeof(a), "%d", fds[0].to);
	snprintf(b, sizeof(b), "%d", fds[1].to);
	struct confined *run = new_run(ARGV("cf-04", a, b, "63"));
	run->fds = fds;
	run->fd_count = COUNT_OF(fds);
	confined_run(run);
	expect_exit(run, 0);
	free(run);
	/* Without naming them the same program is told of three descriptors too many. */
	run = new_run(ARGV("cf-04"));
	run->fds = fds;
	run->fd_count = COUNT_OF(fds);
	confined_run(run);
	expect_exit(run, 1);
	free(run);
	for (size_t i = 0; i < 8; i++) {
		fd_close(&pipes[i][0]);
		fd_close(&pipes[i][1]);
	}
}

static void test_cf_10_forks(void **state)
{
	(void)state;
	refused_for_both(ARGV("cf-10-forks", "12"));
}

static void test_cf_10_disk(void **state)
{
	(void)state;
	refused_for_both(ARGV("cf-10-disk", "4"));
}

/* A cgroup kills who takes too much; with rlimits alone the allocation fails. */
static void test_cf_10_memory(void **state)
{
	(void)state;
	for (int who = AS_STARTED; who <= AS_ORDINARY_USER; who++) {
		struct confined *run = new_run(ARGV("cf-10-memory", "64"));
		run->who = (enum who)who;
		confined_run(run);
		assert_int_equal(run->prepared, OK);
		bool failed = run->ended == OK && run->end.exited && run->end.code == 0;
		bool killed = run->kind != LIMITS_RLIMIT && run->oom_kills > 0 &&
			      (run->ended == PEER_CLOSED || (run->ended == OK && !run->end.exited && run->end.code == SIGKILL));
		if (!failed && !killed)
			print_error("%s %s\n", reason_name(run->ended), run->output);
		assert_true(failed || killed);
		free(run);
	}
}

static void test_cf_10_never_ending(void **state)
{
	(void)state;
	struct confined *run = new_run(ARGV("cf-10-forever"));
	run->kill_after_ms = 50;
	confined_run(run);
	assert_int_equal(run->started, OK);
	assert_int_equal(run->ended, PEER_CLOSED);
	assert_true(run->output_ended);
	free(run);
}

static void test_cf_10_processor_time(void **state)
{
	(void)state;
	struct confined *run = new_run(ARGV("cf-10-spin"));
	run->limits.cpu_ms = 1000;
	confined_run(run);
	assert_int_equal(run->ended, OK);
	assert_false(run->end.exited);
	assert_int_equal(run->end.code, SIGXCPU);
	assert_true(run->end.cpu_ms >= 500 && run->end.cpu_ms < 4000);
	free(run);
}

/* The output pipe ends although daemons held it: nothing is left. A link or FIFO that was left is no output. */
static void test_cf_15_leftovers(void **state)
{
	(void)state;
	struct confined *run = new_run(ARGV("cf-15"));
	run->fetch = "left";
	confined_run(run);
	expect_exit(run, 0);
	assert_true(run->output_ended);
	assert_int_equal(run->fetched, OK);
	free(run);
	static const struct {
		const char *path;
		result wanted;
	} rows[] = {{"fifo", BAD_TYPE}, {"sym", BAD_TYPE}, {"/tmp/none", NOT_FOUND}, {"../probe", IO_ERROR}, {"/probe", BAD_VALUE},
		{"", BAD_VALUE}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		run = new_run(ARGV("cf-15"));
		run->fetch = rows[i].path;
		confined_run(run);
		if (run->fetched != rows[i].wanted)
			print_error("%s: %s (%s)\n", rows[i].path, reason_name(run->fetched), run->text);
		assert_int_equal(run->fetched, rows[i].wanted);
		free(run);
	}
}

static int write_output(void *arg)
{
	(void)arg;
	int fd = open("/tmp/result.csv", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd >= 0 && write(fd, "1,2\n", 4) == 4 && getuid() == ISOLATE_INSIDE_ID && getpid() != 1 ? 5 : 6;
}

static void test_outputs_and_exit_code(void **state)
{
	(void)state;
	struct confined *run = new_run(NULL);
	run->probe = write_output;
	run->fetch = "/tmp/result.csv";
	confined_run(run);
	expect_exit(run, 5);
	assert_int_equal(run->fetched, OK);
	assert_string_equal(run->file, "1,2\n");
	free(run);
}

static int use_jit(void *arg)
{
	(void)arg;
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return mprotect(at, 4096, PROT_READ | PROT_EXEC) == 0 ? 1 : 0;
}

static void test_permission(void **state)
{
	(void)state;
	for (unsigned jit = 0; jit < 2; jit++) {
		struct confined *run = new_run(NULL);
		run->probe = use_jit;
		run->limits.memory = 1 << 30; /* the probe is a child of this process, whose own memory counts where rlimits do */
		run->permissions = jit ? SECCOMP_JIT : 0;
		confined_run(run);
		expect_exit(run, (int)jit);
		free(run);
	}
}

static void test_measurement_mismatch(void **state)
{
	(void)state;
	for (int who = AS_STARTED; who <= AS_ORDINARY_USER; who++) {
		struct confined *run = new_run(ARGV("cf-04"));
		run->who = (enum who)who;
		run->damage = true;
		confined_run(run);
		assert_int_equal(run->prepared, MEASUREMENT_MISMATCH);
		assert_non_null(strstr(run->text, "/probe"));
		assert_int_equal(run->output_len, 0);
		free(run);
	}
}

/* CF-11: the program is exchanged by rename, over and over, while runs start: what runs is what was measured, or nothing. */
static void test_cf_11_exchange(void **state)
{
	(void)state;
	char other[PATH_SIZE + 16], spare[PATH_SIZE + 16];
	const char *probe = confined_probe_path();
	snprintf(other, sizeof(other), "%s.other", probe);
	snprintf(spare, sizeof(spare), "%s.spare", probe);
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	expect_ok(file_read(probe, 64 << 20, &content));
	memset(content.data, 'X', content.len); /* would not start, which is not among the ends counted below */
	expect_ok(file_write_atomic(other, bytes_span(&content), 0755));
	pid_t racer = fork();
	assert_true(racer >= 0);
	while (racer == 0) {
		rename(probe, spare);
		rename(other, probe);
		rename(probe, other);
		rename(spare, probe);
	}
	size_t ran = 0, mismatched = 0, absent = 0;
	for (int i = 0; i < 30; i++) {
		struct confined *run = new_run(ARGV("ran"));
		confined_run(run);
		ran += run->prepared == OK && run->end.code == 77;
		mismatched += run->prepared == MEASUREMENT_MISMATCH;
		absent += run->prepared == NOT_FOUND;
		free(run);
	}
	kill(racer, SIGKILL);
	waitpid(racer, NULL, 0);
	if (access(probe, F_OK) != 0)
		assert_int_equal(rename(spare, probe), 0);
	else if (access(other, F_OK) != 0)
		assert_int_equal(rename(probe, other) | rename(spare, probe), 0);
	assert_int_equal(ran + mismatched + absent, 30);
	unlink(other);
}

static void test_refused_specs(void **state)
{
	(void)state;
	struct sandbox sandbox = SANDBOX_NONE;
	struct sandbox_spec nothing = {.uid = OWN_UID};
	expect(sandbox_prepare(&nothing, &sandbox), BAD_VALUE);
	struct sandbox_spec both = {.uid = OWN_UID, .probe = use_jit, .program = "/probe", .argv = ARGV("x"), .env = ARGV("x")};
	expect(sandbox_prepare(&both, &sandbox), BAD_VALUE);
	struct sandbox_end end;
	struct fd file;
	expect(sandbox_start(&sandbox, NULL, 0), ILLEGAL_STATE);
	expect(sandbox_read_end(&sandbox, &end), ILLEGAL_STATE);
	expect(sandbox_open_output(&sandbox, "x", &file), ILLEGAL_STATE);
	if (test_is_root()) {
		struct sandbox_spec as_root = {.probe = use_jit};
		expect(sandbox_prepare(&as_root, &sandbox), BAD_VALUE);
	}
}

static void switch_namespaces_off(void)
{
	char map[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();
	if (unshare(CLONE_NEWUSER) != 0)
		_exit(9);
	int fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
	if (write(fd, "deny", 4) != 4)
		_exit(9);
	close(fd);
	const struct {
		const char *path;
		unsigned id;
	} rows[] = {{"/proc/self/uid_map", uid}, {"/proc/self/gid_map", gid}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		fd = open(rows[i].path, O_WRONLY | O_CLOEXEC);
		int len = snprintf(map, sizeof(map), "%u %u 1", rows[i].id, rows[i].id);
		if (write(fd, map, (size_t)len) != len)
			_exit(9);
		close(fd);
	}
	fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
	if (write(fd, "0", 1) != 1)
		_exit(9);
	close(fd);
}

static void test_no_namespaces(void **state)
{
	(void)state;
	struct confined *run = new_run(ARGV("ran"));
	run->who = AS_ORDINARY_USER;
	run->before = switch_namespaces_off;
	confined_run(run);
	assert_int_equal(run->prepared, NO_NAMESPACES);
	assert_non_null(strstr(run->text, "max_user_namespaces"));
	free(run);
}

int group_sandbox(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cf_01_read), cmocka_unit_test(test_cf_02_write),
		cmocka_unit_test(test_cf_03_network), cmocka_unit_test(test_cf_04_descriptors),
		cmocka_unit_test(test_cf_05_environment), cmocka_unit_test(test_cf_06_processes),
		cmocka_unit_test(test_cf_07_namespaces), cmocka_unit_test(test_cf_08_execute), cmocka_unit_test(test_cf_09_calls),
		cmocka_unit_test(test_cf_10_forks), cmocka_unit_test(test_cf_10_disk), cmocka_unit_test(test_cf_10_memory),
		cmocka_unit_test(test_cf_10_never_ending), cmocka_unit_test(test_cf_10_processor_time),
		cmocka_unit_test(test_cf_11_exchange), cmocka_unit_test(test_cf_13_dumps), cmocka_unit_test(test_cf_15_leftovers),
		cmocka_unit_test(test_outputs_and_exit_code), cmocka_unit_test(test_permission),
		cmocka_unit_test(test_measurement_mismatch), cmocka_unit_test(test_refused_specs),
		cmocka_unit_test(test_no_namespaces)};
	return cmocka_run_group_tests_name("sandbox", tests, confined_start, confined_stop);
}
