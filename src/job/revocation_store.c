#include "job/revocation_store.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "root/pins.h"
#include "wire/text.h"

enum { ROWS_MAX = 32 * 1024, FILE_MAX = ROWS_MAX + 256 };

struct rows {
	struct revocation_operator *rows;
	size_t count;
};
static const struct field row_fields[] = {
	F_FIXED(struct revocation_operator, 1, point),
	F_TEXT(struct revocation_operator, 2, label, 0, REVOCATION_LABEL_MAX),
	F_TIME(struct revocation_operator, 3, added),
	F_BOOL(struct revocation_operator, 4, pinned),
	F_UINT(struct revocation_operator, 5, version, INT64_MAX),
	F_FIXED(struct revocation_operator, 6, oid),
};
static const struct schema row_schema = SCHEMA(struct revocation_operator, "operator", SHAPE_ARRAY, row_fields);
static const struct field rows_fields[] = {
	F_LIST(struct rows, 1, rows, count, &row_schema, 0, 0, REVOCATION_MAX_ROWS),
};
static const struct schema rows_schema = SCHEMA(struct rows, "operators", SHAPE_BARE, rows_fields);

struct operators_file {
	uint8_t v;
	struct span body;
	uint8_t mac[SHA256_SIZE];
};
static const struct field file_fields[] = {
	F_VERSION(struct operators_file, 1, v, 1),
	F_BYTES(struct operators_file, 2, body, 1, ROWS_MAX),
	F_FIXED(struct operators_file, 3, mac),
};
static const struct schema file_schema = SCHEMA(struct operators_file, "operators file", SHAPE_MAP, file_fields);

static const char MAC_LABEL[] = "troth revocations1";

/* ---- Paths --------------------------------------------------------------------------------------------------- */

static result list_path(const struct revocation_store *store, const uint8_t *id, uint64_t version, char out[static PATH_SIZE])
{
	char hex[17], file[64];
	hex_encode(span_of(id, 8), hex);
	snprintf(file, sizeof(file), "%s-%llu.list", hex, (unsigned long long)version);
	return path_join(out, store->folder, file);
}

static result conflict_path(const struct revocation_store *store, const struct revocation_view *view, const uint8_t *oid,
	char out[static PATH_SIZE])
{
	char id[17], which[17], file[96];
	hex_encode(span_of(view->operator_id, 8), id);
	hex_encode(span_of(oid, 8), which);
	snprintf(file, sizeof(file), "conflict-%s-%llu-%s.list", id, (unsigned long long)view->version, which);
	return path_join(out, store->folder, file);
}

/* ---- Reading -------------------------------------------------------------------------------------------------- */

static result take_rows(struct revocation_store *store, const struct rows *rows)
{
	for (size_t i = 0; i < rows->count; i++) {
		struct revocation_operator *row = &store->rows[i];
		*row = rows->rows[i];
		TRY(point_key_id(SPAN_ARRAY(row->point), row->id));
		snprintf(store->labels[i], sizeof(store->labels[i]), "%s", row->label);
		row->label = store->labels[i];
	}
	store->count = rows->count;
	return OK;
}

static result read_rows(struct revocation_store *store, const char *path)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct operators_file file;
	struct rows rows;
	uint8_t mac[SHA256_SIZE];
	result read = file_read(path, FILE_MAX, &bytes);
	if (read == NOT_FOUND)
		return OK;
	TRY(read);
	if (schema_decode(&file_schema, bytes_span(&bytes), &arena, &file) != OK)
		return fail(REVOCATIONS_DAMAGED, "'%s' is no record of operators", path);
	TRY(pins_mac(store->state_dir, MAC_LABEL, file.body, mac));
	if (!secret_equal(SPAN_ARRAY(mac), SPAN_ARRAY(file.mac)))
		return fail(REVOCATIONS_DAMAGED, "'%s' was altered", path);
	TRY(schema_decode(&rows_schema, file.body, &arena, &rows));
	return take_rows(store, &rows);
}

result revocation_store_read(const struct revocation_store *store, const struct revocation_operator *row, struct bytes *out)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(revocation_view_free) struct revocation_view view = REVOCATION_VIEW_EMPTY;
	char path[PATH_SIZE];
	TRY(list_path(store, row->id, row->version, path));
	TRY(key_from_point(SPAN_ARRAY(row->point), &key));
	result read = file_read(path, REVOCATION_LIST_MAX, &bytes);
	if (read == NOT_FOUND || read == TOO_LARGE)
		return fail(REVOCATIONS_DAMAGED, "'%s' must be version %llu of its operator's list", path, (unsigned long long)row->version);
	TRY(read);
	if (revocation_open(bytes_span(&bytes), &key, &view) != OK || memcmp(view.oid, row->oid, OID_SIZE) != 0)
		return fail(REVOCATIONS_DAMAGED, "'%s' is not the list that was taken", path);
	*out = bytes_move(&bytes);
	return OK;
}

