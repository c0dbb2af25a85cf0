/*
 * A key in a PKCS#11 token as one word (RFC 7512):
 *
 *	pkcs11:token=owner;object=key-1;id=%01%02?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/home/owner/pin
 *
 * Taken are token, serial, object, id and type=private of the path, module-path and pin-source of the query. A pin-value is
 * refused, because whoever lists processes would see it; so is every attribute that would narrow the choice and is not known
 * here.
 */
#ifndef TROTH_CRYPTO_TOKEN_URI_H
#define TROTH_CRYPTO_TOKEN_URI_H

#include "crypto/token_source.h"

struct token_uri {
	const char *token, *serial, *object, *id_hex, *module, *pin_file; /* NULL: not said; in the arena */
};

/* Whether the word is one. */
bool token_uri_is(const char *word);

/* BAD_SYNTAX, UNKNOWN_FIELD, DUPLICATE_KEY; BAD_VALUE for a pin-value. */
NODISCARD result token_uri_parse(const char *word, struct arena *arena, struct token_uri *out);

#endif
