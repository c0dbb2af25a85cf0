#include "wire_test.h"

#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/key.h"
#include "wire/cose.h"

static const char label[] = "troth test 1";
static const char payload_text[] = "This is the content.";

static struct key new_key(uint8_t number)
{
	uint8_t scalar[SCALAR_SIZE] = {[SCALAR_SIZE - 1] = number, [0] = 0x11};
	struct key key = KEY_EMPTY;
	expect_ok(key_from_scalar(SPAN_ARRAY(scalar), &key));
	return key;
}

static struct bytes new_sign1(const struct key *key)
{
	struct bytes object = BYTES_EMPTY;
	expect_ok(cose_strict_sign1_make(span_str(payload_text), label, key, &object));
	return object;
}

/* A tagged COSE_Sign1 with any header pair and the signature of the profile. */
struct raw_sign1 {
	uint64_t tag;
	const char *protected_hex;
	const char *unprotected_hex;
	bool detached;
	size_t signature_len;
	const char *after_hex;
};

static result parse_raw(const struct raw_sign1 *raw)
{
	uint8_t signature[80] = {1};
	CLEANUP(bytes_free)
	struct bytes header = unhex(raw->protected_hex), other = unhex(raw->unprotected_hex),
		     after = unhex(raw->after_hex ? raw->after_hex : "");
	CLEANUP(writer_free) struct writer w = writer_growing(4096);
	if (raw->tag)
		cbor_put_tag(&w, raw->tag);
	cbor_put_array(&w, 4);
	cbor_put_bytes(&w, bytes_span(&header));
	writer_span(&w, bytes_span(&other));
	if (raw->detached)
		cbor_put_null(&w);
	else
		cbor_put_bytes(&w, span_str(payload_text));
	cbor_put_bytes(&w, span_of(signature, raw->signature_len));
	writer_span(&w, bytes_span(&after));
	struct span object;
	struct cose_sign1 parsed;
	expect_ok(writer_finish(&w, &object));
	return cose_strict_sign1_parse(object, &parsed);
}

static void sign1_round_trip(void **state)
{
	CLEANUP(key_free) struct key key = new_key(1);
	CLEANUP(key_free) struct key other = new_key(2);
	CLEANUP(bytes_free) struct bytes object = new_sign1(&key);
	struct cose_sign1 parsed;
	expect_ok(cose_strict_sign1_parse(bytes_span(&object), &parsed));
	assert_true(span_equal_str(parsed.payload, payload_text));
	expect_ok(cose_strict_sign1_verify(&parsed, label, &key));
	expect(cose_strict_sign1_verify(&parsed, "troth test 2", &key), BAD_SIGNATURE);
	expect(cose_strict_sign1_verify(&parsed, "", &key), BAD_SIGNATURE);
	expect(cose_strict_sign1_verify(&parsed, label, &other), BAD_SIGNATURE);
	parsed.payload.len--;
	expect(cose_strict_sign1_verify(&parsed, label, &key), BAD_SIGNATURE);
	expect_ok(cbor_validate(bytes_span(&object)));
}

/* RFC 9052 appendix C.2.1: its signed bytes are those of the profile with an empty label. */
static void sign1_known_answer(void **state)
{
	CLEANUP(bytes_free)
	struct bytes point = unhex("04bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff"
				   "20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e");
	CLEANUP(bytes_free)
	struct bytes signature = unhex("8eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e"
				       "2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36");
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY, object = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes expected = unhex("846a5369676e61747572653143a101264054546869732069732074686520636f6e74656e742e");
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	struct cose_sign1 parsed;
	uint8_t oid[32], digest[32];
	expect_ok(key_from_point(bytes_span(&point), &key));
	expect_ok(cose_strict_sign1_tbs(span_str(payload_text), "", &tbs));
	assert_true(span_equal(bytes_span(&tbs), bytes_span(&expected)));
	expect_ok(cose_strict_sign1_assemble(span_str(payload_text), signature.data, &object));
	expect_ok(cose_strict_sign1_parse(bytes_span(&object), &parsed));
	expect_ok(cose_strict_sign1_verify(&parsed, "", &key));
	expect(cose_strict_sign1_verify(&parsed, "x", &key), BAD_SIGNATURE);
	cose_sign1_oid(span_str(payload_text), "", oid);
	sha256(bytes_span(&expected), digest);
	assert_memory_equal(oid, digest, 32);
}

