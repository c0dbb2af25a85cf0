/*
 * Theory of operation. A side is in one of four states:
 *
 *	IDLE		M1 arrives: answer M2 -> WAIT_M3. Own start: M1 -> WAIT_M2
 *	WAIT_M2		M2 arrives: M3, SWITCH, new sending keys -> WAIT_SWITCH
 *			M1 arrives (both have started): who opened the channel passes over it; the other drops its own
 *			and answers -> WAIT_M3
 *	WAIT_M3		M3 verifies: SWITCH, new sending keys -> WAIT_SWITCH
 *	WAIT_SWITCH	SWITCH arrives: new receiving keys, the old ones are gone -> IDLE
 *
 * The handshake itself is iecp.c's, with psk and psk_id of the channel; it ends in a channel whose keys are taken over one
 * direction at a time. Only IDLE starts one, so a side never has more than one under way, and the order of records
 * within each direction does the rest: an M1 of the peer can only meet WAIT_M2, never a later state.
 */
#include "enclave/iecp_internal.h"

#include <stdlib.h>

enum rekey_state { IDLE, WAIT_M2, WAIT_M3, WAIT_SWITCH };

struct iecp_rekey {
	struct iecp_config config;
	enum rekey_state state;
	struct iecp *handshake;
	struct iecp_channel *next; /* what the handshake made; its keys are being taken over */
	uint8_t *frame;		   /* the message that is arriving; NULL: none */
	size_t frame_len, frame_total;
	bool passed_over; /* an M1 of the peer, in this re-handshake */
	uint64_t count;
};

static void forget(struct iecp_rekey *k)
{
	iecp_free(k->handshake);
	iecp_channel_free(k->next);
	k->handshake = NULL;
	k->next = NULL;
	k->passed_over = false;
	k->state = IDLE;
}

static void drop_frame(struct iecp_rekey *k)
{
	free(k->frame);
	k->frame = NULL;
	k->frame_len = k->frame_total = 0;
}

void iecp_rekey_free(struct iecp_channel *channel)
{
	if (!channel->rekey)
		return;
	forget(channel->rekey);
	drop_frame(channel->rekey);
	free(channel->rekey);
	channel->rekey = NULL;
}

static result check_same_self(const struct iecp_channel *c, const struct iecp_config *config)
{
	if (!config->sign_key || !config->kem_key || config->certificate.len == 0)
		return fail(ILLEGAL_STATE, "a re-handshake needs the own keys and certificate");
	if (memcmp(config->sign_key->id, c->own_sign_id, KEY_ID_SIZE) != 0 ||
		memcmp(config->kem_key->point, c->own_kem_point, POINT_SIZE) != 0 ||
		memcmp(config->epoch.rot_id, c->own_rot_id, sizeof c->own_rot_id) != 0)
		return fail(BAD_VALUE, "a re-handshake under other keys or another root than the channel was opened with");
	return OK;
}

result iecp_rekey_configure(struct iecp_channel *channel, const struct iecp_config *config)
{
	const struct iecp_verifier *v = &config->verifier;

	TRY(check_same_self(channel, config));
	if (!v->certificate || !v->produce || !v->appraise || !v->decide)
		return fail(ILLEGAL_STATE, "a re-handshake without a complete verifier would trust anybody");
	if (!channel->rekey)
		channel->rekey = calloc(1, sizeof *channel->rekey);
	if (!channel->rekey)
		return fail(NO_MEMORY, "a re-handshake");
	channel->rekey->config = *config;
	return OK;
}

bool iecp_rekey_is_running(const struct iecp_channel *channel)
{
	return channel->rekey && channel->rekey->state != IDLE;
}

uint64_t iecp_rekey_count(const struct iecp_channel *channel)
{
	return channel->rekey ? channel->rekey->count : 0;
}

static bool is_over(const struct iecp_channel *c)
{
	return c->out.closed && c->in.closed;
}

static result end_with(struct iecp_channel *c, enum reason reason)
{
	c->failed = reason;
	forget(c->rekey);
	drop_frame(c->rekey);
	return reason;
}

/* ---- sending ---- */

/* lv(M) in as many HS records as it takes. */
static result put_message(struct iecp_channel *c, struct span frame, struct writer *out)
{
	while (frame.len) {
		size_t len = frame.len < IECP_MAX_PLAIN ? frame.len : IECP_MAX_PLAIN;
		uint8_t *at = writer_reserve(out, len + IECP_RECORD_OVERHEAD);
		if (!at)
			return fail(NO_MEMORY, "an HS record of %zu bytes", len);
		TRY(iecp_seal_control(c, IECP_HS, span_of(frame.data, len), at));
		frame = span_of(frame.data + len, frame.len - len);
	}
	return OK;
}

