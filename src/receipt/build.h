/*
 * Putting a receipt together: sections in canonical order from what a run left, then the head's list of them. The head is
 * signed by the secure processor; receipt_encode (object/receipt.h) joins the two.
 */
#ifndef TROTH_RECEIPT_BUILD_H
#define TROTH_RECEIPT_BUILD_H

#include "enclave/dac.h"
#include "object/receipt.h"

/* A root beside that of the head. */
struct receipt_foreign {
	uint8_t rot_id[OID_SIZE];
	const struct span *epochs; /* from its inception, as they were accepted */
	size_t epoch_count;
	const struct span *recovery_keys;
	size_t recovery_key_count;
};

struct receipt_parts {
	const struct dac *dac; /* verified; holds exactly the run's records, certificates and reports */
	const struct digest32 *roots; /* final DERIVE of every sink, sorted */
	size_t root_count;
	const struct span *epochs; /* from the inception to the head that signs; in order of acceptance */
	size_t epoch_count;
	const struct span *recovery_keys; /* DER SubjectPublicKeyInfo; any order, repeats allowed; none unless a record needs them */
	size_t recovery_key_count;
	const struct span *manifests; /* in the order of the compiled job's enclaves */
	size_t manifest_count;
	const struct span *policies; /* any order, repeats allowed */
	size_t policy_count;
	const struct span *grants; /* unseal grants */
	size_t grant_count;
	const struct span *statements;
	size_t statement_count;
	struct salt_row *salts; /* sorted in place */
	size_t salt_count;
	struct span job; /* compiled */
	const struct span *platform; /* platform evidence; none: no such section */
	size_t platform_count;
	const struct span *references; /* reference sets that policies name; none: no such section */
	size_t reference_count;
	const struct receipt_foreign *foreign; /* roots of the other hosts of the run, any order; none: no such section */
	size_t foreign_count;
	const struct span *versions; /* signed versions of policies that records name; none: no such section */
	size_t version_count;
};

enum { RECEIPT_SECTIONS = SECTION_JOB, RECEIPT_SECTIONS_MAX = SECTION_POLICY_VERSIONS };

struct receipt_sections {
	struct bytes bytes[RECEIPT_SECTIONS_MAX];
	struct receipt_section sections[RECEIPT_SECTIONS_MAX]; /* borrow from bytes */
	struct receipt_section_row rows[RECEIPT_SECTIONS_MAX];
	size_t count; /* RECEIPT_SECTIONS, and one more each with platform evidence, reference sets and other roots */
};

void receipt_sections_free(struct receipt_sections *sections);
NODISCARD result receipt_sections_make(const struct receipt_parts *parts, struct receipt_sections *out);

#endif
