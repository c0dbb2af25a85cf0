/*
 * The queue while the root rotates, with somebody on the way who flips what passes: in profile local that is a hostile host or
 * AP, in profile sealed anybody. The engine serves as troth-ap does, the rotation on its own thread. Whatever happens to
 * the queue: the state that is left starts, its head is the old record or the one that follows it, and with a new
 * queue it rotates on. ap_bench asserts with every record that no epoch ever has two.
 */
#include "ap_bench.h"
#include "groups.h"
#include "ipq_raw.h"

#include "base/clock.h"
#include "root/ap_worker.h"

#include <pthread.h>

enum { ROUNDS = 24 };

struct served {
	struct bench *b;
	struct ipq *queue;
	struct ap_worker *worker;
	bool rotating;
	uint64_t rotation_id;
	result ended;
	struct ipq_message message;
};

static result write_slots(void *context, struct span state)
{
	struct bench *b = context;
	return slots_write(&b->slots, state);
}

static result answer_with(struct served *s, uint64_t id, const struct ap_action *action)
{
	if (action->kind == AP_REPLY)
		return ipq_reply(s->queue, id, action->reply, soon());
	return ipq_reply_error(s->queue, id, action->reason, action->text, soon());
}

static result end_rotation(struct served *s, struct ap_rotation *rotation)
{
	struct ap_action action;
	if (!rotation)
		return OK;
	s->rotating = false;
	ap_rotated(s->b->ap, rotation, s->b->now, &action);
	return answer_with(s, s->rotation_id, &action);
}

static result serve_one(struct served *s)
{
	struct ap_action action;
	if (s->rotating)
		TRY(end_rotation(s, ap_worker_take(s->worker)));
	result got = ipq_receive(s->queue, &s->message, in_ms(1));
	if (got == TIMED_OUT)
		return OK;
	TRY(got);
	ap_step(s->b->ap, s->message.type, ipq_payload(&s->message), s->b->now, &action);
	if (action.kind == AP_ROTATE) {
		s->rotating = true;
		s->rotation_id = s->message.id;
		ap_worker_give(s->worker, action.rotation);
		return OK;
	}
	if (action.kind == AP_PERSIST)
		ap_persisted(s->b->ap, write_slots(s->b, action.persist), &action);
	return answer_with(s, s->message.id, &action);
}

/* Until the queue ends; like troth-ap it then stops, with what the worker had begun written or not. */
static void *serve(void *context)
{
	struct served *s = context;
	do {
		s->ended = serve_one(s);
	} while (s->ended == OK);
	if (s->rotating)
		(void)!end_rotation(s, ap_worker_await(s->worker));
	return NULL;
}

/* ---- the host, and who sits on the way ---- */

static struct sealed_side side;
static struct ipq_message reply_message;

static size_t request_bytes(const struct bench *b, const struct schema *schema, const void *request, uint8_t out[static 2048])
{
	struct writer w = writer_fixed(out, 2048);
	struct span written;
	ipq_put_expected(&w, (struct ipq_expected){b->era, b->epoch});
	schema_put(schema, request, &w);
	assert_int_equal(writer_finish(&w, &written), OK);
	return written.len;
}

struct vandal {
	struct way *way;
	uint32_t random;
	unsigned spare; /* slots let through first */
	bool stop;
};

static void flip(struct way *way, uint32_t r)
{
	bool to_ap = r % 2;
	uint8_t *ring = to_ap ? way->to_ap.ring : way->to_host.ring;
	uint64_t near = to_ap ? way->passed_to_ap : way->passed_to_host;
	uint32_t *word = (uint32_t *)(void *)(ring + IPQ_HEAD_SIZE + (near + IPQ_SLOTS - 1 - r / 2 % 3) % IPQ_SLOTS * IPQ_SLOT_SIZE + r / 8 % 16 * 4);
	__atomic_fetch_xor(word, 1u << (r >> 8) % 32, __ATOMIC_RELAXED);
}

static void *flip_and_carry(void *context)
{
	struct vandal *vandal = context;
	struct way *way = vandal->way;
	while (!__atomic_load_n(&vandal->stop, __ATOMIC_RELAXED)) {
		way_pass(&way->to_ap, way->host_ring, &way->passed_to_ap);
		way_pass(&way->to_host, way->ap_ring, &way->passed_to_host);
		if (way->passed_to_ap + way->passed_to_host < vandal->spare)
			continue;
		vandal->random = vandal->random * 1664525 + 1013904223;
		flip(way, vandal->random >> 8);
	}
	return NULL;
}

