#include "job/service.h"

enum { TEXT_MAX = 4096, MOST_ARGUMENTS = 4096 };

static const struct field error_fields[] = {
	F_UINT(struct service_error, 1, reason, 0),
	F_TEXT(struct service_error, 2, text, 0, TEXT_MAX),
	F_TEXT(struct service_error, 3, stage, 0, NAME_MAX_LEN),
	F_UINT(struct service_error, 4, cause, 0),
	F_BYTES(struct service_error, 5, log, 0, FLOW_LOG_TAIL),
};
const struct schema service_error_schema = SCHEMA(struct service_error, "error", SHAPE_MAP, error_fields);

static const struct field status_fields[] = {
	F_UINT(struct service_status, 1, pid, 0),
	F_BOOL(struct service_status, 2, private_host),
	F_UINT(struct service_status, 3, clients, 0),
	F_TEXT(struct service_status, 4, state_dir, 1, TEXT_MAX),
	F_TEXT(struct service_status, 5, program_dir, 1, TEXT_MAX),
	F_FIXED(struct service_status, 6, ap_digest),
	F_STRUCT(struct service_status, 7, health, &ap_health_schema),
	F_TEXT(struct service_status, 8, queue, 5, 6),
};
const struct schema service_status_schema = SCHEMA(struct service_status, "status", SHAPE_MAP, status_fields);

static const struct field init_fields[] = {
	F_STRUCT_OR_NULL(struct service_init, 1, recovery, has_recovery, &epoch_recovery_schema),
	F_UINT(struct service_init, 2, valid_ms, 0),
	F_TEXT(struct service_init, 3, trust_domain, 1, 120),
	F_UINT(struct service_init, 4, grace_s, 0),
};
const struct schema service_init_schema = SCHEMA(struct service_init, "init", SHAPE_MAP, init_fields);

/* ---- the root -------------------------------------------------------------------------------------- */

static const struct field rotate_fields[] = {
	F_BOOL(struct service_rotate, 1, emergency),
	F_TEXT(struct service_rotate, 2, text, 0, HISTORY_TEXT_MAX / 2),
};
const struct schema service_rotate_schema = SCHEMA(struct service_rotate, "rotate", SHAPE_MAP, rotate_fields);

static const struct field note_fields[] = {
	F_TIME(struct service_note, 1, time),
	F_UINT(struct service_note, 2, era, 0),
	F_UINT(struct service_note, 3, epoch, 0),
	F_UINT(struct service_note, 4, reason, EPOCH_RECOVERY),
	F_BOOL(struct service_note, 5, emergency),
	F_TEXT(struct service_note, 6, text, 0, HISTORY_TEXT_MAX),
};
static const struct schema note_schema = SCHEMA(struct service_note, "note", SHAPE_MAP, note_fields);

static const struct field root_fields[] = {
	F_BYTES(struct service_root, 1, inception, 0, EPOCH_RECORD_MAX),
	F_BYTES(struct service_root, 2, head, 0, EPOCH_RECORD_MAX),
	F_UINT(struct service_root, 3, records, 0),
	F_UINT(struct service_root, 4, refusal, 0),
	F_TEXT(struct service_root, 5, refusal_text, 0, TEXT_MAX),
	F_BOOL(struct service_root, 6, draining),
	F_UINT(struct service_root, 7, drain_in_ms, 0),
	F_BOOL(struct service_root, 8, has_next),
	F_UINT(struct service_root, 9, next_in_ms, 0),
	F_UINT(struct service_root, 10, period_ms, 0),
	F_UINT(struct service_root, 11, rotations, 0),
	F_UINT(struct service_root, 12, failures, 0),
	F_TEXT(struct service_root, 13, last_failure, 0, TEXT_MAX),
	F_BYTES(struct service_root, 14, candidate, 0, EPOCH_RECORD_MAX),
	F_LIST(struct service_root, 15, notes, note_count, &note_schema, 0, 0, ROOT_NOTES),
};
const struct schema service_root_schema = SCHEMA(struct service_root, "root", SHAPE_MAP, root_fields);

static const struct field set_recovery_fields[] = {
	F_STRUCT_OR_NULL(struct service_set_recovery, 1, recovery, has_recovery, &epoch_recovery_schema),
};
const struct schema service_set_recovery_schema = SCHEMA(struct service_set_recovery, "set recovery", SHAPE_MAP, set_recovery_fields);

