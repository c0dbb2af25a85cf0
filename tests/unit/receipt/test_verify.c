/* The verifier: a genuine receipt passes, and each lie of a host or enclave that signs with its own keys is named (RC-01..12). */
#include "fixture.h"

#include <stdlib.h>
#include <unistd.h>

#include "../base/allocations.h"
#include "groups.h"

struct world {
	struct host host, other_host;
	struct job_fixture job, external, newer;
	struct trust trust;
	struct run first; /* a genuine, finished run */
};
static struct world w;

static int set_up(void **unused)
{
	host_new(&w.host, 1);
	host_new(&w.other_host, 1);
	job_fixture_new(&w.newer, SHAPE_PLAIN, 2);
	job_fixture_new(&w.external, SHAPE_EXTERNAL, 1);
	job_fixture_new(&w.job, SHAPE_PLAIN, 1);
	trust_make(&w.host, &w.job, &w.trust);
	run_make(&w.host, &w.job, NO_TWEAK, NULL, &w.first);
	return 0;
}

static int tear_down(void **unused)
{
	run_free(&w.first);
	trust_free(&w.trust);
	job_fixture_free(&w.job);
	job_fixture_free(&w.external);
	job_fixture_free(&w.newer);
	host_free(&w.host);
	host_free(&w.other_host);
	return 0;
}

static void verify(const struct trust *trust, struct span receipt, struct verify_report *out)
{
	struct verify_options options = {.trust = trust, .receipt = receipt, .at_ms = w.host.now, .threads = 1};
	expect_ok(receipt_verify(&options, out));
}

static void print_failures(const struct verify_report *report)
{
	for (size_t i = 0; i < report->check_count; i++)
		if (!report->checks[i].ok)
			print_error("%s %s: %s: %s\n", report->checks[i].name, report->checks[i].object,
				reason_name(report->checks[i].reason), report->checks[i].text);
}

static void expect_accepted(const struct verify_report *report)
{
	if (report->verdict != VERDICT_ACCEPTED)
		print_failures(report);
	assert_int_equal(report->verdict, VERDICT_ACCEPTED);
	assert_null(verify_first_failure(report));
}

/* Refused, and this check says why. */
static void expect_refused(const struct verify_report *report, const char *name, enum reason reason)
{
	assert_int_equal(report->verdict, VERDICT_REFUSED);
	for (size_t i = 0; i < report->check_count; i++)
		if (!report->checks[i].ok && strcmp(report->checks[i].name, name) == 0 && report->checks[i].reason == reason)
			return;
	print_failures(report);
	fail_msg("no check %s failed with %s", name, reason_name(reason));
}

static void test_accepts_a_genuine_receipt(void **unused)
{
	struct verify_report report;
	verify(&w.trust, bytes_span(&w.first.receipt), &report);
	expect_accepted(&report);
	assert_int_equal(report.level, 1);
	assert_string_equal(report.weakest_isolation, "weak");
	assert_true(report.has_head && report.has_job);
	assert_false(report.interpreter_open);
	assert_int_equal(dac_count(report.dac), 7);
	assert_int_equal(verify_exit_code(report.verdict), EXIT_OK);
	verify_report_free(&report);
}

static void expect_job_accepted(const struct job_fixture *job, size_t records, size_t results)
{
	struct trust trust;
	struct run run;
	struct verify_report report;
	trust_make(&w.host, job, &trust);
	run_make(&w.host, job, NO_TWEAK, NULL, &run);
	verify(&trust, bytes_span(&run.receipt), &report);
	expect_accepted(&report);
	assert_int_equal(dac_count(report.dac), records);
	assert_int_equal(report.head.root_count, results);
	verify_report_free(&report);
	run_free(&run);
	trust_free(&trust);
}

static void test_accepts_other_shapes_of_jobs(void **unused)
{
	struct job_fixture without;
	expect_job_accepted(&w.external, 8, 2);
	/* C has no output of the job and hands nothing to another enclave: what it derived is a result all the same. */
	job_fixture_new(&without, SHAPE_PUSH_ONLY, 1);
	expect_job_accepted(&without, 8, 2);
	job_fixture_free(&without);
	job_fixture_new(&without, SHAPE_NO_INPUT, 1);
	expect_job_accepted(&without, 6, 2);
	job_fixture_free(&without);
	job_fixture_new(&without, SHAPE_SINGLE, 1);
	expect_job_accepted(&without, 3, 1);
	job_fixture_free(&without);
}

