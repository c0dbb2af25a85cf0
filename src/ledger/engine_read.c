/* What the engine answers: leaves, proofs, facts, decisions. Nothing is given out that was not checked against the head. */
#include "ledger/engine_internal.h"
#include "ledger/proof.h"

#include <string.h>

enum { FIND_MAX = 16, PAGE = 256 };

/* ---- Heads ---------------------------------------------------------------------------------------- */

void ledger_engine_head(struct ledger_engine *engine, struct ledger_head *out)
{
	pthread_mutex_lock(&engine->head_lock);
	*out = engine->head;
	pthread_mutex_unlock(&engine->head_lock);
}

static result latest_checkpoint(struct ledger_engine *engine, struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(NOTE_MAX);
	if (engine->checkpoint.len == 0)
		return fail(NO_MEMORY, "the latest checkpoint could not be kept; the next one can");
	writer_span(&w, bytes_span(&engine->checkpoint));
	writer_span(&w, bytes_span(&engine->cosignatures));
	return writer_take(&w, out);
}

result ledger_engine_checkpoint(struct ledger_engine *engine, struct bytes *out)
{
	pthread_mutex_lock(&engine->head_lock);
	result taken = latest_checkpoint(engine, out);
	pthread_mutex_unlock(&engine->head_lock);
	return taken;
}

result ledger_engine_checkpoint_at(struct ledger_engine *engine, uint64_t size, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes buffer = BYTES_EMPTY;
	struct checkpoint checkpoint;
	struct batch batch;
	struct ledger_head head;
	ledger_engine_head(engine, &head);
	if (size == head.size)
		return ledger_engine_checkpoint(engine, out);
	if (size == 0 || size > head.size)
		return fail(NOT_FOUND, "the log has %llu leaves, asked for was the checkpoint of %llu", (unsigned long long)head.size, (unsigned long long)size);
	TRY(engine_batch(engine, size - 1, &buffer, &batch));
	if (batch.tail.first + batch.count != size)
		return fail(NOT_FOUND, "no batch ends at %llu; the next ends at %llu", (unsigned long long)size,
			(unsigned long long)(batch.tail.first + batch.count));
	if (checkpoint_open(batch.checkpoint, &engine->log, &checkpoint, NULL) != OK || checkpoint.size != size)
		return fail(LEDGER_DAMAGED, "the checkpoint of %llu in the log is not signed by it; put a copy of the folder in its place",
			(unsigned long long)size);
	return bytes_copy(batch.checkpoint, out);
}

const struct note_key *ledger_engine_log_key(const struct ledger_engine *engine)
{
	return &engine->log;
}

void ledger_engine_chain(struct ledger_engine *engine, uint8_t out[static CHAIN_ID_SIZE])
{
	memcpy(out, engine->chain, CHAIN_ID_SIZE);
}

void ledger_engine_statistics(struct ledger_engine *engine, struct ledger_statistics *out)
{
	pthread_rwlock_rdlock(&engine->lock);
	uint64_t facts = engine->state ? ledger_state_count(engine->state) : 0;
	pthread_rwlock_unlock(&engine->lock);
	pthread_mutex_lock(&engine->queue_lock);
	uint64_t waiting = engine->waiting;
	pthread_mutex_unlock(&engine->queue_lock);
	pthread_mutex_lock(&engine->keeper_lock);
	uint64_t snapshot_size = engine->snapshot_size;
	pthread_mutex_unlock(&engine->keeper_lock);
	pthread_mutex_lock(&engine->head_lock);
	*out = engine->statistics;
	out->size = engine->head.size;
	out->height = engine->head.height;
	pthread_mutex_unlock(&engine->head_lock);
	out->facts = facts;
	out->waiting = waiting;
	out->snapshot_size = snapshot_size;
}

/* ---- Leaves --------------------------------------------------------------------------------------- */

result engine_batch(struct ledger_engine *engine, uint64_t index, struct bytes *buffer, struct batch *out)
{
	struct index_batch row = {0};
	struct journal_entry entry;
	struct batch batch;
	TRY(index_enter(engine, index + 1));
	result found = engine_index_batch(engine, index, &row);
	index_leave(engine);
	TRY(found);
	result fetched = journal_fetch(engine->journal, row.place, row.sequence, buffer, &entry, NULL);
	if (fetched == NOT_FOUND)
		return fail(LEDGER_DAMAGED, "log-%08u.log, offset %llu: batch %llu is not there; put a copy of the folder in its place, or run troth ledger reindex",
			row.place.segment, (unsigned long long)row.place.offset, (unsigned long long)row.sequence);
	TRY(fetched);
	TRY(batch_decode(entry.payload, &batch));
	if (index < batch.tail.first || index >= batch.tail.first + batch.count)
		return fail(LEDGER_DAMAGED, "index.sqlite leads to another batch; run troth ledger reindex");
	*out = batch;
	return OK;
}

