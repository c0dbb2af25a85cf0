#include "ledger/contract_internal.h"

#include <stdio.h>
#include <string.h>

/*
 * Theory of operation. contract_apply reads the envelope, in the order in which a refusal costs least, then lets the
 * type's handler judge. A handler only collects changes; they become the next state when the verdict is OK. Whatever the
 * verdict, the nonce of a transaction that was in order up to its signature is used up.
 */

void contract_verdict_free(struct contract_verdict *verdict)
{
	bytes_free(&verdict->events);
}

result call_find(struct call *call, enum fact_type type, struct span id, void *out, bool *out_there)
{
	result found = ledger_state_find(call->state, type, id, &call->arena, out, out_there);
	if (found != OK)
		call->broken = true;
	return found;
}

result call_put(struct call *call, enum fact_type type, struct span id, const void *fact)
{
	result put = state_changes_put(&call->changes, type, id, fact);
	if (put == NO_MEMORY)
		call->broken = true;
	return put;
}

result call_verify(struct call *call, enum object_kind kind, struct span bytes, const uint8_t point[static POINT_SIZE])
{
	if (call->ctx->verify)
		return call->ctx->verify(call->ctx->verify_arg, kind, bytes, point) == OK ? OK : fail(BAD_SIGNATURE, "%s", kind_label(kind));
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	if (key_from_point(span_of(point, POINT_SIZE), &key) != OK || object_verify(kind, bytes, &key) != OK)
		return fail(BAD_SIGNATURE, "%s", kind_label(kind));
	return OK;
}

void call_event(struct call *call, enum contract_event kind, struct span id, uint64_t value)
{
	cbor_put_array(&call->events, 3);
	cbor_put_uint(&call->events, kind);
	cbor_put_bytes(&call->events, id);
	cbor_put_uint(&call->events, value);
	call->event_count++;
}

result call_open(struct call *call, enum object_kind kind, struct span bytes, void *out, const uint8_t *point, const uint8_t *chain,
	uint8_t *out_oid)
{
	if (object_peek(kind, bytes, &call->arena, out, out_oid) != OK)
		return fail(TX_MALFORMED, "%s: %s", kind_label(kind), failure_text());
	if (memcmp(chain, call->chain, CHAIN_ID_SIZE) != 0)
		return fail(CHAIN_FOREIGN, "the %s is of another ledger", kind_label(kind));
	return call_verify(call, kind, bytes, point);
}

bool is_among(const struct point *keys, size_t count, const uint8_t point[static POINT_SIZE])
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(keys[i].bytes, point, POINT_SIZE) == 0)
			return true;
	return false;
}

result call_body(struct call *call, void *out)
{
	if (schema_decode(transaction_body_schema(call->tx.type), call->tx.body, &call->arena, out) != OK)
		return fail(TX_MALFORMED, "%s: %s", transaction_type_name(call->tx.type), failure_text());
	return OK;
}

/* ---- Configuration ----------------------------------------------------------------------------- */

result contract_config(const struct ledger_state *state, struct arena *arena, struct ledger_config *out,
	uint8_t out_chain[static CHAIN_ID_SIZE])
{
	struct config_fact fact;
	bool there;
	TRY(ledger_state_find(state, FACT_CONFIG, SPAN_EMPTY, arena, &fact, &there));
	if (!there)
		return fail(NOT_FOUND, "the ledger has no configuration yet");
	if (schema_decode(&ledger_config_schema, fact.config, arena, out) != OK)
		return fail(INTERNAL, "the configuration in the state does not decode");
	if (out->seq == 0)
		ledger_chain_id(fact.config, out_chain);
	else
		memcpy(out_chain, out->chain, CHAIN_ID_SIZE);
	return OK;
}

static result check_config(const struct ledger_config *config)
{
	if (config->quorum < 1 || config->quorum > config->member_count)
		return fail(CONFIG_INVALID, "a quorum of %u of %zu members", config->quorum, config->member_count);
	if (config->registrar_quorum > config->registrar_count || (config->registrar_count && config->registrar_quorum < 1))
		return fail(CONFIG_INVALID, "a quorum of %u of %zu registrars", config->registrar_quorum, config->registrar_count);
	for (size_t i = 0; i < config->cosigner_count; i++)
		if (config->cosigners[i].statement < STATEMENT_APPEND)
			return fail(CONFIG_INVALID, "cosigner '%s' states nothing", config->cosigners[i].name);
	return OK;
}

