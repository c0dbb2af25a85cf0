#include "tests.h"

#include "base/bytes.h"
#include "crypto/hash.h"
#include "crypto/key.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <pthread.h>

/* RFC 6979 A.2.5 */
#define RFC6979_SCALAR "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"
#define RFC6979_POINT                                                                                                                      \
	"0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"                                                               \
	"7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
#define RFC6979_SPKI_HASH "5a7a78cca4a0f420d9bc62bb669c3c2759e39f723d3ae10dcbe0f0815a07ecd4"
#define RFC6979_R "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
#define RFC6979_S "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
#define RFC6979_R_TEST "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
#define RFC6979_S_TEST "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083"

#define P256_N "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
#define P256_N_MINUS_1 "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550"
#define P256_P "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"
#define ZERO "0000000000000000000000000000000000000000000000000000000000000000"
#define ONE "0000000000000000000000000000000000000000000000000000000000000001"

static result from_scalar(const char *hex, struct key *out)
{
	struct hex bytes = unhex(hex);
	return key_from_scalar(hex_span(&bytes), out);
}

static result from_point(const char *hex, struct key *out)
{
	struct hex bytes = unhex(hex);
	return key_from_point(hex_span(&bytes), out);
}

static result from_seed(const char *hex, struct key *out)
{
	struct hex bytes = unhex(hex);
	uint8_t point[POINT_SIZE] = {0};
	result made = key_from_seed48(hex_span(&bytes), out);
	/* The point alone is the same one, and refused alike. */
	assert_int_equal(point_from_seed48(hex_span(&bytes), point), made);
	if (made == OK)
		assert_memory_equal(point, out->point, POINT_SIZE);
	else
		assert_int_equal(point[0], 0);
	return made;
}

static void assert_scalar(const struct key *key, const char *expected)
{
	struct secret scalar = SECRET_EMPTY;
	assert_ok(key_scalar(key, &scalar));
	assert_int_equal(scalar.len, SCALAR_SIZE);
	assert_bytes(scalar.data, expected);
	secret_free(&scalar);
}

static void scalar_gives_its_point(void **state)
{
	struct key key = KEY_EMPTY;
	uint8_t id[KEY_ID_SIZE];

	assert_ok(from_scalar(RFC6979_SCALAR, &key));
	assert_true(key.is_private);
	assert_bytes(key.point, RFC6979_POINT);
	assert_bytes(key.id, RFC6979_SPKI_HASH);
	assert_scalar(&key, RFC6979_SCALAR);
	assert_ok(point_key_id(SPAN_ARRAY(key.point), id));
	assert_memory_equal(id, key.id, sizeof id);
	key_free(&key);
	assert_null(key.pkey);
	key_free(&key);
}

static void scalars_out_of_range_are_refused(void **state)
{
	struct key key = KEY_EMPTY;

	assert_result(from_scalar(ZERO, &key), BAD_VALUE);
	assert_result(from_scalar(P256_N, &key), BAD_VALUE);
	assert_result(from_scalar("ff" P256_N, &key), BAD_VALUE);
	assert_result(from_scalar("01", &key), BAD_VALUE);
	assert_result(key_from_scalar(SPAN_EMPTY, &key), BAD_VALUE);
	assert_null(key.pkey);
	assert_ok(from_scalar(ONE, &key));
	key_free(&key);
	assert_ok(from_scalar(P256_N_MINUS_1, &key));
	key_free(&key);
}

static void seeds_reduce_as_the_constructions_say(void **state)
{
	/* (seed mod (n-1)) + 1, computed with another implementation's integers */
	static const struct {
		const char *seed, *scalar;
	} seeds[] = {
		{"00000000000000000000000000000000" ZERO, ONE},
		{"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
			"431905529c0166ce652e96b7ccca0a9a679b73e29ad16947f01cf012fc632550"},
		{"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f",
			"18185bb801b6065828af9bb667d107070b661a42a64f1f66b1a71e49aa7ff400"},
		{"00000000000000000000000000000000" P256_N_MINUS_1, ONE},
		{"00000000000000000000000000000000ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc63254f", P256_N_MINUS_1},
	};
	struct key key = KEY_EMPTY;

	for (size_t i = 0; i < COUNT_OF(seeds); i++) {
		assert_ok(from_seed(seeds[i].seed, &key));
		assert_scalar(&key, seeds[i].scalar);
		key_free(&key);
	}
	assert_result(from_seed(ZERO, &key), BAD_VALUE);
	assert_result(key_from_seed48(SPAN_EMPTY, &key), BAD_VALUE);
}

