/* Records, accepted and attacked. */
#include "groups.h"
#include "iecp_pair.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOW = 2000 };

static int setup(void **state)
{
	struct pair *pair = calloc(1, sizeof *pair);
	pair_init(pair, false);
	pair_channels(pair);
	*state = pair;
	return 0;
}

static int teardown(void **state)
{
	pair_free(*state);
	free(*state);
	return 0;
}

static result seal(struct pair_side *side, const char *text, uint8_t *out, size_t *out_len)
{
	*out_len = strlen(text) + IECP_RECORD_OVERHEAD;
	return iecp_seal(side->channel, span_str(text), NOW, out);
}

static result open_at(struct pair_side *side, const uint8_t *record, size_t len, struct iecp_record *out)
{
	static uint8_t plain[IECP_MAX_RECORD];
	return iecp_open(side->channel, span_of(record, len), NOW, plain, out);
}

static void data_both_ways(void **state)
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(seal(&pair->i, "request", record, &len), OK);
		assert_int_equal(open_at(&pair->r, record, len, &got), OK);
		assert_int_equal(got.type, IECP_DATA);
		assert_true(span_equal_str(got.plain, "request"));
		assert_int_equal(seal(&pair->r, "answer", record, &len), OK);
		assert_int_equal(open_at(&pair->i, record, len, &got), OK);
		assert_true(span_equal_str(got.plain, "answer"));
	}
	assert_memory_equal(iecp_channel_id(pair->i.channel), iecp_channel_id(pair->r.channel), IECP_CHANNEL_ID_SIZE);
	assert_true(span_equal(iecp_channel_psk(pair->i.channel), iecp_channel_psk(pair->r.channel)));
}

static void sizes_and_in_place(void **state) /* IE-13 */
{
	struct pair *pair = *state;
	static const size_t sizes[] = {1, 15, 16, 17, 64, 1024, 65535, 65536};
	uint8_t *buffer = malloc(IECP_MAX_RECORD + 1);
	struct iecp_record got;

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		size_t total = 0;
		memset(buffer + IECP_HEADER_SIZE, (int)i + 1, sizes[i]);
		assert_int_equal(iecp_seal(pair->i.channel, span_of(buffer + IECP_HEADER_SIZE, sizes[i]), NOW, buffer), OK);
		assert_int_equal(iecp_record_size(pair->r.channel, span_of(buffer, 15), &total), OK);
		assert_int_equal(total, 0);
		assert_int_equal(iecp_record_size(pair->r.channel, span_of(buffer, 16), &total), OK);
		assert_int_equal(total, sizes[i] + IECP_RECORD_OVERHEAD);
		assert_int_equal(iecp_open(pair->r.channel, span_of(buffer, total), NOW, buffer + IECP_HEADER_SIZE, &got), OK);
		assert_int_equal(got.plain.len, sizes[i]);
		assert_int_equal(got.plain.data[sizes[i] - 1], i + 1);
	}
	assert_int_equal(iecp_seal(pair->i.channel, SPAN_EMPTY, NOW, buffer), BAD_VALUE);
	assert_int_equal(iecp_seal(pair->i.channel, span_of(buffer, IECP_MAX_PLAIN + 1), NOW, buffer), BAD_VALUE);
	free(buffer);
}

/* A fresh pair of channels without a handshake: cheap enough for one per byte. */
static struct iecp_channel *bare(enum iecp_role role, uint64_t lifetime_ms)
{
	static const uint8_t master[IECP_KEY_SIZE] = {42};
	struct iecp_peer peer = {.name = "peer", .not_after = PAIR_NOW_MS + lifetime_ms};
	struct iecp_channel *channel = NULL;

	assert_int_equal(iecp_channel_new(role, master, (struct iecp_time){PAIR_NOW_MS, NOW}, &peer, &channel), OK);
	return channel;
}

