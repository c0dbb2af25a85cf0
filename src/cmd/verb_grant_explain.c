/*
 * troth grant explain: whether the ledger would allow an operation now, which rule or grant decides, and what would change it.
 * The decision is the contract's; the facts that put it into words come each with its proof.
 */
#include "cmd/grant_status.h"
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "ledger/access_text.h"

enum { SCOPES_MAX = 18, REQUEST_MAX = 20 * 1024 };

struct arguments {
	struct ledger_options ledger;
	const char *actor, *operation, *scope, *measurement, *request;
};

struct asking {
	struct arena arena;
	struct ledger_client *client;
	struct names names;
	struct bytes grant_file, request_file;
	uint8_t measurement[SHA384_SIZE];
	struct access_question question;
	struct access_decision decision;
	uint64_t size;
	struct grant_chain chain;
	char refusal[200]; /* of a chain that does not hold together */
	struct access_fact rules[SCOPES_MAX];
	struct explain_facts facts;
	struct explanation explanation;
};

static void asking_free(struct asking *asking)
{
	ledger_client_free(asking->client);
	bytes_free(&asking->grant_file);
	bytes_free(&asking->request_file);
	arena_free(&asking->arena);
}

/* ---- The question ------------------------------------------------------------------------------------ */

static result read_request(struct asking *asking, const char *path)
{
	struct access_question *question = &asking->question;
	struct access_request request;
	TRY(file_read(path, REQUEST_MAX, &asking->request_file));
	result peeked = object_peek(KIND_ACCESS_REQUEST, bytes_span(&asking->request_file), &asking->arena, &request, NULL);
	if (peeked != OK)
		return fail_within(peeked, "'%s' is no access request", path);
	address_of(request.actor, question->actor);
	question->operation = request.operation;
	question->scope = request.scope;
	if (request.has_measurement) {
		memcpy(asking->measurement, request.measurement, SHA384_SIZE);
		question->measurement = asking->measurement;
	}
	return OK;
}

static result read_words(struct asking *asking, const struct arguments *arguments)
{
	struct access_question *question = &asking->question;
	char scope[SCOPE_MAX + 1];
	if (!arguments->actor || !arguments->operation || !arguments->scope)
		return fail(USAGE, "--actor, --operation and --scope are needed, or --request with all of it");
	TRY(person_read(&asking->names, "--actor", arguments->actor, question->actor));
	TRY(operation_parse(span_str(arguments->operation), &question->operation));
	TRY(names_scope(&asking->names, arguments->scope, NULL, scope));
	return arena_string(&asking->arena, span_str(scope), &question->scope);
}

static result read_question(struct asking *asking, const struct arguments *arguments)
{
	if (arguments->request && (arguments->actor || arguments->operation || arguments->scope))
		return fail(USAGE, "--request holds the whole question; leave --actor, --operation and --scope out");
	TRY(arguments->request ? read_request(asking, arguments->request) : read_words(asking, arguments));
	if (!arguments->measurement)
		return OK;
	TRY(digest_read("--measurement", arguments->measurement, asking->measurement, SHA384_SIZE));
	asking->question.measurement = asking->measurement;
	return OK;
}

/* A chain that does not hold together is part of the question all the same: the ledger says what is wrong with it. */
static result read_grant(struct asking *asking, const char *path)
{
	struct tx_grant body;
	TRY(file_read(path, GRANT_FILE_MAX, &asking->grant_file));
	result decoded = schema_decode(&tx_grant_schema, bytes_span(&asking->grant_file), &asking->arena, &body);
	if (decoded != OK)
		return fail_within(decoded, "'%s' is no grant file", path);
	asking->question.links = body.links;
	asking->question.link_count = body.link_count;
	if (grant_file_open(bytes_span(&asking->grant_file), &asking->arena, &asking->chain) == OK)
		asking->facts.chain = &asking->chain;
	else
		snprintf(asking->refusal, sizeof(asking->refusal), "%s", failure_text());
	return OK;
}

/* ---- What the ledger says ------------------------------------------------------------------------------- */

static result read_rules(struct asking *asking)
{
	const char *whole = asking->question.scope;
	uint64_t size;
	for (size_t len = strcspn(whole, "/");; len += 1 + strcspn(whole + len + 1, "/")) {
		bool there;
		TRY(ledger_client_fact(asking->client, FACT_ACCESS, span_of(whole, len), &asking->arena, &asking->rules[asking->facts.rule_count], &there,
			&size));
		asking->facts.rule_count += there;
		if (!whole[len] || asking->facts.rule_count == SCOPES_MAX)
			return OK;
	}
}

static result read_statuses(struct asking *asking)
{
	for (size_t i = 0; asking->facts.chain && i < asking->chain.count; i++) {
		struct grant_status status;
		struct explain_link *link = &asking->facts.links[i];
		TRY(grant_status_ask(asking->client, asking->chain.links[i].oid, &status));
		link->uses = status.uses;
		link->revoked = status.revoked;
		link->revoked_at = status.revoked_at;
		memcpy(link->revoked_by, status.revoked_by, ADDRESS_SIZE);
	}
	return OK;
}

