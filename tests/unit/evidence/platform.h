/* A TPM made of a key: attests, public areas and logs as a TPM writes them, each field at the test's will. */
#ifndef TROTH_TESTS_EVIDENCE_PLATFORM_H
#define TROTH_TESTS_EVIDENCE_PLATFORM_H

#include "crypto/key.h"
#include "evidence/tpm.h"

enum { AK_ATTRIBUTES = TPM_FIXED_TPM | TPM_FIXED_PARENT | TPM_SENSITIVE_DATA_ORIGIN | TPM_RESTRICTED | TPM_SIGN | 1u << 6 };
enum { EK_ATTRIBUTES = TPM_FIXED_TPM | TPM_FIXED_PARENT | TPM_SENSITIVE_DATA_ORIGIN | TPM_RESTRICTED | TPM_DECRYPT | 1u << 7 };

/* TPMT_PUBLIC of a P-256 key. */
size_t put_ecc_public(const struct key *key, uint32_t attributes, uint8_t out[static 256]);

struct fake_quote {
	uint32_t magic;
	uint16_t type;
	struct span signer, nonce;
	uint32_t selection_count; /* as declared */
	uint16_t bank;
	uint32_t pcrs;
	const uint8_t *values; /* 24 of 32 bytes */
	bool second_selection; /* the same bank again */
};
size_t put_attest(const struct fake_quote *quote, uint8_t out[static 512]);

/* TPMT_SIGNATURE by a P-256 key. */
size_t put_signature(const struct key *key, struct span message, uint8_t out[static 128]);

/* A self-signed CA, and an endorsement certificate by it over `ek`. DER; the caller frees. */
struct bytes make_root(const struct key *ca, const char *name);
struct bytes make_ek_certificate(const struct key *ek, const struct key *ca, struct span root, int64_t days, bool is_ca);

#endif
