#include "evidence/credential.h"

#include "base/secret.h"
#include "crypto/random.h"
#include "evidence/tpm.h"

enum { PARTS_MAX = 1024 };

void credential_free(struct credential *credential)
{
	bytes_free(&credential->object);
	bytes_free(&credential->encrypted);
}

static void put_sized(struct writer *w, struct span bytes)
{
	writer_u16(w, (uint16_t)bytes.len);
	writer_span(w, bytes);
}

/* KDFa (Part 1, section 11.4.10.2), one block: HMAC(key, 1 ‖ label ‖ 00 ‖ context ‖ bits). */
static result kdf_a(enum platform_digest digest, struct span key, const char *label, struct span context, uint32_t bits, uint8_t *out)
{
	uint8_t input[256], block[DIGEST_MAX];
	struct writer w = writer_fixed(input, sizeof(input));
	struct span all;
	writer_u32(&w, 1);
	writer_put(&w, label, strlen(label) + 1);
	writer_span(&w, context);
	writer_u32(&w, bits);
	TRY(writer_finish(&w, &all));
	if (bits / 8 > platform_digest_size(digest))
		return fail(BAD_KEY, "a key of %u bits from one digest", bits);
	platform_hmac(digest, key, all, block);
	memcpy(out, block, bits / 8);
	wipe(block, sizeof(block));
	return OK;
}

/* KDFe (section 11.4.10.3), one block: H(1 ‖ Z ‖ "IDENTITY" 00 ‖ x of the fresh key ‖ x of the endorsement key). */
static result kdf_e(enum platform_digest digest, const struct platform_agreement *a, uint8_t *out)
{
	uint8_t input[256];
	struct writer w = writer_fixed(input, sizeof(input));
	struct span all;
	writer_u32(&w, 1);
	writer_put(&w, a->z, a->width);
	writer_put(&w, "IDENTITY", sizeof("IDENTITY"));
	writer_put(&w, a->x, a->width);
	writer_put(&w, a->peer_x, a->width);
	TRY(writer_finish(&w, &all));
	platform_digest(digest, all, out);
	wipe(input, sizeof(input));
	return OK;
}

/* A seed that only the endorsement key's holder can have, and what lets it find the seed. */
static result share_seed(const struct tpm_public *ek, const struct platform_key *key, enum platform_digest digest, uint8_t *seed, struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(PARTS_MAX);
	if (key->type == PLATFORM_KEY_RSA) {
		CLEANUP(bytes_free) struct bytes cipher = BYTES_EMPTY;
		random_bytes(seed, platform_digest_size(digest));
		TRY(platform_key_encrypt(key, digest, "IDENTITY", span_of(seed, platform_digest_size(digest)), &cipher));
		put_sized(&w, bytes_span(&cipher));
		return writer_take(&w, out);
	}
	struct platform_agreement agreement;
	TRY(platform_key_agree(key, &agreement));
	result made = kdf_e(digest, &agreement, seed);
	writer_u16(&w, (uint16_t)(2 * (2 + agreement.width)));
	put_sized(&w, span_of(agreement.x, agreement.width));
	put_sized(&w, span_of(agreement.y, agreement.width));
	wipe(&agreement, sizeof(agreement));
	TRY(made);
	return writer_take(&w, out);
}

static result protect(const struct tpm_public *ek, enum platform_digest digest, struct span seed, struct span name, struct span secret,
	struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(PARTS_MAX);
	uint8_t plain[2 + CREDENTIAL_SECRET_MAX], cipher[sizeof(plain)], key[32], mac_key[DIGEST_MAX], mac[DIGEST_MAX];
	uint8_t covered[sizeof(cipher) + TPM_NAME_MAX];
	size_t size = platform_digest_size(digest), plain_len = 2 + secret.len;

	struct writer inner = writer_fixed(plain, sizeof(plain));
	put_sized(&inner, secret);
	TRY(kdf_a(digest, seed, "STORAGE", name, ek->symmetric_bits, key));
	TRY(platform_cfb(span_of(key, ek->symmetric_bits / 8), span_of(plain, plain_len), cipher));
	wipe(plain, sizeof(plain));
	wipe(key, sizeof(key));
	TRY(kdf_a(digest, seed, "INTEGRITY", SPAN_EMPTY, (uint32_t)(8 * size), mac_key));
	memcpy(covered, cipher, plain_len);
	memcpy(covered + plain_len, name.data, name.len);
	platform_hmac(digest, span_of(mac_key, size), span_of(covered, plain_len + name.len), mac);
	wipe(mac_key, sizeof(mac_key));
	writer_u16(&w, (uint16_t)(2 + size + plain_len));
	put_sized(&w, span_of(mac, size));
	writer_put(&w, cipher, plain_len);
	return writer_take(&w, out);
}

result credential_make(const struct tpm_public *ek, const struct tpm_public *ak, struct span secret, struct credential *out)
{
	CLEANUP(platform_key_free) struct platform_key key = PLATFORM_KEY_EMPTY;
	CLEANUP(credential_free) struct credential credential = {0};
	enum platform_digest digest = tpm_digest(ek->name_algorithm);
	uint8_t name[TPM_NAME_MAX], seed[DIGEST_MAX];
	size_t name_len;

	TRY(tpm_ak_check(ak));
	TRY(tpm_public_name(ak, name, &name_len));
	if (secret.len == 0 || secret.len > CREDENTIAL_SECRET_MAX)
		return fail(BAD_VALUE, "a credential of %zu bytes", secret.len);
	if (digest == 0 || digest == DIGEST_SHA1 || (ek->symmetric_bits != 128 && ek->symmetric_bits != 256) || !(ek->attributes & TPM_DECRYPT))
		return fail(BAD_KEY, "the endorsement key takes no credentials that Troth can make");
	TRY(tpm_public_key(ek, &key));
	TRY(share_seed(ek, &key, digest, seed, &credential.encrypted));
	result made = protect(ek, digest, span_of(seed, platform_digest_size(digest)), span_of(name, name_len), secret, &credential.object);
	wipe(seed, sizeof(seed));
	TRY(made);
	*out = credential;
	credential = (struct credential){0}; /* transferred */
	return OK;
}
