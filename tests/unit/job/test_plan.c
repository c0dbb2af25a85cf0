#include "job/plan.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "expect.h"
#include "folder.h"
#include "groups.h"
#include "wire/text.h"

#define POLICY(name, peers) "{enclave_id: " name ", " peers "max_dac_depth: 3, required_attestation_level: Level-1}"

static const char good[] =
	"job: x\n"
	"enclaves:\n"
	"- {name: B, program: cat, policy: " POLICY("B",
		"allowed_communicators: [A], ") "}\n"
						"- {name: A, program: ./a.sh, env: {Z: '1', A: '2'}, policy: " POLICY("A",
							"allowed_communicators: [B, C], ") ",\n"
											   "   secrets: [{name: k, fd: 3}], outputs: "
											   "[{name: o, path: o.txt}], limits: {memory: "
											   "64MiB, wall: 5s}}\n"
											   "flow:\n"
											   "- {from: A, to: B}\n"
											   "inputs:\n"
											   "- {role: in, to: A}\n"
											   "- {role: key, to: A, secret: k}\n"
											   "outputs:\n"
											   "- {name: out, from: B, statement: true}\n"
											   "- {name: o, from: A, output: o, file: o.txt}\n";

static void write_program(void *state)
{
	const char *path = folder_write(state, "a.sh", "#!/bin/sh\ncat\n");
	assert_int_equal(chmod(path, 0755), 0);
}

static void test_a_job_is_measured(void **state)
{
	struct job_plan plan, again;
	write_program(*state);
	expect_ok(job_plan_load(folder_write(*state, "job.yaml", good), &plan));
	assert_int_equal(plan.stage_count, 2);
	assert_string_equal(plan.stages[0].name, "A"); /* the flow's order */
	assert_string_equal(plan.job.enclaves[0].name, "A"); /* sorted by name */
	assert_string_equal(plan.stages[0].manifest.program, "/job/a.sh");
	assert_string_equal(plan.stages[0].manifest.environment[0].name, "A");
	assert_int_equal(plan.stages[0].manifest.limits.memory, 64 << 20);
	assert_int_equal(plan.stages[0].manifest.limits.wall_ms, 5000);
	assert_int_equal(plan.stages[0].manifest.peer_count, 1); /* C is no part of the job */
	assert_memory_equal(plan.stages[0].manifest.peers[0].core, plan.stages[1].core, SHA384_SIZE);
	assert_string_equal(plan.job.edges[0].name, "A-B");
	assert_string_equal(plan.job.edges[0].operation, "data");
	assert_non_null(job_plan_stage(&plan, "B"));
	assert_null(job_plan_stage(&plan, "C"));

	expect_ok(job_plan_load(folder_path(*state, "job.yaml"), &again));
	assert_memory_equal(plan.digest, again.digest, SHA256_SIZE);
	job_plan_free(&again);

	folder_write(*state, "a.sh", "#!/bin/sh\ncat -n\n");
	assert_int_equal(chmod(folder_path(*state, "a.sh"), 0755), 0);
	expect_ok(job_plan_load(folder_path(*state, "job.yaml"), &again));
	assert_memory_not_equal(plan.stages[0].measurement, again.stages[0].measurement, SHA384_SIZE);
	/* A peer's code is part of what B is, not of B's core. */
	assert_memory_equal(plan.stages[1].core, again.stages[1].core, SHA384_SIZE);
	assert_memory_not_equal(plan.stages[1].measurement, again.stages[1].measurement, SHA384_SIZE);
	job_plan_free(&again);
	job_plan_free(&plan);
}

