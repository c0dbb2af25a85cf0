#include "ledger/engine_index.h"

#include "base/file.h"
#include "store/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INDEX_VERSION = 1, SUM_TEXT = 64, READ_SIZE = 1 << 18 };

/* In the order of enum statement. */
enum statement { ADD_BATCH, ADD_LEAF, LAST, BATCH_OF, FIND, SELECT, STATEMENTS };
static const char *const statements[] = {
	[ADD_BATCH] = "INSERT INTO batch VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[ADD_LEAF] = "INSERT INTO leaf VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[LAST] = "SELECT size, first, time, sequence, segment, offset FROM batch ORDER BY size DESC LIMIT 1",
	[BATCH_OF] = "SELECT size, first, time, sequence, segment, offset FROM batch WHERE size > ?1 ORDER BY size LIMIT 1",
	[FIND] = "SELECT idx, size, type, code, sender, txid FROM leaf WHERE txid = ?1 ORDER BY idx LIMIT ?2",
	[SELECT] = "SELECT idx, leaf.size, type, code, sender, txid FROM leaf JOIN batch ON batch.size = leaf.size WHERE idx >= ?1"
		   " AND (?2 = 0 OR time >= ?2) AND (?3 = 0 OR time <= ?3) AND (?4 IS NULL OR sender = ?4)"
		   " AND (?5 = 0 OR type = ?5) AND (?6 = 0 OR code = 0) ORDER BY idx LIMIT ?7",
};
static const char schema_text[] =
	"CREATE TABLE meta (chain BLOB NOT NULL);"
	"CREATE TABLE batch (size INTEGER PRIMARY KEY, first INTEGER NOT NULL, time INTEGER NOT NULL, sequence INTEGER NOT NULL,"
	" segment INTEGER NOT NULL, offset INTEGER NOT NULL);"
	"CREATE TABLE leaf (idx INTEGER PRIMARY KEY, size INTEGER NOT NULL, type INTEGER NOT NULL, code INTEGER NOT NULL,"
	" sender INTEGER NOT NULL, txid INTEGER NOT NULL);"
	"CREATE INDEX leaf_txid ON leaf (txid);"
	"CREATE INDEX leaf_sender ON leaf (sender);"
	"PRAGMA user_version = 1;";

struct ledger_index {
	sqlite3 *db;
	sqlite3_stmt *rows[STATEMENTS];
	char path[PATH_SIZE], sum_path[PATH_SIZE];
	bool in_memory;
};

uint64_t index_name(const uint8_t *bytes)
{
	uint64_t name = 0;
	for (size_t i = 0; i < 8; i++)
		name = name << 8 | bytes[i];
	return name >> 1;
}

static result failed(const struct ledger_index *index, const char *what)
{
	int code = index->db ? sqlite3_errcode(index->db) & 0xff : SQLITE_NOMEM;
	const char *text = index->db ? sqlite3_errmsg(index->db) : "no memory";
	if (code == SQLITE_FULL)
		return fail(DISK_FULL, "index.sqlite: %s: %s", what, text);
	return fail(code == SQLITE_NOMEM ? NO_MEMORY : IO_ERROR, "index.sqlite: %s: %s", what, text);
}

static result run(struct ledger_index *index, const char *sql)
{
	return sqlite3_exec(index->db, sql, NULL, NULL, NULL) == SQLITE_OK ? OK : failed(index, "statement");
}

static void finalize(struct ledger_index *index)
{
	for (size_t i = 0; i < STATEMENTS; i++) {
		sqlite3_finalize(index->rows[i]);
		index->rows[i] = NULL;
	}
	sqlite3_close(index->db);
	index->db = NULL;
}

static result prepare(struct ledger_index *index)
{
	for (size_t i = 0; i < STATEMENTS; i++)
		if (sqlite3_prepare_v3(index->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &index->rows[i], NULL) != SQLITE_OK)
			return failed(index, "its tables");
	return OK;
}

