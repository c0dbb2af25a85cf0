/* The shared-memory ring: bytes through it, sleeping and waking, and every counter that a hostile end can write. */
#include "groups.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail

#include "base/sock.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "enclave/ring.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct ends {
	struct fd memfd, sockets[2];
	struct ring rings[2];
};

static int setup(void **state)
{
	struct ends *e = calloc(1, sizeof *e);
	assert_int_equal(ring_create(&e->memfd), OK);
	assert_int_equal(sock_pair(e->sockets), OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(ring_attach(e->memfd.n, i == 0, e->sockets[i].n, &e->rings[i]), OK);
	*state = e;
	return 0;
}

static int teardown(void **state)
{
	struct ends *e = *state;
	for (int i = 0; i < 2; i++) {
		ring_free(&e->rings[i]);
		fd_close(&e->sockets[i]);
	}
	fd_close(&e->memfd);
	free(e);
	return 0;
}

static void bytes_both_ways(void **state)
{
	struct ends *e = *state;
	uint8_t out[16];
	size_t len;
	bool ended;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(ring_write(&e->rings[i], span_str(i ? "pong" : "ping!"), &len), OK);
		assert_int_equal(len, i ? 4 : 5);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ring_read(&e->rings[1 - i], out, sizeof out, &len, &ended), OK);
		assert_true(!ended && span_equal_str(span_of(out, len), i ? "pong" : "ping!"));
		assert_int_equal(ring_read(&e->rings[1 - i], out, sizeof out, &len, &ended), OK);
		assert_true(!ended && len == 0);
	}
}

/* Any piece sizes, many times around; never more than there is room for, never a byte lost or made up. */
static void around_and_around(void **state)
{
	struct ends *e = *state;
	static uint8_t sent[3 * RING_CAPACITY / 2], got[3 * RING_CAPACITY / 2];
	uint64_t put = 0, taken = 0;
	bool ended, was_full = false;

	for (unsigned turn = 0; turn < 2000; turn++) {
		uint32_t sizes[2];
		size_t len;
		random_bytes(sizes, sizeof sizes);
		size_t give = sizes[0] % sizeof sent, take = sizes[1] % sizeof got;
		for (size_t i = 0; i < give; i++)
			sent[i] = (uint8_t)((put + i) * 31 >> 3);
		assert_int_equal(ring_write(&e->rings[0], span_of(sent, give), &len), OK);
		put += len;
		was_full = was_full || len < give;
		assert_true(put - taken <= RING_CAPACITY);
		assert_int_equal(ring_read(&e->rings[1], got, take, &len, &ended), OK);
		for (size_t i = 0; i < len; i++)
			if (got[i] != (uint8_t)((taken + i) * 31 >> 3))
				assert_int_equal(taken + i, -1);
		taken += len;
		assert_false(ended);
	}
	assert_true(was_full && taken > 10 * RING_CAPACITY);
}

