/*
 * Inside of a policy table: flat arrays and hash indexes over a private copy of the compiled bytes. Names
 * and digests are not copied out; entries hold where they stand. Built once by table.c, then only read.
 *
 * Used by table.c, decision.c and lint.c alone.
 */
#ifndef TROTH_POLICY_RULES_H
#define TROTH_POLICY_RULES_H

#include "policy/names.h"
#include "policy/table.h"

/* A run of `count` digests in the compiled bytes, ascending; the first begins at `at`. */
struct digest_run {
	uint32_t at;
	uint32_t count;
};
/* Each digest is preceded by its two-byte CBOR head (0x58 and its length). */
enum { DIGEST_HEAD = 2 };

/* A run of `count` names in table->texts, ascending. */
struct text_run {
	uint32_t first;
	uint32_t count;
};

struct text_ref {
	uint32_t at;
	uint32_t len;
};

/* What every decision reads comes first: it is one or two lines of the cache. */
struct policy_entry {
	uint32_t id_at;
	uint8_t id_len;
	uint8_t kind;
	uint8_t required_level;
	uint8_t min_confinement;
	uint32_t first_rule, rule_count;
	uint64_t not_before, not_after; /* 0 and UINT64_MAX when not said */
	uint64_t max_age_ms; /* UINT64_MAX when not said */
	struct digest_run rots; /* count 0: the subject's own root */
	uint32_t max_dac_depth;
	bool allow_interpreter;
	uint8_t factors; /* bits of enum policy_factor */
	uint8_t pq;
	uint32_t author_at; /* 0: nobody */
	uint64_t version;
	uint8_t digest[POLICY_DIGEST_SIZE];
	uint32_t compiled_at, compiled_len;
	uint32_t peer_count; /* the allowed peers, which come first among the rules */
	struct policy_channels channels;
};

/* Policies with no more rules than this are searched one by one, larger ones through an index. */
enum { SCANNED_RULES = 8 };

/* The reference set that says which cores count. author_at 0: none, cores do. */
struct reference_ref {
	uint32_t author_at, set_at;
	uint32_t min_svn;
	uint8_t set_len;
};

/* What a communicator restricts beyond its id and directions; most restrict nothing and have none. */
struct rule_detail {
	struct text_run operations, scopes; /* count 0: not restricted */
	struct digest_run cores; /* count 0: not restricted */
	struct digest_run rots;
	bool rot_said; /* false: the policy's rule holds */
	struct reference_ref reference;
	uint32_t rate_operations, rate_per_s, rate_burst; /* operations 0: no limit */
	uint8_t factors;
};

enum { RULE_ALLOWED = 1, RULE_DENIED = 2, RULE_LEVEL0 = 4 };
enum { NO_DETAIL = UINT32_MAX };

/* Everything one policy says about one peer. */
struct peer_rule {
	uint32_t policy;
	uint32_t id_at;
	uint32_t index; /* position in allowed_communicators */
	uint32_t deny_index; /* position in deny */
	uint32_t detail;
	uint8_t id_len;
	uint8_t flags;
	uint8_t directions;
};

/* A slot of an open-addressing index: entry + 1, and bits of the hash that spare most comparisons. */
struct slot {
	uint32_t entry;
	uint32_t tag;
};

struct index {
	struct slot *slots;
	uint32_t mask; /* slots - 1; at most half of them are used */
};

struct policy_table {
	uint8_t *bytes;
	size_t len;
	struct policy_entry *policies;
	struct peer_rule *rules;
	struct rule_detail *details;
	struct text_ref *texts;
	size_t policy_count, rule_count, detail_count, text_count;
	struct index by_subject, by_peer; /* by_peer: rules of large policies only */
	struct name_key key;
};

/* NULL when there is none. */
const struct policy_entry *table_policy(const struct policy_table *table, enum policy_subject kind, struct span id);
const struct peer_rule *table_rule(const struct policy_table *table, const struct policy_entry *policy, struct span peer);
const struct rule_detail *table_detail(const struct policy_table *table, const struct peer_rule *rule);

bool table_texts_have(const struct policy_table *table, struct text_run run, struct span text);
bool table_digests_have(const struct policy_table *table, struct digest_run run, size_t size, struct span digest);
/* What the rule names; false when it names none. */
bool table_reference(const struct policy_table *table, const struct rule_detail *detail, struct span *out_author, struct span *out_set);
struct span table_digest(const struct policy_table *table, struct digest_run run, size_t size, size_t index);

#endif
