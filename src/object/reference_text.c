#include "object/reference_text.h"

#include <stdlib.h>

#include "base/clock.h"
#include "object/report.h"
#include "wire/document.h"
#include "wire/json.h"
#include "wire/text.h"

struct source {
	const struct document *document;
	struct arena *arena;
};

static result read_name(struct source *s, const struct node *map, const char *field, const char **out)
{
	const struct node *node = node_field(map, field);
	const char *text;
	TRY(node_text(s->document, node, &text));
	if (!name_is_valid(text))
		return document_fail(s->document, node, BAD_NAME, "'%s' is no name", text);
	return arena_string(s->arena, span_str(text), out);
}

static result read_count(struct source *s, const struct node *map, const char *field, uint64_t max, uint64_t *out)
{
	const struct node *node = node_field(map, field);
	uint64_t value;
	TRY(node_uint(s->document, node, max, &value));
	if (value < 1)
		return document_fail(s->document, node, BAD_VALUE, "'%s' counts from 1", field);
	*out = value;
	return OK;
}

static result read_time(struct source *s, const struct node *map, const char *field, uint64_t *out)
{
	const struct node *node = node_field(map, field);
	const char *text;
	TRY(node_text(s->document, node, &text));
	if (clock_parse(text, out) != OK)
		return document_fail(s->document, node, BAD_VALUE, "'%s' is no time like 2027-11-21T15:47:31Z", text);
	return OK;
}

static result read_list(struct source *s, const struct node *map, const char *field, size_t most, size_t size, void *out_items,
	const struct node **out)
{
	const struct node *list = node_field(map, field);
	void *items;
	if (list->kind != NODE_LIST)
		return document_fail(s->document, list, BAD_TYPE, "'%s' must be a list", field);
	if (list->count < 1 || list->count > most)
		return document_fail(s->document, list, list->count ? TOO_LARGE : EMPTY_SET, "'%s' has %zu elements, 1 to %zu can be",
			field, list->count, most);
	TRY(arena_alloc(s->arena, list->count, size, &items));
	memcpy(out_items, &items, sizeof(items));
	*out = list;
	return OK;
}

/* {svn, program | core | measurement}: the kind of value is the name of its field. */
static result read_row(struct source *s, const struct node *map, struct reference_row *row)
{
	static const char *const fields[] = {"!svn", "program", "core", "measurement", NULL};
	uint64_t svn;
	TRY(document_fields(s->document, map, fields));
	TRY(read_count(s, map, "svn", UINT32_MAX, &svn));
	row->svn = (uint32_t)svn;
	for (int what = REFERENCE_PROGRAM; what <= REFERENCE_MEASUREMENT; what++) {
		const struct node *node = node_field(map, reference_what_name((enum reference_what)what));
		if (!node)
			continue;
		if (row->what)
			return document_fail(s->document, node, BAD_VALUE, "a row has one value: program, core or measurement");
		row->what = (uint8_t)what;
		TRY(node_hex(s->document, node, row->digest, SHA384_SIZE));
	}
	return row->what ? OK : document_fail(s->document, map, MISSING_FIELD, "a row needs a value: program, core or measurement");
}

static result check_digests(struct source *s, const struct node *list, const struct reference_entry *entry)
{
	for (size_t i = 0; i < entry->row_count; i++)
		for (size_t k = 0; k < i; k++)
			if (entry->rows[i].what == entry->rows[k].what &&
				memcmp(entry->rows[i].digest, entry->rows[k].digest, SHA384_SIZE) == 0)
				return document_fail(s->document, &list->children[i], BAD_VALUE, "this digest stands in line %u already",
					list->children[k].line);
	return OK;
}

