#include "root/ap_internal.h"

#include "crypto/box.h"
#include "crypto/random.h"
#include "crypto/shamir.h"

/*
 * Backup and restore (object/backup.h, docs/BACKUP.md). A backup carries storage keys and nothing that could sign: what a
 * restored host says, it says as an epoch of its own that the recovery set has signed.
 */

/* ---- Backup ------------------------------------------------------------------------------------------ */

/* Every key of the recovery set, each once, in its order; from SPKIs in any order. */
static result match_holders(const struct ap *ap, const struct ap_backup *request, struct key out[static BACKUP_MAX_HOLDERS])
{
	const struct epoch_recovery *set = &ap->current.epoch.recovery;
	if (!ap->current.epoch.has_recovery)
		return fail(NO_RECOVERY_SET, "there is nobody to encrypt a backup to");
	if (request->key_count != set->key_count)
		return fail(HOLDER_FOREIGN, "the recovery set has %zu keys, %zu were given", set->key_count, request->key_count);
	for (size_t i = 0; i < request->key_count; i++) {
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		size_t place = 0;
		TRY(key_from_spki(request->keys[i].bytes, &key));
		while (place < set->key_count && memcmp(set->keys[place].bytes, key.id, KEY_ID_SIZE) != 0)
			place++;
		if (place == set->key_count)
			return fail(HOLDER_FOREIGN, "key %zu of those given is not in the recovery set", i + 1);
		if (out[place].pkey)
			return fail(HOLDER_FOREIGN, "key %zu of those given stands there twice", i + 1);
		out[place] = key_ref(&key);
	}
	return OK;
}

struct holder_keys {
	struct key keys[BACKUP_MAX_HOLDERS];
};
static void holder_keys_free(struct holder_keys *holders)
{
	for (size_t i = 0; i < BACKUP_MAX_HOLDERS; i++)
		key_free(&holders->keys[i]);
}

struct share_list {
	struct shamir_share shares[BACKUP_MAX_HOLDERS];
	size_t count;
};
static void share_list_free(struct share_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		shamir_share_free(&list->shares[i]);
}

static result box_shares(struct backup *backup, const struct holder_keys *holders, const struct secret *shared)
{
	CLEANUP(share_list_free) struct share_list list = {.count = 0};
	uint8_t numbers[BACKUP_MAX_HOLDERS];
	for (size_t i = 0; i < backup->holder_count; i++)
		numbers[i] = (uint8_t)(i + 1);
	TRY(shamir_split(secret_span(shared), backup->k, numbers, backup->holder_count, list.shares));
	list.count = backup->holder_count;
	for (size_t i = 0; i < backup->holder_count; i++) {
		struct backup_holder *holder = &backup->holders[i];
		uint8_t aad[BACKUP_AAD_SIZE];
		holder->number = numbers[i];
		memcpy(holder->key, holders->keys[i].id, KEY_ID_SIZE);
		backup_share_aad(backup, holder->number, aad);
		TRY(box_seal(SPAN_ARRAY(holders->keys[i].point), "backup-share", SPAN_ARRAY(aad), secret_span(&list.shares[i].y), holder->box));
	}
	return OK;
}

static void content_aad(const struct backup *backup, uint8_t out[static OID_SIZE + BACKUP_ID_SIZE])
{
	memcpy(out, backup->rot_id, OID_SIZE);
	memcpy(out + OID_SIZE, backup->id, BACKUP_ID_SIZE);
}

static result encrypt_keys(const struct ap *ap, const struct backup *backup, const struct secret *shared, uint8_t *out)
{
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	uint8_t aad[OID_SIZE + BACKUP_ID_SIZE];
	TRY(secret_new(ap->storage.count * BACKUP_ROW_SIZE, &plain));
	struct writer w = writer_fixed(plain.data, plain.len);
	for (size_t i = 0; i < ap->storage.count; i++) {
		writer_u32(&w, ap->storage.keys[i].version);
		writer_span(&w, secret_span(&ap->storage.keys[i].key));
	}
	content_aad(backup, aad);
	TRY(backup_content_key(backup, shared, &key));
	return aead_seal_once(key.data, SPAN_ARRAY(aad), secret_span(&plain), out);
}

