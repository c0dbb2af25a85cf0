#include "base/sock.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { PREFIX_SIZE = 4, BACKLOG = 64 };

/* When a call must end; UINT64_MAX: never. */
static uint64_t deadline_of(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
}

static result wait_for(int fd, short events, uint64_t deadline)
{
	for (;;) {
		uint64_t now = clock_monotonic_ns();
		uint64_t left = now < deadline ? (deadline - now + 999999) / 1000000 : 0;
		int ms = deadline == UINT64_MAX ? -1 : left > 1000000 ? 1000000 : (int)left;
		struct pollfd wait = {.fd = fd, .events = events};
		int ready = poll(&wait, 1, ms);
		if (ready > 0)
			return OK;
		if (ready < 0 && errno != EINTR)
			return fail_errno("waiting on a socket");
		if (ready == 0 && left <= 1000000)
			return fail(TIMED_OUT, "a local socket");
	}
}

result sock_wait_readable(int fd, int timeout_ms)
{
	return wait_for(fd, POLLIN, deadline_of(timeout_ms));
}

result sock_pair(struct fd out[static 2])
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return fail_errno("making a socket pair");
	out[0] = fd_of(ends[0]);
	out[1] = fd_of(ends[1]);
	return OK;
}

/*
 * A path longer than sun_path goes through /proc/self/fd/N/name, where N is its folder; `keep` holds that
 * folder open as long as the address is used.
 */
static result address_of(const char *path, struct sockaddr_un *out, struct fd *keep)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	size_t len = strlen(path);
	if (len < sizeof(out->sun_path)) {
		memcpy(out->sun_path, path, len + 1);
		return OK;
	}
	char folder[PATH_SIZE];
	const char *slash = strrchr(path, '/');
	if (!slash || len >= PATH_SIZE)
		return fail(TOO_LARGE, "the socket path %s is too long", path);
	memcpy(folder, path, (size_t)(slash - path) + 1);
	folder[slash - path + 1] = '\0';
	TRY(file_open(folder, O_PATH | O_DIRECTORY, 0, keep));
	int used = snprintf(out->sun_path, sizeof(out->sun_path), "/proc/self/fd/%d/%s", keep->n, slash + 1);
	if (used < 0 || (size_t)used >= sizeof(out->sun_path))
		return fail(TOO_LARGE, "the socket name %s is too long", slash + 1);
	return OK;
}

static result new_socket(struct fd *out)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail_errno("making a socket");
	*out = fd_of(fd);
	return OK;
}

/* A socket left by a process that is gone. */
static result remove_stale(const char *path)
{
	struct stat info;
	if (lstat(path, &info) < 0)
		return errno == ENOENT ? OK : fail_errno("looking at %s", path);
	if (!S_ISSOCK(info.st_mode))
		return fail(ALREADY_EXISTS, "%s is not a socket", path);
	if (unlink(path) < 0)
		return fail_errno("removing the old socket %s", path);
	return OK;
}

result sock_listen(const char *path, struct fd *out)
{
	struct sockaddr_un address;
	CLEANUP(fd_close) struct fd keep = FD_NONE;
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	TRY(address_of(path, &address, &keep));
	TRY(remove_stale(path));
	TRY(new_socket(&fd));
	/* The mode of the socket before bind becomes that of its name: it is never there with a wider one. */
	if (fchmod(fd.n, 0600) < 0)
		return fail_errno("setting the mode of %s", path);
	if (bind(fd.n, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return fail_errno("binding %s", path);
	if (listen(fd.n, BACKLOG) < 0)
		return fail_errno("listening at %s", path);
	*out = fd_move(&fd);
	return OK;
}

/* Bounds connect(2), which for Unix sockets waits while the listener's queue is full. */
static result set_send_timeout(int fd, int timeout_ms)
{
	/* Zero would mean for ever. */
	struct timeval limit = {.tv_usec = timeout_ms == 0 ? 1 : 0};
	if (timeout_ms > 0)
		limit = (struct timeval){timeout_ms / 1000, timeout_ms % 1000 * 1000};
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return fail_errno("setting a deadline");
	return OK;
}

result sock_connect(const char *path, int timeout_ms, struct fd *out)
{
	struct sockaddr_un address;
	CLEANUP(fd_close) struct fd keep = FD_NONE;
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	TRY(address_of(path, &address, &keep));
	TRY(new_socket(&fd));
	TRY(set_send_timeout(fd.n, timeout_ms));
	int connected;
	do
		connected = connect(fd.n, (const struct sockaddr *)&address, sizeof(address));
	while (connected < 0 && errno == EINTR);
	if (connected < 0 && errno == EAGAIN)
		return fail(TIMED_OUT, "connecting to %s", path);
	if (connected < 0 && errno == ECONNREFUSED)
		return fail(NOT_FOUND, "nobody listens at %s", path);
	if (connected < 0)
		return fail_errno("connecting to %s", path);
	TRY(set_send_timeout(fd.n, -1));
	*out = fd_move(&fd);
	return OK;
}

result sock_accept(int listener, int timeout_ms, struct fd *out)
{
	uint64_t deadline = deadline_of(timeout_ms);
	for (;;) {
		TRY(wait_for(listener, POLLIN, deadline));
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0) {
			*out = fd_of(fd);
			return OK;
		}
		if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
			return fail_errno("accepting a connection");
	}
}

result sock_peer(int fd, struct sock_peer *out)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return fail_errno("asking who the peer is");
	*out = (struct sock_peer){peer.pid, peer.uid, peer.gid};
	return OK;
}

