/*
 * troth ledger config show|new|sign|send: the ledger's configuration, which a quorum of the members of the one in force signs.
 * `new` writes what would be signed, each member signs it for themselves, and whoever has enough signatures sends them.
 */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ledger/note.h"

enum { CONFIG_MAX = LEDGER_BODY_MAX, PARTS_MAX = 32 };

struct arguments {
	struct owner_options owner;
	struct chain_options where;
	struct sending_options how;
	const char *output;
	struct words add_member, remove_member, add_registrar, remove_registrar, add_processor, remove_processor;
	struct words witness, state_witness, remove_witness;
	const char *quorum, *registrar_quorum, *time_bound, *spool_bound;
};

/* ---- Showing ------------------------------------------------------------------------------------------- */

static json_t *points_json(const struct names *names, const struct point *points, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++) {
		uint8_t address[ADDRESS_SIZE];
		address_of(points[i].bytes, address);
		json_t *row = json_pack("{s:o, s:o}", "address", json_address(address), "point", json_hex(SPAN_ARRAY(points[i].bytes)));
		const char *name = names_of(names, address);
		if (row && name)
			json_object_set_new(row, "name", json_string(name));
		json_array_append_new(list, row);
	}
	return list;
}

static json_t *config_json(const struct names *names, const struct ledger_config *config)
{
	json_t *cosigners = json_array();
	for (size_t i = 0; i < config->cosigner_count; i++)
		json_array_append_new(cosigners,
			json_pack("{s:s, s:o, s:s}", "name", config->cosigners[i].name, "key", json_hex(SPAN_ARRAY(config->cosigners[i].key)), "statement",
				config->cosigners[i].statement == STATEMENT_STATE ? "state" : "append"));
	return json_pack("{s:I, s:o, s:i, s:o, s:i, s:o, s:s, s:o, s:o, s:I, s:I}", "seq", (json_int_t)config->seq, "members",
		points_json(names, config->members, config->member_count), "quorum", config->quorum, "registrars",
		points_json(names, config->registrars, config->registrar_count), "registrar_quorum", config->registrar_quorum, "processors",
		points_json(names, config->processors, config->processor_count), "log_name", config->log_name, "log_key",
		json_hex(SPAN_ARRAY(config->log_key)), "cosigners", cosigners, "time_bound_ms", (json_int_t)config->time_bound_ms, "spool_bound_ms",
		(json_int_t)config->spool_bound_ms);
}

static void print_points(const struct names *names, const char *what, const struct point *points, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t address[ADDRESS_SIZE];
		char person[PERSON_TEXT_SIZE];
		address_of(points[i].bytes, address);
		names_person(names, address, person);
		printf("%-11s %s\n", i ? "" : what, person);
	}
	if (count == 0)
		printf("%-11s none\n", what);
}

static result print_config(const struct names *names, const struct ledger_config *config, bool json)
{
	if (json)
		return print_json_of(config_json(names, config));
	printf("configuration %" PRIu64 " of the log %s\n", config->seq, config->log_name);
	print_points(names, "members", config->members, config->member_count);
	printf("%-11s %u of them change this\n", "quorum", config->quorum);
	print_points(names, "registrars", config->registrars, config->registrar_count);
	if (config->registrar_count)
		printf("%-11s %u of them authorise code\n", "quorum", config->registrar_quorum);
	print_points(names, "processors", config->processors, config->processor_count);
	for (size_t i = 0; i < config->cosigner_count; i++)
		printf("%-11s %s (%s)\n", i ? "" : "witnesses", config->cosigners[i].name,
			config->cosigners[i].statement == STATEMENT_STATE ? "state" : "append");
	printf("%-11s %" PRIu64 " s; spooled %" PRIu64 " s\n", "late by", config->time_bound_ms / 1000, config->spool_bound_ms / 1000);
	return OK;
}

/* A payload, or an object with signatures over one. */
static result read_payload(const char *path, struct arena *arena, struct bytes *out_file, struct span *out_payload, size_t *out_signatures,
	struct ledger_config *out)
{
	struct cose_sign object;
	TRY(file_read(path, CONFIG_MAX, out_file));
	bool is_object = cose_strict_sign_parse(bytes_span(out_file), &object) == OK;
	*out_payload = is_object ? object.payload : bytes_span(out_file);
	*out_signatures = is_object ? object.count : 0;
	result decoded = schema_decode(&ledger_config_schema, *out_payload, arena, out);
	return decoded == OK ? OK : fail_within(decoded, "'%s' is no configuration", path);
}

