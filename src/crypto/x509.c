#include "crypto/x509.h"

#include "base/clock.h"
#include "base/writer.h"
#include "crypto/der.h"
#include "crypto/library.h"

#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#define TROTH_ARC "2.25.170149660.90118214.7036778.144835121.60900"

const char *const OID_KEM_POINT = TROTH_ARC ".1";
const char *const OID_TCB_INFO = TROTH_ARC ".2";

enum { TCB_INFO_MAX = 4096, COMMON_NAME_MAX = 64, EXTENSIONS_MAX = 16 };

/* 9999-12-31T23:59:59Z, the last time that a certificate can say (RFC 5280 section 4.1.2.5). */
#define LAST_TIME_MS UINT64_C(253402300799000)

/* ---- names ---- */

static bool is_in(struct span text, const char *allowed)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] == 0 || !strchr(allowed, text.data[i]))
			return false;
	return text.len > 0;
}

#define HOST_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789.-_"
#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZ" HOST_CHARACTERS

/* spiffe://<host>/ire/<name> with the characters that SPIFFE-ID section 2 allows. Gives the name. */
static result check_uri(struct span uri, struct span *out_name)
{
	static const char scheme[] = "spiffe://", kind[] = "/ire/";
	const size_t scheme_len = sizeof scheme - 1, kind_len = sizeof kind - 1;

	if (uri.len > URI_MAX)
		return fail(BAD_VALUE, "a name of %zu bytes is longer than %d", uri.len, URI_MAX);
	if (uri.len < scheme_len || memcmp(uri.data, scheme, scheme_len) != 0)
		return fail(BAD_VALUE, "a name does not begin with spiffe://");
	struct span rest = span_of(uri.data + scheme_len, uri.len - scheme_len);
	const uint8_t *slash = rest.len > 0 ? memchr(rest.data, '/', rest.len) : NULL;
	struct span host = span_of(rest.data, slash ? (size_t)(slash - rest.data) : rest.len);
	struct span path = span_of(rest.data + host.len, rest.len - host.len);
	if (!is_in(host, HOST_CHARACTERS) || path.len <= kind_len || memcmp(path.data, kind, kind_len) != 0)
		return fail(BAD_VALUE, "a name is not of the form spiffe://<host>/ire/<name>");
	struct span name = span_of(path.data + kind_len, path.len - kind_len);
	if (!is_in(name, NAME_CHARACTERS))
		return fail(BAD_VALUE, "the last part of a name has characters other than A-Z a-z 0-9 . - _");
	*out_name = name;
	return OK;
}

result certificate_check_uri(const char *uri)
{
	struct span name;
	return check_uri(span_str(uri), &name);
}

/* ---- issuing, by OpenSSL ---- */

static void free_x509(X509 **x509)
{
	X509_free(*x509);
}
static void free_object(ASN1_OBJECT **object)
{
	ASN1_OBJECT_free(*object);
}
static void free_string(ASN1_OCTET_STRING **string)
{
	ASN1_OCTET_STRING_free(*string);
}
static void free_extension(X509_EXTENSION **extension)
{
	X509_EXTENSION_free(*extension);
}
static void free_names(GENERAL_NAMES **names)
{
	GENERAL_NAMES_free(*names);
}
static void free_bits(ASN1_BIT_STRING **bits)
{
	ASN1_BIT_STRING_free(*bits);
}
static void free_constraints(BASIC_CONSTRAINTS **constraints)
{
	BASIC_CONSTRAINTS_free(*constraints);
}
static void free_usage(EXTENDED_KEY_USAGE **usage)
{
	EXTENDED_KEY_USAGE_free(*usage);
}

static result check_fields(
	const struct certificate_fields *fields, const struct key *issuer, const char *issuer_name, struct span *out_name)
{
	uint8_t unused[KEY_ID_SIZE];

	TRY(check_uri(span_str(fields->uri), out_name));
	TRY(point_key_id(SPAN_ARRAY(fields->sign_point), unused));
	TRY(point_key_id(SPAN_ARRAY(fields->kem_point), unused));
	if (strlen(issuer_name) == 0 || strlen(issuer_name) > COMMON_NAME_MAX)
		return fail(BAD_VALUE, "an issuer name has 1 to %d characters", COMMON_NAME_MAX);
	if (fields->not_before > fields->not_after || fields->not_after > LAST_TIME_MS + 999)
		return fail(BAD_VALUE, "the validity of a certificate ends before it begins, or after the year 9999");
	if (fields->tcb_info.len > TCB_INFO_MAX)
		return fail(BAD_VALUE, "a TCB description of %zu bytes is longer than %d", fields->tcb_info.len, TCB_INFO_MAX);
	if (!issuer->is_private)
		return fail(BAD_KEY, "the issuer's key has no private part");
	return OK;
}

