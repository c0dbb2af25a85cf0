/* troth ledger witness new|add-log|list: makes a witness of logs, and says which logs it cosigns (docs/PROTOCOL.ledger). */
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/witness_options.h"
#include "job/state.h"
#include "ledger/witness_service.h"
#include "wire/json.h"

struct arguments {
	const char *dir, *state, *origin;
	struct words hosts;
};

static result find_dir(const struct arguments *arguments, char out[static PATH_SIZE])
{
	char state[PATH_SIZE];
	if (arguments->dir)
		return verb_absolute(arguments->dir, out);
	TRY(state_path(arguments->state, state));
	return path_join(out, state, "witness");
}

static result print_object(json_t *object)
{
	result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
	json_decref(object);
	return printed;
}

static result new_witness(const struct arguments *arguments, const char *name, bool json)
{
	char dir[PATH_SIZE], vkey[NOTE_VKEY_SIZE];
	struct note_key key;
	TRY(find_dir(arguments, dir));
	const struct witness_new what = {.dir = dir, .name = name, .hosts = arguments->hosts.items, .host_count = arguments->hosts.count};
	TRY(witness_service_init(&what, &key));
	note_key_format(&key, vkey);
	if (json)
		return print_object(json_pack("{s:s, s:s, s:s}", "folder", dir, "name", key.name, "key", vkey));
	printf("A witness was made in %s.\n", dir);
	printf("  its key:   %s\n", vkey);
	printf("  next:      troth ledger witness add-log LOG.VKEY    for each log that it is to cosign\n");
	printf("             trothd ledger --witness                  serves it\n");
	printf("  the log's: trothd ledger --witness-url URL --witness-key FILE --witness-ca FILE   with the files in %s/client\n", dir);
	return OK;
}

static result add_log(const struct arguments *arguments, const char *word, bool json)
{
	char dir[PATH_SIZE];
	struct note_key key;
	TRY(find_dir(arguments, dir));
	TRY(witness_options_key(word, &key));
	const struct witness_store_options options = {.dir = dir};
	const char *origin = arguments->origin ? arguments->origin : key.name;
	TRY(witness_store_add_log(&options, origin, &key));
	if (json)
		return print_object(json_pack("{s:s, s:s}", "origin", origin, "key", key.name));
	printf("The witness in %s cosigns the log '%s' from now on.\n", dir, origin);
	return OK;
}

static result list_row(void *arg, const struct witness_view *view)
{
	json_t *rows = arg;
	if (rows) {
		json_t *row = json_pack("{s:s, s:I, s:I, s:s, s:b}", "origin", view->log.origin, "keys", (json_int_t)view->log.key_count, "size",
			(json_int_t)view->log.size, "state", reason_name(view->state), "forked", view->forked);
		return row && json_array_append_new(rows, row) == 0 ? OK : fail(NO_MEMORY, "json");
	}
	printf("%s\n  cosigned up to size %" PRIu64 "\n", view->log.origin, view->log.size);
	if (view->state != OK)
		printf("  %s: %s\n", reason_name(view->state), reason_row(view->state)->sentence);
	if (view->forked)
		printf("  FORKED: it has signed two heads of one size; both are in evidence/ of the witness's folder\n");
	return OK;
}

static result list(const struct arguments *arguments, bool json)
{
	char dir[PATH_SIZE];
	TRY(find_dir(arguments, dir));
	const struct witness_store_options options = {.dir = dir};
	json_t *rows = json ? json_array() : NULL;
	if (json && !rows)
		return fail(NO_MEMORY, "json");
	result listed = witness_store_each(&options, list_row, rows);
	if (listed == OK && json)
		return print_object(json_pack("{s:o}", "logs", rows));
	json_decref(rows);
	return listed;
}

static result dispatch(const struct arguments *arguments, const struct words *words, bool json)
{
	const char *step = words->items[0];
	if (strcmp(step, "new") == 0 && words->count == 2)
		return new_witness(arguments, words->items[1], json);
	if (strcmp(step, "add-log") == 0 && words->count == 2)
		return add_log(arguments, words->items[1], json);
	if (strcmp(step, "list") == 0 && words->count == 1)
		return list(arguments, json);
	return fail(USAGE, "new NAME, add-log VKEY|FILE, or list");
}

int verb_ledger_witness(int argc, char **argv)
{
	struct arguments arguments = {0};
	const struct option_row rows[] = {
		{"dir", OPTION_TEXT, &arguments.dir, "DIR", "the witness's folder (default: `witness` in the state folder)"},
		{"state", OPTION_TEXT, &arguments.state, "DIR", "state folder (default: /var/lib/troth, or ~/.local/state/troth)"},
		{"host", OPTION_LIST, &arguments.hosts, "HOST",
			"new: a DNS name or IP address under which it will be reached; may stand several times (localhost, 127.0.0.1 and ::1 always)"},
		{"origin", OPTION_TEXT, &arguments.origin, "TEXT", "add-log: the first line of the log's checkpoints, where it is not the name of its key"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger witness",
		.usage = "new NAME [--host HOST] | add-log VKEY|FILE [--origin TEXT] | list",
		.description = "A witness cosigns checkpoints of logs that it was told of, when they continue what it has cosigned before: a log that is\n"
			       "cosigned cannot show two histories. NAME is that of its key (example.org/w1). A ledger's VKEY stands in log.vkey of each\n"
			       "client's folder. `trothd ledger --witness` serves it; best on a machine of other people than the log's.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 2,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = dispatch(&arguments, &options.operands, options.json);
	return verb_end(done, argc, argv);
}
