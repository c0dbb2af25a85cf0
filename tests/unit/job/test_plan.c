/* Job files: what loads, what is measured, and every way in which a job is refused. */
#include "expect.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "job/plan.h"

int test_plan(void);

static char folder[64];

static void write_file(const char *name, const char *text, mode_t mode)
{
	char path[PATH_SIZE];
	expect_ok(path_join(path, folder, name));
	expect_ok(file_write_atomic(path, span_str(text), mode));
}

static int make_folder(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/troth-plan-XXXXXX");
	assert_non_null(mkdtemp(folder));
	write_file("first.sh", "#!/bin/sh\ncat\n", 0755);
	write_file("second.sh", "#!/bin/sh\ncat\n", 0755);
	write_file("data.txt", "some data\n", 0644);
	write_file("a.json",
		"{\"enclave_id\":\"A\",\"allowed_communicators\":[\"B\"],\"max_dac_depth\":3,\"required_attestation_level\":\"Level-1\"}", 0644);
	write_file("b.json",
		"{\"enclave_id\":\"B\",\"allowed_communicators\":[\"A\"],\"max_dac_depth\":3,\"required_attestation_level\":\"Level-1\"}", 0644);
	return 0;
}

static int remove_folder(void **state)
{
	return file_remove_tree(AT_FDCWD, folder) == OK ? 0 : 1;
}

#define ENCLAVE_A "  - {name: A, program: ./first.sh, policy: a.json}\n"
#define ENCLAVE_B "  - {name: B, program: ./second.sh, policy: b.json}\n"
#define HEAD "job: test\nenclaves:\n"
#define FLOW "flow:\n  - {from: A, to: B, operation: rows}\n"
#define INPUTS "inputs:\n  - {role: rows, to: A}\n"
#define OUTPUTS "outputs:\n  - {name: result, from: B, file: result.txt}\n"
#define WHOLE HEAD ENCLAVE_A ENCLAVE_B FLOW INPUTS OUTPUTS

static result load(const char *text, struct job_plan *plan)
{
	char path[PATH_SIZE];
	write_file("job.yaml", text, 0644);
	expect_ok(path_join(path, folder, "job.yaml"));
	return job_plan_load(path, plan);
}

static void test_a_whole_job(void **state)
{
	struct job_plan plan;
	expect_ok(load(WHOLE, &plan));
	assert_int_equal(plan.stage_count, 2);
	assert_string_equal(plan.stages[0].name, "A");
	assert_string_equal(plan.stages[1].name, "B");
	assert_string_equal(plan.stages[0].manifest.program, "/job/first.sh");
	assert_string_equal(plan.stages[0].manifest.interpreter, "open");
	assert_string_equal(plan.job.edges[0].name, "A-B");
	assert_string_equal(plan.job.edges[0].output, "stdout");
	assert_string_equal(plan.job.edges[0].input, "stdin");
	assert_int_equal(plan.stages[0].manifest.peer_count, 1);
	assert_memory_equal(plan.stages[0].manifest.peers[0].core, plan.stages[1].core, SHA384_SIZE);
	/* The encoding is what is measured, and decodes to the same. */
	uint8_t digest[SHA384_SIZE];
	CLEANUP(arena_free) struct arena arena = arena_of(16 << 20);
	struct manifest manifest;
	expect_ok(manifest_decode(bytes_span(&plan.stages[0].encoding), &arena, &manifest));
	expect_ok(manifest_core(&manifest, digest));
	assert_memory_equal(digest, plan.stages[0].core, SHA384_SIZE);
	job_plan_free(&plan);
}

static void digest_of(const char *text, uint8_t out[static SHA256_SIZE], uint8_t measurement_a[static SHA384_SIZE])
{
	struct job_plan plan;
	expect_ok(load(text, &plan));
	memcpy(out, plan.digest, SHA256_SIZE);
	memcpy(measurement_a, job_plan_stage(&plan, "A")->measurement, SHA384_SIZE);
	job_plan_free(&plan);
}

