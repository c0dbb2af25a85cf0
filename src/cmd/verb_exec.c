/* troth exec: one program, one receipt. Its stdout comes to ours once the run is complete; a run that fails gives none. */
#include "cmd/verb.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/progress.h"
#include "wire/json.h"
#include "wire/text.h"

struct arguments {
	struct host_options host;
	const char *input, *output, *receipt, *nonce;
	struct words files;
	bool replace;
};

static result set_texts(const struct words *words, struct arena *arena, struct text_item **out, size_t *out_count)
{
	void *at;
	TRY(arena_alloc(arena, words->count + 1, sizeof(**out), &at));
	*out = at;
	for (size_t i = 0; i < words->count; i++)
		(*out)[i].text = words->items[i];
	*out_count = words->count;
	return OK;
}

static result open_input(const char *path, struct fd *out)
{
	return strcmp(path, "-") == 0 ? fd_duplicate(STDIN_FILENO, out) : file_open(path, O_RDONLY, 0, out);
}

static result copy_stdout(const char *folder)
{
	char path[PATH_SIZE];
	CLEANUP(fd_close) struct fd from = FD_NONE;
	TRY(path_join(path, folder, "stdout"));
	TRY(file_open(path, O_RDONLY, 0, &from));
	return file_copy(from.n, STDOUT_FILENO, UINT64_MAX, NULL);
}

static result copy_receipt(const char *folder, const char *to)
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes receipt = BYTES_EMPTY;
	TRY(path_join(path, folder, "receipt.troth"));
	TRY(file_read(path, 1 << 30, &receipt));
	return file_write_atomic(to, bytes_span(&receipt), 0644);
}

/* Before the program runs: what it did should not be lost because nobody can write the receipt. */
static result check_receipt(const char *path)
{
	char folder[PATH_SIZE];
	struct stat status;
	if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
		return fail(USAGE, "--receipt '%s' is a folder; name a file", path);
	TRY(verb_absolute(path, folder));
	char *slash = strrchr(folder, '/');
	slash[slash == folder] = '\0'; /* the root folder keeps its slash */
	return access(folder, W_OK | X_OK) == 0 ? OK : fail_errno("--receipt %s: the folder %s", path, folder);
}

static result print_json(const struct flow_outcome *outcome)
{
	char path[PATH_SIZE];
	TRY(path_join(path, outcome->out, "receipt.troth"));
	json_t *json = schema_json(&service_ran_schema, outcome);
	if (!json)
		return fail(NO_MEMORY, "json");
	json_object_set_new(json, "receipt", json_string(path));
	result printed = json_print(stdout, json);
	json_decref(json);
	return printed;
}

/* NULL: it stays in the output folder. */
static const char *receipt_path(const struct arguments *arguments)
{
	return arguments->receipt || arguments->output ? arguments->receipt : "receipt.troth";
}

/* The host's scratch folder is emptied when the host starts; what is ours goes now. */
static result hand_out(const struct arguments *arguments, const struct flow_outcome *outcome, bool json)
{
	const char *receipt = receipt_path(arguments);
	if (arguments->output) {
		if (receipt)
			TRY(copy_receipt(outcome->out, receipt));
		return json ? print_json(outcome) : OK; /* stdout is free for it */
	}
	result done = copy_receipt(outcome->out, receipt);
	if (done == OK)
		done = copy_stdout(outcome->out);
	if (done == OK)
		return file_remove_tree(AT_FDCWD, outcome->out);
	return done;
}

static result exec(
	const struct arguments *arguments, const struct words *command, bool json, struct arena *arena, struct service_error *error)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(fd_close) struct fd input = FD_NONE;
	char folder[PATH_SIZE], out[PATH_SIZE] = "";
	static struct progress progress;
	struct flow_request request = {.job = "", .folder = folder, .out = out, .replace = arguments->replace};
	struct flow_file file = {.role = "stdin", .path = "", .has_fd = true};
	struct flow_outcome outcome;
	if (!getcwd(folder, sizeof(folder)))
		return fail_errno("the working folder");
	if (arguments->output)
		TRY(verb_absolute(arguments->output, out));
	if (receipt_path(arguments))
		TRY(check_receipt(receipt_path(arguments)));
	if (arguments->nonce && hex_decode(span_str(arguments->nonce), request.nonce, sizeof(request.nonce)) != OK)
		return fail(USAGE, "--nonce takes 64 hex digits");
	request.has_nonce = arguments->nonce != NULL;
	TRY(set_texts(command, arena, &request.argv, &request.argc));
	TRY(set_texts(&arguments->files, arena, &request.files, &request.file_count));
	if (arguments->input) {
		TRY(open_input(arguments->input, &input));
		request.inputs = &file;
		request.input_count = 1;
	}
	progress_start(&progress, true, !json);
	struct client_listener listener = progress_listener(&progress);
	const struct client_call call = {SERVICE_RUN, &request, &input.n, request.input_count, SERVICE_RAN, &listener, -1};
	TRY(verb_connect(&arguments->host, false, NULL, &client));
	result ran = client_call(&client, &call, arena, &outcome, error);
	progress_end(&progress);
	TRY(ran);
	return hand_out(arguments, &outcome, json);
}

int verb_exec(int argc, char **argv)
{
	struct arguments arguments = {.replace = false};
	struct service_error error = {.stage = ""};
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	const struct option_row rows[] = {
		{"input", OPTION_TEXT, &arguments.input, "FILE", "what the program reads as stdin; - is our own (default: nothing)"},
		{"file", OPTION_LIST, &arguments.files, "PATH", "a file that it reads or starts; measured and shown to it read-only"},
		{"receipt", OPTION_TEXT, &arguments.receipt, "FILE", "where the receipt goes (./receipt.troth)"},
		{"output", OPTION_TEXT, &arguments.output, "DIR", "put stdout and receipt into this folder instead of our stdout"},
		{"replace", OPTION_FLAG, &arguments.replace, NULL, "replace what is in that folder"},
		{"nonce", OPTION_TEXT, &arguments.nonce, "HEX", "32 bytes from whoever will verify: the receipt carries them"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "exec",
		.usage = "[--input FILE] [--file PATH]... [--receipt FILE] -- COMMAND [ARGUMENT]...",
		.description =
			"Runs one program in an enclave of its own and leaves a receipt: what code ran, on what input, and what came out. "
			"The\n"
			"program sees its own files, those named with --file (relative ones below /job), and nothing else of the machine.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = SIZE_MAX,
		.command = true,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = exec(&arguments, &options.operands, options.json, &arena, &error);
	return verb_end_with(done, &error, argc, argv);
}
