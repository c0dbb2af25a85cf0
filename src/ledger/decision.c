#include "ledger/decision.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ledger/contract.h"

/* ---- Opening --------------------------------------------------------------------------------------- */

static result opened(enum object_kind kind, struct span bytes, const uint8_t *point, struct arena *arena, void *out, uint8_t *out_oid)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	TRY(key_from_point(span_of(point, POINT_SIZE), &key));
	return object_open(kind, bytes, &key, arena, out, out_oid);
}

static result named(const char *what, result done)
{
	return done == OK ? OK : fail_within(done, "%s", what);
}

static result open_transaction(struct span bytes, struct arena *arena, struct decision *decision)
{
	TRY(object_peek(KIND_TRANSACTION, bytes, arena, &decision->tx, NULL));
	return opened(KIND_TRANSACTION, bytes, decision->tx.sender, arena, &decision->tx, decision->txid);
}

static result open_operation(struct span bytes, struct arena *arena, struct decision *decision)
{
	TRY(object_peek(KIND_OPERATION, bytes, arena, &decision->operation, NULL));
	return opened(KIND_OPERATION, bytes, decision->operation.processor, arena, &decision->operation, NULL);
}

static result open_request(struct arena *arena, struct decision *decision)
{
	struct access_request *request = &decision->request;
	TRY(object_peek(KIND_ACCESS_REQUEST, decision->operation.request, arena, request, NULL));
	TRY(opened(KIND_ACCESS_REQUEST, decision->operation.request, request->actor, arena, request, NULL));
	address_of(request->actor, decision->actor);
	return OK;
}

static result open_link(const struct decision *decision, struct span bytes, struct arena *arena, struct grant_link *out)
{
	TRY(object_peek(KIND_GRANT, bytes, arena, &out->grant, NULL));
	TRY(opened(KIND_GRANT, bytes, out->grant.issuer, arena, &out->grant, out->oid));
	address_of(out->grant.issuer, out->issuer);
	return memcmp(out->grant.chain, decision->tx.chain, CHAIN_ID_SIZE) == 0 ? OK : fail(CHAIN_FOREIGN, "it was signed for another ledger");
}

static result open_links(const struct tx_operation *body, struct arena *arena, struct decision *decision)
{
	char what[32];
	for (size_t i = 0; i < body->link_count; i++) {
		snprintf(what, sizeof(what), "grant %zu", i + 1);
		TRY(named(what, open_link(decision, body->links[i].bytes, arena, &decision->links[i])));
		decision->link_count++;
	}
	return OK;
}

static result check_same(const struct decision *decision)
{
	const struct operation *operation = &decision->operation;
	const struct access_request *request = &decision->request;
	if (memcmp(operation->chain, decision->tx.chain, CHAIN_ID_SIZE) != 0 || memcmp(request->chain, decision->tx.chain, CHAIN_ID_SIZE) != 0)
		return fail(CHAIN_FOREIGN, "transaction, operation and request are of different ledgers");
	if (operation->time > request->not_after)
		return fail(REQUEST_MISMATCH, "the operation came after the end of the request");
	if (request->has_measurement && memcmp(request->measurement, operation->measurement, SHA384_SIZE) != 0)
		return fail(REQUEST_MISMATCH, "the request was for other code than ran");
	return OK;
}

