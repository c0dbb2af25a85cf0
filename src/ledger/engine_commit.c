/*
 * Submitting: who waits, in what order, and how a batch becomes durable.
 *
 * Theory of operation. A transaction's signatures are verified first, by the thread that submits it or by one of the pool.
 * Then it is ready. One thread at a time commits: it takes all that is ready, applies it, and makes it durable with one sync;
 * a waiting caller does that itself when nobody else does, so a single one hands nothing over to anybody. While the disk is
 * busy the others verify, and what became ready meanwhile is the next batch.
 */
#include "ledger/engine_internal.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- One batch ----------------------------------------------------------------------------------- */

static void set_failed(struct job *job, result failed, const char *text)
{
	job->failed = failed;
	snprintf(job->text, sizeof(job->text), "%s", text);
}

static const struct job *find_same(const struct job *first, const struct job *job)
{
	for (const struct job *at = first; at != job; at = at->next)
		if (at->receipt.on_ledger && memcmp(at->receipt.txid, job->receipt.txid, OID_SIZE) == 0)
			return at;
	return NULL;
}

static result put_leaf(struct ledger_engine *engine, const struct ledger_leaf *leaf, struct span *out)
{
	struct writer *w = &engine->entry;
	struct merkle_hash hash;
	size_t at = w->len;
	writer_u32(w, 0);
	ledger_leaf_put(leaf, w);
	struct span all;
	TRY(writer_finish(w, &all));
	uint32_t len = (uint32_t)(w->len - at - 4);
	for (size_t i = 0; i < 4; i++)
		w->data[at + i] = (uint8_t)(len >> (24 - 8 * i));
	*out = span_of(w->data + at + 4, len);
	merkle_leaf(*out, &hash);
	return merkle_append(&engine->tree, &hash);
}

static result apply_job(struct ledger_engine *engine, struct job *first, struct job *job, const struct ledger_head *next, uint64_t *count)
{
	struct contract_context ctx = {.height = next->height, .time_ms = next->time, .index = engine->head.size + *count,
		.verify = signatures_answer, .verify_arg = &job->signatures};
	struct contract_verdict verdict;
	struct span bytes;
	if (job->foreign_log_key) {
		job->receipt = (struct ledger_receipt){.code = CONFIG_INVALID};
		snprintf(job->receipt.text, sizeof(job->receipt.text), "the configuration names another log than this engine can sign for");
		return OK;
	}
	TRY(contract_apply(engine->state, job->tx, &ctx, &verdict));
	job->receipt = (struct ledger_receipt){.code = verdict.code, .on_ledger = verdict.counts};
	memcpy(job->receipt.txid, verdict.txid, OID_SIZE);
	memcpy(job->receipt.text, verdict.text, sizeof(job->receipt.text));
	struct ledger_leaf leaf = {.kind = LEAF_TX, .tx = job->tx, .code = verdict.code};
	sha256(bytes_span(&verdict.events), leaf.events_hash);
	contract_verdict_free(&verdict);
	if (!job->receipt.on_ledger) {
		job->same = job->receipt.code == TX_REPLAYED ? find_same(first, job) : NULL;
		return OK;
	}
	job->receipt.index = ctx.index;
	job->receipt.time = next->time;
	TRY(put_leaf(engine, &leaf, &bytes));
	++*count;
	return OK;
}

static result put_checkpoint(struct ledger_engine *engine, const struct ledger_head *next, struct span *out)
{
	struct writer *w = &engine->entry;
	struct checkpoint checkpoint = {.size = next->size, .root = next->root};
	uint8_t text[NOTE_NAME_MAX + 128];
	struct writer lines = writer_fixed(text, sizeof(text));
	struct span span;
	memcpy(checkpoint.origin, engine->log.name, sizeof(checkpoint.origin));
	checkpoint_put(&checkpoint, &lines);
	TRY(writer_finish(&lines, &span));
	size_t at = w->len;
	writer_u32(w, 0);
	writer_span(w, span);
	writer_str(w, "\n");
	TRY(note_sign(span, &engine->log, &engine->seed, 0, w));
	uint32_t len = (uint32_t)(w->len - at - 4);
	for (size_t i = 0; i < 4; i++)
		w->data[at + i] = (uint8_t)(len >> (24 - 8 * i));
	*out = span_of(w->data + at + 4, len);
	return OK;
}

