/*
 * Receipts of roots that rotate, recover, halt and fork: what a verifier makes of the receipt's own chain, and of what it
 * learned of the root since.
 */
#include "fixture.h"

#include "groups.h"

struct scene {
	struct host host;
	struct job_fixture job;
	struct trust trust;
	struct run run;
};

static void scene_new(struct scene *s)
{
	host_new(&s->host, 1);
	job_fixture_new(&s->job, SHAPE_PLAIN, 1);
	trust_make(&s->host, &s->job, &s->trust);
}

static void scene_free(struct scene *s)
{
	run_free(&s->run);
	trust_free(&s->trust);
	job_fixture_free(&s->job);
	host_free(&s->host);
}

/* A scene with a finished run. */
static void scene_make(struct scene *s, enum tweak tweak)
{
	scene_new(s);
	run_make(&s->host, &s->job, tweak, NULL, &s->run);
}

static void print_failures(const struct verify_report *report)
{
	for (size_t i = 0; i < report->check_count; i++)
		if (!report->checks[i].ok)
			print_error("%s %s: %s: %s\n", report->checks[i].name, report->checks[i].object,
				reason_name(report->checks[i].reason), report->checks[i].text);
}

static void judge(const struct scene *s, const struct trust *trust, struct span known, struct verify_report *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct epoch_history history = {0};
	struct verify_options options = {
		.trust = trust, .receipt = bytes_span(&s->run.receipt), .at_ms = s->host.now, .threads = 1, .epochs = &history};
	if (known.len)
		expect_ok(epochs_file_parse(known, &arena, &history));
	expect_ok(receipt_verify(&options, out));
}

/* What becomes of the scene's receipt when the verifier holds `known`; `name` and `reason` of the one check that failed. */
static void expect_verdict(const struct scene *s, struct span known, enum verify_verdict verdict, const char *name, enum reason reason)
{
	CLEANUP(verify_report_free) struct verify_report report = {0};
	judge(s, &s->trust, known, &report);
	if (report.verdict != verdict)
		print_failures(&report);
	assert_int_equal(report.verdict, verdict);
	const struct verify_check *first = verify_first_failure(&report);
	if (!name) {
		assert_null(first);
		return;
	}
	assert_non_null(first);
	assert_string_equal(first->name, name);
	expect(first->reason, reason);
}

static void expect_accepted(const struct scene *s)
{
	expect_verdict(s, SPAN_EMPTY, VERDICT_ACCEPTED, NULL, OK);
}

/* ---- The receipt's own chain ------------------------------------------------------------------------- */

static size_t used_count(const struct verify_report *report)
{
	size_t count = 0;
	for (const struct used_epoch *used = verify_epochs(report)->used; used; used = used->next)
		count++;
	return count;
}

static void test_accepts_receipts_of_rotated_roots(void **unused)
{
	static const struct {
		enum tweak tweak;
		size_t epochs, used;
	} rows[] = {{NO_TWEAK, 1, 1}, {ROTATED_BEFORE_HEAD, 2, 2}, {ROTATED_AFTER_A, 2, 2}, {ROTATED_AFTER_LAUNCH, 2, 2}, {ROTATED_OFTEN, 4, 3}};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct scene s;
		CLEANUP(verify_report_free) struct verify_report report = {0};
		scene_make(&s, rows[i].tweak);
		expect_accepted(&s);
		judge(&s, &s.trust, SPAN_EMPTY, &report);
		assert_int_equal(epoch_chain_count(verify_epochs(&report)->chain), rows[i].epochs);
		assert_int_equal(used_count(&report), rows[i].used);
		scene_free(&s);
	}
}

static void test_accepts_a_run_after_many_rotations(void **unused)
{
	struct scene s;
	scene_new(&s);
	for (int i = 0; i < 6; i++)
		host_rotate(&s.host);
	run_make(&s.host, &s.job, ROTATED_AFTER_LAUNCH, NULL, &s.run);
	expect_accepted(&s);
	scene_free(&s);
}