/* ---- Whether the file can be used ---------------------------------------------------------------- */

/* "crc32c size\n" of the whole file. */
static result sum_of(const char *path, char out[static SUM_TEXT])
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	uint32_t crc = 0;
	uint64_t size = 0;
	uint8_t *buffer = malloc(READ_SIZE);
	if (!buffer)
		return fail(NO_MEMORY, "index");
	result opened = file_open(path, O_RDONLY, 0, &fd);
	ssize_t got = opened == OK ? read(fd.n, buffer, READ_SIZE) : 0;
	for (; got > 0; got = read(fd.n, buffer, READ_SIZE)) {
		crc = crc32c(crc, span_of(buffer, (size_t)got));
		size += (uint64_t)got;
	}
	free(buffer);
	TRY(opened);
	if (got < 0)
		return fail_errno("reading %s", path);
	snprintf(out, SUM_TEXT, "%08" PRIx32 " %" PRIu64 "\n", crc, size);
	return OK;
}

/* Whether the file is as it was left by its last closing. After a crash there is no sum: then SQLite is asked. */
enum sum { SUM_NONE, SUM_GOOD, SUM_WRONG };

static enum sum compare_sum(const struct ledger_index *index)
{
	CLEANUP(bytes_free) struct bytes sum = BYTES_EMPTY;
	char text[SUM_TEXT];
	result read = file_read(index->sum_path, SUM_TEXT, &sum);
	if (read == NOT_FOUND)
		return SUM_NONE;
	bool same = read == OK && sum_of(index->path, text) == OK && span_equal_str(bytes_span(&sum), text);
	return same ? SUM_GOOD : SUM_WRONG;
}

static bool is_sound(struct ledger_index *index)
{
	sqlite3_stmt *row = NULL;
	bool sound = sqlite3_prepare_v2(index->db, "PRAGMA integrity_check(1)", -1, &row, NULL) == SQLITE_OK && sqlite3_step(row) == SQLITE_ROW &&
		strcmp((const char *)sqlite3_column_text(row, 0), "ok") == 0;
	sqlite3_finalize(row);
	return sound;
}

static bool is_ours(struct ledger_index *index, const uint8_t chain[static CHAIN_ID_SIZE])
{
	sqlite3_stmt *row = NULL;
	bool ours = sqlite3_prepare_v2(index->db, "PRAGMA user_version", -1, &row, NULL) == SQLITE_OK && sqlite3_step(row) == SQLITE_ROW &&
		sqlite3_column_int(row, 0) == INDEX_VERSION;
	sqlite3_finalize(row);
	row = NULL;
	ours = ours && sqlite3_prepare_v2(index->db, "SELECT chain FROM meta", -1, &row, NULL) == SQLITE_OK && sqlite3_step(row) == SQLITE_ROW &&
		sqlite3_column_bytes(row, 0) == CHAIN_ID_SIZE && memcmp(sqlite3_column_blob(row, 0), chain, CHAIN_ID_SIZE) == 0;
	sqlite3_finalize(row);
	return ours;
}

static result connect_to(struct ledger_index *index)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
	if (sqlite3_open_v2(index->in_memory ? ":memory:" : index->path, &index->db, flags, NULL) != SQLITE_OK)
		return failed(index, "opening");
	if (!index->in_memory && chmod(index->path, 0600) != 0)
		return fail_errno("index.sqlite");
	/* Written without syncs: after a loss of power it is checked, and made again when it must be. */
	return run(index, "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-4096;");
}

static result make(struct ledger_index *index, const uint8_t chain[static CHAIN_ID_SIZE])
{
	sqlite3_stmt *row = NULL;
	TRY(connect_to(index));
	TRY(run(index, schema_text));
	bool kept = sqlite3_prepare_v2(index->db, "INSERT INTO meta VALUES (?1)", -1, &row, NULL) == SQLITE_OK &&
		sqlite3_bind_blob(row, 1, chain, CHAIN_ID_SIZE, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(row) == SQLITE_DONE;
	sqlite3_finalize(row);
	if (!kept)
		return failed(index, "making it");
	return prepare(index);
}

static void remove_files(const char *path, const char *sum_path)
{
	char other[PATH_SIZE + 8];
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
	for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
		snprintf(other, sizeof(other), "%s%s", path, suffixes[i]);
		(void)unlink(other);
	}
	(void)unlink(sum_path);
}

