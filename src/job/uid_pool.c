#include "job/uid_pool.h"

#include "base/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OVERFLOW_UID = 65534 };

/* Only root writes in /run. It is emptied at boot, when no uid is taken. */
static const char MARKS[] = "/run/troth.uids";

static result open_marks(struct fd *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	struct stat at;
	TRY(file_open(MARKS, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600, &fd));
	if (fstat(fd.n, &at) != 0)
		return fail_errno("'%s'", MARKS);
	if (!S_ISREG(at.st_mode) || at.st_uid != 0 || (at.st_mode & 077) != 0)
		return fail(NO_PERMISSION, "'%s' must be a file of root's that nobody else opens; remove it", MARKS);
	*out = fd_move(&fd);
	return OK;
}

result uid_pool_init(struct uid_pool *pool, uid_t first)
{
	*pool = (struct uid_pool){.first = 0, .marks = FD_NONE};
	pthread_mutex_init(&pool->lock, NULL);
	if (!isolate_is_root())
		return OK;
	if (first <= OVERFLOW_UID || first > UINT32_MAX - 2 * UID_POOL_SIZE)
		return fail(BAD_VALUE, "uids from %u are not free for confined processes; take a range above %d", first, OVERFLOW_UID);
	TRY(open_marks(&pool->marks));
	pool->first = first;
	return OK;
}

/* A lock of the open file, not of the process: closing some other descriptor of the file does not end it. */
static bool set_mark(const struct uid_pool *pool, size_t at, short type)
{
	struct flock mark = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)pool->first + (off_t)at, .l_len = 1};
	return fcntl(pool->marks.n, F_OFD_SETLK, &mark) == 0;
}

result uid_pool_take(struct uid_pool *pool, uid_t *out)
{
	if (pool->first == 0) {
		*out = 0;
		return OK;
	}
	pthread_mutex_lock(&pool->lock);
	size_t at = 0;
	while (at < UID_POOL_SIZE && (pool->used[at] || !set_mark(pool, at, F_WRLCK)))
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
