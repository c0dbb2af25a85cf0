/* The handshake, accepted and attacked. Ids are those of the list of attacks (docs/ATTACKS.md). */
#include "groups.h"
#include "iecp_pair.h"

#include "crypto/random.h"

#include <stdlib.h>

static int setup(void **state)
{
	struct pair *pair = calloc(1, sizeof *pair);
	pair_init(pair, true);
	*state = pair;
	return 0;
}

static int setup_pinned(void **state)
{
	struct pair *pair = calloc(1, sizeof *pair);
	pair_init(pair, false);
	*state = pair;
	return 0;
}

/* ---- suite 2: ML-KEM-768 where OpenSSL has it, and everywhere a stand-in for it ---- */

static int setup_hybrid(void **state)
{
	setup(state);
	struct pair *pair = *state;
	pair_have_suite_2(pair);
	return 0;
}

/* As on a machine with ML-KEM, whatever OpenSSL there is. */
static int setup_stand_in(void **state)
{
	setup_hybrid(state);
	struct pair *pair = *state;
	pair->i.config.hooks = pair->r.config.hooks = &pair_stand_in;
	return 0;
}

static int teardown(void **state)
{
	pair_free(*state);
	free(*state);
	return 0;
}

/* ---- acceptance ---- */

static void completes_with_evidence(void **state)
{
	struct pair *pair = *state;
	CLEANUP(pair_frames_free) struct pair_frames frames = {0};

	pair_run(pair, &frames);
	assert_true(iecp_is_complete(pair->i.handshake));
	assert_true(iecp_is_complete(pair->r.handshake));
	assert_string_equal(iecp_peer(pair->i.handshake)->name, pair->r.config.own_name);
	assert_string_equal(iecp_peer(pair->r.handshake)->name, pair->i.config.own_name);
	assert_int_equal(iecp_peer(pair->i.handshake)->level, 1);
	assert_int_equal(iecp_peer(pair->r.handshake)->level, 1);
	assert_int_equal(iecp_peer(pair->r.handshake)->epoch.epoch, 3);
	assert_int_equal(pair->i.produced, 1);
	assert_int_equal(pair->r.produced, 1);
	assert_int_equal(pair->i.decided, 1);
	assert_int_equal(pair->r.decided, 2);
}

static void pinned_key_is_level_0_and_named_by_the_local_rule(void **state)
{
	struct pair *pair = *state;
	CLEANUP(pair_frames_free) struct pair_frames frames = {0};

	pair->i.pin.name = "payroll bank"; /* not what bob's certificate says */
	pair->i.config.expected_name = "payroll bank";
	pair_run(pair, &frames);
	assert_string_equal(iecp_peer(pair->i.handshake)->name, "payroll bank");
	assert_int_equal(iecp_peer(pair->i.handshake)->level, 0);
	assert_int_equal(iecp_peer(pair->r.handshake)->level, 0);
}

static void no_peer_before_completion(void **state)
{
	struct pair *pair = *state;
	struct iecp_channel *none = NULL;

	pair_open(pair);
	assert_null(iecp_peer(pair->r.handshake));
	assert_int_equal(iecp_take_channel(pair->r.handshake, &none), ILLEGAL_STATE);
	assert_null(none);
}

static void channel_is_taken_once(void **state)
{
	struct pair *pair = *state;
	struct iecp_channel *second = NULL;

	pair_channels(pair);
	assert_int_equal(iecp_take_channel(pair->i.handshake, &second), ILLEGAL_STATE);
	assert_null(second);
}

static void frame_sizes(void **state)
{
	struct pair *pair = *state;
	const uint8_t largest[] = {0, 0, 0x40, 0}, larger[] = {0, 0, 0x40, 1}, huge[] = {0xff, 0xff, 0xff, 0xff};
	size_t total = 7;

	pair_open(pair);
	assert_int_equal(iecp_frame_size(pair->r.handshake, span_of(largest, 3), &total), OK);
	assert_int_equal(total, 0);
	assert_int_equal(iecp_frame_size(pair->r.handshake, SPAN_ARRAY(largest), &total), OK);
	assert_int_equal(total, 4 + 16384);
	assert_int_equal(iecp_frame_size(pair->r.handshake, SPAN_ARRAY(larger), &total), TOO_LARGE);
	assert_int_equal(iecp_frame_size(pair->r.handshake, SPAN_ARRAY(huge), &total), TOO_LARGE);
	assert_int_equal(total, 4 + 16384);
}

/* ---- every byte of every message ---- */

/* Neither side may finish a handshake of which one byte of one message was altered, and the reason is typed. */
static void run_with_flip(struct pair *pair, int message, size_t at, uint8_t mask, size_t *out_len)
{
	struct bytes m[3] = {BYTES_EMPTY, BYTES_EMPTY, BYTES_EMPTY}, none = BYTES_EMPTY;
	result r = OK;

	pair_open(pair);
	for (int step = 0; step < 4 && r == OK; step++) {
		struct pair_side *side = step % 2 ? &pair->r : &pair->i;
		r = step == 0 ? pair_start(side, &m[0])
			      : pair_receive(side, bytes_span(&m[step - 1]), step == 3 ? &none : &m[step]);
		if (r == OK && step == message) {
			*out_len = m[step].len;
			m[step].data[at] ^= mask;
		}
	}
	assert_int_not_equal(r, OK);
	assert_int_not_equal(r, INTERNAL);
	assert_int_not_equal(r, ILLEGAL_STATE);
	assert_false(iecp_is_complete(pair->r.handshake));
	if (message < 2)
		assert_false(iecp_is_complete(pair->i.handshake));
	for (int i = 0; i < 3; i++)
		bytes_free(&m[i]);
}

static void flips_of_every_byte(void **state)
{
	struct pair *pair = *state;

	for (int message = 0; message < 3; message++) {
		size_t len = 1;
		for (size_t at = 0; at < len; at++)
			run_with_flip(pair, message, at, (uint8_t)(1u << (at % 8)), &len);
		assert_true(len > 150);
	}
}

