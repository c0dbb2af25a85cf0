/*
 * Small durable state in two alternating slots of one file: the newest valid one counts, and a write goes to the
 * other, so that a torn write costs only what was never acknowledged. Needs an open descriptor and nothing else: no path,
 * no allocation of file space after slots_format. Layout: docs/PROTOCOL.journal.
 *
 * One owner at a time (the caller holds the lock). EIO while writing is fatal to the handle: JOURNAL_POISONED.
 */
#ifndef TROTH_STORE_SLOTS_H
#define TROTH_STORE_SLOTS_H

#include "base/bytes.h"
#include "base/result.h"
#include "store/io.h"

enum { SLOT_HEADER_SIZE = 24, SLOT_SIZE_MAX = 1 << 20 };

struct slots {
	const struct store_io *io;
	int fd; /* borrowed */
	size_t slot_size;
	uint64_t sequence; /* of the newest valid slot; 0: nothing was ever written */
	bool poisoned;
};

/* Bytes of the file that holds two slots; a payload may have slot_size - SLOT_HEADER_SIZE bytes. */
static inline size_t slots_file_size(size_t slot_size)
{
	return 2 * slot_size;
}

/* Sizes the file and writes two empty slots, durably. Destroys what was there: for a new file only. */
NODISCARD result slots_format(int fd, size_t slot_size);

/*
 * Finds the newest valid slot. A file of zeros is empty (sequence 0); one valid slot beside a damaged one is
 * taken (the damaged one was being written); no valid slot: JOURNAL_DAMAGED. `slot_size`: a multiple of 512.
 */
NODISCARD result slots_open(int fd, size_t slot_size, struct slots *out);

/* A copy of the newest payload; empty when nothing was ever written. */
NODISCARD result slots_read(const struct slots *slots, struct bytes *out);

/*
 * Durable when it returns OK. TOO_LARGE and DISK_FULL leave the old payload in force, though the next slots_open may find
 * the new one. After any other failure, and a DISK_FULL of the sync, the handle is poisoned, and the next slots_open finds
 * the old or the new payload, as after a crash.
 */
NODISCARD result slots_write(struct slots *slots, struct span payload);

/* The same over another table of system calls, for the journal and for tests. */
NODISCARD result slots_format_io(const struct store_io *io, int fd, size_t slot_size);
NODISCARD result slots_open_io(const struct store_io *io, int fd, size_t slot_size, struct slots *out);

/* Decodes one slot: OK, or JOURNAL_DAMAGED. Pure; used by the fuzz target. `out_payload` borrows from `slot`. */
NODISCARD result slot_decode(struct span slot, uint64_t *out_sequence, struct span *out_payload);

#endif
