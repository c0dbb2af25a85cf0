#include "ledger/checkpoint.h"

#include "base/arena.h"

#include "groups.h"

#include "expect.h"

#include <string.h>

static void make_log(struct secret *seed, struct note_key *key)
{
	uint8_t public_key[ED25519_PUBLIC_SIZE];
	expect_ok(ed25519_generate(seed));
	expect_ok(ed25519_public(seed, public_key));
	expect_ok(note_key_new("example.com/log", NOTE_KEY_LOG, public_key, key));
}

static struct span signed_checkpoint(const struct checkpoint *checkpoint, const struct note_key *key, const struct secret *seed,
	char *buffer, size_t size)
{
	struct writer w = writer_fixed(buffer, size);
	struct span out;
	checkpoint_put(checkpoint, &w);
	size_t text = w.len;
	writer_str(&w, "\n");
	expect_ok(note_sign(span_of(buffer, text), key, seed, 0, &w));
	expect_ok(writer_finish(&w, &out));
	return out;
}

/* The example of c2sp.org/tlog-checkpoint. */
static void known_text(void **state)
{
	(void)state;
	static const char text[] = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
	struct checkpoint checkpoint;
	char again[256];
	struct writer w = writer_fixed(again, sizeof(again));
	expect_ok(checkpoint_parse(span_str(text), &checkpoint));
	assert_string_equal(checkpoint.origin, "example.com/behind-the-sofa");
	assert_int_equal(checkpoint.size, 20852163);
	checkpoint_put(&checkpoint, &w);
	expect_span(span_of(again, w.len), span_str(text));
}