static result make_durable(struct ledger_engine *engine, struct span payload, struct journal_entry *out)
{
	TRY(journal_append(engine->journal, ENTRY_BATCH, payload, &out->sequence));
	out->place = journal_last_place(engine->journal);
	uint64_t before = clock_monotonic_ns();
	TRY(journal_commit(engine->journal));
	uint64_t took = clock_monotonic_ns() - before;
	pthread_mutex_lock(&engine->head_lock);
	engine->statistics.sync_ns_total += took;
	if (took > engine->statistics.sync_ns_max)
		engine->statistics.sync_ns_max = took;
	pthread_mutex_unlock(&engine->head_lock);
	return OK;
}

/* The batch's last leaf, its checkpoint, and both on the disk. */
static result finish_batch(struct ledger_engine *engine, struct ledger_head *next, uint64_t count)
{
	struct writer *w = &engine->entry;
	struct ledger_leaf leaf = {.kind = LEAF_TAIL, .height = next->height, .time = next->time, .first = engine->head.size, .count = count};
	struct journal_entry entry = {.type = ENTRY_BATCH};
	struct span tail, checkpoint, all;
	TRY(ledger_state_sound(engine->state));
	ledger_state_root(engine->state, &next->state_root);
	memcpy(leaf.state_root, next->state_root.bytes, SHA256_SIZE);
	TRY(put_leaf(engine, &leaf, &tail));
	size_t tail_at = (size_t)(tail.data - w->data);
	next->size = engine->head.size + count + 1;
	TRY(merkle_root(&engine->tree, next->size, &next->root));
	TRY(put_checkpoint(engine, next, &checkpoint));
	for (size_t i = 0; i < 4; i++)
		w->data[i] = (uint8_t)((uint32_t)(count + 1) >> (24 - 8 * i));
	TRY(writer_finish(w, &all));
	tail = span_of(w->data + tail_at, tail.len);
	TRY(make_durable(engine, all, &entry));
	return engine_publish(engine, next, &entry, checkpoint, tail);
}

static result apply_jobs(struct ledger_engine *engine, struct job *first, struct ledger_head *next, uint64_t *count)
{
	ledger_state_begin(engine->state);
	contract_begin(engine->state, next->time);
	engine->entry.len = 0;
	engine->entry.failed = OK;
	writer_u32(&engine->entry, 0);
	for (struct job *job = first; job; job = job->next)
		TRY(apply_job(engine, first, job, next, count));
	return *count ? finish_batch(engine, next, *count) : OK;
}

/* As if the batch had never been tried. */
static void take_back(struct ledger_engine *engine)
{
	merkle_truncate(&engine->tree, engine->head.size);
	if (ledger_state_rollback(engine->state) != OK)
		engine->broken = true;
	bool dead = journal_discard(engine->journal) != OK;
	pthread_mutex_lock(&engine->head_lock);
	engine->statistics.failed_batches++;
	engine->statistics.poisoned = dead || engine->broken;
	pthread_mutex_unlock(&engine->head_lock);
}

static void count_batch(struct ledger_engine *engine, const struct job *first, bool made)
{
	struct ledger_statistics *s = &engine->statistics;
	pthread_mutex_lock(&engine->head_lock);
	s->batches += made;
	for (const struct job *job = first; job; job = job->next) {
		s->submitted++;
		s->counted += job->receipt.on_ledger && !job->same;
		s->refused += job->receipt.on_ledger && !job->same && job->receipt.code != OK;
		s->turned_away += !job->receipt.on_ledger;
	}
	pthread_mutex_unlock(&engine->head_lock);
}

static void fail_all(struct job *first, result failed)
{
	char text[200];
	snprintf(text, sizeof(text), "%s", failure_text());
	for (struct job *job = first; job; job = job->next) {
		job->receipt = (struct ledger_receipt){0};
		job->same = NULL;
		set_failed(job, failed, text);
	}
}

