#include "tests.h"

#include "crypto/random.h"
#include "crypto/shamir.h"

enum { MANY = 8 };

static void free_shares(struct shamir_share *shares, size_t count)
{
	for (size_t i = 0; i < count; i++)
		shamir_share_free(&shares[i]);
}

/* The definition, with branches: the product of two polynomials, then the remainder by x^8 + x^4 + x^3 + x + 1. */
static uint8_t multiply_slowly(uint8_t a, uint8_t b)
{
	unsigned product = 0;
	for (unsigned bit = 0; bit < 8; bit++)
		if (b >> bit & 1)
			product ^= (unsigned)a << bit;
	for (unsigned bit = 14; bit >= 8; bit--)
		if (product >> bit & 1)
			product ^= 0x11bu << (bit - 8);
	return (uint8_t)product;
}

static void the_field_is_that_of_aes(void **state)
{
	assert_int_equal(gf256_multiply(0x57, 0x83), 0xc1); /* FIPS 197 section 4.2 */
	assert_int_equal(gf256_multiply(0x57, 0x13), 0xfe); /* FIPS 197 section 4.2.1 */
	assert_int_equal(gf256_invert(0x53), 0xca);
	for (unsigned a = 0; a < 256; a++) {
		for (unsigned b = 0; b < 256; b++)
			assert_int_equal(gf256_multiply((uint8_t)a, (uint8_t)b), multiply_slowly((uint8_t)a, (uint8_t)b));
		assert_int_equal(gf256_multiply((uint8_t)a, gf256_invert((uint8_t)a)), a ? 1 : 0);
	}
}

/* "troth" under 3 of 5, computed with logarithm tables by another program: which shares are taken does not matter. */
static const struct {
	uint8_t x;
	const char *y;
} known[] = {{1, "dab7908a93"}, {2, "994d8a8c6e"}, {7, "6878a4e518"}, {200, "44840cfb70"}, {255, "a72e7c32e4"}};

static void known_shares_give_the_known_secret(void **state)
{
	for (size_t a = 0; a < 5; a++)
		for (size_t b = 0; b < 5; b++)
			for (size_t c = 0; c < 5; c++) {
				const size_t take[] = {a, b, c};
				struct shamir_share shares[3] = {0};
				struct secret secret = SECRET_EMPTY;
				for (size_t i = 0; i < 3; i++) {
					struct hex y = unhex(known[take[i]].y);
					shares[i].x = known[take[i]].x;
					assert_ok(secret_copy(hex_span(&y), &shares[i].y));
				}
				bool distinct = a != b && b != c && a != c;
				assert_result(shamir_combine(shares, 3, 3, &secret), distinct ? OK : SHARE_DUPLICATE);
				if (distinct)
					assert_true(secret_equal(secret_span(&secret), span_str("troth")));
				secret_free(&secret);
				free_shares(shares, 3);
			}
}

static void every_quorum_of_every_split_gives_the_secret(void **state)
{
	static const uint8_t numbers[MANY] = {1, 2, 3, 77, 128, 200, 254, 255};
	uint8_t plain[32];
	for (size_t n = 1; n <= MANY; n++)
		for (size_t k = 1; k <= n; k++) {
			struct shamir_share shares[MANY] = {0}, some[MANY];
			random_bytes(plain, sizeof(plain));
			assert_ok(shamir_split(SPAN_ARRAY(plain), k, numbers, n, shares));
			for (unsigned set = 0; set < 1u << n; set++) {
				struct secret back = SECRET_EMPTY;
				size_t count = 0;
				for (size_t i = 0; i < n; i++)
					if (set >> i & 1)
						some[count++] = shares[n - 1 - i];
				assert_result(shamir_combine(some, count, k, &back), count >= k ? OK : SHARES_TOO_FEW);
				if (count >= k)
					assert_true(secret_equal(secret_span(&back), SPAN_ARRAY(plain)));
				secret_free(&back);
			}
			free_shares(shares, n);
		}
}

