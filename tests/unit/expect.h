/* What every unit test needs: cmocka's headers in their order, and results that explain themselves when they differ. */
#ifndef TROTH_TESTS_EXPECT_H
#define TROTH_TESTS_EXPECT_H

#include "base/result.h"
#include "base/span.h"
#include "tsan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* after the four headers that it needs */
#include <cmocka.h>

/* cmocka has a macro of this name; in Troth it records a failure. */
#undef fail
#define fail(reason, ...) failure_is_not_ok_(failure_note(reason, __VA_ARGS__))
/* cmocka's own is built upon that macro. */
#undef fail_msg
#define fail_msg(...)                                                                                                  \
	do {                                                                                                           \
		print_error(__VA_ARGS__);                                                                              \
		print_error("\n");                                                                                     \
		_fail(__FILE__, __LINE__);                                                                             \
	} while (0)

static inline void expect_result_(result got, result wanted, const char *expression, const char *file, int line)
{
	if (got == wanted)
		return;
	print_error("%s gave %s (%s), not %s\n", expression, reason_name(got), failure_text(), reason_name(wanted));
	_fail(file, line);
}

#define expect(expression, wanted) expect_result_((expression), (wanted), #expression, __FILE__, __LINE__)
#define expect_ok(expression) expect((expression), OK)

static inline void expect_span_(struct span got, struct span wanted, const char *file, int line)
{
	if (span_equal(got, wanted))
		return;
	print_error("the bytes differ: %zu, %zu wanted\n", got.len, wanted.len);
	_fail(file, line);
}

#define expect_span(got, wanted) expect_span_((got), (wanted), __FILE__, __LINE__)

#endif
