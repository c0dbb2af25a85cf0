/* troth ledger init: everything that a ledger needs, so that nothing is left to configure. */
#include "cmd/verb.h"

#include <fcntl.h>
#include <stdio.h>

#include "cmd/ledger_options.h"
#include "ledger/place.h"

enum { KEY_FILE_MAX = 16 * 1024, PROCESSORS_MAX = 16 };

struct arguments {
	const char *name, *url, *founder;
	struct words names, processors;
	uint64_t time_bound_s, spool_bound_s;
};

static result load_founder(const char *path, struct key *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(file_read_secret(fd.n, KEY_FILE_MAX, &pem));
	result read = key_from_private_pem(secret_span(&pem), out);
	return read == OK ? OK : fail_within(read, "'%s'", path);
}

static result load_processors(const struct words *files, struct point out[static PROCESSORS_MAX])
{
	if (files->count > PROCESSORS_MAX)
		return fail(USAGE, "--processor can stand there %d times", PROCESSORS_MAX);
	for (size_t i = 0; i < files->count; i++) {
		CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		TRY(file_read(files->items[i], KEY_FILE_MAX, &pem));
		result read = key_from_pem(bytes_span(&pem), &key);
		if (read != OK)
			return fail_within(read, "'%s'", files->items[i]);
		memcpy(out[i].bytes, key.point, POINT_SIZE);
	}
	return OK;
}

static result print_made(const char *dir, bool has_founder, bool json)
{
	CLEANUP(ledger_place_free) struct ledger_place place = LEDGER_PLACE_EMPTY;
	char vkey[NOTE_VKEY_SIZE], client[PATH_SIZE];
	TRY(path_join(client, dir, "client"));
	TRY(ledger_place_read(client, &place));
	note_key_format(&place.log, vkey);
	if (json) {
		json_t *made = json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}", "ledger", dir, "client", client, "url", place.url, "chain",
			json_hex(SPAN_ARRAY(place.chain)), "vkey", vkey, "writer", place.writer);
		result printed = json_print(stdout, made);
		json_decref(made);
		return printed;
	}
	printf("Made a ledger in %s\n", dir);
	printf("  log          %s\n", vkey);
	printf("  service      %s, once `trothd ledger --dir %s` runs\n", place.url, dir);
	printf("  client       %s: copy it to whoever may write; log.vkey alone is enough to check proofs\n", client);
	if (has_founder)
		printf("  founder      %s/founder.key: first member and registrar; keep a copy elsewhere\n", dir);
	return fflush(stdout) == 0 ? OK : fail_errno("stdout");
}

static result make(const struct ledger_options *place, const struct arguments *arguments, const struct options *options)
{
	CLEANUP(key_free) struct key founder = KEY_EMPTY;
	struct point processors[PROCESSORS_MAX];
	struct ledger_options named = *place;
	char dir[PATH_SIZE];
	if (options->operands.count) {
		if (named.ledger)
			return fail(USAGE, "name the folder once: as DIR or with --ledger");
		named.ledger = options->operands.items[0];
	}
	TRY(verb_ledger_place(&named, dir));
	if (arguments->founder)
		TRY(load_founder(arguments->founder, &founder));
	TRY(load_processors(&arguments->processors, processors));
	const struct ledger_place_new what = {
		.dir = dir,
		.log_name = arguments->name,
		.url = arguments->url,
		.names = arguments->names.items,
		.name_count = arguments->names.count,
		.founder = arguments->founder ? &founder : NULL,
		.processors = processors,
		.processor_count = arguments->processors.count,
		.time_bound_ms = arguments->time_bound_s * 1000,
		.spool_bound_ms = arguments->spool_bound_s * 1000,
	};
	TRY(ledger_place_init(&what));
	return print_made(dir, !arguments->founder, options->json);
}

int verb_ledger_init(int argc, char **argv)
{
	struct ledger_options place = {0};
	struct arguments arguments = {0};
	const struct option_row rows[] = {
		LEDGER_ROWS(&place),
		{"name", OPTION_TEXT, &arguments.name, "NAME",
			"name of the log, for good: a host name of yours and a path, as example.org/ledger (troth.invalid/ and random digits)"},
		{"host", OPTION_LIST, &arguments.names, "NAME", "DNS name or IP address by which clients reach the service; may stand there often"},
		{"url", OPTION_TEXT, &arguments.url, "URL", "where clients find the service (https://127.0.0.1:8443)"},
		{"founder", OPTION_TEXT, &arguments.founder, "FILE.pem", "P-256 key of the first member and registrar; a fresh one is made otherwise"},
		{"processor", OPTION_LIST, &arguments.processors, "FILE.pem",
			"public key of a co-processor whose operations count from the start; may stand there often"},
		{"time-bound", OPTION_NUMBER, &arguments.time_bound_s, "SECONDS", "how far the time of a record may be from the ledger's (300)"},
		{"spool-bound", OPTION_NUMBER, &arguments.spool_bound_s, "SECONDS", "the same for operations that were spooled (86400)"},
	};
	struct options options = {
		.verb = "ledger init",
		.usage = "[DIR] [OPTIONS]",
		.description = "Makes a ledger in DIR: its log with a key of its own, the first configuration, a CA with a certificate for the service and\n"
			       "one for a first writer, and a client's folder to copy. `trothd ledger --dir DIR` then serves it.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = make(&place, &arguments, &options);
	options_free(&options);
	return verb_end(done, argc, argv);
}
