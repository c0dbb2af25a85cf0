#include "crypto/ed25519.h"

#include "tests.h"

/* RFC 8032 section 7.1, tests 1 to 3. */
static const struct {
	const char *seed, *public_key, *message, *signature;
} rows[] = {
	{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
		"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
		"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
	{"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
		"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
		"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
	{"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
		"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
		"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
};

static void known_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct hex seed_bytes = unhex(rows[i].seed), message = unhex(rows[i].message);
		CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
		uint8_t public_key[ED25519_PUBLIC_SIZE], signature[ED25519_SIGNATURE_SIZE];
		assert_ok(secret_copy(hex_span(&seed_bytes), &seed));
		assert_ok(ed25519_public(&seed, public_key));
		assert_bytes(public_key, rows[i].public_key);
		assert_ok(ed25519_sign(&seed, hex_span(&message), signature));
		assert_bytes(signature, rows[i].signature);
		assert_ok(ed25519_verify(public_key, hex_span(&message), signature));
		for (size_t bit = 0; bit < sizeof(signature) * 8; bit++) {
			signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_result(ed25519_verify(public_key, hex_span(&message), signature), BAD_SIGNATURE);
			signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		assert_result(ed25519_verify(public_key, span_str("other"), signature), BAD_SIGNATURE);
		public_key[3] ^= 4;
		assert_result(ed25519_verify(public_key, hex_span(&message), signature), BAD_SIGNATURE);
	}
}

static void new_keys(void **state)
{
	(void)state;
	CLEANUP(secret_free) struct secret one = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret other = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret shorter = SECRET_EMPTY;
	uint8_t key[ED25519_PUBLIC_SIZE], signature[ED25519_SIGNATURE_SIZE];
	assert_ok(ed25519_generate(&one));
	assert_ok(ed25519_generate(&other));
	assert_false(secret_equal(secret_span(&one), secret_span(&other)));
	assert_ok(ed25519_public(&one, key));
	assert_ok(ed25519_sign(&other, span_str("text"), signature));
	assert_result(ed25519_verify(key, span_str("text"), signature), BAD_SIGNATURE);
	assert_ok(secret_new(31, &shorter));
	assert_result(ed25519_public(&shorter, key), BAD_KEY);
	assert_result(ed25519_sign(&shorter, span_str("text"), signature), BAD_KEY);
}

int test_ed25519(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(known_answers), cmocka_unit_test(new_keys)};
	return cmocka_run_group_tests_name("ed25519", tests, NULL, NULL);
}