void sock_message_free(struct sock_message *message)
{
	if (!message)
		return;
	bytes_free(&message->data);
	for (size_t i = 0; i < message->fd_count; i++)
		fd_close(&message->fds[i]);
	message->fd_count = 0;
}

/* Room for the control data of SOCK_MAX_FDS descriptors, aligned as the kernel wants it. */
union control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(SOCK_MAX_FDS * sizeof(int))];
};

static void attach_fds(struct msghdr *message, union control *control, const int *fds, size_t count)
{
	memset(control, 0, sizeof(*control));
	message->msg_control = control->bytes;
	message->msg_controllen = CMSG_SPACE(count * sizeof(int));
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(header), fds, count * sizeof(int));
}

static result send_step(int fd, struct msghdr *message, uint64_t deadline, size_t *out_sent)
{
	for (;;) {
		ssize_t n = sendmsg(fd, message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			*out_sent = (size_t)n;
			return OK;
		}
		if (errno == EAGAIN)
			TRY(wait_for(fd, POLLOUT, deadline));
		else if (errno != EINTR)
			return fail_errno("sending on a local socket");
	}
}

result sock_send(int fd, struct span data, const int *fds, size_t fd_count, int timeout_ms)
{
	if (data.len > UINT32_MAX || fd_count > SOCK_MAX_FDS)
		return fail(TOO_LARGE, "a message of %zu bytes with %zu descriptors", data.len, fd_count);
	uint64_t deadline = deadline_of(timeout_ms);
	uint32_t len = (uint32_t)data.len;
	uint8_t prefix[PREFIX_SIZE] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};
	union control control;
	size_t total = PREFIX_SIZE + data.len;
	for (size_t sent = 0; sent < total;) {
		/* sendmsg takes non-const memory and does not write to it. */
		size_t in_prefix = sent < PREFIX_SIZE ? sent : PREFIX_SIZE;
		size_t in_data = sent - in_prefix;
		struct iovec parts[2] = {
			{prefix + in_prefix, PREFIX_SIZE - in_prefix},
			{(void *)(uintptr_t)(data.data + in_data), data.len - in_data},
		};
		struct msghdr message = {.msg_iov = parts, .msg_iovlen = data.len ? 2 : 1};
		/* The descriptors travel with the first byte. */
		if (sent == 0 && fd_count)
			attach_fds(&message, &control, fds, fd_count);
		size_t n;
		TRY(send_step(fd, &message, deadline, &n));
		sent += n;
	}
	return OK;
}

/* Takes every descriptor of one recvmsg into `into`; what does not fit is closed and refused. */
static result take_fds(struct msghdr *message, size_t max_fds, struct sock_message *into)
{
	bool too_many = false;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			struct fd fd = FD_NONE;
			memcpy(&fd.n, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
			if (into->fd_count < max_fds && into->fd_count < SOCK_MAX_FDS) {
				into->fds[into->fd_count++] = fd;
			} else {
				fd_close(&fd);
				too_many = true;
			}
		}
	}
	if (too_many || (message->msg_flags & MSG_CTRUNC))
		return fail(BAD_VALUE, "more descriptors than the %zu that belong to this message", max_fds);
	return OK;
}

/* Exactly `len` bytes; descriptors are taken with the first of them only. */
static result receive_part(int fd, uint8_t *out, size_t len, size_t max_fds, uint64_t deadline, struct sock_message *into)
{
	size_t got = 0;
	while (got < len) {
		union control control;
		struct iovec part = {out + got, len - got};
		struct msghdr message = {
			.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
		ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			TRY(wait_for(fd, POLLIN, deadline));
			continue;
		}
		if (n < 0)
			return fail_errno("receiving on a local socket");
		TRY(take_fds(&message, got == 0 ? max_fds : 0, into));
		if (n == 0)
			return got == 0 ? fail(PEER_CLOSED, "a local socket") : fail(TRUNCATED, "the connection ended inside a message");
		got += (size_t)n;
	}
	return OK;
}

result sock_receive(int fd, size_t max, size_t max_fds, int timeout_ms, struct sock_message *out)
{
	uint64_t deadline = deadline_of(timeout_ms);
	CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
	uint8_t prefix[PREFIX_SIZE];
	TRY(receive_part(fd, prefix, sizeof(prefix), max_fds, deadline, &message));
	size_t len = (size_t)prefix[0] << 24 | (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 | prefix[3];
	if (len > max)
		return fail(TOO_LARGE, "a message of %zu bytes, at most %zu allowed", len, max);
	message.data.data = malloc(len ? len : 1);
	if (!message.data.data)
		return fail(NO_MEMORY, "%zu bytes", len);
	message.data.len = len;
	result body = receive_part(fd, message.data.data, len, 0, deadline, &message);
	if (body == PEER_CLOSED)
		return fail(TRUNCATED, "the connection ended inside a message");
	TRY(body);
	*out = message;
	message = SOCK_MESSAGE_EMPTY; /* transferred */
	return OK;
}
