#include "cmd/token_options.h"

#include "cmd/verb.h"

bool token_options_given(const struct token_options *options)
{
	return options->module || options->token || options->serial || options->pin_file || options->writable.count || options->network;
}

static result make_absolute(const char *path, struct arena *arena, const char **out)
{
	char absolute[PATH_SIZE];
	*out = NULL;
	if (!path)
		return OK;
	TRY(verb_absolute(path, absolute));
	return arena_string(arena, span_str(absolute), out);
}

result token_options_source(const struct token_options *options, struct arena *arena, struct token_source *out)
{
	struct token_source source = {.label = options->token, .serial = options->serial, .network = options->network};
	size_t count = options->writable.count;
	void *list;
	if (!options->module)
		return fail(USAGE, "a token is reached by its module: --pkcs11-module");
	if (count > TOKEN_FOLDERS_MAX - 1)
		return fail(USAGE, "--pkcs11-writable takes at most %d folders", TOKEN_FOLDERS_MAX - 1);
	TRY(make_absolute(options->module, arena, &source.module));
	TRY(make_absolute(options->pin_file, arena, &source.pin_file));
	TRY(arena_alloc(arena, count + 1, sizeof(char *), &list));
	const char **writable = list;
	for (size_t i = 0; i < count; i++)
		TRY(make_absolute(options->writable.items[i], arena, &writable[i]));
	writable[count] = NULL;
	source.writable = writable;
	TRY(token_source_environment(arena, &source.environment));
	*out = source;
	return OK;
}
