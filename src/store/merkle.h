/*
 * The Merkle tree of an append-only log (RFC 9162 section 2.1) with SHA-256: leaf = H(00 ‖ data), node = H(01 ‖ l ‖ r).
 *
 * `struct merkle_tree` keeps every complete subtree's hash in one array, in the order in which appending completes them,
 * so the root of any earlier size and every proof are read, not computed again. The array may lie in memory or in a
 * mapped file, which is an index that can always be built anew from the leaves and is never the truth.
 *
 * Verification needs no tree: proofs are lists of hashes, at most MERKLE_PROOF_MAX.
 */
#ifndef TROTH_STORE_MERKLE_H
#define TROTH_STORE_MERKLE_H

#include "crypto/hash.h"

enum { MERKLE_PROOF_MAX = 64 };

struct merkle_hash {
	uint8_t bytes[SHA256_SIZE];
};

struct merkle_proof {
	struct merkle_hash hashes[MERKLE_PROOF_MAX]; /* from the leaf towards the root */
	size_t count;
};

struct merkle_tree {
	uint64_t size; /* leaves */
	struct merkle_hash *nodes;
	size_t cap; /* nodes that fit */
	int fd;	    /* the mapped file, or -1 */
};
#define MERKLE_TREE_EMPTY ((struct merkle_tree){.fd = -1})

void merkle_leaf(struct span data, struct merkle_hash *out);
void merkle_node(const struct merkle_hash *left, const struct merkle_hash *right, struct merkle_hash *out);

/*
 * Maps the index file (descriptor borrowed, open for reading and writing) of a tree that should have `size` leaves and
 * `root`. NOT_FOUND when the file does not hold that tree: begin with an empty one and append all leaves. Only the right
 * edge is checked, which is what the root is made of: whoever serves proofs from a mapped index verifies each before it
 * goes out.
 */
NODISCARD result merkle_map(int fd, uint64_t size, const struct merkle_hash *root, struct merkle_tree *out);
/* An empty tree that lives in the file; what it held is lost. */
NODISCARD result merkle_map_empty(int fd, struct merkle_tree *out);
void merkle_free(struct merkle_tree *tree); /* accepts an empty one; the file stays */

/* Gives the pages of a mapped tree back to the system's cache, so that a long log does not count as memory of the process. */
void merkle_relax(struct merkle_tree *tree);

NODISCARD result merkle_append(struct merkle_tree *tree, const struct merkle_hash *leaf); /* NO_MEMORY, IO_ERROR; unchanged then */
/* Forgets all leaves from `size` on. */
void merkle_truncate(struct merkle_tree *tree, uint64_t size);

/* All of these: BAD_VALUE when a size or index is outside the tree. The root of size 0 is H(""). */
NODISCARD result merkle_root(const struct merkle_tree *tree, uint64_t size, struct merkle_hash *out);
NODISCARD result merkle_leaf_at(const struct merkle_tree *tree, uint64_t index, struct merkle_hash *out);
NODISCARD result merkle_prove_inclusion(const struct merkle_tree *tree, uint64_t index, uint64_t size, struct merkle_proof *out);
NODISCARD result merkle_prove_consistency(const struct merkle_tree *tree, uint64_t first, uint64_t second, struct merkle_proof *out);

/* RFC 9162 sections 2.1.3.2 and 2.1.4.2. PROOF_INVALID. */
NODISCARD result merkle_verify_inclusion(const struct merkle_hash *leaf, uint64_t index, uint64_t size,
	const struct merkle_proof *proof, const struct merkle_hash *root);
NODISCARD result merkle_verify_consistency(uint64_t first, const struct merkle_hash *first_root, uint64_t second,
	const struct merkle_hash *second_root, const struct merkle_proof *proof);

#endif
