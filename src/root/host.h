/*
 * The host's side of the secure processor: starts it, measures it, makes sure that it is confined and that it holds the
 * pinned root, and asks it things through the queue. Owned by `trothd host`. root_host_call and root_host_sign may be
 * used by several threads at once; starting, init and stop belong to one.
 *
 * root_host_start leaves the secure processor measured (phases 0 and 1) and, when there is a root, checked against the pin
 * store and the history: AP_CHANGED, AP_NOT_CONFINED, AP_UNTRUSTED, STALE_STATE, PIN_DAMAGED, HISTORY_DAMAGED, EPOCH_FORKED,
 * EPOCH_HALTED, MEASUREMENT_WRONG. A rotation that was interrupted is finished. Before a root exists it succeeds and only
 * root_host_init (or a recovery) is of use (NO_ROOT otherwise).
 *
 * A change of the root is durable in this order: in the secure processor, in the history (root/history.h), in the pin store;
 * then the new head is given out. A crash in between is healed at the next start, a full disk at the next request.
 */
#ifndef TROTH_ROOT_HOST_H
#define TROTH_ROOT_HOST_H

#include "object/epoch_chain.h"
#include "root/ap_message.h"
#include "root/ipq.h"
#include "root/wrap.h"

#include <sys/types.h>

struct root_host;

/* Profile of the queue (docs/PROTOCOL.ipq): unsaid keeps what the folder was started with, at first local. */
enum host_queue { HOST_QUEUE_UNSAID = 0, HOST_QUEUE_LOCAL, HOST_QUEUE_SEALED };

struct root_host_config {
	const char *state_dir;	 /* exists, 0700, locked by the caller */
	const char *program_dir; /* of troth-ap and its siblings */
	uid_t ap_uid;		 /* as root: an unallocated uid; else 0 */
	struct wrap_source wrap; /* where the wrap key comes from */
	enum host_queue queue;
	/*
	 * Start although troth-ap or the measured phases differ from what was pinned, as `troth host accept-ap DIGEST`
	 * does: only when troth-ap's digest is this one. NULL otherwise.
	 */
	const uint8_t *accept_digest;
	/* A signed reference set that allows the programs as they are now (`troth upgrade authorise`); empty: none. */
	struct span authorise;
	/*
	 * Start although the state is stale, lost, forked, halted, or pins and history are damaged: nothing is endorsed then
	 * (every request is refused with that reason) until a recovery was adopted.
	 */
	bool recovery;
	/* Tier L: the secure processor is confined by its call filter alone; register 1 says so. */
	bool without_namespaces;
};

NODISCARD result root_host_start(const struct root_host_config *config, struct root_host **out);
/* The profile that was chosen. */
enum ipq_profile root_host_queue(const struct root_host *host);
/* Asks it to stop, ends it at the latest after a few seconds. Accepts NULL. */
void root_host_stop(struct root_host *host);

struct root_host_init {
	struct epoch_recovery recovery;
	bool has_recovery;
	uint64_t valid_ms;
	uint32_t grace_s;
	const char *trust_domain;
};
/* Makes the root, pins it and exports `inception.epoch` into the state folder. ROOT_EXISTS. */
NODISCARD result root_host_init(struct root_host *host, const struct root_host_init *init);

/*
 * What is known of the root at one moment: immutable, shared, counted. Hold one as long as something must not change
 * under it (a launch, a receipt); a rotation makes a new one and leaves this as it is.
 */
struct root_identity {
	uint8_t rot_id[OID_SIZE], epoch_oid[OID_SIZE];
	struct epoch epoch; /* the head */
	struct span epoch_record, inception;
	struct key sign; /* public */
	char trust_domain[121];
	size_t records; /* of the chain up to this head: root_host_records(host, 0, records, ...) */
};
/* The head now; NULL before there is a root. Release it. */
const struct root_identity *root_host_hold(struct root_host *host);
void root_identity_release(const struct root_identity *const *identity); /* for CLEANUP; accepts NULL and empty */
#define ROOT_IDENTITY_HELD CLEANUP(root_identity_release) const struct root_identity *const

/*
 * Epoch records `from` .. `to`-1 of the chain, oldest first (0 is the inception). The list is of `arena`, the bytes live
 * as long as the host.
 */
NODISCARD result root_host_records(struct root_host *host, size_t from, size_t to, struct arena *arena, struct span **out);

/* DER SubjectPublicKeyInfo of the recovery keys that have signed something of this root; lives in `arena`. */
NODISCARD result root_host_recovery_keys(struct root_host *host, struct arena *arena, struct span **out, size_t *out_count);

/*
 * Hears of every change of the root, after it is durable and pinned and root_host_hold gives the new head. Called in the
 * thread that made the change, with no lock of the host held but the list's own: it must be quick and must not subscribe,
 * unsubscribe or call the host (write an eventfd and do the rest in your own thread).
 */
enum root_change {
	ROOT_ROTATED = 1, /* the next epoch: reissue live launches, re-handshake within the grace */
	ROOT_RECOVERED,	  /* a new era: close what the old one endorsed */
	ROOT_MADE,	  /* there is one now */
	ROOT_STOPPED,	  /* HALT or fork: close everything; requests are refused EPOCH_HALTED or EPOCH_FORKED */
};
struct root_subscription {
	void (*changed)(void *ctx, enum root_change change, const struct root_identity *now);
	void *ctx;
	struct root_subscription *next; /* the host's */
};
/* `subscription` is the caller's and must stay until it is taken out; afterwards it is not called any more. */
void root_host_subscribe(struct root_host *host, struct root_subscription *subscription);
void root_host_unsubscribe(struct root_host *host, struct root_subscription *subscription);

