/* The attestation chain: what a set of records proves, and every way to be refused (DA-01..DA-12). */
#include "../expect.h"

#include <stdlib.h>
#include <time.h>

#include "dac_world.h"
#include "groups.h"

enum { A, B, C, D };

/* Four enclaves that may all deal with one another. */
static void world_of_four(struct world *w)
{
	static const char *const names[] = {"A", "B", "C", "D"};
	world_new(w, 0xaa);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		char policy[256];
		/* An enclave does not name itself. */
		snprintf(policy, sizeof(policy), "allowed_communicators: [%s, %s, %s]\nmax_dac_depth: 9\nrequired_attestation_level: Level-1\n",
			names[(i + 1) % 4], names[(i + 2) % 4], names[(i + 3) % 4]);
		world_endorse(w, names[i], policy);
	}
}

static struct dac *chain(const struct world *w)
{
	struct dac *dac;
	expect_ok(dac_new(&w->config, &dac));
	world_add_enclaves(w, dac);
	return dac;
}

static void add(struct dac *dac, const struct made *made)
{
	expect_ok(dac_add_record(dac, made->object, NULL));
}

static struct dac_summary verify(struct dac *dac)
{
	struct dac_summary summary;
	expect_ok(dac_verify(dac, &summary));
	assert_int_equal(summary.accepted + summary.refused, summary.records);
	return summary;
}

static void require_(const struct dac *dac, const struct made *made, enum reason reason, int line)
{
	result got = dac_require(dac, made->oid);
	if (got == reason)
		return;
	print_error("line %d: %s (%s), not %s\n", line, reason_name(got), failure_text(), reason_name(reason));
	_fail(__FILE__, line);
}
#define require(dac, made, reason) require_(dac, made, reason, __LINE__)

static unsigned level_of(const struct dac *dac, const struct made *made)
{
	return dac_verdict(dac, dac_find(dac, made->oid)).level;
}

/* A -> B -> C: two pushes, three results. */
struct pipeline {
	struct made origin, a, a_to_b, b, b_to_c, c;
};

static struct pipeline pipeline(struct world *w)
{
	struct pipeline p;
	p.origin = world_origin(w, A, "rows");
	p.a = world_derive(w, A, "rows", "ab", &p.origin);
	p.a_to_b = world_request(w, A, B, 1, "ab", &p.a);
	p.b = world_derive(w, B, "ab", "bc", &p.a_to_b);
	p.b_to_c = world_request(w, B, C, 2, "bc", &p.b);
	p.c = world_derive(w, C, "bc", "summary", &p.b_to_c);
	return p;
}

static void add_pipeline(struct dac *dac, const struct pipeline *p)
{
	const struct made *all[] = {&p->origin, &p->a, &p->a_to_b, &p->b, &p->b_to_c, &p->c};
	for (size_t i = 0; i < COUNT_OF(all); i++)
		add(dac, all[i]);
}

static void an_empty_chain_holds(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct dac *dac;
	expect_ok(dac_new(&w.config, &dac));
	assert_int_equal(verify(dac).records, 0);
	assert_int_equal(verify(dac).records, 0);
	dac_free(dac);
	world_free(&w);
}

static void a_pipeline_of_three_has_level_three(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct pipeline p = pipeline(&w);
	struct dac *dac = chain(&w);
	add_pipeline(dac, &p);
	struct dac_summary summary = verify(dac);
	assert_int_equal(summary.accepted, 6);
	assert_int_equal(summary.depth, 3);
	assert_int_equal(level_of(dac, &p.origin), 1);
	assert_int_equal(level_of(dac, &p.a_to_b), 1);
	assert_int_equal(level_of(dac, &p.b), 2);
	assert_int_equal(level_of(dac, &p.c), 3);
	struct digest32 root;
	memcpy(root.bytes, p.c.oid, OID_SIZE);
	/* D took no part. */
	expect(dac_require_closed(dac, &root, 1), DAC_EXTRA_NODE);
	dac_free(dac);
	world_free(&w);
}

/* B calls A, A calls C, C answers, A answers; B derives its result. */
struct calls {
	struct made b_origin, b_request, a_work, a_request, c_work, c_answer, a_answer, b_result;
};

static struct calls calls(struct world *w)
{
	struct calls k;
	struct record record;
	k.b_origin = world_origin(w, B, "question");
	k.b_request = world_request(w, B, A, 1, "question", &k.b_origin);
	k.a_work = world_derive(w, A, "question", "part", &k.b_request);
	k.a_request = world_request(w, A, C, 2, "part", &k.a_work);
	k.c_work = world_derive(w, C, "part", "found", &k.a_request);
	k.c_answer = world_response(w, C, &k.a_request, "found", &k.c_work);
	record = world_record(w, A, RECORD_RESPONSE, "rows");
	world_in(w, &record, "found");
	world_out(w, &record, "answer");
	world_parent(w, &record, &k.b_request);
	world_parent(w, &record, &k.c_answer);
	world_target(w, &record, B, 1);
	world_sign(w, A, &record, &k.a_answer);
	k.b_result = world_derive(w, B, "answer", "result", &k.a_answer);
	return k;
}

static void add_calls(struct dac *dac, const struct calls *k)
{
	const struct made *all[] = {&k->b_origin, &k->b_request, &k->a_work, &k->a_request, &k->c_work, &k->c_answer, &k->a_answer,
		&k->b_result};
	for (size_t i = 0; i < COUNT_OF(all); i++)
		add(dac, all[i]);
}