static const struct field recover_fields[] = {
	F_BOOL(struct service_recover, 1, from_head),
	F_UINT(struct service_recover, 2, era, 0),
	F_UINT(struct service_recover, 3, epoch, 0),
	F_BOOL(struct service_recover, 4, has_history),
	F_TEXT(struct service_recover, 5, trust_domain, 1, 120),
	F_UINT(struct service_recover, 6, valid_ms, 0),
};
const struct schema service_recover_schema = SCHEMA(struct service_recover, "recover", SHAPE_MAP, recover_fields);

static const struct field candidate_fields[] = {
	F_BYTES(struct service_candidate, 1, payload, 1, EPOCH_RECORD_MAX),
	F_BYTES(struct service_candidate, 2, base, 1, EPOCH_RECORD_MAX),
};
const struct schema service_candidate_schema = SCHEMA(struct service_candidate, "candidate", SHAPE_MAP, candidate_fields);

static const struct field adopt_fields[] = {
	F_BYTES(struct service_adopt, 1, payload, 1, EPOCH_RECORD_MAX),
	F_LIST(struct service_adopt, 2, signatures, signature_count, &recovery_signature_schema, 0, 0, COSE_MAX_SIGNERS),
};
const struct schema service_adopt_schema = SCHEMA(struct service_adopt, "adopt", SHAPE_MAP, adopt_fields);

static const struct field taken_fields[] = {
	F_BOOL(struct service_taken, 1, changed),
	F_UINT(struct service_taken, 2, refusal, 0),
	F_TEXT(struct service_taken, 3, refusal_text, 0, TEXT_MAX),
};
const struct schema service_taken_schema = SCHEMA(struct service_taken, "taken", SHAPE_MAP, taken_fields);

static const struct field attest_fields[] = {F_FIXED(struct service_attest, 1, challenge)};
const struct schema service_attest_schema = SCHEMA(struct service_attest, "attest", SHAPE_MAP, attest_fields);

static const struct field attested_fields[] = {
	F_BYTES(struct service_attested, 1, epoch_record, 1, 64 * 1024),
	F_BYTES(struct service_attested, 2, challenge, 1, 64 * 1024),
};
const struct schema service_attested_schema = SCHEMA(struct service_attested, "attested", SHAPE_MAP, attested_fields);

static const struct field seal_fields[] = {
	F_BYTES(struct service_seal, 1, policy, 1, 512),
	F_BYTES(struct service_seal, 2, box, 1, 8 * 1024),
};
const struct schema service_seal_schema = SCHEMA(struct service_seal, "seal", SHAPE_MAP, seal_fields);

static const struct field sealed_fields[] = {F_BYTES(struct service_sealed, 1, object, 1, 64 * 1024)};
const struct schema service_sealed_schema = SCHEMA(struct service_sealed, "sealed", SHAPE_MAP, sealed_fields);

/* ---- RUN ------------------------------------------------------------------------------------------ */

static const struct field file_fields[] = {
	F_TEXT(struct flow_file, 1, role, 1, NAME_MAX_LEN),
	F_TEXT(struct flow_file, 2, path, 0, TEXT_MAX),
	F_UINT(struct flow_file, 3, fd, SOCK_MAX_FDS - 1),
	F_BOOL(struct flow_file, 4, has_fd),
};
static const struct schema file_schema = SCHEMA(struct flow_file, "file", SHAPE_MAP, file_fields);

static const struct field run_fields[] = {
	F_TEXT(struct flow_request, 1, job, 0, TEXT_MAX),
	F_LIST(struct flow_request, 2, argv, argc, &text_item_schema, 0, 0, MOST_ARGUMENTS),
	F_LIST(struct flow_request, 3, files, file_count, &text_item_schema, 0, 0, MOST_ARGUMENTS),
	F_TEXT(struct flow_request, 4, folder, 0, TEXT_MAX),
	F_LIST(struct flow_request, 5, inputs, input_count, &file_schema, 0, 0, SERVICE_MAX_FILES),
	F_LIST(struct flow_request, 6, sealed, sealed_count, &file_schema, 0, 0, SERVICE_MAX_FILES),
	F_TEXT(struct flow_request, 7, out, 0, TEXT_MAX),
	F_BOOL(struct flow_request, 8, replace),
	F_FIXED_OR_NULL(struct flow_request, 9, nonce, has_nonce),
};
const struct schema service_run_schema = SCHEMA(struct flow_request, "run", SHAPE_MAP, run_fields);

