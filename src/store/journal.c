#include "store/journal.h"

#include "base/fault.h"
#include "base/file.h"
#include "crypto/random.h"
#include "store/frame.h"
#include "store/slots.h"
#include "store/transfer.h"
#include "store/window.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Theory of operation. `committed` is what was acknowledged, `pending` is where the chain stands with the appends since.
 * Encoded frames wait in `buffer`, whose first byte belongs at file offset `buffer_at`; they are written when the buffer
 * is large or at commit. A new segment is begun only between two commits, so all pending frames are in one segment.
 *
 * A commit is: write the buffer, fdatasync the segment, write the head slot, fdatasync the head. So the head never
 * names a frame that is not durable. Opening walks the chain from entry 1; the walk must pass exactly through the
 * head's position, and what follows it counts only as far as the chain is whole.
 */
enum {
	HEAD_SLOT_SIZE = 4096,
	FLUSH_SIZE = 1 << 20,
	INDEX_STEP = 256,
	LAZY_COMMITS = 64,
	FILE_NAME_SIZE = JOURNAL_NAME_MAX + 32,
};

static const uint64_t segment_max_default = 64u << 20;
static const uint64_t preallocate_default = 1u << 20;

/* Where an entry begins: every INDEX_STEP-th, and after a trusted opening the first of each segment. */
struct index_row {
	uint64_t sequence;
	uint32_t segment;
	uint64_t offset;
};

struct journal {
	struct store_io io;
	struct journal_options options;
	char name[JOURNAL_NAME_MAX + 1];
	int dir, lock, head_fd, segment_fd;
	struct slots head;
	uint8_t id[JOURNAL_ID_SIZE];
	struct position committed, pending;
	uint8_t *buffer;
	size_t buffer_len, buffer_cap;
	uint64_t buffer_at;
	uint64_t allocated; /* the current segment's file has this size */
	bool written; /* bytes of pending entries may be in the file */
	bool poisoned;
	unsigned commits_past_head;
	struct journal_place last; /* of the last append */
	struct index_row *index;
	size_t index_len, index_cap;
};

/* Files */

static void segment_name(const struct journal *j, uint32_t number, char out[static FILE_NAME_SIZE])
{
	snprintf(out, FILE_NAME_SIZE, "%s-%08u.log", j->name, number);
}

static void sibling_name(const struct journal *j, const char *suffix, char out[static FILE_NAME_SIZE])
{
	snprintf(out, FILE_NAME_SIZE, "%s.%s", j->name, suffix);
}

static result open_file(const struct journal *j, const char *name, int flags, int *out)
{
	int fd = fault_hit("journal.open") ? -1 : j->io.open_at(j->io.ctx, j->dir, name, flags, 0600);
	if (fd < 0)
		return fail_errno("opening the journal file %s", name);
	*out = fd;
	return OK;
}

static void close_file(const struct journal *j, int *fd)
{
	if (*fd >= 0)
		(void)j->io.close(j->io.ctx, *fd);
	*fd = -1;
}

/* After a failed sync the kernel may have dropped the pages and forgotten the error: nothing is known any more. */
static result poison(struct journal *j, result reason)
{
	j->poisoned = true;
	return reason;
}

static result sync_file(struct journal *j, int fd, bool whole)
{
	int synced = fault_hit("journal.sync") ? -1 : whole ? j->io.sync(j->io.ctx, fd) : j->io.data_sync(j->io.ctx, fd);
	return synced < 0 ? poison(j, fail_errno("making the journal %s durable", j->name)) : OK;
}

static result check_alive(const struct journal *j)
{
	if (j->poisoned)
		return fail(JOURNAL_POISONED, "the journal %s met a disk error", j->name);
	return OK;
}

/* Index */

static result index_grow(struct journal *j)
{
	if (j->index_len < j->index_cap)
		return OK;
	size_t cap = j->index_cap ? j->index_cap * 2 : 64;
	struct index_row *rows = realloc(j->index, cap * sizeof(*rows));
	if (!rows)
		return fail(NO_MEMORY, "the index of the journal %s", j->name);
	j->index = rows;
	j->index_cap = cap;
	return OK;
}

static result index_reserve(struct journal *j, uint64_t sequence)
{
	return (sequence - 1) % INDEX_STEP == 0 ? index_grow(j) : OK;
}

/* `at`: where the frame of entry `sequence` begins. Room was reserved. */
static void index_note(struct journal *j, uint64_t sequence, uint32_t segment, uint64_t offset)
{
	if ((sequence - 1) % INDEX_STEP == 0)
		j->index[j->index_len++] = (struct index_row){sequence, segment, offset};
}

static void index_trim(struct journal *j, uint64_t last_sequence)
{
	while (j->index_len && j->index[j->index_len - 1].sequence > last_sequence)
		j->index_len--;
}

/* The last row at or before an entry; NULL when there is none. */
static const struct index_row *index_find(const struct journal *j, uint64_t sequence)
{
	size_t low = 0, high = j->index_len;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (j->index[middle].sequence <= sequence)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &j->index[low - 1] : NULL;
}

