/*
 * Records that the offline recovery keys sign: what a candidate is, who may make it a record, and what a new era ends
 * (RO-05, RO-06, RO-11).
 */
#include "ap_bench.h"

#include <errno.h>

#include "base/fault.h"
#include "groups.h"
#include "object/epoch_rules.h"

enum { HOLDERS = 3, EXTRA = HOLDERS };

/* The holders' keys; one more that is in no set. Made once. */
static struct key holders[HOLDERS + 1];
static uint8_t spki[HOLDERS + 1][SPKI_SIZE];
static struct digest32 digests[HOLDERS + 1];

static int make_holders(void **unused)
{
	for (size_t i = 0; i <= EXTRA; i++) {
		if (key_generate(&holders[i]) != OK)
			return -1;
		key_spki(&holders[i], spki[i]);
		memcpy(digests[i].bytes, holders[i].id, KEY_ID_SIZE);
	}
	return 0;
}

static int free_holders(void **unused)
{
	for (size_t i = 0; i <= EXTRA; i++)
		key_free(&holders[i]);
	return 0;
}

/* k of the holders from `first` on. The digests live until the next call. */
static struct epoch_recovery set_of(uint8_t k, size_t first, uint8_t n)
{
	static struct digest32 sorted[2][HOLDERS + 1];
	static unsigned turn;
	struct digest32 *keys = sorted[turn++ % 2];
	memcpy(keys, digests + first, n * sizeof(*keys));
	assert_int_equal(schema_sort(&digest32_schema, keys, n), OK);
	return (struct epoch_recovery){k, n, keys, n};
}

static void know_holders(struct bench *b)
{
	for (size_t i = 0; i <= EXTRA; i++)
		assert_int_equal(epoch_chain_add_key(b->chain, SPAN_ARRAY(spki[i])), OK);
}

static void bench_with_holders(struct bench *b)
{
	struct epoch_recovery set = set_of(2, 0, HOLDERS);
	bench_new_recoverable(b, &set);
	know_holders(b);
}

/* ---- Requests --------------------------------------------------------------------------------------- */

static enum reason set_recovery(struct bench *b, const struct epoch_recovery *set, struct span *out_payload)
{
	struct ap_set_recovery request = {.grace_s = 60, .has_recovery = set != NULL};
	struct ap_candidate reply;
	if (set)
		request.recovery = *set;
	memset(request.host_seed, 4, sizeof(request.host_seed));
	memset(request.host_share, 9, sizeof(request.host_share));
	enum reason reason = ask(b, IPQ_SET_RECOVERY, &ap_set_recovery_schema, &request, &ap_candidate_schema, &reply);
	if (reason == OK)
		*out_payload = reply.payload;
	return reason;
}

static struct ap_recover a_recovery(struct span inception, struct span base)
{
	struct ap_recover request = {.inception = inception, .base = base, .trust_domain = "troth.internal",
		.valid_ms = 86400000, .grace_s = 60};
	memset(request.host_seed, 4, sizeof(request.host_seed));
	memset(request.host_share, 9, sizeof(request.host_share));
	return request;
}

static enum reason recover_as(struct bench *b, const struct ap_recover *request, struct span *out_payload)
{
	struct ap_candidate reply;
	enum reason reason = ask(b, IPQ_RECOVER, &ap_recover_schema, request, &ap_candidate_schema, &reply);
	if (reason == OK)
		*out_payload = reply.payload;
	return reason;
}

static enum reason recover(struct bench *b, size_t base, struct span *out_payload)
{
	struct ap_recover request = a_recovery(epoch_chain_at(b->chain, 0)->record, epoch_chain_at(b->chain, base)->record);
	return recover_as(b, &request, out_payload);
}

static struct recovery_signature vote(size_t holder, struct span payload)
{
	struct recovery_signature signature = {.spki = SPAN_ARRAY(spki[holder])};
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	assert_int_equal(cose_strict_sign_tbs(payload, kind_label(KIND_EPOCH), holders[holder].id, &tbs), OK);
	assert_int_equal(key_sign(&holders[holder], bytes_span(&tbs), signature.signature), OK);
	return signature;
}

