/* troth job lint: reads and measures a job without running it. */
#include "cmd/verb.h"

#include <stdio.h>

#include "job/plan.h"
#include "object/epoch.h"
#include "wire/json.h"

static result print_json(const struct job_plan *plan)
{
	json_t *json = schema_json(&job_schema, &plan->job);
	if (!json)
		return fail(NO_MEMORY, "json");
	json_object_set_new(json, "digest", json_hex(SPAN_ARRAY(plan->digest)));
	result printed = json_print(stdout, json);
	json_decref(json);
	return printed;
}

static void print_people(const struct job_plan *plan)
{
	const struct job *job = &plan->job;
	printf("Job %s is in order: %zu enclave%s, %zu edge%s, %zu input%s, %zu output%s.\n", job->name, job->enclave_count,
		job->enclave_count == 1 ? "" : "s", job->edge_count, job->edge_count == 1 ? "" : "s", job->input_count,
		job->input_count == 1 ? "" : "s", job->output_count, job->output_count == 1 ? "" : "s");
	for (size_t i = 0; i < job->host_count; i++) {
		char fingerprint[EPOCH_FINGERPRINT_SIZE];
		rot_fingerprint(job->hosts[i].rot_id, fingerprint);
		printf("  host     %-16s root %s\n", job->hosts[i].name, fingerprint);
	}
	for (size_t i = 0; i < plan->stage_count; i++)
		printf("  enclave  %-16s %s (%zu files%s)%s%s\n", plan->stages[i].name, plan->stages[i].manifest.program,
			plan->stages[i].manifest.file_count,
			strcmp(plan->stages[i].manifest.interpreter, "open") == 0 ? ", an interpreter" : "",
			plan->stages[i].host ? " on " : job->host_count ? " on the host that coordinates" : "",
			plan->stages[i].host ? plan->stages[i].host : "");
	for (size_t i = 0; i < job->edge_count; i++)
		if (job->edges[i].call)
			printf("  call     %-16s %s may call %s, operation %s\n", job->edges[i].name, job->edges[i].from, job->edges[i].to,
				job->edges[i].operation);
		else
			printf("  edge     %-16s %s %s -> %s %s, operation %s\n", job->edges[i].name, job->edges[i].from, job->edges[i].output,
			job->edges[i].to, job->edges[i].input, job->edges[i].operation);
	for (size_t i = 0; i < job->input_count; i++)
		printf("  input    %-16s to %s%s: give it with %s %s=FILE\n", job->inputs[i].role, job->inputs[i].enclave,
			job->inputs[i].secret ? " (secret)" : "", job->inputs[i].secret ? "--sealed" : "--input", job->inputs[i].role);
	for (size_t i = 0; i < job->output_count; i++)
		printf("  output   %-16s %s from %s%s\n", job->outputs[i].name, job->outputs[i].file, job->outputs[i].enclave,
			job->outputs[i].statement ? ", signed" : "");
}

static result lint(const char *path, bool json)
{
	CLEANUP(job_plan_free) struct job_plan plan = {.stage_count = 0};
	TRY(job_plan_load(path, &plan));
	if (json)
		return print_json(&plan);
	print_people(&plan);
	return OK;
}

int verb_job_lint(int argc, char **argv)
{
	CLEANUP(options_free)
	struct options options = {
		.verb = "job lint",
		.usage = "JOB",
		.description =
			"Reads a job file, its policies and its programs, measures them, and says what the job is, or where it is wrong.",
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = lint(options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}
