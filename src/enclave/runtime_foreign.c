/*
 * Roots of trust of other hosts in an IRE (docs/PROTOCOL.control "Several hosts"): which ones count is measured, namely those
 * that the manifest names for a peer or for what its data come from. The host hands over what it knows of each; the chain of
 * every root is followed here, under the rules of the own one (constructions/epochs.md "Live evidence", "Sessions").
 */
#include <stdlib.h>

#include "base/log.h"
#include "enclave/runtime_internal.h"

enum { HISTORY_MEMORY = 256 << 20 };

/* ---- Which roots count -------------------------------------------------------------------------------- */

static bool is_listed(const struct digest32 *list, size_t count, const uint8_t *rot_id)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(list[i].bytes, rot_id, OID_SIZE) == 0)
			return true;
	return false;
}

static bool is_own(const struct runtime *rt, const uint8_t *rot_id)
{
	return memcmp(rt->prepare.rot_id, rot_id, OID_SIZE) == 0;
}

/* By the measured manifest, for a peer or behind one. */
static bool is_named(const struct runtime *rt, const uint8_t *rot_id)
{
	const struct manifest *manifest = &rt->manifest;
	if (is_own(rt, rot_id))
		return false;
	for (size_t i = 0; i < manifest->peer_count; i++)
		if (is_listed(manifest->peers[i].rot_ids, manifest->peers[i].rot_id_count, rot_id))
			return true;
	return is_listed(manifest->roots, manifest->root_count, rot_id);
}

bool foreign_allows(const struct runtime *rt, const struct manifest_peer *rule, const uint8_t rot_id[static OID_SIZE])
{
	return rule->rot_rule == PEER_ROT_SAME ? is_own(rt, rot_id) : is_listed(rule->rot_ids, rule->rot_id_count, rot_id);
}

static struct foreign_root *find(const struct runtime *rt, const uint8_t *rot_id)
{
	for (size_t i = 0; i < rt->foreign_count; i++)
		if (memcmp(epoch_chain_rot_id(rt->foreign[i]->chain), rot_id, OID_SIZE) == 0)
			return rt->foreign[i];
	return NULL;
}

result foreign_view(const struct runtime *rt, const uint8_t rot_id[static OID_SIZE], struct root_view *out)
{
	const struct foreign_root *root = find(rt, rot_id);
	char label[ROT_LABEL_SIZE];
	if (is_own(rt, rot_id)) {
		*out = (struct root_view){rt->chain, rt->learned_ms, rt->rekey_by, 0};
		return OK;
	}
	rot_label(rot_id, label);
	if (!root)
		return fail(ROOT_UNKNOWN, "root %s", label);
	if (root->stopped != OK)
		return fail(OTHER_ROOT_STOPPED, "root %s: %s", label, reason_name(root->stopped));
	*out = (struct root_view){root->chain, root->learned_ms, root->rekey_by, root->place};
	return OK;
}

result foreign_live_key(const struct root_view *view, const uint8_t oid[static OID_SIZE], const struct epoch_floor *floor,
	struct key *out)
{
	TRY(epoch_chain_judge_live(view->chain, oid, floor->era, floor->epoch, view->learned_ms, runtime_now_ms()));
	return key_from_point(SPAN_ARRAY(epoch_chain_find(view->chain, oid)->sign_pk), out);
}

void foreign_floors(const struct runtime *rt, struct epoch_floor floors[static 1 + FOREIGN_ROOTS_MAX])
{
	const struct epoch_link *head = epoch_chain_head(rt->chain);
	floors[0] = (struct epoch_floor){head->era, head->epoch};
	for (size_t i = 0; i < rt->foreign_count; i++) {
		head = epoch_chain_head(rt->foreign[i]->chain);
		floors[i + 1] = (struct epoch_floor){head->era, head->epoch};
	}
}

/* ---- What the host tells ---------------------------------------------------------------------------------- */

static enum reason stopped_by(const struct epoch_chain *chain)
{
	switch (epoch_chain_state(chain)) {
	case CHAIN_HALTED: return EPOCH_HALTED;
	case CHAIN_FROZEN: return EPOCH_FORKED;
	case CHAIN_LIVE: break;
	}
	return OK;
}

/* Records may stand under one of the last epochs; under more than so many of one root in one run they are refused. */
static result add_dac_root(struct runtime *rt, struct foreign_root *root, const struct epoch_link *link)
{
	struct dac_root row = {
		.era = link->era,
		.epoch = link->epoch,
		.not_before = link->not_before,
		.not_after = link->not_after,
	};
	if (!rt->dac || root->known_count == KNOWN_EPOCHS)
		return OK;
	memcpy(row.rot_id, epoch_chain_rot_id(root->chain), OID_SIZE);
	memcpy(row.epoch_oid, link->oid, OID_SIZE);
	struct key *key = &root->known[root->known_count];
	TRY(key_from_point(SPAN_ARRAY(link->sign_pk), key));
	root->known_count++;
	row.key = key;
	return dac_add_root(rt->dac, &row);
}

static result add_latest(struct runtime *rt, struct foreign_root *root)
{
	size_t count = epoch_chain_count(root->chain), before = KNOWN_EPOCHS / 2;
	for (size_t i = count > before ? count - before : 0; i < count; i++)
		if (!epoch_chain_at(root->chain, i)->is_void)
			TRY(add_dac_root(rt, root, epoch_chain_at(root->chain, i)));
	return OK;
}

result foreign_add_roots(struct runtime *rt)
{
	for (size_t i = 0; i < rt->foreign_count; i++)
		TRY(add_latest(rt, rt->foreign[i]));
	return OK;
}

