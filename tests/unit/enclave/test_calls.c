/*
 * Calls: their frames, what a program says to its runtime, and what a runtime asks of a question and of an answer (DA-03, DA-10,
 * DA-11). Whole calls through real programs are in tests/system/test_calls.py.
 */
#include "../expect.h"

#include <stdlib.h>

#include "base/clock.h"
#include "dac_world.h"
#include "enclave/runtime_call.h"
#include "groups.h"
#include "object/manifest.h"

/* ---- Frames ------------------------------------------------------------------------------------------ */

static struct span content(const struct writer *w)
{
	return span_of(w->data + FRAME_HEADER_SIZE, w->len - FRAME_HEADER_SIZE);
}

static void frames_go_in_and_out(void **unused)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct call_event event;
	struct call_open open = {.edge = "ab", .operation = "ask", .push = true, .timeout_ms = 5000};
	struct bytes_item one = {span_str("x")};
	struct data_end end = {.length = 7, .record = span_str("r"), .has_record = true, .records = &one, .record_count = 1};
	struct data_abort abort = {CALL_CANCELLED, "CALL_CANCELLED", "B"};
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 16);
	memset(open.call_id, 3, sizeof(open.call_id));
	expect_ok(call_put_open(1, &open, &w));
	expect_ok(call_frame_read(content(&w), &arena, &event));
	assert_int_equal(event.type, CALL_OPEN);
	assert_true(event.open.push && event.open.timeout_ms == 5000 && event.open.call_id[15] == 3);
	assert_string_equal(event.open.edge, "ab");
	w.len = 0;
	expect_ok(call_put_chunk(UINT64_MAX, span_str("bytes"), &w));
	expect_ok(call_frame_read(content(&w), &arena, &event));
	assert_true(event.sid == UINT64_MAX && span_equal(event.chunk, span_str("bytes")));
	w.len = 0;
	expect_ok(call_put_end(300, &end, &w));
	expect_ok(call_frame_read(content(&w), &arena, &event));
	assert_true(event.sid == 300 && event.end.length == 7 && event.end.record_count == 1);
	w.len = 0;
	expect_ok(call_put_abort(2, &abort, &w));
	expect_ok(call_frame_read(content(&w), &arena, &event));
	assert_int_equal(event.abort.reason, CALL_CANCELLED);
	w.len = 0;
	expect_ok(call_put_taken(2, 4096, &w));
	expect_ok(call_frame_read(content(&w), &arena, &event));
	assert_int_equal(event.taken.bytes, 4096);
}

static void frames_that_are_none_are_refused(void **unused)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 17);
	struct call_event event;
	static uint8_t much[DATA_CHUNK_MAX + 1];
	expect(call_put_chunk(1, SPAN_EMPTY, &w), BAD_VALUE);
	expect(call_put_chunk(1, span_of(much, sizeof(much)), &w), BAD_VALUE);
	w.len = 0;
	expect_ok(call_put_chunk(0, span_str("x"), &w)); /* no stream has this number */
	expect(call_frame_read(content(&w), &arena, &event), BAD_VALUE);
	w.len = 0;
	expect_ok(call_put_taken(1, 0, &w));
	expect(call_frame_read(content(&w), &arena, &event), BAD_VALUE);
	w.len = 0;
	expect(call_put_taken(1, CALL_WINDOW + 1, &w), BAD_VALUE);
	expect_ok(call_put_chunk(1, span_str("x"), &w));
	for (size_t len = 0; len < w.len - FRAME_HEADER_SIZE; len++)
		assert_int_not_equal(call_frame_read(span_of(w.data + FRAME_HEADER_SIZE, len), &arena, &event), OK);
}

/* ---- What a program says ------------------------------------------------------------------------------- */

