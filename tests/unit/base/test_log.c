#include "base/file.h"
#include "base/log.h"
#include "expect.h"
#include "groups.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

static int sink = -1;

static int start(void **state)
{
	(void)state;
	sink = memfd_create("log", MFD_CLOEXEC);
	log_to(sink);
	return sink < 0;
}

static int stop(void **state)
{
	(void)state;
	log_to(STDERR_FILENO);
	log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_INFO, "troth");
	return close(sink);
}

/* What was logged since the last call, after the time stamp for the human form. */
static const char *logged(void)
{
	static char text[64 * 1024];
	ssize_t n = pread(sink, text, sizeof(text) - 1, 0);
	assert_true(n >= 0);
	text[n] = '\0';
	assert_int_equal(ftruncate(sink, 0), 0);
	assert_int_equal(lseek(sink, 0, SEEK_SET), 0);
	return text;
}

static const char *after_time(const char *line)
{
	assert_true(strlen(line) > 25);
	assert_int_equal(line[24], ' ');
	return line + 25;
}

static void human_lines(void **state)
{
	(void)state;
	log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_INFO, "prog");
	log_info("started");
	assert_string_equal(after_time(logged()), "info prog: started\n");
	log_warning("odd", LOG_TEXT("path", "/a b"), LOG_TEXT("word", "x/y"), LOG_NUMBER("n", -3), LOG_TEXT("none", NULL),
		LOG_HEX("id", span_of("\x01\xff", 2)), LOG_TEXT("empty", ""));
	assert_string_equal(after_time(logged()), "warning prog: odd path=\"/a b\" word=x/y n=-3 none=(none) id=01ff empty=\"\"\n");
}

static void json_lines(void **state)
{
	(void)state;
	log_configure(LOG_FORMAT_JSON, LOG_LEVEL_INFO, "prog");
	log_error("bad \"x\"", LOG_TEXT("a", "\\\n\x7f"), LOG_NUMBER("n", 9), LOG_HEX("h", span_of("\x0a", 1)));
	const char *line = logged();
	assert_memory_equal(line, "{\"time\":\"20", 11);
	assert_string_equal(strchr(line, ',') + 1,
		"\"level\":\"error\",\"program\":\"prog\",\"message\":\"bad \\\"x\\\"\",\"a\":\"\\\\\\u000a\\u007f\",\"n\":9,"
		"\"h\":\"0a\"}\n");
}

static void nobody_forges_a_line(void **state)
{
	static const char nasty[] = "x\n2026 error prog: forged\r\x1b[2J\xc2\x85\xe2\x80\xa8\xe2\x80\xae\xff\xc0\xaf\xed\xa0\x80";
	(void)state;
	log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_INFO, "prog");
	log_info("peer", LOG_TEXT("name", nasty));
	assert_string_equal(after_time(logged()),
		"info prog: peer name=\"x\\x0a2026 error prog: forged\\x0d\\x1b[2J\\xc2\\x85\\xe2\\x80\\xa8\\xe2\\x80\\xae\\xff"
		"\\xc0\\xaf\\xed\\xa0\\x80\"\n");
	log_info("peer", LOG_TEXT("name", "a=b"), LOG_TEXT("town", "Z\xc3\xbcrich \xf0\x9f\x98\x80"));
	assert_string_equal(after_time(logged()), "info prog: peer name=\"a=b\" town=\"Z\xc3\xbcrich \xf0\x9f\x98\x80\"\n");
}

static void levels_are_kept(void **state)
{
	enum log_level level;
	(void)state;
	log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_WARNING, "prog");
	log_info("not this");
	log_debug("nor this");
	assert_string_equal(logged(), "");
	log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_OFF, "prog");
	log_error("nor this");
	assert_string_equal(logged(), "");
	expect_ok(log_level_parse("debug", &level));
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	expect_ok(log_level_parse("off", &level));
	assert_int_equal(level, LOG_LEVEL_OFF);
	expect(log_level_parse("loud", &level), BAD_VALUE);
	assert_int_equal(level, LOG_LEVEL_OFF);
}

static void failures_are_logged_with_reason(void **state)
{
	(void)state;
	log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_INFO, "prog");
	log_failure(LOG_LEVEL_ERROR, "stage", fail(BUSY, "the lock"));
	assert_string_equal(after_time(logged()), "error prog: stage reason=BUSY text=\"the lock\"\n");
}

static void long_lines_are_cut_and_stay_lines(void **state)
{
	char text[3 * LOG_LINE_MAX];
	(void)state;
	for (size_t len = LOG_LINE_MAX - 200; len < LOG_LINE_MAX + 20; len++) {
		memset(text, len % 2 ? 'x' : '\n', len);
		text[len] = '\0';
		log_configure(LOG_FORMAT_JSON, LOG_LEVEL_INFO, "prog");
		log_info("m", LOG_TEXT("a", text), LOG_NUMBER("b", 1), LOG_TEXT("c", text));
		const char *line = logged();
		size_t wrote = strlen(line);
		assert_true(wrote <= LOG_LINE_MAX && wrote > LOG_LINE_MAX - 300);
		assert_string_equal(line + wrote - strlen("\"cut\":true}\n"), "\"cut\":true}\n");
		assert_ptr_equal(strchr(line, '\n'), line + wrote - 1);
		log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_INFO, "prog");
		log_info(text);
		line = logged();
		assert_true(strlen(line) <= LOG_LINE_MAX);
		assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	}
}

static void *log_much(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_info("line", LOG_TEXT("who", arg), LOG_TEXT("more", "0123456789012345678901234567890123456789"));
	return NULL;
}

static void threads_do_not_mix(void **state)
{
	static char names[2][2] = {"a", "b"};
	pthread_t threads[2];
	int lines = 0;
	(void)state;
	log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_INFO, "prog");
	assert_int_equal(fcntl(sink, F_SETFL, O_APPEND), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_much, names[i]), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (const char *line = logged(); *line; line = strchr(line, '\n') + 1, lines++) {
		assert_memory_equal(after_time(line), "info prog: line who=", 20);
		assert_int_equal(strchr(line, '\n') - line, 25 + 20 + 1 + 6 + 40);
	}
	assert_int_equal(lines, 400);
}

int group_log(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(human_lines),
		cmocka_unit_test(json_lines),
		cmocka_unit_test(nobody_forges_a_line),
		cmocka_unit_test(levels_are_kept),
		cmocka_unit_test(failures_are_logged_with_reason),
		cmocka_unit_test(long_lines_are_cut_and_stay_lines),
		cmocka_unit_test(threads_do_not_mix),
	};
	return cmocka_run_group_tests_name("log", tests, start, stop);
}
