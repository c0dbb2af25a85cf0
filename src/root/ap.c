#include "root/ap_internal.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * Theory of operation. One table (`moves`) says which request may come in which state and who handles it. A handler
 * decodes its body into the scratch arena, checks, and writes the reply; one that changes durable state also asks for
 * AP_PERSIST, and its reply goes out only after the write was acknowledged.
 */

bool ap_remembers(const struct remembered *set, const uint8_t *id, size_t size)
{
	for (size_t i = 0; i < set->count; i++)
		if (memcmp(set->ids[i], id, size) == 0)
			return true;
	return false;
}

result ap_remember(struct remembered *set, const uint8_t *id, size_t size)
{
	if (set->count == AP_MAX_REMEMBERED)
		return fail(TOO_LARGE, "%d launches in one boot; restart `trothd host`", AP_MAX_REMEMBERED);
	if (set->count == set->cap) {
		size_t cap = set->cap ? set->cap * 2 : 64;
		void *ids = realloc(set->ids, cap * sizeof(*set->ids));
		if (!ids)
			return fail(NO_MEMORY, "launch table");
		set->ids = ids;
		set->cap = cap;
	}
	memset(set->ids[set->count], 0, sizeof(*set->ids));
	memcpy(set->ids[set->count++], id, size);
	return OK;
}

void ap_free(struct ap *ap)
{
	if (!ap)
		return;
	for (struct launch_row *row = ap->launches; row;) {
		struct launch_row *next = row->next;
		ap_launch_row_free(row);
		row = next;
	}
	secret_free(&ap->wrap_key);
	secret_free(&ap->storage_key);
	rot_keys_free(&ap->keys);
	bytes_free(&ap->epoch_record);
	bytes_free(&ap->secrets);
	bytes_free(&ap->next_seed);
	bytes_free(&ap->reply);
	bytes_free(&ap->persist);
	boot_log_free(&ap->log);
	arena_free(&ap->epoch_arena);
	arena_free(&ap->scratch);
	free(ap->launch_ids.ids);
	free(ap->signed_runs.ids);
	free(ap->known_runs.ids);
	free(ap);
}

uint64_t ap_boot_gen(const struct ap *ap)
{
	return ap->boot_gen;
}

static result check_clock(struct ap *ap, uint64_t now_ms)
{
	if (now_ms + CLOCK_BACK_MS < ap->high_water)
		return fail(CLOCK_BACK, "the clock is %llu s behind the latest time seen",
			(unsigned long long)((ap->high_water - now_ms) / 1000));
	if (now_ms > ap->high_water)
		ap->high_water = now_ms;
	return OK;
}

result ap_new(const struct ap_config *config, uint64_t now_ms, struct ap **out, struct ap_action *out_first)
{
	struct ap *ap = calloc(1, sizeof(*ap));
	if (!ap)
		return fail(NO_MEMORY, "secure processor");
	ap->state = AP_EMPTY;
	ap->instrumented = config->instrumented;
	ap->secret_memory = config->secret_memory;
	ap->denials = config->denials;
	ap->denial_count = config->denial_count;
	ap->scratch = arena_of(SCRATCH_MAX);
	ap->epoch_arena = arena_of(64 * 1024);
	boot_log_init(&ap->log);
	result loaded = secret_copy(secret_span(config->wrap_key), &ap->wrap_key);
	if (loaded == OK && config->state.len)
		loaded = ap_load_state(ap, config->state);
	if (loaded == OK)
		loaded = check_clock(ap, now_ms);
	ap->boot_gen++;
	if (loaded == OK)
		loaded = ap_encode_state(ap);
	if (loaded != OK) {
		ap_free(ap);
		return loaded;
	}
	ap->waiting = true;
	*out_first = (struct ap_action){.kind = AP_PERSIST, .persist = bytes_span(&ap->persist)};
	*out = ap;
	return OK;
}

/* ---- Helpers of the handlers ------------------------------------------------------------------ */

result ap_reply_with(struct ap *ap, const struct schema *schema, const void *body)
{
	wipe(ap->reply.data, ap->reply.len);
	bytes_free(&ap->reply);
	TRY(schema_encode(schema, body, &ap->reply));
	if (ap->reply.len > REPLY_MAX)
		return fail(TOO_LARGE, "a reply of %zu bytes", ap->reply.len);
	return OK;
}

