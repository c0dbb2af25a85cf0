#include "crypto/platform_key.h"

#include "base/secret.h"
#include "crypto/library.h"

#include <limits.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 4096, CERTIFICATE_DER_MAX = 64 * 1024, CHAIN_MAX = 8, ROOTS_MAX = 1024 };

/* ---- digests ---- */

static const struct {
	const char *name;
	size_t size;
} digests[] = {{"", 0}, {"SHA1", 20}, {"SHA256", SHA256_SIZE}, {"SHA384", SHA384_SIZE}, {"SHA512", SHA512_SIZE}};

size_t platform_digest_size(enum platform_digest algorithm)
{
	return (size_t)algorithm < COUNT_OF(digests) ? digests[algorithm].size : 0;
}

void platform_digest(enum platform_digest algorithm, struct span data, uint8_t *out)
{
	static const enum hash_algorithm own[] = {[DIGEST_SHA256] = HASH_SHA256, [DIGEST_SHA384] = HASH_SHA384, [DIGEST_SHA512] = HASH_SHA512};
	struct hash hash = {0};

	(void)library();
	if (algorithm == DIGEST_SHA1) {
		if (EVP_Q_digest(NULL, "SHA1", NULL, data.data, data.len, out, NULL) <= 0)
			library_broken("SHA1");
		return;
	}
	if (platform_digest_size(algorithm) == 0 || hash_start(&hash, own[algorithm]) != OK)
		library_broken("a digest");
	hash_add(&hash, data);
	hash_finish(&hash, out);
}

/* ---- keys ---- */

static void free_ctx(EVP_PKEY_CTX **ctx)
{
	EVP_PKEY_CTX_free(*ctx);
}
static void free_bn(BIGNUM **number)
{
	BN_free(*number);
}
static void free_build(OSSL_PARAM_BLD **build)
{
	OSSL_PARAM_BLD_free(*build);
}
static void free_params(OSSL_PARAM **params)
{
	OSSL_PARAM_free(*params);
}
static void free_bio(BIO **bio)
{
	BIO_free(*bio);
}
static void free_pkey(EVP_PKEY **pkey)
{
	EVP_PKEY_free(*pkey);
}
static void free_x509(X509 **x509)
{
	X509_free(*x509);
}

void platform_key_free(struct platform_key *key)
{
	if (!key)
		return;
	EVP_PKEY_free(key->pkey);
	*key = PLATFORM_KEY_EMPTY;
}

static enum platform_key_type type_of(EVP_PKEY *pkey)
{
	char curve[32] = "";
	if (EVP_PKEY_is_a(pkey, "RSA")) {
		int bits = EVP_PKEY_get_bits(pkey);
		return bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX ? PLATFORM_KEY_RSA : PLATFORM_KEY_NONE;
	}
	if (!EVP_PKEY_is_a(pkey, "EC") || EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof(curve), NULL) <= 0)
		return PLATFORM_KEY_NONE;
	if (strcmp(curve, SN_X9_62_prime256v1) == 0)
		return PLATFORM_KEY_P256;
	return strcmp(curve, SN_secp384r1) == 0 ? PLATFORM_KEY_P384 : PLATFORM_KEY_NONE;
}

/* Takes `pkey` over, whatever it returns. */
static result adopt(EVP_PKEY *pkey, struct platform_key *out)
{
	CLEANUP(free_pkey) EVP_PKEY *owned = pkey;
	uint8_t *der = NULL;
	struct platform_key key = {.pkey = pkey, .type = type_of(pkey)};

	if (key.type == PLATFORM_KEY_NONE)
		return fail(BAD_KEY, "the key is neither RSA of %d to %d bits nor on P-256 or P-384", RSA_BITS_MIN, RSA_BITS_MAX);
	int len = i2d_PUBKEY(pkey, &der);
	if (len <= 0)
		return library_fail("i2d_PUBKEY");
	sha256(span_of(der, (size_t)len), key.id);
	OPENSSL_free(der);
	*out = key;
	owned = NULL; /* transferred */
	return OK;
}

