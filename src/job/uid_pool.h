/*
 * Uids for confined processes of a host that runs as root: each living IRE has one that nothing else on the machine uses
 * (constructions/objects.md "Process backend"). An ordinary user has none to give: every uid is 0 then. Thread-safe.
 */
#ifndef TROTH_JOB_UID_POOL_H
#define TROTH_JOB_UID_POOL_H

#include "base/result.h"

#include <pthread.h>
#include <sys/types.h>

enum { UID_POOL_FIRST = 612000, UID_POOL_SIZE = 1024 };

struct uid_pool {
	pthread_mutex_t lock;
	uid_t first; /* 0: not root */
	bool used[UID_POOL_SIZE];
};

/* `first`: start of the range, for root only; BAD_VALUE for a range with uid 0 or the overflow ids in it. */
NODISCARD result uid_pool_init(struct uid_pool *pool, uid_t first);
NODISCARD result uid_pool_take(struct uid_pool *pool, uid_t *out); /* BUSY when all are taken */
void uid_pool_give_back(struct uid_pool *pool, uid_t uid);

#endif
