/*
 * Theory of operation. The text is checked as a whole first (UTF-8, no control or invisible characters). JSON
 * is then parsed strictly by jansson. For both languages libyaml's events build the tree, because only they
 * carry line and column: nodes whose parent is still open wait on a stack (`pending`); when a list or map ends,
 * its children move from there into one array of the arena. At last a JSON tree is compared with what jansson
 * read, so that a place where YAML would read JSON differently is an error and never a different tree.
 */
#include "wire/document.h"

#include "base/file.h"
#include "wire/document_error.h"
#include "wire/text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <yaml.h>

/* ---- Positions -------------------------------------------------------------------------------- */

static struct position position_of_mark(yaml_mark_t mark)
{
	return (struct position){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

/* Counts lines as YAML does: LF, CR and CR LF end one; columns are characters. */
static struct position position_of_offset(struct span text, size_t offset)
{
	struct position at = {1, 1};
	for (size_t i = 0; i < offset; i++) {
		uint8_t c = text.data[i];
		bool ends_line = c == '\n' || (c == '\r' && !(i + 1 < text.len && text.data[i + 1] == '\n'));
		if (ends_line)
			at = (struct position){at.line + 1, 1};
		else if ((c & 0xc0) != 0x80)
			at.column++;
	}
	return at;
}

/* ---- The text as a whole ---------------------------------------------------------------------- */

/*
 * Characters that a person cannot see or that reorder what she sees: a document must mean what it looks like.
 * NEL, LS and PS are also line breaks for YAML and not for JSON.
 */
static bool character_allowed(uint32_t code)
{
	if (code < 0x20)
		return code == '\t' || code == '\n' || code == '\r';
	if (code < 0x7f)
		return true;
	if (code <= 0x9f || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069))
		return false;
	return code != 0xfeff && (code & 0xfffe) != 0xfffe;
}

static result check_characters(const char *name, struct span text)
{
	const uint8_t *at = text.data, *end = at + text.len;
	while (at < end) {
		if (*at >= 0x20 && *at < 0x7f) {
			at++;
			continue;
		}
		const uint8_t *start = at;
		uint32_t code = utf8_next(&at);
		if (!character_allowed(code))
			return document_fail_at(name, position_of_offset(text, (size_t)(start - text.data)), BAD_SYNTAX,
				"character U+%04X is not allowed in a document", code);
	}
	return OK;
}

static result check_text(const char *name, struct span text)
{
	static const uint8_t byte_order_mark[] = {0xef, 0xbb, 0xbf};
	if (text.len >= 3 && memcmp(text.data, byte_order_mark, 3) == 0)
		return fail(BAD_SYNTAX, "%s:1:1: the file begins with a byte order mark; save it as UTF-8 without one", name);
	size_t valid = text.len ? utf8_valid_prefix(text) : 0;
	if (valid != text.len)
		return document_fail_at(name, position_of_offset(text, valid), BAD_UTF8, "byte 0x%02x is not UTF-8", text.data[valid]);
	return check_characters(name, text);
}

static bool looks_like_json(const char *name, struct span text)
{
	size_t len = strlen(name);
	if (len >= 5 && strcmp(name + len - 5, ".json") == 0)
		return true;
	size_t i = 0;
	while (i < text.len && strchr(" \t\r\n", text.data[i]))
		i++;
	return i < text.len && (text.data[i] == '{' || text.data[i] == '[');
}

/* ---- The tree from libyaml's events ----------------------------------------------------------- */

/* A list or map that is still open. */
struct level {
	struct node node;
	size_t first; /* its first child on the stack of pending nodes */
	const char *key; /* map: the key whose value comes next, NULL when a key comes next */
	struct position key_at;
};

/* A string seen before, so that keys that repeat a million times are kept once. */
struct interned {
	const char *text;
	size_t len;
};

enum { INTERNED_SLOTS = 256, INTERNED_MAX = 32 };

struct builder {
	const char *name;
	struct span text;
	yaml_parser_t parser;
	struct arena arena;
	struct node *root;
	struct node *pending;
	size_t pending_count, pending_cap;
	size_t nodes;
	size_t depth;
	struct level levels[DOCUMENT_MAX_DEPTH];
	struct interned interned[INTERNED_SLOTS];
	/* Where in the text the last looked-up character is: marks count characters, the text is bytes. */
	size_t cursor_index;
	size_t cursor_offset;
};

static void builder_free(struct builder *b)
{
	yaml_parser_delete(&b->parser);
	arena_free(&b->arena);
	free(b->pending);
}

static result builder_start(struct builder *b, const char *name, struct span text, size_t max_memory)
{
	*b = (struct builder){.name = name, .text = text, .arena = arena_of(max_memory)};
	if (!yaml_parser_initialize(&b->parser))
		return fail(NO_MEMORY, "the YAML parser");
	yaml_parser_set_encoding(&b->parser, YAML_UTF8_ENCODING);
	/* libyaml takes no NULL, even for nothing. */
	yaml_parser_set_input_string(&b->parser, text.data ? text.data : (const uint8_t *)"", text.len);
	return OK;
}

static result intern(struct builder *b, struct span text, const char **out)
{
	if (text.len > INTERNED_MAX)
		return arena_string(&b->arena, text, out);
	uint32_t hash = 2166136261u; /* FNV-1a; a collision only costs a copy */
	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ text.data[i]) * 16777619u;
	struct interned *slot = &b->interned[(hash ^ hash >> 16) % INTERNED_SLOTS];
	if (!slot->text || slot->len != text.len || memcmp(slot->text, text.data, text.len) != 0) {
		TRY(arena_string(&b->arena, text, &slot->text));
		slot->len = text.len;
	}
	*out = slot->text;
	return OK;
}