/* By the tree, whose hash of the leaf is itself proved by whoever gives out a path. */
static result check_leaf(struct ledger_engine *engine, uint64_t index, struct span bytes)
{
	struct merkle_hash hash, kept;
	merkle_leaf(bytes, &hash);
	pthread_rwlock_rdlock(&engine->lock);
	result got = merkle_leaf_at(&engine->tree, index, &kept);
	pthread_rwlock_unlock(&engine->lock);
	TRY(got);
	if (memcmp(&hash, &kept, sizeof(hash)) != 0)
		return fail(LEDGER_DAMAGED, "tree and log do not agree about leaf %llu; run troth ledger reindex", (unsigned long long)index);
	return OK;
}

static result get_leaf(struct ledger_engine *engine, uint64_t index, struct bytes *buffer, struct batch *batch, struct span *out)
{
	struct ledger_head head;
	ledger_engine_head(engine, &head);
	if (index >= head.size)
		return fail(NOT_FOUND, "leaf %llu of %llu", (unsigned long long)index, (unsigned long long)head.size);
	TRY(engine_batch(engine, index, buffer, batch));
	TRY(batch_leaf(batch, index, out));
	return check_leaf(engine, index, *out);
}

result ledger_engine_leaf(struct ledger_engine *engine, uint64_t index, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes buffer = BYTES_EMPTY;
	struct batch batch;
	struct span leaf;
	TRY(get_leaf(engine, index, &buffer, &batch, &leaf));
	return bytes_copy(leaf, out);
}

/* Whether this leaf is the transaction; gives its receipt. */
static result match(struct ledger_engine *engine, const struct index_leaf *row, const uint8_t txid[static OID_SIZE], struct ledger_receipt *out,
	bool *out_same)
{
	CLEANUP(bytes_free) struct bytes buffer = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct batch batch;
	struct span bytes;
	struct ledger_leaf leaf;
	struct transaction tx;
	uint8_t name[OID_SIZE];
	TRY(get_leaf(engine, row->index, &buffer, &batch, &bytes));
	TRY(ledger_leaf_decode(bytes, &leaf));
	*out_same = leaf.kind == LEAF_TX && object_peek(KIND_TRANSACTION, leaf.tx, &arena, &tx, name) == OK && memcmp(name, txid, OID_SIZE) == 0;
	if (!*out_same)
		return OK;
	*out = (struct ledger_receipt){.code = leaf.code, .on_ledger = true, .index = row->index, .size = batch.tail.first + batch.count,
		.time = batch.tail.time};
	memcpy(out->txid, txid, OID_SIZE);
	return OK;
}

result ledger_engine_find(struct ledger_engine *engine, const uint8_t txid[static OID_SIZE], struct ledger_receipt *out)
{
	struct index_leaf rows[FIND_MAX];
	struct ledger_receipt receipt;
	struct ledger_head head;
	size_t count = 0;
	ledger_engine_head(engine, &head);
	TRY(index_enter(engine, head.size));
	result found = engine_index_find(engine, index_name(txid), rows, FIND_MAX, &count);
	index_leave(engine);
	TRY(found);
	for (size_t i = 0; i < count; i++) {
		bool same = false;
		TRY(match(engine, &rows[i], txid, &receipt, &same));
		if (same) {
			*out = receipt;
			return OK;
		}
	}
	return fail(NOT_FOUND, "no transaction of this name is on the ledger");
}

static result visit_row(struct ledger_engine *engine, const struct ledger_filter *filter, const struct index_leaf *row, ledger_visit *each,
	void *arg, bool *out_given)
{
	CLEANUP(bytes_free) struct bytes buffer = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct ledger_row out = {.index = row->index};
	struct ledger_leaf leaf;
	struct transaction tx;
	struct batch batch;
	uint8_t address[ADDRESS_SIZE];
	TRY(get_leaf(engine, row->index, &buffer, &batch, &out.bytes));
	TRY(ledger_leaf_decode(out.bytes, &leaf));
	if (leaf.kind != LEAF_TX || object_peek(KIND_TRANSACTION, leaf.tx, &arena, &tx, NULL) != OK)
		return fail(LEDGER_DAMAGED, "index.sqlite takes leaf %llu for a transaction; run troth ledger reindex", (unsigned long long)row->index);
	address_of(tx.sender, address);
	*out_given = !filter->sender || memcmp(filter->sender, address, ADDRESS_SIZE) == 0;
	if (!*out_given)
		return OK;
	out.size = batch.tail.first + batch.count;
	out.time = batch.tail.time;
	out.leaf = &leaf;
	return each(arg, &out);
}

