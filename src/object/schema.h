/*
 * One codec for every structure that Troth writes in CBOR. A structure is described once, by a table of
 * fields; encoding, strict decoding and rendering as JSON all walk that table, so a format cannot be written
 * in one way and read in another.
 *
 * On the wire a structure is a map with small unsigned integer keys in ascending order (SHAPE_MAP), a fixed-length
 * array (SHAPE_ARRAY) or, with one field, that field alone (SHAPE_BARE). Every field is always present; an optional
 * one is null when it has no value. One that came to a format later (FIELD_ABSENT, maps only) is left out when it has none,
 * so that what was written before keeps its bytes; null in its place is refused. Decoding refuses unknown, missing and repeated keys, wrong types, values out of
 * range, unsorted lists and leftovers. It allocates from an arena, never from a declared length; spans in the
 * decoded structure borrow from the input.
 *
 * How a field is held in the C structure:
 *   FIELD_UINT    uint8_t, uint16_t, uint32_t or uint64_t (told by `size`); `max` bounds the value (0: by its width)
 *   FIELD_BOOL    bool
 *   FIELD_FIXED   uint8_t[size]
 *   FIELD_BYTES   struct span of `min`..`max` bytes
 *   FIELD_TEXT    const char *, NUL-terminated, `min`..`max` bytes of UTF-8 without NUL
 *   FIELD_STRUCT  an embedded structure described by `sub`
 *   FIELD_LIST    a pointer to `count` elements described by `sub`, with `min`..`max` elements
 *   FIELD_ANY     struct span: one encoded CBOR item, carried as it is
 * An optional field has a `bool` beside it that says whether it is there.
 *
 * A structure with several versions has one table for each, newest first, linked by `older`; the FIELD_VERSION that comes
 * first in each decides which one applies, when reading and when writing. Members that a version lacks stay zero.
 */
#ifndef TROTH_OBJECT_SCHEMA_H
#define TROTH_OBJECT_SCHEMA_H

#include "base/arena.h"
#include "base/writer.h"
#include "wire/cbor.h"

#include <jansson.h>

enum field_type { FIELD_UINT, FIELD_BOOL, FIELD_FIXED, FIELD_BYTES, FIELD_TEXT, FIELD_STRUCT, FIELD_LIST, FIELD_ANY };

enum field_flags {
	FIELD_OPTIONAL = 1, /* null on the wire when *present is false */
	FIELD_SORTED = 2,   /* list elements strictly ascending in encoded order */
	FIELD_TIME = 4,	    /* milliseconds since 1970: shown as a date */
	FIELD_VERSION = 8,  /* exactly `max`, else UNKNOWN_VERSION */
	/* Key and value are left out: with FIELD_OPTIONAL when *present is false, else when the value says nothing, that is when it
	   is false, an empty list, an empty span or a NULL text. What stands there must say something. */
	FIELD_ABSENT = 16,
};

struct field {
	uint8_t key; /* 0..23: one byte on the wire */
	const char *name;
	enum field_type type;
	unsigned flags;
	size_t offset;
	size_t size;	   /* of the member: FIELD_UINT, FIELD_FIXED */
	size_t count_at;   /* FIELD_LIST: offset of the size_t count */
	size_t present_at; /* FIELD_OPTIONAL: offset of the bool */
	uint64_t min, max;
	const struct schema *sub;
};

enum schema_shape { SHAPE_MAP, SHAPE_ARRAY, SHAPE_BARE };

struct schema {
	const char *name;
	enum schema_shape shape;
	size_t struct_size;
	const struct field *fields;
	size_t field_count;
	const struct schema *older; /* the table of the version before, of the same C structure; NULL: there is none */
};

#define MEMBER_SIZE_(type, member) sizeof(((type *)0)->member)

