/*
 * Keys in a token, through the real troth-token and SoftHSM2. Each test makes a token folder of its own and removes it.
 * TROTH_TOKEN, TROTH_FAULTY_MODULE and TROTH_NO_MODULE come from the build.
 */
#include "tests.h"

#include "../tsan.h"

#include "base/file.h"
#include "base/sock.h"
#include "base/clock.h"
#include "crypto/crypto.h"
#include "crypto/token_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const module_places[] = {"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"};

struct bench {
	char folder[64], tokens[80], configuration[96], control[80], log[128];
	char env[5][160];
	const char *environment[6], *writable[2], *hidden[2];
	const char *real;
	struct token *token;
};

static const char *must_have(const char *variable)
{
	const char *value = getenv(variable);
	if (!value)
		fail_test("%s is not set: run this through meson test", variable);
	return value;
}

static const char *softhsm(void)
{
	for (size_t i = 0; i < COUNT_OF(module_places); i++)
		if (access(module_places[i], R_OK) == 0)
			return module_places[i];
	fail_test("SoftHSM2 is not installed: tools/install-deps test");
	return NULL;
}

static void write_text(const char *path, const char *text)
{
	assert_ok(file_write_atomic(path, span_str(text), 0600));
}

static void new_token(const struct bench *b, const char *label)
{
	const char *const argv[] = {"softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "87654321", "--pin", "123456", NULL};
	struct fd nothing = FD_NONE;
	assert_ok(file_open("/dev/null", O_RDWR, 0, &nothing));
	struct process_fd fds[] = {{nothing.n, 0}, {nothing.n, 1}, {2, 2}};
	struct process_spec spec = {.path = "/usr/bin/softhsm2-util", .argv = argv, .env = b->environment, .fds = fds, .fd_count = 3};
	struct process process = PROCESS_NONE;
	struct process_end end;
	assert_ok(process_start(&spec, &process));
	assert_ok(process_wait(&process, 20000, &end));
	assert_true(end.exited && end.code == 0);
	fd_close(&nothing);
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	assert_non_null(b);
	char text[256];
	snprintf(b->folder, sizeof(b->folder), "/tmp/troth-token-XXXXXX");
	assert_non_null(mkdtemp(b->folder));
	snprintf(b->tokens, sizeof(b->tokens), "%s/tokens", b->folder);
	snprintf(b->configuration, sizeof(b->configuration), "%s/softhsm2.conf", b->folder);
	snprintf(b->control, sizeof(b->control), "%s/control", b->folder);
	snprintf(b->log, sizeof(b->log), "%s/faulty.log", b->tokens);
	assert_int_equal(mkdir(b->tokens, 0700), 0);
	snprintf(text, sizeof(text), "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", b->tokens);
	write_text(b->configuration, text);
	write_text(b->control, "none none 0\n");
	b->real = softhsm();
	snprintf(b->env[0], sizeof(b->env[0]), "SOFTHSM2_CONF=%s", b->configuration);
	snprintf(b->env[1], sizeof(b->env[1]), "FAULTY_REAL=%s", b->real);
	snprintf(b->env[2], sizeof(b->env[2]), "FAULTY_CONTROL=%s", b->control);
	snprintf(b->env[3], sizeof(b->env[3]), "FAULTY_LOG=%s", b->log);
	for (size_t i = 0; i < 4; i++)
		b->environment[i] = b->env[i];
	b->writable[0] = b->tokens;
	new_token(b, "troth test");
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;
	token_free(b->token);
	assert_ok(file_remove_tree(AT_FDCWD, b->folder));
	free(b);
	return 0;
}

static struct token_config config_of(const struct bench *b, bool faulty)
{
	return (struct token_config){
		.program = must_have("TROTH_TOKEN"),
		.module = faulty ? must_have("TROTH_FAULTY_MODULE") : b->real,
		.label = "troth test",
		.pin = span_str("123456"),
		.writable = b->writable,
		.environment = b->environment,
		.timeout_ms = 20000,
	};
}

static struct token *start(struct bench *b, bool faulty)
{
	struct token_config config = config_of(b, faulty);
	assert_ok(token_start(&config, &b->token));
	return b->token;
}

static struct token_name name_of(const char *id, const char *label)
{
	struct token_name name;
	assert_ok(token_name_from_text(id, label, &name));
	return name;
}

static size_t count_lines(const struct bench *b, const char *beginning)
{
	struct bytes text = BYTES_EMPTY;
	size_t count = 0, len = strlen(beginning);
	if (file_read(b->log, 1 << 20, &text) != OK)
		return 0;
	for (size_t at = 0; at < text.len;) {
		const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
		size_t line = end ? (size_t)(end - text.data) - at : text.len - at;
		count += line >= len && memcmp(text.data + at, beginning, len) == 0;
		at += line + 1;
	}
	bytes_free(&text);
	return count;
}

/* ---- a key's life ---- */

static void a_key_is_made_used_and_destroyed(void **state)
{
	struct token *token = start(*state, false);
	struct token_name name = name_of("0a0b0c", "first"), by_label = name_of(NULL, "first"), by_id = name_of("0a0b0c", NULL);
	struct token_key made, found;
	uint8_t digest[SHA256_SIZE], signature[SIGNATURE_SIZE];
	struct key public = KEY_EMPTY;
	assert_result(token_find(token, &by_label, &found), NOT_FOUND);
	assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	assert_int_equal(made.abilities, TOKEN_SIGNS | TOKEN_KEEPS | TOKEN_MADE);
	assert_ok(token_find(token, &by_label, &found));
	assert_memory_equal(found.point, made.point, POINT_SIZE);
	assert_true(token_name_equal(&found.name, &name));
	assert_ok(key_from_point(SPAN_ARRAY(made.point), &public));
	sha256(span_str("message"), digest);
	assert_ok(token_sign(token, &by_id, digest, signature));
	assert_ok(key_verify(&public, span_str("message"), SPAN_ARRAY(signature)));
	assert_result(key_verify(&public, span_str("massage"), SPAN_ARRAY(signature)), BAD_SIGNATURE);
	assert_result(token_generate(token, &name, TOKEN_SIGNS, &found), ALREADY_EXISTS);
	assert_ok(token_destroy(token, &by_id));
	assert_result(token_sign(token, &by_id, digest, signature), NOT_FOUND);
	assert_result(token_destroy(token, &by_id), NOT_FOUND);
	assert_result(token_find(token, &by_label, &found), NOT_FOUND);
	key_free(&public);
}

static void a_key_of_the_token_is_a_key_like_others(void **state)
{
	struct bench *b = *state;
	struct token *token = start(b, false);
	struct token_name name = name_of("01", "signer");
	struct token_key made;
	struct key key = KEY_EMPTY, none = KEY_EMPTY;
	struct secret scalar = SECRET_EMPTY;
	uint8_t signature[SIGNATURE_SIZE], shared[ECDH_SIZE];
	assert_result(token_key(token, &name, &none), NOT_FOUND);
	assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	assert_ok(token_key(token, &name, &key));
	/* The key holds its own share of the token. */
	token_free(b->token);
	b->token = NULL;
	assert_ok(key_sign(&key, span_str("message"), signature));
	assert_ok(key_verify(&key, span_str("message"), SPAN_ARRAY(signature)));
	assert_result(key_scalar(&key, &scalar), BAD_KEY);
	assert_result(key_agree(&key, SPAN_ARRAY(key.point), shared), BAD_KEY);
	key_free(&key);
}

static void a_key_agrees(void **state)
{
	struct token *token = start(*state, false);
	struct token_name name = name_of("02", "agrees"), signer = name_of("03", "signs only");
	struct token_key made;
	struct key key = KEY_EMPTY, peer = KEY_EMPTY;
	uint8_t here[ECDH_SIZE], there[ECDH_SIZE];
	assert_ok(key_generate(&peer));
	assert_ok(token_generate(token, &name, TOKEN_AGREES, &made));
	assert_ok(token_key(token, &name, &key));
	assert_ok(key_agree(&key, SPAN_ARRAY(peer.point), here));
	assert_ok(key_agree(&peer, SPAN_ARRAY(made.point), there));
	assert_memory_equal(here, there, ECDH_SIZE);
	/* One that may only sign does not agree, and the other way round. */
	assert_ok(token_generate(token, &signer, TOKEN_SIGNS, &made));
	assert_int_not_equal(token_agree(token, &signer, peer.point, here), OK);
	assert_int_not_equal(token_sign(token, &name, here, (uint8_t[SIGNATURE_SIZE]){0}), OK);
	key_free(&key);
	key_free(&peer);
}

static void keys_are_listed_over_several_pages(void **state)
{
	struct token *token = start(*state, false);
	struct token_key made, *keys = NULL;
	size_t count = 99;
	assert_ok(token_list(token, &keys, &count));
	assert_int_equal(count, 0);
	free(keys);
	for (unsigned i = 0; i < TOKEN_LIST_MAX + 3; i++) {
		char id[8], label[16];
		snprintf(id, sizeof(id), "%04x", i);
		snprintf(label, sizeof(label), "key %u", i);
		struct token_name name = name_of(id, label);
		assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	}
	assert_ok(token_list(token, &keys, &count));
	assert_int_equal(count, TOKEN_LIST_MAX + 3);
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < i; j++)
			assert_false(token_name_equal(&keys[i].name, &keys[j].name));
	free(keys);
	/* One label for two keys is no name. */
	struct token_name again = name_of("ffff", "key 1"), label = name_of(NULL, "key 1"), both = name_of("0001", "key 1");
	assert_ok(token_generate(token, &again, TOKEN_SIGNS, &made));
	assert_result(token_find(token, &label, &made), BAD_VALUE);
	assert_ok(token_find(token, &both, &made));
}

