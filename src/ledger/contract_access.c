/*
 * Who may do what: rules of owners, grants, revocations, and operations that are judged by them.
 *
 *   1. a rule that denies, on the scope or on one above it: denied, whatever else allows
 *   2. the owner of the scope; else a rule that allows; else a chain of grants that is good link by link
 *   3. nothing of these: denied
 */
#include <string.h>

#include "ledger/contract_internal.h"
#include "ledger/grant_rules.h"
#include "object/epoch.h"

/* ---- Rules ------------------------------------------------------------------------------------- */

static bool rule_names_actor(const struct access_rule *rule, const uint8_t actor[static ADDRESS_SIZE])
{
	for (size_t i = 0; i < rule->actors.count; i++)
		if (memcmp(rule->actors.items[i].bytes, actor, ADDRESS_SIZE) == 0)
			return true;
	return !rule->has_actors;
}

static bool rule_matches(const struct access_rule *rule, const struct access_question *question)
{
	if (!(rule->operations >> question->operation & 1) || !scope_covers(rule->scope, question->scope) ||
		!rule_names_actor(rule, question->actor))
		return false;
	if (!rule->has_measurements)
		return true;
	/* Code that nobody knows may be the code that a rule denies, and is never the code that one allows. */
	return question->measurement ? measurement_set_has(&rule->measurements, question->measurement) : rule->effect == ACCESS_DENY;
}

/* Looks through the rules of one scope; a denial is the verdict, the first allowance is noted. */
static result judge_rules(struct call *call, const char *scope, const struct access_question *question, struct access_decision *out)
{
	struct access_fact fact;
	bool there;
	TRY(call_find(call, FACT_ACCESS, span_str(scope), &fact, &there));
	for (size_t i = 0; there && i < fact.access.rule_count; i++) {
		const struct access_rule *rule = &fact.access.rules[i];
		if (!rule_matches(rule, question))
			continue;
		bool denies = rule->effect == ACCESS_DENY;
		if (denies || out->basis == BASIS_NONE) {
			memcpy(out->rule_scope, scope, strlen(scope) + 1);
			out->rule = i;
			out->basis = denies ? BASIS_NONE : BASIS_RULE;
		}
		if (denies)
			return fail(ACCESS_DENIED, "rule %zu of '%s' denies it", i, scope);
	}
	return OK;
}

/* The owner's scope, then each one below it down to the scope that is asked about. */
static result judge_all_rules(struct call *call, const struct access_question *question, struct access_decision *out)
{
	char scope[SCOPE_MAX + 1];
	size_t len = strcspn(question->scope, "/");
	for (;; len += 1 + strcspn(question->scope + len + 1, "/")) {
		memcpy(scope, question->scope, len);
		scope[len] = '\0';
		TRY(judge_rules(call, scope, question, out));
		if (!question->scope[len])
			return OK;
	}
}

/* ---- Grants: the rules of a chain stand in grant_rules.c ---------------------------------------- */

static result check_not_revoked(struct call *call, const uint8_t oid[static OID_SIZE])
{
	struct revocation_fact fact;
	bool there;
	TRY(call_find(call, FACT_REVOCATION, span_of(oid, OID_SIZE), &fact, &there));
	return there ? fail(GRANT_REVOKED, "a grant of the chain was revoked at index %llu", (unsigned long long)fact.from) : OK;
}

/* Reads and checks the links from the root down; `at` tells which one was refused. */
static result open_chain(struct call *call, const struct bytes_item *items, size_t count, struct grant_link links[static GRANT_CHAIN_MAX], size_t *at)
{
	if (count < 1 || count > GRANT_CHAIN_MAX)
		return fail(GRANT_TOO_DEEP, "a chain of %zu grants; allowed are %d", count, GRANT_CHAIN_MAX);
	for (size_t i = 0; i < count; i++) {
		struct grant_link *link = &links[i];
		*at = i;
		TRY(call_open(call, KIND_GRANT, items[i].bytes, &link->grant, link->grant.issuer, link->grant.chain, link->oid));
		address_of(link->grant.issuer, link->issuer);
		TRY(grant_check_alone(&link->grant));
		TRY(i == 0 ? grant_check_root(link) : grant_check_child(link, &links[i - 1]));
		TRY(check_not_revoked(call, link->oid));
	}
	return OK;
}

