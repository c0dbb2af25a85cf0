/*
 * troth grant new|delegate|submit: a grant by the owner of data, and narrower ones by whoever was granted it. Neither needs the ledger:
 * a grant is a file, and a delegation that is wider than what it comes from is refused before it is signed.
 */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define DEFAULT_LIFE "30d"

struct arguments {
	struct owner_options owner;
	struct chain_options where;
	const char *to, *scope, *operations, *from, *until, *uses, *depth, *output;
	struct words measurements;
	bool submit;
};

#define GRANT_ROWS(a, default_scope, default_depth)                                                                                        \
	{"to", OPTION_TEXT, &(a)->to, "WHO", "whom it is for: a name, an address, or a file with their public key"},                        \
		{"scope", OPTION_TEXT, &(a)->scope, "SCOPE", default_scope},                                                                \
		{"operations", OPTION_TEXT, &(a)->operations, "LIST", "read,compute,aggregate,export,delegate,delete,release,train,op32..op63"}, \
		{"measurement", OPTION_LIST, &(a)->measurements, "HEX", "only by code of this measurement (repeat); without: as above, or any"}, \
		{"from", OPTION_TEXT, &(a)->from, "TIME", "when it begins: 2027-11-21T15:47:31Z, 2027-11-21, or in 12h"},                  \
		{"until", OPTION_TEXT, &(a)->until, "TIME", "when it ends, also as 30d from now"},                                         \
		{"uses", OPTION_TEXT, &(a)->uses, "N", "how many uses at most, or `any`"},                                                 \
		{"depth", OPTION_TEXT, &(a)->depth, "N", default_depth},                                                                   \
		{"output", OPTION_TEXT, &(a)->output, "FILE", "where the grant goes, *.grant"},                                            \
		{"submit", OPTION_FLAG, &(a)->submit, NULL, "put it on the ledger too, so that it is seen before it is used"},              \
		OWNER_ROWS(&(a)->owner, "who signs"), CHAIN_ROWS(&(a)->where)

/* ---- What the options say --------------------------------------------------------------------------- */

static result read_uses(const char *word, struct grant *grant)
{
	char *end;
	if (!word)
		return OK;
	grant->has_max_uses = strcmp(word, "any") != 0;
	grant->max_uses = 0;
	if (!grant->has_max_uses)
		return OK;
	grant->max_uses = strtoull(word, &end, 10);
	if (*end || word[0] < '0' || word[0] > '9' || grant->max_uses < 1 || grant->max_uses > INT64_MAX)
		return fail(USAGE, "--uses takes a number from 1 on, or `any`, not '%s'", word);
	return OK;
}

static result read_depth(const char *word, struct grant *grant)
{
	if (!word)
		return OK;
	if (word[0] < '0' || word[0] > '7' || word[1])
		return fail(USAGE, "--depth takes 0 to %d, not '%s'", GRANT_CHAIN_MAX - 1, word);
	grant->max_depth = (uint8_t)(word[0] - '0');
	return OK;
}

static result read_times(const struct arguments *arguments, struct grant *grant)
{
	uint64_t now = clock_wall_ms();
	if (arguments->from)
		TRY(when_parse(arguments->from, now, &grant->not_before));
	if (arguments->until)
		TRY(when_parse(arguments->until, now, &grant->not_after));
	if (grant->not_before >= grant->not_after)
		return fail(USAGE, "not_after: the grant would end before it begins");
	return OK;
}

/* Puts what was said over what `grant` has. `own`: whose a scope is that begins with "/". */
static result apply(const struct arguments *arguments, const struct names *names, const uint8_t *own, struct arena *arena, struct grant *grant)
{
	char scope[SCOPE_MAX + 1];
	TRY(person_read(names, "--to", arguments->to, grant->audience));
	if (arguments->scope) {
		TRY(names_scope(names, arguments->scope, own, scope));
		TRY(arena_string(arena, span_str(scope), &grant->scope));
	}
	if (arguments->operations)
		TRY(operations_parse(arguments->operations, &grant->operations));
	if (arguments->measurements.count) {
		TRY(measurements_parse(arguments->measurements.items, arguments->measurements.count, arena, &grant->measurements));
		grant->has_measurements = true;
	}
	TRY(read_uses(arguments->uses, grant));
	TRY(read_depth(arguments->depth, grant));
	return read_times(arguments, grant);
}

/* ---- Making it ------------------------------------------------------------------------------------------ */

static result put_on_ledger(const struct chain_options *where, const struct sending_options *how, const struct key *sender,
	const struct grant_chain *chain, json_t *about, bool json)
{
	const struct tx_grant body = {(struct bytes_item *)chain->items, chain->count};
	const struct ledger_send send = {where, how, sender, TX_GRANT, &body, "on the ledger", about};
	return ledger_send(&send, json);
}

static result finish(const struct arguments *arguments, const struct names *names, const struct key *issuer, struct span file, struct arena *arena,
	bool json)
{
	struct grant_chain chain;
	TRY(grant_file_open(file, arena, &chain)); /* what is given out was read back */
	TRY(output_write(arguments->output, file, 0644));
	const struct grant_link *last = grant_chain_last(&chain);
	json_t *about = json ? grant_json(names, last) : NULL;
	if (about) {
		json_object_set_new(about, "output", json_string(arguments->output));
		json_object_set_new(about, "links", json_integer((json_int_t)chain.count));
	} else if (!json) {
		grant_print(names, last, "");
		printf("%s written%s: give it to whom it is for\n", arguments->output, chain.count > 1 ? ", with the grants that it comes from" : "");
	}
	if (arguments->submit)
		return put_on_ledger(&arguments->where, &(struct sending_options){NULL}, issuer, &chain, about, json);
	return json ? print_json_of(about) : OK;
}

