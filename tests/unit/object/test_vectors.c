/* tests/vectors/objects.json: every format that was ever emitted is read and written as it was. */
#include "../expect.h"

#include <stdlib.h>

#include "crypto/x509.h"
#include "epoch_samples.h"
#include "groups.h"
#include "policy/schema.h"
#include "samples.h"
#include "wire/text.h"

static struct bytes unhex(const char *text)
{
	assert_non_null(text);
	struct bytes bytes = {malloc(strlen(text) / 2 + 1), strlen(text) / 2};
	assert_non_null(bytes.data);
	expect_ok(hex_decode(span_str(text), bytes.data, bytes.len));
	return bytes;
}

static struct bytes part(const json_t *row, const char *name)
{
	return unhex(json_string_value(json_object_get(row, name)));
}

static json_t *vectors;

static json_t *row_named(const char *name)
{
	size_t i;
	json_t *row;
	json_array_foreach(json_object_get(vectors, "objects"), i, row)
		if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
			return row;
	fail_msg("tests/vectors/objects.json has no '%s'", name);
	return NULL;
}

static int load(void **unused)
{
	vectors = json_load_file(OBJECT_VECTORS, JSON_REJECT_DUPLICATES, NULL);
	return vectors ? 0 : -1;
}

static int unload(void **unused)
{
	json_decref(vectors);
	return 0;
}

/* The samples, which are code, still give the recorded bytes; and the recorded bytes decode to the samples. */
static void samples_encode_as_recorded(void **unused)
{
	struct sample_keys keys;
	struct sample samples[SAMPLE_COUNT];
	sample_keys_make(&keys);
	samples_make(&keys, samples);
	for (size_t i = 0; i < SAMPLE_COUNT; i++) {
		json_t *row = row_named(samples[i].name);
		CLEANUP(bytes_free) struct bytes recorded = part(row, "payload"), encoded = BYTES_EMPTY, again = BYTES_EMPTY;
		struct arena arena = arena_of(1 << 20);
		_Alignas(16) uint8_t object[2048];
		assert_int_equal(json_integer_value(json_object_get(row, "kind")), samples[i].kind);
		assert_string_equal(json_string_value(json_object_get(row, "label")), kind_label(samples[i].kind));
		expect_ok(schema_encode(samples[i].schema, samples[i].object, &encoded));
		expect_span(bytes_span(&encoded), bytes_span(&recorded));
		expect_ok(schema_decode(kind_schema(samples[i].kind), bytes_span(&recorded), &arena, object));
		expect_ok(schema_encode(samples[i].schema, object, &again));
		expect_span(bytes_span(&again), bytes_span(&recorded));
		json_t *shown = schema_json(samples[i].schema, samples[i].object), *read = schema_json(samples[i].schema, object);
		assert_true(json_equal(shown, read));
		json_decref(shown);
		json_decref(read);
		arena_free(&arena);
	}
	sample_keys_free(&keys);
}

static void verify_row(json_t *row, const struct sample_keys *keys)
{
	enum object_kind kind = (enum object_kind)json_integer_value(json_object_get(row, "kind"));
	bool enclave = strcmp(json_string_value(json_object_get(row, "signer")), "enclave") == 0;
	const struct key *key = enclave ? &keys->enclave_sign : &keys->root_sign;
	CLEANUP(bytes_free) struct bytes payload = part(row, "payload"), object = part(row, "object"), id = part(row, "id");
	uint8_t oid[OID_SIZE];
	object_oid(kind, bytes_span(&payload), oid);
	expect_span(bytes_span(&id), SPAN_ARRAY(oid));
	if (kind_row(kind)->envelope == ENVELOPE_SIGN && kind != KIND_EPOCH) {
		struct cose_sign sign;
		expect_ok(cose_strict_sign_parse(bytes_span(&object), &sign));
		expect_span(sign.payload, bytes_span(&payload));
		expect_ok(cose_strict_sign_verify(&sign, kind_label(kind), key));
		return;
	}
	if (kind == KIND_EPOCH) {
		struct arena arena = arena_of(1 << 20);
		struct epoch epoch;
		expect_ok(epoch_open_inception(bytes_span(&object), &arena, &epoch, oid));
		expect_span(bytes_span(&id), SPAN_ARRAY(oid));
		arena_free(&arena);
		return;
	}
	struct cose_sign1 sign1;
	expect_ok(object_verify(kind, bytes_span(&object), key));
	expect_ok(cose_strict_sign1_parse(bytes_span(&object), &sign1));
	expect_span(sign1.payload, bytes_span(&payload));
	expect(object_verify(kind, bytes_span(&object), enclave ? &keys->root_sign : &keys->enclave_sign), BAD_SIGNATURE);
}

