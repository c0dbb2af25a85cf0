/* Leaves of the ledger's log, and batches as they stand in its journal. The first byte: 0 a leaf, else a batch. */
#include "ledger/engine_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What decodes has one encoding: the bytes themselves. */
static void check_leaf(struct span bytes)
{
	CLEANUP(writer_free) struct writer w = writer_growing(LEAF_MAX + 64);
	struct ledger_leaf leaf;
	struct span again;
	if (ledger_leaf_decode(bytes, &leaf) != OK)
		return;
	ledger_leaf_put(&leaf, &w);
	if (writer_finish(&w, &again) != OK || !span_equal(again, bytes))
		abort();
}

static void check_batch(struct span bytes)
{
	struct batch batch;
	struct span rest, leaf;
	if (batch_decode(bytes, &batch) != OK)
		return;
	rest = batch.leaves;
	for (size_t i = 0; i < batch.count; i++) {
		struct span same;
		if (batch_next(&rest, &leaf) != OK || batch_leaf(&batch, batch.tail.first + i, &same) != OK || same.data != leaf.data)
			abort();
		check_leaf(leaf);
	}
	if (rest.len || leaf.data != batch.tail_bytes.data || batch_leaf(&batch, batch.tail.first + batch.count, &leaf) == OK)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] == 0)
		check_leaf(span_of(data + 1, size - 1));
	else
		check_batch(span_of(data + 1, size - 1));
	return 0;
}
