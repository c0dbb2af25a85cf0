/*
 * Both engines against a network that holds the tape: which message goes where, cut, flipped or made up. No side may
 * complete with a peer that did not send what it has read, so both complete or the initiator alone (its M3 was lost).
 * Keys come from fixed seeds: the certificates are made once.
 */
#include "crypto/crypto.h"
#include "crypto/x509.h"
#include "enclave/iecp_anchor.h"
#include "enclave/iecp_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * OpenSSL keeps its generators in its secure heap, where the leak checker does not look for pointers: what is made at
 * the start is not counted. The functions are there only in sanitizer builds.
 */
__attribute__((weak)) void __lsan_disable(void);
__attribute__((weak)) void __lsan_enable(void);

enum { DAY_MS = 86400000, FRAMES = 3, FRAME_MAX = 8192 };
#define WALL_MS UINT64_C(1780272000000)

struct side {
	struct key sign_key, kem_key;
	struct bytes certificate;
	struct iecp_pin pin;
	struct iecp_anchor anchor;
	struct iecp_config config;
};

static struct side sides[2];

static result judge(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected, uint64_t now,
	struct iecp_peer *out)
{
	return iecp_anchor_certificate(ctx, chain, epoch, expected, now, out);
}

static result appraise(void *ctx, struct span evidence, const uint8_t bind[static IECP_BIND_SIZE], struct iecp_peer *peer)
{
	(void)ctx;
	(void)bind;
	return iecp_appraise_pinned(evidence, peer);
}

static result decide(void *ctx, enum iecp_question question, const struct iecp_peer *peer)
{
	(void)ctx;
	(void)question;
	(void)peer;
	return OK;
}

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void make_side(struct side *s, struct side *peer, enum iecp_role role, uint8_t seed, const char *uri)
{
	struct certificate_fields fields = {.serial = {1}, .uri = uri, .not_before = WALL_MS - DAY_MS, .not_after = WALL_MS + DAY_MS};
	uint8_t seed48[48] = {seed};

	must(key_from_seed48(SPAN_ARRAY(seed48), &s->sign_key) == OK);
	seed48[1] = 1;
	must(key_from_seed48(SPAN_ARRAY(seed48), &s->kem_key) == OK);
	memcpy(fields.sign_point, s->sign_key.point, POINT_SIZE);
	memcpy(fields.kem_point, s->kem_key.point, POINT_SIZE);
	must(certificate_issue(&fields, &s->sign_key, "issuer", &s->certificate) == OK);
	s->pin = (struct iecp_pin){"peer", &peer->sign_key};
	s->anchor = (struct iecp_anchor){.pins = &s->pin, .pin_count = 1};
	s->config = (struct iecp_config){
		.role = role,
		.certificate = bytes_span(&s->certificate),
		.sign_key = &s->sign_key,
		.kem_key = &s->kem_key,
		.expected_name = "peer",
		.verifier = {&s->anchor, judge, iecp_no_evidence, appraise, decide},
	};
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
		make_side(&sides[0], &sides[1], IECP_INITIATOR, 1, "spiffe://fuzz.example/ire/a");
		make_side(&sides[1], &sides[0], IECP_RESPONDER, 2, "spiffe://fuzz.example/ire/b");
		if (__lsan_enable)
			__lsan_enable();
	}
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
