/* Decisions in words. Nothing here decides anything. */
#include "policy/decision.h"

#include "base/clock.h"
#include "policy/table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { DIGEST_SHOWN = 6 }; /* bytes: 12 hex digits tell policies apart for a person */

static const char *word(const char *const *words, size_t count, size_t number)
{
	return number < count && words[number] ? words[number] : "unknown";
}

const char *policy_subject_name(enum policy_subject subject)
{
	static const char *const words[] = {NULL, "enclave", "hsm-caller", "guest"};
	return word(words, COUNT_OF(words), subject);
}

const char *policy_confinement_name(enum policy_confinement confinement)
{
	static const char *const words[] = {"none", "L", "N", "vm", "tee"};
	return word(words, COUNT_OF(words), confinement);
}

const char *policy_resource_name(enum policy_resource resource)
{
	static const char *const words[] = {NULL, "channel", "record", "operation", "exec", "file", "net", "syscall"};
	return word(words, COUNT_OF(words), resource);
}

const char *policy_direction_name(enum policy_direction direction)
{
	static const char *const words[] = {NULL, "send", "receive", NULL, "connect", NULL, NULL, NULL, "accept"};
	return word(words, COUNT_OF(words), direction);
}

const char *policy_factor_name(enum policy_factor factor)
{
	static const char *const words[] = {NULL, "tpm", "tee"};
	return word(words, COUNT_OF(words), factor);
}

static const char *state_name(uint64_t state)
{
	static const char *const words[] = {NULL, "starting", "running", "suspect", "quarantined"};
	return word(words, COUNT_OF(words), (size_t)state);
}

PRINTF_LIKE(2, 3) static void say(struct writer *w, const char *format, ...)
{
	char text[256];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	writer_str(w, text);
}

/* Names of a request are whatever the caller had; what could upset a terminal is shown as '?'. */
static void say_name(struct writer *w, struct span name)
{
	if (name.len == 0)
		writer_str(w, "(no name)");
	for (size_t i = 0; i < name.len && i < POLICY_ITEM_MAX; i++)
		writer_u8(w, name.data[i] > ' ' && name.data[i] < 0x7f ? name.data[i] : '?');
}

static void say_attempt(struct writer *w, const struct policy_decision *d)
{
	static const char *const verbs[] = {[DIRECTION_SEND] = "send to",
		[DIRECTION_RECEIVE] = "receive from",
		[DIRECTION_CONNECT] = "connect to",
		[DIRECTION_ACCEPT] = "accept a channel from"};
	say_name(w, d->subject);
	writer_str(w, d->allow ? " may " : " may not ");
	if (d->resource == RESOURCE_RECORD)
		writer_str(w, d->direction == DIRECTION_SEND ? "send a record to" : "accept a record of");
	else if (d->resource > RESOURCE_OPERATION)
		say(w, "use a resource of kind %s for", policy_resource_name(d->resource));
	else
		writer_str(w, d->direction < COUNT_OF(verbs) && verbs[d->direction] ? verbs[d->direction] : "deal with");
	writer_u8(w, ' ');
	say_name(w, d->peer);
}

static void say_item(struct writer *w, const char *what, struct span item)
{
	if (item.len == 0) {
		say(w, "no %s was named", what);
		return;
	}
	say(w, "%s ", what);
	say_name(w, item);
	writer_str(w, " is not on its list");
}

static void say_time(struct writer *w, const char *before, uint64_t ms)
{
	char text[CLOCK_TEXT_SIZE];
	clock_format(ms, text);
	say(w, "%s%s", before, text);
}

static void say_age(struct writer *w, const struct policy_decision *d)
{
	if (d->had == UINT64_MAX)
		writer_str(w, "its evidence carries no usable time");
	else
		say(w, "its evidence is %" PRIu64 ".%03" PRIu64 " s old", d->had / 1000, d->had % 1000);
	say(w, ", the limit is %" PRIu64 " s", d->needed / 1000);
}

/* Facts that are the same whatever the figures. */
static const struct plain_fact {
	enum reason reason;
	const char *text;
} plain_facts[] = {
	{OK, "every condition is met"},
	{NO_POLICY, "no policy is loaded for it"},
	{REQUEST_INCOMPLETE, "the question is incomplete"},
	{RESOURCE_NOT_COVERED, "the policy has no rules of this kind"},
	{DENIED_BY_RULE, "the deny list names it"},
	{PEER_NOT_ALLOWED, "no entry names it"},
	{MEASUREMENT_NOT_ALLOWED, "its core digest is not on the list"},
};

static const char *plain_fact_of(enum reason reason)
{
	for (size_t i = 0; i < COUNT_OF(plain_facts); i++)
		if (plain_facts[i].reason == reason)
			return plain_facts[i].text;
	return reason_name(reason);
}