static struct ap_adopt_candidate an_adoption(struct span payload, struct recovery_signature *signatures, size_t count)
{
	struct ap_adopt_candidate request = {.signatures = signatures, .signature_count = count};
	sha256(payload, request.payload_digest);
	memset(request.challenge, 0x77, sizeof(request.challenge));
	memset(request.host_share, 9, sizeof(request.host_share));
	return request;
}

static enum reason adopt_as(struct bench *b, const struct ap_adopt_candidate *request)
{
	struct ap_rot_available reply;
	enum reason reason = ask(b, IPQ_ADOPT_CANDIDATE, &ap_adopt_candidate_schema, request, &ap_rot_available_schema, &reply);
	if (reason == OK)
		take_record(b, &reply, request->challenge);
	return reason;
}

/* With the votes of the first two holders of `from` on. */
static enum reason adopt(struct bench *b, struct span payload, size_t from)
{
	struct recovery_signature votes[] = {vote(from, payload), vote(from + 1, payload)};
	struct ap_adopt_candidate request = an_adoption(payload, votes, COUNT_OF(votes));
	return adopt_as(b, &request);
}

static struct epoch head_of(struct bench *b)
{
	struct epoch epoch;
	assert_int_equal(epoch_chain_decode(epoch_chain_head(b->chain), &b->arena, &epoch), OK);
	return epoch;
}

/* ---- Another recovery set ---------------------------------------------------------------------------- */

static void test_changes_the_recovery_set(void **unused)
{
	struct bench b;
	struct span payload;
	struct ap_health health;
	struct epoch candidate;
	bench_with_holders(&b);
	struct epoch_recovery next = set_of(2, 1, HOLDERS);
	assert_int_equal(set_recovery(&b, &next, &payload), OK);
	assert_int_equal(schema_decode(&epoch_schema, payload, &b.arena, &candidate), OK);
	assert_int_equal(candidate.epoch, 2);
	assert_int_equal(candidate.reason, EPOCH_SET_RECOVERY);
	health_of(&b, &health);
	assert_true(span_equal(health.candidate, payload));
	assert_int_equal(health.epoch, 1);
	/* The signers take their time. */
	restart(&b, 1, 2);
	health_of(&b, &health);
	assert_true(span_equal(health.candidate, payload));
	assert_int_equal(adopt(&b, payload, 0), OK);
	assert_int_equal(b.epoch, 2);
	assert_memory_equal(head_of(&b).recovery.keys, next.keys, HOLDERS * sizeof(*next.keys));
	health_of(&b, &health);
	assert_int_equal(health.candidate.len, 0);
	assert_true(health.draining);
	/* The new set rules now, the old one does not: holder 0 is out, the extra one is in. */
	assert_int_equal(drain(&b), OK);
	rotate(&b);
	assert_int_equal(drain(&b), OK);
	next = set_of(1, 0, 1);
	assert_int_equal(set_recovery(&b, &next, &payload), OK);
	assert_int_equal(adopt(&b, payload, 0), RECOVERY_QUORUM);
	assert_int_equal(adopt(&b, payload, 2), OK);
	/* And it can be given up, by itself. */
	assert_int_equal(drain(&b), OK);
	assert_int_equal(set_recovery(&b, NULL, &payload), OK);
	struct recovery_signature one[] = {vote(0, payload)};
	struct ap_adopt_candidate request = an_adoption(payload, one, 1);
	assert_int_equal(adopt_as(&b, &request), OK);
	assert_false(head_of(&b).has_recovery);
	assert_int_equal(drain(&b), OK);
	assert_int_equal(set_recovery(&b, &next, &payload), NO_RECOVERY_SET);
	rotate(&b);
	bench_free(&b);
}