static result make_backup(struct ap *ap, const struct holder_keys *holders, uint64_t now_ms, struct bytes *out)
{
	CLEANUP(secret_free) struct secret shared = SECRET_EMPTY;
	struct backup_holder rows[BACKUP_MAX_HOLDERS];
	uint8_t ciphertext[BACKUP_MAX_KEYS * BACKUP_ROW_SIZE + AEAD_TAG_SIZE];
	struct backup backup = {
		.v = 1,
		.era = ap->current.epoch.era,
		.epoch = ap->current.epoch.epoch,
		.time = now_ms,
		.trust_domain = ap->trust_domain,
		.k = ap->current.epoch.recovery.k,
		.holders = rows,
		.holder_count = ap->current.epoch.recovery.key_count,
		.ciphertext = span_of(ciphertext, ap->storage.count * BACKUP_ROW_SIZE + AEAD_TAG_SIZE),
	};
	random_bytes(backup.id, sizeof(backup.id));
	memcpy(backup.rot_id, ap->rot_id, OID_SIZE);
	memcpy(backup.epoch_oid, ap->current.oid, OID_SIZE);
	TRY(secret_new(BACKUP_KEY_SIZE, &shared));
	random_bytes(shared.data, shared.len);
	TRY(box_shares(&backup, holders, &shared));
	TRY(encrypt_keys(ap, &backup, &shared, ciphertext));
	return object_sign(KIND_BACKUP, &backup, &ap->current.keys.sign, out, NULL);
}

result ap_handle_backup(struct ap *ap, struct span body, uint64_t now_ms)
{
	CLEANUP(holder_keys_free) struct holder_keys holders = {0};
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct ap_backup request;
	TRY(ap_check_validity(ap, now_ms));
	TRY(schema_decode(&ap_backup_schema, body, &ap->scratch, &request));
	TRY(match_holders(ap, &request, holders.keys));
	TRY(make_backup(ap, &holders, now_ms, &object));
	struct ap_backed_up answer = {bytes_span(&object)};
	return ap_reply_with(ap, &ap_backed_up_schema, &answer);
}

/* ---- Restore ----------------------------------------------------------------------------------------- */

/* The shares were boxed to the key of the candidate, which is the current record now. */
static result open_shares(const struct ap *ap, const struct ap_restore *request, const uint8_t backup_oid[static OID_SIZE],
	struct share_list *out)
{
	struct cose_sign record;
	uint8_t digest[SHA256_SIZE], aad[RESTORE_AAD_SIZE];
	TRY(cose_strict_sign_parse(bytes_span(&ap->current.record), &record));
	sha256(record.payload, digest);
	for (size_t i = 0; i < request->share_count; i++) {
		const struct ap_restored_share *row = &request->shares[i];
		struct shamir_share *share = &out->shares[out->count];
		restore_share_aad(backup_oid, digest, row->number, aad);
		if (box_open(&ap->current.keys.kem, "restore-share", SPAN_ARRAY(aad), SPAN_ARRAY(row->box), &share->y) != OK)
			return fail(SHARES_MIXED, "share %u was not made of this backup for this recovery", row->number);
		share->x = row->number;
		out->count++;
	}
	return OK;
}

static result decrypt_keys(const struct backup *backup, const struct share_list *list, struct secret *out)
{
	CLEANUP(secret_free) struct secret shared = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;
	uint8_t aad[OID_SIZE + BACKUP_ID_SIZE];
	TRY(shamir_combine(list->shares, list->count, backup->k, &shared));
	TRY(backup_content_key(backup, &shared, &key));
	TRY(secret_new(backup->ciphertext.len - AEAD_TAG_SIZE, &plain));
	content_aad(backup, aad);
	if (aead_open_once(key.data, SPAN_ARRAY(aad), backup->ciphertext, plain.data) != OK)
		return fail(BACKUP_DAMAGED, "its content does not open with what these shares give");
	*out = secret_move(&plain);
	return OK;
}

