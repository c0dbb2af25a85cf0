/*
 * Uids for confined processes of a host that runs as root: the secure processor and each living IRE have one that nothing
 * else on the machine uses (constructions/objects.md "Process backend"), no other host of this machine either: a taken uid
 * is a lock on one byte of a file in /run, which the kernel lets go of when the host ends, however it ends. Taken at random,
 * so that hosts which do not share a /run hardly meet. An ordinary user has none to give: every uid is 0 then. Thread-safe.
 */
#ifndef TROTH_JOB_UID_POOL_H
#define TROTH_JOB_UID_POOL_H

#include "base/file.h"

#include <pthread.h>
#include <sys/types.h>

enum { UID_POOL_FIRST = 612000, UID_POOL_SIZE = 1024 };

struct uid_pool {
	pthread_mutex_t lock;
	struct fd marks; /* one byte is locked per uid that is taken on this machine; none where there is no /run */
	uid_t first;	 /* 0: not root */
	bool used[UID_POOL_SIZE];
};

/*
 * `first`: start of the range, for root only; BAD_VALUE for a range with uid 0 or the overflow ids in it. NO_PERMISSION when
 * the file of the locks is not root's own.
 */
NODISCARD result uid_pool_init(struct uid_pool *pool, uid_t first);
NODISCARD result uid_pool_take(struct uid_pool *pool, uid_t *out); /* BUSY when all are taken */
void uid_pool_give_back(struct uid_pool *pool, uid_t uid);
void uid_pool_close(struct uid_pool *pool); /* gives all of them back */

#endif
