/*
 * Theory of operation: the table `moves` says which step is allowed in which state and which function does it.
 * A step reads, checks, and only at its end writes to the caller; a failed step wipes every secret and the state
 * becomes FAILED, which has no way out. Each side erases what it no longer needs as soon as it can: the responder its
 * ephemeral, ss, P, kek and K_B before M2 leaves; both sides the rest when the channel is made.
 */
#include "enclave/iecp_internal.h"

#include "crypto/random.h"

#include <stdlib.h>

enum state { FRESH_INITIATOR, FRESH_RESPONDER, WAIT_M2, WAIT_M3, DONE, TAKEN, FAILED };
enum step { START, RECEIVE, TAKE };

struct iecp {
	struct iecp_config config;
	enum state state;
	enum reason failed;
	uint64_t until_steady_ms;
	uint16_t suites[2]; /* that this side would use, the best first */
	size_t suite_count;
	uint16_t suite; /* 0 before it is agreed on */
	struct key ephemeral;
	struct mlkem hybrid; /* initiator that offers suite 2, until M2 */
	struct bytes m1; /* initiator, until M2 */
	struct secret memory;
	struct iecp_keys *keys; /* in `memory` */
	uint8_t th[32];
	struct iecp_peer peer;
	struct iecp_half_open_place place;
	struct iecp_channel *channel;
};

void iecp_peer_free(struct iecp_peer *peer)
{
	if (!peer)
		return;
	key_free(&peer->sign_key);
	*peer = (struct iecp_peer){0};
}

/* ---- set-up ---- */

static result check_config(const struct iecp_config *c)
{
	if (c->role != IECP_INITIATOR && c->role != IECP_RESPONDER)
		return fail(BAD_VALUE, "an IECP side is initiator or responder");
	if (!c->verifier.certificate || !c->verifier.produce || !c->verifier.appraise || !c->verifier.decide)
		return fail(ILLEGAL_STATE, "an IECP side without a complete verifier would trust anybody");
	if (c->role == IECP_INITIATOR && !c->expected_name)
		return fail(ILLEGAL_STATE, "an initiator must say whom it calls");
	if (!c->sign_key || !c->sign_key->is_private || !c->kem_key || !c->kem_key->is_private)
		return fail(ILLEGAL_STATE, "an IECP side needs its own private keys");
	if (c->certificate.len == 0 || c->certificate.len > IECP_MAX_M1)
		return fail(BAD_CERTIFICATE, "own certificate of %zu bytes", c->certificate.len);
	if ((c->psk.len == 0) != (c->psk_id.len == 0) || (c->psk.len != 0 && c->psk.len != IECP_KEY_SIZE))
		return fail(BAD_VALUE, "psk and psk_id come together, from a channel, or not at all");
	if (c->same_peer && c->psk.len == 0)
		return fail(ILLEGAL_STATE, "a peer that must be the same belongs to a channel");
	return OK;
}

static result take_secret_memory(struct iecp *h)
{
	TRY(secret_new(sizeof *h->keys, &h->memory));
	h->keys = (struct iecp_keys *)(void *)h->memory.data;
	if (h->config.psk.len)
		memcpy(h->keys->psk, h->config.psk.data, IECP_KEY_SIZE);
	return OK;
}

static const struct iecp_kem the_kem = {mlkem_generate, mlkem_encapsulate, mlkem_decapsulate, mlkem_free};

/* NULL: this machine has none. */
static const struct iecp_kem *kem_of(const struct iecp_config *c)
{
	if (c->hooks && c->hooks->kem)
		return c->hooks->kem;
	return mlkem_available() ? &the_kem : NULL;
}

/* What a channel was protected by, it stays protected by. */
static result choose_suites(struct iecp *h)
{
	const struct iecp_config *c = &h->config;
	bool must = c->pq == IECP_PQ_REQUIRE || c->least_suite == IECP_SUITE_HYBRID;
	bool can = c->pq != IECP_PQ_OFF && kem_of(c);

	if (must && !can)
		return fail(PQ_REQUIRED, "%s", c->pq == IECP_PQ_OFF ? "a channel of suite 2 cannot go on without it"
								     : "this machine's OpenSSL has no ML-KEM-768");
	if (can)
		h->suites[h->suite_count++] = IECP_SUITE_HYBRID;
	if (!must)
		h->suites[h->suite_count++] = IECP_SUITE_P256;
	return OK;
}

