#include "store/sparse_map.h"

#include "base/reader.h"

#include <stdlib.h>
#include <string.h>

/*
 * Theory of operation. A reference is 0 for an empty subtree, LEAF | n for a leaf, and n for an inner node, both counted
 * from 1 in pools that grow. An inner node always has at least two leaves below it (collapse keeps that), so leaves stand
 * as high as their keys allow. Changes mark the nodes on their path; the root hashes what is marked.
 */

typedef uint32_t ref;
enum { FIRST_POOL = 256 };
static const ref LEAF = 1u << 31;

struct inner {
	struct merkle_hash hash;
	ref child[2]; /* free: child[0] is the next free one */
	bool dirty;
};

struct leaf {
	uint8_t key[SPARSE_KEY_SIZE];
	struct merkle_hash hash;
	uint8_t *value;
	uint32_t len; /* free: the next free one */
};

struct sparse_map {
	ref root;
	struct inner *inners; /* inners[0] and leaves[0] are not used */
	struct leaf *leaves;
	uint32_t inner_used, inner_cap, inner_free, inner_spare; /* spare: how many are on the free list */
	uint32_t leaf_used, leaf_cap, leaf_free;
	size_t count;
};

static const struct merkle_hash empty_hash;

static unsigned bit_of(const uint8_t *key, unsigned depth)
{
	return key[depth / 8] >> (7 - depth % 8) & 1;
}

/* The first bit in which two different keys differ. */
static unsigned split_depth(const uint8_t *a, const uint8_t *b)
{
	unsigned depth = 0;
	while (a[depth / 8] == b[depth / 8])
		depth += 8;
	while (bit_of(a, depth) == bit_of(b, depth))
		depth++;
	return depth;
}

static void leaf_hash(const uint8_t *key, struct span value, struct merkle_hash *out)
{
	static const uint8_t prefix = 0;
	struct hash hash;
	if (hash_start(&hash, HASH_SHA256) != OK)
		abort();
	hash_add(&hash, span_of(&prefix, 1));
	hash_add(&hash, span_of(key, SPARSE_KEY_SIZE));
	hash_add(&hash, value);
	hash_finish(&hash, out->bytes);
}

static struct leaf *leaf_at(const struct sparse_map *map, ref at)
{
	return &map->leaves[at & ~LEAF];
}

result sparse_map_new(struct sparse_map **out)
{
	struct sparse_map *map = calloc(1, sizeof(*map));
	if (!map)
		return fail(NO_MEMORY, "map");
	map->inner_used = map->leaf_used = 1;
	*out = map;
	return OK;
}

void sparse_map_free(struct sparse_map *map)
{
	if (!map)
		return;
	for (uint32_t i = 1; i < map->leaf_used; i++)
		free(map->leaves[i].value);
	free(map->leaves);
	free(map->inners);
	free(map);
}

static result grow(void **pool, uint32_t *cap, uint32_t need, size_t size)
{
	if (need <= *cap)
		return OK;
	uint32_t new = *cap ? *cap : FIRST_POOL;
	while (new < need)
		new *= 2;
	if (new >= LEAF)
		return fail(TOO_LARGE, "a map of %u nodes", new);
	void *grown = realloc(*pool, (size_t)new * size);
	if (!grown)
		return fail(NO_MEMORY, "a map of %u nodes", new);
	*pool = grown;
	*cap = new;
	return OK;
}

/* After this, `inners` inner nodes and a leaf can be taken without failing. */
static result reserve(struct sparse_map *map, unsigned inners)
{
	if (inners > map->inner_spare) {
		void *pool = map->inners;
		TRY(grow(&pool, &map->inner_cap, map->inner_used + (inners - map->inner_spare), sizeof(*map->inners)));
		map->inners = pool;
	}
	if (!map->leaf_free) {
		void *pool = map->leaves;
		TRY(grow(&pool, &map->leaf_cap, map->leaf_used + 1, sizeof(*map->leaves)));
		map->leaves = pool;
	}
	return OK;
}

