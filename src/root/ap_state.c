#include "root/ap_internal.h"

#include <stdio.h>

#include "crypto/random.h"
#include "object/epoch_rules.h"

/* ---- Epochs and storage keys ----------------------------------------------------------------------- */

result ap_epoch_open(struct span record, struct ap_epoch *out)
{
	struct epoch_record parsed;
	CLEANUP(ap_epoch_free) struct ap_epoch epoch = {.arena = arena_of(64 * 1024)};
	TRY(bytes_copy(record, &epoch.record));
	TRY(epoch_record_parse(bytes_span(&epoch.record), &epoch.arena, &parsed));
	epoch.epoch = parsed.epoch;
	memcpy(epoch.oid, parsed.oid, OID_SIZE);
	*out = epoch;
	epoch = (struct ap_epoch){0}; /* transferred */
	return OK;
}

void ap_epoch_free(struct ap_epoch *epoch)
{
	bytes_free(&epoch->record);
	arena_free(&epoch->arena);
	rot_keys_free(&epoch->keys);
	*epoch = (struct ap_epoch){0};
}

void storage_keys_free(struct storage_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		secret_free(&keys->keys[i].key);
	keys->count = 0;
}

result storage_keys_copy(const struct storage_keys *from, struct storage_keys *out)
{
	CLEANUP(storage_keys_free) struct storage_keys keys = {0};
	for (size_t i = 0; i < from->count; i++) {
		TRY(secret_copy(secret_span(&from->keys[i].key), &keys.keys[i].key));
		keys.keys[i].version = from->keys[i].version;
		keys.count = i + 1;
	}
	*out = keys;
	keys.count = 0; /* transferred */
	return OK;
}

result storage_keys_add(struct storage_keys *keys, uint32_t version)
{
	struct storage_key fresh = {.version = version};
	TRY(secret_new(STORAGE_KEY_SIZE, &fresh.key));
	random_bytes(fresh.key.data, fresh.key.len);
	if (keys->count == STORAGE_KEYS_MAX)
		secret_free(&keys->keys[--keys->count].key);
	memmove(keys->keys + 1, keys->keys, keys->count * sizeof(keys->keys[0]));
	keys->keys[0] = fresh;
	keys->count++;
	return OK;
}

const struct storage_key *storage_keys_find(const struct storage_keys *keys, uint32_t version)
{
	for (size_t i = 0; i < keys->count; i++)
		if (keys->keys[i].version == version)
			return &keys->keys[i];
	return NULL;
}

/* ---- Formats ---------------------------------------------------------------------------------------- */

enum { SECRETS_MAX = 512, SEEDS_MAX = 256, STORAGE_ROW = 4 + STORAGE_KEY_SIZE };

static const struct field stored_candidate_fields[] = {
	F_BYTES(struct stored_candidate, 1, payload, 1, EPOCH_RECORD_MAX),
	F_BYTES(struct stored_candidate, 2, seeds, 1, SEEDS_MAX),
	F_BYTES(struct stored_candidate, 3, inception, 0, EPOCH_RECORD_MAX),
	F_BYTES(struct stored_candidate, 4, base, 0, EPOCH_RECORD_MAX),
	F_TEXT(struct stored_candidate, 5, trust_domain, 1, 120),
};
static const struct schema stored_candidate_schema =
	SCHEMA(struct stored_candidate, "candidate", SHAPE_MAP, stored_candidate_fields);

/* Fields 1 to 9 are those of the first version; the MAC has the last number, so that others find room before it. */
#define STORED_FIELDS(version)                                                                                                             \
	F_VERSION(struct stored, 1, v, version), F_UINT(struct stored, 2, boot_gen, 0), F_TIME(struct stored, 3, high_water),              \
		F_TEXT(struct stored, 4, trust_domain, 0, 120), F_BYTES(struct stored, 5, epoch_record, 0, EPOCH_RECORD_MAX),              \
		F_BYTES(struct stored, 6, secrets, 0, SECRETS_MAX), F_UINT(struct stored, 7, storage_version, 0),                          \
		F_BYTES(struct stored, 8, next_seed, 0, SEEDS_MAX),                                                                        \
		F_LIST(struct stored, 9, references, reference_count, &register_schema, 0, 0, 2)

