#include "cmd/enrolment_files.h"

#include <stdio.h>

#include "base/clock.h"
#include "crypto/der.h"
#include "object/transport.h"
#include "wire/cose.h"
#include "wire/text.h"

enum { FILE_MAX = 64 * 1024 };

struct signature_file {
	uint8_t v;
	struct span spki;
	uint8_t signature[SIGNATURE_SIZE];
};
static const struct field signature_fields[] = {
	F_VERSION(struct signature_file, 1, v, 1),
	F_BYTES(struct signature_file, 2, spki, SPKI_SIZE, SPKI_SIZE),
	F_FIXED(struct signature_file, 3, signature),
};
static const struct schema signature_schema = SCHEMA(struct signature_file, "signature", SHAPE_MAP, signature_fields);

static result tbs_of(struct span payload, const uint8_t id[static KEY_ID_SIZE], struct bytes *out)
{
	return cose_strict_sign_tbs(payload, kind_label(KIND_ENROLMENT), id, out);
}

static result read_candidate(const char *path, struct arena *arena, struct span *out_payload, struct host_enrolment *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	if (!path)
		return fail(USAGE, "name the candidate: --candidate FILE");
	TRY(file_read(path, FILE_MAX, &file));
	TRY(arena_copy(arena, bytes_span(&file), out_payload));
	result decoded = schema_decode(&enrolment_schema, *out_payload, arena, out);
	return decoded == OK ? OK : fail_within(decoded, "'%s' is no candidate of `troth host enrol`", path);
}

static void print_candidate(const struct host_enrolment *enrolment)
{
	char own[EPOCH_FINGERPRINT_SIZE], peer[EPOCH_FINGERPRINT_SIZE];
	rot_fingerprint(enrolment->rot_id, own);
	rot_fingerprint(enrolment->peer, peer);
	printf("  %-12s %s\n  %-12s %s\n  %-12s %s\n", "this host", own, "enrols", enrolment->name, "with root", peer);
	for (size_t i = 0; i < enrolment->address_count; i++)
		printf("  %-12s %s\n", "at", enrolment->addresses[i].text);
}

static result write_tbs(const char *path, struct span payload, const uint8_t id[static KEY_ID_SIZE])
{
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	char file[PATH_SIZE], digits[17];
	hex_encode(span_of(id, 8), digits);
	TRY(tbs_of(payload, id, &tbs));
	if (snprintf(file, sizeof(file), "%s.%s.tbs", path, digits) >= (int)sizeof(file))
		return fail(TOO_LARGE, "'%s'", path);
	printf("  openssl dgst -sha256 -sign KEY.pem -out SIGNATURE %s\n", file);
	return file_write_atomic(file, bytes_span(&tbs), 0644);
}

result enrolment_candidate(
	const struct service_officers *officers, const struct service_enrol *enrol, const uint8_t peer[static OID_SIZE], const char *path)
{
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	struct host_enrolment enrolment = {.v = 1, .name = enrol->name, .addresses = enrol->addresses, .address_count = enrol->address_count, .time = clock_wall_ms()};
	if (!path)
		return fail(ENROLMENT_QUORUM, "any %u of %u officers of this host must sign: --candidate FILE writes what", officers->officers.k,
			officers->officers.n);
	memcpy(enrolment.rot_id, officers->rot_id, OID_SIZE);
	memcpy(enrolment.peer, peer, OID_SIZE);
	TRY(schema_encode(&enrolment_schema, &enrolment, &payload));
	TRY(file_write_atomic(path, bytes_span(&payload), 0644));
	printf("Nothing is enrolled yet. This waits for signatures of any %u of %u officers:\n", officers->officers.k, officers->officers.n);
	print_candidate(&enrolment);
	printf("Each of them compares that on a machine of their own, then signs with\n  troth host approve %s --key KEY.pem --output SIGNATURE\n"
	       "or with openssl alone:\n", path);
	for (size_t i = 0; i < officers->officers.key_count; i++)
		TRY(write_tbs(path, bytes_span(&payload), officers->officers.keys[i].bytes));
	printf("Then the same command again with --signature SIGNATURE for each.\n");
	return OK;
}