result iecp_new(const struct iecp_config *config, struct iecp_time now, struct iecp **out)
{
	TRY(check_config(config));
	struct iecp *h = calloc(1, sizeof *h);
	if (!h)
		return fail(NO_MEMORY, "an IECP handshake");
	h->config = *config;
	h->state = config->role == IECP_INITIATOR ? FRESH_INITIATOR : FRESH_RESPONDER;
	h->until_steady_ms = config->until_steady_ms ? config->until_steady_ms : now.steady_ms + IECP_HANDSHAKE_MS;
	result r = choose_suites(h);
	if (r == OK)
		r = take_secret_memory(h);
	if (r != OK) {
		free(h);
		return r;
	}
	*out = h;
	return OK;
}

/* Everything but the channel and the peer: what neither side needs once the handshake is over. */
static void erase(struct iecp *h)
{
	key_free(&h->ephemeral);
	if (h->hybrid.pkey)
		kem_of(&h->config)->free(&h->hybrid);
	secret_free(&h->memory);
	h->keys = NULL;
	bytes_free(&h->m1);
	wipe(h->th, sizeof h->th);
	if (h->config.half_open)
		iecp_half_open_leave(h->config.half_open, &h->place);
}

void iecp_free(struct iecp *h)
{
	if (!h)
		return;
	erase(h);
	iecp_peer_free(&h->peer);
	iecp_channel_free(h->channel);
	wipe(h, sizeof *h);
	free(h);
}

const struct iecp_keys *iecp_secrets(const struct iecp *h)
{
	return h->keys;
}

/* ---- pieces of a step ---- */

static void draw(const struct iecp *h, void *out, size_t len)
{
	const struct iecp_hooks *hooks = h->config.hooks;

	if (hooks && hooks->random)
		hooks->random(hooks->ctx, out, len);
	else
		random_bytes(out, len);
}

static result make_ephemeral(struct iecp *h)
{
	const struct iecp_hooks *hooks = h->config.hooks;
	uint8_t seed[48];

	if (!hooks || !hooks->random)
		return key_generate(&h->ephemeral);
	hooks->random(hooks->ctx, seed, sizeof seed);
	result r = key_from_seed48(SPAN_ARRAY(seed), &h->ephemeral);
	wipe(seed, sizeof seed);
	return r;
}

/* Randomness of a known answer, `len` bytes, or nothing: then ML-KEM draws for itself. */
static struct span hook_random(const struct iecp *h, uint8_t *buffer, size_t len)
{
	const struct iecp_hooks *hooks = h->config.hooks;

	if (!hooks || !hooks->random)
		return SPAN_EMPTY;
	hooks->random(hooks->ctx, buffer, len);
	return span_of(buffer, len);
}

/* Signature of `role` over the transcript so far. */
static result sign(const struct iecp *h, enum iecp_role role, uint8_t out[static SIGNATURE_SIZE])
{
	const struct iecp_hooks *hooks = h->config.hooks;
	uint8_t message[IECP_SIGNED_SIZE];

	iecp_signed(role, h->th, message);
	if (hooks && hooks->sign)
		return hooks->sign(hooks->ctx, h->config.sign_key, SPAN_ARRAY(message), out);
	return key_sign(h->config.sign_key, SPAN_ARRAY(message), out);
}

static result check_signature(const struct iecp *h, enum iecp_role role, struct span signature)
{
	uint8_t message[IECP_SIGNED_SIZE];

	iecp_signed(role, h->th, message);
	return key_verify(&h->peer.sign_key, SPAN_ARRAY(message), signature);
}

static result check_finished(const struct iecp *h, const uint8_t key[static IECP_KEY_SIZE], struct span finished)
{
	uint8_t expected[SHA256_SIZE];

	hmac_sha256(span_of(key, IECP_KEY_SIZE), SPAN_ARRAY(h->th), expected);
	if (!secret_equal(SPAN_ARRAY(expected), finished))
		return fail(BAD_FINISHED, "key confirmation of %s", h->peer.name);
	return OK;
}

