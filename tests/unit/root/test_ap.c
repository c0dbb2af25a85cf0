/* The secure processor engine: what it does when asked rightly, and what it refuses (RO-08, RO-10, RO-17, BI-09, BI-10). */
#include "ap_bench.h"

#include "crypto/box.h"
#include "crypto/x509.h"
#include "groups.h"
#include "root/boot_log.h"
#include "object/transport.h"

static void test_generates_and_survives_a_restart(void **unused)
{
	struct bench b;
	bench_new(&b);
	uint8_t rot_id[OID_SIZE];
	memcpy(rot_id, b.rot_id, OID_SIZE);
	uint64_t boots = ap_boot_gen(b.ap);
	restart(&b, 1, 2);
	assert_int_equal(state_of(&b), AP_READY);
	assert_int_equal(ap_boot_gen(b.ap), boots + 1);
	struct ap_attest request = {.purpose = "test"};
	struct ap_rot_available reply;
	struct rot_challenge challenge;
	assert_int_equal(ask(&b, IPQ_ATTEST, &ap_attest_schema, &request, &ap_rot_available_schema, &reply), OK);
	assert_int_equal(object_open(KIND_ROT_CHALLENGE, reply.challenge, &b.root_sign, &b.arena, &challenge, NULL), OK);
	assert_memory_equal(challenge.rot_id, rot_id, OID_SIZE);
	bench_free(&b);
}

static void test_refuses_a_second_root(void **unused)
{
	struct bench b;
	bench_new(&b);
	struct ap_generate request = a_generate();
	assert_int_equal(ask(&b, IPQ_GENERATE_ROT, &ap_generate_schema, &request, NULL, NULL), ROOT_EXISTS);
	b.epoch = 0; /* a replay of the first request */
	assert_int_equal(ask(&b, IPQ_GENERATE_ROT, &ap_generate_schema, &request, NULL, NULL), ROOT_EXISTS);
	bench_free(&b);
}

static void test_wrong_measurement_refuses_endorsement_and_names_the_phase(void **unused)
{
	static const struct {
		uint8_t ap, host;
		const char *phase;
	} cases[] = {{99, 2, "phase 0"}, {1, 99, "phase 1"}};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bench b;
		struct enclave e;
		struct ap_health health;
		bench_new(&b);
		restart(&b, cases[i].ap, cases[i].host);
		assert_int_equal(ask(&b, IPQ_HEALTH, NULL, NULL, &ap_health_schema, &health), OK);
		assert_int_equal(health.state, AP_FAILED);
		assert_non_null(strstr(health.failure, cases[i].phase));
		assert_int_equal(launch(&b, "IRE-A", &e), MEASUREMENT_WRONG);
		enclave_free(&e);
		/* The operator accepts the change: from then on it is what the root expects. */
		assert_int_equal(ask(&b, IPQ_ACCEPT_MEASUREMENTS, NULL, NULL, NULL, NULL), OK);
		assert_int_equal(state_of(&b), AP_READY);
		restart(&b, cases[i].ap, cases[i].host);
		assert_int_equal(state_of(&b), AP_READY);
		bench_free(&b);
	}
}

static void test_measures_only_before_use(void **unused)
{
	struct bench b;
	bench_new(&b);
	assert_int_equal(extend(&b, REGISTER_AP, "troth-ap", 1), MEASUREMENT_LATE);
	assert_int_equal(extend(&b, REGISTER_HOST, "trothd", 2), MEASUREMENT_LATE);
	assert_int_equal(extend(&b, REGISTER_LAUNCHES, "x", 3), BAD_VALUE);
	boot(&b);
	assert_int_equal(extend(&b, REGISTER_HOST, "trothd", 2), NOT_READY);
	assert_int_equal(extend(&b, REGISTER_AP, "troth-ap", 1), OK);
	assert_int_equal(extend(&b, REGISTER_HOST, "trothd", 2), OK);
	assert_int_equal(state_of(&b), AP_READY);
	bench_free(&b);
}

static void test_accepts_nothing_that_did_not_change(void **unused)
{
	struct bench b;
	bench_new(&b);
	assert_int_equal(ask(&b, IPQ_ACCEPT_MEASUREMENTS, NULL, NULL, NULL, NULL), NOT_READY);
	bench_free(&b);
}

