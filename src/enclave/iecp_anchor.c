#include "enclave/iecp_anchor.h"

#include "base/reader.h"
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

/* ---- authorities ---- */

struct path {
	struct certificate certificates[CERTIFICATE_PATH_MAX];
	size_t count;
};

static void path_free(struct path *path)
{
	for (size_t i = 0; i < path->count; i++)
		certificate_free(&path->certificates[i]);
	path->count = 0;
}

result iecp_chain_put(const struct span *certificates, size_t count, struct writer *out)
{
	if (count < 2 || count > CERTIFICATE_PATH_MAX)
		return fail(CA_PATH, "a path of %zu certificates", count);
	for (size_t i = 0; i < count; i++)
		writer_lv(out, certificates[i]);
	return out->failed ? fail(TOO_LARGE, "a path of certificates") : OK;
}

/* The length of a certificate begins with a zero byte, a certificate itself does not. */
static bool is_path(struct span chain)
{
	return chain.len > 0 && chain.data[0] == 0;
}

static result read_path(struct span chain, struct arena *arena, struct path *out)
{
	struct reader r = reader_of(chain);

	if (!is_path(chain))
		return fail(CA_PATH, "the peer shows its leaf alone");
	while (reader_left(&r) > 0) {
		struct certificate *next = &out->certificates[out->count];
		struct span der;
		if (out->count == CERTIFICATE_PATH_MAX)
			return fail(CA_PATH, "more than %d certificates", CERTIFICATE_PATH_MAX);
		TRY(reader_lv(&r, CERTIFICATE_MAX, &der));
		TRY(out->count == 0 ? certificate_parse(der, arena, next) : certificate_parse_ca(der, arena, next));
		out->count++;
	}
	return OK;
}

static const struct iecp_ca *ca_for(const struct iecp_anchor *anchor, const char *uri)
{
	for (size_t i = 0; i < anchor->ca_count; i++)
		if (strcmp(anchor->cas[i].uri, uri) == 0)
			return &anchor->cas[i];
	return NULL;
}

/* No certificate of the path outlives the channel. */
static uint64_t end_of(const struct path *path)
{
	uint64_t end = path->certificates[0].not_after;

	for (size_t i = 1; i < path->count; i++)
		if (path->certificates[i].not_after < end)
			end = path->certificates[i].not_after;
	return end;
}

static result by_authority(const struct iecp_anchor *anchor, struct span chain, const char *expected_name, uint64_t now_wall_ms,
	struct iecp_peer *out_peer)
{
	CLEANUP(arena_free) struct arena arena = arena_of(CERTIFICATE_MEMORY);
	CLEANUP(path_free) struct path path = {0};

	TRY(read_path(chain, &arena, &path));
	const struct certificate *leaf = &path.certificates[0];
	const struct iecp_ca *ca = ca_for(anchor, leaf->uri);
	if (!ca)
		return expected_name ? fail(PEER_NAME_MISMATCH, "'%s' instead of '%s'", leaf->uri, expected_name)
				     : fail(CERTIFICATE_FOREIGN, "no authority may vouch for '%s' here", leaf->uri);
	TRY(certificate_path_verify(path.certificates, path.count, ca->key, now_wall_ms));
	const struct iecp_pin rule = {ca->uri, NULL};
	TRY(fill_peer(leaf, &rule, out_peer));
	out_peer->not_after = end_of(&path);
	return OK;
}

result iecp_anchor_certificate(const struct iecp_anchor *anchor, struct span chain, const struct iecp_epoch *epoch,
	const char *expected_name, uint64_t now_wall_ms, struct iecp_peer *out_peer)
{
	bool has_root = !iecp_epoch_is_zero(epoch);

	if (anchor->ca_count && (has_root ? !anchor->root : is_path(chain) || anchor->pin_count == 0))
		return by_authority(anchor, chain, expected_name, now_wall_ms, out_peer);
	if (!has_root)
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

result iecp_appraise_by_authority(struct iecp_peer *peer)
{
	peer->level = 0;
	return OK;
}
