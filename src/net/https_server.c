#include "net/https_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "net/https_tls.h"
#include "net/tcp.h"
#include "wire/json.h"

/*
 * Theory of operation. libevent's evhttp accepts, reads and parses over OpenSSL bufferevents that on_accepted makes. It tells
 * nothing of a connection before its first request is whole, so each connection has a record of ours that hangs on its SSL object
 * and is freed with it: the state below is moved by OpenSSL's handshake, by bytes that come in, and by requests and answers. A
 * sweep ends what takes too long by shutting the socket down, which evhttp then notices and cleans up by itself.
 *
 * Answers come from any thread: they are queued and the loop is woken by an eventfd. While an exchange is unanswered evhttp
 * keeps its request, also when the connection broke meanwhile; sending the answer then frees it.
 */

enum {
	WORKERS = 2, CONNECTIONS = 1024, BODY_MAX = 64 * 1024, HEAD_MAX = 8 * 1024,
	HANDSHAKE_MS = 10 * 1000, REQUEST_MS = 20 * 1000, IDLE_MS = 60 * 1000, WRITE_MS = 60 * 1000,
	BACKLOG = 511, SPARE_FILES = 1024, /* beside connections: files of whoever serves, and connections on their way out */
	WORK_MAX = 1024, HEADERS_MAX = 4, TIMERS_MAX = 8, SWEEP_MS = 200, QUERY_MAX = 16, WORKERS_MAX = 64,
};

/* ---- Connections ------------------------------------------------------------------------------------ */

enum connection_state {
	CONNECTION_HANDSHAKE, /* since it was accepted */
	CONNECTION_IDLE,      /* since the last answer was sent, or the handshake done */
	CONNECTION_READING,   /* since the first byte of a request came */
	CONNECTION_WAITING,   /* since the request was whole: for us, so without a deadline */
	CONNECTION_WRITING,   /* since the answer was given */
};

struct connection {
	TAILQ_ENTRY(connection) next; /* in the order of their states' beginnings */
	struct https_server *server;
	SSL *ssl; /* borrowed: it frees us */
	struct bufferevent *bev;
	enum connection_state state;
	uint64_t since_ns;
	bool doomed; /* shut down, or about to be */
	bool handshake_done;
};
TAILQ_HEAD(connections, connection);

struct https_exchange {
	TAILQ_ENTRY(https_exchange) next; /* in `work` or `answered` */
	struct https_server *server;
	struct evhttp_request *request; /* evhttp's until it is answered */
	const struct https_route *route;
	char rest[HTTPS_REST_MAX + 1];
	struct evkeyvalq query;
	bool has_query;
	struct bytes body;
	char name[HTTPS_NAME_MAX + 1];
	uint8_t key_id[KEY_ID_SIZE];
	bool has_certificate;
	/* The answer. */
	int status;
	bool close;
	char type[64];
	struct bytes answer;
	struct {
		const char *name;
		char value[128];
	} headers[HEADERS_MAX];
	size_t header_count;
};
TAILQ_HEAD(exchanges, https_exchange);

struct timer {
	struct event *event;
	void (*call)(void *arg);
	void *arg;
};

struct https_server {
	struct https_server_config config; /* with defaults filled in; spans of it are not kept */
	char address[TCP_ADDRESS_MAX + 1];
	SSL_CTX *context;
	struct event_base *base;
	struct evhttp *http;
	struct evhttp_bound_socket *bound;
	struct event *sweep, *wake, *resume, *doom;
	struct event *signals[2];
	struct timer timers[TIMERS_MAX];
	size_t timer_count;
	int wake_fd;
	struct connections connections;
	unsigned count, live; /* records; those that are not doomed */
	uint64_t stop_by_ns; /* 0: not stopping */
	bool ended;
	atomic_uint stops;
	atomic_uint pending; /* exchanges that are not answered */
	pthread_t loop_thread;

	pthread_t workers[WORKERS_MAX];
	unsigned worker_count;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t work_there;
	struct exchanges work, answered;
	unsigned work_count;
	bool workers_end;

	struct {
		atomic_uint_fast64_t accepted, handshakes_failed, dropped_idle, dropped_slow, turned_away, requests, answers[3];
		atomic_uint connections;
	} counts;
};

static int record_slot = -1; /* of a connection in its SSL object */
static pthread_once_t record_slot_once = PTHREAD_ONCE_INIT;

static void connection_free(struct connection *connection)
{
	struct https_server *server = connection->server;
	TAILQ_REMOVE(&server->connections, connection, next);
	server->count--;
	if (!connection->doomed)
		server->live--;
	if (!connection->handshake_done)
		atomic_fetch_add(&server->counts.handshakes_failed, 1);
	atomic_store(&server->counts.connections, server->count);
	free(connection);
}

/* OpenSSL: the connection's SSL object is freed. */
static void on_ssl_freed(void *parent, void *record, CRYPTO_EX_DATA *data, int slot, long number, void *pointer)
{
	(void)parent, (void)data, (void)slot, (void)number, (void)pointer;
	if (record)
		connection_free(record);
}