result ledger_engine_each(struct ledger_engine *engine, const struct ledger_filter *filter, ledger_visit *each, void *arg)
{
	struct index_filter wanted = {.from = filter->from, .since_ms = filter->since_ms, .until_ms = filter->until_ms,
		.has_sender = filter->sender, .sender = filter->sender ? index_name(filter->sender) : 0, .type = filter->type,
		.only_ok = filter->only_ok};
	uint64_t left = filter->limit ? filter->limit : UINT64_MAX;
	struct ledger_head head;
	ledger_engine_head(engine, &head);
	for (;;) {
		struct index_leaf rows[PAGE];
		size_t count = 0;
		TRY(index_enter(engine, head.size));
		result selected = engine_index_select(engine, &wanted, rows, PAGE, &count);
		index_leave(engine);
		TRY(selected);
		for (size_t i = 0; i < count && left; i++) {
			bool given = false;
			TRY(visit_row(engine, filter, &rows[i], each, arg, &given));
			left -= given;
		}
		if (count < PAGE || left == 0)
			return OK;
		wanted.from = rows[count - 1].index + 1;
	}
}

/* ---- Paths ---------------------------------------------------------------------------------------- */

static result wrong_tree(void)
{
	return fail(LEDGER_DAMAGED, "tree does not lead to the log's head (%s); run troth ledger reindex", failure_text());
}

/* The root at an earlier size, proved from the head's. The lock is held. */
static result root_at(struct ledger_engine *engine, uint64_t size, struct merkle_hash *out)
{
	struct merkle_proof proof;
	const struct ledger_head *head = &engine->head;
	if (size == head->size) {
		*out = head->root;
		return OK;
	}
	TRY(merkle_root(&engine->tree, size, out));
	TRY(merkle_prove_consistency(&engine->tree, size, head->size, &proof));
	return merkle_verify_consistency(size, out, head->size, &head->root, &proof) == OK ? OK : wrong_tree();
}

static result prove(struct ledger_engine *engine, uint64_t index, uint64_t size, struct merkle_proof *out)
{
	struct merkle_hash root, leaf;
	if (size > engine->head.size || index >= size)
		return fail(NOT_FOUND, "leaf %llu at size %llu; the log has %llu leaves", (unsigned long long)index, (unsigned long long)size,
			(unsigned long long)engine->head.size);
	TRY(root_at(engine, size, &root));
	TRY(merkle_leaf_at(&engine->tree, index, &leaf));
	TRY(merkle_prove_inclusion(&engine->tree, index, size, out));
	return merkle_verify_inclusion(&leaf, index, size, out, &root) == OK ? OK : wrong_tree();
}

result ledger_engine_prove(struct ledger_engine *engine, uint64_t index, uint64_t size, struct merkle_proof *out, uint64_t *out_size)
{
	struct merkle_proof proof;
	pthread_rwlock_rdlock(&engine->lock);
	if (size == 0)
		size = engine->head.size;
	result proved = prove(engine, index, size, &proof);
	pthread_rwlock_unlock(&engine->lock);
	TRY(proved);
	*out = proof;
	*out_size = size;
	return OK;
}

static result prove_consistency(struct ledger_engine *engine, uint64_t first, uint64_t second, struct merkle_proof *out)
{
	struct merkle_hash first_root, second_root;
	if (first == 0 || first > second || second > engine->head.size)
		return fail(NOT_FOUND, "from size %llu to %llu; the log has %llu leaves", (unsigned long long)first, (unsigned long long)second,
			(unsigned long long)engine->head.size);
	TRY(root_at(engine, first, &first_root));
	TRY(root_at(engine, second, &second_root));
	TRY(merkle_prove_consistency(&engine->tree, first, second, out));
	return merkle_verify_consistency(first, &first_root, second, &second_root, out) == OK ? OK : wrong_tree();
}

result ledger_engine_consistency(struct ledger_engine *engine, uint64_t first, uint64_t second, struct merkle_proof *out)
{
	struct merkle_proof proof;
	pthread_rwlock_rdlock(&engine->lock);
	result proved = prove_consistency(engine, first, second ? second : engine->head.size, &proof);
	pthread_rwlock_unlock(&engine->lock);
	TRY(proved);
	*out = proof;
	return OK;
}

