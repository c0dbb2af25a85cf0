/*
 * IECP: records and handshake, both ends on one processor, every check of production on.
 *
 * Record rows: one record sealed and opened. Floor: the same bytes through two kept EVP AES-256-GCM contexts, nothing else.
 * Handshake row: both sides, from M1 to two open channels, without evidence (so is the peer). Floor: the primitives
 * it executes, called one after the other: 2 key pairs, 4 agreements, 2 signatures, 4 verifications.
 * Re-handshake rows: from the HS record of M1 to both SWITCHes, in place; and how long each direction is not carrying data for
 * it, which is what one step takes at most. KEYUPDATE rows: one record, sealed and opened, with the new keys of both ends.
 * Peer: OpenSSL's TLS 1.3 over memory, mutual, P-256, AES-256-GCM, tickets off.
 */
#include "bench.h"

#include "base/clock.h"
#include "crypto/crypto.h"
#include "enclave/iecp_rekey.h"

#include "../tests/iecp_pinned.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

enum { ROUNDS = 9 };

/* ---- measuring: the median of ROUNDS rounds, in which the contenders take turns ---- */

typedef void work(void *ctx);

static double once(work *run, void *ctx, unsigned count)
{
	uint64_t start = clock_monotonic_ns();
	for (unsigned i = 0; i < count; i++)
		run(ctx);
	return (double)(clock_monotonic_ns() - start) / count;
}

struct contender {
	work *run;
	void *ctx;
	double rounds[ROUNDS];
};

static void race(struct contender *contenders, size_t n, unsigned count)
{
	for (size_t i = 0; i < n; i++)
		once(contenders[i].run, contenders[i].ctx, count / 8 + 1); /* warm */
	for (int round = 0; round < ROUNDS; round++)
		for (size_t i = 0; i < n; i++)
			contenders[i].rounds[round] = once(contenders[i].run, contenders[i].ctx, count);
}

static double median(struct contender *c)
{
	return bench_quantile(c->rounds, ROUNDS, 0.5);
}

/* ---- IECP ---- */

static struct pinned_side sides[2];
static struct iecp_channel *channels[2];

static struct iecp_time now(void)
{
	return (struct iecp_time){clock_wall_ms(), clock_monotonic_ns() / 1000000};
}

static void shake(struct iecp_channel **i, struct iecp_channel **r)
{
	pinned_shake(sides, now(), i, r);
}

/* ---- evidence: as long as a report of the secure processor, signed and checked as one ---- */

enum { REPORT_SIZE = 600 };

static struct key processor_key;

static result sign_report(void *ctx, const uint8_t bind[static IECP_BIND_SIZE], struct writer *out)
{
	static const uint8_t rest[REPORT_SIZE];
	uint8_t signature[SIGNATURE_SIZE];

	(void)ctx;
	TRY(key_sign(&processor_key, span_of(bind, IECP_BIND_SIZE), signature));
	writer_put(out, signature, sizeof signature);
	writer_put(out, rest, sizeof rest);
	return OK;
}

static result check_report(void *ctx, struct span evidence, const uint8_t bind[static IECP_BIND_SIZE], struct iecp_peer *peer)
{
	(void)ctx;
	TRY(key_verify(&processor_key, span_of(bind, IECP_BIND_SIZE), span_of(evidence.data, SIGNATURE_SIZE)));
	peer->level = 1;
	return OK;
}

static result judge_anyhow(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected, uint64_t at,
	struct iecp_peer *out)
{
	static const struct iecp_epoch none;
	(void)epoch;
	return iecp_anchor_certificate(ctx, chain, &none, expected, at, out);
}

/* The same sides with evidence both ways, as under a root of trust. */
static void give_evidence(struct pinned_side *s, bool with)
{
	s->config.epoch = with ? (struct iecp_epoch){.rot_id = {1}, .era = 1, .epoch = 1, .oid = {1}} : (struct iecp_epoch){0};
	s->config.verifier.certificate = with ? judge_anyhow : pinned_judge;
	s->config.verifier.produce = with ? sign_report : iecp_no_evidence;
	s->config.verifier.appraise = with ? check_report : pinned_appraise;
}

