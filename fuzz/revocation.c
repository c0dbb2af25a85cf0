/*
 * Revocation lists and heads: byte 0 is 's' for a signed list, 'p' for the payload of one that is signed here, 'h' for a head,
 * anything else for the source form. The reader that works in place and the schema's agree on what a list is, and every entry
 * of an accepted list is found, and no neighbour of it.
 */
#include "object/revocation_text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) void __lsan_disable(void);
__attribute__((weak)) void __lsan_enable(void);

enum { MAX_MEMORY = 8 << 20 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_view(const struct revocation_view *view)
{
	for (size_t i = 0; i < view->count; i++) {
		struct revocation_row row, found;
		uint8_t other[64];
		revocation_row(view, i, &row);
		must(row.value.len == revocation_class_size(row.class));
		must(revocation_find(view, row.class, row.value, &found) && found.from == row.from && found.value.data == row.value.data);
		memcpy(other, row.value.data, row.value.len);
		other[row.value.len - 1] ^= 1;
		if (revocation_find(view, row.class, span_of(other, row.value.len), &found))
			must(found.value.data != row.value.data);
	}
}

static void try_signed(struct span bytes)
{
	CLEANUP(arena_free) struct arena arena = arena_of(MAX_MEMORY);
	CLEANUP(revocation_view_free) struct revocation_view view = REVOCATION_VIEW_EMPTY;
	struct revocation_list list;
	result peeked = object_peek(KIND_REVOCATION_LIST, bytes, &arena, &list, NULL);
	bool whole = peeked == OK && revocation_list_check(&list) == OK;
	if (revocation_open(bytes, NULL, &view) != OK)
		return;
	must(peeked == NO_MEMORY || peeked == TOO_LARGE || (whole && list.entry_count == view.count && list.version == view.version));
	check_view(&view);
}

static struct key *own_key(void)
{
	static struct key key;
	static const uint8_t scalar[SCALAR_SIZE] = {1, 2, 3};
	if (!key.pkey)
		must(key_from_scalar(SPAN_ARRAY(scalar), &key) == OK);
	return &key;
}

/* The payload of a list with the operator's point put in: past the signature, where the reader works. */
static void try_payload(struct span payload)
{
	CLEANUP(bytes_free) struct bytes copy = BYTES_EMPTY, object = BYTES_EMPTY;
	enum { POINT_AT = 6 };
	if (bytes_copy(payload, &copy) != OK)
		return;
	if (copy.len >= POINT_AT + POINT_SIZE)
		memcpy(copy.data + POINT_AT, own_key()->point, POINT_SIZE);
	/* What OpenSSL makes for the first signature stays for ever: its library is never unloaded. */
	if (__lsan_disable)
		__lsan_disable();
	result made = cose_strict_sign1_make(bytes_span(&copy), kind_label(KIND_REVOCATION_LIST), own_key(), &object);
	if (__lsan_enable)
		__lsan_enable();
	if (made == OK)
		try_signed(bytes_span(&object));
}

static void try_head(struct span bytes)
{
	CLEANUP(arena_free) struct arena arena = arena_of(MAX_MEMORY);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY;
	struct revocation_head head;
	if (schema_decode(&revocation_head_schema, bytes, &arena, &head) != OK)
		return;
	must(schema_encode(&revocation_head_schema, &head, &again) == OK && span_equal(bytes_span(&again), bytes));
	must(revocation_lease_allowed(head.lease_ms, head.list_count) != OK || head.lease_ms <= REVOCATION_LEASE_MOST_MS);
}

static void try_text(struct span text)
{
	CLEANUP(arena_free) struct arena arena = arena_of(MAX_MEMORY);
	CLEANUP(bytes_free) struct bytes again = BYTES_EMPTY, twice = BYTES_EMPTY;
	struct revocation_list list, back;
	if (revocation_text_parse("list", text, &arena, &list) != OK)
		return;
	must(revocation_text_write(&list, &again) == OK);
	must(revocation_text_parse("again", bytes_span(&again), &arena, &back) == OK);
	must(revocation_text_write(&back, &twice) == OK);
	must(span_equal(bytes_span(&again), bytes_span(&twice)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	struct span rest = span_of(data + 1, size - 1);
	switch (data[0]) {
	case 's': try_signed(rest); break;
	case 'p': try_payload(rest); break;
	case 'h': try_head(rest); break;
	default: try_text(rest);
	}
	return 0;
}
