#include "evidence/tpm_head.h"

#include "crypto/hash.h"

enum {
	GENERATED = 0xff544347, /* TPM_GENERATED_VALUE */
	ATTEST_NV = 0x8014,
	CLOCK_SIZE = 17, FIRMWARE_SIZE = 8,
	EXTRA_MAX = 64,
	/* TPMA_NV: written, no dictionary attack, auth and owner read, TPM_NT_EXTEND, auth alone extends. Nobody else may write. */
	HEAD_ATTRIBUTES = 0x22060044,
};

void tpm_head_fold(const struct digest32 *log, size_t count, uint8_t out[static SHA256_SIZE])
{
	uint8_t step[2 * SHA256_SIZE] = {0};
	sha256(SPAN_ARRAY(step), step);
	for (size_t i = 0; i < count; i++) {
		memcpy(step + SHA256_SIZE, log[i].bytes, SHA256_SIZE);
		sha256(SPAN_ARRAY(step), step);
	}
	memcpy(out, step, SHA256_SIZE);
}

static result take_sized(struct reader *r, size_t most, struct span *out)
{
	uint16_t len;
	TRY(reader_u16(r, &len));
	if (len > most)
		return fail(TOO_LARGE, "a field of %u bytes", len);
	return reader_take(r, len, out);
}

struct certified {
	struct span extra, name, contents;
};

/* Name of the index = algorithm ‖ SHA-256(TPMS_NV_PUBLIC): what it is cannot be told otherwise. */
static result name_of(uint32_t index, uint8_t out[static 2 + SHA256_SIZE])
{
	uint8_t public[14];
	struct span bytes;
	struct writer w = writer_fixed(public, sizeof(public));
	writer_u32(&w, index);
	writer_u16(&w, TPM_SHA256);
	writer_u32(&w, HEAD_ATTRIBUTES);
	writer_u16(&w, 0); /* no policy */
	writer_u16(&w, SHA256_SIZE);
	TRY(writer_finish(&w, &bytes));
	out[0] = TPM_SHA256 >> 8;
	out[1] = TPM_SHA256 & 0xff;
	sha256(bytes, out + 2);
	return OK;
}

static result parse(struct span bytes, struct certified *out)
{
	struct reader r = reader_of(bytes);
	struct span signer, unused;
	uint32_t magic;
	uint16_t type, offset;
	TRY(reader_u32(&r, &magic));
	TRY(reader_u16(&r, &type));
	if (magic != GENERATED || type != ATTEST_NV)
		return fail(TPM_NOT_A_QUOTE, "magic %08x, type %04x: not what TPM2_NV_Certify says", magic, type);
	TRY(take_sized(&r, TPM_NAME_MAX, &signer));
	TRY(take_sized(&r, EXTRA_MAX, &out->extra));
	TRY(reader_take(&r, CLOCK_SIZE + FIRMWARE_SIZE, &unused));
	TRY(take_sized(&r, TPM_NAME_MAX, &out->name));
	TRY(reader_u16(&r, &offset));
	TRY(take_sized(&r, SHA256_SIZE, &out->contents));
	if (offset != 0 || out->contents.len != SHA256_SIZE)
		return fail(TPM_NOT_A_QUOTE, "%zu bytes from %u on of an index", out->contents.len, offset);
	return reader_finish(&r);
}

result tpm_head_verify(const struct tpm_head *head)
{
	struct certified certified;
	uint8_t folded[SHA256_SIZE], name[2 + SHA256_SIZE];
	TRY(parse(head->attest, &certified));
	TRY(platform_key_verify(head->ak, &head->signature, head->attest));
	if (!span_equal(certified.extra, head->nonce))
		return fail(TPM_NONCE_MISMATCH, "the head's challenge is not the one expected");
	TRY(name_of(head->index, name));
	if (!span_equal(certified.name, SPAN_ARRAY(name)))
		return fail(HEAD_MISMATCH, "index %08x is not one that can only be extended", head->index);
	tpm_head_fold(head->log, head->log_count, folded);
	if (!span_equal(certified.contents, SPAN_ARRAY(folded)))
		return fail(HEAD_MISMATCH, "%zu entries do not lead to it", head->log_count);
	return OK;
}
