/* Command lines: words separated by NUL bytes. Whatever is parsed keeps to the table; every word is accounted for once. */
#include "cmd/options.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static int parse(int argc, char **argv, bool command)
{
	bool flag = false;
	const char *text = NULL;
	uint64_t number = 0;
	struct words list = {0}, words = {0};
	const struct option_row rows[] = {
		{"flag", OPTION_FLAG, &flag, NULL, ""},
		{"text", OPTION_TEXT, &text, "T", ""},
		{"number", OPTION_NUMBER, &number, "N", ""},
		{"list", OPTION_LIST, &list, "L", ""},
		{"words", OPTION_WORDS, &words, "W...", ""},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "fuzz",
		.usage = "",
		.description = "",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 3,
		.command = command,
	};
	result parsed = options_parse(&options, argc, argv);
	must(parsed == OK || parsed == USAGE);
	if (parsed != OK)
		return 0;
	must(options.operands.count >= 1 && options.operands.count <= 3);
	must(options.operands.count + list.count + words.count <= (size_t)argc);
	must(options.json == false || options_want_json(argc, argv) || command);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { MOST = 64 };
	char *argv[MOST + 1], *text = malloc(size + 1);
	int argc = 0;
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	for (size_t at = 0; at < size && argc < MOST; at += strlen(text + at) + 1) {
		argv[argc++] = text + at;
		/* Help is printed, and says nothing here. */
		if (strncmp(text + at, "-h", 2) == 0 || strncmp(text + at, "--h", 3) == 0)
			argc--;
	}
	argv[argc] = NULL;
	parse(argc, argv, false);
	parse(argc, argv, true);
	free(text);
	return 0;
}
