#include "cmd/recovery_files.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "cmd/verb.h"
#include "crypto/der.h"
#include "wire/text.h"

enum { FILE_MAX = 64 * 1024, SHORT_HEX = 16, MOST_KEYS = COSE_MAX_SIGNERS };

static const struct field candidate_fields[] = {
	F_VERSION(struct candidate, 1, v, 1),
	F_TEXT(struct candidate, 2, label, 1, 64),
	F_BYTES(struct candidate, 3, payload, 1, EPOCH_RECORD_MAX),
	F_BYTES(struct candidate, 4, base, 1, EPOCH_RECORD_MAX),
};
static const struct schema candidate_schema = SCHEMA(struct candidate, "candidate", SHAPE_MAP, candidate_fields);

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

/* ---- Candidates ---------------------------------------------------------------------------------------- */

static bool is_in_set(const struct candidate *candidate, const uint8_t id[static KEY_ID_SIZE])
{
	const struct epoch_recovery *set = &candidate->base_epoch.recovery;
	for (size_t i = 0; i < set->key_count; i++)
		if (memcmp(set->keys[i].bytes, id, KEY_ID_SIZE) == 0)
			return true;
	return false;
}

static result check_candidate(struct candidate *candidate, struct arena *arena)
{
	struct cose_sign base;
	if (strcmp(candidate->label, kind_label(KIND_EPOCH)) != 0 && strcmp(candidate->label, kind_label(KIND_HALT)) != 0)
		return fail(WRONG_KIND, "'%s' is not signed by recovery keys", candidate->label);
	TRY(cose_strict_sign_parse(candidate->base, &base));
	TRY(schema_decode(&epoch_schema, base.payload, arena, &candidate->base_epoch));
	if (!candidate->base_epoch.has_recovery)
		return fail(NO_RECOVERY_SET, "epoch %llu", (unsigned long long)candidate->base_epoch.epoch);
	return OK;
}

result candidate_read(const char *path, struct arena *arena, struct candidate *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct candidate candidate;
	struct span kept;
	if (!path)
		return fail(USAGE, "--candidate FILE is needed");
	TRY(file_read(path, FILE_MAX, &file));
	TRY(arena_copy(arena, bytes_span(&file), &kept));
	result read = schema_decode(&candidate_schema, kept, arena, &candidate);
	if (read == OK)
		read = check_candidate(&candidate, arena);
	if (read != OK)
		return fail_within(read, "'%s' is no candidate", path);
	*out = candidate;
	return OK;
}

static result tbs_path(const char *path, const uint8_t id[static KEY_ID_SIZE], char out[static PATH_SIZE])
{
	char hex[SHORT_HEX + 1];
	hex_encode(span_of(id, SHORT_HEX / 2), hex);
	if (snprintf(out, PATH_SIZE, "%s.%s.tbs", path, hex) >= PATH_SIZE)
		return fail(TOO_LARGE, "the path of '%s'", path);
	return OK;
}

result candidate_write(const char *path, enum object_kind kind, struct span payload, struct span base, struct arena *arena,
	struct candidate *out)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct candidate candidate = {.v = 1, .label = kind_label(kind), .payload = payload, .base = base};
	TRY(check_candidate(&candidate, arena));
	TRY(schema_encode(&candidate_schema, &candidate, &encoding));
	TRY(file_write_atomic(path, bytes_span(&encoding), 0644));
	for (size_t i = 0; i < candidate.base_epoch.recovery.key_count; i++) {
		const uint8_t *id = candidate.base_epoch.recovery.keys[i].bytes;
		CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
		char file[PATH_SIZE];
		TRY(cose_strict_sign_tbs(payload, candidate.label, id, &tbs));
		TRY(tbs_path(path, id, file));
		TRY(file_write_atomic(file, bytes_span(&tbs), 0644));
	}
	*out = candidate;
	return OK;
}

static void print_hex(const char *name, struct span bytes)
{
	printf("  %-12s ", name);
	verb_print_hex(bytes);
	printf("\n");
}

