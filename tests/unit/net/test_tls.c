#include "net_test.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "base/file.h"
#include "net/tcp.h"
#include "net/tls.h"

enum { TIME_MS = 5000 };

/* One side, run in a thread of its own: opens, then echoes until the end. */
struct side {
	struct tls_config config;
	int fd;
	int open_ms;
	result opened, ended;
	uint8_t exported[32];
	uint8_t peer[KEY_ID_SIZE];
	size_t echoed;
};

static void *run_side(void *arg)
{
	struct side *side = arg;
	struct tls *tls = NULL;
	uint8_t buffer[16384];
	size_t n;
	side->opened = tls_open(&side->config, side->fd, side->open_ms ? side->open_ms : TIME_MS, &tls);
	if (side->opened != OK) {
		(void)shutdown(side->fd, SHUT_RDWR);
		return NULL;
	}
	if (tls_peer_key(tls))
		memcpy(side->peer, tls_peer_key(tls), KEY_ID_SIZE);
	if (tls_export(tls, "EXPORTER-test", span_str("x"), side->exported) != OK)
		side->opened = INTERNAL;
	while ((side->ended = tls_read_some(tls, buffer, sizeof(buffer), TIME_MS, &n)) == OK) {
		side->echoed += n;
		side->ended = tls_write(tls, span_of(buffer, n), TIME_MS);
		if (side->ended != OK)
			break;
	}
	tls_free(tls);
	(void)shutdown(side->fd, SHUT_RDWR);
	return NULL;
}

struct pair {
	struct tls_identity *here, *there;
	struct fd ends[2];
	struct side side;
	pthread_t thread;
	bool running;
};

