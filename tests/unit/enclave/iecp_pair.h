/* Two IECP sides for tests: keys, certificates, a verifier that counts what it is asked, and frames between them. */
#ifndef TROTH_TESTS_ENCLAVE_IECP_PAIR_H
#define TROTH_TESTS_ENCLAVE_IECP_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* cmocka's; ours is base/result.h's */

#include "base/bytes.h"
#include "crypto/x509.h"
#include "enclave/iecp_anchor.h"
#include "enclave/iecp_internal.h"

/* 2026-06-01T00:00:00Z */
#define PAIR_NOW_MS UINT64_C(1780272000000)
#define PAIR_DAY_MS UINT64_C(86400000)
#define PAIR_NOW ((struct iecp_time){PAIR_NOW_MS, 1000})

struct pair_side {
	struct key sign_key, kem_key, issuer_key, processor_key; /* the last signs evidence */
	struct bytes certificate;
	struct iecp_config config;
	const struct pair_side *peer; /* whose keys are pinned and whose evidence is believed */
	struct iecp_pin pin;
	struct iecp_anchor anchor;
	bool by_authority; /* knows its peer by a CA: evidence is passed over */
	bool rooted; /* own epoch pointer and evidence */
	/* What the verifier should refuse. */
	int refuse_question; /* enum iecp_question, -1 for none */
	bool cannot_attest;  /* the producer of evidence fails */
	size_t padding;	     /* bytes of own evidence beside its signature */
	/* What it was asked. */
	unsigned produced, appraised, decided;
	struct iecp *handshake;
	struct iecp_channel *channel;
};

struct pair {
	struct pair_side i, r;
};

void pair_init(struct pair *pair, bool rooted);
void pair_free(struct pair *pair);
/* Both sides prefer suite 2: with ML-KEM-768 where OpenSSL has it, else with a stand-in. Otherwise pairs have it off. */
void pair_have_suite_2(struct pair *pair);
extern const struct iecp_hooks pair_stand_in; /* the stand-in alone */

/* Replaces the certificate of `side` by one with this name and validity, signed by its issuer key. */
void pair_certify(struct pair_side *side, const char *uri, uint64_t not_before, uint64_t not_after);

/* New handshakes on both sides. */
void pair_open(struct pair *pair);

/* One step of one side; the answer's frame, or an empty one. */
result pair_start(struct pair_side *side, struct bytes *out);
result pair_receive(struct pair_side *side, struct span frame, struct bytes *out);

/* The three frames of a handshake that completes. */
struct pair_frames {
	struct bytes m1, m2, m3;
};
void pair_frames_free(struct pair_frames *frames);
void pair_run(struct pair *pair, struct pair_frames *out);

/* Takes the channels of both sides. */
void pair_channels(struct pair *pair);

#endif
