/* Event logs: what they lead to, and logs that are damaged, forged or built to hurt (EV-34, 35, 36). */
#include "expect.h"

#include "groups.h"
#include "platform.h"

#include <stdlib.h>

static void le(struct writer *w, size_t width, uint32_t value)
{
	for (size_t i = 0; i < width; i++)
		writer_u8(w, (uint8_t)(value >> (8 * i)));
}

static void put_header(struct writer *w, uint32_t algorithms)
{
	static const uint8_t zeros[20] = {0};
	le(w, 4, 0);
	le(w, 4, EV_NO_ACTION);
	writer_span(w, SPAN_ARRAY(zeros));
	le(w, 4, 16 + 8 + 4 + 4 + 1);
	writer_put(w, "Spec ID Event03", 16);
	le(w, 4, 0);
	writer_put(w, "\0\2\0\2", 4);
	le(w, 4, algorithms);
	le(w, 2, TPM_SHA256);
	le(w, 2, 32);
	writer_u8(w, 0);
}

struct put {
	uint32_t pcr, type;
	struct span data;
	uint32_t digest_count, declared; /* 0: as they are */
	bool lie;			 /* the digest is another one */
};

static void put_event(struct writer *w, struct put e)
{
	uint8_t digest[32];
	sha256(e.data, digest);
	digest[0] ^= e.lie;
	le(w, 4, e.pcr);
	le(w, 4, e.type);
	le(w, 4, e.digest_count ? e.digest_count : 1);
	le(w, 2, TPM_SHA256);
	writer_span(w, SPAN_ARRAY(digest));
	le(w, 4, e.declared ? e.declared : (uint32_t)e.data.len);
	writer_span(w, e.data);
}

static const uint8_t zeros[4], failed[4] = {1, 0, 0, 0};
#define SEPARATOR(n) ((struct put){.pcr = n, .type = EV_SEPARATOR, .data = SPAN_ARRAY(zeros)})

static result replay(struct writer *w, struct replay *out)
{
	struct span all;
	expect_ok(writer_finish(w, &all));
	return event_log_replay(all, TPM_SHA256, out);
}

static void replays_a_log(void **state)
{
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	struct replay r;
	uint8_t input[64] = {0};
	put_header(&w, 1);
	put_event(&w, (struct put){.pcr = 0, .type = EV_NO_ACTION, .data = span_of("StartupLocality\0\3", 17)});
	put_event(&w, (struct put){.pcr = 0, .type = EV_ACTION, .data = span_str("start")});
	put_event(&w, (struct put){.pcr = 14, .type = 0xd, .data = span_str("anything"), .lie = true});
	put_event(&w, SEPARATOR(0));
	expect_ok(replay(&w, &r));
	assert_int_equal(r.touched, 1u | 1u << 14);
	assert_int_equal(r.separators, 1);
	assert_int_equal(r.unbound, 1);
	input[31] = 3;
	sha256(span_str("start"), input + 32);
	sha256(SPAN_ARRAY(input), input);
	sha256(SPAN_ARRAY(zeros), input + 32);
	sha256(SPAN_ARRAY(input), input);
	expect_span(span_of(r.value[0], 32), span_of(input, 32));
	struct pcr_value right = {TPM_SHA256, 0, span_of(input, 32)};
	struct span all;
	expect_ok(writer_finish(&w, &all));
	expect_ok(tpm_log_check(all, TPM_SHA256, &right, 1, 0xff, &r));
	expect(tpm_log_check(all, TPM_SHA256, &right, 1, 0xffffff, &r), EVENT_LOG_MISMATCH); /* PCR 14 is not covered */
	input[0] ^= 1;
	expect(tpm_log_check(all, TPM_SHA256, &right, 1, 0xff, &r), EVENT_LOG_MISMATCH);
	expect(event_log_replay(all, TPM_SHA384, &r), TPM_WRONG_BANK);
	expect(event_log_replay(all, 0x12, &r), TPM_WRONG_BANK);
}

static void ev34_duplicate_separators(void **state)
{
	for (uint32_t pcr = 0; pcr < 8; pcr++) {
		CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
		struct replay r;
		put_header(&w, 1);
		put_event(&w, SEPARATOR(pcr));
		expect_ok(replay(&w, &r));
		put_event(&w, (struct put){.pcr = pcr, .type = EV_ACTION, .data = span_str("after")});
		put_event(&w, SEPARATOR(pcr));
		expect(replay(&w, &r), EVENT_SEPARATOR_WRONG);
	}
}

static void separator_of_a_failed_boot(void **state)
{
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	struct replay r;
	put_header(&w, 1);
	put_event(&w, (struct put){.pcr = 3, .type = EV_SEPARATOR, .data = SPAN_ARRAY(failed)});
	expect(replay(&w, &r), EVENT_SEPARATOR_WRONG);
}