static void a_request_is_understood_or_can_be_refused(void **unused)
{
	static const uint8_t read[] = {0xa3, 1, 4, 2, 0x18, 99, 3, 0x45, 0xa2, 1, 7, 2, 0}, /* READ, tag 99, handle 7 */
		wrong_body[] = {0xa3, 1, 4, 2, 0x18, 99, 3, 0x43, 0xa1, 1, 7}, unknown[] = {0xa3, 1, 0x18, 77, 2, 5, 3, 0x41, 0xa0},
		no_tag[] = {0xa2, 1, 4, 3, 0x41, 0xa0};
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct fabric_request request;
	bool tagged;
	expect_ok(fabric_parse(SPAN_ARRAY(read), &arena, &request, &tagged));
	assert_true(tagged && request.type == FABRIC_READ && request.tag == 99 && request.body.read.handle == 7);
	expect(fabric_parse(SPAN_ARRAY(wrong_body), &arena, &request, &tagged), MISSING_FIELD);
	assert_true(tagged && request.tag == 99);
	expect(fabric_parse(SPAN_ARRAY(unknown), &arena, &request, &tagged), WRONG_KIND);
	assert_true(tagged && request.tag == 5);
	expect(fabric_parse(SPAN_ARRAY(no_tag), &arena, &request, &tagged), MISSING_FIELD);
	assert_false(tagged);
}

static void every_reason_has_a_status(void **unused)
{
	assert_int_equal(fabric_status_of(OK), FABRIC_OK);
	assert_int_equal(fabric_status_of(DEPTH_EXCEEDED), FABRIC_DENIED);
	assert_int_equal(fabric_status_of(CALL_ABORTED), FABRIC_PEER_FAILED);
	assert_int_equal(fabric_status_of(CALL_TIMED_OUT), FABRIC_TIMED_OUT);
	assert_int_equal(fabric_status_of(CALL_CANCELLED), FABRIC_CANCELLED);
	assert_int_equal(fabric_status_of(CALL_LIMIT), FABRIC_LIMIT);
	assert_int_equal(fabric_status_of(CALL_UNKNOWN), FABRIC_MISUSED);
	assert_int_equal(fabric_status_of(NO_MEMORY), FABRIC_TROUBLE);
	assert_int_equal(fabric_status_of(DAC_SPLICED), FABRIC_PEER_FAILED);
}

static void the_descriptor_is_measured(void **unused)
{
	struct manifest_variable number = {"TROTH_FABRIC", "7"};
	struct text_item permission = {"fabric"};
	struct manifest_secret secret = {"key", 7};
	struct manifest manifest = {.environment = &number, .environment_count = 1};
	static const char *const wrong[] = {"", "2", "64", "07", "7x", "-7", "999999999999999999999"};
	int fd;
	expect_ok(manifest_fabric(&manifest, &fd));
	assert_int_equal(fd, -1); /* a variable without the permission is a variable */
	manifest.permissions = &permission;
	manifest.permission_count = 1;
	expect_ok(manifest_fabric(&manifest, &fd));
	assert_int_equal(fd, 7);
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		number.value = wrong[i];
		expect(manifest_fabric(&manifest, &fd), BAD_VALUE);
	}
	number.value = "7";
	manifest.secrets = &secret;
	manifest.secret_count = 1;
	expect(manifest_fabric(&manifest, &fd), BAD_VALUE);
	manifest.environment_count = manifest.secret_count = 0;
	expect(manifest_fabric(&manifest, &fd), BAD_VALUE);
}

/* ---- What a runtime asks of a question and of an answer --------------------------------------------------- */

enum { A, B };

/* A asks B with "ab", B answers. One of the two is the runtime of the test. */
struct asked {
	struct world world;
	struct runtime *rt;
	struct channel channel;
	struct call_link link;
	struct call call;
	struct made origin, derived, request, response;
};

