#include "wire/cbor.h"

#include "wire/text.h"

#include <inttypes.h>
#include <stdio.h>

enum { MAJOR_UINT, MAJOR_NINT, MAJOR_BYTES, MAJOR_TEXT, MAJOR_ARRAY, MAJOR_MAP, MAJOR_TAG, MAJOR_SIMPLE };
enum { SIMPLE_FALSE = 20, SIMPLE_TRUE = 21, SIMPLE_NULL = 22 };
enum { INFO_ONE_BYTE = 24, INFO_EIGHT_BYTES = 27, INFO_INDEFINITE = 31 };

/* The initial byte and argument of an item (RFC 8949 section 3). */
struct head {
	uint8_t major;
	uint8_t info;
	uint64_t argument;
};

/* Which rules a walk follows. */
enum rules { DETERMINISTIC, WELL_FORMED };

/* Smallest argument that may be written in 1, 2, 4, 8 bytes. */
static const uint64_t shortest[] = {24, 0x100, 0x10000, 0x100000000};

static result head_in_info_refused(uint8_t major, uint8_t info)
{
	if (info == INFO_INDEFINITE && (major == MAJOR_SIMPLE || (major >= MAJOR_BYTES && major <= MAJOR_MAP)))
		return fail(NOT_DETERMINISTIC, "an indefinite length");
	return fail(BAD_TYPE, "a reserved initial byte 0x%02x", major << 5 | info);
}

static result head_read_long(struct reader *r, enum rules rules, struct head *out)
{
	uint8_t major = *r->at >> 5, info = *r->at & 31;
	if (info > INFO_EIGHT_BYTES)
		return head_in_info_refused(major, info);
	size_t len = (size_t)1 << (info - INFO_ONE_BYTE);
	if (reader_left(r) - 1 < len)
		return fail(TRUNCATED, "the data ends within the head of an item");
	uint64_t argument = 0;
	for (size_t i = 1; i <= len; i++)
		argument = argument << 8 | r->at[i];
	if (major == MAJOR_SIMPLE) {
		if (rules == DETERMINISTIC)
			return fail(BAD_TYPE, "a floating-point number or simple value");
		if (info == INFO_ONE_BYTE && argument < 32)
			return fail(BAD_TYPE, "simple value %" PRIu64 " in two bytes", argument);
	} else if (rules == DETERMINISTIC && argument < shortest[info - INFO_ONE_BYTE]) {
		return fail(NOT_DETERMINISTIC, "%" PRIu64 " is not written in its shortest form", argument);
	}
	r->at += 1 + len;
	*out = (struct head){major, info, argument};
	return OK;
}

static inline result head_read(struct reader *r, enum rules rules, struct head *out)
{
	if (r->at == r->end)
		return fail(TRUNCATED, "an item is missing");
	uint8_t initial = *r->at, info = initial & 31;
	if (info >= INFO_ONE_BYTE)
		return head_read_long(r, rules, out);
	r->at++;
	*out = (struct head){initial >> 5, info, info};
	return OK;
}

static const char *major_name(uint8_t major)
{
	static const char *const names[] = {"an unsigned integer", "a negative integer", "a byte string", "a text string", "an array",
		"a map", "a tag", "a simple value"};
	return names[major & 7];
}

static inline result head_expect(struct reader *r, uint8_t major, uint64_t *out_argument)
{
	struct head head;
	TRY(head_read(r, DETERMINISTIC, &head));
	if (head.major != major)
		return fail(BAD_TYPE, "%s where %s is expected", major_name(head.major), major_name(major));
	*out_argument = head.argument;
	return OK;
}

