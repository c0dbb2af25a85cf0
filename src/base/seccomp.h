/*
 * System-call filters. Each profile is an allow-list: what is not listed fails with ENOSYS, as on a kernel that has
 * no such call, so that ordinary programs fall back; a few calls fail with a more fitting errno. Calls of another ABI
 * (i386, x32) kill the process. The lists stand in base/seccomp.def, with the reason beside each call.
 *
 * A filter is made in advance (seccomp_filter_new allocates and may fail) and installed later with one system call,
 * which needs nothing but that PR_SET_NO_NEW_PRIVS is set. A build with sanitizers or coverage adds the instrumentation
 * list and says so: such a build is never endorsed above Level-0.
 */
#ifndef TROTH_BASE_SECCOMP_H
#define TROTH_BASE_SECCOMP_H

#include "base/result.h"

#include <sys/types.h>

enum seccomp_profile {
	SECCOMP_PROGRAM,  /* the program inside an IRE */
	SECCOMP_REAPER,	  /* process 1 of an IRE: waits for the program and hands out its output files */
	SECCOMP_IRE,	  /* troth-ire after set-up: no open, no socket, no exec, no new process */
	SECCOMP_AP,	  /* troth-ap after start: the queue, its state file and the clock */
	SECCOMP_PROFILES, /* how many there are */
};

/*
 * Named exceptions that a manifest may ask for; part of the measurement and of the launch report.
 *   jit	memory that is writable and executable, or made executable after it was written
 *   sysvipc	System V shared memory, semaphores and queues, within the IRE
 */
enum seccomp_permission {
	SECCOMP_JIT = 1 << 0,
	SECCOMP_SYSVIPC = 1 << 1,
	SECCOMP_FABRIC = 1 << 2, /* a descriptor, no calls */
	SECCOMP_ALONE = 1 << 3, /* has no name: tier L */
};

/* The bit of one name. UNKNOWN_PERMISSION. */
NODISCARD result seccomp_permission_find(const char *name, unsigned *out);

struct sock_filter;
struct seccomp_filter {
	struct sock_filter *code; /* NULL: none */
	unsigned short len;
};

#define SECCOMP_FILTER_NONE ((struct seccomp_filter){NULL, 0})

/* `permissions`: bits of seccomp_permission; only SECCOMP_PROGRAM takes any. NO_MEMORY, NOT_SUPPORTED. */
NODISCARD result seccomp_filter_new(enum seccomp_profile profile, unsigned permissions, struct seccomp_filter *out);
void seccomp_filter_free(struct seccomp_filter *filter);

/*
 * SECCOMP_PROGRAM for a program in no namespaces of its own (tier L): reaches no file by name to change its attributes, and
 * signals nobody but the threads of process `pid`. Made by that process between fork and exec. NOT_SUPPORTED with sysvipc.
 */
NODISCARD result seccomp_program_filter_alone(unsigned permissions, pid_t pid, struct seccomp_filter *out);

/*
 * For a process that runs a library which is not ours, whose calls nobody can list beforehand: what no such library needs
 * is denied, all else allowed. Weaker than a profile, which it does not replace, and not measured. `network`: sockets of
 * the Internet families too, not only Unix ones.
 */
NODISCARD result seccomp_foreign_filter_new(bool network, struct seccomp_filter *out);

/*
 * Applies to every thread of the process, for good. Safe between fork and exec: 0 or an errno.
 * seccomp_install is the same with a typed reason (NOT_SUPPORTED where the kernel has no seccomp filters).
 */
int seccomp_install_raw(const struct seccomp_filter *filter);
NODISCARD result seccomp_install(const struct seccomp_filter *filter);

/*
 * SHA-256 over the canonical text of a profile's list (instrumentation list included when this build has it), one line
 * per rule. It depends on Troth's version and build mode alone, not on the machine, so that an auditor can compute it:
 * the security settings measured in register 1 carry these. Written by seccomp_list_text; the caller hashes.
 */
struct writer;
void seccomp_list_text(enum seccomp_profile profile, struct writer *out);

const char *seccomp_profile_name(enum seccomp_profile profile);

/* This build has sanitizers or coverage in it and therefore wider lists. */
bool seccomp_instrumented(void);

#endif
