/*
 * Signed versions of policies (docs/PROTOCOL.policy, "Signed versions"). A policy that names an `author` may be followed by
 * newer ones: same subject, same author named, a higher version, signed by him. The policy that an enclave was measured with
 * says who that is, so nobody who hands a version over need be trusted.
 *
 * A collection owns copies of what it holds and only grows; tables and spans that it hands out live as long as it does.
 */
#ifndef TROTH_POLICY_VERSIONS_H
#define TROTH_POLICY_VERSIONS_H

#include "crypto/key.h"
#include "policy/table.h"

enum { POLICY_MAX_VERSIONS = 256 }; /* in one collection */

struct policy_versions;

/* One version: whose it is and what it replaces. Borrowed from its collection. */
struct policy_version {
	struct span object; /* as signed */
	uint8_t oid[POLICY_DIGEST_SIZE];
	struct policy_view policy; /* its digest, subject, version, author */
	const struct policy_table *table; /* of this policy alone */
};

/* POLICY_AUTHOR_WRONG: the policy does not name this key as its author. TOO_LARGE and every reason of decoding. */
NODISCARD result policy_version_sign(struct span compiled_policy, const struct key *author, struct bytes *out);

NODISCARD result policy_versions_new(struct policy_versions **out);
void policy_versions_free(struct policy_versions *versions); /* accepts NULL */
void policy_versions_cleanup(struct policy_versions **versions);

/*
 * Verifies form and signature, and keeps it; one that is there already changes nothing. `out` may be NULL. BAD_SIGNATURE,
 * POLICY_AUTHOR_WRONG (signed by another key than the author it names), TOO_LARGE, every reason of decoding.
 */
NODISCARD result policy_versions_add(struct policy_versions *versions, struct span object, const struct policy_version **out);

/* NULL when there is none with this policy digest; `versions` may be NULL. */
const struct policy_version *policy_versions_find(const struct policy_versions *versions, const uint8_t digest[static POLICY_DIGEST_SIZE]);

size_t policy_versions_count(const struct policy_versions *versions); /* NULL: 0 */
const struct policy_version *policy_versions_at(const struct policy_versions *versions, size_t index);

/*
 * May `next` stand where the policy that was launched says so? And is it newer than `floor`, the highest version seen?
 * POLICY_FOREIGN, POLICY_AUTHOR_WRONG, POLICY_OLD. A floor below the launched version does not matter.
 */
NODISCARD result policy_version_follows(const struct policy_view *launched, const struct policy_version *next, uint64_t floor);

#endif
