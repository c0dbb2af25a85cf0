#include "root/ap_internal.h"

#include <stdlib.h>

#include "crypto/box.h"
#include "crypto/random.h"

static result storage_subkey(const struct secret *storage_key, const uint8_t salt[static 32], struct span policy,
	struct secret *out)
{
	uint8_t context[32 + 4 + 512];
	struct writer w = writer_fixed(context, sizeof(context));
	writer_put(&w, salt, 32);
	writer_lv(&w, policy);
	struct span bytes;
	TRY(writer_finish(&w, &bytes));
	TRY(secret_new(AEAD_KEY_SIZE, out));
	hkdf_expand_label(storage_key->data, "root1", "seal", bytes, out->data, out->len);
	return OK;
}

/*
 * Boxed to the current epoch's key or, while its grace lasts, to the former one's: the client may have its record from before
 * the rotation. A box that opens under neither was made for an older epoch, or is damaged.
 */
static result open_seal_box(const struct ap *ap, const struct ap_seal *request, struct secret *out)
{
	result opened = box_open(&ap->current.keys.kem, "seal-in", request->policy, request->box, out);
	if (opened == BAD_TAG && ap->previous.record.len)
		opened = box_open(&ap->previous.keys.kem, "seal-in", request->policy, request->box, out);
	if (opened == BAD_TAG && ap->current.epoch.epoch > 1)
		return fail(EPOCH_OLD, "the box does not open under epoch %llu; box the secret again under its record",
			(unsigned long long)ap->current.epoch.epoch);
	return opened;
}

static void seal_box_hash(struct span box, struct span policy, uint8_t out[static SHA256_SIZE])
{
	struct hash hash;
	if (hash_start(&hash, HASH_SHA256) != OK)
		abort();
	hash_add(&hash, box);
	hash_add(&hash, policy);
	hash_finish(&hash, out);
}

result ap_sealed_make(struct ap *ap, const struct seal_policy *policy, const uint8_t box_hash[static SHA256_SIZE],
	const struct secret *secret, struct bytes *out)
{
	struct sealed sealed = {.v = 1, .policy = *policy, .storage_key_version = ap->storage.keys[0].version};
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	uint8_t ciphertext[SECRET_MAX + AEAD_TAG_SIZE];
	TRY(schema_encode(&seal_policy_schema, policy, &encoding));
	random_bytes(sealed.salt, sizeof(sealed.salt));
	TRY(storage_subkey(&ap->storage.keys[0].key, sealed.salt, bytes_span(&encoding), &key));
	TRY(aead_seal_once(key.data, bytes_span(&encoding), secret_span(secret), ciphertext));
	sealed.ciphertext = span_of(ciphertext, secret->len + AEAD_TAG_SIZE);
	memcpy(sealed.box_hash, box_hash, SHA256_SIZE);
	memcpy(sealed.epoch_oid, ap->current.oid, OID_SIZE);
	return object_sign(KIND_SEALED, &sealed, &ap->current.keys.sign, out, NULL);
}

result ap_handle_seal(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_seal request;
	struct seal_policy policy;
	uint8_t box_hash[SHA256_SIZE];
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(ap_check_validity(ap, now_ms));
	TRY(schema_decode(&ap_seal_schema, body, &ap->scratch, &request));
	TRY(schema_decode(&seal_policy_schema, request.policy, &ap->scratch, &policy));
	if (memcmp(policy.rot_id, ap->rot_id, OID_SIZE) != 0)
		return fail(SEAL_FOREIGN, "the policy names another root");
	TRY(open_seal_box(ap, &request, &secret));
	seal_box_hash(request.box, request.policy, box_hash);
	TRY(ap_sealed_make(ap, &policy, box_hash, &secret, &object));
	struct ap_signed answer = {bytes_span(&object)};
	return ap_reply_with(ap, &ap_signed_schema, &answer);
}

result ap_sealed_open(struct ap *ap, const struct sealed *sealed, struct secret *out)
{
	const struct storage_key *storage = storage_keys_find(&ap->storage, sealed->storage_key_version);
	if (!storage)
		return fail(EPOCH_OLD, "storage key %u", sealed->storage_key_version);
	CLEANUP(bytes_free) struct bytes policy = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	TRY(schema_encode(&seal_policy_schema, &sealed->policy, &policy));
	TRY(storage_subkey(&storage->key, sealed->salt, bytes_span(&policy), &key));
	TRY(secret_new(sealed->ciphertext.len - AEAD_TAG_SIZE, &secret));
	TRY(aead_open_once(key.data, bytes_span(&policy), sealed->ciphertext, secret.data));
	*out = secret_move(&secret);
	return OK;
}

/* Sealed by reference: the set that came with the request must be the author's, not older than one seen, and list the launch. */
static result resolve_reference(struct ap *ap, const struct seal_policy *policy, const struct launch *launch, struct span set_bytes,
	uint64_t now_ms)
{
	struct reference_set set;
	uint8_t author[KEY_ID_SIZE];
	if (set_bytes.len == 0)
		return fail(REFERENCE_MISSING, "the secret is sealed by reference to set '%s', which did not come with the request",
			policy->reference.set);
	TRY(reference_set_open(set_bytes, &ap->scratch, &set, author, NULL));
	const struct reference_question question = {
		.reference = &policy->reference,
		.entry = launch->name,
		.what = REFERENCE_MEASUREMENT,
		.digest = launch->measurement,
		.floor = upgrades_floor(&ap->upgrades, author, set.name),
		.now_ms = now_ms,
	};
	return reference_answer(&question, &set, author, NULL);
}

