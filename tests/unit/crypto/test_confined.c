/*
 * After crypto_warm_up no primitive needs a file or an unusual system call: proved by running all of them,
 * often enough that OpenSSL's generator reseeds itself, under a seccomp filter that kills on anything else.
 */
#include "tests.h"

#include "crypto/box.h"
#include "crypto/crypto.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "crypto/x509.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <openssl/rand.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The list that crypto/crypto.h promises, and how a process ends. */
static const long allowed[] = {
	SYS_brk, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_mremap, SYS_futex, SYS_getrandom, SYS_getpid, SYS_exit_group};

enum { EXIT_GOOD = 0, EXIT_WRONG = 1, EXIT_NO_FILTER = 2 };

static bool confine(void)
{
	enum { COUNT = COUNT_OF(allowed) };
	struct sock_filter filter[COUNT + 3];
	struct sock_fprog program = {.len = COUNT + 3, .filter = filter};

	filter[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < COUNT; i++)
		filter[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], (uint8_t)(COUNT - i), 0);
	filter[COUNT + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	filter[COUNT + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#ifndef TROTH_INSTRUMENTED
static bool every_primitive_works(void)
{
	struct key key = KEY_EMPTY, seeded = KEY_EMPTY;
	uint8_t digest[SHA512_SIZE], signature[SIGNATURE_SIZE], seed[48], box[BOX_OVERHEAD + 3];
	struct secret opened = SECRET_EMPTY, scalar = SECRET_EMPTY;
	struct bytes der = BYTES_EMPTY;
	struct arena arena = arena_of(4096);
	struct certificate certificate = CERTIFICATE_EMPTY;
	struct certificate_fields fields = {.serial = {1}, .uri = "spiffe://host/ire/name", .not_after = 1000};
	bool good = true;

	random_bytes(seed, sizeof seed);
	sha256(span_str("x"), digest);
	sha384(span_str("x"), digest);
	sha512(span_str("x"), digest);
	good = good && key_generate(&key) == OK && key_from_seed48(SPAN_ARRAY(seed), &seeded) == OK;
	good = good && key_sign(&key, span_str("x"), signature) == OK && key_verify(&key, span_str("x"), SPAN_ARRAY(signature)) == OK &&
		key_verify(&key, span_str("y"), SPAN_ARRAY(signature)) == BAD_SIGNATURE;
	good = good && key_scalar(&key, &scalar) == OK;
	good = good && box_seal(SPAN_ARRAY(key.point), "x", SPAN_EMPTY, span_str("abc"), box) == OK &&
		box_open(&key, "x", SPAN_EMPTY, SPAN_ARRAY(box), &opened) == OK;
	memcpy(fields.sign_point, key.point, POINT_SIZE);
	memcpy(fields.kem_point, key.point, POINT_SIZE);
	good = good && certificate_issue(&fields, &key, "issuer", &der) == OK &&
		certificate_parse(bytes_span(&der), &arena, &certificate) == OK && certificate_verify(&certificate, &key) == OK &&
		certificate_verify(&certificate, &seeded) != OK && certificate_valid_at(&certificate, 5000) == CERTIFICATE_EXPIRED;

	certificate_free(&certificate);
	arena_free(&arena);
	bytes_free(&der);
	secret_free(&opened);
	secret_free(&scalar);
	key_free(&key);
	key_free(&seeded);
	return good;
}

static bool generator_reseeds(void)
{
	/* OpenSSL reseeds a thread's generator from its parent after 65536 requests. */
	uint8_t out[16];
	for (int i = 0; i < 70000; i++)
		if (RAND_bytes(out, sizeof out) != 1 || (i % 1000 == 0 && RAND_priv_bytes(out, sizeof out) != 1))
			return false;
	return true;
}

static NORETURN void confined_child(void)
{
	crypto_warm_up();
	if (!confine())
		_exit(EXIT_NO_FILTER);
	for (int i = 0; i < 20; i++)
		if (!every_primitive_works())
			_exit(EXIT_WRONG);
	_exit(generator_reseeds() ? EXIT_GOOD : EXIT_WRONG);
}
#endif

static int status_of_child(void (*run)(void))
{
	int status = 0;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit no_core = {0, 0};
		setrlimit(RLIMIT_CORE, &no_core);
		run();
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void works_under_seccomp(void **state)
{
#ifdef TROTH_INSTRUMENTED
	skip(); /* sanitizers and coverage make system calls of their own */
#else
	int status = status_of_child(confined_child);
	if (WIFSIGNALED(status))
		fail_test("killed by signal %d: a system call outside the list", WTERMSIG(status));
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EXIT_GOOD);
#endif
}

static NORETURN void forbidden_child(void)
{
	if (!confine())
		_exit(EXIT_NO_FILTER);
	syscall(SYS_getppid);
	_exit(EXIT_GOOD);
}

/* The filter of this test bites: without that the test above could not fail. */
static void the_filter_kills(void **state)
{
	int status = status_of_child(forbidden_child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void random_bytes_differ(void **state)
{
	uint8_t a[32] = {0}, b[32] = {0};
	random_bytes(a, sizeof a);
	random_bytes(b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
	random_bytes(NULL, 0);
}

static void warming_up_twice_is_harmless(void **state)
{
	crypto_warm_up();
	crypto_warm_up();
	assert_string_equal(failure_text(), "");
}

int test_confined(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_bytes_differ), cmocka_unit_test(the_filter_kills), cmocka_unit_test(works_under_seccomp),
		cmocka_unit_test(warming_up_twice_is_harmless), /* last: see main.c about forks */
	};
	return cmocka_run_group_tests_name("confined", tests, NULL, NULL);
}
