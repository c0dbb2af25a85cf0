/* troth grant revoke: from the next decision on a grant counts no more, nor what was delegated from it. It cannot be undone. */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <stdio.h>
#include <stdlib.h>

struct arguments {
	struct owner_options owner;
	struct chain_options where;
	struct sending_options how;
	const char *link;
};

/* The link that is meant: --link N from the owner down, or the last. */
static result pick(const struct arguments *arguments, struct grant_chain *chain)
{
	if (!arguments->link)
		return OK;
	if (arguments->link[0] < '1' || arguments->link[0] > '8' || arguments->link[1] || (size_t)(arguments->link[0] - '0') > chain->count)
		return fail(USAGE, "--link takes 1 to %zu: the file has that many grants, the owner's is the first", chain->count);
	chain->count = (size_t)(arguments->link[0] - '0');
	return OK;
}

/* Nobody but an issuer at or above it can; that is known before anything is sent. */
static result check_sender(const struct grant_chain *chain, const struct key *sender)
{
	uint8_t address[ADDRESS_SIZE];
	address_of(sender->point, address);
	for (size_t i = 0; i < chain->count; i++)
		if (memcmp(chain->links[i].issuer, address, ADDRESS_SIZE) == 0)
			return OK;
	return fail(SENDER_NOT_ALLOWED, "issuer: this key issued neither the grant nor one that it comes from");
}

static result send(const struct arguments *arguments, const struct key *sender, struct tx_revoke *body, bool json)
{
	json_t *about = json ? json_pack("{s:o}", "revoked", json_hex(SPAN_ARRAY(body->target))) : NULL;
	const struct ledger_send what = {&arguments->where, &arguments->how, sender, TX_REVOKE, body, "revoked", about};
	return ledger_send(&what, json);
}

static result revoke(const struct arguments *arguments, const char *word, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	CLEANUP(key_free) struct key sender = KEY_EMPTY;
	struct tx_revoke body = {NULL};
	struct grant_chain chain;
	if (digest_read("OID", word, body.target, OID_SIZE) == OK) {
		TRY(owner_key_open(&arguments->owner, &sender));
		return send(arguments, &sender, &body, json);
	}
	TRY(grant_read(word, &arena, &file, &chain));
	TRY(pick(arguments, &chain));
	TRY(owner_key_open(&arguments->owner, &sender));
	TRY(check_sender(&chain, &sender));
	memcpy(body.target, grant_chain_last(&chain)->oid, OID_SIZE);
	body.links = chain.items;
	body.link_count = chain.count;
	return send(arguments, &sender, &body, json);
}

int verb_grant_revoke(int argc, char **argv)
{
	struct arguments arguments = {.link = NULL};
	const struct option_row rows[] = {
		{"link", OPTION_TEXT, &arguments.link, "N", "which grant of the file, counted from the owner's (the last)"},
		SENDING_ROWS(&arguments.how),
		OWNER_ROWS(&arguments.owner, "who issued it, or one that it comes from"),
		CHAIN_ROWS(&arguments.where),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "grant revoke",
		.usage = "FILE.grant|OID --key KEY [--link N]",
		.description = "Revokes a grant for good: at the next decision neither it nor anything delegated from it counts. Whoever issued it or one\n"
			       "that it comes from may do so, with the file; by its OID alone its issuer, once the ledger has seen it.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = revoke(&arguments, options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}
