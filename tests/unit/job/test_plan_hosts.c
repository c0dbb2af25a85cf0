/* Jobs of several hosts: what is measured of them, and what is refused before anything runs. */
#include <stdlib.h>

#include "crypto/hash.h"
#include "expect.h"
#include "folder.h"
#include "groups.h"
#include "job/plan.h"
#include "wire/text.h"

#define NORTH "1111111111111111111111111111111111111111111111111111111111111111"
#define SOUTH "2222222222222222222222222222222222222222222222222222222222222222"
#define WEST "3333333333333333333333333333333333333333333333333333333333333333"
#define HOSTS "hosts: [{name: south, root: '" SOUTH "'}, {name: north, root: '" NORTH "'}]\n"
#define REST "max_dac_depth: 4, required_attestation_level: Level-1"

/* A on north -> B on south -> C on `host_of_c`. */
static const char *chain(void *state, const char *hosts, const char *peers_of_a, const char *peers_of_b, const char *peers_of_c,
	const char *host_of_c)
{
	static char text[8192];
	snprintf(text, sizeof(text),
		"job: x\n%senclaves:\n"
		"- {name: A, host: north, program: cat, policy: {enclave_id: A, " REST ", allowed_communicators: [%s]}}\n"
		"- {name: B, host: south, program: cat, policy: {enclave_id: B, " REST ", allowed_communicators: [%s]}}\n"
		"- {name: C, %sprogram: cat, policy: {enclave_id: C, " REST ", allowed_communicators: [%s]}}\n"
		"flow: [{from: A, to: B}, {from: B, to: C}]\ninputs: [{role: in, to: A}]\noutputs: [{name: out, from: C}]\n",
		hosts, peers_of_a, peers_of_b, host_of_c, peers_of_c);
	return folder_write(state, "job.yaml", text);
}

#define A_OF(root) "{id: A, rot_ids: ['" root "']}"
#define B_OF(root) "{id: B, rot_ids: ['" root "']}"
#define C_OF(root) "{id: C, rot_ids: ['" root "']}"

static const struct manifest_peer *peer_named(const struct job_stage *stage, const char *name)
{
	for (size_t i = 0; i < stage->manifest.peer_count; i++)
		if (strcmp(stage->manifest.peers[i].name, name) == 0)
			return &stage->manifest.peers[i];
	fail_msg("'%s' has no peer '%s'", stage->name, name);
	return NULL;
}

static void expect_root(const struct manifest_peer *peer, uint8_t fill)
{
	uint8_t rot_id[OID_SIZE];
	memset(rot_id, fill, sizeof(rot_id));
	assert_int_equal(peer->rot_rule, PEER_ROT_LISTED);
	assert_int_equal(peer->rot_id_count, 1);
	assert_memory_equal(peer->rot_ids[0].bytes, rot_id, OID_SIZE);
}

static void test_hosts_are_measured(void **state)
{
	struct job_plan plan, again;
	/* B's policy would take A from anywhere; where A runs in this job is narrower. */
	expect_ok(job_plan_load(chain(*state, HOSTS, B_OF(SOUTH), "{id: A, rot_ids: ['" NORTH "', '" WEST "']}, C", "B", "host: south, "), &plan));
	assert_int_equal(plan.job.host_count, 2);
	assert_string_equal(plan.job.hosts[0].name, "north");
	assert_string_equal(job_enclave_find(&plan.job, "A")->host, "north");
	expect_root(peer_named(job_plan_stage(&plan, "A"), "B"), 0x22);
	expect_root(peer_named(job_plan_stage(&plan, "B"), "A"), 0x11);
	assert_int_equal(peer_named(job_plan_stage(&plan, "B"), "C")->rot_rule, PEER_ROT_SAME);
	/* C meets nobody of the north, and its data come from there. */
	const struct manifest *c = &job_plan_stage(&plan, "C")->manifest;
	assert_int_equal(c->root_count, 1);
	assert_int_equal(c->roots[0].bytes[0], 0x11);
	assert_int_equal(job_plan_stage(&plan, "A")->manifest.root_count, 0);
	assert_int_equal(job_plan_stage(&plan, "B")->manifest.root_count, 0);

	/* Another root of a host: another job, other measurements, the same cores where no policy has changed. */
	expect_ok(job_plan_load(chain(*state, "hosts: [{name: south, root: '" SOUTH "'}, {name: north, root: '" WEST "'}]\n", B_OF(SOUTH),
		"{id: A, rot_ids: ['" NORTH "', '" WEST "']}, C", "B", "host: south, "), &again));
	assert_memory_not_equal(plan.digest, again.digest, SHA256_SIZE);
	assert_memory_equal(job_plan_stage(&plan, "B")->core, job_plan_stage(&again, "B")->core, SHA384_SIZE);
	assert_memory_not_equal(job_plan_stage(&plan, "B")->measurement, job_plan_stage(&again, "B")->measurement, SHA384_SIZE);
	assert_memory_equal(job_plan_stage(&plan, "C")->core, job_plan_stage(&again, "C")->core, SHA384_SIZE);
	assert_memory_not_equal(job_plan_stage(&plan, "C")->measurement, job_plan_stage(&again, "C")->measurement, SHA384_SIZE);
	job_plan_free(&again);
	job_plan_free(&plan);
}

