/*
 * The receipt's outer form (constructions/objects.md "Receipt"; docs/PROTOCOL.receipt):
 *   {1: head, 2: [[id, bytes]...], 3: SHA-256 of all bytes before this value}
 * The head names every section by id and digest; no byte lies outside a digest.
 */
#ifndef TROTH_OBJECT_RECEIPT_H
#define TROTH_OBJECT_RECEIPT_H

#include "object/report.h"

enum section_id {
	SECTION_EPOCHS = 1,	/* [bstr]: epoch records, inception first; then recovery keys (SPKI), sorted */
	SECTION_CERTIFICATES = 2, /* [bstr]: DER leaves, sorted */
	SECTION_REPORTS = 3,	/* [bstr]: launch reports, sorted by oid */
	SECTION_RECORDS = 4,	/* [bstr]: DAC records, topological then by oid */
	SECTION_MANIFESTS = 5,	/* [bstr] in the job's order of enclaves */
	SECTION_POLICIES = 6,	/* [bstr]: compiled policies, sorted, each once */
	SECTION_GRANTS = 7,	/* [bstr]: unseal grants, sorted */
	SECTION_STATEMENTS = 8, /* [bstr]: statements, sorted */
	SECTION_SALTS = 9,	/* [{commit, salt}]: of declared external inputs and outputs */
	SECTION_JOB = 10,	/* compiled job */
	SECTION_PLATFORM = 11,	/* [bstr]: platform evidence, sorted; not critical, and only where there is some */
	SECTION_REFERENCES = 12, /* [bstr]: reference sets that policies name, sorted; not critical, and only where one is used */
	SECTION_ROOTS = 13, /* [[rot_id, bstr]...]: roots of the other hosts, each with its epochs as in section 1; only of a run on several */
	SECTION_POLICY_VERSIONS = 14, /* [bstr]: signed versions of policies that records name, sorted; only where one is used */
	SECTION_LEDGER = 32, SECTION_GUESTS = 33, SECTION_SERVICES = 34, /* reserved */
};

struct receipt_section_row {
	uint16_t id;
	uint8_t digest[SHA256_SIZE];
	bool critical;
};

struct receipt_head {
	uint8_t v;
	uint8_t run_id[RUN_ID_SIZE];
	uint8_t rand[32];
	uint8_t nonce[32];
	bool has_nonce;
	uint8_t job_digest[SHA256_SIZE];
	uint8_t rot_id[OID_SIZE];
	uint8_t epoch_oid[OID_SIZE];
	uint64_t boot_gen;
	uint64_t seq;
	uint8_t prev[OID_SIZE];
	bool has_prev;
	uint64_t time;
	const char *recorder; /* "journal" */
	struct digest32 *roots; /* sorted: final DERIVE of every sink */
	size_t root_count;
	struct receipt_section_row *sections; /* sorted by id */
	size_t section_count;
};
extern const struct schema receipt_head_schema;
extern const struct schema receipt_section_row_schema;

struct receipt_section {
	uint16_t id;
	struct span bytes;
};
struct receipt {
	struct span head; /* COSE_Sign1 */
	struct receipt_section *sections;
	size_t section_count;
};
struct salt_row {
	uint8_t commit[SHA256_SIZE];
	uint8_t salt[32];
};
extern const struct schema salt_row_schema;
/* A section that is a list of byte strings. */
struct bytes_list {
	struct bytes_item *items;
	size_t count;
};
extern const struct schema bytes_list_schema;
struct salt_list {
	struct salt_row *rows; /* sorted */
	size_t count;
};
extern const struct schema salt_list_schema;

/* The section of a run on several hosts. */
struct receipt_root_row {
	uint8_t rot_id[OID_SIZE];
	struct span epochs; /* encoded bytes_list: epoch records from its inception, then recovery keys */
};
struct receipt_roots {
	struct receipt_root_row *rows; /* sorted */
	size_t count;
};
extern const struct schema receipt_root_row_schema, receipt_roots_schema;

/* H("troth run1" ‖ job digest ‖ lv(nonce or empty) ‖ rand32). */
void run_id_compute(const uint8_t job_digest[static SHA256_SIZE], struct span nonce, const uint8_t rand[static 32],
	uint8_t out[static RUN_ID_SIZE]);

NODISCARD result receipt_encode(struct span head, const struct receipt_section *sections, size_t count, struct bytes *out);
/* Checks the outer form and the checksum (DIGEST_MISMATCH), nothing else. Borrows from `bytes`. */
NODISCARD result receipt_decode(struct span bytes, struct arena *arena, struct receipt *out);

#endif