static const struct field stored_fields[] = {
	STORED_FIELDS(2),
	F_BYTES(struct stored, 10, inception, 0, EPOCH_RECORD_MAX),
	F_FIXED_OR_NULL(struct stored, 11, last_request, has_last_request),
	F_STRUCT_OR_NULL(struct stored, 12, candidate, has_candidate, &stored_candidate_schema),
	F_BYTES(struct stored, 13, upgrades, 0, UPGRADES_MAX),
	F_BOOL(struct stored, 18, in_token),
	F_BYTES(struct stored, 19, old_key, 0, ROT_TOKEN_ID_SIZE),
	F_FIXED(struct stored, 23, mac),
};
static const struct field stored_fields_v1[] = {
	STORED_FIELDS(1),
	F_FIXED(struct stored, 10, mac),
};
static const struct schema stored_schema = SCHEMA(struct stored, "secure processor state", SHAPE_MAP, stored_fields);
static const struct schema stored_schema_v1 = SCHEMA(struct stored, "secure processor state", SHAPE_MAP, stored_fields_v1);

/*
 * The expected registers, the times and the counts stand in clear beside the wrapped secrets; whoever can write the file
 * but lacks the wrap key must not be able to change them. The MAC covers the same table without its last row.
 */
static result compute_state_mac(const struct schema *schema, const struct stored *stored, const struct secret *wrap_key,
	uint8_t out[static SHA256_SIZE])
{
	struct schema covered = *schema;
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret prk = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	struct hmac hmac;
	covered.field_count--;
	TRY(schema_encode(&covered, stored, &body));
	TRY(secret_new(SHA256_SIZE, &prk));
	TRY(secret_new(SHA256_SIZE, &key));
	hkdf_extract(span_str("troth-apstate1"), secret_span(wrap_key), prk.data);
	hkdf_expand_label(prk.data, "apstate1", "mac", SPAN_EMPTY, key.data, key.len);
	TRY(hmac_start(&hmac, secret_span(&key)));
	hmac_add(&hmac, bytes_span(&body));
	hmac_finish(&hmac, out);
	return OK;
}

/* ---- Writing ---------------------------------------------------------------------------------------- */

void ap_stored_of(struct ap *ap, struct stored *out)
{
	const struct kept_candidate *candidate = &ap->candidate;
	*out = (struct stored){
		.v = 2,
		.boot_gen = ap->boot_gen,
		.high_water = ap->high_water,
		.trust_domain = ap->trust_domain,
		.epoch_record = bytes_span(&ap->current.record),
		.secrets = bytes_span(&ap->secrets),
		.storage_version = ap->storage.count ? ap->storage.keys[0].version : 0,
		.next_seed = bytes_span(&ap->next_seed),
		.references = ap->references,
		.reference_count = ap_has_root(ap) ? 2 : 0,
		.inception = bytes_span(&ap->inception),
		.has_last_request = ap->has_last_request,
		.has_candidate = candidate->payload.len > 0,
		.candidate = {bytes_span(&candidate->payload), bytes_span(&candidate->seeds), bytes_span(&candidate->inception),
			bytes_span(&candidate->base), candidate->trust_domain},
		.upgrades = bytes_span(&ap->upgrades_bytes),
		.in_token = ap_has_root(ap) && ap->token,
		.old_key = bytes_span(&ap->old_key),
	};
	memcpy(out->last_request, ap->last_request, sizeof(out->last_request));
}

result ap_stored_encode(struct stored *stored, const struct secret *wrap_key, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	TRY(compute_state_mac(&stored_schema, stored, wrap_key, stored->mac));
	TRY(schema_encode(&stored_schema, stored, &encoding));
	if (encoding.len > AP_STATE_MAX)
		return fail(TOO_LARGE, "a state of %zu bytes", encoding.len);
	*out = bytes_move(&encoding);
	return OK;
}

