/*
 * Proofs of a host's history. What decodes encodes to the same bytes; what can be read is judged under a trust file without
 * roots, so that nothing is accepted, and goes on from itself.
 */
#include <stdlib.h>

#include "receipt/heads.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct trust nobody;
	CLEANUP(arena_free) struct arena arena = arena_of(64 << 20);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	const struct head_expectation expected = {.trust = &nobody, .nonce = span_str("\xc0\xff\xee")};
	struct head_verdict verdict;
	struct head_proof proof;
	check(head_proof_judge(span_of(data, size), &expected, &arena, &verdict) != OK);
	if (schema_decode(&head_proof_schema, span_of(data, size), &arena, &proof) != OK)
		return 0;
	check(schema_encode(&head_proof_schema, &proof, &again) == OK && span_equal(bytes_span(&again), span_of(data, size)));
	check(head_proof_follows(&proof, &proof) == OK);
	return 0;
}