static void print_epoch(const struct candidate *candidate)
{
	CLEANUP(arena_free) struct arena arena = arena_of(FILE_MAX);
	struct epoch epoch;
	if (schema_decode(&epoch_schema, candidate->payload, &arena, &epoch) != OK)
		return;
	char until[CLOCK_TEXT_SIZE];
	clock_format(epoch.not_after, until);
	printf("A record of era %u, epoch %llu (%s), to stand on era %u, epoch %llu.\n", epoch.era, (unsigned long long)epoch.epoch,
		epoch.reason == EPOCH_RECOVERY ? "recovery: later records of the old era are void" : "other recovery keys",
		candidate->base_epoch.era, (unsigned long long)candidate->base_epoch.epoch);
	print_hex("rot_id", SPAN_ARRAY(epoch.rot_id));
	print_hex("measurement", SPAN_ARRAY(epoch.measurement));
	print_hex("signing key", SPAN_ARRAY(epoch.sign_pk));
	printf("  %-12s %.10s\n", "valid until", until);
	if (epoch.has_recovery)
		printf("  %-12s any %u of %u keys\n", "recovery", epoch.recovery.k, epoch.recovery.n);
	else
		printf("  %-12s none: nobody could ever recover this root again\n", "recovery");
}

static void print_halt(const struct candidate *candidate)
{
	CLEANUP(arena_free) struct arena arena = arena_of(FILE_MAX);
	struct halt halt;
	if (schema_decode(&halt_schema, candidate->payload, &arena, &halt) != OK)
		return;
	printf("A HALT of era %u: nothing of this root counts any more until its recovery keys begin the next era.\n", halt.era);
	print_hex("rot_id", SPAN_ARRAY(halt.rot_id));
}

void candidate_print(const struct candidate *candidate, const char *path)
{
	const struct epoch_recovery *set = &candidate->base_epoch.recovery;
	if (strcmp(candidate->label, kind_label(KIND_EPOCH)) == 0)
		print_epoch(candidate);
	else
		print_halt(candidate);
	printf("%u of these %u keys must sign. Each holder compares the values above on a machine of their own, then signs with\n"
	       "  troth root recover sign --candidate %s --key KEY.pem --output SIGNATURE\n"
	       "or with openssl alone:\n",
		set->k, set->n, path);
	for (size_t i = 0; i < set->key_count; i++) {
		char file[PATH_SIZE];
		if (tbs_path(path, set->keys[i].bytes, file) == OK)
			printf("  openssl dgst -sha256 -sign KEY.pem -out SIGNATURE %s\n", file);
	}
	printf("The name of each .tbs file is the beginning of the SHA-256 of that holder's public key:\n"
	       "  openssl pkey -in KEY.pem -pubout -outform DER | sha256sum\n");
}

/* ---- Signing -------------------------------------------------------------------------------------------- */

result candidate_sign(const struct candidate *candidate, const struct signer_source *signer, const char *output)
{
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	uint8_t spki[SPKI_SIZE];
	struct signature_file file = {.v = 1, .spki = SPAN_ARRAY(spki)};
	TRY(signer_open(signer, &key));
	if (!is_in_set(candidate, key.id))
		return fail(RECOVERY_QUORUM, "'%s' is not one of the recovery keys of era %u, epoch %llu",
			signer->pem_file ? signer->pem_file : signer->key_label ? signer->key_label : signer->key_id,
			candidate->base_epoch.era, (unsigned long long)candidate->base_epoch.epoch);
	TRY(cose_strict_sign_tbs(candidate->payload, candidate->label, key.id, &tbs));
	TRY(key_sign(&key, bytes_span(&tbs), file.signature));
	key_spki(&key, spki);
	TRY(schema_encode(&signature_schema, &file, &encoding));
	return file_write_atomic(output, bytes_span(&encoding), 0644);
}

/* ---- Collecting ------------------------------------------------------------------------------------------ */

static bool verifies(const struct candidate *candidate, const struct key *key, const uint8_t signature[static SIGNATURE_SIZE])
{
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	return cose_strict_sign_tbs(candidate->payload, candidate->label, key->id, &tbs) == OK &&
		key_verify(key, bytes_span(&tbs), span_of(signature, SIGNATURE_SIZE)) == OK;
}

static result match_key(const struct candidate *candidate, const char *path, const struct words *keys, struct recovery_signature *row,
	struct key *out)
{
	for (size_t i = 0; i < keys->count; i++) {
		CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		TRY(file_read(keys->items[i], FILE_MAX, &pem));
		result read = key_from_pem(bytes_span(&pem), &key);
		if (read != OK)
			return fail_within(read, "'%s'", keys->items[i]);
		if (verifies(candidate, &key, row->signature)) {
			*out = key;
			key = KEY_EMPTY;
			return OK;
		}
	}
	return fail(BAD_SIGNATURE, "'%s' verifies under none of the %zu public keys that --key names", path, keys->count);
}

