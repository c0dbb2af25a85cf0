#include "enclave/control.h"

#include "object/seal.h"
#include "policy/references.h"
#include "policy/versions.h"

enum { OBJECT_MAX = 64 * 1024, POLICY_BYTES_MAX = 16 * 1024 * 1024, MANIFEST_MAX = 48 * 1024 * 1024, URI_TEXT_MAX = 120, EPOCHS_MAX = 1 << 17,
	KEYS_MAX = 4096, FOREIGN_MAX = 256 };

static const struct field sealed_fields[] = {
	F_TEXT(struct control_sealed, 1, name, 1, NAME_MAX_LEN),
	F_BYTES(struct control_sealed, 2, object, 1, OBJECT_MAX),
};
static const struct schema sealed_item_schema = SCHEMA(struct control_sealed, "sealed", SHAPE_ARRAY, sealed_fields);

enum { PLATFORM_MAX = 256 * 1024 }; /* object/evidence.h */

static const struct field prepare_fields[] = {
	F_VERSION(struct control_prepare, 1, v, 1),
	F_FIXED(struct control_prepare, 2, launch_id),
	F_FIXED(struct control_prepare, 3, run_id),
	F_BYTES(struct control_prepare, 4, manifest, 1, MANIFEST_MAX),
	F_LIST(struct control_prepare, 5, sources, source_count, &text_item_schema, 0, 0, 100000),
	F_UINT(struct control_prepare, 6, uid, 0),
	F_FIXED(struct control_prepare, 7, rot_id),
	F_BYTES(struct control_prepare, 8, epoch_record, 1, OBJECT_MAX),
	F_TEXT(struct control_prepare, 9, trust_domain, 1, URI_TEXT_MAX),
	F_BYTES(struct control_prepare, 10, policy, 1, POLICY_BYTES_MAX),
	F_LIST(struct control_prepare, 11, sealed, sealed_count, &sealed_item_schema, 0, 0, 32),
	F_UINT(struct control_prepare, 12, limits_kind, LIMITS_CGROUP2),
	F_BOOL(struct control_prepare, 13, group_memory),
	F_BOOL(struct control_prepare, 14, group_processes),
	F_LIST(struct control_prepare, 15, history, history_count, &bytes_item_schema, 0, 0, EPOCHS_MAX),
	F_LIST(struct control_prepare, 16, recovery_keys, recovery_key_count, &bytes_item_schema, 0, 0, KEYS_MAX),
	F_BYTES(struct control_prepare, 17, platform, 0, PLATFORM_MAX),
	F_BYTES(struct control_prepare, 18, platform_trust, 0, PLATFORM_MAX),
	F_LIST(struct control_prepare, 19, references, reference_count, &bytes_item_schema, 0, 0, POLICY_MAX_REFERENCES),
	F_LIST_ABSENT(struct control_prepare, 20, foreign, foreign_count, &bytes_item_schema, 0, 1, FOREIGN_MAX),
	F_BYTES_OR_ABSENT(struct control_prepare, 21, policy_version, has_policy_version, 1, POLICY_BYTES_MAX),
	F_TEXT_OR_ABSENT(struct control_prepare, 23, folder, has_folder, 1, PATH_SIZE - 1),
};
const struct schema control_prepare_schema = SCHEMA(struct control_prepare, "PREPARE", SHAPE_MAP, prepare_fields);

static const struct field prepared_fields[] = {
	F_FIXED(struct control_prepared, 1, measurement),
	F_FIXED(struct control_prepared, 2, core),
	F_FIXED(struct control_prepared, 3, sign_pk),
	F_FIXED(struct control_prepared, 4, kem_pk),
	F_TEXT(struct control_prepared, 5, tier, 1, 16),
	F_TEXT(struct control_prepared, 6, isolation, 1, 16),
	F_TEXT(struct control_prepared, 7, limits, 1, 16),
	F_TEXT(struct control_prepared, 8, secret_memory, 1, 16),
	F_TEXT(struct control_prepared, 9, interpreter, 1, 16),
	F_BOOL(struct control_prepared, 10, instrumented),
};
const struct schema control_prepared_schema = SCHEMA(struct control_prepared, "PREPARED", SHAPE_MAP, prepared_fields);

