/*
 * The roots of one receipt (docs/PROTOCOL.receipt, "Several hosts"): that of its head and, of a run on several hosts, those
 * of the other ones. Each has a chain of its own, from the inception record that the trust file pins.
 */
#ifndef TROTH_RECEIPT_ROOTS_H
#define TROTH_RECEIPT_ROOTS_H

#include "receipt/epochs.h"

enum { RECEIPT_ROOTS_MAX = 65 }; /* the head's and those of the section */

struct receipt_root {
	const struct trust_root *trusted; /* of the trust file */
	const char *name;		  /* host of the job; "" for the head's when no host of the job has it */
	struct receipt_epochs epochs;
	unsigned level;	   /* of the weakest enclave that ran there */
	size_t enclaves;   /* how many did */
	uint64_t boot_gen; /* start of the host that all its launches share */
	bool has_boot_gen;
};

struct receipt_roots_read {
	struct receipt_root roots[RECEIPT_ROOTS_MAX]; /* the head's first */
	size_t count;
};

void receipt_roots_free(struct receipt_roots_read *roots); /* accepts a zeroed one */

/* NULL when the receipt has none of this id. */
struct receipt_root *receipt_roots_find(struct receipt_roots_read *roots, const uint8_t rot_id[static OID_SIZE]);

/* The job's name for the host of a root; "" when it has none. */
const char *receipt_roots_name(const struct job *job, const uint8_t *rot_id);

/* The epoch `oid` of any of them, noted as used. DAC_UNTRUSTED_ROOT. */
NODISCARD result receipt_roots_use(struct receipt_roots_read *roots, const uint8_t oid[static OID_SIZE], struct receipt_root **out_root,
	const struct used_epoch **out);

/* Every host of the job is in the trust file. TRUST_ROOT_MISSING, naming it. */
NODISCARD result receipt_roots_trusted(const struct trust *trust, const struct job_host *host);

/* The section names exactly the other roots that the job's enclaves run under. MISSING_FIELD, DAC_EXTRA_NODE, naming the root. */
NODISCARD result receipt_roots_complete(const struct job *job, const struct receipt_roots *section, const uint8_t head[static OID_SIZE]);

/* Adds one root of the section; its chain is read and must hold. */
NODISCARD result receipt_roots_add(struct receipt_roots_read *roots, const struct trust *trust, const struct receipt_root_row *row,
	const struct epoch_history *known, struct arena *arena);

/* What of `known` is about this root; keys are about any. Unreadable objects stay in, to be refused where they are used. */
NODISCARD result receipt_roots_known(const struct epoch_history *known, const uint8_t rot_id[static OID_SIZE], struct arena *arena,
	struct epoch_history *out);

#endif
