#include "object/schema.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

static const struct field digest32_fields[] = {F_FIXED(struct digest32, 1, bytes)};
const struct schema digest32_schema = SCHEMA(struct digest32, "digest", SHAPE_BARE, digest32_fields);
static const struct field text_item_fields[] = {F_TEXT(struct text_item, 1, text, 0, 4096)};
const struct schema text_item_schema = SCHEMA(struct text_item, "text", SHAPE_BARE, text_item_fields);
static const struct field bytes_item_fields[] = {F_BYTES(struct bytes_item, 1, bytes, 1, 16 << 20)};
const struct schema bytes_item_schema = SCHEMA(struct bytes_item, "bytes", SHAPE_BARE, bytes_item_fields);

static const void *member(const void *object, size_t offset)
{
	return (const uint8_t *)object + offset;
}

static void *member_out(void *object, size_t offset)
{
	return (uint8_t *)object + offset;
}

static uint64_t uint_limit(const struct field *field)
{
	if (field->max)
		return field->max;
	return field->size == 8 ? UINT64_MAX : ((uint64_t)1 << (8 * field->size)) - 1;
}

static uint64_t load_uint(const void *at, size_t size)
{
	switch (size) {
	case 1: return *(const uint8_t *)at;
	case 2: return *(const uint16_t *)at;
	case 4: return *(const uint32_t *)at;
	default: return *(const uint64_t *)at;
	}
}

static void store_uint(void *at, size_t size, uint64_t value)
{
	switch (size) {
	case 1: *(uint8_t *)at = (uint8_t)value; break;
	case 2: *(uint16_t *)at = (uint16_t)value; break;
	case 4: *(uint32_t *)at = (uint32_t)value; break;
	default: *(uint64_t *)at = value; break;
	}
}

static bool is_present(const struct field *field, const void *object)
{
	return !(field->flags & FIELD_OPTIONAL) || *(const bool *)member(object, field->present_at);
}

/* Of a field that has no bool beside it. */
static bool says_something(const struct field *field, const void *object)
{
	const void *at = member(object, field->offset);
	switch (field->type) {
	case FIELD_BOOL: return *(const bool *)at;
	case FIELD_BYTES:
	case FIELD_ANY: return ((const struct span *)at)->len != 0;
	case FIELD_TEXT: return *(const char *const *)at != NULL;
	case FIELD_LIST: return *(const size_t *)member(object, field->count_at) != 0;
	case FIELD_UINT:
	case FIELD_FIXED:
	case FIELD_STRUCT: break; /* every value of these says something */
	}
	return true;
}

static bool is_left_out(const struct field *field, const void *object)
{
	if (!(field->flags & FIELD_ABSENT))
		return false;
	return field->flags & FIELD_OPTIONAL ? !is_present(field, object) : !says_something(field, object);
}

static void leave_out(const struct field *field, void *object)
{
	void *at = member_out(object, field->offset);
	if (field->flags & FIELD_OPTIONAL)
		*(bool *)member_out(object, field->present_at) = false;
	else if (field->type == FIELD_BOOL)
		*(bool *)at = false;
	else if (field->type == FIELD_BYTES || field->type == FIELD_ANY)
		*(struct span *)at = SPAN_EMPTY;
	else if (field->type == FIELD_TEXT)
		*(const char **)at = NULL;
	else if (field->type == FIELD_LIST)
		*(size_t *)member_out(object, field->count_at) = 0;
}

/* ---- Versions -------------------------------------------------------------------------------- */

static bool has_version(const struct schema *schema, uint64_t version)
{
	const struct field *first = &schema->fields[0];
	return (first->flags & FIELD_VERSION) && first->max == version;
}

/* The table of `version`; the newest one, which will refuse it, when there is none. */
static const struct schema *table_of_version(const struct schema *newest, uint64_t version)
{
	for (const struct schema *schema = newest; schema; schema = schema->older)
		if (has_version(schema, version))
			return schema;
	return newest;
}

