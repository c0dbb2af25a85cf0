/* The options of every verb that reaches a PKCS#11 token (docs/TOKENS.md). Put TOKEN_ROWS(target) into its table. */
#ifndef TROTH_CMD_TOKEN_OPTIONS_H
#define TROTH_CMD_TOKEN_OPTIONS_H

#include "cmd/options.h"
#include "crypto/token_source.h"

struct token_options {
	const char *module, *token, *serial, *pin_file;
	struct words writable;
	bool network;
};

#define TOKEN_ROWS(target)                                                                                                                 \
	{"pkcs11-module", OPTION_TEXT, &(target)->module, "FILE", "the token's PKCS#11 module"},                                           \
		{"token", OPTION_TEXT, &(target)->token, "LABEL", "the token's label"},                                                    \
		{"token-serial", OPTION_TEXT, &(target)->serial, "NUMBER", "the token's serial number"},                                   \
		{"pin-file", OPTION_TEXT, &(target)->pin_file, "FILE", "the token's PIN, in a file that nobody else may use"},             \
		{"pkcs11-writable", OPTION_WORDS, &(target)->writable, "FOLDER...",                                                        \
			"where the module keeps its files; all else is read-only to it"},                                                  \
	{                                                                                                                                  \
		"pkcs11-network", OPTION_FLAG, &(target)->network, NULL, "the module reaches its token over the network"                   \
	}

/* Any of them was given. */
bool token_options_given(const struct token_options *options);
/* With absolute paths and the module's part of the environment, in the arena. USAGE without a module. */
NODISCARD result token_options_source(const struct token_options *options, struct arena *arena, struct token_source *out);

#endif
