/*
 * What HTTPS servers and clients share: a context of OpenSSL for TLS 1.3 alone with P-256 certificates, and writing to sockets
 * without SIGPIPE, which OpenSSL's own sockets would raise.
 */
#ifndef TROTH_NET_HTTPS_TLS_H
#define TROTH_NET_HTTPS_TLS_H

#include <signal.h>

#include "crypto/key.h"

struct ssl_ctx_st;
struct ssl_st;

enum https_side { HTTPS_SERVER, HTTPS_CLIENT };

struct https_context_options {
	enum https_side side;
	const struct key *key; /* NULL: none */
	struct span certificate_pem; /* leaf first */
	/* Who may issue the other side's certificate. A server without it asks for none; a client then trusts the system's store. */
	struct span ca_pem;
};

/* BAD_CERTIFICATE, BAD_KEY. Freed by SSL_CTX_free. */
NODISCARD result https_context_new(const struct https_context_options *options, struct ssl_ctx_st **out);

/* The oldest error of OpenSSL in this thread's queue as text, "" when there is none; empties the queue. */
void https_error_text(char *out, size_t size);

/* From hold to release the calling thread gets no SIGPIPE. */
struct sigpipe_hold {
	sigset_t before;
	bool was_pending;
};
void sigpipe_hold(struct sigpipe_hold *hold);
void sigpipe_release(const struct sigpipe_hold *hold);

#endif