/* Head */

static result write_head(struct journal *j)
{
	uint8_t payload[HEAD_SIZE];
	head_encode(j->id, &j->pending, payload);
	result written = fault_hit("journal.head") ? fail_errno("writing the head") : slots_write(&j->head, SPAN_ARRAY(payload));
	if (written != OK)
		return written == DISK_FULL && !j->head.poisoned ? written : poison(j, written);
	j->commits_past_head = 0;
	return OK;
}

/* Segments */

static result write_segment_header(struct journal *j, int fd, uint32_t number)
{
	uint8_t bytes[JOURNAL_SEGMENT_HEADER_SIZE];
	struct segment_header header = {.number = number, .first_sequence = j->pending.sequence + 1};
	memcpy(header.id, j->id, sizeof(header.id));
	memcpy(header.previous, j->pending.hash, sizeof(header.previous));
	segment_header_encode(&header, bytes);
	TRY(transfer_write(&j->io, fd, SPAN_ARRAY(bytes), 0, "journal.write"));
	TRY(sync_file(j, fd, true));
	return sync_file(j, j->dir, true);
}

/* Makes segment `number` durable and current. Leaves the journal as it was when it fails. */
static result start_segment(struct journal *j, uint32_t number)
{
	char name[FILE_NAME_SIZE];
	int fd;
	segment_name(j, number, name);
	/* Truncated, not exclusive: an attempt that failed may have left the file. */
	result opened = open_file(j, name, O_RDWR | O_CREAT | O_TRUNC, &fd);
	if (opened != OK)
		return opened == IO_ERROR ? poison(j, opened) : opened;
	result written = write_segment_header(j, fd, number);
	if (written != OK) {
		close_file(j, &fd);
		(void)j->io.unlink_at(j->io.ctx, j->dir, name);
		return written == DISK_FULL ? written : poison(j, written);
	}
	close_file(j, &j->segment_fd);
	j->segment_fd = fd;
	j->pending.segment = number;
	j->pending.offset = j->buffer_at = j->allocated = JOURNAL_SEGMENT_HEADER_SIZE;
	return OK;
}

/* Space that was only reserved is marked as used by the first sync that fills it, which costs a second write. */
static void write_zeros(const struct journal *j, uint64_t from, uint64_t to)
{
	static const uint8_t zeros[64 * 1024];
	while (from < to) {
		size_t len = to - from < sizeof(zeros) ? (size_t)(to - from) : sizeof(zeros);
		ssize_t written = j->io.pwrite(j->io.ctx, j->segment_fd, zeros, len, (off_t)from);
		if (written <= 0)
			return;
		from += (uint64_t)written;
	}
}

/* Only a help: a file system that cannot do it, or is nearly full, still takes the write that follows. */
static void preallocate(struct journal *j, uint64_t end)
{
	if (end <= j->allocated)
		return;
	uint64_t step = j->options.preallocate, grown = (end + step - 1) / step * step;
	/* Where an earlier attempt failed the file was written past what was allocated. */
	uint64_t from = j->allocated > j->buffer_at ? j->allocated : j->buffer_at;
	if (j->io.allocate(j->io.ctx, j->segment_fd, (off_t)from, (off_t)(grown - from)) != 0)
		return;
	if (j->options.zeros)
		write_zeros(j, from, grown);
	j->allocated = grown;
}

static result flush(struct journal *j)
{
	if (j->buffer_len == 0)
		return OK;
	preallocate(j, j->buffer_at + j->buffer_len);
	j->written = true;
	result written = transfer_write(&j->io, j->segment_fd, span_of(j->buffer, j->buffer_len), j->buffer_at, "journal.write");
	if (written != OK)
		return written == DISK_FULL ? written : poison(j, written);
	j->buffer_at += j->buffer_len;
	j->buffer_len = 0;
	return OK;
}

/* Appending */

static result buffer_reserve(struct journal *j, size_t len)
{
	size_t need = j->buffer_len + len;
	if (need <= j->buffer_cap)
		return OK;
	size_t cap = j->buffer_cap ? j->buffer_cap : 4096;
	while (cap < need)
		cap *= 2;
	uint8_t *buffer = realloc(j->buffer, cap);
	if (!buffer)
		return fail(NO_MEMORY, "%zu bytes", cap);
	j->buffer = buffer;
	j->buffer_cap = cap;
	return OK;
}

static result make_room(struct journal *j, size_t size)
{
	bool nothing_pending = j->pending.sequence == j->committed.sequence;
	if (nothing_pending && j->pending.offset >= j->options.segment_max) {
		TRY(start_segment(j, j->pending.segment + 1));
		j->committed = j->pending;
	}
	if (j->buffer_len >= FLUSH_SIZE)
		TRY(flush(j));
	TRY(index_reserve(j, j->pending.sequence + 1));
	return buffer_reserve(j, size);
}

