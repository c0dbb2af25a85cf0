/*
 * Re-handshakes in place on a tape: both ends start whenever it says, data, KEYUPDATE and CLOSE go both ways, and a hostile
 * network drops, repeats, swaps and alters records, or has the old keys and writes pieces of its own.
 *   each end delivers a prefix of what the other has sent, and nothing after it has refused once
 *   while nobody interferes nothing is refused, and when all records have arrived both ends have the same keys
 * A step is one byte, and its operand the next.
 */
#include "enclave/iecp_anchor.h"
#include "enclave/iecp_internal.h"

#include "crypto/x509.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { QUEUE = 64, STEPS = 120, MOST_STARTS = 6, DAY_MS = 86400000 };

struct side {
	struct key sign, kem;
	struct bytes certificate;
	struct iecp_pin pin;
	struct iecp_anchor anchor;
	struct iecp_hooks hooks;
	struct iecp_config config;
};
static struct side sides[2];
static uint64_t drawn;

struct end {
	struct iecp_channel *channel;
	struct bytes line[QUEUE]; /* what it sent and the other has not got */
	size_t first, count;
	uint64_t sent, got;
	bool refused;
};

struct tape {
	struct end ends[2];
	uint64_t now;
	unsigned starts;
	bool hostile;
};

static void need(bool holds)
{
	if (!holds)
		abort();
}

/* The same tape gives the same run. */
static void draw(void *ctx, void *out, size_t len)
{
	uint8_t block[SHA256_SIZE], *at = out;

	(void)ctx;
	while (len) {
		size_t some = len < sizeof block ? len : sizeof block;
		drawn++;
		sha256(span_of((const uint8_t *)&drawn, sizeof drawn), block);
		memcpy(at, block, some);
		at += some;
		len -= some;
	}
}

static result judge(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected, uint64_t now,
	struct iecp_peer *out)
{
	return iecp_anchor_certificate(ctx, chain, epoch, expected, now, out);
}

static result appraise(void *ctx, struct span evidence, const uint8_t bind[static IECP_BIND_SIZE], struct iecp_peer *peer)
{
	(void)ctx, (void)bind;
	return iecp_appraise_pinned(evidence, peer);
}

static result decide(void *ctx, enum iecp_question question, const struct iecp_peer *peer)
{
	(void)ctx, (void)question, (void)peer;
	return OK;
}

static void make_side(struct side *s, enum iecp_role role, const char *uri)
{
	struct certificate_fields fields = {.serial = {1}, .uri = uri, .not_before = 0, .not_after = DAY_MS};

	need(key_generate(&s->sign) == OK && key_generate(&s->kem) == OK);
	memcpy(fields.sign_point, s->sign.point, POINT_SIZE);
	memcpy(fields.kem_point, s->kem.point, POINT_SIZE);
	need(certificate_issue(&fields, &s->sign, "issuer", &s->certificate) == OK);
	s->pin = (struct iecp_pin){"peer", &sides[&sides[0] == s].sign};
	s->anchor = (struct iecp_anchor){.pins = &s->pin, .pin_count = 1};
	s->hooks = (struct iecp_hooks){.random = draw};
	s->config = (struct iecp_config){.role = role, .certificate = bytes_span(&s->certificate), .sign_key = &s->sign,
		.kem_key = &s->kem, .expected_name = "peer", .verifier = {&s->anchor, judge, iecp_no_evidence, appraise, decide},
		.hooks = &s->hooks};
}

static struct iecp_channel *open_end(int e)
{
	static const uint8_t master[IECP_KEY_SIZE] = {1};
	const struct side *other = &sides[1 - e];
	struct iecp_peer peer = {.name = "peer", .not_after = DAY_MS, .sign_key = key_ref(&other->sign)};
	struct iecp_channel *channel = NULL;

