/*
 * Two IECP sides that know each other by pinned keys and believe nobody else, for benchmarks and fuzz targets: no evidence, no
 * policy. Everything is borrowed from the `struct pinned_side`, which lives as long as what uses it.
 */
#ifndef TROTH_TESTS_IECP_PINNED_H
#define TROTH_TESTS_IECP_PINNED_H

#include "crypto/x509.h"
#include "enclave/iecp_anchor.h"
#include "enclave/iecp_channel.h"

#include <stdlib.h>
#include <string.h>

struct pinned_side {
	struct key sign_key, kem_key, issuer_key;
	struct bytes certificate;
	struct iecp_pin pin;
	struct iecp_anchor anchor;
	struct iecp_config config;
};

static inline void pinned_must(bool holds)
{
	if (!holds)
		abort();
}

static inline result pinned_judge(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected, uint64_t now,
	struct iecp_peer *out)
{
	return iecp_anchor_certificate(ctx, chain, epoch, expected, now, out);
}

static inline result pinned_appraise(void *ctx, struct span evidence, const uint8_t bind[static IECP_BIND_SIZE], struct iecp_peer *peer)
{
	(void)ctx;
	(void)bind;
	return iecp_appraise_pinned(evidence, peer);
}

static inline result pinned_decide(void *ctx, enum iecp_question question, const struct iecp_peer *peer)
{
	(void)ctx;
	(void)question;
	(void)peer;
	return OK;
}

/* A key from a seed, or a random one for seed 0. */
static inline void pinned_key(struct key *key, uint8_t seed, uint8_t which)
{
	uint8_t seed48[48] = {seed, which};
	pinned_must((seed ? key_from_seed48(SPAN_ARRAY(seed48), key) : key_generate(key)) == OK);
}

/* Certificates last from a day before `now_ms` to a day after it. `peer` need not be made yet. */
static inline void pinned_make(struct pinned_side *s, struct pinned_side *peer, enum iecp_role role, uint8_t seed, const char *uri,
	uint64_t now_ms)
{
	const uint64_t day = 86400000;
	struct certificate_fields fields = {.serial = {1}, .uri = uri, .not_before = now_ms - day, .not_after = now_ms + day};

	pinned_key(&s->sign_key, seed, 0);
	pinned_key(&s->kem_key, seed, 1);
	pinned_key(&s->issuer_key, seed, 2);
	memcpy(fields.sign_point, s->sign_key.point, POINT_SIZE);
	memcpy(fields.kem_point, s->kem_key.point, POINT_SIZE);
	pinned_must(certificate_issue(&fields, &s->issuer_key, "issuer", &s->certificate) == OK);
	s->pin = (struct iecp_pin){"peer", &peer->issuer_key};
	s->anchor = (struct iecp_anchor){.pins = &s->pin, .pin_count = 1};
	s->config = (struct iecp_config){
		.role = role,
		.pq = IECP_PQ_OFF,
		.certificate = bytes_span(&s->certificate),
		.sign_key = &s->sign_key,
		.kem_key = &s->kem_key,
		.expected_name = "peer",
		.verifier = {&s->anchor, pinned_judge, iecp_no_evidence, pinned_appraise, pinned_decide},
	};
}

/* The three messages; leaves both channels. */
static inline void pinned_shake(struct pinned_side sides[static 2], struct iecp_time now, struct iecp_channel **i, struct iecp_channel **r)
{
	struct iecp *hi = NULL, *hr = NULL;
	CLEANUP(writer_free) struct writer m1 = writer_growing(1 << 20), m2 = writer_growing(1 << 20), m3 = writer_growing(1 << 20);
	struct span frame = SPAN_EMPTY;

	pinned_must(iecp_new(&sides[0].config, now, &hi) == OK && iecp_new(&sides[1].config, now, &hr) == OK);
	pinned_must(iecp_start(hi, now, &m1) == OK && writer_finish(&m1, &frame) == OK);
	pinned_must(iecp_receive(hr, frame, now, &m2) == OK && writer_finish(&m2, &frame) == OK);
	pinned_must(iecp_receive(hi, frame, now, &m3) == OK && writer_finish(&m3, &frame) == OK);
	pinned_must(iecp_receive(hr, frame, now, &m1) == OK);
	pinned_must(iecp_take_channel(hi, i) == OK && iecp_take_channel(hr, r) == OK);
	iecp_free(hi);
	iecp_free(hr);
}

#endif