static result set_serial(X509 *x509, const uint8_t serial[static CERTIFICATE_SERIAL_SIZE])
{
	uint8_t positive[CERTIFICATE_SERIAL_SIZE];
	memcpy(positive, serial, sizeof positive);
	positive[0] &= 0x7f;

	BIGNUM *number = BN_bin2bn(positive, sizeof positive, NULL);
	bool zero = number && BN_is_zero(number);
	bool done = number && !zero && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509));
	BN_free(number);
	if (zero)
		return fail(BAD_VALUE, "the serial number of a certificate is zero");
	return done ? OK : library_fail("BN_to_ASN1_INTEGER");
}

static result set_times(X509 *x509, uint64_t not_before, uint64_t not_after)
{
	/* ASN1_TIME_set writes UTCTime up to 2049 and GeneralizedTime from 2050 on. */
	if (!ASN1_TIME_set(X509_getm_notBefore(x509), (time_t)(not_before / 1000)) ||
		!ASN1_TIME_set(X509_getm_notAfter(x509), (time_t)(not_after / 1000)))
		return library_fail("ASN1_TIME_set");
	return OK;
}

static result set_common_name(X509_NAME *name, struct span text)
{
	if (!X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_UTF8STRING, text.data, (int)text.len, -1, 0))
		return library_fail("X509_NAME_add_entry_by_NID");
	return OK;
}

static result set_subject_key(X509 *x509, const uint8_t point[static POINT_SIZE])
{
	/* Set from its parts: X509_set_pubkey would run OpenSSL's encoder for the same bytes. */
	ASN1_OBJECT *curve = OBJ_nid2obj(NID_X9_62_prime256v1);
	unsigned char *owned = OPENSSL_memdup(point, POINT_SIZE);
	if (!owned ||
		!X509_PUBKEY_set0_param(
			X509_get_X509_PUBKEY(x509), OBJ_nid2obj(NID_X9_62_id_ecPublicKey), V_ASN1_OBJECT, curve, owned, POINT_SIZE)) {
		OPENSSL_free(owned);
		return library_fail("X509_PUBKEY_set0_param");
	}
	return OK;
}

static result add_name(X509 *x509, const char *uri)
{
	CLEANUP(free_names) GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();

	if (!names || !name || !text || !ASN1_STRING_set(text, uri, -1) || !sk_GENERAL_NAME_push(names, name)) {
		GENERAL_NAME_free(name);
		ASN1_IA5STRING_free(text);
		return library_fail("GENERAL_NAME_new");
	}
	GENERAL_NAME_set0_value(name, GEN_URI, text); /* both transferred */
	if (X509_add1_ext_i2d(x509, NID_subject_alt_name, names, 1, X509V3_ADD_APPEND) != 1)
		return library_fail("X509_add1_ext_i2d");
	return OK;
}

static result add_usages(X509 *x509)
{
	CLEANUP(free_bits) ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
	CLEANUP(free_constraints) BASIC_CONSTRAINTS *constraints = BASIC_CONSTRAINTS_new();
	CLEANUP(free_usage) EXTENDED_KEY_USAGE *usage = EXTENDED_KEY_USAGE_new();

	if (!bits || !constraints || !usage || !ASN1_BIT_STRING_set_bit(bits, 0, 1) ||
		!sk_ASN1_OBJECT_push(usage, OBJ_nid2obj(NID_server_auth)) || !sk_ASN1_OBJECT_push(usage, OBJ_nid2obj(NID_client_auth)))
		return library_fail("key usages of a certificate");
	if (X509_add1_ext_i2d(x509, NID_key_usage, bits, 1, X509V3_ADD_APPEND) != 1 ||
		X509_add1_ext_i2d(x509, NID_basic_constraints, constraints, 1, X509V3_ADD_APPEND) != 1 ||
		X509_add1_ext_i2d(x509, NID_ext_key_usage, usage, 0, X509V3_ADD_APPEND) != 1)
		return library_fail("X509_add1_ext_i2d");
	return OK;
}