static void flips_of_every_byte_of_a_record(void **state)
{
	uint8_t good[64 + IECP_RECORD_OVERHEAD], record[sizeof good], plain[64], out[64];
	struct iecp_record got;
	(void)state;

	memset(plain, 9, sizeof plain);
	struct iecp_channel *sender = bare(IECP_INITIATOR, PAIR_DAY_MS);
	assert_int_equal(iecp_seal(sender, SPAN_ARRAY(plain), NOW, good), OK);
	iecp_channel_free(sender);
	for (size_t at = 0; at < sizeof good; at++)
		for (int bit = 0; bit < 8; bit++) {
			struct iecp_channel *receiver = bare(IECP_RESPONDER, PAIR_DAY_MS);
			memcpy(record, good, sizeof good);
			record[at] ^= (uint8_t)(1u << bit);
			result r = iecp_open(receiver, SPAN_ARRAY(record), NOW, out, &got);
			assert_int_not_equal(r, OK);
			assert_int_not_equal(r, INTERNAL);
			/* The session is over, with the same reason, also for the good record. */
			assert_int_equal(iecp_open(receiver, SPAN_ARRAY(good), NOW, out, &got), r);
			iecp_channel_free(receiver);
		}
}

static void repeats(void **state) /* IE-02 */
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	assert_int_equal(seal(&pair->i, "once", record, &len), OK);
	assert_int_equal(open_at(&pair->r, record, len, &got), OK);
	assert_int_equal(open_at(&pair->r, record, len, &got), RECORD_OUT_OF_ORDER);
}

static void reorders(void **state) /* IE-03 */
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t first[100], second[100];
	size_t len;

	assert_int_equal(seal(&pair->i, "1", first, &len), OK);
	assert_int_equal(seal(&pair->i, "2", second, &len), OK);
	assert_int_equal(open_at(&pair->r, second, len, &got), RECORD_OUT_OF_ORDER);
	assert_int_equal(open_at(&pair->r, first, len, &got), RECORD_OUT_OF_ORDER); /* too late: the session is over */
}

static void drops(void **state) /* IE-04 */
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(seal(&pair->i, "x", record, &len), OK);
		if (i != 1)
			assert_int_equal(open_at(&pair->r, record, len, &got), i == 0 ? OK : RECORD_OUT_OF_ORDER);
	}
}

static void a_renumbered_record_does_not_open(void **state) /* IE-02, IE-03 */
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	assert_int_equal(seal(&pair->i, "x", record, &len), OK);
	assert_int_equal(open_at(&pair->r, record, len, &got), OK);
	record[15] = 1; /* the number that is due */
	assert_int_equal(open_at(&pair->r, record, len, &got), BAD_TAG);
}

static void reflected_records(void **state) /* IE-06 */
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	assert_int_equal(seal(&pair->i, "x", record, &len), OK);
	assert_int_equal(open_at(&pair->i, record, len, &got), BAD_TAG);
}

static void splices_from_another_session(void **state) /* IE-14 */
{
	struct pair *pair = *state, other;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	pair_init(&other, false);
	pair_channels(&other);
	assert_int_equal(seal(&other.i, "x", record, &len), OK);
	assert_int_equal(open_at(&pair->r, record, len, &got), BAD_TAG);
	pair_free(&other);
}

static void truncation_without_close(void **state) /* IE-05 */
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	assert_int_equal(seal(&pair->i, "x", record, &len), OK);
	assert_int_equal(open_at(&pair->r, record, len, &got), OK);
	assert_int_equal(iecp_channel_end(pair->r.channel), CHANNEL_TRUNCATED);
	assert_int_equal(iecp_channel_end(pair->r.channel), CHANNEL_TRUNCATED);
}

static void cut_records(void **state) /* IE-05 */
{
	uint8_t record[4 + IECP_RECORD_OVERHEAD + 1], out[64];
	struct iecp_record got;
	(void)state;

	struct iecp_channel *sender = bare(IECP_INITIATOR, PAIR_DAY_MS);
	assert_int_equal(iecp_seal(sender, span_str("four"), NOW, record), OK);
	iecp_channel_free(sender);
	for (size_t len = 0; len <= sizeof record; len++) {
		struct iecp_channel *receiver = bare(IECP_RESPONDER, PAIR_DAY_MS);
		result expected = len < sizeof record - 1 ? TRUNCATED : len == sizeof record ? TRAILING_BYTES : OK;
		assert_int_equal(iecp_open(receiver, span_of(record, len), NOW, out, &got), expected);
		iecp_channel_free(receiver);
	}
}

