/*
 * Documents that people write: JSON or YAML, loaded into one tree in which every node knows its line and
 * column. Loaded with libyaml events for both; input that is JSON by its file name (or starts with '{' or '[')
 * is also parsed strictly by jansson, so that YAML's liberties do not creep into JSON.
 * Refused: anchors, aliases, tags, merge keys, several documents, duplicate keys, non-UTF-8, control
 * characters, nesting deeper than DOCUMENT_MAX_DEPTH, more than DOCUMENT_MAX_NODES nodes, files larger than
 * the caller's bound. Scalars have no type of their own: the schema that reads them types them
 * (so `no` is the text "no" where a text is asked for and an error where a boolean is); quoted scalars are
 * text only.
 */
#ifndef TROTH_WIRE_DOCUMENT_H
#define TROTH_WIRE_DOCUMENT_H

#include "base/arena.h"
#include "base/result.h"

enum { DOCUMENT_MAX_DEPTH = 32, DOCUMENT_MAX_NODES = 16 * 1024 * 1024 };

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
	enum node_kind kind;
	bool quoted; /* scalar written in quotes: never a number, boolean or null */
	unsigned line, column; /* from 1 */
	const char *key; /* when the parent is a map; NUL-terminated */
	unsigned key_line, key_column;
	const char *text; /* scalar; NUL-terminated (embedded NUL is refused) */
	size_t text_len;
	struct node *children; /* list or map: an array of `count` nodes */
	size_t count;
};

struct document {
	const char *name; /* for messages: the file's path */
	struct node *root;
	struct arena arena;
	bool is_json; /* a text must then stand in quotes */
};

/*
 * `max_memory` bounds the tree, and again what parsing takes beside it: 48 times the text is ample.
 * BAD_SYNTAX, DUPLICATE_KEY, TOO_DEEP, TOO_LARGE, BAD_UTF8; the context says "name:line:column: what".
 */
NODISCARD result document_parse(const char *name, struct span text, size_t max_memory, struct document *out);
/* Reads the file first; refuses more than `max_bytes` before reading it all. NOT_FOUND, TOO_LARGE, ... */
NODISCARD result document_load(const char *path, size_t max_bytes, struct document *out);
void document_free(struct document *document);

/* Records "name:line:column: what" and yields `reason`: how a schema reports a wrong node. */
NODISCARD result document_fail(const struct document *document, const struct node *node, enum reason reason, const char *format, ...)
	PRINTF_LIKE(4, 5);

/* Field of a map, NULL when absent. */
const struct node *node_field(const struct node *map, const char *key);
/* Plain `null`, `~` or nothing at all. */
bool node_is_null(const struct node *node);
/*
 * Typed reads of a scalar (BAD_TYPE, BAD_VALUE with position). A text may stand without quotes in YAML, not in
 * JSON; null is no text. Numbers are plain decimal digits; booleans are `true` and `false` and nothing else.
 */
NODISCARD result node_text(const struct document *document, const struct node *node, const char **out);
NODISCARD result node_uint(const struct document *document, const struct node *node, uint64_t max, uint64_t *out);
NODISCARD result node_bool(const struct document *document, const struct node *node, bool *out);
/* Hex of exactly `len` bytes. */
NODISCARD result node_hex(const struct document *document, const struct node *node, uint8_t *out, size_t len);

/*
 * Checks that `map` is a map with only fields of `names` (NULL-terminated; a name that starts with '!' is
 * required). UNKNOWN_FIELD suggests the nearest known name ("did you mean ...?"); MISSING_FIELD.
 */
NODISCARD result document_fields(const struct document *document, const struct node *map, const char *const *names);

/* The nearest of `names` within two edits ('!' in front does not count), NULL when none is near. */
const char *document_nearest(const char *word, const char *const *names);

/* The path of a node, "enclaves[2].policy", cut to fit; "" for the root. Searches the tree: for messages only. */
void document_path(const struct document *document, const struct node *node, char *out, size_t out_size);

#endif
