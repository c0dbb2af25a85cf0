#include "store/merkle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Theory of operation. After m leaves the array holds 2m - popcount(m) hashes. Appending leaf m-1 adds its own hash and
 * then one hash for each subtree that it completes, lowest first: as many as m has trailing zero bits. So the complete
 * subtree of level l over leaves [i << l, (i + 1) << l) stands at a place that can be computed.
 */

enum { FIRST_CAP = 1024, GROW_MAX = 1 << 19 };

void merkle_leaf(struct span data, struct merkle_hash *out)
{
	static const uint8_t prefix = 0;
	const struct span parts[] = {span_of(&prefix, 1), data};
	sha256_parts(parts, 2, out->bytes);
}

void merkle_node(const struct merkle_hash *left, const struct merkle_hash *right, struct merkle_hash *out)
{
	uint8_t input[1 + 2 * SHA256_SIZE];
	input[0] = 1;
	memcpy(input + 1, left->bytes, SHA256_SIZE);
	memcpy(input + 1 + SHA256_SIZE, right->bytes, SHA256_SIZE);
	sha256(SPAN_ARRAY(input), out->bytes);
}

static uint64_t nodes_of(uint64_t size)
{
	return 2 * size - (uint64_t)__builtin_popcountll(size);
}

/* The complete subtree `index` of `level`, which the tree must hold. */
static const struct merkle_hash *node_at(const struct merkle_tree *tree, unsigned level, uint64_t index)
{
	uint64_t end = (index + 1) << level;
	unsigned completed = (unsigned)__builtin_ctzll(end);
	return &tree->nodes[nodes_of(end) - 1 - (completed - level)];
}

static result grow(struct merkle_tree *tree, size_t need)
{
	if (need <= tree->cap)
		return OK;
	size_t cap = tree->cap ? tree->cap : FIRST_CAP;
	while (cap < need)
		cap = cap < GROW_MAX || tree->fd < 0 ? cap * 2 : cap + GROW_MAX;
	size_t old = tree->cap * sizeof(*tree->nodes), new = cap * sizeof(*tree->nodes);
	if (tree->fd < 0) {
		void *nodes = realloc(tree->nodes, new);
		if (!nodes)
			return fail(NO_MEMORY, "a tree of %zu hashes", cap);
		tree->nodes = nodes;
	} else {
		/* Allocated, not only sized: a write through a mapping has no other way to say that the disk is full than SIGBUS. */
		int error = posix_fallocate(tree->fd, (off_t)old, (off_t)(new - old));
		if (error != 0) {
			errno = error;
			return fail_errno("index of %zu hashes", cap);
		}
		void *nodes = old ? mremap(tree->nodes, old, new, MREMAP_MAYMOVE) :
				    mmap(NULL, new, PROT_READ | PROT_WRITE, MAP_SHARED, tree->fd, 0);
		if (nodes == MAP_FAILED)
			return fail_errno("mapping an index of %zu hashes", cap);
		tree->nodes = nodes;
	}
	tree->cap = cap;
	return OK;
}

