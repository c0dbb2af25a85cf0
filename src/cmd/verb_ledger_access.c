/* troth ledger access: an owner's rules for a scope, replaced as a whole. */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>

#include "ledger/access_text.h"

struct arguments {
	struct owner_options owner;
	struct chain_options where;
	struct sending_options how;
	const char *rules;
	uint64_t version;
};

/* The next version, as the ledger has it, unless somebody said one. */
static result find_version(const struct arguments *arguments, struct tx_access *access)
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	struct access_fact fact;
	uint64_t size;
	bool there;
	if (arguments->version)
		access->version = arguments->version;
	if (access->version)
		return OK;
	if (arguments->where.chain)
		return fail(USAGE, "without a ledger to ask, --version or a `version` in the file is needed");
	TRY(verb_ledger_open(&arguments->where.ledger, &client));
	TRY(ledger_client_fact(client, FACT_ACCESS, span_str(access->scope), &arena, &fact, &there, &size));
	access->version = there ? fact.access.version + 1 : 1;
	return OK;
}

static result check_owner(const char *scope, const struct key *sender)
{
	uint8_t owner[ADDRESS_SIZE], address[ADDRESS_SIZE];
	char text[ADDRESS_TEXT_SIZE];
	TRY(scope_parse(scope, owner));
	address_of(sender->point, address);
	address_format(address, text);
	return memcmp(owner, address, ADDRESS_SIZE) == 0 ? OK : fail(SCOPE_NOT_OWNED, "scope: '%s' is not of %s, whose key this is", scope, text);
}

static result set_access(const struct arguments *arguments, const char *word, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(key_free) struct key sender = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	char scope[SCOPE_MAX + 1], done[64];
	uint8_t own[ADDRESS_SIZE];
	struct names names;
	struct tx_access access;
	if (!arguments->rules)
		return fail(USAGE, "--rules is missing: the file with the rules");
	TRY(names_of_state(arguments->where.ledger.state, &arena, &names));
	TRY(owner_key_open(&arguments->owner, &sender));
	address_of(sender.point, own);
	TRY(names_scope(&names, word, own, scope));
	TRY(check_owner(scope, &sender));
	TRY(file_read(arguments->rules, ACCESS_TEXT_MAX, &text));
	TRY(access_text_parse(arguments->rules, bytes_span(&text), scope, &names, &arena, &access));
	TRY(find_version(arguments, &access));
	snprintf(done, sizeof(done), "version %" PRIu64 ", %zu rule%s", access.version, access.rule_count, access.rule_count == 1 ? "" : "s");
	const struct ledger_send send = {
		&arguments->where, &arguments->how, &sender, TX_ACCESS, &access, done, json ? access_text_json(&access) : NULL};
	return ledger_send(&send, json);
}

int verb_ledger_access(int argc, char **argv)
{
	struct arguments arguments = {.rules = NULL};
	const struct option_row rows[] = {
		{"rules", OPTION_TEXT, &arguments.rules, "FILE", "YAML or JSON with the rules; `troth ledger query rules` prints those in force so"},
		{"version", OPTION_NUMBER, &arguments.version, "N", "of these rules (the next one)"},
		SENDING_ROWS(&arguments.how),
		OWNER_ROWS(&arguments.owner, "the owner of the scope"),
		CHAIN_ROWS(&arguments.where),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger access",
		.usage = "SCOPE --rules FILE --key KEY",
		.description = "Replaces your rules for a scope (/part is below your own address): who may do what on it by which code, without a grant. A rule\n"
			       "that denies wins over everything, also over grants and over rules of scopes above. What no rule allows needs a grant.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = set_access(&arguments, options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}