static void test_measurement_follows_what_matters(void **state)
{
	uint8_t before[SHA256_SIZE], after[SHA256_SIZE], a_before[SHA384_SIZE], a_after[SHA384_SIZE];
	digest_of(WHOLE, before, a_before);
	digest_of(WHOLE, after, a_after);
	assert_memory_equal(before, after, sizeof(after));
	/* The peer's program is part of A's measurement: a hostile B would otherwise receive what A decrypts. */
	write_file("second.sh", "#!/bin/sh\ncat >/tmp/stolen\n", 0755);
	digest_of(WHOLE, after, a_after);
	assert_memory_not_equal(a_before, a_after, sizeof(a_after));
	write_file("second.sh", "#!/bin/sh\ncat\n", 0755);
	digest_of(WHOLE, after, a_after);
	assert_memory_equal(before, after, sizeof(after));
	/* So is one's own policy. */
	write_file("a.json",
		"{\"enclave_id\":\"A\",\"allowed_communicators\":[\"B\"],\"max_dac_depth\":4,\"required_attestation_level\":\"Level-1\"}", 0644);
	digest_of(WHOLE, after, a_after);
	assert_memory_not_equal(a_before, a_after, sizeof(a_after));
}

static void test_place_of_the_job_does_not_matter(void **state)
{
	uint8_t before[SHA256_SIZE], after[SHA256_SIZE], a_before[SHA384_SIZE], a_after[SHA384_SIZE];
	char other[80];
	digest_of(WHOLE, before, a_before);
	snprintf(other, sizeof(other), "%s-moved", folder);
	assert_int_equal(rename(folder, other), 0);
	char old[64];
	memcpy(old, folder, sizeof(old));
	/* From another folder the same job has the same digest. */
	struct job_plan plan;
	char path[PATH_SIZE];
	expect_ok(path_join(path, other, "job.yaml"));
	expect_ok(job_plan_load(path, &plan));
	memcpy(after, plan.digest, SHA256_SIZE);
	memcpy(a_after, job_plan_stage(&plan, "A")->measurement, SHA384_SIZE);
	job_plan_free(&plan);
	assert_int_equal(rename(other, old), 0);
	assert_memory_equal(before, after, sizeof(after));
	assert_memory_equal(a_before, a_after, sizeof(a_after));
}

