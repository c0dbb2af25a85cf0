#include "job/flow_remote.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/random.h"
#include "enclave/broker.h"
#include "job/listener.h"
#include "job/revocations.h"

/*
 * Theory of operation. Between a coordinator and one host the run goes in steps: each is one message of the coordinator and one
 * answer (`steps`). How far they are is two numbers, and a message that is not the next one ends the run. remote_wait is the only place
 * where anybody waits. A heart beats in a thread of its own, because the thread of the run may be busy for long with
 * verifying.
 */

enum {
	OFFER_WAIT_MS = 5000,	 /* for a `troth join` that is on its way */
	OFFER_ANSWER_MS = 20 * 1000,
	READY_MS = 400 * 1000,	 /* longer than a launch may take */
	CONNECT_MS = 9000,
	AWAIT_SLICE_MS = 250,
	CONNECTED_MS = 60 * 1000,
	LAST_MS = 600 * 1000,	 /* for verifying a receipt */
	PUBLISHED_MS = 60 * 1000,
	TURN_MS = 500,
	ROOT_CAUSE_MS = 2500,	 /* how long a failure is looked for that came first */
};

static const struct {
	enum link_type ask, answer;
} steps[] = {
	{LINK_OFFER, LINK_ACCEPT},
	{LINK_LAUNCH, LINK_READY},
	{LINK_CONNECT, LINK_CONNECTED},
	{LINK_START, LINK_FINISHED},
	{LINK_RECEIPT, LINK_VERIFIED},
	{LINK_COMMIT, LINK_PUBLISHED},
};

/* A host at the other end of a link: for whoever takes part, the coordinator. */
struct remote_host {
	const char *name; /* in the job, or as it is enrolled */
	uint8_t rot_id[OID_SIZE];
	struct link *link;
	size_t asked, answered; /* steps */
	struct link_message held[COUNT_OF(steps)];
};

struct remote {
	bool coordinates;
	struct remote_host *hosts;
	size_t host_count;
	struct foreign_roots *roots; /* once they are known */
	struct link_edge *edges; /* between hosts, with their tokens */
	size_t edge_count;
	uint8_t coordinator[OID_SIZE]; /* its root */
	struct join_seat *seat;
	struct fd poll;
	uint8_t told[OID_SIZE]; /* the epoch of this host that the others know of */
	uint64_t revocations; /* generation of the lists that they were told of, and one */
	pthread_t heart;
	bool beats;
	pthread_mutex_t lock; /* of stop */
	pthread_cond_t changed;
	bool stop;
	bool over; /* the run has succeeded as far as this host is concerned */
	struct {
		result reason;
		char stage[NAME_MAX_LEN + 1], text[LINK_TEXT_MAX];
		const struct remote_host *host;
	} failure;
};

/* ---- Who is where ----------------------------------------------------------------------------------- */

static const uint8_t *root_of_stage(const struct run *run, const char *stage)
{
	return job_enclave_root(&run->plan.job, job_enclave_find(&run->plan.job, stage), run->remote->coordinator);
}

/* What the job calls the host that a stage runs on. */
static const char *host_of_stage(const struct run *run, const char *stage)
{
	const struct job_enclave *enclave = job_enclave_find(&run->plan.job, stage);
	return enclave && enclave->host ? enclave->host : "that coordinates";
}

static result remote_new(struct run *run)
{
	struct remote *remote = calloc(1, sizeof(*remote));
	if (!remote)
		return fail(NO_MEMORY, "a run on several hosts");
	remote->poll = fd_of(epoll_create1(EPOLL_CLOEXEC));
	pthread_mutex_init(&remote->lock, NULL);
	pthread_cond_init(&remote->changed, NULL);
	remote->coordinates = run->coordinator == NULL;
	run->remote = remote;
	if (remote->poll.n < 0)
		return fail_errno("epoll");
	if (remote->coordinates)
		memcpy(remote->coordinator, run->began_under->rot_id, OID_SIZE);
	return run_alloc(run, run->plan.job.host_count + 1, sizeof(*remote->hosts), &remote->hosts);
}

result remote_place(struct run *run)
{
	const struct job *job = &run->plan.job;
	const uint8_t *own = run->began_under->rot_id;
	size_t here = 0;
	for (size_t i = 0; i < run->plan.stage_count; i++) {
		struct stage_run *stage = &run->stages[i];
		const uint8_t *root = job_enclave_root(job, job_enclave_find(job, stage->stage->name), run->coordinator ? NULL : own);
		stage->here = root && memcmp(root, own, OID_SIZE) == 0;
		here += stage->here;
	}
	if (here == 0)
		return fail(HOST_NOT_IN_JOB, "job '%s' has no enclave for this host", job->name);
	if (here == run->plan.stage_count && !run->coordinator)
		return OK;
	if (here == run->plan.stage_count)
		return fail(HOST_NOT_IN_JOB, "job '%s' runs on this host alone; `troth run` does that", job->name);
	return remote_new(run);
}