static void random_bytes_differ(void **state)
{
	struct token *token = start(*state, false);
	uint8_t a[TOKEN_RANDOM_MAX] = {0}, b[TOKEN_RANDOM_MAX] = {0};
	assert_ok(token_random(token, a, sizeof(a)));
	assert_ok(token_random(token, b, sizeof(b)));
	assert_memory_not_equal(a, b, 32);
	assert_memory_not_equal(a + sizeof(a) - 32, b, 32);
	assert_result(token_random(token, a, sizeof(a) + 1), BAD_VALUE);
	assert_result(token_random(token, a, 0), BAD_VALUE);
}

static void keys_survive_the_worker(void **state)
{
	struct bench *b = *state;
	struct token_name name = name_of("77", "stays");
	struct token_key made, found;
	assert_ok(token_generate(start(b, false), &name, TOKEN_SIGNS, &made));
	token_free(b->token);
	assert_ok(token_find(start(b, false), &name, &found));
	assert_memory_equal(found.point, made.point, POINT_SIZE);
}

struct signer {
	struct key key;
	pthread_t thread;
	unsigned good;
};

static void *sign_many(void *arg)
{
	struct signer *signer = arg;
	uint8_t signature[SIGNATURE_SIZE];
	for (unsigned i = 0; i < 25; i++)
		signer->good += key_sign(&signer->key, span_of(&i, sizeof(i)), signature) == OK;
	return NULL;
}

static void several_threads_sign(void **state)
{
	struct token *token = start(*state, false);
	struct token_name name = name_of("09", "shared");
	struct token_key made;
	struct signer signers[4] = {0};
	assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	for (size_t i = 0; i < COUNT_OF(signers); i++) {
		assert_ok(token_key(token, &name, &signers[i].key));
		assert_int_equal(pthread_create(&signers[i].thread, NULL, sign_many, &signers[i]), 0);
	}
	for (size_t i = 0; i < COUNT_OF(signers); i++) {
		pthread_join(signers[i].thread, NULL);
		assert_int_equal(signers[i].good, 25);
		key_free(&signers[i].key);
	}
}