static result from_params(const char *algorithm, OSSL_PARAM_BLD *build, struct platform_key *out)
{
	CLEANUP(free_params) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
	CLEANUP(free_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, algorithm, NULL);
	CLEANUP(free_pkey) EVP_PKEY *pkey = NULL;

	if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) <= 0)
		return library_fail("EVP_PKEY_fromdata_init");
	int made = EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params);
	ERR_clear_error();
	if (made <= 0)
		return fail(BAD_KEY, "the numbers of the public key are not those of a key");
	EVP_PKEY *taken = pkey;
	pkey = NULL; /* transferred */
	return adopt(taken, out);
}

result platform_key_from_rsa(struct span modulus, uint32_t exponent, struct platform_key *out)
{
	(void)library();
	if (modulus.len < RSA_BITS_MIN / 8 || modulus.len > RSA_BITS_MAX / 8 || exponent < 3 || exponent % 2 == 0)
		return fail(BAD_KEY, "an RSA key of %zu bytes with exponent %u", modulus.len, exponent);
	CLEANUP(free_bn) BIGNUM *n = BN_bin2bn(modulus.data, (int)modulus.len, NULL);
	CLEANUP(free_build) OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	if (!n || !build || !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) ||
		!OSSL_PARAM_BLD_push_uint(build, OSSL_PKEY_PARAM_RSA_E, exponent))
		return library_fail("OSSL_PARAM_BLD_push_BN");
	return from_params("RSA", build, out);
}

/* A number of a TPM may come without its leading zeros. */
static result pad(struct span number, size_t width, uint8_t *out)
{
	if (number.len == 0 || number.len > width)
		return fail(BAD_KEY, "a coordinate of %zu bytes on a curve of %zu", number.len, width);
	memset(out, 0, width - number.len);
	memcpy(out + width - number.len, number.data, number.len);
	return OK;
}

result platform_key_from_point(enum platform_key_type curve, struct span x, struct span y, struct platform_key *out)
{
	uint8_t point[1 + 2 * 48];
	size_t width = curve == PLATFORM_KEY_P256 ? 32 : 48;

	(void)library();
	if (curve != PLATFORM_KEY_P256 && curve != PLATFORM_KEY_P384)
		return fail(BAD_KEY, "the curve is neither P-256 nor P-384");
	point[0] = 4; /* uncompressed */
	TRY(pad(x, width, point + 1));
	TRY(pad(y, width, point + 1 + width));
	CLEANUP(free_build) OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	const char *name = curve == PLATFORM_KEY_P256 ? SN_X9_62_prime256v1 : SN_secp384r1;
	if (!build || !OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, name, 0) ||
		!OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * width))
		return library_fail("OSSL_PARAM_BLD_push_octet_string");
	return from_params("EC", build, out);
}

result platform_key_from_pem(struct span pem, struct platform_key *out)
{
	(void)library();
	if (pem.len == 0 || pem.len > CERTIFICATE_DER_MAX)
		return fail(BAD_KEY, "a key file of %zu bytes", pem.len);
	CLEANUP(free_bio) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	EVP_PKEY *pkey = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
	ERR_clear_error();
	if (!pkey)
		return fail(BAD_KEY, "the text holds no public key in PEM form");
	return adopt(pkey, out);
}

/* ---- signatures ---- */

static result ecdsa_der(const struct platform_signature *signature, uint8_t **out, int *out_len)
{
	enum { NUMBER_MAX = 48 };
	if (signature->r.len == 0 || signature->r.len > NUMBER_MAX || signature->s.len == 0 || signature->s.len > NUMBER_MAX)
		return fail(BAD_SIGNATURE, "an ECDSA signature of %zu and %zu bytes", signature->r.len, signature->s.len);
	ECDSA_SIG *pair = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(signature->r.data, (int)signature->r.len, NULL);
	BIGNUM *s = BN_bin2bn(signature->s.data, (int)signature->s.len, NULL);
	if (!pair || !r || !s || !ECDSA_SIG_set0(pair, r, s)) {
		ECDSA_SIG_free(pair);
		BN_free(r);
		BN_free(s);
		return library_fail("ECDSA_SIG_set0");
	}
	*out = NULL;
	*out_len = i2d_ECDSA_SIG(pair, out);
	ECDSA_SIG_free(pair);
	return *out_len > 0 ? OK : library_fail("i2d_ECDSA_SIG");
}

