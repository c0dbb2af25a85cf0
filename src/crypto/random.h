/* Randomness straight from getrandom(2): no state of ours, nothing that a fork could repeat. */
#ifndef TROTH_CRYPTO_RANDOM_H
#define TROTH_CRYPTO_RANDOM_H

#include "base/result.h"

/* Fills `out` from getrandom(2); aborts the process when the kernel has none (it never returns weak bytes). */
void random_bytes(void *out, size_t len);

#endif