static void truncations_and_trailing_bytes(void **state) /* IE-13 */
{
	struct pair *pair = *state;
	CLEANUP(pair_frames_free) struct pair_frames frames = {0};
	struct bytes none = BYTES_EMPTY;
	uint8_t longer[2048];

	pair_run(pair, &frames);
	for (size_t cut = 0; cut < frames.m1.len; cut += 7) {
		pair_open(pair);
		assert_int_equal(pair_receive(&pair->r, span_of(frames.m1.data, cut), &none), TRUNCATED);
	}
	/* One byte more, inside the frame and after it. */
	assert_true(frames.m1.len + 1 < sizeof longer);
	memcpy(longer, frames.m1.data, frames.m1.len);
	longer[frames.m1.len] = 0;
	pair_open(pair);
	assert_int_equal(pair_receive(&pair->r, span_of(longer, frames.m1.len + 1), &none), TRAILING_BYTES);
	size_t inner = frames.m1.len - 4 + 1;
	longer[2] = (uint8_t)(inner >> 8);
	longer[3] = (uint8_t)inner;
	pair_open(pair);
	assert_int_equal(pair_receive(&pair->r, span_of(longer, frames.m1.len + 1), &none), TRAILING_BYTES);
}

static void empty_and_oversized_messages(void **state) /* IE-13 */
{
	struct pair *pair = *state;
	struct bytes none = BYTES_EMPTY;
	const uint8_t empty[4] = {0};
	size_t size = 4 + IECP_MAX_M1 + 1;
	uint8_t *big = calloc(1, size);

	pair_open(pair);
	assert_int_equal(pair_receive(&pair->r, SPAN_ARRAY(empty), &none), TRUNCATED);
	pair_open(pair);
	assert_int_equal(pair_receive(&pair->r, SPAN_EMPTY, &none), TRUNCATED);
	big[2] = 0x40;
	big[3] = 0x01;
	pair_open(pair);
	assert_int_equal(pair_receive(&pair->r, span_of(big, size), &none), TOO_LARGE);
	free(big);
}

/* ---- replay, reorder, drop, splice, reflection ---- */

static void replays(void **state) /* IE-02, BI-03 */
{
	struct pair *pair = *state;
	CLEANUP(pair_frames_free) struct pair_frames old = {0};
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY;
	struct bytes none = BYTES_EMPTY;

	pair_run(pair, &old);
	/* M1 again: answered with fresh keys, but the old M3 does not fit. */
	pair_open(pair);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&old.m1), &m2), OK);
	assert_false(span_equal(bytes_span(&m2), bytes_span(&old.m2)));
	assert_int_equal(pair_receive(&pair->r, bytes_span(&old.m3), &none), BAD_TAG);
	/* M2 again, to a new handshake. */
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&old.m2), &none), BAD_TAG);
	/* M3 twice. */
	bytes_free(&m1);
	bytes_free(&m2);
	pair_frames_free(&old);
	pair_run(pair, &old);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&old.m3), &none), ILLEGAL_STATE);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&old.m2), &none), ILLEGAL_STATE);
}

static void reorders_and_drops(void **state) /* IE-03, IE-04 */
{
	struct pair *pair = *state;
	CLEANUP(pair_frames_free) struct pair_frames old = {0};
	struct bytes none = BYTES_EMPTY;

	pair_run(pair, &old);
	pair_open(pair); /* M3 where M1 is due */
	assert_int_not_equal(pair_receive(&pair->r, bytes_span(&old.m3), &none), OK);
	assert_int_not_equal(pair_receive(&pair->r, bytes_span(&old.m1), &none), OK); /* no way back */
	pair_open(pair); /* an initiator that has not started */
	assert_int_equal(pair_receive(&pair->i, bytes_span(&old.m2), &none), ILLEGAL_STATE);
	pair_open(pair); /* a responder does not start */
	assert_int_equal(pair_start(&pair->r, &none), ILLEGAL_STATE);
}

static void splices(void **state) /* IE-14, BI-04 */
{
	struct pair *pair = *state;
	CLEANUP(pair_frames_free) struct pair_frames old = {0};
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;
	struct bytes none = BYTES_EMPTY;

	pair_run(pair, &old);
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	/* The box of another session under this session's head. */
	size_t head = 4 + 1 + 2 + 32 + 65 + 4 + 48;
	assert_int_equal(old.m2.len, m2.len); /* deterministic sizes: raw signatures */
	memcpy(m2.data + head, old.m2.data + head, m2.len - head);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), BAD_TAG);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&old.m3), &none), BAD_TAG);
}

static void reflections(void **state) /* IE-06, BI-02 */
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY;
	struct bytes none = BYTES_EMPTY;

	/* Own bytes come back. */
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_not_equal(pair_receive(&pair->i, bytes_span(&m1), &none), OK);
	/* M1 turned to a responder of the same identity: same certificate. */
	struct pair_side *r = &pair->r;
	struct iecp_config mirror = pair->i.config, saved = r->config;
	mirror.role = IECP_RESPONDER;
	mirror.verifier = saved.verifier;
	r->config = mirror;
	pair_open(pair);
	assert_int_equal(pair_receive(r, bytes_span(&m1), &none), REFLECTED);
	/* Another certificate over the same key. */
	struct bytes original = bytes_move(&pair->i.certificate);
	pair_certify(&pair->i, "spiffe://test.example/ire/other", PAIR_NOW_MS - 1000, PAIR_NOW_MS + PAIR_DAY_MS);
	r->config = mirror;
	r->config.certificate = bytes_span(&pair->i.certificate);
	r->config.expected_name = NULL;
	pair_open(pair);
	assert_int_equal(pair_receive(r, bytes_span(&m1), &none), REFLECTED);
	r->config = saved;
	/* Another key under our own name. */
	r->config.own_name = pair->i.config.own_name;
	r->config.expected_name = NULL;
	pair_open(pair);
	assert_int_equal(pair_receive(r, bytes_span(&m1), &none), REFLECTED);
	r->config = saved;
	bytes_free(&original);
}

