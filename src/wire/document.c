/* Reading the tree, and the messages about it; document_parse.c makes the tree. */
#include "wire/document.h"

#include "base/writer.h"
#include "wire/document_error.h"
#include "wire/text.h"

#include <stdarg.h>
#include <stdio.h>

void document_free(struct document *document)
{
	if (!document)
		return;
	arena_free(&document->arena);
	*document = (struct document){0};
}

/* ---- Errors with a position ------------------------------------------------------------------- */

result document_note_at(const char *name, struct position at, enum reason reason, const char *format, ...)
{
	char what[DOCUMENT_MESSAGE_SIZE];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	text_make_plain(what); /* it may quote the document, which may hold escapes for a terminal */
	return fail(reason, "%s:%u:%u: %s", name, at.line, at.column, what);
}

/* ---- Reading the tree ------------------------------------------------------------------------- */

result document_fail(const struct document *document, const struct node *node, enum reason reason, const char *format, ...)
{
	char what[DOCUMENT_MESSAGE_SIZE];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	text_make_plain(what);
	if (!node)
		return fail(reason, "%s: %s", document->name, what);
	return document_fail_at(document->name, (struct position){node->line, node->column}, reason, "%s", what);
}

const struct node *node_field(const struct node *map, const char *key)
{
	if (map->kind != NODE_MAP)
		return NULL;
	for (size_t i = 0; i < map->count; i++)
		if (strcmp(map->children[i].key, key) == 0)
			return &map->children[i];
	return NULL;
}

static const char *kind_name(const struct node *node)
{
	return node->kind == NODE_MAP ? "a map" : node->kind == NODE_LIST ? "a list" : "a single value";
}

static const char *field_name(const struct node *node)
{
	return node->key ? node->key : "this value";
}

static result expect_scalar(const struct document *document, const struct node *node, const char *what)
{
	if (node->kind != NODE_SCALAR)
		return document_fail(document, node, BAD_TYPE, "%s is %s where %s is expected", field_name(node), kind_name(node), what);
	return OK;
}

bool node_is_null(const struct node *node)
{
	if (node->kind != NODE_SCALAR || node->quoted)
		return false;
	return node->text_len == 0 || strcmp(node->text, "null") == 0 || strcmp(node->text, "~") == 0;
}

result node_text(const struct document *document, const struct node *node, const char **out)
{
	TRY(expect_scalar(document, node, "a text"));
	if (node_is_null(node))
		return document_fail(document, node, BAD_TYPE, "%s is empty where a text is expected", field_name(node));
	if (document->is_json && !node->quoted)
		return document_fail(document, node, BAD_TYPE, "%s is %s where a text in quotes is expected", field_name(node), node->text);
	*out = node->text;
	return OK;
}

