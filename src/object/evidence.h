/*
 * The evidence envelope (docs/PROTOCOL.evidence): what a platform says about itself, whatever its technology. The body is of
 * the media type's format; it carries its own proof, so the envelope is not signed.
 *
 * And the body of the one type of this version: evidence of a TPM 2.0. The quote is over SHA-256 of a binding that names the
 * epoch, the boot and the boot log, so none of them can be exchanged below it.
 */
#ifndef TROTH_OBJECT_EVIDENCE_H
#define TROTH_OBJECT_EVIDENCE_H

#include "object/report.h"

enum { EVIDENCE_MAX = 128 * 1024, EVIDENCE_SUBMODULES_MAX = 16, PLATFORM_NONCE_MAX = 64 };
#define EVIDENCE_TPM_TYPE "application/vnd.troth.tpm-quote.v1+cbor"

struct evidence_submodule {
	const char *name;
	struct span evidence; /* an envelope */
};
struct evidence {
	const char *media_type;
	struct span body;
	struct evidence_submodule *submodules;
	size_t submodule_count;
	uint64_t seq; /* +1 per piece of evidence within a boot generation, from 1 */
	uint8_t prev[SHA256_SIZE]; /* SHA-256 of the envelope before; null at seq 1 */
	bool has_prev;
};
extern const struct schema evidence_schema;

/* The PCR that mirrors the boot log: application use, reset by the secure processor when it starts. */
enum { TPM_MIRROR_PCR = 23 };

struct tpm_pcr {
	uint8_t index;
	struct span value;
};
struct tpm_evidence {
	uint8_t v;
	struct bytes_item *ek_chain; /* DER, leaf first; may be empty: then only enrolment speaks for the key */
	size_t ek_chain_count;
	struct span ek_public; /* TPMT_PUBLIC */
	struct span ak_public; /* TPMT_PUBLIC */
	struct span attest;    /* TPMS_ATTEST */
	struct span signature; /* TPMT_SIGNATURE */
	uint16_t bank;	       /* TPM_ALG_ID */
	struct tpm_pcr *pcrs;  /* ascending */
	size_t pcr_count;
	struct bytes_item *log; /* events of registers 0..3, as the secure processor logged them */
	size_t log_count;
	uint8_t epoch_oid[OID_SIZE];
	uint64_t boot_gen;
	uint64_t time;	   /* the secure processor's word */
	struct span nonce; /* of whoever asked; may be empty */
};
extern const struct schema tpm_evidence_schema;

/* Events of the boot log whose registers are phases; launches are not part of platform evidence. */
enum { PLATFORM_REGISTERS = 4 };

/*
 * extraData of the quote: SHA-256("troth tpm quote1" ‖ encoding of {1: oid(E), 2: boot_gen, 3: time, 4: nonce, 5: seq,
 * 6: prev | null, 7: SHA-256 of lv of every log record}).
 */
NODISCARD result tpm_evidence_binding(const struct evidence *envelope, const struct tpm_evidence *body, uint8_t out[static SHA256_SIZE]);

/*
 * Which platforms are believed, and by whose word: of an auditor in the trust file, of an operator in the state folder
 * (`tpm.trust`), for the live decisions of enclaves.
 */
struct platform_enrolled {
	uint8_t ak[SHA256_SIZE]; /* H(name of the attestation key) */
	uint8_t ek[SHA256_SIZE]; /* H(SubjectPublicKeyInfo of the endorsement key) */
};
struct platform_pcr {
	uint8_t index;
	uint8_t value[SHA256_SIZE];
};
struct platform_trust {
	struct bytes_item *roots; /* DER */
	size_t root_count;
	struct platform_enrolled *enrolled;
	size_t enrolled_count;
	struct platform_pcr *pcrs; /* expected values of the SHA-256 bank; several of one PCR: any of them */
	size_t pcr_count;
	bool allow_synthetic;
};
extern const struct schema platform_trust_schema;
enum { PLATFORM_TRUST_MAX = 256 * 1024 };

#endif