static const struct field launched_fields[] = {
	F_FIXED(struct control_launched, 1, nonce),
	F_FIXED(struct control_launched, 2, epoch_oid),
};
const struct schema control_launched_schema = SCHEMA(struct control_launched, "LAUNCHED", SHAPE_MAP, launched_fields);

static const struct field endorse_fields[] = {F_FIXED(struct control_endorse, 1, signature)};
const struct schema control_endorse_schema = SCHEMA(struct control_endorse, "ENDORSE", SHAPE_MAP, endorse_fields);

static const struct field challenge_fields[] = {F_BYTES(struct control_challenge, 1, box, 1, 1024)};
const struct schema control_challenge_schema = SCHEMA(struct control_challenge, "CHALLENGE", SHAPE_MAP, challenge_fields);

static const struct field proof_fields[] = {F_FIXED(struct control_proof, 1, proof)};
const struct schema control_proof_schema = SCHEMA(struct control_proof, "PROOF", SHAPE_MAP, proof_fields);

static const struct field endorsed_fields[] = {
	F_BYTES(struct control_endorsed, 1, certificate, 1, OBJECT_MAX),
	F_BYTES(struct control_endorsed, 2, report, 1, OBJECT_MAX),
};
const struct schema control_endorsed_schema = SCHEMA(struct control_endorsed, "ENDORSED", SHAPE_MAP, endorsed_fields);

static const struct field unseal_fields[] = {
	F_TEXT(struct control_unseal, 1, name, 1, NAME_MAX_LEN),
	F_BYTES(struct control_unseal, 2, request, 1, OBJECT_MAX),
};
const struct schema control_unseal_schema = SCHEMA(struct control_unseal, "UNSEAL", SHAPE_MAP, unseal_fields);

static const struct field unsealed_fields[] = {
	F_TEXT(struct control_unsealed, 1, name, 1, NAME_MAX_LEN),
	F_BYTES(struct control_unsealed, 2, grant, 1, OBJECT_MAX),
	F_BYTES(struct control_unsealed, 3, box, 1, OBJECT_MAX),
};
const struct schema control_unsealed_schema = SCHEMA(struct control_unsealed, "UNSEALED", SHAPE_MAP, unsealed_fields);

static const struct field seal_fields[] = {
	F_BYTES(struct control_seal, 1, policy, 1, OBJECT_MAX),
	F_BYTES(struct control_seal, 2, box, 1, OBJECT_MAX),
};
const struct schema control_seal_schema = SCHEMA(struct control_seal, "SEAL", SHAPE_MAP, seal_fields);

static const struct field channel_ask_fields[] = {F_TEXT(struct control_channel_ask, 1, peer, 1, NAME_MAX_LEN)};
const struct schema control_channel_ask_schema = SCHEMA(struct control_channel_ask, "CHANNEL_ASK", SHAPE_MAP, channel_ask_fields);

static const struct field channel_state_fields[] = {
	F_TEXT(struct channel_state, 1, edge, 1, NAME_MAX_LEN),
	F_TEXT(struct channel_state, 2, operation, 1, NAME_MAX_LEN),
	F_BOOL(struct channel_state, 3, connects),
	F_BOOL(struct channel_state, 4, open),
	F_UINT(struct channel_state, 5, suite, 0),
	F_UINT(struct channel_state, 6, level, 0),
	F_UINT(struct channel_state, 7, renewed, 0),
	F_UINT(struct channel_state, 8, reason, 0),
	F_TEXT(struct channel_state, 9, text, 0, CONTROL_TEXT_MAX),
};
const struct schema channel_state_schema = SCHEMA(struct channel_state, "channel", SHAPE_MAP, channel_state_fields);
static const struct field channel_is_fields[] = {F_LIST(struct control_channel_is, 1, rows, count, &channel_state_schema, 0, 0, 256)};
const struct schema control_channel_is_schema = SCHEMA(struct control_channel_is, "CHANNEL_IS", SHAPE_MAP, channel_is_fields);

