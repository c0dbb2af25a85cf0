#include "ledger/note.h"

#include "groups.h"

#include "expect.h"

#include <string.h>

/* The note and key that the documentation of the format's first implementation uses. */
static const char known_key[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
static const char known_note[] = "If you think cryptography is the answer to your problem,\n"
				 "then you don't know what your problem is.\n"
				 "\n"
				 "\xe2\x80\x94 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

static void known_answer(void **state)
{
	(void)state;
	struct note_key key;
	struct note note;
	char text[NOTE_VKEY_SIZE];
	uint64_t time = 7;
	expect_ok(note_key_parse(span_str(known_key), &key));
	assert_string_equal(key.name, "PeterNeumann");
	note_key_format(&key, text);
	assert_string_equal(text, known_key);
	expect_ok(note_parse(span_str(known_note), &note));
	expect_ok(note_verify(&note, &key, &time));
	assert_int_equal(time, 0);
	assert_int_equal(note.count, 1);
	assert_int_equal(note.text.len, strlen("If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"));
}

/* Not one bit of a note or of a key can change unnoticed. */
static void every_bit(void **state)
{
	(void)state;
	struct note_key key;
	struct note note;
	char bytes[sizeof(known_note)], text[sizeof(known_key)];
	expect_ok(note_key_parse(span_str(known_key), &key));
	for (size_t bit = 0; bit < (sizeof(known_note) - 1) * 8; bit++) {
		memcpy(bytes, known_note, sizeof(bytes));
		bytes[bit / 8] ^= (char)(1 << bit % 8);
		result read = note_parse(span_of(bytes, sizeof(known_note) - 1), &note);
		if (read == OK)
			read = note_verify(&note, &key, NULL);
		assert_int_not_equal(read, OK);
	}
	for (size_t bit = 0; bit < (sizeof(known_key) - 1) * 8; bit++) {
		memcpy(text, known_key, sizeof(text));
		text[bit / 8] ^= (char)(1 << bit % 8);
		struct note_key other;
		/* Only the case of the id's hexadecimal digits may differ. */
		if (note_key_parse(span_of(text, sizeof(known_key) - 1), &other) == OK)
			assert_memory_equal(&other, &key, sizeof(key));
	}
	for (size_t len = 0; len + 1 < sizeof(known_note); len++)
		assert_int_not_equal(note_parse(span_of(known_note, len), &note), OK);
}

static void make_signer(const char *name, enum note_key_type type, struct secret *seed, struct note_key *key)
{
	uint8_t public_key[ED25519_PUBLIC_SIZE];
	expect_ok(ed25519_generate(seed));
	expect_ok(ed25519_public(seed, public_key));
	expect_ok(note_key_new(name, type, public_key, key));
}

static void log_and_witness(void **state)
{
	(void)state;
	static const char body[] = "example.com/log\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
	CLEANUP(secret_free) struct secret log_seed = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret witness_seed = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret other_seed = SECRET_EMPTY;
	struct note_key log, witness, other, same_as_log;
	make_signer("example.com/log", NOTE_KEY_LOG, &log_seed, &log);
	make_signer("witness.example/w", NOTE_KEY_COSIGNER, &witness_seed, &witness);
	make_signer("other", NOTE_KEY_COSIGNER, &other_seed, &other);
	char buffer[2048];
	struct writer w = writer_fixed(buffer, sizeof(buffer));
	writer_str(&w, body);
	writer_str(&w, "\n");
	expect_ok(note_sign(span_str(body), &log, &log_seed, 99, &w));
	size_t without = w.len;
	expect_ok(note_sign(span_str(body), &witness, &witness_seed, 1700000000, &w));
	struct note note;
	uint64_t time;
	expect_ok(note_parse(span_of(buffer, w.len), &note));
	assert_int_equal(note.count, 2);
	expect_ok(note_verify(&note, &log, &time));
	assert_int_equal(time, 0);
	expect_ok(note_verify(&note, &witness, &time));
	assert_int_equal(time, 1700000000);
	expect(note_verify(&note, &other, NULL), NOT_SIGNED);
	expect_ok(note_parse(span_of(buffer, without), &note));
	expect(note_verify(&note, &witness, NULL), NOT_SIGNED);
	/* A log's key is no cosigner's: the type is part of the id. */
	expect_ok(note_key_new(log.name, NOTE_KEY_COSIGNER, log.public_key, &same_as_log));
	expect(note_verify(&note, &same_as_log, NULL), NOT_SIGNED);
	/* A cosignature's time is signed. */
	w = writer_fixed(buffer, sizeof(buffer));
	writer_str(&w, "other text\n\n");
	expect_ok(note_sign(span_str(body), &witness, &witness_seed, 1700000000, &w));
	expect_ok(note_parse(span_of(buffer, w.len), &note));
	expect(note_verify(&note, &witness, NULL), BAD_SIGNATURE);
}

static void refusals(void **state)
{
	(void)state;
	struct note note;
	struct note_key key;
	static const uint8_t zero[ED25519_PUBLIC_SIZE];
	static const struct {
		const char *text;
		enum reason reason;
	} rows[] = {
		{"", TRUNCATED},
		{"\n\n", TRUNCATED},
		{"text\n", NOT_SIGNED},
		{"text\n\n", NOT_SIGNED},
		{"text\n\n\xe2\x80\x94 n", TRUNCATED},
		{"text\n\nsigned\n", BAD_VALUE},
		{"text\n\n\xe2\x80\x94 name\n", BAD_VALUE},
		{"text\n\n\xe2\x80\x94 name AAAA\n", TRUNCATED},
		{"text\n\n\xe2\x80\x94 na+me AAAAAAAA\n", BAD_NAME},
		{"text\n\n\xe2\x80\x94 name AAAAAAA\n", BAD_VALUE},
		{"te\txt\n\n\xe2\x80\x94 name AAAAAAAA\n", BAD_VALUE},
		{"te\xc3xt\n\n\xe2\x80\x94 name AAAAAAAA\n", BAD_UTF8},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		expect(note_parse(span_str(rows[i].text), &note), rows[i].reason);
	expect_ok(note_parse(span_str("text\n\n\xe2\x80\x94 name AAAAAAAA\n"), &note));
	expect(note_key_new("", NOTE_KEY_LOG, zero, &key), BAD_NAME);
	expect(note_key_new("a b", NOTE_KEY_LOG, zero, &key), BAD_NAME);
	expect(note_key_new("a+b", NOTE_KEY_LOG, zero, &key), BAD_NAME);
	expect(note_key_new("a\xc2\xa0" "b", NOTE_KEY_LOG, zero, &key), BAD_NAME);
	expect(note_key_new("a", (enum note_key_type)2, zero, &key), UNSUPPORTED_ALGORITHM);
	expect(note_key_parse(span_str("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"), &key), DIGEST_MISMATCH);
	expect(note_key_parse(span_str("PeterNeumann+c74f20a3"), &key), BAD_VALUE);
	expect(note_key_parse(span_str("PeterNeumann"), &key), BAD_VALUE);
	expect(note_key_parse(SPAN_EMPTY, &key), BAD_VALUE);
	/* as many signatures as are read, and one more */
	char many[NOTE_SIGNATURES_MAX * 20 + 64] = "text\n\n";
	for (int i = 0; i < NOTE_SIGNATURES_MAX; i++)
		strcat(many, "\xe2\x80\x94 n AAAAAAAA\n");
	expect_ok(note_parse(span_str(many), &note));
	assert_int_equal(note.count, NOTE_SIGNATURES_MAX);
	strcat(many, "\xe2\x80\x94 n AAAAAAAA\n");
	expect(note_parse(span_str(many), &note), TOO_LARGE);
}

int group_note(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answer),
		cmocka_unit_test(every_bit),
		cmocka_unit_test(log_and_witness),
		cmocka_unit_test(refusals),
	};
	return cmocka_run_group_tests_name("note", tests, NULL, NULL);
}