static void asked_new(struct asked *h, size_t me)
{
	static struct manifest_peer rules[] = {{.name = "A", .rot_rule = PEER_ROT_SAME}, {.name = "B", .rot_rule = PEER_ROT_SAME}};
	static const char *const names[] = {"A", "B"};
	uint64_t now = clock_wall_ms();
	*h = (struct asked){0};
	world_new(&h->world, 0xaa);
	h->world.root.not_before = now - 3600000;
	h->world.root.not_after = now + 3600000;
	h->world.now = now - 60000;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		char policy[256];
		snprintf(policy, sizeof(policy), "allowed_communicators: [%s]\nmax_dac_depth: 2\nrequired_attestation_level: Level-1\n",
			names[1 - i]);
		world_endorse(&h->world, names[i], policy);
		world_certify(&h->world, i, now - 300000, now + 300000);
	}
	h->origin = world_origin(&h->world, A, "rows");
	h->derived = world_derive(&h->world, A, "rows", "ab", &h->origin);
	h->request = world_request(&h->world, A, B, 1, "ab", &h->derived);
	h->response = world_response(&h->world, B, &h->request, "ab", NULL);
	const struct world_enclave *own = &h->world.enclaves[me], *peer = &h->world.enclaves[1 - me];
	h->rt = calloc(1, sizeof(*h->rt));
	assert_non_null(h->rt);
	h->rt->arena = arena_of(1 << 20);
	snprintf(h->rt->uri, sizeof(h->rt->uri), "%s", own->uri);
	h->rt->manifest.name = names[me];
	h->rt->manifest.interpreter = "closed";
	memcpy(h->rt->prepare.rot_id, h->world.root.rot_id, OID_SIZE);
	h->rt->policy = h->rt->policies[0].table = own->policy; /* the world's */
	expect_ok(dac_new(&h->world.config, &h->rt->dac));
	world_add_enclaves(&h->world, h->rt->dac);
	h->channel = (struct channel){.runtime = h->rt, .rule = &rules[1 - me], .link = &h->link,
		.spec = {.edge = "ab", .peer = names[1 - me], .operation = "rows", .initiator = me == A}};
	memcpy(h->channel.peer.rot_id, h->world.root.rot_id, OID_SIZE);
	launch_keys_hash(peer->sign.point, peer->kem.point, h->channel.peer.keys_hash);
	h->channel.peer.confinement = CONFINEMENT_N;
	h->channel.peer.level = 1;
	h->channel.peer.evidence_time = now;
	h->call = (struct call){.channel = &h->channel, .we_ask = me == A};
	memset(h->call.call_id, 1, CALL_ID_SIZE);
	world_commit("ab", h->call.in.commit);
	memcpy(h->call.ours.oid, h->request.oid, OID_SIZE);
	if (me == A) {
		expect_ok(dac_add_record(h->rt->dac, h->origin.object, NULL));
		expect_ok(dac_add_record(h->rt->dac, h->derived.object, NULL));
		expect_ok(dac_add_record(h->rt->dac, h->request.object, NULL));
	}
}

static void asked_free(struct asked *h)
{
	dac_free(h->rt->dac);
	arena_free(&h->rt->arena);
	id_set_free(&h->link.known);
	fetch_free(&h->link);
	free(h->rt);
	world_free(&h->world);
}

static result accept_question(struct asked *h, const struct made *record)
{
	struct bytes_item ancestors[] = {{h->origin.object}, {h->derived.object}};
	struct data_end end = {.record = record->object, .has_record = true, .records = ancestors, .record_count = 2};
	return call_accept(h->rt, &h->call, &end);
}

static result accept_answer(struct asked *h, const struct made *record)
{
	struct data_end end = {.record = record->object, .has_record = true};
	return call_accept(h->rt, &h->call, &end);
}

static void a_question_is_the_peers_about_this_call(void **unused)
{
	struct asked h;
	asked_new(&h, B);
	h.call.call_id[0] ^= 1;
	expect(accept_question(&h, &h.request), DAC_KIND_RULE);
	h.call.call_id[0] ^= 1;
	h.channel.spec.operation = "sums";
	expect(accept_question(&h, &h.request), DAC_KIND_RULE);
	h.channel.spec.operation = "rows";
	h.channel.spec.edge = "ac";
	expect(accept_question(&h, &h.request), DAC_COMMITMENT);
	h.channel.spec.edge = "ab";
	h.call.in.commit[31] ^= 1;
	expect(accept_question(&h, &h.request), DAC_COMMITMENT);
	h.call.in.commit[31] ^= 1;
	h.channel.peer.keys_hash[0] ^= 1;
	expect(accept_question(&h, &h.request), DAC_SPLICED);
	h.channel.peer.keys_hash[0] ^= 1;
	assert_false(h.call.has_theirs);
	expect_ok(accept_question(&h, &h.request));
	assert_true(h.call.has_theirs);
	assert_memory_equal(h.call.theirs.oid, h.request.oid, OID_SIZE);
	asked_free(&h);
}

