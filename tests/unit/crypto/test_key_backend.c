/* Keys whose private half is used where it lies: here in a backend that signs with OpenSSL, or wrongly, or not at all. */
#include "tests.h"

#include "base/arena.h"
#include "base/bytes.h"
#include "crypto/der.h"
#include "crypto/hash.h"
#include "crypto/key.h"
#include "crypto/x509.h"

#include <openssl/evp.h>
#include <stdlib.h>

enum mode { SIGNS, SIGNS_ANOTHER_DIGEST, GIVES_ZEROES, REFUSES };

struct elsewhere {
	struct key_backend backend;
	struct key key;
	enum mode mode;
};

static unsigned freed;

static result sign_elsewhere(struct key_backend *backend, const uint8_t digest[static 32], uint8_t out[static 64])
{
	struct elsewhere *self = (struct elsewhere *)(void *)backend;
	uint8_t input[SHA256_SIZE], der[DER_SIGNATURE_MAX];
	size_t len = sizeof der;
	if (self->mode == REFUSES)
		return fail(TOKEN_UNAVAILABLE, "pulled out");
	memset(out, 0, SIGNATURE_SIZE);
	if (self->mode == GIVES_ZEROES)
		return OK;
	memcpy(input, digest, sizeof input);
	input[0] ^= self->mode == SIGNS_ANOTHER_DIGEST;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, self->key.pkey, NULL);
	assert_true(ctx && EVP_PKEY_sign_init(ctx) > 0 && EVP_PKEY_sign(ctx, der, &len, input, sizeof input) > 0);
	EVP_PKEY_CTX_free(ctx);
	return der_signature_to_raw(span_of(der, len), out);
}

static result agree_elsewhere(struct key_backend *backend, const uint8_t point[static 65], uint8_t out[static 32])
{
	struct elsewhere *self = (struct elsewhere *)(void *)backend;
	return key_agree(&self->key, span_of(point, POINT_SIZE), out);
}

static void free_elsewhere(struct key_backend *backend)
{
	struct elsewhere *self = (struct elsewhere *)(void *)backend;
	key_free(&self->key);
	free(self);
	freed++;
}

static struct elsewhere *new_elsewhere(enum mode mode)
{
	struct elsewhere *self = calloc(1, sizeof *self);
	assert_non_null(self);
	self->backend = (struct key_backend){sign_elsewhere, agree_elsewhere, free_elsewhere, 1};
	self->mode = mode;
	assert_ok(key_generate(&self->key));
	return self;
}

static struct key key_in(enum mode mode)
{
	struct key key = KEY_EMPTY;
	struct elsewhere *self = new_elsewhere(mode);
	assert_ok(key_from_backend(SPAN_ARRAY(self->key.point), &self->backend, &key));
	return key;
}

static void signs_and_verifies(void **state)
{
	struct key key = key_in(SIGNS);
	uint8_t signature[SIGNATURE_SIZE];
	assert_true(key.is_private);
	assert_ok(key_sign(&key, span_str("message"), signature));
	assert_ok(key_verify(&key, span_str("message"), SPAN_ARRAY(signature)));
	assert_result(key_verify(&key, span_str("massage"), SPAN_ARRAY(signature)), BAD_SIGNATURE);
	key_free(&key);
}

static void wrong_signatures_are_not_given_out(void **state)
{
	static const enum mode modes[] = {SIGNS_ANOTHER_DIGEST, GIVES_ZEROES};
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		struct key key = key_in(modes[i]);
		uint8_t signature[SIGNATURE_SIZE] = {7}, untouched[SIGNATURE_SIZE] = {7};
		assert_result(key_sign(&key, span_str("message"), signature), BAD_SIGNATURE);
		assert_memory_equal(signature, untouched, sizeof signature);
		key_free(&key);
	}
}

static void its_refusal_is_ours(void **state)
{
	struct key key = key_in(REFUSES);
	uint8_t signature[SIGNATURE_SIZE];
	assert_result(key_sign(&key, span_str("message"), signature), TOKEN_UNAVAILABLE);
	key_free(&key);
}

