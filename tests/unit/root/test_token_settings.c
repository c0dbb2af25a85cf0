/* Where the signing keys lie that are in a token: written, read back, and refused when it cannot be. */
#include "../expect.h"
#include "groups.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "root/token_settings.h"

static char folder[64], file[96];

static int set_up(void **state)
{
	snprintf(folder, sizeof(folder), "/tmp/troth-settings-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(file, sizeof(file), "%s/ap/token.json", folder);
	return 0;
}

static int tear_down(void **state)
{
	expect_ok(file_remove_tree(AT_FDCWD, folder));
	return 0;
}

static struct token_source a_source(void)
{
	static const char *const writable[] = {"/var/lib/tokens", "/run/module", NULL}, *const environment[] = {"SOFTHSM2_CONF=/etc/x \"y\"", NULL};
	return (struct token_source){.module = "/usr/lib/module.so", .label = "a token", .pin_file = "/etc/pin", .network = true, .writable = writable,
		.environment = environment};
}

static void what_was_saved_is_loaded(void **state)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct token_source source = a_source(), back;
	struct stat info;
	expect(token_settings_load(folder, &arena, &back), NOT_FOUND);
	assert_false(token_settings_there(folder));
	expect_ok(token_settings_save(folder, &source));
	assert_true(token_settings_there(folder));
	assert_int_equal(stat(file, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	expect_ok(token_settings_load(folder, &arena, &back));
	assert_string_equal(back.module, "/usr/lib/module.so");
	assert_string_equal(back.label, "a token");
	assert_null(back.serial);
	assert_string_equal(back.pin_file, "/etc/pin");
	assert_true(back.network);
	assert_string_equal(back.writable[0], "/var/lib/tokens");
	assert_string_equal(back.writable[1], "/run/module");
	assert_null(back.writable[2]);
	assert_string_equal(back.environment[0], "SOFTHSM2_CONF=/etc/x \"y\"");
	assert_null(back.environment[1]);
	expect_ok(token_settings_remove(folder));
	expect_ok(token_settings_remove(folder));
	expect(token_settings_load(folder, &arena, &back), NOT_FOUND);
}

static void little_is_enough(void **state)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct token_source source = {.module = "/usr/lib/module.so"}, back;
	expect_ok(token_settings_save(folder, &source));
	expect_ok(token_settings_load(folder, &arena, &back));
	assert_null(back.label);
	assert_null(back.pin_file);
	assert_false(back.network);
	assert_null(back.writable[0]);
	assert_null(back.environment[0]);
}

static void what_cannot_be_is_not_saved(void **state)
{
	struct token_source source = a_source();
	char inside[96];
	const char *list[TOKEN_FOLDERS_MAX + 1] = {NULL};
	source.module = "module.so";
	expect(token_settings_save(folder, &source), BAD_VALUE);
	source = a_source();
	source.pin_file = "pin";
	expect(token_settings_save(folder, &source), BAD_VALUE);
	source = a_source();
	source.writable = list;
	list[0] = "relative";
	expect(token_settings_save(folder, &source), BAD_VALUE);
	list[0] = folder;
	expect(token_settings_save(folder, &source), BAD_VALUE);
	snprintf(inside, sizeof(inside), "%s/tokens", folder);
	list[0] = inside;
	expect(token_settings_save(folder, &source), BAD_VALUE);
	snprintf(inside, sizeof(inside), "%s-beside", folder);
	expect_ok(token_settings_save(folder, &source));
	for (size_t i = 0; i < TOKEN_FOLDERS_MAX; i++)
		list[i] = "/somewhere";
	expect(token_settings_save(folder, &source), BAD_VALUE);
}

static void altered_settings_are_refused(void **state)
{
	static const struct {
		const char *text;
		result reason;
	} cases[] = {
		{"", BAD_SYNTAX},
		{"{", BAD_SYNTAX},
		{"{\"module\": \"/m.so\"}", MISSING_FIELD},
		{"{\"module\": \"/m.so\", \"token\": null, \"serial\": null, \"pin_file\": null, \"network\": \"no\", \"writable\": [], \"environment\": []}",
			BAD_TYPE},
		{"{\"module\": \"/m.so\", \"token\": null, \"serial\": null, \"pin_file\": null, \"network\": false, \"writable\": {}, \"environment\": []}",
			BAD_TYPE},
		{"{\"module\": \"m.so\", \"token\": null, \"serial\": null, \"pin_file\": null, \"network\": false, \"writable\": [], \"environment\": []}",
			BAD_VALUE},
		{"{\"module\": null, \"token\": null, \"serial\": null, \"pin_file\": null, \"network\": false, \"writable\": [], \"environment\": []}",
			BAD_VALUE},
		{"{\"module\": \"/m.so\", \"token\": null, \"serial\": null, \"pin_file\": null, \"network\": false, \"writable\": [], \"environment\": [], "
		 "\"pin\": \"1234\"}",
			UNKNOWN_FIELD},
	};
	struct token_source source = {.module = "/usr/lib/module.so"}, back;
	expect_ok(token_settings_save(folder, &source));
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
		expect_ok(file_write_atomic(file, span_str(cases[i].text), 0600));
		result loaded = token_settings_load(folder, &arena, &back);
		if (loaded != cases[i].reason)
			fail_msg("%s gave %s (%s), not %s", cases[i].text, reason_name(loaded), failure_text(), reason_name(cases[i].reason));
	}
}

int test_token_settings(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		IN_FOLDER(what_was_saved_is_loaded),
		IN_FOLDER(little_is_enough),
		IN_FOLDER(what_cannot_be_is_not_saved),
		IN_FOLDER(altered_settings_are_refused),
	};
	return cmocka_run_group_tests_name("token settings", tests, NULL, NULL);
}
