#include "object/revocation_text.h"

#include <stdlib.h>

#include "base/clock.h"
#include "wire/document.h"
#include "wire/json.h"
#include "wire/text.h"

struct source {
	const struct document *document;
	struct arena *arena;
};

static result read_time(struct source *s, const struct node *map, const char *field, uint64_t *out)
{
	const struct node *node = node_field(map, field);
	const char *text;
	TRY(node_text(s->document, node, &text));
	if (clock_parse(text, out) != OK)
		return document_fail(s->document, node, BAD_VALUE, "'%s' is no time like 2027-11-21T15:47:31Z", text);
	return OK;
}

static result read_value(struct source *s, const struct node *map, struct revocation_entry *entry)
{
	void *value;
	for (int class = REVOKE_MEASUREMENT; class < REVOKE_CLASSES; class++) {
		const struct node *node = node_field(map, revocation_class_name((enum revocation_class)class));
		size_t size = revocation_class_size((enum revocation_class)class);
		if (!node)
			continue;
		if (entry->class)
			return document_fail(s->document, node, BAD_VALUE, "an entry revokes one thing; make another for this");
		entry->class = (uint8_t)class;
		TRY(arena_alloc(s->arena, size, 1, &value));
		TRY(node_hex(s->document, node, value, size));
		entry->value = span_of(value, size);
	}
	return entry->class ? OK :
			      document_fail(s->document, map, MISSING_FIELD,
				      "an entry needs one of measurement, key, certificate, host, epoch and policy");
}

static result read_entry(struct source *s, const struct node *map, struct revocation_entry *entry)
{
	static const char *const fields[] = {
		"measurement", "key", "certificate", "host", "epoch", "policy", "from", "why", NULL};
	const struct node *why;
	const char *text;
	TRY(document_fields(s->document, map, fields));
	TRY(read_value(s, map, entry));
	if (node_field(map, "from"))
		TRY(read_time(s, map, "from", &entry->from));
	entry->why = "";
	why = node_field(map, "why");
	if (!why)
		return OK;
	TRY(node_text(s->document, why, &text));
	if (strlen(text) > REVOCATION_WHY_MAX)
		return document_fail(s->document, why, TOO_LARGE, "a reason of more than %d bytes", REVOCATION_WHY_MAX);
	return arena_string(s->arena, span_str(text), &entry->why);
}

static result read_entries(struct source *s, const struct node *root, struct revocation_list *list)
{
	const struct node *node = node_field(root, "entries");
	void *entries;
	if (node->kind != NODE_LIST)
		return document_fail(s->document, node, BAD_TYPE, "'entries' must be a list");
	TRY(arena_alloc(s->arena, node->count + 1, sizeof(*list->entries), &entries));
	list->entries = entries;
	for (size_t i = 0; i < node->count; i++)
		TRY(read_entry(s, &node->children[i], &list->entries[i]));
	list->entry_count = node->count;
	return OK;
}

static result read_list(struct source *s, const struct node *root, struct revocation_list *list)
{
	static const char *const fields[] = {"!version", "!not_after", "!entries", NULL};
	const struct node *version;
	TRY(document_fields(s->document, root, fields));
	version = node_field(root, "version");
	TRY(node_uint(s->document, version, INT64_MAX, &list->version));
	if (list->version < 1)
		return document_fail(s->document, version, BAD_VALUE, "'version' counts from 1");
	TRY(read_time(s, root, "not_after", &list->not_after));
	return read_entries(s, root, list);
}

result revocation_text_parse(const char *name, struct span text, struct arena *arena, struct revocation_list *out)
{
	CLEANUP(document_free) struct document document = {0};
	struct revocation_list list = {.v = 1};
	if (text.len > REVOCATION_TEXT_MAX)
		return fail(TOO_LARGE, "'%s' has %zu bytes", name, text.len);
	TRY(document_parse(name, text, 48 * (size_t)REVOCATION_TEXT_MAX, &document));
	struct source source = {&document, arena};
	TRY(read_list(&source, document.root, &list));
	*out = list;
	return OK;
}

static json_t *entry_json(const struct revocation_entry *entry)
{
	char from[CLOCK_TEXT_SIZE];
	json_t *json = json_pack("{s:o}", revocation_class_name((enum revocation_class)entry->class), json_hex(entry->value));
	if (json && entry->from) {
		clock_format(entry->from, from);
		json_object_set_new(json, "from", json_string(from));
	}
	if (json && entry->why[0])
		json_object_set_new(json, "why", json_string(entry->why));
	return json;
}

result revocation_text_write(const struct revocation_list *list, struct bytes *out)
{
	char to[CLOCK_TEXT_SIZE];
	json_t *entries = json_array();
	for (size_t i = 0; i < list->entry_count; i++)
		json_array_append_new(entries, entry_json(&list->entries[i]));
	clock_format(list->not_after, to);
	json_t *json =
		json_pack("{s:I, s:s, s:o}", "version", (json_int_t)list->version, "not_after", to, "entries", entries);
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	json_decref(json);
	if (!text)
		return fail(NO_MEMORY, "revocation list");
	result copied = bytes_copy(span_str(text), out);
	free(text);
	return copied;
}
