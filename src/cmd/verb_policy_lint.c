/* troth policy lint: whether a trust policy loads, and what its author probably did not mean. */
#include "cmd/verb.h"

#include <stdio.h>

#include "base/clock.h"
#include "policy/lint.h"
#include "policy/schema.h"
#include "wire/json.h"

static result print_json(const char *path, const struct lint_findings *findings, const struct policy_table *table)
{
	json_t *list = json_array(), *policies = json_array();
	for (size_t i = 0; list && i < findings->count; i++) {
		const struct lint_finding *finding = &findings->items[i];
		json_array_append_new(list,
			json_pack("{s:s, s:i, s:i, s:s}", "severity", lint_severity_name(finding->severity), "line", (int)finding->line,
				"column", (int)finding->column, "text", finding->text));
	}
	for (size_t i = 0; policies && i < policy_count(table); i++) {
		struct policy_view view;
		policy_at(table, i, &view);
		json_array_append_new(policies,
			json_pack("{s:s#, s:o}", "id", view.id.data, (int)view.id.len, "digest", json_hex(SPAN_ARRAY(view.digest))));
	}
	json_t *json = json_pack("{s:s, s:o, s:o, s:b}", "file", path, "policies", policies, "findings", list, "cut", findings->cut);
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

static void print_people(const char *path, const struct lint_findings *findings, const struct policy_table *table)
{
	for (size_t i = 0; i < findings->count; i++) {
		const struct lint_finding *finding = &findings->items[i];
		printf("%s:%u:%u: %s: %s\n", path, finding->line, finding->column, lint_severity_name(finding->severity), finding->text);
	}
	for (size_t i = 0; i < policy_count(table); i++) {
		struct policy_view view;
		policy_at(table, i, &view);
		printf("%.*s: loads; %zu communicator%s, depth %u, Level-%u\n", (int)view.id.len, (const char *)view.id.data,
			view.peer_count, view.peer_count == 1 ? "" : "s", view.max_dac_depth, view.required_level);
	}
}

static result lint(const char *path, bool json)
{
	CLEANUP(document_free) struct document document = {0};
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	CLEANUP(lint_findings_free) struct lint_findings findings = {0};
	TRY(document_load(path, POLICY_MAX_FILE, &document));
	TRY(policy_load_document(&document, &table));
	TRY(policy_lint(&document, clock_wall_ms(), &findings));
	if (json)
		return print_json(path, &findings, table);
	print_people(path, &findings, table);
	return OK;
}

int verb_policy_lint(int argc, char **argv)
{
	CLEANUP(options_free)
	struct options options = {
		.verb = "policy lint",
		.usage = "FILE",
		.description = "Checks a trust policy (JSON or YAML): errors of the format with line and column, and what is allowed but "
			       "probably not\n"
			       "meant. Findings do not make it fail; errors do.",
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = lint(options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}
