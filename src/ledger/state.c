#include "ledger/state.h"

#include "base/reader.h"
#include "store/crc32c.h"

#include <stdlib.h>
#include <string.h>

/*
 * Theory of operation. The map is the truth. Beside it stands a heap of nonces by their last time, so that pruning looks
 * only at those that are due; it is no part of the root. A stored state lists the nonces that are new since it was stored
 * before, so that the heap is there at the opening without a look into the map. Pruning asks the map in any case.
 */

static const struct field span_fields[] = {
	F_UINT(struct span_of_log, 0, from, 0),
	{.key = 1, .name = "until", .type = FIELD_STRUCT, .flags = FIELD_OPTIONAL, .offset = offsetof(struct span_of_log, until),
		.present_at = offsetof(struct span_of_log, has_until), .sub = &(const struct schema){"index", SHAPE_BARE, sizeof(uint64_t),
			(const struct field[]){{.name = "index", .type = FIELD_UINT, .size = sizeof(uint64_t)}}, 1, NULL}},
};
static const struct schema span_schema = SCHEMA(struct span_of_log, "interval", SHAPE_ARRAY, span_fields);

enum { FACT_RECORD_MAX = 20 * 1024, FACT_CONFIG_MAX = 48 * 1024 };

static const struct field config_fields[] = {
	F_UINT(struct config_fact, 1, from, 0),
	F_BYTES(struct config_fact, 2, config, 1, FACT_CONFIG_MAX),
};
const struct schema config_fact_schema = SCHEMA(struct config_fact, "config fact", SHAPE_MAP, config_fields);
static const struct field nonce_fields[] = {F_TIME(struct nonce_fact, 0, valid_until)};
const struct schema nonce_fact_schema = SCHEMA(struct nonce_fact, "nonce fact", SHAPE_BARE, nonce_fields);
static const struct field grant_fields[] = {
	F_STRUCT(struct grant_fact, 1, span, &span_schema),
	F_FIXED(struct grant_fact, 2, issuer),
	F_FIXED(struct grant_fact, 3, audience),
	F_FIXED_OR_NULL(struct grant_fact, 4, parent, has_parent),
	F_UINT(struct grant_fact, 5, uses, 0),
};
const struct schema grant_fact_schema = SCHEMA(struct grant_fact, "grant fact", SHAPE_MAP, grant_fields);
static const struct field registration_fields[] = {
	F_STRUCT(struct registration_fact, 1, span, &span_schema),
	F_UINT(struct registration_fact, 2, status, REGISTRATION_AUTHORISED),
	F_FIXED(struct registration_fact, 3, sender),
	F_TEXT(struct registration_fact, 4, label, 0, 120),
	F_TIME(struct registration_fact, 5, not_before),
	F_TIME(struct registration_fact, 6, not_after),
};
const struct schema registration_fact_schema = SCHEMA(struct registration_fact, "registration fact", SHAPE_MAP, registration_fields);
static const struct field access_fields[] = {
	F_UINT(struct access_fact, 1, from, 0),
	F_STRUCT(struct access_fact, 2, access, &tx_access_schema),
};
const struct schema access_fact_schema = SCHEMA(struct access_fact, "access fact", SHAPE_MAP, access_fields);
static const struct field revocation_fields[] = {
	F_UINT(struct revocation_fact, 1, from, 0),
	F_FIXED(struct revocation_fact, 2, by),
};
const struct schema revocation_fact_schema = SCHEMA(struct revocation_fact, "revocation fact", SHAPE_MAP, revocation_fields);
static const struct field epoch_fields[] = {
	F_STRUCT(struct epoch_fact, 1, span, &span_schema),
	F_FIXED(struct epoch_fact, 2, rot_id),
	F_TIME(struct epoch_fact, 3, time),
	F_BOOL(struct epoch_fact, 4, is_void),
	F_BYTES(struct epoch_fact, 5, record, 1, FACT_RECORD_MAX),
};
const struct schema epoch_fact_schema = SCHEMA(struct epoch_fact, "epoch fact", SHAPE_MAP, epoch_fields);
static const struct field root_fields[] = {
	F_UINT(struct root_fact, 1, from, 0),
	F_FIXED(struct root_fact, 2, head),
	F_UINT(struct root_fact, 3, state, ROOT_FROZEN),
};
const struct schema root_fact_schema = SCHEMA(struct root_fact, "root fact", SHAPE_MAP, root_fields);
static const struct field epoch_at_fields[] = {F_FIXED(struct epoch_at_fact, 0, oid)};
const struct schema epoch_at_fact_schema = SCHEMA(struct epoch_at_fact, "epoch at fact", SHAPE_BARE, epoch_at_fields);
static const struct field floor_fields[] = {
	F_UINT(struct floor_fact, 1, from, 0),
	F_UINT(struct floor_fact, 2, version, 0),
	F_FIXED(struct floor_fact, 3, digest),
};
const struct schema floor_fact_schema = SCHEMA(struct floor_fact, "floor fact", SHAPE_MAP, floor_fields);
static const struct field processor_fields[] = {F_FIXED(struct processor_fact, 0, epoch_oid)};
const struct schema processor_fact_schema = SCHEMA(struct processor_fact, "processor fact", SHAPE_BARE, processor_fields);
static const struct field secure_mode_fields[] = {F_STRUCT(struct secure_mode_fact, 1, span, &span_schema)};
const struct schema secure_mode_fact_schema = SCHEMA(struct secure_mode_fact, "secure mode fact", SHAPE_MAP, secure_mode_fields);