static void points_that_are_no_keys_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"00", /* the identity */
		"00" ZERO ZERO,
		"04" ZERO ZERO,
		"0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6", /* compressed */
		"0660fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6" /* hybrid form */
		"7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
		"0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6" /* y + 1: off the curve */
		"7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d446229a",
		"04" P256_P /* x = p, the unreduced form of x = 0 */
		"66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4",
		RFC6979_POINT "00",
	};
	struct key key = KEY_EMPTY, own = KEY_EMPTY;
	uint8_t id[KEY_ID_SIZE], shared[ECDH_SIZE];

	assert_ok(key_generate(&own));
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct hex point = unhex(bad[i]);
		assert_result(key_from_point(hex_span(&point), &key), BAD_POINT);
		assert_result(point_key_id(hex_span(&point), id), BAD_POINT);
		assert_result(key_agree(&own, hex_span(&point), shared), BAD_POINT);
	}
	assert_null(key.pkey);
	/* The point with x = 0 itself is on the curve; only its unreduced form is not a key. */
	assert_ok(from_point("04" ZERO "66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4", &key));
	key_free(&key);
	key_free(&own);
}

static void signatures_of_the_standard_verify(void **state)
{
	struct key key = KEY_EMPTY;
	struct hex sample = unhex(RFC6979_R RFC6979_S), test = unhex(RFC6979_R_TEST RFC6979_S_TEST);

	assert_ok(from_point(RFC6979_POINT, &key));
	assert_false(key.is_private);
	assert_ok(key_verify(&key, span_str("sample"), hex_span(&sample)));
	assert_ok(key_verify(&key, span_str("test"), hex_span(&test)));
	assert_result(key_verify(&key, span_str("test"), hex_span(&sample)), BAD_SIGNATURE);
	/* (r, n - s) verifies too: objects are therefore named without their signature (objects.md). */
	struct hex mirrored = unhex(RFC6979_R "0834e36ad29a83bf2bc9385e491d6099c8fdf9d1ed67aa7ea5f51f93782857a9");
	assert_ok(key_verify(&key, span_str("sample"), hex_span(&mirrored)));
	key_free(&key);
}

static void signatures_out_of_range_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		RFC6979_R,
		ZERO RFC6979_S,
		RFC6979_R ZERO,
		ZERO ZERO,
		P256_N RFC6979_S,
		RFC6979_R P256_N,
		RFC6979_R "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		RFC6979_S RFC6979_R,
		RFC6979_R RFC6979_S "00",
		"00" RFC6979_R RFC6979_S,
		ONE ONE,
		P256_N_MINUS_1 P256_N_MINUS_1,
	};
	struct key key = KEY_EMPTY;

	assert_ok(from_point(RFC6979_POINT, &key));
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct hex signature = unhex(bad[i]);
		assert_result(key_verify(&key, span_str("sample"), hex_span(&signature)), BAD_SIGNATURE);
	}
	key_free(&key);
}

