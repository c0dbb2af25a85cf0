/*
 * The engine on a platform that the test plays: when it counts, mirrors and quotes, and what it makes of a counter that
 * does not fit (RO-01, RO-05, RO-11, RO-14).
 */
#include "../root/ap_bench.h"

#include "../expect.h"
#include "object/epoch_rules.h"
#include "object/evidence.h"
#include "object/object.h"
#include "root/ap_internal.h"

int test_ap_platform(void);

enum { EVENTS = 8 };

struct fake {
	struct ap_platform platform;
	uint64_t counter;
	struct pin_mirror pins;
	uint8_t head[SHA256_SIZE]; /* where the history stands */
	uint32_t heads; /* indices that were made; the last one is there */
	unsigned counted, asked;
	bool dead;
	uint8_t events[EVENTS][SHA256_SIZE];
	size_t event_count;
	uint8_t binding[SHA256_SIZE];
};

static result alive(const struct fake *f)
{
	return f->dead ? fail(TPM_UNAVAILABLE, "it is dead") : OK;
}

static result count(void *context, uint64_t *out_value)
{
	struct fake *f = context;
	TRY(alive(f));
	f->counted++;
	*out_value = ++f->counter;
	return OK;
}

static result random_part(void *context, uint8_t *out, size_t len)
{
	struct fake *f = context;
	memset(out, 0x3c, len);
	f->asked++;
	return OK;
}

static result mirror(void *context, const uint8_t digest[static SHA256_SIZE])
{
	struct fake *f = context;
	TRY(alive(f));
	assert_true(f->event_count < EVENTS);
	memcpy(f->events[f->event_count++], digest, SHA256_SIZE);
	return OK;
}

static result identify(void *context, struct ap_platform_identity *out)
{
	struct ap_platform_identity identity = {0};
	TRY(alive(context));
	TRY(bytes_copy(span_str("ek"), &identity.ek_public));
	TRY(bytes_copy(span_str("ak"), &identity.ak_public));
	*out = identity;
	return OK;
}

static result quote(void *context, const uint8_t binding[static SHA256_SIZE], struct ap_platform_quote *out)
{
	struct fake *f = context;
	struct ap_platform_quote made = {.pcrs = 1u << 7};
	TRY(alive(f));
	memcpy(f->binding, binding, SHA256_SIZE);
	TRY(bytes_copy(span_str("attest"), &made.attest));
	TRY(bytes_copy(span_str("signature"), &made.signature));
	*out = made;
	return OK;
}

static result activate(void *context, struct span credential, struct span encrypted, struct secret *out)
{
	TRY(alive(context));
	if (!span_equal_str(credential, "for you"))
		return fail(TPM_CHALLENGE_FAILED, "for another");
	return secret_copy(encrypted, out);
}

static result keep_pins(void *context, const struct pin_mirror *pins)
{
	struct fake *f = context;
	TRY(alive(f));
	f->pins = *pins;
	return OK;
}

/* One index, which begins with its birth. */
static result head(void *context, const struct ap_platform_head *request, struct ap_platform_headed *out)
{
	struct fake *f = context;
	TRY(alive(f));
	if (request->index == 0) {
		head_begin(f->head);
		head_step(f->head, request->birth);
		f->heads++;
	}
	if (request->index != 0 && request->index != f->heads)
		return fail(TAMPERED, "no such index");
	if (request->digest)
		head_step(f->head, request->digest);
	*out = (struct ap_platform_headed){.index = f->heads};
	memcpy(out->head, f->head, SHA256_SIZE);
	if (request->nonce.len) {
		TRY(bytes_copy(request->nonce, &out->attest));
		TRY(bytes_copy(span_str("signature"), &out->signature));
	}
	return OK;
}

/* What a start finds: the counter as the TPM has it now. */
static void power_up(struct fake *f)
{
	f->event_count = 0;
	f->platform = (struct ap_platform){.context = f, .counter = f->counter, .count = count, .random = random_part, .extend = mirror,
		.identify = identify, .quote = quote, .activate = activate, .has_pins = true, .pins = f->pins, .keep_pins = keep_pins, .head = head};
}

static void start_with(struct bench *b, struct fake *f)
{
	power_up(f);
	b->platform = &f->platform;
	restart(b, 1, 2);
}

