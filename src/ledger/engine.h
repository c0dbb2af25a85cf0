/*
 * The embedded engine: the contract's transactions made durable, one batch at a time (docs/PROTOCOL.ledger, "The log"). It
 * owns a folder:
 *   log-*.log, log.head   the journal (store/journal.h): one entry per batch, which is the truth
 *   tree                  the log's Merkle hashes, mapped; made again when it does not fit
 *   state.snapshot        the state at some batch, checked against that batch's TAIL; a restart replays what came later
 *   index.sqlite          where leaves and transactions stand; made again by ledger_engine_reindex, never the truth
 *   log.key, log.vkey     the Ed25519 key that signs checkpoints (0600), and its public half
 *
 * One entry holds a whole batch: its leaves, the TAIL and the signed checkpoint over all of it, so a batch is there whole or
 * not at all. Acknowledged means: in a journal that was synced. Nothing of this file knows who submits or over what.
 *
 * ledger_engine_submit may be called by many threads at once: their transactions are verified side by side, committed
 * together, and each caller is woken with its own verdict. Everything that reads may run beside it.
 */
#ifndef TROTH_LEDGER_ENGINE_H
#define TROTH_LEDGER_ENGINE_H

#include "ledger/checkpoint.h"
#include "ledger/contract.h"
#include "store/io.h"

struct ledger_engine;

enum { LEAF_MAX = 60 * 1024, BATCH_MAX = 1024 };
enum leaf_kind { LEAF_TX = 1, LEAF_TAIL = 2 };

/* A leaf, decoded. LEAF_TX: [1, tx, code, H(events)]; LEAF_TAIL: [2, height, time, first index, count, state root]. */
struct ledger_leaf {
	uint8_t kind;
	struct span tx;
	uint32_t code;
	uint8_t events_hash[SHA256_SIZE];
	uint64_t height, time, first, count;
	uint8_t state_root[SHA256_SIZE];
};
NODISCARD result ledger_leaf_encode(const struct ledger_leaf *leaf, struct bytes *out);
NODISCARD result ledger_leaf_decode(struct span bytes, struct ledger_leaf *out); /* borrows */

struct ledger_engine_options {
	const char *dir;
	const struct store_io *io; /* NULL: the system's */
	uint64_t (*now_ms)(void *arg); /* NULL: the wall clock */
	void *now_arg;
	unsigned verifiers; /* threads; 0: as many as processors */
	uint64_t snapshot_every; /* leaves; 0: a default */
	bool read_only; /* for `troth ledger audit` and the like: no lock, nothing is written */
};

/*
 * Makes the folder's content: log key, empty journal, and the first batch with the transaction of the first
 * configuration, which `genesis` makes once the log key is known. ALREADY_EXISTS when there is a ledger.
 */
typedef result ledger_genesis(void *arg, const struct note_key *log, uint64_t now_ms, struct bytes *out_tx);
NODISCARD result ledger_engine_init(const struct ledger_engine_options *options, const char *log_name, ledger_genesis *genesis, void *arg);

/*
 * Opens and recovers: journal, then snapshot, then the batches after it; every root is compared with its TAIL and
 * checkpoint. LEDGER_DAMAGED names the file and what to do; BUSY; JOURNAL_DAMAGED. What was acknowledged is there.
 */
NODISCARD result ledger_engine_open(const struct ledger_engine_options *options, struct ledger_engine **out);
void ledger_engine_close(struct ledger_engine *engine); /* accepts NULL; writes a snapshot */

struct ledger_receipt {
	uint8_t txid[OID_SIZE];
	enum reason code;
	uint64_t index, size; /* of its leaf; of the first checkpoint that covers it */
	uint64_t time;
	char text[200];
};
/*
 * Returns once the transaction's batch is durable. A transaction that does not count gives its code and no index. One that
 * is on the ledger already gives the receipt it had. Errors are of the engine: DISK_FULL, JOURNAL_POISONED, BUSY when more
 * wait than may.
 */
NODISCARD result ledger_engine_submit(struct ledger_engine *engine, struct span tx, struct ledger_receipt *out);
/* The same for many at once, in this order, in as few batches as fit. */
NODISCARD result ledger_engine_submit_all(struct ledger_engine *engine, const struct span *txs, size_t count, struct ledger_receipt *out);

/* The latest signed checkpoint, with the cosignatures that were added. */
NODISCARD result ledger_engine_checkpoint(struct ledger_engine *engine, struct bytes *out);
/* The signed checkpoint of this size, which must be a batch's end. NOT_FOUND. */
NODISCARD result ledger_engine_checkpoint_at(struct ledger_engine *engine, uint64_t size, struct bytes *out);
/* A cosignature line over the latest checkpoint of this size, already verified by the caller. */
NODISCARD result ledger_engine_add_cosignature(struct ledger_engine *engine, uint64_t size, struct span line);
const struct note_key *ledger_engine_log_key(const struct ledger_engine *engine);
void ledger_engine_chain(struct ledger_engine *engine, uint8_t out[static CHAIN_ID_SIZE]);

uint64_t ledger_engine_size(struct ledger_engine *engine);
NODISCARD result ledger_engine_leaf(struct ledger_engine *engine, uint64_t index, struct bytes *out);
NODISCARD result ledger_engine_find(struct ledger_engine *engine, const uint8_t txid[static OID_SIZE], struct ledger_receipt *out); /* NOT_FOUND */
/* Proofs at `size` (a batch's end; 0: the latest). Each is verified before it is given out. */
NODISCARD result ledger_engine_prove(struct ledger_engine *engine, uint64_t index, uint64_t size, struct merkle_proof *out, uint64_t *out_size);
NODISCARD result ledger_engine_consistency(struct ledger_engine *engine, uint64_t first, uint64_t second, struct merkle_proof *out);
/* Of the latest state, with the size whose TAIL holds its root. `out_value` is the fact's value; empty: there is none. */
NODISCARD result ledger_engine_state(struct ledger_engine *engine, const uint8_t key[static SPARSE_KEY_SIZE], struct bytes *out_proof,
	struct bytes *out_value, uint64_t *out_size);
NODISCARD result ledger_engine_decide(struct ledger_engine *engine, const struct access_question *question, struct access_decision *out,
	uint64_t *out_size);

/* For `troth audit`: leaves from an index on, filtered by what the index knows. */
struct ledger_filter {
	uint64_t from, since_ms, until_ms; /* 0: no bound */
	const uint8_t *sender;	/* address; NULL: any */
	unsigned type;		/* 0: any */
	uint64_t limit;
};
typedef result ledger_visit(void *arg, uint64_t index, const struct ledger_leaf *leaf);
NODISCARD result ledger_engine_each(struct ledger_engine *engine, const struct ledger_filter *filter, ledger_visit *each, void *arg);

/* Makes index and tree anew from the journal. The engine must not be open. */
NODISCARD result ledger_engine_reindex(const struct ledger_engine_options *options);

struct ledger_statistics {
	uint64_t size, height, facts, transactions, refused, batches, syncs_ns_last, waiting;
};
void ledger_engine_statistics(struct ledger_engine *engine, struct ledger_statistics *out);

#endif
