/* What need not be done before an answer: the index, and snapshots. A thread of its own does it, or whoever asks. */
#include "ledger/engine_internal.h"

#include <string.h>
#include <time.h>

enum { CHUNK_LEAVES = 4096, LAG_MAX = 100 * 1000, LAG_BUSY = 16 * 1024, NAP_NS = 20 * 1000 * 1000, BRING_NODES = 1024 };

static void head_of(struct ledger_engine *engine, uint64_t *size, uint64_t *sequence)
{
	pthread_mutex_lock(&engine->head_lock);
	*size = engine->head.size;
	*sequence = engine->sequence;
	pthread_mutex_unlock(&engine->head_lock);
}

/* ---- Index ---------------------------------------------------------------------------------------- */

static result fetch(const struct ledger_engine *engine, struct journal_place place, uint64_t sequence, struct bytes *buffer,
	struct journal_entry *entry, struct journal_place *next)
{
	result got = journal_fetch(engine->journal, place, sequence, buffer, entry, next);
	if (got == NOT_FOUND)
		got = journal_fetch(engine->journal, journal_next_segment(place), sequence, buffer, entry, next);
	if (got == NOT_FOUND)
		return fail(LEDGER_DAMAGED, "log-%08u.log, offset %llu: batch %llu is not there; put a copy of the folder in its place", place.segment,
			(unsigned long long)place.offset, (unsigned long long)sequence);
	return got;
}

static result add_leaf(struct ledger_index *index, uint64_t at, uint64_t size, struct span bytes)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct index_leaf row = {.index = at, .size = size};
	struct ledger_leaf leaf;
	struct transaction tx;
	uint8_t txid[OID_SIZE], address[ADDRESS_SIZE];
	TRY(ledger_leaf_decode(bytes, &leaf));
	if (leaf.kind != LEAF_TX || object_peek(KIND_TRANSACTION, leaf.tx, &arena, &tx, txid) != OK)
		return fail(LEDGER_DAMAGED, "leaf %llu is no transaction; put a copy of the folder in its place", (unsigned long long)at);
	address_of(tx.sender, address);
	row.txid = index_name(txid);
	row.sender = index_name(address);
	row.type = tx.type;
	row.code = leaf.code;
	return index_add_leaf(index, &row);
}

static result add_batch(struct ledger_index *index, const struct journal_entry *entry, struct index_batch *last)
{
	struct batch batch;
	struct span rest, leaf;
	TRY(batch_decode(entry->payload, &batch));
	struct index_batch row = {.size = batch.tail.first + batch.count, .first = batch.tail.first, .time = batch.tail.time,
		.sequence = entry->sequence, .place = entry->place};
	rest = batch.leaves;
	for (uint64_t i = 0; i < batch.tail.count; i++) {
		TRY(batch_next(&rest, &leaf));
		TRY(add_leaf(index, row.first + i, row.size, leaf));
	}
	TRY(index_add_batch(index, &row));
	*last = row;
	return OK;
}

/* Goes on after `last` until the log's end or some thousand leaves. */
static result add_chunk(struct ledger_engine *engine, struct ledger_index *index, struct index_batch *last, uint64_t sequence)
{
	CLEANUP(bytes_free) struct bytes buffer = BYTES_EMPTY;
	struct journal_entry entry;
	struct journal_place next = {1, JOURNAL_SEGMENT_HEADER_SIZE};
	uint64_t begin = last->size;
	if (last->sequence)
		TRY(fetch(engine, last->place, last->sequence, &buffer, &entry, &next));
	while (last->sequence < sequence && last->size - begin < CHUNK_LEAVES) {
		TRY(fetch(engine, next, last->sequence + 1, &buffer, &entry, &next));
		TRY(add_batch(index, &entry, last));
	}
	return OK;
}

