/*
 * Every structure that Troth reads. The first byte is the number of a kind, with the top bit for the whole signed object
 * instead of its payload alone. What is accepted has one encoding, can be shown, and its manifest or epoch checks hold.
 */
#include "object/epoch.h"
#include "object/job.h"
#include "object/manifest.h"
#include "object/receipt.h"
#include "object/record.h"
#include "object/seal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MEMORY = 4 << 20 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void try_payload(const struct schema *schema, struct span bytes)
{
	struct arena arena = arena_of(MAX_MEMORY);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	void *object = calloc(1, schema->struct_size);
	must(object != NULL);
	if (schema_decode(schema, bytes, &arena, object) == OK) {
		must(schema_encode(schema, object, &again) == OK);
		must(span_equal(bytes_span(&again), bytes));
		json_decref(schema_json(schema, object));
	}
	must(arena.used <= MAX_MEMORY);
	free(object);
	arena_free(&arena);
}

static void try_manifest(struct span bytes)
{
	struct arena arena = arena_of(MAX_MEMORY);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	struct manifest manifest;
	uint8_t core[SHA384_SIZE];
	if (manifest_decode(bytes, &arena, &manifest) == OK) {
		must(manifest_encode(&manifest, &again) == OK);
		must(span_equal(bytes_span(&again), bytes));
		must(manifest_core(&manifest, core) == OK);
	}
	arena_free(&arena);
}

static void try_signed(enum object_kind kind, const struct schema *schema, struct span bytes)
{
	struct arena arena = arena_of(MAX_MEMORY);
	uint8_t oid[OID_SIZE], again[OID_SIZE];
	void *object = calloc(1, schema->struct_size);
	must(object != NULL);
	if (kind == KIND_EPOCH) {
		struct epoch epoch;
		if (epoch_open_inception(bytes, &arena, &epoch, oid) == OK)
			must(epoch.epoch == 1 && epoch.era == 0);
	} else if (object_peek(kind, bytes, &arena, object, oid) == OK) {
		struct cose_sign1 sign1;
		must(cose_strict_sign1_parse(bytes, &sign1) == OK);
		object_oid(kind, sign1.payload, again);
		must(memcmp(oid, again, OID_SIZE) == 0);
	}
	free(object);
	arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	enum object_kind kind = data[0] & 0x7f;
	struct span bytes = span_of(data + 1, size - 1);
	const struct kind_row *row = kind_row(kind);
	const struct schema *schema = kind_schema(kind);
	if (!row || !schema)
		return 0;
	if (data[0] & 0x80)
		try_signed(kind, schema, bytes);
	else
		try_payload(schema, bytes);
	if (kind == KIND_MANIFEST)
		try_manifest(bytes);
	return 0;
}
