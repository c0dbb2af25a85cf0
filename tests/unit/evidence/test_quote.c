/* One quote and its attestation key: what a genuine one is, and each way of not being one (EV-30, 31, 32, 33, 36). */
#include "expect.h"

#include "groups.h"
#include "platform.h"

#include "crypto/random.h"

struct world {
	struct key ak;
	struct platform_key public;
	struct tpm_public area;
	uint8_t area_bytes[256], signer[TPM_NAME_MAX];
	size_t area_len, signer_len;
	uint8_t values[24][32], nonce[32];
	struct pcr_value pcrs[24];
	size_t pcr_count;
	uint8_t attest[512], signature[128];
	struct fake_quote fake;
	struct tpm_quote quote;
};

static void make_name(struct world *w, uint32_t attributes)
{
	uint8_t name[TPM_NAME_MAX];
	size_t len;
	w->area_len = put_ecc_public(&w->ak, attributes, w->area_bytes);
	expect_ok(tpm_public_parse(span_of(w->area_bytes, w->area_len), &w->area));
	expect_ok(tpm_public_name(&w->area, name, &len));
	expect_ok(tpm_qualified_name(TPM_SHA256, TPM_ENDORSEMENT, span_of(name, len), w->signer, &w->signer_len));
}

/* Writes and signs what w->fake says. */
static void seal(struct world *w)
{
	size_t len = put_attest(&w->fake, w->attest);
	assert_true(len > 0);
	w->quote.attest = span_of(w->attest, len);
	size_t signature_len = put_signature(&w->ak, w->quote.attest, w->signature);
	expect_ok(tpm_signature_parse(span_of(w->signature, signature_len), &w->quote.signature));
}

static int setup(void **state)
{
	static struct world world;
	struct world *w = &world;
	*w = (struct world){0};
	expect_ok(key_generate(&w->ak));
	random_bytes(w->values, sizeof(w->values));
	random_bytes(w->nonce, sizeof(w->nonce));
	make_name(w, AK_ATTRIBUTES);
	expect_ok(tpm_public_key(&w->area, &w->public));
	w->fake = (struct fake_quote){.magic = 0xff544347, .type = 0x8018, .signer = span_of(w->signer, w->signer_len), .nonce = SPAN_ARRAY(w->nonce),
		.selection_count = 1, .bank = TPM_SHA256, .pcrs = 0x8000ff, .values = w->values[0]};
	for (uint8_t i = 0; i < 24; i++)
		if (w->fake.pcrs & 1u << i)
			w->pcrs[w->pcr_count++] = (struct pcr_value){TPM_SHA256, i, span_of(w->values[i], 32)};
	w->quote = (struct tpm_quote){.ak = &w->public, .pcrs = w->pcrs, .pcr_count = w->pcr_count, .bank = TPM_SHA256, .nonce = SPAN_ARRAY(w->nonce)};
	seal(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	key_free(&w->ak);
	platform_key_free(&w->public);
	return 0;
}

static void genuine_quote(void **state)
{
	struct world *w = *state;
	struct tpm_attest attest;
	expect_ok(tpm_quote_verify(&w->quote, &attest));
	expect_ok(tpm_signer_check(&attest, &w->area));
	expect_ok(tpm_ak_check(&w->area));
	assert_int_equal(attest.selections[0].pcrs, 0x8000ff);
	assert_int_equal(attest.clock, 1000);
	assert_true(attest.clock_safe);
}

static void ev30_wrong_magic(void **state)
{
	struct world *w = *state;
	struct tpm_attest attest;
	w->fake.magic = 0xff544348;
	seal(w);
	expect(tpm_quote_verify(&w->quote, &attest), TPM_NOT_A_QUOTE);
	w->fake.magic = 0xff544347;
	w->fake.type = 0x8017; /* a certification of a key */
	seal(w);
	expect(tpm_quote_verify(&w->quote, &attest), TPM_NOT_A_QUOTE);
}

static void ev31_unrestricted_ak(void **state)
{
	struct world *w = *state;
	static const uint32_t wrong[] = {AK_ATTRIBUTES & ~(uint32_t)TPM_RESTRICTED, AK_ATTRIBUTES & ~(uint32_t)TPM_SIGN,
		AK_ATTRIBUTES & ~(uint32_t)TPM_FIXED_TPM, AK_ATTRIBUTES & ~(uint32_t)TPM_FIXED_PARENT,
		AK_ATTRIBUTES & ~(uint32_t)TPM_SENSITIVE_DATA_ORIGIN, AK_ATTRIBUTES | TPM_DECRYPT};
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		make_name(w, wrong[i]);
		expect(tpm_ak_check(&w->area), TPM_AK_UNFIT);
	}
}

