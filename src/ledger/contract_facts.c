/* What the ledger is told of the world: registrations, roots of trust, floors, secure mode, reports. */
#include <string.h>

#include "ledger/contract_internal.h"
#include "object/epoch_chain.h"
#include "object/epoch_rules.h"

static bool is_registrar(const struct call *call)
{
	return is_among(call->config.registrars, call->config.registrar_count, call->tx.sender);
}

static bool is_member(const struct call *call)
{
	return is_among(call->config.members, call->config.member_count, call->tx.sender);
}

static bool is_processor(const struct call *call)
{
	return is_among(call->config.processors, call->config.processor_count, call->tx.sender);
}

/* ---- Registrations ----------------------------------------------------------------------------- */

static void registration_id(uint8_t subject, const uint8_t digest[static SHA384_SIZE], uint8_t out[static 1 + SHA384_SIZE])
{
	out[0] = subject;
	memcpy(out + 1, digest, SHA384_SIZE);
}

/* How many different registrars have signed exactly this registration. */
static result count_endorsements(struct call *call, const struct tx_register *body, size_t *out)
{
	uint8_t seen[32][POINT_SIZE];
	size_t count = 0;
	for (size_t i = 0; i < body->endorsement_count; i++) {
		struct endorsement e;
		TRY(call_open(call, KIND_REGISTRATION, body->endorsements[i].bytes, &e, e.registrar, e.chain, NULL));
		if (!is_among(call->config.registrars, call->config.registrar_count, e.registrar))
			return fail(SENDER_NOT_ALLOWED, "an endorsement is not of a registrar");
		if (e.subject != body->subject || memcmp(e.digest, body->digest, SHA384_SIZE) != 0 || strcmp(e.label, body->label) != 0 ||
			e.not_before != body->not_before || e.not_after != body->not_after)
			return fail(REQUEST_MISMATCH, "an endorsement is of another registration");
		for (size_t j = 0; j < count; j++)
			if (memcmp(seen[j], e.registrar, POINT_SIZE) == 0)
				return fail(TX_MALFORMED, "a registrar endorses twice");
		memcpy(seen[count++], e.registrar, POINT_SIZE);
	}
	*out = count;
	return OK;
}

result apply_register(struct call *call)
{
	struct tx_register body;
	struct registration_fact before, fact = {.span = {.from = call->ctx->index}};
	uint8_t id[1 + SHA384_SIZE];
	size_t endorsements;
	bool there;
	TRY(call_body(call, &body));
	if (body.subject < REGISTERED_VMM || body.not_before >= body.not_after)
		return fail(TX_MALFORMED, "subject %u, or valid at no time", body.subject);
	TRY(count_endorsements(call, &body, &endorsements));
	bool authorised = call->config.registrar_count && endorsements >= call->config.registrar_quorum;
	registration_id(body.subject, body.digest, id);
	TRY(call_find(call, FACT_REGISTRATION, SPAN_ARRAY(id), &before, &there));
	/* What registrars have authorised or taken back is not changed by a mere observation. */
	if (there && !authorised && (before.status == REGISTRATION_AUTHORISED || before.span.has_until))
		return fail(NOT_AUTHORISED, "only registrars may change this registration");
	fact.status = authorised ? REGISTRATION_AUTHORISED : REGISTRATION_OBSERVED;
	fact.label = body.label;
	fact.not_before = body.not_before;
	fact.not_after = body.not_after;
	memcpy(fact.sender, call->sender, ADDRESS_SIZE);
	TRY(call_put(call, FACT_REGISTRATION, SPAN_ARRAY(id), &fact));
	call_event(call, EVENT_REGISTERED, SPAN_ARRAY(body.digest), fact.status);
	return OK;
}

result apply_unregister(struct call *call)
{
	struct tx_unregister body;
	struct registration_fact fact;
	uint8_t id[1 + SHA384_SIZE];
	bool there;
	TRY(call_body(call, &body));
	registration_id(body.subject, body.digest, id);
	TRY(call_find(call, FACT_REGISTRATION, SPAN_ARRAY(id), &fact, &there));
	if (!there || fact.span.has_until)
		return fail(NOT_REGISTERED, "there is no such registration, or it has ended");
	bool own = fact.status == REGISTRATION_OBSERVED && memcmp(fact.sender, call->sender, ADDRESS_SIZE) == 0;
	if (!own && !is_registrar(call) && !is_member(call))
		return fail(SENDER_NOT_ALLOWED, "registrars, members, and who made an observation may end a registration");
	fact.span.until = call->ctx->index;
	fact.span.has_until = true;
	TRY(call_put(call, FACT_REGISTRATION, SPAN_ARRAY(id), &fact));
	call_event(call, EVENT_UNREGISTERED, SPAN_ARRAY(body.digest), body.subject);
	return OK;
}