static void test_refuses_sets_that_could_not_sign(void **unused)
{
	struct bench b;
	struct span payload;
	struct digest32 many[32];
	for (size_t i = 0; i < COUNT_OF(many); i++)
		memset(many[i].bytes, (int)i, sizeof(many[i].bytes));
	struct epoch_recovery bad[] = {set_of(0, 0, 2), set_of(3, 0, 2), {31, 32, many, 32}, {1, 2, many, 1}};
	bench_with_holders(&b);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(set_recovery(&b, &bad[i], &payload), BAD_VALUE);
	struct epoch_recovery widest = {30, 32, many, 32};
	assert_int_equal(set_recovery(&b, &widest, &payload), OK);
	bench_free(&b);
	/* Nor can a root be made with one. */
	bench_empty(&b);
	measure(&b, 1, 2);
	struct ap_generate request = a_generate();
	request.has_recovery = true;
	request.recovery = bad[2];
	assert_int_equal(ask(&b, IPQ_GENERATE_ROT, &ap_generate_schema, &request, NULL, NULL), BAD_VALUE);
	bench_free(&b);
	/* Without a set there is nobody to ask. */
	bench_new(&b);
	assert_int_equal(set_recovery(&b, &widest, &payload), NO_RECOVERY_SET);
	assert_int_equal(recover(&b, 0, &payload), NO_RECOVERY_SET);
	bench_free(&b);
}

/* RO-06 */
static void test_refuses_a_wrong_quorum(void **unused)
{
	for (unsigned recovers = 0; recovers < 2; recovers++) {
		struct bench b;
		struct span payload;
		struct ap_health health;
		bench_with_holders(&b);
		struct epoch_recovery next = set_of(1, 0, 1);
		assert_int_equal(recovers ? recover(&b, 0, &payload) : set_recovery(&b, &next, &payload), OK);
		CLEANUP(bytes_free) struct bytes other = BYTES_EMPTY;
		assert_int_equal(bytes_copy(payload, &other), OK);
		other.data[other.len - 1] ^= 1;
		struct recovery_signature good = vote(0, payload), second = vote(1, payload), third = vote(2, payload);
		struct recovery_signature flipped = second, renamed = second, elsewhere = vote(1, bytes_span(&other));
		flipped.signature[40] ^= 1;
		renamed.spki = third.spki;
		struct {
			struct recovery_signature votes[3];
			size_t count;
			enum reason reason;
		} cases[] = {
			{{good}, 1, RECOVERY_QUORUM},
			{{good, good}, 2, DUPLICATE_KEY},
			{{good, vote(EXTRA, payload)}, 2, RECOVERY_QUORUM},
			{{good, second, vote(EXTRA, payload)}, 3, RECOVERY_QUORUM},
			{{good, flipped}, 2, BAD_SIGNATURE},
			{{good, renamed}, 2, BAD_SIGNATURE},
			{{good, elsewhere}, 2, BAD_SIGNATURE},
			{{good, second, {span_of("x", 1), {0}}}, 3, BAD_VALUE},
		};
		unsigned writes = b.writes;
		for (size_t i = 0; i < COUNT_OF(cases); i++) {
			struct ap_adopt_candidate request = an_adoption(payload, cases[i].votes, cases[i].count);
			assert_int_equal(adopt_as(&b, &request), cases[i].reason);
		}
		struct recovery_signature votes[] = {good, third};
		struct ap_adopt_candidate request = an_adoption(payload, votes, 2), wrong = request;
		wrong.payload_digest[0] ^= 1;
		assert_int_equal(adopt_as(&b, &wrong), NO_CANDIDATE);
		wrong = request;
		wrong.host_share[0] ^= 1;
		assert_int_equal(adopt_as(&b, &wrong), BAD_TAG);
		b.epoch = 2;
		assert_int_equal(adopt_as(&b, &request), EPOCH_OLD);
		b.epoch = 1;
		/* Nothing of all that has changed anything. */
		assert_int_equal(b.writes, writes);
		health_of(&b, &health);
		assert_int_equal(health.epoch, 1);
		assert_int_equal(health.state, AP_READY);
		assert_int_equal(adopt_as(&b, &request), OK);
		/* A replay names an epoch that is over, and a candidate that is none any more. */
		uint64_t epoch = b.epoch;
		uint32_t era = b.era;
		b.era = 0;
		b.epoch = 1;
		assert_int_equal(adopt_as(&b, &request), EPOCH_OLD);
		b.era = era;
		b.epoch = epoch;
		assert_int_equal(adopt_as(&b, &request), NO_CANDIDATE);
		bench_free(&b);
	}
}

