/*
 * Bytes between two processes of one host through shared memory, in both directions, beside a connected Unix socket.
 *
 * The memory is one memfd of fixed size, sealed against shrinking and growing; whoever makes it (the broker) hands it to both
 * ends with the ends of a socket pair. The bytes go through the memory; the socket carries bells, one byte each that says
 * "look again", and its end says that the other side is gone. So a ring end is polled like the socket it goes with.
 *
 * One end writes each direction and one reads it. Everything in the memory may be changed by the other end at any time:
 * counters are read once and checked, bytes are copied out before anybody looks at them, and what they mean is IECP's business,
 * which trusts no transport. Counters that cannot be are RING_BROKEN, and the end is of no use any more.
 *
 * Nothing here blocks. Used by one thread at a time; the socket stays the caller's.
 */
#ifndef TROTH_ENCLAVE_RING_H
#define TROTH_ENCLAVE_RING_H

#include "base/file.h"
#include "base/result.h"
#include "base/span.h"

#include <stdatomic.h>

enum { RING_CAPACITY = 256 * 1024, RING_HEAD_SIZE = 4096, RING_SIZE = 2 * (RING_HEAD_SIZE + RING_CAPACITY) };

/* The first page of each direction. Each word has a cache line of its own. */
struct ring_head {
	_Alignas(64) _Atomic uint64_t written; /* bytes, ever: the writer's */
	_Alignas(64) _Atomic uint32_t writer_waits; /* for room: the writer sets it, the reader takes it back */
	_Alignas(64) _Atomic uint64_t taken; /* bytes, ever: the reader's */
	_Alignas(64) _Atomic uint32_t reader_waits;
};

/* One end. Counters of its own, which the memory only repeats to the other. */
struct ring {
	uint8_t *memory; /* RING_SIZE bytes; NULL: none */
	struct ring_head *out, *in;
	uint8_t *out_bytes;
	const uint8_t *in_bytes;
	uint64_t written, taken;
	uint64_t out_taken, in_written; /* last seen of the other end's; they only grow */
	int socket;
	bool ended; /* the socket has */
};

#define RING_EMPTY ((struct ring){0})

/* NOT_SUPPORTED without memfd and its seals, NO_MEMORY. */
NODISCARD result ring_create(struct fd *out_memfd);
/* Maps what was handed out; `first` is true for one of the two ends. RING_BROKEN unless it is a memfd of that size and seals. */
NODISCARD result ring_attach(int memfd, bool first, int socket, struct ring *out);
void ring_free(struct ring *ring); /* accepts NULL and empty */

/* Writes what fits, rings if the reader waits. *out_written 0: full. RING_BROKEN, PEER_CLOSED. */
NODISCARD result ring_write(struct ring *ring, struct span bytes, size_t *out_written);
/* Reads what is there, at most `room`, rings if the writer waits and half is free. *out_ended: nothing is left and the other side is gone. RING_BROKEN. */
NODISCARD result ring_read(struct ring *ring, uint8_t *out, size_t room, size_t *out_len, bool *out_ended);

/*
 * To be called before one polls the socket for POLLIN. `wants_room`: there are bytes to write. *out_ready: something can be done
 * at once, so one must not sleep. RING_BROKEN.
 */
NODISCARD result ring_wait(struct ring *ring, bool wants_data, bool wants_room, bool *out_ready);

#endif
