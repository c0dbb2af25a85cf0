#include "object/epoch_chain.h"

#include <stdlib.h>

#include "object/epoch_rules.h"

/*
 * Theory of operation. Every record that was valid when it came is a row and stays one: on the chain, voided by a recovery,
 * or aside. Aside are those that came while the chain was frozen or halted and the second record of a fork: they count for
 * nothing, unless a recovery stands on one of them (so that verifiers that heard of things in another order end up alike).
 * `order` lists the accepted rows, `events` everything that changed something, so that replaying it gives the same chain.
 * What a rule needs of the record before is decoded from its bytes again: a row holds only what is asked for often.
 */

enum { ROWS_PER_SEGMENT = 64, ASIDE_MAX = 256, HALTS_MAX = 256, RECORD_MEMORY = 64 * 1024, CHAIN_MEMORY = 512 << 20 };
enum { HISTORY_MEMORY = 256 << 20, LIVE_TTL_MS = 30 * 1000 };
#define NO_ROW UINT32_MAX
#define HALT_EVENT 0x80000000u

enum standing { ON_CHAIN, VOIDED, ASIDE };

struct row {
	struct epoch_link link; /* first: a link is found again as its row */
	uint32_t parent;
	uint32_t void_era; /* VOIDED: the era that did it */
	enum standing standing;
	bool is_listed; /* in `order`: it was on the chain at some time */
};

struct halt_row {
	uint8_t oid[OID_SIZE];
	struct span bytes;
};

struct list {
	uint32_t *items;
	size_t count, cap;
};

struct epoch_chain {
	struct arena arena; /* rows and the bytes of records */
	struct row **segments;
	size_t segment_count;
	size_t row_count;
	struct list order, events;
	uint32_t *table; /* open addressing by oid; twice as many places as rows at least */
	size_t table_size;
	uint32_t head;
	size_t era_start; /* index in `order` of the first record of the head's era */
	size_t aside_count, late_count; /* of this era */
	bool is_frozen, is_era_disputed; /* the latter: two recoveries began the head's era */
	uint32_t fork[2];
	bool is_halted;
	struct halt_row *halts;
	size_t halt_count, halt; /* halt: index of the one that halted it */
	struct key_ring keys;
};

/* What taking in an object did. */
enum outcome { TAKEN, KNOWN, FROZE, KEPT_ASIDE, KEPT_VOID };

/* ---- Storage ------------------------------------------------------------------------------------- */

static struct row *row_at(const struct epoch_chain *chain, size_t index)
{
	return &chain->segments[index / ROWS_PER_SEGMENT][index % ROWS_PER_SEGMENT];
}

static size_t slot_of(const struct epoch_chain *chain, const uint8_t oid[static OID_SIZE])
{
	uint64_t hash;
	memcpy(&hash, oid, sizeof(hash)); /* SHA-256: any part is as good as a hash */
	size_t slot = hash & (chain->table_size - 1);
	while (chain->table[slot] != NO_ROW && memcmp(row_at(chain, chain->table[slot])->link.oid, oid, OID_SIZE) != 0)
		slot = (slot + 1) & (chain->table_size - 1);
	return slot;
}

static struct row *find(const struct epoch_chain *chain, const uint8_t oid[static OID_SIZE])
{
	uint32_t index = chain->table_size ? chain->table[slot_of(chain, oid)] : NO_ROW;
	return index == NO_ROW ? NULL : row_at(chain, index);
}

static uint32_t row_index(const struct epoch_chain *chain, const struct row *row)
{
	return chain->table[slot_of(chain, row->link.oid)];
}

static result reserve(struct list *list, size_t more)
{
	if (list->cap - list->count >= more)
		return OK;
	size_t cap = list->cap ? list->cap * 2 : 16;
	while (cap - list->count < more)
		cap *= 2;
	uint32_t *items = realloc(list->items, cap * sizeof(*items));
	if (!items)
		return fail(NO_MEMORY, "%zu epochs", cap);
	list->items = items;
	list->cap = cap;
	return OK;
}