/* The largest quorum that a record has room for, and the largest state there is. */
static void test_the_widest_set_can_sign(void **unused)
{
	enum { ALL = 32, NEEDED = 30 };
	static struct key keys[ALL];
	static uint8_t spkis[ALL][SPKI_SIZE];
	struct digest32 ids[ALL];
	struct recovery_signature votes[ALL];
	struct bench b;
	struct span payload;
	for (size_t i = 0; i < ALL; i++) {
		assert_int_equal(key_generate(&keys[i]), OK);
		key_spki(&keys[i], spkis[i]);
		memcpy(ids[i].bytes, keys[i].id, KEY_ID_SIZE);
	}
	assert_int_equal(schema_sort(&digest32_schema, ids, ALL), OK);
	struct epoch_recovery set = {NEEDED, ALL, ids, ALL};
	bench_new_recoverable(&b, &set);
	for (size_t i = 0; i < ALL; i++)
		assert_int_equal(epoch_chain_add_key(b.chain, SPAN_ARRAY(spkis[i])), OK);
	bench_use_disk(&b, NULL);
	for (unsigned recovers = 0; recovers < 2; recovers++) {
		assert_int_equal(recovers ? recover(&b, b.epoch - 1, &payload) : set_recovery(&b, &set, &payload), OK);
		for (size_t i = 0; i < ALL; i++) {
			CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
			assert_int_equal(cose_strict_sign_tbs(payload, kind_label(KIND_EPOCH), keys[i].id, &tbs), OK);
			assert_int_equal(key_sign(&keys[i], bytes_span(&tbs), votes[i].signature), OK);
			votes[i].spki = SPAN_ARRAY(spkis[i]);
		}
		struct ap_adopt_candidate request = an_adoption(payload, votes, NEEDED - 1);
		assert_int_equal(adopt_as(&b, &request), RECOVERY_QUORUM);
		request.signature_count = ALL;
		assert_int_equal(adopt_as(&b, &request), TOO_LARGE);
		request.signature_count = NEEDED;
		assert_int_equal(adopt_as(&b, &request), OK);
		restart(&b, 1, 2);
	}
	assert_int_equal(b.era, 1);
	rotate(&b);
	for (size_t i = 0; i < ALL; i++)
		key_free(&keys[i]);
	bench_free(&b);
}

static void test_a_rotation_overtakes_a_new_set_but_not_a_recovery(void **unused)
{
	struct bench b;
	struct span payload;
	struct ap_health health;
	bench_with_holders(&b);
	struct epoch_recovery next = set_of(1, 0, 1);
	assert_int_equal(set_recovery(&b, &next, &payload), OK);
	rotate(&b);
	assert_int_equal(adopt(&b, payload, 0), NO_CANDIDATE);
	/* Draining: the same wait as for a rotation. */
	assert_int_equal(set_recovery(&b, &next, &payload), OK);
	assert_int_equal(adopt(&b, payload, 0), DRAIN_PENDING);
	assert_int_equal(drain(&b), OK);
	/* A later candidate takes the place of an earlier one. */
	struct span later;
	assert_int_equal(recover(&b, 0, &later), OK);
	assert_int_equal(adopt(&b, payload, 0), NO_CANDIDATE);
	for (unsigned i = 0; i < 3; i++) {
		rotate(&b);
		restart(&b, 1, 2);
	}
	health_of(&b, &health);
	assert_true(span_equal(health.candidate, later));
	assert_int_equal(adopt(&b, later, 0), OK);
	assert_int_equal(b.era, 1);
	assert_int_equal(b.epoch, 2);
	bench_free(&b);
}

/* ---- A new era --------------------------------------------------------------------------------------- */

