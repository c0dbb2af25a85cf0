/*
 * What a chain of grants must be like before anybody asks what it allows (docs/PROTOCOL.ledger, "Access"): the first link is
 * issued by the owner of its scope, each other names the one above it, is issued by whom that one is for, and is narrower in
 * every field. Nothing here looks at a ledger or a clock: the contract judges by these rules, and whoever delegates finds out
 * by them, before anything is signed, which field is wider.
 */
#ifndef TROTH_LEDGER_GRANT_RULES_H
#define TROTH_LEDGER_GRANT_RULES_H

#include "object/ledger.h"

struct grant_link {
	struct grant grant;
	uint8_t oid[OID_SIZE], issuer[ADDRESS_SIZE];
};

/* It says something, about a scope. TX_MALFORMED. */
NODISCARD result grant_check_alone(const struct grant *grant);
/* The first of a chain. GRANT_BROKEN. */
NODISCARD result grant_check_root(const struct grant_link *link);
/* One that follows another. GRANT_BROKEN, or as below. */
NODISCARD result grant_check_child(const struct grant_link *child, const struct grant_link *parent);
/* Each field of a child within that of its parent: GRANT_WIDENED, GRANT_TOO_DEEP; the text begins with the field's name. */
NODISCARD result grant_check_narrower(const struct grant *child, const struct grant *parent);

bool measurement_set_has(const struct measurement_set *set, const uint8_t measurement[static SHA384_SIZE]);

#endif