/* The id of an object depends on kind and payload alone, and is the digest of what is signed for any size. */
static void oid_is_the_digest_of_what_is_signed(void **state)
{
	static uint8_t payload[5000];
	const size_t sizes[] = {0, 1, 900, 1000, 1024, sizeof(payload)};
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		uint8_t oid[32], digest[32], other[32];
		CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
		struct span part = span_of(payload, sizes[i]);
		cose_sign1_oid(part, label, oid);
		expect_ok(cose_strict_sign1_tbs(part, label, &tbs));
		sha256(bytes_span(&tbs), digest);
		assert_memory_equal(oid, digest, 32);
		cose_sign1_oid(part, "troth test 2", other);
		assert_memory_not_equal(oid, other, 32);
		cose_sign_oid(part, label, other);
		assert_memory_not_equal(oid, other, 32);
	}
}

static void sign1_refusals(void **state)
{
	const struct {
		const char *what;
		struct raw_sign1 raw;
		enum reason verdict;
	} rows[] = {
		{"the profile itself", {18, "a10126", "a0", false, 64}, OK},
		{"no tag", {0, "a10126", "a0", false, 64}, WRONG_TAG},
		{"tag of COSE_Sign", {98, "a10126", "a0", false, 64}, WRONG_TAG},
		{"tag of COSE_Mac0", {17, "a10126", "a0", false, 64}, WRONG_TAG},
		{"unprotected kid", {18, "a10126", "a1044131", false, 64}, UNPROTECTED_HEADER},
		{"unprotected header that is no map", {18, "a10126", "80", false, 64}, BAD_TYPE},
		{"unprotected header before protected one", {18, "a0", "a1044131", false, 64}, UNPROTECTED_HEADER},
		{"no protected header", {18, "", "a0", false, 64}, UNSUPPORTED_ALGORITHM},
		{"empty protected map", {18, "a0", "a0", false, 64}, UNSUPPORTED_ALGORITHM},
		{"EdDSA", {18, "a10127", "a0", false, 64}, UNSUPPORTED_ALGORITHM},
		{"ES384", {18, "a1013822", "a0", false, 64}, UNSUPPORTED_ALGORITHM},
		{"algorithm as text", {18, "a101654553323536", "a0", false, 64}, UNSUPPORTED_ALGORITHM},
		{"empty crit", {18, "a201260280", "a0", false, 64}, UNKNOWN_CRITICAL},
		{"unknown crit", {18, "a301260281182a182a01", "a0", false, 64}, UNKNOWN_CRITICAL},
		{"crit of a known header", {18, "a20126028101", "a0", false, 64}, UNKNOWN_CRITICAL},
		{"one header more", {18, "a201260300", "a0", false, 64}, BAD_VALUE},
		{"-7 in two bytes", {18, "a1013806", "a0", false, 64}, NOT_DETERMINISTIC},
		{"label in two bytes", {18, "a1180126", "a0", false, 64}, NOT_DETERMINISTIC},
		{"map of indefinite length", {18, "bf0126ff", "a0", false, 64}, NOT_DETERMINISTIC},
		{"algorithm twice", {18, "a201260126", "a0", false, 64}, DUPLICATE_KEY},
		{"headers out of order", {18, "a203000126", "a0", false, 64}, NOT_DETERMINISTIC},
		{"bytes after the header", {18, "a1012600", "a0", false, 64}, TRAILING_BYTES},
		{"header cut short", {18, "a101", "a0", false, 64}, TRUNCATED},
		{"header that is no map", {18, "8126", "a0", false, 64}, BAD_TYPE},
		{"detached payload", {18, "a10126", "a0", true, 64}, BAD_VALUE},
		{"signature of 63 bytes", {18, "a10126", "a0", false, 63}, BAD_SIGNATURE},
		{"signature of 65 bytes", {18, "a10126", "a0", false, 65}, BAD_SIGNATURE},
		{"signature in DER", {18, "a10126", "a0", false, 71}, BAD_SIGNATURE},
		{"no signature", {18, "a10126", "a0", false, 0}, BAD_SIGNATURE},
		{"a byte after the end", {18, "a10126", "a0", false, 64, "00"}, TRAILING_BYTES},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		result verdict = parse_raw(&rows[i].raw);
		if (verdict != rows[i].verdict)
			fail_msg("%s: %s (%s), not %s", rows[i].what, reason_name(verdict), failure_text(), reason_name(rows[i].verdict));
	}
}