/* Lists that no row names were being taken when the host was ended. */
static bool is_stray(const struct revocation_store *store, const char *name)
{
	size_t len = strlen(name);
	if (len < 5 || strcmp(name + len - 5, ".list") != 0 || strncmp(name, "conflict-", 9) == 0)
		return false;
	for (size_t i = 0; i < store->count; i++) {
		char path[PATH_SIZE];
		if (store->rows[i].version && list_path(store, store->rows[i].id, store->rows[i].version, path) == OK &&
			strcmp(path + strlen(store->folder) + 1, name) == 0)
			return false;
	}
	return true;
}

static void each_file(const struct revocation_store *store, void (*visit)(const struct revocation_store *, const char *name, void *), void *ctx)
{
	DIR *folder = opendir(store->folder);
	for (struct dirent *entry = folder ? readdir(folder) : NULL; entry; entry = readdir(folder))
		visit(store, entry->d_name, ctx);
	if (folder)
		closedir(folder);
}

static void remove_stray(const struct revocation_store *store, const char *name, void *unused)
{
	char path[PATH_SIZE];
	(void)unused;
	if (is_stray(store, name) && path_join(path, store->folder, name) == OK && unlink(path) != 0)
		log_warning("an old revocation list could not be removed", LOG_TEXT("path", path));
}

result revocation_store_load(const char *state_dir, struct revocation_store *out)
{
	char path[PATH_SIZE];
	struct revocation_store *store = out;
	*store = (struct revocation_store){.state_dir = state_dir};
	TRY(path_join(store->folder, state_dir, "revocations"));
	TRY(path_join(path, store->folder, "operators"));
	TRY(read_rows(store, path));
	for (size_t i = 0; i < store->count; i++) {
		CLEANUP(bytes_free) struct bytes list = BYTES_EMPTY;
		if (store->rows[i].pinned && store->rows[i].version)
			TRY(revocation_store_read(store, &store->rows[i], &list));
	}
	each_file(store, remove_stray, NULL);
	return OK;
}

static void count_conflict(const struct revocation_store *store, const char *name, void *ctx)
{
	size_t *count = ctx;
	(void)store;
	*count += strncmp(name, "conflict-", 9) == 0;
}

size_t revocation_store_conflicts(const struct revocation_store *store)
{
	size_t count = 0;
	each_file(store, count_conflict, &count);
	return count;
}

const struct revocation_operator *revocation_store_find(const struct revocation_store *store, const uint8_t id[static KEY_ID_SIZE])
{
	for (size_t i = 0; i < store->count; i++)
		if (memcmp(store->rows[i].id, id, KEY_ID_SIZE) == 0)
			return &store->rows[i];
	return NULL;
}

size_t revocation_store_pinned(const struct revocation_store *store)
{
	size_t count = 0;
	for (size_t i = 0; i < store->count; i++)
		count += store->rows[i].pinned;
	return count;
}

/* ---- Writing -------------------------------------------------------------------------------------------------- */

static int compare_rows(const void *a, const void *b)
{
	return memcmp(((const struct revocation_operator *)a)->id, ((const struct revocation_operator *)b)->id, KEY_ID_SIZE);
}

static result save(const struct revocation_store *store, const struct revocation_operator *rows, size_t count)
{
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY, bytes = BYTES_EMPTY;
	struct revocation_operator sorted[REVOCATION_MAX_ROWS];
	struct operators_file file = {.v = 1};
	char path[PATH_SIZE];
	memcpy(sorted, rows, count * sizeof(*rows));
	struct rows all = {sorted, count};
	qsort(sorted, count, sizeof(*sorted), compare_rows);
	TRY(file_make_dirs(store->folder, 0700));
	TRY(path_join(path, store->folder, "operators"));
	TRY(schema_encode(&rows_schema, &all, &body));
	file.body = bytes_span(&body);
	TRY(pins_mac(store->state_dir, MAC_LABEL, file.body, file.mac));
	TRY(schema_encode(&file_schema, &file, &bytes));
	return file_write_atomic(path, bytes_span(&bytes), 0600);
}

/* Replaces the rows once they are durable. */
static result replace(struct revocation_store *store, const struct revocation_operator *rows, size_t count)
{
	struct revocation_operator sorted[REVOCATION_MAX_ROWS];
	char labels[REVOCATION_MAX_ROWS][REVOCATION_LABEL_MAX + 1];
	TRY(save(store, rows, count));
	memcpy(sorted, rows, count * sizeof(*rows));
	qsort(sorted, count, sizeof(*sorted), compare_rows);
	for (size_t i = 0; i < count; i++)
		snprintf(labels[i], sizeof(labels[i]), "%s", sorted[i].label);
	memcpy(store->labels, labels, sizeof(labels));
	memcpy(store->rows, sorted, count * sizeof(*sorted));
	for (size_t i = 0; i < count; i++)
		store->rows[i].label = store->labels[i];
	store->count = count;
	return OK;
}

