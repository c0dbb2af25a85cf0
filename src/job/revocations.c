#include "job/revocations.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

enum { HEAD_EVERY_MS = 1000, LISTS_MAX = 256 << 20 };

struct revocation_host {
	struct root_host *root;
	struct revocation_feed *feed;
	uint32_t lease_ms;
	pthread_t thread;

	pthread_mutex_t acting; /* one change or head at a time: heads are published in the order of their seq */
	struct revocation_store store;
	bool fresh; /* what is published is not what is stored */
	bool ended; /* the last head ended the leases, or there was none */
	uint64_t generation, head_seq, head_time;
	char last_failure[256];

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping, wanted;
};

/* ---- Heads; `acting` is held ----------------------------------------------------------------------------------- */

static result snapshot_of(struct revocation_host *host, struct revocation_snapshot **out)
{
	struct bytes lists[REVOCATION_MAX_LISTS];
	struct span spans[REVOCATION_MAX_LISTS];
	size_t count = 0, sum = 0;
	result made = OK;
	for (size_t i = 0; i < host->store.count && made == OK; i++) {
		const struct revocation_operator *row = &host->store.rows[i];
		if (!row->pinned || row->version == 0)
			continue;
		lists[count] = BYTES_EMPTY;
		made = revocation_store_read(&host->store, row, &lists[count]);
		spans[count] = bytes_span(&lists[count]);
		sum += lists[count++].len;
		if (sum > LISTS_MAX)
			made = fail(TOO_LARGE, "all revocation lists together take more than %d bytes", LISTS_MAX);
	}
	if (made == OK)
		made = revocation_snapshot_new(spans, count, out);
	for (size_t i = 0; i < count; i++)
		bytes_free(&lists[i]);
	return made;
}

static result sign_head(struct revocation_host *host, struct arena *arena, struct span *out)
{
	struct revocation_head_row rows[REVOCATION_MAX_LISTS];
	struct ap_sign_revocation request = {.lists = rows, .lease_ms = revocation_store_pinned(&host->store) ? host->lease_ms : 0};
	for (size_t i = 0; i < host->store.count; i++) {
		const struct revocation_operator *row = &host->store.rows[i];
		if (!row->pinned || row->version == 0)
			continue;
		struct revocation_head_row *to = &rows[request.list_count++];
		to->version = row->version;
		memcpy(to->operator_id, row->id, KEY_ID_SIZE);
		memcpy(to->oid, row->oid, OID_SIZE);
	}
	return root_host_sign(host->root, KIND_REVOCATION_HEAD, &ap_sign_revocation_schema, &request, arena, out);
}

static result publish(struct revocation_host *host)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct revocation_snapshot *snapshot = NULL;
	struct revocation_head head;
	struct span object;
	TRY(sign_head(host, &arena, &object));
	TRY(object_peek(KIND_REVOCATION_HEAD, object, &arena, &head, NULL));
	if (host->fresh)
		TRY(snapshot_of(host, &snapshot));
	result published = revocation_feed_publish(host->feed, snapshot, object, head.time);
	if (published != OK) {
		revocation_snapshot_free(snapshot);
		return published;
	}
	host->generation += host->fresh;
	host->fresh = false;
	host->ended = head.lease_ms == 0;
	host->head_seq = head.seq;
	host->head_time = head.time;
	host->last_failure[0] = '\0';
	return OK;
}

static bool is_idle(const struct revocation_host *host)
{
	return host->ended && revocation_store_pinned(&host->store) == 0;
}

/* Wakes the thread: there may be heads to sign from now on. */
static void wake(struct revocation_host *host)
{
	pthread_mutex_lock(&host->lock);
	host->wanted = true;
	pthread_cond_signal(&host->changed);
	pthread_mutex_unlock(&host->lock);
}

static void one_head(struct revocation_host *host)
{
	pthread_mutex_lock(&host->acting);
	result published = is_idle(host) ? OK : publish(host);
	if (published != OK) {
		bool is_news = host->last_failure[0] == '\0';
		snprintf(host->last_failure, sizeof(host->last_failure), "%s: %s", reason_name(published), failure_text());
		if (is_news)
			log_failure(LOG_LEVEL_WARNING, "no revocation head could be signed; leases of enclaves run out", published);
	}
	pthread_mutex_unlock(&host->acting);
}

