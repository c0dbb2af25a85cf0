/* Grant files: whatever opens holds together, and delegating from it gives one that opens again. */
#include "ledger/make.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	struct grant_chain chain, shorter;
	uint8_t owner[ADDRESS_SIZE];
	if (grant_file_open(span_of(data, size), &arena, &chain) != OK)
		return 0;
	if (chain.count < 1 || chain.count > GRANT_CHAIN_MAX || scope_parse(chain.links[0].grant.scope, owner) != OK ||
		memcmp(owner, chain.links[0].issuer, ADDRESS_SIZE) != 0)
		abort();
	for (size_t i = 1; i < chain.count; i++)
		if ((chain.links[i].grant.operations & ~chain.links[0].grant.operations) != 0 ||
			!scope_covers(chain.links[0].grant.scope, chain.links[i].grant.scope))
			abort();
	/* the chain without its last link, and with it again: the same file */
	shorter = chain;
	shorter.count--;
	if (grant_file_make(&shorter, chain.items[chain.count - 1].bytes, &again) != OK || !span_equal(bytes_span(&again), span_of(data, size)))
		abort();
	return 0;
}
