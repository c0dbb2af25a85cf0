/*
 * Rotation in the secure processor: that nobody notices it, that it is one transaction, and what it refuses
 * (RO-01, RO-02, RO-04, RO-05, RO-08, RO-11, RO-12, RO-16, IQ-10).
 */
#include "ap_bench.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ap_state_v1.h"
#include "base/fault.h"
#include "crypto/box.h"
#include "crypto/random.h"
#include "crypto/x509.h"
#include "groups.h"
#include "root/ap_worker.h"
#include "root/rot_keys.h"
#include "root/state_file.h"

/* Asked under an epoch that is not the current one. */
static enum reason ask_at(struct bench *b, uint64_t epoch, enum ipq_type type, const struct schema *schema, const void *request,
	const struct schema *reply_schema, void *reply)
{
	uint64_t now = b->epoch;
	b->epoch = epoch;
	enum reason reason = ask(b, type, schema, request, reply_schema, reply);
	b->epoch = now;
	return reason;
}

static enum reason attest(struct bench *b)
{
	struct ap_attest request = {.purpose = "test"};
	struct ap_rot_available reply;
	struct rot_challenge answer;
	random_bytes(request.challenge, sizeof(request.challenge));
	enum reason reason = ask(b, IPQ_ATTEST, &ap_attest_schema, &request, &ap_rot_available_schema, &reply);
	if (reason != OK)
		return reason;
	assert_int_equal(object_open(KIND_ROT_CHALLENGE, reply.challenge, &b->root_sign, &b->arena, &answer, NULL), OK);
	assert_memory_equal(answer.challenge, request.challenge, 32);
	assert_memory_equal(answer.epoch_oid, b->epoch_oid, OID_SIZE);
	return OK;
}

static enum reason derive_at(struct bench *b, uint64_t epoch, struct ap_derived *out)
{
	struct ap_derive request = {.mode = DERIVE_LOCAL, .purpose = "test", .id_own = "", .id_peer = ""};
	return ask_at(b, epoch, IPQ_DERIVE, &ap_derive_schema, &request, &ap_derived_schema, out);
}

/* ---- What it does --------------------------------------------------------------------------------- */

static void test_rotates(void **unused)
{
	struct bench b;
	struct ap_health health;
	struct epoch first, second;
	bench_new(&b);
	rotate(&b);
	assert_int_equal(b.epoch, 2);
	assert_int_equal(attest(&b), OK);
	health_of(&b, &health);
	assert_int_equal(health.epoch, 2);
	assert_true(health.draining);
	assert_false(health.rotating);
	assert_int_equal(health.high_water, b.now);
	assert_true(span_equal(health.inception, epoch_chain_at(b.chain, 0)->record));
	assert_true(span_equal(health.epoch_record, epoch_chain_at(b.chain, 1)->record));
	assert_memory_equal(health.rot_id, b.rot_id, OID_SIZE);
	assert_int_equal(epoch_chain_decode(epoch_chain_at(b.chain, 0), &b.arena, &first), OK);
	assert_int_equal(epoch_chain_decode(epoch_chain_at(b.chain, 1), &b.arena, &second), OK);
	assert_memory_not_equal(first.sign_pk, second.sign_pk, POINT_SIZE);
	assert_memory_not_equal(first.kem_pk, second.kem_pk, POINT_SIZE);
	assert_int_equal(second.not_after - second.not_before, first.not_after - first.not_before);
	assert_int_equal(second.reason, EPOCH_OPERATOR);
	assert_int_equal(second.grace_s, 60);
	bench_free(&b);
}

static void test_rotates_many_times_and_starts_again(void **unused)
{
	struct bench b;
	bench_new(&b);
	for (unsigned i = 0; i < 40; i++) {
		rotate(&b);
		if (i % 3 == 0)
			restart(&b, 1, 2); /* drains by itself */
		else
			assert_int_equal(drain(&b), OK);
		assert_int_equal(attest(&b), OK);
		b.now += 1000;
	}
	assert_int_equal(b.epoch, 41);
	assert_int_equal(epoch_chain_count(b.chain), 41);
	assert_int_equal(epoch_chain_state(b.chain), CHAIN_LIVE);
	assert_int_equal(state_of(&b), AP_READY);
	bench_free(&b);
}

static void test_the_new_record_has_what_was_asked_for(void **unused)
{
	struct bench b;
	struct epoch epoch;
	struct ap_rotate request = a_rotation(1);
	request.valid_ms = 3600 * 1000;
	request.grace_s = 7;
	request.reason = EPOCH_EVENT;
	bench_new(&b);
	b.now = T0 + 12345678;
	assert_int_equal(rotate_as(&b, &request), OK);
	assert_int_equal(epoch_chain_decode(epoch_chain_head(b.chain), &b.arena, &epoch), OK);
	assert_int_equal(epoch.not_before, b.now / 1000 * 1000 - 300 * 1000);
	assert_int_equal(epoch.not_after, b.now / 1000 * 1000 + 3600 * 1000);
	assert_int_equal(epoch.grace_s, 7);
	assert_int_equal(epoch.reason, EPOCH_EVENT);
	uint8_t measurement[SHA384_SIZE];
	memset(measurement, 1, sizeof(measurement));
	assert_memory_equal(epoch.measurement, measurement, SHA384_SIZE);
	/* The next one as long as this one. */
	assert_int_equal(drain(&b), OK);
	rotate(&b);
	assert_int_equal(epoch_chain_decode(epoch_chain_head(b.chain), &b.arena, &epoch), OK);
	assert_int_equal(epoch.not_after - epoch.not_before, 3900 * 1000);
	bench_free(&b);
}

static void test_refuses_a_rotation_that_is_no_such(void **unused)
{
	struct bench b;
	bench_new(&b);
	struct ap_rotate request = a_rotation(1);
	static const uint8_t reasons[] = {EPOCH_INCEPTION};
	for (size_t i = 0; i < COUNT_OF(reasons); i++) {
		request.reason = reasons[i];
		assert_int_equal(rotate_as(&b, &request), BAD_VALUE);
	}
	request = a_rotation(1);
	request.valid_ms = 59 * 1000;
	assert_int_equal(rotate_as(&b, &request), BAD_VALUE);
	request.valid_ms = 3661ULL * 86400000;
	assert_int_equal(rotate_as(&b, &request), BAD_VALUE);
	request = a_rotation(1);
	b.epoch = 2;
	assert_int_equal(rotate_as(&b, &request), EPOCH_OLD);
	b.epoch = 1;
	b.era = 1;
	assert_int_equal(rotate_as(&b, &request), EPOCH_OLD);
	b.era = 0;
	assert_int_equal(rotate_as(&b, &request), OK);
	bench_free(&b);

	bench_empty(&b);
	assert_int_equal(rotate_as(&b, &request), NO_ROOT);
	bench_free(&b);
}

