/* The holders' step of a backup: who can open which share, for which candidate, and what is refused. */
#include "../expect.h"

#include "crypto/shamir.h"
#include "groups.h"
#include "object/backup.h"

enum { HOLDERS = 3, QUORUM = 2 };

struct fixture {
	struct key epoch, candidate_kem, candidate_sign, holders[HOLDERS], stranger;
	struct arena arena;
	struct secret shared;
	struct backup_holder rows[HOLDERS];
	uint8_t ciphertext[BACKUP_ROW_SIZE + AEAD_TAG_SIZE];
	struct backup backup;
	struct bytes object, candidate;
	uint8_t oid[OID_SIZE];
};

static void make_candidate(struct fixture *f, uint8_t reason)
{
	struct epoch epoch = {.v = 1, .era = 1, .epoch = 5, .suite = SUITE_P256, .not_before = 1, .not_after = 2, .state = EPOCH_ACTIVE,
		.reason = reason};
	memcpy(epoch.rot_id, f->backup.rot_id, OID_SIZE);
	memcpy(epoch.sign_pk, f->candidate_sign.point, POINT_SIZE);
	memcpy(epoch.kem_pk, f->candidate_kem.point, POINT_SIZE);
	bytes_free(&f->candidate);
	expect_ok(schema_encode(&epoch_schema, &epoch, &f->candidate));
}

static void make(struct fixture *f)
{
	static const uint8_t numbers[HOLDERS] = {1, 2, 3}, storage[BACKUP_ROW_SIZE] = {0, 0, 0, 1, 's'};
	struct shamir_share shares[HOLDERS];
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	*f = (struct fixture){.arena = arena_of(1 << 20)};
	expect_ok(key_generate(&f->epoch));
	expect_ok(key_generate(&f->candidate_kem));
	expect_ok(key_generate(&f->candidate_sign));
	expect_ok(key_generate(&f->stranger));
	expect_ok(secret_new(BACKUP_KEY_SIZE, &f->shared));
	memset(f->shared.data, 0x5a, f->shared.len);
	f->backup = (struct backup){.v = 1, .era = 0, .epoch = 4, .time = 7, .trust_domain = "troth.internal", .k = QUORUM,
		.holders = f->rows, .holder_count = HOLDERS, .ciphertext = SPAN_ARRAY(f->ciphertext)};
	memset(f->backup.rot_id, 1, OID_SIZE);
	memset(f->backup.id, 2, BACKUP_ID_SIZE);
	expect_ok(shamir_split(secret_span(&f->shared), QUORUM, numbers, HOLDERS, shares));
	for (size_t i = 0; i < HOLDERS; i++) {
		uint8_t aad[BACKUP_AAD_SIZE];
		expect_ok(key_generate(&f->holders[i]));
		f->rows[i].number = numbers[i];
		memcpy(f->rows[i].key, f->holders[i].id, KEY_ID_SIZE);
		backup_share_aad(&f->backup, numbers[i], aad);
		expect_ok(box_seal(SPAN_ARRAY(f->holders[i].point), "backup-share", SPAN_ARRAY(aad), secret_span(&shares[i].y), f->rows[i].box));
		shamir_share_free(&shares[i]);
	}
	expect_ok(backup_content_key(&f->backup, &f->shared, &key));
	expect_ok(aead_seal_once(key.data, SPAN_EMPTY, SPAN_ARRAY(storage), f->ciphertext));
	expect_ok(object_sign(KIND_BACKUP, &f->backup, &f->epoch, &f->object, f->oid));
	make_candidate(f, EPOCH_RECOVERY);
}

static void drop(struct fixture *f)
{
	key_free(&f->epoch);
	key_free(&f->candidate_kem);
	key_free(&f->candidate_sign);
	key_free(&f->stranger);
	for (size_t i = 0; i < HOLDERS; i++)
		key_free(&f->holders[i]);
	secret_free(&f->shared);
	bytes_free(&f->object);
	bytes_free(&f->candidate);
	arena_free(&f->arena);
}

/* What the recovering secure processor does with a holder's answer. */
static void open_answer(struct fixture *f, const struct bytes *answer, struct shamir_share *out)
{
	struct restore_share share;
	uint8_t aad[RESTORE_AAD_SIZE], digest[SHA256_SIZE];
	CLEANUP(key_free) struct key holder = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes signed_bytes = BYTES_EMPTY;
	expect_ok(schema_decode(&restore_share_schema, bytes_span(answer), &f->arena, &share));
	sha256(bytes_span(&f->candidate), digest);
	assert_memory_equal(share.payload_digest, digest, SHA256_SIZE);
	restore_share_aad(f->oid, digest, share.number, aad);
	out->x = share.number;
	expect_ok(box_open(&f->candidate_kem, "restore-share", SPAN_ARRAY(aad), SPAN_ARRAY(share.box), &out->y));
	expect_ok(key_from_spki(share.spki, &holder));
	expect_ok(cose_strict_sign_tbs(bytes_span(&f->candidate), kind_label(KIND_EPOCH), holder.id, &signed_bytes));
	expect_ok(key_verify(&holder, bytes_span(&signed_bytes), SPAN_ARRAY(share.signature)));
}