result cbor_peek(const struct reader *r, enum cbor_type *out)
{
	if (r->at == r->end)
		return fail(TRUNCATED, "an item is missing");
	uint8_t major = *r->at >> 5, info = *r->at & 31;
	if (major != MAJOR_SIMPLE)
		*out = (enum cbor_type)major; /* the first seven of enum cbor_type are the major types */
	else if (info == SIMPLE_FALSE || info == SIMPLE_TRUE)
		*out = CBOR_BOOL;
	else if (info == SIMPLE_NULL)
		*out = CBOR_NULL;
	else
		return fail(BAD_TYPE, "a floating-point number or simple value");
	return OK;
}

result cbor_read_uint(struct reader *r, uint64_t *out)
{
	struct reader ahead = *r;
	TRY(head_expect(&ahead, MAJOR_UINT, out));
	*r = ahead;
	return OK;
}

result cbor_read_int(struct reader *r, int64_t *out)
{
	struct reader ahead = *r;
	struct head head;
	TRY(head_read(&ahead, DETERMINISTIC, &head));
	if (head.major > MAJOR_NINT)
		return fail(BAD_TYPE, "%s where an integer is expected", major_name(head.major));
	if (head.argument > INT64_MAX)
		return fail(BAD_VALUE, "an integer beyond 64 bits with sign");
	*out = head.major == MAJOR_UINT ? (int64_t)head.argument : -1 - (int64_t)head.argument;
	*r = ahead;
	return OK;
}

static result read_string(struct reader *r, uint8_t major, struct span *out)
{
	struct reader ahead = *r;
	uint64_t len;
	TRY(head_expect(&ahead, major, &len));
	if (len > reader_left(&ahead))
		return fail(TRUNCATED, "a string of %" PRIu64 " bytes, %zu left", len, reader_left(&ahead));
	struct span content = span_of(ahead.at, (size_t)len);
	if (major == MAJOR_TEXT && !utf8_valid(content))
		return fail(BAD_UTF8, "a text string");
	ahead.at += len;
	*r = ahead;
	*out = content;
	return OK;
}

result cbor_read_bytes(struct reader *r, struct span *out)
{
	return read_string(r, MAJOR_BYTES, out);
}

result cbor_read_bytes_fixed(struct reader *r, void *out, size_t len)
{
	struct reader ahead = *r;
	struct span content;
	TRY(read_string(&ahead, MAJOR_BYTES, &content));
	if (content.len != len)
		return fail(BAD_VALUE, "a byte string of %zu bytes where %zu are expected", content.len, len);
	if (len)
		memcpy(out, content.data, len);
	*r = ahead;
	return OK;
}

result cbor_read_text(struct reader *r, struct span *out)
{
	return read_string(r, MAJOR_TEXT, out);
}

static result read_simple(struct reader *r, uint64_t *out_value)
{
	TRY(head_expect(r, MAJOR_SIMPLE, out_value));
	return OK;
}

result cbor_read_bool(struct reader *r, bool *out)
{
	struct reader ahead = *r;
	uint64_t value;
	TRY(read_simple(&ahead, &value));
	if (value != SIMPLE_FALSE && value != SIMPLE_TRUE)
		return fail(BAD_TYPE, "simple value %" PRIu64 " where a boolean is expected", value);
	*r = ahead;
	*out = value == SIMPLE_TRUE;
	return OK;
}

result cbor_read_null(struct reader *r)
{
	struct reader ahead = *r;
	uint64_t value;
	TRY(read_simple(&ahead, &value));
	if (value != SIMPLE_NULL)
		return fail(BAD_TYPE, "simple value %" PRIu64 " where null is expected", value);
	*r = ahead;
	return OK;
}

result cbor_read_tag(struct reader *r, uint64_t *out)
{
	struct reader ahead = *r;
	TRY(head_expect(&ahead, MAJOR_TAG, out));
	*r = ahead;
	return OK;
}

/* Each element takes at least one byte: a count beyond that is refused before anybody loops over it. */
static result count_fits(const struct reader *r, uint64_t count, size_t bytes_each)
{
	if (count > reader_left(r) / bytes_each)
		return fail(TRUNCATED, "%" PRIu64 " elements declared, %zu bytes left", count, reader_left(r));
	return OK;
}

