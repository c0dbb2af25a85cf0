/* Trust files: what an auditor writes is read back; what is misspelt, contradicts itself or trusts nobody is not (RC-10). */
#include "fixture.h"

#include <stdlib.h>

#include "groups.h"

static struct host host;
static struct job_fixture job;
static struct bytes text;

static int set_up(void **unused)
{
	host_new(&host, 1);
	job_fixture_new(&job, SHAPE_EXTERNAL, 1);
	text = trust_text(&host, &job);
	return 0;
}

static int tear_down(void **unused)
{
	bytes_free(&text);
	job_fixture_free(&job);
	host_free(&host);
	return 0;
}

static void test_reads_what_was_written(void **unused)
{
	struct trust trust;
	expect_ok(trust_parse("trust.json", bytes_span(&text), &trust));
	assert_int_equal(trust.root_count, 1);
	assert_memory_equal(trust.roots[0].rot_id, host.rot_id, OID_SIZE);
	assert_int_equal(trust.recovery_key_count, 1);
	assert_memory_equal(trust.job_digest, job.digest, SHA256_SIZE);
	assert_int_equal(trust.job.enclave_count, STAGES);
	assert_int_equal(trust.job.edge_count, 4);
	assert_int_equal(trust.job.external_count, 2);
	assert_string_equal(trust.job.outputs[trust.job.output_count - 1].media_type, "text/csv");
	assert_int_equal(trust.max_run_ms, 24 * 3600 * 1000);
	assert_int_equal(trust.skew_ms, 60 * 1000);
	assert_false(trust.allow_synthetic);
	assert_false(trust.has_expires);
	trust_free(&trust);
}

/* The file with its first `from` replaced by `to`. */
static enum reason parse_changed(const char *from, const char *to)
{
	char *old = malloc(text.len + 1);
	assert_non_null(old);
	memcpy(old, text.data, text.len);
	old[text.len] = '\0';
	char *at = strstr(old, from);
	if (!at)
		fail_msg("the trust file does not contain %s", from);
	size_t size = text.len + strlen(to) + 1;
	char *changed = malloc(size);
	assert_non_null(changed);
	snprintf(changed, size, "%.*s%s%s", (int)(at - old), old, to, at + strlen(from));
	struct trust trust;
	result parsed = trust_parse("trust.json", span_str(changed), &trust);
	if (parsed == OK)
		trust_free(&trust);
	free(old);
	free(changed);
	return parsed;
}

static void test_refuses_what_is_wrong(void **unused)
{
	static const struct {
		const char *from, *to;
		enum reason reason;
		const char *said;
	} cases[] = {
		{"\"revoked\": []", "\"revoked\":  []", OK, ""},
		{"\"revoked\"", "\"revokd\"", UNKNOWN_FIELD, "revoked"},
		{"\"skew_s\": 60", "\"skew_s\": \"60\"", BAD_TYPE, "trust.json:"},
		{"\"skew_s\": 60", "\"skew_s\": 60, \"skew_s\": 61", DUPLICATE_KEY, "trust.json:"},
		{"\"allow_synthetic\": false", "\"allow_synthetic\": no", BAD_SYNTAX, "trust.json:"},
		{"\"troth_trust\": 1", "\"troth_trust\": 2", UNKNOWN_VERSION, "version 2"},
		{"\"ledger\": {}", "\"ledger\": {\"a\": 1}", UNKNOWN_FIELD, "trust.json:"},
		{"\"authors\": []", "\"authors\": [\"x\"]", BAD_VALUE, "trust.json:"},
		{"\"name\": \"payroll\"", "\"name\": \"payrol\"", DIGEST_MISMATCH, "digest"},
		{"\"secret\": true", "\"secret\": false", DIGEST_MISMATCH, "digest"},
		{"\"operation\": \"sums\"", "\"operation\": \"any\"", DIGEST_MISMATCH, "digest"},
		{"\"name\": \"payroll\"", "\"name\": \"../x\"", BAD_NAME, "trust.json:"},
		{"\"max_run_s\": 86400", "\"max_run_s\": 99999999999", BAD_VALUE, "trust.json:"},
		{"\"max_run_s\": 86400", "\"max_run_s\": 86400, \"expires\": \"tomorrow\"", BAD_VALUE, "2027"},
		{"\"max_run_s\": 86400", "\"max_run_s\": 86400, \"expires\": \"2099-01-01T00:00:00Z\"", OK, ""},
		{"\"fingerprint\": \"", "\"fingerprint\": \"a", BAD_VALUE, "fingerprint"},
		{"\"inception\": \"", "\"inception\": \"00", OK + 1, ""},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		enum reason reason = parse_changed(cases[i].from, cases[i].to);
		if ((int)cases[i].reason == OK + 1)
			assert_int_not_equal(reason, OK);
		else if (reason != cases[i].reason)
			fail_msg("%s: %s (%s), not %s", cases[i].to, reason_name(reason), failure_text(), reason_name(cases[i].reason));
		if (reason != OK && !strstr(failure_text(), cases[i].said))
			fail_msg("'%s' does not say '%s'", failure_text(), cases[i].said);
	}
}

