/* troth root rotate: the next epoch now. */
#include "cmd/root_client.h"
#include "cmd/root_describe.h"

#include <stdio.h>

struct arguments {
	struct host_options host;
	bool emergency;
	const char *reason;
};

static result rotate(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct service_rotate ask = {arguments->emergency, arguments->reason ? arguments->reason : ""};
	struct service_root root;
	const struct client_call call = {.type = SERVICE_ROTATE, .body = &ask, .expected = SERVICE_ROOT_IS, .timeout_ms = 120 * 1000};
	if (strlen(ask.text) > HISTORY_TEXT_MAX / 2)
		return fail(USAGE, "--reason takes at most %d bytes", HISTORY_TEXT_MAX / 2);
	TRY(verb_connect(&arguments->host, false, NULL, &client));
	TRY(client_call(&client, &call, &arena, &root, NULL));
	if (json)
		return root_print_json(&root, &arena);
	struct epoch head;
	TRY(root_decode(root.head, &arena, &head));
	printf("The root is in era %u, epoch %llu now.\n", head.era, (unsigned long long)head.epoch);
	return OK;
}

int verb_root_rotate(int argc, char **argv)
{
	struct arguments arguments = {.reason = NULL};
	const struct option_row rows[] = {
		{"emergency", OPTION_FLAG, &arguments.emergency, NULL,
			"also while the epoch before is in its grace; the old keys go at once and running jobs are ended"},
		{"reason", OPTION_TEXT, &arguments.reason, "TEXT", "kept in the root's history"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "root rotate",
		.usage = "[--emergency] [--reason TEXT]",
		.description = "Replaces the keys of this host's root of trust by the ones that it committed to before. Verifiers follow by\n"
			       "themselves; nothing has to be given to them. A host does this every day without being asked. It helps against\n"
			       "stolen keys, not against a secure processor that somebody controls: for that see `troth root recover`.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = rotate(&arguments, options.json);
	return verb_end(done, argc, argv);
}
