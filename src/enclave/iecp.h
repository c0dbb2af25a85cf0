/*
 * IECP: the handshake of the inter-enclave channel (docs/PROTOCOL.iecp, constructions/iecp.md).
 *
 * An engine: bytes in, bytes out, no I/O and no clock of its own. One `struct iecp` runs one handshake of one
 * side and ends in a `struct iecp_channel` (iecp_channel.h):
 *
 *	initiator		 responder
 *	iecp_new		 iecp_new
 *	iecp_start -> M1	 iecp_receive(M1) -> M2
 *	iecp_receive(M2) -> M3	 iecp_receive(M3)
 *	iecp_take_channel	 iecp_take_channel
 *
 * Messages travel as frames: a u32 length, then that many bytes (what constructions write as lv(M)).
 *
 * The engine knows nothing of policies, roots or evidence; it asks `struct iecp_verifier`. A question that has
 * nobody to answer it is a denial. The first failure ends the handshake for good: its secrets are wiped and every
 * later call gives the same reason. Nothing is sent to the peer about a failed handshake; the caller closes.
 *
 * Ownership: everything in `struct iecp_config` is borrowed and must outlive the handshake. Peers handed to
 * callbacks are borrowed for the call.
 */
#ifndef TROTH_ENCLAVE_IECP_H
#define TROTH_ENCLAVE_IECP_H

#include "base/result.h"
#include "base/span.h"
#include "base/writer.h"
#include "crypto/hash.h"
#include "crypto/key.h"
#include "crypto/mlkem.h"
#include "enclave/iecp_half_open.h"

enum {
	IECP_VERSION = 1,
	IECP_SUITE_P256 = 1,   /* P-256, ES256, AES-256-GCM, SHA-256 */
	IECP_SUITE_HYBRID = 2, /* suite 1 and ML-KEM-768: recorded traffic stays closed to a later quantum computer */
	IECP_MAX_SUITES = 16,
	IECP_NONCE_SIZE = 32,
	IECP_BIND_SIZE = 64,
	IECP_NAME_MAX = 512,
	IECP_MAX_M1 = 16 * 1024,
	IECP_MAX_BOX = 64 * 1024,
	IECP_FRAME_HEADER = 4,
	IECP_HANDSHAKE_MS = 10 * 1000, /* a handshake that takes longer is refused */
	IECP_MAX_AGE_MS = 3600 * 1000, /* a channel that is older carries no data */
};

/* The byte that stands for each side in everything that is signed. */
enum iecp_role { IECP_INITIATOR = 1, IECP_RESPONDER = 2 };

/* The caller's clocks: wall for certificates, steady (monotonic) for ages. Milliseconds. */
struct iecp_time {
	uint64_t wall_ms;
	uint64_t steady_ms;
};

/* Which root of trust, at which epoch, vouches for a certificate. All zero: none, a pinned key does. */
struct iecp_epoch {
	uint8_t rot_id[32];
	uint32_t era;
	uint64_t epoch;
	uint8_t oid[32];
};

bool iecp_epoch_is_zero(const struct iecp_epoch *epoch);

/* Who the other side is. Filled by the verifier's `certificate`; `level` is raised by its `appraise`. */
struct iecp_peer {
	char name[IECP_NAME_MAX + 1]; /* endorsed name, or the name of the local rule for a pinned key */
	struct key sign_key;	      /* public; owned */
	uint8_t kem_point[POINT_SIZE];
	uint8_t certificate_digest[SHA256_SIZE];
	uint64_t not_after; /* of the certificate, wall ms: no channel lives longer */
	unsigned level;	    /* 0 from a certificate alone */
	struct iecp_epoch epoch;
};

void iecp_peer_free(struct iecp_peer *peer);

enum iecp_question {
	IECP_MAY_ANSWER,  /* responder: certificate is good; may this peer get an answer at all? (level is still 0) */
	IECP_MAY_REVEAL,  /* initiator: responder fully verified; may our own evidence go to it? */
	IECP_MAY_DELIVER, /* responder: initiator fully verified; may its data be delivered? */
};

/* All functions are required. Each may fail with any reason of its own, which ends the handshake. */
struct iecp_verifier {
	void *ctx;
	/*
	 * Is `chain` good at wall time `now`, under the local anchor for `epoch`, and for `expected_name` unless
	 * that is NULL? Fills *out_peer (zeroed on entry; the engine frees it, also after a failure).
	 */
	result (*certificate)(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected_name,
		uint64_t now_wall_ms, struct iecp_peer *out_peer);
	/* Writes own evidence over `bind`; nothing for a Level-0 side. */
	result (*produce)(void *ctx, const uint8_t bind[static IECP_BIND_SIZE], struct writer *out);
	/* Appraises the peer's evidence, which must cover `bind`, and sets peer->level. */
	result (*appraise)(void *ctx, struct span evidence, const uint8_t bind[static IECP_BIND_SIZE],
		struct iecp_peer *peer);
	result (*decide)(void *ctx, enum iecp_question question, const struct iecp_peer *peer);
};

