/*
 * Snapshots of the ledger's state. The first byte: 0 a slot of the file as it is; else a stored state of some facts, changed by rows
 * of {offset u16, mask u8}: whatever is asked of it then is answered as it would be without the change, or refused as damaged.
 */
#include "ledger/engine_internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NONCES = 40, TIME = 1000 };

static void must(bool right)
{
	if (!right)
		abort();
}

static void make(struct ledger_state *state, size_t begin, size_t end)
{
	for (size_t i = begin; i < end; i++) {
		uint8_t address[ADDRESS_SIZE] = {(uint8_t)i}, nonce[32] = {(uint8_t)(i * 7)};
		must(ledger_state_add_nonce(state, address, nonce, TIME + i * 10) == OK);
	}
}

static void id_of(size_t i, uint8_t out[static ADDRESS_SIZE + 32])
{
	memset(out, 0, ADDRESS_SIZE + 32);
	out[0] = (uint8_t)i;
	out[ADDRESS_SIZE] = (uint8_t)(i * 7);
}

/* The answers of the state that nobody changed. */
static void compare(struct ledger_state *got, struct ledger_state *wanted)
{
	struct merkle_hash root, same;
	struct sparse_proof proof;
	ledger_state_root(wanted, &root);
	ledger_state_root(got, &same);
	must(memcmp(&root, &same, sizeof(root)) == 0);
	for (size_t i = 0; i < NONCES + 5; i++) {
		CLEANUP(arena_free) struct arena arena = arena_of(1024);
		uint8_t id[ADDRESS_SIZE + 32], key[SPARSE_KEY_SIZE];
		struct nonce_fact fact, other;
		bool there, too;
		id_of(i, id);
		must(ledger_state_find(wanted, FACT_NONCE, SPAN_ARRAY(id), &arena, &fact, &there) == OK);
		result found = ledger_state_find(got, FACT_NONCE, SPAN_ARRAY(id), &arena, &other, &too);
		must(found == OK ? there == too && (!there || fact.valid_until == other.valid_until) : found == LEDGER_DAMAGED);
		fact_key(FACT_NONCE, SPAN_ARRAY(id), key);
		result proved = ledger_state_prove(got, key, &proof);
		must(proved == OK || proved == LEDGER_DAMAGED);
		bool own = proved == OK && proof.ends_in_leaf && memcmp(proof.leaf_key, key, sizeof(key)) == 0;
		must(proved != OK || (own == there && sparse_verify(&root, key, own ? proof.leaf_value : SPAN_EMPTY, &proof) == OK));
	}
}

/* Time goes on for both; what could not be forgotten is told. */
static void prune_both(struct ledger_state *got, struct ledger_state *wanted)
{
	bool done;
	ledger_state_prune(got, TIME + NONCES * 5);
	ledger_state_prune(wanted, TIME + NONCES * 5);
	if (ledger_state_sound(got) == OK)
		compare(got, wanted);
	result brought = ledger_state_bring(got, SIZE_MAX, &done);
	must(brought == LEDGER_DAMAGED || (brought == OK && done));
}

static void check_rows(struct span edits)
{
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	struct ledger_state *wanted, *got;
	struct state_place place;
	struct merkle_hash root;
	must(ledger_state_new(&wanted) == OK);
	writer_u64(&w, 0);
	make(wanted, 0, NONCES / 2);
	must(ledger_state_store(wanted, true, &w, 0, &place) == OK);
	make(wanted, NONCES / 2, NONCES);
	must(ledger_state_store(wanted, false, &w, 0, &place) == OK);
	ledger_state_root(wanted, &root);
	for (size_t at = 0; at + 3 <= edits.len; at += 3) {
		size_t offset = (size_t)edits.data[at] << 8 | edits.data[at + 1];
		if (offset < w.len)
			w.data[offset] ^= edits.data[at + 2];
	}
	result opened = ledger_state_open(span_of(w.data, w.len), &place, &root, TIME, &got);
	must(opened == OK || opened == LEDGER_DAMAGED);
	if (opened == OK) {
		compare(got, wanted);
		prune_both(got, wanted);
		ledger_state_free(got);
	}
	ledger_state_free(wanted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct snapshot snapshot;
	uint8_t chain[CHAIN_ID_SIZE];
	if (size < 1)
		return 0;
	if (data[0] == 0)
		(void)!snapshot_decode(span_of(data + 1, size - 1), chain, &snapshot);
	else
		check_rows(span_of(data + 1, size - 1));
	return 0;
}