static result show(const struct arguments *arguments, const char *path, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct ledger_config config;
	struct names names;
	struct span payload;
	size_t signatures = 0;
	TRY(names_of_state(arguments->where.ledger.state, &arena, &names));
	if (path) {
		TRY(read_payload(path, &arena, &file, &payload, &signatures, &config));
		if (!json)
			printf("%s: %zu signature%s, not in force\n", path, signatures, signatures == 1 ? "" : "s");
		return print_config(&names, &config, json);
	}
	TRY(verb_ledger_open(&arguments->where.ledger, &client));
	TRY(ledger_client_config(client, &arena, &config));
	return print_config(&names, &config, json);
}

/* ---- new --------------------------------------------------------------------------------------------------- */

static bool take_out(struct point *list, size_t *count, const uint8_t point[static POINT_SIZE])
{
	for (size_t i = 0; i < *count; i++) {
		if (memcmp(list[i].bytes, point, POINT_SIZE) != 0)
			continue;
		list[i] = list[--*count];
		return true;
	}
	return false;
}

/* By a key, or by the address or name of one that is there. */
static result find_point(const struct names *names, const char *option, const char *word, const struct point *list, size_t count,
	uint8_t out[static POINT_SIZE])
{
	uint8_t wanted[ADDRESS_SIZE], address[ADDRESS_SIZE];
	TRY(person_read(names, option, word, wanted));
	for (size_t i = 0; i < count; i++) {
		address_of(list[i].bytes, address);
		if (memcmp(address, wanted, ADDRESS_SIZE) == 0) {
			memcpy(out, list[i].bytes, POINT_SIZE);
			return OK;
		}
	}
	return fail(NOT_FOUND, "%s: '%s' is not among them", option, word);
}

static result change_points(const struct names *names, const char *what, const struct words *add, const struct words *remove, struct arena *arena,
	struct point **list, size_t *count)
{
	char option[32];
	void *room;
	struct point point;
	TRY(arena_alloc(arena, *count + add->count + 1, sizeof(struct point), &room));
	struct point *changed = room;
	for (size_t i = 0; i < *count; i++)
		changed[i] = (*list)[i];
	snprintf(option, sizeof(option), "--remove-%s", what);
	for (size_t i = 0; i < remove->count; i++) {
		TRY(find_point(names, option, remove->items[i], changed, *count, point.bytes));
		(void)take_out(changed, count, point.bytes);
	}
	snprintf(option, sizeof(option), "--add-%s", what);
	for (size_t i = 0; i < add->count; i++) {
		TRY(point_read(option, add->items[i], point.bytes));
		(void)take_out(changed, count, point.bytes); /* it may be there already */
		changed[(*count)++] = point;
	}
	*list = changed;
	return OK;
}

static result read_quorum(const char *option, const char *word, uint8_t *out)
{
	char *end;
	if (!word)
		return OK;
	unsigned long number = strtoul(word, &end, 10);
	if (*end || word[0] < '0' || word[0] > '9' || number > 32)
		return fail(USAGE, "%s takes 0 to 32, not '%s'", option, word);
	*out = (uint8_t)number;
	return OK;
}

static result read_bound(const char *word, uint64_t *out)
{
	return word ? when_parse(word, 0, out) : OK;
}

static void remove_witness(struct ledger_config *config, const char *name, bool *out_found)
{
	size_t kept = 0;
	for (size_t i = 0; i < config->cosigner_count; i++)
		if (strcmp(config->cosigners[i].name, name) != 0)
			config->cosigners[kept++] = config->cosigners[i];
	*out_found = kept < config->cosigner_count;
	config->cosigner_count = kept;
}

static result add_witnesses(const struct words *keys, enum cosigner_statement statement, struct arena *arena, struct ledger_config *config)
{
	for (size_t i = 0; i < keys->count; i++) {
		struct note_key key;
		bool found;
		struct cosigner cosigner = {.statement = (uint8_t)statement};
		result read = note_key_parse(span_str(keys->items[i]), &key);
		if (read != OK)
			return fail_within(read, "'%s' is no verifier key (NAME+ID+BASE64)", keys->items[i]);
		TRY(arena_string(arena, span_str(key.name), &cosigner.name));
		memcpy(cosigner.key, key.public_key, sizeof(cosigner.key));
		remove_witness(config, key.name, &found);
		config->cosigners[config->cosigner_count++] = cosigner;
	}
	return OK;
}

