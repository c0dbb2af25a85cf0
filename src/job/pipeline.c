#include "job/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/writer.h"
#include "object/report.h"

/* ---- Reading --------------------------------------------------------------------------------------- */

struct scanner {
	const char *text;
	size_t at;
	struct arena *arena;
	char *word; /* being read */
	size_t len;
	bool in_word;
	struct pipeline pipeline;
	size_t most; /* words that a command can have at all */
};

static result refuse(const struct scanner *s, const char *what)
{
	return fail(BAD_SYNTAX, "character %zu: %s", s->at + 1, what);
}

static const char *meaning(char c)
{
	switch (c) {
	case '$':
	case '`':
		return "a shell would expand this; write the value itself, or quote it with '...'";
	case '*':
	case '?':
	case '[':
		return "a shell would match file names here; name the files, or quote it";
	case '{':
	case '}':
		return "a shell may expand braces here; quote them";
	case '~':
		return "a shell would put the home folder here; write the path";
	case '<':
	case '>':
		return "redirections cannot be represented; inputs and outputs belong to the job";
	case '&':
	case ';':
	case '\n':
		return "only commands joined by | can be represented";
	case '(':
	case ')':
		return "subshells cannot be represented";
	case '!':
		return "a shell would invert the status here; quote it";
	case '#':
		return "a shell would take the rest for a comment; quote it";
	default:
		return NULL;
	}
}

static void put(struct scanner *s, char c)
{
	s->word[s->len++] = c;
	s->in_word = true;
}

static result read_single(struct scanner *s)
{
	const char *end = strchr(s->text + s->at + 1, '\'');
	if (!end)
		return refuse(s, "this quote is not closed");
	s->in_word = true;
	for (const char *c = s->text + s->at + 1; c < end; c++)
		put(s, *c);
	s->at = (size_t)(end - s->text);
	return OK;
}

static result read_double(struct scanner *s)
{
	size_t begin = s->at;
	s->in_word = true;
	for (s->at++; s->text[s->at] != '"'; s->at++) {
		char c = s->text[s->at];
		if (c == '\0') {
			s->at = begin;
			return refuse(s, "this quote is not closed");
		}
		if (c == '$' || c == '`')
			return refuse(s, meaning(c));
		if (c == '\\' && s->text[s->at + 1] && strchr("\"\\$`", s->text[s->at + 1]))
			c = s->text[++s->at];
		put(s, c);
	}
	return OK;
}

static bool is_assignment(const char *word)
{
	size_t len = strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789");
	return len > 0 && word[len] == '=' && !(word[0] >= '0' && word[0] <= '9');
}

static result end_word(struct scanner *s)
{
	const char *word;
	struct pipeline_command *command = &s->pipeline.commands[s->pipeline.count];
	if (!s->in_word)
		return OK;
	TRY(arena_string(s->arena, span_of(s->word, s->len), &word));
	if (command->word_count == 0 && is_assignment(word))
		command->variables[command->variable_count++] = word;
	else
		command->words[command->word_count++] = word;
	s->len = 0;
	s->in_word = false;
	return OK;
}

static result begin_command(struct scanner *s)
{
	void *words, *variables;
	struct pipeline_command *command = &s->pipeline.commands[s->pipeline.count];
	TRY(arena_alloc(s->arena, s->most, sizeof(*command->words), &words));
	TRY(arena_alloc(s->arena, s->most, sizeof(*command->variables), &variables));
	*command = (struct pipeline_command){.words = words, .variables = variables};
	return OK;
}

static result end_command(struct scanner *s)
{
	TRY(end_word(s));
	if (s->pipeline.commands[s->pipeline.count].word_count == 0)
		return refuse(s, "a command is missing here");
	if (++s->pipeline.count == PIPELINE_MAX_COMMANDS)
		return refuse(s, "too many commands");
	return OK;
}

static result read_one(struct scanner *s)
{
	char c = s->text[s->at];
	switch (c) {
	case ' ':
	case '\t':
		return end_word(s);
	case '\'':
		return read_single(s);
	case '"':
		return read_double(s);
	case '|':
		if (s->text[s->at + 1] == '|' || s->text[s->at + 1] == '&')
			return refuse(s, "only a plain | can be represented");
		TRY(end_command(s));
		return begin_command(s);
	case '\\':
		if (s->text[s->at + 1] == '\0' || s->text[s->at + 1] == '\n')
			return refuse(s, "nothing follows this backslash");
		put(s, s->text[++s->at]);
		return OK;
	default:
		break;
	}
	bool only_at_start = c == '~' || c == '#' || c == '!';
	if (meaning(c) && !(only_at_start && s->in_word))
		return refuse(s, meaning(c));
	put(s, c);
	return OK;
}

