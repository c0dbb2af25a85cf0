/*
 * The state folder of a host: /var/lib/troth for root, $XDG_STATE_HOME/troth or ~/.local/state/troth for others, 0700.
 *
 *   lock             held by the one host that uses the folder       socket        where it listens
 *   ap/              the secure processor's state and wrap key       pins, pins.key   the pinned root
 *   journal/         what was authorised, recorded, refused          inception.epoch  E_1, to hand out
 *   epochs/          every record of the root, and why it came       share         the host's half of what opens the next keys
 *   confinement      "L" when hosts on this folder do without namespaces
 *   tpm-head         when the TPM holds the head of the history of what is signed here
 *   tmp/             emptied at each start
 *   issuers/         what authorities say of its epochs (job/issuer.h)
 *   peers/           other hosts that are enrolled            officers      who must sign for one more (job/peers.h)
 */
#ifndef TROTH_JOB_STATE_H
#define TROTH_JOB_STATE_H

#include "base/file.h"

struct state_folder {
	char path[PATH_SIZE], socket[PATH_SIZE], journal[PATH_SIZE], scratch[PATH_SIZE], issuers[PATH_SIZE];
	struct fd lock;
};
#define STATE_FOLDER_NONE ((struct state_folder){.lock = {-1}})

/* The folder that is meant: `named` (relative to the working folder) or, when NULL, the default one. Absolute. */
NODISCARD result state_path(const char *named, char out[static PATH_SIZE]);

/*
 * Tier of confinement that the folder is used with: `wanted` ("N" or "L", which is kept for later starts) or, when NULL, what
 * was kept, at first N. USAGE.
 */
NODISCARD result state_confinement(const char *path, const char *wanted, bool *out_without_namespaces);
/* Whether the TPM is to hold the head of the history: once wanted, always. */
NODISCARD result state_tpm_head(const char *path, bool wanted, bool *out_kept);

/* A root was made in it, or begun to be; the host that starts on it knows more. */
bool state_has_root(const char *path);

/*
 * Takes the folder for this process: checks that nobody else may look into it, locks it, empties tmp/. `create` makes it
 * when missing; otherwise NO_ROOT for a folder without a root. STATE_BUSY, NO_PERMISSION.
 */
NODISCARD result state_folder_open(const char *path, bool create, struct state_folder *out);
void state_folder_close(struct state_folder *folder);

#endif