static void any_quorum_of_holders_gives_the_secret_to_the_candidate(void **unused)
{
	struct fixture f;
	make(&f);
	for (size_t a = 0; a < HOLDERS; a++)
		for (size_t b = 0; b < HOLDERS; b++) {
			if (a == b)
				continue;
			struct shamir_share shares[2] = {0};
			struct secret back = SECRET_EMPTY;
			const size_t who[] = {a, b};
			for (size_t i = 0; i < 2; i++) {
				CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
				expect_ok(restore_share_make(&f.backup, f.oid, bytes_span(&f.candidate), &f.holders[who[i]], &answer));
				open_answer(&f, &answer, &shares[i]);
			}
			expect_ok(shamir_combine(shares, 2, QUORUM, &back));
			assert_true(secret_equal(secret_span(&back), secret_span(&f.shared)));
			secret_free(&back);
			shamir_share_free(&shares[0]);
			shamir_share_free(&shares[1]);
		}
	drop(&f);
}

static void a_backup_opens_only_as_its_epoch_signed_it(void **unused)
{
	struct fixture f;
	struct backup backup;
	uint8_t oid[OID_SIZE];
	make(&f);
	expect_ok(backup_open(bytes_span(&f.object), &f.epoch, &f.arena, &backup, oid));
	assert_memory_equal(oid, f.oid, OID_SIZE);
	assert_int_equal(backup.holder_count, HOLDERS);
	expect(backup_open(bytes_span(&f.object), &f.stranger, &f.arena, &backup, oid), BACKUP_DAMAGED);
	for (size_t at = 0; at < f.object.len; at += 5) {
		f.object.data[at] ^= 4;
		expect(backup_open(bytes_span(&f.object), &f.epoch, &f.arena, &backup, oid), BACKUP_DAMAGED);
		f.object.data[at] ^= 4;
	}
	for (size_t len = 0; len < f.object.len; len += 13)
		expect(backup_open(span_of(f.object.data, len), &f.epoch, &f.arena, &backup, oid), BACKUP_DAMAGED);
	drop(&f);
}

static result reopen(struct fixture *f)
{
	struct backup backup;
	uint8_t oid[OID_SIZE];
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	result made = object_sign(KIND_BACKUP, &f->backup, &f->epoch, &object, NULL);
	return made == OK ? backup_open(bytes_span(&object), &f->epoch, &f->arena, &backup, oid) : made;
}

static void a_backup_that_contradicts_itself_is_damaged(void **unused)
{
	struct fixture f;
	make(&f);
	expect_ok(reopen(&f));
	f.backup.k = 0;
	expect(reopen(&f), BACKUP_DAMAGED);
	f.backup.k = HOLDERS + 1;
	expect(reopen(&f), BACKUP_DAMAGED);
	f.backup.k = QUORUM;
	f.rows[2].number = 9;
	expect(reopen(&f), BACKUP_DAMAGED);
	f.rows[2].number = 3;
	memcpy(f.rows[2].key, f.rows[1].key, KEY_ID_SIZE);
	expect(reopen(&f), BACKUP_DAMAGED);
	drop(&f);
}

static void wrong_holders_and_candidates_are_refused(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	make(&f);
	expect(restore_share_make(&f.backup, f.oid, bytes_span(&f.candidate), &f.stranger, &answer), HOLDER_FOREIGN);
	/* Listed under somebody else's number: the box was not made for this key. */
	memcpy(f.rows[0].key, f.holders[1].id, KEY_ID_SIZE);
	memcpy(f.rows[1].key, f.holders[0].id, KEY_ID_SIZE);
	expect(restore_share_make(&f.backup, f.oid, bytes_span(&f.candidate), &f.holders[0], &answer), BACKUP_DAMAGED);
	memcpy(f.rows[0].key, f.holders[0].id, KEY_ID_SIZE);
	memcpy(f.rows[1].key, f.holders[1].id, KEY_ID_SIZE);
	/* Swapped boxes. */
	uint8_t box[BACKUP_SHARE_BOX];
	memcpy(box, f.rows[0].box, sizeof(box));
	memcpy(f.rows[0].box, f.rows[1].box, sizeof(box));
	expect(restore_share_make(&f.backup, f.oid, bytes_span(&f.candidate), &f.holders[0], &answer), BACKUP_DAMAGED);
	memcpy(f.rows[0].box, box, sizeof(box));
	make_candidate(&f, EPOCH_SCHEDULED);
	expect(restore_share_make(&f.backup, f.oid, bytes_span(&f.candidate), &f.holders[0], &answer), BAD_VALUE);
	memset(f.backup.rot_id, 9, OID_SIZE);
	make_candidate(&f, EPOCH_RECOVERY);
	memset(f.backup.rot_id, 1, OID_SIZE);
	expect(restore_share_make(&f.backup, f.oid, bytes_span(&f.candidate), &f.holders[0], &answer), BACKUP_FOREIGN);
	assert_null(answer.data);
	drop(&f);
}

int group_backup(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_quorum_of_holders_gives_the_secret_to_the_candidate),
		cmocka_unit_test(a_backup_opens_only_as_its_epoch_signed_it),
		cmocka_unit_test(a_backup_that_contradicts_itself_is_damaged),
		cmocka_unit_test(wrong_holders_and_candidates_are_refused),
	};
	return cmocka_run_group_tests_name("backup", tests, NULL, NULL);
}
