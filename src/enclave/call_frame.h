/*
 * Frames of calls on a channel (constructions/dac.md "Data on a channel"; docs/PROTOCOL.dac "Calls"): inside IECP DATA a
 * byte stream of lv(CBOR), CBOR = {1: type, 2: sid, 3: body}, many streams at once, each in both directions.
 *
 *	caller	OPEN{run_id, edge, operation, call_id, salt, push, timeout} CHUNK... END{length, REQUEST, closure}
 *	callee	OPEN{...} CHUNK... END{length, RESPONSE, closure}; of a push only END without a record
 *	both	TAKEN{bytes}: so many more may be sent; ABORT{reason} at any time
 *		FETCH{oids}, NODES{certificates, ...}: ancestors that did not come with END (fetch.h)
 *
 * An engine: bytes in, bytes out. It reads and writes frames; what is allowed when is the business of the runtime
 * (runtime_call.c).
 */
#ifndef TROTH_ENCLAVE_CALL_FRAME_H
#define TROTH_ENCLAVE_CALL_FRAME_H

#include "enclave/data_frame.h"
#include "enclave/fetch.h"

enum call_frame_type {
	CALL_OPEN = 1,
	CALL_CHUNK = 2,
	CALL_END = 3,
	CALL_ABORT = 4,
	CALL_TAKEN = 5,
	CALL_FETCH = 6,
	CALL_NODES = 7,
};

enum {
	CALL_WINDOW = 64 * 1024, /* bytes of one stream that may be on their way or waiting, each direction */
	CALL_SMALL_MAX = 64 * 1024, /* of a frame that is neither END nor NODES */
};

struct call_open {
	uint8_t run_id[RUN_ID_SIZE];
	const char *edge;
	const char *operation;
	uint8_t call_id[CALL_ID_SIZE];
	uint8_t salt[DATA_SALT_SIZE];
	bool push;	     /* nothing but an acknowledgement is wanted */
	uint64_t timeout_ms; /* how long the caller waits; 0 in an answer */
};
struct call_taken {
	uint64_t bytes;
};
extern const struct schema call_open_schema, call_taken_schema;

/* Each appends one whole frame, its length first. */
NODISCARD result call_put_open(uint64_t sid, const struct call_open *open, struct writer *out);
NODISCARD result call_put_chunk(uint64_t sid, struct span bytes, struct writer *out); /* 1..DATA_CHUNK_MAX */
NODISCARD result call_put_end(uint64_t sid, const struct data_end *end, struct writer *out);
NODISCARD result call_put_abort(uint64_t sid, const struct data_abort *abort, struct writer *out);
NODISCARD result call_put_fetch(uint64_t sid, const struct fetch_asked *asked, struct writer *out);
/* As END, without length and record. */
NODISCARD result call_put_nodes(uint64_t sid, const struct data_end *nodes, struct writer *out);
NODISCARD result call_put_taken(uint64_t sid, uint64_t bytes, struct writer *out);

struct call_event {
	enum call_frame_type type;
	uint64_t sid;
	struct call_open open;
	struct span chunk; /* borrows from the frame */
	struct data_end end; /* END, NODES */
	struct data_abort abort;
	struct call_taken taken;
	struct fetch_asked asked;
};

/* One frame, without its length. What OPEN, END, NODES, FETCH and ABORT hold is copied into `arena`. BAD_VALUE, TOO_LARGE, parse reasons. */
NODISCARD result call_frame_read(struct span frame, struct arena *arena, struct call_event *out);

#endif
