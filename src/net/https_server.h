/*
 * An HTTPS server: TLS 1.3 alone, HTTP/1.1 (ALPN http/1.1), one table of routes. libevent reads and writes, in the one thread
 * that is inside https_server_run; what may take longer runs on a few worker threads. It knows nothing of what is served.
 *
 * Limits hold before a handler sees anything: connections (the one that has idled longest makes room), time for the handshake
 * and for a whole request, sizes of head and body, one framing of the body, requests that wait for workers.
 *
 * An exchange is one request and its answer. It belongs to the server; a handler gets it, and it must be answered exactly
 * once, by any thread, at any time; until then everything it gave out stays valid, also when the client has gone meanwhile.
 */
#ifndef TROTH_NET_HTTPS_SERVER_H
#define TROTH_NET_HTTPS_SERVER_H

#include "base/bytes.h"
#include "crypto/key.h"

struct https_server;
struct https_exchange;

enum https_method { HTTPS_GET = 1, HTTPS_POST = 2 }; /* HEAD is answered as GET without its body */

enum https_route_flags {
	HTTPS_IN_LOOP = 1 << 0, /* the handler never blocks and runs in the loop's thread; else it runs on a worker */
	HTTPS_CERTIFICATE = 1 << 1, /* only with a client certificate that the CA issued; else refused (WRITER_UNKNOWN, 403) */
};

typedef void https_handler(void *ctx, struct https_exchange *exchange);

struct https_route {
	enum https_method method;
	const char *path; /* "/v1/status"; one that ends in "/" takes whatever follows: https_rest */
	unsigned flags;
	https_handler *handler;
};

struct https_server_config {
	const char *listen; /* HOST:PORT; port 0: any free one */
	const struct key *key; /* the server's, and its certificate, PEM */
	struct span certificate_pem;
	struct span client_ca_pem; /* who vouches for clients' certificates; empty: none is asked for */
	const struct https_route *routes;
	size_t route_count;
	void *ctx; /* of the handlers */
	/* 0: the default in brackets */
	unsigned workers;	   /* threads [2] */
	unsigned connections;	   /* at once [1024], fewer where the process may not open so many files */
	size_t body_max;	   /* bytes [65536] */
	size_t head_max;	   /* bytes of request line and header [8192] */
	unsigned handshake_ms, request_ms, idle_ms, write_ms; /* [10000, 20000, 60000, 60000]: from its first byte to its last */
};

/* Reads the certificates and listens; serves nothing yet. BAD_CERTIFICATE, and those of tcp_listen. */
NODISCARD result https_server_new(const struct https_server_config *config, struct https_server **out);
/* After https_server_run has returned, or before it was called. Every exchange must have been answered. Accepts NULL. */
void https_server_free(struct https_server *server);
void https_server_cleanup(struct https_server **at); /* for CLEANUP */

/* "127.0.0.1:8443": where it really listens. Borrowed. */
const char *https_server_address(const struct https_server *server);

/*
 * Starts the workers and serves until https_server_stop; then accepts nobody more, closes idle connections, finishes what was
 * taken (answers included, at most `write_ms`), joins the workers and returns. The caller's thread is the loop's.
 */
NODISCARD result https_server_run(struct https_server *server);
/* From any thread, and from a signal handler. A second time: without waiting for slow readers any longer. */
void https_server_stop(struct https_server *server);
bool https_server_stopping(const struct https_server *server);

/* Calls `call(arg)` every `ms` in the loop's thread; before https_server_run. */
NODISCARD result https_server_every(struct https_server *server, unsigned ms, void (*call)(void *arg), void *arg);
/* SIGTERM and SIGINT call https_server_stop; before https_server_run. */
NODISCARD result https_server_stop_on_signals(struct https_server *server);

/* ---- The request ------------------------------------------------------------------------------- */

/* What followed the route's path, percent-decoded: 1..HTTPS_REST_MAX bytes without '/', NUL or controls. Else "". */
enum { HTTPS_REST_MAX = 200, HTTPS_NAME_MAX = 128 };
const char *https_rest(const struct https_exchange *exchange);
/* The value of `name` in the query, NULL when it is not there. One that stands twice was refused. */
const char *https_query(const struct https_exchange *exchange, const char *name);
/* USAGE names a parameter that is not among `names` (NULL-terminated): so that a misspelt filter is not passed over. */
NODISCARD result https_query_only(const struct https_exchange *exchange, const char *const *names);
/* A decimal number without sign or leading zeros; `absent` when it is not there. BAD_VALUE. */
NODISCARD result https_query_number(const struct https_exchange *exchange, const char *name, uint64_t absent, uint64_t *out);
struct span https_body(const struct https_exchange *exchange);
/* CN of the client's certificate, "" without one; and the id of its key, NULL without one. */
const char *https_client_name(const struct https_exchange *exchange);
const uint8_t *https_client_key(const struct https_exchange *exchange);

/* ---- The answer -------------------------------------------------------------------------------- */

/* Any thread. The bytes are copied. The exchange is no longer the caller's. */
void https_answer(struct https_exchange *exchange, int status, const char *content_type, struct span body);
/* One more header of the answer, before https_answer; at most four, constant names. */
void https_answer_header(struct https_exchange *exchange, const char *name, const char *value);
/*
 * The failure as {"error": REASON, "code": number, "text": context, "do": sentence} with the status that fits the reason
 * (https_status_of). `text` may be NULL: failure_text() of this thread.
 */
void https_answer_failure(struct https_exchange *exchange, result failed, const char *text);
int https_status_of(result failed);

/* ---- For metrics ------------------------------------------------------------------------------- */

struct https_statistics {
	uint64_t accepted, handshakes_failed, dropped_idle, dropped_slow, turned_away; /* connections */
	uint64_t requests, answers_2xx, answers_4xx, answers_5xx;
	unsigned connections, pending; /* now; exchanges that are not answered */
};
void https_server_statistics(struct https_server *server, struct https_statistics *out); /* any thread */

#endif