/* Every lie, and the check that finds it. */
static const struct lie {
	enum tweak tweak;
	const char *check;
	enum reason reason;
} lies[] = {
	{FAILED_STAGE, "flow.complete", DAC_MISSING_PARENT},
	{PREFIX_OF_RUN, "flow.complete", DAC_MISSING_PARENT},
	{EXTRA_RECORD, "flow.complete", DAC_EXTRA_NODE},
	{WRONG_OPERATION, "flow.edge", OPERATION_NOT_ALLOWED},
	{EDGE_SALT, "salts", MISSING_FIELD},
	{EXTRA_SALT, "salts", DAC_EXTRA_NODE},
	{MISSING_SALT, "salts", MISSING_FIELD},
	{INPUT_FOR_EDGE_SALT, "salts", MISSING_FIELD},
	{OTHER_STATEMENT, "output.file", DIGEST_MISMATCH},
	{NO_STATEMENT, "statements.count", DAC_EXTRA_NODE},
	{SECRET_WITHOUT_GRANT, "flow.input", DAC_KIND_RULE},
	{SECRET_WITHOUT_GRANT, "grant", MISSING_FIELD},
	{GRANT_LEFT_OUT, "grants.count", DAC_EXTRA_NODE},
	{GRANT_TWICE, "grants.count", DAC_EXTRA_NODE},
	{OTHER_PROGRAM, "enclave.launch", MEASUREMENT_MISMATCH},
	{TIER_L, "record", CONFINEMENT_TOO_LOW},
	{LATE_RECORD, "record", DAC_TIME},
	{LATE_STATEMENT, "output.statement", DAC_TIME},
	{STATEMENT_TYPE, "output.statement", BAD_VALUE},
	{STATEMENT_OF_ANOTHER_RUN, "output.statement", DAC_FOREIGN_RUN},
	{FORGED_STATEMENT, "output.statement", BAD_SIGNATURE},
	{STATEMENT_BY_ANOTHER, "output.statement", MISSING_FIELD},
	{PLAIN_INPUT_WITH_GRANT, "flow.input", DAC_KIND_RULE},
	{EXTRA_OUTPUT, "flow.enclave", DAC_COMMITMENT},
	{EXTRA_INPUT, "flow.enclave", DAC_COMMITMENT},
	{CHANGED_EDGE, "flow.edge", DAC_COMMITMENT},
	{UNUSED_INPUT, "flow.input", DAC_COMMITMENT},
	{POLICY_LEFT_OUT, "policies", NO_POLICY},
	{MANIFESTS_SWAPPED, "enclave.measurement", MEASUREMENT_MISMATCH},
	{RECORDS_SHUFFLED, "chain.closed", NOT_DETERMINISTIC},
	{OLD_RECORDS, "record", DAC_FOREIGN_RUN},
	{MISSING_SECTION, "section.present", MISSING_FIELD},
	{ROOT_TOO_MANY, "flow.roots", DAC_EXTRA_NODE},
};

static void test_names_every_lie(void **unused)
{
	for (size_t i = 0; i < COUNT_OF(lies); i++) {
		struct run run;
		struct verify_report report;
		struct verify_file file = {.name = "summary", .fd = file_with(summary_text)};
		run_make(&w.host, &w.job, lies[i].tweak, &w.first, &run);
		struct verify_options options = {
			.trust = &w.trust, .receipt = bytes_span(&run.receipt), .files = &file, .file_count = 1, .at_ms = w.host.now};
		expect_ok(receipt_verify(&options, &report));
		expect_refused(&report, lies[i].check, lies[i].reason);
		assert_int_equal(verify_exit_code(report.verdict), EXIT_REFUSED);
		verify_report_free(&report);
		run_free(&run);
		close(file.fd);
	}
}

