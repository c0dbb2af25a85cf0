#include "root/ap_internal.h"

#include "crypto/box.h"

static result derive_local(struct ap *ap, const struct ap_epoch *epoch, const struct ap_derive *request)
{
	uint8_t context[16 * 1024];
	struct writer w = writer_fixed(context, sizeof(context));
	writer_lv(&w, SPAN_ARRAY(epoch->oid));
	writer_lv(&w, span_str(request->purpose));
	for (size_t i = 0; i < request->context_count; i++)
		writer_lv(&w, span_str(request->context[i].text));
	struct span bytes;
	TRY(writer_finish(&w, &bytes));
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	TRY(secret_new(32, &key));
	hkdf_expand_label(epoch->keys.epoch_secret.data, "derive1", "local", bytes, key.data, key.len);
	struct ap_derived answer = {.key = secret_span(&key)};
	return ap_reply_with(ap, &ap_derived_schema, &answer);
}

static result sign_derive_answer(const struct ap_epoch *epoch, const struct ap_derive *request, const uint8_t own[static POINT_SIZE],
	struct bytes *out, uint8_t out_oid[static OID_SIZE])
{
	bool first = request->initiator;
	struct derive_answer answer = {
		.v = 1,
		.id_i = first ? request->id_own : request->id_peer,
		.id_r = first ? request->id_peer : request->id_own,
		.purpose = request->purpose,
	};
	memcpy(answer.challenge_i, first ? request->challenge_own : request->challenge_peer, 32);
	memcpy(answer.challenge_r, first ? request->challenge_peer : request->challenge_own, 32);
	memcpy(answer.ephemeral_i, first ? own : request->ephemeral_peer, POINT_SIZE);
	memcpy(answer.ephemeral_r, first ? request->ephemeral_peer : own, POINT_SIZE);
	memcpy(answer.epoch_oid, epoch->oid, OID_SIZE);
	return object_sign(KIND_DERIVE_ANSWER, &answer, &epoch->keys.sign, out, out_oid);
}

/* k = HX("troth-derive1" ‖ challenge_I ‖ challenge_R, ECDH(kem_e, peer)), then EX over lv(ids, oid(E), purpose). */
static result derive_peer_key(const struct ap_epoch *epoch, const struct ap_derive *request, struct secret *out)
{
	uint8_t salt[13 + 64], context[1024];
	bool first = request->initiator;
	struct writer w = writer_fixed(salt, sizeof(salt));
	writer_str(&w, "troth-derive1");
	writer_put(&w, first ? request->challenge_own : request->challenge_peer, 32);
	writer_put(&w, first ? request->challenge_peer : request->challenge_own, 32);
	struct writer c = writer_fixed(context, sizeof(context));
	writer_lv(&c, span_str(first ? request->id_own : request->id_peer));
	writer_lv(&c, span_str(first ? request->id_peer : request->id_own));
	writer_lv(&c, SPAN_ARRAY(epoch->oid));
	writer_lv(&c, span_str(request->purpose));
	struct span bytes;
	TRY(writer_finish(&c, &bytes));
	CLEANUP(secret_free) struct secret shared = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret prk = SECRET_EMPTY;
	TRY(secret_new(ECDH_SIZE, &shared));
	TRY(secret_new(SHA256_SIZE, &prk));
	TRY(secret_new(32, out));
	TRY(key_agree(&epoch->keys.kem, SPAN_ARRAY(request->ephemeral_peer), shared.data));
	hkdf_extract(SPAN_ARRAY(salt), secret_span(&shared), prk.data);
	hkdf_expand_label(prk.data, "derive1", "peer", bytes, out->data, out->len);
	return OK;
}

static result derive_peer(struct ap *ap, const struct ap_epoch *epoch, const struct ap_derive *request)
{
	struct launch_row *row;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	uint8_t oid[OID_SIZE], aad[LAUNCH_ID_SIZE + OID_SIZE], box[BOX_OVERHEAD + 32];
	TRY(ap_need_launch(ap, request->launch_id, LAUNCH_ENDORSED, &row));
	TRY(derive_peer_key(epoch, request, &key));
	TRY(sign_derive_answer(epoch, request, epoch->epoch.kem_pk, &object, oid));
	memcpy(aad, request->launch_id, LAUNCH_ID_SIZE);
	memcpy(aad + LAUNCH_ID_SIZE, oid, OID_SIZE);
	TRY(box_seal(SPAN_ARRAY(row->kem_pk), "derive", SPAN_ARRAY(aad), secret_span(&key), box));
	struct ap_derived answer = {.answer = bytes_span(&object), .box = SPAN_ARRAY(box)};
	return ap_reply_with(ap, &ap_derived_schema, &answer);
}

result ap_handle_derive(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_derive request;
	TRY(ap_check_validity(ap, now_ms));
	TRY(schema_decode(&ap_derive_schema, body, &ap->scratch, &request));
	/* A derived key is the named epoch's: usable to the end of its grace, never again after. */
	if (!ap->asked)
		return fail(EPOCH_OLD, "the keys of epoch %llu are gone", (unsigned long long)ap->left.epoch);
	switch ((int)request.mode) {
	case DERIVE_LOCAL: return derive_local(ap, ap->asked, &request);
	case DERIVE_PEER: return derive_peer(ap, ap->asked, &request);
	default: return fail(BAD_VALUE, "derivation mode %u", request.mode);
	}
}
