#include "net_test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/file.h"
#include "net/https_client.h"
#include "net/https_server.h"
#include "net/service_ca.h"
#include "net/tcp.h"
#include "net/tls.h"

/* A server in a thread, with clients of ours and raw TLS ones. Limits are short where a test waits for them, else generous. */

enum { PATIENCE_MS = 60 * 1000 };

struct place {
	struct key ca_key, server_key, client_key, other_key;
	struct bytes ca, server, client, other_ca, other_client;
	struct https_server *https;
	pthread_t thread;
	result ran;
	atomic_int handled;
	struct https_exchange *_Atomic held; /* answered later, by the test */
	char url[300];
};

static void echo(void *ctx, struct https_exchange *exchange)
{
	struct place *place = ctx;
	char text[600];
	const char *a = https_query(exchange, "a");
	atomic_fetch_add(&place->handled, 1);
	snprintf(text, sizeof(text), "%s|%s|%s|%.*s", https_rest(exchange), a ? a : "-", https_client_name(exchange), (int)https_body(exchange).len,
		(const char *)https_body(exchange).data);
	https_answer_header(exchange, "Retry-After", "7");
	https_answer(exchange, 200, "text/plain; charset=utf-8", span_str(text));
}

static void hold(void *ctx, struct https_exchange *exchange)
{
	struct place *place = ctx;
	atomic_store(&place->held, exchange);
}

static void refuse(void *ctx, struct https_exchange *exchange)
{
	(void)ctx;
	https_answer_failure(exchange, fail(LEDGER_BUSY, "too many \"quotes\""), NULL);
}

static void numbers(void *ctx, struct https_exchange *exchange)
{
	static const char *const names[] = {"n", NULL};
	uint64_t n = 0;
	char text[32];
	(void)ctx;
	result read = https_query_only(exchange, names);
	if (read == OK)
		read = https_query_number(exchange, "n", 5, &n);
	if (read != OK) {
		https_answer_failure(exchange, read, NULL);
		return;
	}
	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	https_answer(exchange, 200, "text/plain", span_str(text));
}

static const struct https_route routes[] = {
	{HTTPS_GET, "/loop/", HTTPS_IN_LOOP, echo},
	{HTTPS_GET, "/work", 0, echo},
	{HTTPS_POST, "/work", 0, echo},
	{HTTPS_POST, "/mine", HTTPS_IN_LOOP | HTTPS_CERTIFICATE, echo},
	{HTTPS_GET, "/hold", HTTPS_IN_LOOP, hold},
	{HTTPS_GET, "/refuse", 0, refuse},
	{HTTPS_GET, "/number", 0, numbers},
};

static void *run(void *arg)
{
	struct place *place = arg;
	place->ran = https_server_run(place->https);
	return NULL;
}

static void make_keys(struct place *place)
{
	static const char *const hosts[] = {"localhost", "127.0.0.1"};
	const struct service_certificate server = {.name = "server", .hosts = hosts, .host_count = 2};
	const struct service_certificate client = {.name = "alice"};
	expect_ok(key_generate(&place->ca_key));
	expect_ok(key_generate(&place->server_key));
	expect_ok(key_generate(&place->client_key));
	expect_ok(key_generate(&place->other_key));
	expect_ok(service_ca_new(&place->ca_key, "a CA", &place->ca));
	expect_ok(service_ca_new(&place->other_key, "a CA", &place->other_ca));
	expect_ok(service_ca_issue(&place->ca_key, bytes_span(&place->ca), &server, &place->server_key, &place->server));
	expect_ok(service_ca_issue(&place->ca_key, bytes_span(&place->ca), &client, &place->client_key, &place->client));
	expect_ok(service_ca_issue(&place->other_key, bytes_span(&place->other_ca), &client, &place->client_key, &place->other_client));
}

static void place_new(struct place *place, struct https_server_config config)
{
	*place = (struct place){.ran = INTERNAL};
	make_keys(place);
	config.listen = "127.0.0.1:0";
	config.key = &place->server_key;
	config.certificate_pem = bytes_span(&place->server);
	config.client_ca_pem = bytes_span(&place->ca);
	config.routes = routes;
	config.route_count = COUNT_OF(routes);
	config.ctx = place;
	expect_ok(https_server_new(&config, &place->https));
	snprintf(place->url, sizeof(place->url), "https://%s", https_server_address(place->https));
	assert_int_equal(pthread_create(&place->thread, NULL, run, place), 0);
}