static result ask(struct asking *asking)
{
	asking->facts.now_ms = clock_wall_ms();
	asking->facts.names = &asking->names;
	asking->facts.rules = asking->rules;
	TRY(ledger_client_decide(asking->client, &asking->question, &asking->decision, &asking->size));
	TRY(read_rules(asking));
	TRY(read_statuses(asking));
	return explain_decision(
		&asking->question, &asking->decision, asking->refusal, &asking->facts, &asking->arena, &asking->explanation);
}

/* ---- Showing it ------------------------------------------------------------------------------------------ */

static const char *basis_name(enum access_basis basis)
{
	static const char *const names[] = {"nothing", "owner", "rule", "grant"};
	return names[basis];
}

static json_t *decides_json(const struct asking *asking)
{
	const struct access_decision *decision = &asking->decision;
	json_t *json = json_object(), *grants = json_array();
	if (decision->rule_scope[0] && (decision->code == ACCESS_DENIED || decision->basis == BASIS_RULE)) {
		json_object_set_new(json, "scope", json_string(decision->rule_scope));
		json_object_set_new(json, "rule", json_integer((json_int_t)decision->rule + 1));
	}
	for (size_t i = 0; i < decision->grant_count; i++)
		json_array_append_new(grants, json_hex(SPAN_ARRAY(decision->grants[i])));
	if (decision->grant_count)
		json_object_set(json, "grants", grants);
	if (decision->code != OK && asking->question.link_count && decision->code != ACCESS_DENIED)
		json_object_set_new(json, "link", json_integer((json_int_t)decision->at_link + 1));
	json_decref(grants);
	return json;
}

static result print_json(const struct asking *asking)
{
	const struct access_decision *decision = &asking->decision;
	char operation[OPERATION_NAME_SIZE];
	json_t *changes = json_array();
	operation_name(asking->question.operation, operation);
	for (size_t i = 0; i < asking->explanation.change_count; i++)
		json_array_append_new(changes, json_string(asking->explanation.changes[i]));
	return print_json_of(json_pack("{s:b, s:i, s:s, s:s, s:o, s:s, s:s, s:s, s:o, s:o, s:I}", "allow", decision->code == OK, "code", (int)decision->code,
		"reason", reason_name(decision->code), "basis", basis_name(decision->code == OK ? decision->basis : BASIS_NONE), "actor",
		json_address(asking->question.actor), "operation", operation, "scope", asking->question.scope, "because", asking->explanation.because,
		"decides", decides_json(asking), "would_change", changes, "as_of", (json_int_t)asking->size));
}

static result print_people(const struct asking *asking)
{
	const struct access_decision *decision = &asking->decision;
	char actor[PERSON_TEXT_SIZE], operation[OPERATION_NAME_SIZE];
	names_person(&asking->names, asking->question.actor, actor);
	operation_name(asking->question.operation, operation);
	printf("%s: %s may %s%s on %s now\n", decision->code == OK ? "ALLOWED" : reason_name(decision->code), actor, decision->code == OK ? "" : "not ",
		operation, asking->question.scope);
	printf("because  %s\n", asking->explanation.because);
	for (size_t i = 0; i < asking->explanation.change_count; i++)
		printf("%s%s\n", i ? "         " : "changes  ", asking->explanation.changes[i]);
	printf("as of    size %" PRIu64 " of the log; the decision that counts is made when the operation is committed\n", asking->size);
	return OK;
}

static result explain(const struct arguments *arguments, const struct words *words, bool json)
{
	CLEANUP(asking_free) struct asking asking = {.arena = arena_of(LEDGER_MAKING_MEMORY)};
	TRY(names_of_state(arguments->ledger.state, &asking.arena, &asking.names));
	TRY(read_question(&asking, arguments));
	if (words->count)
		TRY(read_grant(&asking, words->items[0]));
	TRY(verb_ledger_open(&arguments->ledger, &asking.client));
	TRY(ask(&asking));
	return json ? print_json(&asking) : print_people(&asking);
}

int verb_grant_explain(int argc, char **argv)
{
	struct arguments arguments = {.actor = NULL};
	const struct option_row rows[] = {
		{"actor", OPTION_TEXT, &arguments.actor, "WHO", "who asks: a name, an address, or a file with their public key"},
		{"operation", OPTION_TEXT, &arguments.operation, "NAME", "read, compute, aggregate, export, delegate, delete, release, train, op32..op63"},
		{"scope", OPTION_TEXT, &arguments.scope, "SCOPE", "on which data: OWNER/part/part"},
		{"measurement", OPTION_TEXT, &arguments.measurement, "HEX", "by which code; without: unknown, which no rule or grant for certain code allows"},
		{"request", OPTION_TEXT, &arguments.request, "FILE", "a signed request with all of it (`troth ledger request`)"},
		LEDGER_ROWS(&arguments.ledger),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "grant explain",
		.usage = "[FILE.grant] --actor WHO --operation NAME --scope SCOPE",
		.description = "Says whether the ledger would allow it now, which rule or grant decides, and what would change the answer. Nothing is used\n"
			       "up by asking, and a refusal is an answer: the exit code is 0.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = explain(&arguments, &options.operands, options.json);
	return verb_end(done, argc, argv);
}
