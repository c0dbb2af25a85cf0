#include "crypto/aead.h"

#include "base/secret.h"
#include "crypto/library.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/err.h>

/* EVP counts in int. */
enum { AEAD_TEXT_MAX = INT_MAX - AEAD_TAG_SIZE };

static result init(struct aead *aead, const uint8_t *key, bool sealing)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	if (!ctx)
		return fail(NO_MEMORY, "an AES-GCM context");
	if (!EVP_CipherInit_ex2(ctx, library()->aes_256_gcm, key, NULL, sealing, NULL)) {
		EVP_CIPHER_CTX_free(ctx);
		return library_fail("EVP_CipherInit");
	}
	*aead = (struct aead){.ctx = ctx, .sealing = sealing};
	return OK;
}

result aead_init_seal(struct aead *aead, const uint8_t key[static AEAD_KEY_SIZE])
{
	return init(aead, key, true);
}

result aead_init_open(struct aead *aead, const uint8_t key[static AEAD_KEY_SIZE])
{
	return init(aead, key, false);
}

void aead_free(struct aead *aead)
{
	if (!aead)
		return;
	EVP_CIPHER_CTX_free(aead->ctx); /* wipes the key schedule */
	*aead = (struct aead){0};
}

static result check_use(const struct aead *aead, bool sealing, struct span aad, size_t text_len)
{
	if (!aead->ctx || aead->sealing != sealing)
		return fail(ILLEGAL_STATE, "an AES-GCM context was used for the other direction");
	if (aad.len > INT_MAX || text_len > AEAD_TEXT_MAX)
		return fail(TOO_LARGE, "AES-GCM takes at most 2 GiB at once");
	return OK;
}

/* Starts a message under `nonce`, takes in the aad and turns `in` into `out`. */
static bool run(EVP_CIPHER_CTX *ctx, const uint8_t *nonce, struct span aad, struct span in, uint8_t *out)
{
	int len = 0;

	if (!EVP_CipherInit_ex2(ctx, NULL, NULL, nonce, -1, NULL))
		return false;
	if (aad.len > 0 && !EVP_CipherUpdate(ctx, NULL, &len, aad.data, (int)aad.len))
		return false;
	return in.len == 0 || EVP_CipherUpdate(ctx, out, &len, in.data, (int)in.len);
}

result aead_seal(struct aead *aead, const uint8_t nonce[static AEAD_NONCE_SIZE], struct span aad, struct span plain, uint8_t *out)
{
	OSSL_PARAM tag[] = {
		OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, out + plain.len, AEAD_TAG_SIZE),
		OSSL_PARAM_construct_end(),
	};
	int len = 0;

	TRY(check_use(aead, true, aad, plain.len));
	/* Asking by parameter is a tenth of a small record faster than by EVP_CIPHER_CTX_ctrl. */
	if (!run(aead->ctx, nonce, aad, plain, out) || !EVP_CipherFinal_ex(aead->ctx, out + plain.len, &len) ||
		!EVP_CIPHER_CTX_get_params(aead->ctx, tag))
		return library_fail("AES-GCM seal");
	return OK;
}

result aead_open(struct aead *aead, const uint8_t nonce[static AEAD_NONCE_SIZE], struct span aad, struct span cipher, uint8_t *out)
{
	if (cipher.len < AEAD_TAG_SIZE)
		return fail(BAD_TAG, "a ciphertext of %zu bytes is shorter than its tag", cipher.len);

	struct span text = span_of(cipher.data, cipher.len - AEAD_TAG_SIZE);
	uint8_t expected[AEAD_TAG_SIZE], unused[AEAD_TAG_SIZE];
	OSSL_PARAM tag[] = {
		OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, expected, sizeof expected),
		OSSL_PARAM_construct_end(),
	};
	int len = 0;
	TRY(check_use(aead, false, aad, text.len));
	memcpy(expected, cipher.data + text.len, sizeof expected);
	if (!run(aead->ctx, nonce, aad, text, out) || !EVP_CIPHER_CTX_set_params(aead->ctx, tag)) {
		wipe(out, text.len);
		return library_fail("AES-GCM open");
	}
	if (!EVP_CipherFinal_ex(aead->ctx, unused, &len)) {
		wipe(out, text.len);
		ERR_clear_error();
		return fail(BAD_TAG, "the tag of a ciphertext of %zu bytes is wrong", cipher.len);
	}
	return OK;
}

static const uint8_t nonce_zero[AEAD_NONCE_SIZE];

result aead_seal_once(const uint8_t key[static AEAD_KEY_SIZE], struct span aad, struct span plain, uint8_t *out)
{
	CLEANUP(aead_free) struct aead aead = {0};
	TRY(aead_init_seal(&aead, key));
	return aead_seal(&aead, nonce_zero, aad, plain, out);
}

result aead_open_once(const uint8_t key[static AEAD_KEY_SIZE], struct span aad, struct span cipher, uint8_t *out)
{
	CLEANUP(aead_free) struct aead aead = {0};
	TRY(aead_init_open(&aead, key));
	return aead_open(&aead, nonce_zero, aad, cipher, out);
}
