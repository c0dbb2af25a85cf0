/*
 * TCP between hosts: listening, connecting and accepting with a deadline, and what is set on every connection so that the
 * silence of a machine is noticed. Addresses are written HOST:PORT, an IPv6 address in brackets.
 */
#ifndef TROTH_NET_TCP_H
#define TROTH_NET_TCP_H

#include "base/file.h"
#include "base/result.h"

enum {
	TCP_ADDRESS_MAX = 255, /* of the text */
	TCP_SILENCE_MS = 10 * 1000, /* sent bytes that are not acknowledged for that long end the connection */
};

/* Well-formed HOST:PORT; says nothing about whether anybody is there. BAD_VALUE. */
NODISCARD result tcp_address_check(const char *address);

/* A listening socket, not blocking. Port 0: any free one, told by tcp_local. */
NODISCARD result tcp_listen(const char *address, struct fd *out);
/* The next connection that waits, or TIMED_OUT; TOO_MANY_FILES and the like are failures of the caller's process. */
NODISCARD result tcp_accept(int listener, struct fd *out);
/* PEER_UNREACHABLE when nobody answers there in time. Names are resolved by the system, outside of the deadline. */
NODISCARD result tcp_connect(const char *address, int timeout_ms, struct fd *out);
/* The same, given up with TIMED_OUT as soon as `cancel` is readable. */
NODISCARD result tcp_connect_unless(const char *address, int timeout_ms, int cancel, struct fd *out);

/* "192.0.2.1:4711" of this end and of the other one. */
void tcp_local(int fd, char out[static TCP_ADDRESS_MAX + 1]);
void tcp_remote(int fd, char out[static TCP_ADDRESS_MAX + 1]);

/* Exactly these bytes by the deadline (monotonic ns). PEER_CLOSED, TIMED_OUT. Whatever mode the descriptor is in. */
NODISCARD result tcp_send(int fd, struct span bytes, uint64_t deadline_ns);
NODISCARD result tcp_receive(int fd, void *out, size_t len, uint64_t deadline_ns);
/* The first `len` bytes, which stay where they are. */
NODISCARD result tcp_peek(int fd, void *out, size_t len, uint64_t deadline_ns);
/* Waits for POLLIN or POLLOUT. TIMED_OUT. */
NODISCARD result tcp_wait(int fd, short events, uint64_t deadline_ns);

#endif