static void make_record_slot(void)
{
	record_slot = SSL_get_ex_new_index(0, NULL, NULL, NULL, on_ssl_freed);
}

static void enter(struct connection *connection, enum connection_state state)
{
	struct https_server *server = connection->server;
	connection->state = state;
	connection->since_ns = clock_monotonic_ns();
	TAILQ_REMOVE(&server->connections, connection, next);
	TAILQ_INSERT_TAIL(&server->connections, connection, next);
}

/* evhttp sees the end of the connection and frees it, soon. */
static void shut(struct connection *connection)
{
	if (!connection->doomed)
		connection->server->live--;
	connection->doomed = true;
	evutil_socket_t fd = bufferevent_getfd(connection->bev);
	if (fd >= 0)
		(void)shutdown(fd, SHUT_RDWR);
}

static void on_handshake(const SSL *ssl, int where, int value)
{
	struct connection *connection = SSL_get_ex_data(ssl, record_slot);
	(void)value;
	if (!(where & SSL_CB_HANDSHAKE_DONE) || !connection || connection->handshake_done)
		return;
	connection->handshake_done = true;
	enter(connection, CONNECTION_IDLE);
}

static void on_input(struct evbuffer *buffer, const struct evbuffer_cb_info *info, void *arg)
{
	struct connection *connection = arg;
	(void)buffer;
	if (info->n_added > 0 && connection->state == CONNECTION_IDLE)
		enter(connection, CONNECTION_READING);
}

/* The one that has idled longest makes room for a new one; when nobody idles, the new one is turned away. */
static void make_room(struct https_server *server, struct connection *newest)
{
	struct connection *at;
	if (server->live <= server->config.connections)
		return;
	TAILQ_FOREACH(at, &server->connections, next)
		if (!at->doomed && at != newest && at->state == CONNECTION_IDLE)
			break;
	if (at) {
		atomic_fetch_add(&server->counts.dropped_idle, 1);
		shut(at);
		return;
	}
	/* Its descriptor is not known yet. */
	atomic_fetch_add(&server->counts.turned_away, 1);
	newest->doomed = true;
	server->live--;
	event_active(server->doom, EV_TIMEOUT, 0);
}

static void on_doom(evutil_socket_t fd, short what, void *arg)
{
	struct https_server *server = arg;
	struct connection *at;
	(void)fd, (void)what;
	TAILQ_FOREACH(at, &server->connections, next)
		if (at->doomed)
			shut(at);
}

/*
 * evhttp asks for a bufferevent. Without one it would serve in plain text: so on failure it gets one that speaks nothing
 * (on_request knows it by the record that is missing).
 */
static struct bufferevent *on_accepted(struct event_base *base, void *arg)
{
	struct https_server *server = arg;
	struct connection *connection = calloc(1, sizeof(*connection));
	SSL *ssl = connection ? SSL_new(server->context) : NULL;
	struct bufferevent *bev =
		ssl ? bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE) : NULL;
	atomic_fetch_add(&server->counts.accepted, 1);
	if (!bev || SSL_set_ex_data(ssl, record_slot, connection) != 1) {
		if (bev)
			bufferevent_free(bev);
		else
			SSL_free(ssl);
		free(connection);
		return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	}
	bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	*connection = (struct connection){.server = server, .ssl = ssl, .bev = bev, .since_ns = clock_monotonic_ns()};
	TAILQ_INSERT_TAIL(&server->connections, connection, next);
	server->count++;
	server->live++;
	atomic_store(&server->counts.connections, server->count);
	SSL_set_info_callback(ssl, on_handshake);
	if (!evbuffer_add_cb(bufferevent_get_input(bev), on_input, connection))
		log_warning("a connection without a deadline for its requests: memory ran out");
	make_room(server, connection);
	return bev;
}

/* Accepting failed, mostly because no more files may be opened: without a pause it would fail again at once, for ever. */
static void on_accept_failed(struct evconnlistener *listener, void *arg)
{
	struct https_server *server = arg;
	const struct timeval pause = {.tv_usec = 100 * 1000};
	log_warning("accepting a connection", LOG_TEXT("text", strerror(errno)));
	(void)evconnlistener_disable(listener);
	(void)event_add(server->resume, &pause);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct https_server *server = arg;
	(void)fd, (void)what;
	if (server->bound)
		(void)evconnlistener_enable(evhttp_bound_socket_get_listener(server->bound));
}

/* ---- Requests --------------------------------------------------------------------------------------- */

static void exchange_free(struct https_exchange *exchange)
{
	if (exchange->has_query)
		evhttp_clear_headers(&exchange->query);
	bytes_free(&exchange->body);
	bytes_free(&exchange->answer);
	free(exchange);
}

static size_t count_headers(struct evhttp_request *request, const char *name, const char **out_value)
{
	const struct evkeyval *header;
	size_t count = 0;
	TAILQ_FOREACH(header, evhttp_request_get_input_headers(request), next)
		if (evutil_ascii_strcasecmp(header->key, name) == 0) {
			*out_value = header->value;
			count++;
		}
	return count;
}