static result catch_up_once(struct ledger_engine *engine, struct ledger_index *index, uint64_t sequence, uint64_t *out_size)
{
	struct index_batch last = {0};
	bool there;
	TRY(index_last(index, &last, &there));
	*out_size = last.size;
	if (last.sequence >= sequence)
		return OK;
	TRY(index_begin(index));
	result added = add_chunk(engine, index, &last, sequence);
	/* What was added is right, also when the next could not be. */
	result ended = index_end(index);
	TRY(added);
	TRY(ended);
	*out_size = last.size;
	return OK;
}

/* Whether the last batch that the index knows is the one in the journal: else it is of another life of this folder. */
static bool fits(struct ledger_engine *engine, uint64_t sequence)
{
	CLEANUP(bytes_free) struct bytes buffer = BYTES_EMPTY;
	struct index_batch last;
	struct journal_entry entry;
	struct batch batch;
	bool there;
	if (index_last(engine->index, &last, &there) != OK)
		return false;
	if (!there)
		return true;
	return last.sequence <= sequence && journal_fetch(engine->journal, last.place, last.sequence, &buffer, &entry, NULL) == OK &&
		batch_decode(entry.payload, &batch) == OK && batch.tail.first == last.first && batch.tail.first + batch.count == last.size;
}

static result open_index(struct ledger_engine *engine, uint64_t sequence)
{
	bool made;
	const char *dir = engine->system && !engine->options.read_only ? engine->dir : NULL;
	if (engine->index)
		return OK;
	TRY(index_open(dir, engine->chain, &engine->index, &made));
	return made || fits(engine, sequence) ? OK : index_clear(engine->index);
}

/* An index that fails is made anew by whoever needs it next. */
static void drop_index(struct ledger_engine *engine, result why)
{
	if (why == OK || why == DISK_FULL || why == NO_MEMORY || why == LEDGER_DAMAGED || why == JOURNAL_DAMAGED)
		return;
	index_close(engine->index);
	engine->index = NULL;
	if (engine->system && !engine->options.read_only)
		(void)!index_remove(engine->dir);
}

/* What the index has no room for, beside it in memory: as much as was committed since the disk was full. */
static result open_overlay(struct ledger_engine *engine)
{
	struct ledger_index *overlay = NULL;
	struct index_batch last = {0};
	bool there = false, made;
	if (engine->overlay)
		return OK;
	if (engine->index)
		TRY(index_last(engine->index, &last, &there));
	TRY(index_open(NULL, engine->chain, &overlay, &made));
	result begun = there ? index_add_batch(overlay, &last) : OK;
	if (begun != OK) {
		index_close(overlay);
		return begun;
	}
	engine->overlay = overlay;
	return OK;
}

static result advance_overlay(struct ledger_engine *engine, uint64_t sequence, uint64_t *out_size)
{
	TRY(open_overlay(engine));
	return catch_up_once(engine, engine->overlay, sequence, out_size);
}

static void close_overlay(struct ledger_engine *engine)
{
	index_close(engine->overlay);
	engine->overlay = NULL;
}

static result advance(struct ledger_engine *engine, uint64_t sequence, uint64_t *out_size)
{
	result done = open_index(engine, sequence);
	if (done == OK)
		done = catch_up_once(engine, engine->index, sequence, out_size);
	drop_index(engine, done);
	if (done == DISK_FULL)
		done = advance_overlay(engine, sequence, out_size);
	else
		close_overlay(engine);
	if (done != OK)
		return done;
	pthread_mutex_lock(&engine->head_lock);
	engine->statistics.indexed = *out_size;
	pthread_mutex_unlock(&engine->head_lock);
	return OK;
}

static result index_reach(struct ledger_engine *engine, uint64_t size)
{
	uint64_t head, sequence, reached = 0;
	head_of(engine, &head, &sequence);
	for (bool first = true;; first = false) {
		TRY(advance(engine, sequence, &reached));
		if (reached >= size || reached >= head)
			return OK;
		if (first && engine->keeper_runs && size - reached > LAG_MAX) {
			keeper_wake(engine);
			return fail(LEDGER_INDEXING, "%llu of %llu leaves", (unsigned long long)reached, (unsigned long long)head);
		}
	}
}

