/* troth ledger submit: sends transactions that were signed before, by whomever. */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <stdio.h>

static result submit(const struct chain_options *where, const struct words *files, bool check, bool json)
{
	for (size_t i = 0; i < files->count; i++) {
		CLEANUP(bytes_free) struct bytes tx = BYTES_EMPTY;
		TRY(file_read(files->items[i], TX_MAX, &tx));
		json_t *about = json && files->count > 1 ? json_pack("{s:s}", "file", files->items[i]) : NULL;
		result sent = ledger_send_bytes(where, bytes_span(&tx), check, files->items[i], about, json);
		if (sent != OK)
			return fail_within(sent, "'%s'", files->items[i]);
	}
	return OK;
}

int verb_ledger_submit(int argc, char **argv)
{
	struct chain_options where = {.chain = NULL};
	bool check = false;
	const struct option_row rows[] = {
		{"check", OPTION_FLAG, &check, NULL, "ask what the ledger would say, and send nothing"},
		LEDGER_ROWS(&where.ledger),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger submit",
		.usage = "FILE... [--check]",
		.description = "Sends transactions that other commands wrote with --tx, one after the other, and waits until each is durable. The same one\n"
			       "sent again gives the receipt it had. Stops at the first that is refused.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1000,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = submit(&where, &options.operands, check, options.json);
	return verb_end(done, argc, argv);
}
