/* A set of 32-byte digests (ids of records, certificates, reports, policies). All zeros is no member. The caller frees it. */
#ifndef TROTH_ENCLAVE_ID_SET_H
#define TROTH_ENCLAVE_ID_SET_H

#include "base/result.h"

#include <stddef.h>
#include <stdint.h>

struct id_set {
	uint8_t (*slots)[32]; /* zeros: free */
	size_t cap, count;
};

void id_set_free(struct id_set *set);
bool id_set_has(const struct id_set *set, const uint8_t id[static 32]);
NODISCARD result id_set_add(struct id_set *set, const uint8_t id[static 32]);

#endif