result decision_open(uint64_t index, const struct ledger_leaf *leaf, struct arena *arena, struct decision *out)
{
	struct tx_operation body;
	void *room;
	if (leaf->kind != LEAF_TX)
		return fail(BAD_TYPE, "leaf %" PRIu64 " is the TAIL of a batch, no transaction", index);
	TRY(arena_alloc(arena, 1, sizeof(struct decision), &room));
	struct decision *decision = room;
	decision->index = index;
	decision->code = leaf->code;
	TRY(named("the transaction", open_transaction(leaf->tx, arena, decision)));
	if (decision->tx.type != TX_OPERATION && decision->tx.type != TX_SPOOLED)
		return fail(BAD_TYPE, "leaf %" PRIu64 " is a transaction '%s'; a decision is recorded by an operation", index,
			transaction_type_name(decision->tx.type));
	TRY(named("the body", schema_decode(transaction_body_schema(decision->tx.type), decision->tx.body, arena, &body)));
	TRY(named("the operation", open_operation(body.operation, arena, decision)));
	TRY(named("the request", open_request(arena, decision)));
	TRY(open_links(&body, arena, decision));
	TRY(check_same(decision));
	*out = *decision;
	return OK;
}

/* ---- What is asked ---------------------------------------------------------------------------------- */

struct asking {
	struct decision_fact *facts;
	size_t count;
};

static void ask(struct asking *asking, enum fact_type type, struct span id, const char *name, size_t number)
{
	struct decision_fact *fact = &asking->facts[asking->count++];
	*fact = (struct decision_fact){.type = type};
	fact_key(type, id, fact->key);
	if (number == SIZE_MAX)
		snprintf(fact->name, sizeof(fact->name), "%s.proof", name);
	else
		snprintf(fact->name, sizeof(fact->name), "%s-%zu.proof", name, number);
}

static void ask_registration(struct asking *asking, uint8_t subject, const uint8_t digest[static SHA384_SIZE], const char *name)
{
	uint8_t id[1 + SHA384_SIZE] = {subject};
	memcpy(id + 1, digest, SHA384_SIZE);
	ask(asking, FACT_REGISTRATION, SPAN_ARRAY(id), name, SIZE_MAX);
}

/* Length of the scope up to its part `depth`; 0 when it has no such part. */
static size_t scope_cut(const char *scope, size_t depth)
{
	const char *at = scope;
	for (size_t i = 0; i <= depth; i++) {
		const char *slash = strchr(at, '/');
		if (i == depth)
			return slash ? (size_t)(slash - scope) : strlen(scope);
		if (!slash)
			return 0;
		at = slash + 1;
	}
	return 0;
}

size_t decision_facts(const struct decision *decision, struct decision_fact out[static DECISION_FACTS_MAX])
{
	struct asking asking = {.facts = out};
	const char *scope = decision->request.scope;
	ask_registration(&asking, REGISTERED_VMM, decision->operation.vmm, "vmm");
	ask_registration(&asking, REGISTERED_ENCLAVE, decision->operation.measurement, "enclave");
	ask(&asking, FACT_CONFIG, SPAN_EMPTY, "config", SIZE_MAX);
	for (size_t i = 0; i < DECISION_SCOPES_MAX && scope_cut(scope, i); i++)
		ask(&asking, FACT_ACCESS, span_of(scope, scope_cut(scope, i)), "access", i);
	for (size_t i = 0; i < decision->link_count; i++) {
		ask(&asking, FACT_GRANT, SPAN_ARRAY(decision->links[i].oid), "grant", i + 1);
		ask(&asking, FACT_REVOCATION, SPAN_ARRAY(decision->links[i].oid), "revocation", i + 1);
	}
	return asking.count;
}

/* ---- Judging ------------------------------------------------------------------------------------------ */

struct judging {
	const struct decision *decision;
	uint64_t time;
	const struct decision_fact *facts;
	size_t count;
	struct arena *arena;
	struct decision_report *report;
	bool rules_known, allowed; /* without a grant */
};

static PRINTF_LIKE(3, 4) void say(struct judging *judging, bool remark, const char *format, ...)
{
	struct decision_report *report = judging->report;
	if (report->count == DECISION_LINES_MAX)
		return;
	struct decision_line *line = &report->lines[report->count++];
	va_list args;
	va_start(args, format);
	line->remark = remark;
	vsnprintf(line->text, sizeof(line->text), format, args);
	va_end(args);
}

