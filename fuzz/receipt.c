/* A receipt's outer form and what its sections hold: one encoding for what is accepted, everything inside the input. */
#include "object/job.h"
#include "object/receipt.h"
#include "object/record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MEMORY = 4 << 20 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static bool inside(struct span part, struct span whole)
{
	return part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static void try_section(const struct receipt_section *section, struct arena *arena)
{
	struct bytes_list list;
	struct salt_list salts;
	struct job job;
	struct record record;
	if (section->id == SECTION_SALTS && schema_decode(&salt_list_schema, section->bytes, arena, &salts) == OK)
		must(salts.count <= 65536);
	if (section->id == SECTION_JOB && schema_decode(&job_schema, section->bytes, arena, &job) == OK)
		must(job.enclave_count >= 1);
	if (schema_decode(&bytes_list_schema, section->bytes, arena, &list) != OK)
		return;
	for (size_t i = 0; i < list.count; i++) {
		must(inside(list.items[i].bytes, section->bytes));
		(void)(object_peek(KIND_RECORD, list.items[i].bytes, arena, &record, NULL) == OK);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = arena_of(MAX_MEMORY);
	struct span bytes = span_of(data, size);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	/* The first byte 's': the rest is a section by itself, so that the checksum is not in the way. */
	if (size > 2 && data[0] == 's') {
		const struct receipt_section section = {data[1], span_of(data + 2, size - 2)};
		try_section(&section, &arena);
		arena_free(&arena);
		return 0;
	}
	struct receipt receipt;
	if (receipt_decode(bytes, &arena, &receipt) == OK) {
		struct receipt_head head;
		must(receipt_encode(receipt.head, receipt.sections, receipt.section_count, &again) == OK);
		must(span_equal(bytes_span(&again), bytes));
		must(inside(receipt.head, bytes));
		(void)(object_peek(KIND_RECEIPT_HEAD, receipt.head, &arena, &head, NULL) == OK);
		for (size_t i = 0; i < receipt.section_count; i++) {
			must(inside(receipt.sections[i].bytes, bytes));
			try_section(&receipt.sections[i], &arena);
		}
	}
	arena_free(&arena);
	return 0;
}