static void push(struct list *list, uint32_t item)
{
	list->items[list->count++] = item; /* room was reserved */
}

static result grow_table(struct epoch_chain *chain)
{
	if (2 * (chain->row_count + 1) <= chain->table_size)
		return OK;
	size_t size = chain->table_size ? 2 * chain->table_size : 16;
	uint32_t *table = malloc(size * sizeof(*table));
	if (!table)
		return fail(NO_MEMORY, "%zu epochs", size);
	memset(table, 0xff, size * sizeof(*table));
	free(chain->table);
	chain->table = table;
	chain->table_size = size;
	for (size_t i = 0; i < chain->row_count; i++)
		table[slot_of(chain, row_at(chain, i)->link.oid)] = (uint32_t)i;
	return OK;
}

static result grow_rows(struct epoch_chain *chain)
{
	if (chain->row_count < chain->segment_count * ROWS_PER_SEGMENT)
		return OK;
	if (chain->row_count >= HALT_EVENT - ROWS_PER_SEGMENT)
		return fail(TOO_LARGE, "%zu epochs", chain->row_count);
	struct row **segments = realloc(chain->segments, (chain->segment_count + 1) * sizeof(struct row *));
	if (!segments)
		return fail(NO_MEMORY, "%zu epochs", chain->row_count);
	chain->segments = segments;
	void *memory;
	TRY(arena_alloc(&chain->arena, ROWS_PER_SEGMENT, sizeof(struct row), &memory));
	chain->segments[chain->segment_count++] = memory;
	return OK;
}

/* Adds a row; room in `order` for it is there afterwards. */
static result add_row(struct epoch_chain *chain, const struct epoch_record *record, uint32_t parent, enum standing standing, uint32_t *out)
{
	struct span bytes;
	TRY(grow_rows(chain));
	TRY(grow_table(chain));
	TRY(reserve(&chain->order, 1));
	TRY(reserve(&chain->events, 1));
	TRY(arena_copy(&chain->arena, record->bytes, &bytes));
	const struct epoch *epoch = &record->epoch;
	struct row *row = row_at(chain, chain->row_count);
	*row = (struct row){.parent = parent, .standing = standing};
	row->link = (struct epoch_link){.era = epoch->era, .epoch = epoch->epoch, .not_before = epoch->not_before,
		.not_after = epoch->not_after, .grace_s = epoch->grace_s, .record = bytes};
	memcpy(row->link.oid, record->oid, OID_SIZE);
	memcpy(row->link.sign_pk, epoch->sign_pk, POINT_SIZE);
	memcpy(row->link.kem_pk, epoch->kem_pk, POINT_SIZE);
	uint32_t index = (uint32_t)chain->row_count++;
	chain->table[slot_of(chain, record->oid)] = index;
	push(&chain->events, index);
	*out = index;
	return OK;
}

static void enlist(struct epoch_chain *chain, uint32_t index)
{
	row_at(chain, index)->is_listed = true;
	push(&chain->order, index);
}

/* ---- Making and freeing ------------------------------------------------------------------------------ */

void epoch_chain_free(struct epoch_chain *chain)
{
	if (!chain)
		return;
	arena_free(&chain->arena);
	free(chain->segments);
	free(chain->order.items);
	free(chain->events.items);
	free(chain->table);
	free(chain->halts);
	key_ring_free(&chain->keys);
	free(chain);
}

static void chain_cleanup(struct epoch_chain **chain)
{
	epoch_chain_free(*chain);
}

static result begin(struct epoch_chain *chain, struct span inception)
{
	CLEANUP(arena_free) struct arena scratch = arena_of(RECORD_MEMORY);
	struct epoch_record record;
	struct epoch epoch;
	uint8_t oid[OID_SIZE];
	TRY(epoch_open_inception(inception, &scratch, &epoch, oid));
	TRY(epoch_record_parse(inception, &scratch, &record));
	TRY(add_row(chain, &record, NO_ROW, ON_CHAIN, &chain->head));
	enlist(chain, chain->head);
	return OK;
}