/* The last record under the old keys, and the new keys of the own direction. */
static result put_switch(struct iecp_channel *c, struct writer *out)
{
	struct iecp_channel *next = c->rekey->next;
	uint8_t *at = writer_reserve(out, IECP_RECORD_OVERHEAD);

	if (!at)
		return fail(NO_MEMORY, "a SWITCH record");
	TRY(iecp_seal_control(c, IECP_SWITCH, SPAN_EMPTY, at));
	TRY(iecp_direction_replace(&c->out, next->secrets->traffic_out, true));
	memcpy(c->secrets->traffic_out, next->secrets->traffic_out, IECP_KEY_SIZE);
	wipe(next->secrets->traffic_out, IECP_KEY_SIZE);
	return OK;
}

/* ---- steps ---- */

static result new_handshake(struct iecp_channel *c, enum iecp_role role, struct iecp_time now)
{
	struct iecp_rekey *k = c->rekey;
	struct iecp_config config = k->config;

	if (c->out.generation == IECP_LAST_GENERATION || c->in.generation == IECP_LAST_GENERATION)
		return fail(REKEY_NEEDED, "key generation %d is the last", IECP_LAST_GENERATION);
	config.role = role;
	config.expected_name = c->peer.name;
	config.same_peer = &c->peer;
	config.psk = SPAN_ARRAY(c->secrets->psk);
	config.psk_id = SPAN_ARRAY(c->id);
	config.least_suite = c->suite;
	config.until_steady_ms = c->until_steady_ms;
	config.half_open = NULL;
	return iecp_new(&config, now, &k->handshake);
}

static result start(struct iecp_channel *c, struct iecp_time now, struct writer *out)
{
	CLEANUP(writer_free) struct writer message = writer_growing(IECP_MAX_M1 + IECP_FRAME_HEADER);
	struct span frame;

	TRY(new_handshake(c, IECP_INITIATOR, now));
	TRY(iecp_start(c->rekey->handshake, now, &message));
	TRY(writer_finish(&message, &frame));
	TRY(put_message(c, frame, out));
	c->rekey->state = WAIT_M2;
	return OK;
}

static result answer_m1(struct iecp_channel *c, struct span frame, struct iecp_time now, struct writer *out)
{
	CLEANUP(writer_free) struct writer message = writer_growing(IECP_MAX_M2 + IECP_FRAME_HEADER);
	struct span answer;

	forget(c->rekey); /* the own M1 has lost, if there was one */
	TRY(new_handshake(c, IECP_RESPONDER, now));
	TRY(iecp_receive(c->rekey->handshake, frame, now, &message));
	TRY(writer_finish(&message, &answer));
	TRY(put_message(c, answer, out));
	c->rekey->state = WAIT_M3;
	return OK;
}

static result take_next(struct iecp_channel *c, struct writer *out)
{
	struct iecp_rekey *k = c->rekey;

	TRY(iecp_take_channel(k->handshake, &k->next));
	iecp_free(k->handshake);
	k->handshake = NULL;
	TRY(put_switch(c, out));
	k->state = WAIT_SWITCH;
	return OK;
}

static result answer_m2(struct iecp_channel *c, struct span frame, struct iecp_time now, struct writer *out)
{
	CLEANUP(writer_free) struct writer message = writer_growing(IECP_MAX_M3 + IECP_FRAME_HEADER);
	struct span answer;

	TRY(iecp_receive(c->rekey->handshake, frame, now, &message));
	TRY(writer_finish(&message, &answer));
	TRY(put_message(c, answer, out));
	return take_next(c, out);
}

static result accept_m3(struct iecp_channel *c, struct span frame, struct iecp_time now, struct writer *out)
{
	struct writer none = writer_growing(0);

	TRY(iecp_receive(c->rekey->handshake, frame, now, &none));
	return take_next(c, out);
}

/* The byte after the version: number of suites in M1, which is not 0; the high byte of the suite in M2, which is. */
static bool is_m1(struct span frame)
{
	return frame.len > IECP_FRAME_HEADER + 1 && frame.data[IECP_FRAME_HEADER + 1] != 0;
}

/* Both have started. */
static result settle(struct iecp_channel *c, struct span frame, struct iecp_time now, struct writer *out)
{
	struct iecp_rekey *k = c->rekey;

	if (c->role != IECP_INITIATOR)
		return answer_m1(c, frame, now, out);
	if (k->passed_over)
		return fail(UNEXPECTED_RECORD, "a second M1 from %s", c->peer.name);
	k->passed_over = true;
	return OK;
}

static result take_message(struct iecp_channel *c, struct span frame, struct iecp_time now, struct writer *out)
{
	switch (c->rekey->state) {
	case IDLE: return answer_m1(c, frame, now, out);
	case WAIT_M2: return is_m1(frame) ? settle(c, frame, now, out) : answer_m2(c, frame, now, out);
	case WAIT_M3: return accept_m3(c, frame, now, out);
	case WAIT_SWITCH: break;
	}
	return fail(UNEXPECTED_RECORD, "a handshake message from %s where SWITCH is due", c->peer.name);
}

