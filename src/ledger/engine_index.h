/*
 * The engine's index: where leaves, batches and transactions stand in the journal. SQLite; made from the journal and able to
 * be made again, never the truth: whoever finds a row looks at what it points to. Not thread-safe.
 *
 * The file is only used when it is whole: either it has the sum that was written when it was closed, or SQLite finds no fault
 * in it. Names are kept by their first eight bytes.
 */
#ifndef TROTH_LEDGER_ENGINE_INDEX_H
#define TROTH_LEDGER_ENGINE_INDEX_H

#include "object/ledger.h"
#include "store/journal.h"

struct ledger_index;

struct index_batch {
	uint64_t size; /* of the log after it */
	uint64_t first, time, sequence;
	struct journal_place place;
};
struct index_leaf {
	uint64_t index, size; /* size: of its batch */
	uint64_t txid, sender; /* first eight bytes */
	unsigned type, code;
};

/*
 * Opens index.sqlite in the folder, or makes it anew when it is missing, damaged or of another chain; *out_made says so. NULL: in
 * memory. IO_ERROR, DISK_FULL.
 */
NODISCARD result index_open(const char *dir, const uint8_t chain[static CHAIN_ID_SIZE], struct ledger_index **out, bool *out_made);
/* Writes the sum that lets the next opening trust the file. Accepts NULL. */
void index_close(struct ledger_index *index);
/* Forgets everything. */
NODISCARD result index_clear(struct ledger_index *index);
NODISCARD result index_remove(const char *dir);

/* How many leaves it knows: the end of the last batch. */
NODISCARD result index_last(struct ledger_index *index, struct index_batch *out, bool *out_there);
NODISCARD result index_begin(struct ledger_index *index);
NODISCARD result index_add_batch(struct ledger_index *index, const struct index_batch *batch);
NODISCARD result index_add_leaf(struct ledger_index *index, const struct index_leaf *leaf);
NODISCARD result index_end(struct ledger_index *index);

/* The batch with this leaf; NOT_FOUND. */
NODISCARD result index_batch_of(struct ledger_index *index, uint64_t leaf, struct index_batch *out);
/* Leaves with this beginning of a transaction's name, oldest first. */
NODISCARD result index_find(struct ledger_index *index, uint64_t txid, struct index_leaf *out, size_t max, size_t *out_count);
struct index_filter {
	uint64_t from, since_ms, until_ms;
	bool has_sender;
	uint64_t sender;
	unsigned type;
	bool only_ok;
};
NODISCARD result index_select(struct ledger_index *index, const struct index_filter *filter, struct index_leaf *out, size_t max, size_t *out_count);

uint64_t index_name(const uint8_t *bytes); /* the first eight, below 2^63 */

#endif
