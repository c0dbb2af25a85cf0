/*
 * What a TPM says of the whole history of a host (docs/PROTOCOL.dac "Head proof"): the log of everything that one index of the
 * TPM was extended with, the TPM's own word for where that leads, over a verifier's nonce, and the secure processor's word
 * for when and by which root this was asked.
 */
#ifndef TROTH_OBJECT_HEAD_H
#define TROTH_OBJECT_HEAD_H

#include "object/epoch.h"

enum { HEAD_NONCE_MAX = 32, HEAD_LOG_MAX = 1 << 18, HEAD_ENTRY_MAX = 1 << 17, HEAD_OPENED_MAX = 1 << 16, HEAD_EPOCHS_MAX = 1 << 15 };
#define HEAD_PROOF_MAX ((size_t)16 << 20) /* what one item of a bundle may have */

/* When and by whom an index was made. Its digest is the first thing that the index was extended with. */
struct head_birth {
	uint8_t rot_id[OID_SIZE], epoch_oid[OID_SIZE];
	uint64_t boot_gen;
	uint64_t time;
};
extern const struct schema head_birth_schema;
/* SHA-256("troth head birth1" ‖ rot_id ‖ epoch oid ‖ u64 boot_gen ‖ u64 time) */
void head_birth_digest(const struct head_birth *birth, uint8_t out[static SHA256_SIZE]);

/* KIND_HEAD_PROOF, SIGN1 by the secure processor. */
struct head_statement {
	uint8_t v;
	uint8_t rot_id[OID_SIZE], epoch_oid[OID_SIZE];
	uint64_t boot_gen;
	uint64_t seq; /* of such statements in this boot, from 1 */
	uint64_t time;
	uint32_t index;
	struct span nonce; /* the verifier's */
	struct span ak_public; /* TPMT_PUBLIC */
	struct span attest, signature; /* TPMS_ATTEST of TPM2_NV_Certify, TPMT_SIGNATURE */
};
extern const struct schema head_statement_schema;

/* An index begins with SHA-256 of 64 zero bytes; each digest makes head = SHA-256(head ‖ digest). */
void head_begin(uint8_t head[static SHA256_SIZE]);
void head_step(uint8_t head[static SHA256_SIZE], const uint8_t digest[static SHA256_SIZE]);

/* One entry of the log whose content is shown: oids of records, in the order in which they were entered. */
struct head_opened {
	uint32_t at; /* in the log; 0 is the birth */
	struct digest32 *oids;
	size_t oid_count;
};
/* SHA-256("troth head entry1" ‖ u32 count ‖ oids) */
NODISCARD result head_entry_digest(const struct digest32 *oids, size_t count, uint8_t out[static SHA256_SIZE]);

/* All of it, as it stands in list 10 of a bundle. */
struct head_proof {
	uint8_t v;
	struct span statement;
	struct head_birth birth;
	struct digest32 *log; /* in order; the first is that of the birth */
	size_t log_count;
	struct head_opened *opened; /* by `at`, ascending */
	size_t opened_count;
	struct bytes_item *epochs; /* of the root, from the inception to that of the statement or further, then recovery keys */
	size_t epoch_count;
};
extern const struct schema head_proof_schema;

#endif
