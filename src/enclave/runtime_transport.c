/*
 * How the bytes of a channel travel: through its socket, or, between two IREs of one host, through the ring that the broker has
 * handed out beside it. IECP does not care, and trusts neither.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "enclave/runtime_internal.h"

result transport_attach(struct channel *channel, struct fd *memory)
{
	if (memory->n < 0)
		return OK;
	return ring_attach(memory->n, channel->spec.initiator, channel->socket.n, &channel->ring);
}

void transport_free(struct channel *channel)
{
	ring_free(&channel->ring);
	fd_close(&channel->socket);
}

result transport_receive(struct channel *channel, uint8_t *out, size_t room, size_t *out_len, bool *out_ended)
{
	if (channel->ring.memory)
		return ring_read(&channel->ring, out, room, out_len, out_ended);
	ssize_t got = recv(channel->socket.n, out, room, MSG_DONTWAIT);
	bool nothing = got < 0 && (errno == EAGAIN || errno == EINTR);
	if (got < 0 && !nothing && errno != ECONNRESET)
		return fail_errno("receiving from '%s'", channel->spec.peer);
	*out_ended = got <= 0 && !nothing;
	*out_len = got > 0 ? (size_t)got : 0;
	return OK;
}

result transport_send(struct channel *channel, struct span bytes, size_t *out_len)
{
	ssize_t sent;
	if (channel->ring.memory)
		return ring_write(&channel->ring, bytes, out_len);
	do
		sent = send(channel->socket.n, bytes.data, bytes.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0 && errno != EAGAIN)
		return fail(PEER_CLOSED, "'%s' is gone", channel->spec.peer);
	*out_len = sent > 0 ? (size_t)sent : 0;
	return OK;
}

short transport_events(struct channel *channel, bool wants_data, bool wants_room)
{
	bool ready;
	if (!channel->ring.memory)
		return (short)((wants_data ? POLLIN : 0) | (wants_room ? POLLOUT : 0));
	if (!wants_data && !wants_room)
		return 0;
	/* Broken memory is told by whoever reads or writes next, which must be at once. The socket of bells takes bytes at any time. */
	if (ring_wait(&channel->ring, wants_data, wants_room, &ready) != OK || ready)
		return POLLIN | POLLOUT;
	return POLLIN;
}