result journal_append(struct journal *j, uint16_t type, struct span payload, uint64_t *out_sequence)
{
	TRY(check_alive(j));
	if (j->options.read_only)
		return fail(BAD_VALUE, "the journal %s is open for reading", j->name);
	if (payload.len > JOURNAL_PAYLOAD_MAX)
		return fail(TOO_LARGE, "an entry of %zu bytes", payload.len);
	size_t size = frame_size(payload.len);
	TRY(make_room(j, size));
	struct position *at = &j->pending;
	struct frame frame = {.sequence = at->sequence + 1, .type = type, .previous = at->hash, .payload = payload};
	uint8_t hash[JOURNAL_HASH_SIZE];
	frame_encode(&frame, j->buffer + j->buffer_len, hash);
	j->buffer_len += size;
	j->last = (struct journal_place){at->segment, at->offset};
	index_note(j, frame.sequence, at->segment, at->offset);
	at->sequence = frame.sequence;
	at->offset += size;
	memcpy(at->hash, hash, sizeof(hash));
	if (out_sequence)
		*out_sequence = frame.sequence;
	return OK;
}

result journal_commit(struct journal *j)
{
	TRY(check_alive(j));
	if (j->pending.sequence == j->committed.sequence)
		return OK;
	TRY(flush(j));
	TRY(sync_file(j, j->segment_fd, false));
	if (!j->options.lazy_head || j->commits_past_head + 1 >= LAZY_COMMITS)
		TRY(write_head(j));
	else
		j->commits_past_head++;
	j->committed = j->pending;
	j->written = false;
	return OK;
}

result journal_discard(struct journal *j)
{
	TRY(check_alive(j));
	j->buffer_len = 0;
	j->buffer_at = j->committed.offset;
	j->pending = j->committed;
	index_trim(j, j->committed.sequence);
	/* Nothing of a discarded entry may come back after a crash, whole or torn. */
	if (!j->written)
		return OK;
	if (fault_hit("journal.truncate") || j->io.truncate(j->io.ctx, j->segment_fd, (off_t)j->committed.offset) < 0)
		return poison(j, fail_errno("cutting the journal %s", j->name));
	j->allocated = j->committed.offset;
	j->written = false;
	return sync_file(j, j->segment_fd, true);
}

struct journal_place journal_last_place(const struct journal *j)
{
	return j->last;
}

struct journal_head journal_head(const struct journal *j)
{
	struct journal_head head = {.sequence = j->committed.sequence};
	memcpy(head.hash, j->committed.hash, sizeof(head.hash));
	return head;
}

/* Recovery */

/* The walk over the chain, from entry 1 to its whole end. */
struct walk {
	struct position at; /* after the last whole frame */
	struct position head; /* what the durable head says */
	bool head_met;
	bool stopped; /* nothing valid follows `at` */
	uint64_t torn_bytes; /* bytes after `at` in its segment that are not zero */
	uint32_t stray_segment; /* this segment and all after it hold nothing; 0: none */
};

static result damaged(const struct journal *j, const struct walk *walk, const char *what)
{
	return fail(JOURNAL_DAMAGED,
		"%s-%08u.log, offset %llu: %s; entries 1 to %llu of %llu are whole. Put a copy of the folder in its place", j->name,
		walk->at.segment, (unsigned long long)walk->at.offset, what, (unsigned long long)walk->at.sequence,
		(unsigned long long)walk->head.sequence);
}

/* Whether the walk stands where the head was; they must agree in everything. */
static result meet_head(const struct journal *j, struct walk *walk)
{
	const struct position *at = &walk->at, *head = &walk->head;
	if (at->segment != head->segment || at->offset != head->offset)
		return OK;
	if (at->sequence != head->sequence || memcmp(at->hash, head->hash, sizeof(at->hash)) != 0)
		return damaged(j, walk, "the chain does not lead to the durable head");
	walk->head_met = true;
	return OK;
}

/* The next frame, if a whole one of this chain begins at the walk's place; else *out_found is false. */
static result walk_frame(struct journal *j, struct window *window, struct walk *walk, bool *out_found)
{
	struct span bytes;
	struct frame frame;
	size_t len;
	*out_found = false;
	TRY(window_view(window, walk->at.offset, JOURNAL_FRAME_HEADER_SIZE, &bytes));
	if (frame_payload_len(bytes, &len) != OK)
		return OK;
	TRY(window_view(window, walk->at.offset, frame_size(len), &bytes));
	if (frame_decode(bytes, &frame) != OK || frame.sequence != walk->at.sequence + 1 ||
		memcmp(frame.previous, walk->at.hash, JOURNAL_HASH_SIZE) != 0)
		return OK;
	TRY(index_reserve(j, frame.sequence));
	index_note(j, frame.sequence, walk->at.segment, walk->at.offset);
	frame_hash(bytes, len, walk->at.hash);
	walk->at.sequence = frame.sequence;
	walk->at.offset += bytes.len;
	*out_found = true;
	return OK;
}

