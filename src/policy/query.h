/*
 * Requests that people write, to ask a policy what it would say (`troth policy explain` and `test`). Nothing here decides:
 * a query becomes a policy_request, and policy_decide answers it as it would answer a runtime.
 *
 * What is not said is an ordinary peer: endorsed by the subject's own root, Level-1, tier N, fresh evidence, no open interpreter.
 */
#ifndef TROTH_POLICY_QUERY_H
#define TROTH_POLICY_QUERY_H

#include "policy/table.h"
#include "wire/document.h"

enum { QUERY_MAX_SCOPES = 64, QUERY_MAX_REPEAT = 1000 * 1000 };

struct policy_query {
	struct policy_request request; /* spans borrow from the document, or from here */
	struct span scopes[QUERY_MAX_SCOPES];
	uint8_t own_rot[POLICY_ROT_ID_SIZE], peer_rot[POLICY_ROT_ID_SIZE], core[POLICY_CORE_SIZE];
	uint64_t repeat; /* asked so often at one moment, for rates; the last answer counts */
	const char *name; /* of the expectation; "" */
	/* Of an expectation: allowed, or refused for this reason. */
	bool has_expected;
	enum reason expected;
};

/*
 * A map with `own` and `peer` and what else docs/POLICY.md lists. `expectation`: it may have `name` and must have `expect`.
 * Every refusal names line and column. The query must not move afterwards.
 */
NODISCARD result policy_query_read(const struct document *document, const struct node *node, uint64_t now_ms, bool expectation,
	struct policy_query *out);

/* Asks, `repeat` times with one meter. */
NODISCARD result policy_query_ask(const struct policy_table *table, const struct policy_query *query, struct policy_decision *decision);

/* The same question as the other side would be asked it: what one connects the other accepts. */
void policy_query_mirror(const struct policy_query *query, struct policy_query *out);

/* One change to a request, and whether it alone turns the answer round. */
struct policy_variation {
	char what[160]; /* "evidence of Level-2" */
	enum reason reason; /* after the change */
};
enum { POLICY_MAX_VARIATIONS = 32 };

/*
 * What would change the answer: every single change of the request, out of those that make sense, with which it is the other
 * one (refused becomes allowed, allowed becomes refused). `out` has room for POLICY_MAX_VARIATIONS.
 */
NODISCARD result policy_query_vary(const struct policy_table *table, const struct policy_query *query, struct policy_variation *out,
	size_t *out_count);

#endif