static enum reason derive(struct bench *b, uint32_t era, uint64_t epoch)
{
	struct ap_derive request = {.mode = DERIVE_LOCAL, .purpose = "test", .id_own = "", .id_peer = ""};
	uint32_t now_era = b->era;
	uint64_t now_epoch = b->epoch;
	b->era = era;
	b->epoch = epoch;
	enum reason reason = ask(b, IPQ_DERIVE, &ap_derive_schema, &request, NULL, NULL);
	b->era = now_era;
	b->epoch = now_epoch;
	return reason;
}

static enum reason open_object(struct bench *b, struct span object)
{
	struct enclave e;
	struct ap_endorsed endorsed;
	struct ap_unsealed unsealed;
	struct unseal_request request = {0};
	struct sealed sealed;
	uint8_t oid[OID_SIZE];
	assert_int_equal(object_peek(KIND_SEALED, object, &b->arena, &sealed, oid), OK);
	endorse(b, "IRE-A", &e, &endorsed);
	enum reason reason = unseal(b, &e, &e.sign, object, oid, &request, &unsealed);
	enclave_free(&e);
	return reason;
}

static void test_recovers_in_place(void **unused)
{
	struct bench b;
	struct span payload;
	struct enclave e;
	struct ap_endorsed endorsed;
	struct ap_health health;
	bench_with_holders(&b);
	for (unsigned i = 0; i < 3; i++) {
		rotate(&b);
		assert_int_equal(drain(&b), OK);
	}
	struct span sealed = seal_secret(&b, "IRE-A", "from before", OK);
	endorse(&b, "IRE-A", &e, &endorsed);
	assert_int_equal(recover(&b, 1, &payload), OK); /* epochs 3 and 4 are not to be kept */
	unsigned writes = b.writes;
	assert_int_equal(adopt(&b, payload, 0), OK);
	assert_int_equal(b.writes, writes + 2); /* over both slots */
	assert_int_equal(b.era, 1);
	assert_int_equal(b.epoch, 3);
	assert_true(epoch_chain_at(b.chain, 2)->is_void && epoch_chain_at(b.chain, 3)->is_void);
	/* The old keys are gone at once; launches that they vouched for are over, their ids used up. */
	assert_int_equal(derive(&b, 0, 4), EPOCH_OLD);
	assert_int_equal(derive(&b, 1, 3), OK);
	health_of(&b, &health);
	assert_false(health.draining);
	assert_int_equal(health.live_launches, 0);
	struct ap_reissue reissue;
	memcpy(reissue.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	assert_int_equal(ask(&b, IPQ_REISSUE, &ap_reissue_schema, &reissue, NULL, NULL), UNKNOWN_LAUNCH);
	assert_int_equal(ask(&b, IPQ_EXTEND_LAUNCH, &launch_schema, &e.launch, NULL, NULL), LAUNCH_REUSED);
	enclave_free(&e);
	/* What was sealed before still opens; what is sealed now rests under another key. */
	struct span fresh = seal_secret(&b, "IRE-A", "from after", OK);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(open_object(&b, sealed), OK);
		assert_int_equal(open_object(&b, fresh), OK);
		rotate(&b);
		restart(&b, 1, 2);
	}
	struct sealed before, after;
	assert_int_equal(object_peek(KIND_SEALED, sealed, &b.arena, &before, NULL), OK);
	assert_int_equal(object_peek(KIND_SEALED, fresh, &b.arena, &after, NULL), OK);
	assert_int_not_equal(before.storage_key_version, after.storage_key_version);
	/* Once more, from the era before: the era is the one after the head's. */
	assert_int_equal(recover(&b, 0, &payload), OK);
	assert_int_equal(adopt(&b, payload, 1), OK);
	assert_int_equal(b.era, 2);
	assert_int_equal(b.epoch, 2);
	assert_int_equal(open_object(&b, fresh), OK);
	bench_free(&b);
}

