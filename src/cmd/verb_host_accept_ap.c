/* troth host accept-ap DIGEST: the operator accepts a secure processor, or measured programs, that have changed. */
#include "cmd/verb.h"

#include <stdio.h>

#include "wire/json.h"
#include "wire/text.h"

static result accept(const struct host_options *host, const char *digest, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct service_status status;
	uint8_t wanted[SHA384_SIZE];
	const struct client_call call = {.type = SERVICE_STATUS, .expected = SERVICE_STATUS_IS, .timeout_ms = 60 * 1000};
	if (hex_decode(span_str(digest), wanted, sizeof(wanted)) != OK)
		return fail(USAGE, "'%s' is not a SHA-384 digest of 96 hex digits; the message AP_CHANGED tells it", digest);
	TRY(verb_connect(host, false, digest, &client));
	TRY(client_call(&client, &call, &arena, &status, NULL));
	if (memcmp(status.ap_digest, wanted, sizeof(wanted)) != 0)
		return fail(AP_CHANGED, "the host runs another troth-ap than this digest; nothing was accepted");
	if (json) {
		json_t *object = json_pack("{s:b, s:s}", "accepted", 1, "troth_ap", digest);
		result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
		return printed;
	}
	printf("The host runs with this secure processor. Trust files made before name the old programs: make new ones.\n");
	return OK;
}

int verb_host_accept_ap(int argc, char **argv)
{
	struct host_options host = {0};
	const struct option_row rows[] = {HOST_ROWS(&host)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host accept-ap",
		.usage = "DIGEST [--state DIR]",
		.description = "Accepts a changed troth-ap (and the trothd and troth-ire beside it) for this state folder, after an "
			       "upgrade that you\n"
			       "made yourself. DIGEST is the SHA-384 of the new troth-ap, as the message AP_CHANGED or sha384sum tells it.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = accept(&host, options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}