static result check_not_reflected(const struct iecp *h)
{
	const struct iecp_config *c = &h->config;

	if (memcmp(h->peer.sign_key.id, c->sign_key->id, KEY_ID_SIZE) == 0)
		return fail(REFLECTED, "the peer has this side's own key");
	if (c->own_name && strcmp(h->peer.name, c->own_name) == 0)
		return fail(REFLECTED, "the peer has this side's own name");
	return OK;
}

static result check_peer_name(const struct iecp *h)
{
	const char *expected = h->config.expected_name;

	if (expected && strcmp(h->peer.name, expected) != 0)
		return fail(PEER_NAME_MISMATCH, "asked for %s, got %s", expected, h->peer.name);
	return OK;
}

/*
 * A channel stays with who it was opened with: another launch of the same name under the same root would have other keys
 * (BI-11). Its epoch may have moved on, never back.
 */
static result check_same_peer(const struct iecp *h)
{
	const struct iecp_peer *old = h->config.same_peer, *new = &h->peer;

	if (!old)
		return OK;
	if (memcmp(new->sign_key.id, old->sign_key.id, KEY_ID_SIZE) != 0 ||
		memcmp(new->kem_point, old->kem_point, POINT_SIZE) != 0)
		return fail(PEER_CHANGED, "%s has other keys than when the channel was opened", new->name);
	if (strcmp(new->name, old->name) != 0)
		return fail(PEER_CHANGED, "%s was %s when the channel was opened", new->name, old->name);
	if (memcmp(new->epoch.rot_id, old->epoch.rot_id, sizeof new->epoch.rot_id) != 0)
		return fail(PEER_CHANGED, "%s has another root of trust than when the channel was opened", new->name);
	if (new->epoch.era < old->epoch.era || (new->epoch.era == old->epoch.era && new->epoch.epoch < old->epoch.epoch))
		return fail(EPOCH_TOO_OLD, "%s went back to epoch %llu", new->name, (unsigned long long)new->epoch.epoch);
	return OK;
}

/* Certificate, anchor, name, validity; fills h->peer. */
static result accept_certificate(struct iecp *h, struct span certificate, const struct iecp_epoch *epoch,
	struct iecp_time now)
{
	const struct iecp_config *c = &h->config;

	if (span_equal(certificate, c->certificate))
		return fail(REFLECTED, "the peer shows this side's own certificate");
	TRY(c->verifier.certificate(c->verifier.ctx, certificate, epoch, c->expected_name, now.wall_ms, &h->peer));
	h->peer.epoch = *epoch;
	h->peer.level = 0;
	if (!h->peer.sign_key.pkey || h->peer.name[0] == 0)
		return fail(INTERNAL, "the verifier accepted a certificate and gave no key or name");
	if (h->peer.not_after < now.wall_ms)
		return fail(CERTIFICATE_EXPIRED, "the certificate of %s", h->peer.name);
	TRY(check_not_reflected(h));
	TRY(check_peer_name(h));
	return check_same_peer(h);
}

static result decide(const struct iecp *h, enum iecp_question question)
{
	return h->config.verifier.decide(h->config.verifier.ctx, question, &h->peer);
}

/* `th` is the transcript the evidence must cover. */
static result appraise(struct iecp *h, enum iecp_role role, const uint8_t th[static 32], struct span evidence)
{
	const struct iecp_verifier *v = &h->config.verifier;
	bool pinned = iecp_epoch_is_zero(&h->peer.epoch);
	uint8_t bind[IECP_BIND_SIZE];

	if (pinned && evidence.len > 0)
		return fail(EVIDENCE_UNEXPECTED, "%zu bytes of evidence from %s", evidence.len, h->peer.name);
	iecp_bind(role, th, h->peer.sign_key.id, bind);
	TRY(v->appraise(v->ctx, evidence, bind, &h->peer));
	if (pinned)
		h->peer.level = 0;
	return OK;
}

