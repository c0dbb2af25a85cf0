#include "policy/difference.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "policy/compiled.h"
#include "wire/text.h"

enum { MOST = 1000 * 1000 };

struct diff {
	struct differences found;
	size_t cap;
	const struct compiled_policy *policy; /* whose differences are being looked for */
};

const char *difference_effect_name(enum difference_effect effect)
{
	static const char *const names[] = {"allows", "denies", "changes"};
	return names[effect];
}

static void copy(char *out, size_t size, struct span text)
{
	snprintf(out, size, "%.*s", (int)text.len, text.len ? (const char *)text.data : "");
}

static result add(struct diff *d, enum difference_effect effect, struct span peer, const char *field, const char *before, const char *after)
{
	if (d->found.count == MOST)
		return fail(TOO_LARGE, "more than %d differences", MOST);
	if (d->found.count == d->cap) {
		size_t cap = d->cap ? 2 * d->cap : 64;
		struct difference *grown = realloc(d->found.items, cap * sizeof(*grown));
		if (!grown)
			return fail(NO_MEMORY, "%zu differences", cap);
		d->found.items = grown;
		d->cap = cap;
	}
	struct difference *item = &d->found.items[d->found.count++];
	*item = (struct difference){.effect = effect, .kind = d->policy->kind, .field = field};
	copy(item->subject, sizeof(item->subject), d->policy->id);
	copy(item->peer, sizeof(item->peer), peer);
	copy(item->before, sizeof(item->before), span_str(before));
	copy(item->after, sizeof(item->after), span_str(after));
	return OK;
}

/* ---- Values --------------------------------------------------------------------------------------------- */

/* More is allowed when the number rises, `rises` true, or falls. */
static result numbers(struct diff *d, struct span peer, const char *field, uint64_t before, uint64_t after, bool rises, const char *unit)
{
	char a[32], b[32];
	if (before == after)
		return OK;
	snprintf(a, sizeof(a), "%s%" PRIu64, unit, before);
	snprintf(b, sizeof(b), "%s%" PRIu64, unit, after);
	bool allows = (after > before) == rises;
	return add(d, allows ? DIFFERENCE_ALLOWS : DIFFERENCE_DENIES, peer, field, a, b);
}

/* A limit that need not be there: without it everything is allowed. */
static result limits(struct diff *d, const char *field, bool had, uint64_t before, bool has, uint64_t after, bool rises, bool is_time)
{
	char a[CLOCK_TEXT_SIZE + 24] = "", b[CLOCK_TEXT_SIZE + 24] = "";
	if (had == has && (!had || before == after))
		return OK;
	if (had)
		is_time ? clock_format(before, a) : (void)snprintf(a, sizeof(a), "%" PRIu64, before);
	if (has)
		is_time ? clock_format(after, b) : (void)snprintf(b, sizeof(b), "%" PRIu64, after);
	bool allows = !has || (had && (after > before) == rises);
	return add(d, allows ? DIFFERENCE_ALLOWS : DIFFERENCE_DENIES, SPAN_EMPTY, field, a, b);
}

static void list_text(struct compiled_list list, bool digests, char out[static DIFFERENCE_TEXT])
{
	struct span element;
	size_t at = 0;
	char hex[2 * POLICY_CORE_SIZE + 1];
	out[0] = '\0';
	while (at < DIFFERENCE_TEXT - 1 && (digests ? compiled_next_bytes(&list, &element) : compiled_next_text(&list, &element))) {
		if (digests) {
			hex_encode(element, hex);
			hex[16] = '\0'; /* enough to tell them apart */
			element = span_str(hex);
		}
		int len = snprintf(out + at, DIFFERENCE_TEXT - at, "%s%.*s", at ? ", " : "", (int)element.len, (const char *)element.data);
		at += len > 0 ? (size_t)len : 0;
	}
}

static bool take(struct compiled_list *list, bool digests, struct span *out)
{
	return digests ? compiled_next_bytes(list, out) : compiled_next_text(list, out);
}

/* Is something in `list` that is not in `other`? Both are sorted. */
static bool has_more(struct compiled_list list, struct compiled_list other, bool digests)
{
	struct span a, b = SPAN_EMPTY;
	bool more = take(&other, digests, &b);
	while (take(&list, digests, &a)) {
		while (more && span_compare(b, a) < 0)
			more = take(&other, digests, &b);
		if (!more || !span_equal(a, b))
			return true;
	}
	return false;
}

