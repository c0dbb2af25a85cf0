#include "root/ap_message.h"

#include "crypto/box.h"


const char *ap_state_name(enum ap_state state)
{
	static const char *const names[] = {"?", "empty", "measured", "starting", "ready", "failed"};
	return (size_t)state < COUNT_OF(names) ? names[state] : names[0];
}

enum { OBJECT_MAX = 60 * 1024 };

static const struct field denial_fields[] = {
	F_TEXT(struct ap_denial, 1, name, 1, 64),
	F_BOOL(struct ap_denial, 2, refused),
};
static const struct schema denial_schema = SCHEMA(struct ap_denial, "denial", SHAPE_ARRAY, denial_fields);

static const struct field health_fields[] = {
	F_UINT(struct ap_health, 1, state, AP_FAILED),
	F_TEXT(struct ap_health, 2, failure, 0, 512),
	F_UINT(struct ap_health, 3, boot_gen, 0),
	F_FIXED(struct ap_health, 4, rot_id),
	F_UINT(struct ap_health, 5, era, 0),
	F_UINT(struct ap_health, 6, epoch, 0),
	F_BYTES(struct ap_health, 7, epoch_record, 0, OBJECT_MAX),
	F_TEXT(struct ap_health, 8, trust_domain, 0, 120),
	F_TEXT(struct ap_health, 9, secret_memory, 1, 16),
	F_BOOL(struct ap_health, 10, instrumented),
	F_UINT(struct ap_health, 11, live_launches, 0),
	F_LIST(struct ap_health, 12, denials, denial_count, &denial_schema, 0, 0, 64),
	F_BYTES(struct ap_health, 13, inception, 0, EPOCH_RECORD_MAX),
	F_BOOL(struct ap_health, 14, draining),
	F_BOOL(struct ap_health, 15, rotating),
	F_BYTES(struct ap_health, 16, candidate, 0, EPOCH_RECORD_MAX),
	F_TIME(struct ap_health, 17, high_water),
	F_UINT(struct ap_health, 18, refusal, 0),
	F_BOOL(struct ap_health, 19, has_tpm),
	F_UINT(struct ap_health, 20, counter, 0),
};
const struct schema ap_health_schema = SCHEMA(struct ap_health, "health", SHAPE_MAP, health_fields);

static const struct field generate_fields[] = {
	F_FIXED(struct ap_generate, 1, challenge),
	F_FIXED(struct ap_generate, 2, host_seed),
	F_FIXED(struct ap_generate, 3, host_share),
	F_STRUCT_OR_NULL(struct ap_generate, 4, recovery, has_recovery, &epoch_recovery_schema),
	F_UINT(struct ap_generate, 5, valid_ms, 0),
	F_UINT(struct ap_generate, 6, grace_s, 0),
	F_TEXT(struct ap_generate, 7, trust_domain, 1, 120),
};
const struct schema ap_generate_schema = SCHEMA(struct ap_generate, "generate", SHAPE_MAP, generate_fields);

static const struct field rot_available_fields[] = {
	F_BYTES(struct ap_rot_available, 1, epoch_record, 1, OBJECT_MAX),
	F_BYTES(struct ap_rot_available, 2, challenge, 1, OBJECT_MAX),
};
const struct schema ap_rot_available_schema = SCHEMA(struct ap_rot_available, "rot available", SHAPE_MAP, rot_available_fields);

static const struct field rotate_fields[] = {
	F_FIXED(struct ap_rotate, 1, request_id),
	F_FIXED(struct ap_rotate, 2, challenge),
	F_FIXED(struct ap_rotate, 3, host_seed),
	F_FIXED(struct ap_rotate, 4, host_share),
	F_UINT(struct ap_rotate, 5, reason, EPOCH_OPERATOR),
	F_BOOL(struct ap_rotate, 6, emergency),
	F_UINT(struct ap_rotate, 7, valid_ms, 0),
	F_UINT(struct ap_rotate, 8, grace_s, 0),
};
const struct schema ap_rotate_schema = SCHEMA(struct ap_rotate, "rotate", SHAPE_MAP, rotate_fields);

