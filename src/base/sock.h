/*
 * Unix sockets between the processes of one host: whole messages (u32 big-endian length, then the bytes) with
 * up to SOCK_MAX_FDS descriptors, and a deadline on every call. Works on blocking and non-blocking sockets.
 *
 * `timeout_ms` counts from the call; -1 waits for ever, 0 does not wait. TIMED_OUT, PEER_CLOSED. After any
 * failure of a send or receive the stream is out of step: close it.
 */
#ifndef TROTH_BASE_SOCK_H
#define TROTH_BASE_SOCK_H

#include "base/bytes.h"
#include "base/file.h"
#include "base/result.h"

enum { SOCK_MAX_FDS = 16 };

struct sock_message {
	struct bytes data;
	struct fd fds[SOCK_MAX_FDS]; /* take one out with fd_move */
	size_t fd_count;
};

#define SOCK_MESSAGE_EMPTY ((struct sock_message){.fd_count = 0})

void sock_message_free(struct sock_message *message); /* closes the descriptors that were not taken */

struct sock_peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

/* A connected pair of stream sockets, close-on-exec. */
NODISCARD result sock_pair(struct fd out[static 2]);

/* A listening socket at `path`, mode 0600, of any length that the file system takes. A socket that is there already
 * is replaced (the caller holds the lock of the folder); anything else there is ALREADY_EXISTS. */
NODISCARD result sock_listen(const char *path, struct fd *out);
NODISCARD result sock_connect(const char *path, int timeout_ms, struct fd *out);
NODISCARD result sock_accept(int listener, int timeout_ms, struct fd *out);

/* Who made the other end (SO_PEERCRED), as the kernel knew at connect or socketpair. */
NODISCARD result sock_peer(int fd, struct sock_peer *out);

/* Waits until `fd` is readable or at its end. */
NODISCARD result sock_wait_readable(int fd, int timeout_ms);

/* `fds` are borrowed and stay open here. */
NODISCARD result sock_send(int fd, struct span data, const int *fds, size_t fd_count, int timeout_ms);

/*
 * One message of at most `max` bytes (TOO_LARGE) with at most `max_fds` descriptors (BAD_VALUE; all of them are
 * closed). PEER_CLOSED at the end between two messages, TRUNCATED inside one.
 */
NODISCARD result sock_receive(int fd, size_t max, size_t max_fds, int timeout_ms, struct sock_message *out);

#endif
