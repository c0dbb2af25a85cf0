/* Batches as they stand in the journal, and applying them again. */
#include "ledger/engine_internal.h"

#include "base/reader.h"

#include <string.h>

result batch_next(struct span *rest, struct span *out_leaf)
{
	struct reader r = reader_of(*rest);
	TRY(reader_lv(&r, LEAF_MAX, out_leaf));
	*rest = span_of(r.at, reader_left(&r));
	return OK;
}

static result decode(struct span payload, struct batch *out)
{
	struct reader r = reader_of(payload);
	uint32_t count;
	TRY(reader_u32(&r, &count));
	if (count < 2)
		return fail(BAD_VALUE, "a batch of %u leaves", count);
	const uint8_t *begin = r.at;
	for (uint32_t i = 0; i < count; i++)
		TRY(reader_lv(&r, LEAF_MAX, &out->tail_bytes));
	out->leaves = span_of(begin, (size_t)(r.at - begin));
	out->count = count;
	TRY(reader_lv(&r, NOTE_MAX, &out->checkpoint));
	TRY(reader_finish(&r));
	TRY(ledger_leaf_decode(out->tail_bytes, &out->tail));
	if (out->tail.kind != LEAF_TAIL || out->tail.count != count - 1)
		return fail(BAD_VALUE, "a batch without its TAIL");
	return OK;
}

result batch_decode(struct span payload, struct batch *out)
{
	struct batch batch;
	if (decode(payload, &batch) != OK)
		return fail(LEDGER_DAMAGED, "a batch in the journal is not one (%s); put a copy of the folder in its place", failure_text());
	*out = batch;
	return OK;
}

result batch_leaf(const struct batch *batch, uint64_t index, struct span *out)
{
	struct span rest = batch->leaves, leaf;
	if (index < batch->tail.first || index - batch->tail.first >= batch->count)
		return fail(LEDGER_DAMAGED, "the index does not lead to leaf %llu; run troth ledger reindex", (unsigned long long)index);
	for (uint64_t at = batch->tail.first; at <= index; at++)
		TRY(batch_next(&rest, &leaf));
	*out = leaf;
	return OK;
}

/* ---- Right edge ---------------------------------------------------------------------------------- */

void frontier_add(struct frontier *frontier, const struct merkle_hash *leaf)
{
	struct merkle_hash hash = *leaf;
	unsigned level = 0;
	for (; frontier->size >> level & 1; level++)
		merkle_node(&frontier->levels[level], &hash, &hash);
	frontier->levels[level] = hash;
	frontier->size++;
}

void frontier_root(const struct frontier *frontier, struct merkle_hash *out)
{
	bool any = false;
	if (frontier->size == 0)
		sha256(SPAN_EMPTY, out->bytes);
	for (unsigned level = 0; level < 64; level++) {
		if (!(frontier->size >> level & 1))
			continue;
		if (any)
			merkle_node(&frontier->levels[level], out, out);
		else
			*out = frontier->levels[level];
		any = true;
	}
}

/* ---- Applying again ------------------------------------------------------------------------------ */

struct old_verdict {
	uint32_t code;
	bool verify;
};

/* What was good once is good: only a verdict that speaks of a signature is looked at again. */
static result answer(void *arg, enum object_kind kind, struct span bytes, const uint8_t point[static POINT_SIZE])
{
	const struct old_verdict *old = arg;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	if (!old->verify && old->code != BAD_SIGNATURE)
		return OK;
	TRY(key_from_point(span_of(point, POINT_SIZE), &key));
	return object_verify(kind, bytes, &key);
}

result replay_differs(const struct journal_entry *entry, const char *what)
{
	return fail(LEDGER_DAMAGED, "log-%08u.log, offset %llu: batch %llu does not come out as it says: %s; put a copy of the folder in its place",
		entry->place.segment, (unsigned long long)entry->place.offset, (unsigned long long)entry->sequence, what);
}