result epoch_chain_new(struct span inception, struct epoch_chain **out)
{
	CLEANUP(chain_cleanup) struct epoch_chain *chain = calloc(1, sizeof(*chain));
	if (!chain)
		return fail(NO_MEMORY, "chain of epochs");
	chain->arena = arena_of(CHAIN_MEMORY);
	TRY(begin(chain, inception));
	*out = chain;
	chain = NULL;
	return OK;
}

result epoch_chain_add_key(struct epoch_chain *chain, struct span spki)
{
	return key_ring_add(&chain->keys, spki);
}

/* ---- Taking in records --------------------------------------------------------------------------------- */

static const struct row *head_row(const struct epoch_chain *chain)
{
	return row_at(chain, chain->head);
}

static bool is_stopped(const struct epoch_chain *chain)
{
	return chain->is_frozen || chain->is_halted;
}

/* The record on the chain with this number of the head's era; NO_ROW beyond its ends. */
static uint32_t row_of_epoch(const struct epoch_chain *chain, uint64_t epoch)
{
	const struct row *first = row_at(chain, chain->order.items[chain->era_start]);
	if (epoch < first->link.epoch || epoch > head_row(chain)->link.epoch)
		return NO_ROW;
	return chain->order.items[chain->era_start + (size_t)(epoch - first->link.epoch)];
}

static bool begins_again(const struct epoch_chain *chain, const struct epoch *epoch)
{
	return epoch_is_recovery(epoch) && epoch->era == head_row(chain)->link.era;
}

/* Why the record before is not one that `epoch` may stand behind. */
static result unknown_parent(const struct epoch_chain *chain, const struct epoch *epoch)
{
	const struct epoch_link *head = &head_row(chain)->link;
	if (epoch->epoch > head->epoch && epoch->epoch - head->epoch > 1)
		return fail(EPOCH_SKIPPED, "epoch %llu where %llu is the head", (unsigned long long)epoch->epoch,
			(unsigned long long)head->epoch);
	return fail(EPOCH_FOREIGN, "epoch %llu follows a record that is not on this chain", (unsigned long long)epoch->epoch);
}

static result find_parent(const struct epoch_chain *chain, const struct epoch *epoch, struct row **out)
{
	const struct epoch_link *head = &head_row(chain)->link;
	if (epoch->era - head->era > 1)
		return fail(EPOCH_SKIPPED, "era %u where %u is the head's", epoch->era, head->era);
	struct row *parent = find(chain, epoch->prev);
	if (!parent)
		return unknown_parent(chain, epoch);
	/* Two recoveries of one era void different things; each is judged by what stood before that era. */
	bool stood = begins_again(chain, epoch) || (chain->is_era_disputed && epoch_is_recovery(epoch));
	if (parent->standing == VOIDED && !(stood && parent->void_era == head->era))
		return fail(EPOCH_VOID, "epoch %llu stands on a record that a recovery has voided", (unsigned long long)epoch->epoch);
	*out = parent;
	return OK;
}

static result judge(const struct epoch_chain *chain, const struct epoch_record *record, const struct row *parent, bool is_trusted)
{
	CLEANUP(arena_free) struct arena scratch = arena_of(RECORD_MEMORY);
	struct epoch_record before;
	TRY(epoch_record_parse(parent->link.record, &scratch, &before));
	TRY(epoch_rules_link(&record->epoch, &before.epoch, before.oid, epoch_chain_rot_id(chain)));
	if (is_trusted)
		return OK;
	TRY(epoch_rules_signatures(record, &before.epoch, &chain->keys));
	return epoch_check_kem(&record->epoch);
}

static result keep_aside(struct epoch_chain *chain, const struct epoch_record *record, uint32_t parent, uint32_t *out)
{
	if (chain->aside_count >= ASIDE_MAX)
		return fail(TOO_LARGE, "more than %d records wait for a recovery", ASIDE_MAX);
	TRY(add_row(chain, record, parent, ASIDE, out));
	chain->aside_count++;
	return OK;
}

