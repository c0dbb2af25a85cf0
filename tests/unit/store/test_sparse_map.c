#include "store/sparse_map.h"

#include "groups.h"

#include "expect.h"

#include <stdlib.h>
#include <string.h>

enum { KEYS = 200 };

struct row {
	uint8_t key[SPARSE_KEY_SIZE];
	uint8_t value[8];
	bool present;
};

static struct row rows[KEYS];

static int by_key(const void *a, const void *b)
{
	return memcmp(((const struct row *)a)->key, ((const struct row *)b)->key, SPARSE_KEY_SIZE);
}

/* Some keys share many bits: the first few bits, whole bytes, all but the last bit. */
static void make_rows(void)
{
	memset(rows, 0, sizeof(rows));
	for (uint32_t i = 0; i < KEYS; i++) {
		sha256(span_of(&i, sizeof(i)), rows[i].key);
		if (i % 5 == 0)
			memset(rows[i].key, 0xaa, 20);
		if (i % 7 == 0 && i) {
			memcpy(rows[i].key, rows[i - 1].key, SPARSE_KEY_SIZE);
			rows[i].key[31] ^= 1;
		}
		memcpy(rows[i].value, &i, sizeof(i));
	}
	qsort(rows, KEYS, sizeof(rows[0]), by_key);
}

static unsigned bit(const uint8_t *key, unsigned depth)
{
	return key[depth / 8] >> (7 - depth % 8) & 1;
}

/* The definition, word for word, over the present rows of [begin, end), which agree in their first `depth` bits. */
static void slow_root(size_t begin, size_t end, unsigned depth, struct merkle_hash *out)
{
	size_t count = 0, only = 0;
	for (size_t i = begin; i < end; i++)
		if (rows[i].present) {
			count++;
			only = i;
		}
	memset(out, 0, sizeof(*out));
	if (count == 1) {
		uint8_t input[1 + SPARSE_KEY_SIZE + sizeof(rows[0].value)] = {0};
		memcpy(input + 1, rows[only].key, SPARSE_KEY_SIZE);
		memcpy(input + 1 + SPARSE_KEY_SIZE, rows[only].value, sizeof(rows[0].value));
		sha256(SPAN_ARRAY(input), out->bytes);
	}
	if (count < 2)
		return;
	size_t middle = begin;
	while (middle < end && !bit(rows[middle].key, depth))
		middle++;
	struct merkle_hash left, right;
	slow_root(begin, middle, depth + 1, &left);
	slow_root(middle, end, depth + 1, &right);
	merkle_node(&left, &right, out);
}

static void check_root(struct sparse_map *map)
{
	struct merkle_hash got, wanted;
	sparse_map_root(map, &got);
	slow_root(0, KEYS, 0, &wanted);
	assert_memory_equal(got.bytes, wanted.bytes, sizeof(got.bytes));
}

static void expect_row(const struct sparse_map *map, const struct row *row)
{
	struct span value;
	expect_ok(sparse_map_find(map, row->key, &value));
	expect_span(value, row->present ? SPAN_ARRAY(row->value) : SPAN_EMPTY);
}

/* Puts, overwrites and removes in a random order; the root is that of the definition after each. */
static void random_changes(void **state)
{
	(void)state;
	struct sparse_map *map;
	uint32_t seed = 1;
	make_rows();
	expect_ok(sparse_map_new(&map));
	check_root(map);
	for (int step = 0; step < 3000; step++) {
		seed = seed * 1664525 + 1013904223;
		struct row *row = &rows[(seed >> 8) % KEYS];
		if (seed >> 30 == 0) {
			expect_ok(sparse_map_remove(map, row->key));
			row->present = false;
		} else {
			memcpy(row->value, &seed, sizeof(seed));
			expect_ok(sparse_map_put(map, row->key, SPAN_ARRAY(row->value)));
			row->present = true;
		}
		if (step % 10 == 0 || step < 100)
			check_root(map);
		expect_row(map, row);
	}
	size_t present = 0;
	for (size_t i = 0; i < KEYS; i++)
		present += rows[i].present;
	assert_int_equal(sparse_map_count(map), present);
	/* Taken out one by one, the empty map's root is left. */
	for (size_t i = 0; i < KEYS; i++) {
		expect_ok(sparse_map_remove(map, rows[i].key));
		rows[i].present = false;
		check_root(map);
	}
	assert_int_equal(sparse_map_count(map), 0);
	sparse_map_free(map);
}

