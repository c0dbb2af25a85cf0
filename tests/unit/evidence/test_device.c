/* src/crypto/tpm over a simulated TPM, judged by src/evidence: what one makes the other must accept, and what must fail does. */
#include "expect.h"

#include "groups.h"
#include "swtpm.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crypto/random.h"
#include "crypto/tpm.h"
#include "evidence/credential.h"
#include "evidence/tpm.h"
#include "evidence/tpm_head.h"

static const uint8_t auth[TPM_COUNTER_AUTH_SIZE] = {7, 7, 7}, other_auth[TPM_COUNTER_AUTH_SIZE] = {8};

struct bench {
	struct swtpm sw;
	struct tpm *tpm;
};

static void open_bench(struct bench *b, enum swtpm_ek ek)
{
	*b = (struct bench){0};
	swtpm_start(&b->sw, ek);
	expect_ok(tpm_open(b->sw.fd.n, &b->tpm));
}

static void close_bench(struct bench *b)
{
	tpm_close(b->tpm);
	swtpm_stop(&b->sw);
}

static void random_and_pcrs(void **state)
{
	struct bench b;
	uint8_t one[100], two[100], values[TPM_PCRS][SHA256_SIZE], expected[64] = {0}, zero[SHA256_SIZE] = {0};
	open_bench(&b, SWTPM_EK_NONE);
	expect_ok(tpm_random(b.tpm, one, sizeof(one)));
	expect_ok(tpm_random(b.tpm, two, sizeof(two)));
	assert_memory_not_equal(one, two, sizeof(one));
	expect(tpm_random(b.tpm, one, 0), BAD_VALUE);
	sha256(span_str("event"), expected + 32);
	expect_ok(tpm_pcr_extend(b.tpm, 23, expected + 32));
	expect_ok(tpm_pcr_read(b.tpm, 0xffffff, values));
	sha256(SPAN_ARRAY(expected), expected);
	assert_memory_equal(values[23], expected, 32);
	assert_memory_equal(values[8], zero, 32);
	expect_ok(tpm_pcr_reset(b.tpm, 23));
	expect_ok(tpm_pcr_read(b.tpm, 1u << 23, values));
	assert_memory_equal(values[23], zero, 32);
	expect(tpm_pcr_reset(b.tpm, 4), TPM_UNAVAILABLE); /* a boot PCR cannot be reset */
	expect(tpm_pcr_read(b.tpm, 1u << 24, values), BAD_VALUE);
	close_bench(&b);
}

static void seals_to_pcrs(void **state)
{
	struct bench b;
	uint8_t key[32], digest[SHA256_SIZE] = {1};
	CLEANUP(bytes_free) struct bytes blob = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret back = SECRET_EMPTY;
	struct secret none = SECRET_EMPTY;
	random_bytes(key, sizeof(key));
	open_bench(&b, SWTPM_EK_NONE);
	expect_ok(tpm_seal(b.tpm, 1u << 0 | 1u << 7, SPAN_ARRAY(key), &blob));
	expect_ok(tpm_unseal(b.tpm, bytes_span(&blob), &back));
	expect_span(secret_span(&back), SPAN_ARRAY(key));
	assert_null(memmem(blob.data, blob.len, key, sizeof(key)));
	expect_ok(tpm_pcr_extend(b.tpm, 7, digest));
	expect(tpm_unseal(b.tpm, bytes_span(&blob), &none), TPM_STATE_CHANGED);
	tpm_close(b.tpm);
	swtpm_reboot(&b.sw);
	expect_ok(tpm_open(b.sw.fd.n, &b.tpm));
	secret_free(&back);
	expect_ok(tpm_unseal(b.tpm, bytes_span(&blob), &back));
	expect_span(secret_span(&back), SPAN_ARRAY(key));
	expect_ok(tpm_pcr_extend(b.tpm, 8, digest)); /* not one of them */
	secret_free(&back);
	expect_ok(tpm_unseal(b.tpm, bytes_span(&blob), &back));
	/* A bit of the blob, and a blob cut short. */
	for (size_t i = 0; i < blob.len; i += 7) {
		blob.data[i] ^= 0x10;
		assert_true(tpm_unseal(b.tpm, bytes_span(&blob), &none) != OK);
		blob.data[i] ^= 0x10;
		assert_true(tpm_unseal(b.tpm, span_of(blob.data, i), &none) != OK);
	}
	expect(tpm_seal(b.tpm, 0, SPAN_ARRAY(key), &blob), BAD_VALUE);
	close_bench(&b);
}