static void say_window(struct writer *w, const struct policy_decision *d)
{
	say_time(w, "it is ", d->had);
	say_time(w, d->had < d->needed ? ", before " : ", after ", d->needed);
}

static void say_confinement(struct writer *w, const struct policy_decision *d, const char *whose)
{
	say(w, "%s confinement is tier %s, tier %s is required", whose, policy_confinement_name((enum policy_confinement)d->had),
		policy_confinement_name((enum policy_confinement)d->needed));
}

static void say_factors(struct writer *w, uint64_t missing)
{
	writer_str(w, "its evidence lacks ");
	for (unsigned number = 0; number < POLICY_FACTORS; number++) {
		unsigned factor = 1u << number;
		if (!(missing & factor))
			continue;
		writer_str(w, policy_factor_name((enum policy_factor)factor));
		if (missing & ~(uint64_t)(2 * factor - 1))
			writer_str(w, " and ");
	}
}

/* The fact that decided, as seen from this request. */
static void say_fact(struct writer *w, const struct policy_decision *d)
{
	const char *whose = d->about_own ? "its own" : "the peer's";
	switch (d->reason) {
	case ID_NOT_ENDORSED:
		return say(w, "%s name is only claimed", whose);
	case STATE_NOT_ALLOWED:
		return say(w, "it is %s", state_name(d->had));
	case POLICY_NOT_VALID_NOW:
		return say_window(w, d);
	case DIRECTION_NOT_ALLOWED:
		return say(w, "the entry does not allow to %s", policy_direction_name(d->direction));
	case LEVEL_TOO_LOW:
		return say(w, "the evidence reaches Level-%" PRIu64 ", the policy requires Level-%" PRIu64, d->had, d->needed);
	case FACTOR_MISSING:
		return say_factors(w, d->needed);
	case RATE_EXCEEDED:
		say(w, "it has used up %" PRIu64 " operations in %" PRIu64 " s", d->needed >> 32, d->needed & UINT32_MAX);
		return say(w, ", the next may come in %" PRIu64 " ms", d->had);
	case ROT_NOT_ALLOWED:
		return writer_str(w, d->needed ? "its root of trust is not on the list" : "it is not endorsed by the same root of trust");
	case EVIDENCE_TOO_OLD:
		return say_age(w, d);
	case CONFINEMENT_TOO_LOW:
		return say_confinement(w, d, whose);
	case INTERPRETER_OPEN:
		return say(w, "%s report says interpreter=open", whose);
	case OPERATION_NOT_ALLOWED:
		return say_item(w, "operation", d->item);
	case SCOPE_NOT_ALLOWED:
		return say_item(w, "scope", d->item);
	case REFERENCE_MISSING:
		writer_str(w, d->had ? "its core digest is not in reference set " : "there is no reference set ");
		say_name(w, d->item);
		return writer_str(w, d->had ? "" : " of the author that the entry names");
	case REFERENCE_EXPIRED:
		writer_str(w, "this is outside the validity of reference set ");
		return say_name(w, d->item);
	case SVN_TOO_LOW:
		say(w, "its code has SVN %" PRIu64 " in reference set ", d->had);
		say_name(w, d->item);
		return say(w, ", %" PRIu64 " is the least allowed", d->needed);
	case DEPTH_EXCEEDED:
		return say(w, "the chain is %" PRIu64 " calls deep, the limit is %" PRIu64, d->had, d->needed);
	default:
		writer_str(w, plain_fact_of(d->reason));
	}
}

static void say_rule(struct writer *w, const struct policy_decision *d)
{
	if (d->policy_version == 0)
		return;
	writer_str(w, " (");
	if (d->rule.field[0]) {
		say(w, "rule %s", d->rule.field);
		if (d->rule.index != POLICY_NO_INDEX)
			say(w, "[%" PRIu32 "]", d->rule.index);
		if (d->rule.part[0])
			say(w, ".%s", d->rule.part);
		writer_str(w, ", ");
	}
	say(w, "policy version %" PRIu64 ", digest ", d->policy_version);
	for (size_t i = 0; i < DIGEST_SHOWN; i++)
		say(w, "%02x", d->policy_digest[i]);
	writer_str(w, ")");
}

void policy_explain(const struct policy_decision *decision, struct writer *out)
{
	say_attempt(out, decision);
	writer_str(out, ": ");
	say_fact(out, decision);
	say_rule(out, decision);
	writer_str(out, ".");
	if (decision->allow)
		return;
	writer_u8(out, ' ');
	writer_str(out, reason_row(decision->reason)->sentence);
}

void policy_explain_text(const struct policy_decision *decision, char *out, size_t cap)
{
	CLEANUP(writer_free) struct writer w = writer_growing(4096);
	struct span text;
	policy_explain(decision, &w);
	if (writer_finish(&w, &text) != OK)
		text = span_str(reason_row(decision->reason)->sentence);
	snprintf(out, cap, "%.*s", (int)text.len, (const char *)text.data);
}