static result in_order(void *arg, const uint8_t key[static SPARSE_KEY_SIZE], struct span value)
{
	size_t *next = arg;
	while (!rows[*next].present)
		++*next;
	assert_memory_equal(key, rows[*next].key, SPARSE_KEY_SIZE);
	expect_span(value, SPAN_ARRAY(rows[*next].value));
	++*next;
	return OK;
}

static result stop_at_third(void *arg, const uint8_t key[static SPARSE_KEY_SIZE], struct span value)
{
	(void)key;
	(void)value;
	size_t *calls = arg;
	return ++*calls == 3 ? fail(TIMED_OUT, "enough") : OK;
}

static struct sparse_map *half_full(void)
{
	struct sparse_map *map;
	make_rows();
	expect_ok(sparse_map_new(&map));
	for (size_t i = 0; i < KEYS; i += 2) {
		rows[i].present = true;
		expect_ok(sparse_map_put(map, rows[i].key, SPAN_ARRAY(rows[i].value)));
	}
	return map;
}

static void visits_in_order(void **state)
{
	(void)state;
	struct sparse_map *map = half_full();
	size_t next = 0, calls = 0;
	expect_ok(sparse_map_each(map, in_order, &next));
	assert_int_equal(next, KEYS - 1);
	expect(sparse_map_each(map, stop_at_third, &calls), TIMED_OUT);
	assert_int_equal(calls, 3);
	sparse_map_free(map);
}

static void proofs(void **state)
{
	(void)state;
	struct sparse_map *map = half_full();
	struct merkle_hash root;
	struct sparse_proof proof, other;
	static const uint8_t wrong[8] = {0xff, 0xff, 0xff, 0xff, 1};
	sparse_map_root(map, &root);
	for (size_t i = 0; i < KEYS; i++) {
		struct span value = rows[i].present ? SPAN_ARRAY(rows[i].value) : SPAN_EMPTY;
		struct span lie = rows[i].present ? SPAN_EMPTY : SPAN_ARRAY(rows[i].value);
		expect_ok(sparse_map_prove(map, rows[i].key, &proof));
		expect_ok(sparse_verify(&root, rows[i].key, value, &proof));
		expect(sparse_verify(&root, rows[i].key, lie, &proof), PROOF_INVALID);
		expect(sparse_verify(&root, rows[i].key, SPAN_ARRAY(wrong), &proof), PROOF_INVALID);
		/* LE-06: a proof of another key says nothing here, except where both end at the same empty place. */
		size_t j = (i + 2) % KEYS;
		if (rows[i].present)
			expect(sparse_verify(&root, rows[j].key, rows[j].present ? SPAN_ARRAY(rows[j].value) : SPAN_EMPTY, &proof), PROOF_INVALID);
		for (size_t at = 0; at < proof.depth; at += 3) {
			other = proof;
			other.siblings[at].bytes[5] ^= 1;
			expect(sparse_verify(&root, rows[i].key, value, &other), PROOF_INVALID);
		}
		if (proof.depth) {
			other = proof;
			other.depth--;
			expect(sparse_verify(&root, rows[i].key, value, &other), PROOF_INVALID);
		}
		other = proof;
		memset(&other.siblings[other.depth++], 0, sizeof(other.siblings[0]));
		if (proof.ends_in_leaf) /* an empty place below an empty place is the same nothing */
			expect(sparse_verify(&root, rows[i].key, value, &other), PROOF_INVALID);
	}
	sparse_map_free(map);
}

/* An absent key's proof must not be made of a present key's path with its leaf left out. */
static void leaf_left_out(void **state)
{
	(void)state;
	struct sparse_map *map = half_full();
	struct merkle_hash root;
	struct sparse_proof proof;
	sparse_map_root(map, &root);
	expect_ok(sparse_map_prove(map, rows[4].key, &proof));
	proof.ends_in_leaf = false;
	expect(sparse_verify(&root, rows[4].key, SPAN_EMPTY, &proof), PROOF_INVALID);
	/* nor of another key's leaf that stands elsewhere */
	expect_ok(sparse_map_prove(map, rows[4].key, &proof));
	memcpy(proof.leaf_key, rows[10].key, SPARSE_KEY_SIZE);
	expect(sparse_verify(&root, rows[4].key, SPAN_EMPTY, &proof), PROOF_INVALID);
	sparse_map_free(map);
}

