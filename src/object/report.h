/*
 * What the secure processor says about its host and about one launch: host report, launch report and channel evidence
 * are one kind with a purpose (root.md "Measured boot", constructions/objects.md "Levels").
 * Also the launch event that is EXTENDed into register 4, and the answer to a challenge.
 */
#ifndef TROTH_OBJECT_REPORT_H
#define TROTH_OBJECT_REPORT_H

#include "object/object.h"

enum { REGISTER_COUNT = 8, LAUNCH_ID_SIZE = 16, RUN_ID_SIZE = 32, NAME_MAX_LEN = 63, URI_MAX_LEN = 255 };
enum register_index { REGISTER_AP = 0, REGISTER_HOST = 1, REGISTER_VMM = 2, REGISTER_SECURITY_ENCLAVE = 3, REGISTER_LAUNCHES = 4 };
enum report_purpose { REPORT_LAUNCH = 1, REPORT_CHANNEL = 2, REPORT_HOST = 3 };

extern const struct schema register_schema;
struct register_value {
	uint8_t value[SHA384_SIZE];
};

/*
 * One launch. The first block is hashed into register 4 before the program runs: SHA-384 of the encoding of this
 * structure (kind launch) is the event digest. It is the host's word; the AP records and signs it.
 */
struct launch {
	uint8_t v;
	uint8_t launch_id[LAUNCH_ID_SIZE];
	uint8_t run_id[RUN_ID_SIZE];
	const char *name; /* from the manifest */
	uint8_t core[SHA384_SIZE];
	uint8_t measurement[SHA384_SIZE];
	uint8_t policy_digest[SHA256_SIZE];
	const char *tier;	   /* "N" */
	const char *isolation;	   /* "uid", "weak" */
	const char *limits;	   /* "cgroup2", "cgroup1", "rlimit" */
	const char *secret_memory; /* "memfd_secret", "locked", "plain" */
	const char *interpreter;   /* "open", "closed" */
	uint8_t keys_hash[SHA256_SIZE]; /* H(lv(sig_pk) ‖ lv(kem_pk)) */
};
extern const struct schema launch_schema;

struct report {
	uint8_t v;
	uint8_t purpose;
	uint8_t rot_id[OID_SIZE];
	uint32_t era;
	uint64_t epoch;
	uint8_t epoch_oid[OID_SIZE];
	uint64_t boot_gen;
	uint64_t seq;		 /* +1 per report within a boot generation, from 1 */
	uint8_t prev[OID_SIZE];	 /* the report before, null at seq 1 */
	bool has_prev;
	uint64_t time;
	struct span challenge;	 /* REPORT_CHANNEL: the 64-byte binder; REPORT_HOST: the verifier's nonce; else empty */
	struct register_value *registers; /* REGISTER_COUNT */
	size_t register_count;
	struct launch launch;
	bool has_launch;
	uint8_t certificate[SHA256_SIZE]; /* SHA-256 of the endorsed leaf's DER */
	bool has_certificate;
	bool instrumented; /* a build with the instrumentation call list: counts as Level-0 */
};
extern const struct schema report_schema;

/* What a certificate says about the launch it was issued to (extension OID_TCB_INFO; docs/PROTOCOL.certificate). */
struct tcb_info {
	uint8_t core[SHA384_SIZE], measurement[SHA384_SIZE];
	uint8_t launch_id[LAUNCH_ID_SIZE];
	uint8_t epoch_oid[OID_SIZE];
	const char *tier, *isolation;
};
extern const struct schema tcb_info_schema;

/* rot challenge: the answer of GENERATE_ROT and ATTEST over the asker's 32 bytes. */
struct rot_challenge {
	uint8_t v;
	uint8_t challenge[32];
	uint8_t epoch_oid[OID_SIZE];
	uint8_t rot_id[OID_SIZE];
	uint32_t era;
	uint64_t epoch;
	uint64_t boot_gen;
	const char *purpose;
	uint64_t time;
	struct register_value *registers;
	size_t register_count;
	bool instrumented;
};
extern const struct schema rot_challenge_schema;

/* queue hello: the secure processor's answer to the greeting of a sealed queue (docs/PROTOCOL.ipq section 8). */
struct queue_hello {
	uint8_t v;
	uint8_t host_nonce[32], ap_nonce[32];
	uint8_t host_point[POINT_SIZE], ap_point[POINT_SIZE]; /* ephemeral */
	uint64_t boot_gen;
	uint8_t epoch_oid[OID_SIZE]; /* whose key signs */
};
extern const struct schema queue_hello_schema;

struct derive_answer {
	uint8_t v;
	uint8_t challenge_i[32], challenge_r[32];
	uint8_t ephemeral_i[POINT_SIZE], ephemeral_r[POINT_SIZE];
	uint8_t epoch_oid[OID_SIZE];
	const char *id_i, *id_r;
	const char *purpose;
};
extern const struct schema derive_answer_schema;

/* H(lv(sig_pk) ‖ lv(kem_pk)), the binding of a launch to the keys made inside it. */
void launch_keys_hash(const uint8_t sign_pk[static POINT_SIZE], const uint8_t kem_pk[static POINT_SIZE],
	uint8_t out[static SHA256_SIZE]);

/* spiffe://<rot label>.<trust domain>/ire/<name>. BAD_VALUE when name or domain hold characters that may not occur. */
NODISCARD result ire_uri(const uint8_t rot_id[static OID_SIZE], const char *trust_domain, const char *name,
	char out[static URI_MAX_LEN + 1]);
/* Splits one; checks that the host part begins with the label of `rot_id`. Gives the short name (borrowed from uri). */
NODISCARD result ire_uri_name(const char *uri, const uint8_t rot_id[static OID_SIZE], const char **out_name);

/* [A-Za-z0-9._-]{1,63}, not starting with '.' or '-': names of enclaves, roles, edges, outputs. */
bool name_is_valid(const char *name);

#endif
