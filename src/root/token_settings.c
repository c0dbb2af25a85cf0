#include "root/token_settings.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "wire/document.h"
#include "wire/json.h"

enum { SETTINGS_MAX = 16 * 1024 };

static result settings_path(const char *state_dir, char out[static PATH_SIZE])
{
	char ap_dir[PATH_SIZE];
	TRY(path_join(ap_dir, state_dir, "ap"));
	return path_join(out, ap_dir, "token.json");
}

/* ---- Writing ---------------------------------------------------------------------------------------- */

static bool is_inside(const char *path, const char *folder)
{
	size_t len = strlen(folder);
	return strncmp(path, folder, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* The worker of a token does not see the state folder. */
static result check_folders(const char *const *folders, const char *state_dir)
{
	for (size_t i = 0; folders && folders[i]; i++) {
		if (folders[i][0] != '/')
			return fail(BAD_VALUE, "the folder %s has no absolute path", folders[i]);
		if (i >= TOKEN_FOLDERS_MAX - 1)
			return fail(BAD_VALUE, "more than %d folders", TOKEN_FOLDERS_MAX - 1);
		if (is_inside(folders[i], state_dir))
			return fail(BAD_VALUE, "the folder %s lies in the state folder, which a PKCS#11 module never sees", folders[i]);
	}
	return OK;
}

static result check_source(const struct token_source *source, const char *state_dir)
{
	if (!source->module || source->module[0] != '/')
		return fail(BAD_VALUE, "the PKCS#11 module needs an absolute path");
	if (source->pin_file && source->pin_file[0] != '/')
		return fail(BAD_VALUE, "the PIN file %s has no absolute path", source->pin_file);
	return check_folders(source->writable, state_dir);
}

static json_t *text_list(const char *const *texts)
{
	json_t *list = json_array();
	for (size_t i = 0; list && texts && texts[i]; i++)
		if (json_array_append_new(list, json_string(texts[i])) != 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

result token_settings_save(const char *state_dir, const struct token_source *source)
{
	char path[PATH_SIZE], ap_dir[PATH_SIZE];
	TRY(check_source(source, state_dir));
	TRY(path_join(ap_dir, state_dir, "ap"));
	TRY(settings_path(state_dir, path));
	TRY(file_make_dirs(ap_dir, 0700));
	json_t *json = json_pack("{s:s, s:s?, s:s?, s:s?, s:b, s:o, s:o}", "module", source->module, "token", source->label, "serial",
		source->serial, "pin_file", source->pin_file, "network", source->network, "writable", text_list(source->writable), "environment",
		text_list(source->environment));
	char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	result written = text ? file_write_atomic(path, span_str(text), 0600) : fail(BAD_VALUE, "the settings of a token are no UTF-8");
	free(text);
	json_decref(json);
	return written;
}

result token_settings_remove(const char *state_dir)
{
	char path[PATH_SIZE];
	TRY(settings_path(state_dir, path));
	if (unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR)
		return fail_errno("%s", path);
	return OK;
}

/* ---- Reading ---------------------------------------------------------------------------------------- */

static const char *const field_names[] = {"!module", "!token", "!serial", "!pin_file", "!network", "!writable", "!environment", NULL};

static result read_text(const struct document *document, const char *field, struct arena *arena, const char **out)
{
	const struct node *node = node_field(document->root, field);
	const char *text;
	*out = NULL;
	if (node_is_null(node))
		return OK;
	TRY(node_text(document, node, &text));
	return arena_string(arena, span_str(text), out);
}

static result read_list(const struct document *document, const char *field, struct arena *arena, const char *const **out)
{
	const struct node *node = node_field(document->root, field);
	void *memory;
	if (node->kind != NODE_LIST)
		return document_fail(document, node, BAD_TYPE, "'%s' must be a list", field);
	TRY(arena_alloc(arena, node->count + 1, sizeof(char *), &memory));
	const char **list = memory;
	for (size_t i = 0; i < node->count; i++) {
		const char *text;
		TRY(node_text(document, &node->children[i], &text));
		TRY(arena_string(arena, span_str(text), &list[i]));
	}
	list[node->count] = NULL;
	*out = list;
	return OK;
}

static result read_document(const struct document *document, struct arena *arena, struct token_source *out)
{
	TRY(document_fields(document, document->root, field_names));
	TRY(read_text(document, "module", arena, &out->module));
	TRY(read_text(document, "token", arena, &out->label));
	TRY(read_text(document, "serial", arena, &out->serial));
	TRY(read_text(document, "pin_file", arena, &out->pin_file));
	TRY(node_bool(document, node_field(document->root, "network"), &out->network));
	TRY(read_list(document, "writable", arena, &out->writable));
	return read_list(document, "environment", arena, &out->environment);
}

result token_settings_load(const char *state_dir, struct arena *arena, struct token_source *out)
{
	char path[PATH_SIZE];
	struct token_source source = {0};
	CLEANUP(document_free) struct document document = {0};
	TRY(settings_path(state_dir, path));
	TRY(document_load(path, SETTINGS_MAX, &document));
	TRY(read_document(&document, arena, &source));
	TRY(check_source(&source, state_dir));
	*out = source;
	return OK;
}

bool token_settings_there(const char *state_dir)
{
	char path[PATH_SIZE];
	return settings_path(state_dir, path) == OK && access(path, F_OK) == 0;
}
