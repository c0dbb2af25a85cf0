#include "evidence/tpm_structure.h"

enum {
	TPM_GENERATED = 0xff544347, /* magic of what a TPM made itself */
	TPM_ST_ATTEST_QUOTE = 0x8018,
	TPM_CURVE_P256 = 3,
	TPM_CURVE_P384 = 4,
	TPM_ECDAA = 0x001a,
	TPM_RSAES = 0x0015,
	EXTRA_DATA_MAX = 2 + DIGEST_MAX + 2, /* TPM2B_DATA: sizeof(TPMT_HA) and a little slack of makers */
	RSA_KEY_BYTES_MAX = 512,
	RSA_DEFAULT_EXPONENT = 65537,
	SELECT_BYTES_MAX = 4,
};

enum platform_digest tpm_digest(uint16_t algorithm)
{
	switch (algorithm) {
	case TPM_SHA1:
		return DIGEST_SHA1;
	case TPM_SHA256:
		return DIGEST_SHA256;
	case TPM_SHA384:
		return DIGEST_SHA384;
	case TPM_SHA512:
		return DIGEST_SHA512;
	default:
		return (enum platform_digest)0;
	}
}

const char *tpm_algorithm_name(uint16_t algorithm)
{
	static const struct {
		uint16_t algorithm;
		const char *name;
	} names[] = {{TPM_SHA1, "sha1"}, {TPM_SHA256, "sha256"}, {TPM_SHA384, "sha384"}, {TPM_SHA512, "sha512"}, {TPM_RSASSA, "rsassa"},
		{TPM_RSAPSS, "rsapss"}, {TPM_ECDSA, "ecdsa"}, {TPM_RSA, "rsa"}, {TPM_ECC, "ecc"}};
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (names[i].algorithm == algorithm)
			return names[i].name;
	return "unknown";
}

/* TPM2B: u16 size, then that many bytes. */
static result take_sized(struct reader *r, size_t max, const char *what, struct span *out)
{
	uint16_t size;
	TRY(reader_u16(r, &size));
	if (size > max)
		return fail(TOO_LARGE, "%s of %u bytes", what, size);
	return reader_take(r, size, out);
}

/* ---- the attest ---- */

static result take_selection(struct reader *r, struct tpm_selection *out)
{
	struct span bits;
	uint8_t size;
	struct tpm_selection selection = {0};

	TRY(reader_u16(r, &selection.bank));
	TRY(reader_u8(r, &size));
	if (size > SELECT_BYTES_MAX)
		return fail(TOO_LARGE, "a PCR selection of %u bytes", size);
	TRY(reader_take(r, size, &bits));
	for (size_t i = 0; i < bits.len; i++)
		selection.pcrs |= (uint32_t)bits.data[i] << (8 * i);
	if (selection.pcrs >> TPM_PCR_COUNT != 0)
		return fail(BAD_VALUE, "a PCR beyond %d is selected", TPM_PCR_COUNT - 1);
	*out = selection;
	return OK;
}

static result take_quote_info(struct reader *r, struct tpm_attest *out)
{
	uint32_t count;
	TRY(reader_u32(r, &count));
	if (count > TPM_BANKS_MAX)
		return fail(TOO_LARGE, "%u PCR selections", count);
	for (uint32_t i = 0; i < count; i++) {
		TRY(take_selection(r, &out->selections[i]));
		for (uint32_t before = 0; before < i; before++)
			if (out->selections[before].bank == out->selections[i].bank)
				return fail(DUPLICATE_KEY, "a PCR bank is selected twice");
	}
	out->selection_count = count;
	return take_sized(r, DIGEST_MAX, "a PCR digest", &out->pcr_digest);
}

static result take_attest(struct reader *r, struct tpm_attest *out)
{
	uint32_t magic;
	uint16_t type;
	uint8_t safe;

	TRY(reader_u32(r, &magic));
	if (magic != TPM_GENERATED)
		return fail(TPM_NOT_A_QUOTE, "the magic is %08x: no TPM made this", magic);
	TRY(reader_u16(r, &type));
	if (type != TPM_ST_ATTEST_QUOTE)
		return fail(TPM_NOT_A_QUOTE, "an attestation of type %04x is no quote", type);
	TRY(take_sized(r, TPM_NAME_MAX, "a signer name", &out->signer));
	TRY(take_sized(r, EXTRA_DATA_MAX, "a challenge", &out->extra_data));
	TRY(reader_u64(r, &out->clock));
	TRY(reader_u32(r, &out->reset_count));
	TRY(reader_u32(r, &out->restart_count));
	TRY(reader_u8(r, &safe));
	if (safe > 1)
		return fail(BAD_VALUE, "the clock's flag is %u", safe);
	out->clock_safe = safe == 1;
	TRY(reader_u64(r, &out->firmware_version));
	TRY(take_quote_info(r, out));
	return reader_finish(r);
}

result tpm_attest_parse(struct span bytes, struct tpm_attest *out)
{
	struct reader r = reader_of(bytes);
	struct tpm_attest attest = {.whole = bytes};
	result taken = take_attest(&r, &attest);
	if (taken != OK)
		return fail_within(taken, "quote");
	*out = attest;
	return OK;
}

/* ---- public areas ---- */

static result take_symmetric(struct reader *r, struct tpm_public *out)
{
	uint16_t algorithm, mode;
	TRY(reader_u16(r, &algorithm));
	out->symmetric_bits = 0;
	if (algorithm == TPM_NULL)
		return OK;
	TRY(reader_u16(r, &out->symmetric_bits));
	return reader_u16(r, &mode);
}