static const struct schema *table_to_write(const struct schema *schema, const void *object)
{
	return schema->older ? table_of_version(schema, load_uint(member(object, schema->fields[0].offset), schema->fields[0].size)) :
			       schema;
}

/* Looks ahead at the version, which stands behind the first key; what is no such structure is left to the newest table. */
static const struct schema *table_to_read(const struct schema *schema, const struct reader *r)
{
	struct reader ahead = *r;
	uint64_t key = 0, version;
	size_t count;
	if (!schema->older || cbor_read_map(&ahead, &count) != OK || cbor_read_uint(&ahead, &key) != OK ||
		key != schema->fields[0].key || cbor_read_uint(&ahead, &version) != OK)
		return schema;
	return table_of_version(schema, version);
}

/* ---- Encoding -------------------------------------------------------------------------------- */

static void put_list(const struct field *field, const void *object, struct writer *w)
{
	const uint8_t *items = *(const uint8_t *const *)member(object, field->offset);
	size_t count = *(const size_t *)member(object, field->count_at);
	if (count < field->min || (field->max && count > field->max)) {
		writer_fail(w, BAD_VALUE);
		return;
	}
	cbor_put_array(w, count);
	struct span previous = SPAN_EMPTY;
	for (size_t i = 0; i < count && w->failed == OK; i++) {
		size_t start = w->len;
		schema_put(field->sub, items + i * field->sub->struct_size, w);
		if (w->failed != OK)
			return;
		/* A growing writer may have moved: positions, not pointers, are kept. */
		struct span current = span_of(w->data + start, w->len - start);
		if ((field->flags & FIELD_SORTED) && i > 0) {
			previous.data = w->data + start - previous.len;
			if (span_compare(previous, current) >= 0)
				writer_fail(w, BAD_VALUE);
		}
		previous = current;
	}
}

static void put_field(const struct field *field, const void *object, struct writer *w)
{
	const void *at = member(object, field->offset);
	if (!is_present(field, object)) {
		cbor_put_null(w);
		return;
	}
	switch (field->type) {
	case FIELD_UINT: {
		uint64_t value = load_uint(at, field->size);
		if (value > uint_limit(field) || ((field->flags & FIELD_VERSION) && value != field->max))
			writer_fail(w, BAD_VALUE);
		cbor_put_uint(w, value);
		return;
	}
	case FIELD_BOOL: cbor_put_bool(w, *(const bool *)at); return;
	case FIELD_FIXED: cbor_put_bytes(w, span_of(at, field->size)); return;
	case FIELD_BYTES: {
		const struct span *bytes = at;
		if (bytes->len < field->min || bytes->len > field->max)
			writer_fail(w, BAD_VALUE);
		cbor_put_bytes(w, *bytes);
		return;
	}
	case FIELD_TEXT: {
		const char *text = *(const char *const *)at;
		size_t len = text ? strlen(text) : 0;
		if (!text || len < field->min || len > field->max)
			writer_fail(w, BAD_VALUE);
		else
			cbor_put_str(w, text);
		return;
	}
	case FIELD_STRUCT: schema_put(field->sub, at, w); return;
	case FIELD_LIST: put_list(field, object, w); return;
	case FIELD_ANY: writer_span(w, *(const struct span *)at); return;
	}
}

static size_t count_present(const struct schema *schema, const void *object)
{
	size_t count = 0;
	for (size_t i = 0; i < schema->field_count; i++)
		count += !is_left_out(&schema->fields[i], object);
	return count;
}

void schema_put(const struct schema *schema, const void *object, struct writer *w)
{
	schema = table_to_write(schema, object);
	if (schema->shape == SHAPE_MAP)
		cbor_put_map(w, count_present(schema, object));
	else if (schema->shape == SHAPE_ARRAY)
		cbor_put_array(w, schema->field_count);
	for (size_t i = 0; i < schema->field_count; i++) {
		if (is_left_out(&schema->fields[i], object))
			continue;
		if (schema->shape == SHAPE_MAP)
			cbor_put_uint(w, schema->fields[i].key);
		put_field(&schema->fields[i], object, w);
	}
}

