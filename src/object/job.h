/*
 * A compiled job: what the job file says once its programs are measured. Its digest names the job in run ids, receipts
 * and trust files. Inputs are named by role, so a job can be committed and measured before its data exist.
 */
#ifndef TROTH_OBJECT_JOB_H
#define TROTH_OBJECT_JOB_H

#include "object/report.h"

/* A host that some enclaves of the job run on, by its root of trust; where it is reached is no part of a job. */
struct job_host {
	const char *name;
	uint8_t rot_id[OID_SIZE];
};

struct job_enclave {
	const char *name;
	uint8_t core[SHA384_SIZE];
	uint8_t measurement[SHA384_SIZE];
	uint8_t policy_digest[SHA256_SIZE];
	const char *host; /* of `hosts`; NULL: the one that coordinates the run */
};

/* Where data flows. The source is an enclave's stdout or one of its output files. */
struct job_edge {
	const char *name;
	const char *from;	 /* enclave, or external peer */
	const char *output;	 /* "stdout" or a manifest output's name */
	const char *to;		 /* enclave, or external peer */
	const char *input;	 /* "stdin" or the name of an input file in the scratch folder */
	const char *operation;
	bool call; /* `from` may ask `to` as often as it wants, and is answered; output and input are JOB_FABRIC */
};

/* Port of a call edge: the descriptor by which a program speaks with its runtime (docs/PROTOCOL.fabric). */
#define JOB_FABRIC "fabric"

struct job_input {
	const char *role;
	const char *enclave;
	const char *input;   /* "stdin", a scratch file's name, or for secrets the manifest secret's name */
	bool secret;
};

struct job_output {
	const char *name;    /* role: what `troth verify --output NAME=FILE` names */
	const char *enclave;
	const char *output;  /* "stdout" or a manifest output's name */
	const char *file;    /* file name in the output folder */
	bool statement;	     /* the enclave signs a statement about it */
	const char *media_type;
};

/* A peer outside Troth, reached by the broker over a Unix socket; Level-0, so a policy must allow it by name. */
struct job_external {
	const char *name;
	uint8_t spki[KEY_ID_SIZE]; /* of the key that signed its certificate, or with `uri` of an authority */
	const char *uri; /* whom the authority may vouch for here; NULL: a pinned key */
	const char *shown; /* "path": what it is shown goes up to an authority; NULL: the leaf alone */
};

struct job {
	uint8_t v;
	const char *name;
	struct job_enclave *enclaves; /* sorted by name */
	size_t enclave_count;
	struct job_edge *edges; /* sorted by name */
	size_t edge_count;
	struct job_input *inputs; /* sorted by role */
	size_t input_count;
	struct job_output *outputs; /* sorted by name */
	size_t output_count;
	struct job_external *externals; /* sorted by name */
	size_t external_count;
	struct job_host *hosts; /* sorted by name; empty: everything runs on one host */
	size_t host_count;
};
extern const struct schema job_schema;
extern const struct schema job_enclave_schema, job_edge_schema, job_input_schema, job_output_schema, job_external_schema,
	job_host_schema;

/* Each enclave has a name of its own, each host a name and a root, and every `host` is there. JOB_INCONSISTENT. */
NODISCARD result job_check_hosts(const struct job *job);
/* NULL when there is none of this name. */
const struct job_host *job_host_find(const struct job *job, const char *name);
const struct job_enclave *job_enclave_find(const struct job *job, const char *name);
/* The root that an enclave must run under; `here` (may be NULL) for one that names no host. */
const uint8_t *job_enclave_root(const struct job *job, const struct job_enclave *enclave, const uint8_t *here);

/* object_digest(KIND_JOB, encoding). */
void job_digest(struct span encoding, uint8_t out[static SHA256_SIZE]);

#endif
