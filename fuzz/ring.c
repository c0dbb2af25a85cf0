/*
 * The shared-memory ring with two honest ends, and with one end that writes what it likes into the memory. The input is a tape of
 * steps. Honest ends lose, repeat and invent nothing, sleep only when there is nothing to do, and are woken; beside a hostile end an
 * honest one never reads or writes outside the ring, and says RING_BROKEN or PEER_CLOSED at worst.
 */
#include "base/sock.h"
#include "enclave/ring.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS = 200, CUSHION = 64, CUSHION_BYTE = 0xa7, MOST = RING_CAPACITY + 4096, PERIOD = 65521 };

/* What each honest end knows of itself. */
struct side {
	struct ring ring;
	uint64_t put, got; /* bytes, ever */
	bool sleeps_for_data, sleeps_for_room; /* in poll, as far as the other end knows */
};

struct world {
	struct side sides[2];
	struct fd sockets[2];
	bool hostile; /* somebody has written into the memory, or the socket is gone */
};

static uint8_t pattern[2][PERIOD + MOST]; /* byte n of a direction is pattern[direction][n % PERIOD] */
static uint8_t room[CUSHION + MOST + CUSHION];

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void make_pattern(void)
{
	if (pattern[1][0])
		return;
	for (size_t d = 0; d < 2; d++)
		for (size_t i = 0; i < sizeof pattern[d]; i++)
			pattern[d][i] = (uint8_t)(i % PERIOD * 31 + (i % PERIOD >> 8) * 7 + d);
}

static size_t amount(uint8_t low, uint8_t high)
{
	size_t n = (size_t)low | (size_t)(high & 0x7f) << 8;
	return high & 0x80 ? (n << 4) % MOST : n;
}

static void put(struct world *w, size_t who, size_t len)
{
	struct side *s = &w->sides[who];
	size_t written = 0;

	result r = ring_write(&s->ring, span_of(pattern[who] + s->put % PERIOD, len), &written);
	if (w->hostile) {
		must(r == OK || r == RING_BROKEN || r == PEER_CLOSED);
		must(written <= len);
		return;
	}
	must(r == OK && written <= len);
	uint64_t held = s->put - w->sides[1 - who].got;
	must(written == (len < RING_CAPACITY - held ? len : RING_CAPACITY - held));
	s->put += written;
}

static void take(struct world *w, size_t who, size_t len)
{
	struct side *s = &w->sides[who], *other = &w->sides[1 - who];
	size_t got = 0;
	bool ended = false;

	memset(room, CUSHION_BYTE, CUSHION);
	memset(room + CUSHION + len, CUSHION_BYTE, CUSHION);
	result r = ring_read(&s->ring, room + CUSHION, len, &got, &ended);
	for (size_t i = 0; i < CUSHION; i++)
		must(room[i] == CUSHION_BYTE && room[CUSHION + len + i] == CUSHION_BYTE);
	must(got <= len);
	if (w->hostile) {
		must(r == OK || r == RING_BROKEN);
		return;
	}
	uint64_t held = other->put - s->got;
	must(r == OK && !ended && got == (len < held ? len : held));
	must(memcmp(room + CUSHION, pattern[1 - who] + s->got % PERIOD, got) == 0);
	s->got += got;
}

static bool has_bell(const struct world *w, size_t who)
{
	struct pollfd p = {.fd = w->sockets[who].n, .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

/* Going to sleep, and whether somebody who does so is woken by what the other end did since. */
static void go_to_sleep(struct world *w, size_t who, bool data, bool space)
{
	struct side *s = &w->sides[who];
	bool ready = false;
	result r = ring_wait(&s->ring, data, space, &ready);

	if (w->hostile) {
		must(r == OK || r == RING_BROKEN);
		return;
	}
	uint64_t in = w->sides[1 - who].put - s->got, out = s->put - w->sides[1 - who].got;
	must(r == OK && ready == ((data && in > 0) || (space && out < RING_CAPACITY)));
	s->sleeps_for_data = data && !ready;
	s->sleeps_for_room = space && !ready;
}

static void check_woken(struct world *w, size_t who)
{
	struct side *s = &w->sides[who];
	uint64_t in = w->sides[1 - who].put - s->got, out = s->put - w->sides[1 - who].got;

	if (w->hostile)
		return;
	if ((s->sleeps_for_data && in > 0) || (s->sleeps_for_room && out <= RING_CAPACITY / 2))
		must(has_bell(w, who));
}

/* What a hostile end can do: any word of either head, any byte. */
static void scribble(struct world *w, uint8_t where, uint8_t a, uint8_t b)
{
	uint8_t *memory = w->sides[0].ring.memory;
	size_t direction = where & 1 ? RING_HEAD_SIZE + RING_CAPACITY : 0;
	static const size_t words[] = {0, 64, 128, 192};
	uint64_t value = (uint64_t)(int64_t)(int8_t)a << (b % 57);

	w->hostile = true;
	if (where & 8) {
		memset(memory + direction + RING_HEAD_SIZE, a, RING_CAPACITY);
		return;
	}
	uint64_t old;
	memcpy(&old, memory + direction + words[where >> 1 & 3], 8);
	value = where & 16 ? old + value : value;
	memcpy(memory + direction + words[where >> 1 & 3], &value, where & 2 ? 4 : 8);
}

static void step(struct world *w, const uint8_t op[static 3])
{
	size_t who = op[0] & 1, len = amount(op[1], op[2]);

	/* Whoever acts is awake. */
	if ((op[0] >> 1 & 7) <= 4)
		w->sides[who].sleeps_for_data = w->sides[who].sleeps_for_room = false;
	switch (op[0] >> 1 & 7) {
	case 0:
	case 1: put(w, who, len); break;
	case 2:
	case 3: take(w, who, len); break;
	case 4: go_to_sleep(w, who, op[1] & 1, op[1] & 2); break;
	case 5: /* bells for nothing */
		(void)!send(w->sockets[who].n, pattern, op[1] % 32, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 6: scribble(w, op[0] >> 4, op[1], op[2]); break;
	default:
		w->hostile = true;
		fd_close(&w->sockets[who]);
		break;
	}
	check_woken(w, 0);
	check_woken(w, 1);
}

static void begin(struct world *w)
{
	CLEANUP(fd_close) struct fd memfd = FD_NONE;

	*w = (struct world){.sockets = {FD_NONE, FD_NONE}};
	must(ring_create(&memfd) == OK && sock_pair(w->sockets) == OK);
	for (int i = 0; i < 2; i++)
		must(ring_attach(memfd.n, i == 0, w->sockets[i].n, &w->sides[i].ring) == OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;

	make_pattern();
	begin(&w);
	for (size_t i = 0; i < STEPS && size >= 3; i++, data += 3, size -= 3)
		step(&w, data);
	for (int i = 0; i < 2; i++) {
		ring_free(&w.sides[i].ring);
		fd_close(&w.sockets[i]);
	}
	return 0;
}
