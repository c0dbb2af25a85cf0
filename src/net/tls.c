#include "net/tls.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/clock.h"
#include "crypto/random.h"
#include "net/tcp.h"

/*
 * Theory of operation. OpenSSL reads and writes through a BIO of ours, because its own would raise SIGPIPE and depend on the
 * mode of the descriptor. Every call that may wait is a loop of: try, ask what OpenSSL wants, poll for that until the
 * deadline. Certificates are not built into paths: on_certificate takes the leaf's key and the caller judges that.
 */

enum { CERTIFICATE_DAYS = 3650, MOST_CERTIFICATES = 8, PROTOCOL_MAX = 32 };

struct tls_identity {
	struct key key;
	STACK_OF(X509) *chain; /* leaf first */
};

struct tls {
	int fd;
	SSL_CTX *context;
	SSL *ssl;
	const struct tls_config *config; /* during the handshake only */
	uint8_t protocol[PROTOCOL_MAX + 1]; /* as ALPN writes it */
	unsigned protocol_len;
	bool has_peer;
	uint8_t peer[KEY_ID_SIZE];
	result refused; /* why on_certificate said no */
	char refusal[256];
	bool at_end; /* of the socket */
};

static result openssl_failed(const char *what)
{
	char text[128] = "";
	unsigned long code = ERR_get_error();
	if (code)
		ERR_error_string_n(code, text, sizeof(text));
	ERR_clear_error();
	return fail(CRYPTO_FAILED, "%s: %s", what, text);
}

/* ---- Identities ------------------------------------------------------------------------------------- */

void tls_identity_free(struct tls_identity *identity)
{
	if (!identity)
		return;
	key_free(&identity->key);
	sk_X509_pop_free(identity->chain, X509_free);
	free(identity);
}

static void identity_cleanup(struct tls_identity **at)
{
	tls_identity_free(*at);
}

const uint8_t *tls_identity_key(const struct tls_identity *identity)
{
	return identity->key.id;
}

static result identity_alloc(struct tls_identity **out)
{
	struct tls_identity *identity = calloc(1, sizeof(*identity));
	if (!identity)
		return fail(NO_MEMORY, "a key for TLS");
	identity->chain = sk_X509_new_null();
	if (!identity->chain) {
		free(identity);
		return fail(NO_MEMORY, "a key for TLS");
	}
	*out = identity;
	return OK;
}

/* Nobody reads anything in it but the key; the name is for people who look at traffic. */
static bool fill_certificate(X509 *certificate, EVP_PKEY *key)
{
	uint8_t serial[16];
	BIGNUM *number;
	X509_NAME *name = X509_get_subject_name(certificate);
	random_bytes(serial, sizeof(serial));
	serial[0] = (serial[0] & 0x3f) | 0x40;
	number = BN_bin2bn(serial, sizeof(serial), NULL);
	bool filled = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) && X509_set_version(certificate, X509_VERSION_3) &&
		      X509_gmtime_adj(X509_getm_notBefore(certificate), -24L * 3600) &&
		      X509_time_adj_ex(X509_getm_notAfter(certificate), CERTIFICATE_DAYS, 0, NULL) &&
		      X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"troth", -1, -1, 0) &&
		      X509_set_issuer_name(certificate, name) && X509_set_pubkey(certificate, key) &&
		      X509_sign(certificate, key, EVP_sha256()) > 0;
	BN_free(number);
	return filled;
}

result tls_identity_new(struct tls_identity **out)
{
	CLEANUP(identity_cleanup) struct tls_identity *identity = NULL;
	TRY(identity_alloc(&identity));
	TRY(key_generate(&identity->key));
	X509 *certificate = X509_new();
	if (!certificate || !fill_certificate(certificate, identity->key.pkey) || !sk_X509_push(identity->chain, certificate)) {
		X509_free(certificate);
		return openssl_failed("making a certificate");
	}
	*out = identity;
	identity = NULL;
	return OK;
}