/* ---- keys and identities ---- */

static void key_compromise_impersonation(void **state) /* IE-07 */
{
	struct pair *pair = *state;
	struct key thief;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;
	struct bytes none = BYTES_EMPTY;

	/* All of A's keys are stolen; the thief still cannot be B to A: B's certificate, another signing key. */
	assert_int_equal(key_generate(&thief), OK);
	pair->r.config.sign_key = &thief;
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), BAD_SIGNATURE);
	assert_int_equal(pair->i.produced, 0); /* own evidence has not even been made */
	pair->r.config.sign_key = &pair->r.sign_key;
	/* All of B's keys are stolen; the thief cannot be A to B: without A's KEM key nothing opens. */
	bytes_free(&m1);
	bytes_free(&m2);
	pair->i.config.kem_key = &thief;
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), BAD_TAG);
	pair->i.config.kem_key = &pair->i.kem_key;
	/* And with the KEM key alone the signature is missing. */
	bytes_free(&m1);
	bytes_free(&m2);
	pair->i.config.sign_key = &thief;
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m3), &none), BAD_SIGNATURE);
	pair->i.config.sign_key = &pair->i.sign_key;
	key_free(&thief);
}

/* Replaces lv(certI) in a frame of M1. */
static void swap_certificate(const struct bytes *frame, struct span certificate, struct bytes *out)
{
	size_t before = 4 + 1 + 1 + 2 + 32 + IECP_EPOCH_SIZE;
	struct writer w = writer_growing(1 << 20);
	struct reader r = reader_of(span_of(frame->data + before, frame->len - before));
	struct span old;

	assert_int_equal(reader_lv(&r, IECP_MAX_M1, &old), OK);
	writer_u32(&w, (uint32_t)(frame->len - 4 - old.len + certificate.len));
	writer_put(&w, frame->data + 4, before - 4);
	writer_lv(&w, certificate);
	writer_put(&w, r.at, reader_left(&r));
	assert_int_equal(writer_take(&w, out), OK);
	writer_free(&w);
}

static void unknown_key_share(void **state) /* IE-08 */
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, swapped = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;

	/* The attacker has A's public keys certified under a name of its own and swaps that certificate in. */
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	struct bytes original = bytes_move(&pair->i.certificate);
	pair_certify(&pair->i, "spiffe://test.example/ire/mallory", PAIR_NOW_MS - 1000, PAIR_NOW_MS + PAIR_DAY_MS);
	swap_certificate(&m1, bytes_span(&pair->i.certificate), &swapped);
	pair->r.config.expected_name = NULL;
	pair_open(pair);
	bytes_free(&m1);
	pair->i.config.certificate = bytes_span(&original);
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	bytes_free(&swapped);
	swap_certificate(&m1, bytes_span(&pair->i.certificate), &swapped);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&swapped), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), BAD_TAG);
	bytes_free(&original);
}

static void later_theft_of_static_keys(void **state) /* IE-15; the proof is model/iecp-forward-secrecy.pv */
{
	struct pair *pair = *state;
	CLEANUP(pair_frames_free) struct pair_frames frames = {0};
	struct iecp_keys keys = {0};
	struct iecp_m2 m2;
	struct span m1, message;
	uint8_t th1[32], drawn[32];

	pair_run(pair, &frames);
	assert_int_equal(iecp_unframe(bytes_span(&frames.m1), IECP_MAX_M1, &m1), OK);
	assert_int_equal(iecp_unframe(bytes_span(&frames.m2), IECP_MAX_M2, &message), OK);
	assert_int_equal(iecp_m2_decode(message, &m2), OK);
	assert_int_equal(iecp_transcript_start(SPAN_EMPTY, m1, m2.head, th1), OK);
	/* The thief has the recorded messages and every static key: one of the two DHs stays out of reach. */
	assert_int_equal(key_agree(&pair->i.kem_key, m2.ephemeral, keys.inputs + ECDH_SIZE), OK);
	assert_int_equal(key_agree(&pair->i.sign_key, m2.ephemeral, keys.inputs), OK);
	iecp_schedule_kek(&keys, m2.suite, th1);
	assert_int_equal(aead_open_once(keys.kek, SPAN_ARRAY(th1), m2.wrap, drawn), BAD_TAG);
}

static void wrong_name(void **state)
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;

	pair->i.config.expected_name = "spiffe://test.example/ire/carol";
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), PEER_NAME_MISMATCH);
	assert_int_equal(pair->i.produced, 0);
}

static void foreign_certificate(void **state)
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY;
	struct key other;

	assert_int_equal(key_generate(&other), OK);
	struct key saved = pair->i.issuer_key;
	pair->i.issuer_key = other;
	pair_certify(&pair->i, pair->i.config.own_name, PAIR_NOW_MS - 1000, PAIR_NOW_MS + PAIR_DAY_MS);
	pair->i.issuer_key = saved;
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), CERTIFICATE_FOREIGN);
	key_free(&other);
}

static void root_that_nobody_pinned(void **state)
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY;

	pair->r.anchor.root = NULL;
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), CERTIFICATE_FOREIGN);
}

static void expired_certificates(void **state) /* BI-08 */
{
	struct pair *pair = *state;
	CLEANUP(pair_frames_free) struct pair_frames good = {0};
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;

	/* It was good a moment ago; that it was accepted then does not help it now. */
	pair_run(pair, &good);
	pair_certify(&pair->i, pair->i.config.own_name, PAIR_NOW_MS - PAIR_DAY_MS, PAIR_NOW_MS - 1000);
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), CERTIFICATE_EXPIRED);
	pair_certify(&pair->i, pair->i.config.own_name, PAIR_NOW_MS - 1000, PAIR_NOW_MS + PAIR_DAY_MS);
	pair_certify(&pair->r, pair->r.config.own_name, PAIR_NOW_MS + 1000, PAIR_NOW_MS + PAIR_DAY_MS);
	bytes_free(&m1);
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), CERTIFICATE_EXPIRED);
}