/* `lock` is held. */
static void await_turn(struct revocation_host *host, bool idle, uint64_t every_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	uint64_t ns = (uint64_t)until.tv_nsec + every_ms * UINT64_C(1000000);
	until.tv_sec += (time_t)(ns / UINT64_C(1000000000));
	until.tv_nsec = (long)(ns % UINT64_C(1000000000));
	while (!host->stopping && !host->wanted)
		if (idle)
			pthread_cond_wait(&host->changed, &host->lock);
		else if (pthread_cond_timedwait(&host->changed, &host->lock, &until) != 0)
			break;
	host->wanted = false;
}

static void *heads_main(void *arg)
{
	struct revocation_host *host = arg;
	uint64_t every = host->lease_ms / 4 < HEAD_EVERY_MS ? host->lease_ms / 4 : HEAD_EVERY_MS;
	for (bool stopping = false; !stopping;) {
		one_head(host);
		pthread_mutex_lock(&host->acting);
		bool idle = is_idle(host);
		pthread_mutex_unlock(&host->acting);
		pthread_mutex_lock(&host->lock);
		await_turn(host, idle, every);
		stopping = host->stopping;
		pthread_mutex_unlock(&host->lock);
	}
	return NULL;
}

/* ---- What a list would end ---------------------------------------------------------------------------------------- */

struct visit {
	struct arena *arena;
	const struct revocation_set *set;
	uint64_t now_ms;
	struct revocation_outcome *out;
	result failed;
};

static result add_hit(struct visit *visit, const struct revocation_known *known)
{
	struct revocation_outcome *out = visit->out;
	out->hit_total++;
	if (out->hit_count == REVOCATION_HITS_MAX)
		return OK;
	struct revocation_hit *hit = &out->hits[out->hit_count];
	TRY(arena_string(visit->arena, span_str(failure_text()), &hit->text));
	TRY(arena_string(visit->arena, span_str(known->name), &hit->enclave));
	memcpy(hit->run_id, known->run_id, RUN_ID_SIZE);
	out->hit_count++;
	return OK;
}

static void judge_known(void *ctx, const struct revocation_known *known)
{
	struct visit *visit = ctx;
	struct revocation_subject subject = revocation_known_subject(known);
	if (visit->failed == OK && revocation_judge(visit->set, &subject, visit->now_ms) != OK)
		visit->failed = add_hit(visit, known);
}

static result find_hits(struct revocation_host *host, const struct revocation_view *view, struct arena *arena, struct revocation_outcome *out)
{
	struct revocation_set set = {.lists = {*view}, .count = 1}; /* borrowed: not freed */
	struct visit visit = {arena, &set, revocation_feed_time(host->feed), out, OK};
	void *hits;
	TRY(arena_alloc(arena, REVOCATION_HITS_MAX, sizeof(*out->hits), &hits));
	out->hits = hits;
	revocation_feed_each(host->feed, judge_known, &visit);
	return visit.failed;
}

/* ---- The one way in ------------------------------------------------------------------------------------------------- */

static uint64_t entries_now(struct revocation_host *host, const uint8_t *operator_id)
{
	struct revocation_state state;
	uint64_t entries = 0;
	revocation_feed_hold(host->feed, &state);
	for (size_t i = 0; state.snapshot && i < state.snapshot->set.count; i++)
		if (memcmp(state.snapshot->set.lists[i].operator_id, operator_id, KEY_ID_SIZE) == 0)
			entries = state.snapshot->set.lists[i].count;
	revocation_feed_release(host->feed, state.snapshot);
	return entries;
}

static result describe(struct revocation_host *host, const struct revocation_operator *row, const struct revocation_view *view,
	struct arena *arena, struct revocation_outcome *out)
{
	*out = (struct revocation_outcome){
		.version = view->version,
		.before = row->version,
		.entries = view->count,
		.entries_before = entries_now(host, row->id),
		.not_after = view->not_after,
		.changed = view->version != row->version,
	};
	memcpy(out->operator_id, row->id, KEY_ID_SIZE);
	memcpy(out->oid, view->oid, OID_SIZE);
	TRY(arena_string(arena, span_str(row->label), &out->label));
	return find_hits(host, view, arena, out);
}