static bool has_bell(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

static void bells_for_sleepers_alone(void **state)
{
	struct ends *e = *state;
	uint8_t out[RING_CAPACITY];
	size_t len;
	bool ended, ready;

	/* Awake: none. */
	assert_int_equal(ring_write(&e->rings[0], span_str("a"), &len), OK);
	assert_false(has_bell(e->sockets[1].n));
	/* Who has something to do does not sleep. */
	assert_int_equal(ring_wait(&e->rings[1], true, false, &ready), OK);
	assert_true(ready);
	assert_int_equal(ring_read(&e->rings[1], out, sizeof out, &len, &ended), OK);
	assert_int_equal(ring_wait(&e->rings[1], true, false, &ready), OK);
	assert_false(ready);
	/* Asleep: one for the first byte, none for the second. */
	assert_int_equal(ring_write(&e->rings[0], span_str("b"), &len), OK);
	assert_int_equal(ring_write(&e->rings[0], span_str("c"), &len), OK);
	assert_true(has_bell(e->sockets[1].n));
	assert_int_equal(recv(e->sockets[1].n, out, sizeof out, MSG_DONTWAIT), 1);
	/* A writer that waits for room hears of it once, when half is free. */
	while (ring_write(&e->rings[0], span_of(out, sizeof out), &len) == OK && len)
		;
	assert_int_equal(ring_wait(&e->rings[0], false, true, &ready), OK);
	assert_false(ready);
	assert_int_equal(ring_read(&e->rings[1], out, RING_CAPACITY / 2 - 1, &len, &ended), OK);
	assert_false(has_bell(e->sockets[0].n));
	assert_int_equal(ring_read(&e->rings[1], out, 1, &len, &ended), OK);
	assert_true(has_bell(e->sockets[0].n));
	assert_int_equal(ring_wait(&e->rings[0], false, true, &ready), OK);
	assert_true(ready);
	/* Who wants nothing is told nothing. */
	assert_int_equal(ring_wait(&e->rings[0], false, false, &ready), OK);
	assert_false(ready);
}

/* The end of the socket counts after the last byte. */
static void the_end(void **state)
{
	struct ends *e = *state;
	uint8_t out[16];
	size_t len;
	bool ended;

	assert_int_equal(ring_write(&e->rings[0], span_str("last"), &len), OK);
	fd_close(&e->sockets[0]);
	assert_int_equal(ring_read(&e->rings[1], out, 2, &len, &ended), OK);
	assert_true(len == 2 && !ended);
	assert_int_equal(ring_read(&e->rings[1], out, 16, &len, &ended), OK);
	assert_true(len == 2 && !ended);
	assert_int_equal(ring_read(&e->rings[1], out, 16, &len, &ended), OK);
	assert_true(len == 0 && ended);
	/* Writing into nothing: noticed when the ring is full. */
	static const uint8_t much[RING_CAPACITY];
	assert_int_equal(ring_write(&e->rings[1], SPAN_ARRAY(much), &len), OK);
	assert_int_equal(ring_write(&e->rings[1], SPAN_ARRAY(much), &len), PEER_CLOSED);
}

/* Every counter of the other end, at every kind of value it cannot have. */
static void counters_that_cannot_be(void **state)
{
	(void)state;
	for (int c = 0; c < 8; c++) {
		void *own = NULL;
		setup(&own);
		struct ends *e = own;
		uint8_t out[16];
		size_t len;
		bool ended, ready;
		assert_int_equal(ring_write(&e->rings[1], span_str("12345678"), &len), OK);
		assert_int_equal(ring_write(&e->rings[0], span_str("12345678"), &len), OK);
		assert_int_equal(ring_read(&e->rings[1], out, 4, &len, &ended), OK);
		assert_int_equal(ring_read(&e->rings[0], out, 4, &len, &ended), OK);
		assert_int_equal(ring_wait(&e->rings[0], false, false, &ready), OK);
		/* End 1 is hostile, end 0 looks. */
		static const uint64_t written[] = {0, 7, 4 + RING_CAPACITY + 1, UINT64_MAX}, taken[] = {0, 3, 9, UINT64_MAX};
		bool reads = c < 4;
		if (reads)
			atomic_store(&e->rings[0].in->written, written[c]);
		else
			atomic_store(&e->rings[0].out->taken, taken[c - 4]);
		result acted = reads ? ring_read(&e->rings[0], out, sizeof out, &len, &ended) : ring_write(&e->rings[0], span_str("x"), &len);
		assert_int_equal(acted, RING_BROKEN);
		assert_int_equal(ring_wait(&e->rings[0], true, true, &ready), RING_BROKEN);
		teardown(&own);
	}
}

static void a_bell_for_every_byte(void **state)
{
	struct ends *e = *state;
	uint8_t out[16];
	size_t len;
	bool ended;

	/* A peer that always says that it sleeps, and never takes a bell: nothing blocks. */
	for (int i = 0; i < 100000; i++) {
		atomic_store(&e->rings[0].out->reader_waits, 7);
		assert_int_equal(ring_write(&e->rings[0], span_str("x"), &len), OK);
		assert_int_equal(ring_read(&e->rings[1], out, 1, &len, &ended), OK);
		assert_true(len == 1 && !ended);
	}
}

static void memory_that_is_not_a_ring(void **state)
{
	struct ends *e = *state;
	CLEANUP(fd_close) struct fd plain = {memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
	struct ring none = RING_EMPTY;

	assert_int_equal(ftruncate(plain.n, RING_SIZE), 0);
	assert_int_equal(ring_attach(plain.n, true, e->sockets[0].n, &none), RING_BROKEN); /* not sealed */
	assert_int_equal(ftruncate(plain.n, RING_SIZE / 2), 0);
	assert_int_equal(fcntl(plain.n, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(ring_attach(plain.n, true, e->sockets[0].n, &none), RING_BROKEN); /* too small */
	assert_int_equal(ring_attach(e->sockets[0].n, true, e->sockets[0].n, &none), RING_BROKEN);
	assert_null(none.memory);
	/* And the one that is cannot be made smaller. */
	assert_int_not_equal(ftruncate(e->memfd.n, 1), 0);
}

/* ---- two threads, asleep as often as they can be ---- */

enum { TOTAL = 64 << 20, PIECE_MAX = 70000, LIMIT_MS = 20000 };

struct worker {
	struct ring *ring;
	bool writes, slow;
	uint8_t digest[SHA256_SIZE];
	bool good;
};

static bool sleep_until(struct ring *ring, bool data, bool room)
{
	struct pollfd p = {.fd = ring->socket, .events = POLLIN};
	bool ready;

	if (ring_wait(ring, data, room, &ready) != OK)
		return false;
	if (ready)
		return true;
	if (poll(&p, 1, LIMIT_MS) != 1)
		return false; /* a lost wake-up */
	uint8_t bells[64];
	(void)!recv(ring->socket, bells, sizeof bells, MSG_DONTWAIT);
	return true;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	static _Thread_local uint8_t buffer[PIECE_MAX];
	CLEANUP(hash_free) struct hash hash = {0};
	uint32_t seed = w->writes ? 1 : 2;

	if (hash_start(&hash, HASH_SHA256) != OK)
		return NULL;
	for (size_t done = 0; done < TOTAL;) {
		seed = seed * 1664525 + 1013904223;
		size_t piece = 1 + (seed >> 8) % (w->slow ? 64 : PIECE_MAX - 1), len = 0;
		bool ended;
		piece = piece < TOTAL - done ? piece : TOTAL - done;
		if (w->writes)
			memset(buffer, (int)(done * 7 >> 5), piece);
		result r = w->writes ? ring_write(w->ring, span_of(buffer, piece), &len) : ring_read(w->ring, buffer, piece, &len, &ended);
		if (r != OK)
			return NULL;
		hash_add(&hash, span_of(buffer, len));
		done += len;
		if (len == 0 && !sleep_until(w->ring, !w->writes, w->writes))
			return NULL;
	}
	hash_finish(&hash, w->digest);
	w->good = true;
	return NULL;
}

static void no_wake_up_is_lost(void **state)
{
	struct ends *e = *state;
	struct worker writer = {.ring = &e->rings[0], .writes = true}, reader = {.ring = &e->rings[1]};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, work, &writer), 0);
	work(&reader);
	pthread_join(thread, NULL);
	assert_true(writer.good && reader.good);
	assert_memory_equal(writer.digest, reader.digest, SHA256_SIZE);
}

int group_ring(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH(bytes_both_ways),
		WITH(around_and_around),
		WITH(bells_for_sleepers_alone),
		WITH(the_end),
		cmocka_unit_test(counters_that_cannot_be),
		WITH(a_bell_for_every_byte),
		WITH(memory_that_is_not_a_ring),
		WITH(no_wake_up_is_lost),
	};
	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