static result watch(struct remote *remote, int fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};
	if (fd >= 0 && epoll_ctl(remote->poll.n, EPOLL_CTL_ADD, fd, &event) != 0)
		return fail_errno("watching other hosts");
	return OK;
}

static bool has_stage(const struct run *run, const struct job_host *host)
{
	for (size_t i = 0; i < run->plan.stage_count; i++)
		if (run->plan.stages[i].host && strcmp(run->plan.stages[i].host, host->name) == 0)
			return true;
	return false;
}

/* It has done all there is to do, and may hang up. */
static bool is_done(const struct run *run, const struct remote_host *host)
{
	return run->remote->coordinates && host->answered == COUNT_OF(steps);
}

/* ---- Roots of the others ---------------------------------------------------------------------------- */

/* Only what is enrolled counts; whoever tells it is a messenger. What has stopped a root is found by whoever uses it. */
static result learn_roots(struct run *run, const struct link_epochs *news)
{
	struct peers *peers = listener_own(run->host->listener)->peers;
	bool changed;
	for (size_t i = 0; i < news->history_count; i++) {
		result followed = peers_follow(peers, news->histories[i].bytes, clock_wall_ms(), &changed);
		if (followed != OK && followed != PEER_UNKNOWN && followed != EPOCH_FORKED && followed != EPOCH_HALTED)
			return followed;
	}
	return OK;
}

result remote_foreign(struct run *run, const struct span **out, size_t *out_count)
{
	if (run->remote)
		*out = foreign_roots_histories(run->remote->roots, out_count);
	return OK;
}

struct foreign_roots *remote_roots(const struct run *run)
{
	return run->remote ? run->remote->roots : NULL;
}

static result begin_roots(struct run *run)
{
	struct peers *peers = listener_own(run->host->listener)->peers;
	return foreign_roots_new(peers, &run->plan.job, run->began_under->rot_id, &run->remote->roots);
}

/* The own history and, from the coordinator, those of the others. */
static result tell_roots(struct run *run, const struct remote_host *host, enum link_type type)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes own = BYTES_EMPTY;
	struct link_epochs body = {0};
	const struct span *others;
	size_t count;
	void *items;
	others = foreign_roots_histories(run->remote->roots, &count);
	TRY(arena_alloc(&arena, count + 1, sizeof(struct bytes_item), &items));
	body.histories = items;
	TRY(root_host_history(run->host->root, &own));
	body.histories[body.history_count++].bytes = bytes_span(&own);
	for (size_t i = 0; i < count && run->remote->coordinates; i++)
		body.histories[body.history_count++].bytes = others[i];
	return link_send(host->link, type, &body);
}

/* Another root has moved on: the launches hear of it, also when it has stopped. */
static result take_news(struct run *run, bool *out_changed)
{
	size_t count;
	result refreshed = foreign_roots_refresh(run->remote->roots, out_changed);
	if (!*out_changed)
		return refreshed;
	char text[FLOW_TEXT_MAX];
	snprintf(text, sizeof(text), "%s", refreshed == OK ? "" : failure_text());
	const struct span *histories = foreign_roots_histories(run->remote->roots, &count);
	for (size_t i = 0; i < run->launch_count; i++)
		TRY(launch_tell_foreign(run->launches[i], histories, count));
	return refreshed == OK ? OK : fail(refreshed, "%s", text);
}

/* Who obeys operators here must hear from every host of the run within their lease, and the second that a host may take to say anything. */
static void watch_silence(struct run *run, struct revocation_host *revocations)
{
	uint32_t lease = revocations_lease(revocations);
	for (size_t i = 0; i < run->remote->host_count; i++)
		if (run->remote->hosts[i].link)
			link_set_silence(run->remote->hosts[i].link, lease ? lease + LINK_ALIVE_MS : LINK_SILENCE_MS);
}

static result tell_revocations(struct run *run)
{
	struct remote *remote = run->remote;
	struct revocation_host *revocations = listener_own(run->host->listener)->revocations;
	CLEANUP(arena_free) struct arena arena = arena_of(256 << 20);
	struct link_revocations body = {0};
	struct span *lists;
	size_t count;
	void *items;
	if (revocations)
		watch_silence(run, revocations);
	if (!revocations || remote->revocations == revocations_generation(revocations) + 1)
		return OK;
	remote->revocations = revocations_generation(revocations) + 1;
	TRY(revocations_lists(revocations, &arena, &lists, &count));
	TRY(arena_alloc(&arena, count + 1, sizeof(struct bytes_item), &items));
	body.lists = items;
	for (size_t i = 0; i < count && i < LINK_LISTS_MAX; i++)
		body.lists[body.list_count++].bytes = lists[i];
	for (size_t i = 0; i < remote->host_count && count > 0; i++)
		if (!is_done(run, &remote->hosts[i]))
			TRY(link_send(remote->hosts[i].link, LINK_REVOCATIONS, &body));
	return OK;
}