result cbor_read_array(struct reader *r, size_t *out_count)
{
	struct reader ahead = *r;
	uint64_t count;
	TRY(head_expect(&ahead, MAJOR_ARRAY, &count));
	TRY(count_fits(&ahead, count, 1));
	*r = ahead;
	*out_count = (size_t)count;
	return OK;
}

result cbor_read_map(struct reader *r, size_t *out_pairs)
{
	struct reader ahead = *r;
	uint64_t pairs;
	TRY(head_expect(&ahead, MAJOR_MAP, &pairs));
	TRY(count_fits(&ahead, pairs, 2));
	*r = ahead;
	*out_pairs = (size_t)pairs;
	return OK;
}

/* RFC 8949 section 4.2.1: keys in the bytewise order of their encodings. */
static result key_follows(struct span previous, struct span key)
{
	if (!previous.data)
		return OK;
	int order = span_compare(previous, key);
	if (order == 0)
		return fail(DUPLICATE_KEY, "a map key stands twice");
	if (order > 0)
		return fail(NOT_DETERMINISTIC, "map keys are not in order");
	return OK;
}

result cbor_map_open(struct reader *r, struct cbor_map *out)
{
	size_t pairs;
	TRY(cbor_read_map(r, &pairs));
	*out = (struct cbor_map){.left = pairs};
	return OK;
}

static result map_took_key(struct reader *r, struct reader ahead, struct cbor_map *map)
{
	struct span key = span_of(r->at, (size_t)(ahead.at - r->at));
	TRY(key_follows(map->previous_key, key));
	map->previous_key = key;
	map->left--;
	*r = ahead;
	return OK;
}

result cbor_map_next(struct reader *r, struct cbor_map *map, bool *out_more, int64_t *out_key)
{
	if (map->left == 0) {
		*out_more = false;
		return OK;
	}
	struct reader ahead = *r;
	int64_t key;
	TRY(cbor_read_int(&ahead, &key));
	TRY(map_took_key(r, ahead, map));
	*out_more = true;
	*out_key = key;
	return OK;
}

result cbor_map_next_text(struct reader *r, struct cbor_map *map, bool *out_more, struct span *out_key)
{
	if (map->left == 0) {
		*out_more = false;
		return OK;
	}
	struct reader ahead = *r;
	struct span key;
	TRY(cbor_read_text(&ahead, &key));
	TRY(map_took_key(r, ahead, map));
	*out_more = true;
	*out_key = key;
	return OK;
}

/* ---- One walk over a whole item --------------------------------------------------------------- */

/* A container whose content is being walked. */
struct frame {
	uint8_t major;
	bool indefinite;
	uint64_t left; /* items, two per pair of a map; when indefinite, counts up instead */
	const uint8_t *start;
	struct span previous_key;
};

struct walk {
	struct reader r;
	enum rules rules;
	size_t depth;
	struct frame frames[CBOR_MAX_DEPTH];
};

static result walk_push(struct walk *walk, struct frame frame)
{
	if (walk->depth == CBOR_MAX_DEPTH)
		return fail(TOO_DEEP, "items are nested deeper than %d", CBOR_MAX_DEPTH);
	walk->frames[walk->depth++] = frame;
	return OK;
}

/*
 * An item that began at `start` is complete: counts it in its container, and every container that is
 * complete by it in the one around that.
 */
static result walk_completed(struct walk *walk, const uint8_t *start)
{
	while (walk->depth > 0) {
		struct frame *top = &walk->frames[walk->depth - 1];
		bool was_key = top->major == MAJOR_MAP && top->left % 2 == 0;
		if (top->indefinite) {
			top->left++;
			return OK;
		}
		top->left--;
		if (was_key && walk->rules == DETERMINISTIC) {
			struct span key = span_of(start, (size_t)(walk->r.at - start));
			TRY(key_follows(top->previous_key, key));
			top->previous_key = key;
		}
		if (top->left > 0)
			return OK;
		start = top->start;
		walk->depth--;
	}
	return OK;
}