static result apply(struct replay *replay, const struct journal_entry *entry, const struct batch *batch, const struct ledger_leaf *leaf,
	uint64_t index)
{
	struct old_verdict old = {leaf->code, replay->verify};
	struct contract_context ctx = {
		.height = batch->tail.height, .time_ms = batch->tail.time, .index = index, .verify = answer, .verify_arg = &old};
	struct contract_verdict verdict;
	uint8_t events[SHA256_SIZE];
	TRY(contract_apply(replay->state, leaf->tx, &ctx, &verdict));
	sha256(bytes_span(&verdict.events), events);
	bool same = verdict.counts && verdict.code == leaf->code && memcmp(events, leaf->events_hash, SHA256_SIZE) == 0;
	contract_verdict_free(&verdict);
	return same ? OK : replay_differs(entry, "another verdict");
}

static result add_leaf(struct replay *replay, struct span bytes)
{
	struct merkle_hash hash;
	merkle_leaf(bytes, &hash);
	if (replay->tree)
		return merkle_append(replay->tree, &hash);
	frontier_add(&replay->frontier, &hash);
	return OK;
}

static result replay_leaves(struct replay *replay, const struct journal_entry *entry, const struct batch *batch)
{
	struct span rest = batch->leaves, bytes;
	for (uint64_t i = 0; i < batch->tail.count; i++) {
		struct ledger_leaf leaf;
		TRY(batch_next(&rest, &bytes));
		if (ledger_leaf_decode(bytes, &leaf) != OK || leaf.kind != LEAF_TX)
			return replay_differs(entry, "a leaf is none");
		if (replay->state)
			TRY(apply(replay, entry, batch, &leaf, batch->tail.first + i));
		replay->transactions++;
		replay->refused += leaf.code != OK;
		TRY(add_leaf(replay, bytes));
	}
	return add_leaf(replay, batch->tail_bytes);
}

static result check_head(struct replay *replay, const struct journal_entry *entry, const struct batch *batch, struct ledger_head *head)
{
	struct note note;
	struct checkpoint checkpoint;
	struct merkle_hash state_root;
	if (replay->state)
		TRY(ledger_state_sound(replay->state));
	if (replay->state && entry->sequence >= replay->roots_from) {
		ledger_state_root(replay->state, &state_root);
		if (memcmp(state_root.bytes, batch->tail.state_root, SHA256_SIZE) != 0)
			return replay_differs(entry, "another state");
	}
	if (replay->tree)
		TRY(merkle_root(replay->tree, replay->tree->size, &head->root));
	else
		frontier_root(&replay->frontier, &head->root);
	if (note_parse(batch->checkpoint, &note) != OK || checkpoint_parse(note.text, &checkpoint) != OK)
		return replay_differs(entry, "its checkpoint is none");
	if (replay->log && checkpoint_open(batch->checkpoint, replay->log, &checkpoint, NULL) != OK)
		return replay_differs(entry, "its checkpoint is not signed by the log");
	if (checkpoint.size != head->size || memcmp(&checkpoint.root, &head->root, sizeof(head->root)) != 0)
		return replay_differs(entry, "its checkpoint has another root");
	return OK;
}

result replay_batch(struct replay *replay, const struct journal_entry *entry)
{
	struct batch batch;
	if (entry->type != ENTRY_BATCH)
		return replay_differs(entry, "it is no batch");
	TRY(batch_decode(entry->payload, &batch));
	const struct ledger_leaf *tail = &batch.tail;
	if (tail->first != replay->head.size || tail->height != replay->head.height + 1 || tail->time < replay->head.time)
		return replay_differs(entry, "it does not follow the one before");
	if (replay->state)
		contract_begin(replay->state, tail->time);
	TRY(replay_leaves(replay, entry, &batch));
	struct ledger_head head = {.size = tail->first + batch.count, .height = tail->height, .time = tail->time};
	memcpy(head.state_root.bytes, tail->state_root, SHA256_SIZE);
	TRY(check_head(replay, entry, &batch, &head));
	replay->head = head;
	return OK;
}
