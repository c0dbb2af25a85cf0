/* The outer form: a receipt that anybody changed after it was signed, or never was one (RC-01, RC-02, RC-06, RC-11). */
#include "fixture.h"

#include <stdlib.h>
#include <time.h>

#include "groups.h"

static struct host host;
static struct job_fixture job;
static struct trust trust;
static struct run first, second;

static int set_up(void **unused)
{
	host_new(&host, 1);
	job_fixture_new(&job, SHAPE_PLAIN, 1);
	trust_make(&host, &job, &trust);
	run_make(&host, &job, NO_TWEAK, NULL, &first);
	run_make(&host, &job, NO_TWEAK, NULL, &second);
	return 0;
}

static int tear_down(void **unused)
{
	run_free(&first);
	run_free(&second);
	trust_free(&trust);
	job_fixture_free(&job);
	host_free(&host);
	return 0;
}

static enum verify_verdict verdict_of(struct span receipt)
{
	struct verify_report report;
	struct verify_options options = {.trust = &trust, .receipt = receipt, .threads = 1};
	expect_ok(receipt_verify(&options, &report));
	enum verify_verdict verdict = report.verdict;
	assert_true((verdict == VERDICT_ACCEPTED) == (verify_first_failure(&report) == NULL));
	verify_report_free(&report);
	return verdict;
}

/* Puts the checksum right again: what a forger would do first. */
static void repair(struct bytes *receipt)
{
	sha256(span_of(receipt->data, receipt->len - 34), receipt->data + receipt->len - 32);
}

static void test_one_flipped_bit_in_every_byte(void **unused)
{
	CLEANUP(bytes_free) struct bytes receipt = BYTES_EMPTY;
	expect_ok(bytes_copy(bytes_span(&first.receipt), &receipt));
	assert_int_equal(verdict_of(bytes_span(&receipt)), VERDICT_ACCEPTED);
	size_t accepted = 0;
	for (size_t i = 0; i < receipt.len; i++) {
		receipt.data[i] ^= (uint8_t)(1u << (i % 8));
		accepted += verdict_of(bytes_span(&receipt)) != VERDICT_REFUSED;
		receipt.data[i] ^= (uint8_t)(1u << (i % 8));
	}
	assert_int_equal(accepted, 0);
}

/* The same with a checksum that fits: now digests and signatures must find it. */
static void test_one_flipped_bit_in_every_byte_with_the_checksum_made_right(void **unused)
{
	CLEANUP(bytes_free) struct bytes receipt = BYTES_EMPTY;
	expect_ok(bytes_copy(bytes_span(&first.receipt), &receipt));
	size_t accepted = 0;
	for (size_t i = 0; i + 34 < receipt.len; i++) {
		receipt.data[i] ^= (uint8_t)(0x80u >> (i % 8));
		repair(&receipt);
		accepted += verdict_of(bytes_span(&receipt)) != VERDICT_REFUSED;
		receipt.data[i] ^= (uint8_t)(0x80u >> (i % 8));
	}
	assert_int_equal(accepted, 0);
}

static void test_truncated_and_extended(void **unused)
{
	CLEANUP(bytes_free) struct bytes longer = BYTES_EMPTY;
	size_t accepted = 0;
	for (size_t len = 0; len < first.receipt.len; len++)
		accepted += verdict_of(span_of(first.receipt.data, len)) != VERDICT_REFUSED;
	assert_int_equal(accepted, 0);
	longer.data = calloc(1, first.receipt.len + 1);
	assert_non_null(longer.data);
	longer.len = first.receipt.len + 1;
	memcpy(longer.data, first.receipt.data, first.receipt.len);
	assert_int_equal(verdict_of(bytes_span(&longer)), VERDICT_REFUSED);
}

/* Each section of another run in the place of this run's, under this run's head. */
static void test_spliced_sections(void **unused)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct receipt mine, theirs;
	expect_ok(receipt_decode(bytes_span(&first.receipt), &arena, &mine));
	expect_ok(receipt_decode(bytes_span(&second.receipt), &arena, &theirs));
	size_t differing = 0;
	for (size_t i = 0; i < mine.section_count; i++) {
		CLEANUP(bytes_free) struct bytes spliced = BYTES_EMPTY;
		struct receipt_section kept = mine.sections[i];
		bool same = span_equal(kept.bytes, theirs.sections[i].bytes);
		differing += !same;
		mine.sections[i] = theirs.sections[i];
		expect_ok(receipt_encode(mine.head, mine.sections, mine.section_count, &spliced));
		assert_int_equal(verdict_of(bytes_span(&spliced)), same ? VERDICT_ACCEPTED : VERDICT_REFUSED);
		mine.sections[i] = kept;
	}
	/* Epoch, manifests, policies and job are the same in every run of a job on a host. */
	assert_int_equal(differing, 6);
}

