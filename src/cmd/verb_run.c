/*
 * troth run: the main job. The host does the work (job/flow.c); this asks for it and tells what came of it.
 * troth join: the same for a host that takes part in a job of another (job/join.c).
 */
#include "cmd/verb.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/progress.h"
#include "job/secret_source.h"
#include "wire/json.h"
#include "wire/text.h"

struct arguments {
	struct host_options host;
	struct words inputs, sealed;
	const char *output, *nonce;
	bool replace, quiet;
	bool joins; /* troth join */
	const char *from;
	uint64_t runs;
};

struct opened {
	struct fd fds[SOCK_MAX_FDS];
	size_t count;
};

static void opened_close(struct opened *opened)
{
	for (size_t i = 0; i < opened->count; i++)
		fd_close(&opened->fds[i]);
}

/* The host takes sealed secrets as files alone; what comes from a pipe is waited for here. */
static result keep_stream(struct fd *stream)
{
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	CLEANUP(fd_close) struct fd copy = FD_NONE;
	TRY(file_read_stream(stream->n, SEALED_MAX, &content));
	copy = fd_of(memfd_create("sealed", MFD_CLOEXEC));
	if (copy.n < 0)
		return fail_errno("memory for a sealed secret");
	TRY(write_all(copy.n, bytes_span(&content)));
	if (lseek(copy.n, 0, SEEK_SET) != 0)
		return fail_errno("memory for a sealed secret");
	fd_close(stream);
	*stream = fd_move(&copy);
	return OK;
}

static result open_input(const char *path, bool sealed, struct fd *out)
{
	struct stat at;
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	if (strcmp(path, "-") == 0)
		TRY(fd_duplicate(STDIN_FILENO, &fd));
	else
		TRY(file_open(path, O_RDONLY, 0, &fd));
	if (fstat(fd.n, &at) != 0)
		return fail_errno("'%s'", path);
	if (S_ISDIR(at.st_mode))
		return fail(BAD_TYPE, "'%s' is a folder", path);
	if (sealed && !S_ISREG(at.st_mode))
		TRY(keep_stream(&fd));
	*out = fd_move(&fd);
	return OK;
}

/* Files are opened here, as the person who asks, and handed over; beyond what one message carries, by their paths. */
static result read_files(const char *option, const struct words *words, struct arena *arena, struct opened *opened, struct flow_file **out,
	size_t *out_count)
{
	void *at;
	TRY(arena_alloc(arena, words->count + 1, sizeof(**out), &at));
	*out = at;
	for (size_t i = 0; i < words->count; i++) {
		struct flow_file *file = &(*out)[i];
		const char *path;
		char absolute[PATH_SIZE];
		CLEANUP(fd_close) struct fd fd = FD_NONE;
		TRY(verb_split(option, words->items[i], arena, &file->role, &path));
		result read = open_input(path, strcmp(option, "--sealed") == 0, &fd);
		if (read != OK)
			return fail_within(read, "%s %s", option, words->items[i]);
		file->path = "";
		if (opened->count < SOCK_MAX_FDS) {
			file->has_fd = true;
			file->fd = (uint8_t)opened->count;
			opened->fds[opened->count++] = fd_move(&fd);
			continue;
		}
		TRY(verb_absolute(path, absolute));
		TRY(arena_string(arena, span_str(absolute), &file->path));
	}
	*out_count = words->count;
	return OK;
}

/* `out` beside the job file, unless told otherwise. */
static result choose_output(const struct arguments *arguments, const char *job, char out[static PATH_SIZE])
{
	if (arguments->output)
		return verb_absolute(arguments->output, out);
	const char *slash = strrchr(job, '/');
	return snprintf(out, PATH_SIZE, "%.*s/out", (int)(slash - job), job) < PATH_SIZE ? OK : fail(TOO_LARGE, "'%s'", job);
}

static result print_json(const struct flow_outcome *outcome)
{
	char path[PATH_SIZE];
	json_t *json = schema_json(&service_ran_schema, outcome);
	TRY(path_join(path, outcome->out, "receipt.troth"));
	if (!json)
		return fail(NO_MEMORY, "json");
	json_object_set_new(json, "receipt", json_string(path));
	result printed = json_print(stdout, json);
	json_decref(json);
	return printed;
}

static void print_people(const struct flow_outcome *outcome)
{
	char in[AMOUNT_SIZE], out[AMOUNT_SIZE];
	printf("Job %s ran in %.1f s: %zu stage%s, %llu signed records.\n", outcome->job, (double)outcome->elapsed_ms / 1000,
		outcome->stage_count, outcome->stage_count == 1 ? "" : "s", (unsigned long long)outcome->records);
	for (size_t i = 0; i < outcome->stage_count; i++) {
		const struct flow_stage_use *stage = &outcome->stages[i];
		amount_text(stage->bytes_in, in);
		amount_text(stage->bytes_out, out);
		printf("  %-16s %10s in  %10s out  %6.2f s processor\n", stage->name, in, out, (double)stage->cpu_ms / 1000);
	}
	for (size_t i = 0; i < outcome->output_count; i++) {
		amount_text(outcome->outputs[i].bytes, out);
		printf("  %-16s %s/%s (%s)\n", outcome->outputs[i].name, outcome->out, outcome->outputs[i].file, out);
	}
	printf("  %-16s %s/receipt.troth\n", "receipt", outcome->out);
}

