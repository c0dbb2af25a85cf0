/*
 * Two channels and a tape of events: seal, close, alert, KEYUPDATE, forged HS and SWITCH of a thief of the old keys, and
 * what a hostile network does with the records. Whatever happens, the receiver delivers a prefix of what was sent, in
 * order, and nothing after it has refused once; SWITCH is never taken, since nobody has done a handshake.
 * A step is one byte, and its operand the next.
 */
#include "enclave/iecp_anchor.h"
#include "enclave/iecp_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { QUEUE = 32, RECORD = 64 + IECP_RECORD_OVERHEAD };

struct tape {
	struct iecp_channel *sender, *receiver;
	uint8_t records[QUEUE][RECORD];
	size_t lens[QUEUE];
	size_t count;
	uint64_t sent, delivered, clock;
	bool refused;
	struct span tape; /* what is left of it */
	struct key sign_key, kem_key;
};

static struct iecp_channel *open_side(enum iecp_role role)
{
	static const uint8_t master[IECP_KEY_SIZE] = {1};
	struct iecp_peer peer = {.name = "peer", .not_after = UINT64_MAX};
	struct iecp_channel *channel = NULL;

	if (iecp_channel_new(role, master, (struct iecp_time){0, 0}, &peer, &channel) != OK)
		abort();
	return channel;
}

/* A verifier that believes nobody: what passes the form of M1 ends there. */
static result refuse_certificate(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected,
	uint64_t now, struct iecp_peer *out)
{
	(void)ctx, (void)chain, (void)epoch, (void)expected, (void)now, (void)out;
	return fail(CERTIFICATE_FOREIGN, "a certificate on a tape");
}

static result no_appraisal(void *ctx, struct span evidence, const uint8_t bind[static IECP_BIND_SIZE], struct iecp_peer *peer)
{
	(void)ctx, (void)evidence, (void)bind, (void)peer;
	abort();
}

static result no_decision(void *ctx, enum iecp_question question, const struct iecp_peer *peer)
{
	(void)ctx, (void)question, (void)peer;
	abort();
}

static void set_up(struct tape *t)
{
	static uint8_t seed[48] = {1};
	struct iecp_config config = {.role = IECP_RESPONDER, .certificate = SPAN_ARRAY(seed), .sign_key = &t->sign_key,
		.kem_key = &t->kem_key, .verifier = {t, refuse_certificate, iecp_no_evidence, no_appraisal, no_decision}};

	if (key_from_seed48(SPAN_ARRAY(seed), &t->sign_key) != OK || key_from_seed48(SPAN_ARRAY(seed), &t->kem_key) != OK)
		abort();
	iecp_channel_set_own(t->receiver, &config);
	if (iecp_rekey_configure(t->receiver, &config) != OK)
		abort();
}

static void keep(struct tape *t, size_t len)
{
	t->lens[t->count++] = len;
}

static void send_data(struct tape *t, uint8_t operand)
{
	uint8_t plain[64];
	size_t len = 8 + operand % 57;

	memset(plain, operand, sizeof plain);
	memcpy(plain, &t->sent, 8);
	if (iecp_seal(t->sender, span_of(plain, len), t->clock, t->records[t->count]) == OK) {
		t->sent++;
		keep(t, len + IECP_RECORD_OVERHEAD);
	}
}

static void deliver(struct tape *t, const uint8_t *record, size_t len)
{
	uint8_t out[RECORD];
	struct iecp_record got;
	uint64_t number;

	if (iecp_open(t->receiver, span_of(record, len), t->clock, out, &got) != OK) {
		t->refused = true;
		return;
	}
	if (t->refused || got.type == IECP_SWITCH)
		abort();
	if (got.type == IECP_HS) {
		CLEANUP(writer_free) struct writer answer = writer_growing(1 << 20);
		if (iecp_rekey_receive(t->receiver, got.plain, (struct iecp_time){t->clock, t->clock}, &answer) != OK)
			t->refused = true;
		if (answer.len)
			abort(); /* to something that no M1 is */
		return;
	}
	if (got.type != IECP_DATA)
		return;
	memcpy(&number, got.plain.data, 8);
	if (number != t->delivered++)
		abort();
}