/* A scheme that is not fixed would let the caller choose SHA-1. */
static void ak_without_a_scheme(void **state)
{
	struct world *w = *state;
	w->area.scheme = TPM_NULL;
	expect(tpm_ak_check(&w->area), TPM_AK_UNFIT);
	w->area.scheme = TPM_RSASSA;
	expect(tpm_ak_check(&w->area), TPM_AK_UNFIT);
	w->area.scheme = TPM_ECDSA;
	w->area.scheme_digest = TPM_SHA1;
	expect(tpm_ak_check(&w->area), TPM_AK_UNFIT);
}

static void ev32_pcr_outside_selection(void **state)
{
	struct world *w = *state;
	struct tpm_attest attest;
	w->pcrs[w->pcr_count] = (struct pcr_value){TPM_SHA256, 9, span_of(w->values[9], 32)};
	w->quote.pcr_count++;
	expect(tpm_quote_verify(&w->quote, &attest), TPM_SELECTION_MISMATCH);
	w->pcrs[w->pcr_count].index = 3; /* one of them twice */
	expect(tpm_quote_verify(&w->quote, &attest), TPM_SELECTION_MISMATCH);
	w->quote.pcr_count -= 2; /* one too few */
	expect(tpm_quote_verify(&w->quote, &attest), TPM_SELECTION_MISMATCH);
	w->quote.pcr_count = w->pcr_count;
	w->pcrs[2].index = 9; /* in the place of another */
	expect(tpm_quote_verify(&w->quote, &attest), TPM_SELECTION_MISMATCH);
	w->pcrs[2].index = 24;
	expect(tpm_quote_verify(&w->quote, &attest), TPM_SELECTION_MISMATCH);
}

static void changed_pcr(void **state)
{
	struct world *w = *state;
	struct tpm_attest attest;
	w->values[4][31] ^= 1;
	expect(tpm_quote_verify(&w->quote, &attest), TPM_PCR_MISMATCH);
}

static void ev33_wrong_bank(void **state)
{
	struct world *w = *state;
	struct tpm_attest attest;
	w->fake.bank = TPM_SHA384;
	seal(w);
	expect(tpm_quote_verify(&w->quote, &attest), TPM_WRONG_BANK);
	w->fake.bank = 0x7777;
	w->quote.bank = 0;
	seal(w);
	expect(tpm_quote_verify(&w->quote, &attest), TPM_WRONG_BANK);
	/* Values of one bank offered for another: SM3 has 32 bytes as well. */
	w->fake.bank = TPM_SHA256;
	w->quote.bank = TPM_SHA384;
	seal(w);
	expect(tpm_quote_verify(&w->quote, &attest), TPM_WRONG_BANK);
}

static void no_pcr_selected(void **state)
{
	struct world *w = *state;
	struct tpm_attest attest;
	w->fake.pcrs = 0;
	seal(w);
	w->quote.pcr_count = 0;
	expect(tpm_quote_verify(&w->quote, &attest), TPM_SELECTION_MISMATCH);
}

