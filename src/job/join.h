/*
 * `troth join`: takes part in a job that another host coordinates (docs/HOSTS.md). Waits until that host offers a run of this very
 * job, runs the enclaves that the job places here, and publishes what they leave together with the receipt, once that convinces
 * this host too. Nothing is launched before the offer, and nothing without this call.
 */
#ifndef TROTH_JOB_JOIN_H
#define TROTH_JOB_JOIN_H

#include "job/flow.h"

/* A schema of service.c describes this structure. */
struct join_request {
	struct flow_request run; /* nonce does not count: the coordinator's does */
	const char *coordinator; /* name of an enrolled host; "": any of them */
};

/* As flow_run; the listener hears state "joined" of the job while nobody has offered a run. NO_LISTENER, HOST_NOT_IN_JOB, PEER_UNKNOWN. */
NODISCARD result join_run(const struct flow_host *host, const struct join_request *request, const int *fds, size_t fd_count,
	const struct flow_listener *listener, struct arena *arena, struct flow_outcome *out, struct flow_failure *out_failure);

#endif