static result run(const struct arguments *arguments, const char *job_file, bool json, struct arena *arena, struct service_error *error)
{
	CLEANUP(opened_close) struct opened opened = {.count = 0};
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	char job[PATH_SIZE], out[PATH_SIZE];
	int fds[SOCK_MAX_FDS];
	struct flow_request request = {.job = job, .folder = "", .out = out, .replace = arguments->replace};
	struct flow_outcome outcome;
	static struct progress progress;
	if (!realpath(job_file, job))
		return fail_errno("'%s'", job_file);
	TRY(choose_output(arguments, job, out));
	if (arguments->nonce && hex_decode(span_str(arguments->nonce), request.nonce, sizeof(request.nonce)) != OK)
		return fail(USAGE, "--nonce takes 64 hex digits");
	request.has_nonce = arguments->nonce != NULL;
	TRY(read_files("--input", &arguments->inputs, arena, &opened, &request.inputs, &request.input_count));
	TRY(read_files("--sealed", &arguments->sealed, arena, &opened, &request.sealed, &request.sealed_count));
	for (size_t i = 0; i < opened.count; i++)
		fds[i] = opened.fds[i].n;
	progress_start(&progress, json || arguments->quiet, false);
	struct client_listener listener = progress_listener(&progress);
	const struct join_request join = {request, arguments->from ? arguments->from : ""};
	const struct client_call call = {arguments->joins ? SERVICE_JOIN : SERVICE_RUN, arguments->joins ? (const void *)&join : &request, fds,
		opened.count, SERVICE_RAN, &listener, -1};
	TRY(arguments->joins ? verb_attach(&arguments->host, &client) : verb_connect(&arguments->host, false, NULL, &client));
	result ran = client_call(&client, &call, arena, &outcome, error);
	progress_end(&progress);
	TRY(ran);
	if (json)
		return print_json(&outcome);
	print_people(&outcome);
	return OK;
}

int verb_run(int argc, char **argv)
{
	struct arguments arguments = {.quiet = false};
	struct service_error error = {.stage = ""};
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	const struct option_row rows[] = {
		{"input", OPTION_LIST, &arguments.inputs, "ROLE=FILE", "data for an input of the job; - is stdin"},
		{"sealed", OPTION_LIST, &arguments.sealed, "ROLE=FILE", "a sealed secret for an input of the job (troth seal)"},
		{"output", OPTION_TEXT, &arguments.output, "DIR", "where results and receipt go (default: out beside the job file)"},
		{"replace", OPTION_FLAG, &arguments.replace, NULL, "replace what is in that folder, once the run has succeeded"},
		{"nonce", OPTION_TEXT, &arguments.nonce, "HEX", "32 bytes from whoever will verify: the receipt carries them"},
		{"quiet", OPTION_FLAG, &arguments.quiet, NULL, "no progress"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "run",
		.usage = "JOB [--input ROLE=FILE]... [--sealed ROLE=FILE]... [--output DIR]",
		.description =
			"Runs a job: measures and launches its enclaves, connects them, and leaves the results and one receipt in the "
			"output\n"
			"folder. Uses the host that serves the state folder, or a private one. When a stage fails there is no output and\n"
			"no receipt, and what was in the folder stays. docs/JOB.md describes the job file.",
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

static result join(const struct arguments *arguments, const char *job, bool json, struct service_error *error)
{
	struct arguments one = *arguments;
	if (arguments->runs == 0 || arguments->runs > 1000000)
		return fail(USAGE, "--runs takes a number from 1 to 1000000");
	for (uint64_t i = 0; i < arguments->runs; i++) {
		CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
		char folder[PATH_SIZE];
		if (arguments->runs > 1 && arguments->output) {
			if (snprintf(folder, sizeof(folder), "%s/%llu", arguments->output, (unsigned long long)i + 1) >= (int)sizeof(folder))
				return fail(TOO_LARGE, "'%s'", arguments->output);
			TRY(file_make_dirs(arguments->output, 0777));
			one.output = folder;
		}
		TRY(run(&one, job, json, &arena, error));
	}
	return OK;
}

int verb_join(int argc, char **argv)
{
	struct arguments arguments = {.joins = true, .runs = 1};
	struct service_error error = {.stage = ""};
	const struct option_row rows[] = {
		{"from", OPTION_TEXT, &arguments.from, "NAME", "the enrolled host that may coordinate (default: any of them)"},
		{"input", OPTION_LIST, &arguments.inputs, "ROLE=FILE", "data for an input of an enclave that runs here; - is stdin"},
		{"sealed", OPTION_LIST, &arguments.sealed, "ROLE=FILE", "a sealed secret for an input of an enclave that runs here"},
		{"output", OPTION_TEXT, &arguments.output, "DIR", "where results of this host and the receipt go (default: out beside the job file)"},
		{"replace", OPTION_FLAG, &arguments.replace, NULL, "replace what is in that folder, once the run has succeeded"},
		{"runs", OPTION_NUMBER, &arguments.runs, "N", "take part in N runs, one after the other, into DIR/1, DIR/2 ... (1)"},
		{"quiet", OPTION_FLAG, &arguments.quiet, NULL, "no progress"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "join",
		.usage = "JOB [--from NAME] [--input ROLE=FILE]... [--output DIR]",
		.description =
			"Takes part in a job that another host coordinates with `troth run`: waits until it does, runs the enclaves that the job\n"
			"places on this host, and leaves their results and the receipt in the output folder, once the receipt convinces this\n"
			"host too. Without it nothing of that job ever runs here; interrupting it withdraws. The job and its files must be the\n"
			"same on all hosts. Needs a host that runs with --listen. docs/HOSTS.md.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = join(&arguments, options.operands.items[0], options.json, &error);
	return verb_end_with(done, &error, argc, argv);
}
