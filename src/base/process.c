#include "base/process.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TARGET_MAX = 1023 };

/*
 * What the child needs, prepared before fork: between fork and exec only async-signal-safe calls are made,
 * because another thread of the parent may have held any lock.
 */
struct child {
	const struct process_spec *spec;
	int targets[PROCESS_MAX_FDS]; /* ascending */
	int report; /* an errno goes here when the program cannot be started */
	pid_t parent;
};

static int compare_ints(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;
	return (x > y) - (x < y);
}

static result check_spec(const struct process_spec *spec, struct child *child)
{
	if (spec->fd_count > PROCESS_MAX_FDS)
		return fail(TOO_LARGE, "%zu descriptors for a child", spec->fd_count);
	if (spec->path && spec->path[0] != '/')
		return fail(BAD_VALUE, "the program %s has no absolute path", spec->path);
	if (!spec->argv || !spec->argv[0])
		return fail(BAD_VALUE, "a program without argv[0]");
	for (size_t i = 0; i < spec->fd_count; i++) {
		if (spec->fds[i].to < 0 || spec->fds[i].to > TARGET_MAX || spec->fds[i].from < 0)
			return fail(BAD_VALUE, "descriptor %d as %d", spec->fds[i].from, spec->fds[i].to);
		child->targets[i] = spec->fds[i].to;
	}
	qsort(child->targets, spec->fd_count, sizeof(child->targets[0]), compare_ints);
	for (size_t i = 1; i < spec->fd_count; i++)
		if (child->targets[i] == child->targets[i - 1])
			return fail(BAD_VALUE, "descriptor %d is given twice", child->targets[i]);
	return OK;
}

/* Everything from here to child_main runs between fork and exec. */

static void child_fail(const struct child *child, int error)
{
	ssize_t ignored = write(child->report, &error, sizeof(error));
	(void)ignored;
	_exit(127);
}

static void default_signals(const struct child *child)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	for (int signal = 1; signal < NSIG; signal++)
		(void)sigaction(signal, &action, NULL); /* SIGKILL, SIGSTOP and libc's own refuse */
	sigset_t none;
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		child_fail(child, errno);
}

/* A copy above every target, closed by exec. */
static int lift(const struct child *child, int fd)
{
	int lifted = fcntl(fd, F_DUPFD_CLOEXEC, TARGET_MAX + 1);
	if (lifted < 0) /* the limit of open files lies lower: take the highest that is free above the targets */
		lifted = fcntl(fd, F_DUPFD_CLOEXEC, child->spec->fd_count ? child->targets[child->spec->fd_count - 1] + 1 : 3);
	if (lifted < 0)
		child_fail(child, errno);
	return lifted;
}