static void refusals(void **state)
{
	(void)state;
	struct checkpoint checkpoint;
	static const struct {
		const char *text;
		enum reason reason;
	} rows[] = {
		{"", TRUNCATED},
		{"\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", BAD_VALUE},
		{"o\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", BAD_VALUE},
		{"o\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", BAD_VALUE},
		{"o\n\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", BAD_VALUE},
		{"o\n9223372036854775808\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", BAD_VALUE},
		{"o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n", BAD_VALUE},
		{"o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I\n", BAD_VALUE},
		{"o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=", TRUNCATED},
		{"o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nmore\n", TRAILING_BYTES},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		expect(checkpoint_parse(span_str(rows[i].text), &checkpoint), rows[i].reason);
	expect_ok(checkpoint_parse(span_str("o\n9223372036854775807\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"), &checkpoint));
	expect_ok(checkpoint_parse(span_str("o\n0\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"), &checkpoint));
}

static void proof_files(void **state)
{
	(void)state;
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret foreign_seed = SECRET_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct note_key log, foreign, renamed;
	struct merkle_tree tree = MERKLE_TREE_EMPTY;
	struct merkle_hash leaf, wanted;
	struct checkpoint checkpoint = {.origin = "example.com/log", .size = 9}, opened;
	char note[512], file[4096];
	make_log(&seed, &log);
	make_log(&foreign_seed, &foreign);
	for (uint8_t i = 0; i < 9; i++) {
		merkle_leaf(span_of(&i, 1), &leaf);
		expect_ok(merkle_append(&tree, &leaf));
		if (i == 6)
			wanted = leaf;
	}
	expect_ok(merkle_root(&tree, 9, &checkpoint.root));
	struct tlog_proof proof = {.extra = span_str("beside"), .index = 6}, read;
	proof.checkpoint = signed_checkpoint(&checkpoint, &log, &seed, note, sizeof(note));
	expect_ok(merkle_prove_inclusion(&tree, 6, 9, &proof.path));
	struct writer w = writer_fixed(file, sizeof(file));
	expect_ok(tlog_proof_put(&proof, &w));
	assert_memory_equal(file, "c2sp.org/tlog-proof@v1\nextra YmVzaWRl\nindex 6\n", 46);
	expect_ok(tlog_proof_parse(span_of(file, w.len), &arena, &read));
	expect_span(read.extra, span_str("beside"));
	expect_ok(tlog_proof_verify(&read, &wanted, &log, &opened));
	assert_int_equal(opened.size, 9);
	expect(tlog_proof_verify(&read, &leaf, &log, &opened), PROOF_INVALID);
	expect(tlog_proof_verify(&read, &wanted, &foreign, &opened), NOT_SIGNED);
	/* The right key under another origin. */
	expect_ok(note_key_new("example.com/other", NOTE_KEY_LOG, log.public_key, &renamed));
	proof.checkpoint = signed_checkpoint(&checkpoint, &renamed, &seed, note, sizeof(note));
	expect(tlog_proof_verify(&proof, &wanted, &renamed, &opened), CHECKPOINT_FOREIGN);
	/* Every bit but those of the extra line, which nobody vouches for. */
	for (size_t bit = 0; bit < w.len * 8; bit++) {
		if (bit / 8 >= 23 && bit / 8 < 38)
			continue;
		file[bit / 8] ^= (char)(1 << bit % 8);
		result judged = tlog_proof_parse(span_of(file, w.len), &arena, &read);
		if (judged == OK)
			judged = tlog_proof_verify(&read, &wanted, &log, &opened);
		assert_int_not_equal(judged, OK);
		file[bit / 8] ^= (char)(1 << bit % 8);
	}
	for (size_t len = 0; len < w.len; len++) {
		result judged = tlog_proof_parse(span_of(file, len), &arena, &read);
		if (judged == OK)
			judged = tlog_proof_verify(&read, &wanted, &log, &opened);
		assert_int_not_equal(judged, OK);
	}
	merkle_free(&tree);
}

static void consistency_files(void **state)
{
	(void)state;
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	struct note_key log;
	struct merkle_tree tree = MERKLE_TREE_EMPTY;
	struct merkle_hash leaf;
	struct checkpoint old = {.origin = "example.com/log", .size = 5}, newer = {.origin = "example.com/log", .size = 9}, opened;
	char note[512], file[2048];
	make_log(&seed, &log);
	for (uint8_t i = 0; i < 9; i++) {
		merkle_leaf(span_of(&i, 1), &leaf);
		expect_ok(merkle_append(&tree, &leaf));
	}
	expect_ok(merkle_root(&tree, 5, &old.root));
	expect_ok(merkle_root(&tree, 9, &newer.root));
	struct consistency_proof proof = {.old = 5, .checkpoint = signed_checkpoint(&newer, &log, &seed, note, sizeof(note))}, read;
	expect_ok(merkle_prove_consistency(&tree, 5, 9, &proof.path));
	struct writer w = writer_fixed(file, sizeof(file));
	expect_ok(consistency_proof_put(&proof, &w));
	assert_memory_equal(file, "old 5\n", 6);
	expect_ok(consistency_proof_parse(span_of(file, w.len), &read));
	expect_ok(consistency_proof_verify(&read, &old, &log, &opened));
	assert_int_equal(opened.size, 9);
	/* From another size, of another tree, of no size at all. */
	struct checkpoint other = old;
	other.size = 6;
	expect(consistency_proof_verify(&read, &other, &log, &opened), PROOF_INVALID);
	other = old;
	other.root.bytes[0] ^= 1;
	expect(consistency_proof_verify(&read, &other, &log, &opened), PROOF_INVALID);
	expect(consistency_proof_verify(&read, &(struct checkpoint){.size = 0}, &log, &opened), PROOF_INVALID);
	expect(consistency_proof_parse(span_str("old 0\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"), &read), BAD_VALUE);
	expect(consistency_proof_parse(span_str("old 05\n\n"), &read), BAD_VALUE);
	expect(consistency_proof_parse(span_str("new 5\n\n"), &read), BAD_VALUE);
	expect(consistency_proof_parse(span_str("old 5\n"), &read), TRUNCATED);
	for (size_t bit = 0; bit < w.len * 8; bit++) {
		file[bit / 8] ^= (char)(1 << bit % 8);
		result judged = consistency_proof_parse(span_of(file, w.len), &read);
		if (judged == OK)
			judged = consistency_proof_verify(&read, &old, &log, &opened);
		assert_int_not_equal(judged, OK);
		file[bit / 8] ^= (char)(1 << bit % 8);
	}
	merkle_free(&tree);
}

int group_checkpoint(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_text),
		cmocka_unit_test(refusals),
		cmocka_unit_test(proof_files),
		cmocka_unit_test(consistency_files),
	};
	return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
