#include "ledger/access_text.h"

#include <stdio.h>

#include "wire/document.h"
#include "wire/json.h"

enum { ACCESS_RULES_MAX = 256 };

struct source {
	const struct document *document;
	struct arena *arena;
	const struct names *names;
	const char *scope;
};

/* Errors of what stands in a node say where it is. */
static result at_node(const struct source *s, const struct node *node, result done)
{
	char text[256];
	if (done == OK)
		return OK;
	snprintf(text, sizeof(text), "%s", failure_text());
	return document_fail(s->document, node, done, "%s", text);
}

static result read_operations(struct source *s, const struct node *node, uint64_t *out)
{
	uint64_t all = 0, some;
	const char *text;
	if (node->kind != NODE_LIST) {
		TRY(node_text(s->document, node, &text));
		return at_node(s, node, operations_parse(text, out));
	}
	for (size_t i = 0; i < node->count; i++) {
		TRY(node_text(s->document, &node->children[i], &text));
		TRY(at_node(s, &node->children[i], operations_parse(text, &some)));
		all |= some;
	}
	if (!all)
		return document_fail(s->document, node, BAD_VALUE, "no operation is named");
	*out = all;
	return OK;
}

static result list_of(struct source *s, const struct node *map, const char *field, const struct node **out)
{
	*out = node_field(map, field);
	if (*out && ((*out)->kind != NODE_LIST || (*out)->count == 0))
		return document_fail(s->document, *out, BAD_TYPE, "'%s' is a list; leave it out when it does not matter", field);
	return OK;
}

static result read_actors(struct source *s, const struct node *map, struct access_rule *rule)
{
	const struct node *list;
	const char *text;
	void *items;
	TRY(list_of(s, map, "actors", &list));
	if (!list)
		return OK;
	TRY(arena_alloc(s->arena, list->count, sizeof(*rule->actors.items), &items));
	rule->actors.items = items;
	for (size_t i = 0; i < list->count; i++) {
		TRY(node_text(s->document, &list->children[i], &text));
		TRY(at_node(s, &list->children[i], names_resolve(s->names, span_str(text), rule->actors.items[i].bytes)));
	}
	rule->actors.count = list->count;
	rule->has_actors = true;
	if (schema_sort(&address_schema, rule->actors.items, rule->actors.count) != OK)
		return document_fail(s->document, list, BAD_VALUE, "somebody stands there twice");
	return OK;
}

static result read_measurements(struct source *s, const struct node *map, struct access_rule *rule)
{
	const struct node *list;
	const char *text;
	void *items;
	TRY(list_of(s, map, "measurements", &list));
	if (!list)
		return OK;
	TRY(arena_alloc(s->arena, list->count, sizeof(char *), &items));
	const char **texts = items;
	for (size_t i = 0; i < list->count; i++) {
		TRY(node_text(s->document, &list->children[i], &text));
		texts[i] = text;
	}
	TRY(at_node(s, list, measurements_parse(texts, list->count, s->arena, &rule->measurements)));
	rule->has_measurements = true;
	return OK;
}

static result read_scope(struct source *s, const struct node *map, struct access_rule *rule)
{
	const struct node *part = node_field(map, "part");
	char scope[SCOPE_MAX + 1];
	uint8_t owner[ADDRESS_SIZE];
	const char *text;
	rule->scope = s->scope;
	if (!part)
		return OK;
	TRY(node_text(s->document, part, &text));
	int len = snprintf(scope, sizeof(scope), "%s/%s", s->scope, text);
	if (len < 0 || (size_t)len >= sizeof(scope))
		return document_fail(s->document, part, TOO_LARGE, "a scope has at most %d bytes", SCOPE_MAX);
	TRY(at_node(s, part, scope_parse(scope, owner)));
	return arena_string(s->arena, span_str(scope), &rule->scope);
}

