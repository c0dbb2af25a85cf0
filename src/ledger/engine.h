/*
 * The embedded engine: the contract's transactions made durable, one batch at a time (docs/PROTOCOL.ledger, "The log"). It
 * owns a folder:
 *   log-*.log, log.head   the journal (store/journal.h): one entry per batch, which is the truth
 *   state.snapshot        the state at some batch, checked against that batch's TAIL; a restart replays what came later
 *   tree                  the log's Merkle hashes; made again when it does not fit
 *   index.sqlite          where leaves and transactions stand; made again when it does not fit, never the truth
 *   log.key, log.vkey     the Ed25519 key that signs checkpoints (0600), and its public half
 *
 * One entry holds a whole batch: its leaves, the TAIL and the signed checkpoint over all of it, so a batch is there whole or
 * not at all. Acknowledged means: in a journal that was synced. Nothing of this file knows who submits or over what.
 *
 * Everything but init, open, close, reindex and audit may be called by many threads at once. Transactions are verified side
 * by side and committed together; whatever reads sees the last durable batch and goes on when the disk is full or failed.
 */
#ifndef TROTH_LEDGER_ENGINE_H
#define TROTH_LEDGER_ENGINE_H

#include "ledger/checkpoint.h"
#include "ledger/contract.h"
#include "ledger/leaf.h"
#include "store/io.h"

struct ledger_engine;

enum { LEDGER_BATCH_MAX = 1024, LEDGER_WAITING_MAX = 8192 };

struct ledger_engine_options {
	const char *dir;
	const struct store_io *io; /* NULL: the system's. Else tree and index live in memory and no thread but the caller's writes */
	uint64_t (*now_ms)(void *arg); /* NULL: the wall clock */
	void *now_arg;
	unsigned verifiers; /* threads for ledger_engine_submit_async; 0: as many as processors */
	uint64_t snapshot_every; /* leaves; 0: a default that grows with the state */
	uint64_t segment_max;	 /* bytes of a journal segment; 0: its default */
	bool read_only; /* no lock, nothing is written, also beside an engine that runs: sees what was durable at the opening */
};

/*
 * Makes the folder's content: log key, empty journal, and the first batch with the transaction of the first
 * configuration, which `genesis` makes once the log key is known (its log_name and log_key must be those of `log`).
 * Makes the folder (0700) when there is none. ALREADY_EXISTS when there is a ledger; the contract's code when it refuses
 * the transaction.
 */
typedef result ledger_genesis(void *arg, const struct note_key *log, uint64_t now_ms, struct bytes *out_tx);
NODISCARD result ledger_engine_init(const struct ledger_engine_options *options, const char *log_name, ledger_genesis *genesis, void *arg);

/* What opening did, for the log. */
struct ledger_recovery {
	uint64_t replayed;  /* leaves that were applied again because no snapshot had them */
	uint64_t kept;	    /* batches past the journal's durable head */
	uint64_t cut_bytes; /* of a batch that was being written */
	bool from_start;    /* no snapshot could be used: everything was replayed */
	bool tree_made;	    /* the tree file was missing or did not fit */
	char text[200];	    /* why, when something was made again; "" */
};

/*
 * Opens and recovers: journal, then snapshot, then the batches after it; every root is compared with its TAIL and
 * checkpoint. LEDGER_DAMAGED and JOURNAL_DAMAGED name the file and what to do; BUSY when another program has it open;
 * NOT_FOUND when there is no ledger. What was acknowledged is there. `out_recovery` may be NULL.
 */
NODISCARD result ledger_engine_open(const struct ledger_engine_options *options, struct ledger_engine **out, struct ledger_recovery *out_recovery);
/* Nothing may be waiting any more, and nobody may be inside a call. Writes a snapshot. Accepts NULL. */
void ledger_engine_close(struct ledger_engine *engine);
void ledger_engine_cleanup(struct ledger_engine **at); /* for CLEANUP */

/* ---- Submitting -------------------------------------------------------------------------------- */

struct ledger_receipt {
	uint8_t txid[OID_SIZE];
	enum reason code;
	bool on_ledger;	      /* it counts: it has a leaf. Else `index` and `size` are 0 */
	uint64_t index, size; /* of its leaf; of the first checkpoint that covers it */
	uint64_t time;	      /* of its batch */
	char text[200];	      /* why not, for people; "" for what was found on the ledger */
};
/*
 * Returns once the transaction's batch is durable. A transaction that does not count gives its code and no index. One that
 * is on the ledger already gives the receipt it had, whatever became of its nonce since. Errors are of the engine: DISK_FULL,
 * JOURNAL_POISONED (start again after a look at the disk), LEDGER_BUSY when more wait than may.
 */
NODISCARD result ledger_engine_submit(struct ledger_engine *engine, struct span tx, struct ledger_receipt *out);

/*
 * The same without waiting: `done` is called exactly once, by a thread of the engine, when submit would have returned;
 * `failed` is its result, `text` its context. It must not block nor call the engine, but for submit_async. `tx` is copied. LEDGER_BUSY: it was
 * not taken and `done` will not be called.
 */
typedef void ledger_done(void *arg, result failed, const char *text, const struct ledger_receipt *receipt);
NODISCARD result ledger_engine_submit_async(struct ledger_engine *engine, struct span tx, ledger_done *done, void *arg);

/* What contract_apply would say to it now, without effects and without its being sent (`troth ledger submit --check`). */
NODISCARD result ledger_engine_check(struct ledger_engine *engine, struct span tx, struct ledger_receipt *out);

/* ---- Heads ------------------------------------------------------------------------------------- */

