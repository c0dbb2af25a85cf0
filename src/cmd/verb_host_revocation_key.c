/* troth host revocation-key add|list|remove: whose revocation lists this host obeys (docs/REVOCATION.md). */
#include "cmd/verb.h"

#include <stdio.h>

#include "wire/json.h"
#include "wire/text.h"

enum { PEM_MAX = 64 * 1024 };

struct arguments {
	struct host_options host;
	const char *label;
};

static result print_done(const char *what, const uint8_t *id, bool json)
{
	if (!json) {
		printf("%s: key ", what);
		verb_print_hex(span_of(id, KEY_ID_SIZE));
		printf("\n");
		return OK;
	}
	json_t *object = json_pack("{s:s, s:o}", "done", what, "key", json_hex(span_of(id, KEY_ID_SIZE)));
	result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
	json_decref(object);
	return printed;
}

static result ask(const struct arguments *arguments, const struct service_revocation_key *body)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct service_empty done;
	const struct client_call call = {.type = SERVICE_REVOCATION_KEY, .body = body, .expected = SERVICE_DONE, .timeout_ms = 60 * 1000};
	TRY(verb_connect(&arguments->host, false, NULL, &client));
	return client_call(&client, &call, &arena, &done, NULL);
}

static result add(const struct arguments *arguments, const char *path, bool json)
{
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	TRY(file_read(path, PEM_MAX, &pem));
	result read = key_from_pem(bytes_span(&pem), &key);
	if (read != OK)
		return fail_within(read, "'%s' is no public key (PEM, P-256)", path);
	if (arguments->label && strlen(arguments->label) > REVOCATION_LABEL_MAX)
		return fail(USAGE, "--label takes at most %d bytes", REVOCATION_LABEL_MAX);
	struct service_revocation_key body = {.point = SPAN_ARRAY(key.point), .label = arguments->label ? arguments->label : ""};
	TRY(ask(arguments, &body));
	return print_done("pinned", key.id, json);
}

/* The whole id, or the file of the key. */
static result read_id(const char *word, uint8_t out[static KEY_ID_SIZE])
{
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	if (strlen(word) == 2 * KEY_ID_SIZE && hex_decode(span_str(word), out, KEY_ID_SIZE) == OK)
		return OK;
	TRY(file_read(word, PEM_MAX, &pem));
	TRY(key_from_pem(bytes_span(&pem), &key));
	memcpy(out, key.id, KEY_ID_SIZE);
	return OK;
}

static result take_out(const struct arguments *arguments, const char *word, bool json)
{
	struct service_revocation_key body = {.take_out = true, .label = ""};
	TRY(read_id(word, body.id));
	TRY(ask(arguments, &body));
	return print_done("taken out; its lists are not obeyed any more", body.id, json);
}

static result dispatch(const struct arguments *arguments, const struct words *words, bool json)
{
	const char *step = words->items[0];
	if (strcmp(step, "add") == 0 && words->count == 2)
		return add(arguments, words->items[1], json);
	if (strcmp(step, "remove") == 0 && words->count == 2)
		return take_out(arguments, words->items[1], json);
	return fail(USAGE, "add FILE, list, or remove KEY");
}

int verb_host_revocation_key(int argc, char **argv)
{
	struct arguments arguments = {.label = NULL};
	const struct option_row rows[] = {
		{"label", OPTION_TEXT, &arguments.label, "TEXT", "add: what you call this operator"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host revocation-key",
		.usage = "add FILE [--label TEXT] | list | remove KEY-ID|FILE",
		.description = "Whose revocation lists this host obeys: FILE is the operator's public key (PEM). From the first key on, every channel of an\n"
			       "enclave has a lease: it ends when the secure processor is not heard of for some seconds.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 2,
	};
	if (argc > 0 && strcmp(argv[0], "list") == 0)
		return verb_revoke_list(argc - 1, argv + 1);
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = dispatch(&arguments, &options.operands, options.json);
	return verb_end(done, argc, argv);
}