static void iecp_handshake(void *ctx)
{
	struct iecp_channel *i, *r;

	(void)ctx;
	shake(&i, &r);
	iecp_channel_free(i);
	iecp_channel_free(r);
}

/* What the handshake cannot do without. */
static void handshake_floor(void *ctx)
{
	static const uint8_t message[50];
	uint8_t secret[ECDH_SIZE], signature[SIGNATURE_SIZE];
	struct key e[2];

	(void)ctx;
	for (int s = 0; s < 2; s++)
		BENCH_REQUIRE(key_generate(&e[s]) == OK);
	for (int s = 0; s < 2; s++) {
		struct span peer = SPAN_ARRAY(e[1 - s].point);
		BENCH_REQUIRE(key_agree(&e[s], peer, secret) == OK);
		BENCH_REQUIRE(key_agree(&sides[0].kem_key, peer, secret) == OK);
		BENCH_REQUIRE(key_sign(&sides[s].sign_key, SPAN_ARRAY(message), signature) == OK);
		BENCH_REQUIRE(key_verify(&sides[s].sign_key, SPAN_ARRAY(message), SPAN_ARRAY(signature)) == OK);
		BENCH_REQUIRE(key_verify(&sides[s].sign_key, SPAN_ARRAY(message), SPAN_ARRAY(signature)) == OK);
	}
	for (int s = 0; s < 2; s++)
		key_free(&e[s]);
}

/* ---- records ---- */

struct record_work {
	size_t len;
	uint8_t *plain, *wire, *out;
	EVP_CIPHER_CTX *seal, *open;
	uint64_t sequence;
	SSL *ssl[2];
	unsigned left; /* records until the channel is made anew */
};

static void iecp_record(void *ctx)
{
	struct record_work *w = ctx;
	struct iecp_record got;
	uint64_t steady = clock_monotonic_ns() / 1000000;

	if (w->left-- == 0) {
		iecp_channel_free(channels[0]);
		iecp_channel_free(channels[1]);
		shake(&channels[0], &channels[1]);
		w->left = IECP_MAX_RECORDS / 2;
	}
	BENCH_REQUIRE(iecp_seal(channels[0], span_of(w->plain, w->len), steady, w->wire) == OK);
	BENCH_REQUIRE(iecp_open(channels[1], span_of(w->wire, w->len + IECP_RECORD_OVERHEAD), steady, w->out, &got) == OK);
}

static void evp_record(void *ctx)
{
	struct record_work *w = ctx;
	uint8_t nonce[12] = {0};
	int len;

	memcpy(nonce, &w->sequence, 8);
	w->sequence++;
	BENCH_REQUIRE(EVP_EncryptInit_ex(w->seal, NULL, NULL, NULL, nonce) == 1);
	BENCH_REQUIRE(EVP_EncryptUpdate(w->seal, NULL, &len, w->wire, 16) == 1);
	BENCH_REQUIRE(EVP_EncryptUpdate(w->seal, w->wire + 16, &len, w->plain, (int)w->len) == 1);
	BENCH_REQUIRE(EVP_EncryptFinal_ex(w->seal, w->wire + 16 + len, &len) == 1);
	BENCH_REQUIRE(EVP_CIPHER_CTX_ctrl(w->seal, EVP_CTRL_AEAD_GET_TAG, 16, w->wire + 16 + w->len) == 1);
	BENCH_REQUIRE(EVP_DecryptInit_ex(w->open, NULL, NULL, NULL, nonce) == 1);
	BENCH_REQUIRE(EVP_DecryptUpdate(w->open, NULL, &len, w->wire, 16) == 1);
	BENCH_REQUIRE(EVP_DecryptUpdate(w->open, w->out, &len, w->wire + 16, (int)w->len) == 1);
	BENCH_REQUIRE(EVP_CIPHER_CTX_ctrl(w->open, EVP_CTRL_AEAD_SET_TAG, 16, w->wire + 16 + w->len) == 1);
	BENCH_REQUIRE(EVP_DecryptFinal_ex(w->open, w->out + len, &len) == 1);
}