static result walk_string(struct walk *walk, const struct head *head)
{
	if (head->argument > reader_left(&walk->r))
		return fail(TRUNCATED, "a string of %" PRIu64 " bytes, %zu left", head->argument, reader_left(&walk->r));
	struct span content = span_of(walk->r.at, (size_t)head->argument);
	if (head->major == MAJOR_TEXT && walk->rules == DETERMINISTIC && !utf8_valid(content))
		return fail(BAD_UTF8, "a text string");
	walk->r.at += head->argument;
	return OK;
}

static result walk_simple(const struct walk *walk, const struct head *head)
{
	if (walk->rules == DETERMINISTIC && (head->argument < SIMPLE_FALSE || head->argument > SIMPLE_NULL))
		return fail(BAD_TYPE, "simple value %" PRIu64, head->argument);
	return OK;
}

/* Well-formed CBOR only: an item of indefinite length begins, or ends with a break (RFC 8949 section 3.2). */
static result walk_indefinite(struct walk *walk)
{
	const uint8_t *start = walk->r.at;
	uint8_t major = *start >> 5;
	walk->r.at++;
	if (major >= MAJOR_BYTES && major <= MAJOR_MAP)
		return walk_push(walk, (struct frame){.major = major, .indefinite = true, .start = start});
	struct frame *top = walk->depth ? &walk->frames[walk->depth - 1] : NULL;
	if (major != MAJOR_SIMPLE || !top || !top->indefinite || (top->major == MAJOR_MAP && top->left % 2 != 0))
		return fail(BAD_TYPE, "a break or a reserved initial byte 0x%02x out of place", *start);
	walk->depth--;
	return walk_completed(walk, top->start);
}

/* Inside a string of indefinite length only definite strings of the same type may stand. */
static result walk_chunk_allowed(const struct walk *walk, const struct head *head)
{
	const struct frame *top = walk->depth ? &walk->frames[walk->depth - 1] : NULL;
	if (top && top->major <= MAJOR_TEXT && head->major != top->major)
		return fail(BAD_TYPE, "%s within a string of indefinite length", major_name(head->major));
	return OK;
}

/* One head with what belongs to it. */
static result walk_step(struct walk *walk)
{
	const uint8_t *start = walk->r.at;
	if (walk->rules == WELL_FORMED && start != walk->r.end && (*start & 31) == INFO_INDEFINITE) {
		const struct frame *top = walk->depth ? &walk->frames[walk->depth - 1] : NULL;
		if (top && top->major <= MAJOR_TEXT && *start != 0xff)
			return fail(BAD_TYPE, "a string of indefinite length within another");
		return walk_indefinite(walk);
	}
	struct head head;
	TRY(head_read(&walk->r, walk->rules, &head));
	TRY(walk_chunk_allowed(walk, &head));
	uint64_t items = 0;
	switch (head.major) {
	case MAJOR_BYTES:
	case MAJOR_TEXT:
		TRY(walk_string(walk, &head));
		break;
	case MAJOR_ARRAY:
		TRY(count_fits(&walk->r, head.argument, 1));
		items = head.argument;
		break;
	case MAJOR_MAP:
		TRY(count_fits(&walk->r, head.argument, 2));
		items = 2 * head.argument;
		break;
	case MAJOR_TAG:
		items = 1;
		break;
	case MAJOR_SIMPLE:
		TRY(walk_simple(walk, &head));
		break;
	default:
		break;
	}
	if (items > 0)
		return walk_push(walk, (struct frame){.major = head.major, .left = items, .start = start});
	return walk_completed(walk, start);
}

static result walk_item(struct reader *r, enum rules rules, struct span *out_encoded)
{
	struct walk walk = {.r = *r, .rules = rules};
	do
		TRY(walk_step(&walk));
	while (walk.depth > 0);
	*out_encoded = span_of(r->at, (size_t)(walk.r.at - r->at));
	*r = walk.r;
	return OK;
}

