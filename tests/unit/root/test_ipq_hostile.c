/* The queue against a peer that keeps no rule: one test or more per attack IQ-02 .. IQ-10; IQ-01 is in test_ipq_flip.c. */
#include "groups.h"
#include "ipq_raw.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define GEN UINT64_C(9)
#define ID(n) (GEN << 40 | (n))

static struct ipq_message message; /* 64 KiB: kept off the stack */

/* ---- set-up ---- */

struct ring_case {
	int seals;
	off_t size;
	size_t at; /* byte of the head to change, or SIZE_MAX */
	uint8_t value;
	result expected;
};

enum {
	ALL = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL,
};

static int make_ring(const struct ring_case *c, enum ipq_role role)
{
	int fd = memfd_create("case", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, c->size), 0);
	uint8_t head[64] = "troth-q1\1\0";
	head[10] = (uint8_t)role;
	head[13] = 8;
	if (c->at != SIZE_MAX)
		head[c->at] = c->value;
	assert_int_equal(pwrite(fd, head, sizeof head, 0), sizeof head);
	if (c->seals != 0)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, c->seals), 0);
	return fd;
}

static void only_exact_rings_are_attached(void **state)
{
	static const struct ring_case cases[] = {
		{ALL, IPQ_RING_SIZE, SIZE_MAX, 0, OK},
		{0, IPQ_RING_SIZE, SIZE_MAX, 0, QUEUE_UNSEALED},
		{ALL & ~F_SEAL_SHRINK, IPQ_RING_SIZE, SIZE_MAX, 0, QUEUE_UNSEALED},
		{ALL & ~F_SEAL_GROW, IPQ_RING_SIZE, SIZE_MAX, 0, QUEUE_UNSEALED},
		{ALL & ~F_SEAL_FUTURE_WRITE, IPQ_RING_SIZE, SIZE_MAX, 0, QUEUE_UNSEALED},
		{ALL & ~F_SEAL_SEAL, IPQ_RING_SIZE, SIZE_MAX, 0, QUEUE_UNSEALED},
		{ALL | F_SEAL_WRITE, IPQ_RING_SIZE, SIZE_MAX, 0, QUEUE_UNSEALED},
		{ALL, IPQ_RING_SIZE - 1, SIZE_MAX, 0, QUEUE_UNSEALED},
		{ALL, IPQ_RING_SIZE + 1, SIZE_MAX, 0, QUEUE_UNSEALED},
		{ALL, 4096, SIZE_MAX, 0, QUEUE_UNSEALED},
		{ALL, IPQ_RING_SIZE, 0, 'T', QUEUE_HELLO},
		{ALL, IPQ_RING_SIZE, 7, '2', QUEUE_HELLO},
		{ALL, IPQ_RING_SIZE, 8, 2, QUEUE_HELLO},
		{ALL, IPQ_RING_SIZE, 9, 1, QUEUE_HELLO},
		{ALL, IPQ_RING_SIZE, 10, 1, QUEUE_HELLO}, /* our own direction: a ring reflected */
		{ALL, IPQ_RING_SIZE, 10, 3, QUEUE_HELLO},
		{ALL, IPQ_RING_SIZE, 11, 1, OK},
		{ALL, IPQ_RING_SIZE, 11, 2, QUEUE_HELLO},
		{ALL, IPQ_RING_SIZE, 12, 1, QUEUE_HELLO},
		{ALL, IPQ_RING_SIZE, 13, 16, QUEUE_HELLO},
		{ALL, IPQ_RING_SIZE, 16, 1, QUEUE_HELLO},
		{ALL, IPQ_RING_SIZE, 63, 1, QUEUE_HELLO},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct ipq *host = NULL;
		assert_int_equal(ipq_create(IPQ_HOST, &host), OK);
		int fd = make_ring(&cases[i], IPQ_AP);
		assert_int_equal(ipq_attach(host, fd), cases[i].expected);
		close(fd);
		ipq_free(&host);
	}
}

