/*
 * A chain as one picture that needs nothing else: an SVG, or an HTML page around it with every record behind folds. No
 * script, no link to anywhere; every text of a record is foreign and escaped.
 *
 * Few records are drawn one by one, in a lane for each enclave; many are drawn as groups of one enclave, kind and operation.
 */
#ifndef TROTH_RECEIPT_PICTURE_H
#define TROTH_RECEIPT_PICTURE_H

#include <jansson.h>

#include "receipt/chain.h"

struct picture {
	const struct dac *dac;
	const struct digest32 *roots;
	size_t root_count;
	const struct chain_verdict *verdicts; /* NULL: nothing was judged, and the picture says so */
	const char *verdict;		      /* of the whole, with `verdicts` */
};

NODISCARD result picture_svg(const struct picture *picture, struct bytes *out);
NODISCARD result picture_html(const struct picture *picture, struct bytes *out);
/* {records: [{oid, enclave, kind, ..., parents, verdict}]}; the caller owns the reference. */
NODISCARD result picture_json(const struct picture *picture, json_t **out);
/* A tree as text; of many records what was refused and the groups, unless `all`. */
NODISCARD result picture_text(const struct picture *picture, bool unicode, bool all, struct bytes *out);

#endif
