#include "root/ap_internal.h"

#include <stdio.h>

static void fail_phase(struct ap *ap, unsigned phase, const char *what)
{
	ap->state = AP_FAILED;
	ap->measurement_failed = true;
	snprintf(ap->failure, sizeof(ap->failure), "phase %u (%s): the measurement is not the one this root was made with",
		phase, what);
}
static result finish_phases(struct ap *ap)
{
	if (!ap->phase_complete[0] || !ap->phase_complete[1] || ap->state == AP_FAILED)
		return OK;
	if (ap->state == AP_EMPTY) {
		ap->state = AP_MEASURED;
		return OK;
	}
	if (memcmp(ap->references, ap->log.registers, sizeof(ap->references)) == 0) {
		ap->state = AP_READY;
		return OK;
	}
	if (ap_upgrade_judge(ap) == OK)
		return ap_upgrade_adopt(ap);
	fail_phase(ap, 1, "trothd, troth-ire and security settings");
	return OK;
}

/* For people's tools, and for who compares it with the log under a quote. */
static result mirror(struct ap *ap, struct span content)
{
	uint8_t digest[SHA256_SIZE];
	if (!ap->platform)
		return OK;
	sha256(content, digest);
	return ap->platform->extend(ap->platform->context, digest);
}

result ap_handle_extend(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_extend request;
	TRY(schema_decode(&ap_extend_schema, body, &ap->scratch, &request));
	if (request.index > REGISTER_HOST)
		return fail(BAD_VALUE, "register %u is not extended by this request", request.index);
	if (ap->phase_complete[request.index])
		return fail(MEASUREMENT_LATE, "phase %u", request.index);
	if (request.index == REGISTER_HOST && !ap->phase_complete[REGISTER_AP])
		return fail(NOT_READY, "phase 0 comes before phase 1");
	struct ap_measured_program program;
	if (request.index == REGISTER_AP) {
		TRY(schema_decode(&ap_measured_program_schema, request.content, &ap->scratch, &program));
		memcpy(ap->ap_measurement, program.digest, SHA384_SIZE);
	} else {
		TRY(cbor_validate(request.content));
		TRY(ap_upgrade_note_host(ap, request.content));
	}
	TRY(mirror(ap, request.content));
	TRY(boot_log_extend(&ap->log, request.index, request.content));
	ap->phase_events = ap->log.count;
	ap->phase_complete[request.index] = request.complete;
	if (request.complete && request.index == REGISTER_AP && ap->state == AP_STARTING &&
		ap_upgrade_judge_ap(ap) != OK)
		fail_phase(ap, 0, "troth-ap");
	TRY(finish_phases(ap));
	struct ap_extended answer;
	memcpy(answer.value, ap->log.registers[request.index].value, SHA384_SIZE);
	return ap_reply_with(ap, &ap_extended_schema, &answer);
}

result ap_handle_read_measurements(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_read_measurements request;
	TRY(schema_decode(&ap_read_measurements_schema, body, &ap->scratch, &request));
	if (request.from > ap->log.count)
		return fail(BAD_VALUE, "event %llu of %zu", (unsigned long long)request.from, ap->log.count);
	void *events;
	size_t most = ap->log.count - request.from, bytes = 0, count = 0;
	if (most > 4096)
		most = 4096;
	TRY(arena_alloc(&ap->scratch, most ? most : 1, sizeof(struct bytes_item), &events));
	struct bytes_item *items = events;
	while (count < most) {
		items[count].bytes = boot_log_record(&ap->log, request.from + count);
		bytes += items[count].bytes.len + 8;
		if (bytes > REPLY_MAX - 1024)
			break;
		count++;
	}
	struct ap_measurements answer = {ap->log.registers, REGISTER_COUNT, ap->log.count, items, count};
	return ap_reply_with(ap, &ap_measurements_schema, &answer);
}

/*
 * The operator's word that the measured programs were changed on purpose: what was measured in this boot becomes what the
 * root expects. Allowed only after a mismatch, with both phases complete.
 */
result ap_handle_accept(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_done done = {true};
	if (body.len)
		return fail(TRAILING_BYTES, "ACCEPT_MEASUREMENTS has no body");
	if (!ap_has_root(ap) || !ap->phase_complete[0] || !ap->phase_complete[1] || !ap->measurement_failed)
		return fail(NOT_READY, "there is no measured mismatch to accept");
	TRY(ap_reply_with(ap, &ap_done_schema, &done));
	memcpy(ap->references, ap->log.registers, sizeof(ap->references));
	TRY(ap_encode_state(ap));
	ap->state = AP_READY;
	ap->measurement_failed = false;
	ap->failure[0] = '\0';
	ap->waiting = true;
	return OK;
}
