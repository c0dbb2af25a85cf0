#include "policy/inherit.h"

struct merge {
	const struct document *document;
	const struct node *own, *base;
	struct arena *arena;
	const char *name; /* of the default */
};

/* The field where the policy says something that its default says too; NULL when one of them is silent. */
static const struct node *said_twice(const struct merge *m, const char *field)
{
	return node_field(m->base, field) ? node_field(m->own, field) : NULL;
}

static result wider(const struct merge *m, const char *field)
{
	return document_fail(m->document, node_field(m->own, field), POLICY_CONFLICT,
		"%s allows more than default %s at line %u; a policy may narrow what it inherits, not widen it", field, m->name,
		node_field(m->base, field)->line);
}

/* A limit: what the policy says, else what the default says, else *own as it is. `allowed`: own is as narrow. */
static result merge_number(const struct merge *m, const char *field, bool allowed, uint64_t base, uint64_t *own)
{
	if (said_twice(m, field))
		return allowed ? OK : wider(m, field);
	if (node_field(m->base, field))
		*own = base;
	return OK;
}

static result merge_upper(const struct merge *m, const char *field, uint64_t base, uint64_t *own)
{
	return merge_number(m, field, *own <= base, base, own);
}

static result merge_lower(const struct merge *m, const char *field, uint64_t base, uint64_t *own)
{
	return merge_number(m, field, *own >= base, base, own);
}

/* ---- Lists ---------------------------------------------------------------------------------------------- */

/* Both are sorted; so is the union. */
static result merge_texts(const struct merge *m, const struct form_texts *base, struct form_texts *own)
{
	void *memory;
	size_t i = 0, k = 0, count = 0;
	if (base->count == 0)
		return OK;
	TRY(arena_alloc(m->arena, base->count + own->count, sizeof(struct span), &memory));
	struct span *joined = memory;
	while (i < own->count || k < base->count) {
		int order = i == own->count ? 1 : k == base->count ? -1 : span_compare(own->items[i], base->items[k]);
		joined[count++] = order <= 0 ? own->items[i] : base->items[k];
		i += order <= 0;
		k += order >= 0;
	}
	*own = (struct form_texts){joined, count};
	return OK;
}

static result both_allow(const struct merge *m, const struct form_peer *own, const struct form_peer *base)
{
	const struct node *there = base->place;
	return document_fail(m->document, own->place, POLICY_CONFLICT,
		"%.*s stands in allowed_communicators here and in default %s at line %u; keep one of them", (int)own->id.len,
		(const char *)own->id.data, m->name, there->line);
}

static result merge_peers(const struct merge *m, const struct form_policy *base, struct form_policy *own)
{
	void *memory;
	size_t i = 0, k = 0, count = 0;
	if (base->peer_count == 0)
		return OK;
	TRY(arena_alloc(m->arena, base->peer_count + own->peer_count, sizeof(struct form_peer), &memory));
	struct form_peer *joined = memory;
	while (i < own->peer_count || k < base->peer_count) {
		int order = i == own->peer_count ? 1 :
			k == base->peer_count	 ? -1 :
						   span_compare(own->peers[i].id, base->peers[k].id);
		if (order == 0)
			return both_allow(m, &own->peers[i], &base->peers[k]);
		joined[count++] = order < 0 ? own->peers[i++] : base->peers[k++];
	}
	own->peers = joined;
	own->peer_count = count;
	return OK;
}

static bool has_text(const struct form_texts *texts, struct span text)
{
	for (size_t i = 0; i < texts->count; i++)
		if (span_equal(texts->items[i], text))
			return true;
	return false;
}

/* Fewer roots are narrower; "same" and a list cannot be compared before one knows whose root it is. */
static result merge_rot(const struct merge *m, const struct form_rot *base, struct form_rot *own)
{
	if (!said_twice(m, "rot_ids")) {
		if (node_field(m->base, "rot_ids"))
			*own = *base;
		return OK;
	}
	bool narrower = own->kind == base->kind;
	for (size_t i = 0; narrower && i < own->ids.count; i++)
		narrower = has_text(&base->ids, own->ids.items[i]);
	return narrower ? OK : wider(m, "rot_ids");
}

/* ---- The whole ------------------------------------------------------------------------------------------ */

