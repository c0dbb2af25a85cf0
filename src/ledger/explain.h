/*
 * Why the contract decides as it does, for people: which rule or grant decides, and what would change it. The decision is the
 * contract's own (contract_decide, here or at a service); this only puts it into words, from facts that the caller fetched.
 * Nothing here judges anything.
 */
#ifndef TROTH_LEDGER_EXPLAIN_H
#define TROTH_LEDGER_EXPLAIN_H

#include "ledger/contract.h"
#include "ledger/grant_file.h"
#include "ledger/names.h"
#include "ledger/words.h"

enum { EXPLAIN_LINES = 32 };

struct explain_facts {
	uint64_t now_ms;
	const struct names *names; /* NULL: addresses alone */
	const struct access_fact *rules; /* of the scopes on the way to the one that is asked about, those that have any */
	size_t rule_count;
	const struct grant_chain *chain; /* that was shown; NULL: none, or one that does not hold together */
	struct explain_link {
		uint64_t uses;
		bool revoked;
		uint64_t revoked_at; /* index */
		uint8_t revoked_by[ADDRESS_SIZE];
	} links[GRANT_CHAIN_MAX];
};

struct explanation {
	const char *because;
	const char *changes[EXPLAIN_LINES]; /* what would change it; each stands for itself */
	size_t change_count;
};

/* The text of `refusal` stands in when the decision is about a chain that could not be opened. Texts live in `arena`. */
NODISCARD result explain_decision(const struct access_question *question, const struct access_decision *decision, const char *refusal,
	const struct explain_facts *facts, struct arena *arena, struct explanation *out);

#endif