/* ---- Roots of trust ---------------------------------------------------------------------------- */

static void epoch_at_id(const uint8_t rot_id[static OID_SIZE], uint32_t era, uint64_t epoch, uint8_t out[static OID_SIZE + 12])
{
	struct writer w = writer_fixed(out, OID_SIZE + 12);
	writer_put(&w, rot_id, OID_SIZE);
	writer_u32(&w, era);
	writer_u64(&w, epoch);
}

static result put_root(struct call *call, const uint8_t rot_id[static OID_SIZE], const uint8_t head[static OID_SIZE], enum root_state state)
{
	struct root_fact fact = {.from = call->ctx->index, .state = (uint8_t)state};
	memcpy(fact.head, head, OID_SIZE);
	return call_put(call, FACT_ROOT, span_of(rot_id, OID_SIZE), &fact);
}

static result put_epoch(struct call *call, const uint8_t rot_id[static OID_SIZE], const struct epoch_record *record)
{
	uint8_t at[OID_SIZE + 12], address[ADDRESS_SIZE];
	struct epoch_fact fact = {.span = {.from = call->ctx->index}, .time = call->ctx->time_ms, .record = record->bytes};
	struct epoch_at_fact place;
	struct processor_fact processor;
	memcpy(fact.rot_id, rot_id, OID_SIZE);
	memcpy(place.oid, record->oid, OID_SIZE);
	memcpy(processor.epoch_oid, record->oid, OID_SIZE);
	TRY(call_put(call, FACT_EPOCH, SPAN_ARRAY(record->oid), &fact));
	epoch_at_id(rot_id, record->epoch.era, record->epoch.epoch, at);
	TRY(call_put(call, FACT_EPOCH_AT, SPAN_ARRAY(at), &place));
	address_of(record->epoch.sign_pk, address);
	return call_put(call, FACT_PROCESSOR, SPAN_ARRAY(address), &processor);
}

/* The record before ends here; from now on its `time` says when, and a recovery voids it. */
static result end_epoch(struct call *call, const uint8_t oid[static OID_SIZE], bool voided)
{
	struct epoch_fact fact;
	bool there;
	TRY(call_find(call, FACT_EPOCH, span_of(oid, OID_SIZE), &fact, &there));
	if (!there)
		return fail(EPOCH_FOREIGN, "the record before is not on the ledger");
	if (!fact.span.has_until) {
		fact.span.until = call->ctx->index;
		fact.span.has_until = true;
		fact.time = call->ctx->time_ms;
	}
	fact.is_void |= voided;
	return call_put(call, FACT_EPOCH, span_of(oid, OID_SIZE), &fact);
}

static result known_record(struct call *call, const uint8_t oid[static OID_SIZE], struct epoch_record *out, struct epoch_fact *fact)
{
	bool there;
	TRY(call_find(call, FACT_EPOCH, span_of(oid, OID_SIZE), fact, &there));
	if (!there)
		return fail(EPOCH_FOREIGN, "it follows a record that is not on the ledger");
	if (epoch_record_parse(fact->record, &call->arena, out) != OK)
		return fail(TX_MALFORMED, "epoch record");
	return OK;
}

static result apply_inception(struct call *call, const struct epoch_record *record)
{
	struct epoch opened;
	uint8_t oid[OID_SIZE];
	struct root_fact root;
	bool there;
	if (!is_registrar(call) && !is_member(call))
		return fail(SENDER_NOT_ALLOWED, "registrars and members bring a root of trust onto the ledger");
	TRY(call_find(call, FACT_ROOT, SPAN_ARRAY(record->oid), &root, &there));
	if (there)
		return fail(ALREADY_THERE, "this root of trust");
	TRY(epoch_open_inception(record->bytes, &call->arena, &opened, oid));
	TRY(put_epoch(call, oid, record));
	TRY(put_root(call, oid, oid, ROOT_LIVE));
	call_event(call, EVENT_EPOCH, SPAN_ARRAY(oid), ROOT_LIVE);
	return OK;
}

/* Voids what came after the record that a recovery begins from, from the old head back to it. */
static result void_after(struct call *call, const uint8_t head[static OID_SIZE], const uint8_t base[static OID_SIZE])
{
	uint8_t at[OID_SIZE];
	memcpy(at, head, OID_SIZE);
	for (unsigned n = 0; memcmp(at, base, OID_SIZE) != 0; n++) {
		struct epoch_record record;
		struct epoch_fact fact;
		if (n == STATE_CHANGES_MAX / 2)
			return fail(TOO_LARGE, "a recovery from more than %d records back", STATE_CHANGES_MAX / 2);
		TRY(known_record(call, at, &record, &fact));
		if (record.epoch.epoch == 1 && record.epoch.era == 0)
			return fail(EPOCH_FOREIGN, "it follows a record that is not on the chain");
		TRY(end_epoch(call, at, true));
		memcpy(at, record.epoch.prev, OID_SIZE);
	}
	return OK;
}

