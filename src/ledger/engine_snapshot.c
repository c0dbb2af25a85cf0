/*
 * The state at some batch, in a file of its own (docs/PROTOCOL.ledger, "state.snapshot").
 *
 * Theory of operation. The file begins with two alternating slots (store/slots.h) of which the newest says what batch it is of and
 * where in the file the state's root stands. Taking a snapshot appends what changed and then writes a slot, so it costs what
 * changed and can be done often: a restart has little to replay. Opening maps the file and reads nothing of it; each record is
 * checked against the root when it is met, and the keeper meets them all soon after the opening. What is no longer referred
 * to stays until it outgrows the rest: then the file is written anew beside the old one and takes its name.
 */
#include "ledger/engine_internal.h"

#include "base/reader.h"
#include "store/transfer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char magic[] = "troth snapshot2\n";
static const char file_name[] = "state.snapshot", temp_name[] = "state.snapshot.tmp";

enum { SLOT_SIZE = 512, BEGIN = 2 * SLOT_SIZE, SNAPSHOT_EVERY = 512, WASTE_MIN = 16 << 20, ALIGN = 8 };

/* ---- Slots ------------------------------------------------------------------------------------------ */

static void put_slot(const struct ledger_engine *engine, const struct state_place *place, uint64_t live, uint64_t end, struct writer *w)
{
	const struct ledger_head *head = &engine->head;
	writer_str(w, magic);
	writer_put(w, engine->chain, CHAIN_ID_SIZE);
	writer_u64(w, engine->sequence);
	writer_u32(w, engine->place.segment);
	writer_u64(w, engine->place.offset);
	writer_u64(w, head->size);
	writer_u64(w, head->height);
	writer_u64(w, head->time);
	writer_put(w, head->root.bytes, SHA256_SIZE);
	writer_put(w, head->state_root.bytes, SHA256_SIZE);
	writer_u64(w, place->count);
	writer_u32(w, place->root);
	writer_u64(w, place->nonces);
	writer_u64(w, live);
	writer_u64(w, end);
}

static result take_slot(struct reader *r, uint8_t out_chain[static CHAIN_ID_SIZE], struct snapshot *out)
{
	TRY(reader_copy(r, out_chain, CHAIN_ID_SIZE));
	TRY(reader_u64(r, &out->sequence));
	TRY(reader_u32(r, &out->place.segment));
	TRY(reader_u64(r, &out->place.offset));
	TRY(reader_u64(r, &out->size));
	TRY(reader_u64(r, &out->height));
	TRY(reader_u64(r, &out->time));
	TRY(reader_copy(r, out->root.bytes, SHA256_SIZE));
	TRY(reader_copy(r, out->state_root.bytes, SHA256_SIZE));
	TRY(reader_u64(r, &out->state.count));
	TRY(reader_u32(r, &out->state.root));
	TRY(reader_u64(r, &out->state.nonces));
	TRY(reader_u64(r, &out->live));
	TRY(reader_u64(r, &out->end));
	return reader_finish(r);
}

result snapshot_decode(struct span slot, uint8_t out_chain[static CHAIN_ID_SIZE], struct snapshot *out)
{
	struct reader r = reader_of(slot);
	struct snapshot snapshot;
	struct span first;
	if (reader_take(&r, sizeof(magic) - 1, &first) != OK || !span_equal_str(first, magic))
		return fail(UNKNOWN_VERSION, "%s is of another version", file_name);
	if (take_slot(&r, out_chain, &snapshot) != OK)
		return fail(LEDGER_DAMAGED, "%s is cut short", file_name);
	if (snapshot.sequence == 0 || snapshot.place.segment == 0 || snapshot.place.offset > INT64_MAX || snapshot.size > INT64_MAX ||
		snapshot.end < BEGIN || snapshot.end > INT64_MAX || snapshot.live > snapshot.end || snapshot.state.nonces > snapshot.end)
		return fail(LEDGER_DAMAGED, "%s has numbers that cannot be", file_name);
	*out = snapshot;
	return OK;
}

/* ---- Taking ----------------------------------------------------------------------------------------- */

static bool must_be_whole(const struct snapshot_file *file)
{
	return file->fd < 0 || file->whole || file->slots.poisoned || file->end > 2 * file->live + WASTE_MIN;
}

