/*
 * What the files of the IECP engine share and nobody else includes: the wire forms of M1..M3, the transcript and
 * key schedule, and how a handshake becomes a channel. Byte tables: docs/PROTOCOL.iecp.
 */
#ifndef TROTH_ENCLAVE_IECP_INTERNAL_H
#define TROTH_ENCLAVE_IECP_INTERNAL_H

#include "base/reader.h"
#include "base/secret.h"
#include "crypto/aead.h"
#include "enclave/iecp.h"
#include "enclave/iecp_channel.h"
#include "enclave/iecp_rekey.h"

enum {
	IECP_EPOCH_SIZE = 76,
	IECP_KEY_SIZE = 32,
	IECP_WRAP_SIZE = IECP_KEY_SIZE + AEAD_TAG_SIZE,
	IECP_HYBRID_KEY_SIZE = MLKEM_KEY_SIZE,
	IECP_HYBRID_CT_SIZE = MLKEM_CT_SIZE,
	/* ver, suite, nonce, point, lv(ct), wrap, length of the box */
	IECP_MAX_M2 = 1 + 2 + IECP_NONCE_SIZE + POINT_SIZE + 4 + IECP_HYBRID_CT_SIZE + IECP_WRAP_SIZE + 4 + IECP_MAX_BOX,
	IECP_MAX_M3 = 4 + IECP_MAX_BOX,
};

/* ---- Messages. Decoding borrows from the input and checks form only. ---- */

struct iecp_m1 {
	uint16_t suites[IECP_MAX_SUITES];
	size_t suite_count;
	struct span nonce;
	struct iecp_epoch epoch;
	struct span certificate;
	struct span ephemeral;
	struct span hybrid_key; /* empty unless suite 2 is offered */
};

struct iecp_m2 {
	uint16_t suite;
	struct span head; /* everything up to and including ct: what th1 covers */
	struct span ephemeral;
	struct span hybrid_ct; /* empty unless the suite is 2 */
	struct span wrap;
	struct span box;
};

struct iecp_box_r {
	struct span epoch_bytes;
	struct iecp_epoch epoch;
	struct span certificate;
	struct span evidence;
	struct span signature;
	struct span finished;
};

struct iecp_box_i {
	struct span evidence;
	struct span signature;
	struct span finished;
};

NODISCARD result iecp_m1_decode(struct span message, struct iecp_m1 *out);
NODISCARD result iecp_m2_decode(struct span message, struct iecp_m2 *out);
NODISCARD result iecp_m3_decode(struct span message, struct span *out_box);
NODISCARD result iecp_box_r_decode(struct span plain, struct iecp_box_r *out);
NODISCARD result iecp_box_i_decode(struct span plain, struct iecp_box_i *out);

bool iecp_m1_offers(const struct iecp_m1 *m1, uint16_t suite);
void iecp_epoch_put(struct writer *w, const struct iecp_epoch *epoch);

/* The content of a frame that is exactly one frame of at most `max` bytes of content. */
NODISCARD result iecp_unframe(struct span frame, size_t max, struct span *out);

/* ---- Transcript and keys ---- */

/* All secrets of one handshake but the private keys; lives in secret memory, wiped as a whole. */
struct iecp_keys {
	/* ss: both ECDHs, then mlkem_ss; the schedule puts psk behind those that the suite has. */
	uint8_t inputs[2 * ECDH_SIZE + MLKEM_SECRET_SIZE + IECP_KEY_SIZE];
	uint8_t psk[IECP_KEY_SIZE];
	uint8_t extracted[IECP_KEY_SIZE];	       /* P */
	uint8_t kek[IECP_KEY_SIZE];
	uint8_t drawn[IECP_KEY_SIZE];  /* K_B */
	uint8_t session[IECP_KEY_SIZE]; /* S */
	uint8_t box_r[IECP_KEY_SIZE], box_i[IECP_KEY_SIZE];
	uint8_t finish_r[IECP_KEY_SIZE], finish_i[IECP_KEY_SIZE];
	uint8_t master[IECP_KEY_SIZE]; /* Amaster */
};

/* th1; `m1` and `m2_head` without frames. */
NODISCARD result iecp_transcript_start(struct span psk_id, struct span m1, struct span m2_head, uint8_t out[static 32]);
/* th = H(th ‖ a ‖ b); each piece with its length first when `lv`. An empty span with lv is four zero bytes. */
NODISCARD result iecp_transcript_add(uint8_t th[static 32], struct span piece);
NODISCARD result iecp_transcript_add_lv(uint8_t th[static 32], struct span piece);
NODISCARD result iecp_transcript_add_lv2(uint8_t th[static 32], struct span first, struct span second);