/* B takes from A whatever the author's set lists; the set is no part of what the job is. */
static const char *referring(void *state, const struct key *author, const char *files)
{
	static char text[4096];
	char hex[2 * KEY_ID_SIZE + 1];
	hex_encode(SPAN_ARRAY(author->id), hex);
	snprintf(text, sizeof(text),
		"job: x\nenclaves:\n"
		"- {name: A, program: ./a.sh, policy: " POLICY("A", "allowed_communicators: [B], ") "}\n"
		"- {name: B, program: cat, policy: {enclave_id: B, max_dac_depth: 3, required_attestation_level: Level-1,\n"
		"   allowed_communicators: [{id: A, reference: {author: %s, set: good, min_svn: 2}}]}}\n"
		"flow: [{from: A, to: B}]\noutputs: [{name: out, from: B}]\n%s",
		hex, files);
	return folder_write(state, "job.yaml", text);
}

static void write_set(void *state, const char *name, const char *set_name, const struct key *author, bool damage)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct reference_row row = {.svn = 2, .what = REFERENCE_CORE};
	struct reference_entry entry = {"A", 1, &row, 1};
	struct reference_set set = {.name = set_name, .version = 1, .not_before = 1, .not_after = 2, .entries = &entry, .entry_count = 1};
	expect_ok(reference_set_sign(&set, author, &object, NULL));
	object.data[object.len - 1] ^= damage;
	expect_ok(file_write_atomic(folder_path(state, name), bytes_span(&object), 0644));
}

static void test_reference_sets_of_a_job(void **state)
{
	CLEANUP(key_free) struct key author = KEY_EMPTY, stranger = KEY_EMPTY;
	static const struct {
		const char *files;
		enum reason reason;
	} cases[] = {
		{"references: [good.set]\n", OK},
		{"references: [forged.set]\n", BAD_SIGNATURE},
		{"references: [stranger.set]\n", AUTHOR_UNKNOWN},
		{"references: [other.set]\n", AUTHOR_UNKNOWN},
		{"references: [good.set, other.set]\n", AUTHOR_UNKNOWN},
		{"references: [good.set, good.set]\n", POLICY_CONFLICT},
		{"references: [none.set]\n", NOT_FOUND},
	};
	struct job_plan without, plan;
	write_program(*state);
	expect_ok(key_generate(&author));
	expect_ok(key_generate(&stranger));
	write_set(*state, "good.set", "good", &author, false);
	write_set(*state, "forged.set", "good", &author, true);
	write_set(*state, "stranger.set", "good", &stranger, false);
	write_set(*state, "other.set", "other", &author, false);
	expect_ok(job_plan_load(referring(*state, &author, ""), &without));
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct policy_references *references = NULL;
		expect_ok(job_plan_load(referring(*state, &author, cases[i].files), &plan));
		assert_memory_equal(plan.digest, without.digest, SHA256_SIZE);
		result loaded = job_plan_references(&plan, &references);
		if (loaded != cases[i].reason)
			fail_msg("%s: %s (%s)", cases[i].files, reason_name(loaded), failure_text());
		assert_int_equal(policy_references_count(references), loaded == OK);
		policy_references_free(references);
		job_plan_free(&plan);
	}
	job_plan_free(&without);
	assert_int_not_equal(job_plan_load(referring(*state, &author, "references: good.set\n"), &plan), OK);
}

/* Replaces the first `from` of the good job by `to`. */
static const char *altered(void *state, const char *from, const char *to)
{
	static char text[2 * sizeof(good)];
	const char *at = strstr(good, from);
	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
	return folder_write(state, "job.yaml", text);
}

