/*
 * Receipts of a run on two hosts: each with a root of its own, and a third host that has nothing to do with it. What one
 * root signed must never count for another.
 */
#include "fixture.h"

#include <stdio.h>

#include "groups.h"

struct scene {
	struct host here, there, third;
	struct job_fixture job;
	struct trust trust;
	struct run run;
};

static void scene_new(struct scene *s, enum tweak tweak)
{
	host_new(&s->here, 1);
	host_new(&s->there, 11);
	host_new(&s->third, 21);
	job_fixture_new_hosts(&s->job, &s->here, &s->there);
	const struct host *all[] = {&s->here, &s->there, &s->third};
	trust_make_of(all, COUNT_OF(all), &s->job, &s->trust);
	run_make_hosts(&s->here, &s->there, &s->third, &s->job, tweak, &s->run);
}

static void scene_free(struct scene *s)
{
	run_free(&s->run);
	trust_free(&s->trust);
	job_fixture_free(&s->job);
	host_free(&s->here);
	host_free(&s->there);
	host_free(&s->third);
}

static void judge(const struct scene *s, const struct trust *trust, struct span receipt, struct span known, struct verify_report *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct epoch_history history = {0};
	const struct verify_options options = {
		.trust = trust, .receipt = receipt, .at_ms = s->here.now, .threads = 1, .epochs = &history};
	if (known.len)
		expect_ok(epochs_file_parse(known, &arena, &history));
	expect_ok(receipt_verify(&options, out));
}

static void expect_first(const struct verify_report *report, enum verify_verdict verdict, const char *name, enum reason reason,
	const char *text)
{
	const struct verify_check *first = verify_first_failure(report);
	if (first && (!name || strcmp(first->name, name) != 0))
		print_error("%s %s: %s: %s\n", first->name, first->object, reason_name(first->reason), first->text);
	assert_int_equal(report->verdict, verdict);
	if (!name) {
		assert_null(first);
		return;
	}
	assert_non_null(first);
	assert_string_equal(first->name, name);
	expect(first->reason, reason);
	if (text && !strstr(first->text, text))
		fail_msg("'%s' does not say '%s'", first->text, text);
}

static void expect_verdict(const struct scene *s, struct span known, enum verify_verdict verdict, const char *name, enum reason reason)
{
	CLEANUP(verify_report_free) struct verify_report report = {0};
	judge(s, &s->trust, bytes_span(&s->run.receipt), known, &report);
	expect_first(&report, verdict, name, reason, NULL);
}

static void test_accepts_a_run_on_two_hosts(void **unused)
{
	struct scene s;
	CLEANUP(verify_report_free) struct verify_report report = {0};
	scene_new(&s, NO_TWEAK);
	judge(&s, &s.trust, bytes_span(&s.run.receipt), SPAN_EMPTY, &report);
	expect_first(&report, VERDICT_ACCEPTED, NULL, OK, NULL);
	assert_int_equal(report.roots.count, 2);
	assert_string_equal(report.roots.roots[0].name, "here");
	assert_string_equal(report.roots.roots[1].name, "there");
	assert_int_equal(report.roots.roots[0].enclaves, 2);
	assert_int_equal(report.roots.roots[1].level, 1);
	scene_free(&s);
}

static void test_either_root_may_rotate(void **unused)
{
	static const enum tweak tweaks[] = {HOSTS_ROTATED, ROTATED_AFTER_A, ROTATED_BEFORE_HEAD, ROTATED_OFTEN};
	for (size_t i = 0; i < COUNT_OF(tweaks); i++) {
		struct scene s;
		scene_new(&s, tweaks[i]);
		expect_verdict(&s, SPAN_EMPTY, VERDICT_ACCEPTED, NULL, OK);
		scene_free(&s);
	}
}

/* Whoever does not trust one of the hosts learns which. */
static void test_needs_every_root_in_the_trust_file(void **unused)
{
	struct scene s;
	scene_new(&s, NO_TWEAK);
	const struct host *only_here[] = {&s.here, &s.third}, *only_there[] = {&s.there, &s.third};
	struct trust one, other;
	CLEANUP(verify_report_free) struct verify_report first = {0}, second = {0};
	trust_make_of(only_here, 2, &s.job, &one);
	trust_make_of(only_there, 2, &s.job, &other);
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	rot_fingerprint(s.there.rot_id, fingerprint);
	judge(&s, &one, bytes_span(&s.run.receipt), SPAN_EMPTY, &first);
	expect_first(&first, VERDICT_REFUSED, "host.trusted", TRUST_ROOT_MISSING, fingerprint);
	rot_fingerprint(s.here.rot_id, fingerprint);
	judge(&s, &other, bytes_span(&s.run.receipt), SPAN_EMPTY, &second);
	expect_first(&second, VERDICT_REFUSED, "host.trusted", TRUST_ROOT_MISSING, fingerprint);
	trust_free(&one);
	trust_free(&other);
	scene_free(&s);
}

