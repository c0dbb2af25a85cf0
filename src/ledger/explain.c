#include "ledger/explain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "wire/text.h"

enum { LINE_SIZE = 2048 };

struct speaker {
	const struct access_question *question;
	const struct access_decision *decision;
	const struct explain_facts *facts;
	struct arena *arena;
	struct explanation *out;
	char actor[PERSON_TEXT_SIZE], owner[PERSON_TEXT_SIZE], actor_word[ADDRESS_TEXT_SIZE + 64], operation[OPERATION_NAME_SIZE];
	uint8_t owner_address[ADDRESS_SIZE];
	result failed;
};

/* ---- Words ------------------------------------------------------------------------------------------ */

static PRINTF_LIKE(2, 0) void say(struct speaker *s, const char *format, va_list args, const char **out)
{
	char line[LINE_SIZE];
	vsnprintf(line, sizeof(line), format, args);
	result kept = arena_string(s->arena, span_str(line), out);
	if (kept != OK)
		s->failed = kept;
}

static PRINTF_LIKE(2, 3) void because(struct speaker *s, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say(s, format, args, &s->out->because);
	va_end(args);
}

static PRINTF_LIKE(2, 3) void change(struct speaker *s, const char *format, ...)
{
	va_list args;
	if (s->out->change_count >= EXPLAIN_LINES)
		return;
	va_start(args, format);
	say(s, format, args, &s->out->changes[s->out->change_count++]);
	va_end(args);
}

static const char *code_words(const struct measurement_set *set, bool has, char out[static 128])
{
	char hex[2 * 6 + 1];
	if (!has)
		return "any code";
	hex_encode(span_of(set->items[0].bytes, 6), hex);
	if (set->count == 1)
		snprintf(out, 128, "code %s..", hex);
	else
		snprintf(out, 128, "%zu measurements (%s.. and others)", set->count, hex);
	return out;
}

static const char *actor_words(const struct speaker *s, const struct access_rule *rule, char out[static PERSON_TEXT_SIZE + 32])
{
	char person[PERSON_TEXT_SIZE];
	if (!rule->has_actors)
		return "anybody";
	names_person(s->facts->names, rule->actors.items[0].bytes, person);
	if (rule->actors.count == 1)
		snprintf(out, PERSON_TEXT_SIZE + 32, "%s", person);
	else
		snprintf(out, PERSON_TEXT_SIZE + 32, "%s and %zu more", person, rule->actors.count - 1);
	return out;
}

/* ---- Rules ------------------------------------------------------------------------------------------- */

static const struct access_fact *find_rules(const struct speaker *s, const char *scope)
{
	for (size_t i = 0; i < s->facts->rule_count; i++)
		if (strcmp(s->facts->rules[i].access.scope, scope) == 0)
			return &s->facts->rules[i];
	return NULL;
}

static void rule_decides(struct speaker *s)
{
	char operations[OPERATIONS_TEXT_SIZE], actors[PERSON_TEXT_SIZE + 32], code[128];
	const struct access_fact *fact = find_rules(s, s->decision->rule_scope);
	if (!fact || s->decision->rule >= fact->access.rule_count) {
		because(s, "rule %zu of %s decides", s->decision->rule + 1, s->decision->rule_scope);
		return;
	}
	const struct access_rule *rule = &fact->access.rules[s->decision->rule];
	operations_text(rule->operations, operations);
	because(s, "rule %zu of %s, version %" PRIu64 ", %s %s on %s for %s by %s", s->decision->rule + 1, s->decision->rule_scope,
		fact->access.version, rule->effect == ACCESS_DENY ? "denies" : "allows", operations, rule->scope, actor_words(s, rule, actors),
		code_words(&rule->measurements, rule->has_measurements, code));
	if (rule->effect == ACCESS_DENY && rule->has_measurements && !s->question->measurement)
		change(s, "it is about certain code, and no measurement was given: ask with the measurement of the code that is to run");
	change(s, "%s replaces the rules of %s by version %" PRIu64 "%s (troth ledger access)", s->owner, s->decision->rule_scope,
		fact->access.version + 1, rule->effect == ACCESS_DENY ? " without it" : " without it, or with one that denies");
	if (rule->effect == ACCESS_DENY)
		change(s, "no grant changes it: a rule that denies wins");
}

struct misses {
	bool actor, operation, scope, code;
};

