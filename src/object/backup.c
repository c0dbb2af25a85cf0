#include "object/backup.h"

#include "object/report.h"

static const struct field holder_fields[] = {
	F_UINT(struct backup_holder, 1, number, BACKUP_MAX_HOLDERS),
	F_FIXED(struct backup_holder, 2, key),
	F_FIXED(struct backup_holder, 3, box),
};
const struct schema backup_holder_schema = SCHEMA(struct backup_holder, "backup holder", SHAPE_ARRAY, holder_fields);

static const struct field backup_fields[] = {
	F_VERSION(struct backup, 1, v, 1),
	F_FIXED(struct backup, 2, id),
	F_FIXED(struct backup, 3, rot_id),
	F_UINT(struct backup, 4, era, 0),
	F_UINT(struct backup, 5, epoch, 0),
	F_FIXED(struct backup, 6, epoch_oid),
	F_TIME(struct backup, 7, time),
	F_TEXT(struct backup, 8, trust_domain, 1, 120),
	F_UINT(struct backup, 9, k, BACKUP_MAX_HOLDERS),
	F_LIST(struct backup, 10, holders, holder_count, &backup_holder_schema, FIELD_SORTED, 1, BACKUP_MAX_HOLDERS),
	F_BYTES(struct backup, 11, ciphertext, BACKUP_ROW_SIZE + AEAD_TAG_SIZE, BACKUP_MAX_KEYS * BACKUP_ROW_SIZE + AEAD_TAG_SIZE),
};
const struct schema backup_schema = SCHEMA(struct backup, "backup", SHAPE_MAP, backup_fields);

static const struct field share_fields[] = {
	F_VERSION(struct restore_share, 1, v, 1),
	F_FIXED(struct restore_share, 2, backup_oid),
	F_FIXED(struct restore_share, 3, payload_digest),
	F_UINT(struct restore_share, 4, number, BACKUP_MAX_HOLDERS),
	F_FIXED(struct restore_share, 5, box),
	F_BYTES(struct restore_share, 6, spki, SPKI_SIZE, SPKI_SIZE),
	F_FIXED(struct restore_share, 7, signature),
};
const struct schema restore_share_schema = SCHEMA(struct restore_share, "restore share", SHAPE_MAP, share_fields);

static result check(const struct backup *backup)
{
	if (backup->k < 1 || backup->k > backup->holder_count)
		return fail(BACKUP_DAMAGED, "a quorum of %u of %zu", backup->k, backup->holder_count);
	if ((backup->ciphertext.len - AEAD_TAG_SIZE) % BACKUP_ROW_SIZE != 0)
		return fail(BACKUP_DAMAGED, "content of %zu bytes", backup->ciphertext.len);
	for (size_t i = 0; i < backup->holder_count; i++) {
		if (backup->holders[i].number != i + 1)
			return fail(BACKUP_DAMAGED, "holder %zu has the number %u", i + 1, backup->holders[i].number);
		for (size_t k = 0; k < i; k++)
			if (memcmp(backup->holders[i].key, backup->holders[k].key, KEY_ID_SIZE) == 0)
				return fail(BACKUP_DAMAGED, "one key holds two shares");
	}
	return OK;
}

result backup_peek(struct span bytes, struct arena *arena, struct backup *out, uint8_t out_oid[static OID_SIZE])
{
	struct backup backup;
	uint8_t oid[OID_SIZE];
	if (bytes.len > BACKUP_MAX)
		return fail(BACKUP_DAMAGED, "%zu bytes", bytes.len);
	if (object_peek(KIND_BACKUP, bytes, arena, &backup, oid) != OK)
		return fail_within(BACKUP_DAMAGED, "not a backup");
	TRY(check(&backup));
	*out = backup;
	memcpy(out_oid, oid, OID_SIZE);
	return OK;
}

result backup_open(struct span bytes, const struct key *signer, struct arena *arena, struct backup *out,
	uint8_t out_oid[static OID_SIZE])
{
	struct backup backup;
	uint8_t oid[OID_SIZE];
	TRY(backup_peek(bytes, arena, &backup, oid));
	if (object_verify(KIND_BACKUP, bytes, signer) != OK)
		return fail(BACKUP_DAMAGED, "its signature is not that of the epoch it names");
	*out = backup;
	memcpy(out_oid, oid, OID_SIZE);
	return OK;
}

const struct backup_holder *backup_find_holder(const struct backup *backup, const uint8_t key_id[static KEY_ID_SIZE])
{
	for (size_t i = 0; i < backup->holder_count; i++)
		if (memcmp(backup->holders[i].key, key_id, KEY_ID_SIZE) == 0)
			return &backup->holders[i];
	return NULL;
}

