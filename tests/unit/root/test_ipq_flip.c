/*
 * IQ-01: the peer flips every shared byte. What the end under test makes of a ring is compared with a second,
 * slow reading of the same bytes written from docs/PROTOCOL.ipq: it must accept exactly what that accepts.
 */
#include "groups.h"
#include "ipq_raw.h"

#include "base/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define GEN UINT64_C(9)

static struct ipq_message message; /* 64 KiB: kept off the stack */
static uint8_t expected_data[IPQ_PAYLOAD_MAX];

struct reading {
	uint64_t position, last_id;
	unsigned type;
	uint32_t len;
	uint64_t id;
};

static uint64_t little(const uint8_t *at, int n)
{
	uint64_t value = 0;
	for (int i = n - 1; i >= 0; i--)
		value = value << 8 | at[i];
	return value;
}

static bool host_may_send(unsigned type)
{
	switch (type) {
	case 5: case 7: case 16: case 18: case 20: case 22: case 24: case 26: case 28: case 30: case 32: case 34: case 36: case 38:
	case 40: case 42: case 48: case 50: case 52:
	case 54: case 56: case 68: case 70: case 72: case 74:
		return true;
	default:
		return false;
	}
}

/* QUEUE_EMPTY, OK with the message, or QUEUE_CORRUPT for any violation. The reader is a greeted secure processor. */
static result read_slowly(const struct raw *raw, struct reading *reading)
{
	const uint8_t *slot = raw_slot(raw, reading->position);
	uint64_t seq = little(slot, 8);
	if (seq == (reading->position >= 2048 ? reading->position + 1 - 2048 : 0))
		return QUEUE_EMPTY;
	uint64_t type = little(slot + 8, 2), len = little(slot + 12, 4), id = little(slot + 16, 8);
	if (seq != reading->position + 1 || slot[10] != 0 || slot[11] != 0 || len > 65536 ||
	    !host_may_send((unsigned)type) || id >> 40 != GEN || id <= reading->last_id)
		return QUEUE_CORRUPT;
	uint64_t slots = raw_slots(len);
	for (uint64_t i = 0, done = 0; i < slots; i++) {
		slot = raw_slot(raw, reading->position + i);
		if (little(slot, 8) != reading->position + i + 1)
			return QUEUE_CORRUPT;
		for (size_t at = i == 0 ? 24 : 8; at < 64; at++, done++) {
			if (done < len)
				expected_data[done] = slot[at];
			else if (slot[at] != 0)
				return QUEUE_CORRUPT;
		}
	}
	reading->type = (unsigned)type;
	reading->len = (uint32_t)len;
	reading->last_id = reading->id = id;
	reading->position += slots;
	return OK;
}

/* Four messages: empty, short, a full slot, several slots; no payload byte is zero. */
static void send_sample(struct raw *peer, uint64_t first_id)
{
	static uint8_t data[200];
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(1 + i);
	raw_send(peer, IPQ_HEALTH, first_id, SPAN_EMPTY);
	raw_send(peer, IPQ_ATTEST, first_id + 1, span_of(data, 8));
	raw_send(peer, IPQ_SIGN, first_id + 2, span_of(data, 40));
	raw_send(peer, IPQ_SEAL, first_id + 3, span_of(data, 200));
}

/* Reads all there is both ways; false when the queue was poisoned. */
static bool compare_readings(struct ipq *victim, struct raw *peer, struct reading *reading)
{
	for (;;) {
		result slow = read_slowly(peer, reading);
		result fast = ipq_try_receive(victim, &message);
		if (slow == QUEUE_CORRUPT) {
			assert_true(fast == QUEUE_CORRUPT || fast == QUEUE_BAD_TYPE || fast == QUEUE_REPLAY);
			assert_int_equal(ipq_poisoned(victim), fast);
			assert_int_equal(ipq_try_receive(victim, &message), QUEUE_POISONED);
			return false;
		}
		assert_int_equal(fast, slow);
		if (slow == QUEUE_EMPTY)
			return true;
		assert_int_equal(message.type, reading->type);
		assert_true(message.id == reading->id);
		assert_int_equal(message.len, reading->len);
		assert_memory_equal(message.data, expected_data, reading->len);
		assert_int_equal(ipq_reply(victim, message.id, SPAN_EMPTY, 0), OK);
	}
}

