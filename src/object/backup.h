/*
 * A backup of a root (docs/BACKUP.md): the secure processor's storage keys, readable only by k of the n holders of the
 * recovery set together, and only for a secure processor that they recover. It holds no signing key and no seed: whoever
 * restores continues by a recovery epoch and is never a clone of what was backed up.
 *
 *   B random; shares of B (crypto/shamir.h, k of n, number = place in the recovery set, from 1)
 *   box_i  = BOX(holder i, "backup-share", rot_id ‖ id ‖ u8 i, share_i)
 *   ct     = AE(EX(B, "keys", rot_id ‖ id, 32), rot_id ‖ id, keys), protocol word "backup1";
 *            keys = (u32 version ‖ 32 bytes) of each storage key, the current one first
 *
 * A holder opens its box with its own key and boxes the share anew, for the secure processor whose candidate record it was
 * shown and signs: BOX(candidate kem_pk, "restore-share", backup oid ‖ H(candidate payload) ‖ u8 i, share_i).
 */
#ifndef TROTH_OBJECT_BACKUP_H
#define TROTH_OBJECT_BACKUP_H

#include "crypto/box.h"
#include "object/epoch.h"

enum { BACKUP_ID_SIZE = 16, BACKUP_MAX = 32 * 1024, BACKUP_KEY_SIZE = 32, BACKUP_MAX_KEYS = 8, BACKUP_MAX_HOLDERS = 32 };
enum { BACKUP_ROW_SIZE = 4 + 32, BACKUP_SHARE_BOX = BACKUP_KEY_SIZE + BOX_OVERHEAD };

struct backup_holder {
	uint8_t number;
	uint8_t key[KEY_ID_SIZE]; /* SPKI hash, as in the recovery set */
	uint8_t box[BACKUP_SHARE_BOX];
};
extern const struct schema backup_holder_schema;

struct backup {
	uint8_t v;
	uint8_t id[BACKUP_ID_SIZE];
	uint8_t rot_id[OID_SIZE];
	uint32_t era;
	uint64_t epoch;
	uint8_t epoch_oid[OID_SIZE]; /* E whose key signed this, and whose recovery set holds the shares */
	uint64_t time;
	const char *trust_domain;
	uint8_t k;
	struct backup_holder *holders; /* ascending by number: the whole recovery set */
	size_t holder_count;
	struct span ciphertext;
};
extern const struct schema backup_schema;

/* One holder's answer: its share for the candidate, and its signature under the candidate record. A file of its own. */
struct restore_share {
	uint8_t v;
	uint8_t backup_oid[OID_SIZE];
	uint8_t payload_digest[SHA256_SIZE]; /* H(candidate payload) */
	uint8_t number;
	uint8_t box[BACKUP_SHARE_BOX];
	struct span spki;		   /* of the holder */
	uint8_t signature[SIGNATURE_SIZE]; /* of the candidate, as one of its recovery signatures */
};
extern const struct schema restore_share_schema;
enum { RESTORE_SHARE_MAX = 4096 };

/* Opens a backup: signed by `signer`, an epoch key of a chain that the caller follows. BACKUP_DAMAGED. */
NODISCARD result backup_open(struct span bytes, const struct key *signer, struct arena *arena, struct backup *out,
	uint8_t out_oid[static OID_SIZE]);
/* Decodes without verifying: for looking up who must have signed. BACKUP_DAMAGED. */
NODISCARD result backup_peek(struct span bytes, struct arena *arena, struct backup *out, uint8_t out_oid[static OID_SIZE]);

/* NULL when the key holds no share. */
const struct backup_holder *backup_find_holder(const struct backup *backup, const uint8_t key_id[static KEY_ID_SIZE]);

/* aad of a holder's box, and of a share for a candidate. */
enum { BACKUP_AAD_SIZE = OID_SIZE + BACKUP_ID_SIZE + 1, RESTORE_AAD_SIZE = OID_SIZE + SHA256_SIZE + 1 };
void backup_share_aad(const struct backup *backup, uint8_t number, uint8_t out[static BACKUP_AAD_SIZE]);
void restore_share_aad(const uint8_t backup_oid[static OID_SIZE], const uint8_t payload_digest[static SHA256_SIZE], uint8_t number,
	uint8_t out[static RESTORE_AAD_SIZE]);
/* The key that `ciphertext` is under, from the shared secret. */
NODISCARD result backup_content_key(const struct backup *backup, const struct secret *shared, struct secret *out);

/*
 * A holder's step, on the holder's own machine: opens the share of `holder` (a private key), and boxes and signs it for the
 * candidate. The caller has verified the backup and shown the candidate's measurement. HOLDER_FOREIGN, BACKUP_DAMAGED (a
 * box that does not open), BACKUP_FOREIGN (a candidate of another root).
 */
NODISCARD result restore_share_make(const struct backup *backup, const uint8_t backup_oid[static OID_SIZE], struct span candidate,
	const struct key *holder, struct bytes *out);

#endif
