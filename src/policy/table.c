/*
 * Loading decodes each policy once; its rules go into arrays that grow with what was really there, never with
 * what was declared. A set that proves wrong half-way is dropped as a whole.
 */
#include "policy/table.h"

#include "crypto/hash.h"
#include "crypto/random.h"
#include "policy/compiled.h"
#include "policy/rules.h"
#include "wire/cbor.h"

#include <stdlib.h>

static const char digest_label[] = "troth policy1"; /* hashed with its NUL, which is the 00 of the construction */

/* ---- A set as a whole ---------------------------------------------------------------------------------- */

/* What a walk over a set does with each communicator and, after those, with their policy. */
struct set_visitor {
	struct compiled_visitor peers;
	result (*policy)(void *context, const struct compiled_policy *policy);
};

static result check_order(const struct compiled_policy *before, const struct compiled_policy *policy)
{
	if (!before->id.data)
		return OK;
	int order = compiled_order(before->kind, before->id, policy->kind, policy->id);
	if (order == 0)
		return fail(POLICY_CONFLICT, "two policies for %.*s", (int)policy->id.len, (const char *)policy->id.data);
	if (order > 0)
		return fail(NOT_DETERMINISTIC, "the policies of the set are not in order");
	return OK;
}

static result walk_set(struct span set, const struct set_visitor *visitor)
{
	struct reader r = reader_of(set);
	struct compiled_policy before = {0}, policy;
	size_t count;
	if (set.len > POLICY_MAX_COMPILED)
		return fail(TOO_LARGE, "a compiled set of %zu bytes, more than %d", set.len, POLICY_MAX_COMPILED);
	TRY(cbor_read_array(&r, &count));
	if (count == 0)
		return fail(EMPTY_SET, "a set without policies");
	if (count > POLICY_MAX_POLICIES)
		return fail(TOO_LARGE, "%zu policies in one set, more than %d", count, POLICY_MAX_POLICIES);
	for (size_t i = 0; i < count; i++) {
		TRY(compiled_decode(&r, &visitor->peers, &policy));
		TRY(check_order(&before, &policy));
		TRY(visitor->policy(visitor->peers.context, &policy));
		before = policy;
	}
	return reader_finish(&r);
}

static result check_size(size_t rules, size_t texts)
{
	if (rules + texts > POLICY_MAX_RULES)
		return fail(TOO_LARGE, "more than %d rules in one set", POLICY_MAX_RULES);
	return OK;
}

/* ---- Checking alone ------------------------------------------------------------------------------------- */

struct counts {
	size_t rules, texts;
};

static result count_peer(void *context, const struct compiled_peer *peer)
{
	struct counts *counts = context;
	counts->rules++;
	counts->texts += peer->operations.count + peer->scopes.count;
	return check_size(counts->rules, counts->texts);
}

static result count_policy(void *context, const struct compiled_policy *policy)
{
	struct counts *counts = context;
	counts->rules += policy->denied.count + policy->level0.count;
	return check_size(counts->rules, counts->texts);
}

result policy_set_check(struct span compiled_set)
{
	struct counts counts = {0};
	const struct set_visitor visitor = {{count_peer, &counts}, count_policy};
	return walk_set(compiled_set, &visitor);
}

/* ---- Filling -------------------------------------------------------------------------------------------- */

/* A table that is being filled: room in its arrays, and rules named so far, as the limit counts them. */
struct filling {
	struct policy_table *table;
	size_t policies_cap, rules_cap, details_cap, texts_cap;
	size_t named;
	size_t first_rule; /* of the policy whose communicators are arriving */
};

/* Makes room for one more element of `size` bytes. */
static result grow(void **array, size_t count, size_t *cap, size_t size)
{
	if (count < *cap)
		return OK;
	size_t wanted = *cap ? *cap + *cap / 2 + 1 : 16;
	void *grown = realloc(*array, wanted * size);
	if (!grown)
		return fail(NO_MEMORY, "a policy table of %zu entries", wanted);
	*array = grown;
	*cap = wanted;
	return OK;
}

#define GROW(filling, array, count, cap)                                                                                                   \
	grow((void **)&(filling)->table->array, (filling)->table->count, &(filling)->cap, sizeof(*(filling)->table->array))