static void objects_verify_under_their_keys(void **unused)
{
	struct sample_keys keys;
	size_t i, signed_rows = 0;
	json_t *row;
	sample_keys_make(&keys);
	json_array_foreach(json_object_get(vectors, "objects"), i, row)
	{
		enum object_envelope envelope = kind_row((enum object_kind)json_integer_value(json_object_get(row, "kind")))->envelope;
		if (envelope != ENVELOPE_SIGN1 && envelope != ENVELOPE_SIGN)
			continue;
		verify_row(row, &keys);
		signed_rows++;
	}
	assert_int_equal(signed_rows, SAMPLE_COUNT - 3); /* manifest, launch and job are hashed */
	sample_keys_free(&keys);
}

static void hashed_objects_have_their_digests(void **unused)
{
	static const char *const sha384_names[] = {"manifest", "launch"};
	for (size_t i = 0; i < COUNT_OF(sha384_names); i++) {
		json_t *row = row_named(sha384_names[i]);
		CLEANUP(bytes_free) struct bytes payload = part(row, "payload"), id = part(row, "id");
		uint8_t digest[SHA384_SIZE];
		sha384(bytes_span(&payload), digest);
		expect_span(bytes_span(&id), SPAN_ARRAY(digest));
	}
	struct arena arena = arena_of(1 << 20);
	struct manifest manifest;
	uint8_t core[SHA384_SIZE], digest[SHA256_SIZE];
	CLEANUP(bytes_free) struct bytes payload = part(row_named("manifest"), "payload"),
		recorded = part(row_named("manifest"), "core");
	expect_ok(manifest_decode(bytes_span(&payload), &arena, &manifest));
	expect_ok(manifest_core(&manifest, core));
	expect_span(bytes_span(&recorded), SPAN_ARRAY(core));
	CLEANUP(bytes_free) struct bytes job = part(row_named("job"), "payload"), job_id = part(row_named("job"), "id");
	job_digest(bytes_span(&job), digest);
	expect_span(bytes_span(&job_id), SPAN_ARRAY(digest));
	arena_free(&arena);
}

static void the_policy_compiles_to_the_recorded_bytes(void **unused)
{
	json_t *row = row_named("policy");
	CLEANUP(bytes_free) struct bytes recorded = part(row, "payload"), id = part(row, "id"), compiled = BYTES_EMPTY;
	struct document document;
	uint8_t digest[SHA256_SIZE];
	assert_string_equal(json_string_value(json_object_get(row, "text")), sample_policy_text);
	expect_ok(document_parse("policy", span_str(sample_policy_text), 1 << 20, &document));
	expect_ok(policy_compile_node(&document, document.root, &compiled));
	document_free(&document);
	expect_span(bytes_span(&compiled), bytes_span(&recorded));
	expect_ok(policy_digest(bytes_span(&compiled), digest));
	expect_span(bytes_span(&id), SPAN_ARRAY(digest));
}

static void the_certificate_is_read(void **unused)
{
	struct sample_keys keys;
	struct certificate certificate;
	struct arena arena = arena_of(1 << 16);
	CLEANUP(bytes_free) struct bytes der = part(row_named("certificate"), "object"), id = part(row_named("certificate"), "id"),
		body = part(row_named("certificate"), "payload");
	sample_keys_make(&keys);
	expect_ok(certificate_parse(bytes_span(&der), &arena, &certificate));
	expect_ok(certificate_verify(&certificate, &keys.root_sign));
	expect(certificate_verify(&certificate, &keys.enclave_sign), CERTIFICATE_FOREIGN);
	expect_span(certificate.signed_part, bytes_span(&body));
	expect_span(bytes_span(&id), SPAN_ARRAY(certificate.digest));
	assert_memory_equal(certificate.key.point, keys.enclave_sign.point, POINT_SIZE);
	assert_memory_equal(certificate.kem_point, keys.enclave_kem.point, POINT_SIZE);
	certificate_free(&certificate);
	sample_keys_free(&keys);
	arena_free(&arena);
}

static void the_receipt_is_read(void **unused)
{
	struct arena arena = arena_of(1 << 16);
	struct receipt receipt;
	CLEANUP(bytes_free) struct bytes bytes = part(row_named("receipt"), "payload"),
		head = part(row_named("receipt head"), "object");
	expect_ok(receipt_decode(bytes_span(&bytes), &arena, &receipt));
	expect_span(receipt.head, bytes_span(&head));
	assert_int_equal(receipt.section_count, 2);
	arena_free(&arena);
}