static void place_end(struct place *place)
{
	https_server_stop(place->https);
	assert_int_equal(pthread_join(place->thread, NULL), 0);
	expect_ok(place->ran);
	https_server_free(place->https);
	key_free(&place->ca_key);
	key_free(&place->server_key);
	key_free(&place->client_key);
	key_free(&place->other_key);
	struct bytes *all[] = {&place->ca, &place->server, &place->client, &place->other_ca, &place->other_client};
	for (size_t i = 0; i < COUNT_OF(all); i++)
		bytes_free(all[i]);
}

static struct https_client *client_of(const struct place *place, bool certificate)
{
	struct https_client *client = NULL;
	const struct https_client_options options = {.url = place->url, .ca_pem = bytes_span(&place->ca),
		.key = certificate ? &place->client_key : NULL, .certificate_pem = bytes_span(&place->client), .timeout_ms = PATIENCE_MS};
	expect_ok(https_client_new(&options, &client));
	return client;
}

static void expect_get(struct https_client *client, const char *path, int status, const char *body)
{
	struct https_answer answer = HTTPS_ANSWER_EMPTY;
	expect_ok(https_client_get(client, path, &answer));
	if (answer.status != status)
		print_error("%s: %d %.*s\n", path, answer.status, (int)answer.body.len, (const char *)answer.body.data);
	assert_int_equal(answer.status, status);
	if (body)
		expect_span(bytes_span(&answer.body), span_str(body));
	https_answer_free(&answer);
}

static void expect_post(struct https_client *client, const char *path, const char *send, int status, const char *body)
{
	struct https_answer answer = HTTPS_ANSWER_EMPTY;
	expect_ok(https_client_post(client, path, "text/plain", span_str(send), &answer));
	assert_int_equal(answer.status, status);
	if (body)
		expect_span(bytes_span(&answer.body), span_str(body));
	https_answer_free(&answer);
}

static bool answer_has(const struct https_answer *answer, const char *text)
{
	return memmem(answer->body.data, answer->body.len, text, strlen(text)) != NULL;
}

/* ---- Requests --------------------------------------------------------------------------------------- */

static void requests_are_answered(void **state)
{
	struct place place;
	struct https_answer answer = HTTPS_ANSWER_EMPTY;
	(void)state;
	place_new(&place, (struct https_server_config){0});
	struct https_client *client = client_of(&place, false);
	expect_get(client, "/loop/x%41?a=b%20c", 200, "xA|b c||");
	expect_get(client, "/work", 200, "|-||");
	expect_post(client, "/work?a=", "hello", 200, "|||hello");
	expect_post(client, "/work", "", 200, "|-||");
	expect_get(client, "/number", 200, "5");
	expect_get(client, "/number?n=18446744073709551615", 200, "18446744073709551615");
	expect_get(client, "/number?n=18446744073709551616", 400, NULL);
	expect_get(client, "/number?n=01", 400, NULL);
	expect_get(client, "/number?n=-1", 400, NULL);
	expect_get(client, "/number?n=", 400, NULL);
	expect_get(client, "/number?m=1", 400, NULL);
	expect_get(client, "/number?n=1&n=1", 400, NULL);
	expect_get(client, "/work/", 404, NULL);
	expect_get(client, "/loop/", 404, NULL);
	expect_get(client, "/loop/a/b", 404, NULL);
	expect_get(client, "/loop/a%2fb", 404, NULL);
	expect_get(client, "/loop/a%00b", 404, NULL);
	expect_get(client, "/", 404, NULL);
	expect_post(client, "/hold", "", 405, NULL);
	expect_ok(https_client_get(client, "/refuse", &answer));
	assert_int_equal(answer.status, 503);
	assert_string_equal(answer.type, "application/json");
	assert_true(answer_has(&answer, "\"error\":\"LEDGER_BUSY\",\"code\":1029,\"text\":\"too many \\\"quotes\\\"\",\"do\":\"More"));
	https_answer_free(&answer);
	expect_ok(https_client_get(client, "/work", &answer));
	assert_string_equal(answer.type, "text/plain");
	assert_int_equal(answer.retry_after_s, 7);
	https_answer_free(&answer);
	https_client_free(client);
	place_end(&place);
}

