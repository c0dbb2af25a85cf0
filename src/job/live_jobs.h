/*
 * Jobs whose enclaves stay on this host until they are stopped (`troth ire run|list|stop`): each has a thread of its own that
 * drives its launches (flow_stay). They survive the client that asked for them, not the host.
 *
 * Thread-safe. live_jobs_free stops all and waits for them; before that nobody else may ask any more.
 */
#ifndef TROTH_JOB_LIVE_JOBS_H
#define TROTH_JOB_LIVE_JOBS_H

#include "job/service.h"

struct live_jobs;

/* `host` is copied; what it points to outlives this. */
NODISCARD result live_jobs_new(const struct flow_host *host, struct live_jobs **out);
void live_jobs_free(struct live_jobs *jobs); /* accepts NULL */

/*
 * Launches and returns once all programs run. `request` is the encoding of a service_ire_run. IRE_STAYS_ALREADY, the reasons
 * of flow_stay.
 */
NODISCARD result live_jobs_start(struct live_jobs *jobs, struct span request, struct arena *arena, struct service_ire_up *out,
	struct flow_failure *out_failure);

/* Every live enclave of the host, also those of runs. */
NODISCARD result live_jobs_list(struct live_jobs *jobs, struct arena *arena, struct service_ires *out);

/* Stops the job of this name, or that of an enclave of this name; NULL: all. Waits until they are gone. IRE_NOT_STAYING. */
NODISCARD result live_jobs_stop(struct live_jobs *jobs, const char *name, uint64_t *out_count);

#endif
