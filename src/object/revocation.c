#include "object/revocation.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "wire/text.h"

static const struct {
	const char *name;
	size_t size;
} classes[REVOKE_CLASSES] = {
	[REVOKE_MEASUREMENT] = {"measurement", SHA384_SIZE},
	[REVOKE_KEY] = {"key", KEY_ID_SIZE},
	[REVOKE_CERTIFICATE] = {"certificate", SHA256_SIZE},
	[REVOKE_HOST] = {"host", OID_SIZE},
	[REVOKE_EPOCH] = {"epoch", OID_SIZE},
	[REVOKE_POLICY] = {"policy", SHA256_SIZE},
};

const char *revocation_class_name(enum revocation_class class)
{
	return class >= REVOKE_MEASUREMENT && class < REVOKE_CLASSES ? classes[class].name : "?";
}

size_t revocation_class_size(enum revocation_class class)
{
	return class >= REVOKE_MEASUREMENT && class < REVOKE_CLASSES ? classes[class].size : 0;
}

static const struct field entry_fields[] = {
	F_UINT(struct revocation_entry, 1, class, 0),
	F_BYTES(struct revocation_entry, 2, value, 1, 64),
	F_UINT(struct revocation_entry, 3, from, 0),
	F_TEXT(struct revocation_entry, 4, why, 0, REVOCATION_WHY_MAX),
};
const struct schema revocation_entry_schema = SCHEMA(struct revocation_entry, "revocation entry", SHAPE_ARRAY, entry_fields);

static const struct field list_fields[] = {
	F_VERSION(struct revocation_list, 1, v, 1),
	F_FIXED(struct revocation_list, 2, operator_pk),
	F_UINT(struct revocation_list, 3, version, INT64_MAX),
	F_TIME(struct revocation_list, 4, time),
	F_TIME(struct revocation_list, 5, not_after),
	F_LIST(struct revocation_list, 6, entries, entry_count, &revocation_entry_schema, FIELD_SORTED, 0, REVOCATION_MAX_ENTRIES),
};
const struct schema revocation_list_schema = SCHEMA(struct revocation_list, "revocation list", SHAPE_MAP, list_fields);

static const struct field head_row_fields[] = {
	F_FIXED(struct revocation_head_row, 1, operator_id),
	F_UINT(struct revocation_head_row, 2, version, INT64_MAX),
	F_FIXED(struct revocation_head_row, 3, oid),
};
const struct schema revocation_head_row_schema =
	SCHEMA(struct revocation_head_row, "revocation head row", SHAPE_ARRAY, head_row_fields);

static const struct field head_fields[] = {
	F_VERSION(struct revocation_head, 1, v, 1),
	F_FIXED(struct revocation_head, 2, rot_id),
	F_FIXED(struct revocation_head, 3, epoch_oid),
	F_UINT(struct revocation_head, 4, boot_gen, 0),
	F_UINT(struct revocation_head, 5, seq, 0),
	F_TIME(struct revocation_head, 6, time),
	F_UINT(struct revocation_head, 7, steady, 0),
	F_UINT(struct revocation_head, 8, lease_ms, REVOCATION_LEASE_MOST_MS),
	F_LIST(struct revocation_head, 9, lists, list_count, &revocation_head_row_schema, FIELD_SORTED, 0, REVOCATION_MAX_LISTS),
};
const struct schema revocation_head_schema = SCHEMA(struct revocation_head, "revocation head", SHAPE_MAP, head_fields);

result revocation_lease_allowed(uint32_t lease_ms, size_t list_count)
{
	if (lease_ms == 0 && list_count == 0)
		return OK;
	if (lease_ms < REVOCATION_LEASE_LEAST_MS || lease_ms > REVOCATION_LEASE_MOST_MS)
		return fail(BAD_VALUE, "a lease of %u ms; %d ms to an hour", lease_ms, REVOCATION_LEASE_LEAST_MS);
	return OK;
}

/* ---- Making ----------------------------------------------------------------------------------------------- */

static result check_head(uint64_t version, uint64_t time, uint64_t not_after)
{
	if (version < 1)
		return fail(BAD_VALUE, "versions of a list count from 1");
	return time < not_after ? OK : fail(BAD_VALUE, "the list would be valid at no time");
}

static result check_value(enum revocation_class class, size_t len)
{
	size_t size = revocation_class_size(class);
	if (size == 0)
		return fail(REVOCATION_CLASS_UNKNOWN, "class %d", (int)class);
	return len == size ? OK : fail(BAD_VALUE, "a %s of %zu bytes instead of %zu", revocation_class_name(class), len, size);
}

result revocation_list_check(const struct revocation_list *list)
{
	TRY(check_head(list->version, list->time, list->not_after));
	for (size_t i = 0; i < list->entry_count; i++)
		TRY(check_value((enum revocation_class)list->entries[i].class, list->entries[i].value.len));
	return OK;
}

static int compare_entries(const void *a, const void *b)
{
	const struct revocation_entry *x = a, *y = b;
	if (x->class != y->class)
		return x->class < y->class ? -1 : 1;
	return span_compare(x->value, y->value);
}