static void make_root(struct bench *b, struct fake *f)
{
	*f = (struct fake){.counter = 40};
	bench_empty(b);
	start_with(b, f);
	generate(b);
}

static uint64_t value_of_head(struct bench *b)
{
	const struct epoch_link *head = epoch_chain_head(b->chain);
	struct epoch_record record;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	expect_ok(epoch_record_parse(head->record, &arena, &record));
	assert_int_equal(record.epoch.counter.kind, COUNTER_TPM_NV);
	return record.epoch.counter.value;
}

static enum reason refusal_of(struct bench *b)
{
	struct ap_health health;
	health_of(b, &health);
	assert_int_equal(health.state == AP_FAILED, health.refusal != OK);
	return (enum reason)health.refusal;
}

static void each_epoch_is_counted_after_it_is_durable(void **unused)
{
	struct bench b;
	struct fake f;
	make_root(&b, &f);
	assert_int_equal(value_of_head(&b), 41);
	assert_int_equal(f.counter, 41);
	assert_true(f.asked >= 2); /* both seeds */
	rotate(&b);
	assert_int_equal(value_of_head(&b), 42);
	assert_int_equal(f.counter, 42);
	start_with(&b, &f);
	assert_int_equal(refusal_of(&b), OK);
	assert_int_equal(f.counted, 2); /* a start counts nothing */
	bench_free(&b);
}

static void mirrors_the_phases_before_they_count(void **unused)
{
	struct bench b;
	struct fake f;
	uint8_t digest[SHA256_SIZE];
	make_root(&b, &f);
	assert_int_equal(f.event_count, 2);
	struct span record = boot_log_record(&b.ap->log, 0), content;
	struct register_value registers[REGISTER_COUNT] = {0};
	uint8_t index;
	expect_ok(boot_log_replay(registers, 0, record, &content, &index));
	sha256(content, digest);
	assert_memory_equal(f.events[0], digest, sizeof(digest));
	/* A phase that the TPM did not take is not measured. */
	power_up(&f);
	f.dead = true;
	ap_free(b.ap);
	b.ap = NULL;
	boot(&b);
	assert_int_equal(extend(&b, REGISTER_AP, "troth-ap", 1), TPM_UNAVAILABLE);
	assert_int_equal(state_of(&b), AP_STARTING);
	bench_free(&b);
}

/* Written, but the TPM died before it counted: the next start counts and goes on with the same bytes. */
static void dies_between_prepared_and_commit(void **unused)
{
	struct bench b;
	struct fake f;
	make_root(&b, &f);
	f.dead = true;
	struct ap_rotate request = a_rotation(1);
	assert_int_equal(rotate_as(&b, &request), TPM_UNAVAILABLE);
	assert_int_equal(state_of(&b), AP_FAILED); /* whoever asks now must not be answered under either epoch */
	/* Its last words do not write the epoch before over the one that is prepared, and may even be counted. */
	unsigned writes = b.writes;
	struct ap_done done;
	assert_int_equal(ask(&b, IPQ_SHUTDOWN, NULL, NULL, &ap_done_schema, &done), OK);
	assert_int_equal(b.writes, writes);
	f.dead = false;
	power_up(&f);
	ap_free(b.ap);
	b.ap = NULL;
	boot(&b);
	assert_int_equal(f.counter, 42);
	b.epoch = 2;
	measure(&b, 1, 2);
	struct ap_health health;
	health_of(&b, &health);
	assert_int_equal(health.state, AP_READY);
	assert_int_equal(health.epoch, 2);
	assert_int_equal(health.counter, 42);
	expect_ok(epoch_chain_follow(b.chain, health.epoch_record));
	assert_int_equal(value_of_head(&b), 42);
	bench_free(&b);
}

/* It counted, and died before it could say so: the counter is at what the prepared record has. */
static void dies_after_it_counted(void **unused)
{
	struct bench b;
	struct fake f;
	struct ap_done done;
	make_root(&b, &f);
	f.dead = true;
	struct ap_rotate request = a_rotation(1);
	assert_int_equal(rotate_as(&b, &request), TPM_UNAVAILABLE);
	assert_int_equal(ask(&b, IPQ_SHUTDOWN, NULL, NULL, &ap_done_schema, &done), OK);
	f.counter++;
	f.dead = false;
	power_up(&f);
	ap_free(b.ap);
	b.ap = NULL;
	boot(&b);
	b.epoch = 2;
	measure(&b, 1, 2);
	assert_int_equal(refusal_of(&b), OK);
	assert_int_equal(state_of(&b), AP_READY);
	assert_int_equal(f.counter, 42);
	bench_free(&b);
}

