/*
 * What one keeps of a decision so that anybody can judge it later, offline: the leaf of an operation, the TAIL of its batch,
 * and of everything that the decision rested on what the state has of it under a later checkpoint (docs/PROTOCOL.ledger,
 * "Bundles"). Facts are intervals, so a later state says what held at the leaf's index; what changed since then it does not say, and
 * that is reported as a remark.
 *
 * Pure. The caller proves leaf, TAIL and facts (ledger/proof.h) and that all of it is of one log.
 */
#ifndef TROTH_LEDGER_DECISION_H
#define TROTH_LEDGER_DECISION_H

#include "ledger/grant_rules.h"
#include "ledger/leaf.h"
#include "ledger/state.h"

enum { DECISION_SCOPES_MAX = 17, DECISION_FACTS_MAX = 2 * GRANT_CHAIN_MAX + DECISION_SCOPES_MAX + 3, DECISION_LINES_MAX = 64 };

struct decision {
	uint64_t index; /* of its leaf */
	uint32_t code;
	uint8_t txid[OID_SIZE];
	struct transaction tx;
	struct operation operation;
	struct access_request request;
	uint8_t actor[ADDRESS_SIZE];
	struct grant_link links[GRANT_CHAIN_MAX]; /* that were shown, root first */
	size_t link_count;
};

/*
 * Opens the leaf of an operation: every signature in it is verified, and what must name the same does. BAD_TYPE when it is
 * another transaction; a refused one whose own objects are broken cannot be opened either, and the reason says what is.
 */
NODISCARD result decision_open(uint64_t index, const struct ledger_leaf *leaf, struct arena *arena, struct decision *out);

/* What the state is asked about: the two measurements, the configuration, the rules on the way to the scope, each grant and its revocation. */
struct decision_fact {
	char name[32]; /* of its proof file */
	enum fact_type type;
	uint8_t key[SPARSE_KEY_SIZE];
	struct span value; /* filled in by whoever proved it; empty: the state has none */
};
size_t decision_facts(const struct decision *decision, struct decision_fact out[static DECISION_FACTS_MAX]);

/* What was found, for people; a remark says what cannot be known from this. */
struct decision_report {
	struct decision_line {
		bool remark;
		char text[280];
	} lines[DECISION_LINES_MAX];
	size_t count;
};

/*
 * Judges: when the ledger said OK, everything that it rested on must have held at the leaf's index and at the batch's time; when
 * it said GRANT_REVOKED, there was a revocation before. PROOF_INVALID says what does not hold; `out` then has the lines up to there.
 */
NODISCARD result decision_judge(const struct decision *decision, uint64_t time_ms, const struct decision_fact *facts, size_t count,
	struct decision_report *out);

#endif