static void what_is_signed_verifies_and_nothing_else(void **state)
{
	struct key key = KEY_EMPTY, public_half = KEY_EMPTY, other = KEY_EMPTY;
	uint8_t signature[SIGNATURE_SIZE];

	assert_ok(key_generate(&key));
	assert_ok(key_generate(&other));
	assert_ok(key_from_point(SPAN_ARRAY(key.point), &public_half));
	assert_memory_equal(key.id, public_half.id, KEY_ID_SIZE);
	for (int i = 0; i < 50; i++) {
		assert_ok(key_sign(&key, span_of(&i, sizeof i), signature));
		assert_ok(key_verify(&public_half, span_of(&i, sizeof i), SPAN_ARRAY(signature)));
		assert_result(key_verify(&other, span_of(&i, sizeof i), SPAN_ARRAY(signature)), BAD_SIGNATURE);
	}
	for (size_t bit = 0; bit < sizeof signature * 8; bit += 7) {
		int last = 49;
		signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_result(key_verify(&key, span_of(&last, sizeof last), SPAN_ARRAY(signature)), BAD_SIGNATURE);
		signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_ok(key_sign(&key, SPAN_EMPTY, signature));
	assert_ok(key_verify(&key, SPAN_EMPTY, SPAN_ARRAY(signature)));
	key_free(&key);
	key_free(&public_half);
	key_free(&other);
}

static void public_keys_cannot_do_what_private_keys_do(void **state)
{
	struct key key = KEY_EMPTY;
	struct secret scalar = SECRET_EMPTY;
	uint8_t out[SIGNATURE_SIZE];

	assert_ok(from_point(RFC6979_POINT, &key));
	assert_result(key_sign(&key, span_str("x"), out), BAD_KEY);
	assert_result(key_agree(&key, SPAN_ARRAY(key.point), out), BAD_KEY);
	assert_result(key_scalar(&key, &scalar), BAD_KEY);
	assert_null(scalar.data);
	key_free(&key);
}

/* RFC 5903 section 8.1 */
#define RFC5903_I "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433"
#define RFC5903_R "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53"
#define RFC5903_I_POINT                                                                                                                    \
	"04dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180"                                                               \
	"5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3"
#define RFC5903_R_POINT                                                                                                                    \
	"04d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63"                                                               \
	"56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab"
#define RFC5903_SHARED "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"

static void agreement_of_the_standard(void **state)
{
	struct key i = KEY_EMPTY, r = KEY_EMPTY;
	uint8_t shared[ECDH_SIZE];

	assert_ok(from_scalar(RFC5903_I, &i));
	assert_ok(from_scalar(RFC5903_R, &r));
	assert_bytes(i.point, RFC5903_I_POINT);
	assert_bytes(r.point, RFC5903_R_POINT);
	assert_ok(key_agree(&i, SPAN_ARRAY(r.point), shared));
	assert_bytes(shared, RFC5903_SHARED);
	memset(shared, 0, sizeof shared);
	assert_ok(key_agree(&r, SPAN_ARRAY(i.point), shared));
	assert_bytes(shared, RFC5903_SHARED);
	/* A refusal leaves the output alone and spoils nothing for the next peer. */
	uint8_t off_curve[POINT_SIZE];
	memcpy(off_curve, i.point, sizeof off_curve);
	off_curve[64] ^= 1;
	assert_result(key_agree(&r, SPAN_ARRAY(off_curve), shared), BAD_POINT);
	assert_bytes(shared, RFC5903_SHARED);
	assert_ok(key_agree(&r, SPAN_ARRAY(i.point), shared));
	assert_bytes(shared, RFC5903_SHARED);
	key_free(&i);
	key_free(&r);
}

static void spki_goes_there_and_back(void **state)
{
	struct key key = KEY_EMPTY, back = KEY_EMPTY;
	uint8_t spki[SPKI_SIZE + 1] = {0}, digest[SHA256_SIZE];

	assert_ok(from_point(RFC6979_POINT, &key));
	key_spki(&key, spki);
	sha256(span_of(spki, SPKI_SIZE), digest);
	assert_memory_equal(digest, key.id, sizeof digest);
	assert_ok(key_from_spki(span_of(spki, SPKI_SIZE), &back));
	assert_memory_equal(back.point, key.point, POINT_SIZE);
	key_free(&back);

	/* OpenSSL reads it as the same key. */
	const unsigned char *at = spki;
	EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, SPKI_SIZE);
	assert_non_null(pkey);
	assert_int_equal(EVP_PKEY_eq(pkey, key.pkey), 1);
	EVP_PKEY_free(pkey);

	assert_result(key_from_spki(span_of(spki, SPKI_SIZE - 1), &back), BAD_KEY);
	assert_result(key_from_spki(span_of(spki, SPKI_SIZE + 1), &back), BAD_KEY);
	for (size_t i = 0; i < SPKI_SIZE - POINT_SIZE; i++) {
		spki[i] ^= 1;
		assert_result(key_from_spki(span_of(spki, SPKI_SIZE), &back), BAD_KEY);
		spki[i] ^= 1;
	}
	spki[SPKI_SIZE - 1] ^= 1;
	assert_result(key_from_spki(span_of(spki, SPKI_SIZE), &back), BAD_POINT);
	key_free(&key);
}