/* The operator that a list names, without looking at anything else of it. */
static result find_operator(struct revocation_host *host, struct span list, const struct revocation_operator **out, struct key *out_key)
{
	CLEANUP(revocation_view_free) struct revocation_view view = REVOCATION_VIEW_EMPTY;
	TRY(revocation_open(list, NULL, &view));
	const struct revocation_operator *row = revocation_store_find(&host->store, view.operator_id);
	if (!row || !row->pinned)
		return fail(REVOCATION_KEY_UNKNOWN, "version %llu", (unsigned long long)view.version);
	*out = row;
	return key_from_point(SPAN_ARRAY(row->point), out_key);
}

/* `acting` is held. */
static result load(struct revocation_host *host, struct span list, bool dry_run, struct arena *arena, struct revocation_outcome *out)
{
	CLEANUP(revocation_view_free) struct revocation_view view = REVOCATION_VIEW_EMPTY;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	const struct revocation_operator *row;
	bool changed;
	TRY(find_operator(host, list, &row, &key));
	TRY(revocation_open(list, &key, &view));
	TRY(revocation_valid_at(&view, revocation_feed_time(host->feed)));
	TRY(describe(host, row, &view, arena, out));
	if (dry_run) {
		/* What the store would say of the version, without writing proof of a conflict. */
		if (view.version < row->version)
			return fail(REVOCATION_OLD, "version %llu, %llu was taken", (unsigned long long)view.version,
				(unsigned long long)row->version);
		if (view.version == row->version && memcmp(view.oid, row->oid, OID_SIZE) != 0)
			return fail(REVOCATION_CONFLICT, "version %llu", (unsigned long long)view.version);
		return OK;
	}
	TRY(revocation_store_take(&host->store, &view, list, &changed));
	if (!changed)
		return OK;
	host->fresh = true;
	log_warning("a revocation list was taken", LOG_HEX("operator", span_of(view.operator_id, 8)), LOG_NUMBER("version", view.version),
		LOG_NUMBER("entries", view.count), LOG_NUMBER("ends", out->hit_total));
	result published = publish(host);
	return published == OK ? OK : fail_within(published, "the list is kept, but no head of it could be signed yet");
}

result revocations_load(struct revocation_host *host, struct span list, bool dry_run, struct arena *arena, struct revocation_outcome *out)
{
	pthread_mutex_lock(&host->acting);
	result loaded = load(host, list, dry_run, arena, out);
	if (loaded == REVOCATION_CONFLICT && !dry_run) {
		char text[256];
		snprintf(text, sizeof(text), "%s", failure_text());
		log_error("an operator's key has signed two lists of one version", LOG_TEXT("what", text));
		loaded = fail(REVOCATION_CONFLICT, "%s", text);
	}
	pthread_mutex_unlock(&host->acting);
	return loaded;
}

result revocations_offer(struct revocation_host *host, struct span list, bool *out_changed)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct revocation_outcome outcome;
	TRY(revocations_load(host, list, false, &arena, &outcome));
	*out_changed = outcome.changed;
	return OK;
}

result revocations_lists(struct revocation_host *host, struct arena *arena, struct span **out, size_t *out_count)
{
	struct revocation_state state;
	void *spans;
	result copied = arena_alloc(arena, REVOCATION_MAX_LISTS, sizeof(struct span), &spans);
	if (copied != OK)
		return copied;
	*out = spans;
	*out_count = 0;
	revocation_feed_hold(host->feed, &state);
	for (size_t i = 0; state.snapshot && i < state.snapshot->set.count && copied == OK; i++)
		copied = arena_copy(arena, state.snapshot->maps[i], &(*out)[(*out_count)++]);
	revocation_feed_release(host->feed, state.snapshot);
	return copied;
}

result revocations_list_of(struct revocation_host *host, const uint8_t operator_id[static KEY_ID_SIZE], struct arena *arena, struct span *out)
{
	struct revocation_state state;
	result copied = OK;
	*out = SPAN_EMPTY;
	revocation_feed_hold(host->feed, &state);
	for (size_t i = 0; state.snapshot && i < state.snapshot->set.count && copied == OK; i++)
		if (memcmp(state.snapshot->set.lists[i].operator_id, operator_id, KEY_ID_SIZE) == 0)
			copied = arena_copy(arena, state.snapshot->maps[i], out);
	revocation_feed_release(host->feed, state.snapshot);
	return copied;
}

