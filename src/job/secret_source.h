/*
 * Where the secrets of a run come from. The sealed backend takes a sealed object per role, made by `troth seal` for one
 * enclave, measurement and root; a chain of HSM nodes comes beside it. No source ever sees a secret in clear: what it gives
 * opens only inside the launch that the secure processor endorses.
 */
#ifndef TROTH_JOB_SECRET_SOURCE_H
#define TROTH_JOB_SECRET_SOURCE_H

#include "job/plan.h"
#include "root/host.h"

enum { SEALED_MAX = 64 * 1024 }; /* bytes of one sealed object */

struct secret_source;

struct secret_backend {
	const char *name;
	/*
	 * The sealed object for the secret input `input` of `stage`, copied into `arena`. MISSING_INPUT, SEAL_FOREIGN when it
	 * was sealed for somebody else (told before anything is launched).
	 */
	result (*sealed)(const struct secret_source *source, const struct job_stage *stage, const struct job_input *input,
		struct arena *arena, struct span *out);
};

/* Begins each backend's own structure. */
struct secret_source {
	const struct secret_backend *backend;
};

/* One sealed object that was given for a role: a regular file, open for reading from its beginning. */
struct sealed_file {
	const char *role;
	int fd;
};

struct sealed_source {
	struct secret_source source;
	const struct root_identity *identity;
	const struct sealed_file *files;
	size_t file_count;
};

/* All of it is borrowed. */
struct sealed_source sealed_source_new(const struct root_identity *identity, const struct sealed_file *files, size_t count);

static inline result secret_source_sealed(const struct secret_source *source, const struct job_stage *stage, const struct job_input *input,
	struct arena *arena, struct span *out)
{
	return source->backend->sealed(source, stage, input, arena, out);
}

#endif