/* An extension whose value is an OCTET STRING inside the OCTET STRING that every extension value is. */
static result add_private(X509 *x509, const char *oid, bool critical, struct span value)
{
	CLEANUP(free_object) ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
	CLEANUP(free_string) ASN1_OCTET_STRING *inner = ASN1_OCTET_STRING_new();
	CLEANUP(free_string) ASN1_OCTET_STRING *outer = ASN1_OCTET_STRING_new();
	unsigned char *der = NULL;

	if (!object || !inner || !outer || !ASN1_OCTET_STRING_set(inner, value.data, (int)value.len))
		return library_fail("ASN1_OCTET_STRING_set");
	int len = i2d_ASN1_OCTET_STRING(inner, &der);
	if (len <= 0)
		return library_fail("i2d_ASN1_OCTET_STRING");
	ASN1_STRING_set0(outer, der, len); /* transferred */
	CLEANUP(free_extension) X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, object, critical, outer);
	if (!extension || !X509_add_ext(x509, extension, -1))
		return library_fail("X509_add_ext");
	return OK;
}

static result to_der(X509 *x509, struct bytes *out_der)
{
	unsigned char *der = NULL;
	int len = i2d_X509(x509, &der);
	if (len <= 0)
		return library_fail("i2d_X509");
	result copied = bytes_copy(span_of(der, (size_t)len), out_der);
	OPENSSL_free(der);
	return copied;
}

/* SEQUENCE { ecdsa-with-SHA256 }, without parameters (RFC 5758 section 3.2). */
static const uint8_t ecdsa_with_sha256[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};

/*
 * The library signs only with a key that it holds. So it signs with a throw-away key, which fills in the algorithm
 * identifiers, and the signature is replaced: SEQUENCE { signed part, algorithm, BIT STRING }.
 */
static result sign_in_backend(X509 *x509, const struct key *issuer, struct bytes *out_der)
{
	CLEANUP(key_free) struct key once = KEY_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(CERTIFICATE_MAX);
	uint8_t raw[SIGNATURE_SIZE], signature[DER_SIGNATURE_MAX];
	unsigned char *part = NULL;

	TRY(key_generate(&once));
	if (X509_sign(x509, once.pkey, EVP_sha256()) <= 0)
		return library_fail("X509_sign");
	int len = i2d_re_X509_tbs(x509, &part);
	if (len <= 0)
		return library_fail("i2d_re_X509_tbs");
	struct span signed_part = span_of(part, (size_t)len);
	result done = key_sign(issuer, signed_part, raw);
	if (done == OK) {
		size_t signature_len = der_signature_from_raw(raw, signature);
		size_t content = signed_part.len + sizeof(ecdsa_with_sha256) + 3 + signature_len;
		writer_u8(&w, DER_SEQUENCE);
		writer_u8(&w, 0x82); /* two bytes of length: a certificate has more than 255 and less than 64 KiB */
		writer_u16(&w, (uint16_t)content);
		writer_span(&w, signed_part);
		writer_span(&w, SPAN_ARRAY(ecdsa_with_sha256));
		writer_u8(&w, DER_BIT_STRING);
		writer_u8(&w, (uint8_t)(signature_len + 1));
		writer_u8(&w, 0);
		writer_put(&w, signature, signature_len);
		done = content > 255 ? writer_take(&w, out_der) : fail(BAD_VALUE, "a certificate of %zu bytes", content);
	}
	OPENSSL_free(part);
	return done;
}

result certificate_issue(const struct certificate_fields *fields, const struct key *issuer, const char *issuer_name, struct bytes *out_der)
{
	struct span name;
	TRY(check_fields(fields, issuer, issuer_name, &name));

	CLEANUP(free_x509) X509 *x509 = X509_new();
	if (!x509 || !X509_set_version(x509, X509_VERSION_3))
		return library_fail("X509_new");
	TRY(set_serial(x509, fields->serial));
	TRY(set_times(x509, fields->not_before, fields->not_after));
	TRY(set_common_name(X509_get_issuer_name(x509), span_str(issuer_name)));
	/* X.520 allows 64 characters; a longer name leaves the subject empty, which a critical SAN permits. */
	if (name.len <= COMMON_NAME_MAX)
		TRY(set_common_name(X509_get_subject_name(x509), name));
	TRY(set_subject_key(x509, fields->sign_point));
	TRY(add_name(x509, fields->uri));
	TRY(add_usages(x509));
	TRY(add_private(x509, OID_KEM_POINT, true, SPAN_ARRAY(fields->kem_point)));
	if (fields->tcb_info.len > 0)
		TRY(add_private(x509, OID_TCB_INFO, false, fields->tcb_info));
	if (issuer->backend)
		return sign_in_backend(x509, issuer, out_der);
	if (X509_sign(x509, issuer->pkey, EVP_sha256()) <= 0)
		return library_fail("X509_sign");
	return to_der(x509, out_der);
}

/* ---- parsing, by the profile ---- */