result pipeline_parse(const char *text, struct arena *arena, struct pipeline *out)
{
	void *word, *commands;
	size_t len = strlen(text);
	if (len > PIPELINE_MAX)
		return fail(TOO_LARGE, "a pipeline of %zu characters", len);
	/* A pipeline written over several lines ends in newlines that mean nothing. */
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	const char *trimmed;
	TRY(arena_string(arena, span_of(text, len), &trimmed));
	struct scanner s = {.text = trimmed, .arena = arena, .most = 2};
	for (const char *c = trimmed; *c; c++)
		s.most += *c == ' ' || *c == '\t';
	TRY(arena_alloc(arena, len + 1, 1, &word));
	TRY(arena_alloc(arena, PIPELINE_MAX_COMMANDS + 1, sizeof(*s.pipeline.commands), &commands));
	s.word = word;
	s.pipeline.commands = commands;
	TRY(begin_command(&s));
	for (; s.text[s.at]; s.at++)
		TRY(read_one(&s));
	TRY(end_command(&s));
	*out = s.pipeline;
	return OK;
}

/* ---- Writing --------------------------------------------------------------------------------------- */

/* A text as JSON and YAML both read it. */
static void put_quoted(struct writer *w, const char *text)
{
	writer_str(w, "\"");
	for (const char *c = text; *c; c++) {
		char escape[8];
		if (*c == '"' || *c == '\\')
			snprintf(escape, sizeof(escape), "\\%c", *c);
		else if ((unsigned char)*c < 0x20 || *c == 0x7f)
			snprintf(escape, sizeof(escape), "\\u%04x", (unsigned char)*c);
		else
			snprintf(escape, sizeof(escape), "%c", *c);
		writer_str(w, escape);
	}
	writer_str(w, "\"");
}

static void stage_name(const struct pipeline *pipeline, size_t at, char out[static NAME_MAX_LEN + 1])
{
	const char *program = pipeline->commands[at].words[0];
	const char *slash = strrchr(program, '/');
	int len = snprintf(out, NAME_MAX_LEN + 1, "%zu-%s", at + 1, slash ? slash + 1 : program);
	for (int i = 0; i < len && i < NAME_MAX_LEN; i++)
		if (!((out[i] >= 'a' && out[i] <= 'z') || (out[i] >= 'A' && out[i] <= 'Z') || (out[i] >= '0' && out[i] <= '9') ||
			    out[i] == '.' || out[i] == '_' || out[i] == '-'))
			out[i] = '_';
}

/* True when the argument names a regular file: `out_file` is how the job's `files` names it, `out_inside` its path inside. */
static bool names_file(const char *argument, const char *folder, char out_file[static PATH_SIZE], char out_inside[static PATH_SIZE])
{
	struct stat at;
	char absolute[PATH_SIZE];
	if (argument[0] == '-' || stat(argument, &at) != 0 || !S_ISREG(at.st_mode) || !realpath(argument, absolute))
		return false;
	size_t len = strlen(folder);
	bool below = strncmp(absolute, folder, len) == 0 && absolute[len] == '/';
	if (argument[0] == '/' || !below) {
		snprintf(out_file, PATH_SIZE, "%s", absolute);
		snprintf(out_inside, PATH_SIZE, "%s", absolute);
		return true;
	}
	return snprintf(out_file, PATH_SIZE, ".%s", absolute + len) < PATH_SIZE && path_join(out_inside, "/job", absolute + len + 1) == OK;
}

static void put_arguments(struct writer *w, const struct pipeline_command *command, const char *folder)
{
	char file[PATH_SIZE], inside[PATH_SIZE];
	writer_str(w, "    args: [");
	for (size_t i = 1; i < command->word_count; i++) {
		writer_str(w, i > 1 ? ", " : "");
		put_quoted(w, names_file(command->words[i], folder, file, inside) ? inside : command->words[i]);
	}
	writer_str(w, "]\n");
}

static size_t put_files(struct writer *w, const struct pipeline_command *command, const char *folder)
{
	char file[PATH_SIZE], inside[PATH_SIZE];
	size_t count = 0;
	for (size_t i = 1; i < command->word_count; i++) {
		if (!names_file(command->words[i], folder, file, inside))
			continue;
		writer_str(w, count++ ? ", " : "    files: [");
		put_quoted(w, file);
	}
	writer_str(w, count ? "]\n" : "");
	return count;
}

