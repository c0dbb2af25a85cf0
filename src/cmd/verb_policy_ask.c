/* troth policy explain|test: what policies say to a request, and whether that is what somebody expects. */
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "cmd/policy_files.h"
#include "policy/query.h"
#include "policy/schema.h"
#include "wire/json.h"

enum { TEXT_SIZE = 1024, DOCUMENT_MEMORY = 16 << 20, MAX_TEST_FILE = 8 << 20 };

/* ---- One answer ----------------------------------------------------------------------------------------- */

static json_t *decision_json(const struct policy_decision *decision)
{
	char text[TEXT_SIZE];
	policy_explain_text(decision, text, sizeof(text));
	json_t *json = json_pack("{s:b, s:s, s:s, s:s, s:I, s:o, s:s}", "allow", decision->allow, "reason", reason_name(decision->reason),
		"field", decision->rule.field, "part", decision->rule.part, "policy_version", (json_int_t)decision->policy_version,
		"policy_digest", json_hex(SPAN_ARRAY(decision->policy_digest)), "text", text);
	if (json && decision->rule.index != POLICY_NO_INDEX)
		json_object_set_new(json, "index", json_integer(decision->rule.index));
	return json;
}

/* ---- explain -------------------------------------------------------------------------------------------- */

struct explain_arguments {
	const char *request; /* file */
	const char *own, *peer, *subject, *resource, *direction, *operation, *level, *rot, *core, *confinement, *proof, *at;
	struct words scopes, factors;
	uint64_t age, depth, repeat;
	bool interpreter;
};

static json_t *words_json(const struct words *words)
{
	json_t *list = json_array();
	for (size_t i = 0; i < words->count; i++)
		json_array_append_new(list, json_string(words->items[i]));
	return list;
}

static json_t *options_json(const struct explain_arguments *a)
{
	const struct {
		const char *field, *text;
	} texts[] = {{"own", a->own}, {"peer", a->peer}, {"subject", a->subject}, {"resource", a->resource}, {"direction", a->direction},
		{"operation", a->operation}, {"level", a->level}, {"rot", a->rot}, {"core", a->core}, {"confinement", a->confinement},
		{"proof", a->proof}, {"at", a->at}};
	const struct {
		const char *field;
		uint64_t number;
	} numbers[] = {{"evidence_age_s", a->age}, {"depth", a->depth}, {"repeat", a->repeat}};
	json_t *json = json_object();
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		if (texts[i].text)
			json_object_set_new(json, texts[i].field, json_string(texts[i].text));
	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		if (numbers[i].number)
			json_object_set_new(json, numbers[i].field, json_integer((json_int_t)numbers[i].number));
	if (a->scopes.count)
		json_object_set_new(json, "scopes", words_json(&a->scopes));
	if (a->factors.count)
		json_object_set_new(json, "factors", words_json(&a->factors));
	if (a->interpreter)
		json_object_set_new(json, "interpreter_open", json_true());
	return json;
}

/* Options become the same document as a file would be: one reader, one set of errors. */
static result request_document(const struct explain_arguments *arguments, struct document *out)
{
	if (arguments->request)
		return document_load(arguments->request, MAX_TEST_FILE, out);
	json_t *json = options_json(arguments);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	if (!text)
		return fail(NO_MEMORY, "a request");
	result parsed = document_parse("the request", span_str(text), DOCUMENT_MEMORY, out);
	free(text);
	return parsed;
}

struct explained {
	struct policy_decision decision;
	struct policy_variation variations[POLICY_MAX_VARIATIONS];
	size_t variation_count;
};

static result ask(const struct policy_table *table, const struct policy_query *query, struct explained *out)
{
	out->decision.reason = policy_query_ask(table, query, &out->decision); /* a refusal is an answer */
	return policy_query_vary(table, query, out->variations, &out->variation_count);
}

static void print_explained(const struct explained *explained)
{
	char text[TEXT_SIZE];
	policy_explain_text(&explained->decision, text, sizeof(text));
	printf("%s\n", text);
	if (explained->variation_count)
		printf("  This would change with:\n");
	for (size_t i = 0; i < explained->variation_count; i++) {
		const struct policy_variation *v = &explained->variations[i];
		printf("    %s%s%s\n", v->what, v->reason == OK ? "" : " -> ", v->reason == OK ? "" : reason_name(v->reason));
	}
	if (!explained->variation_count && !explained->decision.allow)
		printf("  No single change of the request would: the policy would have to change.\n");
}

