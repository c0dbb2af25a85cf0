/*
 * TLS 1.3 over a connected socket, blocking with deadlines: nothing older, no tickets, no resumption, no early data, P-256
 * certificates only. A certificate here is a bag for a key: who it is, is for the caller to judge, from the SHA-256 of its
 * SubjectPublicKeyInfo (the key's id), during the handshake by `verify` or from tls_peer_key afterwards.
 *
 * A struct tls belongs to one thread at a time. After any failure but TIMED_OUT of tls_read_some it is of no more use.
 * Failures: TLS_FAILED (another protocol or version, no certificate, a broken record), PEER_CLOSED (ended properly between
 * two records), TRUNCATED (ended otherwise), TIMED_OUT.
 */
#ifndef TROTH_NET_TLS_H
#define TROTH_NET_TLS_H

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/key.h"

struct tls_identity; /* a key and its certificate; may be shared by threads */

/* A fresh key with a certificate that it signs itself. */
NODISCARD result tls_identity_new(struct tls_identity **out);
/* The given private key and certificate chain (PEM, leaf first): for a service whose clients judge names. */
NODISCARD result tls_identity_load(const struct key *key, struct span certificates_pem, struct tls_identity **out);
void tls_identity_free(struct tls_identity *identity); /* accepts NULL */
const uint8_t *tls_identity_key(const struct tls_identity *identity); /* KEY_ID_SIZE bytes */

struct tls_config {
	const struct tls_identity *identity; /* NULL: a client without a certificate */
	bool server;
	bool ask_peer; /* server: demand a certificate. A client always gets one */
	const char *protocol; /* ALPN: both sides must name it; NULL: none */
	/* Called in the handshake, once the peer's certificate is known to be a P-256 one; NULL: any. */
	result (*verify)(void *ctx, const uint8_t key_id[static KEY_ID_SIZE]);
	void *ctx;
};

struct tls;

/* `fd` is borrowed and must outlive it. The whole handshake within `timeout_ms`. */
NODISCARD result tls_open(const struct tls_config *config, int fd, int timeout_ms, struct tls **out);
void tls_free(struct tls *tls); /* without a word to the peer; accepts NULL */
/* Tells the peer that nothing more comes. */
void tls_shutdown(struct tls *tls, int timeout_ms);

/* Of the peer's certificate, KEY_ID_SIZE bytes; NULL when it showed none. */
const uint8_t *tls_peer_key(const struct tls *tls);
/* RFC 8446 section 7.5: the same 32 bytes at both ends and nowhere else. */
NODISCARD result tls_export(const struct tls *tls, const char *label, struct span context, uint8_t out[static 32]);

NODISCARD result tls_write(struct tls *tls, struct span bytes, int timeout_ms);
NODISCARD result tls_read(struct tls *tls, void *out, size_t len, int timeout_ms);
/* What is there, at most `len` bytes and at least one; 0 ms does not wait. */
NODISCARD result tls_read_some(struct tls *tls, void *out, size_t len, int timeout_ms, size_t *out_len);

#endif
