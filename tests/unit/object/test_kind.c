/* The registry, signed objects and their ids. */
#include "../expect.h"

#include "groups.h"
#include "samples.h"

static void numbers_and_labels_are_unique(void **unused)
{
	for (size_t i = 0; i < kind_table_len; i++) {
		assert_ptr_equal(kind_row(kind_table[i].kind), &kind_table[i]);
		assert_int_equal(strncmp(kind_table[i].label, "troth ", 6), 0);
		for (size_t k = 0; k < i; k++) {
			assert_int_not_equal(kind_table[i].kind, kind_table[k].kind);
			assert_string_not_equal(kind_table[i].label, kind_table[k].label);
			assert_string_not_equal(kind_table[i].name, kind_table[k].name);
		}
	}
	assert_null(kind_row(0));
	assert_null(kind_row((enum object_kind)63));
}

/* Stable for ever: what is emitted today keeps its number and label. */
static void emitted_kinds_stay_as_they_are(void **unused)
{
	static const struct {
		int kind;
		const char *label;
	} rows[] = {{1, "troth report"}, {2, "troth endorsement"}, {3, "troth epoch"}, {4, "troth manifest"}, {5, "troth policy"},
		{6, "troth reference set"}, {7, "troth record"}, {8, "troth operation"}, {10, "troth launch"}, {11, "troth sealed object"}, {12, "troth unseal request"},
		{13, "troth unseal grant"}, {14, "troth rot challenge"}, {15, "troth derive answer"}, {16, "troth queue hello"}, {17, "troth statement"},
		{18, "troth receipt head"}, {19, "troth halt"}, {20, "troth revocation head"}, {21, "troth grant"}, {23, "troth registration"}, {33, "troth revocation list"}, {34, "troth receipt"}, {35, "troth job"}, {36, "troth transport key"}, {37, "troth backup"}, {38, "troth transaction"},
		{39, "troth access request"}, {40, "troth ledger config"}, {41, "troth enrolment"}, {42, "troth policy version"}, {43, "troth head proof"}};
	size_t emitted = 0;
	for (size_t i = 0; i < kind_table_len; i++)
		emitted += kind_table[i].emitted;
	assert_int_equal(emitted, COUNT_OF(rows));
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_true(kind_row(rows[i].kind)->emitted);
		assert_string_equal(kind_label(rows[i].kind), rows[i].label);
	}
}

static void reserved_kinds_are_not_signed(void **unused)
{
	struct sample_keys keys;
	CLEANUP(bytes_free) struct bytes out = BYTES_EMPTY;
	uint8_t anything[4096] = {0};
	sample_keys_make(&keys);
	for (size_t i = 0; i < kind_table_len; i++)
		if (!kind_table[i].emitted) {
			assert_null(kind_schema(kind_table[i].kind));
			expect(object_sign(kind_table[i].kind, anything, &keys.root_sign, &out, NULL), WRONG_KIND);
		}
	/* Hashed or certified, but not signed by one key. */
	expect(object_sign(KIND_MANIFEST, anything, &keys.root_sign, &out, NULL), WRONG_KIND);
	expect(object_sign(KIND_EPOCH, anything, &keys.root_sign, &out, NULL), WRONG_KIND);
	expect(object_sign(KIND_ENDORSEMENT, anything, &keys.root_sign, &out, NULL), WRONG_KIND);
	sample_keys_free(&keys);
}

struct fixture {
	struct sample_keys keys;
	struct sample samples[SAMPLE_COUNT];
	struct arena arena;
};

static void fixture_make(struct fixture *f)
{
	sample_keys_make(&f->keys);
	samples_make(&f->keys, f->samples);
	f->arena = arena_of(1 << 20);
}

static void fixture_free(struct fixture *f)
{
	sample_keys_free(&f->keys);
	arena_free(&f->arena);
}

static const struct sample *sample_of(const struct fixture *f, enum object_kind kind)
{
	for (size_t i = 0; i < SAMPLE_COUNT; i++)
		if (f->samples[i].kind == kind)
			return &f->samples[i];
	fail_msg("no sample of kind %d", kind);
	return NULL;
}

/* DA-07: other signature bytes, same object. */
static void two_signatures_one_oid(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes one = BYTES_EMPTY, two = BYTES_EMPTY;
	uint8_t first[OID_SIZE], second[OID_SIZE];
	struct record record;
	fixture_make(&f);
	const struct sample *sample = sample_of(&f, KIND_RECORD);
	expect_ok(object_sign(KIND_RECORD, sample->object, &f.keys.enclave_sign, &one, first));
	expect_ok(object_sign(KIND_RECORD, sample->object, &f.keys.enclave_sign, &two, second));
	assert_memory_not_equal(one.data, two.data, one.len);
	assert_memory_equal(first, second, OID_SIZE);
	expect_ok(object_open(KIND_RECORD, bytes_span(&two), &f.keys.enclave_sign, &f.arena, &record, second));
	assert_memory_equal(first, second, OID_SIZE);
	fixture_free(&f);
}

static void another_kind_is_another_object(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	uint8_t request[OID_SIZE], grant[OID_SIZE];
	struct unseal_request out;
	fixture_make(&f);
	const struct sample *sample = sample_of(&f, KIND_UNSEAL_REQUEST);
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	expect_ok(schema_encode(sample->schema, sample->object, &payload));
	object_oid(KIND_UNSEAL_REQUEST, bytes_span(&payload), request);
	object_oid(KIND_UNSEAL_GRANT, bytes_span(&payload), grant);
	assert_memory_not_equal(request, grant, OID_SIZE);
	/* The same payload, signed as another kind, does not open. */
	expect_ok(cose_strict_sign1_make(bytes_span(&payload), kind_label(KIND_UNSEAL_GRANT), &f.keys.enclave_sign, &object));
	expect(object_open(KIND_UNSEAL_REQUEST, bytes_span(&object), &f.keys.enclave_sign, &f.arena, &out, NULL), BAD_SIGNATURE);
	expect(object_open(KIND_UNSEAL_REQUEST, bytes_span(&object), &f.keys.root_sign, &f.arena, &out, NULL), BAD_SIGNATURE);
	fixture_free(&f);
}

