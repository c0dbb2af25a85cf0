/*
 * How people name what a ledger has, for the verbs that prove and verify, and how it is shown to them.
 *
 *	leaf:INDEX  transaction:TXID
 *	grant:OID|FILE  revocation:OID|FILE  access:SCOPE  registration:SUBJECT:DIGEST  floor:CLASS:ID  root:ROT_ID  config  key:HEX
 */
#ifndef TROTH_CMD_LEDGER_WORDS_H
#define TROTH_CMD_LEDGER_WORDS_H

#include "ledger/proof.h"
#include "ledger/state.h"
#include "wire/json.h"

enum ledger_thing_kind { THING_LEAF, THING_TRANSACTION, THING_FACT };

struct ledger_thing {
	enum ledger_thing_kind kind;
	uint64_t index;		/* THING_LEAF */
	uint8_t txid[OID_SIZE]; /* THING_TRANSACTION */
	enum fact_type type;	/* THING_FACT; 0: only its key is known */
	uint8_t key[SPARSE_KEY_SIZE];
};
#define LEDGER_THINGS                                                                                                                      \
	"leaf:INDEX, transaction:TXID, grant:OID or grant:FILE, revocation: of the same, access:SCOPE,\n"                                  \
	"registration:vmm|host|enclave|security-enclave:DIGEST, floor:definition|policy|revocation-list:ID, root:ROT_ID, config, key:HEX"

/* USAGE says what words there are. Files are those of `troth grant`: their last grant is meant. */
NODISCARD result ledger_thing_parse(const char *word, struct ledger_thing *out);

/* A log's verifier key: a file that holds its text, or the text itself. */
NODISCARD result ledger_log_key_read(const char *word, struct note_key *out);
/* The same of a witness. */
NODISCARD result ledger_witness_key_read(const char *word, struct note_key *out);

/* What a proof shows, in one line; `type` 0: unknown, its key is shown. */
void ledger_proof_print(const struct ledger_proof *proof, enum fact_type type);
/* The same; NULL when memory ran out. */
json_t *ledger_proof_json(const struct ledger_proof *proof, enum fact_type type);

#endif
