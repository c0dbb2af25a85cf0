/*
 * What a witness remembers, in a folder of its own (docs/PROTOCOL.ledger, "Witness"):
 *   witness.key, witness.vkey   the Ed25519 key that cosigns (0600), and its public half
 *   log-HEX.keys                per log: its origin and verifier keys; HEX: first 16 bytes of SHA-256(origin)
 *   log-HEX.head                the last checkpoint that was cosigned, as the log signed it, in two slots (store/slots.h)
 *   evidence/HEX/               the first two heads of one size that the log signed
 *
 * A cosignature leaves only after the head was written to both slots, each with a sync of its own: a torn write costs what was
 * never said, and a slot that rots later leaves the other, which is as new. A log whose head is missing is refused, never
 * begun again. An old copy of the whole folder cannot be told from the latest: it must not be used.
 *
 * A store belongs to one thread at a time; add_log works beside one that is open.
 */
#ifndef TROTH_LEDGER_WITNESS_STORE_H
#define TROTH_LEDGER_WITNESS_STORE_H

#include "ledger/witness.h"
#include "store/io.h"

struct witness_store;

struct witness_store_options {
	const char *dir;
	const struct store_io *io; /* NULL: the system's. Else there is no folder for evidence */
};

/* A fresh key under this name (`example.org/w1`). Makes the folder (0700). ALREADY_EXISTS when there is a witness. */
NODISCARD result witness_store_init(const struct witness_store_options *options, const char *name, struct note_key *out);

/* BUSY when another program has it, NOT_FOUND when there is no witness, WITNESS_DAMAGED. */
NODISCARD result witness_store_open(const struct witness_store_options *options, struct witness_store **out);
void witness_store_close(struct witness_store *store); /* accepts NULL */
void witness_store_cleanup(struct witness_store **at); /* for CLEANUP */
const struct note_key *witness_store_key(const struct witness_store *store);

/*
 * The log is cosigned from now on, also by a witness that runs. `origin` NULL: the key's name. For a known origin: one more of
 * its keys. ALREADY_EXISTS, TOO_LARGE beyond WITNESS_KEYS_MAX.
 */
NODISCARD result witness_store_add_log(const struct witness_store_options *options, const char *origin, const struct note_key *key);

/*
 * The whole of add-checkpoint: parses, judges, remembers durably, and appends the cosignature. What it gives is for
 * witness_status; *out_size is the size that the witness has (for a 409), 0 before the log was found. WITNESS_DAMAGED,
 * JOURNAL_POISONED (a sync failed: nothing more is cosigned until the store is opened again), DISK_FULL.
 */
NODISCARD result witness_store_cosign(struct witness_store *store, struct span body, uint64_t now_s, struct writer *out_line,
	uint64_t *out_size);

struct witness_view {
	struct witness_log log;
	result state; /* OK, or why its head cannot be used */
	bool forked; /* there is evidence */
};
/* Every log, in no order; with the system's table of calls only. Works beside an open store. */
typedef result witness_visit(void *arg, const struct witness_view *view);
NODISCARD result witness_store_each(const struct witness_store_options *options, witness_visit *each, void *arg);

#endif
