/*
 * Asking a ledger (docs/PROTOCOL.ledger, "Service"), from a *place*: a client's folder, which names the service and holds what
 * is needed to judge it (ledger/place.h), or the ledger's own folder.
 *
 * Nothing that the service says about the log is believed. Whatever comes with a proof is checked under the log's key, and
 * every signed head is compared with the latest one that this place has seen: a newer one must continue it, an older one must
 * be continued by it, both by a consistency proof. The latest is kept in the place (`head`). Two heads that do not fit are
 * LEDGER_FORKED: both notes are kept in PLACE/evidence/ and every later call and opening of this place gives LEDGER_FORKED,
 * for good. A latest head that is older than one seen before is LEDGER_ROLLED_BACK.
 *
 * In a ledger's own folder the service that runs on it is asked; when none runs, reading is done by the engine itself, read-only
 * (ledger_client_is_direct), and sending is LEDGER_NOT_RUNNING.
 *
 * A client belongs to one thread at a time; several processes may use one place. Besides the reasons named: those of
 * net/https_client.h, RATE_LIMITED, LEDGER_BUSY, and whatever the service answers, with its text.
 */
#ifndef TROTH_LEDGER_CLIENT_H
#define TROTH_LEDGER_CLIENT_H

#include "ledger/engine.h"
#include "ledger/proof.h"
#include "wire/json.h"

struct ledger_client;

struct ledger_client_options {
	const char *place; /* folder */
	const char *url;   /* NULL: the place's */
	unsigned timeout_ms; /* of one request; 0: 30000 */
	bool unproved; /* submit does not ask for the proof of its leaf: for load, never for people */
};

/* Reads the place; connects with the first request. NOT_FOUND (with what to do), LEDGER_FORKED. */
NODISCARD result ledger_client_open(const struct ledger_client_options *options, struct ledger_client **out);
void ledger_client_free(struct ledger_client *client); /* accepts NULL */
void ledger_client_cleanup(struct ledger_client **at); /* for CLEANUP */

/* What the place pins. Borrowed. */
const uint8_t *ledger_client_chain(const struct ledger_client *client); /* CHAIN_ID_SIZE bytes */
const struct note_key *ledger_client_log_key(const struct ledger_client *client);
const char *ledger_client_url(const struct ledger_client *client); /* "" when direct */
bool ledger_client_is_direct(const struct ledger_client *client);
bool ledger_client_may_write(const struct ledger_client *client); /* there is a writer's certificate */

/* ---- Sending ----------------------------------------------------------------------------------- */

/*
 * Sends a transaction and waits until it is durable. OK whatever the verdict: out->code is it. What is on the ledger was
 * proved: the leaf at out->index holds these bytes and this code. Sending the same bytes again gives the same receipt.
 */
NODISCARD result ledger_client_submit(struct ledger_client *client, struct span tx, struct ledger_receipt *out);
/* What the contract would say now, without effects; the service's word. Works directly too. */
NODISCARD result ledger_client_check(struct ledger_client *client, struct span tx, struct ledger_receipt *out);

/* ---- Heads ------------------------------------------------------------------------------------- */

/* The latest signed checkpoint, judged as above and kept. Either out may be NULL. */
NODISCARD result ledger_client_checkpoint(struct ledger_client *client, struct bytes *out_note, struct checkpoint *out);
/* The one of this size, a batch's end; judged too. NOT_FOUND. */
NODISCARD result ledger_client_checkpoint_at(struct ledger_client *client, uint64_t size, struct bytes *out_note, struct checkpoint *out);
/* The latest that this place has seen, without asking anybody. NOT_FOUND before the first. */
NODISCARD result ledger_client_remembered(struct ledger_client *client, struct bytes *out_note, struct checkpoint *out);
/*
 * The proof that the latest checkpoint continues `first_note`, an older one of this log from wherever (an auditor's file),
 * checked; *out_second_note is the latest, and may be NULL. LEDGER_FORKED, both kept as evidence, when `first_note` is signed by
 * the log and yet not continued; LEDGER_ROLLED_BACK when it is newer than the latest; NOT_SIGNED, CHECKPOINT_FOREIGN.
 */
NODISCARD result ledger_client_consistency(struct ledger_client *client, struct span first_note, struct merkle_proof *out,
	struct bytes *out_second_note);

/* ---- Reading, each with its proof --------------------------------------------------------------- */

/* Where a transaction stands; proved by its leaf but for `time` and `size`, which are the service's word. NOT_FOUND is too. */
NODISCARD result ledger_client_find(struct ledger_client *client, const uint8_t txid[static OID_SIZE], struct ledger_receipt *out);
/* The leaf's bytes. NOT_FOUND beyond the end. */
NODISCARD result ledger_client_leaf(struct ledger_client *client, uint64_t index, struct bytes *out);
/* Proof files (ledger/proof.h), opened and judged before they are given out; ledger_proof_open reads them. `size` 0: the latest. */
NODISCARD result ledger_client_leaf_proof(struct ledger_client *client, uint64_t index, uint64_t size, struct bytes *out);
NODISCARD result ledger_client_fact_proof(struct ledger_client *client, const uint8_t key[static SPARSE_KEY_SIZE], struct bytes *out);

/* A fact of the latest state, decoded (its structure in ledger/state.h); everything lies in `arena`. */
NODISCARD result ledger_client_fact(struct ledger_client *client, enum fact_type type, struct span id, struct arena *arena, void *out,
	bool *out_there, uint64_t *out_size);
/* The configuration in force. */
NODISCARD result ledger_client_config(struct ledger_client *client, struct arena *arena, struct ledger_config *out);

/* The contract's decision at the present time: the service's word. */
NODISCARD result ledger_client_decide(struct ledger_client *client, const struct access_question *question, struct access_decision *out,
	uint64_t *out_size);

/*
 * Transactions from an index on, in order: a row's leaf was proved to stand at its index; its time and size, and that nothing
 * was left out, are the service's word (an auditor who wants to know walks the leaves without a filter, and the TAILs among
 * them: ledger_client_leaf). Stops at the first failure of `each` and returns it; `each` may call the client.
 */
NODISCARD result ledger_client_each(struct ledger_client *client, const struct ledger_filter *filter, ledger_visit *each, void *arg);

/* What the service says about itself (GET /v1/status), as it is; directly: the same from the folder. A new reference. */
NODISCARD result ledger_client_status(struct ledger_client *client, json_t **out);

/* ---- Evidence of a fork ------------------------------------------------------------------------- */

/*
 * OK: both notes are signed by this log and have one size and two roots, which no honest log signs: whoever holds its public key
 * can see that. PROOF_INVALID: they do not contradict each other by themselves (of other sizes: ask for a consistency proof).
 * Needs no place. An evidence folder holds one.checkpoint, other.checkpoint, log.vkey and why.txt.
 */
NODISCARD result ledger_fork_evident(const struct note_key *log, struct span one, struct span other);

#endif