/* Every bit of the slots of the sample, each on a fresh queue when the last one was poisoned or lost its place. */
static void every_bit_of_the_slots(void **state)
{
	enum { SAMPLE_SLOTS = 1 + 1 + 1 + 4, SPARE = 2 };
	struct raw peer;
	struct ipq *victim = NULL;
	unsigned poisoned = 0, accepted = 0;
	for (unsigned bit = 0; bit < (SAMPLE_SLOTS + SPARE) * 64 * 8; bit++) {
		victim = raw_victim(&peer, IPQ_AP, GEN);
		struct reading reading = {.position = 1, .last_id = GEN << 40};
		send_sample(&peer, GEN << 40 | 1);
		raw_slot(&peer, 1 + bit / 512)[bit / 8 % 64] ^= (uint8_t)(1u << bit % 8);
		if (compare_readings(victim, &peer, &reading))
			accepted++;
		else
			poisoned++;
		ipq_free(&victim);
		raw_close(&peer);
	}
	/* Sequence, flags, length and padding are judged; payload, and ids that still rise, are the peer's to choose. */
	assert_true(poisoned > 1000);
	assert_true(accepted > (8 + 40 + 200) * 8);
}

/* Every byte of the whole ring between two messages: no byte may matter but those of the next slots. */
static void every_byte_of_the_ring(void **state)
{
	struct raw peer;
	struct ipq *victim = raw_victim(&peer, IPQ_AP, GEN);
	struct reading reading = {.position = 1, .last_id = GEN << 40};
	uint64_t id = GEN << 40;
	for (size_t at = 0; at < IPQ_RING_SIZE; at++) {
		/* The wait line and credit are the next test's; here they would end the session. */
		if (at >= 64 && at < 192)
			continue;
		peer.ring[at] ^= 0xff;
		raw_send(&peer, IPQ_HEALTH, ++id, span_str("x"));
		bool good = compare_readings(victim, &peer, &reading);
		peer.ring[at] ^= 0xff;
		if (good && at % 997 != 0)
			continue;
		ipq_free(&victim);
		raw_close(&peer);
		victim = raw_victim(&peer, IPQ_AP, GEN);
		reading = (struct reading){.position = 1, .last_id = GEN << 40};
		id = GEN << 40;
	}
	ipq_free(&victim);
	raw_close(&peer);
}

/* Every bit of the wait line and the credit, met by a full own ring and by a wait. */
static void every_bit_of_the_words_in_the_head(void **state)
{
	for (unsigned bit = 64 * 8; bit < 136 * 8; bit++) {
		struct raw peer;
		struct ipq *victim = raw_victim(&peer, IPQ_AP, GEN);
		uint64_t written = 2;
		while (ipq_try_event(victim, SPAN_EMPTY) == OK)
			written++;
		raw_set64(peer.ring + 128, 3);
		assert_int_equal(ipq_try_event(victim, SPAN_EMPTY), OK);
		written++;
		peer.ring[bit / 8] ^= (uint8_t)(1u << bit % 8);

		uint64_t credit = little(peer.ring + 128, 8);
		result sent = OK;
		for (int i = 0; i < 4 && sent == OK; i++) /* the room that 3 gave is used up first */
			sent = ipq_try_event(victim, SPAN_EMPTY);
		if (credit < 3 || credit > 2051 + 3) {
			assert_int_equal(sent, QUEUE_BAD_CREDIT);
		} else if (credit == 3) {
			assert_int_equal(sent, QUEUE_FULL);
			bool gone = little(peer.ring + 72, 4) != 0;
			assert_int_equal(ipq_try_receive(victim, &message), gone ? PEER_CLOSED : QUEUE_EMPTY);
			assert_int_equal(ipq_event(victim, SPAN_EMPTY, 0), gone ? PEER_CLOSED : TIMED_OUT);
		}
		ipq_free(&victim);
		raw_close(&peer);
	}
}