static result change_witnesses(const struct arguments *a, struct arena *arena, struct ledger_config *config)
{
	void *room;
	bool found;
	TRY(arena_alloc(arena, config->cosigner_count + a->witness.count + a->state_witness.count + 1, sizeof(*config->cosigners), &room));
	struct cosigner *cosigners = room;
	for (size_t i = 0; i < config->cosigner_count; i++)
		cosigners[i] = config->cosigners[i];
	config->cosigners = cosigners;
	for (size_t i = 0; i < a->remove_witness.count; i++) {
		remove_witness(config, a->remove_witness.items[i], &found);
		if (!found)
			return fail(NOT_FOUND, "--remove-witness: '%s' is not among them", a->remove_witness.items[i]);
	}
	TRY(add_witnesses(&a->witness, STATEMENT_APPEND, arena, config));
	return add_witnesses(&a->state_witness, STATEMENT_STATE, arena, config);
}

static result change(const struct arguments *a, const struct names *names, struct arena *arena, struct ledger_config *config)
{
	TRY(change_points(names, "member", &a->add_member, &a->remove_member, arena, &config->members, &config->member_count));
	TRY(change_points(names, "registrar", &a->add_registrar, &a->remove_registrar, arena, &config->registrars, &config->registrar_count));
	TRY(change_points(names, "processor", &a->add_processor, &a->remove_processor, arena, &config->processors, &config->processor_count));
	TRY(read_quorum("--quorum", a->quorum, &config->quorum));
	TRY(read_quorum("--registrar-quorum", a->registrar_quorum, &config->registrar_quorum));
	TRY(read_bound(a->time_bound, &config->time_bound_ms));
	TRY(read_bound(a->spool_bound, &config->spool_bound_ms));
	return change_witnesses(a, arena, config);
}

static result make_new(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	struct ledger_config config;
	struct names names;
	if (!arguments->output)
		return fail(USAGE, "--output is missing");
	TRY(names_of_state(arguments->where.ledger.state, &arena, &names));
	TRY(verb_ledger_open(&arguments->where.ledger, &client));
	TRY(ledger_client_config(client, &arena, &config));
	const unsigned quorum = config.quorum; /* of those who sign the change */
	TRY(change(arguments, &names, &arena, &config));
	config.seq++;
	memcpy(config.chain, ledger_client_chain(client), CHAIN_ID_SIZE);
	TRY(make_config_payload(&config, &payload));
	TRY(output_write(arguments->output, bytes_span(&payload), 0644));
	if (!json)
		printf("%s written; %u member%s of the configuration in force sign%s it: troth ledger config sign\n", arguments->output, quorum,
			quorum == 1 ? "" : "s", quorum == 1 ? "s" : "");
	return print_config(&names, &config, json);
}

/* ---- sign and send ------------------------------------------------------------------------------------------- */

static result sign(const struct arguments *arguments, const char *path, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY, object = BYTES_EMPTY;
	CLEANUP(key_free) struct key member = KEY_EMPTY;
	struct ledger_config config;
	struct names names;
	struct span payload;
	size_t signatures;
	if (!arguments->output)
		return fail(USAGE, "--output is missing");
	TRY(names_of_state(arguments->where.ledger.state, &arena, &names));
	TRY(read_payload(path, &arena, &file, &payload, &signatures, &config));
	TRY(owner_key_open(&arguments->owner, &member));
	const struct key *keys[] = {&member};
	TRY(make_config(payload, keys, 1, &object));
	TRY(output_write(arguments->output, bytes_span(&object), 0644));
	if (!json)
		printf("%s written: this member's signature under the following\n", arguments->output);
	return print_config(&names, &config, json);
}

struct parts {
	struct bytes files[PARTS_MAX];
	struct span spans[PARTS_MAX];
};

static void parts_free(struct parts *parts)
{
	for (size_t i = 0; i < PARTS_MAX; i++)
		bytes_free(&parts->files[i]);
}

