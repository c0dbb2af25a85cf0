/* troth grant show: what a grant file says, checked link by link, and with a ledger what became of each. */
#include "cmd/grant_status.h"
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"

struct arguments {
	struct ledger_options ledger;
	bool offline;
};

struct showing {
	struct names names;
	struct grant_chain chain;
	struct grant_status status[GRANT_CHAIN_MAX];
	bool asked;
};

/* Without a place there is nothing to ask, unless one was named. */
static result ask(const struct arguments *arguments, struct showing *showing)
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	if (arguments->offline)
		return OK;
	result opened = verb_ledger_open(&arguments->ledger, &client);
	if (opened == NOT_FOUND && !arguments->ledger.ledger)
		return OK;
	TRY(opened);
	if (memcmp(ledger_client_chain(client), showing->chain.links[0].grant.chain, CHAIN_ID_SIZE) != 0)
		return fail(CHAIN_FOREIGN, "the grants are of another ledger than the place is of; --offline shows them alone");
	for (size_t i = 0; i < showing->chain.count; i++) {
		TRY(grant_status_ask(client, showing->chain.links[i].oid, &showing->status[i]));
		for (size_t above = 0; above < i; above++)
			showing->status[i].ended_above |= showing->status[above].revoked; /* also when this one was never seen */
	}
	showing->asked = true;
	return OK;
}

static result print_json(const struct showing *showing, uint64_t now)
{
	json_t *list = json_array();
	for (size_t i = 0; i < showing->chain.count; i++) {
		const struct grant_link *link = &showing->chain.links[i];
		json_t *json = grant_json(&showing->names, link);
		if (json && showing->asked)
			json_object_set_new(json, "ledger", grant_status_json(&link->grant, &showing->status[i], now));
		json_array_append_new(list, json);
	}
	return print_json_of(json_pack("{s:o}", "links", list));
}

static void print_status(const struct showing *showing, size_t at, uint64_t now)
{
	const struct grant_status *status = &showing->status[at];
	char by[PERSON_TEXT_SIZE];
	printf("    now    %s", grant_status_word(&showing->chain.links[at].grant, status, now));
	names_person(&showing->names, status->revoked_by, by);
	if (status->revoked)
		printf(" in leaf %" PRIu64 " by %s", status->revoked_at, by);
	if (status->uses)
		printf(", used %" PRIu64 " time%s", status->uses, status->uses == 1 ? "" : "s");
	printf(" (as of size %" PRIu64 ")\n", status->size);
}

static result show(const struct arguments *arguments, const char *path, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct showing showing = {.asked = false};
	uint64_t now = clock_wall_ms();
	TRY(names_of_state(arguments->ledger.state, &arena, &showing.names));
	TRY(grant_read(path, &arena, &file, &showing.chain));
	TRY(ask(arguments, &showing));
	if (json)
		return print_json(&showing, now);
	printf("%zu grant%s, each signed by its issuer and within the one above it%s\n", showing.chain.count, showing.chain.count > 1 ? "s" : "",
		showing.asked ? "" : " (no ledger was asked: whether one was revoked or used up is not known)");
	for (size_t i = 0; i < showing.chain.count; i++) {
		printf("%zu of %zu\n", i + 1, showing.chain.count);
		grant_print(&showing.names, &showing.chain.links[i], "  ");
		if (showing.asked)
			print_status(&showing, i, now);
	}
	return OK;
}

int verb_grant_show(int argc, char **argv)
{
	struct arguments arguments = {.offline = false};
	const struct option_row rows[] = {
		{"offline", OPTION_FLAG, &arguments.offline, NULL, "ask no ledger, also when there is one"},
		LEDGER_ROWS(&arguments.ledger),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "grant show",
		.usage = "FILE.grant",
		.description = "Shows a grant and those that it comes from, after checking every signature and that each is within the one above it; and\n"
			       "what the ledger knows of each: since when, how often it was used, whether it was revoked.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = show(&arguments, options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}
