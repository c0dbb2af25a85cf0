#include "net/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { BACKLOG = 256, KEEP_IDLE_S = 5, KEEP_EVERY_S = 2, KEEP_TRIES = 3, LONGEST_POLL_MS = 1000000 };

/* ---- Addresses -------------------------------------------------------------------------------------- */

struct parts {
	char host[TCP_ADDRESS_MAX + 1], port[6];
};

static result split_address(const char *address, struct parts *out)
{
	size_t len = strnlen(address, TCP_ADDRESS_MAX + 1);
	const char *colon = len <= TCP_ADDRESS_MAX ? strrchr(address, ':') : NULL;
	const char *host = address;
	if (!colon || colon == address)
		return fail(BAD_VALUE, "'%.64s' is not HOST:PORT", address);
	size_t host_len = (size_t)(colon - address), port_len = strlen(colon + 1);
	if (host[0] == '[' && host_len > 2 && colon[-1] == ']') {
		host++;
		host_len -= 2;
	} else if (memchr(host, ':', host_len)) {
		return fail(BAD_VALUE, "'%.64s': an IPv6 address stands in brackets", address);
	}
	if (port_len == 0 || port_len > 5 || strspn(colon + 1, "0123456789") != port_len || atoi(colon + 1) > 65535)
		return fail(BAD_VALUE, "'%.64s' has no port of 0..65535", address);
	for (size_t i = 0; i < host_len; i++)
		if ((unsigned char)host[i] <= ' ' || (unsigned char)host[i] > '~' || host[i] == '/')
			return fail(BAD_VALUE, "an address with a character that none has");
	memcpy(out->host, host, host_len);
	out->host[host_len] = '\0';
	memcpy(out->port, colon + 1, port_len + 1);
	return OK;
}

result tcp_address_check(const char *address)
{
	struct parts parts;
	return split_address(address, &parts);
}

static void free_list(struct addrinfo **list)
{
	if (*list)
		freeaddrinfo(*list);
}

static result resolve(const char *address, int flags, struct addrinfo **out)
{
	struct parts parts;
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	TRY(split_address(address, &parts));
	int found = getaddrinfo(parts.host, parts.port, &hints, out);
	if (found != 0)
		return fail(PEER_UNREACHABLE, "'%s': %s", address, gai_strerror(found));
	return OK;
}

static void name_of(const struct sockaddr *address, socklen_t len, char out[static TCP_ADDRESS_MAX + 1])
{
	char host[128], port[8];
	if (getnameinfo(address, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(out, TCP_ADDRESS_MAX + 1, "somewhere");
	else
		snprintf(out, TCP_ADDRESS_MAX + 1, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

void tcp_local(int fd, char out[static TCP_ADDRESS_MAX + 1])
{
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof(address);
	(void)getsockname(fd, (struct sockaddr *)&address, &len);
	name_of((const struct sockaddr *)&address, len, out);
}

void tcp_remote(int fd, char out[static TCP_ADDRESS_MAX + 1])
{
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof(address);
	(void)getpeername(fd, (struct sockaddr *)&address, &len);
	name_of((const struct sockaddr *)&address, len, out);
}

/* ---- Sockets ---------------------------------------------------------------------------------------- */

static result set_number(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) == 0 ? OK : fail_errno("setting up a connection");
}

/* Whoever falls silent is noticed: sent bytes are acknowledged in time, and an idle line is asked. */
static result prepare(int fd)
{
	TRY(set_number(fd, IPPROTO_TCP, TCP_NODELAY, 1));
	TRY(set_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1));
	TRY(set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S));
	TRY(set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_EVERY_S));
	TRY(set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_TRIES));
	return set_number(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, TCP_SILENCE_MS);
}

static result listen_at(const struct addrinfo *at, const char *address, struct fd *out)
{
	CLEANUP(fd_close) struct fd fd = fd_of(socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol));
	if (fd.n < 0)
		return fail_errno("'%s'", address);
	TRY(set_number(fd.n, SOL_SOCKET, SO_REUSEADDR, 1));
	if (bind(fd.n, at->ai_addr, at->ai_addrlen) != 0 || listen(fd.n, BACKLOG) != 0)
		return fail_errno("listening at '%s'", address);
	*out = fd_move(&fd);
	return OK;
}

result tcp_listen(const char *address, struct fd *out)
{
	CLEANUP(free_list) struct addrinfo *list = NULL;
	TRY(resolve(address, AI_PASSIVE, &list));
	return listen_at(list, address, out);
}

result tcp_accept(int listener, struct fd *out)
{
	CLEANUP(fd_close) struct fd fd = fd_of(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	if (fd.n < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED || errno == EPROTO))
		return fail(TIMED_OUT, "nobody waits");
	if (fd.n < 0)
		return fail_errno("accepting a connection");
	TRY(prepare(fd.n));
	*out = fd_move(&fd);
	return OK;
}

