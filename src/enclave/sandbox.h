/*
 * One program, confined. Tier N: in its own user, pid, net, mount, ipc, uts (and cgroup) namespaces, in a root made of exactly its
 * image, without network, capabilities or way to gain any, under Landlock, seccomp and limits.
 *
 *	caller (troth-ire)		 process 1 (ours)		 the program
 *	sandbox_prepare  ------------>	 mounts, waits
 *	   ... report, keys, endorsement, channels; install SECCOMP_IRE ...
 *	sandbox_start	 ---fds------>	 forks ---------------------->	 confines itself, exec
 *	poll(sandbox_fd)
 *	sandbox_read_end <------------	 ends everything, reports
 *	sandbox_open_output <--fd-----	 opens below /tmp only
 *	sandbox_free	 ------------>	 ends
 *
 * sandbox_prepare changes the calling process for good: it must be single-threaded and dedicated to this sandbox. On
 * return it has no capability, no_new_privs, is undumpable, and the image is its root, so that it cannot reach the host's
 * files either. Afterwards the caller needs only read, write, sendmsg, recvmsg, poll, waitid and kill here.
 *
 * Tier L (`folder`), where namespaces are refused: the image is a copy in a folder of the host; Landlock keeps the program
 * to it, the call filter from everything that Landlock does not cover (seccomp.def, tier L), rlimits and the group bound it.
 * Process 1 is then an ordinary process of the same uid that the program cannot signal; it adopts what the program leaves
 * behind and ends it. docs/THREATS.md says what that cannot stop. What follows is of tier N.
 *
 * Process 1 is part of Troth: it belongs to the same uid but cannot be signalled (it is process 1), traced or read
 * (undumpable) by the program, and holds no secrets: it is forked before there are any. When the caller ends for whatever
 * reason, process 1 ends, and the kernel ends everything in the namespace with it.
 */
#ifndef TROTH_ENCLAVE_SANDBOX_H
#define TROTH_ENCLAVE_SANDBOX_H

#include "base/file.h"
#include "base/result.h"
#include "enclave/image.h"
#include "enclave/limits.h"
#include "object/manifest.h"

#include <sys/types.h>

enum { SANDBOX_MAX_FDS = 16 };

struct sandbox_spec {
	const struct manifest_file *files; /* sorted by path */
	const char *const *sources;	   /* as in image_build */
	size_t file_count;

	const char *program;	 /* absolute path inside the root */
	const char *const *argv; /* NULL-terminated */
	const char *const *env;	 /* NULL-terminated; nothing else reaches the program */
	struct manifest_limits limits;
	const struct limits_group *group; /* may be NULL: rlimits alone; borrowed during sandbox_prepare */
	unsigned permissions;		  /* seccomp_permission bits */

	uid_t uid; /* as root: the uid of this IRE, not 0; else 0: our own */
	const char *folder; /* tier L: absolute path of an empty folder that only we may enter; NULL: tier N */

	/*
	 * Instead of a program: a function that runs confined as the program would; what it returns is the exit code.
	 * For finding out what the machine can do, and for tests. `program` is then NULL.
	 */
	int (*probe)(void *arg);
	void *probe_arg;
};

struct sandbox_fd {
	int from; /* here; borrowed */
	int to;	  /* in the program, 0..63; each number once. Missing ones of 0..2 become /dev/null */
};

/* How the program ended. */
struct sandbox_end {
	bool exited;	/* else by a signal */
	int code;	/* exit code, or the signal */
	uint64_t cpu_ms; /* processor time of it and its children */
	uint64_t max_rss; /* bytes; largest of its processes */
};

struct sandbox {
	struct fd control; /* to process 1 */
	pid_t reaper;	   /* process 1 as we see it; 0: none */
	struct fd pidfd;   /* its; the one process that the caller's call filter lets it signal */
	uint8_t state;	   /* sandbox.c has the table of moves */
	int landlock_abi;  /* 0: the kernel has none */
	bool own_uid;	   /* isolation=uid, else weak */
	bool without_namespaces; /* tier L */
	bool instrumented;
};

#define SANDBOX_NONE ((struct sandbox){.control = {-1}, .pidfd = {-1}})

/*
 * NO_NAMESPACES (with what is missing; in tier L: Landlock), MEASUREMENT_MISMATCH, what image_build says, SANDBOX_FAILED with the step.
 * After a failure the process is in an undefined mixture of both worlds: report and exit.
 */
NODISCARD result sandbox_prepare(const struct sandbox_spec *spec, struct sandbox *out);

/*
 * Before the start: a new file for what the program finds as /tmp/in/<name>, open for writing. `name` NULL: a file without
 * a name, open for reading and writing, that the program never sees. Both count against the scratch limit.
 */
NODISCARD result sandbox_create_input(struct sandbox *sandbox, const char *name, struct fd *out);

/*
 * Starts the program with exactly these descriptors; returns after its exec succeeded, or with PROGRAM_FAILED_TO_START.
 * Once per sandbox.
 */
NODISCARD result sandbox_start(struct sandbox *sandbox, const struct sandbox_fd *fds, size_t count);

/* Readable when the program has ended (or process 1 has died). */
static inline int sandbox_fd(const struct sandbox *sandbox)
{
	return sandbox->control.n;
}

/*
 * Blocks until the program has ended and nothing of it is left running. PEER_CLOSED when process 1 was killed, for
 * instance because memory ran out or sandbox_kill was called.
 */
NODISCARD result sandbox_read_end(struct sandbox *sandbox, struct sandbox_end *out);

/*
 * After the end: a file the program left, for reading. `path` is relative to /tmp or begins with "/tmp/". NOT_FOUND; BAD_TYPE
 * when it is not a regular file or a link is on the path.
 */
NODISCARD result sandbox_open_output(struct sandbox *sandbox, const char *path, struct fd *out);

/* Kills everything inside now (timeouts). sandbox_read_end then says PEER_CLOSED. Async-signal-safe. */
void sandbox_kill(const struct sandbox *sandbox);

/* Kills what is left and reaps process 1; its mounts and namespaces vanish with it. Accepts NULL and SANDBOX_NONE. */
void sandbox_free(struct sandbox *sandbox);

#endif