static void another_or_cleared_tpm(void **state)
{
	struct bench b, c;
	uint8_t key[32] = {5};
	uint32_t index;
	uint64_t value;
	CLEANUP(bytes_free) struct bytes blob = BYTES_EMPTY;
	struct secret none = SECRET_EMPTY;
	open_bench(&b, SWTPM_EK_NONE);
	open_bench(&c, SWTPM_EK_NONE);
	expect_ok(tpm_seal(b.tpm, 1, SPAN_ARRAY(key), &blob));
	expect_ok(tpm_counter_define(b.tpm, auth, &index, &value));
	expect(tpm_unseal(c.tpm, bytes_span(&blob), &none), TPM_FOREIGN);
	expect(tpm_counter_read(c.tpm, index, auth, &value), TAMPERED);
	expect(tpm_counter_increment(c.tpm, index, auth), TAMPERED);
	close_bench(&c);
	tpm_close(b.tpm);
	swtpm_clear(&b.sw);
	expect_ok(tpm_open(b.sw.fd.n, &b.tpm));
	expect(tpm_unseal(b.tpm, bytes_span(&blob), &none), TPM_FOREIGN);
	expect(tpm_counter_read(b.tpm, index, auth, &value), TAMPERED);
	close_bench(&b);
}

static void counter_only_grows(void **state)
{
	struct bench b;
	uint32_t index, second;
	uint64_t first, value, again;
	open_bench(&b, SWTPM_EK_NONE);
	expect_ok(tpm_counter_define(b.tpm, auth, &index, &first));
	expect_ok(tpm_counter_increment(b.tpm, index, auth));
	expect_ok(tpm_counter_read(b.tpm, index, auth, &value));
	assert_int_equal(value, first + 1);
	expect(tpm_counter_read(b.tpm, index, other_auth, &again), TAMPERED);
	expect(tpm_counter_increment(b.tpm, index, other_auth), TAMPERED);
	expect(tpm_counter_read(b.tpm, 0x01c00002, auth, &again), TAMPERED); /* no place of a counter */
	tpm_close(b.tpm);
	swtpm_reboot(&b.sw);
	expect_ok(tpm_open(b.sw.fd.n, &b.tpm));
	expect_ok(tpm_counter_read(b.tpm, index, auth, &again));
	assert_int_equal(again, value);
	/* Taken away and made anew: never below the old one. */
	expect_ok(tpm_counter_remove(b.tpm, index));
	expect(tpm_counter_read(b.tpm, index, auth, &again), TAMPERED);
	expect_ok(tpm_counter_define(b.tpm, auth, &second, &again));
	assert_true(again > value);
	close_bench(&b);
}

static void record_is_kept(void **state)
{
	struct bench b;
	uint32_t index;
	uint8_t in[TPM_RECORD_SIZE], out[TPM_RECORD_SIZE], nothing[TPM_RECORD_SIZE] = {0};
	memset(in, 0xa5, sizeof(in));
	open_bench(&b, SWTPM_EK_NONE);
	expect_ok(tpm_record_define(b.tpm, auth, &index));
	expect_ok(tpm_record_read(b.tpm, index, auth, out));
	assert_memory_equal(out, nothing, sizeof(out));
	expect_ok(tpm_record_write(b.tpm, index, auth, in));
	expect(tpm_record_write(b.tpm, index, other_auth, nothing), TAMPERED);
	expect(tpm_record_read(b.tpm, index, other_auth, out), TAMPERED);
	expect(tpm_record_read(b.tpm, 0x01840000 | (index & 0xffff), auth, out), TAMPERED); /* no place of a record */
	expect(tpm_counter_remove(b.tpm, index), BAD_VALUE);
	tpm_close(b.tpm);
	swtpm_reboot(&b.sw);
	expect_ok(tpm_open(b.sw.fd.n, &b.tpm));
	expect_ok(tpm_record_read(b.tpm, index, auth, out));
	assert_memory_equal(out, in, sizeof(out));
	expect_ok(tpm_record_remove(b.tpm, index));
	expect(tpm_record_read(b.tpm, index, auth, out), TAMPERED);
	expect(tpm_record_write(b.tpm, index, auth, in), TAMPERED);
	close_bench(&b);
}

