/*
 * Time. Objects carry wall-clock time as milliseconds since 1970-01-01T00:00:00Z (no leap seconds);
 * deadlines use the monotonic clock. Engines never read a clock: they are given `now`.
 */
#ifndef TROTH_BASE_CLOCK_H
#define TROTH_BASE_CLOCK_H

#include "base/result.h"

/* Wall clock, milliseconds since the epoch. */
uint64_t clock_wall_ms(void);

/* Monotonic clock, nanoseconds since some point. */
uint64_t clock_monotonic_ns(void);

/* "2026-11-21T15:47:31.123Z" into a buffer of CLOCK_TEXT_SIZE. */
enum { CLOCK_TEXT_SIZE = 32 };
void clock_format(uint64_t wall_ms, char out[static CLOCK_TEXT_SIZE]);

/* Reads the form that clock_format writes, with or without the milliseconds. BAD_VALUE. */
NODISCARD result clock_parse(const char *text, uint64_t *out_wall_ms);

#endif