/*
 * A request has one length that everybody reads in the same way: no chunks, one Content-Length at most, plain digits, and none
 * where no body belongs; names of headers have no spaces and values are on one line. What is not so ends the connection, so
 * that nobody finds a second request in it.
 */
static result check_framing(struct evhttp_request *request, bool has_body)
{
	const char *value = NULL;
	const struct evkeyval *header;
	TAILQ_FOREACH(header, evhttp_request_get_input_headers(request), next) {
		for (const char *c = header->key; *c; c++)
			if (*c <= ' ' || *c >= 0x7f)
				return fail(BAD_SYNTAX, "the name of a header");
		for (const char *c = header->value; *c; c++)
			if ((unsigned char)*c < ' ' && *c != '\t')
				return fail(BAD_SYNTAX, "the value of a header");
	}
	if (count_headers(request, "Transfer-Encoding", &value) > 0)
		return fail(BAD_SYNTAX, "Transfer-Encoding is not taken: send Content-Length");
	size_t lengths = count_headers(request, "Content-Length", &value);
	if (lengths > 1)
		return fail(BAD_SYNTAX, "more than one Content-Length");
	if (lengths == 1 && (value[0] == '\0' || strspn(value, "0123456789") != strlen(value)))
		return fail(BAD_SYNTAX, "Content-Length");
	if (lengths == 1 && !has_body && strcmp(value, "0") != 0)
		return fail(BAD_SYNTAX, "a body where there is none");
	if (count_headers(request, "Host", &value) > 1)
		return fail(BAD_SYNTAX, "more than one Host");
	return OK;
}

static result decode_rest(const char *rest, char out[static HTTPS_REST_MAX + 1])
{
	size_t len = 0;
	char *plain = evhttp_uridecode(rest, 0, &len);
	if (!plain)
		return fail(NO_MEMORY, "a request");
	bool good = len >= 1 && len <= HTTPS_REST_MAX;
	for (size_t i = 0; good && i < len; i++)
		good = plain[i] > ' ' && plain[i] < 0x7f && plain[i] != '/';
	if (good)
		memcpy(out, plain, len + 1);
	free(plain);
	return good ? OK : fail(REQUEST_UNKNOWN, "the last part of the path");
}

/* The route, or NULL; *out_other_method when only the method does not fit. */
static const struct https_route *find_route(const struct https_server *server, enum https_method method, const char *path, bool *out_other_method)
{
	*out_other_method = false;
	for (size_t i = 0; i < server->config.route_count; i++) {
		const struct https_route *route = &server->config.routes[i];
		size_t len = strlen(route->path);
		bool prefix = route->path[len - 1] == '/';
		if (prefix ? strncmp(path, route->path, len) != 0 || strchr(path + len, '/') : strcmp(path, route->path) != 0)
			continue;
		if (route->method == method)
			return route;
		*out_other_method = true;
	}
	return NULL;
}

static result take_query(struct https_exchange *exchange, const char *query)
{
	const struct evkeyval *a, *b;
	size_t count = 0;
	if (!query || !*query)
		return OK;
	if (evhttp_parse_query_str(query, &exchange->query) != 0)
		return fail(BAD_SYNTAX, "the query");
	exchange->has_query = true;
	TAILQ_FOREACH(a, &exchange->query, next) {
		if (++count > QUERY_MAX)
			return fail(TOO_LARGE, "the query");
		TAILQ_FOREACH(b, &exchange->query, next)
			if (a != b && strcmp(a->key, b->key) == 0)
				return fail(DUPLICATE_KEY, "the query");
	}
	return OK;
}

static result take_body(struct https_exchange *exchange)
{
	struct evbuffer *input = evhttp_request_get_input_buffer(exchange->request);
	size_t len = evbuffer_get_length(input);
	if (len == 0)
		return OK;
	if (len > exchange->server->config.body_max)
		return fail(TOO_LARGE, "the body");
	return bytes_copy(span_of(evbuffer_pullup(input, -1), len), &exchange->body);
}

/* OpenSSL has verified it: issued by the CA, for a client, valid now. */
static result take_certificate(struct https_exchange *exchange, const SSL *ssl)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	uint8_t der[SPKI_SIZE * 2], *at = der;
	const X509 *certificate = SSL_get0_peer_certificate(ssl);
	X509_PUBKEY *public = certificate ? X509_get_X509_PUBKEY(certificate) : NULL;
	if (!certificate)
		return OK;
	int len = public ? i2d_X509_PUBKEY(public, NULL) : 0;
	if (len <= 0 || (size_t)len > sizeof(der) || i2d_X509_PUBKEY(public, &at) != len)
		return fail(BAD_CERTIFICATE, "the client's key");
	TRY(key_from_spki(span_of(der, (size_t)len), &key));
	memcpy(exchange->key_id, key.id, KEY_ID_SIZE);
	int named = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, exchange->name, sizeof(exchange->name));
	if (named <= 0 || strlen(exchange->name) != (size_t)named)
		return fail(BAD_CERTIFICATE, "the client's name");
	exchange->has_certificate = true;
	return OK;
}

