/*
 * The strict profile. Generic COSE is in cose_generic.c.
 */
#include "wire/cose.h"

#include "crypto/hash.h"

#include <stdlib.h>

static const uint8_t protected_es256[] = {0xa1, 0x01, 0x26}; /* {1: -7} */

/* {1: -7, 4: kid}: these bytes, then the kid. */
static const uint8_t protected_signer[] = {0xa2, 0x01, 0x26, 0x04, 0x58, 0x20};
enum { PROTECTED_SIGNER_SIZE = sizeof(protected_signer) + KEY_ID_SIZE };

/* Header labels of RFC 9052 section 3.1. */
enum { HEADER_ALG = 1, HEADER_CRIT = 2 };

/* ---- What is signed --------------------------------------------------------------------------- */

/* A Sig_structure (RFC 9052 section 4.4). */
struct sig_structure {
	const char *context;
	struct span body_protected;
	struct span sign_protected; /* of one signature of a COSE_Sign; absent (NULL) otherwise */
	const char *label;
	struct span payload;
};

static size_t string_size(size_t len)
{
	return cbor_head_size(len) + len;
}

static size_t sig_structure_size(const struct sig_structure *s)
{
	size_t sign = s->sign_protected.data ? string_size(s->sign_protected.len) : 0;
	return 1 + string_size(strlen(s->context)) + string_size(s->body_protected.len) + sign + string_size(strlen(s->label)) +
		string_size(s->payload.len);
}

static void put_sig_structure(struct writer *w, const struct sig_structure *s)
{
	cbor_put_array(w, s->sign_protected.data ? 5 : 4);
	cbor_put_str(w, s->context);
	cbor_put_bytes(w, s->body_protected);
	if (s->sign_protected.data)
		cbor_put_bytes(w, s->sign_protected);
	cbor_put_bytes(w, span_str(s->label));
	cbor_put_bytes(w, s->payload);
}

static result sig_structure_bytes(const struct sig_structure *s, struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(sig_structure_size(s));
	put_sig_structure(&w, s);
	return writer_take(&w, out);
}

/*
 * The digest of an object exists whatever happens, so this cannot fail: memory that is missing here ends the
 * process, as a broken cryptographic library does.
 */
static void sig_structure_digest(const struct sig_structure *s, uint8_t out[static 32])
{
	uint8_t small[1024];
	size_t size = sig_structure_size(s);
	uint8_t *buffer = size <= sizeof(small) ? small : malloc(size);
	if (!buffer)
		abort();
	struct writer w = writer_fixed(buffer, size);
	put_sig_structure(&w, s);
	sha256(span_of(buffer, w.len), out);
	if (buffer != small)
		free(buffer);
}

static result sig_structure_verify(const struct sig_structure *s, const struct key *key, struct span signature)
{
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	TRY(sig_structure_bytes(s, &tbs));
	return key_verify(key, bytes_span(&tbs), signature);
}

static result sig_structure_sign(const struct sig_structure *s, const struct key *key, uint8_t out[static SIGNATURE_SIZE])
{
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	TRY(sig_structure_bytes(s, &tbs));
	return key_sign(key, bytes_span(&tbs), out);
}

static struct sig_structure sign1_structure(struct span payload, const char *label)
{
	return (struct sig_structure){"Signature1", SPAN_ARRAY(protected_es256), SPAN_EMPTY, label, payload};
}

/* The empty protected header of a COSE_Sign body is a zero-length string (RFC 9052 section 3). */
static struct sig_structure sign_structure(struct span payload, const char *label, struct span sign_protected)
{
	return (struct sig_structure){"Signature", SPAN_EMPTY, sign_protected, label, payload};
}

/* ---- Reading ---------------------------------------------------------------------------------- */

static result read_object_tag(struct reader *r, uint64_t expected)
{
	enum cbor_type type;
	TRY(cbor_peek(r, &type));
	if (type != CBOR_TAG)
		return fail(WRONG_TAG, "no tag where %u is expected", (unsigned)expected);
	uint64_t tag;
	TRY(cbor_read_tag(r, &tag));
	if (tag != expected)
		return fail(WRONG_TAG, "tag %llu where %u is expected", (unsigned long long)tag, (unsigned)expected);
	return OK;
}

static result read_array_of(struct reader *r, size_t expected)
{
	size_t count;
	TRY(cbor_read_array(r, &count));
	if (count != expected)
		return fail(BAD_TYPE, "an array of %zu elements where %zu are expected", count, expected);
	return OK;
}