static void wire_form(void **state)
{
	(void)state;
	struct sparse_map *map = half_full();
	struct merkle_hash root;
	sparse_map_root(map, &root);
	for (size_t i = 0; i < KEYS; i += 9) {
		uint8_t buffer[SPARSE_DEPTH * 33 + 256];
		struct sparse_proof proof, read;
		struct writer w = writer_fixed(buffer, sizeof(buffer));
		struct span bytes;
		expect_ok(sparse_map_prove(map, rows[i].key, &proof));
		sparse_proof_put(&proof, &w);
		expect_ok(writer_finish(&w, &bytes));
		expect_ok(sparse_proof_take(bytes, &read));
		expect_ok(sparse_verify(&root, rows[i].key, rows[i].present ? SPAN_ARRAY(rows[i].value) : SPAN_EMPTY, &read));
		for (size_t len = 0; len < bytes.len; len++)
			assert_int_not_equal(sparse_proof_take(span_of(bytes.data, len), &read), OK);
		expect(sparse_proof_take(span_of(buffer, bytes.len + 1), &read), TRAILING_BYTES);
		/* One proof has one form: any flipped bit is refused, or proves nothing. */
		for (size_t at = 0; at < bytes.len * 8; at++) {
			buffer[at / 8] ^= (uint8_t)(1 << at % 8);
			if (sparse_proof_take(bytes, &read) == OK)
				expect(sparse_verify(&root, rows[i].key, rows[i].present ? SPAN_ARRAY(rows[i].value) : SPAN_EMPTY, &read),
					PROOF_INVALID);
			buffer[at / 8] ^= (uint8_t)(1 << at % 8);
		}
	}
	sparse_map_free(map);
}

static void refuses_values(void **state)
{
	(void)state;
	static uint8_t big[SPARSE_VALUE_MAX + 1];
	struct sparse_map *map = half_full();
	expect(sparse_map_put(map, rows[1].key, SPAN_EMPTY), BAD_VALUE);
	expect(sparse_map_put(map, rows[1].key, SPAN_ARRAY(big)), BAD_VALUE);
	check_root(map);
	expect_ok(sparse_map_remove(map, rows[1].key));
	check_root(map);
	sparse_map_free(map);
}

/* ---- Stored -------------------------------------------------------------------------------------- */

enum { BEGIN = 64 };

/* A file: what is stored is added to it. */
struct file {
	uint8_t bytes[1 << 20];
	size_t len;
	uint32_t root;
};

static void add_to_file(struct sparse_map *map, bool all, struct file *file)
{
	CLEANUP(writer_free) struct writer w = writer_growing(sizeof(file->bytes));
	if (all)
		file->len = BEGIN;
	expect_ok(sparse_map_store(map, all, &w, file->len, &file->root));
	assert_true(file->len + w.len <= sizeof(file->bytes));
	if (w.len)
		memcpy(file->bytes + file->len, w.data, w.len);
	file->len += w.len;
}

static struct sparse_map *open_file(struct sparse_map *from, const struct file *file)
{
	struct sparse_map *map;
	struct merkle_hash root;
	sparse_map_root(from, &root);
	expect_ok(sparse_map_open(span_of(file->bytes, file->len), file->root, &root, sparse_map_count(from), &map));
	return map;
}

/* Stored, added to and opened again at every turn, it is the map that it would be otherwise. */
static void stored_and_opened(void **state)
{
	(void)state;
	struct file *files = calloc(2, sizeof(*files)), *file = files;
	struct sparse_map *map;
	uint32_t seed = 7;
	bool done, any_left = false;
	assert_non_null(files);
	make_rows();
	expect_ok(sparse_map_new(&map));
	for (int turn = 0; turn < 60; turn++) {
		bool all = turn % 20 == 0;
		if (all)
			file = file == files ? &files[1] : files;
		add_to_file(map, all, file);
		struct sparse_map *opened = open_file(map, file);
		size_t before = file->len;
		add_to_file(opened, false, file);
		assert_int_equal(file->len, before); /* nothing changed, nothing is added */
		if (turn % 3 != 2) {
			sparse_map_free(map);
			map = opened;
		} else {
			sparse_map_free(opened);
		}
		for (int step = 0; step < (turn * 7) % 50; step++) {
			seed = seed * 1664525 + 1013904223;
			struct row *row = &rows[(seed >> 8) % KEYS];
			if (seed >> 30 == 0 || turn > 50) {
				expect_ok(sparse_map_remove(map, row->key));
				row->present = false;
			} else {
				memcpy(row->value, &seed, sizeof(seed));
				expect_ok(sparse_map_put(map, row->key, SPAN_ARRAY(row->value)));
				row->present = true;
			}
			if (step % 8 == 0)
				check_root(map);
			expect_row(map, row);
		}
		expect_ok(sparse_map_bring(map, (size_t)turn % 4 * 10, &done));
		any_left |= !done;
		check_root(map);
		for (size_t i = 0; i < KEYS; i++) {
			struct merkle_hash root;
			struct sparse_proof proof;
			expect_row(map, &rows[i]);
			sparse_map_root(map, &root);
			expect_ok(sparse_map_prove(map, rows[i].key, &proof));
			expect_ok(sparse_verify(&root, rows[i].key, rows[i].present ? SPAN_ARRAY(rows[i].value) : SPAN_EMPTY, &proof));
		}
		size_t next = 0;
		expect_ok(sparse_map_each(map, in_order, &next));
	}
	assert_true(any_left);
	sparse_map_free(map);
	free(files);
}