static result produce(const struct iecp *h, enum iecp_role role, struct bytes *out)
{
	const struct iecp_verifier *v = &h->config.verifier;
	struct writer w = writer_growing(IECP_MAX_BOX);
	uint8_t bind[IECP_BIND_SIZE];

	iecp_bind(role, h->th, h->config.sign_key->id, bind);
	result r = v->produce(v->ctx, bind, &w);
	if (r == OK)
		r = writer_take(&w, out);
	writer_free(&w);
	return r;
}

/* finR or finI over the transcript, and the transcript past it. */
static result finish(struct iecp *h, const uint8_t key[static IECP_KEY_SIZE], uint8_t out[static SHA256_SIZE])
{
	hmac_sha256(span_of(key, IECP_KEY_SIZE), SPAN_ARRAY(h->th), out);
	return iecp_transcript_add(h->th, span_of(out, SHA256_SIZE));
}

/* lv(AE(key, aad, plain)) appended to `w`. */
static result put_box(struct writer *w, const uint8_t key[static IECP_KEY_SIZE], struct span aad, struct span plain)
{
	if (plain.len > IECP_MAX_BOX - AEAD_TAG_SIZE)
		return fail(TOO_LARGE, "certificate and evidence of %zu bytes do not fit a box", plain.len);
	writer_u32(w, (uint32_t)(plain.len + AEAD_TAG_SIZE));
	uint8_t *at = writer_reserve(w, plain.len + AEAD_TAG_SIZE);
	if (!at)
		return fail(NO_MEMORY, "a box of %zu bytes", plain.len);
	return aead_seal_once(key, aad, plain, at);
}

/* Ends the handshake: derives the channel from th9 and erases the rest. */
static result make_channel(struct iecp *h, struct iecp_time now)
{
	iecp_schedule_master(h->keys, h->th);
	TRY(iecp_channel_new(h->config.role, h->keys->master, now, &h->peer, &h->channel));
	iecp_channel_set_own(h->channel, &h->config);
	h->channel->suite = h->suite;
	erase(h);
	return OK;
}

/* ---- M1 ---- */

/* lv(ekI) */
static result put_hybrid_key(struct iecp *h, struct writer *w)
{
	uint8_t seed[MLKEM_SEED_SIZE], key[MLKEM_KEY_SIZE];

	if (h->suites[0] != IECP_SUITE_HYBRID) {
		writer_lv(w, SPAN_EMPTY);
		return OK;
	}
	result r = kem_of(&h->config)->generate(hook_random(h, seed, sizeof seed), &h->hybrid, key);
	wipe(seed, sizeof seed);
	TRY(r);
	writer_lv(w, SPAN_ARRAY(key));
	return OK;
}

static result put_m1(struct iecp *h, struct writer *w)
{
	uint8_t nonce[IECP_NONCE_SIZE];

	draw(h, nonce, sizeof nonce);
	writer_u8(w, IECP_VERSION);
	writer_u8(w, (uint8_t)h->suite_count);
	for (size_t i = 0; i < h->suite_count; i++)
		writer_u16(w, h->suites[i]);
	writer_put(w, nonce, sizeof nonce);
	iecp_epoch_put(w, &h->config.epoch);
	writer_lv(w, h->config.certificate);
	writer_put(w, h->ephemeral.point, POINT_SIZE);
	return put_hybrid_key(h, w);
}

static result send_m1(struct iecp *h, struct span none, struct iecp_time now, struct writer *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(IECP_MAX_M1);

	(void)none;
	(void)now;
	TRY(make_ephemeral(h));
	TRY(put_m1(h, &w));
	TRY(writer_take(&w, &h->m1));
	writer_lv(out, bytes_span(&h->m1));
	return OK;
}

/* ---- M1 -> M2 ---- */

/* The best suite that both sides have. */
static result pick_suite(struct iecp *h, const struct iecp_m1 *m1)
{
	for (size_t i = 0; i < h->suite_count && !h->suite; i++)
		if (iecp_m1_offers(m1, h->suites[i]))
			h->suite = h->suites[i];
	if (h->suite)
		return OK;
	if (h->suites[0] == IECP_SUITE_HYBRID && iecp_m1_offers(m1, IECP_SUITE_P256))
		return fail(PQ_REQUIRED, "the initiator offers suite %d alone", IECP_SUITE_P256);
	return fail(SUITE_REFUSED, "the initiator does not offer suite %d", h->suites[h->suite_count - 1]);
}

