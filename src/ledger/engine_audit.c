/* Going through the whole log: to check it, or to make anew what is made from it. */
#include "ledger/engine_internal.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct auditing {
	struct replay replay;
	struct bytes last; /* checkpoint */
};

static result audit_entry(void *arg, const struct journal_entry *entry)
{
	struct auditing *auditing = arg;
	struct batch batch;
	TRY(replay_batch(&auditing->replay, entry));
	TRY(batch_decode(entry->payload, &batch));
	bytes_free(&auditing->last);
	return bytes_copy(batch.checkpoint, &auditing->last);
}

/* All hashes lead to the last root, so its signature is one over all. */
static result check_last(const struct auditing *auditing, const struct note_key *log)
{
	struct checkpoint checkpoint;
	if (checkpoint_open(bytes_span(&auditing->last), log, &checkpoint, NULL) != OK)
		return fail(LEDGER_DAMAGED, "the last checkpoint in the log is not signed by the key of log.vkey; put a copy of the folder in its place");
	return OK;
}

/* ---- Hashes, a segment to each thread --------------------------------------------------------------- */

/*
 * What one segment comes to: the hashes of its leaves, and its batches. Reading, sums and leaf hashes are the work; who puts them
 * together in order has only the tree's nodes to make. A segment is begun when one before it was taken, so that few are held.
 */
struct part_batch {
	struct journal_entry entry; /* without its payload */
	struct ledger_leaf tail;
	struct checkpoint checkpoint;
	uint64_t refused;
};

struct part {
	struct merkle_hash *hashes;
	size_t hash_count, hash_cap;
	struct part_batch *batches;
	size_t batch_count, batch_cap;
	struct bytes last; /* checkpoint */
	result done;
	char text[200];
	bool ready;
};

enum { AHEAD = 3 };

struct hashing {
	struct ledger_engine *engine;
	uint64_t end; /* the last entry that there is */
	uint32_t segments;
	struct part *parts;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint32_t next, taken; /* segments, from 0 */
	unsigned threads;
	bool stopped;
};

static result room(void **rows, size_t *cap, size_t count, size_t size)
{
	if (count < *cap)
		return OK;
	size_t more = *cap ? *cap * 2 : 1024;
	void *grown = realloc(*rows, more * size);
	if (!grown)
		return fail(NO_MEMORY, "an audit");
	*rows = grown;
	*cap = more;
	return OK;
}

static result part_leaf(struct part *part, struct span bytes)
{
	void *rows = part->hashes;
	result grown = room(&rows, &part->hash_cap, part->hash_count, sizeof(*part->hashes));
	part->hashes = rows;
	TRY(grown);
	merkle_leaf(bytes, &part->hashes[part->hash_count++]);
	return OK;
}

static result part_batch(struct part *part, const struct journal_entry *entry, struct part_batch *row)
{
	struct batch batch;
	struct span rest, bytes;
	struct note note;
	if (entry->type != ENTRY_BATCH)
		return replay_differs(entry, "it is no batch");
	TRY(batch_decode(entry->payload, &batch));
	rest = batch.leaves;
	for (uint64_t i = 0; i < batch.tail.count; i++) {
		struct ledger_leaf leaf;
		TRY(batch_next(&rest, &bytes));
		if (ledger_leaf_decode(bytes, &leaf) != OK || leaf.kind != LEAF_TX)
			return replay_differs(entry, "a leaf is none");
		row->refused += leaf.code != OK;
		TRY(part_leaf(part, bytes));
	}
	TRY(part_leaf(part, batch.tail_bytes));
	if (note_parse(batch.checkpoint, &note) != OK || checkpoint_parse(note.text, &row->checkpoint) != OK)
		return replay_differs(entry, "its checkpoint is none");
	row->entry = *entry;
	row->entry.payload = SPAN_EMPTY;
	row->tail = batch.tail;
	bytes_free(&part->last);
	return bytes_copy(batch.checkpoint, &part->last);
}

