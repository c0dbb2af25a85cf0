/*
 * Ancestors on demand: what a giver owes and gives, what a taker asks for and believes; hostile on either side (DA-02, DA-05). On
 * channels of real enclaves: tests/system/test_dac_fetch.py.
 */
#include "../expect.h"

#include <stdlib.h>

#include "dac_world.h"
#include "enclave/call_frame.h"
#include "groups.h"

enum { A, B, LONG = 600 };

/* A signed LONG records, each built on the one before, and hands the last over to B. */
struct fetched {
	struct world world;
	struct dac *theirs, *mine;
	struct made steps[LONG], request;
	struct fetch_giver giver;
	struct fetch_taker taker;
	size_t count;
};

static void fetched_new(struct fetched *f, size_t count)
{
	*f = (struct fetched){.count = count};
	world_new(&f->world, 0xaa);
	world_endorse(&f->world, "A", "allowed_communicators: [B]\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n");
	world_endorse(&f->world, "B", "allowed_communicators: [A]\nmax_dac_depth: 3\nrequired_attestation_level: Level-1\n");
	f->steps[0] = world_origin(&f->world, A, "rows");
	for (size_t i = 1; i < count; i++)
		f->steps[i] = world_derive(&f->world, A, "rows", "rows", &f->steps[i - 1]);
	f->request = world_request(&f->world, A, B, 1, "rows", &f->steps[count - 1]);
	expect_ok(dac_new(&f->world.config, &f->theirs));
	expect_ok(dac_new(&f->world.config, &f->mine));
	world_add_enclaves(&f->world, f->theirs);
	world_add_enclaves(&f->world, f->mine);
	for (size_t i = 0; i < count; i++)
		expect_ok(dac_add_record(f->theirs, f->steps[i].object, NULL));
	expect_ok(dac_add_record(f->theirs, f->request.object, NULL));
	expect_ok(dac_add_record(f->mine, f->request.object, NULL));
}

static void fetched_free(struct fetched *f)
{
	fetch_giver_free(&f->giver);
	fetch_taker_free(&f->taker);
	dac_free(f->theirs);
	dac_free(f->mine);
	world_free(&f->world);
}

/* The giver's END: how many go along. */
static size_t hand_over(struct fetched *f, size_t eager)
{
	const struct dac_walk all = {.stop = NULL};
	size_t *indices, count, from;
	expect_ok(dac_walk(f->theirs, f->request.oid, &all, &indices, &count));
	assert_int_equal(count, f->count + 1);
	assert_memory_equal(dac_oid(f->theirs, indices[count - 1]), f->request.oid, OID_SIZE);
	expect_ok(fetch_leave_out(&f->giver, f->theirs, indices, count, eager, &from));
	fetch_begin(&f->taker, f->request.oid, from > 0);
	for (size_t i = from; i < count - 1; i++) {
		expect_ok(dac_add_record(f->mine, dac_bytes(f->theirs, indices[i]), NULL));
		expect_ok(fetch_note(&f->taker, dac_oid(f->theirs, indices[i])));
	}
	free(indices);
	return count - 1 - from;
}

static result take(struct fetched *f, struct span object)
{
	uint8_t oid[OID_SIZE];
	TRY(dac_add_record(f->mine, object, oid));
	return fetch_note(&f->taker, oid);
}

/* One FETCH and its NODES, honest. */
static result round_of(struct fetched *f)
{
	const struct fetch_asked asked = {f->taker.asked, f->taker.asked_count};
	size_t *indices, count, from = f->taker.received.count;
	TRY(fetch_give(&f->giver, f->theirs, &asked, &indices, &count));
	result taken = OK;
	for (size_t i = 0; i < count && taken == OK; i++)
		taken = take(f, dac_bytes(f->theirs, indices[i]));
	free(indices);
	TRY(taken);
	return fetch_check_nodes(&f->taker, f->mine, from);
}

static void a_chain_is_made_whole(void **unused)
{
	static struct fetched f;
	const struct id_set nothing = {0};
	struct dac_summary summary;
	fetched_new(&f, LONG);
	assert_int_equal(hand_over(&f, 10), 10);
	expect_ok(fetch_missing(&f.taker, f.mine));
	assert_int_equal(f.taker.asked_count, 1);
	expect_ok(round_of(&f)); /* further ancestors come along unasked */
	expect_ok(fetch_missing(&f.taker, f.mine));
	assert_int_equal(f.taker.asked_count, 0);
	expect_ok(dac_verify(f.mine, &summary));
	assert_int_equal(summary.accepted, LONG + 1);
	expect_ok(fetch_require_root(&f.taker, f.mine));
	expect_ok(fetch_require_no_extra(&f.taker, f.mine, &nothing));
	/* What was accepted is not looked behind again. */
	fetch_begin(&f.taker, f.request.oid, false);
	expect_ok(fetch_missing(&f.taker, f.mine));
	fetched_free(&f);
}

