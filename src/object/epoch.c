#include "object/epoch.h"

#include "crypto/hash.h"
#include "object/epoch_rules.h"
#include "wire/text.h"

static const struct field recovery_fields[] = {
	F_UINT(struct epoch_recovery, 1, k, 32),
	F_UINT(struct epoch_recovery, 2, n, 32),
	F_LIST(struct epoch_recovery, 3, keys, key_count, &digest32_schema, FIELD_SORTED, 1, 32),
};
const struct schema epoch_recovery_schema = SCHEMA(struct epoch_recovery, "recovery", SHAPE_MAP, recovery_fields);

static const struct field counter_fields[] = {
	F_UINT(struct epoch_counter, 1, kind, COUNTER_TPM_NV),
	F_UINT(struct epoch_counter, 2, value, 0),
};
static const struct schema counter_schema = SCHEMA(struct epoch_counter, "counter", SHAPE_MAP, counter_fields);

static const struct field epoch_fields[] = {
	F_VERSION(struct epoch, 1, v, 1),
	F_FIXED(struct epoch, 2, rot_id),
	F_UINT(struct epoch, 3, era, 0),
	F_UINT(struct epoch, 4, epoch, 0),
	F_FIXED(struct epoch, 5, prev),
	F_UINT(struct epoch, 6, suite, 0),
	F_FIXED(struct epoch, 7, sign_pk),
	F_FIXED(struct epoch, 8, kem_pk),
	F_FIXED(struct epoch, 9, salt),
	F_FIXED(struct epoch, 10, next),
	F_STRUCT_OR_NULL(struct epoch, 11, recovery, has_recovery, &epoch_recovery_schema),
	F_TIME(struct epoch, 12, not_before),
	F_TIME(struct epoch, 13, not_after),
	F_UINT(struct epoch, 14, grace_s, 0),
	F_STRUCT(struct epoch, 15, counter, &counter_schema),
	F_FIXED(struct epoch, 16, measurement),
	F_UINT(struct epoch, 17, state, 0),
	F_UINT(struct epoch, 18, reason, EPOCH_RECOVERY),
};
const struct schema epoch_schema = SCHEMA(struct epoch, "epoch", SHAPE_MAP, epoch_fields);

void epoch_next_commitment(const uint8_t sign_pk[static POINT_SIZE], const uint8_t kem_pk[static POINT_SIZE],
	const uint8_t salt[static 32], uint8_t out[static SHA256_SIZE])
{
	uint8_t input[14 + 2 * POINT_SIZE + 32];
	struct writer w = writer_fixed(input, sizeof(input));
	writer_str(&w, "troth rot next");
	writer_put(&w, sign_pk, POINT_SIZE);
	writer_put(&w, kem_pk, POINT_SIZE);
	writer_put(&w, salt, 32);
	sha256(span_of(input, w.len), out);
}

static result check_inception(const struct epoch *epoch)
{
	if (epoch->era != 0 || epoch->epoch != 1 || epoch->reason != EPOCH_INCEPTION)
		return fail(BAD_VALUE, "era %u epoch %llu is not an inception record", epoch->era, (unsigned long long)epoch->epoch);
	if (!span_is_zero(SPAN_ARRAY(epoch->rot_id)) || !span_is_zero(SPAN_ARRAY(epoch->prev)))
		return fail(BAD_VALUE, "an inception record names an earlier one");
	return OK;
}

result epoch_open_inception(struct span bytes, struct arena *arena, struct epoch *out, uint8_t out_oid[static OID_SIZE])
{
	struct epoch_record record;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	TRY(epoch_record_parse(bytes, arena, &record));
	TRY(check_inception(&record.epoch));
	if (record.object.count != 1)
		return fail(BAD_VALUE, "an inception record with %zu signatures", record.object.count);
	TRY(epoch_check_kem(&record.epoch));
	TRY(key_from_point(SPAN_ARRAY(record.epoch.sign_pk), &key));
	TRY(cose_strict_sign_verify(&record.object, kind_label(KIND_EPOCH), &key));
	*out = record.epoch;
	memcpy(out_oid, record.oid, OID_SIZE);
	return OK;
}

void rot_label(const uint8_t rot_id[static OID_SIZE], char out[static ROT_LABEL_SIZE])
{
	base32_encode(span_of(rot_id, OID_SIZE), out);
}

void rot_fingerprint(const uint8_t rot_id[static OID_SIZE], char out[static EPOCH_FINGERPRINT_SIZE])
{
	char label[ROT_LABEL_SIZE];
	rot_label(rot_id, label);
	size_t at = 0;
	for (size_t i = 0; label[i]; i++) {
		if (i && i % 4 == 0)
			out[at++] = '-';
		out[at++] = label[i];
	}
	out[at] = '\0';
}