static ref take_inner(struct sparse_map *map)
{
	ref at = map->inner_free;
	if (at) {
		map->inner_free = map->inners[at].child[0];
		map->inner_spare--;
	} else {
		at = map->inner_used++;
	}
	map->inners[at] = (struct inner){.dirty = true};
	return at;
}

static void give_inner(struct sparse_map *map, ref at)
{
	map->inners[at] = (struct inner){.child = {map->inner_free}};
	map->inner_free = at;
	map->inner_spare++;
}

static ref take_leaf(struct sparse_map *map, const uint8_t *key, uint8_t *value, size_t len)
{
	uint32_t at = map->leaf_free;
	if (at)
		map->leaf_free = map->leaves[at].len;
	else
		at = map->leaf_used++;
	struct leaf *leaf = &map->leaves[at];
	memcpy(leaf->key, key, SPARSE_KEY_SIZE);
	leaf->value = value;
	leaf->len = (uint32_t)len;
	leaf_hash(key, span_of(value, len), &leaf->hash);
	map->count++;
	return at | LEAF;
}

static void give_leaf(struct sparse_map *map, ref at)
{
	struct leaf *leaf = leaf_at(map, at);
	free(leaf->value);
	*leaf = (struct leaf){.len = map->leaf_free};
	map->leaf_free = at & ~LEAF;
	map->count--;
}

/* What stands at the end of the key's path, and how deep. */
static ref descend(const struct sparse_map *map, const uint8_t *key, unsigned *out_depth)
{
	ref at = map->root;
	unsigned depth = 0;
	while (at && !(at & LEAF))
		at = map->inners[at].child[bit_of(key, depth++)];
	*out_depth = depth;
	return at;
}

static void mark(struct sparse_map *map, const uint8_t *key)
{
	ref at = map->root;
	for (unsigned depth = 0; at && !(at & LEAF); depth++) {
		map->inners[at].dirty = true;
		at = map->inners[at].child[bit_of(key, depth)];
	}
}

/* Where the reference to the end of the path is kept. */
static ref *slot_at(struct sparse_map *map, const uint8_t *key, unsigned depth)
{
	ref *slot = &map->root;
	for (unsigned d = 0; d < depth; d++)
		slot = &map->inners[*slot].child[bit_of(key, d)];
	return slot;
}

static void insert(struct sparse_map *map, const uint8_t *key, ref found, unsigned depth, ref leaf)
{
	ref *slot = slot_at(map, key, depth);
	if (!found) {
		*slot = leaf;
		return;
	}
	/* Another leaf stood here: nodes down to the bit in which the two keys differ. The pool was reserved: no slot moves. */
	const uint8_t *other = leaf_at(map, found)->key;
	for (unsigned end = split_depth(key, other); depth <= end; depth++) {
		ref inner = take_inner(map);
		*slot = inner;
		slot = &map->inners[inner].child[bit_of(key, depth)];
		if (depth == end)
			map->inners[inner].child[!bit_of(key, depth)] = found;
	}
	*slot = leaf;
}

result sparse_map_put(struct sparse_map *map, const uint8_t key[static SPARSE_KEY_SIZE], struct span value)
{
	if (value.len < 1 || value.len > SPARSE_VALUE_MAX)
		return fail(BAD_VALUE, "a value of %zu bytes", value.len);
	unsigned depth;
	ref found = descend(map, key, &depth);
	bool same = found && memcmp(leaf_at(map, found)->key, key, SPARSE_KEY_SIZE) == 0;
	if (!same)
		TRY(reserve(map, found ? split_depth(key, leaf_at(map, found)->key) - depth + 1 : 0));
	uint8_t *kept = malloc(value.len);
	if (!kept)
		return fail(NO_MEMORY, "a value of %zu bytes", value.len);
	memcpy(kept, value.data, value.len);
	if (same) {
		struct leaf *leaf = leaf_at(map, found);
		free(leaf->value);
		leaf->value = kept;
		leaf->len = (uint32_t)value.len;
		leaf_hash(key, span_of(kept, value.len), &leaf->hash);
	} else {
		insert(map, key, found, depth, take_leaf(map, key, kept, value.len));
	}
	mark(map, key);
	return OK;
}

