#include "tests.h"

#include "crypto/der.h"

static result take(const char *hex, uint8_t tag, size_t *out_len)
{
	struct hex bytes = unhex(hex);
	struct reader r = reader_of(hex_span(&bytes));
	struct span content;
	result taken = der_take(&r, tag, &content);
	if (taken == OK)
		*out_len = content.len;
	else
		assert_ptr_equal(r.at, bytes.data); /* nothing is consumed by a refusal */
	return taken;
}

static void lengths_are_definite_and_minimal(void **state)
{
	size_t len = 99;
	char text[2 * 260] = "";

	assert_ok(take("0400", DER_OCTET_STRING, &len));
	assert_int_equal(len, 0);
	assert_ok(take("0402abcd", DER_OCTET_STRING, &len));
	assert_int_equal(len, 2);
	strcpy(text, "048180");
	memset(text + 6, '0', 2 * 0x80);
	assert_ok(take(text, DER_OCTET_STRING, &len));
	assert_int_equal(len, 0x80);

	assert_result(take("0481017f", DER_OCTET_STRING, &len), NOT_DETERMINISTIC);
	assert_result(take("04820001ff", DER_OCTET_STRING, &len), NOT_DETERMINISTIC);
	assert_result(take("0480", DER_OCTET_STRING, &len), NOT_DETERMINISTIC);
	assert_result(take("0483010000", DER_OCTET_STRING, &len), TOO_LARGE);
	assert_result(take("0484ffffffff", DER_OCTET_STRING, &len), TOO_LARGE);
	assert_result(take("0403abcd", DER_OCTET_STRING, &len), TRUNCATED);
	assert_result(take("0482", DER_OCTET_STRING, &len), TRUNCATED);
	assert_result(take("04", DER_OCTET_STRING, &len), TRUNCATED);
	assert_result(take("", DER_OCTET_STRING, &len), TRUNCATED);
	assert_result(take("0400", DER_INTEGER, &len), BAD_TYPE);
}

static result take_positive(const char *hex, size_t *out_len)
{
	struct hex bytes = unhex(hex);
	struct reader r = reader_of(hex_span(&bytes));
	struct span content;
	TRY(der_take_positive(&r, &content));
	*out_len = content.len;
	return OK;
}

static void integers_are_positive_and_minimal(void **state)
{
	size_t len = 0;
	assert_ok(take_positive("020101", &len));
	assert_ok(take_positive("02020080", &len));
	assert_int_equal(len, 1);
	assert_result(take_positive("020100", &len), BAD_VALUE);
	assert_result(take_positive("020180", &len), BAD_VALUE);
	assert_result(take_positive("0200", &len), BAD_VALUE);
	assert_result(take_positive("0202007f", &len), NOT_DETERMINISTIC);
}

static void any_element_but_long_tags(void **state)
{
	static const uint8_t two[] = {0x86, 1, 'x', 0x30, 0}, long_tag[] = {0x1f, 0x81, 0x00, 0x00};
	struct reader r = reader_of(SPAN_ARRAY(two));
	struct span element;

	assert_ok(der_take_any(&r, &element));
	assert_int_equal(element.len, 3);
	assert_ok(der_take_any(&r, &element));
	assert_int_equal(element.len, 2);
	assert_result(der_take_any(&r, &element), TRUNCATED);
	r = reader_of(SPAN_ARRAY(long_tag));
	assert_result(der_take_any(&r, &element), BAD_TYPE);
}

static void signatures_go_there_and_back(void **state)
{
	uint8_t raw[RAW_SIGNATURE_SIZE], back[RAW_SIGNATURE_SIZE], der[DER_SIGNATURE_MAX];

	/* Every count of leading zeros, with and without the top bit, in each half. */
	for (size_t zeros = 0; zeros < 32; zeros++)
		for (int top = 0; top < 2; top++)
			for (size_t half = 0; half < 2; half++) {
				memset(raw, top ? 0xff : 0x7f, sizeof raw);
				memset(raw + half * 32, 0, zeros);
				size_t len = der_signature_from_raw(raw, der);
				assert_true(len <= sizeof der);
				assert_ok(der_signature_to_raw(span_of(der, len), back));
				assert_memory_equal(raw, back, sizeof raw);
				assert_true(der_signature_to_raw(span_of(der, len - 1), back) != OK);
			}
	memset(raw, 0xff, sizeof raw);
	assert_int_equal(der_signature_from_raw(raw, der), DER_SIGNATURE_MAX);
}

static result to_raw(const char *hex)
{
	struct hex bytes = unhex(hex);
	uint8_t raw[RAW_SIGNATURE_SIZE];
	return der_signature_to_raw(hex_span(&bytes), raw);
}

static void malformed_signatures_are_refused(void **state)
{
	assert_ok(to_raw("3006020101020102"));
	assert_result(to_raw("300602010102010200"), TRAILING_BYTES);
	assert_result(to_raw("3009020101020102020103"), TRAILING_BYTES);
	assert_result(to_raw("3003020101"), TRUNCATED);
	assert_result(to_raw("3006020100020102"), BAD_VALUE);
	assert_result(to_raw("3006020101020180"), BAD_VALUE);
	assert_result(to_raw("3007020200010201"
			     "02"),
		NOT_DETERMINISTIC);
	assert_result(to_raw("3026022101"
			     "0000000000000000000000000000000000000000000000000000000000000000"
			     "020101"),
		BAD_VALUE); /* 257 bits */
}

int test_der(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths_are_definite_and_minimal),
		cmocka_unit_test(integers_are_positive_and_minimal),
		cmocka_unit_test(any_element_but_long_tags),
		cmocka_unit_test(signatures_go_there_and_back),
		cmocka_unit_test(malformed_signatures_are_refused),
	};
	return cmocka_run_group_tests_name("der", tests, NULL, NULL);
}
