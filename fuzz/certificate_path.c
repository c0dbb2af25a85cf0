/*
 * Paths of certificates as a handshake shows them (lv(leaf) ‖ lv(issuer) ‖ ...), judged under one authority. The first byte
 * of an input says what follows it:
 *   even	the path as it is. Whatever is shown, nothing is accepted that this authority's keys have not signed
 *   odd	the TBSCertificates of a path, each as lv: the target signs them, so that what is under the signature is reached
 * Bit 1 asks for the first certificate alone to be read with the profile of authorities.
 */
#include "base/arena.h"
#include "base/reader.h"
#include "base/writer.h"
#include "crypto/x509.h"
#include "enclave/iecp_anchor.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NAME "spiffe://outside.example/ire/partner"
enum { LEVELS = CERTIFICATE_PATH_MAX + 1, SIGNED_MAX = 5 * 1024, SIGN_TOO = 1, READ_CA = 2 };
static const uint64_t NOW_MS = UINT64_C(1780272000000); /* 2026-06-01 */

/* Of the leaf, of what issued it, and so on; the authority's is the last. From seeds, so that the corpus holds. */
static struct key keys[LEVELS];

__attribute__((weak)) void __lsan_disable(void);
__attribute__((weak)) void __lsan_enable(void);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void make_keys(void)
{
	if (keys[0].pkey)
		return;
	if (__lsan_disable)
		__lsan_disable();
	for (uint8_t i = 0; i < LEVELS; i++) {
		const uint8_t seed[48] = {'p', i};
		must(key_from_seed48(SPAN_ARRAY(seed), &keys[i]) == OK);
	}
	if (__lsan_enable)
		__lsan_enable();
}

/* ---- signing what the input says ---- */

static void put_integer(struct writer *w, const uint8_t number[static 32])
{
	size_t skip = 0;
	while (skip < 31 && number[skip] == 0)
		skip++;
	bool pad = number[skip] & 0x80;
	writer_u8(w, 2);
	writer_u8(w, (uint8_t)(32 - skip + pad));
	if (pad)
		writer_u8(w, 0);
	writer_put(w, number + skip, 32 - skip);
}

static void put_certificate(struct writer *out, struct span tbs, const struct key *issuer)
{
	static const uint8_t algorithm[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
	CLEANUP(writer_free) struct writer inner = writer_growing(2 * SIGNED_MAX), numbers = writer_growing(256);
	uint8_t signature[SIGNATURE_SIZE];

	must(key_sign(issuer, tbs, signature) == OK);
	put_integer(&numbers, signature);
	put_integer(&numbers, signature + 32);
	writer_span(&inner, tbs);
	writer_put(&inner, algorithm, sizeof algorithm);
	writer_u8(&inner, 3);
	writer_u8(&inner, (uint8_t)(numbers.len + 3));
	writer_u8(&inner, 0);
	writer_u8(&inner, 0x30);
	writer_u8(&inner, (uint8_t)numbers.len);
	writer_put(&inner, numbers.data, numbers.len);
	must(inner.len > 127 && inner.len < 65536);
	bool wide = inner.len > 255;
	writer_u32(out, (uint32_t)(inner.len + (wide ? 4 : 3)));
	writer_u8(out, 0x30);
	writer_u8(out, wide ? 0x82 : 0x81);
	if (wide)
		writer_u8(out, (uint8_t)(inner.len >> 8));
	writer_u8(out, (uint8_t)inner.len);
	writer_put(out, inner.data, inner.len);
}

/* The last of them is signed by the authority, wherever the path ends. */
static bool sign_path(struct span input, struct writer *out)
{
	struct span parts[CERTIFICATE_PATH_MAX];
	struct reader r = reader_of(input);
	size_t count = 0;

	for (; reader_left(&r) > 0; count++) {
		if (count == CERTIFICATE_PATH_MAX || reader_lv(&r, SIGNED_MAX, &parts[count]) != OK || parts[count].len < 64)
			return false;
	}
	for (size_t i = 0; i < count; i++)
		put_certificate(out, parts[i], i + 1 == count ? &keys[LEVELS - 1] : &keys[i + 1]);
	return count > 0;
}

/* ---- what must hold ---- */

static bool inside(struct span part, struct span whole)
{
	return part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len);
}

