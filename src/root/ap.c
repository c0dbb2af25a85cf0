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
	ap_end_all_launches(ap);
	secret_free(&ap->wrap_key);
	storage_keys_free(&ap->storage);
	ap_epoch_free(&ap->current);
	ap_epoch_free(&ap->previous);
	ap_rotation_free(ap->rotation);
	ap_rotation_free(ap->prepared);
	ap_candidate_forget(&ap->candidate);
	bytes_free(&ap->inception);
	bytes_free(&ap->secrets);
	bytes_free(&ap->next_seed);
	bytes_free(&ap->old_key);
	bytes_free(&ap->upgrades_bytes);
	bytes_free(&ap->reply);
	bytes_free(&ap->persist);
	boot_log_free(&ap->log);
	arena_wipe(&ap->scratch);
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

/* A state that the TPM does not confirm is kept for its recovery, and of no other use. */
static void judge_counter(struct ap *ap)
{
	if (!ap_has_root(ap))
		return;
	ap->refusal = ap_counter_judge(ap->platform, ap->current.epoch.counter, &ap->commit);
	if (ap->refusal == OK)
		return;
	ap->state = AP_FAILED;
	snprintf(ap->failure, sizeof(ap->failure), "%s", failure_text());
}

result ap_new(const struct ap_config *config, uint64_t now_ms, struct ap **out, struct ap_action *out_first)
{
	struct ap *ap = calloc(1, sizeof(*ap));
	if (!ap)
		return fail(NO_MEMORY, "secure processor");
	ap->state = AP_EMPTY;
	ap->instrumented = config->instrumented;
	ap->without_namespaces = config->without_namespaces;
	ap->secret_memory = config->secret_memory;
	ap->token = config->token;
	ap->denials = config->denials;
	ap->denial_count = config->denial_count;
	ap->platform = config->platform;
	ap->scratch = arena_of(SCRATCH_MAX);
	boot_log_init(&ap->log);
	result loaded = secret_copy(secret_span(config->wrap_key), &ap->wrap_key);
	if (loaded == OK && config->state.len)
		loaded = ap_load_state(ap, config->state);
	if (loaded == OK)
		loaded = check_clock(ap, now_ms);
	if (loaded == OK)
		judge_counter(ap);
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
	if (now_ms < ap->current.epoch.not_before || now_ms > ap->current.epoch.not_after)
		return fail(EPOCH_EXPIRED, "epoch %llu", (unsigned long long)ap->current.epoch.epoch);
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
		.era = ap->current.epoch.era,
		.epoch = ap->current.epoch.epoch,
		.epoch_record = bytes_span(&ap->current.record),
		.trust_domain = ap->trust_domain,
		.secret_memory = ap->secret_memory,
		.instrumented = ap->instrumented,
		.live_launches = ap->live,
		.denials = (struct ap_denial *)ap->denials,
		.denial_count = ap->denial_count,
		.inception = bytes_span(&ap->inception),
		.draining = ap->draining,
		.rotating = ap->rotation != NULL,
		.candidate = bytes_span(&ap->candidate.payload),
		.high_water = ap->high_water,
		.refusal = (uint16_t)ap->refusal,
		.has_tpm = ap->platform != NULL,
		.counter = ap->platform ? ap->platform->counter : 0,
	};
	memcpy(health.rot_id, ap->rot_id, OID_SIZE);
	return ap_reply_with(ap, &ap_health_schema, &health);
}

void ap_fill_challenge(struct ap *ap, const uint8_t challenge[static 32], const char *purpose, uint64_t now_ms,
	struct rot_challenge *out)
{
	*out = (struct rot_challenge){
		.v = 1,
		.era = ap->current.epoch.era,
		.epoch = ap->current.epoch.epoch,
		.boot_gen = ap->boot_gen,
		.purpose = purpose,
		.time = now_ms,
		.registers = ap->log.registers,
		.register_count = REGISTER_COUNT,
		.instrumented = ap->instrumented,
	};
	memcpy(out->challenge, challenge, 32);
	memcpy(out->epoch_oid, ap->current.oid, OID_SIZE);
	memcpy(out->rot_id, ap->rot_id, OID_SIZE);
}

