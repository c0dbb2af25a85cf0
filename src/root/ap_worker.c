#include "root/ap_worker.h"

#include <pthread.h>
#include <stdlib.h>

#include "crypto/crypto.h"

enum work { IDLE, GIVEN, DONE, STOPPING };

struct ap_worker {
	struct ap_worker_config config;
	pthread_t thread;
	pthread_mutex_t lock; /* of `work`, which is also read without it */
	pthread_cond_t moved;
	enum work work; /* changed under the lock; DONE is stored with release order */
	bool ready;
	struct ap_rotation *rotation;
};

static enum work look(const struct ap_worker *w)
{
	return __atomic_load_n(&w->work, __ATOMIC_ACQUIRE);
}

static void move(struct ap_worker *w, enum work to)
{
	pthread_mutex_lock(&w->lock);
	__atomic_store_n(&w->work, to, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&w->moved);
	pthread_mutex_unlock(&w->lock);
}

/* Waits until `work` is `a` or `b`. */
static enum work await(struct ap_worker *w, enum work a, enum work b)
{
	pthread_mutex_lock(&w->lock);
	while (look(w) != a && look(w) != b)
		pthread_cond_wait(&w->moved, &w->lock);
	enum work found = look(w);
	pthread_mutex_unlock(&w->lock);
	return found;
}

static void *run(void *argument)
{
	struct ap_worker *w = argument;
	/* The library's contexts of this thread are made now, while every call is still allowed. */
	crypto_warm_up();
	pthread_mutex_lock(&w->lock);
	w->ready = true;
	pthread_cond_broadcast(&w->moved);
	pthread_mutex_unlock(&w->lock);
	while (await(w, GIVEN, STOPPING) == GIVEN) {
		ap_rotation_run(w->rotation, w->config.write, w->config.write_context);
		move(w, DONE);
		if (w->config.wake)
			w->config.wake(w->config.wake_context);
	}
	return NULL;
}

static result start_thread(struct ap_worker *w)
{
	int error = pthread_create(&w->thread, NULL, run, w);
	if (error)
		return fail(NO_MEMORY, "a thread for rotations (error %d)", error);
	pthread_mutex_lock(&w->lock);
	while (!w->ready)
		pthread_cond_wait(&w->moved, &w->lock);
	pthread_mutex_unlock(&w->lock);
	return OK;
}

static void worker_free(struct ap_worker *w)
{
	pthread_cond_destroy(&w->moved);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

result ap_worker_start(const struct ap_worker_config *config, struct ap_worker **out)
{
	struct ap_worker *w = calloc(1, sizeof(*w));
	if (!w)
		return fail(NO_MEMORY, "worker");
	w->config = *config;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->moved, NULL);
	result started = start_thread(w);
	if (started != OK) {
		worker_free(w);
		return started;
	}
	*out = w;
	return OK;
}

void ap_worker_give(struct ap_worker *w, struct ap_rotation *rotation)
{
	w->rotation = rotation;
	move(w, GIVEN);
}

struct ap_rotation *ap_worker_take(struct ap_worker *w)
{
	if (look(w) != DONE)
		return NULL;
	move(w, IDLE);
	return w->rotation;
}

struct ap_rotation *ap_worker_await(struct ap_worker *w)
{
	if (look(w) == IDLE)
		return NULL;
	(void)await(w, DONE, STOPPING);
	return ap_worker_take(w);
}

void ap_worker_stop(struct ap_worker *w)
{
	if (!w)
		return;
	(void)ap_worker_await(w);
	move(w, STOPPING);
	pthread_join(w->thread, NULL);
	worker_free(w);
}