static json_t *explained_json(const struct explained *explained)
{
	json_t *json = decision_json(&explained->decision), *list = json_array();
	for (size_t i = 0; list && i < explained->variation_count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "with", explained->variations[i].what, "reason",
						    reason_name(explained->variations[i].reason)));
	if (json)
		json_object_set_new(json, "would_change", list);
	return json;
}

static bool has_policy(const struct policy_table *table, const struct policy_request *request)
{
	struct policy_view view;
	bool has = policy_find(table, request->subject_kind, request->own.name, &view) == OK;
	failure_clear();
	return has;
}

static result explain_request(const struct policy_table *table, const struct explain_arguments *arguments, bool json)
{
	CLEANUP(document_free) struct document document = {0};
	struct policy_query query, mirrored;
	struct explained own, other;
	TRY(request_document(arguments, &document));
	TRY(policy_query_read(&document, document.root, clock_wall_ms(), false, &query));
	TRY(ask(table, &query, &own));
	policy_query_mirror(&query, &mirrored);
	bool both = query.request.subject_kind == SUBJECT_ENCLAVE && has_policy(table, &mirrored.request);
	if (both)
		TRY(ask(table, &mirrored, &other));
	if (!json) {
		print_explained(&own);
		if (both)
			print_explained(&other);
		return OK;
	}
	json_t *out = json_pack("{s:o}", "own", explained_json(&own));
	if (out && both)
		json_object_set_new(out, "other_side", explained_json(&other));
	result printed = out ? json_print(stdout, out) : fail(NO_MEMORY, "json");
	json_decref(out);
	return printed;
}

/* Without a request: each policy as it was understood, defaults and inheritance resolved. */
static result explain_all(const struct policy_table *table, bool json)
{
	json_t *list = json_array();
	result done = OK;
	for (size_t i = 0; i < policy_count(table) && done == OK; i++) {
		CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
		struct policy_view view;
		policy_at(table, i, &view);
		done = policy_render_json(view.compiled, &text);
		if (done == OK && json)
			json_array_append_new(list, json_pack("{s:o, s:o}", "digest", json_hex(SPAN_ARRAY(view.digest)), "policy",
							    json_loadb((const char *)text.data, text.len, 0, NULL)));
		else if (done == OK)
			printf("%.*s", (int)text.len, (const char *)text.data);
	}
	if (done == OK && json)
		done = json_print(stdout, list);
	json_decref(list);
	return done;
}

static result explain(const struct explain_arguments *arguments, const struct words *files, bool json)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	if (arguments->request && (arguments->own || arguments->peer))
		return fail(USAGE, "--request holds the whole question; leave --own and --peer out");
	TRY(policy_files_load(files->items, files->count, &table));
	return arguments->request || arguments->own || arguments->peer ? explain_request(table, arguments, json) : explain_all(table, json);
}

