/*
 * What the files of the host's side of the secure processor share: host.c starts and judges it, host_call.c asks it,
 * host_head.c follows its root through the epochs. Not for others.
 *
 * Locks, in the order in which they are taken:
 *   change_lock   whoever changes the root: init, rotation, drain, recovery, halt; held over requests
 *   head_lock     what is known of the root now: identity, expected, refusal, the chain
 *   lock          the queue, its one message buffer and who waits for a reply
 *   list_lock     subscriptions
 */
#ifndef TROTH_ROOT_HOST_INTERNAL_H
#define TROTH_ROOT_HOST_INTERNAL_H

#include "root/host.h"

#include <pthread.h>

#include "base/process.h"
#include "root/tcb.h"

struct waiter; /* one request under way */
struct head;   /* a root_identity with its count */

struct root_host {
	char state_dir[PATH_SIZE], program_dir[PATH_SIZE];
	struct process process;
	uint64_t boot_gen;
	struct tcb tcb;
	uint8_t ap_digest[SHA384_SIZE];

	pthread_mutex_t lock;
	pthread_cond_t arrived; /* a reply was handed to its waiter */
	struct ipq *queue;
	struct ipq_message message;
	struct waiter *waiters;

	pthread_mutex_t change_lock;

	pthread_mutex_t head_lock;
	struct head *head; /* NULL before there is a root */
	struct ipq_expected expected; /* what the secure processor believes current */

	pthread_mutex_t list_lock;
	struct root_subscription *subscriptions;
};

/* ---- host_call.c */

bool host_ap_has_ended(const struct root_host *host);
uint64_t host_deadline(int ms);

/* ---- host_head.c */

void host_head_free(struct root_host *host);
/* Takes an inception record as the head. */
NODISCARD result host_head_begin(struct root_host *host, struct span record, const char *trust_domain);
struct ipq_expected host_expected(struct root_host *host);
/* Whether the head is another one than `old` by now, after waiting for whoever is changing it. */
bool host_moved_on(struct root_host *host, struct ipq_expected old);

#endif
