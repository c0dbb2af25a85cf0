#include "ledger/leaf.h"

#include "wire/cbor.h"

#include <string.h>

void ledger_leaf_put(const struct ledger_leaf *leaf, struct writer *w)
{
	size_t before = w->len;
	if (leaf->kind == LEAF_TX) {
		cbor_put_array(w, 4);
		cbor_put_uint(w, LEAF_TX);
		cbor_put_bytes(w, leaf->tx);
		cbor_put_uint(w, leaf->code);
		cbor_put_bytes(w, SPAN_ARRAY(leaf->events_hash));
	} else if (leaf->kind == LEAF_TAIL) {
		cbor_put_array(w, 6);
		cbor_put_uint(w, LEAF_TAIL);
		cbor_put_uint(w, leaf->height);
		cbor_put_uint(w, leaf->time);
		cbor_put_uint(w, leaf->first);
		cbor_put_uint(w, leaf->count);
		cbor_put_bytes(w, SPAN_ARRAY(leaf->state_root));
	} else {
		writer_fail(w, BAD_VALUE);
	}
	if (w->len - before > LEAF_MAX)
		writer_fail(w, TOO_LARGE);
}

static result decode_tx(struct reader *r, struct ledger_leaf *out)
{
	uint64_t code;
	TRY(cbor_read_bytes(r, &out->tx));
	TRY(cbor_read_uint(r, &code));
	if (code > UINT16_MAX)
		return fail(BAD_VALUE, "a leaf with code %llu", (unsigned long long)code);
	out->code = (uint32_t)code;
	return cbor_read_bytes_fixed(r, out->events_hash, SHA256_SIZE);
}

static result decode_tail(struct reader *r, struct ledger_leaf *out)
{
	TRY(cbor_read_uint(r, &out->height));
	TRY(cbor_read_uint(r, &out->time));
	TRY(cbor_read_uint(r, &out->first));
	TRY(cbor_read_uint(r, &out->count));
	if (out->count == 0 || out->first > INT64_MAX || out->count > INT64_MAX)
		return fail(BAD_VALUE, "a TAIL of %llu leaves", (unsigned long long)out->count);
	return cbor_read_bytes_fixed(r, out->state_root, SHA256_SIZE);
}

result ledger_leaf_decode(struct span bytes, struct ledger_leaf *out)
{
	struct ledger_leaf leaf = {0};
	struct reader r = reader_of(bytes);
	size_t count;
	uint64_t kind;
	if (bytes.len > LEAF_MAX)
		return fail(TOO_LARGE, "a leaf of %zu bytes", bytes.len);
	TRY(cbor_read_array(&r, &count));
	TRY(cbor_read_uint(&r, &kind));
	if (!(kind == LEAF_TX && count == 4) && !(kind == LEAF_TAIL && count == 6))
		return fail(BAD_VALUE, "a leaf of kind %llu with %zu parts", (unsigned long long)kind, count);
	leaf.kind = (uint8_t)kind;
	TRY(kind == LEAF_TX ? decode_tx(&r, &leaf) : decode_tail(&r, &leaf));
	TRY(reader_finish(&r));
	*out = leaf;
	return OK;
}