static void b_calls_a_calls_c_has_level_three(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct calls k = calls(&w);
	struct dac *dac = chain(&w);
	add_calls(dac, &k);
	assert_int_equal(verify(dac).refused, 0);
	assert_int_equal(level_of(dac, &k.a_work), 2);
	assert_int_equal(level_of(dac, &k.c_answer), 3);
	/* Answers add nothing. */
	assert_int_equal(level_of(dac, &k.a_answer), 3);
	assert_int_equal(level_of(dac, &k.b_result), 3);
	dac_free(dac);
	world_free(&w);
}

/* ---- The attacks ----------------------------------------------------------------------------------- */

/* DA-01: a hash names a finished record, so a loop can only be forged with hashes of nothing. */
static void a_forged_loop_ends_in_a_missing_parent(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, A, "rows"), first, second;
	struct record one = world_record(&w, A, RECORD_DERIVE, "run"), two = world_record(&w, A, RECORD_DERIVE, "run");
	/* `one` shall build on `two`, whose oid must be guessed before `two` names `one`. */
	struct made guess = {.record = two};
	world_out(&w, &two, "x");
	world_parent(&w, &two, &origin);
	world_sign(&w, A, &two, &guess);
	world_out(&w, &one, "y");
	world_parent(&w, &one, &guess);
	world_sign(&w, A, &one, &first);
	two.parent_count = 0;
	two.parents = NULL;
	world_parent(&w, &two, &first);
	world_sign(&w, A, &two, &second);
	struct dac *dac = chain(&w);
	add(dac, &origin);
	add(dac, &first);
	add(dac, &second);
	assert_int_equal(verify(dac).accepted, 1);
	require(dac, &first, DAC_MISSING_PARENT);
	require(dac, &second, DAC_BROKEN_ANCESTOR);
	dac_free(dac);
	world_free(&w);
}

/* DA-02 */
static void a_missing_parent_fails_its_descendants(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct pipeline p = pipeline(&w);
	struct dac *dac = chain(&w);
	struct digest32 root;
	add(dac, &p.origin);
	add(dac, &p.a_to_b);
	add(dac, &p.b);
	verify(dac);
	require(dac, &p.origin, OK);
	require(dac, &p.a_to_b, DAC_MISSING_PARENT);
	require(dac, &p.b, DAC_BROKEN_ANCESTOR);
	require(dac, &p.c, DAC_MISSING_PARENT);
	memcpy(root.bytes, p.b.oid, OID_SIZE);
	expect(dac_require_closed(dac, &root, 1), DAC_MISSING_PARENT);
	/* The parent comes later: nobody is damned by what somebody else held back. */
	add(dac, &p.a);
	assert_int_equal(verify(dac).refused, 0);
	require(dac, &p.b, OK);
	assert_int_equal(level_of(dac, &p.b), 2);
	dac_free(dac);
	world_free(&w);
}

/* DA-03 */
static void a_record_signed_by_another_enclave_is_refused(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct record record = world_record(&w, A, RECORD_ORIGIN, "input");
	struct made forged, other;
	world_out(&w, &record, "rows");
	world_sign_as(&w, &record, &w.enclaves[B].sign, &forged);
	/* The signer's own certificate, somebody else's name. */
	record.seq = 7;
	memcpy(record.certificate, w.enclaves[B].certificate_digest, SHA256_SIZE);
	memcpy(record.host_report, w.enclaves[B].report_oid, OID_SIZE);
	memcpy(record.policy_digest, w.enclaves[B].policy_digest, SHA256_SIZE);
	world_sign_as(&w, &record, &w.enclaves[B].sign, &other);
	struct dac *dac = chain(&w);
	add(dac, &forged);
	add(dac, &other);
	verify(dac);
	require(dac, &forged, BAD_SIGNATURE);
	require(dac, &other, DAC_REPORT_MISMATCH);
	dac_free(dac);
	world_free(&w);
}

/* DA-04 */
static void a_record_dated_before_its_parent_is_refused(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, A, "rows"), at_limit, beyond, foreign_run;
	struct record record = world_record(&w, A, RECORD_DERIVE, "run");
	world_out(&w, &record, "x");
	world_parent(&w, &record, &origin);
	record.time = origin.record.time - 60000;
	world_sign(&w, A, &record, &at_limit);
	record.seq = ++w.enclaves[A].seq;
	record.time--;
	world_sign(&w, A, &record, &beyond);
	struct dac *dac = chain(&w);
	add(dac, &origin);
	add(dac, &at_limit);
	add(dac, &beyond);
	verify(dac);
	require(dac, &at_limit, OK);
	require(dac, &beyond, DAC_TIME);
	dac_free(dac);
	/* Outside the run that is judged. */
	w.config.earliest_ms = origin.record.time + 1;
	dac = chain(&w);
	add(dac, &origin);
	verify(dac);
	require(dac, &origin, DAC_TIME);
	dac_free(dac);
	w.config.earliest_ms = 0;
	w.config.latest_ms = origin.record.time - 1;
	dac = chain(&w);
	add(dac, &origin);
	verify(dac);
	require(dac, &origin, DAC_TIME);
	dac_free(dac);
	/* RC-12: a record of another run. */
	w.config.latest_ms = 0;
	struct record other = world_record(&w, A, RECORD_ORIGIN, "input");
	world_out(&w, &other, "rows");
	other.run_id[0] ^= 1;
	world_sign(&w, A, &other, &foreign_run);
	dac = chain(&w);
	add(dac, &foreign_run);
	verify(dac);
	require(dac, &foreign_run, DAC_FOREIGN_RUN);
	dac_free(dac);
	w.config.run_id = NULL;
	dac = chain(&w);
	add(dac, &foreign_run);
	verify(dac);
	require(dac, &foreign_run, DAC_REPORT_MISMATCH);
	dac_free(dac);
	world_free(&w);
}