static void read_ca(struct span der)
{
	struct arena arena = arena_of(4096);
	struct certificate c = CERTIFICATE_EMPTY;

	if (certificate_parse_ca(der, &arena, &c) == OK) {
		must(c.is_ca && c.path_length <= 3 && c.permitted_count <= CERTIFICATE_PERMITTED_MAX);
		must(c.not_before <= c.not_after && inside(c.serial, der) && inside(c.signed_part, der));
		must(inside(c.issuer, der) && inside(c.subject, der));
		for (size_t i = 0; i < c.permitted_count; i++)
			must(c.permitted[i].len > 0 && inside(c.permitted[i], der));
		/* Nothing is both, and no leaf is an authority. */
		struct certificate leaf = CERTIFICATE_EMPTY;
		must(certificate_parse(der, &arena, &leaf) != OK);
	} else {
		must(c.key.pkey == NULL);
	}
	certificate_free(&c);
	arena_free(&arena);
}

/* What was accepted, looked at once more with little code. */
static void check_accepted(struct span chain, const struct iecp_peer *peer)
{
	struct arena arena = arena_of(64 * 1024);
	struct certificate leaf = CERTIFICATE_EMPTY, issuer = CERTIFICATE_EMPTY;
	struct reader r = reader_of(chain);
	struct span der;

	must(strcmp(peer->name, NAME) == 0 && peer->level == 0 && peer->not_after >= NOW_MS);
	must(reader_lv(&r, CERTIFICATE_MAX, &der) == OK && certificate_parse(der, &arena, &leaf) == OK);
	must(reader_lv(&r, CERTIFICATE_MAX, &der) == OK && certificate_parse_ca(der, &arena, &issuer) == OK);
	must(certificate_verify(&leaf, &issuer.key) == OK && certificate_valid_at(&leaf, NOW_MS) == OK);
	must(certificate_valid_at(&issuer, NOW_MS) == OK && issuer.path_length == 0);
	must(peer->not_after <= leaf.not_after && peer->not_after <= issuer.not_after);
	must(memcmp(peer->sign_key.id, leaf.key.id, KEY_ID_SIZE) == 0 && memcmp(peer->kem_point, leaf.kem_point, POINT_SIZE) == 0);
	bool permitted = false;
	for (size_t i = 0; i < issuer.permitted_count; i++)
		permitted |= span_equal_str(issuer.permitted[i], "outside.example") || issuer.permitted[i].data[0] == '.';
	must(permitted);
	certificate_free(&leaf);
	certificate_free(&issuer);
	arena_free(&arena);
}

static void judge(struct span chain)
{
	static const struct iecp_epoch none;
	const struct iecp_ca rule = {NAME, &keys[LEVELS - 1]};
	const struct iecp_anchor anchor = {.cas = &rule, .ca_count = 1};
	struct iecp_peer peer = {0};

	if (iecp_anchor_certificate(&anchor, chain, &none, NAME, NOW_MS, &peer) == OK)
		check_accepted(chain, &peer);
	iecp_peer_free(&peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	make_keys();
	if (size == 0)
		return 0;
	struct span input = span_of(data + 1, size - 1);
	CLEANUP(writer_free) struct writer signed_path = writer_growing(64 * 1024);
	if (data[0] & SIGN_TOO) {
		if (!sign_path(input, &signed_path))
			return 0;
		must(writer_finish(&signed_path, &input) == OK);
	}
	if (data[0] & READ_CA)
		read_ca(input.len > 4 && input.data[0] == 0 ? span_of(input.data + 4, input.len - 4) : input);
	else
		judge(input);
	return 0;
}
