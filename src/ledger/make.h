/*
 * Making what people and machines sign for the ledger: grants, requests, operations, endorsements, configurations and the
 * transactions that carry them. For tools and services alike; nothing here reads a clock, a file or a ledger.
 *
 * The caller fills in what the object says; `make_…` sets its version, who signs, and a fresh nonce where it has one, checks what
 * the contract would refuse without looking at its state, and signs. The object is what is kept: encoding it again with
 * another nonce would be another one. Failures are those of the key (also of a token) and the contract's own reasons.
 */
#ifndef TROTH_LEDGER_MAKE_H
#define TROTH_LEDGER_MAKE_H

#include "ledger/contract.h"
#include "ledger/grant_file.h"

/* How long a transaction is good for when nobody says otherwise: half of what the contract allows, for clocks that differ. */
enum { TX_LIFETIME_MS = TX_WINDOW_MS / 2 };

/*
 * A grant to be signed by `issuer`, with `parent` (NULL: none, the issuer owns the scope) and all but version, issuer, parent
 * and nonce filled in. GRANT_WIDENED and GRANT_TOO_DEEP name the field, GRANT_BROKEN says who may issue it, TX_MALFORMED.
 * `out_oid` may be NULL.
 */
NODISCARD result make_grant(const struct grant *draft, const struct grant_link *parent, const struct key *issuer, struct bytes *out, uint8_t *out_oid);

/* An actor's request; `draft` has chain, operation, scope, measurement and not_after. */
NODISCARD result make_request(const struct access_request *draft, const struct key *actor, struct bytes *out);

/* A co-processor's record of what was done; an operation id of zeros is replaced by a fresh one. */
NODISCARD result make_operation(const struct operation *draft, const struct key *processor, struct bytes *out, uint8_t *out_oid);

/* A registrar's endorsement of what `body` registers. */
NODISCARD result make_endorsement(const uint8_t chain[static CHAIN_ID_SIZE], const struct tx_register *body, const struct key *registrar,
	struct bytes *out);

/*
 * The payload of a configuration, its lists sorted (in place), with no contradiction in it: CONFIG_INVALID. And the object of
 * the payload with the signatures of these members, each of which may have been made elsewhere by make_config_part.
 */
NODISCARD result make_config_payload(struct ledger_config *config, struct bytes *out);
NODISCARD result make_config(struct span payload, const struct key *const *members, size_t count, struct bytes *out);
/* Puts the signatures of several objects of one payload together. REQUEST_MISMATCH when they are of different ones. */
NODISCARD result make_config_join(const struct span *objects, size_t count, struct bytes *out);

/* H("troth data commitment1" ‖ lv(salt32) ‖ lv(SHA-256 of the data)): says nothing about the data to whom has no salt. */
void make_commitment(const uint8_t salt[static 32], const uint8_t digest[static SHA256_SIZE], uint8_t out[static SHA256_SIZE]);

/* The transaction of `type` around `body` (a structure of its schema). `out_txid` may be NULL. */
struct transaction_frame {
	const uint8_t *chain; /* CHAIN_ID_SIZE bytes */
	const struct key *sender;
	uint64_t now_ms;
	uint64_t lifetime_ms; /* 0: TX_LIFETIME_MS */
};
NODISCARD result make_transaction(const struct transaction_frame *frame, enum transaction_type type, const void *body, struct bytes *out,
	uint8_t *out_txid);

#endif