result ap_check_validity(const struct ap *ap, uint64_t now_ms)
{
	if (now_ms < ap->epoch.not_before || now_ms > ap->epoch.not_after)
		return fail(EPOCH_EXPIRED, "epoch %llu", (unsigned long long)ap->epoch.epoch);
	return OK;
}

/* ---- Health, attestation, measurements --------------------------------------------------------- */

result ap_handle_health(struct ap *ap, struct span body, uint64_t now_ms)
{
	if (body.len)
		return fail(TRAILING_BYTES, "HEALTH has no body");
	struct ap_health health = {
		.state = (uint8_t)ap->state,
		.failure = ap->failure,
		.boot_gen = ap->boot_gen,
		.era = ap->epoch.era,
		.epoch = ap->epoch.epoch,
		.epoch_record = bytes_span(&ap->epoch_record),
		.trust_domain = ap->trust_domain,
		.secret_memory = ap->secret_memory,
		.instrumented = ap->instrumented,
		.live_launches = ap->live,
		.denials = (struct ap_denial *)ap->denials,
		.denial_count = ap->denial_count,
	};
	memcpy(health.rot_id, ap->rot_id, OID_SIZE);
	return ap_reply_with(ap, &ap_health_schema, &health);
}

result ap_sign_challenge(struct ap *ap, const uint8_t challenge[static 32], const char *purpose, uint64_t now_ms,
	struct bytes *out)
{
	struct rot_challenge answer = {
		.v = 1,
		.era = ap->epoch.era,
		.epoch = ap->epoch.epoch,
		.boot_gen = ap->boot_gen,
		.purpose = purpose,
		.time = now_ms,
		.registers = ap->log.registers,
		.register_count = REGISTER_COUNT,
		.instrumented = ap->instrumented,
	};
	memcpy(answer.challenge, challenge, 32);
	memcpy(answer.epoch_oid, ap->epoch_oid, OID_SIZE);
	memcpy(answer.rot_id, ap->rot_id, OID_SIZE);
	return object_sign(KIND_ROT_CHALLENGE, &answer, &ap->keys.sign, out, NULL);
}

result ap_handle_attest(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_attest request;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(schema_decode(&ap_attest_schema, body, &ap->scratch, &request));
	TRY(ap_sign_challenge(ap, request.challenge, request.purpose, now_ms, &object));
	struct ap_rot_available answer = {bytes_span(&ap->epoch_record), bytes_span(&object)};
	return ap_reply_with(ap, &ap_rot_available_schema, &answer);
}

result ap_handle_shutdown(struct ap *ap, struct span body, uint64_t now_ms)
{
	if (body.len)
		return fail(TRAILING_BYTES, "SHUTDOWN has no body");
	struct ap_done done = {true};
	TRY(ap_reply_with(ap, &ap_done_schema, &done));
	/* The latest time goes to disk, so that a clock set back later is noticed. */
	TRY(ap_encode_state(ap));
	ap->waiting = true;
	return OK;
}

/* ---- Dispatch ---------------------------------------------------------------------------------- */

#define IN(state) (1u << (state))
#define ANY_STATE (IN(AP_EMPTY) | IN(AP_MEASURED) | IN(AP_STARTING) | IN(AP_READY) | IN(AP_FAILED))

static const struct move {
	enum ipq_type type;
	unsigned allowed; /* states */
	result (*handle)(struct ap *ap, struct span body, uint64_t now_ms);
} moves[] = {
	{IPQ_HEALTH, ANY_STATE, ap_handle_health},
	{IPQ_SHUTDOWN, ANY_STATE, ap_handle_shutdown},
	{IPQ_READ_MEASUREMENTS, ANY_STATE, ap_handle_read_measurements},
	{IPQ_EXTEND, ANY_STATE, ap_handle_extend},
	{IPQ_ACCEPT_MEASUREMENTS, IN(AP_FAILED), ap_handle_accept},
	{IPQ_GENERATE_ROT, IN(AP_MEASURED), ap_handle_generate},
	{IPQ_ATTEST, IN(AP_STARTING) | IN(AP_READY) | IN(AP_FAILED), ap_handle_attest},
	{IPQ_EXTEND_LAUNCH, IN(AP_READY), ap_handle_extend_launch},
	{IPQ_ENDORSE_BEGIN, IN(AP_READY), ap_handle_endorse_begin},
	{IPQ_ENDORSE_FINISH, IN(AP_READY), ap_handle_endorse_finish},
	{IPQ_END_LAUNCH, IN(AP_READY), ap_handle_end_launch},
	{IPQ_SIGN, IN(AP_READY), ap_handle_sign},
	{IPQ_SEAL, IN(AP_READY), ap_handle_seal},
	{IPQ_UNSEAL, IN(AP_READY), ap_handle_unseal},
	{IPQ_DERIVE, IN(AP_READY), ap_handle_derive},
};