static const struct schema *const schemas[] = {
	[FACT_CONFIG] = &config_fact_schema,
	[FACT_NONCE] = &nonce_fact_schema,
	[FACT_GRANT] = &grant_fact_schema,
	[FACT_REGISTRATION] = &registration_fact_schema,
	[FACT_ACCESS] = &access_fact_schema,
	[FACT_REVOCATION] = &revocation_fact_schema,
	[FACT_EPOCH] = &epoch_fact_schema,
	[FACT_ROOT] = &root_fact_schema,
	[FACT_EPOCH_AT] = &epoch_at_fact_schema,
	[FACT_FLOOR] = &floor_fact_schema,
	[FACT_PROCESSOR] = &processor_fact_schema,
	[FACT_SECURE_MODE] = &secure_mode_fact_schema,
};

const struct schema *fact_schema(unsigned type)
{
	return type < COUNT_OF(schemas) ? schemas[type] : NULL;
}

void fact_key(enum fact_type type, struct span id, uint8_t out[static SPARSE_KEY_SIZE])
{
	const uint8_t number = (uint8_t)type;
	const struct span parts[] = {span_str("troth smt key"), span_of(&number, 1), id};
	sha256_parts(parts, 3, out);
}

/* ---- The state --------------------------------------------------------------------------------- */

struct nonce_row {
	uint64_t valid_until;
	uint8_t key[SPARSE_KEY_SIZE];
};

struct ledger_state {
	struct sparse_map *map;
	struct nonce_row *nonces; /* a heap: the one that is due first on top */
	size_t nonce_count, nonce_cap;
	struct nonce_row *fresh; /* not listed in the stored form yet */
	size_t fresh_count, fresh_cap;
	uint64_t listed_at, listed_until; /* the list that was stored last, and until when nonces in lists are valid */
	bool unsound; /* something that had to go could not: a stored record was damaged */
	/* What was there before each change since ledger_state_begin, and the nonces that were taken off the heap. */
	bool remembers, lost;
	struct undo_row {
		uint8_t key[SPARSE_KEY_SIZE];
		struct bytes before; /* empty: nothing */
	} *undo;
	size_t undo_count, undo_cap;
	struct nonce_row *taken;
	size_t taken_count, taken_cap;
};