/* A TLS record holds 16 KiB: longer plaintexts are several. */
static void tls_record(void *ctx)
{
	struct record_work *w = ctx;
	size_t done = 0, got;

	BENCH_REQUIRE(SSL_write_ex(w->ssl[0], w->plain, w->len, &done) == 1 && done == w->len);
	for (done = 0; done < w->len; done += got)
		BENCH_REQUIRE(SSL_read_ex(w->ssl[1], w->out + done, w->len - done, &got) == 1);
}

/* ---- new keys for an open channel ---- */

/* Every record in `sent` goes to the other end; what is answered comes back into `out`. */
static void hand_over(struct iecp_channel *to, struct writer *sent, struct writer *out)
{
	static uint8_t plain[IECP_MAX_PLAIN];
	struct span records;
	size_t size;

	BENCH_REQUIRE(writer_finish(sent, &records) == OK);
	for (; records.len; records = span_of(records.data + size, records.len - size)) {
		struct iecp_record got;
		BENCH_REQUIRE(iecp_record_size(to, records, &size) == OK && size <= records.len);
		BENCH_REQUIRE(iecp_open(to, span_of(records.data, size), now().steady_ms, plain, &got) == OK);
		if (got.type == IECP_HS)
			BENCH_REQUIRE(iecp_rekey_receive(to, got.plain, now(), out) == OK);
	}
}

static double longest_ns; /* step of the last re-handshakes */

static void note_step(uint64_t *since)
{
	uint64_t now_ns = clock_monotonic_ns();

	if ((double)(now_ns - *since) > longest_ns)
		longest_ns = (double)(now_ns - *since);
	*since = now_ns;
}

static void rekey(void *ctx)
{
	CLEANUP(writer_free) struct writer m1 = writer_growing(1 << 20), m2 = writer_growing(1 << 20), m3 = writer_growing(1 << 20),
					   last = writer_growing(1 << 20), none = writer_growing(1 << 20);

	if (iecp_channel_generation(channels[0], true) > UINT16_MAX / 2) {
		iecp_channel_free(channels[0]);
		iecp_channel_free(channels[1]);
		shake(&channels[0], &channels[1]);
	}
	(void)ctx;
	BENCH_REQUIRE(iecp_rekey_configure(channels[0], &sides[0].config) == OK);
	BENCH_REQUIRE(iecp_rekey_configure(channels[1], &sides[1].config) == OK);
	uint64_t since = clock_monotonic_ns();
	longest_ns = 0;
	BENCH_REQUIRE(iecp_rekey_start(channels[0], now(), &m1) == OK);
	note_step(&since);
	hand_over(channels[1], &m1, &m2);
	note_step(&since);
	hand_over(channels[0], &m2, &m3);
	note_step(&since);
	hand_over(channels[1], &m3, &last);
	note_step(&since);
	hand_over(channels[0], &last, &none);
	BENCH_REQUIRE(!iecp_rekey_is_running(channels[0]) && !iecp_rekey_is_running(channels[1]));
}

static void keyupdate(void *ctx)
{
	uint8_t record[IECP_RECORD_OVERHEAD], plain[1];
	struct iecp_record got;

	(void)ctx;
	if (iecp_channel_generation(channels[0], true) > UINT16_MAX / 2) {
		iecp_channel_free(channels[0]);
		iecp_channel_free(channels[1]);
		shake(&channels[0], &channels[1]);
	}
	BENCH_REQUIRE(iecp_seal_keyupdate(channels[0], record) == OK);
	BENCH_REQUIRE(iecp_open(channels[1], span_of(record, sizeof record), now().steady_ms, plain, &got) == OK);
}

/* ---- TLS ---- */

static SSL_CTX *tls_ctx[2];