/* What a host says of its history, and what its TPM says of the head. */
struct told {
	struct tpm_head head;
	struct bytes attest, signature, public;
	struct platform_key key;
	uint8_t nonce[32];
};

static void told_free(struct told *told)
{
	bytes_free(&told->attest);
	bytes_free(&told->signature);
	bytes_free(&told->public);
	platform_key_free(&told->key);
}

static void certify(struct bench *b, uint32_t index, const struct digest32 *log, size_t count, struct told *told)
{
	CLEANUP(tpm_identity_free) struct tpm_identity identity = {0};
	struct tpm_public ak;
	*told = (struct told){.key = PLATFORM_KEY_EMPTY};
	random_bytes(told->nonce, sizeof(told->nonce));
	expect_ok(tpm_identify(b->tpm, &identity));
	told->public = bytes_move(&identity.ak_public);
	expect_ok(tpm_head_certify(b->tpm, index, auth, SPAN_ARRAY(told->nonce), &told->attest, &told->signature));
	expect_ok(tpm_public_parse(bytes_span(&told->public), &ak));
	expect_ok(tpm_public_key(&ak, &told->key));
	told->head = (struct tpm_head){.attest = bytes_span(&told->attest), .ak = &told->key, .nonce = SPAN_ARRAY(told->nonce), .index = index,
		.log = log, .log_count = count};
	expect_ok(tpm_signature_parse(bytes_span(&told->signature), &told->head.signature));
}

static void head_vouches_for_a_history(void **state)
{
	struct bench b;
	struct told told;
	struct digest32 log[5], other[6];
	uint32_t index, another;
	uint8_t value[SHA256_SIZE], folded[SHA256_SIZE];
	open_bench(&b, SWTPM_EK_NONE);
	expect_ok(tpm_head_define(b.tpm, auth, &index));
	for (size_t i = 0; i < COUNT_OF(log); i++) {
		memset(log[i].bytes, (int)i + 1, sizeof(log[i].bytes));
		expect_ok(tpm_head_extend(b.tpm, index, auth, log[i].bytes));
	}
	expect_ok(tpm_head_read(b.tpm, index, auth, value));
	tpm_head_fold(log, COUNT_OF(log), folded);
	assert_memory_equal(value, folded, sizeof(value));
	expect(tpm_head_extend(b.tpm, index, other_auth, log[0].bytes), TAMPERED);
	tpm_close(b.tpm);
	swtpm_reboot(&b.sw);
	expect_ok(tpm_open(b.sw.fd.n, &b.tpm));
	certify(&b, index, log, COUNT_OF(log), &told);
	expect_ok(tpm_head_verify(&told.head));

	told.head.log_count--; /* the last one left out */
	expect(tpm_head_verify(&told.head), HEAD_MISMATCH);
	told.head.log = log + 1; /* the first one */
	expect(tpm_head_verify(&told.head), HEAD_MISMATCH);
	memcpy(other, log, sizeof(log));
	memset(other[5].bytes, 9, sizeof(other[5].bytes));
	told.head.log = other; /* one added */
	told.head.log_count = 6;
	expect(tpm_head_verify(&told.head), HEAD_MISMATCH);
	told.head.log_count = 5;
	expect_ok(tpm_head_verify(&told.head));
	other[2].bytes[0] ^= 1; /* one altered */
	expect(tpm_head_verify(&told.head), HEAD_MISMATCH);
	other[2] = log[1]; /* two exchanged */
	other[1] = log[2];
	expect(tpm_head_verify(&told.head), HEAD_MISMATCH);
	told.head.log = log;
	told.head.index ^= 1; /* another index */
	expect(tpm_head_verify(&told.head), HEAD_MISMATCH);
	told.head.index ^= 1;
	told.nonce[0] ^= 1; /* an older answer */
	expect(tpm_head_verify(&told.head), TPM_NONCE_MISMATCH);
	told.nonce[0] ^= 1;
	told.attest.data[told.attest.len - 1] ^= 1;
	expect(tpm_head_verify(&told.head), BAD_SIGNATURE);
	told.attest.data[told.attest.len - 1] ^= 1;
	for (size_t len = 0; len < told.attest.len; len++) {
		told.head.attest.len = len;
		assert_int_not_equal(tpm_head_verify(&told.head), OK);
	}
	told_free(&told);

	/* Taken away and made anew by the owner of the TPM: whoever made it first cannot use it. */
	expect_ok(tpm_head_remove(b.tpm, index));
	expect(tpm_head_extend(b.tpm, index, auth, log[0].bytes), TAMPERED);
	expect_ok(tpm_head_define(b.tpm, auth, &another));
	expect(tpm_record_remove(b.tpm, another), BAD_VALUE);
	certify(&b, another, log, 0, &told);
	expect_ok(tpm_head_verify(&told.head));
	told_free(&told);
	close_bench(&b);
}