static void test_shows_the_epochs(void **unused)
{
	struct scene s;
	struct receipt_view view;
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	const struct show_options options = {0};
	scene_make(&s, ROTATED_AFTER_LAUNCH);
	expect_ok(receipt_view_open(bytes_span(&s.run.receipt), &view));
	expect_ok(receipt_show(&view, &options, &text));
	assert_non_null(memmem(text.data, text.len, "era 0, epoch 2 (rotation by the operator), one of 2", 51));
	assert_non_null(memmem(text.data, text.len, "signed the receipt", 18));
	receipt_view_free(&view);
	scene_free(&s);
}

static void test_refuses_a_section_that_is_no_chain(void **unused)
{
	static const struct {
		enum list_change change;
		const char *name;
		enum reason reason;
	} rows[] = {
		{SWAP_FIRST_TWO, "head.epoch", DAC_UNTRUSTED_ROOT},
		{DOUBLE_FIRST, "head.epoch", DAC_UNTRUSTED_ROOT},
		{DAMAGE_FIRST, "head.epoch", DAC_UNTRUSTED_ROOT},
		{DROP_FIRST, "head.epoch", DAC_UNTRUSTED_ROOT},
		{EMPTY_LIST, "head.epoch", DAC_UNTRUSTED_ROOT},
		{ADD_JUNK, "head.epoch", DAC_UNTRUSTED_ROOT},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct scene s;
		scene_new(&s);
		host_rotate(&s.host);
		run_make_changed(&s.host, &s.job, SECTION_EPOCHS, rows[i].change, &s.run);
		expect_verdict(&s, SPAN_EMPTY, VERDICT_REFUSED, rows[i].name, rows[i].reason);
		scene_free(&s);
	}
}

static void test_the_last_epoch_signs_the_head(void **unused)
{
	struct scene s;
	struct host clone;
	struct run other = {.host = &clone};
	scene_make(&s, HEAD_WITHOUT_ITS_EPOCH);
	expect_verdict(&s, SPAN_EMPTY, VERDICT_REFUSED, "head.epoch", DAC_UNTRUSTED_ROOT);
	scene_free(&s);
	scene_new(&s);
	host_clone(&s.host, 1, &clone);
	host_rotate(&clone);
	run_make(&s.host, &s.job, EPOCHS_OF_OTHER, &other, &s.run);
	expect_verdict(&s, SPAN_EMPTY, VERDICT_REFUSED, "head.epoch", DAC_UNTRUSTED_ROOT);
	scene_free(&s);
	host_free(&clone);
}

/* An enclave speaks under the certificate of its one launch; one made anew is for its channels. */
static void test_refuses_a_second_certificate_of_one_enclave(void **unused)
{
	static const enum tweak tweaks[] = {SPEAKS_UNDER_BOTH, LAUNCHED_TWICE};
	for (size_t i = 0; i < COUNT_OF(tweaks); i++) {
		struct scene s;
		scene_make(&s, tweaks[i]);
		expect_verdict(&s, SPAN_EMPTY, VERDICT_REFUSED, "chain.size", DAC_EXTRA_NODE);
		scene_free(&s);
	}
}

/* ---- What the verifier knows ------------------------------------------------------------------------- */

static void test_later_scheduled_epochs_change_nothing(void **unused)
{
	struct scene s;
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	scene_make(&s, ROTATED_AFTER_LAUNCH);
	host_rotate(&s.host);
	host_rotate(&s.host);
	host_history(&s.host, 0, SPAN_EMPTY, &history);
	expect_verdict(&s, bytes_span(&history), VERDICT_ACCEPTED, NULL, OK);
	expect_verdict(&s, s.host.epochs[0], VERDICT_ACCEPTED, NULL, OK);
	scene_free(&s);
}

