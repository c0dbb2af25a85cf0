/* troth ledger status: where a ledger stands, and whether its head continues what was seen before. */
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/ledger_options.h"
#include "ledger/client.h"

static const char *text_of(const json_t *json, const char *name)
{
	const char *text = json_string_value(json_object_get(json, name));
	return text ? text : "?";
}

static void print_notes(const json_t *json)
{
	const json_t *note;
	size_t i;
	json_array_foreach(json_object_get(json, "notes"), i, note)
		printf("  %-12s %s %s\n", text_of(note, "subject"), text_of(note, "reason"), text_of(note, "text"));
}

static result print_status(const struct ledger_client *client, const json_t *status, const struct checkpoint *head, uint64_t before)
{
	const char *url = ledger_client_url(client);
	printf("Ledger %s\n", ledger_client_log_key(client)->name);
	printf("  asked        %s\n", ledger_client_is_direct(client) ? "its folder, read-only: no service runs" : url);
	printf("  may send     %s\n", ledger_client_may_write(client) ? "yes" : "no");
	printf("  leaves       %" PRIu64 "\n", head->size);
	printf("  batches      %" JSON_INTEGER_FORMAT "\n", json_integer_value(json_object_get(status, "height")));
	printf("  facts        %" JSON_INTEGER_FORMAT "\n", json_integer_value(json_object_get(status, "facts")));
	printf("  last batch   %s\n", text_of(status, "time"));
	printf("  root         %s\n", text_of(status, "root"));
	if (before)
		printf("  history      continues the head of size %" PRIu64 " seen before\n", before);
	else
		printf("  history      seen for the first time from here\n");
	print_notes(status);
	return fflush(stdout) == 0 ? OK : fail_errno("stdout");
}

static result show(const struct ledger_options *options, bool json)
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	struct checkpoint head, known = {.size = 0};
	json_t *status = NULL;
	TRY(verb_ledger_open(options, &client));
	result remembered = ledger_client_remembered(client, NULL, &known);
	if (remembered != OK && remembered != NOT_FOUND)
		return remembered;
	TRY(ledger_client_checkpoint(client, NULL, &head));
	TRY(ledger_client_status(client, &status));
	(void)json_object_set_new(status, "url", json_string(ledger_client_url(client)));
	(void)json_object_set_new(status, "direct", json_boolean(ledger_client_is_direct(client)));
	(void)json_object_set_new(status, "may_write", json_boolean(ledger_client_may_write(client)));
	(void)json_object_set_new(status, "verified_size", json_integer((json_int_t)head.size));
	(void)json_object_set_new(status, "seen_before", json_integer((json_int_t)known.size));
	result printed = json ? json_print(stdout, status) : print_status(client, status, &head, known.size);
	json_decref(status);
	return printed;
}

int verb_ledger_status(int argc, char **argv)
{
	struct ledger_options place = {0};
	const struct option_row rows[] = {LEDGER_ROWS(&place)};
	struct options options = {
		.verb = "ledger status",
		.usage = "[OPTIONS]",
		.description = "Says where the ledger stands. Its head is checked: signed by its log, and continuing the one that was seen from here before.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = show(&place, options.json);
	options_free(&options);
	return verb_end(done, argc, argv);
}
