#include "root/ap_rotation.h"

#include <stdio.h>
#include <stdlib.h>

#include "crypto/random.h"
#include "crypto/x509.h"
#include "object/epoch_rules.h"

/*
 * How epochs begin and end (constructions/epochs.md, docs/PROTOCOL.root "Rotation").
 *
 * A rotation makes the record and the state of the next epoch on copies and writes that state in one go: INTENT and PREPARED
 * are one atomic write, so that whatever is found on disk after a crash is either the old epoch or the whole new one,
 * and a record is never made twice. A record whose write was refused for want of room may still have reached the disk in
 * part: it is kept, and the next attempt writes the same record.
 */

/* ---- Records ------------------------------------------------------------------------------------ */

result ap_check_times(uint64_t valid_ms)
{
	const uint64_t day = 24ULL * 3600 * 1000;
	if (valid_ms < 60 * 1000 || valid_ms > 3660 * day)
		return fail(BAD_VALUE, "a validity of %llu ms; allowed is a minute to ten years", (unsigned long long)valid_ms);
	return OK;
}

static uint64_t lifetime(const struct epoch *epoch)
{
	uint64_t ms = epoch->not_after - epoch->not_before;
	return ms > CERT_BEFORE_MS ? ms - CERT_BEFORE_MS : ms;
}

void ap_epoch_times(struct epoch *epoch, uint64_t now_ms, uint64_t valid_ms, const struct epoch *before)
{
	uint64_t from = now_ms - now_ms % 1000;
	epoch->not_before = from > CERT_BEFORE_MS ? from - CERT_BEFORE_MS : 0;
	epoch->not_after = from + (valid_ms || !before ? valid_ms : lifetime(before));
}

void ap_epoch_keys(struct epoch *epoch, const struct rot_keys *keys)
{
	memcpy(epoch->sign_pk, keys->sign.point, POINT_SIZE);
	memcpy(epoch->kem_pk, keys->kem.point, POINT_SIZE);
	memcpy(epoch->salt, keys->salt, sizeof(epoch->salt));
}

result ap_epoch_after(const struct ap_epoch *before, const uint8_t rot_id[static OID_SIZE], struct epoch *out)
{
	if (before->epoch.epoch == UINT64_MAX)
		return fail(TOO_LARGE, "the epochs of this root are used up");
	*out = (struct epoch){
		.v = 1,
		.era = before->epoch.era,
		.epoch = before->epoch.epoch + 1,
		.suite = SUITE_P256,
		.recovery = before->epoch.recovery,
		.has_recovery = before->epoch.has_recovery,
		.counter = before->epoch.counter,
		.state = EPOCH_ACTIVE,
	};
	memcpy(out->rot_id, rot_id, OID_SIZE);
	memcpy(out->prev, before->oid, OID_SIZE);
	return OK;
}

result ap_seed_wrap(const struct secret *wrap_key, struct span share, const char *label, struct span seeds, struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(256);
	TRY(state_wrap(wrap_key, share, label, seeds, &w));
	return writer_take(&w, out);
}

/* ---- Generation --------------------------------------------------------------------------------- */

static result make_inception(struct ap *ap, const struct ap_generate *request, const struct rot_keys *keys,
	const struct secret *next_seed, uint64_t now_ms, struct bytes *out_record)
{
	struct epoch epoch = {
		.v = 1,
		.epoch = 1,
		.suite = SUITE_P256,
		.recovery = request->recovery,
		.has_recovery = request->has_recovery,
		.grace_s = request->grace_s,
		.counter = ap_counter_next(ap->platform, (struct epoch_counter){COUNTER_NONE, 0}),
		.state = EPOCH_ACTIVE,
		.reason = EPOCH_INCEPTION,
	};
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	ap_epoch_times(&epoch, now_ms, request->valid_ms, NULL);
	ap_epoch_keys(&epoch, keys);
	TRY(rot_next_commitment(next_seed, ap->token, epoch.next));
	memcpy(epoch.measurement, ap->ap_measurement, SHA384_SIZE);
	TRY(schema_encode(&epoch_schema, &epoch, &payload));
	const struct key *signers[] = {&keys->sign};
	return cose_strict_sign_make(bytes_span(&payload), kind_label(KIND_EPOCH), signers, 1, out_record);
}