static void test_what_is_wrong_is_named_with_its_place(void **state)
{
	static const struct {
		const char *from, *to;
		result reason;
		const char *place;
	} cases[] = {
		{"to: B}", "to: C}", UNKNOWN_ENCLAVE, "job.yaml:7:"},
		{"- {from: A, to: B}", "- {from: A, to: B}\n- {from: B, to: A, input: more}", CYCLIC_FLOW, "job.yaml:3:"},
		{"- {from: A, to: B}", "- {from: A, to: B}\n- {from: A, to: B}", JOB_INCONSISTENT, "job.yaml:8:"},
		{"- {from: A, to: B}", "- {from: A, to: B}\n- {from: A, to: B, name: two}", JOB_INCONSISTENT, "fed twice"},
		{"program: cat", "program: no-such-program", PROGRAM_NOT_FOUND, "job.yaml:3:"},
		{"program: cat", "programme: cat", UNKNOWN_FIELD, "job.yaml:3:"},
		{"name: A, program", "name: B, program", JOB_INCONSISTENT, "job.yaml:4:"},
		{"name: B, ", "name: 'B B', ", BAD_NAME, "job.yaml:3:"},
		{"enclave_id: B", "enclave_id: X", NO_POLICY, "job.yaml:3:"},
		{"max_dac_depth: 3", "max_dac_dept: 3", UNKNOWN_FIELD, "job.yaml:3:"},
		{"memory: 64MiB", "memory: 64MB2", BAD_VALUE, "job.yaml:5:"},
		{"memory: 64MiB", "memory: -1", BAD_VALUE, "job.yaml:5:"},
		{"fd: 3", "fd: 2", BAD_VALUE, "job.yaml:5:"},
		{"path: o.txt", "path: /etc/passwd", BAD_VALUE, "job.yaml:5:"},
		{"secret: k", "secret: j", JOB_INCONSISTENT, "job.yaml:10:"},
		{"- {role: key, to: A, secret: k}\n", "", JOB_INCONSISTENT, "job.yaml:4:"},
		{"output: o, ", "output: p, ", JOB_INCONSISTENT, "job.yaml:13:"},
		{"file: o.txt}\n", "file: out}\n", JOB_INCONSISTENT, "job.yaml:13:"},
		{"file: o.txt}\n", "file: ../o}\n", BAD_NAME, "job.yaml:13:"},
		{"file: o.txt}\n", "file: receipt.troth}\n", JOB_INCONSISTENT, "job.yaml:13:"},
		{"- {role: in, to: A}", "- {role: in, to: A}\n- {role: k, to: A, input: k}", JOB_INCONSISTENT, "flow into enclave 'A' are called 'k'"},
		{"- {from: A, to: B}", "- {from: A, to: B, name: o}", JOB_INCONSISTENT, "flow out of enclave 'A' are called 'o'"},
		{"./a.sh", "../a.sh", BAD_VALUE, "job.yaml:4:"},
		{"job: x\n", "", MISSING_FIELD, "job.yaml:"},
	};
	write_program(*state);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct job_plan plan;
		result loaded = job_plan_load(altered(*state, cases[i].from, cases[i].to), &plan);
		if (loaded != cases[i].reason || !strstr(failure_text(), cases[i].place))
			fail_msg("case %zu (%s): %s: %s", i, cases[i].to, reason_name(loaded), failure_text());
	}
}

static const char *variable(const struct manifest *manifest, const char *name)
{
	for (size_t i = 0; i < manifest->environment_count; i++)
		if (strcmp(manifest->environment[i].name, name) == 0)
			return manifest->environment[i].value;
	return NULL;
}