static void certificates_are_asked_for_where_needed(void **state)
{
	struct place place;
	(void)state;
	place_new(&place, (struct https_server_config){0});
	struct https_client *without = client_of(&place, false), *with = client_of(&place, true);
	expect_post(without, "/mine", "x", 403, NULL);
	expect_post(with, "/mine", "x", 200, "|-|alice|x");
	expect_get(with, "/work", 200, "|-|alice|");
	https_client_free(without);
	https_client_free(with);
	place_end(&place);
}

static void get_fails(const struct https_client_options *options, result wanted)
{
	struct https_client *client = NULL;
	struct https_answer answer = HTTPS_ANSWER_EMPTY;
	expect_ok(https_client_new(options, &client));
	expect(https_client_get(client, "/work", &answer), wanted);
	https_client_free(client);
}

/* A server says so after the handshake, in the eyes of the client, and its word may be lost with the connection. */
static void certificate_fails(const struct https_client_options *options)
{
	struct https_client *client = NULL;
	struct https_answer answer = HTTPS_ANSWER_EMPTY;
	expect_ok(https_client_new(options, &client));
	result got = https_client_get(client, "/work", &answer);
	assert_true(got == TLS_FAILED || got == PEER_CLOSED);
	assert_non_null(strstr(failure_text(), "certificate"));
	https_client_free(client);
}

static void strangers_are_refused_in_the_handshake(void **state)
{
	struct place place;
	char url[300];
	(void)state;
	place_new(&place, (struct https_server_config){0});
	const struct https_client_options good = {.url = place.url, .ca_pem = bytes_span(&place.ca), .timeout_ms = PATIENCE_MS};
	struct https_client_options bad = good;
	bad.ca_pem = bytes_span(&place.other_ca);
	get_fails(&bad, TLS_FAILED);
	bad = good;
	bad.ca_pem = SPAN_EMPTY; /* what the system trusts */
	get_fails(&bad, TLS_FAILED);
	bad = good;
	bad.key = &place.client_key;
	bad.certificate_pem = bytes_span(&place.other_client);
	certificate_fails(&bad);
	/* One of the server's addresses that its certificate does not have. */
	bad = good;
	snprintf(url, sizeof(url), "https://127.0.0.2:%s", strrchr(place.url, ':') + 1);
	bad.url = url;
	bad.timeout_ms = 2000;
	struct https_client *client = NULL;
	struct https_answer answer = HTTPS_ANSWER_EMPTY;
	expect_ok(https_client_new(&bad, &client));
	assert_int_not_equal(https_client_get(client, "/work", &answer), OK);
	https_client_free(client);
	/* A server's certificate is none of a client, and a client's none of a server. */
	bad = good;
	bad.key = &place.server_key;
	bad.certificate_pem = bytes_span(&place.server);
	certificate_fails(&bad);
	struct https_statistics counts;
	https_server_statistics(place.https, &counts);
	assert_int_equal(atomic_load(&place.handled), 0);
	assert_int_equal(counts.requests, 0);
	place_end(&place);
}

static void what_is_wrong_is_told(void **state)
{
	struct place place;
	CLEANUP(fd_close) struct fd listener = FD_NONE;
	struct https_client *client = NULL;
	struct https_answer answer = HTTPS_ANSWER_EMPTY;
	char address[TCP_ADDRESS_MAX + 1], url[300];
	static const char *const bad[] = {"http://x", "x", "https://", "https://x?y", "https://u@x", "https://x:0", "https://x#y", "https://x:99999"};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		const struct https_client_options options = {.url = bad[i]};
		expect(https_client_new(&options, &client), BAD_VALUE);
	}
	place_new(&place, (struct https_server_config){0});
	/* Listens, and never says a word. */
	expect_ok(tcp_listen("127.0.0.1:0", &listener));
	tcp_local(listener.n, address);
	snprintf(url, sizeof(url), "https://%s", address);
	const struct https_client_options options = {.url = url, .ca_pem = bytes_span(&place.ca), .timeout_ms = 200};
	expect_ok(https_client_new(&options, &client));
	expect(https_client_get(client, "/", &answer), TIMED_OUT);
	expect(https_client_get(client, "/", &answer), TIMED_OUT);
	fd_close(&listener);
	expect(https_client_get(client, "/", &answer), PEER_UNREACHABLE);
	https_client_free(client);
	place_end(&place);
}

