/*
 * Profile sealed: known answers, two proper ends, and somebody on the way between them who sees and changes every byte.
 * docs/PROTOCOL.ipq section 8 has the vectors; tests/outside/test_ipq.py computes them from the page alone.
 */
#include "../expect.h"

#include "groups.h"
#include "ipq_raw.h"

#include "base/clock.h"
#include "root/ipq_sealed.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct ipq_message message, answer; /* 64 KiB each: kept off the stack */

/* ---- known answers ---- */

static const char HELLO_HEX[] =
	"01010000414141414141414141414141414141414141414141414141414141414141414104515c3d6eb9e396b904d3feca7f54fdcd0cc1e997bf375dca"
	"515ad0a6c3b4035f4536be3a50f318fbf9a5475902a221502bef0d57e08c53b2cc0a56f17d9f9354";
static const char REPLY_HEX[] =
	"01010000000000000000000741414141414141414141414141414141414141414141414141414141414141414242424242424242424242424242424242"
	"424242424242424242424242424242041f140146bfb1b251f84f4ddbe0d4cdcfd77afd984a9520e35794021f8312bb9eec995a08b1fa7704df3dcc0b50"
	"a9665263fb7711f95f9f8a449c5096e47c892b000000000000000000859343f008e83974f79ba526071afc0a7b3a6f76cd9500060ba2902edd4ba98f";
static const char HOST_SLOT_HEX[] = "0400000000000000140001001500000001000000000700009b839336aad5bdfbb8f52829e79b0bbc5363f22f17";
static const char AP_SLOT_HEX[] = "050000000000000015000100100000000100000000070000b805ae5ca6929743c38aa0c4cdc96df1";

static size_t unhex(const char *hex, uint8_t *out)
{
	size_t len = strlen(hex) / 2;
	for (size_t i = 0; i < len; i++) {
		unsigned value;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
		out[i] = (uint8_t)value;
	}
	return len;
}

static void use_scalar(struct ipq_sealed *sealed, uint8_t first, uint8_t nonce_byte)
{
	uint8_t scalar[SCALAR_SIZE];
	for (size_t i = 0; i < sizeof scalar; i++)
		scalar[i] = (uint8_t)(first + i);
	key_free(&sealed->ephemeral);
	expect_ok(key_from_scalar(SPAN_ARRAY(scalar), &sealed->ephemeral));
	memset(sealed->role == IPQ_HOST ? sealed->hello.host_nonce : sealed->hello.ap_nonce, nonce_byte, IPQ_NONCE_SIZE);
	memcpy(sealed->role == IPQ_HOST ? sealed->hello.host_point : sealed->hello.ap_point, sealed->ephemeral.point, POINT_SIZE);
}

static void known_answers(void **state)
{
	CLEANUP(ipq_sealed_free) struct ipq_sealed *host = NULL;
	CLEANUP(ipq_sealed_free) struct ipq_sealed *ap = NULL;
	CLEANUP(bytes_free) struct bytes reply = BYTES_EMPTY;
	struct sealed_side side = {0};
	uint8_t pairing[32], hello[IPQ_SEALED_HELLO_SIZE], expected[256], cipher[64], plain[64];
	uint64_t boot_gen = 0;
	for (size_t i = 0; i < sizeof pairing; i++)
		pairing[i] = (uint8_t)(0x80 + i);
	expect_ok(ipq_sealed_new(IPQ_HOST, SPAN_ARRAY(pairing), &host));
	expect_ok(ipq_sealed_new(IPQ_AP, SPAN_ARRAY(pairing), &ap));
	expect_ok(ipq_sealed_hello(host, hello));
	use_scalar(host, 0x01, 0x41);
	use_scalar(ap, 0x21, 0x42);

	size_t len = unhex(HELLO_HEX, expected);
	assert_int_equal(len, sizeof hello);
	expect_ok(ipq_sealed_answer(ap, span_of(expected, len), 7, sealed_sign, &side, &reply));
	len = unhex(REPLY_HEX, expected);
	expect_span(bytes_span(&reply), span_of(expected, len));
	expect_ok(ipq_sealed_finish(host, bytes_span(&reply), sealed_judge, &side, &boot_gen));
	assert_true(boot_gen == 7);
	assert_true(ipq_sealed_ready(host) && ipq_sealed_ready(ap));
	/* What only the greeting needed is gone. */
	assert_null(host->pairing.data);
	assert_null(host->ephemeral.pkey);

	uint64_t head[3];
	len = unhex(HOST_SLOT_HEX, expected);
	memcpy(head, expected, sizeof head);
	expect_ok(ipq_sealed_seal(host, head, span_str("Troth"), cipher));
	assert_memory_equal(cipher, expected + 24, len - 24);
	expect_ok(ipq_sealed_open(ap, head, span_of(cipher, len - 24), plain));
	assert_memory_equal(plain, "Troth", 5);
	expect(ipq_sealed_open(host, head, span_of(expected + 24, len - 24), plain), BAD_TAG); /* reflected */

	len = unhex(AP_SLOT_HEX, expected);
	memcpy(head, expected, sizeof head);
	expect_ok(ipq_sealed_seal(ap, head, SPAN_EMPTY, cipher));
	assert_memory_equal(cipher, expected + 24, len - 24);
	expect_ok(ipq_sealed_open(host, head, span_of(cipher, len - 24), plain));

	expect(ipq_sealed_hello(host, hello), ILLEGAL_STATE);
	expect(ipq_sealed_finish(host, bytes_span(&reply), sealed_judge, &side, &boot_gen), ILLEGAL_STATE);
	expect(ipq_sealed_new(IPQ_HOST, span_of(pairing, 31), &host), BAD_KEY);
}

