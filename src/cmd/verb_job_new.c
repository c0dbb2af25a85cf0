/* troth job new: a shell pipeline becomes a job file with an enclave and a policy per command. */
#include "cmd/verb.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "job/pipeline.h"
#include "object/report.h"
#include "wire/json.h"

struct arguments {
	const char *output, *name;
	bool with_input, without_input, replace;
};

/* The folder the job file will stand in, without links. */
static result folder_of(const char *output, char out[static PATH_SIZE])
{
	char path[PATH_SIZE];
	const char *slash = output ? strrchr(output, '/') : NULL;
	if (!slash)
		snprintf(path, sizeof(path), ".");
	else
		snprintf(path, sizeof(path), "%.*s", (int)(slash == output ? 1 : slash - output), output);
	return realpath(path, out) ? OK : fail_errno("'%s'", path);
}

static result write_job(const char *output, struct span text, bool replace)
{
	if (!output)
		return write_all(STDOUT_FILENO, text);
	if (!replace && access(output, F_OK) == 0)
		return fail(ALREADY_EXISTS, "'%s'; --replace replaces it", output);
	return file_write_atomic(output, text, 0644);
}

static result tell(const struct arguments *arguments, const struct pipeline *pipeline, bool has_input, bool json)
{
	const char *output = arguments->output ? arguments->output : "JOB";
	if (json && arguments->output) {
		json_t *object = json_pack("{s:s, s:i, s:b}", "file", output, "enclaves", (int)pipeline->count, "input", has_input);
		result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
		return printed;
	}
	if (arguments->output)
		printf("%s: %zu enclave%s. Run it:\n  troth run %s%s\n", output, pipeline->count, pipeline->count == 1 ? "" : "s", output,
			has_input ? " --input input=FILE" : "");
	return OK;
}

static result new_job(const struct arguments *arguments, const char *text, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	CLEANUP(bytes_free) struct bytes job = BYTES_EMPTY;
	struct pipeline pipeline;
	char folder[PATH_SIZE];
	bool has_input;
	if (arguments->with_input && arguments->without_input)
		return fail(USAGE, "--stdin and --no-stdin exclude each other");
	if (!name_is_valid(arguments->name))
		return fail(BAD_NAME, "--name '%s'", arguments->name);
	enum pipeline_input input = arguments->with_input ? PIPELINE_INPUT_YES
		: arguments->without_input                ? PIPELINE_INPUT_NO
							  : PIPELINE_INPUT_GUESS;
	TRY(pipeline_parse(text, &arena, &pipeline));
	TRY(folder_of(arguments->output, folder));
	TRY(pipeline_job(&pipeline, arguments->name, folder, input, &job, &has_input));
	TRY(write_job(arguments->output, bytes_span(&job), arguments->replace));
	return tell(arguments, &pipeline, has_input, json);
}

int verb_job_new(int argc, char **argv)
{
	struct arguments arguments = {.name = "pipeline"};
	const struct option_row rows[] = {
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the job file goes (stdout)"},
		{"name", OPTION_TEXT, &arguments.name, "NAME", "the job's name (pipeline)"},
		{"stdin", OPTION_FLAG, &arguments.with_input, NULL, "the first command reads an input"},
		{"no-stdin", OPTION_FLAG, &arguments.without_input, NULL, "it does not (default: it does, unless it names a file)"},
		{"replace", OPTION_FLAG, &arguments.replace, NULL, "replace the job file"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "job new",
		.usage = "[--output FILE] 'COMMAND | COMMAND | ...'",
		.description =
			"Turns a shell pipeline into a job: each command gets an enclave of its own and a policy that lets it talk to its\n"
			"neighbours only. Words, quotes, NAME=value and | are understood; what a shell would expand or redirect is "
			"refused.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = new_job(&arguments, options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}