result ledger_state_new(struct ledger_state **out)
{
	struct ledger_state *state = calloc(1, sizeof(*state));
	if (!state)
		return fail(NO_MEMORY, "ledger state");
	result made = sparse_map_new(&state->map);
	if (made != OK) {
		free(state);
		return made;
	}
	*out = state;
	return OK;
}

void ledger_state_free(struct ledger_state *state)
{
	if (!state)
		return;
	ledger_state_keep(state);
	sparse_map_free(state->map);
	free(state->nonces);
	free(state->fresh);
	free(state->undo);
	free(state->taken);
	free(state);
}

/* The one thing that can be wrong with the map is what it was opened over. */
static result of_map(result done)
{
	if (done != PROOF_INVALID)
		return done;
	return fail(LEDGER_DAMAGED, "state.snapshot is damaged; the state is made again from the log: ask again, or run troth ledger reindex");
}

/* ---- Taking back ------------------------------------------------------------------------------- */

static result grow(void **rows, size_t *cap, size_t count, size_t size)
{
	if (count < *cap)
		return OK;
	size_t new = *cap ? *cap * 2 : 256;
	void *grown = realloc(*rows, new * size);
	if (!grown)
		return fail(NO_MEMORY, "ledger state");
	*rows = grown;
	*cap = new;
	return OK;
}

static result remember(struct ledger_state *state, const uint8_t key[static SPARSE_KEY_SIZE])
{
	if (!state->remembers)
		return OK;
	void *rows = state->undo;
	result grown = grow(&rows, &state->undo_cap, state->undo_count, sizeof(*state->undo));
	state->undo = rows;
	TRY(grown);
	struct undo_row *row = &state->undo[state->undo_count];
	row->before = BYTES_EMPTY;
	memcpy(row->key, key, SPARSE_KEY_SIZE);
	struct span before;
	TRY(of_map(sparse_map_find(state->map, key, &before)));
	if (before.len)
		TRY(bytes_copy(before, &row->before));
	state->undo_count++;
	return OK;
}

static result change(struct ledger_state *state, const uint8_t key[static SPARSE_KEY_SIZE], struct span value)
{
	TRY(remember(state, key));
	return of_map(sparse_map_put(state->map, key, value));
}

void ledger_state_begin(struct ledger_state *state)
{
	ledger_state_keep(state);
	state->remembers = true;
}

void ledger_state_keep(struct ledger_state *state)
{
	for (size_t i = 0; i < state->undo_count; i++)
		bytes_free(&state->undo[i].before);
	state->undo_count = state->taken_count = 0;
	state->remembers = state->lost = false;
}

static result find(const struct ledger_state *state, enum fact_type type, struct span id, bool copy, struct arena *arena, void *out,
	bool *out_there)
{
	uint8_t key[SPARSE_KEY_SIZE];
	fact_key(type, id, key);
	struct span value;
	TRY(of_map(sparse_map_find(state->map, key, &value)));
	*out_there = value.len > 0;
	if (value.len == 0)
		return OK;
	if (copy)
		TRY(arena_copy(arena, value, &value));
	if (schema_decode(schemas[type], value, arena, out) != OK)
		return fail(INTERNAL, "a fact of the ledger's state does not decode");
	return OK;
}

result ledger_state_find(const struct ledger_state *state, enum fact_type type, struct span id, struct arena *arena, void *out,
	bool *out_there)
{
	return find(state, type, id, false, arena, out, out_there);
}

result ledger_state_find_copy(const struct ledger_state *state, enum fact_type type, struct span id, struct arena *arena, void *out,
	bool *out_there)
{
	return find(state, type, id, true, arena, out, out_there);
}

size_t ledger_state_count(const struct ledger_state *state)
{
	return sparse_map_count(state->map);
}

void ledger_state_root(struct ledger_state *state, struct merkle_hash *out)
{
	sparse_map_root(state->map, out);
}