/* ---- greetings ---- */

static struct sealed_side left, right;

static int make_sides(void **state)
{
	left = (struct sealed_side){.rooted = true, .key = KEY_EMPTY};
	memset(left.pairing, 0x5a, sizeof left.pairing);
	memset(left.epoch_oid, 0xe1, sizeof left.epoch_oid);
	expect_ok(key_generate(&left.key));
	right = left;
	right.key = key_ref(&left.key);
	return 0;
}

static int free_sides(void **state)
{
	key_free(&left.key);
	key_free(&right.key);
	return 0;
}

static void join(struct sealed_greeting *g)
{
	sealed_create(g);
	expect_ok(ipq_attach(g->host, ipq_fd(g->ap)));
	expect_ok(ipq_attach(g->ap, ipq_fd(g->host)));
}

static void part(struct sealed_greeting *g)
{
	ipq_free(&g->host);
	ipq_free(&g->ap);
}

static struct sealed_greeting greeting(uint64_t boot_gen)
{
	return (struct sealed_greeting){.host_side = &left, .ap_side = &right, .boot_gen = boot_gen};
}

static void greet_well(struct sealed_greeting *g)
{
	join(g);
	sealed_greet(g);
	expect_ok(g->host_greeted);
	expect_ok(g->ap_greeted);
	assert_true(g->told == g->boot_gen);
	assert_int_equal(ipq_profile(g->host), IPQ_PROFILE_SEALED);
}

static void before_there_is_a_root(void **state)
{
	struct sealed_greeting g = greeting(1);
	left.rooted = right.rooted = false;
	greet_well(&g);
	assert_int_equal(left.judged, 1); /* the host is asked, and told that nothing was signed */
	part(&g);

	/* An AP that has lost its root, or hides it, does not pass for one. */
	left.rooted = true;
	g = greeting(1);
	join(&g);
	sealed_greet(&g);
	expect(g.host_greeted, AP_UNTRUSTED);
	assert_int_equal(ipq_poisoned(g.host), QUEUE_HELLO);
	part(&g);
}

/* The pairing secret authenticates: neither end goes on with somebody who has another. */
static void another_pairing_secret(void **state)
{
	for (size_t at = 0; at < IPQ_PAIRING_SIZE; at += 31) {
		struct sealed_greeting g = greeting(4);
		right.pairing[at] ^= 1;
		join(&g);
		sealed_greet(&g);
		expect(g.host_greeted, QUEUE_HELLO);
		assert_int_equal(left.judged, 0);
		assert_int_equal(ipq_poisoned(g.host), QUEUE_HELLO);
		expect(ipq_try_receive(g.host, &message), QUEUE_POISONED);
		part(&g);
		right.pairing[at] ^= 1;
	}
}

