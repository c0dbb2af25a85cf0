/*
 * Where the signing keys of a root lie that are in a PKCS#11 token: `ap/token.json` in the state folder. It is there before the
 * root is made, and fixed from then on; what may change beside it (the path of the module, the file of the PIN, folders)
 * an operator changes in the file. No secret is in it.
 */
#ifndef TROTH_ROOT_TOKEN_SETTINGS_H
#define TROTH_ROOT_TOKEN_SETTINGS_H

#include "crypto/token_source.h"

/* Makes the folders that are missing. BAD_VALUE: paths that are not absolute, or a writable folder inside the state folder. */
NODISCARD result token_settings_save(const char *state_dir, const struct token_source *source);
NODISCARD result token_settings_remove(const char *state_dir); /* OK when there is none */

/* NOT_FOUND: the signing keys come from seeds. Everything in `out` lives in the arena. Reasons of documents. */
NODISCARD result token_settings_load(const char *state_dir, struct arena *arena, struct token_source *out);
bool token_settings_there(const char *state_dir);

#endif
