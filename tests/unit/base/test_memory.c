#include "allocations.h"
#include "base/arena.h"
#include "base/secret.h"
#include "expect.h"
#include "groups.h"

#include <pthread.h>
#include <stdlib.h>

static void an_arena_gives_zeroed_aligned_memory(void **state)
{
	(void)state;
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	for (size_t i = 1; i < 300; i++) {
		void *at;
		expect_ok(arena_alloc(&arena, i, 3, &at));
		assert_int_equal((uintptr_t)at % _Alignof(max_align_t), 0);
		for (size_t k = 0; k < i * 3; k++)
			assert_int_equal(((uint8_t *)at)[k], 0);
		memset(at, 0xff, i * 3);
	}
	void *large;
	expect_ok(arena_alloc(&arena, 100000, 1, &large));
	memset(large, 1, 100000);
}

static void an_arena_keeps_its_limit(void **state)
{
	(void)state;
	CLEANUP(arena_free) struct arena arena = arena_of(64);
	void *at = &arena;
	expect(arena_alloc(&arena, 65, 1, &at), TOO_LARGE);
	expect(arena_alloc(&arena, SIZE_MAX, 2, &at), TOO_LARGE);
	expect(arena_alloc(&arena, SIZE_MAX, 1, &at), TOO_LARGE);
	expect(arena_alloc(&arena, SIZE_MAX / 2, 2, &at), TOO_LARGE);
	assert_ptr_equal(at, &arena);
	expect_ok(arena_alloc(&arena, 64, 1, &at)); /* all of it */
	expect(arena_alloc(&arena, 1, 1, &at), TOO_LARGE);
	arena_free(&arena);
	expect_ok(arena_alloc(&arena, 1, 1, &at));
	struct arena small = arena_of(3);
	expect(arena_alloc(&small, 1, 1, &at), TOO_LARGE);
	arena_free(NULL);
	arena_wipe(NULL);
	arena_wipe(&arena);
	assert_int_equal(arena.used, 0);
	expect_ok(arena_alloc(&arena, 64, 1, &at));
}

static void an_arena_copies(void **state)
{
	(void)state;
	CLEANUP(arena_free) struct arena arena = arena_of(1000);
	const char *text;
	struct span copy;
	expect_ok(arena_string(&arena, span_of("abcd", 3), &text));
	assert_string_equal(text, "abc");
	expect_ok(arena_copy(&arena, span_str("xyz"), &copy));
	expect_span(copy, span_str("xyz"));
	expect_ok(arena_string(&arena, SPAN_EMPTY, &text));
	assert_string_equal(text, "");
	expect_ok(arena_copy(&arena, SPAN_EMPTY, &copy));
	assert_int_equal(copy.len, 0);
}

static void an_arena_survives_no_memory(void **state)
{
	(void)state;
	CLEANUP(arena_free) struct arena arena = arena_of(1000);
	void *at = NULL;
	allocations_fail(1);
	result allocated = arena_alloc(&arena, 1, 1, &at);
	allocations_restore();
	expect(allocated, NO_MEMORY);
	assert_null(at);
	expect_ok(arena_alloc(&arena, 1, 1, &at));
}

static void secrets_compare_whole(void **state)
{
	(void)state;
	assert_true(secret_equal(span_str("abc"), span_str("abc")));
	assert_true(secret_equal(SPAN_EMPTY, SPAN_EMPTY));
	assert_false(secret_equal(span_str("abc"), span_str("abd")));
	assert_false(secret_equal(span_str("abc"), span_str("bbc")));
	assert_false(secret_equal(span_str("abc"), span_str("ab")));
}

