#include "enclave/runtime_internal.h"

#include <stdlib.h>

#include "base/log.h"
#include "evidence/platform.h"

/* Evidence is made before the launch and kept for some minutes; what makes it old is another epoch or start. */
enum { PLATFORM_AGE_MS = 60 * 60 * 1000, TRUST_MEMORY = 1 << 20 };

static result judge(struct runtime *rt, struct span piece)
{
	CLEANUP(arena_free) struct arena arena = arena_of(TRUST_MEMORY);
	struct platform_trust trust;
	TRY(schema_decode(&platform_trust_schema, rt->prepare.platform_trust, &arena, &trust));
	const struct platform_expectation expected = {.trust = &trust, .at_ms = runtime_now_ms(), .max_age_ms = PLATFORM_AGE_MS};
	rt->platform->refused = OK;
	return platform_add(rt->platform, piece, &expected);
}

result platform_take(struct runtime *rt, struct span piece)
{
	if (rt->prepare.platform_trust.len == 0)
		return OK;
	if (!rt->platform)
		rt->platform = calloc(1, sizeof(*rt->platform));
	if (!rt->platform)
		return fail(NO_MEMORY, "platform evidence");
	if (piece.len == 0)
		return OK;
	TRY(judge(rt, piece));
	if (rt->platform->refused != OK)
		log_warning("platform evidence adds nothing", LOG_TEXT("reason", reason_name(rt->platform->refused)),
			LOG_TEXT("text", rt->platform->text));
	return OK;
}

void platform_free(struct runtime *rt)
{
	free(rt->platform);
	rt->platform = NULL;
}

unsigned platform_level_for(const struct runtime *rt, const struct report *report)
{
	return platform_level(rt->platform, report);
}
