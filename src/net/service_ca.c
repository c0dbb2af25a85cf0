#include "net/service_ca.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "crypto/random.h"

enum { HOSTS_MAX = 16, HOST_MAX = 253 };

static result openssl_failed(const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	result failed = fail(CRYPTO_FAILED, "%s: %s", what, reason ? reason : "no reason was given");
	ERR_clear_error();
	return failed;
}

result service_name_check(const char *name)
{
	size_t len = strlen(name);
	bool good = len >= 1 && len <= SERVICE_NAME_MAX && name[0] != '.' && name[0] != '-';
	for (size_t i = 0; good && i < len; i++) {
		char c = name[i];
		good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
	}
	return good ? OK : fail(BAD_NAME, "a name is 1 to %d of a-z, A-Z, 0-9, '.', '_' and '-', and begins with a letter or digit", SERVICE_NAME_MAX);
}

static void free_certificate(X509 **at)
{
	X509_free(*at);
}

static void free_names(GENERAL_NAMES **at)
{
	GENERAL_NAMES_free(*at);
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	bool added = extension && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return added;
}

/* A certificate with what all have: serial, names, validity, key. `issuer` may be the certificate itself (NULL). */
static X509 *new_certificate(const char *name, X509 *issuer, const struct key *subject)
{
	X509 *certificate = X509_new();
	uint8_t serial[16];
	random_bytes(serial, sizeof(serial));
	serial[0] = (serial[0] & 0x3f) | 0x40;
	BIGNUM *number = BN_bin2bn(serial, sizeof(serial), NULL);
	X509_NAME *own = certificate ? X509_get_subject_name(certificate) : NULL;
	bool made = certificate && number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) &&
		    X509_set_version(certificate, X509_VERSION_3) == 1 &&
		    X509_NAME_add_entry_by_txt(own, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) == 1 &&
		    X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : own) == 1 &&
		    X509_set_pubkey(certificate, subject->pkey) == 1;
	if (made && issuer)
		made = X509_set1_notBefore(certificate, X509_get0_notBefore(issuer)) == 1 &&
		       X509_set1_notAfter(certificate, X509_get0_notAfter(issuer)) == 1;
	else if (made)
		made = X509_gmtime_adj(X509_getm_notBefore(certificate), -24L * 3600) &&
		       X509_time_adj_ex(X509_getm_notAfter(certificate), SERVICE_CA_DAYS, 0, NULL);
	BN_free(number);
	if (made)
		return certificate;
	X509_free(certificate);
	return NULL;
}

static result write_pem(X509 *certificate, const struct key *signer, struct bytes *out)
{
	char *text = NULL;
	if (X509_sign(certificate, signer->pkey, EVP_sha256()) <= 0)
		return openssl_failed("signing a certificate");
	BIO *memory = BIO_new(BIO_s_mem());
	long len = memory && PEM_write_bio_X509(memory, certificate) == 1 ? BIO_get_mem_data(memory, &text) : 0;
	result copied = len > 0 ? bytes_copy(span_of(text, (size_t)len), out) : openssl_failed("writing a certificate");
	BIO_free(memory);
	return copied;
}

result service_ca_new(const struct key *key, const char *name, struct bytes *out_pem)
{
	CLEANUP(free_certificate) X509 *certificate = NULL;
	if (!key->is_private || key->backend)
		return fail(BAD_KEY, "a CA needs the private key itself");
	certificate = new_certificate(name, NULL, key);
	if (!certificate || !add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
		!add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign") ||
		!add_extension(certificate, certificate, NID_subject_key_identifier, "hash"))
		return openssl_failed("making a CA's certificate");
	return write_pem(certificate, key, out_pem);
}

static GENERAL_NAME *general_name(const char *host)
{
	GENERAL_NAME *name = a2i_GENERAL_NAME(NULL, NULL, NULL, GEN_DNS, host, 0);
	uint8_t address[16];
	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1) {
		GENERAL_NAME_free(name);
		name = a2i_GENERAL_NAME(NULL, NULL, NULL, GEN_IPADD, host, 0);
	}
	return name;
}

static result check_host(const char *host)
{
	uint8_t address[16];
	size_t len = strlen(host);
	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
		return OK;
	bool good = len >= 1 && len <= HOST_MAX && host[0] != '.' && host[0] != '-';
	for (size_t i = 0; good && i < len; i++)
		good = (host[i] >= 'a' && host[i] <= 'z') || (host[i] >= 'A' && host[i] <= 'Z') || (host[i] >= '0' && host[i] <= '9') ||
		       host[i] == '.' || host[i] == '-';
	return good ? OK : fail(BAD_NAME, "'%.80s' is neither a DNS name nor an IP address", host);
}

static result add_hosts(X509 *certificate, const struct service_certificate *what)
{
	CLEANUP(free_names) GENERAL_NAMES *names = GENERAL_NAMES_new();
	if (what->host_count > HOSTS_MAX)
		return fail(TOO_LARGE, "at most %d names in a certificate", HOSTS_MAX);
	for (size_t i = 0; names && i < what->host_count; i++) {
		TRY(check_host(what->hosts[i]));
		GENERAL_NAME *name = general_name(what->hosts[i]);
		if (!name || sk_GENERAL_NAME_push(names, name) <= 0) {
			GENERAL_NAME_free(name);
			return openssl_failed("the names of a certificate");
		}
	}
	if (!names || X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_APPEND) != 1)
		return openssl_failed("the names of a certificate");
	return OK;
}

result service_ca_issue(const struct key *ca_key, struct span ca_pem, const struct service_certificate *what, const struct key *subject,
	struct bytes *out_pem)
{
	CLEANUP(free_certificate) X509 *issuer = NULL;
	CLEANUP(free_certificate) X509 *certificate = NULL;
	TRY(service_name_check(what->name));
	if (!ca_key->is_private || ca_key->backend)
		return fail(BAD_KEY, "a CA needs the private key itself");
	BIO *file = ca_pem.len <= INT32_MAX ? BIO_new_mem_buf(ca_pem.data, (int)ca_pem.len) : NULL;
	issuer = file ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;
	BIO_free(file);
	ERR_clear_error();
	if (!issuer)
		return fail(BAD_CERTIFICATE, "the CA's certificate is not one in PEM form");
	if (X509_check_private_key(issuer, ca_key->pkey) != 1) {
		ERR_clear_error();
		return fail(BAD_CERTIFICATE, "the CA's certificate is not one of its key");
	}
	certificate = new_certificate(what->name, issuer, subject);
	if (!certificate || !add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE") ||
		!add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature") ||
		!add_extension(certificate, issuer, NID_ext_key_usage, what->hosts ? "serverAuth" : "clientAuth") ||
		!add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always"))
		return openssl_failed("making a certificate");
	if (what->hosts)
		TRY(add_hosts(certificate, what));
	return write_pem(certificate, ca_key, out_pem);
}