static result read_signature(const struct candidate *candidate, const char *path, const struct words *keys, struct arena *arena,
	struct recovery_signature *row, struct key *out_key)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct signature_file own;
	TRY(file_read(path, FILE_MAX, &file));
	if (schema_decode(&signature_schema, bytes_span(&file), arena, &own) == OK) {
		memcpy(row->signature, own.signature, SIGNATURE_SIZE);
		TRY(key_from_spki(own.spki, out_key));
		return verifies(candidate, out_key, row->signature) ? OK : fail(BAD_SIGNATURE, "'%s' is not over this candidate", path);
	}
	if (file.len == SIGNATURE_SIZE)
		memcpy(row->signature, file.data, SIGNATURE_SIZE);
	else if (der_signature_to_raw(bytes_span(&file), row->signature) != OK)
		return fail(BAD_SYNTAX, "'%s' is neither a signature of troth nor one of openssl", path);
	return match_key(candidate, path, keys, row, out_key);
}

static result take_signature(const struct candidate *candidate, const char *path, const struct words *keys, struct arena *arena,
	struct recovery_signature *rows, size_t count)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	struct recovery_signature *row = &rows[count];
	uint8_t spki[SPKI_SIZE];
	TRY(read_signature(candidate, path, keys, arena, row, &key));
	if (!is_in_set(candidate, key.id))
		return fail(RECOVERY_QUORUM, "'%s' is by a key that is not in the recovery set", path);
	key_spki(&key, spki);
	for (size_t i = 0; i < count; i++)
		if (span_equal(rows[i].spki, SPAN_ARRAY(spki)))
			return fail(DUPLICATE_KEY, "'%s' is by a key that has signed already", path);
	return arena_copy(arena, SPAN_ARRAY(spki), &row->spki);
}

result candidate_collect(const struct candidate *candidate, const struct words *signatures, const struct words *keys, struct arena *arena,
	struct recovery_signature **out, size_t *out_count)
{
	const struct epoch_recovery *set = &candidate->base_epoch.recovery;
	void *rows;
	if (signatures->count > MOST_KEYS)
		return fail(TOO_LARGE, "%zu signatures", signatures->count);
	TRY(arena_alloc(arena, signatures->count + 1, sizeof(struct recovery_signature), &rows));
	for (size_t i = 0; i < signatures->count; i++)
		TRY(take_signature(candidate, signatures->items[i], keys, arena, rows, i));
	if (signatures->count < set->k)
		return fail(RECOVERY_QUORUM, "%zu of %u needed signatures", signatures->count, set->k);
	*out = rows;
	*out_count = signatures->count;
	return OK;
}

/* ---- Sets of keys ------------------------------------------------------------------------------------------ */

static result read_public_key(const char *path, struct digest32 *out)
{
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	result read = file_read(path, FILE_MAX, &pem);
	if (read == OK)
		read = key_from_pem(bytes_span(&pem), &key);
	if (read != OK)
		return fail_within(read, "recovery key '%s'", path);
	memcpy(out->bytes, key.id, KEY_ID_SIZE);
	return OK;
}

result recovery_read_set(const struct words *words, struct arena *arena, struct epoch_recovery *out)
{
	char *end;
	void *keys;
	if (words->count < 2)
		return fail(USAGE, "--recovery takes a number and at least one file: --recovery 1 recovery.pub");
	unsigned long k = strtoul(words->items[0], &end, 10);
	size_t n = words->count - 1;
	if (*end || k < 1 || k > n || n > MOST_KEYS)
		return fail(USAGE, "--recovery %s: the number must be from 1 to the number of keys, %zu here", words->items[0], n);
	TRY(arena_alloc(arena, n, sizeof(struct digest32), &keys));
	*out = (struct epoch_recovery){.k = (uint8_t)k, .n = (uint8_t)n, .keys = keys, .key_count = n};
	for (size_t i = 0; i < n; i++)
		TRY(read_public_key(words->items[i + 1], &out->keys[i]));
	if (schema_sort(&digest32_schema, keys, n) != OK)
		return fail(USAGE, "--recovery names one key twice");
	return OK;
}