static void what_fits_goes_along(void **unused)
{
	static struct fetched f;
	fetched_new(&f, 5);
	assert_int_equal(hand_over(&f, 5), 5);
	assert_int_equal(f.giver.owed.count, 0);
	expect_ok(fetch_missing(&f.taker, f.mine));
	assert_int_equal(f.taker.asked_count, 0);
	assert_false(f.taker.may_ask);
	fetched_free(&f);
}

/* Nobody gets what is no part of what was handed to him, and nothing twice. */
static void only_what_is_owed_is_given(void **unused)
{
	static struct fetched f;
	size_t *indices, count;
	struct digest32 ids[2];
	struct fetch_asked asked = {ids, 1};
	fetched_new(&f, 5);
	struct made secret = world_origin(&f.world, A, "secret");
	expect_ok(dac_add_record(f.theirs, secret.object, NULL));
	assert_int_equal(hand_over(&f, 2), 2);
	assert_int_equal(f.giver.owed.count, 3);
	memcpy(ids[0].bytes, secret.oid, OID_SIZE);
	expect(fetch_give(&f.giver, f.theirs, &asked, &indices, &count), DAC_FETCH_REFUSED);
	memset(ids[0].bytes, 0x11, OID_SIZE); /* a forged hash: nobody has it */
	expect(fetch_give(&f.giver, f.theirs, &asked, &indices, &count), DAC_FETCH_REFUSED);
	memcpy(ids[0].bytes, f.steps[4].oid, OID_SIZE); /* it went along */
	expect(fetch_give(&f.giver, f.theirs, &asked, &indices, &count), DAC_FETCH_REFUSED);
	memcpy(ids[0].bytes, f.steps[2].oid, OID_SIZE);
	ids[1] = ids[0];
	asked.count = 2;
	expect(fetch_give(&f.giver, f.theirs, &asked, &indices, &count), DAC_FETCH_REFUSED);
	fetch_giver_free(&f.giver);
	hand_over(&f, 2);
	asked.count = 1;
	expect_ok(fetch_give(&f.giver, f.theirs, &asked, &indices, &count));
	assert_int_equal(count, 3);
	free(indices);
	expect(fetch_give(&f.giver, f.theirs, &asked, &indices, &count), DAC_FETCH_REFUSED);
	fetched_free(&f);
}

static void what_is_asked_for_must_come(void **unused)
{
	static struct fetched f;
	fetched_new(&f, 5);
	hand_over(&f, 1);
	expect_ok(fetch_missing(&f.taker, f.mine));
	expect(fetch_check_nodes(&f.taker, f.mine, f.taker.received.count), DAC_MISSING_PARENT);
	size_t from = f.taker.received.count;
	expect_ok(take(&f, f.steps[0].object)); /* an ancestor, but another one */
	expect(fetch_check_nodes(&f.taker, f.mine, from), DAC_MISSING_PARENT);
	/* Whoever said that everything came along is not asked. */
	f.taker.may_ask = false;
	expect(fetch_missing(&f.taker, f.mine), DAC_MISSING_PARENT);
	fetched_free(&f);
}

static void what_nobody_builds_on_is_refused(void **unused)
{
	static struct fetched f;
	const struct id_set nothing = {0};
	fetched_new(&f, 5);
	struct made other = world_origin(&f.world, A, "other");
	hand_over(&f, 1);
	expect_ok(fetch_missing(&f.taker, f.mine));
	expect_ok(take(&f, other.object));
	expect_ok(round_of(&f));
	expect_ok(fetch_missing(&f.taker, f.mine));
	assert_int_equal(f.taker.asked_count, 0);
	expect(fetch_require_no_extra(&f.taker, f.mine, &nothing), DAC_EXTRA_NODE);
	struct id_set known = {0};
	expect_ok(id_set_add(&known, other.oid)); /* it went over this channel before */
	expect_ok(fetch_require_no_extra(&f.taker, f.mine, &known));
	id_set_free(&known);
	fetched_free(&f);
}

static void nothing_comes_twice(void **unused)
{
	static struct fetched f;
	fetched_new(&f, 5);
	hand_over(&f, 1);
	expect(take(&f, f.steps[4].object), DAC_DUPLICATE);
	fetched_free(&f);
}

/* Each is judged as it comes: a peer cannot fill an enclave with what nobody signed. */
static void bad_nodes_are_refused_at_once(void **unused)
{
	static struct fetched f;
	fetched_new(&f, 5);
	hand_over(&f, 1);
	expect_ok(fetch_missing(&f.taker, f.mine));
	struct record record = world_record(&f.world, A, RECORD_ORIGIN, "rows");
	struct made forged;
	world_out(&f.world, &record, "rows");
	world_sign_as(&f.world, &record, &f.world.enclaves[B].sign, &forged); /* DA-03 */
	size_t from = f.taker.received.count;
	expect_ok(take(&f, forged.object));
	expect_ok(take(&f, f.steps[3].object));
	expect(fetch_check_nodes(&f.taker, f.mine, from), BAD_SIGNATURE);
	fetched_free(&f);
	fetched_new(&f, 5);
	hand_over(&f, 1);
	expect_ok(fetch_missing(&f.taker, f.mine));
	size_t stranger = world_endorse(&f.world, "X", "max_dac_depth: 3\nrequired_attestation_level: Level-1\n");
	struct made foreign = world_origin(&f.world, stranger, "rows"); /* its certificate does not come along */
	from = f.taker.received.count;
	expect_ok(take(&f, foreign.object));
	expect_ok(take(&f, f.steps[3].object));
	expect(fetch_check_nodes(&f.taker, f.mine, from), DAC_UNKNOWN_CERTIFICATE);
	fetched_free(&f);
}

