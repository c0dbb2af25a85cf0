/*
 * The compiled form of one policy: deterministic CBOR with integer keys (docs/PROTOCOL.policy). This module
 * alone knows its numbers. Decoding checks everything and borrows: lists stay where they are in the bytes and
 * are walked with the functions below, which cannot fail on a policy that was decoded.
 *
 * Used inside src/policy; the rest of Troth sees tables.
 */
#ifndef TROTH_POLICY_COMPILED_H
#define TROTH_POLICY_COMPILED_H

#include "base/bytes.h"
#include "base/reader.h"
#include "policy/table.h"

/* Elements of an array that was checked. count 0: the list is absent. */
struct compiled_list {
	struct reader at;
	size_t count;
};

enum compiled_rot_kind { ROT_UNSAID, ROT_SAME, ROT_LISTED };

struct compiled_rot {
	enum compiled_rot_kind kind;
	struct compiled_list ids; /* ROT_LISTED: byte strings of 32 */
};

struct compiled_policy {
	struct span bytes;
	uint64_t version;
	enum policy_subject kind;
	struct span id;
	uint32_t max_dac_depth;
	unsigned required_level;
	enum policy_confinement min_confinement;
	bool allow_interpreter;
	struct compiled_list peers, denied, level0;
	struct compiled_rot rot; /* never ROT_UNSAID */
	bool has_max_age, has_not_before, has_not_after;
	uint64_t max_age_s, not_before, not_after;
	unsigned factors; /* bits of enum policy_factor */
	struct span author; /* POLICY_AUTHOR_SIZE bytes; empty: nobody may replace this policy */
	enum policy_pq pq;
	struct policy_channels channels;
	uint64_t chain[POLICY_CHAIN_LIMITS]; /* 0: not said */
};

/* So many operations in so many seconds, `burst` of them at once. operations 0: no limit. */
struct compiled_rate {
	uint32_t operations, per_s, burst;
};

/* A reference set that says which cores count; `author` empty: none is named. */
struct compiled_reference {
	struct span author; /* POLICY_AUTHOR_SIZE bytes */
	struct span set;
	uint32_t min_svn; /* from 1 */
};

struct compiled_peer {
	struct span id;
	unsigned directions;
	struct compiled_list operations, scopes, cores;
	struct compiled_rot rot;
	struct compiled_reference reference; /* never beside cores */
	struct compiled_rate rate;
	unsigned factors;
};

/* Is shown each communicator once, in order, while a policy is decoded; the policy may still prove wrong after. */
struct compiled_visitor {
	result (*peer)(void *context, const struct compiled_peer *peer);
	void *context;
};

/* Reads one policy, all of it. The spans borrow from the reader's bytes. `visitor` may be NULL. */
NODISCARD result compiled_decode(struct reader *r, const struct compiled_visitor *visitor, struct compiled_policy *out);

/* Each takes the next element off a list; false at its end. */
bool compiled_next_peer(struct compiled_list *peers, struct compiled_peer *out);
bool compiled_next_denied(struct compiled_list *denied, struct span *out_id);
bool compiled_next_text(struct compiled_list *texts, struct span *out);
bool compiled_next_bytes(struct compiled_list *items, struct span *out);

/* ---- Writing ------------------------------------------------------------------------------------------- */

/* What the schema read, with lists sorted and without repeats. A list with count 0 is left out. */
struct form_texts {
	struct span *items;
	size_t count;
};

struct form_rot {
	enum compiled_rot_kind kind;
	struct form_texts ids; /* 32 bytes each */
};

/* What a communicator restricts beyond its id and directions. Most restrict nothing, and a policy may name a million. */
struct form_detail {
	struct form_texts operations, scopes, cores;
	struct form_rot rot;
	struct compiled_reference reference;
	struct compiled_rate rate;
	unsigned factors;
};

struct form_peer {
	struct span id;
	unsigned directions;
	const struct form_detail *detail; /* NULL: nothing */
	const void *place; /* in the document, for the reader */
};

struct form_policy {
	uint64_t version;
	enum policy_subject kind;
	struct span id;
	uint32_t max_dac_depth;
	unsigned required_level;
	enum policy_confinement min_confinement;
	bool allow_interpreter;
	struct form_peer *peers;
	size_t peer_count;
	struct form_texts denied, level0;
	struct form_rot rot;
	bool has_max_age, has_not_before, has_not_after;
	uint64_t max_age_s, not_before, not_after;
	unsigned factors;
	struct span author;
	enum policy_pq pq;
	struct policy_channels channels;
	uint64_t chain[POLICY_CHAIN_LIMITS];
};

/* The field of the document, and the greatest value. */
struct chain_limit_row {
	const char *field;
	const char *named; /* with the field that it stands in */
	uint64_t most;
};
extern const struct chain_limit_row chain_limit_rows[POLICY_CHAIN_LIMITS];

void compiled_encode(const struct form_policy *form, struct writer *out);

/* Order of policies in a set: kind, then id. */
int compiled_order(enum policy_subject kind_a, struct span id_a, enum policy_subject kind_b, struct span id_b);

#endif
