/* scrypt (RFC 7914) for passphrases: N = 2^15, r = 8, p = 1 (32 MiB, about 0.1 s). */
#ifndef TROTH_CRYPTO_STRETCH_H
#define TROTH_CRYPTO_STRETCH_H

#include "base/result.h"
#include "base/span.h"

NODISCARD result stretch_passphrase(struct span passphrase, struct span salt, uint8_t *out, size_t out_len);

#endif