static result apply_later(struct call *call, const struct epoch_record *record, const struct key_ring *keys)
{
	struct root_fact root;
	struct epoch_record before, head;
	struct epoch_fact before_fact, head_fact;
	bool there;
	const uint8_t *rot_id = record->epoch.rot_id;
	TRY(call_find(call, FACT_ROOT, span_of(rot_id, OID_SIZE), &root, &there));
	if (!there)
		return fail(EPOCH_FOREIGN, "this root of trust is not on the ledger");
	TRY(call_find(call, FACT_EPOCH, SPAN_ARRAY(record->oid), &head_fact, &there));
	if (there)
		return fail(ALREADY_THERE, "this epoch record");
	TRY(known_record(call, record->epoch.prev, &before, &before_fact));
	TRY(known_record(call, root.head, &head, &head_fact));
	if (memcmp(before_fact.rot_id, rot_id, OID_SIZE) != 0)
		return fail(EPOCH_FOREIGN, "the record before is of another root");
	TRY(epoch_rules_link(&record->epoch, &before.epoch, before.oid, rot_id));
	TRY(epoch_rules_signatures(record, &before.epoch, keys));
	if (epoch_is_recovery(&record->epoch)) {
		if (before_fact.is_void || record->epoch.era != head.epoch.era + 1)
			return fail(before_fact.is_void ? EPOCH_VOID : EPOCH_SKIPPED, "era %u", record->epoch.era);
		TRY(void_after(call, root.head, before.oid));
	} else if (root.state != ROOT_LIVE) {
		return fail(root.state == ROOT_FROZEN ? EPOCH_FORKED : EPOCH_HALTED, "only a recovery may follow");
	} else if (memcmp(before.oid, root.head, OID_SIZE) != 0) {
		/* Valid, behind a record that has a successor: the second of two. Both stay on the ledger as proof. */
		if (before_fact.is_void)
			return fail(EPOCH_VOID, "the record before was voided by a recovery");
		TRY(put_root(call, rot_id, root.head, ROOT_FROZEN));
		call_event(call, EVENT_FROZEN, SPAN_ARRAY(record->oid), record->epoch.epoch);
		return OK;
	}
	TRY(end_epoch(call, before.oid, false));
	TRY(put_epoch(call, rot_id, record));
	TRY(put_root(call, rot_id, record->oid, ROOT_LIVE));
	call_event(call, EVENT_EPOCH, SPAN_ARRAY(record->oid), ROOT_LIVE);
	return OK;
}

static result apply_halt(struct call *call, const struct cose_sign *object, const struct key_ring *keys)
{
	struct halt halt;
	struct root_fact root;
	struct epoch_at_fact place;
	struct epoch_record base;
	struct epoch_fact fact;
	uint8_t at[OID_SIZE + 12];
	bool there;
	if (schema_decode(&halt_schema, object->payload, &call->arena, &halt) != OK)
		return fail(TX_MALFORMED, "HALT: %s", failure_text());
	TRY(call_find(call, FACT_ROOT, SPAN_ARRAY(halt.rot_id), &root, &there));
	if (!there)
		return fail(EPOCH_FOREIGN, "this root of trust is not on the ledger");
	epoch_at_id(halt.rot_id, halt.era, halt.epoch, at);
	TRY(call_find(call, FACT_EPOCH_AT, SPAN_ARRAY(at), &place, &there));
	if (!there)
		return fail(EPOCH_FOREIGN, "the HALT names an epoch that is not on the ledger");
	TRY(known_record(call, place.oid, &base, &fact));
	TRY(epoch_rules_quorum(object, KIND_HALT, &base.epoch, keys));
	if (root.state != ROOT_LIVE)
		return fail(ALREADY_THERE, "the root is stopped already");
	TRY(put_root(call, halt.rot_id, root.head, ROOT_HALTED));
	call_event(call, EVENT_HALTED, SPAN_ARRAY(halt.rot_id), halt.epoch);
	return OK;
}

