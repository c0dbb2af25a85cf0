#include "wire/json.h"

#include "base/clock.h"
#include "wire/text.h"

#include <stdlib.h>
#include <unistd.h>

json_t *json_hex(struct span bytes)
{
	char *text = malloc(2 * bytes.len + 1);
	if (!text)
		return NULL;
	hex_encode(bytes, text);
	json_t *json = json_stringn_nocheck(text, 2 * bytes.len);
	free(text);
	return json;
}

json_t *json_time(uint64_t wall_ms)
{
	char text[CLOCK_TEXT_SIZE];
	clock_format(wall_ms, text);
	return json_string(text);
}

result json_print(FILE *to, const json_t *json)
{
	size_t flags = JSON_ENCODE_ANY | (isatty(fileno(to)) ? JSON_INDENT(2) : JSON_COMPACT);
	if (json_dumpf(json, to, flags) != 0 || fputc('\n', to) == EOF || fflush(to) == EOF)
		return fail_errno("writing the result");
	return OK;
}
