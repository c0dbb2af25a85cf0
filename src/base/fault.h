/*
 * Fault injection for tests. Every persistent step asks fault_hit("module.step") first; when a test armed that
 * point and its countdown is over, the step fails with the errno that the test chose. Costs one load of a
 * flag when nothing is armed. Only code in the same process can arm a point: no environment variable and no
 * option does, so a release build cannot be steered from outside.
 *
 *     if (fault_hit("file.fsync") || fsync(fd) < 0)
 *             return fail_errno("...");
 */
#ifndef TROTH_BASE_FAULT_H
#define TROTH_BASE_FAULT_H

#include "base/compat.h"

extern bool fault_any_armed;

bool fault_hit_slow(const char *point);

/* True when the step must fail; errno is then set. */
static inline bool fault_hit(const char *point)
{
	return __builtin_expect(__atomic_load_n(&fault_any_armed, __ATOMIC_RELAXED), false) && fault_hit_slow(point);
}

enum { FAULT_KILL = -1 };

/*
 * The `countdown`-th hit of `point` from now (1: the next one) and every later one while `persistent` fails
 * with `error` (an errno), or ends the process with SIGKILL when it is FAULT_KILL. `point` is borrowed until
 * fault_disarm; NULL stands for every point, which makes a sweep over all steps of an operation.
 */
void fault_arm(const char *point, unsigned countdown, int error, bool persistent);

/* Disarms everything; returns how often a step was made to fail since fault_arm. */
unsigned fault_disarm(void);

#endif