enum { ENCODE_MAX = 256 << 20 };

result schema_encode(const struct schema *schema, const void *object, struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(ENCODE_MAX);
	schema_put(schema, object, &w);
	if (w.failed != OK)
		return fail(w.failed, "cannot encode a %s", schema->name);
	return writer_take(&w, out);
}

/* ---- Decoding -------------------------------------------------------------------------------- */

static result read_text(const struct field *field, struct reader *r, struct arena *arena, void *at)
{
	struct span text;
	TRY(cbor_read_text(r, &text));
	if (text.len < field->min || text.len > field->max)
		return fail(BAD_VALUE, "a text of %zu bytes", text.len);
	if (text.len && memchr(text.data, 0, text.len))
		return fail(BAD_VALUE, "a text with a NUL in it");
	return arena_string(arena, text, (const char **)at);
}

static result read_list(const struct field *field, struct reader *r, struct arena *arena, void *object)
{
	size_t count;
	TRY(cbor_read_array(r, &count));
	if (count < field->min || (field->max && count > field->max))
		return fail(BAD_VALUE, "%zu elements", count);
	/* cbor_read_array bounds count by the bytes that are left; the arena bounds what elements may cost. */
	void *items = NULL;
	if (count)
		TRY(arena_alloc(arena, count, field->sub->struct_size, &items));
	struct span previous = SPAN_EMPTY;
	for (size_t i = 0; i < count; i++) {
		const uint8_t *start = r->at;
		TRY(schema_read(field->sub, r, arena, (uint8_t *)items + i * field->sub->struct_size));
		struct span current = span_of(start, (size_t)(r->at - start));
		if ((field->flags & FIELD_SORTED) && i > 0 && span_compare(previous, current) >= 0)
			return fail(NOT_DETERMINISTIC, "element %zu is not in strictly ascending order", i);
		previous = current;
	}
	*(void **)member_out(object, field->offset) = items;
	*(size_t *)member_out(object, field->count_at) = count;
	return OK;
}

static result read_value(const struct field *field, struct reader *r, struct arena *arena, void *object)
{
	void *at = member_out(object, field->offset);
	switch (field->type) {
	case FIELD_UINT: {
		uint64_t value;
		TRY(cbor_read_uint(r, &value));
		if ((field->flags & FIELD_VERSION) && value != field->max)
			return fail(UNKNOWN_VERSION, "version %llu", (unsigned long long)value);
		if (value > uint_limit(field))
			return fail(BAD_VALUE, "%llu is too large", (unsigned long long)value);
		store_uint(at, field->size, value);
		return OK;
	}
	case FIELD_BOOL: return cbor_read_bool(r, at);
	case FIELD_FIXED: return cbor_read_bytes_fixed(r, at, field->size);
	case FIELD_BYTES: {
		struct span bytes;
		TRY(cbor_read_bytes(r, &bytes));
		if (bytes.len < field->min || bytes.len > field->max)
			return fail(BAD_VALUE, "%zu bytes", bytes.len);
		*(struct span *)at = bytes;
		return OK;
	}
	case FIELD_TEXT: return read_text(field, r, arena, at);
	case FIELD_STRUCT: return schema_read(field->sub, r, arena, at);
	case FIELD_LIST: return read_list(field, r, arena, object);
	case FIELD_ANY: {
		struct span item;
		TRY(cbor_read_any(r, &item));
		if (item.len > field->max)
			return fail(TOO_LARGE, "an item of %zu bytes", item.len);
		*(struct span *)at = item;
		return OK;
	}
	}
	return fail(INTERNAL, "unknown field type");
}