static result paths(const char *dir, char path[static PATH_SIZE], char sum_path[static PATH_SIZE])
{
	TRY(path_join(path, dir, "index.sqlite"));
	return path_join(sum_path, dir, "index.sum");
}

result index_remove(const char *dir)
{
	char path[PATH_SIZE], sum_path[PATH_SIZE];
	TRY(paths(dir, path, sum_path));
	remove_files(path, sum_path);
	return OK;
}

static bool use_existing(struct ledger_index *index, const uint8_t chain[static CHAIN_ID_SIZE])
{
	if (access(index->path, F_OK) != 0)
		return false;
	enum sum sum = compare_sum(index);
	/* From here on the file may change. */
	(void)unlink(index->sum_path);
	if (sum == SUM_WRONG)
		return false;
	return connect_to(index) == OK && (sum == SUM_GOOD || is_sound(index)) && is_ours(index, chain) && prepare(index) == OK;
}

result index_open(const char *dir, const uint8_t chain[static CHAIN_ID_SIZE], struct ledger_index **out, bool *out_made)
{
	struct ledger_index *index = calloc(1, sizeof(*index));
	if (!index)
		return fail(NO_MEMORY, "index");
	index->in_memory = !dir;
	result opened = dir ? paths(dir, index->path, index->sum_path) : OK;
	*out_made = false;
	if (opened == OK && (!dir || !use_existing(index, chain))) {
		finalize(index);
		if (dir)
			remove_files(index->path, index->sum_path);
		*out_made = true;
		opened = make(index, chain);
	}
	if (opened != OK) {
		finalize(index);
		free(index);
		return opened;
	}
	*out = index;
	return OK;
}