/* One share less fits every secret equally: for each value of the missing share's byte another secret comes out. */
static void one_share_less_tells_nothing(void **state)
{
	static const uint8_t numbers[] = {1, 2};
	struct shamir_share shares[2] = {0};
	bool seen[256] = {false};
	assert_ok(shamir_split(span_str("s"), 2, numbers, 2, shares));
	for (unsigned guess = 0; guess < 256; guess++) {
		struct secret back = SECRET_EMPTY;
		shares[1].y.data[0] = (uint8_t)guess;
		assert_ok(shamir_combine(shares, 2, 2, &back));
		assert_false(seen[back.data[0]]);
		seen[back.data[0]] = true;
		secret_free(&back);
	}
	free_shares(shares, 2);
}

/* Over many splits of one byte every value of a share comes up: coefficients are not constant, and not zero alone. */
static void shares_of_one_secret_are_fresh(void **state)
{
	static const uint8_t numbers[] = {1, 2, 3};
	bool seen[256] = {false};
	size_t values = 0;
	for (size_t i = 0; i < 4096; i++) {
		struct shamir_share shares[3] = {0};
		assert_ok(shamir_split(span_str("s"), 3, numbers, 3, shares));
		values += !seen[shares[0].y.data[0]];
		seen[shares[0].y.data[0]] = true;
		free_shares(shares, 3);
	}
	assert_true(values > 250);
}

static void wrong_splits_are_refused(void **state)
{
	static const uint8_t zero[] = {1, 0}, twice[] = {9, 9}, good[] = {1, 2};
	static const uint8_t long_secret[SHAMIR_SECRET_MAX + 1];
	struct shamir_share shares[2] = {0};
	assert_result(shamir_split(span_str("s"), 2, zero, 2, shares), SHARE_INVALID);
	assert_result(shamir_split(span_str("s"), 2, twice, 2, shares), SHARE_DUPLICATE);
	assert_result(shamir_split(SPAN_EMPTY, 2, good, 2, shares), SHARE_INVALID);
	assert_result(shamir_split(SPAN_ARRAY(long_secret), 2, good, 2, shares), SHARE_INVALID);
	assert_result(shamir_split(span_str("s"), 0, good, 2, shares), BAD_VALUE);
	assert_result(shamir_split(span_str("s"), 3, good, 2, shares), BAD_VALUE);
	assert_result(shamir_split(span_str("s"), 1, good, 256, shares), BAD_VALUE);
	assert_null(shares[0].y.data);
}

static void wrong_shares_are_refused(void **state)
{
	static const uint8_t numbers[] = {1, 2, 3};
	struct shamir_share shares[3] = {0};
	struct secret back = SECRET_EMPTY, whole;
	assert_ok(shamir_split(span_str("secret"), 2, numbers, 3, shares));
	assert_result(shamir_combine(shares, 1, 2, &back), SHARES_TOO_FEW);
	assert_result(shamir_combine(shares, 0, 1, &back), SHARES_TOO_FEW);
	assert_result(shamir_combine(shares, 3, 0, &back), BAD_VALUE);
	shares[2].x = 0;
	assert_result(shamir_combine(shares, 3, 2, &back), SHARE_INVALID);
	shares[2].x = 1;
	assert_result(shamir_combine(shares, 3, 2, &back), SHARE_DUPLICATE);
	shares[2].x = 3;
	whole = shares[2].y;
	shares[2].y.len--;
	assert_result(shamir_combine(shares, 3, 2, &back), SHARES_MIXED);
	shares[2].y = SECRET_EMPTY;
	assert_result(shamir_combine(shares, 3, 2, &back), SHARE_INVALID);
	shares[2].y = whole;
	assert_null(back.data);
	/* Swapped numbers give something else: nothing here can notice, which is why what comes out is always checked. */
	shares[0].x = 2;
	shares[1].x = 1;
	assert_ok(shamir_combine(shares, 2, 2, &back));
	assert_false(secret_equal(secret_span(&back), span_str("secret")));
	secret_free(&back);
	free_shares(shares, 3);
}

int test_shamir(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_field_is_that_of_aes),
		cmocka_unit_test(known_shares_give_the_known_secret),
		cmocka_unit_test(every_quorum_of_every_split_gives_the_secret),
		cmocka_unit_test(one_share_less_tells_nothing),
		cmocka_unit_test(shares_of_one_secret_are_fresh),
		cmocka_unit_test(wrong_splits_are_refused),
		cmocka_unit_test(wrong_shares_are_refused),
	};
	return cmocka_run_group_tests_name("shamir", tests, NULL, NULL);
}