/*
 * PA-12, DA-07: an object whose protected header is written otherwise, or that carries an unprotected one, is refused
 * before anybody asks for its oid.
 */
static void one_envelope_only(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct unseal_request out;
	fixture_make(&f);
	expect_ok(object_sign(KIND_UNSEAL_REQUEST, sample_of(&f, KIND_UNSEAL_REQUEST)->object, &f.keys.enclave_sign, &object, NULL));
	/* d2 84 43 a1 01 26 a0 ... */
	assert_memory_equal(object.data, "\xd2\x84\x43\xa1\x01\x26\xa0", 7);
	static const struct {
		const char *head;
		size_t len;
		enum reason reason;
	} heads[] = {
		{"\xd2\x84\x43\xa1\x01\x26\xa0", 7, OK},
		{"\xd2\x84\x44\xa1\x18\x01\x26\xa0", 8, NOT_DETERMINISTIC},
		{"\xd2\x84\x44\xa1\x01\x38\x06\xa0", 8, NOT_DETERMINISTIC},
		{"\xd2\x84\x58\x03\xa1\x01\x26\xa0", 8, NOT_DETERMINISTIC},
		{"\xd2\x84\x43\xa1\x01\x26\xa1\x04\x41\x01", 10, UNPROTECTED_HEADER},
		{"\x84\x43\xa1\x01\x26\xa0", 6, WRONG_TAG},
		{"\xd1\x84\x43\xa1\x01\x26\xa0", 7, WRONG_TAG},
	};
	for (size_t i = 0; i < COUNT_OF(heads); i++) {
		uint8_t altered[512];
		struct writer w = writer_fixed(altered, sizeof(altered));
		writer_put(&w, heads[i].head, heads[i].len);
		writer_put(&w, object.data + 7, object.len - 7);
		result opened = object_open(KIND_UNSEAL_REQUEST, span_of(altered, w.len), &f.keys.enclave_sign, &f.arena, &out, NULL);
		if (opened != heads[i].reason)
			fail_msg("head %zu: %s, not %s", i, reason_name(opened), reason_name(heads[i].reason));
	}
	fixture_free(&f);
}

static void every_flipped_bit_of_an_object_is_refused(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	fixture_make(&f);
	expect_ok(object_sign(KIND_UNSEAL_REQUEST, sample_of(&f, KIND_UNSEAL_REQUEST)->object, &f.keys.enclave_sign, &object, NULL));
	for (size_t bit = 0; bit < 8 * object.len; bit++) {
		struct unseal_request out;
		object.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(object_open(KIND_UNSEAL_REQUEST, bytes_span(&object), &f.keys.enclave_sign, &f.arena, &out, NULL), OK);
		object.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	fixture_free(&f);
}

/* Every structure of every kind: cut, extended, flipped. What is still accepted has one encoding. */
static void every_kind_survives_damage(void **unused)
{
	struct fixture f;
	fixture_make(&f);
	for (size_t s = 0; s < SAMPLE_COUNT; s++) {
		const struct schema *schema = f.samples[s].schema;
		CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
		_Alignas(16) uint8_t object[2048];
		assert_true(schema->struct_size <= sizeof(object));
		expect_ok(schema_encode(schema, f.samples[s].object, &payload));
		for (size_t len = 0; len < payload.len; len++) {
			struct arena arena = arena_of(1 << 16);
			assert_int_not_equal(schema_decode(schema, span_of(payload.data, len), &arena, object), OK);
			arena_free(&arena);
		}
		for (size_t bit = 0; bit < 8 * payload.len; bit++) {
			struct arena arena = arena_of(1 << 16);
			CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
			payload.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			if (schema_decode(schema, bytes_span(&payload), &arena, object) == OK) {
				expect_ok(schema_encode(schema, object, &again));
				expect_span(bytes_span(&again), bytes_span(&payload));
			}
			payload.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			arena_free(&arena);
		}
	}
	fixture_free(&f);
}

static void plain_digests_are_separated_by_label(void **unused)
{
	uint8_t job[SHA256_SIZE], launch[SHA256_SIZE], expected[SHA256_SIZE];
	static const char input[] = "\0\0\0\x09troth jobabc";
	object_digest(KIND_JOB, span_str("abc"), job);
	object_digest(KIND_LAUNCH, span_str("abc"), launch);
	assert_memory_not_equal(job, launch, SHA256_SIZE);
	sha256(span_of(input, sizeof(input) - 1), expected);
	assert_memory_equal(job, expected, SHA256_SIZE);
}

int group_kind(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_and_labels_are_unique),
		cmocka_unit_test(emitted_kinds_stay_as_they_are),
		cmocka_unit_test(reserved_kinds_are_not_signed),
		cmocka_unit_test(two_signatures_one_oid),
		cmocka_unit_test(another_kind_is_another_object),
		cmocka_unit_test(one_envelope_only),
		cmocka_unit_test(every_flipped_bit_of_an_object_is_refused),
		cmocka_unit_test(every_kind_survives_damage),
		cmocka_unit_test(plain_digests_are_separated_by_label),
	};
	return cmocka_run_group_tests_name("kind", tests, NULL, NULL);
}