static enum https_method method_of(struct evhttp_request *request)
{
	switch (evhttp_request_get_command(request)) {
	case EVHTTP_REQ_GET:
	case EVHTTP_REQ_HEAD:
		return HTTPS_GET;
	case EVHTTP_REQ_POST:
		return HTTPS_POST;
	default:
		return 0;
	}
}

static result read_request(struct https_exchange *exchange, const SSL *ssl)
{
	struct https_server *server = exchange->server;
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(exchange->request);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	enum https_method method = method_of(exchange->request);
	bool other_method;
	exchange->close = true; /* whatever is refused here */
	TRY(check_framing(exchange->request, method == HTTPS_POST));
	if (!path || evhttp_uri_get_scheme(uri) || path[0] != '/')
		return fail(BAD_SYNTAX, "the path");
	exchange->close = false;
	exchange->route = find_route(server, method, path, &other_method);
	if (!exchange->route) {
		exchange->status = other_method || !method ? 405 : 404;
		return fail(REQUEST_UNKNOWN, other_method ? "not with this method" : "no such path");
	}
	size_t len = strlen(exchange->route->path);
	if (exchange->route->path[len - 1] == '/')
		TRY(decode_rest(path + len, exchange->rest));
	TRY(take_query(exchange, evhttp_uri_get_query(uri)));
	TRY(take_certificate(exchange, ssl));
	if ((exchange->route->flags & HTTPS_CERTIFICATE) && !exchange->has_certificate)
		return fail(WRITER_UNKNOWN, "no client certificate was shown");
	return take_body(exchange);
}

/* To the workers. SERVICE_BUSY. */
static result hand_out(struct https_exchange *exchange)
{
	struct https_server *server = exchange->server;
	pthread_mutex_lock(&server->lock);
	bool taken = server->work_count < WORK_MAX;
	if (taken) {
		TAILQ_INSERT_TAIL(&server->work, exchange, next);
		server->work_count++;
		pthread_cond_signal(&server->work_there);
	}
	pthread_mutex_unlock(&server->lock);
	return taken ? OK : fail(SERVICE_BUSY, "%d requests wait", WORK_MAX);
}

static void dispatch(struct https_exchange *exchange)
{
	struct https_server *server = exchange->server;
	if (exchange->route->flags & HTTPS_IN_LOOP) {
		exchange->route->handler(server->config.ctx, exchange);
		return;
	}
	result handed = hand_out(exchange);
	if (handed != OK)
		https_answer_failure(exchange, handed, NULL);
}

static void on_request(struct evhttp_request *request, void *arg)
{
	struct https_server *server = arg;
	struct evhttp_connection *at = evhttp_request_get_connection(request);
	struct ssl_st *ssl = at ? bufferevent_openssl_get_ssl(evhttp_connection_get_bufferevent(at)) : NULL;
	struct connection *connection = ssl ? SSL_get_ex_data(ssl, record_slot) : NULL;
	struct https_exchange *exchange = connection ? calloc(1, sizeof(*exchange)) : NULL;
	if (!exchange) {
		if (at)
			evhttp_connection_free(at); /* and the request with it */
		return;
	}
	atomic_fetch_add(&server->counts.requests, 1);
	atomic_fetch_add(&server->pending, 1);
	enter(connection, CONNECTION_WAITING);
	exchange->server = server;
	exchange->request = request;
	result taken = server->stop_by_ns ? fail(SERVICE_STOPPING, "send it again") : read_request(exchange, ssl);
	if (taken != OK) {
		https_answer_failure(exchange, taken, NULL);
		return;
	}
	dispatch(exchange);
}

/* ---- Answers ---------------------------------------------------------------------------------------- */

static void on_sent(struct evhttp_request *request, void *arg)
{
	struct connection *connection = arg;
	(void)request;
	bool more = evbuffer_get_length(bufferevent_get_input(connection->bev)) > 0;
	enter(connection, more ? CONNECTION_READING : CONNECTION_IDLE);
	if (connection->server->stop_by_ns)
		shut(connection);
}