struct ledger_head {
	uint64_t size, height, time;
	struct merkle_hash root, state_root;
};
void ledger_engine_head(struct ledger_engine *engine, struct ledger_head *out);
/* The latest signed checkpoint, with the cosignatures that were added to it. */
NODISCARD result ledger_engine_checkpoint(struct ledger_engine *engine, struct bytes *out);
/* The signed checkpoint of this size, which must be a batch's end. NOT_FOUND. */
NODISCARD result ledger_engine_checkpoint_at(struct ledger_engine *engine, uint64_t size, struct bytes *out);
/*
 * Signature lines of witnesses (each with its newline) over the checkpoint of this size, verified by the caller. They are
 * given out with that checkpoint while it is the latest, also after a restart: they are durable when this returns OK. NOT_FOUND
 * when there is a newer one.
 */
NODISCARD result ledger_engine_add_cosignatures(struct ledger_engine *engine, uint64_t size, struct span lines);
const struct note_key *ledger_engine_log_key(const struct ledger_engine *engine);
void ledger_engine_chain(struct ledger_engine *engine, uint8_t out[static CHAIN_ID_SIZE]);
/* The configuration in force. */
NODISCARD result ledger_engine_config(struct ledger_engine *engine, struct arena *arena, struct ledger_config *out);

/* ---- Reading and proving ------------------------------------------------------------------------ */

/* Checked against the log's tree before it is given out. NOT_FOUND, LEDGER_DAMAGED, LEDGER_INDEXING. */
NODISCARD result ledger_engine_leaf(struct ledger_engine *engine, uint64_t index, struct bytes *out);
/* By the transaction's name. NOT_FOUND, LEDGER_DAMAGED, LEDGER_INDEXING. */
NODISCARD result ledger_engine_find(struct ledger_engine *engine, const uint8_t txid[static OID_SIZE], struct ledger_receipt *out);

/* Paths at `size` (0: the latest, which *out_size then is). Each is verified before it is given out: LEDGER_DAMAGED names the tree. */
NODISCARD result ledger_engine_prove(struct ledger_engine *engine, uint64_t index, uint64_t size, struct merkle_proof *out, uint64_t *out_size);
NODISCARD result ledger_engine_consistency(struct ledger_engine *engine, uint64_t first, uint64_t second, struct merkle_proof *out);

/*
 * Proof files (ledger/proof.h). Of a leaf at a batch's end `size` (0: the latest). Of a fact, or of its absence, by the
 * latest state: facts are intervals, so the latest says what held at any index.
 */
NODISCARD result ledger_engine_leaf_proof(struct ledger_engine *engine, uint64_t index, uint64_t size, struct bytes *out);
NODISCARD result ledger_engine_fact_proof(struct ledger_engine *engine, const uint8_t key[static SPARSE_KEY_SIZE], struct bytes *out);

/* The fact of the latest state, decoded; `arena` holds copies. *out_size: the checkpoint whose TAIL vouches for it. */
NODISCARD result ledger_engine_fact(struct ledger_engine *engine, enum fact_type type, struct span id, struct arena *arena, void *out,
	bool *out_there, uint64_t *out_size);
/* The contract's decision on the latest state at the present time. */
NODISCARD result ledger_engine_decide(struct ledger_engine *engine, const struct access_question *question, struct access_decision *out,
	uint64_t *out_size);

/* For `troth audit`: leaves of transactions from an index on, filtered by what the index knows. */
struct ledger_filter {
	uint64_t from;		     /* index */
	uint64_t since_ms, until_ms; /* time of the batch; until 0: no end */
	const uint8_t *sender;	     /* address; NULL: any */
	unsigned type;		     /* 0: any */
	bool only_ok;		     /* code OK */
	uint64_t limit;		     /* 0: none */
};
struct ledger_row {
	uint64_t index, size, time; /* size: of the first checkpoint that covers it */
	struct span bytes;	    /* the leaf; borrowed until the next row */
	const struct ledger_leaf *leaf;
};
/* Stops at the first failure of `each` and returns it; `each` may call the engine. */
typedef result ledger_visit(void *arg, const struct ledger_row *row);
NODISCARD result ledger_engine_each(struct ledger_engine *engine, const struct ledger_filter *filter, ledger_visit *each, void *arg);

/* ---- Repair and audit ---------------------------------------------------------------------------- */

/* Makes index, tree and snapshot anew from the journal, which is walked whole. The engine must not be open: BUSY. */
NODISCARD result ledger_engine_reindex(const struct ledger_engine_options *options);

enum ledger_audit_depth { AUDIT_HASHES = 1, AUDIT_EVERYTHING = 2 };
struct ledger_audit {
	uint64_t size, batches, transactions, refused;
	struct ledger_head head;
};
/*
 * Goes through the whole journal without trusting anything beside it. AUDIT_HASHES: every frame (segments side by side), every leaf's hash, the log's
 * root at each batch, the last signature. AUDIT_EVERYTHING: and applies every transaction again, every signature verified, each
 * code, events hash and state root compared. Works on a folder in use. LEDGER_DAMAGED, JOURNAL_DAMAGED name the place.
 */
NODISCARD result ledger_engine_audit(const struct ledger_engine_options *options, enum ledger_audit_depth depth, struct ledger_audit *out);

struct ledger_statistics {
	uint64_t size, height, facts;
	uint64_t submitted, counted, refused, turned_away; /* since the opening: all; with a leaf; of these not OK; without a leaf */
	uint64_t batches, failed_batches;
	uint64_t sync_ns_total, sync_ns_max; /* of all batches */
	uint64_t waiting, indexed, snapshot_size;
	bool poisoned; /* nothing more is taken until it is opened again */
};
void ledger_engine_statistics(struct ledger_engine *engine, struct ledger_statistics *out);

#endif