/* A list that restricts: absent means everything. */
static result lists(struct diff *d, struct span peer, const char *field, struct compiled_list before, struct compiled_list after, bool digests)
{
	char a[DIFFERENCE_TEXT], b[DIFFERENCE_TEXT];
	if (before.count == 0 && after.count == 0)
		return OK;
	bool gained = after.count == 0 || (before.count != 0 && has_more(after, before, digests));
	bool lost = before.count == 0 || (after.count != 0 && has_more(before, after, digests));
	if (!gained && !lost)
		return OK;
	list_text(before, digests, a);
	list_text(after, digests, b);
	return add(d, gained && lost ? DIFFERENCE_OTHER : gained ? DIFFERENCE_ALLOWS : DIFFERENCE_DENIES, peer, field, a, b);
}

static void rot_text(const struct compiled_rot *rot, char out[static DIFFERENCE_TEXT])
{
	if (rot->kind == ROT_LISTED)
		list_text(rot->ids, true, out);
	else
		snprintf(out, DIFFERENCE_TEXT, "%s", rot->kind == ROT_SAME ? "same" : "");
}

static result rots(struct diff *d, struct span peer, const struct compiled_rot *before, const struct compiled_rot *after)
{
	char a[DIFFERENCE_TEXT], b[DIFFERENCE_TEXT];
	if (before->kind == ROT_LISTED && after->kind == ROT_LISTED)
		return lists(d, peer, "rot_ids", before->ids, after->ids, true);
	if (before->kind == after->kind)
		return OK;
	rot_text(before, a);
	rot_text(after, b);
	return add(d, DIFFERENCE_OTHER, peer, "rot_ids", a, b);
}

static void factors_text(unsigned factors, char out[static DIFFERENCE_TEXT])
{
	snprintf(out, DIFFERENCE_TEXT, "%s%s%s", factors & FACTOR_TPM ? "tpm" : "", factors == (FACTOR_TPM | FACTOR_TEE) ? ", " : "",
		factors & FACTOR_TEE ? "tee" : "");
}

static result factors(struct diff *d, struct span peer, unsigned before, unsigned after)
{
	char a[DIFFERENCE_TEXT], b[DIFFERENCE_TEXT];
	if (before == after)
		return OK;
	factors_text(before, a);
	factors_text(after, b);
	bool more = after & ~before, less = before & ~after;
	return add(d, more && less ? DIFFERENCE_OTHER : more ? DIFFERENCE_DENIES : DIFFERENCE_ALLOWS, peer, "required_factors", a, b);
}

static void directions_text(unsigned directions, char out[static DIFFERENCE_TEXT])
{
	size_t at = 0;
	out[0] = '\0';
	for (unsigned bit = DIRECTION_SEND; bit <= DIRECTION_ACCEPT; bit <<= 1)
		if (directions & bit)
			at += (size_t)snprintf(out + at, DIFFERENCE_TEXT - at, "%s%s", at ? ", " : "", policy_direction_name((enum policy_direction)bit));
}

static result directions(struct diff *d, struct span peer, unsigned before, unsigned after)
{
	char a[DIFFERENCE_TEXT], b[DIFFERENCE_TEXT];
	if (before == after)
		return OK;
	directions_text(before, a);
	directions_text(after, b);
	bool gained = after & ~before, lost = before & ~after;
	return add(d, gained && lost ? DIFFERENCE_OTHER : gained ? DIFFERENCE_ALLOWS : DIFFERENCE_DENIES, peer, "direction", a, b);
}

static void rate_text(const struct compiled_rate *rate, char out[static DIFFERENCE_TEXT])
{
	out[0] = '\0';
	if (rate->operations)
		snprintf(out, DIFFERENCE_TEXT, "%" PRIu32 " operations in %" PRIu32 " s, burst %" PRIu32, rate->operations, rate->per_s, rate->burst);
}

static result rates(struct diff *d, struct span peer, const struct compiled_rate *before, const struct compiled_rate *after)
{
	char a[DIFFERENCE_TEXT], b[DIFFERENCE_TEXT];
	if (before->operations == after->operations && before->per_s == after->per_s && before->burst == after->burst)
		return OK;
	rate_text(before, a);
	rate_text(after, b);
	uint64_t was = (uint64_t)before->operations * after->per_s, is = (uint64_t)after->operations * before->per_s;
	enum difference_effect effect = DIFFERENCE_OTHER;
	if (!after->operations || (before->operations && is >= was && after->burst >= before->burst))
		effect = DIFFERENCE_ALLOWS;
	else if (!before->operations || (is <= was && after->burst <= before->burst))
		effect = DIFFERENCE_DENIES;
	return add(d, effect, peer, "rate", a, b);
}

static void reference_text(const struct compiled_reference *reference, char out[static DIFFERENCE_TEXT])
{
	char author[2 * POLICY_AUTHOR_SIZE + 1];
	out[0] = '\0';
	if (!reference->author.data)
		return;
	hex_encode(reference->author, author);
	snprintf(out, DIFFERENCE_TEXT, "set %.*s of %.16s, min_svn %" PRIu32, (int)reference->set.len, (const char *)reference->set.data, author,
		reference->min_svn);
}