/* A host without the pairing secret that ignores the confirmation gets nothing done: its first request does not open. */
static void a_host_that_does_not_know_the_secret(void **state)
{
	CLEANUP(ipq_sealed_free) struct ipq_sealed *host = NULL;
	CLEANUP(ipq_sealed_free) struct ipq_sealed *ap = NULL;
	CLEANUP(bytes_free) struct bytes reply = BYTES_EMPTY;
	uint8_t hello[IPQ_SEALED_HELLO_SIZE], cipher[32];
	uint64_t head[3] = {4, IPQ_HEALTH | 1 << 16 | UINT64_C(16) << 32, 1}, boot_gen;
	right.pairing[5] ^= 0x10;
	expect_ok(ipq_sealed_new(IPQ_HOST, SPAN_ARRAY(left.pairing), &host));
	expect_ok(ipq_sealed_new(IPQ_AP, SPAN_ARRAY(right.pairing), &ap));
	expect_ok(ipq_sealed_hello(host, hello));
	expect_ok(ipq_sealed_answer(ap, SPAN_ARRAY(hello), 3, sealed_sign, &right, &reply));
	expect(ipq_sealed_finish(host, bytes_span(&reply), sealed_judge, &left, &boot_gen), QUEUE_HELLO);
	assert_false(ipq_sealed_ready(host));
	/* With any key but the right one. */
	expect_ok(aead_init_seal(&host->seal, left.pairing));
	host->boot_gen = 3;
	expect_ok(ipq_sealed_seal(host, head, SPAN_EMPTY, cipher));
	expect(ipq_sealed_open(ap, head, span_of(cipher, 16), cipher), BAD_TAG);
}

static void another_signer(void **state)
{
	struct sealed_greeting g = greeting(4);
	key_free(&right.key);
	expect_ok(key_generate(&right.key));
	join(&g);
	sealed_greet(&g);
	expect(g.host_greeted, BAD_SIGNATURE);
	assert_int_equal(ipq_poisoned(g.host), QUEUE_HELLO);
	part(&g);

	free_sides(NULL);
	make_sides(NULL);
	right.epoch_oid[3] ^= 1; /* the right key in another epoch's name */
	g = greeting(4);
	join(&g);
	sealed_greet(&g);
	expect(g.host_greeted, QUEUE_HELLO);
	part(&g);
}

/* Every bit of both greetings, and each of them cut or lengthened: one end or the other refuses. */
static void every_bit_of_the_greeting(void **state)
{
	CLEANUP(ipq_sealed_free) struct ipq_sealed *host = NULL;
	CLEANUP(bytes_free) struct bytes reply = BYTES_EMPTY;
	uint8_t hello[IPQ_SEALED_HELLO_SIZE], changed[1024];
	uint64_t boot_gen;
	expect_ok(ipq_sealed_new(IPQ_HOST, SPAN_ARRAY(left.pairing), &host));
	expect_ok(ipq_sealed_hello(host, hello));
	{
		CLEANUP(ipq_sealed_free) struct ipq_sealed *ap = NULL;
		expect_ok(ipq_sealed_new(IPQ_AP, SPAN_ARRAY(right.pairing), &ap));
		expect_ok(ipq_sealed_answer(ap, SPAN_ARRAY(hello), 9, sealed_sign, &right, &reply));
	}
	assert_true(reply.len < sizeof changed);
	for (size_t bit = 0; bit < 8 * reply.len; bit++) {
		memcpy(changed, reply.data, reply.len);
		changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(ipq_sealed_finish(host, span_of(changed, reply.len), sealed_judge, &left, &boot_gen), OK);
		assert_false(ipq_sealed_ready(host));
	}
	for (size_t len = 0; len <= reply.len + 1; len++)
		if (len != reply.len) {
			memcpy(changed, reply.data, reply.len);
			changed[reply.len] = 0;
			expect(ipq_sealed_finish(host, span_of(changed, len), sealed_judge, &left, &boot_gen), QUEUE_HELLO);
		}
	/* A change of HELLO shows at the host, whose own it then no longer is. */
	for (size_t bit = 0; bit < 8 * sizeof hello; bit += 3) {
		CLEANUP(ipq_sealed_free) struct ipq_sealed *ap = NULL;
		CLEANUP(bytes_free) struct bytes other = BYTES_EMPTY;
		memcpy(changed, hello, sizeof hello);
		changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		expect_ok(ipq_sealed_new(IPQ_AP, SPAN_ARRAY(right.pairing), &ap));
		if (ipq_sealed_answer(ap, span_of(changed, sizeof hello), 9, sealed_sign, &right, &other) == OK)
			assert_int_not_equal(ipq_sealed_finish(host, bytes_span(&other), sealed_judge, &left, &boot_gen), OK);
	}
	expect_ok(ipq_sealed_finish(host, bytes_span(&reply), sealed_judge, &left, &boot_gen));
	assert_true(boot_gen == 9);
}