static void dies_before_the_first_commit(void **unused)
{
	struct bench b;
	struct fake f = {.counter = 7};
	struct ap_generate request = a_generate();
	struct ap_rot_available reply;
	bench_empty(&b);
	start_with(&b, &f);
	f.dead = true;
	assert_int_equal(ask(&b, IPQ_GENERATE_ROT, &ap_generate_schema, &request, &ap_rot_available_schema, &reply), TPM_UNAVAILABLE);
	assert_int_equal(state_of(&b), AP_FAILED);
	f.dead = false;
	power_up(&f);
	ap_free(b.ap);
	b.ap = NULL;
	boot(&b);
	assert_int_equal(f.counter, 8);
	assert_int_equal(state_of(&b), AP_STARTING);
	bench_free(&b);
}

static void old_state_is_a_rollback(void **unused)
{
	struct bench b;
	struct fake f;
	CLEANUP(bytes_free) struct bytes old = BYTES_EMPTY;
	make_root(&b, &f);
	expect_ok(bytes_copy(bytes_span(&b.state), &old));
	rotate(&b);
	keep(&b, bytes_span(&old));
	b.epoch = 1;
	power_up(&f);
	ap_free(b.ap);
	b.ap = NULL;
	boot(&b);
	assert_int_equal(refusal_of(&b), ROLLBACK);
	measure(&b, 1, 2); /* does not heal it */
	assert_int_equal(refusal_of(&b), ROLLBACK);
	struct ap_rotate request = a_rotation(9);
	struct ap_rot_available reply;
	assert_int_equal(ask(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &reply), ROLLBACK);
	assert_int_equal(f.counter, 42); /* nothing was counted */
	bench_free(&b);
}

static void counters_that_do_not_fit(void **unused)
{
	static const struct {
		uint64_t counter;
		result state;
		enum reason refusal;
	} starts[] = {{41, OK, OK}, {42, OK, ROLLBACK}, {UINT64_MAX, OK, ROLLBACK}, {39, OK, TAMPERED}, {0, OK, TAMPERED}, {41, TAMPERED, TAMPERED}};
	struct bench b;
	struct fake f;
	make_root(&b, &f);
	for (size_t i = 0; i < COUNT_OF(starts); i++) {
		f.counter = starts[i].counter;
		power_up(&f);
		f.platform.counter_state = starts[i].state;
		ap_free(b.ap);
		b.ap = NULL;
		boot(&b);
		assert_int_equal(refusal_of(&b), starts[i].refusal);
	}
	b.platform = NULL; /* the root counts in a TPM, and none is there */
	ap_free(b.ap);
	b.ap = NULL;
	boot(&b);
	assert_int_equal(refusal_of(&b), TPM_UNAVAILABLE);
	bench_free(&b);
}

/* A TPM whose counter jumps while it is asked to count once. */
static void counts_that_jump(void **unused)
{
	struct bench b;
	struct fake f;
	make_root(&b, &f);
	f.counter = 60;
	struct ap_rotate request = a_rotation(3);
	assert_int_equal(rotate_as(&b, &request), TAMPERED);
	assert_int_equal(state_of(&b), AP_FAILED);
	bench_free(&b);
}

