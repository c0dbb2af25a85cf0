/*
 * Witnesses, on the command line of `trothd ledger`: which ones the ledger asks to cosign, and being one.
 *
 *	--witness-url URL --witness-key VKEY|FILE [--witness-ca FILE], each as often as there are witnesses, in one order
 */
#ifndef TROTH_CMD_WITNESS_OPTIONS_H
#define TROTH_CMD_WITNESS_OPTIONS_H

#include "cmd/options.h"
#include "ledger/witness_asker.h"

struct witness_options {
	struct words urls, keys, cas;
};
#define WITNESS_ROWS(target)                                                                                                               \
	{"witness-url", OPTION_LIST, &(target)->urls, "URL", "a witness that is asked to cosign each checkpoint; may stand several times"}, \
		{"witness-key", OPTION_LIST, &(target)->keys, "VKEY|FILE", "its verifier key, or witness.vkey; one for each --witness-url"}, \
	{                                                                                                                                  \
		"witness-ca", OPTION_LIST, &(target)->cas, "FILE",                                                                         \
			"who vouches for its TLS certificate, its ca.crt: one for each, or one for all (those that the system trusts)"     \
	}

/* NULL when no witness is named. USAGE, and those of the files. */
NODISCARD result witness_options_open(const struct witness_options *options, struct witness_asker **out);

/* A verifier key as it is, or the file that holds one. */
NODISCARD result witness_options_key(const char *word, struct note_key *out);

/* The role: `trothd ledger --witness`. argv begins behind "ledger". */
int trothd_witness(int argc, char **argv);

#endif