static void what_is_no_memfd_is_refused(void **state)
{
	struct ipq *host = NULL;
	assert_int_equal(ipq_create(IPQ_HOST, &host), OK);
	assert_int_equal(ipq_attach(host, ipq_fd(host)), QUEUE_HELLO);
	assert_int_equal(ipq_attach(host, -1), QUEUE_UNSEALED);
	int pipes[2];
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(ipq_attach(host, pipes[0]), QUEUE_UNSEALED);
	close(pipes[0]);
	close(pipes[1]);
	FILE *file = tmpfile();
	assert_non_null(file);
	assert_int_equal(ftruncate(fileno(file), IPQ_RING_SIZE), 0);
	assert_int_equal(ipq_attach(host, fileno(file)), QUEUE_UNSEALED);
	fclose(file);
	ipq_free(&host);
}

/* IQ-03 */
static void nobody_can_resize_a_ring(void **state)
{
	struct ipq *host = NULL;
	assert_int_equal(ipq_create(IPQ_HOST, &host), OK);
	int fd = ipq_fd(host);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, IPQ_RING_SIZE * 2), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(errno, EPERM);
	ipq_free(&host);
}

/* IQ-09 */
static void nobody_else_can_write_a_ring(void **state)
{
	struct ipq *host = NULL;
	assert_int_equal(ipq_create(IPQ_HOST, &host), OK);
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", ipq_fd(host));
	int again = open(path, O_RDWR | O_CLOEXEC);
	const int fds[] = {ipq_fd(host), again >= 0 ? again : ipq_fd(host)};
	for (size_t i = 0; i < COUNT_OF(fds); i++) {
		errno = 0;
		assert_ptr_equal(mmap(NULL, IPQ_RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0), MAP_FAILED);
		assert_int_equal(errno, EPERM);
		assert_int_equal(pwrite(fds[i], "x", 1, 4096), -1);
		assert_int_equal(errno, EPERM);
		void *readable = mmap(NULL, IPQ_RING_SIZE, PROT_READ, MAP_SHARED, fds[i], 0);
		assert_ptr_not_equal(readable, MAP_FAILED);
		assert_int_equal(mprotect(readable, IPQ_RING_SIZE, PROT_READ | PROT_WRITE), -1);
		munmap(readable, IPQ_RING_SIZE);
	}
	if (again >= 0)
		close(again);
	ipq_free(&host);
}

/* ---- a victim and what poisons it ---- */

static struct ipq *victim;
static struct raw peer;

static int open_ap(void **state)
{
	victim = raw_victim(&peer, IPQ_AP, GEN);
	return 0;
}

static int open_host(void **state)
{
	victim = raw_victim(&peer, IPQ_HOST, GEN);
	return 0;
}

static int close_victim(void **state)
{
	ipq_free(&victim);
	raw_close(&peer);
	return 0;
}

/* The violation is named once, then every call is refused, whatever the ring holds by then (IQ-08). */
static void assert_poisoned(result expected)
{
	static struct ipq_message untouched;
	untouched.id = 77;
	assert_int_equal(ipq_try_receive(victim, &untouched), expected);
	assert_true(untouched.id == 77);
	assert_int_equal(ipq_poisoned(victim), expected);
	memset(peer.ring + 4096, 0, IPQ_RING_SIZE - 4096);
	peer.produced = 0;
	raw_send(&peer, peer.role == IPQ_HOST ? IPQ_HEALTH : IPQ_EVENT, peer.role == IPQ_HOST ? ID(1) : 0, SPAN_EMPTY);
	assert_int_equal(ipq_try_receive(victim, &message), QUEUE_POISONED);
	assert_int_equal(ipq_receive(victim, &message, soon()), QUEUE_POISONED);
	uint64_t id = 0;
	if (peer.role == IPQ_AP) {
		assert_int_equal(ipq_try_request(victim, IPQ_HEALTH, SPAN_EMPTY, &id), QUEUE_POISONED);
		assert_int_equal(ipq_call(victim, IPQ_HEALTH, SPAN_EMPTY, soon(), NULL, NULL, &message), QUEUE_POISONED);
	} else {
		assert_int_equal(ipq_try_event(victim, SPAN_EMPTY), QUEUE_POISONED);
	}
	assert_int_equal(ipq_poisoned(victim), expected);
	assert_int_equal(peer.victim[72], 2); /* and the other side is told */
}

