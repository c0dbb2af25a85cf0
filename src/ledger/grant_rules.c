#include "ledger/grant_rules.h"

#include <string.h>

#include "ledger/words.h"

bool measurement_set_has(const struct measurement_set *set, const uint8_t measurement[static SHA384_SIZE])
{
	for (size_t i = 0; i < set->count; i++)
		if (memcmp(set->items[i].bytes, measurement, SHA384_SIZE) == 0)
			return true;
	return false;
}

result grant_check_alone(const struct grant *grant)
{
	uint8_t owner[ADDRESS_SIZE];
	if (scope_parse(grant->scope, owner) != OK)
		return fail(TX_MALFORMED, "a grant's scope: %s", failure_text());
	if (grant->operations == 0 || grant->not_before >= grant->not_after || (grant->has_max_uses && grant->max_uses == 0))
		return fail(TX_MALFORMED, "a grant that allows nothing");
	return OK;
}

result grant_check_root(const struct grant_link *link)
{
	uint8_t owner[ADDRESS_SIZE];
	if (scope_parse(link->grant.scope, owner) != OK || memcmp(owner, link->issuer, ADDRESS_SIZE) != 0)
		return fail(GRANT_BROKEN, "the first grant is not issued by the owner of '%s'", link->grant.scope);
	return link->grant.has_parent ? fail(GRANT_BROKEN, "the first grant names one before it") : OK;
}

static bool is_subset(const struct grant *child, const struct grant *parent)
{
	if (!parent->has_measurements)
		return true;
	if (!child->has_measurements)
		return false;
	for (size_t i = 0; i < child->measurements.count; i++)
		if (!measurement_set_has(&parent->measurements, child->measurements.items[i].bytes))
			return false;
	return true;
}

/* Each field of a child within that of its parent; the text names the one that is not. */
result grant_check_narrower(const struct grant *child, const struct grant *parent)
{
	char more[OPERATIONS_TEXT_SIZE];
	if (!scope_covers(parent->scope, child->scope))
		return fail(GRANT_WIDENED, "scope: '%s' is not within '%s'", child->scope, parent->scope);
	if (child->operations & ~parent->operations) {
		operations_text(child->operations & ~parent->operations, more);
		return fail(GRANT_WIDENED, "operations: the grant above does not allow %s", more);
	}
	if (!is_subset(child, parent))
		return fail(GRANT_WIDENED, "measurements: more than the grant above allows");
	if (child->not_before < parent->not_before || child->not_after > parent->not_after)
		return fail(GRANT_WIDENED, "%s: outside the time of the grant above",
			child->not_before < parent->not_before ? "not_before" : "not_after");
	if (parent->has_max_uses && (!child->has_max_uses || child->max_uses > parent->max_uses))
		return fail(GRANT_WIDENED, "max_uses: more than the grant above allows");
	if (parent->max_depth == 0)
		return fail(GRANT_TOO_DEEP, "max_depth: the grant above may not be delegated");
	if (child->max_depth >= parent->max_depth)
		return fail(GRANT_WIDENED, "max_depth: %u is not less than %u", child->max_depth, parent->max_depth);
	return OK;
}

result grant_check_child(const struct grant_link *child, const struct grant_link *parent)
{
	if (!child->grant.has_parent || memcmp(child->grant.parent, parent->oid, OID_SIZE) != 0)
		return fail(GRANT_BROKEN, "a grant does not name the one above it");
	if (memcmp(child->issuer, parent->grant.audience, ADDRESS_SIZE) != 0)
		return fail(GRANT_BROKEN, "a grant is not issued by whom the one above it is for");
	return grant_check_narrower(&child->grant, &parent->grant);
}
