#include "enclave/iecp_anchor.h"

#include "crypto/x509.h"

#include <stdio.h>

enum { CERTIFICATE_MEMORY = 64 * 1024 };

static const struct iecp_pin *pin_that_signed(const struct iecp_anchor *anchor, const struct certificate *certificate,
	const char *expected_name)
{
	for (size_t i = 0; i < anchor->pin_count; i++) {
		const struct iecp_pin *pin = &anchor->pins[i];
		if (expected_name && strcmp(pin->name, expected_name) != 0)
			continue;
		if (certificate_verify(certificate, pin->issuer_key) == OK)
			return pin;
	}
	return NULL;
}

static result fill_peer(const struct certificate *certificate, const struct iecp_pin *pin, struct iecp_peer *out)
{
	int len = snprintf(out->name, sizeof out->name, "%s", pin->name);

	if (len <= 0 || (size_t)len >= sizeof out->name)
		return fail(BAD_VALUE, "the local rule names a peer with %d bytes", len);
	out->sign_key = key_ref(&certificate->key);
	memcpy(out->kem_point, certificate->kem_point, sizeof out->kem_point);
	memcpy(out->certificate_digest, certificate->digest, sizeof out->certificate_digest);
	out->not_after = certificate->not_after;
	out->level = 0;
	return OK;
}

/* The name in the certificate is the peer's own claim and is not looked at. */
static result pinned(const struct iecp_anchor *anchor, struct span chain, const char *expected_name,
	uint64_t now_wall_ms, struct iecp_peer *out_peer)
{
	CLEANUP(arena_free) struct arena arena = arena_of(CERTIFICATE_MEMORY);
	CLEANUP(certificate_free) struct certificate certificate = {0};

	TRY(certificate_parse(chain, &arena, &certificate));
	const struct iecp_pin *pin = pin_that_signed(anchor, &certificate, expected_name);
	if (!pin)
		return fail(CERTIFICATE_FOREIGN, "no pinned key%s%s signed the peer's certificate",
			expected_name ? " of " : "", expected_name ? expected_name : "");
	TRY(certificate_valid_at(&certificate, now_wall_ms));
	return fill_peer(&certificate, pin, out_peer);
}

result iecp_anchor_certificate(const struct iecp_anchor *anchor, struct span chain, const struct iecp_epoch *epoch,
	const char *expected_name, uint64_t now_wall_ms, struct iecp_peer *out_peer)
{
	if (iecp_epoch_is_zero(epoch))
		return pinned(anchor, chain, expected_name, now_wall_ms, out_peer);
	if (!anchor->root)
		return fail(CERTIFICATE_FOREIGN, "the peer names a root of trust and none is pinned here");
	return anchor->root(anchor->root_ctx, chain, epoch, expected_name, now_wall_ms, out_peer);
}

result iecp_no_evidence(void *ctx, const uint8_t bind[static IECP_BIND_SIZE], struct writer *out)
{
	(void)ctx;
	(void)bind;
	(void)out;
	return OK;
}

result iecp_appraise_pinned(struct span evidence, const struct iecp_peer *peer)
{
	if (evidence.len > 0)
		return fail(EVIDENCE_UNEXPECTED, "%s is known by a pinned key and sent %zu bytes of evidence", peer->name,
			evidence.len);
	return OK;
}
