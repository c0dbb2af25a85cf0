/*
 * The client's side of the host service: finds the host of a state folder, or starts a private one (the trothd beside this
 * program, never through PATH), and asks it things. A private host leaves with its last client.
 */
#ifndef TROTH_JOB_CLIENT_H
#define TROTH_JOB_CLIENT_H

#include "base/process.h"
#include "job/service.h"

struct client_options {
	const char *state_dir; /* absolute */
	bool create; /* the folder may be missing or without a root (`troth host init`) */
	const char *wrap; /* kind of wrap key, or NULL */
	const char *tpm, *tpm_pcrs; /* where the TPM is and what a new key is sealed to, or NULL */
	int passphrase_fd; /* borrowed; -1: none */
	const char *accept; /* digest of a troth-ap to accept, hex, or NULL: only a host started here can */
	const char *authorise; /* file of a signed reference set, for programs that have changed, or NULL: as accept */
	const char *first_uid; /* decimal, or NULL */
	const char *confinement; /* "N", "L", or NULL: as the folder was used last */
	bool tpm_head; /* let the TPM hold the head of the history from now on */
	bool recovery; /* start it also where its root cannot go on (`troth root recover`, `troth host restore`) */
	bool running_only; /* HOST_NOT_RUNNING instead of starting one */
};

struct client {
	struct fd fd;
	struct process host; /* the private host, when it was started here */
};
#define CLIENT_NONE ((struct client){.fd = {-1}, .host = {.pid = 0, .pidfd = {-1}}})

/* NO_ROOT, STATE_BUSY after ten seconds, HOST_NOT_RUNNING, and whatever kept the host from starting. */
NODISCARD result client_connect(const struct client_options *options, struct client *out);

/* Says goodbye and, when the private host leaves with us, waits until it has. */
void client_close(struct client *client);

/* On the way to a reply; members may be NULL. */
struct client_listener {
	void *ctx;
	void (*progress)(void *ctx, const struct service_progress *progress);
	void (*log)(void *ctx, const struct service_log *log);
};

/*
 * One request and its reply, which must be of type `expected`; decoded into `reply` with memory from `arena`. An ERROR
 * becomes its reason, with its text as context; `out_error` (may be NULL) has the rest of it.
 */
struct client_call {
	enum service_type type;
	const void *body;
	const int *fds;
	size_t fd_count;
	enum service_type expected;
	const struct client_listener *listener;
	int timeout_ms; /* between two messages; -1: for ever */
};
NODISCARD result client_call(
	struct client *client, const struct client_call *call, struct arena *arena, void *reply, struct service_error *out_error);

#endif
