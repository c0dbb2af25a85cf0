/*
 * A TPM 2.0 over an open descriptor: /dev/tpmrm0, or the data socket of a simulator. Thin over tss2 ESYS; the transport is
 * our own, because its user (the secure processor) has no filesystem and no other descriptor. One user at a time; every
 * answer has a deadline. Over a socket, whose other end may go away, the user's process ignores SIGPIPE.
 *
 * Sessions are salted with a key of the TPM, and secrets travel encrypted between this process and the TPM.
 *
 * TPM_UNAVAILABLE: the TPM does not answer, is locked out, or refuses; the text has the call and the TPM's own code.
 */
#ifndef TROTH_CRYPTO_TPM_H
#define TROTH_CRYPTO_TPM_H

#include "base/bytes.h"
#include "base/secret.h"
#include "crypto/hash.h"

struct tpm;

enum { TPM_PCRS = 24, TPM_SEALED_MAX = 128, TPM_NONCE_MAX = 32 };
/* A set of PCRs of the SHA-256 bank: bit n is PCR n. */
typedef uint32_t tpm_pcr_set;

/* `fd` stays the caller's and must outlive the TPM. Ends what a former user of a raw TPM left loaded. */
NODISCARD result tpm_open(int fd, struct tpm **out);
void tpm_close(struct tpm *tpm); /* accepts NULL */

/* 1..1024 bytes of the TPM's generator. */
NODISCARD result tpm_random(struct tpm *tpm, uint8_t *out, size_t len);

/* A secret that this TPM gives back only while `pcrs` have the values of now. */
NODISCARD result tpm_seal(struct tpm *tpm, tpm_pcr_set pcrs, struct span secret, struct bytes *out_blob);
/* TPM_FOREIGN: sealed by another TPM, or this one was cleared. TPM_STATE_CHANGED: the PCRs have other values. */
NODISCARD result tpm_unseal(struct tpm *tpm, struct span blob, struct secret *out);

/*
 * A counter that only grows, in the TPM's own memory. It is made once, at enrolment; taking it away needs the owner's
 * authorisation; reading and counting need `auth`. A new counter of the same place never starts below an old one.
 */
enum { TPM_COUNTER_AUTH_SIZE = 32 };
NODISCARD result tpm_counter_define(struct tpm *tpm, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint32_t *out_index, uint64_t *out_value);
/* TAMPERED when there is no such counter, or none of this kind and authorisation. */
NODISCARD result tpm_counter_read(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint64_t *out);
NODISCARD result tpm_counter_increment(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE]);
NODISCARD result tpm_counter_remove(struct tpm *tpm, uint32_t index);

/*
 * A few bytes in the TPM's own memory, beside the counter and guarded like it. They can be written again: what they may
 * become is judged by who writes.
 */
enum { TPM_RECORD_SIZE = 52 };
NODISCARD result tpm_record_define(struct tpm *tpm, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint32_t *out_index);
/* All zero after tpm_record_define. TAMPERED as above. */
NODISCARD result tpm_record_read(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE],
	uint8_t out[static TPM_RECORD_SIZE]);
NODISCARD result tpm_record_write(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE],
	const uint8_t bytes[static TPM_RECORD_SIZE]);
NODISCARD result tpm_record_remove(struct tpm *tpm, uint32_t index);

/*
 * A head that is only extended: head' = SHA-256(head ‖ digest), from SHA-256 of 64 zero bytes on, in the TPM's own memory and guarded
 * like the counter. What was extended once cannot be taken back, but by taking the whole index away with the owner's
 * authorisation: whoever made it then finds TAMPERED. Each step is a write of the TPM's memory, which wears.
 */
NODISCARD result tpm_head_define(struct tpm *tpm, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint32_t *out_index);
NODISCARD result tpm_head_read(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], uint8_t out[static SHA256_SIZE]);
NODISCARD result tpm_head_extend(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE],
	const uint8_t digest[static SHA256_SIZE]);
/* The attestation key's word for the head as it is now, over the nonce: TPMS_ATTEST (TPM2_NV_Certify) and TPMT_SIGNATURE. */
NODISCARD result tpm_head_certify(struct tpm *tpm, uint32_t index, const uint8_t auth[static TPM_COUNTER_AUTH_SIZE], struct span nonce,
	struct bytes *out_attest, struct bytes *out_signature);
NODISCARD result tpm_head_remove(struct tpm *tpm, uint32_t index);

NODISCARD result tpm_pcr_read(struct tpm *tpm, tpm_pcr_set pcrs, uint8_t out[static TPM_PCRS][SHA256_SIZE]);
/* Sets a PCR of application use (16, 23) to zero. */
NODISCARD result tpm_pcr_reset(struct tpm *tpm, unsigned pcr);
NODISCARD result tpm_pcr_extend(struct tpm *tpm, unsigned pcr, const uint8_t digest[static SHA256_SIZE]);

/* Who this TPM is. Keys are primary keys: the same each time they are made from the same seed. */
struct tpm_identity {
	struct bytes ek_public;	     /* TPMT_PUBLIC */
	struct bytes ek_certificate; /* DER; empty when the maker put none into the TPM */
	struct bytes ak_public;	     /* TPMT_PUBLIC: P-256, ECDSA with SHA-256, restricted */
};
void tpm_identity_free(struct tpm_identity *identity);
NODISCARD result tpm_identify(struct tpm *tpm, struct tpm_identity *out);

/* Quote by the attestation key: TPMS_ATTEST and TPMT_SIGNATURE. */
NODISCARD result tpm_quote(struct tpm *tpm, struct span nonce, tpm_pcr_set pcrs, struct bytes *out_attest, struct bytes *out_signature);

/*
 * Opens a credential that was made for the endorsement key and the name of the attestation key: TPM2B_ID_OBJECT and
 * TPM2B_ENCRYPTED_SECRET with their sizes. TPM_CHALLENGE_FAILED when it was made for others.
 */
NODISCARD result tpm_activate(struct tpm *tpm, struct span credential, struct span encrypted, struct secret *out);

/* TPM2_VerifySignature: ECDSA on P-256 with SHA-256, point 04 ‖ x ‖ y, signature r ‖ s. BAD_SIGNATURE. */
NODISCARD result tpm_verify_signature(struct tpm *tpm, const uint8_t point[static 65], const uint8_t digest[static SHA256_SIZE],
	const uint8_t signature[static 64]);

#endif
