#include "root/ap_internal.h"

#include "object/transport.h"

static result sign_head(struct ap *ap, struct span body, uint64_t now_ms, struct bytes *out)
{
	struct ap_sign_head request;
	uint8_t run_id[RUN_ID_SIZE], oid[OID_SIZE];
	TRY(schema_decode(&ap_sign_head_schema, body, &ap->scratch, &request));
	run_id_compute(request.job_digest, request.has_nonce ? SPAN_ARRAY(request.nonce) : SPAN_EMPTY, request.rand, run_id);
	if (memcmp(run_id, request.run_id, RUN_ID_SIZE) != 0)
		return fail(BAD_VALUE, "the run id is not that of this job, nonce and random value");
	if (!ap_remembers(&ap->known_runs, run_id, RUN_ID_SIZE))
		return fail(UNKNOWN_RUN, "run %02x%02x%02x%02x", run_id[0], run_id[1], run_id[2], run_id[3]);
	if (ap_remembers(&ap->signed_runs, run_id, RUN_ID_SIZE))
		return fail(HEAD_SIGNED, "run %02x%02x%02x%02x", run_id[0], run_id[1], run_id[2], run_id[3]);
	struct receipt_head head = {
		.v = 1,
		.has_nonce = request.has_nonce,
		.boot_gen = ap->boot_gen,
		.seq = ap->head_seq + 1,
		.has_prev = ap->head_seq > 0,
		.time = now_ms,
		.recorder = request.recorder,
		.roots = request.roots,
		.root_count = request.root_count,
		.sections = request.sections,
		.section_count = request.section_count,
	};
	memcpy(head.run_id, run_id, RUN_ID_SIZE);
	memcpy(head.rand, request.rand, sizeof(head.rand));
	memcpy(head.nonce, request.nonce, sizeof(head.nonce));
	memcpy(head.job_digest, request.job_digest, SHA256_SIZE);
	memcpy(head.rot_id, ap->rot_id, OID_SIZE);
	memcpy(head.epoch_oid, ap->current.oid, OID_SIZE);
	memcpy(head.prev, ap->last_head, OID_SIZE);
	TRY(object_sign(KIND_RECEIPT_HEAD, &head, &ap->current.keys.sign, out, oid));
	TRY(ap_remember(&ap->signed_runs, run_id, RUN_ID_SIZE));
	ap->head_seq++;
	memcpy(ap->last_head, oid, OID_SIZE);
	return OK;
}

static result sign_requested_report(struct ap *ap, struct span body, uint64_t now_ms, struct bytes *out)
{
	struct ap_sign_report request;
	struct launch_row *row = NULL;
	TRY(schema_decode(&ap_sign_report_schema, body, &ap->scratch, &request));
	if (request.has_launch_id)
		TRY(ap_need_launch(ap, request.launch_id, LAUNCH_ENDORSED, &row));
	return ap_sign_report(ap, row ? REPORT_CHANNEL : REPORT_HOST, row, request.challenge, now_ms, out);
}

/* RO-17: which root and epoch, and from when, is for the secure processor alone to say; how long is bounded here. */
static result sign_transport_key(struct ap *ap, struct span body, uint64_t now_ms, struct bytes *out)
{
	struct transport_request request;
	TRY(schema_decode(&transport_request_schema, body, &ap->scratch, &request));
	if (strcmp(request.purpose, TRANSPORT_LINK) != 0)
		return fail(BAD_VALUE, "a key for '%s'", request.purpose);
	if (request.valid_ms == 0)
		return fail(BAD_VALUE, "a key that is never valid");
	struct transport_key key = {.v = 1, .purpose = TRANSPORT_LINK, .not_before = now_ms, .not_after = now_ms + request.valid_ms};
	if (key.not_after > ap->current.epoch.not_after)
		key.not_after = ap->current.epoch.not_after;
	memcpy(key.spki, request.spki, SHA256_SIZE);
	memcpy(key.rot_id, ap->rot_id, OID_SIZE);
	memcpy(key.epoch_oid, ap->current.oid, OID_SIZE);
	return object_sign(KIND_TRANSPORT_KEY, &key, &ap->current.keys.sign, out, NULL);
}

result ap_handle_sign(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_sign request;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(ap_check_validity(ap, now_ms));
	TRY(schema_decode(&ap_sign_schema, body, &ap->scratch, &request));
	switch ((int)request.kind) {
	case KIND_RECEIPT_HEAD:
		/* The sections that it covers end with the record of the epoch that was named. */
		if (ap->asked != &ap->current)
			return fail(EPOCH_OLD, "a receipt head is signed under the current epoch");
		TRY(sign_head(ap, request.body, now_ms, &object));
		break;
	case KIND_REVOCATION_HEAD:
		if (ap->asked != &ap->current)
			return fail(EPOCH_OLD, "a revocation head is signed under the current epoch");
		TRY(ap_sign_revocation_head(ap, request.body, now_ms, &object));
		break;
	case KIND_REPORT: TRY(sign_requested_report(ap, request.body, now_ms, &object)); break;
	case KIND_TRANSPORT_KEY: TRY(sign_transport_key(ap, request.body, now_ms, &object)); break;
	default: return fail(WRONG_KIND, "objects of kind %u are not signed on request", request.kind);
	}
	struct ap_signed answer = {bytes_span(&object)};
	return ap_reply_with(ap, &ap_signed_schema, &answer);
}