static void quotes_and_answers_challenges(void **unused)
{
	struct bench b;
	struct fake f;
	struct ap_quoted quoted;
	struct ap_enrolled who;
	struct evidence envelope;
	struct tpm_evidence body;
	uint8_t binding[SHA256_SIZE], before[SHA256_SIZE];
	make_root(&b, &f);
	for (uint64_t seq = 1; seq <= 3; seq++) {
		assert_int_equal(ask(&b, IPQ_QUOTE, &ap_quote_schema, &(struct ap_quote){span_str("n")}, &ap_quoted_schema, &quoted), OK);
		expect_ok(schema_decode(&evidence_schema, quoted.evidence, &b.arena, &envelope));
		expect_ok(schema_decode(&tpm_evidence_schema, envelope.body, &b.arena, &body));
		assert_int_equal(envelope.seq, seq);
		assert_int_equal(envelope.has_prev, seq > 1);
		if (seq > 1)
			assert_memory_equal(envelope.prev, before, sizeof(before));
		sha256(quoted.evidence, before);
		expect_ok(tpm_evidence_binding(&envelope, &body, binding));
		assert_memory_equal(binding, f.binding, sizeof(binding));
		assert_memory_equal(body.epoch_oid, b.epoch_oid, OID_SIZE);
		assert_int_equal(body.log_count, 2);
	}
	f.dead = true; /* a quote that fails harms nothing */
	assert_int_equal(ask(&b, IPQ_QUOTE, &ap_quote_schema, &(struct ap_quote){SPAN_EMPTY}, &ap_quoted_schema, &quoted), TPM_UNAVAILABLE);
	f.dead = false;
	assert_int_equal(state_of(&b), AP_READY);
	struct ap_enrol request = {span_str("for you"), span_str("the secret")};
	assert_int_equal(ask(&b, IPQ_ENROL, &ap_enrol_schema, &request, &ap_enrolled_schema, &who), OK);
	expect_span(who.answer, span_str("the secret"));
	request.credential = span_str("for her");
	assert_int_equal(ask(&b, IPQ_ENROL, &ap_enrol_schema, &request, &ap_enrolled_schema, &who), TPM_CHALLENGE_FAILED);
	rotate(&b); /* and all goes on */
	bench_free(&b);
}

static struct ap_pin a_pin(uint64_t seq, uint8_t fill)
{
	struct ap_pin pin = {.seq = seq, .era = 1, .epoch = 100 + seq};
	memset(pin.digest, fill, sizeof(pin.digest));
	return pin;
}

/* Each step: what the host has, what the answer is, what the TPM has then. */
static void pins_go_on_by_one(void **unused)
{
	static const struct {
		uint64_t seq;
		uint8_t fill;
		result answer;
		uint64_t then;
	} steps[] = {{0, 0, OK, 0}, {7, 1, OK, 7}, {7, 1, OK, 7}, {7, 2, PIN_STALE, 7}, {6, 1, PIN_STALE, 7}, {1, 1, PIN_STALE, 7},
		{9, 1, PIN_STALE, 7}, {8, 3, OK, 8}, {7, 1, PIN_STALE, 8}, {UINT64_MAX, 1, PIN_STALE, 8}, {0, 0, OK, 8}};
	struct bench b;
	struct fake f;
	struct ap_pinned reply;
	make_root(&b, &f);
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		struct ap_pin pin = a_pin(steps[i].seq, steps[i].fill);
		assert_int_equal(ask(&b, IPQ_PIN, &ap_pin_schema, &pin, &ap_pinned_schema, &reply), steps[i].answer);
		assert_int_equal(f.pins.seq, steps[i].then);
		assert_true(steps[i].answer != OK || (reply.mirrored && reply.seq == steps[i].then));
	}
	assert_int_equal(f.pins.epoch, 108);
	/* What the TPM did not take is not taken for mirrored. */
	struct ap_pin next = a_pin(9, 4);
	f.dead = true;
	assert_int_equal(ask(&b, IPQ_PIN, &ap_pin_schema, &next, &ap_pinned_schema, &reply), TPM_UNAVAILABLE);
	assert_int_equal(f.platform.pins.seq, 8);
	f.dead = false;
	assert_int_equal(ask(&b, IPQ_PIN, &ap_pin_schema, &next, &ap_pinned_schema, &reply), OK);
	assert_int_equal(f.pins.seq, 9);
	/* Gone: told, and never made or written again. */
	f.platform.pins_state = TAMPERED;
	next = a_pin(10, 5);
	assert_int_equal(ask(&b, IPQ_PIN, &ap_pin_schema, &next, &ap_pinned_schema, &reply), TAMPERED);
	assert_int_equal(f.pins.seq, 9);
	/* Made without one. */
	f.platform.has_pins = false;
	assert_int_equal(ask(&b, IPQ_PIN, &ap_pin_schema, &next, &ap_pinned_schema, &reply), OK);
	assert_false(reply.mirrored);
	assert_int_equal(f.pins.seq, 9);
	rotate(&b);
	bench_free(&b);
}

