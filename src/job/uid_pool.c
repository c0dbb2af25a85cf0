#include "job/uid_pool.h"

#include "base/isolate.h"
#include "base/log.h"
#include "crypto/random.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OVERFLOW_UID = 65534 };

/* Only root writes in /run. It is emptied at boot, when no uid is taken. */
static const char MARKS[] = "/run/troth.uids";

static result check_marks(struct fd *marks)
{
	struct stat at;
	if (fstat(marks->n, &at) != 0)
		return fail_errno("'%s'", MARKS);
	if (S_ISREG(at.st_mode) && at.st_uid == 0 && (at.st_mode & 077) == 0)
		return OK;
	fd_close(marks);
	return fail(NO_PERMISSION, "'%s' must be a file of root's that nobody else opens; remove it", MARKS);
}

result uid_pool_init(struct uid_pool *pool, uid_t first)
{
	*pool = (struct uid_pool){.first = 0, .marks = FD_NONE};
	pthread_mutex_init(&pool->lock, NULL);
	if (!isolate_is_root())
		return OK;
	if (first <= OVERFLOW_UID || first > UINT32_MAX - 2 * UID_POOL_SIZE)
		return fail(BAD_VALUE, "uids from %u are not free for confined processes; take a range above %d", first, OVERFLOW_UID);
	result opened = file_open(MARKS, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600, &pool->marks);
	if (opened == OK)
		TRY(check_marks(&pool->marks));
	else /* no /run, or a read-only one */
		log_failure(LOG_LEVEL_WARNING, "two hosts of this machine may come to the same uid", opened);
	pool->first = first;
	return OK;
}

/* A lock of the open file, not of the process: closing some other descriptor of the file does not end it. */
static bool set_mark(const struct uid_pool *pool, size_t at, short type)
{
	if (pool->marks.n < 0)
		return true;
	struct flock mark = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)pool->first + (off_t)at, .l_len = 1};
	return fcntl(pool->marks.n, F_OFD_SETLK, &mark) == 0;
}

result uid_pool_take(struct uid_pool *pool, uid_t *out)
{
	if (pool->first == 0) {
		*out = 0;
		return OK;
	}
	uint16_t start;
	size_t tried = 0;
	random_bytes(&start, sizeof(start));
	pthread_mutex_lock(&pool->lock);
	size_t at = start % UID_POOL_SIZE;
	while (tried < UID_POOL_SIZE && (pool->used[at] || !set_mark(pool, at, F_WRLCK))) {
		at = (at + 1) % UID_POOL_SIZE;
		tried++;
	}
	if (tried < UID_POOL_SIZE)
		pool->used[at] = true;
	pthread_mutex_unlock(&pool->lock);
	if (tried == UID_POOL_SIZE)
		return fail(BUSY, "all %d uids for confined processes are taken", UID_POOL_SIZE);
	*out = pool->first + (uid_t)at;
	return OK;
}

void uid_pool_give_back(struct uid_pool *pool, uid_t uid)
{
	if (pool->first == 0 || uid < pool->first || uid - pool->first >= UID_POOL_SIZE)
		return;
	size_t at = uid - pool->first;
	pthread_mutex_lock(&pool->lock);
	if (pool->used[at])
		pool->used[at] = !set_mark(pool, at, F_UNLCK);
	pthread_mutex_unlock(&pool->lock);
}

void uid_pool_close(struct uid_pool *pool)
{
	fd_close(&pool->marks);
	pool->first = 0;
}
