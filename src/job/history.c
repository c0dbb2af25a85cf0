#include "job/history.h"

#include "enclave/bundle.h"

enum { MEMORY = 1 << 30 };

static result take_oids(const struct bytes_item *records, size_t count, const uint8_t *rot_id, struct arena *arena, struct digest32 **out,
	size_t *out_count)
{
	void *memory;
	TRY(arena_alloc(arena, count + 1, sizeof(**out), &memory));
	*out = memory;
	*out_count = 0;
	for (size_t i = 0; i < count; i++) {
		CLEANUP(arena_free) struct arena scratch = arena_of(1 << 20);
		struct record record;
		uint8_t oid[OID_SIZE];
		TRY(object_peek(KIND_RECORD, records[i].bytes, &scratch, &record, oid));
		if (!rot_id || memcmp(record.rot_id, rot_id, OID_SIZE) == 0)
			memcpy((*out)[(*out_count)++].bytes, oid, OID_SIZE);
	}
	return OK;
}

result history_enter(struct head_log *heads, const struct launch_result *left)
{
	CLEANUP(arena_free) struct arena arena = arena_of(MEMORY);
	struct digest32 *oids;
	size_t count;
	TRY(take_oids(left->records, left->record_count, NULL, &arena, &oids, &count));
	return head_log_enter(heads, oids, count);
}

result history_prove(struct head_log *heads, const uint8_t rot_id[static OID_SIZE], struct span bytes, struct span nonce, struct bytes *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(MEMORY);
	CLEANUP(bytes_free) struct bytes proof = BYTES_EMPTY;
	struct bundle bundle;
	struct digest32 *oids;
	size_t count;
	if (!heads)
		return fail(HEAD_NOT_KEPT, "asked for a proof of its whole history");
	TRY(bundle_decode(bytes, &arena, &bundle));
	TRY(take_oids(bundle.records, bundle.record_count, rot_id, &arena, &oids, &count));
	TRY(head_log_prove(heads, oids, count, nonce, &proof));
	struct bytes_item item = {bytes_span(&proof)};
	bundle.proofs = &item;
	bundle.proof_count = 1;
	return schema_encode(&bundle_schema, &bundle, out);
}
