/*
 * What the files of the host's side of the secure processor share: host.c starts and judges it, host_call.c asks it,
 * host_head.c follows its root through the epochs. Not for others.
 *
 * Locks, in the order in which they are taken:
 *   change_lock   whoever changes the root: init, rotation, drain, recovery, halt; held over requests
 *                 (which must be such as do not wait for it: HEALTH, ATTEST, and what changes the root)
 *   head_lock     what is known of the root now: identity, expected, refusal, the chain
 *   turns         the queue, its one message buffer and who waits for a reply; fair: a rotation is not starved by others
 *   list_lock     subscriptions
 */
#ifndef TROTH_ROOT_HOST_INTERNAL_H
#define TROTH_ROOT_HOST_INTERNAL_H

#include "root/host.h"

#include <pthread.h>

#include "base/process.h"
#include "root/history.h"
#include "root/tcb.h"

/* A lock that is got in the order in which it was asked for. */
struct turns {
	pthread_mutex_t lock;
	pthread_cond_t moved;	/* the next one's turn */
	pthread_cond_t arrived; /* a reply was handed to its waiter */
	uint64_t next, serving;
};

struct waiter; /* one request under way */
struct head;   /* a root_identity with its count */
struct unsaved;

/* A program file as it was when it was measured. */
enum { HOST_PROGRAMS = 3 };
struct host_program {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified, changed;
};

/* The last piece of platform evidence. */
struct host_evidence {
	struct bytes bytes;
	uint8_t epoch_oid[OID_SIZE];
	uint64_t made_ns;
};

struct root_host {
	char state_dir[PATH_SIZE], program_dir[PATH_SIZE];
	struct process process;
	struct process token; /* worker of the token that holds the signing keys (host_token.c); PROCESS_NONE without one */
	uint64_t boot_gen;
	bool greeted_with_root; /* profile sealed: whose key signed the greeting */
	uint8_t greeted_oid[OID_SIZE];
	bool queue_ended; /* it was poisoned */
	struct tcb tcb;
	struct host_program programs[HOST_PROGRAMS];
	uint8_t ap_digest[SHA384_SIZE];
	bool measured; /* phases 0 and 1 are complete */
	struct revocation_feed *revocations; /* borrowed; NULL: none */

	struct turns turns;
	struct ipq *queue;
	struct ipq_message message;
	struct waiter *waiters;

	bool has_tpm;
	bool has_mirror;       /* the TPM mirrors the pin store */
	uint64_t mirrored_seq; /* its latest write that the TPM is known to have seen; 0: none */

	pthread_mutex_t change_lock;
	struct host_evidence evidence;
	struct history *history; /* NULL before there is a root */
	struct unsaved *unsaved; /* accepted, but not yet durable: the disk was full */

	pthread_mutex_t head_lock;
	struct head *head; /* NULL before there is a root */
	struct epoch_chain *chain;
	struct ipq_expected expected; /* what the secure processor believes current */
	result refusal; /* OK, or why nothing is endorsed */
	char refusal_text[256];
	struct root_note notes[ROOT_NOTES]; /* a ring */
	size_t note_count;
	struct span *keys; /* recovery keys that signed; bytes live in key_arena */
	size_t key_count;
	struct arena key_arena;
	char trust_domain[121];
	bool without_namespaces;

	pthread_mutex_t list_lock;
	struct root_subscription *subscriptions;
};

/* ---- host_queue.c */

/* What a start with `wanted` uses in this folder; QUEUE_HELLO for a downgrade. */
NODISCARD result host_queue_choose(const char *ap_dir, enum host_queue wanted, enum ipq_profile *out);
/* A fresh pairing secret, and the end of a pipe that holds it for the secure processor. */
NODISCARD result host_queue_pair(struct secret *out_pairing, struct fd *out_read);
NODISCARD result host_queue_greet(struct root_host *host, uint64_t deadline_ns);
/*
 * After each use of the queue: a poisoned one is never mended, so the secure processor is ended, whose end the server sees
 * (AP_STOPPED); the next start has a new one with new rings and boot_gen + 1.
 */
void host_queue_look(struct root_host *host);
/* The record that HEALTH names is the one whose key signed the greeting. AP_UNTRUSTED. */
NODISCARD result host_queue_check(const struct root_host *host, struct span record);

/* ---- host_call.c */

void turns_init(struct turns *turns);
void turns_destroy(struct turns *turns);

bool host_ap_has_ended(const struct root_host *host);
uint64_t host_deadline(int ms);

/* ---- host_head.c: what is known of the root. "Changing" functions are called with change_lock held. */

void host_head_free(struct root_host *host);
struct ipq_expected host_expected(struct root_host *host);
void host_set_expected(struct root_host *host, struct ipq_expected expected);
/* Whether the head is another one than `old` by now, after waiting for whoever is changing it. */
bool host_moved_on(struct root_host *host, struct ipq_expected old);
/* The reason why nothing is endorsed; cleared with OK. */
void host_refuse(struct root_host *host, result reason, const char *text);
/* Nothing is endorsed when the chain is frozen or halted. */
void host_stop_if_stopped(struct root_host *host);
/* Changing: the first record of a new root, of an old pin store, or (with all that follows) of another's history. */
NODISCARD result host_history_begin(struct root_host *host, struct span inception);
/* Changing: reads the history into the chain. HISTORY_DAMAGED. */
NODISCARD result host_history_load(struct root_host *host, const struct history_mark *pinned);
/*
 * Changing: one more object: judged, made durable, pinned, then the head. EPOCH_FORKED and EPOCH_HALTED when it stopped the
 * root, which is then durable too. `note` may be NULL; `keys` are those that signed.
 */
NODISCARD result host_take_in(struct root_host *host, struct span object, const struct history_note *note, const struct span *keys,
	size_t key_count, bool *out_changed);
/* A recovery key that signed something; head_lock is held. */
NODISCARD result host_add_key(struct root_host *host, struct span spki);
/* Changing: finishes what a full disk kept from being finished, and follows the secure processor where it is ahead. */
NODISCARD result host_catch_up(struct root_host *host);
/* Changing: the chain's head becomes the head that is given out. */
NODISCARD result host_put_chain_head(struct root_host *host);
/* Changing: writes the pins of the head; then the TPM's mirror of them, which is at most one behind. */
NODISCARD result host_pin(struct root_host *host);
/* At the start: whether `pins`, as they were found, are what the TPM saw last; PIN_STALE, TAMPERED. One ahead is mirrored now. */
struct pins;
NODISCARD result host_check_mirror(struct root_host *host, const struct pins *pins);
/* Tells the subscribers; without any lock held. */
void host_publish(struct root_host *host, enum root_change change);

/* ---- host_token.c */

/* Starts the worker when the state folder says that signing keys lie in a token; else `out_socket` stays as it is. */
NODISCARD result host_token_start(struct root_host *host, struct fd *out_socket);
/* Where keys lie has not been changed since this host was started. NOT_READY. */
NODISCARD result host_token_check_init(const struct root_host *host);
void host_token_stop(struct root_host *host); /* after the secure processor */

/* ---- host_change.c */

/* Makes the host's share of the next keys durable, before the secure processor wraps anything with it. */
NODISCARD result host_keep_share(struct root_host *host, const uint8_t share[static 32]);

/* ---- host.c */

NODISCARD result host_read_health(struct root_host *host, struct arena *arena, struct ap_health *out);
/* Phases 0 and 1, unless they are measured already. */
NODISCARD result host_measure_phases(struct root_host *host, const char *trust_domain);

#endif