static void close_ends_one_direction(void **state)
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	assert_int_equal(iecp_seal_close(pair->i.channel, record), OK);
	assert_int_equal(open_at(&pair->r, record, IECP_RECORD_OVERHEAD, &got), OK);
	assert_int_equal(got.type, IECP_CLOSE);
	assert_int_equal(iecp_channel_end(pair->r.channel), OK);
	assert_int_equal(seal(&pair->i, "x", record, &len), CHANNEL_CLOSED);
	assert_int_equal(seal(&pair->r, "still", record, &len), OK);
	assert_int_equal(open_at(&pair->i, record, len, &got), OK);
	assert_int_equal(iecp_seal_close(pair->r.channel, record), OK);
	assert_int_equal(open_at(&pair->i, record, IECP_RECORD_OVERHEAD, &got), OK);
	assert_int_equal(iecp_channel_end(pair->i.channel), OK);
	/* Anything after CLOSE is refused. */
	assert_int_equal(open_at(&pair->i, record, IECP_RECORD_OVERHEAD, &got), CHANNEL_CLOSED);
}

static void alert_ends_both(void **state)
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	assert_int_equal(iecp_seal_alert(pair->i.channel, REKEY_NEEDED, record), OK);
	assert_int_equal(seal(&pair->i, "x", record + 50, &len), REKEY_NEEDED);
	assert_int_equal(open_at(&pair->r, record, IECP_ALERT_RECORD, &got), OK);
	assert_int_equal(got.type, IECP_ALERT);
	assert_int_equal(got.alert, REKEY_NEEDED);
	assert_int_equal(seal(&pair->r, "x", record, &len), PEER_ALERT);
	assert_int_equal(iecp_channel_end(pair->r.channel), PEER_ALERT);
}

static void alert_can_tell_why_after_a_failure(void **state)
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100], alert[IECP_ALERT_RECORD];
	size_t len;

	assert_int_equal(seal(&pair->i, "x", record, &len), OK);
	record[20] ^= 1;
	assert_int_equal(open_at(&pair->r, record, len, &got), BAD_TAG);
	assert_int_equal(seal(&pair->r, "x", record, &len), BAD_TAG);
	assert_int_equal(iecp_seal_alert(pair->r.channel, BAD_TAG, alert), OK);
	assert_int_equal(open_at(&pair->i, alert, sizeof alert, &got), OK);
	assert_int_equal(got.alert, BAD_TAG);
	assert_int_equal(iecp_seal_alert(pair->r.channel, BAD_TAG, alert), CHANNEL_CLOSED);
}

static void headers_that_no_record_has(void **state) /* IE-10, IE-13 */
{
	static const struct {
		uint8_t header[16];
		result expected;
	} cases[] = {
		{{0, 0, 3, 0, 0, 0, 0, 17}, TOO_LARGE}, /* KEYUPDATE and SWITCH with content, HS without */
		{{0, 0, 4, 0, 0, 0, 0, 16}, BAD_VALUE},
		{{0, 0, 4, 0, 0, 1, 0, 17}, TOO_LARGE},
		{{0, 0, 5, 0, 0, 0, 0, 17}, TOO_LARGE},
		{{0, 0, 5, 0, 0, 0, 0, 15}, BAD_VALUE},
		{{0, 0, 0, 0, 0, 0, 0, 17}, UNEXPECTED_RECORD},
		{{0, 0, 7, 0, 0, 0, 0, 17}, UNEXPECTED_RECORD},
		{{0, 0, 255, 0, 0, 0, 0, 17}, UNEXPECTED_RECORD},
		{{0, 1, 1, 0, 0, 0, 0, 17}, RECORD_OUT_OF_ORDER}, /* another generation */
		{{255, 255, 1, 0, 0, 0, 0, 17}, RECORD_OUT_OF_ORDER},
		{{0, 0, 1, 1, 0, 0, 0, 17}, BAD_VALUE}, /* flags */
		{{0, 0, 1, 0, 0, 0, 0, 16}, BAD_VALUE}, /* empty data */
		{{0, 0, 1, 0, 0, 0, 0, 0}, BAD_VALUE},
		{{0, 0, 1, 0, 0, 1, 0, 17}, TOO_LARGE}, /* 65537 bytes */
		{{0, 0, 1, 0, 255, 255, 255, 255}, TOO_LARGE},
		{{0, 0, 2, 0, 0, 0, 0, 17}, TOO_LARGE}, /* CLOSE with content */
		{{0, 0, 2, 0, 0, 0, 0, 15}, BAD_VALUE},
		{{0, 0, 6, 0, 0, 0, 0, 17}, BAD_VALUE}, /* ALERT of one byte */
		{{0, 0, 6, 0, 0, 0, 0, 19}, TOO_LARGE},
		{{0, 0, 1, 0, 0, 1, 0, 16}, OK}, /* 65536 bytes */
	};
	(void)state;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct iecp_channel *receiver = bare(IECP_RESPONDER, PAIR_DAY_MS);
		size_t total = 0;
		assert_int_equal(iecp_record_size(receiver, SPAN_ARRAY(cases[i].header), &total), cases[i].expected);
		assert_int_equal(iecp_channel_end(receiver),
			cases[i].expected == OK ? CHANNEL_TRUNCATED : cases[i].expected); /* refused for good */
		iecp_channel_free(receiver);
	}
}