static result pending_reserve(struct builder *b)
{
	if (b->pending_count < b->pending_cap)
		return OK;
	size_t cap = b->pending_cap ? 2 * b->pending_cap : 64;
	if (cap > b->arena.max / sizeof(struct node))
		cap = b->arena.max / sizeof(struct node);
	if (cap <= b->pending_count)
		return fail(TOO_LARGE, "%s: the document takes more than %zu bytes of memory", b->name, b->arena.max);
	struct node *grown = realloc(b->pending, cap * sizeof(*grown));
	if (!grown)
		return fail(NO_MEMORY, "%zu nodes", cap);
	b->pending = grown;
	b->pending_cap = cap;
	return OK;
}

static struct level *innermost(struct builder *b)
{
	return b->depth ? &b->levels[b->depth - 1] : NULL;
}

/* A finished node goes to the innermost open list or map, or is the root. */
static result add_node(struct builder *b, const struct node *node)
{
	if (++b->nodes > DOCUMENT_MAX_NODES)
		return fail(TOO_LARGE, "%s: more than %d values", b->name, DOCUMENT_MAX_NODES);
	if (b->depth > 0) {
		TRY(pending_reserve(b));
		b->pending[b->pending_count++] = *node;
		return OK;
	}
	void *root;
	TRY(arena_alloc(&b->arena, 1, sizeof(*node), &root));
	b->root = root;
	*b->root = *node;
	return OK;
}

/* A value takes the key that was read before it. */
static void take_key(struct builder *b, struct node *node)
{
	struct level *level = innermost(b);
	if (!level || level->node.kind != NODE_MAP)
		return;
	node->key = level->key;
	node->key_line = level->key_at.line;
	node->key_column = level->key_at.column;
	level->key = NULL;
}

static bool expects_key(struct builder *b)
{
	const struct level *level = innermost(b);
	return level && level->node.kind == NODE_MAP && !level->key;
}

/*
 * The byte at which an event begins. libyaml reports no trace of the tag "!", which would change the meaning
 * of a scalar; it still stands in the text.
 */
static bool begins_with_tag(struct builder *b, yaml_mark_t mark)
{
	while (b->cursor_index < mark.index && b->cursor_offset < b->text.len) {
		const uint8_t *at = b->text.data + b->cursor_offset;
		utf8_next(&at);
		b->cursor_offset = (size_t)(at - b->text.data);
		b->cursor_index++;
	}
	return b->cursor_index == mark.index && b->cursor_offset < b->text.len && b->text.data[b->cursor_offset] == '!';
}

