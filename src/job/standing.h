/*
 * Standing links: while this host and an enrolled one are both up, one link between them carries what both must know between
 * runs too: epochs of the own root, revocation heads, and revocation lists of operators that the receiver pins. A list that is
 * loaded on one host is so obeyed on the other within a second; docs/PROTOCOL.link "A standing link" has the messages.
 *
 * Each enrolled host has a thread of its own here: it calls, with a back-off, or is called; of two links at once the one that the
 * host with the smaller rot_id made is kept. Nothing that comes over a standing link starts anything. Thread-safe.
 */
#ifndef TROTH_JOB_STANDING_H
#define TROTH_JOB_STANDING_H

#include "job/link.h"
#include "object/revocation.h"

struct standing;

enum {
	STANDING_TURN_MS = 100,		 /* at the latest then a change here is told */
	STANDING_RETRY_MS = 500,	 /* until the second call; doubled with each that fails, up to */
	STANDING_RETRY_MOST_MS = 30 * 1000,
	STANDING_UNWANTED_MS = 5 * 60 * 1000, /* until the next call of a host that keeps no standing links */
	STANDING_RENEW_MS = 45 * 60 * 1000, /* then a new link proves again who is there: within the hour of a transport key */
};

/* `own` is borrowed; own->standing is the caller's to set. */
NODISCARD result standing_start(const struct link_own *own, struct standing **out);
/* After the listener has ended, whose threads hand links over. Accepts NULL. */
void standing_stop(struct standing *standing);
/* The enrolled hosts have changed. Accepts NULL. */
void standing_refresh(struct standing *standing);
/* A host has called and said STAND: takes the link over. PEER_UNKNOWN, NO_STANDING_LINK for NULL; it stays the caller's then. */
NODISCARD result standing_adopt(struct standing *standing, struct link **link);

enum standing_state {
	STANDING_CALLING = 1,
	STANDING_UP,
	STANDING_WAITING, /* until it is called again */
	STANDING_AWAITED, /* has no address: it has to call */
};
const char *standing_state_name(uint8_t state);

/* What the other host obeys, of what is obeyed here too. */
struct standing_operator {
	uint8_t operator_id[KEY_ID_SIZE];
	uint64_t there, here; /* versions; 0: no list yet */
};
struct standing_row {
	const char *name;
	uint8_t state;	  /* enum standing_state */
	bool called;	  /* UP: the other one made it */
	uint64_t since;	  /* ms: of the state */
	uint64_t tries;	  /* that failed since it was up */
	uint64_t next_ms; /* WAITING: until the next */
	const char *why;  /* of the last end or failure: "REASON: text"; "" */
	struct standing_operator *operators;
	size_t operator_count;
};
extern const struct schema standing_row_schema;
/* In the order of names; lives in `arena`. NULL: none. */
NODISCARD result standing_status(struct standing *standing, struct arena *arena, struct standing_row **out, size_t *out_count);

#endif