static const uint8_t oid_basic_constraints[] = {0x55, 0x1d, 0x13};
static const uint8_t oid_key_usage[] = {0x55, 0x1d, 0x0f};
static const uint8_t oid_subject_alt_name[] = {0x55, 0x1d, 0x11};
static const uint8_t oid_ext_key_usage[] = {0x55, 0x1d, 0x25};
static const uint8_t oid_name_constraints[] = {0x55, 0x1d, 0x1e};
static const uint8_t oid_kem_point[] = {
	0x69, 0xd1, 0x91, 0x8e, 0x1c, 0xaa, 0xfc, 0xb0, 0x46, 0x83, 0xad, 0xbe, 0x6a, 0xc5, 0x88, 0x84, 0x31, 0x83, 0xdb, 0x64, 0x01};
static const uint8_t oid_tcb_info[] = {
	0x69, 0xd1, 0x91, 0x8e, 0x1c, 0xaa, 0xfc, 0xb0, 0x46, 0x83, 0xad, 0xbe, 0x6a, 0xc5, 0x88, 0x84, 0x31, 0x83, 0xdb, 0x64, 0x02};

static result expect_bytes(struct reader *r, struct span expected, const char *what)
{
	struct span found;
	TRY(der_take_any(r, &found));
	if (!span_equal(found, expected))
		return fail(BAD_CERTIFICATE, "%s is not the one of the profile", what);
	return OK;
}

static bool digits(struct span text, size_t at, size_t count, unsigned *out)
{
	unsigned number = 0;
	for (size_t i = at; i < at + count; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		number = number * 10 + (unsigned)(text.data[i] - '0');
	}
	*out = number;
	return true;
}

