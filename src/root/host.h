/*
 * The host's side of the secure processor: starts it, measures it, makes sure that it is confined and that it holds the
 * pinned root, and asks it things through the queue. Owned by `trothd host`. root_host_call and root_host_sign may be
 * used by several threads at once; starting, init and stop belong to one.
 *
 * root_host_start leaves the secure processor measured (phases 0 and 1) and, when there is a root, checked against the pin
 * store: AP_CHANGED, AP_NOT_CONFINED, AP_UNTRUSTED, STALE_STATE, PIN_DAMAGED, MEASUREMENT_WRONG. Before a root exists it
 * succeeds and only root_host_init is of use (NO_ROOT otherwise).
 */
#ifndef TROTH_ROOT_HOST_H
#define TROTH_ROOT_HOST_H

#include "root/ap_message.h"
#include "root/ipq.h"
#include "root/wrap.h"

#include <sys/types.h>

struct root_host;

struct root_host_config {
	const char *state_dir;	 /* exists, 0700, locked by the caller */
	const char *program_dir; /* of troth-ap and its siblings */
	uid_t ap_uid;		 /* as root: an unallocated uid; else 0 */
	struct wrap_source wrap; /* where the wrap key comes from */
	/*
	 * Start although troth-ap or the measured phases differ from what was pinned, as `troth host accept-ap DIGEST`
	 * does: only when troth-ap's digest is this one. NULL otherwise.
	 */
	const uint8_t *accept_digest;
};

NODISCARD result root_host_start(const struct root_host_config *config, struct root_host **out);
/* Asks it to stop, ends it at the latest after a few seconds. Accepts NULL. */
void root_host_stop(struct root_host *host);

struct root_host_init {
	struct epoch_recovery recovery;
	bool has_recovery;
	uint64_t valid_ms;
	uint32_t grace_s;
	const char *trust_domain;
};
/* Makes the root, pins it and exports `inception.epoch` into the state folder. ROOT_EXISTS. */
NODISCARD result root_host_init(struct root_host *host, const struct root_host_init *init);

/* What is known of the root; NULL before there is one. Borrowed. */
struct root_identity {
	uint8_t rot_id[OID_SIZE], epoch_oid[OID_SIZE];
	struct epoch epoch;
	struct span epoch_record;
	struct key sign; /* public */
	char trust_domain[121];
};
const struct root_identity *root_host_identity(const struct root_host *host);
uint64_t root_host_boot_gen(const struct root_host *host);
const uint8_t *root_host_ap_digest(const struct root_host *host);
/* Of troth-ire as it stands in register 1 (SHA384_SIZE bytes), and the folder of the programs: for launches. */
const uint8_t *root_host_ire_digest(const struct root_host *host);
const char *root_host_program_dir(const struct root_host *host);
/* Readable when the secure processor has ended. */
int root_host_fd(const struct root_host *host);

/*
 * One request. `request` is encoded by `schema` (NULL: no body); the reply is decoded into `reply` with memory from
 * `arena`, which must outlive it. The reason of a refusal is the secure processor's own.
 */
NODISCARD result root_host_call(struct root_host *host, enum ipq_type type, const struct schema *schema, const void *request,
	const struct schema *reply_schema, struct arena *arena, void *reply);

/* SIGN in one step: encodes `body` by `body_schema`, gives the object (copied into `arena`). */
NODISCARD result root_host_sign(struct root_host *host, enum object_kind kind, const struct schema *body_schema,
	const void *body, struct arena *arena, struct span *out_object);

#endif
