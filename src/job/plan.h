/*
 * A job, read from its file and measured: everything that is known before a run. The same code serves `troth run`,
 * `troth trust new`, `troth ire measure` and `troth seal`, so an auditor who has job and files computes the same
 * measurements on any machine.
 *
 * The format of a job file is in docs/JOB.md. An unknown or misspelt field is an error with line and column.
 * A plan owns all its memory; job_plan_free.
 */
#ifndef TROTH_JOB_PLAN_H
#define TROTH_JOB_PLAN_H

#include "crypto/key.h"
#include "enclave/closure.h"
#include "object/job.h"
#include "object/manifest.h"
#include "policy/references.h"

enum { JOB_FILE_MAX = 1 << 20 };

/* One enclave: what it runs, measured. */
struct job_stage {
	const char *name;
	const char *host; /* of the job's hosts; NULL: the one that coordinates */
	struct manifest manifest; /* `files`, texts and lists live in the plan */
	struct bytes encoding;	  /* of the manifest */
	uint8_t core[SHA384_SIZE], measurement[SHA384_SIZE];
	struct span policy; /* compiled */
	uint8_t policy_digest[SHA256_SIZE];
	const char *const *sources; /* host path of each file of the manifest */
	struct closure closure;
};

/* A declared peer outside Troth. */
struct job_peer {
	const char *name;
	const char *socket; /* Unix path that the broker connects */
	struct key key;	    /* pinned SPKI, or that of an authority */
	const char *uri;    /* whom the authority may vouch for; NULL: the key is pinned */
	bool shown_path;    /* it is shown the certificates above the leaf too */
};

struct job_plan {
	struct arena arena;
	struct job job;
	struct bytes encoding; /* of the compiled job */
	uint8_t digest[SHA256_SIZE];
	struct job_stage *stages; /* in topological order of the flow */
	size_t stage_count;
	struct job_peer *externals;
	size_t external_count;
	const char **reference_paths; /* of the signed sets that policies name; no part of the digest, not read yet */
	size_t reference_count;
};

/* Reads, resolves, measures. Every reason of documents, policies and closures; CYCLIC_FLOW, UNKNOWN_ENCLAVE. */
NODISCARD result job_plan_load(const char *path, struct job_plan *out);

/*
 * Reads and verifies the reference sets of a job; needed to run it, not to measure it. The caller frees *out. The reasons of
 * policy_references_load; AUTHOR_UNKNOWN: no policy of the job names this author and set.
 */
NODISCARD result job_plan_references(const struct job_plan *plan, struct policy_references **out);

/* A job of one enclave without a file (`troth exec`): runs argv with stdin and stdout as input and output. */
struct job_command {
	const char *const *argv; /* NULL-terminated; argv[0] is looked for like a job's `program` */
	const char *folder;	 /* for relative paths */
	const char *const *files; /* NULL-terminated, or NULL */
	bool with_stdin;
};
NODISCARD result job_plan_command(const struct job_command *command, struct job_plan *out);

void job_plan_free(struct job_plan *plan); /* accepts a zeroed plan */

/* NULL when there is none. */
const struct job_stage *job_plan_stage(const struct job_plan *plan, const char *name);

#endif