static void bombs_end_at_the_bounds(void **unused)
{
	static struct fetched f;
	struct dac_limits limits = {.records = 3};
	fetched_new(&f, 50);
	dac_limit(f.mine, &limits);
	hand_over(&f, 1);
	expect_ok(fetch_missing(&f.taker, f.mine));
	expect(round_of(&f), DAC_TOO_LARGE);
	fetched_free(&f);
	fetched_new(&f, 50);
	limits = (struct dac_limits){.bytes = 10000};
	dac_limit(f.mine, &limits);
	hand_over(&f, 1);
	expect_ok(fetch_missing(&f.taker, f.mine));
	expect(round_of(&f), DAC_TOO_LARGE);
	fetched_free(&f);
	fetched_new(&f, 50);
	limits = (struct dac_limits){.path = 49};
	dac_limit(f.mine, &limits);
	hand_over(&f, 1);
	expect_ok(fetch_missing(&f.taker, f.mine));
	expect_ok(round_of(&f));
	expect(fetch_require_root(&f.taker, f.mine), DAC_TOO_LARGE);
	fetched_free(&f);
}

static void a_wide_record_is_refused_where_the_policy_says_so(void **unused)
{
	static struct fetched f;
	struct dac_limits limits = {.parents = 2};
	struct dac_summary summary;
	struct made wide;
	fetched_new(&f, 3);
	struct record record = world_record(&f.world, A, RECORD_DERIVE, "rows");
	for (size_t i = 0; i < 3; i++)
		world_parent(&f.world, &record, &f.steps[i]);
	world_sign(&f.world, A, &record, &wide);
	dac_limit(f.mine, &limits);
	for (size_t i = 0; i < 3; i++)
		expect_ok(dac_add_record(f.mine, f.steps[i].object, NULL));
	expect_ok(dac_add_record(f.mine, wide.object, NULL));
	expect_ok(dac_verify(f.mine, &summary));
	expect(dac_require(f.mine, wide.oid), DAC_TOO_LARGE);
	expect_ok(dac_require(f.mine, f.request.oid)); /* and nothing else */
	fetched_free(&f);
}

static struct span content(const struct writer *w)
{
	return span_of(w->data + FRAME_HEADER_SIZE, w->len - FRAME_HEADER_SIZE);
}

static void frames_ask_and_answer(void **unused)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 16);
	struct call_event event;
	struct digest32 ids[2] = {{.bytes = {1}}, {.bytes = {2}}};
	struct fetch_asked asked = {ids, 2};
	struct bytes_item one = {span_str("x")};
	struct data_end nodes = {.records = &one, .record_count = 1};
	expect_ok(call_put_fetch(9, &asked, &w));
	expect_ok(call_frame_read(content(&w), &arena, &event));
	assert_true(event.type == CALL_FETCH && event.sid == 9 && event.asked.count == 2 && event.asked.ids[1].bytes[0] == 2);
	w.len = 0;
	expect_ok(call_put_nodes(9, &nodes, &w));
	expect_ok(call_frame_read(content(&w), &arena, &event));
	assert_true(event.type == CALL_NODES && event.end.record_count == 1);
	nodes.more = true;
	w.len = 0;
	expect_ok(call_put_nodes(9, &nodes, &w));
	expect(call_frame_read(content(&w), &arena, &event), BAD_VALUE);
	nodes = (struct data_end){.record = span_str("r"), .has_record = true};
	w.len = 0;
	expect_ok(call_put_nodes(9, &nodes, &w));
	expect(call_frame_read(content(&w), &arena, &event), BAD_VALUE);
	asked.count = 0;
	w.len = 0;
	assert_int_not_equal(call_put_fetch(9, &asked, &w), OK);
}

int group_fetch(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_is_made_whole),
		cmocka_unit_test(what_fits_goes_along),
		cmocka_unit_test(only_what_is_owed_is_given),
		cmocka_unit_test(what_is_asked_for_must_come),
		cmocka_unit_test(what_nobody_builds_on_is_refused),
		cmocka_unit_test(nothing_comes_twice),
		cmocka_unit_test(bad_nodes_are_refused_at_once),
		cmocka_unit_test(bombs_end_at_the_bounds),
		cmocka_unit_test(a_wide_record_is_refused_where_the_policy_says_so),
		cmocka_unit_test(frames_ask_and_answer),
	};
	return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