/* Made once, extended, certified: what the processor signs is what it says of its own start and epoch. */
static void a_head_is_extended_and_vouched_for(void **unused)
{
	struct bench b;
	struct fake f;
	struct ap_headed reply;
	struct head_statement statement;
	uint8_t expected[SHA256_SIZE], first[SHA256_SIZE];
	make_root(&b, &f);
	struct ap_head request = {.index = 0};
	assert_int_equal(ask(&b, IPQ_HEAD, &ap_head_schema, &request, &ap_headed_schema, &reply), OK);
	assert_true(reply.has_birth && reply.index == 1 && reply.statement.len == 0);
	assert_memory_equal(reply.birth.epoch_oid, epoch_chain_head(b.chain)->oid, OID_SIZE);
	head_birth_digest(&reply.birth, first);
	head_begin(expected);
	head_step(expected, first);
	assert_memory_equal(reply.head, expected, SHA256_SIZE);
	request = (struct ap_head){.index = 1, .has_digest = true, .nonce = span_str("fresh")};
	memset(request.digest, 9, SHA256_SIZE);
	head_step(expected, request.digest);
	for (uint64_t seq = 1; seq <= 2; seq++) {
		assert_int_equal(ask(&b, IPQ_HEAD, &ap_head_schema, &request, &ap_headed_schema, &reply), OK);
		assert_false(reply.has_birth);
		assert_memory_equal(reply.head, expected, SHA256_SIZE);
		expect_ok(object_peek(KIND_HEAD_PROOF, reply.statement, &b.arena, &statement, NULL));
		assert_int_equal(statement.seq, seq);
		assert_true(statement.index == 1 && span_equal_str(statement.nonce, "fresh") && span_equal_str(statement.attest, "fresh"));
		assert_memory_equal(statement.epoch_oid, epoch_chain_head(b.chain)->oid, OID_SIZE);
		request.has_digest = false;
	}
	request.index = 2;
	assert_int_equal(ask(&b, IPQ_HEAD, &ap_head_schema, &request, &ap_headed_schema, &reply), TAMPERED);
	f.dead = true;
	request.index = 1;
	assert_int_equal(ask(&b, IPQ_HEAD, &ap_head_schema, &request, &ap_headed_schema, &reply), TPM_UNAVAILABLE);
	f.dead = false;
	rotate(&b);
	bench_free(&b);
}

/* While a quote is made elsewhere, what only reads is answered and what changes the root waits. */
static void a_quote_stops_nobody(void **unused)
{
	struct bench b;
	struct fake f;
	struct ap_action action, other;
	struct ap_attest attest = {.purpose = "test"};
	struct ap_rotate request = a_rotation(4);
	CLEANUP(bytes_free) struct bytes reply = BYTES_EMPTY;
	make_root(&b, &f);
	step(&b, IPQ_QUOTE, &ap_quote_schema, &(struct ap_quote){SPAN_EMPTY}, &action);
	assert_int_equal(action.kind, AP_ROTATE);
	step(&b, IPQ_ATTEST, &ap_attest_schema, &attest, &other);
	assert_int_equal(other.kind, AP_REPLY);
	step(&b, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &other);
	assert_int_equal(other.kind, AP_REPLY_ERROR);
	assert_int_equal(other.reason, ROTATION_RUNNING);
	assert_int_equal(settle(&b, IPQ_QUOTE, &action, &reply), OK);
	rotate(&b);
	bench_free(&b);
}

static void without_a_tpm_there_is_no_evidence(void **unused)
{
	struct bench b;
	struct ap_quoted quoted;
	struct ap_enrolled who;
	bench_new(&b);
	assert_int_equal(ask(&b, IPQ_QUOTE, &ap_quote_schema, &(struct ap_quote){SPAN_EMPTY}, &ap_quoted_schema, &quoted), TPM_UNAVAILABLE);
	assert_int_equal(ask(&b, IPQ_ENROL, &ap_enrol_schema, &(struct ap_enrol){0}, &ap_enrolled_schema, &who), TPM_UNAVAILABLE);
	assert_int_equal(state_of(&b), AP_READY);
	bench_free(&b);
}

/* A root made without a TPM counts from its next epoch on, once it has one. */
static void a_tpm_that_comes_later(void **unused)
{
	struct bench b;
	struct fake f = {.counter = 5};
	bench_new(&b);
	start_with(&b, &f);
	assert_int_equal(refusal_of(&b), OK);
	rotate(&b);
	assert_int_equal(value_of_head(&b), 6);
	assert_int_equal(f.counter, 6);
	bench_free(&b);
}