/* The fact of this file name, decoded; *out_there says whether the state has one. */
static result find(const struct judging *judging, const char *name, void *out, bool *out_there)
{
	for (size_t i = 0; i < judging->count; i++) {
		const struct decision_fact *fact = &judging->facts[i];
		if (strcmp(fact->name, name) != 0)
			continue;
		*out_there = fact->value.len > 0;
		return *out_there ? named(name, schema_decode(fact_schema(fact->type), fact->value, judging->arena, out)) : OK;
	}
	return fail(PROOF_INVALID, "%s is missing", name);
}

static result held(const struct judging *judging, const struct span_of_log *span, const char *what)
{
	if (span->has_until && span->until <= judging->decision->index)
		return fail(PROOF_INVALID, "%s had ended at leaf %" PRIu64 ", before the decision at leaf %" PRIu64, what, span->until,
			judging->decision->index);
	return OK;
}

static result judge_registration(struct judging *judging, const char *name, const char *what, bool must_be_authorised)
{
	struct registration_fact fact;
	bool there;
	TRY(find(judging, name, &fact, &there));
	if (!there)
		return fail(PROOF_INVALID, "%s was never registered", what);
	TRY(held(judging, &fact.span, what));
	if (fact.span.from > judging->decision->index) {
		say(judging, true, "%s was registered anew at leaf %" PRIu64 ", after the decision; how it was before is not shown", what, fact.span.from);
		return OK;
	}
	if (judging->time < fact.not_before || judging->time > fact.not_after)
		return fail(PROOF_INVALID, "%s was not valid at the time of the decision", what);
	if (must_be_authorised && fact.status != REGISTRATION_AUTHORISED)
		return fail(PROOF_INVALID, "%s was not endorsed by registrars", what);
	say(judging, false, "%s was registered as \"%s\" at leaf %" PRIu64 "%s", what, fact.label, fact.span.from,
		fact.status == REGISTRATION_AUTHORISED ? ", authorised" : "");
	return OK;
}

static bool has_processor(const struct ledger_config *config, const uint8_t point[static POINT_SIZE])
{
	for (size_t i = 0; i < config->processor_count; i++)
		if (memcmp(config->processors[i].bytes, point, POINT_SIZE) == 0)
			return true;
	return false;
}

static result judge_measurements(struct judging *judging)
{
	struct config_fact fact;
	struct ledger_config config;
	bool there;
	TRY(find(judging, "config.proof", &fact, &there));
	if (!there)
		return fail(PROOF_INVALID, "there is no configuration");
	TRY(named("config.proof", schema_decode(&ledger_config_schema, fact.config, judging->arena, &config)));
	bool current = fact.from <= judging->decision->index;
	if (!current)
		say(judging, true, "the configuration was changed at leaf %" PRIu64 ", after the decision", fact.from);
	else if (has_processor(&config, judging->decision->operation.processor))
		say(judging, false, "the co-processor is one of the configuration");
	else
		say(judging, true, "the co-processor is none of the configuration: the ledger took it for one of a root of trust, which is not followed here");
	TRY(judge_registration(judging, "vmm.proof", "what the co-processor ran on", false));
	return judge_registration(judging, "enclave.proof", "the code that ran", current && config.registrar_count > 0);
}

static bool names_actor(const struct access_rule *rule, const uint8_t actor[static ADDRESS_SIZE])
{
	for (size_t i = 0; i < rule->actors.count; i++)
		if (memcmp(rule->actors.items[i].bytes, actor, ADDRESS_SIZE) == 0)
			return true;
	return !rule->has_actors;
}

static bool rule_matches(const struct access_rule *rule, const struct decision *decision)
{
	return rule->operations >> decision->request.operation & 1 && scope_covers(rule->scope, decision->request.scope) &&
	       names_actor(rule, decision->actor) &&
	       (!rule->has_measurements || measurement_set_has(&rule->measurements, decision->operation.measurement));
}

