#include "object/reference.h"

#include "object/report.h"

static const struct field reference_fields[] = {
	F_FIXED(struct reference, 1, author),
	F_TEXT(struct reference, 2, set, 1, REFERENCE_NAME_MAX),
	F_UINT(struct reference, 3, min_svn, 0),
};
const struct schema reference_schema = SCHEMA(struct reference, "reference", SHAPE_MAP, reference_fields);

static const struct field row_fields[] = {
	F_UINT(struct reference_row, 1, svn, 0),
	F_UINT(struct reference_row, 2, what, REFERENCE_MEASUREMENT),
	F_FIXED(struct reference_row, 3, digest),
};
const struct schema reference_row_schema = SCHEMA(struct reference_row, "reference row", SHAPE_ARRAY, row_fields);

static const struct field entry_fields[] = {
	F_TEXT(struct reference_entry, 1, name, 1, REFERENCE_NAME_MAX),
	F_UINT(struct reference_entry, 2, min_svn, 0),
	F_LIST(struct reference_entry, 3, rows, row_count, &reference_row_schema, FIELD_SORTED, 1, REFERENCE_MAX_ROWS),
};
const struct schema reference_entry_schema = SCHEMA(struct reference_entry, "reference entry", SHAPE_MAP, entry_fields);

static const struct field set_fields[] = {
	F_VERSION(struct reference_set, 1, v, 1),
	F_FIXED(struct reference_set, 2, author_pk),
	F_TEXT(struct reference_set, 3, name, 1, REFERENCE_NAME_MAX),
	F_UINT(struct reference_set, 4, version, 0),
	F_TIME(struct reference_set, 5, not_before),
	F_TIME(struct reference_set, 6, not_after),
	F_LIST(struct reference_set, 7, entries, entry_count, &reference_entry_schema, FIELD_SORTED, 1, REFERENCE_MAX_ENTRIES),
};
const struct schema reference_set_schema = SCHEMA(struct reference_set, "reference set", SHAPE_MAP, set_fields);

const char *reference_what_name(enum reference_what what)
{
	static const char *const names[] = {"?", "program", "core", "measurement"};
	return (size_t)what < COUNT_OF(names) ? names[what] : names[0];
}

static result check_entry(const struct reference_entry *entry)
{
	bool allowed = false;
	if (!name_is_valid(entry->name))
		return fail(BAD_NAME, "entry '%s'", entry->name);
	if (entry->min_svn < 1)
		return fail(BAD_VALUE, "entry '%s': min_svn counts from 1", entry->name);
	for (size_t i = 0; i < entry->row_count; i++) {
		const struct reference_row *row = &entry->rows[i];
		if (row->svn < 1 || row->what < REFERENCE_PROGRAM)
			return fail(BAD_VALUE, "entry '%s': row %zu has svn %u, kind %u", entry->name, i + 1, row->svn, row->what);
		for (size_t k = 0; k < i; k++)
			if (row->what == entry->rows[k].what && memcmp(row->digest, entry->rows[k].digest, SHA384_SIZE) == 0)
				return fail(BAD_VALUE, "entry '%s': one digest with svn %u and %u", entry->name, entry->rows[k].svn,
					row->svn);
		allowed |= row->svn >= entry->min_svn;
	}
	return allowed ? OK : fail(BAD_VALUE, "entry '%s': every row is below its min_svn %u", entry->name, entry->min_svn);
}

result reference_set_check(const struct reference_set *set)
{
	if (!name_is_valid(set->name))
		return fail(BAD_NAME, "set '%s'", set->name);
	if (set->version < 1 || set->version > INT64_MAX)
		return fail(BAD_VALUE, "set '%s': versions count from 1", set->name);
	if (set->not_before >= set->not_after)
		return fail(BAD_VALUE, "set '%s' is valid at no time", set->name);
	for (size_t i = 0; i < set->entry_count; i++) {
		for (size_t k = 0; k < i; k++)
			if (strcmp(set->entries[i].name, set->entries[k].name) == 0)
				return fail(BAD_VALUE, "set '%s': entry '%s' stands twice", set->name, set->entries[i].name);
		TRY(check_entry(&set->entries[i]));
	}
	return OK;
}

