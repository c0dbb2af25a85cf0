#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

uint64_t clock_wall_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t clock_monotonic_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void clock_format(uint64_t wall_ms, char out[static CLOCK_TEXT_SIZE])
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm parts;
	/* The year 9999 ends at this second; later values are shown as that. */
	if (seconds > 253402300799)
		seconds = 253402300799;
	gmtime_r(&seconds, &parts);
	size_t used = strftime(out, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(out + used, CLOCK_TEXT_SIZE - used, ".%03uZ", (unsigned)(wall_ms % 1000));
}

result clock_parse(const char *text, uint64_t *out_wall_ms)
{
	struct tm parts = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
	unsigned millis = 0;
	if (rest && *rest == '.') {
		if (strspn(rest + 1, "0123456789") != 3)
			return fail(BAD_VALUE, "'%s' is not a time like 2026-11-21T15:47:31Z", text);
		millis = (unsigned)(rest[1] - '0') * 100 + (unsigned)(rest[2] - '0') * 10 + (unsigned)(rest[3] - '0');
		rest += 4;
	}
	if (!rest || strcmp(rest, "Z") != 0 || parts.tm_year < 70)
		return fail(BAD_VALUE, "'%s' is not a time like 2026-11-21T15:47:31Z", text);
	*out_wall_ms = (uint64_t)timegm(&parts) * 1000 + millis;
	return OK;
}