/* An own record is no parent of an earlier one. */
static void own_records_follow_their_numbers(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, A, "rows"), early;
	struct record record = world_record(&w, A, RECORD_DERIVE, "run");
	world_out(&w, &record, "x");
	world_parent(&w, &record, &origin);
	record.seq = 0;
	world_sign(&w, A, &record, &early);
	struct dac *dac = chain(&w);
	add(dac, &origin);
	add(dac, &early);
	verify(dac);
	require(dac, &early, DAC_TIME);
	dac_free(dac);
	world_free(&w);
}

/* DA-05: the bounds hold before anything is decoded, and work grows with the records, not faster. */
static void bombs_are_bounded(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, A, "rows");
	struct made second = world_origin(&w, A, "more");
	w.config.limits.records = 1;
	struct dac *dac;
	expect_ok(dac_new(&w.config, &dac));
	expect_ok(dac_add_record(dac, origin.object, NULL));
	expect(dac_add_record(dac, second.object, NULL), DAC_TOO_LARGE);
	dac_free(dac);
	w.config.limits.records = 0;
	w.config.max_memory = 2048;
	expect_ok(dac_new(&w.config, &dac));
	expect_ok(dac_add_record(dac, origin.object, NULL));
	result added = OK;
	for (int i = 0; i < 100 && added == OK; i++) {
		second = world_origin(&w, A, "more");
		added = dac_add_record(dac, second.object, NULL);
	}
	assert_int_equal(added, TOO_LARGE);
	dac_free(dac);
	world_free(&w);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A ladder of n records: each builds on the two before it, so that a walk of all paths would never end. */
static double ladder(struct world *w, size_t n)
{
	struct made before = world_origin(w, A, "x"), last = world_derive(w, A, "x", "x", &before);
	struct dac *dac = chain(w);
	struct digest32 root;
	size_t *closure, count;
	add(dac, &before);
	add(dac, &last);
	for (size_t i = 2; i < n; i++) {
		struct made made;
		struct record record = world_record(w, A, RECORD_DERIVE, "run");
		world_in(w, &record, "x");
		world_out(w, &record, "x");
		world_parent(w, &record, &before);
		world_parent(w, &record, &last);
		world_sign(w, A, &record, &made);
		add(dac, &made);
		before = last;
		last = made;
	}
	double start = seconds();
	struct dac_summary summary = verify(dac);
	double took = seconds() - start;
	assert_int_equal(summary.accepted, n);
	assert_int_equal(summary.depth, 1);
	memcpy(root.bytes, last.oid, OID_SIZE);
	expect_ok(dac_closure(dac, &root, 1, &closure, &count));
	assert_int_equal(count, n);
	assert_int_equal(closure[0], 0);
	free(closure);
	dac_free(dac);
	return took;
}

/* A million in the long tier, as deep and as wide as a chain may be. */
static void ten_thousand_records_cost_ten_times_a_thousand(void **unused)
{
	struct world w;
	size_t n = getenv("TROTH_LONG") ? 1000000 : 10000;
	world_of_four(&w);
	w.arena.max = (size_t)6 << 30;
	w.now = WORLD_T0 - 200000;
	double small = ladder(&w, n / 10), large = ladder(&w, n);
	if (large > 40 * small + 0.05)
		fail_msg("%zu records take %.3f s, %zu take %.3f s", n / 10, small, n, large);
	world_free(&w);
}

/* DA-06, DA-07 */
static void one_object_counts_once(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, A, "rows"), again;
	struct record record = origin.record;
	world_sign(&w, A, &record, &again);
	assert_memory_equal(origin.oid, again.oid, OID_SIZE);
	assert_false(span_equal(origin.object, again.object));
	struct dac *dac = chain(&w);
	struct digest32 root;
	memcpy(root.bytes, origin.oid, OID_SIZE);
	add(dac, &origin);
	add(dac, &origin);
	add(dac, &again);
	struct dac_summary summary = verify(dac);
	assert_int_equal(summary.records, 1);
	assert_int_equal(summary.accepted, 1); /* no equivocation: it is the same object */
	expect(dac_require_closed(dac, &root, 1), DAC_DUPLICATE);
	dac_free(dac);
	world_free(&w);
}

/* DA-07: who sends a genuine oid with a bad signature first keeps nobody's record out. */
static void a_bad_signature_does_not_shadow_a_good_one(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, A, "rows"), forged, derive = world_derive(&w, A, "rows", "x", &origin);
	struct record record = origin.record;
	world_sign_as(&w, &record, &w.enclaves[B].sign, &forged);
	assert_memory_equal(origin.oid, forged.oid, OID_SIZE);
	/* Both before the verdict. */
	struct dac *dac = chain(&w);
	add(dac, &forged);
	add(dac, &origin);
	add(dac, &derive);
	assert_int_equal(verify(dac).refused, 0);
	expect_span(dac_bytes(dac, dac_find(dac, origin.oid)), origin.object);
	dac_free(dac);
	/* The genuine one after a verdict on the forged. */
	dac = chain(&w);
	add(dac, &forged);
	add(dac, &derive);
	verify(dac);
	require(dac, &origin, BAD_SIGNATURE);
	require(dac, &derive, DAC_BROKEN_ANCESTOR);
	add(dac, &origin);
	assert_int_equal(verify(dac).refused, 0);
	require(dac, &derive, OK);
	dac_free(dac);
	/* The genuine one first. */
	dac = chain(&w);
	add(dac, &origin);
	add(dac, &forged);
	verify(dac);
	require(dac, &origin, OK);
	expect_span(dac_bytes(dac, dac_find(dac, origin.oid)), origin.object);
	dac_free(dac);
	world_free(&w);
}

