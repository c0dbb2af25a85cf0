/*
 * The document is compiled first, so that lint sees only policies that load, and looks relations up in the
 * table; the document's nodes say where a finding stands.
 */
#include "policy/lint.h"

#include "policy/rules.h"
#include "policy/schema.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	MOVES = DIRECTION_SEND | DIRECTION_RECEIVE,
};

struct lint {
	const struct policy_table *table;
	uint64_t now_ms;
	struct lint_findings found;
	size_t cap;
	bool out_of_memory;
};

static bool lint_grow(struct lint *lint)
{
	size_t cap = lint->cap ? 2 * lint->cap : 16;
	struct lint_finding *grown = realloc(lint->found.items, cap * sizeof(*grown));
	if (!grown) {
		lint->out_of_memory = true;
		return false;
	}
	lint->found.items = grown;
	lint->cap = cap;
	return true;
}

PRINTF_LIKE(4, 5)
static void find(struct lint *lint, enum lint_severity severity, const struct node *node, const char *format, ...)
{
	va_list args;
	if (lint->found.count == LINT_MAX_FINDINGS) {
		lint->found.cut = true;
		return;
	}
	if (lint->found.count == lint->cap && !lint_grow(lint))
		return;
	struct lint_finding *finding = &lint->found.items[lint->found.count++];
	*finding = (struct lint_finding){.severity = severity, .line = node->line, .column = node->column};
	va_start(args, format);
	vsnprintf(finding->text, sizeof(finding->text), format, args);
	va_end(args);
}

/* ---- One policy ----------------------------------------------------------------------------------------- */

/* A policy as written and as compiled. */
struct subject {
	const struct node *node, *id;
	const struct policy_entry *policy;
};

static struct span text_of(const struct node *node)
{
	return span_of(node->text, node->text_len);
}

/* A communicator is its id, or a map with one. */
static const struct node *peer_id(const struct node *peer)
{
	return peer->kind == NODE_MAP ? node_field(peer, "id") : peer;
}

static unsigned flags_of(const struct lint *lint, const struct policy_entry *policy, struct span peer)
{
	const struct peer_rule *rule = table_rule(lint->table, policy, peer);
	return rule ? rule->flags : 0;
}

static void lint_window(struct lint *lint, const struct subject *subject)
{
	const struct node *before = node_field(subject->node, "not_before"), *after = node_field(subject->node, "not_after");
	if (lint->now_ms == 0)
		return;
	if (before && lint->now_ms < subject->policy->not_before)
		find(lint, LINT_NOTE, before, "this policy is not valid yet; until then it denies everything");
	if (after && lint->now_ms > subject->policy->not_after)
		find(lint, LINT_WARNING, after, "this policy has expired; it denies everything");
}

/*
 * Both sides are asked. When the peer's policy stands in the same document, an edge that it refuses never
 * carries anything.
 */
static void lint_other_side(struct lint *lint, const struct subject *subject, const struct peer_rule *rule, const struct node *id)
{
	const struct policy_entry *other = table_policy(lint->table, SUBJECT_ENCLAVE, text_of(id));
	if (!other || subject->policy->kind != SUBJECT_ENCLAVE || other == subject->policy)
		return;
	const struct peer_rule *back = table_rule(lint->table, other, text_of(subject->id));
	if (!back || !(back->flags & RULE_ALLOWED)) {
		find(lint, LINT_WARNING, id, "the policy of %s does not allow %s; both sides are asked, so this never applies", id->text,
			subject->id->text);
		return;
	}
	unsigned there = back->directions, here = rule->directions;
	bool moves = (here & DIRECTION_SEND && there & DIRECTION_RECEIVE) || (here & DIRECTION_RECEIVE && there & DIRECTION_SEND);
	bool meets = (here & DIRECTION_CONNECT && there & DIRECTION_ACCEPT) || (here & DIRECTION_ACCEPT && there & DIRECTION_CONNECT);
	if (!moves || !meets)
		find(lint, LINT_WARNING, id, "the directions of %s and %s exclude each other; nothing can pass", subject->id->text,
			id->text);
}