static void alter(struct tape *t, size_t at, uint8_t operand)
{
	uint8_t record[RECORD];

	memcpy(record, t->records[at], t->lens[at]);
	record[operand % t->lens[at]] ^= (uint8_t)(1u << (operand % 8));
	deliver(t, record, t->lens[at]);
	if (!t->refused)
		abort(); /* an altered record was delivered */
}

/* A piece of a handshake, of whatever is still on the tape. */
static void forge_piece(struct tape *t, uint8_t operand)
{
	struct span piece = span_of(t->tape.data, t->tape.len < 60 ? t->tape.len : 60);

	if (operand & 1 && piece.len > 4)
		piece = span_of((const uint8_t *)"\0\0\0\2\1\1\0\0\0\1\1", 4u + operand % 8);
	if (piece.len && t->count < QUEUE && iecp_seal_control(t->sender, IECP_HS, piece, t->records[t->count]) == OK)
		keep(t, piece.len + IECP_RECORD_OVERHEAD);
}

/* What lies between the ends is over then: a jump of both would be a gap. */
static void limits(struct tape *t, uint8_t operand)
{
	uint64_t sequence = IECP_MAX_RECORDS - 1 - operand % 20, bytes = IECP_MAX_BYTES - operand;

	if (t->sender->out.sequence != t->receiver->in.sequence || t->sender->out.generation != t->receiver->in.generation)
		return;
	iecp_channel_set_progress(t->sender, true, sequence, bytes);
	iecp_channel_set_progress(t->receiver, false, sequence, bytes);
}

static void step(struct tape *t, uint8_t op, uint8_t operand)
{
	size_t at = t->count ? operand % t->count : 0;

	switch (op % 12) {
	case 0:
	case 1:
		if (t->count < QUEUE)
			send_data(t, operand);
		break;
	case 2: /* any record, in any order, any number of times */
		if (t->count)
			deliver(t, t->records[at], t->lens[at]);
		break;
	case 3:
		if (t->count)
			alter(t, at, operand);
		break;
	case 4:
		if (t->count)
			deliver(t, t->records[at], operand % (t->lens[at] + 1));
		break;
	case 5:
		if (t->count < QUEUE && iecp_seal_close(t->sender, t->records[t->count]) == OK)
			keep(t, IECP_RECORD_OVERHEAD);
		break;
	case 6:
		if (t->count < QUEUE && iecp_seal_alert(t->sender, BAD_TAG, t->records[t->count]) == OK)
			keep(t, IECP_ALERT_RECORD);
		break;
	case 7:
		if (t->count < QUEUE && iecp_seal_keyupdate(t->sender, t->records[t->count]) == OK)
			keep(t, IECP_RECORD_OVERHEAD);
		break;
	case 8:
		if (t->count < QUEUE && iecp_seal_control(t->sender, IECP_SWITCH, SPAN_EMPTY, t->records[t->count]) == OK)
			keep(t, IECP_RECORD_OVERHEAD);
		break;
	case 9:
		forge_piece(t, operand);
		break;
	case 10: /* near the limits, of which both sides know */
		limits(t, operand);
		break;
	default:
		t->clock += (uint64_t)operand * 60000;
	}
}

/* The whole tape as raw records as well. */
static void raw(struct tape *t, struct span bytes)
{
	size_t total;

	if (iecp_record_size(t->receiver, bytes, &total) == OK && total > 0 && total <= RECORD && total <= bytes.len)
		deliver(t, bytes.data, total);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tape *t = calloc(1, sizeof *t);

	if (!t)
		return 0;
	t->sender = open_side(IECP_INITIATOR);
	t->receiver = open_side(IECP_RESPONDER);
	set_up(t);
	for (size_t i = 0; i + 1 < size && i < 512; i += 2) {
		t->tape = span_of(data + i + 2, size - i - 2);
		step(t, data[i], data[i + 1]);
	}
	raw(t, span_of(data, size));
	if (t->delivered > t->sent)
		abort();
	iecp_channel_free(t->sender);
	iecp_channel_free(t->receiver);
	key_free(&t->sign_key);
	key_free(&t->kem_key);
	free(t);
	return 0;
}
