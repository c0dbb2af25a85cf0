/* What the unit tests of src/wire share. */
#ifndef TROTH_TESTS_WIRE_TEST_H
#define TROTH_TESTS_WIRE_TEST_H

#include "../expect.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/result.h"
#include "wire/text.h"

static inline struct bytes unhex(const char *hex)
{
	size_t len = strlen(hex) / 2;
	struct bytes bytes = {malloc(len ? len : 1), len};
	assert_non_null(bytes.data);
	expect_ok(hex_decode(span_str(hex), bytes.data, len));
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
