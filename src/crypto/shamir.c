#include "crypto/shamir.h"

#include "crypto/random.h"

void shamir_share_free(struct shamir_share *share)
{
	if (share)
		secret_free(&share->y);
}

/* Shift and add; masks instead of branches, so that no byte of a secret decides what is executed or read. */
uint8_t gf256_multiply(uint8_t a, uint8_t b)
{
	unsigned product = 0, shifted = a;
	for (unsigned bit = 0; bit < 8; bit++) {
		product ^= shifted & (0u - ((unsigned)b >> bit & 1u));
		shifted = (shifted << 1) ^ (0x11bu & (0u - (shifted >> 7 & 1u)));
	}
	return (uint8_t)product;
}

/* a^254 = a^-1, since a^255 = 1 for every a but 0. */
uint8_t gf256_invert(uint8_t a)
{
	uint8_t square = a, power = 1;
	for (unsigned bit = 1; bit < 8; bit++) {
		square = gf256_multiply(square, square);
		power = gf256_multiply(power, square);
	}
	return power;
}

static result check_numbers(const uint8_t *numbers, size_t count)
{
	bool seen[SHAMIR_MAX_SHARES + 1] = {false};
	for (size_t i = 0; i < count; i++) {
		if (numbers[i] == 0)
			return fail(SHARE_INVALID, "a share with the number 0, where the secret itself stands");
		if (seen[numbers[i]])
			return fail(SHARE_DUPLICATE, "number %u", numbers[i]);
		seen[numbers[i]] = true;
	}
	return OK;
}

/* One byte of all shares: the polynomial with this constant term, at each number (Horner). */
static void share_byte(uint8_t constant, const uint8_t *coefficients, size_t k, uint8_t x, uint8_t *out)
{
	uint8_t value = 0;
	for (size_t i = k - 1; i > 0; i--)
		value = gf256_multiply(value, x) ^ coefficients[i - 1];
	*out = gf256_multiply(value, x) ^ constant;
}

static result make_shares(struct span secret, size_t k, const uint8_t *numbers, size_t n, struct shamir_share *shares)
{
	CLEANUP(secret_free) struct secret coefficients = SECRET_EMPTY;
	TRY(secret_new(SHAMIR_MAX_SHARES, &coefficients));
	for (size_t i = 0; i < n; i++) {
		shares[i].x = numbers[i];
		TRY(secret_new(secret.len, &shares[i].y));
	}
	for (size_t at = 0; at < secret.len; at++) {
		random_bytes(coefficients.data, k - 1);
		for (size_t i = 0; i < n; i++)
			share_byte(secret.data[at], coefficients.data, k, numbers[i], &shares[i].y.data[at]);
	}
	return OK;
}

result shamir_split(struct span secret, size_t k, const uint8_t *numbers, size_t n, struct shamir_share *out_shares)
{
	if (secret.len == 0 || secret.len > SHAMIR_SECRET_MAX)
		return fail(SHARE_INVALID, "a secret of %zu bytes; 1 to %d can be shared", secret.len, SHAMIR_SECRET_MAX);
	if (n > SHAMIR_MAX_SHARES || k < 1 || k > n)
		return fail(BAD_VALUE, "a quorum of %zu of %zu", k, n);
	TRY(check_numbers(numbers, n));
	for (size_t i = 0; i < n; i++)
		out_shares[i] = SHAMIR_SHARE_EMPTY;
	result made = make_shares(secret, k, numbers, n, out_shares);
	for (size_t i = 0; made != OK && i < n; i++)
		shamir_share_free(&out_shares[i]);
	return made;
}

static result check_shares(const struct shamir_share *shares, size_t count, size_t k)
{
	uint8_t numbers[SHAMIR_MAX_SHARES];
	if (k < 1 || k > SHAMIR_MAX_SHARES)
		return fail(BAD_VALUE, "a quorum of %zu", k);
	if (count < k)
		return fail(SHARES_TOO_FEW, "%zu of %zu", count, k);
	if (count > SHAMIR_MAX_SHARES)
		return fail(SHARE_DUPLICATE, "%zu shares", count);
	for (size_t i = 0; i < count; i++) {
		if (shares[i].y.len == 0 || shares[i].y.len > SHAMIR_SECRET_MAX)
			return fail(SHARE_INVALID, "a share of %zu bytes", shares[i].y.len);
		if (shares[i].y.len != shares[0].y.len)
			return fail(SHARES_MIXED, "of %zu and of %zu bytes", shares[0].y.len, shares[i].y.len);
		numbers[i] = shares[i].x;
	}
	return check_numbers(numbers, count);
}

/* Lagrange's factor of share i at 0: the product of x_j / (x_j - x_i) over the others; minus is plus here. */
static uint8_t factor_at_zero(const struct shamir_share *shares, size_t k, size_t i)
{
	uint8_t above = 1, below = 1;
	for (size_t j = 0; j < k; j++) {
		if (j == i)
			continue;
		above = gf256_multiply(above, shares[j].x);
		below = gf256_multiply(below, shares[j].x ^ shares[i].x);
	}
	return gf256_multiply(above, gf256_invert(below));
}

result shamir_combine(const struct shamir_share *shares, size_t count, size_t k, struct secret *out)
{
	CLEANUP(secret_free) struct secret secret = SECRET_EMPTY;
	TRY(check_shares(shares, count, k));
	TRY(secret_new(shares[0].y.len, &secret));
	for (size_t i = 0; i < k; i++) {
		uint8_t factor = factor_at_zero(shares, k, i);
		for (size_t at = 0; at < secret.len; at++)
			secret.data[at] ^= gf256_multiply(factor, shares[i].y.data[at]);
	}
	*out = secret_move(&secret);
	return OK;
}
