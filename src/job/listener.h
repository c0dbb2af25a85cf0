/*
 * Where a host is reached by others: one TCP port, served by threads of its own. A connection is either a link (TLS) or the
 * channel of an edge, which begins with a preamble and a token that both hosts agreed on over a link; its bytes are
 * handed on unread. Who has not proved yet who he is, is bounded in number and in time.
 *
 * A link's OFFER finds whoever has joined that job for that coordinator here; nothing else that a stranger or a peer sends starts
 * anything.
 */
#ifndef TROTH_JOB_LISTENER_H
#define TROTH_JOB_LISTENER_H

#include "job/link.h"

struct listener;

/* `address` NULL: nobody is let in, but this host may call others. `own` is borrowed. */
NODISCARD result listener_start(const struct link_own *own, const char *address, struct listener **out);
void listener_stop(struct listener *listener); /* accepts NULL */
/* HOST:PORT where it listens; "" when it does not. */
const char *listener_address(const struct listener *listener);

/* ---- joining: somebody here takes part in a job ---------------------------------------------------------------- */

struct join_seat;

/* `coordinator` NULL: any enrolled host may coordinate. */
NODISCARD result listener_join(struct listener *listener, const uint8_t job_digest[static SHA256_SIZE], const uint8_t *coordinator,
	struct join_seat **out);
/* Readable once a run is offered. */
int join_seat_fd(const struct join_seat *seat);
/* The link over which the run was offered, and the offer (texts in `arena`); the caller owns the link. TIMED_OUT. */
NODISCARD result join_seat_take(struct join_seat *seat, struct arena *arena, struct link **out_link, struct link_offer *out_offer);
void join_seat_free(struct join_seat *seat); /* withdraws; accepts NULL */

/* ---- edges: connected sockets for enclaves ---------------------------------------------------------------------- */

/* This side waits for the connection with this token. NO_LISTENER. */
NODISCARD result listener_await(struct listener *listener, const uint8_t token[static LINK_TOKEN_SIZE], int timeout_ms, struct fd *out);
/* The other side: connects to an enrolled host and sends the preamble. */
NODISCARD result listener_dial_edge(struct listener *listener, const uint8_t rot_id[static OID_SIZE],
	const uint8_t token[static LINK_TOKEN_SIZE], struct fd *out);

const struct link_own *listener_own(const struct listener *listener);

#endif