static const char *phrase_of(int status)
{
	static const struct {
		int status;
		const char *phrase;
	} phrases[] = {{200, "OK"}, {400, "Bad Request"}, {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"},
		{409, "Conflict"}, {413, "Content Too Large"}, {422, "Unprocessable Content"}, {429, "Too Many Requests"},
		{500, "Internal Server Error"}, {503, "Service Unavailable"}};
	for (size_t i = 0; i < COUNT_OF(phrases); i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return status < 400 ? "OK" : "Refused";
}

static void add_headers(const struct https_exchange *exchange, bool close)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(exchange->request);
	(void)evhttp_add_header(headers, "Content-Type", exchange->type);
	(void)evhttp_add_header(headers, "Cache-Control", "no-store");
	(void)evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	for (size_t i = 0; i < exchange->header_count; i++)
		(void)evhttp_add_header(headers, exchange->headers[i].name, exchange->headers[i].value);
	if (exchange->status == 405)
		(void)evhttp_add_header(headers, "Allow", "GET, HEAD, POST");
	if (close)
		(void)evhttp_add_header(headers, "Connection", "close");
}

/* In the loop's thread. The exchange is gone afterwards. */
static void send_answer(struct https_exchange *exchange)
{
	struct https_server *server = exchange->server;
	struct evhttp_connection *at = evhttp_request_get_connection(exchange->request);
	struct evbuffer *body = evbuffer_new();
	int kind = exchange->status >= 500 ? 2 : exchange->status >= 400 ? 1 : 0;
	if (at) {
		struct connection *connection = SSL_get_ex_data(bufferevent_openssl_get_ssl(evhttp_connection_get_bufferevent(at)), record_slot);
		enter(connection, CONNECTION_WRITING);
		evhttp_request_set_on_complete_cb(exchange->request, on_sent, connection);
		add_headers(exchange, exchange->close || server->stop_by_ns != 0);
	}
	if (body && exchange->answer.len > 0 && evbuffer_add(body, exchange->answer.data, exchange->answer.len) != 0) {
		evbuffer_free(body);
		body = NULL;
	}
	if (!body)
		exchange->status = 503;
	evhttp_send_reply(exchange->request, exchange->status, phrase_of(exchange->status), body);
	if (body)
		evbuffer_free(body);
	atomic_fetch_add(&server->counts.answers[kind], 1);
	atomic_fetch_sub(&server->pending, 1);
	exchange_free(exchange);
}

/* Async-signal-safe. */
static void wake(const struct https_server *server)
{
	const uint64_t one = 1;
	int saved = errno;
	ssize_t written = write(server->wake_fd, &one, sizeof(one)); /* fails only when it is set already */
	(void)written;
	errno = saved;
}

static void give_back(struct https_exchange *exchange)
{
	struct https_server *server = exchange->server;
	pthread_mutex_lock(&server->lock);
	bool first = TAILQ_EMPTY(&server->answered);
	TAILQ_INSERT_TAIL(&server->answered, exchange, next);
	pthread_mutex_unlock(&server->lock);
	if (first)
		wake(server);
}

void https_answer(struct https_exchange *exchange, int status, const char *content_type, struct span body)
{
	exchange->status = status;
	snprintf(exchange->type, sizeof(exchange->type), "%s", content_type);
	if (body.len > 0 && bytes_copy(body, &exchange->answer) != OK)
		exchange->status = 503;
	if (pthread_equal(pthread_self(), exchange->server->loop_thread))
		send_answer(exchange);
	else
		give_back(exchange);
}

void https_answer_header(struct https_exchange *exchange, const char *name, const char *value)
{
	if (exchange->header_count >= HEADERS_MAX)
		return;
	exchange->headers[exchange->header_count].name = name;
	snprintf(exchange->headers[exchange->header_count].value, sizeof(exchange->headers[0].value), "%s", value);
	exchange->header_count++;
}

int https_status_of(result failed)
{
	static const struct {
		enum reason reason;
		int status;
	} table[] = {{OK, 200}, {NOT_FOUND, 404}, {REQUEST_UNKNOWN, 404}, {TOO_LARGE, 413}, {WRITER_UNKNOWN, 403}, {RATE_LIMITED, 429},
		{DISK_FULL, 503}, {LEDGER_BUSY, 503}, {LEDGER_INDEXING, 503}, {JOURNAL_POISONED, 503}, {SERVICE_BUSY, 503},
		{SERVICE_STOPPING, 503}, {NO_MEMORY, 503}, {LEDGER_DAMAGED, 500}, {JOURNAL_DAMAGED, 500}, {LEDGER_ROLLED_BACK, 500}};
	for (size_t i = 0; i < COUNT_OF(table); i++)
		if (table[i].reason == failed)
			return table[i].status;
	enum exit_code kind = reason_row(failed)->exit;
	return kind == EXIT_REFUSED || kind == EXIT_USAGE ? 400 : 500;
}

void https_answer_failure(struct https_exchange *exchange, result failed, const char *text)
{
	const struct reason_row *row = reason_row(failed);
	int status = exchange->status ? exchange->status : https_status_of(failed);
	json_t *json = json_pack("{s:s, s:i, s:s, s:s}", "error", row->name, "code", (int)failed, "text", text ? text : failure_text(), "do", row->sentence);
	char *dumped = json ? json_dumps(json, JSON_COMPACT) : NULL;
	https_answer(exchange, status, "application/json", span_str(dumped ? dumped : "{}"));
	free(dumped);
	json_decref(json);
}

/* ---- What handlers ask ------------------------------------------------------------------------------ */

const char *https_rest(const struct https_exchange *exchange)
{
	return exchange->rest;
}

const char *https_query(const struct https_exchange *exchange, const char *name)
{
	const struct evkeyval *at;
	if (exchange->has_query)
		TAILQ_FOREACH(at, &exchange->query, next)
			if (strcmp(at->key, name) == 0)
				return at->value;
	return NULL;
}

result https_query_only(const struct https_exchange *exchange, const char *const *names)
{
	const struct evkeyval *at;
	if (!exchange->has_query)
		return OK;
	TAILQ_FOREACH(at, &exchange->query, next) {
		const char *const *name = names;
		while (*name && strcmp(*name, at->key) != 0)
			name++;
		if (!*name)
			return fail(UNKNOWN_FIELD, "'%.40s' in the query", at->key);
	}
	return OK;
}

result https_query_number(const struct https_exchange *exchange, const char *name, uint64_t absent, uint64_t *out)
{
	const char *text = https_query(exchange, name);
	uint64_t value = 0;
	if (!text) {
		*out = absent;
		return OK;
	}
	if (!*text || (text[0] == '0' && text[1]))
		return fail(BAD_VALUE, "'%s' takes a number", name);
	for (const char *c = text; *c; c++)
		if (*c < '0' || *c > '9' || __builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value))
			return fail(BAD_VALUE, "'%s' takes a number", name);
	*out = value;
	return OK;
}

