/*
 * Child processes. A child gets exactly the descriptors, arguments and environment that the spec lists, default
 * signal handling, and its own process group. It is known by a pidfd, so a signal never hits a stranger.
 *
 * A struct process owns the child: process_free kills its group and reaps it if nobody waited.
 */
#ifndef TROTH_BASE_PROCESS_H
#define TROTH_BASE_PROCESS_H

#include "base/file.h"
#include "base/result.h"

#include <sys/types.h>

enum { PROCESS_MAX_FDS = 64 };

struct process_fd {
	int from; /* here; borrowed */
	int to; /* in the child, 0..1023; each number once */
};

struct process_spec {
	const char *path; /* absolute, or NULL: execute `exec_fd` (not possible for a script) */
	int exec_fd; /* counts only when path is NULL; borrowed */
	const char *const *argv; /* NULL-terminated; argv[0] included */
	const char *const *env; /* NULL-terminated; NULL: empty */
	const struct process_fd *fds;
	size_t fd_count;
	const char *directory; /* working folder of the child; NULL: "/" */
	bool die_with_parent; /* SIGKILL when the thread that started it ends (PR_SET_PDEATHSIG) */
	/*
	 * Runs in the child after the descriptors are set and before exec; returns 0 or an errno. Only
	 * async-signal-safe calls: the parent may have threads. May be NULL.
	 */
	int (*in_child)(void *arg);
	void *in_child_arg;
};

struct process {
	pid_t pid; /* 0: none or already reaped */
	struct fd pidfd; /* readable when the child has ended */
};

#define PROCESS_NONE ((struct process){.pid = 0, .pidfd = {-1}})

struct process_end {
	bool exited; /* else ended by a signal */
	int code; /* exit code, or the signal */
	bool killed; /* process_stop had to use SIGKILL */
};

/* Returns after the child's exec succeeded; a failed exec is reported here with its errno's reason. */
NODISCARD result process_start(const struct process_spec *spec, struct process *out);

static inline struct process process_move(struct process *from)
{
	struct process taken = *from;
	*from = PROCESS_NONE;
	return taken;
}

/* Waits at most timeout_ms (-1: for ever) and reaps. TIMED_OUT leaves it running. */
NODISCARD result process_wait(struct process *process, int timeout_ms, struct process_end *out);

/* Signals the child alone, or its whole group. OK when it has ended already. */
NODISCARD result process_signal(const struct process *process, int signal);
NODISCARD result process_signal_group(const struct process *process, int signal);

/* SIGTERM to the group, SIGKILL after grace_ms, then reaps. */
NODISCARD result process_stop(struct process *process, int grace_ms, struct process_end *out);

void process_free(struct process *process); /* accepts NULL and PROCESS_NONE; SIGKILLs the group and reaps */

/* "exit code 3" or "signal 9 (Killed)". */
enum { PROCESS_END_TEXT_SIZE = 64 };
void process_end_text(const struct process_end *end, char out[static PROCESS_END_TEXT_SIZE]);

#endif