/* Rows of a field table. `T` is the structure's type; optional rows name the bool beside the member. */
#define F_UINT(T, k, member, limit) {.key = k, .name = #member, .type = FIELD_UINT, .offset = offsetof(T, member), .size = MEMBER_SIZE_(T, member), .max = limit}
#define F_VERSION(T, k, member, number) {.key = k, .name = #member, .type = FIELD_UINT, .flags = FIELD_VERSION, .offset = offsetof(T, member), .size = MEMBER_SIZE_(T, member), .max = number}
#define F_TIME(T, k, member) {.key = k, .name = #member, .type = FIELD_UINT, .flags = FIELD_TIME, .offset = offsetof(T, member), .size = MEMBER_SIZE_(T, member)}
#define F_BOOL(T, k, member) {.key = k, .name = #member, .type = FIELD_BOOL, .offset = offsetof(T, member)}
#define F_FIXED(T, k, member) {.key = k, .name = #member, .type = FIELD_FIXED, .offset = offsetof(T, member), .size = MEMBER_SIZE_(T, member)}
#define F_FIXED_OR_NULL(T, k, member, there) {.key = k, .name = #member, .type = FIELD_FIXED, .flags = FIELD_OPTIONAL, .offset = offsetof(T, member), .size = MEMBER_SIZE_(T, member), .present_at = offsetof(T, there)}
#define F_BYTES(T, k, member, least, most) {.key = k, .name = #member, .type = FIELD_BYTES, .offset = offsetof(T, member), .min = least, .max = most}
#define F_BYTES_OR_NULL(T, k, member, there, least, most) {.key = k, .name = #member, .type = FIELD_BYTES, .flags = FIELD_OPTIONAL, .offset = offsetof(T, member), .min = least, .max = most, .present_at = offsetof(T, there)}
#define F_TEXT(T, k, member, least, most) {.key = k, .name = #member, .type = FIELD_TEXT, .offset = offsetof(T, member), .min = least, .max = most}
#define F_TEXT_OR_NULL(T, k, member, there, least, most) {.key = k, .name = #member, .type = FIELD_TEXT, .flags = FIELD_OPTIONAL, .offset = offsetof(T, member), .min = least, .max = most, .present_at = offsetof(T, there)}
#define F_STRUCT(T, k, member, schema) {.key = k, .name = #member, .type = FIELD_STRUCT, .offset = offsetof(T, member), .sub = schema}
#define F_STRUCT_OR_NULL(T, k, member, there, schema) {.key = k, .name = #member, .type = FIELD_STRUCT, .flags = FIELD_OPTIONAL, .offset = offsetof(T, member), .sub = schema, .present_at = offsetof(T, there)}
#define F_LIST(T, k, member, count, schema, list_flags, least, most) {.key = k, .name = #member, .type = FIELD_LIST, .flags = list_flags, .offset = offsetof(T, member), .count_at = offsetof(T, count), .min = least, .max = most, .sub = schema}
/* Fields that came later; a flag is either true or left out. */
#define F_FLAG_OR_ABSENT(T, k, member) {.key = k, .name = #member, .type = FIELD_BOOL, .flags = FIELD_ABSENT, .offset = offsetof(T, member)}
#define F_LIST_OR_ABSENT(T, k, member, count, there, schema, list_flags, least, most) {.key = k, .name = #member, .type = FIELD_LIST, .flags = FIELD_OPTIONAL | FIELD_ABSENT | (list_flags), .offset = offsetof(T, member), .count_at = offsetof(T, count), .min = least, .max = most, .sub = schema, .present_at = offsetof(T, there)}
#define F_TEXT_OR_ABSENT(T, k, member, there, least, most) {.key = k, .name = #member, .type = FIELD_TEXT, .flags = FIELD_OPTIONAL | FIELD_ABSENT, .offset = offsetof(T, member), .min = least, .max = most, .present_at = offsetof(T, there)}
#define F_BYTES_OR_ABSENT(T, k, member, there, least, most) {.key = k, .name = #member, .type = FIELD_BYTES, .flags = FIELD_OPTIONAL | FIELD_ABSENT, .offset = offsetof(T, member), .min = least, .max = most, .present_at = offsetof(T, there)}
/* The same without a bool beside it: an empty list, an empty span, a NULL text are left out. */
#define F_TEXT_ABSENT(T, k, member, least, most) {.key = k, .name = #member, .type = FIELD_TEXT, .flags = FIELD_ABSENT, .offset = offsetof(T, member), .min = least, .max = most}
#define F_BYTES_ABSENT(T, k, member, least, most) {.key = k, .name = #member, .type = FIELD_BYTES, .flags = FIELD_ABSENT, .offset = offsetof(T, member), .min = least, .max = most}
#define F_LIST_ABSENT(T, k, member, count, schema, list_flags, least, most) {.key = k, .name = #member, .type = FIELD_LIST, .flags = FIELD_ABSENT | (list_flags), .offset = offsetof(T, member), .count_at = offsetof(T, count), .min = least, .max = most, .sub = schema}
#define F_ANY(T, k, member, most) {.key = k, .name = #member, .type = FIELD_ANY, .offset = offsetof(T, member), .max = most}

#define SCHEMA(T, schema_name, schema_shape, table) {.name = schema_name, .shape = schema_shape, .struct_size = sizeof(T), .fields = table, .field_count = COUNT_OF(table)}

/* Appends the encoding. A value that the table forbids makes the writer fail (BAD_VALUE). */
void schema_put(const struct schema *schema, const void *object, struct writer *w);
NODISCARD result schema_encode(const struct schema *schema, const void *object, struct bytes *out);

/* Reads one structure; the rest of the reader is left. The context of a failure names the field: "report.launch.name: ...". */
NODISCARD result schema_read(const struct schema *schema, struct reader *r, struct arena *arena, void *out);
/* Reads one structure that fills `bytes` exactly. */
NODISCARD result schema_decode(const struct schema *schema, struct span bytes, struct arena *arena, void *out);

/* Puts `items` into the ascending encoded order that FIELD_SORTED asks for. BAD_VALUE when two are equal. */
NODISCARD result schema_sort(const struct schema *element, void *items, size_t count);

/* For people: bytes as hex, times as dates. The caller owns the reference; NULL when memory ran out. */
json_t *schema_json(const struct schema *schema, const void *object);

/* Ready-made element schemas. */
struct digest32 {
	uint8_t bytes[32];
};
struct text_item {
	const char *text;
};
struct bytes_item {
	struct span bytes;
};
extern const struct schema digest32_schema; /* bare bstr of 32 */
extern const struct schema text_item_schema; /* bare tstr of 0..4096 */
extern const struct schema bytes_item_schema; /* bare bstr of 1..16 MiB */

#endif