/* P and kek from keys->inputs and keys->psk. */
void iecp_schedule_kek(struct iecp_keys *keys, uint16_t suite, const uint8_t th1[static 32]);
/* S, box and finished keys from P and the drawn key. */
void iecp_schedule_session(struct iecp_keys *keys, const uint8_t th2[static 32]);
void iecp_schedule_master(struct iecp_keys *keys, const uint8_t th9[static 32]);

/* What evidence covers: SHA-512("troth-iecp1 ev" ‖ role ‖ th ‖ H(SPKI)). */
void iecp_bind(enum iecp_role role, const uint8_t th[static 32], const uint8_t key_id[static KEY_ID_SIZE],
	uint8_t out[static IECP_BIND_SIZE]);

/* What a side signs: "troth-iecp1 sig" ‖ 00 ‖ role ‖ th. */
enum { IECP_SIGNED_SIZE = 15 + 1 + 1 + 32 };
void iecp_signed(enum iecp_role role, const uint8_t th[static 32], uint8_t out[static IECP_SIGNED_SIZE]);

/* ---- Channel ---- */

enum {
	IECP_LAST_GENERATION = UINT16_MAX,
	/* Records of a generation that a sender leaves to CLOSE, ALERT, HS, SWITCH and KEYUPDATE. */
	IECP_KEPT_RECORDS = 16,
};

struct iecp_direction {
	struct aead aead;
	uint8_t iv[AEAD_NONCE_SIZE];
	uint16_t generation;
	bool closed;	   /* by CLOSE or ALERT */
	uint64_t sequence; /* of the next record */
	uint64_t bytes;	   /* of plaintext so far, in this generation */
};

/* What later derivations need; in secret memory. */
struct iecp_channel_secrets {
	uint8_t traffic_out[IECP_KEY_SIZE], traffic_in[IECP_KEY_SIZE];
	uint8_t psk[IECP_KEY_SIZE];
	uint8_t exporter[IECP_KEY_SIZE];
};

struct iecp_channel {
	uint64_t fork_tag;
	enum reason failed; /* OK while alive */
	uint64_t until_steady_ms;
	struct iecp_direction out, in;
	uint64_t keyupdate_bytes; /* own wish for a direction and generation; 0: none */
	struct secret memory;
	struct iecp_channel_secrets *secrets; /* in `memory` */
	uint8_t id[IECP_CHANNEL_ID_SIZE];
	uint16_t suite; /* of the last handshake */
	struct iecp_peer peer;
	/* For re-handshakes: this side as it was when the channel was opened. */
	enum iecp_role role; /* then: decides whose M1 wins */
	uint8_t own_sign_id[KEY_ID_SIZE], own_kem_point[POINT_SIZE], own_rot_id[32];
	struct iecp_rekey *rekey; /* NULL: this side does not re-handshake */
};

/* Takes *peer over on success. */
NODISCARD result iecp_channel_new(enum iecp_role role, const uint8_t master[static IECP_KEY_SIZE], struct iecp_time now,
	struct iecp_peer *peer, struct iecp_channel **out);
void iecp_channel_set_own(struct iecp_channel *channel, const struct iecp_config *config);

/* Seals an HS or SWITCH record. */
NODISCARD result iecp_seal_control(struct iecp_channel *channel, enum iecp_record_type type, struct span plain, uint8_t *out);
/* New keys, the next generation, sequence 0; the old key is gone. REKEY_NEEDED after the last generation. */
NODISCARD result iecp_direction_replace(struct iecp_direction *d, const uint8_t traffic[static IECP_KEY_SIZE], bool sealing);

/* iecp_rekey.c: an authentic SWITCH has arrived. UNEXPECTED_RECORD unless the handshake has verified. */
NODISCARD result iecp_rekey_switched(struct iecp_channel *channel);
void iecp_rekey_free(struct iecp_channel *channel);

/* For tests of the limits: pretends that so much has been sealed or opened already. */
void iecp_channel_set_progress(struct iecp_channel *channel, bool sealing, uint64_t sequence, uint64_t bytes);

void iecp_channel_set_generation(struct iecp_channel *channel, bool sealing, uint16_t generation);

/* For tests that look at memory: where a handshake's secrets are. Borrowed; NULL once they are gone. */
const struct iecp_keys *iecp_secrets(const struct iecp *handshake);

#endif