/* The checks of the seed's step 2, before anything is computed for this peer. */
static result admit(struct iecp *h, const struct iecp_m1 *m1, struct iecp_time now)
{
	const struct iecp_config *c = &h->config;

	TRY(pick_suite(h, m1));
	TRY(accept_certificate(h, m1->certificate, &m1->epoch, now));
	TRY(decide(h, IECP_MAY_ANSWER));
	if (c->half_open)
		TRY(iecp_half_open_enter(c->half_open, SPAN_ARRAY(h->peer.sign_key.id), c->address, now.steady_ms,
			h->until_steady_ms, &h->place));
	return OK;
}

/* lv(ct); leaves mlkem_ss behind the places of both ECDHs. */
static result put_hybrid_ct(struct iecp *h, const struct iecp_m1 *m1, struct writer *w)
{
	uint8_t message[MLKEM_MESSAGE_SIZE], ct[MLKEM_CT_SIZE];

	if (h->suite != IECP_SUITE_HYBRID) {
		writer_lv(w, SPAN_EMPTY);
		return OK;
	}
	result r = kem_of(&h->config)->encapsulate(m1->hybrid_key, hook_random(h, message, sizeof message), ct,
		h->keys->inputs + 2 * ECDH_SIZE);
	wipe(message, sizeof message);
	TRY(r);
	writer_lv(w, SPAN_ARRAY(ct));
	return OK;
}

static result put_m2_head(struct iecp *h, const struct iecp_m1 *m1, struct writer *w)
{
	uint8_t nonce[IECP_NONCE_SIZE];

	draw(h, nonce, sizeof nonce);
	TRY(make_ephemeral(h));
	writer_u8(w, IECP_VERSION);
	writer_u16(w, h->suite);
	writer_put(w, nonce, sizeof nonce);
	writer_put(w, h->ephemeral.point, POINT_SIZE);
	return put_hybrid_ct(h, m1, w);
}

/* Both DHs, the drawn key and its wrap; leaves th = th2 and the session keys. */
static result key_responder(struct iecp *h, const struct iecp_m1 *m1, struct writer *w)
{
	struct iecp_keys *keys = h->keys;
	uint8_t wrap[IECP_WRAP_SIZE];

	TRY(key_agree(&h->ephemeral, m1->ephemeral, keys->inputs));
	TRY(key_agree(&h->ephemeral, SPAN_ARRAY(h->peer.kem_point), keys->inputs + ECDH_SIZE));
	iecp_schedule_kek(keys, h->suite, h->th);
	draw(h, keys->drawn, sizeof keys->drawn);
	TRY(aead_seal_once(keys->kek, SPAN_ARRAY(h->th), SPAN_ARRAY(keys->drawn), wrap));
	TRY(iecp_transcript_add(h->th, SPAN_ARRAY(wrap)));
	iecp_schedule_session(keys, h->th);
	writer_put(w, wrap, sizeof wrap);

	key_free(&h->ephemeral);
	wipe(keys->inputs, sizeof keys->inputs);
	wipe(keys->psk, sizeof keys->psk);
	wipe(keys->extracted, sizeof keys->extracted);
	wipe(keys->kek, sizeof keys->kek);
	wipe(keys->drawn, sizeof keys->drawn);
	return OK;
}

/* lv(epR) ‖ lv(certR) ‖ lv(evidenceR) ‖ sigR ‖ finR; leaves th = th6. */
static result put_box_r(struct iecp *h, struct writer *plain)
{
	CLEANUP(bytes_free) struct bytes evidence = BYTES_EMPTY;
	uint8_t epoch[IECP_EPOCH_SIZE], signature[SIGNATURE_SIZE], finished[SHA256_SIZE];
	struct writer w = writer_fixed(epoch, sizeof epoch);

	iecp_epoch_put(&w, &h->config.epoch);
	TRY(iecp_transcript_add_lv2(h->th, SPAN_ARRAY(epoch), h->config.certificate)); /* th3 */
	TRY(produce(h, IECP_RESPONDER, &evidence));
	TRY(iecp_transcript_add_lv(h->th, bytes_span(&evidence))); /* th4 */
	TRY(sign(h, IECP_RESPONDER, signature));
	TRY(iecp_transcript_add(h->th, SPAN_ARRAY(signature))); /* th5 */
	TRY(finish(h, h->keys->finish_r, finished));		 /* th6 */

	writer_lv(plain, SPAN_ARRAY(epoch));
	writer_lv(plain, h->config.certificate);
	writer_lv(plain, bytes_span(&evidence));
	writer_put(plain, signature, sizeof signature);
	writer_put(plain, finished, sizeof finished);
	return OK;
}