static void test_a_call_gives_both_programs_a_measured_descriptor(void **state)
{
	struct job_plan before, plan;
	int fd;
	write_program(*state);
	expect_ok(job_plan_load(folder_write(*state, "job.yaml", good), &before));
	assert_false(before.job.edges[0].call);
	assert_null(variable(&before.stages[0].manifest, "TROTH_FABRIC"));
	/* A's secret has descriptor 3. Calls may lead in circles, and many may call one. */
	expect_ok(job_plan_load(altered(*state, "- {from: A, to: B}", "- {from: A, to: B, call: true}\n- {from: B, to: A, call: true, operation: more}"), &plan));
	assert_string_equal(variable(&job_plan_stage(&plan, "A")->manifest, "TROTH_FABRIC"), "4");
	assert_string_equal(variable(&job_plan_stage(&plan, "B")->manifest, "TROTH_FABRIC"), "3");
	expect_ok(manifest_fabric(&job_plan_stage(&plan, "A")->manifest, &fd));
	assert_int_equal(fd, 4);
	assert_true(plan.job.edges[0].call && plan.job.edges[1].call);
	assert_string_equal(plan.job.edges[0].output, "fabric");
	assert_string_equal(plan.job.edges[0].input, "fabric");
	assert_memory_not_equal(plan.digest, before.digest, SHA256_SIZE);
	assert_memory_not_equal(job_plan_stage(&plan, "B")->core, job_plan_stage(&before, "B")->core, SHA384_SIZE);
	job_plan_free(&plan);
	expect_ok(job_plan_load(altered(*state, "program: cat,", "program: cat, fabric: 9,"), &plan));
	assert_string_equal(variable(&job_plan_stage(&plan, "B")->manifest, "TROTH_FABRIC"), "9");
	job_plan_free(&plan);
	/* Said and not meant: the same job as before. */
	expect_ok(job_plan_load(altered(*state, "- {from: A, to: B}", "- {from: A, to: B, call: false}"), &plan));
	assert_memory_equal(plan.digest, before.digest, SHA256_SIZE);
	job_plan_free(&plan);
	job_plan_free(&before);
}

static void test_what_is_no_call(void **state)
{
	static const struct {
		const char *from, *to;
		result reason;
	} cases[] = {
		{"- {from: A, to: B}", "- {from: A, to: B, call: maybe}", BAD_TYPE},
		{"- {from: A, to: B}", "- {from: A, to: B, call: true, output: o}", JOB_INCONSISTENT},
		{"- {from: A, to: B}", "- {from: A, to: B, call: true, input: x}", JOB_INCONSISTENT},
		{"- {from: A, to: B}", "- {from: A, to: A, call: true}", JOB_INCONSISTENT},
		{"- {from: A, to: B}", "- {from: A, to: C, call: true}", UNKNOWN_ENCLAVE},
		{"- {from: A, to: B}", "- {from: A, to: B, input: fabric}", JOB_INCONSISTENT},
		{"- {role: in, to: A}", "- {role: in, to: A, input: fabric}", JOB_INCONSISTENT},
		{"{name: o, path", "{name: fabric, path", JOB_INCONSISTENT},
		{"program: cat,", "program: cat, fabric: 2,", BAD_VALUE},
		{"program: cat,", "program: cat, permissions: [fabric],", JOB_INCONSISTENT},
		{"program: cat,", "program: cat, env: {TROTH_FABRIC: '3'},", JOB_INCONSISTENT},
		{"env: {Z: '1', A: '2'}", "fabric: 3", BAD_VALUE}, /* is the secret's */
	};
	write_program(*state);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct job_plan plan;
		result loaded = job_plan_load(altered(*state, cases[i].from, cases[i].to), &plan);
		if (loaded != cases[i].reason || !strstr(failure_text(), "job.yaml:"))
			fail_msg("case %zu (%s): %s: %s", i, cases[i].to, reason_name(loaded), failure_text());
	}
}

static void test_a_command(void **state)
{
	const char *argv[] = {"sort", "-n", NULL}, *files[] = {"data", NULL};
	struct job_command command = {.argv = argv, .folder = *state, .files = files, .with_stdin = true};
	struct job_plan plan;
	expect(job_plan_command(&command, &plan), NOT_FOUND);
	folder_write(*state, "data", "x");
	expect_ok(job_plan_command(&command, &plan));
	assert_string_equal(plan.job.inputs[0].role, "stdin");
	assert_string_equal(plan.stages[0].manifest.arguments[1].text, "-n");
	assert_int_equal(plan.stages[0].manifest.peer_count, 0);
	job_plan_free(&plan);
}

int group_plan(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_job_is_measured, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_what_is_wrong_is_named_with_its_place, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_a_call_gives_both_programs_a_measured_descriptor, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_call, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_reference_sets_of_a_job, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_a_command, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
