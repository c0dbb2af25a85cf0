/*
 * The one journal of Troth: an append-only, hash-chained sequence of typed entries that survives kill -9 and power
 * loss. Entry n (from 1) is present for ever once journal_commit returned OK for it. Bytes: docs/PROTOCOL.journal.
 *
 * Appends are collected in memory and become durable together at journal_commit (group commit). The durable head
 * (last sequence, place, chain hash) is kept apart in two alternating slots. Opening checks every frame: what lies past
 * the head and is whole is kept, the first torn frame past it and all after it is cut off, and damage before it is
 * JOURNAL_DAMAGED: nothing is opened and nothing is changed.
 *
 * One handle per journal (a lock enforces it: BUSY). Not thread-safe. DISK_FULL leaves the appends pending: make room and commit again, or
 * discard them. EIO, or any failure of a sync, is fatal to the handle, because the kernel may have dropped the pages:
 * JOURNAL_POISONED from then on; close, look at the disk, open again.
 */
#ifndef TROTH_STORE_JOURNAL_H
#define TROTH_STORE_JOURNAL_H

#include "base/bytes.h"
#include "base/result.h"
#include "base/span.h"
#include "store/io.h"

enum {
	JOURNAL_HASH_SIZE = 32,
	JOURNAL_ID_SIZE = 16,
	JOURNAL_FRAME_HEADER_SIZE = 56,
	JOURNAL_SEGMENT_HEADER_SIZE = 72,
	JOURNAL_PAYLOAD_MAX = 16 << 20,
	JOURNAL_NAME_MAX = 64,
};

struct journal;

/* Where an entry's frame begins. */
struct journal_place {
	uint32_t segment;
	uint64_t offset;
};

struct journal_options {
	uint64_t segment_max; /* a new segment is begun beyond this size; 0: 64 MiB */
	uint64_t preallocate; /* file space is taken in steps of this size; 0: 1 MiB */
	bool must_exist; /* NOT_FOUND instead of making a new journal */
	bool lazy_head; /* the head slot becomes durable with the next commit or the close: one sync per
			 * commit instead of two. Nothing acknowledged is lost by a crash, but damage to the
			 * last batch after power loss looks like a torn write. */
	bool zeros; /* preallocated space is written, not only reserved: a sync that fills it changes no metadata */
	bool single; /* the caller commits after every append: then a torn frame is the last one, and a whole frame or
		      * segment beyond a damaged one shows that this one was durable: JOURNAL_DAMAGED, not a torn end */
	bool trusted; /* opening begins at the durable head instead of at entry 1. What lies before is checked when it is
		       * read; of other segments only the headers are looked at */
	bool read_only; /* no lock and no change: what an open journal holds may be read beside its owner */
	const struct store_io *io; /* NULL: the system's */
};

struct journal_head {
	uint64_t sequence; /* of the last committed entry; 0: none */
	uint8_t hash[JOURNAL_HASH_SIZE];
};

struct journal_entry {
	uint64_t sequence;
	uint16_t type;
	struct span payload; /* borrowed until the next step of the cursor */
	struct journal_place place;
};

/* What recovery did, for the log. */
struct journal_recovery {
	uint64_t kept; /* whole entries past the durable head */
	uint64_t cut_bytes; /* bytes of torn frames that were cut off */
	bool created;
};

/*
 * Opens `NAME-00000001.log`, ... and `NAME.head` in the folder `dir`, and makes them when there are none. `options` and
 * `out_recovery` may be NULL. BUSY, JOURNAL_DAMAGED, UNKNOWN_VERSION, NOT_FOUND.
 */
NODISCARD result journal_open(const char *dir, const char *name, const struct journal_options *options, struct journal **out,
	struct journal_recovery *out_recovery);

/* Closes without committing what is pending. Accepts NULL. */
void journal_close(struct journal *journal);
void journal_cleanup(struct journal **at); /* for CLEANUP */

/* Adds an entry; out_sequence may be NULL. TOO_LARGE beyond JOURNAL_PAYLOAD_MAX. */
NODISCARD result journal_append(struct journal *journal, uint16_t type, struct span payload, uint64_t *out_sequence);

/* Makes every append so far durable. OK at once when nothing is pending. */
NODISCARD result journal_commit(struct journal *journal);

/* Drops every append since the last commit, also from the disk. */
NODISCARD result journal_discard(struct journal *journal);

/* The last committed entry. */
struct journal_head journal_head(const struct journal *journal);

/* Where the frame of the entry that was appended last begins, and where it ends; only after an append. */
struct journal_place journal_last_place(const struct journal *journal);

/*
 * Reads one committed entry where it is known to be. The one function that may be called beside all others, by any thread.
 * `buffer` holds the frame; `out_next` (may be NULL): where the next entry is looked for. NOT_FOUND: no frame begins here,
 * which past the last entry of a segment means that the next one is journal_next_segment(place). JOURNAL_DAMAGED.
 */
NODISCARD result journal_fetch(const struct journal *journal, struct journal_place place, uint64_t sequence, struct bytes *buffer,
	struct journal_entry *out, struct journal_place *out_next);
struct journal_place journal_next_segment(struct journal_place place);
/*
 * The sequence of the first entry that this segment holds, or would hold. NOT_FOUND past the last. So the segments of a
 * journal that nobody appends to can be read side by side, each by a thread with a cursor of its own.
 */
NODISCARD result journal_segment_first(const struct journal *journal, uint32_t segment, uint64_t *out_sequence);

/*
 * Reading. A cursor sees the committed entries, also those committed after it was opened. Every frame's checksum is
 * checked again: JOURNAL_DAMAGED. A cursor must be closed before its journal.
 */
struct journal_cursor;

NODISCARD result journal_cursor_open(struct journal *journal, uint64_t from_sequence, struct journal_cursor **out);
/* The same where the place of the first entry is known. */
NODISCARD result journal_cursor_open_at(struct journal *journal, struct journal_place place, uint64_t sequence, struct journal_cursor **out);
/* The next entry. At the end: OK with out_more false and *out untouched. */
NODISCARD result journal_cursor_next(struct journal_cursor *cursor, struct journal_entry *out, bool *out_more);
void journal_cursor_close(struct journal_cursor *cursor); /* accepts NULL */
void journal_cursor_cleanup(struct journal_cursor **at); /* for CLEANUP */

/* Calls `each` for every committed entry from `from_sequence` on; stops at its first failure and returns that. */
typedef result journal_each(void *arg, const struct journal_entry *entry);
NODISCARD result journal_read(struct journal *journal, uint64_t from_sequence, journal_each *each, void *arg);

#endif
