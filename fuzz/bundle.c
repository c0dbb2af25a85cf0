/*
 * Complete bundles. What decodes encodes to the same bytes; what can be loaded is checked and judged without a root, so that
 * nothing is accepted; and every picture of it is drawn, none with a byte that markup or a terminal would take for its own.
 */
#include <stdlib.h>

#include "receipt/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void judge_and_draw(const struct bundle *bundle, struct dac *dac)
{
	struct dac_summary summary;
	CLEANUP(bytes_free) struct bytes svg = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes html = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	result closed = bundle_check(bundle, dac);
	(void)(closed == OK);
	check(dac_verify(dac, &summary) == OK);
	check(summary.accepted == 0); /* no root is trusted */
	struct picture picture = {.dac = dac, .roots = bundle->roots, .root_count = bundle->root_count};
	check(picture_svg(&picture, &svg) == OK && picture_html(&picture, &html) == OK && picture_text(&picture, true, true, &text) == OK);
	for (size_t i = 0; i < svg.len; i++)
		check(svg.data[i] >= ' ' || svg.data[i] == '\n');
	for (size_t i = 0; i < text.len; i++)
		check(text.data[i] >= ' ' || text.data[i] == '\n');
	check(!memmem(html.data, html.len, "<script", 7));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 << 20);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	struct bundle bundle;
	struct dac *dac;
	if (bundle_decode(span_of(data, size), &arena, &bundle) != OK)
		return 0;
	check(schema_encode(&bundle_schema, &bundle, &again) == OK && span_equal(bytes_span(&again), span_of(data, size)));
	const struct dac_config config = {.threads = 1, .max_memory = 64 << 20};
	check(dac_new(&config, &dac) == OK);
	if (bundle_load(&bundle, dac) == OK)
		judge_and_draw(&bundle, dac);
	dac_free(dac);
	return 0;
}
