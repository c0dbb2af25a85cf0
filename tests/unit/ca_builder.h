/* Certificates of authorities for tests, by OpenSSL: any extension as its configuration files write it. */
#ifndef TROTH_TESTS_CA_BUILDER_H
#define TROTH_TESTS_CA_BUILDER_H

#include "base/bytes.h"
#include "crypto/key.h"

#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

struct ca_fields {
	const char *subject, *issuer; /* CN, UTF8String */
	const struct key *key, *issuer_key;
	uint64_t not_before, not_after; /* ms */
	/* As in openssl.cnf; NULL: left out. */
	const char *constraints, *usage, *names;
};

/* What the authority of docs/PROTOCOL.certificate writes for an issuer key. */
static inline struct ca_fields ca_good(const char *subject, const struct key *key, const char *issuer, const struct key *issuer_key,
	uint64_t now_ms)
{
	return (struct ca_fields){subject, issuer, key, issuer_key, now_ms - 1000, now_ms + 86400000, "critical,CA:TRUE,pathlen:0",
		"critical,keyCertSign", "critical,permitted;URI:test.example"};
}

static inline void ca_add(X509 *x509, int nid, const char *value)
{
	if (!value)
		return;
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(x509, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static inline void ca_name(X509_NAME *name, const char *text)
{
	assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", V_ASN1_UTF8STRING, (const unsigned char *)text, -1, -1, 0), 1);
}

static inline struct bytes ca_issue(const struct ca_fields *f)
{
	X509 *x509 = X509_new();
	struct bytes der = BYTES_EMPTY;

	assert_int_equal(X509_set_version(x509, 2), 1);
	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x509), 7), 1);
	ca_name(X509_get_subject_name(x509), f->subject);
	X509_NAME *issuer = X509_NAME_new();
	ca_name(issuer, f->issuer);
	assert_int_equal(X509_set_issuer_name(x509, issuer), 1);
	X509_NAME_free(issuer);
	assert_non_null(ASN1_TIME_set(X509_getm_notBefore(x509), (time_t)(f->not_before / 1000)));
	assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x509), (time_t)(f->not_after / 1000)));
	assert_int_equal(X509_set_pubkey(x509, f->key->pkey), 1);
	ca_add(x509, NID_basic_constraints, f->constraints);
	ca_add(x509, NID_key_usage, f->usage);
	ca_add(x509, NID_name_constraints, f->names);
	assert_true(X509_sign(x509, f->issuer_key->pkey, EVP_sha256()) > 0);
	int len = i2d_X509(x509, NULL);
	assert_true(len > 0);
	der = (struct bytes){malloc((size_t)len), (size_t)len};
	unsigned char *at = der.data;
	assert_int_equal(i2d_X509(x509, &at), len);
	X509_free(x509);
	return der;
}

#endif
