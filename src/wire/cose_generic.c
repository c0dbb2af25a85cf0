/*
 * COSE as RFC 9052 describes it, with the freedoms that the strict profile (cose.c) refuses: unprotected
 * headers, several algorithms, untagged messages, detached payloads. Nothing that Troth decides upon goes
 * through here; it reads what others wrote.
 */
#include "wire/cose.h"

#include "crypto/hash.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>

/* Header labels (RFC 9052 section 3.1). */
enum { HEADER_ALG = 1, HEADER_CRIT = 2, HEADER_CONTENT_TYPE = 3, HEADER_KID = 4, HEADER_IV = 5 };

enum { MAX_LABELS = 64 };

/* A header label: an integer or a text. */
struct label {
	bool is_text;
	int64_t number;
	struct span text;
};

/* What is collected over both buckets of a header pair. */
struct collector {
	struct cose_headers *headers;
	bool protected_bucket;
	size_t protected_count;
	size_t count;
	struct label labels[MAX_LABELS];
	struct span crit; /* the encoded value, empty when absent */
};

/* ---- Headers ---------------------------------------------------------------------------------- */

static result read_label(struct reader *r, struct label *out)
{
	enum cbor_type type;
	uint64_t argument;
	TRY(cbor_lenient_head(r, &type, &argument));
	if (type == CBOR_TEXT) {
		*out = (struct label){.is_text = true};
		return reader_take(r, argument <= SIZE_MAX ? (size_t)argument : SIZE_MAX, &out->text);
	}
	if ((type != CBOR_UINT && type != CBOR_NINT) || argument > INT64_MAX)
		return fail(BAD_TYPE, "a header label is neither an integer nor a text");
	*out = (struct label){.number = type == CBOR_UINT ? (int64_t)argument : -1 - (int64_t)argument};
	return OK;
}

static bool label_equal(const struct label *a, const struct label *b)
{
	return a->is_text == b->is_text && (a->is_text ? span_equal(a->text, b->text) : a->number == b->number);
}

static const struct label *find_label(const struct collector *c, const struct label *label, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (label_equal(&c->labels[i], label))
			return &c->labels[i];
	return NULL;
}

static result read_string(struct reader *r, enum cbor_type expected, struct span *out)
{
	enum cbor_type type;
	uint64_t len;
	TRY(cbor_lenient_head(r, &type, &len));
	if (type != expected)
		return fail(BAD_TYPE, "another type where a %s string is expected", expected == CBOR_BYTES ? "byte" : "text");
	return reader_take(r, len <= SIZE_MAX ? (size_t)len : SIZE_MAX, out);
}

/* An algorithm that is a text is one that nobody here knows: has_alg stays false. */
static result read_alg(struct span value, struct cose_headers *headers)
{
	struct reader r = reader_of(value);
	struct label alg;
	TRY(read_label(&r, &alg));
	headers->has_alg = !alg.is_text;
	headers->alg = alg.number;
	return OK;
}

static result keep_header(struct collector *c, const struct label *label, struct span value)
{
	struct reader r = reader_of(value);
	if (label->is_text)
		return OK;
	switch (label->number) {
	case HEADER_ALG:
		return read_alg(value, c->headers);
	case HEADER_KID:
		return read_string(&r, CBOR_BYTES, &c->headers->kid);
	case HEADER_IV:
		return read_string(&r, CBOR_BYTES, &c->headers->iv);
	case HEADER_CRIT:
		if (!c->protected_bucket)
			return fail(UNKNOWN_CRITICAL, "crit stands in the unprotected header");
		c->crit = value;
		return OK;
	default:
		return OK;
	}
}

static result read_count(struct reader *r, enum cbor_type expected, uint64_t *out)
{
	enum cbor_type type;
	TRY(cbor_lenient_head(r, &type, out));
	if (type != expected)
		return fail(BAD_TYPE, "another type where %s is expected", expected == CBOR_MAP ? "a map" : "an array");
	return OK;
}

static result read_bucket(struct reader *r, struct collector *c, uint64_t *out_count)
{
	uint64_t count;
	TRY(read_count(r, CBOR_MAP, &count));
	if (count > MAX_LABELS - c->count)
		return fail(TOO_LARGE, "more than %d headers", MAX_LABELS);
	for (uint64_t i = 0; i < count; i++) {
		struct label label;
		struct span value;
		TRY(read_label(r, &label));
		if (find_label(c, &label, c->count))
			return fail(DUPLICATE_KEY, "a header stands twice");
		c->labels[c->count++] = label;
		TRY(cbor_lenient_any(r, &value));
		TRY(keep_header(c, &label, value));
	}
	*out_count = count;
	return OK;
}

