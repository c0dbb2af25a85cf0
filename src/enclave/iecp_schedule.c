#include "enclave/iecp_internal.h"

/* Transcript and key schedule of constructions/iecp.md; names of variables follow that page. */

static const char protocol[] = "iecp1";

result iecp_transcript_start(struct span psk_id, struct span m1, struct span m2_head, uint8_t out[static 32])
{
	CLEANUP(hash_free) struct hash hash = {0};

	TRY(hash_start(&hash, HASH_SHA256));
	hash_add(&hash, span_str("troth-iecp1 hs"));
	hash_add_lv(&hash, psk_id);
	hash_add_lv(&hash, m1);
	hash_add_lv(&hash, m2_head);
	hash_finish(&hash, out);
	return OK;
}

result iecp_transcript_add(uint8_t th[static 32], struct span piece)
{
	CLEANUP(hash_free) struct hash hash = {0};

	TRY(hash_start(&hash, HASH_SHA256));
	hash_add(&hash, span_of(th, 32));
	hash_add(&hash, piece);
	hash_finish(&hash, th);
	return OK;
}

result iecp_transcript_add_lv(uint8_t th[static 32], struct span piece)
{
	CLEANUP(hash_free) struct hash hash = {0};

	TRY(hash_start(&hash, HASH_SHA256));
	hash_add(&hash, span_of(th, 32));
	hash_add_lv(&hash, piece);
	hash_finish(&hash, th);
	return OK;
}

result iecp_transcript_add_lv2(uint8_t th[static 32], struct span first, struct span second)
{
	CLEANUP(hash_free) struct hash hash = {0};

	TRY(hash_start(&hash, HASH_SHA256));
	hash_add(&hash, span_of(th, 32));
	hash_add_lv(&hash, first);
	hash_add_lv(&hash, second);
	hash_finish(&hash, th);
	return OK;
}

static void expand(const uint8_t *key, const char *label, struct span ctx, uint8_t *out)
{
	hkdf_expand_label(key, protocol, label, ctx, out, IECP_KEY_SIZE);
}

void iecp_schedule_kek(struct iecp_keys *keys, uint16_t suite, const uint8_t th1[static 32])
{
	struct span ctx = span_of(th1, 32);
	size_t shared = 2 * ECDH_SIZE + (suite == IECP_SUITE_HYBRID ? MLKEM_SECRET_SIZE : 0);

	memcpy(keys->inputs + shared, keys->psk, sizeof keys->psk); /* ss ‖ psk */
	hkdf_extract(ctx, span_of(keys->inputs, shared + sizeof keys->psk), keys->extracted);
	expand(keys->extracted, "kek", ctx, keys->kek);
}

void iecp_schedule_session(struct iecp_keys *keys, const uint8_t th2[static 32])
{
	struct span ctx = span_of(th2, 32);

	hkdf_extract(SPAN_ARRAY(keys->extracted), SPAN_ARRAY(keys->drawn), keys->session);
	expand(keys->session, "box r", ctx, keys->box_r);
	expand(keys->session, "box i", ctx, keys->box_i);
	expand(keys->session, "fin r", ctx, keys->finish_r);
	expand(keys->session, "fin i", ctx, keys->finish_i);
}

void iecp_schedule_master(struct iecp_keys *keys, const uint8_t th9[static 32])
{
	expand(keys->session, "app", span_of(th9, 32), keys->master);
}

void iecp_bind(enum iecp_role role, const uint8_t th[static 32], const uint8_t key_id[static KEY_ID_SIZE],
	uint8_t out[static IECP_BIND_SIZE])
{
	uint8_t message[14 + 1 + 32 + KEY_ID_SIZE];
	struct writer w = writer_fixed(message, sizeof message);

	writer_str(&w, "troth-iecp1 ev");
	writer_u8(&w, (uint8_t)role);
	writer_put(&w, th, 32);
	writer_put(&w, key_id, KEY_ID_SIZE);
	sha512(SPAN_ARRAY(message), out);
}

void iecp_signed(enum iecp_role role, const uint8_t th[static 32], uint8_t out[static IECP_SIGNED_SIZE])
{
	struct writer w = writer_fixed(out, IECP_SIGNED_SIZE);

	writer_str(&w, "troth-iecp1 sig");
	writer_u8(&w, 0);
	writer_u8(&w, (uint8_t)role);
	writer_put(&w, th, 32);
}
