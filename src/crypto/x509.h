/*
 * The one certificate profile of Troth (constructions/objects.md, "Names and endorsement"): an IRE leaf,
 * issued by an epoch key over the IRE's signing key. docs/PROTOCOL.certificate has it field by field.
 *   - X.509 v3, P-256, ecdsa-with-SHA256; subject CN = IRE name, issuer CN = rot label. Both are for people:
 *     the name that counts is the SAN
 *   - exactly one SAN: a URI, spiffe://<rot label>.<trust domain>/ire/<name>; critical
 *   - keyUsage digitalSignature, critical; basicConstraints CA=false, critical; extKeyUsage client+server auth
 *   - exactly one private critical extension OID_KEM_POINT: OCTET STRING of the 65-byte static KEM point
 *   - one private non-critical extension OID_TCB_INFO: OCTET STRING holding deterministic CBOR {1: core digest(48),
 *     2: measurement(48), 3: launch id(16), 4: oid(E)(32), 5: tier text, 6: isolation text}. Only certificates of
 *     external peers, which no epoch key issued, go without: whoever needs it refuses an empty span.
 * Anything else critical, an extension that stands twice, a second SAN, a DNS name, another key usage:
 * BAD_CERTIFICATE. Unknown extensions that are not critical are ignored (RFC 5280 section 4.2).
 *
 * The profile is fixed, so it is read by a strict DER reader of its own in some microseconds (OpenSSL's decoder
 * takes longer than two signature checks); certificates are written by OpenSSL. Signatures are OpenSSL's.
 * A leaf is issued directly by the key that the caller pinned, or by one that a certificate of the CA profile vouches for:
 *   - X.509 v3, P-256, ecdsa-with-SHA256; keyUsage keyCertSign (with or without cRLSign), critical
 *   - basicConstraints CA=true, critical, with a pathLenConstraint
 *   - nameConstraints, critical: 1 to 8 permitted subtrees, each a URI host or, with a dot before it, a domain; nothing excluded.
 *     Only the certificate above a leaf must have it.
 * Nothing here builds a path; certificate_path_verify judges one that is given in order.
 */
#ifndef TROTH_CRYPTO_X509_H
#define TROTH_CRYPTO_X509_H

#include "base/arena.h"
#include "base/bytes.h"
#include "crypto/hash.h"
#include "crypto/key.h"

/*
 * Troth's arc is 2.25.170149660.90118214.7036778.144835121.60900: the UUID
 * a24471c5-5f18-4606-b5f6-a8a20231ede4 below 2.25 in pieces of 28 bits, because parsers in use (the one of
 * Debian 12's python3-cryptography among them) refuse a component beyond 28 bits, and with it the certificate.
 */
extern const char *const OID_KEM_POINT; /* arc.1 */
extern const char *const OID_TCB_INFO; /* arc.2 */

enum {
	URI_MAX = 512,
	CERTIFICATE_MAX = 16 * 1024,
	CERTIFICATE_SERIAL_SIZE = 20,
	CERTIFICATE_PATH_MAX = 3, /* leaf included */
	CERTIFICATE_PERMITTED_MAX = 8,
};

struct certificate_fields {
	uint8_t serial[CERTIFICATE_SERIAL_SIZE]; /* random; the issuer clears its first bit */
	const char *uri; /* the SAN */
	uint64_t not_before, not_after; /* ms; stored in whole seconds, rounded down */
	uint8_t sign_point[POINT_SIZE];
	uint8_t kem_point[POINT_SIZE];
	struct span tcb_info; /* deterministic CBOR, opaque here */
};

/* A parsed leaf. Spans borrow from the DER; `uri` from the arena; `key` is owned: certificate_free. */
struct certificate {
	struct span der;
	struct span serial; /* without leading zeros */
	const char *uri;
	uint64_t not_before, not_after; /* ms, both inclusive */
	struct key key; /* the subject's signing key */
	uint8_t kem_point[POINT_SIZE]; /* checked to lie on the curve */
	struct span tcb_info; /* empty when absent */
	uint8_t digest[SHA256_SIZE]; /* SHA-256 of the DER: the "cert hash" of DAC records */
	struct span signed_part; /* the TBSCertificate */
	uint8_t signature[SIGNATURE_SIZE];
	struct span issuer, subject; /* Names in DER; only compared with one another */
	/* Of a CA alone. */
	bool is_ca;
	unsigned path_length;
	struct span permitted[CERTIFICATE_PERMITTED_MAX]; /* hosts and .domains */
	size_t permitted_count; /* 0: no name constraint */
};

#define CERTIFICATE_EMPTY ((struct certificate){0})

/* Is it a name of the profile? BAD_VALUE. */
NODISCARD result certificate_check_uri(const char *uri);
/* BAD_VALUE for fields that the profile does not allow (name, times, tcb_info beyond 4 KiB), BAD_POINT. */
NODISCARD result certificate_issue(
	const struct certificate_fields *fields, const struct key *issuer, const char *issuer_name, struct bytes *out_der);
/* Parses and checks the profile above, not the signature. BAD_CERTIFICATE, TRAILING_BYTES. */
NODISCARD result certificate_parse(struct span der, struct arena *arena, struct certificate *out);
/* The same for the CA profile: neither uri nor kem_point. */
NODISCARD result certificate_parse_ca(struct span der, struct arena *arena, struct certificate *out);
/*
 * `path`: leaf first, each issued by the next, the last by `anchor`; 2 to CERTIFICATE_PATH_MAX of them. Checks signatures,
 * validity at `at_ms`, names, path lengths and name constraints. CA_PATH, CA_NAME, CERTIFICATE_FOREIGN, CERTIFICATE_EXPIRED.
 * `anchor` NULL: for whoever shows the path, who need not know the authority.
 */
NODISCARD result certificate_path_verify(const struct certificate *path, size_t count, const struct key *anchor, uint64_t at_ms);
/* The part of it about names, path lengths and constraints. CA_PATH, CA_NAME. */
NODISCARD result certificate_path_names(const struct certificate *path, size_t count);
/* Signature under `issuer`: CERTIFICATE_FOREIGN. */
NODISCARD result certificate_verify(const struct certificate *certificate, const struct key *issuer);
/* CERTIFICATE_EXPIRED unless not_before <= at <= not_after. */
NODISCARD result certificate_valid_at(const struct certificate *certificate, uint64_t at_ms);
void certificate_free(struct certificate *certificate); /* accepts NULL and empty */

#endif