static const struct field unseal_value_fields[] = {
	F_BYTES(struct control_unseal_value, 1, sealed, 1, OBJECT_MAX),
	F_BYTES(struct control_unseal_value, 2, request, 1, OBJECT_MAX),
};
const struct schema control_unseal_value_schema = SCHEMA(struct control_unseal_value, "UNSEAL_VALUE", SHAPE_MAP, unseal_value_fields);

static const struct field seal_answer_fields[] = {
	F_UINT(struct control_seal_answer, 1, reason, 0),
	F_TEXT(struct control_seal_answer, 2, text, 0, CONTROL_TEXT_MAX),
	F_BYTES(struct control_seal_answer, 3, object, 0, OBJECT_MAX),
	F_BYTES(struct control_seal_answer, 4, box, 0, OBJECT_MAX),
};
const struct schema control_seal_answer_schema = SCHEMA(struct control_seal_answer, "SEAL_ANSWER", SHAPE_MAP, seal_answer_fields);

static const struct field channel_fields[] = {
	F_TEXT(struct control_channel, 1, edge, 1, NAME_MAX_LEN),
	F_TEXT(struct control_channel, 2, peer, 1, NAME_MAX_LEN),
	F_TEXT(struct control_channel, 3, operation, 1, NAME_MAX_LEN),
	F_TEXT(struct control_channel, 4, port, 1, NAME_MAX_LEN),
	F_BOOL(struct control_channel, 5, initiator),
	F_BOOL(struct control_channel, 6, external),
	F_FIXED(struct control_channel, 7, point),
	F_TEXT_ABSENT(struct control_channel, 8, uri, 1, URI_MAX_LEN),
	F_BYTES_ABSENT(struct control_channel, 9, above, 1, 40 * 1024),
};
const struct schema control_channel_schema = SCHEMA(struct control_channel, "CHANNEL", SHAPE_MAP, channel_fields);

static const struct field input_fields[] = {
	F_TEXT(struct control_input, 1, role, 1, NAME_MAX_LEN),
	F_TEXT(struct control_input, 2, port, 1, NAME_MAX_LEN),
};
const struct schema control_input_schema = SCHEMA(struct control_input, "INPUT", SHAPE_MAP, input_fields);

static const struct field output_fields[] = {
	F_TEXT(struct control_output, 1, name, 1, NAME_MAX_LEN),
	F_TEXT(struct control_output, 2, port, 1, NAME_MAX_LEN),
	F_BOOL(struct control_output, 3, statement),
	F_TEXT(struct control_output, 4, media_type, 1, 127),
};
const struct schema control_output_schema = SCHEMA(struct control_output, "OUTPUT", SHAPE_MAP, output_fields);

static const struct field revoked_fields[] = {
	F_BYTES(struct control_revoked, 1, head, 1, REVOCATION_HEAD_MAX),
	F_BOOL(struct control_revoked, 2, fresh),
};
const struct schema control_revoked_schema = SCHEMA(struct control_revoked, "REVOKED", SHAPE_MAP, revoked_fields);

static const struct field reissued_fields[] = {
	F_LIST(struct control_reissued, 1, records, record_count, &bytes_item_schema, 0, 0, EPOCHS_MAX),
	F_BYTES(struct control_reissued, 2, certificate, 0, OBJECT_MAX),
	F_BYTES(struct control_reissued, 3, report, 0, OBJECT_MAX),
	F_BOOL(struct control_reissued, 4, emergency),
	F_LIST(struct control_reissued, 5, recovery_keys, recovery_key_count, &bytes_item_schema, 0, 0, KEYS_MAX),
	F_BYTES(struct control_reissued, 6, platform, 0, PLATFORM_MAX),
};
const struct schema control_reissued_schema = SCHEMA(struct control_reissued, "REISSUED", SHAPE_MAP, reissued_fields);