static void test_endorses_a_launch(void **unused)
{
	struct bench b;
	struct enclave e;
	struct ap_endorsed endorsed;
	struct certificate certificate;
	struct report report;
	bench_new(&b);
	endorse(&b, "IRE-A", &e, &endorsed);
	assert_int_equal(certificate_parse(endorsed.certificate, &b.arena, &certificate), OK);
	assert_int_equal(certificate_verify(&certificate, &b.root_sign), OK);
	assert_int_equal(certificate_valid_at(&certificate, b.now), OK);
	const char *name;
	assert_int_equal(ire_uri_name(certificate.uri, b.rot_id, &name), OK);
	assert_string_equal(name, "IRE-A");
	assert_memory_equal(certificate.kem_point, e.kem.point, POINT_SIZE);
	assert_int_equal(object_open(KIND_REPORT, endorsed.report, &b.root_sign, &b.arena, &report, NULL), OK);
	assert_int_equal(report.purpose, REPORT_LAUNCH);
	assert_memory_equal(report.launch.measurement, e.launch.measurement, SHA384_SIZE);
	assert_memory_equal(report.certificate, certificate.digest, SHA256_SIZE);
	certificate_free(&certificate);
	enclave_free(&e);
	bench_free(&b);
}

static void test_launch_ids_are_used_once(void **unused)
{
	struct bench b;
	struct enclave e;
	struct ap_endorsed endorsed;
	struct ap_endorse_challenge challenge;
	struct ap_end_launch end;
	bench_new(&b);
	endorse(&b, "IRE-A", &e, &endorsed);
	assert_int_equal(ask(&b, IPQ_EXTEND_LAUNCH, &launch_schema, &e.launch, NULL, NULL), LAUNCH_REUSED);
	assert_int_equal(endorse_begin(&b, &e, &challenge), LAUNCH_REUSED);
	memcpy(end.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	assert_int_equal(ask(&b, IPQ_END_LAUNCH, &ap_end_launch_schema, &end, NULL, NULL), OK);
	assert_int_equal(ask(&b, IPQ_END_LAUNCH, &ap_end_launch_schema, &end, NULL, NULL), UNKNOWN_LAUNCH);
	assert_int_equal(ask(&b, IPQ_EXTEND_LAUNCH, &launch_schema, &e.launch, NULL, NULL), LAUNCH_REUSED);
	enclave_free(&e);
	bench_free(&b);
}

/* BI-09: somebody else's keys for a launch whose id and n_ap are known. */
static void test_foreign_keys_are_not_endorsed(void **unused)
{
	struct bench b;
	struct enclave e, thief;
	struct ap_endorse_challenge challenge;
	struct ap_endorsed endorsed;
	bench_new(&b);
	assert_int_equal(launch(&b, "IRE-A", &e), OK);
	assert_int_equal(launch(&b, "IRE-X", &thief), OK);
	struct enclave forged = thief;
	memcpy(forged.launch.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	memcpy(forged.nonce, e.nonce, 32);
	assert_int_equal(endorse_begin(&b, &forged, &challenge), KEYS_NOT_BOUND);
	/* The right keys, signed by another. */
	forged = e;
	forged.sign = thief.sign;
	memcpy(forged.sign.point, e.sign.point, POINT_SIZE);
	assert_int_equal(endorse_begin(&b, &forged, &challenge), PROOF_FAILED);
	/* The right signature, but the KEM challenge is not opened. */
	assert_int_equal(endorse_begin(&b, &e, &challenge), OK);
	uint8_t wrong[32] = {0};
	assert_int_equal(endorse_finish(&b, &e, SPAN_ARRAY(wrong), &endorsed), PROOF_FAILED);
	enclave_free(&e);
	enclave_free(&thief);
	bench_free(&b);
}

static void test_seals_and_unseals(void **unused)
{
	struct bench b;
	struct enclave a, other;
	struct ap_endorsed endorsed;
	struct ap_unsealed unsealed, again;
	struct sealed sealed;
	struct unseal_grant grant;
	struct unseal_request request = {0};
	uint8_t seal_oid[OID_SIZE], aad[16 + 32 + 32], hash[SHA256_SIZE];
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	bench_new(&b);
	struct span object = seal_secret(&b, "IRE-A", "open sesame", OK);
	assert_int_equal(object_open(KIND_SEALED, object, &b.root_sign, &b.arena, &sealed, seal_oid), OK);
	/* The secret survives a restart of the secure processor. */
	restart(&b, 1, 2);
	endorse(&b, "IRE-A", &a, &endorsed);
	endorse(&b, "IRE-B", &other, &endorsed);
	memset(request.nonce, 4, sizeof(request.nonce));
	assert_int_equal(unseal(&b, &a, &a.sign, object, seal_oid, &request, &unsealed), OK);
	assert_int_equal(object_open(KIND_UNSEAL_GRANT, unsealed.grant, &b.root_sign, &b.arena, &grant, NULL), OK);
	sha256(unsealed.box, hash);
	assert_memory_equal(grant.box_hash, hash, sizeof(hash));
	memcpy(aad, a.launch.launch_id, 16);
	memcpy(aad + 16, seal_oid, 32);
	memcpy(aad + 48, request.nonce, 32);
	assert_int_equal(box_open(&a.kem, "unseal", SPAN_ARRAY(aad), unsealed.box, &secret), OK);
	assert_true(span_equal_str(secret_span(&secret), "open sesame"));
	/* A repeat gets the same bytes, whatever its nonce. */
	memset(request.nonce, 5, sizeof(request.nonce));
	assert_int_equal(unseal(&b, &a, &a.sign, object, seal_oid, &request, &again), OK);
	assert_true(span_equal(again.grant, unsealed.grant) && span_equal(again.box, unsealed.box));
	/* Another enclave, a request signed by another, a request for another seal, a flipped object (BI-10). */
	assert_int_equal(unseal(&b, &other, &other.sign, object, seal_oid, &request, &again), SEAL_FOREIGN);
	assert_int_equal(unseal(&b, &a, &other.sign, object, seal_oid, &request, &again), BAD_SIGNATURE);
	uint8_t wrong_oid[OID_SIZE] = {1};
	assert_int_equal(unseal(&b, &a, &a.sign, object, wrong_oid, &request, &again), SEAL_FOREIGN);
	CLEANUP(bytes_free) struct bytes flipped = BYTES_EMPTY;
	assert_int_equal(bytes_copy(object, &flipped), OK);
	flipped.data[flipped.len - 70] ^= 1;
	assert_int_not_equal(unseal(&b, &a, &a.sign, bytes_span(&flipped), seal_oid, &request, &again), OK);
	enclave_free(&a);
	enclave_free(&other);
	bench_free(&b);
}

static enum reason sign_head(struct bench *b, const struct ap_sign_head *head, struct ap_signed *out)
{
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	assert_int_equal(schema_encode(&ap_sign_head_schema, head, &body), OK);
	struct ap_sign request = {KIND_RECEIPT_HEAD, bytes_span(&body)};
	return ask(b, IPQ_SIGN, &ap_sign_schema, &request, &ap_signed_schema, out);
}

static void test_signs_one_head_for_a_run_that_was_measured(void **unused)
{
	struct bench b;
	struct enclave e;
	struct ap_signed reply;
	struct receipt_head head;
	struct digest32 root = {{1}};
	struct receipt_section_row section = {SECTION_RECORDS, {2}, true};
	struct ap_sign_head request = {.recorder = "journal", .roots = &root, .root_count = 1, .sections = &section, .section_count = 1};
	bench_new(&b);
	run_id_compute(request.job_digest, SPAN_EMPTY, request.rand, request.run_id);
	assert_int_equal(sign_head(&b, &request, &reply), UNKNOWN_RUN);
	memset(&e, 0, sizeof(e));
	struct launch known = {.v = 1, .name = "IRE-A", .tier = "N", .isolation = "weak", .limits = "rlimit",
		.secret_memory = "locked", .interpreter = "closed"};
	memcpy(known.run_id, request.run_id, RUN_ID_SIZE);
	assert_int_equal(ask(&b, IPQ_EXTEND_LAUNCH, &launch_schema, &known, NULL, NULL), OK);
	struct ap_sign_head other = request;
	other.rand[0] ^= 1;
	assert_int_equal(sign_head(&b, &other, &reply), BAD_VALUE);
	assert_int_equal(sign_head(&b, &request, &reply), OK);
	assert_int_equal(object_open(KIND_RECEIPT_HEAD, reply.object, &b.root_sign, &b.arena, &head, NULL), OK);
	assert_memory_equal(head.rot_id, b.rot_id, OID_SIZE);
	assert_int_equal(head.seq, 1);
	assert_false(head.has_prev);
	assert_int_equal(sign_head(&b, &request, &reply), HEAD_SIGNED);
	bench_free(&b);
}

/* RO-17: objects it cannot parse, kinds it does not sign, launches it does not know. */
static void test_signs_nothing_else(void **unused)
{
	struct bench b;
	bench_new(&b);
	static const uint8_t junk[] = {0xa1, 0x01, 0x02};
	for (unsigned kind = 0; kind < 64; kind++) {
		struct ap_sign request = {(uint8_t)kind, SPAN_ARRAY(junk)};
		assert_int_not_equal(ask(&b, IPQ_SIGN, &ap_sign_schema, &request, NULL, NULL), OK);
	}
	struct ap_sign_report report = {.has_launch_id = true, .challenge = span_str("0123456789abcdef")};
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	assert_int_equal(schema_encode(&ap_sign_report_schema, &report, &body), OK);
	struct ap_sign request = {KIND_REPORT, bytes_span(&body)};
	assert_int_equal(ask(&b, IPQ_SIGN, &ap_sign_schema, &request, NULL, NULL), UNKNOWN_LAUNCH);
	bench_free(&b);
}

static enum reason sign_transport(struct bench *b, const struct transport_request *body, struct ap_signed *out)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	assert_int_equal(schema_encode(&transport_request_schema, body, &encoding), OK);
	struct ap_sign request = {KIND_TRANSPORT_KEY, bytes_span(&encoding)};
	return ask(b, IPQ_SIGN, &ap_sign_schema, &request, &ap_signed_schema, out);
}

static void test_vouches_for_the_keys_of_links(void **unused)
{
	struct bench b;
	struct ap_signed reply;
	struct transport_key key;
	struct transport_request request = {.spki = {7}, .purpose = TRANSPORT_LINK, .valid_ms = 60000};
	bench_new(&b);
	assert_int_equal(sign_transport(&b, &request, &reply), OK);
	assert_int_equal(object_open(KIND_TRANSPORT_KEY, reply.object, &b.root_sign, &b.arena, &key, NULL), OK);
	assert_memory_equal(key.rot_id, b.rot_id, OID_SIZE);
	assert_memory_equal(key.spki, request.spki, SHA256_SIZE);
	assert_int_equal(key.not_after - key.not_before, 60000);
	request.valid_ms = 0;
	assert_int_equal(sign_transport(&b, &request, &reply), BAD_VALUE);
	request.valid_ms = 60000;
	request.purpose = "anything";
	assert_int_equal(sign_transport(&b, &request, &reply), BAD_VALUE);
	bench_free(&b);
}

static void test_reports_are_chained(void **unused)
{
	struct bench b;
	bench_new(&b);
	struct ap_sign_report request = {.challenge = span_str("0123456789abcdef")};
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	assert_int_equal(schema_encode(&ap_sign_report_schema, &request, &body), OK);
	struct ap_sign sign = {KIND_REPORT, bytes_span(&body)};
	uint8_t previous[OID_SIZE] = {0};
	for (uint64_t seq = 1; seq <= 3; seq++) {
		struct ap_signed reply;
		struct report report;
		uint8_t oid[OID_SIZE];
		assert_int_equal(ask(&b, IPQ_SIGN, &ap_sign_schema, &sign, &ap_signed_schema, &reply), OK);
		assert_int_equal(object_open(KIND_REPORT, reply.object, &b.root_sign, &b.arena, &report, oid), OK);
		assert_int_equal(report.seq, seq);
		assert_int_equal(report.has_prev, seq > 1);
		if (seq > 1)
			assert_memory_equal(report.prev, previous, OID_SIZE);
		memcpy(previous, oid, OID_SIZE);
	}
	bench_free(&b);
}

static void test_event_log_replays_to_the_registers(void **unused)
{
	struct bench b;
	struct enclave e;
	struct ap_endorsed endorsed;
	bench_new(&b);
	endorse(&b, "IRE-A", &e, &endorsed);
	struct ap_read_measurements request = {0};
	struct ap_measurements log;
	assert_int_equal(ask(&b, IPQ_READ_MEASUREMENTS, &ap_read_measurements_schema, &request, &ap_measurements_schema, &log), OK);
	struct register_value registers[REGISTER_COUNT] = {0};
	assert_int_equal(log.total, 3);
	for (size_t i = 0; i < log.event_count; i++) {
		struct span content;
		uint8_t index;
		assert_int_equal(boot_log_replay(registers, i, log.events[i].bytes, &content, &index), OK);
		assert_int_not_equal(boot_log_replay(registers, i + 1, log.events[i].bytes, &content, &index), OK);
	}
	assert_memory_equal(registers, log.registers, sizeof(registers));
	/* From any event on, at the end nothing, and not from beyond it. */
	request.from = 2;
	assert_int_equal(ask(&b, IPQ_READ_MEASUREMENTS, &ap_read_measurements_schema, &request, &ap_measurements_schema, &log), OK);
	assert_int_equal(log.event_count, 1);
	request.from = 3;
	assert_int_equal(ask(&b, IPQ_READ_MEASUREMENTS, &ap_read_measurements_schema, &request, &ap_measurements_schema, &log), OK);
	assert_int_equal(log.event_count, 0);
	request.from = 4;
	assert_int_equal(ask(&b, IPQ_READ_MEASUREMENTS, &ap_read_measurements_schema, &request, &ap_measurements_schema, &log), BAD_VALUE);
	enclave_free(&e);
	bench_free(&b);
}

static void test_refuses_by_time(void **unused)
{
	struct bench b;
	struct enclave e;
	bench_new(&b);
	b.now = T0 + 398ULL * 86400000;
	assert_int_equal(launch(&b, "IRE-A", &e), EPOCH_EXPIRED);
	enclave_free(&e);
	b.now = T0;
	assert_int_equal(launch(&b, "IRE-A", &e), CLOCK_BACK);
	enclave_free(&e);
	bench_free(&b);
}

/* Clocks are set right by a little all the time: back by that much is borne, to the millisecond. */
static void test_bears_small_steps_back(void **unused)
{
	struct bench b;
	struct enclave e;
	const uint64_t borne = 300 * 1000, later = T0 + 3600 * 1000;
	bench_new(&b);
	b.now = later;
	assert_int_equal(launch(&b, "IRE-A", &e), OK);
	enclave_free(&e);
	b.now = later - borne;
	assert_int_equal(launch(&b, "IRE-B", &e), OK);
	enclave_free(&e);
	b.now = later - borne - 1;
	assert_int_equal(launch(&b, "IRE-C", &e), CLOCK_BACK);
	enclave_free(&e);
	bench_free(&b);
}

static void test_old_epoch_is_refused(void **unused)
{
	struct bench b;
	struct enclave e;
	bench_new(&b);
	b.epoch = 2;
	assert_int_equal(launch(&b, "IRE-A", &e), EPOCH_OLD);
	enclave_free(&e);
	bench_free(&b);
}

static void test_state_needs_its_wrap_key(void **unused)
{
	struct bench b;
	struct ap_action action;
	bench_new(&b);
	ap_free(b.ap);
	b.wrap.data[0] ^= 1;
	struct ap_config config = {.state = bytes_span(&b.state), .wrap_key = &b.wrap, .secret_memory = "locked"};
	assert_int_equal(ap_new(&config, b.now, &b.ap, &action), BAD_TAG);
	b.ap = NULL;
	bench_free(&b);
}

/* Whoever can write the state but lacks the wrap key changes nothing of it: expected registers, times and counts included. */
static void test_state_is_under_a_mac(void **unused)
{
	struct bench b;
	struct ap_action action;
	bench_new(&b);
	ap_free(b.ap);
	b.ap = NULL;
	for (size_t i = 0; i < b.state.len; i++) {
		struct ap_config config = {.state = bytes_span(&b.state), .wrap_key = &b.wrap, .secret_memory = "locked"};
		b.state.data[i] ^= 1;
		assert_int_not_equal(ap_new(&config, b.now, &b.ap, &action), OK);
		b.state.data[i] ^= 1;
	}
	restart(&b, 1, 2);
	assert_int_equal(state_of(&b), AP_READY);
	bench_free(&b);
}

static void test_derives(void **unused)
{
	struct bench b;
	struct ap_derived one, two, other;
	struct text_item context[] = {{"a"}, {"bc"}}, moved[] = {{"ab"}, {"c"}};
	bench_new(&b);
	struct ap_derive request = {.mode = DERIVE_LOCAL, .purpose = "test", .context = context, .context_count = 2,
		.id_own = "", .id_peer = ""};
	assert_int_equal(ask(&b, IPQ_DERIVE, &ap_derive_schema, &request, &ap_derived_schema, &one), OK);
	restart(&b, 1, 2);
	assert_int_equal(ask(&b, IPQ_DERIVE, &ap_derive_schema, &request, &ap_derived_schema, &two), OK);
	assert_true(span_equal(one.key, two.key));
	request.context = moved;
	assert_int_equal(ask(&b, IPQ_DERIVE, &ap_derive_schema, &request, &ap_derived_schema, &other), OK);
	assert_false(span_equal(one.key, other.key));
	/* For a peer the output is boxed to an endorsed launch; without one there is none. */
	request.mode = DERIVE_PEER;
	request.id_own = "i";
	request.id_peer = "r";
	assert_int_equal(ask(&b, IPQ_DERIVE, &ap_derive_schema, &request, &ap_derived_schema, &other), UNKNOWN_LAUNCH);
	struct enclave e;
	struct ap_endorsed endorsed;
	struct key peer;
	endorse(&b, "IRE-A", &e, &endorsed);
	assert_int_equal(key_generate(&peer), OK);
	memcpy(request.launch_id, e.launch.launch_id, LAUNCH_ID_SIZE);
	memcpy(request.ephemeral_peer, peer.point, POINT_SIZE);
	assert_int_equal(ask(&b, IPQ_DERIVE, &ap_derive_schema, &request, &ap_derived_schema, &other), OK);
	assert_int_equal(other.key.len, 0);
	struct derive_answer answer;
	uint8_t oid[OID_SIZE], aad[16 + 32];
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	assert_int_equal(object_open(KIND_DERIVE_ANSWER, other.answer, &b.root_sign, &b.arena, &answer, oid), OK);
	memcpy(aad, e.launch.launch_id, 16);
	memcpy(aad + 16, oid, 32);
	assert_int_equal(box_open(&e.kem, "derive", SPAN_ARRAY(aad), other.box, &key), OK);
	assert_int_equal(key.len, 32);
	key_free(&peer);
	enclave_free(&e);
	bench_free(&b);
}

static void test_a_failed_write_stops_it(void **unused)
{
	struct bench b;
	bench_empty(&b);
	assert_int_equal(extend(&b, REGISTER_AP, "troth-ap", 1), OK);
	assert_int_equal(extend(&b, REGISTER_HOST, "trothd", 2), OK);
	struct ap_generate request = a_generate();
	CLEANUP(writer_free) struct writer w = writer_growing(4096);
	ipq_put_expected(&w, (struct ipq_expected){0, 0});
	schema_put(&ap_generate_schema, &request, &w);
	struct ap_action action;
	ap_step(b.ap, IPQ_GENERATE_ROT, span_of(w.data, w.len), b.now, &action);
	assert_int_equal(action.kind, AP_PERSIST);
	ap_persisted(b.ap, IO_ERROR, &action);
	assert_int_equal(action.kind, AP_REPLY_ERROR);
	assert_int_equal(state_of(&b), AP_FAILED);
	bench_free(&b);
}

int test_ap(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_generates_and_survives_a_restart),
		cmocka_unit_test(test_refuses_a_second_root),
		cmocka_unit_test(test_wrong_measurement_refuses_endorsement_and_names_the_phase),
		cmocka_unit_test(test_measures_only_before_use),
		cmocka_unit_test(test_accepts_nothing_that_did_not_change),
		cmocka_unit_test(test_endorses_a_launch),
		cmocka_unit_test(test_launch_ids_are_used_once),
		cmocka_unit_test(test_foreign_keys_are_not_endorsed),
		cmocka_unit_test(test_seals_and_unseals),
		cmocka_unit_test(test_signs_one_head_for_a_run_that_was_measured),
		cmocka_unit_test(test_signs_nothing_else),
		cmocka_unit_test(test_vouches_for_the_keys_of_links),
		cmocka_unit_test(test_reports_are_chained),
		cmocka_unit_test(test_event_log_replays_to_the_registers),
		cmocka_unit_test(test_refuses_by_time),
		cmocka_unit_test(test_bears_small_steps_back),
		cmocka_unit_test(test_old_epoch_is_refused),
		cmocka_unit_test(test_state_needs_its_wrap_key),
		cmocka_unit_test(test_state_is_under_a_mac),
		cmocka_unit_test(test_derives),
		cmocka_unit_test(test_a_failed_write_stops_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
