/*
 * Asking an HTTPS server: TLS 1.3 alone, HTTP/1.1, one request at a time over a connection that is kept between requests.
 * Blocking, within a deadline. The server's certificate must be issued by the given CA and be for the host of the URL.
 *
 * A client belongs to one thread at a time. Failures: PEER_UNREACHABLE (nobody answers there), TLS_FAILED (not this CA, not
 * this name, no TLS 1.3, or the server refused our certificate), TIMED_OUT, PEER_CLOSED (went away within an answer),
 * TOO_LARGE (the answer), ANSWER_BROKEN (no HTTP). An answer with any status is an answer.
 */
#ifndef TROTH_NET_HTTPS_CLIENT_H
#define TROTH_NET_HTTPS_CLIENT_H

#include "base/bytes.h"
#include "crypto/key.h"

struct https_client;

struct https_client_options {
	const char *url; /* https://HOST[:PORT][/PREFIX]; a prefix is put before each path */
	struct span ca_pem; /* certificates that may issue the server's; empty: those that the system trusts */
	const struct key *key; /* the client's, with its certificate; NULL: none is shown */
	struct span certificate_pem;
	unsigned timeout_ms; /* of one request, connecting included; 0: 30000 */
	size_t answer_max; /* bytes of a body; 0: 16 MiB */
};

/* Connects with the first request. BAD_VALUE (the URL), BAD_CERTIFICATE. */
NODISCARD result https_client_new(const struct https_client_options *options, struct https_client **out);
void https_client_free(struct https_client *client); /* accepts NULL */
void https_client_cleanup(struct https_client **at); /* for CLEANUP */

struct https_answer {
	int status;
	char type[64]; /* Content-Type without parameters */
	uint64_t retry_after_s; /* 0: not said */
	struct bytes body;
};
#define HTTPS_ANSWER_EMPTY ((struct https_answer){0})
void https_answer_free(struct https_answer *answer);

/*
 * `path` begins with "/" and is sent as it is (percent-encode what needs it). A connection that the server had closed while it
 * idled is opened again once, for GET and for POST alike: whatever is posted here may be posted twice.
 */
NODISCARD result https_client_get(struct https_client *client, const char *path, struct https_answer *out);
NODISCARD result https_client_post(struct https_client *client, const char *path, const char *content_type, struct span body,
	struct https_answer *out);

#endif
