#include "crypto/key.h"

#include "crypto/der.h"
#include "crypto/hash.h"
#include "crypto/library.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

enum { SEED_SIZE = 48, SPKI_PREFIX_SIZE = SPKI_SIZE - POINT_SIZE, PEM_MAX = 64 * 1024 };

/* SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING of a 65-byte point } (RFC 5480). */
static const uint8_t spki_prefix[SPKI_PREFIX_SIZE] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
	0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};

static void free_pkey(EVP_PKEY **pkey)
{
	EVP_PKEY_free(*pkey);
}
static void free_pkey_ctx(EVP_PKEY_CTX **ctx)
{
	EVP_PKEY_CTX_free(*ctx);
}
static void free_number(BIGNUM **number)
{
	BN_clear_free(*number);
}
static void free_number_ctx(BN_CTX **ctx)
{
	BN_CTX_free(*ctx);
}
static void free_bio(BIO **bio)
{
	BIO_free(*bio);
}
static void free_builder(OSSL_PARAM_BLD **builder)
{
	OSSL_PARAM_BLD_free(*builder);
}
static void free_params(OSSL_PARAM **params)
{
	OSSL_PARAM_free(*params);
}

/* ---- points ---- */

static result check_point_form(struct span point)
{
	if (point.len != POINT_SIZE || point.data[0] != POINT_CONVERSION_UNCOMPRESSED)
		return fail(BAD_POINT, "a public key of %zu bytes is not an uncompressed P-256 point", point.len);
	return OK;
}

static result bad_point(void)
{
	ERR_clear_error();
	return fail(BAD_POINT, "the point does not lie on P-256");
}

static void spki_of_point(const uint8_t *point, uint8_t *out)
{
	memcpy(out, spki_prefix, SPKI_PREFIX_SIZE);
	memcpy(out + SPKI_PREFIX_SIZE, point, POINT_SIZE);
}

static void id_of_point(const uint8_t *point, uint8_t *out)
{
	uint8_t spki[SPKI_SIZE];
	spki_of_point(point, spki);
	sha256(SPAN_ARRAY(spki), out);
}

result point_key_id(struct span point, uint8_t out[static KEY_ID_SIZE])
{
	struct library_thread *thread = library_thread();

	TRY(check_point_form(point));
	if (!EC_POINT_oct2point(library()->p256, thread->point, point.data, point.len, thread->numbers))
		return bad_point();
	id_of_point(point.data, out);
	return OK;
}

/* Wraps an OpenSSL key, which is taken over on success, together with its point and id. */
static result adopt(EVP_PKEY **pkey, bool is_private, struct key *out)
{
	struct key key = {.pkey = *pkey, .is_private = is_private};
	size_t len = 0;

	if (!EVP_PKEY_get_octet_string_param(*pkey, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, key.point, sizeof key.point, &len))
		return library_fail("EVP_PKEY_get_octet_string_param");
	TRY(check_point_form(span_of(key.point, len)));
	id_of_point(key.point, key.id);
	*pkey = NULL; /* transferred */
	*out = key;
	return OK;
}

result key_from_point(struct span point, struct key *out)
{
	TRY(check_point_form(point));
	/* The point is checked by EVP_PKEY_set1_encoded_public_key as it is by EVP_PKEY_fromdata, in a quarter of the time. */
	CLEANUP(free_pkey) EVP_PKEY *pkey = EVP_PKEY_dup(library()->p256_public);
	if (!pkey)
		return library_fail("EVP_PKEY_dup");
	if (EVP_PKEY_set1_encoded_public_key(pkey, point.data, point.len) <= 0)
		return bad_point();

	struct key key = {.pkey = pkey};
	memcpy(key.point, point.data, POINT_SIZE);
	id_of_point(key.point, key.id);
	pkey = NULL; /* transferred */
	*out = key;
	return OK;
}

result key_from_spki(struct span der, struct key *out)
{
	if (der.len != SPKI_SIZE || memcmp(der.data, spki_prefix, SPKI_PREFIX_SIZE) != 0)
		return fail(BAD_KEY, "a SubjectPublicKeyInfo of %zu bytes is not that of an uncompressed P-256 key", der.len);
	return key_from_point(span_of(der.data + SPKI_PREFIX_SIZE, POINT_SIZE), out);
}

