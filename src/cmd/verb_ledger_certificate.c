/* troth ledger certificate: another key and certificate for a ledger's service, for other names. */
#include "cmd/verb.h"

#include <stdio.h>

#include "cmd/ledger_options.h"
#include "ledger/place.h"

static result renew(const struct ledger_options *place, const struct words *names, bool json)
{
	char ledger[PATH_SIZE];
	TRY(verb_ledger_place(place, ledger));
	TRY(ledger_place_renew(ledger, names->items, names->count));
	if (json) {
		json_t *made = json_pack("{s:s}", "ledger", ledger);
		result printed = json_print(stdout, made);
		json_decref(made);
		return printed;
	}
	printf("Made a key and a certificate for the service of %s; they count from its next start\n", ledger);
	return fflush(stdout) == 0 ? OK : fail_errno("stdout");
}

int verb_ledger_certificate(int argc, char **argv)
{
	struct ledger_options place = {0};
	struct words names = {0};
	const struct option_row rows[] = {
		LEDGER_ROWS(&place),
		{"host", OPTION_LIST, &names, "NAME", "DNS name or IP address by which clients reach the service; may stand there often"},
	};
	struct options options = {
		.verb = "ledger certificate",
		.usage = "[--host NAME]...",
		.description = "Gives a ledger's service a fresh key and a certificate for these names, and for localhost, 127.0.0.1 and ::1. Clients need\n"
			       "nothing new: the CA stays the same.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = renew(&place, &names, options.json);
	options_free(&options);
	return verb_end(done, argc, argv);
}