static void begin(struct pair *pair)
{
	int ends[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	pair->ends[0] = fd_of(ends[0]);
	pair->ends[1] = fd_of(ends[1]);
	pair->side.fd = ends[1];
	assert_int_equal(pthread_create(&pair->thread, NULL, run_side, &pair->side), 0);
	pair->running = true;
}

static void end(struct pair *pair)
{
	fd_close(&pair->ends[0]);
	if (pair->running)
		pthread_join(pair->thread, NULL);
	pair->running = false;
	fd_close(&pair->ends[1]);
}

static int setup(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	assert_non_null(pair);
	expect_ok(tls_identity_new(&pair->here));
	expect_ok(tls_identity_new(&pair->there));
	pair->ends[0] = pair->ends[1] = FD_NONE;
	pair->side.config = (struct tls_config){.identity = pair->there, .server = true, .ask_peer = true, .protocol = "test/1"};
	*state = pair;
	return 0;
}

static int teardown(void **state)
{
	struct pair *pair = *state;
	end(pair);
	tls_identity_free(pair->here);
	tls_identity_free(pair->there);
	free(pair);
	return 0;
}

static struct tls_config client_of(const struct pair *pair)
{
	return (struct tls_config){.identity = pair->here, .protocol = "test/1"};
}

static void both_know_each_other(void **state)
{
	struct pair *pair = *state;
	struct tls_config config = client_of(pair);
	struct tls *tls;
	uint8_t exported[32], other[32], got[5];
	size_t n;
	assert_memory_not_equal(tls_identity_key(pair->here), tls_identity_key(pair->there), KEY_ID_SIZE);
	begin(pair);
	expect_ok(tls_open(&config, pair->ends[0].n, TIME_MS, &tls));
	assert_memory_equal(tls_peer_key(tls), tls_identity_key(pair->there), KEY_ID_SIZE);
	expect_ok(tls_write(tls, span_str("hello"), TIME_MS));
	expect_ok(tls_read(tls, got, sizeof(got), TIME_MS));
	expect_span(SPAN_ARRAY(got), span_str("hello"));
	expect(tls_read_some(tls, got, 1, 0, &n), TIMED_OUT);
	expect_ok(tls_export(tls, "EXPORTER-test", span_str("x"), exported));
	expect_ok(tls_export(tls, "EXPORTER-test", span_str("y"), other));
	assert_memory_not_equal(exported, other, sizeof(other));
	tls_shutdown(tls, TIME_MS);
	tls_free(tls);
	end(pair);
	expect_ok(pair->side.opened);
	expect(pair->side.ended, PEER_CLOSED);
	assert_memory_equal(pair->side.exported, exported, sizeof(exported));
	assert_memory_equal(pair->side.peer, tls_identity_key(pair->here), KEY_ID_SIZE);
}

static void much_passes(void **state)
{
	enum { MUCH = 1 << 20, PIECE = 1 << 14 };
	struct pair *pair = *state;
	struct tls_config config = client_of(pair);
	struct tls *tls;
	uint8_t *out = malloc(MUCH), *in = malloc(PIECE);
	assert_non_null(out);
	assert_non_null(in);
	for (size_t i = 0; i < MUCH; i++)
		out[i] = (uint8_t)(i * 7 + i / 251);
	begin(pair);
	expect_ok(tls_open(&config, pair->ends[0].n, TIME_MS, &tls));
	for (size_t at = 0; at < MUCH; at += PIECE) {
		expect_ok(tls_write(tls, span_of(out + at, PIECE), TIME_MS));
		expect_ok(tls_read(tls, in, PIECE, TIME_MS));
		assert_memory_equal(in, out + at, PIECE);
	}
	tls_free(tls);
	end(pair);
	assert_int_equal(pair->side.echoed, MUCH);
	expect(pair->side.ended, TRUNCATED); /* no farewell */
	free(out);
	free(in);
}

static result say_no(void *ctx, const uint8_t key_id[static KEY_ID_SIZE])
{
	(void)key_id;
	*(bool *)ctx = true;
	return fail(TRANSPORT_KEY_WRONG, "not this one");
}

static void caller_may_refuse(void **state)
{
	struct pair *pair = *state;
	struct tls_config config = client_of(pair);
	struct tls *tls = NULL;
	bool asked = false;
	config.verify = say_no;
	config.ctx = &asked;
	begin(pair);
	expect(tls_open(&config, pair->ends[0].n, TIME_MS, &tls), TRANSPORT_KEY_WRONG);
	assert_string_equal(failure_text(), "not this one");
	assert_null(tls);
	assert_true(asked);
	end(pair);
	expect(pair->side.opened, TLS_FAILED);
}

static void server_may_refuse(void **state)
{
	struct pair *pair = *state;
	struct tls_config config = client_of(pair);
	struct tls *tls = NULL;
	bool asked = false;
	uint8_t byte;
	pair->side.config.verify = say_no;
	pair->side.config.ctx = &asked;
	begin(pair);
	/* In TLS 1.3 the client is done before it is judged; it hears of it with its first read. */
	if (tls_open(&config, pair->ends[0].n, TIME_MS, &tls) == OK)
		assert_int_not_equal(tls_read(tls, &byte, 1, TIME_MS), OK);
	tls_free(tls);
	end(pair);
	assert_true(asked);
	expect(pair->side.opened, TRANSPORT_KEY_WRONG);
}

static void a_certificate_is_demanded(void **state)
{
	struct pair *pair = *state;
	struct tls_config config = {.identity = NULL, .protocol = "test/1"};
	struct tls *tls = NULL;
	uint8_t byte;
	begin(pair);
	if (tls_open(&config, pair->ends[0].n, TIME_MS, &tls) == OK)
		assert_int_not_equal(tls_read(tls, &byte, 1, TIME_MS), OK);
	tls_free(tls);
	end(pair);
	expect(pair->side.opened, TLS_FAILED);
}

static void another_protocol_is_refused(void **state)
{
	static const char *const others[] = {"test/2", NULL};
	struct pair *pair = *state;
	for (size_t i = 0; i < COUNT_OF(others); i++) {
		struct tls_config config = client_of(pair);
		struct tls *tls = NULL;
		uint8_t byte;
		config.protocol = others[i];
		begin(pair);
		if (tls_open(&config, pair->ends[0].n, TIME_MS, &tls) == OK)
			assert_int_not_equal(tls_read(tls, &byte, 1, TIME_MS), OK);
		tls_free(tls);
		end(pair);
		expect(pair->side.opened, TLS_FAILED);
	}
}

/* OpenSSL itself as the client, of a version or with a key that is not taken here. */
static void foreign_client(struct pair *pair, int version, const char *curve, bool resumable)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	EVP_PKEY *key = curve ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve) : EVP_RSA_gen(2048);
	X509 *certificate = X509_new();
	char byte;
	assert_non_null(context);
	assert_non_null(key);
	assert_non_null(certificate);
	assert_true(X509_set_version(certificate, X509_VERSION_3) && X509_gmtime_adj(X509_getm_notBefore(certificate), 0) &&
		    X509_gmtime_adj(X509_getm_notAfter(certificate), 1000) && X509_set_pubkey(certificate, key) &&
		    X509_sign(certificate, key, EVP_sha256()) > 0);
	SSL_CTX_set_min_proto_version(context, version);
	SSL_CTX_set_max_proto_version(context, version);
	SSL_CTX_set_security_level(context, 1);
	assert_int_equal(SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\6test/1", 7), 0);
	assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
	begin(pair);
	SSL *ssl = SSL_new(context);
	SSL_set_fd(ssl, pair->ends[0].n);
	bool connected = SSL_connect(ssl) == 1;
	if (resumable) {
		assert_true(connected);
		SSL_write(ssl, "x", 1);
		SSL_read(ssl, &byte, 1);
		assert_int_equal(SSL_SESSION_is_resumable(SSL_get_session(ssl)), 0);
	} else if (connected) {
		assert_true(SSL_read(ssl, &byte, 1) <= 0);
	}
	SSL_free(ssl);
	SSL_CTX_free(context);
	X509_free(certificate);
	EVP_PKEY_free(key);
	ERR_clear_error();
	end(pair);
}