static result add(struct runtime *rt, struct epoch_chain **chain)
{
	struct foreign_root *root = calloc(1, sizeof(*root));
	if (!root)
		return fail(NO_MEMORY, "roots of other hosts");
	root->chain = *chain;
	*chain = NULL; /* transferred */
	root->learned_ms = runtime_now_ms();
	root->stopped = stopped_by(root->chain);
	rt->foreign[rt->foreign_count++] = root;
	root->place = rt->foreign_count;
	return rt->dac ? add_latest(rt, root) : OK;
}

/* As with the own root: a scheduled rotation leaves its grace, anything else ends what rests on the root. */
static result note_head(struct runtime *rt, struct foreign_root *root, const struct epoch_link *before)
{
	const struct epoch_link *head = epoch_chain_head(root->chain);
	char label[ROT_LABEL_SIZE];
	rot_label(epoch_chain_rot_id(root->chain), label);
	enum reason was = root->stopped;
	if (root->stopped == OK)
		root->stopped = head->era != before->era ? ROTATED_EMERGENCY : stopped_by(root->chain);
	if (root->stopped != was)
		log_warning("another root of trust no longer counts", LOG_TEXT("root", label), LOG_TEXT("reason", reason_name(root->stopped)));
	if (head == before || root->stopped != OK)
		return OK;
	root->learned_ms = runtime_now_ms();
	root->rekey_by = runtime_time().steady_ms + (uint64_t)head->grace_s * 1000;
	log_info("another root of trust has moved on", LOG_TEXT("root", label), LOG_NUMBER("epoch", head->epoch),
		LOG_NUMBER("grace_s", head->grace_s));
	return add_dac_root(rt, root, head);
}

static result learn(struct runtime *rt, struct foreign_root *root, const struct epoch_history *history)
{
	const struct epoch_link *before = epoch_chain_head(root->chain);
	for (size_t i = 0; i < history->key_count; i++)
		TRY(epoch_chain_add_key(root->chain, history->keys[i].bytes));
	/* The first is the inception: that it is this root's own says its oid. */
	for (size_t i = 1; i < history->object_count; i++)
		TRY(epoch_chain_learn(root->chain, history->objects[i].bytes));
	return note_head(rt, root, before);
}

static result take_history(struct runtime *rt, const struct epoch_history *history)
{
	struct epoch_chain *chain = NULL;
	if (history->object_count == 0)
		return fail(BAD_VALUE, "a history without an inception record");
	TRY(epoch_chain_new(history->objects[0].bytes, &chain));
	struct foreign_root *known = find(rt, epoch_chain_rot_id(chain));
	/* What the host knows beside is none of this enclave's business. */
	bool wanted = !known && is_named(rt, epoch_chain_rot_id(chain));
	result added = OK;
	if (wanted)
		added = rt->foreign_count == FOREIGN_ROOTS_MAX ? fail(TOO_LARGE, "more than %d roots of other hosts", FOREIGN_ROOTS_MAX)
							       : add(rt, &chain);
	epoch_chain_free(chain);
	TRY(added);
	if (wanted)
		known = rt->foreign[rt->foreign_count - 1];
	return known ? learn(rt, known, history) : OK;
}

static result take_all(struct runtime *rt, const struct bytes_item *histories, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		CLEANUP(arena_free) struct arena arena = arena_of(HISTORY_MEMORY);
		struct epoch_history history;
		result taken = schema_decode(&epoch_history_schema, histories[i].bytes, &arena, &history);
		if (taken == OK)
			taken = take_history(rt, &history);
		if (taken != OK)
			return fail_within(ROOT_HISTORY_REFUSED, "history %zu of other roots (%s)", i + 1, reason_name(taken));
	}
	return OK;
}

result foreign_begin(struct runtime *rt)
{
	return take_all(rt, rt->prepare.foreign, rt->prepare.foreign_count);
}

result foreign_news(struct runtime *rt, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(HISTORY_MEMORY);
	struct control_foreign told;
	if (!rt->chain)
		return fail(ILLEGAL_STATE, "FOREIGN before PREPARE");
	TRY(control_decode(message, &arena, &told));
	return take_all(rt, told.histories, told.history_count);
}

/* What came from behind a root that was stopped meanwhile counts no more. */
result foreign_require_standing(const struct runtime *rt, const size_t *records, size_t count)
{
	struct root_view unused;
	for (size_t i = 0; i < count; i++)
		TRY(foreign_view(rt, dac_record(rt->dac, records[i])->rot_id, &unused));
	return OK;
}

result foreign_require_all_standing(const struct runtime *rt, const uint8_t oid[static OID_SIZE])
{
	const struct dac_walk all = {.stop = NULL};
	size_t *indices, count, stopped = 0;
	for (size_t i = 0; i < rt->foreign_count; i++)
		stopped += rt->foreign[i]->stopped != OK;
	if (!stopped) /* what was accepted stands under a root that is known */
		return OK;
	TRY(dac_walk(rt->dac, oid, &all, &indices, &count));
	result standing = foreign_require_standing(rt, indices, count);
	free(indices);
	return standing;
}

void foreign_free(struct runtime *rt)
{
	for (size_t i = 0; i < rt->foreign_count; i++) {
		for (size_t k = 0; k < rt->foreign[i]->known_count; k++)
			key_free(&rt->foreign[i]->known[k]);
		epoch_chain_free(rt->foreign[i]->chain);
		free(rt->foreign[i]);
	}
	rt->foreign_count = 0;
}
