/* DAC records (constructions/dac.md): what an enclave's runtime says it took in, derived and handed on. */
#ifndef TROTH_OBJECT_RECORD_H
#define TROTH_OBJECT_RECORD_H

#include "object/report.h"

enum record_kind { RECORD_ORIGIN = 1, RECORD_DERIVE = 2, RECORD_REQUEST = 3, RECORD_RESPONSE = 4 };
enum { RECORD_MAX_PARENTS = 64, CALL_ID_SIZE = 16 };

struct record_parent {
	const char *enclave; /* endorsed URI of its signer */
	uint8_t oid[OID_SIZE];
};

/* Salted data commitment: HMAC-SHA256(salt, data). */
struct record_data {
	const char *name;
	uint8_t commit[SHA256_SIZE];
};

struct record {
	uint8_t v;
	uint8_t kind;
	const char *enclave;
	uint8_t certificate[SHA256_SIZE]; /* SHA-256 of the signer's DER */
	uint8_t host_report[OID_SIZE];	  /* oid of its launch report */
	uint8_t rot_id[OID_SIZE];
	uint32_t era;
	uint64_t epoch;
	uint64_t seq; /* per enclave key, from 1, +1 */
	uint64_t time;
	struct record_parent *parents; /* sorted, unique */
	size_t parent_count;
	const char *target; /* REQUEST, RESPONSE: URI of the receiver */
	bool has_target;
	uint8_t call_id[CALL_ID_SIZE];
	bool has_call_id;
	const char *operation;
	struct record_data *in;
	size_t in_count;
	struct record_data *out;
	size_t out_count;
	uint8_t policy_digest[SHA256_SIZE];
	uint8_t ledger_ref[OID_SIZE]; /* ORIGIN of a secret: oid of the grant that released it */
	bool has_ledger_ref;
	uint8_t run_id[RUN_ID_SIZE];
};
extern const struct schema record_schema;
extern const struct schema record_parent_schema;
extern const struct schema record_data_schema;

const char *record_kind_name(enum record_kind kind);

/* statement: an enclave's signature about bytes (never over raw bytes). */
struct statement {
	uint8_t v;
	const char *enclave;
	uint8_t certificate[SHA256_SIZE];
	uint8_t run_id[RUN_ID_SIZE];
	uint64_t time;
	const char *name;	/* which output or what the program called it */
	const char *media_type;
	uint8_t digest[SHA256_SIZE]; /* SHA-256 of the bytes */
	uint64_t length;
};
extern const struct schema statement_schema;

#endif