static result check_properties(struct builder *b, const yaml_event_t *event, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	struct position at = position_of_mark(event->start_mark);
	if (anchor)
		return document_fail_at(b->name, at, BAD_SYNTAX, "anchors (&%s) are not allowed; write the value out", anchor);
	if (tag || begins_with_tag(b, event->start_mark))
		return document_fail_at(b->name, at, BAD_SYNTAX, "tags (%s) are not allowed", tag ? (const char *)tag : "!");
	return OK;
}

static result read_key(struct builder *b, struct span text, bool quoted, struct position at)
{
	struct level *level = innermost(b);
	if (!quoted && span_equal_str(text, "<<"))
		return document_fail_at(b->name, at, BAD_SYNTAX, "merge keys (<<) are not allowed; write the fields out");
	if (!quoted && text.len == 0)
		return document_fail_at(b->name, at, BAD_SYNTAX, "a key is missing before the colon");
	TRY(intern(b, text, &level->key));
	level->key_at = at;
	return OK;
}

static result on_scalar(struct builder *b, const yaml_event_t *event)
{
	struct span text = span_of(event->data.scalar.value, event->data.scalar.length);
	struct position at = position_of_mark(event->start_mark);
	bool quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	TRY(check_properties(b, event, event->data.scalar.anchor, event->data.scalar.tag));
	if (text.len && memchr(text.data, 0, text.len))
		return document_fail_at(b->name, at, BAD_SYNTAX, "a text with a NUL character");
	if (expects_key(b))
		return read_key(b, text, quoted, at);
	struct node node = {.kind = NODE_SCALAR, .quoted = quoted, .line = at.line, .column = at.column, .text_len = text.len};
	TRY(intern(b, text, &node.text));
	take_key(b, &node);
	return add_node(b, &node);
}

static result on_start(struct builder *b, const yaml_event_t *event, enum node_kind kind)
{
	struct position at = position_of_mark(event->start_mark);
	bool map = kind == NODE_MAP;
	TRY(check_properties(b, event, map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor,
		map ? event->data.mapping_start.tag : event->data.sequence_start.tag));
	if (expects_key(b))
		return document_fail_at(b->name, at, BAD_SYNTAX, "a key must be a text, not a %s", map ? "map" : "list");
	if (b->depth == DOCUMENT_MAX_DEPTH)
		return document_fail_at(b->name, at, TOO_DEEP, "lists and maps are nested deeper than %d", DOCUMENT_MAX_DEPTH);
	struct level level = {.first = b->pending_count};
	level.node = (struct node){.kind = kind, .line = at.line, .column = at.column};
	take_key(b, &level.node);
	b->levels[b->depth++] = level;
	return OK;
}

static int compare_keys(const void *a, const void *b)
{
	const struct node *left = *(const struct node *const *)a, *right = *(const struct node *const *)b;
	int order = strcmp(left->key, right->key);
	return order ? order : (left > right) - (left < right); /* in one array: document order */
}

static result duplicate_found(const struct builder *b, const struct node *first, const struct node *second)
{
	return document_fail_at(b->name, (struct position){second->key_line, second->key_column}, DUPLICATE_KEY,
		"\"%s\" stands twice in one map, first at line %u", second->key, first->key_line);
}

/* Sorted, so that a map of a million keys costs n log n and no hash that could be flooded. */
static result check_many_keys(const struct builder *b, const struct node *map)
{
	const struct node **sorted = malloc(map->count * sizeof(const struct node *));
	if (!sorted)
		return fail(NO_MEMORY, "%zu keys", map->count);
	for (size_t i = 0; i < map->count; i++)
		sorted[i] = &map->children[i];
	qsort(sorted, map->count, sizeof(*sorted), compare_keys);
	result found = OK;
	for (size_t i = 1; i < map->count && found == OK; i++)
		if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0)
			found = duplicate_found(b, sorted[i - 1], sorted[i]);
	free(sorted);
	return found;
}

static result check_duplicate_keys(const struct builder *b, const struct node *map)
{
	if (map->count > 16)
		return check_many_keys(b, map);
	for (size_t i = 1; i < map->count; i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(map->children[j].key, map->children[i].key) == 0)
				return duplicate_found(b, &map->children[j], &map->children[i]);
	return OK;
}