#define RESTART(role) (close_victim(NULL), victim = raw_victim(&peer, (role), GEN))

/* IQ-02 */
static void absurd_sequence_numbers(void **state)
{
	static const int64_t offsets[] = {-1, 1, 2, 2047, 2048, 1 << 20, INT64_MAX, INT64_MIN};
	for (size_t i = 0; i < COUNT_OF(offsets); i++) {
		RESTART(IPQ_AP);
		raw_write(&peer, IPQ_HEALTH, ID(1), SPAN_EMPTY, 1);
		raw_set64(raw_slot(&peer, peer.produced), peer.produced + 1 + (uint64_t)offsets[i]);
		assert_poisoned(QUEUE_CORRUPT);
	}
}

static void absurd_fields(void **state)
{
	static const struct {
		size_t at;
		uint32_t value;
		result expected;
	} cases[] = {
		{8, 0, QUEUE_BAD_TYPE},		     /* no such message */
		{8, 255, QUEUE_BAD_TYPE},
		{8, 256 + IPQ_HEALTH, QUEUE_BAD_TYPE},
		{8, 0xffff, QUEUE_BAD_TYPE},
		{8, IPQ_HEALTH_REPLY, QUEUE_BAD_TYPE}, /* wrong direction */
		{8, IPQ_EVENT, QUEUE_BAD_TYPE},
		{8, IPQ_HELLO, QUEUE_BAD_TYPE},	     /* a second greeting */
		{8, IPQ_HEALTH | 1 << 16, QUEUE_CORRUPT}, /* profile sealed */
		{8, IPQ_HEALTH | 1u << 24, QUEUE_CORRUPT}, /* reserved bits */
		{8, IPQ_HEALTH | 0x80u << 24, QUEUE_CORRUPT},
		{12, 65537, QUEUE_CORRUPT},
		{12, 0x80000000, QUEUE_CORRUPT},
		{12, 0xffffffff, QUEUE_CORRUPT},
		{12, 41, QUEUE_CORRUPT}, /* a further slot that is not there: a torn message (IQ-07) */
		{12, 65536, QUEUE_CORRUPT},
		{24, 1, QUEUE_CORRUPT}, /* bytes beyond the length */
		{60, 0x80000000, QUEUE_CORRUPT},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		RESTART(IPQ_AP);
		raw_write(&peer, IPQ_HEALTH, ID(1), SPAN_EMPTY, 1);
		raw_set32(raw_slot(&peer, peer.produced) + cases[i].at, cases[i].value);
		raw_publish(&peer, 1);
		assert_poisoned(cases[i].expected);
	}
}

/* Numbers that are taken but not open, those of the greeting, and those that nothing has. */
static void numbers_that_are_not_open(void **state)
{
	for (unsigned type = 0; type < 256; type++) {
		const struct ipq_message_row *row = ipq_message_row(type);
		if (row && row->sender == IPQ_HOST && row->phase == IPQ_PHASE_OPEN)
			continue;
		RESTART(IPQ_AP);
		raw_send(&peer, type, ID(1), SPAN_EMPTY);
		assert_poisoned(QUEUE_BAD_TYPE);
	}
}

static void absurd_credit(void **state)
{
	static const struct {
		uint64_t credit;
		result expected;
	} cases[] = {
		{0, QUEUE_FULL}, {1, OK}, {2048, OK},
		{2049, QUEUE_BAD_CREDIT}, {UINT64_MAX, QUEUE_BAD_CREDIT}, {UINT64_C(1) << 63, QUEUE_BAD_CREDIT},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		RESTART(IPQ_AP);
		while (ipq_try_event(victim, SPAN_EMPTY) == OK)
			;
		raw_set64(peer.ring + 128, cases[i].credit);
		assert_int_equal(ipq_try_event(victim, SPAN_EMPTY), cases[i].expected);
	}
	/* Credit never goes back. */
	RESTART(IPQ_AP);
	raw_set64(peer.ring + 128, 2);
	while (ipq_try_event(victim, SPAN_EMPTY) == OK)
		;
	raw_set64(peer.ring + 128, 1);
	assert_int_equal(ipq_try_event(victim, SPAN_EMPTY), QUEUE_BAD_CREDIT);
	assert_int_equal(ipq_event(victim, SPAN_EMPTY, soon()), QUEUE_POISONED);
}