static void test_order_of_the_flow(void **state)
{
	struct job_plan plan;
	expect_ok(load(HEAD ENCLAVE_B ENCLAVE_A FLOW INPUTS OUTPUTS, &plan));
	assert_string_equal(plan.stages[0].name, "A");
	assert_string_equal(plan.stages[1].name, "B");
	job_plan_free(&plan);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text;
		enum reason reason;
		const char *says; /* part of the message */
	} cases[] = {
		{HEAD ENCLAVE_A ENCLAVE_B "flow:\n  - {from: A, to: C}\n" OUTPUTS, UNKNOWN_ENCLAVE, "job.yaml:6:19: there is no enclave 'C'"},
		{HEAD ENCLAVE_A ENCLAVE_B "flow:\n  - {from: A, to: B}\n  - {from: B, to: A}\n" OUTPUTS, CYCLIC_FLOW, "circle"},
		{HEAD ENCLAVE_A ENCLAVE_B "flwo: []\n" OUTPUTS, UNKNOWN_FIELD, "flow"},
		{HEAD "  - {name: A, program: ./missing.sh, policy: a.json}\n" OUTPUTS, PROGRAM_NOT_FOUND, "missing.sh"},
		{HEAD "  - {name: A, program: no-such-program, policy: a.json}\n" OUTPUTS, PROGRAM_NOT_FOUND, "no-such-program"},
		{HEAD "  - {name: A, program: ./data.txt, policy: a.json}\n" OUTPUTS, NOT_A_PROGRAM, "data.txt"},
		{HEAD "  - {name: A, program: ./first.sh, policy: b.json}\n" OUTPUTS, NO_POLICY, "not one for enclave 'A'"},
		{HEAD "  - {name: A, program: ./first.sh, policy: none.json}\n" OUTPUTS, NOT_FOUND, "none.json"},
		{HEAD "  - {name: A, program: ./first.sh}\n" OUTPUTS, MISSING_FIELD, "policy"},
		{HEAD "  - {name: 'A B', program: ./first.sh, policy: a.json}\n" OUTPUTS, BAD_NAME, "A B"},
		{HEAD ENCLAVE_A ENCLAVE_A OUTPUTS, JOB_INCONSISTENT, "second enclave"},
		{HEAD ENCLAVE_A ENCLAVE_B FLOW INPUTS, MISSING_FIELD, "outputs"},
		{HEAD ENCLAVE_A ENCLAVE_B OUTPUTS, JOB_INCONSISTENT, "nothing comes out of enclave 'A'"},
		{HEAD ENCLAVE_A ENCLAVE_B FLOW "  - {from: A, to: B, name: again}\n" OUTPUTS, JOB_INCONSISTENT, "fed twice"},
		{HEAD ENCLAVE_A ENCLAVE_B FLOW INPUTS "outputs:\n  - {name: x, from: B, output: nothing}\n", JOB_INCONSISTENT, "no output 'nothing'"},
		{HEAD ENCLAVE_A ENCLAVE_B FLOW INPUTS "outputs:\n  - {name: x, from: B, file: ../x}\n", BAD_NAME, "../x"},
		{HEAD ENCLAVE_A ENCLAVE_B FLOW INPUTS "outputs:\n  - {name: x, from: B, file: receipt.troth}\n", JOB_INCONSISTENT, "receipt"},
		{HEAD ENCLAVE_A ENCLAVE_B FLOW "inputs:\n  - {role: k, to: A, secret: k}\n" OUTPUTS, JOB_INCONSISTENT, "no secret 'k'"},
		{HEAD "  - {name: A, program: ./first.sh, policy: a.json, secrets: [{name: k, fd: 1}]}\n" OUTPUTS, BAD_VALUE, "descriptors 0, 1 and 2"},
		{HEAD "  - {name: A, program: ./first.sh, policy: a.json, limits: {memory: lots}}\n" OUTPUTS, BAD_VALUE, "256MiB"},
		{HEAD "  - {name: A, program: ./first.sh, policy: a.json, files: [../secret]}\n" OUTPUTS, BAD_VALUE, "leaves the folder"},
		{HEAD "  - {name: A, program: ./first.sh, policy: a.json, permissions: [everything]}\n" OUTPUTS, UNKNOWN_PERMISSION, "everything"},
		{HEAD "  - {name: A, program: ./first.sh, policy: a.json, outputs: [{name: x, path: /etc/x}]}\n" OUTPUTS, BAD_VALUE, "/tmp"},
		{"- a\n- b\n", BAD_TYPE, "job.yaml:1:1"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct job_plan plan = {0};
		result loaded = load(cases[i].text, &plan);
		if (loaded != cases[i].reason || !strstr(failure_text(), cases[i].says))
			print_error("case %zu: %s: %s\n", i, reason_name(loaded), failure_text());
		assert_int_equal(loaded, cases[i].reason);
		assert_non_null(strstr(failure_text(), cases[i].says));
	}
}

static void test_a_single_command(void **state)
{
	static const char *const argv[] = {"cat", "-", NULL};
	struct job_command command = {.argv = argv, .folder = folder, .with_stdin = true};
	struct job_plan plan;
	expect_ok(job_plan_command(&command, &plan));
	assert_string_equal(plan.stages[0].manifest.program, "/usr/bin/cat");
	assert_int_equal(plan.stages[0].manifest.argument_count, 2);
	assert_int_equal(plan.job.input_count, 1);
	assert_string_equal(plan.stages[0].manifest.interpreter, "closed");
	job_plan_free(&plan);
}

int test_plan(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_whole_job),
		cmocka_unit_test(test_measurement_follows_what_matters),
		cmocka_unit_test(test_place_of_the_job_does_not_matter),
		cmocka_unit_test(test_order_of_the_flow),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_a_single_command),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