/* ---- points, suites, version ---- */

static result receive_altered_m1(struct pair *pair, size_t at, const void *bytes, size_t len)
{
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY;

	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	memcpy(m1.data + at, bytes, len);
	return pair_receive(&pair->r, bytes_span(&m1), &m2);
}

static void bad_points(void **state) /* IE-11 */
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;
	uint8_t zero[POINT_SIZE] = {0}, off_curve[POINT_SIZE] = {4}, compressed[POINT_SIZE] = {2},
		field[POINT_SIZE];

	off_curve[32] = 1;
	off_curve[64] = 1;
	memset(field, 0xff, sizeof field); /* coordinates beyond p */
	field[0] = 4;
	const uint8_t *points[] = {zero, off_curve, compressed, field};
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	size_t at = m1.len - 4 - POINT_SIZE;
	for (size_t i = 0; i < COUNT_OF(points); i++)
		assert_int_equal(receive_altered_m1(pair, at, points[i], POINT_SIZE), BAD_POINT);
	for (size_t i = 0; i < COUNT_OF(points); i++) {
		bytes_free(&m1);
		bytes_free(&m2);
		pair_open(pair);
		assert_int_equal(pair_start(&pair->i, &m1), OK);
		assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
		memcpy(m2.data + 4 + 1 + 2 + 32, points[i], POINT_SIZE);
		assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), BAD_POINT);
	}
}

/* M1 with another list of suites; `hybrid` bytes of ekI. */
static void rewrite_suites(const struct bytes *frame, const uint16_t *suites, size_t count, size_t hybrid,
	struct bytes *out)
{
	static const uint8_t filler[2048];
	struct writer body = writer_growing(1 << 20), w = writer_growing(1 << 20);
	struct span span;

	writer_put(&body, frame->data + 4, 1);
	writer_u8(&body, (uint8_t)count);
	for (size_t i = 0; i < count; i++)
		writer_u16(&body, suites[i]);
	writer_put(&body, frame->data + 8, frame->len - 8 - 4);
	writer_lv(&body, span_of(filler, hybrid));
	assert_int_equal(writer_finish(&body, &span), OK);
	writer_lv(&w, span);
	assert_int_equal(writer_take(&w, out), OK);
	writer_free(&body);
	writer_free(&w);
}

static void suites_offered(void **state)
{
	struct pair *pair = *state;
	static const struct {
		uint16_t suites[3];
		size_t count, hybrid;
		result expected;
	} cases[] = {
		{{1}, 1, 0, OK},
		{{2, 1}, 2, 1184, OK}, /* answered with 1 */
		{{1, 2}, 2, 1184, OK},
		{{7, 1}, 2, 0, OK}, /* a suite of the future */
		{{2}, 1, 1184, SUITE_REFUSED},
		{{7}, 1, 0, SUITE_REFUSED},
		{{2, 1}, 2, 0, BAD_VALUE},
		{{2, 1}, 2, 1183, BAD_VALUE},
		{{1}, 1, 1184, BAD_VALUE},
		{{1, 1}, 2, 0, BAD_VALUE},
		{{0, 1}, 2, 0, BAD_VALUE},
		{{0}, 0, 0, BAD_VALUE},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, altered = BYTES_EMPTY, m2 = BYTES_EMPTY;
		pair_open(pair);
		assert_int_equal(pair_start(&pair->i, &m1), OK);
		rewrite_suites(&m1, cases[i].suites, cases[i].count, cases[i].hybrid, &altered);
		assert_int_equal(pair_receive(&pair->r, bytes_span(&altered), &m2), cases[i].expected);
		if (cases[i].expected == OK)
			assert_int_equal(m2.data[4 + 2], IECP_SUITE_P256);
	}
}

static void downgrade_in_flight(void **state) /* IE-09, IE-10 */
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, altered = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;
	const uint16_t more[] = {1, 7};

	/* The list the responder sees is not the one that was sent: the transcripts differ. */
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	rewrite_suites(&m1, more, 2, 0, &altered);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&altered), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), BAD_TAG);
	/* The answer picks what was not offered. */
	bytes_free(&m1);
	bytes_free(&m2);
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	m2.data[4 + 2] = 3;
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), SUITE_REFUSED);
	/* Another version in either message. */
	const uint8_t version = 2;
	assert_int_equal(receive_altered_m1(pair, 4, &version, 1), UNKNOWN_VERSION);
}

static uint16_t agreed(struct pair *pair)
{
	pair_channels(pair);
	assert_int_equal(iecp_channel_suite(pair->i.channel), iecp_channel_suite(pair->r.channel));
	return iecp_channel_suite(pair->i.channel);
}

static void the_best_suite_that_both_have(void **state)
{
	struct pair *pair = *state;
	static const enum iecp_pq with[] = {IECP_PQ_PREFER, IECP_PQ_REQUIRE};

	for (size_t i = 0; i < COUNT_OF(with); i++)
		for (size_t r = 0; r < COUNT_OF(with); r++) {
			pair->i.config.pq = with[i];
			pair->r.config.pq = with[r];
			assert_int_equal(agreed(pair), IECP_SUITE_HYBRID);
		}
	/* One side without it: 1, and both can say so. */
	pair->i.config.pq = IECP_PQ_PREFER;
	pair->r.config.pq = IECP_PQ_OFF;
	assert_int_equal(agreed(pair), IECP_SUITE_P256);
	pair->i.config.pq = IECP_PQ_OFF;
	pair->r.config.pq = IECP_PQ_PREFER;
	assert_int_equal(agreed(pair), IECP_SUITE_P256);
}

static void required_and_not_there(void **state)
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY;

	/* An initiator that has none, and a responder that requires it. */
	pair->i.config.pq = IECP_PQ_OFF;
	pair->r.config.pq = IECP_PQ_REQUIRE;
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), PQ_REQUIRED);
	assert_int_equal(pair->r.decided, 0); /* before anything else */
	bytes_free(&m1);
	/* The other way round the list holds 2 alone. */
	pair->i.config.pq = IECP_PQ_REQUIRE;
	pair->r.config.pq = IECP_PQ_OFF;
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(m1.data[5], 1);
	assert_int_equal(m1.data[7], IECP_SUITE_HYBRID);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), SUITE_REFUSED);
}

