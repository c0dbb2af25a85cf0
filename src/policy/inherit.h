/*
 * A policy and the default that it inherits from, as one closed policy (docs/POLICY.md, "Defaults"). Whatever both say, the
 * policy may only narrow: what would widen is POLICY_CONFLICT, at the policy's place and with the line of the default's. Lists
 * are joined; a peer that both allow is a conflict too, and one that either denies is denied.
 *
 * Used by schema.c alone.
 */
#ifndef TROTH_POLICY_INHERIT_H
#define TROTH_POLICY_INHERIT_H

#include "policy/compiled.h"
#include "wire/document.h"

/* A form beside the node it was read from. */
struct inherit_side {
	const struct node *node;
	const struct form_policy *form;
};

/* `arena` takes the joined lists. *out_form keeps the policy's subject and version. */
NODISCARD result policy_inherit(const struct document *document, const struct inherit_side *policy, const struct inherit_side *base,
	struct arena *arena, struct form_policy *out_form);

#endif
