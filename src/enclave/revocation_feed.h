/*
 * What this host's enclaves are to obey now: the lists in force and the newest head of the secure processor. job/revocations
 * publishes; every launch subscribes and brings it to its runtime (launch_revocation.h). Any thread.
 *
 * Lists lie in sealed memory files, which runtimes map: a large list is held once per host, and nobody can change it.
 */
#ifndef TROTH_ENCLAVE_REVOCATION_FEED_H
#define TROTH_ENCLAVE_REVOCATION_FEED_H

#include "base/file.h"
#include "object/record.h"
#include "object/revocation.h"

/* A copy of `bytes` that nobody can change any more. */
NODISCARD result revocation_file_new(struct span bytes, struct fd *out);
/* Maps one; REVOCATION_HEAD_WRONG unless it is sealed. Unmap with revocation_file_unmap. */
NODISCARD result revocation_file_map(int fd, struct span *out);
void revocation_file_unmap(struct span *map);

/* Lists that are in force together: immutable, counted. */
struct revocation_snapshot {
	struct revocation_set set;
	struct fd files[REVOCATION_MAX_LISTS]; /* of set.lists, in their order */
	struct span maps[REVOCATION_MAX_LISTS];
	unsigned references; /* the feed's lock */
};
/* The lists, signed bytes each, in ascending order of their operators' ids. */
NODISCARD result revocation_snapshot_new(const struct span *lists, size_t count, struct revocation_snapshot **out);
void revocation_snapshot_free(struct revocation_snapshot *snapshot); /* one that was not published; accepts NULL */

/* What the host knows of a launch. */
struct revocation_known {
	char name[NAME_MAX_LEN + 1];
	uint8_t run_id[RUN_ID_SIZE];
	uint8_t measurement[SHA384_SIZE], core[SHA384_SIZE];
	uint8_t policy[SHA256_SIZE], rot_id[OID_SIZE], epoch[OID_SIZE];
	uint8_t key[KEY_ID_SIZE], certificate[SHA256_SIZE];
	bool has_keys, has_certificate;
};
struct revocation_subject revocation_known_subject(const struct revocation_known *known);

struct revocation_subscriber {
	void (*changed)(void *ctx); /* with the feed's lock held: be quick, do not call the feed */
	void *ctx;
	struct revocation_known known;
	struct revocation_subscriber *next; /* the feed's */
};

struct revocation_feed;
NODISCARD result revocation_feed_new(struct revocation_feed **out);
void revocation_feed_free(struct revocation_feed *feed); /* nobody subscribes any more; accepts NULL */

/* Takes over `snapshot`; NULL: the lists stay. Rings every subscriber. `time_ms` is the head's. */
NODISCARD result revocation_feed_publish(struct revocation_feed *feed, struct revocation_snapshot *snapshot, struct span head, uint64_t time_ms);
/* The latest time that the feed has heard of, or the wall clock's when that is later. */
uint64_t revocation_feed_time(struct revocation_feed *feed);

/* The state now. Release the snapshot. */
struct revocation_state {
	uint64_t number; /* of the lists: another one, other lists. 0: there never was a head */
	const struct revocation_snapshot *snapshot; /* NULL: no lists */
	uint8_t head[REVOCATION_HEAD_MAX];
	size_t head_len;
};
void revocation_feed_hold(struct revocation_feed *feed, struct revocation_state *out);
void revocation_feed_release(struct revocation_feed *feed, const struct revocation_snapshot *snapshot);

void revocation_feed_subscribe(struct revocation_feed *feed, struct revocation_subscriber *subscriber);
void revocation_feed_unsubscribe(struct revocation_feed *feed, struct revocation_subscriber *subscriber);
/* Replaces what is known of a launch. */
void revocation_feed_note(struct revocation_feed *feed, struct revocation_subscriber *subscriber, const struct revocation_known *known);

/* Each live launch; with the feed's lock held. */
void revocation_feed_each(struct revocation_feed *feed, void (*visit)(void *ctx, const struct revocation_known *known), void *ctx);

#endif
