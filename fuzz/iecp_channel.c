/*
 * Two channels and a tape of events: seal, close, alert, and what a hostile network does with the records. Whatever
 * happens, the receiver delivers a prefix of what was sent, in order, and nothing after it has refused once.
 * A step is one byte, and its operand the next.
 */
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
	if (t->refused)
		abort();
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

static void step(struct tape *t, uint8_t op, uint8_t operand)
{
	size_t at = t->count ? operand % t->count : 0;

	switch (op % 8) {
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
	for (size_t i = 0; i + 1 < size && i < 512; i += 2)
		step(t, data[i], data[i + 1]);
	raw(t, span_of(data, size));
	if (t->delivered > t->sent)
		abort();
	iecp_channel_free(t->sender);
	iecp_channel_free(t->receiver);
	free(t);
	return 0;
}