static void required_without_ml_kem(void **state)
{
	struct pair *pair = *state;
	struct iecp *none = NULL;
	struct iecp_config config = pair->i.config;

	config.pq = IECP_PQ_REQUIRE;
	config.hooks = NULL;
	result made = iecp_new(&config, PAIR_NOW, &none);
	assert_int_equal(made, mlkem_available() ? OK : PQ_REQUIRED);
	iecp_free(none);
	/* A channel that had suite 2 is not renewed without it. */
	config.pq = IECP_PQ_OFF;
	config.least_suite = IECP_SUITE_HYBRID;
	none = NULL;
	assert_int_equal(iecp_new(&config, PAIR_NOW, &none), PQ_REQUIRED);
	assert_null(none);
}

/* Somebody on the way takes the offer of suite 2 out of M1, key and all: the responder answers with 1, the initiator sees it. */
static void hybrid_offer_taken_out(void **state) /* IE-09 */
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	struct bytes less = BYTES_EMPTY;

	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	writer_u32(&w, (uint32_t)(m1.len - 4 - 2 - MLKEM_KEY_SIZE));
	writer_put(&w, m1.data + 4, 1);
	writer_u8(&w, 1);
	writer_u16(&w, IECP_SUITE_P256);
	writer_put(&w, m1.data + 4 + 6, m1.len - 4 - 6 - MLKEM_KEY_SIZE - 4);
	writer_u32(&w, 0);
	assert_int_equal(writer_take(&w, &less), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&less), &m2), OK);
	assert_int_equal(m2.data[4 + 2], IECP_SUITE_P256);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), BAD_TAG);
	bytes_free(&less);
}

/* An answer in suite 1 to a handshake that was keyed with suite 2, and the other way round. */
static void suite_of_the_answer_changed(void **state) /* IE-09, IE-10 */
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	struct bytes less = BYTES_EMPTY;
	const size_t head = 4 + 1 + 2 + IECP_NONCE_SIZE + POINT_SIZE;

	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(m2.data[4 + 2], IECP_SUITE_HYBRID);
	writer_u32(&w, (uint32_t)(m2.len - 4 - MLKEM_CT_SIZE));
	writer_put(&w, m2.data + 4, head - 4);
	writer_u32(&w, 0);
	writer_put(&w, m2.data + head + 4 + MLKEM_CT_SIZE, m2.len - head - 4 - MLKEM_CT_SIZE);
	assert_int_equal(writer_take(&w, &less), OK);
	less.data[4 + 2] = IECP_SUITE_P256;
	assert_int_equal(pair_receive(&pair->i, bytes_span(&less), &m3), BAD_TAG);
	bytes_free(&less);
}

/* Another encapsulation key or ciphertext on the way: the secrets differ, or M1 does. */
static void hybrid_halves_exchanged(void **state) /* IE-14 */
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY, other1 = BYTES_EMPTY, other2 = BYTES_EMPTY;
	const size_t ct_at = 4 + 1 + 2 + IECP_NONCE_SIZE + POINT_SIZE + 4;

	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &other1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&other1), &other2), OK);
	for (int half = 0; half < 2; half++) {
		bytes_free(&m1);
		bytes_free(&m2);
		pair_open(pair);
		assert_int_equal(pair_start(&pair->i, &m1), OK);
		if (half == 0)
			memcpy(m1.data + m1.len - MLKEM_KEY_SIZE, other1.data + other1.len - MLKEM_KEY_SIZE, MLKEM_KEY_SIZE);
		assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
		if (half == 1)
			memcpy(m2.data + ct_at, other2.data + ct_at, MLKEM_CT_SIZE);
		assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), BAD_TAG);
	}
}

static uint8_t tapped[48]; /* the seed of the initiator's ephemeral key */

static void tapped_random(void *ctx, void *out, size_t len)
{
	bool *have = ctx;
	random_bytes(out, len);
	if (!*have && len == sizeof tapped)
		memcpy(tapped, out, len);
	*have = true;
}

/* Both ECDHs broken, as by a quantum computer: of a recorded handshake of suite 1 that opens the wrap, of suite 2 it does not. */
static void both_agreements_broken_later(void **state) /* IE-15 */
{
	struct pair *pair = *state;

	for (uint16_t suite = IECP_SUITE_P256; suite <= IECP_SUITE_HYBRID; suite++) {
		CLEANUP(pair_frames_free) struct pair_frames frames = {0};
		CLEANUP(key_free) struct key ephemeral = KEY_EMPTY;
		bool have = false;
		struct iecp_hooks hooks = {.ctx = &have, .random = tapped_random, .kem = pair_stand_in.kem};
		struct iecp_keys keys = {0};
		struct iecp_m2 m2;
		struct span m1, message;
		uint8_t th1[32], drawn[32];

		if (mlkem_available())
			hooks.kem = NULL;
		pair->i.config.hooks = &hooks;
		pair->r.config.pq = suite == IECP_SUITE_P256 ? IECP_PQ_OFF : IECP_PQ_REQUIRE;
		pair_run(pair, &frames);
		assert_int_equal(iecp_unframe(bytes_span(&frames.m1), IECP_MAX_M1, &m1), OK);
		assert_int_equal(iecp_unframe(bytes_span(&frames.m2), IECP_MAX_M2, &message), OK);
		assert_int_equal(iecp_m2_decode(message, &m2), OK);
		assert_int_equal(m2.suite, suite);
		assert_int_equal(iecp_transcript_start(SPAN_EMPTY, m1, m2.head, th1), OK);
		assert_int_equal(key_from_seed48(SPAN_ARRAY(tapped), &ephemeral), OK);
		assert_int_equal(key_agree(&ephemeral, m2.ephemeral, keys.inputs), OK);
		assert_int_equal(key_agree(&pair->i.kem_key, m2.ephemeral, keys.inputs + ECDH_SIZE), OK);
		iecp_schedule_kek(&keys, suite, th1);
		assert_int_equal(aead_open_once(keys.kek, SPAN_ARRAY(th1), m2.wrap, drawn), suite == IECP_SUITE_P256 ? OK : BAD_TAG);
		pair->i.config.hooks = NULL;
	}
}