/* A self-signed P-256 certificate that the other side trusts. */
static X509 *tls_certificate(EVP_PKEY *key)
{
	X509 *x509 = X509_new();
	X509_NAME *name = X509_get_subject_name(x509);

	X509_set_version(x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
	X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x509), 86400);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"bench", -1, -1, 0);
	X509_set_issuer_name(x509, name);
	X509_set_pubkey(x509, key);
	BENCH_REQUIRE(X509_sign(x509, key, EVP_sha256()) > 0);
	return x509;
}

static void make_tls(void)
{
	EVP_PKEY *keys[2];
	X509 *certificates[2];

	for (int s = 0; s < 2; s++) {
		keys[s] = EVP_EC_gen("P-256");
		certificates[s] = tls_certificate(keys[s]);
		tls_ctx[s] = SSL_CTX_new(s == 0 ? TLS_client_method() : TLS_server_method());
		BENCH_REQUIRE(SSL_CTX_set_min_proto_version(tls_ctx[s], TLS1_3_VERSION));
		BENCH_REQUIRE(SSL_CTX_set_ciphersuites(tls_ctx[s], "TLS_AES_256_GCM_SHA384"));
		BENCH_REQUIRE(SSL_CTX_set1_groups_list(tls_ctx[s], "P-256"));
		BENCH_REQUIRE(SSL_CTX_set_num_tickets(tls_ctx[s], 0));
		SSL_CTX_set_session_cache_mode(tls_ctx[s], SSL_SESS_CACHE_OFF);
		BENCH_REQUIRE(SSL_CTX_use_certificate(tls_ctx[s], certificates[s]) == 1);
		BENCH_REQUIRE(SSL_CTX_use_PrivateKey(tls_ctx[s], keys[s]) == 1);
		SSL_CTX_set_verify(tls_ctx[s], SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	}
	for (int s = 0; s < 2; s++)
		BENCH_REQUIRE(X509_STORE_add_cert(SSL_CTX_get_cert_store(tls_ctx[s]), certificates[1 - s]) == 1);
}

static void tls_shake(SSL *ssl[2])
{
	BIO *a = BIO_new(BIO_s_mem()), *b = BIO_new(BIO_s_mem());
	bool done[2] = {false, false};

	for (int s = 0; s < 2; s++)
		ssl[s] = SSL_new(tls_ctx[s]);
	BIO_up_ref(a);
	BIO_up_ref(b);
	SSL_set_bio(ssl[0], a, b);
	SSL_set_bio(ssl[1], b, a);
	SSL_set_connect_state(ssl[0]);
	SSL_set_accept_state(ssl[1]);
	for (int turn = 0; turn < 10 && !(done[0] && done[1]); turn++)
		for (int s = 0; s < 2; s++)
			done[s] = SSL_do_handshake(ssl[s]) == 1;
	BENCH_REQUIRE(done[0] && done[1]);
}

static void tls_handshake(void *ctx)
{
	SSL *ssl[2];

	(void)ctx;
	tls_shake(ssl);
	SSL_free(ssl[0]);
	SSL_free(ssl[1]);
}

/* ---- rows ---- */

static EVP_CIPHER_CTX *evp_context(bool sealing)
{
	static const uint8_t key[32] = {1};
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	BENCH_REQUIRE(ctx && EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, NULL, sealing) == 1);
	return ctx;
}

static void measure_records(size_t len, const char *name, unsigned count)
{
	struct record_work w = {.len = len, .plain = calloc(1, len), .wire = calloc(1, len + IECP_RECORD_OVERHEAD),
		.out = calloc(1, len), .seal = evp_context(true), .open = evp_context(false)};

	BENCH_REQUIRE(w.plain && w.wire && w.out);
	tls_shake(w.ssl);
	struct contender c[3] = {{iecp_record, &w}, {evp_record, &w}, {tls_record, &w}};
	race(c, COUNT_OF(c), bench_quick() ? count / 20 + 1 : count);
	bench_row(&(struct bench_row){name, median(&c[0]), "ns", median(&c[1]), median(&c[2]), "OpenSSL TLS 1.3"});
	SSL_free(w.ssl[0]);
	SSL_free(w.ssl[1]);
	EVP_CIPHER_CTX_free(w.seal);
	EVP_CIPHER_CTX_free(w.open);
	free(w.plain);
	free(w.wire);
	free(w.out);
}

