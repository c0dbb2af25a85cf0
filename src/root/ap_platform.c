#include "root/ap_platform.h"

#include <stdio.h>

#include "root/ap_rotation.h"
#include "root/rot_keys.h"

#include "object/evidence.h"
#include "object/object.h"

enum { TPM_PART = 32, COMMIT_STEPS_MAX = 4 };

void ap_platform_identity_free(struct ap_platform_identity *identity)
{
	bytes_free(&identity->ek_public);
	bytes_free(&identity->ek_certificate);
	bytes_free(&identity->ak_public);
}

void ap_platform_quote_free(struct ap_platform_quote *quote)
{
	bytes_free(&quote->attest);
	bytes_free(&quote->signature);
}

void ap_platform_headed_free(struct ap_platform_headed *headed)
{
	bytes_free(&headed->attest);
	bytes_free(&headed->signature);
}

result ap_seed_new(struct ap_platform *platform, struct span host_seed, struct secret *out)
{
	CLEANUP(secret_free) struct secret parts = SECRET_EMPTY;
	if (!platform)
		return rot_seed_new(host_seed, out);
	TRY(secret_new(host_seed.len + TPM_PART, &parts));
	if (host_seed.len)
		memcpy(parts.data, host_seed.data, host_seed.len);
	TRY(platform->random(platform->context, parts.data + host_seed.len, TPM_PART));
	return rot_seed_new(secret_span(&parts), out);
}

/* ---- Counter (constructions/epochs.md "Store") --------------------------------------------------------- */

struct epoch_counter ap_counter_next(const struct ap_platform *platform, struct epoch_counter before)
{
	if (!platform)
		return before;
	return (struct epoch_counter){COUNTER_TPM_NV, platform->counter + 1};
}

struct epoch_counter ap_counter_of_recovery(const struct ap_platform *platform, struct epoch_counter base)
{
	/* A counter that is behind the old one's could not follow it; the next rotation begins with the new one. */
	if (!platform || (base.kind == COUNTER_TPM_NV && platform->counter + 1 <= base.value))
		return (struct epoch_counter){COUNTER_NONE, 0};
	return ap_counter_next(platform, base);
}

result ap_counter_commit(struct ap_platform *platform, struct epoch_counter counter)
{
	if (counter.kind != COUNTER_TPM_NV)
		return OK;
	if (!platform)
		return fail(TPM_UNAVAILABLE, "the record counts in a TPM, and none is here");
	if (counter.value > platform->counter + COMMIT_STEPS_MAX)
		return fail(TAMPERED, "the record has %llu, the TPM's counter %llu", (unsigned long long)counter.value,
			(unsigned long long)platform->counter);
	while (platform->counter < counter.value) {
		uint64_t value;
		TRY(platform->count(platform->context, &value));
		if (value <= platform->counter)
			return fail(TAMPERED, "the TPM's counter went from %llu to %llu", (unsigned long long)platform->counter,
				(unsigned long long)value);
		platform->counter = value;
	}
	if (platform->counter != counter.value)
		return fail(TAMPERED, "the TPM's counter is at %llu, the record has %llu", (unsigned long long)platform->counter,
			(unsigned long long)counter.value);
	return OK;
}

result ap_counter_judge(const struct ap_platform *platform, struct epoch_counter counter, bool *out_commit)
{
	unsigned long long here = counter.value, there = platform ? platform->counter : 0;
	*out_commit = false;
	if (counter.kind != COUNTER_TPM_NV)
		return OK;
	if (!platform)
		return fail(TPM_UNAVAILABLE, "this root counts in a TPM, and none was given");
	if (platform->counter_state != OK)
		return fail(TAMPERED, "the counter that this root counted with is gone");
	if (here < there)
		return fail(ROLLBACK, "the state has %llu, the TPM has counted to %llu", here, there);
	if (here > there + 1)
		return fail(TAMPERED, "the state has %llu, the TPM has counted to %llu only", here, there);
	*out_commit = here == there + 1;
	return OK;
}