static result judge_scope(struct judging *judging, const char *name, const char *scope)
{
	const struct decision *decision = judging->decision;
	struct access_fact fact;
	bool there;
	TRY(find(judging, name, &fact, &there));
	if (!there)
		return OK;
	if (fact.from > decision->index) {
		say(judging, true, "the rules of %s were changed at leaf %" PRIu64 ", after the decision; what they said then is not shown", scope, fact.from);
		judging->rules_known = false;
		return OK;
	}
	for (size_t i = 0; i < fact.access.rule_count; i++) {
		const struct access_rule *rule = &fact.access.rules[i];
		if (!rule_matches(rule, decision))
			continue;
		if (rule->effect == ACCESS_DENY && decision->code == OK)
			return fail(PROOF_INVALID, "rule %zu of %s denies it, and deny wins", i + 1, scope);
		judging->allowed |= rule->effect == ACCESS_ALLOW;
	}
	return OK;
}

static result judge_rules(struct judging *judging)
{
	const char *scope = judging->decision->request.scope;
	char name[32], text[SCOPE_MAX + 1];
	uint8_t owner[ADDRESS_SIZE];
	TRY(scope_parse(scope, owner));
	judging->allowed = memcmp(owner, judging->decision->actor, ADDRESS_SIZE) == 0;
	judging->rules_known = true;
	for (size_t i = 0; i < DECISION_SCOPES_MAX && scope_cut(scope, i); i++) {
		snprintf(name, sizeof(name), "access-%zu.proof", i);
		snprintf(text, sizeof(text), "%.*s", (int)scope_cut(scope, i), scope);
		TRY(judge_scope(judging, name, text));
	}
	if (judging->rules_known && judging->decision->code == OK)
		say(judging, false, "no rule of the owner on this scope, or above it, denies it%s",
			judging->allowed ? ", and one allows it, or the owner acts" : "");
	return OK;
}

static result judge_terms(const struct judging *judging, const struct grant_link *link, size_t number)
{
	const struct grant *grant = &link->grant;
	const struct decision *decision = judging->decision;
	if (!(grant->operations >> decision->request.operation & 1) || !scope_covers(grant->scope, decision->request.scope) ||
		(grant->has_measurements && !measurement_set_has(&grant->measurements, decision->operation.measurement)))
		return fail(PROOF_INVALID, "grant %zu is not for this operation, scope or code", number);
	if (judging->time < grant->not_before || judging->time > grant->not_after)
		return fail(PROOF_INVALID, "grant %zu was not valid at the time of the decision", number);
	return OK;
}

static result judge_alive(struct judging *judging, const struct grant_link *link, size_t number, const struct revocation_fact *revoked)
{
	struct grant_fact fact;
	char name[32], what[32], uses[64], end[96] = "not revoked", by[ADDRESS_TEXT_SIZE];
	bool there;
	snprintf(name, sizeof(name), "grant-%zu.proof", number);
	snprintf(what, sizeof(what), "grant %zu", number);
	TRY(find(judging, name, &fact, &there));
	if (!there || fact.span.from > judging->decision->index)
		return fail(PROOF_INVALID, "%s was not on the ledger at the decision", what);
	if (revoked && revoked->from < judging->decision->index)
		return fail(PROOF_INVALID, "%s was revoked at leaf %" PRIu64 ", before the decision", what, revoked->from);
	TRY(held(judging, &fact.span, what));
	if (fact.span.has_until != (revoked != NULL) || (revoked && revoked->from != fact.span.until))
		return fail(PROOF_INVALID, "the state contradicts itself about the end of %s", what);
	if (memcmp(fact.issuer, link->issuer, ADDRESS_SIZE) != 0 || memcmp(fact.audience, link->grant.audience, ADDRESS_SIZE) != 0 ||
		fact.has_parent != link->grant.has_parent || (fact.has_parent && memcmp(fact.parent, link->grant.parent, OID_SIZE) != 0))
		return fail(PROOF_INVALID, "the state knows %s otherwise than it was signed", what);
	if (link->grant.has_max_uses && fact.uses > link->grant.max_uses)
		return fail(PROOF_INVALID, "%s was used more often than it may be", what);
	TRY(judge_terms(judging, link, number));
	if (link->grant.has_max_uses)
		snprintf(uses, sizeof(uses), "%" PRIu64 " of %" PRIu64 " uses", fact.uses, link->grant.max_uses);
	else
		snprintf(uses, sizeof(uses), "used %" PRIu64 " times so far, no limit", fact.uses);
	if (revoked) {
		address_format(revoked->by, by);
		snprintf(end, sizeof(end), "revoked later, at leaf %" PRIu64 ", by %s", revoked->from, by);
	}
	say(judging, false, "%s was alive at the decision: known since leaf %" PRIu64 ", %s; %s", what, fact.span.from, end, uses);
	return OK;
}

