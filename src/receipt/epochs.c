#include "receipt/epochs.h"

#include <stdlib.h>

#include "object/epoch_rules.h"

void receipt_epochs_free(struct receipt_epochs *epochs)
{
	while (epochs->used) {
		struct used_epoch *used = epochs->used;
		epochs->used = used->next;
		key_free(&used->key);
		free(used);
	}
	epoch_chain_free(epochs->chain);
	*epochs = (struct receipt_epochs){0};
}

/* ---- The receipt's own chain --------------------------------------------------------------------------- */

result receipt_epochs_begin(const struct trust_root *root, struct receipt_epochs *out)
{
	struct receipt_epochs epochs = {0};
	TRY(epoch_chain_new(root->inception, &epochs.chain));
	*out = epochs;
	return OK;
}

/* An item of the section that is no record but a recovery key: DER begins with a SEQUENCE, a record with a tag. */
static bool is_key(struct span item)
{
	return item.len == SPKI_SIZE && item.data[0] == 0x30;
}

static result add_keys(struct epoch_chain *chain, const struct trust *trust, const struct epoch_history *known)
{
	for (size_t i = 0; i < trust->recovery_spki_count; i++)
		TRY(epoch_chain_add_key(chain, trust->recovery_spki[i]));
	for (size_t i = 0; i < known->key_count; i++)
		TRY(epoch_chain_add_key(chain, known->keys[i].bytes));
	return OK;
}

/* Records first, then keys in ascending order: a chain has one form. Gives the number of records. */
static result add_section_keys(struct epoch_chain *chain, const struct bytes_list *section, size_t *out_records)
{
	size_t records = 0;
	while (records < section->count && !is_key(section->items[records].bytes))
		records++;
	for (size_t i = records; i < section->count; i++) {
		if (i > records && span_compare(section->items[i - 1].bytes, section->items[i].bytes) >= 0)
			return fail(NOT_DETERMINISTIC, "recovery keys are not in ascending order");
		TRY(epoch_chain_add_key(chain, section->items[i].bytes));
	}
	*out_records = records;
	return OK;
}

/* A root that was forked or halted, and recovered since, has a past that is no plain line; what counts is how it ends. */
static result follow(struct epoch_chain *chain, struct span record, size_t number)
{
	result learned = epoch_chain_learn(chain, record);
	return learned == OK ? OK : fail_within(learned, "epoch record %zu", number);
}

static result check_end(const struct epoch_chain *chain, size_t records)
{
	switch (epoch_chain_state(chain)) {
	case CHAIN_FROZEN:
		return fail(EPOCH_FORKED, "the receipt's own chain holds two valid records for one epoch");
	case CHAIN_HALTED:
		return fail(EPOCH_HALTED, "the receipt's own chain ends with a HALT");
	case CHAIN_LIVE:
		break;
	}
	if (epoch_chain_count(chain) != records)
		return fail(DAC_EXTRA_NODE, "%zu objects that make %zu epochs", records, epoch_chain_count(chain));
	return OK;
}

result receipt_epochs_read(struct receipt_epochs *epochs, const struct trust_root *root, const struct bytes_list *section,
	const struct trust *trust, const struct epoch_history *known)
{
	size_t records;
	if (section->count == 0 || !span_equal(section->items[0].bytes, root->inception))
		return fail(DAC_UNTRUSTED_ROOT, "the inception record is not the one of the trust file");
	TRY(add_keys(epochs->chain, trust, known));
	TRY(add_section_keys(epochs->chain, section, &records));
	for (size_t i = 1; i < records; i++)
		TRY(follow(epochs->chain, section->items[i].bytes, i + 1));
	return check_end(epochs->chain, records);
}

result receipt_epochs_use(struct receipt_epochs *epochs, const uint8_t oid[static OID_SIZE], const struct used_epoch **out)
{
	for (const struct used_epoch *used = epochs->used; used; used = used->next)
		if (memcmp(used->link->oid, oid, OID_SIZE) == 0) {
			*out = used;
			return OK;
		}
	const struct epoch_link *link = epoch_chain_find(epochs->chain, oid);
	if (!link || link->is_void)
		return fail(DAC_UNTRUSTED_ROOT, "an epoch that is not on the receipt's chain");
	struct used_epoch *used = calloc(1, sizeof(*used));
	if (!used)
		return fail(NO_MEMORY, "epochs");
	result made = key_from_point(SPAN_ARRAY(link->sign_pk), &used->key);
	if (made != OK) {
		free(used);
		return made;
	}
	used->link = link;
	used->next = epochs->used;
	epochs->used = used;
	*out = used;
	return OK;
}

/* ---- What the verifier knows ---------------------------------------------------------------------------- */

result epochs_file_parse(struct span bytes, struct arena *arena, struct epoch_history *out)
{
	struct epoch_history history = {.v = 1, .object_count = 1};
	struct reader r = reader_of(bytes);
	enum cbor_type type;
	void *item;
	if (bytes.len > EPOCH_HISTORY_MAX)
		return fail(TOO_LARGE, "a history of %zu bytes", bytes.len);
	TRY(cbor_peek(&r, &type));
	if (type == CBOR_MAP)
		return schema_decode(&epoch_history_schema, bytes, arena, out);
	uint8_t rot_id[OID_SIZE];
	TRY(epoch_object_root(bytes, rot_id));
	TRY(arena_alloc(arena, 1, sizeof(struct bytes_item), &item));
	history.objects = item;
	history.objects[0].bytes = bytes;
	*out = history;
	return OK;
}

/* Objects of this root that wait to be taken in. */
struct waiting {
	struct span *objects;
	size_t count;
};