static const struct field set_recovery_fields[] = {
	F_FIXED(struct ap_set_recovery, 1, host_seed),
	F_FIXED(struct ap_set_recovery, 2, host_share),
	F_STRUCT_OR_NULL(struct ap_set_recovery, 3, recovery, has_recovery, &epoch_recovery_schema),
	F_UINT(struct ap_set_recovery, 4, valid_ms, 0),
	F_UINT(struct ap_set_recovery, 5, grace_s, 0),
};
const struct schema ap_set_recovery_schema = SCHEMA(struct ap_set_recovery, "set recovery", SHAPE_MAP, set_recovery_fields);

static const struct field recover_fields[] = {
	F_FIXED(struct ap_recover, 1, host_seed),
	F_FIXED(struct ap_recover, 2, host_share),
	F_BYTES(struct ap_recover, 3, inception, 1, EPOCH_RECORD_MAX),
	F_BYTES(struct ap_recover, 4, base, 1, EPOCH_RECORD_MAX),
	F_TEXT(struct ap_recover, 5, trust_domain, 1, 120),
	F_UINT(struct ap_recover, 6, valid_ms, 0),
	F_UINT(struct ap_recover, 7, grace_s, 0),
	F_UINT(struct ap_recover, 8, era, 0),
};
const struct schema ap_recover_schema = SCHEMA(struct ap_recover, "recover", SHAPE_MAP, recover_fields);

static const struct field candidate_fields[] = {F_BYTES(struct ap_candidate, 1, payload, 1, EPOCH_RECORD_MAX)};
const struct schema ap_candidate_schema = SCHEMA(struct ap_candidate, "candidate", SHAPE_MAP, candidate_fields);

static const struct field recovery_signature_fields[] = {
	F_BYTES(struct recovery_signature, 1, spki, 1, 256),
	F_FIXED(struct recovery_signature, 2, signature),
};
const struct schema recovery_signature_schema =
	SCHEMA(struct recovery_signature, "recovery signature", SHAPE_ARRAY, recovery_signature_fields);

static const struct field adopt_candidate_fields[] = {
	F_FIXED(struct ap_adopt_candidate, 1, challenge),
	F_FIXED(struct ap_adopt_candidate, 2, payload_digest),
	F_FIXED(struct ap_adopt_candidate, 3, host_share),
	F_LIST(struct ap_adopt_candidate, 4, signatures, signature_count, &recovery_signature_schema, 0, 1, 32),
};
const struct schema ap_adopt_candidate_schema =
	SCHEMA(struct ap_adopt_candidate, "adopt candidate", SHAPE_MAP, adopt_candidate_fields);

static const struct field quote_fields[] = {F_BYTES(struct ap_quote, 1, nonce, 0, 64)};
const struct schema ap_quote_schema = SCHEMA(struct ap_quote, "quote", SHAPE_MAP, quote_fields);

static const struct field quoted_fields[] = {F_BYTES(struct ap_quoted, 1, evidence, 1, OBJECT_MAX)};
const struct schema ap_quoted_schema = SCHEMA(struct ap_quoted, "quoted", SHAPE_MAP, quoted_fields);

static const struct field pin_fields[] = {
	F_UINT(struct ap_pin, 1, seq, 0),
	F_UINT(struct ap_pin, 2, era, 0),
	F_UINT(struct ap_pin, 3, epoch, 0),
	F_FIXED(struct ap_pin, 4, digest),
};
const struct schema ap_pin_schema = SCHEMA(struct ap_pin, "pin", SHAPE_MAP, pin_fields);

static const struct field pinned_fields[] = {
	F_BOOL(struct ap_pinned, 1, mirrored),
	F_UINT(struct ap_pinned, 2, seq, 0),
};
const struct schema ap_pinned_schema = SCHEMA(struct ap_pinned, "pinned", SHAPE_MAP, pinned_fields);

static const struct field head_fields[] = {
	F_UINT(struct ap_head, 1, index, 0),
	F_FIXED_OR_NULL(struct ap_head, 2, digest, has_digest),
	F_BYTES(struct ap_head, 3, nonce, 0, HEAD_NONCE_MAX),
};
const struct schema ap_head_schema = SCHEMA(struct ap_head, "head", SHAPE_MAP, head_fields);
static const struct field headed_fields[] = {
	F_UINT(struct ap_headed, 1, index, 0),
	F_FIXED(struct ap_headed, 2, head),
	F_STRUCT_OR_NULL(struct ap_headed, 3, birth, has_birth, &head_birth_schema),
	F_BYTES(struct ap_headed, 4, statement, 0, 8192),
};
const struct schema ap_headed_schema = SCHEMA(struct ap_headed, "headed", SHAPE_MAP, headed_fields);

