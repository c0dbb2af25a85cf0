/*
 * Structures of a TPM. The first byte says which: 0 attest, 1 public area, 2 signature, 3 evidence envelope, 4 what an operator
 * believes. What is
 * accepted borrows from its input; nothing that comes from here alone is ever evidence.
 */
#include "evidence/tpm.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static bool inside(struct span part, struct span whole)
{
	return part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static void try_attest(struct span bytes)
{
	struct tpm_attest attest;
	if (tpm_attest_parse(bytes, &attest) != OK)
		return;
	must(inside(attest.signer, bytes) && inside(attest.extra_data, bytes) && inside(attest.pcr_digest, bytes));
	must(attest.selection_count <= TPM_BANKS_MAX);
	for (size_t i = 0; i < attest.selection_count; i++)
		must(attest.selections[i].pcrs >> TPM_PCR_COUNT == 0);
}

static void try_public(struct span bytes)
{
	struct tpm_public area;
	uint8_t name[TPM_NAME_MAX];
	size_t len;
	struct platform_key key = PLATFORM_KEY_EMPTY;
	if (tpm_public_parse(bytes, &area) != OK)
		return;
	must(inside(area.modulus, bytes) && inside(area.x, bytes) && inside(area.y, bytes) && inside(area.policy, bytes));
	if (tpm_public_name(&area, name, &len) == OK)
		must(len <= sizeof(name));
	if (tpm_ak_check(&area) == OK)
		must((area.attributes & (TPM_RESTRICTED | TPM_SIGN)) == (TPM_RESTRICTED | TPM_SIGN));
	if (tpm_public_key(&area, &key) == OK)
		must(key.type != PLATFORM_KEY_NONE);
	platform_key_free(&key);
}

static void try_signature(struct span bytes)
{
	struct platform_signature signature;
	if (tpm_signature_parse(bytes, &signature) == OK)
		must(inside(signature.rsa, bytes) && inside(signature.r, bytes) && inside(signature.s, bytes));
}

static void try_envelope(struct span bytes)
{
	struct arena arena = arena_of(1 << 20);
	const struct tpm_trust trust = {.allow_synthetic = true};
	const struct tpm_expectation expected = {.at_ms = 1};
	struct tpm_verdict verdict;
	must(tpm_evidence_verify(bytes, &trust, &expected, &arena, &verdict) != OK); /* no root is trusted */
	arena_free(&arena);
}

static void try_trust(struct span bytes)
{
	struct arena arena = arena_of(1 << 20);
	struct bytes again = BYTES_EMPTY;
	struct platform_trust trust;
	if (schema_decode(&platform_trust_schema, bytes, &arena, &trust) == OK) {
		must(schema_encode(&platform_trust_schema, &trust, &again) == OK && span_equal(bytes_span(&again), bytes));
		bytes_free(&again);
	}
	arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const targets[])(struct span) = {try_attest, try_public, try_signature, try_envelope, try_trust};
	if (size > 0 && data[0] < COUNT_OF(targets))
		targets[data[0]](span_of(data + 1, size - 1));
	return 0;
}