/* A second valid record where one stands. */
static result freeze(struct epoch_chain *chain, const struct epoch_record *record, uint32_t parent, uint32_t first, enum outcome *out)
{
	uint32_t second;
	TRY(keep_aside(chain, record, parent, &second));
	*out = chain->is_frozen ? KEPT_ASIDE : FROZE;
	if (chain->is_frozen)
		return OK;
	chain->is_frozen = true;
	chain->is_era_disputed = epoch_is_recovery(&record->epoch);
	chain->fork[0] = first;
	chain->fork[1] = second;
	return OK;
}

/*
 * A recovery: everything that it does not stand on is void. O(rows), once per quorum of the recovery keys. What stood aside
 * below it joins the chain.
 */
static result begin_era(struct epoch_chain *chain, const struct epoch_record *record, uint32_t parent)
{
	uint32_t added, joining[2 * ASIDE_MAX];
	size_t count = 0;
	for (uint32_t i = parent; i != NO_ROW && !row_at(chain, i)->is_listed; i = row_at(chain, i)->parent) {
		if (count == COUNT_OF(joining))
			return fail(TOO_LARGE, "a recovery on more than %zu records that were not on the chain", count);
		joining[count++] = i;
	}
	TRY(reserve(&chain->order, count + 1));
	TRY(add_row(chain, record, parent, ON_CHAIN, &added));
	for (size_t i = 0; i < chain->row_count; i++) {
		struct row *row = row_at(chain, i);
		if (row->standing == VOIDED)
			continue;
		row->standing = VOIDED;
		row->void_era = record->epoch.era;
		row->link.is_void = true;
	}
	for (uint32_t i = added; i != NO_ROW; i = row_at(chain, i)->parent) {
		row_at(chain, i)->standing = ON_CHAIN;
		row_at(chain, i)->link.is_void = false;
	}
	while (count)
		enlist(chain, joining[--count]);
	chain->era_start = chain->order.count;
	enlist(chain, added);
	chain->head = added;
	chain->aside_count = chain->late_count = 0;
	chain->is_frozen = chain->is_era_disputed = chain->is_halted = false;
	return OK;
}

/* Another record where this one would stand: on the chain, or aside; NO_ROW when there is none. */
static uint32_t find_sibling(const struct epoch_chain *chain, const struct epoch *epoch, uint32_t parent)
{
	if (row_at(chain, parent)->standing == ON_CHAIN && parent != chain->head)
		return row_of_epoch(chain, epoch->epoch);
	for (size_t i = chain->aside_count ? parent + (size_t)1 : chain->row_count; i < chain->row_count; i++)
		if (row_at(chain, i)->parent == parent && row_at(chain, i)->standing == ASIDE)
			return (uint32_t)i;
	return NO_ROW;
}

static result place(struct epoch_chain *chain, const struct epoch_record *record, const struct row *parent, enum outcome *out)
{
	uint32_t above = row_index(chain, parent), unused;
	if (begins_again(chain, &record->epoch))
		return freeze(chain, record, above, chain->order.items[chain->era_start], out);
	*out = TAKEN;
	if (epoch_is_recovery(&record->epoch))
		return begin_era(chain, record, above);
	uint32_t sibling = find_sibling(chain, &record->epoch, above);
	if (sibling != NO_ROW)
		return freeze(chain, record, above, sibling, out);
	if (is_stopped(chain)) {
		*out = KEPT_ASIDE;
		return keep_aside(chain, record, above, &unused);
	}
	TRY(add_row(chain, record, above, ON_CHAIN, &chain->head));
	enlist(chain, chain->head);
	return OK;
}

/*
 * A record of an era that has ended is void, seen now for the first time or not. It is remembered all the same: a second
 * recovery that began this era may stand on it, and must be recognised.
 */