result ledger_state_prove(struct ledger_state *state, const uint8_t key[static SPARSE_KEY_SIZE], struct sparse_proof *out)
{
	return of_map(sparse_map_prove(state->map, key, out));
}

result ledger_state_sound(const struct ledger_state *state)
{
	return state->unsound ? of_map(PROOF_INVALID) : OK;
}

void state_changes_free(struct state_changes *changes)
{
	for (size_t i = 0; i < changes->count; i++)
		bytes_free(&changes->rows[i].value);
	changes->count = 0;
}

result state_changes_put(struct state_changes *changes, enum fact_type type, struct span id, const void *fact)
{
	struct bytes value = BYTES_EMPTY;
	struct state_change *row = NULL;
	uint8_t key[SPARSE_KEY_SIZE];
	fact_key(type, id, key);
	for (size_t i = 0; i < changes->count && !row; i++)
		if (memcmp(changes->rows[i].key, key, sizeof(key)) == 0)
			row = &changes->rows[i];
	if (!row && changes->count == STATE_CHANGES_MAX)
		return fail(TOO_LARGE, "a transaction that changes more than %d facts", STATE_CHANGES_MAX);
	TRY(schema_encode(schemas[type], fact, &value));
	if (!row) {
		row = &changes->rows[changes->count++];
		*row = (struct state_change){.value = BYTES_EMPTY};
	}
	memcpy(row->key, key, sizeof(key));
	bytes_free(&row->value);
	row->value = value;
	return OK;
}

result ledger_state_change(struct ledger_state *state, const struct state_changes *changes)
{
	for (size_t i = 0; i < changes->count; i++)
		TRY(change(state, changes->rows[i].key, bytes_span(&changes->rows[i].value)));
	return OK;
}

/* ---- Nonces ------------------------------------------------------------------------------------ */

static bool is_due_before(const struct nonce_row *a, const struct nonce_row *b)
{
	return a->valid_until < b->valid_until;
}

static void swap_rows(struct nonce_row *a, struct nonce_row *b)
{
	struct nonce_row kept = *a;
	*a = *b;
	*b = kept;
}

static result heap_add(struct ledger_state *state, const struct nonce_row *row)
{
	void *rows = state->nonces;
	result grown = grow(&rows, &state->nonce_cap, state->nonce_count, sizeof(*state->nonces));
	state->nonces = rows;
	TRY(grown);
	size_t at = state->nonce_count++;
	state->nonces[at] = *row;
	for (; at > 0 && is_due_before(&state->nonces[at], &state->nonces[(at - 1) / 2]); at = (at - 1) / 2)
		swap_rows(&state->nonces[at], &state->nonces[(at - 1) / 2]);
	return OK;
}

static struct nonce_row heap_take(struct ledger_state *state)
{
	struct nonce_row top = state->nonces[0];
	state->nonces[0] = state->nonces[--state->nonce_count];
	for (size_t at = 0;;) {
		size_t least = at;
		for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < state->nonce_count; child++)
			if (is_due_before(&state->nonces[child], &state->nonces[least]))
				least = child;
		if (least == at)
			return top;
		swap_rows(&state->nonces[at], &state->nonces[least]);
		at = least;
	}
}

result ledger_state_add_nonce(struct ledger_state *state, const uint8_t address[static ADDRESS_SIZE],
	const uint8_t nonce[static 32], uint64_t valid_until)
{
	uint8_t id[ADDRESS_SIZE + 32];
	CLEANUP(bytes_free) struct bytes value = BYTES_EMPTY;
	struct nonce_row row = {.valid_until = valid_until};
	const struct nonce_fact fact = {valid_until};
	memcpy(id, address, ADDRESS_SIZE);
	memcpy(id + ADDRESS_SIZE, nonce, 32);
	fact_key(FACT_NONCE, SPAN_ARRAY(id), row.key);
	TRY(schema_encode(&nonce_fact_schema, &fact, &value));
	TRY(change(state, row.key, bytes_span(&value)));
	void *rows = state->fresh;
	result grown = grow(&rows, &state->fresh_cap, state->fresh_count, sizeof(*state->fresh));
	state->fresh = rows;
	TRY(grown);
	state->fresh[state->fresh_count++] = row;
	return heap_add(state, &row);
}

