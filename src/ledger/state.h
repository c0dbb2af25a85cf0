/*
 * What the contract remembers: facts in a sparse Merkle map, so that one root stands for all of them and each can be proved
 * to be there or not (docs/PROTOCOL.ledger, "The state map"). Facts are intervals of log indices: they begin at an index and
 * may end at one, and are never deleted, so any later root proves what held at an index. Nonces alone are pruned.
 *
 * Reading is open to all; only the contract changes anything.
 */
#ifndef TROTH_LEDGER_STATE_H
#define TROTH_LEDGER_STATE_H

#include "object/ledger.h"
#include "store/sparse_map.h"

enum fact_type {
	FACT_CONFIG = 1,     /* id: none */
	FACT_NONCE = 2,	     /* address ‖ nonce */
	FACT_GRANT = 3,	     /* oid */
	FACT_REGISTRATION = 4, /* subject u8 ‖ digest */
	FACT_ACCESS = 5,     /* scope */
	FACT_REVOCATION = 6, /* oid of the revoked grant */
	FACT_EPOCH = 7,	     /* oid of the epoch record */
	FACT_ROOT = 8,	     /* rot_id */
	FACT_EPOCH_AT = 9,   /* rot_id ‖ era u32 ‖ epoch u64 */
	FACT_FLOOR = 10,     /* class u8 ‖ id */
	FACT_PROCESSOR = 11, /* address of a signing key of a root of trust */
	FACT_SECURE_MODE = 12, /* measurement ‖ launch id */
};

struct span_of_log {
	uint64_t from;	/* index of the leaf that made it so */
	uint64_t until; /* index of the leaf that ended it */
	bool has_until;
};

struct config_fact {
	uint64_t from;
	struct span config; /* payload of the configuration */
};
struct nonce_fact {
	uint64_t valid_until;
};
struct grant_fact {
	struct span_of_log span;
	uint8_t issuer[ADDRESS_SIZE], audience[ADDRESS_SIZE];
	uint8_t parent[OID_SIZE];
	bool has_parent;
	uint64_t uses;
};
enum registration_status { REGISTRATION_OBSERVED = 1, REGISTRATION_AUTHORISED = 2 };
struct registration_fact {
	struct span_of_log span;
	uint8_t status;
	uint8_t sender[ADDRESS_SIZE];
	const char *label;
	uint64_t not_before, not_after;
};
struct access_fact {
	uint64_t from;
	struct tx_access access;
};
struct revocation_fact {
	uint64_t from;
	uint8_t by[ADDRESS_SIZE];
};
struct epoch_fact {
	struct span_of_log span; /* until: a later epoch, or a recovery that voids it */
	uint8_t rot_id[OID_SIZE];
	uint64_t time;	   /* of the batch that brought it */
	bool is_void;
	struct span record;
};
enum root_state { ROOT_LIVE = 1, ROOT_HALTED = 2, ROOT_FROZEN = 3 };
struct root_fact {
	uint64_t from; /* of the present state */
	uint8_t head[OID_SIZE];
	uint8_t state;
};
struct epoch_at_fact {
	uint8_t oid[OID_SIZE];
};
struct floor_fact {
	uint64_t from;
	uint64_t version;
	uint8_t digest[SHA256_SIZE];
};
struct processor_fact {
	uint8_t epoch_oid[OID_SIZE];
};
struct secure_mode_fact {
	struct span_of_log span;
};
extern const struct schema config_fact_schema, nonce_fact_schema, grant_fact_schema, registration_fact_schema, access_fact_schema,
	revocation_fact_schema, epoch_fact_schema, root_fact_schema, epoch_at_fact_schema, floor_fact_schema, processor_fact_schema,
	secure_mode_fact_schema;
/* Of the facts of a type; NULL for an unknown one. */
const struct schema *fact_schema(unsigned type);

/* H("troth smt key" ‖ type ‖ id). */
void fact_key(enum fact_type type, struct span id, uint8_t out[static SPARSE_KEY_SIZE]);