/* Each signature must be of one of the members, and there must be enough. */
static result check_quorum(const struct cose_sign *object, const struct point *members, size_t member_count, unsigned quorum)
{
	size_t good = 0;
	for (size_t i = 0; i < member_count; i++) {
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		if (key_from_point(SPAN_ARRAY(members[i].bytes), &key) == OK && cose_strict_sign_verify(object, kind_label(KIND_LEDGER_CONFIG), &key) == OK)
			good++;
	}
	if (good != object->count || good < quorum)
		return fail(CONFIG_QUORUM, "%zu of %zu signatures are of members; needed are %u", good, object->count, quorum);
	return OK;
}

result apply_config(struct call *call)
{
	struct tx_config body;
	struct cose_sign object;
	struct ledger_config config;
	TRY(call_body(call, &body));
	if (cose_strict_sign_parse(body.config, &object) != OK ||
		schema_decode(&ledger_config_schema, object.payload, &call->arena, &config) != OK)
		return fail(TX_MALFORMED, "configuration: %s", failure_text());
	TRY(check_config(&config));
	const struct ledger_config *signers = call->has_config ? &call->config : &config;
	static const uint8_t none[CHAIN_ID_SIZE];
	if (memcmp(config.chain, call->has_config ? call->chain : none, CHAIN_ID_SIZE) != 0)
		return fail(CHAIN_FOREIGN, "the configuration is of another ledger");
	if (config.seq != (call->has_config ? call->config.seq + 1 : 0))
		return fail(VERSION_BELOW_FLOOR, "configuration %llu does not follow", (unsigned long long)config.seq);
	TRY(check_quorum(&object, signers->members, signers->member_count, signers->quorum));
	const struct config_fact fact = {call->ctx->index, object.payload};
	TRY(call_put(call, FACT_CONFIG, SPAN_EMPTY, &fact));
	call_event(call, EVENT_CONFIG, SPAN_EMPTY, config.seq);
	return OK;
}

/* ---- The envelope ------------------------------------------------------------------------------ */

static result (*const handlers[])(struct call *) = {
	[TX_REGISTER] = apply_register,
	[TX_UNREGISTER] = apply_unregister,
	[TX_ACCESS] = apply_access,
	[TX_GRANT] = apply_grant,
	[TX_REVOKE] = apply_revoke,
	[TX_OPERATION] = apply_operation,
	[TX_SPOOLED] = apply_operation,
	[TX_SECURE_MODE] = apply_secure_mode,
	[TX_EVENT] = apply_event,
	[TX_EPOCH] = apply_epoch,
	[TX_FLOOR] = apply_floor,
	[TX_CONFIG] = apply_config,
};

static result load_config(struct call *call)
{
	result loaded = contract_config(call->state, &call->arena, &call->config, call->chain);
	call->has_config = loaded == OK;
	if (loaded == OK || loaded == NOT_FOUND)
		return OK;
	call->broken = true;
	return loaded;
}

/* The chain that a first configuration makes: its transaction names it already. */
static result first_chain(struct call *call)
{
	struct tx_config body;
	struct cose_sign object;
	if (call->tx.type != TX_CONFIG)
		return fail(CHAIN_FOREIGN, "the ledger has no configuration yet");
	TRY(call_body(call, &body));
	if (cose_strict_sign_parse(body.config, &object) != OK)
		return fail(TX_MALFORMED, "configuration: %s", failure_text());
	ledger_chain_id(object.payload, call->chain);
	return OK;
}

static result check_nonce(struct call *call, const uint8_t address[static ADDRESS_SIZE], const uint8_t nonce[static 32])
{
	uint8_t id[ADDRESS_SIZE + 32];
	struct nonce_fact fact;
	bool there;
	memcpy(id, address, ADDRESS_SIZE);
	memcpy(id + ADDRESS_SIZE, nonce, 32);
	TRY(call_find(call, FACT_NONCE, SPAN_ARRAY(id), &fact, &there));
	return there ? fail(TX_REPLAYED, "the nonce was used before") : OK;
}

