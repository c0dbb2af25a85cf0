/* ML-KEM-768. The expected values come from tests/outside/mlkem.py, which was written from FIPS 203 and shares no code with OpenSSL. */
#include "tests.h"

#include "crypto/hash.h"
#include "crypto/mlkem.h"

static void mlkem_known_answers(void **state)
{
	uint8_t seed[MLKEM_SEED_SIZE], message[MLKEM_MESSAGE_SIZE], key[MLKEM_KEY_SIZE], ct[MLKEM_CT_SIZE], digest[SHA256_SIZE];
	uint8_t theirs[MLKEM_SECRET_SIZE], ours[MLKEM_SECRET_SIZE];
	CLEANUP(mlkem_free) struct mlkem own = MLKEM_EMPTY;
	(void)state;

	if (!mlkem_available())
		skip();
	memset(seed, 1, 32);
	memset(seed + 32, 2, 32);
	memset(message, 3, sizeof message);
	assert_int_equal(mlkem_generate(SPAN_ARRAY(seed), &own, key), OK);
	sha256(SPAN_ARRAY(key), digest);
	assert_bytes(digest, "e68d60857f9cb41f88c278ca430e472c6df5679fd5bac3ce872334293c5d0c42");
	assert_int_equal(mlkem_encapsulate(SPAN_ARRAY(key), SPAN_ARRAY(message), ct, theirs), OK);
	sha256(SPAN_ARRAY(ct), digest);
	assert_bytes(digest, "f95592579f6d3833372731a4bcf972bf570063f3a00550cee142b9fc1e4e511d");
	assert_bytes(theirs, "f39b95557ee52af1954cd59f19febcb39f127e4abefc6f90546e7b8139ce94ba");
	assert_int_equal(mlkem_decapsulate(&own, SPAN_ARRAY(ct), ours), OK);
	assert_memory_equal(ours, theirs, sizeof ours);
	/* An altered ciphertext gives another secret, the one that FIPS 203 says. */
	ct[0] ^= 1;
	assert_int_equal(mlkem_decapsulate(&own, SPAN_ARRAY(ct), ours), OK);
	assert_bytes(ours, "87064adde027ac33989b425f2dbee160629c1cf40fa28c5423707924b843c6fe");
	assert_int_equal(mlkem_decapsulate(&own, span_of(ct, sizeof ct - 1), ours), BAD_VALUE);
}

/* Everything works, or nothing does and says so. */
static void mlkem_is_there_or_not(void **state)
{
	uint8_t key[MLKEM_KEY_SIZE] = {0}, ct[MLKEM_CT_SIZE] = {0}, theirs[MLKEM_SECRET_SIZE], ours[MLKEM_SECRET_SIZE];
	CLEANUP(mlkem_free) struct mlkem own = MLKEM_EMPTY;
	(void)state;

	if (!mlkem_available()) {
		assert_int_equal(mlkem_generate(SPAN_EMPTY, &own, key), NOT_SUPPORTED);
		assert_int_equal(mlkem_encapsulate(SPAN_ARRAY(key), SPAN_EMPTY, ct, theirs), NOT_SUPPORTED);
		assert_int_equal(mlkem_decapsulate(&own, SPAN_ARRAY(ct), ours), NOT_SUPPORTED);
		return;
	}
	assert_int_equal(mlkem_generate(SPAN_EMPTY, &own, key), OK);
	assert_int_equal(mlkem_encapsulate(SPAN_ARRAY(key), SPAN_EMPTY, ct, theirs), OK);
	assert_int_equal(mlkem_decapsulate(&own, SPAN_ARRAY(ct), ours), OK);
	assert_memory_equal(ours, theirs, sizeof ours);
	assert_int_equal(mlkem_encapsulate(span_of(key, sizeof key - 1), SPAN_EMPTY, ct, theirs), BAD_KEY);
	memset(key, 0xff, 3); /* coefficients of 4095 */
	assert_int_equal(mlkem_encapsulate(SPAN_ARRAY(key), SPAN_EMPTY, ct, theirs), BAD_KEY);
	assert_int_equal(mlkem_encapsulate(SPAN_ARRAY(key), SPAN_ARRAY(theirs), ct, theirs), BAD_KEY);
	assert_int_equal(mlkem_generate(SPAN_ARRAY(theirs), &own, key), BAD_VALUE);
}

int test_mlkem(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(mlkem_known_answers), cmocka_unit_test(mlkem_is_there_or_not)};
	return cmocka_run_group_tests_name("mlkem", tests, NULL, NULL);
}