/* DA-08 */
static void a_swapped_report_is_refused(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made swapped, lost, unknown;
	struct record record = world_record(&w, A, RECORD_ORIGIN, "input");
	world_out(&w, &record, "rows");
	memcpy(record.host_report, w.enclaves[B].report_oid, OID_SIZE);
	world_sign(&w, A, &record, &swapped);
	record.seq++;
	record.host_report[0] ^= 1;
	world_sign(&w, A, &record, &lost);
	record.seq++;
	record.certificate[0] ^= 1;
	world_sign(&w, A, &record, &unknown);
	struct dac *dac = chain(&w);
	add(dac, &swapped);
	add(dac, &lost);
	add(dac, &unknown);
	verify(dac);
	require(dac, &swapped, DAC_REPORT_MISMATCH);
	require(dac, &lost, DAC_UNKNOWN_REPORT);
	require(dac, &unknown, DAC_UNKNOWN_CERTIFICATE);
	dac_free(dac);
	world_free(&w);
}

/* DA-08: reports that are about another key, run, policy or name than the record. */
static void a_report_must_be_about_this_launch(void **unused)
{
	for (int i = 0; i < 5; i++) {
		struct world w;
		world_of_four(&w);
		struct launch *launch = &w.enclaves[A].launch;
		static char other_name[] = "B";
		if (i == 0)
			launch->keys_hash[0] ^= 1;
		else if (i == 1)
			launch->run_id[0] ^= 1;
		else if (i == 2)
			launch->policy_digest[0] ^= 1;
		else if (i == 3)
			launch->name = other_name;
		world_certify(&w, A, WORLD_T0 - 300000, WORLD_T0 + 3600000);
		struct made origin = world_origin(&w, A, "rows");
		struct dac *dac = chain(&w);
		add(dac, &origin);
		verify(dac);
		require(dac, &origin, i < 4 ? DAC_REPORT_MISMATCH : OK);
		dac_free(dac);
		world_free(&w);
	}
}

/* DA-09 */
static void another_root_is_not_trusted(void **unused)
{
	struct world w, foreign;
	world_of_four(&w);
	world_new(&foreign, 0xbb);
	world_endorse(&foreign, "A", "allowed_communicators: [B]\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n");
	struct made origin = world_origin(&foreign, 0, "rows");
	struct dac *dac = chain(&w);
	world_add_enclaves(&foreign, dac);
	add(dac, &origin);
	verify(dac);
	require(dac, &origin, DAC_UNTRUSTED_ROOT);
	dac_free(dac);
	/* The trusted id, but the keys of somebody else. */
	struct dac_root forged = foreign.root;
	forged.key = &w.root_key;
	w.config.roots = &forged;
	expect_ok(dac_new(&w.config, &dac));
	world_add_enclaves(&foreign, dac);
	add(dac, &origin);
	verify(dac);
	require(dac, &origin, DAC_UNTRUSTED_ROOT);
	dac_free(dac);
	/* Another epoch record under the same number. */
	forged = foreign.root;
	forged.epoch_oid[0] ^= 1;
	expect_ok(dac_new(&w.config, &dac));
	world_add_enclaves(&foreign, dac);
	add(dac, &origin);
	verify(dac);
	require(dac, &origin, DAC_UNTRUSTED_ROOT);
	dac_free(dac);
	world_free(&foreign);
	world_free(&w);
}

/* DA-10: B's policy decides whether B may build on A's record. */
static void the_consumers_policy_must_allow_the_sender(void **unused)
{
	static const struct {
		const char *policy;
		enum reason reason;
	} rows[] = {
		{"allowed_communicators: [A]\nmax_dac_depth: 2\nrequired_attestation_level: Level-1\n", OK},
		{"allowed_communicators: [C]\nmax_dac_depth: 2\nrequired_attestation_level: Level-1\n", PEER_NOT_ALLOWED},
		{"allowed_communicators: [A, C]\ndeny: [A]\nmax_dac_depth: 2\nrequired_attestation_level: Level-1\n", DENIED_BY_RULE},
		{"allowed_communicators: [A]\nmax_dac_depth: 1\nrequired_attestation_level: Level-1\n", DEPTH_EXCEEDED},
		{"allowed_communicators: [A]\nmax_dac_depth: 2\nrequired_attestation_level: Level-2\n", LEVEL_TOO_LOW},
		{"allowed_communicators: [{id: A, operations: [other]}]\nmax_dac_depth: 2\nrequired_attestation_level: Level-1\n",
			OPERATION_NOT_ALLOWED},
		{"allowed_communicators: [{id: A, operations: [rows], scopes: [other]}]\nmax_dac_depth: 2\nrequired_attestation_level: Level-1\n",
			SCOPE_NOT_ALLOWED},
		{"allowed_communicators: [{id: A, operations: [rows], scopes: [ab]}]\nmax_dac_depth: 2\nrequired_attestation_level: Level-1\n",
			OK},
		{"allowed_communicators: [{id: A, direction: send}]\nmax_dac_depth: 2\nrequired_attestation_level: Level-1\n",
			DIRECTION_NOT_ALLOWED},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct world w;
		world_new(&w, 0xaa);
		world_endorse(&w, "A", "allowed_communicators: [B]\nmax_dac_depth: 2\nrequired_attestation_level: Level-1\n");
		world_endorse(&w, "B", rows[i].policy);
		struct made origin = world_origin(&w, A, "ab"), request = world_request(&w, A, B, 1, "ab", &origin),
			    derive = world_derive(&w, B, "ab", "x", &request);
		struct dac *dac = chain(&w);
		add(dac, &origin);
		add(dac, &request);
		add(dac, &derive);
		verify(dac);
		require(dac, &request, OK);
		result got = dac_require(dac, derive.oid);
		if (got != rows[i].reason)
			fail_msg("row %zu: %s (%s), not %s", i, reason_name(got), failure_text(), reason_name(rows[i].reason));
		dac_free(dac);
		world_free(&w);
	}
}

