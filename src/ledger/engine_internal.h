/* What the files of the embedded engine share (engine.h). */
#ifndef TROTH_LEDGER_ENGINE_INTERNAL_H
#define TROTH_LEDGER_ENGINE_INTERNAL_H

#include "ledger/engine.h"
#include "ledger/engine_index.h"
#include "ledger/signatures.h"
#include "store/journal.h"
#include "store/slots.h"

#include <pthread.h>

enum {
	ENTRY_BATCH = 1, /* type of the journal's entries */
	BATCH_BYTES_MAX = 8 << 20,
	BATCH_GOOD = 64, /* transactions that are worth a sync while more are being verified */
	BATCH_LEAF_ROOM = 128, /* what a leaf takes beside its transaction */
	WAITING_BYTES_MAX = 64 << 20,
	SNAPSHOT_MAX = 2000000000,
};

/* ---- A batch as it stands in the journal: count u32 ‖ count * lv(leaf) ‖ lv(checkpoint); the last leaf is the TAIL ---- */

struct batch {
	struct span leaves; /* count * lv(leaf) */
	size_t count;	    /* with the TAIL */
	struct span tail_bytes;
	struct ledger_leaf tail;
	struct span checkpoint;
};
/* Checks the form, that the TAIL is last, and that its numbers fit. LEDGER_DAMAGED. */
NODISCARD result batch_decode(struct span payload, struct batch *out);
/* The leaves one after the other; `rest` begins as batch.leaves. */
NODISCARD result batch_next(struct span *rest, struct span *out_leaf);
/* The leaf with this index of the log. */
NODISCARD result batch_leaf(const struct batch *batch, uint64_t index, struct span *out);

/* ---- Applying batches again --------------------------------------------------------------------- */

/* The right edge of a growing tree: enough for its root. */
struct frontier {
	uint64_t size;
	struct merkle_hash levels[64];
};
void frontier_add(struct frontier *frontier, const struct merkle_hash *leaf);
void frontier_root(const struct frontier *frontier, struct merkle_hash *out);

struct replay {
	struct ledger_state *state; /* NULL: only hashes are checked */
	struct merkle_tree *tree;   /* NULL: only the frontier grows */
	struct frontier frontier;   /* used without a tree */
	const struct note_key *log; /* checks the signature of each checkpoint; NULL: it does not */
	bool verify;		    /* signatures of what was sent, too */
	uint64_t roots_from;	    /* state roots are compared from this entry on: the last one is one over all before it */
	struct ledger_head head;
	uint64_t transactions, refused;
};
/* Applies a batch as it was applied once; everything must come out as it says. LEDGER_DAMAGED names the entry. */
NODISCARD result replay_batch(struct replay *replay, const struct journal_entry *entry);
/* LEDGER_DAMAGED with the entry's place. */
NODISCARD result replay_differs(const struct journal_entry *entry, const char *what);

/* ---- Jobs --------------------------------------------------------------------------------------- */

struct job {
	struct job *next;
	struct span tx;
	struct signatures signatures;
	unsigned type; /* of the transaction; 0: it is none */
	bool foreign_log_key; /* a configuration that names a key which this engine cannot sign with */
	struct ledger_receipt receipt;
	const struct job *same; /* the job of this batch that has the same transaction */
	result failed;
	char text[200];
	bool finished;
	/* A waiting caller's, or: */
	pthread_cond_t *wake;
	ledger_done *done;
	void *arg;
	struct bytes kept; /* of an asynchronous job: owns tx */
};

struct job_list {
	struct job *first, *last;
	size_t count;
};

/* ---- The snapshot's file (engine_snapshot.c) ---------------------------------------------------- */

struct snapshot_file {
	int fd; /* -1: there is none that could be added to */
	struct slots slots;
	uint64_t end;  /* where the next records go */
	uint64_t live; /* its length when it was written whole */
	bool whole;    /* the next must be */
	/* What the state was opened over, until it was read whole. */
	uint8_t *data;
	size_t len;
	bool mapped;
};

/* A snapshot that was taken and is to be written. */
struct snapshot_pending {
	struct bytes bytes;
	uint64_t at; /* where they go */
	uint64_t size; /* leaves */
	bool whole;
	uint8_t slot[256];
	size_t slot_len;
};

struct ledger_engine {
	struct ledger_engine_options options;
	char *dir;
	struct store_io io;
	bool system; /* files beside the journal are real ones, and threads may write */
	int folder;
	struct journal *journal;
	struct note_key log;
	struct secret seed;
	uint8_t chain[CHAIN_ID_SIZE];

	/* Written while a batch is applied and made durable; read under it. */
	pthread_rwlock_t lock;
	struct ledger_state *state;
	struct merkle_tree tree;
	int tree_fd;
	bool broken; /* the state could not be brought back: nothing can be answered from it */
	uint64_t relaxed_at;
	struct writer entry; /* memory that is used again */

	/* What was durable last. */
	pthread_mutex_t head_lock;
	struct ledger_head head;
	uint64_t sequence;
	struct journal_place place;
	struct bytes checkpoint, cosignatures, tail;
	struct ledger_statistics statistics;
	pthread_mutex_t cosign_lock; /* held while cosignatures become durable, one after the other */