/* ---- flips while the victim works ---- */

struct vandal {
	struct raw *peer;
	bool stop, begun;
	uint32_t random;
};

static void *flip_without_end(void *context)
{
	struct vandal *vandal = context;
	while (!__atomic_load_n(&vandal->stop, __ATOMIC_RELAXED)) {
		vandal->random = vandal->random * 1664525 + 1013904223;
		uint32_t r = vandal->random >> 8;
		/* Mostly the slots that are in use and the words of the head, sometimes anything. */
		size_t at = r % 8 == 0 ? r / 8 % IPQ_RING_SIZE : r % 8 == 1 ? 64 + r / 8 % 128 : 4096 + r / 8 % (64 * 64);
		uint32_t *word = (uint32_t *)(void *)(vandal->peer->ring + at / 4 * 4);
		__atomic_fetch_xor(word, 1u << (r >> 3) % 32, __ATOMIC_RELAXED);
		__atomic_store_n(&vandal->begun, true, __ATOMIC_RELAXED);
	}
	return NULL;
}

static bool is_expected(result outcome)
{
	return outcome == OK || outcome == QUEUE_EMPTY || outcome == QUEUE_CORRUPT || outcome == QUEUE_BAD_TYPE ||
	       outcome == QUEUE_BAD_CREDIT || outcome == QUEUE_REPLAY || outcome == QUEUE_FULL || outcome == TIMED_OUT ||
	       outcome == PEER_CLOSED || outcome == QUEUE_POISONED || outcome == ILLEGAL_STATE;
}

static void flips_at_any_time(void **state)
{
	unsigned poisoned = 0;
	for (unsigned round = 0; round < 100; round++) {
		struct raw peer;
		struct ipq *victim = raw_victim(&peer, IPQ_AP, GEN);
		struct vandal vandal = {.peer = &peer, .random = round * 7919 + 1};
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, flip_without_end, &vandal), 0);
		uint64_t end = soon();
		while (!__atomic_load_n(&vandal.begun, __ATOMIC_RELAXED))
			assert_true(clock_monotonic_ns() < end);
		for (uint64_t i = 0; i < 5000 && ipq_poisoned(victim) == OK; i++) {
			raw_send(&peer, IPQ_HEALTH, GEN << 40 | (i + 1), span_str("flip me"));
			result outcome = i % 64 == 63 ? ipq_receive(victim, &message, in_ms(1))
						    : ipq_try_receive(victim, &message);
			assert_true(is_expected(outcome));
			if (outcome == OK) {
				assert_true(message.len <= IPQ_PAYLOAD_MAX && host_may_send(message.type));
				assert_true(is_expected(ipq_reply(victim, message.id, SPAN_EMPTY, 0)));
			}
			assert_true(is_expected(ipq_try_event(victim, SPAN_EMPTY)));
		}
		__atomic_store_n(&vandal.stop, true, __ATOMIC_RELAXED);
		assert_int_equal(pthread_join(thread, NULL), 0);
		poisoned += ipq_poisoned(victim) != OK;

		/* The victim's own ring is what it always is: whole messages under rising sequence numbers. */
		uint64_t slots = ipq_counters(victim).sent + 1; /* HELLO_REPLY took two */
		for (uint64_t i = slots > 2048 ? slots - 2048 : 0; i < slots; i++)
			assert_true(little(peer.victim + 4096 + i % 2048 * 64, 8) == i + 1);
		ipq_free(&victim);
		raw_close(&peer);
	}
	assert_true(poisoned > 0);
}

int test_ipq_flip(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_bit_of_the_slots),
		cmocka_unit_test(every_byte_of_the_ring),
		cmocka_unit_test(every_bit_of_the_words_in_the_head),
		cmocka_unit_test(flips_at_any_time),
	};
	return cmocka_run_group_tests_name("ipq with every shared byte flipped", tests, NULL, NULL);
}