/* Taken only where that operator's key is pinned; a list that does not count is no fault of whoever passes it on. */
static result take_revocations(struct run *run, const struct link_message *message)
{
	struct revocation_host *revocations = listener_own(run->host->listener)->revocations;
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct link_revocations body;
	TRY(link_decode(message, &arena, &body));
	for (size_t i = 0; revocations && i < body.list_count; i++) {
		bool changed;
		result offered = revocations_offer(revocations, body.lists[i].bytes, &changed);
		if (offered != OK)
			log_failure(LOG_LEVEL_DEBUG, "a revocation list of another host was not taken", offered);
	}
	return OK;
}

/* This host's root has moved on, or another's: everybody hears of it. */
static result pass_news(struct run *run)
{
	struct remote *remote = run->remote;
	ROOT_IDENTITY_HELD now = root_host_hold(run->host->root);
	bool own = now && memcmp(now->epoch_oid, remote->told, OID_SIZE) != 0, others = false;
	if (!remote->roots)
		return OK;
	TRY(tell_revocations(run));
	TRY(take_news(run, &others));
	if (!own && !(others && remote->coordinates))
		return OK;
	memcpy(remote->told, now->epoch_oid, OID_SIZE);
	for (size_t i = 0; i < remote->host_count; i++)
		if (remote->hosts[i].asked > 1 && !is_done(run, &remote->hosts[i]))
			TRY(tell_roots(run, &remote->hosts[i], LINK_EPOCHS));
	return OK;
}

/* ---- What the others say ---------------------------------------------------------------------------- */

static result take_failed(struct run *run, const struct remote_host *host, const struct link_message *message)
{
	struct remote *remote = run->remote;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct link_failed failed;
	TRY(link_decode(message, &arena, &failed));
	const struct reason_row *row = reason_row((enum reason)failed.reason);
	result reason = row && failed.reason != OK ? (result)failed.reason : HOST_FAILED;
	remote->failure.reason = reason;
	remote->failure.host = host;
	snprintf(remote->failure.stage, sizeof(remote->failure.stage), "%s", failed.stage);
	snprintf(remote->failure.text, sizeof(remote->failure.text), "%s", failed.text);
	log_warning("another host has ended a run", LOG_TEXT("host", host->name), LOG_TEXT("stage", failed.stage), LOG_TEXT("reason", reason_name(reason)),
		LOG_TEXT("text", failed.text));
	/* Before it has accepted, it refuses; later it fails. */
	if (host->answered == 0 && remote->coordinates)
		return fail(reason, "host %s: %s", host->name, failed.text);
	return fail(HOST_FAILED, "host %s: %s: %s", host->name, reason_name(reason), failed.text);
}

static result take_epochs(struct run *run, const struct link_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct link_epochs body;
	TRY(link_decode(message, &arena, &body));
	return learn_roots(run, &body);
}

static result take_progress(struct run *run, const struct remote_host *host, const struct link_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	const struct flow_listener *listener = run->listener;
	struct link_progress body;
	TRY(link_decode(message, &arena, &body));
	const struct stage_run *stage = run_stage(run, body.stage);
	if (!run->remote->coordinates || !stage || memcmp(root_of_stage(run, body.stage), host->rot_id, OID_SIZE) != 0)
		return fail(LINK_BROKEN, "host %s: news of a stage that is not its own", host->name);
	if (body.state[0] && listener->state)
		listener->state(listener->ctx, stage->stage->name, body.state);
	else if (!body.state[0] && listener->progress)
		listener->progress(listener->ctx, stage->stage->name, body.bytes_in, body.bytes_out);
	return OK;
}

/* The next step, or the run is over. */
static result take_step(struct run *run, struct remote_host *host, struct link_message *message)
{
	bool coordinates = run->remote->coordinates;
	size_t *taken = coordinates ? &host->answered : &host->asked;
	bool due = coordinates ? host->asked == host->answered + 1 : host->asked == host->answered;
	if (!due || *taken >= COUNT_OF(steps) || message->type != (coordinates ? steps[*taken].answer : steps[*taken].ask))
		return fail(LINK_BROKEN, "host %s sent %s after step %zu", host->name, link_type_name(message->type), *taken);
	host->held[*taken] = *message;
	message->raw = BYTES_EMPTY;
	(*taken)++;
	return OK;
}

static result hear(struct run *run, struct remote_host *host)
{
	while (!is_done(run, host)) {
		CLEANUP(link_message_free) struct link_message message = LINK_MESSAGE_EMPTY;
		result taken = link_take(host->link, 0, &message);
		if (taken == TIMED_OUT)
			return OK;
		if (taken == OK && message.type == LINK_FAILED)
			taken = take_failed(run, host, &message);
		else if (taken == OK && message.type == LINK_EPOCHS)
			taken = take_epochs(run, &message);
		else if (taken == OK && message.type == LINK_PROGRESS)
			taken = take_progress(run, host, &message);
		else if (taken == OK && message.type == LINK_REVOCATIONS)
			taken = take_revocations(run, &message);
		else if (taken == OK)
			taken = take_step(run, host, &message);
		TRY(taken);
	}
	(void)epoll_ctl(run->remote->poll.n, EPOLL_CTL_DEL, link_fd(host->link), NULL);
	return OK;
}