static result check_fit(const struct platform_key *key, const struct platform_signature *signature)
{
	bool rsa = signature->scheme == SCHEME_RSASSA || signature->scheme == SCHEME_RSAPSS;
	if (!rsa && signature->scheme != SCHEME_ECDSA)
		return fail(UNSUPPORTED_ALGORITHM, "signature scheme %d", signature->scheme);
	if (signature->digest == DIGEST_SHA1)
		return fail(UNSUPPORTED_ALGORITHM, "a signature over SHA-1 proves nothing any more");
	if (platform_digest_size(signature->digest) == 0)
		return fail(UNSUPPORTED_ALGORITHM, "digest %d", signature->digest);
	if (!key->pkey || rsa != (key->type == PLATFORM_KEY_RSA))
		return fail(BAD_KEY, "the signature is of another kind than the key");
	return OK;
}

static bool verify_once(const struct platform_key *key, const struct platform_signature *signature, struct span message, struct span bytes)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *parameters = NULL;
	bool ready = ctx && EVP_DigestVerifyInit_ex(ctx, &parameters, digests[signature->digest].name, NULL, NULL, key->pkey, NULL) > 0;
	if (ready && signature->scheme == SCHEME_RSAPSS) /* TPMs use the longest salt that fits, or, in FIPS mode, the digest's */
		ready = EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) > 0 &&
			EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_AUTO) > 0;
	bool good = ready && EVP_DigestVerify(ctx, bytes.data, bytes.len, message.data, message.len) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return good;
}

result platform_key_verify(const struct platform_key *key, const struct platform_signature *signature, struct span message)
{
	TRY(check_fit(key, signature));
	bool good;
	if (signature->scheme == SCHEME_ECDSA) {
		uint8_t *der;
		int len;
		TRY(ecdsa_der(signature, &der, &len));
		good = verify_once(key, signature, message, span_of(der, (size_t)len));
		OPENSSL_free(der);
	} else {
		good = verify_once(key, signature, message, signature->rsa);
	}
	return good ? OK : fail(BAD_SIGNATURE, "the signature is not of this key");
}

/* ---- challenges ---- */

void platform_hmac(enum platform_digest algorithm, struct span key, struct span data, uint8_t *out)
{
	unsigned len;
	(void)library();
	if (platform_digest_size(algorithm) == 0 ||
		!HMAC(EVP_get_digestbyname(digests[algorithm].name), key.data, (int)key.len, data.data, data.len, out, &len))
		library_broken("HMAC");
}

result platform_key_encrypt(const struct platform_key *key, enum platform_digest digest, const char *label, struct span plain, struct bytes *out)
{
	if (key->type != PLATFORM_KEY_RSA || platform_digest_size(digest) == 0)
		return fail(BAD_KEY, "only an RSA key encrypts");
	CLEANUP(free_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);
	const EVP_MD *md = EVP_get_digestbyname(digests[digest].name);
	uint8_t cipher[RSA_BITS_MAX / 8];
	size_t len = sizeof(cipher), label_len = strlen(label) + 1;
	uint8_t *owned_label = OPENSSL_memdup(label, label_len);
	if (!ctx || !owned_label || EVP_PKEY_encrypt_init(ctx) <= 0 || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) <= 0 ||
		EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md) <= 0 || EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) <= 0 ||
		EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, owned_label, (int)label_len) <= 0) {
		OPENSSL_free(owned_label);
		return library_fail("EVP_PKEY_encrypt_init");
	}
	if (EVP_PKEY_encrypt(ctx, cipher, &len, plain.data, plain.len) <= 0)
		return library_fail("EVP_PKEY_encrypt");
	return bytes_copy(span_of(cipher, len), out);
}

static bool coordinates(EVP_PKEY *pkey, size_t width, uint8_t *out_x, uint8_t *out_y)
{
	CLEANUP(free_bn) BIGNUM *x = NULL;
	CLEANUP(free_bn) BIGNUM *y = NULL;
	return EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_X, &x) > 0 && EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, &y) > 0 &&
		BN_bn2binpad(x, out_x, (int)width) >= 0 && BN_bn2binpad(y, out_y, (int)width) >= 0;
}

