#include "base/process.h"
#include "expect.h"
#include "groups.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOON = 20000 };

/* Starts the child program with `args`, its standard output on a pipe whose reading end is given out. */
static void start_with(struct process_spec spec, const char *first, const char *second, struct process *out, struct fd *out_text)
{
	struct fd ends[2];
	expect_ok(fd_pipe(ends));
	const char *const argv[] = {"child", first, second, NULL};
	const struct process_fd fds[] = {{ends[1].n, 1}};
	spec.argv = argv;
	if (!spec.path && !spec.exec_fd)
		spec.path = BASE_TEST_CHILD;
	if (!spec.fds) {
		spec.fds = fds;
		spec.fd_count = 1;
	}
	expect_ok(process_start(&spec, out));
	fd_close(&ends[1]);
	*out_text = fd_move(&ends[0]);
}

/* All that the child printed, once it has ended with `code`. */
static const char *output_of(struct process_spec spec, const char *first, const char *second)
{
	static char text[4096];
	CLEANUP(process_free) struct process process = PROCESS_NONE;
	CLEANUP(fd_close) struct fd pipe_end = FD_NONE;
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	struct process_end end;
	start_with(spec, first, second, &process, &pipe_end);
	expect_ok(file_read_stream(pipe_end.n, sizeof(text) - 1, &content));
	expect_ok(process_wait(&process, SOON, &end));
	assert_true(end.exited && end.code == 0);
	memcpy(text, content.data, content.len);
	text[content.len] = '\0';
	return text;
}

static void exit_codes_and_signals_are_told(void **state)
{
	(void)state;
	struct process_end end;
	char text[PROCESS_END_TEXT_SIZE];
	struct process process;
	CLEANUP(fd_close) struct fd pipe_end = FD_NONE;
	start_with((struct process_spec){0}, "exit", "42", &process, &pipe_end);
	expect_ok(process_wait(&process, SOON, &end));
	assert_true(end.exited && end.code == 42 && !end.killed);
	process_end_text(&end, text);
	assert_string_equal(text, "exit code 42");
	assert_int_equal(process.pid, 0);
	assert_int_equal(process.pidfd.n, -1);
	expect(process_wait(&process, 0, &end), ILLEGAL_STATE);
	expect(process_stop(&process, 0, &end), ILLEGAL_STATE);
	expect_ok(process_signal(&process, SIGKILL));
	process_free(&process);
	fd_close(&pipe_end);
	start_with((struct process_spec){0}, "abort", NULL, &process, &pipe_end);
	expect_ok(process_wait(&process, SOON, &end));
	assert_true(!end.exited && end.code == SIGTERM);
	process_end_text(&end, text);
	assert_string_equal(text, "signal 15 (Terminated)");
}

static void a_child_has_only_what_is_listed(void **state)
{
	(void)state;
	struct fd ends[2], leak[2];
	expect_ok(fd_pipe(ends));
	expect_ok(fd_pipe(leak));
	int inherited = dup(leak[0].n); /* not close-on-exec */
	assert_true(inherited >= 0);
	assert_string_equal(output_of((struct process_spec){0}, "fds", NULL), "1 ");
	/* Numbers that swap places, and gaps between them. */
	const struct process_fd fds[] = {{1, 200}, {ends[0].n, ends[1].n}, {ends[1].n, 1}};
	const char *const argv[] = {"child", "fds", NULL};
	const struct process_spec spec = {.path = BASE_TEST_CHILD, .argv = argv, .fds = fds, .fd_count = 3};
	struct process process;
	struct process_end end;
	expect_ok(process_start(&spec, &process));
	expect_ok(process_wait(&process, SOON, &end));
	int number = ends[1].n;
	fd_close(&ends[1]);
	char text[100] = "", wanted[100];
	assert_true(read(ends[0].n, text, sizeof(text) - 1) > 0);
	snprintf(wanted, sizeof(wanted), "1 %d 200 ", number);
	assert_string_equal(text, wanted);
	fd_close(&ends[0]);
	fd_close(&leak[0]);
	fd_close(&leak[1]);
	close(inherited);
}

static void the_environment_is_the_given_one(void **state)
{
	(void)state;
	static const char *const env[] = {"A=1", "B=two", NULL};
	setenv("TROTH_TEST_LEAK", "1", 1);
	assert_string_equal(output_of((struct process_spec){0}, "env", NULL), "");
	assert_string_equal(output_of((struct process_spec){.env = env}, "env", NULL), "A=1\nB=two\n");
	assert_string_equal(output_of((struct process_spec){0}, "cwd", NULL), "/");
	assert_string_equal(output_of((struct process_spec){.directory = "/proc"}, "cwd", NULL), "/proc");
	assert_string_equal(output_of((struct process_spec){0}, "group", NULL), "1");
}

static void signals_are_reset(void **state)
{
	(void)state;
	sigset_t blocked, before;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	void (*old)(int) = signal(SIGPIPE, SIG_IGN);
	const char *shown = output_of((struct process_spec){0}, "signals", NULL);
	signal(SIGPIPE, old);
	sigprocmask(SIG_SETMASK, &before, NULL);
	assert_string_equal(shown, "");
}

static void a_descriptor_can_be_executed(void **state)
{
	(void)state;
	CLEANUP(fd_close) struct fd program = FD_NONE;
	expect_ok(file_open(BASE_TEST_CHILD, O_RDONLY, 0, &program));
	assert_string_equal(output_of((struct process_spec){.exec_fd = program.n}, "fds", NULL), "1 ");
}

