#include "root/host_internal.h"

#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"

/*
 * Theory of operation. Several requests may be under way; each has a waiter. Whoever's turn it is owns the queue: it sends,
 * and takes what arrives for everybody, handing each reply to its waiter. A request that is answered at once is waited for
 * without giving the turn away, as the secure processor serves one after the other anyway. One that takes long (a rotation) is not:
 * its waiter lets go and only looks in now and then, so that everybody else is served meanwhile.
 */

enum { CALL_MS = 30 * 1000, SLICE_MS = 100, LOOK_IN_NS = 500 * 1000, TEXT_MAX = 600, MOST_RETRIES = 8 };

struct waiter {
	struct waiter *next;
	uint64_t id;
	bool done;
	result status;
	char text[TEXT_MAX]; /* of a failure */
	struct arena *arena;
	struct span reply;
};

uint64_t host_deadline(int ms)
{
	return clock_monotonic_ns() + (uint64_t)ms * 1000000;
}

bool host_ap_has_ended(const struct root_host *host)
{
	struct pollfd poller = {.fd = host->process.pidfd.n, .events = POLLIN};
	return poll(&poller, 1, 0) > 0;
}

/* ---- Turns ------------------------------------------------------------------------------------------ */

void turns_init(struct turns *turns)
{
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&turns->arrived, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_cond_init(&turns->moved, NULL);
	pthread_mutex_init(&turns->lock, NULL);
}

void turns_destroy(struct turns *turns)
{
	pthread_cond_destroy(&turns->arrived);
	pthread_cond_destroy(&turns->moved);
	pthread_mutex_destroy(&turns->lock);
}

static void take_turn(struct turns *turns)
{
	pthread_mutex_lock(&turns->lock);
	uint64_t mine = turns->next++;
	while (turns->serving != mine)
		pthread_cond_wait(&turns->moved, &turns->lock);
	pthread_mutex_unlock(&turns->lock);
}

static void give_turn(struct turns *turns)
{
	pthread_mutex_lock(&turns->lock);
	turns->serving++;
	if (turns->serving != turns->next)
		pthread_cond_broadcast(&turns->moved);
	pthread_mutex_unlock(&turns->lock);
}

/* ---- Replies find their waiters. It is our turn. --------------------------------------------------- */

static void unlink_waiter(struct root_host *host, const struct waiter *waiter)
{
	for (struct waiter **at = &host->waiters; *at; at = &(*at)->next)
		if (*at == waiter) {
			*at = waiter->next;
			return;
		}
}

static struct waiter *find_waiter(struct root_host *host, uint64_t id)
{
	for (struct waiter *waiter = host->waiters; waiter; waiter = waiter->next)
		if (waiter->id == id && !waiter->done)
			return waiter;
	return NULL;
}

static void hand_over(struct root_host *host)
{
	struct waiter *waiter = host->message.type == IPQ_EVENT ? NULL : find_waiter(host, host->message.id);
	if (waiter) { /* else nobody waits for it any more */
		waiter->status = host->message.type == IPQ_ERROR ? ipq_error_of(&host->message)
								 : arena_copy(waiter->arena, ipq_payload(&host->message), &waiter->reply);
		if (waiter->status != OK)
			snprintf(waiter->text, sizeof(waiter->text), "%s", failure_text());
		pthread_mutex_lock(&host->turns.lock);
		waiter->done = true;
		pthread_cond_broadcast(&host->turns.arrived);
		pthread_mutex_unlock(&host->turns.lock);
	}
	wipe(host->message.data, host->message.len);
}

/* Waits in slices: shared memory does not tell that the other side is gone. */
static result await_at_once(struct root_host *host, struct waiter *waiter)
{
	uint64_t until = host_deadline(CALL_MS);
	while (!waiter->done) {
		result got = ipq_receive(host->queue, &host->message, host_deadline(SLICE_MS));
		if (got == OK)
			hand_over(host);
		else if (got != TIMED_OUT)
			return got;
		else if (host_ap_has_ended(host))
			return PEER_CLOSED;
		if (!waiter->done && clock_monotonic_ns() >= until) /* also one that answers everything but this */
			return TIMED_OUT;
	}
	return OK;
}

/* Gives the others their turns for a moment; true when the reply has come meanwhile. */
static bool let_others(struct root_host *host, const struct waiter *waiter)
{
	struct timespec until;
	give_turn(&host->turns);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_IN_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&host->turns.lock);
	if (!waiter->done)
		(void)pthread_cond_timedwait(&host->turns.arrived, &host->turns.lock, &until);
	bool done = waiter->done;
	pthread_mutex_unlock(&host->turns.lock);
	take_turn(&host->turns);
	return done;
}

static result await_patiently(struct root_host *host, struct waiter *waiter)
{
	uint64_t until = host_deadline(CALL_MS);
	while (!waiter->done) {
		result got = ipq_try_receive(host->queue, &host->message);
		if (got == OK) {
			hand_over(host);
			continue;
		}
		if (got != QUEUE_EMPTY)
			return got;
		if (host_ap_has_ended(host))
			return PEER_CLOSED;
		if (clock_monotonic_ns() >= until)
			return TIMED_OUT;
		if (let_others(host, waiter))
			return OK;
	}
	return OK;
}