static result find_uses(struct call *call, const struct grant_link *link, struct grant_fact *out)
{
	bool there;
	struct grant_fact fact;
	TRY(call_find(call, FACT_GRANT, SPAN_ARRAY(link->oid), &fact, &there));
	if (!there) {
		fact = (struct grant_fact){.span = {.from = call->ctx->index}, .has_parent = link->grant.has_parent};
		memcpy(fact.issuer, link->issuer, ADDRESS_SIZE);
		memcpy(fact.audience, link->grant.audience, ADDRESS_SIZE);
		memcpy(fact.parent, link->grant.parent, OID_SIZE);
	}
	*out = fact;
	return OK;
}

static result check_link_allows(struct call *call, const struct grant_link *link, const struct access_question *question)
{
	const struct grant *grant = &link->grant;
	const uint64_t now = call->ctx->time_ms;
	struct grant_fact fact;
	if (!(grant->operations >> question->operation & 1))
		return fail(GRANT_NOT_FOR_THIS, "the grant is not for this operation");
	if (!scope_covers(grant->scope, question->scope))
		return fail(GRANT_NOT_FOR_THIS, "the grant is for '%s'", grant->scope);
	if (grant->has_measurements && !(question->measurement && measurement_set_has(&grant->measurements, question->measurement)))
		return fail(GRANT_NOT_FOR_THIS, "the grant is for other code");
	if (now < grant->not_before || now > grant->not_after)
		return fail(GRANT_EXPIRED, "the grant is not valid at %llu ms", (unsigned long long)now);
	TRY(find_uses(call, link, &fact));
	if (grant->has_max_uses && fact.uses >= grant->max_uses)
		return fail(GRANT_EXHAUSTED, "all %llu uses of the grant are taken", (unsigned long long)grant->max_uses);
	return OK;
}

static result judge_grants(struct call *call, const struct access_question *question, struct access_decision *out)
{
	struct grant_link links[GRANT_CHAIN_MAX];
	size_t count = question->link_count;
	TRY(open_chain(call, question->links, count, links, &out->at_link));
	if (memcmp(links[count - 1].grant.audience, question->actor, ADDRESS_SIZE) != 0)
		return fail(GRANT_NOT_FOR_THIS, "the last grant is for somebody else");
	for (size_t i = 0; i < count; i++) {
		out->at_link = i;
		TRY(check_link_allows(call, &links[i], question));
	}
	for (size_t i = 0; i < count; i++)
		memcpy(out->grants[i], links[i].oid, OID_SIZE);
	out->grant_count = count;
	out->basis = BASIS_GRANT;
	return OK;
}

result call_decide(struct call *call, const struct access_question *question, struct access_decision *out)
{
	uint8_t owner[ADDRESS_SIZE];
	if (scope_parse(question->scope, owner) != OK || question->operation > 63)
		return fail(TX_MALFORMED, "the scope: %s", failure_text());
	TRY(judge_all_rules(call, question, out));
	if (memcmp(owner, question->actor, ADDRESS_SIZE) == 0) {
		out->basis = BASIS_OWNER;
		return OK;
	}
	if (out->basis == BASIS_RULE)
		return OK;
	if (question->link_count)
		return judge_grants(call, question, out);
	return fail(ACCESS_NOT_GRANTED, "no rule of the owner allows it and no grant was shown");
}

/* A use counts for the grant and for each above it. */
static result charge(struct call *call, const struct bytes_item *items, const struct access_decision *decision)
{
	for (size_t i = 0; i < decision->grant_count; i++) {
		struct grant_link link;
		struct grant_fact fact;
		if (object_peek(KIND_GRANT, items[i].bytes, &call->arena, &link.grant, link.oid) != OK)
			return fail(TX_MALFORMED, "grant");
		address_of(link.grant.issuer, link.issuer);
		TRY(find_uses(call, &link, &fact));
		fact.uses++;
		TRY(call_put(call, FACT_GRANT, SPAN_ARRAY(link.oid), &fact));
		call_event(call, EVENT_USED, SPAN_ARRAY(link.oid), fact.uses);
	}
	return OK;
}

