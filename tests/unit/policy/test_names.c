/* The keyed hash of names against SipHash's known answers, and the alphabets. */
#include "policy_test.h"

#include "policy/names.h"

/* SipHash-1-3 of 00 01 02 ... under the key 00..0f, by input length; from an independent implementation. */
static const struct {
	size_t len;
	uint64_t hash;
} answers[] = {
	{8, 0x369095118d299a8e},
	{9, 0x25a48eb36c063de4},
	{15, 0xd320d86d2a519956},
	{16, 0xcc4fdd1a7d908b66},
	{17, 0x9cf2689063dbd80c},
	{23, 0x525a0e7fdae6c123},
	{40, 0xc1d2363299e41531},
	{71, 0x0d34b6c29a559f07},
};

static void hash_has_known_answers(void **state)
{
	const struct name_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
	for (size_t i = 0; i < COUNT_OF(answers); i++) {
		size_t len = answers[i].len - 8; /* the first eight bytes are `within` */
		uint8_t *name = malloc(len + 1); /* exactly as long as the name, so that a sanitizer sees one byte more */
		assert_non_null(name);
		for (size_t j = 0; j < len; j++)
			name[j] = (uint8_t)(j + 8);
		uint8_t *exact = realloc(name, len ? len : 1);
		assert_int_equal(name_hash(&key, 0x0706050403020100, span_of(exact, len)), answers[i].hash);
		free(exact);
	}
}

static void hash_depends_on_every_part(void **state)
{
	const struct name_key key = {1, 2}, other = {1, 3};
	uint64_t hash = name_hash(&key, 7, span_str("IRE-A"));
	assert_true(hash != name_hash(&other, 7, span_str("IRE-A")));
	assert_true(hash != name_hash(&key, 8, span_str("IRE-A")));
	assert_true(hash != name_hash(&key, 7, span_str("IRE-B")));
}

static void names_of_the_alphabet(void **state)
{
	char longest[POLICY_NAME_MAX + 2];
	size_t bad;
	memset(longest, 'x', sizeof(longest));
	assert_true(policy_name_ok(span_str("IRE-A"), &bad));
	assert_true(policy_name_ok(span_str("0._-Zz9"), &bad));
	assert_true(policy_name_ok(span_of(longest, POLICY_NAME_MAX), &bad));
	assert_false(policy_name_ok(span_of(longest, POLICY_NAME_MAX + 1), &bad));
	assert_int_equal(bad, POLICY_NAME_MAX);
	assert_false(policy_name_ok(SPAN_EMPTY, &bad));
	assert_int_equal(bad, 0);
}

static void names_outside_the_alphabet(void **state)
{
	static const char *const wrong[] = {"IRE A", "IRE/A", "IRE:A", "IRE\xd0\x90", "IRE\x7f", "IRE\x1f", "IRE@", "IRE[", "IRE`", "IRE{"};
	size_t bad;
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		assert_false(policy_name_ok(span_str(wrong[i]), &bad));
		assert_int_equal(bad, 3);
	}
	assert_false(policy_name_ok(span_of("IRE\0", 4), &bad));
}

static void items_may_be_paths(void **state)
{
	size_t bad;
	assert_true(policy_item_ok(span_str("payroll/rows:v1"), &bad));
	assert_false(policy_item_ok(span_str("payroll rows"), &bad));
	assert_int_equal(bad, 7);
	assert_false(policy_item_ok(span_str("a*"), &bad));
	assert_false(policy_item_ok(SPAN_EMPTY, &bad));
}

int test_names(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hash_has_known_answers),
		cmocka_unit_test(hash_depends_on_every_part),
		cmocka_unit_test(names_of_the_alphabet),
		cmocka_unit_test(names_outside_the_alphabet),
		cmocka_unit_test(items_may_be_paths),
	};
	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
