#include "tests.h"

#include "crypto/aead.h"

static const struct {
	const char *key, *nonce, *aad, *plain, *cipher;
} vectors[] = {
	/* McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13 to 16 */
	{"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "",
		"530f8afbc74536b9a963b4f1c4cb738b"},
	{"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
		"00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
	{"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
		"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
		"8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
		"b094dac5d93471bdec1a502270e3cc6c"},
	{"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
		"feedfacedeadbeeffeedfacedeadbeefabaddad2",
		"d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
		"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
		"522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
		"8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
		"76fc6ece0f4e1768cddf8853bb2d551b"},
};

static void vectors_of_the_authors(void **state)
{
	for (size_t i = 0; i < COUNT_OF(vectors); i++) {
		struct hex key = unhex(vectors[i].key), nonce = unhex(vectors[i].nonce), aad = unhex(vectors[i].aad);
		struct hex plain = unhex(vectors[i].plain), cipher = unhex(vectors[i].cipher);
		CLEANUP(aead_free) struct aead sealer = {0};
		CLEANUP(aead_free) struct aead opener = {0};
		uint8_t out[HEX_MAX];

		assert_ok(aead_init_seal(&sealer, key.data));
		assert_ok(aead_init_open(&opener, key.data));
		for (int round = 0; round < 2; round++) { /* twice: nothing is left over from the first */
			assert_ok(aead_seal(&sealer, nonce.data, hex_span(&aad), hex_span(&plain), out));
			assert_memory_equal(out, cipher.data, cipher.len);
			assert_ok(aead_open(&opener, nonce.data, hex_span(&aad), hex_span(&cipher), out));
			assert_memory_equal(out, plain.data, plain.len);
		}
	}
}

static const uint8_t key[AEAD_KEY_SIZE] = {1, 2, 3};
static const uint8_t nonce[AEAD_NONCE_SIZE] = {4, 5, 6};

static void every_altered_bit_is_refused(void **state)
{
	CLEANUP(aead_free) struct aead sealer = {0};
	CLEANUP(aead_free) struct aead opener = {0};
	uint8_t sealed[20 + AEAD_TAG_SIZE], out[20], zero[20] = {0};

	assert_ok(aead_init_seal(&sealer, key));
	assert_ok(aead_init_open(&opener, key));
	assert_ok(aead_seal(&sealer, nonce, span_str("aad"), span_str("twenty bytes of text"), sealed));
	for (size_t bit = 0; bit < sizeof sealed * 8; bit++) {
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		memset(out, 0x55, sizeof out);
		assert_result(aead_open(&opener, nonce, span_str("aad"), SPAN_ARRAY(sealed), out), BAD_TAG);
		assert_memory_equal(out, zero, sizeof out);
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_ok(aead_open(&opener, nonce, span_str("aad"), SPAN_ARRAY(sealed), out));
	assert_memory_equal(out, "twenty bytes of text", sizeof out);
}

static void other_key_nonce_or_aad_is_refused(void **state)
{
	CLEANUP(aead_free) struct aead opener = {0};
	CLEANUP(aead_free) struct aead foreign = {0};
	CLEANUP(aead_free) struct aead sealer = {0};
	static const uint8_t other[AEAD_KEY_SIZE] = {9};
	uint8_t sealed[4 + AEAD_TAG_SIZE], out[4];

	assert_ok(aead_init_seal(&sealer, key));
	assert_ok(aead_init_open(&opener, key));
	assert_ok(aead_init_open(&foreign, other));
	assert_ok(aead_seal(&sealer, nonce, span_str("aad"), span_str("text"), sealed));
	assert_result(aead_open(&foreign, nonce, span_str("aad"), SPAN_ARRAY(sealed), out), BAD_TAG);
	assert_result(aead_open(&opener, other, span_str("aad"), SPAN_ARRAY(sealed), out), BAD_TAG);
	assert_result(aead_open(&opener, nonce, span_str("aaD"), SPAN_ARRAY(sealed), out), BAD_TAG);
	assert_result(aead_open(&opener, nonce, SPAN_EMPTY, SPAN_ARRAY(sealed), out), BAD_TAG);
	for (size_t len = 0; len < sizeof sealed; len++)
		assert_result(aead_open(&opener, nonce, span_str("aad"), span_of(sealed, len), out), BAD_TAG);
	assert_ok(aead_open(&opener, nonce, span_str("aad"), SPAN_ARRAY(sealed), out));
}

static void works_in_place(void **state)
{
	CLEANUP(aead_free) struct aead sealer = {0};
	CLEANUP(aead_free) struct aead opener = {0};
	uint8_t buffer[1000 + AEAD_TAG_SIZE];

	assert_ok(aead_init_seal(&sealer, key));
	assert_ok(aead_init_open(&opener, key));
	memset(buffer, 7, 1000);
	assert_ok(aead_seal(&sealer, nonce, SPAN_EMPTY, span_of(buffer, 1000), buffer));
	assert_ok(aead_open(&opener, nonce, SPAN_EMPTY, SPAN_ARRAY(buffer), buffer));
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(buffer[i], 7);
}

static void one_direction_per_context(void **state)
{
	CLEANUP(aead_free) struct aead sealer = {0};
	struct aead empty = {0};
	uint8_t buffer[32] = {0};

	assert_ok(aead_init_seal(&sealer, key));
	assert_result(aead_open(&sealer, nonce, SPAN_EMPTY, SPAN_ARRAY(buffer), buffer), ILLEGAL_STATE);
	assert_result(aead_seal(&empty, nonce, SPAN_EMPTY, span_of(buffer, 1), buffer), ILLEGAL_STATE);
}

static void once_uses_the_zero_nonce(void **state)
{
	struct hex zero_key = unhex(vectors[1].key), plain = unhex(vectors[1].plain);
	uint8_t out[16 + AEAD_TAG_SIZE], back[16];

	assert_ok(aead_seal_once(zero_key.data, SPAN_EMPTY, hex_span(&plain), out));
	assert_bytes(out, vectors[1].cipher);
	assert_ok(aead_open_once(zero_key.data, SPAN_EMPTY, SPAN_ARRAY(out), back));
	assert_memory_equal(back, plain.data, plain.len);
	out[0] ^= 1;
	assert_result(aead_open_once(zero_key.data, SPAN_EMPTY, SPAN_ARRAY(out), back), BAD_TAG);
}

int test_aead(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_of_the_authors),
		cmocka_unit_test(every_altered_bit_is_refused),
		cmocka_unit_test(other_key_nonce_or_aad_is_refused),
		cmocka_unit_test(works_in_place),
		cmocka_unit_test(one_direction_per_context),
		cmocka_unit_test(once_uses_the_zero_nonce),
	};
	return cmocka_run_group_tests_name("aead", tests, NULL, NULL);
}