int verb_policy_explain(int argc, char **argv)
{
	struct explain_arguments a = {.request = NULL};
	const struct option_row rows[] = {
		{"own", OPTION_TEXT, &a.own, "NAME", "whose policy is asked"},
		{"peer", OPTION_TEXT, &a.peer, "NAME", "about whom"},
		{"request", OPTION_TEXT, &a.request, "FILE", "the question as JSON or YAML instead of options"},
		{"resource", OPTION_TEXT, &a.resource, "WORD", "channel, operation (the default) or record"},
		{"direction", OPTION_TEXT, &a.direction, "WORD", "send, receive; of a channel connect, accept"},
		{"operation", OPTION_TEXT, &a.operation, "NAME", "what is to be done"},
		{"scope", OPTION_LIST, &a.scopes, "NAME", "data that moves; may be repeated"},
		{"level", OPTION_TEXT, &a.level, "LEVEL", "what the peer's evidence reaches (Level-1)"},
		{"factor", OPTION_LIST, &a.factors, "WORD", "what it rests on: tpm, tee; may be repeated"},
		{"rot", OPTION_TEXT, &a.rot, "ID", "root of trust of the peer: 64 hex digits, or same (the default)"},
		{"core", OPTION_TEXT, &a.core, "DIGEST", "the peer's core digest: 96 hex digits"},
		{"confinement", OPTION_TEXT, &a.confinement, "TIER", "of the peer: none, L, N (the default), vm, tee"},
		{"open-interpreter", OPTION_FLAG, &a.interpreter, NULL, "the peer can run scripts that nobody measured"},
		{"evidence-age", OPTION_NUMBER, &a.age, "SECONDS", "how old its evidence is (0)"},
		{"depth", OPTION_NUMBER, &a.depth, "N", "calls on the longest path, for a record"},
		{"proof", OPTION_TEXT, &a.proof, "WORD", "how the peer's name is known: endorsed (the default), pinned, claimed"},
		{"subject", OPTION_TEXT, &a.subject, "WORD", "enclave (the default), hsm-caller, guest"},
		{"at", OPTION_TEXT, &a.at, "TIME", "when, as 2026-11-21T15:47:31Z (now)"},
		{"repeat", OPTION_NUMBER, &a.repeat, "N", "asked so often at once, for rates"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "policy explain",
		.usage = "POLICY... [--own NAME --peer NAME ...]",
		.description = "Says what policies answer to a request, by which rule, and which single change of the request would turn the answer\n"
			       "round. When the policies of both sides are given, both are asked. Without a request: the policies as they are\n"
			       "understood, with what they inherit.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 256,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = explain(&a, &options.operands, options.json);
	return verb_end(done, argc, argv);
}

/* ---- test ----------------------------------------------------------------------------------------------- */

struct outcome {
	size_t asked, wrong;
	json_t *rows;
	bool json;
};

static const char *word_of(result reason)
{
	return reason == OK ? "allow" : reason_name(reason);
}

static void note(struct outcome *outcome, const struct policy_query *query, const struct policy_decision *decision, unsigned line)
{
	bool as_expected = decision->reason == query->expected;
	const struct policy_request *request = &query->request;
	outcome->asked++;
	outcome->wrong += !as_expected;
	if (outcome->json) {
		json_t *row = decision_json(decision);
		json_object_set_new(row, "name", json_string(query->name));
		json_object_set_new(row, "line", json_integer(line));
		json_object_set_new(row, "expected", json_string(word_of(query->expected)));
		json_object_set_new(row, "as_expected", json_boolean(as_expected));
		json_array_append_new(outcome->rows, row);
		return;
	}
	if (as_expected)
		return;
	if (outcome->wrong == 1)
		printf("%-6s %-24s %-24s %-24s %s\n", "line", "request", "expected", "decided", "name");
	char who[64], text[TEXT_SIZE];
	snprintf(who, sizeof(who), "%.*s %s %.*s", (int)request->own.name.len, (const char *)request->own.name.data,
		policy_direction_name(request->direction), (int)request->peer.name.len, (const char *)request->peer.name.data);
	printf("%-6u %-24s %-24s %-24s %s\n", line, who, word_of(query->expected), word_of(decision->reason), query->name);
	policy_explain_text(decision, text, sizeof(text));
	printf("         %s\n", text);
}

static result run_tests(const struct policy_table *table, const struct document *document, struct outcome *outcome)
{
	const struct node *root = document->root;
	uint64_t now = clock_wall_ms();
	if (!root || root->kind != NODE_LIST || root->count == 0)
		return fail(BAD_TYPE, "%s: a test file is a list of requests, each with `expect`", document->name);
	for (size_t i = 0; i < root->count; i++) {
		struct policy_query query;
		struct policy_decision decision;
		TRY(policy_query_read(document, &root->children[i], now, true, &query));
		decision.reason = policy_query_ask(table, &query, &decision);
		note(outcome, &query, &decision, root->children[i].line);
	}
	return OK;
}

static result print_outcome(const struct outcome *outcome)
{
	if (!outcome->json) {
		printf("%zu of %zu as expected\n", outcome->asked - outcome->wrong, outcome->asked);
		return OK;
	}
	json_t *json = json_pack("{s:I, s:I, s:O}", "asked", (json_int_t)outcome->asked, "wrong", (json_int_t)outcome->wrong, "rows", outcome->rows);
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

static void outcome_free(struct outcome *outcome)
{
	json_decref(outcome->rows);
}

/* The last operand is the test file. */
static result test(const struct words *files, bool json)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	CLEANUP(document_free) struct document document = {0};
	CLEANUP(outcome_free) struct outcome outcome = {.rows = json_array(), .json = json};
	TRY(policy_files_load(files->items, files->count - 1, &table));
	TRY(document_load(files->items[files->count - 1], MAX_TEST_FILE, &document));
	TRY(run_tests(table, &document, &outcome));
	TRY(print_outcome(&outcome));
	return outcome.wrong ? fail(EXPECTATION_FAILED, "%zu of %zu", outcome.wrong, outcome.asked) : OK;
}

int verb_policy_test(int argc, char **argv)
{
	CLEANUP(options_free)
	struct options options = {
		.verb = "policy test",
		.usage = "POLICY... TESTFILE",
		.description = "Asks the policies every request of a test file (JSON or YAML) and compares the answers with those expected there:\n"
			       "`allow`, or the reason of a refusal. What differs is a table, and the exit code is 1.",
		.min_operands = 2,
		.max_operands = 257,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = test(&options.operands, options.json);
	return verb_end(done, argc, argv);
}
