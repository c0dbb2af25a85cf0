#include "job/pipeline.h"

#include "expect.h"
#include "groups.h"
#include "wire/document.h"

static void parse(const char *text, struct arena *arena, struct pipeline *out)
{
	expect_ok(pipeline_parse(text, arena, out));
}

static void test_words(void **state)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct pipeline p;
	parse("  a 'b c'd\t\"e \\\" f\"  g\\ h ''|A=1 B='x y' i|j C=2\n\n", &arena, &p);
	assert_int_equal(p.count, 3);
	static const char *const words[] = {"a", "b cd", "e \" f", "g h", ""};
	assert_int_equal(p.commands[0].word_count, COUNT_OF(words));
	for (size_t i = 0; i < COUNT_OF(words); i++)
		assert_string_equal(p.commands[0].words[i], words[i]);
	assert_null(p.commands[0].words[COUNT_OF(words)]);
	assert_int_equal(p.commands[1].variable_count, 2);
	assert_string_equal(p.commands[1].variables[1], "B=x y");
	assert_string_equal(p.commands[1].words[0], "i");
	assert_int_equal(p.commands[2].variable_count, 0);
	assert_string_equal(p.commands[2].words[1], "C=2");
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *place;
	} cases[] = {
		{"", "character 1:"},
		{"a |", "character 4:"},
		{"| a", "character 1:"},
		{"a $b", "character 3:"},
		{"a \"$b\"", "character 4:"},
		{"a > b", "character 3:"},
		{"a 'b", "character 3:"},
		{"a \"b", "character 3:"},
		{"a || b", "character 3:"},
		{"a; b", "character 2:"},
		{"a &", "character 3:"},
		{"a *", "character 3:"},
		{"a \\", "character 3:"},
		{"~ a", "character 1:"},
		{"a #b", "character 3:"},
		{"a\nb", "character 2:"},
		{"A=1", "character 4:"},
		{"`a`", "character 1:"},
		{"(a)", "character 1:"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
		struct pipeline p;
		expect(pipeline_parse(cases[i].text, &arena, &p), BAD_SYNTAX);
		if (strncmp(failure_text(), cases[i].place, strlen(cases[i].place)) != 0)
			fail_msg("'%s': %s", cases[i].text, failure_text());
	}
}

static void test_too_many(void **state)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 24);
	char text[4 * PIPELINE_MAX_COMMANDS + 1] = "";
	struct pipeline p;
	for (size_t i = 0; i + 1 < 2 * PIPELINE_MAX_COMMANDS; i++)
		text[i] = i % 2 ? '|' : 'a';
	expect(pipeline_parse(text, &arena, &p), BAD_SYNTAX);
	static char huge[PIPELINE_MAX + 2];
	memset(huge, 'a', PIPELINE_MAX + 1);
	expect(pipeline_parse(huge, &arena, &p), TOO_LARGE);
}

static void test_job_text(void **state)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	CLEANUP(document_free) struct document document = {0};
	struct pipeline p;
	bool has_input;
	parse("X='a\"b' one 'two\\three' | /bin/'f o'", &arena, &p);
	expect_ok(pipeline_job(&p, "name", "/nowhere", PIPELINE_INPUT_GUESS, &text, &has_input));
	assert_true(has_input);
	expect_ok(document_parse("job.yaml", bytes_span(&text), 1 << 20, &document));
	const struct node *stages = node_field(document.root, "enclaves");
	assert_int_equal(stages->count, 2);
	assert_string_equal(node_field(node_field(&stages->children[0], "env"), "X")->text, "a\"b");
	assert_string_equal(node_field(&stages->children[0], "args")->children[0].text, "two\\three");
	assert_string_equal(node_field(&stages->children[1], "name")->text, "2-f_o");
	assert_string_equal(node_field(&stages->children[1], "program")->text, "/bin/f o");
	assert_string_equal(node_field(node_field(document.root, "flow")->children, "to")->text, "2-f_o");
	assert_non_null(node_field(document.root, "inputs"));
}

static void test_input_by_choice(void **state)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct pipeline p;
	bool has_input;
	parse("cat /proc/self/status", &arena, &p);
	for (int choice = PIPELINE_INPUT_YES; choice <= PIPELINE_INPUT_NO; choice++) {
		CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
		expect_ok(pipeline_job(&p, "name", "/nowhere", (enum pipeline_input)choice, &text, &has_input));
		assert_int_equal(has_input, choice == PIPELINE_INPUT_YES);
	}
}

int group_pipeline(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_job_text),
		cmocka_unit_test(test_input_by_choice),
	};
	return cmocka_run_group_tests_name("pipeline", tests, NULL, NULL);
}