static void put_variables(struct writer *w, const struct pipeline_command *command)
{
	if (command->variable_count)
		writer_str(w, "    env:\n");
	for (size_t i = 0; i < command->variable_count; i++) {
		const char *equals = strchr(command->variables[i], '=');
		writer_str(w, "      ");
		writer_put(w, command->variables[i], (size_t)(equals - command->variables[i]));
		writer_str(w, ": ");
		put_quoted(w, equals + 1);
		writer_str(w, "\n");
	}
}

static void put_policy(struct writer *w, const struct pipeline *pipeline, size_t at)
{
	char name[NAME_MAX_LEN + 1], depth[32];
	stage_name(pipeline, at, name);
	writer_str(w, "    policy:\n      enclave_id: ");
	writer_str(w, name);
	if (pipeline->count > 1) {
		writer_str(w, "\n      allowed_communicators: [");
		if (at > 0) {
			stage_name(pipeline, at - 1, name);
			writer_str(w, name);
		}
		if (at + 1 < pipeline->count) {
			writer_str(w, at > 0 ? ", " : "");
			stage_name(pipeline, at + 1, name);
			writer_str(w, name);
		}
		writer_str(w, "]");
	}
	snprintf(depth, sizeof(depth), "%zu", pipeline->count);
	writer_str(w, "\n      max_dac_depth: ");
	writer_str(w, depth);
	writer_str(w, "\n      required_attestation_level: Level-1\n");
}

static result put_program(struct writer *w, const char *program, const char *folder)
{
	char absolute[PATH_SIZE];
	size_t len = strlen(folder);
	if (!strchr(program, '/')) {
		put_quoted(w, program);
		return OK;
	}
	if (program[0] == '/') {
		put_quoted(w, program);
		return OK;
	}
	if (!realpath(program, absolute))
		return fail(PROGRAM_NOT_FOUND, "'%s'", program);
	if (strncmp(absolute, folder, len) == 0 && absolute[len] == '/') {
		char relative[PATH_SIZE];
		snprintf(relative, sizeof(relative), ".%s", absolute + len);
		put_quoted(w, relative);
		return OK;
	}
	put_quoted(w, absolute);
	return OK;
}

static result put_stage(struct writer *w, const struct pipeline *pipeline, size_t at, const char *folder, bool *out_names_files)
{
	const struct pipeline_command *command = &pipeline->commands[at];
	char name[NAME_MAX_LEN + 1];
	stage_name(pipeline, at, name);
	writer_str(w, "  - name: ");
	writer_str(w, name);
	writer_str(w, "\n    program: ");
	TRY(put_program(w, command->words[0], folder));
	writer_str(w, "\n");
	if (command->word_count > 1)
		put_arguments(w, command, folder);
	*out_names_files = put_files(w, command, folder) > 0;
	put_variables(w, command);
	put_policy(w, pipeline, at);
	return OK;
}

static void put_flow(struct writer *w, const struct pipeline *pipeline, bool has_input)
{
	char from[NAME_MAX_LEN + 1], to[NAME_MAX_LEN + 1], line[256];
	if (pipeline->count > 1)
		writer_str(w, "flow:\n");
	for (size_t i = 0; i + 1 < pipeline->count; i++) {
		stage_name(pipeline, i, from);
		stage_name(pipeline, i + 1, to);
		snprintf(line, sizeof(line), "  - {name: pipe-%zu, from: %s, to: %s}\n", i + 1, from, to);
		writer_str(w, line);
	}
	if (has_input) {
		stage_name(pipeline, 0, to);
		snprintf(line, sizeof(line), "inputs:\n  - {role: input, to: %s}\n", to);
		writer_str(w, line);
	}
	stage_name(pipeline, pipeline->count - 1, from);
	snprintf(line, sizeof(line), "outputs:\n  - {name: output, from: %s, file: output}\n", from);
	writer_str(w, line);
}

result pipeline_job(const struct pipeline *pipeline, const char *name, const char *folder, enum pipeline_input input,
	struct bytes *out_text, bool *out_has_input)
{
	CLEANUP(writer_free) struct writer w = writer_growing(16 * PIPELINE_MAX);
	bool has_input = input == PIPELINE_INPUT_YES;
	writer_str(&w, "# Made by `troth job new`. Files that a command names are measured with it; data belongs into inputs.\njob: ");
	writer_str(&w, name);
	writer_str(&w, "\nenclaves:\n");
	for (size_t i = 0; i < pipeline->count; i++) {
		bool names_files;
		TRY(put_stage(&w, pipeline, i, folder, &names_files));
		if (i == 0 && input == PIPELINE_INPUT_GUESS)
			has_input = !names_files;
	}
	put_flow(&w, pipeline, has_input);
	*out_has_input = has_input;
	return writer_take(&w, out_text);
}
