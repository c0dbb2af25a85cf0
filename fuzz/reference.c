/*
 * Reference sets: byte 0 is 's' for a signed set, anything else for the source form. What is read in one form comes back from
 * its own encoding, and every row of an accepted set answers as its svn says.
 */
#include "object/reference_text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MEMORY = 4 << 20 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_rows(const struct reference_set *set)
{
	for (size_t i = 0; i < set->entry_count; i++) {
		const struct reference_entry *entry = &set->entries[i];
		must(reference_set_entry(set, entry->name) == entry);
		for (size_t k = 0; k < entry->row_count; k++) {
			const struct reference_row *row = &entry->rows[k];
			uint32_t svn = 0;
			result found = reference_resolve(set, entry->name, (enum reference_what)row->what, row->digest, 0, &svn);
			must(found == (row->svn < entry->min_svn ? SVN_TOO_LOW : OK));
			must(found != OK || svn == row->svn);
		}
	}
}

static void try_text(struct span text)
{
	CLEANUP(arena_free) struct arena arena = arena_of(MAX_MEMORY);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY, one = BYTES_EMPTY, two = BYTES_EMPTY;
	struct reference_set set, back;
	if (reference_text_parse("set", text, &arena, &set) != OK)
		return;
	check_rows(&set);
	for (size_t i = 0; i < set.entry_count; i++)
		must(schema_sort(&reference_row_schema, set.entries[i].rows, set.entries[i].row_count) == OK);
	must(schema_sort(&reference_entry_schema, set.entries, set.entry_count) == OK);
	must(reference_text_write(&set, &again) == OK);
	must(reference_text_parse("again", bytes_span(&again), &arena, &back) == OK);
	must(schema_encode(&reference_set_schema, &set, &one) == OK && schema_encode(&reference_set_schema, &back, &two) == OK);
	must(span_equal(bytes_span(&one), bytes_span(&two)));
}

static void try_signed(struct span bytes)
{
	CLEANUP(arena_free) struct arena arena = arena_of(MAX_MEMORY);
	struct reference_set set;
	uint8_t author[KEY_ID_SIZE], id[KEY_ID_SIZE];
	if (reference_set_open(bytes, &arena, &set, author, NULL) != OK)
		return;
	must(point_key_id(SPAN_ARRAY(set.author_pk), id) == OK && memcmp(author, id, KEY_ID_SIZE) == 0);
	check_rows(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	struct span rest = span_of(data + 1, size - 1);
	if (data[0] == 's')
		try_signed(rest);
	else
		try_text(rest);
	return 0;
}