/* A quote by the same key is no word for a head. */
static void a_quote_is_no_head(void **state)
{
	struct bench b;
	struct told told;
	uint32_t index;
	CLEANUP(bytes_free) struct bytes attest = BYTES_EMPTY, signature = BYTES_EMPTY;
	open_bench(&b, SWTPM_EK_NONE);
	expect_ok(tpm_head_define(b.tpm, auth, &index));
	certify(&b, index, NULL, 0, &told);
	expect_ok(tpm_quote(b.tpm, SPAN_ARRAY(told.nonce), 1, &attest, &signature));
	told.head.attest = bytes_span(&attest);
	expect_ok(tpm_signature_parse(bytes_span(&signature), &told.head.signature));
	expect(tpm_head_verify(&told.head), TPM_NOT_A_QUOTE);
	told_free(&told);
	close_bench(&b);
}

static void quote_is_accepted(enum swtpm_ek ek)
{
	struct bench b;
	CLEANUP(tpm_identity_free) struct tpm_identity identity = {0}, again = {0};
	CLEANUP(bytes_free) struct bytes attest_bytes = BYTES_EMPTY, signature = BYTES_EMPTY;
	CLEANUP(platform_key_free) struct platform_key key = PLATFORM_KEY_EMPTY;
	uint8_t values[TPM_PCRS][SHA256_SIZE], nonce[32];
	struct pcr_value pcrs[TPM_PCRS];
	struct tpm_public ak;
	struct tpm_attest attest;
	const tpm_pcr_set set = 0x8000ff;
	size_t count = 0;

	open_bench(&b, ek);
	random_bytes(nonce, sizeof(nonce));
	expect_ok(tpm_identify(b.tpm, &identity));
	expect_ok(tpm_quote(b.tpm, SPAN_ARRAY(nonce), set, &attest_bytes, &signature));
	expect_ok(tpm_pcr_read(b.tpm, set, values));
	expect_ok(tpm_public_parse(bytes_span(&identity.ak_public), &ak));
	expect_ok(tpm_ak_check(&ak));
	expect_ok(tpm_public_key(&ak, &key));
	for (uint8_t i = 0; i < TPM_PCRS; i++)
		if (set & 1u << i)
			pcrs[count++] = (struct pcr_value){TPM_SHA256, i, span_of(values[i], SHA256_SIZE)};
	struct tpm_quote quote = {.attest = bytes_span(&attest_bytes), .ak = &key, .pcrs = pcrs, .pcr_count = count, .bank = TPM_SHA256,
		.nonce = SPAN_ARRAY(nonce)};
	expect_ok(tpm_signature_parse(bytes_span(&signature), &quote.signature));
	expect_ok(tpm_quote_verify(&quote, &attest));
	expect_ok(tpm_signer_check(&attest, &ak));
	/* The same keys after the power was off. */
	tpm_close(b.tpm);
	swtpm_reboot(&b.sw);
	expect_ok(tpm_open(b.sw.fd.n, &b.tpm));
	expect_ok(tpm_identify(b.tpm, &again));
	expect_span(bytes_span(&again.ak_public), bytes_span(&identity.ak_public));
	expect_span(bytes_span(&again.ek_public), bytes_span(&identity.ek_public));
	if (ek != SWTPM_EK_NONE) {
		CLEANUP(bytes_free) struct bytes root = swtpm_root(&b.sw), issuer = swtpm_issuer(&b.sw);
		CLEANUP(platform_key_free) struct platform_key of_certificate = PLATFORM_KEY_EMPTY, of_area = PLATFORM_KEY_EMPTY;
		struct tpm_public area;
		const struct span chain[] = {bytes_span(&identity.ek_certificate), bytes_span(&issuer)}, roots[] = {bytes_span(&root)};
		const uint64_t in_2030 = 1900000000000;
		expect_ok(certificate_chain_verify(chain, 2, roots, 1, in_2030, NULL, &of_certificate));
		expect(certificate_chain_verify(chain, 1, roots, 1, in_2030, NULL, NULL), EK_UNTRUSTED);
		expect_ok(tpm_public_parse(bytes_span(&identity.ek_public), &area));
		expect_ok(tpm_public_key(&area, &of_area));
		assert_memory_equal(of_area.id, of_certificate.id, SHA256_SIZE);
	} else {
		assert_int_equal(identity.ek_certificate.len, 0);
	}
	close_bench(&b);
}