/* ---- evidence and policy ---- */

static void evidence_for_another_session(void **state) /* BI-03, BI-04, BI-05 */
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;
	struct bytes none = BYTES_EMPTY;
	struct key other;

	/* Evidence of a processor that is not believed, on either side; a bind is always judged as 64 bytes. */
	assert_int_equal(key_generate(&other), OK);
	struct key saved = pair->r.processor_key;
	struct pair_side believed = pair->r;
	pair->i.peer = &believed;
	pair->r.processor_key = other;
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), BAD_SIGNATURE);
	assert_int_equal(pair->i.produced, 0);
	pair->r.processor_key = saved;
	pair->i.peer = &pair->r;
	/* The same for the initiator's evidence, seen by the responder. */
	bytes_free(&m1);
	bytes_free(&m2);
	struct pair_side believed_i = pair->i;
	pair->r.peer = &believed_i;
	saved = pair->i.processor_key;
	pair->i.processor_key = other;
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m3), &none), BAD_SIGNATURE);
	pair->i.processor_key = saved;
	key_free(&other);
}

static void binds_differ_by_role_transcript_and_key(void **state) /* BI-04 */
{
	uint8_t th[32] = {1}, id[32] = {2}, base[64], other[64];
	(void)state;

	iecp_bind(IECP_RESPONDER, th, id, base);
	iecp_bind(IECP_INITIATOR, th, id, other);
	assert_memory_not_equal(base, other, 64);
	th[31] ^= 1;
	iecp_bind(IECP_RESPONDER, th, id, other);
	assert_memory_not_equal(base, other, 64);
	th[31] ^= 1;
	id[31] ^= 1;
	iecp_bind(IECP_RESPONDER, th, id, other);
	assert_memory_not_equal(base, other, 64);
}

/* BI-06: no exporter before the channel, and no channel without what was to be bound to it. */
static void without_evidence_there_is_nothing_to_bind(void **state)
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;
	struct bytes none = BYTES_EMPTY;
	struct iecp_channel *channel = NULL;

	pair->r.cannot_attest = true;
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &none), NOT_SUPPORTED);
	assert_int_equal(none.len, 0);
	assert_int_equal(pair->r.produced, 1);
	assert_int_equal(iecp_take_channel(pair->r.handshake, &channel), NOT_SUPPORTED);
	pair->r.cannot_attest = false;
	pair->i.cannot_attest = true;
	bytes_free(&m1);
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), NOT_SUPPORTED);
	assert_int_equal(m3.len, 0);
	assert_int_equal(iecp_take_channel(pair->i.handshake, &channel), NOT_SUPPORTED);
	assert_int_equal(iecp_take_channel(pair->r.handshake, &channel), ILLEGAL_STATE);
	assert_null(channel);
	pair->i.cannot_attest = false;
}

static void evidence_from_a_pinned_peer(void **state)
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;

	pair->r.rooted = true; /* sends evidence, though its epoch pointer is zero */
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), EVIDENCE_UNEXPECTED);
	assert_int_equal(pair->i.appraised, 0);
}

static void policy_stands_at_three_doors(void **state)
{
	struct pair *pair = *state;
	struct bytes none = BYTES_EMPTY;

	for (int question = IECP_MAY_ANSWER; question <= IECP_MAY_DELIVER; question++) {
		CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;
		pair->i.refuse_question = pair->r.refuse_question = question;
		pair_open(pair);
		assert_int_equal(pair_start(&pair->i, &m1), OK);
		result r = pair_receive(&pair->r, bytes_span(&m1), &m2);
		assert_int_equal(r, question == IECP_MAY_ANSWER ? NO_PERMISSION : OK);
		if (r != OK) {
			assert_int_equal(pair->r.produced, 0);
			continue;
		}
		r = pair_receive(&pair->i, bytes_span(&m2), &m3);
		assert_int_equal(r, question == IECP_MAY_REVEAL ? NO_PERMISSION : OK);
		if (r != OK) {
			assert_int_equal(pair->i.produced, 0);
			continue;
		}
		assert_int_equal(pair_receive(&pair->r, bytes_span(&m3), &none), NO_PERMISSION);
		assert_false(iecp_is_complete(pair->r.handshake));
	}
}

static void nobody_to_ask_is_a_denial(void **state)
{
	struct pair *pair = *state;
	struct iecp *h = NULL;
	struct iecp_config c = pair->i.config;

	c.verifier.decide = NULL;
	assert_int_equal(iecp_new(&c, PAIR_NOW, &h), ILLEGAL_STATE);
	c = pair->i.config;
	c.verifier.appraise = NULL;
	assert_int_equal(iecp_new(&c, PAIR_NOW, &h), ILLEGAL_STATE);
	c = pair->i.config;
	c.expected_name = NULL;
	assert_int_equal(iecp_new(&c, PAIR_NOW, &h), ILLEGAL_STATE);
	c = pair->i.config;
	c.psk = SPAN_ARRAY("0123456789abcdef0123456789abcde");
	assert_int_equal(iecp_new(&c, PAIR_NOW, &h), BAD_VALUE);
	c = pair->i.config;
	c.role = 3;
	assert_int_equal(iecp_new(&c, PAIR_NOW, &h), BAD_VALUE);
	assert_null(h);
}

/* ---- psk, time, limits, memory ---- */