/* ---- starts that fail ---- */

static result try_start(struct bench *b, struct token_config config)
{
	struct token *token = NULL;
	result started = token_start(&config, &token);
	if (started == OK)
		token_free(token);
	else
		assert_null(token);
	return started;
}

static void a_wrong_pin_is_tried_once(void **state)
{
	struct bench *b = *state;
	struct token_config config = config_of(b, true);
	config.pin = span_str("654321");
	assert_result(try_start(b, config), TOKEN_PIN_WRONG);
	assert_int_equal(count_lines(b, "C_Login"), 1);
	assert_int_equal(count_lines(b, "C_Login wrong"), 1);
	/* The right one still works: nothing was locked. */
	assert_ok(try_start(b, config_of(b, true)));
	assert_int_equal(count_lines(b, "C_Login ok"), 1);
}

static void no_pin_is_no_attempt(void **state)
{
	struct bench *b = *state;
	struct token_config config = config_of(b, true);
	config.pin = SPAN_EMPTY;
	assert_result(try_start(b, config), TOKEN_PIN_WRONG);
	assert_int_equal(count_lines(b, "C_Login"), 0);
}

static void the_last_try_is_left_to_the_operator(void **state)
{
	struct bench *b = *state;
	write_text(b->control, "C_GetTokenInfo final 100\n");
	assert_result(try_start(b, config_of(b, true)), TOKEN_PIN_LOCKED);
	write_text(b->control, "C_GetTokenInfo locked 100\n");
	assert_result(try_start(b, config_of(b, true)), TOKEN_PIN_LOCKED);
	assert_int_equal(count_lines(b, "C_Login"), 0);
	write_text(b->control, "C_Login 0xa4 1\n"); /* CKR_PIN_LOCKED */
	assert_result(try_start(b, config_of(b, true)), TOKEN_PIN_LOCKED);
}

/* The session is lost, and the PIN has been changed meanwhile: tried once more, then never again. */
static void a_pin_refused_later_is_forgotten(void **state)
{
	struct bench *b = *state;
	struct token *token = start(b, true);
	struct token_name name = name_of("01", "x");
	struct token_key made;
	uint8_t digest[SHA256_SIZE] = {1}, signature[SIGNATURE_SIZE];
	assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	write_text(b->control, "C_Sign 0xb3 1\n"); /* CKR_SESSION_HANDLE_INVALID: makes the session anew */
	assert_ok(token_sign(token, &name, digest, signature));
	assert_int_equal(count_lines(b, "C_Login ok"), 2);
	write_text(b->control, "C_FindObjectsInit 0xb3 1\n");
	struct token_name other = name_of("02", NULL);
	assert_result(token_find(token, &other, &made), NOT_FOUND);
	assert_int_equal(count_lines(b, "C_Login ok"), 3);

	write_text(b->control, "C_Sign 0x32 1\n"); /* CKR_DEVICE_REMOVED */
	assert_ok(token_sign(token, &name, digest, signature));
	assert_int_equal(count_lines(b, "C_Login"), 4);
}

static void change_pin(const struct bench *b)
{
	const char *const argv[] = {"pkcs11-tool", "--module", b->real, "--token-label", "troth test", "--login", "--pin", "123456",
		"--change-pin", "--new-pin", "999999", NULL};
	struct fd nothing = FD_NONE;
	assert_ok(file_open("/dev/null", O_RDWR, 0, &nothing));
	struct process_fd fds[] = {{nothing.n, 0}, {nothing.n, 1}, {nothing.n, 2}};
	struct process_spec spec = {.path = "/usr/bin/pkcs11-tool", .argv = argv, .env = b->environment, .fds = fds, .fd_count = 3};
	struct process process = PROCESS_NONE;
	struct process_end end;
	assert_ok(process_start(&spec, &process));
	assert_ok(process_wait(&process, 20000, &end));
	assert_true(end.exited && end.code == 0);
	fd_close(&nothing);
}

static void a_changed_pin_is_not_tried_again_and_again(void **state)
{
	struct bench *b = *state;
	struct token *token = start(b, true);
	struct token_name name = name_of("01", "x");
	struct token_key made;
	uint8_t digest[SHA256_SIZE] = {1}, signature[SIGNATURE_SIZE];
	assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	change_pin(b);
	write_text(b->control, "C_Sign 0xb3 1\n");
	assert_result(token_sign(token, &name, digest, signature), TOKEN_PIN_WRONG);
	for (int i = 0; i < 5; i++)
		assert_result(token_sign(token, &name, digest, signature), TOKEN_PIN_WRONG);
	assert_int_equal(count_lines(b, "C_Login wrong"), 1);
}

static void other_modules_are_refused(void **state)
{
	struct bench *b = *state;
	struct token_config config = config_of(b, false);
	config.module = "/nowhere/module.so";
	assert_result(try_start(b, config), TOKEN_UNAVAILABLE);
	config.module = must_have("TROTH_NO_MODULE");
	assert_result(try_start(b, config), TOKEN_UNAVAILABLE);
	assert_non_null(strstr(failure_text(), "C_GetFunctionList"));
	config.module = b->configuration;
	assert_result(try_start(b, config), TOKEN_UNAVAILABLE);
	config.module = "libsofthsm2.so";
	assert_result(try_start(b, config), BAD_VALUE);
}

static void the_right_token_is_found(void **state)
{
	struct bench *b = *state;
	struct token_config config = config_of(b, false);
	struct token_info info;
	config.label = "another";
	assert_result(try_start(b, config), TOKEN_UNAVAILABLE);
	config.label = NULL;
	assert_ok(try_start(b, config)); /* the only one */
	new_token(b, "second");
	assert_result(try_start(b, config), BAD_VALUE);
	config.label = "second";
	assert_ok(token_start(&config, &b->token));
	assert_ok(token_info(b->token, &info));
	assert_string_equal(info.label, "second");
	assert_int_equal(info.abilities, TOKEN_SIGNS | TOKEN_AGREES | TOKEN_MADE);
	/* By its serial number, and not by a wrong one. */
	config.label = NULL;
	config.serial = info.serial;
	assert_ok(try_start(b, config));
	config.serial = "0123";
	assert_result(try_start(b, config), TOKEN_UNAVAILABLE);
}

