/*
 * Folder `revocations` of the state folder: which operators this host obeys, the newest list of each, and how far each had come,
 * so that no older list is ever taken, also after its key was taken out and pinned again (docs/PROTOCOL.revocation "At rest").
 *
 *   operators            {1: 1, 2: encoded rows, 3: HMAC-SHA256(pins.key, "troth revocations1" ‖ field 2)}
 *   ID-VERSION.list      the signed list that the row of this operator names; ID: first 16 digits of the key id
 *   conflict-ID-VERSION-OID.list   two lists of one version, both kept as proof
 *
 * A list is durable before its row names it, and the one before goes last: after a crash at any step one of the two is there.
 */
#ifndef TROTH_JOB_REVOCATION_STORE_H
#define TROTH_JOB_REVOCATION_STORE_H

#include "base/file.h"
#include "object/revocation.h"

enum { REVOCATION_LABEL_MAX = 64, REVOCATION_MAX_ROWS = 64, REVOCATION_MAX_CONFLICTS = 16 };

struct revocation_operator {
	uint8_t point[POINT_SIZE];
	uint8_t id[KEY_ID_SIZE]; /* of the point; not in the file */
	const char *label;
	uint64_t added; /* ms */
	bool pinned;	/* false: taken out; the floor stays */
	uint64_t version; /* of the newest list taken; 0: none */
	uint8_t oid[OID_SIZE];
};

struct revocation_store {
	const char *state_dir; /* borrowed */
	char folder[PATH_SIZE];
	struct revocation_operator rows[REVOCATION_MAX_ROWS]; /* ascending by id */
	size_t count;
	char labels[REVOCATION_MAX_ROWS][REVOCATION_LABEL_MAX + 1];
};

/* An empty one when there is none yet. REVOCATIONS_DAMAGED: altered, or a list that a row names is missing. */
NODISCARD result revocation_store_load(const char *state_dir, struct revocation_store *out);

/* NULL: not there. */
const struct revocation_operator *revocation_store_find(const struct revocation_store *store, const uint8_t id[static KEY_ID_SIZE]);
size_t revocation_store_pinned(const struct revocation_store *store);

/* Each is durable when it returns OK and has changed nothing otherwise. ALREADY_EXISTS, TOO_LARGE. */
NODISCARD result revocation_store_pin(struct revocation_store *store, const uint8_t point[static POINT_SIZE], const char *label, uint64_t now_ms);
/* NOT_FOUND */
NODISCARD result revocation_store_unpin(struct revocation_store *store, const uint8_t id[static KEY_ID_SIZE]);
/*
 * A list, opened under the pinned key as `view`. REVOCATION_OLD; REVOCATION_CONFLICT, and both are kept. `out_changed` is false
 * for the list that is in force already.
 */
NODISCARD result revocation_store_take(struct revocation_store *store, const struct revocation_view *view, struct span bytes, bool *out_changed);
/* The list in force of a row. */
NODISCARD result revocation_store_read(const struct revocation_store *store, const struct revocation_operator *row, struct bytes *out);
/* Lists kept as proof of conflicts. */
size_t revocation_store_conflicts(const struct revocation_store *store);

#endif
