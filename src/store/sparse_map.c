#include "store/sparse_map.h"

#include "base/reader.h"

#include <stdlib.h>
#include <string.h>

/*
 * Theory of operation. A reference is 0 for an empty subtree, LEAF | n for a leaf, and n for an inner node, both counted
 * from 1 in pools that grow. An inner node always has at least two leaves below it (collapse keeps that), so leaves stand
 * as high as their keys allow. A node's hash is kept where it hangs: in its parent, the root's in the map. Changes make the
 * hashes on their path stale; the root makes those anew.
 *
 * Stored form. STORED | LEAF? | n is a node that was not read yet, at byte 8n of the bytes that the map was opened over. Its
 * hash is known, because it hangs in a node that is in memory or was itself checked: a record counts only when it has the
 * hash that was expected, and the first expected one is the root. Reading looks into the records and changes nothing, so that
 * many may read; changing first brings the path into memory. Records, all integers big-endian:
 *
 *   inner node   left u32 ‖ right u32 ‖ left hash 32 ‖ right hash 32     a child: 0, or its offset / 8, LEAF set for a leaf
 *   leaf         length u32 ‖ key 32 ‖ value ‖ zeros to a multiple of 8
 *
 * A node in memory remembers where its record is until it changes: storing again writes only what has none.
 */

typedef uint32_t ref;
enum { FIRST_POOL = 256, INNER_RECORD = 8 + 2 * SHA256_SIZE, LEAF_RECORD = 4 + SPARSE_KEY_SIZE, RECORD_ALIGN = 8 };
static const ref LEAF = 1u << 31, STORED = 1u << 30;

struct inner {
	struct merkle_hash hash[2]; /* of the children, but where stale */
	ref child[2]; /* free: child[0] is the next free one */
	uint32_t record; /* offset / 8; 0: none */
	uint8_t stale;	 /* a bit for each child */
};

struct leaf {
	uint8_t key[SPARSE_KEY_SIZE];
	uint8_t *value;
	uint32_t len; /* free: the next free one */
	uint32_t record;
};

struct sparse_map {
	ref root;
	struct merkle_hash root_hash;
	bool root_stale;
	struct inner *inners; /* inners[0] and leaves[0] are not used */
	struct leaf *leaves;
	uint32_t inner_used, inner_cap, inner_free, inner_spare; /* spare: how many are on the free list */
	uint32_t leaf_used, leaf_cap, leaf_free;
	size_t count;
	struct span stored; /* borrowed; empty: everything is in memory */
	uint32_t brought;   /* inner nodes below this one have their children in memory */
};

static const struct merkle_hash empty_hash;

static bool is_empty(const struct merkle_hash *hash)
{
	return memcmp(hash, &empty_hash, sizeof(*hash)) == 0;
}

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
	const struct span parts[] = {span_of(&prefix, 1), span_of(key, SPARSE_KEY_SIZE), value};
	sha256_parts(parts, 3, out->bytes);
}

static struct leaf *leaf_at(const struct sparse_map *map, ref at)
{
	return &map->leaves[at & ~LEAF];
}

static bool is_inner(ref at)
{
	return at && !(at & (LEAF | STORED));
}

