/*
 * troth channel test: the channels between two enclaves that live on this host, as each end sees them, and what each end's
 * policy in force says of the other now. No new handshake is made: a channel tells of its last one.
 */
#include "cmd/verb.h"

#include <stdio.h>

#include "wire/json.h"

static const char *suite_name(unsigned suite)
{
	return suite == 2 ? "P-256 and ML-KEM-768" : suite == 1 ? "P-256" : "none";
}

static void print_end(const char *who, const char *peer, const struct channel_state *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct channel_state *row = &rows[i];
		printf("  %s %s %s for '%s' (edge %s): %s, suite %s, Level-%u evidence of %s, renewed %llu times; policy: %s\n", who,
			row->connects ? "connects to" : "accepts", peer, row->operation, row->edge, row->open ? "open" : "not open",
			suite_name(row->suite), row->level, peer, (unsigned long long)row->renewed,
			!row->suite ? "not asked, there was no handshake" : row->reason ? row->text : "allows it");
	}
}

static result judge_policy(const char *who, const char *peer, const struct channel_state *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].reason != OK)
			return fail(reason_row((enum reason)rows[i].reason)->reason, "%s refuses %s on edge '%s': %s", who, peer, rows[i].edge, rows[i].text);
	return OK;
}

static result judge_open(const char *who, const char *peer, const struct channel_state *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!rows[i].open)
			return fail(CHANNEL_CLOSED, "%s has no open channel with %s on edge '%s'", who, peer, rows[i].edge);
	return OK;
}

static result test(const struct host_options *host, const struct words *names, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	const char *one = names->items[0], *other = names->items[1];
	const struct service_channel_test request = {one, other};
	const struct client_call call = {.type = SERVICE_CHANNEL_TEST, .body = &request, .expected = SERVICE_CHANNEL_TESTED, .timeout_ms = 150 * 1000};
	struct service_channel_tested tested;
	TRY(verb_attach(host, &client));
	TRY(client_call(&client, &call, &arena, &tested, NULL));
	if (tested.one_count == 0 || tested.other_count == 0)
		return fail(CALL_NOT_DECLARED, "their job has no edge between %s and %s, or they are of two jobs", one, other);
	if (json) {
		json_t *document = schema_json(&service_channel_tested_schema, &tested);
		result printed = document ? json_print(stdout, document) : fail(NO_MEMORY, "json");
		json_decref(document);
		TRY(printed);
	} else {
		print_end(one, other, tested.one, tested.one_count);
		print_end(other, one, tested.other, tested.other_count);
	}
	/* A policy that forbids it is why it is closed. */
	TRY(judge_policy(one, other, tested.one, tested.one_count));
	TRY(judge_policy(other, one, tested.other, tested.other_count));
	TRY(judge_open(one, other, tested.one, tested.one_count));
	return judge_open(other, one, tested.other, tested.other_count);
}

int verb_channel_test(int argc, char **argv)
{
	struct host_options host = {0};
	const struct option_row rows[] = {HOST_ROWS(&host)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "channel test",
		.usage = "ONE OTHER [--state DIR]",
		.description =
			"Asks both ends of the channels between two enclaves that live on this host (NAME or NAME@RUN): is it open, by which\n"
			"suite and on what evidence, and what does the policy in force at that end say of the other now. No new handshake is\n"
			"made. Done when both ends have it open and allow it; else refused with the reason of the end that does not.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 2,
		.max_operands = 2,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = test(&host, &options.operands, options.json);
	return verb_end(done, argc, argv);
}
