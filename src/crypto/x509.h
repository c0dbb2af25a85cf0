/*
 * The one certificate profile of Troth (constructions/objects.md, "Names and endorsement"): an IRE leaf,
 * issued by an epoch key over the IRE's signing key.
 *   - X.509 v3, P-256, ecdsa-with-SHA256; subject empty-ish (CN = IRE name), issuer CN = rot label
 *   - exactly one SAN: a URI, spiffe://<rot label>.<trust domain>/ire/<name>; critical
 *   - keyUsage digitalSignature, critical; basicConstraints CA=false, critical; extKeyUsage client+server auth
 *   - exactly one private critical extension OID_KEM_POINT: OCTET STRING of the 65-byte static KEM point
 *   - one private non-critical extension OID_TCB_INFO: OCTET STRING holding deterministic CBOR {1: core digest(48),
 *     2: measurement(48), 3: launch id(16), 4: oid(E)(32), 5: tier text, 6: isolation text}
 * Anything else critical, a second SAN, a DNS name, unknown key usage: BAD_CERTIFICATE.
 */
#ifndef TROTH_CRYPTO_X509_H
#define TROTH_CRYPTO_X509_H

#include "base/arena.h"
#include "base/bytes.h"
#include "crypto/hash.h"
#include "crypto/key.h"

/* Private arc under a documented UUID-derived OID (2.25.<uuid>); see docs/PROTOCOL.certificate. */
extern const char *const OID_KEM_POINT;
extern const char *const OID_TCB_INFO;

enum { URI_MAX = 512 };

struct certificate_fields {
	uint8_t serial[20];	    /* first bit cleared by the issuer */
	const char *uri;	    /* the SAN */
	uint64_t not_before, not_after; /* ms; stored in whole seconds */
	uint8_t sign_point[POINT_SIZE];
	uint8_t kem_point[POINT_SIZE];
	struct span tcb_info;	    /* deterministic CBOR, opaque here */
};

/* A parsed leaf. Spans borrow from the DER; `uri` from the arena; `key` is owned: certificate_free. */
struct certificate {
	struct span der;
	const char *uri;
	uint64_t not_before, not_after;
	struct key key;
	uint8_t kem_point[POINT_SIZE];
	struct span tcb_info;
	uint8_t digest[SHA256_SIZE]; /* SHA-256 of the DER: the "cert hash" of DAC records */
	void *x509;
};

NODISCARD result certificate_issue(const struct certificate_fields *fields, const struct key *issuer,
	const char *issuer_name, struct bytes *out_der);
/* Parses and checks the profile above, not the signature. BAD_CERTIFICATE, TRAILING_BYTES. */
NODISCARD result certificate_parse(struct span der, struct arena *arena, struct certificate *out);
/* Signature under `issuer`: CERTIFICATE_FOREIGN. */
NODISCARD result certificate_verify(const struct certificate *certificate, const struct key *issuer);
/* CERTIFICATE_EXPIRED unless not_before <= at <= not_after. */
NODISCARD result certificate_valid_at(const struct certificate *certificate, uint64_t at_ms);
void certificate_free(struct certificate *certificate);

#endif