result platform_key_agree(const struct platform_key *key, struct platform_agreement *out)
{
	if (key->type != PLATFORM_KEY_P256 && key->type != PLATFORM_KEY_P384)
		return fail(BAD_KEY, "only keys on a curve agree");
	struct platform_agreement a = {.width = key->type == PLATFORM_KEY_P256 ? 32 : 48};
	uint8_t unused[PLATFORM_COORDINATE_MAX];
	CLEANUP(free_ctx) EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);
	CLEANUP(free_pkey) EVP_PKEY *fresh = NULL;
	if (!make || EVP_PKEY_keygen_init(make) <= 0 || EVP_PKEY_keygen(make, &fresh) <= 0)
		return library_fail("EVP_PKEY_keygen");
	CLEANUP(free_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, fresh, NULL);
	size_t len = sizeof(a.z);
	if (!ctx || EVP_PKEY_derive_init(ctx) <= 0 || EVP_PKEY_derive_set_peer(ctx, key->pkey) <= 0 || EVP_PKEY_derive(ctx, a.z, &len) <= 0 ||
		len != a.width)
		return library_fail("EVP_PKEY_derive");
	if (!coordinates(fresh, a.width, a.x, a.y) || !coordinates(key->pkey, a.width, a.peer_x, unused))
		return library_fail("EVP_PKEY_get_bn_param");
	*out = a;
	wipe(&a, sizeof(a));
	return OK;
}

result platform_cfb(struct span key, struct span data, uint8_t *out)
{
	static const uint8_t zero_iv[16];
	int first = 0, last = 0;
	(void)library();
	if ((key.len != 16 && key.len != 32) || data.len > 4096)
		return fail(BAD_VALUE, "AES-CFB with %zu bytes of key", key.len);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	bool done = ctx && EVP_EncryptInit_ex2(ctx, key.len == 16 ? EVP_aes_128_cfb128() : EVP_aes_256_cfb128(), key.data, zero_iv, NULL) > 0 &&
		EVP_EncryptUpdate(ctx, out, &first, data.data, (int)data.len) > 0 && EVP_EncryptFinal_ex(ctx, out + first, &last) > 0;
	EVP_CIPHER_CTX_free(ctx);
	return done && (size_t)(first + last) == data.len ? OK : library_fail("EVP_EncryptUpdate");
}

/* ---- certificates ---- */

static result parse_x509(struct span der, X509 **out)
{
	const uint8_t *at = der.data;
	if (der.len == 0 || der.len > CERTIFICATE_DER_MAX)
		return fail(BAD_CERTIFICATE, "a certificate of %zu bytes", der.len);
	X509 *x509 = d2i_X509(NULL, &at, (long)der.len);
	ERR_clear_error();
	if (!x509)
		return fail(BAD_CERTIFICATE, "the bytes are no certificate");
	/* Some makers pad what stands in the TPM with zeros. */
	for (const uint8_t *rest = at; rest < der.data + der.len; rest++)
		if (*rest != 0) {
			X509_free(x509);
			return fail(TRAILING_BYTES, "bytes follow the certificate");
		}
	*out = x509;
	return OK;
}

result certificate_public_key(struct span der, struct platform_key *out)
{
	CLEANUP(free_x509) X509 *x509 = NULL;
	(void)library();
	TRY(parse_x509(der, &x509));
	EVP_PKEY *pkey = X509_get_pubkey(x509);
	ERR_clear_error();
	if (!pkey)
		return fail(BAD_CERTIFICATE, "the certificate's key is of no known kind");
	return adopt(pkey, out);
}

result certificate_next_from_pem(struct span *pem, struct bytes *out_der)
{
	(void)library();
	if (pem->len > INT_MAX)
		return fail(TOO_LARGE, "a PEM text of %zu bytes", pem->len);
	CLEANUP(free_bio) BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
	CLEANUP(free_x509) X509 *x509 = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	ERR_clear_error();
	if (!x509)
		return fail(NOT_FOUND, "the text holds no further certificate in PEM form");
	uint8_t *der = NULL;
	int len = i2d_X509(x509, &der);
	if (len <= 0)
		return library_fail("i2d_X509");
	result copied = bytes_copy(span_of(der, (size_t)len), out_der);
	OPENSSL_free(der);
	TRY(copied);
	size_t left = BIO_ctrl_pending(bio);
	*pem = span_of(pem->data + (pem->len - left), left);
	return OK;
}

struct chain_state {
	X509_STORE *store;
	X509_STORE_CTX *ctx;
	STACK_OF(X509) *between;
	X509 *leaf;
};