static const struct field foreign_fields[] = {
	F_LIST(struct control_foreign, 1, histories, history_count, &bytes_item_schema, 0, 1, FOREIGN_MAX),
};
const struct schema control_foreign_schema = SCHEMA(struct control_foreign, "FOREIGN", SHAPE_MAP, foreign_fields);

static const struct field evidence_fields[] = {F_FIXED(struct control_evidence, 1, bind)};
const struct schema control_evidence_schema = SCHEMA(struct control_evidence, "EVIDENCE", SHAPE_MAP, evidence_fields);

static const struct field evidence_reply_fields[] = {F_BYTES(struct control_evidence_reply, 1, report, 1, OBJECT_MAX)};
const struct schema control_evidence_reply_schema =
	SCHEMA(struct control_evidence_reply, "EVIDENCE_REPLY", SHAPE_MAP, evidence_reply_fields);

static const struct field note_fields[] = {
	F_UINT(struct control_note, 1, reason, 0),
	F_TEXT(struct control_note, 2, text, 0, CONTROL_TEXT_MAX),
};
const struct schema control_note_schema = SCHEMA(struct control_note, "NOTE", SHAPE_MAP, note_fields);

static const struct field progress_fields[] = {
	F_UINT(struct control_progress, 1, in, 0),
	F_UINT(struct control_progress, 2, out, 0),
};
const struct schema control_progress_schema = SCHEMA(struct control_progress, "PROGRESS", SHAPE_MAP, progress_fields);

static const struct field log_fields[] = {F_BYTES(struct control_log, 1, text, 1, CONTROL_LOG_MAX)};
const struct schema control_log_schema = SCHEMA(struct control_log, "LOG", SHAPE_MAP, log_fields);

static const struct field policy_fields[] = {F_BYTES(struct control_policy, 1, version, 1, POLICY_BYTES_MAX)};
const struct schema control_policy_schema = SCHEMA(struct control_policy, "POLICY", SHAPE_MAP, policy_fields);

static const struct field policy_taken_fields[] = {
	F_UINT(struct control_policy_taken, 1, reason, 0),
	F_TEXT(struct control_policy_taken, 2, text, 0, CONTROL_TEXT_MAX),
	F_FIXED(struct control_policy_taken, 3, digest),
	F_UINT(struct control_policy_taken, 4, version, 0),
	F_UINT(struct control_policy_taken, 5, closed, 0),
};
const struct schema control_policy_taken_schema = SCHEMA(struct control_policy_taken, "POLICY_TAKEN", SHAPE_MAP, policy_taken_fields);

static const struct field finished_fields[] = {
	F_LIST(struct control_finished, 1, records, record_count, &bytes_item_schema, 0, 1, 1 << 18),
	F_LIST(struct control_finished, 2, statements, statement_count, &bytes_item_schema, 0, 0, 256),
	F_LIST(struct control_finished, 3, grants, grant_count, &bytes_item_schema, 0, 0, 32),
	F_LIST(struct control_finished, 4, salts, salt_count, &salt_row_schema, FIELD_SORTED, 0, 256),
	F_FIXED(struct control_finished, 5, root),
	F_UINT(struct control_finished, 6, in, 0),
	F_UINT(struct control_finished, 7, out, 0),
	F_UINT(struct control_finished, 8, cpu_ms, 0),
	F_UINT(struct control_finished, 9, max_rss, 0),
	F_UINT(struct control_finished, 10, rekeys, 0),
	F_UINT(struct control_finished, 11, reissues, 0),
	F_LIST_OR_ABSENT(struct control_finished, 12, versions, version_count, has_versions, &bytes_item_schema, FIELD_SORTED, 1, POLICY_MAX_VERSIONS),
	F_UINT(struct control_finished, 13, keyupdates, 0),
};
const struct schema control_finished_schema = SCHEMA(struct control_finished, "FINISHED", SHAPE_MAP, finished_fields);