result ap_encode_state(struct ap *ap)
{
	struct stored stored;
	bytes_free(&ap->persist);
	ap_stored_of(ap, &stored);
	return ap_stored_encode(&stored, &ap->wrap_key, &ap->persist);
}

result ap_wrap_secrets(const struct secret *wrap_key, const struct secret *seed, const struct storage_keys *storage,
	struct bytes *out)
{
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;
	CLEANUP(writer_free) struct writer wrapped = writer_growing(SECRETS_MAX);
	TRY(secret_new(ROT_SEED_SIZE + storage->count * STORAGE_ROW, &plain));
	struct writer w = writer_fixed(plain.data, plain.len);
	writer_span(&w, secret_span(seed));
	for (size_t i = 0; i < storage->count; i++) {
		writer_u32(&w, storage->keys[i].version);
		writer_span(&w, secret_span(&storage->keys[i].key));
	}
	struct span written;
	TRY(writer_finish(&w, &written));
	TRY(state_wrap(wrap_key, SPAN_EMPTY, "secrets2", written, &wrapped));
	return writer_take(&wrapped, out);
}

/* ---- Reading ---------------------------------------------------------------------------------------- */

static result take_storage_key(struct reader *r, struct storage_keys *keys)
{
	struct storage_key *key = &keys->keys[keys->count];
	struct span bytes;
	TRY(reader_u32(r, &key->version));
	TRY(reader_take(r, STORAGE_KEY_SIZE, &bytes));
	TRY(secret_copy(bytes, &key->key));
	keys->count++;
	return OK;
}

static result take_secrets(struct ap *ap, struct reader *r, struct secret *out_seed)
{
	struct span seed;
	TRY(reader_take(r, ROT_SEED_SIZE, &seed));
	TRY(secret_copy(seed, out_seed));
	while (reader_left(r) && ap->storage.count < STORAGE_KEYS_MAX)
		TRY(take_storage_key(r, &ap->storage));
	return reader_finish(r);
}

/* The first version's secrets: the seed and the one storage key, whose version stands in clear. */
static result take_secrets_v1(struct ap *ap, uint32_t version, struct reader *r, struct secret *out_seed)
{
	struct span seed, storage_key;
	TRY(reader_take(r, ROT_SEED_SIZE, &seed));
	TRY(reader_take(r, STORAGE_KEY_SIZE, &storage_key));
	TRY(reader_finish(r));
	TRY(secret_copy(seed, out_seed));
	TRY(secret_copy(storage_key, &ap->storage.keys[0].key));
	ap->storage.keys[0].version = version;
	ap->storage.count = 1;
	return OK;
}

static result open_secrets(struct ap *ap, const struct stored *stored)
{
	bool first = stored->v == 1;
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	TRY(state_unwrap(&ap->wrap_key, SPAN_EMPTY, first ? "secrets" : "secrets2", stored->secrets, &plain));
	struct reader r = reader_of(secret_span(&plain));
	if (first)
		TRY(take_secrets_v1(ap, stored->storage_version, &r, &seed));
	else
		TRY(take_secrets(ap, &r, &seed));
	if (ap->storage.count == 0)
		return fail(MISSING_FIELD, "the state holds no storage key");
	TRY(rot_keys_open(&seed, ap->token, &ap->current.keys));
	if (memcmp(ap->current.keys.sign.point, ap->current.epoch.sign_pk, POINT_SIZE) != 0)
		return fail(DIGEST_MISMATCH, "the stored seed, or the key in the token, is not that of the epoch record");
	return first ? ap_wrap_secrets(&ap->wrap_key, &seed, &ap->storage, &ap->secrets) : bytes_copy(stored->secrets, &ap->secrets);
}

