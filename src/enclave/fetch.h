/*
 * Ancestors of records that did not come along, asked for when they are needed (docs/PROTOCOL.dac "Ancestors on demand").
 *
 * Who hands a record over sends what the peer cannot have yet, up to a bound, and owes it the rest: exactly that may be
 * asked for, each once. Who takes it over asks for what is missing until the record's chain is whole, and judges what comes
 * as it comes.
 *
 *	giver	END{..., more}		taker	FETCH{oids}
 *		NODES{the asked ones, further ancestors}   ...until nothing is missing
 *
 * An engine: nothing here reads, writes or knows the time. It works on the set of records of its owner; what it sends and
 * takes are the bodies of frames (call_frame.h).
 */
#ifndef TROTH_ENCLAVE_FETCH_H
#define TROTH_ENCLAVE_FETCH_H

#include "enclave/dac.h"
#include "enclave/data_frame.h"
#include "enclave/id_set.h"

enum {
	FETCH_MAX_IDS = 256,	     /* of one FETCH */
	NODES_MAX_RECORDS = 4096,    /* of one NODES, and of an END */
	NODES_MAX_BYTES = 4 << 20,   /* of the records of one NODES or END; a single one always fits */
	FETCH_WAIT_S = 30,	     /* unless the policy says otherwise */
};

struct fetch_asked {
	struct digest32 *ids;
	size_t count;
};
extern const struct schema fetch_asked_schema;

/* ---- Giving ---------------------------------------------------------------------------------------- */

struct fetch_giver {
	struct id_set owed, given; /* left out; sent meanwhile */
};
void fetch_giver_free(struct fetch_giver *giver);

/* Which of `indices` (parents first, as dac_walk gives them) go along: those from *out_from on. The others are owed from now on. */
NODISCARD result fetch_leave_out(struct fetch_giver *giver, const struct dac *dac, const size_t *indices, size_t count, size_t eager,
	size_t *out_from);
/*
 * What to send for a FETCH: the asked ones and as many of their ancestors as fit. DAC_FETCH_REFUSED for what is not owed, or
 * was sent already. The caller frees *out_indices.
 */
NODISCARD result fetch_give(struct fetch_giver *giver, const struct dac *dac, const struct fetch_asked *asked, size_t **out_indices,
	size_t *out_count);

/* ---- Taking ---------------------------------------------------------------------------------------- */

struct fetch_taker {
	uint8_t root[OID_SIZE]; /* whose ancestors these are */
	struct digest32 asked[FETCH_MAX_IDS]; /* and not here yet */
	size_t asked_count;
	struct id_set received; /* since fetch_begin */
	uint8_t (*order)[OID_SIZE]; /* the same, as they came */
	size_t order_cap;
	bool may_ask; /* the giver has said that it left something out */
};
void fetch_taker_free(struct fetch_taker *taker);

/* Another record and what came along with it. */
void fetch_begin(struct fetch_taker *taker, const uint8_t root[static OID_SIZE], bool more);
/* One record that was added to the set. DAC_DUPLICATE: it came before. */
NODISCARD result fetch_note(struct fetch_taker *taker, const uint8_t oid[static OID_SIZE]);
/*
 * What is missing of the chain: asked_count of them are in `asked`; 0: it is whole. Not behind records that were accepted.
 * DAC_MISSING_PARENT when nothing was left out by the giver's word.
 */
NODISCARD result fetch_missing(struct fetch_taker *taker, struct dac *dac);
/*
 * NODES came, and its records are in the set and noted, from number `from` on: are they what was asked for, and good as far as
 * can be told? DAC_FETCH_UNASKED, DAC_MISSING_PARENT; the reason of a record that is no good.
 */
NODISCARD result fetch_check_nodes(struct fetch_taker *taker, struct dac *dac, size_t from);
/* Was the root accepted? What broke it, when that is one of those that were received: its reason, not only that of the root. */
NODISCARD result fetch_require_root(const struct fetch_taker *taker, const struct dac *dac);
/* Is each record that was received an ancestor of the root, or among those that `known` has? DAC_EXTRA_NODE. */
NODISCARD result fetch_require_no_extra(struct fetch_taker *taker, struct dac *dac, const struct id_set *known);

#endif
