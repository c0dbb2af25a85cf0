#include "net/https_client.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "net/https_tls.h"

/*
 * Theory of operation. Each request turns an event loop of the client's own until evhttp has called back or the deadline has
 * come. A connection on which anything went wrong is thrown away with its SSL object: the next request makes a new one.
 */

enum { TIMEOUT_MS = 30 * 1000, ANSWER_MAX = 16 * 1024 * 1024, HEAD_MAX = 32 * 1024, HOST_MAX = 253, PREFIX_MAX = 255, PORT = 443 };

struct https_client {
	struct event_base *base;
	SSL_CTX *context;
	struct evhttp_connection *connection; /* NULL: none is open */
	struct bufferevent *bev;	      /* the connection's */
	bool used;			      /* it has carried an answer: it may have been closed while it idled */
	bool reached, agreed;		      /* somebody accepted it; the handshake was done */
	char host[HOST_MAX + 1], prefix[PREFIX_MAX + 1];
	bool host_is_ip, shows_certificate;
	uint16_t port;
	unsigned timeout_ms;
	size_t answer_max;
};

/* ---- Making one ------------------------------------------------------------------------------------- */

static result parse_url(const char *url, struct https_client *client)
{
	struct evhttp_uri *uri = evhttp_uri_parse(url);
	const char *scheme = uri ? evhttp_uri_get_scheme(uri) : NULL;
	const char *host = uri ? evhttp_uri_get_host(uri) : NULL;
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	int port = uri ? evhttp_uri_get_port(uri) : -1;
	uint8_t address[16];
	size_t host_len = host ? strlen(host) : 0;
	size_t path_len = path ? strlen(path) : 0;
	bool good = scheme && strcmp(scheme, "https") == 0 && host_len > 0 && host_len <= HOST_MAX && path_len <= PREFIX_MAX && port != 0 &&
		    !evhttp_uri_get_userinfo(uri) && !evhttp_uri_get_query(uri) && !evhttp_uri_get_fragment(uri);
	if (good) {
		bool bracketed = host[0] == '[' && host[host_len - 1] == ']';
		snprintf(client->host, sizeof(client->host), "%.*s", (int)(host_len - (bracketed ? 2 : 0)), host + bracketed);
		while (path_len > 0 && path[path_len - 1] == '/')
			path_len--;
		snprintf(client->prefix, sizeof(client->prefix), "%.*s", (int)path_len, path ? path : "");
		client->port = (uint16_t)(port < 0 ? PORT : port);
		client->host_is_ip = inet_pton(AF_INET, client->host, address) == 1 || inet_pton(AF_INET6, client->host, address) == 1;
	}
	if (uri)
		evhttp_uri_free(uri);
	return good ? OK : fail(BAD_VALUE, "'%s' is no URL of the form https://HOST[:PORT]", url);
}

result https_client_new(const struct https_client_options *options, struct https_client **out)
{
	CLEANUP(https_client_cleanup) struct https_client *client = calloc(1, sizeof(*client));
	const struct https_context_options context = {
		.side = HTTPS_CLIENT, .key = options->key, .certificate_pem = options->certificate_pem, .ca_pem = options->ca_pem};
	if (!client)
		return fail(NO_MEMORY, "a client");
	client->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
	client->shows_certificate = options->key != NULL;
	client->answer_max = options->answer_max ? options->answer_max : ANSWER_MAX;
	TRY(parse_url(options->url, client));
	TRY(https_context_new(&context, &client->context));
	client->base = event_base_new();
	if (!client->base)
		return fail(IO_ERROR, "an event loop cannot be made; is the limit of open files reached?");
	*out = client;
	client = NULL; /* transferred */
	return OK;
}

static void disconnect(struct https_client *client)
{
	if (client->connection)
		evhttp_connection_free(client->connection);
	client->connection = NULL;
	client->bev = NULL;
	client->used = false;
	(void)event_base_loop(client->base, EVLOOP_NONBLOCK); /* bufferevents are freed by their loop */
}

void https_client_free(struct https_client *client)
{
	struct sigpipe_hold hold;
	if (!client)
		return;
	if (client->base) {
		sigpipe_hold(&hold);
		disconnect(client);
		sigpipe_release(&hold);
		event_base_free(client->base);
	}
	SSL_CTX_free(client->context);
	free(client);
}

void https_client_cleanup(struct https_client **at)
{
	https_client_free(*at);
}

void https_answer_free(struct https_answer *answer)
{
	if (!answer)
		return;
	bytes_free(&answer->body);
	*answer = HTTPS_ANSWER_EMPTY;
}

/* ---- Connecting ------------------------------------------------------------------------------------- */