static result remember_late(struct epoch_chain *chain, const struct epoch_record *record, bool is_trusted)
{
	const struct row *parent = find(chain, record->epoch.prev);
	uint32_t era = head_row(chain)->link.era, added;
	bool may_stand = parent && parent->standing != ASIDE && (parent->standing == ON_CHAIN || parent->void_era == era);
	if (!may_stand || chain->late_count >= ASIDE_MAX)
		return fail(EPOCH_VOID, "a record of era %u that was not on the chain when era %u began", record->epoch.era, era);
	TRY(judge(chain, record, parent, is_trusted));
	TRY(add_row(chain, record, row_index(chain, parent), VOIDED, &added));
	row_at(chain, added)->void_era = era;
	row_at(chain, added)->link.is_void = true;
	chain->late_count++;
	return OK;
}

/* The same record once more. Other signatures are judged anew, so that OK always means that these bytes are good. */
static result take_known(const struct epoch_chain *chain, const struct epoch_record *record, const struct row *row, bool is_trusted,
	enum outcome *out)
{
	*out = row->standing == ASIDE ? KEPT_ASIDE : row->is_listed ? KNOWN : KEPT_VOID;
	if (span_equal(row->link.record, record->bytes))
		return OK;
	if (row->parent != NO_ROW)
		return judge(chain, record, row_at(chain, row->parent), is_trusted);
	CLEANUP(arena_free) struct arena scratch = arena_of(RECORD_MEMORY);
	struct epoch epoch;
	uint8_t oid[OID_SIZE];
	return epoch_open_inception(record->bytes, &scratch, &epoch, oid);
}

static result take_record(struct epoch_chain *chain, struct span bytes, bool is_trusted, enum outcome *out)
{
	CLEANUP(arena_free) struct arena scratch = arena_of(RECORD_MEMORY);
	struct epoch_record record;
	struct row *parent;
	TRY(epoch_record_parse(bytes, &scratch, &record));
	const struct row *known = find(chain, record.oid);
	if (known)
		return take_known(chain, &record, known, is_trusted, out);
	if (memcmp(record.epoch.rot_id, epoch_chain_rot_id(chain), OID_SIZE) != 0)
		return fail(EPOCH_FOREIGN, "the record is of another root");
	if (record.epoch.era < head_row(chain)->link.era) {
		*out = KEPT_VOID;
		return remember_late(chain, &record, is_trusted);
	}
	TRY(find_parent(chain, &record.epoch, &parent));
	if (epoch_is_recovery(&record.epoch) != (record.epoch.era > parent->link.era))
		return fail(BAD_VALUE, "only a recovery begins an era, and it must");
	TRY(judge(chain, &record, parent, is_trusted));
	return place(chain, &record, parent, out);
}

/* ---- Taking in HALTs ------------------------------------------------------------------------------------ */

static const struct field halt_fields[] = {
	F_VERSION(struct halt, 1, v, 1),
	F_FIXED(struct halt, 2, rot_id),
	F_UINT(struct halt, 3, era, 0),
	F_UINT(struct halt, 4, epoch, 0),
};
const struct schema halt_schema = SCHEMA(struct halt, "halt", SHAPE_MAP, halt_fields);

static result check_halt(const struct epoch_chain *chain, const struct halt *halt, uint32_t *out_row)
{
	const struct epoch_link *head = &head_row(chain)->link;
	if (memcmp(halt->rot_id, epoch_chain_rot_id(chain), OID_SIZE) != 0)
		return fail(EPOCH_FOREIGN, "a HALT of another root");
	if (halt->era < head->era)
		return fail(EPOCH_VOID, "a HALT of era %u, which has ended", halt->era);
	if (halt->era > head->era || halt->epoch > head->epoch)
		return fail(EPOCH_SKIPPED, "a HALT of era %u epoch %llu, which is not on this chain yet", halt->era,
			(unsigned long long)halt->epoch);
	*out_row = row_of_epoch(chain, halt->epoch);
	if (*out_row == NO_ROW)
		return fail(EPOCH_FOREIGN, "a HALT of epoch %llu, which is not of era %u", (unsigned long long)halt->epoch, halt->era);
	return OK;
}

