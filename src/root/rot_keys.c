#include "root/rot_keys.h"

#include <stdio.h>

#include "crypto/aead.h"
#include "crypto/random.h"
#include "object/epoch.h"

void rot_keys_free(struct rot_keys *keys)
{
	if (!keys)
		return;
	key_free(&keys->sign);
	key_free(&keys->kem);
	secret_free(&keys->epoch_secret);
	*keys = (struct rot_keys){0};
}

result rot_seed_new(struct span host_seed, struct secret *out)
{
	CLEANUP(secret_free) struct secret input = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	TRY(secret_new(32 + host_seed.len, &input));
	TRY(secret_new(ROT_SEED_SIZE, &seed));
	random_bytes(input.data, 32);
	if (host_seed.len)
		memcpy(input.data + 32, host_seed.data, host_seed.len);
	hkdf_extract(span_str("troth-rotseed1 mix"), secret_span(&input), seed.data);
	*out = secret_move(&seed);
	return OK;
}

static result derive_key(const struct secret *prk, const char *label, struct key *out)
{
	CLEANUP(secret_free) struct secret seed48 = SECRET_EMPTY;
	TRY(secret_new(48, &seed48));
	hkdf_expand_label(prk->data, "rotseed1", label, SPAN_EMPTY, seed48.data, seed48.len);
	return key_from_seed48(secret_span(&seed48), out);
}

static struct token_name name_by_id(struct span id)
{
	struct token_name name = {.id_len = (uint8_t)id.len};
	memcpy(name.id, id.data, id.len);
	return name;
}

/* Found by its id alone: a label can be changed by whoever manages the token. */
static result sign_key_in_token(struct token *token, bool make, struct rot_keys *keys)
{
	struct token_key key;
	struct token_name labelled = keys->sign_name;
	snprintf(labelled.label, sizeof(labelled.label), "%s", ROT_TOKEN_LABEL);
	result there = make ? token_generate(token, &labelled, TOKEN_SIGNS, &key) : token_find(token, &keys->sign_name, &key);
	if (there != OK) {
		char text[TOKEN_NAME_TEXT_SIZE];
		token_name_text(&keys->sign_name, text);
		return fail_within(there, "the signing key with %s", text);
	}
	if (!(key.abilities & TOKEN_KEEPS) || !(key.abilities & TOKEN_SIGNS))
		return fail(NOT_SUPPORTED, "a signing key in the token may leave it, or may not sign");
	return token_key_known(token, &keys->sign_name, SPAN_ARRAY(key.point), &keys->sign);
}

static result sign_key(const struct secret *prk, struct token *token, bool make, struct rot_keys *keys)
{
	uint8_t id[ROT_TOKEN_ID_SIZE];
	if (!token)
		return derive_key(prk, "sign", &keys->sign);
	hkdf_expand_label(prk->data, "rotseed1", "token id", SPAN_EMPTY, id, sizeof(id));
	keys->sign_name = name_by_id(SPAN_ARRAY(id));
	return sign_key_in_token(token, make, keys);
}

result rot_token_destroy(struct token *token, struct span id)
{
	if (id.len == 0 || id.len > TOKEN_ID_MAX)
		return fail(BAD_VALUE, "a key id of %zu bytes", id.len);
	struct token_name name = name_by_id(id);
	result destroyed = token_destroy(token, &name);
	return destroyed == NOT_FOUND ? OK : destroyed;
}

static result keys_of(const struct secret *seed, struct token *token, bool make, struct rot_keys *out)
{
	CLEANUP(secret_free) struct secret prk = SECRET_EMPTY;
	CLEANUP(rot_keys_free) struct rot_keys keys = {0};
	TRY(secret_new(SHA256_SIZE, &prk));
	TRY(secret_new(32, &keys.epoch_secret));
	hkdf_extract(span_str("troth-rotseed1"), secret_span(seed), prk.data);
	TRY(sign_key(&prk, token, make, &keys));
	TRY(derive_key(&prk, "kem", &keys.kem));
	hkdf_expand_label(prk.data, "rotseed1", "salt", SPAN_EMPTY, keys.salt, sizeof(keys.salt));
	hkdf_expand_label(prk.data, "rotseed1", "secret", SPAN_EMPTY, keys.epoch_secret.data, keys.epoch_secret.len);
	*out = keys;
	keys = (struct rot_keys){0}; /* transferred */
	return OK;
}

