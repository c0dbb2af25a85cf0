/* troth policy diff: what one version of policies allows that another does not. */
#include "cmd/verb.h"

#include <stdio.h>

#include "cmd/policy_files.h"
#include "policy/difference.h"
#include "wire/json.h"

/* Fields in which a peer stands or does not. */
static bool names_peers(const char *field)
{
	return strcmp(field, "allowed_communicators") == 0 || strcmp(field, "deny") == 0 || strcmp(field, "allow_level0") == 0;
}

static void print_one(const struct difference *d)
{
	printf("%-8s %s: %s%s%s", difference_effect_name(d->effect), d->subject, d->field, d->peer[0] ? " " : "", d->peer);
	if (!d->field[0])
		printf("%s\n", d->before[0] ? "no longer has a policy" : "has a policy now");
	else if (names_peers(d->field))
		printf(": %s%s\n", d->before[0] ? "no longer " : "now ", d->before[0] ? d->before : d->after);
	else
		printf(": %s -> %s\n", d->before[0] ? d->before : "not said", d->after[0] ? d->after : "not said");
}

static result print_json(const struct differences *found)
{
	json_t *list = json_array();
	for (size_t i = 0; list && i < found->count; i++) {
		const struct difference *d = &found->items[i];
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "effect", difference_effect_name(d->effect), "kind",
						    policy_subject_name(d->kind), "subject", d->subject, "field", d->field, "peer", d->peer,
						    "before", d->before, "after", d->after));
	}
	json_t *json = json_pack("{s:o}", "differences", list);
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

static result diff(const char *before_path, const char *after_path, bool json)
{
	CLEANUP(policy_table_cleanup) struct policy_table *before = NULL, *after = NULL;
	CLEANUP(differences_free) struct differences found = {0};
	TRY(policy_files_load(&before_path, 1, &before));
	TRY(policy_files_load(&after_path, 1, &after));
	TRY(policy_differences(before, after, &found));
	if (json)
		return print_json(&found);
	for (size_t i = 0; i < found.count; i++)
		print_one(&found.items[i]);
	if (found.count == 0)
		printf("they decide the same\n");
	return OK;
}

int verb_policy_diff(int argc, char **argv)
{
	CLEANUP(options_free)
	struct options options = {
		.verb = "policy diff",
		.usage = "BEFORE AFTER",
		.description = "Compares policies field by field: each line says whether AFTER allows or denies what BEFORE did not, or changes\n"
			       "something that may do either. Files hold policies or one signed version. What is only written otherwise is no\n"
			       "difference.",
		.min_operands = 2,
		.max_operands = 2,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = diff(options.operands.items[0], options.operands.items[1], options.json);
	return verb_end(done, argc, argv);
}