result ap_check_recovery(const struct epoch_recovery *recovery, bool has_recovery)
{
	if (!has_recovery)
		return OK;
	if (recovery->n != recovery->key_count || recovery->k < 1 || recovery->k > recovery->n)
		return fail(BAD_VALUE, "recovery by %u of %u with %zu keys", recovery->k, recovery->n, recovery->key_count);
	/* Beside them the new and the old key sign, and a record has no room for more. */
	if (recovery->k > COSE_MAX_SIGNERS - 2)
		return fail(BAD_VALUE, "recovery by %u keys; at most %d can sign one record", recovery->k, COSE_MAX_SIGNERS - 2);
	return OK;
}

result ap_check_trust_domain(const char *trust_domain)
{
	char uri[URI_MAX_LEN + 1];
	const uint8_t zero[OID_SIZE] = {0};
	return ire_uri(zero, trust_domain, "x", uri);
}

/* Undoes a generation whose record could not be made or written: as if it had not been asked. */
static void forget_root(struct ap *ap)
{
	ap_epoch_free(&ap->current);
	storage_keys_free(&ap->storage);
	bytes_free(&ap->inception);
	bytes_free(&ap->secrets);
	bytes_free(&ap->next_seed);
	memset(ap->rot_id, 0, OID_SIZE);
	ap->trust_domain[0] = '\0';
	ap->state = AP_MEASURED;
}

static result generate(struct ap *ap, const struct ap_generate *request, uint64_t now_ms)
{
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret next_seed = SECRET_EMPTY;
	CLEANUP(rot_keys_free) struct rot_keys keys = {0};
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(ap_seed_new(ap->platform, SPAN_ARRAY(request->host_seed), &seed));
	TRY(ap_seed_new(ap->platform, SPAN_ARRAY(request->host_seed), &next_seed));
	TRY(rot_keys_make(&seed, ap->token, &keys));
	TRY(make_inception(ap, request, &keys, &next_seed, now_ms, &ap->inception));
	TRY(ap_epoch_open(bytes_span(&ap->inception), &ap->current));
	ap->current.keys = keys;
	keys = (struct rot_keys){0}; /* transferred */
	memcpy(ap->rot_id, ap->current.oid, OID_SIZE);
	snprintf(ap->trust_domain, sizeof(ap->trust_domain), "%s", request->trust_domain);
	memcpy(ap->references, ap->log.registers, sizeof(ap->references));
	TRY(storage_keys_add(&ap->storage, 1));
	TRY(ap_wrap_secrets(&ap->wrap_key, &seed, &ap->storage, &ap->secrets));
	TRY(ap_seed_wrap(&ap->wrap_key, SPAN_ARRAY(request->host_share), "next seed", secret_span(&next_seed), &ap->next_seed));
	TRY(ap_sign_challenge(ap, request->challenge, "generate", now_ms, &object));
	struct ap_rot_available answer = {bytes_span(&ap->current.record), bytes_span(&object)};
	TRY(ap_reply_with(ap, &ap_rot_available_schema, &answer));
	return ap_encode_state(ap);
}

result ap_handle_generate(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_generate request;
	TRY(schema_decode(&ap_generate_schema, body, &ap->scratch, &request));
	TRY(ap_check_times(request.valid_ms));
	TRY(ap_check_recovery(&request.recovery, request.has_recovery));
	TRY(ap_check_trust_domain(request.trust_domain));
	ap_candidate_forget(&ap->candidate);
	result made = generate(ap, &request, now_ms);
	if (made != OK) {
		forget_root(ap);
		return made;
	}
	ap->state = AP_READY;
	ap->waiting = true;
	ap->commit = true;
	return OK;
}

/* ---- The work, on any thread --------------------------------------------------------------------- */

void ap_rotation_free(struct ap_rotation *r)
{
	if (!r)
		return;
	secret_free(&r->host_share);
	secret_free(&r->host_seed);
	secret_free(&r->wrap_key);
	key_free(&r->from_sign);
	storage_keys_free(&r->storage);
	ap_epoch_free(&r->next);
	bytes_free(&r->secrets);
	bytes_free(&r->next_seed);
	bytes_free(&r->state);
	bytes_free(&r->reply);
	arena_free(&r->arena);
	free(r);
}

