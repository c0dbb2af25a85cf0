#include "ipq_raw.h"

#include "base/clock.h"
#include "object/object.h"
#include "root/ipq_sealed.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

uint64_t in_ms(unsigned ms)
{
	return clock_monotonic_ns() + ms * UINT64_C(1000000);
}

uint64_t soon(void)
{
	return in_ms(20000);
}

void raw_set64(uint8_t *at, uint64_t value)
{
	__atomic_store_n((uint64_t *)(void *)at, value, __ATOMIC_RELEASE);
}

void raw_set32(uint8_t *at, uint32_t value)
{
	__atomic_store_n((uint32_t *)(void *)at, value, __ATOMIC_RELEASE);
}

uint64_t raw_get64(const uint8_t *at)
{
	return __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

uint8_t *raw_slot(const struct raw *raw, uint64_t position)
{
	return raw->ring + 4096 + position % 2048 * 64;
}

void raw_open(struct raw *raw, enum ipq_role role)
{
	*raw = (struct raw){.role = role};
	raw->fd = memfd_create("raw", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(raw->fd >= 0);
	assert_int_equal(ftruncate(raw->fd, IPQ_RING_SIZE), 0);
	raw->ring = mmap(NULL, IPQ_RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, raw->fd, 0);
	assert_ptr_not_equal(raw->ring, MAP_FAILED);
	memcpy(raw->ring, "troth-q1\1\0", 10);
	raw->ring[10] = (uint8_t)role;
	raw->ring[11] = 0;
	memcpy(raw->ring + 12, "\0\x08\0\0", 4);
	assert_int_equal(fcntl(raw->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL),
			 0);
}

void raw_close(struct raw *raw)
{
	munmap(raw->ring, IPQ_RING_SIZE);
	if (raw->victim)
		munmap((void *)(uintptr_t)raw->victim, IPQ_RING_SIZE);
	close(raw->fd);
}

uint64_t raw_slots(size_t len)
{
	return len <= 40 ? 1 : 1 + (len - 40 + 55) / 56;
}

/* Bytes are put with atomic stores, because the victim may look at the same time. */
static void put_bytes(uint8_t *at, struct span from, size_t room)
{
	for (size_t i = 0; i < room; i++)
		__atomic_store_n(at + i, i < from.len ? from.data[i] : 0, __ATOMIC_RELAXED);
}

static struct span cut(struct span *rest, size_t n)
{
	struct span head = {rest->data, rest->len < n ? rest->len : n};
	rest->data = head.len ? rest->data + head.len : rest->data;
	rest->len -= head.len;
	return head;
}

void raw_write(struct raw *raw, unsigned type, uint64_t id, struct span payload, uint64_t slots)
{
	uint8_t *slot = raw_slot(raw, raw->produced);
	raw_set64(slot + 8, (uint64_t)type | (uint64_t)payload.len << 32);
	raw_set64(slot + 16, id);
	put_bytes(slot + 24, cut(&payload, 40), 40);
	for (uint64_t i = 1; i < slots; i++) {
		slot = raw_slot(raw, raw->produced + i);
		put_bytes(slot + 8, cut(&payload, 56), 56);
		raw_set64(slot, raw->produced + i + 1);
	}
}

void raw_publish(struct raw *raw, uint64_t slots)
{
	raw_set64(raw_slot(raw, raw->produced), raw->produced + 1);
	raw->produced += slots;
}

void raw_send(struct raw *raw, unsigned type, uint64_t id, struct span payload)
{
	uint64_t slots = raw_slots(payload.len);
	raw_write(raw, type, id, payload, slots);
	raw_publish(raw, slots);
}

void raw_ring_bell(struct raw *raw)
{
	uint32_t *bell = (uint32_t *)(void *)(raw->ring + 68);
	__atomic_fetch_add(bell, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void *greet_as_host(void *queue)
{
	uint64_t boot_gen;
	return (void *)(intptr_t)ipq_greet(queue, soon(), &boot_gen);
}

struct greeting {
	struct ipq *queue;
	uint64_t boot_gen;
};

static void *greet_as_ap(void *context)
{
	struct greeting *greeting = context;
	return (void *)(intptr_t)ipq_greet_reply(greeting->queue, greeting->boot_gen, soon());
}

static void wait_slot(const struct raw *raw)
{
	uint64_t end = soon();
	while (raw_get64(raw->victim + 4096) != 1)
		assert_true(clock_monotonic_ns() < end);
}

static void put_be64(uint8_t *at, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		at[i] = (uint8_t)(value >> (56 - 8 * i));
}

struct ipq *raw_victim(struct raw *raw, enum ipq_role role, uint64_t boot_gen)
{
	struct ipq *queue = NULL;
	raw_open(raw, role == IPQ_HOST ? IPQ_AP : IPQ_HOST);
	assert_int_equal(ipq_create(role, &queue), OK);
	assert_int_equal(ipq_attach(queue, raw->fd), OK);
	raw->victim = mmap(NULL, IPQ_RING_SIZE, PROT_READ, MAP_SHARED, ipq_fd(queue), 0);
	assert_ptr_not_equal(raw->victim, MAP_FAILED);

	pthread_t thread;
	struct greeting greeting = {queue, boot_gen};
	uint8_t body[44] = {1, 0, 0, 0};
	if (role == IPQ_HOST) {
		assert_int_equal(pthread_create(&thread, NULL, greet_as_host, queue), 0);
		wait_slot(raw);
		put_be64(body + 4, boot_gen);
		for (size_t i = 0; i < 32; i += 4) {
			uint32_t word = __atomic_load_n(
				(const uint32_t *)(const void *)(raw->victim + 4096 + 24 + 4 + i), __ATOMIC_RELAXED);
			memcpy(body + 12 + i, &word, 4);
		}
		raw_send(raw, IPQ_HELLO_REPLY, 0, span_of(body, 44));
	} else {
		assert_int_equal(pthread_create(&thread, NULL, greet_as_ap, &greeting), 0);
		raw_send(raw, IPQ_HELLO, 0, span_of(body, 36));
	}
	raw_ring_bell(raw);
	void *outcome;
	assert_int_equal(pthread_join(thread, &outcome), 0);
	assert_int_equal((intptr_t)outcome, OK);
	return queue;
}

void pair_open(struct ipq **out_host, struct ipq **out_ap, uint64_t boot_gen)
{
	struct ipq *host = NULL, *ap = NULL;
	assert_int_equal(ipq_create(IPQ_HOST, &host), OK);
	assert_int_equal(ipq_create(IPQ_AP, &ap), OK);
	assert_int_equal(ipq_attach(host, ipq_fd(ap)), OK);
	assert_int_equal(ipq_attach(ap, ipq_fd(host)), OK);
	pthread_t thread;
	struct greeting greeting = {ap, boot_gen};
	assert_int_equal(pthread_create(&thread, NULL, greet_as_ap, &greeting), 0);
	uint64_t told = 0;
	assert_int_equal(ipq_greet(host, soon(), &told), OK);
	assert_true(told == boot_gen);
	void *outcome;
	assert_int_equal(pthread_join(thread, &outcome), 0);
	assert_int_equal((intptr_t)outcome, OK);
	*out_host = host;
	*out_ap = ap;
}

/* ---- profile sealed ---- */

static const char a_record[] = "a record";

result sealed_sign(void *context, struct queue_hello *hello, struct bytes *out_record, struct bytes *out_object)
{
	const struct sealed_side *side = context;
	if (!side->rooted)
		return OK;
	memcpy(hello->epoch_oid, side->epoch_oid, sizeof hello->epoch_oid);
	TRY(bytes_copy(span_str(a_record), out_record));
	return object_sign(KIND_QUEUE_HELLO, hello, &side->key, out_object, NULL);
}

result sealed_judge(void *context, const struct queue_hello *hello, struct span record, struct span object)
{
	struct sealed_side *side = context;
	side->judged++;
	if (!side->rooted)
		return record.len == 0 && object.len == 0 ? OK : AP_UNTRUSTED;
	if (!span_equal_str(record, a_record))
		return AP_UNTRUSTED;
	return ipq_hello_verify(hello, object, &side->key, side->epoch_oid);
}

static void *sealed_greet_as_ap(void *context)
{
	struct sealed_greeting *g = context;
	g->ap_greeted = ipq_greet_reply_sealed(g->ap, g->boot_gen, soon(), sealed_sign, g->ap_side);
	return NULL;
}

void sealed_create(struct sealed_greeting *g)
{
	assert_int_equal(ipq_create_sealed(IPQ_HOST, SPAN_ARRAY(g->host_side->pairing), &g->host), OK);
	assert_int_equal(ipq_create_sealed(IPQ_AP, SPAN_ARRAY(g->ap_side->pairing), &g->ap), OK);
}

void sealed_greet(struct sealed_greeting *g)
{
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, sealed_greet_as_ap, g), 0);
	g->host_greeted = ipq_greet_sealed(g->host, soon(), sealed_judge, g->host_side, &g->told);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ---- somebody on the way ---- */

const uint8_t *way_slot(const uint8_t *ring, uint64_t position)
{
	return ring + IPQ_HEAD_SIZE + position % IPQ_SLOTS * IPQ_SLOT_SIZE;
}

/* Copies a slot word by word, its sequence number last. */
void way_put_slot(struct raw *raw, uint64_t position, const uint8_t *from)
{
	uint8_t *to = raw_slot(raw, position);
	for (int i = 7; i >= 0; i--)
		raw_set64(to + 8 * i, raw_get64(from + 8 * i));
}

void way_pass(struct raw *to, const uint8_t *ring, uint64_t *passed)
{
	uint64_t end = *passed;
	raw_set64(to->ring + 128, raw_get64(ring + 128));
	raw_set32(to->ring + 72, (uint32_t)raw_get64(ring + 72));
	while (raw_get64(way_slot(ring, end)) == end + 1)
		end++;
	/* A message's first slot is published last, so back to front. */
	for (uint64_t at = end; at > *passed; at--)
		way_put_slot(to, at - 1, way_slot(ring, at - 1));
	if (end != *passed)
		raw_ring_bell(to);
	*passed = end;
	to->produced = end;
}

static void way_open(struct way *way, struct sealed_greeting greeting)
{
	*way = (struct way){.g = greeting};
	raw_open(&way->to_ap, IPQ_HOST);
	raw_open(&way->to_host, IPQ_AP);
	if (greeting.host_side) {
		sealed_create(&way->g);
		way->to_ap.ring[9] = way->to_host.ring[9] = 1;
	} else {
		assert_int_equal(ipq_create(IPQ_HOST, &way->g.host), OK);
		assert_int_equal(ipq_create(IPQ_AP, &way->g.ap), OK);
	}
	assert_int_equal(ipq_attach(way->g.host, way->to_host.fd), OK);
	assert_int_equal(ipq_attach(way->g.ap, way->to_ap.fd), OK);
	way->host_ring = mmap(NULL, IPQ_RING_SIZE, PROT_READ, MAP_SHARED, ipq_fd(way->g.host), 0);
	way->ap_ring = mmap(NULL, IPQ_RING_SIZE, PROT_READ, MAP_SHARED, ipq_fd(way->g.ap), 0);
	assert_ptr_not_equal(way->host_ring, MAP_FAILED);
	assert_ptr_not_equal(way->ap_ring, MAP_FAILED);
}

struct carrier {
	struct way *way;
	bool stop;
};

static void *carry(void *context)
{
	struct carrier *carrier = context;
	while (!__atomic_load_n(&carrier->stop, __ATOMIC_ACQUIRE)) {
		way_pass(&carrier->way->to_ap, carrier->way->host_ring, &carrier->way->passed_to_ap);
		way_pass(&carrier->way->to_host, carrier->way->ap_ring, &carrier->way->passed_to_host);
	}
	return NULL;
}

static void *local_greet_as_ap(void *context)
{
	struct sealed_greeting *g = context;
	g->ap_greeted = ipq_greet_reply(g->ap, g->boot_gen, soon());
	return NULL;
}

static void local_greet(struct sealed_greeting *g)
{
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, local_greet_as_ap, g), 0);
	g->host_greeted = ipq_greet(g->host, soon(), &g->told);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

void way_open_greeted(struct way *way, struct sealed_greeting greeting)
{
	pthread_t thread;
	way_open(way, greeting);
	struct carrier carrier = {.way = way};
	assert_int_equal(pthread_create(&thread, NULL, carry, &carrier), 0);
	if (greeting.host_side)
		sealed_greet(&way->g);
	else
		local_greet(&way->g);
	__atomic_store_n(&carrier.stop, true, __ATOMIC_RELEASE);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(way->g.host_greeted, OK);
	assert_int_equal(way->g.ap_greeted, OK);
}

void way_close(struct way *way)
{
	munmap((void *)(uintptr_t)way->host_ring, IPQ_RING_SIZE);
	munmap((void *)(uintptr_t)way->ap_ring, IPQ_RING_SIZE);
	ipq_free(&way->g.host);
	ipq_free(&way->g.ap);
	raw_close(&way->to_ap);
	raw_close(&way->to_host);
}