static void at(struct pair *pair, uint64_t sequence, uint64_t bytes)
{
	iecp_channel_set_progress(pair->i.channel, true, sequence, bytes);
	iecp_channel_set_progress(pair->r.channel, false, sequence, bytes);
}

static void keyupdate(struct pair *pair)
{
	struct iecp_record got;
	uint8_t record[IECP_RECORD_OVERHEAD];

	assert_int_equal(iecp_seal_keyupdate(pair->i.channel, record), OK);
	assert_int_equal(record[2], IECP_KEYUPDATE);
	assert_int_equal(open_at(&pair->r, record, sizeof record, &got), OK);
	assert_int_equal(got.type, IECP_KEYUPDATE);
}

static void sequence_numbers_end(void **state) /* IE-12 */
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	at(pair, IECP_MAX_RECORDS - IECP_KEPT_RECORDS - 1, 0);
	assert_false(iecp_keyupdate_due(pair->i.channel, 4));
	assert_int_equal(seal(&pair->i, "last", record, &len), OK);
	assert_int_equal(open_at(&pair->r, record, len, &got), OK);
	assert_true(iecp_keyupdate_due(pair->i.channel, 1));
	assert_int_equal(seal(&pair->i, "one more", record, &len), REKEY_NEEDED);
	at(pair, IECP_MAX_RECORDS - 1, 0); /* only for what ends the generation */
	assert_int_equal(iecp_seal_close(pair->i.channel, record), REKEY_NEEDED);
	assert_int_equal(iecp_seal_alert(pair->r.channel, OK, record), OK);
	/* Nothing at all beyond the limit, nor at the very end of the counter. */
	at(pair, IECP_MAX_RECORDS, 0);
	assert_int_equal(iecp_seal_keyupdate(pair->i.channel, record), REKEY_NEEDED);
	at(pair, UINT64_MAX, 0);
	assert_int_equal(seal(&pair->i, "x", record, &len), REKEY_NEEDED);
	assert_int_equal(iecp_seal_keyupdate(pair->i.channel, record), REKEY_NEEDED);
	assert_int_equal(iecp_seal_alert(pair->i.channel, REKEY_NEEDED, record), REKEY_NEEDED);
}

static void keyupdate_goes_on_at_both_limits(void **state) /* IE-12 */
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	at(pair, IECP_MAX_RECORDS - 1, 0); /* the very last record */
	keyupdate(pair);
	assert_int_equal(seal(&pair->i, "goes on", record, &len), OK);
	assert_int_equal(record[1], 1); /* generation 1, record 0 */
	assert_int_equal(record[15], 0);
	assert_int_equal(open_at(&pair->r, record, len, &got), OK);
	assert_true(span_equal_str(got.plain, "goes on"));
	at(pair, 5, IECP_MAX_BYTES - 3);
	assert_false(iecp_keyupdate_due(pair->i.channel, 3));
	assert_true(iecp_keyupdate_due(pair->i.channel, 4));
	keyupdate(pair);
	assert_int_equal(seal(&pair->i, "and on", record, &len), OK);
	assert_int_equal(open_at(&pair->r, record, len, &got), OK);
	assert_int_equal(iecp_channel_generation(pair->i.channel, true), 2);
	assert_int_equal(iecp_channel_generation(pair->r.channel, false), 2);
	/* One direction says nothing about the other. */
	assert_int_equal(iecp_channel_generation(pair->r.channel, true), 0);
	assert_int_equal(seal(&pair->r, "answer", record, &len), OK);
	assert_int_equal(open_at(&pair->i, record, len, &got), OK);
}