static result read_field(const struct field *field, struct reader *r, struct arena *arena, void *object)
{
	if (field->flags & FIELD_ABSENT) {
		TRY(read_value(field, r, arena, object));
		if (field->type == FIELD_BOOL ? !*(const bool *)member(object, field->offset) : !(field->flags & FIELD_OPTIONAL) && is_left_out(field, object))
			return fail(NOT_DETERMINISTIC, "what says nothing is left out");
		if (field->flags & FIELD_OPTIONAL)
			*(bool *)member_out(object, field->present_at) = true;
		return OK;
	}
	if (field->flags & FIELD_OPTIONAL) {
		enum cbor_type type;
		TRY(cbor_peek(r, &type));
		*(bool *)member_out(object, field->present_at) = type != CBOR_NULL;
		if (type == CBOR_NULL)
			return cbor_read_null(r);
	}
	return read_value(field, r, arena, object);
}

static result expect_key(const struct schema *schema, const struct field *field, struct reader *r)
{
	uint64_t key;
	TRY(cbor_read_uint(r, &key));
	if (key == field->key)
		return OK;
	for (size_t i = 0; i < schema->field_count; i++)
		if (schema->fields[i].key == key)
			return key > field->key ? fail(MISSING_FIELD, "key %u is missing", field->key) :
						  fail(NOT_DETERMINISTIC, "key %u stands twice or out of order", (unsigned)key);
	return fail(UNKNOWN_FIELD, "key %llu", (unsigned long long)key);
}

/* How many fields are always there. */
static size_t count_required(const struct schema *schema)
{
	size_t count = 0;
	for (size_t i = 0; i < schema->field_count; i++)
		count += !(schema->fields[i].flags & FIELD_ABSENT);
	return count;
}

static result read_header(const struct schema *schema, struct reader *r, size_t *out_count)
{
	size_t count = 1, required = count_required(schema);
	if (schema->shape == SHAPE_MAP)
		TRY(cbor_read_map(r, &count));
	else if (schema->shape == SHAPE_ARRAY)
		TRY(cbor_read_array(r, &count));
	if (count < required)
		return fail(MISSING_FIELD, "%zu fields, expected %zu", count, required);
	if (count > schema->field_count)
		return fail(UNKNOWN_FIELD, "%zu fields, expected %zu", count, schema->field_count);
	*out_count = count;
	return OK;
}

/* Is this field, which may be left out, not the next one? */
static bool is_skipped(const struct field *field, const struct reader *r, size_t left)
{
	struct reader ahead = *r;
	uint64_t key = 0;
	if (!(field->flags & FIELD_ABSENT))
		return false;
	return left == 0 || (cbor_read_uint(&ahead, &key) == OK && key > field->key);
}

static result read_fields(const struct schema *schema, struct reader *r, struct arena *arena, size_t left, void *out)
{
	for (size_t i = 0; i < schema->field_count; i++) {
		const struct field *field = &schema->fields[i];
		if (is_skipped(field, r, left)) {
			leave_out(field, out);
			continue;
		}
		if (left == 0)
			return fail(MISSING_FIELD, "%s.%s: key %u is missing", schema->name, field->name, field->key);
		left--;
		result read = schema->shape == SHAPE_MAP ? expect_key(schema, field, r) : OK;
		if (read == OK)
			read = read_field(field, r, arena, out);
		if (read != OK)
			return fail_within(read, "%s.%s", schema->name, field->name);
	}
	return left == 0 ? OK : fail(UNKNOWN_FIELD, "%s: %zu fields more than it has", schema->name, left);
}

result schema_read(const struct schema *schema, struct reader *r, struct arena *arena, void *out)
{
	size_t count;
	schema = table_to_read(schema, r);
	result header = read_header(schema, r, &count);
	if (header != OK)
		return fail_within(header, "%s", schema->name);
	return read_fields(schema, r, arena, count, out);
}

result schema_decode(const struct schema *schema, struct span bytes, struct arena *arena, void *out)
{
	struct reader r = reader_of(bytes);
	void *object;
	/* Decoded aside, so that `out` is untouched on failure. */
	TRY(arena_alloc(arena, 1, schema->struct_size, &object));
	TRY(schema_read(schema, &r, arena, object));
	if (reader_left(&r))
		return fail(TRAILING_BYTES, "%s: %zu bytes after its end", schema->name, reader_left(&r));
	memcpy(out, object, schema->struct_size);
	return OK;
}