static result send(const struct arguments *arguments, const struct words *words, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(parts_free) struct parts parts = {.files = {BYTES_EMPTY}};
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	CLEANUP(key_free) struct key sender = KEY_EMPTY;
	struct ledger_config config;
	struct names names;
	size_t count = words->count - 1;
	for (size_t i = 0; i < count; i++) {
		struct span payload;
		size_t signatures;
		TRY(read_payload(words->items[i + 1], &arena, &parts.files[i], &payload, &signatures, &config));
		if (signatures == 0)
			return fail(CONFIG_QUORUM, "'%s' is not signed by anybody: troth ledger config sign", words->items[i + 1]);
		parts.spans[i] = bytes_span(&parts.files[i]);
	}
	TRY(names_of_state(arguments->where.ledger.state, &arena, &names));
	TRY(owner_key_open(&arguments->owner, &sender));
	TRY(make_config_join(parts.spans, count, &object));
	const struct tx_config body = {bytes_span(&object)};
	const struct ledger_send what = {
		&arguments->where, &arguments->how, &sender, TX_CONFIG, &body, "in force", json ? config_json(&names, &config) : NULL};
	return ledger_send(&what, json);
}

/* ---- The verb ------------------------------------------------------------------------------------------------- */

static result dispatch(const struct arguments *arguments, const struct words *words, bool json)
{
	const char *step = words->items[0];
	if (strcmp(step, "show") == 0 && words->count <= 2)
		return show(arguments, words->count == 2 ? words->items[1] : NULL, json);
	if (strcmp(step, "new") == 0 && words->count == 1)
		return make_new(arguments, json);
	if (strcmp(step, "sign") == 0 && words->count == 2)
		return sign(arguments, words->items[1], json);
	if (strcmp(step, "send") == 0 && words->count >= 2 && words->count <= PARTS_MAX + 1)
		return send(arguments, words, json);
	return fail(USAGE, "show [FILE], new, sign FILE, or send SIGNED...");
}

int verb_ledger_config(int argc, char **argv)
{
	struct arguments a = {.output = NULL};
	const struct option_row rows[] = {
		{"add-member", OPTION_LIST, &a.add_member, "KEY", "new: a public key (PEM), or its point in hex (repeat)"},
		{"remove-member", OPTION_LIST, &a.remove_member, "WHO", "new: by key, address or name (repeat)"},
		{"quorum", OPTION_TEXT, &a.quorum, "N", "new: how many members change the configuration"},
		{"add-registrar", OPTION_LIST, &a.add_registrar, "KEY", "new (repeat)"},
		{"remove-registrar", OPTION_LIST, &a.remove_registrar, "WHO", "new (repeat)"},
		{"registrar-quorum", OPTION_TEXT, &a.registrar_quorum, "N", "new: how many registrars authorise code"},
		{"add-processor", OPTION_LIST, &a.add_processor, "KEY", "new: a co-processor beside those of roots on the ledger (repeat)"},
		{"remove-processor", OPTION_LIST, &a.remove_processor, "WHO", "new (repeat)"},
		{"witness", OPTION_LIST, &a.witness, "VKEY", "new: a witness of the log, by its verifier key (repeat)"},
		{"state-witness", OPTION_LIST, &a.state_witness, "VKEY", "new: one that applies every transaction itself before it cosigns (repeat)"},
		{"remove-witness", OPTION_LIST, &a.remove_witness, "NAME", "new (repeat)"},
		{"time-bound", OPTION_TEXT, &a.time_bound, "SPAN", "new: how far what is recorded may lie from the ledger's time (5m)"},
		{"spool-bound", OPTION_TEXT, &a.spool_bound, "SPAN", "new: how late a spooled operation may be (24h)"},
		{"output", OPTION_TEXT, &a.output, "FILE", "new, sign: where it goes"},
		SENDING_ROWS(&a.how),
		OWNER_ROWS(&a.owner, "sign: the member; send: whoever sends it"),
		CHAIN_ROWS(&a.where),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger config",
		.usage = "show [FILE] | new --output FILE CHANGES | sign FILE --key KEY --output SIGNED | send SIGNED... --key KEY",
		.description = "The ledger's configuration: members, registrars, co-processors, witnesses, bounds. `new` writes the next one, with the changes\n"
			       "that the options say; members of the one in force `sign` it, each by themselves; `send` needs a quorum of their signatures.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = PARTS_MAX + 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = dispatch(&a, &options.operands, options.json);
	return verb_end(done, argc, argv);
}