/* ---- Transactions ------------------------------------------------------------------------------ */

result apply_access(struct call *call)
{
	struct tx_access body;
	struct access_fact fact;
	uint8_t owner[ADDRESS_SIZE], inner[ADDRESS_SIZE];
	bool there;
	TRY(call_body(call, &body));
	if (scope_parse(body.scope, owner) != OK)
		return fail(TX_MALFORMED, "%s", failure_text());
	if (memcmp(owner, call->sender, ADDRESS_SIZE) != 0)
		return fail(SCOPE_NOT_OWNED, "'%s'", body.scope);
	for (size_t i = 0; i < body.rule_count; i++) {
		const struct access_rule *rule = &body.rules[i];
		if ((rule->effect != ACCESS_ALLOW && rule->effect != ACCESS_DENY) || rule->operations == 0)
			return fail(TX_MALFORMED, "rule %zu says nothing", i);
		if (scope_parse(rule->scope, inner) != OK || !scope_covers(body.scope, rule->scope))
			return fail(TX_MALFORMED, "rule %zu is about '%s', which is not within '%s'", i, rule->scope, body.scope);
	}
	TRY(call_find(call, FACT_ACCESS, span_str(body.scope), &fact, &there));
	uint64_t before = there ? fact.access.version : 0;
	if (body.version != before + 1)
		return fail(VERSION_BELOW_FLOOR, "rules of version %llu after version %llu", (unsigned long long)body.version, (unsigned long long)before);
	const struct access_fact next = {call->ctx->index, body};
	TRY(call_put(call, FACT_ACCESS, span_str(body.scope), &next));
	call_event(call, EVENT_ACCESS, span_str(body.scope), body.version);
	return OK;
}

result apply_grant(struct call *call)
{
	struct tx_grant body;
	struct grant_link links[GRANT_CHAIN_MAX];
	size_t at = 0;
	TRY(call_body(call, &body));
	TRY(open_chain(call, body.links, body.link_count, links, &at));
	const struct grant_link *last = &links[body.link_count - 1];
	if (memcmp(last->issuer, call->sender, ADDRESS_SIZE) != 0 && memcmp(last->grant.audience, call->sender, ADDRESS_SIZE) != 0)
		return fail(SENDER_NOT_ALLOWED, "only who issued a grant or whom it is for may put it on the ledger");
	for (size_t i = 0; i < body.link_count; i++) {
		struct grant_fact fact;
		bool there;
		TRY(call_find(call, FACT_GRANT, SPAN_ARRAY(links[i].oid), &fact, &there));
		if (there)
			continue;
		TRY(find_uses(call, &links[i], &fact));
		TRY(call_put(call, FACT_GRANT, SPAN_ARRAY(links[i].oid), &fact));
		call_event(call, EVENT_GRANTED, SPAN_ARRAY(links[i].oid), 0);
	}
	return OK;
}

/* Whether the sender issued the target or one above it, as the chain shows or as the ledger knows it already. */
static result check_may_revoke(struct call *call, const struct tx_revoke *body)
{
	struct grant_link links[GRANT_CHAIN_MAX];
	struct grant_fact fact;
	bool there;
	if (body->link_count == 0) {
		TRY(call_find(call, FACT_GRANT, SPAN_ARRAY(body->target), &fact, &there));
		if (!there)
			return fail(GRANT_BROKEN, "the ledger does not know this grant: show the chain that leads to it");
		return memcmp(fact.issuer, call->sender, ADDRESS_SIZE) == 0 ? OK : fail(SENDER_NOT_ALLOWED, "the sender did not issue this grant");
	}
	bool is_issuer = false;
	for (size_t i = 0; i < body->link_count; i++) {
		struct grant_link *link = &links[i];
		TRY(call_open(call, KIND_GRANT, body->links[i].bytes, &link->grant, link->grant.issuer, link->grant.chain, link->oid));
		address_of(link->grant.issuer, link->issuer);
		TRY(grant_check_alone(&link->grant));
		TRY(i == 0 ? grant_check_root(link) : grant_check_child(link, &links[i - 1]));
		is_issuer |= memcmp(link->issuer, call->sender, ADDRESS_SIZE) == 0;
	}
	if (memcmp(links[body->link_count - 1].oid, body->target, OID_SIZE) != 0)
		return fail(GRANT_BROKEN, "the chain does not end with the grant to be revoked");
	return is_issuer ? OK : fail(SENDER_NOT_ALLOWED, "the sender issued neither this grant nor one above it");
}

