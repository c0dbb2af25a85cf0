/* The trust file: whatever text is refused or gives roots that judge themselves; nothing leaks either way. */
#include "receipt/trust.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct trust trust;
	if (trust_parse("trust.json", span_of(data, size), &trust) != OK)
		return 0;
	must(trust.root_count > 0);
	for (size_t i = 0; i < trust.root_count; i++) {
		must(trust.roots[i].epoch.epoch == 1);
		must(memcmp(trust.roots[i].sign.point, trust.roots[i].epoch.sign_pk, POINT_SIZE) == 0);
	}
	trust_free(&trust);
	return 0;
}
