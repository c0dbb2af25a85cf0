/*
 * Signatures by a key in a token (SoftHSM2, in a folder of the working folder's disk) through troth-token, beside the same in
 * this process.
 *
 *   token.sign      one ES256 signature, checked against the public half before it is given out, handle remembered.
 *                   Floor: signature and check in this process. Peer: the token's own work, by its module in this process
 *   token.find      a key that is looked up anew among `KEYS` (one start of the token each): why handles are remembered
 *   token.generate  a key pair in the token: what a rotation makes ahead. Floor: one in this process
 *   token.start     until a worker has loaded its module, confined itself and logged in
 *
 * TROTH_TOKEN names troth-token; without it the one beside this program's build is used.
 */
#include "bench.h"

#include "base/clock.h"
#include "base/file.h"
#include "crypto/crypto.h"
#include "crypto/token.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <p11-kit/pkcs11.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIGNATURES = 2000, QUICK_SIGNATURES = 200, KEYS = 300, QUICK_KEYS = 30, STARTS = 10 };

static double samples[SIGNATURES];
static char folder[] = "bench-token-XXXXXX";
static char conf_variable[PATH_SIZE + 32], tokens[PATH_SIZE];
static const char *module_path;

static void must(result done, const char *what)
{
	if (done == OK)
		return;
	fprintf(stderr, "%s: %s: %s\n", what, reason_name(done), failure_text());
	exit(1);
}

static double median(size_t count)
{
	return bench_quantile(samples, count, 0.5);
}

/* ---- a token ---- */

static void run(const char *const *argv, const char *const *env)
{
	struct fd nothing = FD_NONE;
	struct process process = PROCESS_NONE;
	struct process_end end;
	must(file_open("/dev/null", O_RDWR, 0, &nothing), "/dev/null");
	struct process_fd fds[] = {{nothing.n, 0}, {nothing.n, 1}, {2, 2}};
	struct process_spec spec = {.path = argv[0], .argv = argv, .env = env, .fds = fds, .fd_count = COUNT_OF(fds)};
	must(process_start(&spec, &process), argv[0]);
	must(process_wait(&process, 60000, &end), argv[0]);
	BENCH_REQUIRE(end.exited && end.code == 0);
	fd_close(&nothing);
}

static void make_token(void)
{
	static const char *const places[] = {"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
		"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"};
	char here[PATH_SIZE / 2], conf[PATH_SIZE], text[PATH_SIZE + 128];
	for (size_t i = 0; i < COUNT_OF(places) && !module_path; i++)
		if (access(places[i], R_OK) == 0)
			module_path = places[i];
	BENCH_REQUIRE(module_path); /* apt-get install softhsm2 */
	BENCH_REQUIRE(mkdtemp(folder) && getcwd(here, sizeof(here)));
	snprintf(tokens, sizeof(tokens), "%s/%s/tokens", here, folder);
	snprintf(conf, sizeof(conf), "%s/%s/conf", here, folder);
	BENCH_REQUIRE(mkdir(tokens, 0700) == 0);
	snprintf(text, sizeof(text), "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens);
	must(file_write_atomic(conf, span_str(text), 0600), conf);
	snprintf(conf_variable, sizeof(conf_variable), "SOFTHSM2_CONF=%s", conf);
	BENCH_REQUIRE(setenv("SOFTHSM2_CONF", conf, 1) == 0);
	const char *const argv[] = {"/usr/bin/softhsm2-util", "--init-token", "--free", "--label", "bench", "--so-pin", "87654321", "--pin", "123456",
		NULL};
	const char *const env[] = {conf_variable, NULL};
	run(argv, env);
}

static struct token *start(void)
{
	static char program[PATH_SIZE];
	const char *named = getenv("TROTH_TOKEN");
	const char *const env[] = {conf_variable, NULL}, *const writable[] = {tokens, NULL};
	struct token *token;
	if (named) {
		snprintf(program, sizeof(program), "%s", named);
	} else {
		ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 32);
		BENCH_REQUIRE(len > 0);
		program[len] = '\0';
		for (int up = 0; up < 2; up++)
			*strrchr(program, '/') = '\0';
		memcpy(program + strlen(program), "/src/cmd/troth-token", sizeof("/src/cmd/troth-token"));
	}
	struct token_config config = {.program = program, .module = module_path, .label = "bench", .pin = span_str("123456"), .writable = writable,
		.environment = env};
	must(token_start(&config, &token), program);
	return token;
}

static struct token_name name_of(unsigned number)
{
	struct token_name name = {.id = {(uint8_t)(number >> 8), (uint8_t)number}, .id_len = 2};
	snprintf(name.label, sizeof(name.label), "key %u", number);
	return name;
}

/* ---- figures ---- */

static double in_process(size_t count, double *out_generate)
{
	struct key key = KEY_EMPTY;
	uint8_t signature[SIGNATURE_SIZE];
	for (size_t i = 0; i < count; i++) {
		key_free(&key);
		uint64_t begin = clock_monotonic_ns();
		must(key_generate(&key), "key");
		samples[i] = (double)(clock_monotonic_ns() - begin);
	}
	*out_generate = median(count);
	for (size_t i = 0; i < count; i++) {
		uint64_t begin = clock_monotonic_ns();
		must(key_sign(&key, SPAN_ARRAY(key.point), signature), "sign");
		must(key_verify(&key, SPAN_ARRAY(key.point), SPAN_ARRAY(signature)), "verify");
		samples[i] = (double)(clock_monotonic_ns() - begin);
	}
	key_free(&key);
	return median(count);
}

