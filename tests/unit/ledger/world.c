#include "world.h"

#include <stdio.h>
#include <string.h>

static struct span sign(struct world *w, enum object_kind kind, const void *object, enum person signer, uint8_t *out_oid)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	struct span kept;
	expect_ok(object_sign(kind, object, &w->keys[signer], &bytes, out_oid));
	expect_ok(arena_copy(&w->arena, bytes_span(&bytes), &kept));
	return kept;
}

static void next_nonce(struct world *w, uint8_t out[static 32])
{
	memset(out, 0, 32);
	w->nonce++;
	memcpy(out, &w->nonce, sizeof(w->nonce));
}

const char *world_scope(struct world *w, enum person owner, const char *rest)
{
	char scope[SCOPE_MAX + 1];
	const char *kept;
	snprintf(scope, sizeof(scope), "%s%s", w->texts[owner], rest);
	expect_ok(arena_string(&w->arena, span_str(scope), &kept));
	return kept;
}

struct span world_tx(struct world *w, enum person sender, enum transaction_type type, const void *body)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	struct transaction tx = {.v = 1, .valid_until = w->time + 60 * 1000, .type = (uint8_t)type};
	expect_ok(schema_encode(transaction_body_schema(type), body, &encoding));
	memcpy(tx.chain, w->chain, CHAIN_ID_SIZE);
	memcpy(tx.sender, w->keys[sender].point, POINT_SIZE);
	next_nonce(w, tx.nonce);
	tx.body = bytes_span(&encoding);
	return sign(w, KIND_TRANSACTION, &tx, sender, NULL);
}

enum reason world_apply(struct world *w, struct span tx)
{
	struct contract_context ctx = {.height = w->index, .time_ms = w->time, .index = w->index};
	contract_verdict_free(&w->last);
	contract_begin(w->state, w->time);
	expect_ok(contract_apply(w->state, tx, &ctx, &w->last));
	w->index++;
	w->time += 1000;
	return w->last.code;
}

enum reason world_send(struct world *w, enum person sender, enum transaction_type type, const void *body)
{
	return world_apply(w, world_tx(w, sender, type, body));
}

struct span world_config(struct world *w, uint64_t seq, const enum person *signers, size_t signer_count)
{
	static struct point members[3], registrars[2], processors[1];
	struct ledger_config config = {.v = 1, .seq = seq, .members = members, .member_count = 3, .quorum = 2, .registrars = registrars,
		.registrar_count = 2, .registrar_quorum = 2, .processors = processors, .processor_count = 1, .log_name = "example.com/ledger",
		.time_bound_ms = 300 * 1000, .spool_bound_ms = 24 * 3600 * 1000};
	const struct key *keys[PEOPLE];
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct span kept;
	for (size_t i = 0; i < 3; i++)
		memcpy(members[i].bytes, w->keys[MEMBER_1 + i].point, POINT_SIZE);
	for (size_t i = 0; i < 2; i++)
		memcpy(registrars[i].bytes, w->keys[REGISTRAR_1 + i].point, POINT_SIZE);
	memcpy(processors[0].bytes, w->keys[PROCESSOR].point, POINT_SIZE);
	expect_ok(schema_sort(&point_schema, members, 3));
	expect_ok(schema_sort(&point_schema, registrars, 2));
	memcpy(config.log_key, w->log_key, sizeof(config.log_key));
	if (seq)
		memcpy(config.chain, w->chain, CHAIN_ID_SIZE);
	expect_ok(schema_encode(&ledger_config_schema, &config, &payload));
	if (!seq)
		ledger_chain_id(bytes_span(&payload), w->chain);
	for (size_t i = 0; i < signer_count; i++)
		keys[i] = &w->keys[signers[i]];
	expect_ok(cose_strict_sign_make(bytes_span(&payload), kind_label(KIND_LEDGER_CONFIG), keys, signer_count, &object));
	expect_ok(arena_copy(&w->arena, bytes_span(&object), &kept));
	return kept;
}

static struct bytes_item endorse(struct world *w, enum person registrar, const struct tx_register *body)
{
	struct endorsement e = {.v = 1, .subject = body->subject, .label = body->label, .not_before = body->not_before, .not_after = body->not_after};
	memcpy(e.chain, w->chain, CHAIN_ID_SIZE);
	memcpy(e.registrar, w->keys[registrar].point, POINT_SIZE);
	memcpy(e.digest, body->digest, SHA384_SIZE);
	return (struct bytes_item){sign(w, KIND_REGISTRATION, &e, registrar, NULL)};
}