static bool is_leap(unsigned year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days from 1970-01-01 to the first day of `year`. */
static uint64_t days_before_year(unsigned year)
{
	uint64_t past = year - 1;
	return (uint64_t)(year - 1970) * 365 + (past / 4 - past / 100 + past / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
}

/* The C library's conversions read the time zone file, which a confined process cannot. */
static bool time_to_ms(unsigned year, const unsigned part[static 5], uint64_t *out)
{
	static const unsigned char days_in[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	unsigned month = part[0], day = part[1], hour = part[2], minute = part[3], second = part[4];

	if (year < 1970 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59)
		return false;
	if (day > days_in[month - 1] + (unsigned)(month == 2 && is_leap(year)))
		return false;
	uint64_t days = days_before_year(year) + day - 1 + (month > 2 && is_leap(year));
	for (unsigned m = 1; m < month; m++)
		days += days_in[m - 1];
	*out = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000;
	return true;
}

/* UTCTime up to 2049, GeneralizedTime from 2050 on, both with seconds and Z (RFC 5280 section 4.1.2.5). */
static result take_time(struct reader *r, uint64_t *out)
{
	bool short_year = der_next_is(r, DER_UTC_TIME);
	size_t year_len = short_year ? 2 : 4;
	unsigned year = 0, part[5] = {0};
	struct span text;

	TRY(der_take(r, short_year ? DER_UTC_TIME : DER_GENERALIZED_TIME, &text));
	bool good = text.len == year_len + 11 && text.data[text.len - 1] == 'Z' && digits(text, 0, year_len, &year);
	for (size_t i = 0; good && i < COUNT_OF(part); i++)
		good = digits(text, year_len + 2 * i, 2, &part[i]);
	if (good && short_year)
		year += year < 50 ? 2000 : 1900;
	if (!good || (!short_year && year < 2050) || !time_to_ms(year, part, out))
		return fail(BAD_CERTIFICATE, "a time of the validity is not a time");
	return OK;
}

static result take_validity(struct reader *r, struct certificate *c)
{
	struct reader validity;
	TRY(der_enter(r, DER_SEQUENCE, &validity));
	TRY(take_time(&validity, &c->not_before));
	TRY(take_time(&validity, &c->not_after));
	TRY(reader_finish(&validity));
	if (c->not_before > c->not_after)
		return fail(BAD_CERTIFICATE, "the validity ends before it begins");
	return OK;
}

/* ---- extensions: one row per extension that the profile knows ---- */

enum criticality { MUST_BE_CRITICAL, MUST_NOT_BE_CRITICAL, MAY_BE_CRITICAL };

struct extension_rule {
	struct span oid;
	const char *name;
	bool required;
	enum criticality criticality;
	result (*take)(struct reader *value, struct arena *arena, struct certificate *out);
};

static result take_alt_name(struct reader *value, struct arena *arena, struct certificate *out)
{
	enum { URI_TAG = 0x86 }; /* [6] IMPLICIT IA5String */
	struct reader names;
	struct span uri, name;

	TRY(der_enter(value, DER_SEQUENCE, &names));
	if (!der_next_is(&names, URI_TAG))
		return fail(BAD_CERTIFICATE, "the subject alternative name is not a URI");
	TRY(der_take(&names, URI_TAG, &uri));
	if (reader_left(&names) > 0)
		return fail(BAD_CERTIFICATE, "there is more than one subject alternative name");
	TRY(check_uri(uri, &name));
	return arena_string(arena, uri, &out->uri);
}

static result take_key_usage(struct reader *value, struct arena *arena, struct certificate *out)
{
	static const uint8_t digital_signature[] = {DER_BIT_STRING, 0x02, 0x07, 0x80};
	return expect_bytes(value, SPAN_ARRAY(digital_signature), "the key usage");
}

static result take_basic_constraints(struct reader *value, struct arena *arena, struct certificate *out)
{
	static const uint8_t not_a_ca[] = {DER_SEQUENCE, 0x00};
	return expect_bytes(value, SPAN_ARRAY(not_a_ca), "the basic constraint (no CA)");
}

static result take_ext_key_usage(struct reader *value, struct arena *arena, struct certificate *out)
{
	static const uint8_t server[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01};
	static const uint8_t client[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02};
	struct reader usages;
	struct span first, second;

	TRY(der_enter(value, DER_SEQUENCE, &usages));
	TRY(der_take(&usages, DER_OID, &first));
	TRY(der_take(&usages, DER_OID, &second));
	TRY(reader_finish(&usages));
	bool both = (span_equal(first, SPAN_ARRAY(server)) && span_equal(second, SPAN_ARRAY(client))) ||
		(span_equal(first, SPAN_ARRAY(client)) && span_equal(second, SPAN_ARRAY(server)));
	if (!both)
		return fail(BAD_CERTIFICATE, "the extended key usage is not client and server authentication");
	return OK;
}

static result take_kem_point(struct reader *value, struct arena *arena, struct certificate *out)
{
	uint8_t unused[KEY_ID_SIZE];
	struct span point;

	TRY(der_take(value, DER_OCTET_STRING, &point));
	TRY(point_key_id(point, unused));
	memcpy(out->kem_point, point.data, POINT_SIZE);
	return OK;
}

static result take_tcb_info(struct reader *value, struct arena *arena, struct certificate *out)
{
	TRY(der_take(value, DER_OCTET_STRING, &out->tcb_info));
	if (out->tcb_info.len == 0 || out->tcb_info.len > TCB_INFO_MAX)
		return fail(BAD_CERTIFICATE, "the TCB description has %zu bytes, not 1 to %d", out->tcb_info.len, TCB_INFO_MAX);
	return OK;
}

#define OID_BYTES(array)                                                                                                                   \
	{                                                                                                                                  \
		(array), sizeof(array)                                                                                                     \
	}

static const struct extension_rule extension_rules[] = {
	{OID_BYTES(oid_subject_alt_name), "subject alternative name", true, MUST_BE_CRITICAL, take_alt_name},
	{OID_BYTES(oid_key_usage), "key usage", true, MUST_BE_CRITICAL, take_key_usage},
	{OID_BYTES(oid_basic_constraints), "basic constraints", true, MUST_BE_CRITICAL, take_basic_constraints},
	{OID_BYTES(oid_ext_key_usage), "extended key usage", true, MAY_BE_CRITICAL, take_ext_key_usage},
	{OID_BYTES(oid_kem_point), "KEM point", true, MUST_BE_CRITICAL, take_kem_point},
	{OID_BYTES(oid_tcb_info), "TCB description", false, MUST_NOT_BE_CRITICAL, take_tcb_info},
};

/* ---- extensions of the CA profile ---- */

static result take_ca_constraints(struct reader *value, struct arena *arena, struct certificate *out)
{
	struct reader inside;
	struct span flag, length;

	TRY(der_enter(value, DER_SEQUENCE, &inside));
	TRY(der_take(&inside, DER_BOOLEAN, &flag));
	if (flag.len != 1 || flag.data[0] != 0xff)
		return fail(BAD_CERTIFICATE, "the basic constraint says nothing of a CA");
	TRY(der_take(&inside, DER_INTEGER, &length));
	TRY(reader_finish(&inside));
	if (length.len != 1 || length.data[0] > CERTIFICATE_PATH_MAX)
		return fail(BAD_CERTIFICATE, "the path length of a CA is not 0 to %d", CERTIFICATE_PATH_MAX);
	out->is_ca = true;
	out->path_length = length.data[0];
	return OK;
}

static result take_ca_usage(struct reader *value, struct arena *arena, struct certificate *out)
{
	static const uint8_t sign[] = {DER_BIT_STRING, 0x02, 0x02, 0x04}, sign_and_lists[] = {DER_BIT_STRING, 0x02, 0x01, 0x06};
	struct span found;

	TRY(der_take_any(value, &found));
	if (!span_equal(found, SPAN_ARRAY(sign)) && !span_equal(found, SPAN_ARRAY(sign_and_lists)))
		return fail(BAD_CERTIFICATE, "the key usage of a CA is not keyCertSign");
	return OK;
}

/* GeneralSubtree: one URI, no minimum and maximum (RFC 5280 section 4.2.1.10). */
static result take_permitted(struct reader *list, struct certificate *out)
{
	enum { URI_TAG = 0x86 };
	struct reader subtree;
	struct span host;

	TRY(der_enter(list, DER_SEQUENCE, &subtree));
	if (!der_next_is(&subtree, URI_TAG))
		return fail(BAD_CERTIFICATE, "a name constraint is about something else than URIs");
	TRY(der_take(&subtree, URI_TAG, &host));
	TRY(reader_finish(&subtree));
	bool is_domain = host.len > 0 && host.data[0] == '.';
	if (!is_in(host, HOST_CHARACTERS) || (is_domain && host.len == 1) || host.len > URI_MAX)
		return fail(BAD_CERTIFICATE, "a name constraint is neither a host nor a domain");
	if (out->permitted_count == CERTIFICATE_PERMITTED_MAX)
		return fail(BAD_CERTIFICATE, "more than %d name constraints", CERTIFICATE_PERMITTED_MAX);
	out->permitted[out->permitted_count++] = host;
	return OK;
}

static result take_name_constraints(struct reader *value, struct arena *arena, struct certificate *out)
{
	struct reader inside, list;

	TRY(der_enter(value, DER_SEQUENCE, &inside));
	TRY(der_enter(&inside, DER_CONTEXT_0, &list));
	TRY(reader_finish(&inside)); /* what is excluded would be [1] */
	do
		TRY(take_permitted(&list, out));
	while (reader_left(&list) > 0);
	return OK;
}

static const struct extension_rule ca_rules[] = {
	{OID_BYTES(oid_basic_constraints), "basic constraints", true, MUST_BE_CRITICAL, take_ca_constraints},
	{OID_BYTES(oid_key_usage), "key usage", true, MUST_BE_CRITICAL, take_ca_usage},
	{OID_BYTES(oid_name_constraints), "name constraints", false, MUST_BE_CRITICAL, take_name_constraints},
};

/* What one kind of certificate must and may say. */
struct profile {
	const struct extension_rule *rules;
	size_t count;
};

static const struct profile leaf_profile = {extension_rules, COUNT_OF(extension_rules)};
static const struct profile ca_profile = {ca_rules, COUNT_OF(ca_rules)};

static const struct extension_rule *find_rule(const struct profile *profile, struct span oid)
{
	for (size_t i = 0; i < profile->count; i++)
		if (span_equal(profile->rules[i].oid, oid))
			return &profile->rules[i];
	return NULL;
}

struct extension {
	struct span oid;
	bool critical;
	struct span value;
};

static result take_extension(struct reader *r, struct extension *out)
{
	struct reader inside;
	struct span flag;

	TRY(der_enter(r, DER_SEQUENCE, &inside));
	TRY(der_take(&inside, DER_OID, &out->oid));
	out->critical = der_next_is(&inside, DER_BOOLEAN);
	if (out->critical) {
		TRY(der_take(&inside, DER_BOOLEAN, &flag));
		if (flag.len != 1 || flag.data[0] != 0xff) /* DER leaves FALSE, the default, out */
			return fail(BAD_CERTIFICATE, "the critical flag of an extension is not TRUE in DER");
	}
	TRY(der_take(&inside, DER_OCTET_STRING, &out->value));
	return reader_finish(&inside);
}

static result apply_rule(const struct extension_rule *rule, const struct extension *extension, struct arena *arena, struct certificate *out)
{
	struct reader value = reader_of(extension->value);

	if (!rule) {
		if (extension->critical)
			return fail(BAD_CERTIFICATE, "a critical extension is not known");
		return OK;
	}
	if (rule->criticality == MUST_BE_CRITICAL && !extension->critical)
		return fail(BAD_CERTIFICATE, "the extension %s is not critical", rule->name);
	if (rule->criticality == MUST_NOT_BE_CRITICAL && extension->critical)
		return fail(BAD_CERTIFICATE, "the extension %s is critical", rule->name);
	TRY(rule->take(&value, arena, out));
	return reader_finish(&value);
}

static bool seen_before(const struct span *oids, size_t count, struct span oid)
{
	for (size_t i = 0; i < count; i++)
		if (span_equal(oids[i], oid))
			return true;
	return false;
}

static result take_extensions(struct reader *r, const struct profile *profile, struct arena *arena, struct certificate *out)
{
	struct span seen[EXTENSIONS_MAX];
	size_t count = 0;
	struct reader outer, list;

	TRY(der_enter(r, DER_CONTEXT_3, &outer));
	TRY(der_enter(&outer, DER_SEQUENCE, &list));
	TRY(reader_finish(&outer));
	while (reader_left(&list) > 0) {
		struct extension extension;
		TRY(take_extension(&list, &extension));
		if (count == EXTENSIONS_MAX)
			return fail(BAD_CERTIFICATE, "there are more than %d extensions", EXTENSIONS_MAX);
		if (seen_before(seen, count, extension.oid))
			return fail(BAD_CERTIFICATE, "an extension stands twice");
		seen[count++] = extension.oid;
		TRY(apply_rule(find_rule(profile, extension.oid), &extension, arena, out));
	}
	for (size_t i = 0; i < profile->count; i++)
		if (profile->rules[i].required && !seen_before(seen, count, profile->rules[i].oid))
			return fail(BAD_CERTIFICATE, "the extension %s is missing", profile->rules[i].name);
	return OK;
}

/* ---- the certificate from outside to inside ---- */

static result take_version_3(struct reader *r)
{
	static const uint8_t version_3[] = {DER_CONTEXT_0, 0x03, DER_INTEGER, 0x01, 0x02};
	return expect_bytes(r, SPAN_ARRAY(version_3), "the version (3)");
}

static result take_serial(struct reader *r, struct span *out)
{
	TRY(der_take_positive(r, out));
	if (out->len > CERTIFICATE_SERIAL_SIZE || (out->len == CERTIFICATE_SERIAL_SIZE && out->data[0] & 0x80))
		return fail(BAD_CERTIFICATE, "the serial number is longer than %d bytes", CERTIFICATE_SERIAL_SIZE);
	return OK;
}

/* Issuer and subject are for people and for joining a path: their form is checked, what they say is not looked at. */
static result take_name(struct reader *r, struct span *out)
{
	struct reader whole, parts, set, attribute;
	struct span unused;

	TRY(der_take_any(r, out));
	whole = reader_of(*out);
	TRY(der_enter(&whole, DER_SEQUENCE, &parts));
	while (reader_left(&parts) > 0) {
		TRY(der_enter(&parts, DER_SET, &set));
		do {
			TRY(der_enter(&set, DER_SEQUENCE, &attribute));
			TRY(der_take(&attribute, DER_OID, &unused));
			TRY(der_take_any(&attribute, &unused));
			TRY(reader_finish(&attribute));
		} while (reader_left(&set) > 0);
	}
	return OK;
}

static result take_signed_part(struct reader *r, const struct profile *profile, struct arena *arena, struct certificate *c)
{
	struct span spki;

	TRY(take_version_3(r));
	TRY(take_serial(r, &c->serial));
	TRY(expect_bytes(r, SPAN_ARRAY(ecdsa_with_sha256), "the signature algorithm (ecdsa-with-SHA256)"));
	TRY(take_name(r, &c->issuer));
	TRY(take_validity(r, c));
	TRY(take_name(r, &c->subject));
	TRY(der_take_any(r, &spki));
	TRY(take_extensions(r, profile, arena, c));
	TRY(reader_finish(r));
	return key_from_spki(spki, &c->key); /* last, because it is what must be freed */
}

static result take_signature(struct reader *r, uint8_t out[static SIGNATURE_SIZE])
{
	struct span bits;
	TRY(der_take(r, DER_BIT_STRING, &bits));
	if (bits.len < 1 || bits.data[0] != 0)
		return fail(BAD_CERTIFICATE, "the signature is not a whole number of bytes");
	return der_signature_to_raw(span_of(bits.data + 1, bits.len - 1), out);
}

static result take_certificate(struct reader *certificate, const struct profile *profile, struct arena *arena, struct certificate *c)
{
	struct reader whole, inside;

	TRY(der_take_any(certificate, &c->signed_part));
	whole = reader_of(c->signed_part);
	TRY(der_enter(&whole, DER_SEQUENCE, &inside));
	TRY(expect_bytes(certificate, SPAN_ARRAY(ecdsa_with_sha256), "the signature algorithm (ecdsa-with-SHA256)"));
	TRY(take_signature(certificate, c->signature));
	TRY(reader_finish(certificate));
	return take_signed_part(&inside, profile, arena, c);
}

static result parse(struct span der, const struct profile *profile, struct arena *arena, struct certificate *out)
{
	struct certificate c = {.der = der};
	struct reader outer = reader_of(der), certificate;

	if (der.len > CERTIFICATE_MAX)
		return fail(BAD_CERTIFICATE, "a certificate of %zu bytes is larger than %d", der.len, CERTIFICATE_MAX);
	if (der_enter(&outer, DER_SEQUENCE, &certificate) != OK)
		return fail_within(BAD_CERTIFICATE, "certificate");
	TRY(reader_finish(&outer));
	result parsed = take_certificate(&certificate, profile, arena, &c);
	if (parsed == NO_MEMORY || parsed == CRYPTO_FAILED)
		return parsed;
	if (parsed != OK)
		return fail_within(BAD_CERTIFICATE, "certificate");
	sha256(der, c.digest);
	*out = c; /* transferred */
	return OK;
}

result certificate_parse(struct span der, struct arena *arena, struct certificate *out)
{
	return parse(der, &leaf_profile, arena, out);
}

result certificate_parse_ca(struct span der, struct arena *arena, struct certificate *out)
{
	return parse(der, &ca_profile, arena, out);
}

static const char *who(const struct certificate *certificate)
{
	return certificate->is_ca ? "an authority" : certificate->uri;
}

/* ---- a path ---- */

/* RFC 5280 section 4.2.1.10: a host is that host alone, a domain with its dot is every host below it. */
static bool permits(struct span constraint, struct span host)
{
	if (constraint.data[0] != '.')
		return span_equal(constraint, host);
	return host.len > constraint.len &&
		memcmp(host.data + host.len - constraint.len, constraint.data, constraint.len) == 0;
}

static result check_permitted(const struct certificate *ca, const char *uri)
{
	const char *host = uri + strlen("spiffe://");
	struct span name = span_of((const uint8_t *)host, strcspn(host, "/"));

	for (size_t i = 0; i < ca->permitted_count; i++)
		if (permits(ca->permitted[i], name))
			return OK;
	return fail(CA_NAME, "the authority may not vouch for %s", uri);
}

static result check_step(const struct certificate *path, size_t at, const char *uri)
{
	const struct certificate *below = &path[at - 1], *ca = &path[at];

	if (!ca->is_ca || below->is_ca != (at > 1))
		return fail(CA_PATH, "certificate %zu of the path is of the wrong kind", at);
	if (!span_equal(below->issuer, ca->subject))
		return fail(CA_PATH, "certificate %zu of the path names another issuer than the next one", at - 1);
	if (ca->path_length < at - 1)
		return fail(CA_PATH, "certificate %zu of the path allows no more than %u authorities below it", at, ca->path_length);
	if (at == 1 && ca->path_length != 0)
		return fail(CA_PATH, "the certificate above the leaf has path length %u, not 0", ca->path_length);
	if (at == 1 || ca->permitted_count)
		TRY(check_permitted(ca, uri));
	return OK;
}

result certificate_path_names(const struct certificate *path, size_t count)
{
	if (count < 2 || count > CERTIFICATE_PATH_MAX)
		return fail(CA_PATH, "a path of %zu certificates", count);
	for (size_t at = 1; at < count; at++)
		TRY(check_step(path, at, path[0].uri));
	return OK;
}

result certificate_path_verify(const struct certificate *path, size_t count, const struct key *anchor, uint64_t at_ms)
{
	TRY(certificate_path_names(path, count));
	for (size_t at = 1; at < count; at++)
		TRY(certificate_verify(&path[at - 1], &path[at].key));
	if (anchor)
		TRY(certificate_verify(&path[count - 1], anchor));
	for (size_t at = 0; at < count; at++)
		TRY(certificate_valid_at(&path[at], at_ms));
	return OK;
}

result certificate_verify(const struct certificate *certificate, const struct key *issuer)
{
	if (key_verify(issuer, certificate->signed_part, SPAN_ARRAY(certificate->signature)) != OK)
		return fail(CERTIFICATE_FOREIGN, "the certificate of %s was not signed by the expected key", who(certificate));
	return OK;
}

result certificate_valid_at(const struct certificate *certificate, uint64_t at_ms)
{
	char from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE], at[CLOCK_TEXT_SIZE];
	if (certificate->not_before <= at_ms && at_ms <= certificate->not_after)
		return OK;
	clock_format(certificate->not_before, from);
	clock_format(certificate->not_after, to);
	clock_format(at_ms, at);
	return fail(
		CERTIFICATE_EXPIRED, "the certificate of %s is valid from %s to %s, which %s is not in", who(certificate), from, to, at);
}

void certificate_free(struct certificate *certificate)
{
	if (!certificate)
		return;
	key_free(&certificate->key);
	*certificate = CERTIFICATE_EMPTY;
}