static result put_m2(struct iecp *h, struct span m1_bytes, const struct iecp_m1 *m1, struct writer *w)
{
	CLEANUP(writer_free) struct writer plain = writer_growing(2 * IECP_MAX_BOX);
	uint8_t th2[32];
	struct span span;

	TRY(put_m2_head(h, m1, w));
	TRY(writer_finish(w, &span));
	TRY(iecp_transcript_start(h->config.psk_id, m1_bytes, span, h->th));
	TRY(key_responder(h, m1, w));
	memcpy(th2, h->th, sizeof th2);
	TRY(put_box_r(h, &plain));
	TRY(writer_finish(&plain, &span));
	TRY(put_box(w, h->keys->box_r, SPAN_ARRAY(th2), span));
	wipe(h->keys->box_r, sizeof h->keys->box_r);
	wipe(h->keys->finish_r, sizeof h->keys->finish_r);
	return OK;
}

static result receive_m1(struct iecp *h, struct span frame, struct iecp_time now, struct writer *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(IECP_MAX_M2);
	struct iecp_m1 m1;
	struct span message, answer;

	TRY(iecp_unframe(frame, IECP_MAX_M1, &message));
	TRY(iecp_m1_decode(message, &m1));
	TRY(admit(h, &m1, now));
	TRY(put_m2(h, message, &m1, &w));
	TRY(writer_finish(&w, &answer));
	writer_lv(out, answer);
	return OK;
}

/* ---- M2 -> M3 ---- */

/* Opens the wrap; leaves th = th2 and the session keys. */
static result key_initiator(struct iecp *h, const struct iecp_m2 *m2)
{
	struct iecp_keys *keys = h->keys;

	TRY(key_agree(&h->ephemeral, m2->ephemeral, keys->inputs));
	TRY(key_agree(h->config.kem_key, m2->ephemeral, keys->inputs + ECDH_SIZE));
	if (h->suite == IECP_SUITE_HYBRID)
		TRY(kem_of(&h->config)->decapsulate(&h->hybrid, m2->hybrid_ct, keys->inputs + 2 * ECDH_SIZE));
	iecp_schedule_kek(keys, h->suite, h->th);
	TRY(aead_open_once(keys->kek, SPAN_ARRAY(h->th), m2->wrap, keys->drawn));
	TRY(iecp_transcript_add(h->th, m2->wrap));
	iecp_schedule_session(keys, h->th);
	return OK;
}

/* Everything the responder says about itself, in the order of constructions/iecp.md; leaves th = th6. */
static result accept_responder(struct iecp *h, const struct iecp_box_r *box, struct iecp_time now)
{
	uint8_t th3[32], th4[32], th5[32];

	TRY(accept_certificate(h, box->certificate, &box->epoch, now));
	TRY(iecp_transcript_add_lv2(h->th, box->epoch_bytes, box->certificate));
	memcpy(th3, h->th, sizeof th3);
	TRY(iecp_transcript_add_lv(h->th, box->evidence));
	memcpy(th4, h->th, sizeof th4);
	TRY(iecp_transcript_add(h->th, box->signature));
	memcpy(th5, h->th, sizeof th5);

	TRY(check_finished(h, h->keys->finish_r, box->finished));
	memcpy(h->th, th4, sizeof th4);
	TRY(check_signature(h, IECP_RESPONDER, box->signature));
	memcpy(h->th, th5, sizeof th5);
	TRY(iecp_transcript_add(h->th, box->finished));
	TRY(appraise(h, IECP_RESPONDER, th3, box->evidence));
	return decide(h, IECP_MAY_REVEAL);
}