static struct misses look(const struct speaker *s, const struct access_rule *rule)
{
	struct misses misses = {.actor = rule->has_actors, .operation = !(rule->operations >> s->question->operation & 1),
		.scope = !scope_covers(rule->scope, s->question->scope),
		.code = rule->has_measurements && !(s->question->measurement && measurement_set_has(&rule->measurements, s->question->measurement))};
	for (size_t i = 0; i < rule->actors.count; i++)
		if (memcmp(rule->actors.items[i].bytes, s->question->actor, ADDRESS_SIZE) == 0)
			misses.actor = false;
	return misses;
}

/* A rule that allows all but one thing of the question is worth naming. */
static void near_rule(struct speaker *s, const struct access_fact *fact, size_t at)
{
	char operations[OPERATIONS_TEXT_SIZE], actors[PERSON_TEXT_SIZE + 32], code[128];
	const struct access_rule *rule = &fact->access.rules[at];
	struct misses misses = look(s, rule);
	if (rule->effect != ACCESS_ALLOW || misses.actor + misses.operation + misses.scope + misses.code != 1)
		return;
	operations_text(rule->operations, operations);
	if (misses.actor)
		change(s, "rule %zu of %s would allow it for %s", at + 1, fact->access.scope, actor_words(s, rule, actors));
	else if (misses.operation)
		change(s, "rule %zu of %s would allow %s instead", at + 1, fact->access.scope, operations);
	else if (misses.scope)
		change(s, "rule %zu of %s would allow it on %s", at + 1, fact->access.scope, rule->scope);
	else
		change(s, "rule %zu of %s would allow it by %s%s", at + 1, fact->access.scope,
			code_words(&rule->measurements, rule->has_measurements, code),
			s->question->measurement ? "" : "; no measurement was given");
}

static void near_rules(struct speaker *s)
{
	for (size_t i = 0; i < s->facts->rule_count; i++)
		for (size_t k = 0; k < s->facts->rules[i].access.rule_count; k++)
			near_rule(s, &s->facts->rules[i], k);
}

static void nothing_allows(struct speaker *s)
{
	because(s, "no rule on %s or above it allows it, and no grant was shown", s->question->scope);
	near_rules(s);
	change(s, "a grant from %s, or from whoever holds one that may be delegated: troth grant new --to %s --scope %s --operations %s", s->owner,
		s->actor_word, s->question->scope, s->operation);
	change(s, "a rule of %s that allows it (troth ledger access)", s->owner);
}

/* ---- Grants -------------------------------------------------------------------------------------------- */

static void issuer_of(const struct speaker *s, size_t at, char out[static PERSON_TEXT_SIZE])
{
	names_person(s->facts->names, s->facts->chain->links[at].issuer, out);
}

static void grant_ends(struct speaker *s, size_t at)
{
	const struct grant *grant = &s->facts->chain->links[at].grant;
	char issuer[PERSON_TEXT_SIZE], time[CLOCK_TEXT_SIZE];
	issuer_of(s, at, issuer);
	clock_format(grant->not_after, time);
	change(s, "grant %zu of the chain ends after %s", at + 1, time);
	if (grant->has_max_uses)
		change(s, "grant %zu of the chain has %" PRIu64 " of %" PRIu64 " uses left", at + 1, grant->max_uses - s->facts->links[at].uses,
			grant->max_uses);
	change(s, "%s revokes grant %zu of the chain (troth grant revoke)", issuer, at + 1);
}

static void grants_allow(struct speaker *s)
{
	char hex[2 * OID_SIZE + 1];
	hex_encode(span_of(s->decision->grants[s->decision->grant_count - 1], OID_SIZE), hex);
	because(s, "grant %s, number %zu of a chain that begins with %s, allows it", hex, s->decision->grant_count, s->owner);
	for (size_t i = 0; s->facts->chain && i < s->facts->chain->count; i++)
		grant_ends(s, i);
	change(s, "a rule of %s that denies it (troth ledger access)", s->owner);
}

