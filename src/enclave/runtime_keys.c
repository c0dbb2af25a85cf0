/* Keys, endorsement and secrets of an IRE (constructions/epochs.md LAUNCH, ENDORSE, UNSEAL). */
#include "crypto/box.h"
#include "crypto/random.h"
#include "enclave/runtime_internal.h"

result runtime_make_keys(struct runtime *rt)
{
	TRY(key_generate(&rt->sign));
	TRY(key_generate(&rt->kem));
	memcpy(rt->kem_pk, rt->kem.point, POINT_SIZE);
	return OK;
}

/* Both sides hash the points, so that neither key can be exchanged under a signature (BI-09). */
static void put_key_hashes(const struct runtime *rt, struct writer *w)
{
	uint8_t hash[SHA256_SIZE];
	sha256(SPAN_ARRAY(rt->sign.point), hash);
	writer_span(w, SPAN_ARRAY(hash));
	sha256(SPAN_ARRAY(rt->kem.point), hash);
	writer_span(w, SPAN_ARRAY(hash));
}

static result receive_launched(struct runtime *rt)
{
	CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
	struct control_launched launched;
	TRY(runtime_expect(rt, CONTROL_LAUNCHED, RUNTIME_REPLY_MS, &message, &launched));
	struct key key = {0};
	result live = epoch_live_key(rt, launched.epoch_oid, 0, 0, &key);
	key_free(&key);
	if (live != OK)
		return fail(EPOCH_OLD, "the launch was extended under another epoch than the host named");
	memcpy(rt->nonce, launched.nonce, sizeof(rt->nonce));
	return OK;
}

static result send_endorse(struct runtime *rt)
{
	uint8_t text[256];
	struct span message;
	struct control_endorse endorse;
	struct writer w = writer_fixed(text, sizeof(text));
	writer_str(&w, "troth endorse1");
	writer_span(&w, SPAN_ARRAY(rt->prepare.launch_id));
	writer_span(&w, SPAN_ARRAY(rt->nonce));
	put_key_hashes(rt, &w);
	TRY(writer_finish(&w, &message));
	TRY(key_sign(&rt->sign, message, endorse.signature));
	return runtime_send(rt, CONTROL_ENDORSE, &endorse);
}

static result prove_possession(struct runtime *rt)
{
	CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
	CLEANUP(secret_free) struct secret challenge = SECRET_EMPTY;
	struct control_challenge body;
	struct control_proof proof;
	struct hash hash;
	uint8_t hashes[2 * SHA256_SIZE];
	struct writer w = writer_fixed(hashes, sizeof(hashes));
	TRY(runtime_expect(rt, CONTROL_CHALLENGE, RUNTIME_REPLY_MS, &message, &body));
	TRY(box_open(&rt->kem, "pop", SPAN_ARRAY(rt->prepare.launch_id), body.box, &challenge));
	if (challenge.len != 32)
		return fail(BAD_VALUE, "a challenge of %zu bytes", challenge.len);
	put_key_hashes(rt, &w);
	TRY(hash_start(&hash, HASH_SHA256));
	hash_add(&hash, span_str("troth pop1"));
	hash_add(&hash, secret_span(&challenge));
	hash_add(&hash, SPAN_ARRAY(hashes));
	hash_finish(&hash, proof.proof);
	return runtime_send(rt, CONTROL_PROOF, &proof);
}

static result check_certificate(struct runtime *rt, struct span der, const struct key *root, uint8_t out_digest[static SHA256_SIZE])
{
	struct certificate certificate = CERTIFICATE_EMPTY;
	TRY(certificate_parse(der, &rt->arena, &certificate));
	result good = certificate_verify(&certificate, root);
	if (good == OK)
		good = certificate_valid_at(&certificate, runtime_now_ms());
	if (good == OK && (strcmp(certificate.uri, rt->uri) != 0 ||
		memcmp(certificate.key.point, rt->sign.point, POINT_SIZE) != 0 ||
		memcmp(certificate.kem_point, rt->kem_pk, POINT_SIZE) != 0))
		good = fail(BAD_CERTIFICATE, "the secure processor endorsed another name or other keys");
	memcpy(out_digest, certificate.digest, SHA256_SIZE);
	certificate_free(&certificate);
	return good;
}