static void odd_texts_are_made_printable(void **state)
{
	struct bench *b = *state;
	struct token_config config = config_of(b, true);
	config.label = NULL;
	write_text(b->control, "C_GetTokenInfo odd 100\n");
	struct token_info info;
	assert_ok(token_start(&config, &b->token));
	assert_ok(token_info(b->token, &info));
	assert_string_equal(info.label, "????????????????????????????????");
}

/* ---- faults while it runs ---- */

static void a_removed_token_is_named(void **state)
{
	struct bench *b = *state;
	struct token *token = start(b, false);
	struct token_name name = name_of("01", "x");
	struct token_key made;
	struct key key = KEY_EMPTY;
	uint8_t signature[SIGNATURE_SIZE];
	assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	assert_ok(token_key(token, &name, &key));
	assert_ok(key_sign(&key, span_str("m"), signature));
	char away[96];
	snprintf(away, sizeof(away), "%s/away", b->tokens);
	char kept[160] = "";
	DIR *dir = opendir(b->tokens);
	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "faulty.log") != 0)
			snprintf(kept, sizeof(kept), "%s/%.60s", b->tokens, entry->d_name);
	closedir(dir);
	char outside[96];
	snprintf(outside, sizeof(outside), "%s/pulled-out", b->folder);
	assert_int_equal(rename(kept, outside), 0);
	assert_result(key_sign(&key, span_str("m"), signature), TOKEN_UNAVAILABLE);
	assert_result(key_sign(&key, span_str("m"), signature), TOKEN_UNAVAILABLE);
	/* Put back, it works again by itself. */
	assert_int_equal(rename(outside, kept), 0);
	assert_ok(key_sign(&key, span_str("m"), signature));
	key_free(&key);
}

static void another_token_in_its_place_is_refused(void **state)
{
	struct bench *b = *state;
	struct token *token = start(b, true);
	struct token_name name = name_of("01", "x");
	struct token_key made;
	uint8_t digest[SHA256_SIZE] = {1}, signature[SIGNATURE_SIZE];
	assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	assert_ok(token_sign(token, &name, digest, signature));
	write_text(b->control, "C_Sign exchanged 1\n");
	assert_result(token_sign(token, &name, digest, signature), TOKEN_UNAVAILABLE);
	assert_result(token_find(token, &name, &made), TOKEN_UNAVAILABLE);
	/* The PIN was not given to it. */
	assert_int_equal(count_lines(b, "C_Login"), 1);
}

static void lost_sessions_are_made_anew(void **state)
{
	static const char *const lost[] = {"0xb3", "0xb0", "0x30", "0x32", "0xe0", "0x101", "0x60", "0x82", "0x190"};
	struct bench *b = *state;
	struct token *token = start(b, true);
	struct token_name name = name_of("01", "x");
	struct token_key made;
	uint8_t digest[SHA256_SIZE] = {1}, signature[SIGNATURE_SIZE];
	char text[64];
	assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	for (size_t i = 0; i < COUNT_OF(lost); i++) {
		snprintf(text, sizeof(text), "C_Sign %s 1\n", lost[i]);
		write_text(b->control, text);
		assert_ok(token_sign(token, &name, digest, signature));
		/* Once, not for ever. */
		snprintf(text, sizeof(text), "C_Sign %s 2\n", lost[i]);
		write_text(b->control, text);
		assert_result(token_sign(token, &name, digest, signature), TOKEN_UNAVAILABLE);
		assert_ok(token_sign(token, &name, digest, signature));
	}
	/* What is no loss is not tried twice. */
	write_text(b->control, "C_Sign 0x6 1\n");
	assert_result(token_sign(token, &name, digest, signature), TOKEN_UNAVAILABLE);
}

static void handles_are_remembered(void **state)
{
	struct bench *b = *state;
	struct token *token = start(b, true);
	struct token_name name = name_of("01", "x");
	struct token_key made;
	uint8_t digest[SHA256_SIZE] = {1}, signature[SIGNATURE_SIZE];
	assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	assert_ok(token_sign(token, &name, digest, signature));
	size_t lookups = count_lines(b, "C_FindObjectsInit");
	for (int i = 0; i < 10; i++)
		assert_ok(token_sign(token, &name, digest, signature));
	assert_int_equal(count_lines(b, "C_FindObjectsInit"), lookups);
}

static void wrong_answers_of_the_module_go_no_further(void **state)
{
	struct bench *b = *state;
	struct token *token = start(b, true);
	struct token_name name = name_of("01", "x"), second = name_of("02", "y");
	struct token_key made;
	struct key key = KEY_EMPTY;
	uint8_t signature[SIGNATURE_SIZE];
	assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	assert_ok(token_key(token, &name, &key));
	write_text(b->control, "C_Sign flip 1\n");
	assert_result(key_sign(&key, span_str("m"), signature), BAD_SIGNATURE);
	write_text(b->control, "C_Sign short 1\n");
	assert_result(key_sign(&key, span_str("m"), signature), TOKEN_UNAVAILABLE);
	write_text(b->control, "C_Sign long 1\n");
	assert_result(key_sign(&key, span_str("m"), signature), TOKEN_UNAVAILABLE);
	assert_ok(key_sign(&key, span_str("m"), signature));
	key_free(&key);
	/* A token that lets a new key out: refused, and no key is left behind. */
	write_text(b->control, "C_GetAttributeValue extractable 100000\n");
	assert_result(token_generate(token, &second, TOKEN_SIGNS, &made), NOT_SUPPORTED);
	write_text(b->control, "none none 0\n");
	assert_result(token_find(token, &second, &made), NOT_FOUND);
	write_text(b->control, "C_GetAttributeValue huge 100000\n");
	assert_result(token_find(token, &(struct token_name){.id = {1}, .id_len = 1}, &made), BAD_KEY);
}

