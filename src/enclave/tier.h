/*
 * Which confinement this machine reaches, found by provoking denials: a child is confined as a program would be and then
 * tries what a hostile program would. Reading configuration proves nothing; being refused does.
 */
#ifndef TROTH_ENCLAVE_TIER_H
#define TROTH_ENCLAVE_TIER_H

#include "base/result.h"
#include "enclave/limits.h"

/* One thing a program must be refused. */
struct tier_denial {
	const char *name;     /* "open /etc/passwd" */
	const char *mechanism; /* what refuses it: "mount namespace", "seccomp", ... */
	bool refused;
	int error; /* errno it got, for people */
};

enum { TIER_MAX_DENIALS = 48, TIER_MISSING_SIZE = 512 };

struct tier_report {
	const char *tier;	   /* "N", "L", or "none" */
	const char *isolation;	   /* "uid", "weak"; "none" without a tier */
	const char *limits;	   /* "cgroup2", "cgroup1", "rlimit" */
	const char *secret_memory; /* "memfd_secret", "locked", "plain" */
	int landlock_abi;
	bool instrumented;
	char missing[TIER_MISSING_SIZE]; /* tier none: what is missing, a sentence; else empty or what would raise it */
	struct tier_denial denials[TIER_MAX_DENIALS];
	size_t denial_count;
};

/* `uid`: as in sandbox_spec. Tries tier N, or L `without_namespaces` (in a folder below TMPDIR or /tmp). Takes a few milliseconds; forks; leaves nothing behind. Fails only when it cannot even try. */
NODISCARD result tier_detect(uid_t uid, bool without_namespaces, struct tier_report *out);

#endif