result cbor_read_any(struct reader *r, struct span *out_encoded)
{
	return walk_item(r, DETERMINISTIC, out_encoded);
}

static result walk_whole(struct span bytes, enum rules rules)
{
	struct reader r = reader_of(bytes);
	struct span item;
	TRY(walk_item(&r, rules, &item));
	return reader_finish(&r);
}

result cbor_validate(struct span bytes)
{
	return walk_whole(bytes, DETERMINISTIC);
}

result cbor_well_formed(struct span bytes)
{
	return walk_whole(bytes, WELL_FORMED);
}

result cbor_lenient_any(struct reader *r, struct span *out_encoded)
{
	return walk_item(r, WELL_FORMED, out_encoded);
}

result cbor_lenient_head(struct reader *r, enum cbor_type *out_type, uint64_t *out_argument)
{
	struct reader ahead = *r;
	enum cbor_type type;
	struct head head;
	TRY(cbor_peek(&ahead, &type));
	TRY(head_read(&ahead, WELL_FORMED, &head));
	*r = ahead;
	*out_type = type;
	*out_argument = head.argument;
	return OK;
}

/* ---- Writing ---------------------------------------------------------------------------------- */

size_t cbor_head_size(uint64_t argument)
{
	if (argument < shortest[0])
		return 1;
	if (argument < shortest[1])
		return 2;
	if (argument < shortest[2])
		return 3;
	return argument < shortest[3] ? 5 : 9;
}

static void put_head(struct writer *w, uint8_t major, uint64_t argument)
{
	size_t size = cbor_head_size(argument);
	uint8_t *at = writer_reserve(w, size);
	if (!at)
		return;
	uint8_t first = (uint8_t)(major << 5);
	if (size == 1) {
		at[0] = (uint8_t)(first | argument);
		return;
	}
	at[0] = (uint8_t)(first | (INFO_ONE_BYTE + (size == 2 ? 0 : size == 3 ? 1 : size == 5 ? 2 : 3)));
	for (size_t i = size - 1; i > 0; i--, argument >>= 8)
		at[i] = (uint8_t)argument;
}

void cbor_put_uint(struct writer *w, uint64_t value)
{
	put_head(w, MAJOR_UINT, value);
}

void cbor_put_int(struct writer *w, int64_t value)
{
	if (value >= 0)
		put_head(w, MAJOR_UINT, (uint64_t)value);
	else
		put_head(w, MAJOR_NINT, ~(uint64_t)value);
}

void cbor_put_bytes(struct writer *w, struct span bytes)
{
	put_head(w, MAJOR_BYTES, bytes.len);
	writer_span(w, bytes);
}

void cbor_put_text(struct writer *w, struct span text)
{
	if (!utf8_valid(text)) {
		writer_fail(w, BAD_UTF8);
		return;
	}
	put_head(w, MAJOR_TEXT, text.len);
	writer_span(w, text);
}

void cbor_put_str(struct writer *w, const char *text)
{
	cbor_put_text(w, span_str(text));
}

void cbor_put_bool(struct writer *w, bool value)
{
	put_head(w, MAJOR_SIMPLE, value ? SIMPLE_TRUE : SIMPLE_FALSE);
}

void cbor_put_null(struct writer *w)
{
	put_head(w, MAJOR_SIMPLE, SIMPLE_NULL);
}

void cbor_put_tag(struct writer *w, uint64_t tag)
{
	put_head(w, MAJOR_TAG, tag);
}

void cbor_put_array(struct writer *w, size_t count)
{
	put_head(w, MAJOR_ARRAY, count);
}

void cbor_put_map(struct writer *w, size_t pairs)
{
	put_head(w, MAJOR_MAP, pairs);
}

/* ---- Diagnostic notation ---------------------------------------------------------------------- */

