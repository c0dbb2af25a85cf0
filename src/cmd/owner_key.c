#include "cmd/owner_key.h"

#include "base/file.h"
#include "cmd/verb.h"
#include "crypto/token_uri.h"
#include "root/tcb.h"

enum { MEMORY = 256 * 1024 };

bool owner_key_given(const struct owner_options *options)
{
	return options->key || options->key_id;
}

/* What the URI says takes the place of options, which must not say something else. */
static result apply_uri(const char *word, struct arena *arena, struct owner_options *options)
{
	struct token_uri uri;
	TRY(token_uri_parse(word, arena, &uri));
	const struct {
		const char *name, *said, **option;
	} rows[] = {
		{"token", uri.token, &options->token.token},
		{"serial", uri.serial, &options->token.serial},
		{"module-path", uri.module, &options->token.module},
		{"pin-source", uri.pin_file, &options->token.pin_file},
		{"id", uri.id_hex, &options->key_id},
	};
	options->key = uri.object;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (rows[i].said && *rows[i].option && strcmp(rows[i].said, *rows[i].option) != 0)
			return fail(USAGE, "'%s' of --key and an option say different things", rows[i].name);
		if (rows[i].said)
			*rows[i].option = rows[i].said;
	}
	return options->key || options->key_id ? OK : fail(USAGE, "--key pkcs11:… names no key: object=LABEL or id=%%HEX");
}

result owner_key_open(const struct owner_options *given, struct key *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(MEMORY);
	struct owner_options options = *given;
	struct token_source token;
	char folder[PATH_SIZE];
	struct signer_source signer = {.program_dir = folder};
	if (!owner_key_given(&options))
		return fail(USAGE, "--key is missing: who signs? (`troth key new FILE` makes a key)");
	if (options.key && token_uri_is(options.key))
		TRY(apply_uri(options.key, &arena, &options));
	TRY(program_folder(folder, sizeof(folder)));
	if (token_options_given(&options.token) || options.key_id) {
		TRY(token_options_source(&options.token, &arena, &token));
		signer.token = &token;
		signer.key_label = options.key;
		signer.key_id = options.key_id;
	} else {
		signer.pem_file = options.key;
	}
	return signer_open(&signer, out);
}
