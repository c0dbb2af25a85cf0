#include "store/slots.h"

#include "base/fault.h"
#include "base/reader.h"
#include "base/writer.h"
#include "store/crc32c.h"
#include "store/transfer.h"

#include <errno.h>
#include <stdlib.h>

#define SLOT_MAGIC "TSL1"

enum { CRC_OFFSET = 16 };

/* The sum covers the header before it and the payload. */
static uint32_t slot_sum(struct span header, struct span payload)
{
	return crc32c(crc32c(0, span_of(header.data, CRC_OFFSET)), payload);
}

result slot_decode(struct span slot, uint64_t *out_sequence, struct span *out_payload)
{
	struct reader r = reader_of(slot);
	struct span magic, payload;
	uint32_t len, sum, reserved;
	uint64_t sequence;
	if (reader_take(&r, 4, &magic) != OK || reader_u32(&r, &len) != OK || reader_u64(&r, &sequence) != OK ||
		reader_u32(&r, &sum) != OK || reader_u32(&r, &reserved) != OK || reader_take(&r, len, &payload) != OK)
		return fail(JOURNAL_DAMAGED, "a slot is cut short");
	if (!span_equal_str(magic, SLOT_MAGIC) || sequence == 0 || reserved != 0 || sum != slot_sum(slot, payload))
		return fail(JOURNAL_DAMAGED, "a slot is not valid");
	*out_sequence = sequence;
	*out_payload = payload;
	return OK;
}

/* The whole slot, so that nothing of an older, longer payload stays behind. */
static void encode_slot(uint8_t *slot, size_t slot_size, uint64_t sequence, struct span payload)
{
	struct writer w = writer_fixed(slot, SLOT_HEADER_SIZE);
	writer_str(&w, SLOT_MAGIC);
	writer_u32(&w, (uint32_t)payload.len);
	writer_u64(&w, sequence);
	writer_u32(&w, slot_sum(span_of(slot, CRC_OFFSET), payload));
	writer_u32(&w, 0);
	if (payload.len)
		memcpy(slot + SLOT_HEADER_SIZE, payload.data, payload.len);
	memset(slot + SLOT_HEADER_SIZE + payload.len, 0, slot_size - SLOT_HEADER_SIZE - payload.len);
}

static result check_size(size_t slot_size)
{
	if (slot_size == 0 || slot_size % 512 != 0 || slot_size > SLOT_SIZE_MAX)
		return fail(BAD_VALUE, "slots of %zu bytes", slot_size);
	return OK;
}

static result allocate(size_t size, struct bytes *out)
{
	uint8_t *data = malloc(size);
	if (!data)
		return fail(NO_MEMORY, "%zu bytes", size);
	*out = (struct bytes){data, size};
	return OK;
}

/* A failed sync leaves it unknown what is on the disk, and a second one would not tell: the handle is done for. */
static result write_slot(const struct slots *slots, uint64_t sequence, struct span payload, bool *out_fatal)
{
	CLEANUP(bytes_free) struct bytes slot = BYTES_EMPTY;
	*out_fatal = false;
	TRY(allocate(slots->slot_size, &slot));
	encode_slot(slot.data, slots->slot_size, sequence, payload);
	uint64_t offset = (sequence & 1) * slots->slot_size;
	result written = transfer_write(slots->io, slots->fd, bytes_span(&slot), offset, "slots.write");
	if (written != OK) {
		*out_fatal = written != DISK_FULL;
		return written;
	}
	if (fault_hit("slots.sync") || slots->io->data_sync(slots->io->ctx, slots->fd) < 0) {
		*out_fatal = true;
		return fail_errno("making a slot durable");
	}
	return OK;
}

result slots_write(struct slots *slots, struct span payload)
{
	bool fatal;
	if (slots->poisoned)
		return fail(JOURNAL_POISONED, "an earlier write of this state failed");
	if (payload.len > slots->slot_size - SLOT_HEADER_SIZE)
		return fail(TOO_LARGE, "%zu bytes for a slot of %zu", payload.len, slots->slot_size);
	if (slots->sequence == UINT64_MAX)
		return fail(TOO_LARGE, "the sequence of this state is used up");
	result written = write_slot(slots, slots->sequence + 1, payload, &fatal);
	if (written == OK)
		slots->sequence++;
	slots->poisoned = fatal;
	return written;
}

result slots_format_io(const struct store_io *io, int fd, size_t slot_size)
{
	bool fatal;
	TRY(check_size(slot_size));
	struct slots slots = {.io = io, .fd = fd, .slot_size = slot_size};
	if (fault_hit("slots.format") || io->truncate(io->ctx, fd, 0) < 0 ||
		io->truncate(io->ctx, fd, (off_t)slots_file_size(slot_size)) < 0)
		return fail_errno("sizing a state file");
	TRY(write_slot(&slots, 1, SPAN_EMPTY, &fatal));
	TRY(write_slot(&slots, 2, SPAN_EMPTY, &fatal));
	if (fault_hit("slots.sync") || io->sync(io->ctx, fd) < 0)
		return fail_errno("making a state file durable");
	return OK;
}

/* The newest of the slots in `file`: its sequence and payload; sequence 0 and empty when nothing was ever written. */
static result newest(struct span file, uint64_t *out_sequence, struct span *out_payload)
{
	size_t slot_size = file.len / 2;
	uint64_t best = 0;
	struct span payload = SPAN_EMPTY;
	for (size_t i = 0; i < 2; i++) {
		uint64_t sequence;
		struct span found;
		if (slot_decode(span_of(file.data + i * slot_size, slot_size), &sequence, &found) != OK)
			continue;
		/* A sequence lives in the slot of its lowest bit; anywhere else it was copied there. */
		if ((sequence & 1) == i && sequence > best) {
			best = sequence;
			payload = found;
		}
	}
	if (best == 0 && !span_is_zero(file))
		return fail(JOURNAL_DAMAGED, "both slots of the state are damaged; restore the state from a copy");
	*out_sequence = best;
	*out_payload = payload;
	return OK;
}

static result read_newest(const struct slots *slots, struct bytes *file, uint64_t *out_sequence, struct span *out_payload)
{
	TRY(allocate(slots_file_size(slots->slot_size), file));
	result read = transfer_read(slots->io, slots->fd, file->data, file->len, 0);
	if (read == TRUNCATED)
		return fail(JOURNAL_DAMAGED, "the state file is shorter than two slots");
	TRY(read);
	return newest(bytes_span(file), out_sequence, out_payload);
}

result slots_open_io(const struct store_io *io, int fd, size_t slot_size, struct slots *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct span payload;
	TRY(check_size(slot_size));
	struct slots slots = {.io = io, .fd = fd, .slot_size = slot_size};
	TRY(read_newest(&slots, &file, &slots.sequence, &payload));
	*out = slots;
	return OK;
}

result slots_read(const struct slots *slots, struct bytes *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct span payload;
	uint64_t sequence;
	if (slots->poisoned)
		return fail(JOURNAL_POISONED, "an earlier write of this state failed");
	TRY(read_newest(slots, &file, &sequence, &payload));
	if (sequence < slots->sequence)
		return fail(JOURNAL_DAMAGED, "the newest slot of the state was damaged after it was written");
	return bytes_copy(payload, out);
}

result slots_format(int fd, size_t slot_size)
{
	return slots_format_io(&store_io_system, fd, slot_size);
}

result slots_open(int fd, size_t slot_size, struct slots *out)
{
	return slots_open_io(&store_io_system, fd, slot_size, out);
}
