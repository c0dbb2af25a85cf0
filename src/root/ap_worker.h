/*
 * The thread beside the engine of the secure processor: it does the work of a rotation (ap_rotation_run) and writes the new
 * state, while the engine's thread goes on answering. One rotation at a time.
 *
 * Started before the system-call filter, which then covers it too; when ap_worker_start returns, the thread has made
 * everything it needs a refused call for. It sleeps while there is nothing to do.
 */
#ifndef TROTH_ROOT_AP_WORKER_H
#define TROTH_ROOT_AP_WORKER_H

#include "root/ap.h"

struct ap_worker;

/* `wake` is called on the worker's thread when a rotation is done; NULL for none. Where it runs: ap_rotation_run's `write`. */
struct ap_worker_config {
	ap_write *write;
	void *write_context;
	void (*wake)(void *context);
	void *wake_context;
};

NODISCARD result ap_worker_start(const struct ap_worker_config *config, struct ap_worker **out);

/* Hands a rotation over. Nothing of it, nor what `write` reaches, is touched elsewhere until it is taken back. */
void ap_worker_give(struct ap_worker *worker, struct ap_rotation *rotation);

/* The rotation that is done, to be given to ap_rotated; NULL while it is not, or when there is none. Costs one load. */
struct ap_rotation *ap_worker_take(struct ap_worker *worker);
/* The same, and waits for it. */
struct ap_rotation *ap_worker_await(struct ap_worker *worker);

/* Waits for the work under way, ends the thread, frees. Accepts NULL. */
void ap_worker_stop(struct ap_worker *worker);

#endif