static void a_hanging_module_meets_the_deadline(void **state)
{
	struct bench *b = *state;
	struct token_config config = config_of(b, true);
	struct token_name name = name_of("01", "x");
	struct token_key made;
	uint8_t digest[SHA256_SIZE] = {1}, signature[SIGNATURE_SIZE];
	assert_ok(token_generate(start(b, true), &name, TOKEN_SIGNS, &made));
	token_free(b->token);
	config.timeout_ms = 700;
	assert_ok(token_start(&config, &b->token));
	write_text(b->control, "C_Sign hang 1\n");
	uint64_t before = clock_monotonic_ns();
	assert_result(token_sign(b->token, &name, digest, signature), TOKEN_UNAVAILABLE);
	assert_result(token_sign(b->token, &name, digest, signature), TOKEN_UNAVAILABLE);
	assert_true(clock_monotonic_ns() - before < UINT64_C(20) * 1000000000);
}

static void a_killed_worker_is_named(void **state)
{
	struct bench *b = *state;
	struct token *token = start(b, true);
	struct token_name name = name_of("01", "x");
	struct token_key made;
	struct key key = KEY_EMPTY;
	uint8_t signature[SIGNATURE_SIZE];
	assert_ok(token_generate(token, &name, TOKEN_SIGNS, &made));
	assert_ok(token_key(token, &name, &key));
	write_text(b->control, "C_Sign crash 1\n");
	assert_result(key_sign(&key, span_str("m"), signature), TOKEN_UNAVAILABLE);
	assert_result(key_sign(&key, span_str("m"), signature), TOKEN_UNAVAILABLE);
	key_free(&key);
	/* A new one is started at once. */
	token_free(b->token);
	assert_ok(token_find(start(b, true), &name, &made));
	/* And by a signal from outside. */
	token_free(b->token);
	b->token = NULL;
	struct token_config config = config_of(b, false);
	struct process worker = PROCESS_NONE;
	struct fd socket = FD_NONE;
	struct token_info info;
	assert_ok(token_launch(&config, &worker, &socket));
	assert_ok(token_attach(&socket, 20000, &b->token));
	assert_ok(token_info(b->token, &info));
	assert_ok(process_signal_group(&worker, SIGKILL));
	assert_result(token_info(b->token, &info), TOKEN_UNAVAILABLE);
	process_free(&worker);
}

/* ---- as an operator says it ---- */

static void folder_of(const char *path, char out[static PATH_SIZE])
{
	snprintf(out, PATH_SIZE, "%s", path);
	*strrchr(out, '/') = '\0';
}

static void a_signer_is_a_file_or_a_token(void **state)
{
	struct bench *b = *state;
	char programs[PATH_SIZE], pin[96], pem_file[96];
	struct key key = KEY_EMPTY;
	struct token_key made;
	struct token_name name = name_of("31", "recovery");
	uint8_t signature[SIGNATURE_SIZE];
	assert_ok(token_generate(start(b, false), &name, TOKEN_SIGNS, &made));
	folder_of(must_have("TROTH_TOKEN"), programs);
	snprintf(pin, sizeof(pin), "%s/pin", b->folder);
	write_text(pin, "123456\n");
	struct token_source token = {.module = b->real, .label = "troth test", .pin_file = pin, .writable = b->writable,
		.environment = b->environment};
	struct signer_source source = {.token = &token, .key_label = "recovery", .program_dir = programs};
	assert_ok(signer_open(&source, &key));
	assert_memory_equal(key.point, made.point, POINT_SIZE);
	assert_ok(key_sign(&key, span_str("record"), signature));
	key_free(&key);
	source.key_id = "31";
	assert_ok(signer_open(&source, &key));
	key_free(&key);
	source.key_id = "32";
	assert_result(signer_open(&source, &key), NOT_FOUND);
	source.key_id = NULL;
	source.key_label = "another";
	assert_result(signer_open(&source, &key), NOT_FOUND);
	source.key_label = NULL;
	assert_result(signer_open(&source, &key), BAD_VALUE);
	/* A file, or neither, or both. */
	snprintf(pem_file, sizeof(pem_file), "%s/key.pem", b->folder);
	write_text(pem_file, "-----BEGIN EC PRIVATE KEY-----\n"
			     "MHcCAQEEIMmvqdhFunUWa1whV2ex0WlORlDD4bxoyBQlwSu4JjZToAoGCCqGSM49\n"
			     "AwEHoUQDQgAE\n-----END EC PRIVATE KEY-----\n");
	source = (struct signer_source){.pem_file = pem_file};
	assert_result(signer_open(&source, &key), BAD_KEY);
	source.token = &token;
	assert_result(signer_open(&source, &key), USAGE);
	source = (struct signer_source){.pem_file = NULL};
	assert_result(signer_open(&source, &key), USAGE);
	source.pem_file = "/nowhere/key.pem";
	assert_result(signer_open(&source, &key), NOT_FOUND);
}

static void pins_come_from_files_of_the_owner_alone(void **state)
{
	struct bench *b = *state;
	char path[96];
	struct secret pin = SECRET_EMPTY;
	snprintf(path, sizeof(path), "%s/pin", b->folder);
	write_text(path, "12 34\n");
	assert_ok(token_source_pin(path, &pin));
	assert_int_equal(pin.len, 5);
	assert_memory_equal(pin.data, "12 34", 5);
	secret_free(&pin);
	write_text(path, "1234");
	assert_ok(token_source_pin(path, &pin));
	assert_int_equal(pin.len, 4);
	secret_free(&pin);
	assert_int_equal(chmod(path, 0640), 0);
	assert_result(token_source_pin(path, &pin), NO_PERMISSION);
	write_text(path, "\n");
	assert_result(token_source_pin(path, &pin), BAD_VALUE);
	write_text(path, "");
	assert_result(token_source_pin(path, &pin), BAD_VALUE);
	assert_result(token_source_pin("/nowhere/pin", &pin), NOT_FOUND);
}