static const struct field ire_run_fields[] = {
	F_TEXT(struct service_ire_run, 1, name, 0, NAME_MAX_LEN),
	F_STRUCT(struct service_ire_run, 2, run, &service_run_schema),
};
const struct schema service_ire_run_schema = SCHEMA(struct service_ire_run, "ire run", SHAPE_MAP, ire_run_fields);

static const struct field ire_up_fields[] = {
	F_TEXT(struct service_ire_up, 1, name, 1, NAME_MAX_LEN),
	F_FIXED(struct service_ire_up, 2, run_id),
};
const struct schema service_ire_up_schema = SCHEMA(struct service_ire_up, "ire up", SHAPE_MAP, ire_up_fields);

static const struct field ire_fields[] = {
	F_TEXT(struct service_ire, 1, name, 1, NAME_MAX_LEN),
	F_TEXT(struct service_ire, 2, job, 0, NAME_MAX_LEN),
	F_FIXED(struct service_ire, 3, run_id),
	F_BOOL(struct service_ire, 4, stays),
	F_TIME(struct service_ire, 5, since),
	F_TEXT(struct service_ire, 6, group, 0, NAME_MAX_LEN),
};
static const struct schema ire_schema = SCHEMA(struct service_ire, "ire", SHAPE_MAP, ire_fields);
static const struct field ires_fields[] = {F_LIST(struct service_ires, 1, rows, count, &ire_schema, 0, 0, 16384)};
const struct schema service_ires_schema = SCHEMA(struct service_ires, "ires", SHAPE_MAP, ires_fields);

static const struct field channel_test_fields[] = {
	F_TEXT(struct service_channel_test, 1, one, 1, 2 * NAME_MAX_LEN),
	F_TEXT(struct service_channel_test, 2, other, 1, 2 * NAME_MAX_LEN),
};
const struct schema service_channel_test_schema = SCHEMA(struct service_channel_test, "channel test", SHAPE_MAP, channel_test_fields);
static const struct field channel_tested_fields[] = {
	F_LIST(struct service_channel_tested, 1, one, one_count, &channel_state_schema, 0, 0, 256),
	F_LIST(struct service_channel_tested, 2, other, other_count, &channel_state_schema, 0, 0, 256),
};
const struct schema service_channel_tested_schema = SCHEMA(struct service_channel_tested, "channel tested", SHAPE_MAP, channel_tested_fields);

static const struct field ire_stop_fields[] = {
	F_TEXT(struct service_ire_stop, 1, name, 0, NAME_MAX_LEN),
	F_BOOL(struct service_ire_stop, 2, all),
};
const struct schema service_ire_stop_schema = SCHEMA(struct service_ire_stop, "ire stop", SHAPE_MAP, ire_stop_fields);

static const struct field ire_stopped_fields[] = {F_UINT(struct service_ire_stopped, 1, count, 0)};
const struct schema service_ire_stopped_schema = SCHEMA(struct service_ire_stopped, "ire stopped", SHAPE_MAP, ire_stopped_fields);

static const struct field use_fields[] = {
	F_TEXT(struct flow_stage_use, 1, name, 1, NAME_MAX_LEN),
	F_UINT(struct flow_stage_use, 2, bytes_in, 0),
	F_UINT(struct flow_stage_use, 3, bytes_out, 0),
	F_UINT(struct flow_stage_use, 4, cpu_ms, 0),
	F_UINT(struct flow_stage_use, 5, max_rss, 0),
	F_UINT(struct flow_stage_use, 6, rekeys, 0),
	F_UINT(struct flow_stage_use, 7, reissues, 0),
	F_UINT(struct flow_stage_use, 8, keyupdates, 0),
};
static const struct schema use_schema = SCHEMA(struct flow_stage_use, "stage", SHAPE_MAP, use_fields);

static const struct field output_fields[] = {
	F_TEXT(struct flow_output, 1, name, 1, NAME_MAX_LEN),
	F_TEXT(struct flow_output, 2, file, 1, 255),
	F_UINT(struct flow_output, 3, bytes, 0),
};
static const struct schema output_schema = SCHEMA(struct flow_output, "output", SHAPE_MAP, output_fields);

