#include "ledger/engine_internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "store/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opening, closing and the folder's files. Reading stands in engine_read.c, submitting in engine_commit.c. */

static const char key_name[] = "log.key", vkey_name[] = "log.vkey", tree_name[] = "tree", journal_name[] = "log";

enum { PREALLOCATE = 4 << 20 };

uint64_t engine_now(const struct ledger_engine *engine, uint64_t before)
{
	uint64_t now = engine->options.now_ms ? engine->options.now_ms(engine->options.now_arg) : clock_wall_ms();
	return now > before ? now : before;
}

bool engine_is_poisoned(struct ledger_engine *engine)
{
	pthread_mutex_lock(&engine->head_lock);
	bool poisoned = engine->statistics.poisoned;
	pthread_mutex_unlock(&engine->head_lock);
	return poisoned;
}

/* ---- Making and freeing ---------------------------------------------------------------------------- */

static void cond_monotonic(pthread_cond_t *cond)
{
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attributes);
	pthread_condattr_destroy(&attributes);
}

result engine_new(const struct ledger_engine_options *options, struct ledger_engine **out)
{
	struct ledger_engine *engine = calloc(1, sizeof(*engine));
	if (!engine)
		return fail(NO_MEMORY, "a ledger");
	engine->options = *options;
	engine->system = !options->io;
	engine->io = options->io ? *options->io : store_io_system;
	engine->tree = MERKLE_TREE_EMPTY;
	engine->entry = writer_growing(JOURNAL_PAYLOAD_MAX);
	engine->folder = engine->tree_fd = engine->snapshot_file.fd = -1;
	pthread_rwlock_init(&engine->lock, NULL);
	pthread_mutex_init(&engine->head_lock, NULL);
	pthread_mutex_init(&engine->queue_lock, NULL);
	pthread_mutex_init(&engine->index_lock, NULL);
	pthread_mutex_init(&engine->keeper_lock, NULL);
	pthread_mutex_init(&engine->cosign_lock, NULL);
	pthread_cond_init(&engine->to_verify_cond, NULL);
	cond_monotonic(&engine->ready_cond);
	cond_monotonic(&engine->keeper_cond);
	engine->dir = strdup(options->dir);
	result made = engine->dir ? signature_cache_new(&engine->cache) : fail(NO_MEMORY, "a ledger");
	if (made == OK) {
		engine->folder = engine->io.open_at(engine->io.ctx, AT_FDCWD, options->dir, O_RDONLY | O_DIRECTORY, 0);
		if (engine->folder < 0)
			made = fail_errno("opening the ledger's folder %s", options->dir);
	}
	if (made != OK) {
		engine_free(engine);
		return made;
	}
	*out = engine;
	return OK;
}

void engine_free(struct ledger_engine *engine)
{
	journal_close(engine->journal);
	index_close(engine->index);
	index_close(engine->overlay);
	ledger_state_free(engine->state);
	snapshot_pending_free(&engine->snapshot);
	snapshot_close(engine);
	merkle_free(&engine->tree);
	writer_free(&engine->entry);
	if (engine->tree_fd >= 0)
		(void)close(engine->tree_fd);
	if (engine->folder >= 0)
		(void)engine->io.close(engine->io.ctx, engine->folder);
	secret_free(&engine->seed);
	signature_cache_free(engine->cache);
	bytes_free(&engine->checkpoint);
	bytes_free(&engine->cosignatures);
	bytes_free(&engine->tail);
	pthread_rwlock_destroy(&engine->lock);
	pthread_mutex_destroy(&engine->head_lock);
	pthread_mutex_destroy(&engine->queue_lock);
	pthread_mutex_destroy(&engine->index_lock);
	pthread_mutex_destroy(&engine->keeper_lock);
	pthread_mutex_destroy(&engine->cosign_lock);
	pthread_cond_destroy(&engine->to_verify_cond);
	pthread_cond_destroy(&engine->ready_cond);
	pthread_cond_destroy(&engine->keeper_cond);
	free(engine->dir);
	free(engine);
}

void ledger_engine_close(struct ledger_engine *engine)
{
	struct snapshot_pending pending = {0};
	if (!engine)
		return;
	engine_stop_threads(engine);
	engine_keeper_stop(engine);
	bool changed = engine->head.size != engine->snapshot_size || engine->snapshot_file.whole;
	if (changed && !engine->options.read_only && !engine->broken && engine->head.size && snapshot_take(engine, &pending) == OK)
		(void)!snapshot_write(engine, &pending);
	snapshot_pending_free(&pending);
	engine_free(engine);
}