/* What was recorded of one greeting is of no use in the next. */
static void a_recorded_answer(void **state)
{
	CLEANUP(bytes_free) struct bytes reply = BYTES_EMPTY;
	for (int round = 0; round < 2; round++) {
		CLEANUP(ipq_sealed_free) struct ipq_sealed *host = NULL;
		CLEANUP(ipq_sealed_free) struct ipq_sealed *ap = NULL;
		uint8_t hello[IPQ_SEALED_HELLO_SIZE];
		uint64_t boot_gen;
		expect_ok(ipq_sealed_new(IPQ_HOST, SPAN_ARRAY(left.pairing), &host));
		expect_ok(ipq_sealed_new(IPQ_AP, SPAN_ARRAY(right.pairing), &ap));
		expect_ok(ipq_sealed_hello(host, hello));
		if (round == 0)
			expect_ok(ipq_sealed_answer(ap, SPAN_ARRAY(hello), 2, sealed_sign, &right, &reply));
		expect(ipq_sealed_finish(host, bytes_span(&reply), sealed_judge, &left, &boot_gen), round == 0 ? OK : QUEUE_HELLO);
	}
}

static void no_profile_but_the_one_it_was_made_for(void **state)
{
	struct ipq *sealed = NULL, *local = NULL;
	struct raw liar;
	uint64_t boot_gen;
	for (enum ipq_role role = IPQ_HOST; role <= IPQ_AP; role++) {
		enum ipq_role other = role == IPQ_HOST ? IPQ_AP : IPQ_HOST;
		expect_ok(ipq_create_sealed(role, SPAN_ARRAY(left.pairing), &sealed));
		expect_ok(ipq_create(other, &local));
		expect(ipq_attach(sealed, ipq_fd(local)), QUEUE_HELLO); /* downgrade */
		expect(ipq_attach(local, ipq_fd(sealed)), QUEUE_HELLO);
		ipq_free(&local);

		/* A ring that says sealed, with slots and greetings that say local. */
		raw_open(&liar, other);
		liar.ring[9] = 1;
		expect_ok(ipq_attach(sealed, liar.fd));
		expect(ipq_greet(sealed, soon(), &boot_gen), ILLEGAL_STATE);
		expect(ipq_greet_reply(sealed, 1, soon()), ILLEGAL_STATE);
		static const uint8_t body[44] = {1};
		raw_send(&liar, role == IPQ_HOST ? IPQ_HELLO_REPLY : IPQ_HELLO, 0, span_of(body, role == IPQ_HOST ? 44 : 36));
		if (role == IPQ_HOST)
			expect(ipq_greet_sealed(sealed, soon(), sealed_judge, &left, &boot_gen), QUEUE_CORRUPT);
		else
			expect(ipq_greet_reply_sealed(sealed, 1, soon(), sealed_sign, &left), QUEUE_CORRUPT);
		ipq_free(&sealed);
		raw_close(&liar);
	}
}

/* ---- two proper ends ---- */

static void fill(uint8_t *data, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(1 + (i * 31 + seed) % 255);
}

static void all_sizes_arrive_whole(void **state)
{
	static const size_t sizes[] = {0, 1, 7, 8, 23, 24, 25, 39, 40, 80, 81, 4096, 65535, 65536};
	static uint8_t data[IPQ_PAYLOAD_MAX + 1];
	struct sealed_greeting g = greeting(7);
	greet_well(&g);
	for (unsigned lap = 0; lap < 6; lap++)
		for (size_t i = 0; i < COUNT_OF(sizes); i++) {
			fill(data, sizes[i], lap + (unsigned)i);
			expect_ok(ipq_try_event(g.ap, span_of(data, sizes[i])));
			expect_ok(ipq_try_receive(g.host, &message));
			assert_int_equal(message.type, IPQ_EVENT);
			expect_span(ipq_payload(&message), span_of(data, sizes[i]));
		}
	expect(ipq_try_event(g.ap, SPAN_ARRAY(data)), TOO_LARGE);
	uint64_t id;
	expect_ok(ipq_try_request(g.host, IPQ_SEAL, span_of(data, 100), &id));
	expect_ok(ipq_try_receive(g.ap, &message));
	expect_span(ipq_payload(&message), span_of(data, 100));
	expect_ok(ipq_reply_error(g.ap, id, NO_MEMORY, "none", soon()));
	expect_ok(ipq_try_receive(g.host, &message));
	expect(ipq_error_of(&message), NO_MEMORY);
	part(&g);
}

