#include "root/ap_internal.h"

#include <stdio.h>

#include "crypto/random.h"
#include "crypto/x509.h"

/* ---- Generation -------------------------------------------------------------------------------- */

static result make_epoch(struct ap *ap, const struct ap_generate *request, const struct rot_keys *keys,
	const struct rot_keys *next, uint64_t now_ms, struct bytes *out_record)
{
	struct epoch epoch = {
		.v = 1,
		.epoch = 1,
		.suite = SUITE_P256,
		.recovery = request->recovery,
		.has_recovery = request->has_recovery,
		.not_before = now_ms - now_ms % 1000 - CERT_BEFORE_MS,
		.not_after = now_ms - now_ms % 1000 + request->valid_ms,
		.grace_s = request->grace_s,
		.counter = {COUNTER_NONE, 0},
		.state = EPOCH_ACTIVE,
		.reason = EPOCH_INCEPTION,
	};
	memcpy(epoch.sign_pk, keys->sign.point, POINT_SIZE);
	memcpy(epoch.kem_pk, keys->kem.point, POINT_SIZE);
	memcpy(epoch.salt, keys->salt, sizeof(epoch.salt));
	memcpy(epoch.measurement, ap->ap_measurement, SHA384_SIZE);
	epoch_next_commitment(next->sign.point, next->kem.point, next->salt, epoch.next);
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	TRY(schema_encode(&epoch_schema, &epoch, &payload));
	const struct key *signers[] = {&keys->sign};
	return cose_strict_sign_make(bytes_span(&payload), kind_label(KIND_EPOCH), signers, 1, out_record);
}

static result check_generate(const struct ap_generate *request)
{
	const uint64_t day = 24ULL * 3600 * 1000;
	if (request->valid_ms < 60 * 1000 || request->valid_ms > 3660 * day)
		return fail(BAD_VALUE, "a validity of %llu ms; allowed is a minute to ten years", (unsigned long long)request->valid_ms);
	const struct epoch_recovery *recovery = &request->recovery;
	if (request->has_recovery && (recovery->n != recovery->key_count || recovery->k < 1 || recovery->k > recovery->n))
		return fail(BAD_VALUE, "recovery by %u of %u with %zu keys", recovery->k, recovery->n, recovery->key_count);
	char uri[URI_MAX_LEN + 1];
	const uint8_t zero[OID_SIZE] = {0};
	return ire_uri(zero, request->trust_domain, "x", uri);
}

static result wrap_state(struct ap *ap, const struct secret *seed, const struct secret *next_seed, struct span host_share)
{
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;
	CLEANUP(writer_free) struct writer secrets = writer_growing(256);
	CLEANUP(writer_free) struct writer next = writer_growing(256);
	TRY(secret_new(2 * ROT_SEED_SIZE, &plain));
	TRY(secret_new(32, &ap->storage_key));
	random_bytes(ap->storage_key.data, 32);
	ap->storage_version = 1;
	memcpy(plain.data, seed->data, ROT_SEED_SIZE);
	memcpy(plain.data + ROT_SEED_SIZE, ap->storage_key.data, 32);
	TRY(state_wrap(&ap->wrap_key, SPAN_EMPTY, "secrets", secret_span(&plain), &secrets));
	TRY(state_wrap(&ap->wrap_key, host_share, "next seed", secret_span(next_seed), &next));
	TRY(writer_take(&secrets, &ap->secrets));
	return writer_take(&next, &ap->next_seed);
}

/* Undoes a generation whose record could not be made or written: as if it had not been asked. */
static void forget_root(struct ap *ap)
{
	rot_keys_free(&ap->keys);
	secret_free(&ap->storage_key);
	bytes_free(&ap->epoch_record);
	bytes_free(&ap->secrets);
	bytes_free(&ap->next_seed);
	arena_free(&ap->epoch_arena);
	ap->epoch = (struct epoch){0};
	memset(ap->rot_id, 0, OID_SIZE);
	memset(ap->epoch_oid, 0, OID_SIZE);
	ap->trust_domain[0] = '\0';
	ap->state = AP_MEASURED;
}

static result generate(struct ap *ap, const struct ap_generate *request, uint64_t now_ms)
{
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret next_seed = SECRET_EMPTY;
	CLEANUP(rot_keys_free) struct rot_keys next = {0};
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	TRY(rot_seed_new(SPAN_ARRAY(request->host_seed), &seed));
	TRY(rot_seed_new(SPAN_ARRAY(request->host_seed), &next_seed));
	TRY(rot_keys_from_seed(&seed, &ap->keys));
	TRY(rot_keys_from_seed(&next_seed, &next));
	TRY(make_epoch(ap, request, &ap->keys, &next, now_ms, &ap->epoch_record));
	TRY(epoch_open_inception(bytes_span(&ap->epoch_record), &ap->epoch_arena, &ap->epoch, ap->epoch_oid));
	memcpy(ap->rot_id, ap->epoch_oid, OID_SIZE);
	snprintf(ap->trust_domain, sizeof(ap->trust_domain), "%s", request->trust_domain);
	memcpy(ap->references, ap->log.registers, sizeof(ap->references));
	TRY(wrap_state(ap, &seed, &next_seed, SPAN_ARRAY(request->host_share)));
	TRY(ap_sign_challenge(ap, request->challenge, "generate", now_ms, &object));
	struct ap_rot_available answer = {bytes_span(&ap->epoch_record), bytes_span(&object)};
	TRY(ap_reply_with(ap, &ap_rot_available_schema, &answer));
	return ap_encode_state(ap);
}

result ap_handle_generate(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_generate request;
	TRY(schema_decode(&ap_generate_schema, body, &ap->scratch, &request));
	TRY(check_generate(&request));
	result made = generate(ap, &request, now_ms);
	if (made != OK) {
		forget_root(ap);
		return made;
	}
	ap->state = AP_READY;
	ap->waiting = true;
	return OK;
}