/* lv(evidenceI) ‖ sigI ‖ finI; leaves th = th9. */
static result put_box_i(struct iecp *h, struct writer *plain)
{
	CLEANUP(bytes_free) struct bytes evidence = BYTES_EMPTY;
	uint8_t signature[SIGNATURE_SIZE], finished[SHA256_SIZE];

	TRY(produce(h, IECP_INITIATOR, &evidence));
	TRY(iecp_transcript_add_lv(h->th, bytes_span(&evidence))); /* th7 */
	TRY(sign(h, IECP_INITIATOR, signature));
	TRY(iecp_transcript_add(h->th, SPAN_ARRAY(signature))); /* th8 */
	TRY(finish(h, h->keys->finish_i, finished));		 /* th9 */

	writer_lv(plain, bytes_span(&evidence));
	writer_put(plain, signature, sizeof signature);
	writer_put(plain, finished, sizeof finished);
	return OK;
}

static result put_m3(struct iecp *h, struct writer *w)
{
	CLEANUP(writer_free) struct writer plain = writer_growing(2 * IECP_MAX_BOX);
	uint8_t th6[32];
	struct span span;

	memcpy(th6, h->th, sizeof th6);
	TRY(put_box_i(h, &plain));
	TRY(writer_finish(&plain, &span));
	return put_box(w, h->keys->box_i, SPAN_ARRAY(th6), span);
}

static result open_box(const uint8_t key[static IECP_KEY_SIZE], struct span aad, struct span box, struct bytes *out)
{
	struct bytes plain = {malloc(box.len), box.len - AEAD_TAG_SIZE};

	if (!plain.data)
		return fail(NO_MEMORY, "a box of %zu bytes", box.len);
	result r = aead_open_once(key, aad, box, plain.data);
	if (r != OK) {
		bytes_free(&plain);
		return r;
	}
	*out = plain;
	return OK;
}

static result take_suite(struct iecp *h, uint16_t picked)
{
	for (size_t i = 0; i < h->suite_count; i++)
		if (h->suites[i] == picked)
			h->suite = picked;
	if (!h->suite)
		return fail(SUITE_REFUSED, "the responder picked suite %u, which was not offered", picked);
	return OK;
}

static result receive_m2(struct iecp *h, struct span frame, struct iecp_time now, struct writer *out)
{
	CLEANUP(bytes_free) struct bytes plain = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(IECP_MAX_M3);
	struct span message, answer;
	struct iecp_m2 m2;
	struct iecp_box_r box;

	TRY(iecp_unframe(frame, IECP_MAX_M2, &message));
	TRY(iecp_m2_decode(message, &m2));
	TRY(take_suite(h, m2.suite));
	TRY(iecp_transcript_start(h->config.psk_id, bytes_span(&h->m1), m2.head, h->th));
	TRY(key_initiator(h, &m2));
	TRY(open_box(h->keys->box_r, SPAN_ARRAY(h->th), m2.box, &plain));
	TRY(iecp_box_r_decode(bytes_span(&plain), &box));
	TRY(accept_responder(h, &box, now));
	TRY(put_m3(h, &w));
	TRY(writer_finish(&w, &answer));
	TRY(make_channel(h, now));
	writer_lv(out, answer);
	return OK;
}

/* ---- M3 ---- */

/* Everything the initiator says about itself; leaves th = th9. */
static result accept_initiator(struct iecp *h, const struct iecp_box_i *box)
{
	uint8_t th6[32];

	memcpy(th6, h->th, sizeof th6);
	TRY(iecp_transcript_add_lv(h->th, box->evidence)); /* th7 */
	TRY(check_signature(h, IECP_INITIATOR, box->signature));
	TRY(iecp_transcript_add(h->th, box->signature)); /* th8 */
	TRY(check_finished(h, h->keys->finish_i, box->finished));
	TRY(iecp_transcript_add(h->th, box->finished)); /* th9 */
	TRY(appraise(h, IECP_INITIATOR, th6, box->evidence));
	return decide(h, IECP_MAY_DELIVER);
}