/* Within a class all values have one length, so this is the order of the encodings. */
static result sort(struct revocation_list *list)
{
	if (list->entry_count)
		qsort(list->entries, list->entry_count, sizeof(*list->entries), compare_entries);
	for (size_t i = 1; i < list->entry_count; i++)
		if (compare_entries(&list->entries[i - 1], &list->entries[i]) == 0)
			return fail(BAD_VALUE, "one %s stands twice",
				revocation_class_name((enum revocation_class)list->entries[i].class));
	return OK;
}

result revocation_list_sign(struct revocation_list *list, const struct key *operator, struct bytes *out, uint8_t *out_oid)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	list->v = 1;
	memcpy(list->operator_pk, operator->point, POINT_SIZE);
	TRY(revocation_list_check(list));
	TRY(sort(list));
	TRY(object_sign(KIND_REVOCATION_LIST, list, operator, &object, out_oid));
	if (object.len > REVOCATION_LIST_MAX)
		return fail(TOO_LARGE, "the list takes %zu bytes, %d at most", object.len, REVOCATION_LIST_MAX);
	*out = bytes_move(&object);
	return OK;
}

/* ---- Opening ----------------------------------------------------------------------------------------------- */

static result read_row(struct reader *r, struct revocation_row *out)
{
	size_t fields;
	uint64_t class, from;
	struct span value, why;
	TRY(cbor_read_array(r, &fields));
	if (fields != 4)
		return fail(BAD_VALUE, "an entry of %zu fields", fields);
	TRY(cbor_read_uint(r, &class));
	TRY(cbor_read_bytes(r, &value));
	TRY(cbor_read_uint(r, &from));
	TRY(cbor_read_text(r, &why));
	if (why.len > REVOCATION_WHY_MAX || (why.len && memchr(why.data, 0, why.len)))
		return fail(BAD_VALUE, "the reason of an entry");
	if (class >= REVOKE_CLASSES || class < REVOKE_MEASUREMENT)
		return fail(REVOCATION_CLASS_UNKNOWN, "class %llu", (unsigned long long)class);
	TRY(check_value((enum revocation_class)class, value.len));
	*out = (struct revocation_row){(enum revocation_class)class, value, from, why};
	return OK;
}

static int compare_rows(enum revocation_class class, struct span value, const struct revocation_row *row)
{
	if (class != row->class)
		return class < row->class ? -1 : 1;
	return span_compare(value, row->value);
}

static result index_entries(struct reader *r, struct revocation_view *view)
{
	struct revocation_row row, previous = {.class = 0};
	const uint8_t *start;
	TRY(cbor_read_array(r, &view->count));
	if (view->count > REVOCATION_MAX_ENTRIES)
		return fail(TOO_LARGE, "%zu entries, %d at most", view->count, REVOCATION_MAX_ENTRIES);
	start = r->at;
	view->offsets = calloc(view->count + 1, sizeof(*view->offsets));
	if (!view->offsets)
		return fail(NO_MEMORY, "a list of %zu entries", view->count);
	for (size_t i = 0; i < view->count; i++) {
		view->offsets[i] = (uint32_t)(r->at - start);
		TRY(read_row(r, &row));
		if (i > 0 && compare_rows(previous.class, previous.value, &row) >= 0)
			return fail(NOT_DETERMINISTIC, "entry %zu is not in strictly ascending order", i);
		previous = row;
	}
	view->entries = span_of(start, (size_t)(r->at - start));
	return OK;
}

static result expect_key(struct reader *r, uint64_t wanted)
{
	uint64_t key;
	TRY(cbor_read_uint(r, &key));
	return key == wanted ? OK : fail(key > wanted ? MISSING_FIELD : NOT_DETERMINISTIC, "key %llu", (unsigned long long)wanted);
}

/* What revocation_list_schema describes, without a structure for each entry. */
static result read_payload(struct span payload, struct revocation_view *view)
{
	struct reader r = reader_of(payload);
	size_t pairs;
	uint64_t v;
	TRY(cbor_read_map(&r, &pairs));
	TRY(expect_key(&r, 1));
	TRY(cbor_read_uint(&r, &v));
	if (v != 1)
		return fail(UNKNOWN_VERSION, "version %llu", (unsigned long long)v);
	if (pairs != 6)
		return fail(pairs > 6 ? UNKNOWN_FIELD : MISSING_FIELD, "%zu fields", pairs);
	TRY(expect_key(&r, 2));
	TRY(cbor_read_bytes_fixed(&r, view->operator_pk, POINT_SIZE));
	TRY(expect_key(&r, 3));
	TRY(cbor_read_uint(&r, &view->version));
	TRY(expect_key(&r, 4));
	TRY(cbor_read_uint(&r, &view->time));
	TRY(expect_key(&r, 5));
	TRY(cbor_read_uint(&r, &view->not_after));
	if (view->version > INT64_MAX)
		return fail(BAD_VALUE, "a version beyond all bounds");
	TRY(check_head(view->version, view->time, view->not_after));
	TRY(expect_key(&r, 6));
	TRY(index_entries(&r, view));
	return r.at == r.end ? OK : fail(TRAILING_BYTES, "behind the list");
}