void key_spki(const struct key *key, uint8_t out[static SPKI_SIZE])
{
	spki_of_point(key->point, out);
}

/* ---- private keys ---- */

result key_generate(struct key *out)
{
	CLEANUP(free_pkey) EVP_PKEY *pkey = NULL;
	if (EVP_PKEY_generate(library_thread()->generate, &pkey) <= 0)
		return library_fail("EVP_PKEY_generate");
	return adopt(&pkey, true, out);
}

static result public_point(const BIGNUM *scalar, uint8_t out[static POINT_SIZE])
{
	const EC_GROUP *group = library()->p256;
	struct library_thread *thread = library_thread();

	if (!EC_POINT_mul(group, thread->point, scalar, NULL, NULL, thread->numbers) ||
		EC_POINT_point2oct(group, thread->point, POINT_CONVERSION_UNCOMPRESSED, out, POINT_SIZE, thread->numbers) != POINT_SIZE)
		return library_fail("EC_POINT_mul");
	return OK;
}

static result pair_from_number(const BIGNUM *scalar, const uint8_t *point, EVP_PKEY **out)
{
	CLEANUP(free_builder) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	if (!builder || !OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) ||
		!OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, POINT_SIZE) ||
		!OSSL_PARAM_BLD_push_BN_pad(builder, OSSL_PKEY_PARAM_PRIV_KEY, scalar, SCALAR_SIZE))
		return library_fail("OSSL_PARAM_BLD");

	CLEANUP(free_params) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
	CLEANUP(free_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) <= 0 || EVP_PKEY_fromdata(ctx, out, EVP_PKEY_KEYPAIR, params) <= 0)
		return library_fail("EVP_PKEY_fromdata");
	return OK;
}

static result key_from_number(const BIGNUM *scalar, struct key *out)
{
	uint8_t point[POINT_SIZE];
	CLEANUP(free_pkey) EVP_PKEY *pkey = NULL;

	TRY(public_point(scalar, point));
	TRY(pair_from_number(scalar, point, &pkey));
	return adopt(&pkey, true, out);
}

/* A number in OpenSSL's secure heap, handled in constant time. */
static BIGNUM *secret_number(struct span bytes)
{
	BIGNUM *number = BN_secure_new();
	if (!number)
		return NULL;
	BN_set_flags(number, BN_FLG_CONSTTIME);
	if (!BN_bin2bn(bytes.data, (int)bytes.len, number)) {
		BN_clear_free(number);
		return NULL;
	}
	return number;
}

result key_from_scalar(struct span scalar, struct key *out)
{
	const struct library *l = library();
	if (scalar.len != SCALAR_SIZE)
		return fail(BAD_VALUE, "a P-256 scalar has %d bytes, not %zu", SCALAR_SIZE, scalar.len);

	CLEANUP(free_number) BIGNUM *number = secret_number(scalar);
	if (!number)
		return library_fail("BN_bin2bn");
	if (BN_is_zero(number) || BN_cmp(number, l->p256_order_minus_1) > 0)
		return fail(BAD_VALUE, "a P-256 scalar lies outside 1..n-1");
	return key_from_number(number, out);
}

static result scalar_of_seed(struct span seed48, BIGNUM *out)
{
	const struct library *l = library();
	if (seed48.len != SEED_SIZE)
		return fail(BAD_VALUE, "a key seed has %d bytes, not %zu", SEED_SIZE, seed48.len);

	CLEANUP(free_number) BIGNUM *seed = secret_number(seed48);
	CLEANUP(free_number_ctx) BN_CTX *numbers = BN_CTX_secure_new();
	if (!seed || !out || !numbers)
		return library_fail("BN_secure_new");
	BN_set_flags(out, BN_FLG_CONSTTIME);
	if (!BN_mod(out, seed, l->p256_order_minus_1, numbers) || !BN_add_word(out, 1))
		return library_fail("BN_mod");
	return OK;
}

