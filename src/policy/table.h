/*
 * The compiled policy table: the form that is signed, hashed, carried in receipts and decided upon.
 *
 * A policy compiles to one deterministic CBOR map; a set of policies to one array of them (docs/PROTOCOL.policy
 * has the CDDL). Loading checks every byte of a set and builds an immutable table; nothing is half-loaded.
 * The table owns a copy of the bytes. Lookups use a hash with a random key, so that whoever chooses names
 * cannot choose collisions.
 *
 *   policy digest = SHA-256("troth policy1" ‖ 00 ‖ compiled policy)
 */
#ifndef TROTH_POLICY_TABLE_H
#define TROTH_POLICY_TABLE_H

#include "base/bytes.h"
#include "base/result.h"
#include "base/span.h"
#include "policy/decision.h"

enum {
	POLICY_FORMAT = 1,
	POLICY_NAME_MAX = 63, /* ids */
	POLICY_ITEM_MAX = 127, /* operations and scopes */
	POLICY_MAX_COMPILED = 32 * 1024 * 1024,
	POLICY_MAX_POLICIES = 100 * 1000, /* in one set */
	POLICY_MAX_RULES = 1000 * 1000, /* communicators and denials of a whole set, and its set elements */
	POLICY_MAX_DEPTH = 65535, /* of max_dac_depth */
	POLICY_LEVEL_MAX = 3,
	POLICY_RATE_MAX = 1000 * 1000, /* operations, and burst */
	POLICY_RATE_MAX_PER_S = 24 * 60 * 60,
};
#define POLICY_TIME_MAX UINT64_C(253402300799999) /* ms: the end of the year 9999 */

/* How much of attestation chains its subject takes (docs/PROTOCOL.dac "Bounds"). */
enum policy_chain_limit { CHAIN_RECORDS, CHAIN_BYTES, CHAIN_PATH, CHAIN_PARENTS, CHAIN_EAGER, CHAIN_WAIT_S, POLICY_CHAIN_LIMITS };

struct policy_table;

/* Loads a compiled set. Every decoding reason; EMPTY_SET, BAD_NAME, POLICY_CONFLICT, UNKNOWN_VERSION, NO_MEMORY. */
NODISCARD result policy_table_load(struct span compiled_set, struct policy_table **out);
/* The same checks without building a table. */
NODISCARD result policy_set_check(struct span compiled_set);
void policy_table_free(struct policy_table *table); /* accepts NULL */
void policy_table_cleanup(struct policy_table **table);

/* Joins policies that were compiled one by one (a receipt's, a job's) into a set. POLICY_CONFLICT: one subject twice. */
NODISCARD result policy_set_join(const struct span *policies, size_t count, struct bytes *out_set);

/* The digest that manifests, records and decisions carry. */
NODISCARD result policy_digest(struct span compiled_policy, uint8_t out[static POLICY_DIGEST_SIZE]);

/* ---- Looking into a table ----------------------------------------------------------------------------- */

struct policy_view {
	enum policy_subject kind;
	struct span id;
	uint64_t version;
	uint8_t digest[POLICY_DIGEST_SIZE];
	struct span compiled; /* this policy alone */
	uint32_t max_dac_depth;
	unsigned required_level;
	enum policy_confinement min_confinement;
	bool allow_interpreter;
	struct span author; /* who may sign newer versions: POLICY_AUTHOR_SIZE bytes, or empty: nobody */
	enum policy_pq pq; /* of the channels of its subject */
	struct policy_channels channels;
	size_t peer_count; /* allowed communicators, for policy_peer */
	uint32_t entry_; /* internal */
};

/* One allowed communicator, as a manifest's `peers` needs it. */
struct policy_peer_view {
	struct span id;
	unsigned directions; /* bits of enum policy_direction */
	bool denied; /* it is in the deny list too, which wins */
	bool level0; /* accepted without evidence, by name */
	bool rot_same; /* must be endorsed by the subject's own root */
	size_t rot_count; /* else by one of these */
	size_t core_count; /* 0: the policy does not restrict the measurement */
	uint32_t rule_; /* internal */
};

size_t policy_count(const struct policy_table *table);
/* In the order of the set: by subject kind, then id. */
void policy_at(const struct policy_table *table, size_t index, struct policy_view *out);
/* By enum policy_chain_limit; 0: not said. Reads the compiled form again. */
void policy_chain(const struct policy_view *view, uint64_t out[static POLICY_CHAIN_LIMITS]);
/* NO_POLICY. */
NODISCARD result policy_find(const struct policy_table *table, enum policy_subject kind, struct span id, struct policy_view *out);
/* index < view->peer_count. */
void policy_peer(const struct policy_table *table, const struct policy_view *view, size_t index, struct policy_peer_view *out);
/* index < rot_count, < core_count; ascending. */
struct span policy_peer_rot(const struct policy_table *table, const struct policy_peer_view *peer, size_t index);
struct span policy_peer_core(const struct policy_table *table, const struct policy_peer_view *peer, size_t index);

/* The reference set that says which cores of this peer count (policy/references.h). */
struct policy_peer_reference {
	struct span author; /* POLICY_AUTHOR_SIZE bytes */
	struct span set;
	uint32_t min_svn;
};
/* False when the entry names none. */
bool policy_peer_reference(const struct policy_table *table, const struct policy_peer_view *peer, struct policy_peer_reference *out);

/* Bytes of memory the table holds, for measurements. */
size_t policy_table_memory(const struct policy_table *table);

/* True for [A-Za-z0-9._-]{1,63}; else *out_bad is the index of the first wrong byte (or 0: empty, 63: too long). */
bool policy_name_ok(struct span name, size_t *out_bad);
/* The same for operations and scopes: [A-Za-z0-9._:/-]{1,127}. */
bool policy_item_ok(struct span item, size_t *out_bad);

#endif