/* DA-10: without the policy that the launch named, nothing foreign is accepted. */
static void an_absent_policy_denies(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct pipeline p = pipeline(&w);
	w.config.policy = NULL;
	struct dac *dac = chain(&w);
	add_pipeline(dac, &p);
	verify(dac);
	require(dac, &p.a_to_b, OK);
	require(dac, &p.b, NO_POLICY);
	dac_free(dac);
	world_free(&w);
}

/* A launch below what the policy asks: tier, instrumented build. */
static void weak_launches_are_weighed(void **unused)
{
	struct world w;
	world_of_four(&w);
	w.enclaves[A].launch.tier = "L";
	world_certify(&w, A, WORLD_T0 - 300000, WORLD_T0 + 3600000);
	struct pipeline p = pipeline(&w);
	struct dac *dac = chain(&w);
	add_pipeline(dac, &p);
	verify(dac);
	require(dac, &p.b, CONFINEMENT_TOO_LOW);
	dac_free(dac);
	world_free(&w);
}

/* DA-11 */
static void a_request_is_answered_once_and_by_its_target(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, B, "q"), request = world_request(&w, B, A, 1, "q", &origin),
		    other = world_request(&w, B, A, 2, "q", &origin), wrong_call, wrong_operation, two_at_once, none;
	struct record record = world_record(&w, A, RECORD_RESPONSE, "rows");
	world_out(&w, &record, "r");
	world_parent(&w, &record, &request);
	world_target(&w, &record, B, 2);
	world_sign(&w, A, &record, &wrong_call);
	record = world_record(&w, A, RECORD_RESPONSE, "other");
	world_out(&w, &record, "r");
	world_parent(&w, &record, &other);
	world_target(&w, &record, B, 2);
	world_sign(&w, A, &record, &wrong_operation);
	record = world_record(&w, A, RECORD_RESPONSE, "rows");
	world_out(&w, &record, "r");
	world_target(&w, &record, B, 1);
	world_parent(&w, &record, &request);
	world_parent(&w, &record, &other);
	world_sign(&w, A, &record, &two_at_once);
	struct made own = world_origin(&w, A, "r");
	none = world_derive(&w, A, "r", "r", &own);
	record = world_record(&w, A, RECORD_RESPONSE, "rows");
	world_out(&w, &record, "r");
	world_target(&w, &record, B, 1);
	world_parent(&w, &record, &own);
	world_sign(&w, A, &record, &none);
	const struct made *bad[] = {&wrong_call, &wrong_operation, &two_at_once, &none};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct dac *dac = chain(&w);
		add(dac, &origin);
		add(dac, &request);
		add(dac, &other);
		add(dac, &own);
		add(dac, bad[i]);
		verify(dac);
		require(dac, bad[i], DAC_KIND_RULE);
		dac_free(dac);
	}
	struct made first = world_response(&w, A, &request, "r", NULL), second = world_response(&w, A, &request, "s", NULL);
	struct made result_of = world_derive(&w, B, "r", "end", &first);
	struct dac *dac = chain(&w);
	add(dac, &origin);
	add(dac, &request);
	add(dac, &first);
	add(dac, &result_of);
	assert_int_equal(verify(dac).refused, 0);
	/* The second answer is a proof of equivocation: what was accepted because of the first is taken back. */
	add(dac, &second);
	assert_int_equal(verify(dac).refused, 3);
	require(dac, &first, DAC_EQUIVOCATION);
	require(dac, &second, DAC_EQUIVOCATION);
	require(dac, &result_of, DAC_BROKEN_ANCESTOR);
	require(dac, &request, OK);
	dac_free(dac);
	world_free(&w);
}

/* DA-12, the half of it that needs no revocation. */
static void an_expired_certificate_carries_nothing(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made good = world_origin(&w, A, "rows"), late, early;
	world_certify(&w, B, WORLD_T0 - 300000, WORLD_T0 - 200000);
	late = world_origin(&w, B, "rows");
	world_certify(&w, C, WORLD_T0 + 1000000, WORLD_T0 + 2000000);
	early = world_origin(&w, C, "rows");
	struct dac *dac = chain(&w);
	add(dac, &good);
	add(dac, &late);
	add(dac, &early);
	verify(dac);
	require(dac, &good, OK);
	require(dac, &late, CERTIFICATE_EXPIRED);
	require(dac, &early, CERTIFICATE_EXPIRED);
	dac_free(dac);
	/* And outside the epoch of its root. */
	w.root.not_after = good.record.time - 1;
	dac = chain(&w);
	add(dac, &good);
	verify(dac);
	require(dac, &good, DAC_TIME);
	dac_free(dac);
	world_free(&w);
}

/* ---- The rules of the kinds -------------------------------------------------------------------------- */

static void refused_record(struct world *w, size_t enclave, struct record *record, const struct made *const *with, size_t count,
	enum reason reason, int line)
{
	struct made made;
	world_sign(w, enclave, record, &made);
	struct dac *dac = chain(w);
	for (size_t i = 0; i < count; i++)
		add(dac, with[i]);
	add(dac, &made);
	verify(dac);
	require_(dac, &made, reason, line);
	dac_free(dac);
}

#define KIND_CASE(enclave, kind, wanted, ...)                                                                          \
	do {                                                                                                           \
		struct record r = world_record(&w, enclave, kind, "rows");                                             \
		__VA_ARGS__;                                                                                           \
		refused_record(&w, enclave, &r, with, COUNT_OF(with), wanted, __LINE__);                               \
	} while (0)