static void no_tickets_are_given(void **state)
{
	struct pair *pair = *state;
	foreign_client(pair, TLS1_3_VERSION, "P-256", true);
	expect_ok(pair->side.opened);
}

static void old_versions_are_refused(void **state)
{
	struct pair *pair = *state;
	foreign_client(pair, TLS1_2_VERSION, "P-256", false);
	expect(pair->side.opened, TLS_FAILED);
}

static void other_keys_are_refused(void **state)
{
	struct pair *pair = *state;
	foreign_client(pair, TLS1_3_VERSION, "P-384", false);
	expect(pair->side.opened, TLS_FAILED);
	foreign_client(pair, TLS1_3_VERSION, NULL, false);
	expect(pair->side.opened, TLS_FAILED);
}

static void plaintext_is_refused(void **state)
{
	static const char *const lines[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\xff\xff garbage", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"};
	struct pair *pair = *state;
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		begin(pair);
		expect_ok(tcp_send(pair->ends[0].n, span_of(lines[i], i == 0 ? strlen(lines[0]) : 10), clock_monotonic_ns() + UINT64_C(1000000000)));
		(void)shutdown(pair->ends[0].n, SHUT_WR);
		end(pair);
		expect(pair->side.opened, TLS_FAILED);
	}
}

static void who_is_slow_is_left(void **state)
{
	struct pair *pair = *state;
	pair->side.open_ms = 150;
	begin(pair);
	expect_ok(tcp_send(pair->ends[0].n, span_of("\x16\x03\x01", 3), clock_monotonic_ns() + UINT64_C(1000000000)));
	pthread_join(pair->thread, NULL);
	pair->running = false;
	expect(pair->side.opened, TIMED_OUT);
}

/* Records that somebody alters on their way. */
static void altered_records_end_it(void **state)
{
	struct pair *pair = *state;
	struct tls_config config = client_of(pair);
	struct tls *tls;
	uint8_t got[5];
	static const uint8_t record[] = {23, 3, 3, 0, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};
	begin(pair);
	expect_ok(tls_open(&config, pair->ends[0].n, TIME_MS, &tls));
	expect_ok(tls_write(tls, span_str("hello"), TIME_MS));
	expect_ok(tls_read(tls, got, sizeof(got), TIME_MS));
	expect_ok(tcp_send(pair->ends[0].n, SPAN_ARRAY(record), clock_monotonic_ns() + UINT64_C(1000000000)));
	assert_int_not_equal(tls_read(tls, got, 1, TIME_MS), OK);
	tls_free(tls);
	end(pair);
	expect(pair->side.ended, TLS_FAILED);
}

static void a_loaded_identity_is_shown(void **state)
{
	struct pair *pair = *state;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	CLEANUP(key_free) struct key public = KEY_EMPTY;
	struct tls_identity *identity = NULL;
	expect_ok(key_generate(&key));
	expect(tls_identity_load(&key, span_str("no certificate"), &identity), BAD_CERTIFICATE);
	expect_ok(key_from_point(SPAN_ARRAY(key.point), &public));
	expect(tls_identity_load(&public, span_str(""), &identity), BAD_KEY);
	assert_null(identity);
	(void)pair;
}

int test_tls(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_know_each_other, setup, teardown),
		cmocka_unit_test_setup_teardown(much_passes, setup, teardown),
		cmocka_unit_test_setup_teardown(caller_may_refuse, setup, teardown),
		cmocka_unit_test_setup_teardown(server_may_refuse, setup, teardown),
		cmocka_unit_test_setup_teardown(a_certificate_is_demanded, setup, teardown),
		cmocka_unit_test_setup_teardown(another_protocol_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(no_tickets_are_given, setup, teardown),
		cmocka_unit_test_setup_teardown(old_versions_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(other_keys_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(plaintext_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(who_is_slow_is_left, setup, teardown),
		cmocka_unit_test_setup_teardown(altered_records_end_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_loaded_identity_is_shown, setup, teardown),
	};
	return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