struct span sparse_map_get(const struct sparse_map *map, const uint8_t key[static SPARSE_KEY_SIZE])
{
	unsigned depth;
	ref found = descend(map, key, &depth);
	if (!found || memcmp(leaf_at(map, found)->key, key, SPARSE_KEY_SIZE) != 0)
		return SPAN_EMPTY;
	return span_of(leaf_at(map, found)->value, leaf_at(map, found)->len);
}

/* A node that has lost a leaf and has one left gives its place to that leaf, and so on upwards. */
static void collapse(struct sparse_map *map, const uint8_t *key, unsigned depth)
{
	while (depth-- > 0) {
		ref *slot = slot_at(map, key, depth);
		const struct inner *inner = &map->inners[*slot];
		ref rest = inner->child[0] ? inner->child[0] : inner->child[1];
		bool both = inner->child[0] && inner->child[1];
		if (both || (rest && !(rest & LEAF)))
			return;
		ref gone = *slot;
		*slot = rest;
		give_inner(map, gone);
	}
}

void sparse_map_remove(struct sparse_map *map, const uint8_t key[static SPARSE_KEY_SIZE])
{
	unsigned depth;
	ref found = descend(map, key, &depth);
	if (!found || memcmp(leaf_at(map, found)->key, key, SPARSE_KEY_SIZE) != 0)
		return;
	mark(map, key);
	*slot_at(map, key, depth) = 0;
	collapse(map, key, depth);
	give_leaf(map, found);
}

size_t sparse_map_count(const struct sparse_map *map)
{
	return map->count;
}

static const struct merkle_hash *hash_of(struct sparse_map *map, ref at)
{
	if (!at)
		return &empty_hash;
	if (at & LEAF)
		return &leaf_at(map, at)->hash;
	struct inner *inner = &map->inners[at];
	if (inner->dirty) {
		merkle_node(hash_of(map, inner->child[0]), hash_of(map, inner->child[1]), &inner->hash);
		inner->dirty = false;
	}
	return &inner->hash;
}

void sparse_map_root(struct sparse_map *map, struct merkle_hash *out)
{
	*out = *hash_of(map, map->root);
}

static result visit(const struct sparse_map *map, ref at, sparse_map_visit *each, void *arg)
{
	if (!at)
		return OK;
	if (at & LEAF) {
		const struct leaf *leaf = leaf_at(map, at);
		return each(arg, leaf->key, span_of(leaf->value, leaf->len));
	}
	TRY(visit(map, map->inners[at].child[0], each, arg));
	return visit(map, map->inners[at].child[1], each, arg);
}

result sparse_map_each(const struct sparse_map *map, sparse_map_visit *each, void *arg)
{
	return visit(map, map->root, each, arg);
}

void sparse_map_prove(struct sparse_map *map, const uint8_t key[static SPARSE_KEY_SIZE], struct sparse_proof *out)
{
	ref at = map->root;
	out->depth = 0;
	while (at && !(at & LEAF)) {
		unsigned bit = bit_of(key, (unsigned)out->depth);
		out->siblings[out->depth++] = *hash_of(map, map->inners[at].child[!bit]);
		at = map->inners[at].child[bit];
	}
	out->ends_in_leaf = at != 0;
	out->leaf_value = SPAN_EMPTY;
	memset(out->leaf_key, 0, sizeof(out->leaf_key));
	if (at) {
		memcpy(out->leaf_key, leaf_at(map, at)->key, SPARSE_KEY_SIZE);
		out->leaf_value = span_of(leaf_at(map, at)->value, leaf_at(map, at)->len);
	}
}

/* ---- Verification ------------------------------------------------------------------------------ */

static result check_end(const uint8_t *key, struct span value, const struct sparse_proof *proof)
{
	bool own = proof->ends_in_leaf && memcmp(proof->leaf_key, key, SPARSE_KEY_SIZE) == 0;
	if (value.len && !own)
		return fail(PROOF_INVALID, "the map has no such key");
	if (value.len && !span_equal(value, proof->leaf_value))
		return fail(PROOF_INVALID, "the key has another value");
	if (!value.len && own)
		return fail(PROOF_INVALID, "the map has this key");
	/* Another key's leaf says something about this one only where it stands on this one's path. */
	if (proof->ends_in_leaf && !own && split_depth(key, proof->leaf_key) < proof->depth)
		return fail(PROOF_INVALID, "the proof is about another part of the map");
	return OK;
}

