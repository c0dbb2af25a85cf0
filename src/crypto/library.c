#include "crypto/library.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* 4096 scalars of the smallest block. Locked, so it counts against RLIMIT_MEMLOCK. */
enum { SECURE_HEAP_SIZE = 256 * 1024, SECURE_HEAP_BLOCK = 32 };

static struct library the_library;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;
static _Thread_local struct library_thread *this_thread;

void library_broken(const char *call)
{
	char text[256] = "no further text";
	unsigned long code = ERR_get_error();
	if (code != 0)
		ERR_error_string_n(code, text, sizeof text);
	fprintf(stderr, "troth: the cryptographic library does not work: %s: %s\n", call, text);
	abort();
}

result library_failure_note(const char *call)
{
	char text[256] = "no further text";
	unsigned long code = ERR_get_error();
	if (code != 0)
		ERR_error_string_n(code, text, sizeof text);
	ERR_clear_error();
	return fail(CRYPTO_FAILED, "%s: %s", call, text);
}

static void thread_free(void *data)
{
	struct library_thread *thread = data;

	this_thread = NULL;
	for (size_t a = 0; a < HASH_ALGORITHMS; a++)
		for (size_t i = 0; i < thread->ready_count[a]; i++)
			EVP_MD_CTX_free(thread->ready[a][i]);
	EVP_PKEY_CTX_free(thread->generate);
	EVP_PKEY_free(thread->peer);
	EC_POINT_free(thread->point);
	BN_CTX_free(thread->numbers);
	free(thread);
}

static EVP_MD *fetch_digest(const char *name)
{
	EVP_MD *digest = EVP_MD_fetch(NULL, name, NULL);
	if (!digest)
		library_broken(name);
	return digest;
}

/* The base point of P-256 as a public key. */
static EVP_PKEY *make_public_key(const EC_GROUP *group)
{
	uint8_t point[65];
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char[]){"prime256v1"}, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	size_t len = EC_POINT_point2oct(group, EC_GROUP_get0_generator(group), POINT_CONVERSION_UNCOMPRESSED, point, sizeof point, NULL);

	if (len != sizeof point || !ctx || EVP_PKEY_fromdata_init(ctx) <= 0 ||
		EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
		library_broken("EVP_PKEY_fromdata");
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* Is there such a kind of keys? A library that lacks it is no error. */
static bool has_algorithm(const char *name)
{
	EVP_KEYMGMT *found = EVP_KEYMGMT_fetch(NULL, name, NULL);
	EVP_KEYMGMT_free(found);
	return found != NULL;
}

static BIGNUM *make_order_minus_1(const EC_GROUP *group)
{
	BIGNUM *number = BN_dup(EC_GROUP_get0_order(group));
	if (!number || !BN_sub_word(number, 1))
		library_broken("BN_sub_word");
	return number;
}

/*
 * The leak checker does not look into the secure heap, where the generators keep pointers to ordinary memory:
 * an instrumented build lets OpenSSL free them at exit.
 */
#ifdef TROTH_INSTRUMENTED
static const uint64_t start_options = OPENSSL_INIT_NO_LOAD_CONFIG;
#else
static const uint64_t start_options = OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT;
#endif

static void library_start(void)
{
	struct library *l = &the_library;

	if (!OPENSSL_init_crypto(start_options, NULL))
		library_broken("OPENSSL_init_crypto");
	if (!CRYPTO_secure_malloc_initialized() && CRYPTO_secure_malloc_init(SECURE_HEAP_SIZE, SECURE_HEAP_BLOCK) == 0)
		library_broken("CRYPTO_secure_malloc_init");
	if (pthread_key_create(&thread_key, thread_free) != 0)
		library_broken("pthread_key_create");

	l->digest[HASH_SHA256] = fetch_digest("SHA256");
	l->digest[HASH_SHA384] = fetch_digest("SHA384");
	l->digest[HASH_SHA512] = fetch_digest("SHA512");
	l->aes_256_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (!l->aes_256_gcm)
		library_broken("AES-256-GCM");
	l->p256 = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	if (!l->p256)
		library_broken("P-256");
	l->p256_order_minus_1 = make_order_minus_1(l->p256);
	l->p256_public = make_public_key(l->p256);
	l->has_mlkem_768 = has_algorithm("ML-KEM-768");
	ERR_clear_error();
}

const struct library *library(void)
{
	pthread_once(&library_once, library_start);
	return &the_library;
}

static struct library_thread *thread_new(void)
{
	const struct library *l = library();
	struct library_thread *thread = calloc(1, sizeof *thread);

	if (!thread)
		library_broken("calloc");
	thread->generate = EVP_PKEY_CTX_new_from_pkey(NULL, l->p256_public, NULL);
	thread->peer = EVP_PKEY_dup(l->p256_public);
	thread->point = EC_POINT_new(l->p256);
	thread->numbers = BN_CTX_secure_new();
	if (!thread->generate || EVP_PKEY_keygen_init(thread->generate) <= 0 || !thread->peer || !thread->point || !thread->numbers)
		library_broken("contexts of a thread");
	if (pthread_setspecific(thread_key, thread) != 0)
		library_broken("pthread_setspecific");
	return thread;
}

struct library_thread *library_thread(void)
{
	if (!this_thread)
		this_thread = thread_new();
	return this_thread;
}