result ap_sign_challenge(struct ap *ap, const uint8_t challenge[static 32], const char *purpose, uint64_t now_ms,
	struct bytes *out)
{
	struct rot_challenge answer;
	ap_fill_challenge(ap, challenge, purpose, now_ms, &answer);
	return object_sign(KIND_ROT_CHALLENGE, &answer, &ap->current.keys.sign, out, NULL);
}

result ap_handle_attest(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_attest request;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(schema_decode(&ap_attest_schema, body, &ap->scratch, &request));
	TRY(ap_sign_challenge(ap, request.challenge, request.purpose, now_ms, &object));
	struct ap_rot_available answer = {bytes_span(&ap->current.record), bytes_span(&object)};
	return ap_reply_with(ap, &ap_rot_available_schema, &answer);
}

/*
 * A write, or the TPM's count behind it, failed: what is on disk may be the next epoch already, and counted. Writing what is
 * held here over it would roll it back.
 */
static bool may_have_moved_on(const struct ap *ap)
{
	return ap->state == AP_FAILED && !ap->measurement_failed && ap->refusal == OK;
}

result ap_handle_shutdown(struct ap *ap, struct span body, uint64_t now_ms)
{
	if (body.len)
		return fail(TRAILING_BYTES, "SHUTDOWN has no body");
	struct ap_done done = {true};
	TRY(ap_reply_with(ap, &ap_done_schema, &done));
	if (may_have_moved_on(ap))
		return OK;
	/* The latest time goes to disk, so that a clock set back later is noticed. */
	TRY(ap_encode_state(ap));
	ap->waiting = true;
	return OK;
}

/* ---- Dispatch ---------------------------------------------------------------------------------- */

#define IN(state) (1u << (state))
#define ANY_STATE (IN(AP_EMPTY) | IN(AP_MEASURED) | IN(AP_STARTING) | IN(AP_READY) | IN(AP_FAILED))

/*
 * Which epoch a request with an expected head may name. What changes the root names the current one. What harms nothing may
 * also name the one before: it was on its way when the epoch changed. Such a request is done under the current epoch,
 * except SEAL, which opens a box of either, and DERIVE, whose result is the named epoch's.
 */
enum epoch_rule {
	NOW_ONLY,
	NOW_OR_LEFT,  /* until DRAIN, or the next rotation */
	NOW_OR_AGAIN, /* the handler tells a repeated request from a late one */
};

enum { KEEPS = false, PERSISTS = true };