static void test_head_of_another_run(void **unused)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes spliced = BYTES_EMPTY;
	struct receipt mine, theirs;
	expect_ok(receipt_decode(bytes_span(&first.receipt), &arena, &mine));
	expect_ok(receipt_decode(bytes_span(&second.receipt), &arena, &theirs));
	expect_ok(receipt_encode(theirs.head, mine.sections, mine.section_count, &spliced));
	assert_int_equal(verdict_of(bytes_span(&spliced)), VERDICT_REFUSED);
}

static void test_sections_missing_doubled_and_reordered(void **unused)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct receipt mine;
	struct receipt_section sections[RECEIPT_SECTIONS + 1];
	expect_ok(receipt_decode(bytes_span(&first.receipt), &arena, &mine));
	for (size_t i = 0; i < mine.section_count; i++) {
		CLEANUP(bytes_free) struct bytes missing = BYTES_EMPTY;
		CLEANUP(bytes_free) struct bytes doubled = BYTES_EMPTY;
		CLEANUP(bytes_free) struct bytes swapped = BYTES_EMPTY;
		memcpy(sections, mine.sections, sizeof(*sections) * mine.section_count);
		memmove(sections + i, sections + i + 1, sizeof(*sections) * (mine.section_count - i - 1));
		expect_ok(receipt_encode(mine.head, sections, mine.section_count - 1, &missing));
		assert_int_equal(verdict_of(bytes_span(&missing)), VERDICT_REFUSED);
		memcpy(sections, mine.sections, sizeof(*sections) * mine.section_count);
		sections[mine.section_count] = mine.sections[i];
		expect_ok(receipt_encode(mine.head, sections, mine.section_count + 1, &doubled));
		assert_int_equal(verdict_of(bytes_span(&doubled)), VERDICT_REFUSED);
		size_t next = (i + 1) % mine.section_count;
		sections[i] = mine.sections[next];
		sections[next] = mine.sections[i];
		expect_ok(receipt_encode(mine.head, sections, mine.section_count, &swapped));
		assert_int_equal(verdict_of(bytes_span(&swapped)), VERDICT_REFUSED);
	}
}

static uint64_t cpu_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Declared counts and nesting that nothing stands behind cost nothing. */
static void test_bombs(void **unused)
{
	static const uint8_t counts[][12] = {
		{0xa3, 0x01, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0xa3, 0x01, 0x40, 0x02, 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	};
	for (size_t i = 0; i < COUNT_OF(counts); i++)
		assert_int_equal(verdict_of(SPAN_ARRAY(counts[i])), VERDICT_REFUSED);
	uint8_t *deep = malloc(1 << 20);
	assert_non_null(deep);
	memset(deep, 0x81, 1 << 20);
	uint64_t from = cpu_ms();
	assert_int_equal(verdict_of(span_of(deep, 1 << 20)), VERDICT_REFUSED);
	assert_true(cpu_ms() - from < 1000);
	free(deep);
}

/* A genuine head over a chain of a hundred thousand records: refused by their number, before any signature is checked. */
static void test_more_records_than_the_job_has(void **unused)
{
	struct verify_report report;
	run_free(&second);
	run_make(&host, &job, MANY_RECORDS, NULL, &second);
	struct verify_options options = {.trust = &trust, .receipt = bytes_span(&second.receipt), .threads = 1};
	uint64_t from = cpu_ms();
	expect_ok(receipt_verify(&options, &report));
	assert_true(cpu_ms() - from < 2000);
	assert_int_equal(report.verdict, VERDICT_REFUSED);
	assert_string_equal(verify_first_failure(&report)->name, "chain.size");
	assert_int_equal(verify_first_failure(&report)->reason, DAC_EXTRA_NODE);
	verify_report_free(&report);
}

int tamper_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_flipped_bit_in_every_byte),
		cmocka_unit_test(test_one_flipped_bit_in_every_byte_with_the_checksum_made_right),
		cmocka_unit_test(test_truncated_and_extended),
		cmocka_unit_test(test_spliced_sections),
		cmocka_unit_test(test_head_of_another_run),
		cmocka_unit_test(test_sections_missing_doubled_and_reordered),
		cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_more_records_than_the_job_has),
	};
	return cmocka_run_group_tests_name("receipt tampered with", tests, set_up, tear_down);
}
