/*
 * Theory of operation. Three processes: the caller (troth-ire), process 1 of the new pid namespace (the reaper, this file
 * too) and the program. They speak over one socket pair in messages of sock.h; the first byte says what it is:
 *
 *	reaper -> caller    READY, then STARTED or FAILED, then END, then FILE or FAILED for each FETCH
 *	caller -> reaper    CREATE name, START with descriptors, FETCH path
 *
 * What is in force when, for the program: mounts, namespaces and cgroup from the reaper; then, in the child, descriptors,
 * rlimits, Landlock, call filter, exec. The order matters: each step needs calls that the next one takes away.
 */
#include "enclave/sandbox.h"

#include "base/isolate.h"
#include "base/mounts.h"
#include "base/reader.h"
#include "base/seccomp.h"
#include "base/sock.h"
#include "base/writer.h"
#include "enclave/landlock.h"
#include "enclave/relocation.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	MAX_TOPS = 64,	      /* folders and files directly below the root of an image */
	MAX_MESSAGE = 8192,
	SETUP_TIMEOUT = 20000, /* ms; mounting is quick, even under load */
	TARGETS = 64,	       /* descriptors a program can be given: 0..63 */
	END_ROUNDS = 2000,     /* of ending what a program has left behind, a millisecond each */
	SLACK_TASKS = 32,      /* of the same user, which may come meanwhile */
};

enum message { READY = 'R', STARTED = 'O', FAILED = 'F', END = 'E', FILE_FOLLOWS = 'D', START = 'S', FETCH = 'G', CREATE = 'C' };

enum sandbox_state { STATE_NONE, STATE_PREPARED, STATE_STARTED, STATE_ENDED, STATE_DEAD };
static const struct {
	enum sandbox_state from, to;
} moves[] = {
	{STATE_PREPARED, STATE_STARTED},
	{STATE_STARTED, STATE_ENDED},
	{STATE_PREPARED, STATE_DEAD},
	{STATE_STARTED, STATE_DEAD},
	{STATE_ENDED, STATE_DEAD},
};

static result check_move(const struct sandbox *sandbox, enum sandbox_state to)
{
	for (size_t i = 0; i < COUNT_OF(moves); i++)
		if (moves[i].from == (enum sandbox_state)sandbox->state && moves[i].to == to)
			return OK;
	return fail(ILLEGAL_STATE, "sandbox goes from state %d to %d", sandbox->state, (int)to);
}

/* Everything process 1 and the program are made from; lives on the caller's stack during sandbox_prepare. */
struct setup {
	const struct sandbox_spec *spec;
	struct image image;
	struct seccomp_filter program_filter, reaper_filter;
	int landlock_abi;
	const char *tops[MAX_TOPS];
	size_t top_count;
	char top_texts[MAX_TOPS][256];
	int control; /* the reaper's end */
	struct fd scratch, signals;
	/* tier L */
	bool without_namespaces;
	struct relocation relocation;
	uint32_t other_tasks; /* of this uid, which count against the limit on processes */
};

/* ---- messages ---- */

static result send_failure(int control, enum reason reason, const char *text)
{
	uint8_t buffer[2048];
	struct writer w = writer_fixed(buffer, sizeof(buffer));
	writer_u8(&w, FAILED);
	writer_u32(&w, (uint32_t)reason);
	writer_lv(&w, span_of(text, strnlen(text, 1000)));
	struct span message;
	TRY(writer_finish(&w, &message));
	return sock_send(control, message, NULL, 0, SETUP_TIMEOUT);
}

static result send_byte(int control, enum message kind, const int *fds, size_t count)
{
	uint8_t byte = (uint8_t)kind;
	return sock_send(control, span_of(&byte, 1), fds, count, SETUP_TIMEOUT);
}

/* The next message of `kind`; FAILED becomes the reaper's reason and text. */
static result expect(int control, enum message kind, int timeout_ms, struct sock_message *out)
{
	CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
	TRY(sock_receive(control, MAX_MESSAGE, 1, timeout_ms, &message));
	struct reader r = reader_of(bytes_span(&message.data));
	uint8_t byte;
	TRY(reader_u8(&r, &byte));
	if (byte == FAILED) {
		uint32_t reason;
		struct span text;
		TRY(reader_u32(&r, &reason));
		TRY(reader_lv(&r, MAX_MESSAGE, &text));
		/* Only numbers of the table; process 1 is ours, yet what it says is still parsed. */
		enum reason known = reason_row((enum reason)reason)->reason;
		return fail(known == OK ? INTERNAL : known, "%.*s", (int)text.len, (const char *)text.data);
	}
	if (byte != (uint8_t)kind)
		return fail(INTERNAL, "process 1 sent message %u", byte);
	*out = message;
	message = SOCK_MESSAGE_EMPTY;
	return OK;
}