result ap_open_next_seed(const struct secret *wrap_key, const struct secret *host_share, struct span wrapped, struct token *token,
	const struct epoch *before, struct secret *out_seed, struct rot_keys *out_keys)
{
	uint8_t opened[SHA256_SIZE];
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	CLEANUP(rot_keys_free) struct rot_keys keys = {0};
	TRY(state_unwrap(wrap_key, secret_span(host_share), "next seed", wrapped, &seed));
	TRY(rot_keys_open(&seed, token, &keys));
	epoch_next_commitment(keys.sign.point, keys.kem.point, keys.salt, opened);
	if (memcmp(opened, before->next, SHA256_SIZE) != 0)
		return fail(DIGEST_MISMATCH, "the stored next seed is not what epoch %llu committed to",
			(unsigned long long)before->epoch);
	*out_seed = secret_move(&seed);
	*out_keys = keys;
	keys = (struct rot_keys){0}; /* transferred */
	return OK;
}

static result sign_record(const struct ap_rotation *r, const struct epoch *epoch, const struct rot_keys *keys, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	TRY(schema_encode(&epoch_schema, epoch, &payload));
	const struct key *signers[] = {&keys->sign, &r->from_sign};
	return cose_strict_sign_make(bytes_span(&payload), kind_label(KIND_EPOCH), signers, COUNT_OF(signers), out);
}

result ap_rotation_keep(struct ap_rotation *r, struct span record, const struct secret *seed, const struct secret *next_seed,
	struct rot_keys *keys)
{
	CLEANUP(ap_epoch_free) struct ap_epoch next = {0};
	CLEANUP(bytes_free) struct bytes secrets = BYTES_EMPTY;
	TRY(ap_epoch_open(record, &next));
	TRY(ap_wrap_secrets(&r->wrap_key, seed, &r->storage, &secrets));
	TRY(ap_seed_wrap(&r->wrap_key, secret_span(&r->host_share), "next seed", secret_span(next_seed), &r->next_seed));
	next.keys = *keys;
	*keys = (struct rot_keys){0}; /* transferred */
	r->next = next;
	next = (struct ap_epoch){0}; /* transferred */
	r->secrets = bytes_move(&secrets);
	r->prepared = true;
	return OK;
}

static result prepare_scheduled(struct ap_rotation *r)
{
	struct epoch epoch;
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret next_seed = SECRET_EMPTY;
	CLEANUP(rot_keys_free) struct rot_keys keys = {0};
	CLEANUP(bytes_free) struct bytes record = BYTES_EMPTY;
	TRY(ap_open_next_seed(&r->wrap_key, &r->host_share, r->stored.next_seed, r->token, &r->from->epoch, &seed, &keys));
	TRY(ap_seed_new(r->platform, secret_span(&r->host_seed), &next_seed));
	TRY(ap_epoch_after(r->from, r->rot_id, &epoch));
	ap_epoch_times(&epoch, r->now_ms, r->valid_ms, &r->from->epoch);
	ap_epoch_keys(&epoch, &keys);
	TRY(rot_next_commitment(&next_seed, r->token, epoch.next));
	epoch.counter = ap_counter_next(r->platform, r->from->epoch.counter);
	epoch.grace_s = r->grace_s;
	epoch.reason = r->reason;
	memcpy(epoch.measurement, r->measurement, SHA384_SIZE);
	TRY(sign_record(r, &epoch, &keys, &record));
	return ap_rotation_keep(r, bytes_span(&record), &seed, &next_seed, &keys);
}

/* The new state in place of the old one; everything else of it stays. */
static void apply(struct ap_rotation *r)
{
	struct stored *stored = &r->stored;
	stored->epoch_record = bytes_span(&r->next.record);
	stored->secrets = bytes_span(&r->secrets);
	stored->next_seed = bytes_span(&r->next_seed);
	stored->storage_version = r->storage.keys[0].version;
	stored->has_last_request = r->kind == ROTATION_SCHEDULED;
	memcpy(stored->last_request, r->request_id, sizeof(stored->last_request));
	stored->in_token = r->token != NULL;
	stored->old_key = span_of(r->from->keys.sign_name.id, r->from->keys.sign_name.id_len);
	/* A recovery candidate outlasts rotations; one of this epoch's set does not. */
	if (r->kind == ROTATION_ADOPT || r->stored.candidate.inception.len == 0)
		stored->has_candidate = false;
	if (epoch_is_recovery(&r->next.epoch)) {
		stored->inception = stored->candidate.inception;
		stored->trust_domain = stored->candidate.trust_domain;
		stored->references = r->registers;
		stored->reference_count = 2;
	}
}