static const struct halt_row *find_halt(const struct epoch_chain *chain, const uint8_t oid[static OID_SIZE], struct span bytes)
{
	for (size_t i = 0; i < chain->halt_count; i++)
		if (memcmp(chain->halts[i].oid, oid, OID_SIZE) == 0 && span_equal(chain->halts[i].bytes, bytes))
			return &chain->halts[i];
	return NULL;
}

static result add_halt(struct epoch_chain *chain, const uint8_t oid[static OID_SIZE], struct span bytes)
{
	struct span copy;
	if (chain->halt_count >= HALTS_MAX)
		return fail(TOO_LARGE, "more than %d HALTs", HALTS_MAX);
	struct halt_row *halts = realloc(chain->halts, (chain->halt_count + 1) * sizeof(*halts));
	if (!halts)
		return fail(NO_MEMORY, "HALT");
	chain->halts = halts;
	TRY(reserve(&chain->events, 1));
	TRY(arena_copy(&chain->arena, bytes, &copy));
	chain->halts[chain->halt_count] = (struct halt_row){.bytes = copy};
	memcpy(chain->halts[chain->halt_count].oid, oid, OID_SIZE);
	push(&chain->events, HALT_EVENT | (uint32_t)chain->halt_count);
	chain->halt = chain->halt_count++;
	chain->is_halted = true;
	return OK;
}

static result judge_halt(const struct epoch_chain *chain, const struct cose_sign *object, const struct halt *halt)
{
	CLEANUP(arena_free) struct arena scratch = arena_of(RECORD_MEMORY);
	struct epoch_record before;
	uint32_t row;
	TRY(check_halt(chain, halt, &row));
	TRY(epoch_record_parse(row_at(chain, row)->link.record, &scratch, &before));
	return epoch_rules_quorum(object, KIND_HALT, &before.epoch, &chain->keys);
}

static result take_halt(struct epoch_chain *chain, struct span bytes, bool is_trusted, enum outcome *out)
{
	CLEANUP(arena_free) struct arena scratch = arena_of(RECORD_MEMORY);
	struct cose_sign object;
	struct halt halt;
	uint8_t oid[OID_SIZE];
	uint32_t row;
	TRY(cose_strict_sign_parse(bytes, &object));
	TRY(schema_decode(&halt_schema, object.payload, &scratch, &halt));
	object_oid(KIND_HALT, object.payload, oid);
	*out = KNOWN;
	if (find_halt(chain, oid, bytes))
		return OK;
	TRY(is_trusted ? check_halt(chain, &halt, &row) : judge_halt(chain, &object, &halt));
	if (chain->is_halted)
		return OK; /* one is enough, and the first is the proof */
	*out = TAKEN;
	return add_halt(chain, oid, bytes);
}

static result take(struct epoch_chain *chain, struct span bytes, bool is_trusted, enum outcome *out)
{
	struct cose_sign object;
	bool halt;
	TRY(cose_strict_sign_parse(bytes, &object));
	TRY(epoch_object_is_halt(&object, &halt));
	return halt ? take_halt(chain, bytes, is_trusted, out) : take_record(chain, bytes, is_trusted, out);
}

static result follow(struct epoch_chain *chain, struct span object, bool is_trusted)
{
	enum outcome outcome;
	TRY(take(chain, object, is_trusted, &outcome));
	if (outcome == TAKEN || outcome == KNOWN)
		return OK;
	if (outcome == KEPT_VOID)
		return fail(EPOCH_VOID, "the record was not on the chain when era %u began", head_row(chain)->link.era);
	if (chain->is_frozen)
		return fail(EPOCH_FORKED, "two valid records exist for one epoch of this root");
	return fail(EPOCH_HALTED, "the recovery keys have halted this root");
}

result epoch_chain_follow(struct epoch_chain *chain, struct span object)
{
	return follow(chain, object, false);
}

result epoch_chain_follow_trusted(struct epoch_chain *chain, struct span object)
{
	return follow(chain, object, true);
}

result epoch_chain_learn(struct epoch_chain *chain, struct span object)
{
	enum outcome outcome;
	return take(chain, object, false, &outcome);
}

/* ---- Asking ------------------------------------------------------------------------------------------------ */