result key_from_seed48(struct span seed48, struct key *out)
{
	CLEANUP(free_number) BIGNUM *scalar = BN_secure_new();
	TRY(scalar_of_seed(seed48, scalar));
	return key_from_number(scalar, out);
}

result point_from_seed48(struct span seed48, uint8_t out[static POINT_SIZE])
{
	CLEANUP(free_number) BIGNUM *scalar = BN_secure_new();
	uint8_t point[POINT_SIZE];
	TRY(scalar_of_seed(seed48, scalar));
	TRY(public_point(scalar, point));
	memcpy(out, point, POINT_SIZE);
	return OK;
}

result key_from_backend(struct span point, struct key_backend *backend, struct key *out)
{
	struct key key = KEY_EMPTY;
	result made = key_from_point(point, &key);
	if (made != OK) {
		backend->free(backend);
		return made;
	}
	key.backend = backend;
	key.is_private = true;
	*out = key;
	return OK;
}

result key_scalar(const struct key *key, struct secret *out)
{
	if (key->backend)
		return fail(BAD_KEY, "the private part of the key does not leave where it lies");
	if (!key->is_private)
		return fail(BAD_KEY, "the key has no private part");

	CLEANUP(free_number) BIGNUM *number = BN_secure_new();
	CLEANUP(secret_free) struct secret scalar = SECRET_EMPTY;
	TRY(secret_new(SCALAR_SIZE, &scalar));
	if (!number || !EVP_PKEY_get_bn_param(key->pkey, OSSL_PKEY_PARAM_PRIV_KEY, &number) ||
		BN_bn2binpad(number, scalar.data, SCALAR_SIZE) != SCALAR_SIZE)
		return library_fail("EVP_PKEY_get_bn_param");
	*out = secret_move(&scalar);
	return OK;
}

struct key key_ref(const struct key *key)
{
	if (key->pkey && !EVP_PKEY_up_ref(key->pkey))
		library_broken("EVP_PKEY_up_ref");
	if (key->backend)
		atomic_fetch_add(&key->backend->references, 1);
	return *key;
}

void key_free(struct key *key)
{
	if (!key)
		return;
	EVP_PKEY_free(key->pkey);
	if (key->backend && atomic_fetch_sub(&key->backend->references, 1) == 1)
		key->backend->free(key->backend);
	*key = KEY_EMPTY;
}

/* ---- PEM ---- */

/* Never asks: a program of ours has no terminal to ask on. */
static int refuse_passphrase(char *buffer, int size, int writing, void *data)
{
	return -1;
}

static result pem_bio(struct span pem, BIO **out)
{
	if (pem.len == 0 || pem.len > PEM_MAX)
		return fail(BAD_KEY, "a key file of %zu bytes; one of 1 byte to 64 KiB is expected", pem.len);
	library();
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	if (!bio)
		return library_fail("BIO_new_mem_buf");
	*out = bio;
	return OK;
}

struct pem_block {
	char *name, *header;
	unsigned char *data;
	long len;
};

static void pem_block_free(struct pem_block *block)
{
	OPENSSL_free(block->name);
	OPENSSL_free(block->header);
	OPENSSL_clear_free(block->data, block->len > 0 ? (size_t)block->len : 0);
}

static result key_from_foreign_certificate(struct span der, struct key *out)
{
	const unsigned char *at = der.data;
	unsigned char *spki = NULL;
	X509 *x509 = d2i_X509(NULL, &at, (long)der.len);
	int len = x509 ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &spki) : 0;
	result outcome =
		len > 0 ? key_from_spki(span_of(spki, (size_t)len), out) : fail(BAD_KEY, "the certificate in the key file cannot be read");

	OPENSSL_free(spki);
	X509_free(x509);
	ERR_clear_error();
	return outcome;
}