static result hear_all(struct run *run)
{
	struct remote *remote = run->remote;
	for (size_t i = 0; i < remote->host_count; i++)
		if (remote->hosts[i].link)
			TRY(hear(run, &remote->hosts[i]));
	return pass_news(run);
}

/* ---- Waiting ---------------------------------------------------------------------------------------- */

static size_t step_of(enum link_type type)
{
	for (size_t i = 0; i < COUNT_OF(steps); i++)
		if (steps[i].ask == type || steps[i].answer == type)
			return i + 1;
	return 0;
}

static bool others_reached(const struct remote *remote, enum link_type step)
{
	size_t wanted = step_of(step);
	for (size_t i = 0; i < remote->host_count; i++)
		if ((remote->coordinates ? remote->hosts[i].answered : remote->hosts[i].asked) < wanted)
			return false;
	return true;
}

static const char *late_host(const struct remote *remote, enum link_type step)
{
	for (size_t i = 0; i < remote->host_count; i++)
		if ((remote->coordinates ? remote->hosts[i].answered : remote->hosts[i].asked) < step_of(step))
			return remote->hosts[i].name;
	return "?";
}

static bool launches_reached(const struct run *run, enum launch_state until)
{
	for (size_t i = 0; i < run->launch_count; i++)
		if (launch_state(run->launches[i]) < until)
			return false;
	return true;
}

/* A launch failed because of a peer on another host: that host says why, if it still can. */
static result look_for_cause(struct run *run, result failed)
{
	char text[FLOW_TEXT_MAX];
	bool elsewhere = false;
	uint64_t deadline = clock_monotonic_ns() + ROOT_CAUSE_MS * UINT64_C(1000000);
	snprintf(text, sizeof(text), "%s", failure_text());
	for (size_t i = 0; i < run->launch_count; i++) {
		const struct launch_failure *failure = launch_failure(run->launches[i]);
		const struct stage_run *cause = failure && failure->cause[0] ? run_stage(run, failure->cause) : NULL;
		elsewhere |= cause && !cause->here;
	}
	while (elsewhere && clock_monotonic_ns() < deadline && !run_is_cancelled(run)) {
		struct pollfd wait = {.fd = run->remote->poll.n, .events = POLLIN};
		TRY(hear_all(run));
		(void)poll(&wait, 1, 50);
	}
	return fail(failed, "%s", text);
}

/* Serves the launches here and wakes for other hosts. */
static result turn(struct run *run, enum launch_state until, int ms)
{
	int fd = run->remote->poll.n;
	if (launches_reached(run, LAUNCH_FINISHED)) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		(void)poll(&wait, 1, ms);
		return OK;
	}
	result waited = launch_wait(run->launches, run->launch_count, launches_reached(run, until) ? LAUNCH_FINISHED : until, fd, ms);
	if (run_launch_failed(run))
		return look_for_cause(run, waited == OK ? ENCLAVE_STOPPED : waited);
	return waited == PEER_CLOSED || waited == TIMED_OUT ? OK : waited;
}

result remote_wait(struct run *run, enum launch_state until, enum link_type step, int timeout_ms)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
	for (;;) {
		TRY(hear_all(run));
		if (run_is_cancelled(run))
			return fail(PEER_CLOSED, "the run was given up");
		if (launches_reached(run, until) && others_reached(run->remote, step))
			return OK;
		if (clock_monotonic_ns() >= deadline)
			return fail(TIMED_OUT, "host %s did not say %s in time", late_host(run->remote, step), link_type_name(step));
		TRY(turn(run, until, TURN_MS));
	}
}

static result ask_all(struct run *run, enum link_type type, const void *body)
{
	struct remote *remote = run->remote;
	for (size_t i = 0; i < remote->host_count; i++) {
		TRY(link_send(remote->hosts[i].link, type, body));
		remote->hosts[i].asked++;
	}
	return OK;
}

static result answer(struct run *run, enum link_type type, const void *body)
{
	TRY(link_send(run->remote->hosts[0].link, type, body));
	run->remote->hosts[0].answered++;
	return OK;
}

/* ---- The heart -------------------------------------------------------------------------------------- */

static void *heart_main(void *arg)
{
	struct remote *remote = arg;
	pthread_mutex_lock(&remote->lock);
	while (!remote->stop) {
		uint64_t next = clock_monotonic_ns() + LINK_ALIVE_MS * UINT64_C(1000000) / 2;
		const struct timespec until = {(time_t)(next / 1000000000), (long)(next % 1000000000)};
		for (size_t i = 0; i < remote->host_count; i++)
			if (link_tick(remote->hosts[i].link) != OK)
				continue; /* whoever reads there finds out why */
		(void)pthread_cond_clockwait(&remote->changed, &remote->lock, CLOCK_MONOTONIC, &until);
	}
	pthread_mutex_unlock(&remote->lock);
	return NULL;
}

