/* Sealed secrets and their release (constructions/epochs.md SEAL, UNSEAL). */
#ifndef TROTH_OBJECT_SEAL_H
#define TROTH_OBJECT_SEAL_H

#include "object/reference.h"
#include "object/report.h"

enum { SECRET_MAX = 4096 };

/*
 * For whom a secret opens. lv() of its encoding is bound into box and ciphertext. Version 1 names a measurement; version 2
 * a reference: whatever the author's signed set lists under the enclave's name (docs/UPGRADE.md).
 */
enum { SEAL_BY_MEASUREMENT = 1, SEAL_BY_REFERENCE = 2 };
struct seal_policy {
	uint8_t v;
	uint8_t rot_id[OID_SIZE];
	const char *name;		  /* enclave */
	uint8_t measurement[SHA384_SIZE]; /* version 1; else zero */
	struct reference reference;	  /* version 2; else zero */
};
extern const struct schema seal_policy_schema;

struct sealed {
	uint8_t v;
	struct seal_policy policy;
	uint8_t box_hash[SHA256_SIZE]; /* H(seal-in box ‖ policy encoding): the client accepts only its own */
	uint32_t storage_key_version;
	uint8_t salt[32];
	struct span ciphertext; /* AE(EX(K_st, "seal", salt ‖ lv(policy), 32), policy, secret), protocol word "root1" */
	uint8_t epoch_oid[OID_SIZE];
};
extern const struct schema sealed_schema;

struct unseal_request {
	uint8_t v;
	uint8_t seal_oid[OID_SIZE];
	uint8_t launch_id[LAUNCH_ID_SIZE];
	uint8_t nonce[32];
};
extern const struct schema unseal_request_schema;

struct unseal_grant {
	uint8_t v;
	uint8_t seal_oid[OID_SIZE];
	uint8_t launch_id[LAUNCH_ID_SIZE];
	uint8_t nonce[32];
	uint8_t box_hash[SHA256_SIZE]; /* H(box) of the answer */
	uint8_t epoch_oid[OID_SIZE];
};
extern const struct schema unseal_grant_schema;

#endif