static result open_envelope(struct call *call, struct span bytes)
{
	const uint64_t now = call->ctx->time_ms;
	if (bytes.len > TX_MAX)
		return fail(TX_MALFORMED, "a transaction of %zu bytes", bytes.len);
	if (object_peek(KIND_TRANSACTION, bytes, &call->arena, &call->tx, call->txid) != OK)
		return fail(TX_MALFORMED, "%s", failure_text());
	if (call->tx.type >= COUNT_OF(handlers) || !handlers[call->tx.type])
		return fail(TX_MALFORMED, "type %u", call->tx.type);
	if (!call->has_config)
		TRY(first_chain(call));
	if (memcmp(call->tx.chain, call->chain, CHAIN_ID_SIZE) != 0)
		return fail(CHAIN_FOREIGN, "the transaction is of another ledger");
	if (call->tx.valid_until <= now)
		return fail(TX_EXPIRED, "it was valid until %llu ms, now is %llu", (unsigned long long)call->tx.valid_until, (unsigned long long)now);
	if (call->tx.valid_until - now > TX_WINDOW_MS)
		return fail(TX_TOO_FAR, "valid_until is more than %d s ahead", TX_WINDOW_MS / 1000);
	address_of(call->tx.sender, call->sender);
	TRY(check_nonce(call, call->sender, call->tx.nonce));
	return call_verify(call, KIND_TRANSACTION, bytes, call->tx.sender);
}

/* The verdict's changes become the state. */
static result carry_out(struct call *call)
{
	TRY(ledger_state_change(call->state, &call->changes));
	for (size_t i = 0; i < call->nonce_count; i++)
		TRY(ledger_state_add_nonce(call->state, call->nonces[i].address, call->nonces[i].nonce, call->nonces[i].valid_until));
	return OK;
}

static result finish_events(struct call *call, enum reason code, struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(EVENTS_MAX + 16);
	struct span all;
	cbor_put_array(&w, code == OK ? call->event_count : 0);
	if (code == OK) {
		TRY(writer_finish(&call->events, &all));
		writer_span(&w, all);
	}
	return writer_take(&w, out);
}

static result judge(struct call *call, struct span bytes, struct contract_verdict *out)
{
	enum reason code = open_envelope(call, bytes);
	memcpy(out->txid, call->txid, OID_SIZE);
	out->counts = code == OK;
	if (code == OK)
		code = handlers[call->tx.type](call);
	if (call->broken)
		return code;
	out->code = code;
	if (code != OK)
		snprintf(out->text, sizeof(out->text), "%s", failure_text());
	if (code == OK)
		TRY(carry_out(call));
	if (out->counts)
		TRY(ledger_state_add_nonce(call->state, call->sender, call->tx.nonce, call->tx.valid_until));
	return finish_events(call, code, &out->events);
}

static void call_free(struct call *call)
{
	state_changes_free(&call->changes);
	writer_free(&call->events);
	arena_free(&call->arena);
}

void contract_begin(struct ledger_state *state, uint64_t time_ms)
{
	ledger_state_prune(state, time_ms);
}

result contract_apply(struct ledger_state *state, struct span tx, const struct contract_context *ctx, struct contract_verdict *out)
{
	CLEANUP(call_free) struct call call = {
		.state = state, .ctx = ctx, .arena = arena_of(CALL_MEMORY), .events = writer_growing(EVENTS_MAX)};
	*out = (struct contract_verdict){.code = INTERNAL};
	TRY(load_config(&call));
	result judged = judge(&call, tx, out);
	if (judged != OK)
		contract_verdict_free(out);
	return judged;
}

result contract_decide(const struct ledger_state *state, const struct access_question *question, const struct contract_context *ctx,
	struct access_decision *out)
{
	/* A decision changes nothing: the state is only read. */
	CLEANUP(call_free) struct call call = {
		.state = (struct ledger_state *)state, .ctx = ctx, .arena = arena_of(CALL_MEMORY), .events = writer_growing(EVENTS_MAX)};
	TRY(load_config(&call));
	if (!call.has_config)
		return fail(NOT_FOUND, "the ledger has no configuration yet");
	*out = (struct access_decision){.code = INTERNAL};
	result decided = call_decide(&call, question, out);
	if (call.broken)
		return decided;
	out->code = decided;
	return OK;
}
