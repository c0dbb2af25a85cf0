/*
 * Revocation in the life of one launch, the host's side: it is refused endorsement, re-issue and secrets when something of it
 * is revoked, and its runtime is brought every head and every change of the lists. Belongs to the launch's thread; only the
 * bell rings elsewhere. A host that obeys no operator has a feed without heads: then nothing is sent and nothing judged.
 */
#ifndef TROTH_ENCLAVE_LAUNCH_REVOCATION_H
#define TROTH_ENCLAVE_LAUNCH_REVOCATION_H

#include "enclave/revocation_feed.h"
#include "object/report.h"

struct launch_revocation {
	struct revocation_feed *feed; /* NULL: none */
	struct revocation_subscriber subscriber;
	uint64_t told;	     /* number of the lists sent last */
	uint64_t overdue_ns; /* a revoked runtime that has not ended itself by then is ended; 0: none */
	char text[512];	     /* why */
};

/* `ring` is called in other threads for each head. */
void launch_revocation_begin(struct launch_revocation *rev, struct revocation_feed *feed, void (*ring)(void *ctx), void *ctx);
void launch_revocation_end(struct launch_revocation *rev);

/* Before it is measured into the secure processor: what is known by then. REVOKED. */
NODISCARD result launch_revocation_judge_launch(struct launch_revocation *rev, const struct launch *launch,
	const uint8_t rot_id[static OID_SIZE], const uint8_t epoch[static OID_SIZE]);
/* With its certificate, the first or one re-issued under `epoch`. REVOKED. */
NODISCARD result launch_revocation_judge_certificate(struct launch_revocation *rev, struct span der, const uint8_t *sign_point,
	const uint8_t *epoch);
/* Again, with what is known: before a secret is released, before a re-issue, after news. REVOKED. */
NODISCARD result launch_revocation_judge(struct launch_revocation *rev);

/* Brings the runtime the newest head, and the lists when they are others. Nothing before the first head. */
NODISCARD result launch_revocation_send(struct launch_revocation *rev, int control, int timeout_ms);
/* Gives a runtime that is revoked a moment to tell its peers why. */
void launch_revocation_condemn(struct launch_revocation *rev);
/* Its moment is over. */
bool launch_revocation_is_overdue(const struct launch_revocation *rev);
uint64_t launch_revocation_deadline(const struct launch_revocation *rev); /* monotonic ns; UINT64_MAX: none */

#endif
