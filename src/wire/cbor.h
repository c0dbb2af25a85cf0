/*
 * Deterministically encoded CBOR (RFC 8949 section 4.2.1), the subset Troth uses: unsigned and negative
 * integers, byte and text strings, arrays, maps, tags, false, true, null. Floats, undefined, other simple
 * values and indefinite lengths are refused (BAD_TYPE / NOT_DETERMINISTIC); integers and lengths must be in
 * shortest form; map keys must be strictly ascending in the bytewise order of their encodings.
 *
 * Reading borrows: strings are spans into the input. Nothing is allocated, whatever lengths are declared: a
 * count is never larger than the bytes that are left.
 */
#ifndef TROTH_WIRE_CBOR_H
#define TROTH_WIRE_CBOR_H

#include "base/reader.h"
#include "base/writer.h"

enum cbor_type {
	CBOR_UINT,
	CBOR_NINT,
	CBOR_BYTES,
	CBOR_TEXT,
	CBOR_ARRAY,
	CBOR_MAP,
	CBOR_TAG,
	CBOR_BOOL,
	CBOR_NULL,
};

enum { CBOR_MAX_DEPTH = 16 };

/* Looks at the next item's type without consuming it. TRUNCATED, BAD_TYPE. */
NODISCARD result cbor_peek(const struct reader *r, enum cbor_type *out);

/* Each consumes exactly one item (or one header, for array, map and tag). On failure *r is unchanged. */
NODISCARD result cbor_read_uint(struct reader *r, uint64_t *out);
NODISCARD result cbor_read_int(struct reader *r, int64_t *out); /* either sign; BAD_VALUE outside int64 */
NODISCARD result cbor_read_bytes(struct reader *r, struct span *out);
NODISCARD result cbor_read_bytes_fixed(struct reader *r, void *out, size_t len); /* BAD_VALUE on another length */
NODISCARD result cbor_read_text(struct reader *r, struct span *out); /* valid UTF-8, else BAD_UTF8 */
NODISCARD result cbor_read_bool(struct reader *r, bool *out);
NODISCARD result cbor_read_null(struct reader *r);
NODISCARD result cbor_read_tag(struct reader *r, uint64_t *out);
NODISCARD result cbor_read_array(struct reader *r, size_t *out_count);
NODISCARD result cbor_read_map(struct reader *r, size_t *out_pairs);

/* Consumes one whole item of any allowed type, checking all of it; gives its encoded bytes. */
NODISCARD result cbor_read_any(struct reader *r, struct span *out_encoded);

/* Walks a map: checks the strict order of keys. See cbor_map_next. */
struct cbor_map {
	size_t left;
	struct span previous_key; /* encoded */
};
NODISCARD result cbor_map_open(struct reader *r, struct cbor_map *out);
/*
 * Reads the next key, which must be an integer (of either sign), greater in encoded order than the last.
 * *out_more = false and no key at the end. DUPLICATE_KEY, NOT_DETERMINISTIC (order), BAD_TYPE.
 */
NODISCARD result cbor_map_next(struct reader *r, struct cbor_map *map, bool *out_more, int64_t *out_key);
/* The same for text keys. */
NODISCARD result cbor_map_next_text(struct reader *r, struct cbor_map *map, bool *out_more, struct span *out_key);

/* OK iff `bytes` is exactly one well-formed, deterministic item of the subset, nested <= CBOR_MAX_DEPTH. */
NODISCARD result cbor_validate(struct span bytes);

/* The same walk over any well-formed CBOR (RFC 8949 section 3 and appendix C): used only by tests and inspect. */
NODISCARD result cbor_well_formed(struct span bytes);

/*
 * For generic COSE only: a head whose argument need not be in its shortest form (lengths must be definite), and
 * one whole well-formed item. Strings that follow a head are taken with reader_take.
 */
NODISCARD result cbor_lenient_head(struct reader *r, enum cbor_type *out_type, uint64_t *out_argument);
NODISCARD result cbor_lenient_any(struct reader *r, struct span *out_encoded);

/* Writing; the caller puts the keys of a map in ascending encoded order (the tests of each encoder validate). */
void cbor_put_uint(struct writer *w, uint64_t value);
void cbor_put_int(struct writer *w, int64_t value);
void cbor_put_bytes(struct writer *w, struct span bytes);
void cbor_put_text(struct writer *w, struct span text);
void cbor_put_str(struct writer *w, const char *text);
void cbor_put_bool(struct writer *w, bool value);
void cbor_put_null(struct writer *w);
void cbor_put_tag(struct writer *w, uint64_t tag);
void cbor_put_array(struct writer *w, size_t count);
void cbor_put_map(struct writer *w, size_t pairs);

/* Encoded size of a head with this argument (1, 2, 3, 5 or 9). */
size_t cbor_head_size(uint64_t argument);

/* RFC 8949 section 8 diagnostic notation of one item, for people; never fails on validated input. */
void cbor_diagnose(struct span item, struct writer *out);

#endif