static void modules_get_their_variables_alone(void **state)
{
	struct arena arena = arena_of(64 * 1024);
	const char *const *list;
	bool found = false;
	assert_int_equal(setenv("SOFTHSM2_CONF", "/somewhere/softhsm2.conf", 1), 0);
	assert_int_equal(setenv("PASSWORD_OF_ANOTHER", "secret", 1), 0);
	assert_ok(token_source_environment(&arena, &list));
	for (size_t i = 0; list[i]; i++) {
		found |= strcmp(list[i], "SOFTHSM2_CONF=/somewhere/softhsm2.conf") == 0;
		assert_null(strstr(list[i], "PASSWORD_OF_ANOTHER"));
	}
	assert_true(found);
	assert_int_equal(unsetenv("SOFTHSM2_CONF") | unsetenv("PASSWORD_OF_ANOTHER"), 0);
	arena_free(&arena);
}

/* ---- confinement ---- */

static void a_hostile_module_is_held(void **state)
{
	struct bench *b = *state;
	char attack[128], path[128], hidden[96];
	snprintf(hidden, sizeof(hidden), "%s/hidden", b->folder);
	assert_int_equal(mkdir(hidden, 0700), 0);
	snprintf(path, sizeof(path), "%s/secret", hidden);
	write_text(path, "secret");
	snprintf(path, sizeof(path), "%s/visible", b->folder);
	write_text(path, "visible");
	snprintf(attack, sizeof(attack), "FAULTY_ATTACK=%s", b->folder);
	b->environment[4] = attack;
	b->hidden[0] = hidden;
	struct token_config config = config_of(b, true);
	config.hidden = b->hidden;
	struct token_info info;
	assert_ok(token_start(&config, &b->token));
	assert_ok(token_info(b->token, &info));
	assert_true(info.confinement & TOKEN_CALLS_DENIED);
	static const char *const always[] = {"internet", "packet", "exec", "ptrace", "kill", "namespace", "dumpable", "uid"};
	static const char *const in_namespaces[] = {"write", "hidden"};
	char line[64];
	for (size_t i = 0; i < COUNT_OF(always); i++) {
		snprintf(line, sizeof(line), "%s refused", always[i]);
		if (count_lines(b, line) != 1)
			fail_test("a module could: %s", always[i]);
	}
	for (size_t i = 0; i < COUNT_OF(in_namespaces) && (info.confinement & TOKEN_READ_ONLY); i++) {
		snprintf(line, sizeof(line), "%s refused", in_namespaces[i]);
		if (count_lines(b, line) != 1)
			fail_test("a module could: %s", in_namespaces[i]);
	}
	assert_int_equal(count_lines(b, "visible DONE"), 1);
}

static bool file_holds(const char *path, const char *text)
{
	struct bytes content = BYTES_EMPTY;
	struct fd fd = FD_NONE;
	bool holds = false;
	if (file_open(path, O_RDONLY, 0, &fd) == OK && file_read_stream(fd.n, 1 << 20, &content) == OK)
		holds = memmem(content.data, content.len, text, strlen(text)) != NULL;
	fd_close(&fd);
	bytes_free(&content);
	return holds;
}

/* Where others can look: the arguments and the environment of the worker. */
static void the_pin_is_not_seen(void **state)
{
	struct bench *b = *state;
	struct token_config config = config_of(b, false);
	struct process worker = PROCESS_NONE;
	struct fd socket = FD_NONE;
	struct token_info info;
	char path[64];
	assert_ok(token_launch(&config, &worker, &socket));
	assert_ok(token_attach(&socket, 20000, &b->token));
	assert_ok(token_info(b->token, &info));
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)worker.pid);
	assert_true(file_holds(path, "--serve"));
	assert_false(file_holds(path, "123456"));
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)worker.pid);
	assert_false(file_holds(path, "123456"));
	process_free(&worker);
}

/* ---- the stream ---- */

struct raw {
	struct process worker;
	struct fd socket;
};

static void raw_start(struct bench *b, struct raw *raw)
{
	struct token_config config = config_of(b, false);
	raw->worker = PROCESS_NONE;
	raw->socket = FD_NONE;
	assert_ok(token_launch(&config, &raw->worker, &raw->socket));
}

static void raw_end(struct raw *raw, bool expect_exit)
{
	struct process_end end;
	if (expect_exit)
		assert_ok(process_wait(&raw->worker, 20000, &end));
	fd_close(&raw->socket);
	if (!expect_exit)
		assert_ok(process_wait(&raw->worker, 20000, &end)); /* it ends by itself when its client is gone */
	process_free(&raw->worker);
}

static void raw_ask(struct raw *raw, struct span request, struct token_reply *out)
{
	struct sock_message message = SOCK_MESSAGE_EMPTY;
	assert_ok(sock_send(raw->socket.n, request, NULL, 0, 20000));
	assert_ok(sock_receive(raw->socket.n, TOKEN_REPLY_MAX, 0, 20000, &message));
	assert_ok(token_reply_decode(bytes_span(&message.data), out));
	sock_message_free(&message);
}

