#include "job/uid_pool.h"

#include "base/isolate.h"
#include "expect.h"
#include "groups.h"

static void test_each_uid_once(void **state)
{
	static struct uid_pool pool;
	uid_t first, second, again;
	expect_ok(uid_pool_init(&pool, 700000));
	if (!isolate_is_root()) {
		expect_ok(uid_pool_take(&pool, &first));
		assert_int_equal(first, 0);
		uid_pool_give_back(&pool, first);
		return;
	}
	expect_ok(uid_pool_take(&pool, &first));
	expect_ok(uid_pool_take(&pool, &second));
	assert_true(first != second && first >= 700000 && first < 700000 + UID_POOL_SIZE);
	uid_pool_give_back(&pool, first);
	uid_pool_give_back(&pool, 5);
	for (int i = 1; i < UID_POOL_SIZE; i++) {
		expect_ok(uid_pool_take(&pool, &again));
		assert_true(again != second && again >= 700000 && again < 700000 + UID_POOL_SIZE);
	}
	expect(uid_pool_take(&pool, &again), BUSY);
	uid_pool_give_back(&pool, second);
	expect_ok(uid_pool_take(&pool, &again));
	assert_int_equal(again, second);
}

static void test_ranges_that_belong_to_others(void **state)
{
	static struct uid_pool pool;
	if (!isolate_is_root())
		return;
	expect(uid_pool_init(&pool, 0), BAD_VALUE);
	expect(uid_pool_init(&pool, 1000), BAD_VALUE);
	expect(uid_pool_init(&pool, 65534), BAD_VALUE);
	expect(uid_pool_init(&pool, UINT32_MAX - 10), BAD_VALUE);
	expect_ok(uid_pool_init(&pool, 65536));
}

int group_uid_pool(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_uid_once),
		cmocka_unit_test(test_ranges_that_belong_to_others),
	};
	return cmocka_run_group_tests_name("uid pool", tests, NULL, NULL);
}