static result check_policy(struct ap *ap, const struct seal_policy *policy, const struct launch *launch, struct span set_bytes,
	uint64_t now_ms)
{
	if (memcmp(policy->rot_id, ap->rot_id, OID_SIZE) != 0 || strcmp(policy->name, launch->name) != 0)
		return fail(SEAL_FOREIGN, "sealed for '%s', asked for by '%s'", policy->name, launch->name);
	if (policy->v == SEAL_BY_REFERENCE)
		return resolve_reference(ap, policy, launch, set_bytes, now_ms);
	if (memcmp(policy->measurement, launch->measurement, SHA384_SIZE) != 0)
		return fail(SEAL_FOREIGN, "sealed for another measurement of '%s'", policy->name);
	return OK;
}

/*
 * The signature is checked as long as its key is here. An object of an older epoch is authenticated by its encryption under
 * the storage key, which covers policy and secret.
 */
static result parse_sealed(struct ap *ap, struct span object, struct sealed *out, uint8_t out_oid[static OID_SIZE])
{
	TRY(object_peek(KIND_SEALED, object, &ap->scratch, out, out_oid));
	if (memcmp(out->epoch_oid, ap->current.oid, OID_SIZE) == 0)
		return object_verify(KIND_SEALED, object, &ap->current.keys.sign);
	if (ap->previous.record.len && memcmp(out->epoch_oid, ap->previous.oid, OID_SIZE) == 0)
		return object_verify(KIND_SEALED, object, &ap->previous.keys.sign);
	return OK;
}

static result make_grant(struct ap *ap, const struct unseal_request *request, struct launch_row *row, const struct secret *secret)
{
	uint8_t aad[LAUNCH_ID_SIZE + OID_SIZE + 32], box[BOX_OVERHEAD + SECRET_MAX];
	struct writer w = writer_fixed(aad, sizeof(aad));
	writer_span(&w, SPAN_ARRAY(request->launch_id));
	writer_span(&w, SPAN_ARRAY(request->seal_oid));
	writer_span(&w, SPAN_ARRAY(request->nonce));
	TRY(box_seal(SPAN_ARRAY(row->kem_pk), "unseal", SPAN_ARRAY(aad), secret_span(secret), box));
	struct span boxed = span_of(box, secret->len + BOX_OVERHEAD);
	struct unseal_grant grant = {.v = 1};
	memcpy(grant.seal_oid, request->seal_oid, OID_SIZE);
	memcpy(grant.launch_id, request->launch_id, LAUNCH_ID_SIZE);
	memcpy(grant.nonce, request->nonce, sizeof(grant.nonce));
	memcpy(grant.epoch_oid, ap->current.oid, OID_SIZE);
	sha256(boxed, grant.box_hash);
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(object_sign(KIND_UNSEAL_GRANT, &grant, &ap->current.keys.sign, &object, NULL));
	struct ap_unsealed answer = {bytes_span(&object), boxed};
	TRY(ap_reply_with(ap, &ap_unsealed_schema, &answer));
	struct stored_grant *stored = &row->grants[row->grant_count];
	memcpy(stored->seal_oid, request->seal_oid, OID_SIZE);
	TRY(bytes_copy(bytes_span(&ap->reply), &stored->reply));
	row->grant_count++;
	return OK;
}

result ap_handle_unseal(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_unseal message;
	struct unseal_request request;
	struct sealed sealed;
	struct launch_row *row;
	uint8_t seal_oid[OID_SIZE];
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	TRY(ap_check_validity(ap, now_ms));
	TRY(schema_decode(&ap_unseal_schema, body, &ap->scratch, &message));
	TRY(object_peek(KIND_UNSEAL_REQUEST, message.request, &ap->scratch, &request, NULL));
	TRY(ap_need_launch(ap, request.launch_id, LAUNCH_ENDORSED, &row));
	TRY(object_verify(KIND_UNSEAL_REQUEST, message.request, &row->sign_key));
	TRY(parse_sealed(ap, message.sealed, &sealed, seal_oid));
	if (memcmp(seal_oid, request.seal_oid, OID_SIZE) != 0)
		return fail(SEAL_FOREIGN, "the request names another sealed object");
	for (size_t i = 0; i < row->grant_count; i++)
		if (memcmp(row->grants[i].seal_oid, seal_oid, OID_SIZE) == 0) {
			bytes_free(&ap->reply);
			return bytes_copy(bytes_span(&row->grants[i].reply), &ap->reply);
		}
	if (row->grant_count == GRANTS_PER_LAUNCH)
		return fail(TOO_LARGE, "%d secrets were released to '%s'", GRANTS_PER_LAUNCH, row->launch.name);
	TRY(check_policy(ap, &sealed.policy, &row->launch, message.reference, now_ms));
	TRY(ap_sealed_open(ap, &sealed, &secret));
	return make_grant(ap, &request, row, &secret);
}