void revocations_head(struct revocation_host *host, uint8_t out[static REVOCATION_HEAD_MAX], size_t *out_len)
{
	struct revocation_state state;
	revocation_feed_hold(host->feed, &state);
	memcpy(out, state.head, state.head_len);
	*out_len = state.head_len;
	revocation_feed_release(host->feed, state.snapshot);
}

bool revocations_version(struct revocation_host *host, const uint8_t operator_id[static KEY_ID_SIZE], uint64_t *out)
{
	pthread_mutex_lock(&host->acting);
	const struct revocation_operator *row = revocation_store_find(&host->store, operator_id);
	bool obeyed = row && row->pinned;
	*out = obeyed ? row->version : 0;
	pthread_mutex_unlock(&host->acting);
	return obeyed;
}

uint32_t revocations_lease(struct revocation_host *host)
{
	pthread_mutex_lock(&host->acting);
	uint32_t lease = revocation_store_pinned(&host->store) ? host->lease_ms : 0;
	pthread_mutex_unlock(&host->acting);
	return lease;
}

uint64_t revocations_generation(struct revocation_host *host)
{
	pthread_mutex_lock(&host->acting);
	uint64_t generation = host->generation;
	pthread_mutex_unlock(&host->acting);
	return generation;
}

/* ---- Operators -------------------------------------------------------------------------------------------------------- */

/* `acting` is held. */
static result changed_operators(struct revocation_host *host, result done)
{
	if (done != OK)
		return done;
	host->fresh = true;
	host->ended = false; /* also when the last one went: one more head says so */
	result published = publish(host);
	wake(host);
	return published == OK ? OK : fail_within(published, "the change is kept, but no head could be signed yet");
}

result revocations_pin(struct revocation_host *host, const uint8_t point[static POINT_SIZE], const char *label)
{
	pthread_mutex_lock(&host->acting);
	result pinned = changed_operators(host, revocation_store_pin(&host->store, point, label, clock_wall_ms()));
	pthread_mutex_unlock(&host->acting);
	return pinned;
}

result revocations_unpin(struct revocation_host *host, const uint8_t id[static KEY_ID_SIZE])
{
	pthread_mutex_lock(&host->acting);
	result unpinned = changed_operators(host, revocation_store_unpin(&host->store, id));
	pthread_mutex_unlock(&host->acting);
	return unpinned;
}

struct roll_call {
	struct arena *arena;
	struct revocation_status *out;
	result failed;
};

static void call_one(void *ctx, const struct revocation_known *known)
{
	struct roll_call *call = ctx;
	struct revocation_status *out = call->out;
	out->launches++;
	if (out->live_count == REVOCATION_LIVE_MAX || call->failed != OK)
		return;
	struct revocation_live *live = &out->live[out->live_count++];
	*live = (struct revocation_live){.enclave = ""};
	memcpy(live->run_id, known->run_id, RUN_ID_SIZE);
	memcpy(live->measurement, known->measurement, SHA384_SIZE);
	memcpy(live->core, known->core, SHA384_SIZE);
	memcpy(live->key, known->key, KEY_ID_SIZE);
	memcpy(live->certificate, known->certificate, SHA256_SIZE);
	memcpy(live->rot_id, known->rot_id, OID_SIZE);
	memcpy(live->epoch, known->epoch, OID_SIZE);
	memcpy(live->policy, known->policy, SHA256_SIZE);
	call->failed = arena_string(call->arena, span_str(known->name), &live->enclave);
}

static result call_roll(struct revocation_host *host, struct arena *arena, struct revocation_status *out)
{
	struct roll_call call = {arena, out, OK};
	void *live;
	TRY(arena_alloc(arena, REVOCATION_LIVE_MAX, sizeof(*out->live), &live));
	out->live = live;
	revocation_feed_each(host->feed, call_one, &call);
	return call.failed;
}

