/* Messages between hosts: whatever is decoded is encoded to the same bytes again. */
#include "job/link.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	enum link_type type;
	struct span body;
	void *object;
	if (link_parse(span_of(data, size), &type, &body) != OK)
		return 0;
	const struct schema *schema = link_schema(type);
	if (arena_alloc(&arena, 1, schema->struct_size, &object) != OK || schema_decode(schema, body, &arena, object) != OK)
		return 0;
	if (schema_encode(schema, object, &again) != OK || !span_equal(bytes_span(&again), body))
		abort();
	return 0;
}
