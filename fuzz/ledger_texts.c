/* What people write for a ledger: 0 rules of a scope, 1 an address book, 2 a key in a token, 3 operations, 4 a time. */
#include "crypto/token_uri.h"
#include "ledger/access_text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char scope[] = "troth1vpuuzagexfyalcy9sf3ypvpeq48aarkukrytqr/a";

/* Rules that were read are shown so that they read the same again. */
static void rules(struct span text, struct arena *arena)
{
	struct tx_access access, again;
	if (access_text_parse("rules", text, scope, NULL, arena, &access) != OK)
		return;
	json_t *json = access_text_json(&access);
	char *shown = json ? json_dumps(json, 0) : NULL;
	if (!shown || access_text_parse("rules.json", span_str(shown), scope, NULL, arena, &again) != OK || again.rule_count != access.rule_count)
		abort();
	for (size_t i = 0; i < access.rule_count; i++)
		if (access.rules[i].operations != again.rules[i].operations || strcmp(access.rules[i].scope, again.rules[i].scope) != 0)
			abort();
	free(shown);
	json_decref(json);
}

static void book(struct span text, struct arena *arena)
{
	struct names names;
	uint8_t address[ADDRESS_SIZE];
	if (names_parse("names", text, arena, &names) != OK)
		return;
	for (size_t i = 0; i < names.count; i++)
		if (names_resolve(&names, span_str(names.rows[i].name), address) != OK || memcmp(address, names.rows[i].address, ADDRESS_SIZE) != 0)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	struct token_uri uri;
	uint64_t number;
	const char *word;
	if (size < 1 || arena_string(&arena, span_of(data + 1, size - 1), &word) != OK)
		return 0;
	switch (data[0] % 5) {
	case 0:
		rules(span_of(data + 1, size - 1), &arena);
		break;
	case 1:
		book(span_of(data + 1, size - 1), &arena);
		break;
	case 2:
		(void)!token_uri_parse(word, &arena, &uri);
		break;
	case 3:
		if (operations_parse(word, &number) == OK && number == 0)
			abort();
		break;
	default:
		(void)!when_parse(word, 1800000000000, &number);
	}
	return 0;
}
