#include "job/uid_pool.h"

#include "base/isolate.h"
#include "expect.h"
#include "groups.h"

#include <unistd.h>

/* Several runs of this test may go on at once. */
static uid_t own_range(void)
{
	return 1000000 + (uid_t)(getpid() % 100000) * UID_POOL_SIZE;
}

static void test_each_uid_once(void **state)
{
	static struct uid_pool pool;
	uid_t first, second, again;
	const uid_t range = own_range();
	expect_ok(uid_pool_init(&pool, range));
	if (!isolate_is_root()) {
		expect_ok(uid_pool_take(&pool, &first));
		assert_int_equal(first, 0);
		uid_pool_give_back(&pool, first);
		return;
	}
	expect_ok(uid_pool_take(&pool, &first));
	expect_ok(uid_pool_take(&pool, &second));
	assert_true(first != second && first >= range && first < range + UID_POOL_SIZE);
	uid_pool_give_back(&pool, first);
	uid_pool_give_back(&pool, 5);
	for (int i = 1; i < UID_POOL_SIZE; i++) {
		expect_ok(uid_pool_take(&pool, &again));
		assert_true(again != second && again >= range && again < range + UID_POOL_SIZE);
	}
	expect(uid_pool_take(&pool, &again), BUSY);
	uid_pool_give_back(&pool, second);
	expect_ok(uid_pool_take(&pool, &again));
	assert_int_equal(again, second);
	uid_pool_close(&pool);
}

/* Two hosts of one machine: what one has taken the other does not get, until it is given back or its host has ended. */
static void test_hosts_share_the_machine(void **state)
{
	static struct uid_pool ours, theirs;
	uid_t uid, all;
	const uid_t range = own_range();
	if (!isolate_is_root() || access("/run", W_OK) != 0)
		return;
	expect_ok(uid_pool_init(&ours, range));
	expect_ok(uid_pool_init(&theirs, range));
	expect_ok(uid_pool_take(&theirs, &uid));
	for (int i = 1; i < UID_POOL_SIZE; i++) {
		expect_ok(uid_pool_take(&ours, &all));
		assert_int_not_equal(all, uid);
	}
	expect(uid_pool_take(&ours, &all), BUSY);
	uid_pool_give_back(&ours, uid); /* not its to give */
	expect(uid_pool_take(&ours, &all), BUSY);
	uid_pool_close(&theirs);
	expect_ok(uid_pool_take(&ours, &all));
	assert_int_equal(all, uid);
	uid_pool_close(&ours);
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
	uid_pool_close(&pool);
}

int group_uid_pool(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_uid_once),
		cmocka_unit_test(test_hosts_share_the_machine),
		cmocka_unit_test(test_ranges_that_belong_to_others),
	};
	return cmocka_run_group_tests_name("uid pool", tests, NULL, NULL);
}
