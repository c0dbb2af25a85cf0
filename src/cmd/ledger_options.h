/*
 * Options of every verb that asks a ledger. Put LEDGER_ROWS(target) into its table; then:
 *
 *	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
 *	TRY(verb_ledger_open(&options, &client));
 */
#ifndef TROTH_CMD_LEDGER_OPTIONS_H
#define TROTH_CMD_LEDGER_OPTIONS_H

#include "base/file.h"
#include "cmd/options.h"
#include "ledger/client.h"

struct ledger_options {
	const char *ledger; /* --ledger; else $TROTH_LEDGER; else `ledger` in the state folder */
	const char *state;
};
#define LEDGER_ROWS(target)                                                                                                                \
	{"ledger", OPTION_TEXT, &(target)->ledger, "PLACE",                                                                                \
		"a client's folder of the ledger, or the ledger's own (default: $TROTH_LEDGER, or `ledger` in the state folder)"},          \
	{                                                                                                                                  \
		"state", OPTION_TEXT, &(target)->state, "DIR", "state folder (default: /var/lib/troth, or ~/.local/state/troth)"           \
	}

/* The place that is meant; absolute. It need not exist. */
NODISCARD result verb_ledger_place(const struct ledger_options *options, char out[static PATH_SIZE]);
NODISCARD result verb_ledger_open(const struct ledger_options *options, struct ledger_client **out);

#endif