enum epoch_chain_state epoch_chain_state(const struct epoch_chain *chain)
{
	if (chain->is_frozen)
		return CHAIN_FROZEN;
	return chain->is_halted ? CHAIN_HALTED : CHAIN_LIVE;
}

const char *epoch_chain_state_name(const struct epoch_chain *chain)
{
	switch (epoch_chain_state(chain)) {
	case CHAIN_LIVE: return "live";
	case CHAIN_HALTED: return "halted";
	case CHAIN_FROZEN: return "frozen";
	}
	return "?";
}

const uint8_t *epoch_chain_rot_id(const struct epoch_chain *chain)
{
	return row_at(chain, 0)->link.oid;
}

size_t epoch_chain_count(const struct epoch_chain *chain)
{
	return chain->order.count;
}

const struct epoch_link *epoch_chain_at(const struct epoch_chain *chain, size_t index)
{
	assert(index < chain->order.count);
	return &row_at(chain, chain->order.items[index])->link;
}

const struct epoch_link *epoch_chain_head(const struct epoch_chain *chain)
{
	return &head_row(chain)->link;
}

const struct epoch_link *epoch_chain_find(const struct epoch_chain *chain, const uint8_t oid[static OID_SIZE])
{
	const struct row *row = find(chain, oid);
	return row && row->standing != ASIDE ? &row->link : NULL;
}

const struct epoch_link *epoch_chain_before(const struct epoch_chain *chain, const struct epoch_link *link)
{
	const struct row *row = find(chain, link->oid);
	return row && row->parent != NO_ROW ? &row_at(chain, row->parent)->link : NULL;
}

void epoch_chain_proof(const struct epoch_chain *chain, struct span out[static 2])
{
	out[0] = out[1] = SPAN_EMPTY;
	if (chain->is_frozen)
		for (size_t i = 0; i < 2; i++)
			out[i] = row_at(chain, chain->fork[i])->link.record;
	else if (chain->is_halted)
		out[0] = chain->halts[chain->halt].bytes;
}

result epoch_chain_decode(const struct epoch_link *link, struct arena *arena, struct epoch *out)
{
	struct epoch_record record;
	TRY(epoch_record_parse(link->record, arena, &record));
	*out = record.epoch;
	return OK;
}

/* (era, epoch) in order. */
static bool is_before(uint32_t era_a, uint64_t epoch_a, uint32_t era_b, uint64_t epoch_b)
{
	return era_a != era_b ? era_a < era_b : epoch_a < epoch_b;
}

static result judge_former(const struct epoch_link *head, uint64_t learned_ms, uint64_t now_ms)
{
	uint64_t grace_ms = (uint64_t)head->grace_s * 1000;
	if (grace_ms > LIVE_TTL_MS)
		grace_ms = LIVE_TTL_MS;
	if (now_ms > learned_ms && now_ms - learned_ms > grace_ms)
		return fail(EPOCH_TOO_OLD, "the grace of the epoch before has ended");
	return OK;
}

result epoch_chain_judge_live(const struct epoch_chain *chain, const uint8_t oid[static OID_SIZE], uint32_t floor_era,
	uint64_t floor_epoch, uint64_t learned_ms, uint64_t now_ms)
{
	const struct epoch_link *head = epoch_chain_head(chain), *link = epoch_chain_find(chain, oid);
	if (chain->is_frozen)
		return fail(EPOCH_FORKED, "evidence of a root that is frozen");
	if (chain->is_halted)
		return fail(EPOCH_HALTED, "evidence of a root that is halted");
	if (!link)
		return fail(EPOCH_FOREIGN, "evidence of an epoch that is not known here");
	if (link->is_void)
		return fail(EPOCH_VOID, "evidence of era %u epoch %llu", link->era, (unsigned long long)link->epoch);
	if (now_ms > head->not_after)
		return fail(EPOCH_EXPIRED, "the head, era %u epoch %llu, is past its validity", head->era, (unsigned long long)head->epoch);
	if (is_before(link->era, link->epoch, floor_era, floor_epoch))
		return fail(EPOCH_TOO_OLD, "epoch %llu is older than the head when the question was asked", (unsigned long long)link->epoch);
	if (link == head)
		return OK;
	/* A recovery leaves no grace: it is made because the keys before it are not trusted. */
	if (link->era != head->era || head->epoch - link->epoch > 1)
		return fail(EPOCH_TOO_OLD, "epoch %llu where %llu is the head", (unsigned long long)link->epoch,
			(unsigned long long)head->epoch);
	return judge_former(head, learned_ms, now_ms);
}

