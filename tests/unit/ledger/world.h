/* A ledger with people: keys, objects and transactions for the tests of src/ledger. */
#ifndef TROTH_TESTS_LEDGER_WORLD_H
#define TROTH_TESTS_LEDGER_WORLD_H

#include "ledger/contract.h"

#include "expect.h"

enum person { OWNER, ACTOR, DELEGATE, STRANGER, PROCESSOR, REGISTRAR_1, REGISTRAR_2, MEMBER_1, MEMBER_2, MEMBER_3, PEOPLE };

struct world {
	struct key keys[PEOPLE];
	uint8_t addresses[PEOPLE][ADDRESS_SIZE];
	char texts[PEOPLE][ADDRESS_TEXT_SIZE];
	uint8_t chain[CHAIN_ID_SIZE];
	uint8_t log_key[32]; /* of the configurations; zero unless a test has a log */
	struct ledger_state *state;
	uint64_t time, index, nonce;
	uint8_t code_1[SHA384_SIZE], code_2[SHA384_SIZE], vmm[SHA384_SIZE];
	struct arena arena;
	struct contract_verdict last;
};

/* With a configuration, a registered VMM and an authorised code_1. */
void world_new(struct world *w);
/* Without any transaction. */
void world_empty(struct world *w);
void world_free(struct world *w);

/* A scope of the owner: "<address>/rest". */
const char *world_scope(struct world *w, enum person owner, const char *rest);

struct span world_tx(struct world *w, enum person sender, enum transaction_type type, const void *body);
/* Applies one transaction in a batch of its own; gives the code. */
enum reason world_apply(struct world *w, struct span tx);
enum reason world_send(struct world *w, enum person sender, enum transaction_type type, const void *body);
struct span world_config(struct world *w, uint64_t seq, const enum person *signers, size_t signer_count);

/* A grant with generous values; change it, then sign it. */
struct grant world_grant(struct world *w, enum person issuer, enum person audience, const char *scope);
struct bytes_item world_sign_grant(struct world *w, enum person issuer, struct grant *grant, uint8_t out_oid[static OID_SIZE]);

struct operation_spec {
	enum person actor;
	unsigned operation;
	const char *scope;
	const uint8_t *measurement; /* that ran; NULL: code_1 */
	const uint8_t *asked;	    /* that was asked for; NULL: none */
	const struct bytes_item *links;
	size_t link_count;
	enum transaction_type type; /* 0: TX_OPERATION */
	enum person processor;	    /* 0: PROCESSOR */
	uint64_t time;		    /* 0: now */
	const struct bytes_item *request; /* NULL: a new one */
	struct bytes_item *out_request;
};
enum reason world_operate(struct world *w, const struct operation_spec *spec);

void world_root(struct world *w, struct merkle_hash *out);

#endif
