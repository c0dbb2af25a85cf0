/*
 * The COSE parsers. What the strict ones accept has one form: put together again from its parts it is the same
 * bytes, and the generic parser reads the same parts.
 */
#include "wire/cose.h"

#include "crypto/hash.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char label[] = "troth fuzz";

static void require(bool holds)
{
	if (!holds)
		abort();
}

static const struct key *fixed_key(void)
{
	static struct key key;
	static const uint8_t scalar[SCALAR_SIZE] = {1, 2, 3};
	if (!key.pkey)
		require(key_from_scalar(SPAN_ARRAY(scalar), &key) == OK);
	return &key;
}

static void try_sign1(struct span bytes)
{
	struct cose_sign1 object;
	struct cose_message message;
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	if (cose_strict_sign1_parse(bytes, &object) != OK)
		return;
	require(cbor_validate(bytes) == OK);
	require(cose_strict_sign1_assemble(object.payload, object.signature.data, &again) == OK);
	require(span_equal(bytes_span(&again), bytes));
	require(cose_parse(bytes, COSE_TAG_SIGN1, &message) == OK);
	require(message.headers.unprotected_count == 0 && message.headers.alg == COSE_ALG_ES256);
	require(span_equal(message.payload, object.payload) && span_equal(message.signature, object.signature));
	bool strict = cose_strict_sign1_verify(&object, label, fixed_key()) == OK;
	bool generic = cose_sign1_verify(&message, span_str(label), fixed_key()) == OK;
	require(strict == generic);
}

static void try_sign(struct span bytes)
{
	struct cose_sign object;
	struct cose_message message;
	struct cose_signer signers[COSE_MAX_SIGNERS];
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	if (cose_strict_sign_parse(bytes, &object) != OK)
		return;
	require(cbor_validate(bytes) == OK);
	for (size_t i = 0; i < object.count; i++) {
		memcpy(signers[i].kid, object.signatures[i].kid, KEY_ID_SIZE);
		memcpy(signers[i].signature, object.signatures[i].signature.data, SIGNATURE_SIZE);
	}
	require(cose_strict_sign_assemble(object.payload, signers, object.count, &again) == OK);
	require(span_equal(bytes_span(&again), bytes));
	require(cose_parse(bytes, COSE_TAG_SIGN, &message) == OK);
	(void)!cose_strict_sign_verify(&object, label, fixed_key());
	(void)!cose_sign_verify(&message, span_str(label), fixed_key());
}

static void try_symmetric(struct span bytes)
{
	static const uint8_t key[64] = {7};
	static const size_t key_sizes[] = {16, 24, 32, 48, 64};
	struct cose_message message;
	if (cose_strict_mac0_parse(bytes, &message) == OK || cose_strict_encrypt0_parse(bytes, &message) == OK)
		require(cbor_validate(bytes) == OK && message.headers.unprotected_count == 0);
	for (size_t i = 0; i < COUNT_OF(key_sizes); i++) {
		CLEANUP(bytes_free) struct bytes plain = BYTES_EMPTY;
		if (cose_parse(bytes, COSE_TAG_MAC0, &message) == OK)
			(void)!cose_mac0_verify(&message, SPAN_EMPTY, span_of(key, key_sizes[i]));
		if (cose_parse(bytes, COSE_TAG_ENCRYPT0, &message) == OK)
			(void)!cose_encrypt0_open(&message, SPAN_EMPTY, span_of(key, key_sizes[i]), &plain);
	}
}

static void try_generic_signatures(struct span bytes)
{
	struct cose_message message;
	if (cose_parse(bytes, COSE_TAG_SIGN1, &message) == OK)
		(void)!cose_sign1_verify(&message, SPAN_EMPTY, fixed_key());
	if (cose_parse(bytes, COSE_TAG_SIGN, &message) == OK)
		(void)!cose_sign_verify(&message, SPAN_EMPTY, fixed_key());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = span_of(data, size);
	try_sign1(bytes);
	try_sign(bytes);
	try_symmetric(bytes);
	try_generic_signatures(bytes);
	return 0;
}
