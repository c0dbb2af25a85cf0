/* troth ledger writer: who may send transactions to a ledger's service. */
#include "cmd/verb.h"

#include <stdio.h>
#include <string.h>

#include "cmd/ledger_options.h"
#include "job/state.h"
#include "ledger/place.h"

struct arguments {
	const char *out, *url;
	bool reader, json;
};

static result print_json(json_t *json)
{
	result printed = json_print(stdout, json);
	json_decref(json);
	return printed;
}

static result make(const char *ledger, const char *name, const struct arguments *arguments)
{
	char out[PATH_SIZE];
	if (arguments->reader == (name != NULL))
		return fail(USAGE, arguments->reader ? "--reader has no name" : "the writer's name is missing; --reader makes a folder that may only read");
	if (!arguments->out)
		return fail(USAGE, "--out is missing: the folder to make");
	TRY(state_path(arguments->out, out));
	TRY(ledger_place_add_client(ledger, name, arguments->url, out));
	if (arguments->json)
		return print_json(json_pack("{s:s, s:s?}", "client", out, "writer", name));
	printf("Made %s: a client's folder %s%s\n", out, name ? "for writer " : "that may only read", name ? name : "");
	return OK;
}

static result remove_one(const char *ledger, const char *name, const struct arguments *arguments)
{
	if (!name)
		return fail(USAGE, "the writer's name is missing");
	TRY(ledger_place_remove_writer(ledger, name));
	if (arguments->json)
		return print_json(json_pack("{s:s}", "removed", name));
	printf("Writer %s may not send any more\n", name);
	return OK;
}

static result add_row(void *arg, const char *name, bool removed)
{
	(void)json_array_append_new(arg, json_pack("{s:s, s:b}", "writer", name, "removed", (int)removed));
	return OK;
}

static result print_row(void *arg, const char *name, bool removed)
{
	(void)arg;
	printf("%s%s\n", name, removed ? "  (removed)" : "");
	return OK;
}

static result list(const char *ledger, const struct arguments *arguments)
{
	if (!arguments->json)
		return ledger_place_writers(ledger, print_row, NULL);
	json_t *rows = json_array();
	result walked = ledger_place_writers(ledger, add_row, rows);
	if (walked == OK)
		return print_json(rows);
	json_decref(rows);
	return walked;
}

static result act(const struct ledger_options *options, const struct words *operands, const struct arguments *arguments)
{
	char ledger[PATH_SIZE];
	const char *what = operands->items[0], *name = operands->count > 1 ? operands->items[1] : NULL;
	bool is_new = strcmp(what, "new") == 0, is_list = strcmp(what, "list") == 0;
	TRY(verb_ledger_place(options, ledger));
	if (!is_new && (arguments->out || arguments->url || arguments->reader))
		return fail(USAGE, "--out, --url and --reader go with `new`");
	if (is_list && name)
		return fail(USAGE, "`list` takes no name");
	result done = is_new ? make(ledger, name, arguments) : is_list ? list(ledger, arguments)
		: strcmp(what, "remove") == 0 ? remove_one(ledger, name, arguments) : fail(USAGE, "it is new, list or remove, not '%s'", what);
	return done == OK && fflush(stdout) != 0 ? fail_errno("stdout") : done;
}

int verb_ledger_writer(int argc, char **argv)
{
	struct ledger_options place = {0};
	struct arguments arguments = {0};
	const struct option_row rows[] = {
		LEDGER_ROWS(&place),
		{"out", OPTION_TEXT, &arguments.out, "FOLDER", "new: the client's folder to make"},
		{"url", OPTION_TEXT, &arguments.url, "URL", "new: where that client finds the service (as the ledger's own client/)"},
		{"reader", OPTION_FLAG, &arguments.reader, NULL, "new: without a certificate: it may read and check, not send"},
	};
	struct options options = {
		.verb = "ledger writer",
		.usage = "new NAME --out FOLDER | remove NAME | list",
		.description = "Works on a ledger's own folder. `new` makes a client's folder with a key and certificate of its own: who holds it may send\n"
			       "transactions; what they may say is decided by who signed them, not by this certificate. `remove` takes that away for good.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 2,
	};
	result done = options_parse(&options, argc, argv);
	arguments.json = options.json;
	if (done == OK && !options.help)
		done = act(&place, &options.operands, &arguments);
	options_free(&options);
	return verb_end(done, argc, argv);
}