/* ---- Mirror of the pin store --------------------------------------------------------------------------- */

/* The file is written first: at most the last write of it is missing here. */
result ap_pins_follow(struct ap_platform *platform, const struct pin_mirror *pins)
{
	const struct pin_mirror *mirror = &platform->pins;
	unsigned long long here = pins->seq, there = mirror->seq;
	if (platform->pins_state != OK)
		return fail(TAMPERED, "the TPM's mirror of the pin store, which this root was made with, is gone");
	if (here == there && memcmp(pins->digest, mirror->digest, SHA256_SIZE) == 0)
		return OK;
	if (there != 0 && here != there + 1)
		return fail(PIN_STALE, "the pin store is of write %llu, epoch %llu; the TPM's mirror of write %llu, epoch %llu", here,
			(unsigned long long)pins->epoch, there, (unsigned long long)mirror->epoch);
	TRY(platform->keep_pins(platform->context, pins));
	platform->pins = *pins;
	return OK;
}

/* ---- Evidence ---------------------------------------------------------------------------------------- */

static result need_platform(const struct ap *ap)
{
	return ap->platform ? OK : fail(TPM_UNAVAILABLE, "this secure processor was given no TPM");
}

static result begin_errand(struct ap *ap, enum rotation_kind kind, struct ap_rotation **out)
{
	struct ap_rotation *r;
	TRY(need_platform(ap));
	TRY(ap_errand_new(ap, kind, &r));
	ap->rotation = r;
	*out = r;
	return OK;
}

/* Copies of the phases' events: the log grows while this is under way. */
static result take_log(struct ap *ap, struct ap_rotation *r)
{
	void *items;
	size_t count = 0;
	TRY(arena_alloc(&r->arena, ap->phase_events ? ap->phase_events : 1, sizeof(struct bytes_item), &items));
	r->evidence.log = items;
	for (; count < ap->phase_events; count++)
		TRY(arena_copy(&r->arena, boot_log_record(&ap->log, count), &r->evidence.log[count].bytes));
	r->evidence.log_count = count;
	return OK;
}

static result fill_evidence(struct ap *ap, const struct ap_quote *request, uint64_t now_ms, struct ap_rotation *r)
{
	r->evidence.v = 1;
	r->evidence.boot_gen = ap->boot_gen;
	r->evidence.time = now_ms;
	memcpy(r->evidence.epoch_oid, ap->current.oid, OID_SIZE);
	TRY(arena_copy(&r->arena, request->nonce, &r->evidence.nonce));
	TRY(take_log(ap, r));
	r->envelope = (struct evidence){.media_type = EVIDENCE_TPM_TYPE, .seq = ap->evidence_seq + 1, .has_prev = ap->evidence_seq > 0};
	memcpy(r->envelope.prev, ap->last_evidence, SHA256_SIZE);
	return OK;
}

static void drop_errand(struct ap *ap)
{
	ap_rotation_free(ap->rotation);
	ap->rotation = NULL;
}

result ap_handle_quote(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_quote request;
	struct ap_rotation *r;
	TRY(schema_decode(&ap_quote_schema, body, &ap->scratch, &request));
	TRY(begin_errand(ap, ERRAND_QUOTE, &r));
	result filled = fill_evidence(ap, &request, now_ms, r);
	if (filled != OK)
		drop_errand(ap);
	return filled;
}

result ap_handle_enrol(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_enrol request;
	struct ap_rotation *r;
	TRY(schema_decode(&ap_enrol_schema, body, &ap->scratch, &request));
	TRY(begin_errand(ap, ERRAND_ENROL, &r));
	result copied = arena_copy(&r->arena, request.credential, &r->credential);
	if (copied == OK)
		copied = arena_copy(&r->arena, request.encrypted, &r->encrypted);
	if (copied != OK)
		drop_errand(ap);
	return copied;
}