/* Exactly the listed descriptors, plus lifted ones that exec closes. */
static void map_fds(struct child *child, int *exec_fd)
{
	const struct process_spec *spec = child->spec;
	int lifted[PROCESS_MAX_FDS];
	child->report = lift(child, child->report);
	if (!spec->path)
		*exec_fd = lift(child, spec->exec_fd);
	for (size_t i = 0; i < spec->fd_count; i++)
		lifted[i] = lift(child, spec->fds[i].from);
	for (size_t i = 0; i < spec->fd_count; i++)
		if (dup2(lifted[i], spec->fds[i].to) < 0)
			child_fail(child, errno);
	unsigned next = 0;
	for (size_t i = 0; i < spec->fd_count; i++) {
		unsigned target = (unsigned)child->targets[i];
		if (target > next && syscall(SYS_close_range, next, target - 1, CLOSE_RANGE_CLOEXEC) < 0)
			child_fail(child, errno);
		next = target + 1;
	}
	if (syscall(SYS_close_range, next, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		child_fail(child, errno);
}

static NORETURN void child_main(struct child *child)
{
	const struct process_spec *spec = child->spec;
	int exec_fd = -1;
	static char *const nothing[] = {NULL};
	char *const *argv = (char *const *)(uintptr_t)spec->argv;
	char *const *env = spec->env ? (char *const *)(uintptr_t)spec->env : nothing;
	if (setpgid(0, 0) < 0)
		child_fail(child, errno);
	if (spec->die_with_parent && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		child_fail(child, errno);
	/* The parent may have ended before the signal was set. */
	if (spec->die_with_parent && getppid() != child->parent)
		_exit(127);
	default_signals(child);
	map_fds(child, &exec_fd);
	if (chdir(spec->directory ? spec->directory : "/") < 0)
		child_fail(child, errno);
	int refused = spec->in_child ? spec->in_child(spec->in_child_arg) : 0;
	if (refused)
		child_fail(child, refused);
	if (spec->path)
		execve(spec->path, argv, env);
	else
		syscall(SYS_execveat, exec_fd, "", argv, env, AT_EMPTY_PATH);
	child_fail(child, errno);
	_exit(127);
}

/* The parent's side again. */

/* What the child reported: its errno, or 0 when exec closed the pipe. */
static result read_report(int report, int *out_error)
{
	int error = 0;
	ssize_t n;
	do
		n = read(report, &error, sizeof(error));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail_errno("waiting for a child to start");
	*out_error = n == (ssize_t)sizeof(error) ? error : 0;
	return OK;
}

/* All signals wait while the child is made, so that none of the parent's handlers runs in it. */
static pid_t fork_quietly(struct child *child)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid_t pid = fork();
	if (pid == 0)
		child_main(child);
	int saved = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return pid;
}

static const char *program_name(const struct process_spec *spec)
{
	return spec->path ? spec->path : spec->argv[0];
}

result process_start(const struct process_spec *spec, struct process *out)
{
	struct child child = {.spec = spec, .parent = getpid()};
	CLEANUP(process_free) struct process process = PROCESS_NONE;
	struct fd report[2];
	TRY(check_spec(spec, &child));
	TRY(fd_pipe(report));
	CLEANUP(fd_close) struct fd read_end = report[0];
	CLEANUP(fd_close) struct fd write_end = report[1];
	child.report = write_end.n;
	process.pid = fork_quietly(&child);
	if (process.pid < 0) {
		process.pid = 0;
		return fail_errno("making a child process");
	}
	fd_close(&write_end);
	(void)setpgid(process.pid, process.pid); /* whoever is first */
	process.pidfd = fd_of(pidfd_open(process.pid, 0));
	if (process.pidfd.n < 0)
		return fail_errno("watching the child process");
	int error = 0;
	TRY(read_report(read_end.n, &error));
	if (error) {
		errno = error;
		return fail_errno("starting %s", program_name(spec));
	}
	*out = process_move(&process);
	return OK;
}

static struct process_end end_of(int status)
{
	if (WIFEXITED(status))
		return (struct process_end){.exited = true, .code = WEXITSTATUS(status)};
	return (struct process_end){.exited = false, .code = WTERMSIG(status)};
}

static result reap(struct process *process, struct process_end *out)
{
	int status;
	pid_t reaped;
	do
		reaped = waitpid(process->pid, &status, 0);
	while (reaped < 0 && errno == EINTR);
	process->pid = 0;
	fd_close(&process->pidfd);
	if (reaped < 0)
		return fail_errno("reaping a child process");
	*out = end_of(status);
	return OK;
}

/* True when the child has ended. */
static result poll_end(int pidfd, int timeout_ms, bool *out_ended)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
	for (;;) {
		uint64_t now = clock_monotonic_ns();
		int ms = timeout_ms < 0 ? -1 : now < deadline ? (int)((deadline - now + 999999) / 1000000) : 0;
		struct pollfd wait = {.fd = pidfd, .events = POLLIN};
		int ready = poll(&wait, 1, ms);
		if (ready < 0 && errno != EINTR)
			return fail_errno("waiting for a child process");
		if (ready > 0 || (ready == 0 && ms == 0)) {
			*out_ended = ready > 0;
			return OK;
		}
	}
}

result process_wait(struct process *process, int timeout_ms, struct process_end *out)
{
	bool ended;
	if (process->pid == 0)
		return fail(ILLEGAL_STATE, "waiting for a process that was reaped");
	TRY(poll_end(process->pidfd.n, timeout_ms, &ended));
	if (!ended)
		return fail(TIMED_OUT, "process %d still runs after %d ms", (int)process->pid, timeout_ms);
	return reap(process, out);
}

result process_signal(const struct process *process, int signal)
{
	if (process->pid == 0)
		return OK;
	if (pidfd_send_signal(process->pidfd.n, signal, NULL, 0) < 0 && errno != ESRCH)
		return fail_errno("sending signal %d to process %d", signal, (int)process->pid);
	return OK;
}

result process_signal_group(const struct process *process, int signal)
{
	/* The child is not reaped yet, so its number, and that of its group, still belongs to it. */
	if (process->pid == 0)
		return OK;
	if (kill(-process->pid, signal) < 0 && errno != ESRCH)
		return fail_errno("sending signal %d to group %d", signal, (int)process->pid);
	return OK;
}

result process_stop(struct process *process, int grace_ms, struct process_end *out)
{
	bool ended;
	if (process->pid == 0)
		return fail(ILLEGAL_STATE, "stopping a process that was reaped");
	TRY(process_signal_group(process, SIGTERM));
	TRY(poll_end(process->pidfd.n, grace_ms, &ended));
	/* Also after an orderly end: members of the group may be left. */
	TRY(process_signal_group(process, SIGKILL));
	struct process_end end;
	TRY(reap(process, &end));
	end.killed = !ended;
	*out = end;
	return OK;
}

void process_free(struct process *process)
{
	struct process_end ignored;
	if (!process)
		return;
	if (process->pid > 0) {
		(void)kill(-process->pid, SIGKILL);
		(void)kill(process->pid, SIGKILL);
		if (reap(process, &ignored) != OK)
			process->pid = 0;
	}
	fd_close(&process->pidfd);
}

void process_end_text(const struct process_end *end, char out[static PROCESS_END_TEXT_SIZE])
{
	if (end->exited)
		snprintf(out, PROCESS_END_TEXT_SIZE, "exit code %d", end->code);
	else
		snprintf(out, PROCESS_END_TEXT_SIZE, "signal %d (%s)", end->code, strsignal(end->code));
}
