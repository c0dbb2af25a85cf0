#include "enclave/fetch.h"

#include <stdlib.h>

static const struct field asked_fields[] = {F_LIST(struct fetch_asked, 1, ids, count, &digest32_schema, 0, 1, FETCH_MAX_IDS)};
const struct schema fetch_asked_schema = SCHEMA(struct fetch_asked, "FETCH", SHAPE_MAP, asked_fields);

static void free_indices(size_t **indices)
{
	free(*indices);
}

/* ---- Giving ---------------------------------------------------------------------------------------- */

void fetch_giver_free(struct fetch_giver *giver)
{
	id_set_free(&giver->owed);
	id_set_free(&giver->given);
}

result fetch_leave_out(struct fetch_giver *giver, const struct dac *dac, const size_t *indices, size_t count, size_t eager, size_t *out_from)
{
	size_t from = count, bytes = 0;
	while (from > 0 && count - from <= eager) { /* the last is the record itself */
		bytes += dac_bytes(dac, indices[from - 1]).len;
		if (bytes > NODES_MAX_BYTES && from < count)
			break;
		from--;
	}
	for (size_t i = 0; i < from; i++)
		TRY(id_set_add(&giver->owed, dac_oid(dac, indices[i])));
	*out_from = from;
	return OK;
}

struct giving {
	size_t *indices;
	size_t count, cap, bytes;
};

static bool is_owed(const struct fetch_giver *giver, const uint8_t oid[static OID_SIZE])
{
	return id_set_has(&giver->owed, oid) && !id_set_has(&giver->given, oid);
}

static result give_one(struct fetch_giver *giver, const struct dac *dac, struct giving *giving, size_t index)
{
	TRY(id_set_add(&giver->given, dac_oid(dac, index)));
	giving->indices[giving->count++] = index;
	giving->bytes += dac_bytes(dac, index).len;
	return OK;
}

static result give_asked(struct fetch_giver *giver, const struct dac *dac, const struct fetch_asked *asked, struct giving *giving)
{
	for (size_t i = 0; i < asked->count; i++) {
		size_t index = dac_find(dac, asked->ids[i].bytes);
		if (index == SIZE_MAX || !is_owed(giver, asked->ids[i].bytes))
			return fail(DAC_FETCH_REFUSED, "record %zu of %zu that were asked for", i + 1, asked->count);
		TRY(give_one(giver, dac, giving, index));
	}
	return OK;
}

/* Whoever asks for a record will ask for what it names. */
static result give_further(struct fetch_giver *giver, const struct dac *dac, struct giving *giving)
{
	for (size_t at = 0; at < giving->count; at++) {
		const struct record *record = dac_record(dac, giving->indices[at]);
		for (size_t p = 0; p < record->parent_count; p++) {
			size_t parent = dac_find(dac, record->parents[p].oid);
			if (parent == SIZE_MAX || !is_owed(giver, record->parents[p].oid))
				continue;
			if (giving->count == giving->cap || giving->bytes + dac_bytes(dac, parent).len > NODES_MAX_BYTES)
				return OK;
			TRY(give_one(giver, dac, giving, parent));
		}
	}
	return OK;
}

result fetch_give(struct fetch_giver *giver, const struct dac *dac, const struct fetch_asked *asked, size_t **out_indices, size_t *out_count)
{
	CLEANUP(free_indices) size_t *indices = calloc(NODES_MAX_RECORDS, sizeof(*indices));
	struct giving giving = {.indices = indices, .cap = NODES_MAX_RECORDS};
	if (!indices)
		return fail(NO_MEMORY, "records that a peer asks for");
	TRY(give_asked(giver, dac, asked, &giving));
	TRY(give_further(giver, dac, &giving));
	*out_indices = indices;
	*out_count = giving.count;
	indices = NULL; /* transferred */
	return OK;
}

/* ---- Taking ---------------------------------------------------------------------------------------- */

void fetch_taker_free(struct fetch_taker *taker)
{
	id_set_free(&taker->received);
	free(taker->order);
	taker->order = NULL;
	taker->order_cap = 0;
}

void fetch_begin(struct fetch_taker *taker, const uint8_t root[static OID_SIZE], bool more)
{
	id_set_free(&taker->received);
	taker->asked_count = 0;
	taker->may_ask |= more;
	memcpy(taker->root, root, OID_SIZE);
}