static result start_heart(struct remote *remote)
{
	if (pthread_create(&remote->heart, NULL, heart_main, remote) != 0)
		return fail(NO_MEMORY, "a thread");
	remote->beats = true;
	return OK;
}

static void stop_heart(struct remote *remote)
{
	if (!remote->beats)
		return;
	pthread_mutex_lock(&remote->lock);
	remote->stop = true;
	pthread_cond_broadcast(&remote->changed);
	pthread_mutex_unlock(&remote->lock);
	pthread_join(remote->heart, NULL);
	remote->beats = false;
}

/* ---- Steps: the beginning --------------------------------------------------------------------------- */

static result invite_host(struct run *run, const struct job_host *host)
{
	struct remote *remote = run->remote;
	struct remote_host *row = &remote->hosts[remote->host_count];
	const struct link_own *own = listener_own(run->host->listener);
	struct link_offer offer = {.v = 1, .has_nonce = run->has_nonce, .job = run->plan.job.name, .wait_ms = OFFER_WAIT_MS};
	*row = (struct remote_host){.name = host->name};
	memcpy(row->rot_id, host->rot_id, OID_SIZE);
	memcpy(offer.run_id, run->run_id, RUN_ID_SIZE);
	memcpy(offer.job_digest, run->plan.digest, SHA256_SIZE);
	memcpy(offer.rand, run->rand, sizeof(offer.rand));
	memcpy(offer.nonce, run->nonce, sizeof(offer.nonce));
	TRY(link_dial(own, host->rot_id, &row->link));
	remote->host_count++;
	TRY(watch(remote, link_fd(row->link)));
	TRY(link_send(row->link, LINK_OFFER, &offer));
	row->asked = 1;
	return OK;
}

result remote_invite(struct run *run)
{
	const struct job *job = &run->plan.job;
	if (!run->remote)
		return OK;
	TRY(watch(run->remote, run->listener->cancel_fd));
	for (size_t i = 0; i < job->host_count; i++) {
		if (memcmp(job->hosts[i].rot_id, run->began_under->rot_id, OID_SIZE) == 0 || !has_stage(run, &job->hosts[i]))
			continue;
		result invited = invite_host(run, &job->hosts[i]);
		if (invited != OK)
			return fail_within(invited, "host '%s' of the job", job->hosts[i].name);
	}
	memcpy(run->remote->told, run->began_under->epoch_oid, OID_SIZE);
	TRY(begin_roots(run));
	TRY(start_heart(run->remote));
	return remote_wait(run, 0, LINK_ACCEPT, OFFER_ANSWER_MS);
}

static result wait_for_offer(struct run *run, struct link **out_link, struct link_offer *out)
{
	struct remote *remote = run->remote;
	for (;;) {
		struct pollfd fds[] = {{.fd = join_seat_fd(remote->seat), .events = POLLIN},
			{.fd = run->listener->cancel_fd, .events = POLLIN | POLLRDHUP}};
		(void)poll(fds, COUNT_OF(fds), -1);
		if (run_is_cancelled(run))
			return fail(PEER_CLOSED, "nobody waits for it any more");
		result taken = join_seat_take(remote->seat, &run->arena, out_link, out);
		if (taken != TIMED_OUT)
			return taken;
	}
}

/* The run is what the coordinator says, made of the job and its random value in the one way there is. */
static result take_offer(struct run *run, const struct link_offer *offer)
{
	uint8_t run_id[RUN_ID_SIZE];
	memcpy(run->rand, offer->rand, sizeof(run->rand));
	memcpy(run->nonce, offer->nonce, sizeof(run->nonce));
	run->has_nonce = offer->has_nonce;
	run_id_compute(run->plan.digest, run->has_nonce ? SPAN_ARRAY(run->nonce) : SPAN_EMPTY, run->rand, run_id);
	if (memcmp(run_id, offer->run_id, RUN_ID_SIZE) != 0)
		return fail(LINK_BROKEN, "the run id is not that of this job, nonce and random value");
	memcpy(run->run_id, run_id, RUN_ID_SIZE);
	return OK;
}

static result take_seat(struct run *run)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 << 20);
	struct listener *listener = run->host->listener;
	struct peer peer;
	bool any = !run->coordinator[0];
	if (!any)
		TRY(peers_find_name(listener_own(listener)->peers, run->coordinator, &arena, &peer));
	return listener_join(listener, run->plan.digest, any ? NULL : peer.rot_id, &run->remote->seat);
}

