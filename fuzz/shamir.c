/*
 * Shares of any form: byte 0 is the quorum, then records of number, length and bytes. What combines does so whatever the
 * order of the first k, and shares made of it again give it back.
 */
#include "base/reader.h"
#include "crypto/shamir.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 16 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static size_t read_shares(struct reader *r, struct shamir_share *out)
{
	size_t count = 0;
	uint8_t number, len;
	struct span y;
	while (count < MOST && reader_u8(r, &number) == OK && reader_u8(r, &len) == OK && reader_take(r, len, &y) == OK) {
		out[count].x = number;
		if (y.len)
			must(secret_copy(y, &out[count].y) == OK);
		count++;
	}
	return count;
}

static void check_round_trip(const struct secret *secret, size_t k)
{
	static const uint8_t numbers[MOST] = {255, 2, 4, 8, 16, 32, 64, 128, 1, 3, 5, 7, 9, 11, 13, 15};
	struct shamir_share shares[MOST];
	struct secret back = SECRET_EMPTY;
	must(shamir_split(secret_span(secret), k, numbers, MOST, shares) == OK);
	must(shamir_combine(shares + MOST - k, k, k, &back) == OK);
	must(secret_equal(secret_span(secret), secret_span(&back)));
	secret_free(&back);
	for (size_t i = 0; i < MOST; i++)
		shamir_share_free(&shares[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_of(span_of(data, size));
	struct shamir_share shares[MOST] = {0};
	struct secret secret = SECRET_EMPTY, reversed = SECRET_EMPTY;
	uint8_t k;
	if (reader_u8(&r, &k) != OK)
		return 0;
	size_t count = read_shares(&r, shares);
	if (shamir_combine(shares, count, k, &secret) == OK) {
		struct shamir_share turned[MOST];
		must(k >= 1 && k <= count);
		for (size_t i = 0; i < k; i++)
			turned[i] = shares[k - 1 - i];
		must(shamir_combine(turned, k, k, &reversed) == OK);
		must(secret_equal(secret_span(&secret), secret_span(&reversed)));
		check_round_trip(&secret, k);
	}
	secret_free(&secret);
	secret_free(&reversed);
	for (size_t i = 0; i < count; i++)
		shamir_share_free(&shares[i]);
	return 0;
}
