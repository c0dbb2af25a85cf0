/*
 * Records between two threads on two processors, as between two troth-ire: sealed, carried, opened. Over a Unix socket pair, TCP on
 * the loopback (TCP_NODELAY) and the shared-memory ring.
 *
 * Throughput rows: one side sends, the other receives. Latency rows: one record there, one back. Floor: the same bytes over the same
 * carrier, neither sealed nor opened. Peer: OpenSSL's TLS 1.3 (AES-256-GCM) over the same carrier; of the ring, which TLS has no way
 * to use, over the Unix socket.
 */
#include "bench.h"

#include "base/clock.h"
#include "base/sock.h"
#include "crypto/crypto.h"
#include "enclave/ring.h"

#include "../tests/iecp_pinned.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROUNDS = 5, BUFFER = 4 * IECP_MAX_RECORD };

enum carrier { BY_UNIX, BY_TCP, BY_RING };
static const char *const carrier_names[] = {"Unix", "TCP", "ring"};

enum contender { RAW, IECP, TLS };

static struct pinned_side sides[2];
static SSL_CTX *tls_ctx[2];

/* ---- carriers: blocking writes, reads of at least one byte ---- */

struct end {
	enum carrier carrier;
	int fd;
	struct ring ring;
	uint8_t *buffer;
	size_t from, len;
	struct iecp_channel *channel;
	SSL *ssl;
};

static void sleep_for(struct end *e, bool data, bool room)
{
	struct pollfd p = {.fd = e->fd, .events = POLLIN};
	bool ready;

	BENCH_REQUIRE(ring_wait(&e->ring, data, room, &ready) == OK);
	if (!ready)
		BENCH_REQUIRE(poll(&p, 1, 20000) == 1);
}

static void put(struct end *e, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		size_t sent = 0;
		if (e->carrier == BY_RING) {
			BENCH_REQUIRE(ring_write(&e->ring, span_of(bytes, len), &sent) == OK);
			if (sent == 0)
				sleep_for(e, false, true);
		} else {
			ssize_t n = send(e->fd, bytes, len, MSG_NOSIGNAL);
			BENCH_REQUIRE(n > 0);
			sent = (size_t)n;
		}
		bytes += sent;
		len -= sent;
	}
}

/* At least `need` bytes stand at e->buffer + e->from afterwards. */
static void fill(struct end *e, size_t need)
{
	if (e->len < need && e->from > 0) {
		memmove(e->buffer, e->buffer + e->from, e->len);
		e->from = 0;
	}
	while (e->len < need) {
		size_t got = 0, at = e->from + e->len;
		bool ended = false;
		if (e->carrier == BY_RING) {
			BENCH_REQUIRE(ring_read(&e->ring, e->buffer + at, BUFFER - at, &got, &ended) == OK && !ended);
			if (got == 0)
				sleep_for(e, true, false);
		} else {
			ssize_t n = recv(e->fd, e->buffer + at, BUFFER - at, 0);
			BENCH_REQUIRE(n > 0);
			got = (size_t)n;
		}
		e->len += got;
	}
}