static const struct field failed_fields[] = {
	F_UINT(struct control_failed, 1, reason, 0),
	F_TEXT(struct control_failed, 2, text, 0, CONTROL_TEXT_MAX),
	F_TEXT(struct control_failed, 3, cause, 0, NAME_MAX_LEN),
};
const struct schema control_failed_schema = SCHEMA(struct control_failed, "FAILED", SHAPE_MAP, failed_fields);

static const struct field bundle_fields[] = {F_FIXED_OR_NULL(struct control_bundle, 1, record, has_record)};
const struct schema control_bundle_schema = SCHEMA(struct control_bundle, "BUNDLE", SHAPE_MAP, bundle_fields);

enum { BUNDLE_BYTES_MAX = CONTROL_MAX - 64 * 1024 };
static const struct field bundle_is_fields[] = {
	F_UINT(struct control_bundle_is, 1, reason, 0),
	F_TEXT(struct control_bundle_is, 2, text, 0, CONTROL_TEXT_MAX),
	F_BYTES(struct control_bundle_is, 3, bundle, 0, BUNDLE_BYTES_MAX),
};
const struct schema control_bundle_is_schema = SCHEMA(struct control_bundle_is, "BUNDLE_IS", SHAPE_MAP, bundle_is_fields);

static const struct field empty_fields[] = {F_BOOL(struct control_empty, 1, nothing)};
const struct schema control_empty_schema = SCHEMA(struct control_empty, "empty", SHAPE_MAP, empty_fields);

static const struct {
	enum control_type type;
	const char *name;
	const struct schema *schema;
} types[] = {
	{CONTROL_PREPARE, "PREPARE", &control_prepare_schema},
	{CONTROL_LAUNCHED, "LAUNCHED", &control_launched_schema},
	{CONTROL_CHALLENGE, "CHALLENGE", &control_challenge_schema},
	{CONTROL_ENDORSED, "ENDORSED", &control_endorsed_schema},
	{CONTROL_UNSEALED, "UNSEALED", &control_unsealed_schema},
	{CONTROL_CHANNEL, "CHANNEL", &control_channel_schema},
	{CONTROL_INPUT, "INPUT", &control_input_schema},
	{CONTROL_OUTPUT, "OUTPUT", &control_output_schema},
	{CONTROL_EVIDENCE_REPLY, "EVIDENCE_REPLY", &control_evidence_reply_schema},
	{CONTROL_START, "START", &control_empty_schema},
	{CONTROL_ABORT, "ABORT", &control_failed_schema},
	{CONTROL_REISSUED, "REISSUED", &control_reissued_schema},
	{CONTROL_FOREIGN, "FOREIGN", &control_foreign_schema},
	{CONTROL_REVOKED, "REVOKED", &control_revoked_schema},
	{CONTROL_NOTE, "NOTE", &control_note_schema},
	{CONTROL_BUNDLE, "BUNDLE", &control_bundle_schema},
	{CONTROL_STOP, "STOP", &control_empty_schema},
	{CONTROL_PREPARED, "PREPARED", &control_prepared_schema},
	{CONTROL_ENDORSE, "ENDORSE", &control_endorse_schema},
	{CONTROL_PROOF, "PROOF", &control_proof_schema},
	{CONTROL_UNSEAL, "UNSEAL", &control_unseal_schema},
	{CONTROL_READY, "READY", &control_empty_schema},
	{CONTROL_EVIDENCE, "EVIDENCE", &control_evidence_schema},
	{CONTROL_STARTED, "STARTED", &control_empty_schema},
	{CONTROL_PROGRESS, "PROGRESS", &control_progress_schema},
	{CONTROL_LOG, "LOG", &control_log_schema},
	{CONTROL_FINISHED, "FINISHED", &control_finished_schema},
	{CONTROL_POLICY, "POLICY", &control_policy_schema},
	{CONTROL_POLICY_TAKEN, "POLICY_TAKEN", &control_policy_taken_schema},
	{CONTROL_FAILED, "FAILED", &control_failed_schema},
	{CONTROL_BUNDLE_IS, "BUNDLE_IS", &control_bundle_is_schema},
	{CONTROL_CHANNEL_ASK, "CHANNEL_ASK", &control_channel_ask_schema},
	{CONTROL_CHANNEL_IS, "CHANNEL_IS", &control_channel_is_schema},
	{CONTROL_SEAL, "SEAL", &control_seal_schema},
	{CONTROL_UNSEAL_VALUE, "UNSEAL_VALUE", &control_unseal_value_schema},
	{CONTROL_SEAL_ANSWER, "SEAL_ANSWER", &control_seal_answer_schema},
};

