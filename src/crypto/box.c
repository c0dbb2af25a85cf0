#include "crypto/box.h"

#include "base/writer.h"
#include "crypto/hash.h"

#include <string.h>

/* k = EX(HX("troth-box1", ECDH), label, lv(E)‖lv(pk), 32) */
static void derive(const uint8_t *shared, const char *label, struct span ephemeral, struct span recipient, uint8_t *out_key)
{
	uint8_t prk[SHA256_SIZE], ctx_bytes[2 * (4 + POINT_SIZE)];
	struct writer ctx = writer_fixed(ctx_bytes, sizeof ctx_bytes);

	writer_lv(&ctx, ephemeral);
	writer_lv(&ctx, recipient);
	hkdf_extract(span_str("troth-box1"), span_of(shared, ECDH_SIZE), prk);
	hkdf_expand_label(prk, "box1", label, SPAN_ARRAY(ctx_bytes), out_key, AEAD_KEY_SIZE);
	wipe(prk, sizeof prk);
}

/* Keys of one box; wiped by box_keys_wipe. */
struct box_keys {
	uint8_t shared[ECDH_SIZE];
	uint8_t key[AEAD_KEY_SIZE];
};

static void box_keys_wipe(struct box_keys *keys)
{
	wipe(keys, sizeof *keys);
}

result box_seal(struct span recipient_point, const char *label, struct span aad, struct span plain, uint8_t *out)
{
	CLEANUP(key_free) struct key ephemeral = KEY_EMPTY;
	CLEANUP(box_keys_wipe) struct box_keys keys = {0};

	if (plain.len == 0)
		return fail(BAD_VALUE, "an empty message cannot be boxed");
	TRY(key_generate(&ephemeral));
	TRY(key_agree(&ephemeral, recipient_point, keys.shared));
	derive(keys.shared, label, SPAN_ARRAY(ephemeral.point), recipient_point, keys.key);
	TRY(aead_seal_once(keys.key, aad, plain, out + POINT_SIZE));
	memcpy(out, ephemeral.point, POINT_SIZE);
	return OK;
}

result box_open(const struct key *recipient, const char *label, struct span aad, struct span box, struct secret *out)
{
	CLEANUP(box_keys_wipe) struct box_keys keys = {0};
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;

	if (box.len <= BOX_OVERHEAD)
		return fail(TRUNCATED, "a box of %zu bytes holds no message", box.len);
	struct span ephemeral = span_of(box.data, POINT_SIZE);
	struct span cipher = span_of(box.data + POINT_SIZE, box.len - POINT_SIZE);
	TRY(key_agree(recipient, ephemeral, keys.shared));
	derive(keys.shared, label, ephemeral, SPAN_ARRAY(recipient->point), keys.key);
	TRY(secret_new(box.len - BOX_OVERHEAD, &plain));
	TRY(aead_open_once(keys.key, aad, cipher, plain.data));
	*out = secret_move(&plain);
	return OK;
}