/* IQ-07 */
static void torn_messages(void **state)
{
	static uint8_t data[1000];
	memset(data, 'x', sizeof data);
	raw_write(&peer, IPQ_HEALTH, ID(1), SPAN_ARRAY(data), raw_slots(sizeof data));
	assert_int_equal(ipq_try_receive(victim, &message), QUEUE_EMPTY); /* not published: not there */
	assert_int_equal(ipq_receive(victim, &message, in_ms(1)), TIMED_OUT);
	raw_publish(&peer, raw_slots(sizeof data));
	assert_int_equal(ipq_try_receive(victim, &message), OK);
	assert_true(span_equal(ipq_payload(&message), SPAN_ARRAY(data)));

	for (uint64_t torn = 1; torn < raw_slots(sizeof data); torn++) {
		RESTART(IPQ_AP);
		raw_write(&peer, IPQ_HEALTH, ID(1), SPAN_ARRAY(data), raw_slots(sizeof data));
		raw_set64(raw_slot(&peer, peer.produced + torn), torn % 2 ? 0 : peer.produced + torn + 2);
		raw_publish(&peer, raw_slots(sizeof data));
		assert_poisoned(QUEUE_CORRUPT);
	}
	RESTART(IPQ_AP); /* bytes beyond the length in the last slot */
	raw_write(&peer, IPQ_HEALTH, ID(1), SPAN_ARRAY(data), raw_slots(sizeof data));
	raw_slot(&peer, peer.produced + raw_slots(sizeof data) - 1)[63] = 1;
	raw_publish(&peer, raw_slots(sizeof data));
	assert_poisoned(QUEUE_CORRUPT);
}

/* IQ-10: a request kept from an earlier start, repeated, or out of order. */
static void replayed_requests(void **state)
{
	static const uint64_t bad[] = {
		(GEN - 1) << 40 | 100, (GEN + 1) << 40 | 100, 100, ID(5), ID(4), ID(0), 0, UINT64_MAX,
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		RESTART(IPQ_AP);
		raw_send(&peer, IPQ_HEALTH, ID(5), SPAN_EMPTY);
		assert_int_equal(ipq_try_receive(victim, &message), OK);
		raw_send(&peer, IPQ_HEALTH, bad[i], SPAN_EMPTY);
		assert_poisoned(QUEUE_REPLAY);
	}
}

