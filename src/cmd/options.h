/*
 * The one parser of command lines: a verb describes its options as a table, and gets parsing, --help and errors from it.
 *
 *	--name VALUE, --name=VALUE, --flag; operands may stand among the options; `--` ends them. A name may be cut short as
 *	long as it is clear which one is meant.
 *
 * Every verb has --help and --json without a row. What is parsed points into argv and lives as long as that.
 */
#ifndef TROTH_CMD_OPTIONS_H
#define TROTH_CMD_OPTIONS_H

#include "base/arena.h"

enum option_kind {
	OPTION_FLAG, /* bool * */
	OPTION_TEXT, /* const char **, at most once */
	OPTION_NUMBER, /* uint64_t *, at most once */
	OPTION_LIST, /* struct words *: one value each time it stands there */
	OPTION_WORDS, /* struct words *: every word up to the next option, at most once */
};

struct words {
	const char **items;
	size_t count;
};

struct option_row {
	const char *name; /* without "--" */
	enum option_kind kind;
	void *target;
	const char *value; /* "FILE", as help shows it; NULL for a flag */
	const char *help;
};

struct options {
	const char *program; /* NULL: "troth" */
	const char *verb; /* "host init" */
	const char *usage; /* what follows the verb in the first line of help */
	const char *description; /* sentences, with newlines */
	const struct option_row *rows;
	size_t row_count;
	size_t min_operands, max_operands;
	bool command; /* the first operand, or `--`, begins a command line that is taken as it is */

	/* results */
	struct arena arena;
	struct words operands;
	bool json;
	bool help; /* --help was there and has been printed: the verb has nothing to do */
};

/* USAGE says what was wrong. Free with options_free. */
NODISCARD result options_parse(struct options *options, int argc, char **argv);
void options_free(struct options *options);

/* The help text, to stdout. */
void options_print_help(const struct options *options);

/* True when --json stands before any `--`: for errors met before or while parsing. */
bool options_want_json(int argc, char **argv);

#endif