static result list_one(const struct revocation_operator *row, const struct revocation_snapshot *snapshot, struct arena *arena,
	struct revocation_listed *out)
{
	*out = (struct revocation_listed){.added = row->added, .version = row->version};
	memcpy(out->operator_id, row->id, KEY_ID_SIZE);
	memcpy(out->operator_pk, row->point, POINT_SIZE);
	memcpy(out->oid, row->oid, OID_SIZE);
	for (size_t i = 0; snapshot && i < snapshot->set.count; i++) {
		const struct revocation_view *list = &snapshot->set.lists[i];
		if (memcmp(list->operator_id, row->id, KEY_ID_SIZE) != 0)
			continue;
		out->time = list->time;
		out->not_after = list->not_after;
		out->entries = list->count;
	}
	return arena_string(arena, span_str(row->label), &out->label);
}

static result fill_status(struct revocation_host *host, struct arena *arena, struct revocation_status *out)
{
	struct revocation_state state;
	void *lists;
	result filled = OK;
	*out = (struct revocation_status){
		.lease_ms = host->lease_ms,
		.head_seq = host->head_seq,
		.head_time = host->head_time,
		.conflicts = revocation_store_conflicts(&host->store),
	};
	TRY(arena_string(arena, span_str(host->last_failure), &out->last_failure));
	TRY(arena_alloc(arena, host->store.count + 1, sizeof(*out->lists), &lists));
	out->lists = lists;
	TRY(call_roll(host, arena, out));
	revocation_feed_hold(host->feed, &state);
	for (size_t i = 0; i < host->store.count && filled == OK; i++)
		if (host->store.rows[i].pinned)
			filled = list_one(&host->store.rows[i], state.snapshot, arena, &out->lists[out->list_count++]);
	revocation_feed_release(host->feed, state.snapshot);
	return filled;
}

result revocations_status(struct revocation_host *host, struct arena *arena, struct revocation_status *out)
{
	pthread_mutex_lock(&host->acting);
	result filled = fill_status(host, arena, out);
	pthread_mutex_unlock(&host->acting);
	return filled;
}

/* ---- Start and end ---------------------------------------------------------------------------------------------------- */

static void host_free(struct revocation_host *host)
{
	revocation_feed_free(host->feed);
	pthread_cond_destroy(&host->changed);
	pthread_mutex_destroy(&host->lock);
	pthread_mutex_destroy(&host->acting);
	free(host);
}

static result begin(struct revocation_host *host, const char *state_dir)
{
	TRY(revocation_feed_new(&host->feed));
	TRY(revocation_store_load(state_dir, &host->store));
	host->fresh = true;
	host->ended = true;
	if (!is_idle(host)) {
		host->ended = false;
		/* Nothing is launched before the lists are known; that the secure processor signs nothing now is told elsewhere. */
		if (publish(host) != OK)
			log_warning("no revocation head could be signed", LOG_TEXT("why", failure_text()));
	}
	if (pthread_create(&host->thread, NULL, heads_main, host) != 0)
		return fail(NO_MEMORY, "a thread for revocation heads");
	return OK;
}

result revocations_start(struct root_host *root, const char *state_dir, uint32_t lease_ms, struct revocation_host **out)
{
	pthread_condattr_t monotonic;
	if (lease_ms)
		TRY(revocation_lease_allowed(lease_ms, 1));
	struct revocation_host *host = calloc(1, sizeof(*host));
	if (!host)
		return fail(NO_MEMORY, "revocation");
	host->root = root;
	host->lease_ms = lease_ms ? lease_ms : REVOCATION_LEASE_MS;
	pthread_mutex_init(&host->acting, NULL);
	pthread_mutex_init(&host->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&host->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	result begun = begin(host, state_dir);
	if (begun != OK) {
		host_free(host);
		return begun;
	}
	root_host_set_revocations(root, host->feed);
	*out = host;
	return OK;
}

void revocations_stop(struct revocation_host *host)
{
	if (!host)
		return;
	root_host_set_revocations(host->root, NULL);
	pthread_mutex_lock(&host->lock);
	host->stopping = true;
	pthread_cond_signal(&host->changed);
	pthread_mutex_unlock(&host->lock);
	pthread_join(host->thread, NULL);
	host_free(host);
}
