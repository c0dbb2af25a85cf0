/*
 * A TPM (swtpm in a folder of its own, or the device that TROTH_TPM names) beside attestation in software.
 *
 *   tpm.quote            a quote over nine PCRs with P-256, as the secure processor asks for it, values read before. Peer:
 *                        what the secure processor signs without a TPM (one ES256 over a rot challenge)
 *   tpm.verify_evidence  one quote judged: signature, PCRs, names. Floor: one ES256 verification
 *   tpm.count            the counter up by one and read: what a rotation adds
 *   tpm.unseal           the wrap key out of the TPM: what a start adds
 *   tpm.start            until the TPM is open and its keys are made
 *
 * A simulator says what the way to a TPM costs, not what a chip takes: that is milliseconds to a second for each.
 */
#include "bench.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"
#include "base/sock.h"
#include "crypto/crypto.h"
#include "crypto/random.h"
#include "crypto/tpm.h"
#include "evidence/tpm.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { QUOTES = 500, QUICK_QUOTES = 30, STARTS = 10, PCRS = 0x8000ff, WAIT_MS = 10 * 1000 };

static double samples[QUOTES];
static char folder[] = "/tmp/bench-tpm-XXXXXX";
static struct process simulator = PROCESS_NONE;
static char spec[128];

static void must(result done, const char *what)
{
	if (done == OK)
		return;
	fprintf(stderr, "%s: %s: %s\n", what, reason_name(done), failure_text());
	process_free(&simulator);
	exit(1);
}

static void start_simulator(void)
{
	CLEANUP(fd_close) struct fd null = FD_NONE;
	char state[160], server[160];
	const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
	BENCH_REQUIRE(mkdtemp(folder) != NULL);
	snprintf(state, sizeof(state), "dir=%s", folder);
	snprintf(server, sizeof(server), "type=unixio,path=%s/socket", folder);
	snprintf(spec, sizeof(spec), "%s/socket", folder);
	const char *const argv[] = {"/usr/bin/swtpm", "socket", "--tpm2", "--tpmstate", state, "--server", server, "--flags",
		"not-need-init,startup-clear", NULL};
	must(file_open("/dev/null", O_RDWR, 0, &null), "/dev/null");
	struct process_fd fds[] = {{null.n, 0}, {null.n, 1}, {null.n, 2}};
	struct process_spec process = {.path = argv[0], .argv = argv, .env = env, .fds = fds, .fd_count = 3, .die_with_parent = true};
	must(process_start(&process, &simulator), "swtpm");
}