static void sign1_refuses_other_shapes(void **state)
{
	const struct {
		const char *hex;
		enum reason verdict;
	} rows[] = {
		{"", TRUNCATED},
		{"d2", TRUNCATED},
		{"d28343a10126a040", BAD_TYPE},
		{"d28543a10126a0404000", BAD_TYPE},
		{"d2a0", BAD_TYPE},
		{"d28401020304", BAD_TYPE},
		{"d81284", NOT_DETERMINISTIC},
		{"d29f43a10126a04040ff", NOT_DETERMINISTIC},
		{"d2845803a10126a04040", NOT_DETERMINISTIC},
		{"d2845f43a10126ffa04040", NOT_DETERMINISTIC},
		{"d2d28443a10126a04040", BAD_TYPE},
		{"f6", WRONG_TAG},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		CLEANUP(bytes_free) struct bytes bytes = unhex(rows[i].hex);
		struct cose_sign1 parsed = {.payload = {NULL, 77}};
		result verdict = cose_strict_sign1_parse(bytes_span(&bytes), &parsed);
		if (verdict != rows[i].verdict)
			fail_msg("%s: %s, not %s", rows[i].hex, reason_name(verdict), reason_name(rows[i].verdict));
		assert_int_equal(parsed.payload.len, 77);
	}
}

static void sign1_truncated_and_extended(void **state)
{
	CLEANUP(key_free) struct key key = new_key(1);
	CLEANUP(bytes_free) struct bytes object = new_sign1(&key);
	struct cose_sign1 parsed;
	for (size_t len = 0; len < object.len; len++) {
		CLEANUP(bytes_free) struct bytes cut = BYTES_EMPTY;
		expect_ok(bytes_copy(span_of(object.data, len), &cut));
		expect(cose_strict_sign1_parse(bytes_span(&cut), &parsed), TRUNCATED);
	}
	CLEANUP(writer_free) struct writer w = writer_growing(4096);
	struct span longer;
	writer_span(&w, bytes_span(&object));
	writer_u8(&w, 0xf6);
	expect_ok(writer_finish(&w, &longer));
	expect(cose_strict_sign1_parse(longer, &parsed), TRAILING_BYTES);
}