/* The entries [first, end) of a segment. */
static result read_part(struct ledger_engine *engine, uint32_t segment, uint64_t first, uint64_t end, struct part *part)
{
	CLEANUP(journal_cursor_cleanup) struct journal_cursor *cursor = NULL;
	if (first == end)
		return OK;
	TRY(journal_cursor_open_at(engine->journal, (struct journal_place){segment, JOURNAL_SEGMENT_HEADER_SIZE}, first, &cursor));
	for (uint64_t sequence = first; sequence < end; sequence++) {
		struct journal_entry entry;
		bool more = false;
		TRY(journal_cursor_next(cursor, &entry, &more));
		if (!more)
			return fail(JOURNAL_DAMAGED, "log-%08u.log ends before entry %llu; put a copy of the folder in its place", segment,
				(unsigned long long)sequence);
		void *rows = part->batches;
		result grown = room(&rows, &part->batch_cap, part->batch_count, sizeof(*part->batches));
		part->batches = rows;
		TRY(grown);
		struct part_batch *row = &part->batches[part->batch_count];
		*row = (struct part_batch){0};
		TRY(part_batch(part, &entry, row));
		part->batch_count++;
	}
	return OK;
}

static result hash_segment(struct hashing *all, uint32_t index)
{
	uint64_t first, after = all->end + 1;
	TRY(journal_segment_first(all->engine->journal, index + 1, &first));
	if (index + 1 < all->segments)
		TRY(journal_segment_first(all->engine->journal, index + 2, &after));
	if (first > after || (index == 0 && first != 1))
		return fail(JOURNAL_DAMAGED, "log-%08u.log: the segment's header is damaged; put a copy of the folder in its place", index + 1);
	return read_part(all->engine, index + 1, first, after, &all->parts[index]);
}

static void *run_hashing(void *arg)
{
	struct hashing *all = arg;
	pthread_mutex_lock(&all->lock);
	for (;;) {
		while (!all->stopped && all->next < all->segments && all->next >= all->taken + all->threads + AHEAD)
			pthread_cond_wait(&all->cond, &all->lock);
		if (all->stopped || all->next == all->segments)
			break;
		uint32_t index = all->next++;
		pthread_mutex_unlock(&all->lock);
		struct part *part = &all->parts[index];
		result done = hash_segment(all, index);
		if (done != OK)
			snprintf(part->text, sizeof(part->text), "%s", failure_text());
		pthread_mutex_lock(&all->lock);
		part->done = done;
		part->ready = true;
		pthread_cond_broadcast(&all->cond);
	}
	pthread_mutex_unlock(&all->lock);
	return NULL;
}

/* In order: what each batch says must be what its leaves make. */
static result join_batch(struct replay *replay, const struct part_batch *row, const struct merkle_hash *hashes)
{
	const struct ledger_leaf *tail = &row->tail;
	if (tail->first != replay->head.size || tail->height != replay->head.height + 1 || tail->time < replay->head.time)
		return replay_differs(&row->entry, "it does not follow the one before");
	for (uint64_t i = 0; i <= tail->count; i++)
		frontier_add(&replay->frontier, &hashes[i]);
	struct ledger_head head = {.size = tail->first + tail->count + 1, .height = tail->height, .time = tail->time};
	memcpy(head.state_root.bytes, tail->state_root, SHA256_SIZE);
	frontier_root(&replay->frontier, &head.root);
	if (row->checkpoint.size != head.size || memcmp(&row->checkpoint.root, &head.root, sizeof(head.root)) != 0)
		return replay_differs(&row->entry, "its checkpoint has another root");
	replay->transactions += tail->count;
	replay->refused += row->refused;
	replay->head = head;
	return OK;
}

static result join_part(struct auditing *auditing, struct part *part)
{
	const struct merkle_hash *hashes = part->hashes;
	for (size_t i = 0; i < part->batch_count; i++) {
		TRY(join_batch(&auditing->replay, &part->batches[i], hashes));
		hashes += part->batches[i].tail.count + 1;
	}
	if (part->last.data) {
		bytes_free(&auditing->last);
		auditing->last = bytes_move(&part->last);
	}
	return part->done == OK ? OK : fail(part->done, "%s", part->text);
}

static void part_free(struct part *part)
{
	free(part->hashes);
	free(part->batches);
	bytes_free(&part->last);
	part->hashes = NULL;
	part->batches = NULL;
}

static result join_parts(struct hashing *all, struct auditing *auditing)
{
	for (uint32_t i = 0; i < all->segments; i++) {
		struct part *part = &all->parts[i];
		pthread_mutex_lock(&all->lock);
		while (!part->ready)
			pthread_cond_wait(&all->cond, &all->lock);
		all->taken = i + 1;
		pthread_cond_broadcast(&all->cond);
		pthread_mutex_unlock(&all->lock);
		TRY(join_part(auditing, part));
		part_free(part);
	}
	return OK;
}