void backup_share_aad(const struct backup *backup, uint8_t number, uint8_t out[static BACKUP_AAD_SIZE])
{
	struct writer w = writer_fixed(out, BACKUP_AAD_SIZE);
	writer_put(&w, backup->rot_id, OID_SIZE);
	writer_put(&w, backup->id, BACKUP_ID_SIZE);
	writer_u8(&w, number);
}

void restore_share_aad(const uint8_t backup_oid[static OID_SIZE], const uint8_t payload_digest[static SHA256_SIZE], uint8_t number,
	uint8_t out[static RESTORE_AAD_SIZE])
{
	struct writer w = writer_fixed(out, RESTORE_AAD_SIZE);
	writer_put(&w, backup_oid, OID_SIZE);
	writer_put(&w, payload_digest, SHA256_SIZE);
	writer_u8(&w, number);
}

result backup_content_key(const struct backup *backup, const struct secret *shared, struct secret *out)
{
	uint8_t context[OID_SIZE + BACKUP_ID_SIZE];
	struct writer w = writer_fixed(context, sizeof(context));
	if (shared->len != BACKUP_KEY_SIZE)
		return fail(BACKUP_DAMAGED, "shares of %zu bytes", shared->len);
	writer_put(&w, backup->rot_id, OID_SIZE);
	writer_put(&w, backup->id, BACKUP_ID_SIZE);
	TRY(secret_new(AEAD_KEY_SIZE, out));
	hkdf_expand_label(shared->data, "backup1", "keys", SPAN_ARRAY(context), out->data, out->len);
	return OK;
}

/* The candidate is of the same root, and names the holder among those who may sign it. */
static result check_candidate(const struct backup *backup, struct span candidate, struct epoch *out, struct arena *arena)
{
	result decoded = schema_decode(&epoch_schema, candidate, arena, out);
	if (decoded != OK)
		return fail_within(decoded, "not a candidate record");
	if (memcmp(out->rot_id, backup->rot_id, OID_SIZE) != 0)
		return fail(BACKUP_FOREIGN, "the candidate is of another root than the backup");
	if (out->reason != EPOCH_RECOVERY)
		return fail(BAD_VALUE, "the candidate is no recovery record; a restore always begins a new era");
	return OK;
}

static result open_share(const struct backup *backup, const struct backup_holder *row, const struct key *holder, struct secret *out)
{
	uint8_t aad[BACKUP_AAD_SIZE];
	backup_share_aad(backup, row->number, aad);
	result opened = box_open(holder, "backup-share", SPAN_ARRAY(aad), SPAN_ARRAY(row->box), out);
	return opened == OK ? OK : fail_within(BACKUP_DAMAGED, "share %u does not open", row->number);
}

static result sign_candidate(struct span candidate, const struct key *holder, uint8_t out[static SIGNATURE_SIZE])
{
	CLEANUP(bytes_free) struct bytes signed_bytes = BYTES_EMPTY;
	TRY(cose_strict_sign_tbs(candidate, kind_label(KIND_EPOCH), holder->id, &signed_bytes));
	return key_sign(holder, bytes_span(&signed_bytes), out);
}

result restore_share_make(const struct backup *backup, const uint8_t backup_oid[static OID_SIZE], struct span candidate,
	const struct key *holder, struct bytes *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(secret_free) struct secret share = SECRET_EMPTY;
	struct epoch epoch;
	struct restore_share answer = {.v = 1};
	uint8_t aad[RESTORE_AAD_SIZE], spki[SPKI_SIZE];
	const struct backup_holder *row = backup_find_holder(backup, holder->id);
	if (!row)
		return fail(HOLDER_FOREIGN, "the backup has %zu shares, none for this key", backup->holder_count);
	TRY(check_candidate(backup, candidate, &epoch, &arena));
	TRY(open_share(backup, row, holder, &share));
	answer.number = row->number;
	memcpy(answer.backup_oid, backup_oid, OID_SIZE);
	sha256(candidate, answer.payload_digest);
	restore_share_aad(backup_oid, answer.payload_digest, row->number, aad);
	TRY(box_seal(SPAN_ARRAY(epoch.kem_pk), "restore-share", SPAN_ARRAY(aad), secret_span(&share), answer.box));
	key_spki(holder, spki);
	answer.spki = SPAN_ARRAY(spki);
	TRY(sign_candidate(candidate, holder, answer.signature));
	return schema_encode(&restore_share_schema, &answer, out);
}