static void quotes_of_three_kinds_of_tpm(void **state)
{
	quote_is_accepted(SWTPM_EK_RSA);
	quote_is_accepted(SWTPM_EK_P384);
	quote_is_accepted(SWTPM_EK_NONE);
}

static void credential_opens_in_its_tpm_alone(enum swtpm_ek kind)
{
	struct bench b, c;
	CLEANUP(tpm_identity_free) struct tpm_identity identity = {0}, foreign = {0};
	CLEANUP(credential_free) struct credential good = {0}, of_other_ak = {0}, of_other_ek = {0};
	CLEANUP(secret_free) struct secret opened = SECRET_EMPTY;
	struct secret none = SECRET_EMPTY;
	struct tpm_public ek, ak, other_ek, other_ak;
	uint8_t secret[32];

	random_bytes(secret, sizeof(secret));
	open_bench(&b, kind);
	open_bench(&c, kind);
	expect_ok(tpm_identify(b.tpm, &identity));
	expect_ok(tpm_identify(c.tpm, &foreign));
	expect_ok(tpm_public_parse(bytes_span(&identity.ek_public), &ek));
	expect_ok(tpm_public_parse(bytes_span(&identity.ak_public), &ak));
	expect_ok(tpm_public_parse(bytes_span(&foreign.ek_public), &other_ek));
	expect_ok(tpm_public_parse(bytes_span(&foreign.ak_public), &other_ak));
	expect_ok(credential_make(&ek, &ak, SPAN_ARRAY(secret), &good));
	expect_ok(tpm_activate(b.tpm, bytes_span(&good.object), bytes_span(&good.encrypted), &opened));
	expect_span(secret_span(&opened), SPAN_ARRAY(secret));
	expect(tpm_activate(c.tpm, bytes_span(&good.object), bytes_span(&good.encrypted), &none), TPM_CHALLENGE_FAILED);
	expect_ok(credential_make(&ek, &other_ak, SPAN_ARRAY(secret), &of_other_ak));
	expect(tpm_activate(b.tpm, bytes_span(&of_other_ak.object), bytes_span(&of_other_ak.encrypted), &none), TPM_CHALLENGE_FAILED);
	expect_ok(credential_make(&other_ek, &ak, SPAN_ARRAY(secret), &of_other_ek));
	expect(tpm_activate(b.tpm, bytes_span(&of_other_ek.object), bytes_span(&of_other_ek.encrypted), &none), TPM_CHALLENGE_FAILED);
	expect(tpm_activate(b.tpm, SPAN_EMPTY, SPAN_EMPTY, &none), TPM_CHALLENGE_FAILED);
	ak.attributes &= ~(uint32_t)TPM_RESTRICTED;
	expect(credential_make(&ek, &ak, SPAN_ARRAY(secret), &of_other_ak), TPM_AK_UNFIT);
	close_bench(&c);
	close_bench(&b);
}

