/* Where the wrap key comes from, and the keys of an epoch from its seed. */
#include "../expect.h"

#include <errno.h>
#include <linux/keyctl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "groups.h"
#include "root/rot_keys.h"
#include "root/wrap.h"
#include "wire/text.h"

static char folder[PATH_SIZE];

static int make_folder(void **unused)
{
	snprintf(folder, sizeof(folder), "/tmp/troth-wrap-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static const char *at(const char *name)
{
	static char path[PATH_SIZE];
	expect_ok(path_join(path, folder, name));
	return path;
}

static int drop_folder(void **unused)
{
	unlink(at("wrap.key"));
	unlink(at("wrap.kind"));
	unlink(at("wrap.salt"));
	unlink(at("troth-wrap"));
	return rmdir(folder);
}

static result obtain(enum wrap_kind kind, int fd, bool create, struct secret *out)
{
	struct wrap_source source = {kind, fd};
	enum wrap_kind got;
	secret_free(out);
	result obtained = wrap_key_obtain(folder, &source, create, out, &got);
	if (obtained == OK) {
		assert_int_equal(out->len, WRAP_KEY_SIZE);
		if (kind != WRAP_UNSAID)
			assert_int_equal(got, kind);
	}
	return obtained;
}

static void kinds_have_names(void **unused)
{
	static const enum wrap_kind kinds[] = {WRAP_FILE, WRAP_KEYRING, WRAP_CREDENTIAL, WRAP_PASSPHRASE};
	enum wrap_kind kind = WRAP_UNSAID;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		expect_ok(wrap_kind_parse(wrap_kind_name(kinds[i]), &kind));
		assert_int_equal(kind, kinds[i]);
	}
	assert_int_not_equal(wrap_kind_parse("", &kind), OK);
	expect_ok(wrap_kind_parse("tpm", &kind));
	assert_int_equal(kind, WRAP_TPM);
	assert_int_not_equal(wrap_kind_parse("disk", &kind), OK);
}

static void a_file_is_made_once(void **unused)
{
	CLEANUP(secret_free) struct secret first = SECRET_EMPTY, again = SECRET_EMPTY;
	struct stat st;
	expect(obtain(WRAP_FILE, -1, false, &first), NO_WRAP_KEY);
	expect_ok(obtain(WRAP_FILE, -1, true, &first));
	expect_ok(obtain(WRAP_UNSAID, -1, false, &again));
	expect_span(secret_span(&again), secret_span(&first));
	expect_ok(obtain(WRAP_UNSAID, -1, true, &again));
	expect_span(secret_span(&again), secret_span(&first));
	assert_int_equal(stat(at("wrap.key"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	/* The kind is fixed. */
	expect(obtain(WRAP_PASSPHRASE, -1, false, &again), USAGE);
	expect_ok(file_write_atomic(at("wrap.key"), span_str("short"), 0600));
	assert_int_not_equal(obtain(WRAP_FILE, -1, false, &again), OK);
}

static int pipe_with(const char *text)
{
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], text, strlen(text)), (ssize_t)strlen(text));
	close(ends[1]);
	return ends[0];
}

static result obtain_with(const char *passphrase, bool create, struct secret *out)
{
	int fd = pipe_with(passphrase);
	result obtained = obtain(WRAP_PASSPHRASE, fd, create, out);
	close(fd);
	return obtained;
}

static void a_passphrase_is_stretched(void **unused)
{
	CLEANUP(secret_free) struct secret first = SECRET_EMPTY, again = SECRET_EMPTY;
	expect(obtain(WRAP_PASSPHRASE, -1, true, &first), NO_WRAP_KEY);
	expect(obtain_with("\n", true, &first), NO_WRAP_KEY);
	expect_ok(obtain_with("correct horse\n", true, &first));
	expect_ok(obtain_with("correct horse", false, &again));
	expect_span(secret_span(&again), secret_span(&first));
	expect_ok(obtain_with("correct horse ", false, &again));
	assert_false(span_equal(secret_span(&again), secret_span(&first)));
	/* Another salt, another key; a damaged one is told. */
	expect_ok(file_write_atomic(at("wrap.salt"), span_str("short"), 0600));
	expect(obtain_with("correct horse", false, &again), NO_WRAP_KEY);
	assert_int_equal(access(at("wrap.key"), F_OK), -1);
}

static void a_credential_is_read(void **unused)
{
	CLEANUP(secret_free) struct secret got = SECRET_EMPTY;
	uint8_t key[WRAP_KEY_SIZE];
	memset(key, 0x42, sizeof(key));
	unsetenv("CREDENTIALS_DIRECTORY");
	expect(obtain(WRAP_CREDENTIAL, -1, true, &got), NO_WRAP_KEY);
	setenv("CREDENTIALS_DIRECTORY", folder, 1);
	expect(obtain(WRAP_CREDENTIAL, -1, true, &got), NO_WRAP_KEY);
	expect_ok(file_write_atomic(at("troth-wrap"), SPAN_ARRAY(key), 0600));
	expect_ok(obtain(WRAP_CREDENTIAL, -1, true, &got));
	expect_span(secret_span(&got), SPAN_ARRAY(key));
	unsetenv("CREDENTIALS_DIRECTORY");
}

static void the_keyring_keeps_a_key(void **unused)
{
	CLEANUP(secret_free) struct secret first = SECRET_EMPTY, again = SECRET_EMPTY;
	result obtained = obtain(WRAP_KEYRING, -1, true, &first);
	/* Where the kernel or a filter refuses keyrings, that is said, and nothing else is used in their place. */
	if (obtained != OK) {
		assert_int_equal(access(at("wrap.key"), F_OK), -1);
		return;
	}
	expect_ok(obtain(WRAP_KEYRING, -1, false, &again));
	expect_span(secret_span(&again), secret_span(&first));
	char description[PATH_SIZE + 16];
	snprintf(description, sizeof(description), "troth:%s", folder);
	long id = syscall(SYS_request_key, "user", description, NULL, KEY_SPEC_USER_KEYRING);
	assert_true(id > 0);
	assert_int_equal(syscall(SYS_keyctl, KEYCTL_UNLINK, id, KEY_SPEC_USER_KEYRING), 0);
	expect(obtain(WRAP_KEYRING, -1, false, &again), NO_WRAP_KEY);
}

/* RO-16: whichever step fails, no key is handed out that the disk does not hold. */
static void failing_steps_lose_nothing(void **unused)
{
	for (unsigned step = 1; step < 60; step++) {
		CLEANUP(secret_free) struct secret made = SECRET_EMPTY, found = SECRET_EMPTY;
		unlink(at("wrap.key"));
		unlink(at("wrap.kind"));
		fault_arm(NULL, step, ENOSPC, false);
		result obtained = obtain(WRAP_FILE, -1, true, &made);
		bool hit = fault_disarm() > 0;
		if (obtained == OK) {
			expect_ok(obtain(WRAP_UNSAID, -1, false, &found));
			expect_span(secret_span(&found), secret_span(&made));
		} else {
			assert_null(made.data);
		}
		if (!hit)
			return;
	}
	fail_msg("the sweep did not end");
}

/* ---- Seeds --------------------------------------------------------------------------------------- */

static void expect_hex(const void *got, const char *hex)
{
	uint8_t expected[128];
	size_t len = strlen(hex) / 2;
	expect_ok(hex_decode(span_str(hex), expected, len));
	expect_span(span_of(got, len), span_of(expected, len));
}

static struct secret counted_seed(void)
{
	struct secret seed = SECRET_EMPTY;
	expect_ok(secret_new(ROT_SEED_SIZE, &seed));
	for (size_t i = 0; i < seed.len; i++)
		seed.data[i] = (uint8_t)i;
	return seed;
}

/* The vector of docs/PROTOCOL.root, computed by other code. */
static void a_seed_gives_the_keys_of_the_page(void **unused)
{
	CLEANUP(secret_free) struct secret seed = counted_seed(), scalar = SECRET_EMPTY;
	CLEANUP(rot_keys_free) struct rot_keys keys = {0};
	expect_ok(rot_keys_from_seed(&seed, &keys));
	expect_hex(keys.sign.point, "04b46168561d7446b3c4945c4086f8f481151e924af2f983d05d19bc24bf37c78f"
				    "0fc2cef419773679d7006384df3e8ffe071aa985bab6d10086458780398ac8e2");
	expect_hex(keys.kem.point, "04e8da906d6d68336c54227fd2abeca6fda128113a4711bf5d786c867457dc0e64"
				   "b42c3cd9e78cce547a2ccbcc779c4c7f78ebb1487f565fe9cbc807ace006b61f");
	expect_hex(keys.salt, "be73fe1d722b3dd760ff976b27b524e69215d2058e0663a1f1219ecce92df696");
	expect_hex(keys.epoch_secret.data, "cd04798093a1c8ce324ccf01ef8d59f0999c764a28cfc87c10b8d9276d9f86bd");
	expect_ok(key_scalar(&keys.sign, &scalar));
	expect_hex(scalar.data, "f568ed3290b49fc1793b562060923f83aec9a9e3293613b18fe93578216f2691");
}

static void wrapped_state_opens_with_the_same_keys_only(void **unused)
{
	static const char page[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
				   "1ce114561e89a5a3b6baec0df8c8c912b9d00eafd874c5c3916bd1ec3efd2bf282cbe9443506c59703a29eaa465486bb";
	CLEANUP(secret_free) struct secret seed = counted_seed(), wrap = SECRET_EMPTY, out = SECRET_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(1024);
	uint8_t share[32], fixed[sizeof(page) / 2];
	memset(share, 9, sizeof(share));
	expect_ok(secret_new(WRAP_KEY_SIZE, &wrap));
	memset(wrap.data, 0x5a, wrap.len);
	/* The page's bytes open. */
	expect_ok(hex_decode(span_str(page), fixed, sizeof(fixed)));
	expect_ok(state_unwrap(&wrap, SPAN_ARRAY(share), "next seed", SPAN_ARRAY(fixed), &out));
	expect_span(secret_span(&out), secret_span(&seed));
	secret_free(&out);
	/* What is wrapped here opens, and two wrappings differ. */
	expect_ok(state_wrap(&wrap, SPAN_ARRAY(share), "next seed", secret_span(&seed), &w));
	size_t first = w.len;
	expect_ok(state_wrap(&wrap, SPAN_ARRAY(share), "next seed", secret_span(&seed), &w));
	assert_false(span_equal(span_of(w.data, first), span_of(w.data + first, first)));
	expect_ok(state_unwrap(&wrap, SPAN_ARRAY(share), "next seed", span_of(w.data, first), &out));
	expect_span(secret_span(&out), secret_span(&seed));
	secret_free(&out);
	/* Another label, share or wrap key; every flipped bit; every cut. */
	expect(state_unwrap(&wrap, SPAN_ARRAY(share), "seed", span_of(w.data, first), &out), BAD_TAG);
	expect(state_unwrap(&wrap, SPAN_EMPTY, "next seed", span_of(w.data, first), &out), BAD_TAG);
	for (size_t bit = 0; bit < 8 * first; bit++) {
		w.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		expect(state_unwrap(&wrap, SPAN_ARRAY(share), "next seed", span_of(w.data, first), &out), BAD_TAG);
		w.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t len = 0; len < first; len++)
		assert_int_not_equal(state_unwrap(&wrap, SPAN_ARRAY(share), "next seed", span_of(w.data, len), &out), OK);
	wrap.data[0] ^= 1;
	expect(state_unwrap(&wrap, SPAN_ARRAY(share), "next seed", span_of(w.data, first), &out), BAD_TAG);
	assert_null(out.data);
}

/* RO-08: the host's part of the seed does not decide it. */
static void the_host_alone_does_not_choose_the_seed(void **unused)
{
	uint8_t host[32] = {0};
	CLEANUP(secret_free) struct secret one = SECRET_EMPTY, two = SECRET_EMPTY, none = SECRET_EMPTY;
	expect_ok(rot_seed_new(SPAN_ARRAY(host), &one));
	expect_ok(rot_seed_new(SPAN_ARRAY(host), &two));
	expect_ok(rot_seed_new(SPAN_EMPTY, &none));
	assert_int_equal(one.len, ROT_SEED_SIZE);
	assert_false(span_equal(secret_span(&one), secret_span(&two)));
	assert_false(span_equal(secret_span(&one), secret_span(&none)));
}

int test_wrap(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_have_names),
		cmocka_unit_test_setup_teardown(a_file_is_made_once, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(a_passphrase_is_stretched, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(a_credential_is_read, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(the_keyring_keeps_a_key, make_folder, drop_folder),
		cmocka_unit_test_setup_teardown(failing_steps_lose_nothing, make_folder, drop_folder),
		cmocka_unit_test(a_seed_gives_the_keys_of_the_page),
		cmocka_unit_test(wrapped_state_opens_with_the_same_keys_only),
		cmocka_unit_test(the_host_alone_does_not_choose_the_seed),
	};
	return cmocka_run_group_tests_name("wrap", tests, NULL, NULL);
}
