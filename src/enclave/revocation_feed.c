#include "enclave/revocation_feed.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fault.h"

enum { SEALS = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW };

/* ---- Files ------------------------------------------------------------------------------------------------ */

result revocation_file_new(struct span bytes, struct fd *out)
{
	CLEANUP(fd_close) struct fd fd = fd_of(memfd_create("troth-revocations", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	if (fd.n < 0 || fault_hit("revocation.memory"))
		return fail_errno("a memory file");
	TRY(write_all(fd.n, bytes));
	if (fcntl(fd.n, F_ADD_SEALS, SEALS | F_SEAL_SEAL) != 0)
		return fail_errno("sealing a memory file");
	*out = fd_move(&fd);
	return OK;
}

result revocation_file_map(int fd, struct span *out)
{
	struct stat at;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SEALS) != SEALS)
		return fail(REVOCATION_HEAD_WRONG, "a list lies where it may still be changed");
	if (fstat(fd, &at) != 0)
		return fail_errno("a revocation list");
	if (at.st_size < 1 || at.st_size > REVOCATION_LIST_MAX)
		return fail(TOO_LARGE, "a revocation list of %lld bytes", (long long)at.st_size);
	void *map = mmap(NULL, (size_t)at.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return fail_errno("mapping a revocation list");
	*out = span_of(map, (size_t)at.st_size);
	return OK;
}

void revocation_file_unmap(struct span *map)
{
	if (map->len)
		munmap((void *)(uintptr_t)map->data, map->len);
	*map = SPAN_EMPTY;
}

/* ---- Snapshots ---------------------------------------------------------------------------------------------- */

static result add_list(struct revocation_snapshot *snapshot, struct span bytes)
{
	size_t at = snapshot->set.count;
	TRY(revocation_file_new(bytes, &snapshot->files[at]));
	TRY(revocation_file_map(snapshot->files[at].n, &snapshot->maps[at]));
	TRY(revocation_open(snapshot->maps[at], NULL, &snapshot->set.lists[at]));
	snapshot->set.count++;
	return OK;
}

result revocation_snapshot_new(const struct span *lists, size_t count, struct revocation_snapshot **out)
{
	if (count > REVOCATION_MAX_LISTS)
		return fail(TOO_LARGE, "%zu lists, %d at most", count, REVOCATION_MAX_LISTS);
	struct revocation_snapshot *snapshot = calloc(1, sizeof(*snapshot));
	if (!snapshot)
		return fail(NO_MEMORY, "revocation lists");
	for (size_t i = 0; i < REVOCATION_MAX_LISTS; i++)
		snapshot->files[i] = FD_NONE;
	for (size_t i = 0; i < count; i++) {
		result added = add_list(snapshot, lists[i]);
		if (added != OK) {
			revocation_snapshot_free(snapshot);
			return added;
		}
	}
	*out = snapshot;
	return OK;
}

void revocation_snapshot_free(struct revocation_snapshot *snapshot)
{
	if (!snapshot)
		return;
	revocation_set_free(&snapshot->set);
	for (size_t i = 0; i < REVOCATION_MAX_LISTS; i++) {
		revocation_file_unmap(&snapshot->maps[i]);
		fd_close(&snapshot->files[i]);
	}
	free(snapshot);
}

struct revocation_subject revocation_known_subject(const struct revocation_known *known)
{
	return (struct revocation_subject){
		.measurement = known->measurement,
		.core = known->core,
		.key = known->has_keys ? known->key : NULL,
		.certificate = known->has_certificate ? known->certificate : NULL,
		.rot_id = known->rot_id,
		.epoch = known->epoch,
		.policy = known->policy,
	};
}

/* ---- The feed ------------------------------------------------------------------------------------------------ */

struct revocation_feed {
	pthread_mutex_t lock;
	uint64_t number, time_ms;
	struct revocation_snapshot *snapshot;
	uint8_t head[REVOCATION_HEAD_MAX];
	size_t head_len;
	struct revocation_subscriber *subscribers;
};

result revocation_feed_new(struct revocation_feed **out)
{
	struct revocation_feed *feed = calloc(1, sizeof(*feed));
	if (!feed)
		return fail(NO_MEMORY, "revocation feed");
	pthread_mutex_init(&feed->lock, NULL);
	*out = feed;
	return OK;
}

static void drop(struct revocation_snapshot *snapshot)
{
	if (snapshot && --snapshot->references == 0)
		revocation_snapshot_free(snapshot);
}

void revocation_feed_free(struct revocation_feed *feed)
{
	if (!feed)
		return;
	drop(feed->snapshot);
	pthread_mutex_destroy(&feed->lock);
	free(feed);
}

result revocation_feed_publish(struct revocation_feed *feed, struct revocation_snapshot *snapshot, struct span head, uint64_t time_ms)
{
	if (head.len > sizeof(feed->head))
		return fail(TOO_LARGE, "a revocation head of %zu bytes", head.len);
	pthread_mutex_lock(&feed->lock);
	memcpy(feed->head, head.data, head.len);
	feed->head_len = head.len;
	if (time_ms > feed->time_ms)
		feed->time_ms = time_ms;
	if (snapshot) {
		drop(feed->snapshot);
		feed->snapshot = snapshot;
		snapshot->references = 1;
		feed->number++;
	}
	for (struct revocation_subscriber *s = feed->subscribers; s; s = s->next)
		s->changed(s->ctx);
	pthread_mutex_unlock(&feed->lock);
	return OK;
}

uint64_t revocation_feed_time(struct revocation_feed *feed)
{
	uint64_t now = clock_wall_ms();
	pthread_mutex_lock(&feed->lock);
	if (now > feed->time_ms)
		feed->time_ms = now;
	else
		now = feed->time_ms;
	pthread_mutex_unlock(&feed->lock);
	return now;
}

void revocation_feed_hold(struct revocation_feed *feed, struct revocation_state *out)
{
	pthread_mutex_lock(&feed->lock);
	out->number = feed->number;
	out->snapshot = feed->snapshot;
	if (feed->snapshot)
		feed->snapshot->references++;
	memcpy(out->head, feed->head, feed->head_len);
	out->head_len = feed->head_len;
	pthread_mutex_unlock(&feed->lock);
}

void revocation_feed_release(struct revocation_feed *feed, const struct revocation_snapshot *snapshot)
{
	pthread_mutex_lock(&feed->lock);
	drop((struct revocation_snapshot *)(uintptr_t)snapshot);
	pthread_mutex_unlock(&feed->lock);
}

void revocation_feed_subscribe(struct revocation_feed *feed, struct revocation_subscriber *subscriber)
{
	pthread_mutex_lock(&feed->lock);
	subscriber->next = feed->subscribers;
	feed->subscribers = subscriber;
	pthread_mutex_unlock(&feed->lock);
}

void revocation_feed_unsubscribe(struct revocation_feed *feed, struct revocation_subscriber *subscriber)
{
	pthread_mutex_lock(&feed->lock);
	for (struct revocation_subscriber **at = &feed->subscribers; *at; at = &(*at)->next)
		if (*at == subscriber) {
			*at = subscriber->next;
			break;
		}
	pthread_mutex_unlock(&feed->lock);
}

void revocation_feed_note(struct revocation_feed *feed, struct revocation_subscriber *subscriber, const struct revocation_known *known)
{
	pthread_mutex_lock(&feed->lock);
	subscriber->known = *known;
	pthread_mutex_unlock(&feed->lock);
}

void revocation_feed_each(struct revocation_feed *feed, void (*visit)(void *ctx, const struct revocation_known *known), void *ctx)
{
	pthread_mutex_lock(&feed->lock);
	for (const struct revocation_subscriber *s = feed->subscribers; s; s = s->next)
		visit(ctx, &s->known);
	pthread_mutex_unlock(&feed->lock);
}
