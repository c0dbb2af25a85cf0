/*
 * Structures of TPM 2.0 that come from outside (TPM 2.0 Library, Part 2): read, never cast; spans borrow from the input.
 * Every reader refuses counts and sizes beyond what the library allows before it uses them, and bytes left over.
 */
#ifndef TROTH_EVIDENCE_TPM_STRUCTURE_H
#define TROTH_EVIDENCE_TPM_STRUCTURE_H

#include "base/reader.h"
#include "base/writer.h"
#include "crypto/platform_key.h"

enum tpm_algorithm {
	TPM_RSA = 0x0001,
	TPM_SHA1 = 0x0004,
	TPM_SHA256 = 0x000b,
	TPM_SHA384 = 0x000c,
	TPM_SHA512 = 0x000d,
	TPM_NULL = 0x0010,
	TPM_RSASSA = 0x0014,
	TPM_RSAPSS = 0x0016,
	TPM_ECDSA = 0x0018,
	TPM_ECC = 0x0023,
};
enum { TPM_PCR_COUNT = 24, TPM_BANKS_MAX = 8, TPM_NAME_MAX = 2 + DIGEST_MAX };
enum tpm_handle { TPM_OWNER = 0x40000001, TPM_ENDORSEMENT = 0x4000000b };
enum tpm_attribute { /* TPMA_OBJECT */
	TPM_FIXED_TPM = 1u << 1,
	TPM_FIXED_PARENT = 1u << 4,
	TPM_SENSITIVE_DATA_ORIGIN = 1u << 5,
	TPM_RESTRICTED = 1u << 16,
	TPM_DECRYPT = 1u << 17,
	TPM_SIGN = 1u << 18,
};

/* 0: no digest that Troth computes. */
enum platform_digest tpm_digest(uint16_t algorithm);
const char *tpm_algorithm_name(uint16_t algorithm);

struct tpm_selection {
	uint16_t bank;
	uint32_t pcrs; /* bit n: PCR n */
};

/* TPMS_ATTEST of a quote. TPM_NOT_A_QUOTE for another magic or type. */
struct tpm_attest {
	struct span whole;
	struct span signer;	/* qualified name */
	struct span extra_data; /* the caller's challenge */
	uint64_t clock;		/* ms of the TPM's own clock */
	uint32_t reset_count, restart_count;
	bool clock_safe;
	uint64_t firmware_version;
	struct tpm_selection selections[TPM_BANKS_MAX];
	size_t selection_count;
	struct span pcr_digest;
};
NODISCARD result tpm_attest_parse(struct span bytes, struct tpm_attest *out);

/* TPMT_PUBLIC of an RSA or ECC key. */
struct tpm_public {
	struct span whole;
	uint16_t type, name_algorithm;
	uint32_t attributes;
	struct span policy;
	uint16_t symmetric_bits; /* of what lies below a decryption key; 0: none */
	uint16_t scheme, scheme_digest; /* TPM_NULL: none fixed */
	uint16_t curve;			/* ECC: TPM_ECC_CURVE */
	uint32_t exponent;		/* RSA */
	struct span modulus, x, y;
};
NODISCARD result tpm_public_parse(struct span bytes, struct tpm_public *out);
/* Name = algorithm ‖ H(public area); returns its length. UNSUPPORTED_ALGORITHM unless SHA-256, -384 or -512. */
NODISCARD result tpm_public_name(const struct tpm_public *public, uint8_t out[static TPM_NAME_MAX], size_t *out_len);
/* Name of a primary key under `hierarchy` as an attest names its signer: algorithm ‖ H(hierarchy ‖ name). */
NODISCARD result tpm_qualified_name(uint16_t name_algorithm, uint32_t hierarchy, struct span name, uint8_t out[static TPM_NAME_MAX],
	size_t *out_len);
NODISCARD result tpm_public_key(const struct tpm_public *public, struct platform_key *out);

/* TPMT_SIGNATURE: RSASSA, RSAPSS or ECDSA; else UNSUPPORTED_ALGORITHM. */
NODISCARD result tpm_signature_parse(struct span bytes, struct platform_signature *out);

#endif