/* Calls are as many as there are, but each lies on an edge of the job that is one, in its direction, for its operation. */
static void test_names_every_call_that_the_job_does_not_have(void **unused)
{
	static const enum tweak cases[] = {CALLS, CALL_ON_NO_EDGE, CALL_ON_A_FLOW, CALL_FOR_ANOTHER_OPERATION, CALL_THE_OTHER_WAY, ANSWER_ON_NO_EDGE};
	struct job_fixture job;
	struct trust trust;
	job_fixture_new(&job, SHAPE_CALLS, 1);
	trust_make(&w.host, &job, &trust);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct run run;
		struct verify_report report;
		run_make(&w.host, &job, cases[i], NULL, &run);
		verify(&trust, bytes_span(&run.receipt), &report);
		if (cases[i] == CALLS)
			expect_accepted(&report);
		else
			expect_refused(&report, "flow.complete", DAC_EXTRA_NODE);
		verify_report_free(&report);
		run_free(&run);
	}
	trust_free(&trust);
	job_fixture_free(&job);
}

/* What was unsealed enters under a grant of its own, for this launch, where a program can ask for it. */
static void test_names_every_unsealed_value_without_its_grant(void **unused)
{
	static const struct {
		enum tweak tweak;
		const char *check;
		enum reason reason;
	} cases[] = {
		{UNSEALED, NULL, OK},
		{UNSEALED_WITHOUT_GRANT, "grant.unsealed", MISSING_FIELD},
		{UNSEALED_BY_SECRETS_GRANT, "grant.unsealed", DAC_DUPLICATE},
		{UNSEALED_BY_ANOTHER, "grant.unsealed", DAC_REPORT_MISMATCH},
		{UNSEALED_UNNAMED, "grants.count", DAC_EXTRA_NODE},
		{UNSEALED_AS_ANOTHER, "flow.complete", DAC_EXTRA_NODE},
	};
	struct job_fixture job;
	struct trust trust;
	job_fixture_new(&job, SHAPE_CALLS, 1);
	trust_make(&w.host, &job, &trust);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct run run;
		struct verify_report report;
		run_make(&w.host, &job, cases[i].tweak, NULL, &run);
		verify(&trust, bytes_span(&run.receipt), &report);
		if (cases[i].check)
			expect_refused(&report, cases[i].check, cases[i].reason);
		else
			expect_accepted(&report);
		verify_report_free(&report);
		run_free(&run);
		/* Without a fabric no program can have asked. */
		run_make(&w.host, &w.job, cases[i].tweak, NULL, &run);
		verify(&w.trust, bytes_span(&run.receipt), &report);
		expect_refused(&report, cases[i].tweak == UNSEALED_UNNAMED ? "grants.count" : "flow.complete", DAC_EXTRA_NODE);
		verify_report_free(&report);
		run_free(&run);
	}
	trust_free(&trust);
	job_fixture_free(&job);
}

/* A head that was signed over a list with something missing, doubled, moved, damaged or added. */
static void test_every_list_has_one_form(void **unused)
{
	for (uint16_t section = SECTION_EPOCHS; section <= SECTION_STATEMENTS; section++)
		for (int change = 0; change < LIST_CHANGES; change++) {
			struct run run;
			struct verify_report report;
			run_make_changed(&w.host, &w.job, (enum section_id)section, (enum list_change)change, &run);
			verify(&w.trust, bytes_span(&run.receipt), &report);
			if (report.verdict != VERDICT_REFUSED)
				fail_msg("section %u with change %d is not refused", section, change);
			/* Not by its digest: the host signed this. */
			assert_string_not_equal(verify_first_failure(&report)->name, "section.digest");
			verify_report_free(&report);
			run_free(&run);
		}
}

/* Memory that runs out never makes a receipt good: whoever can do without notes every check that there is. */
static void test_no_memory(void **unused)
{
	struct verify_report whole;
	bool failed = true;
	verify(&w.trust, bytes_span(&w.first.receipt), &whole);
	for (unsigned n = 1; failed; n++) {
		struct verify_report report = {0};
		struct verify_options options = {.trust = &w.trust, .receipt = bytes_span(&w.first.receipt), .threads = 1};
		allocations_fail(n);
		result done = receipt_verify(&options, &report);
		failed = allocations_restore();
		if (!failed)
			expect_accepted(&report);
		else if (done == OK && report.verdict != VERDICT_REFUSED)
			assert_int_equal(report.check_count, whole.check_count);
		verify_report_free(&report);
		assert_true(n < 10000);
	}
	verify_report_free(&whole);
}