static result refuse_state(const struct ap *ap, const char *name)
{
	if (ap->state == AP_FAILED)
		return fail(MEASUREMENT_WRONG, "%s: %s", name, ap->failure);
	return fail(ap->state == AP_EMPTY || ap->state == AP_MEASURED ? NO_ROOT : NOT_READY, "%s while %s", name,
		ap_state_name(ap->state));
}

static result take_epoch(const struct ap *ap, const struct ipq_message_row *message, struct span *body)
{
	if (!message->expects_epoch)
		return OK;
	struct reader r = reader_of(*body);
	struct ipq_expected expected;
	TRY(ipq_take_expected(&r, &expected));
	*body = span_of(r.at, reader_left(&r));
	if (expected.era == ap->epoch.era && expected.epoch == ap->epoch.epoch)
		return OK;
	if (message->type == IPQ_GENERATE_ROT && ap->epoch_record.len)
		return fail(ROOT_EXISTS, "epoch %llu", (unsigned long long)ap->epoch.epoch);
	return fail(EPOCH_OLD, "asked for era %u epoch %llu, current is %u, %llu", expected.era,
		(unsigned long long)expected.epoch, ap->epoch.era, (unsigned long long)ap->epoch.epoch);
}

static result dispatch(struct ap *ap, enum ipq_type type, struct span body, uint64_t now_ms)
{
	const struct ipq_message_row *message = ipq_message_row(type);
	for (size_t i = 0; message && i < COUNT_OF(moves); i++) {
		if (moves[i].type != type)
			continue;
		TRY(check_clock(ap, now_ms));
		TRY(take_epoch(ap, message, &body));
		if (type == IPQ_GENERATE_ROT && ap->epoch_record.len)
			return fail(ROOT_EXISTS, "epoch %llu", (unsigned long long)ap->epoch.epoch);
		if (!(moves[i].allowed & IN(ap->state)))
			return refuse_state(ap, message->name);
		return moves[i].handle(ap, body, now_ms);
	}
	return fail(NOT_SUPPORTED, "request %s (%d)", ipq_message_name(type), type);
}

static void error_action(struct ap *ap, result reason, struct ap_action *out)
{
	snprintf(ap->error, sizeof(ap->error), "%s", failure_text());
	*out = (struct ap_action){.kind = AP_REPLY_ERROR, .reason = reason, .text = ap->error};
}

void ap_step(struct ap *ap, enum ipq_type type, struct span body, uint64_t now_ms, struct ap_action *out)
{
	result handled = ap->waiting ? fail(ILLEGAL_STATE, "a request while a write is under way") :
				       dispatch(ap, type, body, now_ms);
	arena_free(&ap->scratch);
	if (handled != OK)
		error_action(ap, handled, out);
	else if (ap->waiting)
		*out = (struct ap_action){.kind = AP_PERSIST, .persist = bytes_span(&ap->persist)};
	else
		*out = (struct ap_action){.kind = AP_REPLY, .reply = bytes_span(&ap->reply)};
}

void ap_persisted(struct ap *ap, result written, struct ap_action *out)
{
	ap->waiting = false;
	if (written == OK) {
		*out = (struct ap_action){.kind = AP_REPLY, .reply = bytes_span(&ap->reply)};
		return;
	}
	/* Whether the bytes reached the disk is unknown: nothing of this state is used any more. */
	ap->state = AP_FAILED;
	snprintf(ap->failure, sizeof(ap->failure), "the state could not be written");
	error_action(ap, written, out);
}