/* ---- process 1: mounts ---- */

static result step_failed(const char *step, int error)
{
	if (error == EPERM || error == ENOSYS) {
		char why[ISOLATE_WHY_SIZE];
		isolate_why_refused(error, why);
		return fail(NO_NAMESPACES, "%s: %s", step, why);
	}
	return fail(SANDBOX_FAILED, "%s: %s", step, strerror(error));
}

struct new_mounts {
	struct fd proc, scratch, null, zero, urandom;
};

static void new_mounts_free(struct new_mounts *mounts)
{
	fd_close(&mounts->proc);
	fd_close(&mounts->scratch);
	fd_close(&mounts->null);
	fd_close(&mounts->zero);
	fd_close(&mounts->urandom);
}

/* Made while the old root is there: the kernel allows a new /proc only beside one that is fully visible. */
static result make_mounts(const struct sandbox_spec *spec, struct new_mounts *out)
{
	enum { QUIET = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, NODE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC };
	char size[32];
	/* tmpfs takes 0 for "no limit". */
	snprintf(size, sizeof(size), "%llu", (unsigned long long)(spec->limits.scratch < 4096 ? 4096 : spec->limits.scratch));
	struct mount_option proc[] = {{"hidepid", "2"}, {"subset", "pid"}};
	struct mount_option scratch[] = {{"size", size}, {"nr_inodes", "65536"}, {"mode", "0700"}};
	int error = mounts_new("proc", proc, COUNT_OF(proc), QUIET, &out->proc, NULL);
	if (error)
		return step_failed("a fresh /proc (the one here may be partly covered, as in containers)", error);
	error = mounts_new("tmpfs", scratch, COUNT_OF(scratch), QUIET, &out->scratch, NULL);
	if (error)
		return step_failed("the scratch folder", error);
	error = mounts_clone("/dev/null", NODE, &out->null);
	if (!error)
		error = mounts_clone("/dev/zero", NODE, &out->zero);
	if (!error)
		error = mounts_clone("/dev/urandom", NODE, &out->urandom);
	return error ? step_failed("nodes of /dev", error) : OK;
}

static result enter_root(const struct setup *setup, const struct new_mounts *mounts)
{
	int error = mounts_become_root(setup->image.mount.n);
	if (error)
		return step_failed("the image as root", error);
	const struct {
		int mount;
		const char *path;
	} rows[] = {{mounts->proc.n, "/proc"}, {mounts->null.n, "/dev/null"}, {mounts->zero.n, "/dev/zero"},
		{mounts->urandom.n, "/dev/urandom"}, {mounts->scratch.n, "/tmp"}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		error = mounts_attach(rows[i].mount, rows[i].path);
		if (error)
			return step_failed(rows[i].path, error);
	}
	return OK;
}

/* ---- process 1: set-up ---- */

static result enter_group(const struct limits_group *group)
{
	for (size_t i = 0; group && i < group->count; i++)
		if (write(group->procs[i].n, "0", 1) != 1)
			return fail_errno("entering cgroup %s", group->paths[i]);
	return OK;
}

static result hide_groups(void)
{
	/* From here on the cgroup tree is seen from that group. Kernels without cgroup namespaces show the host's names. */
	if (unshare(CLONE_NEWCGROUP) != 0 && errno != EINVAL)
		return step_failed("cgroup namespace", errno);
	return OK;
}

/* SIGTERM: in tier L, where killing process 1 would leave the program, the caller asks it to end everything. */
static result watch_children(struct fd *out)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return fail_errno("blocking SIGCHLD");
	*out = fd_of(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
	return out->n < 0 ? fail_errno("signalfd") : OK;
}

/* Keeps nothing of the caller's descriptors but the control socket and its own. */
static void close_others(const struct setup *setup)
{
	const int keep[] = {setup->control, setup->scratch.n, setup->signals.n};
	int from = 0;
	for (;;) {
		int next = -1;
		for (size_t i = 0; i < COUNT_OF(keep); i++)
			if (keep[i] >= from && (next < 0 || keep[i] < next))
				next = keep[i];
		if (next < 0)
			break;
		if (next > from)
			close_range((unsigned)from, (unsigned)next - 1, 0);
		from = next + 1;
	}
	close_range((unsigned)from, ~0u, 0);
}