static void answers_have_a_limit(void **state)
{
	struct place place;
	struct https_client *client = NULL;
	struct https_answer answer = HTTPS_ANSWER_EMPTY;
	(void)state;
	place_new(&place, (struct https_server_config){0});
	const struct https_client_options options = {.url = place.url, .ca_pem = bytes_span(&place.ca), .timeout_ms = PATIENCE_MS, .answer_max = 16};
	expect_ok(https_client_new(&options, &client));
	expect_post(client, "/work", "0123456789", 200, "|-||0123456789");
	expect(https_client_post(client, "/work", "text/plain", span_str("0123456789012345678"), &answer), TOO_LARGE);
	expect_post(client, "/work", "01", 200, "|-||01");
	https_client_free(client);
	place_end(&place);
}

/* ---- Raw ones --------------------------------------------------------------------------------------- */

struct raw {
	struct fd fd;
	struct tls *tls;
};

static struct raw raw_open(const struct place *place)
{
	struct raw raw = {.fd = FD_NONE};
	const struct tls_config config = {.protocol = "http/1.1"};
	expect_ok(tcp_connect(place->url + strlen("https://"), PATIENCE_MS, &raw.fd));
	expect_ok(tls_open(&config, raw.fd.n, PATIENCE_MS, &raw.tls));
	return raw;
}

static void raw_close(struct raw *raw)
{
	tls_free(raw->tls);
	fd_close(&raw->fd);
}

/* Reads until the server ends the connection, or until `end` has come. */
static result raw_read(struct raw *raw, const char *end, char *out, size_t size)
{
	size_t len = 0, n;
	result read = OK;
	while (read == OK && !(end && strstr(out, end)) && len + 1 < size) {
		read = tls_read_some(raw->tls, out + len, size - 1 - len, PATIENCE_MS, &n);
		if (read == OK)
			len += n;
		out[len] = '\0';
	}
	return read;
}

/* The one answer and then the end. */
static void expect_refusal(const struct place *place, const char *request, const char *status)
{
	struct raw raw = raw_open(place);
	char text[4096] = "";
	expect_ok(tls_write(raw.tls, span_str(request), PATIENCE_MS));
	assert_int_not_equal(raw_read(&raw, NULL, text, sizeof(text)), TIMED_OUT);
	if (strncmp(text, status, strlen(status)) != 0)
		print_error("%s\n---\n%s\n", request, text);
	assert_memory_equal(text, status, strlen(status));
	assert_null(strstr(text + 1, "HTTP/1.1"));
	raw_close(&raw);
}