	memcpy(peer.kem_point, other->kem.point, POINT_SIZE);
	need(iecp_channel_new(sides[e].config.role, master, (struct iecp_time){0, 0}, &peer, &channel) == OK);
	iecp_channel_set_own(channel, &sides[e].config);
	need(iecp_rekey_configure(channel, &sides[e].config) == OK);
	return channel;
}

static struct iecp_time at(const struct tape *t)
{
	return (struct iecp_time){t->now, t->now};
}

static void post(struct tape *t, int e, struct span records)
{
	struct end *end = &t->ends[e];

	while (records.len) {
		size_t len = IECP_HEADER_SIZE + ((size_t)records.data[5] << 16 | (size_t)records.data[6] << 8 | records.data[7]);
		need(len <= records.len);
		if (end->count == QUEUE) {
			t->hostile = true; /* lost */
			return;
		}
		struct bytes *kept = &end->line[end->count++];
		*kept = (struct bytes){malloc(len), len};
		need(kept->data);
		memcpy(kept->data, records.data, len);
		records = span_of(records.data + len, records.len - len);
	}
}

static void refuse(struct tape *t, int e, result why)
{
	/* After CLOSE both ways the rest is passed over; an hour is nobody's fault. */
	if (why != CHANNEL_CLOSED && why != REKEY_NEEDED)
		need(t->hostile);
	if (why != CHANNEL_CLOSED)
		t->hostile = true;
	t->ends[e].refused = true;
}

static void take(struct tape *t, int e, struct span record)
{
	static uint8_t plain[IECP_MAX_PLAIN];
	CLEANUP(writer_free) struct writer answer = writer_growing(1 << 20);
	struct end *end = &t->ends[e];
	struct iecp_record got;
	struct span records;
	uint64_t number;

	result r = iecp_open(end->channel, record, t->now, plain, &got);
	if (r == OK && got.type == IECP_HS)
		r = iecp_rekey_receive(end->channel, got.plain, at(t), &answer);
	if (r != OK) {
		refuse(t, e, r);
		return;
	}
	need(!end->refused);
	need(writer_finish(&answer, &records) == OK);
	post(t, e, records);
	if (got.type != IECP_DATA)
		return;
	memcpy(&number, got.plain.data, sizeof number);
	need(number == end->got++);
}

static void deliver(struct tape *t, int e)
{
	struct end *from = &t->ends[1 - e];

	if (from->first == from->count)
		return;
	CLEANUP(bytes_free) struct bytes record = from->line[from->first];
	from->line[from->first++] = BYTES_EMPTY;
	take(t, e, bytes_span(&record));
	if (from->first == from->count)
		from->first = from->count = 0;
}

static void send_number(struct tape *t, int e)
{
	struct end *end = &t->ends[e];
	uint8_t record[sizeof end->sent + IECP_RECORD_OVERHEAD];

	if (end->count == QUEUE || iecp_seal(end->channel, span_of((const uint8_t *)&end->sent, sizeof end->sent), t->now, record) != OK)
		return;
	end->sent++;
	post(t, e, SPAN_ARRAY(record));
}

static void start(struct tape *t, int e)
{
	CLEANUP(writer_free) struct writer out = writer_growing(1 << 20);
	struct span records;

	if (t->starts++ >= MOST_STARTS || iecp_rekey_start(t->ends[e].channel, at(t), &out) != OK)
		return;
	need(writer_finish(&out, &records) == OK);
	post(t, e, records);
}

static void say(struct tape *t, int e, bool closes)
{
	uint8_t record[IECP_RECORD_OVERHEAD];
	struct iecp_channel *c = t->ends[e].channel;

	if (t->ends[e].count < QUEUE && (closes ? iecp_seal_close(c, record) : iecp_seal_keyupdate(c, record)) == OK)
		post(t, e, SPAN_ARRAY(record));
}

