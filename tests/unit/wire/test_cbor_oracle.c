/*
 * Differential test: whatever our decoder accepts, libcbor reads too, to the same length. The other direction
 * does not hold: libcbor takes much that is not deterministic, and allocates what an input declares.
 */
#include "wire_test.h"

#include "cbor_samples.h"
#include "libcbor_oracle.h"
#include "wire/cbor.h"

/* libcbor calls the tags 6 to 20 malformed, as they were unassigned once; RFC 8949 does not. */
static bool holds_tag_of_another_time(struct reader *r)
{
	enum cbor_type type;
	struct span item;
	uint64_t tag;
	size_t count = 0;
	bool found = false;
	expect_ok(cbor_peek(r, &type));
	if (type == CBOR_TAG) {
		expect_ok(cbor_read_tag(r, &tag));
		return holds_tag_of_another_time(r) || (tag >= 6 && tag <= 20);
	}
	if (type != CBOR_ARRAY && type != CBOR_MAP) {
		expect_ok(cbor_read_any(r, &item));
		return false;
	}
	expect_ok(type == CBOR_ARRAY ? cbor_read_array(r, &count) : cbor_read_map(r, &count));
	for (size_t i = 0; i < (type == CBOR_MAP ? 2 * count : count); i++)
		found = holds_tag_of_another_time(r) || found;
	return found;
}

static void assert_oracle_agrees(struct span bytes)
{
	struct reader r = reader_of(bytes);
	if (holds_tag_of_another_time(&r))
		return;
	if (!libcbor_reads_all(bytes.data, bytes.len)) {
		CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
		cbor_diagnose(bytes, &w);
		writer_u8(&w, 0);
		fail_msg("libcbor does not read %s", (const char *)w.data);
	}
}

/* A random item of the subset. Map keys are counted up, so they are in order. */
static void put_random(struct writer *w, uint64_t *seed, int depth)
{
	uint64_t kind = next_random(seed) % (depth > 0 ? 10 : 6), value = next_random(seed) >> (next_random(seed) % 64);
	uint8_t bytes[300];
	size_t len = value % sizeof(bytes), count = value % 6;
	memset(bytes, 'a' + (int)(value % 20), sizeof(bytes));
	switch (kind) {
	case 0:
		cbor_put_uint(w, value);
		break;
	case 1:
		cbor_put_int(w, -1 - (int64_t)(value >> 1));
		break;
	case 2:
		cbor_put_bytes(w, span_of(bytes, len));
		break;
	case 3:
		cbor_put_text(w, span_of(bytes, len));
		break;
	case 4:
		cbor_put_bool(w, value & 1);
		break;
	case 5:
		cbor_put_null(w);
		break;
	case 6:
		cbor_put_tag(w, 100 + value % 100000);
		put_random(w, seed, depth - 1);
		break;
	case 7:
	case 8:
		cbor_put_array(w, count);
		for (size_t i = 0; i < count; i++)
			put_random(w, seed, depth - 1);
		break;
	default:
		cbor_put_map(w, count);
		for (size_t i = 0; i < count; i++) {
			cbor_put_uint(w, i * 20);
			put_random(w, seed, depth - 1);
		}
	}
}

static void oracle_on_the_examples(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cbor_samples); i++) {
		CLEANUP(bytes_free) struct bytes bytes = unhex(cbor_samples[i].hex);
		if (cbor_samples[i].verdict == OK)
			assert_oracle_agrees(bytes_span(&bytes));
	}
}

/* Random items are accepted by both; with one byte changed, what we still accept libcbor accepts. */
static void oracle_on_random_items(void **state)
{
	uint64_t seed = 0x5eed0002;
	size_t still_accepted = 0;
	for (size_t round = 0; round < 5000; round++) {
		CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
		put_random(&w, &seed, 6);
		struct span item;
		expect_ok(writer_finish(&w, &item));
		expect_ok(cbor_validate(item));
		assert_oracle_agrees(item);
		for (size_t change = 0; change < 20; change++) {
			size_t at = next_random(&seed) % item.len;
			uint8_t before = w.data[at];
			w.data[at] = (uint8_t)next_random(&seed);
			if (cbor_validate(item) == OK) {
				assert_oracle_agrees(item);
				still_accepted++;
			}
			w.data[at] = before;
		}
	}
	assert_true(still_accepted > 1000);
}

int run_cbor_oracle_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(oracle_on_the_examples),
		cmocka_unit_test(oracle_on_random_items),
	};
	return cmocka_run_group_tests_name("cbor oracle", tests, NULL, NULL);
}