result apply_revoke(struct call *call)
{
	struct tx_revoke body;
	struct grant_fact fact;
	bool there;
	TRY(call_body(call, &body));
	TRY(check_may_revoke(call, &body));
	TRY(check_not_revoked(call, body.target));
	struct revocation_fact revocation = {.from = call->ctx->index};
	memcpy(revocation.by, call->sender, ADDRESS_SIZE);
	TRY(call_put(call, FACT_REVOCATION, SPAN_ARRAY(body.target), &revocation));
	TRY(call_find(call, FACT_GRANT, SPAN_ARRAY(body.target), &fact, &there));
	if (there) {
		fact.span.until = call->ctx->index;
		fact.span.has_until = true;
		TRY(call_put(call, FACT_GRANT, SPAN_ARRAY(body.target), &fact));
	}
	call_event(call, EVENT_REVOKED, SPAN_ARRAY(body.target), call->ctx->index);
	return OK;
}

/* ---- Operations -------------------------------------------------------------------------------- */

static result check_time(const struct call *call, uint64_t time)
{
	const uint64_t now = call->ctx->time_ms, ahead = call->config.time_bound_ms;
	uint64_t behind = call->tx.type == TX_SPOOLED ? call->config.spool_bound_ms : ahead;
	if (time > now ? time - now > ahead : now - time > behind)
		return fail(RECORD_TIME, "the operation is dated %llu ms, the batch %llu", (unsigned long long)time, (unsigned long long)now);
	return OK;
}

/* A processor that the configuration names, or the signing key of a root of trust whose epoch is good now. */
static result check_processor(struct call *call, const uint8_t point[static POINT_SIZE])
{
	uint8_t address[ADDRESS_SIZE];
	struct processor_fact processor;
	struct epoch_fact epoch;
	struct root_fact root;
	struct epoch record;
	struct cose_sign object;
	bool there;
	if (is_among(call->config.processors, call->config.processor_count, point))
		return OK;
	address_of(point, address);
	TRY(call_find(call, FACT_PROCESSOR, SPAN_ARRAY(address), &processor, &there));
	if (!there)
		return fail(PROCESSOR_UNKNOWN, "neither the configuration nor a root of trust names the key that signed the operation");
	TRY(call_find(call, FACT_EPOCH, SPAN_ARRAY(processor.epoch_oid), &epoch, &there));
	if (!there || epoch.is_void)
		return fail(EPOCH_VOID, "the epoch of the key that signed the operation");
	TRY(call_find(call, FACT_ROOT, SPAN_ARRAY(epoch.rot_id), &root, &there));
	if (!there || root.state != ROOT_LIVE)
		return fail(root.state == ROOT_FROZEN ? EPOCH_FORKED : EPOCH_HALTED, "the root of the key that signed the operation");
	if (cose_strict_sign_parse(epoch.record, &object) != OK || schema_decode(&epoch_schema, object.payload, &call->arena, &record) != OK)
		return fail(TX_MALFORMED, "epoch record");
	if (call->ctx->time_ms < record.not_before || call->ctx->time_ms > record.not_after)
		return fail(EPOCH_EXPIRED, "epoch %llu", (unsigned long long)record.epoch);
	/* `time` of an ended epoch's fact is when the next one came: its grace runs from there. */
	if (epoch.span.has_until && call->ctx->time_ms > epoch.time + record.grace_s * 1000ULL)
		return fail(EPOCH_TOO_OLD, "epoch %llu was replaced and its grace is over", (unsigned long long)record.epoch);
	return OK;
}

