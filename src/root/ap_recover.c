#include "root/ap_rotation.h"

#include <stdio.h>

#include "object/epoch_rules.h"

/*
 * Records that the offline recovery keys sign: a new recovery set, and a new era after loss or theft. This processor makes
 * the payload and keeps it, with its seeds wrapped, until the signatures come. Only then it signs too, so that a
 * candidate that was replaced or dropped never becomes a record.
 *
 * "candidate" seeds: set-recovery: the seed after the next one, whose turn it is. Recovery: both are new, because
 * who had the state has the next seed too.
 */

void ap_candidate_forget(struct kept_candidate *candidate)
{
	bytes_free(&candidate->payload);
	bytes_free(&candidate->seeds);
	bytes_free(&candidate->inception);
	bytes_free(&candidate->base);
	*candidate = (struct kept_candidate){0};
}

/* ---- Making -------------------------------------------------------------------------------------- */

/* A record that may be on disk in part stands in the way of another for its epoch. */
static result check_unprepared(const struct ap *ap)
{
	return ap->prepared ? fail(ROTATION_RUNNING, "the last rotation could not be written; rotate again first") : OK;
}

/* Puts `candidate` in the place of the one before, and the reply and the write under way. */
static result put_candidate(struct ap *ap, struct kept_candidate *candidate)
{
	struct ap_candidate answer = {bytes_span(&candidate->payload)};
	TRY(ap_reply_with(ap, &ap_candidate_schema, &answer));
	struct kept_candidate former = ap->candidate;
	ap->candidate = *candidate;
	result encoded = ap_encode_state(ap);
	if (encoded != OK) {
		ap->candidate = former;
		return encoded;
	}
	*candidate = former;
	ap->waiting = true;
	return OK;
}

static result make_payload(struct ap *ap, struct epoch *epoch, const struct rot_keys *keys, const struct secret *after_seed,
	struct bytes *out)
{
	ap_epoch_keys(epoch, keys);
	TRY(rot_next_commitment(after_seed, ap->token, epoch->next));
	memcpy(epoch->measurement, ap->ap_measurement, SHA384_SIZE);
	return schema_encode(&epoch_schema, epoch, out);
}

static result set_recovery_candidate(struct ap *ap, const struct ap_set_recovery *request, struct kept_candidate *out)
{
	struct epoch epoch;
	CLEANUP(secret_free) struct secret share = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret after_seed = SECRET_EMPTY;
	CLEANUP(rot_keys_free) struct rot_keys keys = {0};
	TRY(secret_copy(SPAN_ARRAY(request->host_share), &share));
	TRY(ap_open_next_seed(&ap->wrap_key, &share, bytes_span(&ap->next_seed), ap->token, &ap->current.epoch, &seed,
		&keys));
	TRY(ap_seed_new(ap->platform, SPAN_ARRAY(request->host_seed), &after_seed));
	TRY(ap_epoch_after(&ap->current, ap->rot_id, &epoch));
	ap_epoch_times(&epoch, ap->high_water, request->valid_ms, &ap->current.epoch);
	epoch.recovery = request->recovery;
	epoch.has_recovery = request->has_recovery;
	epoch.counter = ap_counter_next(ap->platform, ap->current.epoch.counter);
	epoch.grace_s = request->grace_s;
	epoch.reason = EPOCH_SET_RECOVERY;
	snprintf(out->trust_domain, sizeof(out->trust_domain), "%s", ap->trust_domain);
	TRY(make_payload(ap, &epoch, &keys, &after_seed, &out->payload));
	return ap_seed_wrap(&ap->wrap_key, SPAN_ARRAY(request->host_share), "candidate", secret_span(&after_seed), &out->seeds);
}

static void wipe_set_recovery(struct ap_set_recovery *request)
{
	wipe(request->host_share, sizeof(request->host_share));
	wipe(request->host_seed, sizeof(request->host_seed));
}

result ap_handle_set_recovery(struct ap *ap, struct span body, uint64_t now_ms)
{
	CLEANUP(wipe_set_recovery) struct ap_set_recovery request;
	CLEANUP(ap_candidate_forget) struct kept_candidate candidate = {0};
	TRY(schema_decode(&ap_set_recovery_schema, body, &ap->scratch, &request));
	TRY(ap_check_recovery(&request.recovery, request.has_recovery));
	if (request.valid_ms)
		TRY(ap_check_times(request.valid_ms));
	if (!ap->current.epoch.has_recovery)
		return fail(NO_RECOVERY_SET, "epoch %llu", (unsigned long long)ap->current.epoch.epoch);
	TRY(check_unprepared(ap));
	TRY(set_recovery_candidate(ap, &request, &candidate));
	return put_candidate(ap, &candidate);
}