static result read_empty_map(struct reader *r)
{
	size_t pairs;
	TRY(cbor_read_map(r, &pairs));
	if (pairs != 0)
		return fail(UNPROTECTED_HEADER, "%zu unprotected headers", pairs);
	return OK;
}

static result read_payload(struct reader *r, struct span *out)
{
	if (cbor_read_null(r) == OK)
		return fail(BAD_VALUE, "the payload is detached; Troth carries it within");
	return cbor_read_bytes(r, out);
}

static result read_signature(struct reader *r, struct span *out)
{
	TRY(cbor_read_bytes(r, out));
	if (out->len != SIGNATURE_SIZE)
		return fail(BAD_SIGNATURE, "a signature of %zu bytes where ES256 has %d", out->len, SIGNATURE_SIZE);
	return OK;
}

/* Says why a protected header is not the one of the profile; never OK. */
static result protected_refused(struct span header, int64_t expected_alg)
{
	if (header.len == 0)
		return fail(UNSUPPORTED_ALGORITHM, "no algorithm in the protected header");
	TRY(cbor_validate(header));
	struct reader r = reader_of(header);
	struct cbor_map map;
	TRY(cbor_map_open(&r, &map));
	bool has_alg = false;
	for (;;) {
		bool more;
		int64_t label, alg;
		TRY(cbor_map_next(&r, &map, &more, &label));
		if (!more)
			break;
		if (label == HEADER_CRIT)
			return fail(UNKNOWN_CRITICAL, "Troth knows no critical header");
		if (label == HEADER_ALG) {
			has_alg = true;
			if (cbor_read_int(&r, &alg) != OK || alg != expected_alg)
				return fail(UNSUPPORTED_ALGORITHM, "the algorithm is not %lld", (long long)expected_alg);
			continue;
		}
		struct span value;
		TRY(cbor_read_any(&r, &value));
	}
	if (!has_alg)
		return fail(UNSUPPORTED_ALGORITHM, "no algorithm in the protected header");
	return fail(BAD_VALUE, "the protected header is not the one of Troth's profile");
}

/* ---- COSE_Sign1 ------------------------------------------------------------------------------- */

result cose_strict_sign1_parse(struct span bytes, struct cose_sign1 *out)
{
	struct reader r = reader_of(bytes);
	struct cose_sign1 object = {.bytes = bytes};
	struct span header;
	TRY(read_object_tag(&r, COSE_TAG_SIGN1));
	TRY(read_array_of(&r, 4));
	TRY(cbor_read_bytes(&r, &header));
	TRY(read_empty_map(&r));
	if (!span_equal(header, SPAN_ARRAY(protected_es256)))
		return protected_refused(header, COSE_ALG_ES256);
	TRY(read_payload(&r, &object.payload));
	TRY(read_signature(&r, &object.signature));
	TRY(reader_finish(&r));
	*out = object;
	return OK;
}

result cose_strict_sign1_verify(const struct cose_sign1 *object, const char *label, const struct key *key)
{
	struct sig_structure s = sign1_structure(object->payload, label);
	return sig_structure_verify(&s, key, object->signature);
}

result cose_strict_sign1_assemble(struct span payload, const uint8_t signature[static SIGNATURE_SIZE], struct bytes *out)
{
	size_t size = 2 + string_size(sizeof(protected_es256)) + 1 + string_size(payload.len) + string_size(SIGNATURE_SIZE);
	CLEANUP(writer_free) struct writer w = writer_growing(size);
	cbor_put_tag(&w, COSE_TAG_SIGN1);
	cbor_put_array(&w, 4);
	cbor_put_bytes(&w, SPAN_ARRAY(protected_es256));
	cbor_put_map(&w, 0);
	cbor_put_bytes(&w, payload);
	cbor_put_bytes(&w, span_of(signature, SIGNATURE_SIZE));
	return writer_take(&w, out);
}

result cose_strict_sign1_make(struct span payload, const char *label, const struct key *key, struct bytes *out)
{
	uint8_t signature[SIGNATURE_SIZE];
	struct sig_structure s = sign1_structure(payload, label);
	TRY(sig_structure_sign(&s, key, signature));
	return cose_strict_sign1_assemble(payload, signature, out);
}

result cose_strict_sign1_tbs(struct span payload, const char *label, struct bytes *out)
{
	struct sig_structure s = sign1_structure(payload, label);
	return sig_structure_bytes(&s, out);
}

void cose_sign1_oid(struct span payload, const char *label, uint8_t out[static 32])
{
	struct sig_structure s = sign1_structure(payload, label);
	sig_structure_digest(&s, out);
}

/* ---- COSE_Sign -------------------------------------------------------------------------------- */