static const struct field ran_fields[] = {
	F_FIXED(struct flow_outcome, 1, run_id),
	F_FIXED(struct flow_outcome, 2, head_oid),
	F_TEXT(struct flow_outcome, 3, job, 1, NAME_MAX_LEN),
	F_TEXT(struct flow_outcome, 4, out, 1, TEXT_MAX),
	F_UINT(struct flow_outcome, 5, records, 0),
	F_UINT(struct flow_outcome, 6, elapsed_ms, 0),
	F_LIST(struct flow_outcome, 7, stages, stage_count, &use_schema, 0, 0, 256),
	F_LIST(struct flow_outcome, 8, outputs, output_count, &output_schema, 0, 0, 1024),
};
const struct schema service_ran_schema = SCHEMA(struct flow_outcome, "ran", SHAPE_MAP, ran_fields);

/* ---- other hosts ---------------------------------------------------------------------------------- */

static const struct field join_fields[] = {
	F_STRUCT(struct join_request, 1, run, &service_run_schema),
	F_TEXT(struct join_request, 2, coordinator, 0, PEER_NAME_MAX),
};
const struct schema service_join_schema = SCHEMA(struct join_request, "join", SHAPE_MAP, join_fields);

static const struct field peers_fields[] = {
	F_TEXT(struct service_peers, 1, listen, 0, 300),
	F_LIST(struct service_peers, 2, peers, peer_count, &peer_schema, 0, 0, PEERS_MAX),
	F_LIST(struct service_peers, 3, links, link_count, &standing_row_schema, 0, 0, PEERS_MAX),
};
const struct schema service_peers_schema = SCHEMA(struct service_peers, "peers", SHAPE_MAP, peers_fields);

static const struct field enrol_fields[] = {
	F_TEXT(struct service_enrol, 1, name, 1, TEXT_MAX),
	F_LIST(struct service_enrol, 2, addresses, address_count, &text_item_schema, 0, 0, PEER_ADDRESSES_MAX),
	F_BYTES(struct service_enrol, 3, history, 1, SERVICE_MESSAGE_MAX / 2),
	F_BYTES(struct service_enrol, 4, approval, 0, 8 * 1024),
};
const struct schema service_enrol_schema = SCHEMA(struct service_enrol, "enrol", SHAPE_MAP, enrol_fields);

static const struct field name_fields[] = {F_TEXT(struct service_name, 1, name, 1, TEXT_MAX)};
const struct schema service_name_schema = SCHEMA(struct service_name, "name", SHAPE_MAP, name_fields);

static const struct field officers_fields[] = {
	F_STRUCT_OR_NULL(struct service_officers, 1, officers, has_officers, &epoch_recovery_schema),
	F_FIXED(struct service_officers, 2, rot_id),
};
const struct schema service_officers_schema = SCHEMA(struct service_officers, "officers", SHAPE_MAP, officers_fields);

/* ---- the rest ------------------------------------------------------------------------------------- */

static const struct field events_fields[] = {F_UINT(struct service_events, 1, from, 0)};
const struct schema service_events_schema = SCHEMA(struct service_events, "events", SHAPE_MAP, events_fields);

static const struct field progress_fields[] = {
	F_TEXT(struct service_progress, 1, stage, 1, NAME_MAX_LEN),
	F_TEXT(struct service_progress, 2, state, 0, 32),
	F_UINT(struct service_progress, 3, bytes_in, 0),
	F_UINT(struct service_progress, 4, bytes_out, 0),
};
const struct schema service_progress_schema = SCHEMA(struct service_progress, "progress", SHAPE_MAP, progress_fields);

static const struct field log_fields[] = {
	F_TEXT(struct service_log, 1, stage, 1, NAME_MAX_LEN),
	F_BYTES(struct service_log, 2, text, 0, 64 * 1024),
};
const struct schema service_log_schema = SCHEMA(struct service_log, "log", SHAPE_MAP, log_fields);

static const struct field farewell_fields[] = {F_BOOL(struct service_farewell, 1, stays)};
const struct schema service_farewell_schema = SCHEMA(struct service_farewell, "farewell", SHAPE_MAP, farewell_fields);

static const struct field dac_get_fields[] = {
	F_TEXT(struct service_dac_get, 1, target, 1, 2 * NAME_MAX_LEN),
	F_FIXED_OR_NULL(struct service_dac_get, 2, record, has_record),
	F_BYTES_ABSENT(struct service_dac_get, 3, nonce, 0, HEAD_NONCE_MAX),
};
const struct schema service_dac_get_schema = SCHEMA(struct service_dac_get, "dac get", SHAPE_MAP, dac_get_fields);