static const struct field enrol_fields[] = {
	F_BYTES(struct ap_enrol, 1, credential, 0, 1024),
	F_BYTES(struct ap_enrol, 2, encrypted, 0, 1024),
};
const struct schema ap_enrol_schema = SCHEMA(struct ap_enrol, "enrol", SHAPE_MAP, enrol_fields);

static const struct field enrolled_fields[] = {
	F_BYTES(struct ap_enrolled, 1, ek_certificate, 0, 8192),
	F_BYTES(struct ap_enrolled, 2, ek_public, 1, 1024),
	F_BYTES(struct ap_enrolled, 3, ak_public, 1, 1024),
	F_BYTES(struct ap_enrolled, 4, answer, 0, 64),
};
const struct schema ap_enrolled_schema = SCHEMA(struct ap_enrolled, "enrolled", SHAPE_MAP, enrolled_fields);

static const struct field reissue_fields[] = {F_FIXED(struct ap_reissue, 1, launch_id)};
const struct schema ap_reissue_schema = SCHEMA(struct ap_reissue, "reissue", SHAPE_MAP, reissue_fields);

static const struct field attest_fields[] = {
	F_FIXED(struct ap_attest, 1, challenge),
	F_TEXT(struct ap_attest, 2, purpose, 1, 32),
};
const struct schema ap_attest_schema = SCHEMA(struct ap_attest, "attest", SHAPE_MAP, attest_fields);

static const struct field extend_fields[] = {
	F_UINT(struct ap_extend, 1, index, REGISTER_COUNT - 1),
	F_BYTES(struct ap_extend, 2, content, 1, 16 * 1024),
	F_BOOL(struct ap_extend, 3, complete),
};
const struct schema ap_extend_schema = SCHEMA(struct ap_extend, "extend", SHAPE_MAP, extend_fields);

static const struct field extended_fields[] = {F_FIXED(struct ap_extended, 1, value)};
const struct schema ap_extended_schema = SCHEMA(struct ap_extended, "extended", SHAPE_MAP, extended_fields);

static const struct field measured_program_fields[] = {
	F_TEXT(struct ap_measured_program, 1, name, 1, 32),
	F_FIXED(struct ap_measured_program, 2, digest),
};
const struct schema ap_measured_program_schema =
	SCHEMA(struct ap_measured_program, "measured program", SHAPE_MAP, measured_program_fields);

static const struct field measured_host_fields[] = {
	F_FIXED(struct ap_measured_host, 1, host),
	F_FIXED(struct ap_measured_host, 2, ire),
	F_TEXT(struct ap_measured_host, 3, build_mode, 1, 16),
	F_LIST(struct ap_measured_host, 4, lists, list_count, &digest32_schema, 0, 1, 16),
	F_TEXT(struct ap_measured_host, 5, trust_domain, 1, 120),
	F_FLAG_OR_ABSENT(struct ap_measured_host, 6, without_namespaces),
};
const struct schema ap_measured_host_schema = SCHEMA(struct ap_measured_host, "host event", SHAPE_MAP, measured_host_fields);

static const struct field read_measurements_fields[] = {F_UINT(struct ap_read_measurements, 1, from, 0)};
const struct schema ap_read_measurements_schema =
	SCHEMA(struct ap_read_measurements, "read measurements", SHAPE_MAP, read_measurements_fields);

static const struct field measurements_fields[] = {
	F_LIST(struct ap_measurements, 1, registers, register_count, &register_schema, 0, REGISTER_COUNT, REGISTER_COUNT),
	F_UINT(struct ap_measurements, 2, total, 0),
	F_LIST(struct ap_measurements, 3, events, event_count, &bytes_item_schema, 0, 0, 4096),
};
const struct schema ap_measurements_schema = SCHEMA(struct ap_measurements, "measurements", SHAPE_MAP, measurements_fields);

static const struct field launch_extended_fields[] = {
	F_FIXED(struct ap_launch_extended, 1, nonce),
	F_FIXED(struct ap_launch_extended, 2, epoch_oid),
};
const struct schema ap_launch_extended_schema =
	SCHEMA(struct ap_launch_extended, "launch extended", SHAPE_MAP, launch_extended_fields);