/* True when `window` begins with the header that must follow the walk's place. */
static result walk_header(const struct journal *j, struct window *window, const struct walk *walk, uint32_t number, bool *out_fits)
{
	struct span bytes;
	struct segment_header header;
	TRY(window_view(window, 0, JOURNAL_SEGMENT_HEADER_SIZE, &bytes));
	result decoded = segment_header_decode(bytes, &header);
	if (decoded == UNKNOWN_VERSION)
		return decoded;
	*out_fits = decoded == OK && header.number == number && header.first_sequence == walk->at.sequence + 1 &&
		memcmp(header.id, j->id, JOURNAL_ID_SIZE) == 0 && memcmp(header.previous, walk->at.hash, JOURNAL_HASH_SIZE) == 0;
	return OK;
}

/* When each commit is one frame, only the last may be torn: a whole one further on tells of a commit after this. */
static result refuse_followed(const struct journal *j, struct window *window, const struct walk *walk, uint64_t used)
{
	for (uint64_t at = walk->at.offset + FRAME_ALIGN; at + JOURNAL_FRAME_HEADER_SIZE <= used; at += FRAME_ALIGN) {
		struct span bytes;
		struct frame frame;
		size_t len;
		TRY(window_view(window, at, JOURNAL_FRAME_HEADER_SIZE, &bytes));
		if (frame_payload_len(bytes, &len) != OK)
			continue;
		TRY(window_view(window, at, frame_size(len), &bytes));
		if (frame_decode(bytes, &frame) == OK && frame.sequence > walk->at.sequence + 1)
			return damaged(j, walk, "a frame is damaged and whole ones follow it");
	}
	return OK;
}

static result walk_frames(struct journal *j, struct window *window, struct walk *walk)
{
	TRY(meet_head(j, walk));
	for (bool found = true; found;) {
		TRY(walk_frame(j, window, walk, &found));
		if (found)
			TRY(meet_head(j, walk));
	}
	uint64_t used;
	TRY(window_last_used(window, walk->at.offset, &used));
	walk->torn_bytes = used - walk->at.offset;
	if (walk->torn_bytes && j->options.single && !j->options.read_only)
		TRY(refuse_followed(j, window, walk, used));
	return OK;
}

/* A segment that does not continue the chain: damage when the head lies in or past it, else left by a crash. */
static result walk_stop(const struct journal *j, struct walk *walk, uint32_t number, const char *what)
{
	if (!walk->head_met)
		return damaged(j, walk, what);
	walk->stopped = true;
	walk->stray_segment = number;
	return OK;
}

/* A segment of this journal that begins later than it should: the end of the one before it was durable and is damaged. */
static result refuse_later_segment(const struct journal *j, struct window *window, const struct walk *walk)
{
	struct span bytes;
	struct segment_header header;
	TRY(window_view(window, 0, JOURNAL_SEGMENT_HEADER_SIZE, &bytes));
	if (segment_header_decode(bytes, &header) == OK && memcmp(header.id, j->id, JOURNAL_ID_SIZE) == 0 &&
		header.first_sequence > walk->at.sequence + 1)
		return damaged(j, walk, "a frame is damaged and a segment follows it");
	return OK;
}

static result walk_open_segment(struct journal *j, struct walk *walk, uint32_t number, int fd)
{
	CLEANUP(window_free) struct window window = {0};
	bool fits;
	TRY(window_open(&j->io, fd, &window));
	TRY(walk_header(j, &window, walk, number, &fits));
	if (!fits && j->options.single)
		TRY(refuse_later_segment(j, &window, walk));
	if (!fits)
		return walk_stop(j, walk, number, "the next segment does not continue the chain");
	if (walk->torn_bytes && !walk->head_met)
		return damaged(j, walk, "a frame is damaged");
	walk->at.segment = number;
	walk->at.offset = JOURNAL_SEGMENT_HEADER_SIZE;
	return walk_frames(j, &window, walk);
}

static result walk_segment(struct journal *j, struct walk *walk, uint32_t number)
{
	char name[FILE_NAME_SIZE];
	int fd;
	segment_name(j, number, name);
	result opened = open_file(j, name, j->options.read_only ? O_RDONLY : O_RDWR, &fd);
	if (opened == NOT_FOUND) {
		TRY(walk_stop(j, walk, 0, "a frame is damaged or missing"));
		return OK;
	}
	TRY(opened);
	result walked = walk_open_segment(j, walk, number, fd);
	if (walked != OK || walk->stopped) {
		close_file(j, &fd);
		return walked;
	}
	close_file(j, &j->segment_fd);
	j->segment_fd = fd;
	return OK;
}

static result walk_chain(struct journal *j, struct walk *walk)
{
	journal_genesis(j->id, walk->at.hash);
	for (uint32_t number = 1; !walk->stopped; number++) {
		if (number == 0)
			return damaged(j, walk, "the segment numbers are used up");
		TRY(walk_segment(j, walk, number));
	}
	return OK;
}

