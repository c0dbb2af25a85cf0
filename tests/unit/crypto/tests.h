/* What the test files of this folder share: the groups, hexadecimal values and result checks. */
#ifndef TROTH_TESTS_CRYPTO_H
#define TROTH_TESTS_CRYPTO_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* base/result.h has its own; tests use fail_test */
#include <stdio.h>
#include <string.h>

#include "base/result.h"
#include "base/span.h"

int test_aead(void);
int test_box(void);
int test_confined(void);
int test_der(void);
int test_ed25519(void);
int test_hash(void);
int test_key(void);
int test_shamir(void);
int test_token_uri(void);
int test_key_backend(void);
int test_mlkem(void);
int test_x509(void);
int test_x509_ca(void);

#define fail_test(...)                                                                                                                     \
	do {                                                                                                                               \
		print_error(__VA_ARGS__);                                                                                                  \
		print_error("\n");                                                                                                         \
		_fail(__FILE__, __LINE__);                                                                                                 \
	} while (0)

enum { HEX_MAX = 256 };
struct hex {
	uint8_t data[HEX_MAX];
	size_t len;
};

/* The bytes of a hexadecimal text. */
static inline struct hex unhex(const char *text)
{
	struct hex out = {.len = strlen(text) / 2};
	assert_true(strlen(text) % 2 == 0 && out.len <= HEX_MAX);
	for (size_t i = 0; i < out.len; i++) {
		unsigned byte = 0;
		assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
		out.data[i] = (uint8_t)byte;
	}
	return out;
}

static inline struct span hex_span(const struct hex *hex)
{
	return span_of(hex->data, hex->len);
}

static inline void assert_bytes(const void *found, const char *expected)
{
	struct hex bytes = unhex(expected);
	assert_memory_equal(found, bytes.data, bytes.len);
}

/* Names both reasons when they differ. */
static inline void assert_result_at(result found, result expected, const char *file, int line)
{
	if (found != expected) {
		print_error("%s (%s) instead of %s\n", reason_name(found), failure_text(), reason_name(expected));
		_fail(file, line);
	}
}
#define assert_result(found, expected) assert_result_at((found), (expected), __FILE__, __LINE__)
#define assert_ok(found) assert_result((found), OK)

#endif