static void test_names_every_lie_of_a_host(void **unused)
{
	static const struct {
		enum tweak tweak;
		const char *name;
		enum reason reason;
	} rows[] = {
		{HOSTS_WRONG_HOST, "enclave.launch", ROOT_WRONG_HOST},
		{HOSTS_NO_ROOTS, "hosts.complete", MISSING_FIELD},
		{HOSTS_OTHER_ROOT, "hosts.complete", DAC_EXTRA_NODE},
		{HOSTS_OTHER_CHAIN, "host.epochs", DAC_UNTRUSTED_ROOT},
		{HOSTS_EXTRA_ROOT, "hosts.complete", DAC_EXTRA_NODE},
		{HOSTS_HEAD_TWICE, "hosts.complete", DAC_EXTRA_NODE},
		{FAILED_STAGE, "flow.complete", DAC_MISSING_PARENT},
		{OTHER_PROGRAM, "enclave.launch", MEASUREMENT_MISMATCH},
		{CHANGED_EDGE, "flow.complete", DAC_EXTRA_NODE},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct scene s;
		scene_new(&s, rows[i].tweak);
		expect_verdict(&s, SPAN_EMPTY, VERDICT_REFUSED, rows[i].name, rows[i].reason);
		scene_free(&s);
	}
}

/* A receipt of one host with roots of others, and one of several hosts judged as if it were of one. */
static void test_the_section_belongs_to_jobs_of_several_hosts(void **unused)
{
	struct scene s;
	struct job_fixture plain;
	struct trust trust;
	struct run run;
	CLEANUP(verify_report_free) struct verify_report report = {0}, other = {0};
	scene_new(&s, NO_TWEAK);
	job_fixture_new(&plain, SHAPE_PLAIN, 1);
	const struct host *all[] = {&s.here, &s.there, &s.third};
	trust_make_of(all, 3, &plain, &trust);
	run_make_hosts(&s.here, &s.here, &s.third, &plain, HOSTS_EXTRA_ROOT, &run);
	judge(&s, &trust, bytes_span(&run.receipt), SPAN_EMPTY, &report);
	expect_first(&report, VERDICT_REFUSED, "hosts.complete", DAC_EXTRA_NODE, NULL);
	judge(&s, &trust, bytes_span(&s.run.receipt), SPAN_EMPTY, &other);
	assert_int_equal(other.verdict, VERDICT_REFUSED);
	run_free(&run);
	trust_free(&trust);
	job_fixture_free(&plain);
	scene_free(&s);
}

static void test_shows_the_hosts(void **unused)
{
	struct scene s;
	struct receipt_view view;
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	const struct show_options options = {0};
	char expected[128], fingerprint[EPOCH_FINGERPRINT_SIZE];
	scene_new(&s, HOSTS_ROTATED);
	expect_ok(receipt_view_open(bytes_span(&s.run.receipt), &view));
	expect_ok(receipt_show(&view, &options, &text));
	rot_fingerprint(s.there.rot_id, fingerprint);
	snprintf(expected, sizeof(expected), "there            root %s, 2 epochs\n", fingerprint);
	assert_non_null(memmem(text.data, text.len, expected, strlen(expected)));
	assert_non_null(memmem(text.data, text.len, "ran on there", 12));
	assert_non_null(memmem(text.data, text.len, "signed the receipt", 18));
	receipt_view_free(&view);
	scene_free(&s);
}

/* What the auditor learns of any of the roots counts as it would of the only one. */
static void test_what_is_known_of_each_root_counts(void **unused)
{
	struct scene s;
	CLEANUP(bytes_free) struct bytes halt = BYTES_EMPTY, halted = BYTES_EMPTY, unrelated = BYTES_EMPTY, recovered = BYTES_EMPTY,
				      here = BYTES_EMPTY;
	scene_new(&s, NO_TWEAK);
	host_history(&s.there, 0, SPAN_EMPTY, &here);
	expect_verdict(&s, bytes_span(&here), VERDICT_ACCEPTED, NULL, OK);
	host_history(&s.third, 0, SPAN_EMPTY, &unrelated);
	expect_verdict(&s, bytes_span(&unrelated), VERDICT_REFUSED, "epochs.standing", EPOCH_FOREIGN);
	host_halt(&s.there, &halt);
	host_history(&s.there, 0, bytes_span(&halt), &halted);
	expect_verdict(&s, bytes_span(&halted), VERDICT_CANNOT_JUDGE, "epochs.standing", RECEIPT_UNJUDGED);
	host_recover(&s.there, s.there.epochs[0]);
	host_history(&s.there, 0, SPAN_EMPTY, &recovered);
	expect_verdict(&s, bytes_span(&recovered), VERDICT_CANNOT_JUDGE, "epochs.standing", RECEIPT_UNJUDGED);
	scene_free(&s);
}

