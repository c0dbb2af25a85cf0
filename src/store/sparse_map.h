/*
 * A sparse Merkle map: key (32 bytes) to value, with a root that does not depend on the order of changes, and proofs that
 * a key has a value or has none (constructions/ledger.md "SMT"; docs/PROTOCOL.ledger).
 *
 *   empty subtree = 32 zero bytes;  subtree with one key = H(00 ‖ key ‖ value);  any other = H(01 ‖ left ‖ right)
 *
 * The path of a key are its bits, most significant first. Because a leaf's hash covers its whole key, a subtree with one
 * key needs no nodes down to depth 256: a proof is as long as keys share bits, not 256 hashes.
 *
 * Changes are cheap until the root is asked for: each node between a change and the root is then hashed once.
 *
 * A map can be stored as records and opened over them again, which reads none: each is checked against the root when it is
 * looked at. Storing again adds the records of what changed. So opening does not depend on the map's size, and a record that
 * was changed is never taken for what it was: PROOF_INVALID, from whatever function met it.
 *
 * Not thread-safe, but that while nobody changes it many may read (const functions, and prove after the root was asked for).
 */
#ifndef TROTH_STORE_SPARSE_MAP_H
#define TROTH_STORE_SPARSE_MAP_H

#include "base/arena.h"
#include "base/writer.h"
#include "store/merkle.h"

enum { SPARSE_KEY_SIZE = 32, SPARSE_DEPTH = 256, SPARSE_VALUE_MAX = 64 * 1024 };

struct sparse_map;

NODISCARD result sparse_map_new(struct sparse_map **out);
void sparse_map_free(struct sparse_map *map); /* accepts NULL */

/* `value` (1..SPARSE_VALUE_MAX bytes) is copied. NO_MEMORY leaves the map as it was. */
NODISCARD result sparse_map_put(struct sparse_map *map, const uint8_t key[static SPARSE_KEY_SIZE], struct span value);
/* Borrowed until the key is changed or the stored bytes go; empty when the map has no such key. */
NODISCARD result sparse_map_find(const struct sparse_map *map, const uint8_t key[static SPARSE_KEY_SIZE], struct span *out);
/* Nothing happens when there is no such key. It fails only over stored bytes (also NO_MEMORY), and leaves the map as it was. */
NODISCARD result sparse_map_remove(struct sparse_map *map, const uint8_t key[static SPARSE_KEY_SIZE]);

size_t sparse_map_count(const struct sparse_map *map);
void sparse_map_root(struct sparse_map *map, struct merkle_hash *out);

/*
 * Appends the records of what has none yet, or of `all`, which are for a place of their own: `offset` is where the writer's
 * first byte will stand there, and no record stands at 0. *out_root names the root. After a failure, or when the bytes did not
 * get there, only storing all is right.
 */
NODISCARD result sparse_map_store(struct sparse_map *map, bool all, struct writer *w, uint64_t offset, uint32_t *out_root);
/* Over stored bytes, borrowed until sparse_map_bring is done. PROOF_INVALID when this cannot be. */
NODISCARD result sparse_map_open(struct span stored, uint32_t root, const struct merkle_hash *root_hash, size_t count, struct sparse_map **out);
/* Reads and checks the children of so many nodes. *out_done: everything is in memory, the bytes are no longer needed. */
NODISCARD result sparse_map_bring(struct sparse_map *map, size_t nodes, bool *out_done);

/* Calls `each` in ascending order of keys; stops at its first failure and returns that. */
typedef result sparse_map_visit(void *arg, const uint8_t key[static SPARSE_KEY_SIZE], struct span value);
NODISCARD result sparse_map_each(const struct sparse_map *map, sparse_map_visit *each, void *arg);

/*
 * What lies at the end of the key's path, and the sibling subtrees on the way there from the root down. A sibling that is
 * empty is 32 zero bytes in `siblings` and a zero bit in the wire form.
 */
struct sparse_proof {
	struct merkle_hash siblings[SPARSE_DEPTH];
	size_t depth; /* siblings */
	bool ends_in_leaf; /* false: an empty subtree */
	uint8_t leaf_key[SPARSE_KEY_SIZE]; /* the key itself, or another that shares `depth` bits with it */
	struct span leaf_value;
};

/* leaf_value borrows from the map. */
NODISCARD result sparse_map_prove(struct sparse_map *map, const uint8_t key[static SPARSE_KEY_SIZE], struct sparse_proof *out);

/*
 * Checks that under `root` the key has this value, or none when `value` is empty. PROOF_INVALID says what differs.
 */
NODISCARD result sparse_verify(const struct merkle_hash *root, const uint8_t key[static SPARSE_KEY_SIZE], struct span value,
	const struct sparse_proof *proof);

/* depth u16 ‖ bitmap of non-empty siblings (depth bits, most significant first) ‖ those siblings ‖ end u8 (0, 1) ‖ key ‖ lv(value). */
void sparse_proof_put(const struct sparse_proof *proof, struct writer *w);
NODISCARD result sparse_proof_take(struct span bytes, struct sparse_proof *out); /* whole input; leaf_value borrows from it */

#endif