static void test_recovers_into_an_empty_state(void **unused)
{
	struct bench b, fresh;
	struct span payload;
	struct ap_health health;
	bench_with_holders(&b);
	rotate(&b);
	assert_int_equal(drain(&b), OK);
	struct span sealed = seal_secret(&b, "IRE-A", "lost", OK);
	bench_empty(&fresh);
	memcpy(fresh.rot_id, b.rot_id, OID_SIZE);
	fresh.chain = b.chain;
	struct ap_recover request = a_recovery(epoch_chain_at(b.chain, 0)->record, epoch_chain_head(b.chain)->record);
	request.era = 1;
	assert_int_equal(recover_as(&fresh, &request, &payload), NO_ROOT); /* nothing is measured yet */
	measure(&fresh, 7, 8);
	assert_int_equal(recover_as(&fresh, &request, &payload), OK);
	health_of(&fresh, &health);
	assert_int_equal(health.state, AP_MEASURED);
	assert_true(span_equal(health.candidate, payload));
	/* It rests there; the signers have seen what was measured, so no other program may adopt it. */
	restart(&fresh, 9, 8);
	assert_int_equal(adopt(&fresh, payload, 0), MEASUREMENT_WRONG);
	restart(&fresh, 7, 8);
	assert_int_equal(adopt(&fresh, payload, 0), OK);
	assert_int_equal(fresh.era, 1);
	assert_int_equal(fresh.epoch, 3);
	assert_int_equal(state_of(&fresh), AP_READY);
	struct epoch head = head_of(&fresh);
	uint8_t measurement[SHA384_SIZE];
	memset(measurement, 7, sizeof(measurement));
	assert_memory_equal(head.measurement, measurement, SHA384_SIZE);
	health_of(&fresh, &health);
	assert_true(span_equal(health.inception, epoch_chain_at(fresh.chain, 0)->record));
	assert_string_equal(health.trust_domain, "troth.internal");
	/* It is a root like any other: starts, seals, rotates. What the lost one sealed is lost. */
	restart(&fresh, 7, 8);
	assert_int_equal(state_of(&fresh), AP_READY);
	assert_int_equal(open_object(&fresh, sealed), EPOCH_OLD);
	assert_int_equal(open_object(&fresh, seal_secret(&fresh, "IRE-A", "new", OK)), OK);
	rotate(&fresh);
	restart(&fresh, 8, 8);
	assert_int_equal(state_of(&fresh), AP_FAILED);
	b.chain = NULL; /* it went over to the other */
	bench_free(&b);
	bench_free(&fresh);
}

/* The programs were exchanged: nothing is endorsed until the holders say that this is the root's secure processor now. */
static void test_recovers_from_a_wrong_measurement(void **unused)
{
	struct bench b;
	struct span payload;
	struct enclave e;
	bench_with_holders(&b);
	restart(&b, 1, 99);
	assert_int_equal(state_of(&b), AP_FAILED);
	assert_int_equal(launch(&b, "IRE-A", &e), MEASUREMENT_WRONG);
	enclave_free(&e);
	struct epoch_recovery next = set_of(1, 0, 1);
	assert_int_equal(set_recovery(&b, &next, &payload), MEASUREMENT_WRONG);
	assert_int_equal(recover(&b, 0, &payload), OK);
	assert_int_equal(adopt(&b, payload, 0), OK);
	assert_int_equal(state_of(&b), AP_READY);
	restart(&b, 1, 99);
	assert_int_equal(state_of(&b), AP_READY);
	restart(&b, 1, 2);
	assert_int_equal(state_of(&b), AP_FAILED);
	bench_free(&b);
}

/* A failed write leaves it unknown what is on disk: only a start tells, no recovery. */
static void test_does_not_recover_from_a_failed_write(void **unused)
{
	struct bench b;
	struct span payload;
	bench_with_holders(&b);
	bench_use_disk(&b, NULL);
	struct ap_rotate request = a_rotation(1);
	fault_arm("slots.write", 1, EIO, false);
	assert_int_equal(rotate_as(&b, &request), IO_ERROR);
	fault_disarm();
	assert_int_equal(state_of(&b), AP_FAILED);
	assert_int_equal(recover(&b, 0, &payload), NOT_READY);
	restart(&b, 1, 2);
	assert_int_equal(recover(&b, 0, &payload), OK);
	bench_free(&b);
}