static void tcp_pair(int out[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	BENCH_REQUIRE(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1) == 0);
	BENCH_REQUIRE(getsockname(listener, (struct sockaddr *)&address, &len) == 0);
	out[0] = socket(AF_INET, SOCK_STREAM, 0);
	BENCH_REQUIRE(connect(out[0], (struct sockaddr *)&address, sizeof address) == 0);
	out[1] = accept(listener, NULL, NULL);
	close(listener);
	for (int i = 0; i < 2; i++)
		BENCH_REQUIRE(setsockopt(out[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
}

static void open_pair(struct end ends[2], enum carrier carrier)
{
	CLEANUP(fd_close) struct fd memfd = FD_NONE;
	struct fd pair[2];
	int fds[2];

	if (carrier == BY_TCP) {
		tcp_pair(fds);
	} else {
		BENCH_REQUIRE(sock_pair(pair) == OK);
		fds[0] = pair[0].n;
		fds[1] = pair[1].n;
	}
	if (carrier == BY_RING)
		BENCH_REQUIRE(ring_create(&memfd) == OK);
	for (int i = 0; i < 2; i++) {
		ends[i] = (struct end){.carrier = carrier, .fd = fds[i], .buffer = malloc(BUFFER)};
		BENCH_REQUIRE(ends[i].buffer);
		if (carrier == BY_RING)
			BENCH_REQUIRE(ring_attach(memfd.n, i == 0, fds[i], &ends[i].ring) == OK);
	}
	struct iecp_time now = {clock_wall_ms(), clock_monotonic_ns() / 1000000};
	pinned_shake(sides, now, &ends[0].channel, &ends[1].channel);
}

static void close_pair(struct end ends[2])
{
	for (int i = 0; i < 2; i++) {
		SSL_free(ends[i].ssl);
		ring_free(&ends[i].ring);
		close(ends[i].fd);
		free(ends[i].buffer);
		iecp_channel_free(ends[i].channel);
	}
}

/* ---- one message of each contender ---- */

static void send_one(struct end *e, enum contender who, const uint8_t *plain, size_t len, uint8_t *wire)
{
	if (who == IECP) {
		BENCH_REQUIRE(iecp_seal(e->channel, span_of(plain, len), clock_monotonic_ns() / 1000000, wire) == OK);
		put(e, wire, len + IECP_RECORD_OVERHEAD);
	} else if (who == TLS) {
		BENCH_REQUIRE(SSL_write(e->ssl, plain, (int)len) == (int)len);
	} else {
		put(e, plain, len);
	}
}

static void receive_one(struct end *e, enum contender who, size_t len, uint8_t *out)
{
	struct iecp_record got;
	size_t wire = who == IECP ? len + IECP_RECORD_OVERHEAD : len;

	if (who == TLS) {
		for (size_t have = 0; have < len;) {
			int n = SSL_read(e->ssl, out + have, (int)(len - have));
			BENCH_REQUIRE(n > 0);
			have += (size_t)n;
		}
		return;
	}
	fill(e, wire);
	uint8_t *at = e->buffer + e->from;
	if (who == IECP)
		BENCH_REQUIRE(iecp_open(e->channel, span_of(at, wire), clock_monotonic_ns() / 1000000, at + IECP_HEADER_SIZE, &got) == OK);
	e->from += wire;
	e->len -= wire;
}

/* ---- two threads ---- */

struct job {
	struct end *end;
	enum contender who;
	size_t len;
	unsigned count;
	bool first, echo;
};

static void *run_side(void *ctx)
{
	const struct job *j = ctx;
	static _Thread_local uint8_t plain[IECP_MAX_PLAIN], wire[IECP_MAX_RECORD];

	(void)bench_pin(j->first ? 0 : 1);
	if (j->who == TLS)
		BENCH_REQUIRE(SSL_do_handshake(j->end->ssl) == 1);
	for (unsigned i = 0; i < j->count; i++) {
		if (j->first)
			send_one(j->end, j->who, plain, j->len, wire);
		if (!j->first || j->echo)
			receive_one(j->end, j->who, j->len, plain);
		if (!j->first && j->echo)
			send_one(j->end, j->who, plain, j->len, wire);
	}
	return NULL;
}

/* Seconds for `count` messages, after some to warm up. */
static double once(enum carrier carrier, enum contender who, size_t len, unsigned count, bool echo)
{
	struct end ends[2];
	struct job jobs[2];
	pthread_t thread;

	open_pair(ends, carrier == BY_RING && who == TLS ? BY_UNIX : carrier);
	for (int i = 0; i < 2; i++) {
		jobs[i] = (struct job){&ends[i], who, len, count, i == 0, echo};
		if (who != TLS)
			continue;
		ends[i].ssl = SSL_new(tls_ctx[i]);
		BENCH_REQUIRE(ends[i].ssl && SSL_set_fd(ends[i].ssl, ends[i].fd) == 1);
		i == 0 ? SSL_set_connect_state(ends[i].ssl) : SSL_set_accept_state(ends[i].ssl);
	}
	uint64_t start = clock_monotonic_ns();
	BENCH_REQUIRE(pthread_create(&thread, NULL, run_side, &jobs[1]) == 0);
	run_side(&jobs[0]);
	BENCH_REQUIRE(pthread_join(thread, NULL) == 0);
	double seconds = (double)(clock_monotonic_ns() - start) / 1e9;
	close_pair(ends);
	return seconds;
}

static void measure(enum carrier carrier, size_t len, bool echo)
{
	double rounds[3][ROUNDS];
	char name[80];
	/* Enough that the two TLS handshakes of a round do not count. */
	unsigned count = echo ? 6000 : len <= 1024 ? 150000 : len <= 16384 ? 16000 : 5000;

	count = bench_quick() ? count / 50 : count;
	for (int r = 0; r < ROUNDS; r++)
		for (int who = 0; who < 3; who++) {
			double seconds = once(carrier, (enum contender)who, len, count, echo);
			rounds[who][r] = echo ? seconds / count * 1e6 : (double)len * count / seconds / 1e6;
		}
	double value[3];
	for (int who = 0; who < 3; who++)
		value[who] = bench_quantile(rounds[who], ROUNDS, 0.5);
	snprintf(name, sizeof name, "iecp over %s, %zu B, %s", carrier_names[carrier], len, echo ? "there and back" : "one way");
	bench_row(&(struct bench_row){name, value[IECP], echo ? "us" : "MB/s", value[RAW], value[TLS], carrier == BY_RING ? "OpenSSL TLS 1.3 over Unix" : "OpenSSL TLS 1.3"});
}

static void make_tls(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x509 = X509_new();

	X509_set_version(x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
	X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x509), 86400);
	X509_set_pubkey(x509, key);
	BENCH_REQUIRE(X509_sign(x509, key, EVP_sha256()) > 0);
	for (int s = 0; s < 2; s++) {
		tls_ctx[s] = SSL_CTX_new(s == 0 ? TLS_client_method() : TLS_server_method());
		BENCH_REQUIRE(SSL_CTX_set_min_proto_version(tls_ctx[s], TLS1_3_VERSION));
		BENCH_REQUIRE(SSL_CTX_set_ciphersuites(tls_ctx[s], "TLS_AES_256_GCM_SHA384"));
		BENCH_REQUIRE(SSL_CTX_set_num_tickets(tls_ctx[s], 0));
	}
	BENCH_REQUIRE(SSL_CTX_use_certificate(tls_ctx[1], x509) == 1 && SSL_CTX_use_PrivateKey(tls_ctx[1], key) == 1);
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = {64, 1024, 16384, 65536};

	bench_open(argc, argv, "channel");
	crypto_warm_up();
	pinned_make(&sides[0], &sides[1], IECP_INITIATOR, 0, "spiffe://bench.example/ire/a", clock_wall_ms());
	pinned_make(&sides[1], &sides[0], IECP_RESPONDER, 0, "spiffe://bench.example/ire/b", clock_wall_ms());
	make_tls();
	for (int echo = 0; echo < 2; echo++)
		for (size_t s = 0; s < COUNT_OF(sizes); s++)
			for (int carrier = BY_UNIX; carrier <= BY_RING; carrier++)
				measure((enum carrier)carrier, sizes[s], echo);
	bench_note("Each round includes the start of a thread; with TLS also its handshake.");
	bench_close();
	return 0;
}