/* The words of a message are nowhere in the ring. */
static void nothing_lies_open_in_the_ring(void **state)
{
	struct sealed_greeting g = greeting(7);
	static const char words[] = "nobody on the way may read this";
	uint64_t id;
	greet_well(&g);
	const uint8_t *ring = mmap(NULL, IPQ_RING_SIZE, PROT_READ, MAP_SHARED, ipq_fd(g.host), 0);
	assert_ptr_not_equal(ring, MAP_FAILED);
	expect_ok(ipq_try_request(g.host, IPQ_SEAL, span_str(words), &id));
	expect_ok(ipq_try_receive(g.ap, &message));
	assert_true(span_equal_str(ipq_payload(&message), words));
	assert_null(memmem(ring, IPQ_RING_SIZE, words, 8));
	munmap((void *)(uintptr_t)ring, IPQ_RING_SIZE);
	part(&g);
}

static void *serve_sealed(void *ap)
{
	for (;;) {
		if (ipq_receive(ap, &message, soon()) != OK)
			return NULL;
		if (message.type == IPQ_ATTEST && ipq_event(ap, ipq_payload(&message), soon()) != OK)
			return NULL;
		if (ipq_reply(ap, message.id, ipq_payload(&message), soon()) != OK || message.type == IPQ_SHUTDOWN)
			return NULL;
	}
}

static void count_event(void *context, struct span payload)
{
	*(unsigned *)context += 1;
}

static void two_threads(void **state)
{
	static uint8_t data[3000];
	for (int spinning = 0; spinning < 2; spinning++) {
		struct sealed_greeting g = greeting(7);
		unsigned events = 0, attests = 0;
		pthread_t thread;
		greet_well(&g);
		ipq_set_spin(g.host, spinning ? IPQ_SPIN_NS : 0);
		ipq_set_spin(g.ap, spinning ? IPQ_SPIN_NS : 0);
		assert_int_equal(pthread_create(&thread, NULL, serve_sealed, g.ap), 0);
		for (unsigned i = 0; i < 2000; i++) {
			size_t len = i % 50 == 0 ? i % sizeof data : i % 41;
			fill(data, len, i);
			attests += i % 7 == 0;
			expect_ok(ipq_call(g.host, i % 7 == 0 ? IPQ_ATTEST : IPQ_HEALTH, span_of(data, len), soon(), count_event, &events, &answer));
			expect_span(ipq_payload(&answer), span_of(data, len));
		}
		assert_int_equal(events, attests);
		expect_ok(ipq_call(g.host, IPQ_SHUTDOWN, SPAN_EMPTY, soon(), NULL, NULL, &answer));
		assert_int_equal(pthread_join(thread, NULL), 0);
		part(&g);
	}
}

/* ---- somebody on the way ---- */

/* Four requests: empty, short, one that fills a slot with its tag, several slots. */
static uint64_t send_sample(struct way *way, uint64_t first[static 5])
{
	static uint8_t data[200];
	static const size_t sizes[] = {0, 8, 24, 200};
	uint64_t id;
	fill(data, sizeof data, 5);
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		first[i] = i == 0 ? way->passed_to_ap : first[i - 1] + raw_slots(sizes[i - 1] + 16);
		expect_ok(ipq_try_request(way->g.host, i % 2 ? IPQ_ATTEST : IPQ_SEAL, span_of(data, sizes[i]), &id));
	}
	first[4] = first[3] + raw_slots(216);
	return first[4] - first[0];
}

static unsigned receive_all(struct ipq *end, bool answer_each)
{
	unsigned taken = 0;
	while (ipq_try_receive(end, &message) == OK) {
		taken++;
		if (answer_each)
			expect_ok(ipq_reply(end, message.id, ipq_payload(&message), soon()));
	}
	return taken;
}

static bool is_violation(enum reason reason)
{
	return reason == QUEUE_CORRUPT || reason == QUEUE_BAD_TYPE || reason == QUEUE_REPLAY;
}

/* A greeted AP whose host is this test itself: one thread, so that it can be had thousands of times. */
static struct ipq *sealed_victim(struct raw *peer, struct ipq_sealed **out_keys, uint64_t boot_gen)
{
	struct ipq *victim = NULL;
	uint8_t hello[IPQ_SEALED_HELLO_SIZE], reply[2048];
	uint64_t told;
	raw_open(peer, IPQ_HOST);
	peer->ring[9] = 1;
	expect_ok(ipq_create_sealed(IPQ_AP, SPAN_ARRAY(right.pairing), &victim));
	expect_ok(ipq_attach(victim, peer->fd));
	peer->victim = mmap(NULL, IPQ_RING_SIZE, PROT_READ, MAP_SHARED, ipq_fd(victim), 0);
	assert_ptr_not_equal(peer->victim, MAP_FAILED);
	expect_ok(ipq_sealed_new(IPQ_HOST, SPAN_ARRAY(left.pairing), out_keys));
	expect_ok(ipq_sealed_hello(*out_keys, hello));
	raw_write(peer, IPQ_HELLO, 0, SPAN_ARRAY(hello), raw_slots(sizeof hello));
	raw_slot(peer, peer->produced)[10] = 1;
	raw_publish(peer, raw_slots(sizeof hello));
	expect_ok(ipq_greet_reply_sealed(victim, boot_gen, soon(), sealed_sign, &right));
	size_t len = (size_t)(raw_get64(way_slot(peer->victim, 0) + 8) >> 32), done = 40;
	assert_true(len > 40 && len < sizeof reply);
	memcpy(reply, way_slot(peer->victim, 0) + 24, 40);
	for (uint64_t at = 1; done < len; at++, done += 56)
		memcpy(reply + done, way_slot(peer->victim, at) + 8, len - done < 56 ? len - done : 56);
	expect_ok(ipq_sealed_finish(*out_keys, span_of(reply, len), sealed_judge, &left, &told));
	return victim;
}