result key_from_pem(struct span pem, struct key *out)
{
	CLEANUP(free_bio) BIO *bio = NULL;
	CLEANUP(pem_block_free) struct pem_block block = {0};

	TRY(pem_bio(pem, &bio));
	if (!PEM_read_bio(bio, &block.name, &block.header, &block.data, &block.len)) {
		ERR_clear_error();
		return fail(BAD_KEY, "no PEM block was found; write one with `openssl ec -in KEY -pubout`");
	}
	struct span der = span_of(block.data, (size_t)block.len);
	if (strcmp(block.name, PEM_STRING_X509) == 0)
		return key_from_foreign_certificate(der, out);
	if (strcmp(block.name, PEM_STRING_PUBLIC) != 0)
		return fail(BAD_KEY, "the file holds '%.40s', not a public key; make one with `openssl ec -in KEY -pubout`", block.name);
	if (key_from_spki(der, out) != OK)
		return fail(BAD_KEY,
			"the public key is not an uncompressed P-256 key; make one with `openssl ecparam -name "
			"prime256v1 -genkey` and `openssl ec -pubout`");
	return OK;
}

static result new_bio(const BIO_METHOD *method, BIO **out)
{
	BIO *bio = BIO_new(method);
	if (!bio)
		return library_fail("BIO_new");
	*out = bio;
	return OK;
}

result key_to_private_pem(const struct key *key, struct secret *out)
{
	CLEANUP(free_bio) BIO *bio = NULL;
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	char *data;

	if (!key->is_private || key->backend)
		return fail(BAD_KEY, "there is no private key to write");
	library();
	TRY(new_bio(BIO_s_secmem(), &bio));
	if (PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) != 1)
		return library_fail("PEM_write_bio_PKCS8PrivateKey");
	long len = BIO_get_mem_data(bio, &data);
	if (len <= 0)
		return library_fail("BIO_get_mem_data");
	TRY(secret_new((size_t)len, &pem));
	memcpy(pem.data, data, (size_t)len);
	*out = secret_move(&pem);
	return OK;
}

result key_to_pem(const struct key *key, struct bytes *out)
{
	CLEANUP(free_bio) BIO *bio = NULL;
	uint8_t spki[SPKI_SIZE];
	char *data;

	library();
	key_spki(key, spki);
	TRY(new_bio(BIO_s_mem(), &bio));
	if (PEM_write_bio(bio, PEM_STRING_PUBLIC, "", spki, sizeof(spki)) <= 0)
		return library_fail("PEM_write_bio");
	long len = BIO_get_mem_data(bio, &data);
	if (len <= 0)
		return library_fail("BIO_get_mem_data");
	return bytes_copy(span_of(data, (size_t)len), out);
}

static bool is_p256(const EVP_PKEY *pkey)
{
	char group[32] = "";
	return EVP_PKEY_is_a(pkey, "EC") && EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, NULL) &&
		strcmp(group, "prime256v1") == 0;
}

result key_from_private_pem(struct span pem, struct key *out)
{
	CLEANUP(free_bio) BIO *bio = NULL;
	TRY(pem_bio(pem, &bio));

	CLEANUP(free_pkey) EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, NULL);
	ERR_clear_error();
	if (!pkey)
		return fail(BAD_KEY, "no private key in PEM form without a passphrase was found");
	if (!is_p256(pkey))
		return fail(BAD_KEY,
			"the private key is not a P-256 key; make one with `openssl ecparam -name prime256v1 "
			"-genkey -noout`");

	/* Built anew from the scalar alone, so that the public half cannot be a foreign one. */
	CLEANUP(free_number) BIGNUM *number = BN_secure_new();
	if (!number || !EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &number)) {
		ERR_clear_error();
		return fail(BAD_KEY, "the key file holds no private scalar");
	}
	if (BN_is_zero(number) || BN_is_negative(number) || BN_cmp(number, library()->p256_order_minus_1) > 0)
		return fail(BAD_KEY, "the private scalar lies outside 1..n-1");
	return key_from_number(number, out);
}

/* ---- signatures ---- */

static result sign_in_backend(const struct key *key, struct span message, uint8_t out[static SIGNATURE_SIZE])
{
	uint8_t digest[SHA256_SIZE], signature[SIGNATURE_SIZE];

	sha256(message, digest);
	TRY(key->backend->sign(key->backend, digest, signature));
	result checked = key_verify(key, message, SPAN_ARRAY(signature));
	if (checked != OK)
		return fail_within(checked, "what holds the private key gave a wrong signature");
	memcpy(out, signature, SIGNATURE_SIZE);
	return OK;
}