void ledger_engine_cleanup(struct ledger_engine **at)
{
	ledger_engine_close(*at);
}

/* ---- Small files ------------------------------------------------------------------------------------ */

static result open_small(struct ledger_engine *engine, const char *name, int flags, int *out)
{
	int fd = engine->io.open_at(engine->io.ctx, engine->folder, name, flags, 0600);
	if (fd < 0)
		return fail_errno("opening %s", name);
	*out = fd;
	return OK;
}

result engine_read_small(struct ledger_engine *engine, const char *name, void *out, size_t max, size_t *out_len)
{
	int fd;
	TRY(open_small(engine, name, O_RDONLY, &fd));
	result read = transfer_read_some(&engine->io, fd, out, max, 0, out_len);
	(void)engine->io.close(engine->io.ctx, fd);
	return read;
}

static result write_durable(struct ledger_engine *engine, int fd, struct span content, const char *name)
{
	TRY(transfer_write(&engine->io, fd, content, 0, "ledger.write"));
	return engine->io.sync(engine->io.ctx, fd) < 0 ? fail_errno("making %s durable", name) : OK;
}

result engine_write_small(struct ledger_engine *engine, const char *name, struct span content)
{
	char temp[64];
	int fd;
	snprintf(temp, sizeof(temp), "%s.tmp", name);
	TRY(open_small(engine, temp, O_RDWR | O_CREAT | O_TRUNC, &fd));
	result written = write_durable(engine, fd, content, temp);
	(void)engine->io.close(engine->io.ctx, fd);
	TRY(written);
	if (engine->io.rename_at(engine->io.ctx, engine->folder, temp, name) < 0)
		return fail_errno("naming %s", name);
	return engine->io.sync(engine->io.ctx, engine->folder) < 0 ? fail_errno("making %s durable", name) : OK;
}

/* ---- Keys --------------------------------------------------------------------------------------------- */

result engine_read_keys(struct ledger_engine *engine)
{
	char text[NOTE_VKEY_SIZE + 8];
	uint8_t point[ED25519_PUBLIC_SIZE];
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	size_t len;
	TRY(secret_new(ED25519_SEED_SIZE + 1, &seed));
	TRY(engine_read_small(engine, vkey_name, text, sizeof(text), &len));
	if (len == 0 || text[len - 1] != '\n' || note_key_parse(span_of(text, len - 1), &engine->log) != OK)
		return fail(LEDGER_DAMAGED, "%s is not a log's public key; put a copy of it in its place", vkey_name);
	result read = engine->options.read_only ? NO_PERMISSION : engine_read_small(engine, key_name, seed.data, seed.len, &len);
	/* Whoever only reads needs no key, and may not be allowed to see it. */
	if (engine->options.read_only)
		return OK;
	TRY(read);
	if (len == ED25519_SEED_SIZE)
		TRY(secret_copy(span_of(seed.data, len), &engine->seed));
	if (len != ED25519_SEED_SIZE || ed25519_public(&engine->seed, point) != OK || memcmp(point, engine->log.public_key, sizeof(point)) != 0)
		return fail(LEDGER_DAMAGED, "%s is not the key of %s; put a copy of it in its place", key_name, vkey_name);
	return OK;
}

static result make_keys(struct ledger_engine *engine, const char *log_name)
{
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	uint8_t point[ED25519_PUBLIC_SIZE];
	char text[NOTE_VKEY_SIZE], line[NOTE_VKEY_SIZE + 1];
	struct note_key key;
	TRY(ed25519_generate(&seed));
	TRY(ed25519_public(&seed, point));
	TRY(note_key_new(log_name, NOTE_KEY_LOG, point, &key));
	note_key_format(&key, text);
	snprintf(line, sizeof(line), "%s\n", text);
	TRY(engine_write_small(engine, key_name, secret_span(&seed)));
	return engine_write_small(engine, vkey_name, span_str(line));
}

/* ---- Opening -------------------------------------------------------------------------------------------- */

