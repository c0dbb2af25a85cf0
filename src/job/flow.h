/*
 * The main job of Troth, top to bottom: plan, authorise, launch and endorse each stage, connect, run, collect, sign,
 * record, verify, publish (docs/JOB.md). flow.c is meant to be read as the description of what `troth run` does.
 *
 * One call is one run. It blocks until the run has ended, in the thread that calls it; several threads may run jobs on one
 * host at once. Whatever fails, nothing is left running and the output folder is untouched; STAGE_FAILED names the stage.
 */
#ifndef TROTH_JOB_FLOW_H
#define TROTH_JOB_FLOW_H

#include "job/live.h"
#include "job/policies.h"
#include "job/recorder.h"
#include "job/uid_pool.h"
#include "root/head_log.h"
#include "root/host.h"

enum { FLOW_LOG_TAIL = 2048, FLOW_TEXT_MAX = 1024 };

struct listener;

/* What a host lends to its runs. */
struct flow_host {
	struct root_host *root;
	struct recorder *recorder;
	struct uid_pool *uids;
	const char *scratch; /* folder for runs that name no output folder */
	struct live *live; /* where its enclaves are listed */
	struct policies *policies;
	struct listener *listener; /* other hosts */
	struct head_log *heads; /* of what is signed here; NULL: the TPM holds none */
	const char *copies; /* tier L: where copies of images lie; NULL: tier N */
	const char *issuers; /* folder of what authorities say of epochs (job/issuer.h) */
};

/* A file for an input's role. */
struct flow_file {
	const char *role;
	const char *path; /* absolute; "" when it comes as a descriptor */
	uint8_t fd; /* index into the descriptors of the request */
	bool has_fd;
};

/* What to run. A schema of service.c describes this structure: it travels from `troth` to `trothd host` as it is. */
struct flow_request {
	const char *job; /* absolute path of a job file; "": the command below */
	struct text_item *argv;
	size_t argc;
	struct text_item *files; /* of the command */
	size_t file_count;
	const char *folder; /* for the command's relative paths */
	struct flow_file *inputs;
	size_t input_count;
	struct flow_file *sealed;
	size_t sealed_count;
	const char *out; /* absolute path of the output folder; "": one of the host's own, told in the outcome */
	bool replace;
	uint8_t nonce[32]; /* of somebody who will verify: makes the run younger than the nonce */
	bool has_nonce;
};

struct flow_stage_use {
	const char *name;
	uint64_t bytes_in, bytes_out, cpu_ms, max_rss;
	uint64_t rekeys, reissues; /* channels re-keyed in place; certificates re-issued, because the root was rotated */
	uint64_t keyupdates;	   /* that its channels sent */
};

struct flow_output {
	const char *name, *file;
	uint64_t bytes;
};

/* A run that ended well. */
struct flow_outcome {
	uint8_t run_id[RUN_ID_SIZE];
	uint8_t head_oid[OID_SIZE]; /* of the receipt */
	const char *job;
	const char *out; /* output folder; the receipt in it is receipt.troth */
	uint64_t records;
	uint64_t elapsed_ms;
	struct flow_stage_use *stages;
	size_t stage_count;
	struct flow_output *outputs;
	size_t output_count;
};

/* More about a STAGE_FAILED than its text says. */
struct flow_failure {
	char stage[NAME_MAX_LEN + 1];
	enum reason cause;
	char log[FLOW_LOG_TAIL + 1]; /* the end of what its program wrote to stderr, untrusted */
};

/* What happens meanwhile; any member may be NULL. Called in the thread of the run. */
struct flow_listener {
	void *ctx;
	void (*state)(void *ctx, const char *stage, const char *state);
	void (*progress)(void *ctx, const char *stage, uint64_t bytes_in, uint64_t bytes_out);
	void (*log)(void *ctx, const char *stage, struct span text);
	int cancel_fd; /* readable or at its end: the run is given up (RUN_ABORTED); -1: none */
};

/*
 * A job whose enclaves stay: launched as in a run and listed as such, without results and receipt. Returns when `stop_fd` is
 * readable (OK: they were told, and what did not end within five seconds was ended), when all have ended by themselves, or
 * when one has failed. `up` is called once all programs run; `nonce`, `out` and `replace` of the request do not count.
 */
struct flow_stay {
	int stop_fd;
	void *ctx;
	void (*up)(void *ctx, const char *job, const uint8_t run_id[static RUN_ID_SIZE]);
};
NODISCARD result flow_stay(const struct flow_host *host, const struct flow_request *request, const struct flow_stay *stay,
	struct flow_failure *out_failure);

/* Texts and lists of the outcome live in `arena`. `out_failure` is filled when the result is STAGE_FAILED. */
NODISCARD result flow_run(const struct flow_host *host, const struct flow_request *request, const int *fds, size_t fd_count,
	const struct flow_listener *listener, struct arena *arena, struct flow_outcome *out, struct flow_failure *out_failure);

#endif