static void diagnose_bytes(struct span bytes, struct writer *out)
{
	writer_str(out, "h'");
	for (size_t i = 0; i < bytes.len; i++) {
		char digits[3];
		hex_encode(span_of(bytes.data + i, 1), digits);
		writer_str(out, digits);
	}
	writer_str(out, "'");
}

/* What a terminal would obey rather than show is escaped. */
static void diagnose_text(struct span text, struct writer *out)
{
	writer_u8(out, '"');
	const uint8_t *at = text.data, *end = at + text.len;
	while (at < end) {
		const uint8_t *start = at;
		uint32_t code = utf8_next(&at);
		char escape[16];
		if (code == '"' || code == '\\')
			snprintf(escape, sizeof(escape), "\\%c", (char)code);
		else if (!code_point_is_plain(code))
			snprintf(escape, sizeof(escape), "\\u%04x", code);
		else
			escape[0] = '\0';
		if (escape[0])
			writer_str(out, escape);
		else
			writer_put(out, start, (size_t)(at - start));
	}
	writer_u8(out, '"');
}

static void diagnose_number(const char *before, uint64_t value, const char *after, struct writer *out)
{
	char digits[32];
	snprintf(digits, sizeof(digits), "%" PRIu64, value);
	writer_str(out, before);
	writer_str(out, digits);
	writer_str(out, after);
}

static void diagnose_nint(uint64_t argument, struct writer *out)
{
	if (argument == UINT64_MAX) /* -1 - (2^64 - 1) */
		writer_str(out, "-18446744073709551616");
	else
		diagnose_number("-", argument + 1, "", out);
}

static result diagnose_item(struct reader *r, struct writer *out);

/* NOLINTNEXTLINE(misc-no-recursion): cbor_diagnose has validated the depth */
static result diagnose_list(struct reader *r, size_t count, bool pairs, struct writer *out)
{
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			writer_str(out, ", ");
		TRY(diagnose_item(r, out));
		if (!pairs)
			continue;
		writer_str(out, ": ");
		TRY(diagnose_item(r, out));
	}
	return OK;
}

/* Recurses at most CBOR_MAX_DEPTH deep: cbor_diagnose has validated the item. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static result diagnose_item(struct reader *r, struct writer *out)
{
	struct head head;
	TRY(head_read(r, DETERMINISTIC, &head));
	size_t len = (size_t)head.argument;
	switch (head.major) {
	case MAJOR_UINT:
		diagnose_number("", head.argument, "", out);
		return OK;
	case MAJOR_NINT:
		diagnose_nint(head.argument, out);
		return OK;
	case MAJOR_BYTES:
		diagnose_bytes(span_of(r->at, len), out);
		r->at += len;
		return OK;
	case MAJOR_TEXT:
		diagnose_text(span_of(r->at, len), out);
		r->at += len;
		return OK;
	case MAJOR_ARRAY:
		writer_str(out, "[");
		TRY(diagnose_list(r, len, false, out));
		writer_str(out, "]");
		return OK;
	case MAJOR_MAP:
		writer_str(out, "{");
		TRY(diagnose_list(r, len, true, out));
		writer_str(out, "}");
		return OK;
	case MAJOR_TAG:
		diagnose_number("", head.argument, "(", out);
		TRY(diagnose_item(r, out));
		writer_str(out, ")");
		return OK;
	default:
		writer_str(out, head.argument == SIMPLE_NULL ? "null" : head.argument == SIMPLE_TRUE ? "true" : "false");
		return OK;
	}
}

void cbor_diagnose(struct span item, struct writer *out)
{
	struct reader r = reader_of(item);
	result valid = cbor_validate(item);
	if (valid == OK)
		valid = diagnose_item(&r, out);
	if (valid == OK)
		return;
	writer_str(out, "/ not deterministic CBOR: ");
	writer_str(out, reason_name(valid));
	writer_str(out, " / ");
	diagnose_bytes(item, out);
}