static void chain_free(struct chain_state *state)
{
	X509_STORE_CTX_free(state->ctx);
	X509_STORE_free(state->store);
	sk_X509_pop_free(state->between, X509_free);
	X509_free(state->leaf);
}

static result chain_load(struct chain_state *state, const struct span *chain, size_t chain_len, const struct span *roots, size_t root_count)
{
	state->store = X509_STORE_new();
	state->ctx = X509_STORE_CTX_new();
	state->between = sk_X509_new_null();
	if (!state->store || !state->ctx || !state->between)
		return library_fail("X509_STORE_new");
	TRY(parse_x509(chain[0], &state->leaf));
	for (size_t i = 1; i < chain_len; i++) {
		X509 *x509;
		TRY(parse_x509(chain[i], &x509));
		if (!sk_X509_push(state->between, x509)) {
			X509_free(x509);
			return library_fail("sk_X509_push");
		}
	}
	for (size_t i = 0; i < root_count; i++) {
		CLEANUP(free_x509) X509 *x509 = NULL;
		TRY(parse_x509(roots[i], &x509));
		if (!X509_STORE_add_cert(state->store, x509))
			return library_fail("X509_STORE_add_cert");
	}
	return OK;
}

static result chain_judge(struct chain_state *state, uint64_t at_ms)
{
	enum { AUTH_LEVEL = 2 }; /* 112 bits: no SHA-1, no RSA below 2048 */
	if (X509_STORE_CTX_init(state->ctx, state->store, state->leaf, state->between) <= 0)
		return library_fail("X509_STORE_CTX_init");
	X509_VERIFY_PARAM *parameters = X509_STORE_CTX_get0_param(state->ctx);
	X509_VERIFY_PARAM_set_time(parameters, (time_t)(at_ms / 1000));
	X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
	X509_VERIFY_PARAM_set_depth(parameters, CHAIN_MAX);
	X509_VERIFY_PARAM_set_auth_level(parameters, AUTH_LEVEL);
	int good = X509_verify_cert(state->ctx);
	int error = X509_STORE_CTX_get_error(state->ctx);
	ERR_clear_error();
	if (good == 1)
		return OK;
	const char *text = X509_verify_cert_error_string(error);
	if (error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID)
		return fail(CERTIFICATE_EXPIRED, "the platform's certificate chain: %s", text);
	return fail(EK_UNTRUSTED, "the platform's certificate chain: %s", text);
}

static result anchor_index(const struct chain_state *state, const struct span *roots, size_t root_count, size_t *out)
{
	const STACK_OF(X509) *built = X509_STORE_CTX_get0_chain(state->ctx);
	const X509 *anchor = built ? sk_X509_value(built, sk_X509_num(built) - 1) : NULL;
	for (size_t i = 0; anchor && i < root_count; i++) {
		CLEANUP(free_x509) X509 *x509 = NULL;
		TRY(parse_x509(roots[i], &x509));
		if (X509_cmp(anchor, x509) == 0) {
			*out = i;
			return OK;
		}
	}
	return fail(EK_UNTRUSTED, "the chain ends in a certificate that nobody named");
}

result certificate_chain_verify(const struct span *chain, size_t chain_len, const struct span *roots, size_t root_count, uint64_t at_ms,
	size_t *out_root, struct platform_key *out_leaf)
{
	CLEANUP(chain_free) struct chain_state state = {0};
	size_t root = 0;

	(void)library();
	if (chain_len == 0 || chain_len > CHAIN_MAX || root_count > ROOTS_MAX)
		return fail(BAD_CERTIFICATE, "a chain of %zu certificates, %zu roots", chain_len, root_count);
	if (root_count == 0)
		return fail(EK_UNTRUSTED, "no root of such platforms is named");
	TRY(chain_load(&state, chain, chain_len, roots, root_count));
	if (X509_check_ca(state.leaf) == 1)
		return fail(BAD_CERTIFICATE, "the platform's certificate is one of a certificate authority");
	TRY(chain_judge(&state, at_ms));
	TRY(anchor_index(&state, roots, root_count, &root));
	if (out_leaf)
		TRY(certificate_public_key(chain[0], out_leaf));
	if (out_root)
		*out_root = root;
	return OK;
}
