#include "cmd/options.h"

#include <stdio.h>
#include <stdlib.h>

enum { OPTIONS_MEMORY = 4 << 20 };

static bool help_flag, json_flag; /* targets of the rows that every verb has */
static const struct option_row common[] = {
	{"json", OPTION_FLAG, &json_flag, NULL, "print results and errors as JSON"},
	{"help", OPTION_FLAG, &help_flag, NULL, "this text"},
};

bool options_want_json(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strlen(argv[i]) >= 5 && strncmp("--json", argv[i], strlen(argv[i])) == 0) /* cut short too */
			return true;
	return false;
}

/* ---- Help ------------------------------------------------------------------------------------------ */

static void print_rows(const struct option_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char left[64];
		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].value ? " " : "", rows[i].value ? rows[i].value : "");
		printf("  %-26s %s%s\n", left, strlen(left) > 26 ? "\n                             " : "", rows[i].help);
	}
}

void options_print_help(const struct options *options)
{
	printf("usage: %s %s%s%s\n\n%s\n\n", options->program ? options->program : "troth", options->verb, options->usage[0] ? " " : "",
		options->usage, options->description);
	print_rows(options->rows, options->row_count);
	print_rows(common, COUNT_OF(common));
}

/* ---- Parsing --------------------------------------------------------------------------------------- */

struct parser {
	struct options *options;
	char **argv;
	int argc, at;
	bool *seen; /* by row */
};

static result new_words(struct options *options, int most, struct words *out)
{
	void *at;
	TRY(arena_alloc(&options->arena, (size_t)most + 1, sizeof(*out->items), &at));
	*out = (struct words){at, 0};
	return OK;
}

static void add_word(struct words *words, const char *word)
{
	words->items[words->count++] = word;
}

static const struct option_row *row_at(const struct options *options, size_t at)
{
	return at < options->row_count ? &options->rows[at] : &common[at - options->row_count];
}

/* The option of that name, or the only one that begins so. */
static const struct option_row *find_row(const struct options *options, const char *name, size_t len)
{
	const struct option_row *found = NULL;
	size_t matches = 0;
	for (size_t i = 0; i < options->row_count + COUNT_OF(common); i++) {
		const struct option_row *row = row_at(options, i);
		if (strncmp(row->name, name, len) != 0)
			continue;
		if (strlen(row->name) == len)
			return row;
		found = row;
		matches++;
	}
	return matches == 1 && len >= 3 ? found : NULL;
}

static result take_number(const struct option_row *row, const char *value)
{
	uint64_t number = 0;
	for (const char *at = value; *at; at++) {
		if (*at < '0' || *at > '9' || number > (UINT64_MAX - 9) / 10)
			return fail(USAGE, "--%s needs a number, not '%s'", row->name, value);
		number = number * 10 + (uint64_t)(*at - '0');
	}
	if (!value[0])
		return fail(USAGE, "--%s needs a number", row->name);
	*(uint64_t *)row->target = number;
	return OK;
}

/* "-" alone is a word: it names stdin. */
static bool is_option(const char *word)
{
	return word[0] == '-' && word[1] != '\0';
}

static result take_value(struct parser *parser, const struct option_row *row, const char *value)
{
	struct words *words = row->target;
	switch (row->kind) {
	case OPTION_TEXT:
		*(const char **)row->target = value;
		return OK;
	case OPTION_NUMBER:
		return take_number(row, value);
	case OPTION_LIST:
		if (!words->items)
			TRY(new_words(parser->options, parser->argc, words));
		add_word(words, value);
		return OK;
	case OPTION_WORDS:
		TRY(new_words(parser->options, parser->argc, words));
		add_word(words, value);
		while (parser->at + 1 < parser->argc && !is_option(parser->argv[parser->at + 1]))
			add_word(words, parser->argv[++parser->at]);
		return OK;
	case OPTION_FLAG:
		break;
	}
	return fail(INTERNAL, "--%s", row->name);
}

static result once(struct parser *parser, const struct option_row *row)
{
	const struct options *options = parser->options;
	bool own = row >= options->rows && row < options->rows + options->row_count;
	if (!own || row->kind == OPTION_LIST)
		return OK;
	bool *seen = &parser->seen[row - options->rows];
	if (*seen && row->kind != OPTION_FLAG)
		return fail(USAGE, "--%s stands there twice", row->name);
	*seen = true;
	return OK;
}

static result take_option(struct parser *parser, const char *word)
{
	const char *name = word + 2, *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const struct option_row *row = find_row(parser->options, name, len);
	if (!row)
		return fail(USAGE, "troth %s has no option '--%.*s'", parser->options->verb, (int)len, name);
	TRY(once(parser, row));
	if (row->kind == OPTION_FLAG) {
		if (equals)
			return fail(USAGE, "--%s takes no value", row->name);
		*(bool *)row->target = true;
		return OK;
	}
	if (equals)
		return take_value(parser, row, equals + 1);
	/* `--` ends the options wherever it stands; as a value it is written --name=-- */
	if (parser->at + 1 >= parser->argc || strcmp(parser->argv[parser->at + 1], "--") == 0)
		return fail(USAGE, "--%s needs %s", row->name, row->value);
	return take_value(parser, row, parser->argv[++parser->at]);
}

static void take_rest(struct parser *parser)
{
	while (++parser->at < parser->argc)
		add_word(&parser->options->operands, parser->argv[parser->at]);
}

static result take_word(struct parser *parser)
{
	struct options *options = parser->options;
	const char *word = parser->argv[parser->at];
	if (strcmp(word, "--") == 0) {
		take_rest(parser);
		return OK;
	}
	if (word[0] == '-' && word[1] == '-')
		return take_option(parser, word);
	if (strcmp(word, "-h") == 0) {
		help_flag = true;
		return OK;
	}
	if (word[0] == '-' && word[1] != '\0')
		return fail(USAGE, "'%s' is no option; options begin with --", word);
	add_word(&options->operands, word);
	if (options->command)
		take_rest(parser);
	return OK;
}

static result check_operands(const struct options *options)
{
	if (options->operands.count < options->min_operands)
		return fail(USAGE, "troth %s needs more: troth %s %s", options->verb, options->verb, options->usage);
	if (options->operands.count > options->max_operands)
		return fail(USAGE, "'%s' is one word too many: troth %s %s", options->operands.items[options->max_operands], options->verb,
			options->usage);
	return OK;
}

result options_parse(struct options *options, int argc, char **argv)
{
	void *seen;
	struct parser parser = {.options = options, .argv = argv, .argc = argc};
	options->arena = arena_of(OPTIONS_MEMORY);
	TRY(arena_alloc(&options->arena, options->row_count + 1, sizeof(bool), &seen));
	parser.seen = seen;
	TRY(new_words(options, argc, &options->operands));
	help_flag = json_flag = false;
	for (; parser.at < argc; parser.at++)
		TRY(take_word(&parser));
	options->json = json_flag;
	options->help = help_flag;
	if (options->help) {
		options_print_help(options);
		return OK;
	}
	return check_operands(options);
}

void options_free(struct options *options)
{
	arena_free(&options->arena);
}