static result read_protected(struct collector *c)
{
	uint64_t count;
	if (c->headers->protected_bytes.len == 0)
		return OK;
	struct reader r = reader_of(c->headers->protected_bytes);
	c->protected_bucket = true;
	TRY(read_bucket(&r, c, &count));
	c->protected_bucket = false;
	c->protected_count = (size_t)count;
	return reader_finish(&r);
}

static bool is_understood(const struct label *label)
{
	return !label->is_text && label->number >= HEADER_ALG && label->number <= HEADER_IV;
}

/* RFC 9052 section 3.1: crit is not empty, and each label it names is understood and protected. */
static result check_crit(const struct collector *c)
{
	if (c->crit.len == 0)
		return OK;
	struct reader r = reader_of(c->crit);
	uint64_t count;
	TRY(read_count(&r, CBOR_ARRAY, &count));
	if (count == 0)
		return fail(UNKNOWN_CRITICAL, "crit is empty");
	for (uint64_t i = 0; i < count; i++) {
		struct label label;
		TRY(read_label(&r, &label));
		if (!is_understood(&label))
			return fail(UNKNOWN_CRITICAL, "a critical header is not understood");
		if (!find_label(c, &label, c->protected_count))
			return fail(UNKNOWN_CRITICAL, "a critical header is not in the protected bucket");
	}
	return reader_finish(&r);
}

/* Both buckets of a header pair. */
static result read_headers(struct reader *r, struct cose_headers *out)
{
	struct cose_headers headers = {0};
	struct collector c = {.headers = &headers};
	uint64_t unprotected;
	TRY(read_string(r, CBOR_BYTES, &headers.protected_bytes));
	TRY(read_protected(&c));
	TRY(read_bucket(r, &c, &unprotected));
	TRY(check_crit(&c));
	headers.unprotected_count = (size_t)unprotected;
	*out = headers;
	return OK;
}

/* ---- Messages --------------------------------------------------------------------------------- */

static result read_tag(struct reader *r, uint64_t expected, uint64_t *out)
{
	enum cbor_type type;
	TRY(cbor_peek(r, &type));
	*out = 0;
	if (type != CBOR_TAG)
		return OK;
	TRY(cbor_lenient_head(r, &type, out));
	if (*out != expected)
		return fail(WRONG_TAG, "tag %llu where %llu is expected", (unsigned long long)*out, (unsigned long long)expected);
	return OK;
}

static result read_payload(struct reader *r, struct cose_message *message)
{
	enum cbor_type type;
	TRY(cbor_peek(r, &type));
	if (type != CBOR_NULL)
		return read_string(r, CBOR_BYTES, &message->payload);
	message->detached = true;
	return cbor_read_null(r);
}

result cose_parse(struct span bytes, uint64_t expected_tag, struct cose_message *out)
{
	struct reader r = reader_of(bytes);
	struct cose_message message = {0};
	uint64_t count, elements = expected_tag == COSE_TAG_ENCRYPT0 ? 3 : 4;
	TRY(read_tag(&r, expected_tag, &message.tag));
	TRY(read_count(&r, CBOR_ARRAY, &count));
	if (count != elements)
		return fail(BAD_TYPE, "an array of %llu elements where %llu are expected", (unsigned long long)count,
			(unsigned long long)elements);
	TRY(read_headers(&r, &message.headers));
	TRY(read_payload(&r, &message));
	if (expected_tag == COSE_TAG_SIGN)
		TRY(cbor_lenient_any(&r, &message.signature));
	else if (expected_tag != COSE_TAG_ENCRYPT0)
		TRY(read_string(&r, CBOR_BYTES, &message.signature));
	TRY(reader_finish(&r));
	*out = message;
	return OK;
}

/* ---- What is authenticated -------------------------------------------------------------------- */

/* A protected header without any attribute counts as a zero-length string (RFC 9052 section 4.4). */
static struct span protected_for_structure(struct span header)
{
	struct reader r = reader_of(header);
	enum cbor_type type;
	uint64_t count;
	bool empty_map = header.len > 0 && cbor_lenient_head(&r, &type, &count) == OK && type == CBOR_MAP && count == 0;
	return empty_map ? SPAN_EMPTY : header;
}

