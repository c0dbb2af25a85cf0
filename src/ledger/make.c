#include "ledger/make.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/random.h"

/* ---- Grants --------------------------------------------------------------------------------------- */

static result check_issuer(const struct grant_link *link, const struct grant_link *parent)
{
	char text[ADDRESS_TEXT_SIZE];
	if (!parent)
		return grant_check_root(link);
	if (memcmp(link->issuer, parent->grant.audience, ADDRESS_SIZE) == 0)
		return grant_check_narrower(&link->grant, &parent->grant);
	address_format(parent->grant.audience, text);
	return fail(GRANT_BROKEN, "issuer: the grant above is for %s, who alone can delegate it", text);
}

result make_grant(const struct grant *draft, const struct grant_link *parent, const struct key *issuer, struct bytes *out, uint8_t *out_oid)
{
	struct grant_link link = {.grant = *draft};
	struct grant *grant = &link.grant;
	grant->v = 1;
	memcpy(grant->issuer, issuer->point, POINT_SIZE);
	address_of(grant->issuer, link.issuer);
	grant->has_parent = parent != NULL;
	memset(grant->parent, 0, OID_SIZE);
	if (parent) {
		memcpy(grant->parent, parent->oid, OID_SIZE);
		memcpy(grant->chain, parent->grant.chain, CHAIN_ID_SIZE);
	}
	random_bytes(grant->nonce, sizeof(grant->nonce));
	TRY(grant_check_alone(grant));
	TRY(check_issuer(&link, parent));
	return object_sign(KIND_GRANT, grant, issuer, out, out_oid);
}

/* ---- Requests and operations ----------------------------------------------------------------------- */

result make_request(const struct access_request *draft, const struct key *actor, struct bytes *out)
{
	struct access_request request = *draft;
	uint8_t owner[ADDRESS_SIZE];
	if (scope_parse(request.scope, owner) != OK || request.operation > 63)
		return fail(TX_MALFORMED, "the request: %s", request.operation > 63 ? "no such operation" : failure_text());
	request.v = 1;
	memcpy(request.actor, actor->point, POINT_SIZE);
	random_bytes(request.nonce, sizeof(request.nonce));
	return object_sign(KIND_ACCESS_REQUEST, &request, actor, out, NULL);
}

/* What the contract will compare with the operation, without the ledger's help. */
static result check_request(const struct operation *operation)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(key_free) struct key actor = KEY_EMPTY;
	struct access_request request;
	if (object_peek(KIND_ACCESS_REQUEST, operation->request, &arena, &request, NULL) != OK)
		return fail(TX_MALFORMED, "the request: %s", failure_text());
	if (key_from_point(SPAN_ARRAY(request.actor), &actor) != OK || object_verify(KIND_ACCESS_REQUEST, operation->request, &actor) != OK)
		return fail(BAD_SIGNATURE, "the request is not signed by its actor");
	if (memcmp(request.chain, operation->chain, CHAIN_ID_SIZE) != 0)
		return fail(CHAIN_FOREIGN, "the request is of another ledger");
	if (request.has_measurement && memcmp(request.measurement, operation->measurement, SHA384_SIZE) != 0)
		return fail(REQUEST_MISMATCH, "measurement: the request is for other code than what ran");
	if (operation->time > request.not_after)
		return fail(REQUEST_MISMATCH, "not_after: the request had expired when the operation ran");
	return OK;
}

result make_operation(const struct operation *draft, const struct key *processor, struct bytes *out, uint8_t *out_oid)
{
	struct operation operation = *draft;
	operation.v = 1;
	memcpy(operation.processor, processor->point, POINT_SIZE);
	if (span_is_zero(SPAN_ARRAY(operation.operation_id)))
		random_bytes(operation.operation_id, sizeof(operation.operation_id));
	TRY(check_request(&operation));
	return object_sign(KIND_OPERATION, &operation, processor, out, out_oid);
}

void make_commitment(const uint8_t salt[static 32], const uint8_t digest[static SHA256_SIZE], uint8_t out[static SHA256_SIZE])
{
	struct hash hash;
	if (hash_start(&hash, HASH_SHA256) != OK)
		abort();
	hash_add(&hash, span_str("troth data commitment1"));
	hash_add_lv(&hash, span_of(salt, 32));
	hash_add_lv(&hash, span_of(digest, SHA256_SIZE));
	hash_finish(&hash, out);
}

/* ---- Registrations ---------------------------------------------------------------------------------- */

