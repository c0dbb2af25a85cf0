#include "receipt/build.h"

#include <stdlib.h>

void receipt_sections_free(struct receipt_sections *sections)
{
	for (size_t i = 0; i < RECEIPT_SECTIONS_MAX; i++)
		bytes_free(&sections->bytes[i]);
}

static int compare_items(const void *a, const void *b)
{
	const struct bytes_item *x = a, *y = b;
	return span_compare(x->bytes, y->bytes);
}

/* A list of byte strings; sorted and without repeats when `as_set`. */
static result put_list(const struct span *items, size_t count, bool as_set, struct bytes *out)
{
	struct bytes_item *rows = calloc(count ? count : 1, sizeof(*rows));
	if (!rows)
		return fail(NO_MEMORY, "receipt");
	size_t kept = count;
	for (size_t i = 0; i < count; i++)
		rows[i].bytes = items[i];
	if (as_set) {
		qsort(rows, count, sizeof(*rows), compare_items);
		kept = 0;
		for (size_t i = 0; i < count; i++)
			if (kept == 0 || !span_equal(rows[kept - 1].bytes, rows[i].bytes))
				rows[kept++] = rows[i];
	}
	struct bytes_list list = {rows, kept};
	result encoded = schema_encode(&bytes_list_schema, &list, out);
	free(rows);
	return encoded;
}

enum wanted { RECORDS, CERTIFICATES, REPORTS };

static struct span pick(const struct dac *dac, size_t index, enum wanted what)
{
	const struct record *record = dac_record(dac, index);
	switch (what) {
	case CERTIFICATES:
		return dac_certificate(dac, record->certificate);
	case REPORTS:
		return dac_report(dac, record->host_report);
	case RECORDS:
		break;
	}
	return dac_bytes(dac, index);
}

static result put_chain(const struct dac *dac, const size_t *closure, size_t count, enum wanted what, struct bytes *out)
{
	struct span *items = calloc(count ? count : 1, sizeof(*items));
	if (!items)
		return fail(NO_MEMORY, "receipt");
	for (size_t i = 0; i < count; i++)
		items[i] = pick(dac, closure[i], what);
	result put = put_list(items, count, what != RECORDS, out);
	free(items);
	return put;
}

static result put_salts(const struct receipt_parts *parts, struct bytes *out)
{
	struct salt_list list = {parts->salts, parts->salt_count};
	TRY(schema_sort(&salt_row_schema, parts->salts, parts->salt_count));
	return schema_encode(&salt_list_schema, &list, out);
}

/* Records, then the recovery keys that verify some of them. */
static result put_epochs(const struct span *epochs, size_t epoch_count, const struct span *keys, size_t key_count, struct bytes *out)
{
	size_t count = epoch_count + key_count, kept = epoch_count;
	struct bytes_item *rows = calloc(count ? count : 1, sizeof(*rows));
	if (!rows)
		return fail(NO_MEMORY, "receipt");
	for (size_t i = 0; i < epoch_count; i++)
		rows[i].bytes = epochs[i];
	for (size_t i = 0; i < key_count; i++)
		rows[kept + i].bytes = keys[i];
	qsort(rows + kept, key_count, sizeof(*rows), compare_items);
	for (size_t i = epoch_count; i < count; i++)
		if (i == epoch_count || !span_equal(rows[kept - 1].bytes, rows[i].bytes))
			rows[kept++] = rows[i];
	struct bytes_list list = {rows, kept};
	result encoded = schema_encode(&bytes_list_schema, &list, out);
	free(rows);
	return encoded;
}

static result fill_roots(const struct receipt_parts *parts, struct bytes *epochs, struct receipt_root_row *rows, struct bytes *out)
{
	struct receipt_roots list = {rows, parts->foreign_count};
	for (size_t i = 0; i < parts->foreign_count; i++) {
		const struct receipt_foreign *root = &parts->foreign[i];
		TRY(put_epochs(root->epochs, root->epoch_count, root->recovery_keys, root->recovery_key_count, &epochs[i]));
		memcpy(rows[i].rot_id, root->rot_id, OID_SIZE);
		rows[i].epochs = bytes_span(&epochs[i]);
	}
	TRY(schema_sort(&receipt_root_row_schema, rows, parts->foreign_count));
	return schema_encode(&receipt_roots_schema, &list, out);
}

