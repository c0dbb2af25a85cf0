/*
 * One token behind one PKCS#11 module: the only code of Troth that loads foreign code. It lives in troth-token, which
 * is confined around it; nothing else links it.
 *
 * Opening loads the module, finds the token and logs in ONCE. A refused PIN is forgotten at once and never tried again
 * (TOKEN_PIN_WRONG); one that is locked or on its last try is not even tried (TOKEN_PIN_LOCKED). Handles of keys are
 * remembered, as looking one up takes a token tens of milliseconds. When the session or the token was lost, the module
 * is started anew, the same token (label and serial) is looked for, and the request is made once more where that can do no harm;
 * TOKEN_UNAVAILABLE when that fails too.
 *
 * Not thread-safe. Never fork after token_module_open.
 */
#ifndef TROTH_CRYPTO_TOKEN_MODULE_H
#define TROTH_CRYPTO_TOKEN_MODULE_H

#include "base/secret.h"
#include "crypto/token_message.h"

struct token_module;

struct token_module_config {
	const char *path;   /* of the module */
	const char *label;  /* of the token; NULL: any */
	const char *serial; /* of the token; NULL: any. More than one that fits: BAD_VALUE. */
	struct span pin;    /* copied; empty: the token asks for it itself, or needs none */
};

/* TOKEN_UNAVAILABLE: no such module, no PKCS#11 module, no such token. */
NODISCARD result token_module_open(const struct token_module_config *config, struct token_module **out);
void token_module_close(struct token_module *module); /* accepts NULL; logs out, wipes the PIN */

/* All but `confinement`. */
NODISCARD result token_module_info(struct token_module *module, struct token_info *out);
/* P-256 keys from the `first` on; `out_total` counts all. */
NODISCARD result token_module_list(struct token_module *module, size_t first, struct token_key out[static TOKEN_LIST_MAX],
	size_t *out_count, size_t *out_total);
/* NOT_FOUND; BAD_VALUE when the name fits several keys. */
NODISCARD result token_module_find(struct token_module *module, const struct token_name *name, struct token_key *out);
/*
 * A P-256 key pair that lives in the token, sensitive and not extractable; a token that does not promise that is refused
 * (NOT_SUPPORTED) and the key destroyed. ALREADY_EXISTS when a key has this id.
 */
NODISCARD result token_module_generate(struct token_module *module, const struct token_name *name, uint8_t uses, struct token_key *out);
NODISCARD result token_module_sign(struct token_module *module, const struct token_name *name, const uint8_t digest[static SHA256_SIZE],
	uint8_t out[static SIGNATURE_SIZE]);
NODISCARD result token_module_agree(struct token_module *module, const struct token_name *name, const uint8_t point[static POINT_SIZE],
	uint8_t out[static ECDH_SIZE]);
/* Both halves. NOT_FOUND. */
NODISCARD result token_module_destroy(struct token_module *module, const struct token_name *name);
NODISCARD result token_module_random(struct token_module *module, uint8_t *out, size_t len);

#endif