static result references(struct diff *d, struct span peer, const struct compiled_reference *before, const struct compiled_reference *after)
{
	char a[DIFFERENCE_TEXT], b[DIFFERENCE_TEXT];
	reference_text(before, a);
	reference_text(after, b);
	bool same_set = span_equal(before->author, after->author) && span_equal(before->set, after->set);
	if (same_set && before->min_svn == after->min_svn)
		return OK;
	enum difference_effect effect = DIFFERENCE_OTHER;
	if (!after->author.data || (same_set && after->min_svn < before->min_svn))
		effect = DIFFERENCE_ALLOWS;
	else if (!before->author.data || same_set)
		effect = DIFFERENCE_DENIES;
	return add(d, effect, peer, "reference", a, b);
}

/* ---- Communicators -------------------------------------------------------------------------------------- */

static result compare_peer(struct diff *d, const struct compiled_peer *before, const struct compiled_peer *after)
{
	TRY(directions(d, after->id, before->directions, after->directions));
	TRY(lists(d, after->id, "operations", before->operations, after->operations, false));
	TRY(lists(d, after->id, "scopes", before->scopes, after->scopes, false));
	TRY(lists(d, after->id, "cores", before->cores, after->cores, true));
	TRY(references(d, after->id, &before->reference, &after->reference));
	TRY(rots(d, after->id, &before->rot, &after->rot));
	TRY(rates(d, after->id, &before->rate, &after->rate));
	return factors(d, after->id, before->factors, after->factors);
}

static result one_sided(struct diff *d, const struct compiled_peer *peer, bool is_new)
{
	char text[DIFFERENCE_TEXT];
	directions_text(peer->directions, text);
	return add(d, is_new ? DIFFERENCE_ALLOWS : DIFFERENCE_DENIES, peer->id, "allowed_communicators", is_new ? "" : text, is_new ? text : "");
}

static result compare_peers(struct diff *d, struct compiled_list before, struct compiled_list after)
{
	struct compiled_peer a, b;
	bool has_a = compiled_next_peer(&before, &a), has_b = compiled_next_peer(&after, &b);
	while (has_a || has_b) {
		int order = !has_a ? 1 : !has_b ? -1 : span_compare(a.id, b.id);
		if (order == 0)
			TRY(compare_peer(d, &a, &b));
		else
			TRY(one_sided(d, order < 0 ? &a : &b, order > 0));
		has_a = order <= 0 ? compiled_next_peer(&before, &a) : has_a;
		has_b = order >= 0 ? compiled_next_peer(&after, &b) : has_b;
	}
	return OK;
}

/* Names: of deny, where one more denies, and of allow_level0, where one more allows. */
static result compare_names(struct diff *d, const char *field, struct compiled_list before, struct compiled_list after,
	bool (*next)(struct compiled_list *, struct span *), enum difference_effect more, enum difference_effect less)
{
	struct span a, b;
	bool has_a = next(&before, &a), has_b = next(&after, &b);
	while (has_a || has_b) {
		int order = !has_a ? 1 : !has_b ? -1 : span_compare(a, b);
		if (order < 0)
			TRY(add(d, less, a, field, "named", ""));
		else if (order > 0)
			TRY(add(d, more, b, field, "", "named"));
		has_a = order <= 0 ? next(&before, &a) : has_a;
		has_b = order >= 0 ? next(&after, &b) : has_b;
	}
	return OK;
}

/* ---- Policies ------------------------------------------------------------------------------------------- */

static const char *pq_text(enum policy_pq pq)
{
	return pq == POLICY_PQ_OFF ? "off" : pq == POLICY_PQ_REQUIRE ? "require" : "";
}

static result compare_words(struct diff *d, const struct compiled_policy *a, const struct compiled_policy *b)
{
	char before[2 * POLICY_AUTHOR_SIZE + 1], after[2 * POLICY_AUTHOR_SIZE + 1];
	if (a->min_confinement != b->min_confinement)
		TRY(add(d, b->min_confinement < a->min_confinement ? DIFFERENCE_ALLOWS : DIFFERENCE_DENIES, SPAN_EMPTY, "min_confinement",
			policy_confinement_name(a->min_confinement), policy_confinement_name(b->min_confinement)));
	if (a->allow_interpreter != b->allow_interpreter)
		TRY(add(d, b->allow_interpreter ? DIFFERENCE_ALLOWS : DIFFERENCE_DENIES, SPAN_EMPTY, "allow_interpreter",
			a->allow_interpreter ? "true" : "false", b->allow_interpreter ? "true" : "false"));
	if (a->pq != b->pq)
		TRY(add(d, b->pq == POLICY_PQ_REQUIRE ? DIFFERENCE_DENIES : DIFFERENCE_OTHER, SPAN_EMPTY, "pq", pq_text(a->pq), pq_text(b->pq)));
	hex_encode(a->author, before);
	hex_encode(b->author, after);
	if (strcmp(before, after) != 0)
		TRY(add(d, DIFFERENCE_OTHER, SPAN_EMPTY, "author", before, after));
	return OK;
}

