#include "object/policy_version.h"

static const struct field fields[] = {
	F_VERSION(struct policy_version_object, 1, v, 1),
	F_FIXED(struct policy_version_object, 2, author_pk),
	F_BYTES(struct policy_version_object, 3, policy, 1, POLICY_VERSION_MAX),
};
const struct schema policy_version_schema = SCHEMA(struct policy_version_object, "policy version", SHAPE_MAP, fields);