static const struct move {
	enum ipq_type type;
	unsigned allowed; /* states */
	enum epoch_rule epochs;
	bool persists; /* waits for a rotation that is under way */
	result (*handle)(struct ap *ap, struct span body, uint64_t now_ms);
} moves[] = {
	{IPQ_HEALTH, ANY_STATE, NOW_ONLY, KEEPS, ap_handle_health},
	{IPQ_SHUTDOWN, ANY_STATE, NOW_ONLY, PERSISTS, ap_handle_shutdown},
	{IPQ_READ_MEASUREMENTS, ANY_STATE, NOW_ONLY, KEEPS, ap_handle_read_measurements},
	{IPQ_EXTEND, ANY_STATE, NOW_ONLY, KEEPS, ap_handle_extend},
	{IPQ_ACCEPT_MEASUREMENTS, IN(AP_FAILED), NOW_ONLY, PERSISTS, ap_handle_accept},
	{IPQ_GENERATE_ROT, IN(AP_MEASURED), NOW_ONLY, PERSISTS, ap_handle_generate},
	{IPQ_ROTATE_ROT, IN(AP_READY), NOW_OR_AGAIN, PERSISTS, ap_handle_rotate},
	{IPQ_DRAIN, IN(AP_READY), NOW_ONLY, PERSISTS, ap_handle_drain},
	{IPQ_SET_RECOVERY, IN(AP_READY), NOW_ONLY, PERSISTS, ap_handle_set_recovery},
	{IPQ_RECOVER, IN(AP_MEASURED) | IN(AP_READY) | IN(AP_FAILED), NOW_ONLY, PERSISTS, ap_handle_recover},
	{IPQ_ADOPT_CANDIDATE, IN(AP_MEASURED) | IN(AP_READY) | IN(AP_FAILED), NOW_ONLY, PERSISTS, ap_handle_adopt_candidate},
	{IPQ_ATTEST, IN(AP_STARTING) | IN(AP_READY) | IN(AP_FAILED), NOW_ONLY, KEEPS, ap_handle_attest},
	{IPQ_EXTEND_LAUNCH, IN(AP_READY), NOW_OR_LEFT, KEEPS, ap_handle_extend_launch},
	{IPQ_ENDORSE_BEGIN, IN(AP_READY), NOW_OR_LEFT, KEEPS, ap_handle_endorse_begin},
	{IPQ_ENDORSE_FINISH, IN(AP_READY), NOW_OR_LEFT, KEEPS, ap_handle_endorse_finish},
	{IPQ_END_LAUNCH, IN(AP_READY), NOW_OR_LEFT, KEEPS, ap_handle_end_launch},
	{IPQ_REISSUE, IN(AP_READY), NOW_OR_LEFT, KEEPS, ap_handle_reissue},
	{IPQ_SIGN, IN(AP_READY), NOW_OR_LEFT, KEEPS, ap_handle_sign},
	{IPQ_SEAL, IN(AP_READY), NOW_OR_LEFT, KEEPS, ap_handle_seal},
	{IPQ_UNSEAL, IN(AP_READY), NOW_OR_LEFT, KEEPS, ap_handle_unseal},
	{IPQ_DERIVE, IN(AP_READY), NOW_OR_LEFT, KEEPS, ap_handle_derive},
	{IPQ_QUOTE, IN(AP_READY), NOW_OR_LEFT, PERSISTS, ap_handle_quote},
	{IPQ_ENROL, ANY_STATE, NOW_ONLY, PERSISTS, ap_handle_enrol},
	{IPQ_HEAD, IN(AP_READY), NOW_OR_LEFT, PERSISTS, ap_handle_head},
	{IPQ_PIN, ANY_STATE, NOW_ONLY, PERSISTS, ap_handle_pin},
	{IPQ_AUTHORISE, IN(AP_READY) | IN(AP_FAILED), NOW_ONLY, PERSISTS, ap_handle_authorise},
	{IPQ_BACKUP, IN(AP_READY), NOW_ONLY, KEEPS, ap_handle_backup},
	{IPQ_RESTORE, IN(AP_READY), NOW_ONLY, PERSISTS, ap_handle_restore},
};

static result refuse_state(const struct ap *ap, const char *name)
{
	if (ap->state == AP_FAILED && ap->refusal != OK)
		return fail(ap->refusal, "%s: %s", name, ap->failure);
	if (ap->state == AP_FAILED)
		return fail(MEASUREMENT_WRONG, "%s: %s", name, ap->failure);
	return fail(ap->state == AP_EMPTY || ap->state == AP_MEASURED ? NO_ROOT : NOT_READY, "%s while %s", name,
		ap_state_name(ap->state));
}

static result judge_epoch(struct ap *ap, const struct move *move, struct ipq_expected expected)
{
	const struct epoch *now = &ap->current.epoch;
	ap->asked = &ap->current;
	if (expected.era == now->era && expected.epoch == now->epoch)
		return OK;
	ap->asked = NULL;
	if (move->type == IPQ_GENERATE_ROT && ap_has_root(ap))
		return fail(ROOT_EXISTS, "epoch %llu", (unsigned long long)now->epoch);
	bool before = expected.era == now->era && expected.epoch + 1 == now->epoch;
	if (before && move->epochs == NOW_OR_AGAIN)
		return OK;
	bool left = ap->has_left && expected.era == ap->left.era && expected.epoch == ap->left.epoch;
	if (left && move->epochs == NOW_OR_LEFT) {
		ap->asked = ap->previous.record.len ? &ap->previous : NULL;
		return OK;
	}
	return fail(EPOCH_OLD, "asked for era %u epoch %llu, current is %u, %llu", expected.era,
		(unsigned long long)expected.epoch, now->era, (unsigned long long)now->epoch);
}

