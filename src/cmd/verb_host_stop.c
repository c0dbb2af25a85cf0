/* troth host stop: ends the host service of a state folder; runs in progress are given up. */
#include "cmd/verb.h"

#include <stdio.h>

#include "wire/json.h"

static result stop(const struct host_options *host, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	const struct client_call call = {.type = SERVICE_SHUTDOWN, .expected = SERVICE_DONE, .timeout_ms = 60 * 1000};
	TRY(verb_attach(host, &client));
	TRY(client_call(&client, &call, &arena, NULL, NULL));
	if (json) {
		json_t *object = json_pack("{s:b}", "stopping", 1);
		result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
		return printed;
	}
	printf("The host is stopping.\n");
	return OK;
}

int verb_host_stop(int argc, char **argv)
{
	struct host_options host = {0};
	const struct option_row rows[] = {HOST_ROWS(&host)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host stop",
		.usage = "[--state DIR]",
		.description = "Ends the host service that serves the state folder. Runs in progress are given up and leave nothing.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = stop(&host, options.json);
	return verb_end(done, argc, argv);
}
