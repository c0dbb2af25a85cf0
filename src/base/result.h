/*
 * The one way a function of Troth reports failure.
 *
 * A function that can fail returns `result` (OK or a reason) and leaves its outputs untouched unless it
 * returns OK. The reason is for machines; a sentence of context for people is kept per thread and read
 * with failure_text() by the program that prints it. Libraries never print.
 */
#ifndef TROTH_BASE_RESULT_H
#define TROTH_BASE_RESULT_H

#include "base/reason.h"

typedef enum reason result;

/*
 * fail(reason, format, ...)         records the context of a failure and yields `reason`.
 * fail_errno(format, ...)           the same after a failed system call: maps errno to a reason and appends its text.
 * fail_within(reason, format, ...)  puts "text: " before the recorded context while a failure passes upwards.
 *
 * They are macros so that the compiler sees that a failure is never OK.
 */
#define fail(reason, ...) failure_is_not_ok_(failure_note(reason, __VA_ARGS__))
#define fail_errno(...) failure_is_not_ok_(failure_note_errno(__VA_ARGS__))
#define fail_within(reason, ...) failure_is_not_ok_(failure_note_within(reason, __VA_ARGS__))

NODISCARD result failure_note(enum reason reason, const char *format, ...) PRINTF_LIKE(2, 3);
NODISCARD result failure_note_errno(const char *format, ...) PRINTF_LIKE(1, 2);
NODISCARD result failure_note_within(result reason, const char *format, ...) PRINTF_LIKE(2, 3);

static inline result failure_is_not_ok_(result reason)
{
	if (reason == OK)
		__builtin_unreachable();
	return reason;
}

/* Context of the last failure of this thread; "" when there is none. Valid until the next failure. */
const char *failure_text(void);

/* Forgets the context of the last failure of this thread. */
void failure_clear(void);

#define TRY(expression)                                                                                                \
	do {                                                                                                           \
		result try_result_ = (expression);                                                                     \
		if (try_result_ != OK)                                                                                 \
			return try_result_;                                                                            \
	} while (0)

#endif