result remote_join(struct run *run)
{
	struct remote *remote = run->remote;
	struct remote_host *host = &remote->hosts[0];
	struct link_offer offer;
	TRY(take_seat(run));
	if (run->listener->state)
		run->listener->state(run->listener->ctx, run->plan.job.name, "joined");
	TRY(wait_for_offer(run, &host->link, &offer));
	host->name = link_peer(host->link);
	host->asked = 1;
	remote->host_count = 1;
	memcpy(host->rot_id, link_peer_root(host->link), OID_SIZE);
	memcpy(remote->coordinator, host->rot_id, OID_SIZE);
	TRY(watch(remote, link_fd(host->link)));
	TRY(watch(remote, run->listener->cancel_fd));
	TRY(take_offer(run, &offer));
	TRY(start_heart(remote));
	return OK;
}

/* ---- Steps: both ------------------------------------------------------------------------------------ */

result remote_launch(struct run *run)
{
	struct remote *remote = run->remote;
	if (!remote)
		return OK;
	if (!remote->coordinates) {
		TRY(answer(run, LINK_ACCEPT, NULL));
		TRY(remote_wait(run, 0, LINK_LAUNCH, OFFER_ANSWER_MS + CONNECTED_MS));
		memcpy(remote->told, run->began_under->epoch_oid, OID_SIZE);
		TRY(take_epochs(run, &remote->hosts[0].held[step_of(LINK_LAUNCH) - 1]));
		return begin_roots(run);
	}
	for (size_t i = 0; i < remote->host_count; i++) {
		TRY(tell_roots(run, &remote->hosts[i], LINK_LAUNCH));
		remote->hosts[i].asked++;
	}
	return OK;
}

result remote_ready(struct run *run)
{
	if (!run->remote)
		return OK;
	return run->remote->coordinates ? remote_wait(run, LAUNCH_READY, LINK_READY, READY_MS) : answer(run, LINK_READY, NULL);
}

static bool is_between_hosts(const struct run *run, const struct job_edge *edge)
{
	return run_stage(run, edge->from) && run_stage(run, edge->to) &&
	       memcmp(root_of_stage(run, edge->from), root_of_stage(run, edge->to), OID_SIZE) != 0;
}

static bool touches(const struct run *run, const struct job_edge *edge, const uint8_t *rot_id)
{
	return memcmp(root_of_stage(run, edge->from), rot_id, OID_SIZE) == 0 || memcmp(root_of_stage(run, edge->to), rot_id, OID_SIZE) == 0;
}

static const struct link_edge *token_of(const struct remote *remote, const char *edge)
{
	for (size_t i = 0; i < remote->edge_count; i++)
		if (strcmp(remote->edges[i].edge, edge) == 0)
			return &remote->edges[i];
	return NULL;
}

static result make_tokens(struct run *run)
{
	const struct job *job = &run->plan.job;
	struct remote *remote = run->remote;
	TRY(run_alloc(run, job->edge_count, sizeof(*remote->edges), &remote->edges));
	for (size_t i = 0; i < job->edge_count; i++) {
		if (!is_between_hosts(run, &job->edges[i]))
			continue;
		struct link_edge *edge = &remote->edges[remote->edge_count++];
		edge->edge = job->edges[i].name;
		random_bytes(edge->token, sizeof(edge->token));
	}
	return OK;
}

static result hand_out_tokens(struct run *run, struct remote_host *host)
{
	const struct job *job = &run->plan.job;
	struct link_connect body = {0};
	TRY(run_alloc(run, job->edge_count, sizeof(*body.edges), &body.edges));
	for (size_t i = 0; i < job->edge_count; i++)
		if (is_between_hosts(run, &job->edges[i]) && touches(run, &job->edges[i], host->rot_id))
			body.edges[body.edge_count++] = *token_of(run->remote, job->edges[i].name);
	TRY(link_send(host->link, LINK_CONNECT, &body));
	host->asked++;
	return OK;
}

static result take_tokens(struct run *run)
{
	struct remote *remote = run->remote;
	struct link_connect body;
	TRY(remote_wait(run, LAUNCH_READY, LINK_CONNECT, READY_MS));
	TRY(link_decode(&remote->hosts[0].held[step_of(LINK_CONNECT) - 1], &run->arena, &body));
	remote->edges = body.edges;
	remote->edge_count = body.edge_count;
	return OK;
}

/* What is waited for in small pieces, because the run goes on meanwhile. */
static result await_edge(struct run *run, const uint8_t *token, uint64_t deadline, struct fd *out)
{
	for (;;) {
		result awaited = listener_await(run->host->listener, token, AWAIT_SLICE_MS, out);
		if (awaited != TIMED_OUT || clock_monotonic_ns() >= deadline)
			return awaited;
		TRY(remote_wait(run, 0, 0, 0));
	}
}

static result open_edge(struct run *run, const struct job_edge *edge, bool sends, uint64_t deadline)
{
	struct stage_run *from = run_stage(run, edge->from), *to = run_stage(run, edge->to);
	const struct broker_edge between = {edge->name, edge->operation, edge->output, edge->input};
	const struct link_edge *token = token_of(run->remote, edge->name);
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	if (!token)
		return fail(LINK_BROKEN, "no token for it");
	if (sends)
		TRY(listener_dial_edge(run->host->listener, root_of_stage(run, edge->to), token->token, &fd));
	else
		TRY(await_edge(run, token->token, deadline, &fd));
	return broker_connect_remote(sends ? from->launch : to->launch, sends ? edge->to : edge->from, sends, &between, fd.n);
}

