/* What the files of the contract share. A handler returns the verdict; what it changes is in `changes` and `events`. */
#ifndef TROTH_LEDGER_CONTRACT_INTERNAL_H
#define TROTH_LEDGER_CONTRACT_INTERNAL_H

#include "ledger/contract.h"

enum { CALL_MEMORY = 4 << 20, CALL_NONCES = 2 };

struct call {
	struct ledger_state *state; /* not changed by a handler */
	const struct contract_context *ctx;
	struct arena arena;
	struct transaction tx;
	uint8_t sender[ADDRESS_SIZE];
	uint8_t txid[OID_SIZE];
	struct ledger_config config; /* zero before the first */
	uint8_t chain[CHAIN_ID_SIZE];
	bool has_config;
	struct state_changes changes;
	struct writer events;
	size_t event_count;
	struct {
		uint8_t address[ADDRESS_SIZE], nonce[32];
		uint64_t valid_until;
	} nonces[CALL_NONCES]; /* used up by this transaction when it is OK */
	size_t nonce_count;
	bool broken; /* memory or damage: not a verdict */
};

/* For lookups: gives OK and whether it is there; notes a broken state and fails otherwise. */
NODISCARD result call_find(struct call *call, enum fact_type type, struct span id, void *out, bool *out_there);
NODISCARD result call_put(struct call *call, enum fact_type type, struct span id, const void *fact);
NODISCARD result call_verify(struct call *call, enum object_kind kind, struct span bytes, const uint8_t point[static POINT_SIZE]);
void call_event(struct call *call, enum contract_event kind, struct span id, uint64_t value);
/* Opens a signed object whose key stands in it: decodes, checks the chain and the signature. TX_MALFORMED, CHAIN_FOREIGN, BAD_SIGNATURE. */
NODISCARD result call_open(struct call *call, enum object_kind kind, struct span bytes, void *out, const uint8_t *point,
	const uint8_t *chain, uint8_t *out_oid);

bool is_among(const struct point *keys, size_t count, const uint8_t point[static POINT_SIZE]);

/* The verdicts by type. */
NODISCARD result apply_register(struct call *call);
NODISCARD result apply_unregister(struct call *call);
NODISCARD result apply_access(struct call *call);
NODISCARD result apply_grant(struct call *call);
NODISCARD result apply_revoke(struct call *call);
NODISCARD result apply_operation(struct call *call);
NODISCARD result apply_secure_mode(struct call *call);
NODISCARD result apply_event(struct call *call);
NODISCARD result apply_epoch(struct call *call);
NODISCARD result apply_floor(struct call *call);
NODISCARD result apply_config(struct call *call);

/* Decodes the body by the type's schema. TX_MALFORMED. */
NODISCARD result call_body(struct call *call, void *out);
NODISCARD result call_decide(struct call *call, const struct access_question *question, struct access_decision *out);

#endif
