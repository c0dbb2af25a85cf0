/* troth policy sign|push: newer versions of a policy, by the author whom it names (docs/POLICY.md). */
#include "cmd/verb.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "object/policy_version.h"
#include "policy/schema.h"
#include "policy/versions.h"
#include "wire/json.h"
#include "wire/text.h"

enum { KEY_FILE_MAX = 64 * 1024, PUSH_MS = 120 * 1000 };

/* ---- sign ----------------------------------------------------------------------------------------------- */

struct sign_arguments {
	const char *source, *key, *output, *id;
};

static result read_author(const char *path, struct key *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(file_read_secret(fd.n, KEY_FILE_MAX, &pem));
	result read = key_from_private_pem(secret_span(&pem), out);
	return read == OK ? OK : fail_within(read, "'%s' is no private key (P-256, PEM, without a passphrase)", path);
}

/* The policy that is meant: the only one, or the one of --id. */
static result pick(const struct policy_table *table, const struct sign_arguments *arguments, struct policy_view *out)
{
	if (!arguments->id && policy_count(table) > 1)
		return fail(USAGE, "'%s' holds %zu policies; say with --id whose is to be signed", arguments->source, policy_count(table));
	for (size_t i = 0; i < policy_count(table); i++) {
		policy_at(table, i, out);
		if (!arguments->id || span_equal_str(out->id, arguments->id))
			return OK;
	}
	return fail(NO_POLICY, "'%s' holds none for %s", arguments->source, arguments->id);
}

static result print_signed(const struct policy_view *view, const struct sign_arguments *arguments, bool json)
{
	char digest[2 * POLICY_DIGEST_SIZE + 1];
	hex_encode(SPAN_ARRAY(view->digest), digest);
	if (!json) {
		printf("policy of %.*s version %" PRIu64 ", digest %s\n%s written\n", (int)view->id.len, (const char *)view->id.data,
			view->version, digest, arguments->output);
		return OK;
	}
	json_t *out = json_pack("{s:s#, s:I, s:s, s:o, s:s}", "id", view->id.data, (int)view->id.len, "version", (json_int_t)view->version,
		"digest", digest, "author", json_hex(view->author), "output", arguments->output);
	result printed = out ? json_print(stdout, out) : fail(NO_MEMORY, "json");
	json_decref(out);
	return printed;
}

static result sign(const struct sign_arguments *arguments, bool json)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	CLEANUP(key_free) struct key author = KEY_EMPTY;
	struct policy_view view;
	if (!arguments->key || !arguments->output)
		return fail(USAGE, "--key and --output are needed");
	TRY(policy_load_file(arguments->source, &table));
	TRY(pick(table, arguments, &view));
	TRY(read_author(arguments->key, &author));
	result made = policy_version_sign(view.compiled, &author, &object);
	if (made != OK)
		return fail_within(made, "'%s'", arguments->source);
	TRY(file_write_atomic(arguments->output, bytes_span(&object), 0644));
	return print_signed(&view, arguments, json);
}

int verb_policy_sign(int argc, char **argv)
{
	struct sign_arguments arguments = {NULL};
	const struct option_row rows[] = {
		{"key", OPTION_TEXT, &arguments.key, "FILE", "the author's private key (PEM, P-256)"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the signed version goes"},
		{"id", OPTION_TEXT, &arguments.id, "NAME", "whose policy, when the file holds several"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "policy sign",
		.usage = "POLICY --key FILE --output FILE",
		.description = "Signs a version of a trust policy. Its field `author` must name the key, as the policy in force does, and its\n"
			       "`version` must be higher than any that was used: hosts and enclaves never go back.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help) {
		arguments.source = options.operands.items[0];
		done = sign(&arguments, options.json);
	}
	return verb_end(done, argc, argv);
}

/* ---- push ----------------------------------------------------------------------------------------------- */

static void print_row(const struct policies_row *row)
{
	printf("  %s of job %s, run %02x%02x%02x%02x: ", row->name, row->job, row->run_id[0], row->run_id[1], row->run_id[2], row->run_id[3]);
	if (row->reason != OK)
		printf("%s: %s\n", reason_name((enum reason)row->reason), row->text);
	else if (row->closed)
		printf("in force; %" PRIu64 " channel%s closed\n", row->closed, row->closed == 1 ? "" : "s");
	else
		printf("in force\n");
}

static result print_pushed(const struct policies_pushed *pushed, bool json)
{
	if (json) {
		json_t *out = schema_json(&policies_pushed_schema, pushed);
		for (size_t i = 0; out && i < pushed->row_count; i++)
			json_object_set_new(json_array_get(json_object_get(out, "rows"), i), "reason",
				json_string(reason_name((enum reason)pushed->rows[i].reason)));
		result printed = out ? json_print(stdout, out) : fail(NO_MEMORY, "json");
		json_decref(out);
		return printed;
	}
	printf("policy of %s version %" PRIu64 " is kept; no older one will be taken here any more\n", pushed->id, pushed->version);
	for (size_t i = 0; i < pushed->row_count; i++)
		print_row(&pushed->rows[i]);
	if (pushed->row_count == 0)
		printf("  no enclave of this name lives now\n");
	return OK;
}

static result push(const struct host_options *host, const char *path, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(16 << 20);
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct policies_pushed pushed;
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(verb_connect(host, false, NULL, &client));
	const struct client_call call = {.type = SERVICE_POLICY_PUSH, .fds = &fd.n, .fd_count = 1, .expected = SERVICE_POLICY_PUSHED, .timeout_ms = PUSH_MS};
	TRY(client_call(&client, &call, &arena, &pushed, NULL));
	return print_pushed(&pushed, json);
}

int verb_policy_push(int argc, char **argv)
{
	struct host_options host = {NULL};
	const struct option_row rows[] = {HOST_ROWS(&host)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "policy push",
		.usage = "SIGNED",
		.description = "Gives a signed version of a policy to this host. It replaces the policy of every live enclave that it is for, at once\n"
			       "and without a restart; channels that it no longer allows are closed. Enclaves launched later get it too.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = push(&host, options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}
