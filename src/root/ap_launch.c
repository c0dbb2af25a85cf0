#include "root/ap_internal.h"

#include <stdlib.h>

#include "crypto/box.h"
#include "crypto/random.h"
#include "crypto/x509.h"

static const uint64_t CERT_LIFE_MS = 24ULL * 3600 * 1000;

void ap_launch_row_free(struct launch_row *row)
{
	for (size_t i = 0; i < row->grant_count; i++)
		bytes_free(&row->grants[i].reply);
	key_free(&row->sign_key);
	arena_free(&row->arena);
	wipe(row->challenge, sizeof(row->challenge));
	free(row);
}
void ap_end_all_launches(struct ap *ap)
{
	while (ap->launches) {
		struct launch_row *row = ap->launches;
		ap->launches = row->next;
		ap_launch_row_free(row);
	}
	ap->live = 0;
}

struct launch_row *ap_find_launch(const struct ap *ap, const uint8_t id[static LAUNCH_ID_SIZE])
{
	for (struct launch_row *row = ap->launches; row; row = row->next)
		if (memcmp(row->launch.launch_id, id, LAUNCH_ID_SIZE) == 0)
			return row;
	return NULL;
}

result ap_need_launch(const struct ap *ap, const uint8_t id[static LAUNCH_ID_SIZE], enum launch_state state,
	struct launch_row **out)
{
	struct launch_row *row = ap_find_launch(ap, id);
	if (!row)
		return fail(UNKNOWN_LAUNCH, "launch %02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
	if (row->state != state)
		return fail(LAUNCH_REUSED, "launch of '%s' is at step %d, not %d", row->launch.name, row->state, state);
	*out = row;
	return OK;
}
static result copy_launch(struct launch_row *row, struct span body)
{
	/* Decoded a second time into the row's own arena: its texts live as long as the launch. */
	row->arena = arena_of(16 * 1024);
	return schema_decode(&launch_schema, body, &row->arena, &row->launch);
}

static result check_launch(struct ap *ap, const struct launch *launch)
{
	char uri[URI_MAX_LEN + 1];
	TRY(ire_uri(ap->rot_id, ap->trust_domain, launch->name, uri));
	if (ap->live == AP_MAX_LAUNCHES)
		return fail(TOO_LARGE, "%d live launches; end some first", AP_MAX_LAUNCHES);
	if (ap_remembers(&ap->launch_ids, launch->launch_id, LAUNCH_ID_SIZE))
		return fail(LAUNCH_REUSED, "launch of '%s'", launch->name);
	return OK;
}

static result add_launch(struct ap *ap, struct span body, struct launch_row *row)
{
	TRY(copy_launch(row, body));
	TRY(check_launch(ap, &row->launch));
	TRY(ap_remember(&ap->launch_ids, row->launch.launch_id, LAUNCH_ID_SIZE));
	if (!ap_remembers(&ap->known_runs, row->launch.run_id, RUN_ID_SIZE))
		TRY(ap_remember(&ap->known_runs, row->launch.run_id, RUN_ID_SIZE));
	TRY(boot_log_extend(&ap->log, REGISTER_LAUNCHES, body));
	row->state = LAUNCH_EXTENDED;
	random_bytes(row->nonce, sizeof(row->nonce));
	struct ap_launch_extended answer;
	memcpy(answer.nonce, row->nonce, sizeof(answer.nonce));
	memcpy(answer.epoch_oid, ap->current.oid, OID_SIZE);
	return ap_reply_with(ap, &ap_launch_extended_schema, &answer);
}

result ap_handle_extend_launch(struct ap *ap, struct span body, uint64_t now_ms)
{
	TRY(ap_check_validity(ap, now_ms));
	struct launch_row *row = calloc(1, sizeof(*row));
	if (!row)
		return fail(NO_MEMORY, "launch");
	result added = add_launch(ap, body, row);
	if (added != OK) {
		ap_launch_row_free(row);
		return added;
	}
	row->next = ap->launches;
	ap->launches = row;
	ap->live++;
	return OK;
}

static void key_hashes(const struct launch_row *row, struct writer *w)
{
	uint8_t id[KEY_ID_SIZE];
	sha256(SPAN_ARRAY(row->sign_pk), id);
	writer_span(w, SPAN_ARRAY(id));
	sha256(SPAN_ARRAY(row->kem_pk), id);
	writer_span(w, SPAN_ARRAY(id));
}

static result check_endorse_signature(const struct launch_row *row, const struct key *key, struct span signature)
{
	uint8_t message[14 + LAUNCH_ID_SIZE + 32 + 2 * SHA256_SIZE];
	struct writer w = writer_fixed(message, sizeof(message));
	writer_str(&w, "troth endorse1");
	writer_span(&w, SPAN_ARRAY(row->launch.launch_id));
	writer_span(&w, SPAN_ARRAY(row->nonce));
	key_hashes(row, &w);
	struct span bytes;
	TRY(writer_finish(&w, &bytes));
	if (key_verify(key, bytes, signature) != OK)
		return fail(PROOF_FAILED, "the signing key of '%s' did not sign its launch", row->launch.name);
	return OK;
}

result ap_handle_endorse_begin(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_endorse_begin request;
	struct launch_row *row;
	TRY(ap_check_validity(ap, now_ms));
	TRY(schema_decode(&ap_endorse_begin_schema, body, &ap->scratch, &request));
	TRY(ap_need_launch(ap, request.launch_id, LAUNCH_EXTENDED, &row));
	uint8_t hash[SHA256_SIZE], box[BOX_OVERHEAD + 32];
	launch_keys_hash(request.sign_pk, request.kem_pk, hash);
	if (memcmp(hash, row->launch.keys_hash, sizeof(hash)) != 0)
		return fail(KEYS_NOT_BOUND, "launch of '%s'", row->launch.name);
	memcpy(row->sign_pk, request.sign_pk, POINT_SIZE);
	memcpy(row->kem_pk, request.kem_pk, POINT_SIZE);
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	TRY(key_from_point(SPAN_ARRAY(request.sign_pk), &key));
	TRY(check_endorse_signature(row, &key, SPAN_ARRAY(request.signature)));
	random_bytes(row->challenge, sizeof(row->challenge));
	TRY(box_seal(SPAN_ARRAY(row->kem_pk), "pop", SPAN_ARRAY(row->launch.launch_id), SPAN_ARRAY(row->challenge), box));
	struct ap_endorse_challenge answer = {SPAN_ARRAY(box)};
	TRY(ap_reply_with(ap, &ap_endorse_challenge_schema, &answer));
	key_free(&row->sign_key);
	row->sign_key = key;
	key = KEY_EMPTY; /* transferred */
	row->state = LAUNCH_CHALLENGED;
	return OK;
}

static result encode_tcb_info(const struct ap *ap, const struct launch *launch, struct bytes *out)
{
	struct tcb_info info = {.tier = launch->tier, .isolation = launch->isolation};
	memcpy(info.core, launch->core, SHA384_SIZE);
	memcpy(info.measurement, launch->measurement, SHA384_SIZE);
	memcpy(info.launch_id, launch->launch_id, LAUNCH_ID_SIZE);
	memcpy(info.epoch_oid, ap->current.oid, OID_SIZE);
	return schema_encode(&tcb_info_schema, &info, out);
}

static result issue_certificate(struct ap *ap, const struct launch_row *row, uint64_t now_ms, struct bytes *out)
{
	char uri[URI_MAX_LEN + 1], label[ROT_LABEL_SIZE];
	CLEANUP(bytes_free) struct bytes info = BYTES_EMPTY;
	TRY(ire_uri(ap->rot_id, ap->trust_domain, row->launch.name, uri));
	TRY(encode_tcb_info(ap, &row->launch, &info));
	rot_label(ap->rot_id, label);
	struct certificate_fields fields = {
		.uri = uri,
		.not_before = now_ms - CERT_BEFORE_MS,
		.not_after = now_ms + CERT_LIFE_MS,
		.tcb_info = bytes_span(&info),
	};
	if (fields.not_before < ap->current.epoch.not_before)
		fields.not_before = ap->current.epoch.not_before;
	if (fields.not_after > ap->current.epoch.not_after)
		fields.not_after = ap->current.epoch.not_after;
	random_bytes(fields.serial, sizeof(fields.serial));
	fields.serial[0] &= 0x7f;
	memcpy(fields.sign_point, row->sign_pk, POINT_SIZE);
	memcpy(fields.kem_point, row->kem_pk, POINT_SIZE);
	return certificate_issue(&fields, &ap->current.keys.sign, label, out);
}

result ap_sign_report(struct ap *ap, enum report_purpose purpose, const struct launch_row *row, struct span challenge,
	uint64_t now_ms, struct bytes *out)
{
	struct report report = {
		.v = 1,
		.purpose = (uint8_t)purpose,
		.era = ap->current.epoch.era,
		.epoch = ap->current.epoch.epoch,
		.boot_gen = ap->boot_gen,
		.seq = ap->report_seq + 1,
		.has_prev = ap->report_seq > 0,
		.time = now_ms,
		.challenge = challenge,
		.registers = ap->log.registers,
		.register_count = REGISTER_COUNT,
		.has_launch = row != NULL,
		.has_certificate = row != NULL,
		.instrumented = ap->instrumented,
	};
	memcpy(report.rot_id, ap->rot_id, OID_SIZE);
	memcpy(report.epoch_oid, ap->current.oid, OID_SIZE);
	memcpy(report.prev, ap->last_report, OID_SIZE);
	if (row) {
		report.launch = row->launch;
		memcpy(report.certificate, row->certificate, SHA256_SIZE);
	}
	uint8_t oid[OID_SIZE];
	TRY(object_sign(KIND_REPORT, &report, &ap->current.keys.sign, out, oid));
	ap->report_seq++;
	memcpy(ap->last_report, oid, OID_SIZE);
	return OK;
}

static result check_possession(const struct launch_row *row, struct span proof)
{
	uint8_t input[10 + 32 + 2 * SHA256_SIZE], expected[SHA256_SIZE];
	struct writer w = writer_fixed(input, sizeof(input));
	writer_str(&w, "troth pop1");
	writer_span(&w, SPAN_ARRAY(row->challenge));
	key_hashes(row, &w);
	sha256(span_of(input, w.len), expected);
	if (!secret_equal(SPAN_ARRAY(expected), proof))
		return fail(PROOF_FAILED, "the KEM key of '%s' did not open its challenge", row->launch.name);
	return OK;
}

/* Certificate and launch report of a row whose keys are endorsed, under the current epoch. */
static result vouch(struct ap *ap, struct launch_row *row, uint64_t now_ms)
{
	CLEANUP(bytes_free) struct bytes certificate = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes report = BYTES_EMPTY;
	TRY(issue_certificate(ap, row, now_ms, &certificate));
	sha256(bytes_span(&certificate), row->certificate);
	TRY(ap_sign_report(ap, REPORT_LAUNCH, row, SPAN_EMPTY, now_ms, &report));
	struct ap_endorsed answer = {bytes_span(&certificate), bytes_span(&report)};
	return ap_reply_with(ap, &ap_endorsed_schema, &answer);
}

result ap_handle_endorse_finish(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_endorse_finish request;
	struct launch_row *row;
	TRY(ap_check_validity(ap, now_ms));
	TRY(schema_decode(&ap_endorse_finish_schema, body, &ap->scratch, &request));
	TRY(ap_need_launch(ap, request.launch_id, LAUNCH_CHALLENGED, &row));
	TRY(check_possession(row, SPAN_ARRAY(request.proof)));
	TRY(vouch(ap, row, now_ms));
	row->state = LAUNCH_ENDORSED;
	return OK;
}

/* After a rotation: the same keys, no new proof. */
result ap_handle_reissue(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_reissue request;
	struct launch_row *row;
	TRY(ap_check_validity(ap, now_ms));
	TRY(schema_decode(&ap_reissue_schema, body, &ap->scratch, &request));
	TRY(ap_need_launch(ap, request.launch_id, LAUNCH_ENDORSED, &row));
	return vouch(ap, row, now_ms);
}

result ap_handle_end_launch(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_end_launch request;
	TRY(schema_decode(&ap_end_launch_schema, body, &ap->scratch, &request));
	for (struct launch_row **at = &ap->launches; *at; at = &(*at)->next) {
		struct launch_row *row = *at;
		if (memcmp(row->launch.launch_id, request.launch_id, LAUNCH_ID_SIZE) != 0)
			continue;
		*at = row->next;
		ap_launch_row_free(row);
		ap->live--;
		struct ap_done done = {true};
		return ap_reply_with(ap, &ap_done_schema, &done);
	}
	return fail(UNKNOWN_LAUNCH, "no live launch has this id");
}