static void a_question_that_is_too_deep_is_denied(void **unused)
{
	struct asked h;
	asked_new(&h, B);
	/* The record stands at level 1; what B derives from it would be at 2, which is allowed, and one deeper is not. */
	expect_ok(accept_question(&h, &h.request));
	expect(channel_decide(&h.channel, RESOURCE_RECORD, DIRECTION_RECEIVE, "rows", 3), DEPTH_EXCEEDED);
	asked_free(&h);
}

/* DA-11: a genuine answer of the peer, but to another question. */
static void an_answer_belongs_to_its_question(void **unused)
{
	struct asked h;
	asked_new(&h, A);
	struct made second = world_request(&h.world, A, B, 1, "ab", &h.derived);
	expect_ok(dac_add_record(h.rt->dac, second.object, NULL));
	struct made other = world_response(&h.world, B, &second, "ab", NULL);
	expect(accept_answer(&h, &other), DAC_SPLICED);
	assert_non_null(strstr(failure_text(), "another question"));
	expect(accept_answer(&h, &h.derived), DAC_SPLICED); /* our own record comes back */
	h.call.call_id[0] ^= 1;
	expect(accept_answer(&h, &h.response), DAC_KIND_RULE);
	h.call.call_id[0] ^= 1;
	h.call.in.commit[0] ^= 1;
	expect(accept_answer(&h, &h.response), DAC_COMMITMENT);
	h.call.in.commit[0] ^= 1;
	expect_ok(accept_answer(&h, &h.response));
	assert_memory_equal(h.call.theirs.oid, h.response.oid, OID_SIZE);
	asked_free(&h);
}

/* DA-11: two answers to one question prove that their signer equivocates; the second counts for nothing. */
static void a_second_answer_is_refused(void **unused)
{
	struct asked h;
	asked_new(&h, A);
	expect_ok(accept_answer(&h, &h.response));
	struct made again = world_response(&h.world, B, &h.request, "ab", NULL);
	expect(accept_answer(&h, &again), DAC_EQUIVOCATION);
	asked_free(&h);
}

static void an_answer_needs_its_record(void **unused)
{
	struct asked h;
	struct data_end nothing = {0};
	asked_new(&h, A);
	expect(call_accept(h.rt, &h.call, &nothing), INPUT_INCOMPLETE);
	struct bytes_item extra = {h.request.object};
	struct data_end more = {.record = h.response.object, .has_record = true, .records = &extra, .record_count = 1};
	expect_ok(call_accept(h.rt, &h.call, &more)); /* an ancestor that is there already is no harm */
	asked_free(&h);
}

/* ---- Ancestors that do not come with END (fetch.h): the runtime's side ------------------------------------- */

/* B was handed the question alone; A says that there is more. */
static void asked_for_more(struct asked *h, struct data_end *end)
{
	asked_new(h, B);
	h->rt->calls = calloc(1, sizeof(*h->rt->calls));
	assert_non_null(h->rt->calls);
	h->rt->calls->rows[h->rt->calls->count++] = &h->call;
	h->call.sid = 1;
	h->link.last_sid = 1;
	h->channel.finished = true; /* nothing is written: there are no keys */
	*end = (struct data_end){.record = h->request.object, .has_record = true, .more = true};
}

static void asked_for_more_free(struct asked *h)
{
	free(h->rt->calls);
	h->rt->calls = NULL;
	asked_free(h);
}

static void an_end_waits_for_its_ancestors(void **unused)
{
	struct asked h;
	struct data_end end;
	asked_for_more(&h, &end);
	struct bytes_item items[] = {{h.derived.object}, {h.origin.object}};
	struct data_end nodes = {.records = items, .record_count = 1};
	expect_ok(fetch_take_end(h.rt, &h.channel, 1, &end));
	assert_true(h.link.fetching && !h.call.has_theirs);
	assert_int_equal(h.link.taker.asked_count, 1);
	expect(fetch_take_nodes(h.rt, &h.channel, 2, &nodes), DAC_FETCH_UNASKED); /* for another call */
	expect_ok(fetch_take_nodes(h.rt, &h.channel, 1, &nodes));
	assert_true(h.link.fetching && !h.call.has_theirs); /* the origin is still missing */
	nodes.records = &items[1];
	expect_ok(fetch_take_nodes(h.rt, &h.channel, 1, &nodes));
	assert_true(!h.link.fetching && h.call.has_theirs);
	expect(fetch_take_nodes(h.rt, &h.channel, 1, &nodes), DAC_FETCH_UNASKED); /* answered twice */
	asked_for_more_free(&h);
}