/* A side may want new keys sooner than it must; the first record of a generation always passes. */
static void keyupdate_sooner_by_own_wish(void **state)
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	iecp_channel_keyupdate_after(pair->i.channel, 10);
	assert_false(iecp_keyupdate_due(pair->i.channel, 60));
	assert_int_equal(seal(&pair->i, "sixsix", record, &len), OK);
	assert_int_equal(open_at(&pair->r, record, len, &got), OK);
	assert_false(iecp_keyupdate_due(pair->i.channel, 4));
	assert_true(iecp_keyupdate_due(pair->i.channel, 5));
	keyupdate(pair);
	assert_false(iecp_keyupdate_due(pair->i.channel, 60));
	/* What the peer must take has not changed, nor what it wishes for itself. */
	assert_int_equal(seal(&pair->i, "more than ten bytes", record, &len), OK);
	assert_int_equal(open_at(&pair->r, record, len, &got), OK);
	assert_false(iecp_keyupdate_due(pair->r.channel, 60));
	iecp_channel_keyupdate_after(pair->i.channel, 0);
	assert_false(iecp_keyupdate_due(pair->i.channel, 60));
}

static void keyupdate_by_hand(void **state)
{
	struct iecp_channel *sender = bare(IECP_INITIATOR, PAIR_DAY_MS);
	uint8_t ts[32], next[32], key_iv[44], record[3 + IECP_RECORD_OVERHEAD], expected[sizeof record], before[32];
	static const uint8_t master[IECP_KEY_SIZE] = {42}, header[16] = {0, 1, 1, 0, 0, 0, 0, 19};
	CLEANUP(aead_free) struct aead aead = {0};
	(void)state;

	hkdf_expand_label(master, "iecp1", "traffic i", SPAN_EMPTY, ts, 32);
	assert_memory_equal(sender->secrets->traffic_out, ts, 32);
	hkdf_expand_label(ts, "iecp1", "update", SPAN_EMPTY, next, 32);
	hkdf_expand_label(next, "iecp1", "key", SPAN_EMPTY, key_iv, 44);
	memcpy(before, sender->secrets->traffic_in, 32);
	assert_int_equal(iecp_seal_keyupdate(sender, record), OK);
	assert_memory_equal(sender->secrets->traffic_out, next, 32); /* ts is gone */
	assert_memory_equal(sender->secrets->traffic_in, before, 32);
	assert_int_equal(iecp_seal(sender, span_str("abc"), NOW, record), OK);
	memcpy(expected, header, 16);
	assert_int_equal(aead_init_seal(&aead, key_iv), OK);
	assert_int_equal(aead_seal(&aead, key_iv + 32, SPAN_ARRAY(header), span_str("abc"), expected + 16), OK);
	assert_memory_equal(record, expected, sizeof record);
	iecp_channel_free(sender);
}

static void records_around_a_keyupdate(void **state) /* IE-02, IE-03, IE-04, IE-16 */
{
	/* 0 old, 1 KEYUPDATE, 2 new: which order is taken? */
	static const int orders[][3] = {{0, 2, -1}, {1, -1, -1}, {2, -1, -1}, {0, 1, 1}, {0, 1, 0}, {0, 0, -1}};
	uint8_t records[3][1 + IECP_RECORD_OVERHEAD], out[64];
	struct iecp_record got;
	(void)state;

	struct iecp_channel *sender = bare(IECP_INITIATOR, PAIR_DAY_MS);
	assert_int_equal(iecp_seal(sender, span_str("o"), NOW, records[0]), OK);
	assert_int_equal(iecp_seal_keyupdate(sender, records[1]), OK);
	assert_int_equal(iecp_seal(sender, span_str("n"), NOW, records[2]), OK);
	for (size_t i = 0; i < COUNT_OF(orders); i++) {
		struct iecp_channel *receiver = bare(IECP_RESPONDER, PAIR_DAY_MS);
		result r = OK;
		for (size_t k = 0; k < 3 && orders[i][k] >= 0; k++) {
			assert_int_equal(r, OK);
			int which = orders[i][k];
			r = iecp_open(receiver, span_of(records[which], IECP_RECORD_OVERHEAD + (which != 1)), NOW, out, &got);
		}
		assert_int_equal(r, RECORD_OUT_OF_ORDER);
		iecp_channel_free(receiver);
	}
	iecp_channel_free(sender);
}

