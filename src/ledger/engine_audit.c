/* Going through the whole log: to check it, or to make anew what is made from it. */
#include "ledger/engine_internal.h"

#include "base/file.h"

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

static result audit(struct ledger_engine *engine, enum ledger_audit_depth depth, struct ledger_audit *out)
{
	struct journal_recovery recovery = {0};
	struct auditing auditing = {.replay = {.log = depth == AUDIT_EVERYTHING ? &engine->log : NULL, .verify = true}};
	struct replay *replay = &auditing.replay;
	result opened = engine_open_journal(engine, true, false, &recovery);
	if (opened == NOT_FOUND)
		return fail(NOT_FOUND, "there is no ledger in %s", engine->dir);
	TRY(opened);
	TRY(engine_read_keys(engine));
	if (depth == AUDIT_EVERYTHING)
		TRY(ledger_state_new(&engine->state));
	replay->state = engine->state;
	result read = journal_read(engine->journal, 1, audit_entry, &auditing);
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
