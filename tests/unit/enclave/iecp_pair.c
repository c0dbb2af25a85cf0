#include "iecp_pair.h"

#include "crypto/random.h"

#include <stdio.h>
#include <stdlib.h>

static result certificate(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected,
	uint64_t now, struct iecp_peer *out)
{
	struct pair_side *side = ctx;
	return iecp_anchor_certificate(&side->anchor, chain, epoch, expected, now, out);
}

/* A root anchor as the object layer will have it, cut down: the peer's issuer key stands for the epoch key. */
static result root(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected, uint64_t now,
	struct iecp_peer *out)
{
	const struct pair_side *side = ctx;
	CLEANUP(arena_free) struct arena arena = arena_of(65536);
	CLEANUP(certificate_free) struct certificate leaf = {0};

	TRY(certificate_parse(chain, &arena, &leaf));
	TRY(certificate_verify(&leaf, &side->peer->issuer_key));
	TRY(certificate_valid_at(&leaf, now));
	snprintf(out->name, sizeof out->name, "%s", leaf.uri);
	out->sign_key = key_ref(&leaf.key);
	memcpy(out->kem_point, leaf.kem_point, POINT_SIZE);
	memcpy(out->certificate_digest, leaf.digest, SHA256_SIZE);
	out->not_after = leaf.not_after;
	return OK;
}

static result produce(void *ctx, const uint8_t bind[static IECP_BIND_SIZE], struct writer *out)
{
	struct pair_side *side = ctx;
	uint8_t signature[SIGNATURE_SIZE];

	side->produced++;
	if (side->cannot_attest)
		return fail(NOT_SUPPORTED, "no evidence here");
	if (!side->rooted)
		return OK;
	TRY(key_sign(&side->processor_key, span_of(bind, IECP_BIND_SIZE), signature));
	writer_put(out, signature, sizeof signature);
	for (size_t i = 0; i < side->padding; i++)
		writer_u8(out, 0);
	return OK;
}

static result appraise(void *ctx, struct span evidence, const uint8_t bind[static IECP_BIND_SIZE],
	struct iecp_peer *peer)
{
	struct pair_side *side = ctx;

	side->appraised++;
	if (side->by_authority)
		return iecp_appraise_by_authority(peer);
	if (iecp_epoch_is_zero(&peer->epoch))
		return iecp_appraise_pinned(evidence, peer);
	if (evidence.len < SIGNATURE_SIZE)
		return fail(EVIDENCE_MISMATCH, "evidence of %zu bytes", evidence.len);
	TRY(key_verify(&side->peer->processor_key, span_of(bind, IECP_BIND_SIZE), span_of(evidence.data, SIGNATURE_SIZE)));
	peer->level = 1;
	return OK;
}

static result decide(void *ctx, enum iecp_question question, const struct iecp_peer *peer)
{
	struct pair_side *side = ctx;

	side->decided++;
	if (side->refuse_question == (int)question)
		return fail(NO_PERMISSION, "policy refuses %s", peer->name);
	return OK;
}

void pair_certify(struct pair_side *side, const char *uri, uint64_t not_before, uint64_t not_after)
{
	struct certificate_fields fields = {.serial = {1}, .uri = uri, .not_before = not_before, .not_after = not_after};

	memcpy(fields.sign_point, side->sign_key.point, POINT_SIZE);
	memcpy(fields.kem_point, side->kem_key.point, POINT_SIZE);
	bytes_free(&side->certificate);
	assert_int_equal(certificate_issue(&fields, &side->issuer_key, "issuer", &side->certificate), OK);
	side->config.certificate = bytes_span(&side->certificate);
}

static void init_side(struct pair_side *side, enum iecp_role role, const char *name, bool rooted)
{
	*side = (struct pair_side){.rooted = rooted, .refuse_question = -1};
	assert_int_equal(key_generate(&side->sign_key), OK);
	assert_int_equal(key_generate(&side->kem_key), OK);
	assert_int_equal(key_generate(&side->issuer_key), OK);
	assert_int_equal(key_generate(&side->processor_key), OK);
	side->config = (struct iecp_config){
		.role = role,
		.pq = IECP_PQ_OFF, /* the same on machines with and without ML-KEM */
		.sign_key = &side->sign_key,
		.kem_key = &side->kem_key,
		.own_name = name,
		.verifier = {side, certificate, produce, appraise, decide},
	};
	if (rooted)
		side->config.epoch = (struct iecp_epoch){.rot_id = {1}, .era = 2, .epoch = 3, .oid = {4}};
	pair_certify(side, name, PAIR_NOW_MS - PAIR_DAY_MS, PAIR_NOW_MS + PAIR_DAY_MS);
}

static void introduce(struct pair_side *side, const struct pair_side *peer)
{
	side->peer = peer;
	side->pin = (struct iecp_pin){peer->config.own_name, &peer->issuer_key};
	side->anchor = (struct iecp_anchor){&side->pin, 1, side, root};
	side->config.expected_name = peer->config.own_name;
}

void pair_init(struct pair *pair, bool rooted)
{
	init_side(&pair->i, IECP_INITIATOR, "spiffe://test.example/ire/alice", rooted);
	init_side(&pair->r, IECP_RESPONDER, "spiffe://test.example/ire/bob", rooted);
	introduce(&pair->i, &pair->r);
	introduce(&pair->r, &pair->i);
}