result engine_publish(struct ledger_engine *engine, const struct ledger_head *head, const struct journal_entry *entry,
	struct span checkpoint, struct span tail)
{
	struct bytes kept_checkpoint = BYTES_EMPTY, kept_tail = BYTES_EMPTY;
	result copied = bytes_copy(checkpoint, &kept_checkpoint);
	if (copied == OK)
		copied = bytes_copy(tail, &kept_tail);
	pthread_mutex_lock(&engine->head_lock);
	engine->head = *head;
	engine->sequence = entry->sequence;
	engine->place = entry->place;
	bytes_free(&engine->checkpoint);
	bytes_free(&engine->cosignatures);
	bytes_free(&engine->tail);
	engine->checkpoint = kept_checkpoint;
	engine->tail = kept_tail;
	pthread_mutex_unlock(&engine->head_lock);
	/* The batch is durable in any case: without memory for its checkpoint only that cannot be given out. */
	(void)copied;
	return OK;
}

result engine_open_journal(struct ledger_engine *engine, bool must_exist, bool trusted, struct journal_recovery *recovery)
{
	uint64_t room = engine->options.segment_max && engine->options.segment_max < PREALLOCATE ? engine->options.segment_max : PREALLOCATE;
	struct journal_options options = {.segment_max = engine->options.segment_max, .preallocate = room, .zeros = true, .single = true,
		.lazy_head = true, .must_exist = must_exist, .trusted = trusted, .read_only = engine->options.read_only,
		.io = engine->options.io};
	journal_close(engine->journal);
	engine->journal = NULL;
	return journal_open(engine->dir, journal_name, &options, &engine->journal, recovery);
}

/* The snapshot must be of a batch of this journal, with that batch's roots. */
static result match_snapshot(struct ledger_engine *engine, const struct snapshot *snapshot, struct replay *replay, struct bytes *buffer)
{
	struct journal_entry entry;
	struct batch batch;
	struct checkpoint checkpoint;
	result read = journal_fetch(engine->journal, snapshot->place, snapshot->sequence, buffer, &entry, NULL);
	if (read != OK)
		return fail(LEDGER_DAMAGED, "state.snapshot names a batch that is not there: %s", failure_text());
	TRY(batch_decode(entry.payload, &batch));
	struct ledger_head head = {.size = batch.tail.first + batch.count, .height = batch.tail.height, .time = batch.tail.time,
		.root = snapshot->root, .state_root = snapshot->state_root};
	TRY(checkpoint_open(batch.checkpoint, &engine->log, &checkpoint, NULL));
	bool same = head.size == snapshot->size && head.height == snapshot->height && head.time == snapshot->time &&
		memcmp(batch.tail.state_root, snapshot->state_root.bytes, SHA256_SIZE) == 0 && checkpoint.size == head.size &&
		memcmp(&checkpoint.root, &snapshot->root, sizeof(snapshot->root)) == 0;
	if (!same)
		return fail(LEDGER_DAMAGED, "state.snapshot is not of the batch that it names");
	replay->head = head;
	return engine_publish(engine, &head, &entry, batch.checkpoint, batch.tail_bytes);
}

static result use_snapshot(struct ledger_engine *engine, struct replay *replay)
{
	CLEANUP(bytes_free) struct bytes buffer = BYTES_EMPTY;
	struct snapshot snapshot;
	uint64_t last = journal_head(engine->journal).sequence;
	TRY(snapshot_read(engine, &snapshot, &engine->state));
	/* Whoever puts back an old journal makes the ledger tell another story than it told. */
	if (snapshot.sequence > last)
		return fail(LEDGER_ROLLED_BACK,
			"state.snapshot knows batch %llu (size %llu) but the log ends with %llu: the log is an older copy. Put the whole folder "
			"back from one copy; troth ledger reindex goes on from the older log, which whoever has a newer checkpoint will notice",
			(unsigned long long)snapshot.sequence, (unsigned long long)snapshot.size, (unsigned long long)last);
	TRY(match_snapshot(engine, &snapshot, replay, &buffer));
	engine->snapshot_size = engine->snapshot_size_pending = snapshot.size;
	return OK;
}

struct making {
	struct replay replay;
	uint64_t target;
};

static result hash_entry(void *arg, const struct journal_entry *entry)
{
	struct making *making = arg;
	return making->replay.head.size >= making->target ? OK : replay_batch(&making->replay, entry);
}

/* The hashes of the leaves up to `head`, from the journal. */
static result make_tree(struct ledger_engine *engine, const struct ledger_head *head)
{
	struct making making = {.replay = {.tree = &engine->tree}, .target = head->size};
	if (head->size == 0)
		return OK;
	TRY(journal_read(engine->journal, 1, hash_entry, &making));
	const struct ledger_head *made = &making.replay.head;
	if (made->size != head->size || memcmp(&made->root, &head->root, sizeof(head->root)) != 0)
		return fail(LEDGER_DAMAGED, "state.snapshot and the log do not agree; run troth ledger reindex");
	return OK;
}

