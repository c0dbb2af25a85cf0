/*
 * A small world in which attestation chains grow: a root, enclaves that it endorsed (real keys, certificates, launch
 * reports, policies), and the records that they sign. For the tests of dac.h and its fuzz target.
 */
#ifndef TROTH_TESTS_DAC_WORLD_H
#define TROTH_TESTS_DAC_WORLD_H

#include "enclave/dac.h"

enum { WORLD_ENCLAVES = 8 };
#define WORLD_T0 1800000000000ULL

struct world_enclave {
	char name[NAME_MAX_LEN + 1];
	char uri[URI_MAX_LEN + 1];
	struct key sign, kem;
	struct bytes certificate, report;
	uint8_t certificate_digest[SHA256_SIZE], report_oid[OID_SIZE];
	struct launch launch;
	struct policy_table *policy;
	uint8_t policy_digest[SHA256_SIZE];
	uint64_t seq; /* of the last record */
};

struct world {
	struct key root_key;
	struct dac_root root;
	uint8_t run_id[RUN_ID_SIZE];
	struct world_enclave enclaves[WORLD_ENCLAVES];
	size_t enclave_count;
	uint64_t now;
	struct arena arena; /* objects that records were made of */
	struct dac_config config;
};

/* A root whose id begins with `seed`, without enclaves. */
void world_new(struct world *world, uint8_t seed);
void world_free(struct world *world);

/* Endorses an enclave; `policy` is the document without enclave_id ("allowed_communicators: [B]\n..."). Gives its index. */
size_t world_endorse(struct world *world, const char *name, const char *policy);

/* Its certificate and report anew, from what `launch` says now and for these times. */
void world_certify(struct world *world, size_t enclave, uint64_t not_before, uint64_t not_after);

/* A signed record and what it was made of. */
struct made {
	struct span object;
	uint8_t oid[OID_SIZE];
	struct record record; /* points into the world's arena */
};

/* The commitment that tests call `name`. */
void world_commit(const char *name, uint8_t out[static SHA256_SIZE]);

/*
 * Starts a record of `enclave`: everything filled in but parents, data and target. world_sign sorts its lists and signs.
 */
struct record world_record(struct world *world, size_t enclave, enum record_kind kind, const char *operation);
void world_parent(struct world *world, struct record *record, const struct made *parent);
void world_in(struct world *world, struct record *record, const char *name);
void world_out(struct world *world, struct record *record, const char *name);
void world_target(struct world *world, struct record *record, size_t enclave, uint8_t call);
void world_sign_as(struct world *world, struct record *record, const struct key *key, struct made *out);
void world_sign(struct world *world, size_t enclave, struct record *record, struct made *out);

/* Ready-made: `names` are data, separated by one blank. */
struct made world_origin(struct world *world, size_t enclave, const char *out);
struct made world_derive(struct world *world, size_t enclave, const char *in, const char *out, const struct made *parent);
struct made world_request(struct world *world, size_t enclave, size_t target, uint8_t call, const char *in, const struct made *parent);
struct made world_response(struct world *world, size_t enclave, const struct made *request, const char *out,
	const struct made *own);

/* Certificates and reports of all enclaves. */
void world_add_enclaves(const struct world *world, struct dac *dac);
/* The policy of any enclave of the world, by digest. */
const struct policy_table *world_policy(void *world, const uint8_t digest[static SHA256_SIZE]);

#endif
