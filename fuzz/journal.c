/*
 * Opening a journal, and reading state slots, from hostile and from crashed files. The first byte chooses:
 *   0  the rest is a slot file
 *   1  72 bytes of head, then a segment, as they are     2  the same with its checksums mended, so that the
 *                                                           input gets past them
 *   3  a tape: work on a journal, a crash of it, flipped bytes, and what may be there afterwards
 */
#include "store/journal.h"
#include "../tests/unit/store/disk.c"
#include "store/crc32c.h"
#include "store/frame.h"
#include "store/slots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOT = 512, HEAD_SLOT = 4096, TAPE_MAX = 48, SEEDS = 16 };

static void require(bool holds)
{
	if (!holds)
		abort();
}

static int put_file(struct disk *disk, const char *name, struct span content)
{
	int fd = disk->io.open_at(disk, FOLDER, name, O_RDWR | O_CREAT, 0600);
	require(fd >= 0);
	file_write(&disk->now.files[disk->fds[fd]], 0, content.data, content.len);
	return fd;
}

static void read_slots(struct span input)
{
	struct disk disk;
	struct slots slots;
	struct span payload;
	uint64_t sequence;
	CLEANUP(bytes_free) struct bytes found = BYTES_EMPTY;
	disk_init(&disk);
	if (slot_decode(input, &sequence, &payload) == OK)
		require(sequence > 0 && payload.len <= input.len - SLOT_HEADER_SIZE);
	int fd = put_file(&disk, "state", input);
	if (slots_open_io(&disk.io, fd, SLOT, &slots) == OK && slots.sequence < UINT64_MAX) {
		require(slots_read(&slots, &found) == OK);
		bytes_free(&found);
		require(slots_write(&slots, span_str("next")) == OK);
		require(slots_open_io(&disk.io, fd, SLOT, &slots) == OK);
		require(slots_read(&slots, &found) == OK && span_equal_str(bytes_span(&found), "next"));
	}
	disk_free(&disk);
}

static void put_u32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Makes every checksum right, as an attacker would. */
static void mend(struct disk_file *file)
{
	size_t at = JOURNAL_SEGMENT_HEADER_SIZE, len;
	if (file->size < at)
		return;
	put_u32(file->data + 64, crc32c(0, span_of(file->data, 64)));
	while (at < file->size && frame_payload_len(span_of(file->data + at, file->size - at), &len) == OK &&
		frame_size(len) <= file->size - at) {
		uint8_t *frame = file->data + at;
		put_u32(frame + 52, crc32c(crc32c(0, span_of(frame, 52)), span_of(frame + JOURNAL_FRAME_HEADER_SIZE, len)));
		at += frame_size(len);
	}
}

static result count_entry(void *arg, const struct journal_entry *entry)
{
	uint64_t *count = arg;
	require(entry->sequence == ++*count);
	return OK;
}

static void open_raw(struct span input, bool mended)
{
	struct disk disk;
	struct slots head;
	struct journal *j = NULL;
	uint64_t count = 0;
	if (input.len < HEAD_SIZE)
		return;
	disk_init(&disk);
	int fd = put_file(&disk, "j.head", SPAN_EMPTY);
	require(slots_format_io(&disk.io, fd, HEAD_SLOT) == OK && slots_open_io(&disk.io, fd, HEAD_SLOT, &head) == OK);
	require(slots_write(&head, span_of(input.data, HEAD_SIZE)) == OK);
	disk.io.close(&disk, fd);
	fd = put_file(&disk, "j-00000001.log", span_of(input.data + HEAD_SIZE, input.len - HEAD_SIZE));
	disk.io.close(&disk, fd);
	if (mended)
		mend(disk_find(&disk, "j-00000001.log"));
	const struct journal_options options = {.preallocate = 256, .io = &disk.io};
	if (journal_open("", "j", &options, &j, NULL) == OK) {
		require(journal_read(j, 1, count_entry, &count) == OK && journal_head(j).sequence == count);
		require(journal_append(j, 1, span_str("more"), NULL) == OK && journal_commit(j) == OK);
		journal_close(j);
		require(journal_open("", "j", &options, &j, NULL) == OK && journal_head(j).sequence == count + 1);
		journal_close(j);
	}
	disk_free(&disk);
}

