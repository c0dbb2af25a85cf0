/*
 * The trust policy that people write (JSON or YAML) and its translation to the compiled form. docs/POLICY.md
 * is its manual. A document holds one policy or a list of policies.
 *
 * Nothing is guessed: a field that is not of the schema, a value of another type, an empty set, a name with
 * a letter of another alphabet, the same peer twice are load errors that name file, line and column, and
 * nothing of the document is used.
 */
#ifndef TROTH_POLICY_SCHEMA_H
#define TROTH_POLICY_SCHEMA_H

#include "base/bytes.h"
#include "policy/table.h"
#include "wire/document.h"

/* Longest policy file that is read at all. */
enum { POLICY_MAX_FILE = 32 * 1024 * 1024 };

/* Compiles a document to a set. Every reason of the schema, each with "file:line:column: what". */
NODISCARD result policy_compile(const struct document *document, struct bytes *out_set);
/* The same for one policy inside another document (a job file). */
NODISCARD result policy_compile_node(const struct document *document, const struct node *node, struct bytes *out_policy);

/* Document to table in one step. */
NODISCARD result policy_load_document(const struct document *document, struct policy_table **out);
/* File to table. Refuses files longer than POLICY_MAX_FILE before reading them. */
NODISCARD result policy_load_file(const char *path, struct policy_table **out);

/* A compiled policy (one) as the JSON that a person would have written; compiles to the same bytes. */
NODISCARD result policy_render_json(struct span compiled_policy, struct bytes *out_json);

#endif
