/*
 * What one set of policies allows that another does not, field by field (`troth policy diff`). Compares compiled forms: what
 * is written in another order or inherited from a default is no difference.
 */
#ifndef TROTH_POLICY_DIFFERENCE_H
#define TROTH_POLICY_DIFFERENCE_H

#include "policy/table.h"

enum difference_effect {
	DIFFERENCE_ALLOWS, /* something is allowed now that was not */
	DIFFERENCE_DENIES, /* something is denied now that was not */
	DIFFERENCE_OTHER,  /* both, or neither by itself: a version number, other cores */
};
const char *difference_effect_name(enum difference_effect effect); /* "allows", "denies", "changes" */

enum { DIFFERENCE_TEXT = 400 };

struct difference {
	enum difference_effect effect;
	char subject[POLICY_NAME_MAX + 1];
	enum policy_subject kind;
	char peer[POLICY_NAME_MAX + 1]; /* of an entry of allowed_communicators, deny, allow_level0; "" */
	const char *field; /* of the schema; "" : the policy as a whole */
	char before[DIFFERENCE_TEXT], after[DIFFERENCE_TEXT]; /* as people write it; "" where it is not said; cut to fit */
};

struct differences {
	struct difference *items;
	size_t count;
};

/* By subject, then in the order of the schema. Free with differences_free. TOO_LARGE: more than a million. */
NODISCARD result policy_differences(const struct policy_table *before, const struct policy_table *after, struct differences *out);
void differences_free(struct differences *differences);

#endif