static void broken_requests_get_an_answer(void **state)
{
	static struct token_reply reply;
	struct raw raw;
	raw_start(*state, &raw);
	raw_ask(&raw, span_of("\x01\x05\x00\x00\x00\x07", 6), &reply);
	assert_int_equal(reply.reason, TRUNCATED);
	assert_int_equal(reply.number, 7);
	raw_ask(&raw, span_of("\x02\x01\x00\x00\x00\x08", 6), &reply);
	assert_int_equal(reply.reason, UNKNOWN_VERSION);
	raw_ask(&raw, span_of("\x01\x63\x00\x00\x00\x09", 6), &reply);
	assert_int_equal(reply.reason, NOT_SUPPORTED);
	raw_ask(&raw, span_of("\x01\x01\x00\x00\x00\x0a!", 7), &reply);
	assert_int_equal(reply.reason, TRAILING_BYTES);
	raw_ask(&raw, SPAN_EMPTY, &reply);
	assert_int_equal(reply.reason, TRUNCATED);
	raw_ask(&raw, span_of("\x01\x01\x00\x00\x00\x0b", 6), &reply);
	assert_int_equal(reply.reason, OK);
	assert_string_equal(reply.info.label, "troth test");
	raw_end(&raw, false);
}

static void an_oversized_request_ends_the_connection(void **state)
{
	struct raw raw;
	struct sock_message message = SOCK_MESSAGE_EMPTY;
	raw_start(*state, &raw);
	assert_ok(write_all(raw.socket.n, span_of("\x00\x00\x04\x01", 4)));
	assert_result(sock_receive(raw.socket.n, TOKEN_REPLY_MAX, 0, 20000, &message), PEER_CLOSED);
	raw_end(&raw, true);
}

static void descriptors_are_not_taken(void **state)
{
	struct raw raw;
	struct sock_message message = SOCK_MESSAGE_EMPTY;
	raw_start(*state, &raw);
	int fds[] = {0};
	assert_ok(sock_send(raw.socket.n, span_of("\x01\x01\x00\x00\x00\x01", 6), fds, 1, 20000));
	/* It closes with our bytes unread, so the end may come as a reset. */
	assert_int_not_equal(sock_receive(raw.socket.n, TOKEN_REPLY_MAX, 0, 20000, &message), OK);
	raw_end(&raw, true);
}

static void closing_ends_the_worker(void **state)
{
	static struct token_reply reply;
	struct raw raw;
	raw_start(*state, &raw);
	raw_ask(&raw, span_of("\x01\x09\x00\x00\x00\x01", 6), &reply);
	assert_int_equal(reply.reason, OK);
	raw_end(&raw, true);
}

/* A worker that lies: the client against a socket that the test serves. */
struct liar {
	struct fd ends[2];
	struct token *token;
};

static void liar_start(struct liar *liar, int timeout_ms)
{
	assert_ok(sock_pair(liar->ends));
	assert_ok(token_attach(&liar->ends[0], timeout_ms, &liar->token));
}

static void liar_end(struct liar *liar)
{
	token_free(liar->token);
	fd_close(&liar->ends[1]);
}

static void lies_break_the_connection(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} lies[] = {
		{"\x00\x01\x00\x00", 4},						 /* larger than a reply */
		{"\x00\x00\x00\x03\x01\x01\x00", 7},					 /* cut short */
		{"\x00\x00\x00\x08\x01\x01\x00\x00\x00\x01\xff\xff", 12},		 /* no such reason */
		{"\x00\x00\x00\x08\x01\x09\x00\x00\x00\x01\x00\x00", 12},		 /* of another type */
		{"\x00\x00\x00\x08\x01\x09\x00\x00\x00\x02\x00\x00", 12},		 /* to a request that was not made */
		{"\x00\x00\x00\x0c\x01\x01\x00\x00\x00\x01\x01\xca\x00\x02\x1b[", 16}, /* a text that steers a terminal */
	};
	for (size_t i = 0; i < COUNT_OF(lies); i++) {
		struct liar liar;
		struct token_info info;
		liar_start(&liar, 5000);
		assert_ok(write_all(liar.ends[1].n, span_of(lies[i].bytes, lies[i].len)));
		assert_result(token_info(liar.token, &info), TOKEN_UNAVAILABLE);
		assert_result(token_info(liar.token, &info), TOKEN_UNAVAILABLE);
		liar_end(&liar);
	}
}

static void a_late_answer_is_thrown_away(void **state)
{
	struct liar liar;
	struct token_info info;
	uint8_t random[4];
	liar_start(&liar, 200);
	assert_result(token_info(liar.token, &info), TOKEN_UNAVAILABLE);
	/* The first answer comes after all, in two pieces, then that to the second request. */
	assert_ok(write_all(liar.ends[1].n, span_of("\x00\x00\x00\x0e\x01\x01\x00", 7)));
	assert_result(token_random(liar.token, random, sizeof(random)), TOKEN_UNAVAILABLE);
	assert_ok(write_all(liar.ends[1].n, span_of("\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00", 11)));
	assert_ok(write_all(liar.ends[1].n, span_of("\x00\x00\x00\x0e\x01\x08\x00\x00\x00\x03\x00\x00\x00\x04wxyz", 18)));
	assert_ok(token_random(liar.token, random, sizeof(random)));
	assert_memory_equal(random, "wxyz", 4);
	/* A reply with another number of bytes than asked for. */
	assert_ok(write_all(liar.ends[1].n, span_of("\x00\x00\x00\x0c\x01\x08\x00\x00\x00\x04\x00\x00\x00\x02wx", 16)));
	assert_result(token_random(liar.token, random, sizeof(random)), TOKEN_UNAVAILABLE);
	liar_end(&liar);
}

/* ---- names and messages ---- */