static uint32_t offset_of(const struct policy_table *table, const uint8_t *at)
{
	return (uint32_t)(at - table->bytes); /* sets are shorter than 4 GiB */
}

static result add_texts(struct filling *filling, struct compiled_list list, struct text_run *out)
{
	struct policy_table *table = filling->table;
	struct text_run run = {(uint32_t)table->text_count, (uint32_t)list.count};
	struct span text;
	while (compiled_next_text(&list, &text)) {
		TRY(GROW(filling, texts, text_count, texts_cap));
		table->texts[table->text_count++] = (struct text_ref){offset_of(table, text.data), (uint32_t)text.len};
	}
	*out = run;
	return OK;
}

static struct digest_run digests_of(const struct policy_table *table, const struct compiled_list *list)
{
	if (list->count == 0)
		return (struct digest_run){0};
	return (struct digest_run){offset_of(table, list->at.at) + DIGEST_HEAD, (uint32_t)list->count};
}

static bool has_detail(const struct compiled_peer *peer)
{
	return peer->operations.count || peer->scopes.count || peer->cores.count || peer->rot.kind != ROT_UNSAID ||
		peer->reference.author.data || peer->rate.operations || peer->factors;
}

static result add_detail(struct filling *filling, const struct compiled_peer *peer, uint32_t *out)
{
	struct policy_table *table = filling->table;
	struct rule_detail detail = {
		.cores = digests_of(table, &peer->cores),
		.rots = digests_of(table, &peer->rot.ids),
		.rot_said = peer->rot.kind != ROT_UNSAID,
		.rate_operations = peer->rate.operations,
		.rate_per_s = peer->rate.per_s,
		.rate_burst = peer->rate.burst,
		.factors = (uint8_t)peer->factors,
	};
	if (peer->reference.author.data)
		detail.reference = (struct reference_ref){offset_of(table, peer->reference.author.data),
			offset_of(table, peer->reference.set.data), peer->reference.min_svn, (uint8_t)peer->reference.set.len};
	TRY(add_texts(filling, peer->operations, &detail.operations));
	TRY(add_texts(filling, peer->scopes, &detail.scopes));
	TRY(GROW(filling, details, detail_count, details_cap));
	table->details[table->detail_count] = detail;
	*out = (uint32_t)table->detail_count++;
	return OK;
}

static struct span rule_id(const struct policy_table *table, const struct peer_rule *rule)
{
	return span_of(table->bytes + rule->id_at, rule->id_len);
}

static result add_rule(struct filling *filling, struct span id, struct peer_rule **out)
{
	struct policy_table *table = filling->table;
	TRY(GROW(filling, rules, rule_count, rules_cap));
	*out = &table->rules[table->rule_count++];
	**out = (struct peer_rule){
		.policy = (uint32_t)table->policy_count,
		.id_at = offset_of(table, id.data),
		.id_len = (uint8_t)id.len,
		.detail = NO_DETAIL,
	};
	return OK;
}