result index_enter(struct ledger_engine *engine, uint64_t size)
{
	pthread_mutex_lock(&engine->index_lock);
	result reached = index_reach(engine, size);
	if (reached != OK)
		pthread_mutex_unlock(&engine->index_lock);
	return reached;
}

void index_leave(struct ledger_engine *engine)
{
	pthread_mutex_unlock(&engine->index_lock);
}

result engine_index_batch(struct ledger_engine *engine, uint64_t leaf, struct index_batch *out)
{
	result found = engine->index ? index_batch_of(engine->index, leaf, out) : NOT_FOUND;
	return found == NOT_FOUND && engine->overlay ? index_batch_of(engine->overlay, leaf, out) : found;
}

/* The overlay's leaves come after those of the index. */
result engine_index_find(struct ledger_engine *engine, uint64_t txid, struct index_leaf *out, size_t max, size_t *out_count)
{
	size_t count = 0, more = 0;
	if (engine->index)
		TRY(index_find(engine->index, txid, out, max, &count));
	if (engine->overlay && count < max)
		TRY(index_find(engine->overlay, txid, out + count, max - count, &more));
	*out_count = count + more;
	return OK;
}

result engine_index_select(struct ledger_engine *engine, const struct index_filter *filter, struct index_leaf *out, size_t max, size_t *out_count)
{
	struct index_filter rest = *filter;
	size_t count = 0, more = 0;
	if (engine->index)
		TRY(index_select(engine->index, filter, out, max, &count));
	if (count)
		rest.from = out[count - 1].index + 1; /* the index may have come to have some of both */
	if (engine->overlay && count < max)
		TRY(index_select(engine->overlay, &rest, out + count, max - count, &more));
	*out_count = count + more;
	return OK;
}

/* ---- The thread ----------------------------------------------------------------------------------- */

/* True when there is more to index. */
static bool index_some(struct ledger_engine *engine)
{
	uint64_t head, sequence, reached = 0;
	head_of(engine, &head, &sequence);
	pthread_mutex_lock(&engine->index_lock);
	result advanced = sequence ? advance(engine, sequence, &reached) : OK;
	pthread_mutex_unlock(&engine->index_lock);
	return advanced == OK && reached < head;
}

static void write_pending(struct ledger_engine *engine)
{
	struct snapshot_pending pending = engine->snapshot;
	engine->snapshot = (struct snapshot_pending){0};
	pthread_mutex_unlock(&engine->keeper_lock);
	result written = snapshot_write(engine, &pending);
	uint64_t size = pending.size;
	snapshot_pending_free(&pending);
	pthread_mutex_lock(&engine->keeper_lock);
	engine->snapshot_busy = false;
	if (written == OK)
		engine->snapshot_size = size;
}

/* ---- The state, read whole ------------------------------------------------------------------------ */

static result apply_again(void *arg, const struct journal_entry *entry)
{
	return replay_batch(arg, entry);
}

/* From the journal alone, to where the ledger stands. Whoever asks waits. */
static result make_state(struct ledger_engine *engine)
{
	struct replay replay = {.roots_from = engine->sequence};
	TRY(ledger_state_new(&replay.state));
	result made = journal_read(engine->journal, 1, apply_again, &replay);
	if (made == OK && replay.head.size != engine->head.size)
		made = fail(LEDGER_DAMAGED, "the log ends elsewhere");
	if (made != OK) {
		ledger_state_free(replay.state);
		return made;
	}
	ledger_state_free(engine->state);
	engine->state = replay.state;
	return OK;
}

/* The snapshot was damaged: what was answered so far was checked, and from here on it is no longer needed. */
static void mend_state(struct ledger_engine *engine)
{
	engine->broken = make_state(engine) != OK;
	engine->snapshot_file.whole = true;
	pthread_mutex_lock(&engine->head_lock);
	engine->statistics.poisoned = engine->broken;
	pthread_mutex_unlock(&engine->head_lock);
}

