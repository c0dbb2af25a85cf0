/*
 * The offline verifier of complete bundles (docs/PROTOCOL.dac): every record is judged, each with its own verdict, against
 * what the trust file believes. Needs no network, no daemon and no state; believes nothing that only the bundle brings.
 *
 * ACCEPTED only if the bundle is closed and every record in it counts. A broken record fails itself and what depends on it;
 * the rest keeps its verdict, so that a report says which results still stand. CANNOT_JUDGE: the root was halted or recovered
 * since.
 */
#ifndef TROTH_RECEIPT_CHAIN_H
#define TROTH_RECEIPT_CHAIN_H

#include "enclave/bundle.h"
#include "receipt/heads.h"
#include "receipt/verify.h"

struct chain_options {
	const struct trust *trust;
	struct span bundle;
	const struct epoch_history *epochs; /* what the verifier knows of roots beside the trust file; NULL: nothing */
	const uint8_t *run_id; /* that the records must be of; NULL: any, but one */
	uint64_t at_ms;
	struct span nonce; /* that proofs of histories must be of; empty: none was asked for */
	bool require_head; /* every root must show its history; the trust file may ask for it too */
	/* These roots must: by the name of a host in the trust file's job, by rot_id in hex or by fingerprint. Borrowed */
	const char *const *heads_of;
	size_t head_of_count;
	/* Bundles of the same chain as other hosts gave them: their proofs count as if they stood in this one. Borrowed */
	const struct span *beside;
	size_t beside_count;
	const struct revocation_set *revocations; /* lists that the trust file lets count (verify_revocations); NULL: none */
	struct span earlier; /* a bundle that was accepted before, whose proofs these go on from; empty: none */
	unsigned threads; /* 0: one per processor */
};

/* What came of one record. */
struct chain_verdict {
	enum reason reason; /* OK: accepted */
	const char *text;
	unsigned level;
};

/* One root that records name. */
struct chain_root {
	uint8_t rot_id[OID_SIZE];
	const struct trust_root *trusted; /* NULL: the trust file does not name it */
	struct receipt_epochs epochs;
};

struct chain_report {
	struct head_verdict *heads; /* histories that were shown and hold */
	size_t head_count;
	enum verify_verdict verdict;
	struct verify_check *checks; /* of the bundle as a whole; records have verdicts of their own */
	size_t check_count, check_cap;
	struct arena arena;
	struct bundle bundle;
	struct dac *dac; /* NULL: the form is no good */
	struct chain_verdict *verdicts; /* by index of the set, which is that of the bundle's records */
	size_t accepted, refused;
	unsigned depth;
	struct chain_root *roots;
	size_t root_count;
	struct policy_table **policies;
	uint8_t (*policy_digests)[SHA256_SIZE];
	size_t policy_count;
	struct policy_references *references;
	struct policy_versions *versions;
	struct platform platform;
	unsigned level; /* of the weakest host */
	bool compared;	/* measurements were compared with those of the trust file */
};

void chain_report_free(struct chain_report *report);

/* OK when a verdict was reached, whatever it is; a failure is the environment's. */
NODISCARD result chain_verify(const struct chain_options *options, struct chain_report *out);

#endif
