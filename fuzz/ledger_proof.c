/*
 * Proof files, consistency proofs, leaves of decisions, notes and checkpoints of the ledger. 32 bytes of the log's key, then the file; its name is that of the seeds.
 */
#include "ledger/decision.h"
#include "ledger/proof.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct note_key log;
	struct ledger_proof proof;
	struct checkpoint checkpoint;
	struct consistency_proof consistency;
	struct decision decision;
	struct note note;
	if (size < ED25519_PUBLIC_SIZE || note_key_new("example.com/ledger", NOTE_KEY_LOG, data, &log) != OK)
		return 0;
	struct span file = span_of(data + ED25519_PUBLIC_SIZE, size - ED25519_PUBLIC_SIZE);
	if (checkpoint_open(file, &log, &checkpoint, &note) == OK && (note.count == 0 || strcmp(checkpoint.origin, log.name) != 0))
		abort();
	if (consistency_proof_parse(file, &consistency) == OK && consistency.old == 0 && consistency.path.count > 0)
		abort();
	if (ledger_proof_open(file, &log, &arena, &proof) != OK)
		return 0;
	/* What was proved can be written down again, as the same bytes. */
	if (proof.index >= proof.checkpoint.size || proof.leaf_bytes.len == 0 || (proof.kind == PROOF_FACT && proof.leaf.kind != LEAF_TAIL))
		abort();
	if (proof.kind == PROOF_LEAF && decision_open(proof.index, &proof.leaf, &arena, &decision) == OK &&
		decision_facts(&decision, (struct decision_fact[DECISION_FACTS_MAX]){0}) == 0)
		abort();
	return 0;
}