result rot_keys_from_seed(const struct secret *seed, struct rot_keys *out)
{
	return keys_of(seed, NULL, false, out);
}

result rot_keys_make(const struct secret *seed, struct token *token, struct rot_keys *out)
{
	return keys_of(seed, token, true, out);
}

result rot_keys_open(const struct secret *seed, struct token *token, struct rot_keys *out)
{
	return keys_of(seed, token, false, out);
}

static result derive_point(const struct secret *prk, const char *label, uint8_t out[static POINT_SIZE])
{
	CLEANUP(secret_free) struct secret seed48 = SECRET_EMPTY;
	TRY(secret_new(48, &seed48));
	hkdf_expand_label(prk->data, "rotseed1", label, SPAN_EMPTY, seed48.data, seed48.len);
	return point_from_seed48(secret_span(&seed48), out);
}

/* The private keys are not needed before their turn comes, and not made. */
static result commit_to_seed(const struct secret *seed, uint8_t out[static SHA256_SIZE])
{
	uint8_t sign[POINT_SIZE], kem[POINT_SIZE], salt[32];
	CLEANUP(secret_free) struct secret prk = SECRET_EMPTY;
	TRY(secret_new(SHA256_SIZE, &prk));
	hkdf_extract(span_str("troth-rotseed1"), secret_span(seed), prk.data);
	TRY(derive_point(&prk, "sign", sign));
	TRY(derive_point(&prk, "kem", kem));
	hkdf_expand_label(prk.data, "rotseed1", "salt", SPAN_EMPTY, salt, sizeof(salt));
	epoch_next_commitment(sign, kem, salt, out);
	return OK;
}

result rot_next_commitment(const struct secret *seed, struct token *token, uint8_t out[static SHA256_SIZE])
{
	CLEANUP(rot_keys_free) struct rot_keys keys = {0};
	if (!token)
		return commit_to_seed(seed, out);
	TRY(rot_keys_make(seed, token, &keys));
	epoch_next_commitment(keys.sign.point, keys.kem.point, keys.salt, out);
	return OK;
}

static result wrap_key_derive(const struct secret *wrap_key, struct span share, const uint8_t salt[static 32],
	const char *label, struct secret *out)
{
	CLEANUP(secret_free) struct secret input = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret prk = SECRET_EMPTY;
	TRY(secret_new(wrap_key->len + share.len, &input));
	TRY(secret_new(AEAD_KEY_SIZE, &key));
	TRY(secret_new(SHA256_SIZE, &prk));
	memcpy(input.data, wrap_key->data, wrap_key->len);
	if (share.len)
		memcpy(input.data + wrap_key->len, share.data, share.len);
	hkdf_extract(span_of(salt, 32), secret_span(&input), prk.data);
	hkdf_expand_label(prk.data, "apstate1", label, SPAN_EMPTY, key.data, key.len);
	*out = secret_move(&key);
	return OK;
}

result state_wrap(const struct secret *wrap_key, struct span share, const char *label, struct span plain, struct writer *out)
{
	uint8_t salt[32];
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	random_bytes(salt, sizeof(salt));
	TRY(wrap_key_derive(wrap_key, share, salt, label, &key));
	writer_span(out, SPAN_ARRAY(salt));
	uint8_t *at = writer_reserve(out, plain.len + AEAD_TAG_SIZE);
	if (!at)
		return fail(TOO_LARGE, "wrapped state");
	return aead_seal_once(key.data, span_str(label), plain, at);
}

result state_unwrap(const struct secret *wrap_key, struct span share, const char *label, struct span wrapped,
	struct secret *out)
{
	if (wrapped.len <= WRAP_OVERHEAD)
		return fail(TRUNCATED, "a wrapped %s of %zu bytes", label, wrapped.len);
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;
	TRY(wrap_key_derive(wrap_key, share, wrapped.data, label, &key));
	TRY(secret_new(wrapped.len - WRAP_OVERHEAD, &plain));
	struct span cipher = span_of(wrapped.data + 32, wrapped.len - 32);
	result opened = aead_open_once(key.data, span_str(label), cipher, plain.data);
	if (opened != OK)
		return fail_within(opened, "the wrapped %s does not open with this wrap key", label);
	*out = secret_move(&plain);
	return OK;
}
