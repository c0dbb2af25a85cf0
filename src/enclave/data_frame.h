/*
 * Frames of data on a channel (constructions/dac.md "Data on a channel"; docs/PROTOCOL.dac): inside IECP DATA a byte
 * stream of lv(CBOR), CBOR = {1: type, 2: sid, 3: body}.
 *
 *	OPEN{run_id, edge, operation, call_id, salt}  CHUNK{bytes}...  END{length, record, closure}  |  ABORT{reason, text}
 *
 * Two engines, bytes in and bytes out: data_sender writes one stream, data_receiver reads one and refuses everything out
 * of turn. Neither judges peers, records or policies; the runtime does, at OPEN and at END.
 */
#ifndef TROTH_ENCLAVE_DATA_FRAME_H
#define TROTH_ENCLAVE_DATA_FRAME_H

#include "base/arena.h"
#include "object/receipt.h"
#include "object/record.h"
#include "wire/frame.h"

enum data_frame_type { DATA_OPEN = 1, DATA_CHUNK = 2, DATA_END = 3, DATA_ABORT = 4 };

enum {
	DATA_CHUNK_MAX = 60 * 1024,
	DATA_CHUNK_OVERHEAD = 32,		 /* of a CHUNK's frame, at most */
	DATA_FRAME_MAX = 16 * 1024 * 1024, /* END with its closure; all others are smaller than 64 KiB */
	DATA_SALT_SIZE = 32,
};

struct data_open {
	uint8_t run_id[RUN_ID_SIZE];
	const char *edge;
	const char *operation;
	uint8_t call_id[CALL_ID_SIZE];
	uint8_t salt[DATA_SALT_SIZE];
};
extern const struct schema data_open_schema;

/* The record that hands the data over, and all it depends on. */
struct data_end {
	uint64_t length;    /* bytes of all CHUNKs */
	struct span record; /* REQUEST; absent from and to an external peer */
	bool has_record;
	struct bytes_item *certificates, *reports, *policies, *records; /* ancestors: parents before children */
	size_t certificate_count, report_count, policy_count, record_count;
	struct bytes_item *versions; /* signed versions of policies that records name; none: absent */
	size_t version_count;
	bool has_versions;
	struct bytes_item *platforms; /* platform evidence of hosts that ancestors ran on; only in a run on several; none: absent */
	size_t platform_count;
	bool more; /* there are further ancestors, to be asked for (fetch.h); false: absent */
};
extern const struct schema data_end_schema;

struct data_abort {
	uint32_t reason;
	const char *text;
	const char *cause; /* the enclave that failed first */
};
extern const struct schema data_abort_schema;

/* Appends the whole frame, its length first. */
NODISCARD result data_put_open(const struct data_open *open, struct writer *out);
NODISCARD result data_put_chunk(struct span bytes, struct writer *out); /* 1..DATA_CHUNK_MAX */
NODISCARD result data_put_end(const struct data_end *end, struct writer *out);
NODISCARD result data_put_abort(const struct data_abort *abort, struct writer *out);

struct data_event {
	enum data_frame_type type;
	struct data_open open;
	struct span chunk; /* borrowed until the next call on the receiver */
	struct data_end end;
	struct data_abort abort;
};

struct data_receiver {
	struct deframer deframer;
	uint8_t state;
	uint64_t length; /* of the CHUNKs so far */
};

struct data_receiver data_receiver_new(void);
void data_receiver_free(struct data_receiver *receiver);

/* As deframer_feed. */
NODISCARD result data_receiver_feed(struct data_receiver *receiver, struct span bytes, size_t *out_taken);

/*
 * The next whole frame, if there is one. What OPEN, END and ABORT hold is copied into `arena` and lives as long as that.
 * ILLEGAL_STATE for a frame out of turn, INPUT_INCOMPLETE when END names another length than arrived, parse reasons.
 */
NODISCARD result data_receiver_next(struct data_receiver *receiver, struct arena *arena, bool *out_have,
	struct data_event *out);

/* The stream has ended: OK after END (or ABORT), INPUT_INCOMPLETE otherwise. */
NODISCARD result data_receiver_finish(const struct data_receiver *receiver);

#endif
