/*
 * The complete bundle: everything that an outside verifier needs to judge one or more records, each thing once and in one
 * form (docs/PROTOCOL.dac "Complete bundle"). The same records give the same bytes, whichever enclave makes it.
 *
 * bundle_encode takes the ancestors from a set that its owner verified. bundle_decode checks the form only; bundle_load puts
 * what is inside into a set, which judges it, and bundle_check says whether it is closed: nothing missing, nothing that
 * nobody asked for, all in order.
 */
#ifndef TROTH_ENCLAVE_BUNDLE_H
#define TROTH_ENCLAVE_BUNDLE_H

#include "enclave/dac.h"
#include "object/epoch_chain.h"

enum { BUNDLE_MAX_ROOTS = 64, BUNDLE_MAX_CHAINS = 64 };
#define BUNDLE_FILE_MAX ((size_t)1 << 30)

/* The epochs of one root: records from the inception to the newest that something in the bundle is of, then recovery keys. */
struct bundle_chain {
	uint8_t rot_id[OID_SIZE];
	struct bytes_item *objects;
	size_t object_count;
};

struct bundle {
	uint8_t v;
	struct digest32 *roots; /* whose ancestors these are; ascending */
	size_t root_count;
	struct bytes_item *records; /* by the longest path from an ORIGIN, then by oid */
	size_t record_count;
	struct bytes_item *certificates; /* this and the next ones ascending, each once */
	size_t certificate_count;
	struct bytes_item *reports; /* launch reports */
	size_t report_count;
	struct bytes_item *policies; /* compiled, of exactly the launches */
	size_t policy_count;
	struct bundle_chain *chains; /* of exactly the roots that records name */
	size_t chain_count;
	struct bytes_item *references; /* signed reference sets that the policies may name */
	size_t reference_count;
	struct bytes_item *platform; /* platform evidence of these hosts, or none */
	size_t platform_count;
	struct bytes_item *proofs; /* reserved for proofs of a host's whole history; no part of what is closed */
	size_t proof_count;
	struct bytes_item *versions; /* signed versions of policies: exactly those that records name instead of their launch's */
	size_t version_count;
};
extern const struct schema bundle_schema;

/* What goes into one beside the records; all borrowed. */
struct bundle_parts {
	const struct dac *dac;
	const struct digest32 *roots; /* ascending */
	size_t root_count;
	/* The compiled policy of a launch, and the signed version, with this digest; empty: unknown (NO_POLICY). */
	struct span (*policy)(void *ctx, const uint8_t digest[static SHA256_SIZE]);
	struct span (*version)(void *ctx, const uint8_t digest[static SHA256_SIZE]);
	/* The chain of a root; NULL: unknown (DAC_UNTRUSTED_ROOT). */
	const struct epoch_chain *(*chain)(void *ctx, const uint8_t rot_id[static OID_SIZE]);
	void *ctx;
	const struct bytes_item *references;
	size_t reference_count;
	const struct bytes_item *platform;
	size_t platform_count;
};

/* DAC_MISSING_PARENT, NO_POLICY, DAC_UNTRUSTED_ROOT, EPOCH_FOREIGN, TOO_LARGE. */
NODISCARD result bundle_encode(const struct bundle_parts *parts, struct bytes *out);

/* Borrows from `bytes` and from the arena. Parse reasons; NOT_DETERMINISTIC for an object that stands twice in a list. */
NODISCARD result bundle_decode(struct span bytes, struct arena *arena, struct bundle *out);

/* Certificates, reports and records into a set. DAC_DUPLICATE names a record that stands twice. */
NODISCARD result bundle_load(const struct bundle *bundle, struct dac *dac);

/*
 * Of a set that holds this bundle and nothing else: DAC_MISSING_PARENT, DAC_UNKNOWN_CERTIFICATE, DAC_UNKNOWN_REPORT,
 * NO_POLICY, DAC_EXTRA_NODE, DAC_CYCLE, NOT_DETERMINISTIC; the text names the first object that it is about.
 */
NODISCARD result bundle_check(const struct bundle *bundle, const struct dac *dac);

#endif
