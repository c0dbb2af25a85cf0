#include "tests.h"

#include "crypto/hash.h"

#include <pthread.h>

static const struct {
	void (*digest)(struct span data, uint8_t *out);
	enum hash_algorithm algorithm;
	const char *of_nothing, *of_abc;
} digests[] = {
	/* FIPS 180-4 examples */
	{sha256, HASH_SHA256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{sha384, HASH_SHA384, "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
		"cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"},
	{sha512, HASH_SHA512,
		"cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
		"47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
		"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
		"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
};

static void digests_of_the_standard(void **state)
{
	for (size_t i = 0; i < COUNT_OF(digests); i++) {
		uint8_t out[SHA512_SIZE];
		digests[i].digest(SPAN_EMPTY, out);
		assert_bytes(out, digests[i].of_nothing);
		digests[i].digest(span_str("abc"), out);
		assert_bytes(out, digests[i].of_abc);
	}
}

static void incremental_equals_one_shot(void **state)
{
	for (size_t i = 0; i < COUNT_OF(digests); i++) {
		struct hash hash = {0};
		uint8_t out[SHA512_SIZE];
		assert_ok(hash_start(&hash, digests[i].algorithm));
		hash_add(&hash, span_str("a"));
		hash_add(&hash, SPAN_EMPTY);
		hash_add(&hash, span_str("bc"));
		hash_finish(&hash, out);
		assert_null(hash.ctx);
		assert_bytes(out, digests[i].of_abc);
		hash_free(&hash);
	}
}

static void abandoned_hash_leaves_no_trace(void **state)
{
	/* More than are kept ready, so that both ways of giving one back are taken. */
	struct hash open[20] = {{0}};
	uint8_t out[SHA256_SIZE];

	for (size_t i = 0; i < COUNT_OF(open); i++) {
		assert_ok(hash_start(&open[i], HASH_SHA256));
		hash_add(&open[i], span_str("left over"));
	}
	for (size_t i = 0; i < COUNT_OF(open); i++)
		hash_free(&open[i]);
	for (size_t i = 0; i < COUNT_OF(open); i++) {
		assert_ok(hash_start(&open[i], HASH_SHA256));
		hash_add(&open[i], span_str("abc"));
	}
	for (size_t i = 0; i < COUNT_OF(open); i++) {
		hash_finish(&open[i], out);
		assert_bytes(out, digests[0].of_abc);
	}
}

static void length_comes_first(void **state)
{
	struct hash hash = {0};
	uint8_t with_lv[SHA256_SIZE], by_hand[SHA256_SIZE];

	assert_ok(hash_start(&hash, HASH_SHA256));
	hash_add_lv(&hash, span_str("abc"));
	hash_add_lv(&hash, SPAN_EMPTY);
	hash_finish(&hash, with_lv);
	sha256(span_of("\0\0\0\3abc\0\0\0\0", 11), by_hand);
	assert_memory_equal(with_lv, by_hand, sizeof by_hand);
}

static const struct {
	const char *key, *data, *tag;
} hmacs[] = {
	/* RFC 4231 sections 4.2, 4.3, 4.4, 4.5, 4.7, 4.8 */
	{"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
		"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
	{"4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
		"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"dddddddddddddddddddddddddddddddddddddddddddddddddd"
		"dddddddddddddddddddddddddddddddddddddddddddddddddd",
		"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
	{"0102030405060708090a0b0c0d0e0f10111213141516171819",
		"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
		"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
		"82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
};

static void hmacs_of_the_standard(void **state)
{
	for (size_t i = 0; i < COUNT_OF(hmacs); i++) {
		struct hex key = unhex(hmacs[i].key), data = unhex(hmacs[i].data);
		uint8_t out[SHA256_SIZE];
		hmac_sha256(hex_span(&key), hex_span(&data), out);
		assert_bytes(out, hmacs[i].tag);

		struct hmac hmac = {0};
		memset(out, 0, sizeof out);
		assert_ok(hmac_start(&hmac, hex_span(&key)));
		for (size_t at = 0; at < data.len; at++)
			hmac_add(&hmac, span_of(data.data + at, 1));
		hmac_finish(&hmac, out);
		assert_null(hmac.ctx);
		assert_bytes(out, hmacs[i].tag);
	}
}

static void hmac_with_key_longer_than_a_block(void **state)
{
	static const char text[] = "This is a test using a larger than block-size key and a larger than block-size data. "
				   "The key needs to be hashed before being used by the HMAC algorithm.";
	uint8_t key[131], out[SHA256_SIZE];

	memset(key, 0xaa, sizeof key);
	hmac_sha256(SPAN_ARRAY(key), span_str("Test Using Larger Than Block-Size Key - Hash Key First"), out);
	assert_bytes(out, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	hmac_sha256(SPAN_ARRAY(key), span_str(text), out);
	assert_bytes(out, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");

	struct hmac abandoned = {0};
	assert_ok(hmac_start(&abandoned, SPAN_ARRAY(key)));
	hmac_add(&abandoned, span_str("never finished"));
	hmac_free(&abandoned);
	hmac_free(&abandoned);
}

static const struct {
	const char *ikm, *salt, *info, *prk, *okm;
} hkdfs[] = {
	/* RFC 5869 A.1, A.2, A.3 */
	{"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
		"077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
		"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
	{"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
	 "303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
		"606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"
		"909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
		"b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
		"e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
		"06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
		"b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
		"da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
	{"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "", "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
		"8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
};

static void hkdf_of_the_standard(void **state)
{
	for (size_t i = 0; i < COUNT_OF(hkdfs); i++) {
		struct hex ikm = unhex(hkdfs[i].ikm), salt = unhex(hkdfs[i].salt), info = unhex(hkdfs[i].info);
		struct hex okm = unhex(hkdfs[i].okm);
		uint8_t prk[SHA256_SIZE], out[HEX_MAX];
		hkdf_extract(hex_span(&salt), hex_span(&ikm), prk);
		assert_bytes(prk, hkdfs[i].prk);
		memset(out, 0x55, sizeof out);
		hkdf_expand(prk, hex_span(&info), out, okm.len);
		assert_bytes(out, hkdfs[i].okm);
		assert_int_equal(out[okm.len], 0x55);
	}
}

static void expand_reaches_its_limit(void **state)
{
	static uint8_t all[255 * SHA256_SIZE], prefix[100];
	uint8_t prk[SHA256_SIZE] = {1};

	hkdf_expand(prk, span_str("info"), all, sizeof all);
	hkdf_expand(prk, span_str("info"), prefix, sizeof prefix);
	assert_memory_equal(all, prefix, sizeof prefix);
	assert_memory_not_equal(all, all + sizeof all - SHA256_SIZE, SHA256_SIZE);
	hkdf_expand(prk, span_str("info"), all, 0);
	assert_memory_equal(all, prefix, sizeof prefix);
}

static void label_is_framed_as_the_constructions_say(void **state)
{
	uint8_t prk[SHA256_SIZE], out[44], other[44];

	for (size_t i = 0; i < sizeof prk; i++)
		prk[i] = (uint8_t)i;
	/* HKDF-Expand(prk, "troth-iecp1 box r" 00 "context", 44) computed by another implementation. */
	hkdf_expand_label(prk, "iecp1", "box r", span_str("context"), out, sizeof out);
	assert_bytes(out, "422c9415afdae699b5715cfe8b588768194438455c183d0c44dabba90e5e245ebaf8c28fbea601f36241c58d");
	hkdf_expand_label(prk, "iecp1", "box i", span_str("context"), other, sizeof other);
	assert_memory_not_equal(out, other, sizeof out);
}

/* Returns NULL when all went well. */
static void *hash_in_a_thread(void *data)
{
	for (int i = 0; i < 200; i++) {
		uint8_t out[SHA256_SIZE], key[64];
		sha256(span_str("abc"), out);
		if (out[0] != 0xba || out[31] != 0xad)
			return data;
		hkdf_extract(SPAN_ARRAY(out), span_str("ikm"), out);
		hkdf_expand(out, SPAN_EMPTY, key, sizeof key);
	}
	return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
	pthread_t threads[4];
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hash_in_a_thread, &threads), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		void *complaint = NULL;
		assert_int_equal(pthread_join(threads[i], &complaint), 0);
		assert_null(complaint);
	}
}

int test_hash(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests_of_the_standard),
		cmocka_unit_test(incremental_equals_one_shot),
		cmocka_unit_test(abandoned_hash_leaves_no_trace),
		cmocka_unit_test(length_comes_first),
		cmocka_unit_test(hmacs_of_the_standard),
		cmocka_unit_test(hmac_with_key_longer_than_a_block),
		cmocka_unit_test(hkdf_of_the_standard),
		cmocka_unit_test(expand_reaches_its_limit),
		cmocka_unit_test(label_is_framed_as_the_constructions_say),
		cmocka_unit_test(threads_do_not_disturb_each_other),
	};
	return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