result runtime_report_epoch(struct runtime *rt, struct span report, uint8_t out[static OID_SIZE])
{
	struct report unchecked;
	uint8_t oid[OID_SIZE];
	TRY(object_peek(KIND_REPORT, report, &rt->arena, &unchecked, oid));
	memcpy(out, unchecked.epoch_oid, OID_SIZE);
	return OK;
}

/* The report is about us and nobody else; peers and auditors will judge us by it. */
result runtime_check_endorsed(struct runtime *rt, struct span certificate, struct span object, const uint8_t oid[static OID_SIZE],
	const struct key *root, uint8_t out_digest[static SHA256_SIZE], uint8_t out_report_oid[static OID_SIZE])
{
	struct report report;
	uint8_t keys[SHA256_SIZE];
	TRY(check_certificate(rt, certificate, root, out_digest));
	TRY(object_open(KIND_REPORT, object, root, &rt->arena, &report, out_report_oid));
	launch_keys_hash(rt->sign.point, rt->kem_pk, keys);
	if (report.purpose != REPORT_LAUNCH || !report.has_launch || !report.has_certificate ||
		memcmp(report.epoch_oid, oid, OID_SIZE) != 0 ||
		memcmp(report.certificate, out_digest, SHA256_SIZE) != 0 ||
		memcmp(report.launch.launch_id, rt->prepare.launch_id, LAUNCH_ID_SIZE) != 0 ||
		memcmp(report.launch.run_id, rt->prepare.run_id, RUN_ID_SIZE) != 0 ||
		memcmp(report.launch.measurement, rt->measurement, SHA384_SIZE) != 0 ||
		memcmp(report.launch.core, rt->core, SHA384_SIZE) != 0 ||
		memcmp(report.launch.policy_digest, rt->manifest.policy_digest, SHA256_SIZE) != 0 ||
		memcmp(report.launch.keys_hash, keys, sizeof(keys)) != 0)
		return fail(EVIDENCE_MISMATCH, "the launch report of the secure processor is about another launch");
	return OK;
}

/* Which epoch endorsed us shows in the report: the root may have been rotated while we were being launched. */
static result accept_endorsement(struct runtime *rt)
{
	uint8_t oid[OID_SIZE];
	TRY(runtime_report_epoch(rt, rt->report, oid));
	TRY(epoch_use(rt, oid));
	TRY(runtime_check_endorsed(rt, rt->certificate, rt->report, rt->epoch_oid, &rt->root, rt->certificate_digest, rt->report_oid));
	rt->shown = rt->certificate;
	rt->shown_epoch = (struct iecp_epoch){.era = rt->epoch.era, .epoch = rt->epoch.epoch};
	memcpy(rt->shown_epoch.rot_id, rt->prepare.rot_id, OID_SIZE);
	memcpy(rt->shown_epoch.oid, rt->epoch_oid, OID_SIZE);
	return OK;
}

result runtime_endorse(struct runtime *rt)
{
	CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
	struct control_endorsed endorsed;
	TRY(receive_launched(rt));
	TRY(send_endorse(rt));
	TRY(prove_possession(rt));
	TRY(runtime_expect(rt, CONTROL_ENDORSED, RUNTIME_REPLY_MS, &message, &endorsed));
	TRY(arena_copy(&rt->arena, endorsed.certificate, &rt->certificate));
	TRY(arena_copy(&rt->arena, endorsed.report, &rt->report));
	return accept_endorsement(rt);
}

/* ---- Secrets ----------------------------------------------------------------------------------- */

static result find_sealed(const struct runtime *rt, const char *name, struct span *out)
{
	for (size_t i = 0; i < rt->prepare.sealed_count; i++) {
		if (strcmp(rt->prepare.sealed[i].name, name) == 0) {
			*out = rt->prepare.sealed[i].object;
			return OK;
		}
	}
	return fail(NOT_DECLARED, "no sealed object was given for secret '%s'", name);
}

static result send_unseal(struct runtime *rt, const char *name, const struct unseal_request *request)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(object_sign(KIND_UNSEAL_REQUEST, request, &rt->sign, &object, NULL));
	struct control_unseal body = {name, bytes_span(&object)};
	return runtime_send(rt, CONTROL_UNSEAL, &body);
}

