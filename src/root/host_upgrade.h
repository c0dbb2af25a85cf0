/*
 * The host's side of upgrades, backups and restores (docs/UPGRADE.md, docs/BACKUP.md): what is asked of the secure processor, and
 * what the host keeps of it itself.
 */
#ifndef TROTH_ROOT_HOST_UPGRADE_H
#define TROTH_ROOT_HOST_UPGRADE_H

#include "root/host.h"
#include "root/upgrade_store.h"

/*
 * AUTHORISE: judged by this side too, then by the secure processor, then kept. With `sealed`, the reply has the new object.
 */
NODISCARD result root_host_authorise(struct root_host *host, const struct ap_authorise *request, struct arena *arena,
	struct ap_authorised *out);

/* The signed set for a secret that is sealed by reference. REFERENCE_MISSING. */
NODISCARD result root_host_reference(const struct root_host *host, const struct reference *reference, struct arena *arena,
	struct span *out);

/* BACKUP, under the current head. */
NODISCARD result root_host_backup(struct root_host *host, const struct ap_backup *request, struct arena *arena,
	struct ap_backed_up *out);
/*
 * RESTORE, after a recovery: the backup must be signed by an epoch of this root's own chain. BACKUP_FOREIGN, BACKUP_DAMAGED, and
 * those of the secure processor.
 */
NODISCARD result root_host_restore(struct root_host *host, const struct ap_restore *request, struct arena *arena);

/* Before a start: takes a set of an author who is enrolled in this folder. `now_ms` as the clock says. */
NODISCARD result host_upgrade_take(const char *state_dir, struct span set, uint64_t now_ms);
/* Whether a changed troth-ap may be started: an authorised set lists it. REFERENCE_MISSING, SVN_TOO_LOW, PIN_DAMAGED. */
NODISCARD result host_upgrade_allows_ap(const char *state_dir, const uint8_t digest[static SHA384_SIZE]);

#endif
