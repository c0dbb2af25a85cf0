/*
 * The other hosts that this one may deal with: each enrolled by a person, under the root of trust that was compared out of band,
 * with what is known of that root since. In the folder `peers` of the state folder, one file for each, replaced atomically.
 *
 * What is known only grows: the history of a peer's root is kept with all forks and HALTs, so an older one that is shown later
 * takes nothing back. Where `officers` are set, a peer counts only with the signatures of k of them (docs/PROTOCOL.link).
 *
 * Thread-safe.
 */
#ifndef TROTH_JOB_PEERS_H
#define TROTH_JOB_PEERS_H

#include "object/epoch_chain.h"
#include "object/transport.h"

struct peers;

enum { PEERS_MAX = 256 };

/* Reads what is there. A damaged file is a failure: nobody is forgotten silently. */
NODISCARD result peers_open(const char *state_dir, struct peers **out);
void peers_close(struct peers *peers); /* accepts NULL */

/* One of them, copied into the caller's arena. */
struct peer {
	const char *name;
	uint8_t rot_id[OID_SIZE];
	struct text_item *addresses; /* HOST:PORT, tried in their order */
	size_t address_count;
	uint64_t enrolled, learned; /* when; `learned`: of the head */
	struct span history; /* epoch_history */
	struct span approval; /* KIND_ENROLMENT object, or empty */
	/* Of the chain, as it is now. */
	uint32_t era;
	uint64_t epoch;
	uint8_t state; /* enum epoch_chain_state */
};
extern const struct schema peer_schema; /* for messages */

/*
 * Enrols. `history`: an inception record or an epoch_history that begins with it; `approval` is empty where no officers are
 * set. PEER_EXISTS, ENROLMENT_QUORUM, BAD_NAME, and what epoch_chain_of_history says.
 */
struct peer_enrolment {
	const char *name;
	const struct text_item *addresses;
	size_t address_count;
	struct span history;
	struct span approval;
	const uint8_t *own_rot; /* of this host: is no peer of itself */
	uint64_t now_ms;
};
NODISCARD result peers_enrol(struct peers *peers, const struct peer_enrolment *enrolment);
/* PEER_UNKNOWN. */
NODISCARD result peers_remove(struct peers *peers, const char *name);

NODISCARD result peers_list(struct peers *peers, struct arena *arena, struct peer **out, size_t *out_count);
/* PEER_UNKNOWN. */
NODISCARD result peers_find(struct peers *peers, const uint8_t rot_id[static OID_SIZE], struct arena *arena, struct peer *out);
NODISCARD result peers_find_name(struct peers *peers, const char *name, struct arena *arena, struct peer *out);

/*
 * Takes in what somebody shows of a peer's root: durable before it counts. Whoever shows it need not be believed. A root that was
 * forked or halted stays so; EPOCH_FORKED or EPOCH_HALTED says it, now and each time. PEER_UNKNOWN, and the reasons of the chain.
 */
NODISCARD result peers_follow(struct peers *peers, struct span history, uint64_t now_ms, bool *out_changed);

/* Whether evidence under this epoch of a peer counts now; its key, public. The reasons of epoch_chain_judge_live. */
NODISCARD result peers_judge(struct peers *peers, const uint8_t rot_id[static OID_SIZE], const uint8_t epoch_oid[static OID_SIZE],
	uint64_t now_ms, struct key *out_sign);

/* How many times anything has changed: whoever keeps copies compares. */
uint64_t peers_version(struct peers *peers);

/* ---- officers ------------------------------------------------------------------------------------------------ */

/* Pins k of n keys (SPKIs' hashes), once: PEER_EXISTS when there are officers already. */
NODISCARD result peers_set_officers(struct peers *peers, const struct epoch_recovery *officers);
/* k == 0: none are set. */
NODISCARD result peers_officers(struct peers *peers, struct arena *arena, struct epoch_recovery *out);

#endif