static void names_are_checked(void **state)
{
	struct token_name name;
	char text[TOKEN_NAME_TEXT_SIZE], long_id[2 * TOKEN_ID_MAX + 3], long_label[TOKEN_LABEL_MAX + 2];
	assert_ok(token_name_from_text("0aFF", "the key", &name));
	token_name_text(&name, text);
	assert_string_equal(text, "label 'the key', id 0aff");
	assert_ok(token_name_from_text(NULL, "k", &name));
	token_name_text(&name, text);
	assert_string_equal(text, "label 'k'");
	assert_result(token_name_from_text(NULL, NULL, &name), BAD_VALUE);
	assert_result(token_name_from_text("0", NULL, &name), BAD_VALUE);
	assert_result(token_name_from_text("0g", NULL, &name), BAD_VALUE);
	assert_result(token_name_from_text("", NULL, &name), BAD_VALUE);
	assert_result(token_name_from_text(NULL, "new\nline", &name), BAD_VALUE);
	memset(long_id, 'a', sizeof(long_id));
	long_id[sizeof(long_id) - 1] = '\0';
	assert_result(token_name_from_text(long_id, NULL, &name), BAD_VALUE);
	memset(long_label, 'a', sizeof(long_label));
	long_label[sizeof(long_label) - 1] = '\0';
	assert_result(token_name_from_text(NULL, long_label, &name), BAD_VALUE);
	long_label[sizeof(long_label) - 2] = '\0';
	assert_ok(token_name_from_text(NULL, long_label, &name));
}

static void requests_have_their_bytes(void **state)
{
	uint8_t bytes[TOKEN_REQUEST_MAX];
	struct writer w = writer_fixed(bytes, sizeof(bytes));
	struct token_request request = {.type = TOKEN_GENERATE, .number = 0x01020304, .name = name_of("0a0b", "k1"), .uses = TOKEN_SIGNS}, back;
	struct span encoded;
	token_request_put(&request, &w);
	assert_ok(writer_finish(&w, &encoded));
	assert_int_equal(encoded.len, 13);
	assert_bytes(encoded.data, "010401020304020a0b026b3101");
	assert_ok(token_request_decode(encoded, &back));
	assert_memory_equal(&back, &request, sizeof(back));
	/* The other vectors of docs/PROTOCOL.token. */
	request = (struct token_request){.type = TOKEN_SIGN, .number = 5, .name = name_of("0102", NULL)};
	memset(request.digest, 0x64, sizeof(request.digest));
	uint8_t other[64];
	w = writer_fixed(other, sizeof(other));
	token_request_put(&request, &w);
	struct span sign;
	assert_ok(writer_finish(&w, &sign));
	assert_int_equal(sign.len, 42);
	assert_bytes(sign.data, "010500000005020102006464646464646464646464646464646464646464646464646464646464646464");
	static struct token_reply reply;
	assert_ok(token_reply_decode(span_of("\x01\x08\0\0\0\x08\0\0\0\x04" "abcd", 14), &reply));
	assert_int_equal(reply.size, 4);
	assert_memory_equal(reply.random, "abcd", 4);
	assert_ok(token_reply_decode(span_of("\x01\x05\0\0\0\x05\x01\xca\0\x04" "gone", 14), &reply));
	assert_int_equal(reply.reason, TOKEN_UNAVAILABLE);
	assert_string_equal(reply.text, "gone");
	/* A new key needs both names and a use. */
	bytes[12] = 0;
	assert_result(token_request_decode(encoded, &back), BAD_VALUE);
	bytes[12] = 4;
	assert_result(token_request_decode(encoded, &back), BAD_VALUE);
	assert_result(token_request_decode(span_of("\x01\x04\x00\x00\x00\x00\x00\x01k\x01", 10), &back), BAD_VALUE);
	assert_result(token_request_decode(span_of("\x01\x03\x00\x00\x00\x00\x00\x00", 8), &back), BAD_VALUE);
}

#ifdef UNDER_TSAN
static void confinement(void **state)
{
	(void)state;
	print_message("the worker's namespaces need a process of one thread\n");
	skip();
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef UNDER_TSAN
		cmocka_unit_test(confinement),
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(requests_have_their_bytes),
		cmocka_unit_test(lies_break_the_connection),
		cmocka_unit_test(a_late_answer_is_thrown_away),
		cmocka_unit_test(modules_get_their_variables_alone),
#else
#define WITH_TOKEN(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(requests_have_their_bytes),
		cmocka_unit_test(lies_break_the_connection),
		cmocka_unit_test(a_late_answer_is_thrown_away),
		WITH_TOKEN(a_key_is_made_used_and_destroyed),
		WITH_TOKEN(a_key_of_the_token_is_a_key_like_others),
		WITH_TOKEN(a_key_agrees),
		WITH_TOKEN(keys_are_listed_over_several_pages),
		WITH_TOKEN(random_bytes_differ),
		WITH_TOKEN(keys_survive_the_worker),
		WITH_TOKEN(several_threads_sign),
		WITH_TOKEN(a_wrong_pin_is_tried_once),
		WITH_TOKEN(no_pin_is_no_attempt),
		WITH_TOKEN(the_last_try_is_left_to_the_operator),
		WITH_TOKEN(a_pin_refused_later_is_forgotten),
		WITH_TOKEN(a_changed_pin_is_not_tried_again_and_again),
		WITH_TOKEN(other_modules_are_refused),
		WITH_TOKEN(the_right_token_is_found),
		WITH_TOKEN(odd_texts_are_made_printable),
		WITH_TOKEN(a_removed_token_is_named),
		WITH_TOKEN(another_token_in_its_place_is_refused),
		WITH_TOKEN(lost_sessions_are_made_anew),
		WITH_TOKEN(handles_are_remembered),
		WITH_TOKEN(wrong_answers_of_the_module_go_no_further),
		WITH_TOKEN(a_hanging_module_meets_the_deadline),
		WITH_TOKEN(a_killed_worker_is_named),
		WITH_TOKEN(a_signer_is_a_file_or_a_token),
		WITH_TOKEN(pins_come_from_files_of_the_owner_alone),
		cmocka_unit_test(modules_get_their_variables_alone),
		WITH_TOKEN(a_hostile_module_is_held),
		WITH_TOKEN(the_pin_is_not_seen),
		WITH_TOKEN(broken_requests_get_an_answer),
		WITH_TOKEN(an_oversized_request_ends_the_connection),
		WITH_TOKEN(descriptors_are_not_taken),
		WITH_TOKEN(closing_ends_the_worker),
#endif
	};
	return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}
