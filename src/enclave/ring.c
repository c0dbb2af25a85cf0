/*
 * Theory of operation. `written` and `taken` count bytes for ever; the place in the ring is the count modulo its capacity. The
 * writer copies, then publishes `written` (release); the reader loads it (acquire), copies out, then publishes `taken`.
 *
 * Nobody rings for nothing: who is about to sleep says so in its word, then looks again; who publishes looks at the word
 * after that. A full barrier lies between the two steps of each, so at least one of them sees the other (Dekker), and no wake-up
 * is lost. The word is taken back by whoever rings, so one sleep costs one bell. A word that lies costs bells or a sleep of the
 * liar's own making; a socket full of bells needs no further one.
 */
#include "enclave/ring.h"

#include "base/compat.h"
#include "base/fence.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, DIRECTION_SIZE = RING_HEAD_SIZE + RING_CAPACITY };

_Static_assert(sizeof(struct ring_head) <= RING_HEAD_SIZE, "the head of a direction has a page");
_Static_assert((RING_CAPACITY & (RING_CAPACITY - 1)) == 0, "places are counts modulo a power of two");

result ring_create(struct fd *out_memfd)
{
	CLEANUP(fd_close) struct fd memfd = {memfd_create("troth-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING)};

	if (memfd.n < 0)
		return fail(NOT_SUPPORTED, "memory for a channel: %s", strerror(errno));
	if (ftruncate(memfd.n, RING_SIZE) != 0)
		return fail(NO_MEMORY, "memory for a channel: %s", strerror(errno));
	if (fcntl(memfd.n, F_ADD_SEALS, SEALS) != 0)
		return fail(NOT_SUPPORTED, "sealing the memory of a channel: %s", strerror(errno));
	*out_memfd = fd_move(&memfd);
	return OK;
}

/* Without the seals the other end could take pages away under us. */
static result check_memfd(int memfd)
{
	struct stat status;
	int seals = fcntl(memfd, F_GET_SEALS);

	if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
		return fail(RING_BROKEN, "the memory of a channel is not sealed");
	if (fstat(memfd, &status) != 0 || status.st_size != RING_SIZE)
		return fail(RING_BROKEN, "the memory of a channel has another size");
	return OK;
}

result ring_attach(int memfd, bool first, int socket, struct ring *out)
{
	TRY(check_memfd(memfd));
	uint8_t *memory = mmap(NULL, RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (memory == MAP_FAILED)
		return fail(NO_MEMORY, "memory of a channel: %s", strerror(errno));
	(void)madvise(memory, RING_SIZE, MADV_DONTFORK);
	uint8_t *own = memory + (first ? 0 : DIRECTION_SIZE), *others = memory + (first ? DIRECTION_SIZE : 0);
	*out = (struct ring){
		.memory = memory,
		.out = (struct ring_head *)(void *)own,
		.in = (struct ring_head *)(void *)others,
		.out_bytes = own + RING_HEAD_SIZE,
		.in_bytes = others + RING_HEAD_SIZE,
		.socket = socket,
	};
	return OK;
}

void ring_free(struct ring *ring)
{
	if (!ring || !ring->memory)
		return;
	munmap(ring->memory, RING_SIZE);
	*ring = RING_EMPTY;
}

/* ---- bells ---- */

static void ring_bell(const struct ring *ring)
{
	/* A full socket holds bells enough; a dead one is noticed by whoever reads. */
	(void)!send(ring->socket, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* After something was published: is the other end about to sleep for it? */
static inline void wake(const struct ring *ring, _Atomic uint32_t *waits)
{
	full_fence();
	if (atomic_load_explicit(waits, memory_order_relaxed) && atomic_exchange_explicit(waits, 0, memory_order_relaxed))
		ring_bell(ring);
}

/* Takes the bells off the socket and notices its end. */
static void hear(struct ring *ring)
{
	uint8_t bells[64];
	ssize_t got;

	do
		got = recv(ring->socket, bells, sizeof bells, MSG_DONTWAIT);
	while (got == (ssize_t)sizeof bells || (got < 0 && errno == EINTR));
	if (got == 0 || (got < 0 && errno != EAGAIN))
		ring->ended = true;
}

/* ---- the other end's counters, never believed ---- */

static inline result look_written(struct ring *ring)
{
	uint64_t written = atomic_load_explicit(&ring->in->written, memory_order_acquire);

	if (written < ring->in_written || written - ring->taken > RING_CAPACITY)
		return fail(RING_BROKEN, "%llu bytes written, %llu taken", (unsigned long long)written, (unsigned long long)ring->taken);
	ring->in_written = written;
	return OK;
}

static inline result look_taken(struct ring *ring)
{
	uint64_t taken = atomic_load_explicit(&ring->out->taken, memory_order_acquire);

	if (taken < ring->out_taken || taken > ring->written)
		return fail(RING_BROKEN, "%llu bytes taken, %llu written", (unsigned long long)taken, (unsigned long long)ring->written);
	ring->out_taken = taken;
	return OK;
}

static inline size_t room_of(const struct ring *ring)
{
	return RING_CAPACITY - (size_t)(ring->written - ring->out_taken);
}

static inline size_t held_by(const struct ring *ring)
{
	return (size_t)(ring->in_written - ring->taken);
}

/* ---- bytes ---- */

result ring_write(struct ring *ring, struct span bytes, size_t *out_written)
{
	TRY(look_taken(ring));
	size_t room = room_of(ring), len = bytes.len < room ? bytes.len : room;

	if (len == 0) {
		if (!ring->ended)
			hear(ring);
		*out_written = 0;
		return ring->ended ? fail(PEER_CLOSED, "the other end of a ring is gone") : OK;
	}
	size_t at = (size_t)(ring->written & (RING_CAPACITY - 1)), before_end = RING_CAPACITY - at;
	size_t head = len < before_end ? len : before_end;
	memcpy(ring->out_bytes + at, bytes.data, head);
	memcpy(ring->out_bytes, bytes.data + head, len - head);
	ring->written += len;
	atomic_store_explicit(&ring->out->written, ring->written, memory_order_release);
	wake(ring, &ring->out->reader_waits);
	*out_written = len;
	return OK;
}

result ring_read(struct ring *ring, uint8_t *out, size_t room, size_t *out_len, bool *out_ended)
{
	TRY(look_written(ring));
	if (held_by(ring) == 0) {
		if (!ring->ended)
			hear(ring);
		TRY(look_written(ring)); /* the last bytes before the end */
	}
	size_t held = held_by(ring), len = held < room ? held : room;
	*out_ended = held == 0 && ring->ended;
	*out_len = len;
	if (len == 0)
		return OK;
	size_t at = (size_t)(ring->taken & (RING_CAPACITY - 1)), before_end = RING_CAPACITY - at;
	size_t head = len < before_end ? len : before_end;
	memcpy(out, ring->in_bytes + at, head);
	memcpy(out + head, ring->in_bytes, len - head);
	ring->taken += len;
	atomic_store_explicit(&ring->in->taken, ring->taken, memory_order_release);
	/* As sockets do: a full writer is woken when half is free, not for each piece that one takes on the way there. */
	if (held_by(ring) <= RING_CAPACITY / 2)
		wake(ring, &ring->in->writer_waits);
	return OK;
}

result ring_wait(struct ring *ring, bool wants_data, bool wants_room, bool *out_ready)
{
	atomic_store_explicit(&ring->in->reader_waits, wants_data, memory_order_relaxed);
	atomic_store_explicit(&ring->out->writer_waits, wants_room, memory_order_relaxed);
	full_fence();
	TRY(look_written(ring));
	TRY(look_taken(ring));
	*out_ready = (wants_data && held_by(ring) > 0) || (wants_room && room_of(ring) > 0);
	if (!*out_ready)
		return OK;
	atomic_store_explicit(&ring->in->reader_waits, 0, memory_order_relaxed);
	atomic_store_explicit(&ring->out->writer_waits, 0, memory_order_relaxed);
	return OK;
}
