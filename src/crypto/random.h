/* Randomness from getrandom(2) (through OpenSSL's DRBG for speed where it does not matter which). */
#ifndef TROTH_CRYPTO_RANDOM_H
#define TROTH_CRYPTO_RANDOM_H

#include "base/result.h"

/* Fills `out` from getrandom(2); aborts the process when the kernel has none (it never returns weak bytes). */
void random_bytes(void *out, size_t len);

#endif
