#include "cmd/ledger_options.h"

#include <stdlib.h>

#include "job/state.h"

result verb_ledger_place(const struct ledger_options *options, char out[static PATH_SIZE])
{
	char state[PATH_SIZE];
	const char *named = options->ledger ? options->ledger : options->state ? NULL : getenv("TROTH_LEDGER");
	if (named && !named[0])
		return fail(USAGE, "--ledger names no folder");
	if (named)
		return state_path(named, out);
	TRY(state_path(options->state, state));
	return path_join(out, state, "ledger");
}

result verb_ledger_open(const struct ledger_options *options, struct ledger_client **out)
{
	char place[PATH_SIZE];
	TRY(verb_ledger_place(options, place));
	const struct ledger_client_options client = {.place = place};
	return ledger_client_open(&client, out);
}
