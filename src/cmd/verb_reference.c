/* troth reference new|sign|show|lint: sets of reference values, by whoever vouches for programs (docs/UPGRADE.md). */
#include "cmd/verb.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/next_set.h"
#include "wire/json.h"
#include "wire/text.h"

enum { KEY_FILE_MAX = 64 * 1024, DAYS = 397, MOST_DAYS = 3660 };

/* ---- What a set says ----------------------------------------------------------------------------------- */

static void print_set(const struct reference_set *set, const uint8_t *author)
{
	char from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE], hex[2 * SHA384_SIZE + 1];
	clock_format(set->not_before, from);
	clock_format(set->not_after, to);
	printf("set '%s' version %llu, valid %.10s .. %.10s\n", set->name, (unsigned long long)set->version, from, to);
	if (author) {
		hex_encode(span_of(author, KEY_ID_SIZE), hex);
		printf("author %s (signature verified under this key; whether to trust it is yours to say)\n", hex);
	}
	for (size_t i = 0; i < set->entry_count; i++) {
		const struct reference_entry *entry = &set->entries[i];
		printf("  %s, at least SVN %u\n", entry->name, entry->min_svn);
		for (size_t k = 0; k < entry->row_count; k++) {
			hex_encode(SPAN_ARRAY(entry->rows[k].digest), hex);
			printf("    SVN %-4u %-11s %s\n", entry->rows[k].svn,
				reference_what_name((enum reference_what)entry->rows[k].what), hex);
		}
	}
}

static result print_set_json(const struct reference_set *set, const uint8_t *author, const uint8_t *oid)
{
	json_t *json = schema_json(&reference_set_schema, set);
	if (!json)
		return fail(NO_MEMORY, "json");
	json_object_del(json, "v");
	if (author) {
		json_object_set_new(json, "author", json_hex(span_of(author, KEY_ID_SIZE)));
		json_object_set_new(json, "oid", json_hex(span_of(oid, OID_SIZE)));
	} else {
		json_object_del(json, "author_pk");
	}
	result printed = json_print(stdout, json);
	json_decref(json);
	return printed;
}

/* ---- show, lint ------------------------------------------------------------------------------------------ */

static result show(const char *path, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct reference_set set;
	uint8_t author[KEY_ID_SIZE], oid[OID_SIZE];
	TRY(file_read(path, REFERENCE_SET_MAX, &file));
	result opened = reference_set_open(bytes_span(&file), &arena, &set, author, oid);
	if (opened != OK)
		return fail_within(opened, "'%s' is no signed reference set", path);
	if (json)
		return print_set_json(&set, author, oid);
	print_set(&set, author);
	return OK;
}

static result lint(const char *path, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct reference_set set;
	TRY(file_read(path, REFERENCE_TEXT_MAX, &file));
	TRY(reference_text_parse(path, bytes_span(&file), &arena, &set));
	if (json)
		return print_set_json(&set, NULL, NULL);
	print_set(&set, NULL);
	return OK;
}

