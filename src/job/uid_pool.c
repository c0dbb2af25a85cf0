#include "job/uid_pool.h"

#include "base/isolate.h"

#include <unistd.h>

enum { OVERFLOW_UID = 65534 };

result uid_pool_init(struct uid_pool *pool, uid_t first)
{
	*pool = (struct uid_pool){.first = 0};
	pthread_mutex_init(&pool->lock, NULL);
	if (!isolate_is_root())
		return OK;
	if (first <= OVERFLOW_UID || first > UINT32_MAX - 2 * UID_POOL_SIZE)
		return fail(BAD_VALUE, "uids from %u are not free for confined processes; take a range above %d", first, OVERFLOW_UID);
	pool->first = first;
	return OK;
}

result uid_pool_take(struct uid_pool *pool, uid_t *out)
{
	if (pool->first == 0) {
		*out = 0;
		return OK;
	}
	pthread_mutex_lock(&pool->lock);
	size_t at = 0;
	while (at < UID_POOL_SIZE && pool->used[at])
		at++;
	if (at < UID_POOL_SIZE)
		pool->used[at] = true;
	pthread_mutex_unlock(&pool->lock);
	if (at == UID_POOL_SIZE)
		return fail(BUSY, "all %d uids for confined processes are taken", UID_POOL_SIZE);
	*out = pool->first + (uid_t)at;
	return OK;
}

void uid_pool_give_back(struct uid_pool *pool, uid_t uid)
{
	if (pool->first == 0 || uid < pool->first || uid - pool->first >= UID_POOL_SIZE)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->used[uid - pool->first] = false;
	pthread_mutex_unlock(&pool->lock);
}
