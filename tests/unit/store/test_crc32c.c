#include "expect.h"
#include "groups.h"
#include "store/crc32c.h"

/* RFC 3720 appendix B.4, and the check value of the catalogue of CRC algorithms. */
static void known_answers(void **state)
{
	uint8_t data[32];
	uint32_t (*const forms[])(uint32_t, struct span) = {crc32c, crc32c_portable};
	(void)state;
	for (size_t f = 0; f < COUNT_OF(forms); f++) {
		assert_int_equal(forms[f](0, span_str("123456789")), 0xe3069283);
		assert_int_equal(forms[f](0, SPAN_EMPTY), 0);
		memset(data, 0, sizeof(data));
		assert_int_equal(forms[f](0, SPAN_ARRAY(data)), 0x8a9136aa);
		memset(data, 0xff, sizeof(data));
		assert_int_equal(forms[f](0, SPAN_ARRAY(data)), 0x62a8ab43);
		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (uint8_t)i;
		assert_int_equal(forms[f](0, SPAN_ARRAY(data)), 0x46dd794e);
		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (uint8_t)(31 - i);
		assert_int_equal(forms[f](0, SPAN_ARRAY(data)), 0x113fdb5c);
	}
}

static void both_forms_agree_and_continue(void **state)
{
	uint8_t data[257];
	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * i * 13 + 7);
	for (size_t from = 0; from < 9; from++) {
		for (size_t len = 0; len + from <= sizeof(data); len++) {
			struct span part = span_of(data + from, len);
			uint32_t whole = crc32c(0, part);
			assert_int_equal(whole, crc32c_portable(0, part));
			uint32_t first = crc32c(0, span_of(part.data, len / 3));
			assert_int_equal(whole, crc32c(first, span_of(part.data + len / 3, len - len / 3)));
		}
	}
}

int group_crc32c(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(both_forms_agree_and_continue),
	};
	return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