static void test_a_halt_makes_it_unjudged(void **unused)
{
	struct scene s;
	CLEANUP(bytes_free) struct bytes halt = BYTES_EMPTY, history = BYTES_EMPTY;
	scene_make(&s, ROTATED_AFTER_LAUNCH);
	host_halt(&s.host, &halt);
	host_history(&s.host, 0, bytes_span(&halt), &history);
	expect_verdict(&s, bytes_span(&history), VERDICT_CANNOT_JUDGE, "epochs.standing", RECEIPT_UNJUDGED);
	/* Alone: without the recovery key's public half it cannot be verified, which is no reason to believe the receipt. */
	expect_verdict(&s, bytes_span(&halt), VERDICT_CANNOT_JUDGE, "epochs.standing", RECEIPT_UNJUDGED);
	/* One that nobody of the recovery set signed is an error of whoever gave it. */
	halt.data[halt.len - 1] ^= 1;
	bytes_free(&history);
	host_history(&s.host, 0, bytes_span(&halt), &history);
	expect_verdict(&s, bytes_span(&history), VERDICT_REFUSED, "epochs.standing", BAD_SIGNATURE);
	scene_free(&s);
}

static void test_a_later_recovery_makes_it_unjudged(void **unused)
{
	struct scene s;
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	scene_make(&s, ROTATED_AFTER_LAUNCH);
	host_recover(&s.host, s.host.epochs[1]);
	host_history(&s.host, 0, SPAN_EMPTY, &history);
	expect_verdict(&s, bytes_span(&history), VERDICT_CANNOT_JUDGE, "epochs.standing", RECEIPT_UNJUDGED);
	/* The recovery alone, with the key: the receipt itself has what it stands on. */
	bytes_free(&history);
	host_history(&s.host, 2, SPAN_EMPTY, &history);
	expect_verdict(&s, bytes_span(&history), VERDICT_CANNOT_JUDGE, "epochs.standing", RECEIPT_UNJUDGED);
	scene_free(&s);
}

/* Recovered from an epoch before the receipt's: what the later one signed does not count. */
static void test_a_voided_epoch_is_refused(void **unused)
{
	struct scene s;
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	scene_make(&s, ROTATED_BEFORE_HEAD);
	host_recover(&s.host, s.host.epochs[0]);
	host_history(&s.host, 0, SPAN_EMPTY, &history);
	expect_verdict(&s, bytes_span(&history), VERDICT_REFUSED, "epochs.standing", EPOCH_VOID);
	scene_free(&s);
}

static void test_the_new_era_is_judged_again(void **unused)
{
	struct scene s;
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY, halt = BYTES_EMPTY;
	scene_new(&s);
	host_rotate(&s.host);
	host_halt(&s.host, &halt);
	host_recover(&s.host, s.host.epochs[1]);
	run_make(&s.host, &s.job, ROTATED_AFTER_A, NULL, &s.run);
	expect_accepted(&s); /* it brings the recovery key; that needs no trust */
	host_history(&s.host, 0, SPAN_EMPTY, &history);
	expect_verdict(&s, bytes_span(&history), VERDICT_ACCEPTED, NULL, OK);
	scene_free(&s);
}

static void test_a_fork_is_refused(void **unused)
{
	struct scene s;
	struct host clone;
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	scene_new(&s);
	host_clone(&s.host, 1, &clone);
	host_rotate(&clone);
	run_make(&s.host, &s.job, ROTATED_BEFORE_HEAD, NULL, &s.run);
	expect_accepted(&s);
	host_history(&clone, 0, SPAN_EMPTY, &history);
	expect_verdict(&s, bytes_span(&history), VERDICT_REFUSED, "epochs.standing", EPOCH_FORKED);
	expect_verdict(&s, clone.epochs[1], VERDICT_REFUSED, "epochs.standing", EPOCH_FORKED);
	scene_free(&s);
	host_free(&clone);
}

static void test_epochs_of_another_root_are_told(void **unused)
{
	struct scene s;
	struct host other;
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	scene_make(&s, NO_TWEAK);
	host_new(&other, 1);
	host_history(&other, 0, SPAN_EMPTY, &history);
	expect_verdict(&s, bytes_span(&history), VERDICT_REFUSED, "epochs.standing", EPOCH_FOREIGN);
	host_free(&other);
	scene_free(&s);
}