static void credentials(void **state)
{
	credential_opens_in_its_tpm_alone(SWTPM_EK_RSA);
	credential_opens_in_its_tpm_alone(SWTPM_EK_P384);
	credential_opens_in_its_tpm_alone(SWTPM_EK_NONE);
}

/* A user that is killed leaves keys and sessions in a raw TPM, which has three places for each. */
static void users_that_were_killed(void **state)
{
	struct swtpm sw;
	swtpm_start(&sw, SWTPM_EK_NONE);
	for (int i = 0; i < 8; i++) {
		CLEANUP(tpm_identity_free) struct tpm_identity identity = {0};
		struct tpm *tpm;
		expect_ok(tpm_open(sw.fd.n, &tpm));
		expect_ok(tpm_identify(tpm, &identity));
		fd_close(&sw.fd); /* nothing is given back */
		tpm_close(tpm);
		swtpm_reconnect(&sw);
	}
	swtpm_stop(&sw);
}

static void tpm_that_is_gone(void **state)
{
	struct bench b;
	uint8_t bytes[8];
	struct tpm *tpm;
	open_bench(&b, SWTPM_EK_NONE);
	swtpm_kill(&b.sw);
	expect(tpm_random(b.tpm, bytes, sizeof(bytes)), TPM_UNAVAILABLE);
	expect(tpm_pcr_extend(b.tpm, 23, (const uint8_t[32]){0}), TPM_UNAVAILABLE);
	expect(tpm_open(b.sw.fd.n, &tpm), TPM_UNAVAILABLE);
	close_bench(&b);
}

/* Something that answers every command with what it likes. */
struct liar {
	int fd;
	const uint8_t *answer;
	size_t len;
};

static void *lie(void *arg)
{
	struct liar *liar = arg;
	uint8_t command[4096];
	while (read(liar->fd, command, sizeof(command)) > 0)
		if (write(liar->fd, liar->answer, liar->len) != (ssize_t)liar->len)
			break;
	return NULL;
}

static void answers_that_no_tpm_gives(void **state)
{
	static const uint8_t short_header[] = {0x80, 0x01, 0, 0, 0, 9, 0, 0, 0, 0}, huge[] = {0x80, 0x01, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
			     longer[] = {0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0, 1, 2, 3}, empty_ok[] = {0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0},
			     counts[] = {0x80, 0x01, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff};
	const struct span answers[] = {SPAN_ARRAY(short_header), SPAN_ARRAY(huge), SPAN_ARRAY(longer), SPAN_ARRAY(empty_ok), SPAN_ARRAY(counts)};
	for (size_t i = 0; i < COUNT_OF(answers); i++) {
		int pair[2];
		pthread_t thread;
		struct tpm *tpm;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		struct liar liar = {pair[1], answers[i].data, answers[i].len};
		assert_int_equal(pthread_create(&thread, NULL, lie, &liar), 0);
		expect(tpm_open(pair[0], &tpm), TPM_UNAVAILABLE);
		shutdown(pair[0], SHUT_RDWR);
		pthread_join(thread, NULL);
		close(pair[0]);
		close(pair[1]);
	}
}

int device_tests(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_and_pcrs),
		cmocka_unit_test(seals_to_pcrs),
		cmocka_unit_test(another_or_cleared_tpm),
		cmocka_unit_test(counter_only_grows),
		cmocka_unit_test(record_is_kept),
		cmocka_unit_test(head_vouches_for_a_history),
		cmocka_unit_test(a_quote_is_no_head),
		cmocka_unit_test(quotes_of_three_kinds_of_tpm),
		cmocka_unit_test(credentials),
		cmocka_unit_test(users_that_were_killed),
		cmocka_unit_test(tpm_that_is_gone),
		cmocka_unit_test(answers_that_no_tpm_gives),
	};
	return cmocka_run_group_tests_name("tpm", tests, NULL, NULL);
}
