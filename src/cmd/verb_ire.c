/* troth ire run|list|stop: enclaves that stay on a host until they are stopped (job/live_jobs.h). */
#include "cmd/verb.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "wire/json.h"
#include "wire/text.h"

enum { RUN_ID_SHOWN = 8 };

static result print_schema(const struct schema *schema, const void *object)
{
	json_t *json = schema_json(schema, object);
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

/* ---- run ------------------------------------------------------------------------------------------- */

struct run_arguments {
	struct host_options host;
	struct words inputs, sealed;
	const char *name;
};

/* The host opens them itself: they are read whenever the launch needs them. */
static result read_paths(const char *option, const struct words *words, struct arena *arena, struct flow_file **out, size_t *out_count)
{
	void *at;
	TRY(arena_alloc(arena, words->count + 1, sizeof(**out), &at));
	*out = at;
	for (size_t i = 0; i < words->count; i++) {
		const char *path;
		char absolute[PATH_SIZE];
		TRY(verb_split(option, words->items[i], arena, &(*out)[i].role, &path));
		TRY(verb_absolute(path, absolute));
		TRY(arena_string(arena, span_str(absolute), &(*out)[i].path));
	}
	*out_count = words->count;
	return OK;
}

static result run(const struct run_arguments *arguments, const char *job_file, bool json, struct arena *arena, struct service_error *error)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	char job[PATH_SIZE];
	struct service_ire_run request = {.name = arguments->name ? arguments->name : "", .run = {.job = job, .folder = "", .out = ""}};
	struct service_ire_up up;
	if (!realpath(job_file, job))
		return fail_errno("'%s'", job_file);
	TRY(read_paths("--input", &arguments->inputs, arena, &request.run.inputs, &request.run.input_count));
	TRY(read_paths("--sealed", &arguments->sealed, arena, &request.run.sealed, &request.run.sealed_count));
	const struct client_call call = {.type = SERVICE_IRE_RUN, .body = &request, .expected = SERVICE_IRE_UP, .timeout_ms = -1};
	TRY(verb_attach(&arguments->host, &client));
	TRY(client_call(&client, &call, arena, &up, error));
	if (json)
		return print_schema(&service_ire_up_schema, &up);
	char id[2 * RUN_ID_SIZE + 1];
	hex_encode(SPAN_ARRAY(up.run_id), id);
	printf("The enclaves of %s stay as %s (run %.*s..). End them with `troth ire stop %s`.\n", job_file, up.name, RUN_ID_SHOWN, id, up.name);
	return OK;
}

int verb_ire_run(int argc, char **argv)
{
	struct run_arguments arguments = {.name = NULL};
	struct service_error error = {.stage = ""};
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	const struct option_row rows[] = {
		{"input", OPTION_LIST, &arguments.inputs, "ROLE=FILE", "data for an input of the job"},
		{"sealed", OPTION_LIST, &arguments.sealed, "ROLE=FILE", "a sealed secret for an input of the job (troth seal)"},
		{"name", OPTION_TEXT, &arguments.name, "NAME", "what to call it (default: the job file's name without its ending)"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ire run",
		.usage = "JOB [--name NAME] [--input ROLE=FILE]... [--sealed ROLE=FILE]...",
		.description =
			"Launches the enclaves of a job to stay: they serve each other's calls until `troth ire stop`, until their programs\n"
			"end, or until the host ends. Needs a host that stays (`trothd host`), not a private one. There are no results and\n"
			"no receipt; the job's `limits` hold, so give a service a `wall` and `cpu` that are long enough.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = run(&arguments, options.operands.items[0], options.json, &arena, &error);
	return verb_end_with(done, &error, argc, argv);
}

/* ---- list ------------------------------------------------------------------------------------------ */

static void print_row(const struct service_ire *ire)
{
	char id[2 * RUN_ID_SIZE + 1], since[CLOCK_TEXT_SIZE];
	hex_encode(SPAN_ARRAY(ire->run_id), id);
	clock_format(ire->since, since);
	printf("  %-16s %-16s run %.*s..  %s  %s%s\n", ire->name, ire->job, RUN_ID_SHOWN, id, since, ire->stays ? "stays" : "of a run",
		ire->stays && !ire->group[0] ? ", starting or ending" : "");
}

static result list(const struct host_options *host, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	const struct client_call call = {.type = SERVICE_IRE_LIST, .expected = SERVICE_IRES_ARE, .timeout_ms = 60 * 1000};
	struct service_ires ires;
	TRY(verb_attach(host, &client));
	TRY(client_call(&client, &call, &arena, &ires, NULL));
	if (json)
		return print_schema(&service_ires_schema, &ires);
	if (ires.count == 0)
		printf("No enclave lives on this host.\n");
	for (size_t i = 0; i < ires.count; i++)
		print_row(&ires.rows[i]);
	return OK;
}

int verb_ire_list(int argc, char **argv)
{
	struct host_options host = {0};
	const struct option_row rows[] = {HOST_ROWS(&host)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ire list",
		.usage = "[--state DIR]",
		.description = "Shows the enclaves that live on this host: those that were launched to stay, and those of runs under way.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = list(&host, options.json);
	return verb_end(done, argc, argv);
}

/* ---- stop ------------------------------------------------------------------------------------------ */

static result stop(const struct host_options *host, const char *name, bool all, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	const struct service_ire_stop request = {.name = name ? name : "", .all = all};
	const struct client_call call = {.type = SERVICE_IRE_STOP, .body = &request, .expected = SERVICE_IRE_STOPPED, .timeout_ms = 120 * 1000};
	struct service_ire_stopped stopped;
	if (all == (name != NULL))
		return fail(USAGE, "give a name, or --all");
	TRY(verb_attach(host, &client));
	TRY(client_call(&client, &call, &arena, &stopped, NULL));
	if (json)
		return print_schema(&service_ire_stopped_schema, &stopped);
	printf("%llu job%s stopped.\n", (unsigned long long)stopped.count, stopped.count == 1 ? "" : "s");
	return OK;
}

int verb_ire_stop(int argc, char **argv)
{
	struct host_options host = {0};
	bool all = false;
	const struct option_row rows[] = {
		{"all", OPTION_FLAG, &all, NULL, "every job that stays"},
		HOST_ROWS(&host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ire stop",
		.usage = "NAME | --all",
		.description =
			"Ends a job that stays, by its name or that of one of its enclaves, with all its enclaves: programs that serve are told\n"
			"that nobody calls any more and have five seconds to end, then everything is ended.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = stop(&host, options.operands.count ? options.operands.items[0] : NULL, all, options.json);
	return verb_end(done, argc, argv);
}