/* The other host's state folder ran twice: two records for its second epoch. */
static void test_a_fork_of_the_other_root_is_refused(void **unused)
{
	struct scene s;
	struct host twin;
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	host_new(&s.here, 1);
	host_new(&s.there, 11);
	host_new(&s.third, 21);
	host_clone(&s.there, 11, &twin);
	job_fixture_new_hosts(&s.job, &s.here, &s.there);
	const struct host *all[] = {&s.here, &s.there};
	trust_make_of(all, COUNT_OF(all), &s.job, &s.trust);
	run_make_hosts(&s.here, &s.there, &s.third, &s.job, HOSTS_ROTATED, &s.run);
	expect_verdict(&s, SPAN_EMPTY, VERDICT_ACCEPTED, NULL, OK);
	host_rotate(&twin);
	host_history(&twin, 0, SPAN_EMPTY, &history);
	expect_verdict(&s, bytes_span(&history), VERDICT_REFUSED, "epochs.standing", EPOCH_FORKED);
	host_free(&twin);
	scene_free(&s);
}

/* Records of roots other than the head's are as much a part of it: no byte may change. */
static void test_the_roots_section_is_bound(void **unused)
{
	struct scene s;
	CLEANUP(bytes_free) struct bytes copy = BYTES_EMPTY;
	scene_new(&s, NO_TWEAK);
	struct span section = s.run.sections.sections[s.run.sections.count - 1].bytes;
	assert_int_equal(s.run.sections.sections[s.run.sections.count - 1].id, SECTION_ROOTS);
	assert_true(s.run.sections.rows[s.run.sections.count - 1].critical);
	expect_ok(bytes_copy(bytes_span(&s.run.receipt), &copy));
	uint8_t *at = memmem(copy.data, copy.len, section.data, section.len);
	assert_non_null(at);
	for (size_t i = 0; i < section.len; i += 7) {
		CLEANUP(verify_report_free) struct verify_report report = {0};
		at[i] ^= 1;
		sha256(span_of(copy.data, copy.len - SHA256_SIZE - 2), copy.data + copy.len - SHA256_SIZE);
		judge(&s, &s.trust, bytes_span(&copy), SPAN_EMPTY, &report);
		assert_int_equal(report.verdict, VERDICT_REFUSED);
		at[i] ^= 1;
	}
	scene_free(&s);
}

static void test_the_trust_file_keeps_the_hosts(void **unused)
{
	struct scene s;
	struct trust trust;
	scene_new(&s, NO_TWEAK);
	assert_int_equal(s.trust.job.host_count, 2);
	assert_string_equal(s.trust.job.enclaves[B].host, "there");
	const struct host *all[] = {&s.here, &s.there};
	CLEANUP(bytes_free) struct bytes text = trust_text_of(all, 2, &s.job);
	/* An enclave on a host that the file does not have; a host whose root was exchanged. */
	uint8_t *at = memmem(text.data, text.len, "\"host\": \"there\"", 15);
	assert_non_null(at);
	at[9] = 'T';
	expect(trust_parse("t", bytes_span(&text), &trust), JOB_INCONSISTENT);
	at[9] = 't';
	at = memmem(text.data, text.len, "\"rot_id\": \"", 11);
	assert_non_null(at);
	at[11] = at[11] == '0' ? '1' : '0';
	expect(trust_parse("t", bytes_span(&text), &trust), DIGEST_MISMATCH);
	scene_free(&s);
}

int hosts_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepts_a_run_on_two_hosts),
		cmocka_unit_test(test_either_root_may_rotate),
		cmocka_unit_test(test_needs_every_root_in_the_trust_file),
		cmocka_unit_test(test_names_every_lie_of_a_host),
		cmocka_unit_test(test_the_section_belongs_to_jobs_of_several_hosts),
		cmocka_unit_test(test_shows_the_hosts),
		cmocka_unit_test(test_what_is_known_of_each_root_counts),
		cmocka_unit_test(test_a_fork_of_the_other_root_is_refused),
		cmocka_unit_test(test_the_roots_section_is_bound),
		cmocka_unit_test(test_the_trust_file_keeps_the_hosts),
	};
	return cmocka_run_group_tests_name("hosts", tests, NULL, NULL);
}