/* Trusted opening: the segments up to the head's are there, in order, and each begins where the next entry is looked for. */
static result note_segment(struct journal *j, const struct walk *walk, uint32_t number, int fd, uint64_t *last_first)
{
	uint8_t bytes[JOURNAL_SEGMENT_HEADER_SIZE];
	struct segment_header header;
	result read = transfer_read(&j->io, fd, bytes, sizeof(bytes), 0);
	if (read != OK && read != TRUNCATED)
		return read;
	struct walk at = {.at = {.segment = number}, .head = walk->head};
	result decoded = read == OK ? segment_header_decode(SPAN_ARRAY(bytes), &header) : read;
	if (decoded == UNKNOWN_VERSION)
		return decoded;
	bool first_fits = number == 1 ? decoded == OK && header.first_sequence == 1 : decoded == OK && header.first_sequence > *last_first;
	if (decoded != OK || !first_fits || header.number != number || memcmp(header.id, j->id, JOURNAL_ID_SIZE) != 0 ||
		header.first_sequence > walk->head.sequence + 1)
		return damaged(j, &at, "the segment's header is damaged");
	*last_first = header.first_sequence;
	TRY(index_grow(j));
	j->index[j->index_len++] = (struct index_row){header.first_sequence, number, JOURNAL_SEGMENT_HEADER_SIZE};
	return OK;
}

static result walk_from_head(struct journal *j, struct walk *walk)
{
	uint64_t last_first = 0;
	int fd = -1;
	for (uint32_t number = 1; number <= walk->head.segment && number != 0; number++) {
		char name[FILE_NAME_SIZE];
		segment_name(j, number, name);
		result opened = open_file(j, name, j->options.read_only ? O_RDONLY : O_RDWR, &fd);
		struct walk at = {.at = {.segment = number}, .head = walk->head};
		if (opened == NOT_FOUND)
			return damaged(j, &at, "the segment is missing");
		TRY(opened);
		result noted = note_segment(j, walk, number, fd, &last_first);
		if (noted != OK || number < walk->head.segment)
			close_file(j, &fd);
		TRY(noted);
	}
	close_file(j, &j->segment_fd);
	j->segment_fd = fd;
	walk->at = walk->head;
	off_t size = j->io.size(j->io.ctx, fd);
	if (size < 0)
		return fail_errno("looking at the journal %s", j->name);
	if ((uint64_t)size < walk->head.offset) {
		walk->at.sequence = last_first - 1;
		return damaged(j, walk, "the file ends before the durable head");
	}
	CLEANUP(window_free) struct window window = {0};
	TRY(window_open(&j->io, fd, &window));
	TRY(walk_frames(j, &window, walk));
	for (uint32_t number = walk->head.segment + 1; !walk->stopped; number++)
		TRY(walk_segment(j, walk, number));
	return OK;
}

/* Files of segments that were begun and never held anything. */
static result remove_strays(struct journal *j, uint32_t first)
{
	for (uint32_t number = first; number != 0; number++) {
		char name[FILE_NAME_SIZE];
		segment_name(j, number, name);
		if (fault_hit("journal.unlink") || j->io.unlink_at(j->io.ctx, j->dir, name) < 0) {
			if (errno == ENOENT)
				break;
			return fail_errno("removing %s", name);
		}
	}
	return sync_file(j, j->dir, true);
}

/* Makes durable what the walk decided: cuts the torn end, then moves the head up to what is whole. */
static result settle(struct journal *j, const struct walk *walk)
{
	bool moved = walk->at.segment != walk->head.segment || walk->at.offset != walk->head.offset;
	if (walk->stray_segment)
		TRY(remove_strays(j, walk->stray_segment));
	if (walk->torn_bytes) {
		if (fault_hit("journal.truncate") || j->io.truncate(j->io.ctx, j->segment_fd, (off_t)walk->at.offset) < 0)
			return fail_errno("cutting the torn end of the journal %s", j->name);
	}
	off_t size = j->io.size(j->io.ctx, j->segment_fd);
	if (size < 0)
		return fail_errno("looking at the journal %s", j->name);
	j->allocated = (uint64_t)size;
	if (!moved && !walk->torn_bytes)
		return OK;
	TRY(sync_file(j, j->segment_fd, true));
	TRY(sync_file(j, j->dir, true));
	return moved ? write_head(j) : OK;
}

static result read_head(struct journal *j, struct position *out)
{
	CLEANUP(bytes_free) struct bytes head = BYTES_EMPTY;
	result read = slots_open_io(&j->io, j->head_fd, HEAD_SLOT_SIZE, &j->head);
	if (read == OK)
		read = slots_read(&j->head, &head);
	if (read == OK)
		read = head_decode(bytes_span(&head), j->id, out);
	return read == OK ? OK : fail_within(read, "%s.head", j->name);
}

