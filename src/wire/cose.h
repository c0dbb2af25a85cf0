/*
 * COSE (RFC 9052): Sign1, Sign, Mac0, Encrypt0. Generic primitives (cose_generic.c) take a parsed header pair
 * and follow the RFC; the strict profile (cose.c), which is all that Troth accepts, stands beside them.
 *
 * Strict profile: deterministic CBOR; the tag present (18 Sign1, 98 Sign); protected header exactly {1: -7}
 * for Sign1, and {} in the body plus {1: -7, 4: kid} per signature for Sign, where kid is the signer's SPKI
 * hash; every unprotected header empty; payload attached; ES256 as 64-byte r‖s; external_aad = the label of
 * the object's kind. Signatures verify over the received bytes.
 */
#ifndef TROTH_WIRE_COSE_H
#define TROTH_WIRE_COSE_H

#include "base/arena.h"
#include "crypto/key.h"
#include "wire/cbor.h"

enum { COSE_TAG_ENCRYPT0 = 16, COSE_TAG_MAC0 = 17, COSE_TAG_SIGN1 = 18, COSE_TAG_SIGN = 98 };
enum { COSE_ALG_ES256 = -7, COSE_ALG_A256GCM = 3, COSE_ALG_HMAC256 = 5 };

/* A header pair as received. `protected_bytes` is the content of the bstr, borrowed. */
struct cose_headers {
	struct span protected_bytes;
	bool has_alg;
	int64_t alg;
	struct span kid; /* from either bucket; empty when absent */
	struct span iv;
	size_t unprotected_count;
};

/* ---- Generic (RFC 9052): what `inspect` and the published examples need ----------------------- */

struct cose_message {
	uint64_t tag; /* 0 when untagged */
	struct cose_headers headers;
	bool detached; /* payload is nil: set `payload` before verifying */
	struct span payload; /* or ciphertext for Encrypt0 */
	struct span signature; /* or MAC tag, or the encoded array of signatures for Sign; empty for Encrypt0 */
};

/*
 * Parses a COSE_Sign1, COSE_Sign, COSE_Mac0 or COSE_Encrypt0, tagged or not, deterministic or not (but of
 * definite lengths). `expected_tag` says which. WRONG_TAG, BAD_TYPE, UNKNOWN_CRITICAL (also for an empty or
 * misplaced crit), DUPLICATE_KEY (a label twice, in one bucket or both).
 */
NODISCARD result cose_parse(struct span bytes, uint64_t expected_tag, struct cose_message *out);
/*
 * UNSUPPORTED_ALGORITHM unless: ES256 for signatures; HMAC 256/64, 256/256, 384/384, 512/512; AES-GCM with
 * 128, 192 or 256 bits. BAD_SIGNATURE and BAD_TAG as in crypto. BAD_KEY for a key of another length.
 */
NODISCARD result cose_sign1_verify(const struct cose_message *message, struct span external_aad, const struct key *key);
/* OK iff one of the signatures verifies under `key`. */
NODISCARD result cose_sign_verify(const struct cose_message *message, struct span external_aad, const struct key *key);
NODISCARD result cose_mac0_verify(const struct cose_message *message, struct span external_aad, struct span key);
NODISCARD result cose_encrypt0_open(const struct cose_message *message, struct span external_aad, struct span key, struct bytes *out_plain);

/* ---- Strict Sign1 ---------------------------------------------------------------------------- */

struct cose_sign1 {
	struct span bytes; /* the whole tagged object as received */
	struct span payload;
	struct span signature; /* 64 bytes */
};

/*
 * TRUNCATED, TRAILING_BYTES, NOT_DETERMINISTIC, BAD_TYPE, WRONG_TAG, UNPROTECTED_HEADER (looked at before the
 * protected one), UNKNOWN_CRITICAL, UNSUPPORTED_ALGORITHM, BAD_SIGNATURE (not 64 bytes), BAD_VALUE.
 */
NODISCARD result cose_strict_sign1_parse(struct span bytes, struct cose_sign1 *out);
NODISCARD result cose_strict_sign1_verify(const struct cose_sign1 *object, const char *label, const struct key *key);
NODISCARD result cose_strict_sign1_make(struct span payload, const char *label, const struct key *key, struct bytes *out);

/* Puts a signature made elsewhere (over cose_strict_sign1_tbs) into its object. */
NODISCARD result cose_strict_sign1_assemble(struct span payload, const uint8_t signature[static SIGNATURE_SIZE], struct bytes *out);

/* The Sig_structure that is signed: ["Signature1", << {1: -7} >>, label, payload]. */
NODISCARD result cose_strict_sign1_tbs(struct span payload, const char *label, struct bytes *out);
/* oid(x) = SHA-256(Sig_structure) (constructions/objects.md). */
void cose_sign1_oid(struct span payload, const char *label, uint8_t out[static 32]);

/* ---- Strict Sign (k signers) ------------------------------------------------------------------ */

enum { COSE_MAX_SIGNERS = 32 };

struct cose_signature {
	uint8_t kid[KEY_ID_SIZE];
	struct span protected_bytes;
	struct span signature;
};

struct cose_sign {
	struct span bytes;
	struct span payload;
	size_t count; /* 1..COSE_MAX_SIGNERS, kids strictly ascending: nobody counts twice */
	struct cose_signature signatures[COSE_MAX_SIGNERS];
};

/*
 * BAD_TYPE, NOT_DETERMINISTIC, WRONG_TAG, UNPROTECTED_HEADER, UNKNOWN_CRITICAL, UNSUPPORTED_ALGORITHM,
 * BAD_SIGNATURE (not 64 bytes), BAD_VALUE, TRAILING_BYTES, TRUNCATED; DUPLICATE_KEY when one key signs twice.
 */
NODISCARD result cose_strict_sign_parse(struct span bytes, struct cose_sign *out);
/* OK iff one of the signatures has this key's id and verifies. BAD_SIGNATURE. */
NODISCARD result cose_strict_sign_verify(const struct cose_sign *object, const char *label, const struct key *key);
NODISCARD result cose_strict_sign_make(
	struct span payload, const char *label, const struct key *const *keys, size_t count, struct bytes *out);
/* Puts signatures made elsewhere (over cose_strict_sign_tbs) together, in any order. DUPLICATE_KEY, BAD_VALUE. */
struct cose_signer {
	uint8_t kid[KEY_ID_SIZE];
	uint8_t signature[SIGNATURE_SIZE];
};
NODISCARD result cose_strict_sign_assemble(struct span payload, const struct cose_signer *signers, size_t count, struct bytes *out);
/* What one signer signs: ["Signature", h'', sign_protected, label, payload]; for keys that live elsewhere. */
NODISCARD result cose_strict_sign_tbs(struct span payload, const char *label, const uint8_t kid[static KEY_ID_SIZE], struct bytes *out);
/* oid of a k-signer object: SHA-256(["Signature", h'', label, payload]), the body fields only. */
void cose_sign_oid(struct span payload, const char *label, uint8_t out[static 32]);

/* ---- Strict Mac0 and Encrypt0 ---------------------------------------------------------------- */

/*
 * The same profile for what two holders of one key exchange: protected header exactly {1: 5} (HMAC-SHA256) or
 * {1: 3, 5: iv} (AES-256-GCM, 12 bytes of IV), the rest as above. Verify or open with cose_mac0_verify and
 * cose_encrypt0_open, external_aad being the label.
 */
NODISCARD result cose_strict_mac0_parse(struct span bytes, struct cose_message *out);
NODISCARD result cose_strict_encrypt0_parse(struct span bytes, struct cose_message *out);

#endif
