/*
 * The CBOR decoder. What it accepts is well-formed, reads with the readers and is written back as the same bytes
 * (there is one encoding of each value), and none of its beginnings is accepted.
 */
#include "wire/cbor.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* Values below the range of int64 have no reader of their own: they are copied as they are. */
static void copy_integer(struct reader *r, struct writer *w, enum cbor_type type)
{
	uint64_t number;
	int64_t value;
	struct span item;
	if (type == CBOR_UINT) {
		require(cbor_read_uint(r, &number) == OK);
		cbor_put_uint(w, number);
	} else if (cbor_read_int(r, &value) == OK) {
		cbor_put_int(w, value);
	} else {
		require(cbor_read_any(r, &item) == OK);
		writer_span(w, item);
	}
}

static void copy_item(struct reader *r, struct writer *w);

static void copy_container(struct reader *r, struct writer *w, enum cbor_type type)
{
	size_t count;
	if (type == CBOR_ARRAY) {
		require(cbor_read_array(r, &count) == OK);
		cbor_put_array(w, count);
	} else {
		require(cbor_read_map(r, &count) == OK);
		cbor_put_map(w, count);
		count *= 2;
	}
	for (size_t i = 0; i < count; i++)
		copy_item(r, w);
}

static void copy_string(struct reader *r, struct writer *w, enum cbor_type type)
{
	struct span string;
	require((type == CBOR_BYTES ? cbor_read_bytes(r, &string) : cbor_read_text(r, &string)) == OK);
	if (type == CBOR_BYTES)
		cbor_put_bytes(w, string);
	else
		cbor_put_text(w, string);
}

static void copy_item(struct reader *r, struct writer *w)
{
	enum cbor_type type;
	uint64_t tag;
	bool flag;
	require(cbor_peek(r, &type) == OK);
	switch (type) {
	case CBOR_UINT:
	case CBOR_NINT:
		copy_integer(r, w, type);
		break;
	case CBOR_BYTES:
	case CBOR_TEXT:
		copy_string(r, w, type);
		break;
	case CBOR_ARRAY:
	case CBOR_MAP:
		copy_container(r, w, type);
		break;
	case CBOR_TAG:
		require(cbor_read_tag(r, &tag) == OK);
		cbor_put_tag(w, tag);
		copy_item(r, w);
		break;
	case CBOR_BOOL:
		require(cbor_read_bool(r, &flag) == OK);
		cbor_put_bool(w, flag);
		break;
	case CBOR_NULL:
		require(cbor_read_null(r) == OK);
		cbor_put_null(w);
		break;
	}
}

static void check_accepted(struct span bytes)
{
	CLEANUP(writer_free) struct writer w = writer_growing(bytes.len);
	CLEANUP(writer_free) struct writer text = writer_growing(1 << 22);
	struct reader r = reader_of(bytes);
	struct span copy;
	require(cbor_well_formed(bytes) == OK);
	require(cbor_validate(span_of(bytes.data, bytes.len - 1)) == TRUNCATED);
	copy_item(&r, &w);
	require(reader_finish(&r) == OK && writer_finish(&w, &copy) == OK && span_equal(copy, bytes));
	cbor_diagnose(bytes, &text);
}

/* Every reader on whatever stands there: it takes something or leaves the reader alone. */
static void try_readers(struct span bytes)
{
	struct reader start = reader_of(bytes), r = start;
	uint64_t number;
	int64_t value;
	size_t count;
	struct span span;
	bool flag;
	struct cbor_map map;
	const result outcomes[] = {cbor_read_uint(&r, &number), cbor_read_int(&r, &value), cbor_read_bytes(&r, &span),
		cbor_read_text(&r, &span), cbor_read_bool(&r, &flag), cbor_read_null(&r), cbor_read_tag(&r, &number),
		cbor_read_array(&r, &count), cbor_read_map(&r, &count), cbor_read_any(&r, &span)};
	bool any = false;
	for (size_t i = 0; i < COUNT_OF(outcomes); i++)
		any = any || outcomes[i] == OK;
	require(any || r.at == start.at);

	r = start;
	if (cbor_map_open(&r, &map) != OK)
		return;
	for (bool more = true; more;)
		if (cbor_map_next(&r, &map, &more, &value) != OK || (more && cbor_read_any(&r, &span) != OK))
			return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = span_of(data, size);
	if (cbor_validate(bytes) == OK)
		check_accepted(bytes);
	(void)!cbor_well_formed(bytes);
	try_readers(bytes);
	return 0;
}
