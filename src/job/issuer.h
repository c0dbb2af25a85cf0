/*
 * What certification authorities say of this host's epochs (docs/PROTOCOL.certificate, "Authorities"): for an epoch, the
 * certificate that an authority wrote for the key which issues the leaves of enclaves, and at most one above it. Enclaves show them
 * to those peers outside for whom the job says so. One file for each epoch in the folder issuers/ of the state folder, lv of each
 * certificate. Nothing here is secret or believed: it is the peer who verifies, and the enclave looks before it shows.
 */
#ifndef TROTH_JOB_ISSUER_H
#define TROTH_JOB_ISSUER_H

#include "base/bytes.h"
#include "crypto/key.h"
#include "object/epoch_chain.h"

/* The epoch that is to be certified. */
struct issuer_epoch {
	const uint8_t *rot_id;
	const char *trust_domain;
	const struct epoch_link *link;
};

/* What an authority has to write: the host, spiffe://HOST/ire/NAME, that it must permit. */
enum { ISSUER_HOST_SIZE = 256 };
NODISCARD result issuer_host(const struct issuer_epoch *epoch, char out[static ISSUER_HOST_SIZE]);

/*
 * Do these certificates (DER, the issuer's first) fit the epoch, now? *out_until: when the first of them ends. BAD_CERTIFICATE,
 * CA_PATH (another key or name; longer than the epoch), CA_NAME, CERTIFICATE_FOREIGN, CERTIFICATE_EXPIRED.
 */
NODISCARD result issuer_check(const struct span *certificates, size_t count, const struct issuer_epoch *epoch, uint64_t now_ms,
	uint64_t *out_until);

/* Keeps them for the epoch, in place of what was there. */
NODISCARD result issuer_keep(const char *folder, const uint8_t epoch_oid[static OID_SIZE], const struct span *certificates, size_t count);
/* What is kept, as lv each. ISSUER_MISSING. */
NODISCARD result issuer_find(const char *folder, const uint8_t epoch_oid[static OID_SIZE], struct bytes *out);

#endif