static result read_entry(struct source *s, const struct node *map, struct reference_entry *entry)
{
	static const char *const fields[] = {"!name", "min_svn", "!rows", NULL};
	const struct node *list;
	uint64_t least = 1;
	bool allowed = false;
	TRY(document_fields(s->document, map, fields));
	TRY(read_name(s, map, "name", &entry->name));
	if (node_field(map, "min_svn"))
		TRY(read_count(s, map, "min_svn", UINT32_MAX, &least));
	entry->min_svn = (uint32_t)least;
	TRY(read_list(s, map, "rows", REFERENCE_MAX_ROWS, sizeof(*entry->rows), &entry->rows, &list));
	for (size_t i = 0; i < list->count; i++) {
		TRY(read_row(s, &list->children[i], &entry->rows[i]));
		allowed |= entry->rows[i].svn >= entry->min_svn;
	}
	entry->row_count = list->count;
	TRY(check_digests(s, list, entry));
	return allowed ? OK : document_fail(s->document, map, BAD_VALUE, "every row is below min_svn %u", entry->min_svn);
}

static result read_entries(struct source *s, const struct node *root, struct reference_set *set)
{
	const struct node *list;
	TRY(read_list(s, root, "entries", REFERENCE_MAX_ENTRIES, sizeof(*set->entries), &set->entries, &list));
	for (size_t i = 0; i < list->count; i++) {
		TRY(read_entry(s, &list->children[i], &set->entries[i]));
		for (size_t k = 0; k < i; k++)
			if (strcmp(set->entries[i].name, set->entries[k].name) == 0)
				return document_fail(s->document, node_field(&list->children[i], "name"), BAD_VALUE,
					"entry '%s' stands in line %u already", set->entries[i].name, list->children[k].line);
	}
	set->entry_count = list->count;
	return OK;
}

static result read_set(struct source *s, const struct node *root, struct reference_set *set)
{
	static const char *const fields[] = {"!name", "!version", "!not_before", "!not_after", "!entries", NULL};
	TRY(document_fields(s->document, root, fields));
	TRY(read_name(s, root, "name", &set->name));
	TRY(read_count(s, root, "version", INT64_MAX, &set->version));
	TRY(read_time(s, root, "not_before", &set->not_before));
	TRY(read_time(s, root, "not_after", &set->not_after));
	if (set->not_before >= set->not_after)
		return document_fail(s->document, node_field(root, "not_after"), BAD_VALUE, "the set would be valid at no time");
	return read_entries(s, root, set);
}

result reference_text_parse(const char *name, struct span text, struct arena *arena, struct reference_set *out)
{
	CLEANUP(document_free) struct document document = {0};
	struct reference_set set = {.v = 1};
	if (text.len > REFERENCE_TEXT_MAX)
		return fail(TOO_LARGE, "'%s' has %zu bytes", name, text.len);
	TRY(document_parse(name, text, 48 * (size_t)REFERENCE_TEXT_MAX, &document));
	struct source source = {&document, arena};
	TRY(read_set(&source, document.root, &set));
	TRY(reference_set_check(&set));
	*out = set;
	return OK;
}

static json_t *entry_json(const struct reference_entry *entry)
{
	json_t *rows = json_array();
	for (size_t i = 0; i < entry->row_count; i++) {
		const struct reference_row *row = &entry->rows[i];
		json_array_append_new(rows, json_pack("{s:I, s:o}", "svn", (json_int_t)row->svn,
						    reference_what_name((enum reference_what)row->what), json_hex(SPAN_ARRAY(row->digest))));
	}
	return json_pack("{s:s, s:I, s:o}", "name", entry->name, "min_svn", (json_int_t)entry->min_svn, "rows", rows);
}

result reference_text_write(const struct reference_set *set, struct bytes *out)
{
	char from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE];
	json_t *entries = json_array();
	for (size_t i = 0; i < set->entry_count; i++)
		json_array_append_new(entries, entry_json(&set->entries[i]));
	clock_format(set->not_before, from);
	clock_format(set->not_after, to);
	json_t *json = json_pack("{s:s, s:I, s:s, s:s, s:o}", "name", set->name, "version", (json_int_t)set->version, "not_before", from,
		"not_after", to, "entries", entries);
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	json_decref(json);
	if (!text)
		return fail(NO_MEMORY, "reference set");
	result copied = bytes_copy(span_str(text), out);
	free(text);
	return copied;
}
