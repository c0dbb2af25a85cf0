/*
 * `trothd host`: owns a state folder, its secure processor and everything that runs on it, and serves the socket in the
 * folder (service.h). Each client has a thread of its own, so a slow, stuck or dead one holds nobody up; a run is given up
 * when its client goes away.
 */
#ifndef TROTH_JOB_SERVER_H
#define TROTH_JOB_SERVER_H

#include "job/flow.h"
#include "root/schedule.h"
#include "root/wrap.h"

struct server_config {
	const char *state_dir; /* absolute */
	bool create; /* make the folder, and allow one without a root: for `troth host init` */
	bool private_host; /* leave with the last client */
	struct wrap_source wrap;
	enum host_queue queue; /* as in root_host_config */
	const uint8_t *accept_digest; /* as in root_host_config */
	struct span authorise; /* as in root_host_config */
	bool recovery; /* start also where a root cannot go on, for `troth root recover` */
	struct schedule_config schedule; /* of rotations */
	uint32_t revocation_lease_ms; /* 0: the default */
	uid_t first_uid; /* of UID_POOL_SIZE, as root */
	const char *listen; /* HOST:PORT for other hosts; NULL: none are let in */
	bool no_standing;   /* links to other hosts for runs alone */
	const char *confinement; /* "N", "L", or NULL: as the folder was started last, at first N */
	bool tpm_head; /* keep the head of the history in the TPM, from now on */
	int ready_fd; /* is told DONE or ERROR (service.h) once; -1: nobody waits */
};

/* Serves until SIGTERM, SIGINT, a SHUTDOWN or the end of the secure processor (AP_STOPPED). Call from main, single-threaded. */
NODISCARD result server_run(const struct server_config *config);

#endif
