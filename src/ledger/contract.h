/*
 * The contract: one pure function from a state and a transaction to a verdict and the next state (docs/PROTOCOL.ledger).
 * No clock, no randomness, no I/O, nothing unordered: the same bytes give the same verdict and the same root in every build.
 * It verifies COSE ES256 and SHA-256 alone; it knows nothing of the engine that runs it.
 *
 * A verdict is a reason. Anything but OK changes nothing except that the sender's nonce is used up, once the signature was
 * good: a transaction has one verdict for ever.
 */
#ifndef TROTH_LEDGER_CONTRACT_H
#define TROTH_LEDGER_CONTRACT_H

#include "ledger/state.h"

enum { TX_MAX = 56 * 1024, TX_WINDOW_MS = 600 * 1000, EVENTS_MAX = 8 * 1024 };

struct contract_context {
	uint64_t height;
	uint64_t time_ms; /* of the batch: never before that of an earlier one */
	uint64_t index;	  /* that the transaction's leaf will have */
	/*
	 * Verifies a signed object under a point; NULL: done on the spot. An engine that has verified these very bytes before
	 * may answer from memory.
	 */
	result (*verify)(void *arg, enum object_kind kind, struct span bytes, const uint8_t point[static POINT_SIZE]);
	void *verify_arg;
};

struct contract_verdict {
	enum reason code;
	char text[200]; /* for people, why not; no part of what is agreed on */
	uint8_t txid[OID_SIZE];	  /* zero when the bytes are no transaction */
	bool counts; /* well-formed, of this chain, in time, new and signed: it belongs into the log, whatever its code */
	struct bytes events; /* CBOR array of [kind, id, value]; freed by contract_verdict_free */
};
void contract_verdict_free(struct contract_verdict *verdict);

/* Kinds of events. */
enum contract_event {
	EVENT_USED = 1,	      /* grant oid, uses so far */
	EVENT_GRANTED = 2,    /* grant oid */
	EVENT_REVOKED = 3,    /* grant oid */
	EVENT_REGISTERED = 4, /* digest, status */
	EVENT_UNREGISTERED = 5,
	EVENT_ALLOWED = 6,    /* oid of the operation; 1 owner, 2 rule, 3 grant */
	EVENT_EPOCH = 7,      /* oid of the record, state of the root */
	EVENT_FROZEN = 8,     /* oid of the second record */
	EVENT_HALTED = 9,     /* rot_id */
	EVENT_FLOOR = 10,
	EVENT_CONFIG = 11,
	EVENT_ACCESS = 12,
	EVENT_SECURE_MODE = 13,
	EVENT_REPORTED = 14,
};

/* Before the first transaction of a batch: prunes what time has made useless. */
void contract_begin(struct ledger_state *state, uint64_t time_ms);

/*
 * Judges one transaction and carries it out. Fails only when memory ran out or the state is damaged: then the state must
 * not be used any more.
 */
NODISCARD result contract_apply(struct ledger_state *state, struct span tx, const struct contract_context *ctx,
	struct contract_verdict *out);

/* ---- The access decision by itself ------------------------------------------------------------- */

struct access_question {
	uint8_t actor[ADDRESS_SIZE];
	unsigned operation; /* the bit's number */
	const char *scope;
	const uint8_t *measurement; /* SHA384_SIZE bytes; NULL: unknown */
	const struct bytes_item *links; /* grants, root first */
	size_t link_count;
};

enum access_basis { BASIS_NONE = 0, BASIS_OWNER = 1, BASIS_RULE = 2, BASIS_GRANT = 3 };

/* Which rule or grant decided. */
struct access_decision {
	enum reason code;
	enum access_basis basis; /* BASIS_NONE: nothing allows it, or the input was refused */
	char rule_scope[SCOPE_MAX + 1]; /* the scope whose rules hold the one that decided, also a denial */
	size_t rule;			/* its index */
	uint8_t grants[GRANT_CHAIN_MAX][OID_SIZE]; /* BASIS_GRANT: all links, root first */
	size_t grant_count;
	size_t at_link; /* which link was refused */
};

/* The same code that judges operations, without effects. As contract_apply, fails only on memory and damage. */
NODISCARD result contract_decide(const struct ledger_state *state, const struct access_question *question,
	const struct contract_context *ctx, struct access_decision *out);

/* May this sender configure, register, report? For tools that explain. The configuration in force; NOT_FOUND before the first. */
NODISCARD result contract_config(const struct ledger_state *state, struct arena *arena, struct ledger_config *out,
	uint8_t out_chain[static CHAIN_ID_SIZE]);

#endif
