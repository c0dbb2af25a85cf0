#include "crypto/crypto.h"

#include "crypto/box.h"
#include "crypto/hash.h"
#include "crypto/key.h"
#include "crypto/library.h"
#include "crypto/mlkem.h"
#include "crypto/random.h"
#include "crypto/x509.h"

#include <string.h>

/* A primitive that fails on its own values is broken. */
#define MUST(expression)                                                                                                                   \
	do {                                                                                                                               \
		if ((expression) != OK)                                                                                                    \
			library_broken(failure_text());                                                                                    \
	} while (0)

static void warm_hashes(void)
{
	/* SHA-256("abc"), FIPS 180-4. */
	static const uint8_t expected[SHA256_SIZE] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae,
		0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
	uint8_t out[SHA512_SIZE], key[2 * SHA256_SIZE];

	sha384(span_str("abc"), out);
	sha512(span_str("abc"), out);
	sha256(span_str("abc"), out);
	if (memcmp(out, expected, sizeof expected) != 0)
		library_broken("SHA-256 gives a wrong digest");
	hkdf_extract(span_str("salt"), SPAN_ARRAY(expected), out);
	hkdf_expand(out, SPAN_EMPTY, key, sizeof key);
}

static void warm_keys(const struct key *key)
{
	CLEANUP(secret_free) struct secret scalar = SECRET_EMPTY, seed = SECRET_EMPTY;
	CLEANUP(key_free) struct key same = KEY_EMPTY, derived = KEY_EMPTY;
	uint8_t signature[SIGNATURE_SIZE];

	MUST(key_scalar(key, &scalar));
	MUST(key_from_scalar(secret_span(&scalar), &same));
	if (memcmp(key->point, same.point, POINT_SIZE) != 0)
		library_broken("a P-256 key does not come back from its scalar");
	MUST(key_sign(key, span_str("warm"), signature));
	MUST(key_verify(&same, span_str("warm"), SPAN_ARRAY(signature)));
	MUST(secret_new(48, &seed));
	random_bytes(seed.data, seed.len);
	MUST(key_from_seed48(secret_span(&seed), &derived));
}

static void warm_box(const struct key *key)
{
	uint8_t box[BOX_OVERHEAD + 4];
	CLEANUP(secret_free) struct secret opened = SECRET_EMPTY;

	MUST(box_seal(SPAN_ARRAY(key->point), "warm", SPAN_EMPTY, span_str("warm"), box));
	MUST(box_open(key, "warm", SPAN_EMPTY, SPAN_ARRAY(box), &opened));
	if (!secret_equal(secret_span(&opened), span_str("warm")))
		library_broken("a box does not open to what was put in");
	/* The path of a refusal loads what an accepted message does not. */
	box[sizeof box - 1] ^= 1;
	CLEANUP(secret_free) struct secret refused = SECRET_EMPTY;
	if (box_open(key, "warm", SPAN_EMPTY, SPAN_ARRAY(box), &refused) != BAD_TAG)
		library_broken("an altered box opens");
}

static void warm_certificates(const struct key *key)
{
	struct certificate_fields fields = {.serial = {1}, .uri = "spiffe://warm/ire/up", .not_after = 1000};
	CLEANUP(bytes_free) struct bytes der = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(URI_MAX + 1);
	CLEANUP(certificate_free) struct certificate certificate = CERTIFICATE_EMPTY;

	memcpy(fields.sign_point, key->point, POINT_SIZE);
	memcpy(fields.kem_point, key->point, POINT_SIZE);
	MUST(certificate_issue(&fields, key, "warm", &der));
	MUST(certificate_parse(bytes_span(&der), &arena, &certificate));
	MUST(certificate_verify(&certificate, key));
	MUST(certificate_valid_at(&certificate, 0));
	if (certificate_valid_at(&certificate, 2000) != CERTIFICATE_EXPIRED)
		library_broken("an expired certificate is accepted");
}

static void warm_refusals(const struct key *key)
{
	uint8_t off_curve[POINT_SIZE], signature[SIGNATURE_SIZE], shared[ECDH_SIZE];
	CLEANUP(key_free) struct key unused = KEY_EMPTY;

	memcpy(off_curve, key->point, POINT_SIZE);
	off_curve[POINT_SIZE - 1] ^= 1;
	if (key_from_point(SPAN_ARRAY(off_curve), &unused) != BAD_POINT || key_agree(key, SPAN_ARRAY(off_curve), shared) != BAD_POINT)
		library_broken("a point off the curve is accepted");
	MUST(key_sign(key, span_str("warm"), signature));
	if (key_verify(key, span_str("cold"), SPAN_ARRAY(signature)) != BAD_SIGNATURE)
		library_broken("a signature over other bytes is accepted");
}

static void warm_mlkem(void)
{
	CLEANUP(mlkem_free) struct mlkem key = MLKEM_EMPTY;
	uint8_t public[MLKEM_KEY_SIZE], ct[MLKEM_CT_SIZE], ours[MLKEM_SECRET_SIZE], theirs[MLKEM_SECRET_SIZE];

	if (!mlkem_available())
		return;
	MUST(mlkem_generate(SPAN_EMPTY, &key, public));
	MUST(mlkem_encapsulate(SPAN_ARRAY(public), SPAN_EMPTY, ct, theirs));
	MUST(mlkem_decapsulate(&key, SPAN_ARRAY(ct), ours));
	if (!secret_equal(SPAN_ARRAY(ours), SPAN_ARRAY(theirs)))
		library_broken("ML-KEM-768 gives two secrets");
	memset(public, 0xff, sizeof public);
	if (mlkem_encapsulate(SPAN_ARRAY(public), SPAN_EMPTY, ct, theirs) != BAD_KEY)
		library_broken("ML-KEM-768 takes a key that is none");
}

void crypto_warm_up(void)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;

	warm_hashes();
	MUST(key_generate(&key));
	warm_keys(&key);
	warm_box(&key);
	warm_certificates(&key);
	warm_refusals(&key);
	warm_mlkem();
	failure_clear();
}
