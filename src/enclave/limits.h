/*
 * Limits of an IRE's processes: cgroup v2 where we may make a group, else cgroup v1, else rlimits alone. Ordinary users
 * seldom have a cgroup of their own; the launch report says which kind it was.
 *
 * The group is made and removed by the host, which outlives the IRE and stays privileged; the IRE's process 1 enters it
 * through the descriptors in `procs` before it starts anything. rlimits are set in addition, in every case.
 */
#ifndef TROTH_ENCLAVE_LIMITS_H
#define TROTH_ENCLAVE_LIMITS_H

#include "base/file.h"
#include "base/result.h"
#include "object/manifest.h"

enum limits_kind { LIMITS_RLIMIT, LIMITS_CGROUP1, LIMITS_CGROUP2 };
enum { LIMITS_MAX_GROUPS = 2 }; /* v1: memory and pids have a tree each; v2: one */

struct limits_group {
	enum limits_kind kind;
	bool memory, processes;		      /* what the group bounds; rlimits bound the rest */
	size_t count;			      /* groups in use */
	struct fd procs[LIMITS_MAX_GROUPS];   /* cgroup.procs, open for writing, close-on-exec */
	struct fd held[LIMITS_MAX_GROUPS];    /* the folders, locked: they say that the group has a living owner */
	char *paths[LIMITS_MAX_GROUPS];
};

const char *limits_kind_name(enum limits_kind kind); /* "rlimit", "cgroup1", "cgroup2": as in the launch report */

/*
 * Makes a group troth-<our pid>-held-<name> with the limits; `name` is a launch id, unique wherever the cgroup tree reaches.
 * Where no cgroup can be made the result is OK with kind LIMITS_RLIMIT. Free with limits_group_remove.
 */
NODISCARD result limits_group_new(const char *name, const struct manifest_limits *limits, struct limits_group *out);

/* Kills what is left in the group, waits for its end (bounded) and removes it. BUSY when something would not die. */
NODISCARD result limits_group_remove(struct limits_group *group);

/*
 * Removes the groups that nobody holds, of hosts that were killed before they could, also of hosts whose pid namespace is
 * gone. For the start of a host.
 */
void limits_sweep(void);

/* Processes of the group killed because it ran out of memory, and forks refused; 0 with rlimits. */
void limits_group_events(const struct limits_group *group, uint64_t *out_oom_kills, uint64_t *out_forks_refused);

/*
 * Sets the rlimits of the calling process, for between fork and exec: 0 or an errno. Processor time counts for each
 * process by itself; together with the number of processes and the wall clock that bounds the whole.
 */
int limits_set_rlimits(const struct manifest_limits *limits, bool group_bounds_memory);

#endif