/* A record that its own key has signed, with another number. */
static void forge_base(struct bench *b, uint64_t epoch_number, uint32_t era, bool good, struct bytes *out)
{
	struct epoch epoch;
	struct key key;
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	assert_int_equal(epoch_chain_decode(epoch_chain_head(b->chain), &b->arena, &epoch), OK);
	assert_int_equal(key_generate(&key), OK);
	memcpy(epoch.rot_id, b->rot_id, OID_SIZE);
	memcpy(epoch.sign_pk, key.point, POINT_SIZE);
	epoch.epoch = epoch_number;
	epoch.era = era;
	epoch.reason = EPOCH_SCHEDULED;
	assert_int_equal(schema_encode(&epoch_schema, &epoch, &payload), OK);
	const struct key *signers[] = {good ? &key : &holders[0]};
	bytes_free(out);
	assert_int_equal(cose_strict_sign_make(bytes_span(&payload), kind_label(KIND_EPOCH), signers, 1, out), OK);
	key_free(&key);
}

static void test_refuses_bases_that_are_none(void **unused)
{
	struct bench b, other;
	struct span payload;
	CLEANUP(bytes_free) struct bytes base = BYTES_EMPTY;
	bench_with_holders(&b);
	bench_with_holders(&other);
	struct span inception = epoch_chain_at(b.chain, 0)->record, foreign = epoch_chain_at(other.chain, 0)->record;
	struct ap_recover request = a_recovery(foreign, foreign);
	assert_int_equal(recover_as(&b, &request, &payload), EPOCH_FOREIGN); /* another root than its own */
	request = a_recovery(inception, foreign);
	assert_int_equal(recover_as(&b, &request, &payload), EPOCH_FOREIGN);
	request = a_recovery(inception, inception);
	request.trust_domain = "elsewhere.internal";
	assert_int_equal(recover_as(&b, &request, &payload), BAD_VALUE);
	request = a_recovery(inception, inception);
	request.valid_ms = 1;
	assert_int_equal(recover_as(&b, &request, &payload), BAD_VALUE);
	forge_base(&b, 2, 0, false, &base);
	request = a_recovery(inception, bytes_span(&base));
	assert_int_equal(recover_as(&b, &request, &payload), BAD_SIGNATURE);
	request = a_recovery(inception, span_of(inception.data, inception.len - 1));
	assert_int_not_equal(recover_as(&b, &request, &payload), OK);
	/* Eras only rise, above the base's and above its own. */
	forge_base(&b, 5, 7, true, &base);
	request = a_recovery(inception, bytes_span(&base));
	for (uint32_t era = 1; era <= 7; era++) {
		request.era = era;
		assert_int_equal(recover_as(&b, &request, &payload), BAD_VALUE);
	}
	request.era = 8;
	assert_int_equal(recover_as(&b, &request, &payload), OK);
	bench_free(&b);
	bench_free(&other);
}

/* RO-11: numbers end; none begins anew. */
static void test_numbers_do_not_wrap(void **unused)
{
	struct bench b;
	struct span payload;
	struct epoch candidate;
	CLEANUP(bytes_free) struct bytes base = BYTES_EMPTY;
	bench_with_holders(&b);
	struct span inception = epoch_chain_at(b.chain, 0)->record;
	forge_base(&b, UINT64_MAX, 0, true, &base);
	struct ap_recover request = a_recovery(inception, bytes_span(&base));
	assert_int_equal(recover_as(&b, &request, &payload), TOO_LARGE);
	forge_base(&b, 1, UINT32_MAX, true, &base);
	request = a_recovery(inception, bytes_span(&base));
	assert_int_equal(recover_as(&b, &request, &payload), TOO_LARGE);
	/* A root in its last epoch: such a base would be refused by everyone, here it gets us there. */
	forge_base(&b, UINT64_MAX - 1, 0, true, &base);
	request = a_recovery(inception, bytes_span(&base));
	assert_int_equal(recover_as(&b, &request, &payload), OK);
	assert_int_equal(schema_decode(&epoch_schema, payload, &b.arena, &candidate), OK);
	assert_true(candidate.epoch == UINT64_MAX);
	struct recovery_signature votes[] = {vote(0, payload), vote(1, payload)};
	struct ap_adopt_candidate adoption = an_adoption(payload, votes, 2);
	assert_int_equal(ask(&b, IPQ_ADOPT_CANDIDATE, &ap_adopt_candidate_schema, &adoption, NULL, NULL), OK);
	b.era = 1;
	b.epoch = UINT64_MAX;
	struct ap_rotate rotation = a_rotation(1);
	assert_int_equal(ask(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &rotation, NULL, NULL), TOO_LARGE);
	struct epoch_recovery next = set_of(1, 0, 1);
	assert_int_equal(set_recovery(&b, &next, &payload), TOO_LARGE);
	assert_int_equal(state_of(&b), AP_READY);
	bench_free(&b);
}