static void psk_must_agree(void **state)
{
	struct pair *pair = *state;
	CLEANUP(pair_frames_free) struct pair_frames frames = {0};
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;
	uint8_t psk[32] = {7}, other[32] = {8}, id[32] = {9};

	pair->i.config.psk = pair->r.config.psk = SPAN_ARRAY(psk);
	pair->i.config.psk_id = pair->r.config.psk_id = SPAN_ARRAY(id);
	pair_run(pair, &frames);
	pair->r.config.psk = SPAN_ARRAY(other);
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), BAD_TAG);
	bytes_free(&m1);
	bytes_free(&m2);
	pair->r.config.psk = SPAN_ARRAY(psk);
	pair->r.config.psk_id = SPAN_ARRAY(other);
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), BAD_TAG);
}

static void handshake_has_a_deadline(void **state)
{
	struct pair *pair = *state;
	struct iecp_time late = PAIR_NOW;
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);

	late.steady_ms += IECP_HANDSHAKE_MS;
	pair_open(pair);
	assert_int_equal(iecp_start(pair->i.handshake, late, &w), OK);
	late.steady_ms++;
	pair_open(pair);
	assert_int_equal(iecp_start(pair->i.handshake, late, &w), HANDSHAKE_EXPIRED);
	assert_int_equal(iecp_start(pair->i.handshake, PAIR_NOW, &w), HANDSHAKE_EXPIRED); /* for good */
}

static void half_open_handshakes_are_limited(void **state)
{
	struct pair *pair = *state;
	struct iecp_half_open *table = calloc(1, sizeof *table);
	struct iecp *open[IECP_HALF_OPEN_PER_PEER];
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY;

	pair->r.config.half_open = table;
	pair->r.config.address = span_str("somewhere");
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	for (size_t i = 0; i < COUNT_OF(open); i++) {
		CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
		assert_int_equal(iecp_new(&pair->r.config, PAIR_NOW, &open[i]), OK);
		assert_int_equal(iecp_receive(open[i], bytes_span(&m1), PAIR_NOW, &w), OK);
	}
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), TOO_MANY_HALF_OPEN);
	assert_int_equal(pair->r.produced, COUNT_OF(open)); /* nothing was computed for the one too many */
	/* Elsewhere there is room, and one that ends makes room. */
	pair->r.config.address = span_str("elsewhere");
	pair_open(pair);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	bytes_free(&m2);
	pair->r.config.address = span_str("somewhere");
	iecp_free(open[0]);
	pair_open(pair);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	for (size_t i = 1; i < COUNT_OF(open); i++)
		iecp_free(open[i]);
	pair_open(pair);
	for (size_t i = 0; i < IECP_HALF_OPEN_MAX; i++)
		assert_int_equal(table->rows[i].key, 0);
	iecp_free(pair->r.handshake);
	pair->r.handshake = NULL;
	free(table);
}

/* Ten thousand peers that begin and never finish: so many places and no more, no memory of its own, room again when time is over. */
static void ten_thousand_half_open(void **state)
{
	static struct iecp_half_open table;
	struct iecp_half_open_place place;
	size_t let_in = 0;
	(void)state;

	for (uint32_t i = 0; i < 10000; i++) {
		result r = iecp_half_open_enter(&table, span_of((uint8_t *)&i, sizeof i), SPAN_EMPTY, 1000 + i / 100, 1000 + IECP_HANDSHAKE_MS, &place);
		assert_true(r == OK || r == TOO_MANY_HALF_OPEN);
		let_in += r == OK;
	}
	assert_int_equal(let_in, IECP_HALF_OPEN_MAX);
	uint32_t honest = 77777;
	struct span name = span_of((uint8_t *)&honest, sizeof honest);
	assert_int_equal(iecp_half_open_enter(&table, name, SPAN_EMPTY, 1000 + IECP_HANDSHAKE_MS, 30000, &place), TOO_MANY_HALF_OPEN);
	assert_int_equal(iecp_half_open_enter(&table, name, SPAN_EMPTY, 1001 + IECP_HANDSHAKE_MS, 30000, &place), OK);
	iecp_half_open_leave(&table, &place);
}

/*
 * The same with whole messages: ten thousand good M1 from many places, none of which is followed by an M3. So many are answered; for
 * the others nothing is computed and nothing is kept. An honest peer gets through as soon as their time is over.
 */
static void ten_thousand_begun_and_left(void **state)
{
	enum { BEGUN = 10000, PLACES = 1250 };
	struct pair *pair = *state;
	static struct iecp_half_open table;
	struct iecp *answered[IECP_HALF_OPEN_MAX];
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY;
	size_t count = 0;

	pair->r.config.half_open = &table;
	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	for (uint32_t n = 0; n < BEGUN; n++) {
		CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
		uint32_t place = n % PLACES;
		struct iecp *begun;
		pair->r.config.address = span_of((uint8_t *)&place, sizeof place);
		assert_int_equal(iecp_new(&pair->r.config, PAIR_NOW, &begun), OK);
		result r = iecp_receive(begun, bytes_span(&m1), PAIR_NOW, &w);
		if (r == OK) {
			assert_true(count < COUNT_OF(answered));
			answered[count++] = begun;
			continue;
		}
		assert_int_equal(r, TOO_MANY_HALF_OPEN);
		assert_int_equal(w.len, 0);
		assert_null(iecp_secrets(begun));
		iecp_free(begun);
	}
	assert_int_equal(count, IECP_HALF_OPEN_MAX);
	assert_int_equal(pair->r.produced, IECP_HALF_OPEN_MAX); /* evidence, which costs most */

	struct iecp_time later = PAIR_NOW;
	later.steady_ms += IECP_HANDSHAKE_MS + 1;
	pair->r.config.address = span_str("an honest one");
	struct iecp *honest;
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	assert_int_equal(iecp_new(&pair->r.config, later, &honest), OK);
	assert_int_equal(iecp_receive(honest, bytes_span(&m1), later, &w), OK);
	iecp_free(honest);
	for (size_t i = 0; i < count; i++)
		iecp_free(answered[i]);
	pair->r.config.half_open = NULL;
}