/* By its own time: what was signed before `from` stays, what came after goes with all that was built on it. */
static void records_of_what_is_revoked_are_refused(void **unused)
{
	enum { WHAT = 6 };
	struct world w;
	world_of_four(&w);
	struct made before = world_origin(&w, A, "rows"), after = world_origin(&w, A, "more"), other = world_origin(&w, B, "rows");
	const struct world_enclave *a = &w.enclaves[A];
	const struct revocation_entry entries[WHAT] = {
		{REVOKE_MEASUREMENT, SPAN_ARRAY(a->launch.measurement), after.record.time, ""},
		{REVOKE_MEASUREMENT, SPAN_ARRAY(a->launch.core), after.record.time, ""},
		{REVOKE_KEY, SPAN_ARRAY(a->sign.id), after.record.time, ""},
		{REVOKE_CERTIFICATE, SPAN_ARRAY(a->certificate_digest), after.record.time, ""},
		{REVOKE_POLICY, SPAN_ARRAY(a->policy_digest), after.record.time, ""},
		{REVOKE_HOST, SPAN_ARRAY(w.root.rot_id), after.record.time, ""},
	};
	assert_true(before.record.time < after.record.time);
	for (size_t i = 0; i < WHAT; i++) {
		struct revocation_set set = {.count = 1};
		struct revocation_entry entry = entries[i];
		struct revocation_list list = {.version = 1, .time = 1, .not_after = 2, .entries = &entry, .entry_count = 1};
		CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
		expect_ok(revocation_list_sign(&list, &w.root_key, &object, NULL));
		expect_ok(revocation_open(bytes_span(&object), NULL, &set.lists[0]));
		w.config.revocations = &set;
		struct dac *dac = chain(&w);
		add(dac, &before);
		add(dac, &after);
		add(dac, &other);
		verify(dac);
		require(dac, &before, OK);
		require(dac, &after, REVOKED);
		/* Another enclave goes on, unless its whole host is revoked. */
		bool all = entries[i].class == REVOKE_HOST;
		bool same = entries[i].class == REVOKE_MEASUREMENT &&
			memcmp(i ? w.enclaves[B].launch.core : w.enclaves[B].launch.measurement, entry.value.data, SHA384_SIZE) == 0;
		require(dac, &other, (all || same) && other.record.time >= entry.from ? REVOKED : OK);
		dac_free(dac);
		revocation_set_free(&set);
	}
	w.config.revocations = NULL;
	world_free(&w);
}

static void kinds_have_their_shape(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, A, "rows"), request = world_request(&w, A, B, 1, "rows", &origin);
	const struct made *with[] = {&origin, &request};
	KIND_CASE(A, RECORD_ORIGIN, OK, world_out(&w, &r, "x"));
	KIND_CASE(A, RECORD_ORIGIN, DAC_KIND_RULE, );
	KIND_CASE(A, RECORD_ORIGIN, DAC_KIND_RULE, (world_out(&w, &r, "x"), world_in(&w, &r, "rows")));
	KIND_CASE(A, RECORD_ORIGIN, DAC_KIND_RULE, (world_out(&w, &r, "x"), world_parent(&w, &r, &origin)));
	KIND_CASE(A, RECORD_ORIGIN, DAC_KIND_RULE, (world_out(&w, &r, "x"), world_target(&w, &r, B, 1)));
	KIND_CASE(A, RECORD_DERIVE, DAC_KIND_RULE, world_out(&w, &r, "x"));
	KIND_CASE(A, RECORD_DERIVE, OK, (world_out(&w, &r, "x"), world_parent(&w, &r, &origin)));
	KIND_CASE(A, RECORD_DERIVE, DAC_KIND_RULE, (world_parent(&w, &r, &origin), world_target(&w, &r, B, 1)));
	KIND_CASE(A, RECORD_DERIVE, DAC_KIND_RULE, (world_parent(&w, &r, &origin), r.has_ledger_ref = true));
	KIND_CASE(A, RECORD_REQUEST, DAC_KIND_RULE, (world_in(&w, &r, "rows"), world_target(&w, &r, B, 3)));
	KIND_CASE(A, RECORD_REQUEST, DAC_KIND_RULE, (world_parent(&w, &r, &origin), world_target(&w, &r, B, 3)));
	KIND_CASE(A, RECORD_REQUEST, DAC_KIND_RULE, (world_in(&w, &r, "rows"), world_parent(&w, &r, &origin)));
	KIND_CASE(A, RECORD_REQUEST, DAC_KIND_RULE,
		(world_in(&w, &r, "rows"), world_parent(&w, &r, &origin), world_target(&w, &r, A, 3)));
	KIND_CASE(A, RECORD_REQUEST, DAC_KIND_RULE,
		(world_in(&w, &r, "rows"), world_out(&w, &r, "x"), world_parent(&w, &r, &origin), world_target(&w, &r, B, 3)));
	/* A REQUEST builds on own records only. */
	KIND_CASE(B, RECORD_REQUEST, DAC_KIND_RULE,
		(world_in(&w, &r, "rows"), world_parent(&w, &r, &request), world_target(&w, &r, C, 3)));
	KIND_CASE(B, RECORD_RESPONSE, DAC_KIND_RULE, (world_parent(&w, &r, &request), world_target(&w, &r, A, 1)));
	KIND_CASE(B, RECORD_RESPONSE, OK,
		(world_out(&w, &r, "x"), world_parent(&w, &r, &request), world_target(&w, &r, A, 1)));
	KIND_CASE(B, 0, DAC_KIND_RULE, world_out(&w, &r, "x"));
	world_free(&w);
}