static void the_last_generation(void **state) /* IE-12 */
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	iecp_channel_set_generation(pair->i.channel, true, 65534);
	iecp_channel_set_generation(pair->r.channel, false, 65534);
	keyupdate(pair);
	assert_int_equal(seal(&pair->i, "x", record, &len), OK);
	assert_int_equal(open_at(&pair->r, record, len, &got), OK);
	assert_int_equal(iecp_seal_keyupdate(pair->i.channel, record), REKEY_NEEDED);
	assert_int_equal(iecp_seal_close(pair->i.channel, record), OK);
	assert_int_equal(open_at(&pair->r, record, IECP_RECORD_OVERHEAD, &got), OK);
	assert_int_equal(iecp_channel_end(pair->r.channel), OK);
}

static void a_receiver_has_a_last_generation_too(void **state) /* IE-12 */
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[IECP_RECORD_OVERHEAD];

	iecp_channel_set_generation(pair->r.channel, false, 65535);
	assert_int_equal(iecp_seal_keyupdate(pair->i.channel, record), OK);
	record[0] = record[1] = 255; /* as from a sender that does not stop */
	assert_int_equal(open_at(&pair->r, record, sizeof record, &got), BAD_TAG);
	struct iecp_channel *sender = bare(IECP_INITIATOR, PAIR_DAY_MS), *receiver = bare(IECP_RESPONDER, PAIR_DAY_MS);
	iecp_channel_set_generation(sender, true, 65535);
	iecp_channel_set_generation(receiver, false, 65535);
	assert_int_equal(iecp_seal_control(sender, IECP_KEYUPDATE, SPAN_EMPTY, record), OK);
	uint8_t out[16];
	assert_int_equal(iecp_open(receiver, SPAN_ARRAY(record), NOW, out, &got), REKEY_NEEDED);
	iecp_channel_free(sender);
	iecp_channel_free(receiver);
}

static void a_receiver_enforces_the_limits_too(void **state) /* IE-12 */
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100];
	size_t len;

	assert_int_equal(seal(&pair->i, "x", record, &len), OK);
	iecp_channel_set_progress(pair->r.channel, false, 0, IECP_MAX_BYTES);
	assert_int_equal(open_at(&pair->r, record, len, &got), REKEY_NEEDED);
	iecp_channel_set_progress(pair->i.channel, true, 1, IECP_MAX_BYTES - 1);
	assert_int_equal(seal(&pair->i, "x", record, &len), OK);
	assert_int_equal(seal(&pair->i, "x", record, &len), REKEY_NEEDED);
}

static void an_hour_is_the_end(void **state)
{
	struct pair *pair = *state;
	struct iecp_record got;
	uint8_t record[100], plain[100];
	uint64_t start = PAIR_NOW.steady_ms;
	size_t len = 1 + IECP_RECORD_OVERHEAD;

	assert_int_equal(iecp_seal(pair->i.channel, span_str("x"), start + IECP_MAX_AGE_MS - 1, record), OK);
	assert_int_equal(iecp_seal(pair->i.channel, span_str("x"), start + IECP_MAX_AGE_MS, plain), REKEY_NEEDED);
	assert_int_equal(iecp_open(pair->r.channel, span_of(record, len), start + IECP_MAX_AGE_MS, plain, &got), REKEY_NEEDED);
}

