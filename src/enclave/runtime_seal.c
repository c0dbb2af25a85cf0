/*
 * What a program seals to its own enclave, for a later launch of it (docs/PROTOCOL.fabric "Sealed values"). The secure processor
 * keeps nothing: it wraps a fresh key for this name, measurement and root, and releases it as it does a secret of the manifest.
 * What is unsealed enters the chain as an ORIGIN under the grant.
 */
#include <string.h>

#include "crypto/box.h"
#include "crypto/random.h"
#include "enclave/runtime_call.h"

static const char sealed_label[] = "troth sealed value1";

struct value {
	uint8_t v;
	struct span sealed, ciphertext; /* object that holds the key; AE(key, label ‖ its oid, data) */
};
static const struct field value_fields[] = {
	F_UINT(struct value, 1, v, 1),
	F_BYTES(struct value, 2, sealed, 1, 2048),
	F_BYTES(struct value, 3, ciphertext, AEAD_TAG_SIZE, FABRIC_SEAL_MAX + AEAD_TAG_SIZE),
};
static const struct schema value_schema = SCHEMA(struct value, "sealed value", SHAPE_MAP, value_fields);

void released_free(struct calls *calls)
{
	for (size_t i = 0; i < calls->released_count; i++)
		secret_free(&calls->released[i].key);
	calls->released_count = 0;
}

/* ---- The host ----------------------------------------------------------------------------------- */

static result receive(struct runtime *rt, struct control_message *message, struct arena *arena, struct control_seal_answer *out)
{
	for (bool have = false; !have;) {
		control_message_free(message);
		*message = CONTROL_MESSAGE_EMPTY;
		TRY(runtime_next(rt, RUNTIME_REPLY_MS, message, &have));
	}
	if (message->type != CONTROL_SEAL_ANSWER)
		return fail(ILLEGAL_STATE, "the host sent %s instead of SEAL_ANSWER", control_type_name(message->type));
	return control_decode(message, arena, out);
}

/* A host that does not answer ends the enclave; one that refuses does not. */
static result ask(struct runtime *rt, enum control_type type, const void *body, struct control_message *message, struct arena *arena,
	struct control_seal_answer *out)
{
	result answered = runtime_send(rt, type, body);
	if (answered == OK)
		answered = receive(rt, message, arena, out);
	if (answered != OK)
		return rt->calls->host_failed = answered;
	enum reason reason = reason_row((enum reason)out->reason)->reason;
	if (out->reason != OK)
		return fail(reason == OK ? INTERNAL : reason, "%s", out->text);
	return OK;
}

/* ---- To this enclave ----------------------------------------------------------------------------- */

static bool is_for_us(const struct runtime *rt, const struct seal_policy *policy)
{
	return policy->v == SEAL_BY_MEASUREMENT && strcmp(policy->name, rt->manifest.name) == 0 &&
		memcmp(policy->rot_id, rt->prepare.rot_id, OID_SIZE) == 0 &&
		memcmp(policy->measurement, rt->measurement, SHA384_SIZE) == 0;
}

static result label_of(const uint8_t oid[static OID_SIZE], uint8_t *out, size_t cap, struct span *out_span)
{
	struct writer w = writer_fixed(out, cap);
	writer_str(&w, sealed_label);
	writer_put(&w, oid, OID_SIZE);
	return writer_finish(&w, out_span);
}

/* Only an answer over our own box counts: the host could box a key that it knows. */
static result check_sealed(struct runtime *rt, struct span object, struct span box, struct span policy, uint8_t out_oid[static OID_SIZE])
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct sealed sealed;
	struct hash hash;
	uint8_t expected[SHA256_SIZE];
	TRY(runtime_open_sealed(rt, object, &arena, &sealed, out_oid));
	TRY(hash_start(&hash, HASH_SHA256));
	hash_add(&hash, box);
	hash_add(&hash, policy);
	hash_finish(&hash, expected);
	if (!is_for_us(rt, &sealed.policy) || memcmp(sealed.box_hash, expected, SHA256_SIZE) != 0)
		return fail(SEAL_FOREIGN, "the host answered with another sealed object");
	return OK;
}

/* A key of its own for each value: it wraps once, and the secure processor sees no more than 32 bytes. */
static result seal_key(struct runtime *rt, const struct secret *key, struct arena *arena, struct span *out, uint8_t out_oid[static OID_SIZE])
{
	CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct seal_policy policy = {.v = SEAL_BY_MEASUREMENT, .name = rt->manifest.name};
	struct control_seal_answer answer;
	uint8_t box[AEAD_KEY_SIZE + BOX_OVERHEAD];
	memcpy(policy.rot_id, rt->prepare.rot_id, OID_SIZE);
	memcpy(policy.measurement, rt->measurement, SHA384_SIZE);
	TRY(schema_encode(&seal_policy_schema, &policy, &encoding));
	const struct epoch_link *head = epoch_chain_head(rt->chain);
	TRY(box_seal(SPAN_ARRAY(head->kem_pk), "seal-in", bytes_span(&encoding), secret_span(key), box));
	const struct control_seal body = {bytes_span(&encoding), SPAN_ARRAY(box)};
	TRY(ask(rt, CONTROL_SEAL, &body, &message, arena, &answer));
	TRY(check_sealed(rt, answer.object, SPAN_ARRAY(box), bytes_span(&encoding), out_oid));
	return arena_copy(arena, answer.object, out);
}

