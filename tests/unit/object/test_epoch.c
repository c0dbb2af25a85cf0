/* Inception records: what is accepted, and each way to be refused. */
#include "../expect.h"

#include "groups.h"
#include "samples.h"

struct fixture {
	struct sample_keys keys;
	struct epoch good;
	struct digest32 recovery[2];
	struct arena arena;
};

static void fixture_make(struct fixture *f)
{
	struct sample samples[SAMPLE_COUNT];
	sample_keys_make(&f->keys);
	samples_make(&f->keys, samples);
	for (size_t i = 0; i < SAMPLE_COUNT; i++)
		if (strcmp(samples[i].name, "inception") == 0)
			f->good = *(const struct epoch *)samples[i].object;
	memcpy(f->recovery, f->good.recovery.keys, sizeof(f->recovery));
	f->good.recovery.keys = f->recovery;
	f->arena = arena_of(1 << 20);
}

static void fixture_free(struct fixture *f)
{
	sample_keys_free(&f->keys);
	arena_free(&f->arena);
}

static result open_signed(struct fixture *f, const struct epoch *epoch, const struct key *const *keys, size_t count,
	const char *label, uint8_t oid[static OID_SIZE])
{
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY, object = BYTES_EMPTY;
	struct epoch out;
	expect_ok(schema_encode(&epoch_schema, epoch, &payload));
	expect_ok(cose_strict_sign_make(bytes_span(&payload), label, keys, count, &object));
	return epoch_open_inception(bytes_span(&object), &f->arena, &out, oid);
}

static result open_one(struct fixture *f, const struct epoch *epoch)
{
	const struct key *keys[] = {&f->keys.root_sign};
	uint8_t oid[OID_SIZE];
	return open_signed(f, epoch, keys, 1, "troth epoch", oid);
}

static void accepts_a_first_record(void **unused)
{
	struct fixture f;
	fixture_make(&f);
	expect_ok(open_one(&f, &f.good));
	f.good.has_recovery = false;
	expect_ok(open_one(&f, &f.good));
	fixture_free(&f);
}

#define CASE(change, wanted)                                                                                           \
	do {                                                                                                           \
		struct epoch e = f.good;                                                                               \
		change;                                                                                                \
		expect(open_one(&f, &e), wanted);                                                                      \
	} while (0)

static void refuses_by_field(void **unused)
{
	struct fixture f;
	fixture_make(&f);
	CASE(e.era = 1, BAD_VALUE);
	CASE(e.epoch = 2, BAD_VALUE);
	CASE(e.epoch = 0, BAD_VALUE);
	CASE(e.reason = EPOCH_SCHEDULED, BAD_VALUE);
	CASE(e.rot_id[31] = 1, BAD_VALUE);
	CASE(e.prev[0] = 1, BAD_VALUE);
	CASE(e.suite = SUITE_P256_MLKEM768, UNSUPPORTED_ALGORITHM);
	CASE(e.not_after = e.not_before, BAD_VALUE);
	CASE(e.recovery.k = 0, BAD_VALUE);
	CASE(e.recovery.k = 3, BAD_VALUE);
	CASE(e.recovery.n = 3, BAD_VALUE);
	CASE(e.recovery.key_count = 1, BAD_VALUE);
	CASE(e.kem_pk[64] ^= 1, BAD_POINT);
	CASE(e.sign_pk[64] ^= 1, BAD_POINT);
	CASE(memcpy(e.sign_pk, f.keys.enclave_sign.point, POINT_SIZE), BAD_SIGNATURE);
	fixture_free(&f);
}

static void refuses_by_signature(void **unused)
{
	struct fixture f;
	fixture_make(&f);
	const struct key *other[] = {&f.keys.enclave_sign}, *two[] = {&f.keys.root_sign, &f.keys.enclave_sign};
	const struct key *own[] = {&f.keys.root_sign};
	uint8_t oid[OID_SIZE];
	expect(open_signed(&f, &f.good, other, 1, "troth epoch", oid), BAD_SIGNATURE);
	expect(open_signed(&f, &f.good, two, 2, "troth epoch", oid), BAD_VALUE);
	expect(open_signed(&f, &f.good, own, 1, "troth halt", oid), BAD_SIGNATURE);
	fixture_free(&f);
}

static void the_id_is_of_the_body(void **unused)
{
	struct fixture f;
	uint8_t first[OID_SIZE] = {1}, second[OID_SIZE] = {2};
	fixture_make(&f);
	const struct key *own[] = {&f.keys.root_sign};
	expect_ok(open_signed(&f, &f.good, own, 1, "troth epoch", first));
	expect_ok(open_signed(&f, &f.good, own, 1, "troth epoch", second));
	assert_memory_equal(first, second, OID_SIZE);
	f.good.grace_s++;
	expect_ok(open_signed(&f, &f.good, own, 1, "troth epoch", second));
	assert_memory_not_equal(first, second, OID_SIZE);
	fixture_free(&f);
}

static void damage_is_refused(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY, object = BYTES_EMPTY;
	uint8_t oid[OID_SIZE];
	struct epoch out;
	fixture_make(&f);
	const struct key *own[] = {&f.keys.root_sign};
	expect_ok(schema_encode(&epoch_schema, &f.good, &payload));
	expect_ok(cose_strict_sign_make(bytes_span(&payload), "troth epoch", own, 1, &object));
	for (size_t bit = 0; bit < 8 * object.len; bit += 3) {
		struct arena arena = arena_of(1 << 16);
		object.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(epoch_open_inception(bytes_span(&object), &arena, &out, oid), OK);
		object.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		arena_free(&arena);
	}
	for (size_t len = 0; len < object.len; len += 7)
		assert_int_not_equal(epoch_open_inception(span_of(object.data, len), &f.arena, &out, oid), OK);
	fixture_free(&f);
}

static void the_next_commitment_hashes_its_parts(void **unused)
{
	struct fixture f;
	uint8_t salt[32] = {9}, got[SHA256_SIZE], expected[SHA256_SIZE], input[14 + 2 * POINT_SIZE + 32];
	fixture_make(&f);
	memcpy(input, "troth rot next", 14);
	memcpy(input + 14, f.keys.root_sign.point, POINT_SIZE);
	memcpy(input + 14 + POINT_SIZE, f.keys.root_kem.point, POINT_SIZE);
	memcpy(input + 14 + 2 * POINT_SIZE, salt, 32);
	sha256(SPAN_ARRAY(input), expected);
	epoch_next_commitment(f.keys.root_sign.point, f.keys.root_kem.point, salt, got);
	assert_memory_equal(got, expected, SHA256_SIZE);
	fixture_free(&f);
}

int group_epoch(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_a_first_record),
		cmocka_unit_test(refuses_by_field),
		cmocka_unit_test(refuses_by_signature),
		cmocka_unit_test(the_id_is_of_the_body),
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(the_next_commitment_hashes_its_parts),
	};
	return cmocka_run_group_tests_name("epoch", tests, NULL, NULL);
}