static void an_end_behind_it_waits_in_turn(void **unused)
{
	struct asked h;
	struct data_end end;
	struct call second = {0};
	asked_for_more(&h, &end);
	struct bytes_item items[] = {{h.derived.object}, {h.origin.object}};
	struct data_end nodes = {.records = items, .record_count = 2};
	struct made other = world_request(&h.world, A, B, 2, "ab", &h.derived);
	const struct data_end behind = {.record = other.object, .has_record = true};
	second = h.call;
	second.sid = 2;
	memset(second.call_id, 2, CALL_ID_SIZE);
	h.rt->calls->rows[h.rt->calls->count++] = &second;
	expect_ok(fetch_take_end(h.rt, &h.channel, 1, &end));
	expect_ok(fetch_take_end(h.rt, &h.channel, 2, &behind));
	assert_true(!second.has_theirs && h.link.parked_count == 1);
	expect_ok(fetch_take_nodes(h.rt, &h.channel, 1, &nodes));
	assert_true(h.call.has_theirs && second.has_theirs && h.link.parked_count == 0);
	asked_for_more_free(&h);
}

static void a_call_that_was_given_up_leaves_its_ancestors_to_others(void **unused)
{
	struct asked h;
	struct data_end end;
	asked_for_more(&h, &end);
	struct bytes_item items[] = {{h.derived.object}, {h.origin.object}};
	struct data_end nodes = {.records = items, .record_count = 2};
	expect_ok(fetch_take_end(h.rt, &h.channel, 1, &end));
	h.call.reason = CALL_TIMED_OUT;
	expect_ok(fetch_take_nodes(h.rt, &h.channel, 1, &nodes));
	assert_true(!h.link.fetching && !h.call.has_theirs);
	asked_for_more_free(&h);
}

static void whoever_owes_has_so_much_time(void **unused)
{
	struct asked h;
	struct data_end end;
	asked_for_more(&h, &end);
	h.rt->chain_limits[CHAIN_WAIT_S] = 7;
	expect_ok(fetch_check_time(&h.channel, UINT64_MAX)); /* nothing is owed */
	uint64_t before = clock_monotonic_ns();
	expect_ok(fetch_take_end(h.rt, &h.channel, 1, &end));
	assert_true(h.link.fetch_until_ns >= before + 7 * UINT64_C(1000000000));
	expect_ok(fetch_check_time(&h.channel, h.link.fetch_until_ns));
	expect(fetch_check_time(&h.channel, h.link.fetch_until_ns + 1), DAC_FETCH_TIMEOUT);
	asked_for_more_free(&h);
}

static void a_giver_is_asked_for_what_it_owes_alone(void **unused)
{
	struct asked h;
	struct digest32 id;
	const struct fetch_asked asked = {&id, 1};
	asked_new(&h, A);
	h.channel.finished = true;
	memcpy(id.bytes, h.derived.oid, OID_SIZE);
	expect(fetch_answer(h.rt, &h.channel, 1, &asked), DAC_FETCH_REFUSED);
	asked_free(&h);
}

int group_calls(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_go_in_and_out),
		cmocka_unit_test(frames_that_are_none_are_refused),
		cmocka_unit_test(a_request_is_understood_or_can_be_refused),
		cmocka_unit_test(every_reason_has_a_status),
		cmocka_unit_test(the_descriptor_is_measured),
		cmocka_unit_test(a_question_is_the_peers_about_this_call),
		cmocka_unit_test(a_question_that_is_too_deep_is_denied),
		cmocka_unit_test(an_answer_belongs_to_its_question),
		cmocka_unit_test(a_second_answer_is_refused),
		cmocka_unit_test(an_answer_needs_its_record),
		cmocka_unit_test(an_end_waits_for_its_ancestors),
		cmocka_unit_test(an_end_behind_it_waits_in_turn),
		cmocka_unit_test(a_call_that_was_given_up_leaves_its_ancestors_to_others),
		cmocka_unit_test(whoever_owes_has_so_much_time),
		cmocka_unit_test(a_giver_is_asked_for_what_it_owes_alone),
	};
	return cmocka_run_group_tests_name("calls", tests, NULL, NULL);
}