static result read_rule(struct source *s, const struct node *map, struct access_rule *rule)
{
	static const char *const fields[] = {"allow", "deny", "actors", "part", "measurements", NULL};
	TRY(document_fields(s->document, map, fields));
	const struct node *allow = node_field(map, "allow"), *deny = node_field(map, "deny");
	if (!allow == !deny)
		return document_fail(s->document, map, allow ? BAD_VALUE : MISSING_FIELD, "a rule has either 'allow' or 'deny'");
	rule->effect = deny ? ACCESS_DENY : ACCESS_ALLOW;
	TRY(read_operations(s, deny ? deny : allow, &rule->operations));
	TRY(read_actors(s, map, rule));
	TRY(read_scope(s, map, rule));
	return read_measurements(s, map, rule);
}

static result read_access(struct source *s, const struct node *root, struct tx_access *out)
{
	static const char *const fields[] = {"version", "scope", "!rules", NULL};
	void *rules;
	TRY(document_fields(s->document, root, fields));
	const struct node *version = node_field(root, "version"), *list = node_field(root, "rules"), *scope = node_field(root, "scope");
	const char *text;
	char resolved[SCOPE_MAX + 1];
	if (version)
		TRY(node_uint(s->document, version, INT64_MAX, &out->version));
	if (scope) {
		TRY(node_text(s->document, scope, &text));
		TRY(at_node(s, scope, names_scope(s->names, text, NULL, resolved)));
		if (strcmp(resolved, s->scope) != 0)
			return document_fail(s->document, scope, BAD_VALUE, "these rules are for '%s', not for '%s'", resolved, s->scope);
	}
	if (list->kind != NODE_LIST)
		return document_fail(s->document, list, BAD_TYPE, "'rules' is a list");
	if (list->count > ACCESS_RULES_MAX)
		return document_fail(s->document, list, TOO_LARGE, "a scope has at most %d rules", ACCESS_RULES_MAX);
	TRY(arena_alloc(s->arena, list->count + 1, sizeof(*out->rules), &rules));
	out->rules = rules;
	for (size_t i = 0; i < list->count; i++)
		TRY(read_rule(s, &list->children[i], &out->rules[i]));
	out->rule_count = list->count;
	out->scope = s->scope;
	return OK;
}

result access_text_parse(const char *name, struct span text, const char *scope, const struct names *names, struct arena *arena,
	struct tx_access *out)
{
	CLEANUP(document_free) struct document document = {0};
	struct tx_access access = {.version = 0};
	struct source source = {.document = &document, .arena = arena, .names = names};
	if (text.len > ACCESS_TEXT_MAX)
		return fail(TOO_LARGE, "'%s' has %zu bytes", name, text.len);
	TRY(arena_string(arena, span_str(scope), &source.scope));
	TRY(document_parse(name, text, 48 * (size_t)ACCESS_TEXT_MAX, &document));
	TRY(read_access(&source, document.root, &access));
	*out = access;
	return OK;
}

/* ---- As JSON ---------------------------------------------------------------------------------------- */

static json_t *rule_json(const struct tx_access *access, const struct access_rule *rule)
{
	json_t *json = json_pack("{s:o}", rule->effect == ACCESS_DENY ? "deny" : "allow", operations_json(rule->operations));
	json_t *actors = json_array(), *measurements = json_array();
	for (size_t i = 0; i < rule->actors.count; i++) {
		char text[ADDRESS_TEXT_SIZE];
		address_format(rule->actors.items[i].bytes, text);
		json_array_append_new(actors, json_string(text));
	}
	for (size_t i = 0; i < rule->measurements.count; i++)
		json_array_append_new(measurements, json_hex(SPAN_ARRAY(rule->measurements.items[i].bytes)));
	if (rule->has_actors)
		json_object_set(json, "actors", actors);
	if (strlen(rule->scope) > strlen(access->scope))
		json_object_set_new(json, "part", json_string(rule->scope + strlen(access->scope) + 1));
	if (rule->has_measurements)
		json_object_set(json, "measurements", measurements);
	json_decref(actors);
	json_decref(measurements);
	return json;
}

json_t *access_text_json(const struct tx_access *access)
{
	json_t *rules = json_array();
	for (size_t i = 0; i < access->rule_count; i++)
		json_array_append_new(rules, rule_json(access, &access->rules[i]));
	return json_pack("{s:s, s:I, s:o}", "scope", access->scope, "version", (json_int_t)access->version, "rules", rules);
}
