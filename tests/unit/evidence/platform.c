#include "platform.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

static void put_sized(struct writer *w, struct span bytes)
{
	writer_u16(w, (uint16_t)bytes.len);
	writer_span(w, bytes);
}

size_t put_ecc_public(const struct key *key, uint32_t attributes, uint8_t out[static 256])
{
	struct writer w = writer_fixed(out, 256);
	writer_u16(&w, TPM_ECC);
	writer_u16(&w, TPM_SHA256);
	writer_u32(&w, attributes);
	put_sized(&w, SPAN_EMPTY);
	if (attributes & TPM_DECRYPT) {
		writer_u16(&w, 6); /* AES-128-CFB */
		writer_u16(&w, 128);
		writer_u16(&w, 0x43);
		writer_u16(&w, TPM_NULL);
	} else {
		writer_u16(&w, TPM_NULL);
		writer_u16(&w, TPM_ECDSA);
		writer_u16(&w, TPM_SHA256);
	}
	writer_u16(&w, 3); /* P-256 */
	writer_u16(&w, TPM_NULL);
	put_sized(&w, span_of(key->point + 1, 32));
	put_sized(&w, span_of(key->point + 33, 32));
	return w.failed ? 0 : w.len;
}

size_t put_attest(const struct fake_quote *quote, uint8_t out[static 512])
{
	struct writer w = writer_fixed(out, 512);
	uint8_t values[24 * 32], digest[SHA256_SIZE];
	size_t len = 0;
	for (unsigned i = 0; i < 24; i++)
		if (quote->pcrs & 1u << i) {
			memcpy(values + len, quote->values + (size_t)32 * i, 32);
			len += 32;
		}
	sha256(span_of(values, len), digest);
	writer_u32(&w, quote->magic);
	writer_u16(&w, quote->type);
	put_sized(&w, quote->signer);
	put_sized(&w, quote->nonce);
	writer_u64(&w, 1000);
	writer_u32(&w, 1);
	writer_u32(&w, 0);
	writer_u8(&w, 1);
	writer_u64(&w, 7);
	writer_u32(&w, quote->selection_count);
	for (int i = 0; i < 1 + quote->second_selection; i++) {
		writer_u16(&w, quote->bank);
		writer_u8(&w, 3);
		writer_u8(&w, (uint8_t)quote->pcrs);
		writer_u8(&w, (uint8_t)(quote->pcrs >> 8));
		writer_u8(&w, (uint8_t)(quote->pcrs >> 16));
	}
	put_sized(&w, SPAN_ARRAY(digest));
	return w.failed ? 0 : w.len;
}

size_t put_signature(const struct key *key, struct span message, uint8_t out[static 128])
{
	struct writer w = writer_fixed(out, 128);
	uint8_t raw[SIGNATURE_SIZE];
	if (key_sign(key, message, raw) != OK)
		return 0;
	writer_u16(&w, TPM_ECDSA);
	writer_u16(&w, TPM_SHA256);
	put_sized(&w, span_of(raw, 32));
	put_sized(&w, span_of(raw + 32, 32));
	return w.failed ? 0 : w.len;
}

static void add_extension(X509 *x509, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	if (!extension || !X509_add_ext(x509, extension, -1))
		abort();
	X509_EXTENSION_free(extension);
}

static X509 *new_certificate(const struct key *key, const char *subject, const char *issuer, long days)
{
	X509 *x509 = X509_new();
	X509_set_version(x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
	X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x509), days * 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC, (const uint8_t *)subject, -1, -1, 0);
	X509_NAME_add_entry_by_txt(X509_get_issuer_name(x509), "CN", MBSTRING_ASC, (const uint8_t *)issuer, -1, -1, 0);
	X509_set_pubkey(x509, key->pkey);
	return x509;
}

static struct bytes sign_certificate(X509 *x509, const struct key *ca)
{
	struct bytes out = BYTES_EMPTY;
	uint8_t *der = NULL;
	if (!X509_sign(x509, ca->pkey, EVP_sha256()))
		abort();
	int len = i2d_X509(x509, &der);
	if (len <= 0 || bytes_copy(span_of(der, (size_t)len), &out) != OK)
		abort();
	OPENSSL_free(der);
	X509_free(x509);
	return out;
}

struct bytes make_root(const struct key *ca, const char *name)
{
	X509 *x509 = new_certificate(ca, name, name, 3650);
	add_extension(x509, NID_basic_constraints, "critical,CA:TRUE");
	add_extension(x509, NID_key_usage, "critical,keyCertSign,cRLSign");
	return sign_certificate(x509, ca);
}

struct bytes make_ek_certificate(const struct key *ek, const struct key *ca, struct span root, int64_t days, bool is_ca)
{
	X509 *x509 = new_certificate(ek, "a TPM", "x", (long)days);
	const uint8_t *at = root.data;
	X509 *issuer = d2i_X509(NULL, &at, (long)root.len);
	X509_set_issuer_name(x509, X509_get_subject_name(issuer));
	X509_free(issuer);
	if (days < 0)
		X509_gmtime_adj(X509_getm_notBefore(x509), (days - 10) * 86400);
	add_extension(x509, NID_basic_constraints, is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (!is_ca)
		add_extension(x509, NID_key_usage, "critical,keyAgreement");
	return sign_certificate(x509, ca);
}