static void half_open_rows_run_out(void **state)
{
	struct iecp_half_open *table = calloc(1, sizeof *table);
	struct iecp_half_open_place place = {0}, first = {0};
	(void)state;

	for (unsigned i = 0; i < IECP_HALF_OPEN_MAX; i++)
		assert_int_equal(iecp_half_open_enter(table, span_of(&i, sizeof i), SPAN_EMPTY, 0, 100, i ? &place : &first), OK);
	assert_int_equal(iecp_half_open_enter(table, span_str("x"), SPAN_EMPTY, 100, 200, &place), TOO_MANY_HALF_OPEN);
	assert_int_equal(iecp_half_open_enter(table, span_str("x"), SPAN_EMPTY, 101, 200, &place), OK);
	iecp_half_open_leave(table, &first); /* its row is gone, or another's: nothing happens */
	assert_int_equal(first.key, 0);
	assert_int_not_equal(table->rows[place.row].key, 0);
	free(table);
}

static bool is_zero(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	for (size_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

static void secrets_are_erased(void **state)
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY, m3 = BYTES_EMPTY;
	struct bytes none = BYTES_EMPTY;

	pair_open(pair);
	const struct iecp_keys *keys_i = iecp_secrets(pair->i.handshake), *keys_r = iecp_secrets(pair->r.handshake);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	/* The responder keeps only what M3 needs. */
	assert_true(is_zero(keys_r->inputs, sizeof keys_r->inputs));
	assert_true(is_zero(keys_r->extracted, 32) && is_zero(keys_r->kek, 32) && is_zero(keys_r->drawn, 32));
	assert_true(is_zero(keys_r->box_r, 32) && is_zero(keys_r->finish_r, 32));
	assert_false(is_zero(keys_r->session, 32));
	/* At the end nothing is left. The memory is the pool's own and stays mapped. */
	assert_int_equal(pair_receive(&pair->i, bytes_span(&m2), &m3), OK);
	assert_null(iecp_secrets(pair->i.handshake));
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m3), &none), OK);
	assert_null(iecp_secrets(pair->r.handshake));
	assert_ptr_not_equal(keys_i, keys_r);
}

static void secrets_are_erased_after_a_failure(void **state)
{
	struct pair *pair = *state;
	CLEANUP(bytes_free) struct bytes m1 = BYTES_EMPTY, m2 = BYTES_EMPTY;
	struct bytes none = BYTES_EMPTY;

	pair_open(pair);
	const struct iecp_keys *keys = iecp_secrets(pair->r.handshake);
	assert_int_equal(pair_start(&pair->i, &m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&m1), &m2), OK);
	assert_false(is_zero(keys, sizeof *keys));
	assert_int_not_equal(pair_receive(&pair->r, bytes_span(&m1), &none), OK);
	assert_null(iecp_secrets(pair->r.handshake));
	assert_true(is_zero(keys, sizeof *keys));
}

int group_iecp(void)
{
#define ROOTED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define PINNED(test) cmocka_unit_test_setup_teardown(test, setup_pinned, teardown)
#define HYBRID(test) cmocka_unit_test_setup_teardown(test, setup_hybrid, teardown)
#define STAND_IN(test) cmocka_unit_test_setup_teardown(test, setup_stand_in, teardown)
	const struct CMUnitTest tests[] = {
		ROOTED(completes_with_evidence),
		PINNED(pinned_key_is_level_0_and_named_by_the_local_rule),
		ROOTED(no_peer_before_completion),
		ROOTED(channel_is_taken_once),
		ROOTED(frame_sizes),
		ROOTED(flips_of_every_byte),
		ROOTED(truncations_and_trailing_bytes),
		ROOTED(empty_and_oversized_messages),
		ROOTED(replays),
		ROOTED(reorders_and_drops),
		ROOTED(splices),
		ROOTED(reflections),
		ROOTED(key_compromise_impersonation),
		ROOTED(unknown_key_share),
		ROOTED(later_theft_of_static_keys),
		ROOTED(wrong_name),
		ROOTED(foreign_certificate),
		PINNED(foreign_certificate),
		ROOTED(root_that_nobody_pinned),
		ROOTED(expired_certificates),
		PINNED(expired_certificates),
		ROOTED(bad_points),
		ROOTED(suites_offered),
		ROOTED(downgrade_in_flight),
		HYBRID(completes_with_evidence),
		STAND_IN(completes_with_evidence),
		HYBRID(flips_of_every_byte),
		HYBRID(truncations_and_trailing_bytes),
		HYBRID(replays),
		HYBRID(reorders_and_drops),
		HYBRID(splices),
		HYBRID(reflections),
		HYBRID(key_compromise_impersonation),
		HYBRID(later_theft_of_static_keys),
		HYBRID(psk_must_agree),
		HYBRID(secrets_are_erased),
		HYBRID(secrets_are_erased_after_a_failure),
		HYBRID(the_best_suite_that_both_have),
		STAND_IN(the_best_suite_that_both_have),
		HYBRID(required_and_not_there),
		ROOTED(required_without_ml_kem),
		HYBRID(hybrid_offer_taken_out),
		HYBRID(suite_of_the_answer_changed),
		HYBRID(hybrid_halves_exchanged),
		HYBRID(both_agreements_broken_later),
		ROOTED(evidence_for_another_session),
		ROOTED(binds_differ_by_role_transcript_and_key),
		ROOTED(without_evidence_there_is_nothing_to_bind),
		PINNED(evidence_from_a_pinned_peer),
		ROOTED(policy_stands_at_three_doors),
		ROOTED(nobody_to_ask_is_a_denial),
		ROOTED(psk_must_agree),
		ROOTED(handshake_has_a_deadline),
		ROOTED(half_open_handshakes_are_limited),
		ROOTED(ten_thousand_half_open),
		ROOTED(ten_thousand_begun_and_left),
		ROOTED(half_open_rows_run_out),
		ROOTED(secrets_are_erased),
		ROOTED(secrets_are_erased_after_a_failure),
	};
	return cmocka_run_group_tests_name("iecp", tests, NULL, NULL);
}
