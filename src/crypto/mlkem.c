#include "crypto/mlkem.h"

#include "crypto/library.h"

#include <openssl/err.h>

/* Names of OpenSSL 3.5's parameters; its headers of 3.0 have no macros for them. */
#define ALGORITHM "ML-KEM-768"
#define PARAM_SEED "seed"
#define PARAM_MESSAGE "ikme"
#define PARAM_PUBLIC "pub"

static void free_ctx(EVP_PKEY_CTX **ctx)
{
	EVP_PKEY_CTX_free(*ctx);
}

bool mlkem_available(void)
{
	return library()->has_mlkem_768;
}

static result check_available(void)
{
	if (!mlkem_available())
		return fail(NOT_SUPPORTED, "this machine's OpenSSL has no %s (from 3.5 on)", ALGORITHM);
	return OK;
}

/* One octet string or nothing. OpenSSL does not write through it. */
static void fill_params(OSSL_PARAM params[static 2], const char *name, struct span value)
{
	params[0] = value.len ? OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)value.data, value.len) : OSSL_PARAM_construct_end();
	params[1] = OSSL_PARAM_construct_end();
}

result mlkem_generate(struct span seed, struct mlkem *out, uint8_t out_key[static MLKEM_KEY_SIZE])
{
	CLEANUP(free_ctx) EVP_PKEY_CTX *ctx = NULL;
	CLEANUP(mlkem_free) struct mlkem key = MLKEM_EMPTY;
	EVP_PKEY *pkey = NULL;
	OSSL_PARAM params[2];
	size_t len = 0;

	TRY(check_available());
	if (seed.len != 0 && seed.len != MLKEM_SEED_SIZE)
		return fail(BAD_VALUE, "a seed of %zu bytes", seed.len);
	fill_params(params, PARAM_SEED, seed);
	ctx = EVP_PKEY_CTX_new_from_name(NULL, ALGORITHM, NULL);
	if (!ctx || EVP_PKEY_keygen_init(ctx) <= 0 || (seed.len && EVP_PKEY_CTX_set_params(ctx, params) <= 0) ||
		EVP_PKEY_generate(ctx, &pkey) <= 0)
		return library_fail("EVP_PKEY_generate of " ALGORITHM);
	key.pkey = pkey;
	if (EVP_PKEY_get_octet_string_param(pkey, PARAM_PUBLIC, out_key, MLKEM_KEY_SIZE, &len) <= 0 || len != MLKEM_KEY_SIZE)
		return library_fail("EVP_PKEY_get_octet_string_param");
	*out = key;
	key = MLKEM_EMPTY; /* transferred */
	return OK;
}

/* FIPS 203 section 7.2: length and modulus of an encapsulation key are checked by OpenSSL. */
static result public_key(struct span bytes, struct mlkem *out)
{
	CLEANUP(free_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, ALGORITHM, NULL);
	EVP_PKEY *pkey = NULL;
	OSSL_PARAM params[2];

	if (!ctx || EVP_PKEY_fromdata_init(ctx) <= 0)
		return library_fail("EVP_PKEY_fromdata_init");
	fill_params(params, PARAM_PUBLIC, bytes);
	if (bytes.len != MLKEM_KEY_SIZE || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) <= 0) {
		ERR_clear_error();
		return fail(BAD_KEY, "%zu bytes are no encapsulation key of %s", bytes.len, ALGORITHM);
	}
	out->pkey = pkey;
	return OK;
}

result mlkem_encapsulate(struct span key, struct span message, uint8_t out_ct[static MLKEM_CT_SIZE],
	uint8_t out_secret[static MLKEM_SECRET_SIZE])
{
	CLEANUP(mlkem_free) struct mlkem peer = MLKEM_EMPTY;
	CLEANUP(free_ctx) EVP_PKEY_CTX *ctx = NULL;
	size_t ct_len = MLKEM_CT_SIZE, secret_len = MLKEM_SECRET_SIZE;
	OSSL_PARAM params[2];

	TRY(check_available());
	if (message.len != 0 && message.len != MLKEM_MESSAGE_SIZE)
		return fail(BAD_VALUE, "a message of %zu bytes", message.len);
	TRY(public_key(key, &peer));
	fill_params(params, PARAM_MESSAGE, message);
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, peer.pkey, NULL);
	if (!ctx || EVP_PKEY_encapsulate_init(ctx, message.len ? params : NULL) <= 0 ||
		EVP_PKEY_encapsulate(ctx, out_ct, &ct_len, out_secret, &secret_len) <= 0 || ct_len != MLKEM_CT_SIZE ||
		secret_len != MLKEM_SECRET_SIZE)
		return library_fail("EVP_PKEY_encapsulate of " ALGORITHM);
	return OK;
}

result mlkem_decapsulate(const struct mlkem *own, struct span ct, uint8_t out_secret[static MLKEM_SECRET_SIZE])
{
	CLEANUP(free_ctx) EVP_PKEY_CTX *ctx = NULL;
	size_t secret_len = MLKEM_SECRET_SIZE;

	TRY(check_available());
	if (ct.len != MLKEM_CT_SIZE)
		return fail(BAD_VALUE, "a ciphertext of %zu bytes", ct.len);
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, own->pkey, NULL);
	if (!ctx || EVP_PKEY_decapsulate_init(ctx, NULL) <= 0 ||
		EVP_PKEY_decapsulate(ctx, out_secret, &secret_len, ct.data, ct.len) <= 0 || secret_len != MLKEM_SECRET_SIZE)
		return library_fail("EVP_PKEY_decapsulate of " ALGORITHM);
	return OK;
}

void mlkem_free(struct mlkem *key)
{
	if (!key)
		return;
	EVP_PKEY_free(key->pkey);
	*key = MLKEM_EMPTY;
}
