/* The state at some batch, in a file of its own (docs/PROTOCOL.ledger, "state.snapshot"). */
#include "ledger/engine_internal.h"

#include "base/reader.h"
#include "store/crc32c.h"
#include "store/transfer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char magic[] = "troth snapshot1\n";
static const char file_name[] = "state.snapshot", temp_name[] = "state.snapshot.tmp";

enum { SUM_SIZE = 4, SNAPSHOT_EVERY_MIN = 1 << 16 };

result snapshot_encode(struct ledger_engine *engine, struct bytes *out)
{
	CLEANUP(writer_free) struct writer w = writer_growing(SNAPSHOT_MAX);
	const struct ledger_head *head = &engine->head;
	writer_str(&w, magic);
	writer_put(&w, engine->chain, CHAIN_ID_SIZE);
	writer_u64(&w, engine->sequence);
	writer_u32(&w, engine->place.segment);
	writer_u64(&w, engine->place.offset);
	writer_u64(&w, head->size);
	writer_u64(&w, head->height);
	writer_u64(&w, head->time);
	writer_put(&w, head->root.bytes, SHA256_SIZE);
	writer_put(&w, head->state_root.bytes, SHA256_SIZE);
	TRY(ledger_state_save(engine->state, &w));
	writer_u32(&w, crc32c(0, span_of(w.data, w.len)));
	return writer_take(&w, out);
}

result snapshot_decode(struct span bytes, uint8_t out_chain[static CHAIN_ID_SIZE], struct snapshot *out, struct span *out_state)
{
	struct snapshot snapshot;
	struct span head;
	uint32_t sum;
	if (bytes.len < sizeof(magic) - 1 + SUM_SIZE)
		return fail(LEDGER_DAMAGED, "%s is cut short", file_name);
	struct reader r = reader_of(span_of(bytes.data, bytes.len - SUM_SIZE));
	struct reader end = reader_of(span_of(bytes.data + bytes.len - SUM_SIZE, SUM_SIZE));
	TRY(reader_u32(&end, &sum));
	if (sum != crc32c(0, span_of(bytes.data, bytes.len - SUM_SIZE)))
		return fail(LEDGER_DAMAGED, "%s does not have its sum", file_name);
	TRY(reader_take(&r, sizeof(magic) - 1, &head));
	if (!span_equal_str(head, magic))
		return fail(UNKNOWN_VERSION, "%s is of another version", file_name);
	if (reader_copy(&r, out_chain, CHAIN_ID_SIZE) != OK || reader_u64(&r, &snapshot.sequence) != OK ||
		reader_u32(&r, &snapshot.place.segment) != OK || reader_u64(&r, &snapshot.place.offset) != OK ||
		reader_u64(&r, &snapshot.size) != OK || reader_u64(&r, &snapshot.height) != OK || reader_u64(&r, &snapshot.time) != OK ||
		reader_copy(&r, snapshot.root.bytes, SHA256_SIZE) != OK || reader_copy(&r, snapshot.state_root.bytes, SHA256_SIZE) != OK)
		return fail(LEDGER_DAMAGED, "%s is cut short", file_name);
	if (snapshot.sequence == 0 || snapshot.place.segment == 0 || snapshot.place.offset > INT64_MAX || snapshot.size > INT64_MAX)
		return fail(LEDGER_DAMAGED, "%s has numbers that cannot be", file_name);
	*out = snapshot;
	*out_state = span_of(r.at, reader_left(&r));
	return OK;
}

static result open_file(struct ledger_engine *engine, const char *name, int flags, int *out)
{
	int fd = engine->io.open_at(engine->io.ctx, engine->folder, name, flags, 0600);
	if (fd < 0)
		return fail_errno("opening %s", name);
	*out = fd;
	return OK;
}

static result write_file(struct ledger_engine *engine, int fd, struct span bytes)
{
	TRY(transfer_write(&engine->io, fd, bytes, 0, "snapshot.write"));
	if (engine->io.sync(engine->io.ctx, fd) < 0)
		return fail_errno("making %s durable", temp_name);
	return OK;
}