static void test_says_line_and_column(void **unused)
{
	expect(parse_changed("\"revoked\"", "\"revokd\""), UNKNOWN_FIELD);
	unsigned line = 0, column = 0;
	assert_int_equal(sscanf(failure_text(), "trust.json:%u:%u:", &line, &column), 2);
	assert_true(line > 10 && column >= 1);
}

/* The whole of a list replaced: from `"name": [` to its closing bracket at the same indent. */
static enum reason parse_without(const char *field, const char *value)
{
	char start[64], close[64], *end;
	char *copy = malloc(text.len + 1);
	assert_non_null(copy);
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	snprintf(start, sizeof(start), " \"%s\": [\n", field);
	char *from = strstr(copy, start);
	assert_non_null(from);
	from++;
	int indent = 0;
	while (from - indent > copy && from[-indent - 1] == ' ')
		indent++;
	snprintf(close, sizeof(close), "\n%*s]", indent, "");
	end = strstr(from, close);
	assert_non_null(end);
	size_t size = text.len + strlen(value) + 64;
	char *changed = malloc(size);
	assert_non_null(changed);
	snprintf(changed, size, "%.*s\"%s\": %s%s", (int)(from - copy), copy, field, value, end + strlen(close));
	struct trust trust;
	result parsed = trust_parse("trust.json", span_str(changed), &trust);
	if (parsed == OK)
		trust_free(&trust);
	free(copy);
	free(changed);
	return parsed;
}

static void test_trusts_somebody(void **unused)
{
	expect(parse_without("roots", "[]"), BAD_VALUE);
	assert_non_null(strstr(failure_text(), "trusts nobody"));
	expect(parse_without("tcb", "[]"), BAD_VALUE);
	/* The root names a recovery key; a file that knows none, or another, was written about another root. */
	expect(parse_without("recovery_keys", "[]"), BAD_VALUE);
	expect(parse_without("recovery_keys", "[\"0000000000000000000000000000000000000000000000000000000000000000\"]"), BAD_VALUE);
	expect(parse_without("roots", "{}"), BAD_TYPE);
}

static void test_lists_are_lists(void **unused)
{
	static const char *const lists[] = {"roots", "recovery_keys", "tcb", "enclaves", "edges", "inputs", "outputs", "externals"};
	for (size_t i = 0; i < COUNT_OF(lists); i++) {
		enum reason reason = parse_without(lists[i], "3");
		if (reason != BAD_TYPE)
			fail_msg("%s: %s (%s)", lists[i], reason_name(reason), failure_text());
	}
	/* A list that is empty is one, but the job's digest says what was in it. */
	expect(parse_without("externals", "[]"), DIGEST_MISMATCH);
}

static void test_truncated_everywhere(void **unused)
{
	for (size_t len = 0; len + 2 < text.len; len += 37) {
		struct trust trust;
		assert_int_not_equal(trust_parse("trust.json", span_of(text.data, len), &trust), OK);
	}
}

static void test_refuses_to_write_a_false_root(void **unused)
{
	struct trust_parts parts = {.inceptions = &(struct span){(const uint8_t *)"x", 1}, .inception_count = 1, .job = &job.job};
	struct bytes out = BYTES_EMPTY;
	assert_int_not_equal(trust_write(&parts, &out), OK);
	assert_null(out.data);
}

int trust_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_what_was_written),
		cmocka_unit_test(test_refuses_what_is_wrong),
		cmocka_unit_test(test_says_line_and_column),
		cmocka_unit_test(test_trusts_somebody),
		cmocka_unit_test(test_lists_are_lists),
		cmocka_unit_test(test_truncated_everywhere),
		cmocka_unit_test(test_refuses_to_write_a_false_root),
	};
	return cmocka_run_group_tests_name("trust file", tests, set_up, tear_down);
}