static void lint_level0_peer(struct lint *lint, const struct node *peer)
{
	const struct node *cores = node_field(peer, "cores"), *rots = node_field(peer, "rot_ids");
	const struct node *reference = node_field(peer, "reference");
	if (cores)
		find(lint, LINT_WARNING, cores, "%s may come without evidence, but cores asks for some; without it is refused",
			peer_id(peer)->text);
	if (reference)
		find(lint, LINT_WARNING, reference, "%s may come without evidence, but reference asks for some; without it is refused",
			peer_id(peer)->text);
	if (rots)
		find(lint, LINT_NOTE, rots, "a key that is only pinned has no root, so rot_ids refuses it");
}

static void lint_peer(struct lint *lint, const struct subject *subject, const struct node *peer)
{
	const struct node *id = peer_id(peer);
	const struct peer_rule *rule = table_rule(lint->table, subject->policy, text_of(id));
	if (span_equal(text_of(id), text_of(subject->id)))
		find(lint, LINT_WARNING, id, "%s names itself; its own records need no rule and it has no channel to itself", id->text);
	if (rule->flags & RULE_DENIED)
		find(lint, LINT_WARNING, id, "%s is both allowed and denied; deny wins, so this entry never applies", id->text);
	else
		lint_other_side(lint, subject, rule, id);
	if (rule->flags & RULE_LEVEL0)
		lint_level0_peer(lint, peer);
	if (subject->policy->max_dac_depth == 1 && rule->directions & DIRECTION_RECEIVE)
		find(lint, LINT_WARNING, id, "max_dac_depth is 1, which refuses every record that %s could send; 2 is the least for that",
			id->text);
}

static void lint_peers(struct lint *lint, const struct subject *subject)
{
	const struct node *peers = node_field(subject->node, "allowed_communicators");
	if (!peers && subject->policy->peer_count == 0)
		find(lint, LINT_NOTE, subject->id, "%s has no allowed_communicators: it may deal with nobody", subject->id->text);
	for (size_t i = 0; peers && i < peers->count; i++)
		lint_peer(lint, subject, &peers->children[i]);
}

static void lint_deny(struct lint *lint, const struct subject *subject)
{
	const struct node *deny = node_field(subject->node, "deny");
	for (size_t i = 0; deny && i < deny->count; i++) {
		const struct node *id = &deny->children[i];
		if (!(flags_of(lint, subject->policy, text_of(id)) & RULE_ALLOWED))
			find(lint, LINT_NOTE, id, "%s is not in allowed_communicators and would be denied without this", id->text);
	}
}

static void lint_level0(struct lint *lint, const struct subject *subject)
{
	const struct node *level0 = node_field(subject->node, "allow_level0");
	for (size_t i = 0; level0 && i < level0->count; i++) {
		const struct node *id = &level0->children[i];
		unsigned flags = flags_of(lint, subject->policy, text_of(id));
		if (!(flags & RULE_ALLOWED))
			find(lint, LINT_WARNING, id, "%s is not in allowed_communicators, so this never applies", id->text);
		else if (flags & RULE_DENIED)
			find(lint, LINT_WARNING, id, "%s is denied, so this never applies", id->text);
	}
}

static struct subject subject_of(const struct lint *lint, const struct node *node)
{
	static const char *const fields[] = {NULL, "enclave_id", "caller_id", "guest_id"};
	struct subject subject = {.node = node};
	for (unsigned kind = SUBJECT_ENCLAVE; kind <= SUBJECT_GUEST; kind++) {
		subject.id = node_field(node, fields[kind]);
		if (!subject.id)
			continue;
		subject.policy = table_policy(lint->table, (enum policy_subject)kind, text_of(subject.id));
		break;
	}
	return subject;
}

/* ---- Names that only look the same ---------------------------------------------------------------------- */

struct names {
	const struct node **items;
	size_t count, cap;
};

static void names_free(struct names *names)
{
	free(names->items);
}

static void add_name(struct lint *lint, struct names *names, const struct node *node)
{
	if (!node)
		return;
	if (names->count == names->cap) {
		size_t cap = names->cap ? 2 * names->cap : 64;
		const struct node **grown = realloc(names->items, cap * sizeof(*grown));
		if (!grown) {
			lint->out_of_memory = true;
			return;
		}
		names->items = grown;
		names->cap = cap;
	}
	names->items[names->count++] = node;
}