result node_uint(const struct document *document, const struct node *node, uint64_t max, uint64_t *out)
{
	TRY(expect_scalar(document, node, "a whole number"));
	if (node->quoted)
		return document_fail(
			document, node, BAD_TYPE, "%s is a text where a whole number without quotes is expected", field_name(node));
	bool digits = node->text_len > 0 && strspn(node->text, "0123456789") == node->text_len;
	if (!digits || (node->text[0] == '0' && node->text_len > 1))
		return document_fail(document, node, BAD_TYPE, "%s is %s where a whole number, in plain digits, is expected",
			field_name(node), node->text_len ? node->text : "empty");
	uint64_t value = 0;
	for (const char *at = node->text; *at; at++)
		if (__builtin_mul_overflow(value, (uint64_t)10, &value) || __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
			value = UINT64_MAX, max = 0;
	if (value > max)
		return document_fail(document, node, BAD_VALUE, "%s is %s, which is too large", field_name(node), node->text);
	*out = value;
	return OK;
}

result node_bool(const struct document *document, const struct node *node, bool *out)
{
	TRY(expect_scalar(document, node, "true or false"));
	bool is_true = strcmp(node->text, "true") == 0;
	if (node->quoted || (!is_true && strcmp(node->text, "false") != 0))
		return document_fail(document, node, BAD_TYPE, "%s is %s%s where true or false, without quotes, is expected",
			field_name(node), node->quoted ? "the text " : "", node->text_len ? node->text : "empty");
	*out = is_true;
	return OK;
}

result node_hex(const struct document *document, const struct node *node, uint8_t *out, size_t len)
{
	const char *text;
	TRY(node_text(document, node, &text));
	result decoded = hex_decode(span_of(text, node->text_len), out, len);
	if (decoded != OK)
		return document_fail(document, node, decoded, "%s must be %zu hex digits", field_name(node), 2 * len);
	return OK;
}

/* ---- Fields ----------------------------------------------------------------------------------- */

enum { FIELD_NAME_MAX = 48 };

static size_t smallest(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;
	return ab < c ? ab : c;
}

/* Edit distance of two names (Levenshtein); names longer than FIELD_NAME_MAX are far from everything. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t a_len = strlen(a), b_len = strlen(b);
	if (a_len > FIELD_NAME_MAX || b_len > FIELD_NAME_MAX)
		return SIZE_MAX;
	size_t row[FIELD_NAME_MAX + 1];
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t changed = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			row[j] = smallest(changed, row[j] + 1, row[j - 1] + 1);
		}
	}
	return row[b_len];
}

/* Names of a schema may carry a '!' in front. */
static const char *bare_name(const char *name)
{
	return name[0] == '!' ? name + 1 : name;
}

const char *document_nearest(const char *word, const char *const *names)
{
	const char *best = NULL;
	size_t best_distance = 3;
	for (; *names; names++) {
		const char *name = bare_name(*names);
		size_t distance = edit_distance(word, name);
		if (distance < best_distance && distance < strlen(name)) {
			best = name;
			best_distance = distance;
		}
	}
	return best;
}

static bool is_known(const char *key, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(key, bare_name(*names)) == 0)
			return true;
	return false;
}

static result unknown_field(const struct document *document, const struct node *field, const char *const *names)
{
	struct position at = {field->key_line, field->key_column};
	const char *nearest = document_nearest(field->key, names);
	if (nearest)
		return document_fail_at(
			document->name, at, UNKNOWN_FIELD, "unknown field \"%s\"; did you mean \"%s\"?", field->key, nearest);
	return document_fail_at(document->name, at, UNKNOWN_FIELD, "unknown field \"%s\"", field->key);
}

result document_fields(const struct document *document, const struct node *map, const char *const *names)
{
	if (map->kind != NODE_MAP)
		return document_fail(document, map, BAD_TYPE, "%s is %s where a map is expected", field_name(map), kind_name(map));
	for (size_t i = 0; i < map->count; i++)
		if (!is_known(map->children[i].key, names))
			return unknown_field(document, &map->children[i], names);
	for (; *names; names++)
		if ((*names)[0] == '!' && !node_field(map, *names + 1))
			return document_fail(document, map, MISSING_FIELD, "the field \"%s\" is missing%s%s", *names + 1,
				map->key ? " in " : "", map->key ? map->key : "");
	return OK;
}

/* Writes the path of `node` below `from`; false when it is not there. Recurses at most DOCUMENT_MAX_DEPTH deep. */
/* NOLINTNEXTLINE(misc-no-recursion): no deeper than the tree */
static bool put_path(const struct node *from, const struct node *node, struct writer *w)
{
	if (from == node)
		return true;
	for (size_t i = 0; i < from->count; i++) {
		size_t before = w->len;
		if (from->kind == NODE_MAP) {
			writer_str(w, before ? "." : "");
			writer_str(w, from->children[i].key);
		} else {
			char index[32];
			snprintf(index, sizeof(index), "[%zu]", i);
			writer_str(w, index);
		}
		if (put_path(&from->children[i], node, w))
			return true;
		w->len = before;
		w->failed = OK;
	}
	return false;
}

void document_path(const struct document *document, const struct node *node, char *out, size_t out_size)
{
	struct writer w = writer_fixed(out, out_size - 1);
	bool found = document->root && put_path(document->root, node, &w);
	out[found ? w.len : 0] = '\0';
}