static result check_arguments(const struct arguments *arguments)
{
	if (!arguments->to || !arguments->output)
		return fail(USAGE, "--to and --output are needed");
	return OK;
}

static result make_new(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(key_free) struct key issuer = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes link = BYTES_EMPTY, file = BYTES_EMPTY;
	struct names names;
	struct grant grant = {.not_before = clock_wall_ms() - 60 * 1000}; /* for clocks that differ */
	uint8_t own[ADDRESS_SIZE];
	TRY(check_arguments(arguments));
	if (!arguments->scope || !arguments->operations)
		return fail(USAGE, "--scope and --operations are needed: what may be done on what");
	TRY(names_of_state(arguments->where.ledger.state, &arena, &names));
	TRY(when_parse(DEFAULT_LIFE, clock_wall_ms(), &grant.not_after));
	TRY(owner_key_open(&arguments->owner, &issuer));
	address_of(issuer.point, own);
	TRY(apply(arguments, &names, own, &arena, &grant));
	TRY(chain_read(&arguments->where, grant.chain));
	TRY(make_grant(&grant, NULL, &issuer, &link, NULL));
	TRY(grant_file_make(NULL, bytes_span(&link), &file));
	return finish(arguments, &names, &issuer, bytes_span(&file), &arena, json);
}

int verb_grant_new(int argc, char **argv)
{
	struct arguments arguments = {.to = NULL};
	const struct option_row rows[] = {
		GRANT_ROWS(&arguments, "your data: ADDRESS/part/part, or /part/part below your own address", "how often it may be passed on in turn (0: not at all)")};
	CLEANUP(options_free)
	struct options options = {
		.verb = "grant new",
		.usage = "--key KEY --to WHO --scope SCOPE --operations LIST --output FILE.grant",
		.description = "Grants somebody operations on your data. The scope begins with your own address: ownership is in the name. Without more\n"
			       "options it begins now, ends after 30 days, has any number of uses and may not be delegated. Signing needs no ledger.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = make_new(&arguments, options.json);
	return verb_end(done, argc, argv);
}

/* ---- delegate ------------------------------------------------------------------------------------------- */

static result delegate(const struct arguments *arguments, const char *path, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(key_free) struct key issuer = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes parent_file = BYTES_EMPTY, link = BYTES_EMPTY, file = BYTES_EMPTY;
	struct grant_chain chain;
	struct names names;
	uint8_t owner[ADDRESS_SIZE], given[CHAIN_ID_SIZE];
	TRY(check_arguments(arguments));
	TRY(names_of_state(arguments->where.ledger.state, &arena, &names));
	TRY(grant_read(path, &arena, &parent_file, &chain));
	const struct grant_link *parent = grant_chain_last(&chain);
	struct grant grant = parent->grant;
	if (parent->grant.max_depth == 0)
		return fail(GRANT_TOO_DEEP, "max_depth: the grant in '%s' may not be delegated", path);
	if (arguments->where.chain) {
		TRY(chain_read(&arguments->where, given));
		if (memcmp(given, grant.chain, CHAIN_ID_SIZE) != 0)
			return fail(CHAIN_FOREIGN, "the grant in '%s' is of another ledger than --chain", path);
	}
	grant.max_depth--;
	TRY(scope_parse(grant.scope, owner));
	TRY(apply(arguments, &names, owner, &arena, &grant));
	TRY(owner_key_open(&arguments->owner, &issuer));
	TRY(make_grant(&grant, parent, &issuer, &link, NULL));
	TRY(grant_file_make(&chain, bytes_span(&link), &file));
	return finish(arguments, &names, &issuer, bytes_span(&file), &arena, json);
}

int verb_grant_delegate(int argc, char **argv)
{
	struct arguments arguments = {.to = NULL};
	const struct option_row rows[] = {GRANT_ROWS(&arguments, "a part of the grant's scope; /part/part is below its owner (all of it)",
		"how often it may be passed on in turn (one less than the grant)")};
	CLEANUP(options_free)
	struct options options = {
		.verb = "grant delegate",
		.usage = "FILE.grant --key KEY --to WHO --output NEW.grant [what is narrower]",
		.description = "Passes on what a grant allows, or a part of it, to somebody else. What is not said stays as in the grant, depth excepted. What\n"
			       "would be wider is refused, with the field named; every use counts for the grant and for all that it comes from.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = delegate(&arguments, options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}

/* ---- submit --------------------------------------------------------------------------------------------- */

struct submit_arguments {
	struct owner_options owner;
	struct chain_options where;
	struct sending_options how;
};

static result submit(const struct submit_arguments *arguments, const char *path, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	CLEANUP(key_free) struct key sender = KEY_EMPTY;
	struct grant_chain chain;
	TRY(grant_read(path, &arena, &file, &chain));
	TRY(owner_key_open(&arguments->owner, &sender));
	return put_on_ledger(
		&arguments->where, &arguments->how, &sender, &chain, json ? grant_json(NULL, grant_chain_last(&chain)) : NULL, json);
}

int verb_grant_submit(int argc, char **argv)
{
	struct submit_arguments arguments = {.how = {NULL}};
	const struct option_row rows[] = {
		SENDING_ROWS(&arguments.how),
		OWNER_ROWS(&arguments.owner, "who issued it, or whom it is for"),
		CHAIN_ROWS(&arguments.where),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "grant submit",
		.usage = "FILE.grant --key KEY",
		.description = "Puts a grant, and those that it comes from, on the ledger before it is used: it is then listed, its issuer can revoke it by its\n"
			       "OID alone, and it can be proved that it was live. Using a grant does the same.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = submit(&arguments, options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}
