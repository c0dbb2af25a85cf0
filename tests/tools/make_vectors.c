/*
 * make_vectors OLD > NEW: the vectors of every format that this version emits, from the samples of the object tests.
 * Payloads and ids are always the same. ECDSA signatures are random, so an object whose payload stands in OLD with a good
 * signature is taken from there: a run over unchanged formats reproduces the file byte by byte.
 */
#include "../unit/object/epoch_samples.h"
#include "../unit/object/samples.h"

#include <stdlib.h>

#include "crypto/x509.h"
#include "policy/schema.h"
#include "wire/document.h"
#include "wire/text.h"

static void must(result done, const char *what)
{
	if (done == OK)
		return;
	fprintf(stderr, "make_vectors: %s: %s: %s\n", what, reason_name(done), failure_text());
	exit(1);
}

static json_t *hex(struct span bytes)
{
	char *text = malloc(2 * bytes.len + 1);
	if (!text)
		exit(1);
	hex_encode(bytes, text);
	json_t *value = json_string(text);
	free(text);
	return value;
}

static result unhex(const char *text, struct bytes *out)
{
	size_t len = strlen(text) / 2;
	CLEANUP(bytes_free) struct bytes bytes = {malloc(len ? len : 1), len};
	if (!bytes.data)
		return fail(NO_MEMORY, "vectors");
	TRY(hex_decode(span_str(text), bytes.data, len));
	*out = bytes_move(&bytes);
	return OK;
}

static json_t *old_row(json_t *old, const char *name)
{
	size_t i;
	json_t *row;
	json_array_foreach(json_object_get(old, "objects"), i, row)
		if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
			return row;
	return NULL;
}

static result verify(enum object_kind kind, struct span object, const struct key *key)
{
	if (kind_row(kind)->envelope == ENVELOPE_SIGN1)
		return object_verify(kind, object, key);
	struct cose_sign sign;
	TRY(cose_strict_sign_parse(object, &sign));
	return cose_strict_sign_verify(&sign, kind_label(kind), key);
}

static result sign(enum object_kind kind, struct span payload, const struct key *key, struct bytes *out)
{
	if (kind_row(kind)->envelope == ENVELOPE_SIGN1)
		return cose_strict_sign1_make(payload, kind_label(kind), key, out);
	const struct key *keys[] = {key};
	return cose_strict_sign_make(payload, kind_label(kind), keys, 1, out);
}

static void signed_object(const struct sample *sample, struct span payload, const struct key *key, json_t *old,
	struct bytes *out)
{
	json_t *row = old_row(old, sample->name), *new_payload = hex(payload);
	CLEANUP(bytes_free) struct bytes kept = BYTES_EMPTY;
	bool same = row && json_equal(json_object_get(row, "payload"), new_payload) &&
		unhex(json_string_value(json_object_get(row, "object")), &kept) == OK &&
		verify(sample->kind, bytes_span(&kept), key) == OK;
	json_decref(new_payload);
	if (same)
		*out = bytes_move(&kept);
	else
		must(sign(sample->kind, payload, key, out), sample->name);
}

static const char *envelope_name(enum object_envelope envelope)
{
	static const char *const names[] = {"COSE_Sign1", "COSE_Sign", "plain", "X.509"};
	return names[envelope];
}

static json_t *row_of(const char *name, enum object_kind kind, struct span payload)
{
	const struct kind_row *row = kind_row(kind);
	return json_pack("{s:s, s:i, s:s, s:s, s:o}", "name", name, "kind", kind, "label", row->label, "envelope",
		envelope_name(row->envelope), "payload", hex(payload));
}

static void set(json_t *row, const char *name, struct span bytes)
{
	json_object_set_new(row, name, hex(bytes));
}

/* The ids of unsigned objects: each kind has its own rule. */
static void set_plain_id(json_t *row, const struct sample *sample, struct span payload)
{
	uint8_t digest[SHA384_SIZE];
	if (sample->kind == KIND_JOB) {
		object_digest(KIND_JOB, payload, digest);
		set(row, "id", span_of(digest, SHA256_SIZE));
		return;
	}
	sha384(payload, digest);
	set(row, "id", SPAN_ARRAY(digest));
	if (sample->kind != KIND_MANIFEST)
		return;
	must(manifest_core(sample->object, digest), "core");
	set(row, "core", SPAN_ARRAY(digest));
}

