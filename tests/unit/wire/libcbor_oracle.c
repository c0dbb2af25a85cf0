/* libcbor behind one function: its names collide with ours, so it has a file of its own. */
#include "libcbor_oracle.h"

#include <cbor.h>

bool libcbor_reads_all(const uint8_t *data, size_t len)
{
	struct cbor_load_result outcome;
	cbor_item_t *item = cbor_load(data, len, &outcome);
	bool all = item && outcome.error.code == CBOR_ERR_NONE && outcome.read == len;
	if (item)
		cbor_decref(&item);
	return all;
}