result snapshot_take(struct ledger_engine *engine, struct snapshot_pending *out)
{
	struct snapshot_file *file = &engine->snapshot_file;
	CLEANUP(writer_free) struct writer w = writer_growing(SNAPSHOT_MAX);
	struct snapshot_pending pending = {.whole = must_be_whole(file), .size = engine->head.size};
	struct writer slot = writer_fixed(pending.slot, sizeof(pending.slot));
	struct state_place place;
	struct span put;
	pending.at = pending.whole ? BEGIN : file->end;
	/* Until this one is where it belongs no record is known to be anywhere. */
	file->whole = true;
	TRY(ledger_state_store(engine->state, pending.whole, &w, pending.at, &place));
	uint64_t end = pending.at + w.len;
	put_slot(engine, &place, pending.whole ? end : file->live, end, &slot);
	TRY(writer_finish(&slot, &put));
	pending.slot_len = put.len;
	if (w.len)
		TRY(writer_take(&w, &pending.bytes));
	*out = pending;
	return OK;
}

void snapshot_pending_free(struct snapshot_pending *pending)
{
	bytes_free(&pending->bytes);
	*pending = (struct snapshot_pending){0};
}

static result open_file(struct ledger_engine *engine, const char *name, int flags, int *out)
{
	int fd = engine->io.open_at(engine->io.ctx, engine->folder, name, flags, 0600);
	if (fd < 0)
		return fail_errno("opening %s", name);
	*out = fd;
	return OK;
}

/* What the tree file held when the snapshot was taken must be durable before the snapshot says that it is there. */
static result sync_tree(struct ledger_engine *engine)
{
	if (engine->tree_fd >= 0 && fdatasync(engine->tree_fd) != 0)
		return fail_errno("making tree durable");
	return OK;
}

/* The records first: a slot never names what is not durable. */
static result write_records(struct ledger_engine *engine, struct slots *slots, const struct snapshot_pending *pending)
{
	TRY(transfer_write(&engine->io, slots->fd, bytes_span(&pending->bytes), pending->at, "snapshot.write"));
	if (engine->io.data_sync(engine->io.ctx, slots->fd) < 0)
		return fail_errno("making %s durable", file_name);
	return slots_write(slots, span_of(pending->slot, pending->slot_len));
}

static result write_whole(struct ledger_engine *engine, int fd, const struct snapshot_pending *pending, struct slots *out)
{
	TRY(slots_format_io(&engine->io, fd, SLOT_SIZE));
	TRY(slots_open_io(&engine->io, fd, SLOT_SIZE, out));
	TRY(write_records(engine, out, pending));
	if (engine->io.sync(engine->io.ctx, fd) < 0)
		return fail_errno("making %s durable", temp_name);
	if (engine->io.rename_at(engine->io.ctx, engine->folder, temp_name, file_name) < 0)
		return fail_errno("naming %s", file_name);
	return engine->io.sync(engine->io.ctx, engine->folder) < 0 ? fail_errno("making %s durable", file_name) : OK;
}

static result replace(struct ledger_engine *engine, const struct snapshot_pending *pending)
{
	struct snapshot_file *file = &engine->snapshot_file;
	struct slots slots;
	int fd;
	TRY(open_file(engine, temp_name, O_RDWR | O_CREAT | O_TRUNC, &fd));
	result written = write_whole(engine, fd, pending, &slots);
	if (written != OK) {
		(void)engine->io.close(engine->io.ctx, fd);
		(void)engine->io.unlink_at(engine->io.ctx, engine->folder, temp_name);
		return written;
	}
	if (file->fd >= 0)
		(void)engine->io.close(engine->io.ctx, file->fd);
	file->fd = fd;
	file->slots = slots;
	file->live = pending->at + pending->bytes.len;
	return OK;
}

result snapshot_write(struct ledger_engine *engine, const struct snapshot_pending *pending)
{
	struct snapshot_file *file = &engine->snapshot_file;
	TRY(sync_tree(engine));
	if (pending->whole)
		TRY(replace(engine, pending));
	else
		TRY(write_records(engine, &file->slots, pending));
	file->end = pending->at + pending->bytes.len;
	file->whole = false;
	return OK;
}

/* ---- Opening ---------------------------------------------------------------------------------------- */

void snapshot_release(struct ledger_engine *engine)
{
	struct snapshot_file *file = &engine->snapshot_file;
	if (file->data && file->mapped)
		(void)munmap(file->data, file->len);
	else
		free(file->data);
	file->data = NULL;
	file->len = 0;
}

void snapshot_close(struct ledger_engine *engine)
{
	struct snapshot_file *file = &engine->snapshot_file;
	snapshot_release(engine);
	if (file->fd >= 0)
		(void)engine->io.close(engine->io.ctx, file->fd);
	file->fd = -1;
}

