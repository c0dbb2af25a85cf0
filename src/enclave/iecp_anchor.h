/*
 * The default `certificate` answer of an IECP verifier: what this side anchors its trust in. A local rule, never
 * negotiated (constructions/iecp.md, "Anchor"):
 *   - a peer whose epoch pointer is all zero must match a pinned key that signed its certificate directly. It is
 *     Level-0, sends no evidence, and its name is the one of the local rule;
 *   - any other peer is judged by `root`, which the caller fills (pinned rot_id and epoch chain);
 *   - a peer that neither applies to may show a path of certificates to an authority of `cas`: lv(DER) of the leaf, of what
 *     issued it, and of one more at most (crypto/x509.h has the profiles). Its name is the one in its leaf, which must be the
 *     one of the rule. A certificate alone is Level-0, whatever evidence comes with it.
 * Whoever none of the three knows is refused.
 */
#ifndef TROTH_ENCLAVE_IECP_ANCHOR_H
#define TROTH_ENCLAVE_IECP_ANCHOR_H

#include "enclave/iecp.h"

struct iecp_pin {
	const char *name;	      /* what the local rule calls this peer */
	const struct key *issuer_key; /* the key that signed its certificate; may be the peer's own */
};

struct iecp_ca {
	const char *uri; /* whom the authority may vouch for here */
	const struct key *key; /* of the authority */
};

struct iecp_anchor {
	const struct iecp_pin *pins;
	size_t pin_count;
	void *root_ctx;
	/* As iecp_verifier.certificate, for peers with an epoch pointer. */
	result (*root)(void *root_ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected_name,
		uint64_t now_wall_ms, struct iecp_peer *out_peer);
	const struct iecp_ca *cas;
	size_t ca_count;
};

/* Has the signature of iecp_verifier.certificate but for the type of its first argument. */
NODISCARD result iecp_anchor_certificate(const struct iecp_anchor *anchor, struct span chain,
	const struct iecp_epoch *epoch, const char *expected_name, uint64_t now_wall_ms, struct iecp_peer *out_peer);

/* lv(leaf) ‖ lv(issuer) ‖ ...: what a side shows to a peer that anchors it by an authority. TOO_LARGE, CA_PATH. */
NODISCARD result iecp_chain_put(const struct span *certificates, size_t count, struct writer *out);

/* For iecp_verifier.produce of a side that has no evidence. */
NODISCARD result iecp_no_evidence(void *ctx, const uint8_t bind[static IECP_BIND_SIZE], struct writer *out);

/* Appraisal of a peer that an authority vouches for: nothing here can check its evidence, which is passed over. */
NODISCARD result iecp_appraise_by_authority(struct iecp_peer *peer);

/* Appraisal of a pinned peer: evidence must be empty (EVIDENCE_UNEXPECTED), the level stays 0. */
NODISCARD result iecp_appraise_pinned(struct span evidence, const struct iecp_peer *peer);

#endif