static result on_end(struct builder *b)
{
	struct level *level = innermost(b);
	struct node node = level->node;
	node.count = b->pending_count - level->first;
	if (node.count > 0) {
		void *children;
		TRY(arena_alloc(&b->arena, node.count, sizeof(node), &children));
		memcpy(children, b->pending + level->first, node.count * sizeof(node));
		node.children = children;
	}
	if (node.kind == NODE_MAP)
		TRY(check_duplicate_keys(b, &node));
	b->pending_count = level->first;
	b->depth--;
	return add_node(b, &node);
}

static result on_document_start(struct builder *b, const yaml_event_t *event)
{
	struct position at = position_of_mark(event->start_mark);
	if (b->root)
		return document_fail_at(b->name, at, BAD_SYNTAX, "a second document begins; one file holds one");
	if (event->data.document_start.version_directive ||
		event->data.document_start.tag_directives.start != event->data.document_start.tag_directives.end)
		return document_fail_at(b->name, at, BAD_SYNTAX, "directives (%%) are not allowed");
	return OK;
}

static result on_event(struct builder *b, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		return on_document_start(b, event);
	case YAML_SCALAR_EVENT:
		return on_scalar(b, event);
	case YAML_SEQUENCE_START_EVENT:
		return on_start(b, event, NODE_LIST);
	case YAML_MAPPING_START_EVENT:
		return on_start(b, event, NODE_MAP);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return on_end(b);
	case YAML_ALIAS_EVENT:
		return document_fail_at(b->name, position_of_mark(event->start_mark), BAD_SYNTAX,
			"aliases (*%s) are not allowed; write the value out", event->data.alias.anchor);
	default:
		return OK;
	}
}

/* Why libyaml gave up. */
static result parser_failed(const struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	struct position at = position_of_mark(p->problem_mark);
	if (p->error == YAML_MEMORY_ERROR)
		return fail(NO_MEMORY, "%s: while parsing", b->name);
	const char *problem = p->problem ? p->problem : "not well-formed";
	if (p->error == YAML_READER_ERROR)
		at = position_of_offset(b->text, p->problem_offset < b->text.len ? p->problem_offset : b->text.len);
	if (strstr(problem, "maximum") && strstr(problem, "level"))
		return document_fail_at(b->name, at, TOO_DEEP, "lists and maps are nested deeper than %d", DOCUMENT_MAX_DEPTH);
	if (p->context)
		return document_fail_at(
			b->name, at, BAD_SYNTAX, "%s %s (begun at line %u)", problem, p->context, position_of_mark(p->context_mark).line);
	return document_fail_at(b->name, at, BAD_SYNTAX, "%s", problem);
}

static result build_tree(struct builder *b)
{
	for (bool done = false; !done;) {
		yaml_event_t event;
		if (!yaml_parser_parse(&b->parser, &event))
			return parser_failed(b);
		done = event.type == YAML_STREAM_END_EVENT;
		result outcome = on_event(b, &event);
		yaml_event_delete(&event);
		if (outcome != OK)
			return outcome;
	}
	if (!b->root)
		return fail(BAD_SYNTAX, "%s:1:1: the document is empty", b->name);
	return OK;
}

/* ---- JSON ------------------------------------------------------------------------------------- */

static void json_free(json_t **json)
{
	json_decref(*json);
}

/*
 * jansson takes its memory where it likes, so a document that could take much more than the caller allows is
 * refused beforehand: sizes of jansson 2.14 on 64-bit machines with malloc's overhead, for every character that
 * could begin such a value (those within texts count too, which only errs towards refusing).
 */
static result check_json_memory(const char *name, struct span text, size_t max_memory)
{
	size_t need = 2 * text.len;
	for (size_t i = 0; i < text.len; i++) {
		switch (text.data[i]) {
		case '{':
			need += 232;
			break;
		case '[':
			need += 112;
			break;
		case ':':
			need += 88;
			break;
		case ',':
			need += 48;
			break;
		default:
			break;
		}
	}
	if (need > max_memory)
		return fail(TOO_LARGE, "%s: the document takes about %zu bytes of memory, at most %zu are allowed", name, need, max_memory);
	return OK;
}