static const struct field endorse_begin_fields[] = {
	F_FIXED(struct ap_endorse_begin, 1, launch_id),
	F_FIXED(struct ap_endorse_begin, 2, sign_pk),
	F_FIXED(struct ap_endorse_begin, 3, kem_pk),
	F_FIXED(struct ap_endorse_begin, 4, signature),
};
const struct schema ap_endorse_begin_schema = SCHEMA(struct ap_endorse_begin, "endorse begin", SHAPE_MAP, endorse_begin_fields);

static const struct field endorse_challenge_fields[] = {F_BYTES(struct ap_endorse_challenge, 1, box, 1, 256)};
const struct schema ap_endorse_challenge_schema =
	SCHEMA(struct ap_endorse_challenge, "endorse challenge", SHAPE_MAP, endorse_challenge_fields);

static const struct field endorse_finish_fields[] = {
	F_FIXED(struct ap_endorse_finish, 1, launch_id),
	F_FIXED(struct ap_endorse_finish, 2, proof),
};
const struct schema ap_endorse_finish_schema =
	SCHEMA(struct ap_endorse_finish, "endorse finish", SHAPE_MAP, endorse_finish_fields);

static const struct field endorsed_fields[] = {
	F_BYTES(struct ap_endorsed, 1, certificate, 1, 16 * 1024),
	F_BYTES(struct ap_endorsed, 2, report, 1, OBJECT_MAX / 2),
};
const struct schema ap_endorsed_schema = SCHEMA(struct ap_endorsed, "endorsed", SHAPE_MAP, endorsed_fields);

static const struct field end_launch_fields[] = {F_FIXED(struct ap_end_launch, 1, launch_id)};
const struct schema ap_end_launch_schema = SCHEMA(struct ap_end_launch, "end launch", SHAPE_MAP, end_launch_fields);

static const struct field sign_fields[] = {
	F_UINT(struct ap_sign, 1, kind, 0),
	F_BYTES(struct ap_sign, 2, body, 1, OBJECT_MAX),
};
const struct schema ap_sign_schema = SCHEMA(struct ap_sign, "sign", SHAPE_MAP, sign_fields);

static const struct field sign_head_fields[] = {
	F_FIXED(struct ap_sign_head, 1, run_id),
	F_FIXED(struct ap_sign_head, 2, rand),
	F_FIXED_OR_NULL(struct ap_sign_head, 3, nonce, has_nonce),
	F_FIXED(struct ap_sign_head, 4, job_digest),
	F_TEXT(struct ap_sign_head, 5, recorder, 1, 16),
	F_LIST(struct ap_sign_head, 6, roots, root_count, &digest32_schema, FIELD_SORTED, 1, 1024),
	F_LIST(struct ap_sign_head, 7, sections, section_count, &receipt_section_row_schema, FIELD_SORTED, 1, 64),
};
const struct schema ap_sign_head_schema = SCHEMA(struct ap_sign_head, "sign head", SHAPE_MAP, sign_head_fields);

static const struct field sign_report_fields[] = {
	F_FIXED_OR_NULL(struct ap_sign_report, 1, launch_id, has_launch_id),
	F_BYTES(struct ap_sign_report, 2, challenge, 16, 64),
};
const struct schema ap_sign_report_schema = SCHEMA(struct ap_sign_report, "sign report", SHAPE_MAP, sign_report_fields);

static const struct field sign_revocation_fields[] = {
	F_UINT(struct ap_sign_revocation, 1, lease_ms, REVOCATION_LEASE_MOST_MS),
	F_LIST(struct ap_sign_revocation, 2, lists, list_count, &revocation_head_row_schema, FIELD_SORTED, 0, REVOCATION_MAX_LISTS),
};
const struct schema ap_sign_revocation_schema =
	SCHEMA(struct ap_sign_revocation, "sign revocation head", SHAPE_MAP, sign_revocation_fields);

static const struct field signed_fields[] = {F_BYTES(struct ap_signed, 1, object, 1, OBJECT_MAX)};
const struct schema ap_signed_schema = SCHEMA(struct ap_signed, "signed", SHAPE_MAP, signed_fields);

static const struct field seal_fields[] = {
	F_BYTES(struct ap_seal, 1, policy, 1, 512),
	F_BYTES(struct ap_seal, 2, box, BOX_OVERHEAD + 1, BOX_OVERHEAD + SECRET_MAX),
};
const struct schema ap_seal_schema = SCHEMA(struct ap_seal, "seal", SHAPE_MAP, seal_fields);