static result apply_record(struct call *call, const struct tx_epoch *body, const struct key_ring *keys)
{
	struct cose_sign object;
	struct epoch_record record;
	bool halt;
	if (cose_strict_sign_parse(body->record, &object) != OK || epoch_object_is_halt(&object, &halt) != OK)
		return fail(TX_MALFORMED, "epoch record: %s", failure_text());
	if (halt)
		return apply_halt(call, &object, keys);
	if (epoch_record_parse(body->record, &call->arena, &record) != OK)
		return fail(TX_MALFORMED, "epoch record: %s", failure_text());
	return record.epoch.era == 0 && record.epoch.epoch == 1 ? apply_inception(call, &record) : apply_later(call, &record, keys);
}

result apply_epoch(struct call *call)
{
	struct tx_epoch body;
	CLEANUP(key_ring_free) struct key_ring keys = {0};
	TRY(call_body(call, &body));
	for (size_t i = 0; i < body.key_count; i++)
		if (key_ring_add(&keys, body.keys[i].bytes) != OK)
			return fail(TX_MALFORMED, "a recovery key that is no P-256 key");
	return apply_record(call, &body, &keys);
}

/* ---- Floors, secure mode, reports -------------------------------------------------------------- */

result apply_floor(struct call *call)
{
	struct tx_floor body;
	struct floor_fact fact;
	uint8_t id[1 + 120];
	bool there;
	TRY(call_body(call, &body));
	if (body.floor_class < FLOOR_DEFINITION)
		return fail(TX_MALFORMED, "class %u", body.floor_class);
	if (!is_registrar(call) && !is_member(call))
		return fail(SENDER_NOT_ALLOWED, "registrars and members set floors");
	id[0] = body.floor_class;
	size_t len = strlen(body.id);
	memcpy(id + 1, body.id, len);
	TRY(call_find(call, FACT_FLOOR, span_of(id, 1 + len), &fact, &there));
	if (there && body.version <= fact.version)
		return fail(VERSION_BELOW_FLOOR, "version %llu; the floor is %llu", (unsigned long long)body.version, (unsigned long long)fact.version);
	fact = (struct floor_fact){.from = call->ctx->index, .version = body.version};
	memcpy(fact.digest, body.digest, SHA256_SIZE);
	TRY(call_put(call, FACT_FLOOR, span_of(id, 1 + len), &fact));
	call_event(call, EVENT_FLOOR, span_str(body.id), body.version);
	return OK;
}

static result check_reporter(struct call *call)
{
	uint8_t address[ADDRESS_SIZE];
	struct processor_fact fact;
	bool there;
	if (is_processor(call) || is_registrar(call) || is_member(call))
		return OK;
	address_of(call->tx.sender, address);
	TRY(call_find(call, FACT_PROCESSOR, SPAN_ARRAY(address), &fact, &there));
	return there ? OK : fail(SENDER_NOT_ALLOWED, "processors, registrars and members report");
}

static result check_report_time(const struct call *call, uint64_t time)
{
	const uint64_t now = call->ctx->time_ms;
	if ((time > now ? time - now : now - time) > call->config.time_bound_ms)
		return fail(RECORD_TIME, "dated %llu ms, the batch %llu", (unsigned long long)time, (unsigned long long)now);
	return OK;
}

result apply_secure_mode(struct call *call)
{
	struct tx_secure_mode body;
	struct secure_mode_fact fact;
	uint8_t id[SHA384_SIZE + 16];
	bool there;
	TRY(call_body(call, &body));
	TRY(check_reporter(call));
	TRY(check_report_time(call, body.time));
	memcpy(id, body.measurement, SHA384_SIZE);
	memcpy(id + SHA384_SIZE, body.launch_id, 16);
	TRY(call_find(call, FACT_SECURE_MODE, SPAN_ARRAY(id), &fact, &there));
	bool inside = there && !fact.span.has_until;
	if (inside == body.enter)
		return fail(ALREADY_THERE, body.enter ? "the launch is in secure mode" : "the launch is not in secure mode");
	if (body.enter)
		fact = (struct secure_mode_fact){.span = {.from = call->ctx->index}};
	else
		fact.span = (struct span_of_log){fact.span.from, call->ctx->index, true};
	TRY(call_put(call, FACT_SECURE_MODE, SPAN_ARRAY(id), &fact));
	call_event(call, EVENT_SECURE_MODE, SPAN_ARRAY(body.launch_id), body.enter);
	return OK;
}

result apply_event(struct call *call)
{
	struct tx_event body;
	TRY(call_body(call, &body));
	if (body.event_class < EVENT_HSM_GRANT)
		return fail(TX_MALFORMED, "class %u", body.event_class);
	TRY(check_reporter(call));
	TRY(check_report_time(call, body.time));
	call_event(call, EVENT_REPORTED, SPAN_ARRAY(body.digest), body.event_class);
	return OK;
}