result merkle_map(int fd, uint64_t size, const struct merkle_hash *root, struct merkle_tree *out)
{
	struct stat at;
	if (fstat(fd, &at) != 0)
		return fail_errno("index of the tree");
	size_t cap = (size_t)at.st_size / sizeof(struct merkle_hash);
	if (size > UINT32_MAX || nodes_of(size) > cap)
		return fail(NOT_FOUND, "the index holds fewer than %llu leaves", (unsigned long long)size);
	struct merkle_tree tree = {.size = size, .cap = cap, .fd = fd};
	struct merkle_hash got;
	if (cap) {
		void *nodes = mmap(NULL, cap * sizeof(*tree.nodes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (nodes == MAP_FAILED)
			return fail_errno("mapping the index");
		tree.nodes = nodes;
	}
	result checked = merkle_root(&tree, size, &got);
	if (checked == OK && memcmp(&got, root, sizeof(got)) != 0)
		checked = fail(NOT_FOUND, "the index is of another tree");
	if (checked != OK) {
		merkle_free(&tree);
		return checked;
	}
	*out = tree;
	return OK;
}

result merkle_map_empty(int fd, struct merkle_tree *out)
{
	if (ftruncate(fd, 0) != 0)
		return fail_errno("emptying the index");
	*out = (struct merkle_tree){.fd = fd};
	return OK;
}

void merkle_free(struct merkle_tree *tree)
{
	if (tree->fd < 0)
		free(tree->nodes);
	else if (tree->nodes)
		munmap(tree->nodes, tree->cap * sizeof(*tree->nodes));
	*tree = MERKLE_TREE_EMPTY;
}

void merkle_relax(struct merkle_tree *tree)
{
	if (tree->fd >= 0 && tree->nodes)
		(void)madvise(tree->nodes, tree->cap * sizeof(*tree->nodes), MADV_DONTNEED);
}

result merkle_append(struct merkle_tree *tree, const struct merkle_hash *leaf)
{
	uint64_t end = tree->size + 1;
	TRY(grow(tree, nodes_of(end)));
	struct merkle_hash *at = &tree->nodes[nodes_of(tree->size)];
	*at = *leaf;
	for (unsigned level = 0; !(end >> level & 1); level++, at++)
		merkle_node(node_at(tree, level, (end >> level) - 2), at, at + 1);
	tree->size = end;
	return OK;
}

void merkle_truncate(struct merkle_tree *tree, uint64_t size)
{
	if (size < tree->size)
		tree->size = size;
}

/* Hash of the leaves [begin, end), where begin is a multiple of the largest power of two below its length. */
static void range_hash(const struct merkle_tree *tree, uint64_t begin, uint64_t end, struct merkle_hash *out)
{
	/* The complete subtrees that make up the range, from the right: each smaller one hangs to the right of a larger. */
	uint64_t left = end - begin, at = end;
	bool any = false;
	while (left) {
		unsigned level = (unsigned)__builtin_ctzll(left);
		at -= 1ULL << level;
		left &= left - 1;
		const struct merkle_hash *node = node_at(tree, level, at >> level);
		if (any)
			merkle_node(node, out, out);
		else
			*out = *node;
		any = true;
	}
}

static result check_size(const struct merkle_tree *tree, uint64_t size)
{
	if (size > tree->size)
		return fail(BAD_VALUE, "size %llu of a tree of %llu leaves", (unsigned long long)size, (unsigned long long)tree->size);
	return OK;
}

result merkle_root(const struct merkle_tree *tree, uint64_t size, struct merkle_hash *out)
{
	TRY(check_size(tree, size));
	if (size == 0)
		sha256(SPAN_EMPTY, out->bytes);
	else
		range_hash(tree, 0, size, out);
	return OK;
}

result merkle_leaf_at(const struct merkle_tree *tree, uint64_t index, struct merkle_hash *out)
{
	if (index >= tree->size)
		return fail(BAD_VALUE, "leaf %llu of %llu", (unsigned long long)index, (unsigned long long)tree->size);
	*out = *node_at(tree, 0, index);
	return OK;
}

/* Largest power of two below n, for n >= 2. */
static uint64_t split_of(uint64_t n)
{
	return 1ULL << (63 - __builtin_clzll(n - 1));
}

/* Collected from the root down, wanted from the leaf up. */
static void reverse(struct merkle_proof *proof)
{
	for (size_t i = 0; i < proof->count / 2; i++) {
		struct merkle_hash kept = proof->hashes[i];
		proof->hashes[i] = proof->hashes[proof->count - 1 - i];
		proof->hashes[proof->count - 1 - i] = kept;
	}
}

result merkle_prove_inclusion(const struct merkle_tree *tree, uint64_t index, uint64_t size, struct merkle_proof *out)
{
	TRY(check_size(tree, size));
	if (index >= size)
		return fail(BAD_VALUE, "leaf %llu of %llu", (unsigned long long)index, (unsigned long long)size);
	out->count = 0;
	for (uint64_t begin = 0, end = size; end - begin > 1;) {
		uint64_t middle = begin + split_of(end - begin);
		if (index < middle) {
			range_hash(tree, middle, end, &out->hashes[out->count++]);
			end = middle;
		} else {
			range_hash(tree, begin, middle, &out->hashes[out->count++]);
			begin = middle;
		}
	}
	reverse(out);
	return OK;
}

result merkle_prove_consistency(const struct merkle_tree *tree, uint64_t first, uint64_t second, struct merkle_proof *out)
{
	TRY(check_size(tree, second));
	if (first == 0 || first > second)
		return fail(BAD_VALUE, "consistency from %llu to %llu", (unsigned long long)first, (unsigned long long)second);
	out->count = 0;
	uint64_t begin = 0, end = second;
	bool whole = true; /* what is left of the first tree is all of it: its hash is known to the verifier */
	while (first != end) {
		uint64_t middle = begin + split_of(end - begin);
		if (first <= middle) {
			range_hash(tree, middle, end, &out->hashes[out->count++]);
			end = middle;
		} else {
			range_hash(tree, begin, middle, &out->hashes[out->count++]);
			begin = middle;
			whole = false;
		}
	}
	if (!whole)
		range_hash(tree, begin, end, &out->hashes[out->count++]);
	reverse(out);
	return OK;
}

result merkle_verify_inclusion(const struct merkle_hash *leaf, uint64_t index, uint64_t size, const struct merkle_proof *proof,
	const struct merkle_hash *root)
{
	if (index >= size)
		return fail(PROOF_INVALID, "leaf %llu of %llu", (unsigned long long)index, (unsigned long long)size);
	uint64_t at = index, last = size - 1;
	struct merkle_hash hash = *leaf;
	for (size_t i = 0; i < proof->count; i++) {
		if (last == 0)
			return fail(PROOF_INVALID, "more hashes than the path of a tree of %llu leaves has", (unsigned long long)size);
		if (at & 1 || at == last) {
			merkle_node(&proof->hashes[i], &hash, &hash);
			while (!(at & 1) && at) {
				at >>= 1;
				last >>= 1;
			}
		} else {
			merkle_node(&hash, &proof->hashes[i], &hash);
		}
		at >>= 1;
		last >>= 1;
	}
	if (last != 0)
		return fail(PROOF_INVALID, "fewer hashes than the path of a tree of %llu leaves has", (unsigned long long)size);
	if (memcmp(&hash, root, sizeof(hash)) != 0)
		return fail(PROOF_INVALID, "leaf %llu is not in the tree with this root", (unsigned long long)index);
	return OK;
}

result merkle_verify_consistency(uint64_t first, const struct merkle_hash *first_root, uint64_t second,
	const struct merkle_hash *second_root, const struct merkle_proof *proof)
{
	if (first == 0 || first > second)
		return fail(PROOF_INVALID, "from size %llu to %llu", (unsigned long long)first, (unsigned long long)second);
	if (first == second) {
		if (proof->count || memcmp(first_root, second_root, sizeof(*first_root)) != 0)
			return fail(PROOF_INVALID, "two heads of size %llu", (unsigned long long)first);
		return OK;
	}
	/* Where the first tree is a complete subtree its own root begins the path. */
	bool complete = (first & (first - 1)) == 0;
	if (!complete && proof->count == 0)
		return fail(PROOF_INVALID, "an empty proof");
	uint64_t at = first - 1, last = second - 1;
	while (at & 1) {
		at >>= 1;
		last >>= 1;
	}
	struct merkle_hash old = complete ? *first_root : proof->hashes[0], new = old;
	for (size_t i = complete ? 0 : 1; i < proof->count; i++) {
		const struct merkle_hash *next = &proof->hashes[i];
		if (last == 0)
			return fail(PROOF_INVALID, "more hashes than needed");
		if (at & 1 || at == last) {
			merkle_node(next, &old, &old);
			merkle_node(next, &new, &new);
			while (!(at & 1) && at) {
				at >>= 1;
				last >>= 1;
			}
		} else {
			merkle_node(&new, next, &new);
		}
		at >>= 1;
		last >>= 1;
	}
	if (last != 0)
		return fail(PROOF_INVALID, "fewer hashes than needed");
	if (memcmp(&old, first_root, sizeof(old)) != 0 || memcmp(&new, second_root, sizeof(new)) != 0)
		return fail(PROOF_INVALID, "the tree of size %llu does not continue the one of size %llu", (unsigned long long)second,
			(unsigned long long)first);
	return OK;
}