static void commit_locked(struct ledger_engine *engine, struct job *first)
{
	struct ledger_head next = {.height = engine->head.height + 1, .time = engine_now(engine, engine->head.time)};
	uint64_t count = 0;
	result made = apply_jobs(engine, first, &next, &count);
	if (made != OK) {
		fail_all(first, made);
		take_back(engine);
		return;
	}
	if (count == 0) {
		/* Nothing is appended, so the state stays that of the last TAIL: not even nonces are forgotten. */
		if (ledger_state_rollback(engine->state) != OK)
			engine->broken = true;
		count_batch(engine, first, false);
		return;
	}
	ledger_state_keep(engine->state);
	for (struct job *job = first; job; job = job->next) {
		if (job->same)
			job->receipt = job->same->receipt;
		if (job->receipt.on_ledger)
			job->receipt.size = next.size;
	}
	count_batch(engine, first, true);
	if (next.size - engine->relaxed_at >= 1 << 16) {
		merkle_relax(&engine->tree);
		engine->relaxed_at = next.size;
	}
	snapshot_maybe(engine);
}

void engine_commit(struct ledger_engine *engine, struct job *first)
{
	pthread_rwlock_wrlock(&engine->lock);
	if (engine->broken || engine_is_poisoned(engine))
		fail_all(first, fail(JOURNAL_POISONED, "an earlier write of this ledger failed: look at the disk, then start again"));
	else
		commit_locked(engine, first);
	pthread_rwlock_unlock(&engine->lock);
	keeper_wake(engine);
}

/* What was sent before has the receipt that it had. */
static void look_for_earlier(struct ledger_engine *engine, struct job *job)
{
	struct ledger_receipt earlier;
	bool may_be = !job->receipt.on_ledger && (job->receipt.code == TX_REPLAYED || job->receipt.code == TX_EXPIRED);
	if (job->failed != OK || !may_be)
		return;
	result found = ledger_engine_find(engine, job->receipt.txid, &earlier);
	if (found == OK)
		job->receipt = earlier;
	else if (found != NOT_FOUND)
		set_failed(job, found, failure_text());
}

/* ---- The queue ----------------------------------------------------------------------------------- */

static void list_add(struct job_list *list, struct job *job)
{
	job->next = NULL;
	if (list->last)
		list->last->next = job;
	else
		list->first = job;
	list->last = job;
	list->count++;
}

static struct job *list_take(struct job_list *list)
{
	struct job *job = list->first;
	list->first = job->next;
	if (!list->first)
		list->last = NULL;
	list->count--;
	job->next = NULL;
	return job;
}

/* What is ready, as a list of its own, as far as it fits into one batch. */
static struct job *take_batch(struct ledger_engine *engine)
{
	struct job_list batch = {0};
	size_t bytes = 0;
	while (engine->ready.first && batch.count < LEDGER_BATCH_MAX) {
		size_t len = engine->ready.first->tx.len + BATCH_LEAF_ROOM;
		if (batch.count && bytes + len > BATCH_BYTES_MAX)
			break;
		bytes += len;
		list_add(&batch, list_take(&engine->ready));
	}
	return batch.first;
}

/*
 * With many in flight the few that are ready first wait for those that are nearly so: one sync, one TAIL and one signature serve all.
 * Verifying goes on meanwhile, so the wait ends by itself.
 */
static bool may_commit(const struct ledger_engine *engine)
{
	size_t coming = engine->to_verify.count + engine->preparing;
	if (engine->committing || !engine->ready.first)
		return false;
	return engine->ready.count >= (coming < BATCH_GOOD ? coming : BATCH_GOOD);
}

static result take_in(struct ledger_engine *engine, size_t len)
{
	if (engine->options.read_only)
		return fail(BAD_VALUE, "the ledger is open for reading");
	if (engine->waiting >= LEDGER_WAITING_MAX || engine->waiting_bytes + len > WAITING_BYTES_MAX)
		return fail(LEDGER_BUSY, "%zu transactions wait", engine->waiting);
	engine->waiting++;
	engine->waiting_bytes += len;
	return OK;
}

void engine_prepare(struct ledger_engine *engine, struct job *job)
{
	struct transaction tx;
	struct tx_config body;
	struct cose_sign object;
	struct ledger_config config;
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	job->signatures.cache = engine->cache;
	job->signatures.count = 0;
	if (job->tx.len > TX_MAX)
		return;
	signatures_prepare(engine->cache, job->tx, &job->signatures, &job->type);
	if (job->type != TX_CONFIG)
		return;
	if (object_peek(KIND_TRANSACTION, job->tx, &arena, &tx, NULL) == OK &&
		schema_decode(&tx_config_schema, tx.body, &arena, &body) == OK && cose_strict_sign_parse(body.config, &object) == OK &&
		schema_decode(&ledger_config_schema, object.payload, &arena, &config) == OK)
		job->foreign_log_key = strcmp(config.log_name, engine->log.name) != 0 ||
			memcmp(config.log_key, engine->log.public_key, ED25519_PUBLIC_SIZE) != 0;
}