static void reference_outlives_the_first_owner(void **state)
{
	struct key key = KEY_EMPTY;
	uint8_t signature[SIGNATURE_SIZE];

	assert_ok(key_generate(&key));
	struct key shared = key_ref(&key);
	key_free(&key);
	assert_ok(key_sign(&shared, span_str("x"), signature));
	assert_ok(key_verify(&shared, span_str("x"), SPAN_ARRAY(signature)));
	key_free(&shared);
	struct key nothing = key_ref(&KEY_EMPTY);
	assert_null(nothing.pkey);
}

/* ---- PEM ---- */

enum pem_kind { PEM_PUBLIC, PEM_PRIVATE, PEM_PRIVATE_TRADITIONAL, PEM_PRIVATE_LOCKED };

static struct bytes pem_of(EVP_PKEY *pkey, enum pem_kind kind)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;
	struct bytes out = BYTES_EMPTY;
	int written = 0;

	assert_non_null(bio);
	switch (kind) {
	case PEM_PUBLIC:
		written = PEM_write_bio_PUBKEY(bio, pkey);
		break;
	case PEM_PRIVATE:
		written = PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL);
		break;
	case PEM_PRIVATE_TRADITIONAL:
		written = PEM_write_bio_PrivateKey_traditional(bio, pkey, NULL, NULL, 0, NULL, NULL);
		break;
	case PEM_PRIVATE_LOCKED:
		written = PEM_write_bio_PrivateKey(bio, pkey, EVP_aes_256_cbc(), (const unsigned char *)"secret", 6, NULL, NULL);
		break;
	}
	assert_int_equal(written, 1);
	long len = BIO_get_mem_data(bio, &data);
	assert_ok(bytes_copy(span_of(data, (size_t)len), &out));
	BIO_free(bio);
	return out;
}

/* What `openssl ecparam -genkey` and `openssl ec -pubout` of OpenSSL 3.0 wrote for the key of RFC 6979 A.2.5. */
static const char openssl_public_pem[] = "-----BEGIN PUBLIC KEY-----\n"
					 "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYP7UuiVanTHJYet0xjVtaMBJuJI7\n"
					 "Yfps5mliLmDyn7Z5A/4QCLi8maQa6elWKLxk8vGyDC1+n1F3o8KU1EYimQ==\n"
					 "-----END PUBLIC KEY-----\n";

static void pem_of_a_public_key(void **state)
{
	struct key key = KEY_EMPTY;
	assert_ok(key_from_pem(span_str(openssl_public_pem), &key));
	assert_bytes(key.point, RFC6979_POINT);
	assert_false(key.is_private);
	key_free(&key);
}

static void pem_of_a_private_key(void **state)
{
	struct key key = KEY_EMPTY, back = KEY_EMPTY;

	assert_ok(key_generate(&key));
	for (enum pem_kind kind = PEM_PRIVATE; kind <= PEM_PRIVATE_TRADITIONAL; kind++) {
		struct bytes pem = pem_of(key.pkey, kind);
		assert_ok(key_from_private_pem(bytes_span(&pem), &back));
		assert_true(back.is_private);
		assert_memory_equal(back.point, key.point, POINT_SIZE);
		key_free(&back);
		assert_result(key_from_pem(bytes_span(&pem), &back), BAD_KEY);
		assert_non_null(strstr(failure_text(), "-pubout"));
		bytes_free(&pem);
	}
	struct bytes locked = pem_of(key.pkey, PEM_PRIVATE_LOCKED);
	assert_result(key_from_private_pem(bytes_span(&locked), &back), BAD_KEY);
	bytes_free(&locked);
	assert_null(back.pkey);
	key_free(&key);
}