result enrolment_sign(const char *path, const char *key_file, const char *output)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	uint8_t spki[SPKI_SIZE];
	struct signature_file file = {.v = 1, .spki = SPAN_ARRAY(spki)};
	struct span payload;
	struct host_enrolment enrolment;
	if (!key_file || !output)
		return fail(USAGE, "name the key and where the signature goes: --key FILE --output FILE");
	TRY(read_candidate(path, &arena, &payload, &enrolment));
	TRY(file_read(key_file, FILE_MAX, &pem));
	TRY(key_from_private_pem(bytes_span(&pem), &key));
	TRY(tbs_of(payload, key.id, &tbs));
	TRY(key_sign(&key, bytes_span(&tbs), file.signature));
	key_spki(&key, spki);
	TRY(schema_encode(&signature_schema, &file, &encoding));
	TRY(file_write_atomic(output, bytes_span(&encoding), 0644));
	printf("Signed:\n");
	print_candidate(&enrolment);
	return OK;
}

/* ---- Collecting ------------------------------------------------------------------------------------- */

static bool verifies(struct span payload, const struct key *key, const uint8_t signature[static SIGNATURE_SIZE])
{
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	return tbs_of(payload, key->id, &tbs) == OK && key_verify(key, bytes_span(&tbs), span_of(signature, SIGNATURE_SIZE)) == OK;
}

static result match(struct span payload, const char *path, const struct words *keys, const uint8_t signature[static SIGNATURE_SIZE], struct key *out)
{
	for (size_t i = 0; i < keys->count; i++) {
		CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		TRY(file_read(keys->items[i], FILE_MAX, &pem));
		result read = key_from_pem(bytes_span(&pem), &key);
		if (read != OK)
			return fail_within(read, "'%s'", keys->items[i]);
		if (!verifies(payload, &key, signature))
			continue;
		*out = key;
		key = KEY_EMPTY;
		return OK;
	}
	return fail(BAD_SIGNATURE, "'%s' verifies under none of the %zu public keys that --key names", path, keys->count);
}

static result read_signature(struct span payload, const char *path, const struct words *keys, struct arena *arena, uint8_t signature[static SIGNATURE_SIZE],
	struct key *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct signature_file own;
	TRY(file_read(path, FILE_MAX, &file));
	if (schema_decode(&signature_schema, bytes_span(&file), arena, &own) == OK) {
		memcpy(signature, own.signature, SIGNATURE_SIZE);
		TRY(key_from_spki(own.spki, out));
		return verifies(payload, out, signature) ? OK : fail(BAD_SIGNATURE, "'%s' is not over this candidate", path);
	}
	if (file.len == SIGNATURE_SIZE)
		memcpy(signature, file.data, SIGNATURE_SIZE);
	else if (der_signature_to_raw(bytes_span(&file), signature) != OK)
		return fail(BAD_SYNTAX, "'%s' is neither a signature of troth nor one of openssl", path);
	return match(payload, path, keys, signature, out);
}

result enrolment_approval(const struct service_officers *officers, const char *path, const struct words *signatures, const struct words *keys,
	struct arena *arena, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct cose_signer signers[OFFICERS_MAX];
	struct bytes_item items[OFFICERS_MAX];
	uint8_t spki[OFFICERS_MAX][SPKI_SIZE];
	struct span payload;
	struct host_enrolment enrolment;
	if (!officers->has_officers)
		return fail(USAGE, "this host has no officers, so no signatures are needed");
	if (signatures->count > OFFICERS_MAX)
		return fail(TOO_LARGE, "%zu signatures", signatures->count);
	TRY(read_candidate(path, arena, &payload, &enrolment));
	for (size_t i = 0; i < signatures->count; i++) {
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		TRY(read_signature(payload, signatures->items[i], keys, arena, signers[i].signature, &key));
		memcpy(signers[i].kid, key.id, KEY_ID_SIZE);
		key_spki(&key, spki[i]);
		items[i].bytes = SPAN_ARRAY(spki[i]);
	}
	TRY(cose_strict_sign_assemble(payload, signers, signatures->count, &object));
	const struct enrolment_approval approval = {bytes_span(&object), items, signatures->count};
	return schema_encode(&enrolment_approval_schema, &approval, out);
}