static result open_list(struct span bytes, const struct key *operator, struct revocation_view *view)
{
	struct cose_sign1 sign1;
	const char *label = kind_label(KIND_REVOCATION_LIST);
	CLEANUP(key_free) struct key named = KEY_EMPTY;
	TRY(cose_strict_sign1_parse(bytes, &sign1));
	TRY(read_payload(sign1.payload, view));
	TRY(key_from_point(SPAN_ARRAY(view->operator_pk), &named));
	if (operator && memcmp(operator->id, named.id, KEY_ID_SIZE) != 0)
		return fail(REVOCATION_KEY_UNKNOWN, "the list names another operator");
	TRY(cose_strict_sign1_verify(&sign1, label, &named));
	memcpy(view->operator_id, named.id, KEY_ID_SIZE);
	cose_sign1_oid(sign1.payload, label, view->oid);
	return OK;
}

result revocation_open(struct span bytes, const struct key *operator, struct revocation_view *out)
{
	struct revocation_view view = REVOCATION_VIEW_EMPTY;
	if (bytes.len > REVOCATION_LIST_MAX)
		return fail(TOO_LARGE, "a revocation list of %zu bytes", bytes.len);
	result opened = open_list(bytes, operator, &view);
	if (opened != OK) {
		revocation_view_free(&view);
		return fail_within(opened, "revocation list");
	}
	*out = view;
	return OK;
}

void revocation_view_free(struct revocation_view *view)
{
	free(view->offsets);
	*view = REVOCATION_VIEW_EMPTY;
}

result revocation_valid_at(const struct revocation_view *view, uint64_t now_ms)
{
	if (view->time > now_ms + REVOCATION_SKEW_MS)
		return fail(REVOCATION_EXPIRED, "the list is dated in the future");
	if (now_ms > view->not_after)
		return fail(REVOCATION_EXPIRED, "version %llu has ended", (unsigned long long)view->version);
	return OK;
}

/* ---- Looking up ---------------------------------------------------------------------------------------------- */

void revocation_row(const struct revocation_view *view, size_t at, struct revocation_row *out)
{
	assert(at < view->count);
	size_t from = view->offsets[at];
	struct reader r = reader_of(span_of(view->entries.data + from, view->entries.len - from));
	if (read_row(&r, out) != OK) /* it was read when the list was opened */
		abort();
}

bool revocation_find(const struct revocation_view *view, enum revocation_class class, struct span value, struct revocation_row *out)
{
	size_t low = 0, high = view->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct revocation_row row;
		revocation_row(view, middle, &row);
		int order = compare_rows(class, value, &row);
		if (order == 0) {
			*out = row;
			return true;
		}
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

void revocation_set_free(struct revocation_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		revocation_view_free(&set->lists[i]);
	set->count = 0;
}

static result refuse(const struct revocation_view *list, const struct revocation_row *row)
{
	char value[2 * 8 + 1], operator_id[2 * 8 + 1], why[REVOCATION_WHY_MAX + 1], from[CLOCK_TEXT_SIZE];
	hex_encode(span_of(row->value.data, 8), value);
	hex_encode(span_of(list->operator_id, 8), operator_id);
	snprintf(why, sizeof(why), "%.*s", (int)row->why.len, row->why.len ? (const char *)row->why.data : "");
	text_make_plain(why);
	clock_format(row->from, from);
	return fail(REVOKED, "%s %s.. is revoked since %s by operator %s.., list %llu%s%s", revocation_class_name(row->class), value,
		row->from ? from : "ever", operator_id, (unsigned long long)list->version, why[0] ? ": " : "", why);
}

static result judge_one(const struct revocation_set *set, enum revocation_class class, const uint8_t *value, uint64_t at_ms)
{
	struct revocation_row row;
	if (!value)
		return OK;
	for (size_t i = 0; i < set->count; i++)
		if (revocation_find(&set->lists[i], class, span_of(value, revocation_class_size(class)), &row) && row.from <= at_ms)
			return refuse(&set->lists[i], &row);
	return OK;
}

result revocation_judge(const struct revocation_set *set, const struct revocation_subject *subject, uint64_t at_ms)
{
	if (set->count == 0)
		return OK;
	TRY(judge_one(set, REVOKE_MEASUREMENT, subject->measurement, at_ms));
	TRY(judge_one(set, REVOKE_MEASUREMENT, subject->core, at_ms));
	TRY(judge_one(set, REVOKE_KEY, subject->key, at_ms));
	TRY(judge_one(set, REVOKE_CERTIFICATE, subject->certificate, at_ms));
	TRY(judge_one(set, REVOKE_HOST, subject->rot_id, at_ms));
	TRY(judge_one(set, REVOKE_EPOCH, subject->epoch, at_ms));
	return judge_one(set, REVOKE_POLICY, subject->policy, at_ms);
}