static void add_names_of(struct lint *lint, struct names *names, const struct subject *subject)
{
	static const char *const lists[] = {"allowed_communicators", "deny", "allow_level0"};
	add_name(lint, names, subject->id);
	for (size_t i = 0; i < COUNT_OF(lists); i++) {
		const struct node *list = node_field(subject->node, lists[i]);
		for (size_t j = 0; list && j < list->count; j++)
			add_name(lint, names, peer_id(&list->children[j]));
	}
}

/* What a hurried reader sees. */
static int seen_as(char c)
{
	switch (c) {
	case '0':
		return 'o';
	case '1':
	case 'i':
	case 'I':
	case 'L':
		return 'l';
	case '_':
		return '-';
	default:
		return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
	}
}

static int compare_looks(const char *a, const char *b)
{
	for (; *a && seen_as(*a) == seen_as(*b); a++, b++)
		;
	return seen_as(*a) - seen_as(*b);
}

/* By look, then by spelling, then in the order of the document. */
static int compare_names(const void *a, const void *b)
{
	const struct node *left = *(const struct node *const *)a, *right = *(const struct node *const *)b;
	int order = compare_looks(left->text, right->text);
	if (order == 0)
		order = strcmp(left->text, right->text);
	if (order == 0)
		order = left->line != right->line ? (left->line > right->line) - (left->line < right->line)
						  : (left->column > right->column) - (left->column < right->column);
	return order;
}

static void lint_looks(struct lint *lint, struct names *names)
{
	if (names->count < 2)
		return;
	qsort(names->items, names->count, sizeof(*names->items), compare_names);
	for (size_t i = 1; i < names->count; i++) {
		const struct node *before = names->items[i - 1], *node = names->items[i];
		if (strcmp(before->text, node->text) != 0 && compare_looks(before->text, node->text) == 0)
			find(lint, LINT_WARNING, node, "%s looks like %s at line %u, but is another name", node->text, before->text,
				before->line);
	}
}

/* ---- A document ----------------------------------------------------------------------------------------- */

static int compare_findings(const void *a, const void *b)
{
	const struct lint_finding *left = a, *right = b;
	if (left->line != right->line)
		return left->line < right->line ? -1 : 1;
	if (left->column != right->column)
		return left->column < right->column ? -1 : 1;
	return strcmp(left->text, right->text);
}

static void lint_document(struct lint *lint, const struct document *document, struct names *names)
{
	const struct node *root = document->root;
	size_t count = root->kind == NODE_MAP ? 1 : root->count;
	const struct node *policies = root->kind == NODE_MAP ? root : root->children;
	for (size_t i = 0; i < count; i++) {
		struct subject subject = subject_of(lint, &policies[i]);
		add_names_of(lint, names, &subject);
		if (!subject.id)
			continue; /* a default: what it says is judged in the policies that inherit it */
		lint_window(lint, &subject);
		lint_peers(lint, &subject);
		lint_deny(lint, &subject);
		lint_level0(lint, &subject);
	}
	lint_looks(lint, names);
}

result policy_lint(const struct document *document, uint64_t now_ms, struct lint_findings *out)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	CLEANUP(names_free) struct names names = {0};
	TRY(policy_load_document(document, &table));
	struct lint lint = {.table = table, .now_ms = now_ms};
	lint_document(&lint, document, &names);
	if (lint.out_of_memory) {
		lint_findings_free(&lint.found);
		return fail(NO_MEMORY, "%s: while looking for findings", document->name);
	}
	if (lint.found.count > 1)
		qsort(lint.found.items, lint.found.count, sizeof(*lint.found.items), compare_findings);
	*out = lint.found;
	return OK;
}

void lint_findings_free(struct lint_findings *findings)
{
	if (!findings)
		return;
	free(findings->items);
	*findings = (struct lint_findings){0};
}

const char *lint_severity_name(enum lint_severity severity)
{
	return severity == LINT_WARNING ? "warning" : "note";
}