static void replies_that_nobody_waits_for(void **state)
{
	uint64_t id = 0;
	raw_send(&peer, IPQ_HEALTH_REPLY, ID(1), SPAN_EMPTY); /* before any request */
	assert_poisoned(QUEUE_REPLAY);

	RESTART(IPQ_HOST);
	assert_int_equal(ipq_try_request(victim, IPQ_HEALTH, SPAN_EMPTY, &id), OK);
	assert_true(id == ID(1));
	raw_send(&peer, IPQ_HEALTH_REPLY, id, SPAN_EMPTY);
	assert_int_equal(ipq_try_receive(victim, &message), OK);
	raw_send(&peer, IPQ_HEALTH_REPLY, id, SPAN_EMPTY); /* twice */
	assert_poisoned(QUEUE_REPLAY);

	RESTART(IPQ_HOST);
	assert_int_equal(ipq_try_request(victim, IPQ_HEALTH, SPAN_EMPTY, &id), OK);
	assert_int_equal(ipq_try_request(victim, IPQ_SEAL, SPAN_EMPTY, &id), OK);
	raw_send(&peer, IPQ_SEAL_REPLY, id, SPAN_EMPTY);
	assert_int_equal(ipq_try_receive(victim, &message), OK);
	raw_send(&peer, IPQ_SEAL_REPLY, id, SPAN_EMPTY); /* twice, while an older request waits */
	assert_poisoned(QUEUE_REPLAY);

	RESTART(IPQ_HOST);
	assert_int_equal(ipq_try_request(victim, IPQ_HEALTH, SPAN_EMPTY, &id), OK);
	assert_int_equal(ipq_try_request(victim, IPQ_SEAL, SPAN_EMPTY, &id), OK);
	raw_send(&peer, IPQ_HEALTH_REPLY, id, SPAN_EMPTY); /* the older one's type under the younger one's id */
	assert_poisoned(QUEUE_BAD_TYPE);

	RESTART(IPQ_HOST);
	assert_int_equal(ipq_try_request(victim, IPQ_SEAL, SPAN_EMPTY, &id), OK);
	raw_send(&peer, IPQ_UNSEAL_REPLY, id, SPAN_EMPTY); /* another request's reply */
	assert_poisoned(QUEUE_BAD_TYPE);

	RESTART(IPQ_HOST);
	raw_send(&peer, IPQ_EVENT, 1, SPAN_EMPTY);
	assert_poisoned(QUEUE_REPLAY);

	RESTART(IPQ_HOST);
	raw_send(&peer, IPQ_HEALTH, 0, SPAN_EMPTY); /* the host's own direction */
	assert_poisoned(QUEUE_BAD_TYPE);
}

static void a_malformed_error_poisons_the_call(void **state)
{
	raw_send(&peer, IPQ_EVENT, 0, SPAN_EMPTY);
	raw_send(&peer, IPQ_ERROR, ID(1), span_str("?"));
	/* The reply lies there before its request: the ids still have to fit. */
	assert_int_equal(ipq_call(victim, IPQ_HEALTH, SPAN_EMPTY, soon(), NULL, NULL, &message), QUEUE_CORRUPT);
	assert_int_equal(ipq_poisoned(victim), QUEUE_CORRUPT);
}

static void greetings_that_do_not_fit(void **state)
{
	static const struct {
		size_t len, at;
	} cases[] = {{36, 0}, {36, 1}, {36, 2}, {36, 3}, {35, 40}, {37, 40}, {0, 40}};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct ipq *ap = NULL;
		struct raw host;
		raw_open(&host, IPQ_HOST);
		assert_int_equal(ipq_create(IPQ_AP, &ap), OK);
		assert_int_equal(ipq_attach(ap, host.fd), OK);
		uint8_t hello[44] = {1};
		hello[cases[i].at] ^= 2;
		raw_send(&host, IPQ_HELLO, 0, span_of(hello, cases[i].len));
		assert_int_equal(ipq_greet_reply(ap, 3, soon()), QUEUE_HELLO);
		assert_int_equal(ipq_poisoned(ap), QUEUE_HELLO);
		assert_int_equal(ipq_greet_reply(ap, 3, soon()), QUEUE_POISONED);
		ipq_free(&ap);
		raw_close(&host);
	}
}

static void nothing_passes_before_the_greeting(void **state)
{
	struct ipq *ap = NULL;
	struct raw host;
	raw_open(&host, IPQ_HOST);
	assert_int_equal(ipq_create(IPQ_AP, &ap), OK);
	assert_int_equal(ipq_attach(ap, host.fd), OK);
	raw_send(&host, IPQ_HEALTH, ID(1), SPAN_EMPTY);
	assert_int_equal(ipq_greet_reply(ap, GEN, soon()), QUEUE_BAD_TYPE);
	ipq_free(&ap);
	raw_close(&host);
}