/* Whether the connection came about, or failed, in time. */
static result await_connected(int fd, const char *address, uint64_t deadline, int cancel)
{
	for (;;) {
		uint64_t now = clock_monotonic_ns(), left = now < deadline ? (deadline - now + 999999) / 1000000 : 0;
		struct pollfd wait[] = {{.fd = fd, .events = POLLOUT}, {.fd = cancel, .events = POLLIN}};
		int ready = poll(wait, COUNT_OF(wait), left > LONGEST_POLL_MS ? LONGEST_POLL_MS : (int)left);
		if (ready < 0 && errno != EINTR)
			return fail_errno("'%s'", address);
		if (ready > 0 && wait[1].revents)
			return fail(TIMED_OUT, "connecting to '%s' was given up", address);
		if (ready > 0)
			return OK;
		if (ready == 0 && left <= LONGEST_POLL_MS)
			return fail(PEER_UNREACHABLE, "'%s' does not answer", address);
	}
}

static result connect_to(const struct addrinfo *at, const char *address, uint64_t deadline, int cancel, struct fd *out)
{
	CLEANUP(fd_close) struct fd fd = fd_of(socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol));
	int error = 0;
	socklen_t len = sizeof(error);
	if (fd.n < 0)
		return fail_errno("'%s'", address);
	if (connect(fd.n, at->ai_addr, at->ai_addrlen) != 0 && errno != EINPROGRESS)
		return fail(PEER_UNREACHABLE, "'%s': %s", address, strerror(errno));
	TRY(await_connected(fd.n, address, deadline, cancel));
	if (getsockopt(fd.n, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
		return fail(PEER_UNREACHABLE, "'%s': %s", address, strerror(error));
	/* Blocking, as a socket is handed on; the calls of this page do not depend on it. */
	if (fcntl(fd.n, F_SETFL, 0) != 0)
		return fail_errno("'%s'", address);
	TRY(prepare(fd.n));
	*out = fd_move(&fd);
	return OK;
}

result tcp_connect(const char *address, int timeout_ms, struct fd *out)
{
	return tcp_connect_unless(address, timeout_ms, -1, out);
}

result tcp_connect_unless(const char *address, int timeout_ms, int cancel, struct fd *out)
{
	CLEANUP(free_list) struct addrinfo *list = NULL;
	uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
	result connected = fail(PEER_UNREACHABLE, "'%s'", address);
	TRY(resolve(address, 0, &list));
	for (const struct addrinfo *at = list; at && connected != OK && connected != TIMED_OUT; at = at->ai_next)
		connected = connect_to(at, address, deadline, cancel, out);
	return connected;
}

/* ---- Bytes ------------------------------------------------------------------------------------------ */

result tcp_wait(int fd, short events, uint64_t deadline)
{
	for (;;) {
		uint64_t now = clock_monotonic_ns(), left = now < deadline ? (deadline - now + 999999) / 1000000 : 0;
		struct pollfd wait = {.fd = fd, .events = events};
		int ready = poll(&wait, 1, left > LONGEST_POLL_MS ? LONGEST_POLL_MS : (int)left);
		if (ready > 0)
			return OK;
		if (ready < 0 && errno != EINTR)
			return fail_errno("waiting for the network");
		if (ready == 0 && left <= LONGEST_POLL_MS)
			return fail(TIMED_OUT, "the network");
	}
}

result tcp_send(int fd, struct span bytes, uint64_t deadline)
{
	for (size_t sent = 0; sent < bytes.len;) {
		ssize_t n = send(fd, bytes.data + sent, bytes.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			TRY(tcp_wait(fd, POLLOUT, deadline));
		else if (n < 0 && errno != EINTR)
			return errno == EPIPE || errno == ECONNRESET ? fail(PEER_CLOSED, "sending") : fail_errno("sending");
		sent += n > 0 ? (size_t)n : 0;
	}
	return OK;
}

static result receive(int fd, uint8_t *out, size_t len, bool peek, uint64_t deadline)
{
	size_t got = 0;
	while (got < len) {
		ssize_t n = recv(fd, out + (peek ? 0 : got), peek ? len : len - got, MSG_DONTWAIT | (peek ? MSG_PEEK : 0));
		if (n == 0)
			return fail(PEER_CLOSED, "the connection ended");
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return errno == ECONNRESET ? fail(PEER_CLOSED, "the connection was reset") : fail_errno("receiving");
		if (n > 0)
			got = peek ? (size_t)n : got + (size_t)n;
		if (n < 0 || (peek && got < len))
			TRY(tcp_wait(fd, POLLIN, deadline));
		if (peek && n > 0 && got < len) {
			/* What is there already keeps the descriptor readable: let more of it come. */
			if (clock_monotonic_ns() >= deadline)
				return fail(TIMED_OUT, "the network");
			(void)poll(NULL, 0, 5);
		}
	}
	return OK;
}

result tcp_receive(int fd, void *out, size_t len, uint64_t deadline)
{
	return receive(fd, out, len, false, deadline);
}

result tcp_peek(int fd, void *out, size_t len, uint64_t deadline)
{
	return receive(fd, out, len, true, deadline);
}