/* Rule 3: what is consumed was supplied. */
static void inputs_are_supplied_by_parents(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, A, "rows"), other = world_origin(&w, A, "other"),
		    request = world_request(&w, A, B, 1, "rows", &origin);
	const struct made *with[] = {&origin, &other, &request};
	KIND_CASE(A, RECORD_DERIVE, OK, (world_in(&w, &r, "rows"), world_parent(&w, &r, &origin)));
	KIND_CASE(A, RECORD_DERIVE, DAC_COMMITMENT, (world_in(&w, &r, "rows"), world_parent(&w, &r, &other)));
	KIND_CASE(A, RECORD_DERIVE, DAC_COMMITMENT, (world_in(&w, &r, "rows other"), world_parent(&w, &r, &origin)));
	KIND_CASE(A, RECORD_REQUEST, DAC_COMMITMENT,
		(world_in(&w, &r, "other"), world_parent(&w, &r, &origin), world_target(&w, &r, B, 2)));
	KIND_CASE(B, RECORD_DERIVE, OK, (world_in(&w, &r, "rows"), world_parent(&w, &r, &request)));
	KIND_CASE(B, RECORD_DERIVE, DAC_COMMITMENT, (world_in(&w, &r, "other"), world_parent(&w, &r, &request)));
	/* What one asked of others is no input of one's own. */
	KIND_CASE(A, RECORD_DERIVE, DAC_COMMITMENT, (world_in(&w, &r, "rows"), world_parent(&w, &r, &request)));
	world_free(&w);
}

/* Rule 4: records of others that were addressed to a third party. */
static void foreign_parents_must_be_addressed_here(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, A, "rows"), request = world_request(&w, A, B, 1, "rows", &origin);
	const struct made *with[] = {&origin, &request};
	KIND_CASE(C, RECORD_DERIVE, DAC_SPLICED, (world_in(&w, &r, "rows"), world_parent(&w, &r, &request)));
	KIND_CASE(C, RECORD_DERIVE, DAC_SPLICED, (world_in(&w, &r, "rows"), world_parent(&w, &r, &origin)));
	KIND_CASE(B, RECORD_DERIVE, DAC_KIND_RULE,
		(world_in(&w, &r, "rows"), world_parent(&w, &r, &request), r.parents[0].enclave = w.enclaves[C].uri));
	world_free(&w);
}

/* Rule 2: two records with one number prove that their signer equivocates. */
static void two_records_of_one_number_convict_their_signer(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made one = world_origin(&w, A, "rows"), two, after = world_derive(&w, A, "rows", "x", &one), elsewhere = world_origin(&w, B, "b");
	struct record record = one.record;
	record.out = NULL;
	record.out_count = 0;
	world_out(&w, &record, "other");
	world_sign(&w, A, &record, &two);
	struct dac *dac = chain(&w);
	add(dac, &one);
	add(dac, &two);
	add(dac, &after);
	add(dac, &elsewhere);
	assert_int_equal(verify(dac).accepted, 1);
	require(dac, &one, DAC_EQUIVOCATION);
	require(dac, &two, DAC_EQUIVOCATION);
	require(dac, &after, DAC_BROKEN_ANCESTOR);
	require(dac, &elsewhere, OK);
	dac_free(dac);
	/* A third party cannot convict: a forged second record proves nothing. */
	struct made forged;
	world_sign_as(&w, &record, &w.enclaves[B].sign, &forged);
	dac = chain(&w);
	add(dac, &forged);
	add(dac, &one);
	add(dac, &after);
	verify(dac);
	require(dac, &one, OK);
	require(dac, &after, OK);
	dac_free(dac);
	world_free(&w);
}

/* ---- Sets ------------------------------------------------------------------------------------------- */

static void the_order_of_adding_does_not_matter(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct calls k = calls(&w);
	struct made bad = world_derive(&w, D, "nothing", "x", &k.b_result);
	const struct made *all[] = {&k.b_origin, &k.b_request, &k.a_work, &k.a_request, &k.c_work, &k.c_answer, &k.a_answer, &k.b_result, &bad};
	enum { N = COUNT_OF(all) };
	uint8_t first_order[N][OID_SIZE];
	for (unsigned round = 0; round < 24; round++) {
		struct dac *dac = chain(&w);
		struct digest32 root;
		size_t *closure, count;
		for (size_t i = 0; i < N; i++) {
			add(dac, all[round % 2 ? N - 1 - (i + round) % N : (i * (round % 3 ? 2 : 4) + round) % N]);
			if (round % 4 == 3)
				verify(dac); /* one by one: a verdict for want of a parent is taken back when it comes */
		}
		assert_int_equal(verify(dac).accepted, N - 1);
		require(dac, &bad, DAC_SPLICED);
		assert_int_equal(level_of(dac, &k.b_result), 3);
		memcpy(root.bytes, k.b_result.oid, OID_SIZE);
		expect_ok(dac_closure(dac, &root, 1, &closure, &count));
		assert_int_equal(count, N - 1);
		for (size_t i = 0; i < count; i++) {
			if (round == 0)
				memcpy(first_order[i], dac_oid(dac, closure[i]), OID_SIZE);
			assert_memory_equal(first_order[i], dac_oid(dac, closure[i]), OID_SIZE);
		}
		free(closure);
		dac_free(dac);
	}
	world_free(&w);
}

static void a_closed_bundle_holds_nothing_else(void **unused)
{
	struct world w;
	world_new(&w, 0xaa);
	world_endorse(&w, "A", "allowed_communicators: [B]\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n");
	world_endorse(&w, "B", "allowed_communicators: [A]\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n");
	struct made origin = world_origin(&w, A, "rows"), request = world_request(&w, A, B, 1, "rows", &origin),
		    end = world_derive(&w, B, "rows", "x", &request), extra = world_origin(&w, A, "more");
	struct digest32 root;
	memcpy(root.bytes, end.oid, OID_SIZE);
	struct dac *dac = chain(&w);
	add(dac, &origin);
	add(dac, &request);
	add(dac, &end);
	assert_int_equal(verify(dac).refused, 0);
	expect_ok(dac_require_closed(dac, &root, 1));
	/* Its only ancestor's own root leaves two records over. */
	memcpy(root.bytes, origin.oid, OID_SIZE);
	expect(dac_require_closed(dac, &root, 1), DAC_EXTRA_NODE);
	memcpy(root.bytes, end.oid, OID_SIZE);
	add(dac, &extra);
	assert_int_equal(verify(dac).refused, 0);
	expect(dac_require_closed(dac, &root, 1), DAC_EXTRA_NODE);
	root.bytes[0] ^= 1;
	expect(dac_require_closed(dac, &root, 1), DAC_MISSING_PARENT);
	dac_free(dac);
	world_free(&w);
}