struct span https_body(const struct https_exchange *exchange)
{
	return bytes_span(&exchange->body);
}

const char *https_client_name(const struct https_exchange *exchange)
{
	return exchange->name;
}

const uint8_t *https_client_key(const struct https_exchange *exchange)
{
	return exchange->has_certificate ? exchange->key_id : NULL;
}

/* ---- Workers ---------------------------------------------------------------------------------------- */

static struct https_exchange *take_work(struct https_server *server)
{
	pthread_mutex_lock(&server->lock);
	while (TAILQ_EMPTY(&server->work) && !server->workers_end)
		pthread_cond_wait(&server->work_there, &server->lock);
	struct https_exchange *exchange = TAILQ_FIRST(&server->work);
	if (exchange) {
		TAILQ_REMOVE(&server->work, exchange, next);
		server->work_count--;
	}
	pthread_mutex_unlock(&server->lock);
	return exchange;
}

static void *run_worker(void *arg)
{
	struct https_server *server = arg;
	struct https_exchange *exchange;
	while ((exchange = take_work(server)))
		exchange->route->handler(server->config.ctx, exchange);
	return NULL;
}

static void end_workers(struct https_server *server)
{
	pthread_mutex_lock(&server->lock);
	server->workers_end = true;
	pthread_cond_broadcast(&server->work_there);
	pthread_mutex_unlock(&server->lock);
	for (; server->worker_count > 0; server->worker_count--)
		(void)pthread_join(server->workers[server->worker_count - 1], NULL);
}

static result start_workers(struct https_server *server)
{
	server->workers_end = false;
	while (server->worker_count < server->config.workers) {
		int failed = pthread_create(&server->workers[server->worker_count], NULL, run_worker, server);
		if (failed != 0) {
			end_workers(server);
			return fail(NO_MEMORY, "starting a thread: %s", strerror(failed));
		}
		server->worker_count++;
	}
	return OK;
}

/* ---- The loop --------------------------------------------------------------------------------------- */

static void send_answered(struct https_server *server)
{
	struct exchanges answered = TAILQ_HEAD_INITIALIZER(answered);
	struct https_exchange *exchange;
	pthread_mutex_lock(&server->lock);
	TAILQ_CONCAT(&answered, &server->answered, next);
	pthread_mutex_unlock(&server->lock);
	while ((exchange = TAILQ_FIRST(&answered))) {
		TAILQ_REMOVE(&answered, exchange, next);
		send_answer(exchange);
	}
}

/* How long a connection may be in a state; 0: as long as it takes. */
static unsigned limit_of(const struct https_server *server, enum connection_state state)
{
	switch (state) {
	case CONNECTION_HANDSHAKE:
		return server->config.handshake_ms;
	case CONNECTION_IDLE:
		return server->config.idle_ms;
	case CONNECTION_READING:
		return server->config.request_ms;
	case CONNECTION_WAITING:
		return 0;
	case CONNECTION_WRITING:
		return server->config.write_ms;
	}
	return 0;
}

static bool is_busy(const struct https_server *server)
{
	const struct connection *at;
	if (atomic_load(&server->pending) > 0)
		return true;
	TAILQ_FOREACH(at, &server->connections, next)
		if (!at->doomed && (at->state == CONNECTION_READING || at->state == CONNECTION_WRITING))
			return true;
	return false;
}

/* Stopping: nobody is accepted, who idles is shut, who reads or is written to may finish. */
static void begin_stop(struct https_server *server)
{
	struct connection *at;
	server->stop_by_ns = clock_monotonic_ns() + (uint64_t)server->config.write_ms * 1000000;
	if (server->bound)
		evhttp_del_accept_socket(server->http, server->bound);
	server->bound = NULL;
	TAILQ_FOREACH(at, &server->connections, next)
		if (at->state == CONNECTION_IDLE || at->state == CONNECTION_HANDSHAKE)
			shut(at);
}