static result hash_with_threads(struct hashing *all, struct auditing *auditing)
{
	pthread_t threads[64];
	unsigned wanted = engine_processors(), started = 0;
	if (wanted > all->segments)
		wanted = all->segments;
	all->threads = wanted;
	while (started < wanted && started < COUNT_OF(threads) && pthread_create(&threads[started], NULL, run_hashing, all) == 0)
		started++;
	result joined = started ? join_parts(all, auditing) : fail(NO_MEMORY, "threads of an audit");
	pthread_mutex_lock(&all->lock);
	all->stopped = true;
	pthread_cond_broadcast(&all->cond);
	pthread_mutex_unlock(&all->lock);
	for (unsigned i = 0; i < started; i++)
		(void)pthread_join(threads[i], NULL);
	return joined;
}

static result hash_all(struct ledger_engine *engine, struct auditing *auditing)
{
	struct hashing all = {.engine = engine, .end = journal_head(engine->journal).sequence, .lock = PTHREAD_MUTEX_INITIALIZER,
		.cond = PTHREAD_COND_INITIALIZER};
	uint64_t first;
	result more = OK;
	while (more == OK) {
		more = journal_segment_first(engine->journal, all.segments + 1, &first);
		all.segments += more == OK;
	}
	if (more != NOT_FOUND)
		return more;
	all.parts = calloc(all.segments ? all.segments : 1, sizeof(*all.parts));
	if (!all.parts)
		return fail(NO_MEMORY, "an audit");
	result hashed = hash_with_threads(&all, auditing);
	for (uint32_t i = 0; i < all.segments; i++)
		part_free(&all.parts[i]);
	free(all.parts);
	return hashed;
}

/* ---- Both depths --------------------------------------------------------------------------------------- */

static result replay_all(struct ledger_engine *engine, struct auditing *auditing)
{
	auditing->replay.log = &engine->log;
	auditing->replay.verify = true;
	TRY(ledger_state_new(&engine->state));
	auditing->replay.state = engine->state;
	return journal_read(engine->journal, 1, audit_entry, auditing);
}

static result audit(struct ledger_engine *engine, enum ledger_audit_depth depth, struct ledger_audit *out)
{
	struct journal_recovery recovery = {0};
	struct auditing auditing = {0};
	const struct replay *replay = &auditing.replay;
	/* For the hashes alone nothing is gained by the journal's own chain: the log's root is one over every leaf. */
	result opened = engine_open_journal(engine, true, depth == AUDIT_HASHES, &recovery);
	if (opened == NOT_FOUND)
		return fail(NOT_FOUND, "there is no ledger in %s", engine->dir);
	TRY(opened);
	TRY(engine_read_keys(engine));
	result read = depth == AUDIT_HASHES ? hash_all(engine, &auditing) : replay_all(engine, &auditing);
	if (read == OK)
		read = check_last(&auditing, &engine->log);
	bytes_free(&auditing.last);
	TRY(read);
	*out = (struct ledger_audit){.size = replay->head.size, .batches = replay->head.height, .transactions = replay->transactions,
		.refused = replay->refused, .head = replay->head};
	return OK;
}

result ledger_engine_audit(const struct ledger_engine_options *options, enum ledger_audit_depth depth, struct ledger_audit *out)
{
	struct ledger_engine_options reading = *options;
	struct ledger_engine *engine;
	reading.read_only = true;
	TRY(engine_new(&reading, &engine));
	result audited = audit(engine, depth, out);
	engine_free(engine);
	return audited;
}

static void remove_file(struct ledger_engine *engine, const char *name)
{
	(void)engine->io.unlink_at(engine->io.ctx, engine->folder, name);
}

static result remove_made(struct ledger_engine *engine)
{
	struct journal_recovery recovery;
	result opened = engine_open_journal(engine, true, false, &recovery);
	if (opened == NOT_FOUND)
		return fail(NOT_FOUND, "there is no ledger in %s", engine->dir);
	TRY(opened);
	remove_file(engine, "state.snapshot");
	remove_file(engine, "tree");
	return engine->system ? index_remove(engine->dir) : OK;
}

result ledger_engine_reindex(const struct ledger_engine_options *options)
{
	struct ledger_engine *engine;
	TRY(engine_new(options, &engine));
	result removed = remove_made(engine);
	engine_free(engine);
	TRY(removed);
	TRY(ledger_engine_open(options, &engine, NULL));
	struct ledger_head head;
	ledger_engine_head(engine, &head);
	engine_keeper_stop(engine);
	result indexed = index_enter(engine, head.size);
	if (indexed == OK)
		index_leave(engine);
	ledger_engine_close(engine);
	return indexed;
}
