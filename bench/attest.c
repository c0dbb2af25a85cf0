/*
 * A signed answer to a challenge, through the queue, from the confined secure processor that the host starts.
 * Floor: one P-256 signature in this process. Peers: none that answers the same question is in Debian without a TPM.
 */
#include "bench.h"

#include "base/clock.h"
#include "base/file.h"
#include "crypto/crypto.h"
#include "crypto/random.h"
#include "root/host.h"
#include "root/tcb.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLES = 20000, QUICK_SAMPLES = 2000, AP_UID = 612345 };
static double asked[SAMPLES], signed_alone[SAMPLES];

static struct root_host *start(const char *state)
{
	char programs[PATH_SIZE];
	struct root_host *host;
	BENCH_REQUIRE(program_folder(programs, sizeof(programs)) == OK);
	strncat(programs, "/../src/cmd", sizeof(programs) - strlen(programs) - 1);
	struct root_host_config config = {.state_dir = state, .program_dir = programs, .ap_uid = geteuid() == 0 ? AP_UID : 0};
	result started = root_host_start(&config, &host);
	if (started != OK)
		fprintf(stderr, "%s: %s\n", reason_name(started), failure_text());
	BENCH_REQUIRE(started == OK);
	struct root_host_init init = {.valid_ms = 86400000, .grace_s = 60, .trust_domain = "troth.internal"};
	BENCH_REQUIRE(root_host_init(host, &init) == OK);
	return host;
}

static double ask(struct root_host *host)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 * 1024);
	struct ap_attest request = {.purpose = "bench"};
	struct ap_rot_available reply;
	random_bytes(request.challenge, sizeof(request.challenge));
	uint64_t start_ns = clock_monotonic_ns();
	BENCH_REQUIRE(root_host_call(host, IPQ_ATTEST, &ap_attest_schema, &request, &ap_rot_available_schema, &arena, &reply) == OK);
	return (double)(clock_monotonic_ns() - start_ns);
}

int main(int argc, char **argv)
{
	bench_open(argc, argv, "attest");
	crypto_warm_up();
	char state[] = "/tmp/troth-bench-XXXXXX";
	size_t samples = bench_quick() ? QUICK_SAMPLES : SAMPLES;
	struct key key = KEY_EMPTY;
	uint8_t message[700] = {0}, signature[SIGNATURE_SIZE];
	BENCH_REQUIRE(mkdtemp(state) && key_generate(&key) == OK);
	struct root_host *host = start(state);
	for (size_t i = 0; i < samples; i++) {
		asked[i] = ask(host);
		uint64_t start_ns = clock_monotonic_ns();
		BENCH_REQUIRE(key_sign(&key, SPAN_ARRAY(message), signature) == OK);
		signed_alone[i] = (double)(clock_monotonic_ns() - start_ns);
	}
	root_host_stop(host);
	key_free(&key);
	BENCH_REQUIRE(file_remove_tree(AT_FDCWD, state) == OK);
	double floor = bench_quantile(signed_alone, samples, 0.5);
	bench_row(&(struct bench_row){"attest.p50", bench_quantile(asked, samples, 0.5), "ns", floor, 0, NULL});
	bench_row(&(struct bench_row){"attest.p99", bench_quantile(asked, samples, 0.99), "ns",
		bench_quantile(signed_alone, samples, 0.99), 0, NULL});
	bench_close();
	return 0;
}