/* More sessions are more; less often new keys, and more patience, too. */
static result compare_channels(struct diff *d, const struct policy_channels *a, const struct policy_channels *b)
{
	TRY(limits(d, "channels.sessions", a->sessions, a->sessions, b->sessions, b->sessions, true, false));
	TRY(limits(d, "channels.keyupdate_bytes", a->keyupdate_bytes, a->keyupdate_bytes, b->keyupdate_bytes, b->keyupdate_bytes, true, false));
	TRY(limits(d, "channels.rekey_s", a->rekey_s, a->rekey_s, b->rekey_s, b->rekey_s, true, false));
	return limits(d, "channels.stall_s", a->stall_s, a->stall_s, b->stall_s, b->stall_s, true, false);
}

static result compare_policy(struct diff *d, const struct compiled_policy *a, const struct compiled_policy *b)
{
	d->policy = b;
	TRY(numbers(d, SPAN_EMPTY, "max_dac_depth", a->max_dac_depth, b->max_dac_depth, true, ""));
	TRY(numbers(d, SPAN_EMPTY, "required_attestation_level", a->required_level, b->required_level, false, "Level-"));
	TRY(compare_words(d, a, b));
	TRY(rots(d, SPAN_EMPTY, &a->rot, &b->rot));
	TRY(compare_peers(d, a->peers, b->peers));
	TRY(compare_names(d, "deny", a->denied, b->denied, compiled_next_denied, DIFFERENCE_DENIES, DIFFERENCE_ALLOWS));
	TRY(compare_names(d, "allow_level0", a->level0, b->level0, compiled_next_text, DIFFERENCE_ALLOWS, DIFFERENCE_DENIES));
	TRY(limits(d, "max_evidence_age_s", a->has_max_age, a->max_age_s, b->has_max_age, b->max_age_s, true, false));
	TRY(limits(d, "not_before", a->has_not_before, a->not_before, b->has_not_before, b->not_before, false, true));
	TRY(limits(d, "not_after", a->has_not_after, a->not_after, b->has_not_after, b->not_after, true, true));
	for (size_t i = 0; i < POLICY_CHAIN_LIMITS; i++)
		TRY(limits(d, chain_limit_rows[i].named, a->chain[i], a->chain[i], b->chain[i], b->chain[i], true, false));
	TRY(factors(d, SPAN_EMPTY, a->factors, b->factors));
	TRY(compare_channels(d, &a->channels, &b->channels));
	if (a->version != b->version) {
		char before[24], after[24];
		snprintf(before, sizeof(before), "%" PRIu64, a->version);
		snprintf(after, sizeof(after), "%" PRIu64, b->version);
		TRY(add(d, DIFFERENCE_OTHER, SPAN_EMPTY, "version", before, after));
	}
	return OK;
}

static result decode(const struct policy_table *table, size_t index, struct compiled_policy *out)
{
	struct policy_view view;
	policy_at(table, index, &view);
	struct reader r = reader_of(view.compiled);
	return compiled_decode(&r, NULL, out);
}

/* A policy that only one side has: without one everything is denied. */
static result alone(struct diff *d, const struct compiled_policy *policy, bool is_new)
{
	d->policy = policy;
	return add(d, is_new ? DIFFERENCE_ALLOWS : DIFFERENCE_DENIES, SPAN_EMPTY, "", is_new ? "" : "a policy", is_new ? "a policy" : "");
}

static result compare_tables(struct diff *d, const struct policy_table *before, const struct policy_table *after)
{
	size_t i = 0, k = 0;
	while (i < policy_count(before) || k < policy_count(after)) {
		struct compiled_policy a = {0}, b = {0};
		if (i < policy_count(before))
			TRY(decode(before, i, &a));
		if (k < policy_count(after))
			TRY(decode(after, k, &b));
		int order = !a.id.data ? 1 : !b.id.data ? -1 : compiled_order(a.kind, a.id, b.kind, b.id);
		TRY(order == 0 ? compare_policy(d, &a, &b) : alone(d, order < 0 ? &a : &b, order > 0));
		i += order <= 0;
		k += order >= 0;
	}
	return OK;
}

result policy_differences(const struct policy_table *before, const struct policy_table *after, struct differences *out)
{
	struct diff d = {.cap = 0};
	result compared = compare_tables(&d, before, after);
	if (compared != OK) {
		differences_free(&d.found);
		return compared;
	}
	*out = d.found;
	return OK;
}

void differences_free(struct differences *differences)
{
	if (!differences)
		return;
	free(differences->items);
	*differences = (struct differences){0};
}