static result merge_limits(const struct merge *m, const struct form_policy *base, struct form_policy *own)
{
	uint64_t depth = own->max_dac_depth, level = own->required_level, tier = own->min_confinement, open = own->allow_interpreter;
	TRY(merge_upper(m, "max_dac_depth", base->max_dac_depth, &depth));
	TRY(merge_lower(m, "required_attestation_level", base->required_level, &level));
	TRY(merge_lower(m, "min_confinement", base->min_confinement, &tier));
	TRY(merge_upper(m, "allow_interpreter", base->allow_interpreter, &open));
	TRY(merge_upper(m, "max_evidence_age_s", base->max_age_s, &own->max_age_s));
	TRY(merge_lower(m, "not_before", base->not_before, &own->not_before));
	TRY(merge_upper(m, "not_after", base->not_after, &own->not_after));
	own->max_dac_depth = (uint32_t)depth;
	own->required_level = (unsigned)level;
	own->min_confinement = (enum policy_confinement)tier;
	own->allow_interpreter = open;
	own->has_max_age |= base->has_max_age;
	own->has_not_before |= base->has_not_before;
	own->has_not_after |= base->has_not_after;
	return OK;
}

/* off < prefer < require: a default that requires is not softened. */
static uint64_t rank_of(enum policy_pq pq)
{
	return pq == POLICY_PQ_OFF ? 0 : pq == POLICY_PQ_PREFER ? 1 : 2;
}

static result merge_pq(const struct merge *m, const struct form_policy *base, struct form_policy *own)
{
	static const enum policy_pq by_rank[] = {POLICY_PQ_OFF, POLICY_PQ_PREFER, POLICY_PQ_REQUIRE};
	uint64_t rank = rank_of(own->pq);
	TRY(merge_lower(m, "pq", rank_of(base->pq), &rank));
	own->pq = by_rank[rank];
	return OK;
}

/* Less is narrower in each of them, and what is not said is as wide as can be. */
static result merge_channels(const struct merge *m, const struct policy_channels *base, struct policy_channels *own)
{
	const uint64_t limits[] = {base->sessions, base->keyupdate_bytes, base->rekey_s, base->stall_s};
	uint64_t *const values[] = {&own->sessions, &own->keyupdate_bytes, &own->rekey_s, &own->stall_s};
	for (size_t i = 0; i < COUNT_OF(limits); i++) {
		if (limits[i] && *values[i] > limits[i])
			return wider(m, "channels");
		if (*values[i] == 0)
			*values[i] = limits[i];
	}
	return OK;
}

static result merge_chain(const struct merge *m, const struct form_policy *base, struct form_policy *own)
{
	const struct node *here = node_field(m->own, "chain"), *there = node_field(m->base, "chain");
	struct merge limits = *m;
	if (!there)
		return OK;
	limits.own = here;
	limits.base = there;
	for (size_t i = 0; i < POLICY_CHAIN_LIMITS; i++) {
		if (here && own->chain[i] && base->chain[i])
			TRY(merge_upper(&limits, chain_limit_rows[i].field, base->chain[i], &own->chain[i]));
		else if (!own->chain[i])
			own->chain[i] = base->chain[i];
	}
	return OK;
}

static result merge_author(const struct merge *m, const struct form_policy *base, struct form_policy *own)
{
	if (said_twice(m, "author") && !span_equal(own->author, base->author))
		return document_fail(m->document, node_field(m->own, "author"), POLICY_CONFLICT,
			"author is another one than that of default %s at line %u; keep one of them", m->name,
			node_field(m->base, "author")->line);
	if (base->author.data)
		own->author = base->author;
	return OK;
}

result policy_inherit(const struct document *document, const struct inherit_side *policy, const struct inherit_side *base,
	struct arena *arena, struct form_policy *out_form)
{
	struct form_policy own = *policy->form;
	const struct merge m = {document, policy->node, base->node, arena, node_field(base->node, "default")->text};
	TRY(merge_limits(&m, base->form, &own));
	TRY(merge_rot(&m, &base->form->rot, &own.rot));
	TRY(merge_peers(&m, base->form, &own));
	TRY(merge_texts(&m, &base->form->denied, &own.denied));
	TRY(merge_texts(&m, &base->form->level0, &own.level0));
	TRY(merge_author(&m, base->form, &own));
	TRY(merge_pq(&m, base->form, &own));
	TRY(merge_chain(&m, base->form, &own));
	TRY(merge_channels(&m, &base->form->channels, &own.channels));
	own.factors |= base->form->factors;
	*out_form = own;
	return OK;
}