result sparse_map_new(struct sparse_map **out)
{
	struct sparse_map *map = calloc(1, sizeof(*map));
	if (!map)
		return fail(NO_MEMORY, "map");
	map->inner_used = map->leaf_used = map->brought = 1;
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

/* ---- Records ------------------------------------------------------------------------------------- */

static uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static result damaged(void)
{
	return fail(PROOF_INVALID, "a stored node of the map is not the one that belongs there");
}

/* `len` bytes of the record, when they are there. */
static const uint8_t *record_at(const struct sparse_map *map, ref at, size_t len)
{
	size_t offset = (size_t)(at & ~(LEAF | STORED)) * RECORD_ALIGN;
	if (offset > map->stored.len || map->stored.len - offset < len)
		return NULL;
	return map->stored.data + offset;
}

static bool take_child(const uint8_t *record, unsigned side, const struct merkle_hash *hash, ref *out)
{
	ref child = get_u32(record + 4 * side);
	if (child & STORED || child == LEAF || (child == 0) != is_empty(hash))
		return false;
	*out = child ? child | STORED : 0;
	return true;
}

/* The inner node at `at`, which must have this hash. */
static result read_inner(const struct sparse_map *map, ref at, const struct merkle_hash *wanted, struct inner *out)
{
	const uint8_t *record = record_at(map, at, INNER_RECORD);
	struct inner inner = {.record = at & ~STORED};
	struct merkle_hash hash;
	if (!record)
		return damaged();
	memcpy(inner.hash, record + 8, sizeof(inner.hash));
	merkle_node(&inner.hash[0], &inner.hash[1], &hash);
	if (memcmp(&hash, wanted, sizeof(hash)) != 0 || !take_child(record, 0, &inner.hash[0], &inner.child[0]) ||
		!take_child(record, 1, &inner.hash[1], &inner.child[1]))
		return damaged();
	*out = inner;
	return OK;
}

static result read_leaf(const struct sparse_map *map, ref at, const struct merkle_hash *wanted, const uint8_t **out_key, struct span *out_value)
{
	const uint8_t *record = record_at(map, at, LEAF_RECORD);
	struct merkle_hash hash;
	uint32_t len = record ? get_u32(record) : 0;
	if (len < 1 || len > SPARSE_VALUE_MAX || !record_at(map, at, LEAF_RECORD + len))
		return damaged();
	struct span value = span_of(record + LEAF_RECORD, len);
	leaf_hash(record + 4, value, &hash);
	if (memcmp(&hash, wanted, sizeof(hash)) != 0)
		return damaged();
	*out_key = record + 4;
	*out_value = value;
	return OK;
}

/* ---- Pools --------------------------------------------------------------------------------------- */

static result grow(void **pool, uint32_t *cap, uint32_t need, size_t size)
{
	if (need <= *cap)
		return OK;
	uint32_t new = *cap ? *cap : FIRST_POOL;
	while (new < need)
		new *= 2;
	if (new >= STORED)
		return fail(TOO_LARGE, "a map of %u nodes", new);
	void *grown = realloc(*pool, (size_t)new * size);
	if (!grown)
		return fail(NO_MEMORY, "a map of %u nodes", new);
	*pool = grown;
	*cap = new;
	return OK;
}

static result reserve_inners(struct sparse_map *map, unsigned count)
{
	void *pool = map->inners;
	TRY(grow(&pool, &map->inner_cap, map->inner_used + count, sizeof(*map->inners)));
	map->inners = pool;
	return OK;
}

static result reserve_leaf(struct sparse_map *map)
{
	void *pool = map->leaves;
	if (map->leaf_free)
		return OK;
	TRY(grow(&pool, &map->leaf_cap, map->leaf_used + 1, sizeof(*map->leaves)));
	map->leaves = pool;
	return OK;
}

/* After this, `inners` inner nodes and a leaf can be taken without failing. */
static result reserve(struct sparse_map *map, unsigned inners)
{
	if (inners > map->inner_spare)
		TRY(reserve_inners(map, inners - map->inner_spare));
	return reserve_leaf(map);
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
	map->inners[at] = (struct inner){.stale = 3};
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
	*leaf = (struct leaf){.value = value, .len = (uint32_t)len};
	memcpy(leaf->key, key, SPARSE_KEY_SIZE);
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

/* ---- Where references hang ------------------------------------------------------------------------- */

/* A child of an inner node in memory; parent 0: the root. */
struct slot {
	ref parent;
	unsigned side;
};

static ref *ref_of(struct sparse_map *map, struct slot slot)
{
	return slot.parent ? &map->inners[slot.parent].child[slot.side] : &map->root;
}

static const struct merkle_hash *hash_at(const struct sparse_map *map, struct slot slot)
{
	return slot.parent ? &map->inners[slot.parent].hash[slot.side] : &map->root_hash;
}

static result bring_inner(struct sparse_map *map, struct slot slot)
{
	struct inner inner;
	TRY(read_inner(map, *ref_of(map, slot), hash_at(map, slot), &inner));
	/* Never a place that was given back: sparse_map_bring goes through the pool once. */
	TRY(reserve_inners(map, 1));
	ref at = map->inner_used++;
	map->inners[at] = inner;
	*ref_of(map, slot) = at;
	return OK;
}

static result bring_leaf(struct sparse_map *map, struct slot slot)
{
	ref stored = *ref_of(map, slot);
	const uint8_t *key;
	struct span value;
	TRY(read_leaf(map, stored, hash_at(map, slot), &key, &value));
	TRY(reserve_leaf(map));
	uint8_t *kept = malloc(value.len);
	if (!kept)
		return fail(NO_MEMORY, "a value of %zu bytes", value.len);
	memcpy(kept, value.data, value.len);
	ref at = take_leaf(map, key, kept, value.len);
	leaf_at(map, at)->record = stored & ~(LEAF | STORED);
	*ref_of(map, slot) = at;
	return OK;
}

/* What hangs here is in memory after this. */
static result bring(struct sparse_map *map, struct slot slot)
{
	ref at = *ref_of(map, slot);
	if (!(at & STORED))
		return OK;
	return at & LEAF ? bring_leaf(map, slot) : bring_inner(map, slot);
}

/* Brings the key's path into memory. What stands at its end, where that hangs, and how deep. */
static result bring_path(struct sparse_map *map, const uint8_t *key, struct slot *out_slot, ref *out_end, unsigned *out_depth)
{
	struct slot slot = {0};
	unsigned depth = 0;
	for (;;) {
		TRY(bring(map, slot));
		ref at = *ref_of(map, slot);
		if (!is_inner(at)) {
			*out_slot = slot;
			*out_end = at;
			*out_depth = depth;
			return OK;
		}
		if (depth == SPARSE_DEPTH)
			return damaged();
		slot = (struct slot){at, bit_of(key, depth++)};
	}
}

/* ---- Changing -------------------------------------------------------------------------------------- */

/* Every hash on the key's path will be made anew, and every node of it stored anew. */
static void mark(struct sparse_map *map, const uint8_t *key)
{
	ref at = map->root;
	map->root_stale = true;
	for (unsigned depth = 0; is_inner(at); depth++) {
		struct inner *inner = &map->inners[at];
		inner->stale |= (uint8_t)(1 << bit_of(key, depth));
		inner->record = 0;
		at = inner->child[bit_of(key, depth)];
	}
}

/* The reference to the node at this depth of the path, which is in memory. */
static ref *slot_at(struct sparse_map *map, const uint8_t *key, unsigned depth)
{
	ref *slot = &map->root;
	for (unsigned d = 0; d < depth; d++)
		slot = &map->inners[*slot].child[bit_of(key, d)];
	return slot;
}

static void insert(struct sparse_map *map, const uint8_t *key, struct slot at, ref found, unsigned depth, ref leaf)
{
	ref *slot = ref_of(map, at);
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
	struct slot slot;
	unsigned depth;
	ref found;
	TRY(bring_path(map, key, &slot, &found, &depth));
	bool same = found && memcmp(leaf_at(map, found)->key, key, SPARSE_KEY_SIZE) == 0;
	unsigned split = found && !same ? split_depth(key, leaf_at(map, found)->key) : depth;
	if (split < depth)
		return damaged();
	if (!same)
		TRY(reserve(map, found ? split - depth + 1 : 0));
	uint8_t *kept = malloc(value.len);
	if (!kept)
		return fail(NO_MEMORY, "a value of %zu bytes", value.len);
	memcpy(kept, value.data, value.len);
	if (same) {
		struct leaf *leaf = leaf_at(map, found);
		free(leaf->value);
		leaf->value = kept;
		leaf->len = (uint32_t)value.len;
		leaf->record = 0;
	} else {
		insert(map, key, slot, found, depth, take_leaf(map, key, kept, value.len));
		map->count++;
	}
	mark(map, key);
	return OK;
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

result sparse_map_remove(struct sparse_map *map, const uint8_t key[static SPARSE_KEY_SIZE])
{
	struct slot slot;
	unsigned depth;
	ref found;
	TRY(bring_path(map, key, &slot, &found, &depth));
	if (!found || memcmp(leaf_at(map, found)->key, key, SPARSE_KEY_SIZE) != 0)
		return OK;
	/* Whether the other child is a leaf, which then moves up, says only its record: the reference is under no hash. */
	if (slot.parent)
		TRY(bring(map, (struct slot){slot.parent, !slot.side}));
	mark(map, key);
	*slot_at(map, key, depth) = 0;
	collapse(map, key, depth);
	give_leaf(map, found);
	return OK;
}

size_t sparse_map_count(const struct sparse_map *map)
{
	return map->count;
}

/* ---- Hashes ---------------------------------------------------------------------------------------- */

/* Of a node in memory; what hangs in it stale is in memory too. */
static void hash_node(struct sparse_map *map, ref at, struct merkle_hash *out)
{
	if (!at) {
		*out = empty_hash;
		return;
	}
	if (at & LEAF) {
		const struct leaf *leaf = leaf_at(map, at);
		leaf_hash(leaf->key, span_of(leaf->value, leaf->len), out);
		return;
	}
	struct inner *inner = &map->inners[at];
	for (unsigned side = 0; side < 2; side++)
		if (inner->stale >> side & 1)
			hash_node(map, inner->child[side], &inner->hash[side]);
	inner->stale = 0;
	merkle_node(&inner->hash[0], &inner->hash[1], out);
}

void sparse_map_root(struct sparse_map *map, struct merkle_hash *out)
{
	if (map->root_stale)
		hash_node(map, map->root, &map->root_hash);
	map->root_stale = false;
	*out = map->root_hash;
}

/* ---- Reading --------------------------------------------------------------------------------------- */

/* A node that is looked at, in memory or not; its memory is the caller's. */
struct view {
	struct inner inner;
	const uint8_t *key;
	struct span value;
};

static result look(const struct sparse_map *map, ref at, const struct merkle_hash *hash, struct view *out)
{
	if (at & STORED)
		return at & LEAF ? read_leaf(map, at, hash, &out->key, &out->value) : read_inner(map, at, hash, &out->inner);
	if (at & LEAF) {
		const struct leaf *leaf = leaf_at(map, at);
		out->key = leaf->key;
		out->value = span_of(leaf->value, leaf->len);
	} else {
		out->inner = map->inners[at];
	}
	return OK;
}

static result find(const struct sparse_map *map, const uint8_t *key, const uint8_t **out_key, struct span *out_value)
{
	ref at = map->root;
	unsigned depth = 0;
	struct merkle_hash hash = map->root_hash;
	struct view view;
	*out_key = NULL;
	/* In memory there is nothing to check and nothing to copy. */
	for (; is_inner(at) && depth < SPARSE_DEPTH; depth++) {
		const struct inner *inner = &map->inners[at];
		at = inner->child[bit_of(key, depth)];
		if (at & STORED)
			hash = inner->hash[bit_of(key, depth)];
	}
	for (; at && !(at & LEAF); depth++) {
		if (depth == SPARSE_DEPTH)
			return damaged();
		TRY(look(map, at, &hash, &view));
		hash = view.inner.hash[bit_of(key, depth)];
		at = view.inner.child[bit_of(key, depth)];
	}
	if (!at)
		return OK;
	TRY(look(map, at, &hash, &view));
	*out_key = view.key;
	*out_value = view.value;
	return OK;
}

result sparse_map_find(const struct sparse_map *map, const uint8_t key[static SPARSE_KEY_SIZE], struct span *out)
{
	const uint8_t *found;
	struct span value = SPAN_EMPTY;
	TRY(find(map, key, &found, &value));
	*out = found && memcmp(found, key, SPARSE_KEY_SIZE) == 0 ? value : SPAN_EMPTY;
	return OK;
}

static result visit(const struct sparse_map *map, ref at, const struct merkle_hash *hash, unsigned depth, sparse_map_visit *each, void *arg)
{
	struct view view;
	if (!at)
		return OK;
	if (depth > SPARSE_DEPTH)
		return damaged();
	TRY(look(map, at, hash, &view));
	if (at & LEAF)
		return each(arg, view.key, view.value);
	TRY(visit(map, view.inner.child[0], &view.inner.hash[0], depth + 1, each, arg));
	return visit(map, view.inner.child[1], &view.inner.hash[1], depth + 1, each, arg);
}

result sparse_map_each(const struct sparse_map *map, sparse_map_visit *each, void *arg)
{
	return visit(map, map->root, &map->root_hash, 0, each, arg);
}

result sparse_map_prove(struct sparse_map *map, const uint8_t key[static SPARSE_KEY_SIZE], struct sparse_proof *out)
{
	struct merkle_hash hash;
	struct view view;
	ref at = map->root;
	sparse_map_root(map, &hash);
	out->depth = 0;
	for (; at && !(at & LEAF); out->depth++) {
		if (out->depth == SPARSE_DEPTH)
			return damaged();
		unsigned bit = bit_of(key, (unsigned)out->depth);
		TRY(look(map, at, &hash, &view));
		out->siblings[out->depth] = view.inner.hash[!bit];
		hash = view.inner.hash[bit];
		at = view.inner.child[bit];
	}
	out->ends_in_leaf = at != 0;
	out->leaf_value = SPAN_EMPTY;
	memset(out->leaf_key, 0, sizeof(out->leaf_key));
	if (at) {
		TRY(look(map, at, &hash, &view));
		memcpy(out->leaf_key, view.key, SPARSE_KEY_SIZE);
		out->leaf_value = view.value;
	}
	return OK;
}

/* ---- Storing --------------------------------------------------------------------------------------- */

static uint32_t place_of(const struct writer *w, uint64_t at)
{
	return (uint32_t)((at + w->len) / RECORD_ALIGN);
}

static void put_leaf(struct leaf *leaf, struct writer *w, uint64_t at)
{
	static const uint8_t zeros[RECORD_ALIGN];
	leaf->record = place_of(w, at);
	writer_u32(w, leaf->len);
	writer_put(w, leaf->key, SPARSE_KEY_SIZE);
	writer_put(w, leaf->value, leaf->len);
	writer_put(w, zeros, (RECORD_ALIGN - (LEAF_RECORD + leaf->len) % RECORD_ALIGN) % RECORD_ALIGN);
}

static ref store(struct sparse_map *map, ref at, bool all, struct writer *w, uint64_t offset)
{
	if (!at)
		return 0;
	if (at & STORED)
		return at & ~STORED;
	if (at & LEAF) {
		struct leaf *leaf = leaf_at(map, at);
		if (all || !leaf->record)
			put_leaf(leaf, w, offset);
		return leaf->record | LEAF;
	}
	struct inner *inner = &map->inners[at];
	if (!all && inner->record)
		return inner->record;
	ref left = store(map, inner->child[0], all, w, offset), right = store(map, inner->child[1], all, w, offset);
	inner->record = place_of(w, offset);
	writer_u32(w, left);
	writer_u32(w, right);
	writer_put(w, inner->hash, sizeof(inner->hash));
	return inner->record;
}

result sparse_map_store(struct sparse_map *map, bool all, struct writer *w, uint64_t offset, uint32_t *out_root)
{
	struct merkle_hash root;
	struct span written;
	bool done;
	if (offset + w->len == 0 || (offset + w->len) % RECORD_ALIGN)
		return fail(INTERNAL, "records begin at multiples of %d, and not at 0", RECORD_ALIGN);
	/* What was not read yet has its place in the old bytes. */
	if (all)
		TRY(sparse_map_bring(map, SIZE_MAX, &done));
	sparse_map_root(map, &root);
	ref at = store(map, map->root, all, w, offset);
	TRY(writer_finish(w, &written));
	if ((offset + w->len) / RECORD_ALIGN >= STORED)
		return fail(TOO_LARGE, "a stored map of %llu bytes", (unsigned long long)(offset + w->len));
	*out_root = at;
	return OK;
}

result sparse_map_open(struct span stored, uint32_t root, const struct merkle_hash *root_hash, size_t count, struct sparse_map **out)
{
	struct sparse_map *map;
	if (root & STORED || root == LEAF || (root == 0) != is_empty(root_hash) || (root == 0) != (count == 0))
		return damaged();
	TRY(sparse_map_new(&map));
	map->root = root ? root | STORED : 0;
	map->root_hash = *root_hash;
	map->count = count;
	map->stored = stored;
	*out = map;
	return OK;
}

result sparse_map_bring(struct sparse_map *map, size_t nodes, bool *out_done)
{
	TRY(bring(map, (struct slot){0}));
	for (; map->brought < map->inner_used; map->brought++) {
		if (nodes == 0) {
			*out_done = false;
			return OK;
		}
		nodes--;
		TRY(bring(map, (struct slot){map->brought, 0}));
		TRY(bring(map, (struct slot){map->brought, 1}));
	}
	map->stored = SPAN_EMPTY;
	*out_done = true;
	return OK;
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