/* RO-04, IQ-10: the same request again changes nothing, also after a restart; any other for that epoch is late. */
static void test_a_repeated_request_gets_the_same_record(void **unused)
{
	struct bench b;
	struct ap_rot_available reply;
	struct ap_rotate request = a_rotation(1), other = a_rotation(2);
	bench_new(&b);
	assert_int_equal(rotate_as(&b, &request), OK);
	for (unsigned restarted = 0; restarted < 2; restarted++) {
		unsigned writes = b.writes;
		request.challenge[0]++;
		assert_int_equal(ask_at(&b, 1, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &reply), OK);
		assert_true(span_equal(reply.epoch_record, epoch_chain_head(b.chain)->record));
		take_record(&b, &reply, request.challenge);
		assert_int_equal(ask_at(&b, 1, IPQ_ROTATE_ROT, &ap_rotate_schema, &other, NULL, NULL), EPOCH_OLD);
		assert_int_equal(ask_at(&b, 0, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, NULL, NULL), EPOCH_OLD);
		/* Its id does not begin another rotation either. */
		assert_int_equal(ask(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, NULL, NULL), EPOCH_OLD);
		assert_int_equal(b.writes, writes);
		restart(&b, 1, 2);
	}
	assert_int_equal(rotate_as(&b, &other), OK);
	assert_int_equal(ask_at(&b, 1, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, NULL, NULL), EPOCH_OLD);
	assert_int_equal(ask_at(&b, 2, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, NULL, NULL), EPOCH_OLD);
	bench_free(&b);
}

static void test_waits_for_the_drain_but_in_an_emergency(void **unused)
{
	struct bench b;
	struct ap_health health;
	struct ap_derived derived;
	struct ap_rotate request = a_rotation(77);
	bench_new(&b);
	rotate(&b);
	assert_int_equal(rotate_as(&b, &request), DRAIN_PENDING);
	assert_int_equal(derive_at(&b, 1, &derived), OK);
	request.emergency = true;
	unsigned writes = b.writes;
	assert_int_equal(rotate_as(&b, &request), OK);
	assert_int_equal(b.writes, writes + 2); /* over both slots: the old keys rest nowhere */
	assert_int_equal(b.epoch, 3);
	health_of(&b, &health);
	assert_false(health.draining);
	assert_int_equal(derive_at(&b, 2, &derived), EPOCH_OLD);
	/* What was on its way and harms nothing is done all the same, under the new epoch. */
	struct ap_sign_report body = {.challenge = span_str("0123456789abcdef")};
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	assert_int_equal(schema_encode(&ap_sign_report_schema, &body, &encoding), OK);
	struct ap_sign sign = {KIND_REPORT, bytes_span(&encoding)};
	assert_int_equal(ask_at(&b, 2, IPQ_SIGN, &ap_sign_schema, &sign, NULL, NULL), OK);
	assert_int_equal(ask_at(&b, 1, IPQ_SIGN, &ap_sign_schema, &sign, NULL, NULL), EPOCH_OLD);
	/* So does a record without a grace. */
	request = a_rotation(78);
	request.grace_s = 0;
	assert_int_equal(rotate_as(&b, &request), OK);
	health_of(&b, &health);
	assert_false(health.draining);
	rotate(&b);
	bench_free(&b);
}

static void test_drains(void **unused)
{
	struct bench b;
	struct ap_derived derived;
	struct ap_health health;
	bench_new(&b);
	unsigned writes = b.writes;
	assert_int_equal(drain(&b), OK); /* nothing to drain, nothing to write */
	assert_int_equal(b.writes, writes);
	rotate(&b);
	assert_int_equal(ask_at(&b, 1, IPQ_DRAIN, NULL, NULL, NULL, NULL), EPOCH_OLD);
	assert_int_equal(derive_at(&b, 1, &derived), OK);
	writes = b.writes;
	assert_int_equal(drain(&b), OK);
	assert_int_equal(b.writes, writes + 1);
	assert_int_equal(derive_at(&b, 1, &derived), EPOCH_OLD);
	health_of(&b, &health);
	assert_false(health.draining);
	assert_int_equal(drain(&b), OK);
	assert_int_equal(b.writes, writes + 1);
	rotate(&b);
	bench_free(&b);
}

/* ---- That nobody notices ---------------------------------------------------------------------------- */