struct ledger_state;
NODISCARD result ledger_state_new(struct ledger_state **out);
void ledger_state_free(struct ledger_state *state); /* accepts NULL */

/*
 * The fact, decoded; texts and lists live in `arena`, spans borrow from the state until it changes. *out_there says whether
 * there is one. A value that does not decode means that the state is damaged: INTERNAL.
 */
NODISCARD result ledger_state_find(const struct ledger_state *state, enum fact_type type, struct span id, struct arena *arena, void *out,
	bool *out_there);

/* The same with everything in `arena`, so that it outlives a change of the state. */
NODISCARD result ledger_state_find_copy(const struct ledger_state *state, enum fact_type type, struct span id, struct arena *arena, void *out,
	bool *out_there);

size_t ledger_state_count(const struct ledger_state *state);
void ledger_state_root(struct ledger_state *state, struct merkle_hash *out);
/* LEDGER_DAMAGED as below. */
NODISCARD result ledger_state_prove(struct ledger_state *state, const uint8_t key[static SPARSE_KEY_SIZE], struct sparse_proof *out);

/* Changes that become so together. At most STATE_CHANGES_MAX; freed by state_changes_free. */
enum { STATE_CHANGES_MAX = 64 };
struct state_changes {
	struct state_change {
		uint8_t key[SPARSE_KEY_SIZE];
		struct bytes value;
	} rows[STATE_CHANGES_MAX];
	size_t count;
};
void state_changes_free(struct state_changes *changes);
/* Encodes the fact and notes it; a second one of the same key replaces the first. */
NODISCARD result state_changes_put(struct state_changes *changes, enum fact_type type, struct span id, const void *fact);
/* Carries them all out. NO_MEMORY leaves the state unusable: stop and load it again. */
NODISCARD result ledger_state_change(struct ledger_state *state, const struct state_changes *changes);
/* As a change of its own, and remembered so that it can be pruned. */
NODISCARD result ledger_state_add_nonce(struct ledger_state *state, const uint8_t address[static ADDRESS_SIZE],
	const uint8_t nonce[static 32], uint64_t valid_until);
/* Forgets the nonces whose time has passed, in ascending order of their keys. See ledger_state_sound. */
void ledger_state_prune(struct ledger_state *state, uint64_t now_ms);

/*
 * Changes that may have to be taken back: from begin on, until one of the others, what is changed is remembered. Rollback
 * gives the state, and its root, as it was; NO_MEMORY leaves it unusable.
 */
void ledger_state_begin(struct ledger_state *state);
void ledger_state_keep(struct ledger_state *state);
NODISCARD result ledger_state_rollback(struct ledger_state *state);

/*
 * Stored: the map's records (store/sparse_map.h) and lists of nonces, which can be added to. A state that was opened reads a
 * record when it is asked for and checks it against the root: until ledger_state_bring is done, whatever looks into the state may
 * say LEDGER_DAMAGED. Then nothing else of it counts, and it must be made anew.
 */
struct state_place {
	uint32_t root;	 /* the map's */
	uint64_t nonces; /* where the last list begins; 0: none */
	uint64_t count;	 /* facts */
};
/*
 * Appends what is not stored yet, or all of it for a place of its own. `offset`: where the writer's first byte will stand,
 * counted from the beginning of what ledger_state_open is given. After a failure only storing all is right.
 */
NODISCARD result ledger_state_store(struct ledger_state *state, bool all, struct writer *w, uint64_t offset, struct state_place *out);
/* `stored` is borrowed until ledger_state_bring is done; `time_ms`: of the batch after which it was stored. LEDGER_DAMAGED. */
NODISCARD result ledger_state_open(struct span stored, const struct state_place *place, const struct merkle_hash *root, uint64_t time_ms,
	struct ledger_state **out);
/* Reads and checks some more. *out_done: everything is in memory. */
NODISCARD result ledger_state_bring(struct ledger_state *state, size_t nodes, bool *out_done);
/* LEDGER_DAMAGED once pruning met a damaged record. To be asked before a root is given out. */
NODISCARD result ledger_state_sound(const struct ledger_state *state);

#endif