/* After a rollback the recovery set starts a new era; the TPM has counted on, and the record says so. */
static void recovers_after_a_rollback(void **unused)
{
	struct bench b;
	struct fake f = {.counter = 40};
	CLEANUP(key_free) struct key holder = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes old = BYTES_EMPTY, tbs = BYTES_EMPTY;
	struct digest32 digest;
	uint8_t spki[SPKI_SIZE];
	struct ap_candidate candidate;
	struct ap_rot_available reply;
	struct epoch epoch;
	expect_ok(key_generate(&holder));
	key_spki(&holder, spki);
	memcpy(digest.bytes, holder.id, KEY_ID_SIZE);
	bench_empty(&b);
	b.recovery = (struct epoch_recovery){1, 1, &digest, 1};
	b.has_recovery = true;
	start_with(&b, &f);
	generate(&b);
	expect_ok(bytes_copy(bytes_span(&b.state), &old));
	rotate(&b);
	keep(&b, bytes_span(&old));
	b.epoch = 1;
	start_with(&b, &f);
	assert_int_equal(refusal_of(&b), ROLLBACK);

	struct span inception = epoch_chain_at(b.chain, 0)->record;
	struct ap_recover request = {.inception = inception, .base = inception, .trust_domain = "troth.internal"};
	memset(request.host_seed, 8, sizeof(request.host_seed));
	memset(request.host_share, 9, sizeof(request.host_share));
	assert_int_equal(ask(&b, IPQ_RECOVER, &ap_recover_schema, &request, &ap_candidate_schema, &candidate), OK);
	expect_ok(schema_decode(&epoch_schema, candidate.payload, &b.arena, &epoch));
	assert_int_equal(epoch.counter.kind, COUNTER_TPM_NV);
	assert_int_equal(epoch.counter.value, 43);

	struct recovery_signature vote = {.spki = SPAN_ARRAY(spki)};
	struct ap_adopt_candidate adoption = {.signatures = &vote, .signature_count = 1};
	expect_ok(cose_strict_sign_tbs(candidate.payload, kind_label(KIND_EPOCH), holder.id, &tbs));
	expect_ok(key_sign(&holder, bytes_span(&tbs), vote.signature));
	sha256(candidate.payload, adoption.payload_digest);
	memset(adoption.host_share, 9, sizeof(adoption.host_share));
	assert_int_equal(ask(&b, IPQ_ADOPT_CANDIDATE, &ap_adopt_candidate_schema, &adoption, &ap_rot_available_schema, &reply), OK);
	assert_int_equal(f.counter, 43);
	assert_int_equal(refusal_of(&b), OK);
	assert_int_equal(state_of(&b), AP_READY);
	expect_ok(epoch_chain_add_key(b.chain, SPAN_ARRAY(spki)));
	expect_ok(epoch_chain_follow(b.chain, reply.epoch_record));
	/* A new TPM that has counted less than the record that is recovered from. */
	f.counter = 3;
	power_up(&f);
	struct epoch_counter base = {COUNTER_TPM_NV, 41};
	assert_int_equal(ap_counter_of_recovery(&f.platform, base).kind, COUNTER_NONE);
	bench_free(&b);
}

int test_ap_platform(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_epoch_is_counted_after_it_is_durable),
		cmocka_unit_test(mirrors_the_phases_before_they_count),
		cmocka_unit_test(dies_between_prepared_and_commit),
		cmocka_unit_test(dies_after_it_counted),
		cmocka_unit_test(dies_before_the_first_commit),
		cmocka_unit_test(old_state_is_a_rollback),
		cmocka_unit_test(counters_that_do_not_fit),
		cmocka_unit_test(counts_that_jump),
		cmocka_unit_test(quotes_and_answers_challenges),
		cmocka_unit_test(pins_go_on_by_one),
		cmocka_unit_test(a_head_is_extended_and_vouched_for),
		cmocka_unit_test(a_quote_stops_nobody),
		cmocka_unit_test(without_a_tpm_there_is_no_evidence),
		cmocka_unit_test(a_tpm_that_comes_later),
		cmocka_unit_test(recovers_after_a_rollback),
	};
	return cmocka_run_group_tests_name("secure processor on a platform", tests, NULL, NULL);
}