result tls_identity_load(const struct key *key, struct span pem, struct tls_identity **out)
{
	CLEANUP(identity_cleanup) struct tls_identity *identity = NULL;
	if (!key->is_private || key->backend)
		return fail(BAD_KEY, "TLS needs the private key itself");
	if (pem.len > INT32_MAX)
		return fail(TOO_LARGE, "a file of certificates");
	TRY(identity_alloc(&identity));
	identity->key = key_ref(key);
	BIO *file = BIO_new_mem_buf(pem.data, (int)pem.len);
	X509 *one;
	while (file && sk_X509_num(identity->chain) < MOST_CERTIFICATES && (one = PEM_read_bio_X509(file, NULL, NULL, NULL)))
		if (!sk_X509_push(identity->chain, one))
			X509_free(one);
	BIO_free(file);
	ERR_clear_error(); /* the end of the file is one too */
	if (sk_X509_num(identity->chain) == 0 || X509_check_private_key(sk_X509_value(identity->chain, 0), key->pkey) != 1) {
		ERR_clear_error();
		return fail(BAD_CERTIFICATE, "the first certificate is not one of this key");
	}
	*out = identity;
	identity = NULL;
	return OK;
}

/* ---- The socket, as OpenSSL sees it ----------------------------------------------------------------- */