/* The compiled job and every manifest say what they say, encoded and decoded again. */
static void test_hosts_survive_their_encoding(void **state)
{
	struct job_plan plan;
	struct job job;
	struct manifest manifest;
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	expect_ok(job_plan_load(chain(*state, HOSTS, B_OF(SOUTH), A_OF(NORTH) ", C", "B", "host: south, "), &plan));
	expect_ok(schema_decode(&job_schema, bytes_span(&plan.encoding), &arena, &job));
	expect_ok(job_check_hosts(&job));
	assert_int_equal(job.host_count, 2);
	assert_string_equal(job_enclave_find(&job, "C")->host, "south");
	expect_ok(manifest_decode(bytes_span(&job_plan_stage(&plan, "C")->encoding), &arena, &manifest));
	assert_int_equal(manifest.root_count, 1);
	expect_ok(manifest_encode(&manifest, &again));
	assert_true(span_equal(bytes_span(&again), bytes_span(&job_plan_stage(&plan, "C")->encoding)));
	job_plan_free(&plan);
}

/* A host's root may stand in the file beside the job. */
static void test_a_root_is_a_file_or_digits(void **state)
{
	struct job_plan plan;
	folder_write(*state, "north.epoch", "no epoch record");
	expect(job_plan_load(chain(*state, "hosts: [{name: south, root: '" SOUTH "'}, {name: north, root: north.epoch}]\n", B_OF(SOUTH),
		A_OF(NORTH) ", C", "B", "host: south, "), &plan), WRONG_TAG);
	assert_non_null(strstr(failure_text(), "north.epoch"));
	expect(job_plan_load(chain(*state, "hosts: [{name: south, root: '" SOUTH "'}, {name: north, root: absent.epoch}]\n", B_OF(SOUTH),
		A_OF(NORTH) ", C", "B", "host: south, "), &plan), NOT_FOUND);
}

