/* troth ledger reindex: index, tree and snapshot of a ledger's folder anew, from its journal. */
#include "cmd/ledger_options.h"
#include "cmd/verb.h"

#include <stdio.h>

#include "base/clock.h"

static result reindex(const struct ledger_options *ledger, const struct options *options)
{
	char dir[PATH_SIZE];
	struct ledger_audit audit;
	if (options->operands.count)
		TRY(verb_absolute(options->operands.items[0], dir));
	else
		TRY(verb_ledger_place(ledger, dir));
	const struct ledger_engine_options engine = {.dir = dir};
	uint64_t began = clock_monotonic_ns();
	TRY(ledger_engine_reindex(&engine));
	TRY(ledger_engine_audit(&engine, AUDIT_HASHES, &audit));
	double seconds = (double)(clock_monotonic_ns() - began) / 1e9;
	if (!options->json) {
		printf("%s: %llu leaves in %llu batches read, every hash leads to the signed head; index, tree and snapshot are new (%.1f s)\n", dir,
			(unsigned long long)audit.size, (unsigned long long)audit.batches, seconds);
		return OK;
	}
	json_t *row = json_pack("{s:s, s:I, s:I, s:I, s:f}", "folder", dir, "size", (json_int_t)audit.size, "batches", (json_int_t)audit.batches,
		"transactions", (json_int_t)audit.transactions, "seconds", seconds);
	result printed = row ? json_print(stdout, row) : fail(NO_MEMORY, "json");
	json_decref(row);
	return printed;
}

int verb_ledger_reindex(int argc, char **argv)
{
	struct ledger_options ledger = {.ledger = NULL};
	const struct option_row rows[] = {LEDGER_ROWS(&ledger)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger reindex",
		.usage = "[FOLDER]",
		.description = "Makes everything in a ledger's own folder anew that is made from its journal: the index, the tree of hashes and the snapshot of the\n"
			       "state. Nothing may have the folder open: stop the service first. A damaged journal or key cannot be made anew; the text says so.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = reindex(&ledger, &options);
	return verb_end(done, argc, argv);
}