/* RC-03, and the other root's epoch record under this root's head. */
static void test_refuses_another_host(void **unused)
{
	struct run theirs, mixed;
	struct verify_report report;
	struct trust trust;
	run_make(&w.other_host, &w.job, NO_TWEAK, NULL, &theirs);
	verify(&w.trust, bytes_span(&theirs.receipt), &report);
	expect_refused(&report, "head.root", DAC_UNTRUSTED_ROOT);
	verify_report_free(&report);
	run_make(&w.host, &w.job, FOREIGN_EPOCHS, &theirs, &mixed);
	verify(&w.trust, bytes_span(&mixed.receipt), &report);
	expect_refused(&report, "epochs.chain", DAC_UNTRUSTED_ROOT);
	verify_report_free(&report);
	/* RC-05: what the receipt brings itself is never an anchor. */
	trust_make(&w.other_host, &w.job, &trust);
	verify(&trust, bytes_span(&w.first.receipt), &report);
	expect_refused(&report, "head.root", DAC_UNTRUSTED_ROOT);
	verify_report_free(&report);
	trust_free(&trust);
	run_free(&theirs);
	run_free(&mixed);
}

/* RC-07: the same name and version, another program; RC-09: a valid receipt of another job. */
static void test_refuses_another_program_and_job(void **unused)
{
	struct run run;
	struct verify_report report;
	run_make(&w.host, &w.newer, NO_TWEAK, NULL, &run);
	verify(&w.trust, bytes_span(&run.receipt), &report);
	expect_refused(&report, "job.expected", DIGEST_MISMATCH);
	verify_report_free(&report);
	run_free(&run);
	run_make(&w.host, &w.external, NO_TWEAK, NULL, &run);
	verify(&w.trust, bytes_span(&run.receipt), &report);
	expect_refused(&report, "job.expected", DIGEST_MISMATCH);
	verify_report_free(&report);
	run_free(&run);
}

static void test_unknown_parts(void **unused)
{
	static const struct {
		enum tweak tweak;
		enum verify_verdict verdict;
		enum exit_code exit;
	} cases[] = {
		{UNKNOWN_CRITICAL_SECTION, VERDICT_CANNOT_JUDGE, EXIT_CANNOT_JUDGE},
		{UNKNOWN_SECTION, VERDICT_ACCEPTED, EXIT_OK},
		{OTHER_RECORDER, VERDICT_CANNOT_JUDGE, EXIT_CANNOT_JUDGE},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct run run;
		struct verify_report report;
		run_make(&w.host, &w.job, cases[i].tweak, NULL, &run);
		verify(&w.trust, bytes_span(&run.receipt), &report);
		assert_int_equal(report.verdict, cases[i].verdict);
		assert_int_equal(verify_exit_code(report.verdict), cases[i].exit);
		verify_report_free(&report);
		run_free(&run);
	}
}

/* Something else that is wrong weighs more than what cannot be judged. */
static void test_refuses_what_is_unknown_and_wrong(void **unused)
{
	struct run run;
	struct verify_report report;
	struct verify_file file = {.name = "summary", .fd = file_with(rows_text)};
	run_make(&w.host, &w.job, UNKNOWN_CRITICAL_SECTION, NULL, &run);
	struct verify_options options = {.trust = &w.trust, .receipt = bytes_span(&run.receipt), .files = &file, .file_count = 1};
	expect_ok(receipt_verify(&options, &report));
	assert_int_equal(report.verdict, VERDICT_REFUSED);
	verify_report_free(&report);
	run_free(&run);
	close(file.fd);
}

static void test_nonce(void **unused)
{
	struct run run;
	uint8_t right[32], wrong[32] = {9};
	memset(right, 0x11, sizeof(right));
	run_make(&w.host, &w.job, WITH_NONCE, NULL, &run);
	const struct {
		struct span receipt, nonce;
		bool accepted;
	} cases[] = {
		{bytes_span(&run.receipt), SPAN_ARRAY(right), true},
		{bytes_span(&run.receipt), SPAN_EMPTY, true},
		{bytes_span(&run.receipt), SPAN_ARRAY(wrong), false},
		{bytes_span(&w.first.receipt), SPAN_ARRAY(right), false},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct verify_report report;
		struct verify_options options = {.trust = &w.trust, .receipt = cases[i].receipt, .nonce = cases[i].nonce};
		expect_ok(receipt_verify(&options, &report));
		if (cases[i].accepted)
			expect_accepted(&report);
		else
			expect_refused(&report, "head.nonce", BAD_VALUE);
		verify_report_free(&report);
	}
	run_free(&run);
}

