#include "enclave/relocation.h"

#include "base/file.h"
#include "enclave/elf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MEMORY = 16 << 20, PROGRAM_MAX = 512 << 20, SCRIPT_DEPTH = 5, LINE_MAX_ = 256, MORE_ARGUMENTS = 3 * SCRIPT_DEPTH + 8 };

struct making {
	const struct relocation_spec *spec;
	struct relocation *out;
};

void relocation_free(struct relocation *relocation)
{
	if (relocation)
		arena_free(&relocation->arena);
}

static result join(struct making *m, const char *a, const char *b, const char **out)
{
	void *text;
	size_t size = strlen(a) + strlen(b) + 1;
	TRY(arena_alloc(&m->out->arena, size, 1, &text));
	snprintf(text, size, "%s%s", a, b);
	*out = text;
	return OK;
}

static result list_new(struct making *m, size_t count, const char ***out)
{
	void *list;
	TRY(arena_alloc(&m->out->arena, count + 1, sizeof(const char *), &list));
	*out = list;
	return OK;
}

static size_t length(const char *const *list)
{
	size_t count = 0;
	while (list && list[count])
		count++;
	return count;
}

/* Something that the copy has, also by way of its links, or that may come to be in the scratch folder. */
static bool is_inside(const struct relocation_spec *spec, const char *path)
{
	char place[PATH_SIZE];
	if (path[0] != '/' || path[1] == '\0' || strstr(path, "/../"))
		return false;
	if (strcmp(path, "/tmp") == 0 || strncmp(path, "/tmp/", 5) == 0)
		return true;
	return snprintf(place, sizeof(place), "%s%s", spec->folder, path) < (int)sizeof(place) && access(place, F_OK) == 0;
}

static result relocate(struct making *m, const char *text, const char **out)
{
	if (is_inside(m->spec, text))
		return join(m, m->spec->folder, text, out);
	*out = text;
	return OK;
}

/* Each folder of a PATH; what lies outside of the copy could not be read anyway. */
static result relocate_path(struct making *m, const char *value, const char **out)
{
	const char *path = "PATH=", *separator = "";
	while (*value) {
		char folder[PATH_SIZE];
		const char *inside;
		size_t len = strcspn(value, ":");
		if (len >= sizeof(folder))
			return fail(TOO_LARGE, "a folder of PATH");
		memcpy(folder, value, len);
		folder[len] = '\0';
		TRY(join(m, path, separator, &path));
		TRY(join(m, folder[0] == '/' ? m->spec->folder : "", folder, &inside));
		TRY(join(m, path, inside, &path));
		separator = ":";
		value += len + (value[len] == ':');
	}
	*out = path;
	return OK;
}

static result relocate_variable(struct making *m, const char *variable, const char **out)
{
	const char *equals = strchr(variable, '='), *value, *name;
	if (!equals || !is_inside(m->spec, equals + 1)) {
		*out = variable;
		return strncmp(variable, "PATH=", 5) == 0 ? relocate_path(m, variable + 5, out) : OK;
	}
	void *copy;
	size_t len = (size_t)(equals - variable) + 1;
	TRY(arena_alloc(&m->out->arena, len + 1, 1, &copy));
	memcpy(copy, variable, len);
	name = copy;
	TRY(relocate(m, equals + 1, &value));
	return join(m, name, value, out);
}

static result relocate_environment(struct making *m)
{
	const char **env;
	size_t count = length(m->spec->env);
	TRY(list_new(m, count, &env));
	for (size_t i = 0; i < count; i++)
		TRY(relocate_variable(m, m->spec->env[i], &env[i]));
	m->out->env = env;
	return OK;
}

/* ---- What is executed ---------------------------------------------------------------------------- */

static bool is_library(const struct manifest_file *file)
{
	const char *name = strrchr(file->path, '/');
	return file->type != FILE_DIRECTORY && name && strstr(name, ".so");
}

/* Every folder of the copy with a library in it, each once, in the order of the manifest. */
static result library_path(struct making *m, const char **out)
{
	const struct relocation_spec *spec = m->spec;
	const char *path = "";
	size_t last_len = 0;
	const char *last = NULL;
	for (size_t i = 0; i < spec->file_count; i++) {
		const char *file = spec->files[i].path;
		size_t len = (size_t)(strrchr(file, '/') - file);
		char folder[PATH_SIZE];
		const char *inside;
		/* Sorted by path: files of one folder may have those of its subfolders between them; a repeat does no harm. */
		if (!is_library(&spec->files[i]) || len >= sizeof(folder) || (last && last_len == len && memcmp(last, file, len) == 0))
			continue;
		memcpy(folder, file, len);
		folder[len] = '\0';
		TRY(join(m, spec->folder, folder, &inside));
		TRY(join(m, path, path[0] ? ":" : "", &path));
		TRY(join(m, path, inside, &path));
		last = file;
		last_len = len;
	}
	*out = path;
	return OK;
}

/* `argv` has room in front; *first is where it begins. */
static void prepend(const char **argv, size_t *first, const char *word)
{
	argv[--*first] = word;
}