/* Whom the certificate must be for. */
static bool expect_host(const struct https_client *client, SSL *ssl)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (client->host_is_ip)
		return X509_VERIFY_PARAM_set1_ip_asc(param, client->host) == 1;
	return X509_VERIFY_PARAM_set1_host(param, client->host, 0) == 1 && SSL_set_tlsext_host_name(ssl, client->host) == 1;
}

static void on_handshake(const SSL *ssl, int where, int value)
{
	struct https_client *client = SSL_get_app_data(ssl);
	(void)value;
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	/* libevent begins with the handshake also when nobody took the connection. */
	client->reached = client->reached || getpeername(SSL_get_fd(ssl), (struct sockaddr *)&peer, &len) == 0;
	client->agreed = client->agreed || (where & SSL_CB_HANDSHAKE_DONE);
}

static result make_connection(struct https_client *client)
{
	SSL *ssl = SSL_new(client->context);
	struct bufferevent *bev = NULL;
	client->reached = client->agreed = false;
	if (ssl && expect_host(client, ssl) && SSL_set_app_data(ssl, client) == 1) {
		SSL_set_info_callback(ssl, on_handshake);
		bev = bufferevent_openssl_socket_new(client->base, -1, ssl, BUFFEREVENT_SSL_CONNECTING, BEV_OPT_CLOSE_ON_FREE);
	}
	if (!bev) {
		SSL_free(ssl);
		return fail(NO_MEMORY, "a connection");
	}
	bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	client->connection = evhttp_connection_base_bufferevent_new(client->base, NULL, bev, client->host, client->port);
	if (!client->connection) {
		bufferevent_free(bev);
		return fail(NO_MEMORY, "a connection");
	}
	client->bev = bev;
	evhttp_connection_set_max_body_size(client->connection, (ev_ssize_t)client->answer_max);
	evhttp_connection_set_max_headers_size(client->connection, HEAD_MAX);
	evhttp_connection_set_timeout(client->connection, (int)(client->timeout_ms / 1000 + 1));
	return OK;
}

/* ---- One request ------------------------------------------------------------------------------------ */

struct turn {
	struct https_client *client;
	struct https_answer *answer;
	result done; /* OK once the answer is there */
	bool ended, timed_out;
	enum evhttp_request_error error;
	bool has_error;
};

static result take_answer(struct evhttp_request *request, struct https_answer *out)
{
	struct evbuffer *input = evhttp_request_get_input_buffer(request);
	struct evkeyvalq *headers = evhttp_request_get_input_headers(request);
	const char *type = evhttp_find_header(headers, "Content-Type");
	const char *retry = evhttp_find_header(headers, "Retry-After");
	size_t len = evbuffer_get_length(input);
	out->status = evhttp_request_get_response_code(request);
	if (out->status < 200 || out->status > 599)
		return fail(ANSWER_BROKEN, "a status of %d", out->status);
	if (type)
		snprintf(out->type, sizeof(out->type), "%.*s", (int)strcspn(type, "; "), type);
	if (retry && strspn(retry, "0123456789") == strlen(retry) && strlen(retry) < 9)
		out->retry_after_s = (uint64_t)strtoul(retry, NULL, 10);
	return len > 0 ? bytes_copy(span_of(evbuffer_pullup(input, -1), len), &out->body) : OK;
}

static void on_done(struct evhttp_request *request, void *arg)
{
	struct turn *turn = arg;
	turn->ended = true;
	if (request && evhttp_request_get_response_code(request) != 0)
		turn->done = take_answer(request, turn->answer);
	(void)event_base_loopbreak(turn->client->base);
}

static void on_error(enum evhttp_request_error error, void *arg)
{
	struct turn *turn = arg;
	turn->has_error = true;
	turn->error = error;
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct turn *turn = arg;
	(void)fd, (void)what;
	turn->timed_out = true;
	(void)event_base_loopbreak(turn->client->base);
}

static void free_event(struct event **at)
{
	if (*at)
		event_free(*at);
}

/* Why there is no answer, by how far the connection came. */
static result explain(const struct turn *turn, const char *where)
{
	const struct https_client *client = turn->client;
	const SSL *ssl = client->bev ? bufferevent_openssl_get_ssl(client->bev) : NULL;
	unsigned long code = client->bev ? bufferevent_get_openssl_error(client->bev) : 0;
	const char *why = code ? ERR_reason_error_string(code) : NULL;
	long verified = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
	if (verified != X509_V_OK)
		return fail(TLS_FAILED, "%s: its certificate: %s", where, X509_verify_cert_error_string(verified));
	if (turn->timed_out || (turn->has_error && turn->error == EVREQ_HTTP_TIMEOUT))
		return fail(TIMED_OUT, "%s has not answered within %u ms", where, client->timeout_ms);
	if (!client->reached)
		return fail(PEER_UNREACHABLE, "nobody answers at %s", where);
	if (why)
		return fail(TLS_FAILED, "%s: %s%s", where, why,
			client->shows_certificate && client->agreed ? "; perhaps it does not accept our certificate" : "");
	if (turn->has_error && turn->error == EVREQ_HTTP_DATA_TOO_LONG)
		return fail(TOO_LARGE, "the answer of %s", where);
	if (turn->has_error && turn->error == EVREQ_HTTP_INVALID_HEADER)
		return fail(ANSWER_BROKEN, "%s does not answer with HTTP", where);
	if (!client->agreed)
		return fail(TLS_FAILED, "%s ended the handshake", where);
	return fail(PEER_CLOSED, "%s ended the connection instead of an answer%s", where,
		client->shows_certificate && !client->used ? "; perhaps it does not accept our certificate" : "");
}