/* A record of this root that its own key has signed. Whether it is on the chain is judged by everyone who follows it. */
static result open_base(struct span record, const uint8_t rot_id[static OID_SIZE], struct ap_epoch *out)
{
	struct cose_sign object;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	CLEANUP(ap_epoch_free) struct ap_epoch base = {0};
	TRY(ap_epoch_open(record, &base));
	if (memcmp(base.oid, rot_id, OID_SIZE) != 0 && memcmp(base.epoch.rot_id, rot_id, OID_SIZE) != 0)
		return fail(EPOCH_FOREIGN, "the record to recover from is of another root than the inception");
	TRY(cose_strict_sign_parse(bytes_span(&base.record), &object));
	TRY(key_from_point(SPAN_ARRAY(base.epoch.sign_pk), &key));
	TRY(cose_strict_sign_verify(&object, kind_label(KIND_EPOCH), &key));
	*out = base;
	base = (struct ap_epoch){0}; /* transferred */
	return OK;
}

static result choose_era(const struct ap *ap, const struct ap_recover *request, const struct epoch *base, uint32_t *out)
{
	uint32_t last = base->era > ap->current.epoch.era ? base->era : ap->current.epoch.era;
	if (last == UINT32_MAX)
		return fail(TOO_LARGE, "the eras of this root are used up");
	*out = request->era ? request->era : last + 1;
	return *out > last ? OK : fail(BAD_VALUE, "era %u does not follow era %u", *out, last);
}

static result recovery_candidate(struct ap *ap, const struct ap_recover *request, const struct ap_epoch *base,
	const uint8_t rot_id[static OID_SIZE], struct kept_candidate *out)
{
	struct epoch epoch;
	CLEANUP(secret_free) struct secret seeds = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret after_seed = SECRET_EMPTY;
	CLEANUP(rot_keys_free) struct rot_keys keys = {0};
	TRY(ap_epoch_after(base, rot_id, &epoch));
	TRY(choose_era(ap, request, &base->epoch, &epoch.era));
	ap_epoch_times(&epoch, ap->high_water, request->valid_ms, &base->epoch);
	epoch.counter = ap_counter_of_recovery(ap->platform, base->epoch.counter);
	epoch.grace_s = request->grace_s;
	epoch.reason = EPOCH_RECOVERY;
	TRY(ap_seed_new(ap->platform, SPAN_ARRAY(request->host_seed), &seed));
	TRY(ap_seed_new(ap->platform, SPAN_ARRAY(request->host_seed), &after_seed));
	TRY(rot_keys_make(&seed, ap->token, &keys));
	TRY(secret_new(2 * ROT_SEED_SIZE, &seeds));
	memcpy(seeds.data, seed.data, ROT_SEED_SIZE);
	memcpy(seeds.data + ROT_SEED_SIZE, after_seed.data, ROT_SEED_SIZE);
	snprintf(out->trust_domain, sizeof(out->trust_domain), "%s", request->trust_domain);
	TRY(bytes_copy(request->inception, &out->inception));
	TRY(bytes_copy(request->base, &out->base));
	TRY(make_payload(ap, &epoch, &keys, &after_seed, &out->payload));
	return ap_seed_wrap(&ap->wrap_key, SPAN_ARRAY(request->host_share), "candidate", secret_span(&seeds), &out->seeds);
}

/* Measured in this boot, and not failed for another reason than what was measured. */
static result check_measured(const struct ap *ap)
{
	if (!ap->phase_complete[0] || !ap->phase_complete[1])
		return fail(NOT_READY, "the phases of this boot are not measured");
	if (ap->state == AP_FAILED && !ap->measurement_failed && ap->refusal == OK)
		return fail(NOT_READY, "%s; start it again", ap->failure);
	return OK;
}

static result check_recover(const struct ap *ap, const struct ap_recover *request, const uint8_t rot_id[static OID_SIZE])
{
	TRY(check_measured(ap));
	TRY(check_unprepared(ap));
	TRY(ap_check_trust_domain(request->trust_domain));
	if (request->valid_ms)
		TRY(ap_check_times(request->valid_ms));
	if (ap_has_root(ap) && memcmp(ap->rot_id, rot_id, OID_SIZE) != 0)
		return fail(EPOCH_FOREIGN, "this secure processor holds another root");
	if (ap_has_root(ap) && strcmp(ap->trust_domain, request->trust_domain) != 0)
		return fail(BAD_VALUE, "the trust domain of this root is '%s'", ap->trust_domain);
	return OK;
}