const char *control_type_name(enum control_type type)
{
	for (size_t i = 0; i < COUNT_OF(types); i++)
		if (types[i].type == type)
			return types[i].name;
	return "unknown";
}

const struct schema *control_schema(enum control_type type)
{
	for (size_t i = 0; i < COUNT_OF(types); i++)
		if (types[i].type == type)
			return types[i].schema;
	return NULL;
}

/* {type, body} around every message. */
struct envelope {
	uint8_t type;
	struct span body;
};
static const struct field envelope_fields[] = {
	F_UINT(struct envelope, 1, type, 255),
	F_BYTES(struct envelope, 2, body, 1, CONTROL_MAX),
};
static const struct schema envelope_schema = SCHEMA(struct envelope, "message", SHAPE_MAP, envelope_fields);

result control_send_encoded(int fd, enum control_type type, struct span body, int timeout_ms)
{
	CLEANUP(bytes_free) struct bytes message = BYTES_EMPTY;
	struct envelope envelope = {(uint8_t)type, body};
	TRY(schema_encode(&envelope_schema, &envelope, &message));
	result sent = sock_send(fd, bytes_span(&message), NULL, 0, timeout_ms);
	return sent == OK ? OK : fail_within(sent, "%s", control_type_name(type));
}

result control_send(int fd, enum control_type type, const struct schema *schema, const void *body, const int *fds,
	size_t fd_count, int timeout_ms)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes message = BYTES_EMPTY;
	TRY(schema_encode(schema, body, &encoding));
	struct envelope envelope = {(uint8_t)type, bytes_span(&encoding)};
	TRY(schema_encode(&envelope_schema, &envelope, &message));
	result sent = sock_send(fd, bytes_span(&message), fds, fd_count, timeout_ms);
	return sent == OK ? OK : fail_within(sent, "%s", control_type_name(type));
}

result control_parse(struct span bytes, enum control_type *out_type, struct span *out_body)
{
	struct envelope envelope;
	CLEANUP(arena_free) struct arena none = arena_of(64);
	TRY(schema_decode(&envelope_schema, bytes, &none, &envelope));
	if (!control_schema((enum control_type)envelope.type))
		return fail(WRONG_KIND, "control message %u", envelope.type);
	*out_type = (enum control_type)envelope.type;
	*out_body = envelope.body;
	return OK;
}

void control_message_free(struct control_message *message)
{
	if (message)
		sock_message_free(&message->raw);
}

result control_receive(int fd, int timeout_ms, struct control_message *out)
{
	CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
	TRY(sock_receive(fd, CONTROL_MAX, SOCK_MAX_FDS, timeout_ms, &message.raw));
	TRY(control_parse(bytes_span(&message.raw.data), &message.type, &message.body));
	*out = message;
	message = CONTROL_MESSAGE_EMPTY; /* transferred */
	return OK;
}

result control_decode(const struct control_message *message, struct arena *arena, void *out)
{
	const struct schema *schema = control_schema(message->type);
	return schema_decode(schema, message->body, arena, out);
}