/* RC-04. */
static void test_files(void **unused)
{
	static const struct {
		const char *name;
		bool is_input;
		const char *text;
		enum reason reason;
	} cases[] = {
		{"summary", false, summary_text, OK},
		{"rejects", false, rejects_text, OK},
		{"rows", true, rows_text, OK},
		{"summary", false, rejects_text, DIGEST_MISMATCH},
		{"summary", false, "department,total\nsales,10", DIGEST_MISMATCH},
		{"summary", false, "", DIGEST_MISMATCH},
		{"rejects", false, summary_text, DIGEST_MISMATCH},
		{"rows", true, "a,b,d\n", DIGEST_MISMATCH},
		{"rows", true, "", DIGEST_MISMATCH},
		{"rows", false, rows_text, UNKNOWN_ROLE},
		{"sumary", false, summary_text, UNKNOWN_ROLE},
		{"rows-key", true, "open sesame", BAD_VALUE},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct verify_report report;
		struct verify_file file = {cases[i].name, file_with(cases[i].text), cases[i].is_input};
		struct verify_options options = {
			.trust = &w.trust, .receipt = bytes_span(&w.first.receipt), .files = &file, .file_count = 1};
		expect_ok(receipt_verify(&options, &report));
		if (cases[i].reason == OK)
			expect_accepted(&report);
		else
			expect_refused(&report, cases[i].is_input ? "input.file" : "output.file", cases[i].reason);
		verify_report_free(&report);
		close(file.fd);
	}
}

/* Two files for one output: both are looked at. */
static void test_every_file_counts(void **unused)
{
	struct verify_report report;
	struct verify_file files[] = {{"summary", file_with(summary_text), false}, {"summary", file_with(rows_text), false}};
	struct verify_options options = {.trust = &w.trust, .receipt = bytes_span(&w.first.receipt), .files = files, .file_count = 2};
	expect_ok(receipt_verify(&options, &report));
	expect_refused(&report, "output.file", DIGEST_MISMATCH);
	verify_report_free(&report);
	close(files[0].fd);
	close(files[1].fd);
}

/* An output of another run of the same job: the same bytes would pass only with that run's salt. */
static void test_results_of_another_run(void **unused)
{
	struct run second;
	struct verify_report report;
	run_make(&w.host, &w.job, NO_TWEAK, NULL, &second);
	verify(&w.trust, bytes_span(&second.receipt), &report);
	expect_accepted(&report);
	assert_memory_not_equal(report.head.run_id, w.first.run_id, RUN_ID_SIZE);
	verify_report_free(&report);
	run_free(&second);
}

/* The trust file decides: each of its words can refuse the same receipt. */
static void test_trust_decides(void **unused)
{
	struct verify_report report;
	struct trust trust = w.trust;
	struct register_value revoked;
	memcpy(revoked.value, w.job.job.enclaves[B].core, SHA384_SIZE);
	trust.revoked = &revoked;
	trust.revoked_count = 1;
	verify(&trust, bytes_span(&w.first.receipt), &report);
	expect_refused(&report, "enclave.measurement", MEASUREMENT_REVOKED);
	verify_report_free(&report);
	memcpy(revoked.value, w.job.job.enclaves[C].measurement, SHA384_SIZE);
	verify(&trust, bytes_span(&w.first.receipt), &report);
	expect_refused(&report, "enclave.measurement", MEASUREMENT_REVOKED);
	verify_report_free(&report);

	struct trust_tcb tcb = w.trust.tcbs[0];
	tcb.register1[7] ^= 1;
	trust = w.trust;
	trust.tcbs = &tcb;
	verify(&trust, bytes_span(&w.first.receipt), &report);
	expect_refused(&report, "enclave.launch", MEASUREMENT_MISMATCH);
	verify_report_free(&report);

	trust = w.trust;
	trust.has_expires = true;
	trust.expires_ms = w.host.now - 1;
	verify(&trust, bytes_span(&w.first.receipt), &report);
	expect_refused(&report, "trust.valid", TRUST_EXPIRED);
	verify_report_free(&report);
	trust.expires_ms = w.host.now;
	verify(&trust, bytes_span(&w.first.receipt), &report);
	expect_accepted(&report);
	verify_report_free(&report);
}