static void wipe_recover(struct ap_recover *request)
{
	wipe(request->host_share, sizeof(request->host_share));
	wipe(request->host_seed, sizeof(request->host_seed));
}

result ap_handle_recover(struct ap *ap, struct span body, uint64_t now_ms)
{
	CLEANUP(wipe_recover) struct ap_recover request;
	CLEANUP(ap_candidate_forget) struct kept_candidate candidate = {0};
	CLEANUP(ap_epoch_free) struct ap_epoch base = {0};
	struct epoch first;
	uint8_t rot_id[OID_SIZE];
	TRY(schema_decode(&ap_recover_schema, body, &ap->scratch, &request));
	TRY(epoch_open_inception(request.inception, &ap->scratch, &first, rot_id));
	TRY(check_recover(ap, &request, rot_id));
	TRY(open_base(request.base, rot_id, &base));
	if (!base.epoch.has_recovery)
		return fail(NO_RECOVERY_SET, "epoch %llu", (unsigned long long)base.epoch.epoch);
	TRY(recovery_candidate(ap, &request, &base, rot_id, &candidate));
	return put_candidate(ap, &candidate);
}

/* ---- Adopting ------------------------------------------------------------------------------------ */

static result check_candidate(struct ap *ap, const struct ap_adopt_candidate *request, struct epoch *out)
{
	uint8_t digest[SHA256_SIZE];
	if (!ap->candidate.payload.len)
		return fail(NO_CANDIDATE, "none rests in this secure processor");
	sha256(bytes_span(&ap->candidate.payload), digest);
	if (memcmp(digest, request->payload_digest, sizeof(digest)) != 0)
		return fail(NO_CANDIDATE, "the one that rests here is another");
	TRY(schema_decode(&epoch_schema, bytes_span(&ap->candidate.payload), &ap->scratch, out));
	if (memcmp(out->measurement, ap->ap_measurement, SHA384_SIZE) != 0)
		return fail(MEASUREMENT_WRONG, "the candidate was made by another troth-ap than this one");
	return check_measured(ap);
}

static result check_adoption(struct ap *ap, const struct epoch *candidate)
{
	if (candidate->counter.kind == COUNTER_TPM_NV && ap->platform && candidate->counter.value <= ap->platform->counter)
		return fail(NO_CANDIDATE, "the TPM has counted on since it was made");
	if (epoch_is_recovery(candidate))
		return candidate->era > ap->current.epoch.era || !ap_has_root(ap) ?
			OK :
			fail(NO_CANDIDATE, "era %u has begun otherwise", ap->current.epoch.era);
	if (ap->state != AP_READY)
		return fail(NOT_READY, "a recovery set is changed by a processor that is ready");
	if (ap->draining)
		return fail(DRAIN_PENDING, "epoch %llu", (unsigned long long)ap->left.epoch);
	return OK;
}

static result copy_signatures(struct ap_rotation *r, const struct ap_adopt_candidate *request)
{
	void *rows;
	TRY(arena_alloc(&r->arena, request->signature_count, sizeof(*r->signatures), &rows));
	r->signatures = rows;
	memcpy(rows, request->signatures, request->signature_count * sizeof(*r->signatures));
	for (size_t i = 0; i < request->signature_count; i++)
		TRY(arena_copy(&r->arena, request->signatures[i].spki, &r->signatures[i].spki));
	r->signature_count = request->signature_count;
	return OK;
}

static result adopt(struct ap *ap, const struct ap_adopt_candidate *request, uint64_t now_ms)
{
	struct epoch epoch;
	struct ap_rotation *r;
	TRY(check_candidate(ap, request, &epoch));
	TRY(check_adoption(ap, &epoch));
	TRY(ap_begin_rotation(ap, ROTATION_ADOPT, SPAN_ARRAY(request->host_share), SPAN_EMPTY, request->challenge, now_ms, &r));
	if (!r)
		return OK;
	r->at_once = epoch_is_recovery(&epoch) || epoch.grace_s == 0;
	result copied = copy_signatures(r, request);
	if (copied != OK) {
		ap->rotation = NULL;
		ap_rotation_free(r);
	}
	return copied;
}

static void wipe_adopt(struct ap_adopt_candidate *request)
{
	wipe(request->host_share, sizeof(request->host_share));
}

result ap_handle_adopt_candidate(struct ap *ap, struct span body, uint64_t now_ms)
{
	CLEANUP(wipe_adopt) struct ap_adopt_candidate request;
	TRY(schema_decode(&ap_adopt_candidate_schema, body, &ap->scratch, &request));
	return adopt(ap, &request, now_ms);
}

