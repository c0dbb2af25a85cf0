#include "store/merkle.h"

#include "groups.h"

#include "expect.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MOST = 70 };

static struct merkle_hash leaves[MOST];

static void hash_hex(const char *hex, struct merkle_hash *out)
{
	for (size_t i = 0; i < sizeof(out->bytes); i++) {
		unsigned byte;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		out->bytes[i] = (uint8_t)byte;
	}
}

static void assert_hash(const struct merkle_hash *got, const struct merkle_hash *wanted)
{
	assert_memory_equal(got->bytes, wanted->bytes, sizeof(got->bytes));
}

/* RFC 9162 section 2.1.1, word for word. */
static void slow_root(uint64_t begin, uint64_t end, struct merkle_hash *out)
{
	if (begin == end) {
		sha256(SPAN_EMPTY, out->bytes);
		return;
	}
	if (end - begin == 1) {
		*out = leaves[begin];
		return;
	}
	uint64_t k = 1;
	while (2 * k < end - begin)
		k *= 2;
	struct merkle_hash left, right;
	slow_root(begin, begin + k, &left);
	slow_root(begin + k, end, &right);
	merkle_node(&left, &right, out);
}

/* The eight leaves and roots that implementations of RFC 6962 share as test data. */
static void known_roots(void **state)
{
	(void)state;
	static const struct {
		const char *data;
		size_t len;
		const char *root;
	} rows[] = {
		{"", 0, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
		{"\x00", 1, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"},
		{"\x10", 1, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"},
		{"\x20\x21", 2, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"},
		{"\x30\x31", 2, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"},
		{"\x40\x41\x42\x43", 4, "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"},
		{"\x50\x51\x52\x53\x54\x55\x56\x57", 8, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"},
		{"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16,
			"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"},
	};
	struct merkle_tree tree = MERKLE_TREE_EMPTY;
	struct merkle_hash got, wanted;
	expect_ok(merkle_root(&tree, 0, &got));
	hash_hex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", &wanted);
	assert_hash(&got, &wanted);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct merkle_hash leaf;
		merkle_leaf(span_of(rows[i].data, rows[i].len), &leaf);
		expect_ok(merkle_append(&tree, &leaf));
		expect_ok(merkle_root(&tree, i + 1, &got));
		hash_hex(rows[i].root, &wanted);
		assert_hash(&got, &wanted);
	}
	merkle_free(&tree);
}

static void make_tree(struct merkle_tree *tree)
{
	for (uint64_t i = 0; i < MOST; i++) {
		merkle_leaf(span_of(&i, sizeof(i)), &leaves[i]);
		expect_ok(merkle_append(tree, &leaves[i]));
	}
}

static void every_size(void **state)
{
	(void)state;
	struct merkle_tree tree = MERKLE_TREE_EMPTY;
	struct merkle_hash got, wanted, leaf;
	make_tree(&tree);
	for (uint64_t size = 0; size <= MOST; size++) {
		expect_ok(merkle_root(&tree, size, &got));
		slow_root(0, size, &wanted);
		assert_hash(&got, &wanted);
	}
	for (uint64_t i = 0; i < MOST; i++) {
		expect_ok(merkle_leaf_at(&tree, i, &leaf));
		assert_hash(&leaf, &leaves[i]);
	}
	expect(merkle_root(&tree, MOST + 1, &got), BAD_VALUE);
	expect(merkle_leaf_at(&tree, MOST, &leaf), BAD_VALUE);
	/* Cut back and grown with other leaves it is another tree, and with the same ones the same. */
	merkle_truncate(&tree, 37);
	expect(merkle_root(&tree, 38, &got), BAD_VALUE);
	for (uint64_t i = 37; i < MOST; i++)
		expect_ok(merkle_append(&tree, &leaves[i]));
	expect_ok(merkle_root(&tree, MOST, &got));
	assert_hash(&got, &wanted);
	merkle_free(&tree);
}

static void inclusion(void **state)
{
	(void)state;
	struct merkle_tree tree = MERKLE_TREE_EMPTY;
	struct merkle_proof proof, bad;
	struct merkle_hash root;
	make_tree(&tree);
	for (uint64_t size = 1; size <= MOST; size++)
		for (uint64_t i = 0; i < size; i++) {
			expect_ok(merkle_root(&tree, size, &root));
			expect_ok(merkle_prove_inclusion(&tree, i, size, &proof));
			expect_ok(merkle_verify_inclusion(&leaves[i], i, size, &proof, &root));
			/* LE-06: for another leaf, index, size, root. */
			expect(merkle_verify_inclusion(&leaves[(i + 1) % MOST], i, size, &proof, &root), PROOF_INVALID);
			if (size > 1)
				expect(merkle_verify_inclusion(&leaves[i], (i + 1) % size, size, &proof, &root), PROOF_INVALID);
			expect(merkle_verify_inclusion(&leaves[i], i, size, &proof, &leaves[(i + 1) % MOST]), PROOF_INVALID);
			expect(merkle_verify_inclusion(&leaves[i], size, size, &proof, &root), PROOF_INVALID);
			for (size_t at = 0; at < proof.count; at++) {
				bad = proof;
				bad.hashes[at].bytes[31] ^= 1;
				expect(merkle_verify_inclusion(&leaves[i], i, size, &bad, &root), PROOF_INVALID);
			}
			bad = proof;
			bad.hashes[bad.count++] = leaves[0];
			expect(merkle_verify_inclusion(&leaves[i], i, size, &bad, &root), PROOF_INVALID);
			if (proof.count) {
				bad = proof;
				bad.count--;
				expect(merkle_verify_inclusion(&leaves[i], i, size, &bad, &root), PROOF_INVALID);
			}
		}
	expect(merkle_prove_inclusion(&tree, 3, 3, &proof), BAD_VALUE);
	expect(merkle_prove_inclusion(&tree, 3, MOST + 1, &proof), BAD_VALUE);
	merkle_free(&tree);
}

static void consistency(void **state)
{
	(void)state;
	struct merkle_tree tree = MERKLE_TREE_EMPTY;
	struct merkle_proof proof, bad;
	struct merkle_hash first_root, second_root;
	make_tree(&tree);
	for (uint64_t second = 1; second <= MOST; second++)
		for (uint64_t first = 1; first <= second; first++) {
			expect_ok(merkle_root(&tree, first, &first_root));
			expect_ok(merkle_root(&tree, second, &second_root));
			expect_ok(merkle_prove_consistency(&tree, first, second, &proof));
			expect_ok(merkle_verify_consistency(first, &first_root, second, &second_root, &proof));
			expect(merkle_verify_consistency(first, &leaves[1], second, &second_root, &proof), PROOF_INVALID);
			expect(merkle_verify_consistency(first, &first_root, second, &leaves[1], &proof), PROOF_INVALID);
			if (first < second)
				expect(merkle_verify_consistency(second, &second_root, first, &first_root, &proof), PROOF_INVALID);
			for (size_t at = 0; at < proof.count; at++) {
				bad = proof;
				bad.hashes[at].bytes[0] ^= 0x80;
				expect(merkle_verify_consistency(first, &first_root, second, &second_root, &bad), PROOF_INVALID);
			}
			bad = proof;
			bad.hashes[bad.count++] = leaves[0];
			expect(merkle_verify_consistency(first, &first_root, second, &second_root, &bad), PROOF_INVALID);
			if (proof.count) {
				bad = proof;
				bad.count--;
				expect(merkle_verify_consistency(first, &first_root, second, &second_root, &bad), PROOF_INVALID);
			}
		}
	expect(merkle_prove_consistency(&tree, 0, 5, &proof), BAD_VALUE);
	expect(merkle_prove_consistency(&tree, 6, 5, &proof), BAD_VALUE);
	merkle_free(&tree);
}

static void index_file(void **state)
{
	(void)state;
	int fd = memfd_create("index", MFD_CLOEXEC);
	struct merkle_tree tree, again;
	struct merkle_hash root, got;
	assert_true(fd >= 0);
	expect_ok(merkle_map_empty(fd, &tree));
	for (uint64_t i = 0; i < 5000; i++) {
		struct merkle_hash leaf;
		merkle_leaf(span_of(&i, sizeof(i)), &leaf);
		expect_ok(merkle_append(&tree, &leaf));
	}
	expect_ok(merkle_root(&tree, 4321, &root));
	merkle_free(&tree);
	expect_ok(merkle_map(fd, 4321, &root, &again));
	expect_ok(merkle_root(&again, 4321, &got));
	assert_hash(&got, &root);
	merkle_free(&again);
	/* An index that is short, or of another tree, is built anew. */
	expect(merkle_map(fd, 1 << 20, &root, &again), NOT_FOUND);
	expect(merkle_map(fd, 4320, &root, &again), NOT_FOUND);
	/* The last leaf's hash: on the right edge, which is what the root is computed from. */
	off_t last = (off_t)((2 * 4321 - __builtin_popcount(4321) - 1) * sizeof(root));
	assert_int_equal(pwrite(fd, "x", 1, last), 1);
	expect(merkle_map(fd, 4321, &root, &again), NOT_FOUND);
	expect_ok(merkle_map_empty(fd, &again));
	expect_ok(merkle_root(&again, 0, &got));
	merkle_free(&again);
	close(fd);
}

int group_merkle(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_roots),
		cmocka_unit_test(every_size),
		cmocka_unit_test(inclusion),
		cmocka_unit_test(consistency),
		cmocka_unit_test(index_file),
	};
	return cmocka_run_group_tests_name("merkle", tests, NULL, NULL);
}
