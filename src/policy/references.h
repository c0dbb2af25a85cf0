/*
 * The reference sets that stand beside a policy while it is decided upon (docs/POLICY.md, "Cores by reference"). A policy
 * names {author key, set, least SVN}; whoever asks for a decision gives the signed sets that it has. Each set's signature is
 * verified when it is loaded, so who hands them over need not be trusted: a set of an author that the policy does not name
 * is never looked into.
 *
 * Immutable once loaded; owns copies of everything; may be read by many threads.
 */
#ifndef TROTH_POLICY_REFERENCES_H
#define TROTH_POLICY_REFERENCES_H

#include "object/reference.h"

enum { POLICY_MAX_REFERENCES = 16 }; /* sets beside one job's policies */

struct policy_references;

/* One set: whose it is. Borrowed from the whole. */
struct policy_reference_view {
	struct span author; /* 32 bytes: SPKI hash */
	struct span set;
	struct span bytes; /* as signed */
	uint64_t version;
};

/*
 * Verifies and keeps. BAD_SIGNATURE and every reason of decoding; TOO_LARGE; POLICY_CONFLICT: two sets of one author and
 * name, of which nobody could say which counts.
 */
NODISCARD result policy_references_load(const struct span *sets, size_t count, struct policy_references **out);
void policy_references_free(struct policy_references *references); /* accepts NULL */
void policy_references_cleanup(struct policy_references **references);

size_t policy_references_count(const struct policy_references *references); /* NULL: 0 */
void policy_references_at(const struct policy_references *references, size_t index, struct policy_reference_view *out);

/* What a rule says and what a request shows. */
struct policy_reference_question {
	struct span author, set; /* of the rule */
	uint32_t min_svn;
	struct span entry; /* name of the peer */
	struct span core;  /* empty: unknown */
	uint64_t now_ms;
};

struct policy_reference_answer {
	bool at_hand; /* there is a set of this author and name */
	uint32_t svn, least; /* of the row, and what is allowed; 0 when there is no row */
};

/*
 * Whether the set that is named allows this core. OK, REFERENCE_MISSING, REFERENCE_EXPIRED or SVN_TOO_LOW. Says nothing
 * into failure_text(), allocates nothing.
 */
NODISCARD enum reason policy_references_ask(const struct policy_references *references,
	const struct policy_reference_question *question, struct policy_reference_answer *out);

#endif
