/*
 * The document loader. The first byte chooses whether the name says JSON. A tree that comes out is whole: every
 * node has a position, keys stand once, texts end where they say, and no typed read disturbs it.
 */
#include "wire/document.h"

#include "wire/text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEMORY = 1 << 20 };

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_scalar(const struct document *document, const struct node *node)
{
	const char *text;
	uint64_t number;
	bool flag;
	uint8_t bytes[4];
	require(node->count == 0 && node->text && strlen(node->text) == node->text_len);
	require(utf8_valid(span_of(node->text, node->text_len)));
	bool is_number = node_uint(document, node, UINT64_MAX, &number) == OK;
	bool is_bool = node_bool(document, node, &flag) == OK;
	bool is_text = node_text(document, node, &text) == OK;
	require(!(is_number && is_bool) && !(is_text && node_is_null(node)));
	require(!(document->is_json && is_text && (is_number || is_bool)));
	(void)!node_hex(document, node, bytes, sizeof(bytes));
}

static void check_node(const struct document *document, const struct node *node, size_t depth)
{
	static const char *const names[] = {"!name", "a", "policy", NULL};
	require(node->line > 0 && node->column > 0 && depth <= DOCUMENT_MAX_DEPTH);
	if (node->kind == NODE_SCALAR)
		check_scalar(document, node);
	(void)!document_fields(document, node, names);
	for (size_t i = 0; i < node->count; i++) {
		const struct node *child = &node->children[i];
		if (node->kind == NODE_MAP)
			require(child->key && child->key_line > 0 && child->key_column > 0 &&
				(node->count > 256 || node_field(node, child->key) == child));
		check_node(document, child, depth + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(document_free) struct document document = {0};
	if (size == 0 || size > 1 << 16)
		return 0;
	const char *name = data[0] & 1 ? "fuzz.json" : "fuzz.yaml";
	if (document_parse(name, span_of(data + 1, size - 1), MEMORY, &document) != OK)
		return 0;
	check_node(&document, document.root, 0);
	char path[64];
	const struct node *last = document.root;
	while (last->count > 0)
		last = &last->children[last->count - 1];
	document_path(&document, last, path, sizeof(path));
	return 0;
}