static result start_elf(struct making *m, struct span file, const char *path, const char **argv, size_t first)
{
	struct elf elf;
	char loader[PATH_SIZE];
	const char *libraries;
	TRY(elf_parse(file, &elf));
	if (!elf.has_interpreter) {
		m->out->path = path;
		m->out->argv = argv + first;
		return OK;
	}
	if (elf.interpreter.len >= sizeof(loader))
		return fail(PROGRAM_FAILED_TO_START, "%s names a loader with a path that is too long", path);
	memcpy(loader, elf.interpreter.data, elf.interpreter.len);
	loader[elf.interpreter.len] = '\0';
	if (!is_inside(m->spec, loader))
		return fail(PROGRAM_FAILED_TO_START, "the manifest does not have the loader %s", loader);
	TRY(library_path(m, &libraries));
	const char *name = argv[first++];
	TRY(join(m, m->spec->folder, loader, &m->out->path));
	prepend(argv, &first, path);
	prepend(argv, &first, name);
	prepend(argv, &first, "--argv0");
	prepend(argv, &first, libraries);
	prepend(argv, &first, "--library-path");
	if (!strstr(loader, "ld-musl"))
		prepend(argv, &first, "--inhibit-cache");
	prepend(argv, &first, m->out->path);
	m->out->argv = argv + first;
	return OK;
}

/* "#!INTERPRETER [ARGUMENT]", as execve(2) reads it. */
static result script_words(struct making *m, struct span file, const char *path, const char **out_program, const char **out_argument)
{
	char line[LINE_MAX_];
	size_t len = 2;
	while (len < file.len && file.data[len] != '\n' && len - 2 < sizeof(line) - 1)
		len++;
	memcpy(line, file.data + 2, len - 2);
	line[len - 2] = '\0';
	char *program = line + strspn(line, " \t"), *rest = program + strcspn(program, " \t\r");
	if (*rest)
		*rest++ = '\0';
	rest += strspn(rest, " \t");
	size_t end = strlen(rest);
	while (end > 0 && strchr(" \t\r", rest[end - 1]))
		rest[--end] = '\0';
	const char *name = strrchr(program, '/');
	if (!name || !is_inside(m->spec, program))
		return fail(PROGRAM_FAILED_TO_START, "the manifest does not have the interpreter '%s' of %s", program, path);
	if (strcmp(name, "/env") == 0)
		return fail(PROGRAM_FAILED_TO_START, "%s: in tier L name the interpreter itself after #!, not %s", path, program);
	TRY(join(m, program, "", out_program));
	return join(m, rest, "", out_argument);
}

static result plan_start(struct making *m)
{
	const struct relocation_spec *spec = m->spec;
	const char **argv, *path = spec->program;
	size_t count = length(spec->argv), first = MORE_ARGUMENTS;
	TRY(list_new(m, count + MORE_ARGUMENTS, &argv));
	for (size_t i = 0; i < count; i++)
		TRY(relocate(m, spec->argv[i], &argv[first + i]));
	for (int depth = 0; depth <= SCRIPT_DEPTH; depth++) {
		CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
		const char *place, *argument;
		TRY(join(m, spec->folder, path, &place));
		TRY(file_read(place, PROGRAM_MAX, &file));
		if (file.len < 3 || memcmp(file.data, "#!", 2) != 0)
			return start_elf(m, bytes_span(&file), place, argv, first);
		TRY(script_words(m, bytes_span(&file), path, &path, &argument));
		argv[first] = place; /* the kernel, too, replaces the name by the script's path */
		if (argument[0])
			prepend(argv, &first, argument);
		prepend(argv, &first, path);
	}
	return fail(PROGRAM_FAILED_TO_START, "%s: interpreters of interpreters without end", spec->program);
}

/* ---- What may be reached --------------------------------------------------------------------------- */

static result list_tops(struct making *m)
{
	const struct relocation_spec *spec = m->spec;
	const char **tops, *scratch;
	size_t count = 0;
	TRY(list_new(m, spec->file_count, &tops));
	for (size_t i = 0; i < spec->file_count; i++) {
		const char *path = spec->files[i].path;
		size_t len = path[0] == '/' ? 1 + strcspn(path + 1, "/") : 0;
		char top[256];
		const char *place;
		if (len < 2 || len >= sizeof(top))
			return fail(BAD_VALUE, "the manifest names %s", path);
		memcpy(top, path, len);
		top[len] = '\0';
		TRY(join(m, spec->folder, top, &place));
		if (count == 0 || strcmp(tops[count - 1], place) != 0) /* sorted by path */
			tops[count++] = place;
	}
	TRY(join(m, spec->folder, "/tmp", &scratch));
	m->out->copy = (struct landlock_copy){tops, count, scratch};
	return OK;
}

result relocation_make(const struct relocation_spec *spec, struct relocation *out)
{
	struct relocation made = {.arena = arena_of(MEMORY)};
	struct making m = {spec, &made};
	result planned = list_tops(&m);
	if (planned == OK && spec->program)
		planned = relocate_environment(&m);
	if (planned == OK && spec->program)
		planned = plan_start(&m);
	if (planned != OK) {
		arena_free(&made.arena);
		return planned;
	}
	*out = made;
	return OK;
}