static void a_freed_secret_is_wiped(void **state)
{
	struct secret secret, first, again;
	(void)state;
	expect_ok(secret_new(64, &first)); /* keeps the pool's page mapped */
	expect_ok(secret_copy(span_str("the key"), &secret));
	const uint8_t *was = secret.data;
	expect_span(secret_span(&secret), span_str("the key"));
	secret_free(&secret);
	assert_null(secret.data);
	for (size_t i = 0; i < strlen("the key"); i++)
		assert_int_equal(was[i], 0);
	expect_ok(secret_new(7, &again));
	assert_ptr_equal(again.data, was); /* cells are used again */
	secret_free(&again);
	secret_free(&again);
	secret_free(NULL);
	secret_free(&first);
}

static void secret_sizes_have_limits(void **state)
{
	struct secret secret = SECRET_EMPTY;
	(void)state;
	expect(secret_new(0, &secret), TOO_LARGE);
	expect(secret_new((1 << 20) + 1, &secret), TOO_LARGE);
	assert_null(secret.data);
	static const size_t sizes[] = {1, 63, 64, 65, 4096, 32768, 32769, 1 << 20};
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		expect_ok(secret_new(sizes[i], &secret));
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(secret.data[k], 0);
		memset(secret.data, 0xaa, sizes[i]);
		struct secret moved = secret_move(&secret);
		assert_null(secret.data);
		secret_free(&moved);
	}
}

static void secrets_do_not_overlap(void **state)
{
	enum { COUNT = 500 };
	static struct secret secrets[COUNT];
	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		expect_ok(secret_new(i % 200 + 1, &secrets[i]));
		memset(secrets[i].data, (int)(i & 0xff), secrets[i].len);
	}
	for (size_t i = 0; i < COUNT; i += 2)
		secret_free(&secrets[i]);
	for (size_t i = 0; i < COUNT; i += 2) {
		expect_ok(secret_new((i * 7) % 300 + 1, &secrets[i]));
		memset(secrets[i].data, (int)(i & 0xff), secrets[i].len);
	}
	for (size_t i = 0; i < COUNT; i++) {
		for (size_t k = 0; k < secrets[i].len; k++)
			assert_int_equal(secrets[i].data[k], i & 0xff);
		secret_free(&secrets[i]);
	}
}

static void *take_and_free(void *arg)
{
	uint8_t mark = *(const uint8_t *)arg;
	for (int i = 0; i < 2000; i++) {
		struct secret secret;
		if (secret_new((size_t)(i % 90) + 1, &secret) != OK)
			return NULL;
		memset(secret.data, mark, secret.len);
		for (size_t k = 0; k < secret.len; k++)
			if (secret.data[k] != mark)
				return NULL;
		secret_free(&secret);
	}
	return arg;
}

static void secrets_are_thread_safe(void **state)
{
	static uint8_t marks[] = {1, 2, 3};
	pthread_t threads[3];
	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_free, &marks[i]), 0);
	for (size_t i = 0; i < 3; i++) {
		void *done = NULL;
		assert_int_equal(pthread_join(threads[i], &done), 0);
		assert_ptr_equal(done, &marks[i]);
	}
}

static void the_kind_of_memory_has_a_name(void **state)
{
	(void)state;
	assert_in_range(secret_memory(), SECRET_MEMORY_SECRETMEM, SECRET_MEMORY_PLAIN);
	assert_string_equal(secret_memory_name(SECRET_MEMORY_SECRETMEM), "memfd_secret");
	assert_string_equal(secret_memory_name(SECRET_MEMORY_LOCKED), "locked");
	assert_string_equal(secret_memory_name(SECRET_MEMORY_PLAIN), "plain");
}

int group_memory(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_arena_gives_zeroed_aligned_memory),
		cmocka_unit_test(an_arena_keeps_its_limit),
		cmocka_unit_test(an_arena_copies),
		cmocka_unit_test(an_arena_survives_no_memory),
		cmocka_unit_test(secrets_compare_whole),
		cmocka_unit_test(a_freed_secret_is_wiped),
		cmocka_unit_test(secret_sizes_have_limits),
		cmocka_unit_test(secrets_do_not_overlap),
		cmocka_unit_test(secrets_are_thread_safe),
		cmocka_unit_test(the_kind_of_memory_has_a_name),
	};
	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