static result take_scheme(struct reader *r, struct tpm_public *out)
{
	uint16_t count;
	TRY(reader_u16(r, &out->scheme));
	out->scheme_digest = TPM_NULL;
	if (out->scheme == TPM_NULL || out->scheme == TPM_RSAES)
		return OK;
	TRY(reader_u16(r, &out->scheme_digest));
	return out->scheme == TPM_ECDAA ? reader_u16(r, &count) : OK;
}

static result take_rsa(struct reader *r, struct tpm_public *out)
{
	uint16_t bits;
	TRY(take_symmetric(r, out));
	TRY(take_scheme(r, out));
	TRY(reader_u16(r, &bits));
	TRY(reader_u32(r, &out->exponent));
	if (out->exponent == 0)
		out->exponent = RSA_DEFAULT_EXPONENT;
	TRY(take_sized(r, RSA_KEY_BYTES_MAX, "a modulus", &out->modulus));
	if (out->modulus.len * 8 != bits)
		return fail(BAD_VALUE, "a modulus of %zu bytes in a key of %u bits", out->modulus.len, bits);
	return OK;
}

static result take_ecc(struct reader *r, struct tpm_public *out)
{
	uint16_t kdf, unused;
	TRY(take_symmetric(r, out));
	TRY(take_scheme(r, out));
	TRY(reader_u16(r, &out->curve));
	TRY(reader_u16(r, &kdf));
	if (kdf != TPM_NULL)
		TRY(reader_u16(r, &unused));
	TRY(take_sized(r, 66, "a coordinate", &out->x));
	return take_sized(r, 66, "a coordinate", &out->y);
}

static result take_public(struct reader *r, struct tpm_public *out)
{
	TRY(reader_u16(r, &out->type));
	TRY(reader_u16(r, &out->name_algorithm));
	TRY(reader_u32(r, &out->attributes));
	TRY(take_sized(r, DIGEST_MAX, "a policy digest", &out->policy));
	if (out->type == TPM_RSA)
		TRY(take_rsa(r, out));
	else if (out->type == TPM_ECC)
		TRY(take_ecc(r, out));
	else
		return fail(UNSUPPORTED_ALGORITHM, "a key of type %04x", out->type);
	return reader_finish(r);
}

result tpm_public_parse(struct span bytes, struct tpm_public *out)
{
	struct reader r = reader_of(bytes);
	struct tpm_public public = {.whole = bytes};
	result taken = take_public(&r, &public);
	if (taken != OK)
		return fail_within(taken, "public area");
	*out = public;
	return OK;
}

static result name_digest(uint16_t algorithm, struct span data, uint8_t out[static TPM_NAME_MAX], size_t *out_len)
{
	enum platform_digest digest = tpm_digest(algorithm);
	if (digest == 0 || digest == DIGEST_SHA1)
		return fail(UNSUPPORTED_ALGORITHM, "names by algorithm %04x", algorithm);
	out[0] = (uint8_t)(algorithm >> 8);
	out[1] = (uint8_t)algorithm;
	platform_digest(digest, data, out + 2);
	*out_len = 2 + platform_digest_size(digest);
	return OK;
}

result tpm_public_name(const struct tpm_public *public, uint8_t out[static TPM_NAME_MAX], size_t *out_len)
{
	return name_digest(public->name_algorithm, public->whole, out, out_len);
}

result tpm_qualified_name(uint16_t name_algorithm, uint32_t hierarchy, struct span name, uint8_t out[static TPM_NAME_MAX], size_t *out_len)
{
	uint8_t input[4 + TPM_NAME_MAX];
	struct writer w = writer_fixed(input, sizeof(input));
	struct span data;
	writer_u32(&w, hierarchy);
	writer_span(&w, name);
	TRY(writer_finish(&w, &data));
	return name_digest(name_algorithm, data, out, out_len);
}

result tpm_public_key(const struct tpm_public *public, struct platform_key *out)
{
	if (public->type == TPM_RSA)
		return platform_key_from_rsa(public->modulus, public->exponent, out);
	if (public->curve == TPM_CURVE_P256)
		return platform_key_from_point(PLATFORM_KEY_P256, public->x, public->y, out);
	if (public->curve == TPM_CURVE_P384)
		return platform_key_from_point(PLATFORM_KEY_P384, public->x, public->y, out);
	return fail(BAD_KEY, "a key on curve %u", public->curve);
}

/* ---- signatures ---- */

static result take_signature(struct reader *r, struct platform_signature *out)
{
	uint16_t scheme, digest;
	TRY(reader_u16(r, &scheme));
	if (scheme != TPM_RSASSA && scheme != TPM_RSAPSS && scheme != TPM_ECDSA)
		return fail(UNSUPPORTED_ALGORITHM, "signature scheme %04x", scheme);
	TRY(reader_u16(r, &digest));
	out->digest = tpm_digest(digest);
	if (out->digest == 0)
		return fail(UNSUPPORTED_ALGORITHM, "a signature over digest %04x", digest);
	if (scheme == TPM_ECDSA) {
		out->scheme = SCHEME_ECDSA;
		TRY(take_sized(r, 66, "a signature", &out->r));
		TRY(take_sized(r, 66, "a signature", &out->s));
	} else {
		out->scheme = scheme == TPM_RSASSA ? SCHEME_RSASSA : SCHEME_RSAPSS;
		TRY(take_sized(r, RSA_KEY_BYTES_MAX, "a signature", &out->rsa));
	}
	return reader_finish(r);
}

result tpm_signature_parse(struct span bytes, struct platform_signature *out)
{
	struct reader r = reader_of(bytes);
	struct platform_signature signature = {0};
	result taken = take_signature(&r, &signature);
	if (taken != OK)
		return fail_within(taken, "signature");
	*out = signature;
	return OK;
}