/* ---- Changes. One at a time: ROTATION_RUNNING meanwhile. ---------------------------------------------------- */

/* EPOCH_SCHEDULED, EPOCH_EVENT or EPOCH_OPERATOR; the text is kept in the history. DRAIN_PENDING unless `emergency`. */
struct root_host_rotation {
	enum epoch_reason reason;
	const char *text;
	bool emergency;
};
NODISCARD result root_host_rotate(struct root_host *host, const struct root_host_rotation *rotation);
/* The keys of the epoch before are zeroised: after its grace. */
NODISCARD result root_host_drain(struct root_host *host);

/*
 * Candidates: payloads of records that the recovery keys sign offline; `out_payload` lives in `arena`. The one made last waits
 * in the secure processor until it is adopted or overtaken.
 */
struct root_host_set_recovery {
	struct epoch_recovery recovery;
	bool has_recovery;
};
NODISCARD result root_host_set_recovery(
	struct root_host *host, const struct root_host_set_recovery *wanted, struct arena *arena, struct span *out_payload);
/*
 * The next era, from record (era, epoch) of the chain: what came after it is void. `history` (empty: the host's own) is
 * an epoch_history to take over first, for a state folder that has lost its own; `trust_domain` counts only then. The
 * secure processor may have a root or none.
 */
struct root_host_recover {
	bool from_head;
	uint32_t era;
	uint64_t epoch;
	struct span history;
	const char *trust_domain;
	uint64_t valid_ms; /* 0: as long as the record it stands on */
};
NODISCARD result root_host_recover(
	struct root_host *host, const struct root_host_recover *wanted, struct arena *arena, struct span *out_payload);
/* With the signatures of the recovery set. NO_CANDIDATE, RECOVERY_QUORUM. */
NODISCARD result root_host_adopt(struct root_host *host, struct span payload, struct recovery_signature *signatures, size_t count);

/*
 * Objects from outside (an epoch_history: HALTs with the keys that signed them, records that others saw). One that halts
 * or forks the root stops it at once, durably. `out_changed` says whether any was news.
 */
NODISCARD result root_host_take(struct root_host *host, struct span history, bool *out_changed);

/* All that is known of the root as an encoded epoch_history, for any verifier. */
NODISCARD result root_host_history(struct root_host *host, struct bytes *out);
/*
 * What launches of this host obey (enclave/revocation_feed.h); the root only keeps the pointer, so that no launch can be made
 * without it. NULL: nothing.
 */
struct revocation_feed;
void root_host_set_revocations(struct root_host *host, struct revocation_feed *feed);
struct revocation_feed *root_host_revocations(const struct root_host *host);
/* Waits for a change that is under way, and follows the secure processor where it is ahead: after an EPOCH_OLD. */
void root_host_catch_up(struct root_host *host);
/* A record by its oid; what it points to lives as long as the host. EPOCH_FOREIGN. */
NODISCARD result root_host_find(struct root_host *host, const uint8_t oid[static OID_SIZE], struct epoch_link *out);
/* Why the last changes were made, newest first. */
enum { ROOT_NOTES = 8 };
struct root_note {
	uint64_t time, epoch; /* the epoch that was left */
	uint32_t era;
	uint8_t reason;
	bool emergency;
	char text[401];
};
size_t root_host_notes(struct root_host *host, struct root_note out[static ROOT_NOTES]);
/* OK, or why nothing is endorsed. */
NODISCARD result root_host_refusal(struct root_host *host);
/* A fresh challenge, answered under the current key: AP_UNTRUSTED otherwise. */
NODISCARD result root_host_check(struct root_host *host);
/* Whether the program files still are those that were measured at the start. */
NODISCARD result root_host_check_programs(struct root_host *host);
/* Of the process that was started as the secure processor; the one inside its namespaces is its child. */
pid_t root_host_pid(const struct root_host *host);

uint64_t root_host_boot_gen(const struct root_host *host);
const uint8_t *root_host_ap_digest(const struct root_host *host);
/* Of troth-ire as it stands in register 1 (SHA384_SIZE bytes), and the folder of the programs: for launches. */
const uint8_t *root_host_ire_digest(const struct root_host *host);
const char *root_host_program_dir(const struct root_host *host);
/* Readable when the secure processor has ended. */
int root_host_fd(const struct root_host *host);

/*
 * One request. `request` is encoded by `schema` (NULL: no body); the reply is decoded into `reply` with memory from
 * `arena`, which must outlive it. The reason of a refusal is the secure processor's own.
 */
NODISCARD result root_host_call(struct root_host *host, enum ipq_type type, const struct schema *schema, const void *request,
	const struct schema *reply_schema, struct arena *arena, void *reply);

/* SIGN in one step: encodes `body` by `body_schema`, gives the object (copied into `arena`). */
NODISCARD result root_host_sign(struct root_host *host, enum object_kind kind, const struct schema *body_schema,
	const void *body, struct arena *arena, struct span *out_object);

/*
 * As root_host_call and root_host_sign, but only under the head that `identity` is: EPOCH_OLD when the root has moved on, and
 * nothing was done. The others ask again by themselves when a rotation came in between.
 */
NODISCARD result root_host_call_as(struct root_host *host, const struct root_identity *identity, enum ipq_type type,
	const struct schema *schema, const void *request, const struct schema *reply_schema, struct arena *arena, void *reply);
NODISCARD result root_host_sign_as(struct root_host *host, const struct root_identity *identity, enum object_kind kind,
	const struct schema *body_schema, const void *body, struct arena *arena, struct span *out_object);

#endif