struct message {
	enum evhttp_cmd_type method;
	const char *path, *type;
	struct span body;
};

static struct evhttp_request *make_request(const struct https_client *client, const struct message *message, struct turn *turn)
{
	char host[HOST_MAX + 16];
	struct evhttp_request *request = evhttp_request_new(on_done, turn);
	if (!request)
		return NULL;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	snprintf(host, sizeof(host), strchr(client->host, ':') ? "[%s]:%u" : "%s:%u", client->host, client->port);
	evhttp_request_set_error_cb(request, on_error);
	bool made = evhttp_add_header(headers, "Host", host) == 0;
	if (message->method == EVHTTP_REQ_POST)
		made = made && evhttp_add_header(headers, "Content-Type", message->type) == 0 &&
		       evbuffer_add(evhttp_request_get_output_buffer(request), message->body.data, message->body.len) == 0;
	if (made)
		return request;
	evhttp_request_free(request);
	return NULL;
}

static result turn_once(struct https_client *client, const struct message *message, struct https_answer *answer)
{
	char path[PREFIX_MAX + 1024], where[HOST_MAX + 16];
	struct turn turn = {.client = client, .answer = answer, .done = PEER_CLOSED};
	const struct timeval limit = {.tv_sec = client->timeout_ms / 1000, .tv_usec = (suseconds_t)(client->timeout_ms % 1000) * 1000};
	snprintf(where, sizeof(where), "%s:%u", client->host, client->port);
	int len = snprintf(path, sizeof(path), "%s%s", client->prefix, message->path);
	if (len < 0 || (size_t)len >= sizeof(path))
		return fail(TOO_LARGE, "the path of a request");
	if (!client->connection)
		TRY(make_connection(client));
	struct evhttp_request *request = make_request(client, message, &turn);
	if (!request)
		return fail(NO_MEMORY, "a request");
	CLEANUP(free_event) struct event *deadline = evtimer_new(client->base, on_deadline, &turn);
	if (!deadline || evtimer_add(deadline, &limit) != 0) {
		evhttp_request_free(request);
		return fail(NO_MEMORY, "a request");
	}
	ERR_clear_error();
	if (evhttp_make_request(client->connection, request, message->method, path) != 0)
		turn.ended = true;
	while (!turn.ended && !turn.timed_out)
		if (event_base_loop(client->base, EVLOOP_ONCE) < 0)
			break;
	return turn.done == OK ? OK : turn.done == PEER_CLOSED ? explain(&turn, where) : turn.done;
}

static result ask(struct https_client *client, const struct message *message, struct https_answer *out)
{
	CLEANUP(https_answer_free) struct https_answer answer = HTTPS_ANSWER_EMPTY;
	bool was_used = client->used;
	result done = turn_once(client, message, &answer);
	if (done != OK)
		disconnect(client);
	/* A server may close what idles, just when we send: once more, on a connection of which that cannot be said. */
	if (was_used && (done == PEER_CLOSED || done == PEER_UNREACHABLE)) {
		done = turn_once(client, message, &answer);
		if (done != OK)
			disconnect(client);
	}
	TRY(done);
	client->used = true;
	*out = answer;
	answer = HTTPS_ANSWER_EMPTY; /* transferred */
	return OK;
}

static result ask_quietly(struct https_client *client, const struct message *message, struct https_answer *out)
{
	struct sigpipe_hold hold;
	sigpipe_hold(&hold);
	result done = ask(client, message, out);
	sigpipe_release(&hold);
	return done;
}

result https_client_get(struct https_client *client, const char *path, struct https_answer *out)
{
	const struct message message = {.method = EVHTTP_REQ_GET, .path = path};
	return ask_quietly(client, &message, out);
}

result https_client_post(struct https_client *client, const char *path, const char *content_type, struct span body, struct https_answer *out)
{
	const struct message message = {.method = EVHTTP_REQ_POST, .path = path, .type = content_type, .body = body};
	return ask_quietly(client, &message, out);
}
