/*
 * A newer version of a trust policy, signed by the author whom the policy names (kind 42; docs/PROTOCOL.policy, "Signed
 * versions"). What it says and when it counts is the business of policy/versions.h.
 */
#ifndef TROTH_OBJECT_POLICY_VERSION_H
#define TROTH_OBJECT_POLICY_VERSION_H

#include "object/object.h"

enum { POLICY_VERSION_MAX = 16 * 1024 * 1024 }; /* of the object */

struct policy_version_object {
	uint8_t v;
	uint8_t author_pk[POINT_SIZE];
	struct span policy; /* compiled */
};
extern const struct schema policy_version_schema;

#endif