static void ev35_data_is_not_its_digest(void **state)
{
	static const uint32_t bound[] = {EV_SEPARATOR, EV_ACTION, EV_NONHOST_INFO, 0x80000001, 0x80000006, 0x80000007};
	for (size_t i = 0; i < COUNT_OF(bound); i++) {
		CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
		struct replay r;
		put_header(&w, 1);
		put_event(&w, (struct put){.pcr = 5, .type = bound[i], .data = SPAN_ARRAY(zeros), .lie = true});
		expect(replay(&w, &r), EVENT_DIGEST_MISMATCH);
	}
}

static void ev36_counts_and_sizes(void **state)
{
	static const struct put wrong[] = {{.digest_count = 2}, {.digest_count = 0xffffffff}, {.declared = 5}, {.declared = 0x7fffffff},
		{.declared = 0xffffffff}, {.pcr = 24}, {.pcr = 0xfffffffe}};
	struct replay r;
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
		struct put e = wrong[i];
		e.type = EV_ACTION;
		e.data = SPAN_ARRAY(zeros);
		put_header(&w, 1);
		put_event(&w, e);
		result replayed = replay(&w, &r);
		assert_true(replayed == EVENT_LOG_DAMAGED || replayed == TOO_LARGE);
	}
	static const uint32_t algorithms[] = {0, 2, 9, 0xffffffff};
	for (size_t i = 0; i < COUNT_OF(algorithms); i++) {
		CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
		put_header(&w, algorithms[i]);
		expect(replay(&w, &r), EVENT_LOG_DAMAGED);
	}
}

/* More events than a log may have end in a refusal, in bounded time. */
static void too_many_events(void **state)
{
	struct writer w = writer_growing(EVENT_LOG_MAX);
	struct replay r;
	put_header(&w, 1);
	for (size_t i = 0; i <= EVENT_LOG_EVENTS_MAX; i++)
		put_event(&w, (struct put){.pcr = 9, .type = 0xd, .data = SPAN_ARRAY(zeros)});
	expect(replay(&w, &r), TOO_LARGE);
	writer_free(&w);
}

static void every_cut(void **state)
{
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	struct replay r;
	struct span all;
	put_header(&w, 1);
	size_t header = w.len;
	put_event(&w, SEPARATOR(0));
	size_t first = w.len;
	put_event(&w, SEPARATOR(1));
	expect_ok(writer_finish(&w, &all));
	for (size_t cut = 0; cut < all.len; cut++)
		if (cut != header && cut != first)
			assert_true(event_log_replay(span_of(all.data, cut), TPM_SHA256, &r) != OK);
	/* What a firmware's area holds behind the log. */
	writer_put(&w, (uint8_t[64]){0}, 64);
	expect_ok(replay(&w, &r));
	writer_put(&w, "x", 1);
	assert_true(replay(&w, &r) != OK);
}

static void canonical_log_in_tlv(void **state)
{
	static const uint8_t content[] = {80, 0, 0, 0, 2, 'h', 'i'};
	uint8_t digest[32];
	struct replay r;
	sha256(SPAN_ARRAY(content), digest);
	for (int fault = 0; fault < 5; fault++) {
		CLEANUP(writer_free) struct writer w = writer_growing(4096);
		for (uint64_t i = 0; i < 2; i++) {
			writer_u8(&w, 0);
			writer_u32(&w, 8);
			writer_u64(&w, fault == 1 && i ? 7 : i);
			writer_u8(&w, 1);
			writer_u32(&w, 1);
			writer_u8(&w, fault == 2 && i ? 24 : 13);
			writer_u8(&w, 3);
			writer_u32(&w, fault == 3 && i ? 0xffffffff : 5 + 32);
			writer_u8(&w, TPM_SHA256);
			writer_u32(&w, fault == 4 && i ? 31 : 32);
			writer_span(&w, SPAN_ARRAY(digest));
			writer_span(&w, SPAN_ARRAY(content));
		}
		result replayed = replay(&w, &r);
		if (fault == 0) {
			expect_ok(replayed);
			assert_int_equal(r.touched, 1u << 13);
			assert_int_equal(r.events, 2);
		} else {
			assert_true(replayed == EVENT_LOG_DAMAGED || replayed == TOO_LARGE);
		}
	}
}

int event_log_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replays_a_log),
		cmocka_unit_test(ev34_duplicate_separators),
		cmocka_unit_test(separator_of_a_failed_boot),
		cmocka_unit_test(ev35_data_is_not_its_digest),
		cmocka_unit_test(ev36_counts_and_sizes),
		cmocka_unit_test(too_many_events),
		cmocka_unit_test(every_cut),
		cmocka_unit_test(canonical_log_in_tlv),
	};
	return cmocka_run_group_tests_name("event log", tests, NULL, NULL);
}