result ledger_engine_leaf_proof(struct ledger_engine *engine, uint64_t index, uint64_t size, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes leaf = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(4 * NOTE_MAX);
	struct merkle_proof path;
	struct ledger_head head;
	ledger_engine_head(engine, &head);
	if (size == 0)
		size = head.size;
	TRY(ledger_engine_leaf(engine, index, &leaf));
	TRY(ledger_engine_prove(engine, index, size, &path, &size));
	TRY(ledger_engine_checkpoint_at(engine, size, &note));
	TRY(ledger_proof_put_leaf(index, bytes_span(&leaf), &path, bytes_span(&note), &w));
	return writer_take(&w, out);
}

/* ---- The state ------------------------------------------------------------------------------------- */

static result check_alive(const struct ledger_engine *engine)
{
	return engine->broken ? fail(JOURNAL_POISONED, "the ledger's state was lost: start again") : OK;
}

static result fact_proof(struct ledger_engine *engine, const uint8_t key[static SPARSE_KEY_SIZE], struct writer *w)
{
	CLEANUP(bytes_free) struct bytes note = BYTES_EMPTY;
	struct sparse_proof proof;
	struct merkle_proof path;
	const struct ledger_head *head = &engine->head;
	TRY(check_alive(engine));
	TRY(ledger_state_prove(engine->state, key, &proof));
	bool own = proof.ends_in_leaf && memcmp(proof.leaf_key, key, SPARSE_KEY_SIZE) == 0;
	if (sparse_verify(&head->state_root, key, own ? proof.leaf_value : SPAN_EMPTY, &proof) != OK)
		return fail(LEDGER_DAMAGED, "the state is not the one of the log's head; start again");
	TRY(prove(engine, head->size - 1, head->size, &path));
	TRY(ledger_engine_checkpoint(engine, &note));
	return ledger_proof_put_fact(head->size - 1, bytes_span(&engine->tail), &path, bytes_span(&note), key, &proof, w);
}

result ledger_engine_fact_proof(struct ledger_engine *engine, const uint8_t key[static SPARSE_KEY_SIZE], struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(4 * NOTE_MAX);
	pthread_rwlock_rdlock(&engine->lock);
	result proved = fact_proof(engine, key, &w);
	pthread_rwlock_unlock(&engine->lock);
	TRY(proved);
	return writer_take(&w, out);
}

/* The fact's bytes are copied: the state may change as soon as the lock is given back. */
static result find_fact(struct ledger_engine *engine, enum fact_type type, struct span id, struct arena *arena, void *out, bool *out_there)
{
	TRY(check_alive(engine));
	return ledger_state_find_copy(engine->state, type, id, arena, out, out_there);
}

result ledger_engine_fact(struct ledger_engine *engine, enum fact_type type, struct span id, struct arena *arena, void *out, bool *out_there,
	uint64_t *out_size)
{
	pthread_rwlock_rdlock(&engine->lock);
	result found = find_fact(engine, type, id, arena, out, out_there);
	uint64_t size = engine->head.size;
	pthread_rwlock_unlock(&engine->lock);
	TRY(found);
	if (out_size)
		*out_size = size;
	return OK;
}

result ledger_engine_config(struct ledger_engine *engine, struct arena *arena, struct ledger_config *out)
{
	struct config_fact fact;
	bool there = false;
	TRY(ledger_engine_fact(engine, FACT_CONFIG, SPAN_EMPTY, arena, &fact, &there, NULL));
	if (!there)
		return fail(NOT_FOUND, "the ledger has no configuration yet");
	return schema_decode(&ledger_config_schema, fact.config, arena, out);
}

result ledger_engine_decide(struct ledger_engine *engine, const struct access_question *question, struct access_decision *out, uint64_t *out_size)
{
	struct signatures none = {.cache = engine->cache};
	pthread_rwlock_rdlock(&engine->lock);
	struct contract_context ctx = {.height = engine->head.height + 1, .time_ms = engine_now(engine, engine->head.time),
		.index = engine->head.size, .verify = signatures_answer, .verify_arg = &none};
	result decided = check_alive(engine);
	if (decided == OK)
		decided = contract_decide(engine->state, question, &ctx, out);
	pthread_rwlock_unlock(&engine->lock);
	TRY(decided);
	if (out_size)
		*out_size = ctx.index;
	return OK;
}
