/*
 * Inside of a run: what flow.c, flow_remote.c and join.c share. A run is a struct run from its plan to its end; its steps are the
 * functions below, in their order, for whoever coordinates (flow.c, run_job) and for whoever takes part (join.c).
 */
#ifndef TROTH_JOB_FLOW_INTERNAL_H
#define TROTH_JOB_FLOW_INTERNAL_H

#include "evidence/platform.h"
#include "job/flow.h"
#include "job/output_folder.h"
#include "job/plan.h"
#include "policy/versions.h"
#include "receipt/build.h"

enum {
	RUN_MEMORY = 512 << 20,
	SKEW_MS = 60 * 1000,
	PROGRESS_EVERY_MS = 200,
	LAST_WORDS_MS = 5000,
	MOST_RETRIES = 64,
	PLATFORM_PIECES = 2 + 2 * 64,
};

struct remote;
struct live_entry;

/* One stage of this run. */
struct stage_run {
	struct run *run;
	const struct job_stage *stage;
	bool here; /* this host launches it */
	struct ire *launch; /* of one that is here */
	const struct launch_result *left; /* once it has finished */
	struct live_entry *listed;
	struct bytes policy_version; /* that it was launched with; empty: none */
	struct launch_events events;
	uid_t uid;
	bool has_uid;
	uint64_t progress_at; /* monotonic ns of the last one that was told */
	char log[FLOW_LOG_TAIL + 1];
	size_t log_len;
};

struct run {
	const struct flow_host *host;
	const struct flow_request *request;
	const struct flow_listener *listener;
	const int *fds; /* that came with the request; borrowed */
	size_t fd_count;
	struct arena arena;
	uint64_t began; /* monotonic ns */
	const char *coordinator; /* of one who takes part: name of the peer that may coordinate, "" for any; else NULL */

	struct job_plan plan;
	struct fd *inputs; /* by index of the job's inputs; empty where another host has it */
	struct output_folder folder;
	uint8_t rand[32], run_id[RUN_ID_SIZE], nonce[32];
	bool has_nonce;
	bool authorised;
	bool stays; /* flow_stay: no results and no receipt */
	struct stage_run *stages; /* by index of the plan's stages */
	struct ire **launches; /* of the stages that are here */
	size_t launch_count;
	struct remote *remote; /* the other hosts of the run; NULL: there are none */

	const struct root_identity *began_under;
	struct key *epoch_keys; /* of the epochs since then */
	size_t epoch_key_count;
	struct span platform[PLATFORM_PIECES]; /* platform evidence: of the epoch it began under, and of the one that signs */
	size_t platform_count;
	struct span *platform_others; /* of the other hosts */
	size_t platform_other_count;
	struct platform judged; /* by what the operator believes */
	struct policy_table *policies;
	struct policy_versions *versions; /* that the stages' records name */
	struct policy_references *verified; /* reference sets of the plan */
	struct span *references; /* the same, as signed */
	struct dac *dac;
	struct digest32 *roots;
	size_t root_count;
	struct bytes receipt;
	struct span head;
	uint8_t head_oid[OID_SIZE];
};

NODISCARD result run_alloc(struct run *run, size_t count, size_t size, void *out);
struct stage_run *run_stage(const struct run *run, const char *name); /* NULL: an external peer */
bool run_is_cancelled(const struct run *run);
bool run_launch_failed(const struct run *run);

/* ---- the steps, in flow.c ---------------------------------------------------------------------------------------- */

NODISCARD result run_load_plan(struct run *run);
NODISCARD result run_check_roles(struct run *run);
NODISCARD result run_open_folder(struct run *run);
NODISCARD result run_authorise(struct run *run);
NODISCARD result run_take_platform(struct run *run, const struct root_identity *root);
NODISCARD result run_launch_stages(struct run *run); /* until all of them are READY, here */
NODISCARD result run_set_going(struct run *run);     /* channels, inputs, outputs, then the programs */
NODISCARD result run_collect(struct run *run);	     /* until all of them are FINISHED, here */
NODISCARD result run_record(struct run *run);
NODISCARD result run_enter_history(struct run *run); /* into the TPM's, when it holds one */
NODISCARD result run_publish(struct run *run);

/* Waits until the launches here have reached `until`, whatever other hosts do meanwhile. */
NODISCARD result run_wait(struct run *run, enum launch_state until);

/* A whole run: `body` is its steps. What flow_run says of results and failures. */
NODISCARD result run_main(const struct flow_host *host, const struct flow_request *request, const char *coordinator, const int *fds,
	size_t fd_count, const struct flow_listener *listener, result (*body)(struct run *run), struct arena *arena, struct flow_outcome *out,
	struct flow_failure *out_failure);

#endif