struct structure {
	const char *context;
	struct span parts[4];
	size_t count;
};

static result structure_bytes(const struct structure *s, struct bytes *out)
{
	size_t size = 32;
	for (size_t i = 0; i < s->count; i++)
		if (__builtin_add_overflow(size, s->parts[i].len + 9, &size))
			return fail(TOO_LARGE, "a message that does not fit into memory");
	CLEANUP(writer_free) struct writer w = writer_growing(size);
	cbor_put_array(&w, 1 + s->count);
	cbor_put_str(&w, s->context);
	for (size_t i = 0; i < s->count; i++)
		cbor_put_bytes(&w, s->parts[i]);
	return writer_take(&w, out);
}

static result verify_es256(const struct cose_headers *headers, const struct structure *s, struct span signature, const struct key *key)
{
	if (!headers->has_alg || headers->alg != COSE_ALG_ES256)
		return fail(UNSUPPORTED_ALGORITHM, "signature algorithm %lld", (long long)headers->alg);
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	TRY(structure_bytes(s, &tbs));
	return key_verify(key, bytes_span(&tbs), signature);
}

result cose_sign1_verify(const struct cose_message *message, struct span external_aad, const struct key *key)
{
	struct structure s = {"Signature1", {protected_for_structure(message->headers.protected_bytes), external_aad, message->payload}, 3};
	return verify_es256(&message->headers, &s, message->signature, key);
}

/* One COSE_Signature: [protected, unprotected, signature]. */
static result verify_one_of_many(
	struct reader *r, const struct cose_message *message, struct span external_aad, const struct key *key, bool *out_verified)
{
	uint64_t count;
	struct cose_headers headers;
	struct span signature;
	TRY(read_count(r, CBOR_ARRAY, &count));
	if (count != 3)
		return fail(BAD_TYPE, "a COSE_Signature of %llu elements", (unsigned long long)count);
	TRY(read_headers(r, &headers));
	TRY(read_string(r, CBOR_BYTES, &signature));
	struct structure s = {"Signature",
		{protected_for_structure(message->headers.protected_bytes), protected_for_structure(headers.protected_bytes), external_aad,
			message->payload},
		4};
	*out_verified = verify_es256(&headers, &s, signature, key) == OK;
	return OK;
}

result cose_sign_verify(const struct cose_message *message, struct span external_aad, const struct key *key)
{
	struct reader r = reader_of(message->signature);
	uint64_t count;
	bool found = false;
	TRY(read_count(&r, CBOR_ARRAY, &count));
	for (uint64_t i = 0; i < count; i++) {
		bool verified;
		TRY(verify_one_of_many(&r, message, external_aad, key, &verified));
		found = found || verified;
	}
	if (!found)
		return fail(BAD_SIGNATURE, "none of %llu signatures verifies with this key", (unsigned long long)count);
	return OK;
}

/* ---- MAC and encryption ----------------------------------------------------------------------- */

/* RFC 9053 sections 3.1 and 4.1. */
static const struct mac_algorithm {
	int64_t alg;
	const char *digest;
	size_t key_size;
	size_t tag_size;
} mac_algorithms[] = {
	{4, "SHA256", 32, 8},
	{5, "SHA256", 32, 32},
	{6, "SHA384", 48, 48},
	{7, "SHA512", 64, 64},
};

static const struct cipher_algorithm {
	int64_t alg;
	const char *name;
	size_t key_size;
} cipher_algorithms[] = {
	{1, "AES-128-GCM", 16},
	{2, "AES-192-GCM", 24},
	{3, "AES-256-GCM", 32},
};

enum { GCM_NONCE_SIZE = 12, GCM_TAG_SIZE = 16 };

static result crypto_failed(const char *call)
{
	ERR_clear_error();
	return fail(CRYPTO_FAILED, "%s", call);
}

static result hmac_check(const struct mac_algorithm *algorithm, struct span key, struct span data, struct span tag)
{
	uint8_t expected[EVP_MAX_MD_SIZE];
	size_t len = 0;
	if (!EVP_Q_mac(
		    NULL, "HMAC", NULL, algorithm->digest, NULL, key.data, key.len, data.data, data.len, expected, sizeof(expected), &len))
		return crypto_failed("EVP_Q_mac");
	if (tag.len != algorithm->tag_size || CRYPTO_memcmp(expected, tag.data, tag.len) != 0)
		return fail(BAD_TAG, "the MAC does not verify");
	return OK;
}

