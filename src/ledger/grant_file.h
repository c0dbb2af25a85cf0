/*
 * Grant files (docs/PROTOCOL.ledger, "Grant files"): a chain of grants from the owner down, which is the body of a transaction
 * of type 4. Whoever holds the key that the last grant is for can go on from the file alone: delegate, ask, put it on the
 * ledger, or show it with an operation.
 *
 * What was opened is whole: every signature verified under the issuer that stands in it, every link following from the one
 * above it, all of one ledger. Whether a link is revoked, used up or in its time is not the file's to say.
 */
#ifndef TROTH_LEDGER_GRANT_FILE_H
#define TROTH_LEDGER_GRANT_FILE_H

#include "ledger/grant_rules.h"

enum { GRANT_FILE_MAX = 48 * 1024 };

struct grant_chain {
	struct grant_link links[GRANT_CHAIN_MAX];  /* root first */
	struct bytes_item items[GRANT_CHAIN_MAX]; /* the same as they were signed; borrowed from the file */
	size_t count;
};

/* The last link: whom the chain is for, and what it allows. */
static inline const struct grant_link *grant_chain_last(const struct grant_chain *chain)
{
	return &chain->links[chain->count - 1];
}

/*
 * TX_MALFORMED, BAD_SIGNATURE, CHAIN_FOREIGN (links of different ledgers), and the reasons of grant_rules.h; the text says
 * which link. Lists of grants live in `arena`.
 */
NODISCARD result grant_file_open(struct span file, struct arena *arena, struct grant_chain *out);

/* The file of `chain` (NULL or empty: none) with one more link behind it. GRANT_TOO_DEEP, TOO_LARGE. */
NODISCARD result grant_file_make(const struct grant_chain *chain, struct span link, struct bytes *out);

#endif
