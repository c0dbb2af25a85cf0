#include "cmd/options.h"

#include "expect.h"

static bool flag;
static const char *text;
static uint64_t number;
static struct words list, words;
static const struct option_row rows[] = {
	{"flag", OPTION_FLAG, &flag, NULL, "a flag"},
	{"text", OPTION_TEXT, &text, "T", "a text"},
	{"textile", OPTION_TEXT, &text, "T", "begins like another"},
	{"number", OPTION_NUMBER, &number, "N", "a number"},
	{"list", OPTION_LIST, &list, "L", "several"},
	{"words", OPTION_WORDS, &words, "W...", "as many as follow"},
};

static struct options table(bool command)
{
	flag = false;
	text = NULL;
	number = 0;
	list = words = (struct words){0};
	return (struct options){.verb = "test",
		.usage = "X",
		.description = "d",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 2,
		.command = command};
}

/* Parses the words that follow; NULL ends them. */
static result parse(struct options *options, const char *const *argv)
{
	int argc = 0;
	while (argv[argc])
		argc++;
	return options_parse(options, argc, (char **)argv);
}

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_every_kind(void **state)
{
	CLEANUP(options_free) struct options options = table(false);
	expect_ok(parse(&options,
		ARGV("a", "--flag", "--text", "--odd", "--number=18446744073709551600", "--list", "1", "--list=2", "--words", "x", "-",
			"--json", "b")));
	assert_true(flag && options.json && !options.help);
	assert_string_equal(text, "--odd"); /* an option's value is its value, whatever it looks like */
	assert_true(number == 18446744073709551600ULL);
	assert_int_equal(list.count, 2);
	assert_string_equal(list.items[1], "2");
	assert_int_equal(words.count, 2); /* "-" is a word */
	assert_int_equal(options.operands.count, 2);
	assert_string_equal(options.operands.items[1], "b");
}

static void test_short_forms(void **state)
{
	CLEANUP(options_free) struct options options = table(false);
	expect_ok(parse(&options, ARGV("--num", "7", "--text", "t", "--texti=u", "--", "--flag")));
	assert_int_equal(number, 7);
	assert_string_equal(text, "u");
	assert_false(flag);
	assert_string_equal(options.operands.items[0], "--flag");
}

static void test_a_command_is_taken_as_it_is(void **state)
{
	CLEANUP(options_free) struct options options = table(true);
	expect_ok(parse(&options, ARGV("--flag", "sort", "--json")));
	assert_true(flag && !options.json);
	assert_int_equal(options.operands.count, 2);
	assert_string_equal(options.operands.items[1], "--json");
	assert_null(options.operands.items[2]);
}

static void test_refused(void **state)
{
	const char *const *const cases[] = {
		ARGV("--flag"),
		ARGV("a", "b", "c"),
		ARGV("a", "--none"),
		ARGV("a", "--text"),
		ARGV("a", "--number", "x"),
		ARGV("a", "--number="),
		ARGV("a", "--number", "18446744073709551616"),
		ARGV("a", "--number", "-1"),
		ARGV("a", "--flag=1"),
		ARGV("a", "-f"),
		ARGV("a", "--text", "1", "--text", "2"),
		ARGV("a", "--words", "x", "--words", "y"),
		ARGV("a", "--te", "x"),
		ARGV("a", "--n", "1"),
		ARGV("a", "--=x"),
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		CLEANUP(options_free) struct options options = table(false);
		result parsed = parse(&options, cases[i]);
		if (parsed != USAGE || !failure_text()[0])
			fail_msg("case %zu: %s", i, reason_name(parsed));
	}
}

static void test_json_is_seen_before_parsing(void **state)
{
	char json[] = "--json", end[] = "--", word[] = "a";
	assert_true(options_want_json(2, (char *[]){word, json}));
	assert_false(options_want_json(2, (char *[]){end, json}));
	assert_false(options_want_json(0, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind),
		cmocka_unit_test(test_short_forms),
		cmocka_unit_test(test_a_command_is_taken_as_it_is),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_json_is_seen_before_parsing),
	};
	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
