/*
 * What the host remembers of its root: every epoch record and HALT in the order in which they were accepted, both records
 * of a fork, the recovery keys that signed, and why each change was made. Durable in the folder `epochs` of the state folder
 * (a store/journal), append-only. A running digest over all of it stands in the pin store, so that a start with many epochs
 * hashes and does not verify signatures again:
 *   d_0 = 32 zero bytes; d_n = SHA-256("troth history1" ‖ d_(n-1) ‖ u16 type ‖ u32 length ‖ payload)
 *
 * Not thread-safe. HISTORY_DAMAGED when the folder is not what was pinned or not what was written.
 */
#ifndef TROTH_ROOT_HISTORY_H
#define TROTH_ROOT_HISTORY_H

#include "object/epoch.h"

struct history;

enum history_type {
	HISTORY_OBJECT = 1, /* epoch record or HALT */
	HISTORY_KEY = 2,    /* DER SubjectPublicKeyInfo of a recovery key */
	HISTORY_NOTE = 3,   /* struct history_note; stands before the object it is about */
};

/* How far the history went at some time. */
struct history_mark {
	uint64_t count;
	uint8_t digest[SHA256_SIZE];
};

enum { HISTORY_TEXT_MAX = 400 };

/* Why a change was made: for people. */
struct history_note {
	uint8_t v;
	uint64_t time;
	uint32_t era; /* of what was left */
	uint64_t epoch;
	uint8_t reason; /* enum epoch_reason of the new record */
	bool emergency;
	const char *text;
};
extern const struct schema history_note_schema;

/* `create` makes the folder; otherwise HISTORY_DAMAGED when it is not there. */
NODISCARD result history_open(const char *state_dir, bool create, struct history **out);
void history_close(struct history *history); /* accepts NULL */

/*
 * Reads all of it, once, before anything is added. `pinned` is the mark up to which it must be as it was: entries up to
 * there are given with `is_pinned`. A failure of `each` is returned.
 */
typedef result history_each(void *ctx, enum history_type type, struct span payload, bool is_pinned);
NODISCARD result history_read(struct history *history, const struct history_mark *pinned, history_each *each, void *ctx);

/* Collected, then durable together: all or nothing. After a failed commit nothing was added. */
NODISCARD result history_add(struct history *history, enum history_type type, struct span payload);
NODISCARD result history_commit(struct history *history);

/* Of what is durable. */
struct history_mark history_mark(const struct history *history);

#endif