/* ---- putting messages together ---- */

static size_t largest(enum rekey_state state)
{
	static const size_t sizes[] = {[IDLE] = IECP_MAX_M1, [WAIT_M2] = IECP_MAX_M2, [WAIT_M3] = IECP_MAX_M3, [WAIT_SWITCH] = 0};

	return sizes[state];
}

/* A message begins with a record of its own, which holds at least its length. */
static result begin_frame(struct iecp_rekey *k, struct span piece)
{
	struct reader r = reader_of(piece);
	uint32_t len;

	TRY(reader_u32(&r, &len));
	if (k->state == WAIT_SWITCH)
		return fail(UNEXPECTED_RECORD, "a handshake message where SWITCH is due");
	if (len > largest(k->state))
		return fail(TOO_LARGE, "a handshake message of %u bytes", len);
	k->frame_total = IECP_FRAME_HEADER + (size_t)len;
	k->frame = malloc(k->frame_total);
	if (!k->frame)
		return fail(NO_MEMORY, "a handshake message of %u bytes", len);
	return OK;
}

static result add_piece(struct iecp_rekey *k, struct span piece)
{
	if (!k->frame)
		TRY(begin_frame(k, piece));
	if (piece.len > k->frame_total - k->frame_len)
		return fail(TRAILING_BYTES, "%zu bytes after a handshake message", piece.len - (k->frame_total - k->frame_len));
	memcpy(k->frame + k->frame_len, piece.data, piece.len);
	k->frame_len += piece.len;
	return OK;
}

static result receive(struct iecp_channel *c, struct span piece, struct iecp_time now, struct writer *out)
{
	struct iecp_rekey *k = c->rekey;

	TRY(add_piece(k, piece));
	if (k->frame_len < k->frame_total)
		return OK;
	result r = take_message(c, span_of(k->frame, k->frame_len), now, out);
	drop_frame(k);
	return r;
}

static result check_alive(const struct iecp_channel *c, uint64_t now_steady_ms)
{
	if (now_steady_ms >= c->until_steady_ms)
		return fail(REKEY_NEEDED, "the channel with %s is too old", c->peer.name);
	return OK;
}

result iecp_rekey_receive(struct iecp_channel *channel, struct span piece, struct iecp_time now, struct writer *out)
{
	size_t before = out->len;

	if (channel->failed)
		return fail(channel->failed, "the channel has ended before");
	if (!channel->rekey) {
		channel->failed = fail(UNEXPECTED_RECORD, "%s wants a re-handshake, which is not set up here", channel->peer.name);
		return channel->failed;
	}
	if (is_over(channel))
		return OK;
	result r = check_alive(channel, now.steady_ms);
	if (r == OK)
		r = receive(channel, piece, now, out);
	if (r == OK)
		return OK;
	out->len = before;
	return end_with(channel, r);
}

result iecp_rekey_start(struct iecp_channel *channel, struct iecp_time now, struct writer *out)
{
	size_t before = out->len;

	if (channel->failed)
		return fail(channel->failed, "the channel has ended before");
	if (!channel->rekey || channel->rekey->state != IDLE)
		return fail(ILLEGAL_STATE, channel->rekey ? "a re-handshake is running" : "no re-handshake was set up");
	if (is_over(channel))
		return fail(CHANNEL_CLOSED, "a re-handshake after CLOSE both ways");
	if (channel->rekey->frame)
		return fail(ILLEGAL_STATE, "the peer's M1 is arriving");
	result r = check_alive(channel, now.steady_ms);
	if (r == OK)
		r = start(channel, now, out);
	if (r == OK)
		return OK;
	out->len = before;
	return end_with(channel, r);
}

/* ---- the peer's SWITCH ---- */

static result take_over(struct iecp_channel *c, struct iecp_channel *next)
{
	TRY(iecp_direction_replace(&c->in, next->secrets->traffic_in, false));
	memcpy(c->secrets->traffic_in, next->secrets->traffic_in, IECP_KEY_SIZE);
	memcpy(c->secrets->psk, next->secrets->psk, IECP_KEY_SIZE);
	memcpy(c->secrets->exporter, next->secrets->exporter, IECP_KEY_SIZE);
	memcpy(c->id, next->id, sizeof c->id);
	c->suite = next->suite;
	c->until_steady_ms = next->until_steady_ms;
	iecp_peer_free(&c->peer);
	c->peer = next->peer;
	next->peer = (struct iecp_peer){0}; /* transferred */
	return OK;
}

result iecp_rekey_switched(struct iecp_channel *channel)
{
	struct iecp_rekey *k = channel->rekey;

	if (!k || k->state != WAIT_SWITCH)
		return fail(UNEXPECTED_RECORD, "SWITCH from %s before a handshake has verified", channel->peer.name);
	TRY(take_over(channel, k->next));
	forget(k);
	k->count++;
	return OK;
}