/* What the tree file held when the snapshot was taken must be durable before the snapshot says that it is there. */
static result sync_tree(struct ledger_engine *engine)
{
	if (engine->tree_fd >= 0 && fdatasync(engine->tree_fd) != 0)
		return fail_errno("making tree durable");
	return OK;
}

result snapshot_write(struct ledger_engine *engine, struct span bytes)
{
	int fd;
	TRY(sync_tree(engine));
	TRY(open_file(engine, temp_name, O_RDWR | O_CREAT | O_TRUNC, &fd));
	result written = write_file(engine, fd, bytes);
	(void)engine->io.close(engine->io.ctx, fd);
	if (written == OK && engine->io.rename_at(engine->io.ctx, engine->folder, temp_name, file_name) < 0)
		written = fail_errno("naming %s", file_name);
	if (written == OK && engine->io.sync(engine->io.ctx, engine->folder) < 0)
		written = fail_errno("making %s durable", file_name);
	if (written != OK)
		(void)engine->io.unlink_at(engine->io.ctx, engine->folder, temp_name);
	return written;
}

static result read_file(struct ledger_engine *engine, struct bytes *out)
{
	int fd;
	TRY(open_file(engine, file_name, O_RDONLY, &fd));
	off_t size = engine->io.size(engine->io.ctx, fd);
	result read = size < 0 ? fail_errno("looking at %s", file_name) : size > SNAPSHOT_MAX ? fail(TOO_LARGE, "%s", file_name) : OK;
	struct bytes bytes = BYTES_EMPTY;
	if (read == OK) {
		bytes = (struct bytes){malloc((size_t)size + 1), (size_t)size};
		read = bytes.data ? transfer_read(&engine->io, fd, bytes.data, bytes.len, 0) : fail(NO_MEMORY, "%s", file_name);
	}
	(void)engine->io.close(engine->io.ctx, fd);
	if (read != OK)
		bytes_free(&bytes);
	TRY(read);
	*out = bytes;
	return OK;
}

result snapshot_read(struct ledger_engine *engine, struct snapshot *out, struct ledger_state **out_state)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	struct snapshot snapshot;
	struct span rows;
	struct ledger_state *state;
	struct merkle_hash root;
	uint8_t chain[CHAIN_ID_SIZE];
	TRY(read_file(engine, &bytes));
	TRY(snapshot_decode(bytes_span(&bytes), chain, &snapshot, &rows));
	if (ledger_state_load(rows, &state) != OK)
		return fail(LEDGER_DAMAGED, "%s: %s", file_name, failure_text());
	ledger_state_root(state, &root);
	if (memcmp(&root, &snapshot.state_root, sizeof(root)) != 0) {
		ledger_state_free(state);
		return fail(LEDGER_DAMAGED, "%s holds another state than it says", file_name);
	}
	memcpy(engine->chain, chain, CHAIN_ID_SIZE);
	*out = snapshot;
	*out_state = state;
	return OK;
}

/* Rewriting the whole state must not cost more than the leaves that it saves from being replayed. */
static uint64_t snapshot_step(const struct ledger_engine *engine)
{
	if (engine->options.snapshot_every)
		return engine->options.snapshot_every;
	uint64_t facts = ledger_state_count(engine->state);
	return facts > SNAPSHOT_EVERY_MIN ? facts : SNAPSHOT_EVERY_MIN;
}

void snapshot_maybe(struct ledger_engine *engine)
{
	struct bytes bytes = BYTES_EMPTY;
	if (engine->head.size - engine->snapshot_size_pending < snapshot_step(engine) || engine->options.read_only)
		return;
	/* One that cannot be made or written is tried again after as many leaves: a restart takes longer, nothing else. */
	engine->snapshot_size_pending = engine->head.size;
	if (snapshot_encode(engine, &bytes) != OK)
		return;
	if (!engine->keeper_runs) {
		if (snapshot_write(engine, bytes_span(&bytes)) == OK)
			engine->snapshot_size = engine->head.size;
		bytes_free(&bytes);
		return;
	}
	pthread_mutex_lock(&engine->keeper_lock);
	bytes_free(&engine->snapshot);
	engine->snapshot = bytes;
	engine->snapshot_of = engine->snapshot_size_pending;
	pthread_cond_signal(&engine->keeper_cond);
	pthread_mutex_unlock(&engine->keeper_lock);
}