/* The recorded life of a root is the one that the samples tell, and is followed to its end. */
static void the_recorded_epochs_are_followed(void **unused)
{
	struct epoch_samples samples;
	struct epoch_chain *chain;
	json_t *epochs = json_object_get(vectors, "epochs"), *rows = json_object_get(epochs, "objects");
	CLEANUP(bytes_free) struct bytes history = part(epochs, "history"), again = BYTES_EMPTY;
	epoch_samples_make(&samples);
	expect_ok(epoch_chain_of_history(bytes_span(&history), &chain));
	assert_int_equal(json_array_size(rows), samples.row_count);
	for (size_t i = 0; i < samples.row_count; i++) {
		json_t *row = json_array_get(rows, i);
		CLEANUP(bytes_free) struct bytes payload = part(row, "payload"), object = part(row, "object"), id = part(row, "id");
		struct cose_sign sign;
		assert_string_equal(json_string_value(json_object_get(row, "name")), samples.rows[i].name);
		expect_ok(cose_strict_sign_parse(bytes_span(&samples.rows[i].object), &sign));
		expect_span(sign.payload, bytes_span(&payload));
		expect_ok(epoch_chain_follow(chain, bytes_span(&object)));
		if (samples.rows[i].kind == KIND_EPOCH)
			assert_non_null(epoch_chain_find(chain, id.data));
	}
	assert_int_equal(epoch_chain_head(chain)->era, 1);
	assert_int_equal(epoch_chain_head(chain)->epoch, 6);
	expect_ok(epoch_chain_history(chain, &again));
	expect_span(bytes_span(&again), bytes_span(&history));
	epoch_chain_free(chain);
	epoch_samples_free(&samples);
}

/* Each forgery, where it would come, is refused for what it is; those recorded and those made anew. */
static void the_recorded_forgeries_are_refused(void **unused)
{
	struct epoch_samples samples;
	json_t *rows = json_object_get(json_object_get(vectors, "epochs"), "forged");
	epoch_samples_make(&samples);
	assert_int_equal(json_array_size(rows), samples.forged_count);
	for (size_t i = 0; i < samples.forged_count; i++) {
		const struct epoch_forgery *f = &samples.forged[i];
		json_t *row = json_array_get(rows, i);
		CLEANUP(bytes_free) struct bytes recorded = part(row, "object"), history = BYTES_EMPTY;
		struct epoch_chain *chain;
		assert_string_equal(json_string_value(json_object_get(row, "name")), f->name);
		assert_string_equal(json_string_value(json_object_get(row, "reason")), reason_name(f->reason));
		epoch_samples_history(&samples, f->after, SPAN_EMPTY, &history);
		expect_ok(epoch_chain_of_history(bytes_span(&history), &chain));
		expect(epoch_chain_follow(chain, bytes_span(&recorded)), f->reason);
		expect(epoch_chain_follow(chain, bytes_span(&f->object)), f->reason);
		epoch_chain_free(chain);
	}
	epoch_samples_free(&samples);
}

/* Nothing that this version emits is without a vector. */
static void every_emitted_kind_has_a_vector(void **unused)
{
	for (size_t k = 0; k < kind_table_len; k++) {
		size_t i, rows = 0;
		json_t *row;
		json_array_foreach(json_object_get(vectors, "objects"), i, row)
			rows += json_integer_value(json_object_get(row, "kind")) == kind_table[k].kind;
		json_array_foreach(json_object_get(json_object_get(vectors, "epochs"), "objects"), i, row)
			rows += json_integer_value(json_object_get(row, "kind")) == kind_table[k].kind;
		if ((rows > 0) != kind_table[k].emitted)
			fail_msg("kind %d (%s) has %zu vectors", kind_table[k].kind, kind_table[k].name, rows);
	}
}

int group_vectors(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_encode_as_recorded),
		cmocka_unit_test(objects_verify_under_their_keys),
		cmocka_unit_test(hashed_objects_have_their_digests),
		cmocka_unit_test(the_policy_compiles_to_the_recorded_bytes),
		cmocka_unit_test(the_certificate_is_read),
		cmocka_unit_test(the_receipt_is_read),
		cmocka_unit_test(the_recorded_epochs_are_followed),
		cmocka_unit_test(the_recorded_forgeries_are_refused),
		cmocka_unit_test(every_emitted_kind_has_a_vector),
	};
	return cmocka_run_group_tests_name("vectors", tests, load, unload);
}