/* ---- Histories ------------------------------------------------------------------------------------------------ */

static const struct field history_fields[] = {
	F_VERSION(struct epoch_history, 1, v, 1),
	F_LIST(struct epoch_history, 2, objects, object_count, &bytes_item_schema, 0, 1, 1 << 22),
	F_LIST(struct epoch_history, 3, keys, key_count, &bytes_item_schema, 0, 0, KEY_RING_MAX),
};
const struct schema epoch_history_schema = SCHEMA(struct epoch_history, "epoch history", SHAPE_MAP, history_fields);

static result replay(const struct epoch_history *history, struct epoch_chain *chain)
{
	for (size_t i = 0; i < history->key_count; i++)
		TRY(epoch_chain_add_key(chain, history->keys[i].bytes));
	for (size_t i = 1; i < history->object_count; i++) {
		result taken = epoch_chain_learn(chain, history->objects[i].bytes);
		if (taken != OK)
			return fail_within(taken, "object %zu of the history", i + 1);
	}
	return OK;
}

static result chain_of_objects(struct span bytes, struct epoch_chain **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(HISTORY_MEMORY);
	CLEANUP(chain_cleanup) struct epoch_chain *chain = NULL;
	struct epoch_history history;
	TRY(schema_decode(&epoch_history_schema, bytes, &arena, &history));
	result begun = epoch_chain_new(history.objects[0].bytes, &chain);
	if (begun != OK)
		return fail_within(begun, "object 1 of the history");
	TRY(replay(&history, chain));
	*out = chain;
	chain = NULL;
	return OK;
}

result epoch_chain_of_history(struct span bytes, struct epoch_chain **out)
{
	struct reader r = reader_of(bytes);
	enum cbor_type type;
	if (bytes.len > EPOCH_HISTORY_MAX)
		return fail(TOO_LARGE, "a history of %zu bytes", bytes.len);
	TRY(cbor_peek(&r, &type));
	return type == CBOR_MAP ? chain_of_objects(bytes, out) : epoch_chain_new(bytes, out);
}

static struct span event_bytes(const struct epoch_chain *chain, uint32_t event)
{
	return event & HALT_EVENT ? chain->halts[event & ~HALT_EVENT].bytes : row_at(chain, event)->link.record;
}

static void list_keys(const struct key_ring *ring, uint8_t (*spki)[SPKI_SIZE], struct bytes_item *items)
{
	for (size_t i = 0; i < ring->count; i++) {
		key_spki(&ring->keys[i], spki[i]);
		items[i].bytes = SPAN_ARRAY(spki[i]);
	}
}

result epoch_chain_history(const struct epoch_chain *chain, struct bytes *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(HISTORY_MEMORY);
	struct epoch_history history = {.v = 1, .object_count = chain->events.count, .key_count = chain->keys.count};
	void *objects, *keys, *spki;
	TRY(arena_alloc(&arena, history.object_count, sizeof(struct bytes_item), &objects));
	TRY(arena_alloc(&arena, history.key_count + 1, sizeof(struct bytes_item), &keys));
	TRY(arena_alloc(&arena, history.key_count + 1, SPKI_SIZE, &spki));
	history.objects = objects;
	history.keys = keys;
	for (size_t i = 0; i < history.object_count; i++)
		history.objects[i].bytes = event_bytes(chain, chain->events.items[i]);
	list_keys(&chain->keys, spki, history.keys);
	return schema_encode(&epoch_history_schema, &history, out);
}