/* The receipt that the verifier gets is never believed about the job: every enclave, edge, input and output counts. */
static void test_receipt_is_judged_by_the_trusted_job(void **unused)
{
	struct verify_report report;
	struct job_enclave enclaves[STAGES];
	struct trust trust = w.trust;
	memcpy(enclaves, w.trust.job.enclaves, sizeof(enclaves));
	enclaves[B].measurement[0] ^= 1;
	trust.job.enclaves = enclaves;
	verify(&trust, bytes_span(&w.first.receipt), &report);
	expect_refused(&report, "enclave.measurement", MEASUREMENT_MISMATCH);
	verify_report_free(&report);
}

/* Two things of one name at one enclave could stand in for each other. */
/* Measurements, core and policy are as the job says; the name in the manifest is another. */
static void test_a_manifest_names_its_enclave(void **unused)
{
	struct verify_report report;
	struct trust trust = w.trust;
	struct job_enclave enclaves[STAGES];
	assert_int_equal(trust.job.enclave_count, STAGES);
	memcpy(enclaves, trust.job.enclaves, sizeof(enclaves));
	enclaves[B].name = "IRE-BB";
	trust.job.enclaves = enclaves;
	verify(&trust, bytes_span(&w.first.receipt), &report);
	expect_refused(&report, "enclave.measurement", MEASUREMENT_MISMATCH);
	verify_report_free(&report);
}

static void test_refuses_an_ambiguous_job(void **unused)
{
	struct verify_report report;
	struct job_input inputs[2] = {w.trust.job.inputs[0], w.trust.job.inputs[0]};
	struct trust trust = w.trust;
	trust.job.inputs = inputs;
	verify(&trust, bytes_span(&w.first.receipt), &report);
	expect_refused(&report, "flow.complete", BAD_VALUE);
	verify_report_free(&report);
}

/* Times bound each other: what is older than a run may be, and a head outside its root's validity. */
static void test_times(void **unused)
{
	struct verify_report report;
	struct trust_root root = w.trust.roots[0];
	struct trust trust = w.trust;
	trust.roots = &root;
	root.epoch.not_after = w.first.host->now - 3600 * 1000;
	verify(&trust, bytes_span(&w.first.receipt), &report);
	expect_refused(&report, "head.epoch", EPOCH_EXPIRED);
	verify_report_free(&report);
	root.epoch.not_after = w.host.now + 1;
	root.epoch.not_before = w.host.now;
	verify(&trust, bytes_span(&w.first.receipt), &report);
	expect_refused(&report, "head.epoch", EPOCH_EXPIRED);
	verify_report_free(&report);
}

/* The first and the last moment of an epoch belong to it. The records are as old as the head here. */
static void test_bounds_of_the_epoch(void **unused)
{
	struct verify_report report;
	verify(&w.trust, bytes_span(&w.first.receipt), &report);
	uint64_t at = report.head.time;
	verify_report_free(&report);
	const struct {
		uint64_t not_before, not_after;
		bool inside;
	} cases[] = {{at, at, true}, {at + 1, at + 1, false}, {at - 1, at - 1, false}};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct trust_root root = w.trust.roots[0];
		struct trust trust = w.trust;
		trust.roots = &root;
		root.epoch.not_before = cases[i].not_before;
		root.epoch.not_after = cases[i].not_after;
		verify(&trust, bytes_span(&w.first.receipt), &report);
		if (cases[i].inside)
			expect_accepted(&report);
		else
			expect_refused(&report, "head.epoch", EPOCH_EXPIRED);
		verify_report_free(&report);
	}
}

/* A receipt is judged at the time of its head: launches must be of this run, certificates valid until then. */
static void test_slow_runs(void **unused)
{
	struct verify_report report;
	struct run run;
	struct trust trust = w.trust;
	run_make(&w.host, &w.job, SLOW_RUN, NULL, &run);
	verify(&trust, bytes_span(&run.receipt), &report);
	expect_refused(&report, "enclave.launch", DAC_TIME);
	verify_report_free(&report);
	trust.max_run_ms = 48 * 3600 * 1000;
	verify(&trust, bytes_span(&run.receipt), &report);
	expect_refused(&report, "enclave.launch", CERTIFICATE_EXPIRED);
	verify_report_free(&report);
	run_free(&run);
}

