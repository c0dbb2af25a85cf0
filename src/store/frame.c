#include "store/frame.h"

#include "base/reader.h"
#include "base/writer.h"
#include "crypto/hash.h"
#include "store/crc32c.h"

#define FRAME_MAGIC "TJF1"
#define SEGMENT_MAGIC "TJS1"

enum { FRAME_CRC_OFFSET = 52, SEGMENT_CRC_OFFSET = 64 };

static_assert((int)JOURNAL_HASH_SIZE == (int)SHA256_SIZE, "the chain is SHA-256");

/* The sum covers the header before it and the payload. */
static uint32_t frame_sum(const uint8_t *bytes, size_t payload_len)
{
	uint32_t header = crc32c(0, span_of(bytes, FRAME_CRC_OFFSET));
	return crc32c(header, span_of(bytes + JOURNAL_FRAME_HEADER_SIZE, payload_len));
}

void frame_hash(struct span bytes, size_t payload_len, uint8_t out[static JOURNAL_HASH_SIZE])
{
	sha256(span_of(bytes.data, JOURNAL_FRAME_HEADER_SIZE + payload_len), out);
}

void frame_encode(const struct frame *frame, uint8_t *out, uint8_t out_hash[static JOURNAL_HASH_SIZE])
{
	size_t size = frame_size(frame->payload.len), used = JOURNAL_FRAME_HEADER_SIZE + frame->payload.len;
	struct writer w = writer_fixed(out, JOURNAL_FRAME_HEADER_SIZE);
	/* The payload first: the sum in the header covers it. */
	if (frame->payload.len)
		memcpy(out + JOURNAL_FRAME_HEADER_SIZE, frame->payload.data, frame->payload.len);
	memset(out + used, 0, size - used);
	writer_str(&w, FRAME_MAGIC);
	writer_u32(&w, (uint32_t)frame->payload.len);
	writer_u64(&w, frame->sequence);
	writer_u16(&w, frame->type);
	writer_u16(&w, 0);
	writer_put(&w, frame->previous, JOURNAL_HASH_SIZE);
	writer_u32(&w, frame_sum(out, frame->payload.len));
	frame_hash(span_of(out, size), frame->payload.len, out_hash);
}

result frame_payload_len(struct span header, size_t *out)
{
	struct reader r = reader_of(header);
	struct span magic;
	uint32_t len;
	if (reader_take(&r, 4, &magic) != OK || reader_u32(&r, &len) != OK)
		return fail(JOURNAL_DAMAGED, "a frame is cut short");
	if (!span_equal_str(magic, FRAME_MAGIC) || len > JOURNAL_PAYLOAD_MAX)
		return fail(JOURNAL_DAMAGED, "no frame begins here");
	*out = len;
	return OK;
}

result frame_decode(struct span bytes, struct frame *out)
{
	struct frame frame;
	size_t len;
	uint16_t reserved;
	uint32_t sum;
	struct span skipped, previous;
	TRY(frame_payload_len(bytes, &len));
	struct reader r = reader_of(bytes);
	if (bytes.len != frame_size(len) || reader_take(&r, 8, &skipped) != OK || reader_u64(&r, &frame.sequence) != OK ||
		reader_u16(&r, &frame.type) != OK || reader_u16(&r, &reserved) != OK ||
		reader_take(&r, JOURNAL_HASH_SIZE, &previous) != OK || reader_u32(&r, &sum) != OK ||
		reader_take(&r, len, &frame.payload) != OK)
		return fail(JOURNAL_DAMAGED, "a frame is cut short");
	if (reserved != 0 || sum != frame_sum(bytes.data, len) || !span_is_zero(span_of(r.at, reader_left(&r))))
		return fail(JOURNAL_DAMAGED, "a frame does not have its checksum");
	frame.previous = previous.data;
	*out = frame;
	return OK;
}

void segment_header_encode(const struct segment_header *header, uint8_t out[static JOURNAL_SEGMENT_HEADER_SIZE])
{
	struct writer w = writer_fixed(out, JOURNAL_SEGMENT_HEADER_SIZE);
	writer_str(&w, SEGMENT_MAGIC);
	writer_u32(&w, header->number);
	writer_u64(&w, header->first_sequence);
	writer_put(&w, header->id, JOURNAL_ID_SIZE);
	writer_put(&w, header->previous, JOURNAL_HASH_SIZE);
	writer_u32(&w, crc32c(0, span_of(out, SEGMENT_CRC_OFFSET)));
	writer_u32(&w, 0);
}

result segment_header_decode(struct span bytes, struct segment_header *out)
{
	struct reader r = reader_of(bytes);
	struct segment_header header;
	struct span magic;
	uint32_t sum, reserved;
	if (reader_take(&r, 4, &magic) != OK || reader_u32(&r, &header.number) != OK || reader_u64(&r, &header.first_sequence) != OK ||
		reader_copy(&r, header.id, JOURNAL_ID_SIZE) != OK || reader_copy(&r, header.previous, JOURNAL_HASH_SIZE) != OK ||
		reader_u32(&r, &sum) != OK || reader_u32(&r, &reserved) != OK || reader_finish(&r) != OK)
		return fail(JOURNAL_DAMAGED, "a segment header is cut short");
	if (memcmp(magic.data, SEGMENT_MAGIC, 3) != 0 || sum != crc32c(0, span_of(bytes.data, SEGMENT_CRC_OFFSET)))
		return fail(JOURNAL_DAMAGED, "a segment header is damaged");
	if (!span_equal_str(magic, SEGMENT_MAGIC))
		return fail(UNKNOWN_VERSION, "a journal of version '%c'", magic.data[3]);
	if (reserved != 0)
		return fail(JOURNAL_DAMAGED, "a segment header is damaged");
	*out = header;
	return OK;
}

void journal_genesis(const uint8_t id[static JOURNAL_ID_SIZE], uint8_t out[static JOURNAL_HASH_SIZE])
{
	uint8_t bytes[64];
	struct writer w = writer_fixed(bytes, sizeof(bytes));
	writer_lv(&w, span_str("troth journal"));
	writer_lv(&w, span_of(id, JOURNAL_ID_SIZE));
	sha256(span_of(bytes, w.len), out);
}

void head_encode(const uint8_t id[static JOURNAL_ID_SIZE], const struct position *position, uint8_t out[static HEAD_SIZE])
{
	struct writer w = writer_fixed(out, HEAD_SIZE);
	writer_put(&w, id, JOURNAL_ID_SIZE);
	writer_u32(&w, position->segment);
	writer_u32(&w, 0);
	writer_u64(&w, position->offset);
	writer_u64(&w, position->sequence);
	writer_put(&w, position->hash, JOURNAL_HASH_SIZE);
}

result head_decode(struct span bytes, uint8_t out_id[static JOURNAL_ID_SIZE], struct position *out)
{
	struct reader r = reader_of(bytes);
	struct position position;
	uint8_t id[JOURNAL_ID_SIZE];
	uint32_t reserved;
	if (reader_copy(&r, id, sizeof(id)) != OK || reader_u32(&r, &position.segment) != OK || reader_u32(&r, &reserved) != OK ||
		reader_u64(&r, &position.offset) != OK || reader_u64(&r, &position.sequence) != OK ||
		reader_copy(&r, position.hash, JOURNAL_HASH_SIZE) != OK || reader_finish(&r) != OK || reserved != 0 ||
		position.segment == 0)
		return fail(JOURNAL_DAMAGED, "the head of the journal is not valid");
	memcpy(out_id, id, sizeof(id));
	*out = position;
	return OK;
}
