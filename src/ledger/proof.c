#include "ledger/proof.h"

#include "base/reader.h"

#include <string.h>

static result open_fact(struct reader *r, struct ledger_proof *proof)
{
	struct sparse_proof path;
	struct merkle_hash root;
	TRY(reader_copy(r, proof->key, SPARSE_KEY_SIZE));
	TRY(sparse_proof_take(span_of(r->at, reader_left(r)), &path));
	if (proof->leaf.kind != LEAF_TAIL || proof->index != proof->checkpoint.size - 1 ||
		proof->leaf.first + proof->leaf.count != proof->index)
		return fail(PROOF_INVALID, "the leaf is not the TAIL of this checkpoint");
	if (path.ends_in_leaf && memcmp(path.leaf_key, proof->key, SPARSE_KEY_SIZE) == 0)
		proof->value = path.leaf_value;
	memcpy(root.bytes, proof->leaf.state_root, SHA256_SIZE);
	return sparse_verify(&root, proof->key, proof->value, &path);
}

result ledger_proof_open(struct span bytes, const struct note_key *log, struct arena *arena, struct ledger_proof *out)
{
	struct ledger_proof proof = {0};
	struct tlog_proof file;
	struct merkle_hash leaf;
	uint8_t kind;
	TRY(tlog_proof_parse(bytes, arena, &file));
	struct reader r = reader_of(file.extra);
	TRY(reader_u8(&r, &kind));
	if (kind != PROOF_LEAF && kind != PROOF_FACT)
		return fail(BAD_VALUE, "a proof of kind %u", kind);
	TRY(reader_lv(&r, LEAF_MAX, &proof.leaf_bytes));
	TRY(ledger_leaf_decode(proof.leaf_bytes, &proof.leaf));
	merkle_leaf(proof.leaf_bytes, &leaf);
	TRY(tlog_proof_verify(&file, &leaf, log, &proof.checkpoint));
	proof.kind = kind;
	proof.note = file.checkpoint;
	proof.index = file.index;
	TRY(kind == PROOF_FACT ? open_fact(&r, &proof) : reader_finish(&r));
	*out = proof;
	return OK;
}

static result put(uint64_t index, struct writer *extra, const struct merkle_proof *path, struct span checkpoint, struct writer *w)
{
	struct tlog_proof file = {.index = index, .path = *path, .checkpoint = checkpoint};
	TRY(writer_finish(extra, &file.extra));
	return tlog_proof_put(&file, w);
}

result ledger_proof_put_leaf(uint64_t index, struct span leaf, const struct merkle_proof *path, struct span checkpoint, struct writer *w)
{
	CLEANUP(writer_free) struct writer extra = writer_growing(LEAF_MAX + 16);
	writer_u8(&extra, PROOF_LEAF);
	writer_lv(&extra, leaf);
	return put(index, &extra, path, checkpoint, w);
}

result ledger_proof_put_fact(uint64_t index, struct span tail, const struct merkle_proof *path, struct span checkpoint,
	const uint8_t key[static SPARSE_KEY_SIZE], const struct sparse_proof *proof, struct writer *w)
{
	CLEANUP(writer_free) struct writer extra = writer_growing(SPARSE_VALUE_MAX + 32 * 1024);
	writer_u8(&extra, PROOF_FACT);
	writer_lv(&extra, tail);
	writer_put(&extra, key, SPARSE_KEY_SIZE);
	sparse_proof_put(proof, &extra);
	return put(index, &extra, path, checkpoint, w);
}