	/* Who waits. */
	pthread_mutex_t queue_lock;
	pthread_cond_t to_verify_cond, ready_cond;
	struct job_list to_verify, ready;
	size_t waiting, waiting_bytes, preparing;
	bool committing, stopping;
	bool started; /* the threads below */
	pthread_t *verifiers;
	unsigned verifier_count;
	pthread_t committer;
	struct signature_cache *cache;

	/* The keeper: brings the index up to date and writes snapshots. */
	pthread_mutex_t index_lock;
	struct ledger_index *index; /* NULL: not opened yet, or none (read only) */
	struct ledger_index *overlay; /* in memory: what `index` has no room for on a full disk; NULL: nothing */
	pthread_mutex_t keeper_lock;
	pthread_cond_t keeper_cond;
	pthread_t keeper;
	bool keeper_runs, keeper_stops, keeper_asleep;
	struct snapshot_file snapshot_file; /* of whoever commits, or while snapshot_busy of the keeper */
	struct snapshot_pending snapshot;   /* to be written */
	bool snapshot_busy;
	bool bringing; /* of the keeper: not all of the state was read yet */
	uint64_t snapshot_size; /* leaves in the last one that was written */
	uint64_t snapshot_size_pending; /* in the last one that was tried; of whoever commits */
	uint64_t keeper_seen;
};

/* The clock, and never before `before`. */
uint64_t engine_now(const struct ledger_engine *engine, uint64_t before);
bool engine_is_poisoned(struct ledger_engine *engine);
unsigned engine_processors(void);

/* Applies and commits these jobs as one batch and gives each its receipt or failure. By one thread at a time. */
void engine_commit(struct ledger_engine *engine, struct job *first);
void engine_stop_threads(struct ledger_engine *engine);
/* Signatures of one job, ahead of its turn. */
void engine_prepare(struct ledger_engine *engine, struct job *job);

/* ---- Snapshots ---------------------------------------------------------------------------------- */

/* Of the present state; the caller holds the lock. Accepts no other until this one was written or had to be given up. */
NODISCARD result snapshot_take(struct ledger_engine *engine, struct snapshot_pending *out);
void snapshot_pending_free(struct snapshot_pending *pending);
NODISCARD result snapshot_write(struct ledger_engine *engine, const struct snapshot_pending *pending);
struct snapshot {
	uint64_t sequence, size, height, time;
	struct journal_place place;
	struct merkle_hash root, state_root;
	struct state_place state;
	uint64_t live, end;
};
/* NOT_FOUND: there is none. LEDGER_DAMAGED, UNKNOWN_VERSION: it cannot be used. `out_state` belongs to the caller. */
NODISCARD result snapshot_read(struct ledger_engine *engine, struct snapshot *out, struct ledger_state **out_state);
/* What a slot of the file says. Pure. */
NODISCARD result snapshot_decode(struct span slot, uint8_t out_chain[static CHAIN_ID_SIZE], struct snapshot *out);
/* After a batch, under the lock: takes a snapshot when it is time. */
void snapshot_maybe(struct ledger_engine *engine);
/* The state no longer needs the file's bytes. */
void snapshot_release(struct ledger_engine *engine);
void snapshot_close(struct ledger_engine *engine);

/* ---- Keeper and index --------------------------------------------------------------------------- */

NODISCARD result engine_keeper_start(struct ledger_engine *engine);
void engine_keeper_stop(struct ledger_engine *engine);
void keeper_wake(struct ledger_engine *engine);
/* The index lock is held when this returns OK, and the index knows all leaves below `size`. LEDGER_INDEXING when that would take long. */
NODISCARD result index_enter(struct ledger_engine *engine, uint64_t size);
void index_leave(struct ledger_engine *engine);
/* As those of engine_index.h, over index and overlay; between index_enter and index_leave. */
NODISCARD result engine_index_batch(struct ledger_engine *engine, uint64_t leaf, struct index_batch *out);
NODISCARD result engine_index_find(struct ledger_engine *engine, uint64_t txid, struct index_leaf *out, size_t max, size_t *out_count);
NODISCARD result engine_index_select(struct ledger_engine *engine, const struct index_filter *filter, struct index_leaf *out, size_t max,
	size_t *out_count);

/* The batch that holds leaf `index`, read from the journal into `buffer`. */
NODISCARD result engine_batch(struct ledger_engine *engine, uint64_t index, struct bytes *buffer, struct batch *out);

/* ---- Opening ------------------------------------------------------------------------------------ */

NODISCARD result engine_new(const struct ledger_engine_options *options, struct ledger_engine **out);
void engine_free(struct ledger_engine *engine);
NODISCARD result engine_read_keys(struct ledger_engine *engine);
NODISCARD result engine_open_journal(struct ledger_engine *engine, bool must_exist, bool trusted, struct journal_recovery *recovery);
/* A file of a few bytes; write_small replaces it durably. */
NODISCARD result engine_read_small(struct ledger_engine *engine, const char *name, void *out, size_t max, size_t *out_len);
NODISCARD result engine_write_small(struct ledger_engine *engine, const char *name, struct span content);
/* What witnesses said about the last checkpoint, from its file (engine_cosigned.c); nothing when that is of another or damaged. */
void cosignatures_load(struct ledger_engine *engine);
/* Publishes a head with its batch. */
NODISCARD result engine_publish(struct ledger_engine *engine, const struct ledger_head *head, const struct journal_entry *entry,
	struct span checkpoint, struct span tail);

#endif
