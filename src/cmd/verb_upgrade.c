/*
 * troth upgrade plan|authorise|status: what an upgrade of Troth or of a job's programs would change, and its authorisation beforehand
 * by a signed reference set (docs/UPGRADE.md).
 */
#include "cmd/verb.h"

#include <stdio.h>

#include "base/clock.h"
#include "cmd/next_set.h"
#include "job/plan.h"
#include "job/state.h"
#include "object/seal.h"
#include "root/tcb.h"
#include "root/upgrade_store.h"
#include "wire/json.h"
#include "wire/text.h"

enum { SEALED_FILE_MAX = 64 * 1024, DAYS = 397, MOST_SEALS = 256 };

/* ---- plan ----------------------------------------------------------------------------------------------- */

struct plan_arguments {
	const char *set, *name, *programs, *domain, *output;
	struct words jobs, seals;
	uint64_t svn;
	bool forbid_older;
};

enum seal_fate { SEAL_OPENS, SEAL_FOLLOWS, SEAL_NEEDS_RESEAL, SEAL_UNKNOWN };

struct seal_row {
	const char *file, *enclave;
	enum seal_fate fate;
};

struct findings {
	struct next_set next;
	struct tcb tcb;
	bool has_tcb;
	struct arena arena;
	struct seal_row seals[MOST_SEALS];
	size_t seal_count;
};

static void findings_free(struct findings *found)
{
	next_set_free(&found->next);
	tcb_free(&found->tcb);
	arena_free(&found->arena);
}

static const char *fate_name(enum seal_fate fate)
{
	static const char *const names[] = {"opens", "opens with the next set", "must be sealed anew", "is for no enclave of these jobs"};
	return names[fate];
}

static enum seal_fate judge_seal(const struct next_set *next, const struct seal_policy *policy)
{
	bool of_a_job = false;
	for (size_t i = 0; i < next->value_count; i++) {
		const struct next_value *value = &next->values[i];
		if (value->what != REFERENCE_MEASUREMENT || strcmp(value->name, policy->name) != 0)
			continue;
		of_a_job = true;
		if (policy->v == SEAL_BY_MEASUREMENT && memcmp(policy->measurement, value->digest, SHA384_SIZE) == 0)
			return SEAL_OPENS;
	}
	if (!of_a_job)
		return SEAL_UNKNOWN;
	bool same_set = policy->v == SEAL_BY_REFERENCE && strcmp(policy->reference.set, next->set.name) == 0;
	return same_set ? SEAL_FOLLOWS : SEAL_NEEDS_RESEAL;
}

static result look_at_seal(struct findings *found, const char *path)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct span kept;
	struct sealed sealed;
	if (found->seal_count == MOST_SEALS)
		return fail(TOO_LARGE, "more than %d sealed secrets", MOST_SEALS);
	TRY(file_read(path, SEALED_FILE_MAX, &file));
	TRY(arena_copy(&found->arena, bytes_span(&file), &kept));
	result opened = object_peek(KIND_SEALED, kept, &found->arena, &sealed, NULL);
	if (opened != OK)
		return fail_within(opened, "'%s' is no sealed secret", path);
	found->seals[found->seal_count++] = (struct seal_row){path, sealed.policy.name, judge_seal(&found->next, &sealed.policy)};
	return OK;
}

static result find(const struct plan_arguments *arguments, struct findings *found)
{
	const struct next_set_options options = {arguments->set, arguments->name ? arguments->name : arguments->set ? NULL : "plan",
		clock_wall_ms(), DAYS};
	const struct next_rule rule = {(uint32_t)arguments->svn, arguments->forbid_older};
	TRY(next_set_begin(&options, &found->next));
	if (arguments->programs) {
		TRY(tcb_measure(arguments->programs, arguments->domain ? arguments->domain : "troth.internal", false, &found->tcb));
		found->has_tcb = true;
		TRY(next_set_add_programs(&found->next, arguments->programs, &rule));
	}
	for (size_t i = 0; i < arguments->jobs.count; i++)
		TRY(next_set_add_job(&found->next, arguments->jobs.items[i], &rule));
	for (size_t i = 0; i < arguments->seals.count; i++)
		TRY(look_at_seal(found, arguments->seals.items[i]));
	return OK;
}

static size_t count_new(const struct findings *found)
{
	size_t count = 0;
	for (size_t i = 0; i < found->next.value_count; i++)
		count += !found->next.values[i].known;
	return count;
}

