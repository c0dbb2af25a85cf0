/*
 * The dynamic attestation chain: verification of a set of records with the certificates and launch reports they name
 * (constructions/dac.md; docs/PROTOCOL.dac). Used by an IRE when a peer hands over a record, and by `troth verify`.
 *
 * Add everything, then verify: each object is checked once; records added later cost only themselves. Nothing recurses.
 * Signatures are checked on `threads` threads, the rules in topological order on one. A record that is refused fails
 * itself and what depends on it, nothing else; each has its own verdict.
 *
 * The spans that are added are borrowed and must outlive the set.
 */
#ifndef TROTH_ENCLAVE_DAC_H
#define TROTH_ENCLAVE_DAC_H

#include "object/epoch.h"
#include "object/record.h"
#include "object/revocation.h"
#include "policy/table.h"

/* A root that is trusted here, at the epoch that judges. */
struct dac_root {
	uint8_t rot_id[OID_SIZE];
	uint8_t epoch_oid[OID_SIZE];
	uint32_t era;
	uint64_t epoch;
	uint64_t not_before, not_after;
	const struct key *key;
};

struct platform;

/* How much a set may hold; 0: DAC_MAX_RECORDS, and what else the format allows. */
struct dac_limits {
	size_t records; /* and certificates, and reports, each */
	size_t bytes;	/* of all of them */
	size_t path;	/* records on the longest way from an ORIGIN to one that is accepted */
	size_t parents; /* of one */
};

struct dac_config {
	const struct dac_root *roots; /* borrowed */
	size_t root_count;
	uint64_t skew_ms;
	uint64_t earliest_ms, latest_ms; /* allowed record times; latest 0: unbounded */
	const uint8_t *run_id;		 /* every record must carry it; NULL: any */
	struct dac_limits limits;
	const uint8_t *own; /* SHA-256 of the certificate whose records `path` and `parents` do not bind; NULL: none. Borrowed */
	size_t max_memory;		 /* for decoded objects; 0: DAC_MAX_MEMORY */
	unsigned threads;		 /* 0: one per processor */
	/* The policy with this digest, or NULL: then every foreign parent is refused (NO_POLICY). */
	const struct policy_table *(*policy)(void *ctx, const uint8_t digest[static SHA256_SIZE]);
	/*
	 * OK when the policy `named` by a record may stand for the one that was `launched`: a signed version that follows it
	 * (policy/versions.h). NULL: none is known, and every record must name the policy of its launch.
	 */
	result (*follows)(void *ctx, const uint8_t launched[static SHA256_SIZE], const uint8_t named[static SHA256_SIZE]);
	void *policy_ctx; /* of both */
	const struct policy_references *references; /* that those policies may name; NULL: none. Borrowed */
	/* Records of what these lists revoke, dated after its `from`, are refused (REVOKED); NULL: none. Borrowed; may change between verifications */
	const struct revocation_set *revocations;
	const struct platform *platform; /* judged platform evidence (evidence/platform.h); NULL: none. Borrowed */
};

enum { DAC_MAX_RECORDS = 1 << 20 };
#define DAC_MAX_MEMORY ((size_t)3 << 30)

struct dac;

NODISCARD result dac_new(const struct dac_config *config, struct dac **out);
/* Other bounds from now on; what is there stays, with its verdicts. */
void dac_limit(struct dac *dac, const struct dac_limits *limits);
/*
 * One more epoch of a trusted root, before the first object that names it is verified; the key is borrowed. One that is
 * there already changes nothing.
 */
NODISCARD result dac_add_root(struct dac *dac, const struct dac_root *root);
void dac_free(struct dac *dac); /* accepts NULL */

/*
 * Parses and keeps. The same bytes again change nothing. The same object with another signature is kept beside the first
 * until one of them verifies. DAC_TOO_LARGE, parse reasons. Out parameters may be NULL.
 */
NODISCARD result dac_add_certificate(struct dac *dac, struct span der, uint8_t *out_digest);
NODISCARD result dac_add_report(struct dac *dac, struct span object, uint8_t *out_oid);
NODISCARD result dac_add_record(struct dac *dac, struct span object, uint8_t *out_oid);

struct dac_summary {
	size_t records, accepted, refused;
	unsigned depth; /* greatest level */
};

/*
 * Judges every record that has no verdict yet, and anew those that were refused for want of something (a parent, a
 * certificate, a report) when anything was added since. OK when the work could be done, whatever the verdicts. An
 * accepted record loses its verdict only when a second one for its place appears (DAC_EQUIVOCATION), and with it what was
 * built on it.
 */
NODISCARD result dac_verify(struct dac *dac, struct dac_summary *out);

struct dac_verdict {
	bool judged;
	enum reason reason; /* OK: accepted */
	const char *text;   /* what was wrong; "" when accepted */
	unsigned level;	    /* calls between enclaves on the longest path, from 1 */
};

size_t dac_count(const struct dac *dac);
/* Index of a record; SIZE_MAX when unknown. */
size_t dac_find(const struct dac *dac, const uint8_t oid[static OID_SIZE]);
const struct record *dac_record(const struct dac *dac, size_t index);
const uint8_t *dac_oid(const struct dac *dac, size_t index);
struct span dac_bytes(const struct dac *dac, size_t index);
struct dac_verdict dac_verdict(const struct dac *dac, size_t index);
/* OK when the record was judged and accepted, its reason and text otherwise. */
NODISCARD result dac_require(const struct dac *dac, const uint8_t oid[static OID_SIZE]);

/* The certificate and report by name; empty when unknown. `out_name` of a report: the launch. */
struct span dac_certificate(const struct dac *dac, const uint8_t digest[static SHA256_SIZE]);
struct span dac_report(const struct dac *dac, const uint8_t oid[static OID_SIZE]);
/* Decoded launch report; NULL when unknown. */
const struct report *dac_report_of(const struct dac *dac, const uint8_t oid[static OID_SIZE]);

/*
 * The closed ancestor set of `roots`: indices in topological order, then by oid. DAC_MISSING_PARENT. The caller frees
 * *out_indices. Certificates and reports of the set are those its records name.
 */
NODISCARD result dac_closure(const struct dac *dac, const struct digest32 *roots, size_t root_count, size_t **out_indices,
	size_t *out_count);

/*
 * The ancestors of one record and itself, parents before children: what it costs depends on how many are reached, not on
 * how many there are. Not beyond a parent for which `stop` says so.
 */
struct dac_walk {
	bool (*stop)(void *context, const uint8_t oid[static OID_SIZE]); /* NULL: at none */
	/* A parent that is not there; NULL: DAC_MISSING_PARENT. Perhaps called several times for one. */
	result (*missing)(void *context, const uint8_t oid[static OID_SIZE]);
	void *context;
};
NODISCARD result dac_walk(struct dac *dac, const uint8_t root[static OID_SIZE], const struct dac_walk *how, size_t **out_indices,
	size_t *out_count);

/* DAC_EXTRA_NODE unless records, certificates and reports are exactly the closure of `roots`; DAC_DUPLICATE for an object that stands there with two signatures. */
NODISCARD result dac_require_closed(const struct dac *dac, const struct digest32 *roots, size_t root_count);

#endif