static void objects_are_found_by_name(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, A, "rows");
	struct dac *dac = chain(&w);
	uint8_t unknown[32] = {0};
	add(dac, &origin);
	expect(dac_require(dac, origin.oid), ILLEGAL_STATE);
	verify(dac);
	size_t at = dac_find(dac, origin.oid);
	assert_int_equal(at, 0);
	assert_int_equal(dac_count(dac), 1);
	assert_int_equal(dac_find(dac, unknown), SIZE_MAX);
	assert_int_equal(dac_record(dac, at)->kind, RECORD_ORIGIN);
	expect_span(dac_bytes(dac, at), origin.object);
	expect_span(dac_certificate(dac, w.enclaves[B].certificate_digest), bytes_span(&w.enclaves[B].certificate));
	expect_span(dac_report(dac, w.enclaves[B].report_oid), bytes_span(&w.enclaves[B].report));
	assert_string_equal(dac_report_of(dac, w.enclaves[B].report_oid)->launch.name, "B");
	assert_int_equal(dac_certificate(dac, unknown).len, 0);
	assert_int_equal(dac_report(dac, unknown).len, 0);
	assert_null(dac_report_of(dac, unknown));
	dac_free(dac);
	world_free(&w);
}

/* Signatures on two threads: the verdicts are those of one (ThreadSanitizer looks on in `./check --tsan`). */
static void threads_agree(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made last = world_origin(&w, A, "x");
	struct dac *one = chain(&w), *two;
	w.config.threads = 2;
	two = chain(&w);
	add(one, &last);
	add(two, &last);
	for (size_t i = 0; i < 400; i++) {
		struct record record = world_record(&w, A, RECORD_DERIVE, "run");
		struct made made;
		world_in(&w, &record, "x");
		world_out(&w, &record, "x");
		world_parent(&w, &record, &last);
		world_sign_as(&w, &record, &w.enclaves[i == 300 ? B : A].sign, &made);
		add(one, &made);
		add(two, &made);
		last = made;
	}
	struct dac_summary alone = verify(one), together = verify(two);
	assert_int_equal(alone.accepted, 301);
	assert_int_equal(together.accepted, alone.accepted);
	for (size_t i = 0; i < dac_count(one); i++)
		assert_int_equal(dac_verdict(one, i).reason, dac_verdict(two, i).reason);
	dac_free(one);
	dac_free(two);
	world_free(&w);
}

/* Cut, extended and flipped objects never crash and never pass. */
static void damaged_objects_are_refused(void **unused)
{
	struct world w;
	world_of_four(&w);
	struct made origin = world_origin(&w, A, "rows");
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	expect_ok(bytes_copy(origin.object, &object));
	for (size_t bit = 0; bit < 8 * object.len; bit++) {
		struct dac *dac;
		expect_ok(dac_new(&w.config, &dac));
		world_add_enclaves(&w, dac);
		object.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (dac_add_record(dac, bytes_span(&object), NULL) == OK)
			assert_int_equal(verify(dac).accepted, 0);
		object.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		dac_free(dac);
		if (bit > 400)
			bit += 6;
	}
	world_free(&w);
}

int group_dac(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_chain_holds),
		cmocka_unit_test(a_pipeline_of_three_has_level_three),
		cmocka_unit_test(b_calls_a_calls_c_has_level_three),
		cmocka_unit_test(a_forged_loop_ends_in_a_missing_parent),
		cmocka_unit_test(a_missing_parent_fails_its_descendants),
		cmocka_unit_test(a_record_signed_by_another_enclave_is_refused),
		cmocka_unit_test(a_record_dated_before_its_parent_is_refused),
		cmocka_unit_test(own_records_follow_their_numbers),
		cmocka_unit_test(bombs_are_bounded),
		cmocka_unit_test(ten_thousand_records_cost_ten_times_a_thousand),
		cmocka_unit_test(one_object_counts_once),
		cmocka_unit_test(a_bad_signature_does_not_shadow_a_good_one),
		cmocka_unit_test(a_swapped_report_is_refused),
		cmocka_unit_test(a_report_must_be_about_this_launch),
		cmocka_unit_test(another_root_is_not_trusted),
		cmocka_unit_test(the_consumers_policy_must_allow_the_sender),
		cmocka_unit_test(an_absent_policy_denies),
		cmocka_unit_test(weak_launches_are_weighed),
		cmocka_unit_test(a_request_is_answered_once_and_by_its_target),
		cmocka_unit_test(an_expired_certificate_carries_nothing),
		cmocka_unit_test(records_of_what_is_revoked_are_refused),
		cmocka_unit_test(kinds_have_their_shape),
		cmocka_unit_test(inputs_are_supplied_by_parents),
		cmocka_unit_test(foreign_parents_must_be_addressed_here),
		cmocka_unit_test(two_records_of_one_number_convict_their_signer),
		cmocka_unit_test(the_order_of_adding_does_not_matter),
		cmocka_unit_test(a_closed_bundle_holds_nothing_else),
		cmocka_unit_test(objects_are_found_by_name),
		cmocka_unit_test(threads_agree),
		cmocka_unit_test(damaged_objects_are_refused),
	};
	return cmocka_run_group_tests_name("dac", tests, NULL, NULL);
}
