/* Revocation heads: the secure processor says what it was asked to, in its own order and time, and never goes back. */
#include "ap_bench.h"
#include "groups.h"

static enum reason sign(struct bench *b, uint32_t lease_ms, struct revocation_head_row *rows, size_t count, struct revocation_head *out)
{
	struct ap_sign_revocation body = {lease_ms, rows, count};
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	struct ap_signed reply;
	if (schema_encode(&ap_sign_revocation_schema, &body, &bytes) != OK)
		return BAD_VALUE;
	struct ap_sign request = {KIND_REVOCATION_HEAD, bytes_span(&bytes)};
	enum reason signed_ = ask(b, IPQ_SIGN, &ap_sign_schema, &request, &ap_signed_schema, &reply);
	if (signed_ == OK)
		assert_int_equal(object_open(KIND_REVOCATION_HEAD, reply.object, &b->root_sign, &b->arena, out, NULL), OK);
	return signed_;
}

static void test_heads_follow_one_another(void **unused)
{
	struct bench b;
	struct revocation_head head;
	struct revocation_head_row row = {.version = 3};
	bench_new(&b);
	ap_tick(b.ap, 1000);
	assert_int_equal(sign(&b, 5000, &row, 1, &head), OK);
	uint64_t boot = head.boot_gen, time = head.time;
	assert_int_equal(head.seq, 1);
	assert_int_equal(head.steady, 1000);
	assert_int_equal(head.lease_ms, 5000);
	assert_memory_equal(head.rot_id, b.rot_id, OID_SIZE);
	assert_memory_equal(head.epoch_oid, b.epoch_oid, OID_SIZE);
	assert_int_equal(head.list_count, 1);
	/* Neither clock goes back: a step of the wall clock changes no order, and the steady one is what a lease is measured by. */
	b.now -= 60 * 1000;
	ap_tick(b.ap, 900);
	assert_int_equal(sign(&b, 5000, &row, 1, &head), OK);
	assert_int_equal(head.seq, 2);
	assert_int_equal(head.steady, 1000);
	assert_int_equal(head.time, time);
	assert_int_equal(head.boot_gen, boot);
	assert_int_equal(sign(&b, 0, NULL, 0, &head), OK);
	assert_int_equal(head.list_count, 0);
	bench_free(&b);
}

static void test_no_version_goes_back(void **unused)
{
	struct bench b;
	struct revocation_head head;
	struct revocation_head_row rows[2] = {{.version = 3}, {.operator_id = {1}, .version = 9}};
	bench_new(&b);
	assert_int_equal(sign(&b, 5000, rows, 2, &head), OK);
	rows[0].version = 2;
	assert_int_equal(sign(&b, 5000, rows, 2, &head), REVOCATION_OLD);
	rows[0].version = 3;
	rows[0].oid[0] = 1;
	assert_int_equal(sign(&b, 5000, rows, 2, &head), REVOCATION_CONFLICT);
	/* Also after heads without this operator. */
	rows[0].oid[0] = 0;
	assert_int_equal(sign(&b, 5000, rows + 1, 1, &head), OK);
	rows[0].version = 1;
	assert_int_equal(sign(&b, 5000, rows, 2, &head), REVOCATION_OLD);
	rows[0].version = 4;
	rows[0].oid[0] = 7;
	assert_int_equal(sign(&b, 5000, rows, 2, &head), OK);
	assert_int_equal(head.seq, 3); /* what was refused took no number */
	bench_free(&b);
}

static void test_heads_that_make_no_sense(void **unused)
{
	struct bench b;
	struct revocation_head head;
	struct revocation_head_row rows[2] = {{.version = 1}, {.version = 2}};
	bench_new(&b);
	assert_int_equal(sign(&b, 0, rows, 1, &head), BAD_VALUE);
	assert_int_equal(sign(&b, 10, rows, 1, &head), BAD_VALUE);
	assert_int_equal(sign(&b, 5000, rows, 2, &head), BAD_VALUE); /* two lists of one operator */
	rows[0].version = 0;
	assert_int_equal(sign(&b, 5000, rows, 1, &head), BAD_VALUE);
	rows[0].version = 1;
	assert_int_equal(sign(&b, 5000, rows, 1, &head), OK);
	bench_free(&b);
}

static void test_operators_of_one_boot_are_bounded(void **unused)
{
	struct bench b;
	struct revocation_head head;
	bench_new(&b);
	unsigned taken = 0;
	for (uint8_t i = 0; i < 200; i++) {
		struct revocation_head_row row = {.operator_id = {i}, .version = 1};
		enum reason done = sign(&b, 5000, &row, 1, &head);
		assert_true(done == OK || done == TOO_LARGE);
		taken += done == OK;
	}
	assert_int_equal(taken, 4 * REVOCATION_MAX_LISTS);
	bench_free(&b);
}

int test_ap_revocation(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads_follow_one_another),
		cmocka_unit_test(test_no_version_goes_back),
		cmocka_unit_test(test_heads_that_make_no_sense),
		cmocka_unit_test(test_operators_of_one_boot_are_bounded),
	};
	return cmocka_run_group_tests_name("ap_revocation", tests, NULL, NULL);
}