static void not_for_this(struct speaker *s, size_t at)
{
	const struct grant_chain *chain = s->facts->chain;
	const struct grant *grant = &chain->links[at].grant, *last = &grant_chain_last(chain)->grant;
	char person[PERSON_TEXT_SIZE], operations[OPERATIONS_TEXT_SIZE], code[128];
	operations_text(grant->operations, operations);
	names_person(s->facts->names, last->audience, person);
	if (memcmp(last->audience, s->question->actor, ADDRESS_SIZE) != 0) {
		because(s, "the last grant of the chain is for %s, not for %s", person, s->actor);
		if (last->max_depth > 0)
			change(s, "%s delegates it to %s: troth grant delegate (it may go on %u deep)", person, s->actor, last->max_depth);
		else
			change(s, "whoever issued it makes one for %s; it may not be delegated further", s->actor);
		return;
	}
	issuer_of(s, at, person);
	if (!(grant->operations >> s->question->operation & 1))
		because(s, "grant %zu of the chain is for %s, not for %s", at + 1, operations, s->operation);
	else if (!scope_covers(grant->scope, s->question->scope))
		because(s, "grant %zu of the chain is for %s", at + 1, grant->scope);
	else
		because(s, "grant %zu of the chain is for %s%s", at + 1, code_words(&grant->measurements, grant->has_measurements, code),
			s->question->measurement ? ", not for this code" : ", and no measurement was given");
	change(s, "%s issues another one that covers it", person);
}

static void grant_refused(struct speaker *s, const char *refusal)
{
	size_t at = s->decision->at_link;
	char issuer[PERSON_TEXT_SIZE], from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE], by[PERSON_TEXT_SIZE];
	if (!s->facts->chain || at >= s->facts->chain->count) {
		because(s, "%s", refusal && refusal[0] ? refusal : "the chain of grants does not hold together");
		change(s, "a chain whose links follow from each other, from %s down", s->owner);
		return;
	}
	const struct grant *grant = &s->facts->chain->links[at].grant;
	const struct explain_link *link = &s->facts->links[at];
	issuer_of(s, at, issuer);
	clock_format(grant->not_before, from);
	clock_format(grant->not_after, to);
	names_person(s->facts->names, link->revoked_by, by);
	switch (s->decision->code) {
	case GRANT_NOT_FOR_THIS:
		not_for_this(s, at);
		break;
	case GRANT_REVOKED:
		because(s, "grant %zu of the chain was revoked by %s (leaf %" PRIu64 ")", at + 1, link->revoked ? by : "its issuer", link->revoked_at);
		change(s, "a new grant by %s: what was revoked stays so", issuer);
		break;
	case GRANT_EXPIRED:
		because(s, "grant %zu of the chain is valid from %s to %s only", at + 1, from, to);
		if (s->facts->now_ms < grant->not_before)
			change(s, "it begins at %s", from);
		change(s, "%s issues another one", issuer);
		break;
	case GRANT_EXHAUSTED:
		because(s, "all %" PRIu64 " uses of grant %zu of the chain are taken", grant->max_uses, at + 1);
		change(s, "%s issues another one", issuer);
		break;
	default:
		because(s, "grant %zu of the chain: %s", at + 1, refusal && refusal[0] ? refusal : reason_name(s->decision->code));
		change(s, "%s signs it anew as the one above it allows", issuer);
	}
}

/* ---- The decision ----------------------------------------------------------------------------------------- */

static void explain(struct speaker *s, const char *refusal)
{
	const struct access_decision *decision = s->decision;
	if (decision->code == OK && decision->basis == BASIS_OWNER) {
		because(s, "%s is the owner of %s", s->actor, s->question->scope);
		change(s, "a rule of the owner's own that denies it (troth ledger access)");
	} else if (decision->code == ACCESS_DENIED || (decision->code == OK && decision->basis == BASIS_RULE)) {
		rule_decides(s);
	} else if (decision->code == OK) {
		grants_allow(s);
	} else if (decision->code == ACCESS_NOT_GRANTED) {
		nothing_allows(s);
	} else if (s->question->link_count > 0) {
		grant_refused(s, refusal);
	} else {
		because(s, "%s", refusal && refusal[0] ? refusal : reason_name(decision->code));
	}
}

result explain_decision(const struct access_question *question, const struct access_decision *decision, const char *refusal,
	const struct explain_facts *facts, struct arena *arena, struct explanation *out)
{
	struct explanation explanation = {.because = ""};
	struct speaker s = {.question = question, .decision = decision, .facts = facts, .arena = arena, .out = &explanation};
	if (question->operation > 63)
		return fail(BAD_VALUE, "there is no operation %u", question->operation);
	TRY(scope_parse(question->scope, s.owner_address));
	names_person(facts->names, question->actor, s.actor);
	names_person(facts->names, s.owner_address, s.owner);
	operation_name(question->operation, s.operation);
	address_format(question->actor, s.actor_word);
	if (names_of(facts->names, question->actor))
		snprintf(s.actor_word, sizeof(s.actor_word), "%s", names_of(facts->names, question->actor));
	explain(&s, refusal);
	TRY(s.failed);
	*out = explanation;
	return OK;
}
