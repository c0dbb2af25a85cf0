/*
 * The epochs of one receipt (docs/PROTOCOL.receipt, "Epochs"): the chain that it carries from the pinned inception record to
 * the epoch of its head, those of it under which something in it was signed, and how all that stands against what the
 * verifier knows of the root from elsewhere.
 */
#ifndef TROTH_RECEIPT_EPOCHS_H
#define TROTH_RECEIPT_EPOCHS_H

#include "object/epoch_chain.h"
#include "object/receipt.h"
#include "receipt/trust.h"

/* An epoch of the chain with its key; lives as long as the receipt_epochs. */
struct used_epoch {
	struct used_epoch *next;
	const struct epoch_link *link;
	struct key key;
};

struct receipt_epochs {
	struct epoch_chain *chain;
	struct used_epoch *used; /* in no order */
};

void receipt_epochs_free(struct receipt_epochs *epochs); /* accepts a zeroed one */

/* The chain of the pinned inception record alone. */
NODISCARD result receipt_epochs_begin(const struct trust_root *root, struct receipt_epochs *out);

/*
 * Adds the section's records and recovery keys to a chain that was just begun. Keys may come from anywhere: those of the
 * trust file and of `more_keys` are added too. DAC_UNTRUSTED_ROOT for another inception record, DAC_EXTRA_NODE for what adds
 * no epoch, the reasons of epoch_chain_follow.
 */
NODISCARD result receipt_epochs_read(struct receipt_epochs *epochs, const struct trust_root *root, const struct bytes_list *section,
	const struct trust *trust, const struct epoch_history *known);

/* The epoch `oid` with its key, noted as used. DAC_UNTRUSTED_ROOT when it is not on the chain. */
NODISCARD result receipt_epochs_use(struct receipt_epochs *epochs, const uint8_t oid[static OID_SIZE], const struct used_epoch **out);

/*
 * What the verifier holds against the receipt: `known` and the trust file's epochs, as far as they are about this root.
 *   EPOCH_FORKED EPOCH_VOID: the receipt does not count
 *   RECEIPT_UNJUDGED: a HALT, or a recovery after an epoch that was used; or an object that cannot be placed
 *   other reasons: an object that the verifier was given is not good
 */
NODISCARD result receipt_epochs_stand(const struct receipt_epochs *epochs, const struct trust_root *root, const struct trust *trust,
	const struct epoch_history *known);

/* What `troth verify --epochs FILE` reads: a history, or a single record or HALT. Borrows from `bytes`. */
NODISCARD result epochs_file_parse(struct span bytes, struct arena *arena, struct epoch_history *out);

#endif
