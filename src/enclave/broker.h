/*
 * The broker: the only place where an IRE gets a connected socket from (enclaves.md "Keys"). IECP runs between the two
 * troth-ire; the broker makes the ends, hands them over and closes its own copies. It never reads from them.
 */
#ifndef TROTH_ENCLAVE_BROKER_H
#define TROTH_ENCLAVE_BROKER_H

#include "enclave/launch.h"

struct broker_edge {
	const char *edge;
	const char *operation;
	const char *output; /* of the sender: "stdout" or an output's name */
	const char *input;  /* of the receiver: "stdin" or an input's name */
};

/* Both launches must be LAUNCH_READY. */
NODISCARD result broker_connect(struct ire *from, struct ire *to, const struct broker_edge *edge);

/*
 * Connects the declared Unix path of an external peer and hands the end to `launch`, which sends to it or receives from
 * it. NOT_FOUND when nobody listens there.
 */
struct broker_external {
	const char *name;
	const char *socket;
	uint8_t point[POINT_SIZE]; /* the pinned key, which signed its certificate, or that of an authority */
	const char *uri; /* whom the authority may vouch for; NULL: a pinned key */
	struct span above; /* what goes with our leaf (job/issuer.h); empty: nothing */
};
NODISCARD result broker_connect_external(struct ire *launch, const struct broker_external *external, bool sends,
	const struct broker_edge *edge);

/* A connection with another host: `fd` is its TCP socket, `peer` the enclave at the other end. The descriptor is borrowed. */
NODISCARD result broker_connect_remote(struct ire *launch, const char *peer, bool sends, const struct broker_edge *edge, int fd);

#endif
