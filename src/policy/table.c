/*
 * Loading goes in two passes: one that checks the whole set and counts, one that fills arrays of exactly the
 * counted sizes. A set that fails in the first pass has cost its own bytes and no memory.
 */
#include "policy/table.h"

#include "crypto/hash.h"
#include "crypto/random.h"
#include "policy/compiled.h"
#include "policy/rules.h"
#include "wire/cbor.h"

#include <stdlib.h>

static const char digest_label[] = "troth policy1"; /* hashed with its NUL, which is the 00 of the construction */

/* ---- First pass: check and count ------------------------------------------------------------------------ */

struct counts {
	size_t policies, rules, details, texts;
};

static bool has_detail(const struct compiled_peer *peer)
{
	return peer->operations.count || peer->scopes.count || peer->cores.count || peer->rot.kind != ROT_UNSAID;
}

static void count_policy(const struct compiled_policy *policy, struct counts *counts)
{
	struct compiled_list peers = policy->peers;
	struct compiled_peer peer;
	while (compiled_next_peer(&peers, &peer)) {
		counts->details += has_detail(&peer);
		counts->texts += peer.operations.count + peer.scopes.count;
	}
	counts->rules += policy->peers.count + policy->denied.count + policy->level0.count;
	counts->policies++;
}

static result check_order(const struct compiled_policy *before, const struct compiled_policy *policy)
{
	if (!before->id.data)
		return OK;
	int order = compiled_order(before->kind, before->id, policy->kind, policy->id);
	if (order == 0)
		return fail(POLICY_CONFLICT, "two policies for %.*s", (int)policy->id.len, policy->id.data);
	if (order > 0)
		return fail(NOT_DETERMINISTIC, "the policies of the set are not in order");
	return OK;
}

static result check_set(struct span set, struct counts *out)
{
	struct reader r = reader_of(set);
	struct compiled_policy before = {0}, policy;
	struct counts counts = {0};
	size_t count;
	if (set.len > POLICY_MAX_COMPILED)
		return fail(TOO_LARGE, "a compiled set of %zu bytes, more than %d", set.len, POLICY_MAX_COMPILED);
	TRY(cbor_read_array(&r, &count));
	if (count == 0)
		return fail(EMPTY_SET, "a set without policies");
	if (count > POLICY_MAX_POLICIES)
		return fail(TOO_LARGE, "%zu policies in one set, more than %d", count, POLICY_MAX_POLICIES);
	for (size_t i = 0; i < count; i++) {
		TRY(compiled_decode(&r, &policy));
		TRY(check_order(&before, &policy));
		count_policy(&policy, &counts);
		before = policy;
		if (counts.rules + counts.texts > POLICY_MAX_RULES)
			return fail(TOO_LARGE, "more than %d rules in one set", POLICY_MAX_RULES);
	}
	TRY(reader_finish(&r));
	*out = counts;
	return OK;
}

result policy_set_check(struct span compiled_set)
{
	struct counts counts;
	return check_set(compiled_set, &counts);
}

/* ---- Second pass: fill ---------------------------------------------------------------------------------- */

static uint32_t offset_of(const struct policy_table *table, const uint8_t *at)
{
	return (uint32_t)(at - table->bytes); /* sets are shorter than 4 GiB */
}

static struct text_run add_texts(struct policy_table *table, struct compiled_list list)
{
	struct text_run run = {(uint32_t)table->text_count, (uint32_t)list.count};
	struct span text;
	while (compiled_next_text(&list, &text))
		table->texts[table->text_count++] = (struct text_ref){offset_of(table, text.data), (uint32_t)text.len};
	return run;
}

static struct digest_run digests_of(const struct policy_table *table, const struct compiled_list *list)
{
	if (list->count == 0)
		return (struct digest_run){0};
	return (struct digest_run){offset_of(table, list->at.at) + DIGEST_HEAD, (uint32_t)list->count};
}

static uint32_t add_detail(struct policy_table *table, const struct compiled_peer *peer)
{
	if (!has_detail(peer))
		return NO_DETAIL;
	table->details[table->detail_count] = (struct rule_detail){
		.operations = add_texts(table, peer->operations),
		.scopes = add_texts(table, peer->scopes),
		.cores = digests_of(table, &peer->cores),
		.rots = digests_of(table, &peer->rot.ids),
		.rot_said = peer->rot.kind != ROT_UNSAID,
	};
	return (uint32_t)table->detail_count++;
}

static struct span rule_id(const struct policy_table *table, const struct peer_rule *rule)
{
	return span_of(table->bytes + rule->id_at, rule->id_len);
}