static int socket_write(BIO *bio, const char *data, int len)
{
	struct tls *tls = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	ssize_t n;
	do
		n = send(tls->fd, data, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		BIO_set_retry_write(bio);
	return (int)n;
}

static int socket_read(BIO *bio, char *data, int len)
{
	struct tls *tls = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	ssize_t n;
	do
		n = recv(tls->fd, data, (size_t)len, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		BIO_set_retry_read(bio);
	else if (n <= 0)
		tls->at_end = true;
	return (int)n;
}

static long socket_control(BIO *bio, int command, long number, void *pointer)
{
	const struct tls *tls = BIO_get_data(bio);
	(void)number;
	(void)pointer;
	if (command == BIO_CTRL_EOF)
		return tls->at_end;
	return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *socket_method(void)
{
	static BIO_METHOD *_Atomic method;
	BIO_METHOD *known = method, *none = NULL;
	if (known)
		return known;
	BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
	if (!made || !BIO_meth_set_write(made, socket_write) || !BIO_meth_set_read(made, socket_read) || !BIO_meth_set_ctrl(made, socket_control)) {
		BIO_meth_free(made);
		return NULL;
	}
	if (__atomic_compare_exchange_n((BIO_METHOD **)&method, &none, made, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return made;
	BIO_meth_free(made);
	return none;
}

/* ---- The handshake ---------------------------------------------------------------------------------- */

static result judge(struct tls *tls, X509 *leaf)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	uint8_t der[256], *at = der;
	X509_PUBKEY *public = leaf ? X509_get_X509_PUBKEY(leaf) : NULL;
	int len = public ? i2d_X509_PUBKEY(public, NULL) : 0;
	if (len <= 0 || (size_t)len > sizeof(der) || i2d_X509_PUBKEY(public, &at) != len)
		return fail(TLS_FAILED, "a certificate without a P-256 key");
	result read = key_from_spki(span_of(der, (size_t)len), &key);
	if (read != OK)
		return fail(TLS_FAILED, "a certificate without a P-256 key");
	memcpy(tls->peer, key.id, KEY_ID_SIZE);
	tls->has_peer = true;
	return tls->config->verify ? tls->config->verify(tls->config->ctx, tls->peer) : OK;
}

static int on_certificate(X509_STORE_CTX *store, void *arg)
{
	struct tls *tls = arg;
	tls->refused = judge(tls, X509_STORE_CTX_get0_cert(store));
	if (tls->refused != OK)
		snprintf(tls->refusal, sizeof(tls->refusal), "%s", failure_text());
	X509_STORE_CTX_set_error(store, tls->refused == OK ? X509_V_OK : X509_V_ERR_APPLICATION_VERIFICATION);
	return tls->refused == OK;
}

static int on_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *offered, unsigned offered_len, void *arg)
{
	const struct tls *tls = arg;
	unsigned char *chosen;
	(void)ssl;
	if (SSL_select_next_proto(&chosen, out_len, tls->protocol, tls->protocol_len, offered, offered_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static bool set_identity(SSL_CTX *context, const struct tls_identity *identity)
{
	if (!identity)
		return true;
	bool done = SSL_CTX_use_certificate(context, sk_X509_value(identity->chain, 0)) == 1 &&
		    SSL_CTX_use_PrivateKey(context, identity->key.pkey) == 1;
	for (int i = 1; done && i < sk_X509_num(identity->chain); i++)
		done = SSL_CTX_add1_chain_cert(context, sk_X509_value(identity->chain, i)) == 1;
	return done;
}

static bool set_protocol(struct tls *tls, const char *protocol)
{
	size_t len = protocol ? strlen(protocol) : 0;
	if (len == 0)
		return true;
	if (len > PROTOCOL_MAX)
		return false;
	tls->protocol[0] = (uint8_t)len;
	memcpy(tls->protocol + 1, protocol, len);
	tls->protocol_len = (unsigned)len + 1;
	if (tls->config->server)
		SSL_CTX_set_alpn_select_cb(tls->context, on_protocol, tls);
	else if (SSL_CTX_set_alpn_protos(tls->context, tls->protocol, tls->protocol_len) != 0)
		return false;
	return true;
}

static result make_context(struct tls *tls)
{
	const struct tls_config *config = tls->config;
	bool asks = !config->server || config->ask_peer;
	tls->context = SSL_CTX_new(TLS_method());
	if (!tls->context || !SSL_CTX_set_min_proto_version(tls->context, TLS1_3_VERSION) ||
		!SSL_CTX_set_max_proto_version(tls->context, TLS1_3_VERSION) ||
		!SSL_CTX_set_ciphersuites(tls->context, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256") ||
		!SSL_CTX_set1_groups_list(tls->context, "X25519:P-256") || !SSL_CTX_set1_sigalgs_list(tls->context, "ECDSA+SHA256") ||
		!SSL_CTX_set1_client_sigalgs_list(tls->context, "ECDSA+SHA256") || !SSL_CTX_set_num_tickets(tls->context, 0) ||
		!SSL_CTX_set_max_early_data(tls->context, 0) || !set_identity(tls->context, config->identity) ||
		!set_protocol(tls, config->protocol))
		return openssl_failed("setting up TLS");
	SSL_CTX_set_options(tls->context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_verify(tls->context, asks ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_cert_verify_callback(tls->context, on_certificate, tls);
	return OK;
}

static result make_ssl(struct tls *tls)
{
	BIO_METHOD *method = socket_method();
	BIO *bio = method ? BIO_new(method) : NULL;
	tls->ssl = SSL_new(tls->context);
	if (!bio || !tls->ssl) {
		BIO_free(bio);
		return openssl_failed("setting up TLS");
	}
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls->ssl, bio, bio);
	if (tls->config->server)
		SSL_set_accept_state(tls->ssl);
	else
		SSL_set_connect_state(tls->ssl);
	return OK;
}

/*
 * What a call of OpenSSL that did not succeed means: OK when it is to be tried again, after what it waits for has come.
 */
static result after(struct tls *tls, int returned, uint64_t deadline)
{
	char text[160] = "";
	int kind = SSL_get_error(tls->ssl, returned);
	if (kind == SSL_ERROR_WANT_READ)
		return tcp_wait(tls->fd, POLLIN, deadline);
	if (kind == SSL_ERROR_WANT_WRITE)
		return tcp_wait(tls->fd, POLLOUT, deadline);
	if (kind == SSL_ERROR_ZERO_RETURN)
		return fail(PEER_CLOSED, "TLS");
	if (tls->refused != OK)
		return fail(tls->refused, "%s", tls->refusal);
	unsigned long code = ERR_get_error();
	if (code)
		ERR_error_string_n(code, text, sizeof(text));
	ERR_clear_error();
	if (tls->at_end || kind == SSL_ERROR_SYSCALL)
		return fail(TRUNCATED, "the connection broke off");
	return fail(TLS_FAILED, "%s", text);
}

static result shake_hands(struct tls *tls, uint64_t deadline)
{
	for (;;) {
		ERR_clear_error();
		int done = SSL_do_handshake(tls->ssl);
		if (done == 1)
			break;
		result waited = after(tls, done, deadline);
		if (waited == TRUNCATED || waited == PEER_CLOSED)
			return fail(TLS_FAILED, "the other side ended the handshake");
		TRY(waited);
	}
	const unsigned char *protocol;
	unsigned len;
	SSL_get0_alpn_selected(tls->ssl, &protocol, &len);
	if (tls->protocol_len && !span_equal(span_of(protocol, len), span_of(tls->protocol + 1, tls->protocol_len - 1)))
		return fail(TLS_FAILED, "the other side does not speak this protocol");
	return OK;
}

result tls_open(const struct tls_config *config, int fd, int timeout_ms, struct tls **out)
{
	uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
	struct tls *tls = calloc(1, sizeof(*tls));
	if (!tls)
		return fail(NO_MEMORY, "TLS");
	tls->fd = fd;
	tls->config = config;
	ERR_clear_error();
	result opened = make_context(tls);
	if (opened == OK)
		opened = make_ssl(tls);
	if (opened == OK)
		opened = shake_hands(tls, deadline);
	tls->config = NULL;
	if (opened != OK) {
		tls_free(tls);
		return opened;
	}
	*out = tls;
	return OK;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	SSL_free(tls->ssl);
	SSL_CTX_free(tls->context);
	free(tls);
}

void tls_shutdown(struct tls *tls, int timeout_ms)
{
	uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
	for (;;) {
		ERR_clear_error();
		int done = SSL_shutdown(tls->ssl);
		if (done >= 0 || SSL_get_error(tls->ssl, done) != SSL_ERROR_WANT_WRITE || tcp_wait(tls->fd, POLLOUT, deadline) != OK)
			break;
	}
	ERR_clear_error();
}

const uint8_t *tls_peer_key(const struct tls *tls)
{
	return tls->has_peer ? tls->peer : NULL;
}

result tls_export(const struct tls *tls, const char *label, struct span context, uint8_t out[static 32])
{
	if (SSL_export_keying_material(tls->ssl, out, 32, label, strlen(label), context.data, context.len, 1) != 1)
		return openssl_failed("exporting from TLS");
	return OK;
}

/* ---- Bytes ------------------------------------------------------------------------------------------ */

result tls_write(struct tls *tls, struct span bytes, int timeout_ms)
{
	uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
	for (size_t sent = 0; sent < bytes.len;) {
		size_t n = 0;
		ERR_clear_error();
		int done = SSL_write_ex(tls->ssl, bytes.data + sent, bytes.len - sent, &n);
		if (done != 1)
			TRY(after(tls, done, deadline));
		sent += n;
	}
	return OK;
}

static result read_until(struct tls *tls, void *out, size_t len, uint64_t deadline, size_t *out_len)
{
	for (;;) {
		ERR_clear_error();
		int done = SSL_read_ex(tls->ssl, out, len, out_len);
		if (done == 1)
			return OK;
		TRY(after(tls, done, deadline));
	}
}

result tls_read_some(struct tls *tls, void *out, size_t len, int timeout_ms, size_t *out_len)
{
	return read_until(tls, out, len, clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000, out_len);
}

result tls_read(struct tls *tls, void *out, size_t len, int timeout_ms)
{
	uint64_t deadline = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
	uint8_t *at = out;
	for (size_t got = 0, n; got < len; got += n) {
		result read = read_until(tls, at + got, len - got, deadline, &n);
		if (read == PEER_CLOSED && got > 0)
			return fail(TRUNCATED, "the connection ended inside a message");
		TRY(read);
	}
	return OK;
}