/* ---- The trust file ---------------------------------------------------------------------------------- */

static result trust_with(const struct scene *s, const struct span *epochs, size_t count, struct trust *out)
{
	uint8_t spki[SPKI_SIZE];
	const struct span keys[] = {SPAN_ARRAY(spki)};
	struct trust_tcb tcb;
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	struct trust_parts parts = {.inceptions = &s->host.inception, .inception_count = 1, .recovery_keys = &s->host.recovery,
		.recovery_key_count = 1, .recovery_spki = keys, .recovery_spki_count = 1, .epochs = epochs, .epoch_count = count,
		.tcbs = &tcb, .tcb_count = 1, .job = &s->job.job};
	key_spki(&s->host.recovery_key, spki);
	memcpy(tcb.register0, s->host.registers[0].value, SHA384_SIZE);
	memcpy(tcb.register1, s->host.registers[1].value, SHA384_SIZE);
	memcpy(parts.job_digest, s->job.digest, SHA256_SIZE);
	expect_ok(trust_write(&parts, &text));
	return trust_parse("trust.json", bytes_span(&text), out);
}

static void test_the_trust_file_knows_of_a_halt(void **unused)
{
	struct scene s;
	struct trust trust;
	CLEANUP(bytes_free) struct bytes halt = BYTES_EMPTY;
	scene_make(&s, ROTATED_AFTER_LAUNCH);
	host_halt(&s.host, &halt);
	const struct span known[] = {bytes_span(&halt)};
	expect_ok(trust_with(&s, known, 1, &trust));
	struct verify_report report;
	judge(&s, &trust, SPAN_EMPTY, &report);
	assert_int_equal(report.verdict, VERDICT_CANNOT_JUDGE);
	expect(verify_first_failure(&report)->reason, RECEIPT_UNJUDGED);
	verify_report_free(&report);
	trust_free(&trust);
	expect_ok(trust_with(&s, s.host.epochs, s.host.epoch_count, &trust));
	judge(&s, &trust, SPAN_EMPTY, &report);
	assert_int_equal(report.verdict, VERDICT_ACCEPTED);
	verify_report_free(&report);
	trust_free(&trust);
	scene_free(&s);
}

static void test_the_trust_file_refuses_epochs_of_others(void **unused)
{
	struct scene s;
	struct host other;
	struct trust trust;
	scene_make(&s, NO_TWEAK);
	host_new(&other, 1);
	const struct span foreign[] = {other.inception}, junk[] = {span_str("junk")};
	expect(trust_with(&s, foreign, 1, &trust), EPOCH_FOREIGN);
	assert_int_not_equal(trust_with(&s, junk, 1, &trust), OK);
	host_free(&other);
	scene_free(&s);
}

int epoch_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepts_receipts_of_rotated_roots),
		cmocka_unit_test(test_accepts_a_run_after_many_rotations),
		cmocka_unit_test(test_shows_the_epochs),
		cmocka_unit_test(test_refuses_a_section_that_is_no_chain),
		cmocka_unit_test(test_the_last_epoch_signs_the_head),
		cmocka_unit_test(test_refuses_a_second_certificate_of_one_enclave),
		cmocka_unit_test(test_later_scheduled_epochs_change_nothing),
		cmocka_unit_test(test_a_halt_makes_it_unjudged),
		cmocka_unit_test(test_a_later_recovery_makes_it_unjudged),
		cmocka_unit_test(test_a_voided_epoch_is_refused),
		cmocka_unit_test(test_the_new_era_is_judged_again),
		cmocka_unit_test(test_a_fork_is_refused),
		cmocka_unit_test(test_epochs_of_another_root_are_told),
		cmocka_unit_test(test_the_trust_file_knows_of_a_halt),
		cmocka_unit_test(test_the_trust_file_refuses_epochs_of_others),
	};
	return cmocka_run_group_tests_name("receipt epochs", tests, NULL, NULL);
}