static json_t *sample_row(const struct sample *sample, const struct sample_keys *keys, json_t *old)
{
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY, object = BYTES_EMPTY;
	const struct key *key = sample->by_enclave ? &keys->enclave_sign : &keys->root_sign;
	uint8_t oid[OID_SIZE];
	must(schema_encode(sample->schema, sample->object, &payload), sample->name);
	json_t *row = row_of(sample->name, sample->kind, bytes_span(&payload));
	if (kind_row(sample->kind)->envelope == ENVELOPE_PLAIN) {
		set_plain_id(row, sample, bytes_span(&payload));
		return row;
	}
	signed_object(sample, bytes_span(&payload), key, old, &object);
	set(row, "object", bytes_span(&object));
	object_oid(sample->kind, bytes_span(&payload), oid);
	set(row, "id", SPAN_ARRAY(oid));
	json_object_set_new(row, "signer", json_string(sample->by_enclave ? "enclave" : "root"));
	return row;
}

static json_t *policy_row(void)
{
	struct document document;
	CLEANUP(bytes_free) struct bytes compiled = BYTES_EMPTY;
	uint8_t digest[SHA256_SIZE];
	must(document_parse("policy", span_str(sample_policy_text), 1 << 20, &document), "policy");
	must(policy_compile_node(&document, document.root, &compiled), "policy");
	document_free(&document);
	must(policy_digest(bytes_span(&compiled), digest), "policy");
	json_t *row = row_of("policy", KIND_POLICY, bytes_span(&compiled));
	set(row, "id", SPAN_ARRAY(digest));
	json_object_set_new(row, "text", json_string(sample_policy_text));
	return row;
}

static json_t *certificate_row(const struct sample_keys *keys, json_t *old)
{
	json_t *kept = old_row(old, "certificate");
	if (kept)
		return json_deep_copy(kept);
	CLEANUP(bytes_free) struct bytes der = BYTES_EMPTY;
	struct arena arena = arena_of(1 << 16);
	struct certificate certificate;
	sample_certificate(keys, &der);
	must(certificate_parse(bytes_span(&der), &arena, &certificate), "certificate");
	json_t *row = row_of("certificate", KIND_ENDORSEMENT, certificate.signed_part);
	set(row, "object", bytes_span(&der));
	set(row, "id", SPAN_ARRAY(certificate.digest));
	json_object_set_new(row, "signer", json_string("root"));
	certificate_free(&certificate);
	arena_free(&arena);
	return row;
}

/* A receipt of the outer form: the head's object and its two sections, both an empty list. */
static json_t *receipt_row(json_t *head_row)
{
	CLEANUP(bytes_free) struct bytes head = BYTES_EMPTY, receipt = BYTES_EMPTY;
	const struct receipt_section sections[] = {{SECTION_RECORDS, span_str("\x80")}, {SECTION_SALTS, span_str("\x80")}};
	must(unhex(json_string_value(json_object_get(head_row, "object")), &head), "head");
	must(receipt_encode(bytes_span(&head), sections, COUNT_OF(sections), &receipt), "receipt");
	json_t *row = row_of("receipt", KIND_RECEIPT, bytes_span(&receipt));
	set(row, "id", span_of(receipt.data + receipt.len - SHA256_SIZE, SHA256_SIZE));
	return row;
}

static json_t *keys_of(const struct sample_keys *keys)
{
	const struct key *all[] = {&keys->root_sign, &keys->root_kem, &keys->enclave_sign, &keys->enclave_kem};
	static const char *const names[] = {"root", "root_kem", "enclave", "enclave_kem"};
	json_t *out = json_object();
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		uint8_t scalar[SCALAR_SIZE];
		sample_fill(scalar, sizeof(scalar), (uint8_t)(1 + 0x20 * i));
		json_object_set_new(out, names[i], json_pack("{s:o, s:o, s:o}", "scalar", hex(SPAN_ARRAY(scalar)), "point",
			hex(SPAN_ARRAY(all[i]->point)), "spki_hash", hex(SPAN_ARRAY(all[i]->id))));
	}
	return out;
}

/* ---- The life of a root -------------------------------------------------------------------------- */

