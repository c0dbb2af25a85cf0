/*
 * Hash of names with a key that nobody outside knows: SipHash-1-3 (Aumasson, Bernstein, "SipHash: a fast
 * short-input PRF", 2012; one and three rounds are the usual choice for tables), so that whoever chooses names
 * cannot choose collisions. Inside src/policy only.
 */
#ifndef TROTH_POLICY_NAMES_H
#define TROTH_POLICY_NAMES_H

#include "base/span.h"

struct name_key {
	uint64_t k0, k1;
};

/* SipHash of the eight little-endian bytes of `within` followed by `name`. */
uint64_t name_hash(const struct name_key *key, uint64_t within, struct span name);

#endif