static const struct field unseal_fields[] = {
	F_BYTES(struct ap_unseal, 1, sealed, 1, 8 * 1024),
	F_BYTES(struct ap_unseal, 2, request, 1, 1024),
	F_BYTES(struct ap_unseal, 3, reference, 0, REFERENCE_SET_MAX),
};
const struct schema ap_unseal_schema = SCHEMA(struct ap_unseal, "unseal", SHAPE_MAP, unseal_fields);

static const struct field unsealed_fields[] = {
	F_BYTES(struct ap_unsealed, 1, grant, 1, 1024),
	F_BYTES(struct ap_unsealed, 2, box, BOX_OVERHEAD + 1, BOX_OVERHEAD + SECRET_MAX),
};
const struct schema ap_unsealed_schema = SCHEMA(struct ap_unsealed, "unsealed", SHAPE_MAP, unsealed_fields);

static const struct field derive_fields[] = {
	F_UINT(struct ap_derive, 1, mode, DERIVE_PEER),
	F_TEXT(struct ap_derive, 2, purpose, 1, 64),
	F_LIST(struct ap_derive, 3, context, context_count, &text_item_schema, 0, 0, 16),
	F_BOOL(struct ap_derive, 4, initiator),
	F_FIXED(struct ap_derive, 5, challenge_own),
	F_FIXED(struct ap_derive, 6, challenge_peer),
	F_FIXED(struct ap_derive, 7, ephemeral_peer),
	F_TEXT(struct ap_derive, 8, id_own, 0, URI_MAX_LEN),
	F_TEXT(struct ap_derive, 9, id_peer, 0, URI_MAX_LEN),
	F_FIXED(struct ap_derive, 10, launch_id),
};
const struct schema ap_derive_schema = SCHEMA(struct ap_derive, "derive", SHAPE_MAP, derive_fields);

static const struct field derived_fields[] = {
	F_BYTES(struct ap_derived, 1, key, 0, 32),
	F_BYTES(struct ap_derived, 2, answer, 0, 4096),
	F_BYTES(struct ap_derived, 3, box, 0, 256),
};
const struct schema ap_derived_schema = SCHEMA(struct ap_derived, "derived", SHAPE_MAP, derived_fields);

static const struct field authorise_fields[] = {
	F_BYTES(struct ap_authorise, 1, set, 1, REFERENCE_SET_MAX),
	F_BOOL(struct ap_authorise, 2, enrol),
	F_BYTES(struct ap_authorise, 3, sealed, 0, 8 * 1024),
};
const struct schema ap_authorise_schema = SCHEMA(struct ap_authorise, "authorise", SHAPE_MAP, authorise_fields);

static const struct field authorised_fields[] = {F_BYTES(struct ap_authorised, 1, sealed, 0, 8 * 1024)};
const struct schema ap_authorised_schema = SCHEMA(struct ap_authorised, "authorised", SHAPE_MAP, authorised_fields);

static const struct field backup_fields[] = {
	F_LIST(struct ap_backup, 1, keys, key_count, &bytes_item_schema, 0, 1, BACKUP_MAX_HOLDERS),
};
const struct schema ap_backup_schema = SCHEMA(struct ap_backup, "backup request", SHAPE_MAP, backup_fields);

static const struct field backed_up_fields[] = {F_BYTES(struct ap_backed_up, 1, object, 1, BACKUP_MAX)};
const struct schema ap_backed_up_schema = SCHEMA(struct ap_backed_up, "backed up", SHAPE_MAP, backed_up_fields);

static const struct field restored_share_fields[] = {
	F_UINT(struct ap_restored_share, 1, number, BACKUP_MAX_HOLDERS),
	F_FIXED(struct ap_restored_share, 2, box),
};
static const struct schema restored_share_schema =
	SCHEMA(struct ap_restored_share, "restored share", SHAPE_ARRAY, restored_share_fields);
static const struct field restore_fields[] = {
	F_BYTES(struct ap_restore, 1, backup, 1, BACKUP_MAX),
	F_LIST(struct ap_restore, 2, shares, share_count, &restored_share_schema, 0, 0, BACKUP_MAX_HOLDERS),
};
const struct schema ap_restore_schema = SCHEMA(struct ap_restore, "restore", SHAPE_MAP, restore_fields);

static const struct field done_fields[] = {F_BOOL(struct ap_done, 1, done)};
const struct schema ap_done_schema = SCHEMA(struct ap_done, "done", SHAPE_MAP, done_fields);
