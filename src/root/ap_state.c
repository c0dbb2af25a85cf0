#include "root/ap_internal.h"

#include <stdio.h>

/* What rests on disk; secrets in it are wrapped. docs/PROTOCOL.root. */
struct stored {
	uint8_t v;
	uint64_t boot_gen;
	uint64_t high_water; /* latest time seen */
	const char *trust_domain;
	struct span epoch_record; /* empty: no root */
	struct span secrets;	  /* wrapped seed ‖ storage key */
	uint32_t storage_version;
	struct span next_seed;	  /* wrapped 2-of-2 with the host's share */
	struct register_value *references; /* registers 0 and 1 that this root was made with */
	size_t reference_count;
	uint8_t mac[SHA256_SIZE]; /* over all the rest, under a key from the wrap key */
};

static const struct field stored_fields[] = {
	F_VERSION(struct stored, 1, v, 1),
	F_UINT(struct stored, 2, boot_gen, 0),
	F_TIME(struct stored, 3, high_water),
	F_TEXT(struct stored, 4, trust_domain, 0, 120),
	F_BYTES(struct stored, 5, epoch_record, 0, 16 * 1024),
	F_BYTES(struct stored, 6, secrets, 0, 256),
	F_UINT(struct stored, 7, storage_version, 0),
	F_BYTES(struct stored, 8, next_seed, 0, 256),
	F_LIST(struct stored, 9, references, reference_count, &register_schema, 0, 0, 2),
	F_FIXED(struct stored, 10, mac),
};
static const struct schema stored_schema = SCHEMA(struct stored, "secure processor state", SHAPE_MAP, stored_fields);
/* What the MAC covers: the same table without its last row. */
static const struct schema stored_body_schema = {"secure processor state", SHAPE_MAP, sizeof(struct stored), stored_fields,
	COUNT_OF(stored_fields) - 1};

/*
 * The expected registers, the times and the counts stand in clear beside the wrapped secrets; whoever can write the file
 * but lacks the wrap key must not be able to change them.
 */
static result compute_state_mac(const struct ap *ap, const struct stored *stored, uint8_t out[static SHA256_SIZE])
{
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret prk = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	struct hmac hmac;
	TRY(schema_encode(&stored_body_schema, stored, &body));
	TRY(secret_new(SHA256_SIZE, &prk));
	TRY(secret_new(SHA256_SIZE, &key));
	hkdf_extract(span_str("troth-apstate1"), secret_span(&ap->wrap_key), prk.data);
	hkdf_expand_label(prk.data, "apstate1", "mac", SPAN_EMPTY, key.data, key.len);
	TRY(hmac_start(&hmac, secret_span(&key)));
	hmac_add(&hmac, bytes_span(&body));
	hmac_finish(&hmac, out);
	return OK;
}

result ap_encode_state(struct ap *ap)
{
	struct stored stored = {
		.v = 1,
		.boot_gen = ap->boot_gen,
		.high_water = ap->high_water,
		.trust_domain = ap->trust_domain,
		.epoch_record = bytes_span(&ap->epoch_record),
		.secrets = bytes_span(&ap->secrets),
		.storage_version = ap->storage_version,
		.next_seed = bytes_span(&ap->next_seed),
		.references = ap->references,
		.reference_count = ap->epoch_record.len ? 2 : 0,
	};
	bytes_free(&ap->persist);
	TRY(compute_state_mac(ap, &stored, stored.mac));
	return schema_encode(&stored_schema, &stored, &ap->persist);
}

static result open_secrets(struct ap *ap)
{
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	TRY(state_unwrap(&ap->wrap_key, SPAN_EMPTY, "secrets", bytes_span(&ap->secrets), &plain));
	if (plain.len != 2 * ROT_SEED_SIZE)
		return fail(BAD_VALUE, "wrapped secrets of %zu bytes", plain.len);
	TRY(secret_copy(span_of(plain.data, ROT_SEED_SIZE), &seed));
	TRY(secret_copy(span_of(plain.data + ROT_SEED_SIZE, 32), &ap->storage_key));
	TRY(rot_keys_from_seed(&seed, &ap->keys));
	if (memcmp(ap->keys.sign.point, ap->epoch.sign_pk, POINT_SIZE) != 0)
		return fail(DIGEST_MISMATCH, "the stored seed is not that of the epoch record");
	return OK;
}

result ap_load_state(struct ap *ap, struct span state)
{
	struct stored stored;
	uint8_t mac[SHA256_SIZE];
	TRY(schema_decode(&stored_schema, state, &ap->scratch, &stored));
	TRY(compute_state_mac(ap, &stored, mac));
	if (!secret_equal(SPAN_ARRAY(mac), SPAN_ARRAY(stored.mac)))
		return fail(BAD_TAG, "the state was altered, or its wrap key is another");
	ap->boot_gen = stored.boot_gen;
	ap->high_water = stored.high_water;
	if (stored.epoch_record.len == 0)
		return OK;
	if (stored.reference_count != 2)
		return fail(MISSING_FIELD, "the state has no reference registers");
	snprintf(ap->trust_domain, sizeof(ap->trust_domain), "%s", stored.trust_domain);
	ap->storage_version = stored.storage_version;
	memcpy(ap->references, stored.references, sizeof(ap->references));
	TRY(bytes_copy(stored.epoch_record, &ap->epoch_record));
	TRY(bytes_copy(stored.secrets, &ap->secrets));
	TRY(bytes_copy(stored.next_seed, &ap->next_seed));
	TRY(epoch_open_inception(bytes_span(&ap->epoch_record), &ap->epoch_arena, &ap->epoch, ap->epoch_oid));
	memcpy(ap->rot_id, ap->epoch_oid, OID_SIZE);
	ap->state = AP_STARTING;
	return open_secrets(ap);
}
