/*
 * The host's own record of authorised upgrades, beside its pins: file `upgrades` = {1: 1, 2: encoded `struct upgrades`, 3:
 * HMAC-SHA256(pins.key, "troth upgrades1" ‖ field 2)}, and the newest signed set of each author and name in `references/`, to be
 * shown to the secure processor when a secret is sealed by reference. The sets need no MAC: they are signed, and the secure
 * processor remembers the newest version itself.
 */
#ifndef TROTH_ROOT_UPGRADE_STORE_H
#define TROTH_ROOT_UPGRADE_STORE_H

#include "root/upgrades.h"

/* An empty one when there is none yet. PIN_DAMAGED. */
NODISCARD result upgrade_store_load(const char *state_dir, struct upgrades *out);
/* Durable when it returns OK. */
NODISCARD result upgrade_store_save(const char *state_dir, const struct upgrades *upgrades);

/* Keeps the signed bytes of a set that was taken. */
NODISCARD result upgrade_store_keep(const char *state_dir, const uint8_t author[static KEY_ID_SIZE], const char *name, struct span set);
/* The set that a seal names; REFERENCE_MISSING. Copied into `arena`. */
NODISCARD result upgrade_store_find(const char *state_dir, const struct reference *reference, struct arena *arena, struct span *out);

#endif