static result open_tree(struct ledger_engine *engine, const struct ledger_head *head, struct ledger_recovery *recovery)
{
	merkle_free(&engine->tree);
	if (engine->system && !engine->options.read_only) {
		if (engine->tree_fd < 0)
			engine->tree_fd = engine->io.open_at(engine->io.ctx, engine->folder, tree_name, O_RDWR | O_CREAT, 0600);
		if (engine->tree_fd < 0)
			return fail_errno("opening %s", tree_name);
		result mapped = merkle_map(engine->tree_fd, head->size, &head->root, &engine->tree);
		if (mapped != NOT_FOUND)
			return mapped;
		TRY(merkle_map_empty(engine->tree_fd, &engine->tree));
	}
	recovery->tree_made = head->size > 0;
	return make_tree(engine, head);
}

struct loading {
	struct ledger_engine *engine;
	struct replay *replay;
	uint64_t after; /* entries up to this are in the state already */
};

static result load_entry(void *arg, const struct journal_entry *entry)
{
	struct loading *loading = arg;
	struct batch batch;
	if (entry->sequence <= loading->after)
		return OK;
	TRY(replay_batch(loading->replay, entry));
	TRY(batch_decode(entry->payload, &batch));
	return engine_publish(loading->engine, &loading->replay->head, entry, batch.checkpoint, batch.tail_bytes);
}

static result replay_tail(struct ledger_engine *engine, struct replay *replay)
{
	CLEANUP(journal_cursor_cleanup) struct journal_cursor *cursor = NULL;
	struct loading loading = {engine, replay, engine->sequence};
	if (engine->sequence)
		TRY(journal_cursor_open_at(engine->journal, engine->place, engine->sequence, &cursor));
	else
		TRY(journal_cursor_open(engine->journal, 1, &cursor));
	for (;;) {
		struct journal_entry entry;
		bool more = false;
		TRY(journal_cursor_next(cursor, &entry, &more));
		if (!more)
			return OK;
		TRY(load_entry(&loading, &entry));
	}
}

/* Without a usable snapshot nothing is trusted: the journal is walked from its first entry. */
static result begin_anew(struct ledger_engine *engine, struct replay *replay, struct ledger_recovery *recovery)
{
	struct journal_recovery walked = {0};
	ledger_state_free(engine->state);
	engine->state = NULL;
	snapshot_close(engine);
	engine->snapshot_size = 0;
	replay->head = (struct ledger_head){0};
	engine->sequence = 0;
	recovery->from_start = true;
	TRY(engine_open_journal(engine, true, false, &walked));
	recovery->kept += walked.kept;
	recovery->cut_bytes += walked.cut_bytes;
	return ledger_state_new(&engine->state);
}

static result check_config(struct ledger_engine *engine)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct ledger_config config;
	TRY(contract_config(engine->state, &arena, &config, engine->chain));
	if (memcmp(config.log_key, engine->log.public_key, ED25519_PUBLIC_SIZE) != 0 || strcmp(config.log_name, engine->log.name) != 0)
		return fail(LEDGER_DAMAGED, "%s is not the log that the configuration names; put a copy of it in its place", vkey_name);
	return OK;
}

/* From the state that stands at replay->head to the journal's end. */
static result load_rest(struct ledger_engine *engine, struct replay *replay, struct ledger_recovery *recovery)
{
	replay->state = engine->state;
	replay->roots_from = journal_head(engine->journal).sequence;
	TRY(open_tree(engine, &replay->head, recovery));
	uint64_t before = replay->head.size;
	TRY(replay_tail(engine, replay));
	recovery->replayed = replay->head.size - before;
	return check_config(engine);
}

/* *out_whole: the log must be gone through from its beginning. A record of the snapshot may turn out to be damaged only while replaying. */
static result load_snapshot(struct ledger_engine *engine, struct ledger_recovery *recovery, bool *out_whole)
{
	struct replay replay = {.tree = &engine->tree};
	result used = use_snapshot(engine, &replay);
	*out_whole = used != OK && used != LEDGER_ROLLED_BACK && used != NO_MEMORY;
	TRY(used);
	result loaded = load_rest(engine, &replay, recovery);
	*out_whole = loaded == LEDGER_DAMAGED;
	return loaded;
}