result sparse_verify(const struct merkle_hash *root, const uint8_t key[static SPARSE_KEY_SIZE], struct span value,
	const struct sparse_proof *proof)
{
	if (proof->depth > SPARSE_DEPTH)
		return fail(PROOF_INVALID, "a path of %zu", proof->depth);
	TRY(check_end(key, value, proof));
	struct merkle_hash hash = empty_hash;
	if (proof->ends_in_leaf)
		leaf_hash(proof->leaf_key, proof->leaf_value, &hash);
	for (size_t depth = proof->depth; depth-- > 0;) {
		const struct merkle_hash *sibling = &proof->siblings[depth];
		if (bit_of(key, (unsigned)depth))
			merkle_node(sibling, &hash, &hash);
		else
			merkle_node(&hash, sibling, &hash);
	}
	if (memcmp(&hash, root, sizeof(hash)) != 0)
		return fail(PROOF_INVALID, "the path does not lead to this root");
	return OK;
}

/* ---- Wire form --------------------------------------------------------------------------------- */

static bool is_empty(const struct merkle_hash *hash)
{
	return memcmp(hash, &empty_hash, sizeof(*hash)) == 0;
}

void sparse_proof_put(const struct sparse_proof *proof, struct writer *w)
{
	uint8_t bitmap[SPARSE_DEPTH / 8] = {0};
	writer_u16(w, (uint16_t)proof->depth);
	for (size_t i = 0; i < proof->depth; i++)
		if (!is_empty(&proof->siblings[i]))
			bitmap[i / 8] |= (uint8_t)(0x80 >> i % 8);
	writer_put(w, bitmap, (proof->depth + 7) / 8);
	for (size_t i = 0; i < proof->depth; i++)
		if (!is_empty(&proof->siblings[i]))
			writer_put(w, proof->siblings[i].bytes, SHA256_SIZE);
	writer_u8(w, proof->ends_in_leaf);
	if (proof->ends_in_leaf) {
		writer_put(w, proof->leaf_key, SPARSE_KEY_SIZE);
		writer_lv(w, proof->leaf_value);
	}
}

static result take_siblings(struct reader *r, struct sparse_proof *proof)
{
	uint16_t depth;
	struct span bitmap;
	TRY(reader_u16(r, &depth));
	if (depth > SPARSE_DEPTH)
		return fail(TOO_LARGE, "a path of %u", depth);
	proof->depth = depth;
	TRY(reader_take(r, (proof->depth + 7) / 8, &bitmap));
	if (depth % 8 && (bitmap.data[depth / 8] & 0xff >> depth % 8))
		return fail(BAD_VALUE, "bits beyond the path");
	for (size_t i = 0; i < proof->depth; i++) {
		proof->siblings[i] = empty_hash;
		if (!(bitmap.data[i / 8] & 0x80 >> i % 8))
			continue;
		TRY(reader_copy(r, proof->siblings[i].bytes, SHA256_SIZE));
		if (is_empty(&proof->siblings[i]))
			return fail(NOT_DETERMINISTIC, "an empty subtree is written out");
	}
	return OK;
}

result sparse_proof_take(struct span bytes, struct sparse_proof *out)
{
	struct reader r = reader_of(bytes);
	uint8_t end;
	TRY(take_siblings(&r, out));
	TRY(reader_u8(&r, &end));
	if (end > 1)
		return fail(BAD_VALUE, "end %u", end);
	out->ends_in_leaf = end;
	out->leaf_value = SPAN_EMPTY;
	memset(out->leaf_key, 0, sizeof(out->leaf_key));
	if (end) {
		TRY(reader_copy(&r, out->leaf_key, SPARSE_KEY_SIZE));
		TRY(reader_lv(&r, SPARSE_VALUE_MAX, &out->leaf_value));
		if (out->leaf_value.len == 0)
			return fail(BAD_VALUE, "a key without a value");
	}
	return reader_finish(&r);
}
