/*
 * Shell pipelines as jobs: `cmd1 | cmd2 | cmd3` becomes a job file with an enclave and a policy per command.
 *
 * Understood: words, single and double quotes, backslashes, NAME=value before a command, and `|`. Everything that a shell
 * would expand, redirect or run in another way is refused with its place, never passed on as if it had no meaning.
 */
#ifndef TROTH_JOB_PIPELINE_H
#define TROTH_JOB_PIPELINE_H

#include "base/arena.h"
#include "base/bytes.h"

enum { PIPELINE_MAX = 64 * 1024, PIPELINE_MAX_COMMANDS = 64 };

struct pipeline_command {
	const char **words; /* NULL-terminated */
	size_t word_count;
	const char **variables; /* "NAME=value" */
	size_t variable_count;
};

struct pipeline {
	struct pipeline_command *commands;
	size_t count;
};

/* BAD_SYNTAX says what and at which character. */
NODISCARD result pipeline_parse(const char *text, struct arena *arena, struct pipeline *out);

enum pipeline_input { PIPELINE_INPUT_GUESS, PIPELINE_INPUT_YES, PIPELINE_INPUT_NO };

/*
 * The job file's text. `folder` is where it will stand: arguments that name files there (or anywhere, by absolute path)
 * become files of the enclave. out_has_input: the first command reads an input of role `input`; guessed from whether it
 * names a file.
 */
NODISCARD result pipeline_job(const struct pipeline *pipeline, const char *name, const char *folder, enum pipeline_input input,
	struct bytes *out_text, bool *out_has_input);

#endif