result reference_set_sign(struct reference_set *set, const struct key *author, struct bytes *out, uint8_t *out_oid)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	set->v = 1;
	memcpy(set->author_pk, author->point, POINT_SIZE);
	TRY(reference_set_check(set));
	for (size_t i = 0; i < set->entry_count; i++)
		TRY(schema_sort(&reference_row_schema, set->entries[i].rows, set->entries[i].row_count));
	TRY(schema_sort(&reference_entry_schema, set->entries, set->entry_count));
	TRY(object_sign(KIND_REFERENCE_SET, set, author, &object, out_oid));
	if (object.len > REFERENCE_SET_MAX)
		return fail(TOO_LARGE, "the set takes %zu bytes, %d at most; leave old rows out", object.len, REFERENCE_SET_MAX);
	*out = bytes_move(&object);
	return OK;
}

result reference_set_open(struct span bytes, struct arena *arena, struct reference_set *out,
	uint8_t out_author[static KEY_ID_SIZE], uint8_t *out_oid)
{
	struct reference_set set;
	uint8_t oid[OID_SIZE];
	CLEANUP(key_free) struct key author = KEY_EMPTY;
	if (bytes.len > REFERENCE_SET_MAX)
		return fail(TOO_LARGE, "a reference set of %zu bytes", bytes.len);
	TRY(object_peek(KIND_REFERENCE_SET, bytes, arena, &set, oid));
	TRY(key_from_point(SPAN_ARRAY(set.author_pk), &author));
	TRY(object_verify(KIND_REFERENCE_SET, bytes, &author));
	TRY(reference_set_check(&set));
	*out = set;
	memcpy(out_author, author.id, KEY_ID_SIZE);
	if (out_oid)
		memcpy(out_oid, oid, OID_SIZE);
	return OK;
}

result reference_set_valid_at(const struct reference_set *set, uint64_t at_ms)
{
	if (at_ms < set->not_before || at_ms > set->not_after)
		return fail(REFERENCE_EXPIRED, "set '%s' version %llu", set->name, (unsigned long long)set->version);
	return OK;
}

const struct reference_entry *reference_set_entry(const struct reference_set *set, const char *name)
{
	for (size_t i = 0; i < set->entry_count; i++)
		if (strcmp(set->entries[i].name, name) == 0)
			return &set->entries[i];
	return NULL;
}

const struct reference_row *reference_find(const struct reference_entry *entry, enum reference_what what,
	const uint8_t digest[static SHA384_SIZE])
{
	for (size_t i = 0; i < entry->row_count; i++)
		if (entry->rows[i].what == what && memcmp(entry->rows[i].digest, digest, SHA384_SIZE) == 0)
			return &entry->rows[i];
	return NULL;
}

result reference_resolve(const struct reference_set *set, const char *name, enum reference_what what,
	const uint8_t digest[static SHA384_SIZE], uint32_t min_svn, uint32_t *out_svn)
{
	const struct reference_entry *entry = reference_set_entry(set, name);
	const struct reference_row *row = entry ? reference_find(entry, what, digest) : NULL;
	if (!row)
		return fail(REFERENCE_MISSING, "set '%s' version %llu does not list this %s of '%s'", set->name,
			(unsigned long long)set->version, reference_what_name(what), name);
	uint32_t least = min_svn > entry->min_svn ? min_svn : entry->min_svn;
	if (row->svn < least)
		return fail(SVN_TOO_LOW, "'%s' has SVN %u, %u is the least allowed", name, row->svn, least);
	if (out_svn)
		*out_svn = row->svn;
	return OK;
}

result reference_answer(const struct reference_question *question, const struct reference_set *set,
	const uint8_t author[static KEY_ID_SIZE], uint32_t *out_svn)
{
	const struct reference *reference = question->reference;
	if (memcmp(reference->author, author, KEY_ID_SIZE) != 0 || strcmp(reference->set, set->name) != 0)
		return fail(REFERENCE_MISSING, "set '%s' of the author that is named", reference->set);
	if (set->version < question->floor)
		return fail(REFERENCE_OLD, "set '%s' version %llu, %llu was seen", set->name, (unsigned long long)set->version,
			(unsigned long long)question->floor);
	TRY(reference_set_valid_at(set, question->now_ms));
	return reference_resolve(set, question->entry, question->what, question->digest, reference->min_svn, out_svn);
}
