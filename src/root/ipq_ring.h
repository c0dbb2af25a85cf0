/*
 * One ring of the inter-processor queue as memory: making and sealing one's own, mapping and judging the
 * other end's. No message passes here; see ipq.h.
 *
 * The caller owns what it gets: the fd (close) and the mapping of IPQ_RING_SIZE bytes (ipq_ring_unmap).
 */
#ifndef TROTH_ROOT_IPQ_RING_H
#define TROTH_ROOT_IPQ_RING_H

#include "base/result.h"
#include "root/ipq_layout.h"
#include "root/ipq_message.h"

/*
 * A new ring owned by `owner`, writable through *out_ring alone. Its head announces `profile` and `barrier`.
 * NOT_SUPPORTED without memfd and F_SEAL_FUTURE_WRITE (Linux 5.1), NO_MEMORY.
 */
NODISCARD result ipq_ring_create(enum ipq_role owner, enum ipq_profile profile, bool barrier, int *out_fd, uint8_t **out_ring);

/*
 * Maps the ring that `owner`, the other end, has passed. QUEUE_UNSEALED when the fd is not a memfd of the exact
 * size and seals; QUEUE_HELLO when its head is not the one of this version, profile and owner.
 */
NODISCARD result ipq_ring_attach(int fd, enum ipq_role owner, enum ipq_profile profile, const uint8_t **out_ring,
				 bool *out_barrier);

void ipq_ring_unmap(const uint8_t *ring); /* accepts NULL */

#endif