static void test_refuses_what_contradicts_itself(void **state)
{
	static const struct {
		const char *hosts, *a, *b, *c, *host_of_c;
		enum reason reason;
		const char *text;
	} rows[] = {
		/* policies that would refuse what the job asks for */
		{HOSTS, "B", A_OF(NORTH) ", C", "B", "host: south, ", POLICY_CONTRADICTS_HOSTS, SOUTH},
		{HOSTS, B_OF(SOUTH), "A, C", "B", "host: south, ", POLICY_CONTRADICTS_HOSTS, NORTH},
		{HOSTS, B_OF(WEST), A_OF(NORTH) ", C", "B", "host: south, ", POLICY_CONTRADICTS_HOSTS, "south"},
		{HOSTS, B_OF(SOUTH), A_OF(NORTH) ", " C_OF(WEST), "B", "host: south, ", POLICY_CONTRADICTS_HOSTS, "south"},
		/* C runs where the run is coordinated: who meets it must know that root */
		{HOSTS, B_OF(SOUTH), A_OF(NORTH) ", C", B_OF(SOUTH), "", POLICY_CONTRADICTS_HOSTS, "`host`"},
		{HOSTS, B_OF(SOUTH), A_OF(NORTH) ", " C_OF(WEST), "B", "", POLICY_CONTRADICTS_HOSTS, SOUTH},
		{HOSTS, B_OF(SOUTH), A_OF(NORTH) ", " C_OF(WEST), B_OF(SOUTH), "", OK, NULL},
		/* hosts */
		{HOSTS, B_OF(SOUTH), A_OF(NORTH) ", C", "B", "host: east, ", UNKNOWN_HOST, "east"},
		{"", B_OF(SOUTH), A_OF(NORTH) ", C", "B", "host: south, ", UNKNOWN_HOST, "north"},
		{"hosts: []\n", B_OF(SOUTH), A_OF(NORTH) ", C", "B", "host: south, ", BAD_TYPE, "hosts"},
		{"hosts: [{name: south, root: '" SOUTH "'}, {name: north, root: '" SOUTH "'}]\n", B_OF(SOUTH), A_OF(NORTH) ", C", "B",
			"host: south, ", JOB_INCONSISTENT, "one root"},
		{"hosts: [{name: south, root: '" SOUTH "'}, {name: south, root: '" NORTH "'}]\n", B_OF(SOUTH), A_OF(NORTH) ", C", "B",
			"host: south, ", JOB_INCONSISTENT, "second host"},
		{"hosts: [{name: south, root: '" SOUTH "'}, {name: north, root: '" NORTH "'}, {name: west, root: '" WEST "'}]\n", B_OF(SOUTH),
			A_OF(NORTH) ", C", "B", "host: south, ", JOB_INCONSISTENT, "west"},
		{"hosts: [{name: south, root: '" SOUTH "'}, {name: north}]\n", B_OF(SOUTH), A_OF(NORTH) ", C", "B", "host: south, ", MISSING_FIELD,
			"root"},
		{"hosts: [{name: south, root: '" SOUTH "', address: a}]\n", B_OF(SOUTH), A_OF(NORTH) ", C", "B", "host: south, ", UNKNOWN_FIELD,
			"address"},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct job_plan plan;
		result loaded = job_plan_load(chain(*state, rows[i].hosts, rows[i].a, rows[i].b, rows[i].c, rows[i].host_of_c), &plan);
		if (loaded != rows[i].reason)
			print_error("row %zu: %s, not %s: %s\n", i, reason_name(loaded), reason_name(rows[i].reason), failure_text());
		assert_int_equal(loaded, rows[i].reason);
		if (loaded == OK) {
			job_plan_free(&plan);
			continue;
		}
		if (!strstr(failure_text(), rows[i].text))
			fail_msg("row %zu: '%s' does not say '%s'", i, failure_text(), rows[i].text);
	}
}

/* Data of an enclave whose root nobody can know reach one on another host by way of a third. */
static void test_what_flows_through_needs_a_root(void **state)
{
	struct job_plan plan;
	static const char text[] = "job: x\n" HOSTS "enclaves:\n"
		"- {name: A, program: cat, policy: {enclave_id: A, " REST ", allowed_communicators: [" B_OF(NORTH) "]}}\n"
		"- {name: B, host: north, program: cat, policy: {enclave_id: B, " REST ", allowed_communicators: [" A_OF(WEST) ", " C_OF(SOUTH) "]}}\n"
		"- {name: C, host: south, program: cat, policy: {enclave_id: C, " REST ", allowed_communicators: [" B_OF(NORTH) "]}}\n"
		"flow: [{from: A, to: B}, {from: B, to: C}]\ninputs: [{role: in, to: A}]\noutputs: [{name: out, from: C}]\n";
	expect(job_plan_load(folder_write(*state, "job.yaml", text), &plan), HOST_UNNAMED);
	assert_non_null(strstr(failure_text(), "'A'"));
}

/* Without hosts nothing is said of them: digests stay what they were. */
static void test_a_job_of_one_host_says_nothing_of_hosts(void **state)
{
	struct job_plan plan;
	static const char text[] = "job: x\nenclaves:\n- {name: A, program: cat, policy: {enclave_id: A, " REST "}}\n"
		"inputs: [{role: in, to: A}]\noutputs: [{name: out, from: A}]\n";
	expect_ok(job_plan_load(folder_write(*state, "job.yaml", text), &plan));
	assert_int_equal(plan.encoding.data[0], 0xa7); /* a map of seven, as ever */
	assert_null(plan.job.enclaves[0].host);
	job_plan_free(&plan);
}

int group_plan_hosts(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_hosts_are_measured, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_hosts_survive_their_encoding, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_a_root_is_a_file_or_digits, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_refuses_what_contradicts_itself, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_what_flows_through_needs_a_root, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_a_job_of_one_host_says_nothing_of_hosts, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests_name("plan_hosts", tests, NULL, NULL);
}