result seal_value(struct runtime *rt, struct span data, struct bytes *out)
{
	static uint8_t ciphertext[FABRIC_SEAL_MAX + AEAD_TAG_SIZE];
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	struct value value = {.v = 1};
	uint8_t label[sizeof(sealed_label) + OID_SIZE], oid[OID_SIZE];
	struct span aad;
	TRY(secret_new(AEAD_KEY_SIZE, &key));
	random_bytes(key.data, key.len);
	TRY(seal_key(rt, &key, &arena, &value.sealed, oid));
	TRY(label_of(oid, label, sizeof(label), &aad));
	TRY(aead_seal_once(key.data, aad, data, ciphertext));
	value.ciphertext = span_of(ciphertext, data.len + AEAD_TAG_SIZE);
	return schema_encode(&value_schema, &value, out);
}

/* ---- And back ------------------------------------------------------------------------------------ */

/* The program brought it, nobody else is to blame. */
static result unlike_a_peer(result opened)
{
	if (opened == EPOCH_FOREIGN)
		return fail(SEAL_FOREIGN, "it was sealed under another root");
	if (opened == BAD_SIGNATURE || opened == BAD_TAG)
		return fail(BAD_VALUE, "the sealed value was altered");
	return opened;
}

static struct released *find_released(struct calls *calls, const uint8_t oid[static OID_SIZE])
{
	for (size_t i = 0; i < calls->released_count; i++)
		if (memcmp(calls->released[i].seal_oid, oid, OID_SIZE) == 0)
			return &calls->released[i];
	return NULL;
}

static result ask_release(struct runtime *rt, struct span object, struct unseal_request *request, struct released *row)
{
	CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	CLEANUP(bytes_free) struct bytes signed_one = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	struct control_seal_answer answer;
	memcpy(request->launch_id, rt->prepare.launch_id, LAUNCH_ID_SIZE);
	random_bytes(request->nonce, sizeof(request->nonce));
	TRY(object_sign(KIND_UNSEAL_REQUEST, request, &rt->sign, &signed_one, NULL));
	const struct control_unseal_value body = {object, bytes_span(&signed_one)};
	TRY(ask(rt, CONTROL_UNSEAL_VALUE, &body, &message, &arena, &answer));
	TRY(runtime_check_grant(rt, request, answer.object, answer.box, &row->grant, row->grant_oid));
	TRY(runtime_open_granted(rt, request, answer.box, &key));
	if (key.len != AEAD_KEY_SIZE)
		return fail(SEAL_FOREIGN, "a secret of %zu bytes, which no program sealed", key.len);
	memcpy(row->seal_oid, request->seal_oid, OID_SIZE);
	row->key = secret_move(&key);
	return OK;
}

static result release(struct runtime *rt, struct span object, struct released **out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct calls *calls = rt->calls;
	struct unseal_request request = {.v = 1};
	struct sealed sealed;
	TRY(unlike_a_peer(runtime_open_sealed(rt, object, &arena, &sealed, request.seal_oid)));
	if (!is_for_us(rt, &sealed.policy))
		return fail(SEAL_FOREIGN, "it was sealed for '%s', another measurement or another root", sealed.policy.name);
	if ((*out = find_released(calls, request.seal_oid)))
		return OK;
	if (calls->released_count + rt->secret_count >= MAX_GRANTS)
		return fail(LIMIT_EXCEEDED, "one launch unseals at most %d values and secrets", MAX_GRANTS);
	struct released *row = &calls->released[calls->released_count];
	*row = (struct released){.key = SECRET_EMPTY};
	TRY(ask_release(rt, object, &request, row));
	calls->released_count++;
	*out = row;
	return OK;
}

/* Once: whoever unseals it again learns nothing new. It is a parent of what follows; `in` lists what the job gives. */
static result enter_chain(struct runtime *rt, struct released *row, struct span data)
{
	uint8_t salt[DATA_SALT_SIZE], commit[SHA256_SIZE];
	struct cause origin = {.has_data = false};
	if (row->entered)
		return OK;
	random_bytes(salt, sizeof(salt));
	hmac_sha256(SPAN_ARRAY(salt), data, commit);
	TRY(records_origin(rt, "unsealed", "unseal", commit, row->grant_oid, &origin.parent));
	row->entered = true;
	return call_note_unsealed(rt, &origin);
}

static void wipe_bytes(struct bytes *data)
{
	if (data->len)
		explicit_bzero(data->data, data->len);
	bytes_free(data);
}

static result decrypt(const struct released *row, struct span ciphertext, struct bytes *out)
{
	uint8_t label[sizeof(sealed_label) + OID_SIZE];
	struct span aad;
	TRY(label_of(row->seal_oid, label, sizeof(label), &aad));
	TRY(bytes_copy(ciphertext, out));
	out->len = ciphertext.len - AEAD_TAG_SIZE;
	return unlike_a_peer(aead_open_once(row->key.data, aad, ciphertext, out->data));
}

result unseal_value(struct runtime *rt, struct span bytes, struct bytes *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	CLEANUP(wipe_bytes) struct bytes data = BYTES_EMPTY;
	struct released *row;
	struct value value;
	TRY(schema_decode(&value_schema, bytes, &arena, &value));
	if (value.v != 1)
		return fail(BAD_VALUE, "a sealed value of version %u", value.v);
	TRY(release(rt, value.sealed, &row));
	TRY(decrypt(row, value.ciphertext, &data));
	TRY(enter_chain(rt, row, bytes_span(&data)));
	*out = bytes_move(&data);
	return OK;
}