static const struct field dac_got_fields[] = {F_UINT(struct service_dac_got, 1, bytes, 0)};
const struct schema service_dac_got_schema = SCHEMA(struct service_dac_got, "dac got", SHAPE_MAP, dac_got_fields);

static const struct field empty_fields[] = {F_BOOL(struct service_empty, 1, nothing)};
const struct schema service_empty_schema = SCHEMA(struct service_empty, "empty", SHAPE_MAP, empty_fields);

/* ---- revocation ------------------------------------------------------------------------------------ */

static const struct field revoke_fields[] = {F_BOOL(struct service_revoke, 1, dry_run)};
const struct schema service_revoke_schema = SCHEMA(struct service_revoke, "revoke", SHAPE_MAP, revoke_fields);

static const struct field hit_fields[] = {
	F_TEXT(struct revocation_hit, 1, enclave, 0, NAME_MAX_LEN),
	F_FIXED(struct revocation_hit, 2, run_id),
	F_TEXT(struct revocation_hit, 3, text, 0, TEXT_MAX),
};
static const struct schema hit_schema = SCHEMA(struct revocation_hit, "hit", SHAPE_MAP, hit_fields);

static const struct field outcome_fields[] = {
	F_FIXED(struct revocation_outcome, 1, operator_id),
	F_FIXED(struct revocation_outcome, 2, oid),
	F_TEXT(struct revocation_outcome, 3, label, 0, REVOCATION_LABEL_MAX),
	F_UINT(struct revocation_outcome, 4, version, 0),
	F_UINT(struct revocation_outcome, 5, before, 0),
	F_UINT(struct revocation_outcome, 6, entries, 0),
	F_UINT(struct revocation_outcome, 7, entries_before, 0),
	F_TIME(struct revocation_outcome, 8, not_after),
	F_BOOL(struct revocation_outcome, 9, changed),
	F_LIST(struct revocation_outcome, 10, hits, hit_count, &hit_schema, 0, 0, REVOCATION_HITS_MAX),
	F_UINT(struct revocation_outcome, 11, hit_total, 0),
};
const struct schema revocation_outcome_schema = SCHEMA(struct revocation_outcome, "revoked", SHAPE_MAP, outcome_fields);

static const struct field listed_fields[] = {
	F_FIXED(struct revocation_listed, 1, operator_id),
	F_FIXED(struct revocation_listed, 2, operator_pk),
	F_TEXT(struct revocation_listed, 3, label, 0, REVOCATION_LABEL_MAX),
	F_TIME(struct revocation_listed, 4, added),
	F_UINT(struct revocation_listed, 5, version, 0),
	F_FIXED(struct revocation_listed, 6, oid),
	F_TIME(struct revocation_listed, 7, time),
	F_TIME(struct revocation_listed, 8, not_after),
	F_UINT(struct revocation_listed, 9, entries, 0),
};
static const struct schema listed_schema = SCHEMA(struct revocation_listed, "operator", SHAPE_MAP, listed_fields);

static const struct field live_fields[] = {
	F_TEXT(struct revocation_live, 1, enclave, 0, NAME_MAX_LEN),
	F_FIXED(struct revocation_live, 2, run_id),
	F_FIXED(struct revocation_live, 3, measurement),
	F_FIXED(struct revocation_live, 4, core),
	F_FIXED(struct revocation_live, 5, key),
	F_FIXED(struct revocation_live, 6, certificate),
	F_FIXED(struct revocation_live, 7, rot_id),
	F_FIXED(struct revocation_live, 8, epoch),
	F_FIXED(struct revocation_live, 9, policy),
};
static const struct schema revocation_live_schema = SCHEMA(struct revocation_live, "live", SHAPE_MAP, live_fields);

static const struct field revocations_fields[] = {
	F_UINT(struct revocation_status, 1, lease_ms, 0),
	F_UINT(struct revocation_status, 2, head_seq, 0),
	F_TIME(struct revocation_status, 3, head_time),
	F_UINT(struct revocation_status, 4, launches, 0),
	F_UINT(struct revocation_status, 5, conflicts, 0),
	F_TEXT(struct revocation_status, 6, last_failure, 0, TEXT_MAX),
	F_LIST(struct revocation_status, 7, lists, list_count, &listed_schema, 0, 0, REVOCATION_MAX_ROWS),
	F_LIST(struct revocation_status, 8, live, live_count, &revocation_live_schema, 0, 0, REVOCATION_LIVE_MAX),
};
const struct schema revocation_status_schema = SCHEMA(struct revocation_status, "revocations", SHAPE_MAP, revocations_fields);