static void raw_send_sealed(struct raw *peer, struct ipq_sealed *keys, unsigned type, uint64_t id, struct span payload)
{
	uint8_t cipher[256];
	size_t len = payload.len + AEAD_TAG_SIZE;
	const uint64_t head[3] = {peer->produced + 1, type | 1 << 16 | (uint64_t)len << 32, id};
	expect_ok(ipq_sealed_seal(keys, head, payload, cipher));
	raw_write(peer, type, id, span_of(cipher, len), raw_slots(len));
	raw_slot(peer, peer->produced)[10] = 1;
	raw_publish(peer, raw_slots(len));
}

/* Every bit of every slot of four messages: the message is refused, and the queue with it. */
static void every_bit_of_sealed_slots(void **state)
{
	enum { SLOTS_OF_SAMPLE = 1 + 1 + 1 + 5 };
	static const size_t sizes[] = {0, 8, 24, 200};
	uint8_t data[200];
	fill(data, sizeof data, 5);
	for (unsigned bit = 0; bit < SLOTS_OF_SAMPLE * 512; bit++) {
		struct raw peer;
		struct ipq_sealed *keys = NULL;
		if (bit / 512 >= 4 && bit / 512 <= 6 && bit % 7 != 0)
			continue; /* the middle of the long message: each byte, but not each bit */
		struct ipq *victim = sealed_victim(&peer, &keys, 6);
		uint64_t from = peer.produced;
		for (size_t i = 0; i < COUNT_OF(sizes); i++)
			raw_send_sealed(&peer, keys, i % 2 ? IPQ_ATTEST : IPQ_SEAL, UINT64_C(6) << 40 | (i + 1), span_of(data, sizes[i]));
		assert_int_equal(peer.produced - from, SLOTS_OF_SAMPLE);
		uint8_t *slot = raw_slot(&peer, from + bit / 512);
		slot[bit / 8 % 64] ^= (uint8_t)(1u << bit % 8);
		unsigned hit = bit / 512 < 3 ? bit / 512 : 3;
		assert_int_equal(receive_all(victim, false), hit); /* those before it, and never the one that was touched */
		if (bit / 512 <= 3 && raw_get64(slot) == 0) {
			assert_int_equal(ipq_poisoned(victim), OK); /* a sequence number of 0 says that nothing came yet */
		} else {
			assert_true(is_violation(ipq_poisoned(victim)));
			expect(ipq_try_receive(victim, &message), QUEUE_POISONED);
		}
		ipq_free(&victim);
		ipq_sealed_free(&keys);
		raw_close(&peer);
	}
}

/* The other direction: one bit of each word. */
static void bits_of_sealed_replies(void **state)
{
	struct way way;
	uint64_t first[5];
	for (unsigned word = 0; word < 8 * 8; word++) {
		way_open_greeted(&way, greeting(6));
		(void)send_sample(&way, first);
		way_pass(&way.to_ap, way.host_ring, &way.passed_to_ap);
		assert_int_equal(receive_all(way.g.ap, true), 4);
		uint64_t from = way.passed_to_host;
		way_pass(&way.to_host, way.ap_ring, &way.passed_to_host);
		assert_int_equal(way.passed_to_host - from, 8);
		raw_slot(&way.to_host, from + word / 8)[word % 8 * 8 + word % 7] ^= (uint8_t)(1u << word % 5);
		assert_int_equal(receive_all(way.g.host, false), word / 8 < 3 ? word / 8 : 3);
		if (raw_get64(raw_slot(&way.to_host, from + word / 8)) != 0)
			assert_true(is_violation(ipq_poisoned(way.g.host)));
		way_close(&way);
	}
}

