/*
 * Messages between host and troth-ire: whatever decodes encodes back to the same bytes, for every type; nothing else is
 * accepted.
 */
#include <stdlib.h>

#include "enclave/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t memory[4096];
	CLEANUP(arena_free) struct arena arena = arena_of(64u << 20);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	enum control_type type;
	struct span body;
	if (control_parse(span_of(data, size), &type, &body) != OK)
		return 0;
	const struct schema *schema = control_schema(type);
	check(schema && schema->struct_size <= sizeof(memory) && control_type_name(type)[0] != 'u');
	memset(memory, 0, sizeof(memory));
	if (schema_decode(schema, body, &arena, memory) != OK)
		return 0;
	check(schema_encode(schema, memory, &again) == OK);
	check(span_equal(bytes_span(&again), body));
	return 0;
}
