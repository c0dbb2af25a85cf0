/*
 * The key that a person signs with: a PEM file without a passphrase, or one in a PKCS#11 token (docs/TOKENS.md). Put
 * OWNER_ROWS(target, "whose key it is") into the table of a verb.
 */
#ifndef TROTH_CMD_OWNER_KEY_H
#define TROTH_CMD_OWNER_KEY_H

#include "cmd/token_options.h"

struct owner_options {
	const char *key, *key_id;
	struct token_options token;
};
#define OWNER_ROWS(target, whose)                                                                                                          \
	{"key", OPTION_TEXT, &(target)->key, "KEY", whose ": a PEM file, pkcs11:URI, or with --pkcs11-module its label in the token"},       \
		{"key-id", OPTION_TEXT, &(target)->key_id, "HEX", "its id in the token"}, TOKEN_ROWS(&(target)->token)

bool owner_key_given(const struct owner_options *options);
/* USAGE when none is named; the reasons of signer_open. */
NODISCARD result owner_key_open(const struct owner_options *options, struct key *out);

#endif