static int verb_of_one_file(int argc, char **argv, const char *verb, const char *description, result (*run)(const char *path, bool json))
{
	CLEANUP(options_free)
	struct options options = {.verb = verb, .usage = "FILE", .description = description, .min_operands = 1, .max_operands = 1};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = run(options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}

int verb_reference_show(int argc, char **argv)
{
	return verb_of_one_file(argc, argv, "reference show", "Shows a signed reference set, after checking its signature under the key that it names.",
		show);
}

int verb_reference_lint(int argc, char **argv)
{
	return verb_of_one_file(argc, argv, "reference lint",
		"Checks the source of a reference set (JSON or YAML): errors come with line and column.", lint);
}

/* ---- sign --------------------------------------------------------------------------------------------------- */

struct sign_arguments {
	const char *source, *key, *output;
};

static result read_author(const char *path, struct key *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(file_read_secret(fd.n, KEY_FILE_MAX, &pem));
	result read = key_from_private_pem(secret_span(&pem), out);
	return read == OK ? OK : fail_within(read, "'%s' is no private key (P-256, PEM, without a passphrase)", path);
}

static result sign(const struct sign_arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY, object = BYTES_EMPTY;
	CLEANUP(key_free) struct key author = KEY_EMPTY;
	struct reference_set set;
	uint8_t oid[OID_SIZE];
	if (!arguments->key || !arguments->output)
		return fail(USAGE, "--key and --output are needed");
	TRY(file_read(arguments->source, REFERENCE_TEXT_MAX, &file));
	TRY(reference_text_parse(arguments->source, bytes_span(&file), &arena, &set));
	TRY(read_author(arguments->key, &author));
	TRY(reference_set_sign(&set, &author, &object, oid));
	TRY(file_write_atomic(arguments->output, bytes_span(&object), 0644));
	if (json)
		return print_set_json(&set, author.id, oid);
	print_set(&set, author.id);
	printf("%s written\n", arguments->output);
	return OK;
}

int verb_reference_sign(int argc, char **argv)
{
	struct sign_arguments arguments = {NULL};
	const struct option_row rows[] = {
		{"key", OPTION_TEXT, &arguments.key, "FILE", "the author's private key (PEM, P-256)"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the signed set goes"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "reference sign",
		.usage = "SOURCE --key FILE --output FILE",
		.description = "Signs a reference set. Whoever enrolled this key as an author takes it as your word about each program in it.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help) {
		arguments.source = options.operands.items[0];
		done = sign(&arguments, options.json);
	}
	return verb_end(done, argc, argv);
}

/* ---- new ---------------------------------------------------------------------------------------------------- */

struct new_arguments {
	const char *name, *base, *programs, *output;
	struct words jobs;
	uint64_t days, svn;
	bool forbid_older;
};

static result write_source(const char *path, const struct bytes *text)
{
	if (path)
		return file_write_atomic(path, bytes_span(text), 0644);
	TRY(write_all(STDOUT_FILENO, bytes_span(text)));
	return write_all(STDOUT_FILENO, span_str("\n"));
}

static result make_new(const struct new_arguments *arguments, bool json)
{
	CLEANUP(next_set_free) struct next_set next = {.value_count = 0};
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	const struct next_set_options options = {arguments->base, arguments->name, clock_wall_ms(), arguments->days};
	if (arguments->days < 1 || arguments->days > MOST_DAYS)
		return fail(USAGE, "--valid takes 1 to %d days", MOST_DAYS);
	if (arguments->svn > UINT32_MAX)
		return fail(USAGE, "--svn is too large");
	const struct next_rule rule = {(uint32_t)arguments->svn, arguments->forbid_older};
	TRY(next_set_begin(&options, &next));
	if (arguments->programs)
		TRY(next_set_add_programs(&next, arguments->programs, &rule));
	for (size_t i = 0; i < arguments->jobs.count; i++)
		TRY(next_set_add_job(&next, arguments->jobs.items[i], &rule));
	TRY(next_set_write(&next, &text));
	TRY(write_source(arguments->output, &text));
	if (!arguments->output)
		return OK;
	if (json)
		return print_set_json(&next.set, NULL, NULL);
	print_set(&next.set, NULL);
	printf("%s written; check it, then sign it with `troth reference sign`\n", arguments->output);
	return OK;
}

int verb_reference_new(int argc, char **argv)
{
	struct new_arguments arguments = {.days = DAYS};
	const struct option_row rows[] = {
		{"name", OPTION_TEXT, &arguments.name, "NAME", "name of the set"},
		{"base", OPTION_TEXT, &arguments.base, "FILE", "the set before, signed or as source: its rows stay, its version rises"},
		{"programs", OPTION_TEXT, &arguments.programs, "DIR", "measure troth-ap, trothd and troth-ire in this folder"},
		{"job", OPTION_LIST, &arguments.jobs, "JOB", "measure the enclaves of this job file (repeat)"},
		{"svn", OPTION_NUMBER, &arguments.svn, "N", "security version of what is new (one above the highest so far)"},
		{"forbid-older", OPTION_FLAG, &arguments.forbid_older, NULL, "what is older than these is not allowed any more"},
		{"valid", OPTION_NUMBER, &arguments.days, "DAYS", "how long the set is valid (397)"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the source goes (stdout)"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "reference new",
		.usage = "--name NAME [--programs DIR] [--job JOB]... [--base FILE] [--output FILE]",
		.description = "Writes the source of a reference set from what is measured here. Do this where you trust the machine: what is\n"
			       "measured here is what others will believe once you have signed it.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = make_new(&arguments, options.json);
	return verb_end(done, argc, argv);
}