static void agrees_like_another_key(void **state)
{
	struct key key = key_in(SIGNS), peer = KEY_EMPTY;
	uint8_t here[ECDH_SIZE], there[ECDH_SIZE], off_curve[POINT_SIZE];
	assert_ok(key_generate(&peer));
	assert_ok(key_agree(&key, SPAN_ARRAY(peer.point), here));
	assert_ok(key_agree(&peer, SPAN_ARRAY(key.point), there));
	assert_memory_equal(here, there, sizeof here);
	/* A point off the curve does not even reach the backend. */
	memcpy(off_curve, peer.point, sizeof off_curve);
	off_curve[POINT_SIZE - 1] ^= 1;
	assert_result(key_agree(&key, SPAN_ARRAY(off_curve), here), BAD_POINT);
	key.backend->agree = NULL;
	assert_result(key_agree(&key, SPAN_ARRAY(peer.point), here), BAD_KEY);
	key_free(&key);
	key_free(&peer);
}

static void is_freed_with_its_last_user(void **state)
{
	unsigned before = freed;
	struct key key = key_in(SIGNS), other = key_ref(&key);
	uint8_t signature[SIGNATURE_SIZE];
	key_free(&key);
	assert_int_equal(freed, before);
	assert_ok(key_sign(&other, span_str("message"), signature));
	key_free(&other);
	assert_int_equal(freed, before + 1);
	/* Also when no key came of it. */
	struct elsewhere *self = new_elsewhere(SIGNS);
	assert_result(key_from_backend(span_of(self->key.point, 64), &self->backend, &key), BAD_POINT);
	assert_int_equal(freed, before + 2);
}

static void has_no_scalar(void **state)
{
	struct key key = key_in(SIGNS);
	struct secret scalar = SECRET_EMPTY;
	assert_result(key_scalar(&key, &scalar), BAD_KEY);
	assert_null(scalar.data);
	key_free(&key);
}

static result issue_with(const struct key *issuer, struct bytes *out)
{
	struct key subject = KEY_EMPTY;
	assert_ok(key_generate(&subject));
	struct certificate_fields fields = {
		.serial = {0x7f, 2, 3},
		.uri = "spiffe://abc.troth.internal/ire/payroll-a",
		.not_before = UINT64_C(1795276051000),
		.not_after = UINT64_C(1795276051000) + 86400000,
	};
	memcpy(fields.sign_point, subject.point, POINT_SIZE);
	memcpy(fields.kem_point, subject.point, POINT_SIZE);
	key_free(&subject);
	return certificate_issue(&fields, issuer, "the-rot-label", out);
}

static void issues_certificates(void **state)
{
	struct key issuer = key_in(SIGNS), other = key_in(SIGNS), silent = key_in(REFUSES);
	struct bytes der = BYTES_EMPTY, none = BYTES_EMPTY;
	struct arena arena = arena_of(4096);
	struct certificate certificate = CERTIFICATE_EMPTY;
	assert_ok(issue_with(&issuer, &der));
	assert_ok(certificate_parse(bytes_span(&der), &arena, &certificate));
	assert_ok(certificate_verify(&certificate, &issuer));
	assert_result(certificate_verify(&certificate, &other), CERTIFICATE_FOREIGN);
	assert_result(issue_with(&silent, &none), TOKEN_UNAVAILABLE);
	assert_null(none.data);
	certificate_free(&certificate);
	arena_free(&arena);
	bytes_free(&der);
	key_free(&issuer);
	key_free(&other);
	key_free(&silent);
}

int test_key_backend(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signs_and_verifies),
		cmocka_unit_test(wrong_signatures_are_not_given_out),
		cmocka_unit_test(its_refusal_is_ours),
		cmocka_unit_test(agrees_like_another_key),
		cmocka_unit_test(is_freed_with_its_last_user),
		cmocka_unit_test(has_no_scalar),
		cmocka_unit_test(issues_certificates),
	};
	return cmocka_run_group_tests_name("key backend", tests, NULL, NULL);
}
