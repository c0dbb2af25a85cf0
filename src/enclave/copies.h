/*
 * Where the copies of images lie in tier L: one folder per launch below a folder of the host. An ordinary user's lies in
 * the state folder; root's in /run/troth-copies, since its enclaves have uids of their own that cannot pass the state
 * folder. Owned by `trothd host`, which empties its own folder at each start and when it ends.
 */
#ifndef TROTH_ENCLAVE_COPIES_H
#define TROTH_ENCLAVE_COPIES_H

#include "base/file.h"
#include "object/report.h"

/* Makes it, empty. `scratch`: tmp/ of the state folder `state`, which the caller has locked. */
NODISCARD result copies_open(const char *state, const char *scratch, char out[static PATH_SIZE]);
void copies_close(const char *folder); /* accepts "" */

/* A folder for one launch, named by its id: as root for `uid` to pass through, else nobody's but ours. */
NODISCARD result copies_new(const char *folder, const uint8_t launch_id[static LAUNCH_ID_SIZE], uid_t uid, char out[static PATH_SIZE]);
/* What is in use is tried again for a moment: a process that is ending may still write. */
void copies_remove(const char *copy);

#endif