/* The heap may hold more nonces than the map after this: pruning asks the map. */
result ledger_state_rollback(struct ledger_state *state)
{
	result back = state->lost ? fail(NO_MEMORY, "ledger state") : OK;
	state->remembers = false;
	while (back == OK && state->undo_count) {
		struct undo_row *row = &state->undo[state->undo_count - 1];
		if (row->before.len)
			back = of_map(sparse_map_put(state->map, row->key, bytes_span(&row->before)));
		else
			back = of_map(sparse_map_remove(state->map, row->key));
		if (back == OK) {
			bytes_free(&row->before);
			state->undo_count--;
		}
	}
	for (; back == OK && state->taken_count; state->taken_count--)
		back = heap_add(state, &state->taken[state->taken_count - 1]);
	ledger_state_keep(state);
	return back;
}

static int by_key(const void *a, const void *b)
{
	return memcmp(((const struct nonce_row *)a)->key, ((const struct nonce_row *)b)->key, SPARSE_KEY_SIZE);
}

static result is_nonce(struct span value, uint64_t *out)
{
	struct nonce_fact fact;
	CLEANUP(arena_free) struct arena arena = arena_of(256);
	TRY(schema_decode(&nonce_fact_schema, value, &arena, &fact));
	*out = fact.valid_until;
	return OK;
}

/* Removes one; without memory to remember it by, it goes all the same and a rollback will fail. */
static void forget(struct ledger_state *state, const struct nonce_row *row)
{
	uint64_t valid_until;
	struct span value;
	if (sparse_map_find(state->map, row->key, &value) != OK) {
		state->unsound = true;
		return;
	}
	if (value.len == 0 || is_nonce(value, &valid_until) != OK || valid_until != row->valid_until)
		return;
	if (state->remembers) {
		void *rows = state->taken;
		result grown = grow(&rows, &state->taken_cap, state->taken_count, sizeof(*state->taken));
		state->taken = rows;
		if (grown == OK)
			state->taken[state->taken_count++] = *row;
		if (grown != OK || remember(state, row->key) != OK)
			state->lost = true;
	}
	if (sparse_map_remove(state->map, row->key) != OK)
		state->unsound = true;
}

/* The root does not depend on the order; it is kept for those who replay with other means. */
void ledger_state_prune(struct ledger_state *state, uint64_t now_ms)
{
	struct nonce_row due[64];
	size_t count;
	do {
		for (count = 0; count < COUNT_OF(due) && state->nonce_count && state->nonces[0].valid_until < now_ms; count++)
			due[count] = heap_take(state);
		qsort(due, count, sizeof(due[0]), by_key);
		for (size_t i = 0; i < count; i++)
			forget(state, &due[i]);
	} while (count == COUNT_OF(due));
}

/* ---- Stored ------------------------------------------------------------------------------------ */

/*
 * A list of nonces: before u64 ‖ until u64 ‖ count u32 ‖ count * (valid_until u64 ‖ key32) ‖ CRC-32C u32 of all that ‖ zeros.
 * `before`: where the list before it begins, 0 for none; `until`: nothing in it or a list before it is valid longer.
 */
enum { LIST_HEAD = 8 + 8 + 4, LIST_ROW = 8 + SPARSE_KEY_SIZE, ALIGN = 8 };

static void pad(struct writer *w)
{
	while (w->failed == OK && w->len % ALIGN)
		writer_u8(w, 0);
}

static uint64_t last_until(const struct nonce_row *rows, size_t count, uint64_t until)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].valid_until > until)
			until = rows[i].valid_until;
	return until;
}

