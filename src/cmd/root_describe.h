/* How the verbs of `troth root` show a root. */
#ifndef TROTH_CMD_ROOT_DESCRIBE_H
#define TROTH_CMD_ROOT_DESCRIBE_H

#include "job/service.h"

const char *epoch_reason_name(unsigned reason);
/* The payload of an epoch record; nothing is verified. */
NODISCARD result root_decode(struct span record, struct arena *arena, struct epoch *out);
NODISCARD result root_print_json(const struct service_root *root, struct arena *arena);

#endif
