/*
 * Both engines against a network that holds the tape: which message goes where, cut, flipped or made up. No side may
 * complete with a peer that did not send what it has read, so both complete or the initiator alone (its M3 was lost).
 * Keys come from fixed seeds: the certificates are made once.
 */
#include "crypto/crypto.h"
#include "enclave/iecp_internal.h"

#include "../tests/iecp_pinned.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * OpenSSL keeps its generators in its secure heap, where the leak checker does not look for pointers: what is made at
 * the start is not counted. The functions are there only in sanitizer builds.
 */
__attribute__((weak)) void __lsan_disable(void);
__attribute__((weak)) void __lsan_enable(void);

enum { FRAMES = 3, FRAME_MAX = 8192 };
#define WALL_MS UINT64_C(1780272000000)

static struct pinned_side sides[2];

static void must(bool holds)
{
	pinned_must(holds);
}

struct tape {
	struct iecp *side[2];
	struct bytes frames[FRAMES];
	size_t count;
	bool agreed;  /* the initiator has completed at some time */
	bool hostile; /* something else than the honest order has been delivered */
};

static const struct iecp_time now = {WALL_MS, 0};

static void collect(struct tape *t, result r, struct writer *w)
{
	if (r == OK && w->len > 0 && t->count < FRAMES)
		must(writer_take(w, &t->frames[t->count++]) == OK);
	writer_free(w);
}

static void deliver(struct tape *t, size_t to, struct span frame)
{
	struct writer w = writer_growing(1 << 20);
	size_t total;

	must(iecp_frame_size(t->side[to], frame, &total) != OK || total == 0 || total >= IECP_FRAME_HEADER);
	collect(t, iecp_receive(t->side[to], frame, now, &w), &w);
	t->agreed = t->agreed || iecp_is_complete(t->side[0]);
}

static void step(struct tape *t, uint8_t op, uint8_t a, uint8_t b)
{
	struct writer w = writer_growing(1 << 20);
	struct span last = t->count ? bytes_span(&t->frames[t->count - 1]) : SPAN_EMPTY;
	uint8_t copy[FRAME_MAX];

	switch (op % 5) {
	case 0:
		collect(t, iecp_start(t->side[a % 2], now, &w), &w);
		break;
	case 1: /* honest: the last frame to its addressee */
		if (t->count)
			deliver(t, t->count % 2, last);
		break;
	case 2: /* any frame to anybody */
		if (t->count)
			deliver(t, b % 2, bytes_span(&t->frames[a % t->count]));
		break;
	case 3: /* altered */
		if (t->count && last.len <= sizeof copy) {
			memcpy(copy, last.data, last.len);
			copy[(size_t)(a << 8 | b) % last.len] ^= (uint8_t)(1u << (b % 8));
			t->hostile = true;
			deliver(t, t->count % 2, span_of(copy, last.len));
		}
		break;
	default: /* cut */
		if (t->count) {
			t->hostile = true;
			deliver(t, t->count % 2, span_of(last.data, (size_t)(a << 8 | b) % last.len));
		}
	}
	writer_free(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tape t = {0};

	if (!sides[0].certificate.data) {
		if (__lsan_disable)
			__lsan_disable();
		crypto_warm_up();
		pinned_make(&sides[0], &sides[1], IECP_INITIATOR, 1, "spiffe://fuzz.example/ire/a", WALL_MS);
		pinned_make(&sides[1], &sides[0], IECP_RESPONDER, 2, "spiffe://fuzz.example/ire/b", WALL_MS);
		if (__lsan_enable)
			__lsan_enable();
	}
	/* Who has suite 2, by the length of the tape: with OpenSSL's ML-KEM where there is one. */
	sides[0].config.pq = size % 4 & 1 ? IECP_PQ_PREFER : IECP_PQ_OFF;
	sides[1].config.pq = size % 4 & 2 ? IECP_PQ_PREFER : IECP_PQ_OFF;
	for (int s = 0; s < 2; s++)
		must(iecp_new(&sides[s].config, now, &t.side[s]) == OK);
	for (size_t i = 0; i + 2 < size && i < 30; i += 3)
		step(&t, data[i], data[i + 1], data[i + 2]);
	/* The responder never completes without the initiator, and never after an altered message. */
	if (iecp_is_complete(t.side[1]))
		must(t.agreed && !t.hostile);
	/* Raw bytes to a side that waits for its first message. */
	struct iecp *fresh = NULL;
	struct writer w = writer_growing(1 << 20);
	must(iecp_new(&sides[1].config, now, &fresh) == OK);
	must(iecp_receive(fresh, span_of(data, size), now, &w) != OK || size > 100);
	writer_free(&w);
	iecp_free(fresh);
	for (int s = 0; s < 2; s++)
		iecp_free(t.side[s]);
	for (size_t i = 0; i < FRAMES; i++)
		bytes_free(&t.frames[i]);
	return 0;
}