/* Tape: what was appended, in order; the journal holds a prefix of it. */
struct tape {
	uint8_t lengths[TAPE_MAX];
	size_t appended, acknowledged;
	size_t read;
};

static struct span tape_payload(const struct tape *tape, size_t i, uint8_t buffer[static 256])
{
	memset(buffer, (int)(i + 1), 256);
	return span_of(buffer, tape->lengths[i]);
}

static result match_entry(void *arg, const struct journal_entry *entry)
{
	struct tape *tape = arg;
	uint8_t buffer[256];
	require(tape->read < tape->appended);
	require(span_equal(entry->payload, tape_payload(tape, tape->read++, buffer)));
	return OK;
}

static void play(struct journal *j, struct tape *tape, struct span ops)
{
	uint8_t buffer[256];
	for (size_t i = 0; i < ops.len && tape->appended < TAPE_MAX; i++) {
		if (ops.data[i] & 1) {
			tape->lengths[tape->appended] = ops.data[i];
			struct span payload = tape_payload(tape, tape->appended, buffer);
			require(journal_append(j, ops.data[i], payload, NULL) == OK);
			tape->appended++;
		} else {
			require(journal_commit(j) == OK);
			tape->acknowledged = tape->appended;
		}
	}
}

/* Flips bytes of one file of the crashed disk; each flip is {offset u16, xor}. True when something was changed. */
static bool flip(struct disk *disk, uint8_t which, struct span flips)
{
	static const char *const names[] = {"j.head", "j-00000001.log", "j-00000002.log", "j-00000003.log"};
	struct disk_file *file = disk_find(disk, names[which % 4]);
	bool changed = false;
	for (size_t i = 0; file && file->size && i + 3 <= flips.len; i += 3) {
		size_t at = ((size_t)flips.data[i] << 8 | flips.data[i + 1]) % file->size;
		file->data[at] ^= flips.data[i + 2];
		changed = changed || flips.data[i + 2] != 0;
	}
	return changed;
}

static void play_and_crash(struct span input)
{
	struct disk disk, after;
	struct tape tape = {0};
	struct journal *j = NULL;
	if (input.len < 4)
		return;
	uint8_t seed = input.data[0], which = input.data[1];
	size_t ops_len = input.data[2] < input.len - 3 ? input.data[2] : input.len - 3;
	disk_init(&disk);
	struct journal_options options = {.segment_max = 300, .preallocate = 128, .lazy_head = seed & 1, .io = &disk.io};
	require(journal_open("", "j", &options, &j, NULL) == OK);
	play(j, &tape, span_of(input.data + 3, ops_len));
	/* The power goes before the close. */
	disk_crash(&disk, disk.op_count, seed / 2 % SEEDS, &after);
	journal_close(j);
	j = NULL;
	bool flipped = flip(&after, which, span_of(input.data + 3 + ops_len, input.len - 3 - ops_len));
	options.io = &after.io;
	result opened = journal_open("", "j", &options, &j, NULL);
	if (opened == OK) {
		require(journal_read(j, 1, match_entry, &tape) == OK);
		require(flipped || tape.read >= tape.acknowledged);
		journal_close(j);
	} else {
		require(flipped && (opened == JOURNAL_DAMAGED || opened == UNKNOWN_VERSION));
	}
	disk_free(&disk);
	disk_free(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct span rest = span_of(data + 1, size - 1);
	switch (data[0] % 4) {
	case 0:
		read_slots(rest);
		break;
	case 1:
		open_raw(rest, false);
		break;
	case 2:
		open_raw(rest, true);
		break;
	case 3:
		play_and_crash(rest);
		break;
	}
	return 0;
}
