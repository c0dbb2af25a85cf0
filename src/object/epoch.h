/*
 * Root of trust epoch records (constructions/epochs.md): who a host is, which keys speak for it and which keys may
 * follow. The record is a COSE_Sign object; its oid is taken over the body.
 */
#ifndef TROTH_OBJECT_EPOCH_H
#define TROTH_OBJECT_EPOCH_H

#include "object/object.h"

enum epoch_reason { EPOCH_INCEPTION = 0, EPOCH_SCHEDULED = 1, EPOCH_EVENT = 2, EPOCH_OPERATOR = 3, EPOCH_SET_RECOVERY = 4, EPOCH_RECOVERY = 5 };
enum epoch_counter_kind { COUNTER_NONE = 0, COUNTER_TPM_NV = 1 };
enum epoch_state { EPOCH_ACTIVE = 1 };
enum { SUITE_P256 = 1, SUITE_P256_MLKEM768 = 2 };
enum { EPOCH_RECORD_MAX = 16 * 1024 };

struct epoch_recovery {
	uint8_t k, n;
	struct digest32 *keys; /* SPKI hashes, sorted */
	size_t key_count;
};

struct epoch_counter {
	uint8_t kind;
	uint64_t value;
};

struct epoch {
	uint8_t v;
	uint8_t rot_id[OID_SIZE]; /* all zero in E_1: the id is oid(E_1) */
	uint32_t era;
	uint64_t epoch; /* E_1 has 1 */
	uint8_t prev[OID_SIZE]; /* all zero in E_1 */
	uint16_t suite;
	uint8_t sign_pk[POINT_SIZE];
	uint8_t kem_pk[POINT_SIZE];
	uint8_t salt[32];
	uint8_t next[SHA256_SIZE]; /* H("troth rot next" ‖ sign_pk' ‖ kem_pk' ‖ salt') */
	struct epoch_recovery recovery;
	bool has_recovery; /* null: no record can ever recover this root */
	uint64_t not_before, not_after;
	uint32_t grace_s;
	struct epoch_counter counter;
	uint8_t measurement[SHA384_SIZE]; /* of the troth-ap binary that made the record */
	uint8_t state;
	uint8_t reason;
};

extern const struct schema epoch_schema;
extern const struct schema epoch_recovery_schema;

/* The commitment to a later record's keys and salt. */
void epoch_next_commitment(const uint8_t sign_pk[static POINT_SIZE], const uint8_t kem_pk[static POINT_SIZE],
	const uint8_t salt[static 32], uint8_t out[static SHA256_SIZE]);

/*
 * Judges an inception record on its own: strict form, self-signed, epoch 1, era 0, zero rot_id and prev. Says nothing
 * about trust: only a pinned rot_id does. out_oid is the rot_id.
 */
NODISCARD result epoch_open_inception(struct span bytes, struct arena *arena, struct epoch *out, uint8_t out_oid[static OID_SIZE]);

/* For people: "abcd-efgh-..." groups of the base32 rot label; needs EPOCH_FINGERPRINT_SIZE bytes. */
enum { ROT_LABEL_SIZE = 53, EPOCH_FINGERPRINT_SIZE = 80 };
void rot_label(const uint8_t rot_id[static OID_SIZE], char out[static ROT_LABEL_SIZE]);
void rot_fingerprint(const uint8_t rot_id[static OID_SIZE], char out[static EPOCH_FINGERPRINT_SIZE]);

#endif