/* ---- The committing thread ------------------------------------------------------------------------ */

/* Tells one job's owner. An asynchronous job is gone afterwards. */
static void finish_job(struct ledger_engine *engine, struct job *job)
{
	if (!job->done)
		return; /* its owner is told under the queue's lock */
	look_for_earlier(engine, job);
	pthread_mutex_lock(&engine->queue_lock);
	engine->waiting--;
	engine->waiting_bytes -= job->tx.len;
	pthread_mutex_unlock(&engine->queue_lock);
	job->done(job->arg, job->failed, job->text, &job->receipt);
	bytes_free(&job->kept);
	free(job);
}

/* One batch; the queue's lock is held before and after, and `committing` was false. */
static void commit_ready(struct ledger_engine *engine)
{
	struct job *first = take_batch(engine);
	engine->committing = true;
	pthread_mutex_unlock(&engine->queue_lock);
	engine_commit(engine, first);
	pthread_mutex_lock(&engine->queue_lock);
	engine->committing = false;
	/* Who commits next: the thread for it, or the caller whose job is first. */
	if (engine->ready.first) {
		if (engine->started)
			pthread_cond_signal(&engine->ready_cond);
		else if (engine->ready.first->wake)
			pthread_cond_signal(engine->ready.first->wake);
	}
	struct job *after = NULL, **end = &after;
	for (struct job *job = first, *next; job; job = next) {
		next = job->next;
		if (job->done) {
			*end = job;
			end = &job->next;
		} else {
			job->finished = true;
			pthread_cond_signal(job->wake);
		}
	}
	*end = NULL;
	if (!after)
		return;
	pthread_mutex_unlock(&engine->queue_lock);
	for (struct job *job = after, *next; job; job = next) {
		next = job->next;
		finish_job(engine, job);
	}
	pthread_mutex_lock(&engine->queue_lock);
}


static void *run_committer(void *arg)
{
	struct ledger_engine *engine = arg;
	pthread_mutex_lock(&engine->queue_lock);
	for (;;) {
		while (!may_commit(engine) && !engine->stopping)
			pthread_cond_wait(&engine->ready_cond, &engine->queue_lock);
		if (!may_commit(engine))
			break;
		commit_ready(engine);
	}
	pthread_mutex_unlock(&engine->queue_lock);
	return NULL;
}

static void *run_verifier(void *arg)
{
	struct ledger_engine *engine = arg;
	pthread_mutex_lock(&engine->queue_lock);
	for (;;) {
		while (!engine->to_verify.first && !engine->stopping)
			pthread_cond_wait(&engine->to_verify_cond, &engine->queue_lock);
		if (!engine->to_verify.first)
			break;
		struct job *job = list_take(&engine->to_verify);
		engine->preparing++;
		pthread_mutex_unlock(&engine->queue_lock);
		engine_prepare(engine, job);
		pthread_mutex_lock(&engine->queue_lock);
		engine->preparing--;
		list_add(&engine->ready, job);
		if (may_commit(engine))
			pthread_cond_signal(&engine->ready_cond);
	}
	pthread_mutex_unlock(&engine->queue_lock);
	return NULL;
}

unsigned engine_processors(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);
	return count < 1 ? 1 : count > 64 ? 64 : (unsigned)count;
}

/* The threads for asynchronous jobs; the queue's lock is held. */
static result start_threads(struct ledger_engine *engine)
{
	unsigned wanted = engine->options.verifiers ? engine->options.verifiers : engine_processors();
	if (engine->started)
		return OK;
	if (!engine->verifiers)
		engine->verifiers = calloc(wanted, sizeof(*engine->verifiers));
	if (!engine->verifiers)
		return fail(NO_MEMORY, "verifiers");
	/* What was started when another could not be stays and is of use. */
	while (engine->verifier_count < wanted &&
		pthread_create(&engine->verifiers[engine->verifier_count], NULL, run_verifier, engine) == 0)
		engine->verifier_count++;
	if (engine->verifier_count == 0 || pthread_create(&engine->committer, NULL, run_committer, engine) != 0)
		return fail(NO_MEMORY, "threads");
	engine->started = true;
	return OK;
}