/* Its own policy binds an enclave also where no other enclave had to look at it. */
static void test_confinement_of_one(void **unused)
{
	static const struct {
		enum tweak tweak;
		enum reason reason;
	} cases[] = {{TIER_L, CONFINEMENT_TOO_LOW}, {OPEN_INTERPRETER, INTERPRETER_OPEN}};
	struct job_fixture single;
	struct trust trust;
	job_fixture_new(&single, SHAPE_SINGLE, 1);
	trust_make(&w.host, &single, &trust);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct run run;
		struct verify_report report;
		run_make(&w.host, &single, cases[i].tweak, NULL, &run);
		verify(&trust, bytes_span(&run.receipt), &report);
		expect_refused(&report, "enclave.launch", cases[i].reason);
		verify_report_free(&report);
		run_free(&run);
	}
	trust_free(&trust);
	job_fixture_free(&single);
}

/* Sections are made only of what is whole: a result whose record is missing makes no receipt. */
static void test_makes_no_sections_of_a_broken_chain(void **unused)
{
	struct dac *dac;
	struct dac_config config = {.threads = 1};
	struct receipt_sections sections = {0};
	struct receipt_parts parts = {.roots = w.first.roots, .root_count = w.first.root_count, .job = w.job.encoding};
	expect_ok(dac_new(&config, &dac));
	parts.dac = dac;
	expect(receipt_sections_make(&parts, &sections), DAC_MISSING_PARENT);
	assert_null(sections.bytes[0].data);
	dac_free(dac);
}

/* ---- Policies that name a reference set ------------------------------------------------------------------- */

struct referred {
	struct job_fixture job;
	struct trust trust;
	struct key stranger;
	uint64_t from, until; /* validity of a good set */
};

static void referred_new(struct referred *r)
{
	job_fixture_new(&r->job, SHAPE_REFERENCE, 1);
	trust_make(&w.host, &r->job, &r->trust);
	expect_ok(key_generate(&r->stranger));
	r->from = w.host.now - 3600 * 1000;
	r->until = w.host.now + 3600 * 1000;
}

static void referred_free(struct referred *r)
{
	trust_free(&r->trust);
	key_free(&r->stranger);
	job_fixture_free(&r->job);
}

/* What a receipt with the sets at hand is judged by somebody who believes this author. `check` NULL: accepted. */
static void judged(struct referred *r, const struct key *believed, const char *check, enum reason reason)
{
	struct run run;
	struct verify_report report;
	struct digest32 author;
	memcpy(author.bytes, believed->id, KEY_ID_SIZE);
	r->trust.authors = &author;
	r->trust.author_count = 1;
	run_make(&w.host, &r->job, NO_TWEAK, NULL, &run);
	verify(&r->trust, bytes_span(&run.receipt), &report);
	if (check)
		expect_refused(&report, check, reason);
	else
		expect_accepted(&report);
	verify_report_free(&report);
	run_free(&run);
	r->trust.author_count = 0;
	r->job.reference_count = 0;
}

static void test_a_set_in_the_receipt_says_which_code_counts(void **unused)
{
	struct referred r;
	referred_new(&r);
	job_fixture_refer(&r.job, &r.job.author, 2, r.from, r.until);
	judged(&r, &r.job.author, NULL, OK);
	job_fixture_refer(&r.job, &r.job.author, 1, r.from, r.until);
	judged(&r, &r.job.author, "record", SVN_TOO_LOW);
	job_fixture_refer(&r.job, &r.job.author, 2, r.from, w.host.now - 1000);
	judged(&r, &r.job.author, "record", REFERENCE_EXPIRED);
	judged(&r, &r.job.author, "record", REFERENCE_MISSING); /* no set at all */
	referred_free(&r);
}