/* A message in another's place, or once more, with every number made to fit: its own place is sealed in. */
static void replay_and_reorder(void **state)
{
	struct way way;
	uint64_t first[5];
	for (int attack = 0; attack < 4; attack++) {
		way_open_greeted(&way, greeting(6));
		(void)send_sample(&way, first);
		way_pass(&way.to_ap, way.host_ring, &way.passed_to_ap);
		const uint8_t *second = way_slot(way.host_ring, first[1]);
		uint8_t *place = raw_slot(&way.to_ap, attack == 3 ? first[0] : first[2]);
		switch (attack) {
		case 0: /* the second message again as the third, under the third's sequence number */
			memcpy(place + 8, second + 8, 56);
			break;
		case 1: /* with the third's id */
			memcpy(place + 8, second + 8, 8);
			memcpy(place + 24, second + 24, 40);
			break;
		case 2: /* as it was, old sequence number and all */
			memcpy(place, second, 64);
			break;
		default: /* the second one first */
			memcpy(place + 8, second + 8, 56);
		}
		assert_int_equal(receive_all(way.g.ap, false), attack == 3 ? 0 : 2);
		assert_int_equal(ipq_poisoned(way.g.ap), QUEUE_CORRUPT);
		way_close(&way);
	}
}

/* IQ-10: slots of an earlier start, where all else is the same: the keys are not. Also a boot_gen that was kept back. */
static void slots_of_an_earlier_start(void **state)
{
	struct way before, after;
	uint64_t first[5];
	for (uint64_t gen = 6; gen <= 7; gen++) {
		way_open_greeted(&before, greeting(6));
		way_open_greeted(&after, greeting(gen));
		assert_int_equal(before.passed_to_ap, after.passed_to_ap);
		(void)send_sample(&before, first);
		for (uint64_t at = first[4]; at > first[0]; at--)
			way_put_slot(&after.to_ap, at - 1, way_slot(before.host_ring, at - 1));
		assert_int_equal(receive_all(after.g.ap, false), 0);
		assert_int_equal(ipq_poisoned(after.g.ap), QUEUE_CORRUPT);
		way_close(&before);
		way_close(&after);
	}
}

/* What one end sent comes back to it, or a request passes for a reply. */
static void reflection(void **state)
{
	struct way way;
	uint64_t first[5];
	way_open_greeted(&way, greeting(6));
	(void)send_sample(&way, first);
	uint64_t at = way.passed_to_host;
	memcpy(raw_slot(&way.to_host, at) + 8, way_slot(way.host_ring, first[0]) + 8, 56);
	raw_slot(&way.to_host, at)[8] = IPQ_SEAL_REPLY;
	raw_set64(raw_slot(&way.to_host, at), at + 1);
	expect(ipq_try_receive(way.g.host, &message), QUEUE_CORRUPT);
	way_close(&way);
}

static void absurd_lengths(void **state)
{
	static const uint32_t lengths[] = {0, 1, 15, 65553, 65536 + 17, 0x80000000, 0xffffffff};
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		struct way way;
		way_open_greeted(&way, greeting(6));
		uint8_t *slot = raw_slot(&way.to_ap, way.passed_to_ap);
		raw_set64(slot + 8, IPQ_HEALTH | 1 << 16 | (uint64_t)lengths[i] << 32);
		raw_set64(slot + 16, UINT64_C(6) << 40 | 1);
		raw_set64(slot, way.passed_to_ap + 1);
		expect(ipq_try_receive(way.g.ap, &message), QUEUE_CORRUPT);
		way_close(&way);
	}
}

/* A second greeting, in the clear as the first was, after the first: no way to start over or to get an answer unsealed. */
static void a_greeting_after_the_greeting(void **state)
{
	struct way way;
	way_open_greeted(&way, greeting(6));
	way_put_slot(&way.to_ap, way.passed_to_ap + 2, way_slot(way.host_ring, 2));
	raw_set64(raw_slot(&way.to_ap, way.passed_to_ap + 2), way.passed_to_ap + 3);
	memcpy(raw_slot(&way.to_ap, way.passed_to_ap) + 8, way_slot(way.host_ring, 0) + 8, 56);
	raw_set64(raw_slot(&way.to_ap, way.passed_to_ap), way.passed_to_ap + 1);
	expect(ipq_try_receive(way.g.ap, &message), QUEUE_BAD_TYPE);
	way_close(&way);
}

struct vandal {
	struct way *way;
	bool stop;
	uint32_t random;
};