result key_sign(const struct key *key, struct span message, uint8_t out[static SIGNATURE_SIZE])
{
	uint8_t digest[SHA256_SIZE], der[DER_SIGNATURE_MAX];
	size_t len = sizeof der;
	if (!key->is_private)
		return fail(BAD_KEY, "the key has no private part and cannot sign");
	if (key->backend)
		return sign_in_backend(key, message, out);

	sha256(message, digest);
	CLEANUP(free_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);
	if (!ctx || EVP_PKEY_sign_init(ctx) <= 0 || EVP_PKEY_sign(ctx, der, &len, digest, sizeof digest) <= 0)
		return library_fail("EVP_PKEY_sign");
	return der_signature_to_raw(span_of(der, len), out);
}

/* n - 1 of P-256, big-endian (SEC 2 section 2.4.2). */
static const uint8_t order_minus_1[SCALAR_SIZE] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
	0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x50};

static bool half_in_range(const uint8_t *half)
{
	static const uint8_t zero[SCALAR_SIZE];
	return memcmp(half, zero, SCALAR_SIZE) != 0 && memcmp(half, order_minus_1, SCALAR_SIZE) <= 0;
}

static const struct key_second_opinion *second_opinion;

void key_set_second_opinion(const struct key_second_opinion *opinion)
{
	second_opinion = opinion;
}

result key_verify(const struct key *key, struct span message, struct span signature)
{
	uint8_t digest[SHA256_SIZE], der[DER_SIGNATURE_MAX];

	if (signature.len != SIGNATURE_SIZE)
		return fail(BAD_SIGNATURE, "a signature has %d bytes, not %zu", SIGNATURE_SIZE, signature.len);
	if (!half_in_range(signature.data) || !half_in_range(signature.data + SCALAR_SIZE))
		return fail(BAD_SIGNATURE, "a half of the signature lies outside 1..n-1");

	sha256(message, digest);
	size_t len = der_signature_from_raw(signature.data, der);
	CLEANUP(free_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);
	if (!ctx || EVP_PKEY_verify_init(ctx) <= 0)
		return library_fail("EVP_PKEY_verify_init");
	if (EVP_PKEY_verify(ctx, der, len, digest, sizeof digest) != 1) {
		ERR_clear_error();
		return fail(BAD_SIGNATURE, "the signature was not made by this key over these bytes");
	}
	if (second_opinion)
		return second_opinion->verify(second_opinion->ctx, key->point, digest, signature.data);
	return OK;
}

/* ---- agreement ---- */

result key_agree(const struct key *own, struct span peer_point, uint8_t out[static ECDH_SIZE])
{
	EVP_PKEY *peer = library_thread()->peer;
	uint8_t shared[ECDH_SIZE];
	size_t len = sizeof shared;

	if (!own->is_private)
		return fail(BAD_KEY, "the key has no private part and cannot agree");
	TRY(check_point_form(peer_point));
	if (own->backend) {
		if (!own->backend->agree)
			return fail(BAD_KEY, "what holds the private key only signs with it");
		TRY(point_key_id(peer_point, (uint8_t[KEY_ID_SIZE]){0}));
		return own->backend->agree(own->backend, peer_point.data, out);
	}
	if (EVP_PKEY_set1_encoded_public_key(peer, peer_point.data, peer_point.len) <= 0)
		return bad_point();

	/* P-256 has cofactor 1: a point on the curve is a valid peer, so EVP need not check again (validate_peer = 0). */
	CLEANUP(free_pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, own->pkey, NULL);
	if (!ctx || EVP_PKEY_derive_init(ctx) <= 0 || EVP_PKEY_derive_set_peer_ex(ctx, peer, 0) <= 0 ||
		EVP_PKEY_derive(ctx, shared, &len) <= 0 || len != sizeof shared)
		return library_fail("EVP_PKEY_derive");
	memcpy(out, shared, sizeof shared);
	wipe(shared, sizeof shared);
	return OK;
}