/*
 * The post-quantum suite (policy field `pq`). A machine whose OpenSSL is older than 3.5 has suite 1 alone: with IECP_PQ_PREFER
 * it says so by offering 1 and answering with 1, with IECP_PQ_REQUIRE it makes no channel at all (PQ_REQUIRED).
 */
enum iecp_pq {
	IECP_PQ_PREFER = 0, /* 2 where both sides have it, else 1 */
	IECP_PQ_REQUIRE = 1,
	IECP_PQ_OFF = 2,
};

/* ML-KEM-768 as crypto/mlkem.h has it. */
struct iecp_kem {
	result (*generate)(struct span seed, struct mlkem *out, uint8_t out_key[static MLKEM_KEY_SIZE]);
	result (*encapsulate)(struct span key, struct span message, uint8_t out_ct[static MLKEM_CT_SIZE],
		uint8_t out_secret[static MLKEM_SECRET_SIZE]);
	result (*decapsulate)(const struct mlkem *own, struct span ct, uint8_t out_secret[static MLKEM_SECRET_SIZE]);
	void (*free)(struct mlkem *own);
};

/* Sources that a known-answer test replaces; NULL members mean the real ones. */
struct iecp_hooks {
	void *ctx;
	void (*random)(void *ctx, void *out, size_t len);
	result (*sign)(void *ctx, const struct key *key, struct span message, uint8_t out[static SIGNATURE_SIZE]);
	const struct iecp_kem *kem; /* for machines without ML-KEM */
};

struct iecp_config {
	enum iecp_role role;
	enum iecp_pq pq;
	struct span certificate; /* own: leaf DER, or concatenated lv(DER) for a root_ca anchor */
	const struct key *sign_key;
	const struct key *kem_key; /* of the point in the certificate */
	struct iecp_epoch epoch;   /* own epoch pointer */
	const char *own_name;	   /* refused as a peer's name; NULL when this side has none */
	const char *expected_name; /* required of an initiator; a responder may leave it NULL */
	struct iecp_verifier verifier;
	struct iecp_half_open *half_open; /* responder: limit on unfinished handshakes; NULL for none */
	struct span address;		  /* responder: where M1 came from, for that limit */
	/* Re-handshake only (iecp_rekey.h sets them): psk_next and channel_id of the old channel. Both empty in a first handshake. */
	struct span psk;
	struct span psk_id;
	const struct iecp_peer *same_peer; /* re-handshake: keys, name and root that the peer must still have */
	uint16_t least_suite;		   /* re-handshake: that of the channel; 0 for none */
	uint64_t until_steady_ms;	   /* re-handshake: when it must be over; 0: IECP_HANDSHAKE_MS from now */
	const struct iecp_hooks *hooks;
};

struct iecp;
struct iecp_channel;

/* Checks the configuration. ILLEGAL_STATE, BAD_VALUE, PQ_REQUIRED, NO_MEMORY. */
NODISCARD result iecp_new(const struct iecp_config *config, struct iecp_time now, struct iecp **out);
void iecp_free(struct iecp *handshake); /* accepts NULL; wipes */

/* Initiator: appends the frame of M1. */
NODISCARD result iecp_start(struct iecp *handshake, struct iecp_time now, struct writer *out);

/*
 * Takes one whole frame from the peer and appends the answer's frame, if there is one. The order of checks is that of
 * constructions/iecp.md; own evidence is not even produced before the peer has passed them all.
 */
NODISCARD result iecp_receive(struct iecp *handshake, struct span frame, struct iecp_time now, struct writer *out);

/*
 * Total size of the frame that `buffered` begins with, known from its first four bytes; 0 while these are missing.
 * TOO_LARGE beyond what this state allows: the caller never buffers more.
 */
NODISCARD result iecp_frame_size(const struct iecp *handshake, struct span buffered, size_t *out_total);

bool iecp_is_complete(const struct iecp *handshake);

/* The verified peer; NULL before the handshake is complete. Borrowed. */
const struct iecp_peer *iecp_peer(const struct iecp *handshake);

/* Hands over the channel, once, when complete. The peer moves with it. */
NODISCARD result iecp_take_channel(struct iecp *handshake, struct iecp_channel **out);

#endif