void engine_stop_threads(struct ledger_engine *engine)
{
	pthread_mutex_lock(&engine->queue_lock);
	engine->stopping = true;
	pthread_cond_broadcast(&engine->to_verify_cond);
	pthread_mutex_unlock(&engine->queue_lock);
	for (unsigned i = 0; i < engine->verifier_count; i++)
		(void)pthread_join(engine->verifiers[i], NULL);
	pthread_mutex_lock(&engine->queue_lock);
	pthread_cond_broadcast(&engine->ready_cond);
	pthread_mutex_unlock(&engine->queue_lock);
	if (engine->started)
		(void)pthread_join(engine->committer, NULL);
	free(engine->verifiers);
}

result ledger_engine_submit_async(struct ledger_engine *engine, struct span tx, ledger_done *done, void *arg)
{
	struct job *job = calloc(1, sizeof(*job));
	if (!job)
		return fail(NO_MEMORY, "a transaction");
	result taken = bytes_copy(tx, &job->kept);
	job->tx = bytes_span(&job->kept);
	job->done = done;
	job->arg = arg;
	pthread_mutex_lock(&engine->queue_lock);
	if (taken == OK)
		taken = start_threads(engine);
	if (taken == OK)
		taken = take_in(engine, tx.len);
	if (taken == OK) {
		list_add(&engine->to_verify, job);
		pthread_cond_signal(&engine->to_verify_cond);
	}
	pthread_mutex_unlock(&engine->queue_lock);
	if (taken != OK) {
		bytes_free(&job->kept);
		free(job);
	}
	return taken;
}

/* ---- Waiting callers ------------------------------------------------------------------------------ */

result ledger_engine_submit(struct ledger_engine *engine, struct span tx, struct ledger_receipt *out)
{
	pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
	struct job job = {.tx = tx, .wake = &wake};
	pthread_mutex_lock(&engine->queue_lock);
	result taken = take_in(engine, tx.len);
	engine->preparing += taken == OK;
	pthread_mutex_unlock(&engine->queue_lock);
	TRY(taken);
	engine_prepare(engine, &job);
	pthread_mutex_lock(&engine->queue_lock);
	engine->preparing--;
	list_add(&engine->ready, &job);
	while (!job.finished) {
		if (may_commit(engine))
			commit_ready(engine);
		else
			pthread_cond_wait(&wake, &engine->queue_lock);
	}
	engine->waiting--;
	engine->waiting_bytes -= tx.len;
	pthread_mutex_unlock(&engine->queue_lock);
	pthread_cond_destroy(&wake);
	look_for_earlier(engine, &job);
	if (job.failed != OK)
		return fail(job.failed, "%s", job.text);
	*out = job.receipt;
	return OK;
}

result ledger_engine_check(struct ledger_engine *engine, struct span tx, struct ledger_receipt *out)
{
	struct job job = {.tx = tx};
	struct contract_verdict verdict;
	engine_prepare(engine, &job);
	pthread_rwlock_wrlock(&engine->lock);
	struct contract_context ctx = {.height = engine->head.height + 1, .time_ms = engine_now(engine, engine->head.time),
		.index = engine->head.size, .verify = signatures_answer, .verify_arg = &job.signatures};
	result checked = engine->broken ? fail(JOURNAL_POISONED, "the ledger's state was lost: start again") : OK;
	if (checked == OK) {
		ledger_state_begin(engine->state);
		contract_begin(engine->state, ctx.time_ms);
		checked = contract_apply(engine->state, tx, &ctx, &verdict);
		if (ledger_state_rollback(engine->state) != OK)
			engine->broken = true;
	}
	pthread_rwlock_unlock(&engine->lock);
	TRY(checked);
	struct ledger_receipt receipt = {.code = verdict.code, .time = ctx.time_ms};
	memcpy(receipt.txid, verdict.txid, OID_SIZE);
	memcpy(receipt.text, verdict.text, sizeof(receipt.text));
	contract_verdict_free(&verdict);
	*out = receipt;
	return OK;
}
