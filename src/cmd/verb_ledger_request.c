/* troth ledger request: what an actor signs before a co-processor carries an operation out for them. */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <stdio.h>

#include "base/clock.h"

#define DEFAULT_VALID "5m"

struct arguments {
	struct owner_options owner;
	struct chain_options where;
	const char *operation, *scope, *measurement, *until, *output;
};

static result fill(const struct arguments *arguments, const struct names *names, const struct key *actor, struct arena *arena,
	struct access_request *out)
{
	char scope[SCOPE_MAX + 1];
	uint8_t own[ADDRESS_SIZE];
	unsigned bit;
	TRY(operation_parse(span_str(arguments->operation), &bit));
	out->operation = (uint8_t)bit;
	address_of(actor->point, own);
	TRY(names_scope(names, arguments->scope, own, scope));
	TRY(arena_string(arena, span_str(scope), &out->scope));
	TRY(when_parse(arguments->until ? arguments->until : DEFAULT_VALID, clock_wall_ms(), &out->not_after));
	out->has_measurement = arguments->measurement != NULL;
	if (arguments->measurement)
		TRY(digest_read("--measurement", arguments->measurement, out->measurement, SHA384_SIZE));
	return chain_read(&arguments->where, out->chain);
}

static result make(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(key_free) struct key actor = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct access_request request = {.v = 1};
	struct names names;
	char until[CLOCK_TEXT_SIZE];
	if (!arguments->operation || !arguments->scope || !arguments->output)
		return fail(USAGE, "--operation, --scope and --output are needed");
	TRY(names_of_state(arguments->where.ledger.state, &arena, &names));
	TRY(owner_key_open(&arguments->owner, &actor));
	TRY(fill(arguments, &names, &actor, &arena, &request));
	TRY(make_request(&request, &actor, &object));
	TRY(output_write(arguments->output, bytes_span(&object), 0644));
	clock_format(request.not_after, until);
	if (json)
		return print_json_of(json_pack("{s:s, s:s, s:s, s:s}", "output", arguments->output, "operation", arguments->operation, "scope", request.scope,
			"not_after", until));
	printf("%s written: %s on %s, good until %.19sZ and once\n", arguments->output, arguments->operation, request.scope, until);
	return OK;
}

int verb_ledger_request(int argc, char **argv)
{
	struct arguments arguments = {.operation = NULL};
	const struct option_row rows[] = {
		{"operation", OPTION_TEXT, &arguments.operation, "NAME", "read, compute, aggregate, export, delegate, delete, release, train, op32..op63"},
		{"scope", OPTION_TEXT, &arguments.scope, "SCOPE", "on which data: OWNER/part/part, or /part below your own address"},
		{"measurement", OPTION_TEXT, &arguments.measurement, "HEX", "only by this code (without: by whatever code may)"},
		{"until", OPTION_TEXT, &arguments.until, "TIME", "by when it must be carried out, at most ten minutes ahead (5m)"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the request goes"},
		OWNER_ROWS(&arguments.owner, "the actor"),
		CHAIN_ROWS(&arguments.where),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger request",
		.usage = "--key KEY --operation NAME --scope SCOPE --output FILE",
		.description = "Signs a request: this actor wants this operation on this data. A co-processor carries it out and records it on the ledger, where\n"
			       "it counts once. `troth grant explain --request FILE` says beforehand whether it would be allowed.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = make(&arguments, options.json);
	return verb_end(done, argc, argv);
}