static const struct field revocation_key_fields[] = {
	F_BOOL(struct service_revocation_key, 1, take_out),
	F_FIXED(struct service_revocation_key, 2, id),
	F_BYTES(struct service_revocation_key, 3, point, 0, POINT_SIZE),
	F_TEXT(struct service_revocation_key, 4, label, 0, REVOCATION_LABEL_MAX),
};
const struct schema service_revocation_key_schema =
	SCHEMA(struct service_revocation_key, "revocation key", SHAPE_MAP, revocation_key_fields);

static const struct {
	enum service_type type;
	const char *name;
	const struct schema *schema;
} types[] = {
	{SERVICE_STATUS, "STATUS", &service_empty_schema},
	{SERVICE_INIT, "INIT", &service_init_schema},
	{SERVICE_ATTEST, "ATTEST", &service_attest_schema},
	{SERVICE_SEAL, "SEAL", &service_seal_schema},
	{SERVICE_RUN, "RUN", &service_run_schema},
	{SERVICE_EVENTS, "EVENTS", &service_events_schema},
	{SERVICE_SHUTDOWN, "SHUTDOWN", &service_empty_schema},
	{SERVICE_BYE, "BYE", &service_empty_schema},
	{SERVICE_ROTATE, "ROTATE", &service_rotate_schema},
	{SERVICE_ROOT, "ROOT", &service_empty_schema},
	{SERVICE_HISTORY, "HISTORY", &service_empty_schema},
	{SERVICE_SET_RECOVERY, "SET_RECOVERY", &service_set_recovery_schema},
	{SERVICE_RECOVER, "RECOVER", &service_recover_schema},
	{SERVICE_ADOPT, "ADOPT", &service_adopt_schema},
	{SERVICE_TAKE, "TAKE", &service_empty_schema},
	{SERVICE_AUTHORISE, "AUTHORISE", &ap_authorise_schema},
	{SERVICE_BACKUP, "BACKUP", &ap_backup_schema},
	{SERVICE_RESTORE, "RESTORE", &ap_restore_schema},
	{SERVICE_TPM, "TPM", &ap_enrol_schema},
	{SERVICE_TPM_IS, "TPM_IS", &ap_enrolled_schema},
	{SERVICE_QUOTE, "QUOTE", &ap_quote_schema},
	{SERVICE_QUOTED, "QUOTED", &ap_quoted_schema},
	{SERVICE_REVOKE, "REVOKE", &service_revoke_schema},
	{SERVICE_REVOKED, "REVOKED", &revocation_outcome_schema},
	{SERVICE_REVOCATIONS, "REVOCATIONS", &service_empty_schema},
	{SERVICE_REVOCATIONS_ARE, "REVOCATIONS_ARE", &revocation_status_schema},
	{SERVICE_REVOCATION_KEY, "REVOCATION_KEY", &service_revocation_key_schema},
	{SERVICE_AUTHORISED, "AUTHORISED", &ap_authorised_schema},
	{SERVICE_BACKED_UP, "BACKED_UP", &ap_backed_up_schema},
	{SERVICE_PEERS, "PEERS", &service_empty_schema},
	{SERVICE_ENROL, "ENROL", &service_enrol_schema},
	{SERVICE_REMOVE_PEER, "REMOVE_PEER", &service_name_schema},
	{SERVICE_JOIN, "JOIN", &service_join_schema},
	{SERVICE_OFFICERS, "OFFICERS", &service_officers_schema},
	{SERVICE_PEERS_ARE, "PEERS_ARE", &service_peers_schema},
	{SERVICE_ENROLLED, "ENROLLED", &peer_schema},
	{SERVICE_OFFICERS_ARE, "OFFICERS_ARE", &service_officers_schema},
	{SERVICE_ERROR, "ERROR", &service_error_schema},
	{SERVICE_DONE, "DONE", &service_empty_schema},
	{SERVICE_STATUS_IS, "STATUS_IS", &service_status_schema},
	{SERVICE_ATTESTED, "ATTESTED", &service_attested_schema},
	{SERVICE_SEALED, "SEALED", &service_sealed_schema},
	{SERVICE_RAN, "RAN", &service_ran_schema},
	{SERVICE_EVENTS_ARE, "EVENTS_ARE", &ap_measurements_schema},
	{SERVICE_FAREWELL, "FAREWELL", &service_farewell_schema},
	{SERVICE_ROOT_IS, "ROOT_IS", &service_root_schema},
	{SERVICE_CANDIDATE, "CANDIDATE", &service_candidate_schema},
	{SERVICE_TAKEN, "TAKEN", &service_taken_schema},
	{SERVICE_POLICY_PUSH, "POLICY_PUSH", &service_empty_schema},
	{SERVICE_POLICY_PUSHED, "POLICY_PUSHED", &policies_pushed_schema},
	{SERVICE_DAC_GET, "DAC_GET", &service_dac_get_schema},
	{SERVICE_DAC_GOT, "DAC_GOT", &service_dac_got_schema},
	{SERVICE_IRE_RUN, "IRE_RUN", &service_ire_run_schema},
	{SERVICE_IRE_UP, "IRE_UP", &service_ire_up_schema},
	{SERVICE_CHANNEL_TEST, "CHANNEL_TEST", &service_channel_test_schema},
	{SERVICE_CHANNEL_TESTED, "CHANNEL_TESTED", &service_channel_tested_schema},
	{SERVICE_IRE_LIST, "IRE_LIST", &service_empty_schema},
	{SERVICE_IRES_ARE, "IRES_ARE", &service_ires_schema},
	{SERVICE_IRE_STOP, "IRE_STOP", &service_ire_stop_schema},
	{SERVICE_IRE_STOPPED, "IRE_STOPPED", &service_ire_stopped_schema},
	{SERVICE_PROGRESS, "PROGRESS", &service_progress_schema},
	{SERVICE_LOG, "LOG", &service_log_schema},
};