void world_empty(struct world *w)
{
	*w = (struct world){.time = 1800000000000, .arena = arena_of(256 << 20)};
	for (size_t i = 0; i < PEOPLE; i++) {
		expect_ok(key_generate(&w->keys[i]));
		address_of(w->keys[i].point, w->addresses[i]);
		address_format(w->addresses[i], w->texts[i]);
	}
	memset(w->code_1, 1, SHA384_SIZE);
	memset(w->code_2, 2, SHA384_SIZE);
	memset(w->vmm, 3, SHA384_SIZE);
	expect_ok(ledger_state_new(&w->state));
}

void world_new(struct world *w)
{
	const enum person signers[] = {MEMBER_1, MEMBER_2};
	world_empty(w);
	struct tx_config config = {world_config(w, 0, signers, 2)};
	expect(world_send(w, MEMBER_1, TX_CONFIG, &config), OK);
	struct tx_register vmm = {.subject = REGISTERED_VMM, .label = "host", .not_before = w->time - 1000, .not_after = w->time + 365ULL * 24 * 3600 * 1000};
	memcpy(vmm.digest, w->vmm, SHA384_SIZE);
	expect(world_send(w, PROCESSOR, TX_REGISTER, &vmm), OK);
	struct tx_register code = vmm;
	code.subject = REGISTERED_ENCLAVE;
	code.label = "code 1";
	memcpy(code.digest, w->code_1, SHA384_SIZE);
	struct bytes_item endorsements[2] = {endorse(w, REGISTRAR_1, &code), endorse(w, REGISTRAR_2, &code)};
	code.endorsements = endorsements;
	code.endorsement_count = 2;
	expect(world_send(w, STRANGER, TX_REGISTER, &code), OK);
}

void world_free(struct world *w)
{
	for (size_t i = 0; i < PEOPLE; i++)
		key_free(&w->keys[i]);
	contract_verdict_free(&w->last);
	ledger_state_free(w->state);
	arena_free(&w->arena);
}

struct grant world_grant(struct world *w, enum person issuer, enum person audience, const char *scope)
{
	struct grant grant = {.v = 1, .scope = scope, .operations = 0xff, .not_before = w->time - 1000, .not_after = w->time + 3600 * 1000, .max_depth = 7};
	memcpy(grant.chain, w->chain, CHAIN_ID_SIZE);
	memcpy(grant.issuer, w->keys[issuer].point, POINT_SIZE);
	memcpy(grant.audience, w->addresses[audience], ADDRESS_SIZE);
	next_nonce(w, grant.nonce);
	return grant;
}

struct bytes_item world_sign_grant(struct world *w, enum person issuer, struct grant *grant, uint8_t out_oid[static OID_SIZE])
{
	return (struct bytes_item){sign(w, KIND_GRANT, grant, issuer, out_oid)};
}

enum reason world_operate(struct world *w, const struct operation_spec *spec)
{
	enum person processor = spec->processor ? spec->processor : PROCESSOR;
	struct access_request request = {.v = 1, .operation = (uint8_t)spec->operation, .scope = spec->scope, .not_after = w->time + 60 * 1000};
	memcpy(request.chain, w->chain, CHAIN_ID_SIZE);
	memcpy(request.actor, w->keys[spec->actor].point, POINT_SIZE);
	request.has_measurement = spec->asked != NULL;
	if (spec->asked)
		memcpy(request.measurement, spec->asked, SHA384_SIZE);
	next_nonce(w, request.nonce);
	struct span request_bytes = spec->request ? spec->request->bytes : sign(w, KIND_ACCESS_REQUEST, &request, spec->actor, NULL);
	if (spec->out_request)
		spec->out_request->bytes = request_bytes;
	struct operation operation = {.v = 1, .request = request_bytes, .time = spec->time ? spec->time : w->time};
	memcpy(operation.chain, w->chain, CHAIN_ID_SIZE);
	memcpy(operation.processor, w->keys[processor].point, POINT_SIZE);
	memcpy(operation.vmm, w->vmm, SHA384_SIZE);
	memcpy(operation.measurement, spec->measurement ? spec->measurement : w->code_1, SHA384_SIZE);
	next_nonce(w, operation.operation_id);
	struct tx_operation body = {sign(w, KIND_OPERATION, &operation, processor, NULL), (struct bytes_item *)spec->links, spec->link_count};
	return world_send(w, processor, spec->type ? spec->type : TX_OPERATION, &body);
}

void world_root(struct world *w, struct merkle_hash *out)
{
	ledger_state_root(w->state, out);
}