/* One ROTATE_ROT and attestations around it, until all is answered or the queue is gone. */
static void ask_through(struct ipq *host, const struct bench *b, unsigned patience_ms)
{
	uint8_t rotate_body[2048], attest_body[2048];
	const struct ap_rotate rotation = a_rotation((uint8_t)(b->epoch + 100));
	const struct ap_attest challenge = {.purpose = "test"};
	struct writer w = writer_fixed(attest_body, sizeof attest_body);
	struct span attest;
	uint64_t id, end = in_ms(patience_ms);
	size_t len = request_bytes(b, &ap_rotate_schema, &rotation, rotate_body);
	schema_put(&ap_attest_schema, &challenge, &w);
	assert_int_equal(writer_finish(&w, &attest), OK);
	unsigned asked = 0, answered = 0;
	for (unsigned i = 0; i < 9; i++) {
		result sent = i == 3 ? ipq_request(host, IPQ_ROTATE_ROT, span_of(rotate_body, len), in_ms(20), &id) :
				       ipq_request(host, IPQ_ATTEST, attest, in_ms(20), &id);
		asked += sent == OK;
	}
	result got = OK;
	while (answered < asked && (got == OK || got == TIMED_OUT) && clock_monotonic_ns() < end) {
		got = ipq_receive(host, &reply_message, in_ms(5));
		answered += got == OK;
	}
}

/* ---- a round ---- */

/* What is left on disk starts and is the epoch that was or the one that follows. */
static void start_again(struct bench *b, bool *out_rotated)
{
	struct ap_health health;
	uint64_t before = b->epoch;
	assert_int_equal(try_boot(b), OK);
	assert_int_equal(ask(b, IPQ_HEALTH, NULL, NULL, &ap_health_schema, &health), OK);
	assert_true(health.epoch == before || health.epoch == before + 1);
	assert_int_equal(epoch_chain_follow(b->chain, health.epoch_record), OK);
	adopt_head(b);
	assert_true(b->epoch == health.epoch);
	measure(b, 1, 2);
	assert_int_equal(state_of(b), AP_READY);
	*out_rotated = b->epoch != before;
}

static void run_round(struct bench *b, bool sealed, uint32_t seed, unsigned spare, bool flips, result *out_ended)
{
	struct way way;
	struct served served = {.b = b};
	struct ap_worker_config config = {.write = write_slots, .write_context = b};
	struct vandal vandal = {.way = &way, .random = seed, .spare = flips ? spare : UINT32_MAX};
	pthread_t server, carrier;
	way_open_greeted(&way, (struct sealed_greeting){.host_side = sealed ? &side : NULL, .ap_side = sealed ? &side : NULL,
		.boot_gen = ap_boot_gen(b->ap)});
	served.queue = way.g.ap;
	assert_int_equal(ap_worker_start(&config, &served.worker), OK);
	assert_int_equal(pthread_create(&carrier, NULL, flip_and_carry, &vandal), 0);
	assert_int_equal(pthread_create(&server, NULL, serve, &served), 0);
	ask_through(way.g.host, b, flips ? 60 : 5000);
	ipq_interrupt(way.g.ap);
	assert_int_equal(pthread_join(server, NULL), 0);
	__atomic_store_n(&vandal.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(carrier, NULL), 0);
	ap_worker_stop(served.worker);
	*out_ended = ipq_poisoned(way.g.ap) != OK ? ipq_poisoned(way.g.ap) : ipq_poisoned(way.g.host);
	way_close(&way);
}

static void rotate_among_flips(bool sealed)
{
	struct bench b;
	unsigned poisoned = 0, rotated = 0;
	bool went;
	result ended;
	side = (struct sealed_side){.rooted = false};
	memset(side.pairing, 0x77, sizeof side.pairing);
	bench_new(&b);
	bench_use_disk(&b, NULL);
	/* Undisturbed it rotates; this also shows that the rounds below could. */
	run_round(&b, sealed, 0, 0, false, &ended);
	assert_int_equal(ended, OK);
	start_again(&b, &went);
	assert_true(went);
	for (unsigned round = 0; round < ROUNDS; round++) {
		run_round(&b, sealed, round * 7919 + 3, 4 + round, true, &ended);
		poisoned += ended != OK;
		start_again(&b, &went);
		rotated += went;
	}
	assert_true(poisoned > 0 && rotated > 0);
	/* A new queue, and on it goes. */
	run_round(&b, sealed, 0, 0, false, &ended);
	assert_int_equal(ended, OK);
	start_again(&b, &went);
	assert_true(went);
	bench_free(&b);
}

static void rotating_while_slots_are_flipped_local(void **state)
{
	rotate_among_flips(false);
}

static void rotating_while_slots_are_flipped_sealed(void **state)
{
	rotate_among_flips(true);
}

int test_ipq_rotate(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rotating_while_slots_are_flipped_local),
		cmocka_unit_test(rotating_while_slots_are_flipped_sealed),
	};
	return cmocka_run_group_tests_name("ipq while the root rotates", tests, NULL, NULL);
}