static void look_at_stop(struct https_server *server)
{
	unsigned stops = atomic_load(&server->stops);
	if (stops == 0)
		return;
	if (!server->stop_by_ns)
		begin_stop(server);
	/* What was taken is always answered; readers who are slow are waited for within limits. */
	bool impatient = stops > 1 || clock_monotonic_ns() >= server->stop_by_ns;
	if (atomic_load(&server->pending) == 0 && (impatient || !is_busy(server))) {
		server->ended = true;
		(void)event_base_loopbreak(server->base);
	}
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct https_server *server = arg;
	struct connection *at;
	uint64_t now = clock_monotonic_ns();
	(void)fd, (void)what;
	TAILQ_FOREACH(at, &server->connections, next) {
		unsigned limit = limit_of(server, at->state);
		if (at->doomed || limit == 0 || now - at->since_ns < (uint64_t)limit * 1000000)
			continue;
		atomic_fetch_add(at->state == CONNECTION_IDLE ? &server->counts.dropped_idle : &server->counts.dropped_slow, 1);
		shut(at);
	}
	look_at_stop(server);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct https_server *server = arg;
	uint64_t count;
	(void)what;
	ssize_t got = read((int)fd, &count, sizeof(count));
	(void)got;
	send_answered(server);
	look_at_stop(server);
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	https_server_stop(arg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct timer *timer = arg;
	(void)fd, (void)what;
	timer->call(timer->arg);
}

result https_server_run(struct https_server *server)
{
	struct sigpipe_hold hold;
	int looped = 0;
	TRY(start_workers(server));
	server->loop_thread = pthread_self();
	sigpipe_hold(&hold);
	while (!server->ended && looped >= 0)
		looped = event_base_loop(server->base, EVLOOP_NO_EXIT_ON_EMPTY);
	sigpipe_release(&hold);
	end_workers(server);
	return server->ended ? OK : fail(IO_ERROR, "the event loop ended");
}

void https_server_stop(struct https_server *server)
{
	atomic_fetch_add(&server->stops, 1);
	wake(server);
}

bool https_server_stopping(const struct https_server *server)
{
	return atomic_load(&server->stops) > 0;
}

/* ---- Making one ------------------------------------------------------------------------------------- */

static struct event *make_event(struct https_server *server, evutil_socket_t fd, short what, event_callback_fn callback, const struct timeval *every)
{
	struct event *event = event_new(server->base, fd, what, callback, server);
	if (event && (what & (EV_READ | EV_SIGNAL) || every) && event_add(event, every) != 0) {
		event_free(event);
		return NULL;
	}
	return event;
}

result https_server_every(struct https_server *server, unsigned ms, void (*call)(void *arg), void *arg)
{
	const struct timeval every = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
	struct timer *timer = &server->timers[server->timer_count];
	if (server->timer_count >= TIMERS_MAX)
		return fail(INTERNAL, "timers");
	*timer = (struct timer){.call = call, .arg = arg};
	timer->event = event_new(server->base, -1, EV_PERSIST, on_timer, timer);
	if (!timer->event || event_add(timer->event, &every) != 0)
		return fail(NO_MEMORY, "a timer");
	server->timer_count++;
	return OK;
}

result https_server_stop_on_signals(struct https_server *server)
{
	static const int numbers[] = {SIGTERM, SIGINT};
	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		server->signals[i] = make_event(server, numbers[i], EV_SIGNAL | EV_PERSIST, on_signal, NULL);
		if (!server->signals[i])
			return fail(NO_MEMORY, "a signal");
	}
	return OK;
}

/* Room for the connections and what else is open; fewer connections where there is none to be had. */
static result fit_files(struct https_server *server)
{
	struct rlimit limit;
	rlim_t wanted = (rlim_t)server->config.connections + SPARE_FILES;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return fail_errno("the limit of open files");
	if (limit.rlim_cur < wanted) {
		limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted ? wanted : limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur < 128)
		return fail(NOT_SUPPORTED, "only %u files may be open; raise the limit (ulimit -n)", (unsigned)limit.rlim_cur);
	if (limit.rlim_cur < wanted) {
		server->config.connections = (unsigned)(limit.rlim_cur / 2);
		log_warning("few files may be open", LOG_NUMBER("connections", server->config.connections));
	}
	return OK;
}

static void fill_defaults(struct https_server_config *config)
{
	struct {
		unsigned *at;
		unsigned value;
	} numbers[] = {{&config->workers, WORKERS}, {&config->connections, CONNECTIONS}, {&config->handshake_ms, HANDSHAKE_MS},
		{&config->request_ms, REQUEST_MS}, {&config->idle_ms, IDLE_MS}, {&config->write_ms, WRITE_MS}};
	for (size_t i = 0; i < COUNT_OF(numbers); i++)
		if (*numbers[i].at == 0)
			*numbers[i].at = numbers[i].value;
	if (config->workers > WORKERS_MAX)
		config->workers = WORKERS_MAX;
	config->body_max = config->body_max ? config->body_max : BODY_MAX;
	config->head_max = config->head_max ? config->head_max : HEAD_MAX;
}