static struct fd connect_tpm(void)
{
	struct fd fd = FD_NONE;
	const char *device = getenv("TROTH_TPM");
	if (device) {
		must(file_open(device, O_RDWR, 0, &fd), device);
		return fd;
	}
	result connected = NOT_FOUND;
	for (int waited = 0; waited < WAIT_MS && connected != OK; waited++) {
		connected = sock_connect(spec, 1000, &fd);
		if (connected != OK)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	must(connected, spec);
	return fd;
}

static double since(uint64_t start)
{
	return (double)(clock_monotonic_ns() - start);
}

static double software(size_t count, bool verify)
{
	struct key key;
	uint8_t message[400], signature[SIGNATURE_SIZE];
	must(key_generate(&key), "key");
	random_bytes(message, sizeof(message));
	must(key_sign(&key, SPAN_ARRAY(message), signature), "sign");
	for (size_t i = 0; i < count; i++) {
		uint64_t start = clock_monotonic_ns();
		must(verify ? key_verify(&key, SPAN_ARRAY(message), SPAN_ARRAY(signature)) : key_sign(&key, SPAN_ARRAY(message), signature), "ES256");
		samples[i] = since(start);
	}
	key_free(&key);
	return bench_quantile(samples, count, 0.5);
}

static void row(const char *name, double value, double floor, double peer, const char *peer_name)
{
	bench_row(&(struct bench_row){.name = name, .value = value, .unit = "ns", .floor = floor, .peer = peer, .peer_name = peer_name});
}

struct made {
	struct bytes attest, signature;
	uint8_t values[TPM_PCRS][SHA256_SIZE], nonce[SHA256_SIZE];
};

static void quote_once(struct tpm *tpm, struct made *out)
{
	bytes_free(&out->attest);
	bytes_free(&out->signature);
	must(tpm_pcr_read(tpm, PCRS, out->values), "PCR_Read");
	must(tpm_quote(tpm, SPAN_ARRAY(out->nonce), PCRS, &out->attest, &out->signature), "Quote");
}

static void verify_once(const struct made *made, const struct tpm_public *ak)
{
	CLEANUP(platform_key_free) struct platform_key key = PLATFORM_KEY_EMPTY;
	struct pcr_value pcrs[TPM_PCRS];
	struct tpm_attest attest;
	struct tpm_quote quote = {.attest = bytes_span(&made->attest), .ak = &key, .pcrs = pcrs, .bank = TPM_SHA256, .nonce = SPAN_ARRAY(made->nonce)};
	must(tpm_public_key(ak, &key), "key");
	must(tpm_signature_parse(bytes_span(&made->signature), &quote.signature), "signature");
	for (uint8_t i = 0; i < TPM_PCRS; i++)
		if (PCRS & 1u << i)
			pcrs[quote.pcr_count++] = (struct pcr_value){TPM_SHA256, i, span_of(made->values[i], SHA256_SIZE)};
	must(tpm_quote_verify(&quote, &attest), "quote");
	must(tpm_signer_check(&attest, ak), "signer");
}

static void quotes(struct tpm *tpm, size_t count)
{
	CLEANUP(tpm_identity_free) struct tpm_identity identity = {0};
	static struct made made;
	struct tpm_public ak;
	double sign = software(count, false), verify = software(count, true);
	must(tpm_identify(tpm, &identity), "keys");
	must(tpm_public_parse(bytes_span(&identity.ak_public), &ak), "attestation key");
	for (size_t i = 0; i < count; i++) {
		uint64_t start = clock_monotonic_ns();
		quote_once(tpm, &made);
		samples[i] = since(start);
	}
	row("tpm.quote.p50", bench_quantile(samples, count, 0.5), 0, sign, "software attest");
	row("tpm.quote.p99", bench_quantile(samples, count, 0.99), 0, sign, "software attest");
	row("tpm.software_attest", sign, 0, 0, NULL);
	for (size_t i = 0; i < count; i++) {
		uint64_t start = clock_monotonic_ns();
		verify_once(&made, &ak);
		samples[i] = since(start);
	}
	row("tpm.verify_evidence", bench_quantile(samples, count, 0.5), verify, 0, NULL);
	bytes_free(&made.attest);
	bytes_free(&made.signature);
}

/* One signature of an object, as `troth dac verify --tpm-verify` has it checked. */
static void signatures(struct tpm *tpm, size_t count)
{
	struct key key = KEY_EMPTY;
	uint8_t digest[SHA256_SIZE], signature[SIGNATURE_SIZE];
	double library = software(count, true); /* uses the same samples */
	must(key_generate(&key), "key");
	sha256(span_str("message"), digest);
	must(key_sign(&key, span_str("message"), signature), "sign");
	for (size_t i = 0; i < count; i++) {
		uint64_t start = clock_monotonic_ns();
		must(tpm_verify_signature(tpm, key.point, digest, signature), "verify");
		samples[i] = since(start);
	}
	row("tpm.verify_signature", bench_quantile(samples, count, 0.5), 0, library, "OpenSSL");
	key_free(&key);
}

static void counter_and_seal(struct tpm *tpm, size_t count)
{
	CLEANUP(bytes_free) struct bytes blob = BYTES_EMPTY;
	uint8_t auth[TPM_COUNTER_AUTH_SIZE], key[32];
	uint32_t index;
	uint64_t value;
	random_bytes(auth, sizeof(auth));
	random_bytes(key, sizeof(key));
	must(tpm_seal(tpm, 1u << 7, SPAN_ARRAY(key), &blob), "seal");
	for (size_t i = 0; i < count; i++) {
		CLEANUP(secret_free) struct secret back = SECRET_EMPTY;
		uint64_t start = clock_monotonic_ns();
		must(tpm_unseal(tpm, bytes_span(&blob), &back), "unseal");
		samples[i] = since(start);
	}
	row("tpm.unseal", bench_quantile(samples, count, 0.5), 0, 0, NULL);
	if (getenv("TROTH_TPM")) {
		bench_note("tpm.count is left out: a counter of a real TPM wears out");
		return;
	}
	must(tpm_counter_define(tpm, auth, &index, &value), "counter");
	for (size_t i = 0; i < count; i++) {
		uint64_t start = clock_monotonic_ns();
		must(tpm_counter_increment(tpm, index, auth), "count");
		must(tpm_counter_read(tpm, index, auth, &value), "read");
		samples[i] = since(start);
	}
	row("tpm.count", bench_quantile(samples, count, 0.5), 0, 0, NULL);
}

static void starts(void)
{
	for (size_t i = 0; i < STARTS; i++) {
		CLEANUP(tpm_identity_free) struct tpm_identity identity = {0};
		CLEANUP(fd_close) struct fd fd = connect_tpm();
		struct tpm *tpm;
		uint64_t start = clock_monotonic_ns();
		must(tpm_open(fd.n, &tpm), "open");
		must(tpm_identify(tpm, &identity), "keys");
		samples[i] = since(start);
		tpm_close(tpm);
	}
	row("tpm.start", bench_quantile(samples, STARTS, 0.5), 0, 0, NULL);
}

int main(int argc, char **argv)
{
	struct tpm *tpm;
	bench_open(argc, argv, "tpm");
	crypto_warm_up();
	if (!getenv("TROTH_TPM") && access("/usr/bin/swtpm", X_OK) != 0) {
		bench_note("neither swtpm nor TROTH_TPM: nothing to measure");
		bench_close();
		return 0;
	}
	if (!getenv("TROTH_TPM"))
		start_simulator();
	struct fd fd = connect_tpm();
	must(tpm_open(fd.n, &tpm), "open");
	quotes(tpm, bench_quick() ? QUICK_QUOTES : QUOTES);
	signatures(tpm, bench_quick() ? QUICK_QUOTES : QUOTES);
	counter_and_seal(tpm, bench_quick() ? QUICK_QUOTES : QUOTES);
	tpm_close(tpm);
	fd_close(&fd);
	starts();
	process_free(&simulator);
	if (!getenv("TROTH_TPM"))
		must(file_remove_tree(AT_FDCWD, folder), folder);
	bench_close();
	return 0;
}