static void ev36_huge_counts(void **state)
{
	struct world *w = *state;
	struct tpm_attest attest;
	static const uint32_t counts[] = {9, 0xffff, 0x7fffffff, 0xffffffff};
	for (size_t i = 0; i < COUNT_OF(counts); i++) {
		w->fake.selection_count = counts[i];
		seal(w);
		expect(tpm_quote_verify(&w->quote, &attest), TOO_LARGE);
	}
	w->fake.selection_count = 2; /* one more than there are */
	seal(w);
	assert_true(tpm_quote_verify(&w->quote, &attest) != OK);
	w->fake.second_selection = true;
	seal(w);
	expect(tpm_quote_verify(&w->quote, &attest), DUPLICATE_KEY);
}

static void other_nonce_signer_key(void **state)
{
	struct world *w = *state;
	struct tpm_attest attest;
	uint8_t other[32] = {1};
	w->quote.nonce = SPAN_ARRAY(other);
	expect(tpm_quote_verify(&w->quote, &attest), TPM_NONCE_MISMATCH);
	w->quote.nonce = span_of(w->nonce, 31); /* truncated comparison */
	expect(tpm_quote_verify(&w->quote, &attest), TPM_NONCE_MISMATCH);
	w->quote.nonce = SPAN_ARRAY(w->nonce);
	w->signer[10] ^= 1;
	seal(w);
	expect_ok(tpm_quote_verify(&w->quote, &attest));
	expect(tpm_signer_check(&attest, &w->area), TPM_SIGNER_MISMATCH);
	w->attest[20] ^= 1;
	expect(tpm_quote_verify(&w->quote, &attest), BAD_SIGNATURE);
}

static void every_cut_and_bit(void **state)
{
	struct world *w = *state;
	struct tpm_attest attest;
	uint8_t copy[513];
	size_t len = w->quote.attest.len;
	for (size_t cut = 0; cut < len; cut++)
		assert_true(tpm_attest_parse(span_of(w->attest, cut), &attest) != OK);
	memcpy(copy, w->attest, len);
	copy[len] = 0;
	expect(tpm_attest_parse(span_of(copy, len + 1), &attest), TRAILING_BYTES);
	struct tpm_quote quote = w->quote;
	quote.attest = span_of(copy, len);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_true(tpm_quote_verify(&quote, &attest) != OK);
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	expect_ok(tpm_quote_verify(&quote, &attest));
	struct tpm_public area;
	for (size_t cut = 0; cut < w->area_len; cut++)
		assert_true(tpm_public_parse(span_of(w->area_bytes, cut), &area) != OK);
}

static void signatures_that_do_not_fit(void **state)
{
	struct world *w = *state;
	struct tpm_attest attest;
	w->quote.signature.digest = DIGEST_SHA1;
	expect(tpm_quote_verify(&w->quote, &attest), UNSUPPORTED_ALGORITHM);
	w->quote.signature.digest = DIGEST_SHA256;
	w->quote.signature.scheme = SCHEME_RSASSA;
	expect(tpm_quote_verify(&w->quote, &attest), BAD_KEY);
	w->quote.signature.scheme = SCHEME_ECDSA;
	w->quote.signature.r = SPAN_EMPTY;
	expect(tpm_quote_verify(&w->quote, &attest), BAD_SIGNATURE);
}

int quote_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(genuine_quote, setup, teardown),
		cmocka_unit_test_setup_teardown(ev30_wrong_magic, setup, teardown),
		cmocka_unit_test_setup_teardown(ev31_unrestricted_ak, setup, teardown),
		cmocka_unit_test_setup_teardown(ak_without_a_scheme, setup, teardown),
		cmocka_unit_test_setup_teardown(ev32_pcr_outside_selection, setup, teardown),
		cmocka_unit_test_setup_teardown(changed_pcr, setup, teardown),
		cmocka_unit_test_setup_teardown(ev33_wrong_bank, setup, teardown),
		cmocka_unit_test_setup_teardown(no_pcr_selected, setup, teardown),
		cmocka_unit_test_setup_teardown(ev36_huge_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(other_nonce_signer_key, setup, teardown),
		cmocka_unit_test_setup_teardown(every_cut_and_bit, setup, teardown),
		cmocka_unit_test_setup_teardown(signatures_that_do_not_fit, setup, teardown),
	};
	return cmocka_run_group_tests_name("tpm quote", tests, NULL, NULL);
}