/* Everything that does not change the state, while a rotation is under way. */
static void use_everything(struct bench *b)
{
	struct enclave e;
	struct ap_endorsed endorsed;
	struct ap_unsealed unsealed;
	struct unseal_request request = {0};
	struct sealed sealed;
	struct ap_derived derived;
	uint8_t oid[OID_SIZE];
	assert_int_equal(attest(b), OK);
	endorse(b, "IRE-A", &e, &endorsed);
	struct span object = seal_secret(b, "IRE-A", "meanwhile", OK);
	assert_int_equal(object_open(KIND_SEALED, object, &b->root_sign, &b->arena, &sealed, oid), OK);
	assert_int_equal(unseal(b, &e, &e.sign, object, oid, &request, &unsealed), OK);
	assert_int_equal(derive_at(b, b->epoch, &derived), OK);
	struct ap_reissue reissue;
	memcpy(reissue.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	assert_int_equal(ask(b, IPQ_REISSUE, &ap_reissue_schema, &reissue, NULL, NULL), OK);
	struct ap_end_launch end;
	memcpy(end.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	assert_int_equal(ask(b, IPQ_END_LAUNCH, &ap_end_launch_schema, &end, NULL, NULL), OK);
	enclave_free(&e);
}

static void test_answers_all_else_while_a_rotation_is_under_way(void **unused)
{
	struct bench b;
	struct ap_action action, other;
	struct ap_health health;
	struct ap_rot_available reply;
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	struct ap_rotate request = a_rotation(1);
	struct ap_set_recovery set = {0};
	struct ap_adopt_candidate adopt = {.signatures = &(struct recovery_signature){span_of("x", 1), {0}}, .signature_count = 1};
	bench_new(&b);
	step(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &action);
	assert_int_equal(action.kind, AP_ROTATE);
	struct ap_rotation *rotation = action.rotation;
	for (unsigned done = 0; done < 2; done++) {
		use_everything(&b);
		health_of(&b, &health);
		assert_true(health.rotating);
		assert_int_equal(health.epoch, 1);
		assert_int_equal(rotate_as(&b, &request), ROTATION_RUNNING);
		assert_int_equal(drain(&b), ROTATION_RUNNING);
		assert_int_equal(ask(&b, IPQ_SET_RECOVERY, &ap_set_recovery_schema, &set, NULL, NULL), ROTATION_RUNNING);
		assert_int_equal(ask(&b, IPQ_ADOPT_CANDIDATE, &ap_adopt_candidate_schema, &adopt, NULL, NULL), ROTATION_RUNNING);
		assert_int_equal(ask(&b, IPQ_SHUTDOWN, NULL, NULL, NULL, NULL), ROTATION_RUNNING);
		if (done == 0)
			ap_rotation_run(rotation, bench_write, &b);
	}
	ap_rotated(b.ap, NULL, b.now, &other); /* not that one */
	assert_int_equal(other.reason, ILLEGAL_STATE);
	ap_rotated(b.ap, rotation, b.now, &action);
	assert_int_equal(settle(&b, IPQ_ROTATE_ROT, &action, &answer), OK);
	assert_int_equal(schema_decode(&ap_rot_available_schema, bytes_span(&answer), &b.arena, &reply), OK);
	take_record(&b, &reply, request.challenge);
	use_everything(&b);
	bench_free(&b);
}

static void test_a_launch_goes_on_across_the_change(void **unused)
{
	struct bench b;
	struct enclave e;
	struct ap_endorse_challenge challenge;
	struct ap_endorsed endorsed;
	struct certificate certificate;
	struct tcb_info info;
	CLEANUP(secret_free) struct secret c = SECRET_EMPTY;
	for (unsigned moment = 0; moment < 3; moment++) {
		bench_new(&b);
		if (moment == 0)
			rotate(&b);
		assert_int_equal(launch(&b, "IRE-A", &e), OK);
		if (moment == 1)
			rotate(&b);
		assert_int_equal(endorse_begin(&b, &e, &challenge), OK);
		if (moment == 2)
			rotate(&b);
		secret_free(&c);
		assert_int_equal(box_open(&e.kem, "pop", SPAN_ARRAY(e.launch.launch_id), challenge.box, &c), OK);
		assert_int_equal(endorse_finish(&b, &e, secret_span(&c), &endorsed), OK);
		/* Under the epoch that is current now. */
		assert_int_equal(certificate_parse(endorsed.certificate, &b.arena, &certificate), OK);
		assert_int_equal(certificate_verify(&certificate, &b.root_sign), OK);
		assert_int_equal(schema_decode(&tcb_info_schema, certificate.tcb_info, &b.arena, &info), OK);
		assert_memory_equal(info.epoch_oid, b.epoch_oid, OID_SIZE);
		certificate_free(&certificate);
		enclave_free(&e);
		bench_free(&b);
	}
}

static void test_reissues_under_the_new_epoch(void **unused)
{
	struct bench b;
	struct enclave e, half;
	struct ap_endorsed first, second;
	struct certificate a, c;
	struct report report;
	struct ap_reissue request;
	bench_new(&b);
	endorse(&b, "IRE-A", &e, &first);
	memcpy(request.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	rotate(&b);
	assert_int_equal(ask(&b, IPQ_REISSUE, &ap_reissue_schema, &request, &ap_endorsed_schema, &second), OK);
	assert_int_equal(certificate_parse(first.certificate, &b.arena, &a), OK);
	assert_int_equal(certificate_parse(second.certificate, &b.arena, &c), OK);
	assert_int_equal(certificate_verify(&c, &b.root_sign), OK);
	assert_int_not_equal(certificate_verify(&a, &b.root_sign), OK);
	assert_memory_equal(a.key.point, c.key.point, POINT_SIZE);
	assert_memory_equal(a.kem_point, c.kem_point, POINT_SIZE);
	assert_string_equal(a.uri, c.uri);
	assert_int_equal(object_open(KIND_REPORT, second.report, &b.root_sign, &b.arena, &report, NULL), OK);
	assert_int_equal(report.purpose, REPORT_LAUNCH);
	assert_int_equal(report.epoch, 2);
	assert_memory_equal(report.certificate, c.digest, SHA256_SIZE);
	assert_memory_equal(report.launch.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	/* Not for a launch that has proved nothing, that nobody knows, or that ended. */
	assert_int_equal(launch(&b, "IRE-B", &half), OK);
	memcpy(request.launch_id, half.launch.launch_id, LAUNCH_ID_SIZE);
	assert_int_equal(ask(&b, IPQ_REISSUE, &ap_reissue_schema, &request, NULL, NULL), LAUNCH_REUSED);
	memset(request.launch_id, 0xee, LAUNCH_ID_SIZE);
	assert_int_equal(ask(&b, IPQ_REISSUE, &ap_reissue_schema, &request, NULL, NULL), UNKNOWN_LAUNCH);
	certificate_free(&a);
	certificate_free(&c);
	enclave_free(&e);
	enclave_free(&half);
	bench_free(&b);
}

/* A request that was on its way when the epoch changed. */
static void test_late_requests_that_harm_nothing_are_done(void **unused)
{
	struct bench b;
	struct enclave e;
	struct ap_endorsed endorsed;
	struct report report;
	struct ap_signed signed_object;
	bench_new(&b);
	endorse(&b, "IRE-A", &e, &endorsed);
	rotate(&b);
	struct ap_sign_report body = {.challenge = span_str("0123456789abcdef")};
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	assert_int_equal(schema_encode(&ap_sign_report_schema, &body, &encoding), OK);
	struct ap_sign sign = {KIND_REPORT, bytes_span(&encoding)};
	struct ap_reissue reissue;
	struct ap_end_launch end;
	memcpy(reissue.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	memcpy(end.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	for (unsigned drained = 0; drained < 2; drained++) {
		enum reason expected = drained ? EPOCH_OLD : OK;
		assert_int_equal(ask_at(&b, 1, IPQ_SIGN, &ap_sign_schema, &sign, &ap_signed_schema, &signed_object), expected);
		assert_int_equal(ask_at(&b, 1, IPQ_REISSUE, &ap_reissue_schema, &reissue, NULL, NULL), expected);
		assert_int_equal(ask_at(&b, 0, IPQ_SIGN, &ap_sign_schema, &sign, NULL, NULL), EPOCH_OLD);
		assert_int_equal(ask_at(&b, 3, IPQ_SIGN, &ap_sign_schema, &sign, NULL, NULL), EPOCH_OLD);
		if (!drained) { /* signed under the current epoch */
			assert_int_equal(object_open(KIND_REPORT, signed_object.object, &b.root_sign, &b.arena, &report, NULL), OK);
			assert_int_equal(report.epoch, 2);
			assert_int_equal(drain(&b), OK);
		}
	}
	assert_int_equal(ask_at(&b, 1, IPQ_END_LAUNCH, &ap_end_launch_schema, &end, NULL, NULL), EPOCH_OLD);
	enclave_free(&e);
	bench_free(&b);
}

static void test_derived_keys_are_of_their_epoch(void **unused)
{
	struct bench b;
	struct ap_derived before, during, next, later;
	bench_new(&b);
	assert_int_equal(derive_at(&b, 1, &before), OK);
	rotate(&b);
	assert_int_equal(derive_at(&b, 1, &during), OK);
	assert_true(span_equal(before.key, during.key));
	assert_int_equal(derive_at(&b, 2, &next), OK);
	assert_false(span_equal(before.key, next.key));
	/* To the end of the grace and not beyond, whether DRAIN comes or not. */
	b.now += 60 * 1000;
	assert_int_equal(derive_at(&b, 1, &during), OK);
	b.now += 1;
	assert_int_equal(derive_at(&b, 1, &during), EPOCH_OLD);
	assert_int_equal(derive_at(&b, 2, &later), OK);
	assert_true(span_equal(next.key, later.key));
	/* A start drains too. */
	bench_free(&b);
	bench_new(&b);
	rotate(&b);
	restart(&b, 1, 2);
	assert_int_equal(derive_at(&b, 1, &during), EPOCH_OLD);
	assert_int_equal(derive_at(&b, 2, &during), OK);
	bench_free(&b);
}

/* Both ends must mean one epoch: its KEM key makes the key, its signing key the answer. */
static void test_peers_derive_under_the_epoch_they_name(void **unused)
{
	struct bench b;
	struct enclave e;
	struct ap_endorsed endorsed;
	struct ap_derived derived;
	struct derive_answer answer;
	struct key peer, first;
	bench_new(&b);
	assert_int_equal(key_generate(&peer), OK);
	endorse(&b, "IRE-A", &e, &endorsed);
	struct ap_derive request = {.mode = DERIVE_PEER, .purpose = "test", .id_own = "i", .id_peer = "r"};
	memcpy(request.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	memcpy(request.ephemeral_peer, peer.point, POINT_SIZE);
	first = key_ref(&b.root_sign);
	rotate(&b);
	for (uint64_t epoch = 1; epoch <= 2; epoch++) {
		assert_int_equal(ask_at(&b, epoch, IPQ_DERIVE, &ap_derive_schema, &request, &ap_derived_schema, &derived), OK);
		const struct key *signer = epoch == 1 ? &first : &b.root_sign;
		assert_int_equal(object_open(KIND_DERIVE_ANSWER, derived.answer, signer, &b.arena, &answer, NULL), OK);
		assert_memory_equal(answer.epoch_oid, epoch_chain_at(b.chain, epoch - 1)->oid, OID_SIZE);
		assert_memory_equal(answer.ephemeral_r, epoch_chain_at(b.chain, epoch - 1)->kem_pk, POINT_SIZE);
	}
	assert_int_equal(drain(&b), OK);
	assert_int_equal(ask_at(&b, 1, IPQ_DERIVE, &ap_derive_schema, &request, NULL, NULL), EPOCH_OLD);
	key_free(&first);
	key_free(&peer);
	enclave_free(&e);
	bench_free(&b);
}

static void test_boxes_of_the_former_epoch_open_during_its_grace(void **unused)
{
	struct bench b;
	uint8_t old_kem[POINT_SIZE], new_kem[POINT_SIZE];
	bench_new(&b);
	memcpy(old_kem, b.kem_pk, POINT_SIZE);
	rotate(&b);
	memcpy(new_kem, b.kem_pk, POINT_SIZE);
	memcpy(b.kem_pk, old_kem, POINT_SIZE);
	struct span object = seal_secret(&b, "IRE-A", "boxed before", OK);
	struct sealed sealed;
	assert_int_equal(object_open(KIND_SEALED, object, &b.root_sign, &b.arena, &sealed, NULL), OK);
	assert_memory_equal(sealed.epoch_oid, b.epoch_oid, OID_SIZE);
	assert_int_equal(drain(&b), OK);
	(void)seal_secret(&b, "IRE-A", "boxed before", EPOCH_OLD);
	memcpy(b.kem_pk, new_kem, POINT_SIZE);
	(void)seal_secret(&b, "IRE-A", "boxed after", OK);
	bench_free(&b);
}

static void open_sealed_in(struct bench *b, struct span object, const char *expected)
{
	struct enclave e;
	struct ap_endorsed endorsed;
	struct ap_unsealed unsealed;
	struct unseal_request request = {0};
	struct unseal_grant grant;
	struct sealed sealed;
	uint8_t oid[OID_SIZE], aad[16 + 32 + 32];
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	assert_int_equal(object_peek(KIND_SEALED, object, &b->arena, &sealed, oid), OK);
	endorse(b, "IRE-A", &e, &endorsed);
	assert_int_equal(unseal(b, &e, &e.sign, object, oid, &request, &unsealed), OK);
	assert_int_equal(object_open(KIND_UNSEAL_GRANT, unsealed.grant, &b->root_sign, &b->arena, &grant, NULL), OK);
	memcpy(aad, e.launch.launch_id, 16);
	memcpy(aad + 16, oid, 32);
	memcpy(aad + 48, request.nonce, 32);
	assert_int_equal(box_open(&e.kem, "unseal", SPAN_ARRAY(aad), unsealed.box, &secret), OK);
	assert_true(span_equal_str(secret_span(&secret), expected));
	enclave_free(&e);
}

static void test_sealed_secrets_outlive_epochs(void **unused)
{
	struct bench b;
	bench_new(&b);
	struct span object = seal_secret(&b, "IRE-A", "long-lived", OK);
	for (unsigned i = 0; i < 4; i++) {
		rotate(&b);
		open_sealed_in(&b, object, "long-lived");
		assert_int_equal(drain(&b), OK);
		open_sealed_in(&b, object, "long-lived");
		restart(&b, 1, 2);
	}
	/* What authenticates it now is the encryption: an altered one does not open. */
	struct enclave e;
	struct ap_endorsed endorsed;
	struct ap_unsealed unsealed;
	struct sealed sealed;
	CLEANUP(bytes_free) struct bytes altered = BYTES_EMPTY;
	struct unseal_request request = {0};
	uint8_t oid[OID_SIZE];
	endorse(&b, "IRE-A", &e, &endorsed);
	assert_int_equal(object_peek(KIND_SEALED, object, &b.arena, &sealed, NULL), OK);
	for (unsigned what = 0; what < 3; what++) {
		CLEANUP(bytes_free) struct bytes cipher = BYTES_EMPTY;
		struct key thief;
		struct sealed forged = sealed;
		assert_int_equal(bytes_copy(sealed.ciphertext, &cipher), OK);
		forged.ciphertext = bytes_span(&cipher);
		if (what == 0)
			cipher.data[0] ^= 1;
		else if (what == 1)
			forged.salt[0] ^= 1;
		else
			forged.epoch_oid[0] ^= 1; /* an epoch that never was: no signature is checked, the secret stays whose it is */
		assert_int_equal(key_generate(&thief), OK);
		bytes_free(&altered);
		assert_int_equal(object_sign(KIND_SEALED, &forged, &thief, &altered, oid), OK);
		assert_int_equal(unseal(&b, &e, &e.sign, bytes_span(&altered), oid, &request, &unsealed), what == 2 ? OK : BAD_TAG);
		key_free(&thief);
	}
	/* One that claims the current epoch without its signature is refused. */
	struct key thief;
	assert_int_equal(key_generate(&thief), OK);
	memcpy(sealed.epoch_oid, b.epoch_oid, OID_SIZE);
	bytes_free(&altered);
	assert_int_equal(object_sign(KIND_SEALED, &sealed, &thief, &altered, oid), OK);
	assert_int_equal(unseal(&b, &e, &e.sign, bytes_span(&altered), oid, &request, &unsealed), BAD_SIGNATURE);
	key_free(&thief);
	enclave_free(&e);
	bench_free(&b);
}

/* ---- Attacks ---------------------------------------------------------------------------------------- */

/* RO-08: the share opens what it wrapped and nothing else; the seed of the host alone says nothing about the keys. */
static void test_a_host_that_lies_about_seed_and_share_gains_nothing(void **unused)
{
	struct bench b, clone;
	bench_new(&b);
	struct ap_rotate request = a_rotation(1), lie = request;
	lie.host_share[31] ^= 1;
	unsigned writes = b.writes;
	assert_int_equal(rotate_as(&b, &lie), BAD_TAG);
	assert_int_equal(b.writes, writes);
	assert_int_equal(state_of(&b), AP_READY);
	assert_int_equal(attest(&b), OK);
	/* The same state and the same request in a clone: epoch 2 is what was committed to, epoch 3 is nobody's choice. */
	bench_empty(&clone);
	keep(&clone, bytes_span(&b.state));
	clone.epoch = 1;
	memcpy(clone.rot_id, b.rot_id, OID_SIZE);
	assert_int_equal(epoch_chain_new(epoch_chain_at(b.chain, 0)->record, &clone.chain), OK);
	restart(&clone, 1, 2);
	assert_int_equal(rotate_as(&b, &request), OK);
	assert_int_equal(rotate_as(&clone, &request), OK);
	assert_memory_equal(b.root_sign.point, clone.root_sign.point, POINT_SIZE);
	assert_memory_not_equal(b.epoch_oid, clone.epoch_oid, OID_SIZE);
	assert_int_equal(drain(&b), OK);
	assert_int_equal(drain(&clone), OK);
	request = a_rotation(2);
	assert_int_equal(rotate_as(&b, &request), OK);
	assert_int_equal(rotate_as(&clone, &request), OK);
	assert_memory_not_equal(b.root_sign.point, clone.root_sign.point, POINT_SIZE);
	/* RO-02, RO-13: who has seen both is frozen. */
	assert_int_equal(epoch_chain_follow(b.chain, epoch_chain_at(clone.chain, 1)->record), EPOCH_FORKED);
	assert_int_equal(epoch_chain_state(b.chain), CHAIN_FROZEN);
	bench_free(&b);
	bench_free(&clone);
}

/*
 * RO-01: an old copy of the state is valid here, as nothing but a counter could tell; it shows its head, and what it would
 * make is a fork that everyone sees.
 */
static void test_a_state_that_was_put_back_shows_as_such(void **unused)
{
	struct bench b;
	struct ap_health health;
	struct ap_rot_available reply;
	CLEANUP(bytes_free) struct bytes old = BYTES_EMPTY;
	bench_new(&b);
	rotate(&b);
	assert_int_equal(drain(&b), OK);
	assert_int_equal(bytes_copy(bytes_span(&b.state), &old), OK);
	rotate(&b);
	assert_int_equal(drain(&b), OK);
	rotate(&b);
	keep(&b, bytes_span(&old));
	b.epoch = 2;
	restart(&b, 1, 2);
	health_of(&b, &health);
	assert_int_equal(health.epoch, 2);
	assert_true(span_equal(health.epoch_record, epoch_chain_at(b.chain, 1)->record));
	/* A host that rotates it all the same: the property of the bench is broken knowingly here. */
	b.handed_count = 0;
	struct ap_rotate request = a_rotation(9);
	assert_int_equal(ask(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &reply), OK);
	assert_int_equal(epoch_chain_follow(b.chain, reply.epoch_record), EPOCH_FORKED);
	bench_free(&b);
}

/* RO-12 */
static void test_clock_back_and_forward(void **unused)
{
	struct bench b;
	struct epoch epoch;
	const uint64_t later = T0 + 3600 * 1000;
	bench_new(&b);
	b.now = later;
	rotate(&b);
	assert_int_equal(drain(&b), OK);
	/* Back by what is borne: the new record begins where the clock was, not before the record it follows. */
	b.now = later - 300 * 1000;
	rotate(&b);
	assert_int_equal(epoch_chain_decode(epoch_chain_head(b.chain), &b.arena, &epoch), OK);
	assert_int_equal(epoch.not_before, later - 300 * 1000);
	assert_int_equal(drain(&b), OK);
	/* By more, nothing is done and nothing is written; also after a start, as the time rests in the state. */
	b.now = later - 300 * 1000 - 1;
	struct ap_rotate request = a_rotation(50);
	unsigned writes = b.writes;
	assert_int_equal(rotate_as(&b, &request), CLOCK_BACK);
	assert_int_equal(drain(&b), CLOCK_BACK);
	assert_int_equal(b.writes, writes);
	assert_int_equal(try_boot(&b), CLOCK_BACK);
	/* Far forward: the epoch is over, nothing is signed for launches, and a rotation makes a record of that time. */
	b.now = T0 + 500ULL * 86400000;
	restart(&b, 1, 2);
	struct enclave e;
	assert_int_equal(launch(&b, "IRE-A", &e), EPOCH_EXPIRED);
	enclave_free(&e);
	rotate(&b);
	assert_int_equal(epoch_chain_decode(epoch_chain_head(b.chain), &b.arena, &epoch), OK);
	assert_int_equal(epoch.not_before, b.now - 300 * 1000);
	assert_int_equal(launch(&b, "IRE-A", &e), OK);
	enclave_free(&e);
	bench_free(&b);
}

/* ---- Crashes and full disks ------------------------------------------------------------------------- */

/* One rotation and its drain, asked for as a host does: again with the same id until the reply is there. */
static void rotate_until_done(struct bench *b, uint8_t id)
{
	struct ap_rotate request = a_rotation(id);
	struct ap_rot_available reply;
	uint64_t from = b->epoch;
	for (unsigned tries = 0; b->epoch == from; tries++) {
		assert_true(tries < 4);
		enum reason reason = ask(b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &reply);
		if (reason == OK)
			take_record(b, &reply, request.challenge);
		else if (state_of(b) != AP_READY)
			restart(b, 1, 2);
	}
}

/* RO-05, RO-16: each step of each write of a rotation and of its drain fails, once or for good, in every way. */
static void test_survives_every_failing_step(void **unused)
{
	static const int errors[] = {EIO, ENOSPC};
	for (size_t e = 0; e < COUNT_OF(errors); e++) {
		for (unsigned step_at = 1;; step_at++) {
			struct bench b;
			bench_new(&b);
			bench_use_disk(&b, NULL);
			fault_arm(NULL, step_at, errors[e], false);
			struct ap_rotate request = a_rotation(1);
			struct ap_rot_available reply;
			enum reason reason = ask(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &reply);
			if (reason == OK) {
				take_record(&b, &reply, request.challenge);
				(void)drain(&b);
			}
			bool failed = fault_disarm() > 0;
			/* Whatever failed: either all goes on, or the next start finds the old epoch or the whole new one. */
			if (reason != OK && errors[e] == ENOSPC && state_of(&b) == AP_READY)
				assert_int_equal(attest(&b), OK);
			restart(&b, 1, 2);
			assert_int_equal(state_of(&b), AP_READY);
			if (b.epoch == 1)
				rotate_until_done(&b, 1);
			assert_int_equal(b.epoch, 2);
			assert_int_equal(attest(&b), OK);
			assert_int_equal(drain(&b), OK);
			rotate(&b);
			bench_free(&b);
			if (!failed) {
				assert_true(step_at > 4); /* something was swept */
				break;
			}
		}
	}
}

/* A file whose writes stop after so many bytes, as when the power goes, and then fail. */
struct torn {
	size_t left;
	int error;
	bool armed;
};
static struct torn torn;

static ssize_t torn_write(void *ctx, int fd, const void *data, size_t len, off_t offset)
{
	if (!torn.armed)
		return store_io_system.pwrite(NULL, fd, data, len, offset);
	size_t now = len < torn.left ? len : torn.left;
	if (now == 0) {
		errno = torn.error;
		return -1;
	}
	torn.left -= now;
	return store_io_system.pwrite(NULL, fd, data, now, offset);
}

static int torn_sync(void *ctx, int fd)
{
	if (!torn.armed)
		return store_io_system.data_sync(NULL, fd);
	errno = torn.error;
	return -1;
}

/* RO-05: the write of the new state stops anywhere. Never two records for one epoch, and never a state that does not load. */
static void test_survives_a_write_that_stops_anywhere(void **unused)
{
	static const size_t lengths[] = {1, 4, 23, 24, 25, 511, 512, 1000, 1500, 2000, 2500, 4096, 20000, AP_STATE_SLOT - 1, AP_STATE_SLOT};
	static const int errors[] = {EIO, ENOSPC};
	struct store_io io = store_io_system;
	io.pwrite = torn_write;
	io.data_sync = torn_sync;
	for (size_t i = 0; i < COUNT_OF(lengths) * COUNT_OF(errors); i++) {
		struct bench b;
		struct ap_rotate request = a_rotation(1), other = a_rotation(2);
		torn = (struct torn){0};
		bench_new(&b);
		bench_use_disk(&b, &io);
		torn = (struct torn){lengths[i / COUNT_OF(errors)], errors[i % COUNT_OF(errors)], true};
		enum reason reason = rotate_as(&b, &request);
		assert_int_not_equal(reason, OK);
		bool goes_on = state_of(&b) == AP_READY;
		assert_int_equal(goes_on, reason == DISK_FULL);
		/* What failed may be on disk whole: whoever copies the file now has it. */
		CLEANUP(bytes_free) struct bytes found = BYTES_EMPTY;
		struct slots copy;
		torn.armed = false;
		assert_int_equal(slots_open(b.fd, AP_STATE_SLOT, &copy), OK);
		assert_int_equal(slots_read(&copy, &found), OK);
		if (goes_on) {
			assert_int_equal(attest(&b), OK);
			/* With room again another request finishes the record that was made; it is not made anew. */
			reason = rotate_as(&b, &other);
			bool synced = lengths[i / COUNT_OF(errors)] < AP_STATE_SLOT;
			assert_int_equal(reason, synced ? OK : JOURNAL_POISONED); /* after a failed sync nothing is written any more */
		}
		if (reason != OK) {
			restart(&b, 1, 2);
			if (b.epoch == 1)
				rotate_until_done(&b, 1);
		}
		assert_int_equal(b.epoch, 2);
		assert_int_equal(attest(&b), OK);
		/* The copy holds the old epoch, or the very same new one. */
		struct bench thief;
		struct ap_health health;
		bench_empty(&thief);
		keep(&thief, bytes_span(&found));
		boot(&thief);
		health_of(&thief, &health);
		if (health.epoch == 2)
			assert_true(span_equal(health.epoch_record, epoch_chain_head(b.chain)->record));
		else
			assert_int_equal(health.epoch, 1);
		bench_free(&thief);
		bench_free(&b);
	}
}

/* One start, rotation and drain over the state file `fd`, in a process of its own that ends at the `at`-th step of a write. */
static void rotate_until_killed(int fd, unsigned at)
{
	struct bench b = {.arena = arena_of(4 << 20), .now = T0, .disk = true, .fd = fd, .io = &store_io_system};
	struct ap_rotate request = a_rotation(1);
	assert_int_equal(secret_new(32, &b.wrap), OK);
	memset(b.wrap.data, 0x5a, 32);
	restart(&b, 1, 2);
	fault_arm(NULL, at, FAULT_KILL, false);
	enum reason rotated = ask(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, NULL, NULL);
	b.epoch++;
	_exit(rotated == OK && drain(&b) == OK ? 0 : 1);
}

/* RO-05: killed at each step of each write, by SIGKILL. */
static void test_survives_a_kill_at_every_step(void **unused)
{
	bool killed = true;
	unsigned at = 0;
	while (killed) {
		struct bench b;
		int status;
		bench_new(&b);
		bench_use_disk(&b, NULL);
		ap_free(b.ap);
		b.ap = NULL;
		pid_t child = fork();
		assert_true(child >= 0);
		at++;
		if (child == 0)
			rotate_until_killed(b.fd, at);
		assert_int_equal(waitpid(child, &status, 0), child);
		killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		assert_true(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
		restart(&b, 1, 2);
		if (b.epoch == 1)
			rotate_until_done(&b, 1);
		assert_int_equal(b.epoch, 2);
		assert_int_equal(attest(&b), OK);
		assert_int_equal(drain(&b), OK);
		rotate(&b);
		bench_free(&b);
	}
	assert_true(at > 4); /* something was swept */
}

/* A process that is killed before the reply: the next start rolls forward with the same bytes. */
static void test_rolls_forward_after_a_kill(void **unused)
{
	struct bench b;
	struct ap_action action;
	struct ap_health health;
	struct ap_rot_available reply;
	struct ap_rotate request = a_rotation(5);
	bench_new(&b);
	bench_use_disk(&b, NULL);
	step(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &action);
	assert_int_equal(action.kind, AP_ROTATE);
	ap_rotation_run(action.rotation, bench_write, &b);
	restart(&b, 1, 2); /* ap_rotated never came */
	health_of(&b, &health);
	assert_int_equal(health.epoch, 2);
	assert_false(health.draining);
	/* The host asks again. */
	assert_int_equal(ask_at(&b, 1, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &reply), OK);
	assert_true(span_equal(reply.epoch_record, health.epoch_record));
	take_record(&b, &reply, request.challenge);
	bench_free(&b);

	/* Killed before the write: as if nothing had been asked. */
	bench_new(&b);
	bench_use_disk(&b, NULL);
	step(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &action);
	restart(&b, 1, 2);
	health_of(&b, &health);
	assert_int_equal(health.epoch, 1);
	assert_int_equal(rotate_as(&b, &request), OK);
	bench_free(&b);
}

static void test_a_drain_that_cannot_be_written_is_asked_for_again(void **unused)
{
	struct bench b;
	struct ap_health health;
	bench_new(&b);
	bench_use_disk(&b, NULL);
	rotate(&b);
	fault_arm("slots.write", 1, ENOSPC, false);
	assert_int_equal(drain(&b), DISK_FULL);
	fault_disarm();
	health_of(&b, &health);
	assert_true(health.draining);
	assert_int_equal(health.state, AP_READY);
	assert_int_equal(drain(&b), OK);
	health_of(&b, &health);
	assert_false(health.draining);
	/* The second write of an emergency: the epoch has changed, and is drained later. */
	struct ap_rotate request = a_rotation(70);
	request.emergency = true;
	fault_arm("slots.sync", 2, EIO, true);
	assert_int_equal(rotate_as(&b, &request), OK);
	fault_disarm();
	health_of(&b, &health);
	assert_true(health.draining);
	assert_int_equal(health.epoch, 3);
	restart(&b, 1, 2);
	assert_int_equal(attest(&b), OK);
	bench_free(&b);
}

static bool holds(struct span file, struct span needle)
{
	for (size_t i = 0; i + needle.len <= file.len; i++)
		if (memcmp(file.data + i, needle.data, needle.len) == 0)
			return true;
	return false;
}

/* After a drain the state file holds nothing of the epoch before: neither its record nor its wrapped seed. */
static void test_after_a_drain_the_old_epoch_rests_nowhere(void **unused)
{
	struct bench b;
	uint8_t *file = malloc(2 * AP_STATE_SLOT);
	struct ap_rotate emergency = a_rotation(90);
	assert_non_null(file);
	bench_new(&b);
	bench_use_disk(&b, NULL);
	rotate(&b);
	assert_int_equal(drain(&b), OK);
	struct span old = epoch_chain_head(b.chain)->record;
	rotate(&b);
	assert_int_equal(pread(b.fd, file, 2 * AP_STATE_SLOT, 0), 2 * AP_STATE_SLOT);
	assert_true(holds(span_of(file, 2 * AP_STATE_SLOT), old));
	assert_int_equal(drain(&b), OK);
	assert_int_equal(pread(b.fd, file, 2 * AP_STATE_SLOT, 0), 2 * AP_STATE_SLOT);
	assert_false(holds(span_of(file, 2 * AP_STATE_SLOT), old));
	old = epoch_chain_head(b.chain)->record;
	emergency.emergency = true;
	assert_int_equal(rotate_as(&b, &emergency), OK);
	assert_int_equal(pread(b.fd, file, 2 * AP_STATE_SLOT, 0), 2 * AP_STATE_SLOT);
	assert_false(holds(span_of(file, 2 * AP_STATE_SLOT), old));
	free(file);
	bench_free(&b);
}

/* ---- The former build's state ----------------------------------------------------------------------- */

static void test_a_state_of_the_former_build_loads_and_rotates(void **unused)
{
	struct bench b;
	struct ap_health health;
	bench_empty(&b);
	keep(&b, SPAN_ARRAY(state_v1));
	restart(&b, 1, 2);
	health_of(&b, &health);
	assert_int_equal(health.state, AP_READY);
	assert_int_equal(health.epoch, 1);
	assert_true(span_equal(health.inception, health.epoch_record));
	assert_int_equal(epoch_chain_new(health.inception, &b.chain), OK);
	adopt_head(&b);
	memcpy(b.rot_id, b.epoch_oid, OID_SIZE);
	assert_int_equal(attest(&b), OK);
	open_sealed_in(&b, SPAN_ARRAY(sealed_v1), "of the former build");
	for (unsigned i = 0; i < 3; i++) {
		rotate(&b);
		restart(&b, 1, 2);
		open_sealed_in(&b, SPAN_ARRAY(sealed_v1), "of the former build");
	}
	bench_free(&b);
	/* It is under its MAC as before. */
	bench_empty(&b);
	for (size_t i = 0; i < sizeof(state_v1); i += 7) {
		keep(&b, SPAN_ARRAY(state_v1));
		b.state.data[i] ^= 4;
		assert_int_not_equal(try_boot(&b), OK);
	}
	bench_free(&b);
}

static void test_the_rotated_state_is_under_a_mac(void **unused)
{
	struct bench b;
	bench_new(&b);
	rotate(&b);
	CLEANUP(bytes_free) struct bytes good = BYTES_EMPTY;
	assert_int_equal(bytes_copy(bytes_span(&b.state), &good), OK);
	for (size_t i = 0; i < good.len; i++) {
		keep(&b, bytes_span(&good));
		b.state.data[i] ^= 1;
		assert_int_not_equal(try_boot(&b), OK);
	}
	keep(&b, bytes_span(&good));
	restart(&b, 1, 2);
	assert_int_equal(attest(&b), OK);
	bench_free(&b);
}

/* ---- Threads ---------------------------------------------------------------------------------------- */

struct shared_state {
	pthread_mutex_t lock;
	unsigned writes;
	_Atomic bool woken;
};

static result count_write(void *context, struct span state)
{
	struct shared_state *shared = context;
	pthread_mutex_lock(&shared->lock);
	shared->writes += state.len > 0;
	pthread_mutex_unlock(&shared->lock);
	return OK;
}

static void note_wake(void *context)
{
	((struct shared_state *)context)->woken = true;
}

/* The engine answers on this thread while the worker rotates and drains; for ThreadSanitizer as much as for the answers. */
static void test_a_worker_rotates_beside_the_engine(void **unused)
{
	struct bench b;
	struct shared_state shared = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct ap_worker_config config = {count_write, &shared, note_wake, &shared};
	struct ap_worker *worker;
	unsigned attested = 0;
	bench_new(&b);
	assert_int_equal(ap_worker_start(&config, &worker), OK);
	assert_null(ap_worker_take(worker));
	assert_null(ap_worker_await(worker));
	for (unsigned i = 0; i < 60; i++) {
		struct ap_action action;
		struct ap_rot_available reply;
		struct ap_rotate request = a_rotation((uint8_t)i);
		struct ap_rotation *done;
		CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
		bool drains = i & 1;
		step(&b, drains ? IPQ_DRAIN : IPQ_ROTATE_ROT, drains ? NULL : &ap_rotate_schema, &request, &action);
		assert_int_equal(action.kind, AP_ROTATE);
		ap_worker_give(worker, action.rotation);
		while (!(done = ap_worker_take(worker))) {
			assert_int_equal(attest(&b), OK);
			attested++;
		}
		ap_rotated(b.ap, done, b.now, &action);
		assert_int_equal(settle(&b, drains ? IPQ_DRAIN : IPQ_ROTATE_ROT, &action, &answer), OK);
		if (drains)
			continue;
		assert_int_equal(schema_decode(&ap_rot_available_schema, bytes_span(&answer), &b.arena, &reply), OK);
		take_record(&b, &reply, request.challenge);
		assert_int_equal(attest(&b), OK);
	}
	assert_int_equal(b.epoch, 31);
	assert_int_equal(shared.writes, 60);
	assert_true(attested > 0);
	/* Stopped with work under way: that is finished first. */
	struct ap_action action;
	struct ap_rotate request = a_rotation(200);
	step(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &action);
	ap_worker_give(worker, action.rotation);
	ap_worker_stop(worker);
	assert_int_equal(shared.writes, 61);
	assert_true(shared.woken);
	ap_worker_stop(NULL);
	bench_free(&b);
}

int test_ap_rotate(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rotates),
		cmocka_unit_test(test_rotates_many_times_and_starts_again),
		cmocka_unit_test(test_the_new_record_has_what_was_asked_for),
		cmocka_unit_test(test_refuses_a_rotation_that_is_no_such),
		cmocka_unit_test(test_a_repeated_request_gets_the_same_record),
		cmocka_unit_test(test_waits_for_the_drain_but_in_an_emergency),
		cmocka_unit_test(test_drains),
		cmocka_unit_test(test_answers_all_else_while_a_rotation_is_under_way),
		cmocka_unit_test(test_a_launch_goes_on_across_the_change),
		cmocka_unit_test(test_reissues_under_the_new_epoch),
		cmocka_unit_test(test_late_requests_that_harm_nothing_are_done),
		cmocka_unit_test(test_derived_keys_are_of_their_epoch),
		cmocka_unit_test(test_peers_derive_under_the_epoch_they_name),
		cmocka_unit_test(test_boxes_of_the_former_epoch_open_during_its_grace),
		cmocka_unit_test(test_sealed_secrets_outlive_epochs),
		cmocka_unit_test(test_a_host_that_lies_about_seed_and_share_gains_nothing),
		cmocka_unit_test(test_a_state_that_was_put_back_shows_as_such),
		cmocka_unit_test(test_clock_back_and_forward),
		cmocka_unit_test(test_survives_every_failing_step),
		cmocka_unit_test(test_survives_a_write_that_stops_anywhere),
		cmocka_unit_test(test_survives_a_kill_at_every_step),
		cmocka_unit_test(test_rolls_forward_after_a_kill),
		cmocka_unit_test(test_a_drain_that_cannot_be_written_is_asked_for_again),
		cmocka_unit_test(test_after_a_drain_the_old_epoch_rests_nowhere),
		cmocka_unit_test(test_a_state_of_the_former_build_loads_and_rotates),
		cmocka_unit_test(test_the_rotated_state_is_under_a_mac),
		cmocka_unit_test(test_a_worker_rotates_beside_the_engine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