/* ---- Sorting --------------------------------------------------------------------------------- */

struct sort_row {
	size_t index;
	struct bytes encoding;
};

static int compare_rows(const void *a, const void *b)
{
	const struct sort_row *x = a, *y = b;
	return span_compare(bytes_span(&x->encoding), bytes_span(&y->encoding));
}

static result sort_rows(const struct schema *element, void *items, size_t count, struct sort_row *rows)
{
	for (size_t i = 0; i < count; i++) {
		rows[i].index = i;
		TRY(schema_encode(element, (const uint8_t *)items + i * element->struct_size, &rows[i].encoding));
	}
	qsort(rows, count, sizeof(*rows), compare_rows);
	for (size_t i = 1; i < count; i++)
		if (compare_rows(&rows[i - 1], &rows[i]) == 0)
			return fail(BAD_VALUE, "two equal elements of a list of %s", element->name);
	CLEANUP(bytes_free) struct bytes copy = BYTES_EMPTY;
	TRY(bytes_copy(span_of(items, count * element->struct_size), &copy));
	for (size_t i = 0; i < count; i++)
		memcpy((uint8_t *)items + i * element->struct_size, copy.data + rows[i].index * element->struct_size,
			element->struct_size);
	return OK;
}

result schema_sort(const struct schema *element, void *items, size_t count)
{
	if (count < 2)
		return OK;
	struct sort_row *rows = calloc(count, sizeof(*rows));
	if (!rows)
		return fail(NO_MEMORY, "%zu elements", count);
	result sorted = sort_rows(element, items, count, rows);
	for (size_t i = 0; i < count; i++)
		bytes_free(&rows[i].encoding);
	free(rows);
	return sorted;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *hex_json(struct span bytes)
{
	static const char digits[] = "0123456789abcdef";
	enum { SHOWN = 4096 };
	char text[2 * SHOWN + 4];
	size_t shown = bytes.len < SHOWN ? bytes.len : SHOWN;
	for (size_t i = 0; i < shown; i++) {
		text[2 * i] = digits[bytes.data[i] >> 4];
		text[2 * i + 1] = digits[bytes.data[i] & 15];
	}
	snprintf(text + 2 * shown, 4, "%s", shown < bytes.len ? "..." : "");
	return json_string(text);
}

static json_t *uint_json(const struct field *field, const void *at)
{
	uint64_t value = load_uint(at, field->size);
	if (!(field->flags & FIELD_TIME))
		return json_integer((json_int_t)value);
	char text[CLOCK_TEXT_SIZE];
	clock_format(value, text);
	return json_string(text);
}

static json_t *list_json(const struct field *field, const void *object)
{
	const uint8_t *items = *(const uint8_t *const *)member(object, field->offset);
	size_t count = *(const size_t *)member(object, field->count_at);
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, schema_json(field->sub, items + i * field->sub->struct_size));
	return list;
}

static json_t *field_json(const struct field *field, const void *object)
{
	const void *at = member(object, field->offset);
	if (!is_present(field, object))
		return json_null();
	switch (field->type) {
	case FIELD_UINT: return uint_json(field, at);
	case FIELD_BOOL: return json_boolean(*(const bool *)at);
	case FIELD_FIXED: return hex_json(span_of(at, field->size));
	case FIELD_BYTES:
	case FIELD_ANY: return hex_json(*(const struct span *)at);
	case FIELD_TEXT: return json_string(*(const char *const *)at);
	case FIELD_STRUCT: return schema_json(field->sub, at);
	case FIELD_LIST: return list_json(field, object);
	}
	return NULL;
}

json_t *schema_json(const struct schema *schema, const void *object)
{
	if (schema->shape == SHAPE_BARE)
		return field_json(&schema->fields[0], object);
	schema = table_to_write(schema, object);
	json_t *map = json_object();
	for (size_t i = 0; i < schema->field_count; i++)
		if (!is_left_out(&schema->fields[i], object))
			json_object_set_new(map, schema->fields[i].name, field_json(&schema->fields[i], object));
	return map;
}
