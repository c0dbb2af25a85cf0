/* What the unit tests of src/wire share. */
#ifndef TROTH_TESTS_WIRE_TEST_H
#define TROTH_TESTS_WIRE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* cmocka has a fail() too, and its fail_msg() uses it. */
#undef fail
#undef fail_msg
#define fail_msg(...)                                                                                                                      \
	do {                                                                                                                               \
		print_error(__VA_ARGS__);                                                                                                  \
		print_error("\n");                                                                                                         \
		_fail(__FILE__, __LINE__);                                                                                                 \
	} while (0)

#include "base/bytes.h"
#include "base/result.h"
#include "wire/text.h"

#define assert_result(actual, expected)                                                                                                    \
	do {                                                                                                                               \
		result actual_ = (actual);                                                                                                 \
		if (actual_ != (expected))                                                                                                 \
			fail_msg("%s is %s (%s), not %s", #actual, reason_name(actual_), failure_text(), reason_name(expected));           \
	} while (0)

#define assert_ok(actual) assert_result(actual, OK)

static inline struct bytes unhex(const char *hex)
{
	size_t len = strlen(hex) / 2;
	struct bytes bytes = {malloc(len ? len : 1), len};
	assert_non_null(bytes.data);
	assert_ok(hex_decode(span_str(hex), bytes.data, len));
	return bytes;
}

/* A small generator with a fixed start, so that a failure can be repeated. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

int run_cbor_tests(void);
int run_cbor_oracle_tests(void);
int run_cose_tests(void);
int run_cose_example_tests(void);
int run_document_tests(void);
int run_frame_tests(void);
int run_text_tests(void);

#endif