static result print_plan_json(const struct findings *found, const char *output)
{
	json_t *values = json_array(), *seals = json_array();
	for (size_t i = 0; i < found->next.value_count; i++) {
		const struct next_value *value = &found->next.values[i];
		json_array_append_new(values, json_pack("{s:s, s:s, s:o, s:I, s:b}", "name", value->name, "what", reference_what_name(value->what),
						      "digest", json_hex(SPAN_ARRAY(value->digest)), "svn", (json_int_t)value->svn, "known", value->known));
	}
	for (size_t i = 0; i < found->seal_count; i++)
		json_array_append_new(seals, json_pack("{s:s, s:s, s:s}", "file", found->seals[i].file, "enclave", found->seals[i].enclave, "state",
						     fate_name(found->seals[i].fate)));
	json_t *json = json_pack("{s:s, s:I, s:I, s:o, s:o}", "set", found->next.set.name, "version", (json_int_t)found->next.set.version, "new",
		(json_int_t)count_new(found), "values", values, "seals", seals);
	if (json && found->has_tcb) {
		json_object_set_new(json, "register0", json_hex(SPAN_ARRAY(found->tcb.registers[REGISTER_AP].value)));
		json_object_set_new(json, "register1", json_hex(SPAN_ARRAY(found->tcb.registers[REGISTER_HOST].value)));
	}
	if (json && output)
		json_object_set_new(json, "written", json_string(output));
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

static void print_plan(const struct findings *found, const char *output)
{
	char hex[2 * SHA384_SIZE + 1];
	for (size_t i = 0; i < found->next.value_count; i++) {
		const struct next_value *value = &found->next.values[i];
		hex_encode(SPAN_ARRAY(value->digest), hex);
		printf("%s  %-16s %-11s SVN %-4u %.16s...\n", value->known ? "known" : "new  ", value->name, reference_what_name(value->what),
			value->svn, hex);
	}
	for (int i = 0; found->has_tcb && i < 2; i++) {
		hex_encode(SPAN_ARRAY(found->tcb.registers[i].value), hex);
		printf("register %d of a host with these programs: %s\n", i, hex);
	}
	for (size_t i = 0; i < found->seal_count; i++)
		printf("%s (for '%s'): %s\n", found->seals[i].file, found->seals[i].enclave, fate_name(found->seals[i].fate));
	if (count_new(found) == 0)
		printf("Nothing would change.\n");
	else if (output)
		printf("%s written. Next: `troth reference sign %s --key AUTHOR.pem --output SET`, then `troth upgrade authorise SET`.\n", output,
			output);
	else
		printf("With --output FILE the next set is written, to be signed and authorised.\n");
}

static result plan(const struct plan_arguments *arguments, bool json)
{
	CLEANUP(findings_free) struct findings found = {.has_tcb = false};
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	found.arena = arena_of(64 << 20);
	if (!arguments->programs && !arguments->jobs.count)
		return fail(USAGE, "name what will change: --programs DIR, --job JOB");
	if (arguments->svn > UINT32_MAX)
		return fail(USAGE, "--svn is too large");
	if (arguments->output && !arguments->set && !arguments->name)
		return fail(USAGE, "--output needs the set before (--set FILE) or the name of a new one (--name NAME)");
	TRY(find(arguments, &found));
	TRY(next_set_write(&found.next, &text));
	if (arguments->output)
		TRY(file_write_atomic(arguments->output, bytes_span(&text), 0644));
	if (json)
		return print_plan_json(&found, arguments->output);
	print_plan(&found, arguments->output);
	return OK;
}

int verb_upgrade_plan(int argc, char **argv)
{
	struct plan_arguments arguments = {NULL};
	const struct option_row rows[] = {
		{"set", OPTION_TEXT, &arguments.set, "FILE", "the reference set in force, signed or as source"},
		{"name", OPTION_TEXT, &arguments.name, "NAME", "without --set: the name of the first set"},
		{"programs", OPTION_TEXT, &arguments.programs, "DIR", "folder of the new troth-ap, trothd and troth-ire"},
		{"trust-domain", OPTION_TEXT, &arguments.domain, "NAME", "trust domain of the host, for its registers (troth.internal)"},
		{"job", OPTION_LIST, &arguments.jobs, "JOB", "job file whose programs change or have changed (repeat)"},
		{"sealed", OPTION_LIST, &arguments.seals, "FILE", "sealed secret to look at (repeat)"},
		{"svn", OPTION_NUMBER, &arguments.svn, "N", "security version of what is new (one above the highest so far)"},
		{"forbid-older", OPTION_FLAG, &arguments.forbid_older, NULL, "once authorised, what is older does not run any more"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "write the source of the next set here"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "upgrade plan",
		.usage = "[--set FILE] [--programs DIR] [--job JOB]... [--sealed FILE]... [--output FILE]",
		.description = "Shows what an upgrade would change: the measurements of Troth's programs and of the enclaves of jobs, as the files\n"
			       "on this machine are now, and which sealed secrets would not open any more. Asks no host and changes nothing.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = plan(&arguments, options.json);
	return verb_end(done, argc, argv);
}

/* ---- authorise ------------------------------------------------------------------------------------------- */

struct authorise_arguments {
	struct host_options host;
	const char *set;
	struct words reseal;
	bool enrol;
};

static result connect_with(const struct authorise_arguments *arguments, const char *set, struct client *out)
{
	char state[PATH_SIZE];
	TRY(state_path(arguments->host.state, state));
	const struct client_options options = {
		.state_dir = state,
		.passphrase_fd = arguments->host.passphrase_fd ? (int)arguments->host.passphrase_fd : -1,
		.first_uid = arguments->host.first_uid,
		.authorise = arguments->enrol ? NULL : set,
	};
	return client_connect(&options, out);
}

static result ask(struct client *client, const struct ap_authorise *request, struct arena *arena, struct ap_authorised *out)
{
	const struct client_call call = {.type = SERVICE_AUTHORISE, .body = request, .expected = SERVICE_AUTHORISED, .timeout_ms = 60 * 1000};
	return client_call(client, &call, arena, out, NULL);
}

/* OLD=NEW: the old object stays, for as long as the old programs run. */
static result reseal(struct client *client, struct span set, const char *word, struct arena *arena)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct ap_authorised reply;
	const char *equals = strrchr(word, '='), *from;
	if (!equals || equals == word || !equals[1])
		return fail(USAGE, "--reseal takes FILE=NEW, not '%s'", word);
	TRY(arena_string(arena, span_of(word, (size_t)(equals - word)), &from));
	TRY(file_read(from, 8 * 1024, &file));
	const struct ap_authorise request = {.set = set, .sealed = bytes_span(&file)};
	result resealed = ask(client, &request, arena, &reply);
	if (resealed != OK)
		return fail_within(resealed, "'%s'", from);
	return file_write_atomic(equals + 1, reply.sealed, 0644);
}

static result tell(const struct authorise_arguments *arguments, const struct reference_set *set, bool json)
{
	if (json) {
		json_t *object = json_pack("{s:b, s:s, s:I, s:b, s:I}", "authorised", 1, "set", set->name, "version", (json_int_t)set->version,
			"enrolled", arguments->enrol, "resealed", (json_int_t)arguments->reseal.count);
		result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
		return printed;
	}
	printf("Set '%s' version %llu is in force on this host%s.\n", set->name, (unsigned long long)set->version,
		arguments->enrol ? "; its author is enrolled" : "");
	if (arguments->reseal.count)
		printf("%zu secret%s sealed anew; keep the old file%s until the new programs run.\n", arguments->reseal.count,
			arguments->reseal.count == 1 ? "" : "s", arguments->reseal.count == 1 ? "" : "s");
	return OK;
}

static result authorise(const struct authorise_arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct reference_set set;
	struct ap_authorised reply;
	char path[PATH_SIZE];
	uint8_t author[KEY_ID_SIZE];
	TRY(verb_absolute(arguments->set, path));
	TRY(file_read(path, REFERENCE_SET_MAX, &file));
	result opened = reference_set_open(bytes_span(&file), &arena, &set, author, NULL);
	if (opened != OK)
		return fail_within(opened, "'%s' is no signed reference set", arguments->set);
	TRY(connect_with(arguments, path, &client));
	const struct ap_authorise request = {.set = bytes_span(&file), .enrol = arguments->enrol};
	TRY(ask(&client, &request, &arena, &reply));
	for (size_t i = 0; i < arguments->reseal.count; i++)
		TRY(reseal(&client, bytes_span(&file), arguments->reseal.items[i], &arena));
	return tell(arguments, &set, json);
}

int verb_upgrade_authorise(int argc, char **argv)
{
	struct authorise_arguments arguments = {.set = NULL};
	const struct option_row rows[] = {
		{"enrol", OPTION_FLAG, &arguments.enrol, NULL, "take in the set's author too: from then on his sets count on this host"},
		{"reseal", OPTION_LIST, &arguments.reseal, "FILE=NEW",
			"seal the secret of FILE anew, for the newest measurement of its enclave, into NEW (repeat)"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "upgrade authorise",
		.usage = "SET [--enrol] [--reseal FILE=NEW]... [--state DIR]",
		.description = "Gives a signed reference set to the host: the versions of troth-ap, trothd and troth-ire that it lists may run from\n"
			       "then on, without `troth host accept-ap`, and secrets sealed by reference to it follow it. The author must be enrolled,\n"
			       "once, while the measured programs run. An author can move every secret sealed on this host: enrol only whom you\n"
			       "would trust with them.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help) {
		arguments.set = options.operands.items[0];
		done = authorise(&arguments, options.json);
	}
	return verb_end(done, argc, argv);
}

/* ---- status --------------------------------------------------------------------------------------------------- */

static void id_text(const uint8_t id[static KEY_ID_SIZE], char out[static 2 * KEY_ID_SIZE + 1])
{
	hex_encode(span_of(id, KEY_ID_SIZE), out);
}

static result print_status_json(const struct upgrades *upgrades)
{
	json_t *authors = json_array(), *sets = json_array(), *programs = json_array(), *least = json_object();
	for (size_t i = 0; i < upgrades->author_count; i++)
		json_array_append_new(authors, json_hex(SPAN_ARRAY(upgrades->authors[i].id)));
	for (size_t i = 0; i < upgrades->set_count; i++) {
		const struct upgrade_set *set = &upgrades->sets[i];
		json_array_append_new(sets, json_pack("{s:o, s:s, s:I, s:o}", "author", json_hex(SPAN_ARRAY(set->author)), "name", set->name,
						    "version", (json_int_t)set->version, "oid", json_hex(SPAN_ARRAY(set->oid))));
	}
	for (size_t i = 0; i < upgrades->row_count; i++) {
		const struct upgrade_row *row = &upgrades->rows[i];
		enum upgrade_program program = (enum upgrade_program)row->program;
		json_array_append_new(programs,
			json_pack("{s:s, s:I, s:o, s:s, s:b}", "program", upgrade_program_name(program), "svn", (json_int_t)row->svn, "digest",
				json_hex(SPAN_ARRAY(row->digest)), "set", upgrades->sets[row->set].name, "allowed",
				upgrades_allow(upgrades, program, row->digest) == OK));
	}
	for (int i = 0; i < UPGRADE_PROGRAMS; i++)
		json_object_set_new(least, upgrade_program_name((enum upgrade_program)i), json_integer(upgrades->min_svn[i]));
	json_t *json = json_pack("{s:o, s:o, s:o, s:o}", "authors", authors, "sets", sets, "programs", programs, "min_svn", least);
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

static void print_status(const struct upgrades *upgrades)
{
	char id[2 * SHA384_SIZE + 1];
	if (upgrades->author_count == 0)
		printf("No author is enrolled: a change of the programs is accepted by hand (`troth host accept-ap`).\n");
	for (size_t i = 0; i < upgrades->author_count; i++) {
		id_text(upgrades->authors[i].id, id);
		printf("author %s\n", id);
	}
	for (size_t i = 0; i < upgrades->set_count; i++)
		printf("set '%s' version %llu of author %02x%02x%02x%02x...\n", upgrades->sets[i].name,
			(unsigned long long)upgrades->sets[i].version, upgrades->sets[i].author[0], upgrades->sets[i].author[1],
			upgrades->sets[i].author[2], upgrades->sets[i].author[3]);
	for (size_t i = 0; i < upgrades->row_count; i++) {
		const struct upgrade_row *row = &upgrades->rows[i];
		enum upgrade_program program = (enum upgrade_program)row->program;
		hex_encode(SPAN_ARRAY(row->digest), id);
		printf("  %-9s SVN %-4u %.16s... %s\n", upgrade_program_name(program), row->svn, id,
			upgrades_allow(upgrades, program, row->digest) == OK ? "may run" : "too old: not any more");
	}
}

/* From the host's own record; the secure processor keeps one that follows the same rules. */
static result status(const struct host_options *host, bool json)
{
	char state[PATH_SIZE];
	struct upgrades upgrades;
	TRY(state_path(host->state, state));
	if (!state_has_root(state))
		return fail(NO_ROOT, "'%s'", state);
	TRY(upgrade_store_load(state, &upgrades));
	if (json)
		return print_status_json(&upgrades);
	print_status(&upgrades);
	return OK;
}

int verb_upgrade_status(int argc, char **argv)
{
	struct host_options host = {0};
	const struct option_row rows[] = {
		{"state", OPTION_TEXT, &host.state, "DIR", "state folder of the host (default: /var/lib/troth, or ~/.local/state/troth)"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "upgrade status",
		.usage = "[--state DIR]",
		.description = "Shows whose reference sets count on this host, which are in force, and which builds of Troth's programs may run.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = status(&host, options.json);
	return verb_end(done, argc, argv);
}