static result put_roots(const struct receipt_parts *parts, struct bytes *out)
{
	struct bytes *epochs = calloc(parts->foreign_count, sizeof(*epochs));
	struct receipt_root_row *rows = calloc(parts->foreign_count, sizeof(*rows));
	result put = epochs && rows ? fill_roots(parts, epochs, rows, out) : fail(NO_MEMORY, "receipt");
	for (size_t i = 0; epochs && i < parts->foreign_count; i++)
		bytes_free(&epochs[i]);
	free(epochs);
	free(rows);
	return put;
}

/* What a verifier that does not know it must not pass over. */
static bool is_critical(uint16_t id)
{
	return id <= SECTION_JOB || id == SECTION_ROOTS || id == SECTION_POLICY_VERSIONS;
}

static void list_section(struct receipt_sections *s, uint16_t id)
{
	struct span bytes = bytes_span(&s->bytes[id - 1]);
	struct receipt_section_row *row = &s->rows[s->count];
	s->sections[s->count++] = (struct receipt_section){id, bytes};
	*row = (struct receipt_section_row){.id = id, .critical = is_critical(id)};
	sha256(bytes, row->digest);
}

static result fill(const struct receipt_parts *parts, const size_t *closure, size_t count, struct receipt_sections *s)
{
	TRY(put_epochs(parts->epochs, parts->epoch_count, parts->recovery_keys, parts->recovery_key_count, &s->bytes[SECTION_EPOCHS - 1]));
	TRY(put_chain(parts->dac, closure, count, CERTIFICATES, &s->bytes[SECTION_CERTIFICATES - 1]));
	TRY(put_chain(parts->dac, closure, count, REPORTS, &s->bytes[SECTION_REPORTS - 1]));
	TRY(put_chain(parts->dac, closure, count, RECORDS, &s->bytes[SECTION_RECORDS - 1]));
	TRY(put_list(parts->manifests, parts->manifest_count, false, &s->bytes[SECTION_MANIFESTS - 1]));
	TRY(put_list(parts->policies, parts->policy_count, true, &s->bytes[SECTION_POLICIES - 1]));
	TRY(put_list(parts->grants, parts->grant_count, true, &s->bytes[SECTION_GRANTS - 1]));
	TRY(put_list(parts->statements, parts->statement_count, true, &s->bytes[SECTION_STATEMENTS - 1]));
	TRY(put_salts(parts, &s->bytes[SECTION_SALTS - 1]));
	TRY(bytes_copy(parts->job, &s->bytes[SECTION_JOB - 1]));
	for (uint16_t id = SECTION_EPOCHS; id <= SECTION_JOB; id++)
		list_section(s, id);
	if (parts->platform_count) {
		TRY(put_list(parts->platform, parts->platform_count, true, &s->bytes[SECTION_PLATFORM - 1]));
		list_section(s, SECTION_PLATFORM);
	}
	if (parts->reference_count) {
		TRY(put_list(parts->references, parts->reference_count, true, &s->bytes[SECTION_REFERENCES - 1]));
		list_section(s, SECTION_REFERENCES);
	}
	if (parts->foreign_count) {
		TRY(put_roots(parts, &s->bytes[SECTION_ROOTS - 1]));
		list_section(s, SECTION_ROOTS);
	}
	if (parts->version_count) {
		TRY(put_list(parts->versions, parts->version_count, true, &s->bytes[SECTION_POLICY_VERSIONS - 1]));
		list_section(s, SECTION_POLICY_VERSIONS);
	}
	return OK;
}

result receipt_sections_make(const struct receipt_parts *parts, struct receipt_sections *out)
{
	struct receipt_sections sections = {0};
	size_t *closure, count;
	TRY(dac_closure(parts->dac, parts->roots, parts->root_count, &closure, &count));
	result filled = fill(parts, closure, count, &sections);
	free(closure);
	if (filled != OK) {
		receipt_sections_free(&sections);
		return filled;
	}
	*out = sections;
	return OK;
}