static size_t index_of(const struct revocation_store *store, const uint8_t *id)
{
	const struct revocation_operator *row = revocation_store_find(store, id);
	return row ? (size_t)(row - store->rows) : store->count;
}

result revocation_store_pin(struct revocation_store *store, const uint8_t point[static POINT_SIZE], const char *label, uint64_t now_ms)
{
	struct revocation_operator rows[REVOCATION_MAX_ROWS], fresh = {.label = label, .added = now_ms, .pinned = true};
	memcpy(fresh.point, point, POINT_SIZE);
	TRY(point_key_id(span_of(point, POINT_SIZE), fresh.id));
	if (strlen(label) > REVOCATION_LABEL_MAX)
		return fail(TOO_LARGE, "a label of more than %d bytes", REVOCATION_LABEL_MAX);
	memcpy(rows, store->rows, store->count * sizeof(*rows));
	size_t at = index_of(store, fresh.id), count = at == store->count ? at + 1 : store->count;
	if (at < store->count && rows[at].pinned)
		return fail(ALREADY_EXISTS, "this operator's key is pinned");
	if (count > REVOCATION_MAX_ROWS || revocation_store_pinned(store) == REVOCATION_MAX_LISTS)
		return fail(TOO_LARGE, "a host obeys at most %d operators", REVOCATION_MAX_LISTS);
	if (at < store->count) {
		fresh.version = rows[at].version;
		memcpy(fresh.oid, rows[at].oid, OID_SIZE);
	}
	/* The list of before is in force again, so it must be there. */
	if (fresh.version) {
		CLEANUP(bytes_free) struct bytes list = BYTES_EMPTY;
		TRY(revocation_store_read(store, &fresh, &list));
	}
	rows[at] = fresh;
	return replace(store, rows, count);
}

result revocation_store_unpin(struct revocation_store *store, const uint8_t id[static KEY_ID_SIZE])
{
	struct revocation_operator rows[REVOCATION_MAX_ROWS];
	size_t at = index_of(store, id);
	memcpy(rows, store->rows, store->count * sizeof(*rows));
	if (at == store->count || !rows[at].pinned)
		return fail(NOT_FOUND, "no such operator's key is pinned");
	rows[at].pinned = false;
	return replace(store, rows, store->count);
}

/* Best effort beyond a number: an operator who signs conflicts for ever fills no disk. */
static result keep_conflict(const struct revocation_store *store, const struct revocation_operator *row,
	const struct revocation_view *view, struct span bytes)
{
	CLEANUP(bytes_free) struct bytes mine = BYTES_EMPTY;
	char path[PATH_SIZE];
	if (revocation_store_conflicts(store) >= REVOCATION_MAX_CONFLICTS)
		return OK;
	TRY(revocation_store_read(store, row, &mine));
	TRY(conflict_path(store, view, row->oid, path));
	TRY(file_write_atomic(path, bytes_span(&mine), 0600));
	TRY(conflict_path(store, view, view->oid, path));
	return file_write_atomic(path, bytes, 0600);
}

static result check_version(const struct revocation_store *store, const struct revocation_operator *row,
	const struct revocation_view *view, struct span bytes)
{
	if (view->version < row->version)
		return fail(REVOCATION_OLD, "version %llu, %llu was taken", (unsigned long long)view->version,
			(unsigned long long)row->version);
	if (view->version > row->version || memcmp(view->oid, row->oid, OID_SIZE) == 0)
		return OK;
	TRY(keep_conflict(store, row, view, bytes));
	return fail(REVOCATION_CONFLICT, "version %llu; see '%s'", (unsigned long long)view->version, store->folder);
}

result revocation_store_take(struct revocation_store *store, const struct revocation_view *view, struct span bytes, bool *out_changed)
{
	struct revocation_operator rows[REVOCATION_MAX_ROWS];
	char path[PATH_SIZE], before[PATH_SIZE];
	size_t at = index_of(store, view->operator_id);
	if (at == store->count || !store->rows[at].pinned)
		return fail(REVOCATION_KEY_UNKNOWN, "version %llu", (unsigned long long)view->version);
	const struct revocation_operator *row = &store->rows[at];
	TRY(check_version(store, row, view, bytes));
	*out_changed = view->version != row->version;
	if (!*out_changed)
		return OK;
	uint64_t old = row->version;
	TRY(list_path(store, row->id, old, before));
	TRY(list_path(store, row->id, view->version, path));
	TRY(file_make_dirs(store->folder, 0700));
	TRY(file_write_atomic(path, bytes, 0600));
	memcpy(rows, store->rows, store->count * sizeof(*rows));
	rows[at].version = view->version;
	memcpy(rows[at].oid, view->oid, OID_SIZE);
	TRY(replace(store, rows, store->count));
	if (old && (fault_hit("revocation.unlink") || unlink(before) != 0))
		log_warning("an old revocation list could not be removed", LOG_TEXT("path", before));
	return OK;
}