static result add_waiting(struct waiting *w, struct span object, const struct trust_root *root)
{
	uint8_t rot_id[OID_SIZE];
	result read = epoch_object_root(object, rot_id);
	if (read != OK)
		return fail_within(read, "an epoch record or HALT that you gave");
	if (memcmp(rot_id, root->rot_id, OID_SIZE) == 0)
		w->objects[w->count++] = object;
	return OK;
}

/* One round; what is refused stays in the list. Gives the first refusal, its text is the last failure. */
static result take_round(struct epoch_chain *chain, struct waiting *w)
{
	size_t left = 0;
	result first = OK;
	for (size_t i = 0; i < w->count; i++) {
		result learned = epoch_chain_learn(chain, w->objects[i]);
		if (learned == OK || learned == EPOCH_VOID) /* of an ended era: it counts for nothing, whoever made it */
			continue;
		if (first == OK)
			first = learned;
		w->objects[left++] = w->objects[i];
	}
	w->count = left;
	return first;
}

/* Objects may come in any order and need records that only the receipt has: round after round, as long as it helps. */
static result take_all(struct epoch_chain *chain, struct waiting *w)
{
	for (;;) {
		size_t before = w->count;
		result refused = take_round(chain, w);
		if (w->count == 0)
			return OK;
		if (w->count == before)
			return refused;
	}
}

static result gather(const struct trust_root *root, const struct trust *trust, const struct epoch_history *known, struct waiting *w)
{
	for (size_t i = 0; i < known->object_count; i++)
		TRY(add_waiting(w, known->objects[i].bytes, root));
	if (known->object_count && w->count == 0)
		return fail(EPOCH_FOREIGN, "the epochs that you gave are of another root than the receipt");
	for (size_t i = 0; i < trust->epoch_count; i++)
		TRY(add_waiting(w, trust->epochs[i], root));
	return OK;
}

/* The receipt's records, which were verified, and the verifier's knowledge on one chain. */
static result join(const struct receipt_epochs *epochs, const struct trust_root *root, const struct trust *trust,
	const struct epoch_history *known, struct waiting *w, struct epoch_chain **out)
{
	struct epoch_chain *chain;
	TRY(epoch_chain_new(root->inception, &chain));
	*out = chain;
	for (size_t i = 1; i < epoch_chain_count(epochs->chain); i++)
		TRY(epoch_chain_follow_trusted(chain, epoch_chain_at(epochs->chain, i)->record));
	TRY(add_keys(chain, trust, known));
	return take_all(chain, w);
}

static result require_not_void(const struct epoch_chain *chain, const struct epoch_link *link)
{
	const struct epoch_link *head = epoch_chain_head(chain), *mine = epoch_chain_find(chain, link->oid);
	if (mine && !mine->is_void)
		return OK;
	return fail(EPOCH_VOID, "era %u epoch %llu, under which the receipt was made, is void since era %u", link->era,
		(unsigned long long)link->epoch, head->era);
}

static result judge_epoch(const struct epoch_chain *chain, const struct epoch_link *link)
{
	const struct epoch_link *head = epoch_chain_head(chain);
	if (epoch_chain_state(chain) == CHAIN_HALTED)
		return fail(RECEIPT_UNJUDGED, "the recovery keys have halted this root; whether the receipt is older cannot be told");
	if (link->era < head->era)
		return fail(RECEIPT_UNJUDGED,
			"era %u epoch %llu was recovered from by era %u; whether the receipt is older cannot be told", link->era,
			(unsigned long long)link->epoch, head->era);
	return OK;
}

static result judge(const struct receipt_epochs *epochs, const struct epoch_chain *chain)
{
	if (epoch_chain_state(chain) == CHAIN_FROZEN)
		return fail(EPOCH_FORKED, "with what you hold, two valid records exist for one epoch of this root");
	for (const struct used_epoch *used = epochs->used; used; used = used->next)
		TRY(require_not_void(chain, used->link));
	for (const struct used_epoch *used = epochs->used; used; used = used->next)
		TRY(judge_epoch(chain, used->link));
	return OK;
}

/* The verifier's own object does not fit: when that may be for want of others, nothing can be said. */
static result cannot_place(result refused)
{
	switch (refused) {
	case EPOCH_SKIPPED:
	case EPOCH_FOREIGN:
	case RECOVERY_QUORUM:
		return fail_within(RECEIPT_UNJUDGED, "an epoch record or HALT of this root that you gave cannot be placed");
	default:
		return fail_within(refused, "an epoch record or HALT of this root that you gave");
	}
}

static result stand(const struct receipt_epochs *epochs, const struct trust_root *root, const struct trust *trust,
	const struct epoch_history *known, struct waiting *w)
{
	struct epoch_chain *chain = NULL;
	result stood = join(epochs, root, trust, known, w, &chain);
	if (stood == OK)
		stood = judge(epochs, chain);
	else if (w->count)
		stood = cannot_place(stood);
	epoch_chain_free(chain);
	return stood;
}

result receipt_epochs_stand(const struct receipt_epochs *epochs, const struct trust_root *root, const struct trust *trust,
	const struct epoch_history *known)
{
	struct waiting w = {calloc(trust->epoch_count + known->object_count + 1, sizeof(struct span)), 0};
	if (!w.objects)
		return fail(NO_MEMORY, "epochs");
	result stood = gather(root, trust, known, &w);
	if (stood == OK)
		stood = w.count ? stand(epochs, root, trust, known, &w) : judge(epochs, epochs->chain);
	free(w.objects);
	return stood;
}