static result answer_available(struct ap_rotation *r)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct rot_challenge *answer = &r->answer;
	answer->era = r->next.epoch.era;
	answer->epoch = r->next.epoch.epoch;
	memcpy(answer->epoch_oid, r->next.oid, OID_SIZE);
	memcpy(answer->rot_id, r->next.epoch.rot_id, OID_SIZE);
	TRY(object_sign(KIND_ROT_CHALLENGE, answer, &r->next.keys.sign, &object, NULL));
	struct ap_rot_available reply = {bytes_span(&r->next.record), bytes_span(&object)};
	return schema_encode(&ap_rot_available_schema, &reply, &r->reply);
}

static result prepare(struct ap_rotation *r)
{
	if (r->kind == ROTATION_DRAIN) {
		struct ap_done done = {true};
		TRY(schema_encode(&ap_done_schema, &done, &r->reply));
		/* The key before its name: a drain that ends in between is simply done again. */
		if (r->stored.old_key.len)
			TRY(rot_token_destroy(r->token, r->stored.old_key));
		r->stored.old_key = SPAN_EMPTY;
		return ap_stored_encode(&r->stored, &r->wrap_key, &r->state);
	}
	if (!r->prepared)
		TRY(r->kind == ROTATION_ADOPT ? ap_prepare_adoption(r) : prepare_scheduled(r));
	apply(r);
	TRY(answer_available(r));
	return ap_stored_encode(&r->stored, &r->wrap_key, &r->state);
}

/* COMMIT, after PREPARED is durable. */
static result count(struct ap_rotation *r)
{
	if (r->kind == ROTATION_DRAIN)
		return OK;
	r->uncounted = true;
	TRY(ap_counter_commit(r->platform, r->next.epoch.counter));
	r->uncounted = false;
	return OK;
}

static result work(struct ap_rotation *r, ap_write *write, void *context)
{
	TRY(prepare(r));
	r->writing = true;
	for (unsigned slots = r->at_once ? 2 : 1; r->written < slots; r->written++) {
		TRY(write(context, bytes_span(&r->state)));
		if (r->written == 0)
			TRY(count(r));
	}
	return OK;
}

void ap_rotation_run(struct ap_rotation *r, ap_write *write, void *context)
{
	r->done = r->kind >= ERRAND_QUOTE ? ap_errand_run(r) : work(r, write, context);
	snprintf(r->text, sizeof(r->text), "%s", r->done == OK ? "" : failure_text());
}

/* ---- Beginning ----------------------------------------------------------------------------------- */

/* What a rotation takes along of the engine: copies, and views of what nothing changes while it is under way. */
static result take_along(struct ap *ap, struct ap_rotation *r)
{
	TRY(secret_copy(secret_span(&ap->wrap_key), &r->wrap_key));
	TRY(storage_keys_copy(&ap->storage, &r->storage));
	r->token = ap->token;
	r->platform = ap->platform;
	r->from = &ap->current;
	r->from_sign = key_ref(&ap->current.keys.sign);
	r->now_ms = ap->high_water;
	memcpy(r->rot_id, ap->rot_id, OID_SIZE);
	memcpy(r->measurement, ap->ap_measurement, SHA384_SIZE);
	return OK;
}

/* What also a second attempt takes as it is then. */
static void take_now(struct ap *ap, struct ap_rotation *r, const uint8_t *challenge, const char *purpose, uint64_t now_ms)
{
	bytes_free(&r->state);
	bytes_free(&r->reply);
	r->writing = false;
	ap_stored_of(ap, &r->stored);
	memcpy(r->registers, ap->log.registers, sizeof(r->registers));
	if (challenge)
		ap_fill_challenge(ap, challenge, purpose, now_ms, &r->answer);
	r->answer.registers = r->registers;
}

static result new_rotation(struct ap *ap, enum rotation_kind kind, struct span host_share, struct span host_seed,
	struct ap_rotation **out)
{
	struct ap_rotation *r = calloc(1, sizeof(*r));
	if (!r)
		return fail(NO_MEMORY, "rotation");
	r->kind = kind;
	r->arena = arena_of(64 * 1024);
	result taken = take_along(ap, r);
	if (taken == OK && host_share.len)
		taken = secret_copy(host_share, &r->host_share);
	if (taken == OK && host_seed.len)
		taken = secret_copy(host_seed, &r->host_seed);
	if (taken != OK) {
		ap_rotation_free(r);
		return taken;
	}
	*out = r;
	return OK;
}