/* The reply to a greeting must echo the nonce of this greeting. */
static void a_recorded_greeting_is_refused(void **state)
{
	struct ipq *host = NULL;
	struct raw ap;
	raw_open(&ap, IPQ_AP);
	assert_int_equal(ipq_create(IPQ_HOST, &host), OK);
	assert_int_equal(ipq_attach(host, ap.fd), OK);
	static const uint8_t recorded[44] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3};
	raw_send(&ap, IPQ_HELLO_REPLY, 0, SPAN_ARRAY(recorded));
	uint64_t boot_gen = 0;
	assert_int_equal(ipq_greet(host, soon(), &boot_gen), QUEUE_HELLO);
	assert_true(boot_gen == 0);
	ipq_free(&host);
	raw_close(&ap);
}

/* IQ-05: a full ring is worked off at the victim's pace; one message more breaks the peer's own ring, not ours. */
static void a_flood_is_bounded(void **state)
{
	uint64_t id = 0;
	for (; id < 2046; id++)
		raw_send(&peer, IPQ_HEALTH, ID(id + 1), SPAN_EMPTY);
	for (uint64_t i = 0; i < IPQ_PENDING_MAX; i++)
		assert_int_equal(ipq_try_receive(victim, &message), OK);
	assert_int_equal(ipq_try_receive(victim, &message), ILLEGAL_STATE); /* it will not hoard */
	for (uint64_t i = 0; i < id; i++) {
		if (i >= IPQ_PENDING_MAX)
			assert_int_equal(ipq_try_receive(victim, &message), OK);
		if (i < 2046 - IPQ_PENDING_MAX)
			assert_int_equal(ipq_reply(victim, ID(i + 1), SPAN_EMPTY, soon()), OK);
	}
	for (uint64_t i = id - IPQ_PENDING_MAX; i < id; i++)
		assert_int_equal(ipq_reply(victim, ID(i + 1), SPAN_EMPTY, 0), OK);
	/* The peer never took one reply, so its next requests find no room for theirs. */
	raw_send(&peer, IPQ_HEALTH, ID(id + 1), SPAN_EMPTY);
	assert_int_equal(ipq_try_receive(victim, &message), OK);
	assert_int_equal(ipq_reply(victim, message.id, SPAN_EMPTY, in_ms(1)), TIMED_OUT);
	assert_int_equal(ipq_poisoned(victim), OK);

	/* Overrunning slots that were not given back is seen at the next one. */
	for (uint64_t i = 0; i < 2048; i++)
		raw_send(&peer, IPQ_HEALTH, ID(id + 2 + i), SPAN_EMPTY);
	raw_send(&peer, IPQ_HEALTH, ID(id + 2 + 2048), SPAN_EMPTY);
	assert_poisoned(QUEUE_CORRUPT);
}

struct nuisance {
	bool stop;
	uint64_t rounds;
};

