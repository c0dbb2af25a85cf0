/*
 * Known answers: vectors/iecp-suite1.json was made by tests/outside/iecp_vectors.py, which shares nothing with the
 * engine. Both sides must write the same messages byte for byte, given the same randomness and signatures.
 */
#include "groups.h"
#include "iecp_pair.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { VALUE_MAX = 64 * 1024 };

static uint8_t digit(char c)
{
	assert_true((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static struct bytes hex(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	assert_non_null(text);
	struct bytes bytes = {malloc(strlen(text) / 2 + 1), strlen(text) / 2};
	for (size_t i = 0; i < bytes.len; i++)
		bytes.data[i] = (uint8_t)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
	return bytes;
}

static void assert_bytes(const json_t *object, const char *name, const void *found, size_t len)
{
	CLEANUP(bytes_free) struct bytes expected = hex(object, name);
	bool same = expected.len == len && memcmp(expected.data, found, len) == 0;
	if (!same)
		print_error("%s differs\n", name);
	assert_true(same);
}

/* One side as the vector has it; its randomness and signature are played back. */
struct player {
	const json_t *from;
	struct bytes random, certificate, evidence, signature, epoch;
	size_t drawn, signed_count;
	bool is_tape; /* several handshakes, whose values have no names */
	struct key sign_key, kem_key, issuer_key;
	const struct player *peer;
	const json_t *values;
	const char *own_bind, *peer_bind; /* names of values */
	struct iecp_pin pin;
	struct iecp_anchor anchor;
	struct iecp_hooks hooks;
	struct iecp_config config;
};

static void play_random(void *ctx, void *out, size_t len)
{
	struct player *p = ctx;
	assert_true(p->drawn + len <= p->random.len);
	memcpy(out, p->random.data + p->drawn, len);
	p->drawn += len;
}

/* The recorded signature must be one over the very message that the engine signs. */
static result play_sign(void *ctx, const struct key *key, struct span message, uint8_t out[static SIGNATURE_SIZE])
{
	struct player *p = ctx;
	const json_t *several = json_object_get(p->from, "signatures");
	if (several) {
		const json_t *row = json_array_get(several, p->signed_count++);
		json_t *named = json_pack("{s:O}", "signature", row);
		bytes_free(&p->signature);
		p->signature = hex(named, "signature");
		json_decref(named);
	}
	TRY(key_verify(key, message, bytes_span(&p->signature)));
	memcpy(out, p->signature.data, SIGNATURE_SIZE);
	return OK;
}

static result judge(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected, uint64_t now,
	struct iecp_peer *out)
{
	const struct player *p = ctx;
	static const struct iecp_epoch zero;
	uint8_t bytes[IECP_EPOCH_SIZE];
	struct writer w = writer_fixed(bytes, sizeof bytes);

	iecp_epoch_put(&w, epoch);
	assert_memory_equal(bytes, p->peer->epoch.data, sizeof bytes);
	return iecp_anchor_certificate(&p->anchor, chain, &zero, expected, now, out);
}

static result produce(void *ctx, const uint8_t bind[static IECP_BIND_SIZE], struct writer *out)
{
	const struct player *p = ctx;
	if (!p->is_tape)
		assert_bytes(p->values, p->own_bind, bind, IECP_BIND_SIZE);
	writer_span(out, bytes_span(&p->evidence));
	return OK;
}

static result appraise(void *ctx, struct span evidence, const uint8_t bind[static IECP_BIND_SIZE],
	struct iecp_peer *peer)
{
	const struct player *p = ctx;
	(void)peer;
	if (!p->is_tape)
		assert_bytes(p->values, p->peer_bind, bind, IECP_BIND_SIZE);
	assert_true(span_equal(evidence, bytes_span(&p->peer->evidence)));
	return OK;
}

static result decide(void *ctx, enum iecp_question question, const struct iecp_peer *peer)
{
	(void)ctx;
	(void)question;
	(void)peer;
	return OK;
}

static struct key seeded(const json_t *from, const char *name)
{
	CLEANUP(bytes_free) struct bytes seed = hex(from, name);
	struct key key;
	assert_int_equal(key_from_seed48(bytes_span(&seed), &key), OK);
	return key;
}

static void player_init(struct player *p, const json_t *vector, enum iecp_role role)
{
	bool initiator = role == IECP_INITIATOR;
	const json_t *from = json_object_get(vector, initiator ? "initiator" : "responder");

	*p = (struct player){
		.from = from,
		.random = hex(from, "random"),
		.certificate = hex(from, "certificate"),
		.evidence = hex(from, "evidence"),
		.signature = hex(from, "signature"),
		.epoch = hex(from, "epoch"),
		.sign_key = seeded(from, "sign_seed"),
		.kem_key = seeded(from, "kem_seed"),
		.issuer_key = seeded(from, "issuer_seed"),
		.values = json_object_get(vector, "values"),
		.own_bind = initiator ? "bindI" : "bindR",
		.peer_bind = initiator ? "bindR" : "bindI",
		.is_tape = json_object_get(vector, "steps") != NULL,
		.hooks = {p, play_random, play_sign},
	};
	p->config = (struct iecp_config){
		.role = role,
		.pq = IECP_PQ_OFF,
		.certificate = bytes_span(&p->certificate),
		.sign_key = &p->sign_key,
		.kem_key = &p->kem_key,
		.expected_name = "peer",
		.verifier = {p, judge, produce, appraise, decide},
		.hooks = &p->hooks,
	};
	struct iecp_epoch *epoch = &p->config.epoch;
	struct reader r = reader_of(bytes_span(&p->epoch));
	assert_int_equal(reader_copy(&r, epoch->rot_id, 32), OK);
	assert_int_equal(reader_u32(&r, &epoch->era), OK);
	assert_int_equal(reader_u64(&r, &epoch->epoch), OK);
	assert_int_equal(reader_copy(&r, epoch->oid, 32), OK);
}

static void player_meet(struct player *p, const struct player *peer)
{
	p->peer = peer;
	p->pin = (struct iecp_pin){"peer", &peer->issuer_key};
	p->anchor = (struct iecp_anchor){.pins = &p->pin, .pin_count = 1};
}

static void player_free(struct player *p)
{
	bytes_free(&p->random);
	bytes_free(&p->certificate);
	bytes_free(&p->evidence);
	bytes_free(&p->signature);
	bytes_free(&p->epoch);
	key_free(&p->sign_key);
	key_free(&p->kem_key);
	key_free(&p->issuer_key);
}

/* The frame in `w` is lv(vector[name]). */
static void assert_frame(const json_t *vector, const char *name, const struct writer *w)
{
	struct span frame, content;
	assert_int_equal(writer_finish(w, &frame), OK);
	assert_int_equal(iecp_unframe(frame, VALUE_MAX, &content), OK);
	assert_bytes(vector, name, content.data, content.len);
}

static void check_records(const json_t *vector, struct iecp_channel *i, struct iecp_channel *r)
{
	const json_t *row;
	size_t index;

	json_array_foreach(json_object_get(vector, "records"), index, row) {
		bool from_i = strcmp(json_string_value(json_object_get(row, "from")), "i") == 0;
		int type = (int)json_integer_value(json_object_get(row, "type"));
		struct iecp_channel *sender = from_i ? i : r, *receiver = from_i ? r : i;
		CLEANUP(bytes_free) struct bytes plain = hex(row, "plain");
		uint8_t record[1024], out[1024];
		struct iecp_record got;
		result sealed = type == IECP_DATA ? iecp_seal(sender, bytes_span(&plain), 0, record)
			: type == IECP_CLOSE	  ? iecp_seal_close(sender, record)
						  : iecp_seal_alert(sender, (enum reason)(plain.data[0] << 8 | plain.data[1]), record);
		assert_int_equal(sealed, OK);
		assert_bytes(row, "record", record, plain.len + IECP_RECORD_OVERHEAD);
		assert_int_equal(iecp_open(receiver, span_of(record, plain.len + IECP_RECORD_OVERHEAD), 0, out, &got), OK);
		assert_int_equal(got.type, type);
		if (type == IECP_DATA)
			assert_true(span_equal(got.plain, bytes_span(&plain)));
	}
	assert_true(index >= 5);
}

static void check_channel(const json_t *vector, struct iecp_channel *channel)
{
	const json_t *values = json_object_get(vector, "values");
	CLEANUP(bytes_free) struct bytes exporter = hex(values, "exporter");
	uint8_t expected[32], found[32];
	struct span psk = iecp_channel_psk(channel);

	assert_bytes(values, "channel_id", iecp_channel_id(channel), IECP_CHANNEL_ID_SIZE);
	assert_bytes(values, "psk_next", psk.data, psk.len);
	hkdf_expand_label(exporter.data, "iecp1", "test", span_str("context"), expected, sizeof expected);
	assert_int_equal(iecp_channel_export(channel, "test", span_str("context"), found, sizeof found), OK);
	assert_memory_equal(expected, found, sizeof found);
}

/* The three messages; leaves both channels. */
static void shake(const json_t *vector, struct player *i, struct player *r, struct iecp_channel **ci, struct iecp_channel **cr)
{
	struct iecp *hi = NULL, *hr = NULL;
	struct iecp_time now = {(uint64_t)json_integer_value(json_object_get(vector, "now_ms")), 0};
	struct writer m1 = writer_growing(VALUE_MAX), m2 = writer_growing(VALUE_MAX), m3 = writer_growing(VALUE_MAX);
	struct span frame;

	assert_int_equal(iecp_new(&i->config, now, &hi), OK);
	assert_int_equal(iecp_new(&r->config, now, &hr), OK);
	assert_int_equal(iecp_start(hi, now, &m1), OK);
	assert_frame(vector, "m1", &m1);
	assert_int_equal(writer_finish(&m1, &frame), OK);
	assert_int_equal(iecp_receive(hr, frame, now, &m2), OK);
	assert_frame(vector, "m2", &m2);
	assert_int_equal(writer_finish(&m2, &frame), OK);
	assert_int_equal(iecp_receive(hi, frame, now, &m3), OK);
	assert_frame(vector, "m3", &m3);
	assert_int_equal(writer_finish(&m3, &frame), OK);
	assert_int_equal(iecp_receive(hr, frame, now, &m1), OK);
	assert_int_equal(iecp_take_channel(hi, ci), OK);
	assert_int_equal(iecp_take_channel(hr, cr), OK);
	iecp_free(hi);
	iecp_free(hr);
	writer_free(&m1);
	writer_free(&m2);
	writer_free(&m3);
}

/* ---- ML-KEM played from the vector, where OpenSSL has none ---- */

enum { M2_CT_AT = 1 + 2 + IECP_NONCE_SIZE + POINT_SIZE + 4 };

static const json_t *kem_vector;
static uint8_t kem_marker;

static void played_key(uint8_t out[static MLKEM_KEY_SIZE])
{
	CLEANUP(bytes_free) struct bytes m1 = hex(kem_vector, "m1");
	memcpy(out, m1.data + m1.len - MLKEM_KEY_SIZE, MLKEM_KEY_SIZE);
}

static void played_secret(uint8_t out[static MLKEM_SECRET_SIZE])
{
	CLEANUP(bytes_free) struct bytes ss = hex(json_object_get(kem_vector, "values"), "ss");
	assert_int_equal(ss.len, 2 * ECDH_SIZE + MLKEM_SECRET_SIZE);
	memcpy(out, ss.data + 2 * ECDH_SIZE, MLKEM_SECRET_SIZE);
}

static result play_generate(struct span seed, struct mlkem *out, uint8_t out_key[static MLKEM_KEY_SIZE])
{
	assert_int_equal(seed.len, MLKEM_SEED_SIZE);
	out->pkey = &kem_marker;
	played_key(out_key);
	return OK;
}

static result play_encapsulate(struct span key, struct span message, uint8_t out_ct[static MLKEM_CT_SIZE],
	uint8_t out_secret[static MLKEM_SECRET_SIZE])
{
	CLEANUP(bytes_free) struct bytes m2 = hex(kem_vector, "m2");
	uint8_t expected[MLKEM_KEY_SIZE];

	assert_int_equal(message.len, MLKEM_MESSAGE_SIZE);
	played_key(expected);
	assert_true(span_equal(key, SPAN_ARRAY(expected)));
	memcpy(out_ct, m2.data + M2_CT_AT, MLKEM_CT_SIZE);
	played_secret(out_secret);
	return OK;
}

static result play_decapsulate(const struct mlkem *own, struct span ct, uint8_t out_secret[static MLKEM_SECRET_SIZE])
{
	assert_ptr_equal(own->pkey, &kem_marker);
	assert_int_equal(ct.len, MLKEM_CT_SIZE);
	played_secret(out_secret);
	return OK;
}

static void play_free(struct mlkem *own)
{
	own->pkey = NULL;
}

static const struct iecp_kem played_kem = {play_generate, play_encapsulate, play_decapsulate, play_free};

/* What the vector's first message offers. */
static enum iecp_pq pq_of(const json_t *vector)
{
	CLEANUP(bytes_free) struct bytes m1 = hex(vector, "m1");
	return m1.data[1] == 2 ? IECP_PQ_PREFER : m1.data[3] == IECP_SUITE_HYBRID ? IECP_PQ_REQUIRE : IECP_PQ_OFF;
}

static void replay(const json_t *vector, const struct iecp_kem *kem)
{
	struct player i, r;
	struct iecp_channel *ci = NULL, *cr = NULL;
	CLEANUP(bytes_free) struct bytes psk = hex(vector, "psk_given"), psk_id = hex(vector, "psk_id");

	player_init(&i, vector, IECP_INITIATOR);
	player_init(&r, vector, IECP_RESPONDER);
	player_meet(&i, &r);
	player_meet(&r, &i);
	kem_vector = vector;
	i.hooks.kem = r.hooks.kem = kem;
	i.config.pq = r.config.pq = pq_of(vector);
	i.config.psk = r.config.psk = bytes_span(&psk);
	i.config.psk_id = r.config.psk_id = bytes_span(&psk_id);
	shake(vector, &i, &r, &ci, &cr);
	assert_int_equal(i.drawn, i.random.len);
	assert_int_equal(r.drawn, r.random.len);
	check_channel(vector, ci);
	check_channel(vector, cr);
	check_records(vector, ci, cr);

	iecp_channel_free(ci);
	iecp_channel_free(cr);
	player_free(&i);
	player_free(&r);
}

static void replay_file(const char *path, const struct iecp_kem *kem)
{
	json_error_t error;
	const json_t *vector;
	size_t index;

	json_t *file = json_load_file(path, 0, &error);
	assert_non_null(file);
	json_array_foreach(json_object_get(file, "handshakes"), index, vector)
		replay(vector, kem);
	assert_int_equal(index, 3);
	json_decref(file);
}

static void suite_1(void **state)
{
	(void)state;
	replay_file(IECP_VECTORS "/iecp-suite1.json", NULL);
}

static void suite_2_with_its_kem_played(void **state)
{
	(void)state;
	replay_file(IECP_VECTORS "/iecp-suite2.json", &played_kem);
}

static void suite_2(void **state)
{
	(void)state;
	if (!mlkem_available())
		skip();
	replay_file(IECP_VECTORS "/iecp-suite2.json", NULL);
}

/* ---- a channel over its life ---- */

struct tape {
	const json_t *vector;
	struct iecp_channel *channels[2];
	struct iecp_time now;
	/* Records on their way to each side, in order. */
	struct bytes on_way[2][64];
	size_t first[2], count[2];
};

static void assert_direction(const json_t *step, const char *name, uint16_t generation, const uint8_t *traffic)
{
	const json_t *pair = json_object_get(step, name);
	json_t *named = json_pack("{s:O}", name, json_array_get(pair, 1));

	assert_int_equal(json_integer_value(json_array_get(pair, 0)), generation);
	assert_bytes(named, name, traffic, 32);
	json_decref(named);
}

static void assert_state(const json_t *step, const struct iecp_channel *c)
{
	assert_bytes(step, "channel_id", iecp_channel_id(c), IECP_CHANNEL_ID_SIZE);
	assert_bytes(step, "psk_next", c->secrets->psk, 32);
	assert_direction(step, "sending", iecp_channel_generation(c, true), c->secrets->traffic_out);
	assert_direction(step, "receiving", iecp_channel_generation(c, false), c->secrets->traffic_in);
}

static void act(struct tape *t, int who, const json_t *step, struct writer *out)
{
	struct iecp_channel *c = t->channels[who];
	const char *what = json_string_value(json_object_get(step, "act"));
	CLEANUP(bytes_free) struct bytes plain = hex(step, "plain");

	if (strcmp(what, "data") == 0) {
		assert_int_equal(iecp_seal(c, bytes_span(&plain), 0, writer_reserve(out, plain.len + IECP_RECORD_OVERHEAD)), OK);
	} else if (strcmp(what, "close") == 0) {
		assert_int_equal(iecp_seal_close(c, writer_reserve(out, IECP_RECORD_OVERHEAD)), OK);
	} else if (strcmp(what, "keyupdate") == 0) {
		assert_int_equal(iecp_seal_keyupdate(c, writer_reserve(out, IECP_RECORD_OVERHEAD)), OK);
	} else if (strcmp(what, "rekey") == 0) {
		assert_int_equal(iecp_rekey_start(c, t->now, out), OK);
	} else {
		static uint8_t opened[IECP_MAX_PLAIN];
		struct iecp_record got;
		assert_string_equal(what, "take");
		assert_true(t->first[who] < t->count[who]);
		struct bytes *record = &t->on_way[who][t->first[who]++];
		assert_int_equal(iecp_open(c, bytes_span(record), 0, opened, &got), OK);
		if (got.type == IECP_HS)
			assert_int_equal(iecp_rekey_receive(c, got.plain, t->now, out), OK);
		bytes_free(record);
	}
}

/* What came out is what the vector has, record by record; it goes to the other side. */
static void assert_out(struct tape *t, int who, const json_t *step, struct writer *out)
{
	struct span written;
	const json_t *row;
	size_t index;

	assert_int_equal(writer_finish(out, &written), OK);
	json_array_foreach(json_object_get(step, "out"), index, row) {
		json_t *named = json_pack("{s:O}", "record", row);
		struct bytes *record = &t->on_way[1 - who][t->count[1 - who]++];
		*record = hex(named, "record");
		assert_true(written.len >= record->len);
		assert_bytes(named, "record", written.data, record->len);
		written = span_of(written.data + record->len, written.len - record->len);
		json_decref(named);
	}
	assert_int_equal(written.len, 0);
}

static void rekeys(void **state)
{
	json_error_t error;
	struct tape t = {0};
	struct player i, r;
	const json_t *step;
	size_t index;
	(void)state;

	json_t *vector = json_load_file(IECP_VECTORS "/iecp-rekey.json", 0, &error);
	assert_non_null(vector);
	player_init(&i, vector, IECP_INITIATOR);
	player_init(&r, vector, IECP_RESPONDER);
	player_meet(&i, &r);
	player_meet(&r, &i);
	shake(vector, &i, &r, &t.channels[0], &t.channels[1]);
	t.now.wall_ms = (uint64_t)json_integer_value(json_object_get(vector, "now_ms"));
	assert_int_equal(iecp_rekey_configure(t.channels[0], &i.config), OK);
	assert_int_equal(iecp_rekey_configure(t.channels[1], &r.config), OK);
	json_array_foreach(json_object_get(vector, "steps"), index, step) {
		CLEANUP(writer_free) struct writer out = writer_growing(1 << 20);
		int who = strcmp(json_string_value(json_object_get(step, "side")), "r") == 0;
		act(&t, who, step, &out);
		assert_out(&t, who, step, &out);
		assert_state(step, t.channels[who]);
	}
	assert_true(index > 30);
	assert_int_equal(i.drawn, i.random.len);
	assert_int_equal(r.drawn, r.random.len);
	for (int who = 0; who < 2; who++) {
		assert_int_equal(t.first[who], t.count[who]);
		assert_int_equal(iecp_rekey_count(t.channels[who]), 3);
		assert_int_equal(iecp_channel_end(t.channels[who]), OK);
		iecp_channel_free(t.channels[who]);
	}
	player_free(&i);
	player_free(&r);
	json_decref(vector);
}

int group_iecp_vectors(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(suite_1), cmocka_unit_test(suite_2_with_its_kem_played), cmocka_unit_test(suite_2), cmocka_unit_test(rekeys)};
	return cmocka_run_group_tests_name("iecp vectors", tests, NULL, NULL);
}