static result take_epoch(struct ap *ap, const struct move *move, const struct ipq_message_row *message, struct span *body)
{
	struct reader r = reader_of(*body);
	struct ipq_expected expected;
	ap->asked = &ap->current;
	if (!message->expects_epoch)
		return OK;
	TRY(ipq_take_expected(&r, &expected));
	*body = span_of(r.at, reader_left(&r));
	return judge_epoch(ap, move, expected);
}

static const struct move *find_move(enum ipq_type type)
{
	for (size_t i = 0; i < COUNT_OF(moves); i++)
		if (moves[i].type == type)
			return &moves[i];
	return NULL;
}

static result dispatch(struct ap *ap, enum ipq_type type, struct span body, uint64_t now_ms)
{
	const struct ipq_message_row *message = ipq_message_row(type);
	const struct move *move = find_move(type);
	if (!message || !move)
		return fail(NOT_SUPPORTED, "request %s (%d)", ipq_message_name(type), type);
	TRY(check_clock(ap, now_ms));
	ap_end_grace(ap, now_ms);
	TRY(take_epoch(ap, move, message, &body));
	if (type == IPQ_GENERATE_ROT && ap_has_root(ap))
		return fail(ROOT_EXISTS, "epoch %llu", (unsigned long long)ap->current.epoch.epoch);
	if (!(move->allowed & IN(ap->state)))
		return refuse_state(ap, message->name);
	if (move->persists && type != IPQ_SHUTDOWN && may_have_moved_on(ap))
		return fail(NOT_READY, "%s; start it again", ap->failure);
	if (move->persists && ap->rotation)
		return fail(ROTATION_RUNNING, "asked for %s", message->name);
	return move->handle(ap, body, now_ms);
}

void ap_error_action(struct ap *ap, result reason, const char *text, struct ap_action *out)
{
	snprintf(ap->error, sizeof(ap->error), "%s", text);
	*out = (struct ap_action){.kind = AP_REPLY_ERROR, .reason = reason, .text = ap->error};
}

void ap_step(struct ap *ap, enum ipq_type type, struct span body, uint64_t now_ms, struct ap_action *out)
{
	const struct ap_rotation *before = ap->rotation;
	result handled = ap->waiting ? fail(ILLEGAL_STATE, "a request while a write is under way") :
				       dispatch(ap, type, body, now_ms);
	ap->asked = NULL;
	arena_wipe(&ap->scratch);
	if (handled != OK)
		ap_error_action(ap, handled, failure_text(), out);
	else if (ap->rotation != before)
		*out = (struct ap_action){.kind = AP_ROTATE, .rotation = ap->rotation};
	else if (ap->waiting)
		*out = (struct ap_action){.kind = AP_PERSIST, .persist = bytes_span(&ap->persist)};
	else
		*out = (struct ap_action){.kind = AP_REPLY, .reply = bytes_span(&ap->reply)};
}

/* Whether the bytes reached the disk is unknown: nothing of this state is used any more. */
void ap_fail_write(struct ap *ap)
{
	ap->state = AP_FAILED;
	ap->measurement_failed = false;
	snprintf(ap->failure, sizeof(ap->failure), "the state could not be written");
}

void ap_persisted(struct ap *ap, result written, struct ap_action *out)
{
	ap->waiting = false;
	if (written == OK && ap->commit)
		written = ap_counter_commit(ap->platform, ap->current.epoch.counter);
	ap->commit = false;
	if (written == OK) {
		*out = (struct ap_action){.kind = AP_REPLY, .reply = bytes_span(&ap->reply)};
		return;
	}
	ap_fail_write(ap);
	ap_error_action(ap, written, failure_text(), out);
}