/* A thief of the keys in use: type and content are the tape's. */
static void forge(struct tape *t, int e, uint8_t operand, struct span rest)
{
	enum iecp_record_type type = operand & 2 ? IECP_HS : IECP_SWITCH;
	struct span plain = type == IECP_HS ? span_of(rest.data, rest.len < 64 ? rest.len : 64) : SPAN_EMPTY;
	uint8_t record[64 + IECP_RECORD_OVERHEAD];

	if ((type == IECP_HS && plain.len == 0) || iecp_seal_control(t->ends[e].channel, type, plain, record) != OK)
		return;
	t->hostile = true;
	post(t, e, span_of(record, plain.len + IECP_RECORD_OVERHEAD));
}

static void interfere(struct tape *t, int e, uint8_t operand)
{
	struct end *from = &t->ends[1 - e];

	if (from->first == from->count)
		return;
	t->hostile = true;
	struct bytes *record = &from->line[from->first];
	switch (operand % 4) {
	case 0: /* lost */
		bytes_free(record);
		from->first++;
		break;
	case 1: record->data[operand % record->len] ^= (uint8_t)(1u << operand % 8); break;
	case 2: take(t, e, bytes_span(record)); break; /* and once more later */
	default: take(t, 1 - e, bytes_span(record)); /* to its sender */
	}
}

static void step(struct tape *t, uint8_t op, uint8_t operand, struct span rest)
{
	int e = operand & 1;

	switch (op % 12) {
	case 0:
	case 1: send_number(t, e); break;
	case 2: start(t, e); break;
	case 3: say(t, e, false); break;
	case 4: say(t, e, true); break;
	case 5: t->now += (uint64_t)operand * 1000; break;
	case 6: forge(t, e, operand, rest); break;
	case 7: interfere(t, e, operand >> 1); break;
	default: deliver(t, e);
	}
}

static void all_arrives(struct tape *t)
{
	for (int i = 0; i < 400 && (t->ends[0].count || t->ends[1].count); i++)
		deliver(t, i & 1);
}

static void both_agree(const struct tape *t)
{
	const struct iecp_channel *a = t->ends[0].channel, *b = t->ends[1].channel;

	need(t->ends[0].got == t->ends[1].sent && t->ends[1].got == t->ends[0].sent);
	if (a->out.closed && b->out.closed)
		return;
	need(!iecp_rekey_is_running(a) && !iecp_rekey_is_running(b) && iecp_rekey_count(a) == iecp_rekey_count(b));
	need(memcmp(a->secrets->traffic_out, b->secrets->traffic_in, IECP_KEY_SIZE) == 0);
	need(memcmp(a->secrets->traffic_in, b->secrets->traffic_out, IECP_KEY_SIZE) == 0);
	need(memcmp(a->secrets->psk, b->secrets->psk, IECP_KEY_SIZE) == 0 && memcmp(a->id, b->id, sizeof a->id) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tape *t = calloc(1, sizeof *t);

	if (!t)
		return 0;
	if (!sides[0].certificate.len) {
		/* Each side's issuer is itself, so both have keys before either is pinned. */
		make_side(&sides[0], IECP_INITIATOR, "spiffe://fuzz.example/ire/a");
		make_side(&sides[1], IECP_RESPONDER, "spiffe://fuzz.example/ire/b");
	}
	drawn = 0;
	for (int e = 0; e < 2; e++)
		t->ends[e].channel = open_end(e);
	for (size_t i = 0; i + 1 < size && i < 2 * STEPS; i += 2)
		step(t, data[i], data[i + 1], span_of(data + i + 2, size - i - 2));
	all_arrives(t);
	if (!t->hostile && t->now < IECP_MAX_AGE_MS)
		both_agree(t);
	for (int e = 0; e < 2; e++) {
		need(t->ends[e].got <= t->ends[1 - e].sent);
		for (size_t i = t->ends[e].first; i < t->ends[e].count; i++)
			bytes_free(&t->ends[e].line[i]);
		iecp_channel_free(t->ends[e].channel);
	}
	free(t);
	return 0;
}