result ap_handle_pin(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_pin request;
	struct ap_rotation *r;
	TRY(schema_decode(&ap_pin_schema, body, &ap->scratch, &request));
	TRY(begin_errand(ap, ERRAND_PIN, &r));
	r->pins = (struct pin_mirror){request.seq, request.era, request.epoch, {0}};
	memcpy(r->pins.digest, request.digest, SHA256_SIZE);
	return OK;
}

result ap_handle_head(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_head request;
	struct ap_rotation *r;
	TRY(ap_check_validity(ap, now_ms));
	TRY(schema_decode(&ap_head_schema, body, &ap->scratch, &request));
	if (ap->asked != &ap->current)
		return fail(EPOCH_OLD, "where a history stands is said under the current epoch");
	TRY(begin_errand(ap, ERRAND_HEAD, &r));
	result copied = arena_copy(&r->arena, request.nonce, &r->statement.nonce);
	if (copied != OK) {
		drop_errand(ap);
		return copied;
	}
	r->head = request;
	r->statement.time = now_ms > ap->high_water ? now_ms : ap->high_water;
	r->statement.boot_gen = ap->boot_gen;
	memcpy(r->statement.rot_id, ap->rot_id, OID_SIZE);
	memcpy(r->statement.epoch_oid, ap->current.oid, OID_SIZE);
	return OK;
}

static result put_pcrs(const struct ap_platform_quote *quote, struct arena *arena, struct tpm_evidence *out)
{
	void *rows;
	TRY(arena_alloc(arena, 24, sizeof(struct tpm_pcr), &rows));
	out->pcrs = rows;
	for (uint8_t i = 0; i < 24; i++)
		if (quote->pcrs & 1u << i)
			out->pcrs[out->pcr_count++] = (struct tpm_pcr){i, span_of(quote->values[i], SHA256_SIZE)};
	return OK;
}

static result quote_work(struct ap_rotation *r)
{
	CLEANUP(ap_platform_identity_free) struct ap_platform_identity identity = {0};
	CLEANUP(ap_platform_quote_free) struct ap_platform_quote quote = {0};
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY, envelope = BYTES_EMPTY;
	struct tpm_evidence *evidence = &r->evidence;
	struct bytes_item certificate;
	uint8_t binding[SHA256_SIZE];

	TRY(r->platform->identify(r->platform->context, &identity));
	evidence->bank = 0x000b; /* TPM_ALG_SHA256 */
	TRY(tpm_evidence_binding(&r->envelope, evidence, binding));
	TRY(r->platform->quote(r->platform->context, binding, &quote));
	certificate.bytes = bytes_span(&identity.ek_certificate);
	evidence->ek_chain = &certificate;
	evidence->ek_chain_count = certificate.bytes.len ? 1 : 0;
	evidence->ek_public = bytes_span(&identity.ek_public);
	evidence->ak_public = bytes_span(&identity.ak_public);
	evidence->attest = bytes_span(&quote.attest);
	evidence->signature = bytes_span(&quote.signature);
	evidence->pcr_count = 0;
	TRY(put_pcrs(&quote, &r->arena, evidence));
	TRY(schema_encode(&tpm_evidence_schema, evidence, &body));
	r->envelope.body = bytes_span(&body);
	TRY(schema_encode(&evidence_schema, &r->envelope, &envelope));
	sha256(bytes_span(&envelope), r->evidence_digest);
	struct ap_quoted answer = {bytes_span(&envelope)};
	return schema_encode(&ap_quoted_schema, &answer, &r->reply);
}

static result enrol_work(struct ap_rotation *r)
{
	CLEANUP(ap_platform_identity_free) struct ap_platform_identity identity = {0};
	CLEANUP(secret_free) struct secret opened = SECRET_EMPTY;
	TRY(r->platform->identify(r->platform->context, &identity));
	if (r->credential.len)
		TRY(r->platform->activate(r->platform->context, r->credential, r->encrypted, &opened));
	struct ap_enrolled answer = {bytes_span(&identity.ek_certificate), bytes_span(&identity.ek_public), bytes_span(&identity.ak_public),
		secret_span(&opened)};
	return schema_encode(&ap_enrolled_schema, &answer, &r->reply);
}