/* Whoever sends the data connects. First all that this host connects, so that nobody waits for somebody who waits. */
static result open_edges(struct run *run, bool sends)
{
	const struct job *job = &run->plan.job;
	uint64_t deadline = clock_monotonic_ns() + CONNECT_MS * UINT64_C(1000000);
	for (size_t i = 0; i < job->edge_count; i++) {
		const struct job_edge *edge = &job->edges[i];
		if (!is_between_hosts(run, edge) || !run_stage(run, sends ? edge->from : edge->to)->here)
			continue;
		result opened = open_edge(run, edge, sends, deadline);
		if (opened != OK)
			return fail_within(opened, "edge '%s' with host '%s'", edge->name, host_of_stage(run, sends ? edge->to : edge->from));
	}
	return OK;
}

result remote_connect(struct run *run)
{
	struct remote *remote = run->remote;
	if (!remote)
		return OK;
	if (remote->coordinates) {
		TRY(make_tokens(run));
		for (size_t i = 0; i < remote->host_count; i++)
			TRY(hand_out_tokens(run, &remote->hosts[i]));
	} else {
		TRY(take_tokens(run));
	}
	TRY(open_edges(run, true));
	return open_edges(run, false);
}

result remote_start(struct run *run)
{
	if (!run->remote)
		return OK;
	if (run->remote->coordinates) {
		TRY(remote_wait(run, LAUNCH_READY, LINK_CONNECTED, CONNECTED_MS));
		return ask_all(run, LINK_START, NULL);
	}
	TRY(answer(run, LINK_CONNECTED, NULL));
	return remote_wait(run, LAUNCH_READY, LINK_START, CONNECTED_MS + CONNECT_MS);
}

/* ---- Steps: what the stages left -------------------------------------------------------------------- */

/* After a rotation the launches were re-issued: their level rests on evidence of the new epoch too. */
static result renew_platform(struct run *run)
{
	ROOT_IDENTITY_HELD now = root_host_hold(run->host->root);
	bool rotated = now && memcmp(now->epoch_oid, run->began_under->epoch_oid, OID_SIZE) != 0;
	return rotated && run->platform_count ? run_take_platform(run, now) : OK;
}

static result send_finished(struct run *run)
{
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	struct link_finished body = {0};
	TRY(renew_platform(run));
	TRY(root_host_history(run->host->root, &history));
	body.history = bytes_span(&history);
	TRY(run_alloc(run, run->launch_count, sizeof(*body.stages), &body.stages));
	TRY(run_alloc(run, run->platform_count, sizeof(*body.platform), &body.platform));
	for (size_t i = 0; i < run->platform_count; i++)
		body.platform[body.platform_count++].bytes = run->platform[i];
	for (size_t i = 0; i < run->plan.stage_count; i++)
		if (run->stages[i].here)
			body.stages[body.stage_count++] = (struct link_stage){run->stages[i].stage->name, *run->stages[i].left};
	return answer(run, LINK_FINISHED, &body);
}

static result take_platform(struct run *run, const struct link_finished *body)
{
	if (!run->platform_others)
		TRY(run_alloc(run, PLATFORM_PIECES, sizeof(*run->platform_others), &run->platform_others));
	for (size_t i = 0; i < body->platform_count && run->platform_other_count < PLATFORM_PIECES; i++)
		run->platform_others[run->platform_other_count++] = body->platform[i].bytes;
	return OK;
}

static result take_finished(struct run *run, struct remote_host *host)
{
	struct link_finished body;
	TRY(link_decode(&host->held[step_of(LINK_FINISHED) - 1], &run->arena, &body));
	struct bytes_item history = {body.history};
	TRY(learn_roots(run, &(struct link_epochs){&history, 1}));
	TRY(take_platform(run, &body));
	for (size_t i = 0; i < body.stage_count; i++) {
		struct stage_run *stage = run_stage(run, body.stages[i].name);
		if (!stage || stage->left || memcmp(root_of_stage(run, body.stages[i].name), host->rot_id, OID_SIZE) != 0)
			return fail(LINK_BROKEN, "host %s: a result of stage '%s', which is not its own", host->name, body.stages[i].name);
		stage->left = &body.stages[i].left;
	}
	return OK;
}

result remote_collect(struct run *run)
{
	struct remote *remote = run->remote;
	if (!remote)
		return OK;
	if (!remote->coordinates)
		return send_finished(run);
	TRY(remote_wait(run, LAUNCH_FINISHED, LINK_FINISHED, -1));
	for (size_t i = 0; i < remote->host_count; i++)
		TRY(take_finished(run, &remote->hosts[i]));
	TRY(pass_news(run));
	for (size_t i = 0; i < run->plan.stage_count; i++)
		if (!run->stages[i].left)
			return fail(LINK_BROKEN, "host '%s' left out stage '%s'", host_of_stage(run, run->stages[i].stage->name),
				run->stages[i].stage->name);
	return OK;
}

