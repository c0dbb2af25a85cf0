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

static result not_a_time(const char *text)
{
	return fail(BAD_VALUE, "'%s' is not a time like 2026-11-21T15:47:31Z", text);
}

/* Whether `text` has digits where `shape` has 0 and the same character elsewhere. */
static bool has_shape(const char *text, const char *shape)
{
	size_t i = 0;
	for (; text[i] && shape[i]; i++) {
		bool digit = text[i] >= '0' && text[i] <= '9';
		if (shape[i] == '0' ? !digit : text[i] != shape[i])
			return false;
	}
	return text[i] == shape[i];
}

static int digits(const char *text, size_t from, size_t len)
{
	int value = 0;
	for (size_t i = from; i < from + len; i++)
		value = value * 10 + (text[i] - '0');
	return value;
}

result clock_parse(const char *text, uint64_t *out_wall_ms)
{
	bool with_millis = has_shape(text, "0000-00-00T00:00:00.000Z");
	if (!with_millis && !has_shape(text, "0000-00-00T00:00:00Z"))
		return not_a_time(text);
	struct tm parts = {
		.tm_year = digits(text, 0, 4) - 1900,
		.tm_mon = digits(text, 5, 2) - 1,
		.tm_mday = digits(text, 8, 2),
		.tm_hour = digits(text, 11, 2),
		.tm_min = digits(text, 14, 2),
		.tm_sec = digits(text, 17, 2),
	};
	if (parts.tm_year < 70)
		return not_a_time(text);
	uint64_t ms = (uint64_t)timegm(&parts) * 1000 + (with_millis ? (uint64_t)digits(text, 20, 3) : 0);
	/* timegm takes 31 February for 3 March: a time that exists is written as it was read. */
	char again[CLOCK_TEXT_SIZE];
	clock_format(ms, again);
	if (strncmp(again, text, strlen("0000-00-00T00:00:00")) != 0)
		return not_a_time(text);
	*out_wall_ms = ms;
	return OK;
}