static result receive_m3(struct iecp *h, struct span frame, struct iecp_time now, struct writer *out)
{
	CLEANUP(bytes_free) struct bytes plain = BYTES_EMPTY;
	struct span message, sealed;
	struct iecp_box_i box;

	(void)out;
	TRY(iecp_unframe(frame, IECP_MAX_M3, &message));
	TRY(iecp_m3_decode(message, &sealed));
	TRY(open_box(h->keys->box_i, SPAN_ARRAY(h->th), sealed, &plain));
	TRY(iecp_box_i_decode(bytes_span(&plain), &box));
	TRY(accept_initiator(h, &box));
	return make_channel(h, now);
}

/* ---- the table ---- */

struct move {
	enum state from;
	enum step step;
	enum state to;
	result (*act)(struct iecp *h, struct span frame, struct iecp_time now, struct writer *out);
};

static const struct move moves[] = {
	{FRESH_INITIATOR, START, WAIT_M2, send_m1},
	{FRESH_RESPONDER, RECEIVE, WAIT_M3, receive_m1},
	{WAIT_M2, RECEIVE, DONE, receive_m2},
	{WAIT_M3, RECEIVE, DONE, receive_m3},
	{DONE, TAKE, TAKEN, NULL},
};

static const struct move *allowed(enum state state, enum step step)
{
	for (size_t i = 0; i < COUNT_OF(moves); i++)
		if (moves[i].from == state && moves[i].step == step)
			return &moves[i];
	return NULL;
}

static result give_up(struct iecp *h, enum reason reason)
{
	erase(h);
	iecp_peer_free(&h->peer);
	iecp_channel_free(h->channel);
	h->channel = NULL;
	h->state = FAILED;
	h->failed = reason;
	return reason;
}

static result run(struct iecp *h, enum step step, struct span frame, struct iecp_time now, struct writer *out)
{
	if (h->state == FAILED)
		return fail(h->failed, "this handshake has failed before");
	const struct move *move = allowed(h->state, step);
	if (!move)
		return give_up(h, fail(ILLEGAL_STATE, "handshake step %d in state %d", step, h->state));
	if (now.steady_ms > h->until_steady_ms)
		return give_up(h, fail(HANDSHAKE_EXPIRED, "%s took too long", h->config.same_peer ? "a re-handshake" : "a handshake"));
	result r = move->act(h, frame, now, out);
	if (r != OK)
		return give_up(h, r);
	h->state = move->to;
	return OK;
}

result iecp_start(struct iecp *h, struct iecp_time now, struct writer *out)
{
	return run(h, START, SPAN_EMPTY, now, out);
}

result iecp_receive(struct iecp *h, struct span frame, struct iecp_time now, struct writer *out)
{
	return run(h, RECEIVE, frame, now, out);
}

static size_t max_content(enum state state)
{
	switch (state) {
	case FRESH_RESPONDER:
		return IECP_MAX_M1;
	case WAIT_M2:
		return IECP_MAX_M2;
	case WAIT_M3:
		return IECP_MAX_M3;
	default:
		return 0;
	}
}

result iecp_frame_size(const struct iecp *h, struct span buffered, size_t *out_total)
{
	struct reader r = reader_of(buffered);
	uint32_t len;

	if (buffered.len < IECP_FRAME_HEADER) {
		*out_total = 0;
		return OK;
	}
	TRY(reader_u32(&r, &len));
	if (len > max_content(h->state))
		return fail(TOO_LARGE, "a handshake message of %u bytes", len);
	*out_total = IECP_FRAME_HEADER + (size_t)len;
	return OK;
}

bool iecp_is_complete(const struct iecp *h)
{
	return h->state == DONE;
}

const struct iecp_peer *iecp_peer(const struct iecp *h)
{
	return h->state == DONE ? iecp_channel_peer(h->channel) : NULL;
}

result iecp_take_channel(struct iecp *h, struct iecp_channel **out)
{
	if (h->state == FAILED)
		return fail(h->failed, "this handshake has failed before");
	const struct move *move = allowed(h->state, TAKE);
	if (!move)
		return give_up(h, fail(ILLEGAL_STATE, "no channel to take in state %d", h->state));
	*out = h->channel;
	h->channel = NULL; /* transferred */
	h->state = move->to;
	return OK;
}