static void sign1_every_bit_counts(void **state)
{
	CLEANUP(key_free) struct key key = new_key(1);
	CLEANUP(bytes_free) struct bytes object = new_sign1(&key);
	for (size_t bit = 0; bit < 8 * object.len; bit++) {
		struct cose_sign1 parsed;
		object.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (cose_strict_sign1_parse(bytes_span(&object), &parsed) == OK)
			expect(cose_strict_sign1_verify(&parsed, label, &key), BAD_SIGNATURE);
		object.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	struct cose_sign1 parsed;
	expect_ok(cose_strict_sign1_parse(bytes_span(&object), &parsed));
	expect_ok(cose_strict_sign1_verify(&parsed, label, &key));
}

/* ---- COSE_Sign ---- */

enum { SIGNERS = 3 };

struct signers {
	struct key keys[SIGNERS];
	const struct key *pointers[SIGNERS];
};

static void signers_new(struct signers *s)
{
	for (size_t i = 0; i < SIGNERS; i++) {
		s->keys[i] = new_key((uint8_t)(10 + i));
		s->pointers[i] = &s->keys[i];
	}
}

static void signers_free(struct signers *s)
{
	for (size_t i = 0; i < SIGNERS; i++)
		key_free(&s->keys[i]);
}

static void sign_round_trip(void **state)
{
	CLEANUP(signers_free) struct signers s;
	CLEANUP(key_free) struct key stranger = new_key(99);
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct cose_sign parsed;
	signers_new(&s);
	expect_ok(cose_strict_sign_make(span_str(payload_text), label, s.pointers, SIGNERS, &object));
	expect_ok(cbor_validate(bytes_span(&object)));
	expect_ok(cose_strict_sign_parse(bytes_span(&object), &parsed));
	assert_int_equal(parsed.count, SIGNERS);
	assert_true(span_equal_str(parsed.payload, payload_text));
	for (size_t i = 0; i < SIGNERS; i++) {
		expect_ok(cose_strict_sign_verify(&parsed, label, &s.keys[i]));
		expect(cose_strict_sign_verify(&parsed, "troth test 2", &s.keys[i]), BAD_SIGNATURE);
		if (i > 0)
			assert_true(memcmp(parsed.signatures[i - 1].kid, parsed.signatures[i].kid, KEY_ID_SIZE) < 0);
	}
	expect(cose_strict_sign_verify(&parsed, label, &stranger), BAD_SIGNATURE);
	/* A signature under the kid of another signer. */
	memcpy(parsed.signatures[0].kid, stranger.id, KEY_ID_SIZE);
	expect(cose_strict_sign_verify(&parsed, label, &stranger), BAD_SIGNATURE);
}

static void sign_what_is_signed(void **state)
{
	CLEANUP(key_free) struct key key = new_key(10);
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY, object = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(4096);
	struct span expected;
	uint8_t header[38] = {0xa2, 0x01, 0x26, 0x04, 0x58, 0x20}, oid[32], digest[32];
	memcpy(header + 6, key.id, KEY_ID_SIZE);
	cbor_put_array(&w, 5);
	cbor_put_str(&w, "Signature");
	cbor_put_bytes(&w, SPAN_EMPTY);
	cbor_put_bytes(&w, SPAN_ARRAY(header));
	cbor_put_bytes(&w, span_str(label));
	cbor_put_bytes(&w, span_str(payload_text));
	expect_ok(writer_finish(&w, &expected));
	expect_ok(cose_strict_sign_tbs(span_str(payload_text), label, key.id, &tbs));
	assert_true(span_equal(bytes_span(&tbs), expected));

	/* Signed elsewhere, put together here. */
	struct cose_signer signer;
	struct cose_sign parsed;
	memcpy(signer.kid, key.id, KEY_ID_SIZE);
	expect_ok(key_sign(&key, expected, signer.signature));
	expect_ok(cose_strict_sign_assemble(span_str(payload_text), &signer, 1, &object));
	expect_ok(cose_strict_sign_parse(bytes_span(&object), &parsed));
	expect_ok(cose_strict_sign_verify(&parsed, label, &key));

	w.len = 0;
	cbor_put_array(&w, 4);
	cbor_put_str(&w, "Signature");
	cbor_put_bytes(&w, SPAN_EMPTY);
	cbor_put_bytes(&w, span_str(label));
	cbor_put_bytes(&w, span_str(payload_text));
	expect_ok(writer_finish(&w, &expected));
	sha256(expected, digest);
	cose_sign_oid(span_str(payload_text), label, oid);
	assert_memory_equal(oid, digest, 32);
}

static void sign_refuses_to_make(void **state)
{
	CLEANUP(signers_free) struct signers s;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	signers_new(&s);
	const struct key *twice[] = {&s.keys[0], &s.keys[1], &s.keys[0]};
	expect(cose_strict_sign_make(span_str(payload_text), label, twice, 3, &object), DUPLICATE_KEY);
	expect(cose_strict_sign_make(span_str(payload_text), label, twice, 0, &object), BAD_VALUE);
	expect(cose_strict_sign_make(span_str(payload_text), label, twice, COSE_MAX_SIGNERS + 1, &object), BAD_VALUE);
	assert_null(object.data);
}

/* One COSE_Sign, made by hand; signatures are 64 bytes that are not looked at here. */
struct raw_sign {
	const char *body_hex;
	const char *unprotected_hex;
	size_t count;
	uint8_t kids[3];
	const char *signer_protected_hex; /* instead of {1: -7, 4: kid} */
	const char *signer_unprotected_hex;
};

static result parse_raw_sign(const struct raw_sign *raw)
{
	uint8_t signature[64] = {1};
	CLEANUP(bytes_free) struct bytes body = unhex(raw->body_hex), other = unhex(raw->unprotected_hex);
	CLEANUP(bytes_free) struct bytes signer_other = unhex(raw->signer_unprotected_hex ? raw->signer_unprotected_hex : "a0");
	CLEANUP(bytes_free) struct bytes replaced = unhex(raw->signer_protected_hex ? raw->signer_protected_hex : "");
	CLEANUP(writer_free) struct writer w = writer_growing(8192);
	cbor_put_tag(&w, 98);
	cbor_put_array(&w, 4);
	cbor_put_bytes(&w, bytes_span(&body));
	writer_span(&w, bytes_span(&other));
	cbor_put_bytes(&w, span_str(payload_text));
	cbor_put_array(&w, raw->count);
	for (size_t i = 0; i < raw->count; i++) {
		uint8_t header[38] = {0xa2, 0x01, 0x26, 0x04, 0x58, 0x20, raw->kids[i % 3]};
		cbor_put_array(&w, 3);
		cbor_put_bytes(&w, raw->signer_protected_hex ? bytes_span(&replaced) : SPAN_ARRAY(header));
		writer_span(&w, bytes_span(&signer_other));
		cbor_put_bytes(&w, SPAN_ARRAY(signature));
	}
	struct span object;
	struct cose_sign parsed;
	expect_ok(writer_finish(&w, &object));
	return cose_strict_sign_parse(object, &parsed);
}

static void sign_refusals(void **state)
{
	const struct {
		const char *what;
		struct raw_sign raw;
		enum reason verdict;
	} rows[] = {
		{"the profile itself", {"", "a0", 3, {1, 2, 3}}, OK},
		{"empty map as body header", {"a0", "a0", 1, {1}}, BAD_VALUE},
		{"algorithm in the body", {"a10126", "a0", 1, {1}}, BAD_VALUE},
		{"unprotected header of the body", {"", "a1044131", 1, {1}}, UNPROTECTED_HEADER},
		{"unprotected header of a signer", {"", "a0", 1, {1}, NULL, "a1044131"}, UNPROTECTED_HEADER},
		{"no signer", {"", "a0", 0, {1}}, BAD_VALUE},
		{"too many signers", {"", "a0", COSE_MAX_SIGNERS + 1, {1, 2, 3}}, TOO_LARGE},
		{"one signer twice", {"", "a0", 2, {1, 1}}, DUPLICATE_KEY},
		{"signers out of order", {"", "a0", 2, {2, 1}}, NOT_DETERMINISTIC},
		{"signer without kid", {"", "a0", 1, {1}, "a10126"}, BAD_VALUE},
		{"signer without algorithm", {"", "a0", 1, {1}, ""}, UNSUPPORTED_ALGORITHM},
		{"signer with empty crit", {"", "a0", 1, {1}, "a201260280"}, UNKNOWN_CRITICAL},
		{"signer with EdDSA", {"", "a0", 1, {1}, "a10127"}, UNSUPPORTED_ALGORITHM},
		{"kid too short", {"", "a0", 1, {1}, "a20126044101"}, BAD_VALUE},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		result verdict = parse_raw_sign(&rows[i].raw);
		if (verdict != rows[i].verdict)
			fail_msg("%s: %s (%s), not %s", rows[i].what, reason_name(verdict), failure_text(), reason_name(rows[i].verdict));
	}
}

static void sign_truncated_and_every_bit(void **state)
{
	CLEANUP(signers_free) struct signers s;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct cose_sign parsed;
	signers_new(&s);
	expect_ok(cose_strict_sign_make(span_str(payload_text), label, s.pointers, 2, &object));
	for (size_t len = 0; len < object.len; len++) {
		CLEANUP(bytes_free) struct bytes cut = BYTES_EMPTY;
		expect_ok(bytes_copy(span_of(object.data, len), &cut));
		expect(cose_strict_sign_parse(bytes_span(&cut), &parsed), TRUNCATED);
	}
	for (size_t bit = 0; bit < 8 * object.len; bit++) {
		object.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (cose_strict_sign_parse(bytes_span(&object), &parsed) == OK)
			assert_true(cose_strict_sign_verify(&parsed, label, &s.keys[0]) != OK ||
				cose_strict_sign_verify(&parsed, label, &s.keys[1]) != OK);
		object.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* ---- Generic ---- */

static void generic_headers(void **state)
{
	const struct {
		const char *what, *hex;
		enum reason verdict;
	} rows[] = {
		{"plain", "d28443a10126a10441314040", OK},
		{"untagged", "8443a10126a10441314040", OK},
		{"lengths not shortest", "d2845803a10126b8010441314040", OK},
		{"unordered unprotected header", "d28443a10126a20541010441314040", OK},
		{"detached", "d28443a10126a0f640", OK},
		{"tag of another", "d18443a10126a04040", WRONG_TAG},
		{"label in both buckets", "d28443a10126a101264040", DUPLICATE_KEY},
		{"label twice", "d28440a20441310441324040", DUPLICATE_KEY},
		{"empty crit", "d28445a201260280a04040", UNKNOWN_CRITICAL},
		{"crit unprotected", "d28440a201260281014040", UNKNOWN_CRITICAL},
		{"unknown crit", "d2844aa301260281182a182a01a04040", UNKNOWN_CRITICAL},
		{"known crit", "d28446a20126028101a04040", OK},
		{"crit of an absent header", "d28446a20126028104a04040", UNKNOWN_CRITICAL},
		{"crit of an unprotected header", "d28446a20126028104a10441314040", UNKNOWN_CRITICAL},
		{"kid that is no byte string", "d28443a10126a104014040", BAD_TYPE},
		{"array of three", "d28343a10126a040", BAD_TYPE},
		{"header after the map", "d28444a1012600a04040", TRAILING_BYTES},
		{"trailing byte", "d28443a10126a0404000", TRAILING_BYTES},
		{"indefinite array", "d29f43a10126a04040ff", NOT_DETERMINISTIC},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		CLEANUP(bytes_free) struct bytes bytes = unhex(rows[i].hex);
		struct cose_message message;
		result verdict = cose_parse(bytes_span(&bytes), COSE_TAG_SIGN1, &message);
		if (verdict != rows[i].verdict)
			fail_msg("%s: %s (%s), not %s", rows[i].what, reason_name(verdict), failure_text(), reason_name(rows[i].verdict));
	}
}

static void generic_reads_the_strict_form(void **state)
{
	CLEANUP(key_free) struct key key = new_key(1);
	CLEANUP(bytes_free) struct bytes object = new_sign1(&key);
	struct cose_message message;
	expect_ok(cose_parse(bytes_span(&object), COSE_TAG_SIGN1, &message));
	assert_int_equal(message.headers.unprotected_count, 0);
	expect_ok(cose_sign1_verify(&message, span_str(label), &key));
	expect(cose_sign1_verify(&message, SPAN_EMPTY, &key), BAD_SIGNATURE);
	message.headers.alg = -8;
	expect(cose_sign1_verify(&message, span_str(label), &key), UNSUPPORTED_ALGORITHM);
}

/* ---- Strict Mac0 and Encrypt0 ---- */

static const uint8_t symmetric_key[32] = {1, 2, 3};

/* ["MAC0" or "Encrypt0", protected, label, and the payload of a MAC] */
static void put_structure(struct writer *w, const char *context, struct span header, bool with_payload)
{
	cbor_put_array(w, with_payload ? 4 : 3);
	cbor_put_str(w, context);
	cbor_put_bytes(w, header);
	cbor_put_bytes(w, span_str(label));
	if (with_payload)
		cbor_put_bytes(w, span_str(payload_text));
}

static void put_message(
	struct writer *w, uint64_t tag, struct span header, const char *unprotected_hex, struct span content, struct span mac)
{
	CLEANUP(bytes_free) struct bytes unprotected = unhex(unprotected_hex);
	cbor_put_tag(w, tag);
	cbor_put_array(w, mac.data ? 4 : 3);
	cbor_put_bytes(w, header);
	writer_span(w, bytes_span(&unprotected));
	cbor_put_bytes(w, content);
	if (mac.data)
		cbor_put_bytes(w, mac);
}

static void strict_mac0(void **state)
{
	static const uint8_t good[] = {0xa1, 0x01, 0x05}, short_mac[] = {0xa1, 0x01, 0x04}, crit[] = {0xa2, 0x01, 0x05, 0x02, 0x80};
	const struct {
		struct span header;
		const char *unprotected;
		size_t mac_len;
		enum reason verdict;
	} rows[] = {
		{SPAN_ARRAY(good), "a0", 32, OK},
		{SPAN_ARRAY(good), "a1044131", 32, UNPROTECTED_HEADER},
		{SPAN_ARRAY(good), "a0", 8, BAD_TAG},
		{SPAN_ARRAY(short_mac), "a0", 8, UNSUPPORTED_ALGORITHM},
		{SPAN_ARRAY(crit), "a0", 32, UNKNOWN_CRITICAL},
		{SPAN_EMPTY, "a10105", 32, UNPROTECTED_HEADER},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		CLEANUP(writer_free) struct writer structure = writer_growing(1024), w = writer_growing(1024);
		uint8_t mac[32];
		struct cose_message message;
		put_structure(&structure, "MAC0", rows[i].header, true);
		hmac_sha256(SPAN_ARRAY(symmetric_key), span_of(structure.data, structure.len), mac);
		put_message(&w, COSE_TAG_MAC0, rows[i].header, rows[i].unprotected, span_str(payload_text), span_of(mac, rows[i].mac_len));
		expect(cose_strict_mac0_parse(span_of(w.data, w.len), &message), rows[i].verdict);
		if (rows[i].verdict != OK)
			continue;
		expect_ok(cose_mac0_verify(&message, span_str(label), SPAN_ARRAY(symmetric_key)));
		expect(cose_mac0_verify(&message, SPAN_EMPTY, SPAN_ARRAY(symmetric_key)), BAD_TAG);
		expect(cose_mac0_verify(&message, span_str(label), span_of(symmetric_key, 31)), BAD_KEY);
		expect(cose_strict_mac0_parse(span_of(w.data, w.len - 1), &message), TRUNCATED);
		expect(cose_strict_encrypt0_parse(span_of(w.data, w.len), &message), WRONG_TAG);
	}
}

static void strict_encrypt0(void **state)
{
	const struct {
		const char *header, *unprotected;
		enum reason verdict;
	} rows[] = {
		{"a20103054c000102030405060708090a0b", "a0", OK},
		{"a20103054c000102030405060708090a0b", "a1044131", UNPROTECTED_HEADER},
		{"a10103", "a1054c000102030405060708090a0b", UNPROTECTED_HEADER},
		{"a10103", "a0", BAD_VALUE},
		{"a20101054c000102030405060708090a0b", "a0", UNSUPPORTED_ALGORITHM},
		{"a20103054b000102030405060708090a", "a0", BAD_VALUE},
		{"a30103028105054c000102030405060708090a0b", "a0", UNKNOWN_CRITICAL},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		CLEANUP(bytes_free) struct bytes header = unhex(rows[i].header), plain = BYTES_EMPTY;
		CLEANUP(writer_free) struct writer structure = writer_growing(1024), w = writer_growing(1024);
		CLEANUP(aead_free) struct aead aead = {0};
		static const uint8_t iv[AEAD_NONCE_SIZE] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
		uint8_t sealed[sizeof(payload_text) - 1 + AEAD_TAG_SIZE];
		struct cose_message message;
		put_structure(&structure, "Encrypt0", bytes_span(&header), false);
		expect_ok(aead_init_seal(&aead, symmetric_key));
		expect_ok(aead_seal(&aead, iv, span_of(structure.data, structure.len), span_str(payload_text), sealed));
		put_message(&w, COSE_TAG_ENCRYPT0, bytes_span(&header), rows[i].unprotected, SPAN_ARRAY(sealed), SPAN_EMPTY);
		expect(cose_strict_encrypt0_parse(span_of(w.data, w.len), &message), rows[i].verdict);
		if (rows[i].verdict != OK)
			continue;
		expect_ok(cose_encrypt0_open(&message, span_str(label), SPAN_ARRAY(symmetric_key), &plain));
		assert_true(span_equal_str(bytes_span(&plain), payload_text));
		CLEANUP(bytes_free) struct bytes nothing = BYTES_EMPTY;
		expect(cose_encrypt0_open(&message, SPAN_EMPTY, SPAN_ARRAY(symmetric_key), &nothing), BAD_TAG);
		expect(cose_encrypt0_open(&message, span_str(label), span_of(symmetric_key, 16), &nothing), BAD_KEY);
		assert_null(nothing.data);
	}
}

int run_cose_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sign1_round_trip),
		cmocka_unit_test(sign1_known_answer),
		cmocka_unit_test(oid_is_the_digest_of_what_is_signed),
		cmocka_unit_test(sign1_refusals),
		cmocka_unit_test(sign1_refuses_other_shapes),
		cmocka_unit_test(sign1_truncated_and_extended),
		cmocka_unit_test(sign1_every_bit_counts),
		cmocka_unit_test(sign_round_trip),
		cmocka_unit_test(sign_what_is_signed),
		cmocka_unit_test(sign_refuses_to_make),
		cmocka_unit_test(sign_refusals),
		cmocka_unit_test(sign_truncated_and_every_bit),
		cmocka_unit_test(strict_mac0),
		cmocka_unit_test(strict_encrypt0),
		cmocka_unit_test(generic_headers),
		cmocka_unit_test(generic_reads_the_strict_form),
	};
	return cmocka_run_group_tests_name("cose", tests, NULL, NULL);
}
