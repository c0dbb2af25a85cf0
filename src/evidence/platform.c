#include "evidence/platform.h"

#include <stdio.h>

enum { JUDGE_MEMORY = 1 << 20 };

static void note(struct platform *platform, enum reason reason, const char *text)
{
	platform->refused = reason;
	snprintf(platform->text, sizeof(platform->text), "%s", text);
}

/* The verifier's own form of what is trusted; borrows. */
static result translate(const struct platform_trust *trust, struct arena *arena, struct tpm_trust *out)
{
	void *roots, *enrolled, *references;
	TRY(arena_alloc(arena, trust->root_count + 1, sizeof(struct span), &roots));
	TRY(arena_alloc(arena, trust->enrolled_count + 1, sizeof(struct tpm_enrolled), &enrolled));
	TRY(arena_alloc(arena, trust->pcr_count + 1, sizeof(struct tpm_reference), &references));
	*out = (struct tpm_trust){roots, trust->root_count, enrolled, trust->enrolled_count, references, trust->pcr_count, trust->allow_synthetic};
	for (size_t i = 0; i < trust->root_count; i++)
		((struct span *)roots)[i] = trust->roots[i].bytes;
	for (size_t i = 0; i < trust->enrolled_count; i++) {
		memcpy(((struct tpm_enrolled *)enrolled)[i].ak_name, trust->enrolled[i].ak, SHA256_SIZE);
		memcpy(((struct tpm_enrolled *)enrolled)[i].ek_id, trust->enrolled[i].ek, SHA256_SIZE);
	}
	for (size_t i = 0; i < trust->pcr_count; i++)
		((struct tpm_reference *)references)[i] =
			(struct tpm_reference){trust->pcrs[i].index, span_of(trust->pcrs[i].value, SHA256_SIZE)};
	return OK;
}

static bool registers_fit(const struct tpm_verdict *verdict, const struct platform_expectation *expected)
{
	for (size_t i = 0; i < expected->register_pairs; i++)
		if (memcmp(verdict->registers, &expected->registers[2 * i], 2 * sizeof(struct register_value)) == 0)
			return true;
	return expected->registers == NULL;
}

static bool is_environment(result reason)
{
	return reason == NO_MEMORY || reason == CRYPTO_FAILED || reason == INTERNAL;
}

static result judge_one(struct span piece, const struct tpm_trust *trust, const struct platform_expectation *expected, struct platform *platform)
{
	CLEANUP(arena_free) struct arena arena = arena_of(JUDGE_MEMORY);
	struct tpm_verdict verdict;
	const struct tpm_expectation wanted = {.at_ms = expected->at_ms, .max_age_ms = expected->max_age_ms, .boot_gen = expected->boot_gen};
	result verified = tpm_evidence_verify(piece, trust, &wanted, &arena, &verdict);
	if (is_environment(verified))
		return verified;
	if (verified != OK) {
		note(platform, verified, failure_text());
		return OK;
	}
	if (!registers_fit(&verdict, expected)) {
		note(platform, EVENT_LOG_MISMATCH, "its boot log tells of other programs than the expected ones");
		return OK;
	}
	if (verdict.capped_by != OK)
		note(platform, verdict.capped_by, "the TPM's root is none of a known maker");
	platform->synthetic |= verdict.synthetic;
	platform->pieces[platform->count++] = verdict;
	return OK;
}

result platform_add(struct platform *platform, struct span piece, const struct platform_expectation *expected)
{
	CLEANUP(arena_free) struct arena arena = arena_of(JUDGE_MEMORY);
	struct tpm_trust trust;
	if (platform->count == PLATFORM_PIECES_MAX) {
		note(platform, TOO_LARGE, "more pieces of platform evidence than are judged");
		return OK;
	}
	TRY(translate(expected->trust, &arena, &trust));
	return judge_one(piece, &trust, expected, platform);
}

result platform_judge(const struct bytes_item *pieces, size_t count, const struct platform_expectation *expected, struct platform *out)
{
	struct platform platform = {0};
	for (size_t i = 0; i < count && i <= PLATFORM_PIECES_MAX; i++)
		TRY(platform_add(&platform, pieces[i].bytes, expected));
	*out = platform;
	return OK;
}

unsigned platform_level_of(const struct platform *platform, const uint8_t epoch_oid[static OID_SIZE])
{
	for (size_t i = 0; i < platform->count; i++)
		if (platform->pieces[i].level == 2 && memcmp(platform->pieces[i].epoch_oid, epoch_oid, OID_SIZE) == 0)
			return 2;
	return 1;
}

static bool speaks_for(const struct tpm_verdict *piece, const struct report *report)
{
	return piece->level == 2 && piece->boot_gen == report->boot_gen && memcmp(piece->epoch_oid, report->epoch_oid, OID_SIZE) == 0 &&
		memcmp(piece->registers, report->registers, 2 * sizeof(struct register_value)) == 0;
}

unsigned platform_level(const struct platform *platform, const struct report *report)
{
	if (report->instrumented)
		return 0;
	for (size_t i = 0; platform && i < platform->count; i++)
		if (speaks_for(&platform->pieces[i], report))
			return 2;
	return 1;
}