static void put_list(struct ledger_state *state, bool all, struct writer *w, uint64_t offset)
{
	const struct nonce_row *rows = all ? state->nonces : state->fresh;
	size_t count = all ? state->nonce_count : state->fresh_count, at = w->len;
	if (count == 0 && !all)
		return;
	uint64_t before = all ? 0 : state->listed_at;
	state->listed_until = last_until(rows, count, all ? 0 : state->listed_until);
	state->listed_at = offset + at;
	writer_u64(w, before);
	writer_u64(w, state->listed_until);
	writer_u32(w, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		writer_u64(w, rows[i].valid_until);
		writer_put(w, rows[i].key, SPARSE_KEY_SIZE);
	}
	if (w->failed == OK)
		writer_u32(w, crc32c(0, span_of(w->data + at, w->len - at)));
	pad(w);
}

result ledger_state_store(struct ledger_state *state, bool all, struct writer *w, uint64_t offset, struct state_place *out)
{
	struct state_place place = {.count = sparse_map_count(state->map)};
	struct span written;
	TRY(of_map(sparse_map_store(state->map, all, w, offset, &place.root)));
	put_list(state, all, w, offset);
	TRY(writer_finish(w, &written));
	state->fresh_count = 0;
	place.nonces = state->listed_at;
	*out = place;
	return OK;
}

static result wrong_list(void)
{
	return fail(LEDGER_DAMAGED, "a list of nonces is not one");
}

static result read_list(struct ledger_state *state, struct span stored, uint64_t at, uint64_t time_ms, uint64_t *out_before)
{
	uint64_t until;
	uint32_t count, sum;
	struct span rows;
	if (at > stored.len || at % ALIGN)
		return wrong_list();
	struct reader r = reader_of(span_of(stored.data + at, stored.len - at));
	if (reader_u64(&r, out_before) != OK || reader_u64(&r, &until) != OK || reader_u32(&r, &count) != OK ||
		reader_take(&r, (size_t)count * LIST_ROW, &rows) != OK || reader_u32(&r, &sum) != OK ||
		sum != crc32c(0, span_of(stored.data + at, LIST_HEAD + rows.len)) || *out_before >= at)
		return wrong_list();
	/* What is due was forgotten when the state was stored. */
	if (until < time_ms)
		*out_before = 0;
	if (state->listed_until == 0)
		state->listed_until = until;
	struct reader each = reader_of(rows);
	while (reader_left(&each)) {
		struct nonce_row row;
		TRY(reader_u64(&each, &row.valid_until));
		TRY(reader_copy(&each, row.key, SPARSE_KEY_SIZE));
		if (row.valid_until >= time_ms)
			TRY(heap_add(state, &row));
	}
	return OK;
}

static result read_lists(struct ledger_state *state, struct span stored, uint64_t at, uint64_t time_ms)
{
	state->listed_at = at;
	while (at)
		TRY(read_list(state, stored, at, time_ms, &at));
	return OK;
}

result ledger_state_open(struct span stored, const struct state_place *place, const struct merkle_hash *root, uint64_t time_ms,
	struct ledger_state **out)
{
	struct ledger_state *state = calloc(1, sizeof(*state));
	if (!state)
		return fail(NO_MEMORY, "ledger state");
	result opened = sparse_map_open(stored, place->root, root, (size_t)place->count, &state->map);
	if (opened == OK)
		opened = read_lists(state, stored, place->nonces, time_ms);
	if (opened != OK) {
		ledger_state_free(state);
		return opened == PROOF_INVALID ? fail(LEDGER_DAMAGED, "a state that cannot be") : opened;
	}
	*out = state;
	return OK;
}

result ledger_state_bring(struct ledger_state *state, size_t nodes, bool *out_done)
{
	return of_map(sparse_map_bring(state->map, nodes, out_done));
}