static void measure_handshake(void)
{
	struct contender c[3] = {{iecp_handshake, NULL}, {handshake_floor, NULL}, {tls_handshake, NULL}};

	race(c, COUNT_OF(c), bench_quick() ? 10 : 200);
	bench_row(&(struct bench_row){"iecp handshake, mutual", median(&c[0]) / 1000, "us", median(&c[1]) / 1000,
		median(&c[2]) / 1000, "OpenSSL TLS 1.3"});
}

/* Both sides on one processor: two would make nearly twice as many. Floor: as many without evidence. */
static void measure_evidence(void)
{
	struct contender with[1] = {{iecp_handshake, NULL}}, without[1] = {{iecp_handshake, NULL}};

	race(without, 1, bench_quick() ? 10 : 100);
	give_evidence(&sides[0], true);
	give_evidence(&sides[1], true);
	race(with, 1, bench_quick() ? 10 : 100);
	give_evidence(&sides[0], false);
	give_evidence(&sides[1], false);
	bench_row(&(struct bench_row){"iecp handshakes with evidence both ways", 1e9 / median(&with[0]), "per second", 1e9 / median(&without[0]), 0, NULL});
	if (!mlkem_available()) {
		bench_note("No row of suite 2: this machine's OpenSSL has no ML-KEM-768.");
		return;
	}
	sides[0].config.pq = sides[1].config.pq = IECP_PQ_REQUIRE;
	race(with, 1, bench_quick() ? 10 : 100);
	sides[0].config.pq = sides[1].config.pq = IECP_PQ_OFF;
	bench_row(&(struct bench_row){"iecp handshake of suite 2, mutual", median(&with[0]) / 1000, "us", median(&without[0]) / 1000, 0, NULL});
}

/* Floor: the handshake outside a channel. */
static void measure_new_keys(void)
{
	struct contender c[2] = {{rekey, NULL}, {iecp_handshake, NULL}}, k[1] = {{keyupdate, NULL}};
	double pauses[ROUNDS];

	race(c, COUNT_OF(c), bench_quick() ? 10 : 200);
	bench_row(&(struct bench_row){"iecp re-handshake in place", median(&c[0]) / 1000, "us", median(&c[1]) / 1000, 0, NULL});
	for (size_t i = 0; i < ROUNDS; i++) {
		rekey(NULL);
		pauses[i] = longest_ns;
	}
	bench_row(&(struct bench_row){"iecp re-handshake, longest pause of a side", bench_quantile(pauses, ROUNDS, 0.5) / 1000, "us", 0, 0, NULL});
	race(k, COUNT_OF(k), bench_quick() ? 100 : 4000);
	bench_row(&(struct bench_row){"iecp KEYUPDATE, both ends", median(&k[0]) / 1000, "us", 0, 0, NULL});
}

int main(int argc, char **argv)
{
	bench_open(argc, argv, "iecp");
	crypto_warm_up();
	(void)bench_pin(0);
	pinned_make(&sides[0], &sides[1], IECP_INITIATOR, 0, "spiffe://bench.example/ire/a", clock_wall_ms());
	pinned_make(&sides[1], &sides[0], IECP_RESPONDER, 0, "spiffe://bench.example/ire/b", clock_wall_ms());
	BENCH_REQUIRE(key_generate(&processor_key) == OK);
	make_tls();
	shake(&channels[0], &channels[1]);
	measure_handshake();
	measure_evidence();
	measure_new_keys();
	measure_records(64, "iecp record 64 B, write and read", 40000);
	measure_records(1024, "iecp record 1 KiB, write and read", 20000);
	measure_records(16384, "iecp record 16 KiB, write and read", 4000);
	measure_records(65536, "iecp record 64 KiB, write and read", 1000);
	bench_note("A row of 64 KiB is one IECP record and four TLS records.");
	bench_close();
	return 0;
}