static result judge_link(struct judging *judging, size_t number, bool *revoked_before)
{
	const struct grant_link *link = &judging->decision->links[number - 1];
	struct revocation_fact fact;
	char name[32], by[ADDRESS_TEXT_SIZE], audience[ADDRESS_TEXT_SIZE];
	bool there;
	snprintf(name, sizeof(name), "revocation-%zu.proof", number);
	TRY(find(judging, name, &fact, &there));
	address_format(link->issuer, by);
	address_format(link->grant.audience, audience);
	say(judging, false, "grant %zu is from %s to %s on %s", number, by, audience, link->grant.scope);
	if (judging->decision->code == OK) {
		TRY(number == 1 ? grant_check_root(link) : grant_check_child(link, link - 1));
		return judge_alive(judging, link, number, there ? &fact : NULL);
	}
	if (there && fact.from < judging->decision->index) {
		address_format(fact.by, by);
		say(judging, false, "grant %zu had been revoked at leaf %" PRIu64 " by %s", number, fact.from, by);
		*revoked_before = true;
	}
	return OK;
}

static result judge_links(struct judging *judging)
{
	const struct decision *decision = judging->decision;
	bool revoked_before = false;
	for (size_t i = 1; i <= decision->link_count; i++)
		TRY(judge_link(judging, i, &revoked_before));
	if (decision->code == GRANT_REVOKED && !revoked_before)
		return fail(PROOF_INVALID, "the ledger said that a grant was revoked, and none was");
	if (decision->code == OK && decision->link_count > 0 &&
		memcmp(decision->links[decision->link_count - 1].grant.audience, decision->actor, ADDRESS_SIZE) != 0)
		return fail(PROOF_INVALID, "the last grant is for another actor");
	return OK;
}

static result judge(struct judging *judging)
{
	const struct decision *decision = judging->decision;
	if (decision->code == OK)
		TRY(judge_measurements(judging));
	TRY(judge_rules(judging));
	/* What was shown beside a rule that allows it was not looked at by the contract. */
	if (decision->code == OK && judging->rules_known && judging->allowed)
		return OK;
	result links = judge_links(judging);
	if (links == PROOF_INVALID && decision->code == OK && !judging->rules_known) {
		say(judging, true, "the grants that were shown do not allow it (%.150s); rules that were changed since may have", failure_text());
		return OK;
	}
	TRY(links);
	if (decision->code == OK && judging->rules_known && decision->link_count == 0)
		return fail(PROOF_INVALID, "the ledger said OK, and nothing that is shown allows it");
	return OK;
}

result decision_judge(const struct decision *decision, uint64_t time_ms, const struct decision_fact *facts, size_t count,
	struct decision_report *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	struct judging judging = {.decision = decision, .time = time_ms, .facts = facts, .count = count, .arena = &arena, .report = out};
	out->count = 0;
	return judge(&judging);
}
