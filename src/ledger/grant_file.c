#include "ledger/grant_file.h"

#include <string.h>

static result open_link(struct span bytes, struct arena *arena, struct grant_link *out)
{
	CLEANUP(key_free) struct key issuer = KEY_EMPTY;
	if (object_peek(KIND_GRANT, bytes, arena, &out->grant, out->oid) != OK)
		return fail(TX_MALFORMED, "%s", failure_text());
	if (key_from_point(SPAN_ARRAY(out->grant.issuer), &issuer) != OK || object_verify(KIND_GRANT, bytes, &issuer) != OK)
		return fail(BAD_SIGNATURE, "it is not signed by its issuer");
	address_of(out->grant.issuer, out->issuer);
	return grant_check_alone(&out->grant);
}

static result check_place(const struct grant_chain *chain, size_t at)
{
	const struct grant_link *link = &chain->links[at];
	if (at == 0)
		return grant_check_root(link);
	if (memcmp(link->grant.chain, chain->links[0].grant.chain, CHAIN_ID_SIZE) != 0)
		return fail(CHAIN_FOREIGN, "it is of another ledger than the one above it");
	return grant_check_child(link, &chain->links[at - 1]);
}

result grant_file_open(struct span file, struct arena *arena, struct grant_chain *out)
{
	struct grant_chain chain = {.count = 0};
	struct tx_grant body;
	if (schema_decode(&tx_grant_schema, file, arena, &body) != OK)
		return fail(TX_MALFORMED, "it is no grant file: %s", failure_text());
	for (size_t i = 0; i < body.link_count; i++) {
		chain.items[i] = body.links[i];
		result opened = open_link(body.links[i].bytes, arena, &chain.links[i]);
		if (opened == OK)
			opened = check_place(&chain, i);
		if (opened != OK)
			return fail_within(opened, "grant %zu of %zu", i + 1, body.link_count);
	}
	chain.count = body.link_count;
	*out = chain;
	return OK;
}

result grant_file_make(const struct grant_chain *chain, struct span link, struct bytes *out)
{
	struct bytes_item items[GRANT_CHAIN_MAX];
	size_t count = chain ? chain->count : 0;
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	if (count >= GRANT_CHAIN_MAX)
		return fail(GRANT_TOO_DEEP, "a chain has at most %d grants", GRANT_CHAIN_MAX);
	for (size_t i = 0; i < count; i++)
		items[i] = chain->items[i];
	items[count] = (struct bytes_item){link};
	const struct tx_grant body = {items, count + 1};
	TRY(schema_encode(&tx_grant_schema, &body, &file));
	if (file.len > GRANT_FILE_MAX)
		return fail(TOO_LARGE, "the chain takes %zu bytes; a transaction holds %d", file.len, GRANT_FILE_MAX);
	*out = bytes_move(&file);
	return OK;
}
