/*
 * Which token, and how to reach it, as an operator says it: for whoever starts a worker (crypto/token.h).
 *
 * The PIN lies in a file (or comes from a descriptor, /dev/fd/N) that only its owner may read. It never stands in arguments,
 * environment or logs. A source whose PIN was refused should not be tried again before the file has changed.
 */
#ifndef TROTH_CRYPTO_TOKEN_SOURCE_H
#define TROTH_CRYPTO_TOKEN_SOURCE_H

#include "base/arena.h"
#include "crypto/token.h"

struct token_source {
	const char *module; /* absolute path of the PKCS#11 module */
	const char *label, *serial; /* of the token; NULL: any, if there is only one */
	const char *pin_file; /* NULL: the token asks for its PIN itself */
	bool network;
	const char *const *writable, *const *environment; /* as in token_config; NULL-terminated or NULL */
};

/*
 * The variables that known modules are configured by (SOFTHSM2_CONF, ...), as "NAME=VALUE", of those that this process has.
 * Nothing else of an environment goes to a module. NULL-terminated, in the arena.
 */
NODISCARD result token_source_environment(struct arena *arena, const char *const **out);

/* Without a line end behind it. NO_PERMISSION when others may read the file; BAD_VALUE: empty, or longer than any PIN. */
NODISCARD result token_source_pin(const char *pin_file, struct secret *out);

/* What token_launch and token_start want; borrows all. The caller adds the program, and folders to hide. */
NODISCARD result token_source_config(const struct token_source *source, const struct secret *pin, struct token_config *out);

/*
 * A private key for signing, from where a person keeps it: a PEM file, or a token when `token` is there. The key owns its
 * worker. BAD_KEY, NOT_FOUND, reasons of files, TOKEN_PIN_WRONG (tried once), TOKEN_PIN_LOCKED, TOKEN_UNAVAILABLE.
 */
struct signer_source {
	const char *pem_file;
	const struct token_source *token;
	const char *key_label, *key_id; /* in the token: at least one; the id in hexadecimal */
	const char *program_dir; /* where troth-token lies */
};
NODISCARD result signer_open(const struct signer_source *source, struct key *out);

#endif