/* BI-10: the secret is used only after all of this. */
result runtime_check_grant(struct runtime *rt, const struct unseal_request *request, struct span object, struct span box,
	struct span *out_grant, uint8_t out_oid[static OID_SIZE])
{
	struct unseal_grant grant;
	uint8_t hash[SHA256_SIZE];
	CLEANUP(key_free) struct key key = {0};
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	TRY(object_peek(KIND_UNSEAL_GRANT, object, &arena, &grant, out_oid));
	result live = epoch_live_key(rt, grant.epoch_oid, 0, 0, &key);
	if (live != OK)
		return fail(live == EPOCH_FOREIGN ? GRANT_MISMATCH : live, "the grant is of another epoch");
	TRY(object_open(KIND_UNSEAL_GRANT, object, &key, &arena, &grant, out_oid));
	sha256(box, hash);
	if (memcmp(grant.launch_id, request->launch_id, LAUNCH_ID_SIZE) != 0)
		return fail(GRANT_MISMATCH, "the grant is for another launch");
	if (memcmp(grant.nonce, request->nonce, sizeof(grant.nonce)) != 0)
		return fail(GRANT_MISMATCH, "the grant answers another request");
	if (memcmp(grant.seal_oid, request->seal_oid, OID_SIZE) != 0)
		return fail(GRANT_MISMATCH, "the grant is for another sealed object");
	if (memcmp(grant.box_hash, hash, sizeof(hash)) != 0)
		return fail(GRANT_MISMATCH, "the box is not the one that was granted");
	return arena_copy(&rt->arena, object, out_grant);
}

result runtime_open_granted(struct runtime *rt, const struct unseal_request *request, struct span box, struct secret *out)
{
	uint8_t aad[LAUNCH_ID_SIZE + OID_SIZE + 32];
	struct writer w = writer_fixed(aad, sizeof(aad));
	writer_span(&w, SPAN_ARRAY(request->launch_id));
	writer_span(&w, SPAN_ARRAY(request->seal_oid));
	writer_span(&w, SPAN_ARRAY(request->nonce));
	return box_open(&rt->kem, "unseal", SPAN_ARRAY(aad), box, out);
}

/* It may have been sealed any number of epochs ago. */
result runtime_open_sealed(struct runtime *rt, struct span object, struct arena *arena, struct sealed *out,
	uint8_t out_oid[static OID_SIZE])
{
	CLEANUP(key_free) struct key key = {0};
	TRY(object_peek(KIND_SEALED, object, arena, out, out_oid));
	TRY(epoch_any_key(rt, out->epoch_oid, &key));
	return object_open(KIND_SEALED, object, &key, arena, out, out_oid);
}

static result unseal_one(struct runtime *rt, const struct manifest_secret *secret, struct secret_row *row)
{
	CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
	struct span object;
	struct sealed sealed;
	struct control_unsealed answer;
	struct unseal_request request = {.v = 1};
	*row = (struct secret_row){.name = secret->name, .fd = secret->fd};
	TRY(find_sealed(rt, secret->name, &object));
	TRY(runtime_open_sealed(rt, object, &rt->arena, &sealed, request.seal_oid));
	memcpy(request.launch_id, rt->prepare.launch_id, LAUNCH_ID_SIZE);
	random_bytes(request.nonce, sizeof(request.nonce));
	TRY(send_unseal(rt, secret->name, &request));
	TRY(runtime_expect(rt, CONTROL_UNSEALED, RUNTIME_REPLY_MS, &message, &answer));
	if (strcmp(answer.name, secret->name) != 0)
		return fail(GRANT_MISMATCH, "an answer for '%s'", answer.name);
	TRY(runtime_check_grant(rt, &request, answer.grant, answer.box, &row->grant, row->grant_oid));
	TRY(runtime_open_granted(rt, &request, answer.box, &row->value));
	random_bytes(row->salt, sizeof(row->salt));
	hmac_sha256(SPAN_ARRAY(row->salt), secret_span(&row->value), row->commit);
	return OK;
}

result runtime_unseal(struct runtime *rt)
{
	for (size_t i = 0; i < rt->manifest.secret_count; i++) {
		struct secret_row *row = &rt->secrets[rt->secret_count++];
		result unsealed = unseal_one(rt, &rt->manifest.secrets[i], row);
		if (unsealed != OK)
			return fail_within(unsealed, "secret '%s'", rt->manifest.secrets[i].name);
		TRY(records_origin(rt, row->name, "secret", row->commit, row->grant_oid, &row->supplier));
	}
	return OK;
}
