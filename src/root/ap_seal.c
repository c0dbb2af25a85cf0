#include "root/ap_internal.h"

#include <stdlib.h>

#include "crypto/box.h"
#include "crypto/random.h"

static result storage_subkey(const struct ap *ap, const uint8_t salt[static 32], struct span policy, struct secret *out)
{
	uint8_t context[32 + 4 + 512];
	struct writer w = writer_fixed(context, sizeof(context));
	writer_put(&w, salt, 32);
	writer_lv(&w, policy);
	struct span bytes;
	TRY(writer_finish(&w, &bytes));
	TRY(secret_new(AEAD_KEY_SIZE, out));
	hkdf_expand_label(ap->storage_key.data, "root1", "seal", bytes, out->data, out->len);
	return OK;
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

result ap_handle_seal(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_seal request;
	struct sealed sealed = {.v = 1, .storage_key_version = ap->storage_version};
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(ap_check_validity(ap, now_ms));
	TRY(schema_decode(&ap_seal_schema, body, &ap->scratch, &request));
	TRY(schema_decode(&seal_policy_schema, request.policy, &ap->scratch, &sealed.policy));
	if (memcmp(sealed.policy.rot_id, ap->rot_id, OID_SIZE) != 0)
		return fail(SEAL_FOREIGN, "the policy names another root");
	TRY(box_open(&ap->keys.kem, "seal-in", request.policy, request.box, &secret));
	random_bytes(sealed.salt, sizeof(sealed.salt));
	TRY(storage_subkey(ap, sealed.salt, request.policy, &key));
	uint8_t ciphertext[SECRET_MAX + AEAD_TAG_SIZE];
	TRY(aead_seal_once(key.data, request.policy, secret_span(&secret), ciphertext));
	sealed.ciphertext = span_of(ciphertext, secret.len + AEAD_TAG_SIZE);
	seal_box_hash(request.box, request.policy, sealed.box_hash);
	memcpy(sealed.epoch_oid, ap->epoch_oid, OID_SIZE);
	TRY(object_sign(KIND_SEALED, &sealed, &ap->keys.sign, &object, NULL));
	struct ap_signed answer = {bytes_span(&object)};
	return ap_reply_with(ap, &ap_signed_schema, &answer);
}

static result open_sealed(struct ap *ap, const struct sealed *sealed, const struct launch_row *row, struct secret *out)
{
	const struct launch *launch = &row->launch;
	if (memcmp(sealed->policy.rot_id, ap->rot_id, OID_SIZE) != 0 || strcmp(sealed->policy.name, launch->name) != 0 ||
		memcmp(sealed->policy.measurement, launch->measurement, SHA384_SIZE) != 0)
		return fail(SEAL_FOREIGN, "sealed for '%s', asked for by '%s'", sealed->policy.name, launch->name);
	if (sealed->storage_key_version != ap->storage_version)
		return fail(EPOCH_OLD, "storage key %u", sealed->storage_key_version);
	CLEANUP(bytes_free) struct bytes policy = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	TRY(schema_encode(&seal_policy_schema, &sealed->policy, &policy));
	TRY(storage_subkey(ap, sealed->salt, bytes_span(&policy), &key));
	TRY(secret_new(sealed->ciphertext.len - AEAD_TAG_SIZE, &secret));
	TRY(aead_open_once(key.data, bytes_span(&policy), sealed->ciphertext, secret.data));
	*out = secret_move(&secret);
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
	memcpy(grant.epoch_oid, ap->epoch_oid, OID_SIZE);
	sha256(boxed, grant.box_hash);
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(object_sign(KIND_UNSEAL_GRANT, &grant, &ap->keys.sign, &object, NULL));
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
	TRY(object_open(KIND_SEALED, message.sealed, &ap->keys.sign, &ap->scratch, &sealed, seal_oid));
	if (memcmp(seal_oid, request.seal_oid, OID_SIZE) != 0)
		return fail(SEAL_FOREIGN, "the request names another sealed object");
	for (size_t i = 0; i < row->grant_count; i++)
		if (memcmp(row->grants[i].seal_oid, seal_oid, OID_SIZE) == 0) {
			bytes_free(&ap->reply);
			return bytes_copy(bytes_span(&row->grants[i].reply), &ap->reply);
		}
	if (row->grant_count == GRANTS_PER_LAUNCH)
		return fail(TOO_LARGE, "%d secrets were released to '%s'", GRANTS_PER_LAUNCH, row->launch.name);
	TRY(open_sealed(ap, &sealed, row, &secret));
	return make_grant(ap, &request, row, &secret);
}