static void *flip_and_carry(void *context)
{
	struct vandal *vandal = context;
	while (!__atomic_load_n(&vandal->stop, __ATOMIC_RELAXED)) {
		struct way *way = vandal->way;
		way_pass(&way->to_ap, way->host_ring, &way->passed_to_ap);
		way_pass(&way->to_host, way->ap_ring, &way->passed_to_host);
		vandal->random = vandal->random * 1664525 + 1013904223;
		uint32_t r = vandal->random >> 8;
		if (r % 16 != 0)
			continue;
		uint8_t *ring = r / 64 % 2 ? way->to_ap.ring : way->to_host.ring;
		uint64_t near = r / 64 % 2 ? way->passed_to_ap : way->passed_to_host;
		uint32_t *word = (uint32_t *)(void *)(ring + IPQ_HEAD_SIZE + (near + IPQ_SLOTS - 1 + r / 128 % 2) % IPQ_SLOTS * IPQ_SLOT_SIZE + r / 512 % 16 * 4);
		__atomic_fetch_xor(word, 1u << (r >> 13) % 32, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Flips while both ends work: whatever arrives is what was sent. */
static void flips_on_the_way(void **state)
{
	unsigned poisoned = 0;
	for (unsigned round = 0; round < 20; round++) {
		struct way way;
		way_open_greeted(&way, greeting(6));
		struct vandal vandal = {.way = &way, .random = round * 7919 + 1};
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, flip_and_carry, &vandal), 0);
		uint64_t sent = 0, received = 0, end = in_ms(300);
		while (ipq_poisoned(way.g.ap) == OK && ipq_poisoned(way.g.host) == OK && clock_monotonic_ns() < end) {
			uint64_t id, number;
			if (sent - received < 16 && ipq_try_request(way.g.host, IPQ_HEALTH, span_of(&sent, sizeof sent), &id) == OK)
				sent++;
			if (ipq_try_receive(way.g.ap, &message) == OK) {
				assert_int_equal(message.len, sizeof number);
				memcpy(&number, message.data, sizeof number);
				assert_true(number == received++);
				expect_ok(ipq_reply(way.g.ap, message.id, SPAN_EMPTY, 0));
			}
			(void)!ipq_try_receive(way.g.host, &answer);
		}
		__atomic_store_n(&vandal.stop, true, __ATOMIC_RELAXED);
		assert_int_equal(pthread_join(thread, NULL), 0);
		poisoned += ipq_poisoned(way.g.ap) != OK || ipq_poisoned(way.g.host) != OK;
		way_close(&way);
	}
	assert_true(poisoned > 0);
}

/* The cure of a poisoned queue: new rings, boot_gen + 1, new keys; nothing of the old one is left in the new. */
static void a_new_queue_after_poison(void **state)
{
	struct way way;
	uint64_t first[5];
	way_open_greeted(&way, greeting(6));
	(void)send_sample(&way, first);
	way_pass(&way.to_ap, way.host_ring, &way.passed_to_ap);
	raw_slot(&way.to_ap, first[0])[30] ^= 1;
	expect(ipq_try_receive(way.g.ap, &message), QUEUE_CORRUPT);
	expect(ipq_try_receive(way.g.ap, &message), QUEUE_POISONED);
	way_close(&way);

	struct sealed_greeting g = greeting(7);
	greet_well(&g);
	uint64_t id;
	expect_ok(ipq_try_request(g.host, IPQ_HEALTH, span_str("again"), &id));
	assert_true(id >> 40 == 7);
	expect_ok(ipq_try_receive(g.ap, &message));
	part(&g);
}

#define SIDED(test) cmocka_unit_test_setup_teardown(test, make_sides, free_sides)

int test_ipq_sealed(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		SIDED(before_there_is_a_root),
		SIDED(another_pairing_secret),
		SIDED(a_host_that_does_not_know_the_secret),
		SIDED(another_signer),
		SIDED(every_bit_of_the_greeting),
		SIDED(a_recorded_answer),
		SIDED(no_profile_but_the_one_it_was_made_for),
		SIDED(all_sizes_arrive_whole),
		SIDED(nothing_lies_open_in_the_ring),
		SIDED(two_threads),
		SIDED(every_bit_of_sealed_slots),
		SIDED(bits_of_sealed_replies),
		SIDED(replay_and_reorder),
		SIDED(slots_of_an_earlier_start),
		SIDED(reflection),
		SIDED(absurd_lengths),
		SIDED(a_greeting_after_the_greeting),
		SIDED(flips_on_the_way),
		SIDED(a_new_queue_after_poison),
	};
	return cmocka_run_group_tests_name("ipq, profile sealed", tests, NULL, NULL);
}