/* ---- suite 2 on machines without ML-KEM ---- */

/* Not secure and never mistaken for ML-KEM: key = H(seed) over and over; ct = message ‖ zeros; secret = H(key ‖ message). */
struct stand_in {
	uint8_t key[MLKEM_KEY_SIZE];
};

static void stand_in_secret(const uint8_t key[static MLKEM_KEY_SIZE], const uint8_t *ct, uint8_t out[static MLKEM_SECRET_SIZE])
{
	uint8_t both[MLKEM_KEY_SIZE + MLKEM_CT_SIZE];
	memcpy(both, key, MLKEM_KEY_SIZE);
	memcpy(both + MLKEM_KEY_SIZE, ct, MLKEM_CT_SIZE);
	sha256(SPAN_ARRAY(both), out);
}

static result stand_in_generate(struct span seed, struct mlkem *out, uint8_t out_key[static MLKEM_KEY_SIZE])
{
	struct stand_in *own = malloc(sizeof *own);
	assert_non_null(own);
	random_bytes(own->key, sizeof own->key);
	memcpy(out_key, own->key, sizeof own->key);
	out->pkey = own;
	return OK;
}

static result stand_in_encapsulate(struct span key, struct span message, uint8_t out_ct[static MLKEM_CT_SIZE],
	uint8_t out_secret[static MLKEM_SECRET_SIZE])
{
	assert_int_equal(key.len, MLKEM_KEY_SIZE);
	random_bytes(out_ct, MLKEM_CT_SIZE);
	stand_in_secret(key.data, out_ct, out_secret);
	return OK;
}

static result stand_in_decapsulate(const struct mlkem *own, struct span ct, uint8_t out_secret[static MLKEM_SECRET_SIZE])
{
	const struct stand_in *mine = own->pkey;
	stand_in_secret(mine->key, ct.data, out_secret);
	return OK;
}

static void stand_in_free(struct mlkem *own)
{
	free(own->pkey);
	own->pkey = NULL;
}

static const struct iecp_kem stand_in = {stand_in_generate, stand_in_encapsulate, stand_in_decapsulate, stand_in_free};
const struct iecp_hooks pair_stand_in = {.kem = &stand_in};

void pair_have_suite_2(struct pair *pair)
{
	pair->i.config.pq = pair->r.config.pq = IECP_PQ_PREFER;
	pair->i.config.hooks = pair->r.config.hooks = mlkem_available() ? NULL : &pair_stand_in;
}

static void close_side(struct pair_side *side)
{
	iecp_free(side->handshake);
	iecp_channel_free(side->channel);
	side->handshake = NULL;
	side->channel = NULL;
	side->produced = side->appraised = side->decided = 0;
}

static void free_side(struct pair_side *side)
{
	close_side(side);
	key_free(&side->sign_key);
	key_free(&side->kem_key);
	key_free(&side->issuer_key);
	key_free(&side->processor_key);
	bytes_free(&side->certificate);
}

void pair_free(struct pair *pair)
{
	free_side(&pair->i);
	free_side(&pair->r);
}

void pair_open(struct pair *pair)
{
	close_side(&pair->i);
	close_side(&pair->r);
	assert_int_equal(iecp_new(&pair->i.config, PAIR_NOW, &pair->i.handshake), OK);
	assert_int_equal(iecp_new(&pair->r.config, PAIR_NOW, &pair->r.handshake), OK);
}

static result collect(result r, struct writer *w, struct bytes *out)
{
	if (r == OK)
		r = writer_take(w, out);
	else
		assert_int_equal(w->len, 0); /* outputs untouched on failure */
	writer_free(w);
	return r;
}

result pair_start(struct pair_side *side, struct bytes *out)
{
	struct writer w = writer_growing(1 << 20);
	return collect(iecp_start(side->handshake, PAIR_NOW, &w), &w, out);
}

result pair_receive(struct pair_side *side, struct span frame, struct bytes *out)
{
	struct writer w = writer_growing(1 << 20);
	return collect(iecp_receive(side->handshake, frame, PAIR_NOW, &w), &w, out);
}

void pair_frames_free(struct pair_frames *frames)
{
	bytes_free(&frames->m1);
	bytes_free(&frames->m2);
	bytes_free(&frames->m3);
}

void pair_run(struct pair *pair, struct pair_frames *out)
{
	struct bytes none = BYTES_EMPTY;

	pair_open(pair);
	assert_int_equal(pair_start(&pair->i, &out->m1), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&out->m1), &out->m2), OK);
	assert_int_equal(pair_receive(&pair->i, bytes_span(&out->m2), &out->m3), OK);
	assert_int_equal(pair_receive(&pair->r, bytes_span(&out->m3), &none), OK);
	assert_int_equal(none.len, 0);
	bytes_free(&none);
}

void pair_channels(struct pair *pair)
{
	CLEANUP(pair_frames_free) struct pair_frames frames = {0};

	pair_run(pair, &frames);
	assert_int_equal(iecp_take_channel(pair->i.handshake, &pair->i.channel), OK);
	assert_int_equal(iecp_take_channel(pair->r.handshake, &pair->r.channel), OK);
}