static result make_loop(struct https_server *server)
{
	const struct timeval sweep = {.tv_usec = SWEEP_MS * 1000};
	struct event_config *config = event_config_new();
	if (config && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV) == 0)
		server->base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!server->base || server->wake_fd < 0)
		return fail(IO_ERROR, "an event loop cannot be made; is the limit of open files reached?");
	server->sweep = make_event(server, -1, EV_PERSIST, on_sweep, &sweep);
	server->wake = make_event(server, server->wake_fd, EV_READ | EV_PERSIST, on_wake, NULL);
	server->resume = make_event(server, -1, 0, on_resume, NULL);
	server->doom = make_event(server, -1, 0, on_doom, NULL);
	return server->sweep && server->wake && server->resume && server->doom ? OK : fail(NO_MEMORY, "an event loop");
}

static result make_http(struct https_server *server, const struct https_server_config *config)
{
	CLEANUP(fd_close) struct fd listener = FD_NONE;
	TRY(tcp_listen(config->listen, &listener));
	if (listen(listener.n, BACKLOG) != 0)
		return fail_errno("listening at '%s'", config->listen);
	tcp_local(listener.n, server->address);
	server->http = evhttp_new(server->base);
	if (!server->http)
		return fail(NO_MEMORY, "an HTTP server");
	/* evhttp's own timeout counts silence alone; the sweep's limits come first. */
	evhttp_set_timeout(server->http, (int)((server->config.idle_ms + server->config.write_ms) / 1000 + 10));
	evhttp_set_max_headers_size(server->http, (ev_ssize_t)server->config.head_max);
	evhttp_set_max_body_size(server->http, (ev_ssize_t)server->config.body_max);
	evhttp_set_allowed_methods(server->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
							 EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE | EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH);
	evhttp_set_bevcb(server->http, on_accepted, server);
	evhttp_set_gencb(server->http, on_request, server);
	/* Head and body of an answer are written one after the other; connections take this over from the listener. */
	(void)setsockopt(listener.n, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	server->bound = evhttp_accept_socket_with_handle(server->http, listener.n);
	if (!server->bound)
		return fail(NO_MEMORY, "an HTTP server");
	listener = FD_NONE; /* transferred */
	evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(server->bound), on_accept_failed);
	return OK;
}

result https_server_new(const struct https_server_config *config, struct https_server **out)
{
	CLEANUP(https_server_cleanup) struct https_server *server = calloc(1, sizeof(*server));
	const struct https_context_options context = {
		.side = HTTPS_SERVER, .key = config->key, .certificate_pem = config->certificate_pem, .ca_pem = config->client_ca_pem};
	if (!server)
		return fail(NO_MEMORY, "a server");
	server->wake_fd = -1;
	server->config = *config;
	fill_defaults(&server->config);
	TAILQ_INIT(&server->connections);
	TAILQ_INIT(&server->work);
	TAILQ_INIT(&server->answered);
	(void)pthread_mutex_init(&server->lock, NULL);
	(void)pthread_cond_init(&server->work_there, NULL);
	(void)pthread_once(&record_slot_once, make_record_slot);
	if (record_slot < 0)
		return fail(CRYPTO_FAILED, "setting up TLS");
	TRY(https_context_new(&context, &server->context));
	TRY(fit_files(server));
	TRY(make_loop(server));
	TRY(make_http(server, config));
	*out = server;
	server = NULL; /* transferred */
	return OK;
}

void https_server_free(struct https_server *server)
{
	if (!server)
		return;
	struct event **events[] = {&server->sweep, &server->wake, &server->resume, &server->doom, &server->signals[0], &server->signals[1]};
	if (server->http)
		evhttp_free(server->http);
	for (size_t i = 0; i < COUNT_OF(events); i++)
		if (*events[i])
			event_free(*events[i]);
	for (size_t i = 0; i < server->timer_count; i++)
		event_free(server->timers[i].event);
	if (server->base) {
		(void)event_base_loop(server->base, EVLOOP_NONBLOCK); /* bufferevents are freed by their loop */
		event_base_free(server->base);
	}
	if (server->wake_fd >= 0)
		(void)close(server->wake_fd);
	SSL_CTX_free(server->context);
	(void)pthread_cond_destroy(&server->work_there);
	(void)pthread_mutex_destroy(&server->lock);
	free(server);
}

void https_server_cleanup(struct https_server **at)
{
	https_server_free(*at);
}

const char *https_server_address(const struct https_server *server)
{
	return server->address;
}

void https_server_statistics(struct https_server *server, struct https_statistics *out)
{
	*out = (struct https_statistics){
		.accepted = atomic_load(&server->counts.accepted),
		.handshakes_failed = atomic_load(&server->counts.handshakes_failed),
		.dropped_idle = atomic_load(&server->counts.dropped_idle),
		.dropped_slow = atomic_load(&server->counts.dropped_slow),
		.turned_away = atomic_load(&server->counts.turned_away),
		.requests = atomic_load(&server->counts.requests),
		.answers_2xx = atomic_load(&server->counts.answers[0]),
		.answers_4xx = atomic_load(&server->counts.answers[1]),
		.answers_5xx = atomic_load(&server->counts.answers[2]),
		.connections = atomic_load(&server->counts.connections),
		.pending = atomic_load(&server->pending),
	};
}
