/*
 * Rules of a scope as their owner writes them (docs/GRANTS.md), and as they are shown: YAML or JSON of
 *
 *	version: 3                      # optional: one more than the rules in force
 *	rules:
 *	  - allow: [read, compute]      # or deny; `all`
 *	    actors: [bob, troth1…]      # without: anybody
 *	    part: 2027/may              # below the scope; without: all of it
 *	    measurements: [HEX, …]      # without: any code
 */
#ifndef TROTH_LEDGER_ACCESS_TEXT_H
#define TROTH_LEDGER_ACCESS_TEXT_H

#include "ledger/names.h"
#include "ledger/words.h"

#include <jansson.h>

enum { ACCESS_TEXT_MAX = 256 * 1024 };

/* A wrong field says where it stands. `version` is 0 when the text has none. Everything lies in `arena`. */
NODISCARD result access_text_parse(const char *name, struct span text, const char *scope, const struct names *names, struct arena *arena,
	struct tx_access *out);
/* The same as JSON, for --json and as a source to go on from. NULL when memory ran out. */
json_t *access_text_json(const struct tx_access *access);

#endif