static void one_framing_of_a_request(void **state)
{
	struct place place;
	(void)state;
	place_new(&place, (struct https_server_config){0});
#define SECOND "GET /work HTTP/1.1\r\nHost: x\r\n\r\n"
	expect_refusal(&place, "POST /work HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SECOND, "HTTP/1.1 400");
	expect_refusal(&place, "POST /work HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" SECOND, "HTTP/1.1 400");
	expect_refusal(&place, "POST /work HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na" SECOND, "HTTP/1.1 400");
	expect_refusal(&place, "GET /work HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\n" SECOND, "HTTP/1.1 400");
	expect_refusal(&place, "GET /work HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n" SECOND, "HTTP/1.1 400");
	expect_refusal(&place, "POST /work HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\na" SECOND, "HTTP/1.1 400");
	expect_refusal(&place, "POST /work HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na" SECOND, "HTTP/1.1 400");
	expect_refusal(&place, "GET /work HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" SECOND, "HTTP/1.1 400");
	expect_refusal(&place, "GET https://x/work HTTP/1.1\r\nHost: x\r\n\r\n" SECOND, "HTTP/1.1 400");
	assert_int_equal(atomic_load(&place.handled), 0);
	place_end(&place);
}

static void sizes_have_limits(void **state)
{
	struct place place;
	char request[400];
	(void)state;
	place_new(&place, (struct https_server_config){.body_max = 64, .head_max = 1024});
	expect_refusal(&place, "POST /work HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n", "HTTP/1.1 413");
	struct raw raw = raw_open(&place);
	char text[4096] = "";
	memset(request, 'a', sizeof(request));
	expect_ok(tls_write(raw.tls, span_str("GET /work HTTP/1.1\r\nX: "), PATIENCE_MS));
	for (int i = 0; i < 8; i++)
		if (tls_write(raw.tls, SPAN_ARRAY(request), PATIENCE_MS) != OK)
			break;
	assert_int_not_equal(raw_read(&raw, NULL, text, sizeof(text)), TIMED_OUT);
	assert_int_equal(atomic_load(&place.handled), 0);
	raw_close(&raw);
	struct https_client *client = client_of(&place, false);
	expect_post(client, "/work", "0123456789012345678901234567890123456789", 200, NULL);
	https_client_free(client);
	place_end(&place);
}

static void who_is_slow_is_dropped(void **state)
{
	struct place place;
	struct https_statistics counts;
	char text[256] = "";
	(void)state;
	place_new(&place, (struct https_server_config){.request_ms = 300, .handshake_ms = 300});
	/* Half a request, and no more. */
	struct raw raw = raw_open(&place);
	expect_ok(tls_write(raw.tls, span_str("GET /work HTTP/1.1\r\nHos"), PATIENCE_MS));
	assert_int_not_equal(raw_read(&raw, NULL, text, sizeof(text)), TIMED_OUT);
	raw_close(&raw);
	/* No handshake at all. */
	CLEANUP(fd_close) struct fd silent = FD_NONE;
	uint8_t byte;
	expect_ok(tcp_connect(place.url + strlen("https://"), PATIENCE_MS, &silent));
	expect(tcp_receive(silent.n, &byte, 1, clock_monotonic_ns() + (uint64_t)PATIENCE_MS * 1000000), PEER_CLOSED);
	https_server_statistics(place.https, &counts);
	assert_int_equal(counts.dropped_slow, 2);
	assert_int_equal(atomic_load(&place.handled), 0);
	struct https_client *client = client_of(&place, false);
	expect_get(client, "/work", 200, NULL);
	https_client_free(client);
	place_end(&place);
}

static void who_idles_makes_room(void **state)
{
	enum { MOST = 4, MORE = 40 };
	struct place place;
	struct raw raws[MORE];
	struct https_statistics counts;
	char text[2048] = "";
	(void)state;
	place_new(&place, (struct https_server_config){.connections = MOST});
	for (size_t i = 0; i < MORE; i++)
		raws[i] = raw_open(&place);
	/* The newest are alive, the oldest were ended. */
	expect_ok(tls_write(raws[MORE - 1].tls, span_str(SECOND), PATIENCE_MS));
	expect_ok(raw_read(&raws[MORE - 1], "|-||", text, sizeof(text)));
	text[0] = '\0';
	assert_int_not_equal(raw_read(&raws[0], NULL, text, sizeof(text)), TIMED_OUT);
	struct https_client *client = client_of(&place, false);
	expect_get(client, "/work", 200, NULL);
	https_server_statistics(place.https, &counts);
	assert_true(counts.dropped_idle >= MORE - MOST - 1);
	assert_int_equal(counts.turned_away, 0);
	https_client_free(client);
	for (size_t i = 0; i < MORE; i++)
		raw_close(&raws[i]);
	place_end(&place);
}

static void plain_text_is_not_served(void **state)
{
	struct place place;
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	uint8_t bytes[64];
	(void)state;
	place_new(&place, (struct https_server_config){0});
	uint64_t deadline = clock_monotonic_ns() + (uint64_t)PATIENCE_MS * 1000000;
	expect_ok(tcp_connect(place.url + strlen("https://"), PATIENCE_MS, &fd));
	expect_ok(tcp_send(fd.n, span_str(SECOND SECOND), deadline));
	/* At most an alert, never an answer. */
	size_t got = 0;
	while (got < sizeof(bytes) && tcp_receive(fd.n, bytes + got, 1, deadline) == OK)
		got++;
	assert_true(got < sizeof(bytes) && !memmem(bytes, got, "HTTP", 4));
	assert_int_equal(atomic_load(&place.handled), 0);
	place_end(&place);
}

/* ---- Answers that come late ------------------------------------------------------------------------- */

static struct https_exchange *wait_for_held(struct place *place)
{
	struct https_exchange *exchange;
	uint64_t deadline = clock_monotonic_ns() + (uint64_t)PATIENCE_MS * 1000000;
	while (!(exchange = atomic_exchange(&place->held, NULL)) && clock_monotonic_ns() < deadline)
		(void)sched_yield();
	assert_non_null(exchange);
	return exchange;
}

static void what_was_taken_is_answered_when_stopping(void **state)
{
	struct place place;
	char text[1024] = "";
	(void)state;
	place_new(&place, (struct https_server_config){0});
	struct raw raw = raw_open(&place), idle = raw_open(&place);
	expect_ok(tls_write(raw.tls, span_str("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"), PATIENCE_MS));
	struct https_exchange *held = wait_for_held(&place);
	https_server_stop(place.https);
	assert_int_not_equal(raw_read(&idle, NULL, text, sizeof(text)), TIMED_OUT); /* who idles is sent away at once */
	CLEANUP(fd_close) struct fd late = FD_NONE;
	expect(tcp_connect(place.url + strlen("https://"), 2000, &late), PEER_UNREACHABLE);
	https_answer(held, 200, "text/plain", span_str("late"));
	text[0] = '\0';
	assert_int_not_equal(raw_read(&raw, NULL, text, sizeof(text)), TIMED_OUT);
	assert_non_null(strstr(text, "HTTP/1.1 200"));
	assert_non_null(strstr(text, "\r\n\r\nlate"));
	raw_close(&raw);
	raw_close(&idle);
	place_end(&place);
}

static void who_has_gone_is_not_missed(void **state)
{
	struct place place;
	(void)state;
	place_new(&place, (struct https_server_config){0});
	struct https_client *client = client_of(&place, false);
	for (int i = 0; i < 8; i++) {
		struct raw raw = raw_open(&place);
		expect_ok(tls_write(raw.tls, span_str("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"), PATIENCE_MS));
		struct https_exchange *held = wait_for_held(&place);
		if (i % 2)
			(void)setsockopt(raw.fd.n, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger)); /* a reset */
		raw_close(&raw);
		expect_get(client, "/work", 200, NULL);
		https_answer(held, 200, "text/plain", span_str("nobody reads this"));
		expect_get(client, "/work", 200, NULL);
	}
	https_client_free(client);
	place_end(&place);
}

