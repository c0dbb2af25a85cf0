/* What the verbs of `troth root` share: the host as it is, also one whose root cannot go on, and its chain, verified here. */
#ifndef TROTH_CMD_ROOT_CLIENT_H
#define TROTH_CMD_ROOT_CLIENT_H

#include "cmd/verb.h"

/* Connects as verb_connect does, also to a host that can only be recovered. */
NODISCARD result root_connect(const struct host_options *options, bool create, struct client *out);

/* The history of the host's root; every record of it is verified here. `out_bytes` may be NULL. */
NODISCARD result root_fetch(struct client *client, struct epoch_chain **out_chain, struct bytes *out_bytes);
void epoch_chain_cleanup(struct epoch_chain **chain);

NODISCARD result root_read(struct client *client, struct arena *arena, struct service_root *out);

/* Gives `bytes` to the host as a descriptor. */
NODISCARD result root_memory_file(struct span bytes, struct fd *out);

#endif