static void signer_header(const uint8_t kid[static KEY_ID_SIZE], uint8_t out[static PROTECTED_SIGNER_SIZE])
{
	memcpy(out, protected_signer, sizeof(protected_signer));
	memcpy(out + sizeof(protected_signer), kid, KEY_ID_SIZE);
}

static result read_signer(struct reader *r, struct cose_signature *out)
{
	TRY(read_array_of(r, 3));
	TRY(cbor_read_bytes(r, &out->protected_bytes));
	TRY(read_empty_map(r));
	struct span header = out->protected_bytes;
	if (header.len != PROTECTED_SIGNER_SIZE || memcmp(header.data, protected_signer, sizeof(protected_signer)) != 0)
		return protected_refused(header, COSE_ALG_ES256);
	memcpy(out->kid, header.data + sizeof(protected_signer), KEY_ID_SIZE);
	return read_signature(r, &out->signature);
}

/* Strictly ascending, so that no signer counts twice and an object has one form. */
static result signer_follows(const struct cose_sign *object, size_t i)
{
	if (i == 0)
		return OK;
	int order = memcmp(object->signatures[i - 1].kid, object->signatures[i].kid, KEY_ID_SIZE);
	if (order == 0)
		return fail(DUPLICATE_KEY, "one key signs twice");
	if (order > 0)
		return fail(NOT_DETERMINISTIC, "signatures are not in the order of their key ids");
	return OK;
}

static result read_signers(struct reader *r, struct cose_sign *object)
{
	TRY(cbor_read_array(r, &object->count));
	if (object->count == 0)
		return fail(BAD_VALUE, "no signature");
	if (object->count > COSE_MAX_SIGNERS)
		return fail(TOO_LARGE, "%zu signatures, at most %d allowed", object->count, COSE_MAX_SIGNERS);
	for (size_t i = 0; i < object->count; i++) {
		TRY(read_signer(r, &object->signatures[i]));
		TRY(signer_follows(object, i));
	}
	return OK;
}

result cose_strict_sign_parse(struct span bytes, struct cose_sign *out)
{
	struct reader r = reader_of(bytes);
	struct cose_sign object = {.bytes = bytes};
	struct span header;
	TRY(read_object_tag(&r, COSE_TAG_SIGN));
	TRY(read_array_of(&r, 4));
	TRY(cbor_read_bytes(&r, &header));
	TRY(read_empty_map(&r));
	if (header.len != 0)
		return fail(BAD_VALUE, "the protected header of the body is not empty");
	TRY(read_payload(&r, &object.payload));
	TRY(read_signers(&r, &object));
	TRY(reader_finish(&r));
	*out = object;
	return OK;
}

result cose_strict_sign_verify(const struct cose_sign *object, const char *label, const struct key *key)
{
	for (size_t i = 0; i < object->count; i++) {
		const struct cose_signature *one = &object->signatures[i];
		if (memcmp(one->kid, key->id, KEY_ID_SIZE) != 0)
			continue;
		struct sig_structure s = sign_structure(object->payload, label, one->protected_bytes);
		return sig_structure_verify(&s, key, one->signature);
	}
	return fail(BAD_SIGNATURE, "no signature by this key");
}

static int compare_signers(const void *a, const void *b)
{
	const struct cose_signer *left = a, *right = b;
	return memcmp(left->kid, right->kid, KEY_ID_SIZE);
}

result cose_strict_sign_assemble(struct span payload, const struct cose_signer *signers, size_t count, struct bytes *out)
{
	if (count == 0 || count > COSE_MAX_SIGNERS)
		return fail(BAD_VALUE, "%zu signers, 1 to %d allowed", count, COSE_MAX_SIGNERS);
	struct cose_signer sorted[COSE_MAX_SIGNERS];
	memcpy(sorted, signers, count * sizeof(*signers));
	qsort(sorted, count, sizeof(*sorted), compare_signers);
	for (size_t i = 1; i < count; i++)
		if (compare_signers(&sorted[i - 1], &sorted[i]) == 0)
			return fail(DUPLICATE_KEY, "one key signs twice");

	size_t each = 1 + string_size(PROTECTED_SIGNER_SIZE) + 1 + string_size(SIGNATURE_SIZE);
	size_t size = 3 + 1 + 1 + string_size(payload.len) + cbor_head_size(count) + count * each;
	CLEANUP(writer_free) struct writer w = writer_growing(size);
	cbor_put_tag(&w, COSE_TAG_SIGN);
	cbor_put_array(&w, 4);
	cbor_put_bytes(&w, SPAN_EMPTY);
	cbor_put_map(&w, 0);
	cbor_put_bytes(&w, payload);
	cbor_put_array(&w, count);
	for (size_t i = 0; i < count; i++) {
		uint8_t header[PROTECTED_SIGNER_SIZE];
		signer_header(sorted[i].kid, header);
		cbor_put_array(&w, 3);
		cbor_put_bytes(&w, SPAN_ARRAY(header));
		cbor_put_map(&w, 0);
		cbor_put_bytes(&w, SPAN_ARRAY(sorted[i].signature));
	}
	return writer_take(&w, out);
}