result make_endorsement(const uint8_t chain[static CHAIN_ID_SIZE], const struct tx_register *body, const struct key *registrar, struct bytes *out)
{
	struct endorsement endorsement = {
		.v = 1, .subject = body->subject, .label = body->label, .not_before = body->not_before, .not_after = body->not_after};
	if (body->subject < REGISTERED_VMM || body->not_before >= body->not_after)
		return fail(TX_MALFORMED, "%s", body->subject < REGISTERED_VMM ? "subject: none is named" : "not_after: it is not after not_before");
	memcpy(endorsement.chain, chain, CHAIN_ID_SIZE);
	memcpy(endorsement.registrar, registrar->point, POINT_SIZE);
	memcpy(endorsement.digest, body->digest, SHA384_SIZE);
	return object_sign(KIND_REGISTRATION, &endorsement, registrar, out, NULL);
}

/* ---- Configurations ----------------------------------------------------------------------------------- */

result make_config_payload(struct ledger_config *config, struct bytes *out)
{
	if (config->quorum < 1 || config->quorum > config->member_count)
		return fail(CONFIG_INVALID, "quorum: %u of %zu members", config->quorum, config->member_count);
	if (config->registrar_quorum > config->registrar_count || (config->registrar_count && config->registrar_quorum < 1))
		return fail(CONFIG_INVALID, "registrar_quorum: %u of %zu registrars", config->registrar_quorum, config->registrar_count);
	for (size_t i = 0; i < config->cosigner_count; i++)
		if (config->cosigners[i].statement < STATEMENT_APPEND)
			return fail(CONFIG_INVALID, "cosigners: '%s' states nothing", config->cosigners[i].name);
	config->v = 1;
	TRY(schema_sort(&point_schema, config->members, config->member_count));
	TRY(schema_sort(&point_schema, config->registrars, config->registrar_count));
	TRY(schema_sort(&point_schema, config->processors, config->processor_count));
	TRY(schema_sort(&cosigner_schema, config->cosigners, config->cosigner_count));
	return schema_encode(&ledger_config_schema, config, out);
}

result make_config(struct span payload, const struct key *const *members, size_t count, struct bytes *out)
{
	return cose_strict_sign_make(payload, kind_label(KIND_LEDGER_CONFIG), members, count, out);
}

static result add_signers(const struct cose_sign *object, struct cose_signer *signers, size_t *count)
{
	if (*count + object->count > COSE_MAX_SIGNERS)
		return fail(TOO_LARGE, "more than %d signatures", COSE_MAX_SIGNERS);
	for (size_t i = 0; i < object->count; i++) {
		struct cose_signer *signer = &signers[(*count)++];
		memcpy(signer->kid, object->signatures[i].kid, KEY_ID_SIZE);
		memcpy(signer->signature, object->signatures[i].signature.data, SIGNATURE_SIZE);
	}
	return OK;
}

result make_config_join(const struct span *objects, size_t count, struct bytes *out)
{
	struct cose_signer signers[COSE_MAX_SIGNERS];
	struct span payload = SPAN_EMPTY;
	size_t signer_count = 0;
	for (size_t i = 0; i < count; i++) {
		struct cose_sign object;
		TRY(cose_strict_sign_parse(objects[i], &object));
		if (i > 0 && !span_equal(payload, object.payload))
			return fail(REQUEST_MISMATCH, "part %zu is of another configuration than part 1", i + 1);
		payload = object.payload;
		TRY(add_signers(&object, signers, &signer_count));
	}
	return cose_strict_sign_assemble(payload, signers, signer_count, out);
}

/* ---- Transactions -------------------------------------------------------------------------------------- */

result make_transaction(const struct transaction_frame *frame, enum transaction_type type, const void *body, struct bytes *out, uint8_t *out_txid)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct transaction tx = {.v = 1, .type = (uint8_t)type};
	uint64_t lifetime = frame->lifetime_ms ? frame->lifetime_ms : TX_LIFETIME_MS;
	if (lifetime > TX_WINDOW_MS)
		return fail(TX_TOO_FAR, "valid_until: at most %d s ahead", TX_WINDOW_MS / 1000);
	TRY(schema_encode(transaction_body_schema(type), body, &encoding));
	memcpy(tx.chain, frame->chain, CHAIN_ID_SIZE);
	memcpy(tx.sender, frame->sender->point, POINT_SIZE);
	random_bytes(tx.nonce, sizeof(tx.nonce));
	tx.valid_until = frame->now_ms + lifetime;
	tx.body = bytes_span(&encoding);
	return object_sign(KIND_TRANSACTION, &tx, frame->sender, out, out_txid);
}