static void pem_of_other_keys_is_refused(void **state)
{
	EVP_PKEY *others[] = {EVP_EC_gen("P-384"), EVP_EC_gen("secp256k1"), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
	struct key key = KEY_EMPTY;

	for (size_t i = 0; i < COUNT_OF(others); i++) {
		assert_non_null(others[i]);
		struct bytes public_pem = pem_of(others[i], PEM_PUBLIC), private_pem = pem_of(others[i], PEM_PRIVATE);
		assert_result(key_from_pem(bytes_span(&public_pem), &key), BAD_KEY);
		assert_result(key_from_private_pem(bytes_span(&private_pem), &key), BAD_KEY);
		bytes_free(&public_pem);
		bytes_free(&private_pem);
		EVP_PKEY_free(others[i]);
	}
	assert_result(key_from_pem(SPAN_EMPTY, &key), BAD_KEY);
	assert_result(key_from_private_pem(SPAN_EMPTY, &key), BAD_KEY);
	assert_result(key_from_pem(span_str("no key at all\n"), &key), BAD_KEY);
	assert_result(key_from_private_pem(span_str(openssl_public_pem), &key), BAD_KEY);
	for (size_t len = 1; len < sizeof openssl_public_pem - 26; len += 5)
		assert_result(key_from_pem(span_of(openssl_public_pem, len), &key), BAD_KEY);
	assert_null(key.pkey);
}

static void pem_of_a_certificate(void **state)
{
	struct key key = KEY_EMPTY, back = KEY_EMPTY;
	X509 *x509 = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;

	assert_ok(key_generate(&key));
	assert_non_null(x509);
	assert_non_null(bio);
	assert_int_equal(X509_set_pubkey(x509, key.pkey), 1);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x509), 0));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x509), 60));
	assert_true(X509_sign(x509, key.pkey, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509(bio, x509), 1);
	long len = BIO_get_mem_data(bio, &data);
	assert_ok(key_from_pem(span_of(data, (size_t)len), &back));
	assert_memory_equal(back.point, key.point, POINT_SIZE);
	key_free(&back);
	key_free(&key);
	X509_free(x509);
	BIO_free(bio);
}

/* ---- threads ---- */

/* Returns NULL when all went well. */
static void *use_shared_key(void *data)
{
	const struct key *shared = data;
	uint8_t signature[SIGNATURE_SIZE], secret[ECDH_SIZE];

	for (int i = 0; i < 20; i++) {
		struct key key = KEY_EMPTY;
		if (key_sign(shared, span_of(&i, sizeof i), signature) != OK ||
			key_verify(shared, span_of(&i, sizeof i), SPAN_ARRAY(signature)) != OK)
			return data;
		if (key_generate(&key) != OK || key_agree(&key, SPAN_ARRAY(shared->point), secret) != OK)
			return data;
		struct key another = key_ref(shared);
		key_free(&another);
		key_free(&key);
	}
	return NULL;
}

static void threads_share_a_key(void **state)
{
	struct key shared = KEY_EMPTY;
	pthread_t threads[4];

	assert_ok(key_generate(&shared));
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use_shared_key, &shared), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		void *complaint = NULL;
		assert_int_equal(pthread_join(threads[i], &complaint), 0);
		assert_null(complaint);
	}
	key_free(&shared);
}

int test_key(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scalar_gives_its_point),
		cmocka_unit_test(scalars_out_of_range_are_refused),
		cmocka_unit_test(seeds_reduce_as_the_constructions_say),
		cmocka_unit_test(points_that_are_no_keys_are_refused),
		cmocka_unit_test(signatures_of_the_standard_verify),
		cmocka_unit_test(signatures_out_of_range_are_refused),
		cmocka_unit_test(what_is_signed_verifies_and_nothing_else),
		cmocka_unit_test(public_keys_cannot_do_what_private_keys_do),
		cmocka_unit_test(agreement_of_the_standard),
		cmocka_unit_test(spki_goes_there_and_back),
		cmocka_unit_test(reference_outlives_the_first_owner),
		cmocka_unit_test(pem_of_a_public_key),
		cmocka_unit_test(pem_of_a_private_key),
		cmocka_unit_test(pem_of_other_keys_is_refused),
		cmocka_unit_test(pem_of_a_certificate),
		cmocka_unit_test(threads_share_a_key),
	};
	return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