static result json_failed(const char *name, const json_error_t *error)
{
	struct position at = {error->line > 0 ? (unsigned)error->line : 1, error->column > 0 ? (unsigned)error->column : 1};
	switch (json_error_code(error)) {
	case json_error_out_of_memory:
		return fail(NO_MEMORY, "%s: while parsing", name);
	case json_error_stack_overflow:
		return document_fail_at(name, at, TOO_DEEP, "lists and maps are nested deeper than %d", DOCUMENT_MAX_DEPTH);
	case json_error_duplicate_key:
		return document_fail_at(name, at, DUPLICATE_KEY, "%s", error->text);
	case json_error_invalid_utf8:
		return document_fail_at(name, at, BAD_UTF8, "%s", error->text);
	default:
		return document_fail_at(name, at, BAD_SYNTAX, "not JSON: %s", error->text);
	}
}

static bool is_high_surrogate_escape(const uint8_t *at, const uint8_t *end)
{
	return end - at >= 12 && at[1] == 'u' && (at[2] | 0x20) == 'd' && strchr("89abAB", at[3]) && at[3];
}

/*
 * Where JSON that jansson accepted and YAML differ in spelling, not in meaning: a tab between tokens becomes a
 * blank, and a surrogate pair (RFC 8259 section 7) becomes YAML's \U escape. Columns after such a pair in the
 * same line come out two too low.
 */
static result respell_json(struct span text, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes copy = BYTES_EMPTY;
	TRY(bytes_copy(text, &copy));
	uint8_t *to = copy.data;
	const uint8_t *end = text.data + text.len;
	for (const uint8_t *at = text.data; at < end;) {
		if (*at != '\\' || at + 1 == end) {
			*to++ = *at == '\t' ? ' ' : *at;
			at++;
		} else if (is_high_surrogate_escape(at, end)) {
			uint8_t high[2], low[2];
			TRY(hex_decode(span_of(at + 2, 4), high, 2));
			TRY(hex_decode(span_of(at + 8, 4), low, 2));
			uint32_t code =
				0x10000 + ((uint32_t)((high[0] << 8 | high[1]) & 0x3ff) << 10) + ((uint32_t)(low[0] << 8 | low[1]) & 0x3ff);
			char escape[11];
			snprintf(escape, sizeof(escape), "\\U%08X", code);
			memcpy(to, escape, 10);
			to += 10;
			at += 12;
		} else {
			*to++ = *at++;
			*to++ = *at++;
		}
	}
	copy.len = (size_t)(to - copy.data);
	*out = bytes_move(&copy);
	return OK;
}

static bool scalar_agrees(const struct node *node, const json_t *json)
{
	if (json_is_string(json))
		return node->quoted &&
			span_equal(span_of(node->text, node->text_len), span_of(json_string_value(json), json_string_length(json)));
	if (node->quoted)
		return false;
	if (json_is_integer(json))
		return strspn(node->text, "-0123456789") == node->text_len && strtoll(node->text, NULL, 10) == json_integer_value(json);
	if (json_is_real(json))
		return strspn(node->text, "-+.0123456789eE") == node->text_len;
	return strcmp(node->text, json_is_true(json) ? "true" : json_is_false(json) ? "false" : "null") == 0;
}

/* Recurses at most DOCUMENT_MAX_DEPTH deep. Gives the first node that is not what jansson read, or NULL. */
/* NOLINTNEXTLINE(misc-no-recursion): no deeper than the tree */
static const struct node *first_difference(const struct node *node, const json_t *json)
{
	if (node->kind == NODE_SCALAR)
		return json && !json_is_object(json) && !json_is_array(json) && scalar_agrees(node, json) ? NULL : node;
	bool map = node->kind == NODE_MAP;
	if (map ? !json_is_object(json) || json_object_size(json) != node->count
		: !json_is_array(json) || json_array_size(json) != node->count)
		return node;
	for (size_t i = 0; i < node->count; i++) {
		const struct node *child = &node->children[i];
		const struct node *different = first_difference(child, map ? json_object_get(json, child->key) : json_array_get(json, i));
		if (different)
			return different;
	}
	return NULL;
}