static void set_signed(json_t *row, enum object_kind kind, struct span object)
{
	struct cose_sign sign;
	uint8_t oid[OID_SIZE];
	must(cose_strict_sign_parse(object, &sign), "epochs");
	object_oid(kind, sign.payload, oid);
	set(row, "object", object);
	set(row, "id", SPAN_ARRAY(oid));
	json_t *signers = json_array();
	for (size_t i = 0; i < sign.count; i++)
		json_array_append_new(signers, hex(SPAN_ARRAY(sign.signatures[i].kid)));
	json_object_set_new(row, "signers", signers);
}

static json_t *epoch_rows(const struct epoch_samples *samples)
{
	json_t *rows = json_array();
	for (size_t i = 0; i < samples->row_count; i++) {
		struct cose_sign sign;
		struct span object = bytes_span(&samples->rows[i].object);
		must(cose_strict_sign_parse(object, &sign), "epochs");
		json_t *row = row_of(samples->rows[i].name, samples->rows[i].kind, sign.payload);
		set_signed(row, samples->rows[i].kind, object);
		json_array_append_new(rows, row);
	}
	return rows;
}

static json_t *forged_rows(const struct epoch_samples *samples)
{
	json_t *rows = json_array();
	for (size_t i = 0; i < samples->forged_count; i++) {
		const struct epoch_forgery *f = &samples->forged[i];
		json_t *row = json_pack("{s:s, s:i, s:s}", "name", f->name, "after", (int)f->after, "reason", reason_name(f->reason));
		set_signed(row, f->after == 3 ? KIND_HALT : KIND_EPOCH, bytes_span(&f->object));
		json_array_append_new(rows, row);
	}
	return rows;
}

/* Alike but for signatures: the same names, ids and signers. */
static bool same_rows(const json_t *a, const json_t *b)
{
	static const char *const members[] = {"name", "id", "signers", "after", "reason"};
	if (!a || !b || json_array_size(a) != json_array_size(b))
		return false;
	for (size_t i = 0; i < json_array_size(a); i++)
		for (size_t k = 0; k < COUNT_OF(members); k++) {
			json_t *x = json_object_get(json_array_get(a, i), members[k]), *y = json_object_get(json_array_get(b, i), members[k]);
			if ((x || y) && !json_equal(x, y))
				return false;
		}
	return true;
}

static json_t *epochs_of(json_t *old)
{
	struct epoch_samples samples;
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	json_t *kept = json_object_get(old, "epochs"), *keys = json_array();
	epoch_samples_make(&samples);
	epoch_samples_history(&samples, samples.row_count, SPAN_EMPTY, &history);
	for (size_t i = 0; i < MAKER_KEYS; i++)
		json_array_append_new(keys, hex(SPAN_ARRAY(samples.keys[i])));
	json_t *made = json_pack("{s:o, s:o, s:o, s:o}", "recovery_keys", keys, "objects", epoch_rows(&samples), "history",
		hex(bytes_span(&history)), "forged", forged_rows(&samples));
	epoch_samples_free(&samples);
	if (!same_rows(json_object_get(made, "objects"), json_object_get(kept, "objects")) ||
		!same_rows(json_object_get(made, "forged"), json_object_get(kept, "forged")))
		return made;
	json_decref(made);
	return json_deep_copy(kept);
}

int main(int argc, char **argv)
{
	struct sample_keys keys;
	struct sample samples[SAMPLE_COUNT];
	json_t *old = argc == 2 ? json_load_file(argv[1], 0, NULL) : NULL;
	json_t *rows = json_array(), *head = NULL;
	sample_keys_make(&keys);
	samples_make(&keys, samples);
	for (size_t i = 0; i < SAMPLE_COUNT; i++) {
		json_t *row = sample_row(&samples[i], &keys, old);
		if (samples[i].kind == KIND_RECEIPT_HEAD)
			head = row;
		json_array_append_new(rows, row);
	}
	json_array_append_new(rows, policy_row());
	json_array_append_new(rows, certificate_row(&keys, old));
	json_array_append_new(rows, receipt_row(head));
	json_t *all = json_pack("{s:o, s:o, s:o}", "keys", keys_of(&keys), "objects", rows, "epochs", epochs_of(old));
	int written = json_dumpf(all, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(all);
	json_decref(old);
	sample_keys_free(&keys);
	return written == 0 ? 0 : 1;
}
