/* A chain as text, from a result back to what entered: `troth show` and `troth dac show` draw it alike. */
#ifndef TROTH_RECEIPT_TREE_H
#define TROTH_RECEIPT_TREE_H

#include "base/writer.h"
#include "receipt/chain.h"

struct tree;

/* `verdicts` by index of the set, or NULL: nothing was judged. Borrowed. */
NODISCARD result tree_new(const struct dac *dac, const struct chain_verdict *verdicts, bool unicode, struct tree **out);
void tree_free(struct tree *tree); /* accepts NULL */

/* Appends the record and its ancestors; those that this tree has drawn before are named only. */
NODISCARD result tree_put(struct tree *tree, size_t record, struct writer *w);

/*
 * Texts of a record for one line: what a terminal or a reader could take for something else is replaced. A few results live at
 * once.
 */
const char *tree_plain(const char *text);
const char *tree_last_part(const char *uri); /* the enclave's name of its URI */
const char *tree_short_hex(const uint8_t *bytes);

#endif