static int refuse_with_arg(void *arg)
{
	return *(int *)arg;
}

static void what_cannot_start_says_why(void **state)
{
	(void)state;
	const char *const argv[] = {"x", NULL}, *const nothing[] = {NULL};
	int error = EACCES;
	const struct process_fd twice[] = {{1, 1}, {2, 1}}, wild[] = {{1, 5000}}, missing[] = {{999, 1}};
	const struct {
		struct process_spec spec;
		result reason;
	} cases[] = {
		{{.path = "/nowhere/x", .argv = argv}, NOT_FOUND},
		{{.path = "/", .argv = argv}, NO_PERMISSION},
		{{.path = "child", .argv = argv}, BAD_VALUE},
		{{.path = BASE_TEST_CHILD, .argv = nothing}, BAD_VALUE},
		{{.path = BASE_TEST_CHILD, .argv = argv, .directory = "/nowhere"}, NOT_FOUND},
		{{.path = BASE_TEST_CHILD, .argv = argv, .fds = twice, .fd_count = 2}, BAD_VALUE},
		{{.path = BASE_TEST_CHILD, .argv = argv, .fds = wild, .fd_count = 1}, BAD_VALUE},
		{{.path = BASE_TEST_CHILD, .argv = argv, .fds = missing, .fd_count = 1}, IO_ERROR},
		{{.path = BASE_TEST_CHILD, .argv = argv, .in_child = refuse_with_arg, .in_child_arg = &error}, NO_PERMISSION},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct process process = PROCESS_NONE;
		expect(process_start(&cases[i].spec, &process), cases[i].reason);
		assert_int_equal(process.pid, 0);
	}
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left */
	assert_int_equal(errno, ECHILD);
}

static void wait_for_ready(int fd)
{
	char word[6];
	expect_ok(read_full(fd, word, sizeof(word)));
	assert_memory_equal(word, "ready\n", 6);
}

static void stopping_is_gentle_then_hard(void **state)
{
	(void)state;
	struct process process;
	struct process_end end;
	CLEANUP(fd_close) struct fd pipe_end = FD_NONE;
	start_with((struct process_spec){0}, "hang", NULL, &process, &pipe_end);
	wait_for_ready(pipe_end.n);
	expect(process_wait(&process, 1, &end), TIMED_OUT);
	expect_ok(process_stop(&process, SOON, &end));
	assert_true(!end.exited && end.code == SIGTERM && !end.killed);
	fd_close(&pipe_end);
	start_with((struct process_spec){0}, "stubborn", NULL, &process, &pipe_end);
	wait_for_ready(pipe_end.n);
	expect_ok(process_stop(&process, 1, &end));
	assert_true(!end.exited && end.code == SIGKILL && end.killed);
}

/* True when every writer of the pipe is gone. */
static void expect_all_gone(int fd)
{
	CLEANUP(bytes_free) struct bytes rest = BYTES_EMPTY;
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	do
		assert_int_equal(poll(&wait, 1, SOON), 1);
	while (!(wait.revents & POLLHUP));
	expect_ok(file_read_stream(fd, 1000, &rest));
}

static void the_whole_group_is_stopped(void **state)
{
	(void)state;
	struct process_end end;
	for (int freed = 0; freed < 2; freed++) {
		struct process process;
		CLEANUP(fd_close) struct fd pipe_end = FD_NONE;
		start_with((struct process_spec){0}, "fork", NULL, &process, &pipe_end);
		wait_for_ready(pipe_end.n);
		wait_for_ready(pipe_end.n);
		if (freed)
			process_free(&process);
		else
			expect_ok(process_stop(&process, SOON, &end));
		expect_all_gone(pipe_end.n);
	}
}

static void a_child_can_die_with_its_parent(void **state)
{
	(void)state;
	struct fd ends[2];
	expect_ok(fd_pipe(ends));
	pid_t middle = fork();
	assert_true(middle >= 0);
	if (middle == 0) {
		const char *const argv[] = {"child", "stubborn", NULL};
		const struct process_fd fds[] = {{ends[1].n, 1}};
		const struct process_spec spec = {
			.path = BASE_TEST_CHILD, .argv = argv, .fds = fds, .fd_count = 1, .die_with_parent = true};
		struct process process;
		if (process_start(&spec, &process) != OK)
			_exit(1);
		fd_close(&ends[1]);
		char word[6];
		_exit(read_full(ends[0].n, word, sizeof(word)) == OK ? 0 : 1);
	}
	int status;
	fd_close(&ends[1]);
	assert_int_equal(waitpid(middle, &status, 0), middle);
	assert_int_equal(status, 0);
	expect_all_gone(ends[0].n);
	fd_close(&ends[0]);
}

int group_process(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exit_codes_and_signals_are_told),
		cmocka_unit_test(a_child_has_only_what_is_listed),
		cmocka_unit_test(the_environment_is_the_given_one),
		cmocka_unit_test(signals_are_reset),
		cmocka_unit_test(a_descriptor_can_be_executed),
		cmocka_unit_test(what_cannot_start_says_why),
		cmocka_unit_test(stopping_is_gentle_then_hard),
		cmocka_unit_test(the_whole_group_is_stopped),
		cmocka_unit_test(a_child_can_die_with_its_parent),
	};
	return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