static void test_only_authors_of_the_trust_file_count(void **unused)
{
	struct referred r;
	referred_new(&r);
	job_fixture_refer(&r.job, &r.job.author, 2, r.from, r.until);
	judged(&r, &r.stranger, "references.author", AUTHOR_UNKNOWN);
	/* Believed, but not the author whom the policy names. */
	job_fixture_refer(&r.job, &r.stranger, 2, r.from, r.until);
	judged(&r, &r.stranger, "record", REFERENCE_MISSING);
	job_fixture_refer(&r.job, &r.stranger, 2, r.from, r.until);
	judged(&r, &r.job.author, "references.author", AUTHOR_UNKNOWN);
	/* A second one beside a good one. */
	job_fixture_refer(&r.job, &r.job.author, 2, r.from, r.until);
	job_fixture_refer(&r.job, &r.stranger, 2, r.from, r.until);
	judged(&r, &r.job.author, "references.author", AUTHOR_UNKNOWN);
	referred_free(&r);
}

static void test_a_set_counts_by_its_signature(void **unused)
{
	struct referred r;
	referred_new(&r);
	job_fixture_refer(&r.job, &r.job.author, 2, r.from, r.until);
	((uint8_t *)r.job.references[0].data)[r.job.references[0].len - 1] ^= 1;
	judged(&r, &r.job.author, "references", BAD_SIGNATURE);
	job_fixture_refer(&r.job, &r.job.author, 2, r.from, r.until);
	job_fixture_refer(&r.job, &r.job.author, 3, r.from, r.until);
	judged(&r, &r.job.author, "references", POLICY_CONFLICT);
	referred_free(&r);
}

/* The chain alone was judged; other receipts carry no such section, and no author needs to be believed for them. */
static void test_a_receipt_without_sets_has_no_such_section(void **unused)
{
	for (size_t i = 0; i < w.first.sections.count; i++)
		assert_true(w.first.sections.sections[i].id <= SECTION_JOB);
	struct referred r;
	struct run run;
	referred_new(&r);
	job_fixture_refer(&r.job, &r.job.author, 2, r.from, r.until);
	run_make(&w.host, &r.job, NO_TWEAK, NULL, &run);
	assert_int_equal(run.sections.count, RECEIPT_SECTIONS + 1);
	assert_int_equal(run.sections.sections[RECEIPT_SECTIONS].id, SECTION_REFERENCES);
	assert_false(run.sections.rows[RECEIPT_SECTIONS].critical);
	run_free(&run);
	referred_free(&r);
}

static void test_finds_the_level_sentences(void **unused)
{
	assert_non_null(strstr(level_sentence(1), "Level-1"));
	assert_string_equal(recorder_sentence("journal"),
		"order and time are this host's word; a later thief of this epoch key could make such a receipt");
	assert_null(recorder_sentence("ledger"));
}

int verify_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepts_a_genuine_receipt),
		cmocka_unit_test(test_accepts_other_shapes_of_jobs),
		cmocka_unit_test(test_names_every_lie),
		cmocka_unit_test(test_names_every_call_that_the_job_does_not_have),
		cmocka_unit_test(test_names_every_unsealed_value_without_its_grant),
		cmocka_unit_test(test_every_list_has_one_form),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_refuses_another_host),
		cmocka_unit_test(test_refuses_another_program_and_job),
		cmocka_unit_test(test_unknown_parts),
		cmocka_unit_test(test_refuses_what_is_unknown_and_wrong),
		cmocka_unit_test(test_nonce),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_every_file_counts),
		cmocka_unit_test(test_results_of_another_run),
		cmocka_unit_test(test_trust_decides),
		cmocka_unit_test(test_receipt_is_judged_by_the_trusted_job),
		cmocka_unit_test(test_a_manifest_names_its_enclave),
		cmocka_unit_test(test_refuses_an_ambiguous_job),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_bounds_of_the_epoch),
		cmocka_unit_test(test_slow_runs),
		cmocka_unit_test(test_makes_no_sections_of_a_broken_chain),
		cmocka_unit_test(test_confinement_of_one),
		cmocka_unit_test(test_finds_the_level_sentences),
		cmocka_unit_test(test_a_set_in_the_receipt_says_which_code_counts),
		cmocka_unit_test(test_only_authors_of_the_trust_file_count),
		cmocka_unit_test(test_a_set_counts_by_its_signature),
		cmocka_unit_test(test_a_receipt_without_sets_has_no_such_section),
	};
	return cmocka_run_group_tests_name("receipt verify", tests, set_up, tear_down);
}