static result pin_work(struct ap_rotation *r)
{
	struct ap_platform *platform = r->platform;
	if (platform->has_pins && r->pins.seq != 0)
		TRY(ap_pins_follow(platform, &r->pins));
	struct ap_pinned answer = {platform->has_pins, platform->pins.seq};
	return schema_encode(&ap_pinned_schema, &answer, &r->reply);
}

static result keep_headed(struct ap_rotation *r, const struct ap_platform_headed *headed, struct span ak_public)
{
	r->statement.index = headed->index;
	TRY(arena_copy(&r->arena, ak_public, &r->statement.ak_public));
	TRY(arena_copy(&r->arena, bytes_span(&headed->attest), &r->statement.attest));
	return arena_copy(&r->arena, bytes_span(&headed->signature), &r->statement.signature);
}

/* Who takes the index away and lets another be made has one of another birth. */
static result head_work(struct ap_rotation *r)
{
	CLEANUP(ap_platform_identity_free) struct ap_platform_identity identity = {0};
	CLEANUP(ap_platform_headed_free) struct ap_platform_headed headed = {0};
	struct ap_platform *platform = r->platform;
	struct head_birth birth = {.boot_gen = r->statement.boot_gen, .time = r->statement.time};
	uint8_t first[SHA256_SIZE];
	memcpy(birth.rot_id, r->statement.rot_id, OID_SIZE);
	memcpy(birth.epoch_oid, r->statement.epoch_oid, OID_SIZE);
	head_birth_digest(&birth, first);
	const struct ap_platform_head wanted = {r->head.index, first, r->head.has_digest ? r->head.digest : NULL, r->statement.nonce};
	TRY(platform->head(platform->context, &wanted, &headed));
	if (wanted.nonce.len)
		TRY(platform->identify(platform->context, &identity));
	TRY(keep_headed(r, &headed, bytes_span(&identity.ak_public)));
	r->headed = (struct ap_headed){.index = headed.index, .has_birth = r->head.index == 0, .birth = birth};
	memcpy(r->headed.head, headed.head, SHA256_SIZE);
	return OK;
}

/* By the engine, which has the key and counts. */
static result sign_head_statement(struct ap *ap, struct ap_rotation *r)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	if (r->statement.nonce.len) {
		r->statement.v = 1;
		r->statement.seq = ap->statement_seq + 1;
		TRY(object_sign(KIND_HEAD_PROOF, &r->statement, &ap->current.keys.sign, &object, NULL));
		ap->statement_seq++;
	}
	r->headed.statement = bytes_span(&object);
	return schema_encode(&ap_headed_schema, &r->headed, &r->reply);
}

result ap_errand_run(struct ap_rotation *r)
{
	switch (r->kind) {
	case ERRAND_QUOTE:
		return quote_work(r);
	case ERRAND_ENROL:
		return enrol_work(r);
	case ERRAND_HEAD:
		return head_work(r);
	default:
		return pin_work(r);
	}
}

void ap_errand_done(struct ap *ap, struct ap_rotation *r, struct ap_action *out)
{
	if (r->done == OK && r->kind == ERRAND_HEAD) {
		r->done = sign_head_statement(ap, r);
		if (r->done != OK)
			snprintf(r->text, sizeof(r->text), "%s", failure_text());
	}
	if (r->done != OK) {
		ap_error_action(ap, r->done, r->text, out);
		ap_rotation_free(r);
		return;
	}
	if (r->kind == ERRAND_QUOTE) {
		ap->evidence_seq++;
		memcpy(ap->last_evidence, r->evidence_digest, SHA256_SIZE);
	}
	wipe(ap->reply.data, ap->reply.len);
	bytes_free(&ap->reply);
	ap->reply = bytes_move(&r->reply);
	ap_rotation_free(r);
	*out = (struct ap_action){.kind = AP_REPLY, .reply = bytes_span(&ap->reply)};
}
