/*
 * Epoch histories, single records and HALTs as an auditor is handed them: whatever is taken is a chain that stands on its
 * first record, and tells itself again in the same way.
 */
#include "object/epoch_rules.h"
#include "object/epoch_chain.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_chain(const struct epoch_chain *chain)
{
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY, again = BYTES_EMPTY;
	struct epoch_chain *copy;
	const struct epoch_link *at = epoch_chain_head(chain);
	for (; epoch_chain_before(chain, at); at = epoch_chain_before(chain, at))
		must(!at->is_void);
	must(at == epoch_chain_at(chain, 0) && memcmp(at->oid, epoch_chain_rot_id(chain), OID_SIZE) == 0);
	must(epoch_chain_history(chain, &history) == OK);
	must(epoch_chain_of_history(bytes_span(&history), &copy) == OK);
	must(epoch_chain_history(copy, &again) == OK);
	must(span_equal(bytes_span(&history), bytes_span(&again)));
	must(epoch_chain_head(copy)->epoch == epoch_chain_head(chain)->epoch && epoch_chain_state(copy) == epoch_chain_state(chain));
	epoch_chain_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct epoch_chain *chain;
	uint8_t rot_id[OID_SIZE];
	(void)!epoch_object_root(span_of(data, size), rot_id);
	if (epoch_chain_of_history(span_of(data, size), &chain) != OK)
		return 0;
	check_chain(chain);
	epoch_chain_free(chain);
	return 0;
}