result fetch_note(struct fetch_taker *taker, const uint8_t oid[static OID_SIZE])
{
	if (id_set_has(&taker->received, oid))
		return fail(DAC_DUPLICATE, "the peer sent a record twice");
	if (taker->received.count == taker->order_cap) {
		size_t cap = taker->order_cap ? 2 * taker->order_cap : 64;
		uint8_t(*grown)[OID_SIZE] = reallocarray(taker->order, cap, OID_SIZE);
		if (!grown)
			return fail(NO_MEMORY, "records that a peer sent");
		taker->order = grown;
		taker->order_cap = cap;
	}
	memcpy(taker->order[taker->received.count], oid, OID_SIZE);
	return id_set_add(&taker->received, oid);
}

struct search {
	struct fetch_taker *taker;
	const struct dac *dac;
};

/* What was accepted has its ancestors here. */
static bool is_accepted(void *context, const uint8_t oid[static OID_SIZE])
{
	const struct search *search = context;
	size_t at = dac_find(search->dac, oid);
	if (at == SIZE_MAX)
		return false;
	struct dac_verdict verdict = dac_verdict(search->dac, at);
	return verdict.judged && verdict.reason == OK;
}

/* The others will be found once these are here. */
static result note_missing(void *context, const uint8_t oid[static OID_SIZE])
{
	struct fetch_taker *taker = ((struct search *)context)->taker;
	for (size_t i = 0; i < taker->asked_count; i++)
		if (memcmp(taker->asked[i].bytes, oid, OID_SIZE) == 0)
			return OK;
	if (taker->asked_count < FETCH_MAX_IDS)
		memcpy(taker->asked[taker->asked_count++].bytes, oid, OID_SIZE);
	return OK;
}

result fetch_missing(struct fetch_taker *taker, struct dac *dac)
{
	struct search search = {taker, dac};
	const struct dac_walk how = {.stop = is_accepted, .missing = note_missing, .context = &search};
	CLEANUP(free_indices) size_t *reached = NULL;
	size_t count;
	taker->asked_count = 0;
	TRY(dac_walk(dac, taker->root, &how, &reached, &count));
	if (taker->asked_count && !taker->may_ask)
		return fail(DAC_MISSING_PARENT, "%zu records that its record depends on did not come along", taker->asked_count);
	return OK;
}

/* Faults that what is still to come may heal. */
static bool may_heal(enum reason reason)
{
	return reason == DAC_MISSING_PARENT || reason == DAC_BROKEN_ANCESTOR;
}

result fetch_check_nodes(struct fetch_taker *taker, struct dac *dac, size_t from)
{
	struct dac_summary summary;
	for (size_t i = 0; i < taker->asked_count; i++)
		if (!id_set_has(&taker->received, taker->asked[i].bytes))
			return fail(DAC_MISSING_PARENT, "the peer does not send record %zu of %zu that it was asked for", i + 1, taker->asked_count);
	TRY(dac_verify(dac, &summary));
	for (size_t i = from; i < taker->received.count; i++) {
		result judged = dac_require(dac, taker->order[i]);
		if (judged != OK && !may_heal(judged))
			return judged;
	}
	taker->asked_count = 0;
	return OK;
}

result fetch_require_root(const struct fetch_taker *taker, const struct dac *dac)
{
	result judged = dac_require(dac, taker->root);
	if (judged != DAC_BROKEN_ANCESTOR)
		return judged;
	for (size_t i = 0; i < taker->received.count; i++) {
		result broken = dac_require(dac, taker->order[i]);
		if (broken != OK && broken != DAC_BROKEN_ANCESTOR)
			return broken;
	}
	return dac_require(dac, taker->root);
}

static bool is_known(void *context, const uint8_t oid[static OID_SIZE])
{
	return id_set_has(context, oid);
}

result fetch_require_no_extra(struct fetch_taker *taker, struct dac *dac, const struct id_set *known)
{
	struct id_set before = *known;
	const struct dac_walk how = {.stop = is_known, .context = &before};
	CLEANUP(free_indices) size_t *reached = NULL;
	size_t count, named = 0;
	TRY(dac_walk(dac, taker->root, &how, &reached, &count));
	for (size_t i = 0; i < count; i++)
		named += id_set_has(&taker->received, dac_oid(dac, reached[i])) && !id_set_has(known, dac_oid(dac, reached[i]));
	for (size_t i = 0; i < taker->received.count; i++)
		named += id_set_has(known, taker->order[i]);
	if (named == taker->received.count)
		return OK;
	return fail(DAC_EXTRA_NODE, "%zu records that '%s' does not build on", taker->received.count - named,
		dac_record(dac, dac_find(dac, taker->root))->operation);
}
