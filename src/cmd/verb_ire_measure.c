/* troth ire measure: what an enclave's manifest holds, and its digests; computed from the files, nothing is executed. */
#include "cmd/verb.h"

#include <stdio.h>
#include <unistd.h>

#include "job/plan.h"
#include "wire/json.h"

static json_t *stage_json(const struct job_stage *stage)
{
	json_t *json = json_pack("{s:s, s:o, s:o, s:o}", "enclave", stage->name, "core", json_hex(SPAN_ARRAY(stage->core)), "measurement",
		json_hex(SPAN_ARRAY(stage->measurement)), "policy_digest", json_hex(SPAN_ARRAY(stage->policy_digest)));
	if (json)
		json_object_set_new(json, "manifest", schema_json(&manifest_schema, &stage->manifest));
	return json;
}

static result print_json(const struct job_plan *plan, const char *only)
{
	json_t *list = json_array();
	for (size_t i = 0; list && i < plan->stage_count; i++)
		if (!only || strcmp(plan->stages[i].name, only) == 0)
			json_array_append_new(list, stage_json(&plan->stages[i]));
	json_t *json = list
		? json_pack("{s:s, s:o, s:o}", "job", plan->job.name, "job_digest", json_hex(SPAN_ARRAY(plan->digest)), "enclaves", list)
		: NULL;
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

static void print_digest(const char *name, struct span digest)
{
	printf("  %-13s ", name);
	verb_print_hex(digest);
	printf("\n");
}

static void print_file(const struct manifest_file *file)
{
	printf("    %04o  ", file->mode);
	if (file->has_digest)
		verb_print_hex(span_of(file->digest, 8));
	printf("%-*s %9llu  %s%s%s\n", file->has_digest ? 2 : 18, file->has_digest ? ".." : "", (unsigned long long)file->size, file->path,
		file->has_target                       ? " -> "
			: file->type == FILE_DIRECTORY ? "/"
						       : "",
		file->has_target ? file->target : "");
}

static void print_stage(const struct job_stage *stage)
{
	const struct manifest *manifest = &stage->manifest;
	printf("%s\n", stage->name);
	print_digest("measurement", SPAN_ARRAY(stage->measurement));
	print_digest("core", SPAN_ARRAY(stage->core));
	print_digest("policy", SPAN_ARRAY(stage->policy_digest));
	printf("  %-13s %s\n  %-13s", "program", manifest->program, "arguments");
	for (size_t i = 1; i < manifest->argument_count; i++)
		printf(" '%s'", manifest->arguments[i].text);
	printf("\n  %-13s %s\n", "interpreter", manifest->interpreter);
	for (size_t i = 0; i < manifest->peer_count; i++)
		printf("  %-13s %s\n", "peer", manifest->peers[i].name);
	printf("  %-13s %zu\n", "files", manifest->file_count);
	for (size_t i = 0; i < manifest->file_count; i++)
		print_file(&manifest->files[i]);
}

static result print_plan(const struct job_plan *plan, const char *only, bool json)
{
	if (only && !job_plan_stage(plan, only))
		return fail(UNKNOWN_ENCLAVE, "job '%s' has no enclave '%s'", plan->job.name, only);
	if (json)
		return print_json(plan, only);
	for (size_t i = 0; i < plan->stage_count; i++)
		if (!only || strcmp(plan->stages[i].name, only) == 0)
			print_stage(&plan->stages[i]);
	return OK;
}

static result measure(const struct words *operands, const struct words *files, bool is_command, bool json)
{
	CLEANUP(job_plan_free) struct job_plan plan = {.stage_count = 0};
	char folder[PATH_SIZE];
	if (!is_command) {
		TRY(job_plan_load(operands->items[0], &plan));
		return print_plan(&plan, operands->count > 1 ? operands->items[1] : NULL, json);
	}
	if (!getcwd(folder, sizeof(folder)))
		return fail_errno("the working folder");
	/* Lists from the parser end with a NULL: its memory is zeroed and has room for one more. */
	struct job_command command = {.argv = operands->items, .folder = folder, .files = files->items};
	TRY(job_plan_command(&command, &plan));
	return print_plan(&plan, NULL, json);
}

int verb_ire_measure(int argc, char **argv)
{
	struct words files = {0};
	const struct option_row rows[] = {
		{"file", OPTION_LIST, &files, "PATH", "with a command: a file that it reads or starts"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ire measure",
		.usage = "JOB [ENCLAVE] | -- COMMAND [ARGUMENT]...",
		.description =
			"Prints the manifest of an enclave and its measurement: every file that its program can execute or read as code,\n"
			"arguments, environment, policy, limits and direct peers. Read from the files alone, on any machine.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = SIZE_MAX,
	};
	bool is_command = false;
	for (int i = 0; i < argc; i++)
		is_command |= strcmp(argv[i], "--") == 0;
	result done = options_parse(&options, argc, argv);
	if (done == OK && !is_command && options.operands.count > 2)
		done = fail(USAGE, "a command stands behind --: troth ire measure -- COMMAND");
	if (done == OK && !options.help)
		done = measure(&options.operands, &files, is_command, options.json);
	return verb_end(done, argc, argv);
}