static struct peer_rule *add_rule(struct policy_table *table, struct span id)
{
	struct peer_rule *rule = &table->rules[table->rule_count++];
	*rule = (struct peer_rule){
		.policy = (uint32_t)table->policy_count,
		.id_at = offset_of(table, id.data),
		.id_len = (uint8_t)id.len,
		.detail = NO_DETAIL,
	};
	return rule;
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
static void add_rules(struct policy_table *table, const struct compiled_policy *policy, struct policy_entry *entry)
{
	struct compiled_list peers = policy->peers, denied = policy->denied, level0 = policy->level0;
	struct compiled_peer peer;
	struct peer_rule *rule;
	struct span id;
	entry->first_rule = (uint32_t)table->rule_count;
	entry->peer_count = (uint32_t)peers.count;
	for (uint32_t i = 0; compiled_next_peer(&peers, &peer); i++) {
		uint32_t detail = add_detail(table, &peer);
		rule = add_rule(table, peer.id);
		rule->flags = RULE_ALLOWED;
		rule->directions = (uint8_t)peer.directions;
		rule->detail = detail;
		rule->index = i;
	}
	size_t deny_first = table->rule_count;
	for (uint32_t i = 0; compiled_next_denied(&denied, &id); i++) {
		rule = find_sorted(table, entry->first_rule, entry->peer_count, id);
		if (!rule)
			rule = add_rule(table, id);
		rule->flags |= RULE_DENIED;
		rule->deny_index = i;
	}
	size_t deny_count = table->rule_count - deny_first;
	while (compiled_next_text(&level0, &id)) {
		rule = find_sorted(table, entry->first_rule, entry->peer_count, id);
		if (!rule)
			rule = find_sorted(table, deny_first, deny_count, id);
		if (!rule)
			rule = add_rule(table, id);
		rule->flags |= RULE_LEVEL0;
	}
	entry->rule_count = (uint32_t)table->rule_count - entry->first_rule;
}

static result add_policy(struct policy_table *table, const struct compiled_policy *policy)
{
	struct policy_entry *entry = &table->policies[table->policy_count];
	*entry = (struct policy_entry){
		.version = policy->version,
		.not_before = policy->has_not_before ? policy->not_before : 0,
		.not_after = policy->has_not_after ? policy->not_after : UINT64_MAX,
		.max_age_ms = policy->has_max_age ? policy->max_age_s * 1000 : UINT64_MAX,
		.id_at = offset_of(table, policy->id.data),
		.compiled_at = offset_of(table, policy->bytes.data),
		.compiled_len = (uint32_t)policy->bytes.len,
		.max_dac_depth = policy->max_dac_depth,
		.rots = digests_of(table, &policy->rot.ids),
		.id_len = (uint8_t)policy->id.len,
		.kind = (uint8_t)policy->kind,
		.required_level = (uint8_t)policy->required_level,
		.min_confinement = (uint8_t)policy->min_confinement,
		.allow_interpreter = policy->allow_interpreter,
		.windowed = policy->has_not_before || policy->has_not_after,
	};
	add_rules(table, policy, entry);
	TRY(policy_digest(policy->bytes, entry->digest));
	table->policy_count++;
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

static void fill_indexes(struct policy_table *table)
{
	for (size_t i = 0; i < table->policy_count; i++) {
		const struct policy_entry *policy = &table->policies[i];
		index_put(&table->by_subject, name_hash(&table->key, policy->kind, policy_id(table, policy)), i);
	}
	for (size_t i = 0; i < table->rule_count; i++) {
		const struct peer_rule *rule = &table->rules[i];
		index_put(&table->by_peer, name_hash(&table->key, rule->policy, rule_id(table, rule)), i);
	}
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

const struct peer_rule *table_rule(const struct policy_table *table, const struct policy_entry *policy, struct span peer)
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

const struct rule_detail *table_detail(const struct policy_table *table, const struct peer_rule *rule)
{
	return rule->detail == NO_DETAIL ? NULL : &table->details[rule->detail];
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

static void *array_of(size_t count, size_t size)
{
	return calloc(count ? count : 1, size);
}

static result table_new(struct span set, const struct counts *counts, struct policy_table **out)
{
	struct policy_table *table = calloc(1, sizeof(*table));
	if (!table)
		return fail(NO_MEMORY, "a policy table");
	*out = table;
	size_t subjects = slots_for(counts->policies), peers = slots_for(counts->rules);
	table->bytes = malloc(set.len);
	table->policies = array_of(counts->policies, sizeof(*table->policies));
	table->rules = array_of(counts->rules, sizeof(*table->rules));
	table->details = array_of(counts->details, sizeof(*table->details));
	table->texts = array_of(counts->texts, sizeof(*table->texts));
	table->by_subject = (struct index){array_of(subjects, sizeof(struct slot)), (uint32_t)subjects - 1};
	table->by_peer = (struct index){array_of(peers, sizeof(struct slot)), (uint32_t)peers - 1};
	if (!table->bytes || !table->policies || !table->rules || !table->details || !table->texts ||
		!table->by_subject.slots || !table->by_peer.slots)
		return fail(NO_MEMORY, "a policy table of %zu rules", counts->rules);
	memcpy(table->bytes, set.data, set.len);
	table->len = set.len;
	return OK;
}

static result table_fill(struct policy_table *table)
{
	struct reader r = reader_of(span_of(table->bytes, table->len));
	struct compiled_policy policy;
	size_t count;
	TRY(cbor_read_array(&r, &count));
	for (size_t i = 0; i < count; i++) {
		TRY(compiled_decode(&r, &policy));
		TRY(add_policy(table, &policy));
	}
	random_bytes(&table->key, sizeof(table->key));
	fill_indexes(table);
	return OK;
}

result policy_table_load(struct span compiled_set, struct policy_table **out)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	struct counts counts;
	TRY(check_set(compiled_set, &counts));
	TRY(table_new(compiled_set, &counts, &table));
	TRY(table_fill(table));
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
	return sizeof(*table) + table->len + table->policy_count * sizeof(*table->policies) +
		table->rule_count * sizeof(*table->rules) + table->detail_count * sizeof(*table->details) +
		table->text_count * sizeof(*table->texts) +
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
		TRY(compiled_decode(&r, &out[i]));
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
		.peer_count = policy->peer_count,
		.entry_ = (uint32_t)(policy - table->policies),
	};
	memcpy(out->digest, policy->digest, sizeof(out->digest));
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

void policy_peer(const struct policy_table *table, const struct policy_view *view, size_t index,
	struct policy_peer_view *out)
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
