#include "object/seal.h"

static const struct field policy_by_measurement_fields[] = {
	F_VERSION(struct seal_policy, 1, v, SEAL_BY_MEASUREMENT),
	F_FIXED(struct seal_policy, 2, rot_id),
	F_TEXT(struct seal_policy, 3, name, 1, NAME_MAX_LEN),
	F_FIXED(struct seal_policy, 4, measurement),
};
static const struct schema policy_by_measurement_schema =
	SCHEMA(struct seal_policy, "seal policy", SHAPE_MAP, policy_by_measurement_fields);
static const struct field policy_fields[] = {
	F_VERSION(struct seal_policy, 1, v, SEAL_BY_REFERENCE),
	F_FIXED(struct seal_policy, 2, rot_id),
	F_TEXT(struct seal_policy, 3, name, 1, NAME_MAX_LEN),
	F_STRUCT(struct seal_policy, 5, reference, &reference_schema),
};
const struct schema seal_policy_schema = {"seal policy", SHAPE_MAP, sizeof(struct seal_policy), policy_fields, COUNT_OF(policy_fields),
	.older = &policy_by_measurement_schema};

static const struct field sealed_fields[] = {
	F_VERSION(struct sealed, 1, v, 1),
	F_STRUCT(struct sealed, 2, policy, &seal_policy_schema),
	F_FIXED(struct sealed, 3, box_hash),
	F_UINT(struct sealed, 4, storage_key_version, 0),
	F_FIXED(struct sealed, 5, salt),
	F_BYTES(struct sealed, 6, ciphertext, 17, SECRET_MAX + 16),
	F_FIXED(struct sealed, 7, epoch_oid),
};
const struct schema sealed_schema = SCHEMA(struct sealed, "sealed object", SHAPE_MAP, sealed_fields);

static const struct field request_fields[] = {
	F_VERSION(struct unseal_request, 1, v, 1),
	F_FIXED(struct unseal_request, 2, seal_oid),
	F_FIXED(struct unseal_request, 3, launch_id),
	F_FIXED(struct unseal_request, 4, nonce),
};
const struct schema unseal_request_schema = SCHEMA(struct unseal_request, "unseal request", SHAPE_MAP, request_fields);

static const struct field grant_fields[] = {
	F_VERSION(struct unseal_grant, 1, v, 1),
	F_FIXED(struct unseal_grant, 2, seal_oid),
	F_FIXED(struct unseal_grant, 3, launch_id),
	F_FIXED(struct unseal_grant, 4, nonce),
	F_FIXED(struct unseal_grant, 5, box_hash),
	F_FIXED(struct unseal_grant, 6, epoch_oid),
};
const struct schema unseal_grant_schema = SCHEMA(struct unseal_grant, "unseal grant", SHAPE_MAP, grant_fields);
