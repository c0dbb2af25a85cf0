/* troth root history, troth root export: what verifiers follow a root with. */
#include "cmd/root_client.h"
#include "cmd/root_describe.h"

#include <stdio.h>

#include "base/clock.h"
#include "wire/json.h"

struct arguments {
	struct host_options host;
	const char *output;
	bool head;
};

static result add_row(json_t *list, const struct epoch_link *link, struct arena *arena)
{
	struct epoch epoch;
	TRY(epoch_chain_decode(link, arena, &epoch));
	json_array_append_new(list,
		json_pack("{s:I, s:I, s:o, s:s, s:o, s:o, s:b}", "era", (json_int_t)link->era, "epoch", (json_int_t)link->epoch, "oid",
			json_hex(SPAN_ARRAY(link->oid)), "reason", epoch_reason_name(epoch.reason), "not_before", json_time(link->not_before),
			"not_after", json_time(link->not_after), "void", link->is_void));
	return OK;
}

static result print_json(const struct epoch_chain *chain, struct span history)
{
	json_t *list = json_array();
	result listed = OK;
	for (size_t i = 0; i < epoch_chain_count(chain) && listed == OK; i++) {
		CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
		listed = add_row(list, epoch_chain_at(chain, i), &arena);
	}
	json_t *json = json_pack("{s:o, s:s, s:I, s:o}", "rot_id", json_hex(span_of(epoch_chain_rot_id(chain), OID_SIZE)), "state",
		epoch_chain_state_name(chain), "bytes", (json_int_t)history.len, "records", list);
	if (listed == OK)
		listed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return listed;
}

static result print_people(const struct epoch_chain *chain)
{
	for (size_t i = 0; i < epoch_chain_count(chain); i++) {
		CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
		const struct epoch_link *link = epoch_chain_at(chain, i);
		struct epoch epoch;
		char from[CLOCK_TEXT_SIZE], until[CLOCK_TEXT_SIZE];
		TRY(epoch_chain_decode(link, &arena, &epoch));
		clock_format(link->not_before, from);
		clock_format(link->not_after, until);
		printf("era %u  epoch %-6llu %-12s %.19s .. %.10s%s\n", link->era, (unsigned long long)link->epoch,
			epoch_reason_name(epoch.reason), from, until, link->is_void ? "  void" : "");
	}
	if (epoch_chain_state(chain) == CHAIN_FROZEN)
		printf("FROZEN: two valid records exist for one epoch. The exported history has both.\n");
	if (epoch_chain_state(chain) == CHAIN_HALTED)
		printf("HALTED by its recovery keys.\n");
	return OK;
}

static result history(const struct arguments *arguments, bool json)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(epoch_chain_cleanup) struct epoch_chain *chain = NULL;
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	TRY(root_connect(&arguments->host, false, &client));
	TRY(root_fetch(&client, &chain, &bytes));
	if (arguments->output)
		TRY(file_write_atomic(arguments->output, bytes_span(&bytes), 0644));
	if (json)
		return print_json(chain, bytes_span(&bytes));
	return arguments->output ? OK : print_people(chain);
}

int verb_root_history(int argc, char **argv)
{
	struct arguments arguments = {.output = NULL};
	const struct option_row rows[] = {
		{"output", OPTION_TEXT, &arguments.output, "FILE", "write the history for verifiers (`troth verify --epochs FILE`)"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "root history",
		.usage = "[--output FILE]",
		.description = "Lists every epoch of this host's root of trust, each verified here from its inception record on. With --output\n"
			       "writes all of it, forks and HALTs included, as one file from which anybody can follow the root.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = history(&arguments, options.json);
	return verb_end(done, argc, argv);
}

static result export_record(const struct arguments *arguments, bool json)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(epoch_chain_cleanup) struct epoch_chain *chain = NULL;
	if (!arguments->output)
		return fail(USAGE, "--output FILE is needed");
	TRY(root_connect(&arguments->host, false, &client));
	TRY(root_fetch(&client, &chain, NULL));
	const struct epoch_link *link = arguments->head ? epoch_chain_head(chain) : epoch_chain_at(chain, 0);
	TRY(file_write_atomic(arguments->output, link->record, 0644));
	if (!json) {
		char fingerprint[EPOCH_FINGERPRINT_SIZE];
		rot_fingerprint(epoch_chain_rot_id(chain), fingerprint);
		printf("%s record of the root %s\n", arguments->head ? "Head" : "Inception", fingerprint);
		return OK;
	}
	json_t *object = json_pack("{s:o, s:I, s:I, s:s}", "rot_id", json_hex(span_of(epoch_chain_rot_id(chain), OID_SIZE)), "era",
		(json_int_t)link->era, "epoch", (json_int_t)link->epoch, "file", arguments->output);
	result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
	json_decref(object);
	return printed;
}

int verb_root_export(int argc, char **argv)
{
	struct arguments arguments = {.output = NULL};
	const struct option_row rows[] = {
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the record goes"},
		{"head", OPTION_FLAG, &arguments.head, NULL, "the head's record instead of the inception record"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "root export",
		.usage = "--output FILE [--head]",
		.description = "Writes the inception record, which is all that a verifier has to be given once, and compares by its fingerprint.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = export_record(&arguments, options.json);
	return verb_end(done, argc, argv);
}