/* Binary search in `count` rules from `first` on, which are in ascending order of their ids. */
static struct peer_rule *find_sorted(struct policy_table *table, size_t first, size_t count, struct span id)
{
	size_t low = first, high = first + count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = span_compare(rule_id(table, &table->rules[middle]), id);
		if (order == 0)
			return &table->rules[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/*
 * One rule per peer, whichever of the three lists name it: allowed peers, then those that only the deny list
 * names, then those that only allow_level0 names. Each of the three runs is sorted.
 */
static result add_peer(void *context, const struct compiled_peer *peer)
{
	struct filling *filling = context;
	struct peer_rule *rule;
	TRY(check_size(++filling->named, filling->table->text_count + peer->operations.count + peer->scopes.count));
	TRY(add_rule(filling, peer->id, &rule));
	rule->flags = RULE_ALLOWED;
	rule->directions = (uint8_t)peer->directions;
	rule->index = (uint32_t)(filling->table->rule_count - 1 - filling->first_rule);
	return has_detail(peer) ? add_detail(filling, peer, &rule->detail) : OK;
}

static result add_denied(struct filling *filling, struct compiled_list denied, size_t peers)
{
	struct span id;
	for (uint32_t i = 0; compiled_next_denied(&denied, &id); i++) {
		struct peer_rule *rule = find_sorted(filling->table, filling->first_rule, peers, id);
		if (!rule)
			TRY(add_rule(filling, id, &rule));
		rule->flags |= RULE_DENIED;
		rule->deny_index = i;
	}
	return OK;
}

static result add_level0(struct filling *filling, struct compiled_list level0, size_t peers, size_t denied)
{
	struct span id;
	while (compiled_next_text(&level0, &id)) {
		struct peer_rule *rule = find_sorted(filling->table, filling->first_rule, peers, id);
		if (!rule)
			rule = find_sorted(filling->table, filling->first_rule + peers, denied, id);
		if (!rule)
			TRY(add_rule(filling, id, &rule));
		rule->flags |= RULE_LEVEL0;
	}
	return OK;
}

static struct policy_entry entry_of(const struct filling *filling, const struct compiled_policy *policy)
{
	const struct policy_table *table = filling->table;
	return (struct policy_entry){
		.version = policy->version,
		.not_before = policy->has_not_before ? policy->not_before : 0,
		.not_after = policy->has_not_after ? policy->not_after : UINT64_MAX,
		.max_age_ms = policy->has_max_age ? policy->max_age_s * 1000 : UINT64_MAX,
		.id_at = offset_of(table, policy->id.data),
		.compiled_at = offset_of(table, policy->bytes.data),
		.compiled_len = (uint32_t)policy->bytes.len,
		.first_rule = (uint32_t)filling->first_rule,
		.peer_count = (uint32_t)policy->peers.count,
		.max_dac_depth = policy->max_dac_depth,
		.rots = digests_of(table, &policy->rot.ids),
		.id_len = (uint8_t)policy->id.len,
		.kind = (uint8_t)policy->kind,
		.required_level = (uint8_t)policy->required_level,
		.min_confinement = (uint8_t)policy->min_confinement,
		.allow_interpreter = policy->allow_interpreter,
		.factors = (uint8_t)policy->factors,
		.author_at = policy->author.data ? offset_of(table, policy->author.data) : 0,
		.pq = (uint8_t)policy->pq,
		.channels = policy->channels,
	};
}

static result add_policy(void *context, const struct compiled_policy *policy)
{
	struct filling *filling = context;
	struct policy_table *table = filling->table;
	size_t peers = policy->peers.count, first_denied = filling->first_rule + peers;
	filling->named += policy->denied.count + policy->level0.count;
	TRY(check_size(filling->named, table->text_count));
	TRY(add_denied(filling, policy->denied, peers));
	TRY(add_level0(filling, policy->level0, peers, table->rule_count - first_denied));
	TRY(GROW(filling, policies, policy_count, policies_cap));
	struct policy_entry *entry = &table->policies[table->policy_count];
	*entry = entry_of(filling, policy);
	entry->rule_count = (uint32_t)(table->rule_count - filling->first_rule);
	TRY(policy_digest(policy->bytes, entry->digest));
	table->policy_count++;
	filling->first_rule = table->rule_count;
	return OK;
}

/* ---- Indexes -------------------------------------------------------------------------------------------- */

static size_t slots_for(size_t count)
{
	size_t slots = 4;
	while (slots < 2 * count)
		slots *= 2;
	return slots;
}

static void index_put(struct index *index, uint64_t hash, size_t entry)
{
	uint32_t at = (uint32_t)hash & index->mask;
	while (index->slots[at].entry)
		at = (at + 1) & index->mask;
	index->slots[at] = (struct slot){(uint32_t)entry + 1, (uint32_t)(hash >> 32)};
}

static struct span policy_id(const struct policy_table *table, const struct policy_entry *policy)
{
	return span_of(table->bytes + policy->id_at, policy->id_len);
}

static result index_new(size_t count, struct index *out)
{
	size_t slots = slots_for(count);
	out->slots = calloc(slots, sizeof(*out->slots));
	if (!out->slots)
		return fail(NO_MEMORY, "an index of %zu entries", count);
	out->mask = (uint32_t)slots - 1;
	return OK;
}

static bool is_scanned(const struct policy_entry *policy)
{
	return policy->rule_count <= SCANNED_RULES;
}

static size_t indexed_rules(const struct policy_table *table)
{
	size_t count = 0;
	for (size_t i = 0; i < table->policy_count; i++)
		count += is_scanned(&table->policies[i]) ? 0 : table->policies[i].rule_count;
	return count;
}

static void index_rules(struct policy_table *table, const struct policy_entry *policy)
{
	for (size_t i = policy->first_rule; i < (size_t)policy->first_rule + policy->rule_count; i++) {
		const struct peer_rule *rule = &table->rules[i];
		index_put(&table->by_peer, name_hash(&table->key, rule->policy, rule_id(table, rule)), i);
	}
}

static result fill_indexes(struct policy_table *table)
{
	random_bytes(&table->key, sizeof(table->key));
	TRY(index_new(table->policy_count, &table->by_subject));
	TRY(index_new(indexed_rules(table), &table->by_peer));
	for (size_t i = 0; i < table->policy_count; i++) {
		const struct policy_entry *policy = &table->policies[i];
		index_put(&table->by_subject, name_hash(&table->key, policy->kind, policy_id(table, policy)), i);
		if (!is_scanned(policy))
			index_rules(table, policy);
	}
	return OK;
}

const struct policy_entry *table_policy(const struct policy_table *table, enum policy_subject kind, struct span id)
{
	uint64_t hash = name_hash(&table->key, kind, id);
	const struct index *index = &table->by_subject;
	for (uint32_t at = (uint32_t)hash & index->mask; index->slots[at].entry; at = (at + 1) & index->mask) {
		if (index->slots[at].tag != (uint32_t)(hash >> 32))
			continue;
		const struct policy_entry *policy = &table->policies[index->slots[at].entry - 1];
		if (policy->kind == kind && span_equal(policy_id(table, policy), id))
			return policy;
	}
	return NULL;
}

static const struct peer_rule *scan_rules(const struct policy_table *table, const struct policy_entry *policy, struct span peer)
{
	for (size_t i = policy->first_rule; i < (size_t)policy->first_rule + policy->rule_count; i++)
		if (span_equal(rule_id(table, &table->rules[i]), peer))
			return &table->rules[i];
	return NULL;
}

static const struct peer_rule *probe_rules(const struct policy_table *table, const struct policy_entry *policy, struct span peer)
{
	uint32_t number = (uint32_t)(policy - table->policies);
	uint64_t hash = name_hash(&table->key, number, peer);
	const struct index *index = &table->by_peer;
	for (uint32_t at = (uint32_t)hash & index->mask; index->slots[at].entry; at = (at + 1) & index->mask) {
		if (index->slots[at].tag != (uint32_t)(hash >> 32))
			continue;
		const struct peer_rule *rule = &table->rules[index->slots[at].entry - 1];
		if (rule->policy == number && span_equal(rule_id(table, rule), peer))
			return rule;
	}
	return NULL;
}

const struct peer_rule *table_rule(const struct policy_table *table, const struct policy_entry *policy, struct span peer)
{
	return is_scanned(policy) ? scan_rules(table, policy, peer) : probe_rules(table, policy, peer);
}

const struct rule_detail *table_detail(const struct policy_table *table, const struct peer_rule *rule)
{
	return rule->detail == NO_DETAIL ? NULL : &table->details[rule->detail];
}

bool table_reference(const struct policy_table *table, const struct rule_detail *detail, struct span *out_author, struct span *out_set)
{
	if (!detail || !detail->reference.author_at)
		return false;
	*out_author = span_of(table->bytes + detail->reference.author_at, POLICY_AUTHOR_SIZE);
	*out_set = span_of(table->bytes + detail->reference.set_at, detail->reference.set_len);
	return true;
}

bool table_texts_have(const struct policy_table *table, struct text_run run, struct span text)
{
	uint32_t low = run.first, high = run.first + run.count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct text_ref *ref = &table->texts[middle];
		int order = span_compare(span_of(table->bytes + ref->at, ref->len), text);
		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

struct span table_digest(const struct policy_table *table, struct digest_run run, size_t size, size_t index)
{
	return span_of(table->bytes + run.at + index * (DIGEST_HEAD + size), size);
}

bool table_digests_have(const struct policy_table *table, struct digest_run run, size_t size, struct span digest)
{
	size_t low = 0, high = run.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = span_compare(table_digest(table, run, size, middle), digest);
		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* ---- A table -------------------------------------------------------------------------------------------- */

/* Gives back what growing left over; a failure to shrink costs nothing. */
static void trim(void **array, size_t count, size_t size)
{
	void *trimmed = count ? realloc(*array, count * size) : NULL;
	if (trimmed)
		*array = trimmed;
}

static void trim_arrays(struct policy_table *table)
{
	trim((void **)&table->policies, table->policy_count, sizeof(*table->policies));
	trim((void **)&table->rules, table->rule_count, sizeof(*table->rules));
	trim((void **)&table->details, table->detail_count, sizeof(*table->details));
	trim((void **)&table->texts, table->text_count, sizeof(*table->texts));
}

static result table_fill(struct policy_table *table, struct span set)
{
	struct filling filling = {.table = table};
	const struct set_visitor visitor = {{add_peer, &filling}, add_policy};
	struct bytes copy;
	if (set.len > POLICY_MAX_COMPILED)
		return fail(TOO_LARGE, "a compiled set of %zu bytes, more than %d", set.len, POLICY_MAX_COMPILED);
	TRY(bytes_copy(set, &copy));
	table->bytes = copy.data;
	table->len = copy.len;
	TRY(walk_set(bytes_span(&copy), &visitor));
	trim_arrays(table);
	return fill_indexes(table);
}

result policy_table_load(struct span compiled_set, struct policy_table **out)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = calloc(1, sizeof(*table));
	if (!table)
		return fail(NO_MEMORY, "a policy table");
	TRY(table_fill(table, compiled_set));
	*out = table;
	table = NULL; /* transferred */
	return OK;
}

void policy_table_free(struct policy_table *table)
{
	if (!table)
		return;
	free(table->bytes);
	free(table->policies);
	free(table->rules);
	free(table->details);
	free(table->texts);
	free(table->by_subject.slots);
	free(table->by_peer.slots);
	free(table);
}

void policy_table_cleanup(struct policy_table **table)
{
	policy_table_free(*table);
	*table = NULL;
}

size_t policy_table_memory(const struct policy_table *table)
{
	return sizeof(*table) + table->len + table->policy_count * sizeof(*table->policies) + table->rule_count * sizeof(*table->rules) +
		table->detail_count * sizeof(*table->details) + table->text_count * sizeof(*table->texts) +
		((size_t)table->by_subject.mask + 1 + table->by_peer.mask + 1) * sizeof(struct slot);
}

result policy_digest(struct span compiled_policy, uint8_t out[static POLICY_DIGEST_SIZE])
{
	struct hash hash = {0};
	TRY(hash_start(&hash, HASH_SHA256));
	hash_add(&hash, SPAN_ARRAY(digest_label));
	hash_add(&hash, compiled_policy);
	hash_finish(&hash, out);
	return OK;
}

/* ---- Sets ----------------------------------------------------------------------------------------------- */

static int compare_policies(const void *a, const void *b)
{
	const struct compiled_policy *left = a, *right = b;
	return compiled_order(left->kind, left->id, right->kind, right->id);
}

static void free_policies(struct compiled_policy **policies)
{
	free(*policies);
}

static result decode_each(const struct span *policies, size_t count, struct compiled_policy *out)
{
	for (size_t i = 0; i < count; i++) {
		struct reader r = reader_of(policies[i]);
		TRY(compiled_decode(&r, NULL, &out[i]));
		TRY(reader_finish(&r));
	}
	return OK;
}

result policy_set_join(const struct span *policies, size_t count, struct bytes *out_set)
{
	CLEANUP(free_policies) struct compiled_policy *decoded = NULL;
	CLEANUP(writer_free) struct writer w = writer_growing(POLICY_MAX_COMPILED);
	if (count == 0)
		return fail(EMPTY_SET, "a set without policies");
	if (count > POLICY_MAX_POLICIES)
		return fail(TOO_LARGE, "%zu policies in one set, more than %d", count, POLICY_MAX_POLICIES);
	decoded = calloc(count, sizeof(*decoded));
	if (!decoded)
		return fail(NO_MEMORY, "%zu policies", count);
	TRY(decode_each(policies, count, decoded));
	qsort(decoded, count, sizeof(*decoded), compare_policies);
	cbor_put_array(&w, count);
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			TRY(check_order(&decoded[i - 1], &decoded[i]));
		writer_span(&w, decoded[i].bytes);
	}
	return writer_take(&w, out_set);
}

/* ---- Views ---------------------------------------------------------------------------------------------- */

size_t policy_count(const struct policy_table *table)
{
	return table->policy_count;
}

static void view_of(const struct policy_table *table, const struct policy_entry *policy, struct policy_view *out)
{
	*out = (struct policy_view){
		.kind = (enum policy_subject)policy->kind,
		.id = policy_id(table, policy),
		.version = policy->version,
		.compiled = span_of(table->bytes + policy->compiled_at, policy->compiled_len),
		.max_dac_depth = policy->max_dac_depth,
		.required_level = policy->required_level,
		.min_confinement = (enum policy_confinement)policy->min_confinement,
		.allow_interpreter = policy->allow_interpreter,
		.author = policy->author_at ? span_of(table->bytes + policy->author_at, POLICY_AUTHOR_SIZE) : SPAN_EMPTY,
		.pq = (enum policy_pq)policy->pq,
		.channels = policy->channels,
		.peer_count = policy->peer_count,
		.entry_ = (uint32_t)(policy - table->policies),
	};
	memcpy(out->digest, policy->digest, sizeof(out->digest));
}

void policy_chain(const struct policy_view *view, uint64_t out[static POLICY_CHAIN_LIMITS])
{
	struct reader r = reader_of(view->compiled);
	struct compiled_policy policy;
	const bool whole = compiled_decode(&r, NULL, &policy) == OK; /* it was when it was loaded */
	for (size_t i = 0; i < POLICY_CHAIN_LIMITS; i++)
		out[i] = whole ? policy.chain[i] : 1;
}

void policy_at(const struct policy_table *table, size_t index, struct policy_view *out)
{
	view_of(table, &table->policies[index], out);
}

result policy_find(const struct policy_table *table, enum policy_subject kind, struct span id, struct policy_view *out)
{
	const struct policy_entry *policy = table ? table_policy(table, kind, id) : NULL;
	if (!policy)
		return fail(NO_POLICY, "%s %.*s", policy_subject_name(kind), (int)id.len, id.data);
	view_of(table, policy, out);
	return OK;
}

static struct digest_run rots_of(const struct policy_table *table, const struct peer_rule *rule)
{
	const struct rule_detail *detail = table_detail(table, rule);
	return detail && detail->rot_said ? detail->rots : table->policies[rule->policy].rots;
}

static struct digest_run cores_of(const struct policy_table *table, const struct peer_rule *rule)
{
	const struct rule_detail *detail = table_detail(table, rule);
	return detail ? detail->cores : (struct digest_run){0};
}

void policy_peer(const struct policy_table *table, const struct policy_view *view, size_t index, struct policy_peer_view *out)
{
	uint32_t number = table->policies[view->entry_].first_rule + (uint32_t)index;
	const struct peer_rule *rule = &table->rules[number];
	struct digest_run rots = rots_of(table, rule);
	*out = (struct policy_peer_view){
		.id = rule_id(table, rule),
		.directions = rule->directions,
		.denied = rule->flags & RULE_DENIED,
		.level0 = rule->flags & RULE_LEVEL0,
		.rot_same = rots.count == 0,
		.rot_count = rots.count,
		.core_count = cores_of(table, rule).count,
		.rule_ = number,
	};
}

struct span policy_peer_rot(const struct policy_table *table, const struct policy_peer_view *peer, size_t index)
{
	return table_digest(table, rots_of(table, &table->rules[peer->rule_]), POLICY_ROT_ID_SIZE, index);
}

struct span policy_peer_core(const struct policy_table *table, const struct policy_peer_view *peer, size_t index)
{
	return table_digest(table, cores_of(table, &table->rules[peer->rule_]), POLICY_CORE_SIZE, index);
}

bool policy_peer_reference(const struct policy_table *table, const struct policy_peer_view *peer, struct policy_peer_reference *out)
{
	const struct rule_detail *detail = table_detail(table, &table->rules[peer->rule_]);
	struct policy_peer_reference named;
	if (!table_reference(table, detail, &named.author, &named.set))
		return false;
	named.min_svn = detail->reference.min_svn;
	*out = named;
	return true;
}
