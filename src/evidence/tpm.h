/*
 * Verifier of TPM 2.0 evidence (evidence.md "Verifiers"; adversary.md EV-30..36, EV-44). No I/O, no clock: roots, enrolled
 * keys, expected values and the time come from the caller. Each refusal has a reason of its own and says what failed.
 *
 * tpm_quote_verify judges one quote over given PCR values; tpm_evidence_verify judges a whole envelope: certificate chain of
 * the endorsement key, enrolment, attestation key, quote, binding to epoch and boot log, mirror of the phases.
 */
#ifndef TROTH_EVIDENCE_TPM_H
#define TROTH_EVIDENCE_TPM_H

#include "evidence/event_log.h"
#include "object/evidence.h"

struct pcr_value {
	uint16_t bank;
	uint8_t index;
	struct span value;
};

/* TPM_AK_UNFIT unless restricted, signing, not decrypting, fixed to this TPM and made in it, with a fixed scheme. */
NODISCARD result tpm_ak_check(const struct tpm_public *ak);
/* The attest names `ak` as its signer: a primary key of the endorsement or the owner hierarchy. TPM_SIGNER_MISMATCH. */
NODISCARD result tpm_signer_check(const struct tpm_attest *attest, const struct tpm_public *ak);

struct tpm_quote {
	struct span attest; /* TPMS_ATTEST */
	struct platform_signature signature;
	const struct platform_key *ak;
	const struct pcr_value *pcrs; /* exactly the selected ones */
	size_t pcr_count;
	uint16_t bank;	  /* the one bank that must be selected; 0: any */
	struct span nonce; /* extraData must be this */
	bool any_nonce;
};
/*
 * TPM_NOT_A_QUOTE, BAD_SIGNATURE, TPM_NONCE_MISMATCH, TPM_SELECTION_MISMATCH, TPM_WRONG_BANK, TPM_PCR_MISMATCH, parse reasons.
 */
NODISCARD result tpm_quote_verify(const struct tpm_quote *quote, struct tpm_attest *out);

/*
 * The log leads to those of the values that it extends (EVENT_LOG_MISMATCH), and says nothing of a PCR below `boot_pcrs`
 * that is not among them: a log that measures more than was quoted is not covered. boot_pcrs = 0 leaves that open.
 */
NODISCARD result tpm_log_check(struct span log, uint16_t bank, const struct pcr_value *pcrs, size_t pcr_count, uint32_t boot_pcrs,
	struct replay *out);

/* An attestation key that somebody saw answer a challenge that only the named TPM could open. */
struct tpm_enrolled {
	uint8_t ak_name[SHA256_SIZE]; /* SHA-256 of its TPM name */
	uint8_t ek_id[SHA256_SIZE];   /* SHA-256 of the endorsement key's SubjectPublicKeyInfo */
};

/* A PCR that must have one of some values. */
struct tpm_reference {
	uint8_t index;
	struct span value;
};

struct tpm_trust {
	const struct span *roots; /* DER */
	size_t root_count;
	const struct tpm_enrolled *enrolled;
	size_t enrolled_count;
	const struct tpm_reference *references; /* several rows of one PCR: any of them */
	size_t reference_count;
	bool allow_synthetic;
};

struct tpm_expectation {
	uint64_t at_ms;	       /* for certificates and age */
	uint64_t max_age_ms;   /* 0: any age */
	const uint8_t *epoch_oid; /* OID_SIZE bytes; NULL: any */
	const uint64_t *boot_gen; /* NULL: any */
	struct span nonce;     /* empty: any */
};

struct tpm_verdict {
	unsigned level;	       /* 2, or 1 when synthetic evidence is not allowed */
	bool synthetic;	       /* the root is none of the built-in ones: own CA, simulator */
	enum reason capped_by; /* OK at level 2 */
	uint8_t ak_name[SHA256_SIZE], ek_id[SHA256_SIZE];
	uint64_t time, boot_gen, seq;
	uint8_t epoch_oid[OID_SIZE];
	struct register_value registers[REGISTER_COUNT]; /* what the boot log leads to; zero beyond PLATFORM_REGISTERS */
	uint32_t pcrs; /* quoted */
	uint32_t reset_count, restart_count;
};

/* EVIDENCE_UNKNOWN for another media type, and all the reasons above and of reason.def 540..569. */
NODISCARD result tpm_evidence_verify(struct span envelope, const struct tpm_trust *trust, const struct tpm_expectation *expected,
	struct arena *arena, struct tpm_verdict *out);

/* Whether a root's certificate is one of the makers' that this version knows. */
bool tpm_root_is_builtin(struct span der);

#endif