static result recover(struct journal *j, struct journal_recovery *recovery)
{
	struct walk walk = {.at = {.segment = 1}};
	TRY(read_head(j, &walk.head));
	TRY(j->options.trusted ? walk_from_head(j, &walk) : walk_chain(j, &walk));
	j->pending = walk.at;
	j->buffer_at = walk.at.offset;
	if (!j->options.read_only)
		TRY(settle(j, &walk));
	j->committed = j->pending;
	recovery->kept = walk.at.sequence - walk.head.sequence;
	recovery->cut_bytes = walk.torn_bytes;
	return OK;
}

/* Creation: the head file appears, by rename, only when everything else is durable. */

/* Without a head nothing was ever committed, so a first segment may only be there empty. */
static result refuse_headless(const struct journal *j)
{
	char name[FILE_NAME_SIZE];
	int fd;
	segment_name(j, 1, name);
	result opened = open_file(j, name, O_RDWR, &fd);
	if (opened != OK)
		return opened == NOT_FOUND ? OK : opened;
	CLEANUP(window_free) struct window window = {0};
	uint64_t used = 0;
	result looked = window_open(&j->io, fd, &window);
	if (looked == OK)
		looked = window_last_used(&window, 0, &used);
	close_file(j, &fd);
	TRY(looked);
	if (used > JOURNAL_SEGMENT_HEADER_SIZE)
		return fail(JOURNAL_DAMAGED, "%s.head is missing beside %s; put a copy of the folder in its place", j->name, name);
	return OK;
}

static result create_head(struct journal *j)
{
	char temp[FILE_NAME_SIZE], name[FILE_NAME_SIZE];
	sibling_name(j, "head.tmp", temp);
	sibling_name(j, "head", name);
	TRY(open_file(j, temp, O_RDWR | O_CREAT | O_TRUNC, &j->head_fd));
	TRY(slots_format_io(&j->io, j->head_fd, HEAD_SLOT_SIZE));
	TRY(slots_open_io(&j->io, j->head_fd, HEAD_SLOT_SIZE, &j->head));
	TRY(write_head(j));
	TRY(sync_file(j, j->dir, true));
	if (fault_hit("journal.rename") || j->io.rename_at(j->io.ctx, j->dir, temp, name) < 0)
		return fail_errno("naming %s", name);
	return sync_file(j, j->dir, true);
}

static result create(struct journal *j, struct journal_recovery *recovery)
{
	if (j->options.must_exist)
		return fail(NOT_FOUND, "there is no journal %s here", j->name);
	TRY(refuse_headless(j));
	random_bytes(j->id, sizeof(j->id));
	journal_genesis(j->id, j->pending.hash);
	TRY(start_segment(j, 1));
	TRY(create_head(j));
	j->committed = j->pending;
	recovery->created = true;
	return OK;
}

/* Opening and closing */

static result take_lock(struct journal *j)
{
	char name[FILE_NAME_SIZE];
	sibling_name(j, "lock", name);
	TRY(open_file(j, name, O_RDWR | O_CREAT, &j->lock));
	if (j->io.lock(j->io.ctx, j->lock) == 0)
		return OK;
	if (errno == EWOULDBLOCK)
		return fail(BUSY, "the journal %s is open in another program", j->name);
	return fail_errno("locking the journal %s", j->name);
}

