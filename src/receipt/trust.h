/*
 * The trust file: what an auditor believes before seeing a receipt (docs/PROTOCOL.receipt, "Trust file"). JSON, made
 * once with `troth trust new`, never written by a run. The verifier uses no key and no reference value from anywhere else.
 */
#ifndef TROTH_RECEIPT_TRUST_H
#define TROTH_RECEIPT_TRUST_H

#include "object/epoch.h"
#include "object/evidence.h"
#include "object/job.h"

enum { TRUST_FILE_MAX = 8 << 20 };

struct trust_root {
	struct span inception; /* E_1 */
	struct epoch epoch;
	uint8_t rot_id[OID_SIZE];
	struct key sign;
};

/* Values of registers 0 and 1 of a host whose programs are the expected ones. */
struct trust_tcb {
	uint8_t register0[SHA384_SIZE], register1[SHA384_SIZE];
};

struct trust {
	struct arena arena;
	struct trust_root *roots;
	size_t root_count;
	struct digest32 *recovery_keys; /* SPKI hashes that the inception must name */
	size_t recovery_key_count;
	struct span *recovery_spki; /* public recovery keys, also of later sets */
	size_t recovery_spki_count;
	struct span *epochs; /* epoch records and HALTs of these roots that the auditor knows of */
	size_t epoch_count;
	struct trust_tcb *tcbs;
	size_t tcb_count;
	bool has_job;
	uint8_t job_digest[SHA256_SIZE];
	struct job job; /* name, enclaves, edges, inputs, outputs, externals as expected */
	struct register_value *revoked; /* measurements and cores */
	size_t revoked_count;
	struct digest32 *authors; /* key ids of those whose reference sets count */
	size_t author_count;
	struct digest32 *revocation_keys; /* key ids of operators whose revocation lists count */
	size_t revocation_key_count;
	struct platform_trust platform; /* `tpm` and allow_synthetic: which platforms vouch for Level-2 */
	bool allow_synthetic;
	bool require_tpm_head; /* chains must prove the whole history of their hosts */
	uint64_t max_run_ms, skew_ms;
	bool has_expires;
	uint64_t expires_ms;
};

void trust_free(struct trust *trust); /* accepts a zeroed one */

/* UNKNOWN_FIELD, MISSING_FIELD, ... with line and column; BAD_VALUE for a file without roots. */
NODISCARD result trust_load(const char *path, struct trust *out);
NODISCARD result trust_parse(const char *name, struct span text, struct trust *out);

/* NULL when the file does not name it. */
const struct trust_root *trust_root_find(const struct trust *trust, const uint8_t rot_id[static OID_SIZE]);

/* What `troth trust new` knows. */
struct trust_parts {
	const struct span *inceptions;
	size_t inception_count;
	const struct digest32 *recovery_keys;
	size_t recovery_key_count;
	const struct span *recovery_spki;
	size_t recovery_spki_count;
	const struct span *epochs; /* records and HALTs, in order */
	size_t epoch_count;
	const struct trust_tcb *tcbs;
	size_t tcb_count;
	const struct job *job;
	uint8_t job_digest[SHA256_SIZE];
	uint64_t max_run_s, skew_s;
	const char *expires; /* NULL for none */
	const struct platform_trust *platform; /* NULL: none */
	bool require_tpm_head;
	const struct digest32 *authors; /* of reference sets */
	size_t author_count;
	const struct digest32 *revocation_keys;
	size_t revocation_key_count;
};

/* The file's text. The inceptions are judged on the way: one that is not self-consistent is refused. */
NODISCARD result trust_write(const struct trust_parts *parts, struct bytes *out_text);

#endif