/* Once more what failed, as a host does: from where the engine or the disk has it. */
static void finish(struct bench *b, bool recovers, const struct epoch_recovery *next)
{
	struct ap_health health;
	struct span payload;
	if (state_of(b) != AP_READY)
		restart(b, 1, 2);
	health_of(b, &health);
	if (health.era == 1 || health.epoch == 2) {
		if (epoch_chain_count(b->chain) == 1)
			assert_int_equal(epoch_chain_follow(b->chain, health.epoch_record), OK);
		adopt_head(b);
		return;
	}
	if (health.candidate.len)
		payload = health.candidate;
	else if ((recovers ? recover(b, 0, &payload) : set_recovery(b, next, &payload)) != OK)
		return;
	(void)adopt(b, payload, 0);
}

/* RO-05, RO-16: each step of making and adopting a candidate fails; asked again it is done, and only one record ever is. */
static void test_adoption_survives_every_failing_step(void **unused)
{
	static const int errors[] = {EIO, ENOSPC};
	for (unsigned round = 0; round < 2 * COUNT_OF(errors); round++) {
		bool failed = true, recovers = round & 1;
		unsigned at = 0;
		while (failed) {
			struct bench b;
			struct span payload;
			bench_with_holders(&b);
			struct epoch_recovery next = set_of(1, 0, 1);
			bench_use_disk(&b, NULL);
			fault_arm(NULL, ++at, errors[round / 2], false);
			enum reason reason = recovers ? recover(&b, 0, &payload) : set_recovery(&b, &next, &payload);
			if (reason == OK)
				reason = adopt(&b, payload, 0);
			failed = fault_disarm() > 0;
			assert_true(failed || reason == OK);
			/* After a failed sync the next write finds the handle done for; after the start that follows all is well. */
			for (unsigned tries = 0; tries < 3 && b.epoch == 1; tries++)
				finish(&b, recovers, &next);
			assert_int_equal(b.era, recovers);
			assert_int_equal(b.epoch, 2);
			restart(&b, 1, 2);
			rotate(&b);
			bench_free(&b);
		}
		assert_true(at > 4); /* something was swept */
	}
}

int test_ap_recover(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes_the_recovery_set),
		cmocka_unit_test(test_refuses_sets_that_could_not_sign),
		cmocka_unit_test(test_refuses_a_wrong_quorum),
		cmocka_unit_test(test_the_widest_set_can_sign),
		cmocka_unit_test(test_a_rotation_overtakes_a_new_set_but_not_a_recovery),
		cmocka_unit_test(test_recovers_in_place),
		cmocka_unit_test(test_recovers_into_an_empty_state),
		cmocka_unit_test(test_recovers_from_a_wrong_measurement),
		cmocka_unit_test(test_does_not_recover_from_a_failed_write),
		cmocka_unit_test(test_refuses_bases_that_are_none),
		cmocka_unit_test(test_numbers_do_not_wrap),
		cmocka_unit_test(test_adoption_survives_every_failing_step),
	};
	return cmocka_run_group_tests(tests, make_holders, free_holders);
}