static result open_journal(struct journal *j, const char *dir, struct journal_recovery *recovery)
{
	char head[FILE_NAME_SIZE];
	j->dir = j->io.open_at(j->io.ctx, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
	if (j->dir < 0)
		return fail_errno("opening the folder %s", dir);
	if (!j->options.read_only)
		TRY(take_lock(j));
	sibling_name(j, "head", head);
	result opened = open_file(j, head, j->options.read_only ? O_RDONLY : O_RDWR, &j->head_fd);
	if (opened == NOT_FOUND && !j->options.read_only)
		return create(j, recovery);
	TRY(opened);
	return recover(j, recovery);
}

result journal_open(const char *dir, const char *name, const struct journal_options *options, struct journal **out,
	struct journal_recovery *out_recovery)
{
	CLEANUP(journal_cleanup) struct journal *j = calloc(1, sizeof(*j));
	struct journal_recovery recovery = {0};
	if (!j)
		return fail(NO_MEMORY, "a journal");
	j->dir = j->lock = j->head_fd = j->segment_fd = -1;
	if (options)
		j->options = *options;
	j->io = j->options.io ? *j->options.io : store_io_system;
	if (!j->options.segment_max)
		j->options.segment_max = segment_max_default;
	if (!j->options.preallocate)
		j->options.preallocate = preallocate_default;
	if (!path_name_ok(name) || strlen(name) > JOURNAL_NAME_MAX)
		return fail(BAD_VALUE, "'%s' cannot name a journal", name);
	memcpy(j->name, name, strlen(name) + 1);
	result opened = open_journal(j, dir, &recovery);
	if (opened != OK) {
		j->poisoned = true; /* closing must not write */
		return opened;
	}
	if (out_recovery)
		*out_recovery = recovery;
	*out = j;
	j = NULL; /* transferred */
	return OK;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	/* Pending entries that reached the file must not be there at the next opening. */
	if (!j->poisoned && journal_discard(j) != OK)
		j->poisoned = true;
	/* The lazy head catches up. If it cannot, the next opening finds the entries by walking. */
	if (!j->poisoned && j->commits_past_head && write_head(j) != OK)
		j->poisoned = true;
	close_file(j, &j->segment_fd);
	close_file(j, &j->head_fd);
	close_file(j, &j->lock);
	close_file(j, &j->dir);
	free(j->buffer);
	free(j->index);
	free(j);
}

void journal_cleanup(struct journal **at)
{
	journal_close(*at);
}

/* Reading */

struct journal_cursor {
	struct journal *journal;
	struct window window;
	int fd;
	uint32_t segment;
	uint64_t offset;
	uint64_t at; /* where the frame that was read last begins */
	uint64_t next; /* sequence of the next entry */
	uint64_t known; /* the journal's head when the window was read */
};

static result cursor_enter(struct journal_cursor *cursor, uint32_t segment, uint64_t offset)
{
	char name[FILE_NAME_SIZE];
	int fd;
	segment_name(cursor->journal, segment, name);
	TRY(open_file(cursor->journal, name, O_RDONLY, &fd));
	close_file(cursor->journal, &cursor->fd);
	window_free(&cursor->window);
	cursor->fd = fd;
	cursor->segment = segment;
	cursor->offset = offset;
	cursor->known = cursor->journal->committed.sequence;
	return window_open(&cursor->journal->io, fd, &cursor->window);
}

/* The frame at the cursor's place; *out_found is false where the segment's frames end. */
static result cursor_frame(struct journal_cursor *cursor, struct frame *out, bool *out_found)
{
	struct span bytes;
	size_t len;
	*out_found = false;
	TRY(window_view(&cursor->window, cursor->offset, JOURNAL_FRAME_HEADER_SIZE, &bytes));
	if (frame_payload_len(bytes, &len) != OK)
		return OK;
	TRY(window_view(&cursor->window, cursor->offset, frame_size(len), &bytes));
	if (frame_decode(bytes, out) != OK)
		return fail(JOURNAL_DAMAGED, "%s-%08u.log, offset %llu: %s; put a copy of the folder in its place", cursor->journal->name,
			cursor->segment, (unsigned long long)cursor->offset, failure_text());
	cursor->at = cursor->offset;
	cursor->offset += bytes.len;
	*out_found = true;
	return OK;
}

/* The frame of entry cursor->next, which is committed. */
static result cursor_step(struct journal_cursor *cursor, struct frame *out)
{
	const struct journal *j = cursor->journal;
	bool found = false;
	if (cursor->known != j->committed.sequence) {
		TRY(window_refresh(&cursor->window));
		cursor->known = j->committed.sequence;
	}
	TRY(cursor_frame(cursor, out, &found));
	if (!found && cursor->segment < j->committed.segment) {
		TRY(cursor_enter(cursor, cursor->segment + 1, JOURNAL_SEGMENT_HEADER_SIZE));
		TRY(cursor_frame(cursor, out, &found));
	}
	if (!found || out->sequence != cursor->next)
		return fail(JOURNAL_DAMAGED, "entry %llu of the journal %s cannot be read any more; put a copy of the folder in its place",
			(unsigned long long)cursor->next, j->name);
	cursor->next++;
	return OK;
}

/* From the nearest indexed entry to the one before `sequence`. */
static result cursor_seek(struct journal_cursor *cursor, uint64_t sequence)
{
	const struct journal *j = cursor->journal;
	const struct index_row *row = index_find(j, sequence);
	struct frame skipped;
	if (!row)
		return fail(INTERNAL, "entry %llu of the journal %s is not indexed", (unsigned long long)sequence, j->name);
	cursor->next = row->sequence;
	result moved = cursor_enter(cursor, row->segment, row->offset);
	while (moved == OK && cursor->next < sequence)
		moved = cursor_step(cursor, &skipped);
	if (moved != OK) {
		close_file(j, &cursor->fd);
		cursor->next = sequence;
	}
	return moved;
}

result journal_cursor_open(struct journal *j, uint64_t from_sequence, struct journal_cursor **out)
{
	CLEANUP(journal_cursor_cleanup) struct journal_cursor *cursor = calloc(1, sizeof(*cursor));
	if (!cursor)
		return fail(NO_MEMORY, "a journal cursor");
	cursor->journal = j;
	cursor->fd = -1;
	cursor->next = from_sequence ? from_sequence : 1;
	*out = cursor;
	cursor = NULL; /* transferred */
	return OK;
}

result journal_cursor_open_at(struct journal *j, struct journal_place place, uint64_t sequence, struct journal_cursor **out)
{
	CLEANUP(journal_cursor_cleanup) struct journal_cursor *cursor = NULL;
	TRY(journal_cursor_open(j, sequence, &cursor));
	TRY(cursor_enter(cursor, place.segment, place.offset));
	*out = cursor;
	cursor = NULL; /* transferred */
	return OK;
}

result journal_cursor_next(struct journal_cursor *cursor, struct journal_entry *out, bool *out_more)
{
	struct frame frame;
	if (cursor->next > cursor->journal->committed.sequence) {
		*out_more = false;
		return OK;
	}
	if (cursor->fd < 0)
		TRY(cursor_seek(cursor, cursor->next));
	TRY(cursor_step(cursor, &frame));
	*out = (struct journal_entry){.sequence = frame.sequence, .type = frame.type, .payload = frame.payload,
		.place = {cursor->segment, cursor->at}};
	*out_more = true;
	return OK;
}

void journal_cursor_close(struct journal_cursor *cursor)
{
	if (!cursor)
		return;
	close_file(cursor->journal, &cursor->fd);
	window_free(&cursor->window);
	free(cursor);
}

void journal_cursor_cleanup(struct journal_cursor **at)
{
	journal_cursor_close(*at);
}

result journal_read(struct journal *j, uint64_t from_sequence, journal_each *each, void *arg)
{
	CLEANUP(journal_cursor_cleanup) struct journal_cursor *cursor = NULL;
	TRY(journal_cursor_open(j, from_sequence, &cursor));
	for (;;) {
		struct journal_entry entry;
		bool more = false;
		TRY(journal_cursor_next(cursor, &entry, &more));
		if (!more)
			return OK;
		TRY(each(arg, &entry));
	}
}

/* ---- One entry at a known place ---------------------------------------------------------------- */

struct journal_place journal_next_segment(struct journal_place place)
{
	return (struct journal_place){place.segment + 1, JOURNAL_SEGMENT_HEADER_SIZE};
}

result journal_segment_first(const struct journal *j, uint32_t segment, uint64_t *out_sequence)
{
	uint8_t bytes[JOURNAL_SEGMENT_HEADER_SIZE];
	char name[FILE_NAME_SIZE];
	struct segment_header header;
	int fd;
	if (segment == 0 || segment > j->committed.segment)
		return fail(NOT_FOUND, "the journal %s has no segment %u", j->name, segment);
	segment_name(j, segment, name);
	TRY(open_file(j, name, O_RDONLY, &fd));
	result read = transfer_read(&j->io, fd, bytes, sizeof(bytes), 0);
	close_file(j, &fd);
	if (read == OK)
		read = segment_header_decode(SPAN_ARRAY(bytes), &header);
	if (read == JOURNAL_DAMAGED || read == TRUNCATED)
		return fail(JOURNAL_DAMAGED, "%s, offset 0: the segment's header is damaged; put a copy of the folder in its place", name);
	TRY(read);
	*out_sequence = header.first_sequence;
	return OK;
}

static result fetch_frame(const struct journal *j, int fd, struct journal_place place, struct bytes *out)
{
	uint8_t header[JOURNAL_FRAME_HEADER_SIZE];
	size_t len, got;
	TRY(transfer_read_some(&j->io, fd, header, sizeof(header), place.offset, &got));
	if (got == 0 || span_is_zero(span_of(header, got)))
		return fail(NOT_FOUND, "no entry of the journal %s begins here", j->name);
	TRY(frame_payload_len(span_of(header, got), &len));
	struct bytes frame = {malloc(frame_size(len)), frame_size(len)};
	if (!frame.data)
		return fail(NO_MEMORY, "%zu bytes", frame.len);
	result read = transfer_read(&j->io, fd, frame.data, frame.len, place.offset);
	if (read != OK) {
		bytes_free(&frame);
		return read;
	}
	*out = frame;
	return OK;
}

result journal_fetch(const struct journal *j, struct journal_place place, uint64_t sequence, struct bytes *buffer,
	struct journal_entry *out, struct journal_place *out_next)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	char name[FILE_NAME_SIZE];
	struct frame frame;
	int fd;
	segment_name(j, place.segment, name);
	TRY(open_file(j, name, O_RDONLY, &fd));
	result read = fetch_frame(j, fd, place, &bytes);
	close_file(j, &fd);
	if (read == OK)
		read = frame_decode(bytes_span(&bytes), &frame);
	if (read == OK && frame.sequence != sequence)
		read = fail(JOURNAL_DAMAGED, "it is entry %llu", (unsigned long long)frame.sequence);
	if (read == JOURNAL_DAMAGED || read == TRUNCATED)
		return fail(JOURNAL_DAMAGED, "%s, offset %llu: entry %llu cannot be read any more; put a copy of the folder in its place", name,
			(unsigned long long)place.offset, (unsigned long long)sequence);
	TRY(read);
	*out = (struct journal_entry){.sequence = frame.sequence, .type = frame.type, .payload = frame.payload, .place = place};
	if (out_next)
		*out_next = (struct journal_place){place.segment, place.offset + bytes.len};
	bytes_free(buffer);
	*buffer = bytes_move(&bytes);
	return OK;
}
