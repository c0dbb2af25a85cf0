/* Snapshots of the ledger's state. The first byte: 0 the file as it is, 1 with its sum mended, else the state's rows alone. */
#include "ledger/engine_internal.h"
#include "store/crc32c.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What loads has one form, and its facts can be proved under its root. */
static void check_rows(struct span rows)
{
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 24);
	struct ledger_state *state;
	struct merkle_hash root;
	struct sparse_proof proof;
	struct span again;
	const uint8_t key[SPARSE_KEY_SIZE] = {0x80};
	if (ledger_state_load(rows, &state) != OK)
		return;
	ledger_state_root(state, &root);
	if (ledger_state_save(state, &w) != OK || writer_finish(&w, &again) != OK || !span_equal(again, rows))
		abort();
	ledger_state_prove(state, key, &proof);
	bool own = proof.ends_in_leaf && memcmp(proof.leaf_key, key, sizeof(key)) == 0;
	if (sparse_verify(&root, key, own ? proof.leaf_value : SPAN_EMPTY, &proof) != OK)
		abort();
	/* Whatever time makes of it can be taken back. */
	ledger_state_begin(state);
	ledger_state_prune(state, UINT64_MAX);
	struct merkle_hash back;
	if (ledger_state_rollback(state) == OK) {
		ledger_state_root(state, &back);
		if (memcmp(&root, &back, sizeof(root)) != 0)
			abort();
	}
	ledger_state_free(state);
}

static void check_file(struct span bytes)
{
	struct snapshot snapshot;
	struct span rows;
	uint8_t chain[CHAIN_ID_SIZE];
	if (snapshot_decode(bytes, chain, &snapshot, &rows) == OK)
		check_rows(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 5)
		return 0;
	if (data[0] == 1) {
		uint8_t *mended = malloc(size - 1);
		if (!mended)
			return 0;
		memcpy(mended, data + 1, size - 1);
		uint32_t sum = crc32c(0, span_of(mended, size - 5));
		for (size_t i = 0; i < 4; i++)
			mended[size - 5 + i] = (uint8_t)(sum >> (24 - 8 * i));
		check_file(span_of(mended, size - 1));
		free(mended);
	} else if (data[0] == 0) {
		check_file(span_of(data + 1, size - 1));
	} else {
		check_rows(span_of(data + 1, size - 1));
	}
	return 0;
}