/* Any flipped bit is met or harmless: no lookup, proof or change comes out differently. */
static void stored_bits_flipped(void **state)
{
	(void)state;
	struct file *file = calloc(1, sizeof(*file));
	struct sparse_map *map = half_full();
	struct merkle_hash root, changed, without;
	size_t met = 0;
	bool done;
	assert_non_null(file);
	add_to_file(map, true, file);
	sparse_map_root(map, &root);
	struct row *row = &rows[KEYS / 2];
	expect_ok(sparse_map_put(map, row->key, SPAN_ARRAY(rows[1].value)));
	sparse_map_root(map, &changed);
	expect_ok(sparse_map_remove(map, row->key));
	sparse_map_root(map, &without);
	const size_t step = getenv("TROTH_LONG") ? 7 : 67; /* bits */
	for (size_t flip = BEGIN * 8; flip < file->len * 8; flip += step) {
		struct sparse_map *opened;
		struct sparse_proof proof;
		struct merkle_hash now;
		file->bytes[flip / 8] ^= (uint8_t)(1 << flip % 8);
		expect_ok(sparse_map_open(span_of(file->bytes, file->len), file->root, &root, KEYS / 2, &opened));
		for (size_t i = 0; i < KEYS; i += 1 + flip % 3) {
			struct span value;
			result found = sparse_map_find(opened, rows[i].key, &value);
			if (found == OK)
				expect_span(value, rows[i].present ? SPAN_ARRAY(rows[i].value) : SPAN_EMPTY);
			else
				expect(found, PROOF_INVALID);
			if (sparse_map_prove(opened, rows[i].key, &proof) == OK)
				expect_ok(sparse_verify(&root, rows[i].key, rows[i].present ? SPAN_ARRAY(rows[i].value) : SPAN_EMPTY, &proof));
		}
		sparse_map_root(opened, &now);
		assert_memory_equal(&now, &root, sizeof(root));
		if (sparse_map_put(opened, row->key, SPAN_ARRAY(rows[1].value)) == OK) {
			sparse_map_root(opened, &now);
			assert_memory_equal(&now, &changed, sizeof(now));
		}
		if (sparse_map_remove(opened, row->key) == OK) {
			sparse_map_root(opened, &now);
			assert_memory_equal(&now, &without, sizeof(now));
			if (sparse_map_put(opened, row->key, SPAN_ARRAY(row->value)) == OK) {
				sparse_map_root(opened, &now);
				assert_memory_equal(&now, &root, sizeof(now));
			}
		}
		result brought = sparse_map_bring(opened, SIZE_MAX, &done);
		if (brought != OK)
			expect(brought, PROOF_INVALID);
		met += brought != OK;
		sparse_map_free(opened);
		file->bytes[flip / 8] ^= (uint8_t)(1 << flip % 8);
	}
	assert_true(met > 100);
	/* Cut short, or begun elsewhere. */
	struct sparse_map *opened;
	expect_ok(sparse_map_open(span_of(file->bytes, file->len - 8), file->root, &root, KEYS / 2, &opened));
	expect(sparse_map_bring(opened, SIZE_MAX, &done), PROOF_INVALID);
	sparse_map_free(opened);
	expect(sparse_map_open(span_of(file->bytes, file->len), 0, &root, KEYS / 2, &opened), PROOF_INVALID);
	expect(sparse_map_open(span_of(file->bytes, file->len), file->root, &root, 0, &opened), PROOF_INVALID);
	sparse_map_free(map);
	free(file);
}

int group_sparse_map(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_changes),
		cmocka_unit_test(visits_in_order),
		cmocka_unit_test(proofs),
		cmocka_unit_test(leaf_left_out),
		cmocka_unit_test(wire_form),
		cmocka_unit_test(refuses_values),
		cmocka_unit_test(stored_and_opened),
		cmocka_unit_test(stored_bits_flipped),
	};
	return cmocka_run_group_tests_name("sparse map", tests, NULL, NULL);
}
