/*
 * Reason codes: why something was refused or failed.
 *
 * One table for the whole project. Each row has a stable number (it travels in signed objects and in
 * --json output), a name, the exit code a program ends with, and a sentence that says what to do.
 * Numbers are never reused; a new reason is appended to its block.
 */
#ifndef TROTH_BASE_REASON_H
#define TROTH_BASE_REASON_H

#include "base/compat.h"

/* Exit codes of every Troth program. */
enum exit_code {
	EXIT_OK = 0,
	EXIT_REFUSED = 1,      /* something was checked and refused */
	EXIT_USAGE = 2,        /* the command line or a document is wrong */
	EXIT_ENVIRONMENT = 3,  /* the machine does not offer what is needed */
	EXIT_CANNOT_JUDGE = 4, /* the evidence neither passes nor fails */
	EXIT_INTERNAL = 5,     /* a bug in Troth */
};

enum reason {
#define REASON(number, name, exit, sentence) name = number,
#include "base/reason.def"
#undef REASON
};

struct reason_row {
	enum reason reason;
	const char *name;
	enum exit_code exit;
	const char *sentence; /* what happened and what to do about it */
};

/* The row of `reason`; never NULL (an unknown number gives the row of INTERNAL). */
const struct reason_row *reason_row(enum reason reason);
const char *reason_name(enum reason reason);

/* Every row, for documentation and tests. */
extern const struct reason_row reason_table[];
extern const size_t reason_table_len;

#endif