/* ---- Steps: the receipt ----------------------------------------------------------------------------- */

result remote_deliver(struct run *run)
{
	const struct link_receipt body = {bytes_span(&run->receipt)};
	if (!run->remote)
		return OK;
	TRY(ask_all(run, LINK_RECEIPT, &body));
	return remote_wait(run, LAUNCH_FINISHED, LINK_VERIFIED, LAST_MS);
}

result remote_commit(struct run *run)
{
	if (!run->remote)
		return OK;
	run->remote->over = true;
	result told = ask_all(run, LINK_COMMIT, NULL);
	if (told == OK)
		told = remote_wait(run, LAUNCH_FINISHED, LINK_PUBLISHED, PUBLISHED_MS);
	if (told != OK)
		log_failure(LOG_LEVEL_WARNING, "the run has succeeded, but not every host has said that it published its outputs", told);
	return OK;
}

result remote_receipt(struct run *run, struct bytes *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct link_receipt body;
	TRY(remote_wait(run, LAUNCH_FINISHED, LINK_RECEIPT, -1));
	TRY(link_decode(&run->remote->hosts[0].held[step_of(LINK_RECEIPT) - 1], &arena, &body));
	return bytes_copy(body.receipt, out);
}

result remote_convinced(struct run *run)
{
	TRY(answer(run, LINK_VERIFIED, NULL));
	return remote_wait(run, LAUNCH_FINISHED, LINK_COMMIT, LAST_MS);
}

void remote_published(struct run *run)
{
	run->remote->over = true;
	if (answer(run, LINK_PUBLISHED, NULL) != OK)
		log_debug("the coordinator was not told that the outputs are published");
}

/* ---- In between, and the end ------------------------------------------------------------------------ */

void remote_tell_progress(struct run *run, const char *stage, const char *state, uint64_t bytes_in, uint64_t bytes_out)
{
	const struct link_progress body = {stage, state, bytes_in, bytes_out};
	const struct remote *remote = run->remote;
	if (!remote || remote->coordinates || remote->host_count == 0 || remote->hosts[0].answered > 3)
		return;
	/* Whether it arrives is found out by whoever waits for the coordinator. */
	if (link_send(remote->hosts[0].link, LINK_PROGRESS, &body) != OK)
		log_debug("progress was not told");
}

bool remote_explains(struct run *run, result failed, struct flow_failure *out)
{
	struct remote *remote = run->remote;
	if (!remote || remote->failure.reason == OK)
		return false;
	const char *stage = remote->failure.stage;
	if (!stage[0] || !run_stage(run, stage))
		return failed != OK;
	snprintf(out->stage, sizeof(out->stage), "%s", stage);
	out->cause = remote->failure.reason;
	result told = failure_note(STAGE_FAILED, "stage %s on host '%s': %s: %s", stage, host_of_stage(run, stage), reason_name(remote->failure.reason),
		remote->failure.text);
	(void)told;
	return true;
}

/* "stage B: PROGRAM_FAILED: its text" without what the receiver puts before it again. */
static const char *bare_text(const char *text, const struct flow_failure *failure)
{
	const char *name = failure->stage[0] ? strstr(text, reason_name(failure->cause)) : NULL;
	return name && name[strlen(reason_name(failure->cause))] == ':' ? name + strlen(reason_name(failure->cause)) + 2 : text;
}

void remote_end(struct run *run, result ran, const char *text, const struct flow_failure *failure)
{
	struct remote *remote = run->remote;
	if (!remote)
		return;
	stop_heart(remote);
	const struct link_failed failed = {
		.reason = (uint32_t)(failure->stage[0] ? failure->cause : ran),
		.text = bare_text(text, failure),
		.stage = failure->stage,
	};
	for (size_t i = 0; i < remote->host_count; i++) {
		struct remote_host *host = &remote->hosts[i];
		/* Who told is not told. */
		if (ran != OK && !remote->over && remote->failure.host != host && link_send(host->link, LINK_FAILED, &failed) != OK)
			log_debug("a host was not told that the run failed", LOG_TEXT("host", host->name));
		link_end(host->link, OK);
		host->link = NULL;
	}
}

void remote_free(struct remote *remote)
{
	if (!remote)
		return;
	stop_heart(remote);
	for (size_t i = 0; i < remote->host_count; i++) {
		link_free(remote->hosts[i].link);
		for (size_t s = 0; s < COUNT_OF(steps); s++)
			link_message_free(&remote->hosts[i].held[s]);
	}
	foreign_roots_free(remote->roots);
	join_seat_free(remote->seat);
	fd_close(&remote->poll);
	pthread_cond_destroy(&remote->changed);
	pthread_mutex_destroy(&remote->lock);
	free(remote);
}