/* Its bytes; other than the system's calls know no mapping. */
static result view_file(struct ledger_engine *engine, size_t len)
{
	struct snapshot_file *file = &engine->snapshot_file;
	file->mapped = engine->system;
	file->len = len;
	if (!file->mapped) {
		file->data = malloc(len);
		return file->data ? transfer_read(&engine->io, file->fd, file->data, len, 0) : fail(NO_MEMORY, "%s", file_name);
	}
	void *data = mmap(NULL, len, PROT_READ, MAP_SHARED, file->fd, 0);
	if (data == MAP_FAILED)
		return fail_errno("mapping %s", file_name);
	file->data = data;
	return OK;
}

static result open_slots(struct ledger_engine *engine, uint8_t out_chain[static CHAIN_ID_SIZE], struct snapshot *out)
{
	struct snapshot_file *file = &engine->snapshot_file;
	CLEANUP(bytes_free) struct bytes slot = BYTES_EMPTY;
	result read = slots_open_io(&engine->io, file->fd, SLOT_SIZE, &file->slots);
	if (read == OK)
		read = slots_read(&file->slots, &slot);
	if (read == JOURNAL_DAMAGED)
		return fail(LEDGER_DAMAGED, "%s does not begin with whole slots", file_name);
	TRY(read);
	return snapshot_decode(bytes_span(&slot), out_chain, out);
}

static result open_state(struct ledger_engine *engine, struct snapshot *out, struct ledger_state **out_state)
{
	struct snapshot_file *file = &engine->snapshot_file;
	uint8_t chain[CHAIN_ID_SIZE];
	struct snapshot snapshot;
	TRY(open_slots(engine, chain, &snapshot));
	off_t size = engine->io.size(engine->io.ctx, file->fd);
	if (size < 0)
		return fail_errno("looking at %s", file_name);
	if ((uint64_t)size < snapshot.end)
		return fail(LEDGER_DAMAGED, "%s is cut short", file_name);
	TRY(view_file(engine, (size_t)size));
	/* What a crash left past the end stays there: a reader may have it mapped. */
	file->end = ((uint64_t)size + ALIGN - 1) / ALIGN * ALIGN;
	file->live = snapshot.live;
	file->whole = false;
	if (ledger_state_open(span_of(file->data, (size_t)snapshot.end), &snapshot.state, &snapshot.state_root, snapshot.time, out_state) != OK)
		return fail(LEDGER_DAMAGED, "%s: %s", file_name, failure_text());
	memcpy(engine->chain, chain, CHAIN_ID_SIZE);
	*out = snapshot;
	return OK;
}

result snapshot_read(struct ledger_engine *engine, struct snapshot *out, struct ledger_state **out_state)
{
	struct snapshot_file *file = &engine->snapshot_file;
	snapshot_close(engine);
	TRY(open_file(engine, file_name, engine->options.read_only ? O_RDONLY : O_RDWR, &file->fd));
	result opened = open_state(engine, out, out_state);
	if (opened != OK)
		snapshot_close(engine);
	return opened;
}

/* ---- When ------------------------------------------------------------------------------------------- */

void snapshot_maybe(struct ledger_engine *engine)
{
	uint64_t every = engine->options.snapshot_every ? engine->options.snapshot_every : SNAPSHOT_EVERY;
	struct snapshot_pending pending;
	if (engine->head.size - engine->snapshot_size_pending < every || engine->options.read_only)
		return;
	pthread_mutex_lock(&engine->keeper_lock);
	bool busy = engine->snapshot_busy;
	pthread_mutex_unlock(&engine->keeper_lock);
	/* While one is being written the next waits; it will hold the more. */
	if (busy)
		return;
	/* One that cannot be made or written is tried again after as many leaves: a restart takes longer, nothing else. */
	engine->snapshot_size_pending = engine->head.size;
	if (snapshot_take(engine, &pending) != OK)
		return;
	if (!engine->keeper_runs) {
		if (snapshot_write(engine, &pending) == OK)
			engine->snapshot_size = pending.size;
		snapshot_pending_free(&pending);
		return;
	}
	pthread_mutex_lock(&engine->keeper_lock);
	engine->snapshot = pending;
	engine->snapshot_busy = true;
	pthread_cond_signal(&engine->keeper_cond);
	pthread_mutex_unlock(&engine->keeper_lock);
}