static result load(struct ledger_engine *engine, struct ledger_recovery *recovery)
{
	bool whole = false;
	result loaded = load_snapshot(engine, recovery, &whole);
	if (loaded != OK && whole) {
		struct replay replay = {.tree = &engine->tree};
		if (loaded != NOT_FOUND)
			snprintf(recovery->text, sizeof(recovery->text), "%s", failure_text());
		TRY(begin_anew(engine, &replay, recovery));
		loaded = load_rest(engine, &replay, recovery);
	}
	TRY(loaded);
	engine->relaxed_at = engine->head.size;
	engine->snapshot_size_pending = engine->snapshot_size;
	return OK;
}

/* The last batch's signature, so that a damaged or foreign checkpoint is not given out. */
static result check_last(struct ledger_engine *engine)
{
	struct checkpoint checkpoint;
	if (checkpoint_open(bytes_span(&engine->checkpoint), &engine->log, &checkpoint, NULL) != OK)
		return fail(LEDGER_DAMAGED, "the last checkpoint in the log is not signed by the key of %s; put a copy of the folder in its place", vkey_name);
	return OK;
}

static result open_existing(struct ledger_engine *engine, struct ledger_recovery *recovery)
{
	struct journal_recovery journal = {0};
	result opened = engine_open_journal(engine, true, true, &journal);
	if (opened == NOT_FOUND)
		return fail(NOT_FOUND, "there is no ledger in %s; troth ledger init makes one", engine->dir);
	TRY(opened);
	recovery->kept = journal.kept;
	recovery->cut_bytes = journal.cut_bytes;
	if (journal_head(engine->journal).sequence == 0)
		return fail(NOT_FOUND, "the ledger in %s was not finished; run troth ledger init again", engine->dir);
	TRY(engine_read_keys(engine));
	TRY(load(engine, recovery));
	TRY(check_last(engine));
	cosignatures_load(engine);
	return engine_keeper_start(engine);
}

result ledger_engine_open(const struct ledger_engine_options *options, struct ledger_engine **out, struct ledger_recovery *out_recovery)
{
	struct ledger_engine *engine;
	struct ledger_recovery recovery = {0};
	TRY(engine_new(options, &engine));
	result opened = open_existing(engine, &recovery);
	if (opened != OK) {
		engine_free(engine);
		return opened;
	}
	if (out_recovery)
		*out_recovery = recovery;
	*out = engine;
	return OK;
}

/* ---- Making one -------------------------------------------------------------------------------------------- */

static result begin(struct ledger_engine *engine, const char *log_name)
{
	struct journal_recovery recovery;
	TRY(engine_open_journal(engine, false, false, &recovery));
	if (journal_head(engine->journal).sequence)
		return fail(ALREADY_EXISTS, "there is a ledger in %s", engine->dir);
	result read = engine_read_keys(engine);
	/* An attempt that was cut off may have left its keys; they signed nothing. */
	if (read != OK || strcmp(engine->log.name, log_name) != 0) {
		secret_free(&engine->seed);
		TRY(make_keys(engine, log_name));
		TRY(engine_read_keys(engine));
	}
	struct ledger_recovery ignored = {0};
	TRY(open_tree(engine, &engine->head, &ignored));
	return ledger_state_new(&engine->state);
}

static result first_batch(struct ledger_engine *engine, ledger_genesis *genesis, void *arg)
{
	CLEANUP(bytes_free) struct bytes tx = BYTES_EMPTY;
	struct ledger_receipt receipt;
	TRY(genesis(arg, &engine->log, engine_now(engine, 0), &tx));
	TRY(ledger_engine_submit(engine, bytes_span(&tx), &receipt));
	if (receipt.code != OK)
		return fail(receipt.code, "%s", receipt.text);
	return check_config(engine);
}

result ledger_engine_init(const struct ledger_engine_options *options, const char *log_name, ledger_genesis *genesis, void *arg)
{
	struct ledger_engine *engine;
	if (!options->io)
		TRY(file_make_dirs(options->dir, 0700));
	TRY(engine_new(options, &engine));
	result made = begin(engine, log_name);
	if (made == OK)
		made = first_batch(engine, genesis, arg);
	if (made == OK)
		ledger_engine_close(engine);
	else
		engine_free(engine);
	return made;
}
