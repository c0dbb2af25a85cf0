/*
 * How many handshakes a responder keeps half open, in all and per (peer, address): a small fixed table, so that a
 * flood costs the flooder and not us. Owned by the caller (zero-initialised), used by one thread.
 */
#ifndef TROTH_ENCLAVE_IECP_HALF_OPEN_H
#define TROTH_ENCLAVE_IECP_HALF_OPEN_H

#include "base/result.h"
#include "base/span.h"

enum { IECP_HALF_OPEN_MAX = 256, IECP_HALF_OPEN_PER_PEER = 8 };

struct iecp_half_open_row {
	uint64_t key; /* 0: free */
	uint64_t until_steady_ms;
};

struct iecp_half_open {
	struct iecp_half_open_row rows[IECP_HALF_OPEN_MAX];
};

/* Where one handshake stands in the table; released exactly once. Zeroed: nowhere. */
struct iecp_half_open_place {
	uint64_t key;
	size_t row;
};

/* Rows whose time is over are given away. TOO_MANY_HALF_OPEN. */
NODISCARD result iecp_half_open_enter(struct iecp_half_open *table, struct span peer_id, struct span address,
	uint64_t now_steady_ms, uint64_t until_steady_ms, struct iecp_half_open_place *out);
void iecp_half_open_leave(struct iecp_half_open *table, struct iecp_half_open_place *place);

#endif