static result load_candidate(struct ap *ap, const struct stored_candidate *stored)
{
	struct kept_candidate *candidate = &ap->candidate;
	snprintf(candidate->trust_domain, sizeof(candidate->trust_domain), "%s", stored->trust_domain);
	TRY(bytes_copy(stored->payload, &candidate->payload));
	TRY(bytes_copy(stored->seeds, &candidate->seeds));
	TRY(bytes_copy(stored->inception, &candidate->inception));
	return bytes_copy(stored->base, &candidate->base);
}

static result load_records(struct ap *ap, struct span inception, struct span head)
{
	struct epoch first;
	TRY(bytes_copy(inception, &ap->inception));
	TRY(epoch_open_inception(bytes_span(&ap->inception), &ap->scratch, &first, ap->rot_id));
	TRY(ap_epoch_open(head, &ap->current));
	bool is_first = memcmp(ap->current.oid, ap->rot_id, OID_SIZE) == 0;
	if (!is_first && memcmp(ap->current.epoch.rot_id, ap->rot_id, OID_SIZE) != 0)
		return fail(EPOCH_FOREIGN, "the stored head is of another root than the stored inception");
	return OK;
}

/* A key of the epoch before that a restart found still there: a restart drains. It stays named when it cannot go now. */
static result end_old_key(struct ap *ap, struct span id)
{
	if (!id.len || rot_token_destroy(ap->token, id) == OK)
		return OK;
	return bytes_copy(id, &ap->old_key);
}

static result load_token(struct ap *ap, const struct stored *stored)
{
	if (!stored->in_token) {
		ap->token = NULL;
		return OK;
	}
	if (!ap->token)
		return fail(TOKEN_UNAVAILABLE, "the signing key of this root lies in a token, and none was given");
	return end_old_key(ap, stored->old_key);
}

static result load_root(struct ap *ap, const struct stored *stored)
{
	TRY(load_token(ap, stored));
	if (stored->reference_count != 2)
		return fail(MISSING_FIELD, "the state has no reference registers");
	snprintf(ap->trust_domain, sizeof(ap->trust_domain), "%s", stored->trust_domain);
	memcpy(ap->references, stored->references, sizeof(ap->references));
	TRY(load_records(ap, stored->v == 1 ? stored->epoch_record : stored->inception, stored->epoch_record));
	TRY(open_secrets(ap, stored));
	ap->state = AP_STARTING;
	return bytes_copy(stored->next_seed, &ap->next_seed);
}

/* The version is the first field of both; what is no such map is left to the newer table to refuse. */
static const struct schema *schema_of(struct span state)
{
	struct reader r = reader_of(state);
	size_t count;
	uint64_t key, version;
	bool first = cbor_read_map(&r, &count) == OK && cbor_read_uint(&r, &key) == OK && key == stored_fields[0].key &&
		cbor_read_uint(&r, &version) == OK && version == 1;
	return first ? &stored_schema_v1 : &stored_schema;
}

result ap_load_state(struct ap *ap, struct span state)
{
	struct stored stored;
	const struct schema *schema = schema_of(state);
	uint8_t mac[SHA256_SIZE];
	TRY(schema_decode(schema, state, &ap->scratch, &stored));
	TRY(compute_state_mac(schema, &stored, &ap->wrap_key, mac));
	if (!secret_equal(SPAN_ARRAY(mac), SPAN_ARRAY(stored.mac)))
		return fail(BAD_TAG, "the state was altered, or its wrap key is another");
	ap->boot_gen = stored.boot_gen;
	ap->high_water = stored.high_water;
	ap->has_last_request = stored.has_last_request;
	memcpy(ap->last_request, stored.last_request, sizeof(ap->last_request));
	if (stored.has_candidate)
		TRY(load_candidate(ap, &stored.candidate));
	TRY(upgrades_decode(stored.upgrades, &ap->upgrades));
	TRY(bytes_copy(stored.upgrades, &ap->upgrades_bytes));
	return stored.epoch_record.len ? load_root(ap, &stored) : OK;
}