/* Rings the bell without end and claims to sleep. */
static void *ring_without_end(void *context)
{
	struct nuisance *nuisance = context;
	while (!__atomic_load_n(&nuisance->stop, __ATOMIC_RELAXED)) {
		uint32_t *bell = (uint32_t *)(void *)(peer.ring + 68);
		__atomic_fetch_add(bell, 1, __ATOMIC_RELAXED);
		raw_set32(peer.ring + 64, (uint32_t)++nuisance->rounds);
		syscall(SYS_futex, bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	}
	return NULL;
}

/* IQ-05, IQ-06: neither silence nor false wakes hold the victim beyond its deadline. */
static void false_wakes_do_not_stretch_a_deadline(void **state)
{
	struct nuisance nuisance = {0};
	pthread_t thread;
	ipq_set_spin(victim, 0);
	assert_int_equal(pthread_create(&thread, NULL, ring_without_end, &nuisance), 0);
	uint64_t start = clock_monotonic_ns();
	assert_int_equal(ipq_receive(victim, &message, in_ms(30)), TIMED_OUT);
	uint64_t took = clock_monotonic_ns() - start;
	__atomic_store_n(&nuisance.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(took >= 30 * UINT64_C(1000000) && took < 10000 * UINT64_C(1000000));
	assert_int_equal(ipq_poisoned(victim), OK);
}

/* IQ-06 */
static void a_peer_that_never_answers(void **state)
{
	uint64_t start = clock_monotonic_ns();
	assert_int_equal(ipq_call(victim, IPQ_ATTEST, SPAN_EMPTY, in_ms(20), NULL, NULL, &message), TIMED_OUT);
	assert_true(clock_monotonic_ns() - start < 10000 * UINT64_C(1000000));
	assert_int_equal(ipq_poisoned(victim), OK);
	raw_set32(peer.ring + 72, 0xdead); /* a state that does not exist counts as gone */
	assert_int_equal(ipq_receive(victim, &message, soon()), PEER_CLOSED);
}

/* IQ-04 */
static void *change_length(void *context)
{
	struct nuisance *nuisance = context;
	uint8_t *slot = raw_slot(&peer, 2);
	while (!__atomic_load_n(&nuisance->stop, __ATOMIC_RELAXED)) {
		uint32_t len = ++nuisance->rounds % 2 ? 4 : 60000;
		raw_set64(slot + 8, IPQ_EVENT | (uint64_t)len << 32);
	}
	return NULL;
}

static void a_message_that_changes_while_it_is_read(void **state)
{
	unsigned whole = 0, caught = 0;
	for (int i = 0; i < 60; i++) {
		RESTART(IPQ_HOST);
		assert_true(peer.produced == 2); /* HELLO_REPLY took slots 0 and 1 */
		raw_write(&peer, IPQ_EVENT, 0, span_str("four"), 1);
		struct nuisance nuisance = {0};
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, change_length, &nuisance), 0);
		raw_publish(&peer, 1);
		result outcome = ipq_receive(victim, &message, soon());
		/* Either length was read, once: then it was the four bytes, or a message whose slots are not there. */
		if (outcome == OK) {
			whole++;
			assert_int_equal(message.len, 4);
			assert_memory_equal(message.data, "four", 4);
		} else {
			caught++;
			assert_int_equal(outcome, QUEUE_CORRUPT);
			assert_int_equal(ipq_poisoned(victim), QUEUE_CORRUPT);
		}
		__atomic_store_n(&nuisance.stop, true, __ATOMIC_RELAXED);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
	assert_int_equal(whole + caught, 60);
}

static void what_was_received_is_a_copy(void **state)
{
	static uint8_t data[300];
	memset(data, 'a', sizeof data);
	raw_send(&peer, IPQ_EVENT, 0, SPAN_ARRAY(data));
	assert_int_equal(ipq_try_receive(victim, &message), OK);
	memset(peer.ring + 4096, 0xff, IPQ_RING_SIZE - 4096);
	assert_true(span_equal(ipq_payload(&message), SPAN_ARRAY(data)));
}

#define AP_TEST(test) cmocka_unit_test_setup_teardown(test, open_ap, close_victim)
#define HOST_TEST(test) cmocka_unit_test_setup_teardown(test, open_host, close_victim)

int test_ipq_hostile(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_exact_rings_are_attached),
		cmocka_unit_test(what_is_no_memfd_is_refused),
		cmocka_unit_test(nobody_can_resize_a_ring),
		cmocka_unit_test(nobody_else_can_write_a_ring),
		AP_TEST(absurd_sequence_numbers),
		AP_TEST(absurd_fields),
		AP_TEST(numbers_that_are_not_open),
		AP_TEST(absurd_credit),
		AP_TEST(torn_messages),
		AP_TEST(replayed_requests),
		HOST_TEST(replies_that_nobody_waits_for),
		HOST_TEST(a_malformed_error_poisons_the_call),
		cmocka_unit_test(greetings_that_do_not_fit),
		cmocka_unit_test(nothing_passes_before_the_greeting),
		cmocka_unit_test(a_recorded_greeting_is_refused),
		AP_TEST(a_flood_is_bounded),
		AP_TEST(false_wakes_do_not_stretch_a_deadline),
		HOST_TEST(a_peer_that_never_answers),
		HOST_TEST(a_message_that_changes_while_it_is_read),
		HOST_TEST(what_was_received_is_a_copy),
	};
	return cmocka_run_group_tests_name("ipq against a hostile peer", tests, NULL, NULL);
}
