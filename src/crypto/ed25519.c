#include "crypto/ed25519.h"

#include "crypto/library.h"
#include "crypto/random.h"

#include <openssl/evp.h>

result ed25519_generate(struct secret *out_seed)
{
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	TRY(secret_new(ED25519_SEED_SIZE, &seed));
	random_bytes(seed.data, seed.len);
	*out_seed = secret_move(&seed);
	return OK;
}

static result private_key(const struct secret *seed, EVP_PKEY **out)
{
	if (seed->len != ED25519_SEED_SIZE)
		return fail(BAD_KEY, "an Ed25519 key of %zu bytes", seed->len);
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed->data, seed->len);
	if (!key)
		return fail(BAD_KEY, "Ed25519 key");
	*out = key;
	return OK;
}

result ed25519_public(const struct secret *seed, uint8_t out[static ED25519_PUBLIC_SIZE])
{
	EVP_PKEY *key;
	uint8_t point[ED25519_PUBLIC_SIZE];
	size_t len = sizeof(point);
	TRY(private_key(seed, &key));
	bool got = EVP_PKEY_get_raw_public_key(key, point, &len) == 1 && len == sizeof(point);
	EVP_PKEY_free(key);
	if (!got)
		return fail(BAD_KEY, "Ed25519 key");
	memcpy(out, point, sizeof(point));
	return OK;
}

result ed25519_sign(const struct secret *seed, struct span message, uint8_t out[static ED25519_SIGNATURE_SIZE])
{
	EVP_PKEY *key;
	uint8_t signature[ED25519_SIGNATURE_SIZE];
	size_t len = sizeof(signature);
	TRY(private_key(seed, &key));
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool made = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
		EVP_DigestSign(ctx, signature, &len, message.data, message.len) == 1 && len == sizeof(signature);
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	if (!made)
		return fail(INTERNAL, "Ed25519 signature");
	memcpy(out, signature, sizeof(signature));
	return OK;
}

result ed25519_verify(const uint8_t public_key[static ED25519_PUBLIC_SIZE], struct span message,
	const uint8_t signature[static ED25519_SIGNATURE_SIZE])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, ED25519_PUBLIC_SIZE);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = key && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
		EVP_DigestVerify(ctx, signature, ED25519_SIGNATURE_SIZE, message.data, message.len) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return good ? OK : fail(BAD_SIGNATURE, "Ed25519");
}
