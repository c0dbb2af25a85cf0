/*
 * The byte forms of the journal: frame, segment header, head. Pure: no I/O, no allocation. docs/PROTOCOL.journal
 * has the tables.
 */
#ifndef TROTH_STORE_FRAME_H
#define TROTH_STORE_FRAME_H

#include "base/result.h"
#include "base/span.h"
#include "store/journal.h"

enum { FRAME_ALIGN = 8, HEAD_SIZE = 72 };

struct frame {
	uint64_t sequence;
	uint16_t type;
	const uint8_t *previous; /* JOURNAL_HASH_SIZE bytes, borrowed */
	struct span payload; /* borrowed */
};

struct segment_header {
	uint32_t number;
	uint64_t first_sequence;
	uint8_t id[JOURNAL_ID_SIZE];
	uint8_t previous[JOURNAL_HASH_SIZE];
};

/* Where the chain stands: after entry `sequence`, whose frame ends at `offset` of segment `segment`. */
struct position {
	uint32_t segment;
	uint64_t offset;
	uint64_t sequence;
	uint8_t hash[JOURNAL_HASH_SIZE];
};

/* The bytes a frame takes in the file, padding included. */
static inline size_t frame_size(size_t payload_len)
{
	return (JOURNAL_FRAME_HEADER_SIZE + payload_len + FRAME_ALIGN - 1) / FRAME_ALIGN * FRAME_ALIGN;
}

/* Writes frame_size(payload.len) bytes to `out` and the chain hash after the frame to out_hash. */
void frame_encode(const struct frame *frame, uint8_t *out, uint8_t out_hash[static JOURNAL_HASH_SIZE]);

/* From the first JOURNAL_FRAME_HEADER_SIZE bytes: how long the payload says it is. JOURNAL_DAMAGED when these bytes
 * begin no frame. */
NODISCARD result frame_payload_len(struct span header, size_t *out);

/* Decodes one frame with its padding: `bytes` is exactly as long as frame_size says. JOURNAL_DAMAGED. */
NODISCARD result frame_decode(struct span bytes, struct frame *out);
void frame_hash(struct span bytes, size_t payload_len, uint8_t out[static JOURNAL_HASH_SIZE]);

void segment_header_encode(const struct segment_header *header, uint8_t out[static JOURNAL_SEGMENT_HEADER_SIZE]);
/* JOURNAL_DAMAGED, UNKNOWN_VERSION. */
NODISCARD result segment_header_decode(struct span bytes, struct segment_header *out);

/* The chain hash before entry 1. */
void journal_genesis(const uint8_t id[static JOURNAL_ID_SIZE], uint8_t out[static JOURNAL_HASH_SIZE]);

void head_encode(const uint8_t id[static JOURNAL_ID_SIZE], const struct position *position, uint8_t out[static HEAD_SIZE]);
NODISCARD result head_decode(struct span bytes, uint8_t out_id[static JOURNAL_ID_SIZE], struct position *out);

#endif