/*
 * Restored keys open what was sealed under them; sealing goes on under the key of this era. Nobody gains by making a backup up:
 * a key that he knows would open what he sealed himself.
 */
static result add_keys(const struct secret *plain, struct storage_keys *keys)
{
	struct reader r = reader_of(secret_span(plain));
	while (reader_left(&r)) {
		uint32_t version;
		struct span bytes;
		TRY(reader_u32(&r, &version));
		TRY(reader_take(&r, STORAGE_KEY_SIZE, &bytes));
		const struct storage_key *known = storage_keys_find(keys, version);
		if (known && secret_equal(secret_span(&known->key), bytes))
			continue;
		if (known)
			return fail(BACKUP_FOREIGN, "another storage key %u is in use here", version);
		if (keys->count == STORAGE_KEYS_MAX)
			return fail(TOO_LARGE, "%d storage keys are held already", STORAGE_KEYS_MAX);
		TRY(secret_copy(bytes, &keys->keys[keys->count].key));
		keys->keys[keys->count++].version = version;
	}
	return OK;
}

/* The seed rests wrapped together with the storage keys and is taken out only to be wrapped with the new ones. */
static result rewrap(struct ap *ap, const struct storage_keys *keys)
{
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	CLEANUP(bytes_free) struct bytes wrapped = BYTES_EMPTY;
	TRY(state_unwrap(&ap->wrap_key, SPAN_EMPTY, "secrets2", bytes_span(&ap->secrets), &plain));
	TRY(secret_copy(span_of(plain.data, ROT_SEED_SIZE), &seed));
	TRY(ap_wrap_secrets(&ap->wrap_key, &seed, keys, &wrapped));
	bytes_free(&ap->secrets);
	ap->secrets = bytes_move(&wrapped);
	return OK;
}

static result restore(struct ap *ap, const struct ap_restore *request)
{
	CLEANUP(share_list_free) struct share_list list = {.count = 0};
	CLEANUP(secret_free) struct secret plain = SECRET_EMPTY;
	CLEANUP(storage_keys_free) struct storage_keys keys = {0};
	struct backup backup;
	struct ap_done done = {true};
	uint8_t oid[OID_SIZE];
	TRY(backup_peek(request->backup, &ap->scratch, &backup, oid));
	if (memcmp(backup.rot_id, ap->rot_id, OID_SIZE) != 0)
		return fail(BACKUP_FOREIGN, "it is of another root");
	if (ap->current.epoch.reason != EPOCH_RECOVERY || backup.era >= ap->current.epoch.era)
		return fail(NOT_READY, "a restore follows a recovery; era %u is current, the backup is of %u", ap->current.epoch.era, backup.era);
	TRY(open_shares(ap, request, oid, &list));
	TRY(decrypt_keys(&backup, &list, &plain));
	TRY(storage_keys_copy(&ap->storage, &keys));
	TRY(add_keys(&plain, &keys));
	TRY(ap_reply_with(ap, &ap_done_schema, &done));
	TRY(rewrap(ap, &keys));
	storage_keys_free(&ap->storage);
	ap->storage = keys;
	keys.count = 0; /* transferred */
	return ap_encode_state(ap);
}

result ap_handle_restore(struct ap *ap, struct span body, uint64_t now_ms)
{
	struct ap_restore request;
	TRY(ap_check_validity(ap, now_ms));
	TRY(schema_decode(&ap_restore_schema, body, &ap->scratch, &request));
	if (ap->prepared) /* what it will write was made from the state as it is */
		return fail(ROTATION_RUNNING, "the last rotation could not be written; rotate again first");
	TRY(restore(ap, &request));
	ap->waiting = true;
	return OK;
}