result cose_mac0_verify(const struct cose_message *message, struct span external_aad, struct span key)
{
	const struct mac_algorithm *algorithm = NULL;
	for (size_t i = 0; i < COUNT_OF(mac_algorithms); i++)
		if (message->headers.has_alg && mac_algorithms[i].alg == message->headers.alg)
			algorithm = &mac_algorithms[i];
	if (!algorithm)
		return fail(UNSUPPORTED_ALGORITHM, "MAC algorithm %lld", (long long)message->headers.alg);
	if (key.len != algorithm->key_size)
		return fail(BAD_KEY, "a key of %zu bytes where %zu are expected", key.len, algorithm->key_size);
	struct structure s = {"MAC0", {protected_for_structure(message->headers.protected_bytes), external_aad, message->payload}, 3};
	CLEANUP(bytes_free) struct bytes data = BYTES_EMPTY;
	TRY(structure_bytes(&s, &data));
	return hmac_check(algorithm, key, bytes_span(&data), message->signature);
}

static void cipher_ctx_free(EVP_CIPHER_CTX **ctx)
{
	EVP_CIPHER_CTX_free(*ctx);
}

static void cipher_free(EVP_CIPHER **cipher)
{
	EVP_CIPHER_free(*cipher);
}

/* `plain` has room for the ciphertext without its tag. */
static result gcm_open(const char *name, struct span key, struct span nonce, struct span aad, struct span ciphertext, uint8_t *plain)
{
	size_t len = ciphertext.len - GCM_TAG_SIZE;
	CLEANUP(cipher_free) EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	CLEANUP(cipher_ctx_free) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int written, last;
	if (!cipher || !ctx || !EVP_DecryptInit_ex2(ctx, cipher, key.data, nonce.data, NULL) ||
		!EVP_DecryptUpdate(ctx, NULL, &written, aad.data, (int)aad.len) ||
		!EVP_DecryptUpdate(ctx, plain, &written, ciphertext.data, (int)len) ||
		!EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, GCM_TAG_SIZE, (void *)(uintptr_t)(ciphertext.data + len)))
		return crypto_failed(name);
	if (EVP_DecryptFinal_ex(ctx, plain + written, &last) <= 0) {
		ERR_clear_error();
		wipe(plain, len);
		return fail(BAD_TAG, "the ciphertext does not open");
	}
	return OK;
}

static result check_cipher_input(
	const struct cose_message *message, const struct cipher_algorithm *algorithm, struct span aad, struct span key)
{
	if (key.len != algorithm->key_size)
		return fail(BAD_KEY, "a key of %zu bytes where %zu are expected", key.len, algorithm->key_size);
	if (message->headers.iv.len != GCM_NONCE_SIZE)
		return fail(BAD_VALUE, "an IV of %zu bytes where %d are expected", message->headers.iv.len, GCM_NONCE_SIZE);
	if (message->payload.len < GCM_TAG_SIZE)
		return fail(TRUNCATED, "a ciphertext shorter than its tag");
	if (message->payload.len > INT32_MAX || aad.len > INT32_MAX)
		return fail(TOO_LARGE, "a ciphertext of %zu bytes", message->payload.len);
	return OK;
}

result cose_encrypt0_open(const struct cose_message *message, struct span external_aad, struct span key, struct bytes *out_plain)
{
	const struct cipher_algorithm *algorithm = NULL;
	for (size_t i = 0; i < COUNT_OF(cipher_algorithms); i++)
		if (message->headers.has_alg && cipher_algorithms[i].alg == message->headers.alg)
			algorithm = &cipher_algorithms[i];
	if (!algorithm)
		return fail(UNSUPPORTED_ALGORITHM, "encryption algorithm %lld", (long long)message->headers.alg);
	struct structure s = {"Encrypt0", {protected_for_structure(message->headers.protected_bytes), external_aad}, 2};
	CLEANUP(bytes_free) struct bytes aad = BYTES_EMPTY, plain = BYTES_EMPTY;
	TRY(structure_bytes(&s, &aad));
	TRY(check_cipher_input(message, algorithm, bytes_span(&aad), key));
	plain.len = message->payload.len - GCM_TAG_SIZE;
	plain.data = malloc(plain.len ? plain.len : 1);
	if (!plain.data)
		return fail(NO_MEMORY, "%zu bytes", plain.len);
	TRY(gcm_open(algorithm->name, key, message->headers.iv, bytes_span(&aad), message->payload, plain.data));
	*out_plain = bytes_move(&plain);
	return OK;
}
