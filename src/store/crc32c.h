/* CRC-32C (Castagnoli), for damage by accident; it is no protection against anybody. */
#ifndef TROTH_STORE_CRC32C_H
#define TROTH_STORE_CRC32C_H

#include "base/span.h"

/* Start with 0 and feed the result back to go on: crc32c(crc32c(0, a), b) is the sum of a ‖ b. */
uint32_t crc32c(uint32_t crc, struct span data);

/* The same without the processor's instruction: what crc32c uses where there is none. */
uint32_t crc32c_portable(uint32_t crc, struct span data);

#endif