static result check_registered(struct call *call, enum registration_subject subject, const uint8_t digest[static SHA384_SIZE], bool authorised,
	const char *what)
{
	uint8_t id[1 + SHA384_SIZE] = {(uint8_t)subject};
	struct registration_fact fact;
	bool there;
	memcpy(id + 1, digest, SHA384_SIZE);
	TRY(call_find(call, FACT_REGISTRATION, SPAN_ARRAY(id), &fact, &there));
	const uint64_t now = call->ctx->time_ms;
	if (!there || fact.span.has_until || now < fact.not_before || now > fact.not_after)
		return fail(NOT_REGISTERED, "%s", what);
	if (authorised && fact.status != REGISTRATION_AUTHORISED)
		return fail(NOT_AUTHORISED, "%s is only observed: registrars have not endorsed it", what);
	return OK;
}

static result check_request(struct call *call, const struct operation *operation, struct access_request *out)
{
	uint8_t actor[ADDRESS_SIZE], id[ADDRESS_SIZE + 32];
	struct nonce_fact fact;
	bool there;
	uint64_t window = call->tx.type == TX_SPOOLED ? call->config.spool_bound_ms + TX_WINDOW_MS : TX_WINDOW_MS;
	TRY(call_open(call, KIND_ACCESS_REQUEST, operation->request, out, out->actor, out->chain, NULL));
	if (out->has_measurement && memcmp(out->measurement, operation->measurement, SHA384_SIZE) != 0)
		return fail(REQUEST_MISMATCH, "the request is for other code than what ran");
	if (operation->time > out->not_after)
		return fail(REQUEST_MISMATCH, "the request had expired when the operation ran");
	if (out->not_after > call->ctx->time_ms && out->not_after - call->ctx->time_ms > window)
		return fail(TX_TOO_FAR, "the request is valid for too long");
	address_of(out->actor, actor);
	memcpy(id, actor, ADDRESS_SIZE);
	memcpy(id + ADDRESS_SIZE, out->nonce, 32);
	TRY(call_find(call, FACT_NONCE, SPAN_ARRAY(id), &fact, &there));
	/* The transaction's own nonce stands among them already: it must not shorten how long the request's is kept. */
	bool own = memcmp(actor, call->sender, ADDRESS_SIZE) == 0 && memcmp(out->nonce, call->tx.nonce, 32) == 0;
	if (there || own)
		return fail(TX_REPLAYED, "the request was used before");
	/* Kept as long as an operation could still name it: until its own end, and for the time that one may be late. */
	uint64_t late = call->config.spool_bound_ms > call->config.time_bound_ms ? call->config.spool_bound_ms : call->config.time_bound_ms;
	memcpy(call->nonces[call->nonce_count].address, actor, ADDRESS_SIZE);
	memcpy(call->nonces[call->nonce_count].nonce, out->nonce, 32);
	call->nonces[call->nonce_count++].valid_until = late < UINT64_MAX - out->not_after ? out->not_after + late + 1 : UINT64_MAX;
	return OK;
}

result apply_operation(struct call *call)
{
	struct tx_operation body;
	struct operation operation;
	struct access_request request;
	struct access_decision decision = {.code = INTERNAL};
	uint8_t oid[OID_SIZE];
	TRY(call_body(call, &body));
	TRY(call_open(call, KIND_OPERATION, body.operation, &operation, operation.processor, operation.chain, oid));
	TRY(check_time(call, operation.time));
	TRY(check_processor(call, operation.processor));
	TRY(check_registered(call, REGISTERED_VMM, operation.vmm, false, "the host's measurement"));
	TRY(check_registered(call, REGISTERED_ENCLAVE, operation.measurement, call->config.registrar_count > 0, "the measurement of the code that ran"));
	TRY(check_request(call, &operation, &request));
	struct access_question question = {
		.operation = request.operation,
		.scope = request.scope,
		.measurement = operation.measurement,
		.links = body.links,
		.link_count = body.link_count,
	};
	address_of(request.actor, question.actor);
	TRY(call_decide(call, &question, &decision));
	/* Grants that were shown but not needed are not charged. */
	if (decision.basis == BASIS_GRANT)
		TRY(charge(call, body.links, &decision));
	call_event(call, EVENT_ALLOWED, SPAN_ARRAY(oid), decision.basis);
	return OK;
}