/* In small steps, so that nobody waits for long. */
static void bring_some(struct ledger_engine *engine)
{
	bool done = true;
	pthread_rwlock_wrlock(&engine->lock);
	result brought = ledger_state_bring(engine->state, BRING_NODES, &done);
	if (brought == LEDGER_DAMAGED)
		mend_state(engine);
	if (done && brought != NO_MEMORY)
		snapshot_release(engine);
	pthread_rwlock_unlock(&engine->lock);
	engine->bringing = !done;
}

/* Others first: while transactions wait, the index may stay behind for a while. */
static bool should_wait(struct ledger_engine *engine)
{
	pthread_mutex_lock(&engine->queue_lock);
	bool busy = engine->waiting > 0;
	pthread_mutex_unlock(&engine->queue_lock);
	pthread_mutex_lock(&engine->head_lock);
	bool far = engine->head.size - engine->statistics.indexed > LAG_BUSY;
	pthread_mutex_unlock(&engine->head_lock);
	return busy && !far;
}

static void nap(struct ledger_engine *engine)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += NAP_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	(void)pthread_cond_timedwait(&engine->keeper_cond, &engine->keeper_lock, &until);
}

static bool has_work(struct ledger_engine *engine)
{
	pthread_mutex_lock(&engine->head_lock);
	bool behind = engine->head.size != engine->keeper_seen;
	pthread_mutex_unlock(&engine->head_lock);
	return behind || engine->snapshot_busy;
}

static void *run_keeper(void *arg)
{
	struct ledger_engine *engine = arg;
	pthread_mutex_lock(&engine->keeper_lock);
	while (!engine->keeper_stops) {
		if (engine->snapshot_busy) {
			write_pending(engine);
			continue;
		}
		if (engine->bringing) {
			pthread_mutex_unlock(&engine->keeper_lock);
			bring_some(engine);
			pthread_mutex_lock(&engine->keeper_lock);
			continue;
		}
		__atomic_store_n(&engine->keeper_asleep, true, __ATOMIC_SEQ_CST);
		if (!has_work(engine)) {
			pthread_cond_wait(&engine->keeper_cond, &engine->keeper_lock);
			continue;
		}
		__atomic_store_n(&engine->keeper_asleep, false, __ATOMIC_SEQ_CST);
		if (should_wait(engine)) {
			nap(engine);
			continue;
		}
		pthread_mutex_lock(&engine->head_lock);
		uint64_t seen = engine->head.size;
		pthread_mutex_unlock(&engine->head_lock);
		pthread_mutex_unlock(&engine->keeper_lock);
		bool more = index_some(engine);
		pthread_mutex_lock(&engine->keeper_lock);
		if (!more)
			engine->keeper_seen = seen;
	}
	pthread_mutex_unlock(&engine->keeper_lock);
	return NULL;
}

void keeper_wake(struct ledger_engine *engine)
{
	if (!__atomic_load_n(&engine->keeper_asleep, __ATOMIC_SEQ_CST))
		return;
	pthread_mutex_lock(&engine->keeper_lock);
	pthread_cond_signal(&engine->keeper_cond);
	pthread_mutex_unlock(&engine->keeper_lock);
}

result engine_keeper_start(struct ledger_engine *engine)
{
	if (!engine->system || engine->options.read_only)
		return OK;
	engine->bringing = true;
	if (pthread_create(&engine->keeper, NULL, run_keeper, engine) != 0)
		return fail(NO_MEMORY, "the ledger's keeper");
	engine->keeper_runs = true;
	return OK;
}

void engine_keeper_stop(struct ledger_engine *engine)
{
	if (!engine->keeper_runs)
		return;
	pthread_mutex_lock(&engine->keeper_lock);
	engine->keeper_stops = true;
	pthread_cond_signal(&engine->keeper_cond);
	pthread_mutex_unlock(&engine->keeper_lock);
	(void)pthread_join(engine->keeper, NULL);
	engine->keeper_runs = false;
}
