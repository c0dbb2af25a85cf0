#include "net/https_tls.h"

#include <pthread.h>
#include <stdio.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

enum { MOST_CERTIFICATES = 8 };

void https_error_text(char *out, size_t size)
{
	unsigned long code = ERR_get_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;
	snprintf(out, size, "%s", reason ? reason : "");
	ERR_clear_error();
}

static result failed(enum reason reason, const char *what)
{
	char text[128];
	https_error_text(text, sizeof(text));
	return fail(reason, "%s%s%s", what, text[0] ? ": " : "", text);
}

static void free_context(SSL_CTX **at)
{
	SSL_CTX_free(*at);
}

/* Calls `take` with each certificate of the text; how many there were, -1 when one was not taken. */
static int each_certificate(struct span pem, bool (*take)(SSL_CTX *context, X509 *certificate, int number), SSL_CTX *context)
{
	BIO *file = pem.len <= INT32_MAX ? BIO_new_mem_buf(pem.data, (int)pem.len) : NULL;
	int count = 0;
	X509 *one;
	while (file && count >= 0 && count < MOST_CERTIFICATES && (one = PEM_read_bio_X509(file, NULL, NULL, NULL))) {
		count = take(context, one, count) ? count + 1 : -1;
		X509_free(one);
	}
	BIO_free(file);
	if (count >= 0)
		ERR_clear_error(); /* the end of the file is one too */
	return count;
}

static bool take_own(SSL_CTX *context, X509 *certificate, int number)
{
	return number == 0 ? SSL_CTX_use_certificate(context, certificate) == 1 : SSL_CTX_add1_chain_cert(context, certificate) == 1;
}

static bool take_issuer(SSL_CTX *context, X509 *certificate, int number)
{
	(void)number;
	return X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate) == 1 && SSL_CTX_add_client_CA(context, certificate) == 1;
}

static result set_identity(SSL_CTX *context, const struct https_context_options *options)
{
	if (!options->key)
		return OK;
	if (!options->key->is_private || options->key->backend)
		return fail(BAD_KEY, "TLS needs the private key itself");
	if (each_certificate(options->certificate_pem, take_own, context) < 1)
		return failed(BAD_CERTIFICATE, "no certificate in PEM form for TLS");
	if (SSL_CTX_use_PrivateKey(context, options->key->pkey) != 1 || SSL_CTX_check_private_key(context) != 1)
		return failed(BAD_CERTIFICATE, "the first certificate is not one of this key");
	return OK;
}

static result set_trust(SSL_CTX *context, const struct https_context_options *options)
{
	bool client = options->side == HTTPS_CLIENT;
	if (!client && options->ca_pem.len == 0) {
		SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
		return OK;
	}
	if (options->ca_pem.len == 0) {
		if (SSL_CTX_set_default_verify_paths(context) != 1)
			return failed(BAD_CERTIFICATE, "the certificates that this system trusts");
	} else if (each_certificate(options->ca_pem, take_issuer, context) < 1) {
		return failed(BAD_CERTIFICATE, "no CA's certificate in PEM form");
	}
	/* A client of ours need not have a certificate: what needs one asks for it by its route. A wrong one ends the handshake. */
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_verify_depth(context, client && options->ca_pem.len == 0 ? MOST_CERTIFICATES : 1);
	return OK;
}

static const unsigned char http_1_1[] = "\x08http/1.1";
enum { HTTP_1_1_LEN = sizeof(http_1_1) - 1 };

/* Who names no protocol speaks HTTP; who names others alone does not. */
static int on_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *offered, unsigned offered_len, void *arg)
{
	unsigned char *chosen;
	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_len, http_1_1, HTTP_1_1_LEN, offered, offered_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

result https_context_new(const struct https_context_options *options, struct ssl_ctx_st **out)
{
	bool server = options->side == HTTPS_SERVER;
	CLEANUP(free_context) SSL_CTX *context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	/* What the web's certificates are signed with is not ours to choose. */
	const char *signatures = !server && options->ca_pem.len == 0 ? "ECDSA+SHA256:ECDSA+SHA384:RSA-PSS+SHA256:RSA-PSS+SHA384:RSA+SHA256" : "ECDSA+SHA256";
	if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) || !SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) ||
		!SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") ||
		!SSL_CTX_set1_groups_list(context, "X25519:P-256") || !SSL_CTX_set1_sigalgs_list(context, signatures) ||
		!SSL_CTX_set_num_tickets(context, 0) || !SSL_CTX_set_max_early_data(context, 0))
		return failed(CRYPTO_FAILED, "setting up TLS");
	if (server)
		SSL_CTX_set_alpn_select_cb(context, on_protocol, NULL);
	else if (SSL_CTX_set_alpn_protos(context, http_1_1, HTTP_1_1_LEN) != 0)
		return failed(CRYPTO_FAILED, "setting up TLS");
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	TRY(set_identity(context, options));
	TRY(set_trust(context, options));
	*out = context;
	context = NULL;
	return OK;
}

void sigpipe_hold(struct sigpipe_hold *hold)
{
	sigset_t pending, pipe_only;
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigemptyset(&pending);
	(void)sigpending(&pending);
	hold->was_pending = sigismember(&pending, SIGPIPE) == 1;
	(void)pthread_sigmask(SIG_BLOCK, &pipe_only, &hold->before);
}

void sigpipe_release(const struct sigpipe_hold *hold)
{
	const struct timespec at_once = {0};
	sigset_t pipe_only;
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	/* One that a write of ours raised is taken before anybody hears of it. */
	if (!hold->was_pending)
		(void)sigtimedwait(&pipe_only, NULL, &at_once);
	(void)pthread_sigmask(SIG_SETMASK, &hold->before, NULL);
}