result ap_errand_new(struct ap *ap, enum rotation_kind kind, struct ap_rotation **out)
{
	struct ap_rotation *r = calloc(1, sizeof(*r));
	if (!r)
		return fail(NO_MEMORY, "work of the TPM");
	r->kind = kind;
	r->arena = arena_of(EVIDENCE_MAX);
	r->platform = ap->platform;
	*out = r;
	return OK;
}

result ap_begin_rotation(struct ap *ap, enum rotation_kind kind, struct span host_share, struct span host_seed,
	const uint8_t *challenge, uint64_t now_ms, struct ap_rotation **out)
{
	bool again = ap->prepared && kind != ROTATION_DRAIN;
	struct ap_rotation *r = ap->prepared;
	if (!again)
		TRY(new_rotation(ap, kind, host_share, host_seed, &r));
	else
		ap->prepared = NULL;
	take_now(ap, r, challenge, kind == ROTATION_ADOPT ? "adopt" : "rotate", now_ms);
	ap->rotation = r;
	*out = again ? NULL : r;
	return OK;
}

static result check_rotate(const struct ap *ap, const struct ap_rotate *request)
{
	if (request->reason != EPOCH_SCHEDULED && request->reason != EPOCH_EVENT && request->reason != EPOCH_OPERATOR)
		return fail(BAD_VALUE, "reason %u of a rotation", request->reason);
	if (request->valid_ms)
		TRY(ap_check_times(request->valid_ms));
	if (ap->current.epoch.epoch == UINT64_MAX)
		return fail(TOO_LARGE, "the epochs of this root are used up");
	if (ap->draining && !request->emergency)
		return fail(DRAIN_PENDING, "epoch %llu", (unsigned long long)ap->left.epoch);
	return OK;
}

/* The rotation that this request asked for is done; its reply was lost. */
static result answer_again(struct ap *ap, const struct ap_rotate *request, uint64_t now_ms)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(ap_sign_challenge(ap, request->challenge, "rotate", now_ms, &object));
	struct ap_rot_available answer = {bytes_span(&ap->current.record), bytes_span(&object)};
	return ap_reply_with(ap, &ap_rot_available_schema, &answer);
}

static result rotate(struct ap *ap, const struct ap_rotate *request, uint64_t now_ms)
{
	struct ap_rotation *r;
	bool same = ap->has_last_request && memcmp(ap->last_request, request->request_id, ROTATE_ID_SIZE) == 0;
	if (!ap->asked && same)
		return answer_again(ap, request, now_ms);
	if (!ap->asked || same)
		return fail(EPOCH_OLD, "this rotation has been done, or another one in its place");
	TRY(check_rotate(ap, request));
	TRY(ap_begin_rotation(ap, ROTATION_SCHEDULED, SPAN_ARRAY(request->host_share), SPAN_ARRAY(request->host_seed),
		request->challenge, now_ms, &r));
	memcpy(ap->rotation->request_id, request->request_id, ROTATE_ID_SIZE);
	ap->rotation->at_once |= request->emergency || request->grace_s == 0;
	if (!r)
		return OK;
	r->reason = request->reason;
	r->valid_ms = request->valid_ms;
	r->grace_s = request->grace_s;
	return OK;
}

static void wipe_rotate(struct ap_rotate *request)
{
	wipe(request->host_share, sizeof(request->host_share));
	wipe(request->host_seed, sizeof(request->host_seed));
}

result ap_handle_rotate(struct ap *ap, struct span body, uint64_t now_ms)
{
	CLEANUP(wipe_rotate) struct ap_rotate request;
	TRY(schema_decode(&ap_rotate_schema, body, &ap->scratch, &request));
	return rotate(ap, &request, now_ms);
}

/* ---- Ending -------------------------------------------------------------------------------------- */

void ap_end_grace(struct ap *ap, uint64_t now_ms)
{
	uint64_t grace_ms = ap->current.epoch.grace_s * UINT64_C(1000);
	if (ap->previous.record.len && now_ms > ap->switched_ms && now_ms - ap->switched_ms > grace_ms)
		ap_epoch_free(&ap->previous);
}

result ap_handle_drain(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_done done = {true};
	struct ap_rotation *r;
	if (body.len)
		return fail(TRAILING_BYTES, "DRAIN has no body");
	ap_epoch_free(&ap->previous);
	ap->has_left = false;
	if (!ap->draining && !ap->old_key.len)
		return ap_reply_with(ap, &ap_done_schema, &done);
	return ap_begin_rotation(ap, ROTATION_DRAIN, SPAN_EMPTY, SPAN_EMPTY, NULL, now_ms, &r);
}

