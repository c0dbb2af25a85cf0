/*
 * Looks whether a debugger is attached to a process of Troth: this one, the secure processor, a runtime (TracerPid in
 * /proc/<pid>/status). Hygiene against whoever attaches and stays, no defence against who owns the machine.
 */
#ifndef TROTH_JOB_TRACER_H
#define TROTH_JOB_TRACER_H

#include "base/result.h"

#include <sys/types.h>

enum { TRACED_MAX = 32, TRACED_DEPTH = 2 };

struct traced {
	pid_t pid, tracer;
	char name[17];
};

/* Of this process and its descendants that are Troth's own, at most TRACED_MAX; the number found. */
size_t tracer_look(struct traced out[static TRACED_MAX]);

#endif