result cose_strict_sign_make(struct span payload, const char *label, const struct key *const *keys, size_t count, struct bytes *out)
{
	if (count == 0 || count > COSE_MAX_SIGNERS)
		return fail(BAD_VALUE, "%zu signers, 1 to %d allowed", count, COSE_MAX_SIGNERS);
	struct cose_signer signers[COSE_MAX_SIGNERS];
	for (size_t i = 0; i < count; i++) {
		uint8_t header[PROTECTED_SIGNER_SIZE];
		signer_header(keys[i]->id, header);
		struct sig_structure s = sign_structure(payload, label, SPAN_ARRAY(header));
		memcpy(signers[i].kid, keys[i]->id, KEY_ID_SIZE);
		TRY(sig_structure_sign(&s, keys[i], signers[i].signature));
	}
	return cose_strict_sign_assemble(payload, signers, count, out);
}

result cose_strict_sign_tbs(struct span payload, const char *label, const uint8_t kid[static KEY_ID_SIZE], struct bytes *out)
{
	uint8_t header[PROTECTED_SIGNER_SIZE];
	signer_header(kid, header);
	struct sig_structure s = sign_structure(payload, label, SPAN_ARRAY(header));
	return sig_structure_bytes(&s, out);
}

void cose_sign_oid(struct span payload, const char *label, uint8_t out[static 32])
{
	struct sig_structure s = sign_structure(payload, label, SPAN_EMPTY);
	sig_structure_digest(&s, out);
}

/* ---- COSE_Mac0 and COSE_Encrypt0 -------------------------------------------------------------- */

/* The protected header {1: 3, 5: iv}: these bytes, then the IV. */
static const uint8_t protected_a256gcm[] = {0xa2, 0x01, 0x03, 0x05, 0x4c};
static const uint8_t protected_hmac256[] = {0xa1, 0x01, 0x05}; /* {1: 5} */
enum { IV_SIZE = 12, HMAC256_TAG_SIZE = 32, GCM_TAG_SIZE = 16 };

static result check_mac0(struct reader *r, struct span header)
{
	struct span payload, tag;
	if (!span_equal(header, SPAN_ARRAY(protected_hmac256)))
		return protected_refused(header, COSE_ALG_HMAC256);
	TRY(read_payload(r, &payload));
	TRY(cbor_read_bytes(r, &tag));
	if (tag.len != HMAC256_TAG_SIZE)
		return fail(BAD_TAG, "a MAC of %zu bytes where HMAC-SHA256 has %d", tag.len, HMAC256_TAG_SIZE);
	return OK;
}

static result check_encrypt0(struct reader *r, struct span header)
{
	struct span ciphertext;
	if (header.len != sizeof(protected_a256gcm) + IV_SIZE || memcmp(header.data, protected_a256gcm, sizeof(protected_a256gcm)) != 0)
		return protected_refused(header, COSE_ALG_A256GCM);
	TRY(read_payload(r, &ciphertext));
	if (ciphertext.len < GCM_TAG_SIZE)
		return fail(BAD_TAG, "a ciphertext of %zu bytes, shorter than its tag", ciphertext.len);
	return OK;
}

static result strict_message(struct span bytes, uint64_t tag)
{
	struct reader r = reader_of(bytes);
	struct span header;
	TRY(read_object_tag(&r, tag));
	TRY(read_array_of(&r, tag == COSE_TAG_MAC0 ? 4 : 3));
	TRY(cbor_read_bytes(&r, &header));
	TRY(read_empty_map(&r));
	TRY(tag == COSE_TAG_MAC0 ? check_mac0(&r, header) : check_encrypt0(&r, header));
	return reader_finish(&r);
}

result cose_strict_mac0_parse(struct span bytes, struct cose_message *out)
{
	TRY(strict_message(bytes, COSE_TAG_MAC0));
	return cose_parse(bytes, COSE_TAG_MAC0, out);
}

result cose_strict_encrypt0_parse(struct span bytes, struct cose_message *out)
{
	TRY(strict_message(bytes, COSE_TAG_ENCRYPT0));
	return cose_parse(bytes, COSE_TAG_ENCRYPT0, out);
}