/* A new era: what the old one's keys have vouched for is over. */
static void begin_era(struct ap *ap, struct ap_rotation *r)
{
	struct bytes inception = bytes_move(&ap->candidate.inception);
	bytes_free(&ap->inception);
	ap->inception = inception;
	snprintf(ap->trust_domain, sizeof(ap->trust_domain), "%s", ap->candidate.trust_domain);
	memcpy(ap->rot_id, ap->current.epoch.rot_id, OID_SIZE);
	memcpy(ap->references, r->registers, sizeof(ap->references));
	storage_keys_free(&ap->storage);
	ap->storage = r->storage;
	r->storage.count = 0; /* transferred */
	ap->state = AP_READY;
	ap->measurement_failed = false;
	ap->refusal = OK;
	ap->failure[0] = '\0';
	ap->has_left = false;
	ap->known_runs.count = 0;
	ap_end_all_launches(ap);
}

/*
 * A former signing key in the token. Where nothing is left to be answered under its epoch it goes now; one that cannot
 * go, as the token is away, stays named in the state and goes with the next DRAIN or start.
 */
static void end_token_keys(struct ap *ap, bool at_once)
{
	const struct token_name *former = &ap->previous.keys.sign_name;
	if (at_once && ap->old_key.len && rot_token_destroy(ap->token, bytes_span(&ap->old_key)) == OK)
		bytes_free(&ap->old_key);
	if (former->id_len == 0 || (at_once && rot_token_destroy(ap->token, span_of(former->id, former->id_len)) == OK))
		return;
	bytes_free(&ap->old_key);
	if (bytes_copy(span_of(former->id, former->id_len), &ap->old_key) != OK)
		failure_clear(); /* no memory: the state on disk names it all the same, and the next start ends it */
}

static void change_epoch(struct ap *ap, struct ap_rotation *r, uint64_t now_ms)
{
	bool had_root = ap_has_root(ap);
	ap_epoch_free(&ap->previous);
	ap->left = (struct ipq_expected){ap->current.epoch.era, ap->current.epoch.epoch};
	ap->has_left = had_root;
	ap->previous = ap->current;
	ap->current = r->next;
	r->next = (struct ap_epoch){0}; /* transferred */
	bytes_free(&ap->secrets);
	ap->secrets = bytes_move(&r->secrets);
	bytes_free(&ap->next_seed);
	ap->next_seed = bytes_move(&r->next_seed);
	ap->has_last_request = r->stored.has_last_request;
	memcpy(ap->last_request, r->request_id, ROTATE_ID_SIZE);
	ap->switched_ms = now_ms;
	if (epoch_is_recovery(&ap->current.epoch))
		begin_era(ap, r);
	if (!r->stored.has_candidate)
		ap_candidate_forget(&ap->candidate);
	if (ap->token)
		end_token_keys(ap, r->at_once);
	if (r->at_once)
		ap_epoch_free(&ap->previous);
	/* At rest it is gone only when both slots were written. */
	ap->draining = had_root && r->written < 2;
}

static void end_failed(struct ap *ap, struct ap_rotation *r, struct ap_action *out)
{
	ap_error_action(ap, r->done, r->text, out);
	bool old_in_force = !r->writing || r->done == DISK_FULL || r->done == TOO_LARGE;
	if (!old_in_force)
		ap_fail_write(ap);
	if (old_in_force && r->prepared)
		ap->prepared = r;
	else
		ap_rotation_free(r);
}

void ap_rotated(struct ap *ap, struct ap_rotation *r, uint64_t now_ms, struct ap_action *out)
{
	if (!r || r != ap->rotation) {
		ap_error_action(ap, ILLEGAL_STATE, "no such rotation is under way", out);
		return;
	}
	ap->rotation = NULL;
	if (r->kind >= ERRAND_QUOTE) {
		ap_errand_done(ap, r, out);
		return;
	}
	if (r->written == 0 || r->uncounted) {
		end_failed(ap, r, out);
		return;
	}
	if (r->kind == ROTATION_DRAIN) {
		ap->draining = false;
		bytes_free(&ap->old_key);
	} else {
		change_epoch(ap, r, now_ms);
	}
	wipe(ap->reply.data, ap->reply.len);
	bytes_free(&ap->reply);
	ap->reply = bytes_move(&r->reply);
	ap_rotation_free(r);
	*out = (struct ap_action){.kind = AP_REPLY, .reply = bytes_span(&ap->reply)};
}
