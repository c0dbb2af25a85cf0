#include "object/object.h"

#include <stdlib.h>

result object_sign(enum object_kind kind, const void *object, const struct key *key, struct bytes *out, uint8_t *out_oid)
{
	const struct kind_row *row = kind_row(kind);
	if (!row || !kind_schema(kind) || row->envelope != ENVELOPE_SIGN1)
		return fail(WRONG_KIND, "kind %d cannot be signed by one key", kind);
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	TRY(schema_encode(kind_schema(kind), object, &payload));
	TRY(cose_strict_sign1_make(bytes_span(&payload), row->label, key, out));
	if (out_oid)
		cose_sign1_oid(bytes_span(&payload), row->label, out_oid);
	return OK;
}

static result parse(enum object_kind kind, struct span bytes, struct cose_sign1 *out, const struct kind_row **out_row)
{
	const struct kind_row *row = kind_row(kind);
	if (!row || !kind_schema(kind) || row->envelope != ENVELOPE_SIGN1)
		return fail(WRONG_KIND, "kind %d is not signed by one key", kind);
	result parsed = cose_strict_sign1_parse(bytes, out);
	if (parsed != OK)
		return fail_within(parsed, "%s", row->label);
	*out_row = row;
	return OK;
}

result object_verify(enum object_kind kind, struct span bytes, const struct key *key)
{
	struct cose_sign1 sign1;
	const struct kind_row *row;
	TRY(parse(kind, bytes, &sign1, &row));
	result verified = cose_strict_sign1_verify(&sign1, row->label, key);
	return verified == OK ? OK : fail_within(verified, "%s", row->label);
}

result object_peek(enum object_kind kind, struct span bytes, struct arena *arena, void *out, uint8_t *out_oid)
{
	struct cose_sign1 sign1;
	const struct kind_row *row;
	TRY(parse(kind, bytes, &sign1, &row));
	TRY(schema_decode(kind_schema(kind), sign1.payload, arena, out));
	if (out_oid)
		cose_sign1_oid(sign1.payload, row->label, out_oid);
	return OK;
}

result object_open(enum object_kind kind, struct span bytes, const struct key *key, struct arena *arena, void *out,
	uint8_t *out_oid)
{
	TRY(object_verify(kind, bytes, key));
	return object_peek(kind, bytes, arena, out, out_oid);
}

void object_oid(enum object_kind kind, struct span payload, uint8_t out[static OID_SIZE])
{
	const struct kind_row *row = kind_row(kind);
	assert(row && (row->envelope == ENVELOPE_SIGN1 || row->envelope == ENVELOPE_SIGN));
	if (row->envelope == ENVELOPE_SIGN)
		cose_sign_oid(payload, row->label, out);
	else
		cose_sign1_oid(payload, row->label, out);
}

void object_digest(enum object_kind kind, struct span encoding, uint8_t out[static SHA256_SIZE])
{
	struct hash hash;
	if (hash_start(&hash, HASH_SHA256) != OK)
		abort();
	hash_add_lv(&hash, span_str(kind_label(kind)));
	hash_add(&hash, encoding);
	hash_finish(&hash, out);
}
