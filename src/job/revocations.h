/*
 * Revocation on a host: the one way in for lists, whoever brings them (`troth revoke load`, another host, later the ledger), and
 * the thread that has the secure processor sign a fresh head every second and publishes it to all launches. Any thread.
 *
 * While no operator's key is pinned the thread sleeps and there are no heads: launches have no lease. From the first pinned key
 * on every enclave of the host has one, also those that live already; taking the last key out ends the leases again.
 */
#ifndef TROTH_JOB_REVOCATIONS_H
#define TROTH_JOB_REVOCATIONS_H

#include "enclave/revocation_feed.h"
#include "job/revocation_store.h"
#include "root/host.h"

struct revocation_host;

/* Sets the feed of `root`. `lease_ms` 0: the default. REVOCATIONS_DAMAGED. `state_dir` is borrowed. */
NODISCARD result revocations_start(struct root_host *root, const char *state_dir, uint32_t lease_ms, struct revocation_host **out);
/* After the last launch was freed. Accepts NULL. */
void revocations_stop(struct revocation_host *host);

/* A launch that a list ends or would end. */
struct revocation_hit {
	const char *enclave;
	uint8_t run_id[RUN_ID_SIZE];
	const char *text;
};

struct revocation_outcome {
	uint8_t operator_id[KEY_ID_SIZE], oid[OID_SIZE];
	const char *label;
	uint64_t version, before; /* `before` 0: the first list of this operator */
	uint64_t entries, entries_before;
	uint64_t not_after;
	bool changed; /* false: it was in force already */
	struct revocation_hit *hits; /* the first REVOCATION_HITS_MAX */
	size_t hit_count;
	uint64_t hit_total;
};
enum { REVOCATION_HITS_MAX = 256 };

/*
 * Takes a signed list. It is durable and published, and a head that names it is signed, when this returns OK. `dry_run`: judges
 * everything and changes nothing. Texts and lists of the outcome live in `arena`. REVOCATION_KEY_UNKNOWN, REVOCATION_OLD,
 * REVOCATION_CONFLICT, REVOCATION_EXPIRED, REVOCATION_CLASS_UNKNOWN, BAD_SIGNATURE, parse reasons.
 */
NODISCARD result revocations_load(struct revocation_host *host, struct span list, bool dry_run, struct arena *arena,
	struct revocation_outcome *out);
/*
 * The same for a list that another host forwards: REVOCATION_KEY_UNKNOWN and REVOCATION_OLD are no fault of the link. A list
 * that is in force already costs a comparison of its digest.
 */
NODISCARD result revocations_offer(struct revocation_host *host, struct span list, bool *out_changed);
/* The lists in force, to be forwarded; they live in `arena`. */
NODISCARD result revocations_lists(struct revocation_host *host, struct arena *arena, struct span **out, size_t *out_count);
/* One of them, as a copy in `arena`; empty when there is none of this operator. */
NODISCARD result revocations_list_of(struct revocation_host *host, const uint8_t operator_id[static KEY_ID_SIZE], struct arena *arena,
	struct span *out);
/* The newest head, signed; length 0 when there is none. */
void revocations_head(struct revocation_host *host, uint8_t out[static REVOCATION_HEAD_MAX], size_t *out_len);
/* Whether this host obeys that operator, and which version (0: no list yet). */
bool revocations_version(struct revocation_host *host, const uint8_t operator_id[static KEY_ID_SIZE], uint64_t *out);
/* 0 while no operator is pinned. */
uint32_t revocations_lease(struct revocation_host *host);
/* Counts up with each change of the lists: whoever forwards them looks whether it has moved. */
uint64_t revocations_generation(struct revocation_host *host);

NODISCARD result revocations_pin(struct revocation_host *host, const uint8_t point[static POINT_SIZE], const char *label);
NODISCARD result revocations_unpin(struct revocation_host *host, const uint8_t id[static KEY_ID_SIZE]);

struct revocation_listed {
	uint8_t operator_id[KEY_ID_SIZE], operator_pk[POINT_SIZE];
	const char *label;
	uint64_t added;
	uint64_t version; /* 0: no list yet */
	uint8_t oid[OID_SIZE];
	uint64_t time, not_after, entries;
};
/* A launch that obeys, with all of it that can be revoked. */
struct revocation_live {
	const char *enclave;
	uint8_t run_id[RUN_ID_SIZE];
	uint8_t measurement[SHA384_SIZE], core[SHA384_SIZE];
	uint8_t key[KEY_ID_SIZE], certificate[SHA256_SIZE]; /* zero while it is not endorsed */
	uint8_t rot_id[OID_SIZE], epoch[OID_SIZE];
	uint8_t policy[SHA256_SIZE];
};
enum { REVOCATION_LIVE_MAX = 256 };
struct revocation_status {
	uint32_t lease_ms;
	uint64_t head_seq, head_time; /* of the last head; 0: none */
	uint64_t launches;	      /* that are told */
	uint64_t conflicts;	      /* lists kept as proof */
	const char *last_failure;     /* why the last head could not be signed; "" */
	struct revocation_listed *lists;
	size_t list_count;
	struct revocation_live *live; /* the first REVOCATION_LIVE_MAX */
	size_t live_count;
};
NODISCARD result revocations_status(struct revocation_host *host, struct arena *arena, struct revocation_status *out);

#endif
