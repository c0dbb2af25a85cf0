/* What a runtime asks of the record that comes with data: that it is the peer's REQUEST about this very call (DA-03, DA-10). */
#include "../expect.h"

#include <stdlib.h>

#include "base/clock.h"
#include "dac_world.h"
#include "enclave/runtime_internal.h"
#include "groups.h"

enum { A, B };

/* A hands its "ab" to B, whose runtime is `rt`. */
struct handover {
	struct world world;
	struct runtime *rt;
	struct channel channel;
	struct input input;
	struct made origin, derived, request;
};

static void handover_new(struct handover *h)
{
	static struct manifest_peer rule = {.name = "A", .rot_rule = PEER_ROT_SAME};
	static const char *const names[] = {"A", "B"};
	uint64_t now = clock_wall_ms();
	*h = (struct handover){0};
	world_new(&h->world, 0xaa);
	h->world.root.not_before = now - 3600000;
	h->world.root.not_after = now + 3600000;
	h->world.now = now - 60000;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		char policy[256];
		snprintf(policy, sizeof(policy), "allowed_communicators: [%s]\nmax_dac_depth: 9\nrequired_attestation_level: Level-1\n",
			names[1 - i]);
		world_endorse(&h->world, names[i], policy);
		world_certify(&h->world, i, now - 300000, now + 300000);
	}
	const struct world_enclave *a = &h->world.enclaves[A], *b = &h->world.enclaves[B];
	h->origin = world_origin(&h->world, A, "rows");
	h->derived = world_derive(&h->world, A, "rows", "ab", &h->origin);
	h->request = world_request(&h->world, A, B, 1, "ab", &h->derived);
	h->rt = calloc(1, sizeof(*h->rt));
	assert_non_null(h->rt);
	h->rt->arena = arena_of(1 << 20);
	snprintf(h->rt->uri, sizeof(h->rt->uri), "%s", b->uri);
	h->rt->manifest.name = "B";
	h->rt->manifest.interpreter = "closed";
	memcpy(h->rt->prepare.rot_id, h->world.root.rot_id, OID_SIZE);
	h->rt->policy = h->rt->policies[0].table = b->policy; /* the world's */
	expect_ok(dac_new(&h->world.config, &h->rt->dac));
	world_add_enclaves(&h->world, h->rt->dac);
	h->channel = (struct channel){.runtime = h->rt, .rule = &rule, .spec = {.edge = "ab", .peer = "A", .operation = "rows"}};
	memcpy(h->channel.peer.rot_id, h->world.root.rot_id, OID_SIZE);
	h->channel.opened.operation = "rows";
	memset(h->channel.opened.call_id, 1, CALL_ID_SIZE);
	/* The channel shows a re-issued certificate; the record names the one of the launch. */
	memset(h->channel.peer.certificate, 9, SHA256_SIZE);
	launch_keys_hash(a->sign.point, a->kem.point, h->channel.peer.keys_hash);
	h->channel.peer.confinement = CONFINEMENT_N;
	h->channel.peer.level = 1;
	h->channel.peer.evidence_time = now;
	h->input = (struct input){.name = "ab", .channel = &h->channel};
	world_commit("ab", h->input.commit);
}

static void handover_free(struct handover *h)
{
	dac_free(h->rt->dac);
	arena_free(&h->rt->arena);
	free(h->rt);
	world_free(&h->world);
}

/* `record` is handed over, with what it builds on. */
static result accept(struct handover *h, const struct made *record)
{
	struct bytes_item ancestors[] = {{h->origin.object}, {h->derived.object}};
	struct data_end end = {.record = record->object, .has_record = true, .records = ancestors};
	end.record_count = record == &h->origin ? 0 : record == &h->derived ? 1 : 2;
	return records_accept(h->rt, &h->input, &end);
}

static void the_request_of_the_peer_is_accepted(void **unused)
{
	struct handover h;
	handover_new(&h);
	expect_ok(accept(&h, &h.request));
	assert_string_equal(h.input.supplier.enclave, h.world.enclaves[A].uri);
	assert_memory_equal(h.input.supplier.oid, h.request.oid, OID_SIZE);
	handover_free(&h);
}

/* Genuine records of the peer, about these data, that ask nothing of anybody. */
static void another_kind_is_refused(void **unused)
{
	struct handover h;
	handover_new(&h);
	expect(accept(&h, &h.origin), DAC_KIND_RULE);
	assert_non_null(strstr(failure_text(), "instead of a REQUEST"));
	expect(accept(&h, &h.derived), DAC_KIND_RULE);
	assert_non_null(strstr(failure_text(), "instead of a REQUEST"));
	handover_free(&h);
}

static void another_call_is_refused(void **unused)
{
	struct handover h;
	handover_new(&h);
	size_t last = strlen(h.rt->uri) - 1;
	h.channel.opened.call_id[CALL_ID_SIZE - 1] ^= 1;
	expect(accept(&h, &h.request), DAC_KIND_RULE);
	h.channel.opened.call_id[CALL_ID_SIZE - 1] ^= 1;
	h.channel.opened.operation = "sums";
	expect(accept(&h, &h.request), DAC_KIND_RULE);
	h.channel.opened.operation = "rows";
	h.channel.peer.keys_hash[0] ^= 1;
	expect(accept(&h, &h.request), DAC_SPLICED);
	h.channel.peer.keys_hash[0] ^= 1;
	h.rt->uri[last] ^= 1;
	expect(accept(&h, &h.request), DAC_SPLICED);
	h.rt->uri[last] ^= 1;
	h.channel.spec.edge = "ac";
	expect(accept(&h, &h.request), DAC_COMMITMENT);
	h.channel.spec.edge = "ab";
	h.input.commit[SHA256_SIZE - 1] ^= 1;
	expect(accept(&h, &h.request), DAC_COMMITMENT);
	h.input.commit[SHA256_SIZE - 1] ^= 1;
	expect_ok(accept(&h, &h.request));
	handover_free(&h);
}

static void data_without_a_record_are_refused(void **unused)
{
	struct handover h;
	struct data_end nothing = {0};
	handover_new(&h);
	expect(records_accept(h.rt, &h.input, &nothing), INPUT_INCOMPLETE);
	handover_free(&h);
}

int group_runtime_records(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_request_of_the_peer_is_accepted),
		cmocka_unit_test(another_kind_is_refused),
		cmocka_unit_test(another_call_is_refused),
		cmocka_unit_test(data_without_a_record_are_refused),
	};
	return cmocka_run_group_tests_name("runtime records", tests, NULL, NULL);
}