static void a_channel_ends_with_the_certificate(void **state) /* BI-08 */
{
	struct iecp_channel *channel = bare(IECP_INITIATOR, 5000);
	uint8_t record[100];
	(void)state;

	assert_int_equal(iecp_seal(channel, span_str("x"), NOW + 4999, record), OK);
	assert_int_equal(iecp_seal(channel, span_str("x"), NOW + 5000, record), REKEY_NEEDED);
	iecp_channel_free(channel);

	static const uint8_t master[IECP_KEY_SIZE] = {42};
	struct iecp_peer expired = {.name = "peer", .not_after = PAIR_NOW_MS - 1};
	assert_int_equal(iecp_channel_new(IECP_INITIATOR, master, PAIR_NOW, &expired, &channel), CERTIFICATE_EXPIRED);
}

static void a_forked_child_cannot_seal(void **state) /* IE-01 */
{
	struct pair *pair = *state;
	uint8_t record[100];
	size_t len;
	int status = 0;

	assert_int_equal(seal(&pair->i, "parent", record, &len), OK);
	pid_t child = fork();
	if (child == 0) {
		struct iecp_record got;
		uint8_t key[32];
		bool dead = seal(&pair->i, "child", record + 50, &len) == CHANNEL_FORKED &&
			iecp_seal_close(pair->i.channel, record + 50) == CHANNEL_FORKED &&
			iecp_seal_alert(pair->r.channel, BAD_TAG, record + 50) == CHANNEL_FORKED &&
			iecp_channel_export(pair->i.channel, "x", SPAN_EMPTY, key, 32) == CHANNEL_FORKED &&
			open_at(&pair->r, record, 38, &got) == CHANNEL_FORKED;
		_exit(dead ? 0 : 1);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(seal(&pair->i, "parent", record, &len), OK);
}

static void no_two_records_share_a_nonce_and_key(void **state) /* IE-01 */
{
	struct pair *pair = *state;
	uint8_t a[100], b[100];
	size_t len;

	/* Equal plaintexts: equal ciphertexts would mean an equal nonce. */
	assert_int_equal(seal(&pair->i, "same", a, &len), OK);
	assert_int_equal(seal(&pair->i, "same", b, &len), OK);
	assert_memory_not_equal(a + 16, b + 16, 4 + 16);
	assert_int_equal(seal(&pair->r, "same", b, &len), OK);
	assert_memory_not_equal(a + 16, b + 16, 4 + 16);
}

static void exports_agree(void **state)
{
	struct pair *pair = *state;
	uint8_t a[32], b[32];

	assert_int_equal(iecp_channel_export(pair->i.channel, "label", span_str("c"), a, 32), OK);
	assert_int_equal(iecp_channel_export(pair->r.channel, "label", span_str("c"), b, 32), OK);
	assert_memory_equal(a, b, 32);
	assert_int_equal(iecp_channel_export(pair->r.channel, "label", span_str("d"), b, 32), OK);
	assert_memory_not_equal(a, b, 32);
	assert_int_equal(iecp_channel_export(pair->r.channel, "label", SPAN_EMPTY, b, 0), BAD_VALUE);
}

int group_iecp_channel(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH(data_both_ways),
		WITH(sizes_and_in_place),
		cmocka_unit_test(flips_of_every_byte_of_a_record),
		WITH(repeats),
		WITH(reorders),
		WITH(drops),
		WITH(a_renumbered_record_does_not_open),
		WITH(reflected_records),
		WITH(splices_from_another_session),
		WITH(truncation_without_close),
		cmocka_unit_test(cut_records),
		WITH(close_ends_one_direction),
		WITH(alert_ends_both),
		WITH(alert_can_tell_why_after_a_failure),
		cmocka_unit_test(headers_that_no_record_has),
		WITH(sequence_numbers_end),
		WITH(keyupdate_goes_on_at_both_limits),
		WITH(keyupdate_sooner_by_own_wish),
		cmocka_unit_test(keyupdate_by_hand),
		cmocka_unit_test(records_around_a_keyupdate),
		WITH(the_last_generation),
		WITH(a_receiver_has_a_last_generation_too),
		WITH(a_receiver_enforces_the_limits_too),
		WITH(an_hour_is_the_end),
		cmocka_unit_test(a_channel_ends_with_the_certificate),
		WITH(a_forked_child_cannot_seal),
		WITH(no_two_records_share_a_nonce_and_key),
		WITH(exports_agree),
	};
	return cmocka_run_group_tests_name("iecp channel", tests, NULL, NULL);
}
