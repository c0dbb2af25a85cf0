/* troth ledger writer: a client's folder for one more who may send, or who only reads. */
#include "cmd/verb.h"

#include <stdio.h>
#include <string.h>

#include "cmd/ledger_options.h"
#include "job/state.h"
#include "ledger/place.h"

static result make(const struct ledger_options *options, const struct options *parsed, const char *out_dir, const char *url, bool reader)
{
	char ledger[PATH_SIZE], out[PATH_SIZE];
	const char *name = NULL;
	if (parsed->operands.count < 1 || strcmp(parsed->operands.items[0], "new") != 0)
		return fail(USAGE, "it is: troth ledger writer new NAME --out FOLDER");
	if (reader == (parsed->operands.count == 2))
		return fail(USAGE, reader ? "--reader has no name" : "the writer's name is missing; --reader makes a folder that may only read");
	if (!reader)
		name = parsed->operands.items[1];
	if (!out_dir)
		return fail(USAGE, "--out is missing: the folder to make");
	TRY(verb_ledger_place(options, ledger));
	TRY(state_path(out_dir, out));
	TRY(ledger_place_add_client(ledger, name, url, out));
	if (parsed->json) {
		json_t *made = json_pack("{s:s, s:s?}", "client", out, "writer", name);
		result printed = json_print(stdout, made);
		json_decref(made);
		return printed;
	}
	printf("Made %s: a client's folder %s%s\n", out, name ? "for writer " : "that may only read", name ? name : "");
	return fflush(stdout) == 0 ? OK : fail_errno("stdout");
}

int verb_ledger_writer(int argc, char **argv)
{
	struct ledger_options place = {0};
	const char *out = NULL, *url = NULL;
	bool reader = false;
	const struct option_row rows[] = {
		LEDGER_ROWS(&place),
		{"out", OPTION_TEXT, &out, "FOLDER", "the client's folder to make"},
		{"url", OPTION_TEXT, &url, "URL", "where that client finds the service (as the ledger's own client/)"},
		{"reader", OPTION_FLAG, &reader, NULL, "without a certificate: it may read and check, not send"},
	};
	struct options options = {
		.verb = "ledger writer",
		.usage = "new NAME --out FOLDER",
		.description = "Makes a client's folder with a key and certificate of its own, in the ledger's own folder's name. Who holds it may send\n"
			       "transactions; what they may say is decided by who signed them, not by this certificate.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = 2,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = make(&place, &options, out, url, reader);
	options_free(&options);
	return verb_end(done, argc, argv);
}