/* ---- The CA ----------------------------------------------------------------------------------------- */

static void names_of_certificates_are_checked(void **state)
{
	static const char *const good[] = {"alice", "a", "A.b_c-9"};
	static const char *const bad[] = {"", ".a", "-a", "a b", "a/b", "a\n", "\xc3\xa9"};
	static const char *const bad_hosts[] = {"", "a b", "a_b", ".a", "x:1", "*"};
	CLEANUP(key_free) struct key ca = KEY_EMPTY;
	CLEANUP(key_free) struct key other = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes out = BYTES_EMPTY;
	char long_name[SERVICE_NAME_MAX + 2];
	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++)
		expect_ok(service_name_check(good[i]));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		expect(service_name_check(bad[i]), BAD_NAME);
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	expect(service_name_check(long_name), BAD_NAME);
	expect_ok(key_generate(&ca));
	expect_ok(key_generate(&other));
	expect_ok(service_ca_new(&ca, "x", &pem));
	for (size_t i = 0; i < COUNT_OF(bad_hosts); i++) {
		const struct service_certificate what = {.name = "s", .hosts = &bad_hosts[i], .host_count = 1};
		expect(service_ca_issue(&ca, bytes_span(&pem), &what, &other, &out), BAD_NAME);
	}
	const struct service_certificate what = {.name = "alice"};
	expect(service_ca_issue(&other, bytes_span(&pem), &what, &other, &out), BAD_CERTIFICATE);
	expect(service_ca_issue(&ca, span_str("no PEM"), &what, &other, &out), BAD_CERTIFICATE);
	expect_ok(service_ca_issue(&ca, bytes_span(&pem), &what, &other, &out));
}

int test_https(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_answered),
		cmocka_unit_test(certificates_are_asked_for_where_needed),
		cmocka_unit_test(strangers_are_refused_in_the_handshake),
		cmocka_unit_test(what_is_wrong_is_told),
		cmocka_unit_test(answers_have_a_limit),
		cmocka_unit_test(one_framing_of_a_request),
		cmocka_unit_test(sizes_have_limits),
		cmocka_unit_test(who_is_slow_is_dropped),
		cmocka_unit_test(who_idles_makes_room),
		cmocka_unit_test(plain_text_is_not_served),
		cmocka_unit_test(what_was_taken_is_answered_when_stopping),
		cmocka_unit_test(who_has_gone_is_not_missed),
		cmocka_unit_test(names_of_certificates_are_checked),
	};
	return cmocka_run_group_tests_name("https", tests, NULL, NULL);
}