const struct schema *service_schema(enum service_type type)
{
	for (size_t i = 0; i < COUNT_OF(types); i++)
		if (types[i].type == type)
			return types[i].schema;
	return NULL;
}

const char *service_type_name(enum service_type type)
{
	for (size_t i = 0; i < COUNT_OF(types); i++)
		if (types[i].type == type)
			return types[i].name;
	return "unknown";
}

/* {type, body} around every message. */
struct envelope {
	uint8_t type;
	struct span body;
};
static const struct field envelope_fields[] = {
	F_UINT(struct envelope, 1, type, 255),
	F_BYTES(struct envelope, 2, body, 1, SERVICE_MESSAGE_MAX),
};
static const struct schema envelope_schema = SCHEMA(struct envelope, "message", SHAPE_MAP, envelope_fields);

result service_send(int fd, enum service_type type, const void *body, const int *fds, size_t fd_count, int timeout_ms)
{
	static const struct service_empty nothing = {false};
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes message = BYTES_EMPTY;
	TRY(schema_encode(service_schema(type), body ? body : &nothing, &encoding));
	struct envelope envelope = {(uint8_t)type, bytes_span(&encoding)};
	TRY(schema_encode(&envelope_schema, &envelope, &message));
	return sock_send(fd, bytes_span(&message), fds, fd_count, timeout_ms);
}

result service_parse(struct span bytes, enum service_type *out_type, struct span *out_body)
{
	struct envelope envelope;
	CLEANUP(arena_free) struct arena none = arena_of(64);
	TRY(schema_decode(&envelope_schema, bytes, &none, &envelope));
	if (!service_schema((enum service_type)envelope.type))
		return fail(WRONG_KIND, "message %u", envelope.type);
	*out_type = (enum service_type)envelope.type;
	*out_body = envelope.body;
	return OK;
}

void service_message_free(struct service_message *message)
{
	if (message)
		sock_message_free(&message->raw);
}

result service_receive(int fd, int timeout_ms, struct service_message *out)
{
	CLEANUP(service_message_free) struct service_message message = SERVICE_MESSAGE_EMPTY;
	TRY(sock_receive(fd, SERVICE_MESSAGE_MAX, SOCK_MAX_FDS, timeout_ms, &message.raw));
	TRY(service_parse(bytes_span(&message.raw.data), &message.type, &message.body));
	*out = message;
	message = SERVICE_MESSAGE_EMPTY; /* transferred */
	return OK;
}

result service_decode(const struct service_message *message, struct arena *arena, void *out)
{
	return schema_decode(service_schema(message->type), message->body, arena, out);
}