/* What the secure processor works on while it answers others. */
static bool takes_long(enum ipq_type type)
{
	return type == IPQ_ROTATE_ROT || type == IPQ_SET_RECOVERY || type == IPQ_RECOVER || type == IPQ_ADOPT_CANDIDATE || type == IPQ_DRAIN ||
		type == IPQ_PIN || type == IPQ_HEAD;
}

/* One request and its reply, copied out. */
static result exchange(struct root_host *host, enum ipq_type type, struct span body, struct arena *arena, struct span *out)
{
	struct waiter waiter = {.arena = arena};
	take_turn(&host->turns);
	result called = host_ap_has_ended(host) ? PEER_CLOSED : ipq_request(host->queue, type, body, host_deadline(CALL_MS), &waiter.id);
	if (called == OK) {
		waiter.next = host->waiters;
		host->waiters = &waiter;
		called = takes_long(type) ? await_patiently(host, &waiter) : await_at_once(host, &waiter);
		unlink_waiter(host, &waiter);
	}
	host_queue_look(host);
	give_turn(&host->turns);
	if (called == PEER_CLOSED || called == TIMED_OUT)
		return fail(AP_STOPPED, "while asked for %s", ipq_message_name(type));
	TRY(called);
	if (waiter.status != OK)
		return fail(waiter.status, "%s", waiter.text);
	*out = waiter.reply;
	return OK;
}

/* ---- Calls ------------------------------------------------------------------------------------------ */

/* What changes the root, or is asked while it is being changed, is never asked twice. */
static bool may_ask_again(enum ipq_type type)
{
	switch (type) {
	case IPQ_GENERATE_ROT:
	case IPQ_EXTEND:
	case IPQ_ACCEPT_MEASUREMENTS:
	case IPQ_ROTATE_ROT:
	case IPQ_SET_RECOVERY:
	case IPQ_RECOVER:
	case IPQ_ADOPT_CANDIDATE:
	case IPQ_DRAIN:
		return false;
	default:
		return ipq_message_row(type)->expects_epoch;
	}
}

/* A root that is stale, forked or halted is good for nothing but its recovery. */
static bool is_for_recovery(enum ipq_type type)
{
	return type == IPQ_HEALTH || type == IPQ_READ_MEASUREMENTS || type == IPQ_EXTEND || type == IPQ_ACCEPT_MEASUREMENTS ||
		type == IPQ_RECOVER || type == IPQ_ADOPT_CANDIDATE || type == IPQ_END_LAUNCH || type == IPQ_DRAIN ||
		type == IPQ_PIN;
}

static result call_once(struct root_host *host, struct ipq_expected expected, enum ipq_type type, const struct schema *schema,
	const void *request, struct arena *arena, struct span *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(IPQ_MESSAGE_SLOTS_MAX * IPQ_SLOT_SIZE);
	struct span body;
	if (!is_for_recovery(type))
		TRY(root_host_refusal(host));
	if (ipq_message_row(type)->expects_epoch)
		ipq_put_expected(&w, expected);
	if (schema)
		schema_put(schema, request, &w);
	TRY(writer_finish(&w, &body));
	result called = exchange(host, type, body, arena, out);
	if (w.len)
		wipe(w.data, w.len); /* GENERATE_ROT carries the host's seed and share */
	return called;
}

result root_host_call(struct root_host *host, enum ipq_type type, const struct schema *schema, const void *request,
	const struct schema *reply_schema, struct arena *arena, void *reply)
{
	struct span kept;
	for (int tries = 0;; tries++) {
		struct ipq_expected expected = host_expected(host);
		result called = call_once(host, expected, type, schema, request, arena, &kept);
		if (called == EPOCH_OLD && may_ask_again(type) && tries < MOST_RETRIES && host_moved_on(host, expected))
			continue;
		if (called == EPOCH_OLD)
			return called;
		TRY(called);
		return schema_decode(reply_schema, kept, arena, reply);
	}
}

result root_host_call_as(struct root_host *host, const struct root_identity *identity, enum ipq_type type, const struct schema *schema,
	const void *request, const struct schema *reply_schema, struct arena *arena, void *reply)
{
	struct span kept;
	struct ipq_expected expected = {identity->epoch.era, identity->epoch.epoch};
	TRY(call_once(host, expected, type, schema, request, arena, &kept));
	return schema_decode(reply_schema, kept, arena, reply);
}

static result sign(struct root_host *host, const struct root_identity *identity, enum object_kind kind,
	const struct schema *body_schema, const void *body, struct arena *arena, struct span *out_object)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	TRY(schema_encode(body_schema, body, &encoding));
	struct ap_sign request = {(uint8_t)kind, bytes_span(&encoding)};
	struct ap_signed reply;
	if (identity)
		TRY(root_host_call_as(host, identity, IPQ_SIGN, &ap_sign_schema, &request, &ap_signed_schema, arena, &reply));
	else
		TRY(root_host_call(host, IPQ_SIGN, &ap_sign_schema, &request, &ap_signed_schema, arena, &reply));
	*out_object = reply.object;
	return OK;
}

result root_host_sign(struct root_host *host, enum object_kind kind, const struct schema *body_schema, const void *body,
	struct arena *arena, struct span *out_object)
{
	return sign(host, NULL, kind, body_schema, body, arena, out_object);
}

result root_host_sign_as(struct root_host *host, const struct root_identity *identity, enum object_kind kind,
	const struct schema *body_schema, const void *body, struct arena *arena, struct span *out_object)
{
	return sign(host, identity, kind, body_schema, body, arena, out_object);
}