/* ---- The work of an adoption, on any thread ------------------------------------------------------- */

static result open_seeds(struct ap_rotation *r, bool is_recovery, struct secret *out_seed, struct secret *out_after,
	struct rot_keys *out_keys)
{
	CLEANUP(secret_free) struct secret seeds = SECRET_EMPTY;
	TRY(state_unwrap(&r->wrap_key, secret_span(&r->host_share), "candidate", r->stored.candidate.seeds, &seeds));
	if (seeds.len != (is_recovery ? 2 : 1) * ROT_SEED_SIZE)
		return fail(BAD_VALUE, "candidate seeds of %zu bytes", seeds.len);
	TRY(secret_copy(span_of(seeds.data + seeds.len - ROT_SEED_SIZE, ROT_SEED_SIZE), out_after));
	if (!is_recovery)
		return ap_open_next_seed(&r->wrap_key, &r->host_share, r->stored.next_seed, r->token, &r->from->epoch, out_seed,
			out_keys);
	TRY(secret_copy(span_of(seeds.data, ROT_SEED_SIZE), out_seed));
	return rot_keys_open(out_seed, r->token, out_keys);
}

static result sign_as(const struct key *key, struct span payload, struct cose_signer *out)
{
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	memcpy(out->kid, key->id, KEY_ID_SIZE);
	TRY(cose_strict_sign_tbs(payload, kind_label(KIND_EPOCH), key->id, &tbs));
	return key_sign(key, bytes_span(&tbs), out->signature);
}

/* The new key's signature, the old one's for a set-recovery, and those of the recovery keys. */
static result assemble(const struct ap_rotation *r, const struct rot_keys *keys, bool is_recovery, struct bytes *out)
{
	struct cose_signer signers[COSE_MAX_SIGNERS];
	struct span payload = r->stored.candidate.payload;
	size_t count = 0;
	if (r->signature_count + 2 > COUNT_OF(signers))
		return fail(TOO_LARGE, "%zu signatures; at most %d count", r->signature_count, COSE_MAX_SIGNERS - 2);
	TRY(sign_as(&keys->sign, payload, &signers[count++]));
	if (!is_recovery)
		TRY(sign_as(&r->from_sign, payload, &signers[count++]));
	for (size_t i = 0; i < r->signature_count; i++) {
		sha256(r->signatures[i].spki, signers[count].kid);
		memcpy(signers[count++].signature, r->signatures[i].signature, SIGNATURE_SIZE);
	}
	return cose_strict_sign_assemble(payload, signers, count, out);
}

/* By the same rules as everyone who follows the chain. */
static result check_record(const struct ap_rotation *r, struct span bytes, const struct ap_epoch *before,
	const uint8_t rot_id[static OID_SIZE])
{
	struct epoch_record record;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(key_ring_free) struct key_ring ring = {0};
	TRY(epoch_record_parse(bytes, &arena, &record));
	TRY(epoch_rules_link(&record.epoch, &before->epoch, before->oid, rot_id));
	for (size_t i = 0; i < r->signature_count; i++)
		TRY(key_ring_add(&ring, r->signatures[i].spki));
	return epoch_rules_signatures(&record, &before->epoch, &ring);
}

result ap_prepare_adoption(struct ap_rotation *r)
{
	struct epoch epoch;
	CLEANUP(ap_epoch_free) struct ap_epoch base = {0};
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret after = SECRET_EMPTY;
	CLEANUP(rot_keys_free) struct rot_keys keys = {0};
	CLEANUP(bytes_free) struct bytes record = BYTES_EMPTY;
	TRY(schema_decode(&epoch_schema, r->stored.candidate.payload, &r->arena, &epoch));
	bool is_recovery = epoch_is_recovery(&epoch);
	if (is_recovery)
		TRY(ap_epoch_open(r->stored.candidate.base, &base));
	TRY(open_seeds(r, is_recovery, &seed, &after, &keys));
	if (memcmp(keys.sign.point, epoch.sign_pk, POINT_SIZE) != 0)
		return fail(DIGEST_MISMATCH, "the stored seed is not that of the candidate");
	TRY(assemble(r, &keys, is_recovery, &record));
	TRY(check_record(r, bytes_span(&record), is_recovery ? &base : r->from, epoch.rot_id));
	if (is_recovery)
		TRY(storage_keys_add(&r->storage, epoch.era + 1));
	return ap_rotation_keep(r, bytes_span(&record), &seed, &after, &keys);
}