/* Tier L: what the program leaves behind becomes our child, and we end it when the caller's end of the socket closes. */
static result reaper_setup_alone(struct setup *setup)
{
	TRY(enter_group(setup->spec->group));
	setsid(); /* whoever ends the caller ends its process group */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
		return fail_errno("adopting what the program leaves behind");
	setup->scratch = fd_of(open(setup->relocation.copy.scratch, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	if (setup->scratch.n < 0)
		return fail_errno("%s", setup->relocation.copy.scratch);
	TRY(watch_children(&setup->signals));
	TRY(isolate_drop_capabilities());
	return isolate_no_dumps();
}

static result reaper_setup(struct setup *setup)
{
	if (setup->without_namespaces)
		return reaper_setup_alone(setup);
	CLEANUP(new_mounts_free) struct new_mounts mounts = {FD_NONE, FD_NONE, FD_NONE, FD_NONE, FD_NONE};
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		return fail_errno("ending together with the caller");
	TRY(enter_group(setup->spec->group));
	TRY(hide_groups());
	TRY(make_mounts(setup->spec, &mounts));
	TRY(enter_root(setup, &mounts));
	if (sethostname("enclave", 7) != 0 || setdomainname("", 0) != 0)
		return step_failed("host name", errno);
	setup->scratch = fd_of(open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (setup->scratch.n < 0)
		return fail_errno("/tmp");
	TRY(watch_children(&setup->signals));
	TRY(isolate_drop_capabilities());
	TRY(isolate_no_dumps());
	return OK;
}

/* ---- the program, between fork and exec ---- */

enum step { STEP_FDS, STEP_LIMITS, STEP_LANDLOCK, STEP_FILTER, STEP_EXEC };
static const char *const step_names[] = {"descriptors", "limits", "Landlock", "call filter", "exec"};

struct start_failure {
	uint8_t step;
	int error;
};

static NORETURN void report_and_exit(int status, enum step step, int error)
{
	struct start_failure failure = {(uint8_t)step, error};
	if (write(status, &failure, sizeof(failure)) != (ssize_t)sizeof(failure))
		_exit(126);
	_exit(127);
}

/*
 * Puts from[i] at to[i], /dev/null at what is missing of 0..2, and closes everything else but *status. Everything is moved
 * above the targets first, so that no target hides a source.
 */
static int place_descriptors(const int *from, const int *to, size_t count, int *status)
{
	int high[SANDBOX_MAX_FDS];
	bool taken[TARGETS] = {false};
	int moved = fcntl(*status, F_DUPFD_CLOEXEC, TARGETS);
	if (moved < 0)
		return errno;
	*status = moved;
	for (size_t i = 0; i < count; i++)
		if ((high[i] = fcntl(from[i], F_DUPFD_CLOEXEC, TARGETS)) < 0)
			return errno;
	for (size_t i = 0; i < count; i++) {
		if (dup2(high[i], to[i]) < 0)
			return errno;
		taken[to[i]] = true;
	}
	for (int n = 0; n < 3; n++) {
		int null = taken[n] ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null >= 0 && null != n && (dup2(null, n) < 0 || close(null) != 0))
			return errno;
		if (null == n && fcntl(n, F_SETFD, 0) != 0)
			return errno;
		taken[n] = true;
	}
	for (int n = 0; n < TARGETS; n++)
		if (!taken[n])
			close(n);
	if (*status > TARGETS)
		close_range(TARGETS, (unsigned)*status - 1, 0);
	close_range((unsigned)*status + 1, ~0u, 0);
	return 0;
}

static void reset_signals(void)
{
	struct sigaction by_default = {.sa_handler = SIG_DFL};
	sigset_t none;
	for (int signal = 1; signal < NSIG; signal++)
		sigaction(signal, &by_default, NULL); /* fails for SIGKILL and SIGSTOP, which is fine */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Tier L: dies with process 1, is kept to the copy, and its filter knows its own number. */
static void confine_alone(const struct setup *setup, int status)
{
	struct seccomp_filter filter = SECCOMP_FILTER_NONE;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		report_and_exit(status, STEP_LIMITS, errno);
	if (seccomp_program_filter_alone(setup->spec->permissions, getpid(), &filter) != OK)
		report_and_exit(status, STEP_FILTER, ENOMEM);
	int error = landlock_restrict_copy(setup->landlock_abi, &setup->relocation.copy);
	if (error)
		report_and_exit(status, STEP_LANDLOCK, error);
	error = seccomp_install_raw(&filter);
	if (error)
		report_and_exit(status, STEP_FILTER, error);
}

static void confine_in_root(const struct setup *setup, int status)
{
	int error = landlock_restrict(setup->landlock_abi, setup->tops, setup->top_count);
	if (error)
		report_and_exit(status, STEP_LANDLOCK, error);
	error = seccomp_install_raw(&setup->program_filter);
	if (error)
		report_and_exit(status, STEP_FILTER, error);
}

static NORETURN void become_program(const struct setup *setup, const int *from, const int *to, size_t count, int status)
{
	const struct sandbox_spec *spec = setup->spec;
	struct manifest_limits limits = spec->limits;
	reset_signals();
	setsid();
	umask(022);
	if (chdir(setup->without_namespaces ? setup->relocation.copy.scratch : "/tmp") != 0)
		report_and_exit(status, STEP_FDS, errno);
	int error = place_descriptors(from, to, count, &status);
	if (error)
		report_and_exit(status, STEP_FDS, error);
	limits.processes += setup->other_tasks;
	error = limits_set_rlimits(&limits, spec->group && spec->group->memory);
	if (error)
		report_and_exit(status, STEP_LIMITS, error);
	if (setup->without_namespaces)
		confine_alone(setup, status);
	else
		confine_in_root(setup, status);
	if (spec->probe) {
		close(status);
		_exit(spec->probe(spec->probe_arg));
	}
	if (setup->without_namespaces)
		execve(setup->relocation.path, (char *const *)setup->relocation.argv, (char *const *)setup->relocation.env);
	else
		execve(spec->program, (char *const *)spec->argv, (char *const *)spec->env);
	report_and_exit(status, STEP_EXEC, errno);
}

/* ---- process 1: its life ---- */

static result start_program(struct setup *setup, const int *from, const int *to, size_t count, pid_t *out)
{
	struct fd status[2] = {FD_NONE, FD_NONE};
	TRY(fd_pipe(status));
	pid_t child = fork();
	if (child == 0)
		become_program(setup, from, to, count, status[1].n);
	int error = child < 0 ? errno : 0;
	fd_close(&status[1]);
	struct start_failure failure = {0};
	ssize_t len = error ? 0 : read(status[0].n, &failure, sizeof(failure));
	fd_close(&status[0]);
	if (error)
		return fail(SANDBOX_FAILED, "starting a process: %s", strerror(error));
	if (len == 0) { /* closed by exec */
		*out = child;
		return OK;
	}
	const char *step = failure.step < COUNT_OF(step_names) ? step_names[failure.step] : "?";
	if (failure.step == STEP_EXEC)
		return fail(PROGRAM_FAILED_TO_START, "%s: %s", setup->spec->program, strerror(failure.error));
	return fail(SANDBOX_FAILED, "%s of the program: %s", step, strerror(failure.error));
}

/* A file for an input, by a name that has no slash; without one a file that has no name at all. */
static result create_below_scratch(int scratch, struct span name, struct fd *out)
{
	char path[3 + NAME_MAX_LEN + 1] = "in/";
	if (name.len == 0)
		return file_open_at(scratch, ".", O_TMPFILE | O_RDWR, 0600, out);
	if (name.len > NAME_MAX_LEN)
		return fail(TOO_LARGE, "the name of an input");
	memcpy(path + 3, name.data, name.len);
	path[3 + name.len] = '\0';
	if (!name_is_valid(path + 3))
		return fail(BAD_VALUE, "'%s' as the name of an input", path + 3);
	if (mkdirat(scratch, "in", 0755) != 0 && errno != EEXIST)
		return fail_errno("/tmp/in");
	return file_open_at(scratch, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644, out);
}

static result serve_create(const struct setup *setup, struct reader *r)
{
	struct span name;
	CLEANUP(fd_close) struct fd file = FD_NONE;
	TRY(reader_lv(r, MAX_MESSAGE, &name));
	TRY(reader_finish(r));
	result created = create_below_scratch(setup->scratch.n, name, &file);
	if (created != OK)
		return send_failure(setup->control, created, failure_text());
	return send_byte(setup->control, FILE_FOLLOWS, &file.n, 1);
}

static result handle_start(struct setup *setup, pid_t *out)
{
	CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
	struct reader r;
	uint8_t kind = 0;
	for (;;) {
		sock_message_free(&message);
		TRY(sock_receive(setup->control, MAX_MESSAGE, SANDBOX_MAX_FDS, -1, &message));
		r = reader_of(bytes_span(&message.data));
		TRY(reader_u8(&r, &kind));
		if (kind != CREATE)
			break;
		TRY(serve_create(setup, &r));
	}
	if (kind != START)
		return fail(ILLEGAL_STATE, "message %u before START", kind);
	int from[SANDBOX_MAX_FDS], to[SANDBOX_MAX_FDS];
	for (size_t i = 0; i < message.fd_count; i++) {
		uint8_t target;
		TRY(reader_u8(&r, &target));
		if (target >= TARGETS)
			return fail(BAD_VALUE, "descriptor %u of the program", target);
		from[i] = message.fds[i].n;
		to[i] = target;
	}
	TRY(reader_finish(&r));
	return start_program(setup, from, to, message.fd_count, out);
}

struct tally {
	int status;
	uint64_t cpu_us, max_rss;
};

static void count(struct tally *tally, const struct rusage *usage)
{
	tally->cpu_us += (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000u +
		(uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
	uint64_t rss = (uint64_t)usage->ru_maxrss * 1024u;
	tally->max_rss = rss > tally->max_rss ? rss : tally->max_rss;
}

/* Reaps what has ended; true when the program is among it. */
static bool reap(pid_t program, int options, struct tally *tally)
{
	struct rusage usage;
	int status;
	bool ended = false;
	for (pid_t pid; (pid = wait4(-1, &status, options, &usage)) > 0;) {
		count(tally, &usage);
		if (pid == program) {
			tally->status = status;
			ended = true;
		}
	}
	return ended;
}

/* Signals each of our children once; false when there is none. The kernel lists them in one line. */
static bool end_children(void)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};
	char line[4096];
	CLEANUP(fd_close) struct fd fd = fd_of((int)syscall(SYS_openat2, AT_FDCWD, "/proc/thread-self/children", &how, sizeof(how)));
	ssize_t len = fd.n < 0 ? -1 : read(fd.n, line, sizeof(line) - 1);
	if (len <= 0)
		return false;
	line[len] = '\0';
	char *next = line;
	for (long pid; (pid = strtol(next, &next, 10)) > 0;)
		kill((pid_t)pid, SIGKILL);
	return true;
}

/*
 * Ends everything that descends from us. In a pid namespace one call does that. Without: children, then the children that
 * these leave to us, until there is none; what forks meanwhile is bounded by the limit on processes.
 */
static void end_all(const struct setup *setup, struct tally *tally)
{
	if (!setup->without_namespaces) {
		kill(-1, SIGKILL);
		return;
	}
	for (int round = 0; round < END_ROUNDS && end_children(); round++) {
		struct pollfd wait = {.fd = setup->signals.n, .events = POLLIN};
		struct signalfd_siginfo info;
		(void)poll(&wait, 1, 1);
		while (read(setup->signals.n, &info, sizeof(info)) > 0)
			;
		reap(0, WNOHANG, tally);
	}
}

static NORETURN void give_up(const struct setup *setup)
{
	struct tally tally = {0};
	end_all(setup, &tally);
	_exit(EXIT_INTERNAL);
}

/* Until the program ends. A caller that is gone or speaks out of turn ends everything. */
static void wait_for_program(const struct setup *setup, pid_t program, struct tally *tally)
{
	struct pollfd wait[2] = {{.fd = setup->signals.n, .events = POLLIN}, {.fd = setup->control, .events = POLLIN}};
	for (;;) {
		if (reap(program, WNOHANG, tally))
			break;
		if (poll(wait, 2, -1) < 0 && errno != EINTR)
			give_up(setup);
		if (wait[1].revents)
			give_up(setup);
		struct signalfd_siginfo info;
		while (read(setup->signals.n, &info, sizeof(info)) > 0)
			if (info.ssi_signo == SIGTERM)
				give_up(setup);
	}
	end_all(setup, tally);
	reap(program, setup->without_namespaces ? WNOHANG : 0, tally);
}

static result send_end(int control, const struct tally *tally)
{
	uint8_t buffer[64];
	struct writer w = writer_fixed(buffer, sizeof(buffer));
	bool exited = WIFEXITED(tally->status);
	writer_u8(&w, END);
	writer_u8(&w, exited);
	writer_u32(&w, (uint32_t)(exited ? WEXITSTATUS(tally->status) : WTERMSIG(tally->status)));
	writer_u64(&w, tally->cpu_us / 1000);
	writer_u64(&w, tally->max_rss);
	struct span message;
	TRY(writer_finish(&w, &message));
	return sock_send(control, message, NULL, 0, -1);
}

/* Nothing runs any more, so what is found stays as it is. */
static result open_below_scratch(int scratch, const char *path, struct fd *out)
{
	struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
	struct stat status;
	CLEANUP(fd_close) struct fd fd = fd_of((int)syscall(SYS_openat2, scratch, path, &how, sizeof(how)));
	if (fd.n < 0 && errno == ELOOP)
		return fail(BAD_TYPE, "/tmp/%s: a link is on its path", path);
	if (fd.n < 0)
		return fail_errno("/tmp/%s", path);
	if (fstat(fd.n, &status) != 0 || !S_ISREG(status.st_mode))
		return fail(BAD_TYPE, "/tmp/%s is not a regular file", path);
	*out = fd_move(&fd);
	return OK;
}

static result serve_one(const struct setup *setup)
{
	CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
	TRY(sock_receive(setup->control, MAX_MESSAGE, 0, -1, &message));
	struct reader r = reader_of(bytes_span(&message.data));
	uint8_t kind;
	struct span text;
	char path[PATH_SIZE];
	TRY(reader_u8(&r, &kind));
	TRY(reader_lv(&r, sizeof(path) - 1, &text));
	if (kind != FETCH || memchr(text.data, 0, text.len))
		return fail(ILLEGAL_STATE, "message %u after the end", kind);
	memcpy(path, text.data, text.len);
	path[text.len] = '\0';
	CLEANUP(fd_close) struct fd file = FD_NONE;
	result opened = open_below_scratch(setup->scratch.n, path, &file);
	if (opened != OK)
		return send_failure(setup->control, opened, failure_text());
	return send_byte(setup->control, FILE_FOLLOWS, &file.n, 1);
}

static NORETURN void reaper_main(struct setup *setup)
{
	result outcome = reaper_setup(setup);
	if (outcome != OK) {
		outcome = send_failure(setup->control, outcome, failure_text());
		_exit(EXIT_INTERNAL);
	}
	close_others(setup);
	pid_t program = 0;
	if (send_byte(setup->control, READY, NULL, 0) != OK)
		_exit(EXIT_INTERNAL);
	outcome = handle_start(setup, &program);
	if (outcome == OK)
		outcome = seccomp_install(&setup->reaper_filter);
	if (outcome != OK) {
		outcome = send_failure(setup->control, outcome, failure_text());
		_exit(EXIT_INTERNAL);
	}
	struct tally tally = {0};
	if (send_byte(setup->control, STARTED, NULL, 0) != OK)
		_exit(EXIT_INTERNAL);
	wait_for_program(setup, program, &tally);
	outcome = send_end(setup->control, &tally);
	while (outcome == OK)
		outcome = serve_one(setup);
	_exit(0);
}

/* ---- the caller ---- */

/* Landlock grants execution on the image's own top folders, so that the scratch folder below the same root has none. */
static result collect_tops(struct setup *setup)
{
	for (size_t i = 0; i < setup->spec->file_count; i++) {
		const char *path = setup->spec->files[i].path;
		size_t len = path[0] == '/' ? 1 + strcspn(path + 1, "/") : 0;
		if (len < 2 || len >= sizeof(setup->top_texts[0]))
			return fail(BAD_VALUE, "the manifest names %s", path);
		bool known = false;
		for (size_t t = 0; t < setup->top_count && !known; t++)
			known = strlen(setup->tops[t]) == len && strncmp(setup->tops[t], path, len) == 0;
		if (known)
			continue;
		if (setup->top_count == MAX_TOPS)
			return fail(TOO_LARGE, "more than %d folders directly below the root", MAX_TOPS);
		char *text = setup->top_texts[setup->top_count];
		memcpy(text, path, len);
		text[len] = '\0';
		setup->tops[setup->top_count++] = text;
	}
	return OK;
}

static void setup_free(struct setup **setup)
{
	if (!*setup)
		return;
	image_free(&(*setup)->image);
	seccomp_filter_free(&(*setup)->program_filter);
	seccomp_filter_free(&(*setup)->reaper_filter);
	relocation_free(&(*setup)->relocation);
	free(*setup);
}

static result check_spec(const struct sandbox_spec *spec)
{
	bool runs_program = spec->program && spec->argv && spec->argv[0] && spec->env;
	if (runs_program == (spec->probe != NULL))
		return fail(BAD_VALUE, "a sandbox runs either a program with arguments and environment or a probe");
	if (isolate_is_root() && spec->uid == 0)
		return fail(BAD_VALUE, "an enclave started by root needs a uid of its own");
	return OK;
}

/* Root copies before it gives itself up, so that the files of the image belong to nobody inside. */
static result isolate_with_image(struct setup *setup)
{
	const struct sandbox_spec *spec = setup->spec;
	bool root = isolate_is_root();
	if (root)
		TRY(image_build(spec->files, spec->sources, spec->file_count, &setup->image));
	TRY(isolate_drop_uid(spec->uid));
	TRY(isolate_enter_namespaces());
	if (!root)
		TRY(image_build(spec->files, spec->sources, spec->file_count, &setup->image));
	return OK;
}

/* Threads of this uid: RLIMIT_NPROC counts them all where there is no user namespace to count apart. */
static uint32_t count_tasks(void)
{
	uint32_t count = SLACK_TASKS;
	DIR *processes = opendir("/proc");
	for (const struct dirent *entry; processes && (entry = readdir(processes));) {
		char path[300];
		struct stat status;
		snprintf(path, sizeof(path), "/proc/%s/task", entry->d_name);
		/* A folder has two links, and one more for each folder in it. */
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && stat(path, &status) == 0)
			count += status.st_nlink > 2 ? (uint32_t)status.st_nlink - 2 : 1;
	}
	if (processes)
		closedir(processes);
	return count;
}

/* Tier L: a copy that only this uid may enter. */
static result isolate_with_copy(struct setup *setup)
{
	const struct sandbox_spec *spec = setup->spec;
	if (setup->landlock_abi == 0)
		return fail(NO_NAMESPACES, "tier L needs Landlock, which this kernel does not have or does not allow (lsm= of its command line)");
	TRY(image_copy(spec->folder, isolate_is_root() ? spec->uid : 0, spec->files, spec->sources, spec->file_count));
	const struct relocation_spec relocation = {
		.folder = spec->folder,
		.files = spec->files,
		.file_count = spec->file_count,
		.program = spec->program,
		.argv = spec->argv,
		.env = spec->env,
	};
	TRY(relocation_make(&relocation, &setup->relocation));
	TRY(isolate_drop_bounds());
	TRY(isolate_drop_uid(spec->uid));
	setup->other_tasks = spec->uid ? 0 : count_tasks();
	return isolate_no_dumps();
}

static result fork_reaper(struct setup *setup, struct sandbox *sandbox)
{
	struct fd pair[2] = {FD_NONE, FD_NONE};
	TRY(sock_pair(pair));
	pid_t child = fork();
	if (child == 0) {
		setup->control = pair[1].n;
		fd_close(&pair[0]); /* the caller's end: its death must be seen as the end of the stream */
		reaper_main(setup);
	}
	int error = errno;
	fd_close(&pair[1]);
	sandbox->control = fd_move(&pair[0]);
	if (child < 0)
		return step_failed("process 1", error);
	sandbox->reaper = child;
	sandbox->pidfd = fd_of(pidfd_open(child, 0));
	return sandbox->pidfd.n < 0 ? fail_errno("a descriptor of process 1") : OK;
}

result sandbox_prepare(const struct sandbox_spec *spec, struct sandbox *out)
{
	TRY(check_spec(spec));
	CLEANUP(setup_free) struct setup *setup = calloc(1, sizeof(*setup));
	if (!setup)
		return fail(NO_MEMORY, "sandbox");
	setup->spec = spec;
	setup->image = IMAGE_NONE;
	setup->scratch = setup->signals = FD_NONE;
	setup->landlock_abi = landlock_abi();
	setup->without_namespaces = spec->folder != NULL;
	TRY(collect_tops(setup));
	TRY(seccomp_filter_new(SECCOMP_PROGRAM, spec->permissions, &setup->program_filter));
	TRY(seccomp_filter_new(SECCOMP_REAPER, 0, &setup->reaper_filter));
	CLEANUP(sandbox_free) struct sandbox sandbox = SANDBOX_NONE;
	sandbox.own_uid = isolate_is_root();
	sandbox.landlock_abi = setup->landlock_abi;
	sandbox.instrumented = seccomp_instrumented();
	sandbox.without_namespaces = setup->without_namespaces;
	TRY(setup->without_namespaces ? isolate_with_copy(setup) : isolate_with_image(setup));
	/* Process 1 changes the root of everybody in this mount namespace whose folder is the old root: ours too. */
	if (chdir("/") != 0)
		return fail_errno("leaving the working folder");
	TRY(fork_reaper(setup, &sandbox));
	sandbox.state = STATE_PREPARED;
	CLEANUP(sock_message_free) struct sock_message ready = SOCK_MESSAGE_EMPTY;
	result started = expect(sandbox.control.n, READY, SETUP_TIMEOUT, &ready);
	if (started != OK)
		return fail_within(started, "confinement");
	TRY(isolate_drop_capabilities());
	if (setup->without_namespaces) {
		errno = landlock_restrict_copy(setup->landlock_abi, NULL);
		if (errno)
			return fail_errno("Landlock of the runtime itself");
	}
	*out = sandbox;
	sandbox = SANDBOX_NONE;
	return OK;
}

result sandbox_start(struct sandbox *sandbox, const struct sandbox_fd *fds, size_t count_)
{
	TRY(check_move(sandbox, STATE_STARTED));
	if (count_ > SANDBOX_MAX_FDS)
		return fail(TOO_LARGE, "a program gets at most %d descriptors", SANDBOX_MAX_FDS);
	uint8_t buffer[1 + SANDBOX_MAX_FDS];
	int from[SANDBOX_MAX_FDS];
	bool taken[TARGETS] = {false};
	struct writer w = writer_fixed(buffer, sizeof(buffer));
	writer_u8(&w, START);
	for (size_t i = 0; i < count_; i++) {
		if (fds[i].to < 0 || fds[i].to >= TARGETS || taken[fds[i].to])
			return fail(BAD_VALUE, "descriptor %d of the program", fds[i].to);
		taken[fds[i].to] = true;
		writer_u8(&w, (uint8_t)fds[i].to);
		from[i] = fds[i].from;
	}
	struct span message;
	TRY(writer_finish(&w, &message));
	CLEANUP(sock_message_free) struct sock_message reply = SOCK_MESSAGE_EMPTY;
	result started = sock_send(sandbox->control.n, message, from, count_, SETUP_TIMEOUT);
	if (started == OK)
		started = expect(sandbox->control.n, STARTED, SETUP_TIMEOUT, &reply);
	sandbox->state = started == OK ? STATE_STARTED : STATE_DEAD;
	return started;
}

static result parse_end(struct span message, struct sandbox_end *out)
{
	struct reader r = reader_of(message);
	struct sandbox_end end = {0};
	uint8_t kind, exited;
	uint32_t code;
	TRY(reader_u8(&r, &kind));
	TRY(reader_u8(&r, &exited));
	TRY(reader_u32(&r, &code));
	TRY(reader_u64(&r, &end.cpu_ms));
	TRY(reader_u64(&r, &end.max_rss));
	TRY(reader_finish(&r));
	end.exited = exited != 0;
	end.code = (int)(code & 0xff);
	*out = end;
	return OK;
}

result sandbox_read_end(struct sandbox *sandbox, struct sandbox_end *out)
{
	TRY(check_move(sandbox, STATE_ENDED));
	CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
	result received = expect(sandbox->control.n, END, -1, &message);
	if (received == OK)
		received = parse_end(bytes_span(&message.data), out);
	sandbox->state = received == OK ? STATE_ENDED : STATE_DEAD;
	return received == OK ? OK : fail_within(received, "process 1 of the enclave ended");
}

result sandbox_create_input(struct sandbox *sandbox, const char *name, struct fd *out)
{
	if (sandbox->state != STATE_PREPARED)
		return fail(ILLEGAL_STATE, "inputs are made before the program's start");
	uint8_t buffer[8 + NAME_MAX_LEN];
	struct writer w = writer_fixed(buffer, sizeof(buffer));
	writer_u8(&w, CREATE);
	writer_lv(&w, name ? span_str(name) : SPAN_EMPTY);
	struct span message;
	TRY(writer_finish(&w, &message));
	CLEANUP(sock_message_free) struct sock_message reply = SOCK_MESSAGE_EMPTY;
	TRY(sock_send(sandbox->control.n, message, NULL, 0, SETUP_TIMEOUT));
	TRY(expect(sandbox->control.n, FILE_FOLLOWS, SETUP_TIMEOUT, &reply));
	if (reply.fd_count != 1)
		return fail(INTERNAL, "process 1 sent no file");
	*out = fd_move(&reply.fds[0]);
	return OK;
}

result sandbox_open_output(struct sandbox *sandbox, const char *path, struct fd *out)
{
	if (sandbox->state != STATE_ENDED)
		return fail(ILLEGAL_STATE, "outputs are read after the program's end");
	if (strncmp(path, "/tmp/", 5) == 0)
		path += 5;
	size_t len = strlen(path);
	uint8_t buffer[PATH_SIZE + 8];
	struct writer w = writer_fixed(buffer, sizeof(buffer));
	writer_u8(&w, FETCH);
	writer_lv(&w, span_of(path, len));
	struct span message;
	if (len == 0 || path[0] == '/' || len >= PATH_SIZE)
		return fail(BAD_VALUE, "'%s' as the path of an output", path);
	TRY(writer_finish(&w, &message));
	CLEANUP(sock_message_free) struct sock_message reply = SOCK_MESSAGE_EMPTY;
	TRY(sock_send(sandbox->control.n, message, NULL, 0, SETUP_TIMEOUT));
	TRY(expect(sandbox->control.n, FILE_FOLLOWS, SETUP_TIMEOUT, &reply));
	if (reply.fd_count != 1)
		return fail(INTERNAL, "process 1 sent no file");
	*out = fd_move(&reply.fds[0]);
	return OK;
}

void sandbox_kill(const struct sandbox *sandbox)
{
	if (sandbox->pidfd.n >= 0)
		(void)pidfd_send_signal(sandbox->pidfd.n, sandbox->without_namespaces ? SIGTERM : SIGKILL, NULL, 0);
}

void sandbox_free(struct sandbox *sandbox)
{
	if (!sandbox)
		return;
	sandbox_kill(sandbox);
	fd_close(&sandbox->pidfd);
	fd_close(&sandbox->control);
	while (sandbox->reaper > 0 && waitpid(sandbox->reaper, NULL, 0) < 0 && errno == EINTR)
		;
	*sandbox = SANDBOX_NONE;
}