/* ---- Parsing ---------------------------------------------------------------------------------- */

static void builder_done(struct builder *b, bool is_json, struct document *out, const char *kept_name)
{
	*out = (struct document){.name = kept_name, .root = b->root, .arena = b->arena, .is_json = is_json};
	b->arena = (struct arena){0};
}

static result parse_yaml(const char *name, struct span text, size_t max_memory, struct document *out)
{
	CLEANUP(builder_free) struct builder b;
	TRY(builder_start(&b, name, text, max_memory));
	TRY(build_tree(&b));
	const char *kept_name;
	TRY(arena_string(&b.arena, span_str(name), &kept_name));
	builder_done(&b, false, out, kept_name);
	return OK;
}

/* jansson took it, libyaml does not: such JSON exists (a colon in another line than its key, a very long key). */
static result build_json_tree(struct builder *b)
{
	result outcome = build_tree(b);
	if (outcome != BAD_SYNTAX)
		return outcome;
	char why[DOCUMENT_MESSAGE_SIZE];
	snprintf(why, sizeof(why), "%s", failure_text());
	return fail(BAD_SYNTAX, "%s; keep each key short and its colon in the same line", why);
}

static result parse_json(const char *name, struct span text, size_t max_memory, struct document *out)
{
	TRY(check_json_memory(name, text, max_memory));
	json_error_t error;
	CLEANUP(json_free) json_t *json = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	/* A duplicate is reported below, where both places are known. */
	if (!json && json_error_code(&error) != json_error_duplicate_key)
		return json_failed(name, &error);

	CLEANUP(bytes_free) struct bytes respelled = BYTES_EMPTY;
	TRY(respell_json(text, &respelled));
	CLEANUP(builder_free) struct builder b;
	TRY(builder_start(&b, name, bytes_span(&respelled), max_memory));
	TRY(build_json_tree(&b));
	if (!json)
		return json_failed(name, &error);
	const struct node *different = first_difference(b.root, json);
	if (different)
		return document_fail_at(name, (struct position){different->line, different->column}, BAD_SYNTAX,
			"this JSON cannot be read without doubt; write it in a simpler form, each key and colon in one line");
	const char *kept_name;
	TRY(arena_string(&b.arena, span_str(name), &kept_name));
	builder_done(&b, true, out, kept_name);
	return OK;
}

result document_parse(const char *name, struct span text, size_t max_memory, struct document *out)
{
	TRY(check_text(name, text));
	if (looks_like_json(name, text))
		return parse_json(name, text, max_memory, out);
	return parse_yaml(name, text, max_memory, out);
}

/* The tree of a usual document takes 6 to 10 times its text; beyond this factor it is an attack. */
enum { MEMORY_PER_BYTE = 48, MEMORY_AT_LEAST = 1 << 20 };

/* A file that says itself that it is too large is not read at all; file_read_fd holds the bound for the others. */
static result check_size(const char *path, int fd, size_t max_bytes)
{
	struct stat about;
	if (fstat(fd, &about) != 0)
		return fail_errno("%s", path);
	if (S_ISREG(about.st_mode) && (uintmax_t)about.st_size > max_bytes)
		return fail(TOO_LARGE, "%s: %jd bytes, at most %zu are allowed", path, (intmax_t)about.st_size, max_bytes);
	return OK;
}

result document_load(const char *path, size_t max_bytes, struct document *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	/* Not blocking: a FIFO in the path is refused, not waited for. */
	TRY(file_open(path, O_RDONLY | O_NONBLOCK, 0, &fd));
	TRY(check_size(path, fd.n, max_bytes));
	result read = file_read_fd(fd.n, max_bytes, &text);
	if (read != OK)
		return fail_within(read, "%s", path);
	size_t max_memory;
	if (__builtin_mul_overflow(text.len, MEMORY_PER_BYTE, &max_memory))
		return fail(TOO_LARGE, "%s: %zu bytes", path, text.len);
	return document_parse(path, bytes_span(&text), max_memory + MEMORY_AT_LEAST, out);
}
