#include "ledger/words.h"

#include <stdio.h>

#include "base/clock.h"
#include "ledger/grant_rules.h"
#include "wire/text.h"

void operations_text(uint64_t operations, char out[static OPERATIONS_TEXT_SIZE])
{
	size_t len = 0;
	snprintf(out, OPERATIONS_TEXT_SIZE, "%s", operations ? "all" : "nothing");
	if (operations == OPERATIONS_ALL)
		return;
	for (unsigned bit = 0; bit < 64; bit++) {
		char name[OPERATION_NAME_SIZE];
		if (!(operations >> bit & 1))
			continue;
		operation_name(bit, name);
		len += (size_t)snprintf(out + len, OPERATIONS_TEXT_SIZE - len, "%s%s", len ? ", " : "", name);
	}
}

json_t *operations_json(uint64_t operations)
{
	char name[OPERATION_NAME_SIZE];
	if (operations == OPERATIONS_ALL)
		return json_string("all");
	json_t *list = json_array();
	for (unsigned bit = 0; bit < 64; bit++) {
		if (!(operations >> bit & 1))
			continue;
		operation_name(bit, name);
		json_array_append_new(list, json_string(name));
	}
	return list;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The next word of a list; NULL at its end. */
static const char *next_word(const char **text, size_t *out_len)
{
	const char *at = *text;
	while (is_blank(*at) || *at == ',')
		at++;
	size_t len = strcspn(at, ", \t");
	*text = at + len;
	*out_len = len;
	return len ? at : NULL;
}

result operations_parse(const char *text, uint64_t *out)
{
	uint64_t operations = 0;
	size_t len;
	for (const char *word = next_word(&text, &len); word; word = next_word(&text, &len)) {
		unsigned bit;
		if (len == 3 && memcmp(word, "all", 3) == 0) {
			operations = OPERATIONS_ALL;
			continue;
		}
		TRY(operation_parse(span_of(word, len), &bit));
		operations |= 1ULL << bit;
	}
	if (!operations)
		return fail(BAD_NAME, "no operation is named");
	*out = operations;
	return OK;
}

static const char *const subjects[] = {
	[REGISTERED_VMM] = "vmm",
	[REGISTERED_HOST] = "host",
	[REGISTERED_ENCLAVE] = "enclave",
	[REGISTERED_SECURITY_ENCLAVE] = "security-enclave",
};

const char *subject_name(unsigned subject)
{
	return subject < COUNT_OF(subjects) && subjects[subject] ? subjects[subject] : "unknown";
}

result subject_parse(const char *name, uint8_t *out)
{
	for (uint8_t i = REGISTERED_VMM; i < COUNT_OF(subjects); i++) {
		if (strcmp(name, subjects[i]) == 0) {
			*out = i;
			return OK;
		}
	}
	return fail(BAD_NAME, "'%s': vmm, host, enclave or security-enclave is registered", name);
}

/* ---- Times -------------------------------------------------------------------------------------- */

static uint64_t unit_ms(char unit)
{
	switch (unit) {
	case 's':
		return 1000;
	case 'm':
		return 60 * 1000;
	case 'h':
		return 3600 * 1000;
	case 'd':
		return 24 * 3600 * 1000;
	default:
		return 0;
	}
}

static bool parse_span(const char *text, uint64_t *out)
{
	const char *at = text + (*text == '+');
	uint64_t number = 0;
	size_t count = strspn(at, "0123456789");
	if (count < 1 || count > 9 || !at[count] || at[count + 1] || !unit_ms(at[count]))
		return false;
	for (size_t i = 0; i < count; i++)
		number = number * 10 + (uint64_t)(at[i] - '0');
	*out = number * unit_ms(at[count]);
	return true;
}

result when_parse(const char *text, uint64_t now_ms, uint64_t *out)
{
	char full[CLOCK_TEXT_SIZE];
	uint64_t span;
	if (parse_span(text, &span)) {
		*out = now_ms + span;
		return OK;
	}
	if (strlen(text) == 10) {
		snprintf(full, sizeof(full), "%sT00:00:00Z", text);
		if (clock_parse(full, out) == OK)
			return OK;
	}
	if (clock_parse(text, out) == OK)
		return OK;
	return fail(BAD_VALUE, "'%s' is no time like 2027-11-21T15:47:31Z, 2027-11-21 or 30d", text);
}

result measurements_parse(const char *const *items, size_t count, struct arena *arena, struct measurement_set *out)
{
	struct measurement_set set = {NULL, 0};
	void *room;
	TRY(arena_alloc(arena, count + 1, sizeof(*set.items), &room));
	set.items = room;
	for (size_t i = 0; i < count; i++) {
		struct digest48 digest;
		if (strlen(items[i]) != 2 * SHA384_SIZE || hex_decode(span_str(items[i]), digest.bytes, SHA384_SIZE) != OK)
			return fail(BAD_VALUE, "'%s' is no measurement: 96 hex digits, as `troth ire measure` prints them", items[i]);
		if (!measurement_set_has(&set, digest.bytes))
			set.items[set.count++] = digest;
	}
	TRY(schema_sort(&digest48_schema, set.items, set.count));
	*out = set;
	return OK;
}