void index_close(struct ledger_index *index)
{
	char text[SUM_TEXT];
	if (!index)
		return;
	if (!index->in_memory)
		(void)run(index, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode=DELETE;");
	finalize(index);
	/* Without the sum the next opening looks through the whole file, that is all. */
	if (!index->in_memory && sum_of(index->path, text) == OK && file_write_atomic(index->sum_path, span_str(text), 0600) != OK)
		(void)unlink(index->sum_path);
	free(index);
}

result index_clear(struct ledger_index *index)
{
	return run(index, "DELETE FROM leaf; DELETE FROM batch;");
}

/* ---- Rows ---------------------------------------------------------------------------------------- */

static void bind(sqlite3_stmt *row, int at, uint64_t value)
{
	(void)sqlite3_bind_int64(row, at, (sqlite3_int64)value);
}

static result step_done(struct ledger_index *index, sqlite3_stmt *row)
{
	int code = sqlite3_step(row);
	(void)sqlite3_reset(row);
	return code == SQLITE_DONE ? OK : failed(index, "writing");
}

static struct index_batch batch_of_row(sqlite3_stmt *row)
{
	return (struct index_batch){
		.size = (uint64_t)sqlite3_column_int64(row, 0),
		.first = (uint64_t)sqlite3_column_int64(row, 1),
		.time = (uint64_t)sqlite3_column_int64(row, 2),
		.sequence = (uint64_t)sqlite3_column_int64(row, 3),
		.place = {(uint32_t)sqlite3_column_int64(row, 4), (uint64_t)sqlite3_column_int64(row, 5)},
	};
}

static struct index_leaf leaf_of_row(sqlite3_stmt *row)
{
	return (struct index_leaf){
		.index = (uint64_t)sqlite3_column_int64(row, 0),
		.size = (uint64_t)sqlite3_column_int64(row, 1),
		.type = (unsigned)sqlite3_column_int64(row, 2),
		.code = (unsigned)sqlite3_column_int64(row, 3),
		.sender = (uint64_t)sqlite3_column_int64(row, 4),
		.txid = (uint64_t)sqlite3_column_int64(row, 5),
	};
}

result index_last(struct ledger_index *index, struct index_batch *out, bool *out_there)
{
	sqlite3_stmt *row = index->rows[LAST];
	int code = sqlite3_step(row);
	if (code == SQLITE_ROW)
		*out = batch_of_row(row);
	(void)sqlite3_reset(row);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return failed(index, "reading");
	*out_there = code == SQLITE_ROW;
	return OK;
}

result index_begin(struct ledger_index *index)
{
	return run(index, "BEGIN");
}

result index_end(struct ledger_index *index)
{
	result ended = run(index, "COMMIT");
	if (ended != OK)
		(void)sqlite3_exec(index->db, "ROLLBACK", NULL, NULL, NULL);
	return ended;
}

result index_add_batch(struct ledger_index *index, const struct index_batch *batch)
{
	sqlite3_stmt *row = index->rows[ADD_BATCH];
	bind(row, 1, batch->size);
	bind(row, 2, batch->first);
	bind(row, 3, batch->time);
	bind(row, 4, batch->sequence);
	bind(row, 5, batch->place.segment);
	bind(row, 6, batch->place.offset);
	return step_done(index, row);
}

result index_add_leaf(struct ledger_index *index, const struct index_leaf *leaf)
{
	sqlite3_stmt *row = index->rows[ADD_LEAF];
	bind(row, 1, leaf->index);
	bind(row, 2, leaf->size);
	bind(row, 3, leaf->type);
	bind(row, 4, leaf->code);
	bind(row, 5, leaf->sender);
	bind(row, 6, leaf->txid);
	return step_done(index, row);
}

result index_batch_of(struct ledger_index *index, uint64_t leaf, struct index_batch *out)
{
	sqlite3_stmt *row = index->rows[BATCH_OF];
	if (leaf > INT64_MAX)
		return fail(NOT_FOUND, "leaf %llu", (unsigned long long)leaf);
	bind(row, 1, leaf);
	int code = sqlite3_step(row);
	if (code == SQLITE_ROW)
		*out = batch_of_row(row);
	(void)sqlite3_reset(row);
	if (code == SQLITE_DONE)
		return fail(NOT_FOUND, "leaf %llu", (unsigned long long)leaf);
	return code == SQLITE_ROW ? OK : failed(index, "reading");
}

static result take_leaves(struct ledger_index *index, sqlite3_stmt *row, struct index_leaf *out, size_t max, size_t *out_count)
{
	size_t count = 0;
	int code = SQLITE_ROW;
	while (count < max && (code = sqlite3_step(row)) == SQLITE_ROW)
		out[count++] = leaf_of_row(row);
	(void)sqlite3_reset(row);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return failed(index, "reading");
	*out_count = count;
	return OK;
}

result index_find(struct ledger_index *index, uint64_t txid, struct index_leaf *out, size_t max, size_t *out_count)
{
	sqlite3_stmt *row = index->rows[FIND];
	bind(row, 1, txid);
	bind(row, 2, max);
	return take_leaves(index, row, out, max, out_count);
}

result index_select(struct ledger_index *index, const struct index_filter *filter, struct index_leaf *out, size_t max, size_t *out_count)
{
	sqlite3_stmt *row = index->rows[SELECT];
	bind(row, 1, filter->from > INT64_MAX ? INT64_MAX : filter->from);
	bind(row, 2, filter->since_ms);
	bind(row, 3, filter->until_ms);
	if (filter->has_sender)
		bind(row, 4, filter->sender);
	else
		(void)sqlite3_bind_null(row, 4);
	bind(row, 5, filter->type);
	bind(row, 6, filter->only_ok);
	bind(row, 7, max);
	return take_leaves(index, row, out, max, out_count);
}