static double through_worker(struct token *token, size_t count)
{
	struct key key = KEY_EMPTY;
	struct token_name name = name_of(0);
	uint8_t signature[SIGNATURE_SIZE];
	must(token_key(token, &name, &key), "key");
	for (size_t i = 0; i < count; i++) {
		uint64_t begin = clock_monotonic_ns();
		must(key_sign(&key, SPAN_ARRAY(key.point), signature), "sign");
		samples[i] = (double)(clock_monotonic_ns() - begin);
	}
	key_free(&key);
	return median(count);
}

/* The module in this process, without Troth: C_SignInit and C_Sign with a handle that is known. */
static double by_the_module(size_t count)
{
	CK_FUNCTION_LIST *f = NULL;
	CK_C_GetFunctionList get = NULL;
	CK_SLOT_ID slots[8];
	CK_ULONG found = COUNT_OF(slots), objects = 0;
	CK_SESSION_HANDLE session = 0;
	CK_OBJECT_HANDLE key = 0;
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	uint8_t id[2] = {0}, pin[] = "123456", digest[32] = {1}, signature[64];
	CK_ATTRIBUTE query[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_ID, id, sizeof(id)}};
	CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
	void *library = dlopen(module_path, RTLD_NOW | RTLD_LOCAL);
	void *symbol = library ? dlsym(library, "C_GetFunctionList") : NULL;
	memcpy(&get, &symbol, sizeof(get));
	BENCH_REQUIRE(get && get(&f) == CKR_OK && f->C_Initialize(NULL) == CKR_OK);
	BENCH_REQUIRE(f->C_GetSlotList(CK_TRUE, slots, &found) == CKR_OK && found > 0);
	BENCH_REQUIRE(f->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session) == CKR_OK);
	BENCH_REQUIRE(f->C_Login(session, CKU_USER, pin, 6) == CKR_OK);
	BENCH_REQUIRE(f->C_FindObjectsInit(session, query, COUNT_OF(query)) == CKR_OK);
	BENCH_REQUIRE(f->C_FindObjects(session, &key, 1, &objects) == CKR_OK && objects == 1 && f->C_FindObjectsFinal(session) == CKR_OK);
	for (size_t i = 0; i < count; i++) {
		CK_ULONG len = sizeof(signature);
		uint64_t begin = clock_monotonic_ns();
		BENCH_REQUIRE(f->C_SignInit(session, &mechanism, key) == CKR_OK);
		BENCH_REQUIRE(f->C_Sign(session, digest, sizeof(digest), signature, &len) == CKR_OK);
		samples[i] = (double)(clock_monotonic_ns() - begin);
	}
	BENCH_REQUIRE(f->C_Finalize(NULL) == CKR_OK);
	return median(count);
}

static double generate(struct token *token, unsigned from, unsigned count)
{
	struct token_key made;
	for (unsigned i = 0; i < count; i++) {
		struct token_name name = name_of(from + i);
		uint64_t begin = clock_monotonic_ns();
		must(token_generate(token, &name, TOKEN_SIGNS, &made), "generate");
		samples[i] = (double)(clock_monotonic_ns() - begin);
	}
	return median(count);
}

/* Each key once: none of them is remembered. */
static double look_up(struct token *token, unsigned count)
{
	struct token_key found;
	for (unsigned i = 0; i < count; i++) {
		struct token_name name = name_of(i);
		uint64_t begin = clock_monotonic_ns();
		must(token_find(token, &name, &found), "find");
		samples[i] = (double)(clock_monotonic_ns() - begin);
	}
	return median(count);
}

static double starts(size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t begin = clock_monotonic_ns();
		struct token *token = start();
		samples[i] = (double)(clock_monotonic_ns() - begin);
		token_free(token);
	}
	return median(count);
}

int main(int argc, char **argv)
{
	bench_open(argc, argv, "token");
	size_t signatures = bench_quick() ? QUICK_SIGNATURES : SIGNATURES;
	unsigned keys = bench_quick() ? QUICK_KEYS : KEYS;
	double made_here;
	make_token();
	struct token *token = start();
	double made = generate(token, 0, 20);
	double here = in_process(signatures, &made_here);
	double there = through_worker(token, signatures), module = by_the_module(signatures);
	bench_row(&(struct bench_row){"token.sign", there / 1e3, "us", here / 1e3, module / 1e3, "SoftHSM2 itself"});
	bench_row(&(struct bench_row){"token.generate", made / 1e6, "ms", made_here / 1e6, 0, NULL});
	(void)generate(token, 20, keys - 20);
	token_free(token);
	token = start();
	bench_row(&(struct bench_row){"token.find", look_up(token, keys) / 1e6, "ms", 0, 0, NULL});
	token_free(token);
	bench_row(&(struct bench_row){"token.start", starts(STARTS) / 1e6, "ms", 0, 0, NULL});
	must(file_remove_tree(AT_FDCWD, folder), folder);
	bench_close();
	return 0;
}
